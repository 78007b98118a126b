/** The ring: single writer, any number of readers, the only fan-out primitive of the engine. */

import { WakeList } from "./wake_list.ts";

/** What a ring must know of an item to place and drop it. */
export interface RingItem {
  /** Decode time on the stream's timeline, in µs. */
  readonly dts: number;
  /** Whether a reader can start here. */
  readonly key: boolean;
}

/** Bounds of a {@linkcode Ring}. */
export interface RingOptions {
  /** Most items kept. @default {8192} */
  readonly maxItems?: number;
  /** Most bytes kept. @default {67108864} (64 MiB: 10 s at 50 Mbit/s) */
  readonly maxBytes?: number;
  /** Longest time kept, from the oldest item to the newest, in µs. @default {30000000} */
  readonly maxSpanUs?: number;
  /**
   * Time kept before the newest item even where nobody would start there, in µs: what a reader may
   * be late without loss. @default {2000000}
   */
  readonly historyUs?: number;
  /** The time from which on another ring needs this one's items, in µs. @default {never} */
  readonly retainFromUs?: () => number;
}

/** A position in a ring that keeps items from being dropped before the ring's bounds force it. */
export interface Pin {
  /** Sequence number of the oldest item still needed. */
  readonly sequence: number;
}

const INITIAL_SLOTS = 64;
const RESOLVED = Promise.resolve();

/**
 * A bounded history of items with ever-growing sequence numbers.
 *
 * It holds the items from the newest key on, so that a new reader starts there at once, and a
 * little history; past its bounds in items, bytes or time the oldest go, keys or not. A reader is
 * an integer: it costs nothing while it waits. Writing wakes the readers that wait in a microtask,
 * once for all that was written in one turn.
 */
export class Ring<T extends RingItem> {
  /** Readers that have read everything. */
  readonly waiting: WakeList = new WakeList();
  /** Those of them that pass items on elsewhere, and are woken before the others. */
  readonly relays: WakeList = new WakeList();
  /** Who waits for nothing but the end of the ring. */
  readonly closing: WakeList = new WakeList();
  readonly #maxItems: number;
  readonly #maxBytes: number;
  readonly #maxSpanUs: number;
  readonly #historyUs: number;
  readonly #retainFromUs: () => number;
  readonly #pins = new Set<Pin>();
  #items: (T | undefined)[] = new Array(INITIAL_SLOTS).fill(undefined);
  /**
   * Two numbers a slot: its time, and twice its bytes, plus 1 for a key. Items that go are old, and
   * to look at them would bring them back into the processor's caches.
   */
  #marks = new Float64Array(INITIAL_SLOTS * 2);
  #mask = INITIAL_SLOTS - 1;
  #head = 0;
  #tail = 0;
  #newestKey = -1;
  #bytes = 0;
  #closed = false;
  #waking = false;

  /** An empty ring. */
  constructor(options: RingOptions = {}) {
    this.#maxItems = options.maxItems ?? 8192;
    this.#maxBytes = options.maxBytes ?? 64 * 1024 * 1024;
    this.#maxSpanUs = options.maxSpanUs ?? 30_000_000;
    this.#historyUs = options.historyUs ?? 2_000_000;
    this.#retainFromUs = options.retainFromUs ?? (() => Infinity);
  }

  /** Sequence number that the next item will get. */
  get head(): number {
    return this.#head;
  }

  /** Sequence number of the oldest item kept; {@linkcode Ring.head} if there is none. */
  get tail(): number {
    return this.#tail;
  }

  /** Sequence number of the newest key kept; −1 if there is none. */
  get newestKey(): number {
    return this.#newestKey >= this.#tail ? this.#newestKey : -1;
  }

  /** Bytes kept. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether the writer is done: readers end once they have read what is there. */
  get closed(): boolean {
    return this.#closed;
  }

