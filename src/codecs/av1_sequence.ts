/** The AV1 sequence header (AV1 5.5). */

import { BitReader } from "../bits.ts";
import { InvalidDataError } from "../errors.ts";

/**
 * Most frames per second of any level (AV1 A.3, MaxHeaderRate); encoders of variable rate declare
 * their clock in place of a rate.
 */
const MAX_FRAME_RATE = 300;

/** Most leading zero bits that uvlc() can tell apart (AV1 4.10.3). */
const MAX_UVLC_ZEROS = 31;

/** `seq_level_idx` from which on there is a tier (AV1 5.5.1). */
const FIRST_TIERED_LEVEL = 8;

/** `color_primaries`, `transfer_characteristics` and `matrix_coefficients` of sRGB (AV1 6.4.2). */
const BT_709 = 1;
const SRGB = 13;
const IDENTITY = 0;

/** Code point of a colour property that is not specified (ISO/IEC 23091-2). */
const UNSPECIFIED = 2;

/** The colour format of a stream (AV1 5.5.2, color_config). */
export interface Av1Color {
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
  /** Colour primaries, a code point of ISO/IEC 23091-2; 2 is unspecified. */
  readonly colorPrimaries: number;
  /** Transfer characteristics, a code point of ISO/IEC 23091-2; 2 is unspecified. */
  readonly transferCharacteristics: number;
  /** Matrix coefficients, a code point of ISO/IEC 23091-2; 2 is unspecified. */
  readonly matrixCoefficients: number;
  /** Whether samples use their full range. */
  readonly fullRange: boolean;
}

/** What a sequence header says. */
export interface Av1SequenceHeader extends Av1Color {
  /** `seq_profile`: 0 Main, 1 High, 2 Professional. */
  readonly profile: number;
  /** `seq_level_idx` of the first operating point, 0 to 31: 4 × (major − 2) + minor. */
  readonly level: number;
  /** `seq_tier` of the first operating point: 0 Main, 1 High. */
  readonly tier: number;
  /** Whether frame headers are those of a single picture (`reduced_still_picture_header`). */
  readonly reducedStillPicture: boolean;
  /** Largest width of a frame in pixels. */
  readonly width: number;
  /** Largest height of a frame in pixels. */
  readonly height: number;
  /** Frames per second, if the stream declares an equal interval between them. */
  readonly frameRate?: number;
}

/**
 * What the payload of a sequence header OBU says (AV1 5.5.1).
 *
 * @throws {InvalidDataError} If it is cut off or holds a reserved value.
 */
export function readAv1SequenceHeader(payload: Uint8Array): Av1SequenceHeader {
  const reader = new BitReader(payload);
  const profile = reader.bits(3);
  if (profile > 2) {
    throw new InvalidDataError(`Cannot parse an AV1 sequence header: its profile is ${profile}`);
  }
  reader.skip(1); // still_picture
  const reducedStillPicture = reader.flag();
  const { level, tier, frameRate } = reducedStillPicture
    ? { level: reader.bits(5), tier: 0, frameRate: undefined }
    : readOperation(reader);
  const widthBits = reader.bits(4) + 1;
  const heightBits = reader.bits(4) + 1;
  const width = reader.bits(widthBits) + 1;
  const height = reader.bits(heightBits) + 1;
  skipTools(reader, reducedStillPicture);
  const color = readColor(reader, profile);
  return {
    profile,
    level,
    tier,
    reducedStillPicture,
    width,
    height,
    ...color,
    ...(frameRate !== undefined && { frameRate }),
  };
}

/** From timing_info_present_flag to the last operating point, of which the first counts. */
function readOperation(reader: BitReader) {
  const timing = reader.flag();
  const frameRate = timing ? readTiming(reader) : undefined;
  let delayBits = 0;
  const decoderModel = timing && reader.flag();
  if (decoderModel) {
    delayBits = reader.bits(5) + 1;
    reader.skip(42); // num_units_in_decoding_tick and two lengths of five bits
  }
  const displayDelay = reader.flag();
  const points = reader.bits(5) + 1;
  let level = 0;
  let tier = 0;
  for (let index = 0; index < points; index++) {
    reader.skip(12); // operating_point_idc
    const pointLevel = reader.bits(5);
    const pointTier = pointLevel >= FIRST_TIERED_LEVEL ? reader.bit() : 0;
    if (decoderModel && reader.flag()) reader.skip(2 * delayBits + 1);
    if (displayDelay && reader.flag()) reader.skip(4);
    if (index === 0) {
      level = pointLevel;
      tier = pointTier;
    }
  }
  return { level, tier, frameRate };
}

