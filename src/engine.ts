/** The engine: all streams, and the ways in and out. */

import { BufferPool } from "./buffer_pool.ts";
import { FlushTimers } from "./flush_timer.ts";
import { type End, EndedError, StreamNotFoundError, StreamTakenError } from "./errors.ts";
import { Events } from "./events.ts";
import { type Guard, type GuardOptions, type GuardRequest, Guards } from "./guards.ts";
import { type Isolates, SoleIsolate } from "./isolates.ts";
import { defaultLogger, type Logger, Tally } from "./log.ts";
import { Waiting } from "./waiting.ts";
import { flushOf } from "./flush.ts";
import { BATCH_BUFFER_BYTES } from "./mux.ts";
import { type EngineConfig, type EngineOptions, engineOptions } from "./options.ts";
import { parseTarget } from "./path.ts";
import { Publisher, type PublishOptions } from "./publisher.ts";
import { type MediaKind, Stream, type StreamHost } from "./stream.ts";
import { type SubscribeOptions, Subscriber } from "./subscriber.ts";
import type { Track } from "./track.ts";
import { Turns } from "./turns.ts";

/** What an {@linkcode Engine} takes from outside. */
export interface EngineInit {
  /** Where it logs. @default {LogTape's category `m7s`} */
  readonly log?: Logger;
  /** Milliseconds of a clock that never goes back. @default {performance.now} */
  readonly nowMs?: () => number;
  /** The isolates that together are one server. @default {there is only this one} */
  readonly isolates?: Isolates;
}

/** The events of an {@linkcode Engine}, each a `CustomEvent` with this detail. */
export interface EngineEvents {
  /** A publisher begins to write a stream, new or not. */
  readonly publish: CustomEvent<{ readonly stream: Stream; readonly publisher: Publisher }>;
  /** A subscriber begins. */
  readonly subscribe: CustomEvent<{ readonly stream: Stream; readonly subscriber: Subscriber }>;
  /** A subscriber has ended. */
  readonly unsubscribe: CustomEvent<{
    readonly stream: Stream;
    readonly subscriber: Subscriber;
    readonly end: End;
  }>;
  /** A stream has ended. */
  readonly close: CustomEvent<{ readonly stream: Stream; readonly end: End }>;
  /** Somebody waits for a stream that is not there; once a path while there are waiters. */
  readonly ondemand: CustomEvent<{ readonly path: string; readonly args: URLSearchParams }>;
  /** A track has its first configuration, or a data track was opened. */
  readonly track: CustomEvent<{ readonly stream: Stream; readonly track: Track }>;
  /**
   * Somebody waits for a track in codecs that the stream does not have. A listener that will
   * provide it calls `preventDefault`.
   */
  readonly transcode: CustomEvent<{
    readonly stream: Stream;
    readonly kind: MediaKind;
    readonly codecs: readonly string[];
  }>;
}

/** How long one who does not wait for publishers waits for a stream that another isolate has. */
const REPLICA_MS = 5000;

/** Lines a second about subscribers and changes, or about refusals; others are counted. */
const LINES = 10;

/**
 * All streams of one server. Engines in one process know nothing of each other.
 *
 * @example Publish and subscribe
 * ```ts
 * import { Engine } from "@m7s/engine";
 *
 * const engine = new Engine();
 * const publisher = await engine.publish("live/a", { type: "Example" });
 * publisher.audio.setASC(Uint8Array.of(0x12, 0x10));
 * publisher.audio.pushRaw(0, Uint8Array.of(1, 2, 3));
 *
 * const subscriber = await engine.subscribe("live/a", { type: "Example" });
 * for await (const frame of subscriber.play()) {
 *   if (frame.dts === 0) break;
 * }
 * await engine.close();
 * ```
 */
export class Engine extends Events<EngineEvents> implements AsyncDisposable {
  /** The isolates that together are one server, as this one sees them. */
  readonly isolates: Isolates;
  readonly #log: Logger;
  readonly #streams = new Map<string, Stream>();
  readonly #waiting: Waiting<Stream>;
  readonly #guards: Guards;
  readonly #subscribers = new Map<number, Subscriber>();
  readonly #host: StreamHost;
  readonly #chatter: Tally;
  #options: EngineOptions;
  #nextSubscriber: number;
  #closed = false;

