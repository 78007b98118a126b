/** Where flushes fall between pictures: right behind one, so that it does not wait for the next flush. */

import type { MediaFrame } from "./frame.ts";
import type { Ring } from "./ring.ts";
import { Place, type Waiter } from "./wake_list.ts";

/** How long behind a picture a flush is to fall, as a share of the time between pictures: for jitter. */
const BEHIND_SHARE = 1 / 6;
/** Share of what is to be corrected that is corrected at once: a correction shows two flushes later. */
const GAIN = 1 / 4;
/** By how much an interval may become shorter, as a share of it. */
const MAX_SHORTER = 1 / 25;
/** By how much it may become longer: frames are to wait for hardly longer than it says. */
const MAX_LONGER = 1 / 100;
/** Pictures whose times are averaged: RTMP has whole ms, so that 30 a second are 33, 33 and 34 ms apart. */
const AVERAGED = 30;

/** What a {@linkcode FlushPhase} needs. */
export interface FlushPhaseInit {
  /** Time from flush to flush, in ms. */
  readonly intervalMs: number;
  /** Milliseconds of a clock that never goes back. */
  readonly nowMs: () => number;
  /** Called with the ms by which the interval after the next flush should be longer. */
  readonly onShift: (shiftMs: number) => void;
}

/**
 * Tells how far flushes are from falling right behind a picture.
 *
 * Where an interval is a whole number of pictures, as 100 ms is at 30 a second, the two would keep
 * to each other as they happened to begin: every picture could wait by up to one picture's time
 * longer than it has to. Other intervals pass by all places in turn, and are left alone.
 */
export class FlushPhase implements Waiter {
  readonly #pictures: Ring<MediaFrame>;
  readonly #place: Place;
  readonly #intervalMs: number;
  readonly #nowMs: () => number;
  readonly #onShift: (shiftMs: number) => void;
  #flushedMs = 0;

  /** That of flushes of `pictures` and what comes with them. */
  constructor(pictures: Ring<MediaFrame>, init: FlushPhaseInit) {
    this.#pictures = pictures;
    this.#place = new Place(pictures.waiting);
    this.#intervalMs = init.intervalMs;
    this.#nowMs = init.nowMs;
    this.#onShift = init.onShift;
  }

  /** Told that all that has come is flushed. */
  flushed(nowMs: number): void {
    this.#flushedMs = nowMs;
    this.#place.wait(this);
  }

  /** Told that the next picture has come. */
  wake(): void {
    const intervalMs = this.#intervalMs;
    const frameMs = this.#frameMs();
    const wholeMs = Math.floor(intervalMs * (1 + MAX_LONGER) / frameMs) * frameMs;
    if (!(frameMs > 0) || wholeMs < intervalMs * (1 - MAX_SHORTER)) return;
    const behindMs = frameMs - (this.#nowMs() - this.#flushedMs);
    const tooLateMs = behindMs - frameMs * BEHIND_SHARE;
    const shiftMs = wholeMs - intervalMs - tooLateMs * GAIN;
    this.#onShift(
      Math.min(Math.max(shiftMs, -intervalMs * MAX_SHORTER), intervalMs * MAX_LONGER),
    );
  }

  /** Waits for no picture any more. Idempotent. */
  stop(): void {
    this.#place.leave();
  }

  /** Mean time between the newest pictures, in ms; NaN if there are not two. */
  #frameMs(): number {
    const { head, tail } = this.#pictures;
    const from = Math.max(tail, head - 1 - AVERAGED);
    const dtsOf = (sequence: number) => this.#pictures.at(sequence)?.dts ?? NaN;
    return (dtsOf(head - 1) - dtsOf(from)) / (head - 1 - from) / 1000;
  }
}
