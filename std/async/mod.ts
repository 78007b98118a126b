/**
 * Stands in for `jsr:@std/async` where only the npm registry is reached: the same names, signatures and
 * behaviour for what this project uses.
 */
export { abortable } from "./abortable.ts";
export { deadline, type DeadlineOptions } from "./deadline.ts";
export { delay, type DelayOptions } from "./delay.ts";
