/** The window: segments and parts that players may ask for now, and their names. */

import { concat } from "../../src/bytes.ts";
import type { FormatTracks } from "../../src/mux.ts";
import type { SegmentPart, SegmentSink, SegmentStart } from "./segmenter.ts";
import type { Timing } from "./timing.ts";

/** A part as a playlist names it. */
export interface ListedPart {
  readonly name: string;
  readonly durationUs: number;
  readonly independent: boolean;
}

/** A segment as a playlist names it; the last one may be incomplete. */
export interface ListedSegment {
  /** Media sequence number. */
  readonly number: number;
  readonly name: string;
  readonly unixMs: number;
  readonly discontinuity: boolean;
  /** How many discontinuities there have been up to its own. */
  readonly discontinuities: number;
  /** Name of its initialization section, if it has one. */
  readonly initName: string | undefined;
  /** Undefined while it is incomplete. */
  readonly durationUs: number | undefined;
  readonly parts: readonly ListedPart[];
}

/** What a media playlist says. */
export interface PlaylistState {
  readonly timing: Timing;
  /** In order; only the last one may be incomplete. */
  readonly segments: readonly ListedSegment[];
  /** Name that the next part will have. */
  readonly nextPart: string;
  /** Whether there will be no more. */
  readonly ended: boolean;
}

/** How often bits come, in bits a second. */
export interface BitRates {
  readonly peak: number;
  readonly average: number;
}

/** What a {@linkcode SegmentWindow} keeps and how it names it. */
export interface WindowInit {
  /** Text that no other window has, in all names. */
  readonly epoch: string;
  /** The first media sequence number. */
  readonly first: number;
  /** Discontinuities before it: a small number, since there are players with an array of them. */
  readonly discontinuities: number;
  /** Fewest complete segments that are listed, once there are so many. */
  readonly segments: number;
  /** Most bytes of all that is kept when a segment is complete. @default {512 MiB} */
  readonly maxBytes?: number | undefined;
  /** End of the names of segments and parts, such as `m4s`. */
  readonly extension: string;
}

interface KeptPart extends ListedPart {
  bytes: Uint8Array<ArrayBuffer>;
}

interface KeptSegment extends ListedSegment {
  readonly init: Uint8Array<ArrayBuffer> | undefined;
  readonly parts: KeptPart[];
  /** Of the whole segment; undefined while it is incomplete. */
  bytes: Uint8Array<ArrayBuffer> | undefined;
  durationUs: number | undefined;
  /** What all segments up to this one last; unlike times on the timeline, without pauses. */
  endUs: number;
  /** What all segments had lasted when it went off the list. */
  unlistedUs: number;
}

/** No segment is unlisted if less than so many target durations would be left (6.2.2). */
const MIN_WINDOW_TARGETS = 3;
/**
 * Parts are listed up to so many target durations from the end, and can be had for as long again
 * (6.2.2).
 */
export const PART_TARGETS = 3;
/**
 * Most bytes of the segments of a stream: 16 of the largest, or what usual options keep of a stream
 * of 130 Mbit/s. What is more than that shortens the playlist.
 */
const MAX_WINDOW_BYTES = 512 * 1024 * 1024;

/**
 * Keeps what a segmenter makes: what the playlist lists, and what it has listed for as long as
 * players may still ask for it. Bytes of a segment are kept once: its parts are views on them.
 */
export class SegmentWindow implements SegmentSink {
  readonly #init: WindowInit;
  readonly #kept: KeptSegment[] = [];
  /** How many of them are no longer listed. */
  #unlisted = 0;
  #timing: Timing | undefined;
  #tracks: FormatTracks | undefined;
  #nextSegment: number;
  #discontinuities: number;
  #nextPart = 0;
  #nextInit = 0;
  #ended = false;
  #version = 0;
  #state: PlaylistState | undefined;
  #stateVersion = -1;
  /** What all complete segments so far last. */
  #endUs = 0;
  /** What those last that are listed, and the most that it has been. */
  #listedUs = 0;
  #longestUs = 0;
  #peak = 0;
  /** Bytes of all complete segments that are kept. */
  #bytes = 0;

  /** A window without segments. */
  constructor(init: WindowInit) {
    this.#init = init;
    this.#nextSegment = init.first;
    this.#discontinuities = init.discontinuities;
  }

  /** Grows with each change of what a playlist says. */
  get version(): number {
    return this.#version;
  }

  /** How many discontinuities there have been, those before the first segment among them. */
  get discontinuities(): number {
    return this.#discontinuities;
  }

  /** Whether there will be no more. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Whether there is a complete segment, so that a playlist makes sense. */
  get ready(): boolean {
    return this.#kept[0]?.durationUs !== undefined;
  }

  /** The tracks of the newest segment. */
  get tracks(): FormatTracks | undefined {
    return this.#tracks;
  }

  /** What a playlist says now; undefined while there is nothing to say. */
  state(): PlaylistState | undefined {
    if (this.#timing === undefined || !this.ready) return undefined;
    if (this.#stateVersion !== this.#version) {
      this.#stateVersion = this.#version;
      this.#state = {
        timing: this.#timing,
        segments: this.#kept.slice(this.#unlisted),
        nextPart: this.#partName(this.#nextPart),
        ended: this.#ended,
      };
    }
    return this.#state;
  }

  /** What the segments that are listed last, in µs. */
  get listedUs(): number {
    return this.#listedUs;
  }

