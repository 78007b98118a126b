import { isDeepStrictEqual } from "node:util";

/**
 * Compares two values by structure.
 *
 * Unlike `isDeepStrictEqual`, `0` equals `-0` and a null prototype equals `Object.prototype`, as in the real
 * package; the walk here is for these, and leaves what is neither a plain object, an array nor a collection
 * to `node:util`.
 */
export function equal(a: unknown, b: unknown): boolean {
  return compare(a, b, new Map());
}

function compare(a: unknown, b: unknown, seen: Map<object, object>): boolean {
  if (a === b || Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (kindOf(a) !== kindOf(b)) return false;
  if (ArrayBuffer.isView(a) && ArrayBuffer.isView(b)) return equalViews(a, b);
  if (a instanceof Date) return Object.is(a.getTime(), (b as Date).getTime());
  if (seen.get(a) === b) return true;
  seen.set(a, b);
  if (a instanceof Map) return equalMaps(a, b as Map<unknown, unknown>, seen);
  if (a instanceof Set) return equalSets(a, b as Set<unknown>, seen);
  if (hasHiddenState(a)) return isDeepStrictEqual(a, b);
  return equalProperties(a, b, seen);
}

function kindOf(value: object): unknown {
  return Object.getPrototypeOf(value) ?? Object.prototype;
}

function equalViews(a: ArrayBufferView, b: ArrayBufferView): boolean {
  if (a.byteLength !== b.byteLength) return false;
  if (a instanceof DataView) return isDeepStrictEqual(a, b);
  const x = a as unknown as ArrayLike<unknown>;
  const y = b as unknown as ArrayLike<unknown>;
  for (let i = 0; i < x.length; i++) {
    if (x[i] !== y[i] && !Object.is(x[i], y[i])) return false;
  }
  return true;
}

function equalMaps(
  a: Map<unknown, unknown>,
  b: Map<unknown, unknown>,
  seen: Map<object, object>,
): boolean {
  if (a.size !== b.size) return false;
  const rest = [...b];
  for (const [key, value] of a) {
    const at = rest.findIndex(([k, v]) => compare(key, k, seen) && compare(value, v, seen));
    if (at < 0) return false;
    rest.splice(at, 1);
  }
  return true;
}

function equalSets(a: Set<unknown>, b: Set<unknown>, seen: Map<object, object>): boolean {
  if (a.size !== b.size) return false;
  const rest = [...b];
  for (const item of a) {
    const at = rest.findIndex((other) => compare(item, other, seen));
    if (at < 0) return false;
    rest.splice(at, 1);
  }
  return true;
}

function hasHiddenState(value: object): boolean {
  return value instanceof RegExp || value instanceof ArrayBuffer || value instanceof URL ||
    value instanceof URLSearchParams;
}

function equalProperties(a: object, b: object, seen: Map<object, object>): boolean {
  const keys = keysOf(a);
  if (keys.size !== keysOf(b).size) return false;
  for (const key of keys) {
    if (!(key in b)) return false;
    if (!compare(Reflect.get(a, key), Reflect.get(b, key), seen)) return false;
  }
  return true;
}

/** Of a plain object or array its enumerable keys; of a class instance also what its prototypes define. */
function keysOf(value: object): Set<PropertyKey> {
  const kind = kindOf(value);
  if (kind === Object.prototype || kind === Array.prototype) {
    return new Set(Reflect.ownKeys(value).filter((key) => isEnumerable(value, key)));
  }
  const keys = new Set<PropertyKey>();
  let at: object | null = value;
  while (at !== null && at !== Object.prototype) {
    for (const key of Reflect.ownKeys(at)) keys.add(key);
    at = Object.getPrototypeOf(at);
  }
  return keys;
}

function isEnumerable(value: object, key: PropertyKey): boolean {
  return Object.prototype.propertyIsEnumerable.call(value, key);
}
