/** Muxes: a stream's tracks as the bytes of one format, made once for all viewers. */

import { BufferPool } from "./buffer_pool.ts";
import { concat } from "./bytes.ts";
import type { AudioConfig, VideoConfig } from "./codecs/config.ts";
import { Cursor, type ReadOptions, type Source } from "./cursor.ts";
import { FlushTimers } from "./flush_timer.ts";
import type { MediaFrame } from "./frame.ts";
import { FrameDurations } from "./frame_durations.ts";
import { Interleaver } from "./interleave.ts";
import {
  type Batch,
  BATCH_BUFFER_BYTES,
  FlushSchedule,
  type Header,
  Headers,
  type MuxItem,
  type SharedBatch,
} from "./mux_batches.ts";
import { Ring } from "./ring.ts";
import { Turns } from "./turns.ts";
import { Place, type Waiter } from "./wake_list.ts";

export { type Batch, BATCH_BUFFER_BYTES } from "./mux_batches.ts";

/** The decoder configurations that a format has to announce. */
export interface FormatTracks {
  /** That of the video frames; undefined without video. */
  readonly video: VideoConfig | undefined;
  /** That of the audio frames; undefined without audio. */
  readonly audio: AudioConfig | undefined;
}

/**
 * A way to put frames into bytes, such as FLV or fMP4.
 *
 * One object serves one {@linkcode Mux}, so it may keep state from frame to frame. All it returns
 * is shared by the viewers: it must be new bytes each time, or never change.
 */
export interface Format {
  /**
   * Whether it must know how long a frame lasts: each is then written when the next one of its
   * track has come. @default {false}
   */
  readonly needsDuration?: boolean;
  /**
   * The bytes that announce `tracks`: at the `start` of what a viewer gets, or as a `change` in the
   * middle of it.
   */
  header(tracks: FormatTracks, at: "start" | "change"): Uint8Array;
  /**
   * The bytes of one frame; none if the format cannot carry it. If they depend on the frame alone it
   * may give just their number: {@linkcode Format.copyTo} makes them when viewers want them, so that
   * they take no memory before. `durationUs` is the time to the next frame of its track, for the last
   * one that of the frame before, where the format {@linkcode Format.needsDuration needs it}.
   */
  write(frame: MediaFrame, durationUs?: number): Uint8Array | number;
  /**
   * Writes to `target`, from `at` on, the bytes of a frame of which {@linkcode Format.write} gave the
   * number: the same ones each time.
   */
  copyTo?(frame: MediaFrame, target: Uint8Array, at: number): void;
  /**
   * What goes around the `length` bytes of frames that leave together, for carriers that frame them,
   * as HTTP does in chunks. Announcements leave apart, and `header` frames them itself.
   * @default {nothing}
   */
  wrap?(length: number): Wrapping;
}

/** `format` for a carrier with a `header` and a `wrap` of its own. */
export function carried(
  format: Format,
  carrier: Required<Pick<Format, "header" | "wrap">>,
): Format {
  return {
    needsDuration: format.needsDuration ?? false,
    write: (frame, durationUs) => format.write(frame, durationUs),
    ...(format.copyTo && { copyTo: format.copyTo.bind(format) }),
    ...carrier,
  };
}

/** What goes around bytes. */
export interface Wrapping {
  /** What goes before them. */
  readonly before: Uint8Array;
  /** What goes after them. */
  readonly after: Uint8Array;
}

/** Makes the {@linkcode Format} of a mux. The function's identity tells formats apart. */
export type FormatFactory = () => Format;

/** How a viewer gets the bytes of a mux. */
export interface MuxReadOptions extends ReadOptions {
  /**
   * How long frames are gathered before they go out together, in ms; 0 sends each at once. Where it
   * is a whole number of pictures they go out with one, which is waited for if it is late, for up to a
   * quarter of the time between pictures.
   * @default {0}
   */
  readonly flushMs?: number;
}

/** What a {@linkcode Mux} takes from its stream. */
export interface MuxInit {
  /** Milliseconds of a clock that never goes back. */
  readonly nowMs: () => number;
  /** Buffers of {@linkcode BATCH_BUFFER_BYTES}, in which batches are made. @default {its own} */
  readonly buffers?: BufferPool;
  /** By which batches go out. @default {its own} */
  readonly timers?: FlushTimers;
  /** In which viewers are woken. @default {its own} */
  readonly turns?: Turns;
  /**
   * Called once when the mux takes no more frames: when its last viewer has gone, its tracks have
   * ended or its format has failed.
   */
  readonly onClose: () => void;
}

/**
 * Reads a stream's tracks, writes them in a {@linkcode Format} into a ring of bytes, and hands that
 * ring to viewers. The tracks are interleaved once and each frame is written once, however many
 * viewers there are.
 */
