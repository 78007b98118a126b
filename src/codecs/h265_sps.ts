/** The H.265 sequence parameter set (H.265 7.3.2.2 and Annex E). */

import { BitReader } from "../bits.ts";
import { InvalidDataError } from "../errors.ts";
import { unescapeRbsp } from "./nal.ts";

/** `nal_unit_type` of a sequence parameter set (H.265 Table 7-1). */
const SPS_TYPE = 33;

/** Largest width and height in pixels: containers hold them in 16 bits. */
const MAX_DIMENSION = 65_535;

/** Most pictures in a decoded picture buffer (H.265 A.4.2). */
const MAX_DPB_SIZE = 16;

/** Most short-term reference picture sets (H.265 7.4.3.2.1). */
const MAX_SHORT_TERM_SETS = 64;

/** Most long-term reference pictures (H.265 7.4.3.2.1). */
const MAX_LONG_TERM_PICTURES = 32;

/** Most alternative coded picture buffers of an HRD (H.265 E.3.2). */
const MAX_CPB_COUNT = 32;

/**
 * Most frames per second of any level (H.265 A.4.2); encoders of variable rate declare their clock
 * (1 000 or 90 000 ticks) in place of a rate.
 */
const MAX_FRAME_RATE = 300;

/** `aspect_ratio_idc` that says the ratio itself follows (H.265 Table E.1). */
const EXTENDED_SAR = 255;

/** Bits of a sub-layer's profile (H.265 7.3.3). */
const SUB_LAYER_PROFILE_BITS = 88;

/** What a stream asks of its decoder (H.265 7.3.3, profile_tier_level). */
export interface H265Profile {
  /** `general_profile_space`, 0 to 3. */
  readonly profileSpace: number;
  /** `general_tier_flag`: 0 Main tier, 1 High tier. */
  readonly tier: number;
  /** `general_profile_idc`: 1 Main, 2 Main 10, 3 Main Still Picture, 4 range extensions, … */
  readonly profile: number;
  /** The 32 compatibility flags, that of profile 0 in the most significant bit. */
  readonly compatibility: number;
  /** The 48 bits from `general_progressive_source_flag` on, as six bytes. */
  readonly constraints: Uint8Array;
  /** `general_level_idc`: thirty times the level's number. */
  readonly level: number;
}

/** What a sequence parameter set says. */
export interface H265Sps extends H265Profile {
  /** `sps_seq_parameter_set_id`, 0 to 15. */
  readonly id: number;
  /** Temporal sub-layers, 1 to 7. */
  readonly maxSubLayers: number;
  /** Whether any picture of a higher sub-layer lets a decoder switch up to it. */
  readonly temporalIdNested: boolean;
  /** `chroma_format_idc`: 0 monochrome, 1 4:2:0, 2 4:2:2, 3 4:4:4. */
  readonly chromaFormat: number;
  /** Bits of a luma sample, 8 to 16. */
  readonly bitDepth: number;
  /** Bits of a chroma sample, 8 to 16. */
  readonly chromaBitDepth: number;
  /** Width in pixels after cropping to the conformance window. */
  readonly width: number;
  /** Height in pixels after cropping to the conformance window. */
  readonly height: number;
  /** Most pictures that come before one in decoding order and after it in output order. */
  readonly maxReorderFrames: number;
  /** `min_spatial_segmentation_idc`, 0 to 4 095; 0 where it is not given. */
  readonly minSpatialSegmentation: number;
  /** Pictures per second from the VUI's timing. */
  readonly frameRate?: number;
}

/**
 * What a sequence parameter set NAL unit says (H.265 7.3.2.2).
 *
 * @throws {InvalidDataError} If `nalu` is no sequence parameter set of the base layer, is cut off, or
 * holds a value outside its range.
 */
