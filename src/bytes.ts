/** Bounds-checked cursors over bytes, big-endian unless the name says otherwise. */

import { InvalidDataError } from "./errors.ts";

/** The unsigned 16-bit integer at `at`, which must be within `bytes`. */
export function readU16(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) << 8 | (bytes[at + 1] as number);
}

/** The unsigned 24-bit integer at `at`, which must be within `bytes`. */
export function readU24(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) << 16 | readU16(bytes, at + 1);
}

/** The unsigned 32-bit integer at `at`, which must be within `bytes`. */
export function readU32(bytes: Uint8Array, at: number): number {
  return (readU16(bytes, at) << 16 | readU16(bytes, at + 2)) >>> 0;
}

/** The unsigned 32-bit integer at `at`, least significant byte first, which must be within `bytes`. */
export function readU32le(bytes: Uint8Array, at: number): number {
  return ((bytes[at + 3] as number) << 24 | (bytes[at + 2] as number) << 16 |
    (bytes[at + 1] as number) << 8 | (bytes[at] as number)) >>> 0;
}

/**
 * Reads fixed-size fields from a byte range, front to back.
 *
 * Every read past the end throws, so a parser needs no length checks of its own. Byte ranges come
 * back as views, not copies.
 */
export class ByteReader {
  readonly #bytes: Uint8Array;
  #offset = 0;

  /** A reader at the start of `bytes`. */
  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Bytes read so far. */
  get offset(): number {
    return this.#offset;
  }

  /** Bytes left to read. */
  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  /** The next byte, which stays unread. */
  peek(): number {
    const value = this.u8();
    this.#offset--;
    return value;
  }

  /** An unsigned 8-bit integer. */
  u8(): number {
    return this.#bytes[this.#advance(1)] as number;
  }

  /** An unsigned 16-bit integer. */
  u16(): number {
    return readU16(this.#bytes, this.#advance(2));
  }

  /** An unsigned 24-bit integer. */
  u24(): number {
    return readU24(this.#bytes, this.#advance(3));
  }

  /** A signed 24-bit integer. */
  i24(): number {
    return (this.u24() << 8) >> 8;
  }

  /** An unsigned 32-bit integer. */
  u32(): number {
    return readU32(this.#bytes, this.#advance(4));
  }

  /** An unsigned 32-bit integer, least significant byte first. */
  u32le(): number {
    return readU32le(this.#bytes, this.#advance(4));
  }

  /** An unsigned 16-bit integer, least significant byte first. */
  u16le(): number {
    const at = this.#advance(2);
    return (this.#bytes[at] as number) | (this.#bytes[at + 1] as number) << 8;
  }

  /** A signed 16-bit integer. */
  i16(): number {
    return (this.u16() << 16) >> 16;
  }

  /** A signed 32-bit integer. */
  i32(): number {
    return this.u32() | 0;
  }

  /** An IEEE 754 double. */
  f64(): number {
    const at = this.#advance(8);
    return new DataView(this.#bytes.buffer, this.#bytes.byteOffset).getFloat64(at);
  }

  /** The next `length` bytes as a view on the source. */
  bytes(length: number): Uint8Array {
    const at = this.#advance(length);
    return this.#bytes.subarray(at, at + length);
  }

  /** All bytes left, as a view on the source. */
  rest(): Uint8Array {
    return this.bytes(this.remaining);
  }

  /** Passes over `length` bytes. */
  skip(length: number): void {
    this.#advance(length);
  }

  #advance(length: number): number {
    const at = this.#offset;
    if (length < 0 || length > this.#bytes.length - at) {
      throw new InvalidDataError(
        `Cannot read ${length} bytes at offset ${at}: ${this.#bytes.length - at} remain`,
      );
    }
    this.#offset = at + length;
    return at;
  }
}

/**
 * Writes fields into a buffer that grows as needed.
 *
 * {@linkcode ByteWriter.finish} hands the bytes over; the writer is not used after it.
 */
export class ByteWriter {
  #bytes: Uint8Array<ArrayBuffer>;
  #view: DataView;
  #length = 0;

  /** A writer with room for `capacity` bytes before it first grows. */
  constructor(capacity = 64) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length;
  }

  /** Writes an unsigned 8-bit integer. */
  u8(value: number): this {
    const at = this.#reserve(1);
    this.#view.setUint8(at, value);
    return this;
  }

  /** Writes an unsigned 16-bit integer. */
  u16(value: number): this {
    const at = this.#reserve(2);
    this.#view.setUint16(at, value);
    return this;
  }

  /** Writes an unsigned 24-bit integer. */
  u24(value: number): this {
    const at = this.#reserve(3);
    this.#view.setUint16(at, value >>> 8);
    this.#view.setUint8(at + 2, value);
    return this;
  }

  /** Writes an unsigned 32-bit integer. */
  u32(value: number): this {
    const at = this.#reserve(4);
    this.#view.setUint32(at, value);
    return this;
  }

  /** Writes an unsigned 32-bit integer, least significant byte first. */
  u32le(value: number): this {
    const at = this.#reserve(4);
    this.#view.setUint32(at, value, true);
    return this;
  }

  /** Writes an unsigned 16-bit integer, least significant byte first. */
  u16le(value: number): this {
    const at = this.#reserve(2);
    this.#view.setUint16(at, value, true);
    return this;
  }

  /** Writes an IEEE 754 double. */
  f64(value: number): this {
    const at = this.#reserve(8);
    this.#view.setFloat64(at, value);
    return this;
  }

  /** Writes `bytes` as they are. */
  bytes(bytes: Uint8Array): this {
    const at = this.#reserve(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  /** Overwrites the unsigned 32-bit integer at `offset`, for lengths known only later. */
  setU32(offset: number, value: number): this {
    this.#view.setUint32(offset, value);
    return this;
  }

  /** The bytes written, as a view on the writer's buffer. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  #reserve(length: number): number {
    const at = this.#length;
    const needed = at + length;
    if (needed > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    this.#length = needed;
    return at;
  }
}

/** Writes the lower 24 bits of `value` at `at`. */
export function writeU24(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 16;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value;
}

/** The bytes of `parts`, one after the other, in a new array. */
export function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let length = 0;
  for (const part of parts) length += part.length;
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

/** Whether `a` and `b` hold the same bytes. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let index = 0; index < a.length; index++) {
    if (a[index] !== b[index]) return false;
  }
  return true;
}
