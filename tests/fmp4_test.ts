import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ALL_FORMATS, BufferSource, EncodedPacketSink, Input } from "mediabunny";
import { ByteReader, concat } from "../src/bytes.ts";
import type { AudioConfig, VideoConfig } from "../src/codecs/config.ts";
import { alawConfig } from "../src/codecs/g711.ts";
import { initSegment, timescaleOf } from "../src/formats/mp4.ts";
import { chunkOf, fmp4, fmp4Init, fmp4Tracks, mimeTypeOf } from "../src/fmp4.ts";
import type { MediaFrame } from "../src/frame.ts";
import type { FormatTracks } from "../src/mux.ts";
import { type ClipOptions, makeClip } from "./support/ffmpeg.ts";
import { canonical } from "./support/ffmpeg/canonical.ts";
import { pushFrames, pushHeaders, Rig } from "./support/engines.ts";
import { aac, h264, OTHER_ASC } from "./support/frames.ts";
import {
  boxesOf,
  demux,
  type DemuxedPacket,
  find,
  findOne,
  framesOf,
  fullBoxReader,
  outline,
  readFragments,
  readU64,
} from "./support/mp4.ts";
import { writeFrame } from "./support/formats.ts";

/** Every codec, with and without B-frames, and tracks alone. */
const CLIPS: readonly ClipOptions[] = [
  { video: "h264", audio: "aac", bFrames: 2 },
  { video: "hevc", audio: "opus", bFrames: 3 },
  { video: "av1", audio: "mp3" },
  { video: "vp9", audio: "pcm_alaw" },
  { video: "none", audio: "pcm_mulaw", channels: 2 },
  { video: "h264", audio: "none", fps: 30 },
];

const ONLY_SECOND = { seconds: 1, gop: 10 };

const RECORD = Uint8Array.of(1);

function frame(kind: "video" | "audio", dts: number, init: Partial<MediaFrame> = {}): MediaFrame {
  const config = kind === "video" ? VIDEO : AUDIO;
  const data = Uint8Array.of(0, 0, 0, 1, 0x65);
  return { kind, sequence: 0, dts, pts: dts, key: true, config, data, ...init } as MediaFrame;
}

const VIDEO = h264();
const AUDIO = aac();
const UNCARRIED: FormatTracks = {
  video: { kind: "video", fourcc: "vp08", codec: "vp08", description: RECORD },
  audio: { kind: "audio", fourcc: "fLaC", codec: "flac", sampleRate: 1, numberOfChannels: 1 },
};

/** The tracks of frames, which keep their configurations. */
function tracksOf(frames: readonly MediaFrame[]): FormatTracks {
  const configOf = (kind: "video" | "audio") => frames.find((one) => one.kind === kind)?.config;
  return { video: configOf("video") as VideoConfig, audio: configOf("audio") as AudioConfig };
}

/** Each frame with its duration, as a mux gives them to a format that needs it. */
function timed(frames: readonly MediaFrame[]): [MediaFrame, number][] {
  const lastUs = { video: 0, audio: 0 };
  return frames.map((one, index) => {
    const next = frames.slice(index + 1).find(({ kind }) => kind === one.kind);
    if (next !== undefined) lastUs[one.kind] = next.dts - one.dts;
    return [one, lastUs[one.kind]];
  });
}

/** A file of a fragment a frame. */
function fileOf(frames: readonly MediaFrame[]): Uint8Array {
  const format = fmp4();
  const parts = [format.header(tracksOf(frames), "start")];
  for (const [one, durationUs] of timed(frames)) parts.push(writeFrame(format, one, durationUs));
  return concat(parts);
}

