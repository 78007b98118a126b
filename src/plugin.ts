/** Plugins: modules that the engine runs, and what each of them may hold while it runs. */

import {
  type Config,
  ConfigError,
  type ConfigIssue,
  type OptionsSchema,
  type PluginEntry,
  programSection,
  type Section,
  validateSection,
} from "./config.ts";
import type { Engine, EngineEvents } from "./engine.ts";
import type { Guard, GuardOptions, GuardRequest } from "./guards.ts";
import { defaultLogger, type Logger, LogHistory } from "./log.ts";
import type { Publisher, PublishOptions } from "./publisher.ts";
import type { Service } from "./service.ts";
import { type SubscribeOptions, type Subscriber, SubscriberOwner } from "./subscriber.ts";

/** What a running plugin may give back from its `run`. */
export interface PluginHandle<O> {
  /** Takes changed options without a restart; without it the plugin is restarted. */
  configure?(options: O): void | Promise<void>;
  /** Addresses that clients on this machine reach it at, such as `rtmp://127.0.0.1:1935`, now. */
  urls?(): readonly string[];
}

/** A plugin: the default export of its module. */
export interface Plugin<O = unknown> {
  /** Its name, for people. */
  readonly name: string;
  /** Schema of its options; without one it takes none. */
  readonly options?: OptionsSchema<O>;
  /** Services that must run before it. */
  readonly requires?: readonly Service<unknown>[];
  /** Services that it provides. */
  readonly provides?: readonly Service<unknown>[];
  /** Starts it; resolves once it is ready. */
  run(context: PluginContext<O>): void | PluginHandle<O> | Promise<void | PluginHandle<O>>;
}

/**
 * What a plugin works with. All that it obtains here ends when the plugin is unloaded, or when its
 * `run` fails.
 */
export interface PluginContext<O = unknown> {
  /** The engine. */
  readonly engine: Engine;
  /** All plugins. */
  readonly plugins: Plugins;
  /** Its name in the config. */
  readonly name: string;
  /** Its options, validated and frozen. */
  readonly options: O;
  /** Aborted when the plugin is unloaded. */
  readonly signal: AbortSignal;
  /** Its logger. */
  readonly log: Logger;
  /** What the program has warned of lately; empty unless it keeps that. */
  readonly logHistory: Pick<LogHistory, "after">;
  /** `Engine.publish`, ended with the plugin. */
  publish(target: string, options: PublishOptions): Promise<Publisher>;
  /** `Engine.subscribe`, ended with the plugin, which is the owner. */
  subscribe(target: string, options: Omit<SubscribeOptions, "owner">): Promise<Subscriber>;
  /** `Engine.addEventListener`, ended with the plugin. */
  on<K extends keyof EngineEvents & string>(
    type: K,
    listener: (event: EngineEvents[K]) => unknown,
  ): void;
  /** `Engine.addGuard`, ended with the plugin. */
  guard(action: GuardRequest["action"], guard: Guard, options?: GuardOptions): void;
  /** Offers what one of its `provides` names. */
  provide<T>(service: Service<T>, implementation: T): void;
  /** What another plugin provides: one of its `requires`. */
  use<T>(service: Service<T>): T;
  /** Calls `undo` when the plugin is unloaded: the last one first, each awaited. */
  defer(undo: () => void | Promise<void>): void;
}

/**
 * Gives a plugin the types of its schema.
 *
 * @example The smallest plugin
 * ```ts
 * import { definePlugin } from "@m7s/engine";
 *
 * export default definePlugin({
 *   name: "greeter",
 *   run({ engine, log, on }) {
 *     on("publish", ({ detail }) => log.info(`welcome, ${detail.stream.path}`));
 *     log.info(`${engine.streams.size} streams so far`);
 *   },
 * });
 * ```
 */
export function definePlugin<O>(plugin: Plugin<O>): Plugin<O> {
  return plugin;
}

/** A plugin could not be loaded, validated or run. */
export class PluginError extends Error {
  override readonly name = "PluginError";

  /** An error that names the plugin. */
  constructor(
    /** Name of the plugin in the config. */
    readonly plugin: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(`Plugin ${plugin}: ${message}`, options);
  }
}

/** Whether a plugin runs, and why not. */
export interface PluginState {
  /** Its name in the config. */
  readonly name: string;
  /** Whether it runs. */
  readonly running: boolean;
  /** Addresses that clients on this machine reach it at, if it listens by itself. */
  readonly urls?: readonly string[];
  /** Why it does not run. */
  readonly error?: string | undefined;
}

/** What {@linkcode Plugins} takes from outside. */
export interface PluginsInit {
  /** Where plugins log, each in a child of its own. @default {LogTape's category `m7s`} */
  readonly log?: Logger;
  /** What the program's log keeps for plugins that show it. @default {nothing} */
  readonly logHistory?: LogHistory;
}

interface Loaded {
  readonly entry: PluginEntry;
  readonly plugin: Plugin;
  options: unknown;
}

interface Running extends Loaded {
  readonly controller: AbortController;
  readonly undos: (() => void | Promise<void>)[];
  readonly services: string[];
  handle: PluginHandle<unknown> | undefined;
}

