/** AV1 in RTP (RTP Payload Format For AV1, version 1.0). */

import { ByteReader, concat } from "../bytes.ts";
import {
  AV1_OBU,
  av1ObuType,
  joinObus,
  leb128,
  MAX_OBUS,
  parseAv1C,
  splitObus,
} from "../codecs/av1.ts";
import { InvalidDataError } from "../errors.ts";
import { type FrameReader, MarkedFrames } from "./marked_frames.ts";
import { type PacketizerOptions, payloadBytes } from "./payload_size.ts";
import type { RtpPacket } from "./packet.ts";
import type { Depacketizer, PacketizedFrame, Packetizer, RtpPayload, RtpUnit } from "./payload.ts";

/** Bits of the aggregation header (4.4). */
const CONTINUED = 0x80;
const CONTINUES = 0x40;
const SEQUENCE_START = 0x08;

/** Most elements that its W counts; more have all their lengths (4.4). */
const MAX_COUNTED = 3;

/** Types of the OBUs that come first in a temporal unit (AV1 7.5). */
const STARTS: ReadonlySet<number> = new Set([AV1_OBU.temporalDelimiter, AV1_OBU.sequenceHeader]);

/** Bits of an OBU header (AV1 5.3.2). */
const HAS_EXTENSION = 4;
const HAS_SIZE = 2;

/** Fewest bytes of a payload: the aggregation header, and an element of a few bytes with its length. */
const MIN_PAYLOAD_BYTES = 16;

/** Fewest bytes of an OBU that are worth a fragment at the end of a packet. */
const MIN_FRAGMENT_BYTES = 32;

/**
 * Puts temporal units together.
 *
 * A unit comes out as OBUs with sizes; temporal delimiters and tile lists are left out (5). Behind lost
 * packets a unit is taken only if its first packet is there for sure: as it starts a coded video
 * sequence or begins with a temporal delimiter or sequence header, or only the end of the unit before
 * it is missing.
 */
export class Av1Depacketizer implements Depacketizer {
  readonly #frames = new MarkedFrames(new TemporalUnitReader());

  /** Temporal units dropped because a part of them was lost or malformed. */
  get dropped(): number {
    return this.#frames.dropped;
  }

  /**
   * Takes the next packet: the temporal units that end with it, or before it.
   *
   * @throws {InvalidDataError} If its payload is malformed; the unit that it belongs to is dropped.
   */
  push(packet: RtpPacket): readonly RtpUnit[] {
    return this.#frames.push(packet);
  }

  /** Says that packets are missing before the next one: the unit that they break is dropped. */
  lose(): void {
    this.#frames.lose();
  }

  /** The temporal unit at the end of all packets, if its last OBU is whole. */
  flush(): readonly RtpUnit[] {
    return this.#frames.flush();
  }
}

/** Collects the OBUs of a temporal unit. */
class TemporalUnitReader implements FrameReader {
  #obus: Uint8Array[] = [];
  /** Pieces of the OBU that goes on in the next packet. */
  #pieces: Uint8Array[] = [];

  begin({ payload }: RtpPacket, certain: boolean): boolean {
    this.#obus = [];
    this.#pieces = [];
    const header = payload[0] ?? 0;
    if ((header & CONTINUED) !== 0) return false;
    if (certain || (header & SEQUENCE_START) !== 0) return true;
    const [first = payload.subarray(1)] = readElements(payload);
    return first.length > 0 && STARTS.has(av1ObuType(first));
  }

  add(payload: Uint8Array): void {
    const header = payload[0] ?? 0;
    const continued = (header & CONTINUED) !== 0;
    if (continued !== this.#pieces.length > 0) {
      throw new InvalidDataError(
        `Cannot put AV1 OBUs together: the Z bit is ${continued ? 1 : 0} behind ` +
          `${this.#pieces.length} fragments`,
      );
    }
    const elements = readElements(payload);
    elements.forEach((element, index) => {
      this.#pieces.push(element);
      const continues = index === elements.length - 1 && (header & CONTINUES) !== 0;
      if (!continues) this.#complete();
    });
  }

