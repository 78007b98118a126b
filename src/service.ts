/** Services: what plugins offer to one another. */

declare const typeOfService: unique symbol;

/** The name of a service and the type of what it gives. */
export interface Service<T> {
  /** Name of the service, unique in its engine. */
  readonly name: string;
  /** Never there: it carries the type. */
  readonly [typeOfService]?: T;
}

/**
 * Names a service of type `T`. Services of one name are the same, so that plugins of different
 * packages find one another.
 *
 * @example A clock that plugins share
 * ```ts
 * import { defineService } from "@m7s/engine";
 *
 * export const clock = defineService<{ now(): number }>("clock");
 * ```
 */
export function defineService<T>(name: string): Service<T> {
  return { name };
}