/** The plugins of an engine. They can be loaded, changed and unloaded while it runs. */
export class Plugins implements AsyncDisposable {
  readonly #engine: Engine;
  readonly #log: Logger;
  readonly #logHistory: LogHistory;
  readonly #running = new Map<string, Running>();
  readonly #failed = new Map<string, string>();
  readonly #services = new Map<string, unknown>();

  /** No plugins yet. */
  constructor(engine: Engine, init: PluginsInit = {}) {
    this.#engine = engine;
    this.#log = init.log ?? defaultLogger();
    this.#logHistory = init.logHistory ?? new LogHistory();
  }

  /** The plugins that run, in the order of their start, and those that failed. */
  list(): PluginState[] {
    const running = [...this.#running].map(([name, { handle }]) => {
      const urls = handle?.urls?.();
      return { name, running: true, ...(urls && { urls }) };
    });
    const failed = [...this.#failed].map(([name, error]) => ({ name, running: false, error }));
    return [...running, ...failed];
  }

  /**
   * Imports the plugins of `config` and validates their options, without running anything.
   *
   * @throws {ConfigError} If options are wrong, or a module cannot be imported or exports no plugin.
   */
  async check(config: Config): Promise<void> {
    const { issues, failures } = await this.#importAll(config.plugins);
    const imports = failures.map(({ entry, error }): ConfigIssue => ({
      file: entry.section.file,
      line: entry.line,
      key: `[Plugins] ${entry.name}`,
      problem: messageOf(error),
    }));
    if (imports.length + issues.length > 0) throw new ConfigError([...imports, ...issues]);
  }

  /**
   * Imports and validates the plugins of `config`, then runs them one by one, required ones first.
   * One that cannot be imported or run is reported and left out, and so are those that require it.
   *
   * @throws {ConfigError} If options are wrong; nothing runs then.
   */
  async start(config: Config): Promise<void> {
    const { loaded, issues, failures } = await this.#importAll(config.plugins);
    if (issues.length > 0) throw new ConfigError(issues);
    for (const { entry, error } of failures) this.#fail(entry.name, error);
    for (const next of byRequirement(loaded)) {
      await this.#run(next).catch((error) => this.#fail(next.entry.name, error));
    }
  }

  /**
   * Runs one more plugin.
   *
   * @throws {PluginError} If one of its name runs, or it fails; what it started is undone then.
   * @throws {ConfigError} If its options are wrong.
   */
  async load<O>(
    name: string,
    module: string | Plugin<O>,
    options: Readonly<Record<string, unknown>> = {},
  ): Promise<void> {
    const section = programSection(name, options);
    const specifier = typeof module === "string" ? module : "";
    const entry = { name, specifier, section };
    const plugin = typeof module === "string" ? undefined : module as Plugin;
    await this.#run(await this.#import(entry, plugin));
  }

