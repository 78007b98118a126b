/** When what is gathered goes out: at the same moments for all streams of one flush interval. */

/** Who gathers. */
export interface Gatherer {
  /**
   * Called once after {@linkcode FlushTimer.wait}, with the time in ms from which on the next
   * interval counts.
   */
  flush(dueMs: number): void;
}

/** When flushes go out with pictures instead of by the clock; all in ms. */
export interface Lead {
  /** How much longer than the interval it is from one such picture to the next. */
  readonly longerMs: number;
  /** How long before a flush is due a picture may come to have it go out. */
  readonly earlyMs: number;
  /** How long after that a flush waits for its picture. */
  readonly lateMs: number;
}

/**
 * One timer for all who gather for as long as each other. The first one that waits says when it is
 * due, and the others go out with it, none of them later than they asked for: so their next turns
 * fall together, and hundreds of streams wake the process no more often than one.
 *
 * One of them may lead: all go out with those of its pictures that come about when they are due, and
 * wait for one that is a little late.
 */
export class FlushTimer {
  readonly #nowMs: () => number;
  readonly #waiting = new Set<Gatherer>();
  readonly #onLatest = () => this.#fire(this.#latestMs);
  #dueMs = 0;
  /** When it goes out at the latest: a picture may be waited for. */
  #latestMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Whose pictures count, as long as one comes for each flush. */
  #leader: Gatherer | undefined;
  /** Whether a picture of the leader has come since the last flush. */
  #isLed = false;
  #lateMs = 0;

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
    this.#latestMs = dueMs + this.#lateMs;
    this.#timer = setTimeout(this.#onLatest, this.#latestMs - this.#nowMs());
  }

  /** Lets `gatherer` wait no more. Idempotent. */
  leave(gatherer: Gatherer): void {
    if (!this.#waiting.delete(gatherer) || this.#waiting.size > 0) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Whether `gatherer` may lead: one after the other may, if there are many. */
  mayLead(gatherer: Gatherer): boolean {
    return this.#leader === undefined || this.#leader === gatherer;
  }

  /** Told that a picture of `gatherer` has come: flushes all if that is about due; false if it may not. */
  lead(gatherer: Gatherer, { longerMs, earlyMs, lateMs }: Lead): boolean {
    if (!this.mayLead(gatherer)) return false;
    this.#leader = gatherer;
    this.#isLed = true;
    this.#lateMs = lateMs;
    const nowMs = this.#nowMs();
    if (this.#timer !== undefined && nowMs >= this.#dueMs - earlyMs) this.#fire(nowMs + longerMs);
    return true;
  }

  #fire(fromMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#isLed) {
      this.#leader = undefined;
      this.#lateMs = 0;
    }
    this.#isLed = false;
    for (const gatherer of [...this.#waiting]) {
      if (this.#waiting.delete(gatherer)) gatherer.flush(fromMs);
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
