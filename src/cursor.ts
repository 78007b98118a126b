/** Cursors: how a reader moves over a ring, and what it skips when it is too slow. */

import { LaggedError } from "./errors.ts";
import type { Pin, Ring, RingItem } from "./ring.ts";
import { Place, type Waiter } from "./wake_list.ts";

/**
 * How a reader starts and what it does when it is too slow.
 *
 * - `live`: from the newest key at its first read; drops to the newest key.
 * - `oldest`: from the oldest key kept at its first read; drops to the newest key.
 * - `record`: from the newest key when it is made, else from the next one; never drops, and fails with a {@linkcode LaggedError} where the
 *   ring's bounds overtake it. While it is late the ring keeps all that its bounds allow.
 */
export type ReadMode = "live" | "oldest" | "record";

/** How to read. */
export interface ReadOptions {
  /** Where to start and whether to drop. @default {"live"} */
  readonly mode?: ReadMode;
  /**
   * How far behind the newest item a reader may be, in ms, before it drops to a newer key. Without
   * it a reader drops when the ring overtakes it.
   */
  readonly maxLagMs?: number;
  /**
   * Whether it passes items on to where others wait for them, and is woken before those that don't.
   * @default {false}
   */
  readonly relays?: boolean;
}

/** Something that a reader takes items from, one at a time, without promises. */
export interface Source<T> {
  /** Takes the next item; undefined if there is none now. May throw. */
  next(): T | undefined;
  /** Whether nothing will come any more. */
  readonly done: boolean;
  /** Wakes `waiter` once when there may be more. */
  wait(waiter: Waiter): void;
  /** Ends reading, and the wait of `waiter`. Idempotent. */
  close(waiter?: Waiter): void;
  /**
   * Says, before the first item, that each is needed only until the next call of
   * {@linkcode Source.next}: its memory may be used again then.
   */
  lend?(): void;
}

/** One reader's place in a ring. */
export class Cursor<T extends RingItem> implements Source<T>, Pin {
  /** Sequence number of the next item to read. */
  sequence: number;
  /** Items passed over because the reader was too slow. */
  dropped = 0;
  /** How often the cursor moved other than by one item. */
  jumps = 0;
  /** Whether another cursor decides where this one is: it then drops only what is gone. */
  follows = false;
  readonly #ring: Ring<T>;
  readonly #mode: ReadMode;
  readonly #maxLagUs: number;
  readonly #place: Place;
  /** The key at which a recorder starts; −1 if it takes the next one. */
  readonly #startKey: number;
  #needsKey = true;
  #fresh = true;

  /** A cursor at the start that `options` name. */
  constructor(ring: Ring<T>, options: ReadOptions = {}) {
    this.#ring = ring;
    this.#place = new Place(options.relays ? ring.relays : ring.waiting);
    this.#mode = options.mode ?? "live";
    this.#maxLagUs = (options.maxLagMs ?? Infinity) * 1000;
    this.sequence = ring.tail;
    this.#startKey = ring.newestKey;
    if (this.#mode === "record") ring.pin(this);
  }

  /** Whether the reader waits for a key, to start or after a loss. */
  get needsKey(): boolean {
    return this.#needsKey;
  }

  /** Whether all items are read and none will come. */
  get done(): boolean {
    return this.#ring.closed && this.peek() === undefined;
  }

  /** How far the next item lies behind the newest one, in µs. */
  get lagUs(): number {
    const next = this.#ring.at(Math.max(this.sequence, this.#ring.tail));
    const newest = this.#ring.newest();
    return next && newest ? newest.dts - next.dts : 0;
  }

  /**
   * The next item below sequence number `limit`, after dropping what must be; it stays unread.
   *
   * @throws {LaggedError} If the reader must not drop and items were lost.
   */
  peek(limit: number = this.#ring.head): T | undefined {
    const ring = this.#ring;
    if (!this.#needsKey) {
      if (this.sequence < ring.tail) this.#fallBehind();
      else if (this.#maxLagUs !== Infinity && this.lagUs > this.#maxLagUs) this.#catchUp();
    }
    if (this.#needsKey && !this.#findKey()) return undefined;
    return this.sequence < limit ? ring.at(this.sequence) : undefined;
  }

  /** Takes the next item. */
  next(): T | undefined {
    const item = this.peek();
    if (item !== undefined) this.sequence++;
    return item;
  }

  /**
   * Moves forward to `sequence`, and counts what it passes over unless reading only `begins` there;
   * does nothing if the cursor is there or past it.
   */
  seek(sequence: number, begins = false): void {
    this.#needsKey = false;
    this.#fresh ||= begins;
    if (sequence > this.sequence) this.#jump(sequence);
    this.#fresh = false;
  }

  /** Wakes `waiter` when there is more in the ring. */
  wait(waiter: Waiter): void {
    this.#place.wait(waiter);
  }

  /** Lets go of the ring. */
  close(waiter?: Waiter): void {
    this.#ring.unpin(this);
    if (waiter) this.#place.leave();
  }

  #findKey(): boolean {
    const ring = this.#ring;
    const key = this.#fresh ? this.#firstKey() : ring.newestKey;
    if (key < this.sequence) {
      this.#jump(ring.head);
      return false;
    }
    this.#jump(key);
    this.#needsKey = false;
    this.#fresh = false;
    return true;
  }

  #firstKey(): number {
    const ring = this.#ring;
    if (this.#mode === "live") return ring.newestKey;
    if (this.#mode === "oldest") return ring.keyFrom(ring.tail);
    if (this.#startKey < 0) return ring.keyFrom(this.sequence);
    if (this.#startKey < ring.tail) throw new LaggedError(ring.tail - this.#startKey);
    return this.#startKey;
  }

  #fallBehind(): void {
    if (this.#mode === "record") throw new LaggedError(this.#ring.tail - this.sequence);
    if (this.follows) this.#jump(this.#ring.tail);
    else this.#needsKey = true;
  }

  #catchUp(): void {
    if (this.follows || this.#mode === "record") return;
    if (this.#ring.newestKey > this.sequence) this.#jump(this.#ring.newestKey);
  }

  #jump(sequence: number): void {
    if (!this.#fresh) this.dropped += sequence - this.sequence;
    this.sequence = sequence;
    this.jumps++;
  }
}
