/** What viewers of a mux share: its items, and the batches in which these leave together. */

import type { BufferPool } from "./buffer_pool.ts";
import { FlushPhase } from "./flush_phase.ts";
import type { FlushTimer, Gatherer } from "./flush_timer.ts";
import type { MediaFrame } from "./frame.ts";
import type { Format, Wrapping } from "./mux.ts";
import type { Ring, RingItem } from "./ring.ts";
import type { Job, Turns } from "./turns.ts";
import { WakeList } from "./wake_list.ts";

/** The announcement of a set of tracks, in both of its forms. */
export interface Header {
  /** At the start of what a viewer gets. */
  readonly start: Uint8Array;
  /** In the middle of it. */
  readonly change: Uint8Array;
}

/** Announcements, by the item from which on they are in force. */
export class Headers {
  readonly #ring: Ring<MuxItem>;
  #list: { readonly from: number; readonly header: Header }[] = [];

  /** Those of the items of `ring`. */
  constructor(ring: Ring<MuxItem>) {
    this.#ring = ring;
  }

  /** The one for items that are still to come. */
  get newest(): Header | undefined {
    return this.#list.at(-1)?.header;
  }

  /** Puts `header` in force from the next item on. */
  add(header: Header): void {
    const { head, tail } = this.#ring;
    const needed = this.#list.findLastIndex(({ from }) => from <= tail);
    this.#list = this.#list.slice(Math.max(0, needed)).filter(({ from }) => from < head);
    this.#list.push({ from: head, header });
  }

  /** The one in force at the item numbered `sequence`, which is kept. */
  at(sequence: number): Header | undefined {
    return this.#list.findLast(({ from }) => from <= sequence)?.header;
  }
}

/** Bytes that were made when a frame came, or an announcement's. */
export interface WrittenBytes extends RingItem {
  readonly kind: "frame" | "announcement";
  readonly bytes: Uint8Array;
}

/** A frame as it came, or bytes. */
export type MuxItem = MediaFrame | WrittenBytes;

/** Bytes that go out in one piece. */
export interface Batch {
  /** Whole items of the format, one after the other. */
  readonly bytes: Uint8Array;
  /** Frames in them. */
  readonly frames: number;
}

/** A batch, and who has it. */
export interface SharedBatch extends Batch {
  /** Sequence number of the first item. */
  readonly start: number;
  /** Sequence number after the last item. */
  readonly end: number;
  /** The announcement in force at its end. */
  readonly header: Header;
  /** What the bytes are in, if it can be used again. */
  readonly buffer: Uint8Array<ArrayBuffer> | undefined;
  /** Readers that have borrowed it. */
  loans: number;
  /** Whether others may get it. */
  isCurrent: boolean;
  /** Whether a reader has got it that never says when it needs it no more. */
  isKept: boolean;
}

/**
 * Most bytes in one batch, unless one frame is larger: what a stalled viewer can hold in memory
 * beside the ring. Flushes of 350 ms at 2.6 Mbit/s, or of 100 ms at 8, are mostly one write with that.
 */
const MAX_BATCH_BYTES = 131_072;

/** Size of the buffers that batches are made in: one of them and what is wrapped around it. */
export const BATCH_BUFFER_BYTES = MAX_BATCH_BYTES + 256;

/** Viewers that are woken at a time: most take a batch and write it to a socket. */
const WAKE_AT_ONCE = 8;

/** How a {@linkcode FlushSchedule} works. */
export interface FlushInit {
  /** How long items are gathered; 0 for not at all. */
  readonly intervalMs: number;
  /** Shared with others of this interval. */
  readonly timer: FlushTimer;
  /** In which viewers are woken. */
  readonly turns: Turns;
  /** Milliseconds of a clock that never goes back. */
  readonly nowMs: () => number;
  /** What batches are made in. */
  readonly buffers: BufferPool;
  /** What makes bytes of frames, and what goes around those of a batch. */
  readonly format: Format;
  /** Called before a flush: brings all that has come into the ring. */
  readonly gather: () => void;
  /** The announcements in force. */
  readonly headers: Headers;
  /** The track's pictures, if it has some: flushes are to go out with one. */
  readonly pictures: Ring<MediaFrame> | undefined;
}

