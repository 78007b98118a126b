/** Tracks: the video, audio or data of a stream, and the ring that holds it. */

import type { AudioConfig, VideoConfig } from "./codecs/config.ts";
import { Cursor, type ReadOptions } from "./cursor.ts";
import type { AudioAccessUnit, DataUnit, Frame, VideoAccessUnit } from "./frame.ts";
import { readableFrom } from "./readable.ts";
import { Ring, type RingOptions } from "./ring.ts";

/** The decoder configuration that belongs to a kind of frame. */
export type ConfigOf<F extends Frame> = F extends VideoAccessUnit ? VideoConfig
  : F extends AudioAccessUnit ? AudioConfig
  : undefined;

/** Figures of a track. */
export interface TrackStats {
  /** Frames since the track began. */
  readonly frames: number;
  /** Bytes since the track began. */
  readonly bytes: number;
  /** Frames skipped on ingest: before the first configuration, or broken. */
  readonly discarded: number;
  /** Bits per second over the last two seconds of the track. */
  readonly bitrate: number;
  /** Frames per second over the last two seconds of the track. */
  readonly fps: number;
  /** Frames from the last key but one to the last; 0 before the second. */
  readonly gopFrames: number;
  /** Time from the last key but one to the last, in ms. */
  readonly gopMs: number;
}

const STATS_WINDOW_US = 2_000_000;

/** What the owner of a track holds: the half that writes. */
export class TrackWriter<F extends Frame> {
  /** The half that reads. */
  readonly track: Track<F>;
  /** Where frames go. */
  readonly ring: Ring<F>;
  #config: ConfigOf<F> | undefined;
  #bytes = 0;
  #discarded = 0;
  #key: F | undefined;
  #gopFrames = 0;
  #gopMs = 0;

  /** A track without a configuration or a frame. */
  constructor(kind: F["kind"], name: string, options: RingOptions = {}) {
    this.ring = new Ring(options);
    this.track = new Track(kind, name, this);
  }

  /** The configuration of the frames to come. */
  get config(): ConfigOf<F> | undefined {
    return this.#config;
  }

  set config(config: ConfigOf<F>) {
    this.#config = config;
  }

  /** Appends a frame of `bytes` bytes. */
  write(frame: F, bytes: number): void {
    this.#bytes += bytes;
    if (frame.key) {
      const key = this.#key;
      if (key !== undefined) {
        this.#gopFrames = frame.sequence - key.sequence;
        this.#gopMs = Math.round((frame.dts - key.dts) / 1000);
      }
      this.#key = frame;
    }
    this.ring.write(frame, bytes);
  }

  /** Counts a frame that could not be kept. */
  discard(): void {
    this.#discarded++;
  }

  /** The figures of the track. */
  stats(): TrackStats {
    const ring = this.ring;
    const newest = ring.newest();
    const from = newest === undefined ? ring.head : ring.find(newest.dts - STATS_WINDOW_US);
    const oldest = ring.at(from);
    const seconds = newest && oldest ? (newest.dts - oldest.dts) / 1e6 : 0;
    let bytes = 0;
    for (let sequence = from; sequence < ring.head - 1; sequence++) bytes += ring.size(sequence);
    return {
      frames: ring.head,
      bytes: this.#bytes,
      discarded: this.#discarded,
      bitrate: seconds > 0 ? Math.round(bytes * 8 / seconds) : 0,
      fps: seconds > 0 ? Math.round((ring.head - 1 - from) / seconds * 100) / 100 : 0,
      gopFrames: this.#gopFrames,
      gopMs: this.#gopMs,
    };
  }
}

/** The video, audio or data of a stream as its readers see it. */
export class Track<F extends Frame = Frame> {
  /** What it carries. */
  readonly kind: F["kind"];
  /** Its name, unique in its stream and kind; the default tracks are `video` and `audio`. */
  readonly name: string;
  readonly #writer: TrackWriter<F>;

  /** Made by {@linkcode TrackWriter}. */
  constructor(kind: F["kind"], name: string, writer: TrackWriter<F>) {
    this.kind = kind;
    this.name = name;
    this.#writer = writer;
  }

  /** The newest decoder configuration; undefined before the first, and for data. */
  get config(): ConfigOf<F> | undefined {
    return this.#writer.config;
  }

  /** Whether a decoder could be set up: there is a configuration, or the track carries data. */
  get live(): boolean {
    return this.kind === "data" || this.config !== undefined;
  }

  /** Where the frames are. */
  get ring(): Omit<Ring<F>, "write" | "close"> {
    return this.#writer.ring;
  }

  /** The newest frame. */
  get newest(): F | undefined {
    return this.#writer.ring.newest();
  }

  /** The figures of the track. */
  stats(): TrackStats {
    return this.#writer.stats();
  }

  /** A cursor of its own over the frames, for readers that want neither promises nor streams. */
  cursor(options?: ReadOptions): Cursor<F> {
    return new Cursor(this.#writer.ring, options);
  }

  /**
   * A stream of its own over the frames, from the newest key on.
   *
   * It takes a frame from the ring only when its reader asks for one, so a slow reader costs
   * nothing and drops to a key. It closes when the stream ends.
   *
   * @example Read a track
   * ```ts ignore
   * for await (const frame of track.readable()) console.log(frame.dts, frame.key);
   * ```
   */
  readable(options: ReadOptions & { readonly signal?: AbortSignal } = {}): ReadableStream<F> {
    return readableFrom(this.cursor(options), { signal: options.signal });
  }
}

/** A track of video. */
export type VideoTrack = Track<VideoAccessUnit>;
/** A track of audio. */
export type AudioTrack = Track<AudioAccessUnit>;
/** A track of values. */
export type DataTrack = Track<DataUnit>;
