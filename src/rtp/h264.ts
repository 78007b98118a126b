/** The RTP payload format of H.264 (RFC 6184), all its packetization modes. */

import { ByteReader } from "../bytes.ts";
import { H264_NAL, parseAvcC } from "../codecs/h264.ts";
import { InvalidDataError } from "../errors.ts";
import type { NalRules } from "./access_unit.ts";
import { type Interleaving, numberParameter } from "./decoding_order.ts";
import type { RtpFormat } from "./format.ts";
import {
  NalAssembler,
  type NalFragment,
  type NalPayload,
  type PackedNalUnit,
} from "./nal_assembler.ts";
import { type NalPacketFormat, NalPacketizer, type NalRole } from "./nal_packetizer.ts";
import type { RtpPacket } from "./packet.ts";
import type { Depacketizer, PacketizedFrame, Packetizer, RtpPayload, RtpUnit } from "./payload.ts";
import type { PacketizerOptions } from "./payload_size.ts";

/** Types of packets that are none of NAL units (RFC 6184 table 1). */
const STAP_A = 24;
const STAP_B = 25;
const MTAP16 = 26;
const MTAP24 = 27;
const FU_A = 28;
const FU_B = 29;

/** Types that nobody has defined, which receivers pass over (RFC 6184 5.2). */
const UNDEFINED = [0, 30, 31];

/** Types that begin an access unit after its slices (H.264 7.4.1.2.3), slices apart. */
const OPENING: readonly number[] = [
  H264_NAL.sei,
  H264_NAL.sps,
  H264_NAL.pps,
  H264_NAL.aud,
  15,
  16,
  17,
  18,
];

const RULES: NalRules = {
  type: typeOf,
  isSlice: (type) => type >= H264_NAL.slice && type <= H264_NAL.idr,
  isKeySlice: (type) => type === H264_NAL.idr,
  startsPicture: (nalu) => {
    const type = typeOf(nalu);
    const starts = type === H264_NAL.slice || type === H264_NAL.partitionA || type === H264_NAL.idr;
    // first_mb_in_slice comes first, and ue(v) of 0 is a single set bit (H.264 7.3.3).
    return starts && ((nalu[1] ?? 0) & 0x80) !== 0;
  },
  opensUnit: (type) => OPENING.includes(type),
  delimiter: H264_NAL.aud,
  firstSet: H264_NAL.sps,
};

/**
 * Puts the access units of H.264 together (RFC 6184); see `access_unit.ts` for where they end and
 * which ones a loss breaks.
 *
 * Packets of every kind are taken in modes 0 and 1, whatever the mode says, as senders don't keep to
 * it. In the interleaved mode, packets without decoding order numbers are malformed.
 */
export class H264Depacketizer implements Depacketizer {
  readonly #assembler: NalAssembler;

  /**
   * For packets of `format`; its parameters `packetization-mode`, `sprop-interleaving-depth` and
   * `sprop-max-don-diff` count.
   */
  constructor(format: RtpFormat) {
    const interleaving = interleavingOf(format);
    this.#assembler = new NalAssembler({
      rules: RULES,
      headerLength: 1,
      interleaving,
      parse: (payload) => parsePayload(payload, interleaving !== undefined),
    });
  }

  /** Access units dropped because a part of them was lost or malformed. */
  get dropped(): number {
    return this.#assembler.dropped;
  }

  /**
   * The access units that end with `packet`, or before it; NAL units are views on payloads where
   * they came in one piece.
   *
   * @throws {InvalidDataError} If the payload is malformed, or an access unit is too large.
   */
  push(packet: RtpPacket): readonly RtpUnit[] {
    return this.#assembler.push(packet);
  }

  /** Says that packets are missing before the next one. */
  lose(): void {
    this.#assembler.lose();
  }

  /** The access unit at the end of all packets, if it is whole. */
  flush(): readonly RtpUnit[] {
    return this.#assembler.flush();
  }
}

/**
 * Cuts H.264 access units into single NAL unit packets, STAP-A and FU-A (RFC 6184, mode 1).
 *
 * Before a keyframe without parameter sets go those of its configuration. Only delimiters, parameter
 * sets and SEI are aggregated. NAL units of types that RTP uses for itself are left out.
 */
export class H264Packetizer implements Packetizer {
  readonly #packetizer: NalPacketizer;

  /**
   * For payloads of at most `maxPayloadBytes`.
   *
   * @throws {RangeError} If that is no integer from 16 on.
   */
  constructor(options: PacketizerOptions) {
    this.#packetizer = new NalPacketizer(PACKETS, options);
  }

  /**
   * The payloads of `frame`, as views on its data; the last one has the marker.
   *
   * @throws {InvalidDataError} If its data or its configuration's avcC record is malformed.
   */
  packetize(frame: PacketizedFrame): RtpPayload[] {
    return this.#packetizer.packetize(frame);
  }
}

