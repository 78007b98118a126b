/** Reading to the end of what is there, and waiting for what has been started. */

import type { Source } from "../../src/cursor.ts";

/** All that `source` gives now. */
export function drain<T>(source: Source<T>, most = Infinity): T[] {
  const items: T[] = [];
  while (items.length < most) {
    const item = source.next();
    if (item === undefined) break;
    items.push(item);
  }
  return items;
}

/** Lets microtasks run, and what they start; no timer among them. */
export async function turns(count = 30): Promise<void> {
  for (let turn = 0; turn < count; turn++) await Promise.resolve();
}

/** Lets the event loop turn until `isDone`, a thousand times at most. */
export async function eventLoop(isDone: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1000 && !isDone(); turn++) await loop(1);
}

/** Lets the event loop turn `count` times. */
export async function loop(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Reads `count` chunks. */
export async function take<T>(
  reader: ReadableStreamDefaultReader<T>,
  count: number,
): Promise<T[]> {
  const chunks: T[] = [];
  while (chunks.length < count) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`The stream ended after ${chunks.length} of ${count} chunks`);
    chunks.push(value);
  }
  return chunks;
}

/** What a promise has come to: its value, its error, or neither. */
export interface Outcome<T> {
  readonly state: "pending" | "fulfilled" | "rejected";
  readonly value?: T;
  readonly error?: unknown;
}

/** Watches `promise`; its rejection counts as handled. */
export function watch<T>(promise: Promise<T>): () => Outcome<T> {
  let outcome: Outcome<T> = { state: "pending" };
  promise.then(
    (value) => outcome = { state: "fulfilled", value },
    (error) => outcome = { state: "rejected", error },
  );
  return () => outcome;
}
