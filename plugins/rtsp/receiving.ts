/** Packets of a publisher or of another server on their way into a stream. */

import type { RtpFormat } from "../../src/rtp/format.ts";
import { type MediaDescription, sdpAttribute } from "../../src/rtp/sdp.ts";
import { RtpReceiver } from "../../src/rtp_receiver.ts";
import type { Publisher } from "../../src/publisher.ts";
import type { Links } from "./links.ts";
import type { PacketKind } from "./udp.ts";

/** How often a sender is told of what has come (RFC 3550 6.2: at least five seconds). */
const REPORT_MS = 5000;

/** What a {@linkcode Receiving} works with. */
export interface ReceivingInit {
  /** All media of the session, by number of the track; those without a way are left out. */
  readonly media: readonly MediaDescription[];
  /** The ways of the tracks. */
  readonly links: Links;
  /** Whether late packets of UDP are put back in order. */
  readonly reorder: boolean;
  /** Milliseconds of a clock that never goes back. @default {performance.now} */
  readonly nowMs?: () => number;
}

/** The media of a session that a peer sends. */
export class Receiving {
  readonly #links: Links;
  readonly #receiver: RtpReceiver;
  readonly #timer: ReturnType<typeof setInterval>;
  #packets = 0;

  /**
   * Into `publisher`, from now on.
   *
   * @throws {InvalidDataError} If the parameters of a format are malformed.
   */
  constructor(publisher: Publisher, init: ReceivingInit) {
    const { media, links, reorder, nowMs = () => performance.now() } = init;
    this.#links = links;
    const { tracks } = links;
    this.#receiver = new RtpReceiver(publisher, {
      tracks: media.map(({ formats }, track) => tracks.includes(track) ? formats : []),
      reorder: reorder && links.carrier === "udp",
      nowMs,
      onKeyframeNeeded: (track) => {
        if (media[track] && takesFeedback(media[track])) this.#ask(track);
      },
    });
    this.#timer = setInterval(() => this.#report(), REPORT_MS);
  }

  /** Packets so far. */
  get packets(): number {
    return this.#packets;
  }

  /** Whether all that was heard has said goodbye. */
  get goodbye(): boolean {
    return this.#receiver.goodbye;
  }

  /** Takes a packet. */
  push(track: number, kind: PacketKind, bytes: Uint8Array): void {
    this.#packets++;
    if (kind === "rtp") this.#receiver.push(track, bytes);
    else this.#receiver.pushRtcp(track, bytes);
  }

  /** Says that `rtptime` of RTP-Info is when `track` starts. */
  anchor(track: number, rtptime: number): void {
    this.#receiver.anchor(track, rtptime);
  }

  /** Takes nothing more. Idempotent. */
  end(): void {
    clearInterval(this.#timer);
    this.#receiver.end();
  }

  #report(): void {
    for (const track of this.#links.tracks) {
      const report = this.#receiver.report(track);
      if (report) this.#links.send(track, "rtcp", report);
    }
  }

  #ask(track: number): void {
    const request = this.#receiver.keyframeRequest(track);
    if (request) this.#links.send(track, "rtcp", request);
  }
}

/** Whether packets in any of `formats` can be read. */
export function isSupported(formats: readonly RtpFormat[]): boolean {
  return formats.some((format) => RtpReceiver.supports(format));
}

/** Whether the sender of `media` takes requests for keyframes (RFC 4585 3.1, 4.2). */
function takesFeedback(media: MediaDescription): boolean {
  return media.protocol.endsWith("AVPF") || sdpAttribute(media, "rtcp-fb") !== undefined;
}
