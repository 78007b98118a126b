/** VP9: frame headers, the vpcC record and decoder configurations. */

import { BitReader } from "../bits.ts";
import { ByteReader, ByteWriter } from "../bytes.ts";
import { InvalidDataError } from "../errors.ts";
import type { VideoConfig } from "./config.ts";

/** The start of an uncompressed header (VP9 6.2, frame_marker). */
const FRAME_MARKER = 2;

/** frame_sync_code (VP9 6.2). */
const SYNC_CODE = 0x498342;

/** `color_space` values (VP9 7.2.2) as matrix coefficients (ISO/IEC 23091-2), by their index. */
const MATRIX_COEFFICIENTS = [2, 5, 1, 6, 7, 9, 2, 0] as const;

/** `color_space` of RGB (VP9 7.2.2). */
const RGB = 7;

/** Code points of ISO/IEC 23091-2. */
const UNSPECIFIED = 2;
const BT_709 = 1;

/** `chromaSubsampling` values (VP-codec-ISOBMFF, semantics of vpcC). */
const CHROMA_420_COLOCATED = 1;
const CHROMA_422 = 2;
const CHROMA_444 = 3;

/** Version 1 and flags 0 of a vpcC box, a FullBox. */
const BOX_VERSION = 0x01000000;

/** Levels with their largest frame in luma samples and largest side in pixels (VP9 Annex A). */
const LEVELS = [
  { level: 10, samples: 36_864, side: 512 },
  { level: 11, samples: 73_728, side: 768 },
  { level: 20, samples: 122_880, side: 960 },
  { level: 21, samples: 245_760, side: 1_344 },
  { level: 30, samples: 552_960, side: 2_048 },
  { level: 31, samples: 983_040, side: 2_752 },
  { level: 40, samples: 2_228_224, side: 4_160 },
  { level: 50, samples: 8_912_896, side: 8_384 },
] as const;

/** The level of frames over the largest above. */
const TOP_LEVEL = 60;

/** What a frame's uncompressed header says (VP9 6.2): colours and size in key frames only. */
export interface Vp9Header extends Partial<Vp9Format> {
  /** Whether it is a key frame, where decoding can start. */
  readonly key: boolean;
  /** Profile 0 to 3. */
  readonly profile: number;
  /** Whether it only shows a frame decoded before; it then has no more fields. */
  readonly showExisting: boolean;
  /** Whether the frame is shown. */
  readonly show: boolean;
}

/** What a key frame's header says of the pictures from it on. */
export interface Vp9Format {
  /** Width in pixels. */
  readonly width: number;
  /** Height in pixels. */
  readonly height: number;
  /** Bits of a sample: 8, 10 or 12. */
  readonly bitDepth: number;
  /** 1 if chroma has half the width of luma, otherwise 0. */
  readonly subsamplingX: number;
  /** 1 if chroma has half the height of luma, otherwise 0. */
  readonly subsamplingY: number;
  /** Matrix coefficients, a code point of ISO/IEC 23091-2; 2 is unspecified. */
  readonly matrixCoefficients: number;
  /** Whether samples use their full range. */
  readonly fullRange: boolean;
}

/** What a vpcC box says (VP-codec-ISOBMFF, VPCodecConfigurationRecord). */
export interface VpcC {
  /** Profile 0 to 3. */
  readonly profile: number;
  /** Ten times the level's number; 0 if unknown. */
  readonly level: number;
  /** Bits of a sample: 8, 10 or 12. */
  readonly bitDepth: number;
  /** `chromaSubsampling`: 0 4:2:0 vertical, 1 4:2:0 colocated with luma, 2 4:2:2, 3 4:4:4. */
  readonly chromaSubsampling: number;
  /** Whether samples use their full range. */
  readonly fullRange: boolean;
  /** Colour primaries, a code point of ISO/IEC 23091-2; 2 is unspecified. */
  readonly colorPrimaries: number;
  /** Transfer characteristics, a code point of ISO/IEC 23091-2; 2 is unspecified. */
  readonly transferCharacteristics: number;
  /** Matrix coefficients, a code point of ISO/IEC 23091-2; 2 is unspecified. */
  readonly matrixCoefficients: number;
}

