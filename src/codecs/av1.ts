/** AV1: OBUs, the av1C record, decoder configurations and keyframes. */

import { BitReader } from "../bits.ts";
import { ByteReader, concat } from "../bytes.ts";
import { InvalidDataError } from "../errors.ts";
import { type Av1SequenceHeader, readAv1SequenceHeader } from "./av1_sequence.ts";
import type { VideoConfig } from "./config.ts";

export type { Av1Color, Av1SequenceHeader } from "./av1_sequence.ts";

/** `obu_type` values (AV1 6.2.2). */
export const AV1_OBU = Object.freeze({
  sequenceHeader: 1,
  temporalDelimiter: 2,
  frameHeader: 3,
  tileGroup: 4,
  metadata: 5,
  frame: 6,
  redundantFrameHeader: 7,
  tileList: 8,
  padding: 15,
});

/**
 * Most OBUs of one temporal unit: a frame has at most 4 096 tiles (AV1 A.3, 64 × 64) and so tile
 * groups, and a unit has a few frames. Beyond that are runs of tiny OBUs, whose views would take a
 * hundred times the memory of their bytes.
 */
export const MAX_OBUS = 16_384;

/** Most bytes of a leb128() (AV1 4.10.5). */
const MAX_LEB128_LENGTH = 8;

/** Largest value of a leb128() (AV1 4.10.5). */
const MAX_LEB128 = 2 ** 32 - 1;

/** One OBU's place in its data. */
interface ObuSpan {
  readonly type: number;
  readonly start: number;
  readonly payload: number;
  readonly end: number;
  readonly sized: boolean;
}

/** What an av1C record holds (AV1-ISOBMFF 2.3). */
export interface Av1C {
  /** `seq_profile`: 0 Main, 1 High, 2 Professional. */
  readonly profile: number;
  /** `seq_level_idx_0`, 0 to 31. */
  readonly level: number;
  /** `seq_tier_0`: 0 Main, 1 High. */
  readonly tier: number;
  /** Bits of a sample: 8, 10 or 12. */
  readonly bitDepth: number;
  /** Whether there is luma only. */
  readonly monochrome: boolean;
  /** 1 if chroma has half the width of luma, otherwise 0. */
  readonly subsamplingX: number;
  /** 1 if chroma has half the height of luma, otherwise 0. */
  readonly subsamplingY: number;
  /** `chroma_sample_position`: 0 unknown, 1 vertical, 2 colocated. */
  readonly chromaSamplePosition: number;
  /** Frames to decode before the first is shown, 1 to 16; not said unless given. */
  readonly initialPresentationDelay?: number;
  /** `configOBUs`: a sequence header OBU and metadata OBUs, all with sizes; may be empty. */
  readonly obus: Uint8Array;
}

/**
 * The OBUs of a temporal unit in the low-overhead format, headers included, as views (AV1 5.2); the
 * last one may lack a size and then reaches to the end.
 *
 * @throws {InvalidDataError} If an OBU is cut off or sets the forbidden bit, or there are over
 * {@linkcode MAX_OBUS}.
 */
export function splitObus(data: Uint8Array): Uint8Array[] {
  const obus: Uint8Array[] = [];
  let at = 0;
  while (at < data.length) {
    if (obus.length === MAX_OBUS) {
      throw new InvalidDataError(`Cannot split OBUs: their number is over ${MAX_OBUS}`);
    }
    const { end } = spanAt(data, at);
    obus.push(data.subarray(at, end));
    at = end;
  }
  return obus;
}

/** The low-overhead temporal unit of `obus`, each with its size (AV1 5.2, AV1-ISOBMFF 2.4). */
export function joinObus(obus: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return concat(obus.map(sizedObu));
}

/**
 * The `obu_type` of an OBU, 0 to 15 (AV1 5.3.2).
 *
 * @throws {InvalidDataError} If `obu` is empty.
 */
export function av1ObuType(obu: Uint8Array): number {
  const header = obu[0];
  if (header === undefined) {
    throw new InvalidDataError("Cannot tell the type of an AV1 OBU: it is empty");
  }
  return (header >> 3) & 15;
}

/** `value`, 0 to 2^32 − 1, as a leb128() in the fewest bytes (AV1 4.10.5). */
export function leb128(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push(rest % 128 + 128);
  return Uint8Array.of(...bytes, rest);
}