  /**
   * An engine without streams.
   *
   * @throws {Error} If a key of `config` is unknown or a value out of range.
   */
  constructor(config: EngineConfig = {}, init: EngineInit = {}) {
    const log = init.log ?? defaultLogger();
    super((type, error) => log.error("A listener of {type} failed: {error}", { type, error }));
    this.#log = log;
    this.#options = engineOptions(config);
    this.isolates = init.isolates ?? new SoleIsolate();
    this.#nextSubscriber = this.isolates.index + 1;
    this.#chatter = new Tally(
      LINES,
      (count) => log.info("{count} more subscribers came or left or tracks changed", { count }),
    );
    this.#guards = new Guards(log);
    this.#waiting = new Waiting((path) => this.isolates.forget(path));
    const options = () => this.#options;
    const nowMs = init.nowMs ?? (() => performance.now());
    this.#host = {
      log,
      nowMs,
      buffers: new BufferPool(BATCH_BUFFER_BYTES),
      timers: new FlushTimers(nowMs),
      turns: new Turns(nowMs),
      get options() {
        return options();
      },
      onTrack: (stream, track) => this.#onTrack(stream, track),
      onTrackChange: ({ path }, { kind, config }) => {
        if (config === undefined) return;
        const format = describe(config);
        this.#chatter.add(() => log.info("{path}: {kind} is now {format}", { path, kind, format }));
      },
      onTranscodeRequest: (stream, kind, codecs) =>
        !this.dispatchEvent(
          new CustomEvent("transcode", { detail: { stream, kind, codecs }, cancelable: true }),
        ),
      onStreamEnd: (stream, end) => this.#onStreamEnd(stream, end),
    };
  }

  /** The options in force. */
  get options(): EngineOptions {
    return this.#options;
  }

  /** The streams that have not ended, by path. */
  get streams(): ReadonlyMap<string, Stream> {
    return this.#streams;
  }

  /** The subscribers that have not ended, by number. */
  get subscribers(): ReadonlyMap<number, Subscriber> {
    return this.#subscribers;
  }

  /** The stream at `path`, if there is one. */
  getStream(path: string): Stream | undefined {
    return this.#streams.get(path);
  }

  /**
   * Replaces the options; what is left out goes back to its default. Streams follow from their next
   * timer on.
   *
   * @throws {Error} If a key is unknown or a value out of range; nothing changes then.
   */
  configure(config: EngineConfig): void {
    this.#options = engineOptions(config);
  }

  /** Asks `guard` before each publisher or subscriber is let in. */
  addGuard(action: GuardRequest["action"], guard: Guard, options: GuardOptions = {}): void {
    this.#guards.add(action, guard, options);
  }

  /**
   * Becomes the publisher of `target`, a path with arguments such as `live/a?key=1`.
   *
   * A stream that waits for its publisher goes on with this one; one with a live publisher only if
   * `takeOver` is set. No subscriber notices.
   *
   * @throws {StreamTakenError} If the path has a live publisher.
   * @throws {RefusedError} If a guard refuses.
   * @throws {TypeError} If the path is not a stream path, or its argument `flush` not from 0 to 1000.
   * @throws {EndedError} If the engine is closed.
   */
  async publish(target: string, options: PublishOptions): Promise<Publisher> {
    const { path, args } = parseTarget(target);
    const { type, id = "local", takeOver = false, flushMs = flushOf(args) } = options;
    this.#refuseTaken(path, takeOver);
    this.#refuseClosed();
    await this.#guards.ask("publish", { path, args }, options);
    this.#refuseStopped(options);
    this.#refuseTaken(path, takeOver);
    const holder = { type, id, since: new Date(), flushMs };
    return await this.isolates.claim(path, { holder, takeOver }, () => {
      try {
        this.#refuseStopped(options);
      } catch (error) {
        this.#unclaim(path);
        throw error;
      }
      const publisher = this.#attach(path, { ...options, flushMs });
      const { stream } = publisher;
      this.#log.info("{path}: published by {type} {id}", { path, type, id });
      this.dispatchEvent(new CustomEvent("publish", { detail: { stream, publisher } }));
      return publisher;
    });
  }

  /**
   * Publishes here what another isolate of the server does, for its viewers here. Nobody is asked,
   * and nobody told: that is done where the stream is published.
   *
   * @throws {EndedError} If the engine is closed.
   */
  repeat(path: string, options: PublishOptions): Publisher {
    this.#refuseClosed();
    const { type, id = "local" } = options;
    this.#log.debug("{path}: repeated, published by {type} {id}", { path, type, id });
    return this.#attach(path, { ...options, replica: true });
  }

  /** Makes a publisher the one that writes `path`. */
  #attach(path: string, options: PublishOptions): Publisher {
    let stream = this.#streams.get(path);
    if (stream === undefined) {
      stream = new Stream(path, this.#host);
      this.#streams.set(path, stream);
    }
    const publisher = new Publisher(stream, options);
    const end = () => publisher.finish({ code: "shutdown", detail: "its owner stops" });
    options.signal?.addEventListener("abort", end, { once: true });
    publisher.closed.then(() => {
      options.signal?.removeEventListener("abort", end);
      if (stream.state === "waiting" && !stream.replica) this.isolates.release(path, "waiting");
    });
    stream.attach(publisher);
    this.#waiting.resolve(path, stream);
    return publisher;
  }

  /** Gives back a claim of which no publisher came. */
  #unclaim(path: string): void {
    const stream = this.#streams.get(path);
    if (stream !== undefined && !stream.replica) {
      // It goes on as it was.
      if (stream.state === "waiting") this.isolates.release(path, "waiting");
      return;
    }
    this.isolates.release(path, "ended");
    // Who publishes is not told of others.
    if (this.#waiting.has(path)) this.isolates.demand(path).catch(() => {});
  }

  /**
   * Becomes a subscriber of `target`, a path with arguments such as `live/a?token=1`; waits for the
   * stream if it is not there.
   *
   * @throws {StreamNotFoundError} If nobody publishes it within `OnDemandPublishTimeout`.
   * @throws {RefusedError} If a guard refuses.
   * @throws {TypeError} If the path is not a stream path, or its argument `flush` not from 0 to 1000.
   * @throws {EndedError} If the engine is closed.
   */
  async subscribe(target: string, options: SubscribeOptions): Promise<Subscriber> {
    const { path, args } = parseTarget(target);
    const { flushMs = flushOf(args) } = options;
    this.#refuseClosed();
    await this.#guards.ask("subscribe", { path, args }, options);
    this.#refuseStopped(options);
    const stream = this.#streams.get(path) ?? await this.#demand(path, args, signalOf(options));
    this.#refuseStopped(options);
    if (stream.state === "ended") throw new StreamNotFoundError(path, 0);
    const subscriber = this.#enter(stream, { ...options, flushMs });
    const { type, id } = subscriber;
    this.#chatter.add(() =>
      this.#log.info("{path}: {type} subscriber {id} came", { path, type, id })
    );
    this.dispatchEvent(new CustomEvent("subscribe", { detail: { stream, subscriber } }));
    return subscriber;
  }

  /** Reads `stream` for another isolate of the server. Nobody is asked, and nobody told. */
  feed(stream: Stream, options: SubscribeOptions): Subscriber {
    return this.#enter(stream, { ...options, replica: true });
  }

  /** Makes a subscriber one that reads `stream`. */
  #enter(stream: Stream, options: SubscribeOptions): Subscriber {
    const { signal, owner } = options;
    const number = this.#nextSubscriber;
    // No two isolates give the same.
    this.#nextSubscriber += this.isolates.count;
    const subscriber = new Subscriber(stream, { ...options, number }, (ended, end) => {
      signal?.removeEventListener("abort", leave);
      owner?.delete(ended);
      this.#onSubscriberEnd(ended, end);
    });
    const leave = () => subscriber.close();
    signal?.addEventListener("abort", leave, { once: true });
    owner?.add(subscriber);
    stream.addSubscriber(subscriber);
    this.#subscribers.set(number, subscriber);
    return subscriber;
  }

  /**
   * Asks the guards whether `peer` may subscribe to `target`, and no more: for protocols whose viewers
   * come again and again, and share a subscriber.
   *
   * @throws {RefusedError} If a guard refuses.
   * @throws {TypeError} If the path is not a stream path.
   * @throws {EndedError} If the engine is closed.
   */
  async permit(
    target: string,
    peer: { readonly type: string; readonly id?: string },
  ): Promise<void> {
    this.#refuseClosed();
    await this.#guards.ask("subscribe", parseTarget(target), peer);
  }

  /** Ends all streams in good order and refuses new ones. Idempotent. */
  close(): Promise<void> {
    this.#closed = true;
    for (const stream of [...this.#streams.values()]) {
      stream.close("the server stops", "shutdown");
    }
    const error = new EndedError("engine", { code: "shutdown", detail: "it is closed" });
    for (const path of this.#waiting.paths) this.#waiting.reject(path, error);
    this.#chatter.flush();
    this.#guards.flush();
    return Promise.resolve();
  }

  /** Ends all streams in good order. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #refuseClosed(): void {
    if (this.#closed) throw new EndedError("engine", { code: "shutdown", detail: "it is closed" });
  }

  #refuseStopped({ signal, owner }: Pick<SubscribeOptions, "signal" | "owner">): void {
    this.#refuseClosed();
    signal?.throwIfAborted();
    owner?.signal.throwIfAborted();
  }

  #refuseTaken(path: string, takeOver: boolean): void {
    const holder = this.#streams.get(path)?.publisher;
    // Whether a stream of another isolate is taken is known there.
    if (holder === undefined || holder.options.replica || takeOver) return;
    throw new StreamTakenError(path, holder);
  }

  /** Whether somebody here watches `path` or waits for it. */
  wants(path: string): boolean {
    const subscribers = this.#streams.get(path)?.subscribers ?? [];
    return this.#waiting.has(path) || [...subscribers].some(({ replica }) => !replica);
  }

  /** Waits for a publisher of `path`, and asks for one. */
  async #demand(path: string, args: URLSearchParams, signal?: AbortSignal): Promise<Stream> {
    const seconds = this.#options.OnDemandPublishTimeout;
    const missing = () => new StreamNotFoundError(path, seconds);
    const first = !this.#waiting.has(path);
    const timeoutMs = seconds === 0 ? REPLICA_MS : seconds * 1000;
    const found = this.#waiting.wait(path, { timeoutMs, onTimeout: missing, signal });
    // Those who come next find it waiting, and need not ask.
    if (!first) return await found;
    const ask = async () => {
      if (await this.isolates.demand(path) !== "unknown" || !this.#waiting.has(path)) return;
      if (seconds === 0) this.#waiting.reject(path, missing());
      else this.dispatchEvent(new CustomEvent("ondemand", { detail: { path, args } }));
    };
    ask().catch((error) => this.#waiting.reject(path, error));
    return await found;
  }

  #onTrack(stream: Stream, track: Track): void {
    const { path } = stream;
    const { kind, name, config } = track;
    if (config !== undefined && !stream.replica) {
      this.#log.info("{path}: {kind} is {format}", { path, kind, format: describe(config) });
    }
    this.#log.debug("{path}: {kind} track {name} is live", { path, kind, name });
    this.dispatchEvent(new CustomEvent("track", { detail: { stream, track } }));
  }

  #onStreamEnd(stream: Stream, end: End): void {
    const { path, dropped } = stream;
    if (this.#streams.get(path) === stream) this.#streams.delete(path);
    if (stream.replica) return this.isolates.forget(path);
    this.isolates.release(path, "ended");
    const seconds = Math.round((Date.now() - stream.since.getTime()) / 1000);
    const frames = stream.tracks.reduce((sum, track) => sum + track.stats().frames, 0);
    this.#log.info("{path}: ended after {seconds} s and {frames} frames: {detail}", {
      path,
      seconds,
      frames,
      dropped,
      detail: end.detail,
    });
    this.dispatchEvent(new CustomEvent("close", { detail: { stream, end } }));
  }

  #onSubscriberEnd(subscriber: Subscriber, end: End): void {
    this.#subscribers.delete(subscriber.number);
    if (subscriber.replica) return;
    const { stream, type, id } = subscriber;
    const { bytes, dropped } = subscriber.stats();
    this.#chatter.add(() =>
      this.#log.info(
        "{path}: {type} subscriber {id} ended, {bytes} bytes, {dropped} dropped: {detail}",
        {
          path: stream.path,
          type,
          id,
          bytes,
          dropped,
          detail: end.detail,
        },
      )
    );
    this.dispatchEvent(new CustomEvent("unsubscribe", { detail: { stream, subscriber, end } }));
  }
}

/** What ends the wait of who would subscribe. */
function signalOf({ signal, owner }: SubscribeOptions): AbortSignal | undefined {
  if (owner === undefined) return signal;
  return signal === undefined ? owner.signal : AbortSignal.any([signal, owner.signal]);
}

function describe(config: NonNullable<Track["config"]>): string {
  return config.kind === "video"
    ? `${config.codec} ${config.codedWidth ?? "?"}x${config.codedHeight ?? "?"}`
    : `${config.codec} ${config.sampleRate} Hz, ${config.numberOfChannels} channels`;
}
