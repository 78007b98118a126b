/** Fragmented MP4 as a format of muxes, and in chunks of many frames for segments (CMAF, HLS). */

import type { AudioConfig, VideoConfig } from "./codecs/config.ts";
import { g711Duration } from "./codecs/g711.ts";
import {
  fragment,
  type FragmentTrack,
  initSegment,
  isMp4Codec,
  mp4CodecString,
  type Mp4Sample,
  timescaleOf,
} from "./formats/mp4.ts";
import type { MediaFrame } from "./frame.ts";
import type { Format, FormatTracks } from "./mux.ts";

/** Numbers of the tracks in all that is written here. */
const TRACK_IDS = { video: 1, audio: 2 } as const;

/** Frames a second of video that doesn't say, where only one frame is known. */
const USUAL_FRAME_RATE = 25;

/** Samples of a frame by codec, where only one frame is known. */
const USUAL_SAMPLES: Readonly<Record<string, number>> = { mp4a: 1024, ".mp3": 1152, Opus: 960 };

/** Longest duration of a sample in ticks: its field has 32 bits. */
const MAX_DURATION = 2 ** 32 - 1;

/** Brand of a media segment (ISO/IEC 23009-1 6.3.4.2), and that of a CMAF segment, of one track. */
const SEGMENT_BRAND = "msdh";
const CMAF_SEGMENT_BRAND = "cmfs";

/** When each kind of frame goes on after a chunk, in µs: the decode time of the next frame. */
export interface ChunkEnds {
  /** That of the video; where it is not known, the last frame lasts as long as the one before. */
  readonly video?: number | undefined;
  /** That of the audio, likewise. */
  readonly audio?: number | undefined;
}

/** What else a chunk says. */
export interface ChunkOptions {
  /** Number of the chunk, from 1 on, growing from one to the next of a stream. */
  readonly sequence: number;
  /** Whether a segment begins here, which it then says. @default {false} */
  readonly startsSegment?: boolean;
  /**
   * When the first frame was made, in ms since 1970, for players that keep their distance from the
   * live edge (producer reference time). @default {it is not said}
   */
  readonly producedUnixMs?: number;
}

/**
 * The tracks that fragmented MP4 can carry: H.264, H.265, AV1, VP9, AAC, Opus, MP3 and G.711, each
 * with the record that its decoder needs. All others are left out.
 */
export function fmp4Tracks(tracks: FormatTracks): FormatTracks {
  return { video: carried(tracks.video), audio: carried(tracks.audio) };
}

/**
 * The MIME type of `tracks` in fragmented MP4 with their codecs (RFC 6381), such as
 * `video/mp4; codecs="avc1.64001f,mp4a.40.2"`; undefined if it can carry none of them.
 */
export function mimeTypeOf(tracks: FormatTracks): string | undefined {
  const configs = carriedConfigs(tracks);
  const [first] = configs;
  if (first === undefined) return undefined;
  return `${first.kind}/mp4; codecs="${configs.map(mp4CodecString).join(",")}"`;
}

/** The initialization segment of `tracks`; empty if MP4 can carry none of them. */
export function fmp4Init(tracks: FormatTracks): Uint8Array {
  const configs = carriedConfigs(tracks);
  if (configs.length === 0) return new Uint8Array();
  return initSegment(configs.map((config) => ({
    id: TRACK_IDS[config.kind],
    config,
    timescale: timescaleOf(config),
  })));
}

/**
 * Fragmented MP4 without an end, each frame a fragment of its own, so that none waits for others. A
 * change of a configuration is a new initialization segment, which Media Source Extensions take in
 * the middle. Frames of codecs that MP4 can't carry are left out.
 */
export function fmp4(): Format {
  let sequence = 0;
  return {
    needsDuration: true,
    header: fmp4Init,
    write(frame, durationUs) {
      const ends = durationUs ? { [frame.kind]: frame.dts + durationUs } : {};
      const bytes = chunkOf([frame], ends, { sequence: sequence + 1 });
      if (bytes.length > 0) sequence++;
      return bytes;
    },
  };
}

