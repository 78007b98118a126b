/**
 * The processes that play HLS.
 *
 * They are `hls_load.c` and take commands, a line each: `open COUNT` opens that many players; `begin`
 * and `end` enclose a measurement; `flood PATH` asks for a path again and again until `end`; `quit`
 * ends the process.
 */

import { join } from "node:path";
import type { Distribution, LoadProgram } from "./load_client.ts";
import { compile } from "./compile.ts";
import { BenchProcess } from "./process.ts";

/** How players play: with low latency, or segment by segment. */
export type HlsMode = "ll" | "classic";

/** What comes when all players have their first piece of media, or have failed to get one. */
export interface HlsStarted {
  readonly event: "players";
  readonly started: number;
  readonly failed: number;
  /** From a player's first connection to the end of its first piece of media. */
  readonly first: Distribution;
}

/** What was played between `begin` and `end`. */
export interface HlsWindow {
  readonly event: "window";
  readonly seconds: number;
  /** What the process itself has used. */
  readonly cpuSeconds: number;
  readonly players: number;
  readonly bytes: number;
  /** Media playlists, and parts and segments. */
  readonly playlists: number;
  readonly files: number;
  /** Media that all players together have got. */
  readonly mediaSeconds: number;
  /** Players that have run dry, and how often. */
  readonly stalled: number;
  readonly stalls: number;
  /** Answers with another status than 200. */
  readonly refused: number;
  /** Players that had to give up, those without an answer within 20 s among them. */
  readonly lost: number;
  readonly late: number;
  /** Players that gave up since what came was no playlist, or nothing. */
  readonly broken: number;
  /** Pieces of media or pictures that never came, and those that came again or out of order. */
  readonly missing: number;
  readonly disorder: number;
  /** Pieces of media that were others than those of other players. */
  readonly mismatched: number;
  /** Answers that could not be measured. */
  readonly unmeasured: number;
  /**
   * To playlists that were asked for before they were there: from the publisher's write of the
   * picture that completes the part, which is the first behind it, to the answer's last byte.
   */
  readonly reload: Distribution;
  /** The same for parts that were hinted. */
  readonly part: Distribution;
  /** To all that was there: from the request to the last byte. */
  readonly answer: Distribution;
  /** From the publisher's write of a part's last picture to the last byte of the part. */
  readonly picture: Distribution;
}

type HlsEvent = HlsStarted | HlsWindow;

/** Compiles `hls_load.c` into `directory`; undefined where there is no compiler. */
export async function hlsCommand(directory: string): Promise<readonly string[] | undefined> {
  const program = await compile("hls_load", directory);
  return program === undefined ? undefined : [program];
}

let processes = 0;

/** A process of players. */
export class HlsClient implements AsyncDisposable {
  readonly #process: BenchProcess;
  #resolve: ((event: HlsEvent) => void) | undefined;

  /** Starts `command` with `args`, without players. */
  constructor(program: LoadProgram, command: readonly string[], args: readonly string[]) {
    this.#process = new BenchProcess({
      command: [...command, ...args],
      cores: program.cores,
      logFile: join(program.directory, `hls-${processes++}.log`),
      onLine: (line) => this.#resolve?.(JSON.parse(line) as HlsEvent),
    });
  }

  /** Opens players; resolves when all have begun or failed. */
  async open(count: number): Promise<HlsStarted> {
    return await this.#ask(`open ${count}`, 60 + count / 50) as HlsStarted;
  }

  /** Begins a measurement. */
  async begin(): Promise<void> {
    await this.#process.write("begin");
  }

  /** Begins to ask for `path` as often as it is answered, on 32 connections. */
  async flood(path: string): Promise<void> {
    await this.#process.write(`flood ${path}`);
  }

  /** Ends a measurement. */
  async end(): Promise<HlsWindow> {
    return await this.#ask("end", 30) as HlsWindow;
  }

  /** The last of its complaints. */
  lastLines(count: number): Promise<string[]> {
    return this.#process.lastLines(count);
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }

  async #ask(command: string, seconds: number): Promise<HlsEvent> {
    const { promise, resolve } = Promise.withResolvers<HlsEvent | undefined>();
    this.#resolve = resolve;
    const timer = setTimeout(() => resolve(undefined), seconds * 1000);
    this.#process.closed.then(() => resolve(undefined));
    await this.#process.write(command);
    const event = await promise;
    clearTimeout(timer);
    this.#resolve = undefined;
    if (event !== undefined) return event;
    const lines = (await this.lastLines(5)).join("; ");
    const what = this.#process.ended ? "have ended" : `did not answer within ${seconds} s`;
    throw new Error(`Cannot go on: the players ${what} at "${command}": ${lines}`);
  }
}
