/** Results as tables and as a file. */

import { cpus, release, totalmem } from "node:os";
import { HLS_FAULTS, type HlsFloodResult, type HlsPlayersResult } from "./hls.ts";
import type { BenchOptions } from "./options.ts";
import type { Egress, FanoutResult, Result, StalledResult, StreamsResult } from "./scenarios.ts";
import { FAULTS, median, type Round } from "./stand.ts";
import type { WorkersResult } from "./workers.ts";

/** A load that used more than this of its core may have held up what it measured. */
const LOAD_BOUND = 0.85;

/** The machine, for the reader of the figures. */
export function machine(): Record<string, string | number> {
  const models = cpus().map(({ model }) => model);
  return {
    cpu: models[0] ?? "unknown",
    cores: models.length,
    memoryGB: Math.round(totalmem() / 1e9),
    kernel: release(),
    deno: Deno.version.deno,
    date: new Date().toISOString(),
  };
}

/** The tables of all results, in Markdown. */
export function tables(results: readonly Result[]): string {
  const parts: string[] = [];
  const protocols = new Set(results.map(({ protocol }) => protocol));
  for (const protocol of protocols) {
    const own = results.filter((result) => result.protocol === protocol);
    const fanout = own.filter((result) => result.scenario === "fanout");
    const stalled = own.filter((result) => result.scenario === "stalled");
    const streams = own.filter((result) => result.scenario === "streams");
    const workers = own.filter((result) => result.scenario === "workers");
    const hls = own.filter((result) => result.scenario === "hls");
    const players = hls.filter((result) => result.kind === "players");
    const floods = hls.filter((result) => result.kind === "flood");
    if (fanout.length > 0) parts.push(`${protocol}, one stream:\n\n${fanoutTable(fanout)}`);
    if (stalled.length > 0) parts.push(`${protocol}, stalled viewers:\n\n${stalledTable(stalled)}`);
    if (streams.length > 0) parts.push(`${protocol}, many streams:\n\n${streamsTable(streams)}`);
    for (const result of workers) parts.push(workersPart(result));
    if (players.length > 0) parts.push(`HLS, players of one stream:\n\n${playersTable(players)}`);
    if (floods.length > 0) parts.push(`HLS, requests at most:\n\n${floodTable(floods)}`);
  }
  const versions = new Map(results.map(({ server, version }) => [server, version]));
  parts.push([...versions].map(([server, version]) => `${server}: ${version}`).join("\n"));
  return parts.join("\n\n") + "\n";
}

/** Everything, for programs. */
export function toJson(
  results: readonly Result[],
  run: { options: BenchOptions; client: string; tagsPerSecond: number; bitsPerSecond: number },
): string {
  return JSON.stringify({ machine: machine(), ...run, results }, null, 2) + "\n";
}

function fanoutTable(unordered: readonly FanoutResult[]): string {
  // Servers take turns; their rows are together.
  const results = [...Map.groupBy(unordered, ({ label }) => label).values()].flat();
  const header = [
    "server",
    "viewers",
    "CPU",
    "µs/viewer-s, rounds from to",
    "× floor, rounds from to",
    "viewers/core",
    "RSS MB, rounds from to",
    "Mbit/s",
    "tags/s",
    "< 95 %",
    "latency p50/p99 ms",
    "first keyframe p50/p99 ms",
    "load CPU",
    "note",
  ];
  return table(
    header,
    results.map((result) => {
      const { median: round, firstKey } = result;
      return [
        result.label,
        String(result.viewers),
        round.cpu.toFixed(3),
        spread(result, "usPerViewer"),
        overFloor(result, results),
        round.usPerViewer > 0 ? (1e6 / round.usPerViewer).toFixed(0) : "",
        spread(result, "rssMB"),
        round.egressMbps.toFixed(0),
        round.tagsPerViewer.toFixed(1),
        String(result.short),
        pair(round.latencyP50, round.latencyP99),
        firstKey === undefined ? "" : pair(firstKey.p50, firstKey.p99),
        round.loadCpu.toFixed(2),
        notes(result),
      ];
    }),
  ) + growths(results);
}

/**
 * How many times as much a viewer costs as on the floor with the same flush interval: the ratio within
 * each round, its median, and its lowest and highest.
 */
