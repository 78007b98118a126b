/** NAL units of H.264 and H.265, in their two framings: start codes and length prefixes. */

import { InvalidDataError } from "../errors.ts";

/**
 * Most NAL units of one access unit.
 *
 * An H.265 picture has at most 600 slice segments (H.265 A.4.1); an H.264 encoder that cuts slices
 * to packets makes some thousand. Beyond that are runs of tiny units, whose views would take a
 * hundred times the memory of their bytes.
 */
export const MAX_NAL_UNITS = 16_384;

/**
 * The NAL units of a byte stream with three- or four-byte start codes, without them and without
 * trailing zero bytes (H.264 and H.265 Annex B), as views; empty ones are left out.
 *
 * @throws {InvalidDataError} If the data does not begin with a start code, or has over
 * {@linkcode MAX_NAL_UNITS} units.
 */
export function splitAnnexB(data: Uint8Array): Uint8Array[] {
  const nalus: Uint8Array[] = [];
  if (data.length === 0) return nalus;
  const first = startCodeOf(data);
  let start = first + 3;
  while (start < data.length) {
    const next = findStartCode(data, start);
    let end = next;
    while (end > start && data[end - 1] === 0) end--;
    if (end > start) push(nalus, data.subarray(start, end));
    start = next + 3;
  }
  return nalus;
}

/**
 * The NAL units of an access unit with length prefixes of `lengthSize` bytes, 1 to 4 (ISO/IEC
 * 14496-15 4.3.3), as views; empty ones are left out.
 *
 * @throws {InvalidDataError} If a length reaches past the end or is cut off, or there are over
 * {@linkcode MAX_NAL_UNITS} units.
 * @throws {RangeError} If `lengthSize` is not 1 to 4.
 */
export function splitLengthPrefixed(data: Uint8Array, lengthSize = 4): Uint8Array[] {
  checkLengthSize(lengthSize);
  const nalus: Uint8Array[] = [];
  let at = 0;
  while (at < data.length) {
    const start = at + lengthSize;
    at = start + lengthAt(data, at, lengthSize);
    if (at > start) push(nalus, data.subarray(start, at));
  }
  return nalus;
}

/**
 * How many NAL units {@linkcode splitLengthPrefixed} gives, without making views.
 *
 * @throws As it does.
 */
export function countLengthPrefixed(data: Uint8Array, lengthSize = 4): number {
  checkLengthSize(lengthSize);
  let count = 0;
  let at = 0;
  while (at < data.length) {
    const length = lengthAt(data, at, lengthSize);
    at += lengthSize + length;
    if (length > 0) checkCount(++count);
  }
  return count;
}

/** The access unit of `nalus` with length prefixes of four bytes (ISO/IEC 14496-15 4.3.3). */
export function joinLengthPrefixed(nalus: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(joinedLength(nalus));
  let at = 0;
  for (const nalu of nalus) {
    const length = nalu.length;
    bytes[at] = length >>> 24;
    bytes[at + 1] = length >>> 16;
    bytes[at + 2] = length >>> 8;
    bytes[at + 3] = length;
    bytes.set(nalu, at + 4);
    at += 4 + length;
  }
  return bytes;
}

/** The byte stream of `nalus`, each behind a four-byte start code (H.264 and H.265 Annex B). */
export function joinAnnexB(nalus: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(joinedLength(nalus));
  let at = 0;
  for (const nalu of nalus) {
    bytes[at + 3] = 1;
    bytes.set(nalu, at + 4);
    at += 4 + nalu.length;
  }
  return bytes;
}

/**
 * `nalu` without its emulation prevention bytes (H.264 7.3.1, H.265 7.3.1.1): the same bytes where
 * there are none, otherwise a copy.
 */
export function unescapeRbsp(nalu: Uint8Array): Uint8Array {
  let escape = findEscape(nalu, 0);
  if (escape === nalu.length) return nalu;
  const rbsp = new Uint8Array(nalu.length - 1);
  let length = 0;
  let start = 0;
  while (start < nalu.length) {
    rbsp.set(nalu.subarray(start, escape), length);
    length += escape - start;
    start = escape + 1;
    escape = findEscape(nalu, start);
  }
  return rbsp.subarray(0, length);
}

function joinedLength(nalus: readonly Uint8Array[]): number {
  let length = 0;
  for (const nalu of nalus) length += 4 + nalu.length;
  return length;
}

function checkLengthSize(lengthSize: number): void {
  if (lengthSize >= 1 && lengthSize <= 4) return;
  throw new RangeError(`Cannot split NAL units: the length size is ${lengthSize}, not 1 to 4`);
}

/** The length at `at`, which does not reach past the end. */
function lengthAt(data: Uint8Array, at: number, lengthSize: number): number {
  const left = data.length - at - lengthSize;
  if (left < 0) {
    throw new InvalidDataError(
      `Cannot split NAL units: the length at offset ${at} is cut off after ` +
        `${left + lengthSize} bytes`,
    );
  }
  let length = 0;
  for (let index = 0; index < lengthSize; index++) {
    length = length * 256 + (data[at + index] ?? 0);
  }
  if (length > left) {
    throw new InvalidDataError(
      `Cannot split NAL units: the length at offset ${at} is ${length}, ${left} bytes remain`,
    );
  }
  return length;
}

function push(nalus: Uint8Array[], nalu: Uint8Array): void {
  checkCount(nalus.length + 1);
  nalus.push(nalu);
}

function checkCount(count: number): void {
  if (count <= MAX_NAL_UNITS) return;
  throw new InvalidDataError(`Cannot split NAL units: their number is over ${MAX_NAL_UNITS}`);
}

/** Where the first start code begins: behind zero bytes only. */
function startCodeOf(data: Uint8Array): number {
  let at = 0;
  while (data[at] === 0) at++;
  if (at < 2 || data[at] !== 1) {
    throw new InvalidDataError(
      `Cannot split an Annex B byte stream: its beginning is no start code`,
    );
  }
  return at - 2;
}

/** Where the next 00 00 01 begins at or after `from`; the end of the data if there is none. */
function findStartCode(data: Uint8Array, from: number): number {
  const end = data.length;
  // The third byte alone says how far to jump: over 1, no start code can reach across it.
  let at = from + 2;
  while (at < end) {
    const byte = data[at] as number;
    if (byte > 1) {
      at += 3;
    } else if (byte === 0) {
      at++;
    } else if (data[at - 1] === 0 && data[at - 2] === 0) {
      return at - 2;
    } else {
      at += 3;
    }
  }
  return end;
}

/** Where the next 03 behind 00 00 is at or after `from`; the end of the data if there is none. */
function findEscape(data: Uint8Array, from: number): number {
  const end = data.length;
  let at = from + 2;
  while (at < end) {
    const byte = data[at] as number;
    if (byte > 3) {
      at += 3;
    } else if (byte === 3 && data[at - 1] === 0 && data[at - 2] === 0) {
      return at;
    } else {
      at++;
    }
  }
  return end;
}