/** A file of a fragment a GOP, or half a second of audio. */
function chunkedFileOf(frames: readonly MediaFrame[]): Uint8Array {
  const parts = [fmp4Init(tracksOf(frames))];
  let sequence = 0;
  let begin = 0;
  const { video } = tracksOf(frames);
  for (let index = 1; index <= frames.length; index++) {
    const next = frames[index];
    const first = frames[begin];
    assert(first);
    const cut = next === undefined || (video ? next.kind === "video" && next.key : false) ||
      (!video && next.dts - first.dts >= 500_000);
    if (!cut) continue;
    const later = frames.slice(index);
    const endOf = (kind: "video" | "audio") => later.find((one) => one.kind === kind)?.dts;
    const ends = { video: endOf("video"), audio: endOf("audio") };
    sequence++;
    const producedUnixMs = 1_700_000_000_000 + first.dts / 1000;
    const options = { sequence, startsSegment: sequence % 2 === 1, producedUnixMs };
    parts.push(chunkOf(frames.slice(begin, index), ends, options));
    begin = index;
  }
  return concat(parts);
}

/** The packets that a demuxer has to find of the frames of one kind. */
function packetsOf(frames: readonly MediaFrame[], kind: "video" | "audio"): DemuxedPacket[] {
  return timed(frames).filter(([one]) => one.kind === kind).map(([one, durationUs]) => {
    const { dts, pts, key, config, data } = one;
    const timescale = timescaleOf(config);
    const ticks = (us: number) => Math.round(us * timescale / 1e6);
    const codec = config.fourcc === "av01" ? "av1" : "";
    const plain = canonical(codec, data.slice(), { extradata: undefined, strip: false });
    const duration = ticks(dts + durationUs) - ticks(dts);
    return { dts: ticks(dts), pts: ticks(pts), duration, key, data: plain };
  });
}

const FFMPEG_NAMES: Readonly<Record<string, string>> = {
  ...{ avc1: "h264", hvc1: "hevc", av01: "av1", vp09: "vp9" },
  ...{ mp4a: "aac", Opus: "opus", ".mp3": "mp3", alaw: "pcm_alaw", ulaw: "pcm_mulaw" },
};

const MEDIABUNNY_NAMES: Readonly<Record<string, string>> = {
  ...FFMPEG_NAMES,
  ...{ avc1: "avc", alaw: "alaw", ulaw: "ulaw" },
};

for (const options of CLIPS) {
  const name = [options.video, options.audio].filter((codec) => codec !== "none").join(" and ");

  Deno.test(`fmp4() writes ${name} that FFmpeg reads, each frame or GOP a fragment`, async () => {
    const clip = await makeClip({ ...options, ...ONLY_SECOND });
    // Ticks of audio and of video beyond 32 bits: 56 hours at 90 kHz are 1.8e10.
    for (const shiftUs of [0, 200_000_000_123]) {
      const frames = framesOf(clip, shiftUs);
      for (const file of [fileOf(frames), chunkedFileOf(frames)]) {
        const found = await demux(file);
        for (const kind of ["video", "audio"] as const) {
          const { [kind]: config } = tracksOf(frames);
          const track = found[kind];
          assertEquals(track?.codec, config && FFMPEG_NAMES[config.fourcc]);
          if (track === undefined || config === undefined) continue;
          assertEquals(track.timescale, timescaleOf(config));
          assertEquals(track.packets, packetsOf(frames, kind));
          if (config.kind === "audio") {
            assertEquals([track.sampleRate, track.channels], [
              config.sampleRate,
              config.numberOfChannels,
            ]);
          } else {
            assertEquals([track.width, track.height], [160, 120]);
          }
          // FFmpeg keeps the records of these as they are, and an OpusHead of the dOps box.
          if (["avc1", "hvc1", "av01", "mp4a", "Opus"].includes(config.fourcc)) {
            assertEquals(track.extradata, Uint8Array.from(config.description ?? []));
          }
        }
      }
    }
  });

  Deno.test(`fmp4() writes ${name} that Mediabunny reads`, async () => {
    const clip = await makeClip({ ...options, ...ONLY_SECOND });
    const frames = framesOf(clip, 200_000_000_123);
    for (const file of [fileOf(frames), chunkedFileOf(frames)]) {
      using input = new Input({ source: new BufferSource(file), formats: ALL_FORMATS });
      for (const kind of ["video", "audio"] as const) {
        const track = kind === "video"
          ? await input.getPrimaryVideoTrack()
          : await input.getPrimaryAudioTrack();
        const { [kind]: config } = tracksOf(frames);
        assertEquals(track === null, config === undefined);
        if (track === null || config === undefined) continue;
        const timescale = timescaleOf(config);
        assertEquals(await track.getCodec(), MEDIABUNNY_NAMES[config.fourcc] ?? null);
        assertEquals(await track.getTimeResolution(), timescale);
        const found: Omit<DemuxedPacket, "dts">[] = [];
        for await (const packet of new EncodedPacketSink(track).packets()) {
          const [pts, duration] = [packet.timestamp, packet.duration].map((seconds) =>
            Math.round(seconds * timescale)
          );
          assert(pts !== undefined && duration !== undefined);
          found.push({ pts, duration, key: packet.type === "key", data: packet.data.slice() });
        }
        const expected = packetsOf(frames, kind).map(({ dts: _, ...packet }) => packet);
        assertEquals(found, expected);
      }
    }
  });
}