export class Mux implements Waiter {
  readonly #format: Format;
  readonly #ring: Ring<MuxItem>;
  readonly #frames = new Interleaver();
  /** Its places among those that wait for the end of the tracks: frames may wait, the end not. */
  readonly #endings: Place[] = [];
  readonly #onEnding: Waiter = { wake: () => this.#gather() };
  readonly #schedules = new Map<number, FlushSchedule>();
  readonly #onClose: () => void;
  readonly #nowMs: () => number;
  readonly #buffers: BufferPool;
  readonly #timers: FlushTimers;
  readonly #turns: Turns;
  readonly #durations: FrameDurations | undefined;
  readonly #headers: Headers;
  #pictures: Ring<MediaFrame> | undefined;
  #video: VideoConfig | undefined;
  #audio: AudioConfig | undefined;
  #viewers = 0;
  /** Whether there has been a frame of video: viewers start at its keys from then on. */
  #hasPictures = false;
  #closed = false;
  #error: unknown;

  /** A mux of no track yet. */
  constructor(create: FormatFactory, init: MuxInit) {
    this.#format = create();
    if (this.#format.needsDuration) {
      this.#durations = new FrameDurations((frame, durationUs) => this.#write(frame, durationUs));
    }
    this.#ring = new Ring();
    this.#headers = new Headers(this.#ring);
    this.#onClose = init.onClose;
    this.#nowMs = init.nowMs;
    this.#buffers = init.buffers ?? new BufferPool(BATCH_BUFFER_BYTES);
    this.#timers = init.timers ?? new FlushTimers(init.nowMs);
    this.#turns = init.turns ?? new Turns(init.nowMs);
  }

  /** Viewers that read now. */
  get viewers(): number {
    return this.#viewers;
  }

