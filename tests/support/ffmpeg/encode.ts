/** FFmpeg's encoders, fed by its filters. */
import {
  AV_CHANNEL_ORDER_NATIVE,
  AV_CODEC_FLAG_GLOBAL_HEADER,
  AV_PICTURE_TYPE_NONE,
  AV_PIX_FMT_YUV420P,
  AV_SAMPLE_FMT_FLT,
  AV_SAMPLE_FMT_FLTP,
  AV_SAMPLE_FMT_S16,
  AV_SAMPLE_FMT_S16P,
  AV_SAMPLE_FMT_S32P,
  AVMEDIA_TYPE_VIDEO,
  type AVSampleFormat,
  type FFEncoderCodec,
} from "node-av/constants";
import {
  Codec,
  CodecContext,
  CodecParameters,
  Dictionary,
  FilterGraph,
  Frame,
  Packet,
  Rational,
} from "node-av/lib";
import { toLengthPrefixed } from "./canonical.ts";
import type { AudioCodec, ClipOptions, ClipPacket, ClipTrack, VideoCodec } from "./clip.ts";
import { check } from "./native.ts";

/** A track and its packets, on the encoder's own timeline. */
export interface Encoded {
  readonly track: ClipTrack;
  readonly packets: readonly ClipPacket[];
}

/** Encodes the picture of a clip. */
export async function encodeVideo(name: VideoCodec, options: ClipOptions): Promise<Encoded> {
  const { width = 160, height = 120, fps = 25, seconds = 2, bFrames = 0 } = options;
  const gop = options.gop ?? fps;
  const { encoder, settings } = videoEncoder(name, gop, bFrames);
  const codec = Codec.findEncoderByName(encoder);
  if (!codec) throw new Error(`Cannot encode ${name}: this FFmpeg has no ${encoder}`);
  using context = new CodecContext();
  context.allocContext3(codec);
  context.width = width;
  context.height = height;
  context.pixelFormat = AV_PIX_FMT_YUV420P;
  context.timeBase = new Rational(1, fps);
  context.framerate = new Rational(fps, 1);
  context.gopSize = gop;
  context.maxBFrames = bFrames;
  context.threadCount = 1;
  context.bitRate = BigInt(options.videoBitrate ?? 100_000);
  context.setFlags(AV_CODEC_FLAG_GLOBAL_HEADER);
  await open(context, codec, { ...settings, ...options.videoEncoderOptions });
  const frames = typeof options.videoSource === "function"
    ? painted(options.videoSource, { width, height, count: fps * seconds })
    : filtered([
      ...sourceWith(options.videoSource ?? "testsrc2", `size=${width}x${height}:rate=${fps}`),
      `trim=duration=${seconds}`,
      "format=yuv420p",
      "buffersink",
    ]);
  const packets = encode(context, frames, "video");
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

/** Encodes the sound of a clip. */
export async function encodeAudio(name: AudioCodec, options: ClipOptions): Promise<Encoded> {
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
  const frames = filtered([
    ...sourceWith(
      options.audioSource ?? "aevalsrc=0.2*sin(2*PI*(300+20*t)*t)",
      `sample_rate=${sampleRate}`,
    ),
    `atrim=duration=${seconds}`,
    `aformat=sample_fmts=${formatName(format)}:channel_layouts=${
      channels === 1 ? "mono" : "stereo"
    }`,
    `asetnsamples=n=${samples}:p=0`,
    "abuffersink",
  ]);
  const packets = encode(context, frames, "audio");
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
    case AV_SAMPLE_FMT_S32P:
      return "s32p";
    default:
      return "s16";
  }
}

/** A source of FFmpeg's filter language with arguments added, and the filters after it. */
function sourceWith(source: string, args: string): string[] {
  const [first = "", ...rest] = source.split(/(?<!\\),/);
  return [`${first}${first.includes("=") ? ":" : "="}${args}`, ...rest];
}

/** The frames of a filter chain. */
function* filtered(filters: readonly string[]): Generator<Frame> {
  const chain = filters.join(",");
  using graph = new FilterGraph();
  graph.alloc();
  check(graph.parse2(chain), `parse the filters ${chain}`);
  check(graph.configSync(), `connect the filters ${chain}`);
  const sink = graph.filters?.find((filter) => filter.isSink());
  if (!sink) throw new Error(`Cannot use the filters ${chain}: they have no sink`);
  using frame = new Frame();
  frame.alloc();
  while (sink.buffersinkGetFrameSync(frame) >= 0) {
    yield frame;
    frame.unref();
  }
}

/** The frames that a function paints. */
function* painted(
  paint: (index: number) => Uint8Array,
  size: { readonly width: number; readonly height: number; readonly count: number },
): Generator<Frame> {
  const { width, height, count } = size;
  for (let index = 0; index < count; index++) {
    using frame = Frame.fromVideoBuffer(Buffer.from(paint(index)), {
      width,
      height,
      format: AV_PIX_FMT_YUV420P,
      pts: BigInt(index),
    });
    yield frame;
  }
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

function encode(
  context: CodecContext,
  frames: Iterable<Frame>,
  kind: "video" | "audio",
): ClipPacket[] {
  using packet = new Packet();
  packet.alloc();
  const { num, den } = context.timeBase;
  const us = (ticks: bigint) => Math.round(Number(ticks) * num * 1_000_000 / den);
  const packets: ClipPacket[] = [];
  for (const frame of frames) {
    frame.pictType = AV_PICTURE_TYPE_NONE;
    check(context.sendFrameSync(frame), `encode ${kind}`);
    drain();
  }
  check(context.sendFrameSync(null), `encode ${kind}`);
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
