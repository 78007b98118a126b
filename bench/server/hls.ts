/** What is measured of HLS: players of one stream, and how many requests can be answered at most. */

import { delay } from "@std/async/delay";
import {
  HlsClient,
  hlsCommand,
  type HlsMode,
  type HlsStarted,
  type HlsWindow,
} from "./hls_client.ts";
import type { ServerName } from "./options.ts";
import type { Variant } from "./servers.ts";
import { type Bench, medianOf, Stand } from "./stand.ts";

/** Ways to play. */
const WAYS = [
  { way: "LL-HLS", mode: "ll", query: "" },
  { way: "HLS, fMP4", mode: "classic", query: "" },
  { way: "HLS, MPEG-TS", mode: "classic", query: "?format=ts" },
] as const satisfies readonly { way: string; mode: HlsMode; query: string }[];

/** What is asked for as often as it is answered. */
const FLOODS = ["playlist", "part", "segment"] as const;
type Flood = typeof FLOODS[number];

/** What should never happen. */
export const HLS_FAULTS = [
  "refused",
  "lost",
  "late",
  "broken",
  "missing",
  "disorder",
  "mismatched",
] as const satisfies readonly (keyof HlsWindow)[];

/** Players that open in a second. */
const OPEN_RATE = 100;
/** From the first request to the first player: three target durations are there by then. */
const READY_MS = 8000;

/** The figures of one round; CPU in seconds a second, times in ms. */
export interface HlsRound {
  readonly players: number;
  readonly cpu: number;
  readonly usPerPlayer: number;
  readonly requestsPerSecond: number;
  readonly usPerRequest: number;
  readonly rssMB: number;
  readonly egressMbps: number;
  /** Players that ran dry. */
  readonly stalled: number;
  readonly reloadP50: number;
  readonly reloadP99: number;
  readonly partP50: number;
  readonly partP99: number;
  readonly answerP50: number;
  readonly answerP99: number;
  readonly pictureP50: number;
  readonly pictureP99: number;
  readonly loadCpu: number;
  readonly faults: number;
}

interface HlsBase {
  readonly scenario: "hls";
  readonly server: ServerName;
  readonly version: string;
  readonly label: string;
  readonly protocol: "hls";
}

/** `players` players of one stream. */
export interface HlsPlayersResult extends HlsBase {
  readonly kind: "players";
  readonly way: string;
  readonly players: number;
  readonly started: HlsStarted;
  readonly rounds: readonly HlsRound[];
  readonly windows: readonly HlsWindow[];
  readonly median: HlsRound;
}

/** The same request again and again. */
export interface HlsFloodResult extends HlsBase {
  readonly kind: "flood";
  readonly what: Flood;
  readonly bytes: number;
  readonly round: HlsRound;
}

/** What a measurement of HLS gave. */
export type HlsResult = HlsPlayersResult | HlsFloodResult;

interface HlsTest {
  readonly bench: Bench;
  readonly variant: Variant;
  readonly version: string;
}

/** Measures HLS of one server. */
export async function* hlsScenario(
  { bench, variant, version }: HlsTest,
): AsyncGenerator<HlsResult> {
  const { options, program, log } = bench;
  const command = await hlsCommand(program.directory);
  if (command === undefined) {
    return log("  hls: left out: hls_load.c needs a compiler, and there is neither cc nor gcc");
  }
  const { server, label } = variant;
  const base = { scenario: "hls", server, version, label, protocol: "hls" } as const;
  const test = { bench, variant: { ...variant, hls: true }, command };
  for (const count of options.viewers ?? [1000]) {
    for (const way of WAYS) yield { ...base, ...await players(test, way, count) };
  }
  for (const what of FLOODS) yield { ...base, ...await flood(test, what) };
}

interface Setup {
  readonly bench: Bench;
  readonly variant: Variant;
  readonly command: readonly string[];
}

async function players(setup: Setup, way: typeof WAYS[number], count: number) {
  const { bench, variant, command } = setup;
  const { options, program, log } = bench;
  await using stand = await Stand.start(bench, variant, 1);
  const url = stand.hlsUrl() + way.query;
  await (await fetch(url)).text();
  await delay(READY_MS);
  await using client = new HlsClient(program, command, [
    ...["play", "--url", url, "--mode", way.mode],
    ...["--rate", String(OPEN_RATE), "--verify", String(options.verify)],
  ]);
  const started = await client.open(count);
  log(`  ${way.way}: ${started.started} players, first after ${started.first.p50} ms`);
  await delay(options.warmupSeconds * 1000);
  const rounds: HlsRound[] = [];
  const windows: HlsWindow[] = [];
  for (let index = 0; index < options.rounds; index++) {
    await client.begin();
    const { round, window } = await measure(stand, client, options.seconds);
    rounds.push(round);
    windows.push(window);
    log(`  ${way.way}, ${count} players, round ${index + 1}: ${describe(round, window)}`);
  }
  await stand.logComplaints();
  for (const line of await client.lastLines(3)) if (line !== "") log(`  ${line}`);
  const middle = medianOf(rounds);
  return {
    kind: "players",
    way: way.way,
    players: count,
    started,
    rounds,
    windows,
    median: middle,
  } as const;
}

