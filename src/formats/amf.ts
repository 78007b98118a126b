/**
 * Action Message Format 0, the encoding of RTMP commands and of FLV script data (AMF0
 * specification, December 2007).
 */

import { ByteReader, ByteWriter } from "../bytes.ts";
import { InvalidDataError } from "../errors.ts";
import { readNestedAmf3 } from "./amf3.ts";
import {
  AmfBudget,
  type AmfInput,
  type AmfObject,
  type AmfValue,
  EcmaArray,
  emptyAmfObject,
} from "./amf_value.ts";

export {
  type AmfInput,
  type AmfObject,
  type AmfValue,
  EcmaArray,
  isAmfObject,
  MAX_AMF_DEPTH,
  MAX_AMF_VALUES,
} from "./amf_value.ts";
export { readAmf3 } from "./amf3.ts";

/** Type markers (AMF0 2.1). */
const Marker = {
  number: 0x00,
  boolean: 0x01,
  string: 0x02,
  object: 0x03,
  null: 0x05,
  undefined: 0x06,
  reference: 0x07,
  ecmaArray: 0x08,
  objectEnd: 0x09,
  strictArray: 0x0a,
  date: 0x0b,
  longString: 0x0c,
  unsupported: 0x0d,
  xmlDocument: 0x0f,
  typedObject: 0x10,
  avmPlus: 0x11,
} as const;

const AMF3_BYTE_ARRAY = 0x0c;

// A byte order mark is a character like another, and encoders do send broken UTF-8.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
const encoder = new TextEncoder();

/**
 * Reads one AMF0 value; references in it point into it.
 *
 * @throws {InvalidDataError} If the bytes are no AMF0, nest deeper than `MAX_AMF_DEPTH` or hold
 * more than `MAX_AMF_VALUES` values.
 */
export function readAmf0(reader: ByteReader): AmfValue {
  return new Amf0Reader(reader).value(0);
}

/**
 * Reads all of `bytes` as AMF0 values, which share one table of references.
 *
 * @throws {InvalidDataError} If the bytes are no AMF0, nest deeper than `MAX_AMF_DEPTH` or hold
 * more than `MAX_AMF_VALUES` values.
 */
export function readAmf0All(bytes: Uint8Array): AmfValue[] {
  const reader = new ByteReader(bytes);
  const values = new Amf0Reader(reader);
  const result: AmfValue[] = [];
  while (reader.remaining > 0) result.push(values.value(0));
  return result;
}

/**
 * Writes `value` as AMF0. What appears twice is written twice, since few players know references;
 * a byte array goes in AMF3 (AMF0 3.1), which alone has that type.
 *
 * @throws {InvalidDataError} If it nests deeper than `MAX_AMF_DEPTH`, as a cycle does, or holds more
 * than `MAX_AMF_VALUES` values.
 * @throws {RangeError} If a property name is empty or longer than 65 535 bytes.
 */
export function writeAmf0(writer: ByteWriter, value: AmfInput): void {
  new Amf0Writer(writer).value(value, 0);
}

/**
 * The AMF0 encoding of `values`, one after the other.
 *
 * @throws {InvalidDataError} If one nests deeper than `MAX_AMF_DEPTH` or they hold more than
 * `MAX_AMF_VALUES` values.
 * @throws {RangeError} If a property name is empty or longer than 65 535 bytes.
 */
export function encodeAmf0(...values: readonly AmfInput[]): Uint8Array {
  const bytes = new ByteWriter(256);
  const writer = new Amf0Writer(bytes);
  for (const value of values) writer.value(value, 0);
  return bytes.finish();
}

class Amf0Reader {
  readonly #reader: ByteReader;
  readonly #budget = new AmfBudget();
  /** Complex values in order of appearance; `undefined` while one is still being read. */
  readonly #complex: AmfValue[] = [];

  constructor(reader: ByteReader) {
    this.#reader = reader;
  }

  value(depth: number): AmfValue {
    this.#budget.spend(depth);
    const marker = this.#reader.u8();
    switch (marker) {
      case Marker.number:
        return this.#reader.f64();
      case Marker.boolean:
        return this.#reader.u8() !== 0;
      case Marker.string:
        return this.#string();
      case Marker.null:
        return null;
      case Marker.undefined:
      case Marker.unsupported:
        return undefined;
      case Marker.reference:
        return this.#reference(this.#reader.u16(), depth);
      case Marker.date:
        return this.#date();
      case Marker.longString:
      case Marker.xmlDocument:
        return decoder.decode(this.#reader.bytes(this.#reader.u32()));
      case Marker.avmPlus:
        return readNestedAmf3(this.#reader, this.#budget, depth);
      default:
        return this.#complexValue(marker, depth);
    }
  }

  #complexValue(marker: number, depth: number): AmfValue {
    const index = this.#complex.push(undefined) - 1;
    const value = this.#complexBody(marker, depth);
    this.#complex[index] = value;
    return value;
  }

  #complexBody(marker: number, depth: number): AmfValue {
    switch (marker) {
      case Marker.object:
        return this.#properties(depth);
      case Marker.ecmaArray:
        this.#reader.skip(4); // a count that encoders get wrong
        return this.#properties(depth);
      case Marker.typedObject:
        this.#reader.skip(this.#reader.u16()); // the class name
        return this.#properties(depth);
      case Marker.strictArray:
        return this.#strictArray(depth);
      default:
        throw new InvalidDataError(
          `Cannot read AMF0: marker 0x${marker.toString(16)} is unknown or not supported`,
        );
    }
  }

