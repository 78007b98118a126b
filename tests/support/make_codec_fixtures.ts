/**
 * Writes `tests/fixtures/codecs/` with FFmpeg's encoders, decoders and muxers:
 *
 *     deno run -A tests/support/make_codec_fixtures.ts [name prefix]
 */

import * as av from "node-av";
import { type CodecFixture, type FixtureFacts, writeFixture } from "./codec_fixtures.ts";
import { CRAFTED, type CraftedHeader } from "./crafted_headers.ts";

interface Options {
  readonly [key: string]: string | number;
}

interface VideoCase {
  readonly name: string;
  readonly encoder: string;
  readonly size: readonly [number, number];
  readonly rate?: readonly [number, number];
  readonly format?: string;
  readonly frames?: number;
  readonly gop?: number;
  readonly options?: Options;
}

interface AudioCase {
  readonly name: string;
  readonly encoder: string;
  readonly sampleRate: number;
  readonly channels: number;
  /** Mask of the channels' places where it is not the default of their number. */
  readonly mask?: bigint;
  readonly packets?: number;
  readonly bitrate?: number;
  readonly options?: Options;
}

const x264 = { preset: "ultrafast", threads: 1 };
const x265 = { preset: "ultrafast" };
const quiet = "pools=1:frame-threads=1:log-level=0";
const vp9 = { deadline: "realtime", "cpu-used": 8, threads: 1 };

const VIDEO: readonly VideoCase[] = [
  h264("high_854x480", { size: [854, 480], options: { ...x264, preset: "veryfast" } }),
  h264("baseline_322x242", { size: [322, 242], rate: [15, 1], options: x264 }),
  h264("interlaced_1080", {
    size: [1920, 1080],
    rate: [25, 1],
    options: { ...x264, profile: "high", "x264-params": "interlaced=1:cabac=1:8x8dct=1:bframes=0" },
  }),
  h264("high10_640x358", { size: [640, 358], format: "yuv420p10le", options: x264 }),
  h264("high422_720x578", {
    size: [720, 578],
    rate: [50, 1],
    format: "yuv422p",
    options: { ...x264, "x264-params": "interlaced=1" },
  }),
  h264("high444_321x241", { size: [321, 241], format: "yuv444p", options: x264 }),
  h264("gray_162x122", { size: [162, 122], format: "gray", options: x264 }),
  h264("open_gop", {
    size: [322, 242],
    frames: 20,
    gop: 6,
    options: {
      ...x264,
      "x264-params": "open-gop=1:bframes=2:b-adapt=0:scenecut=0:min-keyint=1:cabac=1",
    },
  }),
  h264("intra_refresh", {
    size: [322, 242],
    frames: 12,
    gop: 5,
    options: { ...x264, "x264-params": "intra-refresh=1" },
  }),
  h264("vui_hrd_ntsc", {
    size: [426, 240],
    rate: [30000, 1001],
    options: {
      ...x264,
      "x264-params": "nal-hrd=vbr:vbv-maxrate=500:vbv-bufsize=500:cqm=jvt:8x8dct=1:" +
        "sar=133/100:overscan=show:videoformat=pal:fullrange=on:colorprim=bt709:transfer=bt709:" +
        "colormatrix=bt709:chromaloc=2:force-cfr=1:slices=3:aud=1:bframes=3:b-pyramid=normal",
    },
  }),
  h265("main_854x480", { size: [854, 480], options: { ...x265, "x265-params": quiet } }),
  h265("main_1080", { size: [1920, 1080], rate: [60, 1] }),
  h265("main10_322x242", { size: [322, 242], rate: [24000, 1001], format: "yuv420p10le" }),
  h265("main422_10_362x202", { size: [362, 202], format: "yuv422p10le" }),
  h265("main444_321x241", { size: [321, 241], format: "yuv444p" }),
  h265("gray_162x122", { size: [162, 122], format: "gray" }),
  h265("open_gop", {
    size: [322, 242],
    frames: 20,
    gop: 6,
    options: { ...x265, "x265-params": `${quiet}:open-gop=1:bframes=2:b-adapt=0:scenecut=0` },
  }),
  h265("vui_hrd_layers", {
    size: [426, 240],
    rate: [50, 1],
    frames: 8,
    options: {
      ...x265,
      "x265-params":
        `${quiet}:hrd=1:vbv-maxrate=500:vbv-bufsize=500:bitrate=400:temporal-layers=2:` +
        "scaling-list=default:sar=2:overscan=show:videoformat=pal:range=full:colorprim=bt709:" +
        "transfer=bt709:colormatrix=bt709:chromaloc=2:level-idc=5.1:high-tier=1:aud=1:bframes=3",
    },
  }),
  av1("main_854x480", { size: [854, 480] }),
  av1("main10_322x242", { size: [322, 242], rate: [25, 1], format: "yuv420p10le" }),
  av1("color_640x358", {
    size: [640, 358],
    options: {
      preset: 13,
      "svtav1-params": "lp=1:color-primaries=9:transfer-characteristics=16:" +
        "matrix-coefficients=9:color-range=1:chroma-sample-position=colocated",
    },
  }),
  av1("keys", { size: [322, 242], frames: 12, gop: 5 }),
  vpx("p0_854x480", { size: [854, 480], frames: 6, gop: 3 }),
  vpx("p0_322x242", { size: [322, 242] }),
  vpx("p1_444_321x241", { size: [321, 241], format: "yuv444p" }),
  vpx("p1_422_320x242", { size: [320, 242], format: "yuv422p" }),
  vpx("p1_440_320x242", { size: [320, 242], format: "yuv440p" }),
  vpx("p1_rgb_320x242", { size: [320, 242], format: "gbrp" }),
  vpx("p2_10_1280x718", { size: [1280, 718], format: "yuv420p10le" }),
  vpx("p3_12_320x242", { size: [320, 242], format: "yuv444p12le" }),
];

