/** The C programs of the benchmark. */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { outputOf, which } from "./process.ts";

/** The path of the system's C compiler; undefined if there is none. */
export async function compiler(): Promise<string | undefined> {
  return await which("cc") ?? await which("gcc");
}

/**
 * Compiles `{name}.c` into `directory`.
 *
 * @returns The program's path; undefined if there is no compiler.
 */
export async function compile(name: string, directory: string): Promise<string | undefined> {
  const cc = await compiler();
  if (cc === undefined) return undefined;
  const program = join(directory, name);
  const source = fileURLToPath(new URL(`./${name}.c`, import.meta.url));
  await outputOf([cc, "-O2", "-std=gnu11", "-o", program, source], { timeoutMs: 60_000 });
  return program;
}
