/** Action Message Format 3, reading only (AMF3 specification, January 2013). */

import type { ByteReader } from "../bytes.ts";
import { InvalidDataError } from "../errors.ts";
import { AmfBudget, type AmfObject, type AmfValue, emptyAmfObject } from "./amf_value.ts";

/** Type markers (AMF3 3.1). */
const Marker = {
  undefined: 0x00,
  null: 0x01,
  false: 0x02,
  true: 0x03,
  integer: 0x04,
  double: 0x05,
  string: 0x06,
  xmlDocument: 0x07,
  date: 0x08,
  array: 0x09,
  object: 0x0a,
  xml: 0x0b,
  byteArray: 0x0c,
  vectorInt: 0x0d,
  vectorUint: 0x0e,
  vectorDouble: 0x0f,
  vectorObject: 0x10,
} as const;

/** The members that objects of one class share (AMF3 3.12). */
interface Traits {
  readonly sealed: readonly string[];
  readonly dynamic: boolean;
}

// A byte order mark is a character like another, and encoders do send broken UTF-8.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * Reads one AMF3 value, with reference tables of its own.
 *
 * Dictionaries and externalizable objects, which no encoder sends, are refused.
 *
 * @throws {InvalidDataError} If the bytes are no AMF3, nest too deep or hold too many values.
 */
export function readAmf3(reader: ByteReader): AmfValue {
  return readNestedAmf3(reader, new AmfBudget(), 0);
}

/**
 * Reads one AMF3 value that lies `depth` levels inside a message with `budget`.
 *
 * @throws {InvalidDataError} If the bytes are no AMF3, nest too deep or hold too many values.
 */
export function readNestedAmf3(reader: ByteReader, budget: AmfBudget, depth: number): AmfValue {
  return new Amf3Reader(reader, budget).value(depth);
}

class Amf3Reader {
  readonly #reader: ByteReader;
  readonly #budget: AmfBudget;
  readonly #strings: string[] = [];
  readonly #traits: Traits[] = [];
  /** Complex values in order of appearance; `undefined` while one is still being read. */
  readonly #complex: AmfValue[] = [];

  constructor(reader: ByteReader, budget: AmfBudget) {
    this.#reader = reader;
    this.#budget = budget;
  }

  value(depth: number): AmfValue {
    this.#budget.spend(depth);
    const marker = this.#reader.u8();
    switch (marker) {
      case Marker.undefined:
        return undefined;
      case Marker.null:
        return null;
      case Marker.false:
        return false;
      case Marker.true:
        return true;
      case Marker.integer:
        return (this.#u29() << 3) >> 3;
      case Marker.double:
        return this.#reader.f64();
      case Marker.string:
        return this.#string();
      default:
        return this.#complexValue(marker, depth);
    }
  }

  #complexValue(marker: number, depth: number): AmfValue {
    if (marker < Marker.xmlDocument || marker > Marker.vectorObject) {
      throw new InvalidDataError(
        `Cannot read AMF3: marker 0x${marker.toString(16)} is unknown or not supported`,
      );
    }
    const header = this.#u29();
    if ((header & 1) === 0) return this.#reference(header >> 1, depth);
    const index = this.#complex.push(undefined) - 1;
    const value = this.#complexBody(marker, header >> 1, depth);
    this.#complex[index] = value;
    return value;
  }