const AUDIO: readonly AudioCase[] = [
  ...[[48000, 1], [44100, 2], [96000, 2], [7350, 1], [32000, 6], [24000, 3], [16000, 4]].map((
    [sampleRate = 0, channels = 0],
  ) => ({ name: `aac_${sampleRate}_${channels}`, encoder: "aac", sampleRate, channels })),
  { name: "aac_48000_8_71", encoder: "aac", sampleRate: 48000, channels: 8, mask: 0x63fn },
  { name: "aac_48000_8_71wide", encoder: "aac", sampleRate: 48000, channels: 8, mask: 0xffn },
  { name: "aac_48000_3_21", encoder: "aac", sampleRate: 48000, channels: 3, mask: 0xbn },
  { name: "aac_44100_4_quad", encoder: "aac", sampleRate: 44100, channels: 4, mask: 0x33n },
  { name: "aac_48000_7_61", encoder: "aac", sampleRate: 48000, channels: 7, mask: 0x70fn },
  ...[[48000, 1], [48000, 2], [48000, 6], [48000, 8], [24000, 2]].map((
    [sampleRate = 0, channels = 0],
  ) => ({ name: `opus_${sampleRate}_${channels}`, encoder: "libopus", sampleRate, channels })),
  ...["2.5", "5", "10", "40", "60", "80", "100", "120"].map((duration) => ({
    name: `opus_frame_${duration.replace(".", "_")}`,
    encoder: "libopus",
    sampleRate: 48000,
    channels: 2,
    options: { frame_duration: duration },
  })),
  ...["voip", "lowdelay"].map((application) => ({
    name: `opus_${application}`,
    encoder: "libopus",
    sampleRate: 16000,
    channels: 1,
    bitrate: 16000,
    options: { application, frame_duration: application === "voip" ? 60 : 5 },
  })),
  ...[
    [44100, 2, 128],
    [48000, 1, 64],
    [32000, 2, 320],
    [22050, 2, 64],
    [24000, 1, 32],
    [16000, 1, 8],
    [11025, 1, 16],
    [12000, 2, 32],
    [8000, 1, 8],
  ].map(([sampleRate = 0, channels = 0, kbps = 0]) => ({
    name: `mp3_${sampleRate}_${channels}`,
    encoder: "libmp3lame",
    sampleRate,
    channels,
    bitrate: kbps * 1000,
    packets: 4,
    options: { reservoir: 0 },
  })),
  ...[[44100, 2, 192], [48000, 1, 96], [24000, 2, 64], [16000, 1, 32]].map((
    [sampleRate = 0, channels = 0, kbps = 0],
  ) => ({
    name: `mp2_${sampleRate}_${channels}`,
    encoder: "mp2",
    sampleRate,
    channels,
    bitrate: kbps * 1000,
  })),
  { name: "alaw_8000_1", encoder: "pcm_alaw", sampleRate: 8000, channels: 1, packets: 1 },
  { name: "ulaw_16000_2", encoder: "pcm_mulaw", sampleRate: 16000, channels: 2, packets: 1 },
];

function h264(name: string, rest: Omit<VideoCase, "name" | "encoder">): VideoCase {
  return { name: `h264_${name}`, encoder: "libx264", ...rest };
}

