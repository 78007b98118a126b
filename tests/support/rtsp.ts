/** An RTSP server on a free loopback port for tests, and a client that does what a test says. */

import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import {
  type InterleavedFrame,
  type OutgoingHeaders,
  type RtspRequest,
  type RtspResponse,
  writeInterleaved,
  writeRequest,
  writeResponse,
} from "../../plugins/rtsp/message.ts";
import rtsp from "../../plugins/rtsp/mod.ts";
import { RtspParser } from "../../plugins/rtsp/parser.ts";
import { concat } from "../../src/bytes.ts";
import type { EngineConfig } from "../../src/options.ts";
import { formatOf } from "../../src/rtp/media_format.ts";
import { isRtcp, parseRtp, type RtpPacket, serializeRtp } from "../../src/rtp/packet.ts";
import { serializeSdp, type SessionDescription } from "../../src/rtp/sdp.ts";
import { aac, h264, slice } from "./frames.ts";
import { eventually, type PluginServer, startPlugin } from "./plugin_server.ts";

export { eventually, type PluginServer } from "./plugin_server.ts";

/** UDP ports of tests; those that another test has are passed over. */
export const UDP_PORTS: readonly [number, number] = [23_000, 23_999];

/** Starts an engine with the rtsp plugin on 127.0.0.1, without UDP unless told so. */
export function startRtsp(
  options: Record<string, unknown> = {},
  config: EngineConfig = {},
): Promise<PluginServer> {
  return startPlugin({
    name: "RTSP",
    plugin: rtsp,
    options: { UDPPorts: [], ...options },
    config,
  });
}

/** Waits until `server` has `count` frames of video of live/a. */
export async function videoFrames(server: PluginServer, count: number): Promise<void> {
  await eventually(
    `${count} frames`,
    () => server.engine.getStream("live/a")?.videoTracks[0]?.stats().frames === count,
  );
}

/** What a request has beside its method. */
export interface RequestOptions {
  readonly url?: string;
  readonly headers?: OutgoingHeaders;
  readonly body?: string | Uint8Array;
}

/** A packet on a channel: which one, and whether it is RTCP. */
export interface Received {
  readonly channel: number;
  readonly rtp: RtpPacket | undefined;
  readonly bytes: Uint8Array;
}

/** An RTSP client of one stream. All that comes is kept. */
export class RtspTestClient implements AsyncDisposable {
  /** The responses so far. */
  readonly responses: RtspResponse[] = [];
  /** Requests of the other side so far. */
  readonly requests: RtspRequest[] = [];
  /** The interleaved frames so far. */
  readonly frames: InterleavedFrame[] = [];
  /** The socket. */
  readonly conn: Deno.Conn;
  /** URL of the stream. */
  readonly url: string;
  /** Settles when the server has closed; with an error where it broke the connection. */
  readonly closed: Promise<unknown>;
  /** Name of the session, once there is one; sent with all requests. */
  session: string | undefined;
  readonly #parser = new RtspParser();
  #hold: PromiseWithResolvers<void> | undefined;
  readonly #frames = new RtpFrames();
  #cseq = 0;
  #isClosed = false;

  private constructor(conn: Deno.Conn, url: string) {
    this.conn = conn;
    this.url = url;
    this.closed = this.#read();
  }

  /** Opens a connection to the host of `url`, such as `rtsp://127.0.0.1:8554/live/a`. */
  static async open(url: string, caCerts?: string[]): Promise<RtspTestClient> {
    const { hostname, port } = new URL(url);
    const address = { hostname: hostname.replace(/[[\]]/g, ""), port: Number(port) };
    const conn = await Deno.connect(address);
    conn.setNoDelay(true);
    if (caCerts === undefined) return new RtspTestClient(conn, url);
    const options = { hostname: address.hostname, caCerts };
    return new RtspTestClient(await Deno.startTls(conn, options), url);
  }