export function parseH265Sps(nalu: Uint8Array): H265Sps {
  const reader = new BitReader(unescapeRbsp(nalu));
  const header = reader.bits(16);
  const type = (header >> 9) & 63;
  const layer = (header >> 3) & 63;
  // Parameter sets of higher layers (Annex F) have another syntax.
  if (type !== SPS_TYPE || layer !== 0) {
    throw new InvalidDataError(
      `Cannot parse an H.265 SPS: the NAL unit type is ${type} of layer ${layer}`,
    );
  }
  reader.skip(4); // sps_video_parameter_set_id
  const maxSubLayers = reader.bits(3) + 1;
  if (maxSubLayers > 7) {
    throw new InvalidDataError("Cannot parse an H.265 SPS: sps_max_sub_layers_minus1 is 7");
  }
  const temporalIdNested = reader.flag();
  const profile = readProfile(reader, maxSubLayers);
  const id = limited(reader, "sps_seq_parameter_set_id", 15);
  const chromaFormat = limited(reader, "chroma_format_idc", 3);
  const separatePlanes = chromaFormat === 3 && reader.flag();
  const size = readSize(reader, separatePlanes ? 0 : chromaFormat);
  const bitDepth = 8 + limited(reader, "bit_depth_luma_minus8", 8);
  const chromaBitDepth = 8 + limited(reader, "bit_depth_chroma_minus8", 8);
  const pocLsbBits = 4 + limited(reader, "log2_max_pic_order_cnt_lsb_minus4", 12);
  const maxReorderFrames = readOrdering(reader, maxSubLayers);
  skipCodingTools(reader);
  skipReferenceSets(reader, pocLsbBits);
  reader.skip(2); // sps_temporal_mvp_enabled_flag, strong_intra_smoothing_enabled_flag
  const vui = reader.flag() ? readVui(reader, maxSubLayers) : { minSpatialSegmentation: 0 };
  return {
    ...profile,
    id,
    maxSubLayers,
    temporalIdNested,
    chromaFormat,
    bitDepth,
    chromaBitDepth,
    ...size,
    maxReorderFrames,
    ...vui,
  };
}

/** profile_tier_level (H.265 7.3.3). */
function readProfile(reader: BitReader, maxSubLayers: number): H265Profile {
  const profileSpace = reader.bits(2);
  const tier = reader.bit();
  const profile = reader.bits(5);
  const compatibility = reader.bits(32);
  const constraints = Uint8Array.from({ length: 6 }, () => reader.bits(8));
  const level = reader.bits(8);
  const present: { profile: boolean; level: boolean }[] = [];
  for (let index = 1; index < maxSubLayers; index++) {
    present.push({ profile: reader.flag(), level: reader.flag() });
  }
  if (maxSubLayers > 1) reader.skip(2 * (9 - maxSubLayers));
  for (const layer of present) {
    if (layer.profile) reader.skip(SUB_LAYER_PROFILE_BITS);
    if (layer.level) reader.skip(8);
  }
  return { profileSpace, tier, profile, compatibility, constraints, level };
}

function readSize(reader: BitReader, chromaArrayType: number) {
  const codedWidth = reader.ue();
  const codedHeight = reader.ue();
  let width = codedWidth;
  let height = codedHeight;
  if (reader.flag()) {
    const unitX = chromaArrayType === 1 || chromaArrayType === 2 ? 2 : 1;
    const unitY = chromaArrayType === 1 ? 2 : 1;
    width -= unitX * (reader.ue() + reader.ue());
    height -= unitY * (reader.ue() + reader.ue());
  }
  if (width < 1 || height < 1 || codedWidth > MAX_DIMENSION || codedHeight > MAX_DIMENSION) {
    throw new InvalidDataError(
      `Cannot parse an H.265 SPS: its size is ${width}x${height} of ${codedWidth}x${codedHeight}`,
    );
  }
  return { width, height };
}

/** The highest sub-layer's bounds are the stream's, and they come last. */
function readOrdering(reader: BitReader, maxSubLayers: number): number {
  const count = reader.flag() ? maxSubLayers : 1;
  let maxReorderFrames = 0;
  for (let index = 0; index < count; index++) {
    limited(reader, "sps_max_dec_pic_buffering_minus1", MAX_DPB_SIZE - 1);
    maxReorderFrames = limited(reader, "sps_max_num_reorder_pics", MAX_DPB_SIZE - 1);
    reader.ue(); // sps_max_latency_increase_plus1
  }
  return maxReorderFrames;
}

