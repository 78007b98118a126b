/** The H.264 sequence parameter set (H.264 7.3.2.1.1 and Annex E). */

import { BitReader } from "../bits.ts";
import { InvalidDataError } from "../errors.ts";
import { unescapeRbsp } from "./nal.ts";

/** `nal_unit_type` of a sequence parameter set (H.264 Table 7-1). */
const SPS_TYPE = 7;

/** Largest width and height in pixels: containers hold them in 16 bits. */
const MAX_DIMENSION = 65_535;

/** Most frames in a reference picture buffer (H.264 A.3.1). */
const MAX_REFERENCE_FRAMES = 16;

/** Most entries of an offset cycle for picture order count type 1 (H.264 7.4.2.1.1). */
const MAX_POC_CYCLE = 255;

/** Most alternative coded picture buffers of an HRD (H.264 E.2.2). */
const MAX_CPB_COUNT = 32;

/**
 * Most frames per second of any level (H.264 A.3.1); encoders of variable rate declare their clock
 * (1 000 or 90 000 ticks) in place of a rate.
 */
const MAX_FRAME_RATE = 300;

/** `profile_idc` of the profiles whose parameter sets carry a chroma format (H.264 7.3.2.1.1). */
const CHROMA_PROFILES: ReadonlySet<number> = new Set([
  100,
  110,
  122,
  244,
  44,
  83,
  86,
  118,
  128,
  138,
  139,
  134,
  135,
]);

/** `aspect_ratio_idc` that says the ratio itself follows (H.264 Table E-1). */
const EXTENDED_SAR = 255;

/** What a sequence parameter set says. */
export interface H264Sps {
  /** `profile_idc`: 66 Baseline, 77 Main, 100 High, 110 High 10, … */
  readonly profile: number;
  /** The byte of constraint flags, `constraint_set0_flag` first. */
  readonly constraints: number;
  /** `level_idc`: ten times the level's number. */
  readonly level: number;
  /** `seq_parameter_set_id`, 0 to 31. */
  readonly id: number;
  /** `chroma_format_idc`: 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4. */
  readonly chromaFormat: number;
  /** Bits of a luma sample, 8 to 14. */
  readonly bitDepth: number;
  /** Bits of a chroma sample, 8 to 14. */
  readonly chromaBitDepth: number;
  /** Width in pixels after cropping. */
  readonly width: number;
  /** Height in pixels of a frame after cropping. */
  readonly height: number;
  /** Whether pictures may be fields or have field macroblocks (`frame_mbs_only_flag` 0). */
  readonly interlaced: boolean;
  /** Most reference frames, 0 to 16. */
  readonly maxReferenceFrames: number;
  /**
   * Most frames that come before one in decoding order and after it in output order, 0 to 16; known
   * from the VUI, or 0 for streams whose two orders are the same (H.264 E.2.1, 8.2.1.3).
   */
  readonly maxReorderFrames?: number;
  /** Frames per second from the VUI's timing. */
  readonly frameRate?: number;
}

/**
 * What a sequence parameter set NAL unit says (H.264 7.3.2.1.1).
 *
 * @throws {InvalidDataError} If `nalu` is no sequence parameter set, is cut off, or holds a value
 * outside its range.
 */
export function parseH264Sps(nalu: Uint8Array): H264Sps {
  const reader = new BitReader(unescapeRbsp(nalu));
  const type = reader.bits(8) & 31;
  if (type !== SPS_TYPE) {
    throw new InvalidDataError(`Cannot parse an H.264 SPS: the NAL unit type is ${type}`);
  }
  const profile = reader.bits(8);
  const constraints = reader.bits(8);
  const level = reader.bits(8);
  const id = limited(reader, "seq_parameter_set_id", 31);
  const format = CHROMA_PROFILES.has(profile)
    ? readFormat(reader)
    : { chromaFormat: 1, separatePlanes: false, bitDepth: 8, chromaBitDepth: 8 };
  limited(reader, "log2_max_frame_num_minus4", 12);
  const pocType = readPictureOrder(reader);
  const maxReferenceFrames = limited(reader, "max_num_ref_frames", MAX_REFERENCE_FRAMES);
  reader.skip(1); // gaps_in_frame_num_value_allowed_flag
  const size = readSize(reader, format.separatePlanes ? 0 : format.chromaFormat);
  const vui = reader.flag() ? readVui(reader) : {};
  const maxReorderFrames = vui.maxReorderFrames ??
    (pocType === 2 || isIntraOnly(profile, constraints) ? 0 : undefined);
  return {
    profile,
    constraints,
    level,
    id,
    chromaFormat: format.chromaFormat,
    bitDepth: format.bitDepth,
    chromaBitDepth: format.chromaBitDepth,
    ...size,
    maxReferenceFrames,
    ...(maxReorderFrames !== undefined && { maxReorderFrames }),
    ...(vui.frameRate !== undefined && { frameRate: vui.frameRate }),
  };
}

/** Intra profiles hold no picture back (H.264 E.2.1, max_num_reorder_frames). */
function isIntraOnly(profile: number, constraints: number): boolean {
  const intra = (constraints & 0x10) !== 0;
  return profile === 44 || (intra && [86, 100, 110, 122, 244].includes(profile));
}

function readFormat(reader: BitReader) {
  const chromaFormat = limited(reader, "chroma_format_idc", 3);
  const separatePlanes = chromaFormat === 3 && reader.flag();
  const bitDepth = 8 + limited(reader, "bit_depth_luma_minus8", 6);
  const chromaBitDepth = 8 + limited(reader, "bit_depth_chroma_minus8", 6);
  reader.skip(1); // qpprime_y_zero_transform_bypass_flag
  if (reader.flag()) {
    const lists = chromaFormat === 3 ? 12 : 8;
    for (let index = 0; index < lists; index++) {
      if (reader.flag()) skipScalingList(reader, index < 6 ? 16 : 64);
    }
  }
  return { chromaFormat, separatePlanes, bitDepth, chromaBitDepth };
}