/** When the viewers of one flush interval get what has been muxed, and the batches they share. */
export class FlushSchedule implements Gatherer, Job {
  /** Readers that have read all that was flushed. */
  readonly waiting: WakeList = new WakeList();
  /** How many readers there are. */
  readers = 0;
  /** Why there is no more to read, if the format has failed. */
  error: unknown;
  readonly #ring: Ring<MuxItem>;
  readonly #intervalMs: number;
  readonly #timer: FlushTimer;
  readonly #turns: Turns;
  readonly #nowMs: () => number;
  readonly #buffers: BufferPool;
  readonly #format: Format;
  readonly #gather: () => void;
  readonly #headers: Headers;
  #phase: FlushPhase | undefined;
  /** The batch of this flush that was asked for first: most viewers are at the same place. */
  #first: SharedBatch | undefined;
  /** The others, by the item that they begin with: there are some where viewers are late. */
  readonly #others = new Map<number, SharedBatch>();
  #flushed: number;
  /** When the next flush is due: one interval after the one before was. */
  #dueMs = -Infinity;
  #waits = false;
  /** Whether what has come goes out with the next turn. */
  #isDue = false;

  /** The schedule of readers of `ring`. */
  constructor(ring: Ring<MuxItem>, init: FlushInit) {
    this.#ring = ring;
    this.#intervalMs = init.intervalMs;
    this.#timer = init.timer;
    this.#turns = init.turns;
    this.#nowMs = init.nowMs;
    this.#buffers = init.buffers;
    this.#format = init.format;
    this.#gather = init.gather;
    this.#headers = init.headers;
    this.#flushed = ring.head;
    if (init.pictures !== undefined) this.follow(init.pictures);
  }

  /** Has flushes go out with some of `pictures`, where the interval allows that. */
  follow(pictures: Ring<MediaFrame>): void {
    if (this.#intervalMs === 0) return;
    this.#phase = new FlushPhase(pictures, {
      intervalMs: this.#intervalMs,
      onPicture: (lead) => {
        // The mux may not have been told of it yet.
        this.defer();
        if (!this.#timer.lead(this, lead)) this.#phase?.stop();
      },
    });
  }

  /** Sequence number up to which viewers may read. */
  get flushed(): number {
    return this.#flushed;
  }