  end(timestamp: number): readonly RtpUnit[] | undefined {
    if (this.#pieces.length > 0) return undefined;
    return this.#obus.length === 0 ? [] : [{ timestamp, parts: [joinObus(this.#obus)] }];
  }

  #complete(): void {
    const [first = new Uint8Array(0), ...others] = this.#pieces;
    this.#pieces = [];
    // An element is an OBU. One with a size, which it should not have (4.5), may have others behind it.
    const obus = splitObus(others.length === 0 ? first : concat([first, ...others]));
    if (this.#obus.length + obus.length > MAX_OBUS) {
      throw new InvalidDataError(`Cannot put AV1 OBUs together: their number is over ${MAX_OBUS}`);
    }
    this.#obus.push(...obus.filter(isSent));
  }
}

/**
 * Cuts temporal units into packets of up to `maxPayloadBytes`, filling each with OBUs and fragments.
 *
 * OBUs lose their sizes; temporal delimiters and tile lists are left out (5). A key frame without a
 * sequence header gets that of its configuration.
 */
export class Av1Packetizer implements Packetizer {
  readonly #maxPayloadBytes: number;
  #description: Uint8Array | undefined;
  #sequenceHeader: Uint8Array | undefined;

  /**
   * A packetizer for payloads of up to `maxPayloadBytes`.
   *
   * @throws {RangeError} If `maxPayloadBytes` is not a whole number from 16 on.
   */
  constructor(options: PacketizerOptions) {
    this.#maxPayloadBytes = payloadBytes(options, MIN_PAYLOAD_BYTES);
  }

  /**
   * The payloads of a temporal unit; none if it has no OBUs to send.
   *
   * @throws {InvalidDataError} If an OBU, or the av1C record of a key frame without a sequence header,
   * is malformed.
   */
  packetize(frame: PacketizedFrame): RtpPayload[] {
    const obus = splitObus(frame.data).filter(isSent);
    if (obus.length === 0) return [];
    const hasHeader = obus.some((obu) => av1ObuType(obu) === AV1_OBU.sequenceHeader);
    if (frame.key && !hasHeader) {
      const header = this.#sequenceHeaderOf(frame.config.description);
      if (header !== undefined) obus.unshift(header);
    }
    const packets = new PacketFiller(this.#maxPayloadBytes);
    for (const obu of obus) packets.add(withoutSize(obu));
    return packets.finish(frame.key);
  }

  #sequenceHeaderOf(description: Uint8Array | undefined): Uint8Array | undefined {
    if (description !== this.#description) {
      const obus = description === undefined ? [] : splitObus(parseAv1C(description).obus);
      this.#sequenceHeader = obus.find((obu) => av1ObuType(obu) === AV1_OBU.sequenceHeader);
      this.#description = description;
    }
    return this.#sequenceHeader;
  }
}

/** An OBU without its size. */
interface BareObu {
  /** One byte, or two with the extension. */
  readonly header: Uint8Array;
  readonly payload: Uint8Array;
}

/** One packet that is being filled. */
interface FilledPacket {
  readonly elements: Uint8Array[][];
  /** Bytes of the payload if all elements had their lengths. */
  bytes: number;
  /** The extension byte of its OBUs that have one: they are of one layer (5). */
  layer: number | undefined;
  continued: boolean;
  continues: boolean;
}

/** Lays OBUs out in packets. */
class PacketFiller {
  readonly #max: number;
  readonly #packets: FilledPacket[] = [];
  #packet: FilledPacket;

  constructor(maxPayloadBytes: number) {
    this.#max = maxPayloadBytes;
    this.#packet = this.#begin(false);
  }

  add({ header, payload }: BareObu): void {
    const layer = header[1];
    const { layer: before } = this.#packet;
    if (layer !== undefined && before !== undefined && layer !== before) this.#begin(false);
    let rest = [header, payload];
    let length = header.length + payload.length;
    let room = this.#roomFor(length);
    while (room < length) {
      if (room >= MIN_FRAGMENT_BYTES || this.#packet.elements.length === 0) {
        const [front, back] = cut(rest, room);
        this.#put(front, room, layer);
        this.#packet.continues = true;
        rest = back;
        length -= room;
        this.#begin(true);
      } else {
        this.#begin(false);
      }
      room = this.#roomFor(length);
    }
    this.#put(rest, length, layer);
  }

