/** The RTP payload format of H.265 (RFC 7798), sent as a single stream. */

import { ByteReader, concat } from "../bytes.ts";
import { H265_NAL, parseHvcC } from "../codecs/h265.ts";
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

/** Types of packets that are none of NAL units (RFC 7798 4.4). */
const AP = 48;
const FU = 49;
const PACI = 50;

/** Most NAL units that `sprop-depack-buf-nalus` can name (RFC 7798 7.1), where it is not given. */
const MAX_DEPTH = 32_767;

const RULES: NalRules = {
  type: typeOf,
  isSlice: (type) => type < H265_NAL.vps,
  isKeySlice: (type) => type >= H265_NAL.firstIrap && type <= H265_NAL.cra,
  // first_slice_segment_in_pic_flag is the first bit of a slice's header (H.265 7.3.6.1).
  startsPicture: (nalu) =>
    typeOf(nalu) < H265_NAL.vps && layerOf(nalu) === 0 && ((nalu[2] ?? 0) & 0x80) !== 0,
  // Types that begin an access unit after its slices (H.265 7.4.2.4.4).
  opensUnit: (type) =>
    (type >= H265_NAL.vps && type <= H265_NAL.aud) || type === H265_NAL.prefixSei ||
    (type >= 41 && type <= 44),
  delimiter: H265_NAL.aud,
  firstSet: H265_NAL.vps,
};

/**
 * Puts the access units of H.265 together (RFC 7798); see `access_unit.ts` for where they end and
 * which ones a loss breaks.
 */
export class H265Depacketizer implements Depacketizer {
  readonly #assembler: NalAssembler;