/** H.264 7.3.2.1.1.1: a list ends early once a scale of zero repeats the last one. */
function skipScalingList(reader: BitReader, length: number): void {
  let scale = 8;
  for (let index = 0; index < length; index++) {
    const delta = reader.se();
    if (delta < -128 || delta > 127) {
      throw new InvalidDataError(`Cannot parse an H.264 SPS: delta_scale is ${delta}`);
    }
    scale = (scale + delta) & 255;
    if (scale === 0) return;
  }
}

function readPictureOrder(reader: BitReader): number {
  const type = limited(reader, "pic_order_cnt_type", 2);
  if (type === 0) {
    limited(reader, "log2_max_pic_order_cnt_lsb_minus4", 12);
  } else if (type === 1) {
    reader.skip(1); // delta_pic_order_always_zero_flag
    reader.se();
    reader.se();
    const cycle = limited(reader, "num_ref_frames_in_pic_order_cnt_cycle", MAX_POC_CYCLE);
    for (let index = 0; index < cycle; index++) reader.se();
  }
  return type;
}

function readSize(reader: BitReader, chromaArrayType: number) {
  const codedWidth = 16 * (reader.ue() + 1);
  const mapUnits = reader.ue() + 1;
  const frameOnly = reader.flag();
  const fieldFactor = frameOnly ? 1 : 2;
  const codedHeight = 16 * mapUnits * fieldFactor;
  if (!frameOnly) reader.skip(1); // mb_adaptive_frame_field_flag
  reader.skip(1); // direct_8x8_inference_flag
  let width = codedWidth;
  let height = codedHeight;
  if (reader.flag()) {
    // CropUnitX and CropUnitY (H.264 7-19 to 7-22).
    const unitX = chromaArrayType === 1 || chromaArrayType === 2 ? 2 : 1;
    const unitY = (chromaArrayType === 1 ? 2 : 1) * fieldFactor;
    width -= unitX * (reader.ue() + reader.ue());
    height -= unitY * (reader.ue() + reader.ue());
  }
  if (width < 1 || height < 1 || codedWidth > MAX_DIMENSION || codedHeight > MAX_DIMENSION) {
    throw new InvalidDataError(
      `Cannot parse an H.264 SPS: its size is ${width}x${height} of ${codedWidth}x${codedHeight}`,
    );
  }
  return { width, height, interlaced: !frameOnly };
}

function readVui(reader: BitReader): { frameRate?: number; maxReorderFrames?: number } {
  if (reader.flag() && reader.bits(8) === EXTENDED_SAR) reader.skip(32);
  if (reader.flag()) reader.skip(1); // overscan_appropriate_flag
  if (reader.flag()) {
    reader.skip(4); // video_format, video_full_range_flag
    if (reader.flag()) reader.skip(24); // colour_primaries to matrix_coefficients
  }
  if (reader.flag()) {
    reader.ue(); // chroma_sample_loc_type_top_field
    reader.ue(); // chroma_sample_loc_type_bottom_field
  }
  const frameRate = reader.flag() ? readFrameRate(reader) : undefined;
  const nalHrd = reader.flag();
  if (nalHrd) skipHrd(reader);
  const vclHrd = reader.flag();
  if (vclHrd) skipHrd(reader);
  if (nalHrd || vclHrd) reader.skip(1); // low_delay_hrd_flag
  reader.skip(1); // pic_struct_present_flag
  const maxReorderFrames = reader.flag() ? readReorder(reader) : undefined;
  return {
    ...(frameRate !== undefined && { frameRate }),
    ...(maxReorderFrames !== undefined && { maxReorderFrames }),
  };
}

/** A tick is a field's duration, so a frame lasts two (H.264 E.2.1, Table E-6). */
function readFrameRate(reader: BitReader): number | undefined {
  const unitsInTick = reader.bits(32);
  const timeScale = reader.bits(32);
  reader.skip(1); // fixed_frame_rate_flag
  if (unitsInTick === 0 || timeScale === 0) return undefined;
  const rate = timeScale / (2 * unitsInTick);
  return rate <= MAX_FRAME_RATE ? rate : undefined;
}

/** bitstream_restriction (H.264 E.1.1). */
function readReorder(reader: BitReader): number {
  reader.skip(1); // motion_vectors_over_pic_boundaries_flag
  reader.ue(); // max_bytes_per_pic_denom
  reader.ue(); // max_bits_per_mb_denom
  reader.ue(); // log2_max_mv_length_horizontal
  reader.ue(); // log2_max_mv_length_vertical
  return limited(reader, "max_num_reorder_frames", MAX_REFERENCE_FRAMES);
}

/** hrd_parameters (H.264 E.1.2). */
function skipHrd(reader: BitReader): void {
  const count = 1 + limited(reader, "cpb_cnt_minus1", MAX_CPB_COUNT - 1);
  reader.skip(8); // bit_rate_scale, cpb_size_scale
  for (let index = 0; index < count; index++) {
    reader.ue(); // bit_rate_value_minus1
    reader.ue(); // cpb_size_value_minus1
    reader.skip(1); // cbr_flag
  }
  reader.skip(20); // four lengths of five bits
}

function limited(reader: BitReader, name: string, max: number): number {
  const value = reader.ue();
  if (value > max) {
    throw new InvalidDataError(`Cannot parse an H.264 SPS: ${name} is ${value}, over ${max}`);
  }
  return value;
}
