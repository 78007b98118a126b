/** The values of Action Message Format 0 and 3, and the bounds on what a peer may make of them. */

import { InvalidDataError } from "../errors.ts";

/** Most levels of nesting; encoders use two or three, and deeper data would exhaust the stack. */
export const MAX_AMF_DEPTH = 32;

/**
 * Most values in one message, shared ones counted wherever they appear.
 *
 * The keyframe index of a day-long recording has some 90 000. The bound keeps four-byte empty
 * objects, and references to references, from growing into hundreds of megabytes.
 */
export const MAX_AMF_VALUES = 1 << 17;

/** An AMF object or associative array: a record without prototype, so any key is harmless. */
export interface AmfObject {
  [key: string]: AmfValue;
}

/** A value read from AMF. XML comes as a string, a typed object without its class name. */
export type AmfValue =
  | number
  | boolean
  | string
  | null
  | undefined
  | Date
  | Uint8Array
  | AmfValue[]
  | AmfObject;

/** A value that can be written as AMF. Every {@linkcode AmfValue} is one. */
export type AmfInput =
  | number
  | boolean
  | string
  | null
  | undefined
  | Date
  | Uint8Array
  | EcmaArray
  | readonly AmfInput[]
  | { readonly [key: string]: AmfInput };

/** A record to be written as an ECMA array, as players expect of `onMetaData` (AMF0 2.10). */
export class EcmaArray {
  /** What the array holds, in writing order. */
  readonly properties: { readonly [key: string]: AmfInput };

  /** An ECMA array of `properties`. */
  constructor(properties: { readonly [key: string]: AmfInput }) {
    this.properties = properties;
  }
}

/** An {@linkcode AmfObject} with no keys. */
export function emptyAmfObject(): AmfObject {
  return Object.create(null);
}

/** Whether `value` is a record, and no array, date or byte array. */
export function isAmfObject(value: AmfValue): value is AmfObject {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    !(value instanceof Date) && !(value instanceof Uint8Array);
}

/** What one AMF message may still hold. */
export class AmfBudget {
  #left = MAX_AMF_VALUES;

  /**
   * Takes one value, `depth` levels below the message.
   *
   * @throws {InvalidDataError} If there are too many or they nest too deep.
   */
  spend(depth: number): void {
    if (depth > MAX_AMF_DEPTH) {
      throw new InvalidDataError(`Cannot convert AMF: it nests deeper than ${MAX_AMF_DEPTH}`);
    }
    if (--this.#left < 0) {
      throw new InvalidDataError(`Cannot convert AMF: it has more than ${MAX_AMF_VALUES} values`);
    }
  }

  /**
   * Takes `value` and all in it once more, because a reference makes it appear again at `depth`.
   *
   * Without this, thirty references could stand for billions of values to whoever walks them.
   *
   * @throws {InvalidDataError} If there are too many or they nest too deep.
   */
  spendShared(value: AmfValue, depth: number): void {
    this.spend(depth);
    if (Array.isArray(value)) {
      for (const item of value) this.spendShared(item, depth + 1);
    } else if (isAmfObject(value)) {
      for (const key in value) this.spendShared(value[key], depth + 1);
    }
  }
}
