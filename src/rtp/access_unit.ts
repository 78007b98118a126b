/**
 * Access units out of the NAL units of H.264 and H.265 packets (RFC 6184 5.1, RFC 7798 4.1).
 *
 * An access unit ends where the timestamp changes, which every sender does, or at the marker bit,
 * which gives it a frame earlier but which many senders set wrongly: on parameter sets, on every
 * packet, on every slice, or never. So a marker counts
 *
 * - only at the end of a NAL unit, and once a slice of the access unit is there;
 * - only after the sender has proved that it means it: a slice came without it and a later one of the
 *   same access unit with it, or a keyframe, or {@linkcode MARKER_PROOFS} others, ended at their first
 *   marker. Until then access units wait for the next packet;
 * - no more, for good, once the same access unit went on behind it.
 *
 * What is missing breaks the access unit that was under way, and the next one unless its beginning
 * is certain: correct pictures before many pictures. After a loss it is certain of one that begins
 * with a delimiter, and of one that begins just as all others of its kind from this sender did; of
 * the first of a kind, if it begins with a sequence (H.265: video) parameter set.
 */

import { MAX_NAL_UNITS } from "../codecs/nal.ts";
import { InvalidDataError } from "../errors.ts";
import type { RtpUnit } from "./payload.ts";

/**
 * Most bytes of one access unit: a keyframe of 8K video at hundreds of Mbit/s has some MB, and a
 * sender that never ends one must not fill the memory.
 */
export const MAX_ACCESS_UNIT_BYTES = 8 * 1024 * 1024;

/** Access units without a keyframe among them after which a sender's markers are believed. */
export const MARKER_PROOFS = 16;

/** What must be known of the NAL units of a codec. */
export interface NalRules {
  /** The `nal_unit_type`. */
  type(nalu: Uint8Array): number;
  /** Whether the type is that of a slice or of the first part of one. */
  isSlice(type: number): boolean;
  /** Whether the type is that of a slice of a picture where decoding can start. */
  isKeySlice(type: number): boolean;
  /** Whether it is the first slice of a picture (of the base layer). */
  startsPicture(nalu: Uint8Array): boolean;
  /** Whether the type, if it is no slice's, begins an access unit when it comes after a slice. */
  opensUnit(type: number): boolean;
  /** Type of the access unit delimiter. */
  readonly delimiter: number;
  /** Type of the parameter set that comes first. */
  readonly firstSet: number;
}

/** What is known of the beginning of an access unit. */
type Start =
  /** Nothing is missing before it. */
  | "certain"
  /**
   * It may be the middle of one: it is the first of all, from a sender that was under way, or has the
   * timestamp of the one before.
   */
  | "likely"
  /** Packets are missing before it. */
  | "uncertain";

/** Key of access units without a slice among the heads, which go by the type of the first slice. */
const NO_SLICE = -1;

/** Stands for heads that differ. */
const VARIES = -1;

/** An access unit under way. */
class Gathering {
  readonly timestamp: number;
  readonly start: Start;
  readonly nalus: Uint8Array[] = [];
  /** Type of the first NAL unit. */
  first: number | undefined;
  /** Type of the first slice. */
  slice: number | undefined;
  /** Whether the first slice is the first of its picture. */
  sliceStarts = false;
  /** Whether a slice is one of a keyframe. */
  key = false;
  broken = false;
  /** Whether a packet that ended a slice had no marker. */
  unmarked = false;
  /** Pictures that begin in it: two where both fields of a frame have one timestamp. */
  #pictures = 0;
  #types = 0;
  #bytes = 0;

  constructor(timestamp: number, start: Start) {
    this.timestamp = timestamp;
    this.start = start;
  }

