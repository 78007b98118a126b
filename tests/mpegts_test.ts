import { assert, assertEquals } from "@std/assert";
import { concat } from "../src/bytes.ts";
import type { AudioConfig, VideoConfig } from "../src/codecs/config.ts";
import { audioConfigFrom, videoConfigFrom } from "../src/codecs/description.ts";
import { mp3Config } from "../src/codecs/mp3.ts";
import { TsMuxer } from "../src/formats/mpegts.ts";
import type { MediaFrame } from "../src/frame.ts";
import { mpegts } from "../src/mpegts.ts";
import { decode } from "./e2e/decode.ts";
import { pushFrames, pushHeaders, Rig } from "./support/engines.ts";
import {
  type Clip,
  type ClipOptions,
  makeClip,
  playAll,
  type PlayedPacket,
} from "./support/ffmpeg.ts";
import { canonical } from "./support/ffmpeg/canonical.ts";
import { readFixture } from "./support/codec_fixtures.ts";
import { aac, h264 } from "./support/frames.ts";
import { walkTs } from "./support/ts_walker.ts";
import { writeFrame } from "./support/formats.ts";

const WRAP = 2 ** 33;

/** The 90 kHz clock that is half a second ahead of `us`. */
function ticks(us: number): number {
  return (Math.round(us * 0.09) + 45_000) % WRAP;
}

interface ClipFrames {
  readonly video: VideoConfig | undefined;
  readonly audio: AudioConfig | undefined;
  readonly frames: readonly MediaFrame[];
}

/** What a publisher of `clip` has in its tracks. */
function framesOf(clip: Clip, shiftUs = 0): ClipFrames {
  const record = (track: Clip["video"]) => track?.extradata ?? new Uint8Array();
  const fourcc = clip.video?.codec === "hevc" ? "hvc1" : "avc1";
  const video = clip.video && videoConfigFrom(fourcc, record(clip.video));
  const firstAudio = clip.packets.find(({ kind }) => kind === "audio");
  const audio = clip.audio && firstAudio &&
    (clip.audio.codec === "mp3"
      ? mp3Config(firstAudio.data)
      : audioConfigFrom(clip.audio.codec === "opus" ? "Opus" : "mp4a", record(clip.audio)));
  const frames = clip.packets.map((packet, sequence) =>
    ({
      kind: packet.kind,
      sequence,
      dts: packet.dtsUs + shiftUs,
      pts: packet.ptsUs + shiftUs,
      key: packet.key,
      config: packet.kind === "video" ? video : audio,
      data: packet.data,
    }) as MediaFrame
  );
  return { video, audio, frames };
}

function mux({ video, audio, frames }: ClipFrames): Uint8Array {
  const format = mpegts();
  return concat([
    format.header({ video, audio }, "start"),
    ...frames.map((frame) => writeFrame(format, frame)),
  ]);
}

async function played(bytes: Uint8Array): Promise<PlayedPacket[]> {
  const path = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeFile(path, bytes);
    return await playAll(path, { format: "mpegts" });
  } finally {
    await Deno.remove(path);
  }
}

/** A packet as both ends have it: its kind, times, key, and its bytes in one form. */
function told(
  codec: string,
  packet: Pick<PlayedPacket, "kind" | "dts" | "pts" | "key" | "data">,
  extradata: Uint8Array | undefined,
): string {
  const data = canonical(codec, packet.data, { extradata, strip: true });
  const wrapped = (time: number) => (time + WRAP) % WRAP;
  return `${packet.kind} ${codec} ${wrapped(packet.dts)} ${wrapped(packet.pts)} ` +
    `${packet.key} ${data.toHex()}`;
}

function toldFrames(clip: Clip, frames: readonly MediaFrame[], kind: "video" | "audio"): string[] {
  return frames.filter((frame) => frame.kind === kind).map((frame) =>
    told(clip[kind]?.codec ?? "", {
      ...frame,
      data: frame.data as Uint8Array<ArrayBuffer>,
      dts: ticks(frame.dts),
      pts: ticks(frame.pts),
    }, Uint8Array.of(1))
  );
}

function assertSame(clip: Clip, frames: readonly MediaFrame[], packets: PlayedPacket[]): void {
  assert(packets.every(({ timeBase }) => timeBase.den === 90_000));
  for (const kind of ["video", "audio"] as const) {
    const found = packets.filter((packet) => packet.kind === kind)
      .map((packet) => told(packet.codec, packet, packet.extradata));
    assertEquals(found, toldFrames(clip, frames, kind));
  }
}