Deno.test("initSegment() with mediaStart makes readers begin there", async () => {
  const clip = await makeClip({ video: "none", ...ONLY_SECOND });
  const frames = framesOf(clip);
  const { audio } = tracksOf(frames);
  assert(audio);
  const timescale = timescaleOf(audio);
  const first = packetsOf(frames, "audio")[0]?.pts ?? 0;
  const init = initSegment([{ id: 2, config: audio, timescale, mediaStart: first + 1024 }]);
  const file = concat([init, chunkOf(frames, {}, { sequence: 1 })]);
  const found = await demux(file);
  assertEquals(found.audio?.packets[0]?.pts, -1024);
  using input = new Input({ source: new BufferSource(file), formats: ALL_FORMATS });
  const track = await input.getPrimaryAudioTrack();
  assertEquals(await track?.getFirstTimestamp(), -1024 / timescale);
});

Deno.test("mimeTypeOf() names the codecs that MP4 can carry", () => {
  const opus = { kind: "audio", fourcc: "Opus", codec: "opus", sampleRate: 48_000 } as const;
  const mono = { numberOfChannels: 1 };
  const mp3 = { ...opus, ...mono, fourcc: ".mp3", codec: "mp3" };
  const cases: [FormatTracks, string | undefined][] = [
    [{ video: VIDEO, audio: AUDIO }, 'video/mp4; codecs="avc1.42c01e,mp4a.40.2"'],
    [{ video: VIDEO, audio: undefined }, 'video/mp4; codecs="avc1.42c01e"'],
    [{ video: undefined, audio: { ...opus, ...mono } }, 'audio/mp4; codecs="opus"'],
    [{ video: VIDEO, audio: mp3 }, 'video/mp4; codecs="avc1.42c01e,mp4a.6B"'],
    [{ video: undefined, audio: alawConfig() }, 'audio/mp4; codecs="alaw"'],
    [{ video: UNCARRIED.video, audio: AUDIO }, 'audio/mp4; codecs="mp4a.40.2"'],
    [{ video: VIDEO, audio: UNCARRIED.audio }, 'video/mp4; codecs="avc1.42c01e"'],
    [UNCARRIED, undefined],
    [{ video: undefined, audio: undefined }, undefined],
  ];
  for (const [tracks, expected] of cases) assertEquals(mimeTypeOf(tracks), expected);
});

Deno.test("fmp4() leaves out what MP4 can't carry", () => {
  const { video, audio } = UNCARRIED;
  assert(video && audio);
  assertEquals(fmp4Tracks({ video: VIDEO, audio }), { video: VIDEO, audio: undefined });
  const format = fmp4();
  assertEquals(format.header(UNCARRIED, "start"), new Uint8Array());
  assertEquals(
    writeFrame(format, frame("video", 0, { config: video } as Partial<MediaFrame>), 1),
    new Uint8Array(),
  );
  assertEquals(
    writeFrame(format, frame("audio", 0, { config: audio } as Partial<MediaFrame>), 1),
    new Uint8Array(),
  );
  const boxes = boxesOf(format.header({ video, audio: AUDIO }, "change"));
  assertEquals(find(boxes, "moov/trak").length, 1);
  // What is left out takes no number.
  assertEquals(readFragments(writeFrame(format, frame("audio", 0), 1))[0]?.sequence, 1);
});

