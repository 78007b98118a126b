/** Damaged input for parsers: cut, changed and random bytes. */

import fc from "fast-check";
import { InvalidDataError } from "../../src/errors.ts";

/** Fixed, so that a failure is there again in the next run. */
const SEED = 20_24;

/** Runs of each kind of damage: the codec tests stay within seconds. */
const RUNS = 300;

/**
 * Feeds `parse` every beginning of each of `seeds`, the seeds with bytes changed, and random bytes:
 * whatever it throws must be an {@linkcode InvalidDataError}.
 */
export function assertWithstands(
  parse: (data: Uint8Array) => unknown,
  seeds: readonly Uint8Array[],
): void {
  for (const seed of seeds) {
    for (let length = 0; length <= seed.length; length++) attempt(parse, seed.slice(0, length));
  }
  const options = { seed: SEED, numRuns: RUNS };
  const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
  const changes = fc.array(change, { minLength: 1, maxLength: 4 });
  if (seeds.length > 0) {
    const changed = fc.property(fc.constantFrom(...seeds), changes, (seed, list) => {
      const data = seed.slice();
      for (const [at, byte] of list) if (data.length > 0) data[at % data.length] = byte;
      attempt(parse, data);
    });
    fc.assert(changed, options);
  }
  const random = fc.property(fc.uint8Array({ maxLength: 80 }), (data) => attempt(parse, data));
  fc.assert(random, options);
}

function attempt(parse: (data: Uint8Array) => unknown, data: Uint8Array): void {
  try {
    parse(data);
  } catch (error) {
    if (!(error instanceof InvalidDataError)) throw error;
  }
}