/**
 * What the header of a frame, or of the first frame of a superframe, says (VP9 6.2).
 *
 * @throws {InvalidDataError} If the header is cut off or malformed.
 */
export function parseVp9Header(frame: Uint8Array): Vp9Header {
  const { format, ...header } = readHeader(frame);
  return { ...header, ...format };
}

/** Whether decoding can start at a frame or superframe: whether its first frame is a key frame. */
export function isVp9Key(frame: Uint8Array): boolean {
  return parseVp9Header(frame).key;
}

/**
 * What the payload of a vpcC box says (VP-codec-ISOBMFF, VPCodecConfigurationBox).
 *
 * The payload is version and flags with a VPCodecConfigurationRecord behind them. Enhanced RTMP speaks
 * of the record alone, and FFmpeg up to 5 sends that, but FFmpeg from 6 on sends the payload; so a bare
 * record is read too. It can't begin like version 1 and flags 0, as its bit depth would be 0.
 *
 * @throws {InvalidDataError} If the record is cut off, or its profile, bit depth or chroma is none.
 */
export function parseVpcC(data: Uint8Array): VpcC {
  const reader = new ByteReader(data);
  if (isBoxed(data)) reader.skip(4);
  const profile = reader.u8();
  const level = reader.u8();
  const packed = reader.u8();
  const bitDepth = packed >> 4;
  const chromaSubsampling = (packed >> 1) & 7;
  const colors = {
    colorPrimaries: reader.u8(),
    transferCharacteristics: reader.u8(),
    matrixCoefficients: reader.u8(),
  };
  reader.skip(reader.u16()); // codecInitializationData
  if (profile > 3 || ![8, 10, 12].includes(bitDepth) || chromaSubsampling > CHROMA_444) {
    throw new InvalidDataError(
      `Cannot parse a vpcC record: profile, bit depth and chroma subsampling are ` +
        `${profile}, ${bitDepth} and ${chromaSubsampling}`,
    );
  }
  const fullRange = (packed & 1) !== 0;
  return { profile, level, bitDepth, chromaSubsampling, fullRange, ...colors };
}

/** The payload of a vpcC box for `record`: version and flags, then the record. */
export function serializeVpcC(record: VpcC): Uint8Array<ArrayBuffer> {
  return new ByteWriter(12)
    .u32(BOX_VERSION)
    .u8(record.profile)
    .u8(record.level)
    .u8((record.bitDepth << 4) | (record.chromaSubsampling << 1) | (record.fullRange ? 1 : 0))
    .u8(record.colorPrimaries)
    .u8(record.transferCharacteristics)
    .u8(record.matrixCoefficients)
    .u16(0)
    .finish();
}

/**
 * The configuration of a VP9 decoder from a key frame; the description is the payload of a vpcC box.
 * The level is the lowest that allows the size, as a frame doesn't tell the rate.
 *
 * @throws {InvalidDataError} If the frame is malformed or no key frame, or its chroma is 4:4:0, which
 * the record can't say.
 */
export function vp9Config(keyframe: Uint8Array): VideoConfig {
  const { profile, format } = readHeader(keyframe);
  if (format === undefined) {
    throw new InvalidDataError("Cannot configure VP9: the frame is no key frame");
  }
  const record = {
    profile,
    level: levelOf(format.width, format.height),
    bitDepth: format.bitDepth,
    chromaSubsampling: chromaOf(format),
    fullRange: format.fullRange,
    colorPrimaries: UNSPECIFIED,
    transferCharacteristics: UNSPECIFIED,
    matrixCoefficients: format.matrixCoefficients,
  };
  return {
    kind: "video",
    fourcc: "vp09",
    codec: codecOf(record),
    description: serializeVpcC(record),
    codedWidth: format.width,
    codedHeight: format.height,
  };
}

/**
 * The configuration of a VP9 decoder from the payload of a vpcC box, or from the record alone; the
 * description is the payload. It gives no size: that is in key frames only.
 *
 * @throws {InvalidDataError} If the record is malformed.
 */
export function vp9ConfigFromVpcC(description: Uint8Array): VideoConfig {
  const record = parseVpcC(description);
  return {
    kind: "video",
    fourcc: "vp09",
    codec: codecOf(record),
    description: isBoxed(description) ? description : serializeVpcC(record),
  };
}