const PACKETS: NalPacketFormat = {
  headerLength: 1,
  role: roleOf,
  sets: ({ fourcc, description }) => {
    if (fourcc !== "avc1" || description === undefined) return [];
    const { sps, pps, spsExtension = [] } = parseAvcC(description);
    return [...sps, ...spsExtension, ...pps];
  },
  aggregationHeader: (nalus) => {
    const nri = Math.max(...nalus.map((nalu) => (nalu[0] ?? 0) & 0x60));
    return Uint8Array.of(nri | STAP_A);
  },
  fragmentHeader: (nalu, flags) => {
    const header = nalu[0] ?? 0;
    return Uint8Array.of((header & 0xe0) | FU_A, flags | (header & 31));
  },
};

function roleOf(nalu: Uint8Array): NalRole {
  switch (typeOf(nalu)) {
    case H264_NAL.aud:
      return "delimiter";
    case H264_NAL.sps:
    case H264_NAL.pps:
    case H264_NAL.spsExtension:
      return "set";
    case H264_NAL.sei:
      return "sei";
    default:
      return isNalType(typeOf(nalu)) ? "other" : "unsendable";
  }
}

function interleavingOf(format: RtpFormat): Interleaving | undefined {
  if (numberParameter(format, "packetization-mode") !== 2) return undefined;
  return {
    depth: numberParameter(format, "sprop-interleaving-depth") ?? 0,
    maxDonDiff: numberParameter(format, "sprop-max-don-diff"),
    counts: (nalu) => RULES.isSlice(typeOf(nalu)),
  };
}

function parsePayload(payload: Uint8Array, interleaved: boolean): NalPayload {
  const type = typeOf(payload);
  if (((payload[0] ?? 0) & 0x80) !== 0) throw malformed("forbidden_zero_bit is 1");
  if (UNDEFINED.includes(type)) return [];
  const numbered = type === STAP_B || type === MTAP16 || type === MTAP24 || type >= FU_A;
  if (interleaved && !numbered) throw malformed(`type ${type} is not for the interleaved mode`);
  const reader = new ByteReader(payload);
  reader.skip(1);
  switch (type) {
    case STAP_A:
      return parseStap(reader);
    case STAP_B:
      return parseStap(reader, reader.u16());
    case MTAP16:
      return parseMtap(reader, () => reader.u16());
    case MTAP24:
      return parseMtap(reader, () => reader.u24());
    case FU_A:
    case FU_B:
      return parseFu(payload, interleaved);
    default:
      return [{ nalu: payload }];
  }
}

/** The NAL units of a STAP-A, or of a STAP-B whose first one has the number `don` (RFC 6184 5.7.1). */
function parseStap(reader: ByteReader, don?: number): PackedNalUnit[] {
  const units: PackedNalUnit[] = [];
  do {
    const nalu = aggregated(reader, reader.u16());
    units.push({ nalu, don: don === undefined ? undefined : (don + units.length) & 0xffff });
  } while (reader.remaining > 0);
  return units;
}

/** The NAL units of an MTAP (RFC 6184 5.7.2). */
function parseMtap(reader: ByteReader, readOffset: () => number): PackedNalUnit[] {
  const base = reader.u16();
  const units: PackedNalUnit[] = [];
  do {
    const length = reader.u16();
    const don = (base + reader.u8()) & 0xffff;
    const offset = readOffset();
    units.push({ nalu: aggregated(reader, length), offset, don });
  } while (reader.remaining > 0);
  return units;
}

/** A fragment (RFC 6184 5.8). */
function parseFu(payload: Uint8Array, interleaved: boolean): NalFragment {
  const reader = new ByteReader(payload);
  const indicator = reader.u8();
  const flags = reader.u8();
  const start = (flags & 0x80) !== 0;
  const end = (flags & 0x40) !== 0;
  const numbered = (indicator & 31) === FU_B;
  const type = flags & 31;
  if (start && end) throw malformed("first fragment is its last one");
  if (!isNalType(type)) throw malformed(`fragmented NAL unit's type is ${type}`);
  if (numbered && !start) throw malformed("FU-B is not a first fragment");
  if (interleaved && start && !numbered) throw malformed("first fragment has no number");
  const don = numbered ? reader.u16() : undefined;
  return { header: (indicator & 0xe0) | type, start, end, don, data: reader.rest() };
}

function aggregated(reader: ByteReader, length: number): Uint8Array {
  const nalu = reader.bytes(length);
  if (length === 0) throw malformed("aggregated NAL unit is empty");
  if (((nalu[0] ?? 0) & 0x80) !== 0) throw malformed("aggregated forbidden_zero_bit is 1");
  if (!isNalType(typeOf(nalu))) throw malformed(`aggregated NAL unit's type is ${typeOf(nalu)}`);
  return nalu;
}

function typeOf(nalu: Uint8Array): number {
  return (nalu[0] ?? 0) & 31;
}

function isNalType(type: number): boolean {
  return type > 0 && type < STAP_A;
}

function malformed(what: string): InvalidDataError {
  return new InvalidDataError(`Cannot depacketize H.264: its ${what}`);
}
