/** The command line of the benchmark. */

import { parseArgs } from "node:util";

/** How viewers watch. */
export const PROTOCOLS = ["http-flv", "ws-flv", "http-mp4", "ws-mp4", "rtmp", "rtsp"] as const;
/** One of {@linkcode PROTOCOLS}. */
export type Protocol = typeof PROTOCOLS[number];

/** What can be measured. */
export const SCENARIOS = ["fanout", "stalled", "streams", "hls", "workers"] as const;
/** One of {@linkcode SCENARIOS}. */
export type Scenario = typeof SCENARIOS[number];

/** Servers that there are adapters for, in the order of the table. */
export const SERVER_NAMES = ["m7s", "floor", "nms2", "nms4", "nginx", "srs", "mediamtx"] as const;
/** One of {@linkcode SERVER_NAMES}. */
export type ServerName = typeof SERVER_NAMES[number];

/** What a run does. */
export interface BenchOptions {
  readonly scenarios: readonly Scenario[];
  readonly servers: readonly ServerName[];
  readonly protocols: readonly Protocol[];
  /** Viewers of each step, ascending; those of the scenario if undefined. */
  readonly viewers: readonly number[] | undefined;
  /** Publishers of the scenario `streams`. */
  readonly publishers: number;
  /** Flush intervals of this server and of the floor, in ms; those of the scenario if undefined. */
  readonly flushes: readonly number[] | undefined;
  /** Isolates of this server and processes of the floor; one, or those of the scenario, if undefined. */
  readonly workers: number | undefined;
  readonly seconds: number;
  readonly rounds: number;
  readonly warmupSeconds: number;
  /** Latency within which a viewer is served, for `workers`, in ms. */
  readonly boundMs: number;
  /** Joins after the last round, 100 a second; 0 for none. */
  readonly joins: number;
  /** Time from the last stalled viewer's stop to the measurement, for buffers to fill up. */
  readonly stallSeconds: number;
  /** Cores as `taskset` takes them; empty to leave both to the system. */
  readonly serverCores: string;
  readonly loadCores: string;
  readonly client: "auto" | "c" | "deno";
  /** How often viewers look for data instead of being woken for them, in ms; 0 to be woken. */
  readonly pollMs: number;
  /** Viewers whose every byte is compared with the clip. */
  readonly verify: number;
  readonly json: string;
  /** Whether a server that falls behind is tried with more viewers all the same. */
  readonly keepGoing: boolean;
}

/** What `--help` prints. */
export const HELP =
  `Measures streaming servers side by side: one core for the server, one for publisher and viewers.

Usage: deno task bench:server [OPTIONS]

What:
  --scenario LIST    ${SCENARIOS.join(", ")} [default: fanout]
  --servers LIST     ${SERVER_NAMES.join(", ")} [default: all that are there]
  --protocols LIST   ${PROTOCOLS.join(", ")} [default: http-flv,rtmp]
  --viewers LIST     Steps [default: 100,500,1000,2000,4000 for fanout, 1000 for stalled and hls];
                     for workers those of each isolate [default: a search that begins at 2000]
  --publishers N     Publishers of streams, with 5 viewers each [default: 200]
  --flush LIST       Flush intervals of m7s and floor, in ms [default: 0,20,100,350; for workers 0
                     and 1]
  --workers N        [Engine] Workers of m7s, processes of floor [default: not set; 2 for workers]
  --bound MS         Latency within which workers serves 99 % of all pictures [default: 50]
How:
  --seconds N        Length of a round [default: 15]
  --rounds N         Rounds, of which the median counts [default: 3]
  --warmup N         Seconds before the first round [default: 5]
  --joins N          Joins at 100 a second after the rounds; 0 for none [default: 500]
  --stall N          Seconds for which viewers are stalled before that is measured [default: 30]
  --quick            One round of 3 s, 100 and 500 viewers, flush 0 and 100: does it work?
  --keep-going       Raise the viewers even where a server has fallen behind
  --server-cores SET Cores of the server, for taskset; "" for any [default: 0]
  --load-cores SET   Cores of publisher and viewers [default: 1]
  --client KIND      c, deno, or auto: c if there is a compiler [default: auto]
  --poll MS          Viewers look for data each MS, and nobody is woken for them; 0: they are woken
                     [default: 0]
  --verify N         Viewers of which every byte is compared with the clip [default: 1]
  --json FILE        Where the figures go [default: bench-server.json in the temporary directory]
  --help             Print this help
`;