function overFloor(result: FanoutResult, results: readonly FanoutResult[]): string {
  const floor = results.find(({ server, flushMs, viewers }) =>
    server === "floor" && flushMs === result.flushMs && viewers === result.viewers
  );
  if (floor === undefined || floor === result) return "";
  const costs = new Map(floor.rounds.map(({ number, round }) => [number, round.usPerViewer]));
  const ratios = result.rounds.flatMap(({ number, round }) => {
    const cost = costs.get(number);
    return cost === undefined ? [] : round.usPerViewer / cost;
  });
  if (ratios.length === 0) return "";
  const [from, to] = [Math.min(...ratios), Math.max(...ratios)];
  return `${median(ratios).toFixed(2)} (${from.toFixed(2)}–${to.toFixed(2)})`;
}

/** A figure's median, and its lowest and highest. */
function spread({ median, rounds }: FanoutResult, key: keyof Round): string {
  const values = rounds.map(({ round }) => round[key]);
  const [from, to] = [Math.min(...values), Math.max(...values)];
  return `${median[key].toFixed(0)} (${from.toFixed(0)}–${to.toFixed(0)})`;
}

/** How the costs of a viewer differ with their number, for each server. */
function growths(results: readonly FanoutResult[]): string {
  const byLabel = Map.groupBy(results, ({ label }) => label);
  return [...byLabel].map(([label, steps]) => {
    const costs = steps.map(({ median }) => median.usPerViewer);
    const [from, to] = [Math.min(...costs), Math.max(...costs)];
    if (steps.length < 2 || to === 0) return "";
    const [first, last] = [steps.at(0)?.viewers, steps.at(-1)?.viewers];
    const percent = (to - from) / (to + from) * 100;
    return `\n\n${label}, ${first} to ${last} viewers: ${from.toFixed(0)} to ${to.toFixed(0)} ` +
      `µs/viewer-s, ±${percent.toFixed(1)} %`;
  }).join("");
}

function notes({ rounds }: FanoutResult): string {
  const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);
  const failed = sum(rounds.map(({ failed }) => failed));
  const joinsFailed = sum(rounds.map(({ joins }) => joins?.failed ?? 0));
  const behind = rounds.filter(({ fellBehind }) => fellBehind).length;
  const notes: string[] = [];
  if (behind > 0) notes.push(`fell behind in ${behind} of ${rounds.length} rounds`);
  if (failed > 0) notes.push(`${failed} never began`);
  if (joinsFailed > 0) notes.push(`${joinsFailed} joins failed`);
  for (const key of FAULTS) {
    const faults = sum(rounds.map(({ round }) => round[key]));
    if (faults > 0) notes.push(`${faults} ${key}`);
  }
  if (rounds.some(({ round }) => round.loadCpu > LOAD_BOUND)) notes.push("load-bound");
  return notes.join(", ");
}

function stalledTable(results: readonly StalledResult[]): string {
  const header = [
    "server",
    "viewers",
    "stalled",
    "RSS MB",
    "growth MB, rounds from to",
    "CPU before/after",
    "latency p50/p99 ms before",
    "after",
    "< 95 % before/after",
  ];
  return table(
    header,
    results.map(({ label, viewers, stalled, before, after, growthMB }) => [
      label,
      String(viewers),
      String(stalled),
      after.rssMB.toFixed(0),
      `${growthMB.median.toFixed(1)} (${growthMB.from.toFixed(1)}–${growthMB.to.toFixed(1)})`,
      `${before.cpu.toFixed(3)} / ${after.cpu.toFixed(3)}`,
      pair(before.latencyP50, before.latencyP99),
      pair(after.latencyP50, after.latencyP99),
      `${before.behind} / ${after.behind}`,
    ]),
  );
}

function streamsTable(results: readonly StreamsResult[]): string {
  const header = [
    "server",
    "publishers",
    "viewers",
    "CPU",
    "CPU without viewers",
    "one publisher: CPU",
    "without viewers",
    "viewers add, rounds from to",
    "one: viewers add, rounds from to",
    "egress against one",
    "ingest ms/s a publisher",
    "RSS MB",
    "< 95 %",
    "latency p50/p99 ms",
  ];
  return table(
    header,
    results.map(({ many, one, ...result }) => [
      result.label,
      String(result.publishers),
      String(result.viewers),
      many.watched.cpu.toFixed(3),
      many.idleCpu.toFixed(3),
      one.watched.cpu.toFixed(3),
      one.idleCpu.toFixed(3),
      range(many),
      range(one),
      result.egressRatio.toFixed(2),
      (result.ingestCpu * 1000).toFixed(2),
      many.watched.rssMB.toFixed(0),
      String(many.watched.behind),
      pair(many.watched.latencyP50, many.watched.latencyP99),
    ]),
  );
}

