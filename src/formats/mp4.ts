/**
 * Fragmented MP4 (ISO/IEC 14496-12 8.8, CMAF: ISO/IEC 23000-19): the initialization segment, with
 * all that comes before the media. The media is in `mp4_fragment.ts`, the codecs in `mp4_samples.ts`.
 */

import { ByteWriter } from "../bytes.ts";
import type { AudioConfig, VideoConfig } from "../codecs/config.ts";
import { box, ftyp, fullBox, u64 } from "./mp4_boxes.ts";
import { sampleEntry } from "./mp4_samples.ts";

export {
  fragment,
  type FragmentInit,
  type FragmentTrack,
  type Mp4Sample,
  type ProducerTime,
} from "./mp4_fragment.ts";
export { isMp4Codec, mp4CodecString, timescaleOf } from "./mp4_samples.ts";

/** A track as an initialization segment announces it. */
export interface Mp4Track {
  /** Number of the track, from 1 on, unique in the file. */
  readonly id: number;
  /** The decoder configuration. */
  readonly config: VideoConfig | AudioConfig;
  /** Ticks a second of the track's times, 1 to 2³² − 1. */
  readonly timescale: number;
  /**
   * The media time in ticks that is presented at 0: what an encoder puts before it, as priming of
   * audio or by the delay of B-frames, is passed over (edit list, 8.6.6). @default {0}
   */
  readonly mediaStart?: number;
}

/** What `iso6` files may have: `tfdt`, and offsets from the start of the fragment. */
const BRANDS = ["iso6", "mp41"];

/** Structural brand of CMAF, which has one track a file (ISO/IEC 23000-19 7.2). */
const CMAF_BRAND = "cmfc";

/** Ticks a second of the movie itself, in which only durations are counted, and none is known. */
const MOVIE_TIMESCALE = 1000;

/** A presentation unturned and unscaled (8.2.2): 16.16 numbers, those of the last column 2.30. */
const MATRIX = [0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000] as const;

/** ISO 639-2 "und", five bits a letter (8.4.2). */
const UNDETERMINED_LANGUAGE = 0x55c4;

/** Track flags: enabled, in the movie (8.3.2). */
const TRACK_FLAGS = 3;

/** Flag of a data reference to the file itself (8.7.2). */
const SELF_CONTAINED = 1;

/**
 * The initialization segment of `tracks`: `ftyp` and `moov`. Durations are left open, as those of
 * live streams are. A file of one track is a CMAF header.
 *
 * @throws {RangeError} If MP4 doesn't carry a codec, or a `mediaStart` is no whole number from 0 on.
 * @throws {InvalidDataError} If the description of Opus or VP9 is malformed.
 */
export function initSegment(tracks: readonly Mp4Track[]): Uint8Array<ArrayBuffer> {
  const writer = new ByteWriter(2048);
  const brands = [...BRANDS];
  if (tracks.length === 1) brands.push(CMAF_BRAND);
  // AV1-ISOBMFF 2.1 asks for a brand of its own.
  if (tracks.some(({ config }) => config.fourcc === "av01")) brands.push("av01");
  ftyp(writer, brands);
  moov(writer, tracks);
  return writer.finish().slice();
}

function moov(writer: ByteWriter, tracks: readonly Mp4Track[]): void {
  box(writer, "moov", () => {
    mvhd(writer, Math.max(0, ...tracks.map(({ id }) => id)) + 1);
    for (const track of tracks) trak(writer, track);
    box(writer, "mvex", () => {
      for (const { id } of tracks) trex(writer, id);
    });
  });
}

/** Movie header (8.2.2). */
function mvhd(writer: ByteWriter, nextTrackId: number): void {
  fullBox(writer, { type: "mvhd" }, () => {
    writer.u32(0).u32(0).u32(MOVIE_TIMESCALE).u32(0); // created, modified; duration
    writer.u32(0x10000).u16(0x100).u16(0).u32(0).u32(0); // rate, volume
    for (const value of MATRIX) writer.u32(value);
    for (let index = 0; index < 6; index++) writer.u32(0);
    writer.u32(nextTrackId);
  });
}

