/** What comes from the sender of one track: from its packets to frames, and what is missing. */

import { InvalidDataError } from "../errors.ts";
import { depacketizerFor } from "./codecs.ts";
import type { RtpFormat } from "./format.ts";
import type { NtpTime } from "./ntp.ts";
import { parseRtp, type RtpPacket } from "./packet.ts";
import type { Depacketizer, RtpUnit } from "./payload.ts";
import { Reception } from "./reception.ts";
import { type OrderedPacket, ReorderBuffer } from "./reorder.ts";
import type { ReportBlock } from "./rtcp.ts";

/**
 * How long a source must be silent before packets of another one take its place: longer than the
 * pauses of a sender of 5 frames a second, so that two senders at once never mix.
 */
const SILENCE_MS = 500;

/** Whose packets {@linkcode RtpSource} takes, and how. */
export interface RtpSourceInit {
  /** What the payload types mean. Those of unknown codecs may be among them. */
  readonly formats: readonly RtpFormat[];
  /** Whether packets behind a gap wait for those in it. */
  readonly reorder: boolean;
  /**
   * Told before the first frame after a loss: frames to come may refer to some that never came.
   */
  readonly onLoss: () => void;
  /** Told of each frame; `InvalidDataError`s that it throws count as malformed. */
  readonly onUnit: (unit: RtpUnit, from: RtpStage) => void;
}

/** What has become of a track's packets. */
export interface RtpCounters {
  /** RTP packets taken, late and double ones included. */
  readonly packets: number;
  /** Their bytes, with headers. */
  readonly bytes: number;
  /** Missing packets that were given up. Some of them may have come {@linkcode late}. */
  readonly lost: number;
  /** Packets that came behind a later one and were put back before it. */
  readonly reordered: number;
  /** Packets that came after they had been given up. */
  readonly late: number;
  /** Packets that had come before. */
  readonly duplicates: number;
  /** RTP and RTCP packets, and frames, that were malformed. */
  readonly malformed: number;
  /** Packets of payload types that the session description does not name, or of unknown codecs. */
  readonly unknown: number;
  /** Packets of another sender while the track's own one was there. */
  readonly foreign: number;
  /** Frames dropped because a part of them was lost or malformed. */
  readonly framesDropped: number;
  /** Interarrival jitter in ms (RFC 3550 6.4.1). */
  readonly jitterMs: number;
}

/** The reader of one payload type. */
export interface RtpStage {
  /** What the payload type means. */
  readonly format: RtpFormat;
  /** Puts its frames together. */
  readonly depacketizer: Depacketizer;
}

/**
 * The sender of one track.
 *
 * The first packet of a known payload type names it. Packets of another SSRC are left out until it
 * has been silent for half a second or has said goodbye; then two of them in sequence make theirs
 * the track's sender.
 */
export class RtpSource {
  readonly #stages = new Map<number, RtpStage>();
  readonly #buffer: ReorderBuffer;
  readonly #init: RtpSourceInit;
  /** The stage that packets go to now. */
  #stage: RtpStage | undefined;
  #reception: Reception | undefined;
  #heardMs = -Infinity;
  #left = false;
  #packets = 0;
  #bytes = 0;
  #malformed = 0;
  #unknown = 0;
  #foreign = 0;

  /**
   * Before the first packet.
   *
   * @throws {InvalidDataError} If a format's parameters are malformed.
   */
  constructor(init: RtpSourceInit) {
    this.#init = init;
    this.#buffer = new ReorderBuffer({ reorder: init.reorder });
    for (const format of init.formats) {
      const depacketizer = depacketizerFor(format);
      if (depacketizer !== undefined) {
        this.#stages.set(format.payloadType, { format, depacketizer });
      }
    }
  }