function range({ egressCpu, egressFrom, egressTo }: Egress): string {
  return `${egressCpu.toFixed(3)} (${egressFrom.toFixed(3)}–${egressTo.toFixed(3)})`;
}

function workersPart({ label, boundMs, niceness, counts, steps, ratio }: WorkersResult): string {
  const header = [
    "isolates",
    "viewers",
    "of each isolate",
    "CPU, server + load",
    "of others",
    "µs/viewer-s",
    "RSS MB",
    "latency p50/p99 ms",
    "lowest rate",
    "< 95 %",
    "served",
  ];
  const rows = table(
    header,
    steps.map(({ workers, viewers, byIsolate, median, failed, served }) => [
      String(workers),
      String(viewers),
      byIsolate?.join(" + ") ?? "",
      `${median.cpu.toFixed(2)} + ${median.loadCpu.toFixed(2)}`,
      median.othersCpu.toFixed(2),
      median.usPerViewer.toFixed(0),
      median.rssMB.toFixed(0),
      pair(median.latencyP50, median.latencyP99),
      median.lowestTags.toFixed(1),
      String(median.behind + failed),
      served ? "yes" : "no",
    ]),
  );
  const most = counts.map(({ workers, viewers, serverCores, loadCores }) =>
    `${workers} on cores ${serverCores}, load on ${loadCores}: ${viewers} viewers`
  );
  const load = niceness === undefined ? "load without priority" : `load at nice ${niceness}`;
  return `${label}, isolates, p99 within ${boundMs} ms, ${load}:\n\n${rows}\n\n` +
    `${most.join("; ")}; ratio ${ratio.toFixed(2)}`;
}

function playersTable(results: readonly HlsPlayersResult[]): string {
  const header = [
    "server",
    "players of",
    "players",
    "CPU",
    "µs/player-s",
    "requests/s",
    "µs/request",
    "RSS MB",
    "Mbit/s",
    "stalled",
    "playlist p50/p99 ms",
    "part p50/p99 ms",
    "what is there p50/p99 ms",
    "latency p50/p99 ms",
    "first media p50/p99 ms",
    "load CPU",
    "note",
  ];
  const times = (p50: number, p99: number) => p99 > 0 ? pair(p50, p99) : "";
  return table(
    header,
    results.map((result) => {
      const { median: round, started: { first } } = result;
      return [
        result.label,
        result.way,
        String(result.players),
        round.cpu.toFixed(3),
        round.usPerPlayer.toFixed(0),
        round.requestsPerSecond.toFixed(0),
        round.usPerRequest.toFixed(0),
        round.rssMB.toFixed(0),
        round.egressMbps.toFixed(0),
        String(round.stalled),
        times(round.reloadP50, round.reloadP99),
        times(round.partP50, round.partP99),
        times(round.answerP50, round.answerP99),
        times(round.pictureP50, round.pictureP99),
        times(first.p50 ?? 0, first.p99 ?? 0),
        round.loadCpu.toFixed(2),
        playerNotes(result),
      ];
    }),
  );
}

function playerNotes({ windows, started, rounds }: HlsPlayersResult): string {
  const notes: string[] = [];
  if (started.failed > 0) notes.push(`${started.failed} never began`);
  for (const name of HLS_FAULTS) {
    const sum = windows.reduce((total, window) => total + window[name], 0);
    if (sum > 0) notes.push(`${sum} ${name}`);
  }
  if (rounds.some(({ loadCpu }) => loadCpu > LOAD_BOUND)) notes.push("load-bound");
  return notes.join(", ");
}

function floodTable(results: readonly HlsFloodResult[]): string {
  const header = [
    "server",
    "request for a",
    "bytes",
    "requests/s",
    "Mbit/s",
    "CPU",
    "µs/request",
    "answer p50/p99 ms",
    "load CPU",
  ];
  return table(
    header,
    results.map(({ label, what, bytes, round }) => [
      label,
      what,
      String(bytes),
      round.requestsPerSecond.toFixed(0),
      round.egressMbps.toFixed(0),
      round.cpu.toFixed(3),
      round.usPerRequest.toFixed(0),
      pair(round.answerP50, round.answerP99),
      round.loadCpu.toFixed(2),
    ]),
  );
}

function pair(first: number, second: number): string {
  const text = (ms: number) => ms < 10 ? ms.toFixed(1) : ms.toFixed(0);
  return `${text(first)} / ${text(second)}`;
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = header.map((name, column) =>
    Math.max(name.length, ...rows.map((row) => row[column]?.length ?? 0))
  );
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  return [line(header), rule, ...rows.map(line)].join("\n");
}
