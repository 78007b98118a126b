/** Streams: tracks under a path, who writes them, who reads them, and how long they live. */

import type { BufferPool } from "./buffer_pool.ts";
import type { FlushTimers } from "./flush_timer.ts";
import { type End, type EndCode, EndedError } from "./errors.ts";
import type { AudioAccessUnit, DataUnit, Frame, MediaFrame, VideoAccessUnit } from "./frame.ts";
import type { Logger } from "./log.ts";
import { Tally } from "./log.ts";
import { type FormatFactory, Mux } from "./mux.ts";
import type { EngineOptions } from "./options.ts";
import type { Publisher } from "./publisher.ts";
import type { RingOptions } from "./ring.ts";
import type { Subscriber } from "./subscriber.ts";
import { Timeline } from "./time.ts";
import {
  type AudioTrack,
  type DataTrack,
  type Track,
  TrackWriter,
  type VideoTrack,
} from "./track.ts";
import type { Turns } from "./turns.ts";

/** What a stream needs of the engine that it belongs to. */
export interface StreamHost {
  /** The engine's options of now. */
  readonly options: EngineOptions;
  /** The engine's logger. */
  readonly log: Logger;
  /** Milliseconds of a clock that never goes back. */
  readonly nowMs: () => number;
  /** What muxes make batches in. */
  readonly buffers: BufferPool;
  /** By which batches of muxes go out. */
  readonly timers: FlushTimers;
  /** In which viewers of muxes are woken. */
  readonly turns: Turns;
  /** Told when a track has its first configuration. */
  onTrack(stream: Stream, track: Track): void;
  /** Told when a track has another configuration than before. */
  onTrackChange(stream: Stream, track: Track): void;
  /** Asks for a track in other codecs than the publisher's; whether somebody will make one. */
  onTranscodeRequest(stream: Stream, kind: MediaKind, codecs: readonly string[]): boolean;
  /** Told once when the stream has ended. */
  onStreamEnd(stream: Stream, end: End): void;
}

/** Kinds of tracks that viewers select. */
export type MediaKind = "video" | "audio";

/** Which tracks a reader takes. */
export interface TrackSelection {
  /** Whether it takes video. @default {true} */
  readonly video?: boolean;
  /** Whether it takes audio. @default {true} */
  readonly audio?: boolean;
}

/** Something that takes the tracks of a stream as they come: at most one of each kind. */
export interface TrackTaker {
  /** Takes a track that is live. */
  add(kind: MediaKind, writer: TrackWriter<MediaFrame>): void;
  /** Told when the stream has ended: no further track will come. */
  end(): void;
}

/** The state of a stream: a publisher writes, it waits for one to come back, or it is over. */
export type StreamState = "live" | "waiting" | "ended";

/** How long viewers wait for a second track once the first one is there. */
const SETTLE_MS = 500;
/** Lines a second about discarded frames of one stream; further ones are counted. */
const DISCARDS_LOGGED_A_SECOND = 1;

/**
 * A named set of tracks.
 *
 * It is made by its first publisher and outlives the publishers that replace one another. It ends
 * exactly once, and with it all that reads or writes it.
 */
export class Stream {
  /** Its name, such as `live/camera`. */
  readonly path: string;
  /** When it began. */
  readonly since: Date = new Date();
  /** The one clock of its tracks. */
  readonly timeline: Timeline;
  /** Settles when the stream has ended. */
  readonly closed: Promise<End>;
  readonly #host: StreamHost;
  readonly #writers = new Map<string, TrackWriter<Frame>>();
  readonly #videoWriters: TrackWriter<Frame>[] = [];
  /** The tracks that are live, and the configurations that they were last told of with. */
  readonly #live = new Map<TrackWriter<Frame>, Track["config"]>();
  readonly #subscribers = new Set<Subscriber>();
  readonly #muxes = new Map<FormatFactory, Map<string, Mux>>();
  readonly #takers = new Map<TrackTaker, () => void>();
  readonly #waits = new Set<() => void>();
  readonly #discards: Tally;
  #resolveClosed: (end: End) => void = () => {};
  #publisher: Publisher | undefined;
  #replica = false;
  #flushMs: number | undefined;
  #end: End | undefined;
  #droppedBefore = 0;
  /** The newest publisher's, which also counts while the stream waits for it to come back. */
  #autoCloseDelay: number | undefined;
  #lastFrameMs = 0;
  #settled = false;
  #publishTimer: ReturnType<typeof setTimeout> | undefined;
  #reconnectTimer: ReturnType<typeof setTimeout> | undefined;
  #idleTimer: ReturnType<typeof setTimeout> | undefined;
  #settleTimer: ReturnType<typeof setTimeout> | undefined;

