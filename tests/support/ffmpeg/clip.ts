/** Synthetic clips: encoded once into memory, plain data from then on. */
import {
  AV_CHANNEL_ORDER_NATIVE,
  AV_CODEC_FLAG_GLOBAL_HEADER,
  AV_PICTURE_TYPE_NONE,
  AV_SAMPLE_FMT_FLT,
  AV_SAMPLE_FMT_FLTP,
  AV_SAMPLE_FMT_S16,
  AV_SAMPLE_FMT_S16P,
  type AVCodecID,
  AVMEDIA_TYPE_VIDEO,
  type AVMediaType,
  type AVPixelFormat,
  type AVProfile,
  type AVSampleFormat,
  type FFEncoderCodec,
} from "node-av/constants";
import {
  type ChannelLayout,
  Codec,
  CodecContext,
  CodecParameters,
  Dictionary,
  type FilterContext,
  FilterGraph,
  Frame,
  Packet,
  Rational,
} from "node-av/lib";
import { check } from "./native.ts";
import { toLengthPrefixed } from "./canonical.ts";

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
  /** The picture as a source of FFmpeg's filter language. Default: `testsrc2`, which counts its frames. */
  readonly videoSource?: string;
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

interface NativeParameters {
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

interface Encoded {
  readonly track: ClipTrack;
  readonly packets: readonly ClipPacket[];
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

async function encodeVideo(name: VideoCodec, options: ClipOptions): Promise<Encoded> {
  const { width = 160, height = 120, fps = 25, seconds = 2, bFrames = 0 } = options;
  const gop = options.gop ?? fps;
  const { encoder, settings } = videoEncoder(name, gop, bFrames);
  const source = options.videoSource ?? "testsrc2";
  const [first = "", ...rest] = source.split(",");
  const sized = `${first}${first.includes("=") ? ":" : "="}size=${width}x${height}:rate=${fps}`;
  using graph = new FilterGraph();
  const chain = [sized, ...rest, `trim=duration=${seconds}`, "format=yuv420p", "buffersink"];
  const sink = sinkOf(graph, chain.join(","));
  const codec = Codec.findEncoderByName(encoder);
  if (!codec) throw new Error(`Cannot encode ${name}: this FFmpeg has no ${encoder}`);
  using context = new CodecContext();
  context.allocContext3(codec);
  context.width = width;
  context.height = height;
  context.pixelFormat = sink.buffersinkGetFormat() as AVPixelFormat;
  context.timeBase = new Rational(1, fps);
  context.framerate = new Rational(fps, 1);
  context.gopSize = gop;
  context.maxBFrames = bFrames;
  context.threadCount = 1;
  context.bitRate = BigInt(options.videoBitrate ?? 100_000);
  context.setFlags(AV_CODEC_FLAG_GLOBAL_HEADER);
  await open(context, codec, { ...settings, ...options.videoEncoderOptions });
  const packets = encode(context, sink, "video");
  const track = trackOf(context, name, { kind: "video", width, height, fps });
  if (name !== "h264" && name !== "hevc") return { track, packets };
  return {
    track,
    packets: packets.map((packet) => ({ ...packet, data: toLengthPrefixed(packet.data) })),
  };
}

function videoEncoder(
  name: VideoCodec,
  gop: number,
  bFrames: number,
): { encoder: FFEncoderCodec; settings: Record<string, string> } {
  const structure = [
    `keyint=${gop}`,
    `min-keyint=${gop}`,
    "scenecut=0",
    `bframes=${bFrames}`,
    "b-adapt=0",
  ].join(":");
  switch (name) {
    case "h264":
      return {
        encoder: "libx264" as FFEncoderCodec,
        settings: { preset: "ultrafast", "x264-params": `${structure}:open_gop=0` },
      };
    case "hevc":
      return {
        encoder: "libx265" as FFEncoderCodec,
        settings: {
          preset: "ultrafast",
          "x265-params": `${structure}:open-gop=0:info=0:log-level=none:pools=1:frame-threads=1`,
        },
      };
    case "av1":
      return {
        encoder: "libsvtav1" as FFEncoderCodec,
        settings: { preset: "10", "svtav1-params": "lp=1" },
      };
    case "vp9":
      return {
        encoder: "libvpx-vp9" as FFEncoderCodec,
        settings: { deadline: "realtime", "cpu-used": "8", "lag-in-frames": "0" },
      };
  }
}

async function encodeAudio(name: AudioCodec, options: ClipOptions): Promise<Encoded> {
  const { channels = 1, seconds = 2 } = options;
  const { encoder, defaultRate } = audioEncoder(name);
  const sampleRate = options.sampleRate ?? defaultRate;
  const codec = Codec.findEncoderByName(encoder);
  if (!codec) throw new Error(`Cannot encode ${name}: this FFmpeg has no ${encoder}`);
  const format = codec.sampleFormats?.[0] ?? AV_SAMPLE_FMT_S16;
  using context = new CodecContext();
  context.allocContext3(codec);
  context.sampleRate = sampleRate;
  context.sampleFormat = format;
  context.channelLayout = {
    nbChannels: channels,
    order: AV_CHANNEL_ORDER_NATIVE,
    mask: channels === 1 ? 4n : 3n,
  };
  context.timeBase = new Rational(1, sampleRate);
  context.bitRate = BigInt(options.audioBitrate ?? 48_000);
  context.setFlags(AV_CODEC_FLAG_GLOBAL_HEADER);
  await open(context, codec, {});
  // G.711 takes any size: 20 ms, as telephones send it.
  const samples = context.frameSize || sampleRate / 50;
  const source = options.audioSource ?? "aevalsrc=0.2*sin(2*PI*(300+20*t)*t)";
  const [first = "", ...rest] = source.split(",");
  const rated = `${first}${first.includes("=") ? ":" : "="}sample_rate=${sampleRate}`;
  using graph = new FilterGraph();
  const layout = channels === 1 ? "mono" : "stereo";
  const chain = [
    rated,
    ...rest,
    `atrim=duration=${seconds}`,
    `aformat=sample_fmts=${formatName(format)}:channel_layouts=${layout}`,
    `asetnsamples=n=${samples}:p=0`,
    "abuffersink",
  ];
  const packets = encode(context, sinkOf(graph, chain.join(",")), "audio");
  return { track: trackOf(context, name, { kind: "audio", sampleRate, channels }), packets };
}

function audioEncoder(name: AudioCodec): { encoder: FFEncoderCodec; defaultRate: number } {
  switch (name) {
    case "aac":
      return { encoder: "aac" as FFEncoderCodec, defaultRate: 48_000 };
    case "opus":
      return { encoder: "libopus" as FFEncoderCodec, defaultRate: 48_000 };
    case "mp3":
      return { encoder: "libmp3lame" as FFEncoderCodec, defaultRate: 44_100 };
    case "pcm_alaw":
    case "pcm_mulaw":
      return { encoder: name as FFEncoderCodec, defaultRate: 8_000 };
  }
}

function formatName(format: AVSampleFormat): string {
  switch (format) {
    case AV_SAMPLE_FMT_FLT:
      return "flt";
    case AV_SAMPLE_FMT_FLTP:
      return "fltp";
    case AV_SAMPLE_FMT_S16P:
      return "s16p";
    default:
      return "s16";
  }
}

function sinkOf(graph: FilterGraph, chain: string): FilterContext {
  graph.alloc();
  check(graph.parse2(chain), `parse the filters ${chain}`);
  check(graph.configSync(), `connect the filters ${chain}`);
  const sink = graph.filters?.find((filter) => filter.isSink());
  if (!sink) throw new Error(`Cannot use the filters ${chain}: they have no sink`);
  return sink;
}

async function open(
  context: CodecContext,
  codec: Codec,
  settings: Record<string, string>,
): Promise<void> {
  // SVT-AV1 writes to standard error past FFmpeg's log level.
  Deno.env.set("SVT_LOG", "0");
  // Not open2Sync(): that frees the options under the hands of their owner.
  using options = Dictionary.fromObject(settings);
  check(await context.open2(codec, options), `open the encoder ${codec.name}`);
}

function encode(context: CodecContext, sink: FilterContext, kind: "video" | "audio"): ClipPacket[] {
  using frame = new Frame();
  using packet = new Packet();
  frame.alloc();
  packet.alloc();
  const { num, den } = context.timeBase;
  const us = (ticks: bigint) => Math.round(Number(ticks) * num * 1_000_000 / den);
  const packets: ClipPacket[] = [];
  while (sink.buffersinkGetFrameSync(frame) >= 0) {
    frame.pictType = AV_PICTURE_TYPE_NONE;
    check(context.sendFrameSync(frame), `encode ${kind}`);
    frame.unref();
    drain();
  }
  context.sendFrameSync(null);
  drain();
  return packets;

  function drain() {
    while (context.receivePacketSync(packet) >= 0) {
      packets.push({
        kind,
        dtsUs: us(packet.dts),
        ptsUs: us(packet.pts),
        durationUs: us(packet.duration || BigInt(kind === "video" ? 1 : 0)),
        key: packet.isKeyframe,
        data: new Uint8Array(packet.data ?? []),
      });
      packet.unref();
    }
  }
}

function trackOf(
  context: CodecContext,
  codec: VideoCodec | AudioCodec,
  shape: Partial<ClipTrack> & Pick<ClipTrack, "kind">,
): ClipTrack {
  using parameters = new CodecParameters();
  parameters.alloc();
  check(parameters.fromContext(context), "describe the encoder");
  const isVideo = parameters.codecType === AVMEDIA_TYPE_VIDEO;
  const record = isVideo ? parameters.getDecoderConfigurationRecord() : parameters.extradata;
  return {
    codec,
    codecString: parameters.getCodecString() ?? undefined,
    extradata: record ? new Uint8Array(record) : undefined,
    width: 0,
    height: 0,
    fps: 0,
    sampleRate: 0,
    channels: 0,
    ...shape,
    native: {
      codecType: parameters.codecType,
      codecId: parameters.codecId,
      format: parameters.format,
      bitRate: parameters.bitRate,
      profile: parameters.profile,
      level: parameters.level,
      bitsPerCodedSample: parameters.bitsPerCodedSample,
      frameSize: parameters.frameSize,
      initialPadding: parameters.initialPadding,
      videoDelay: parameters.videoDelay,
      channelLayout: parameters.channelLayout,
    },
  };
}
