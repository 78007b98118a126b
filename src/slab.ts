/** Memory for the many small byte ranges that a connection brings, which are kept about as long. */

/** What has a buffer for each range at first: a peer that says only a few words keeps none. */
const FEW_BYTES = 4096;
/** Size of the first buffer that ranges share. */
const FIRST_BUFFER_BYTES = 8192;
/** Size of the largest buffer. */
const MAX_BUFFER_BYTES = 65_536;
/** Ranges longer than this have a buffer of their own, so that little is left over of one. */
const MAX_RANGE_BYTES = MAX_BUFFER_BYTES / 4;

/**
 * Cuts byte ranges out of larger buffers.
 *
 * A buffer of its own costs a range some hundred bytes and work of the garbage collector, and a frame
 * of audio is hardly longer. A buffer goes when none of its ranges is used any more.
 */
export class Slab {
  #buffer = NOTHING;
  #used = 0;
  /** Bytes that had a buffer of their own before ranges shared any. */
  #few = 0;

  /** `length` bytes, all of them 0. */
  take(length: number): Uint8Array<ArrayBuffer> {
    if (length > MAX_RANGE_BYTES) return new Uint8Array(length);
    if (this.#few < FEW_BYTES) {
      this.#few += length;
      return new Uint8Array(length);
    }
    if (length > this.#buffer.length - this.#used) {
      const size = Math.max(FIRST_BUFFER_BYTES, this.#buffer.length * 2, length * 4);
      this.#buffer = new Uint8Array(Math.min(size, MAX_BUFFER_BYTES));
      this.#used = 0;
    }
    const start = this.#used;
    this.#used = start + length;
    return this.#buffer.subarray(start, this.#used);
  }

  /**
   * The bytes of `source` from `start` to before `end`: a view where `source` fills most of a large
   * buffer, which all of its ranges share then, otherwise a copy. So `source` must not be written to
   * afterwards.
   */
  keep(source: Uint8Array, start: number, end: number): Uint8Array {
    const { byteLength } = source.buffer;
    if (byteLength > MAX_RANGE_BYTES && source.length * 2 >= byteLength) {
      return source.subarray(start, end);
    }
    const range = this.take(end - start);
    range.set(source.subarray(start, end));
    return range;
  }
}

const NOTHING = new Uint8Array();
