/** Movie fragments, the media of fragmented MP4 (ISO/IEC 14496-12 8.8, CMAF: ISO/IEC 23000-19 7.3). */

import { ByteWriter } from "../bytes.ts";
import {
  box,
  BOX_HEADER_BYTES,
  brandBoxBytes,
  FULL_BOX_HEADER_BYTES,
  fullBox,
  styp,
  u64,
} from "./mp4_boxes.ts";

/** One sample: an access unit of video or a frame of audio. */
export interface Mp4Sample {
  /** Its bytes, as the codec's mapping to MP4 has them. */
  readonly data: Uint8Array;
  /** Ticks to the next sample's decode time, 0 to 2³² − 1. */
  readonly duration: number;
  /** Ticks from decode to presentation time, −2³¹ to 2³¹ − 1. */
  readonly compositionOffset: number;
  /** Whether a decoder can start here. */
  readonly key: boolean;
}

/** The samples of one track in a fragment. */
export interface FragmentTrack {
  /** Number of the track in the initialization segment. */
  readonly id: number;
  /** Decode time of the first sample in ticks, 0 to 2⁵³ − 1. */
  readonly baseDecodeTime: number;
  /** At least one sample, in decoding order. */
  readonly samples: readonly Mp4Sample[];
}

/** Which wall clock time belongs to which media time (ISO/IEC 14496-12 8.16.5). */
export interface ProducerTime {
  /** Number of the track whose time it is. */
  readonly trackId: number;
  /** Milliseconds since 1970. */
  readonly unixMs: number;
  /** The media time in ticks. */
  readonly mediaTime: number;
}

/** What a fragment is made of. */
export interface FragmentInit {
  /** Number of the fragment, growing from one to the next; taken modulo 2³². */
  readonly sequence: number;
  /** Its tracks; CMAF has one. */
  readonly tracks: readonly FragmentTrack[];
  /** Brands to announce in an `styp` box, where a segment begins with the fragment. */
  readonly brands?: readonly string[];
  /** Wall clock time to announce in a `prft` box. */
  readonly producer?: ProducerTime;
}

/** Flags of `tfhd` (8.8.7). */
const DEFAULT_DURATION = 0x8;
const DEFAULT_SIZE = 0x10;
const DEFAULT_FLAGS = 0x20;
const BASE_IS_MOOF = 0x2_0000;

/** Flags of `trun` (8.8.8). */
const DATA_OFFSET = 0x1;
const FIRST_FLAGS = 0x4;
const DURATION = 0x100;
const SIZE = 0x200;
const FLAGS = 0x400;
const COMPOSITION_OFFSET = 0x800;

/** Sample flags (8.8.3.1): depends on no other sample; depends on others and is no sync sample. */
const KEY_FLAGS = 0x0200_0000;
const DELTA_FLAGS = 0x0101_0000;

/** Flags of `prft`: the clock is consistent, and tied to the media in real time (8.16.5). */
const REAL_TIME = 24;

const PRFT_BYTES = FULL_BOX_HEADER_BYTES + 20;
const MFHD_BYTES = FULL_BOX_HEADER_BYTES + 4;
const TFDT_BYTES = FULL_BOX_HEADER_BYTES + 8;

/** Seconds from 1900, where NTP begins, to 1970 (RFC 5905 6). */
const NTP_OFFSET_SECONDS = 2_208_988_800;

/** Most bytes of a fragment: what the signed data offset of a `trun` box can say. */
export const MAX_FRAGMENT_BYTES = 2 ** 31 - 1;

/** A track and how its fields are spread over `tfhd`, for all samples, and `trun`, for each. */
interface TrackPlan {
  readonly track: FragmentTrack;
  /** The duration, size and flags of all samples, where they are the same. */
  readonly duration: number | undefined;
  readonly size: number | undefined;
  readonly flags: number | undefined;
  /** The flags of the first sample where only they differ, as those of a GOP's do. */
  readonly firstFlags: number | undefined;
  readonly tfhdFlags: number;
  readonly trunFlags: number;
  /** Bytes of the whole `traf` box. */
  readonly trafBytes: number;
  /** Bytes of all samples. */
  readonly dataBytes: number;
}

/**
 * A movie fragment: `moof` and `mdat`, with `styp` and `prft` before them if asked for, in one
 * allocation. The samples of each track lie one after the other.
 *
 * Decode times have 64 bits and composition offsets a sign (`tfdt` and `trun` version 1), and data
 * offsets count from the `moof` box, as CMAF asks for.
 *
 * @throws {RangeError} If it is over {@linkcode MAX_FRAGMENT_BYTES} long, or a decode time is no
 * whole number from 0 to 2⁵³ − 1.
 */
