/** A reader of fragmented MP4 that takes nothing on trust, and FFmpeg's demuxer, for tests. */

import { assert, assertEquals } from "@std/assert";
import {
  AVERROR_EOF,
  AVFMT_FLAG_NOFILLIN,
  AVFMT_FLAG_NOPARSE,
  AVMEDIA_TYPE_VIDEO,
} from "node-av/constants";
import { avGetCodecName, FormatContext, InputFormat, Packet } from "node-av/lib";
import { ByteReader } from "../../src/bytes.ts";
import { aacConfig } from "../../src/codecs/aac.ts";
import type { AudioConfig, VideoConfig } from "../../src/codecs/config.ts";
import { av1Config } from "../../src/codecs/av1.ts";
import { alawConfig, ulawConfig } from "../../src/codecs/g711.ts";
import { h264ConfigFromAvcC } from "../../src/codecs/h264.ts";
import { h265ConfigFromHvcC } from "../../src/codecs/h265.ts";
import { mp3Config } from "../../src/codecs/mp3.ts";
import { opusConfig } from "../../src/codecs/opus.ts";
import { vp9Config } from "../../src/codecs/vp9.ts";
import type { MediaFrame } from "../../src/frame.ts";
import type { Clip, ClipPacket, ClipTrack } from "./ffmpeg.ts";
import { check } from "./ffmpeg/native.ts";

/** A box and those in it. */
export interface Box {
  readonly type: string;
  /** Where the box begins in the bytes that were walked. */
  readonly at: number;
  readonly size: number;
  /** What follows the size and the type. */
  readonly content: Uint8Array;
  readonly boxes: readonly Box[];
}

/** How many bytes of content come before the boxes in a box; others hold none. */
const BOXES_AT: Readonly<Record<string, number>> = {
  ...{ moov: 0, trak: 0, edts: 0, mdia: 0, minf: 0, dinf: 0, stbl: 0, mvex: 0, moof: 0, traf: 0 },
  ...{ dref: 8, stsd: 8, mp4a: 28, Opus: 28, alaw: 28, ulaw: 28 },
  ...{ avc1: 78, hvc1: 78, av01: 78, vp09: 78 },
};

/** The boxes in `bytes`; fails unless every size, in every box, adds up to the last byte. */
export function boxesOf(bytes: Uint8Array, from = 0): Box[] {
  const reader = new ByteReader(bytes);
  const boxes: Box[] = [];
  while (reader.remaining > 0) {
    const at = reader.offset + from;
    const size = reader.u32();
    const type = String.fromCharCode(...reader.bytes(4));
    assert(size >= 8, `${type} at ${at} has size ${size}`);
    const content = reader.bytes(size - 8);
    const start = BOXES_AT[type];
    const inner = start === undefined ? [] : boxesOf(content.subarray(start), at + 8 + start);
    boxes.push({ type, at, size, content, boxes: inner });
  }
  return boxes;
}

/** The types of boxes, those inside in parentheses: `ftyp moov(mvhd trak(tkhd))`. */
export function outline(boxes: readonly Box[]): string {
  return boxes.map(({ type, boxes }) => boxes.length > 0 ? `${type}(${outline(boxes)})` : type)
    .join(" ");
}

/** The boxes at a path such as `moov/trak/tkhd`. */
export function find(boxes: readonly Box[], path: string): Box[] {
  const [type, ...rest] = path.split("/");
  const found = boxes.filter((box) => box.type === type);
  return rest.length > 0 ? found.flatMap((box) => find(box.boxes, rest.join("/"))) : found;
}

/** The only box at a path. */
export function findOne(boxes: readonly Box[], path: string): Box {
  const [box, ...others] = find(boxes, path);
  assert(box !== undefined && others.length === 0, `${path} is there ${others.length + 1} times`);
  return box;
}

/** A reader of what follows the version and flags of a FullBox, which it checks. */
export function fullBoxReader(box: Box, version = 0, flags?: number): ByteReader {
  const reader = new ByteReader(box.content);
  assertEquals(reader.u8(), version, `${box.type} has another version`);
  const found = reader.u24();
  if (flags !== undefined) assertEquals(found, flags, `${box.type} has other flags`);
  return reader;
}

/** The next 64-bit integer. */
export function readU64(reader: ByteReader): number {
  return reader.u32() * 2 ** 32 + reader.u32();
}

