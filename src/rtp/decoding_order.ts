/** Interleaved NAL units put into decoding order by their numbers (RFC 6184 7.2.2, RFC 7798 6). */

import { Unwrapper } from "../time.ts";
import { MAX_ACCESS_UNIT_BYTES } from "./access_unit.ts";
import type { RtpFormat } from "./format.ts";

/** Ends the range of the parameters of interleaving (RFC 6184 8.1, RFC 7798 7.1). */
const MAX_PARAMETER = 32_767;

/**
 * Most NAL units held back: senders that interleave spread a picture's slices over some pictures,
 * and each one more makes every insertion dearer.
 */
export const MAX_HELD_UNITS = 4096;

/** Decoding order numbers that a loss may reach ahead where the sender does not say how many. */
const DEFAULT_REACH = 1024;

/** What a sender says of its interleaving. */
export interface Interleaving {
  /**
   * NAL units that may come before one that they follow in decoding order: `sprop-interleaving-depth`,
   * `sprop-depack-buf-nalus`.
   */
  readonly depth: number;
  /** Most that a decoding order number lies before one that came earlier: `sprop-max-don-diff`. */
  readonly maxDonDiff?: number | undefined;
  /** Whether a NAL unit counts for `depth`. */
  counts(nalu: Uint8Array): boolean;
}

/** The format parameter `name`, 0 to 32767; undefined if it is missing or no such number. */
export function numberParameter(format: RtpFormat, name: string): number | undefined {
  const text = format.parameters.get(name) ?? "";
  return /^\d{1,5}$/.test(text) && Number(text) <= MAX_PARAMETER ? Number(text) : undefined;
}

/** Takes NAL units in decoding order. */
export interface DecodingOrderSink {
  /** Takes the next NAL unit. */
  add(nalu: Uint8Array, timestamp: number): void;
  /** Is told that NAL units are missing before the next one. */
  lose(): void;
}

interface Numbered {
  readonly nalu: Uint8Array;
  readonly timestamp: number;
  /** Decoding order number without its wrap-around. */
  readonly don: number;
}

/**
 * Holds NAL units back until none can come that goes before them.
 *
 * Numbers may be left out at will (RFC 6184 5.5), so a gap alone says nothing. It says that NAL units
 * are missing there while lost packets may still show, as senders give each NAL unit a number of its
 * own. What is held is bounded by {@linkcode MAX_HELD_UNITS} and {@linkcode MAX_ACCESS_UNIT_BYTES},
 * whatever the sender says.
 */
export class DecodingOrder {
  readonly #interleaving: Interleaving;
  readonly #sink: DecodingOrderSink;
  readonly #reach: number;
  readonly #unwrapper = new Unwrapper(16);
  /** Held back, by number. */
  readonly #held: Numbered[] = [];
  #heldBytes = 0;
  #counted = 0;
  #newest = -Infinity;
  #last: number | undefined;
  /** A gap before this number or at it is a loss. */
  #lossEnd = -Infinity;

  /** Hands over to `sink`. */
  constructor(interleaving: Interleaving, sink: DecodingOrderSink) {
    this.#interleaving = interleaving;
    this.#sink = sink;
    this.#reach = Math.max(interleaving.maxDonDiff ?? DEFAULT_REACH, DEFAULT_REACH);
  }

  /** Says that packets are missing before the next NAL unit. */
  lose(): void {
    this.#lossEnd = Infinity;
  }

  /** Takes a NAL unit with its 16-bit number, and hands over those that none can precede any more. */
  put(nalu: Uint8Array, timestamp: number, wireDon: number): void {
    const don = this.#unwrapper.unwrap(wireDon);
    if (this.#last !== undefined && don < this.#last) {
      // One that is late has had its turn; one far back is of a sender that numbers anew.
      if (this.#last - don <= this.#reach) return;
      this.flush();
      this.#sink.lose();
    }
    this.#newest = Math.max(this.#newest, don);
    if (this.#lossEnd === Infinity) this.#lossEnd = this.#newest + this.#reach;
    this.#hold({ nalu, timestamp, don });
    while (this.#isFull()) this.#release();
  }

  /** Hands over all NAL units, as at the end of all packets. */
  flush(): void {
    while (this.#held.length > 0) this.#release();
    this.#last = undefined;
    this.#newest = -Infinity;
  }

  #hold(unit: Numbered): void {
    const held = this.#held;
    let at = 0;
    for (let end = held.length; at < end;) {
      const middle = (at + end) >> 1;
      if ((held[middle]?.don ?? 0) > unit.don) end = middle;
      else at = middle + 1;
    }
    held.splice(at, 0, unit);
    this.#heldBytes += unit.nalu.length;
    if (this.#interleaving.counts(unit.nalu)) this.#counted++;
  }

  #isFull(): boolean {
    const oldest = this.#held[0];
    if (oldest === undefined) return false;
    const { depth, maxDonDiff = Infinity } = this.#interleaving;
    return this.#counted > depth || this.#newest - oldest.don > maxDonDiff ||
      this.#held.length > MAX_HELD_UNITS || this.#heldBytes > MAX_ACCESS_UNIT_BYTES;
  }

  #release(): void {
    const unit = this.#held.shift();
    if (unit === undefined) return;
    this.#heldBytes -= unit.nalu.length;
    if (this.#interleaving.counts(unit.nalu)) this.#counted--;
    const gap = this.#last === undefined || unit.don - this.#last > 1;
    if (gap && unit.don <= this.#lossEnd) this.#sink.lose();
    this.#last = unit.don;
    this.#sink.add(unit.nalu, unit.timestamp);
  }
}