function trak(writer: ByteWriter, track: Mp4Track): void {
  const { mediaStart = 0 } = track;
  box(writer, "trak", () => {
    tkhd(writer, track);
    if (mediaStart !== 0) box(writer, "edts", () => elst(writer, mediaStart));
    box(writer, "mdia", () => {
      mdhd(writer, track.timescale);
      hdlr(writer, track.config.kind);
      minf(writer, track.config);
    });
  });
}

/** Track header (8.3.2). */
function tkhd(writer: ByteWriter, { id, config }: Mp4Track): void {
  const isVideo = config.kind === "video";
  fullBox(writer, { type: "tkhd", flags: TRACK_FLAGS }, () => {
    writer.u32(0).u32(0).u32(id).u32(0).u32(0).u32(0).u32(0); // created, modified; duration
    writer.u16(0).u16(0).u16(isVideo ? 0 : 0x100).u16(0); // layer, alternate_group, volume
    for (const value of MATRIX) writer.u32(value);
    writer.u16(isVideo ? config.codedWidth ?? 0 : 0).u16(0);
    writer.u16(isVideo ? config.codedHeight ?? 0 : 0).u16(0);
  });
}

/** Edit list (8.6.6) of one edit, which lasts as long as the fragments do. */
function elst(writer: ByteWriter, mediaStart: number): void {
  fullBox(writer, { type: "elst", version: 1 }, () => {
    writer.u32(1);
    u64(writer, 0); // segment_duration
    u64(writer, mediaStart);
    writer.u16(1).u16(0); // media_rate
  });
}

/** Media header (8.4.2). */
function mdhd(writer: ByteWriter, timescale: number): void {
  fullBox(writer, { type: "mdhd" }, () => {
    writer.u32(0).u32(0).u32(timescale).u32(0).u16(UNDETERMINED_LANGUAGE).u16(0);
  });
}

/** Handler (8.4.3): the type of the media, and a name for people, which stays empty. */
function hdlr(writer: ByteWriter, kind: "video" | "audio"): void {
  fullBox(writer, { type: "hdlr" }, () => {
    writer.u32(0).u32(kind === "video" ? 0x7669_6465 : 0x736f_756e); // vide, soun
    writer.u32(0).u32(0).u32(0).u8(0);
  });
}

/** Media information (8.4.4) with a sample table that is empty but for the descriptions. */
function minf(writer: ByteWriter, config: VideoConfig | AudioConfig): void {
  box(writer, "minf", () => {
    if (config.kind === "video") vmhd(writer);
    else fullBox(writer, { type: "smhd" }, () => writer.u16(0).u16(0));
    box(writer, "dinf", () => dref(writer));
    box(writer, "stbl", () => {
      stsd(writer, config);
      fullBox(writer, { type: "stts" }, () => writer.u32(0));
      fullBox(writer, { type: "stsc" }, () => writer.u32(0));
      fullBox(writer, { type: "stsz" }, () => writer.u32(0).u32(0));
      fullBox(writer, { type: "stco" }, () => writer.u32(0));
    });
  });
}

/** Video media header (12.1.2): pictures are copied over what is below them. */
function vmhd(writer: ByteWriter): void {
  fullBox(writer, { type: "vmhd", flags: 1 }, () => writer.u16(0).u16(0).u16(0).u16(0));
}

/** Data references (8.7.2): the media is in the same file. */
function dref(writer: ByteWriter): void {
  fullBox(writer, { type: "dref" }, () => {
    writer.u32(1);
    fullBox(writer, { type: "url ", flags: SELF_CONTAINED }, () => {});
  });
}

/** Sample descriptions (8.5.2). */
function stsd(writer: ByteWriter, config: VideoConfig | AudioConfig): void {
  fullBox(writer, { type: "stsd" }, () => {
    writer.u32(1);
    sampleEntry(writer, config);
  });
}

/** Defaults of a track's fragments (8.8.3): the first sample description, and nothing else. */
function trex(writer: ByteWriter, trackId: number): void {
  fullBox(writer, { type: "trex" }, () => writer.u32(trackId).u32(1).u32(0).u32(0).u32(0));
}
