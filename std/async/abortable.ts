/** Rejects with the signal's reason as soon as the signal aborts, otherwise settles as `p` does. */
export function abortable<T>(p: Promise<T>, signal: AbortSignal): Promise<T>;
/** Iterates over `p` until the signal aborts, then throws its reason and closes `p`. */
export function abortable<T>(p: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T>;
export function abortable<T>(
  p: Promise<T> | AsyncIterable<T>,
  signal: AbortSignal,
): Promise<T> | AsyncGenerator<T> {
  return p instanceof Promise ? abortablePromise(p, signal) : abortableIterable(p, signal);
}

async function abortablePromise<T>(p: Promise<T>, signal: AbortSignal): Promise<T> {
  using aborted = abortion(signal);
  return await Promise.race([aborted.promise, p]);
}

async function* abortableIterable<T>(
  p: AsyncIterable<T>,
  signal: AbortSignal,
): AsyncGenerator<T> {
  signal.throwIfAborted();
  using aborted = abortion(signal);
  const iterator = p[Symbol.asyncIterator]();
  try {
    while (true) {
      const { done, value } = await Promise.race([aborted.promise, iterator.next()]);
      if (done) return value;
      yield value;
    }
  } finally {
    await iterator.return?.();
  }
}

function abortion(signal: AbortSignal): Disposable & { readonly promise: Promise<never> } {
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  promise.catch(() => {});
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  return { promise, [Symbol.dispose]: () => signal.removeEventListener("abort", abort) };
}
