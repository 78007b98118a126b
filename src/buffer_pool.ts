/** Memory that is used again and again instead of being left to the garbage collector. */

/** Buffers kept for later: more are in use at a time only where many clients are slow. */
const MAX_FREE = 16;

/**
 * Buffers of one size. Who takes one is the only one who knows when nobody needs its bytes any more,
 * and gives it back then, or never.
 */
export class BufferPool {
  /** Size of the buffers, in bytes. */
  readonly bufferBytes: number;
  readonly #free: Uint8Array<ArrayBuffer>[] = [];

  /** A pool of buffers of `bufferBytes` bytes, with none in it. */
  constructor(bufferBytes: number) {
    this.bufferBytes = bufferBytes;
  }

  /** Buffers that are free. */
  get free(): number {
    return this.#free.length;
  }

  /** A whole buffer, which may hold bytes of an earlier use. */
  take(): Uint8Array<ArrayBuffer> {
    return this.#free.pop() ?? new Uint8Array(this.bufferBytes);
  }

  /** Takes back a buffer of {@linkcode BufferPool.take} whose bytes nobody needs any more. */
  give(buffer: Uint8Array<ArrayBuffer>): void {
    if (this.#free.length < MAX_FREE) this.#free.push(buffer);
  }
}
