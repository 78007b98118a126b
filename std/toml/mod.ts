/**
 * Stands in for `jsr:@std/toml` where only the npm registry is reached: the same names, signatures, value
 * types and error class over `npm:smol-toml`. It is stricter (a key given twice is an error here, the real
 * package merges), and the texts of errors and the layout of written TOML differ.
 */
export { parse } from "./parse.ts";
export { stringify, type StringifyOptions } from "./stringify.ts";
