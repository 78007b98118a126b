/** RTP on its way into a publisher. */

import { EndedError, InvalidDataError } from "./errors.ts";
import type { Publisher } from "./publisher.ts";
import { SessionClock, type TrackClock } from "./rtp/clock.ts";
import type { RtpFormat } from "./rtp/format.ts";
import { fourccOf } from "./rtp/media_format.ts";
import { isRtcp } from "./rtp/packet.ts";
import { randomCname, randomU32 } from "./rtp/random.ts";
import {
  parseRtcp,
  type ReportBlock,
  type RtcpPacket,
  SdesType,
  serializeRtcp,
} from "./rtp/rtcp.ts";
import { type RtpCounters, RtpSource, type RtpStage } from "./rtp/source.ts";
import type { RtpUnit } from "./rtp/payload.ts";
import { RtpAudioInput, type RtpInput, RtpVideoInput } from "./rtp_inputs.ts";
import type { MediaKind } from "./stream.ts";

export type { RtpCounters } from "./rtp/source.ts";

/** FourCCs of the video codecs among those of RTP; the others are of audio. */
const VIDEO: ReadonlySet<string> = new Set(["avc1", "hvc1", "av01", "vp09"]);

/** What an {@linkcode RtpReceiver} must know of a session. */
export interface RtpReceiverInit {
  /**
   * For each track the formats that its packets may have, such as those of its media section. Tracks
   * without a known codec are passed over.
   */
  readonly tracks: readonly (readonly RtpFormat[])[];
  /**
   * Whether packets behind a gap wait for those in it: for UDP, as the engine's `RTPReorder` says.
   */
  readonly reorder: boolean;
  /** Milliseconds of a clock that never goes back. */
  readonly nowMs: () => number;
  /**
   * Called when `track` can't go on without a keyframe: at a loss and, at most once a second, as
   * long as none comes.
   */
  readonly onKeyframeNeeded?: (track: number) => void;
}

/**
 * Hands the media of one RTP session to the inputs of a publisher.
 *
 * The first video and audio goes to the tracks of these names, further ones to `video1`, `audio1` and
 * so on. Their configurations are those of the session description, or come with the frames. Once
 * all tracks have one the publisher is told that there will be no others.
 *
 * After a loss video waits for a keyframe, so that all pictures given can be decoded. Tracks lie to
 * each other as the sender reports, or RTP-Info, say.
 *
 * @example Take packets
 * ```ts ignore
 * const tracks = parseSdp(text).media.map(({ formats }) => formats);
 * const receiver = new RtpReceiver(publisher, { tracks, reorder: false, nowMs });
 * for (const { track, bytes } of packets) receiver.push(track, bytes);
 * ```
 */
export class RtpReceiver {
  readonly #publisher: Publisher;
  readonly #nowMs: () => number;
  readonly #clock = new SessionClock();
  #tracks: readonly (ReceivedTrack | undefined)[] = [];
  readonly #ssrc = randomU32();
  readonly #cname = randomCname();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #timerMs = Infinity;
  #ended = false;