  /** What follows a header whose bits above the reference flag are `info`. */
  #complexBody(marker: number, info: number, depth: number): AmfValue {
    switch (marker) {
      case Marker.date:
        return new Date(this.#reader.f64());
      case Marker.array:
        return this.#array(info, depth);
      case Marker.object:
        return this.#object(info, depth);
      case Marker.byteArray:
        return this.#reader.bytes(info);
      case Marker.vectorInt:
        return this.#vector(info, () => this.#reader.i32());
      case Marker.vectorUint:
        return this.#vector(info, () => this.#reader.u32());
      case Marker.vectorDouble:
        return this.#vector(info, () => this.#reader.f64());
      case Marker.vectorObject:
        return this.#vectorObject(info, depth);
      default: // both kinds of XML
        return decoder.decode(this.#reader.bytes(info));
    }
  }

  #array(length: number, depth: number): AmfValue {
    this.#checkCount(length);
    let key = this.#string();
    if (key === "") {
      const items: AmfValue[] = [];
      for (let index = 0; index < length; index++) items.push(this.value(depth + 1));
      return items;
    }
    const record = emptyAmfObject();
    for (; key !== ""; key = this.#string()) record[key] = this.value(depth + 1);
    for (let index = 0; index < length; index++) record[index] = this.value(depth + 1);
    return record;
  }

  #object(info: number, depth: number): AmfObject {
    const { sealed, dynamic } = this.#readTraits(info);
    const record = emptyAmfObject();
    for (const key of sealed) record[key] = this.value(depth + 1);
    if (dynamic) {
      for (let key = this.#string(); key !== ""; key = this.#string()) {
        record[key] = this.value(depth + 1);
      }
    }
    return record;
  }

  /** The U29O-traits fields of an object header (AMF3 3.12). */
  #readTraits(info: number): Traits {
    if ((info & 1) === 0) {
      const traits = this.#traits[info >> 1];
      if (!traits) {
        throw new InvalidDataError(`Cannot read AMF3: traits reference ${info >> 1} is unknown`);
      }
      return traits;
    }
    if ((info & 2) !== 0) {
      throw new InvalidDataError("Cannot read AMF3: an object is externalizable");
    }
    const count = info >> 3;
    this.#checkCount(count);
    this.#string(); // the class name
    const sealed: string[] = [];
    for (let index = 0; index < count; index++) {
      this.#budget.spend(0);
      sealed.push(this.#string());
    }
    const traits = { sealed, dynamic: (info & 4) !== 0 };
    this.#traits.push(traits);
    return traits;
  }

  #vector(length: number, item: () => number): AmfValue[] {
    this.#reader.skip(1); // whether the length is fixed
    const items: AmfValue[] = [];
    for (let index = 0; index < length; index++) {
      this.#budget.spend(0);
      items.push(item());
    }
    return items;
  }

  #vectorObject(length: number, depth: number): AmfValue[] {
    this.#reader.skip(1); // whether the length is fixed
    this.#string(); // the class name
    const items: AmfValue[] = [];
    for (let index = 0; index < length; index++) items.push(this.value(depth + 1));
    return items;
  }

  #reference(index: number, depth: number): AmfValue {
    const value = this.#complex[index];
    if (value === undefined) {
      throw new InvalidDataError(
        `Cannot read AMF3: reference ${index} is unknown or points to what contains it`,
      );
    }
    this.#budget.spendShared(value, depth);
    return value;
  }

  /** A string without marker, in line or from the table (AMF3 1.3.2). */
  #string(): string {
    const header = this.#u29();
    if ((header & 1) === 0) {
      const value = this.#strings[header >> 1];
      if (value === undefined) {
        throw new InvalidDataError(`Cannot read AMF3: string reference ${header >> 1} is unknown`);
      }
      return value;
    }
    if (header === 1) return "";
    const value = decoder.decode(this.#reader.bytes(header >> 1));
    this.#strings.push(value);
    return value;
  }

  /** A variable-length unsigned 29-bit integer (AMF3 1.3.1). */
  #u29(): number {
    let value = 0;
    for (let index = 0; index < 3; index++) {
      const byte = this.#reader.u8();
      value = (value << 7) | (byte & 0x7f);
      if (byte < 0x80) return value;
    }
    return (value << 8) | this.#reader.u8();
  }

  /** Refuses more items than the bytes left could hold. */
  #checkCount(count: number): void {
    if (count > this.#reader.remaining) {
      throw new InvalidDataError(
        `Cannot read AMF3: ${count} items are claimed, ${this.#reader.remaining} bytes remain`,
      );
    }
  }
}