const clips: readonly { readonly name: string; readonly clip: ClipOptions }[] = [
  { name: "H.264 with B-frames and AAC", clip: { video: "h264", audio: "aac", bFrames: 2 } },
  {
    name: "large H.264 pictures",
    clip: { audio: "none", width: 1280, height: 720, videoBitrate: 30_000_000, seconds: 0.4 },
  },
  { name: "H.265 with B-frames and AAC", clip: { video: "hevc", audio: "aac", bFrames: 2 } },
  { name: "H.264 and MP3", clip: { video: "h264", audio: "mp3" } },
  { name: "H.264 and MP3 of MPEG-2", clip: { video: "h264", audio: "mp3", sampleRate: 22_050 } },
  { name: "H.264 and Opus", clip: { video: "h264", audio: "opus" } },
  { name: "H.264 and Opus in stereo", clip: { video: "h264", audio: "opus", channels: 2 } },
  { name: "AAC alone", clip: { video: "none", audio: "aac" } },
  { name: "Opus alone", clip: { video: "none", audio: "opus" } },
  { name: "H.264 alone", clip: { video: "h264", audio: "none", bFrames: 3 } },
  { name: "H.264 at 5 a second and AAC", clip: { video: "h264", audio: "aac", fps: 5 } },
];

for (const { name, clip: options } of clips) {
  Deno.test(`mpegts() writes ${name} so that a player reads the same packets`, async () => {
    const clip = await makeClip(options);
    const source = framesOf(clip);
    const bytes = mux(source);
    const walked = walkTs(bytes);
    assertEquals(walked.pes.length, source.frames.length);
    let last = -Infinity;
    for (const pcr of walked.pcrs) {
      assert(pcr > last, "the clock goes forward");
      assert(last === -Infinity || pcr - last <= 2_700_000, `${pcr - last} ticks without a clock`);
      last = pcr;
    }
    const keys = source.frames.filter(({ kind, key }) => kind === "video" && key).length;
    assertEquals(walked.maps.length, 1 + keys);
    assertSame(clip, source.frames, await played(bytes));
  });
}

Deno.test("TsMuxer writes segments that play alone and one after the other", async () => {
  const clip = await makeClip({ video: "h264", audio: "aac", bFrames: 2, seconds: 3 });
  const { video, audio, frames } = framesOf(clip);
  const muxer = new TsMuxer();
  muxer.configure({ video, audio });
  const begin = () => ({ frames: [] as MediaFrame[], chunks: [muxer.tables() as Uint8Array] });
  let segment = begin();
  const segments = [segment];
  for (const frame of frames) {
    if (frame.kind === "video" && frame.key) segments.push(segment = begin());
    segment.frames.push(frame);
    segment.chunks.push(muxer.writeFrame(frame));
  }
  // The first one holds what audio there is before the first picture.
  const files = segments.slice(1);
  assertEquals(files.length, 3);
  walkTs(concat(segments.flatMap(({ chunks }) => chunks)));
  for (const { frames, chunks } of files) {
    const bytes = concat(chunks);
    const { order } = walkTs(bytes);
    assertEquals(order.slice(0, 2), ["pmt", "video key"]);
    assertSame(clip, frames, await played(bytes));
  }
});

Deno.test("mpegts() writes what a player decodes to every picture and sound", async () => {
  for (const video of ["h264", "hevc"] as const) {
    const clip = await makeClip({ video, audio: "aac", bFrames: 2 });
    const packets = await played(mux(framesOf(clip)));
    const decoded = await decode(packets.filter(({ kind }) => kind === "video"));
    assertEquals(decoded, Array.from({ length: 50 }, () => "160x120"));
    const sound = packets.filter(({ kind }) => kind === "audio");
    assertEquals((await decode(sound)).length, sound.length);
  }
});

for (const name of ["aac_44100_4_quad", "aac_48000_8_71wide", "aac_32000_6", "opus_48000_8"]) {
  Deno.test(`mpegts() tells a player of the channels of ${name}`, async () => {
    const { extradata, packets } = readFixture(name);
    const audio = audioConfigFrom(name.startsWith("aac") ? "mp4a" : "Opus", extradata);
    const frames = packets.map((data, sequence) => {
      const dts = sequence * 20_000;
      return { kind: "audio", sequence, dts, pts: dts, key: true, config: audio, data } as const;
    });
    const found = await played(mux({ video: undefined, audio, frames }));
    const samples = audio.fourcc === "Opus" ? "960" : "1024";
    assertEquals(await decode(found), packets.map(() => samples));
    if (audio.fourcc !== "Opus") return;
    // Channels, and from the mapping family on.
    const layout = (head?: Uint8Array) => [head?.[9], ...head?.subarray(18) ?? []];
    assertEquals(layout(found[0]?.extradata), layout(extradata));
  });
}