  /** Made by `Engine.publish`. */
  constructor(path: string, host: StreamHost) {
    this.path = path;
    this.#host = host;
    this.timeline = new Timeline(host.nowMs);
    this.closed = new Promise((resolve) => this.#resolveClosed = resolve);
    this.#discards = new Tally(
      DISCARDS_LOGGED_A_SECOND,
      (count) => host.log.warn("{path}: {count} more frames discarded", { path, count }),
    );
  }

  /** Whether a publisher writes, the stream waits for one, or it is over. */
  get state(): StreamState {
    if (this.#end !== undefined) return "ended";
    return this.#publisher === undefined ? "waiting" : "live";
  }

  /** The one that writes; undefined while the stream waits and after its end. */
  get publisher(): Publisher | undefined {
    return this.#publisher;
  }

  /** How long its frames are gathered for viewers who don't say otherwise, if its publisher says. */
  get flushMs(): number | undefined {
    return this.#flushMs;
  }

  /** Whether it repeats what another isolate of the server publishes. */
  get replica(): boolean {
    return this.#replica;
  }

  /** Those that read. */
  get subscribers(): ReadonlySet<Subscriber> {
    return this.#subscribers;
  }

  /** All tracks, in the order in which they were opened. */
  get tracks(): readonly Track[] {
    return [...this.#writers.values()].map((writer) => writer.track);
  }

  /** The video tracks, in the order in which they were opened. */
  get videoTracks(): readonly VideoTrack[] {
    return this.#tracksOf("video") as unknown as VideoTrack[];
  }

  /** The audio tracks, in the order in which they were opened. */
  get audioTracks(): readonly AudioTrack[] {
    return this.#tracksOf("audio") as unknown as AudioTrack[];
  }

  /** The data tracks, in the order in which they were opened. */
  get dataTracks(): readonly DataTrack[] {
    return this.#tracksOf("data") as unknown as DataTrack[];
  }

  /** Frames that its subscribers, also those that have left, did not get because of their lag. */
  get dropped(): number {
    let dropped = this.#droppedBefore;
    for (const subscriber of this.#subscribers) dropped += subscriber.stats().dropped;
    return dropped;
  }

  /** Ends the stream. Idempotent. */
  close(detail = "closed", code: EndCode = "ended"): void {
    this.#finish({ code, detail });
  }

  /** Whether frames of `kind` are kept. */
  accepts(kind: Frame["kind"]): boolean {
    const { EnableVideo, EnableAudio } = this.#host.options;
    return kind === "video" ? EnableVideo : kind === "audio" ? EnableAudio : true;
  }

  /** Makes `publisher` the one that writes, in place of the one before. */
  attach(publisher: Publisher): void {
    const previous = this.#publisher;
    this.#publisher = publisher;
    this.#replica = publisher.options.replica ?? false;
    this.#flushMs = publisher.options.flushMs;
    previous?.finish({ code: "replaced", detail: `replaced by ${publisher.type} ${publisher.id}` });
    clearTimeout(this.#reconnectTimer);
    this.#autoCloseDelay = publisher.options.autoCloseDelay;
    this.timeline.restart();
    this.#lastFrameMs = this.#host.nowMs();
    this.#watchPublisher();
    // A delay of 0 is for the subscribers of this publisher, who have not come yet.
    const rearms = this.#idleTimer !== undefined && this.#autoCloseDelay !== 0;
    if (this.#subscribers.size === 0 && rearms) this.#armIdle();
  }

  /** Told by a publisher that it has ended. */
  onPublisherEnd(publisher: Publisher, end: End): void {
    if (this.#publisher !== publisher || this.#end !== undefined) return;
    this.#publisher = undefined;
    clearTimeout(this.#publishTimer);
    const seconds = publisher.options.reconnectTimeout ?? this.#host.options.ReconnectTimeout;
    if ((end.code !== "lost" && end.code !== "error") || seconds === 0) return this.#finish(end);
    this.#host.log.warn("{path}: {type} publisher {id} lost, waiting {seconds} s: {detail}", {
      path: this.path,
      type: publisher.type,
      id: publisher.id,
      seconds,
      detail: end.detail,
    });
    this.#reconnectTimer = setTimeout(() => this.#finish(end), timerMs(seconds));
  }

  /** The writing half of the video track `name`, opened if it is new. */
  openTrack(kind: "video", name: string): TrackWriter<VideoAccessUnit>;
  /** The writing half of the audio track `name`, opened if it is new. */
  openTrack(kind: "audio", name: string): TrackWriter<AudioAccessUnit>;
  /** The writing half of the data track `name`, opened if it is new. */
  openTrack(kind: "data", name: string): TrackWriter<DataUnit>;
  openTrack(kind: Frame["kind"], name: string): unknown {
    const id = `${kind}:${name}`;
    let writer = this.#writers.get(id);
    if (writer === undefined) {
      writer = new TrackWriter<Frame>(kind, name, this.#ringOptions(kind));
      this.#writers.set(id, writer);
      if (kind === "video") this.#videoWriters.push(writer);
      if (kind === "data") this.onTracks();
    }
    return writer;
  }

  /** Told by the publisher of each frame kept. */
  onFrame(): void {
    this.#lastFrameMs = this.#host.nowMs();
  }

  /** Told by the publisher that a track may be live, or that all of them are known. */
  onTracks(): void {
    for (const writer of this.#writers.values()) {
      const { track, config } = writer;
      const known = this.#live.has(writer);
      if (!track.live || (known && this.#live.get(writer) === config)) continue;
      this.#live.set(writer, config);
      if (known) {
        this.#host.onTrackChange(this, track);
        continue;
      }
      this.#host.onTrack(this, track);
      if (this.#end !== undefined) return;
      if (writer.track.kind !== "data" && !this.#settled) {
        this.#settleTimer ??= setTimeout(() => this.#settle(), SETTLE_MS);
      }
    }
    const expects = (kind: MediaKind) => this.accepts(kind) && !this.#findLive(kind, []);
    if (this.#publisher?.complete || (!expects("video") && !expects("audio"))) this.#settle();
    for (const take of [...this.#takers.values()]) take();
    this.#checkWaits();
  }

  /** Told by the publisher of each frame that could not be kept. */
  onDiscard(reason: string): void {
    this.#discards.add(() =>
      this.#host.log.warn("{path}: discarded a frame of {reason}", { path: this.path, reason })
    );
  }

  /**
   * The first live track of `kind` in one of `codecs` (FourCCs or RFC 6381 strings; any if none).
   *
   * Undefined once it is clear that there will be none: the publisher has announced its tracks, or
   * half a second has passed since its first one. Where there is one in another codec, somebody may
   * answer the transcode request and provide it.
   *
   * @throws {EndedError} If the stream ends first.
   */
  async waitTrack(
    kind: MediaKind,
    codecs: readonly string[] = [],
    signal?: AbortSignal,
  ): Promise<TrackWriter<MediaFrame> | undefined> {
    const find = () => this.#findLive(kind, codecs);
    await this.#until(() => find() !== undefined || !this.accepts(kind) || this.#settled, signal);
    const found = find();
    if (found !== undefined || this.#findLive(kind, []) === undefined) return found;
    if (!this.#host.onTranscodeRequest(this, kind, codecs)) return undefined;
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#checkWaits();
    }, this.#host.options.OnDemandPublishTimeout * 1000);
    try {
      await this.#until(() => find() !== undefined || late, signal);
    } finally {
      clearTimeout(timer);
    }
    return find();
  }

  /** Whether all tracks are live that viewers should wait for. */
  get settled(): boolean {
    return this.#settled;
  }

  /**
   * Waits until the stream is {@linkcode Stream.settled}.
   *
   * @throws {EndedError} If the stream ends first.
   */
  waitSettled(signal?: AbortSignal): Promise<void> {
    return this.#until(() => this.#settled, signal);
  }

  /** Gives `taker` the first live track of each selected kind, now or when it comes. */
  giveTracks(taker: TrackTaker, selection: TrackSelection = {}): () => void {
    const missing = new Set<MediaKind>();
    if (selection.video ?? true) missing.add("video");
    if (selection.audio ?? true) missing.add("audio");
    const take = () => {
      for (const kind of missing) {
        const writer = this.#findLive(kind, []);
        if (writer === undefined) continue;
        missing.delete(kind);
        taker.add(kind, writer);
      }
    };
    take();
    if (this.#end === undefined) this.#takers.set(taker, take);
    else taker.end();
    return () => this.#takers.delete(taker);
  }

  /** The mux of a format and selection, which lives as long as it has viewers. */
  mux(create: FormatFactory, selection: TrackSelection = {}): Mux {
    const key = `${selection.video ?? true} ${selection.audio ?? true}`;
    const muxes = this.#muxes.get(create) ?? new Map<string, Mux>();
    const existing = muxes.get(key);
    if (existing !== undefined) return existing;
    const onClose = () => {
      stop();
      muxes.delete(key);
      if (muxes.size === 0) this.#muxes.delete(create);
    };
    const { nowMs, buffers, timers, turns } = this.#host;
    const mux = new Mux(create, { nowMs, buffers, timers, turns, onClose });
    this.#muxes.set(create, muxes.set(key, mux));
    const stop = this.giveTracks({
      add: (_kind, writer) => {
        if (writer.config) mux.add(writer.config, writer.ring);
      },
      end: () => mux.end(),
    }, selection);
    mux.start();
    return mux;
  }

  /** Adds a reader. */
  addSubscriber(subscriber: Subscriber): void {
    this.#subscribers.add(subscriber);
    clearTimeout(this.#idleTimer);
    this.#idleTimer = undefined;
  }

  /** Told by a subscriber that it has ended. */
  removeSubscriber(subscriber: Subscriber): void {
    if (!this.#subscribers.delete(subscriber)) return;
    this.#droppedBefore += subscriber.stats().dropped;
    if (this.#subscribers.size === 0 && this.#end === undefined) this.#armIdle();
  }

  #checkWaits(): void {
    for (const check of [...this.#waits]) check();
  }

  /** Waits for what the tracks' changes can make true. */
  #until(holds: () => boolean, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = () => {
        if (signal?.aborted) leave(() => reject(signal.reason));
        else if (holds()) leave(resolve);
        else if (this.#end !== undefined) {
          const error = new EndedError(`stream ${this.path}`, this.#end);
          leave(() => reject(error));
        }
      };
      const leave = (settle: () => void) => {
        this.#waits.delete(check);
        signal?.removeEventListener("abort", check);
        settle();
      };
      this.#waits.add(check);
      signal?.addEventListener("abort", check);
      check();
    });
  }

  #armIdle(): void {
    clearTimeout(this.#idleTimer);
    const seconds = this.#autoCloseDelay ?? this.#host.options.AutoCloseDelay;
    const idle = () => this.#finish({ code: "idle", detail: "its last subscriber left" });
    if (seconds === 0) idle();
    else if (seconds > 0) this.#idleTimer = setTimeout(idle, timerMs(seconds));
  }

  /** Ends the stream when no frame has come for the publish timeout: one timer, not one a frame. */
  #watchPublisher(): void {
    clearTimeout(this.#publishTimer);
    const publisher = this.#publisher;
    if (publisher === undefined) return;
    const seconds = publisher.options.publishTimeout ?? this.#host.options.PublishTimeout;
    const left = seconds - (this.#host.nowMs() - this.#lastFrameMs) / 1000;
    if (left > 0) {
      this.#publishTimer = setTimeout(() => this.#watchPublisher(), timerMs(left));
    } else {
      this.#finish({ code: "publish-timeout", detail: `no frame for ${seconds} s` });
    }
  }

  #settle(): void {
    clearTimeout(this.#settleTimer);
    if (this.#settled) return;
    this.#settled = true;
    this.#checkWaits();
  }

  #finish(end: End): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    for (
      const timer of [
        this.#publishTimer,
        this.#reconnectTimer,
        this.#idleTimer,
        this.#settleTimer,
      ]
    ) clearTimeout(timer);
    this.#discards.flush();
    const publisher = this.#publisher;
    this.#publisher = undefined;
    publisher?.finish(end);
    for (const writer of this.#writers.values()) writer.ring.close();
    this.#checkWaits();
    const takers = [...this.#takers.keys()];
    this.#takers.clear();
    for (const taker of takers) taker.end();
    for (const subscriber of [...this.#subscribers]) subscriber.onStreamEnd(end);
    this.#host.onStreamEnd(this, end);
    this.#resolveClosed(end);
  }

  #findLive(kind: MediaKind, codecs: readonly string[]): TrackWriter<MediaFrame> | undefined {
    for (const writer of this.#live.keys()) {
      if (writer.track.kind !== kind) continue;
      const config = writer.config;
      if (config === undefined) continue;
      const matches = codecs.some((codec) => codec === config.fourcc || codec === config.codec);
      if (codecs.length === 0 || matches) return writer as unknown as TrackWriter<MediaFrame>;
    }
    return undefined;
  }

  #tracksOf(kind: Frame["kind"]): Track[] {
    return this.tracks.filter((track) => track.kind === kind);
  }

  /** Audio is kept as far back as the keyframe from which a new viewer starts. */
  #ringOptions(kind: Frame["kind"]): RingOptions {
    if (kind !== "audio") return {};
    return {
      retainFromUs: () => {
        let fromUs = Infinity;
        for (const writer of this.#videoWriters) {
          const key = writer.ring.at(writer.ring.newestKey);
          if (key !== undefined && key.dts < fromUs) fromUs = key.dts;
        }
        return fromUs;
      },
    };
  }
}

/** A timer's time of `seconds`, at most the longest that one can have: longer ones fire at once. */
function timerMs(seconds: number): number {
  return Math.min(Math.ceil(seconds * 1000), 2 ** 31 - 1);
}