  /** Stops a plugin, and before it those that require it. Does nothing if it does not run. */
  async unload(name: string): Promise<void> {
    const running = this.#running.get(name);
    this.#failed.delete(name);
    if (running === undefined) return;
    for (const other of [...this.#running.values()].reverse()) {
      const needs = other.plugin.requires ?? [];
      if (needs.some((service) => running.services.includes(service.name))) {
        await this.unload(other.entry.name);
      }
    }
    this.#running.delete(name);
    await this.#undo(running);
    this.#log.info("plugin {name} stopped", { name });
  }

  /**
   * Gives a running plugin other options: by its `configure`, else by a restart.
   *
   * @throws {PluginError} If it does not run, or does not take them.
   * @throws {ConfigError} If the options are wrong; nothing changes then.
   */
  async configure(name: string, options: Readonly<Record<string, unknown>>): Promise<void> {
    const running = this.#running.get(name);
    if (running === undefined) throw new PluginError(name, "cannot be configured: it does not run");
    const section = programSection(name, options);
    const entry = { ...running.entry, section };
    const loaded = await this.#import(entry, running.plugin);
    if (running.handle?.configure === undefined) {
      await this.unload(name);
      return await this.#run(loaded).catch((error) => {
        this.#fail(name, error);
        throw error;
      });
    }
    try {
      await running.handle.configure(loaded.options);
      running.options = loaded.options;
    } catch (cause) {
      throw new PluginError(name, `cannot be configured: ${messageOf(cause)}`, { cause });
    }
  }

  /** Stops all plugins, the last one first. */
  async close(): Promise<void> {
    for (const name of [...this.#running.keys()].reverse()) await this.unload(name);
  }

  /** Stops all plugins. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #importAll(entries: readonly PluginEntry[]) {
    const loaded: Loaded[] = [];
    const issues: ConfigIssue[] = [];
    const failures: { readonly entry: PluginEntry; readonly error: unknown }[] = [];
    for (const entry of entries) {
      try {
        loaded.push(await this.#import(entry));
      } catch (error) {
        if (error instanceof ConfigError) issues.push(...error.issues);
        else failures.push({ entry, error });
      }
    }
    return { loaded, issues, failures };
  }

  async #import(entry: PluginEntry, given?: Plugin): Promise<Loaded> {
    const { name, specifier, section } = entry;
    let plugin: unknown = given;
    if (given === undefined) {
      try {
        plugin = (await import(specifier)).default;
      } catch (cause) {
        throw new PluginError(name, `cannot import ${specifier}: ${messageOf(cause)}`, { cause });
      }
    }
    if (!isPlugin(plugin)) {
      throw new PluginError(name, `${specifier} has no default export with a name and a run`);
    }
    return { entry, plugin, options: await this.#validate(plugin, section) };
  }

  async #validate(plugin: Plugin, section: Section): Promise<unknown> {
    if (plugin.options !== undefined) return await validateSection(plugin.options, section);
    const [key] = Object.keys(section.values);
    if (key === undefined) return Object.freeze({});
    const problem = "unknown key: the plugin takes no options";
    const { file, name } = section;
    throw new ConfigError([{
      file,
      line: section.lineOf([key]),
      key: `[${name}] ${key}`,
      problem,
    }]);
  }

  async #run(loaded: Loaded): Promise<void> {
    const { plugin, entry } = loaded;
    const { name } = entry;
    if (this.#running.has(name)) throw new PluginError(name, "runs already");
    for (const service of plugin.requires ?? []) {
      if (!this.#services.has(service.name)) {
        throw new PluginError(name, `cannot run: it requires ${service.name}, which is not there`);
      }
    }
    const running: Running = {
      ...loaded,
      controller: new AbortController(),
      undos: [],
      services: [],
      handle: undefined,
    };
    try {
      running.handle = await plugin.run(this.#context(running)) ?? undefined;
      const missing = plugin.provides?.find((service) => !running.services.includes(service.name));
      if (missing) throw new TypeError(`it does not provide ${missing.name} as it says`);
    } catch (cause) {
      await this.#undo(running);
      throw new PluginError(name, `cannot run: ${messageOf(cause)}`, { cause });
    }
    this.#failed.delete(name);
    this.#running.set(name, running);
  }

  #context(running: Running): PluginContext {
    const { controller, undos, entry } = running;
    const { signal } = controller;
    const owner = new SubscriberOwner(signal);
    const engine = this.#engine;
    const services = this.#services;
    const within = (other?: AbortSignal) => other ? AbortSignal.any([signal, other]) : signal;
    return Object.freeze({
      engine,
      plugins: this,
      name: entry.name,
      options: running.options,
      signal,
      log: this.#log.getChild(entry.name.toLowerCase()),
      logHistory: this.#logHistory,
      publish: (target: string, options: PublishOptions) =>
        engine.publish(target, { ...options, signal: within(options.signal) }),
      subscribe: (target: string, options: Omit<SubscribeOptions, "owner">) =>
        engine.subscribe(target, { ...options, owner }),
      on<K extends keyof EngineEvents & string>(
        type: K,
        listener: (event: EngineEvents[K]) => unknown,
      ) {
        engine.addEventListener(type, listener, { signal });
      },
      guard: (action: GuardRequest["action"], guard: Guard, options: GuardOptions = {}) =>
        engine.addGuard(action, guard, { ...options, signal: within(options.signal) }),
      provide<T>(service: Service<T>, implementation: T) {
        if (services.has(service.name)) {
          throw new TypeError(`Cannot provide ${service.name}: another plugin provides it`);
        }
        services.set(service.name, implementation);
        running.services.push(service.name);
      },
      use<T>(service: Service<T>): T {
        if (!services.has(service.name)) {
          throw new TypeError(`Cannot use ${service.name}: no plugin provides it`);
        }
        return services.get(service.name) as T;
      },
      defer: (undo: () => void | Promise<void>) => void undos.push(undo),
    });
  }

  async #undo(running: Running): Promise<void> {
    const { name } = running.entry;
    running.controller.abort(new DOMException(`Plugin ${name} stops`, "AbortError"));
    for (const undo of running.undos.reverse()) {
      try {
        await undo();
      } catch (error) {
        this.#log.error("plugin {name} failed to stop: {error}", { name, error });
      }
    }
    for (const service of running.services) this.#services.delete(service);
  }

  #fail(name: string, error: unknown): void {
    this.#failed.set(name, messageOf(error));
    this.#log.error("{error}", { name, error: messageOf(error) });
  }
}

/** Orders plugins so that the providers of what each requires come before it. */
function byRequirement(loaded: readonly Loaded[]): Loaded[] {
  const ordered = new Set<Loaded>();
  const visiting = new Set<Loaded>();
  const visit = (next: Loaded) => {
    if (ordered.has(next) || visiting.has(next)) return;
    visiting.add(next);
    for (const { name } of next.plugin.requires ?? []) {
      const provider = loaded.find((other) =>
        other.plugin.provides?.some((service) => service.name === name)
      );
      if (provider) visit(provider);
    }
    ordered.add(next);
  };
  loaded.forEach(visit);
  return [...ordered];
}

function isPlugin(value: unknown): value is Plugin {
  if (typeof value !== "object" || value === null) return false;
  const { name, run } = value as Partial<Plugin>;
  return typeof name === "string" && typeof run === "function";
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
