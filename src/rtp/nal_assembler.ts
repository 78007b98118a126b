/** From the packets of H.264 and H.265 to access units: what both payload formats share. */

import { InvalidDataError } from "../errors.ts";
import { AccessUnits, MAX_ACCESS_UNIT_BYTES, type NalRules } from "./access_unit.ts";
import { DecodingOrder, type Interleaving } from "./decoding_order.ts";
import type { RtpPacket } from "./packet.ts";
import type { RtpUnit } from "./payload.ts";

/**
 * Most fragments of one NAL unit: those of the largest access unit, at 512 bytes each. Smaller ones
 * would take more memory for their views than for their bytes.
 */
export const MAX_FRAGMENTS = MAX_ACCESS_UNIT_BYTES / 512;

/** A whole NAL unit in a packet. */
export interface PackedNalUnit {
  /** The NAL unit. */
  readonly nalu: Uint8Array;
  /** Ticks from the packet's timestamp to its own. @default {0} */
  readonly offset?: number;
  /** Decoding order number: 16 bits. @default {the order is that of the packets} */
  readonly don?: number | undefined;
}

/** A part of a NAL unit in a packet. */
export interface NalFragment {
  /** The NAL unit's header: 8 bits of H.264, 16 bits of H.265. */
  readonly header: number;
  /** Whether it is the first part. */
  readonly start: boolean;
  /** Whether it is the last part. */
  readonly end: boolean;
  /** The part, without the header. */
  readonly data: Uint8Array;
  /** Decoding order number of a first part: 16 bits. @default {the order is that of the packets} */
  readonly don?: number | undefined;
}

/** What a packet holds: whole NAL units, or a part of one. */
export type NalPayload = readonly PackedNalUnit[] | NalFragment;

/** A payload format of NAL units. */
export interface NalPayloadFormat {
  /** The codec's NAL units. */
  readonly rules: NalRules;
  /** Bytes of a NAL unit's header. */
  readonly headerLength: 1 | 2;
  /** Interleaving of NAL units. @default {the order is that of the packets} */
  readonly interleaving?: Interleaving | undefined;
  /**
   * The content of a payload, which is not empty.
   *
   * @throws {InvalidDataError} If it is malformed.
   */
  parse(payload: Uint8Array): NalPayload;
}

/** A NAL unit whose last part has not come. */
interface Fragments {
  readonly header: number;
  readonly timestamp: number;
  readonly don: number | undefined;
  readonly parts: Uint8Array[];
  bytes: number;
}

/**
 * A depacketizer of NAL units.
 *
 * It looks at sequence numbers itself: a packet that comes again is passed over, and a gap is a loss
 * though nobody says so. Packets without a payload (padding, RFC 3550 5.1) only count there.
 */
export class NalAssembler {
  readonly #format: NalPayloadFormat;
  readonly #units: AccessUnits;
  readonly #order: DecodingOrder | undefined;
  #fragments: Fragments | undefined;
  #sequence: number | undefined;

  /** Before the first packet. */
  constructor(format: NalPayloadFormat) {
    this.#format = format;
    this.#units = new AccessUnits(format.rules);
    const { interleaving } = format;
    if (interleaving !== undefined) this.#order = new DecodingOrder(interleaving, this.#units);
  }

  /** Access units dropped so far. */
  get dropped(): number {
    return this.#units.dropped;
  }

  /**
   * The access units that end with `packet`, or before it.
   *
   * @throws {InvalidDataError} If its payload is malformed; what has ended before it comes with the
   * next packet.
   */
  push(packet: RtpPacket): readonly RtpUnit[] {
    const { payload, timestamp } = packet;
    if (this.#isNext(packet.sequence) && payload.length > 0) {
      try {
        const content = this.#format.parse(payload);
        const whole = "data" in content
          ? this.#addFragment(content, timestamp)
          : this.#addUnits(content, timestamp);
        // The order of packets, and so the marker's place, is not that of interleaved units.
        const marker = packet.marker && this.#order === undefined;
        this.#units.endPacket({ marker, whole });
      } catch (error) {
        if (error instanceof InvalidDataError) this.#break(timestamp);
        throw error;
      }
    }
    return this.#units.take();
  }

