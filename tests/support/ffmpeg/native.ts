/** What the harness shares of FFmpeg's own API. */
import { AV_LOG_QUIET, AV_LOG_VERBOSE } from "node-av/constants";
import { FFmpegError, Log } from "node-av/lib";

/** `FFMPEG_LOG=1 deno task test` shows what FFmpeg says. */
Log.setLevel(Deno.env.has("FFMPEG_LOG") ? AV_LOG_VERBOSE : AV_LOG_QUIET);

/** Returns FFmpeg's result `code`, or throws what it says about the failure. */
export function check(code: number, doing: string): number {
  if (code < 0) throw new Error(`Cannot ${doing}: ${FFmpegError.strerror(code)}`);
  return code;
}

/**
 * How many blocking calls may be under way in the process.
 *
 * Deno has 32 threads for them and for its own file system calls; one more call would wait until another ends.
 */
const MAX_CALLS = 28;
let calls = 0;

/**
 * Runs blocking native calls one at a time, and ends the one under way by `interrupt`.
 *
 * Native contexts are not reference-counted: freeing one with a call under way would crash the process, so
 * everything that touches a context goes through here.
 */
export class NativeCalls {
  readonly #interrupt: () => void;
  #last: Promise<unknown> = Promise.resolve();
  #reason: unknown;
  #interrupted = false;

  constructor(interrupt: () => void) {
    this.#interrupt = interrupt;
  }

  /** Whether {@linkcode interrupt} was called: from then on every call of the context fails. */
  get interrupted(): boolean {
    return this.#interrupted;
  }

  /** Makes the call under way and every later one fail with `reason`. */
  interrupt(reason: unknown): void {
    if (this.#interrupted) return;
    this.#interrupted = true;
    this.#reason = reason;
    this.#interrupt();
  }

  /** Calls after the calls before it; a failure of an interrupted context is the interruption's reason. */
  run(call: () => Promise<number>, timeoutMs: number, doing: string): Promise<number> {
    return this.#queue(async () => {
      if (this.#interrupted) throw this.#reason;
      if (calls >= MAX_CALLS) {
        throw new Error(`Cannot ${doing}: ${calls} publishers and players wait already`);
      }
      calls++;
      const timer = setTimeout(
        () =>
          this.interrupt(
            new DOMException(`Cannot ${doing}: ${timeoutMs} ms are over`, "TimeoutError"),
          ),
        timeoutMs,
      );
      try {
        const code = await call();
        if (code < 0 && this.#interrupted) throw this.#reason;
        return code;
      } finally {
        calls--;
        clearTimeout(timer);
      }
    });
  }

  /** Calls after the calls before it, interrupted or not: for freeing. */
  finish(call: () => Promise<void>): Promise<void> {
    return this.#queue(call);
  }

  #queue<T>(call: () => Promise<T>): Promise<T> {
    const result = this.#last.then(call, call);
    this.#last = result.catch(() => {});
    return result;
  }
}
