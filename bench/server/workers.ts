/** How many viewers isolates serve within a latency, and what a second isolate adds. */

import { delay } from "@std/async/delay";
import { availableParallelism } from "node:os";
import type { LazyViewers } from "./load_client.ts";
import type { ServerName } from "./options.ts";
import { mayBe, openFilesAllowed } from "./process.ts";
import type { Variant } from "./servers.ts";
import { type Bench, FAULTS, medianOf, type Round, Stand } from "./stand.ts";

/** Where the search begins, in viewers of an isolate: fewer than a core serves. */
const FIRST_VIEWERS = 2000;
/** By how much it raises them until they are too many. */
const GROWTH = 1.25;
/** How near it comes to the number that is too many. */
const PRECISION = 0.03;
/** Files that a server may have open beside the sockets of its viewers. */
const OTHER_FILES = 200;
const LAZY: LazyViewers = { everyMs: 250, probes: 40 };
/** Of the load: how long it waits for its core must not be taken for the server's latency. */
const NICENESS = -10;

/** One number of viewers. */
export interface WorkersStep {
  readonly workers: number;
  readonly viewers: number;
  /** As many as are needed to tell what most of them say. */
  readonly rounds: readonly Round[];
  readonly median: Round;
  /** Viewers that could not begin to watch. */
  readonly failed: number;
  /** How many viewers each isolate has. */
  readonly byIsolate: readonly number[] | undefined;
  /** Whether all viewers had the full rate, and 99 % of the probes' pictures came in time. */
  readonly served: boolean;
}

/** How many viewers one and more isolates serve. */
export interface WorkersResult {
  readonly scenario: "workers";
  readonly server: ServerName;
  readonly version: string;
  readonly label: string;
  readonly flushMs: number | undefined;
  readonly protocol: "http-flv";
  readonly boundMs: number;
  readonly lazy: LazyViewers;
  /** Niceness of the load; undefined where it must not be raised. */
  readonly niceness: number | undefined;
  /** What was tried, in order, and the most that were served, of each number of isolates. */
  readonly counts: readonly {
    readonly workers: number;
    readonly serverCores: string;
    readonly loadCores: string;
    readonly viewers: number;
  }[];
  readonly steps: readonly WorkersStep[];
  /** Viewers of the most isolates against those of one. */
  readonly ratio: number;
}

interface WorkersTest {
  readonly bench: Bench;
  readonly variant: Variant;
  readonly version: string;
}

/** Measures one isolate and several in turns, so that a machine that gets slower does so for both. */
export async function* workersScenario(
  { bench, variant, version }: WorkersTest,
): AsyncGenerator<WorkersResult> {
  const { options, program, log } = bench;
  if (program.kind !== "c") return log("  workers: left out: only load.c has lazy viewers");
  const niceness = await mayBe(NICENESS) ? NICENESS : undefined;
  if (niceness === undefined) {
    log(`  the load may not be nice ${NICENESS}: what it waits for its core is in the latencies`);
  }
  // All isolates are in one process, and so are all viewers.
  const room = await openFilesAllowed() - OTHER_FILES;
  const most = options.workers ?? 2;
  const setups = [1, most].map((workers) => {
    const { serverCores, loadCores } = coresOf(workers, most);
    log(`  ${isolates(workers)}: server on cores ${serverCores}, load on ${loadCores}`);
    const viewers = options.viewers?.map((count) => count * workers);
    const tooMany = viewers?.filter((count) => count > room) ?? [];
    if (tooMany.length > 0) {
      log(`  left out: ${tooMany.join(", ")} viewers, as ${room} may be open`);
    }
    return {
      workers,
      serverCores,
      loadCores,
      tries: viewers
        ? listed(viewers.filter((count) => count <= room))
        : search(FIRST_VIEWERS * workers, room),
      bench: {
        ...bench,
        options: { ...options, serverCores },
        program: { ...program, cores: loadCores, niceness },
      },
    };
  });
  const steps: WorkersStep[] = [];
  const counts: WorkersResult["counts"][number][] = [];
  for (
    let open = setups.map((setup) => ({ ...setup, next: setup.tries.next() }));
    open.length > 0;
  ) {
    for (const setup of open) {
      const { workers, serverCores, loadCores, tries, next } = setup;
      if (next.done) {
        counts.push({ workers, serverCores, loadCores, viewers: next.value });
        continue;
      }
      const own = { ...variant, workers, label: `${variant.label}, ${isolates(workers)}` };
      const step = await workersStep(setup.bench, own, next.value);
      steps.push(step);
      setup.next = tries.next(step.served);
    }
    open = open.filter(({ workers }) => !counts.some((count) => count.workers === workers));
  }
  counts.sort((a, b) => a.workers - b.workers);
  const ratio = (counts.at(-1)?.viewers ?? 0) / (counts[0]?.viewers ?? 0);
  for (const { workers, viewers } of counts) log(`  ${isolates(workers)}: ${viewers} viewers`);
  log(`  ratio ${ratio.toFixed(2)}`);
  const { server, label, flushMs } = variant;
  const { boundMs } = options;
  const what = { server, version, label, flushMs, protocol: "http-flv" } as const;
  yield { scenario: "workers", ...what, boundMs, lazy: LAZY, niceness, counts, steps, ratio };
}

