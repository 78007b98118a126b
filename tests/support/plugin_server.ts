/** An engine with one plugin that listens by itself, on a free loopback port. */

import { Engine } from "../../src/engine.ts";
import type { EngineConfig } from "../../src/options.ts";
import { type Plugin, Plugins } from "../../src/plugin.ts";
import { listLogger } from "./logs.ts";

/** How long any step of a test may take. */
const PATIENCE_MS = 5000;

/** A running server with one plugin. */
export interface PluginServer extends AsyncDisposable {
  readonly engine: Engine;
  readonly plugins: Plugins;
  /** Lines of the log: level, category and text. */
  readonly logs: string[];
  /** Where it listens, now. */
  readonly urls: readonly string[];
  /** The first of its addresses. */
  readonly url: string;
  /** Reasons for which the plugin says that sessions ended. */
  readonly reasons: string[];
}

/** What runs in a {@linkcode PluginServer}. */
export interface PluginServerInit<O> {
  /** Its name in the config. */
  readonly name: string;
  readonly plugin: Plugin<O>;
  readonly options: Record<string, unknown>;
  readonly config: EngineConfig;
}

/** Starts an engine with one plugin on 127.0.0.1. */
export async function startPlugin<O>(init: PluginServerInit<O>): Promise<PluginServer> {
  const { name, plugin, options, config } = init;
  const logs: string[] = [];
  const log = listLogger(logs, "m7s");
  const engine = new Engine({ OnDemandPublishTimeout: 0.2, ...config }, { log });
  const plugins = new Plugins(engine, { log });
  await plugins.load(name, plugin, { Host: "127.0.0.1", Port: 0, ...options });
  const urls = () => plugins.list().flatMap(({ urls }) => urls ?? []);
  const ended = new RegExp(`^warn m7s\\.${name.toLowerCase()} \\S+ ended: (.*)$`);
  return {
    engine,
    plugins,
    logs,
    get urls() {
      return urls();
    },
    get url() {
      return urls()[0] ?? "";
    },
    get reasons() {
      return logs.flatMap((line) => ended.exec(line)?.[1] ?? []);
    },
    async [Symbol.asyncDispose]() {
      await engine.close();
      await plugins.close();
    },
  };
}

/** Resolves as soon as `holds`, and fails if it does not in time. */
export async function eventually(what: string, holds: () => boolean): Promise<void> {
  const until = performance.now() + PATIENCE_MS;
  while (!holds()) {
    if (performance.now() > until) throw new Error(`It is not so in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