  /**
   * Before the first packet.
   *
   * @throws {InvalidDataError} If the parameters of a format are malformed.
   * @throws {EndedError} If the publisher has ended.
   */
  constructor(publisher: Publisher, init: RtpReceiverInit) {
    publisher.signal.throwIfAborted();
    this.#publisher = publisher;
    this.#nowMs = init.nowMs;
    const opened = { video: 0, audio: 0 };
    this.#tracks = init.tracks.map((formats, track) => {
      const kind = formats.map(kindOf).find((kind) => kind !== undefined);
      if (kind === undefined) return undefined;
      const number = opened[kind]++;
      return new ReceivedTrack(publisher, kind, {
        name: number === 0 ? kind : `${kind}${number}`,
        formats,
        reorder: init.reorder,
        clock: this.#clock,
        onKeyframeNeeded: () => init.onKeyframeNeeded?.(track),
        onConfig: () => this.#complete(),
      });
    });
    this.#complete();
    publisher.signal.addEventListener("abort", () => this.end(), { once: true });
  }

  /** Whether frames of `format` can be taken, if its parameters are sound. */
  static supports(format: RtpFormat): boolean {
    return fourccOf(format) !== undefined;
  }

  /** What has become of the packets of each track. */
  get counters(): readonly RtpCounters[] {
    return this.#tracks.map((track) => track?.source.counters ?? NO_COUNTERS);
  }

  /** Whether the senders of all tracks that were heard have said goodbye. */
  get goodbye(): boolean {
    const heard = this.#tracks.filter((track) => track?.source.ssrc !== undefined);
    return heard.length > 0 && heard.every((track) => track?.source.left);
  }

  /**
   * Takes an RTP packet of a track; one of RTCP, where both share a way, goes to
   * {@linkcode RtpReceiver.pushRtcp}. Its bytes are kept, so they must not be written to afterwards.
   *
   * What is malformed or unknown is counted.
   */
  push(track: number, packet: Uint8Array): void {
    if (this.#ended) return;
    if (isRtcp(packet)) return this.pushRtcp(track, packet);
    this.#give(() => this.#tracks[track]?.push(packet, this.#nowMs()));
    this.#arm();
  }

  /** Takes a compound RTCP packet of a track. */
  pushRtcp(track: number, packet: Uint8Array): void {
    if (!this.#ended) this.#tracks[track]?.pushRtcp(packet, this.#nowMs());
  }

  /**
   * Says that `rtptime` of RTP-Info (RFC 2326 12.33) of a track is the same moment as those of the
   * others.
   */
  anchor(track: number, rtptime: number): void {
    this.#tracks[track]?.anchor(rtptime);
  }

  /**
   * A compound packet to send to the sender of a track every few seconds: what was received of it
   * since the last one, and who says so. Undefined before the first packet.
   */
  report(track: number): Uint8Array<ArrayBuffer> | undefined {
    const source = this.#tracks[track]?.source;
    if (source?.ssrc === undefined) return undefined;
    const block = source.report(this.#nowMs());
    return this.#compound(block ? [block] : []);
  }

  /**
   * A compound packet that asks the sender of a track for a keyframe (RFC 4585 6.3.1). Undefined
   * before the first packet.
   */
  keyframeRequest(track: number): Uint8Array<ArrayBuffer> | undefined {
    const mediaSsrc = this.#tracks[track]?.source.ssrc;
    if (mediaSsrc === undefined) return undefined;
    return this.#compound([], { type: "pli", senderSsrc: this.#ssrc, mediaSsrc });
  }

  /** Hands over what waits and takes no more packets. Idempotent. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#give(() => {
      for (const track of this.#tracks) track?.flush(this.#nowMs());
    });
  }

  #compound(
    reports: readonly ReportBlock[],
    ...others: readonly RtcpPacket[]
  ): Uint8Array<ArrayBuffer> {
    const ssrc = this.#ssrc;
    const items = [{ type: SdesType.cname, text: this.#cname }];
    return serializeRtcp([
      { type: "rr", ssrc, reports },
      { type: "sdes", chunks: [{ ssrc, items }] },
      ...others,
    ]);
  }

  /** Runs what pushes frames; the publisher may have ended, even by who hears of a new track in it. */
  #give(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!(error instanceof EndedError) || this.#publisher.end === undefined) throw error;
    }
  }

  #complete(): void {
    if (this.#publisher.complete) return;
    const known = this.#tracks.filter((track) => track !== undefined);
    const missing = known.some(({ kind, input }) =>
      this.#publisher.stream.accepts(kind) && !input.live
    );
    if (known.length > 0 && !missing) this.#publisher.completeTracks();
  }

  /** Sets the timer to when the first packet has waited for too long; none if none waits. */
  #arm(): void {
    if (this.#ended) return;
    let dueMs = Infinity;
    for (const track of this.#tracks) dueMs = Math.min(dueMs, track?.source.dueMs ?? Infinity);
    if (dueMs === this.#timerMs) return;
    clearTimeout(this.#timer);
    this.#timerMs = dueMs;
    if (dueMs === Infinity) return;
    // A part of a ms would fire at once, and too early.
    const leftMs = Math.max(1, Math.ceil(dueMs - this.#nowMs()));
    this.#timer = setTimeout(() => {
      this.#timerMs = Infinity;
      this.#give(() => {
        for (const track of this.#tracks) track?.release(this.#nowMs());
      });
      this.#arm();
    }, leftMs);
  }
}

interface ReceivedTrackInit {
  readonly name: string;
  readonly formats: readonly RtpFormat[];
  readonly reorder: boolean;
  /** The session's clock. */
  readonly clock: SessionClock;
  readonly onKeyframeNeeded: () => void;
  /** Told when there may be a configuration. */
  readonly onConfig: () => void;
}

/** One track of a session: its sender, its clock and where its frames go. */
class ReceivedTrack {
  readonly kind: MediaKind;
  readonly source: RtpSource;
  readonly input: RtpInput;
  readonly #session: SessionClock;
  readonly #onConfig: () => void;
  #clock: TrackClock;
  #clockRate: number;
  #format: RtpFormat | undefined;
  #nowMs = 0;
  #live = false;

  /** A track of `kind`, which is that of the first of its formats that is known. */
  constructor(publisher: Publisher, kind: MediaKind, init: ReceivedTrackInit) {
    const { name, formats, reorder, clock, onKeyframeNeeded } = init;
    this.kind = kind;
    this.#session = clock;
    this.#onConfig = init.onConfig;
    this.source = new RtpSource({
      formats: formats.filter((format) => kindOf(format) === kind),
      reorder,
      onLoss: () => this.input.lose(this.#nowMs),
      onUnit: (unit, stage) => this.#push(unit, stage),
    });
    this.input = kind === "video"
      ? new RtpVideoInput(publisher.addVideoTrack(name), onKeyframeNeeded)
      : new RtpAudioInput(publisher.addAudioTrack(name));
    const known = this.source.formats;
    this.#clockRate = known[0]?.clockRate ?? 1;
    this.#clock = clock.track(this.#clockRate);
    // Of several formats the first frame tells which one it is.
    if (known.length === 1 && known[0] !== undefined) this.#use(known[0]);
  }

  anchor(rtptime: number): void {
    this.#clock.anchor(rtptime);
  }

  push(packet: Uint8Array, nowMs: number): void {
    this.#nowMs = nowMs;
    this.source.push(packet, nowMs);
  }

  release(nowMs: number): void {
    this.#nowMs = nowMs;
    this.source.release(nowMs);
  }

  flush(nowMs: number): void {
    this.#nowMs = nowMs;
    this.source.flush(nowMs);
  }

  pushRtcp(bytes: Uint8Array, nowMs: number): void {
    for (const packet of this.#parse(bytes)) {
      if (packet.type === "sr") {
        if (packet.ssrc !== (this.source.ssrc ?? packet.ssrc)) continue;
        this.source.noteSenderReport(packet.ntp, nowMs);
        this.#clock.report(packet.ntp, packet.rtpTimestamp, nowMs);
      } else if (packet.type === "bye") {
        if (packet.ssrcs.some((ssrc) => ssrc === this.source.ssrc)) this.source.noteGoodbye();
      }
    }
  }

  #parse(bytes: Uint8Array): readonly RtcpPacket[] {
    try {
      return parseRtcp(bytes);
    } catch (error) {
      if (!(error instanceof InvalidDataError)) throw error;
      this.source.noteMalformed();
      return [];
    }
  }

  #push(unit: RtpUnit, stage: RtpStage): void {
    const nowMs = this.#nowMs;
    if (stage.format !== this.#format) this.#use(stage.format);
    const ptsUs = this.#clock.map(unit.timestamp, nowMs);
    const movedUs = this.#clock.takeMove();
    if (movedUs !== 0) this.input.moved(movedUs);
    this.input.push(unit, stage, { ptsUs, nowMs });
    if (!this.#live) this.#see();
  }

  #use(format: RtpFormat): void {
    this.#format = format;
    if (format.clockRate !== this.#clockRate) {
      this.#clockRate = format.clockRate;
      this.#clock = this.#session.track(format.clockRate);
    }
    this.input.use(format);
    this.#see();
  }

  #see(): void {
    this.#live = this.input.live;
    if (this.#live) this.#onConfig();
  }
}

/** The kind of a format's codec; undefined if that is not known. */
function kindOf(format: RtpFormat): MediaKind | undefined {
  const fourcc = fourccOf(format);
  if (fourcc === undefined) return undefined;
  return VIDEO.has(fourcc) ? "video" : "audio";
}

const NO_COUNTERS: RtpCounters = Object.freeze({
  packets: 0,
  bytes: 0,
  lost: 0,
  reordered: 0,
  late: 0,
  duplicates: 0,
  malformed: 0,
  unknown: 0,
  foreign: 0,
  framesDropped: 0,
  jitterMs: 0,
});
