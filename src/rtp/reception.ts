/** What a receiver says of a source: losses and jitter (RFC 3550 6.4, A.1, A.3 and A.8). */

import { ntpMiddle, type NtpTime } from "./ntp.ts";
import { MAX_DROPOUT, type RtpHeader, sequenceDistance } from "./packet.ts";
import type { ReportBlock } from "./rtcp.ts";

const CYCLE = 0x1_0000;
const MIN_LOST = -0x80_0000;
const MAX_LOST = 0x7f_ffff;
const MAX_U32 = 0xffff_ffff;
/** Units of DLSR in a ms. */
const DELAY_UNITS_PER_MS = 65.536;

/**
 * Statistics of the packets of one source, in the order in which they come from the network.
 *
 * The first packet counts at once: the session has named its source, so that there is no need to
 * wait for a second one in sequence.
 */
export class Reception {
  /** The source: 32 bits. */
  readonly ssrc: number;
  readonly #ticksPerMs: number;
  #started = false;
  #base = 0;
  #highest = 0;
  #cycles = 0;
  /** The sequence number that shows, as the one before it was out of range, that the sender has started anew. */
  #expectedRestart: number | undefined;
  #received = 0;
  #expectedBefore = 0;
  #receivedBefore = 0;
  #jitter = 0;
  /** When the newest packet came, in ticks. */
  #lastTicks: number | undefined;
  #lastTimestamp = 0;
  #report: { readonly middle: number; readonly atMs: number } | undefined;

  /** For the source `ssrc`, whose timestamps have `clockRate` ticks a second. */
  constructor(ssrc: number, clockRate: number) {
    this.ssrc = ssrc;
    this.#ticksPerMs = clockRate / 1000;
  }

  /** Packets received since the sender started, with duplicates. */
  get received(): number {
    return this.#received;
  }

  /** Packets lost since the sender started, less duplicates. */
  get lost(): number {
    return this.#expected - this.#received;
  }

  /** Highest sequence number, plus 65 536 for each time that it wrapped around. */
  get highestSequence(): number {
    return this.#cycles + this.#highest;
  }

  /** Interarrival jitter in ticks of the payload format's clock. */
  get jitter(): number {
    return this.#jitter;
  }

  /** Counts a packet that came at `nowMs`, of a clock that never goes back. */
  push(packet: RtpHeader, nowMs: number): void {
    if (!this.#follow(packet.sequence)) return;
    this.#received++;
    const ticks = nowMs * this.#ticksPerMs;
    if (this.#lastTicks !== undefined) {
      const spacing = (packet.timestamp - this.#lastTimestamp) | 0;
      const change = Math.abs(ticks - this.#lastTicks - spacing);
      this.#jitter += (change - this.#jitter) / 16;
    }
    this.#lastTicks = ticks;
    this.#lastTimestamp = packet.timestamp;
  }

  /** Takes note of a sender report of the source, which said `ntp` and came at `nowMs`. */
  noteSenderReport(ntp: NtpTime, nowMs: number): void {
    this.#report = { middle: ntpMiddle(ntp), atMs: nowMs };
  }

  /**
   * The block for a report sent at `nowMs`, on the packets since the one before; undefined if there
   * were none, as a source that is silent is not reported on (RFC 3550 6.4).
   */
  report(nowMs: number): ReportBlock | undefined {
    const received = this.#received - this.#receivedBefore;
    if (received === 0) return undefined;
    const expected = this.#expected - this.#expectedBefore;
    this.#receivedBefore = this.#received;
    this.#expectedBefore = this.#expected;
    const lost = expected - received;
    const sinceMs = this.#report === undefined ? 0 : nowMs - this.#report.atMs;
    return {
      ssrc: this.ssrc,
      fractionLost: lost <= 0 ? 0 : Math.floor(lost * 256 / expected),
      lost: Math.min(Math.max(this.lost, MIN_LOST), MAX_LOST),
      highestSequence: this.highestSequence >>> 0,
      jitter: Math.min(Math.floor(this.#jitter), MAX_U32),
      lastReport: this.#report?.middle ?? 0,
      sinceLastReport: Math.min(Math.round(sinceMs * DELAY_UNITS_PER_MS), MAX_U32),
    };
  }

  get #expected(): number {
    return this.#started ? this.highestSequence - this.#base + 1 : 0;
  }

  /** Follows the sequence numbers: whether the packet counts (A.1). */
  #follow(sequence: number): boolean {
    const ahead = sequenceDistance(this.#highest, sequence);
    if (!this.#started) {
      this.#start(sequence);
    } else if (ahead > MAX_DROPOUT || ahead < -MAX_DROPOUT) {
      if (sequence !== this.#expectedRestart) {
        this.#expectedRestart = (sequence + 1) & 0xffff;
        return false;
      }
      this.#start(sequence);
    } else if (ahead > 0) {
      if (sequence < this.#highest) this.#cycles += CYCLE;
      this.#highest = sequence;
    }
    return true;
  }

  #start(sequence: number): void {
    this.#started = true;
    this.#base = sequence;
    this.#highest = sequence;
    this.#cycles = 0;
    this.#expectedRestart = undefined;
    this.#received = 0;
    this.#expectedBefore = 0;
    this.#receivedBefore = 0;
    this.#lastTicks = undefined;
  }
}