  #properties(depth: number): AmfObject {
    const record = emptyAmfObject();
    for (let key = this.#string(); key !== ""; key = this.#string()) {
      record[key] = this.value(depth + 1);
    }
    const end = this.#reader.u8();
    if (end !== Marker.objectEnd) {
      throw new InvalidDataError(`Cannot read AMF0 object: its end marker is ${end}`);
    }
    return record;
  }

  #strictArray(depth: number): AmfValue[] {
    const count = this.#reader.u32();
    if (count > this.#reader.remaining) {
      throw new InvalidDataError(
        `Cannot read AMF0: ${count} items are claimed, ${this.#reader.remaining} bytes remain`,
      );
    }
    const items: AmfValue[] = [];
    for (let index = 0; index < count; index++) items.push(this.value(depth + 1));
    return items;
  }

  #reference(index: number, depth: number): AmfValue {
    const value = this.#complex[index];
    if (value === undefined) {
      throw new InvalidDataError(
        `Cannot read AMF0: reference ${index} is unknown or points to what contains it`,
      );
    }
    this.#budget.spendShared(value, depth);
    return value;
  }

  #date(): Date {
    const date = new Date(this.#reader.f64());
    this.#reader.skip(2); // a time zone, which is to be ignored (AMF0 2.13)
    return date;
  }

  #string(): string {
    return decoder.decode(this.#reader.bytes(this.#reader.u16()));
  }
}

class Amf0Writer {
  readonly #writer: ByteWriter;
  readonly #budget = new AmfBudget();

  constructor(writer: ByteWriter) {
    this.#writer = writer;
  }

  value(value: AmfInput, depth: number): void {
    this.#budget.spend(depth);
    switch (typeof value) {
      case "number":
        this.#writer.u8(Marker.number).f64(value);
        return;
      case "boolean":
        this.#writer.u8(Marker.boolean).u8(value ? 1 : 0);
        return;
      case "string":
        this.#string(value);
        return;
      case "undefined":
        this.#writer.u8(Marker.undefined);
        return;
      default:
        this.#object(value, depth);
    }
  }

  #object(value: Exclude<AmfInput, number | boolean | string | undefined>, depth: number): void {
    if (value === null) {
      this.#writer.u8(Marker.null);
    } else if (isArray(value)) {
      this.#writer.u8(Marker.strictArray).u32(value.length);
      for (const item of value) this.value(item, depth + 1);
    } else if (value instanceof Date) {
      this.#writer.u8(Marker.date).f64(value.getTime()).u16(0);
    } else if (value instanceof Uint8Array) {
      this.#byteArray(value);
    } else if (value instanceof EcmaArray) {
      this.#writer.u8(Marker.ecmaArray).u32(Object.keys(value.properties).length);
      this.#properties(value.properties, depth);
    } else {
      this.#writer.u8(Marker.object);
      this.#properties(value, depth);
    }
  }

  #properties(record: { readonly [key: string]: AmfInput }, depth: number): void {
    for (const [key, value] of Object.entries(record)) {
      const bytes = encoder.encode(key);
      if (bytes.length === 0 || bytes.length > 0xffff) {
        throw new RangeError(
          `Cannot write AMF0 property: its name is ${bytes.length} bytes long, not 1 to 65535`,
        );
      }
      this.#writer.u16(bytes.length).bytes(bytes);
      this.value(value, depth + 1);
    }
    this.#writer.u16(0).u8(Marker.objectEnd);
  }

  #string(value: string): void {
    const bytes = encoder.encode(value);
    if (bytes.length <= 0xffff) this.#writer.u8(Marker.string).u16(bytes.length);
    else this.#writer.u8(Marker.longString).u32(bytes.length);
    this.#writer.bytes(bytes);
  }

  #byteArray(value: Uint8Array): void {
    this.#writer.u8(Marker.avmPlus).u8(AMF3_BYTE_ARRAY);
    const header = (value.length << 1) | 1;
    if (value.length >= 1 << 28) {
      throw new RangeError(`Cannot write AMF3 byte array: it is ${value.length} bytes long`);
    }
    if (header < 0x80) this.#writer.u8(header);
    else if (header < 0x4000) this.#writer.u16(0x8000 | ((header << 1) & 0x7f00) | (header & 0x7f));
    else if (header < 0x20_0000) {
      this.#writer.u8(0x80 | (header >> 14)).u8(0x80 | (header >> 7) & 0xff).u8(header & 0x7f);
    } else {
      this.#writer.u8(0x80 | (header >> 22)).u8(0x80 | (header >> 15) & 0xff)
        .u8(0x80 | (header >> 8) & 0xff).u8(header & 0xff);
    }
    this.#writer.bytes(value);
  }
}

/** `Array.isArray` that also narrows read-only arrays. */
function isArray(value: AmfInput): value is readonly AmfInput[] {
  return Array.isArray(value);
}
