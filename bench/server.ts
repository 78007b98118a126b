/**
 * Streaming servers side by side: CPU, memory and latency as the viewers grow. See
 * `bench/server/README.md`.
 *
 * ```sh
 * deno run -A bench/server.ts --quick
 * ```
 */

import { tmpdir } from "node:os";
import { benchClip } from "./server/clip.ts";
import { loadCommand } from "./server/load_client.ts";
import { HELP, parseOptions } from "./server/options.ts";
import { killAll, pinSelf, which } from "./server/process.ts";
import { tables, toJson } from "./server/report.ts";
import { type Result, runAll, supersedes } from "./server/scenarios.ts";

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text + "\n"));
}

/** Progress goes where it does not mix with the table. */
function log(line: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(line + "\n"));
}

async function main(): Promise<void> {
  const options = parseOptions(Deno.args, tmpdir());
  if (options === undefined) return print(HELP);
  if (Deno.build.os !== "linux") throw new Error("Cannot measure: this needs the /proc of Linux");
  if ((options.serverCores || options.loadCores) && await which("taskset") === undefined) {
    throw new Error('Cannot pin: there is no taskset; try --server-cores "" --load-cores ""');
  }
  await pinSelf(options.loadCores);
  const directory = await Deno.makeTempDir({ prefix: "m7s-bench-" });
  const cleanUp = () => {
    killAll();
    Deno.removeSync(directory, { recursive: true });
  };
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    Deno.addSignalListener(signal, () => {
      cleanUp();
      Deno.exit(130);
    });
  }
  try {
    const clip = await benchClip(log);
    const command = await loadCommand(options.client, directory);
    const program = { ...command, clip, cores: options.loadCores, directory };
    if (program.kind === "deno" && options.pollMs > 0) {
      throw new TypeError("Cannot poll: this needs a C compiler, and --client c or auto");
    }
    if (program.kind === "deno") log("no compiler: the load is the slower one, in Deno");
    const { tagsPerSecond, bitsPerSecond } = clip;
    const results: Result[] = [];
    for await (const result of runAll({ options, program, log })) {
      const before = results.findIndex((other) => supersedes(result, other));
      if (before < 0) results.push(result);
      else results[before] = result;
      // At each step, so that what there is outlives a run that is broken off.
      const run = { options, client: program.kind, tagsPerSecond, bitsPerSecond };
      await Deno.writeTextFile(options.json, toJson(results, run));
    }
    print(tables(results));
    log(`figures: ${options.json}`);
  } finally {
    cleanUp();
  }
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    log(error instanceof Error ? error.message : String(error));
    Deno.exit(1);
  }
  Deno.exit(0);
}
