/** Bounds-checked cursors over bits, most significant bit first. */

import { InvalidDataError } from "./errors.ts";

/**
 * Most leading zero bits of an Exp-Golomb code: ue(v) ends at 2^32 − 2 (H.264 7.2), which takes 31.
 */
const MAX_LEADING_ZEROS = 31;

/**
 * Reads fixed-size and Exp-Golomb fields from a byte range, front to back.
 *
 * Every read past the end throws, so a parser needs no length checks of its own.
 */
export class BitReader {
  readonly #bytes: Uint8Array;
  readonly #end: number;
  #position = 0;

  /** A reader at the first bit of `bytes`. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#end = bytes.length * 8;
  }

  /** Bits read so far. */
  get position(): number {
    return this.#position;
  }

  /** Bits left to read. */
  get remaining(): number {
    return this.#end - this.#position;
  }

  /**
   * An unsigned integer of `count` bits, 0 to 32.
   *
   * @throws {InvalidDataError} If fewer bits remain.
   */
  bits(count: number): number {
    const end = this.#advance(count);
    let position = end - count;
    let value = 0;
    while (position < end) {
      const used = position & 7;
      const taken = Math.min(8 - used, end - position);
      const byte = this.#bytes[position >> 3] ?? 0;
      const part = (byte >> (8 - used - taken)) & ((1 << taken) - 1);
      // Not a shift: the 32nd bit would become the sign.
      value = value * (1 << taken) + part;
      position += taken;
    }
    return value;
  }

  /**
   * The next bit, 0 or 1.
   *
   * @throws {InvalidDataError} If none remains.
   */
  bit(): number {
    const at = this.#advance(1) - 1;
    return ((this.#bytes[at >> 3] ?? 0) >> (7 - (at & 7))) & 1;
  }

  /**
   * The next bit as a boolean.
   *
   * @throws {InvalidDataError} If none remains.
   */
  flag(): boolean {
    return this.bit() === 1;
  }

  /**
   * An unsigned Exp-Golomb code, 0 to 2^32 − 2 (H.264 9.1, ue(v)).
   *
   * @throws {InvalidDataError} If the code is cut off or has over 31 leading zeros.
   */
  ue(): number {
    let zeros = 0;
    while (this.bit() === 0) {
      zeros++;
      if (zeros > MAX_LEADING_ZEROS) {
        throw new InvalidDataError(
          `Cannot read an Exp-Golomb code: its number of leading zeros is over ${MAX_LEADING_ZEROS}`,
        );
      }
    }
    return 2 ** zeros - 1 + this.bits(zeros);
  }

  /**
   * A signed Exp-Golomb code, −(2^31 − 1) to 2^31 − 1 (H.264 9.1.1, se(v)).
   *
   * @throws {InvalidDataError} If the code is cut off or has over 31 leading zeros.
   */
  se(): number {
    const code = this.ue();
    // Zero is picked apart, as −0 is not 0 to every comparison.
    if (code === 0) return 0;
    return code % 2 === 1 ? (code + 1) / 2 : -code / 2;
  }

  /**
   * Passes over `count` bits.
   *
   * @throws {InvalidDataError} If fewer bits remain.
   */
  skip(count: number): void {
    this.#advance(count);
  }

  /** Passes over what is left of a byte begun, counting bytes from the reader's start. */
  align(): void {
    this.#position = (this.#position + 7) & ~7;
  }

  #advance(count: number): number {
    const end = this.#position + count;
    if (end > this.#end) {
      throw new InvalidDataError(
        `Cannot read ${count} bits at bit ${this.#position}: ${this.remaining} remain`,
      );
    }
    this.#position = end;
    return end;
  }
}

/**
 * Writes fixed-size fields bit by bit.
 *
 * For records of a few bytes; {@linkcode BitWriter.finish} hands them over.
 */
export class BitWriter {
  readonly #bytes: number[] = [];
  #position = 0;

  /** Writes the low `count` bits (0 to 32) of `value`, an unsigned integer. */
  bits(value: number, count: number): this {
    for (let index = count - 1; index >= 0; index--) this.bit(Math.floor(value / 2 ** index) & 1);
    return this;
  }

  /** Writes one bit, 0 or 1. */
  bit(value: number): this {
    const at = this.#position++;
    const index = at >> 3;
    this.#bytes[index] = (this.#bytes[index] ?? 0) | (value << (7 - (at & 7)));
    return this;
  }

  /** Writes one bit. */
  flag(value: boolean): this {
    return this.bit(value ? 1 : 0);
  }

  /** Fills a byte begun with zero bits, counting bytes from the writer's start. */
  align(): this {
    this.#position = (this.#position + 7) & ~7;
    return this;
  }

  /** The bytes written, the last one filled with zero bits. */
  finish(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.#bytes);
  }
}