  /** Says that packets are missing before the next one. */
  lose(): void {
    this.#sequence = undefined;
    this.#fragments = undefined;
    (this.#order ?? this.#units).lose();
  }

  /** The access units at the end of all packets. */
  flush(): readonly RtpUnit[] {
    if (this.#fragments !== undefined) this.#break(this.#fragments.timestamp);
    this.#drain();
    this.#units.flush();
    this.#sequence = undefined;
    return this.#units.take();
  }

  /** Hands over what is held back; access units that become too large in that are dropped. */
  #drain(): void {
    for (;;) {
      try {
        this.#order?.flush();
        return;
      } catch (error) {
        if (!(error instanceof InvalidDataError)) throw error;
      }
    }
  }

  #isNext(sequence: number): boolean {
    if (sequence === this.#sequence) return false;
    if (this.#sequence !== undefined && sequence !== ((this.#sequence + 1) & 0xffff)) this.lose();
    this.#sequence = sequence;
    return true;
  }

  /** True, as all its NAL units are whole. */
  #addUnits(units: readonly PackedNalUnit[], timestamp: number): boolean {
    if (this.#fragments !== undefined) this.#break(this.#fragments.timestamp);
    for (const { nalu, offset = 0, don } of units) {
      this.#add(nalu, (timestamp + offset) >>> 0, don);
    }
    return units.length > 0;
  }

  /** Takes a part of a NAL unit: whether the NAL unit is whole now. */
  #addFragment(fragment: NalFragment, timestamp: number): boolean {
    const { header, start, end, data, don } = fragment;
    if (start) {
      if (this.#fragments !== undefined) this.#break(this.#fragments.timestamp);
      if (this.#order === undefined) this.#units.enter(timestamp);
      this.#fragments = { header, timestamp, don, parts: [], bytes: 0 };
    }
    const fragments = this.#fragments;
    if (fragments === undefined) {
      // The rest of what was lost, or of what was under way before the first packet.
      this.#break(timestamp);
      return false;
    }
    if (fragments.header !== header || fragments.timestamp !== timestamp) {
      this.#break(fragments.timestamp);
      this.#break(timestamp);
      return false;
    }
    fragments.bytes += data.length;
    fragments.parts.push(data);
    if (fragments.bytes > MAX_ACCESS_UNIT_BYTES || fragments.parts.length > MAX_FRAGMENTS) {
      throw new InvalidDataError(
        `Cannot join a NAL unit: its size is over ${MAX_ACCESS_UNIT_BYTES} bytes ` +
          `or ${MAX_FRAGMENTS} fragments`,
      );
    }
    if (!end) return false;
    this.#fragments = undefined;
    this.#add(this.#join(fragments), timestamp, fragments.don);
    return true;
  }

  #join({ header, parts, bytes }: Fragments): Uint8Array {
    const { headerLength } = this.#format;
    const nalu = new Uint8Array(headerLength + bytes);
    if (headerLength === 2) nalu[0] = header >> 8;
    nalu[headerLength - 1] = header;
    let at = headerLength;
    for (const part of parts) {
      nalu.set(part, at);
      at += part.length;
    }
    return nalu;
  }

  #add(nalu: Uint8Array, timestamp: number, don: number | undefined): void {
    if (this.#order === undefined || don === undefined) this.#units.add(nalu, timestamp);
    else this.#order.put(nalu, timestamp, don);
  }

  #break(timestamp: number): void {
    this.#fragments = undefined;
    if (this.#order === undefined) this.#units.break(timestamp);
    else this.#order.lose();
  }
}
