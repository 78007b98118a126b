/** Time: wrap-around of wire timestamps, and the one timeline of a stream. */

/** Follows a wire timestamp of few bits past its wrap-around. */
export class Unwrapper {
  readonly #period: number;
  #last: number | undefined;

  /** For timestamps of `bits` bits, at most 48. */
  constructor(bits: number) {
    this.#period = 2 ** bits;
  }

  /** The value nearest to the one before that equals `wire` modulo 2^bits. */
  unwrap(wire: number): number {
    if (this.#last === undefined) return this.#last = wire;
    const period = this.#period;
    const step = (((wire - this.#last) % period) + period) % period;
    this.#last += step < period / 2 ? step : step - period;
    return this.#last;
  }
}

/** An offset that all tracks of a publisher share until one of them jumps. */
interface Epoch {
  offsetUs: number | undefined;
}

/** Forward steps of up to so many frame durations are never a jump. */
const JUMP_FRAMES = 10;
/** Forward steps of up to so much more than the wall clock saw pass are never a jump. */
const JUMP_SLACK_US = 1_000_000;
/** Steps back of less than this are no new clock: they move the tracks on together, in place. */
const MAX_GLITCH_US = 500_000;
/** Longest step taken for a frame's duration. */
const MAX_FRAME_US = 1_000_000;
/** How far apart two tracks of one publisher may lie and still be taken for one clock's. */
const MAX_SKEW_US = 10_000_000;

/**
 * Puts the timestamps of a stream's publishers, one after the other, on one timeline.
 *
 * Raw timestamps keep their values and their audio-to-video offset while they are continuous. A
 * jump, back or forward beyond what the wall clock saw pass, goes on by one frame duration and
 * moves all tracks by the same amount, whichever of them shows it first. Steps back of less than a
 * frame are jitter and are held at the frame before. A gap that the wall clock saw too stays.
 */
export class Timeline {
  /** Milliseconds of a clock that never goes back. */
  readonly nowMs: () => number;
  /** The offset that jumping tracks join. */
  epoch: Epoch = { offsetUs: 0 };
  #endUs: number | undefined;

  /** A timeline that starts with its first publisher's own timestamps. */
  constructor(nowMs: () => number) {
    this.nowMs = nowMs;
  }

  /** The newest time on the timeline in µs, of any track; undefined before the first frame. */
  get endUs(): number | undefined {
    return this.#endUs;
  }

  /** Makes the next publisher's first frame go on one frame after the newest one. */
  restart(): void {
    if (this.#endUs !== undefined) this.epoch = { offsetUs: undefined };
  }

  /** Moves the end of the timeline to `us` if that is later. */
  extend(us: number): void {
    if (this.#endUs === undefined || us > this.#endUs) this.#endUs = us;
  }
}

/** What is known of a track before its first frame. */
export interface TimelineTrackOptions {
  /** How long its frames usually last, in µs. */
  readonly frameUs: number;
  /** Where its newest frame lies, of a publisher before. @default {it has none} */
  readonly lastUs?: number | undefined;
  /**
   * Whether it has a say in the timeline: jumps of one that has none, as of data whose times are
   * often a mere 0, move nothing but itself. @default {true}
   */
  readonly leads?: boolean;
}

/** One publisher's one track on a {@linkcode Timeline}. */
export class TimelineTrack {
  readonly #timeline: Timeline;
  readonly #leads: boolean;
  #epoch: Epoch | undefined;
  #frameUs: number;
  #lastUs: number;
  #lastRawUs = 0;
  #lastWallMs = 0;

  /** A track without a frame of its publisher. */
  constructor(timeline: Timeline, options: TimelineTrackOptions) {
    this.#timeline = timeline;
    this.#frameUs = options.frameUs;
    this.#lastUs = options.lastUs ?? -Infinity;
    this.#leads = options.leads ?? true;
  }

  /**
   * Puts the next frame, which its publisher puts at `rawUs`, on the timeline: its time in µs.
   *
   * @throws {RangeError} If `rawUs` is not finite.
   */
  map(rawUs: number): number {
    if (!Number.isFinite(rawUs)) throw new RangeError(`Cannot place a frame: its time is ${rawUs}`);
    const nowMs = this.#timeline.nowMs();
    const elapsedUs = (nowMs - this.#lastWallMs) * 1000;
    let epoch = this.#epoch;
    if (epoch === undefined) {
      epoch = this.#start(rawUs);
    } else {
      const step = rawUs - this.#lastRawUs;
      const limit = Math.max(JUMP_FRAMES * this.#frameUs, elapsedUs + JUMP_SLACK_US);
      // A track that was silent while others went on, such as video of a still screen, catches up.
      const aheadUs = rawUs + (epoch.offsetUs ?? 0) - (this.#timeline.endUs ?? 0);
      if (step <= -MAX_GLITCH_US || (step > limit && aheadUs > limit)) {
        epoch = this.#jump(epoch, rawUs, elapsedUs);
      } else if (step <= -this.#frameUs) {
        this.#keepAhead(epoch, rawUs);
      } else if (step > 0 && step < MAX_FRAME_US) this.#frameUs = step;
    }
    this.#epoch = epoch;
    const us = Math.max(rawUs + (epoch.offsetUs ?? 0), this.#lastUs);
    this.#lastRawUs = rawUs;
    this.#lastUs = us;
    this.#lastWallMs = nowMs;
    if (this.#leads) this.#timeline.extend(us);
    return us;
  }

  /** Says that its publisher has moved the times to come by `us`: such a step is no jump. */
  moved(us: number): void {
    this.#lastRawUs += us;
  }

  #start(rawUs: number): Epoch {
    const epoch = this.#timeline.epoch;
    const endUs = this.#timeline.endUs ?? 0;
    if (!this.#leads) return this.#startAside(epoch, rawUs, endUs);
    epoch.offsetUs ??= endUs + this.#frameUs - rawUs;
    this.#keepAhead(epoch, rawUs);
    return epoch;
  }

  #startAside(epoch: Epoch, rawUs: number, endUs: number): Epoch {
    const offsetUs = epoch.offsetUs ?? endUs - rawUs;
    if (rawUs + offsetUs > this.#lastUs) return epoch.offsetUs === undefined ? { offsetUs } : epoch;
    return { offsetUs: this.#lastUs + this.#frameUs - rawUs };
  }

  #jump(from: Epoch, rawUs: number, elapsedUs: number): Epoch {
    const current = this.#timeline.epoch;
    if (from !== current && current.offsetUs !== undefined) {
      const skew = rawUs + current.offsetUs - this.#lastUs;
      if (skew > -MAX_SKEW_US && skew < MAX_SKEW_US + elapsedUs) {
        this.#keepAhead(current, rawUs);
        return current;
      }
    }
    const epoch = { offsetUs: this.#lastUs + this.#frameUs - rawUs };
    if (this.#leads) this.#timeline.epoch = epoch;
    return epoch;
  }

  /** Moves an epoch, and all tracks in it, forward if this track would go back in it. */
  #keepAhead(epoch: Epoch, rawUs: number): void {
    if (this.#leads && rawUs + (epoch.offsetUs ?? 0) <= this.#lastUs) {
      epoch.offsetUs = this.#lastUs + this.#frameUs - rawUs;
    }
  }
}