  /** A client that publishes video and audio, interleaved. */
  static async publish(url: string): Promise<RtspTestClient> {
    const client = await RtspTestClient.open(url);
    await client.announce();
    await client.setUp(0, "RTP/AVP/TCP;unicast;interleaved=0-1;mode=record");
    await client.setUp(1, "RTP/AVP/TCP;unicast;interleaved=2-3;mode=record");
    await client.ok("RECORD");
    return client;
  }

  /** A client that plays video and audio, interleaved. */
  static async play(url: string): Promise<RtspTestClient> {
    const client = await RtspTestClient.open(url);
    await client.ok("DESCRIBE");
    await client.setUp(0);
    await client.setUp(1);
    await client.ok("PLAY");
    return client;
  }

  /** Whether the server has closed. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The interleaved packets so far. */
  get packets(): Received[] {
    return this.frames.map(({ channel, payload }) => received(channel, payload));
  }

  /** The marks of the video frames so far, `K` before those of keyframes. */
  get pictures(): string[] {
    return this.packets.flatMap(({ channel, rtp }) => channel === 0 && rtp ? pictureOf(rtp) : []);
  }

  /** Stops reading, or goes on. */
  hold(on: boolean): void {
    if (on) this.#hold ??= Promise.withResolvers();
    else {
      this.#hold?.resolve();
      this.#hold = undefined;
    }
  }

  /** Sends bytes as they are. */
  async raw(bytes: Uint8Array | string): Promise<void> {
    const all = typeof bytes === "string" ? new TextEncoder().encode(bytes) : bytes;
    for (let offset = 0; offset < all.length;) {
      offset += await this.conn.write(all.subarray(offset));
    }
  }

  /** Sends a request and waits for its response. */
  async request(method: string, options: RequestOptions = {}): Promise<RtspResponse> {
    const { url = this.url, headers = {}, body = "" } = options;
    const cseq = ++this.#cseq;
    const Session = this.session;
    await this.raw(writeRequest({ method, url, cseq, headers: { Session, ...headers }, body }));
    const find = () => this.responses.find((response) => response.cseq === cseq);
    await eventually(`an answer to ${method}`, () => find() !== undefined || this.isClosed);
    const found = find();
    if (found === undefined) throw new Error(`Closed without an answer to ${method}`);
    this.session ??= found.headers.get("session")?.split(";")[0];
    return found;
  }

  /** The status that a request is answered with. */
  async status(method: string, options?: RequestOptions): Promise<number> {
    return (await this.request(method, options)).status;
  }

  /** Sends a request that must succeed. */
  async ok(method: string, options?: RequestOptions): Promise<RtspResponse> {
    const response = await this.request(method, options);
    if (response.status === 200) return response;
    throw new Error(`${method} is answered with ${response.status}`);
  }

  /** Sends ANNOUNCE of H.264 and AAC. */
  announce(description: SessionDescription = descriptionOf()): Promise<RtspResponse> {
    return this.ok("ANNOUNCE", {
      headers: { "Content-Type": "application/sdp" },
      body: serializeSdp(description),
    });
  }

  /** Sets up a track under the URL that all sides use here. */
  setUp(
    track: number,
    transport = `RTP/AVP/TCP;unicast;interleaved=${2 * track}-${2 * track + 1}`,
  ): Promise<RtspResponse> {
    const mark = this.url.indexOf("?");
    const path = mark < 0 ? this.url : this.url.slice(0, mark);
    return this.ok("SETUP", { url: `${path}/trackID=${track}`, headers: { Transport: transport } });
  }

  /** Sends a packet on an interleaved channel. */
  async send(channel: number, bytes: Uint8Array): Promise<void> {
    await this.raw(writeInterleaved(channel, bytes));
  }

  /** Publishes frames as {@linkcode RtpFrames} has them, interleaved. */
  async pushFrames(frames: string): Promise<void> {
    const packets = this.#frames.packets(frames);
    await this.raw(concat(packets.map(({ track, bytes }) => writeInterleaved(2 * track, bytes))));
  }