Deno.test("fmp4() numbers its fragments and lets each frame last to the next", () => {
  const format = fmp4();
  assert(format.needsDuration);
  const bytes = concat([
    writeFrame(format, frame("video", 40_000, { pts: 120_400 }), 40_600),
    writeFrame(format, frame("audio", 81_333), 21_334),
    writeFrame(format, frame("video", 80_600, { pts: 40_000, key: false }), 1_000_000),
  ]);
  const told = readFragments(bytes).map(({ sequence, tracks }) =>
    tracks.map(({ id, baseDecodeTime, samples }) => [
      sequence,
      id,
      baseDecodeTime,
      ...samples.flatMap(({ duration, compositionOffset, flags }) => [
        duration,
        compositionOffset,
        flags,
      ]),
    ])
  );
  assertEquals(told, [
    [[1, 1, 3600, 3654, 7236, 0x0200_0000]],
    [[2, 2, 3904, 1024, 0, 0x0200_0000]],
    [[3, 1, 7254, 90_000, -3654, 0x0101_0000]],
  ]);
});

Deno.test("fmp4() gives a frame of unknown duration the usual one of its codec", () => {
  const shape = { kind: "audio", sampleRate: 48_000, numberOfChannels: 1 } as const;
  const config = (fourcc: string) => ({ ...shape, fourcc, codec: fourcc });
  const data = new Uint8Array(200);
  const cases: [MediaFrame, number][] = [
    [frame("video", 0), 3600],
    [frame("video", 0, { config: { ...VIDEO, frameRate: 50 } }), 1800],
    [frame("video", 0, { config: { ...VIDEO, frameRate: 0 } }), 3600],
    [frame("audio", 0), 1024],
    [frame("audio", 0, { config: config(".mp3") } as Partial<MediaFrame>), 1152],
    [frame("audio", 0, { config: config("Opus") } as Partial<MediaFrame>), 960],
    [frame("audio", 0, { config: alawConfig(8000, 1), data } as Partial<MediaFrame>), 200],
  ];
  for (const [one, expected] of cases) {
    for (const durationUs of [undefined, 0]) {
      const [fragment] = readFragments(writeFrame(fmp4(), one, durationUs));
      assertEquals(fragment?.tracks[0]?.samples[0]?.duration, expected);
    }
  }
});

Deno.test("chunkOf() writes both tracks from one time to another", () => {
  const frames = [
    frame("video", 1_000_000),
    frame("audio", 1_000_000),
    frame("audio", 1_021_333),
    frame("video", 1_033_333, { key: false }),
  ];
  const ends = { video: 1_066_667, audio: 1_042_667 };
  const bytes = chunkOf(frames, ends, { sequence: 5, startsSegment: true, producedUnixMs: 8_000 });
  const boxes = boxesOf(bytes);
  assertEquals(
    outline(boxes).replaceAll("tfhd tfdt trun", "…"),
    "styp prft moof(mfhd traf(…) traf(…)) mdat",
  );
  assertEquals(new TextDecoder().decode(findOne(boxes, "styp").content), "msdh\0\0\0\0msdh");
  const prft = fullBoxReader(findOne(boxes, "prft"), 1, 24);
  assertEquals([prft.u32(), prft.u32() - 2_208_988_800, prft.u32(), readU64(prft)], [
    1,
    8,
    0,
    90_000,
  ]);
  const [{ sequence, tracks } = { sequence: 0, tracks: [] }] = readFragments(bytes);
  assertEquals(sequence, 5);
  const told = tracks.map(({ id, baseDecodeTime, samples }) => [
    id,
    baseDecodeTime,
    ...samples.map(({ duration }) => duration),
  ]);
  assertEquals(told, [[1, 90_000, 3000, 3000], [2, 48_000, 1024, 1024]]);
  const alone = chunkOf(frames.slice(0, 1), ends, { sequence: 6, startsSegment: true });
  assertEquals(
    new TextDecoder().decode(findOne(boxesOf(alone), "styp").content),
    "msdh\0\0\0\0msdhcmfs",
  );
  const plain = chunkOf(frames, ends, { sequence: 6 });
  assertEquals(boxesOf(plain).map(({ type }) => type), ["moof", "mdat"]);
});

