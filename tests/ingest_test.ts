import {
  assert,
  assertEquals,
  assertNotStrictEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { concat } from "../src/bytes.ts";
import type { AudioConfig, VideoConfig } from "../src/codecs/config.ts";
import { h265Config, parseHvcC } from "../src/codecs/h265.ts";
import { joinAnnexB, joinLengthPrefixed, splitAnnexB } from "../src/codecs/nal.ts";
import { Engine } from "../src/engine.ts";
import { EndedError, InvalidDataError } from "../src/errors.ts";
import { enhancedBody } from "../src/formats/flv_enhanced.ts";
import { annexB, type MediaFrame, nalUnits } from "../src/frame.ts";
import { readFixture } from "./support/codec_fixtures.ts";
import {
  aac,
  ASC,
  audioBody,
  audioHeader,
  frameBody,
  h264,
  OTHER_ASC,
  PPS,
  slice,
  sps,
  videoBody,
  videoHeader,
} from "./support/frames.ts";
import { audioOf, discarded, publishing, videoOf } from "./support/publishing.ts";

Deno.test("VideoInput.pushByteStream() makes frames of classic H.264 bodies", () =>
  publishing((publisher) => {
    const { video } = publisher;
    video.pushByteStream(1000, videoHeader());
    video.pushByteStream(1000, videoBody(true, 1, 80));
    video.pushByteStream(1040, videoBody(false, 2, -40));
    const [first, second] = videoOf(publisher);
    assert(first && second);
    assertEquals([first.kind, first.sequence, first.dts, first.pts, first.key], [
      "video",
      0,
      1_000_000,
      1_080_000,
      true,
    ]);
    assertEquals([second.sequence, second.dts, second.pts, second.key], [
      1,
      1_040_000,
      1_000_000,
      false,
    ]);
    assertEquals(first.data, joinLengthPrefixed([slice(true, 1)]));
    assertEquals(first.config, h264());
    assertStrictEquals(second.config, first.config);
    assertEquals(nalUnits(first), [slice(true, 1)]);
    assertEquals(annexB(first), joinAnnexB([slice(true, 1)]));
    assertStrictEquals(annexB(first), annexB(first));
  }));

Deno.test("AudioInput.pushByteStream() makes frames of classic AAC bodies", () =>
  publishing((publisher) => {
    publisher.audio.pushByteStream(10, audioHeader());
    publisher.audio.pushByteStream(10, audioBody(1));
    publisher.audio.pushByteStream(31, audioBody(2));
    const frames = audioOf(publisher);
    assertEquals(frames.map(({ dts, pts, key }) => [dts, pts, key]), [
      [10_000, 10_000, true],
      [31_000, 31_000, true],
    ]);
    assertEquals(frames[0]?.data, Uint8Array.of(0x21, 1, 0x5a));
    assertEquals(frames[0]?.config, aac());
  }));

const enhanced: [name: string, fourcc: string, size: [number, number]][] = [
  ["h264_baseline_322x242", "avc1", [322, 242]],
  ["h265_main_854x480", "hvc1", [854, 480]],
  ["av1_main_854x480", "av01", [854, 480]],
  ["vp9_p0_854x480", "vp09", [854, 480]],
];
for (const [name, fourcc, size] of enhanced) {
  Deno.test(`VideoInput.pushByteStream() makes frames of enhanced ${fourcc} bodies`, () =>
    publishing((publisher) => {
      const fixture = readFixture(name);
      const units = fixture.packets.map((packet) => framed(fourcc, packet));
      const header = enhancedBody(0x90, fourcc, fixture.flvRecord);
      publisher.video.pushByteStream(0, header);
      units.forEach((unit, index) => {
        const key = fixture.keys[index] ?? false;
        publisher.video.pushByteStream(index * 40, frameBody(fourcc, unit, { key, ctsMs: 0 }));
      });
      const frames = videoOf(publisher);
      assertEquals(frames.map(({ data }) => data), units);
      assertEquals(frames.map(({ key }) => key), fixture.keys);
      const config = frames[0]?.config;
      assertEquals([config?.codedWidth, config?.codedHeight], size);
      assertEquals(config?.fourcc, fourcc);
      publisher.video.pushByteStream(5000, header);
      publisher.video.pushByteStream(5000, frameBody(fourcc, units[0] ?? header, { key: true }));
      assertStrictEquals(videoOf(publisher).at(-1)?.config, config, "a repeated header");
    }));
}

/** A packet of an encoder, which for H.264 and H.265 has start codes, as tracks hold it. */
function framed(fourcc: string, packet: Uint8Array): Uint8Array {
  if (fourcc !== "avc1" && fourcc !== "hvc1") return packet;
  return joinLengthPrefixed(splitAnnexB(packet));
}

const opusHead = concat([
  new TextEncoder().encode("OpusHead"),
  Uint8Array.of(1, 2, 0x38, 1, 0x80, 0xbb, 0, 0, 0, 0, 0),
]);
const mp3Frame = Uint8Array.of(0xff, 0xfb, 0x90, 0x00, 1, 2, 3, 4);

const audioCodecs: [string, Uint8Array[], Partial<AudioConfig>][] = [
  ["G.711 A-law", [Uint8Array.of(0x72, 1, 2, 3)], {
    fourcc: "alaw",
    sampleRate: 8000,
    numberOfChannels: 1,
  }],
  ["G.711 µ-law", [Uint8Array.of(0x83, 1, 2, 3)], {
    fourcc: "ulaw",
    sampleRate: 8000,
    numberOfChannels: 2,
  }],
  ["MP3", [concat([Uint8Array.of(0x2f), mp3Frame])], {
    fourcc: ".mp3",
    sampleRate: 44_100,
    numberOfChannels: 2,
  }],
  ["Opus", [
    enhancedBody(0x90, "Opus", opusHead),
    enhancedBody(0x91, "Opus", Uint8Array.of(0xfc, 1)),
  ], {
    fourcc: "Opus",
    sampleRate: 48_000,
    numberOfChannels: 2,
  }],
  [
    "enhanced AAC",
    [enhancedBody(0x90, "mp4a", ASC), enhancedBody(0x91, "mp4a", Uint8Array.of(1))],
    {
      fourcc: "mp4a",
      sampleRate: 48_000,
    },
  ],
  ["an unknown codec", [enhancedBody(0x91, "xyz1", Uint8Array.of(1))], {
    fourcc: "xyz1",
    codec: "xyz1",
  }],
];
for (const [name, bodies, expected] of audioCodecs) {
  Deno.test(`AudioInput.pushByteStream() makes frames of ${name}`, () =>
    publishing((publisher) => {
      for (const body of bodies) publisher.audio.pushByteStream(0, body);
      publisher.audio.pushByteStream(20, bodies.at(-1) ?? new Uint8Array());
      const frames = audioOf(publisher);
      assertEquals(frames.length, 2);
      const config = frames[0]?.config;
      for (const [key, value] of Object.entries(expected)) {
        assertEquals(config?.[key as keyof AudioConfig], value);
      }
      assertStrictEquals(frames[1]?.config, config);
    }));
}

Deno.test("VideoInput.pushByteStream() passes frames of an unknown codec through", () =>
  publishing((publisher) => {
    const data = Uint8Array.of(1, 2, 3);
    publisher.video.pushByteStream(0, frameBody("vp08", data, { key: true }));
    publisher.video.pushByteStream(40, frameBody("vp08", data, { key: false }));
    const frames = videoOf(publisher);
    assertEquals(frames.map((frame) => [frame.key, frame.data]), [[true, data], [false, data]]);
    assertEquals(frames[0]?.config, { kind: "video", fourcc: "vp08", codec: "vp08" });
  }));

Deno.test("Inputs discard and count frames that come before their sequence header", () =>
  publishing((publisher) => {
    publisher.video.pushByteStream(0, videoBody(true));
    publisher.audio.pushByteStream(0, audioBody());
    assertEquals(discarded(publisher), 2);
    publisher.video.pushByteStream(40, videoHeader());
    publisher.video.pushByteStream(40, videoBody(false));
    assertEquals(discarded(publisher), 3, "and a delta frame before the first key");
    publisher.video.pushByteStream(80, videoBody(true));
    assertEquals(videoOf(publisher).map(({ dts }) => dts), [80_000]);
  }));

Deno.test("VideoInput.pushByteStream() configures itself when the parameter sets are in the keyframe", () =>
  publishing((publisher) => {
    const data = joinLengthPrefixed([sps(), PPS, slice(true)]);
    publisher.video.pushByteStream(0, frameBody("avc1", data, { key: true }));
    assertEquals(videoOf(publisher)[0]?.config, h264());
    assertEquals(videoOf(publisher)[0]?.data, data);
  }));

Deno.test("Inputs pass over bodies that are empty or have nothing behind their header", () =>
  publishing((publisher) => {
    publisher.video.pushByteStream(0, videoHeader());
    publisher.audio.pushByteStream(0, audioHeader());
    const empty = new Uint8Array();
    for (const body of [empty, Uint8Array.of(0x17, 1, 0, 0, 0), Uint8Array.of(0x27, 1, 0, 0, 0)]) {
      publisher.video.pushByteStream(0, body);
    }
    publisher.video.pushByteStream(0, Uint8Array.of(0x17, 2, 0, 0, 0));
    publisher.video.pushByteStream(0, frameBody("avc1", Uint8Array.of(0, 0, 0, 0), { key: true }));
    publisher.video.push({ dtsUs: 0, data: empty });
    for (const body of [empty, Uint8Array.of(0xaf, 1), Uint8Array.of(0xaf, 0)]) {
      publisher.audio.pushByteStream(0, body);
    }
    publisher.audio.pushRaw(0, empty);
    assertEquals(discarded(publisher), 0);
    assertEquals([videoOf(publisher).length, audioOf(publisher).length], [0, 0]);
    assertEquals(publisher.stream.videoTracks[0]?.config, h264());
    assertEquals(publisher.end, undefined);
  }));

const malformed: [string, "video" | "audio", Uint8Array][] = [
  [
    "a NAL length past the end",
    "video",
    frameBody("avc1", Uint8Array.of(0, 0, 0, 9, 0x65), { key: true }),
  ],
  [
    "a NAL length cut off",
    "video",
    frameBody("avc1", Uint8Array.of(0, 0, 0, 1, 0x65, 0, 0), { key: true }),
  ],
  ["a video body cut off", "video", Uint8Array.of(0x17)],
  ["an avcC that is garbage", "video", Uint8Array.of(0x17, 0, 0, 0, 0, 1, 2, 3)],
  ["an unknown codec id", "video", Uint8Array.of(0x1e, 0)],
  [
    "an SPS that is garbage",
    "video",
    frameBody("avc1", joinLengthPrefixed([Uint8Array.of(0x67, 1), PPS, slice(true)]), {
      key: true,
    }),
  ],
  ["an audio body cut off", "audio", Uint8Array.of(0xaf)],
  ["an AudioSpecificConfig cut off", "audio", Uint8Array.of(0xaf, 0, 0x12)],
  ["an unknown sound format", "audio", Uint8Array.of(0xdf, 0)],
  ["an OpusHead that is garbage", "audio", enhancedBody(0x90, "Opus", Uint8Array.of(1))],
];
for (const [name, kind, body] of malformed) {
  Deno.test(`pushByteStream() throws InvalidDataError and leaves the stream as it was when there is ${name}`, () =>
    publishing((publisher) => {
      publisher.video.pushByteStream(0, videoHeader());
      publisher.audio.pushByteStream(0, audioHeader());
      publisher.video.pushByteStream(0, videoBody(true));
      const configs = publisher.stream.tracks.map((track) => track.config);
      assertThrows(() => publisher[kind].pushByteStream(40, body), InvalidDataError);
      assertEquals(publisher.stream.tracks.map((track) => track.config), configs);
      assertEquals(publisher.stream.state, "live");
      publisher.video.pushByteStream(40, videoBody(false));
      publisher.audio.pushByteStream(40, audioBody());
      assertEquals([videoOf(publisher).length, audioOf(publisher).length], [2, 1]);
    }));
}

Deno.test("VideoInput.pushByteStream() makes NAL lengths of two bytes ones of four", () =>
  publishing((publisher) => {
    const record = h264().description?.slice() ?? new Uint8Array();
    record[4] = 0xfc | 1;
    publisher.video.pushByteStream(0, videoHeader({ ...h264(), description: record }));
    const nalu = slice(true, 5);
    const data = concat([Uint8Array.of(0, nalu.length), nalu, Uint8Array.of(0, nalu.length), nalu]);
    publisher.video.pushByteStream(0, frameBody("avc1", data, { key: true }));
    const other = slice(false, 5);
    const delta = concat([Uint8Array.of(0, other.length), other]);
    publisher.video.pushByteStream(40, frameBody("avc1", delta, { key: false }));
    const [frame, next] = videoOf(publisher);
    assertEquals(frame?.data, joinLengthPrefixed([nalu, nalu]));
    assertEquals(frame?.config, h264(), "and the record says so");
    assertEquals(next?.data, joinLengthPrefixed([other]));
  }));

Deno.test("Inputs keep the configuration object when a sequence header is repeated", () =>
  publishing((publisher) => {
    let changes = 0;
    const push = (dtsMs: number, header?: [VideoConfig, AudioConfig]) => {
      if (header) {
        publisher.video.pushByteStream(dtsMs, videoHeader(header[0]));
        publisher.audio.pushByteStream(dtsMs, audioHeader(header[1]));
        changes++;
      }
      publisher.video.pushByteStream(dtsMs, videoBody(true));
      publisher.audio.pushByteStream(dtsMs, audioBody());
    };
    push(0, [h264(), aac()]);
    push(40, [h264(), aac()]);
    push(80, [h264(640, 480), aac(OTHER_ASC)]);
    assertEquals(changes, 3);
    for (const frames of [videoOf(publisher), audioOf(publisher)] as MediaFrame[][]) {
      const [a, b, c] = frames;
      assertStrictEquals(a?.config, b?.config);
      assertNotStrictEquals(b?.config, c?.config);
    }
    assertEquals(videoOf(publisher)[2]?.config.codedWidth, 640);
    assertEquals(audioOf(publisher)[2]?.config.sampleRate, 44_100);
  }));

Deno.test("VideoInput.pushByteStream() makes a configuration when a keyframe has another SPS", () =>
  publishing((publisher) => {
    publisher.video.pushByteStream(0, videoHeader());
    const at = (ms: number, width: number) => {
      const data = joinLengthPrefixed([sps(width, 240), PPS, slice(true)]);
      publisher.video.pushByteStream(ms, frameBody("avc1", data, { key: true }));
    };
    at(0, 320);
    at(40, 640);
    at(80, 640);
    const [a, b, c] = videoOf(publisher).map(({ config }) => config);
    assertEquals([a?.codedWidth, b?.codedWidth], [320, 640]);
    assertStrictEquals(a, publisher.stream.videoTracks[0] && videoOf(publisher)[0]?.config);
    assertStrictEquals(c, b);
  }));

Deno.test("Inputs discard frames of another codec than the configured one", () =>
  publishing((publisher) => {
    publisher.audio.pushByteStream(0, audioHeader());
    publisher.audio.pushByteStream(0, audioBody());
    publisher.audio.pushByteStream(20, Uint8Array.of(0x72, 1, 2));
    publisher.audio.pushByteStream(40, audioBody());
    assertEquals(audioOf(publisher).map(({ config }) => config.fourcc), ["mp4a", "alaw"]);
    publisher.video.pushByteStream(0, videoHeader());
    publisher.video.pushByteStream(
      0,
      frameBody("hvc1", joinLengthPrefixed([slice(true)]), { key: true }),
    );
    assertEquals(videoOf(publisher).length, 0);
    assertEquals(discarded(publisher), 2);
  }));

Deno.test("Inputs discard what a new publisher sends before its own sequence header", async () => {
  await using engine = new Engine({}, { nowMs: () => 0 });
  const old = await engine.publish("live/a", { type: "Old" });
  old.video.pushByteStream(0, videoHeader());
  old.video.pushByteStream(0, videoBody(true));
  old.audio.pushByteStream(0, Uint8Array.of(0x72, 1));
  const config = old.stream.videoTracks[0]?.config;
  const next = await engine.publish("live/a", { type: "New", takeOver: true });
  next.video.pushByteStream(0, videoBody(true));
  next.audio.pushByteStream(0, audioBody());
  assertEquals([videoOf(next).length, audioOf(next).length], [1, 1]);
  next.video.pushByteStream(0, videoHeader());
  next.video.pushByteStream(0, videoBody(false));
  assertEquals(videoOf(next).length, 1, "nor a delta frame before its own key");
  next.video.pushByteStream(40, videoBody(true));
  next.audio.pushByteStream(20, Uint8Array.of(0x72, 1));
  assertEquals([videoOf(next).length, audioOf(next).length], [2, 2]);
  assertStrictEquals(next.stream.videoTracks[0]?.config, config);
  assertThrows(() => old.video.pushByteStream(40, videoBody(true)), EndedError, "New");
});

Deno.test("VideoInput.pushNalu() makes frames and a configuration of NAL units", () =>
  publishing((publisher) => {
    const { video } = publisher;
    video.pushNalu(0, 0, sps());
    video.pushNalu(0, 0, PPS);
    video.pushNalu(0, 80_000, Uint8Array.of(9, 0xf0), slice(true, 1), slice(true, 2));
    video.pushNalu(40_000, -1, slice(false, 3));
    video.pushNalu(80_000, 0, sps(640, 480), PPS, slice(true, 4));
    const frames = videoOf(publisher);
    assertEquals(frames.map(({ dts, pts, key }) => [dts, pts, key]), [
      [0, 80_000, true],
      [40_000, 39_999, false],
      [80_000, 80_000, true],
    ]);
    assertEquals(frames[0] && nalUnits(frames[0]), [slice(true, 1), slice(true, 2)]);
    assertEquals(frames.map(({ config }) => config.codedWidth), [320, 320, 640]);
    assertThrows(() => video.pushNalu(0, 0, Uint8Array.of(0x67, 1)), InvalidDataError);
  }));

Deno.test("VideoInput.pushNalu() takes H.265 when naluCodec says so", () =>
  publishing((publisher) => {
    const fixture = readFixture("h265_main_854x480");
    publisher.video.naluCodec = "hvc1";
    fixture.packets.forEach((packet, index) => {
      const sets = index === 0 ? fixture.extradata : new Uint8Array();
      publisher.video.pushAnnexB(index * 40_000, 0, concat([sets, packet]));
    });
    const frames = videoOf(publisher);
    assertEquals(frames.map(({ key }) => key), fixture.keys);
    const { vps, sps, pps } = parseHvcC(fixture.record);
    assertEquals(frames[0]?.config, h265Config({ vps, sps, pps }));
  }));

Deno.test("VideoInput.pushAnnexB() throws when there is no start code", () =>
  publishing((publisher) => {
    publisher.video.pushAnnexB(0, 0, joinAnnexB([sps(), PPS, slice(true)]));
    assertThrows(
      () => publisher.video.pushAnnexB(0, 0, Uint8Array.of(1, 2, 3, 4)),
      InvalidDataError,
    );
    assertEquals(videoOf(publisher).length, 1);
  }));

Deno.test("VideoInput.push() finds keyframes, and configurations in them", () =>
  publishing((publisher) => {
    const { video } = publisher;
    video.push({ dtsUs: 0, data: joinLengthPrefixed([slice(true)]) });
    assertEquals(discarded(publisher), 1);
    video.configure(h264());
    video.push({ dtsUs: 0, data: joinLengthPrefixed([slice(true)]) });
    video.push({ dtsUs: 40_000, ctsUs: 40_000, data: joinLengthPrefixed([slice(false)]) });
    video.push({ dtsUs: 80_000, data: joinLengthPrefixed([sps(640, 480), PPS, slice(true)]) });
    const frames = videoOf(publisher);
    assertEquals(frames.map(({ pts, key, config }) => [pts, key, config.codedWidth]), [
      [0, true, 320],
      [80_000, false, 320],
      [80_000, true, 640],
    ]);
  }));

for (const [name, fourcc] of [["vp9_p0_322x242", "vp09"], ["av1_keys", "av01"]] as const) {
  Deno.test(`VideoInput.push() completes a bare ${fourcc} configuration from its keyframe`, () =>
    publishing((publisher) => {
      const { packets, keys, width } = readFixture(name);
      publisher.video.configure({ kind: "video", fourcc, codec: fourcc });
      packets.forEach((data, index) => publisher.video.push({ dtsUs: index * 40_000, data }));
      const frames = videoOf(publisher);
      assertEquals(frames.map(({ key }) => key), keys);
      assertEquals(frames[0]?.config.codedWidth, width);
      assertEquals(new Set(frames.map(({ config }) => config)).size, 1);
    }));
}

Deno.test("VideoInput.pushByteStream() follows the size when a VP9 keyframe changes it", () =>
  publishing((publisher) => {
    const [small, large] = [readFixture("vp9_p0_322x242"), readFixture("vp9_p0_854x480")];
    publisher.video.pushByteStream(0, enhancedBody(0x90, "vp09", small.flvRecord));
    const push = (ms: number, data: Uint8Array = new Uint8Array()) =>
      publisher.video.pushByteStream(ms, frameBody("vp09", data, { key: true }));
    push(0, small.packets[0]);
    push(40, large.packets[0]);
    assertEquals(videoOf(publisher).map(({ config }) => config.codedWidth), [322, 854]);
    assertEquals(videoOf(publisher)[1]?.config.description, small.flvRecord);
    const deep = readFixture("vp9_p2_10_1280x718");
    push(80, deep.packets[0]);
    const { codec = "", codedWidth } = videoOf(publisher)[2]?.config ?? {};
    assertEquals([codec.slice(0, 7), codec.slice(-2), codedWidth], ["vp09.02", "10", 1280]);
  }));

Deno.test("AudioInput.pushADTS() makes frames 1,024 samples apart, and a configuration", () =>
  publishing((publisher) => {
    const header = (length: number) =>
      Uint8Array.of(
        0xff,
        0xf1,
        0x4c,
        0x80,
        (7 + length) >> 3,
        ((7 + length) & 7) << 5 | 0x1f,
        0xfc,
      );
    const [one, two] = [Uint8Array.of(0x21, 1, 2), Uint8Array.of(0x21, 3)];
    publisher.audio.pushADTS(1000, concat([header(3), one, header(2), two]));
    const frames = audioOf(publisher);
    assertEquals(frames.map(({ data }) => data), [one, two]);
    assertEquals(frames.map(({ dts }) => dts), [1000, 22_333]);
    assertEquals(frames[0]?.config.sampleRate, 48_000);
    assertThrows(() => publisher.audio.pushADTS(0, Uint8Array.of(0xff, 0xf1, 0)), InvalidDataError);
    assertThrows(() => publisher.audio.pushADTS(0, header(3)), InvalidDataError);
  }));

Deno.test("AudioInput.setASC() configures raw AAC", () =>
  publishing((publisher) => {
    const { audio } = publisher;
    audio.pushRaw(0, Uint8Array.of(1));
    audio.setASC(ASC);
    audio.pushRaw(0, Uint8Array.of(2));
    assertThrows(() => audio.setASC(Uint8Array.of(1)), InvalidDataError);
    audio.pushRaw(21_333.4, Uint8Array.of(3));
    assertEquals(audioOf(publisher).map(({ dts, data }) => [dts, data[0]]), [[0, 2], [21_333, 3]]);
  }));

Deno.test("pushByteStream() follows 32-bit timestamps past their wrap-around for all tracks", () =>
  publishing((publisher) => {
    const end = 2 ** 32;
    publisher.video.pushByteStream(end - 40, videoHeader());
    publisher.audio.pushByteStream(end - 40, audioHeader());
    publisher.video.pushByteStream(end - 40, videoBody(true));
    publisher.audio.pushByteStream(end - 30, audioBody());
    publisher.video.pushByteStream(0, videoBody(false));
    publisher.audio.pushByteStream(end - 10, audioBody());
    publisher.audio.pushByteStream(10, audioBody());
    assertEquals(videoOf(publisher).map(({ dts }) => dts), [(end - 40) * 1000, end * 1000]);
    assertEquals(
      audioOf(publisher).map(({ dts }) => dts),
      [end - 30, end - 10, end + 10].map((ms) => ms * 1000),
    );
  }));

Deno.test("pushByteStream() opens a track for each id of a multitrack body, up to a limit", () =>
  publishing((publisher) => {
    const multitrack = (packetType: number, id: number, data: Uint8Array) =>
      concat([
        Uint8Array.of(0x95, packetType),
        new TextEncoder().encode("mp4a"),
        Uint8Array.of(id),
        data,
      ]);
    for (const id of [0, 1, 2]) {
      publisher.audio.pushByteStream(0, multitrack(0, id, ASC));
      publisher.audio.pushByteStream(0, multitrack(1, id, Uint8Array.of(id + 1)));
    }
    const { audioTracks } = publisher.stream;
    assertEquals(audioTracks.map(({ name }) => name), ["audio", "audio1", "audio2"]);
    assertEquals(audioTracks.map((track) => track.newest?.data[0]), [1, 2, 3]);
    assertThrows(
      () => {
        for (let id = 3; id < 256; id++) publisher.audio.pushByteStream(0, multitrack(0, id, ASC));
      },
      InvalidDataError,
      "16 are open",
    );
    assertEquals(publisher.stream.audioTracks.length, 16);
  }));

Deno.test("Inputs take nothing of a kind that the engine does not take", async () => {
  await publishing((publisher) => {
    publisher.video.pushByteStream(0, videoHeader());
    publisher.video.pushByteStream(0, Uint8Array.of(0x17));
    publisher.video.pushNalu(0, 0, sps(), PPS, slice(true));
    publisher.video.configure(h264());
    publisher.audio.setASC(ASC);
    publisher.audio.pushRaw(0, Uint8Array.of(1));
    assertEquals([videoOf(publisher).length, audioOf(publisher).length], [0, 1]);
    assertEquals(publisher.stream.videoTracks[0]?.config, undefined);
  }, { EnableVideo: false });
  await publishing((publisher) => {
    publisher.audio.pushByteStream(0, Uint8Array.of(0xaf));
    publisher.audio.pushADTS(0, Uint8Array.of(1));
    publisher.audio.setASC(ASC);
    publisher.audio.pushRaw(0, Uint8Array.of(1));
    publisher.video.pushByteStream(0, videoHeader());
    publisher.video.pushByteStream(0, videoBody(true));
    assertEquals([videoOf(publisher).length, audioOf(publisher).length], [1, 0]);
  }, { EnableAudio: false });
});