Deno.test("mpegts() goes on over the wrap of the 33-bit clock", async () => {
  const clip = await makeClip({ video: "h264", audio: "aac", bFrames: 2 });
  const source = framesOf(clip, Math.floor(WRAP / 0.09) - 1_500_000);
  const bytes = mux(source);
  const { pcrs, pes } = walkTs(bytes);
  // The stamps wrap half a second before the clock does.
  const wraps = (times: readonly number[]) =>
    times.filter((time, index) => time < (times[index - 1] ?? 0) - 2 ** 32).length;
  const video = pes.filter(({ pid }) => pid === 0x100);
  assertEquals(wraps(video.map(({ dts }) => dts)), 1);
  assertEquals(wraps(pcrs), 1);
  for (const { pcr, dts } of video) {
    assert(pcr !== undefined);
    const leadTicks = (dts - Math.floor(pcr / 300) + WRAP) % WRAP;
    assert(leadTicks === 45_000 || leadTicks === 45_001, `${leadTicks}`);
  }
  assertSame(clip, source.frames, await played(bytes));
});

Deno.test("mpegts() tells a player of another configuration in the middle", async () => {
  const first = await makeClip({ video: "h264", audio: "aac", seconds: 1 });
  const second = await makeClip({
    video: "h264",
    audio: "opus",
    width: 320,
    height: 240,
    seconds: 1,
  });
  const a = framesOf(first);
  const b = framesOf(second, first.durationUs);
  const format = mpegts();
  const bytes = concat([
    format.header(a, "start"),
    ...a.frames.map((frame) => writeFrame(format, frame)),
    format.header(b, "change"),
    ...b.frames.map((frame) => writeFrame(format, frame)),
  ]);
  const { maps } = walkTs(bytes);
  const opus = "101:06:05044f7075737f028001";
  assertEquals(maps.map(({ version, streams }) => `${version} ${streams.join(" ")}`), [
    "0 100:1b 101:0f",
    "0 100:1b 101:0f",
    `1 100:1b ${opus}`,
    `1 100:1b ${opus}`,
  ]);
  const packets = await played(bytes);
  const video = packets.filter(({ kind }) => kind === "video");
  assertEquals(video.length, 50);
  const sizes = await decode(video);
  assertEquals(sizes.filter((size) => size === "160x120").length, 25);
  assertEquals(sizes.filter((size) => size === "320x240").length, 25);
});

Deno.test("mpegts() puts tables at the start, at a change and before keyframes", () => {
  const format = mpegts();
  const config = h264();
  const sound = aac();
  const frame = (kind: "video" | "audio", dts: number, key: boolean) =>
    ({
      kind,
      sequence: 0,
      dts,
      pts: dts,
      key,
      config: kind === "video" ? config : sound,
      data: Uint8Array.of(0, 0, 0, 2, 0x65, 0x88),
    }) as MediaFrame;
  const tracks = { video: config, audio: sound };
  const start = format.header(tracks, "start");
  assertEquals(format.header(tracks, "change"), start);
  const other = { video: config, audio: aac() };
  const before = concat([
    start,
    writeFrame(format, frame("audio", 0, true)),
    writeFrame(format, frame("video", 20_000, true)),
    writeFrame(format, frame("video", 60_000, false)),
    writeFrame(format, frame("video", 100_000, true)),
  ]);
  const unchanged = format.header(tracks, "start");
  const changed = format.header(other, "start");
  assertEquals(format.header(other, "change"), changed);
  // Two changes with nothing between them: each has its own tables.
  const again = format.header(tracks, "change");
  const { order, maps } = walkTs(concat([before, unchanged, changed, again]));
  assertEquals(order, [
    "pmt",
    "clock",
    "audio",
    "pmt",
    "video key",
    "video",
    "pmt",
    "video key",
    "pmt",
    "pmt",
    "pmt",
  ]);
  assertEquals(maps.map(({ version }) => version), [0, 0, 0, 0, 1, 2]);
  const av1: VideoConfig = { kind: "video", fourcc: "av01", codec: "av01" };
  const foreign = { ...frame("video", 200_000, true), config: av1 } as MediaFrame;
  assertEquals(writeFrame(format, foreign).length, 0);
});

Deno.test("Subscriber.mux() gives MPEG-TS whose every chunk is whole packets", async () => {
  await using rig = new Rig();
  const publisher = await rig.engine.publish("live/a", { type: "Test" });
  pushHeaders(publisher);
  const subscriber = await rig.engine.subscribe("live/a", { type: "TS" });
  const stream = await subscriber.mux(mpegts);
  pushFrames(publisher, "V1000 a1000 a1020 v1040 a1040 V1080 a1090 v1120");
  publisher.close();
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) {
    assertEquals(chunk.length % 188, 0);
    chunks.push(chunk);
  }
  // A viewer that reads late starts at the newest key, whose tables come behind those of the start.
  const { order, pes } = walkTs(concat(chunks), { jumps: [0, 0x1000] });
  assertEquals(order, ["pmt", "pmt", "video key", "audio", "video"]);
  assertEquals(pes.map(({ dts }) => dts), [1080, 1090, 1120].map((ms) => ticks(ms * 1000)));
});
