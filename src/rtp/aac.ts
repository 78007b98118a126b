/** AAC in RTP, mpeg4-generic (RFC 3640), in its modes AAC-hbr and AAC-lbr and any like them. */

import { BitReader } from "../bits.ts";
import { ByteReader, concat } from "../bytes.ts";
import { InvalidDataError } from "../errors.ts";
import {
  type AuHeader,
  type AuLayout,
  auLayoutOf,
  hasAuHeaders,
  readAuHeader,
} from "./aac_layout.ts";
import { AuOrder } from "./aac_order.ts";
import type { RtpFormat } from "./format.ts";
import { type FrameReader, MarkedFrames } from "./marked_frames.ts";
import { type PacketizerOptions, payloadBytes } from "./payload_size.ts";
import type { RtpPacket } from "./packet.ts";
import type { Depacketizer, PacketizedFrame, Packetizer, RtpPayload, RtpUnit } from "./payload.ts";

/** Most access units of one packet: 20 s of AAC, far over what any sender waits for. */
const MAX_AUS = 1024;

/** Most seconds that an access unit is ahead of its packet's timestamp; most senders stay within 1. */
const MAX_AHEAD_S = 30;

/** Bytes of the AU Header Section that we write: AU-headers-length and one header of AAC-hbr. */
const SECTION_BYTES = 4;

/** Bits of that header: AU-size 13, AU-Index 3 (RFC 3640 3.3.6). */
const HEADER_BITS = 16;

/** Most bytes of an access unit that such an AU-size says. */
const MAX_HBR_BYTES = 0x1fff;

/**
 * Takes access units out of packets, of which one holds several or a fragment, and puts interleaved
 * ones in order.
 *
 * Those of one packet are apart by `constantDuration` ticks, or by what the frame length in `config`
 * makes.
 */
export class AacDepacketizer implements Depacketizer {
  readonly #order: AuOrder;
  readonly #frames: MarkedFrames;

  /**
   * A depacketizer for what `format` declares.
   *
   * @throws {InvalidDataError} If a parameter is no number or out of range, or `config` is malformed.
   */
  constructor(format: RtpFormat) {
    const layout = auLayoutOf(format);
    const maxAhead = MAX_AHEAD_S * format.clockRate;
    this.#order = new AuOrder(layout.duration, maxAhead);
    this.#frames = new MarkedFrames(new AuReader(layout, this.#order, maxAhead));
  }

  /** Packets, and access units in fragments, dropped because of a loss or as malformed. */
  get dropped(): number {
    return this.#frames.dropped;
  }

  /**
   * Takes the next packet: the access units that are whole with it, in the order of their timestamps.
   *
   * @throws {InvalidDataError} If its payload is malformed; the access units in it are dropped.
   */
  push(packet: RtpPacket): readonly RtpUnit[] {
    return this.#frames.push(packet);
  }

  /** Says that packets are missing before the next one: a fragmented access unit is dropped. */
  lose(): void {
    this.#frames.lose();
  }

  /** The access units that waited for others to go before them. */
  flush(): readonly RtpUnit[] {
    return [...this.#frames.flush(), ...this.#order.flush()];
  }
}

/** Reads the access units of a packet, or one out of several packets. */
class AuReader implements FrameReader {
  readonly #layout: AuLayout;
  readonly #order: AuOrder;
  readonly #maxAhead: number;
  #headers: readonly AuHeader[] = [];
  #parts: Uint8Array[] = [];
  /** Bytes of `#parts`. */
  #length = 0;

  constructor(layout: AuLayout, order: AuOrder, maxAhead: number) {
    this.#layout = layout;
    this.#order = order;
    this.#maxAhead = maxAhead;
  }

  get whole(): boolean {
    const size = this.#size;
    return size !== undefined && this.#length >= size;
  }

