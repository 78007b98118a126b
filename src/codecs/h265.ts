/** H.265: NAL unit types, the hvcC record, decoder configurations and keyframes. */

import { ByteReader, ByteWriter } from "../bytes.ts";
import { InvalidDataError } from "../errors.ts";
import type { VideoConfig } from "./config.ts";
import { type H265Profile, parseH265Sps } from "./h265_sps.ts";

export { type H265Profile, type H265Sps, parseH265Sps } from "./h265_sps.ts";

/** `nal_unit_type` values (H.265 Table 7-1). */
export const H265_NAL = Object.freeze({
  /** First of the intra random access point (IRAP) pictures: BLA_W_LP. */
  firstIrap: 16,
  /** Instantaneous decoding refresh with decodable leading pictures. */
  idrWithLeading: 19,
  /** Instantaneous decoding refresh without leading pictures. */
  idr: 20,
  /** Clean random access: the keyframe of an open GOP; the last IRAP type that is not reserved. */
  cra: 21,
  /** Video parameter set. */
  vps: 32,
  /** Sequence parameter set. */
  sps: 33,
  /** Picture parameter set. */
  pps: 34,
  /** Access unit delimiter. */
  aud: 35,
  /** Filler data. */
  filler: 38,
  /** Supplemental enhancement information before its picture. */
  prefixSei: 39,
  /** Supplemental enhancement information after its picture. */
  suffixSei: 40,
});

/**
 * Most parameter sets of one kind in an hvcC record: H.265 numbers 16 VPS and SPS and 64 PPS, and
 * SEI messages for a whole stream are few.
 */
const MAX_SET_COUNT = 64;

/** What an hvcC record holds (ISO/IEC 14496-15 8.3.3.1). */
export interface HvcC {
  /** Video parameter set NAL units, at most 64. */
  readonly vps: readonly Uint8Array[];
  /** Sequence parameter set NAL units, at most 64. */
  readonly sps: readonly Uint8Array[];
  /** Picture parameter set NAL units, at most 64. */
  readonly pps: readonly Uint8Array[];
  /** Bytes of the length before each NAL unit of a sample: 1, 2 or 4. */
  readonly lengthSize: number;
  /** Prefix SEI NAL units that hold for the whole stream, at most 64; none unless given. */
  readonly sei?: readonly Uint8Array[];
}

/** Parameter sets that an H.265 configuration is made of. */
export interface H265ParameterSets {
  /** Video parameter set NAL units. */
  readonly vps: readonly Uint8Array[];
  /** Sequence parameter set NAL units, the active one first. */
  readonly sps: readonly Uint8Array[];
  /** Picture parameter set NAL units. */
  readonly pps: readonly Uint8Array[];
}

/**
 * The `nal_unit_type` of a NAL unit, 0 to 63 (H.265 7.3.1.2).
 *
 * @throws {InvalidDataError} If `nalu` is empty.
 */
export function h265NalType(nalu: Uint8Array): number {
  const header = nalu[0];
  if (header === undefined) {
    throw new InvalidDataError("Cannot tell the type of an H.265 NAL unit: it is empty");
  }
  return (header >> 1) & 63;
}

/**
 * An hvcC record's content (ISO/IEC 14496-15 8.3.3.1.2).
 *
 * Its profile, level and format fields are passed over, as the SPS has them too.
 *
 * @throws {InvalidDataError} If the record is cut off, its version is not 1, its length size is 3, or
 * it has over 64 NAL units of a kind.
 */
export function parseHvcC(data: Uint8Array): HvcC {
  const reader = new ByteReader(data);
  const version = reader.u8();
  if (version !== 1) {
    throw new InvalidDataError(`Cannot parse an hvcC record: its version is ${version}`);
  }
  reader.skip(20); // general_profile_space to avgFrameRate
  const lengthSize = (reader.u8() & 3) + 1;
  if (lengthSize === 3) {
    throw new InvalidDataError("Cannot parse an hvcC record: its NAL unit length size is 3");
  }
  const vps: Uint8Array[] = [];
  const sps: Uint8Array[] = [];
  const pps: Uint8Array[] = [];
  const sei: Uint8Array[] = [];
  const ignored: Uint8Array[] = [];
  const kinds = new Map([
    [H265_NAL.vps as number, vps],
    [H265_NAL.sps, sps],
    [H265_NAL.pps, pps],
    [H265_NAL.prefixSei, sei],
  ]);
  const arrays = reader.u8();
  for (let index = 0; index < arrays; index++) {
    const type = reader.u8() & 63;
    const count = reader.u16();
    const sets = kinds.get(type) ?? ignored;
    for (let set = 0; set < count; set++) {
      const nalu = reader.bytes(reader.u16());
      if (nalu.length > 0) push(sets, nalu);
    }
  }
  return { vps, sps, pps, lengthSize, ...(sei.length > 0 && { sei }) };
}

/**
 * The hvcC record of `record` (ISO/IEC 14496-15 8.3.3.1.2), its parameter set arrays marked complete
 * as sample entry `hvc1` wants them.
 *
 * @throws {InvalidDataError} If there is no SPS, the first one is malformed, or a NAL unit is over
 * 65 535 bytes or one of over 64 of its kind.
 */
