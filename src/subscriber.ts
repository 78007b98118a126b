/** Subscribers: the reading end of a stream. */

import type { ReadOptions, Source } from "./cursor.ts";
import { type End, EndedError } from "./errors.ts";
import { roundFlush } from "./flush.ts";
import type { AudioAccessUnit, MediaFrame, VideoAccessUnit } from "./frame.ts";
import { Interleaver } from "./interleave.ts";
import type { FormatFactory, MuxReader, MuxReadOptions } from "./mux.ts";
import { type Ending, readableFrom, type ReaderOptions } from "./readable.ts";
import type { Stream, TrackSelection } from "./stream.ts";
import type { AudioTrack, VideoTrack } from "./track.ts";
import type { Waiter } from "./wake_list.ts";

/** Who subscribes, and to what of the stream. */
export interface SubscribeOptions extends TrackSelection {
  /** Protocol or kind of reader, such as `FLV`. */
  readonly type: string;
  /** Who it is, such as the remote address. @default {"local"} */
  readonly id?: string;
  /**
   * How long frames are gathered before they go out together to it, in ms, whatever others say.
   * @default {the argument `flush` of its address}
   */
  readonly flushMs?: number | undefined;
  /** Ends the wait for the stream, and the subscriber. */
  readonly signal?: AbortSignal | undefined;
  /** Whose it is, where that ends it as well. */
  readonly owner?: SubscriberOwner | undefined;
  /**
   * Whether it reads for another isolate of the server, where those are that watch. Nobody is asked
   * then, and nobody told. @default {false}
   */
  readonly replica?: boolean;
}

/**
 * Who has subscribers, and ends them with itself, as a plugin does. One signal for thousands of
 * subscribers costs each of them less than one that follows two.
 */
export class SubscriberOwner {
  /** Aborted when it ends. */
  readonly signal: AbortSignal;
  readonly #subscribers = new Set<Subscriber>();