/**
 * What a sequence header OBU says (AV1 5.5); OBUs before it in `obu` are passed over.
 *
 * @throws {InvalidDataError} If there is no sequence header, or it is cut off or malformed.
 */
export function parseAv1SequenceHeader(obu: Uint8Array): Av1SequenceHeader {
  const span = findObu(obu, AV1_OBU.sequenceHeader);
  if (span === undefined) {
    throw new InvalidDataError("Cannot parse an AV1 sequence header: the number of them is 0");
  }
  return readAv1SequenceHeader(obu.subarray(span.payload, span.end));
}

/**
 * An av1C record's content (AV1-ISOBMFF 2.3.3).
 *
 * @throws {InvalidDataError} If the record is cut off, or its marker, version or profile is wrong.
 */
export function parseAv1C(data: Uint8Array): Av1C {
  const reader = new ByteReader(data);
  const bits = new BitReader(reader.bytes(4));
  const version = bits.bits(8);
  if (version !== 0x81) {
    throw new InvalidDataError(`Cannot parse an av1C record: its marker and version is ${version}`);
  }
  const profile = bits.bits(3);
  if (profile > 2) {
    throw new InvalidDataError(`Cannot parse an av1C record: its profile is ${profile}`);
  }
  const level = bits.bits(5);
  const tier = bits.bit();
  const highBitDepth = bits.flag();
  const twelveBits = bits.flag();
  const monochrome = bits.flag();
  const subsamplingX = bits.bit();
  const subsamplingY = bits.bit();
  const chromaSamplePosition = bits.bits(2);
  bits.skip(3);
  const delayed = bits.flag();
  const delay = bits.bits(4) + 1;
  return {
    profile,
    level,
    tier,
    bitDepth: highBitDepth ? twelveBits ? 12 : 10 : 8,
    monochrome,
    subsamplingX,
    subsamplingY,
    chromaSamplePosition,
    ...(delayed && { initialPresentationDelay: delay }),
    obus: reader.rest(),
  };
}

/** The av1C record of `record` (AV1-ISOBMFF 2.3.3). */
export function serializeAv1C(record: Av1C): Uint8Array<ArrayBuffer> {
  const delay = record.initialPresentationDelay;
  const header = Uint8Array.of(
    0x81,
    (record.profile << 5) | record.level,
    (record.tier << 7) | (record.bitDepth > 8 ? 0x40 : 0) | (record.bitDepth > 10 ? 0x20 : 0) |
      (record.monochrome ? 0x10 : 0) | (record.subsamplingX << 3) | (record.subsamplingY << 2) |
      record.chromaSamplePosition,
    delay === undefined ? 0 : 0x10 | (delay - 1),
  );
  return concat([header, record.obus]);
}

/**
 * The configuration of an AV1 decoder from a sequence header OBU; OBUs before it are passed over, so
 * a keyframe's temporal unit does too. The description is an av1C record with the sequence header.
 *
 * @throws {InvalidDataError} If there is no sequence header, or it is malformed.
 */
export function av1Config(sequenceHeaderObu: Uint8Array): VideoConfig {
  const header = parseAv1SequenceHeader(sequenceHeaderObu);
  const span = findObu(sequenceHeaderObu, AV1_OBU.sequenceHeader);
  const obus = sizedObu(sequenceHeaderObu.subarray(span?.start, span?.end));
  return configOf(header, serializeAv1C({ ...header, obus }));
}

/**
 * The configuration of an AV1 decoder from an av1C record, which becomes the description; one without
 * a sequence header gives no size.
 *
 * @throws {InvalidDataError} If the record or the sequence header in it is malformed.
 */
export function av1ConfigFromAv1C(description: Uint8Array): VideoConfig {
  const record = parseAv1C(description);
  if (findObu(record.obus, AV1_OBU.sequenceHeader) === undefined) {
    return { kind: "video", fourcc: "av01", codec: shortCodecOf(record), description };
  }
  return configOf(parseAv1SequenceHeader(record.obus), description);
}

/**
 * Whether decoding can start at a temporal unit: whether its first frame is a shown key frame (AV1
 * 7.6.2). Its sequence header may be missing, as it is in the configuration.
 *
 * @throws {InvalidDataError} If an OBU up to the first frame header is malformed.
 */