/** A sample as its fragment has it. */
export interface ReadSample {
  readonly data: Uint8Array;
  readonly duration: number;
  readonly compositionOffset: number;
  readonly flags: number;
}

/** A fragment. */
export interface ReadFragment {
  readonly sequence: number;
  readonly tracks: readonly {
    readonly id: number;
    readonly baseDecodeTime: number;
    readonly samples: readonly ReadSample[];
  }[];
}

/**
 * The fragments in `bytes`, which hold nothing else but `styp` and `prft` (ISO/IEC 14496-12 8.8).
 *
 * Fails unless each is a `moof` with its `mdat` right behind it, each `traf` has one `tfhd` with
 * default-base-is-moof, one `tfdt` and one `trun`, both of version 1, and the samples fill the
 * `mdat` from its first to its last byte (ISO/IEC 23000-19 7.3.2.3, 7.5.14 to 7.5.17).
 */
export function readFragments(bytes: Uint8Array): ReadFragment[] {
  const boxes = boxesOf(bytes);
  assert(/^((styp )?(prft )?moof mdat ?)*$/.test(boxes.map(({ type }) => type).join(" ")));
  const fragments: ReadFragment[] = [];
  for (const [index, moof] of boxes.entries()) {
    if (moof.type !== "moof") continue;
    const mdat = boxes[index + 1];
    assert(mdat?.type === "mdat" && mdat.at === moof.at + moof.size);
    assert(/^mfhd( traf\(tfhd tfdt trun\))+$/.test(outline(moof.boxes)), outline(moof.boxes));
    let at = mdat.at + 8;
    const tracks = find(moof.boxes, "traf").map((traf) => {
      const track = readTraf(traf, { bytes, moofAt: moof.at, at });
      for (const { data } of track.samples) at += data.length;
      return track;
    });
    assertEquals(at, mdat.at + mdat.size, "The samples are not all that is in mdat");
    const sequence = fullBoxReader(findOne(moof.boxes, "mfhd")).u32();
    fragments.push({ sequence, tracks });
  }
  return fragments;
}

function readTraf(traf: Box, data: { bytes: Uint8Array; moofAt: number; at: number }) {
  const header = findOne(traf.boxes, "tfhd");
  const headerFlags = new ByteReader(header.content).u32();
  assertEquals(headerFlags & 0x3f_ffff & ~0x38, 0x2_0000, "default-base-is-moof, and no base");
  const tfhd = fullBoxReader(header);
  const id = tfhd.u32();
  const defaults = {
    duration: headerFlags & 0x8 ? tfhd.u32() : undefined,
    size: headerFlags & 0x10 ? tfhd.u32() : undefined,
    flags: headerFlags & 0x20 ? tfhd.u32() : undefined,
  };
  assertEquals(tfhd.remaining, 0);
  const tfdt = fullBoxReader(findOne(traf.boxes, "tfdt"), 1, 0);
  const baseDecodeTime = readU64(tfdt);
  assertEquals(tfdt.remaining, 0);
  const run = findOne(traf.boxes, "trun");
  const flags = new ByteReader(run.content).u32() & 0xff_ffff;
  const trun = fullBoxReader(run, 1);
  const count = trun.u32();
  assertEquals(flags & ~0xf05, 0);
  assert(flags & 1, "trun has no data offset");
  assertEquals(data.moofAt + trun.i32(), data.at, "trun has another data offset");
  const firstFlags = flags & 4 ? trun.u32() : undefined;
  let { at } = data;
  const samples: ReadSample[] = [];
  for (let index = 0; index < count; index++) {
    const duration = flags & 0x100 ? trun.u32() : defaults.duration;
    const size = flags & 0x200 ? trun.u32() : defaults.size;
    const own = flags & 0x400 ? trun.u32() : defaults.flags;
    const sampleFlags = index === 0 ? firstFlags ?? own : own;
    const compositionOffset = flags & 0x800 ? trun.i32() : 0;
    assert(duration !== undefined && size !== undefined && sampleFlags !== undefined);
    const bytes = data.bytes.subarray(at, at + size);
    samples.push({ data: bytes, duration, compositionOffset, flags: sampleFlags });
    at += size;
  }
  assertEquals(trun.remaining, 0);
  return { id, baseDecodeTime, samples };
}