/** timing_info (AV1 5.5.3). */
function readTiming(reader: BitReader): number | undefined {
  const unitsInTick = reader.bits(32);
  const timeScale = reader.bits(32);
  if (!reader.flag()) return undefined;
  const ticksPerPicture = readUvlc(reader) + 1;
  if (unitsInTick === 0 || timeScale === 0) return undefined;
  const rate = timeScale / (unitsInTick * ticksPerPicture);
  return rate <= MAX_FRAME_RATE ? rate : undefined;
}

/** uvlc() (AV1 4.10.3): Exp-Golomb, but 32 zeros and more stand for 2^32 − 1 by themselves. */
function readUvlc(reader: BitReader): number {
  let zeros = 0;
  while (!reader.flag()) zeros++;
  return zeros > MAX_UVLC_ZEROS ? 2 ** 32 - 1 : 2 ** zeros - 1 + reader.bits(zeros);
}

/** From frame_id_numbers_present_flag to enable_restoration. */
function skipTools(reader: BitReader, reducedStillPicture: boolean): void {
  if (!reducedStillPicture && reader.flag()) reader.skip(7); // two lengths of frame ids
  reader.skip(3); // use_128x128_superblock to enable_intra_edge_filter
  if (!reducedStillPicture) {
    reader.skip(4); // enable_interintra_compound to enable_dual_filter
    const orderHint = reader.flag();
    if (orderHint) reader.skip(2); // enable_jnt_comp, enable_ref_frame_mvs
    const chosenPerFrame = reader.flag(); // seq_choose_screen_content_tools
    const screenContent = chosenPerFrame || reader.flag();
    if (screenContent && !reader.flag()) reader.skip(1); // seq_force_integer_mv
    if (orderHint) reader.skip(3); // order_hint_bits_minus_1
  }
  reader.skip(3); // enable_superres to enable_restoration
}

/** color_config (AV1 5.5.2). */
function readColor(reader: BitReader, profile: number): Av1Color {
  const highBitDepth = reader.flag();
  const twelveBits = profile === 2 && highBitDepth && reader.flag();
  const bitDepth = twelveBits ? 12 : highBitDepth ? 10 : 8;
  const monochrome = profile !== 1 && reader.flag();
  const described = reader.flag();
  const colorPrimaries = described ? reader.bits(8) : UNSPECIFIED;
  const transferCharacteristics = described ? reader.bits(8) : UNSPECIFIED;
  const matrixCoefficients = described ? reader.bits(8) : UNSPECIFIED;
  const common = {
    bitDepth,
    monochrome,
    colorPrimaries,
    transferCharacteristics,
    matrixCoefficients,
  };
  if (monochrome) {
    const fullRange = reader.flag();
    return { ...common, fullRange, subsamplingX: 1, subsamplingY: 1, chromaSamplePosition: 0 };
  }
  let fullRange = true;
  let subsampling = { subsamplingX: 0, subsamplingY: 0 };
  const rgb = colorPrimaries === BT_709 && transferCharacteristics === SRGB &&
    matrixCoefficients === IDENTITY;
  if (!rgb) {
    fullRange = reader.flag();
    subsampling = readSubsampling(reader, profile, bitDepth);
  }
  const both = subsampling.subsamplingX === 1 && subsampling.subsamplingY === 1;
  const chromaSamplePosition = both ? reader.bits(2) : 0;
  reader.skip(1); // separate_uv_delta_q
  return { ...common, fullRange, ...subsampling, chromaSamplePosition };
}

function readSubsampling(reader: BitReader, profile: number, bitDepth: number) {
  if (profile === 0) return { subsamplingX: 1, subsamplingY: 1 };
  if (profile === 1) return { subsamplingX: 0, subsamplingY: 0 };
  if (bitDepth !== 12) return { subsamplingX: 1, subsamplingY: 0 };
  const subsamplingX = reader.bit();
  return { subsamplingX, subsamplingY: subsamplingX === 1 ? reader.bit() : 0 };
}
