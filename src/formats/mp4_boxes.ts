/** Boxes, what ISO base media files are made of (ISO/IEC 14496-12 4.2). */

import type { ByteWriter } from "../bytes.ts";
import { fourccNumber } from "./flv_enhanced.ts";

/** Bytes of a box's size and type. */
export const BOX_HEADER_BYTES = 8;

/** Bytes of a FullBox's size, type, version and flags. */
export const FULL_BOX_HEADER_BYTES = 12;

/** The kind of a FullBox. */
export interface FullBoxHead {
  /** FourCC. */
  readonly type: string;
  /** 0 unless given. */
  readonly version?: number;
  /** 24 bits; none unless given. */
  readonly flags?: number;
}

/** Writes a box whose content is what `content` writes; its size follows from that. */
export function box(writer: ByteWriter, type: string, content: () => void): void {
  const start = writer.length;
  writer.u32(0).u32(fourccNumber(type));
  content();
  writer.setU32(start, writer.length - start);
}

/** {@linkcode box} of a box with version and flags, the FullBox of the specification. */
export function fullBox(writer: ByteWriter, head: FullBoxHead, content: () => void): void {
  const { type, version = 0, flags = 0 } = head;
  box(writer, type, () => {
    writer.u32(version << 24 | flags);
    content();
  });
}

/**
 * Writes an unsigned 64-bit integer.
 *
 * @throws {RangeError} If `value` is not a whole number from 0 to 2⁵³ − 1.
 */
export function u64(writer: ByteWriter, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`Cannot write a 64-bit field: its value is ${value}`);
  }
  writer.u32(Math.floor(value / 2 ** 32)).u32(value % 2 ** 32);
}

/** File type (4.3): the `brands` that a file complies with, the best one first. */
export function ftyp(writer: ByteWriter, brands: readonly string[]): void {
  brandBox(writer, "ftyp", brands);
}

/** Segment type (8.16.2): the `brands` that a segment complies with, the best one first. */
export function styp(writer: ByteWriter, brands: readonly string[]): void {
  brandBox(writer, "styp", brands);
}

/** Bytes of an `ftyp` or `styp` box with `count` brands. */
export function brandBoxBytes(count: number): number {
  return BOX_HEADER_BYTES + 8 + 4 * count;
}

function brandBox(writer: ByteWriter, type: string, brands: readonly string[]): void {
  const [major = "iso6"] = brands;
  box(writer, type, () => {
    writer.u32(fourccNumber(major)).u32(0); // minor_version
    for (const brand of brands) writer.u32(fourccNumber(brand));
  });
}
