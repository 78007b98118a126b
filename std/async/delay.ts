/** Options of {@linkcode delay}. */
export interface DelayOptions {
  /** Ends the wait early: the promise rejects with its reason. */
  signal?: AbortSignal;
  /** Whether the wait keeps the process alive. Default: `true`. */
  persistent?: boolean;
}

/** The longest time that a timer takes; longer waits are made of several. */
const TIMER_LIMIT_MS = 2 ** 31 - 1;

/** Resolves after `ms` milliseconds of the global timers, which may be faked. */
export function delay(ms: number, options: DelayOptions = {}): Promise<void> {
  const { signal, persistent = true } = options;
  if (signal?.aborted) return Promise.reject(signal.reason);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const end = Date.now() + wholeMs(ms);
  let timer = start(wholeMs(ms));
  signal?.addEventListener("abort", abort, { once: true });
  return promise;

  function start(leftMs: number): number {
    const id = Number(setTimeout(fire, Math.min(leftMs, TIMER_LIMIT_MS)));
    if (!persistent) Deno.unrefTimer(id);
    return id;
  }
  function fire() {
    const leftMs = end - Date.now();
    if (leftMs > 0 && wholeMs(ms) > TIMER_LIMIT_MS) {
      timer = start(leftMs);
      return;
    }
    signal?.removeEventListener("abort", abort);
    resolve();
  }
  function abort() {
    clearTimeout(timer);
    reject(signal?.reason);
  }
}

function wholeMs(ms: number): number {
  return Math.trunc(Math.max(ms, 0) || 0);
}