  finish(key: boolean): RtpPayload[] {
    const last = this.#packets.length - 1;
    return this.#packets.map(({ elements, continued, continues }, index) => {
      const counted = elements.length <= MAX_COUNTED;
      const header = (continued ? CONTINUED : 0) | (continues ? CONTINUES : 0) |
        (counted ? elements.length << 4 : 0) | (key && index === 0 ? SEQUENCE_START : 0);
      const parts = elements.flatMap((element, at) =>
        counted && at === elements.length - 1 ? element : [leb128(lengthOf(element)), ...element]
      );
      return { parts: [Uint8Array.of(header), ...parts], marker: index === last };
    });
  }

  #begin(continued: boolean): FilledPacket {
    const packet = { elements: [], bytes: 1, layer: undefined, continued, continues: false };
    this.#packets.push(packet);
    return this.#packet = packet;
  }

  /** How many bytes of an element of `length` bytes fit behind the length. */
  #roomFor(length: number): number {
    const room = this.#max - this.#packet.bytes;
    return Math.max(0, room - leb128(Math.min(length, Math.max(0, room))).length);
  }

  #put(parts: Uint8Array[], length: number, layer: number | undefined): void {
    this.#packet.elements.push(parts);
    this.#packet.bytes += leb128(length).length + length;
    this.#packet.layer ??= layer;
  }
}

/** The elements of a payload (4.5). */
function readElements(payload: Uint8Array): Uint8Array[] {
  const reader = new ByteReader(payload);
  const counted = (reader.u8() >> 4) & 3;
  const elements: Uint8Array[] = [];
  while (counted === 0 ? reader.remaining > 0 : elements.length < counted) {
    if (elements.length === MAX_OBUS) {
      throw new InvalidDataError(`Cannot split an AV1 payload: its elements are over ${MAX_OBUS}`);
    }
    const isLast = counted !== 0 && elements.length === counted - 1;
    elements.push(reader.bytes(isLast ? reader.remaining : readLeb128(reader)));
  }
  return elements;
}

/** A leb128() that fits 32 bits (AV1 4.10.5); no element is nearly as long. */
function readLeb128(reader: ByteReader): number {
  let value = 0;
  for (let factor = 1; factor < 2 ** 35; factor *= 128) {
    const byte = reader.u8();
    value += (byte & 127) * factor;
    if (byte < 128) return value;
  }
  throw new InvalidDataError("Cannot split an AV1 payload: an element's length is over 5 bytes");
}

/** Whether an OBU is for the wire (5). */
function isSent(obu: Uint8Array): boolean {
  const type = av1ObuType(obu);
  return type !== AV1_OBU.temporalDelimiter && type !== AV1_OBU.tileList;
}

/** An OBU that {@linkcode splitObus} has checked. */
function withoutSize(obu: Uint8Array): BareObu {
  const first = obu[0] ?? 0;
  let at = (first & HAS_EXTENSION) === 0 ? 1 : 2;
  const header = obu.slice(0, at);
  header[0] = first & ~HAS_SIZE;
  if ((first & HAS_SIZE) !== 0) { while ((obu[at++] ?? 0) >= 128); }
  return { header, payload: obu.subarray(at) };
}

function lengthOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((length, part) => length + part.length, 0);
}

/** The first `length` bytes of `parts`, and the rest, as views. */
function cut(parts: readonly Uint8Array[], length: number): [Uint8Array[], Uint8Array[]] {
  const front: Uint8Array[] = [];
  const back: Uint8Array[] = [];
  let room = length;
  for (const part of parts) {
    const taken = Math.min(room, part.length);
    if (taken > 0) front.push(part.subarray(0, taken));
    if (taken < part.length) back.push(part.subarray(taken));
    room -= taken;
  }
  return [front, back];
}