  /** Bytes of all access units; undefined if nothing says it. */
  get #size(): number | undefined {
    return this.#headers.reduce<number | undefined>(
      (sum, { size }) => sum === undefined || size === undefined ? undefined : sum + size,
      0,
    );
  }

  begin(_packet: RtpPacket, certain: boolean): boolean {
    this.#headers = [];
    this.#parts = [];
    this.#length = 0;
    // A size tells in the end whether all fragments were there.
    return certain || this.#layout.sizeLength > 0 || this.#layout.constantSize > 0;
  }

  add(payload: Uint8Array): void {
    const reader = new ByteReader(payload);
    const headers = readSections(reader, this.#layout);
    const data = reader.rest();
    const [{ size }] = headers;
    const [before] = this.#headers;
    if (before !== undefined && (headers.length > 1 || before.size !== size)) {
      throw new InvalidDataError(
        `Cannot put an AAC access unit together: its size is ${before.size}, then ${size} in one ` +
          `of ${headers.length}`,
      );
    }
    this.#headers = headers;
    this.#parts.push(data);
    this.#length += data.length;
    const total = this.#size;
    if (total === undefined) return;
    if (headers.length > 1 ? this.#length !== total : this.#length > total) {
      throw new InvalidDataError(
        `Cannot split AAC access units: their sizes make ${total}, their bytes are ${this.#length}`,
      );
    }
  }

  end(timestamp: number): readonly RtpUnit[] | undefined {
    if (this.#size !== undefined && !this.whole) return undefined;
    const [first = new Uint8Array(0)] = this.#parts;
    const data = this.#parts.length === 1 ? first : concat(this.#parts);
    const units: RtpUnit[] = [];
    let at = 0;
    let index = 0;
    for (const { size = data.length, skipped, ctsDelta } of this.#headers) {
      index += skipped;
      const ticks = ctsDelta ?? Math.round(index * this.#layout.duration);
      if (Math.abs(ticks) > this.#maxAhead) {
        throw new InvalidDataError(
          `Cannot time an AAC access unit: it is ${ticks} ticks ahead of its packet`,
        );
      }
      const part = data.subarray(at, at + size);
      if (part.length > 0) units.push({ timestamp: (timestamp + ticks) >>> 0, parts: [part] });
      at += size;
      index++;
    }
    return this.#order.add(timestamp, units);
  }
}

/**
 * Puts each access unit into a packet of up to `maxPayloadBytes` in mode AAC-hbr, or into several if it
 * does not fit (RFC 3640 3.3.6: sizeLength 13, indexLength and indexDeltaLength 3).
 */
export class AacPacketizer implements Packetizer {
  readonly #maxDataBytes: number;

  /**
   * A packetizer for payloads of up to `maxPayloadBytes`.
   *
   * @throws {RangeError} If `maxPayloadBytes` is not a whole number from 5 on.
   */
  constructor(options: PacketizerOptions) {
    this.#maxDataBytes = payloadBytes(options, SECTION_BYTES + 1) - SECTION_BYTES;
  }

  /**
   * The payloads of an access unit.
   *
   * @throws {InvalidDataError} If it is over 8 191 bytes, which AU-size can't say.
   */
  packetize({ data }: PacketizedFrame): RtpPayload[] {
    if (data.length > MAX_HBR_BYTES) {
      throw new InvalidDataError(`Cannot packetize AAC: the access unit is ${data.length} bytes`);
    }
    // All fragments say the size of the whole (RFC 3640 3.2.1.1).
    const section = Uint8Array.of(0, HEADER_BITS, data.length >> 5, data.length << 3);
    const payloads: RtpPayload[] = [];
    for (let at = 0; at < data.length; at += this.#maxDataBytes) {
      const part = data.subarray(at, at + this.#maxDataBytes);
      payloads.push({ parts: [section, part], marker: at + part.length === data.length });
    }
    return payloads;
  }
}

/**
 * The AU headers in front of the access units, at least one (RFC 3640 3.2.1, 3.2.2); `reader` is then
 * at the access units.
 */
function readSections(reader: ByteReader, layout: AuLayout): readonly [AuHeader, ...AuHeader[]] {
  const headers = hasAuHeaders(layout) ? readHeaders(reader, layout) : [];
  if (layout.auxiliaryLength > 0) skipAuxiliary(reader, layout.auxiliaryLength);
  const size = layout.constantSize || undefined;
  const [first = { size, skipped: 0, ctsDelta: undefined }, ...others] = headers;
  if (headers.length > 0 || size === undefined) return [first, ...others];
  const count = Math.max(1, Math.ceil(reader.remaining / size));
  if (count > MAX_AUS) throw tooMany();
  return [first, ...Array.from({ length: count - 1 }, () => first)];
}

function readHeaders(reader: ByteReader, layout: AuLayout): AuHeader[] {
  const length = reader.u16();
  const bits = new BitReader(reader.bytes(Math.ceil(length / 8)));
  const headers: AuHeader[] = [];
  while (bits.position < length) {
    if (headers.length === MAX_AUS) throw tooMany();
    const start = bits.position;
    headers.push(readAuHeader(bits, layout, headers.length === 0));
    if (bits.position > length) {
      throw new InvalidDataError(
        `Cannot read AU headers: the one at bit ${start} has ${bits.position - start} bits, ` +
          `their length is ${length}`,
      );
    }
  }
  if (headers.length === 0) throw new InvalidDataError("Cannot read AU headers: their length is 0");
  return headers;
}

/** The Auxiliary Section (RFC 3640 3.2.2): its size in bits, then as many, filled up to a byte. */
function skipAuxiliary(reader: ByteReader, sizeLength: number): void {
  const sizeBytes = Math.ceil(sizeLength / 8);
  // The size is read on its own, and its data from where that ends within a byte.
  const size = new BitReader(reader.bytes(sizeBytes)).bits(sizeLength);
  reader.skip(Math.ceil((sizeLength + size) / 8) - sizeBytes);
}

function tooMany(): InvalidDataError {
  return new InvalidDataError(`Cannot read AU headers: their number is over ${MAX_AUS}`);
}