function h265(name: string, rest: Omit<VideoCase, "name" | "encoder">): VideoCase {
  const options = { ...x265, "x265-params": quiet };
  return { name: `h265_${name}`, encoder: "libx265", options, ...rest };
}

function av1(name: string, rest: Omit<VideoCase, "name" | "encoder">): VideoCase {
  const options = { preset: 13, "svtav1-params": "lp=1" };
  return { name: `av1_${name}`, encoder: "libsvtav1", options, ...rest };
}

function vpx(name: string, rest: Omit<VideoCase, "name" | "encoder">): VideoCase {
  return { name: `vp9_${name}`, encoder: "libvpx-vp9", options: vp9, ...rest };
}

const folder = Deno.makeTempDirSync();
const prefix = Deno.args[0] ?? "";
av.Log.setLevel(av.AV_LOG_ERROR);
for (const kase of VIDEO) if (kase.name.startsWith(prefix)) writeFixture(makeVideo(kase));
for (const kase of AUDIO) if (kase.name.startsWith(prefix)) writeFixture(makeAudio(kase));
for (const kase of CRAFTED) {
  if (kase.name.startsWith(prefix)) writeFixture(makeCrafted(kase));
}
Deno.removeSync(folder, { recursive: true });
// node-av's finalizers crash when Deno runs them at its end.
Deno.exit(0);

function makeCrafted({ name, decoder, extradata, packets }: CraftedHeader): CodecFixture {
  const codec = av.Codec.findDecoderByName(decoder as never);
  if (codec === null) throw new Error(`Cannot find a decoder: its name is ${decoder}`);
  const empty = new Uint8Array(0);
  const streams = { name, extradata, record: empty, flvRecord: empty, packets };
  const facts = decoder === "aac" ? demux(extradata) : describe(codec, { extradata, packets });
  return { ...streams, encoder: "", ...facts, keys: packets.map(() => true), durationsUs: [] };
}

/** What FFmpeg's MP4 demuxer says of AAC with the AudioSpecificConfig. */
function demux(extradata: Uint8Array) {
  const path = `${folder}/file.mp4`;
  const output = new av.FormatContext();
  av.FFmpegError.throwIfError(output.allocOutputContext2(null, "mp4", path), "output");
  const stream = output.newStream();
  stream.codecpar.codecType = av.AVMEDIA_TYPE_AUDIO;
  stream.codecpar.codecId = av.AV_CODEC_ID_AAC;
  stream.codecpar.sampleRate = 16000;
  stream.codecpar.channelLayout = av.avChannelLayoutDefault(1);
  stream.codecpar.extradata = extradata as never;
  av.FFmpegError.throwIfError(output.openOutputSync(), "open");
  av.FFmpegError.throwIfError(output.writeHeaderSync(null), "header");
  const packet = new av.Packet();
  packet.alloc();
  packet.data = Uint8Array.of(1, 2, 3, 4) as never;
  packet.pts = 0n;
  packet.dts = 0n;
  av.FFmpegError.throwIfError(output.writeFrameSync(packet), "packet");
  output.writeTrailerSync();
  output.closeOutputSync();
  const input = new av.FormatContext();
  av.FFmpegError.throwIfError(input.openInputSync(path), "input");
  const codecpar = input.streams[0]?.codecpar;
  if (codecpar === undefined) throw new Error("Cannot find a stream: the file has none");
  return {
    profile: codecpar.profile,
    sampleRate: codecpar.sampleRate,
    channels: codecpar.channels,
  };
}

function makeVideo(kase: VideoCase): CodecFixture {
  const [width, height] = kase.size;
  const [num, den] = kase.rate ?? [30, 1];
  const format = av.avGetPixFmtFromName(kase.format ?? "yuv420p");
  using context = openEncoder(kase.encoder, kase.options ?? {}, (context) => {
    context.width = width;
    context.height = height;
    context.pixelFormat = format;
    context.timeBase = new av.Rational(den, num);
    context.framerate = new av.Rational(num, den);
    context.gopSize = kase.gop ?? 30;
  });
  const size = av.avImageGetBufferSize(format, width, height, 1);
  const frames: av.Frame[] = [];
  for (let index = 0; index < (kase.frames ?? 5); index++) {
    // Flat pictures, each of another shade, keep packets small.
    const buffer = new Uint8Array(size).fill(kase.format?.includes("le") ? 1 : 40 + 8 * index);
    const frame = av.Frame.fromVideoBuffer(buffer as never, { width, height, format });
    frame.pts = BigInt(index);
    frames.push(frame);
  }
  return finish(kase, context, encode(context, frames));
}

