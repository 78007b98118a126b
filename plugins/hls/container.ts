/** The containers of segments. */

import { concat } from "../../src/bytes.ts";
import type { AudioConfig, VideoConfig } from "../../src/codecs/config.ts";
import { type ChunkEnds, chunkOf, type ChunkOptions, fmp4Init } from "../../src/fmp4.ts";
import { isMp4Codec, mp4CodecString } from "../../src/formats/mp4.ts";
import { isTsConfig, TsMuxer } from "../../src/formats/mpegts.ts";
import type { MediaFrame } from "../../src/frame.ts";
import type { FormatTracks } from "../../src/mux.ts";
import type { SegmentFormat } from "./options.ts";

/** Frames of a part and what its bytes depend on. */
export interface PartInit extends ChunkOptions {
  /** In decoding order in each track. */
  readonly frames: readonly MediaFrame[];
  /** When each kind of frame goes on after them. */
  readonly ends: ChunkEnds;
  /** The configurations in force. */
  readonly tracks: FormatTracks;
}

/** Puts the frames of one stream into segments. */
export interface Container {
  /** Its name. */
  readonly format: SegmentFormat;
  /** End of the names of segments and parts. */
  readonly extension: string;
  /** Whether it can carry frames of `config`, and players of HLS may be able to play them. */
  carries(config: VideoConfig | AudioConfig): boolean;
  /** Codec string for the CODECS attribute (RFC 6381). */
  codec(config: VideoConfig | AudioConfig): string;
  /** What a player needs before the segments of `tracks`; undefined if segments have it all. */
  init(tracks: FormatTracks): Uint8Array<ArrayBuffer> | undefined;
  /** A part of a segment; the parts of a segment, one after the other, are the segment. */
  part(init: PartInit): Uint8Array<ArrayBuffer>;
}

/** G.711, which MP4 has a place for, is played by nobody. */
const UNPLAYED: ReadonlySet<string> = new Set(["alaw", "ulaw"]);

/** MP3 in MPEG-TS, as players ask for it (RFC 6381 3.3: object type 34 of MPEG-4 audio). */
const TS_MP3 = "mp4a.40.34";

/** A container of `format`, for one stream. */
export function createContainer(format: SegmentFormat): Container {
  return format === "ts" ? mpegTs() : fragmentedMp4();
}

/** The media type of segments and parts in `format`. */
export function segmentType(format: SegmentFormat): string {
  return format === "ts" ? "video/mp2t" : "video/mp4";
}

function fragmentedMp4(): Container {
  return {
    format: "fmp4",
    extension: "m4s",
    carries: (config) => isMp4Codec(config) && !UNPLAYED.has(config.fourcc),
    codec: mp4CodecString,
    init: (tracks) => fmp4Init(tracks) as Uint8Array<ArrayBuffer>,
    part: ({ frames, ends, ...options }) =>
      chunkOf(frames, ends, options) as Uint8Array<ArrayBuffer>,
  };
}

/** Segments that begin with their tables, as each must (3.1.1). */
function mpegTs(): Container {
  const muxer = new TsMuxer();
  return {
    format: "ts",
    extension: "ts",
    carries: isTsConfig,
    codec: (config) => config.fourcc === ".mp3" ? TS_MP3 : config.codec,
    init: () => undefined,
    part({ frames, tracks, startsSegment }) {
      muxer.configure(tracks);
      const packets: Uint8Array[] = startsSegment ? [muxer.tables()] : [];
      for (const frame of frames) packets.push(muxer.writeFrame(frame));
      return concat(packets);
    },
  };
}
