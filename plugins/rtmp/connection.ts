/** The byte side of a session: reads, writes in order, and notices a peer that takes nothing. */

import { concat } from "../../src/bytes.ts";
import { WriteWatch } from "../../src/write_watch.ts";

/** Size of the first read buffer: what a player sends in its whole life mostly fits. */
const FIRST_SLAB_BYTES = 4096;
/** Size that read buffers grow to where a peer fills them, as publishers do. */
const MAX_SLAB_BYTES = 65_536;
/** A read buffer with less room than this is left for a new one. */
const MIN_READ_BYTES = 1024;
/**
 * Replies waiting to be sent after which nothing more is read: a peer that sends and does not read
 * waits for itself.
 */
const MAX_REPLY_BYTES = 65_536;

/**
 * A connection whose writes go out in the order in which they were made.
 *
 * Nothing here throws or rejects but {@linkcode Connection.read}: where writing fails it is closed,
 * and reading shows it.
 */
export class Connection {
  readonly #conn: Deno.Conn;
  readonly #watch: WriteWatch;
  #slab = new Uint8Array(FIRST_SLAB_BYTES);
  #used = 0;
  #queue: Uint8Array[] = [];
  /** Bytes given to {@linkcode Connection.send} that are queued or on their way. */
  #replyBytes = 0;
  #writing: Promise<void> | undefined;
  #closed = false;
  #failure: string | undefined;

  /** Over `conn`; a write of which nothing is taken for `writeTimeoutMs` closes it. */
  constructor(conn: Deno.Conn, writeTimeoutMs: number) {
    this.#conn = conn;
    this.#watch = new WriteWatch(writeTimeoutMs, () => {
      this.#failure = `it took nothing for ${writeTimeoutMs / 1000} s`;
      this.close();
    });
  }

  /** Whether it is closed from this side. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Why it closed itself; undefined if it did not. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /**
   * The next bytes, never to be overwritten; undefined at the end.
   *
   * @throws {Error} If the connection breaks.
   */
  async read(): Promise<Uint8Array | undefined> {
    while (this.#replyBytes > MAX_REPLY_BYTES && this.#writing) await this.#writing;
    if (this.#closed) return undefined;
    if (this.#slab.length - this.#used < MIN_READ_BYTES) this.#nextSlab(this.#slab.length);
    const start = this.#used;
    const count = await this.#conn.read(this.#slab.subarray(start));
    if (count === null) return undefined;
    this.#used += count;
    const bytes = this.#slab.subarray(start, this.#used);
    if (this.#used === this.#slab.length) {
      this.#nextSlab(Math.min(2 * this.#slab.length, MAX_SLAB_BYTES));
    }
    return bytes;
  }

  /** Sends `parts` behind all that was sent before, without waiting: for replies, which are few. */
  send(...parts: readonly Uint8Array[]): void {
    if (this.#closed) return;
    for (const part of parts) this.#replyBytes += part.length;
    this.#queue.push(...parts);
    this.#writing ??= this.#drain();
  }

  /** Sends `bytes` behind all that was sent before; settles once the system has taken them. */
  write(bytes: Uint8Array): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#queue.push(bytes);
    return this.#writing ??= this.#drain();
  }

  /** Tells the peer that nothing more will come, behind all that was sent before. */
  async closeWrite(): Promise<void> {
    while (this.#writing) await this.#writing;
    // A peer that has closed already needs no telling.
    if (!this.#closed) await this.#conn.closeWrite().catch(() => {});
  }

  /** Closes at once; reads end, what is not sent is dropped. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#watch.stop();
    this.#queue = [];
    try {
      this.#conn.close();
    } catch {
      // The runtime has closed it already.
    }
  }

  #nextSlab(size: number): void {
    this.#slab = new Uint8Array(size);
    this.#used = 0;
  }

  async #drain(): Promise<void> {
    try {
      while (this.#queue.length > 0) {
        const [first] = this.#queue;
        const bytes = this.#queue.length === 1 && first ? first : concat(this.#queue);
        const replyBytes = this.#replyBytes;
        this.#queue = [];
        this.#watch.begin();
        let offset = await this.#conn.write(bytes);
        while (offset < bytes.length) {
          this.#watch.begin();
          offset += await this.#conn.write(bytes.subarray(offset));
        }
        this.#replyBytes -= replyBytes;
      }
    } catch {
      this.close();
    } finally {
      this.#writing = undefined;
      this.#watch.end();
    }
  }
}

/** Whether `error` says no more than that the peer or the network ended a connection. */
export function isDisconnect(error: unknown): boolean {
  const { errors } = Deno;
  return [
    errors.ConnectionReset,
    errors.ConnectionAborted,
    errors.BrokenPipe,
    errors.NotConnected,
    errors.UnexpectedEof,
    errors.TimedOut,
    errors.Interrupted,
    errors.BadResource,
  ].some((kind) => error instanceof kind);
}
