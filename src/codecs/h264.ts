/** H.264: NAL unit types, the avcC record, decoder configurations and keyframes. */

import { BitReader } from "../bits.ts";
import { ByteReader, ByteWriter } from "../bytes.ts";
import { InvalidDataError } from "../errors.ts";
import type { VideoConfig } from "./config.ts";
import { parseH264Sps } from "./h264_sps.ts";
import { unescapeRbsp } from "./nal.ts";

export { type H264Sps, parseH264Sps } from "./h264_sps.ts";

/** `nal_unit_type` values (H.264 Table 7-1). */
export const H264_NAL = Object.freeze({
  /** Coded slice of a picture that is not IDR. */
  slice: 1,
  /** Slice data partition A. */
  partitionA: 2,
  /** Coded slice of an IDR picture. */
  idr: 5,
  /** Supplemental enhancement information. */
  sei: 6,
  /** Sequence parameter set. */
  sps: 7,
  /** Picture parameter set. */
  pps: 8,
  /** Access unit delimiter. */
  aud: 9,
  /** Filler data. */
  filler: 12,
  /** Sequence parameter set extension. */
  spsExtension: 13,
});

/** Most parameter sets of one kind in an avcC record: their number has five bits for SPS, eight for PPS. */
const MAX_SPS_COUNT = 31;
const MAX_PPS_COUNT = 255;

/** SEI payload type of a recovery point (H.264 D.1.1). */
const RECOVERY_POINT = 6;

/** Bytes that hold a slice header's first two fields, escaped: two codes of at most 63 bits. */
const SLICE_START_LENGTH = 32;

/** What an avcC record holds (ISO/IEC 14496-15 5.3.3.1). */
export interface AvcC {
  /** Sequence parameter set NAL units, at most 31. */
  readonly sps: readonly Uint8Array[];
  /** Picture parameter set NAL units, at most 255. */
  readonly pps: readonly Uint8Array[];
  /** Bytes of the length before each NAL unit of a sample: 1, 2 or 4. */
  readonly lengthSize: number;
  /** Sequence parameter set extension NAL units; none unless given. */
  readonly spsExtension?: readonly Uint8Array[];
}

/** Parameter sets that an H.264 configuration is made of. */
export interface H264ParameterSets {
  /** Sequence parameter set NAL units, the active one first. */
  readonly sps: readonly Uint8Array[];
  /** Picture parameter set NAL units. */
  readonly pps: readonly Uint8Array[];
}

/**
 * The `nal_unit_type` of a NAL unit, 0 to 31 (H.264 7.3.1).
 *
 * @throws {InvalidDataError} If `nalu` is empty.
 */
export function h264NalType(nalu: Uint8Array): number {
  const header = nalu[0];
  if (header === undefined) {
    throw new InvalidDataError("Cannot tell the type of an H.264 NAL unit: it is empty");
  }
  return header & 31;
}

/**
 * An avcC record's content (ISO/IEC 14496-15 5.3.3.1.2).
 *
 * The bytes that High profiles have at the end may be missing, as many writers leave them out.
 *
 * @throws {InvalidDataError} If the record is cut off, its version is not 1, or its length size is 3.
 */
export function parseAvcC(data: Uint8Array): AvcC {
  const reader = new ByteReader(data);
  const version = reader.u8();
  if (version !== 1) {
    throw new InvalidDataError(`Cannot parse an avcC record: its version is ${version}`);
  }
  const profile = reader.u8();
  reader.skip(2); // profile_compatibility, AVCLevelIndication
  const lengthSize = (reader.u8() & 3) + 1;
  if (lengthSize === 3) {
    throw new InvalidDataError("Cannot parse an avcC record: its NAL unit length size is 3");
  }
  const sps = readSets(reader, reader.u8() & MAX_SPS_COUNT);
  const pps = readSets(reader, reader.u8());
  if (!hasExtension(profile) || reader.remaining < 4) return { sps, pps, lengthSize };
  reader.skip(3); // chroma_format, bit_depth_luma_minus8, bit_depth_chroma_minus8
  const spsExtension = readSets(reader, reader.u8());
  return { sps, pps, lengthSize, ...(spsExtension.length > 0 && { spsExtension }) };
}

/**
 * The avcC record of `record` (ISO/IEC 14496-15 5.3.3.1.2), with the bytes that High profiles add.
 *
 * @throws {InvalidDataError} If there is no SPS, the first one is malformed, or a set is over 65 535
 * bytes or one of too many.
 */
export function serializeAvcC(record: AvcC): Uint8Array<ArrayBuffer> {
  const sps = parseH264Sps(firstOf(record.sps, "SPS"));
  const writer = new ByteWriter(256)
    .u8(1)
    .u8(sps.profile)
    .u8(sps.constraints)
    .u8(sps.level)
    .u8(0xfc | (record.lengthSize - 1))
    .u8(0xe0 | countOf(record.sps, MAX_SPS_COUNT));
  writeSets(writer, record.sps);
  writer.u8(countOf(record.pps, MAX_PPS_COUNT));
  writeSets(writer, record.pps);
  if (hasExtension(sps.profile)) {
    const extensions = record.spsExtension ?? [];
    writer
      .u8(0xfc | sps.chromaFormat)
      .u8(0xf8 | (sps.bitDepth - 8))
      .u8(0xf8 | (sps.chromaBitDepth - 8))
      .u8(countOf(extensions, MAX_PPS_COUNT));
    writeSets(writer, extensions);
  }
  return writer.finish();
}