function makeAudio(kase: AudioCase): CodecFixture {
  const codec = encoderOf(kase.encoder);
  const sampleFormat = codec.sampleFormats?.[0] ?? av.AV_SAMPLE_FMT_FLTP;
  const layout = kase.mask === undefined
    ? av.avChannelLayoutDefault(kase.channels)
    : { ...av.avChannelLayoutDefault(kase.channels), mask: kase.mask };
  using context = openEncoder(kase.encoder, kase.options ?? {}, (context) => {
    context.sampleRate = kase.sampleRate;
    context.sampleFormat = sampleFormat;
    context.channelLayout = layout;
    context.timeBase = new av.Rational(1, kase.sampleRate);
    context.bitRate = BigInt(kase.bitrate ?? 32000 * kase.channels);
  });
  const nbSamples = context.frameSize || 160;
  const bytes = nbSamples * kase.channels * av.avGetBytesPerSample(sampleFormat);
  const frames: av.Frame[] = [];
  for (let index = 0; index < (kase.packets ?? 3); index++) {
    const frame = av.Frame.fromAudioBuffer(new Uint8Array(bytes) as never, {
      nbSamples,
      format: sampleFormat,
      sampleRate: kase.sampleRate,
      channelLayout: layout,
    });
    frame.pts = BigInt(index * nbSamples);
    frames.push(frame);
  }
  return finish(kase, context, encode(context, frames));
}

function encoderOf(name: string): av.Codec {
  const codec = av.Codec.findEncoderByName(name as never);
  if (codec === null) throw new Error(`Cannot find an encoder: its name is ${name}`);
  return codec;
}

function openEncoder(
  name: string,
  options: Options,
  configure: (context: av.CodecContext) => void,
): av.CodecContext {
  const codec = encoderOf(name);
  const context = new av.CodecContext();
  context.allocContext3(codec);
  configure(context);
  context.setFlags(av.AV_CODEC_FLAG_GLOBAL_HEADER);
  const code = context.open2Sync(codec, av.Dictionary.fromObject({ ...options, strict: "-2" }));
  av.FFmpegError.throwIfError(code, `open ${name} ${JSON.stringify(options)}`);
  return context;
}

function encode(context: av.CodecContext, frames: readonly av.Frame[]): av.Packet[] {
  const packets: av.Packet[] = [];
  for (const frame of [...frames, null]) {
    av.FFmpegError.throwIfError(context.sendFrameSync(frame), "encode");
    for (;;) {
      const packet = new av.Packet();
      packet.alloc();
      if (context.receivePacketSync(packet) < 0) break;
      packets.push(packet);
    }
  }
  return packets;
}

function finish(
  kase: VideoCase | AudioCase,
  context: av.CodecContext,
  packets: readonly av.Packet[],
): CodecFixture {
  const extradata = Uint8Array.from(context.extraData ?? []);
  const decoder = av.Codec.findDecoder(context.codecId);
  if (decoder === null) throw new Error(`Cannot find a decoder: the encoder is ${kase.encoder}`);
  const mp4 = remux("mp4", context, packets);
  const flv = remux("flv", context, packets);
  if (kase.encoder === "aac") writeAdts(kase, extradata, remux("adts", context, packets).bytes);
  const box = ["avcC", "hvcC", "av1C", "vpcC", "dOps"].map((name) => boxOf(mp4.bytes, name))
    .find((payload) => payload.length > 0) ?? new Uint8Array(0);
  const bytes = packets.map((packet) => Uint8Array.from(packet.data ?? []));
  const { num, den } = context.timeBase;
  return {
    name: kase.name,
    encoder: kase.encoder,
    ...describe(decoder, { extradata, packets: bytes, encoder: context }),
    ...(mp4.codec !== undefined && { codec: mp4.codec }),
    keys: packets.map((packet) => packet.isKeyframe),
    durationsUs: packets.map((packet) => Math.round(Number(packet.duration) * 1e6 * num / den)),
    extradata,
    record: box,
    flvRecord: flv.bytes.length === 0 ? flv.bytes : flvRecordOf(flv.bytes),
    packets: bytes,
  };
}

/** A fixture of one packet: the whole file of the ADTS muxer. */
function writeAdts(kase: VideoCase | AudioCase, extradata: Uint8Array, file: Uint8Array): void {
  // ADTS has three bits for the channel configuration.
  if (file.length === 0) return;
  const empty = new Uint8Array(0);
  writeFixture({
    name: kase.name.replace("aac", "adts"),
    encoder: "adts",
    keys: [true],
    durationsUs: [],
    extradata,
    record: empty,
    flvRecord: empty,
    packets: [file],
  });
}