  /** Waits for `count` pictures: their marks. */
  async take(count: number): Promise<string[]> {
    await eventually(
      `${count} pictures of ${this.pictures}`,
      () => this.pictures.length >= count || this.isClosed,
    );
    return this.pictures;
  }

  /** Closes the socket without a word. */
  close(): void {
    this.hold(false);
    try {
      this.conn.close();
    } catch {
      // It is closed.
    }
  }

  /** Closes the socket and waits for the end of reading. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.closed;
  }

  async #read(): Promise<unknown> {
    const buffer = new Uint8Array(65_536);
    try {
      while (true) {
        await this.#hold?.promise;
        const count = await this.conn.read(buffer);
        if (count === null) return undefined;
        for (const item of this.#parser.push(buffer.slice(0, count))) {
          if (item.kind === "interleaved") this.frames.push(item);
          else if (item.kind === "response") this.responses.push(item);
          else this.requests.push(item);
        }
      }
    } catch (error) {
      return error;
    } finally {
      this.#isClosed = true;
    }
  }
}

/** Two UDP ports of a client. */
export class UdpTestPorts implements AsyncDisposable {
  /** What has come so far: on port 0 RTP, on port 1 RTCP. */
  readonly packets: Received[] = [];
  readonly #sockets: readonly Socket[];

  private constructor(sockets: readonly Socket[]) {
    this.#sockets = sockets;
    sockets.forEach((socket, channel) =>
      socket.on("message", (bytes) => this.packets.push(received(channel, new Uint8Array(bytes))))
    );
  }

  /** Two free ports of 127.0.0.1, or another address of this machine. */
  static async open(address = "127.0.0.1"): Promise<UdpTestPorts> {
    const sockets = [createSocket("udp4"), createSocket("udp4")];
    for (const socket of sockets) {
      const listening = once(socket, "listening");
      socket.bind(0, address);
      await listening;
    }
    return new UdpTestPorts(sockets);
  }

  /** The ports, for a Transport header. */
  get ports(): string {
    return this.#sockets.map((socket) => socket.address().port).join("-");
  }

  /** The marks of the video frames so far. */
  get pictures(): string[] {
    return this.packets.flatMap(({ rtp }) => rtp ? pictureOf(rtp) : []);
  }

  /** Sends a packet from port 0, or from port 1. */
  async send(bytes: Uint8Array, port: number, from: 0 | 1 = 0): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#sockets[from]?.send(bytes, port, "127.0.0.1", () => resolve());
    await promise;
  }

  /** Closes both. */
  [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.close();
    return Promise.resolve();
  }
}

/** A server of a test's own: answers requests, each on its connection, as `answer` says. */
export class RtspTestPeer implements AsyncDisposable {
  /** Requests so far. */
  readonly requests: RtspRequest[] = [];
  /** Connections so far. */
  readonly conns: Deno.Conn[] = [];
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #answer: (request: RtspRequest, conn: Deno.Conn) => PeerAnswer | undefined;
  readonly #serving: Promise<void>[] = [];
  readonly #accepting: Promise<void>;

  /** Listens at once; where `answer` gives nothing, nothing is answered. */
  constructor(answer: (request: RtspRequest, conn: Deno.Conn) => PeerAnswer | undefined) {
    this.#answer = answer;
    this.#accepting = this.#accept();
  }

  /** Its address, such as `rtsp://127.0.0.1:8554`. */
  get url(): string {
    const { port } = this.#listener.addr as Deno.NetAddr;
    return `rtsp://127.0.0.1:${port}`;
  }

  /** The methods of the requests so far. */
  get methods(): string[] {
    return this.requests.map(({ method }) => method);
  }

  /** Closes all connections. */
  hangUp(): void {
    for (const conn of this.conns.splice(0)) {
      try {
        conn.close();
      } catch {
        // It is closed.
      }
    }
  }