  /** The formats of known codecs. */
  get formats(): readonly RtpFormat[] {
    return [...this.#stages.values()].map(({ format }) => format);
  }

  /** The sender's SSRC; undefined before its first packet. */
  get ssrc(): number | undefined {
    return this.#reception?.ssrc;
  }

  /** Whether the sender has said goodbye, and nothing has come since. */
  get left(): boolean {
    return this.#left;
  }

  /** When {@linkcode RtpSource.release} must be called; undefined if nothing waits. */
  get dueMs(): number | undefined {
    return this.#buffer.dueMs;
  }

  /** What has become of packets so far. */
  get counters(): RtpCounters {
    const { lost, reordered, late, duplicates } = this.#buffer.counters;
    const clockRate = this.#stage?.format.clockRate ?? 1;
    return {
      packets: this.#packets,
      bytes: this.#bytes,
      lost,
      reordered,
      late,
      duplicates,
      malformed: this.#malformed,
      unknown: this.#unknown,
      foreign: this.#foreign,
      framesDropped: this.#dropped,
      jitterMs: (this.#reception?.jitter ?? 0) * 1000 / clockRate,
    };
  }

  /** Takes the bytes of an RTP packet, which are kept, and which came at `nowMs`. */
  push(bytes: Uint8Array, nowMs: number): void {
    const packet = this.#attempt(() => parseRtp(bytes));
    if (packet === undefined || !this.#accepts(packet, nowMs)) return;
    this.#packets++;
    this.#bytes += bytes.length;
    const before = this.#reception;
    if (packet.ssrc === before?.ssrc) before.push(packet, nowMs);
    this.#take(this.#buffer.push(packet, nowMs), nowMs);
    // The packet that has made its sender the track's one.
    if (this.#reception !== before) this.#reception?.push(packet, nowMs);
  }

  /** Gives up what packets have waited for too long. */
  release(nowMs: number): void {
    this.#take(this.#buffer.release(nowMs), nowMs);
  }

  /** Hands over what waits, as no more packets come. */
  flush(nowMs: number): void {
    this.#take(this.#buffer.flush(), nowMs);
    this.#end();
  }

  /** Counts a packet or frame as malformed. */
  noteMalformed(): void {
    this.#malformed++;
  }

  /** Takes note of a sender report's NTP time, which came at `nowMs`. */
  noteSenderReport(ntp: NtpTime, nowMs: number): void {
    this.#reception?.noteSenderReport(ntp, nowMs);
  }

  /** Takes note of the sender's goodbye. */
  noteGoodbye(): void {
    this.#left = true;
  }

  /** What to report of the sender; undefined if nothing has come since the last report. */
  report(nowMs: number): ReportBlock | undefined {
    return this.#reception?.report(nowMs);
  }

  get #dropped(): number {
    let dropped = 0;
    for (const { depacketizer } of this.#stages.values()) dropped += depacketizer.dropped;
    return dropped;
  }

  #accepts(packet: RtpPacket, nowMs: number): boolean {
    const known = this.#stages.has(packet.payloadType);
    if (packet.ssrc === this.ssrc) {
      this.#heardMs = nowMs;
      this.#left = false;
      // One of an unknown type has its place in the order of the others.
      return true;
    }
    if (!known) {
      this.#unknown++;
      return false;
    }
    if (this.ssrc === undefined || this.#left || nowMs - this.#heardMs >= SILENCE_MS) return true;
    this.#foreign++;
    return false;
  }

  #take(ordered: readonly OrderedPacket[], nowMs: number): void {
    for (const { packet, lost, restarted } of ordered) {
      const stage = this.#stages.get(packet.payloadType);
      // Before the loss: it is the new sender that can be asked for a keyframe.
      if (packet.ssrc !== this.ssrc) this.#begin(packet, nowMs);
      if (lost > 0 || restarted) this.#lose();
      if (stage === undefined) this.#unknown++;
      else this.#depacketize(packet, stage);
    }
  }

  /** Follows a new sender. */
  #begin(packet: RtpPacket, nowMs: number): void {
    const clockRate = this.#stages.get(packet.payloadType)?.format.clockRate ?? 1;
    this.#reception = new Reception(packet.ssrc, clockRate);
    this.#heardMs = nowMs;
    this.#left = false;
  }

  #depacketize(packet: RtpPacket, stage: RtpStage): void {
    if (stage !== this.#stage) {
      this.#end();
      this.#stage = stage;
    }
    const { depacketizer } = stage;
    const droppedBefore = depacketizer.dropped;
    const units = this.#attempt(() => depacketizer.push(packet));
    // Before the frames of the same packet, which come after what is dropped.
    if (units === undefined || depacketizer.dropped > droppedBefore) this.#init.onLoss();
    this.#give(units ?? [], stage);
  }

  #lose(): void {
    for (const { depacketizer } of this.#stages.values()) depacketizer.lose();
    this.#init.onLoss();
  }

  /** Hands over the frame that nothing has ended. */
  #end(): void {
    const stage = this.#stage;
    if (stage !== undefined) this.#give(stage.depacketizer.flush(), stage);
  }

  #give(units: readonly RtpUnit[], stage: RtpStage): void {
    for (const unit of units) this.#attempt(() => this.#init.onUnit(unit, stage));
  }

  /** The result of `run`; undefined where it finds what a peer sent to be malformed. */
  #attempt<T>(run: () => T): T | undefined {
    try {
      return run();
    } catch (error) {
      if (!(error instanceof InvalidDataError)) throw error;
      this.#malformed++;
      return undefined;
    }
  }
}
