/** A broadcast: one stream in segments of one format, while somebody asks for them. */

import type { Engine } from "../../src/engine.ts";
import type { MediaFrame } from "../../src/frame.ts";
import type { Stream } from "../../src/stream.ts";
import type { Subscriber } from "../../src/subscriber.ts";
import { type Container, createContainer } from "./container.ts";
import type { HlsOptions, SegmentFormat } from "./options.ts";
import { mediaPlaylist, multivariantPlaylist } from "./playlist.ts";
import { type Directives, reloadOutcome } from "./reload.ts";
import { Segmenter } from "./segmenter.ts";
import { type BitRates, type PlaylistState, SegmentWindow } from "./window.ts";

/** What a {@linkcode Broadcast} works with. */
export interface BroadcastInit {
  readonly engine: Engine;
  readonly subscriber: Subscriber;
  readonly format: SegmentFormat;
  readonly options: HlsOptions;
  /** Whether it goes on when nobody asks. */
  readonly always: boolean;
  /** How many discontinuities broadcasts of the same path had before. */
  readonly discontinuities: number;
  /** Told once when nothing of it can be asked for any more. */
  readonly onGone: (broadcast: Broadcast) => void;
}

/** There is nothing in the stream that the format can carry. */
export class UnplayableError extends Error {
  override readonly name = "UnplayableError";
}

/** How long a request waits for the first segment, in ms: as long as one without keyframes takes. */
const FIRST_WAIT_MS = 15_000;
/** How long other requests wait, in target durations (6.2.5.2). */
const WAIT_TARGETS = 3;

/** Who may leave while an answer waits. */
export interface Asker {
  /** Aborted when there is nobody to answer any more; it costs something, so waits alone ask for it. */
  readonly signal: AbortSignal;
}

/** A request that waits, without a timer of its own. */
interface Waiter {
  readonly holds: () => boolean;
  readonly untilMs: number;
  readonly resolve: (held: boolean) => void;
}

type Bytes = Uint8Array<ArrayBuffer>;

/** The newest playlist, as far as it has been asked for. */
interface PlaylistTexts {
  readonly state: PlaylistState | undefined;
  whole?: Bytes;
  delta?: Bytes;
}

/**
 * Makes segments of a stream as one of its subscribers, and answers for them.
 *
 * It ends with its stream, and then keeps what is there for as long as players may ask for it; or
 * when nobody has asked for the idle timeout, with nothing left.
 */
export class Broadcast {
  /** In the names of all its files. */
  readonly epoch: string = crypto.getRandomValues(new Uint8Array(12)).toHex();
  /** The format of its segments. */
  readonly format: SegmentFormat;
  readonly #init: BroadcastInit;
  readonly #container: Container;
  readonly #window: SegmentWindow;
  readonly #waiters = new Set<Waiter>();
  readonly #controller = new AbortController();
  #segmenter: Segmenter | undefined;
  #seenVersion = 0;
  #texts: PlaylistTexts = { state: undefined };
  #waitTimer: ReturnType<typeof setTimeout> | undefined;
  #waitTimerMs = Infinity;
  #idleTimer: ReturnType<typeof setTimeout> | undefined;
  #askedMs = performance.now();
  #live = false;
  #gone = false;

