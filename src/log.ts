/** Logs: LogTape's loggers, and what keeps a repeated line from flooding them. */

import { getLogger, type Logger } from "@logtape/logtape";

export type { Logger } from "@logtape/logtape";

/** The logger of the engine where no other is given: category `m7s`, silent until configured. */
export function defaultLogger(): Logger {
  return getLogger(["m7s"]);
}

/** Time over which a {@linkcode Tally} counts. */
const INTERVAL_MS = 1000;

/**
 * Keeps what happens often from flooding the log: a few occurrences a second are reported one by
 * one, the others of that second as one sum at its end. It holds no timer while nothing happens.
 */
export class Tally {
  readonly #burst: number;
  readonly #summarize: (count: number) => void;
  #inInterval = 0;
  #held = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Lets `burst` occurrences a second pass and gives the number of the others to `summarize`. */
  constructor(burst: number, summarize: (count: number) => void) {
    this.#burst = burst;
    this.#summarize = summarize;
  }

  /** Counts one occurrence, and reports it by `report` unless there were too many. */
  add(report: () => void): void {
    this.#timer ??= setTimeout(() => this.flush(), INTERVAL_MS);
    if (this.#inInterval++ < this.#burst) report();
    else this.#held++;
  }

  /** Reports the occurrences that were held back, and stops the timer. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#inInterval = 0;
    const held = this.#held;
    this.#held = 0;
    if (held > 0) this.#summarize(held);
  }
}
