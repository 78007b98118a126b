/** Ways to give each frame to many readers, all measured alike. */

import type { Source } from "../src/cursor.ts";
import type { Waiter } from "../src/wake_list.ts";

/** Counts deliveries, and says when all that were expected have been made. */
export class Deliveries {
  #missing = 0;
  #done = () => {};

  /** Resolves, without a timer, with the last of the next `count` deliveries. */
  expect(count: number): Promise<void> {
    this.#missing = count;
    return new Promise((resolve) => this.#done = resolve);
  }

  /** Called by a reader for each frame that it has in hand. */
  readonly count = (): void => {
    if (--this.#missing === 0) this.#done();
  };
}

/** Readers that are being fed. */
export interface Fanout<T> {
  /** Gives `item` to all readers, now or soon. */
  send(item: T): void;
  /** Ends the readers. */
  close(): void;
}

/** Starts `readers` readers that tell `deliveries` of each item. */
export type FanoutFactory<T> = (readers: number, deliveries: Deliveries) => Fanout<T>;

/** Reads by `read()` until the stream ends. */
export async function readAll<T>(stream: ReadableStream<T>, deliveries: Deliveries) {
  const reader = stream.getReader();
  while (true) {
    const { done } = await reader.read();
    if (done) return;
    deliveries.count();
  }
}

/** Reads by `for await` until the stream ends. */
export async function iterateAll<T>(stream: ReadableStream<T>, deliveries: Deliveries) {
  for await (const _ of stream) deliveries.count();
}

/** Reads by `pipeTo()` until the stream ends. */
export function pipeAll<T>(stream: ReadableStream<T>, deliveries: Deliveries) {
  return stream.pipeTo(new WritableStream({ write: deliveries.count }));
}

/** Reads by callback until the source is done. */
export function drainAll<T>(source: Source<T>, deliveries: Deliveries) {
  const waiter: Waiter = {
    wake() {
      for (let item = source.next(); item !== undefined; item = source.next()) deliveries.count();
      if (!source.done) source.wait(waiter);
    },
  };
  waiter.wake();
}

/**
 * One stream that is teed for each reader but the last, each branch from the branch before.
 *
 * If it is `open`, it is teed for the last one, too, so that another reader could come; what is read
 * of the remaining branch is thrown away, as it would fill memory otherwise.
 */
export function teeChain<T>(
  readers: number,
  deliveries: Deliveries,
  end?: "open",
): Fanout<T> {
  const { stream, controller } = fedStream<T>();
  let rest = stream;
  for (let index = end === "open" ? 0 : 1; index < readers; index++) {
    const [branch, next] = rest.tee();
    readAll(branch, deliveries);
    rest = next;
  }
  readAll(rest, end === "open" ? new Deliveries() : deliveries);
  return {
    send: (item) => controller.enqueue(item),
    // Closing goes down the chain by recursion: 5,000 readers overflow the stack. So it is left to
    // the garbage collector.
    close() {},
  };
}

/** One stream that is teed into halves of the readers again and again. */
export function teeTree<T>(readers: number, deliveries: Deliveries): Fanout<T> {
  const { stream, controller } = fedStream<T>();
  const split = (branch: ReadableStream<T>, count: number): void => {
    if (count === 1) return void readAll(branch, deliveries);
    const [left, right] = branch.tee();
    split(left, count >>> 1);
    split(right, count - (count >>> 1));
  };
  split(stream, readers);
  return {
    send: (item) => controller.enqueue(item),
    close: () => controller.close(),
  };
}

/** A stream for each reader, with a queue of its own that has no bound. */
export function streamEach<T>(readers: number, deliveries: Deliveries): Fanout<T> {
  const controllers = Array.from({ length: readers }, () => {
    const { stream, controller } = fedStream<T>();
    readAll(stream, deliveries);
    return controller;
  });
  return {
    send: (item) => {
      for (const controller of controllers) controller.enqueue(item);
    },
    close: () => {
      for (const controller of controllers) controller.close();
    },
  };
}

/** A `TransformStream` for each reader as its queue. */
export function transformEach<T>(readers: number, deliveries: Deliveries): Fanout<T> {
  const writers = Array.from({ length: readers }, () => {
    const { readable, writable } = new TransformStream<T, T>();
    readAll(readable, deliveries);
    return writable.getWriter();
  });
  return {
    send: (item) => {
      for (const writer of writers) writer.write(item);
    },
    close: () => {
      for (const writer of writers) writer.close();
    },
  };
}

/** An array and a promise for each reader: no stream, no bound, no cancel. */
export function queueEach<T>(readers: number, deliveries: Deliveries): Fanout<T> {
  const queues = Array.from({ length: readers }, () => {
    const queue = new PromiseQueue<T>();
    (async () => {
      while (await queue.take() !== undefined) deliveries.count();
    })();
    return queue;
  });
  return {
    send: (item) => {
      for (const queue of queues) queue.put(item);
    },
    close: () => {
      for (const queue of queues) queue.put(undefined);
    },
  };
}

/** An `EventTarget` with a listener for each reader. */
export function eventTarget<T>(readers: number, deliveries: Deliveries): Fanout<T> {
  const target = new EventTarget();
  for (let index = 0; index < readers; index++) {
    target.addEventListener("frame", () => deliveries.count());
  }
  return {
    send: (detail) => target.dispatchEvent(new CustomEvent("frame", { detail })),
    close() {},
  };
}

/** A function for each reader: what any fan-out costs at least. */
export function listenerEach<T>(readers: number, deliveries: Deliveries): Fanout<T> {
  const listeners = Array.from({ length: readers }, () => (_: T) => deliveries.count());
  return {
    send: (item) => {
      for (const listener of listeners) listener(item);
    },
    close() {},
  };
}

class PromiseQueue<T> {
  readonly #items: (T | undefined)[] = [];
  #resolve: ((item: T | undefined) => void) | undefined;

  put(item: T | undefined): void {
    if (this.#resolve === undefined) {
      this.#items.push(item);
    } else {
      this.#resolve(item);
      this.#resolve = undefined;
    }
  }

  take(): Promise<T | undefined> {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    return new Promise((resolve) => this.#resolve = resolve);
  }
}

function fedStream<T>() {
  let controller: ReadableStreamDefaultController<T> | undefined;
  const stream = new ReadableStream<T>({ start: (given) => void (controller = given) });
  if (controller === undefined) throw new Error("Cannot feed a stream: it did not start");
  return { stream, controller };
}
