/** The ways that packets of a session's tracks take: in the connection, or by UDP. */

import type { Connection } from "../connection.ts";
import { type InterleavedFrame, writeInterleaved } from "./message.ts";
import type { Carrier } from "./options.ts";
import type { RtpPair } from "./transport.ts";
import type { PacketKind, UdpPair, UdpPeer } from "./udp.ts";

/**
 * Highest channel that players get as they wish. Bytes are shared by players of the same channels,
 * so those are to be few; a player with others is told which ones it gets.
 */
const MAX_PLAY_CHANNEL = 15;

/** The way of one track. */
interface Link {
  /** Its channels; by UDP those by which it is known in shared bytes. */
  readonly channels: RtpPair;
  /** Its ports; without them the packets are interleaved. */
  readonly pair?: UdpPair;
}

/** What {@linkcode Links} belong to. */
export interface LinksInit {
  /** The connection of the session. */
  readonly connection: Connection;
  /** Called with each packet of a track that the peer sends. */
  readonly onPacket: (track: number, kind: PacketKind, bytes: Uint8Array) => void;
}

/** The ways of all tracks of a session, which are all of one kind. */
export class Links {
  readonly #init: LinksInit;
  readonly #links = new Map<number, Link>();
  readonly #byChannel = new Map<number, { readonly track: number; readonly kind: PacketKind }>();
  #strays = 0;

  /** None yet. */
  constructor(init: LinksInit) {
    this.#init = init;
  }

  /** What carries the packets; undefined without a track. */
  get carrier(): Carrier | undefined {
    const [link] = this.#links.values();
    return link && (link.pair === undefined ? "tcp" : "udp");
  }

  /** The tracks that have a way, in the order in which they got it. */
  get tracks(): readonly number[] {
    return [...this.#links.keys()];
  }

  /** Packets on channels of no track, and by UDP of others than the peer, so far. */
  get strays(): number {
    let strays = this.#strays;
    for (const { pair } of this.#links.values()) strays += pair?.strangers ?? 0;
    return strays;
  }

  /** The channels of `track`, by which its packets are known in shared bytes. */
  channels(track: number): RtpPair | undefined {
    return this.#links.get(track)?.channels;
  }

  /**
   * Channels for `track`: those that the peer has `offered`, if they are free, and for a player
   * among the first few; otherwise the first pair that is free.
   */
  freeChannels(track: number, offered: RtpPair | undefined, isPlayer: boolean): RtpPair {
    const isFree = ({ rtp, rtcp }: RtpPair) =>
      [rtp, rtcp].every((channel) => (this.#byChannel.get(channel)?.track ?? track) === track);
    if (offered !== undefined && isFree(offered)) {
      const { rtp, rtcp } = offered;
      const isUsual = rtp % 2 === 0 && rtcp === rtp + 1 && rtcp <= MAX_PLAY_CHANNEL;
      if (isUsual || !isPlayer) return offered;
    }
    let rtp = 0;
    while (!isFree({ rtp, rtcp: rtp + 1 })) rtp += 2;
    return { rtp, rtcp: rtp + 1 };
  }

  /** Packets of `track` go interleaved, in `channels`. */
  interleave(track: number, channels: RtpPair): void {
    this.#set(track, { channels });
  }

  /** Packets of `track` go by `pair`, to and from `peer`. */
  connect(track: number, pair: UdpPair, peer: Omit<UdpPeer, "onPacket">): void {
    this.#set(track, { channels: { rtp: 2 * track, rtcp: 2 * track + 1 }, pair });
    pair.connect({
      ...peer,
      onPacket: (kind, bytes) => this.#init.onPacket(track, kind, bytes),
    });
  }

  /** Takes an interleaved frame of the peer. */
  push({ channel, payload }: InterleavedFrame): void {
    const found = this.#byChannel.get(channel);
    if (found === undefined || this.#links.get(found.track)?.pair) this.#strays++;
    else this.#init.onPacket(found.track, found.kind, payload);
  }

  /** Sends one packet of `track`, if that has a way. */
  send(track: number, kind: PacketKind, bytes: Uint8Array): void {
    const link = this.#links.get(track);
    if (link === undefined) return;
    if (link.pair) link.pair.send(kind, bytes);
    else this.#init.connection.send(writeInterleaved(link.channels[kind], bytes));
  }

  /** Sends a packet that shared bytes have in `channel`, by UDP. */
  sendFrom(channel: number, bytes: Uint8Array): void {
    const found = this.#byChannel.get(channel);
    if (found) this.#links.get(found.track)?.pair?.send(found.kind, bytes);
  }

  /** Frees what the tracks use. Idempotent. */
  close(): void {
    for (const { pair } of this.#links.values()) pair?.close();
  }

  #set(track: number, link: Link): void {
    const before = this.#links.get(track);
    before?.pair?.close();
    for (const [channel, other] of this.#byChannel) {
      if (other.track === track) this.#byChannel.delete(channel);
    }
    this.#links.set(track, link);
    this.#byChannel.set(link.channels.rtp, { track, kind: "rtp" });
    this.#byChannel.set(link.channels.rtcp, { track, kind: "rtcp" });
  }
}