  /** One that ends with `signal`. */
  constructor(signal: AbortSignal) {
    this.signal = signal;
    const end = () => {
      for (const subscriber of [...this.#subscribers]) subscriber.close();
    };
    signal.addEventListener("abort", end, { once: true });
  }

  /** Gives it `subscriber`. */
  add(subscriber: Subscriber): void {
    this.#subscribers.add(subscriber);
  }

  /** Takes back `subscriber`, which has ended. */
  delete(subscriber: Subscriber): void {
    this.#subscribers.delete(subscriber);
  }
}

/** Callbacks of {@linkcode Subscriber.play}. */
export interface PlayHandlers extends ReadOptions {
  /** Called with each video frame. */
  readonly onVideo?: (frame: VideoAccessUnit) => void;
  /** Called with each audio frame. */
  readonly onAudio?: (frame: AudioAccessUnit) => void;
}

/** Counters of a subscriber. */
export interface SubscriberStats {
  /** Bytes handed over. */
  readonly bytes: number;
  /** Frames handed over. */
  readonly frames: number;
  /** Frames passed over because it was too slow. */
  readonly dropped: number;
  /** How far it is behind the newest frame, in ms. */
  readonly lagMs: number;
}

interface Reader {
  readonly dropped: number;
  readonly lagUs: number;
  /** What it has handed over, where it counts that itself. */
  readonly bytes?: number;
  readonly frames?: number;
}

/**
 * One reader of a stream. It can be listed and kicked, and counts what it gets.
 *
 * It ends by {@linkcode Subscriber.close}, or with its stream; what it reads then ends after the
 * last frame, and with an `EndedError` where it is kicked.
 */
export class Subscriber implements AsyncDisposable {
  /** Number of the subscriber, unique in its engine. */
  readonly number: number;
  /** The stream that it reads. */
  readonly stream: Stream;
  /** Protocol or kind of reader. */
  readonly type: string;
  /** Who it is. */
  readonly id: string;
  /** When it began. */
  readonly since: Date = new Date();
  /** Whether it reads for another isolate. */
  readonly replica: boolean;
  readonly #selection: Required<TrackSelection>;
  readonly #flushMs: number | undefined;
  readonly #onEnd: (subscriber: Subscriber, end: End) => void;
  /** What it reads with, and what ends that. */
  readonly #readers = new Map<Reader, Ending>();
  #end: End | undefined;
  /** With which it was ended other than by its stream. */
  #error: EndedError | undefined;
  /** What is made when it is asked for. */
  #closed: PromiseWithResolvers<End> | undefined;
  #controller: AbortController | undefined;
  #bytes = 0;
  #frames = 0;
  #droppedBefore = 0;

  /** Made by `Engine.subscribe`. */
  constructor(
    stream: Stream,
    options: SubscribeOptions & { readonly number: number },
    onEnd: (subscriber: Subscriber, end: End) => void,
  ) {
    this.stream = stream;
    this.number = options.number;
    this.type = options.type;
    this.id = options.id ?? "local";
    this.replica = options.replica ?? false;
    this.#selection = { video: options.video ?? true, audio: options.audio ?? true };
    this.#flushMs = options.flushMs;
    this.#onEnd = onEnd;
  }

  /** Settles when the subscriber has ended. */
  get closed(): Promise<End> {
    this.#closed ??= Promise.withResolvers();
    if (this.#end !== undefined) this.#closed.resolve(this.#end);
    return this.#closed.promise;
  }

  /** Aborted, with an `EndedError` as its reason, when it is ended other than by its stream. */
  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#error !== undefined) this.#controller.abort(this.#error);
    return this.#controller.signal;
  }

  /** How it ended; undefined while it reads. */
  get end(): End | undefined {
    return this.#end;
  }

  /** Its counters. */
  stats(): SubscriberStats {
    let dropped = this.#droppedBefore;
    let lagUs = 0;
    let bytes = this.#bytes;
    let frames = this.#frames;
    for (const reader of this.#readers.keys()) {
      dropped += reader.dropped;
      bytes += reader.bytes ?? 0;
      frames += reader.frames ?? 0;
      lagUs = Math.max(lagUs, reader.lagUs);
    }
    return {
      bytes,
      frames,
      dropped,
      lagMs: Math.round(lagUs / 1000),
    };
  }

  /**
   * The first video track in one of `codecs` (FourCCs or RFC 6381 strings; any if none), as soon as
   * it is live; undefined once it is clear that there will be none, or video is not selected.
   *
   * @throws {EndedError} If the stream or the subscriber ends first.
   */
  async waitVideoTrack(...codecs: readonly string[]): Promise<VideoTrack | undefined> {
    if (this.#selection.video === false) return undefined;
    const writer = await this.stream.waitTrack("video", codecs, this.signal);
    return writer?.track as VideoTrack | undefined;
  }

  /** {@linkcode Subscriber.waitVideoTrack} for audio. */
  async waitAudioTrack(...codecs: readonly string[]): Promise<AudioTrack | undefined> {
    if (this.#selection.audio === false) return undefined;
    const writer = await this.stream.waitTrack("audio", codecs, this.signal);
    return writer?.track as AudioTrack | undefined;
  }

  /**
   * The frames of both tracks, interleaved by DTS, from the newest keyframe on; a track that comes
   * late joins in. A recorder that lost frames gets a {@linkcode LaggedError} instead of the next one.
   */
  play(options?: ReadOptions): ReadableStream<MediaFrame>;
  /** The same frames by callbacks; settles when the stream has ended. */
  play(handlers: PlayHandlers): Promise<void>;
  play(options: PlayHandlers = {}): ReadableStream<MediaFrame> | Promise<void> {
    const { onVideo, onAudio } = options;
    const frames = new Interleaver(options);
    const selection = onVideo || onAudio
      ? {
        video: onVideo !== undefined && this.#selection.video,
        audio: onAudio !== undefined && this.#selection.audio,
      }
      : this.#selection;
    const taker = {
      add: (kind: "video" | "audio", writer: { ring: Parameters<Interleaver["add"]>[1] }) =>
        frames.add(kind, writer.ring),
      end: () => frames.end(),
    };
    const stop = this.stream.giveTracks(taker, selection);
    const count = (frame: MediaFrame) => this.#count(1, frame.data.length);
    const hooks = this.#hooks(frames, count, stop);
    if (onVideo === undefined && onAudio === undefined) return readableFrom(frames, hooks);
    return new Promise((resolve, reject) => {
      const deliver = (frame: MediaFrame) => {
        count(frame);
        if (frame.kind === "video") onVideo?.(frame);
        else onAudio?.(frame);
      };
      let over = false;
      const leave = (settle: () => void) => {
        if (over) return;
        over = true;
        frames.close(waiter);
        hooks.onEnd();
        settle();
      };
      const waiter = {
        wake: () => {
          if (over) return;
          try {
            for (let frame = frames.next(); frame; frame = frames.next()) {
              deliver(frame);
              if (over) return;
            }
          } catch (error) {
            return leave(() => reject(error));
          }
          if (frames.done) leave(resolve);
          else frames.wait(waiter);
        },
      };
      hooks.onStart({ end: (error) => leave(() => reject(error)) });
      waiter.wake();
    });
  }

  /**
   * The stream in `format` as a stream of bytes, made once for all subscribers that read it so.
   * Each chunk begins and ends with whole items of the format.
   *
   * `flushMs` holds where neither the subscriber's address nor the stream's publisher says otherwise;
   * it is rounded up to one of `FLUSH_INTERVALS_MS`.
   *
   * @throws {EndedError} If the stream ends before its tracks are known.
   */
  async mux(
    format: FormatFactory,
    options: MuxReadOptions & TrackSelection = {},
  ): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
    if (!this.stream.settled) await this.stream.waitSettled(this.signal);
    if (this.#error !== undefined) throw this.#error;
    const selection = {
      video: (options.video ?? true) && this.#selection.video,
      audio: (options.audio ?? true) && this.#selection.audio,
    };
    const flushMs = roundFlush(this.#flushMs ?? this.stream.flushMs ?? options.flushMs ?? 0);
    const bytes = new MuxBytes(this.stream.mux(format, selection).read({ ...options, flushMs }));
    return readableFrom(bytes, this.#hooks(bytes));
  }

  /**
   * Ends it; what it reads fails with an `EndedError`, also what is left of a stream that has ended.
   * Idempotent.
   */
  close(end: End = { code: "ended", detail: "left" }): void {
    const ended = this.#end !== undefined;
    this.#end ??= end;
    if (this.#error === undefined) {
      this.#error = new EndedError(`subscription to ${this.stream.path}`, this.#end);
      this.#controller?.abort(this.#error);
      for (const reading of [...this.#readers.values()]) reading.end(this.#error);
    }
    if (!ended) this.#finish(end);
  }

  /** Told by the stream that it has ended: what is there can still be read. */
  onStreamEnd(end: End): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#finish(end);
  }

  /** Ends it. */
  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  #finish(end: End): void {
    this.stream.removeSubscriber(this);
    this.#onEnd(this, end);
    this.#closed?.resolve(end);
  }

  #count(frames: number, bytes: number): void {
    this.#frames += frames;
    this.#bytes += bytes;
  }

  #hooks<T>(
    reader: Reader,
    onItem?: (item: T) => void,
    onEnd?: () => void,
  ): Required<Pick<ReaderOptions<T>, "onStart" | "onEnd">> & ReaderOptions<T> {
    return {
      onStart: (reading) => {
        this.#readers.set(reader, reading);
        if (this.#error !== undefined) reading.end(this.#error);
      },
      ...(onItem && { onItem }),
      onEnd: () => {
        if (!this.#readers.delete(reader)) return;
        this.#droppedBefore += reader.dropped;
        this.#count(reader.frames ?? 0, reader.bytes ?? 0);
        onEnd?.();
      },
    };
  }
}

/** The batches of a mux as bytes, counted. */
class MuxBytes implements Source<Uint8Array<ArrayBuffer>>, Reader {
  bytes = 0;
  frames = 0;
  readonly #batches: MuxReader;

  constructor(batches: MuxReader) {
    this.#batches = batches;
  }

  get dropped(): number {
    return this.#batches.dropped;
  }

  get lagUs(): number {
    return this.#batches.lagUs;
  }

  get done(): boolean {
    return this.#batches.done;
  }

  next(): Uint8Array<ArrayBuffer> | undefined {
    const batch = this.#batches.next();
    if (batch === undefined) return undefined;
    this.bytes += batch.bytes.length;
    this.frames += batch.frames;
    return batch.bytes as Uint8Array<ArrayBuffer>;
  }

  wait(waiter: Waiter): void {
    this.#batches.wait(waiter);
  }

  close(waiter?: Waiter): void {
    this.#batches.close(waiter);
  }

  lend(): void {
    this.#batches.lend();
  }
}
