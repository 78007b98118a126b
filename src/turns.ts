/** Long work in turns, between which the process does whatever else has come up. */

/** How long a turn is, in ms: some hundreds of writes to sockets. */
const TURN_MS = 5;

/**
 * Turns of the event loop from one turn of ours to the next. Deno's looks for what has come from the
 * network when it is idle, otherwise once in some 30 turns (in 61 polls, the event interval of Tokio).
 */
const PAUSE_LOOPS = 32;

/** Has the event loop do what is due; browsers have timers for that. */
const afterLoop: (run: () => void) => unknown = globalThis.setImmediate ?? setTimeout;

/** Work that is done bit by bit. */
export interface Job {
  /** Does a bit of it, some microseconds long; whether that was the last one. It must not throw. */
  step(): boolean;
}

/**
 * Does jobs in turns: those that wait get one after the other, until all are done.
 *
 * To write to thousands of viewers takes long. What publishers send meanwhile is then there for
 * those who are still to come, and who wants to watch does not wait for all of them.
 */
export class Turns {
  readonly #nowMs: () => number;
  readonly #jobs = new Set<Job>();
  readonly #wait = () => this.#pause();
  /** Whether a turn is under way or to come. */
  #busy = false;
  /** Turns of the event loop before the next turn. */
  #loops = 0;

  /** Turns by a clock that never goes back. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Does `job`, from now on if there is no other. Does nothing if it is under way. */
  run(job: Job): void {
    this.#jobs.add(job);
    if (!this.#busy) this.#begin();
  }

  #begin(): void {
    this.#busy = true;
    const endMs = this.#nowMs() + TURN_MS;
    let isOver = false;
    for (const job of this.#jobs) {
      // Whoever wants it done once more, from now on, gets that.
      this.#jobs.delete(job);
      let isDone = false;
      while (!isDone && !isOver) {
        isDone = job.step();
        isOver = this.#nowMs() >= endMs;
      }
      if (!isDone) this.#jobs.add(job);
      if (isOver) break;
    }
    this.#busy = this.#jobs.size > 0;
    if (!this.#busy) return;
    this.#loops = PAUSE_LOOPS;
    afterLoop(this.#wait);
  }

  #pause(): void {
    if (--this.#loops > 0) afterLoop(this.#wait);
    else this.#begin();
  }
}