  /** Closes all. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#accepting;
    this.hangUp();
    await Promise.all(this.#serving);
  }

  async #accept(): Promise<void> {
    try {
      for await (const conn of this.#listener) {
        this.conns.push(conn);
        this.#serving.push(this.#serve(conn));
      }
    } catch {
      // It is closed.
    }
  }

  async #serve(conn: Deno.Conn): Promise<void> {
    const parser = new RtspParser();
    const buffer = new Uint8Array(65_536);
    try {
      for (let count = await conn.read(buffer); count !== null; count = await conn.read(buffer)) {
        for (const item of parser.push(buffer.slice(0, count))) {
          if (item.kind !== "request") continue;
          this.requests.push(item);
          const answer = this.#answer(item, conn);
          if (answer === undefined) continue;
          const { status = 200, after, ...rest } = answer;
          await conn.write(writeResponse({ status, cseq: item.cseq, ...rest }));
          if (after) await conn.write(after);
        }
      }
      conn.close();
    } catch {
      // It is closed.
    }
  }
}

/** What a {@linkcode RtspTestPeer} answers. */
export interface PeerAnswer {
  readonly status?: number;
  readonly headers?: OutgoingHeaders;
  readonly body?: string;
  /** Bytes behind the answer. */
  readonly after?: Uint8Array;
}

/** A description of H.264 and AAC, or of what a test wants. */
export function descriptionOf(configs = [h264(), aac()]): SessionDescription {
  const media = configs.flatMap((config, track) => {
    const format = formatOf(config, 96 + track);
    const section = { kind: config.kind, port: 0, protocol: "RTP/AVP", attributes: [] };
    return format ? [{ ...section, formats: [format], control: `trackID=${track}` }] : [];
  });
  return { name: "test", attributes: [], media };
}

/** Makes the packets of a publisher of {@linkcode descriptionOf}. */
export class RtpFrames {
  readonly #sequences = [65_530, 100];
  #mark = 0;

  /**
   * RTP packets of frames 40 ms apart: `K` a keyframe, `v` another one, `a` audio. Their marks are
   * their places among all frames.
   */
  packets(frames: string): { readonly track: number; readonly bytes: Uint8Array }[] {
    return [...frames].map((kind) => {
      const mark = this.#mark++;
      const track = kind === "a" ? 1 : 0;
      const sequence = this.#sequences[track] ?? 0;
      this.#sequences[track] = sequence + 1 & 0xffff;
      const data = kind === "a" ? Uint8Array.of(0x21, mark) : slice(kind === "K", mark);
      // An AU header of RFC 3640: 16 bits of headers, a size of 13 bits and an index of 3.
      const headers = Uint8Array.of(0, 16, 0, data.length << 3);
      const timestamp = mark * (kind === "a" ? 1920 : 3600);
      const header = { payloadType: 96 + track, marker: true, sequence, timestamp };
      const payload = kind === "a" ? concat([headers, data]) : data;
      return { track, bytes: serializeRtp({ ...header, ssrc: 7 + track, payload }) };
    });
  }
}

function received(channel: number, bytes: Uint8Array): Received {
  return { channel, bytes, rtp: isRtcp(bytes) ? undefined : parseRtp(bytes) };
}

/** What `slice` has marked; nothing of parameter sets. */
function pictureOf({ payload }: RtpPacket): string[] {
  // Parameter sets come in one packet with the keyframe (STAP-A, RFC 6184 5.7.1).
  const units = typeOf(payload) === 24 ? [...unitsOf(payload.subarray(1))] : [payload];
  return units.flatMap((unit) => {
    const mark = (unit[2] ?? 0) & 0x7f;
    return typeOf(unit) === 5 ? [`K${mark}`] : typeOf(unit) === 1 ? [`${mark}`] : [];
  });
}

function typeOf(nalu: Uint8Array): number {
  return (nalu[0] ?? 0) & 0x1f;
}

function* unitsOf(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at + 2 <= bytes.length;) {
    const length = (bytes[at] ?? 0) << 8 | (bytes[at + 1] ?? 0);
    yield bytes.subarray(at + 2, at + 2 + length);
    at += 2 + length;
  }
}
