/** Synthetic clips: encoded once into memory, plain data from then on. */
import type {
  AVCodecID,
  AVMediaType,
  AVPixelFormat,
  AVProfile,
  AVSampleFormat,
} from "node-av/constants";
import { type ChannelLayout, CodecParameters, Rational } from "node-av/lib";
import { encodeAudio, type Encoded, encodeVideo } from "./encode.ts";

export type VideoCodec = "h264" | "hevc" | "av1" | "vp9";
export type AudioCodec = "aac" | "opus" | "mp3" | "pcm_alaw" | "pcm_mulaw";

/** Options of {@linkcode makeClip}. */
export interface ClipOptions {
  /** Default: `"h264"`. */
  readonly video?: VideoCodec | "none";
  /** Default: `"aac"`. */
  readonly audio?: AudioCodec | "none";
  /** In pixels, even. Default: 160. */
  readonly width?: number;
  /** In pixels, even. Default: 120. */
  readonly height?: number;
  /** Frames a second. Default: 25. */
  readonly fps?: number;
  /** Frames from keyframe to keyframe. Default: one second of them. */
  readonly gop?: number;
  /** B-frames between two others (H.264 and H.265). Default: 0. */
  readonly bFrames?: number;
  /** Default: 2. */
  readonly seconds?: number;
  /** Video bits a second. Default: 100 000. */
  readonly videoBitrate?: number;
  /** Audio bits a second. Default: 48 000. */
  readonly audioBitrate?: number;
  /** In Hz. Default: 48 000; 44 100 for MP3, 8 000 for G.711. */
  readonly sampleRate?: number;
  /** Default: 1. */
  readonly channels?: 1 | 2;
  /**
   * The picture as a source of FFmpeg's filter language, or a function that paints a frame as planar YUV 4:2:0.
   * Default: `testsrc2`, which counts its frames.
   */
  readonly videoSource?: string | ((index: number) => Uint8Array);
  /** The sound likewise. Default: a rising tone, so that no two packets are alike. */
  readonly audioSource?: string;
  /** Options for the video encoder, beside the harness's own. */
  readonly videoEncoderOptions?: Readonly<Record<string, string>>;
}

/** One access unit: a picture or an audio frame. */
export interface ClipPacket {
  readonly kind: "video" | "audio";
  readonly dtsUs: number;
  readonly ptsUs: number;
  readonly durationUs: number;
  readonly key: boolean;
  /** H.264 and H.265: NAL units with 4-byte lengths. AV1: OBUs with temporal delimiters. */
  readonly data: Uint8Array<ArrayBuffer>;
}

/** What a muxer and a test need to know of a track. */
export interface ClipTrack {
  readonly kind: "video" | "audio";
  readonly codec: VideoCodec | AudioCodec;
  /** The codec string of RFC 6381, where FFmpeg knows one. */
  readonly codecString: string | undefined;
  /** avcC, hvcC, AudioSpecificConfig, OpusHead, the sequence header of AV1. */
  readonly extradata: Uint8Array<ArrayBuffer> | undefined;
  readonly width: number;
  readonly height: number;
  readonly fps: number;
  readonly sampleRate: number;
  readonly channels: number;
  readonly native: NativeParameters;
}

/** A clip in memory; sorted by DTS, the first of which is under 1 ms. */
export interface Clip {
  readonly video: ClipTrack | undefined;
  readonly audio: ClipTrack | undefined;
  readonly packets: readonly ClipPacket[];
  /** What to add to the timestamps when the clip starts again. */
  readonly durationUs: number;
}

/** What else FFmpeg wants to know of a track. */
export interface NativeParameters {
  readonly codecType: AVMediaType;
  readonly codecId: AVCodecID;
  readonly format: AVPixelFormat | AVSampleFormat;
  readonly bitRate: bigint;
  readonly profile: AVProfile;
  readonly level: number;
  readonly bitsPerCodedSample: number;
  readonly frameSize: number;
  readonly initialPadding: number;
  readonly videoDelay: number;
  readonly channelLayout: ChannelLayout;
}

const clips = new Map<string, Promise<Clip>>();

/** Encodes a clip, or returns the same one as for equal options before. */
export function makeClip(options: ClipOptions = {}): Promise<Clip> {
  if (typeof options.videoSource === "function") return encodeClip(options);
  const id = JSON.stringify(Object.entries(options).sort());
  const clip = clips.get(id) ?? encodeClip(options);
  clips.set(id, clip);
  return clip;
}

/** FFmpeg's description of a track; the caller frees it. */
export function codecParameters(track: ClipTrack): CodecParameters {
  const { native } = track;
  const parameters = new CodecParameters();
  parameters.alloc();
  parameters.codecType = native.codecType;
  parameters.codecId = native.codecId;
  parameters.format = native.format;
  parameters.bitRate = native.bitRate;
  parameters.profile = native.profile;
  parameters.level = native.level;
  parameters.bitsPerCodedSample = native.bitsPerCodedSample;
  parameters.extradata = track.extradata ? Buffer.from(track.extradata) : null;
  if (track.kind === "video") {
    parameters.width = track.width;
    parameters.height = track.height;
    parameters.videoDelay = native.videoDelay;
    parameters.frameRate = new Rational(track.fps, 1);
    parameters.sampleAspectRatio = new Rational(1, 1);
  } else {
    parameters.sampleRate = track.sampleRate;
    parameters.channelLayout = native.channelLayout;
    parameters.frameSize = native.frameSize;
    parameters.initialPadding = native.initialPadding;
  }
  return parameters;
}

async function encodeClip(options: ClipOptions): Promise<Clip> {
  const encoded: Encoded[] = [];
  if (options.video !== "none") encoded.push(await encodeVideo(options.video ?? "h264", options));
  if (options.audio !== "none") encoded.push(await encodeAudio(options.audio ?? "aac", options));
  const packets = encoded.flatMap((one) => one.packets);
  // Encoders begin below zero (B-frame delay, AAC priming), which muxers would each shift in their own way.
  const first = Math.min(...packets.map((packet) => packet.dtsUs));
  const shiftUs = Math.ceil(-first / 1_000) * 1_000;
  const shifted = packets.map((packet) => ({
    ...packet,
    dtsUs: packet.dtsUs + shiftUs,
    ptsUs: packet.ptsUs + shiftUs,
  }));
  shifted.sort((a, b) => a.dtsUs - b.dtsUs);
  const ends = shifted.map((packet) => packet.dtsUs + packet.durationUs);
  return {
    video: encoded.find(({ track }) => track.kind === "video")?.track,
    audio: encoded.find(({ track }) => track.kind === "audio")?.track,
    packets: shifted,
    durationUs: Math.max(...ends) - Math.min(...shifted.map((packet) => packet.dtsUs)),
  };
}