/** From log2_min_luma_coding_block_size_minus3 to the PCM fields. */
function skipCodingTools(reader: BitReader): void {
  for (let index = 0; index < 6; index++) reader.ue();
  if (reader.flag() && reader.flag()) skipScalingLists(reader);
  reader.skip(2); // amp_enabled_flag, sample_adaptive_offset_enabled_flag
  if (!reader.flag()) return;
  reader.skip(8); // pcm_sample_bit_depth_luma_minus1, pcm_sample_bit_depth_chroma_minus1
  reader.ue(); // log2_min_pcm_luma_coding_block_size_minus3
  reader.ue(); // log2_diff_max_min_pcm_luma_coding_block_size
  reader.skip(1); // pcm_loop_filter_disabled_flag
}

/** scaling_list_data (H.265 7.3.4). */
function skipScalingLists(reader: BitReader): void {
  for (let size = 0; size < 4; size++) {
    for (let matrix = 0; matrix < 6; matrix += size === 3 ? 3 : 1) {
      if (!reader.flag()) {
        reader.ue(); // scaling_list_pred_matrix_id_delta
        continue;
      }
      if (size > 1) reader.se(); // scaling_list_dc_coef_minus8
      const coefficients = Math.min(64, 1 << (4 + 2 * size));
      for (let index = 0; index < coefficients; index++) reader.se();
    }
  }
}

function skipReferenceSets(reader: BitReader, pocLsbBits: number): void {
  const sets = limited(reader, "num_short_term_ref_pic_sets", MAX_SHORT_TERM_SETS);
  let previous: ReferenceSet | undefined;
  for (let index = 0; index < sets; index++) {
    previous = previous !== undefined && reader.flag()
      ? predictReferenceSet(reader, previous)
      : readReferenceSet(reader);
  }
  if (!reader.flag()) return;
  const pictures = limited(reader, "num_long_term_ref_pics_sps", MAX_LONG_TERM_PICTURES);
  for (let index = 0; index < pictures; index++) reader.skip(pocLsbBits + 1);
}

/** Distances in picture order count, nearest first, of a short-term reference picture set. */
interface ReferenceSet {
  /** Of the pictures before, all below 0 (DeltaPocS0). */
  readonly before: readonly number[];
  /** Of the pictures after, all above 0 (DeltaPocS1). */
  readonly after: readonly number[];
}

/** st_ref_pic_set without inter prediction (H.265 7.3.7). */
function readReferenceSet(reader: BitReader): ReferenceSet {
  const negative = limited(reader, "num_negative_pics", MAX_DPB_SIZE);
  const positive = limited(reader, "num_positive_pics", MAX_DPB_SIZE - negative);
  const readDistances = (count: number, sign: number) => {
    let distance = 0;
    return Array.from({ length: count }, () => {
      distance += sign * (reader.ue() + 1);
      reader.skip(1); // used_by_curr_pic_flag
      return distance;
    });
  };
  return { before: readDistances(negative, -1), after: readDistances(positive, 1) };
}

/** st_ref_pic_set predicted from the set before it (H.265 7.3.7, 7-61 and 7-62). */
function predictReferenceSet(reader: BitReader, source: ReferenceSet): ReferenceSet {
  const negative = reader.flag();
  const shift = (reader.ue() + 1) * (negative ? -1 : 1);
  // In syntax order: the source's pictures, then the picture that has the source itself.
  const distances = [...source.before, ...source.after, 0];
  const used: number[] = [];
  for (const distance of distances) {
    const usedByCurrent = reader.flag();
    if (usedByCurrent || reader.flag()) used.push(distance + shift);
  }
  const before = used.filter((distance) => distance < 0).sort((a, b) => b - a);
  const after = used.filter((distance) => distance > 0).sort((a, b) => a - b);
  if (before.length + after.length > MAX_DPB_SIZE) {
    throw new InvalidDataError(
      `Cannot parse an H.265 SPS: the number of pictures in a reference picture set is ` +
        `${before.length + after.length}, over ${MAX_DPB_SIZE}`,
    );
  }
  return { before, after };
}

