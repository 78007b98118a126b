/** Guards: who may publish and subscribe. */

import { RefusedError } from "./errors.ts";
import { type Logger, Tally } from "./log.ts";
import type { StreamTarget } from "./path.ts";

/** What a guard decides on. */
export interface GuardRequest {
  /** What is asked for. */
  readonly action: "publish" | "subscribe";
  /** Path of the stream. */
  readonly path: string;
  /** Arguments that came with the path, such as a token. */
  readonly args: URLSearchParams;
  /** Protocol or kind of the peer. */
  readonly type: string;
  /** Who asks, such as the remote address. */
  readonly id: string;
}

/**
 * Lets a request pass, or refuses it by throwing a {@linkcode RefusedError}. Any other error
 * refuses it too, with a reason that tells the peer nothing.
 */
export type Guard = (request: GuardRequest) => void | Promise<void>;

/** When a guard is asked, and until when. */
export interface GuardOptions {
  /** Guards of lower order are asked first; equal ones in the order of adding. @default {0} */
  readonly order?: number;
  /** Removes the guard. */
  readonly signal?: AbortSignal;
}

/** Who asks a guard. */
export interface GuardedPeer {
  /** Protocol or kind of the peer. */
  readonly type: string;
  /** Who it is, such as the remote address. @default {"local"} */
  readonly id?: string;
}

interface GuardEntry {
  readonly action: GuardRequest["action"];
  readonly guard: Guard;
  readonly order: number;
}

/** Lines a second about refusals; others are counted. */
const LINES = 10;

/** The guards of an engine. */
export class Guards {
  readonly #log: Logger;
  readonly #entries = new Set<GuardEntry>();
  readonly #refusals: Tally;

  /** No guards yet; refusals are told to `log`. */
  constructor(log: Logger) {
    this.#log = log;
    this.#refusals = new Tally(LINES, (count) => log.warn("{count} more refused", { count }));
  }

  /** Adds a guard. */
  add(action: GuardRequest["action"], guard: Guard, options: GuardOptions): void {
    const entry = { action, guard, order: options.order ?? 0 };
    if (options.signal?.aborted) return;
    this.#entries.add(entry);
    options.signal?.addEventListener("abort", () => this.#entries.delete(entry), { once: true });
  }

  /**
   * Asks the guards of `action`, one after the other.
   *
   * @throws {RefusedError} If one refuses.
   */
  async ask(
    action: GuardRequest["action"],
    { path, args }: StreamTarget,
    peer: GuardedPeer,
  ): Promise<void> {
    const { type, id = "local" } = peer;
    const entries = [...this.#entries].filter((entry) => entry.action === action)
      .sort((a, b) => a.order - b.order);
    for (const { guard } of entries) {
      try {
        await guard({ action, path, args, type, id });
      } catch (error) {
        const known = error instanceof RefusedError;
        const reason = known ? error.reason : "it could not be checked";
        this.#refusals.add(() =>
          this.#log.warn("{path}: {action} by {type} {id} refused: {reason}", {
            path,
            action,
            type,
            id,
            reason: known ? reason : `a guard failed: ${error}`,
          })
        );
        throw known ? error : new RefusedError(reason, { cause: error });
      }
    }
  }

  /** Tells of refusals that were held back. */
  flush(): void {
    this.#refusals.flush();
  }
}