  /** A broadcast of the stream of `init.subscriber`, which it owns. */
  constructor(init: BroadcastInit) {
    const { options } = init;
    this.#init = init;
    this.format = init.format;
    this.#container = createContainer(init.format);
    this.#window = new SegmentWindow({
      epoch: this.epoch,
      // Numbers of a later broadcast of the same path are greater, as long as segments last a second.
      first: Math.floor(Date.now() / 1000),
      discontinuities: init.discontinuities,
      segments: options.Segments,
      extension: this.#container.extension,
    });
  }

  /** Path of the stream. */
  get path(): string {
    return this.stream.path;
  }

  /** The stream. */
  get stream(): Stream {
    return this.#init.subscriber.stream;
  }

  /** How many discontinuities there have been, those of broadcasts before it among them. */
  get discontinuities(): number {
    return this.#window.discontinuities;
  }

  /** Whether its stream has ended: there are no more segments. */
  get ended(): boolean {
    return this.#window.ended;
  }

  /**
   * Begins to make segments.
   *
   * @throws {EndedError} If the stream ends before its tracks are known.
   * @throws {UnplayableError} If the format can't carry its video, or has nothing to carry.
   */
  async start(): Promise<void> {
    const { engine, subscriber, always } = this.#init;
    try {
      await this.stream.waitSettled(subscriber.signal);
      this.#refuseUnplayable();
    } catch (error) {
      this.close();
      throw error;
    }
    engine.addEventListener("publish", ({ detail: { stream } }) => {
      const { endUs } = stream.timeline;
      if (stream !== this.stream || endUs === undefined) return;
      this.#segmenter?.breakAfter(endUs, unixMsAt(endUs));
    }, { signal: this.#controller.signal });
    const push = (frame: MediaFrame) => this.#push(frame);
    const playing = subscriber.play({ mode: "oldest", onVideo: push, onAudio: push });
    // What the stream has kept is in.
    this.#live = true;
    playing.then(() => this.#end(), () => this.#end());
    if (!always) this.#watchIdle();
  }

  /** The media playlist that `directives` ask for, once it is there, or why there is none. */
  async playlist(
    directives: Directives,
    asker?: Asker,
  ): Promise<Bytes | "late" | "too-far" | "none"> {
    await this.#wait(() => this.#window.ready, FIRST_WAIT_MS, asker);
    const now = this.#window.state();
    if (now === undefined) return this.ended ? "none" : "late";
    const first = reloadOutcome(now, directives);
    if (first === "too-far") return first;
    if (first === "wait") {
      const holds = () => {
        const state = this.#window.state();
        return state !== undefined && reloadOutcome(state, directives) === "ready";
      };
      if (!await this.#wait(holds, WAIT_TARGETS * now.timing.targetSeconds * 1000, asker)) {
        return "late";
      }
    }
    const state = this.#window.state();
    return state === undefined ? "none" : this.#textOf(state, directives.delta);
  }

  /** The playlist of `state`, written once for all who ask for it. */
  #textOf(state: PlaylistState, delta: boolean): Bytes {
    if (this.#texts.state !== state) this.#texts = { state };
    const name = delta ? "delta" : "whole";
    return this.#texts[name] ??= new TextEncoder().encode(mediaPlaylist(state, { delta }));
  }

  /** The multivariant playlist with `uri` as the address of the media playlist. */
  async multivariant(uri: string, asker?: Asker): Promise<string | "late" | "none"> {
    await this.#wait(() => this.#window.ready, FIRST_WAIT_MS, asker);
    const state = this.#window.state();
    const tracks = this.#window.tracks;
    if (state === undefined || tracks === undefined) return this.ended ? "none" : "late";
    return multivariantPlaylist({
      tracks,
      container: this.#container,
      bitRates: this.#window.bitRates() ?? this.#bitRatesNow(),
      frameUs: state.timing.frameUs,
      uri,
    });
  }

  /** The bytes of a segment, a part or an initialization section; it waits for the next part. */
  async file(name: string, asker?: Asker): Promise<Bytes | undefined> {
    const targetMs = (this.#window.state()?.timing.targetSeconds ?? 0) * 1000;
    await this.#wait(() => this.#window.file(name) !== "next", WAIT_TARGETS * targetMs, asker);
    const file = this.#window.file(name);
    return file === "next" ? undefined : file;
  }

  /** Ends it with nothing left. Idempotent. */
  close(): void {
    if (this.#gone) return;
    this.#gone = true;
    clearTimeout(this.#idleTimer);
    this.#end();
    clearTimeout(this.#idleTimer);
    this.#init.onGone(this);
  }

  #refuseUnplayable(): void {
    const { path, videoTracks, audioTracks } = this.stream;
    const [video] = videoTracks.filter(({ live }) => live);
    const [audio] = audioTracks.filter(({ live }) => live);
    const carries = (config: Parameters<Container["carries"]>[0] | undefined) =>
      config !== undefined && this.#container.carries(config);
    const name = this.format === "ts" ? "MPEG-TS" : "MP4";
    if (video?.config !== undefined && !carries(video.config)) {
      throw new UnplayableError(`Cannot play ${path}: ${name} has no ${video.config.codec}`);
    }
    if (video === undefined && !carries(audio?.config)) {
      throw new UnplayableError(`Cannot play ${path}: it has nothing that ${name} carries`);
    }
  }

  #push(frame: MediaFrame): void {
    this.#segmenter ??= new Segmenter({
      container: this.#container,
      sink: this.#window,
      unixMs: unixMsAt(this.stream.timeline.endUs ?? frame.dts),
      gopUs: this.#knownGopUs(),
      segmentUs: this.#init.options.SegmentDuration * 1e6,
      targetSeconds: this.#init.options.TargetDuration,
      partUs: this.#init.options.LowLatency && this.format === "fmp4"
        ? this.#init.options.PartDuration * 1000
        : undefined,
    });
    this.#segmenter.push(frame);
    this.#hurry();
    if (this.#window.version !== this.#seenVersion) this.#wake();
  }

  /** From one keyframe to the next by what came before the ring's frames, in µs; 0 if not known. */
  #knownGopUs(): number {
    const video = this.stream.videoTracks.find(({ live }) => live);
    return (video?.stats().gopMs ?? 0) * 1000;
  }

  /** The bit rates of the stream itself, for as long as segments say nothing. */
  #bitRatesNow(): BitRates {
    const tracks = [...this.stream.videoTracks, ...this.stream.audioTracks];
    const rate = tracks.reduce((sum, track) => sum + track.stats().bitrate, 0);
    return { peak: Math.max(1, rate), average: Math.max(1, rate) };
  }

  /** Lets the first segment end early if somebody waits for it. */
  #hurry(): void {
    const isWanted = this.#live && !this.#window.ready && this.#waiters.size > 0;
    if (isWanted) this.#segmenter?.endFirst();
  }

  /** Completes what is there, which stays for a while. */
  #end(): void {
    if (this.#window.ended) return;
    this.#controller.abort();
    try {
      this.#segmenter?.finish();
    } catch {
      // What could not be cut before can't be now; what is complete stays.
    }
    this.#window.end();
    this.#init.subscriber.close();
    this.#wake();
    if (this.#gone) return;
    clearTimeout(this.#idleTimer);
    // Segments can be had for as long as the playlist lasts (6.2.1), for players that are behind.
    const keptMs = Math.max(2 * this.#window.listedUs / 1000, FIRST_WAIT_MS);
    this.#idleTimer = setTimeout(() => this.close(), keptMs);
  }

  /** Ends when nobody has asked for the idle timeout: one timer, not one a request. */
  #watchIdle(): void {
    const idleMs = this.#init.options.IdleTimeout * 1000;
    if (this.#waiters.size > 0) this.#askedMs = performance.now();
    const leftMs = idleMs - (performance.now() - this.#askedMs);
    if (leftMs <= 0) return this.close();
    this.#idleTimer = setTimeout(() => this.#watchIdle(), Math.ceil(leftMs));
  }

  /** Waits until `holds`, for at most `ms`; whether it does. It ends with the broadcast. */
  #wait(holds: () => boolean, ms: number, asker?: Asker): Promise<boolean> {
    this.#askedMs = performance.now();
    if (holds() || this.ended) return Promise.resolve(true);
    const signal = asker?.signal;
    if (signal?.aborted) return Promise.resolve(false);
    return new Promise((resolve) => {
      const settle = (held: boolean) => {
        this.#waiters.delete(waiter);
        signal?.removeEventListener("abort", leave);
        resolve(held);
      };
      const leave = () => settle(false);
      const waiter = { holds, untilMs: performance.now() + ms, resolve: settle };
      this.#waiters.add(waiter);
      signal?.addEventListener("abort", leave, { once: true });
      this.#armWaits(waiter.untilMs);
      this.#hurry();
      if (this.#window.version !== this.#seenVersion) this.#wake();
    });
  }

  #wake(): void {
    this.#seenVersion = this.#window.version;
    for (const waiter of [...this.#waiters]) {
      if (this.ended || waiter.holds()) waiter.resolve(true);
    }
    if (this.#waiters.size === 0) this.#disarmWaits();
  }

  /** Sets the one timer of all that wait to ring at `untilMs`, if that is sooner. */
  #armWaits(untilMs: number): void {
    if (untilMs >= this.#waitTimerMs) return;
    this.#disarmWaits();
    this.#waitTimerMs = untilMs;
    this.#waitTimer = setTimeout(() => this.#expireWaits(), untilMs - performance.now());
  }

  #disarmWaits(): void {
    clearTimeout(this.#waitTimer);
    this.#waitTimerMs = Infinity;
  }

  #expireWaits(): void {
    this.#disarmWaits();
    const nowMs = performance.now();
    let nextMs = Infinity;
    for (const waiter of [...this.#waiters]) {
      if (waiter.untilMs <= nowMs) waiter.resolve(false);
      else nextMs = Math.min(nextMs, waiter.untilMs);
    }
    if (nextMs < Infinity) this.#armWaits(nextMs);
  }
}

/** When 0 of a timeline was that is at `us` now, in ms since 1970. */
function unixMsAt(us: number): number {
  return Date.now() - us / 1000;
}