async function flood({ bench, variant, command }: Setup, what: Flood) {
  const { options, program, log } = bench;
  await using stand = await Stand.start(bench, variant, 1);
  await (await fetch(stand.hlsUrl())).text();
  await delay(READY_MS);
  const { path, bytes } = await find(stand.hlsUrl(), what);
  await using client = new HlsClient(program, command, ["flood", "--url", stand.hlsUrl()]);
  await client.flood(path);
  await delay(500);
  await client.begin();
  // No longer, since segments go.
  const { round, window } = await measure(stand, client, Math.min(options.seconds, 8));
  log(`  flood of ${what}, ${bytes} B: ${describe(round, window)}`);
  for (const line of await client.lastLines(3)) if (line !== "") log(`  ${line}`);
  return { kind: "flood", what, bytes, round } as const;
}

/** The address of a playlist, or of the newest part or segment in it, and its size. */
async function find(url: string, what: Flood): Promise<{ path: string; bytes: number }> {
  const multivariant = await (await fetch(url)).text();
  const playlist = new URL(multivariant.trim().split("\n").at(-1) ?? "", url);
  const text = await (await fetch(playlist)).text();
  const pattern = what === "part" ? /^#EXT-X-PART:.*URI="([^"]+)"/gm : /^([^#\n]+)$/gm;
  const name = [...text.matchAll(pattern)].at(-1)?.[1] ?? "";
  const found = what === "playlist" ? playlist : new URL(name, playlist);
  const { length } = await (await fetch(found)).bytes();
  return { path: found.pathname + found.search, bytes: length };
}

async function measure(stand: Stand, client: HlsClient, seconds: number) {
  const before = stand.usage();
  const publisherBefore = stand.publisherCpuSeconds;
  const startMs = performance.now();
  await delay(seconds * 1000);
  const after = stand.usage();
  const publisherCpu = stand.publisherCpuSeconds - publisherBefore;
  const elapsed = (performance.now() - startMs) / 1000;
  const window = await client.end();
  const cpu = (after.cpuSeconds - before.cpuSeconds) / elapsed;
  const requestsPerSecond = (window.playlists + window.files) / window.seconds;
  const round: HlsRound = {
    players: window.players,
    cpu,
    usPerPlayer: cpu / Math.max(1, window.players) * 1e6,
    requestsPerSecond,
    usPerRequest: cpu / Math.max(1, requestsPerSecond) * 1e6,
    rssMB: after.rssBytes / 1e6,
    egressMbps: window.bytes * 8 / window.seconds / 1e6,
    stalled: window.stalled,
    reloadP50: window.reload.p50 ?? 0,
    reloadP99: window.reload.p99 ?? 0,
    partP50: window.part.p50 ?? 0,
    partP99: window.part.p99 ?? 0,
    answerP50: window.answer.p50 ?? 0,
    answerP99: window.answer.p99 ?? 0,
    pictureP50: window.picture.p50 ?? 0,
    pictureP99: window.picture.p99 ?? 0,
    loadCpu: (window.cpuSeconds + publisherCpu) / window.seconds,
    faults: HLS_FAULTS.reduce((sum, name) => sum + window[name], 0),
  };
  return { round, window };
}

function describe(round: HlsRound, window: HlsWindow): string {
  const faults = HLS_FAULTS.filter((name) => window[name] > 0)
    .map((name) => `, ${window[name]} ${name}`).join("");
  const times = (["reload", "part", "answer", "picture"] as const)
    .filter((name) => window[name].count > 0)
    .map((name) => `, ${name} ${window[name].p50}/${window[name].p99} ms`).join("");
  return `CPU ${round.cpu.toFixed(3)}, ${round.requestsPerSecond.toFixed(0)} requests/s, ` +
    `${round.usPerRequest.toFixed(0)} µs each, ${round.rssMB.toFixed(0)} MB, ` +
    `${window.stalled} stalled${times}, load ${round.loadCpu.toFixed(2)}${faults}`;
}
