/** One server under test with its publisher, and the measurement of its viewers. */

import { delay } from "@std/async/delay";
import { join } from "node:path";
import {
  type LazyViewers,
  LoadClient,
  type LoadProgram,
  type PublishWindow,
  type ViewWindow,
} from "./load_client.ts";
import type { BenchOptions, Protocol } from "./options.ts";
import { BenchProcess, machineCpuSeconds, type Usage } from "./process.ts";
import { type Place, publishUrl, SERVERS, type Variant } from "./servers.ts";

/** How long a server may take to listen. */
const LISTEN_MS = 30_000;
/** From the start of the publishers to the first viewers: a keyframe has come by then. */
const PUBLISHED_MS = 3000;

const COMPLAINT = /warn|wrn|err|fail|fatal|panic|exception/i;

/** What should never happen. */
export const FAULTS = [
  "unpublished",
  "lost",
  "missing",
  "disorder",
  "unstamped",
  "broken",
  "mismatched",
] as const satisfies readonly (keyof Round)[];

/** The figures of one round; CPU in seconds a second. */
export interface Round {
  readonly viewers: number;
  readonly cpu: number;
  /** Server CPU time a viewer and second, in µs; 0 without viewers. */
  readonly usPerViewer: number;
  readonly rssMB: number;
  readonly egressMbps: number;
  readonly tagsPerViewer: number;
  readonly lowestTags: number;
  /** Viewers under 95 % of the full rate. */
  readonly behind: number;
  readonly lost: number;
  readonly latencyP50: number;
  readonly latencyP99: number;
  readonly latencyMax: number;
  /** What publisher and viewers used; near 1, they and not the server were measured. */
  readonly loadCpu: number;
  /** What all others on the machine used: what is left for the server is less than its cores. */
  readonly othersCpu: number;
  /** How late the publisher was, in ms. */
  readonly publishP99: number;
  /** Publishers whose connection broke. */
  readonly unpublished: number;
  readonly missing: number;
  readonly disorder: number;
  readonly unstamped: number;
  readonly broken: number;
  readonly verified: number;
  readonly mismatched: number;
}

/** The median of each figure. */
export function medianOf<Figures extends { readonly [Key in keyof Figures]: number }>(
  rounds: readonly Figures[],
): Figures {
  const [first] = rounds;
  if (first === undefined) throw new RangeError("Cannot take a median: there are no rounds");
  const keys = Object.keys(first) as (keyof Figures)[];
  return Object.fromEntries(keys.map((key) => {
    return [key, median(rounds.map((round): number => round[key]))];
  })) as unknown as Figures;
}

/** The value in the middle, the mean of two if there are two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (index: number) => sorted[index] ?? NaN;
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? at(middle) : (at(middle - 1) + at(middle)) / 2;
}

/** Everything that stays the same in a run. */
export interface Bench {
  readonly options: BenchOptions;
  readonly program: LoadProgram;
  /** Says what is going on. */
  readonly log: (line: string) => void;
}

let stands = 0;

/** A server that runs, and what is published to it. */
export class Stand implements AsyncDisposable {
  readonly #bench: Bench;
  readonly #variant: Variant;
  readonly #place: Place;
  readonly #server: BenchProcess;
  readonly #streams: number;
  #publisher: LoadClient | undefined;

  private constructor(bench: Bench, variant: Variant, setup: StandSetup) {
    this.#bench = bench;
    this.#variant = variant;
    this.#place = setup.place;
    this.#server = setup.server;
    this.#streams = setup.streams;
  }

  /** Starts a server and `streams` publishers. */
  static async start(bench: Bench, variant: Variant, streams: number): Promise<Stand> {
    const { options, program } = bench;
    const directory = join(program.directory, `${stands++}-${variant.server}`);
    await Deno.mkdir(directory);
    const [httpPort, rtmpPort, rtspPort] = [freePort(), freePort(), freePort()];
    const place = { directory, httpPort, rtmpPort, rtspPort };
    const launch = await SERVERS[variant.server].launch(variant, place);
    const server = new BenchProcess({
      ...launch,
      cores: options.serverCores,
      logFile: join(directory, "server.log"),
    });
    const stand = new Stand(bench, variant, { place, server, streams });
    try {
      await stand.#listening();
      await stand.#publish();
    } catch (error) {
      await stand[Symbol.asyncDispose]();
      throw error;
    }
    return stand;
  }

  /** What the server uses. */
  usage(): Usage {
    return this.#server.usage();
  }

  /** What its publishers have used so far, in seconds. */
  get publisherCpuSeconds(): number {
    return this.#publisher?.cpuSeconds ?? 0;
  }

