/**
 * The server: an engine with the plugins of a config file.
 *
 * @example
 * ```sh
 * deno run -A main.ts --config config.toml
 * ```
 *
 * @module
 */

import { configure, getConsoleSink, getLogger, getTextFormatter } from "@logtape/logtape";
import { deadline } from "@std/async/deadline";
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import deno from "./deno.json" with { type: "json" };
import { type Config, ConfigError, parseConfig, programSection } from "./src/config.ts";
import { Engine } from "./src/engine.ts";
import { IsolateMember } from "./src/isolate_member.ts";
import { type LogEntry, LogHistory } from "./src/log.ts";
import { type IsolateHandle, IsolateSupervisor } from "./src/isolate_supervisor.ts";
import { PluginError, Plugins } from "./src/plugin.ts";

const HELP = `A streaming server.

Usage: deno run -A main.ts [OPTIONS]

Options:
  --config FILE  Configuration [default: config.toml beside main.ts]
  --demo         Also publish a small clip in a loop as live/demo
  --check        Check the configuration and its plugins, start nothing
  --log LEVEL    debug, info, warning or error [default: info]
  --version      Print the version
  --help         Print this help
`;

/** Longest time from a signal to the exit. */
const STOP_MS = 1500;
/** What isolates are given beyond that, which hear of it later. */
const ISOLATE_STOP_MS = 300;
const LEVELS = ["debug", "info", "warning", "error"] as const;

type Level = typeof LEVELS[number];

interface Arguments {
  readonly config?: string;
  readonly demo?: boolean;
  readonly check?: boolean;
  readonly log?: Level;
  readonly version?: boolean;
  readonly help?: boolean;
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(text + "\n"));
}

function fail(text: string): never {
  Deno.stderr.writeSync(new TextEncoder().encode(text + "\n"));
  Deno.exit(1);
}

function readArguments(): Arguments {
  try {
    const { log, ...others } = parseArgs({
      args: Deno.args,
      options: {
        config: { type: "string" },
        demo: { type: "boolean" },
        check: { type: "boolean" },
        log: { type: "string" },
        version: { type: "boolean" },
        help: { type: "boolean" },
      },
    }).values;
    const level = LEVELS.find((level) => level === log);
    if (log !== undefined && level === undefined) {
      fail(`Cannot log at ${log}: it is not one of ${LEVELS.join(", ")}`);
    }
    return { ...others, ...(level && { log: level }) };
  } catch (error) {
    fail(`${error instanceof Error ? error.message : error}\n\n${HELP}`);
  }
}

async function readConfig(file: string | undefined): Promise<Config> {
  const url = file === undefined ? new URL("./config.toml", import.meta.url) : pathToFileURL(file);
  const name = file ?? "config.toml";
  let text: string;
  try {
    text = url.protocol === "file:"
      ? await Deno.readTextFile(fileURLToPath(url))
      : await (await fetch(url)).text();
  } catch (error) {
    fail(`Cannot read ${name}: ${error instanceof Error ? error.message : error}`);
  }
  return await parseConfig(text, { file: name, base: url });
}

/** The config with the demo plugin, if it is wanted. */
function withDemo(config: Config, wanted: boolean): Config {
  if (!wanted) return config;
  const specifier = new URL("./plugins/demo/mod.ts", import.meta.url).href;
  const section = programSection("Demo", {});
  return { ...config, plugins: [...config.plugins, { name: "Demo", specifier, section }] };
}

/** Where what is logged goes besides the console, and what it says of its isolate there. */
interface LogOptions {
  readonly history: LogHistory;
  /** Its number, beside others. */
  readonly isolate?: number;
}

/** Logs to the console, and keeps warnings and errors. */
async function startLog(level: Level, { history, isolate }: LogOptions): Promise<void> {
  const suffix = isolate === undefined ? "" : `#${isolate}`;
  const formatter = getTextFormatter({
    timestamp: "time",
    level: "abbr",
    category: (category) => (category.slice(1).join(".") || "engine") + suffix,
    value: (value) => typeof value === "string" ? value : Deno.inspect(value),
  });
  await configure({
    reset: true,
    sinks: { console: getConsoleSink({ formatter }), history: history.sink },
    loggers: [
      { category: "m7s", lowestLevel: level, sinks: ["console", "history"] },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["console"] },
    ],
  });
}

/** A server, or one isolate of it. */
interface Running {
  stop(): Promise<void>;
}

/** What an engine has besides its config. */
interface Surroundings {
  readonly logHistory: LogHistory;
  readonly isolates?: IsolateMember;
}

/** Runs all in this isolate. */
async function startEngine(
  config: Config,
  { logHistory, isolates }: Surroundings,
): Promise<Running> {
  const log = getLogger(["m7s"]);
  const engine = new Engine(config.engine, { log, ...(isolates && { isolates }) });
  isolates?.serve(engine);
  const plugins = new Plugins(engine, { log, logHistory });
  await plugins.start(config);
  if (!plugins.list().some(({ running }) => running)) {
    throw new Error("No plugin runs: nothing to do");
  }
  return {
    async stop() {
      await engine.close();
      await deadline(plugins.close(), STOP_MS).catch(() =>
        log.warn("stopped before all had ended")
      );
    },
  };
}

