/** What is measured, server by server. */

import { delay } from "@std/async/delay";
import { type HlsResult, hlsScenario } from "./hls.ts";
import type { Distribution } from "./load_client.ts";
import type { Protocol, Scenario, ServerName } from "./options.ts";
import { SERVERS, type Variant, variantsOf } from "./servers.ts";
import { type Bench, FAULTS, median, medianOf, type Round, Stand } from "./stand.ts";
import { type WorkersResult, workersScenario } from "./workers.ts";

/** Share of viewers that may be short of their full rate before a server counts as behind. */
const BEHIND_SHARE = 0.01;
const JOINS_PER_SECOND = 100;
const STALLED_VIEWERS = 200;
/** What a stalled viewer reads first: a picture and a little more. */
const STALLED_BYTES = 500_000;
const VIEWERS_PER_PUBLISHER = 5;
/** How often these come and leave again in a round. */
const VISITS = 4;

/** What is the same in all results of a server. */
interface ResultBase {
  readonly scenario: Scenario;
  readonly server: string;
  readonly version: string;
  readonly label: string;
  readonly flushMs: number | undefined;
  readonly workers: number | undefined;
  readonly protocol: Protocol;
}

/** `viewers` viewers of one stream; figures are medians of all rounds. */
export interface FanoutResult extends ResultBase {
  readonly scenario: "fanout";
  readonly viewers: number;
  /** Those done so far; none of rounds in which the server fell behind with fewer viewers. */
  readonly rounds: readonly FanoutRound[];
  readonly median: Round;
  /** Viewers that did not get the full rate. */
  readonly short: number;
  /** Times to the first keyframe with all viewers present, in ms. */
  readonly firstKey: { readonly p50: number; readonly p99: number } | undefined;
}

/** A server of its own. */
export interface FanoutRound {
  /** From 1 on; the same for all servers that took turns in it. */
  readonly number: number;
  readonly round: Round;
  /** Viewers that could not begin to watch. */
  readonly failed: number;
  /** Viewers that did not get the full rate, with these. */
  readonly short: number;
  /** Whether they are more than 1 %. */
  readonly fellBehind: boolean;
  /** Who came with all viewers present; undefined if the server had fallen behind. */
  readonly joins: (Distribution & { readonly failed: number }) | undefined;
}

/** The same viewers before and after others have stopped to read. */
export interface StalledResult extends ResultBase {
  readonly scenario: "stalled";
  readonly viewers: number;
  /** In the round with the fewest. */
  readonly stalled: number;
  readonly rounds: readonly StalledRound[];
  /** The medians of all rounds. */
  readonly before: Round;
  readonly after: Round;
  /** What the server's memory has grown by. */
  readonly growthMB: { readonly median: number; readonly from: number; readonly to: number };
}

/** A server of its own before and after viewers have stopped to read. */
export interface StalledRound {
  readonly before: Round;
  readonly after: Round;
  readonly stalled: number;
}

/** Many publishers with a few viewers each, beside one with as many. */
export interface StreamsResult extends ResultBase {
  readonly scenario: "streams";
  readonly publishers: number;
  readonly viewers: number;
  /** One publisher. */
  readonly one: Egress;
  /** All of them. */
  readonly many: Egress;
  /** CPU seconds a second that a publisher costs. */
  readonly ingestCpu: number;
  /** CPU of the viewers alone, of many streams against one. */
  readonly egressRatio: number;
}

/** What viewers cost; CPU in seconds a second. */
export interface Egress {
  readonly rounds: readonly EgressRound[];
  /** With viewers, in the median of all visits. */
  readonly watched: Round;
  /** Without. */
  readonly idleCpu: number;
  /** What viewers add, in the median of all visits. */
  readonly egressCpu: number;
  /** What they add in the cheapest and in the dearest round, in the median of its visits. */
  readonly egressFrom: number;
  readonly egressTo: number;
}

/** A server that viewers visit again and again. */
export interface EgressRound {
  /** With viewers. */
  readonly watched: readonly Round[];
  /** Without: before the first visit, and after each. */
  readonly idle: readonly Round[];
}

/** What a measurement gave. */
export type Result = FanoutResult | StalledResult | StreamsResult | HlsResult | WorkersResult;

