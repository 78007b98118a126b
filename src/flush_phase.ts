/** Where flushes fall between pictures: with one, so that it does not wait for the next flush. */

import type { Lead } from "./flush_timer.ts";
import type { MediaFrame } from "./frame.ts";
import type { Ring } from "./ring.ts";
import { Place, type Waiter } from "./wake_list.ts";

/** By how much an interval may become shorter, as a share of it. */
const MAX_SHORTER = 1 / 25;
/** By how much it may become longer: frames are to wait for hardly longer than it says. */
const MAX_LONGER = 1 / 100;
/** How long a flush waits for a picture that is late, as a share of the time between pictures. */
const MAX_LATE = 1 / 4;
/** Pictures whose times are averaged: RTMP has whole ms, so that 30 a second are 33, 33 and 34 ms apart. */
const AVERAGED = 30;

/** What a {@linkcode FlushPhase} needs. */
export interface FlushPhaseInit {
  /** Time from flush to flush, in ms. */
  readonly intervalMs: number;
  /** Called with each picture that a flush could go out with. */
  readonly onPicture: (lead: Lead) => void;
}

/**
 * Tells which pictures flushes could go out with.
 *
 * Where an interval is a whole number of pictures, as 100 ms is at 30 a second, the two would keep
 * to each other as they happened to begin: every picture could wait by up to one picture's time
 * longer than it has to. Other intervals pass by all places in turn, and are left alone.
 */
export class FlushPhase implements Waiter {
  readonly #pictures: Ring<MediaFrame>;
  readonly #place: Place;
  readonly #intervalMs: number;
  readonly #onPicture: (lead: Lead) => void;

  /** That of flushes of `pictures` and what comes with them. */
  constructor(pictures: Ring<MediaFrame>, { intervalMs, onPicture }: FlushPhaseInit) {
    this.#pictures = pictures;
    this.#place = new Place(pictures.waiting);
    this.#intervalMs = intervalMs;
    this.#onPicture = onPicture;
  }

  /** Told that all that has come is flushed. */
  flushed(): void {
    this.#place.wait(this);
  }

  /** Told that a picture has come, or that none will. */
  wake(): void {
    if (this.#pictures.closed) return;
    const intervalMs = this.#intervalMs;
    const frameMs = this.#frameMs();
    const wholeMs = Math.floor(intervalMs * (1 + MAX_LONGER) / frameMs) * frameMs;
    if (!(frameMs > 0) || wholeMs < intervalMs * (1 - MAX_SHORTER)) return;
    this.#place.wait(this);
    this.#onPicture({
      longerMs: wholeMs - intervalMs,
      earlyMs: frameMs / 2,
      lateMs: frameMs * MAX_LATE,
    });
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