/** A file of `format`, and the codec string of its stream; nothing if the format lacks the codec. */
function remux(format: string, encoder: av.CodecContext, packets: readonly av.Packet[]) {
  const path = `${folder}/file.${format}`;
  const output = new av.FormatContext();
  av.FFmpegError.throwIfError(output.allocOutputContext2(null, format, path), "output");
  const stream = output.newStream();
  stream.codecpar.fromContext(encoder);
  if (format === "mp4" && encoder.codecId === av.AV_CODEC_ID_HEVC) {
    stream.codecpar.codecTag = "hvc1";
  }
  stream.timeBase = encoder.timeBase;
  av.FFmpegError.throwIfError(output.openOutputSync(), "open");
  const options = av.Dictionary.fromObject({ strict: "-2", flvflags: "no_duration_filesize" });
  const code = output.writeHeaderSync(options);
  if (code < 0) return { bytes: new Uint8Array(0) };
  const codec = av.avGetCodecString(stream.codecpar) ?? undefined;
  for (const packet of packets) {
    const copy = packet.clone();
    if (copy === null) throw new Error("Cannot copy a packet: memory is short");
    copy.rescaleTs(encoder.timeBase, stream.timeBase);
    copy.streamIndex = 0;
    output.writeFrameSync(copy);
  }
  output.writeTrailerSync();
  output.closeOutputSync();
  return { bytes: Deno.readFileSync(path), ...(codec !== undefined && { codec }) };
}

function boxOf(file: Uint8Array, name: string): Uint8Array {
  const wanted = new TextEncoder().encode(name);
  for (let at = 4; at < file.length; at++) {
    if (wanted.every((byte, index) => file[at + index] === byte)) {
      const length = new DataView(file.buffer).getUint32(at - 4);
      return file.slice(at + 4, at - 4 + length);
    }
  }
  return new Uint8Array(0);
}

/** What follows the header of the first tag that is a sequence start. */
function flvRecordOf(file: Uint8Array): Uint8Array {
  const view = new DataView(file.buffer);
  for (let at = 13; at + 11 < file.length;) {
    const type = file[at] ?? 0;
    const length = view.getUint32(at) & 0xffffff;
    const body = file.subarray(at + 11, at + 11 + length);
    const first = body[0] ?? 0;
    const enhanced = type === 9 ? first >= 0x80 : first >> 4 === 9;
    if (type === 9 || type === 8) {
      if (enhanced && (first & 15) === 0) return body.slice(5);
      if (type === 9 && (first & 15) === 7 && body[1] === 0) return body.slice(5);
      if (type === 8 && first >> 4 === 10 && body[1] === 0) return body.slice(2);
    }
    at += 11 + length + 4;
  }
  return new Uint8Array(0);
}

/** What FFmpeg's decoder says once it has seen the packets, or its parser where that fails. */
function describe(
  codec: av.Codec,
  { extradata, packets, encoder }: Pick<CodecFixture, "extradata" | "packets"> & {
    readonly encoder?: av.CodecContext;
  },
): Omit<FixtureFacts, "encoder" | "keys" | "durationsUs"> {
  using context = new av.CodecContext();
  context.allocContext3(codec);
  if (extradata.length > 0) context.extraData = extradata as never;
  if (encoder?.sampleRate) {
    context.sampleRate = encoder.sampleRate;
    context.channelLayout = encoder.channelLayout;
  }
  context.open2Sync(codec, null);
  using frame = new av.Frame();
  frame.alloc();
  for (const data of [...packets, null]) {
    const packet = new av.Packet();
    packet.alloc();
    if (data !== null) packet.data = data as never;
    context.sendPacketSync(data === null ? null : packet);
    while (context.receiveFrameSync(frame) >= 0) frame.unref();
  }
  if (context.codecType === av.AVMEDIA_TYPE_AUDIO) {
    return {
      profile: context.profile,
      sampleRate: context.sampleRate,
      channels: context.channelLayout.nbChannels,
    };
  }
  const { width, height, profile, level, hasBFrames } = context;
  const { num, den } = context.framerate;
  return {
    width,
    height,
    profile,
    level,
    pixelFormat: av.avGetPixFmtName(context.pixelFormat) ?? "",
    frameRate: [num, den],
    delay: hasBFrames,
  };
}
