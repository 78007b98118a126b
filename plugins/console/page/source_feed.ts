/// <reference lib="dom" />
/** Feeds a source buffer, which takes one thing after the other. */

import { mediaSourceType } from "./player.ts";
import { stretches } from "./edge_keeper.ts";
import { trimTo } from "./live_edge.ts";

/** Who hears of a feed. */
export interface FeedListener {
  /** Called when something was taken. */
  fed(): void;
  /** Called once when it can go on no more. */
  failed(reason: string): void;
}

type Step =
  | { readonly kind: "type"; readonly type: string }
  | { readonly kind: "clear" }
  | { readonly kind: "bytes"; readonly bytes: ArrayBuffer };

/** What may wait to be taken: some seconds of a good stream, as after a frozen page wakes. */
const MAX_WAITING_BYTES = 32 * 1024 * 1024;

/** Puts fragmented MP4 into a media source of its own. */
export class SourceFeed {
  readonly #video: HTMLVideoElement;
  readonly #listener: FeedListener;
  readonly #source: MediaSource;
  readonly #url: string;
  #buffer: SourceBuffer | undefined;
  #steps: Step[] = [];
  #waitingBytes = 0;
  #over = false;

  /**
   * Becomes the source of `video`.
   *
   * @throws {TypeError} If the browser has no Media Source Extensions.
   */
  constructor(video: HTMLVideoElement, listener: FeedListener) {
    const Source = mediaSourceType();
    if (Source === undefined) {
      throw new TypeError("Cannot play: this browser has no Media Source Extensions");
    }
    this.#video = video;
    this.#listener = listener;
    this.#source = new Source();
    this.#source.addEventListener("sourceopen", () => this.#run());
    this.#url = URL.createObjectURL(this.#source);
    // The managed kind wants that.
    video.disableRemotePlayback = true;
    video.src = this.#url;
  }

  /** Announces that what follows is of the MIME type `type`. */
  setType(type: string): void {
    this.#add({ kind: "type", type });
  }

  /** Removes all: what follows is of another time. */
  clear(): void {
    this.#steps = [];
    this.#waitingBytes = 0;
    this.#add({ kind: "clear" });
  }

  /** Appends `bytes`. */
  append(bytes: ArrayBuffer): void {
    this.#waitingBytes += bytes.byteLength;
    if (this.#waitingBytes > MAX_WAITING_BYTES) return this.#fail("The browser does not keep up");
    this.#add({ kind: "bytes", bytes });
  }

  /** Takes no more. */
  stop(): void {
    this.#over = true;
    this.#steps = [];
    URL.revokeObjectURL(this.#url);
  }

  #add(step: Step): void {
    if (this.#over) return;
    this.#steps.push(step);
    this.#run();
  }

  #run(): void {
    while (!this.#over && this.#source.readyState === "open" && !this.#buffer?.updating) {
      const [step] = this.#steps;
      if (step === undefined) return this.#trim();
      try {
        this.#take(step);
      } catch (error) {
        if (isQuota(error) && this.#makeRoom()) return;
        return this.#fail(error instanceof Error ? error.message : String(error));
      }
    }
  }

  #take(step: Step): void {
    const buffer = this.#buffer;
    if (step.kind === "bytes") {
      if (buffer === undefined) throw new TypeError("Cannot play: the stream has no type");
      const [bytes, count] = this.#nextBytes();
      buffer.appendBuffer(bytes);
      this.#steps.splice(0, count);
      this.#waitingBytes -= bytes.byteLength;
      return;
    }
    this.#steps.shift();
    if (step.kind === "clear") {
      buffer?.abort();
      if (buffer !== undefined && buffer.buffered.length > 0) buffer.remove(0, Infinity);
    } else if (buffer === undefined) {
      this.#source.duration = Infinity;
      this.#buffer = this.#source.addSourceBuffer(step.type);
      this.#buffer.addEventListener("updateend", () => {
        if (!this.#over) this.#listener.fed();
        this.#run();
      });
    } else {
      buffer.changeType(step.type);
    }
  }

  /** All that waits up to what is not bytes, as one piece: a source buffer is slow to take many. */
  #nextBytes(): [bytes: ArrayBuffer, count: number] {
    const other = this.#steps.findIndex(({ kind }) => kind !== "bytes");
    const run = this.#steps.slice(0, other < 0 ? undefined : other)
      .flatMap((step) => step.kind === "bytes" ? [step.bytes] : []);
    const [first] = run;
    if (run.length === 1 && first !== undefined) return [first, 1];
    const whole = new Uint8Array(run.reduce((sum, { byteLength }) => sum + byteLength, 0));
    let at = 0;
    for (const bytes of run) {
      whole.set(new Uint8Array(bytes), at);
      at += bytes.byteLength;
    }
    return [whole.buffer, run.length];
  }

  #trim(): void {
    const buffer = this.#buffer;
    if (buffer === undefined) return;
    const end = trimTo(this.#video.currentTime, stretches(buffer.buffered));
    if (end !== undefined) buffer.remove(0, end);
  }

  /** Removes what was played; whether there was any. */
  #makeRoom(): boolean {
    const buffer = this.#buffer;
    const start = buffer && stretches(buffer.buffered)[0]?.[0];
    const end = this.#video.currentTime - 1;
    if (buffer === undefined || start === undefined || end <= start) return false;
    buffer.remove(0, end);
    return true;
  }

  #fail(reason: string): void {
    if (this.#over) return;
    this.stop();
    this.#listener.failed(reason);
  }
}

function isQuota(error: unknown): boolean {
  return error instanceof DOMException && error.name === "QuotaExceededError";
}
