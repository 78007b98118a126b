/** Engines under fake time, and publishers with frames by hand. */

import { FakeTime } from "@std/testing/time";
import { Engine } from "../../src/engine.ts";
import type { Logger } from "../../src/log.ts";
import type { EngineConfig } from "../../src/options.ts";
import type { Publisher } from "../../src/publisher.ts";
import { audioBody, audioHeader, h264, videoBody, videoHeader } from "./frames.ts";

/** A line of a {@linkcode Rig}'s log: its level and its message with the values put in. */
export type LogLine = `${"debug" | "info" | "warn" | "error"} ${string}`;

/** An engine whose wall time only the test moves, and what it logs. */
export class Rig implements AsyncDisposable {
  /** The clock. */
  readonly time = new FakeTime();
  /** The engine. */
  readonly engine: Engine;
  /** What it has logged. */
  readonly lines: LogLine[] = [];

  /** An engine with `config`. */
  constructor(config: EngineConfig = {}) {
    this.engine = new Engine(config, { nowMs: () => Date.now(), log: this.#logger() });
  }

  /** Lets `seconds` pass, with microtasks before and after. */
  async pass(seconds: number): Promise<void> {
    await this.time.tickAsync(seconds * 1000);
    await this.time.runMicrotasks();
  }

  /** Closes the engine; fails if it leaves a timer behind. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.engine.close();
    await this.time.runMicrotasks();
    const left = this.time.next();
    this.time.restore();
    if (left) throw new Error("A timer is left after Engine.close()");
  }

  #logger(): Logger {
    const write = (level: string) => (message: string, values: Record<string, unknown> = {}) => {
      const text = message.replace(/\{(\w+)\}/g, (_, name: string) => String(values[name]));
      this.lines.push(`${level} ${text}` as LogLine);
    };
    const levels = ["debug", "info", "warn", "error"];
    return Object.fromEntries(levels.map((level) => [level, write(level)])) as unknown as Logger;
  }
}

/** Pushes the sequence headers of H.264 and AAC. */
export function pushHeaders(publisher: Publisher, timestampMs = 0): void {
  publisher.video.pushByteStream(timestampMs, videoHeader(h264()));
  publisher.audio.pushByteStream(timestampMs, audioHeader());
}

/** Pushes frames as `short` names them: `V0 a0 v40`. */
export function pushFrames(publisher: Publisher, frames: string): void {
  for (const frame of frames.split(" ")) {
    const timestampMs = Number(frame.slice(1));
    const mark = timestampMs & 0x7f;
    if (frame.startsWith("a")) publisher.audio.pushByteStream(timestampMs, audioBody(mark));
    else publisher.video.pushByteStream(timestampMs, videoBody(frame.startsWith("V"), mark));
  }
}
