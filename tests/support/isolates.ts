/** Engines that are one server: with the hub between them, all in one isolate. */

import { assert, assertEquals } from "@std/assert";
import { deadline } from "@std/async/deadline";
import { Engine } from "../../src/engine.ts";
import { IsolateHub } from "../../src/isolate_hub.ts";
import { IsolateMember } from "../../src/isolate_member.ts";
import type { MediaFrame } from "../../src/frame.ts";
import type { EngineConfig } from "../../src/options.ts";
import type { Publisher } from "../../src/publisher.ts";
import { pushFrames, pushHeaders } from "./engines.ts";
import { short } from "./frames.ts";
import { listLogger } from "./logs.ts";

/** Engines joined by a hub, in real time: messages between ports are tasks. */
export class Fleet implements AsyncDisposable {
  /** The hub. */
  readonly hub: IsolateHub = new IsolateHub();
  /** The engines, by the number of their isolate. */
  readonly engines: Engine[] = [];
  /** What each of them has logged. */
  readonly logs: string[][] = [];
  readonly #ports: MessagePort[] = [];
  readonly #count: number;
  readonly #config: EngineConfig;

  /** `count` engines with `config`. */
  constructor(count: number, config: EngineConfig = {}) {
    this.#count = count;
    this.#config = config;
    for (let index = 0; index < count; index++) this.restart(index);
  }

  /** Ends isolate `index` as if it had failed. */
  fail(index: number): void {
    this.#ports[index]?.close();
    this.hub.lose(index);
  }

  /** Starts isolate `index`, which is not there yet or has failed: its engine. */
  restart(index: number): Engine {
    const { port1, port2 } = new MessageChannel();
    this.hub.connect(index, port1);
    const member = new IsolateMember({ index, count: this.#count, port: port2 });
    const logs: string[] = [];
    const engine = new Engine(this.#config, { isolates: member, log: listLogger(logs) });
    member.serve(engine);
    this.#ports[index] = port2;
    this.engines[index] = engine;
    this.logs[index] = logs;
    return engine;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const engine of this.engines) await engine.close();
    await settle();
    for (const port of this.#ports) port.close();
    this.hub.close();
  }
}

/** Lets messages arrive, and those that they bring about. */
export async function settle(turns = 20): Promise<void> {
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Reads frames as {@linkcode short} has them. */
export class Watcher {
  readonly #reader: ReadableStreamDefaultReader<MediaFrame>;

  /** A reader of `frames`. */
  constructor(frames: ReadableStream<MediaFrame>) {
    this.#reader = frames.getReader();
  }

  /** The next `count` frames, or those up to the end. */
  async take(count: number): Promise<string> {
    const frames: string[] = [];
    while (frames.length < count) {
      const { value, done } = await deadline(this.#reader.read(), 2000)
        .catch((cause) => Promise.reject(new Error(`Only ${frames.join(" ")} came`, { cause })));
      if (done) break;
      frames.push(short(value));
    }
    return frames.join(" ");
  }

  /** Leaves. */
  async cancel(): Promise<void> {
    await this.#reader.cancel();
  }
}

/** What {@linkcode threeViewers} makes. */
export interface ThreeViewers {
  readonly publisher: Publisher;
  readonly second: Engine;
  readonly third: Engine;
  readonly watchers: readonly Watcher[];
}

/** Viewers in three isolates of what the first publishes, who have all seen `V0 a0`. */
export async function threeViewers(fleet: Fleet): Promise<ThreeViewers> {
  const [home, second, third] = fleet.engines;
  assert(home && second && third);
  const publisher = await home.publish("live/a", { type: "Test", id: "first" });
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0");
  const watchers: Watcher[] = [];
  for (const engine of fleet.engines) {
    const watcher = new Watcher((await engine.subscribe("live/a", { type: "Test" })).play());
    assertEquals(await watcher.take(2), "V0 a0");
    watchers.push(watcher);
  }
  return { publisher, second, third, watchers };
}