  /** Adds the one video or the one audio track to mux, with its configuration of now. */
  add(config: VideoConfig | AudioConfig, ring: Ring<MediaFrame>): void {
    this.#frames.add(config.kind, ring);
    const ending = new Place(ring.closing);
    ending.wait(this.#onEnding);
    this.#endings.push(ending);
    if (config.kind === "video") {
      this.#pictures = ring;
      for (const schedule of this.#schedules.values()) schedule.follow(ring);
    }
    if (this.#headers.newest === undefined) return this.#set(config);
    this.#guard(() => this.#change(config, this.#ring.newest()?.dts ?? 0));
    this.wake();
  }

  /** Says that no track will be added any more. */
  end(): void {
    this.#frames.end();
  }

  /** Reads what the tracks have now, and from then on whenever there is more. */
  start(): void {
    this.#guard(() => this.#announce());
    this.wake();
  }

  /** Told that frames have come: they are muxed at the next flush. */
  wake(): void {
    if (this.#schedules.size === 0) this.#gather();
    for (const schedule of this.#schedules.values()) if (!schedule.defer()) schedule.flush();
  }

  /** Muxes all frames that have come, and waits for more. */
  #gather(): void {
    if (this.#closed) return;
    this.#guard(() => {
      for (let frame = this.#frames.next(); frame; frame = this.#frames.next()) this.#take(frame);
      if (this.#frames.done) this.#durations?.flush();
    });
    if (this.#closed) return;
    if (this.#frames.done) this.close();
    else this.#frames.wait(this);
  }

  /** A reader for one more viewer. */
  read(options: MuxReadOptions = {}): MuxReader {
    this.#viewers++;
    this.#gather();
    const flushMs = options.flushMs ?? 0;
    let schedule = this.#schedules.get(flushMs);
    if (schedule === undefined) {
      schedule = new FlushSchedule(this.#ring, {
        intervalMs: flushMs,
        timer: this.#timers.of(flushMs),
        turns: this.#turns,
        nowMs: this.#nowMs,
        buffers: this.#buffers,
        format: this.#format,
        headers: this.#headers,
        pictures: this.#pictures,
        gather: () => this.#gather(),
      });
      schedule.error = this.#error;
      this.#schedules.set(flushMs, schedule);
    }
    schedule.readers++;
    return new MuxReader({
      ring: this.#ring,
      headers: this.#headers,
      schedule,
      options,
      onClose: () => this.#leave(schedule, flushMs),
    });
  }

  /** Stops reading the tracks; viewers end once they have read what is muxed. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose();
    this.#frames.close(this);
    for (const ending of this.#endings) ending.leave();
    this.#ring.close();
    for (const schedule of this.#schedules.values()) schedule.flush();
  }

  #leave(schedule: FlushSchedule, flushMs: number): void {
    schedule.readers--;
    if (schedule.readers === 0) {
      schedule.stop();
      this.#schedules.delete(flushMs);
    }
    this.#viewers--;
    if (this.#viewers === 0) this.close();
  }

  /** Runs what calls the format; where that fails, the viewers end with its error. */
  #guard(run: () => void): void {
    if (this.#closed) return;
    try {
      run();
    } catch (error) {
      this.#error = error;
      for (const schedule of this.#schedules.values()) schedule.error = error;
      this.close();
    }
  }

  #set(config: VideoConfig | AudioConfig): void {
    if (config.kind === "video") this.#video = config;
    else this.#audio = config;
  }

  /** Puts the announcement of the tracks as they are now in force. */
  #announce(): Header {
    const tracks = { video: this.#video, audio: this.#audio };
    const header = {
      start: this.#format.header(tracks, "start"),
      change: this.#format.header(tracks, "change"),
    };
    this.#headers.add(header);
    return header;
  }

  /** Tells viewers of a configuration in the middle of the stream. */
  #change(config: VideoConfig | AudioConfig, dts: number): void {
    this.#set(config);
    const { change: bytes } = this.#announce();
    this.#ring.write({ kind: "announcement", dts, key: false, bytes }, bytes.length);
  }

  #take(frame: MediaFrame): void {
    const { kind, config } = frame;
    const announced = kind === "video" ? this.#video : this.#audio;
    if (config !== announced) {
      this.#durations?.flush();
      this.#change(config, frame.dts);
    }
    if (this.#durations === undefined) this.#write(frame);
    else this.#durations.push(frame);
  }

  #write(frame: MediaFrame, durationUs?: number): void {
    if (this.#headers.newest === undefined) this.#announce();
    const bytes = this.#format.write(frame, durationUs);
    this.#hasPictures ||= frame.kind === "video";
    const key = frame.key && (frame.kind === "video" || !this.#hasPictures);
    if (typeof bytes === "number") {
      if (this.#format.copyTo === undefined) throw new TypeError("Cannot mux: no copyTo()");
      this.#ring.write(frame, bytes, key);
    } else this.#ring.write({ kind: "frame", dts: frame.dts, key, bytes }, bytes.length);
  }
}

interface MuxReaderInit {
  readonly ring: Ring<MuxItem>;
  readonly headers: Headers;
  readonly schedule: FlushSchedule;
  readonly options: ReadOptions;
  readonly onClose: () => void;
}

/** One viewer of a mux: gives batches, each beginning and ending with whole items. */
export class MuxReader implements Source<Batch> {
  readonly #ring: Ring<MuxItem>;
  readonly #headers: Headers;
  readonly #schedule: FlushSchedule;
  readonly #place: Place;
  readonly #cursor: Cursor<MuxItem>;
  readonly #onClose: () => void;
  #header: Header | undefined;
  #seenJumps = 0;
  /** Whether it has not seen all yet that was there when it came: that waits for no flush. */
  #joining = true;
  #closed = false;
  #lends = false;
  /** The batch that it has given away, to get it back. */
  #loan: SharedBatch | undefined;

  /** Made by {@linkcode Mux.read}. */
  constructor(init: MuxReaderInit) {
    this.#ring = init.ring;
    this.#headers = init.headers;
    this.#schedule = init.schedule;
    this.#place = new Place(init.schedule.waiting);
    this.#cursor = new Cursor(init.ring, init.options);
    this.#onClose = init.onClose;
  }

  /** Frames passed over because the viewer was too slow. */
  get dropped(): number {
    return this.#cursor.dropped;
  }

  /** How far the viewer is behind the newest frame, in µs. */
  get lagUs(): number {
    return this.#cursor.lagUs;
  }

  /** Whether the stream has ended and all is read. */
  get done(): boolean {
    return this.#closed || this.#cursor.done;
  }

  /**
   * Takes the next batch.
   *
   * @throws {LaggedError} If the viewer must not drop and frames were lost.
   */
  next(): Batch | undefined {
    let batch: Batch | undefined;
    do {
      if (this.#loan) this.#schedule.giveBack(this.#loan);
      this.#loan = undefined;
      batch = this.#take();
    } while (batch?.bytes.length === 0);
    return batch;
  }

  lend(): void {
    this.#lends = true;
  }

  /** Wakes `waiter` at the next flush. */
  wait(waiter: Waiter): void {
    this.#place.wait(waiter);
  }

  /** Leaves the mux. */
  close(waiter?: Waiter): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cursor.close();
    if (waiter) this.#place.leave();
    // Who leaves may still be sending its loan, which is never given back.
    this.#onClose();
  }

  #take(): Batch | undefined {
    const cursor = this.#cursor;
    const schedule = this.#schedule;
    const limit = this.#joining ? this.#ring.head : schedule.flushed;
    // A viewer that has read all asks once more, after each batch.
    const readAll = cursor.sequence === limit && !cursor.needsKey;
    if (readAll || cursor.peek(limit) === undefined) {
      this.#joining &&= this.#header === undefined;
      if (schedule.error !== undefined) throw schedule.error;
      return undefined;
    }
    const start = cursor.sequence;
    const batch = schedule.batch(start, limit);
    if (batch === undefined) return undefined;
    cursor.sequence = batch.end;
    const known = this.#header;
    this.#header = batch.header;
    if (known === undefined || cursor.jumps !== this.#seenJumps) {
      this.#seenJumps = cursor.jumps;
      const header = this.#headers.at(start);
      if (header && known === undefined) return prefixed(header.start, batch);
      if (header && known !== header) return prefixed(header.change, batch);
    }
    if (this.#lends) {
      batch.loans++;
      this.#loan = batch;
    } else batch.isKept = true;
    return batch;
  }
}

function prefixed(header: Uint8Array, batch: Batch): Batch {
  return { bytes: concat([header, batch.bytes]), frames: batch.frames };
}