  /**
   * For packets of `format`; its parameters `sprop-max-don-diff` and `sprop-depack-buf-nalus` count.
   */
  constructor(format: RtpFormat) {
    const interleaving = interleavingOf(format);
    const numbered = interleaving !== undefined;
    this.#assembler = new NalAssembler({
      rules: RULES,
      headerLength: 2,
      interleaving,
      parse: (payload) => parsePayload(payload, numbered),
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
 * Cuts H.265 access units into single NAL unit packets, aggregation packets and fragments (RFC 7798,
 * without decoding order numbers).
 *
 * Before a keyframe without parameter sets go those of its configuration. Only delimiters, parameter
 * sets and SEI are aggregated. NAL units of types that RTP uses for itself are left out.
 */
export class H265Packetizer implements Packetizer {
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
   * @throws {InvalidDataError} If its data or its configuration's hvcC record is malformed.
   */
  packetize(frame: PacketizedFrame): RtpPayload[] {
    return this.#packetizer.packetize(frame);
  }
}

const PACKETS: NalPacketFormat = {
  headerLength: 2,
  role: roleOf,
  sets: ({ fourcc, description }) => {
    if (fourcc !== "hvc1" || description === undefined) return [];
    const { vps, sps, pps } = parseHvcC(description);
    return [...vps, ...sps, ...pps];
  },
  // The lowest layer and the lowest temporal sub-layer of all (RFC 7798 4.4.2).
  aggregationHeader: (nalus) => {
    const layer = Math.min(...nalus.map(layerOf));
    const temporal = Math.min(...nalus.map((nalu) => (nalu[1] ?? 0) & 7));
    return Uint8Array.of((AP << 1) | (layer >> 5), ((layer & 31) << 3) | temporal);
  },
  fragmentHeader: (nalu, flags) => {
    const first = ((nalu[0] ?? 0) & 0x81) | (FU << 1);
    return Uint8Array.of(first, nalu[1] ?? 0, flags | typeOf(nalu));
  },
};

function roleOf(nalu: Uint8Array): NalRole {
  const type = typeOf(nalu);
  if (type >= AP || nalu.length < 2) return "unsendable";
  if (type === H265_NAL.aud) return "delimiter";
  if (type >= H265_NAL.vps && type <= H265_NAL.pps) return "set";
  return type === H265_NAL.prefixSei || type === H265_NAL.suffixSei ? "sei" : "other";
}

/** Numbers are sent if `sprop-max-don-diff` is over 0; some senders name only the depth. */
function interleavingOf(format: RtpFormat): Interleaving | undefined {
  const maxDonDiff = numberParameter(format, "sprop-max-don-diff") ?? 0;
  const depth = numberParameter(format, "sprop-depack-buf-nalus");
  if (maxDonDiff === 0 && (depth ?? 0) === 0) return undefined;
  return {
    depth: depth ?? MAX_DEPTH,
    maxDonDiff: maxDonDiff === 0 ? undefined : maxDonDiff,
    counts: () => true,
  };
}

function parsePayload(payload: Uint8Array, numbered: boolean): NalPayload {
  const reader = new ByteReader(payload);
  const header = reader.u16();
  if (typeOfHeader(header) !== PACI) return parseBody(header, payload, numbered);
  // The fields of the extension itself are hints that no decoder needs (RFC 7798 4.4.4).
  const fields = reader.u16();
  reader.skip((fields >> 4) & 31);
  const inner = (fields & 0x8000) | ((fields >> 9) & 63) << 9 | (header & 0x1ff);
  if (header >> 15 === 1) throw malformed("forbidden_zero_bit is 1");
  if (typeOfHeader(inner) >= PACI) {
    throw malformed(`PACI packet holds type ${typeOfHeader(inner)}`);
  }
  return parseBody(inner, concat([bytesOf(inner), reader.rest()]), numbered);
}

/** What is in a payload that is no PACI packet, whose first two bytes are `header`. */
function parseBody(header: number, payload: Uint8Array, numbered: boolean): NalPayload {
  if (header >> 15 === 1) throw malformed("forbidden_zero_bit is 1");
  const type = typeOfHeader(header);
  if (type > PACI) return []; // reserved: passed over
  const reader = new ByteReader(payload);
  reader.skip(2);
  if (type === AP) return parseAp(reader, numbered);
  if (type === FU) return parseFu(reader, header, numbered);
  if (!numbered) return [{ nalu: payload }];
  const don = reader.u16();
  return [{ nalu: concat([bytesOf(header), reader.rest()]), don }];
}

/** The NAL units of an aggregation packet (RFC 7798 4.4.2). */
function parseAp(reader: ByteReader, numbered: boolean): PackedNalUnit[] {
  const units: PackedNalUnit[] = [];
  let don: number | undefined;
  do {
    if (numbered) don = don === undefined ? reader.u16() : (don + reader.u8() + 1) & 0xffff;
    const length = reader.u16();
    const nalu = reader.bytes(length);
    if (length < 2) throw malformed(`aggregated NAL unit's length is ${length}`);
    if (((nalu[0] ?? 0) & 0x80) !== 0) throw malformed("aggregated forbidden_zero_bit is 1");
    if (typeOf(nalu) >= AP) throw malformed(`aggregated NAL unit's type is ${typeOf(nalu)}`);
    units.push({ nalu, don });
  } while (reader.remaining > 0);
  return units;
}

/** A fragment (RFC 7798 4.4.3). */
function parseFu(reader: ByteReader, header: number, numbered: boolean): NalFragment {
  const flags = reader.u8();
  const start = (flags & 0x80) !== 0;
  const end = (flags & 0x40) !== 0;
  const type = flags & 63;
  if (start && end) throw malformed("first fragment is its last one");
  if (type >= AP) throw malformed(`fragmented NAL unit's type is ${type}`);
  const don = numbered && start ? reader.u16() : undefined;
  if (reader.remaining === 0) throw malformed("fragment is empty");
  return { header: (header & 0x1ff) | (type << 9), start, end, don, data: reader.rest() };
}

function typeOf(nalu: Uint8Array): number {
  return ((nalu[0] ?? 0) >> 1) & 63;
}

function typeOfHeader(header: number): number {
  return (header >> 9) & 63;
}

function layerOf(nalu: Uint8Array): number {
  return ((nalu[0] ?? 0) & 1) << 5 | (nalu[1] ?? 0) >> 3;
}

function bytesOf(header: number): Uint8Array {
  return Uint8Array.of(header >> 8, header);
}

function malformed(what: string): InvalidDataError {
  return new InvalidDataError(`Cannot depacketize H.265: its ${what}`);
}