  /** Where the first stream is played by HLS. */
  hlsUrl(): string {
    const url = SERVERS[this.#variant.server].hlsUrl?.(this.#place);
    if (url === undefined) throw new Error(`Cannot play: ${this.#variant.label} has no HLS`);
    return url;
  }

  /** How many viewers of the first stream each isolate has; undefined if the server does not tell. */
  async viewersByIsolate(): Promise<number[] | undefined> {
    return await SERVERS[this.#variant.server].viewersByIsolate?.(this.#place, this.#variant);
  }

  /** Viewers by `protocol`, none of them open yet. */
  viewers(protocol: Protocol, lazy?: LazyViewers): LoadClient {
    const url = SERVERS[this.#variant.server].urls[protocol]?.(this.#place);
    if (url === undefined) {
      throw new Error(`Cannot watch: ${this.#variant.label} has no ${protocol}`);
    }
    const { options, program } = this.#bench;
    const { verify, pollMs } = options;
    return LoadClient.viewers(program, url, { streams: this.#streams, verify, pollMs, lazy });
  }

  /** Measures for `seconds`. */
  async round(viewers: LoadClient, seconds: number): Promise<Round> {
    const publisher = this.#publisher;
    if (publisher === undefined) throw new Error("Cannot measure: nothing is published");
    await Promise.all([publisher.begin(), viewers.begin()]);
    const machineBefore = machineCpuSeconds();
    const before = this.usage();
    const startMs = performance.now();
    await delay(seconds * 1000);
    const after = this.usage();
    const elapsed = (performance.now() - startMs) / 1000;
    const machineCpu = (machineCpuSeconds() - machineBefore) / elapsed;
    const [published, viewed] = await Promise.all([
      publisher.end<PublishWindow>(),
      viewers.end<ViewWindow>(),
    ]);
    if (this.#server.ended) throw await this.#death();
    const cpu = (after.cpuSeconds - before.cpuSeconds) / elapsed;
    const loadCpu = (published.cpuSeconds + viewed.cpuSeconds) / viewed.seconds;
    const { latency } = viewed;
    return {
      viewers: viewed.viewers,
      cpu,
      usPerViewer: viewed.viewers === 0 ? 0 : cpu / viewed.viewers * 1e6,
      rssMB: after.rssBytes / 1e6,
      egressMbps: viewed.bytes * 8 / viewed.seconds / 1e6,
      tagsPerViewer: viewed.tagsPerViewer,
      lowestTags: viewed.lowest,
      behind: viewed.behind,
      lost: viewed.lost,
      latencyP50: latency.p50 ?? 0,
      latencyP99: latency.p99 ?? 0,
      latencyMax: latency.max ?? 0,
      loadCpu,
      othersCpu: Math.max(0, machineCpu - cpu - loadCpu),
      publishP99: published.late.p99 ?? 0,
      unpublished: published.lost,
      missing: viewed.missing,
      disorder: viewed.disorder,
      unstamped: viewed.unstamped,
      broken: viewed.broken,
      verified: viewed.verified,
      mismatched: viewed.mismatched,
    };
  }

  /** Says what the server has complained about so far. */
  async logComplaints(): Promise<void> {
    const lines = await this.#server.lastLines(200);
    const complaints = lines.filter((line) => COMPLAINT.test(line));
    for (const line of complaints.slice(-3)) this.#bench.log(`  server: ${line.slice(0, 200)}`);
  }

  /** Ends publishers and server. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#publisher?.[Symbol.asyncDispose]();
    await this.#server[Symbol.asyncDispose]();
  }

  async #listening(): Promise<void> {
    const end = performance.now() + LISTEN_MS;
    const { urls } = SERVERS[this.#variant.server];
    const ports = [this.#place.rtmpPort];
    if (urls["http-flv"] !== undefined) ports.push(this.#place.httpPort);
    if (urls.rtsp !== undefined) ports.push(this.#place.rtspPort);
    for (const port of ports) {
      while (!await accepts(port)) {
        if (this.#server.ended) throw await this.#death();
        if (performance.now() > end) {
          throw new Error(`Cannot measure: ${this.#variant.label} does not listen`);
        }
        await delay(50);
      }
    }
  }

  async #publish(): Promise<void> {
    const { program } = this.#bench;
    const publisher = LoadClient.publisher(program, publishUrl(this.#place), this.#streams);
    this.#publisher = publisher;
    const { failed } = await publisher.open(this.#streams);
    if (failed > 0) {
      const lines = (await publisher.lastLines(3)).join("; ");
      throw new Error(`Cannot publish: ${failed} of ${this.#streams} failed: ${lines}`);
    }
    await delay(PUBLISHED_MS);
  }

  async #death(): Promise<Error> {
    const lines = (await this.#server.lastLines(5)).join("; ");
    return new Error(`Cannot measure: ${this.#variant.label} has ended: ${lines}`);
  }
}

interface StandSetup {
  readonly place: Place;
  readonly server: BenchProcess;
  readonly streams: number;
}

function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

async function accepts(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return false;
  }
}
