/** The program itself, as users start it. */

import { deadline } from "@std/async/deadline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** Longest that a started program may take to say what is waited for, in ms. */
const PATIENCE_MS = 20_000;
/** Longest that it may take to stop, in ms. */
const STOP_MS = 2000;

/** The program with a config. `{root}` in that is the folder of the project. */
export class Program implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #dir: string;
  readonly #reading: Promise<unknown>;
  readonly #changed = new Set<() => void>();
  #log = "";
  #over = false;

  private constructor(child: Deno.ChildProcess, dir: string) {
    this.#child = child;
    this.#dir = dir;
    this.#reading = Promise.all([this.#read(child.stdout), this.#read(child.stderr)]).then(() => {
      this.#over = true;
      this.#tell();
    });
  }

  /** Starts it with the permissions that it is to have. */
  static async start(config: string, ...args: readonly string[]): Promise<Program> {
    const dir = await Deno.makeTempDir();
    const file = `${dir}/server.toml`;
    await Deno.writeTextFile(
      file,
      config.replaceAll("{root}", new URL("../..", import.meta.url).href),
    );
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-P=server", "--no-prompt", "main.ts", "--config", file, ...args],
      cwd: ROOT,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      env: { NO_COLOR: "1" },
    }).spawn();
    return new Program(child, dir);
  }

  /** All that it has said, without the folder of the config. */
  get log(): string {
    return this.#log.replaceAll(this.#dir + "/", "");
  }

  /** Waits until it has said `text`, `times` times. */
  async says(text: string, times = 1): Promise<void> {
    const waiting = (async () => {
      while (this.log.split(text).length <= times) {
        if (this.#over) throw new Error(`It ended without "${text}"`);
        await new Promise<void>((resolve) => this.#changed.add(resolve));
      }
    })();
    await deadline(waiting, PATIENCE_MS).catch((cause) => {
      throw new Error(`It did not say "${text}" in time:\n${this.log}`, { cause });
    });
  }

  /** How it ends by itself. */
  async ended(): Promise<number> {
    const { code } = await deadline(this.#child.status, PATIENCE_MS);
    await this.#reading;
    return code;
  }

  /** Interrupts it; fails if it does not end well and in time. */
  async stop(): Promise<void> {
    const began = performance.now();
    this.#child.kill("SIGINT");
    const code = await this.ended();
    const ms = performance.now() - began;
    if (code !== 0) throw new Error(`It ended with ${code}:\n${this.log}`);
    if (ms > STOP_MS) throw new Error(`It took ${Math.round(ms)} ms to stop:\n${this.log}`);
  }

  /** Ends it in any case. */
  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.ended();
    await Deno.remove(this.#dir, { recursive: true });
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      this.#log += text;
      this.#tell();
    }
  }

  #tell(): void {
    const waiting = [...this.#changed];
    this.#changed.clear();
    for (const resolve of waiting) resolve();
  }
}
