import { stringify as stringifyToml } from "smol-toml";

/** Options of {@linkcode stringify}. */
export interface StringifyOptions {
  /** Whether to align the keys. Has no effect here. Default: `false`. */
  keyAlignment?: boolean;
}

/** Writes an object as TOML. */
export function stringify(obj: Record<string, unknown>, _options?: StringifyOptions): string {
  return stringifyToml(obj);
}
