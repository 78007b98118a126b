/** Keeps the isolates of a server running. */

import { IsolateHub } from "./isolate_hub.ts";
import type { Logger } from "./log.ts";

/** An isolate that runs, or is about to. */
export interface IsolateHandle {
  /** Settles once it serves; rejects if it cannot. */
  readonly ready: Promise<void>;
  /** Settles when it has ended, with the reason if nobody asked it to. */
  readonly ended: Promise<string | undefined>;
  /** Asks it to end in good order. Idempotent. */
  stop(): void;
}

/** How isolates come about. */
export interface SupervisorInit {
  /** How many there are to be. */
  readonly count: number;
  /** Starts isolate `index`, which reaches the hub through `port`. */
  readonly spawn: (index: number, port: MessagePort) => IsolateHandle;
  /** Where it says what happens. */
  readonly log: Logger;
  /** Milliseconds of a clock that never goes back. @default {performance.now} */
  readonly nowMs?: () => number;
}

/** Pause before an isolate that has failed is started again, in ms; each time twice as long. */
const FIRST_PAUSE_MS = 100;
/** Longest pause, in ms. */
const MAX_PAUSE_MS = 30_000;
/** An isolate that has run for so long, in ms, is given the first pause again. */
const STEADY_MS = 60_000;

/** Starts isolates, joins them by a hub, and starts one again that fails. */
export class IsolateSupervisor {
  readonly #init: SupervisorInit;
  readonly #nowMs: () => number;
  readonly #hub = new IsolateHub();
  readonly #running = new Map<number, IsolateHandle>();
  /** Isolates that have served once. */
  readonly #served = new Set<number>();
  readonly #timers = new Map<number, ReturnType<typeof setTimeout>>();
  #stopped = false;

  /** A supervisor of no isolates yet. */
  constructor(init: SupervisorInit) {
    this.#init = init;
    this.#nowMs = init.nowMs ?? (() => performance.now());
  }

  /**
   * Starts all isolates; settles once all serve.
   *
   * @throws {Error} If one cannot, as it says; the others are stopped then.
   */
  async start(): Promise<void> {
    // One after the other: what is wrong with the config is said once.
    for (let index = 0; index < this.#init.count && !this.#stopped; index++) {
      try {
        await this.#spawn(index, FIRST_PAUSE_MS);
      } catch (error) {
        await this.stop();
        throw error;
      }
    }
  }

  /** Asks all isolates to end; settles when they have. Idempotent. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers.values()) clearTimeout(timer);
    this.#timers.clear();
    const handles = [...this.#running.values()];
    for (const handle of handles) handle.stop();
    await Promise.all(handles.map(({ ended }) => ended));
    this.#hub.close();
  }

  #spawn(index: number, pauseMs: number): Promise<void> {
    const { port1, port2 } = new MessageChannel();
    this.#hub.connect(index, port1);
    const handle = this.#start(index, port2);
    const sinceMs = this.#nowMs();
    this.#running.set(index, handle);
    const ready = handle.ready.then(() => void this.#served.add(index));
    handle.ended.then((reason = "it ended") => {
      this.#running.delete(index);
      this.#hub.lose(index);
      // What keeps one from its first start is for the caller of start().
      if (this.#stopped || !this.#served.has(index)) return;
      const steady = this.#nowMs() - sinceMs >= STEADY_MS;
      this.#restart(index, reason, steady ? FIRST_PAUSE_MS : pauseMs);
    });
    return ready;
  }

  #start(index: number, port: MessagePort): IsolateHandle {
    try {
      return this.#init.spawn(index, port);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      return { ready: Promise.reject(error), ended: Promise.resolve(reason), stop() {} };
    }
  }

  #restart(index: number, reason: string, pauseMs: number): void {
    const { log } = this.#init;
    log.error("isolate {index} failed, starting it again in {pauseMs} ms: {reason}", {
      index,
      pauseMs,
      reason,
    });
    const start = () => {
      this.#timers.delete(index);
      this.#spawn(index, Math.min(2 * pauseMs, MAX_PAUSE_MS)).then(
        () => log.info("isolate {index} serves again", { index }),
        () => {},
      );
    };
    this.#timers.set(index, setTimeout(start, pauseMs));
  }
}
