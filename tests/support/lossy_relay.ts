/** A bad network between an RTSP client and a server: what UDP carries gets lost, late and doubled. */

import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { type RtspItem, writeRequest, writeResponse } from "../../plugins/rtsp/message.ts";
import { RtspParser } from "../../plugins/rtsp/parser.ts";
import { formatTransports, parseTransports, type RtpPair } from "../../plugins/rtsp/transport.ts";

const HOST = "127.0.0.1";
/** Most packets that overtake a late one. */
const MAX_LATE = 4;

/** What becomes of RTP packets, as shares of them from 0 to 1. RTCP passes. */
export interface Weather {
  readonly loss?: number;
  /** Of those that come behind up to four later ones of their track. */
  readonly late?: number;
  readonly twice?: number;
  readonly seed: number;
}

/** What has become of RTP packets so far. */
export interface Toll {
  passed: number;
  lost: number;
  late: number;
  twice: number;
}

/**
 * Stands between clients and the server at `url`. Clients set UDP up with it, on its own ports; the
 * fate of the nth packet of each track depends on the seed alone.
 */
export class LossyRelay implements AsyncDisposable {
  readonly toll: Toll = { passed: 0, lost: 0, late: 0, twice: 0 };
  readonly #listener = Deno.listen({ hostname: HOST, port: 0 });
  readonly #server: URL;
  readonly #weather: Weather;
  readonly #conns = new Set<Deno.Conn>();
  readonly #sockets: Socket[] = [];
  readonly #running: Promise<void>[] = [];

  /** Listens at once. */
  constructor(url: string, weather: Weather) {
    this.#server = new URL(url);
    this.#weather = weather;
    this.#running.push(this.#accept());
  }

