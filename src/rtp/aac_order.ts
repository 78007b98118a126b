/** The order of interleaved access units (RFC 3640 2.5). */

import type { RtpUnit } from "./payload.ts";

/** Most access units that wait: with AAC over 2 s, which no sender spreads a loss over. */
const MAX_HELD = 128;

/**
 * Puts access units in the order of their timestamps.
 *
 * The timestamps of packets grow, and so do those of the access units in one. So what is before a
 * packet's timestamp is complete with it, and so is what goes on without a gap from there.
 */
export class AuOrder {
  readonly #duration: number;
  readonly #maxAhead: number;
  /** Those that others may still go before, in their order. */
  #held: RtpUnit[] = [];

  /**
   * An order of access units of `duration` ticks each, which are at most `maxAhead` ticks ahead of a
   * packet's timestamp.
   */
  constructor(duration: number, maxAhead: number) {
    this.#duration = duration;
    this.#maxAhead = maxAhead;
  }

  /** Takes the access units of the next packet, whose timestamp is `base`: those that are in order. */
  add(base: number, units: readonly RtpUnit[]): readonly RtpUnit[] {
    const ahead = ({ timestamp }: RtpUnit) => (timestamp - base) | 0;
    const past = this.#held.findIndex((unit) => ahead(unit) >= 0);
    const ready = this.#held.splice(0, past < 0 ? this.#held.length : past);
    // Those far ahead are of before a jump back.
    const far = this.#held.findIndex((unit) => ahead(unit) > this.#maxAhead);
    if (far >= 0) ready.push(...this.#held.splice(far));
    this.#held = [...this.#held, ...units].sort((a, b) => ahead(a) - ahead(b));
    let next = 0;
    let ordered = 0;
    for (const unit of this.#held) {
      // Less than half a frame off is a matter of rounding.
      if (ahead(unit) - next >= this.#duration / 2) break;
      next = ahead(unit) + this.#duration;
      ordered++;
    }
    ready.push(...this.#held.splice(0, Math.max(ordered, this.#held.length - MAX_HELD)));
    return ready;
  }

  /** All that are left. */
  flush(): readonly RtpUnit[] {
    return this.#held.splice(0);
  }
}