/** Runs `count` isolates, each with an engine. What `history` has, of this isolate, they keep. */
async function startIsolates(
  args: Arguments,
  count: number,
  history: LogHistory,
): Promise<Running> {
  const log = getLogger(["m7s"]);
  let told = 0;
  /** Why isolates failed, for the one that is started next. */
  const untold = (): LogEntry[] => {
    const warnings = history.after(told);
    told = warnings.at(-1)?.sequence ?? told;
    return warnings;
  };
  const supervisor = new IsolateSupervisor({
    count,
    log,
    spawn: (index, port) => spawnIsolate({ args, index, count, port, warnings: untold() }),
  });
  await supervisor.start();
  log.info("{count} isolates serve", { count });
  return {
    async stop() {
      await deadline(supervisor.stop(), STOP_MS + ISOLATE_STOP_MS).catch(() =>
        log.warn("stopped before all isolates had ended")
      );
    },
  };
}

/** What an isolate is told when it starts. */
interface IsolateTask {
  readonly args: Arguments;
  readonly index: number;
  readonly count: number;
  readonly port: MessagePort;
  /** Lines of the log for its history. */
  readonly warnings: readonly LogEntry[];
}

/** What an isolate tells: that it serves, or why it cannot. */
type IsolateReport = { readonly type: "ready" } | {
  readonly type: "failed";
  readonly message: string;
};

/**
 * Largest young generation of an isolate, in MB: three semi-spaces, each as large as the flag of the
 * `start` task makes them. What lives for as long as a flush fits, and what viewers cost in memory is
 * not hidden behind garbage.
 */
const YOUNG_GENERATION_MB = 12;

function spawnIsolate(task: IsolateTask): IsolateHandle {
  const worker = new Worker(new URL(import.meta.url), {
    workerData: task,
    transferList: [task.port] as never,
    resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
  });
  let reason: string | undefined;
  worker.on("error", (error: Error) => reason = error.message);
  const ended = new Promise<string | undefined>((resolve) =>
    worker.once("exit", () => resolve(reason))
  );
  const ready = new Promise<void>((resolve, reject) => {
    worker.once("message", (report: IsolateReport) => {
      if (report.type === "ready") resolve();
      else reject(new IsolateError(report.message));
    });
    ended.then((reason) => reject(new IsolateError(reason ?? "an isolate ended")));
  });
  return { ready, ended, stop: () => worker.postMessage("stop") };
}

/** An isolate could not start, for a reason that is meant for the user. */
class IsolateError extends Error {}

async function runIsolate(task: IsolateTask): Promise<void> {
  const { args, index, count, port, warnings } = task;
  const tell = (report: IsolateReport) => parentPort?.postMessage(report);
  const level = args.log ?? "info";
  // What the first one says at its start holds for all.
  const history = new LogHistory();
  for (const entry of warnings) history.add(entry);
  await startLog(index === 0 ? level : "warning", { history, isolate: index });
  try {
    const config = withDemo(await readConfig(args.config), args.demo ?? false);
    const isolates = new IsolateMember({ index, count, port });
    const running = await startEngine(config, { logHistory: history, isolates });
    parentPort?.once("message", async () => {
      if (index > 0) await startLog("warning", { history, isolate: index });
      await running.stop();
      process.exit(0);
    });
  } catch (error) {
    tell({ type: "failed", message: error instanceof Error ? error.message : String(error) });
    process.exit(1);
  }
  await startLog(level, { history, isolate: index });
  tell({ type: "ready" });
}

async function main(): Promise<void> {
  const args = readArguments();
  if (args.help) return print(HELP);
  if (args.version) return print(`m7s engine ${deno.version}`);
  const history = new LogHistory();
  await startLog(args.log ?? "info", { history });
  const log = getLogger(["m7s"]);
  const config = withDemo(await readConfig(args.config), args.demo ?? false);
  if (args.check) {
    await new Plugins(new Engine(config.engine), { log }).check(config);
    return print(`${args.config ?? "config.toml"}: no mistakes, ${config.plugins.length} plugins`);
  }
  const { Workers = 1 } = config.engine;
  const count = Workers === 0 ? navigator.hardwareConcurrency : Workers;
  const running = count === 1
    ? await startEngine(config, { logHistory: history })
    : await startIsolates(args, count, history);
  await stopSignal();
  log.info("stopping");
  await running.stop();
}

/** Resolves at the first signal to stop; a second one exits at once. */
function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    let stopping = false;
    const stop = () => {
      if (stopping) Deno.exit(1);
      stopping = true;
      resolve();
    };
    Deno.addSignalListener("SIGINT", stop);
    if (Deno.build.os !== "windows") Deno.addSignalListener("SIGTERM", stop);
  });
}

if (!isMainThread) {
  await runIsolate(workerData as IsolateTask);
} else if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    const known = [ConfigError, PluginError, IsolateError];
    if (!known.some((type) => error instanceof type)) throw error;
    fail((error as Error).message);
  }
  Deno.exit(0);
}