Deno.test("chunkOf() lets the last frame last as long as the one before if its end is unknown", () => {
  const [chunk] = readFragments(
    chunkOf([frame("video", 0), frame("video", 20_000)], {}, { sequence: 1 }),
  );
  assertEquals(chunk?.tracks[0]?.samples.map(({ duration }) => duration), [1800, 1800]);
});

Deno.test("chunkOf() has no place for a change of a configuration, or for no frames", () => {
  const frames = [
    frame("video", 0),
    frame("video", 1, { config: h264(640, 480) } as Partial<MediaFrame>),
  ];
  assertThrows(
    () => chunkOf(frames, {}, { sequence: 1 }),
    RangeError,
    "its video has more than one",
  );
  assertEquals(chunkOf([], {}, { sequence: 1 }), new Uint8Array());
});

Deno.test("chunkOf() begins no track before 0 and ends none before it begins", () => {
  const frames = [
    frame("video", -50_000, { pts: -10_000 }),
    frame("video", 30_000),
    frame("video", 30_000),
  ];
  const [chunk] = readFragments(chunkOf(frames, { video: 10_000 }, { sequence: 1 }));
  const track = chunk?.tracks[0];
  assertEquals(track?.baseDecodeTime, 0);
  assertEquals(
    track?.samples.map(({ duration, compositionOffset }) => [duration, compositionOffset]),
    [
      [2700, -900],
      [0, 0],
      [0, 0],
    ],
  );
  const pause = [frame("video", 0), frame("video", 1e12)];
  const [long] = readFragments(chunkOf(pause, {}, { sequence: 1 }));
  assertEquals(long?.tracks[0]?.samples[0]?.duration, 2 ** 32 - 1);
});

Deno.test("chunkOf() writes AV1 without temporal delimiters", () => {
  const config = { kind: "video", fourcc: "av01", codec: "av01.0.00M.08", description: RECORD };
  const dataOf = (...data: number[]) => {
    const init = { config, data: Uint8Array.from(data) } as Partial<MediaFrame>;
    return readFragments(chunkOf([frame("video", 0, init)], {}, { sequence: 1 }))[0]
      ?.tracks[0]?.samples[0]?.data;
  };
  assertEquals(dataOf(0x12, 0, 0x32, 1, 7), Uint8Array.of(0x32, 1, 7));
  assertEquals(dataOf(0x32, 1, 7), Uint8Array.of(0x32, 1, 7));
});

Deno.test("chunkOf() lets no rounding add up", () => {
  const gaps = fc.array(fc.nat({ max: 100_000 }), { minLength: 1, maxLength: 60 });
  const start = fc.nat({ max: 2 ** 45 });
  const rate = fc.constantFrom(8000, 11_025, 44_100, 48_000);
  fc.assert(
    fc.property(gaps, start, rate, (gaps, startUs, sampleRate) => {
      const config = { ...AUDIO, sampleRate } as AudioConfig;
      let dts = startUs;
      const times = [dts, ...gaps.map((gap) => dts += gap)];
      const frames = times.slice(0, -1).map((at) =>
        frame("audio", at, { config } as Partial<MediaFrame>)
      );
      const [chunk] = readFragments(chunkOf(frames, { audio: times.at(-1) }, { sequence: 1 }));
      const track = chunk?.tracks[0];
      let ticks = track?.baseDecodeTime ?? NaN;
      track?.samples.forEach(({ duration }, index) => {
        assert(Math.abs(ticks - (times[index] ?? NaN) * sampleRate / 1e6) <= 0.51);
        ticks += duration;
      });
      assert(Math.abs(ticks - dts * sampleRate / 1e6) <= 0.51);
    }),
    { seed: 88, numRuns: 200 },
  );
});

