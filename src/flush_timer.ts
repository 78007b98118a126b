/** When what is gathered goes out: at the same moments for all streams of one flush interval. */

/** Who gathers. */
export interface Gatherer {
  /**
   * Called once after {@linkcode FlushTimer.wait}, with the time in ms from which on the next
   * interval counts: that at which it was due, but for a shift.
   */
  flush(dueMs: number): void;
}

/**
 * One timer for all who gather for as long as each other. The first one that waits says when it is
 * due, and the others go out with it, none of them later than they asked for: so their next turns
 * fall together, and hundreds of streams wake the process no more often than one.
 */
export class FlushTimer {
  readonly #nowMs: () => number;
  readonly #waiting = new Set<Gatherer>();
  #dueMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Who alone may shift the intervals, as long as it does so in each. */
  #leader: Gatherer | undefined;
  #shiftMs: number | undefined;

  /** A timer by a clock that never goes back. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Flushes `gatherer` at `dueMs`, or before that together with others. Idempotent. */
  wait(gatherer: Gatherer, dueMs: number): void {
    this.#waiting.add(gatherer);
    if (this.#timer !== undefined && this.#dueMs <= dueMs) return;
    clearTimeout(this.#timer);
    this.#dueMs = dueMs;
    this.#timer = setTimeout(() => this.#fire(), dueMs - this.#nowMs());
  }

  /** Lets `gatherer` wait no more. Idempotent. */
  leave(gatherer: Gatherer): void {
    if (!this.#waiting.delete(gatherer) || this.#waiting.size > 0) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Whether `gatherer` may shift the intervals: one after the other may, if there are many. */
  mayShift(gatherer: Gatherer): boolean {
    return this.#leader === undefined || this.#leader === gatherer;
  }

  /** Makes the interval after the next flush longer by `ms`, for all. */
  shift(gatherer: Gatherer, ms: number): void {
    if (!this.mayShift(gatherer)) return;
    this.#leader = gatherer;
    this.#shiftMs = ms;
  }

  #fire(): void {
    if (this.#shiftMs === undefined) this.#leader = undefined;
    const dueMs = this.#dueMs + (this.#shiftMs ?? 0);
    this.#shiftMs = undefined;
    this.#timer = undefined;
    for (const gatherer of [...this.#waiting]) {
      if (this.#waiting.delete(gatherer)) gatherer.flush(dueMs);
    }
  }
}

/** The timers of an engine, one for each flush interval that is in use. */
export class FlushTimers {
  readonly #nowMs: () => number;
  readonly #timers = new Map<number, FlushTimer>();

  /** Timers by a clock that never goes back. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** The timer of those who gather for `intervalMs`: one of the few flush intervals. */
  of(intervalMs: number): FlushTimer {
    let timer = this.#timers.get(intervalMs);
    if (timer === undefined) {
      timer = new FlushTimer(this.#nowMs);
      this.#timers.set(intervalMs, timer);
    }
    return timer;
  }
}