/**
 * Measures all that was asked for; servers that are not there are passed over. A result of `fanout`
 * comes anew with each of its rounds.
 */
export async function* runAll(bench: Bench): AsyncGenerator<Result> {
  const { options, log } = bench;
  const servers: Served[] = [];
  for (const name of options.servers) {
    try {
      servers.push({ name, version: await SERVERS[name].find() });
    } catch (error) {
      log(`${name}: left out: ${error instanceof Error ? error.message : error}`);
    }
  }
  for (const protocol of options.protocols) {
    const tests = servers.filter(({ name }) => SERVERS[name].urls[protocol] !== undefined)
      .flatMap(({ name, version }) =>
        variantsOf(name, options).map((variant) => ({
          bench,
          variant,
          protocol,
          base: { ...variant, version, protocol },
        }))
      );
    const title = ({ variant, base }: Test) => `${variant.label} (${base.version}), ${protocol}`;
    if (options.scenarios.includes("fanout")) {
      for (const test of tests) log(`${title(test)}, fanout`);
      yield* fanout(bench, tests);
    }
    for (const test of tests) {
      for (const scenario of ["stalled", "streams"] as const) {
        if (!options.scenarios.includes(scenario)) continue;
        log(`${title(test)}, ${scenario}`);
        yield* passOver(SCENARIO[scenario](test), log);
      }
    }
  }
  for (const server of servers) yield* withoutProtocol(bench, server);
}

/** What is not done for each protocol. */
async function* withoutProtocol(bench: Bench, { name, version }: Served): AsyncGenerator<Result> {
  const { options, log } = bench;
  const kind = SERVERS[name];
  const [first] = variantsOf(name, options);
  if (options.scenarios.includes("hls") && kind.hlsUrl !== undefined && first !== undefined) {
    // Nothing in HLS depends on how frames are merged.
    const variant = { ...first, label: name, flushMs: undefined };
    log(`${variant.label} (${version}), hls`);
    yield* passOver(hlsScenario({ bench, variant, version }), log);
  }
  if (!options.scenarios.includes("workers") || kind.viewersByIsolate === undefined) return;
  // The floor's processes look for frames of another when they flush.
  const flushes = options.flushes ?? [name === "floor" ? 1 : 0];
  for (const variant of variantsOf(name, { flushes, workers: undefined })) {
    log(`${variant.label} (${version}), workers`);
    yield* passOver(workersScenario({ bench, variant, version }), log);
  }
}

/** A server that is there. */
interface Served {
  readonly name: ServerName;
  readonly version: string;
}

/** Whether a result is another with one more round. */
export function supersedes(result: Result, other: Result): boolean {
  return result.scenario === "fanout" && other.scenario === "fanout" &&
    result.label === other.label && result.protocol === other.protocol &&
    result.viewers === other.viewers;
}

/** What `results` has until it fails, which is said. */
async function* passOver(
  results: AsyncGenerator<Result>,
  log: (line: string) => void,
): AsyncGenerator<Result> {
  try {
    yield* results;
  } catch (error) {
    log(`  ${error instanceof Error ? error.message : error}`);
  }
}

interface Test {
  readonly bench: Bench;
  readonly variant: Variant;
  readonly protocol: Protocol;
  readonly base: Omit<ResultBase, "scenario">;
}

const SCENARIO: Readonly<
  Record<"stalled" | "streams", (test: Test) => AsyncGenerator<Result>>
> = { stalled, streams };

/**
 * More and more viewers of one stream, until a server falls behind. How fast a machine is changes
 * within minutes, and what a compiler makes of a program is not the same each time, so a round goes
 * through all numbers of viewers, with all servers in turn, each of them new.
 */