/**
 * The first cores for the isolates, one each. The load has those that `most` isolates leave; if there
 * is none, it is on the cores of the isolates, however many these are: all have the same share of it.
 */
function coresOf(workers: number, most: number): { serverCores: string; loadCores: string } {
  const all = availableParallelism();
  const range = (from: number, to: number) => from === to ? `${from}` : `${from}-${to}`;
  const serverCores = range(0, Math.min(workers, all) - 1);
  return { serverCores, loadCores: most < all ? range(most, all - 1) : serverCores };
}

/** Numbers of viewers to try; told of each whether it was served, gives the most that were. */
type Tries = Generator<number, number, boolean>;

function* search(first: number, room: number): Tries {
  let served = 0;
  let tooMany = Infinity;
  let count = Math.min(first, room);
  while (served < room && (tooMany === Infinity || tooMany - served > PRECISION * tooMany)) {
    if (yield count) served = count;
    else tooMany = count;
    const next = tooMany === Infinity ? served * GROWTH : (served + tooMany) / 2;
    count = Math.min(Math.round(next), room);
  }
  return served;
}

function* listed(counts: readonly number[]): Tries {
  let served = 0;
  for (const count of counts) if (yield count) served = count;
  return served;
}

async function workersStep(bench: Bench, variant: Variant, count: number): Promise<WorkersStep> {
  const { options, log } = bench;
  await using stand = await Stand.start(bench, variant, 1);
  await using viewers = stand.viewers("http-flv", LAZY);
  const { failed } = await viewers.open(count);
  await delay(options.warmupSeconds * 1000);
  // One that is too full to tell has too many.
  const byIsolate = await stand.viewersByIsolate().catch(() => undefined);
  const rounds: Round[] = [];
  const isServed = (round: Round) =>
    failed === 0 && round.viewers === count && round.behind === 0 && round.lost === 0 &&
    round.latencyP99 <= options.boundMs;
  let [yes, no] = [0, 0];
  while (Math.max(yes, no) * 2 <= options.rounds) {
    const round = await stand.round(viewers, options.seconds);
    rounds.push(round);
    if (isServed(round)) yes++;
    else no++;
  }
  const step: WorkersStep = {
    workers: variant.workers ?? 1,
    viewers: count,
    rounds,
    median: medianOf(rounds),
    failed,
    byIsolate,
    served: yes > no,
  };
  log(`  ${variant.label}, ${count} viewers (${byIsolate?.join(" + ") ?? "?"}): ${describe(step)}`);
  await stand.logComplaints();
  for (const line of await viewers.lastLines(3)) if (line !== "") log(`  ${line}`);
  return step;
}

function describe({ median, rounds, failed, served }: WorkersStep): string {
  const faults = FAULTS.filter((name) => rounds.some((round) => round[name] > 0));
  return `CPU ${median.cpu.toFixed(2)} + ${median.loadCpu.toFixed(2)}, ` +
    `others ${median.othersCpu.toFixed(2)}, ${median.usPerViewer.toFixed(0)} µs, ` +
    `p50 ${rounds.map(({ latencyP50 }) => latencyP50.toFixed(1)).join(" ")}, ` +
    `p99 ${rounds.map(({ latencyP99 }) => latencyP99.toFixed(1)).join(" ")} ms, ` +
    `${median.behind + failed} short${faults.map((name) => `, ${name}`).join("")}: ` +
    `${served ? "served" : "too many"}`;
}

function isolates(workers: number): string {
  return workers === 1 ? "1 isolate" : `${workers} isolates`;
}
