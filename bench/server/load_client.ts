/**
 * The processes that publish and watch.
 *
 * Both are `load.c`, or `load.ts` where there is no compiler, and take the same commands, a line
 * each: `open COUNT` opens that many more viewers or publishers; `join COUNT RATE` opens viewers at
 * a rate, each of which leaves with its first keyframe; `stall COUNT BYTES` opens viewers that stop
 * reading after that many bytes; `begin` and `end` enclose a measurement; `quit` ends the process.
 */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { BenchClip } from "./clip.ts";
import { compile } from "./compile.ts";
import { BenchProcess } from "./process.ts";

/** Times in ms; only `count` where there are none. */
export interface Distribution {
  readonly count: number;
  readonly mean?: number;
  readonly p50?: number;
  readonly p90?: number;
  readonly p99?: number;
  readonly max?: number;
}

/** What comes when all connections of a command have begun or failed. */
export interface Started {
  readonly event: "viewers" | "joined" | "stalled" | "publishing";
  readonly started: number;
  readonly failed: number;
  /** From the connection's opening to the end of the first keyframe. */
  readonly firstKey?: Distribution;
}

/** What was published between `begin` and `end`. */
export interface PublishWindow {
  readonly event: "window";
  readonly seconds: number;
  /** What the process itself has used. */
  readonly cpuSeconds: number;
  readonly bytes: number;
  readonly tags: number;
  /** Connections lost. */
  readonly lost: number;
  /** How late frames were handed over, by the clip's own times. */
  readonly late: Distribution;
}

/** What was watched between `begin` and `end`; of lazy viewers it is only bytes that are counted. */
export interface ViewWindow extends Omit<PublishWindow, "late"> {
  readonly viewers: number;
  readonly video: number;
  readonly audio: number;
  /** Frames a second of a viewer: mean, and the lowest of them. */
  readonly tagsPerViewer: number;
  readonly lowest: number;
  /** Viewers under 95 % of the full rate. */
  readonly behind: number;
  /** Video frames that never came, and those that came again or too late. */
  readonly missing: number;
  readonly disorder: number;
  /** Video frames without a stamp. */
  readonly unstamped: number;
  /** Viewers ended because what came was not whole FLV or RTMP. */
  readonly broken: number;
  /** Viewers whose first video frame was no keyframe. */
  readonly badStart: number;
  /** Frames found to be the clip's, byte by byte, and those that were not. */
  readonly verified: number;
  readonly mismatched: number;
  /** From the publisher's stamp to the frame's last byte. */
  readonly latency: Distribution;
}

type LoadEvent = Started | PublishWindow | ViewWindow;

/** How the load is run. */
export interface LoadProgram {
  readonly kind: "c" | "deno";
  readonly command: readonly string[];
  readonly clip: BenchClip;
  readonly cores: string;
  /** Niceness. @default {as this process} */
  readonly niceness?: number | undefined;
  readonly directory: string;
}

/** Viewers most of which read seldom, which costs next to nothing; `load.c` alone has them. */
export interface LazyViewers {
  /** How often they read, in ms. */
  readonly everyMs: number;
  /** Viewers that read at once, evenly among the others. */
  readonly probes: number;
}

/** Compiles `load.c` into `directory` if that is wanted and possible. */
export async function loadCommand(
  client: "auto" | "c" | "deno",
  directory: string,
): Promise<Pick<LoadProgram, "kind" | "command">> {
  const program = client === "deno" ? undefined : await compile("load", directory);
  if (program !== undefined) return { kind: "c", command: [program] };
  if (client === "c") throw new Error("Cannot compile load.c: there is neither cc nor gcc");
  const source = fileURLToPath(new URL("./load.ts", import.meta.url));
  const config = fileURLToPath(new URL("../../deno.json", import.meta.url));
  return { kind: "deno", command: [Deno.execPath(), "run", "-A", "--config", config, source] };
}

let processes = 0;

/** A process that publishes or watches. */
export class LoadClient implements AsyncDisposable {
  readonly #process: BenchProcess;
  #waiting: { event: string; resolve: (event: LoadEvent) => void } | undefined;