async function* fanout({ options, log }: Bench, tests: readonly Test[]) {
  const steps = (options.viewers ?? [100, 500, 1000, 2000, 4000]).flatMap((viewers) =>
    tests.map((test) => ({ test, viewers, rounds: [] as FanoutRound[] }))
  );
  for (let number = 1; number <= options.rounds; number++) {
    const out = new Set<Test>();
    for (const { test, viewers, rounds } of steps) {
      if (out.has(test)) continue;
      const title = `round ${number}, ${test.variant.label}, ${test.protocol}, ${viewers} viewers`;
      const round = await fanoutRound(test, viewers, number).catch((error: Error) => {
        log(`  ${title}: ${error.message}`);
      });
      if (round !== undefined) {
        rounds.push(round);
        logRound(title, round, log);
        yield fanoutResult(test, viewers, rounds);
      }
      if (round === undefined || round.fellBehind && !options.keepGoing) out.add(test);
    }
  }
}

function logRound(title: string, { round, joins, fellBehind }: FanoutRound, log: Bench["log"]) {
  log(`  ${title}: ${describe(round)}${fellBehind ? ", fell behind" : ""}`);
  if (joins) log(`    joins: ${joins.count}, ${joins.failed} failed, ${joins.p50}/${joins.p99} ms`);
}

function fanoutResult(
  { base }: Test,
  viewers: number,
  rounds: readonly FanoutRound[],
): FanoutResult {
  const joins = rounds.flatMap(({ joins }) => joins ?? []);
  return {
    ...base,
    scenario: "fanout",
    viewers,
    rounds: [...rounds],
    median: medianOf(rounds.map(({ round }) => round)),
    short: median(rounds.map(({ short }) => short)),
    firstKey: joins.length === 0 ? undefined : {
      p50: median(joins.map(({ p50 = NaN }) => p50)),
      p99: median(joins.map(({ p99 = NaN }) => p99)),
    },
  };
}

async function fanoutRound(
  { bench, variant, protocol }: Test,
  count: number,
  number: number,
): Promise<FanoutRound> {
  const { options, log } = bench;
  await using stand = await Stand.start(bench, variant, 1);
  await using viewers = stand.viewers(protocol);
  const { failed } = await viewers.open(count);
  await delay(options.warmupSeconds * 1000);
  const round = await stand.round(viewers, options.seconds);
  const short = count - round.viewers + round.behind;
  const fellBehind = short > count * BEHIND_SHARE;
  let joins: FanoutRound["joins"];
  if (options.joins > 0 && !fellBehind) {
    const { firstKey, failed } = await viewers.join(options.joins, JOINS_PER_SECOND);
    joins = { count: 0, ...firstKey, failed };
  }
  await stand.logComplaints();
  for (const line of await viewers.lastLines(3)) if (line !== "") log(`  ${line}`);
  return { number, round, failed, short, fellBehind, joins };
}

/**
 * What viewers that stop to read do to the server and to the others. Memory that waits to be
 * collected comes and goes by as much as they may add, so each round has a new server.
 */
async function* stalled(test: Test): AsyncGenerator<StalledResult> {
  const { options, log } = test.bench;
  for (const count of options.viewers ?? [1000]) {
    const rounds: StalledRound[] = [];
    for (let index = 0; index < options.rounds; index++) {
      const round = await stalledRound(test, count);
      rounds.push(round);
      log(`  before: ${describe(round.before)}`);
      log(`  after:  ${describe(round.after)}, ${growthOf(round).toFixed(1)} MB more`);
    }
    const growths = rounds.map(growthOf);
    yield {
      ...test.base,
      scenario: "stalled",
      viewers: count,
      stalled: Math.min(...rounds.map(({ stalled }) => stalled)),
      rounds,
      before: medianOf(rounds.map(({ before }) => before)),
      after: medianOf(rounds.map(({ after }) => after)),
      growthMB: {
        median: median(growths),
        from: Math.min(...growths),
        to: Math.max(...growths),
      },
    };
  }
}

function growthOf({ before, after }: StalledRound): number {
  return after.rssMB - before.rssMB;
}

async function stalledRound({ bench, variant, protocol }: Test, count: number) {
  const { options, log } = bench;
  await using stand = await Stand.start(bench, variant, 1);
  await using viewers = stand.viewers(protocol);
  await viewers.open(count);
  await delay(options.warmupSeconds * 1000);
  // Memory settles while nothing changes, so that it is the same time that is compared.
  await delay(options.stallSeconds * 1000);
  const before = await stand.round(viewers, options.seconds);
  await using stopped = stand.viewers(protocol);
  const { failed } = await stopped.stall(STALLED_VIEWERS, STALLED_BYTES);
  if (failed > 0) log(`  ${failed} of those to be stalled did not get that far`);
  await delay(options.stallSeconds * 1000);
  const after = await stand.round(viewers, options.seconds);
  await stand.logComplaints();
  return { before, after, stalled: STALLED_VIEWERS - failed };
}