  /** A number of the types before the first slice and of how many pictures follow. */
  get head(): number {
    return (Math.imul(this.#types, 31) + this.#pictures) >>> 0;
  }

  add(nalu: Uint8Array, rules: NalRules): void {
    const type = rules.type(nalu);
    const starts = rules.startsPicture(nalu);
    this.first ??= type;
    if (rules.isSlice(type)) {
      if (this.slice === undefined) this.sliceStarts = starts;
      this.slice ??= type;
      this.key ||= rules.isKeySlice(type);
    } else if (this.slice === undefined) {
      this.#types = Math.imul(this.#types, 67) + type + 1;
    }
    if (this.broken) return;
    if (starts) this.#pictures++;
    this.#bytes += nalu.length;
    if (this.nalus.length === MAX_NAL_UNITS || this.#bytes > MAX_ACCESS_UNIT_BYTES) {
      this.break();
      throw new InvalidDataError(
        `Cannot gather an access unit: its size is over ${MAX_NAL_UNITS} NAL units ` +
          `or ${MAX_ACCESS_UNIT_BYTES} bytes`,
      );
    }
    this.nalus.push(nalu);
  }

  break(): void {
    this.broken = true;
    this.nalus.length = 0;
  }
}

/** Gathers NAL units, which come in decoding order, into access units. */
export class AccessUnits {
  readonly #rules: NalRules;
  /** How access units begin, by the type of their first slice. */
  readonly #heads = new Map<number, number>();
  #ready: RtpUnit[] = [];
  #dropped = 0;
  #lost = false;
  #unit: Gathering | undefined;
  /** Of the access unit: under way, waiting behind a marker for proof, or ended at a marker. */
  #phase: "open" | "held" | "closed" = "open";
  #markers: "unproven" | "believed" | "wrong" = "unproven";
  #markerSeen = false;
  #proofs = 0;

  /** Without any access unit. */
  constructor(rules: NalRules) {
    this.#rules = rules;
  }

  /** Access units dropped so far. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Says that NAL units are missing before the next one. */
  lose(): void {
    this.#lost = true;
  }

  /** Goes on to the access unit of `timestamp`, ending the one before. */
  enter(timestamp: number): void {
    const unit = this.#unit;
    if (unit === undefined) {
      this.#begin(timestamp, this.#lost ? "uncertain" : "likely");
    } else if (timestamp !== unit.timestamp) {
      const lost = this.#lost;
      if (this.#phase !== "closed") this.#finish(unit);
      this.#begin(timestamp, lost ? "uncertain" : "certain");
    } else if (this.#lost && this.#phase !== "closed") {
      // The marker that it waits behind is no proof either, so the loss may lie inside of it.
      unit.break();
      this.#phase = "open";
      this.#lost = false;
    }
  }

  /**
   * Takes a NAL unit of the access unit of `timestamp`.
   *
   * @throws {InvalidDataError} If the access unit becomes too large, which breaks it.
   */
  add(nalu: Uint8Array, timestamp: number): void {
    this.enter(timestamp);
    if (this.#phase !== "open") this.#resume(nalu, timestamp);
    this.#unit?.add(nalu, this.#rules);
  }

  /** Says that a packet is over, whether it had the marker bit and ended a NAL unit. */
  endPacket({ marker, whole }: { marker: boolean; whole: boolean }): void {
    const unit = this.#unit;
    if (marker) this.#markerSeen = true;
    if (!whole || unit?.slice === undefined || this.#phase !== "open") return;
    if (!marker) {
      unit.unmarked = true;
      return;
    }
    if (this.#markers === "unproven" && unit.unmarked && !unit.broken) this.#markers = "believed";
    if (this.#markers !== "believed") {
      this.#phase = "held";
      return;
    }
    this.#finish(unit);
    this.#phase = "closed";
  }

  /** Says that a part of the access unit of `timestamp` is missing or malformed. */
  break(timestamp: number): void {
    this.enter(timestamp);
    if (this.#phase === "closed") this.#begin(timestamp, "uncertain");
    this.#phase = "open";
    this.#unit?.break();
  }

  /** The access units that have ended since the last call. */
  take(): readonly RtpUnit[] {
    const ready = this.#ready;
    if (ready.length > 0) this.#ready = [];
    return ready;
  }

  /**
   * Ends the access unit under way, at the end of all packets. One without a marker counts as whole
   * only if the sender never set one.
   */
  flush(): void {
    const unit = this.#unit;
    if (unit !== undefined && this.#phase !== "closed") {
      if (this.#phase === "open" && this.#markerSeen) unit.break();
      this.#finish(unit);
    }
    this.#unit = undefined;
    this.#phase = "open";
    this.#lost = false;
  }

  /** Decides what a NAL unit is that has the timestamp of the access unit before the marker. */
  #resume(nalu: Uint8Array, timestamp: number): void {
    const lost = this.#lost;
    const ended = this.#phase === "closed";
    const type = this.#rules.type(nalu);
    const opens = this.#rules.isSlice(type)
      ? this.#rules.startsPicture(nalu)
      : this.#rules.opensUnit(type);
    if (ended && lost) {
      this.#begin(timestamp, "uncertain");
    } else if (opens) {
      if (!ended && this.#unit !== undefined) this.#finish(this.#unit);
      this.#begin(timestamp, "likely");
    } else {
      this.#markers = "wrong";
      // What ended at the marker is out of reach: the rest of it goes the way of a broken one.
      if (ended) this.#begin(timestamp, "certain").break();
      this.#phase = "open";
    }
  }

  #begin(timestamp: number, start: Start): Gathering {
    this.#lost = false;
    this.#phase = "open";
    return this.#unit = new Gathering(timestamp, start);
  }

  /** Ends an access unit: it is ready, or dropped. */
  #finish(unit: Gathering): void {
    if (unit.broken || this.#lost || !this.#beginsWhole(unit)) {
      this.#dropped++;
      unit.break();
      return;
    }
    if (unit.nalus.length === 0) return;
    this.#ready.push({ timestamp: unit.timestamp, parts: unit.nalus });
    if (this.#phase === "held" && this.#markers === "unproven") {
      this.#proofs++;
      if (unit.key || this.#proofs === MARKER_PROOFS) this.#markers = "believed";
    }
    if (unit.start !== "certain") return;
    const kind = unit.slice ?? NO_SLICE;
    const head = this.#heads.get(kind) ?? unit.head;
    this.#heads.set(kind, head === unit.head ? head : VARIES);
  }

  #beginsWhole({ start, first, slice, sliceStarts, head }: Gathering): boolean {
    if (start === "certain") return true;
    if (slice !== undefined && !sliceStarts) return false;
    if (start === "likely" || first === this.#rules.delimiter) return true;
    const usual = this.#heads.get(slice ?? NO_SLICE);
    return usual === undefined ? first === this.#rules.firstSet : head === usual;
  }
}
