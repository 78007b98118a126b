/** Interleaving: the frames of a stream's video and audio track in one order. */

import { Cursor, type ReadOptions, type Source } from "./cursor.ts";
import type { MediaFrame } from "./frame.ts";
import type { Ring } from "./ring.ts";
import type { Waiter } from "./wake_list.ts";

interface Lane {
  readonly kind: "video" | "audio";
  readonly ring: Ring<MediaFrame>;
  readonly cursor: Cursor<MediaFrame>;
}

/** How long audio waits for the first frame of a video track that was only announced. */
const MAX_HOLD_US = 1_000_000;

/**
 * Reads a video and an audio ring as one sequence, ordered by DTS (video first where equal) as far
 * as frames have arrived: it never holds a frame back to wait for the other track.
 *
 * Video leads where there is video: reading starts at one of its keys and audio with it, and where
 * the reader is too slow both drop to the same key. A track may be added while reading goes on.
 */
export class Interleaver implements Source<MediaFrame> {
  readonly #options: ReadOptions;
  #lead: Lane | undefined;
  #follower: Lane | undefined;
  #seenJumps = 0;
  /** Whether the follower goes on while the lead looks for a key. */
  #alone = false;
  #waiter: Waiter | undefined;
  /** Where the first key of the lead lies that the follower started with. */
  #startUs: number | undefined;
  /** Where the newest such key lies: the follower's frames before it are left out. */
  #fromUs = -Infinity;
  #ended = false;

  /** A reader of no track yet. */
  constructor(options: ReadOptions = {}) {
    this.#options = options;
  }

  /** Frames passed over because the reader was too slow. */
  get dropped(): number {
    return (this.#lead?.cursor.dropped ?? 0) + (this.#follower?.cursor.dropped ?? 0);
  }

  /** How far the next frame lies behind the newest one of the leading track, in µs. */
  get lagUs(): number {
    return this.#lead?.cursor.lagUs ?? 0;
  }

  /** Whether all tracks have ended and are read; without any, whether none will come. */
  get done(): boolean {
    return (this.#lead?.cursor.done ?? this.#ended) && (this.#follower?.cursor.done ?? true);
  }

  /** Adds the one video or the one audio track, also while reading goes on. */
  add(kind: "video" | "audio", ring: Ring<MediaFrame>): void {
    const lane: Lane = { kind, ring, cursor: new Cursor(ring, this.#options) };
    const lead = this.#lead;
    if (lead === undefined) {
      this.#lead = lane;
    } else if (kind === "video" && lead.kind === "audio") {
      this.#lead = lane;
      this.#follower = lead;
      this.#alone = !lead.cursor.needsKey;
      lead.cursor.follows = true;
    } else {
      this.#follower = lane;
      lane.cursor.follows = true;
      // A lead that still looks for a key takes the follower with it once it has one.
      if (!lead.cursor.needsKey) {
        const next = lead.ring.at(lead.cursor.sequence) ?? lead.ring.newest();
        lane.cursor.seek(next === undefined ? ring.head : ring.find(next.dts));
        this.#seenJumps = lead.cursor.jumps;
      }
    }
    if (this.#waiter) this.wait(this.#waiter);
  }

  /** Says that no track will be added any more. */
  end(): void {
    this.#ended = true;
    if (this.#lead === undefined) this.#waiter?.wake();
  }

  /**
   * Takes the next frame of either track.
   *
   * @throws {LaggedError} If the reader must not drop and frames were lost.
   */
  next(): MediaFrame | undefined {
    const lead = this.#lead?.cursor;
    if (lead === undefined) return undefined;
    const first = lead.peek();
    const follower = this.#follower;
    if (follower === undefined) {
      if (first !== undefined) lead.sequence++;
      return first;
    }
    if (first !== undefined && lead.jumps !== this.#seenJumps) {
      this.#seenJumps = lead.jumps;
      if (!this.#alone) this.#align(follower, first.dts);
      this.#alone = false;
    }
    if (lead.needsKey && !this.#alone && !lead.done) {
      if (!this.#leadIsMissing()) return undefined;
      this.#alone = true;
    }
    let second = follower.cursor.peek();
    if (second !== undefined && second.dts < this.#fromUs) {
      // It reached the ring after the lead's key, but belongs before it.
      this.#align(follower, this.#fromUs);
      second = follower.cursor.peek();
    }
    const leads = second === undefined || (first !== undefined && this.#precedes(first, second));
    if (!leads) follower.cursor.sequence++;
    else if (first !== undefined) lead.sequence++;
    return leads ? first : second;
  }

  /** Wakes `waiter` when either track has more. */
  wait(waiter: Waiter): void {
    this.#waiter = waiter;
    this.#lead?.cursor.wait(waiter);
    this.#follower?.cursor.wait(waiter);
  }

  /** Lets go of the tracks. */
  close(waiter?: Waiter): void {
    this.#waiter = undefined;
    this.#lead?.cursor.close(waiter);
    this.#follower?.cursor.close(waiter);
  }

  /** Lets the follower go on from the lead's key at `dtsUs`; what is before the start is no loss. */
  #align({ cursor, ring }: Lane, dtsUs: number): void {
    this.#startUs ??= dtsUs;
    this.#fromUs = dtsUs;
    cursor.seek(ring.find(this.#startUs), true);
    cursor.seek(ring.find(dtsUs));
  }

  /** Whether the lead has never had a frame while the follower has been waiting for long. */
  #leadIsMissing(): boolean {
    if (this.#follower === undefined || this.#lead?.ring.head !== 0) return false;
    return this.#follower.cursor.lagUs > MAX_HOLD_US;
  }

  /** Whether the lead's frame goes before the follower's: by DTS, video first where equal. */
  #precedes(first: MediaFrame, second: MediaFrame): boolean {
    return first.dts < second.dts || (first.dts === second.dts && first.kind === "video");
  }
}