/**
 * What it costs that viewers are of many streams. How fast a machine is changes within minutes, so
 * one stream and many take turns, each with a new server, and on each the viewers come and leave
 * several times: what they add is told from the times just before and after.
 */
async function* streams(test: Test): AsyncGenerator<StreamsResult> {
  const { options: { publishers, rounds }, log } = test.bench;
  const viewers = publishers * VIEWERS_PER_PUBLISHER;
  const ones: EgressRound[] = [];
  const manys: EgressRound[] = [];
  for (let index = 0; index < rounds; index++) {
    ones.push(await egressRound(test, 1, viewers));
    manys.push(await egressRound(test, publishers, viewers));
  }
  const [one, many] = [egressOf(ones), egressOf(manys)];
  const egressRatio = many.egressCpu / one.egressCpu;
  log(
    `  egress ${one.egressCpu.toFixed(3)} and ${many.egressCpu.toFixed(3)}, ratio ${
      egressRatio.toFixed(2)
    }`,
  );
  yield {
    ...test.base,
    scenario: "streams",
    publishers,
    viewers,
    one,
    many,
    ingestCpu: (many.idleCpu - one.idleCpu) / Math.max(1, publishers - 1),
    egressRatio,
  };
}

function egressOf(rounds: readonly EgressRound[]): Egress {
  const ofRounds = rounds.map((round) => median(addedBy(round))).sort((a, b) => a - b);
  return {
    rounds,
    watched: medianOf(rounds.flatMap(({ watched }) => watched)),
    idleCpu: median(rounds.flatMap(({ idle }) => idle.map(({ cpu }) => cpu))),
    egressCpu: median(rounds.flatMap(addedBy)),
    egressFrom: ofRounds.at(0) ?? NaN,
    egressTo: ofRounds.at(-1) ?? NaN,
  };
}

/** What viewers add, at each visit. */
function addedBy({ watched, idle }: EgressRound): number[] {
  const idleAt = (index: number) => idle[index]?.cpu ?? NaN;
  return watched.map(({ cpu }, visit) => cpu - (idleAt(visit) + idleAt(visit + 1)) / 2);
}

async function egressRound(
  { bench, variant, protocol }: Test,
  publishers: number,
  count: number,
): Promise<EgressRound> {
  const { options, log } = bench;
  await using stand = await Stand.start(bench, variant, publishers);
  const measure = async (count: number) => {
    await using viewers = stand.viewers(protocol);
    if (count > 0) await viewers.open(count);
    await delay(options.warmupSeconds * 1000);
    return await stand.round(viewers, options.seconds);
  };
  const watched: Round[] = [];
  const idle = [await measure(0)];
  for (let visit = 0; visit < VISITS; visit++) {
    watched.push(await measure(count));
    idle.push(await measure(0));
  }
  const added = addedBy({ watched, idle }).map((cpu) => cpu.toFixed(3)).join(" ");
  log(
    `  ${publishers} publishers, CPU ${idle.map(({ cpu }) => cpu.toFixed(3)).join(" ")}; ` +
      `${count} viewers add ${added}: ${describe(medianOf(watched))}`,
  );
  return { watched, idle };
}

function describe(round: Round): string {
  const faults = FAULTS.filter((name) => round[name] > 0)
    .map((name) => `, ${round[name]} ${name}`).join("");
  return `CPU ${round.cpu.toFixed(3)}, ${round.usPerViewer.toFixed(0)} µs, ` +
    `${round.rssMB.toFixed(0)} MB, ${round.tagsPerViewer.toFixed(1)} tags/s, ` +
    `${round.behind} behind, ${round.latencyP50.toFixed(1)}/${round.latencyP99.toFixed(1)} ms, ` +
    `load ${round.loadCpu.toFixed(2)}${faults}`;
}