/** uncompressed_header as far as it matters here (VP9 6.2). */
function readHeader(frame: Uint8Array): Vp9Header & { readonly format?: Vp9Format } {
  const reader = new BitReader(frame);
  const marker = reader.bits(2);
  if (marker !== FRAME_MARKER) {
    throw new InvalidDataError(`Cannot parse a VP9 frame: its frame marker is ${marker}`);
  }
  const profile = reader.bit() | (reader.bit() << 1);
  if (profile === 3 && reader.flag()) {
    throw new InvalidDataError("Cannot parse a VP9 frame: its profile is over 3");
  }
  if (reader.flag()) {
    reader.skip(3); // frame_to_show_map_idx
    return { key: false, profile, showExisting: true, show: true };
  }
  const key = !reader.flag();
  const show = reader.flag();
  reader.skip(1); // error_resilient_mode
  const header = { key, profile, showExisting: false, show };
  return key ? { ...header, format: readFormat(reader, profile) } : header;
}

/** frame_sync_code, color_config and frame_size of a key frame (VP9 6.2). */
function readFormat(reader: BitReader, profile: number): Vp9Format {
  const sync = reader.bits(24);
  if (sync !== SYNC_CODE) {
    throw new InvalidDataError(`Cannot parse a VP9 frame: its sync code is ${sync}`);
  }
  const twelveBits = profile >= 2 && reader.flag();
  const bitDepth = profile < 2 ? 8 : twelveBits ? 12 : 10;
  const colorSpace = reader.bits(3);
  const matrixCoefficients = MATRIX_COEFFICIENTS[colorSpace] ?? UNSPECIFIED;
  const anyChroma = (profile & 1) === 1;
  let fullRange = true;
  let subsamplingX = 0;
  let subsamplingY = 0;
  if (colorSpace === RGB && !anyChroma) {
    throw new InvalidDataError(`Cannot parse a VP9 frame: RGB is not for profile ${profile}`);
  }
  if (colorSpace !== RGB) {
    fullRange = reader.flag();
    subsamplingX = anyChroma ? reader.bit() : 1;
    subsamplingY = anyChroma ? reader.bit() : 1;
  }
  if (anyChroma) reader.skip(1);
  const width = reader.bits(16) + 1;
  const height = reader.bits(16) + 1;
  return {
    width,
    height,
    bitDepth,
    subsamplingX,
    subsamplingY,
    matrixCoefficients,
    fullRange,
  };
}

function isBoxed(data: Uint8Array): boolean {
  return data.length >= 4 && new ByteReader(data).u32() === BOX_VERSION;
}

function chromaOf({ subsamplingX, subsamplingY }: Vp9Format): number {
  if (subsamplingX === 0 && subsamplingY === 0) return CHROMA_444;
  if (subsamplingY === 0) return CHROMA_422;
  if (subsamplingX === 1) return CHROMA_420_COLOCATED;
  throw new InvalidDataError("Cannot configure VP9: the chroma format is 4:4:0");
}

function levelOf(width: number, height: number): number {
  const found = LEVELS.find(({ samples, side }) =>
    width * height <= samples && width <= side && height <= side
  );
  return found?.level ?? TOP_LEVEL;
}

/**
 * The codec string (VP-codec-ISOBMFF, codecs parameter): its optional fields only where one is not
 * the default, which is 4:2:0 of BT.709 in limited range; unspecified colours count as that.
 */
function codecOf(record: VpcC): string {
  const colors = [
    record.colorPrimaries,
    record.transferCharacteristics,
    record.matrixCoefficients,
  ];
  const required = [record.profile, record.level, record.bitDepth];
  const plain = record.chromaSubsampling === CHROMA_420_COLOCATED && !record.fullRange &&
    (colors.every((color) => color === UNSPECIFIED) || colors.every((color) => color === BT_709));
  const fields = plain
    ? required
    : [...required, record.chromaSubsampling, ...colors, record.fullRange ? 1 : 0];
  return ["vp09", ...fields.map((field) => field.toString().padStart(2, "0"))].join(".");
}
