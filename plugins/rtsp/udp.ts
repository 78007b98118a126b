/** UDP ports in pairs, for RTP and for RTCP (RFC 3550 11), and who is heard on them. */

import { createSocket, type RemoteInfo, type Socket } from "node:dgram";
import { once } from "node:events";
import { isIPv6 } from "node:net";
import type { RtpPair } from "./transport.ts";

/** What a port of a pair carries. */
export type PacketKind = keyof RtpPair;

/**
 * Bytes of packets that the system is asked to keep until they are read: some 40 ms at 200 Mbit/s.
 * Deno 2.9 does not pass it on, so that the system's default holds: about 90 packets on Linux.
 */
const RECEIVE_BUFFER_BYTES = 1 << 20;

/** Who is at the other end of a {@linkcode UdpPair}. */
export interface UdpPeer {
  /** Its address, the only one that is heard. */
  readonly address: string;
  /** Its ports, as far as it has said. */
  readonly ports: RtpPair | undefined;
  /** Called with each packet from there, which is the callee's. */
  readonly onPacket: (kind: PacketKind, bytes: Uint8Array) => void;
}

/**
 * Two ports on one address.
 *
 * Only packets from the peer's address are heard. Its port is the announced one, or, as a translated
 * address has another one, the port that the first of its packets came from; from then on it stays.
 */
export class UdpPair {
  /** The ports, the first one even. */
  readonly ports: RtpPair;
  /** Settles when they can be had again. */
  readonly closed: Promise<void>;
  readonly #sockets: Readonly<Record<PacketKind, Socket>>;
  #onClose: () => void = () => {};
  readonly #heard: Record<PacketKind, boolean> = { rtp: false, rtcp: false };
  readonly #peerPorts: Record<PacketKind, number> = { rtp: 0, rtcp: 0 };
  #peer: UdpPeer | undefined;
  #strangers = 0;
  /** Packets that the system has not got yet. */
  #unsent = 0;
  #closed = false;

  private constructor(ports: RtpPair, rtp: Socket, rtcp: Socket) {
    this.ports = ports;
    this.#sockets = { rtp, rtcp };
    this.closed = new Promise((resolve) => this.#onClose = resolve);
    for (const kind of ["rtp", "rtcp"] as const) {
      const socket = this.#sockets[kind];
      socket.on("message", (bytes, from) => this.#onMessage(kind, bytes, from));
      // Such as that nobody listens there: of packets that is no news.
      socket.on("error", () => {});
    }
  }

  /** The pair that begins with port `rtp` of address `host`; undefined if it is not to be had. */
  static async open(host: string, rtp: number): Promise<UdpPair | undefined> {
    const first = await bound(host, rtp);
    if (first === undefined) return undefined;
    const second = await bound(host, rtp + 1);
    if (second === undefined) {
      first.close();
      return undefined;
    }
    return new UdpPair({ rtp, rtcp: rtp + 1 }, first, second);
  }

  /** Packets of others than the peer so far. */
  get strangers(): number {
    return this.#strangers;
  }

  /** Says who is at the other end: from now on packets are heard. */
  connect(peer: UdpPeer): void {
    this.#peer = peer;
    this.#peerPorts.rtp = peer.ports?.rtp ?? 0;
    this.#peerPorts.rtcp = peer.ports?.rtcp ?? 0;
  }

  /** Sends a packet, if it is known where to. */
  send(kind: PacketKind, bytes: Uint8Array): void {
    const port = this.#peerPorts[kind];
    if (this.#closed || this.#peer === undefined || port === 0) return;
    this.#unsent++;
    // With a callback an error is no event, and it says nothing that a lost packet doesn't.
    this.#sockets[kind].send(bytes, port, this.#peer.address, this.#onSent);
  }

  /** Closes the ports, behind what was sent. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#peer = undefined;
    if (this.#unsent === 0) this.#free();
  }

  readonly #onSent = () => {
    this.#unsent--;
    if (this.#closed && this.#unsent === 0) this.#free();
  };

  #free(): void {
    const { rtp, rtcp } = this.#sockets;
    rtp.close(() => rtcp.close(this.#onClose));
  }

  #onMessage(kind: PacketKind, bytes: Uint8Array, from: RemoteInfo): void {
    const peer = this.#peer;
    if (peer === undefined) return;
    const isKnown = from.port === this.#peerPorts[kind];
    if (from.address !== peer.address || (!isKnown && this.#heard[kind])) {
      this.#strangers++;
      return;
    }
    this.#heard[kind] = true;
    this.#peerPorts[kind] = from.port;
    // What has come lies in a buffer for the largest packet, which a kept frame would keep.
    peer.onPacket(kind, new Uint8Array(bytes));
  }
}

/** The UDP ports of a server. */
export class UdpPorts {
  readonly #first: number;
  readonly #count: number;
  readonly #taken = new Set<number>();
  #next = 0;

  /** The pairs from port `first` to port `last`; none without them. */
  constructor([first = 0, last = 0]: readonly number[] = []) {
    this.#first = first + first % 2;
    this.#count = first === 0 ? 0 : Math.max(0, Math.floor((last - this.#first + 1) / 2));
  }

  /** Whether there are any. */
  get exist(): boolean {
    return this.#count > 0;
  }

  /** A free pair on address `host`; undefined if there is none. */
  async take(host: string): Promise<UdpPair | undefined> {
    for (let tried = 0; tried < this.#count; tried++) {
      // Going round: late packets of the last one at a pair don't meet the next one there.
      const port = this.#first + 2 * (this.#next++ % this.#count);
      if (this.#taken.has(port)) continue;
      this.#taken.add(port);
      const pair = await UdpPair.open(host, port);
      const free = () => void this.#taken.delete(port);
      if (pair === undefined) {
        free();
        continue;
      }
      pair.closed.then(free);
      return pair;
    }
    return undefined;
  }
}

/** `address` without what makes an IPv4 one fit an IPv6 socket (RFC 4291 2.5.5.2). */
export function plainAddress(address = ""): string {
  return address.replace(/^::ffff:(?=\d+\.)/i, "");
}

async function bound(host: string, port: number): Promise<Socket | undefined> {
  const socket = createSocket(isIPv6(host) ? "udp6" : "udp4");
  try {
    const listening = once(socket, "listening");
    socket.bind(port, host);
    await listening;
  } catch {
    socket.close();
    return undefined;
  }
  try {
    socket.setRecvBufferSize(RECEIVE_BUFFER_BYTES);
  } catch {
    // Then it has the system's own size.
  }
  return socket;
}