Deno.test("fmp4() announces a change as a new initialization segment", async () => {
  const clips = [
    await makeClip({ bFrames: 2, ...ONLY_SECOND }),
    await makeClip({ width: 320, height: 240, sampleRate: 44_100, ...ONLY_SECOND }),
  ];
  const format = fmp4();
  let shiftUs = 0;
  const parts: Uint8Array[] = [];
  const halves: MediaFrame[][] = [];
  for (const clip of clips) {
    const frames = framesOf(clip, shiftUs);
    parts.push(format.header(tracksOf(frames), shiftUs === 0 ? "start" : "change"));
    for (const [one, durationUs] of timed(frames)) parts.push(writeFrame(format, one, durationUs));
    shiftUs += clip.durationUs;
    halves.push(frames);
  }
  const bytes = concat(parts);
  const starts = boxesOf(bytes).filter(({ type }) => type === "ftyp").map(({ at }) => at);
  assertEquals(starts.length, 2);
  let sequence = 0;
  for (const [index, frames] of halves.entries()) {
    const half = bytes.subarray(starts[index], starts[index + 1]);
    const found = await demux(half);
    assertEquals(found.video?.packets, packetsOf(frames, "video"));
    assertEquals(found.audio?.packets, packetsOf(frames, "audio"));
    assertEquals(found.video?.width, index === 0 ? 160 : 320);
    assertEquals(found.audio?.timescale, index === 0 ? 48_000 : 44_100);
    const media = half.subarray(fmp4Init(tracksOf(frames)).length);
    for (const fragment of readFragments(media)) assertEquals(fragment.sequence, ++sequence);
  }
});

Deno.test("Subscriber.mux() gives fMP4 whose every chunk is whole boxes", async () => {
  await using rig = new Rig();
  const publisher = await rig.engine.publish("live/a", { type: "Test" });
  pushHeaders(publisher);
  const subscriber = await rig.engine.subscribe("live/a", { type: "fMP4" });
  const stream = await subscriber.mux(fmp4);
  pushFrames(publisher, "V1000 a1000 a1020 v1040 a1040 v1080");
  publisher.audio.setASC(OTHER_ASC);
  pushFrames(publisher, "a1060 a1085");
  publisher.close();
  let timescales: number[] = [];
  const told: string[] = [];
  for await (const chunk of stream) {
    const boxes = boxesOf(chunk);
    for (const [index, { type, at, boxes: inner }] of boxes.entries()) {
      if (type === "moov") {
        timescales = find(inner, "trak/mdia/mdhd").map(({ content }) =>
          new ByteReader(content.subarray(12)).u32()
        );
        told.push(timescales.join(" "));
      } else if (type === "moof") {
        for (const { tracks } of readFragments(chunk.subarray(at, boxes[index + 2]?.at))) {
          const [{ id, baseDecodeTime, samples } = { id: 0, baseDecodeTime: 0, samples: [] }] =
            tracks;
          const ms = (ticks: number) => Math.round(ticks * 1000 / (timescales[id - 1] ?? NaN));
          const lasts = samples.map(({ duration }) => ms(duration));
          told.push(`${id} at ${ms(baseDecodeTime)} for ${lasts}`);
        }
      }
    }
  }
  assertEquals(told, [
    "90000 48000",
    "1 at 1000 for 40",
    "2 at 1000 for 20",
    "2 at 1020 for 20",
    "1 at 1040 for 40",
    "2 at 1040 for 20",
    "90000 44100",
    "2 at 1060 for 25",
    "1 at 1080 for 40",
    "2 at 1085 for 25",
  ]);
});