  /** Where a client finds what is at `url` of the server. */
  url(url: string): string {
    const { port } = this.#listener.addr as Deno.NetAddr;
    return url.replace(/(rtsp:\/\/)[^/]+/, `$1${HOST}:${port}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const conn of this.#conns) close(conn);
    await Promise.all(this.#running);
    await Promise.all(this.#sockets.map((socket) => {
      const closed = once(socket, "close");
      socket.close();
      return closed;
    }));
  }

  async #accept(): Promise<void> {
    try {
      for await (const client of this.#listener) {
        const { hostname, port } = this.#server;
        const server = await Deno.connect({ hostname, port: Number(port) });
        this.#conns.add(client).add(server);
        const tracks: Track[] = [];
        const up = this.#pass(client, server, (item) => this.#fromClient(item, tracks));
        const down = this.#pass(server, client, (item) => this.#fromServer(item, tracks));
        this.#running.push(up, down);
      }
    } catch (error) {
      if (!isClosed(error)) throw error;
    }
  }

  async #pass(
    from: Deno.Conn,
    to: Deno.Conn,
    change: (item: RtspItem) => Promise<Uint8Array>,
  ): Promise<void> {
    const parser = new RtspParser();
    const buffer = new Uint8Array(65_536);
    try {
      for (let count = await from.read(buffer); count !== null; count = await from.read(buffer)) {
        for (const item of parser.push(buffer.slice(0, count))) {
          const bytes = await change(item);
          for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at));
        }
      }
    } catch (error) {
      if (!isClosed(error)) throw error;
    }
    close(from);
    close(to);
  }

  async #fromClient(item: RtspItem, tracks: Track[]): Promise<Uint8Array> {
    if (item.kind !== "request") throw new Error(`Cannot relay: the client sends ${item.kind}`);
    const { method, url, cseq = 0, body } = item;
    const headers = fieldsOf(item.headers);
    const [transport] = parseTransports(headers["transport"] ?? "RTP/AVP");
    if (method === "SETUP" && transport?.clientPorts) {
      const track = await this.#openTrack(transport.clientPorts, tracks.length);
      tracks.push(track);
      headers["transport"] = formatTransports({ ...transport, clientPorts: track.back.ports });
    }
    return writeRequest({ method, url: this.#toServer(url), cseq, headers, body });
  }

  #fromServer(item: RtspItem, tracks: readonly Track[]): Promise<Uint8Array> {
    if (item.kind !== "response") throw new Error(`Cannot relay: the server sends ${item.kind}`);
    const { status, cseq, body } = item;
    const headers = fieldsOf(item.headers);
    const [transport] = parseTransports(headers["transport"] ?? "RTP/AVP");
    const track = tracks.at(-1);
    if (transport?.serverPorts && track) {
      track.server = transport.serverPorts;
      const { client, front } = track;
      headers["transport"] = formatTransports({
        ...transport,
        clientPorts: client,
        serverPorts: front.ports,
      });
    }
    return Promise.resolve(writeResponse({ status, cseq, headers, body }));
  }

  #toServer(url: string): string {
    return url.replace(/(rtsp:\/\/)[^/]+/, `$1${this.#server.host}`);
  }

  async #openTrack(client: RtpPair, index: number): Promise<Track> {
    const track: Track = {
      client,
      server: { rtp: 0, rtcp: 0 },
      front: await this.#openPair(),
      back: await this.#openPair(),
    };
    const fate = (way: number) =>
      new Fate({ ...this.#weather, seed: this.#weather.seed * 1_000 + index * 2 + way }, this.toll);
    const [up, down] = [fate(0), fate(1)];
    track.front.rtp.on("message", (bytes) => {
      for (const packet of up.push(bytes)) track.back.rtp.send(packet, track.server.rtp, HOST);
    });
    track.back.rtp.on("message", (bytes) => {
      for (const packet of down.push(bytes)) track.front.rtp.send(packet, track.client.rtp, HOST);
    });
    track.front.rtcp.on("message", (bytes) => {
      track.back.rtcp.send(bytes, track.server.rtcp, HOST);
    });
    track.back.rtcp.on("message", (bytes) => {
      track.front.rtcp.send(bytes, track.client.rtcp, HOST);
    });
    return track;
  }

  /** Two ports, as clients and servers have them: an even one and the next. */
  async #openPair(): Promise<Pair> {
    for (;;) {
      const rtp = await bound(0);
      const { port } = rtp.address();
      const rtcp = port % 2 === 0 ? await bound(port + 1).catch(() => undefined) : undefined;
      // One that does not fit stays bound until the end, so that it does not come again.
      this.#sockets.push(rtp);
      if (rtcp === undefined) continue;
      this.#sockets.push(rtcp);
      return { rtp, rtcp, ports: { rtp: port, rtcp: port + 1 } };
    }
  }
}

interface Pair {
  readonly rtp: Socket;
  readonly rtcp: Socket;
  readonly ports: RtpPair;
}

interface Track {
  readonly client: RtpPair;
  server: RtpPair;
  /** What the client knows as the server's ports, and the server as the client's. */
  readonly front: Pair;
  readonly back: Pair;
}

/** Decides over the packets of one way of one track. */
class Fate {
  readonly #weather: Weather;
  readonly #toll: Toll;
  #held: { readonly packet: Uint8Array; left: number }[] = [];
  #state: number;

  constructor(weather: Weather, toll: Toll) {
    this.#weather = weather;
    this.#toll = toll;
    this.#state = weather.seed;
  }

  /** What goes out when `packet` comes. */
  push(packet: Uint8Array): Uint8Array[] {
    const { loss = 0, late = 0, twice = 0 } = this.#weather;
    const out: Uint8Array[] = [];
    const share = this.#random();
    if (share < loss) {
      this.#toll.lost++;
    } else if (share < loss + late) {
      this.#toll.late++;
      this.#held.push({ packet, left: 2 + Math.floor(this.#random() * MAX_LATE) });
    } else if (share < loss + late + twice) {
      this.#toll.twice++;
      out.push(packet, packet);
    } else {
      this.#toll.passed++;
      out.push(packet);
    }
    for (const held of this.#held) if (--held.left === 0) out.push(held.packet);
    this.#held = this.#held.filter(({ left }) => left > 0);
    return out;
  }

  #random(): number {
    this.#state = (Math.imul(this.#state, 1_103_515_245) + 12_345) >>> 0;
    return (this.#state >>> 8) / 2 ** 24;
  }
}

async function bound(port: number): Promise<Socket> {
  const socket = createSocket("udp4");
  const listening = once(socket, "listening");
  socket.bind(port, HOST);
  try {
    await listening;
  } catch (error) {
    socket.close();
    throw error;
  }
  // What is lost is to be lost by us.
  socket.setRecvBufferSize(1 << 20);
  socket.on("error", () => {});
  return socket;
}

function fieldsOf(headers: ReadonlyMap<string, string>): Record<string, string> {
  const { cseq: _, "content-length": __, ...fields } = Object.fromEntries(headers);
  return fields;
}

function close(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // It is closed.
  }
}

function isClosed(error: unknown): boolean {
  return error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted ||
    error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe;
}