/** vui_parameters (H.265 E.2.1). */
function readVui(reader: BitReader, maxSubLayers: number) {
  if (reader.flag() && reader.bits(8) === EXTENDED_SAR) reader.skip(32);
  if (reader.flag()) reader.skip(1); // overscan_appropriate_flag
  if (reader.flag()) {
    reader.skip(4); // video_format, video_full_range_flag
    if (reader.flag()) reader.skip(24); // colour_primaries to matrix_coeffs
  }
  if (reader.flag()) {
    reader.ue(); // chroma_sample_loc_type_top_field
    reader.ue(); // chroma_sample_loc_type_bottom_field
  }
  reader.skip(3); // neutral_chroma_indication_flag, field_seq_flag, frame_field_info_present_flag
  if (reader.flag()) {
    for (let index = 0; index < 4; index++) reader.ue(); // default display window
  }
  const frameRate = reader.flag() ? readTiming(reader, maxSubLayers) : undefined;
  const minSpatialSegmentation = reader.flag() ? readRestriction(reader) : 0;
  return { minSpatialSegmentation, ...(frameRate !== undefined && { frameRate }) };
}

function readTiming(reader: BitReader, maxSubLayers: number): number | undefined {
  const unitsInTick = reader.bits(32);
  const timeScale = reader.bits(32);
  if (reader.flag()) reader.ue(); // vui_num_ticks_poc_diff_one_minus1
  if (reader.flag()) skipHrd(reader, maxSubLayers);
  if (unitsInTick === 0 || timeScale === 0) return undefined;
  const rate = timeScale / unitsInTick;
  return rate <= MAX_FRAME_RATE ? rate : undefined;
}

/** bitstream_restriction (H.265 E.2.1). */
function readRestriction(reader: BitReader): number {
  reader.skip(3); // tiles_fixed_structure_flag to restricted_ref_pic_lists_flag
  const minSpatialSegmentation = limited(reader, "min_spatial_segmentation_idc", 4095);
  for (let index = 0; index < 4; index++) reader.ue(); // max_bytes_per_pic_denom and on
  return minSpatialSegmentation;
}

/** hrd_parameters with commonInfPresentFlag 1 (H.265 E.2.2). */
function skipHrd(reader: BitReader, maxSubLayers: number): void {
  const nal = reader.flag();
  const vcl = reader.flag();
  let subPictures = false;
  if (nal || vcl) {
    subPictures = reader.flag();
    if (subPictures) reader.skip(19); // tick_divisor_minus2 to dpb_output_delay_du_length_minus1
    reader.skip(8); // bit_rate_scale, cpb_size_scale
    if (subPictures) reader.skip(4); // cpb_size_du_scale
    reader.skip(15); // three lengths of five bits
  }
  const bufferCodes = subPictures ? 4 : 2;
  for (let layer = 0; layer < maxSubLayers; layer++) {
    const fixedRate = reader.flag();
    const fixedRateWithin = fixedRate || reader.flag();
    let lowDelay = false;
    if (fixedRateWithin) reader.ue(); // elemental_duration_in_tc_minus1
    else lowDelay = reader.flag();
    const buffers = lowDelay ? 1 : 1 + limited(reader, "cpb_cnt_minus1", MAX_CPB_COUNT - 1);
    const entries = buffers * ((nal ? 1 : 0) + (vcl ? 1 : 0));
    for (let entry = 0; entry < entries; entry++) {
      for (let code = 0; code < bufferCodes; code++) reader.ue(); // bit rates and sizes
      reader.skip(1); // cbr_flag
    }
  }
}

function limited(reader: BitReader, name: string, max: number): number {
  const value = reader.ue();
  if (value > max) {
    throw new InvalidDataError(`Cannot parse an H.265 SPS: ${name} is ${value}, over ${max}`);
  }
  return value;
}