/**
 * The configuration of an H.264 decoder from its parameter sets; the description is an avcC record
 * with lengths of four bytes.
 *
 * @throws {InvalidDataError} If there is no SPS or no PPS, or the first SPS is malformed.
 */
export function h264Config(sets: H264ParameterSets): VideoConfig {
  firstOf(sets.pps, "PPS");
  return configOf(sets, serializeAvcC({ ...sets, lengthSize: 4 }));
}

/**
 * The configuration of an H.264 decoder from an avcC record, which becomes the description as it is
 * if its lengths have four bytes and is rewritten so otherwise.
 *
 * @throws {InvalidDataError} If the record or its first SPS is malformed, or it has no SPS or no PPS.
 */
export function h264ConfigFromAvcC(description: Uint8Array): VideoConfig {
  const record = parseAvcC(description);
  firstOf(record.sps, "SPS");
  firstOf(record.pps, "PPS");
  if (record.lengthSize === 4) return configOf(record, description);
  return configOf(record, serializeAvcC({ ...record, lengthSize: 4 }));
}

/**
 * Whether decoding can start at the access unit of `nalus`.
 *
 * It can at an IDR picture, and at a recovery point with `recovery_frame_cnt` 0 whose slices are all
 * intra: the keyframes of open GOPs, before which B pictures may be shown that can't be decoded. A
 * recovery point that needs more pictures (periodic intra refresh) is no keyframe, since a viewer
 * that starts there sees damage.
 *
 * @throws {InvalidDataError} If a NAL unit is empty, or a slice at a recovery point is cut off in
 * its first fields.
 */
export function isH264Key(nalus: readonly Uint8Array[]): boolean {
  let recovery = false;
  for (const nalu of nalus) {
    const type = h264NalType(nalu);
    if (type === H264_NAL.idr) return true;
    if (type === H264_NAL.sei) {
      recovery ||= isExactRecoveryPoint(nalu);
    } else if (!recovery && (type === H264_NAL.slice || type === H264_NAL.partitionA)) {
      return false;
    }
  }
  if (!recovery) return false;
  const slices = nalus.filter((nalu) => {
    const type = h264NalType(nalu);
    return type === H264_NAL.slice || type === H264_NAL.partitionA;
  });
  return slices.length > 0 && slices.every(isIntraSlice);
}

/**
 * Whether an SEI holds a recovery point with `recovery_frame_cnt` 0 (H.264 7.3.2.3.1, D.1.8); one
 * that is cut off holds none, as cameras write malformed SEI that no decoder looks at.
 */
function isExactRecoveryPoint(sei: Uint8Array): boolean {
  const rbsp = unescapeRbsp(sei);
  let at = 1;
  const readNumber = () => {
    let value = 0;
    while (rbsp[at] === 0xff) {
      value += 255;
      at++;
    }
    return value + (rbsp[at++] ?? 0);
  };
  // Two bytes are the least of a message; the last byte is rbsp_trailing_bits.
  while (at + 2 < rbsp.length) {
    const type = readNumber();
    const length = readNumber();
    // recovery_frame_cnt is the first field, and ue(v) of 0 is a single set bit.
    if (type === RECOVERY_POINT && length > 0 && at < rbsp.length) {
      return ((rbsp[at] ?? 0) & 0x80) !== 0;
    }
    at += length;
  }
  return false;
}

/** Whether `slice_type` is I or SI (H.264 7.3.3, Table 7-6). */
function isIntraSlice(nalu: Uint8Array): boolean {
  const reader = new BitReader(unescapeRbsp(nalu.subarray(1, SLICE_START_LENGTH)));
  reader.ue(); // first_mb_in_slice
  const type = reader.ue();
  return type === 2 || type === 4 || type === 7 || type === 9;
}

function configOf(sets: H264ParameterSets, description: Uint8Array): VideoConfig {
  const sps = parseH264Sps(firstOf(sets.sps, "SPS"));
  const id = (sps.profile << 16) | (sps.constraints << 8) | sps.level;
  return {
    kind: "video",
    fourcc: "avc1",
    codec: `avc1.${id.toString(16).padStart(6, "0")}`,
    description,
    codedWidth: sps.width,
    codedHeight: sps.height,
    ...(sps.frameRate !== undefined && { frameRate: sps.frameRate }),
  };
}

/** Whether an avcC record of the profile ends with chroma format and bit depths. */
function hasExtension(profile: number): boolean {
  return profile !== 66 && profile !== 77 && profile !== 88;
}

function firstOf(sets: readonly Uint8Array[], name: string): Uint8Array {
  const first = sets[0];
  if (first === undefined) {
    throw new InvalidDataError(`Cannot configure H.264: the number of its ${name}s is 0`);
  }
  return first;
}

function countOf(sets: readonly Uint8Array[], max: number): number {
  if (sets.length > max) {
    throw new InvalidDataError(
      `Cannot write an avcC record: the number of parameter sets is ${sets.length}, over ${max}`,
    );
  }
  return sets.length;
}

function readSets(reader: ByteReader, count: number): Uint8Array[] {
  const sets: Uint8Array[] = [];
  for (let index = 0; index < count; index++) {
    const set = reader.bytes(reader.u16());
    if (set.length > 0) sets.push(set);
  }
  return sets;
}

function writeSets(writer: ByteWriter, sets: readonly Uint8Array[]): void {
  for (const set of sets) {
    if (set.length > 0xffff) {
      throw new InvalidDataError(
        `Cannot write an avcC record: a parameter set's length is ${set.length}`,
      );
    }
    writer.u16(set.length).bytes(set);
  }
}
