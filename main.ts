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
import { parseArgs } from "node:util";
import { fileURLToPath, pathToFileURL } from "node:url";
import deno from "./deno.json" with { type: "json" };
import { type Config, ConfigError, parseConfig, programSection } from "./src/config.ts";
import { Engine } from "./src/engine.ts";
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
const LEVELS = ["debug", "info", "warning", "error"] as const;

interface Arguments {
  readonly config?: string;
  readonly demo?: boolean;
  readonly check?: boolean;
  readonly log?: string;
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
    return parseArgs({
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

async function startLog(level: typeof LEVELS[number]): Promise<void> {
  const formatter = getTextFormatter({
    timestamp: "time",
    level: "abbr",
    category: (category) => category.slice(1).join(".") || "engine",
    value: (value) => typeof value === "string" ? value : Deno.inspect(value),
  });
  await configure({
    sinks: { console: getConsoleSink({ formatter }) },
    loggers: [
      { category: "m7s", lowestLevel: level, sinks: ["console"] },
      { category: ["logtape", "meta"], lowestLevel: "warning", sinks: ["console"] },
    ],
  });
}

async function main(): Promise<void> {
  const args = readArguments();
  if (args.help) return print(HELP);
  if (args.version) return print(`m7s engine ${deno.version}`);
  const level = LEVELS.find((level) => level === (args.log ?? "info"));
  if (level === undefined) fail(`Cannot log at ${args.log}: it is not one of ${LEVELS.join(", ")}`);
  await startLog(level);
  const log = getLogger(["m7s"]);
  const config = withDemo(await readConfig(args.config), args.demo ?? false);
  const engine = new Engine(config.engine, { log });
  const plugins = new Plugins(engine, { log });
  if (args.check) {
    await plugins.check(config);
    return print(`${args.config ?? "config.toml"}: no mistakes, ${config.plugins.length} plugins`);
  }
  await plugins.start(config);
  if (!plugins.list().some(({ running }) => running)) fail("No plugin runs: nothing to do");
  await stopSignal();
  log.info("stopping");
  await engine.close();
  await deadline(plugins.close(), STOP_MS).catch(() => log.warn("stopped before all had ended"));
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

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    if (error instanceof ConfigError || error instanceof PluginError) fail(error.message);
    throw error;
  }
  Deno.exit(0);
}
