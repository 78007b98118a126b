/** Those that wait for something that is not there yet, by its path. */

/** How long somebody waits. */
export interface WaitOptions {
  /** Longest wait, in ms. */
  readonly timeoutMs: number;
  /** Makes the error of a wait that was too long. */
  readonly onTimeout: () => Error;
  /** Ends the wait with its reason. */
  readonly signal?: AbortSignal | undefined;
}

interface Waiter<T> {
  resolve(value: T): void;
  reject(error: unknown): void;
}

/** Waits by path. */
export class Waiting<T> {
  readonly #waiters = new Map<string, Set<Waiter<T>>>();
  readonly #onForget: (path: string) => void;

  /** Tells `onForget` of a path for which nobody waits any more, and which nobody has got. */
  constructor(onForget: (path: string) => void) {
    this.#onForget = onForget;
  }

  /** The paths that are waited for. */
  get paths(): string[] {
    return [...this.#waiters.keys()];
  }

  /** Whether somebody waits for `path`. */
  has(path: string): boolean {
    return this.#waiters.has(path);
  }

  /** Waits for `path`. */
  wait(path: string, { timeoutMs, onTimeout, signal }: WaitOptions): Promise<T> {
    return new Promise((resolve, reject) => {
      const waiters = this.#waiters.get(path) ?? new Set();
      const leave = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
        waiters.delete(waiter);
        if (waiters.size > 0 || this.#waiters.get(path) !== waiters) return;
        this.#waiters.delete(path);
        this.#onForget(path);
      };
      const waiter: Waiter<T> = {
        resolve: (value) => {
          leave();
          resolve(value);
        },
        reject: (error) => {
          leave();
          reject(error);
        },
      };
      const onAbort = () => waiter.reject(signal?.reason);
      const timer = setTimeout(() => waiter.reject(onTimeout()), timeoutMs);
      this.#waiters.set(path, waiters.add(waiter));
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  /** Gives `value` to all who wait for `path`. */
  resolve(path: string, value: T): void {
    const waiters = this.#waiters.get(path) ?? [];
    this.#waiters.delete(path);
    for (const waiter of waiters) waiter.resolve(value);
  }

  /** Lets all who wait for `path` fail. */
  reject(path: string, error: unknown): void {
    for (const waiter of [...this.#waiters.get(path) ?? []]) waiter.reject(error);
  }
}
