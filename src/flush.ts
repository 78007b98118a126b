/** Flush intervals: a few, so that viewers share them. */

/** Longest flush interval. */
export const MAX_FLUSH_MS = 1000;

/** The intervals that there are, in ms. Viewers of one share its timer and its batches. */
export const FLUSH_INTERVALS_MS: readonly number[] = [
  0,
  10,
  20,
  40,
  70,
  100,
  150,
  200,
  350,
  500,
  700,
  MAX_FLUSH_MS,
];

/** The shortest interval that there is of at least `ms`. */
export function roundFlush(ms: number): number {
  return FLUSH_INTERVALS_MS.find((interval) => interval >= ms) ?? MAX_FLUSH_MS;
}

/**
 * The interval that a viewer or publisher asks for by the argument `flush` of its address, in ms;
 * undefined if it has none.
 *
 * @throws {TypeError} If it is no integer from 0 to {@linkcode MAX_FLUSH_MS}.
 */
export function flushOf(args: URLSearchParams): number | undefined {
  const text = args.get("flush");
  if (text === null) return undefined;
  const ms = /^\d{1,4}$/.test(text) ? Number(text) : NaN;
  if (!(ms <= MAX_FLUSH_MS)) {
    throw new TypeError(`Cannot use flush=${text}: it must be from 0 to ${MAX_FLUSH_MS} ms`);
  }
  return ms;
}
