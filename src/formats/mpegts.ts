/** MPEG-TS as of ISO/IEC 13818-1: frames of one video and one audio stream in transport packets. */

import { concat } from "../bytes.ts";
import type { AudioConfig, VideoConfig } from "../codecs/config.ts";
import {
  type ElementaryFrame,
  type ElementaryStream,
  elementaryStream,
} from "./mpegts_elementary.ts";
import { pcrPacket, pesPackets, TS_LEAD_US } from "./mpegts_pes.ts";
import {
  NO_PID,
  PAT_PID,
  patSection,
  pmtSection,
  type ProgramStream,
  sectionPacket,
  TS_PACKET_BYTES,
} from "./mpegts_psi.ts";

export { TS_LEAD_US } from "./mpegts_pes.ts";
export { TS_PACKET_BYTES } from "./mpegts_psi.ts";

/** PIDs of the program map and the two streams. */
const PMT_PID = 0x1000;
const VIDEO_PID = 0x100;
const AUDIO_PID = 0x101;

/**
 * How long video may go without a clock before audio brings it, in µs: with a frame of audio on
 * top it stays below the 100 ms that ISO/IEC 13818-1 2.7.2 allows between two of them.
 */
const CLOCK_GAP_US = 75_000;

const NOTHING: Uint8Array = new Uint8Array();

/** The decoder configurations of a transport stream. */
export interface TsTracks {
  /** That of the video frames; undefined without video. */
  readonly video: VideoConfig | undefined;
  /** That of the audio frames; undefined without audio. */
  readonly audio: AudioConfig | undefined;
}

interface TsFrameTimes extends ElementaryFrame {
  /** Decode time, an integer in µs. */
  readonly dts: number;
  /** Presentation time, an integer in µs. */
  readonly pts: number;
}

/** A frame to write. */
export type TsFrame =
  | (TsFrameTimes & { readonly kind: "video"; readonly config: VideoConfig })
  | (TsFrameTimes & { readonly kind: "audio"; readonly config: AudioConfig });

interface TsTrack<C> {
  readonly pid: number;
  config: C | undefined;
  /** How its codec is carried; undefined if it is not. */
  stream: ElementaryStream | undefined;
  /** `continuity_counter` of the next packet. */
  counter: number;
}

/** Whether MPEG-TS carries frames of `config`: see {@linkcode TsMuxer}. */
export function isTsConfig(config: VideoConfig | AudioConfig): boolean {
  return elementaryStream(config) !== undefined;
}

/**
 * Writes frames as packets of a transport stream with one program.
 *
 * It carries H.264, H.265, AAC, MP3 and Opus; a track of another codec, and AAC or Opus of a kind
 * that can't be told in MPEG-TS, is left out of the tables and its frames give no bytes. Each frame
 * is one PES packet, so it goes out as it comes.
 *
 * PTS and DTS are the frame's times and {@linkcode TS_LEAD_US}, in 90 kHz modulo 2^33; the PCR is
 * the frame's DTS and so half a second behind. The PCR is with each frame of video, with audio where
 * there is no video, and in packets of its own before audio where the video has pauses.
 *
 * All it keeps are continuity counters and the last PCR. Segments of one stream are written by one
 * muxer: {@linkcode TsMuxer.tables} at the start of each, then its frames.
 *
 * @example Write a segment
 * ```ts
 * import { TsMuxer } from "./mpegts.ts";
 * import type { AudioConfig } from "../codecs/config.ts";
 *
 * const audio: AudioConfig = {
 *   kind: "audio", fourcc: ".mp3", codec: "mp3", sampleRate: 44_100, numberOfChannels: 2,
 * };
 * const muxer = new TsMuxer();
 * muxer.configure({ video: undefined, audio });
 * const data = new Uint8Array(417);
 * const frame = { kind: "audio", config: audio, dts: 0, pts: 0, key: true, data } as const;
 * const segment = [muxer.tables(), muxer.writeFrame(frame)];
 * ```
 */
