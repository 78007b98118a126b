/** The byte side of a session: reads, writes in order, and notices a peer that is gone. */

import { concat } from "../../src/bytes.ts";

/** Bytes read at a time; a read buffer is filled up by several reads before the next one. */
const SLAB_BYTES = 65_536;
/** A read buffer with less room than this is left for a new one. */
const MIN_READ_BYTES = 4096;
/**
 * Replies waiting to be sent after which nothing more is read: a peer that sends and does not read
 * waits for itself.
 */
const MAX_PENDING_BYTES = 65_536;

/** A connection whose writes go out in the order in which they were made. */
export class Connection {
  readonly #conn: Deno.Conn;
  readonly #writeTimeoutMs: number;
  #slab = new Uint8Array(SLAB_BYTES);
  #used = 0;
  #pending: Uint8Array[] = [];
  #pendingBytes = 0;
  #writing: Promise<void> | undefined;
  #blockedSince = 0;
  #watch: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /** Over `conn`; a write that takes longer than `writeTimeoutMs` closes it. */
  constructor(conn: Deno.Conn, writeTimeoutMs: number) {
    this.#conn = conn;
    this.#writeTimeoutMs = writeTimeoutMs;
  }

  /** Whether it is closed from this side. */
  get closed(): boolean {
    return this.#closed;
  }

  /**
   * The next bytes, never to be overwritten; undefined at the end.
   *
   * @throws {Error} If the connection breaks.
   */
  async read(): Promise<Uint8Array | undefined> {
    if (this.#pendingBytes > MAX_PENDING_BYTES) await this.flush();
    if (this.#closed) return undefined;
    if (SLAB_BYTES - this.#used < MIN_READ_BYTES) {
      this.#slab = new Uint8Array(SLAB_BYTES);
      this.#used = 0;
    }
    const count = await this.#conn.read(this.#slab.subarray(this.#used));
    if (count === null) return undefined;
    this.#used += count;
    return this.#slab.subarray(this.#used - count, this.#used);
  }

  /** Sends `bytes` behind all that was sent before, without waiting. */
  send(...parts: readonly Uint8Array[]): void {
    if (this.#closed) return;
    for (const part of parts) {
      this.#pending.push(part);
      this.#pendingBytes += part.length;
    }
    this.#writing ??= this.#drain();
  }

  /** Resolves when all that was sent has been taken by the system, or the connection is closed. */
  async flush(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  /** Closes at once; reads end, writes are dropped. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#watch);
    this.#pending = [];
    this.#pendingBytes = 0;
    try {
      this.#conn.close();
    } catch {
      // It was closed by its end already.
    }
  }

  async #drain(): Promise<void> {
    try {
      while (this.#pending.length > 0) {
        const [first] = this.#pending;
        const bytes = this.#pending.length === 1 && first ? first : concat(this.#pending);
        this.#pending = [];
        this.#blockedSince = performance.now();
        this.#watch ??= setTimeout(() => this.#checkProgress(), this.#writeTimeoutMs);
        for (let offset = 0; offset < bytes.length;) {
          offset += await this.#conn.write(offset === 0 ? bytes : bytes.subarray(offset));
          this.#blockedSince = performance.now();
        }
        this.#pendingBytes -= bytes.length;
      }
    } catch {
      this.close();
    } finally {
      this.#writing = undefined;
      this.#blockedSince = 0;
    }
  }

  /** One timer for many writes: it looks whether the one under way has stood still for too long. */
  #checkProgress(): void {
    this.#watch = undefined;
    if (this.#closed || this.#blockedSince === 0) return;
    const leftMs = this.#blockedSince + this.#writeTimeoutMs - performance.now();
    if (leftMs <= 0) this.close();
    else this.#watch = setTimeout(() => this.#checkProgress(), leftMs);
  }
}
