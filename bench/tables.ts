/**
 * Prints the figures of all benchmarks as tables, medians of several runs:
 * `deno run -A bench/tables.ts [RUNS] [FILE…]`.
 *
 * Each benchmark runs in a process of its own each time, since in one process the code that the
 * first has made fast for itself is what the next must make do with.
 */

interface Bench {
  readonly group: string;
  readonly name: string;
  readonly results: readonly [{ readonly ok: { readonly avg: number } }];
}

const [runs = "5", ...given] = Deno.args;
const files = given.length > 0 ? given : ["ring", "mux", "rtmp", "nal"];

async function run(file: string, filter?: string): Promise<readonly Bench[]> {
  const path = new URL(`./${file}_bench.ts`, import.meta.url).pathname;
  const args = [
    "bench",
    "-A",
    "--quiet",
    "--json",
    ...(filter ? [`--filter=${filter}`] : []),
    path,
  ];
  const { stdout } = await new Deno.Command(Deno.execPath(), { args, stderr: "inherit" }).output();
  return JSON.parse(new TextDecoder().decode(stdout)).benches;
}

/** Every benchmark's nanoseconds an iteration, by name, one figure a run. */
async function measure(file: string): Promise<Map<Bench, number[]>> {
  const figures = new Map((await run(file)).map((bench) => [bench, [] as number[]]));
  for (let count = 0; count < Number(runs); count++) {
    for (const [{ name }, times] of figures) {
      const exact = `/^${name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")}$/`;
      for (const { results: [{ ok }] } of await run(file, exact)) times.push(ok.avg);
    }
  }
  return figures;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >>> 1] ?? NaN;
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

for (const file of files) {
  let group: string | undefined;
  for (const [bench, times] of await measure(file)) {
    if (bench.group !== group) {
      group = bench.group;
      print(`\n| ${group} | median µs | least | most |\n| --- | --: | --: | --: |`);
    }
    const cells = [median(times), Math.min(...times), Math.max(...times)]
      .map((ns) => (ns / 1000).toPrecision(3));
    print(`| ${bench.name} | ${cells.join(" | ")} |`);
  }
}