  /** The item numbered `sequence`, if it is kept. */
  at(sequence: number): T | undefined {
    if (sequence < this.#tail || sequence >= this.#head) return undefined;
    return this.#items[sequence & this.#mask];
  }

  /** Sequence number of the first key kept from `sequence` on; −1 if there is none. */
  keyFrom(sequence: number): number {
    const newest = this.newestKey;
    for (let at = Math.max(sequence, this.#tail); at <= newest; at++) {
      if ((this.#mark(at) & 1) === 1) return at;
    }
    return -1;
  }

  /** Bytes of the item numbered `sequence`; 0 if it is not kept. */
  size(sequence: number): number {
    return this.at(sequence) === undefined ? 0 : Math.floor(this.#mark(sequence) / 2);
  }

  /** The newest item, if there is one. */
  newest(): T | undefined {
    return this.at(this.#head - 1);
  }

  /** Sequence number of the first item kept from `dtsUs` on; {@linkcode Ring.head} if none. */
  find(dtsUs: number): number {
    let low = this.#tail;
    let high = this.#head;
    while (low < high) {
      const middle = low + Math.floor((high - low) / 2);
      if (this.#time(middle) < dtsUs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /**
   * Appends an item of `bytes` bytes and returns its sequence number. `key` says whether a reader
   * can start there, if that is another thing than the item's own.
   *
   * @throws {TypeError} If the ring is closed.
   */
  write(item: T, bytes: number, key: boolean = item.key): number {
    if (this.#closed) throw new TypeError("Cannot write: the ring is closed");
    if (this.#head - this.#tail > this.#mask) this.#grow();
    const sequence = this.#head++;
    const slot = sequence & this.#mask;
    this.#items[slot] = item;
    this.#marks[slot * 2] = item.dts;
    this.#marks[slot * 2 + 1] = bytes * 2 + (key ? 1 : 0);
    this.#bytes += bytes;
    if (key) this.#newestKey = sequence;
    this.#evict(item.dts);
    this.#wakeSoon();
    return sequence;
  }

  /** Keeps items from `pin` on, as far as the bounds allow, until {@linkcode Ring.unpin}. */
  pin(pin: Pin): void {
    this.#pins.add(pin);
  }

  /** Ends a {@linkcode Ring.pin}. */
  unpin(pin: Pin): void {
    this.#pins.delete(pin);
  }

  /** Ends the ring: what is kept can still be read. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#wakeSoon();
  }

  readonly #wake = () => {
    this.#waking = false;
    this.relays.wake();
    this.waiting.wake();
    if (this.#closed) this.closing.wake();
  };

  #wakeSoon(): void {
    const ending = this.#closed ? this.closing.size : 0;
    if (this.#waking || this.waiting.size + this.relays.size + ending === 0) return;
    this.#waking = true;
    RESOLVED.then(this.#wake);
  }

  /** Decode time of the item numbered `sequence`, one of those that are kept, in µs. */
  #time(sequence: number): number {
    return this.#marks[(sequence & this.#mask) * 2] as number;
  }

  /** Twice the bytes of such an item, plus 1 for a key. */
  #mark(sequence: number): number {
    return this.#marks[(sequence & this.#mask) * 2 + 1] as number;
  }

  #evict(newestDts: number): void {
    let neededFrom = newestDts - this.#historyUs;
    let pinned = Infinity;
    // Most of the time the oldest item is within the history, and nothing else matters.
    if (this.#time(this.#tail) < neededFrom) {
      const keyTime = this.newestKey < 0 ? Infinity : this.#time(this.#newestKey);
      neededFrom = Math.min(neededFrom, keyTime, this.#retainFromUs());
      if (this.#pins.size > 0) {
        for (const pin of this.#pins) pinned = Math.min(pinned, pin.sequence);
      }
    }
    while (this.#tail < this.#head - 1) {
      const time = this.#time(this.#tail);
      const over = this.#head - this.#tail > this.#maxItems || this.#bytes > this.#maxBytes ||
        newestDts - time > this.#maxSpanUs;
      if (!over && (time >= neededFrom || this.#tail >= pinned)) break;
      this.#bytes -= Math.floor(this.#mark(this.#tail) / 2);
      this.#items[this.#tail++ & this.#mask] = undefined;
    }
  }

  #grow(): void {
    const slots = (this.#mask + 1) * 2;
    const items = new Array<T | undefined>(slots).fill(undefined);
    const marks = new Float64Array(slots * 2);
    for (let sequence = this.#tail; sequence < this.#head; sequence++) {
      const from = sequence & this.#mask;
      const to = sequence & (slots - 1);
      items[to] = this.#items[from];
      marks[to * 2] = this.#marks[from * 2] as number;
      marks[to * 2 + 1] = this.#marks[from * 2 + 1] as number;
    }
    this.#items = items;
    this.#marks = marks;
    this.#mask = slots - 1;
  }
}
