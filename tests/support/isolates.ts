/** Engines that are one server: with the hub between them, all in one isolate. */

import { Engine } from "../../src/engine.ts";
import { IsolateHub } from "../../src/isolate_hub.ts";
import { IsolateMember } from "../../src/isolate_member.ts";
import type { EngineConfig } from "../../src/options.ts";
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

  /** `count` engines with `config`. */
  constructor(count: number, config: EngineConfig = {}) {
    for (let index = 0; index < count; index++) {
      const { port1, port2 } = new MessageChannel();
      this.hub.connect(index, port1);
      const member = new IsolateMember({ index, count, port: port2 });
      const logs: string[] = [];
      const engine = new Engine(config, { isolates: member, log: listLogger(logs) });
      member.serve(engine);
      this.#ports.push(port2);
      this.engines.push(engine);
      this.logs.push(logs);
    }
  }

  /** Ends isolate `index` as if it had failed. */
  fail(index: number): void {
    this.#ports[index]?.close();
    this.hub.lose(index);
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
  for (let turn = 0; turn < turns; turn++) await new Promise((resolve) => setTimeout(resolve, 0));
}