  /** Told that there is more: whether that can wait, as it is flushed later. */
  defer(): boolean {
    if (this.#waits) return true;
    if (this.#dueMs <= this.#nowMs()) return false;
    this.#waits = true;
    this.#timer.wait(this, this.#dueMs);
    return true;
  }

  /** Lets readers have all that has come, which may take several turns. */
  flush(dueMs: number = this.#dueMs): void {
    if (this.#waits) this.#timer.leave(this);
    this.#waits = false;
    this.#isDue = true;
    this.#dueMs = dueMs;
    this.#turns.run(this);
  }

  /** Has no readers any more. */
  stop(): void {
    this.#timer.leave(this);
    this.#phase?.stop();
  }

  /** Wakes some readers; whether none is left that has not got what was flushed. */
  step(): boolean {
    if (this.#isDue) this.#open();
    if (!this.waiting.wakeSome(WAKE_AT_ONCE)) return false;
    // Mostly all have read all by now: what the next stream's batch is made in is still in the cache.
    if (this.waiting.size === this.readers) this.#forget();
    return true;
  }

  /** Lets whoever is woken from now on have all that has come. */
  #open(): void {
    this.#isDue = false;
    this.#gather();
    const isNew = this.#flushed < this.#ring.head || this.#ring.closed || this.error !== undefined;
    if (!isNew) return;
    const nowMs = this.#nowMs();
    const nextMs = this.#dueMs + this.#intervalMs;
    this.#dueMs = nextMs > nowMs ? nextMs : nowMs + this.#intervalMs;
    if (this.#timer.mayLead(this)) this.#phase?.flushed();
    this.#flushed = this.#ring.head;
    this.#forget();
    this.waiting.begin();
  }

  /** The batch of the items from `start` to before `end`, shared by the viewers that are there. */
  batch(start: number, end: number): SharedBatch | undefined {
    const known = start === this.#first?.start ? this.#first : this.#others.get(start);
    if (known !== undefined) return known;
    const batch = this.#make(start, end);
    if (batch === undefined) return undefined;
    if (this.#first === undefined) this.#first = batch;
    else this.#others.set(start, batch);
    return batch;
  }

  /** Ends a reader's loan of `batch`. */
  giveBack(batch: SharedBatch): void {
    batch.loans--;
    if (!batch.isCurrent) this.#reuse(batch);
  }

  /** Gives the batches to nobody else. */
  #forget(): void {
    if (this.#first !== undefined) this.#end(this.#first);
    this.#first = undefined;
    if (this.#others.size === 0) return;
    for (const batch of this.#others.values()) this.#end(batch);
    this.#others.clear();
  }

  #end(batch: SharedBatch): void {
    batch.isCurrent = false;
    this.#reuse(batch);
  }

  #reuse({ loans, isKept, buffer }: SharedBatch): void {
    if (buffer !== undefined && loans === 0 && !isKept) this.#buffers.give(buffer);
  }

  #make(start: number, limit: number): SharedBatch | undefined {
    const ring = this.#ring;
    const format = this.#format;
    let end = start;
    let length = 0;
    let frames = 0;
    for (; end < limit; end++) {
      const item = ring.at(end);
      if (item === undefined) break;
      const leavesApart = format.wrap !== undefined && item.kind === "announcement";
      if (end > start && leavesApart) break;
      const size = ring.size(end);
      if (length > 0 && length + size > MAX_BATCH_BYTES) break;
      length += size;
      if (item.kind !== "announcement") frames++;
      if (!leavesApart) continue;
      end++;
      break;
    }
    const header = this.#headers.at(end - 1);
    if (end === start || header === undefined) return undefined;
    const wrapping = frames > 0 && length > 0 ? format.wrap?.(length) : undefined;
    const only = end === start + 1 ? ring.at(start) : undefined;
    const { bytes, buffer } = wrapping === undefined && only && "bytes" in only
      ? { bytes: only.bytes, buffer: undefined }
      : this.#join(start, end, length, wrapping);
    return { bytes, frames, start, end, header, buffer, loans: 0, isCurrent: true, isKept: false };
  }

  /** The bytes of the items from `start` to before `end`, which are `length`, one after the other. */
  #join(
    start: number,
    end: number,
    length: number,
    wrapping: Wrapping | undefined,
  ): Pick<SharedBatch, "bytes" | "buffer"> {
    const { before, after } = wrapping ?? BARE;
    const total = before.length + length + after.length;
    const isLarge = total > this.#buffers.bufferBytes;
    const buffer = isLarge ? new Uint8Array(total) : this.#buffers.take();
    buffer.set(before);
    let at = before.length;
    for (let sequence = start; sequence < end; sequence++) {
      const item = this.#ring.at(sequence) as MuxItem;
      if ("bytes" in item) buffer.set(item.bytes, at);
      else this.#format.copyTo?.(item, buffer, at);
      at += this.#ring.size(sequence);
    }
    buffer.set(after, at);
    return { bytes: buffer.subarray(0, total), buffer: isLarge ? undefined : buffer };
  }
}

const BARE: Wrapping = { before: new Uint8Array(), after: new Uint8Array() };
