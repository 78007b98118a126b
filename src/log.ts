/** Logs: LogTape's loggers, and what keeps a repeated line from flooding them. */

import { getLogger, type Logger, type LogRecord, type Sink } from "@logtape/logtape";

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

/** A line that a {@linkcode LogHistory} keeps. */
export interface LogEntry {
  /** Grows with each line, also from one run of the program to the next. */
  readonly sequence: number;
  /** When it was last written, in ms since 1970. */
  readonly atMs: number;
  /** How bad it is. */
  readonly level: "warning" | "error" | "fatal";
  /** Category of its logger below the program's own, such as `rtmp`, or `engine`. */
  readonly source: string;
  /** The line. */
  readonly message: string;
  /** How often it was written. */
  readonly count: number;
}

/** Most lines that are kept: more than anybody reads. */
const MAX_ENTRIES = 100;
/** Longest line that is kept, in characters: a longer one is cut. */
const MAX_MESSAGE_LENGTH = 1000;

/**
 * The newest warnings and errors, for those who cannot see the log itself. A line that comes again
 * takes the place of the one before it and is counted, so that it does not drive out others.
 *
 * @example Keep what a program logs
 * ```ts ignore
 * const logHistory = new LogHistory();
 * await configure({
 *   sinks: { console: getConsoleSink(), history: logHistory.sink },
 *   loggers: [{ category: "m7s", sinks: ["console", "history"] }],
 * });
 * const plugins = new Plugins(engine, { logHistory });
 * ```
 */
export class LogHistory {
  /** By what makes a line the same, the newest one last. */
  readonly #entries = new Map<string, LogEntry>();
  #newest = 0;

  /** Takes what is logged. */
  readonly sink: Sink = ({ level, category, message, timestamp }: LogRecord): void => {
    if (level !== "warning" && level !== "error" && level !== "fatal") return;
    const source = category.slice(1).join(".") || "engine";
    this.add({ atMs: timestamp, level, source, message: textOf(message), count: 1 });
  };

  /** Adds a line, such as one that another history has. */
  add({ atMs, level, source, message, count }: Omit<LogEntry, "sequence">): void {
    const key = JSON.stringify([level, source, message]);
    const known = this.#entries.get(key)?.count ?? 0;
    const sequence = Math.max(this.#newest + 1, atMs);
    this.#newest = sequence;
    this.#entries.delete(key);
    this.#entries.set(key, { sequence, atMs, level, source, message, count: known + count });
    const [oldest] = this.#entries.keys();
    if (this.#entries.size > MAX_ENTRIES && oldest !== undefined) this.#entries.delete(oldest);
  }

  /** The lines that were written after the one of number `sequence`, the oldest one first. */
  after(sequence = 0): LogEntry[] {
    return [...this.#entries.values()].filter((entry) => entry.sequence > sequence);
  }
}

/** A message without what differs from one run to the next, such as the stack of an error. */
function textOf(message: LogRecord["message"]): string {
  const text = message.map((part) => part instanceof Error ? part.message : String(part)).join("");
  return text.length > MAX_MESSAGE_LENGTH ? `${text.slice(0, MAX_MESSAGE_LENGTH)}…` : text;
}