/** A track and its packets as FFmpeg's demuxer gives them. */
export interface DemuxedTrack {
  /** FFmpeg's name of the codec. */
  readonly codec: string;
  readonly timescale: number;
  readonly extradata: Uint8Array | undefined;
  readonly width: number;
  readonly height: number;
  readonly sampleRate: number;
  readonly channels: number;
  readonly packets: readonly DemuxedPacket[];
}

/** A packet; times are in ticks. */
export interface DemuxedPacket {
  readonly dts: number;
  readonly pts: number;
  readonly duration: number;
  readonly key: boolean;
  readonly data: Uint8Array;
}

/** What FFmpeg's demuxer finds in a file, with nothing parsed or filled in. */
export async function demux(file: Uint8Array): Promise<{
  readonly video: DemuxedTrack | undefined;
  readonly audio: DemuxedTrack | undefined;
}> {
  const path = await Deno.makeTempFile({ suffix: ".mp4" });
  const context = new FormatContext();
  const packet = new Packet();
  try {
    await Deno.writeFile(path, file);
    context.allocContext();
    packet.alloc();
    context.setFlags(AVFMT_FLAG_NOFILLIN, AVFMT_FLAG_NOPARSE);
    check(await context.openInput(path, InputFormat.findInputFormat("mp4")), "open the file");
    const tracks = context.streams.map(({ codecpar, timeBase }) => {
      assertEquals(timeBase.num, 1);
      return {
        kind: codecpar.codecType === AVMEDIA_TYPE_VIDEO ? "video" : "audio",
        codec: avGetCodecName(codecpar.codecId) ?? "unknown",
        timescale: timeBase.den,
        extradata: codecpar.extradata ? new Uint8Array(codecpar.extradata) : undefined,
        width: codecpar.width,
        height: codecpar.height,
        sampleRate: codecpar.sampleRate,
        channels: codecpar.channels,
        packets: [] as DemuxedPacket[],
      };
    });
    while (true) {
      const code = await context.readFrame(packet);
      if (code === AVERROR_EOF) break;
      check(code, "read a packet");
      tracks[packet.streamIndex]?.packets.push({
        dts: Number(packet.dts),
        pts: Number(packet.pts),
        duration: Number(packet.duration),
        key: packet.isKeyframe,
        data: new Uint8Array(packet.data ?? []),
      });
      packet.unref();
    }
    const [video, audio] = ["video", "audio"].map((kind) =>
      tracks.find((track) => track.kind === kind)
    );
    return { video, audio };
  } finally {
    await context.closeInput();
    packet.free();
    await Deno.remove(path);
  }
}

/** The packets of a clip as frames, `shiftUs` later. */
export function framesOf(clip: Clip, shiftUs = 0): MediaFrame[] {
  const configs = {
    video: clip.video && videoConfig(clip.video, clip.packets),
    audio: clip.audio && audioConfig(clip.audio, clip.packets),
  };
  const counts = { video: 0, audio: 0 };
  return clip.packets.map(({ kind, dtsUs, ptsUs, key, data }) => {
    const sequence = counts[kind]++;
    const [dts, pts] = [dtsUs + shiftUs, ptsUs + shiftUs];
    return { kind, sequence, dts, pts, key, config: configs[kind], data } as MediaFrame;
  });
}

function videoConfig(track: ClipTrack, packets: readonly ClipPacket[]): VideoConfig {
  const { codec, extradata = new Uint8Array() } = track;
  switch (codec) {
    case "h264":
      return h264ConfigFromAvcC(extradata);
    case "hevc":
      return h265ConfigFromHvcC(extradata);
    case "av1":
      return av1Config(extradata);
    default:
      return vp9Config(firstOf("video", packets));
  }
}

function audioConfig(track: ClipTrack, packets: readonly ClipPacket[]): AudioConfig {
  const { extradata = new Uint8Array(), sampleRate, channels } = track;
  switch (track.codec) {
    case "aac":
      return aacConfig(extradata);
    case "opus":
      return opusConfig(extradata);
    case "pcm_alaw":
      return alawConfig(sampleRate, channels);
    case "pcm_mulaw":
      return ulawConfig(sampleRate, channels);
    default:
      return mp3Config(firstOf("audio", packets));
  }
}

function firstOf(kind: "video" | "audio", packets: readonly ClipPacket[]): Uint8Array {
  return packets.find((packet) => packet.kind === kind)?.data ?? new Uint8Array();
}