export function fragment(init: FragmentInit): Uint8Array<ArrayBuffer> {
  const { sequence, brands, producer } = init;
  const plans = init.tracks.map(planOf);
  let moofBytes = BOX_HEADER_BYTES + MFHD_BYTES;
  let dataBytes = 0;
  for (const plan of plans) {
    moofBytes += plan.trafBytes;
    dataBytes += plan.dataBytes;
  }
  const bytes = (brands ? brandBoxBytes(brands.length) : 0) + (producer ? PRFT_BYTES : 0) +
    moofBytes + BOX_HEADER_BYTES + dataBytes;
  if (bytes > MAX_FRAGMENT_BYTES) {
    throw new RangeError(`Cannot write a fragment: its length is ${bytes} bytes`);
  }
  const writer = new ByteWriter(bytes);
  if (brands) styp(writer, brands);
  if (producer) prft(writer, producer);
  box(writer, "moof", () => {
    fullBox(writer, { type: "mfhd" }, () => writer.u32(sequence));
    let dataOffset = moofBytes + BOX_HEADER_BYTES;
    for (const plan of plans) {
      traf(writer, plan, dataOffset);
      dataOffset += plan.dataBytes;
    }
  });
  box(writer, "mdat", () => {
    for (const { samples } of init.tracks) for (const { data } of samples) writer.bytes(data);
  });
  return writer.finish();
}

function planOf(track: FragmentTrack): TrackPlan {
  const { samples } = track;
  const [first] = samples;
  const duration = common(samples, ({ duration }) => duration);
  const size = common(samples, ({ data }) => data.length);
  const allFlags = common(samples, flagsOf);
  const flags = allFlags ?? common(samples.slice(1), flagsOf);
  const firstFlags = first && flags !== allFlags ? flagsOf(first) : undefined;
  const hasOffsets = samples.some(({ compositionOffset }) => compositionOffset !== 0);
  const shared = [duration, size, flags].filter((value) => value !== undefined).length;
  const ofEach = 3 - shared + (hasOffsets ? 1 : 0);
  const tfhdBytes = FULL_BOX_HEADER_BYTES + 4 + 4 * shared;
  const trunBytes = FULL_BOX_HEADER_BYTES + 8 + (firstFlags === undefined ? 0 : 4) +
    4 * ofEach * samples.length;
  return {
    track,
    duration,
    size,
    flags,
    firstFlags,
    tfhdFlags: BASE_IS_MOOF |
      (duration === undefined ? 0 : DEFAULT_DURATION) |
      (size === undefined ? 0 : DEFAULT_SIZE) |
      (flags === undefined ? 0 : DEFAULT_FLAGS),
    trunFlags: DATA_OFFSET |
      (firstFlags === undefined ? 0 : FIRST_FLAGS) |
      (duration === undefined ? DURATION : 0) |
      (size === undefined ? SIZE : 0) |
      (flags === undefined ? FLAGS : 0) |
      (hasOffsets ? COMPOSITION_OFFSET : 0),
    trafBytes: BOX_HEADER_BYTES + tfhdBytes + TFDT_BYTES + trunBytes,
    dataBytes: samples.reduce((sum, { data }) => sum + data.length, 0),
  };
}

/** Producer reference time (8.16.5); its wall clock is that of NTP, whose seconds wrap in 2036. */
function prft(writer: ByteWriter, { trackId, unixMs, mediaTime }: ProducerTime): void {
  const seconds = Math.floor(unixMs / 1000);
  fullBox(writer, { type: "prft", version: 1, flags: REAL_TIME }, () => {
    writer.u32(trackId);
    writer.u32(seconds + NTP_OFFSET_SECONDS).u32((unixMs / 1000 - seconds) * 2 ** 32);
    u64(writer, mediaTime);
  });
}

function traf(writer: ByteWriter, plan: TrackPlan, dataOffset: number): void {
  box(writer, "traf", () => {
    tfhd(writer, plan);
    fullBox(writer, { type: "tfdt", version: 1 }, () => u64(writer, plan.track.baseDecodeTime));
    trun(writer, plan, dataOffset);
  });
}

/** Track fragment header (8.8.7). */
function tfhd(writer: ByteWriter, plan: TrackPlan): void {
  fullBox(writer, { type: "tfhd", flags: plan.tfhdFlags }, () => {
    writer.u32(plan.track.id);
    if (plan.duration !== undefined) writer.u32(plan.duration);
    if (plan.size !== undefined) writer.u32(plan.size);
    if (plan.flags !== undefined) writer.u32(plan.flags);
  });
}

/** Track run (8.8.8). */
function trun(writer: ByteWriter, plan: TrackPlan, dataOffset: number): void {
  const { samples } = plan.track;
  fullBox(writer, { type: "trun", version: 1, flags: plan.trunFlags }, () => {
    writer.u32(samples.length).u32(dataOffset);
    if (plan.firstFlags !== undefined) writer.u32(plan.firstFlags);
    for (const sample of samples) {
      if (plan.duration === undefined) writer.u32(sample.duration);
      if (plan.size === undefined) writer.u32(sample.data.length);
      if (plan.flags === undefined) writer.u32(flagsOf(sample));
      if (plan.trunFlags & COMPOSITION_OFFSET) writer.u32(sample.compositionOffset);
    }
  });
}

function flagsOf({ key }: Mp4Sample): number {
  return key ? KEY_FLAGS : DELTA_FLAGS;
}

/** What `of` says of every sample, if that is always the same. */
function common(
  samples: readonly Mp4Sample[],
  of: (sample: Mp4Sample) => number,
): number | undefined {
  const [first] = samples;
  if (first === undefined) return undefined;
  const value = of(first);
  return samples.every((sample) => of(sample) === value) ? value : undefined;
}