  /**
   * The bit rates of the segments that are listed; the peak is that of all so far. Undefined while
   * they last for less than half of the target, which says nothing of a peak (4.1).
   */
  bitRates(): BitRates | undefined {
    if (this.#listedUs < (this.#timing?.targetSeconds ?? 0) * 1e6 / 2) return undefined;
    let bytes = 0;
    let durationUs = 0;
    for (const segment of this.#kept.slice(this.#unlisted)) {
      bytes += segment.bytes?.length ?? 0;
      durationUs += segment.durationUs ?? 0;
    }
    const average = durationUs > 0 ? Math.ceil(bytes * 8e6 / durationUs) : 0;
    return { peak: Math.max(this.#peak, average), average };
  }

  /**
   * The bytes of a segment, part or initialization section; `next` if the name is that of the next
   * part, and undefined if there is none of that name, or no more.
   */
  file(name: string): Uint8Array<ArrayBuffer> | "next" | undefined {
    if (!this.#ended && name === this.#partName(this.#nextPart)) return "next";
    // Most ask for what is newest.
    for (let index = this.#kept.length - 1; index >= 0; index--) {
      const segment = this.#kept[index];
      const part = segment?.parts.findLast((part) => part.name === name);
      if (part !== undefined) return part.bytes;
      if (segment?.name === name && segment.bytes !== undefined) return segment.bytes;
      if (segment?.initName === name) return segment.init;
    }
    return undefined;
  }

  /** Takes the segmenter's timing. */
  onTiming(timing: Timing): void {
    this.#timing = timing;
  }

  /** Begins a segment. */
  onSegment(start: SegmentStart): void {
    const { epoch, extension } = this.#init;
    const number = this.#nextSegment++;
    if (start.discontinuity) this.#discontinuities++;
    this.#tracks = start.tracks;
    this.#kept.push({
      number,
      name: `${epoch}-s${number}.${extension}`,
      unixMs: start.unixMs,
      discontinuity: start.discontinuity,
      discontinuities: this.#discontinuities,
      init: start.init,
      initName: this.#initNameOf(start.init),
      endUs: Infinity,
      unlistedUs: Infinity,
      durationUs: undefined,
      bytes: undefined,
      parts: [],
    });
  }

  /** Adds a part to the segment that began last. */
  onPart({ bytes, durationUs, independent }: SegmentPart): void {
    const name = this.#partName(this.#nextPart++);
    this.#kept.at(-1)?.parts.push({ name, durationUs, independent, bytes });
    this.#version++;
  }

  /** Completes the segment that began last, and lets go of what nobody needs any more. */
  onSegmentEnd(durationUs: number): void {
    const segment = this.#kept.at(-1);
    if (segment === undefined || segment.durationUs !== undefined) return;
    const bytes = concat(segment.parts.map((part) => part.bytes));
    let offset = 0;
    for (const part of segment.parts) {
      const { length } = part.bytes;
      part.bytes = bytes.subarray(offset, offset + length);
      offset += length;
    }
    this.#endUs += durationUs;
    this.#listedUs += durationUs;
    this.#bytes += bytes.length;
    Object.assign(segment, { bytes, durationUs, endUs: this.#endUs });
    this.#countPeak(bytes.length, durationUs);
    this.#unlist();
    this.#drop();
    this.#version++;
  }

  /** Says that there will be no more. Idempotent. */
  end(): void {
    if (this.#ended) return;
    const last = this.#kept.at(-1);
    if (last?.durationUs === undefined) {
      this.onSegmentEnd(last?.parts.reduce((sum, { durationUs }) => sum + durationUs, 0) ?? 0);
    }
    this.#ended = true;
    this.#version++;
  }

  /** Takes the oldest segments off the list while enough is left. */
  #unlist(): void {
    this.#longestUs = Math.max(this.#longestUs, this.#listedUs);
    const leastUs = MIN_WINDOW_TARGETS * (this.#timing?.targetSeconds ?? 0) * 1e6;
    while (this.#kept.length - this.#unlisted > this.#init.segments) {
      const oldest = this.#kept[this.#unlisted];
      const durationUs = oldest?.durationUs ?? 0;
      if (oldest === undefined || this.#listedUs - durationUs < leastUs) return;
      oldest.unlistedUs = this.#endUs;
      this.#listedUs -= durationUs;
      this.#unlisted++;
    }
  }

  /**
   * Drops segments that have been off the list for as long as 6.2.2 wants them there: as long as
   * they and the longest playlist last. Where there is no place for so many, the oldest ones go.
   */
  #drop(): void {
    const { maxBytes = MAX_WINDOW_BYTES } = this.#init;
    const partsUs = 2 * PART_TARGETS * (this.#timing?.targetSeconds ?? 0) * 1e6;
    while (this.#kept.length > 1) {
      const [oldest] = this.#kept;
      if (oldest === undefined) return;
      const durationUs = oldest.durationUs ?? 0;
      const isNeeded = this.#endUs - oldest.unlistedUs < this.#longestUs + durationUs ||
        this.#endUs - oldest.endUs < partsUs;
      if (isNeeded && this.#bytes <= maxBytes) return;
      this.#kept.shift();
      this.#bytes -= oldest.bytes?.length ?? 0;
      if (this.#unlisted > 0) this.#unlisted--;
      else this.#listedUs -= durationUs;
    }
  }

  /** Segments that were cut short say little of the bit rate. */
  #countPeak(bytes: number, durationUs: number): void {
    if (durationUs < (this.#timing?.segmentUs ?? 0) / 2) return;
    this.#peak = Math.max(this.#peak, Math.ceil(bytes * 8e6 / durationUs));
  }

  #initNameOf(init: Uint8Array | undefined): string | undefined {
    if (init === undefined) return undefined;
    const before = this.#kept.at(-1);
    if (before?.init === init) return before.initName;
    return `${this.#init.epoch}-i${this.#nextInit++}.mp4`;
  }

  #partName(number: number): string {
    return `${this.#init.epoch}-p${number}.${this.#init.extension}`;
  }
}