export class TsMuxer {
  readonly #video: TsTrack<VideoConfig> = track(VIDEO_PID);
  readonly #audio: TsTrack<AudioConfig> = track(AUDIO_PID);
  /** `continuity_counter` of the next packets with tables: both go out together. */
  #tablesCounter = 0;
  /** Of the program map; that of the first tracks is 0. */
  #version = 31;
  /** What the last PCR was made of. */
  #clockUs = -Infinity;

  /**
   * Takes the configurations of the frames to come, and says whether the tables have changed by it:
   * another configuration makes another version of the program map, even of the same codec.
   *
   * @throws {InvalidDataError} If a description is malformed.
   */
  configure({ video, audio }: TsTracks): boolean {
    if (video === this.#video.config && audio === this.#audio.config) return false;
    const videoStream = streamOf(this.#video, video);
    const audioStream = streamOf(this.#audio, audio);
    this.#video.config = video;
    this.#video.stream = videoStream;
    this.#audio.config = audio;
    this.#audio.stream = audioStream;
    this.#version = (this.#version + 1) & 31;
    return true;
  }

  /** The tables that a player needs before the first frame: two packets. */
  tables(): Uint8Array<ArrayBuffer> {
    const streams: ProgramStream[] = [];
    for (const { pid, stream } of [this.#video, this.#audio]) {
      if (stream !== undefined) streams.push({ pid, ...stream });
    }
    const pmt = pmtSection({ version: this.#version, pcrPid: streams[0]?.pid ?? NO_PID, streams });
    const counter = this.#tablesCounter;
    this.#tablesCounter = (counter + 1) & 15;
    return concat([
      sectionPacket(PAT_PID, counter, patSection(PMT_PID)),
      sectionPacket(PMT_PID, counter, pmt),
    ]);
  }

  /**
   * The packets of a frame; empty if it can't be carried. The configuration of the frame counts: if
   * it is another than that of {@linkcode TsMuxer.configure}, it takes its place.
   *
   * @throws {InvalidDataError} If the frame's NAL units or its configuration are malformed.
   */
  writeFrame(frame: TsFrame): Uint8Array {
    const track = frame.kind === "video" ? this.#video : this.#audio;
    if (frame.config !== track.config) {
      const tracks = { video: this.#video.config, audio: this.#audio.config };
      this.configure({ ...tracks, [frame.kind]: frame.config });
    }
    const { stream, pid, counter } = track;
    if (stream === undefined) return NOTHING;
    const parts = stream.parts(frame);
    if (parts.length === 0) return NOTHING;
    const isClock = frame.kind === "video" || this.#video.stream === undefined;
    const pcr = isClock && this.#takesClock(frame.dts);
    const packets = pesPackets(parts, {
      pid,
      counter,
      streamId: stream.streamId,
      dtsUs: frame.dts,
      ptsUs: frame.pts,
      randomAccess: isClock && frame.key,
      pcr,
    });
    track.counter = (counter + packets.length / TS_PACKET_BYTES) & 15;
    if (isClock || frame.dts - this.#clockUs < CLOCK_GAP_US) return packets;
    this.#clockUs = frame.dts;
    return concat([pcrPacket(VIDEO_PID, (this.#video.counter + 15) & 15, frame.dts), packets]);
  }

  /**
   * Whether the clock can be told at `dtsUs`: it never goes back, unless by so much that the
   * timeline has begun anew.
   */
  #takesClock(dtsUs: number): boolean {
    const behindUs = this.#clockUs - dtsUs;
    if (behindUs > 0 && behindUs < TS_LEAD_US) return false;
    this.#clockUs = dtsUs;
    return true;
  }
}

function track<C>(pid: number): TsTrack<C> {
  return { pid, config: undefined, stream: undefined, counter: 0 };
}

/** How `config` is carried, which need not be found out again for the one that is in force. */
function streamOf<C extends VideoConfig | AudioConfig>(
  track: TsTrack<C>,
  config: C | undefined,
): ElementaryStream | undefined {
  if (config === track.config) return track.stream;
  return config && elementaryStream(config);
}