  private constructor(program: LoadProgram, args: readonly string[]) {
    this.#process = new BenchProcess({
      command: [...program.command, ...args],
      cores: program.cores,
      niceness: program.niceness,
      logFile: join(program.directory, `load-${args[0]}-${processes++}.log`),
      onLine: (line) => this.#take(JSON.parse(line) as LoadEvent),
    });
  }

  /** A publisher of the clip to `url`, where `{}` is the number of a stream. */
  static publisher(program: LoadProgram, url: string, streams: number): LoadClient {
    const { path, loopUs } = program.clip;
    return new LoadClient(program, [
      "publish",
      ...["--url", url, "--streams", String(streams), "--rate", "200"],
      ...["--clip", path, "--loop-us", String(loopUs)],
    ]);
  }

  /** Viewers of `url`. */
  static viewers(
    program: LoadProgram,
    url: string,
    options: {
      readonly streams: number;
      readonly verify: number;
      readonly pollMs: number;
      readonly lazy?: LazyViewers | undefined;
    },
  ): LoadClient {
    const { path, tagsPerSecond } = program.clip;
    const { lazy, pollMs } = options;
    return new LoadClient(program, [
      "view",
      ...["--url", url, "--streams", String(options.streams)],
      ...["--tags-per-second", String(tagsPerSecond)],
      ...["--verify", String(options.verify), "--clip", path],
      ...(pollMs > 0 ? ["--poll", String(pollMs)] : []),
      ...(lazy ? ["--lazy", String(lazy.everyMs), "--probes", String(lazy.probes)] : []),
    ]);
  }

  /** Its CPU time so far, in seconds. */
  get cpuSeconds(): number {
    return this.#process.usage().cpuSeconds;
  }

  /** Opens publishers or viewers; resolves when all have begun or failed. */
  async open(count: number): Promise<Started> {
    return await this.#ask(`open ${count}`, ["viewers", "publishing"], 60 + count / 50) as Started;
  }

  /** Joins one after the other, at `rate` a second. */
  async join(count: number, rate: number): Promise<Started> {
    const seconds = 40 + count / rate;
    return await this.#ask(`join ${count} ${rate}`, ["joined"], seconds) as Started;
  }

  /** Opens viewers that stop reading after `bytes`. */
  async stall(count: number, bytes: number): Promise<Started> {
    const seconds = 60 + count / 50;
    return await this.#ask(`stall ${count} ${bytes}`, ["stalled"], seconds) as Started;
  }

  /** Begins a measurement. */
  async begin(): Promise<void> {
    await this.#process.write("begin");
  }

  /** Ends a measurement. */
  async end<Window extends PublishWindow | ViewWindow>(): Promise<Window> {
    return await this.#ask("end", ["window"], 30) as Window;
  }

  /** The last of its complaints. */
  lastLines(count: number): Promise<string[]> {
    return this.#process.lastLines(count);
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }

  #take(event: LoadEvent): void {
    const waiting = this.#waiting;
    if (waiting === undefined || !waiting.event.split("|").includes(event.event)) return;
    this.#waiting = undefined;
    waiting.resolve(event);
  }

  async #ask(command: string, events: readonly string[], seconds: number): Promise<LoadEvent> {
    const answer = new Promise<LoadEvent>((resolve) => {
      this.#waiting = { event: events.join("|"), resolve };
    });
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<"late">((resolve) => {
      timer = setTimeout(() => resolve("late"), seconds * 1000);
    });
    await this.#process.write(command);
    const result = await Promise.race([answer, late, this.#process.closed.then(() => "ended")]);
    clearTimeout(timer);
    if (typeof result === "object" && result !== null) return result as LoadEvent;
    const lines = (await this.lastLines(5)).join("; ");
    const what = result === "late" ? `did not answer within ${seconds} s` : "has ended";
    throw new Error(`Cannot go on: the load ${what} at "${command}": ${lines}`);
  }
}