export function serializeHvcC(record: HvcC): Uint8Array<ArrayBuffer> {
  const sps = parseH265Sps(firstOf(record.sps, "SPS"));
  const arrays = [
    { type: 0x80 | H265_NAL.vps, nalus: record.vps },
    { type: 0x80 | H265_NAL.sps, nalus: record.sps },
    { type: 0x80 | H265_NAL.pps, nalus: record.pps },
    { type: H265_NAL.prefixSei, nalus: record.sei ?? [] },
  ].filter(({ nalus }) => nalus.length > 0);
  const layers = (sps.maxSubLayers << 3) | (sps.temporalIdNested ? 4 : 0);
  const writer = new ByteWriter(256)
    .u8(1)
    .u8((sps.profileSpace << 6) | (sps.tier << 5) | sps.profile)
    .u32(sps.compatibility)
    .bytes(sps.constraints)
    .u8(sps.level)
    .u16(0xf000 | sps.minSpatialSegmentation)
    .u8(0xfc) // parallelismType 0: unknown
    .u8(0xfc | sps.chromaFormat)
    .u8(0xf8 | (sps.bitDepth - 8))
    .u8(0xf8 | (sps.chromaBitDepth - 8))
    .u16(0) // avgFrameRate 0: unspecified
    .u8(layers | (record.lengthSize - 1))
    .u8(arrays.length);
  for (const { type, nalus } of arrays) writeArray(writer, type, nalus);
  return writer.finish();
}

/**
 * The configuration of an H.265 decoder from its parameter sets; the description is an hvcC record
 * with lengths of four bytes.
 *
 * @throws {InvalidDataError} If there is no VPS, SPS or PPS, or the first SPS is malformed.
 */
export function h265Config(sets: H265ParameterSets): VideoConfig {
  firstOf(sets.vps, "VPS");
  firstOf(sets.pps, "PPS");
  return configOf(sets, serializeHvcC({ ...sets, lengthSize: 4 }));
}

/**
 * The configuration of an H.265 decoder from an hvcC record, which becomes the description as it is
 * if its lengths have four bytes and is rewritten so otherwise.
 *
 * @throws {InvalidDataError} If the record or its first SPS is malformed, or it has no VPS, SPS or
 * PPS.
 */
export function h265ConfigFromHvcC(description: Uint8Array): VideoConfig {
  const record = parseHvcC(description);
  firstOf(record.vps, "VPS");
  firstOf(record.sps, "SPS");
  firstOf(record.pps, "PPS");
  if (record.lengthSize === 4) return configOf(record, description);
  return configOf(record, serializeHvcC({ ...record, lengthSize: 4 }));
}

/**
 * Whether decoding can start at the access unit of `nalus`: whether its picture of the base layer is
 * an IRAP picture, types 16 to 21 (H.265 Table 7-1).
 *
 * After a CRA or BLA picture the leading pictures of type RASL can't be decoded and decoders leave
 * them out (H.265 8.1.3).
 *
 * @throws {InvalidDataError} If a NAL unit is empty or one of a picture is cut off in its header.
 */
export function isH265Key(nalus: readonly Uint8Array[]): boolean {
  for (const nalu of nalus) {
    const type = h265NalType(nalu);
    if (type >= H265_NAL.vps) continue;
    const second = nalu[1];
    if (second === undefined) {
      throw new InvalidDataError("Cannot tell an H.265 keyframe: the NAL unit's length is 1");
    }
    const layer = ((nalu[0] ?? 0) & 1) << 5 | second >> 3;
    if (layer === 0) return type >= H265_NAL.firstIrap && type <= H265_NAL.cra;
  }
  return false;
}

function configOf(sets: H265ParameterSets, description: Uint8Array): VideoConfig {
  const sps = parseH265Sps(firstOf(sets.sps, "SPS"));
  return {
    kind: "video",
    fourcc: "hvc1",
    codec: codecOf(sps),
    description,
    codedWidth: sps.width,
    codedHeight: sps.height,
    ...(sps.frameRate !== undefined && { frameRate: sps.frameRate }),
  };
}

/** The codec string (ISO/IEC 14496-15 E.3), such as `hvc1.1.6.L93.B0`. */
function codecOf(sps: H265Profile): string {
  const space = ["", "A", "B", "C"][sps.profileSpace] ?? "";
  let last = sps.constraints.length;
  while (last > 0 && sps.constraints[last - 1] === 0) last--;
  const constraints = Array.from(sps.constraints.subarray(0, last), hex);
  return [
    "hvc1",
    `${space}${sps.profile}`,
    hex(reverseBits(sps.compatibility)),
    `${sps.tier === 1 ? "H" : "L"}${sps.level}`,
    ...constraints,
  ].join(".");
}

function hex(value: number): string {
  return value.toString(16).toUpperCase();
}

function reverseBits(value: number): number {
  let reversed = 0;
  for (let bit = 0; bit < 32; bit++) reversed = (reversed << 1) | ((value >>> bit) & 1);
  return reversed >>> 0;
}

function firstOf(sets: readonly Uint8Array[], name: string): Uint8Array {
  const first = sets[0];
  if (first === undefined) {
    throw new InvalidDataError(`Cannot configure H.265: the number of its ${name}s is 0`);
  }
  return first;
}

function push(sets: Uint8Array[], nalu: Uint8Array): void {
  if (sets.length === MAX_SET_COUNT) {
    throw new InvalidDataError(
      `Cannot parse an hvcC record: the number of its NAL units of a kind is over ${MAX_SET_COUNT}`,
    );
  }
  sets.push(nalu);
}

function writeArray(writer: ByteWriter, type: number, nalus: readonly Uint8Array[]): void {
  if (nalus.length > MAX_SET_COUNT) {
    throw new InvalidDataError(
      `Cannot write an hvcC record: the number of its NAL units of a kind is ${nalus.length}, ` +
        `over ${MAX_SET_COUNT}`,
    );
  }
  writer.u8(type).u16(nalus.length);
  for (const nalu of nalus) {
    if (nalu.length > 0xffff) {
      throw new InvalidDataError(
        `Cannot write an hvcC record: a NAL unit's length is ${nalu.length}`,
      );
    }
    writer.u16(nalu.length).bytes(nalu);
  }
}
