/** Readable streams over sources, and a way past their promises for those that write to sockets. */

import type { Source } from "./cursor.ts";
import type { Waiter } from "./wake_list.ts";

/** Something that is read, and can be ended. */
export interface Ending {
  /** Ends it with `error`. Idempotent. */
  end(error: unknown): void;
}

/** Who is told of what a reader does, and may end it. */
export interface ReaderOptions<T> {
  /** Ends the stream with the signal's reason as its error. */
  readonly signal?: AbortSignal | undefined;
  /** Called once before reading begins, with what ends the stream. */
  readonly onStart?: (ending: Ending) => void;
  /** Called with each item that is handed over. */
  readonly onItem?: (item: T) => void;
  /** Called once when reading is over, however it ends. */
  readonly onEnd?: (error?: unknown) => void;
}

/** Where {@linkcode pump} puts what it reads. */
export interface Sink<T> {
  /**
   * Whether it needs an item no more once `write` has returned true, or when it calls
   * {@linkcode Pump.resume}: then memory need not be new for each. @default {false}
   */
  readonly borrows?: boolean;
  /** Takes an item; false if it wants no other one before {@linkcode Pump.resume}. */
  write(item: T): boolean;
  /** Told once when the stream has ended. */
  close(): void;
  /** Told once when the stream has failed. */
  abort(error: unknown): void;
}

/** A stream on its way into a {@linkcode Sink}. */
export interface Pump {
  /** Goes on after a `write` that returned false; not to be called from within it. */
  resume(): void;
  /** Stops; the sink is told nothing more. Idempotent. */
  cancel(): void;
}

/** Moves items from a source into a stream when its reader asks, without a promise an item. */
class Pull<T> implements UnderlyingDefaultSource<T>, Waiter, Pump, Ending {
  readonly #source: Source<T>;
  readonly #options: ReaderOptions<T>;
  #abort: (() => void) | undefined;
  /** Of the stream; undefined once that is over, or is passed by. */
  #controller: ReadableStreamDefaultController<T> | undefined;
  #over = false;
  /** Whether the reader has asked for an item that it has not got. */
  #asked = false;
  /** Takes the items instead of the stream. */
  #sink: Sink<T> | undefined;

  constructor(source: Source<T>, options: ReaderOptions<T>) {
    this.#source = source;
    this.#options = options;
  }

  /** Whether the stream has closed or failed. */
  get over(): boolean {
    return this.#over;
  }

  start(controller: ReadableStreamDefaultController<T>): void {
    this.#controller = controller;
    const { signal, onStart } = this.#options;
    onStart?.(this);
    if (signal === undefined || this.#over) return;
    if (signal.aborted) return this.end(signal.reason);
    this.#abort = () => this.end(signal.reason);
    signal.addEventListener("abort", this.#abort, { once: true });
  }

  pull(): void {
    this.#asked = true;
    this.wake();
  }

  wake(): void {
    while (this.#asked && !this.#over) {
      try {
        const item = this.#source.next();
        if (item !== undefined) this.#hand(item);
        else if (this.#source.done) this.#close();
        else return this.#source.wait(this);
      } catch (error) {
        this.end(error);
      }
    }
  }

  resume(): void {
    this.pull();
  }

  cancel(): void {
    if (this.#over) return;
    this.#release();
    this.#options.onEnd?.();
  }

  end(error: unknown): void {
    if (this.#over) return;
    const controller = this.#controller;
    this.#release();
    controller?.error(error);
    this.#sink?.abort(error);
    this.#options.onEnd?.(error);
  }

  /** Hands the items to `sink` from now on. The stream hears of nothing any more. */
  pumpInto(sink: Sink<T>): void {
    this.#sink = sink;
    this.#controller = undefined;
    if (sink.borrows) this.#source.lend?.();
    this.pull();
  }

  #hand(item: T): void {
    const sink = this.#sink;
    this.#options.onItem?.(item);
    if (sink !== undefined) {
      // A sink may ask for more before it returns.
      this.#asked = false;
      if (sink.write(item)) this.#asked = true;
    } else {
      this.#asked = false;
      this.#controller?.enqueue(item);
    }
  }

  #close(): void {
    const controller = this.#controller;
    this.#release();
    controller?.close();
    this.#sink?.close();
    this.#options.onEnd?.();
  }

  #release(): void {
    this.#over = true;
    this.#controller = undefined;
    if (this.#abort) this.#options.signal?.removeEventListener("abort", this.#abort);
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
  return new SourceStream(new Pull(source, options));
}

/** A stream that knows what fills it. */
class SourceStream<T> extends ReadableStream<T> {
  readonly pull: Pull<T>;

  constructor(pull: Pull<T>) {
    super(pull, { highWaterMark: 0 });
    this.pull = pull;
  }
}

/**
 * Moves what `stream` gives into `sink`, and locks the stream.
 *
 * A stream of {@linkcode readableFrom} that nobody has read from yet is passed by: its items come
 * straight from the source, without a promise each. Any other stream is read.
 *
 * @throws {TypeError} If the stream is locked.
 */
export function pump<T>(stream: ReadableStream<T>, sink: Sink<T>): Pump {
  const reader = stream.getReader();
  const pull = stream instanceof SourceStream ? stream.pull as Pull<T> : undefined;
  if (pull === undefined || pull.over) return new ReaderPump(reader, sink);
  pull.pumpInto(sink);
  return pull;
}

/** Reads a stream into a sink. */
class ReaderPump<T> implements Pump {
  readonly #reader: ReadableStreamDefaultReader<T>;
  readonly #sink: Sink<T>;
  #reading = false;
  #over = false;

  constructor(reader: ReadableStreamDefaultReader<T>, sink: Sink<T>) {
    this.#reader = reader;
    this.#sink = sink;
    this.resume();
  }

  resume(): void {
    if (this.#reading || this.#over) return;
    this.#reading = true;
    this.#read();
  }

  cancel(): void {
    if (this.#over) return;
    this.#over = true;
    this.#reader.cancel().catch(() => {});
  }

  async #read(): Promise<void> {
    try {
      for (;;) {
        const { value, done } = await this.#reader.read();
        if (this.#over) return;
        if (done) {
          this.#over = true;
          return this.#sink.close();
        }
        if (!this.#sink.write(value)) break;
      }
      this.#reading = false;
    } catch (error) {
      if (this.#over) return;
      this.#over = true;
      this.#sink.abort(error);
    }
  }
}