/**
 * One fragment of many frames, given in decoding order in each track. Frames of codecs that MP4
 * can't carry are left out; if there are no others, it is empty.
 *
 * Every time is rounded to its track's ticks by itself, so that nothing adds up: samples last from
 * one rounded time to the next.
 *
 * @throws {RangeError} If the frames of a track have more than one configuration: those after a
 * change belong to the next chunk.
 */
export function chunkOf(
  frames: readonly MediaFrame[],
  ends: ChunkEnds,
  options: ChunkOptions,
): Uint8Array {
  const tracks: FragmentTrack[] = [];
  for (const kind of ["video", "audio"] as const) {
    const track = trackOf(frames.filter((frame) => frame.kind === kind), ends[kind]);
    if (track !== undefined) tracks.push(track);
  }
  const [first] = tracks;
  if (first === undefined) return new Uint8Array();
  const { sequence, startsSegment = false, producedUnixMs } = options;
  const brands = tracks.length === 1 ? [SEGMENT_BRAND, CMAF_SEGMENT_BRAND] : [SEGMENT_BRAND];
  return fragment({
    sequence,
    tracks,
    ...(startsSegment && { brands }),
    ...(producedUnixMs !== undefined && {
      producer: { trackId: first.id, unixMs: producedUnixMs, mediaTime: first.baseDecodeTime },
    }),
  });
}

/** The track of frames of one kind, if there are any and MP4 can carry them. */
function trackOf(
  frames: readonly MediaFrame[],
  endUs: number | undefined,
): FragmentTrack | undefined {
  const [first] = frames;
  if (first === undefined) return undefined;
  const { kind, config } = first;
  if (frames.some((frame) => frame.config !== config)) {
    throw new RangeError(`Cannot write a chunk: its ${kind} has more than one configuration`);
  }
  if (!isMp4Codec(config)) return undefined;
  const timescale = timescaleOf(config);
  const ticks = (us: number) => Math.round(us * timescale / 1e6);
  // Streams begin at 0; what a publisher puts before it has no decode time in MP4.
  const starts = frames.map(({ dts }) => Math.max(0, ticks(dts)));
  const samples = frames.map((frame, index): Mp4Sample => {
    const start = starts[index] ?? 0;
    const end = starts[index + 1] ?? ticks(endUs ?? guessedEnd(frames));
    return {
      data: sampleData(frame),
      duration: Math.min(MAX_DURATION, Math.max(0, end - start)),
      compositionOffset: ticks(frame.pts) - start,
      key: frame.key,
    };
  });
  return { id: TRACK_IDS[kind], baseDecodeTime: starts[0] ?? 0, samples };
}

/** Where the last frame ends if it lasts as long as the one before or, alone, as frames usually do. */
function guessedEnd(frames: readonly MediaFrame[]): number {
  const last = frames.at(-1);
  if (last === undefined) return 0;
  const before = frames.at(-2);
  return last.dts + (before === undefined ? usualUs(last) : last.dts - before.dts);
}

function usualUs(frame: MediaFrame): number {
  if (frame.kind === "video") return 1e6 / (frame.config.frameRate || USUAL_FRAME_RATE);
  const { config, data } = frame;
  const samples = USUAL_SAMPLES[config.fourcc];
  if (samples === undefined) return g711Duration(data, config);
  return samples * 1e6 / config.sampleRate;
}

/**
 * A frame as a sample has it: one of AV1 without its temporal delimiter (AV1-ISOBMFF 2.4), an OBU
 * that is nothing but a header and the size 0 (AV1 5.3).
 */
function sampleData({ config, data }: MediaFrame): Uint8Array {
  const isDelimited = config.fourcc === "av01" && data[0] === 0x12 && data[1] === 0;
  return isDelimited ? data.subarray(2) : data;
}

function carried<C extends VideoConfig | AudioConfig>(config: C | undefined): C | undefined {
  return config !== undefined && isMp4Codec(config) ? config : undefined;
}

function carriedConfigs({ video, audio }: FormatTracks): (VideoConfig | AudioConfig)[] {
  return [carried(video), carried(audio)].filter((config) => config !== undefined);
}