/**
 * Reads the command line; undefined if help was asked for.
 *
 * @throws {TypeError} If something in it is unknown or out of range.
 */
export function parseOptions(args: readonly string[], temporary: string): BenchOptions | undefined {
  const { values } = parseArgs({
    args: [...args],
    options: {
      scenario: { type: "string", default: "fanout" },
      servers: { type: "string", default: SERVER_NAMES.join(",") },
      protocols: { type: "string", default: "http-flv,rtmp" },
      viewers: { type: "string" },
      publishers: { type: "string" },
      flush: { type: "string" },
      workers: { type: "string" },
      seconds: { type: "string" },
      rounds: { type: "string" },
      warmup: { type: "string" },
      bound: { type: "string" },
      joins: { type: "string" },
      stall: { type: "string" },
      quick: { type: "boolean", default: false },
      "keep-going": { type: "boolean", default: false },
      "server-cores": { type: "string", default: "0" },
      "load-cores": { type: "string", default: "1" },
      client: { type: "string", default: "auto" },
      poll: { type: "string", default: "0" },
      verify: { type: "string", default: "1" },
      json: { type: "string", default: `${temporary}/bench-server.json` },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return undefined;
  const { quick } = values;
  const number = (name: NumberOption, fallback: number) =>
    numberOf(name, values[name] ?? String(fallback));
  const numbers = (name: "viewers" | "flush", fallback: string) =>
    (values[name] ?? fallback).split(",").map((item) => numberOf(name, item)).sort((a, b) => a - b);
  return {
    scenarios: oneOrMore("scenario", values.scenario, SCENARIOS),
    servers: oneOrMore("servers", values.servers, SERVER_NAMES),
    protocols: oneOrMore("protocols", values.protocols, PROTOCOLS),
    viewers: values.viewers === undefined && !quick ? undefined : numbers("viewers", "100,500"),
    publishers: Math.max(1, number("publishers", quick ? 20 : 200)),
    flushes: values.flush === undefined && !quick ? undefined : numbers("flush", "0,100"),
    workers: values.workers === undefined ? undefined : numberOf("workers", values.workers),
    seconds: Math.max(1, number("seconds", quick ? 3 : 15)),
    rounds: Math.max(1, number("rounds", quick ? 1 : 3)),
    warmupSeconds: number("warmup", quick ? 2 : 5),
    boundMs: number("bound", 50),
    joins: number("joins", quick ? 100 : 500),
    stallSeconds: number("stall", quick ? 10 : 30),
    serverCores: values["server-cores"],
    loadCores: values["load-cores"],
    client: oneOf("client", values.client, ["auto", "c", "deno"]),
    pollMs: numberOf("poll", values.poll),
    verify: numberOf("verify", values.verify),
    json: values.json,
    keepGoing: values["keep-going"],
  };
}

type NumberOption =
  | "seconds"
  | "rounds"
  | "warmup"
  | "bound"
  | "joins"
  | "stall"
  | "publishers";

function numberOf(name: string, text: string): number {
  const value = Number(text);
  if (text.trim() !== "" && Number.isInteger(value) && value >= 0 && value <= 1e6) return value;
  throw new TypeError(`Cannot use --${name} ${text}: it must be an integer from 0 to 1000000`);
}

function oneOf<T extends string>(name: string, text: string, known: readonly T[]): T {
  const found = known.find((item) => item === text);
  if (found !== undefined) return found;
  throw new TypeError(`Cannot use --${name} ${text}: it must be one of ${known.join(", ")}`);
}

/** The items of a list, in the order in which they are known. */
function oneOrMore<T extends string>(name: string, text: string, known: readonly T[]): T[] {
  const wanted = text.split(",").map((item) => oneOf(name, item.trim(), known));
  return known.filter((item) => wanted.includes(item));
}
