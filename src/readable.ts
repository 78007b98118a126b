/** Readable streams over sources, and writable ones over functions. */

import type { Source } from "./cursor.ts";
import type { Waiter } from "./wake_list.ts";

/** Who is told of what a reader does, and may end it. */
export interface ReaderOptions<T> {
  /** Ends the stream with the signal's reason as its error. */
  readonly signal?: AbortSignal | undefined;
  /** Called with each item that is handed over. */
  readonly onItem?: (item: T) => void;
  /** Called once when reading is over, however it ends. */
  readonly onEnd?: (error?: unknown) => void;
}

/** Moves items from a source into a stream when its reader asks, without a promise an item. */
class Pull<T> implements UnderlyingDefaultSource<T>, Waiter {
  readonly #source: Source<T>;
  readonly #options: ReaderOptions<T>;
  readonly #abort = () => this.#end(this.#options.signal?.reason);
  #controller: ReadableStreamDefaultController<T> | undefined;
  /** Whether the reader has asked for an item that it has not got. */
  #asked = false;

  constructor(source: Source<T>, options: ReaderOptions<T>) {
    this.#source = source;
    this.#options = options;
  }

  start(controller: ReadableStreamDefaultController<T>): void {
    this.#controller = controller;
    const signal = this.#options.signal;
    if (signal?.aborted) this.#abort();
    else signal?.addEventListener("abort", this.#abort, { once: true });
  }

  pull(): void {
    this.#asked = true;
    this.wake();
  }

  wake(): void {
    const controller = this.#controller;
    if (controller === undefined || !this.#asked) return;
    try {
      const item = this.#source.next();
      if (item !== undefined) {
        this.#asked = false;
        controller.enqueue(item);
        this.#options.onItem?.(item);
      } else if (this.#source.done) {
        this.#release();
        controller.close();
        this.#options.onEnd?.();
      } else {
        this.#source.wait(this);
      }
    } catch (error) {
      this.#end(error);
    }
  }

  cancel(): void {
    this.#release();
    this.#options.onEnd?.();
  }

  #end(error: unknown): void {
    const controller = this.#controller;
    if (controller === undefined) return;
    this.#release();
    controller.error(error);
    this.#options.onEnd?.(error);
  }

  #release(): void {
    this.#controller = undefined;
    this.#options.signal?.removeEventListener("abort", this.#abort);
    this.#source.close(this);
  }
}

/**
 * A stream of what `source` gives, which takes an item only when its reader asks for one: the
 * source is the buffer.
 */
export function readableFrom<T>(
  source: Source<T>,
  options: ReaderOptions<T> = {},
): ReadableStream<T> {
  return new ReadableStream(new Pull(source, options), { highWaterMark: 0 });
}