export function isAv1Key(temporalUnit: Uint8Array): boolean {
  let at = 0;
  let still = false;
  while (at < temporalUnit.length) {
    const { type, payload, end } = spanAt(temporalUnit, at);
    if (type === AV1_OBU.sequenceHeader) {
      // reduced_still_picture_header is the fifth bit: its frames have no type.
      still = ((temporalUnit[payload] ?? 0) & 0x08) !== 0;
    } else if (type === AV1_OBU.frame || type === AV1_OBU.frameHeader) {
      if (payload === end) {
        throw new InvalidDataError("Cannot tell an AV1 keyframe: the frame header's length is 0");
      }
      // show_existing_frame 0, frame_type 00 (KEY_FRAME), show_frame 1 (AV1 5.9.2).
      return still || (temporalUnit[payload] ?? 0) >> 4 === 1;
    }
    at = end;
  }
  return false;
}

/** The OBU that begins at `start` (AV1 5.3). */
function spanAt(data: Uint8Array, start: number): ObuSpan {
  const header = data[start] ?? 0;
  if (header >= 0x80) {
    throw new InvalidDataError(`Cannot read an OBU: the forbidden bit at offset ${start} is 1`);
  }
  const sized = (header & 2) !== 0;
  let at = start + ((header & 4) === 0 ? 1 : 2);
  let length = data.length - at;
  if (sized) {
    let size = 0;
    let factor = 1;
    let index = 0;
    for (;; index++) {
      const byte = data[at + index];
      if (byte === undefined || index === MAX_LEB128_LENGTH) {
        throw new InvalidDataError(`Cannot read an OBU: the size at offset ${at} has no end`);
      }
      size += (byte & 127) * factor;
      if (byte < 128) break;
      factor *= 128;
    }
    at += index + 1;
    length = size;
  }
  const remaining = data.length - at;
  if (length < 0 || length > remaining || length > MAX_LEB128) {
    throw new InvalidDataError(
      `Cannot read an OBU: the size at offset ${start} is ${length}, ${remaining} bytes remain`,
    );
  }
  return { type: (header >> 3) & 15, start, payload: at, end: at + length, sized };
}

function findObu(data: Uint8Array, type: number): ObuSpan | undefined {
  let at = 0;
  while (at < data.length) {
    const span = spanAt(data, at);
    if (span.type === type) return span;
    at = span.end;
  }
  return undefined;
}

/** `obu` with its size: itself if it has one. */
function sizedObu(obu: Uint8Array): Uint8Array {
  const { payload, end, sized } = spanAt(obu, 0);
  if (sized) return obu;
  const header = obu.slice(0, payload);
  header[0] = (header[0] ?? 0) | 2;
  return concat([header, leb128(end - payload), obu.subarray(payload, end)]);
}

function configOf(header: Av1SequenceHeader, description: Uint8Array): VideoConfig {
  return {
    kind: "video",
    fourcc: "av01",
    codec: codecOf(header),
    description,
    codedWidth: header.width,
    codedHeight: header.height,
    ...(header.frameRate !== undefined && { frameRate: header.frameRate }),
  };
}

/**
 * The codec string (AV1-ISOBMFF 5): its optional fields only where one is not the default, which is
 * 4:2:0 of BT.709 in limited range; unspecified colours count as that.
 */
function codecOf(header: Av1SequenceHeader): string {
  const colors = [
    header.colorPrimaries,
    header.transferCharacteristics,
    header.matrixCoefficients,
  ];
  const plain = !header.monochrome && header.subsamplingX === 1 && header.subsamplingY === 1 &&
    header.chromaSamplePosition === 0 && !header.fullRange;
  if (plain && (colors.every((color) => color === 1) || colors.every((color) => color === 2))) {
    return shortCodecOf(header);
  }
  return [
    shortCodecOf(header),
    header.monochrome ? 1 : 0,
    `${header.subsamplingX}${header.subsamplingY}${header.chromaSamplePosition}`,
    ...colors.map((color) => color.toString().padStart(2, "0")),
    header.fullRange ? 1 : 0,
  ].join(".");
}

function shortCodecOf(record: Pick<Av1C, "profile" | "level" | "tier" | "bitDepth">): string {
  const level = record.level.toString().padStart(2, "0");
  const depth = record.bitDepth.toString().padStart(2, "0");
  return `av01.${record.profile}.${level}${record.tier === 1 ? "H" : "M"}.${depth}`;
}
