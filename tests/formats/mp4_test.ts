import { assertEquals, assertThrows } from "@std/assert";
import { ByteReader } from "../../src/bytes.ts";
import { aacConfig } from "../../src/codecs/aac.ts";
import type { AudioConfig, VideoConfig } from "../../src/codecs/config.ts";
import { alawConfig, ulawConfig } from "../../src/codecs/g711.ts";
import { opusConfig, serializeOpusHead } from "../../src/codecs/opus.ts";
import { serializeVpcC } from "../../src/codecs/vp9.ts";
import { InvalidDataError } from "../../src/errors.ts";
import {
  initSegment,
  isMp4Codec,
  mp4CodecString,
  type Mp4Track,
  timescaleOf,
} from "../../src/formats/mp4.ts";
import { aac, ASC, h264 } from "../support/frames.ts";
import {
  type Box,
  boxesOf,
  find,
  findOne,
  fullBoxReader,
  outline,
  readU64,
} from "../support/mp4.ts";

function track(config: VideoConfig | AudioConfig, init: Partial<Mp4Track> = {}): Mp4Track {
  const id = config.kind === "video" ? 1 : 2;
  return { id, config, timescale: timescaleOf(config), ...init };
}

function audio(fourcc: string, init: Partial<AudioConfig> = {}): AudioConfig {
  const shape = { sampleRate: 48_000, numberOfChannels: 2 };
  return { kind: "audio", fourcc, codec: fourcc, ...shape, ...init };
}

function video(fourcc: string, description?: Uint8Array): VideoConfig {
  const size = { codedWidth: 640, codedHeight: 358 };
  return { kind: "video", fourcc, codec: fourcc, ...size, ...(description && { description }) };
}

/** The boxes of an initialization segment. */
function init(...tracks: Mp4Track[]): Box[] {
  return boxesOf(initSegment(tracks));
}

/** The one sample entry of a track. */
function entryOf(config: VideoConfig | AudioConfig): Box {
  const [entry, ...others] = findOne(init(track(config)), "moov/trak/mdia/minf/stbl/stsd").boxes;
  assertEquals(others, []);
  if (entry === undefined) throw new Error("There is no sample entry");
  return entry;
}

function brandsOf(boxes: readonly Box[]): string[] {
  const { content } = findOne(boxes, "ftyp");
  return new TextDecoder().decode(content).match(/[\s\S]{4}/g) ?? [];
}

const VPCC = {
  profile: 0,
  level: 31,
  bitDepth: 8,
  chromaSubsampling: 1,
  fullRange: false,
  colorPrimaries: 2,
  transferCharacteristics: 2,
  matrixCoefficients: 2,
};
const SURROUND = {
  channels: 6,
  preSkip: 312,
  inputSampleRate: 44_100,
  outputGain: -256,
  mappingFamily: 1,
  mapping: { streams: 4, coupled: 2, channels: Uint8Array.of(0, 4, 1, 2, 3, 5) },
};

Deno.test("initSegment() writes the boxes of each kind of track", () => {
  const trak = (header: string, entry: string) =>
    `trak(tkhd mdia(mdhd hdlr minf(${header} dinf(dref(url )) ` +
    `stbl(stsd(${entry}) stts stsc stsz stco))))`;
  assertEquals(
    outline(init(track(h264()), track(aac()))),
    `ftyp moov(mvhd ${trak("vmhd", "avc1(avcC)")} ${trak("smhd", "mp4a(esds)")} mvex(trex trex))`,
  );
  assertEquals(
    outline(init(track(aac()))),
    `ftyp moov(mvhd ${trak("smhd", "mp4a(esds)")} mvex(trex))`,
  );
});

Deno.test("initSegment() is a CMAF header with one track only, and names AV1", () => {
  const head = ["iso6", "\0\0\0\0", "iso6", "mp41"];
  const av1 = video("av01", Uint8Array.of(0x81, 0, 0, 0));
  assertEquals(brandsOf(init(track(h264()))), [...head, "cmfc"]);
  assertEquals(brandsOf(init(track(h264()), track(aac()))), head);
  assertEquals(brandsOf(init(track(av1), track(aac()))), [...head, "av01"]);
});

Deno.test("initSegment() gives tracks their ids, sizes and timescales", () => {
  const boxes = init(track(h264(640, 480)), track(aac(), { id: 7 }));
  const movie = fullBoxReader(findOne(boxes, "moov/mvhd"), 0, 0);
  movie.skip(8);
  assertEquals([movie.u32(), movie.u32()], [1000, 0]);
  movie.skip(76);
  assertEquals([movie.u32(), movie.remaining], [8, 0]);
  const headers = find(boxes, "moov/trak/tkhd").map((box) => {
    const reader = fullBoxReader(box, 0, 3);
    reader.skip(8);
    const [id, , durationTicks] = [reader.u32(), reader.u32(), reader.u32()];
    reader.skip(12);
    const volume = reader.u16();
    reader.skip(38);
    return [id, durationTicks, volume, reader.u32(), reader.u32(), reader.remaining];
  });
  assertEquals(headers, [[1, 0, 0, 640 << 16, 480 << 16, 0], [7, 0, 0x100, 0, 0, 0]]);
  const media = find(boxes, "moov/trak/mdia/mdhd").map((box) => {
    const reader = fullBoxReader(box, 0, 0);
    reader.skip(8);
    return [reader.u32(), reader.u32(), reader.u16(), reader.u16(), reader.remaining];
  });
  assertEquals(media, [[90_000, 0, 0x55c4, 0, 0], [48_000, 0, 0x55c4, 0, 0]]);
  const handlers = find(boxes, "moov/trak/mdia/hdlr").map(({ content }) =>
    new TextDecoder().decode(content.subarray(8, 12))
  );
  assertEquals(handlers, ["vide", "soun"]);
  const defaults = find(boxes, "moov/mvex/trex").map((box) => {
    const reader = fullBoxReader(box, 0, 0);
    return [reader.u32(), reader.u32(), reader.u32(), reader.u32(), reader.u32()];
  });
  assertEquals(defaults, [[1, 1, 0, 0, 0], [7, 1, 0, 0, 0]]);
});

Deno.test("initSegment() passes over what lies before mediaStart", () => {
  for (const mediaStart of [1, 1024, 2 ** 32 + 5, Number.MAX_SAFE_INTEGER]) {
    const boxes = init(track(aac(), { mediaStart }));
    assertEquals(findOne(boxes, "moov/trak").boxes.map(({ type }) => type), [
      "tkhd",
      "edts",
      "mdia",
    ]);
    const reader = fullBoxReader(findOne(boxes, "moov/trak/edts/elst"), 1, 0);
    const entry = [reader.u32(), readU64(reader), readU64(reader), reader.u32(), reader.remaining];
    assertEquals(entry, [1, 0, mediaStart, 0x10000, 0]);
  }
  assertEquals(find(init(track(aac(), { mediaStart: 0 })), "moov/trak/edts"), []);
  for (const mediaStart of [-1, 0.5, NaN, 2 ** 53]) {
    assertThrows(() => init(track(aac(), { mediaStart })), RangeError, `value is ${mediaStart}`);
  }
});

Deno.test("initSegment() writes a visual sample entry with the record of each codec", () => {
  const record = Uint8Array.of(1, 2, 3, 4, 5);
  const vpcC = serializeVpcC(VPCC);
  const cases = [
    ["avc1", record, "avc1(avcC)", record],
    ["hvc1", record, "hvc1(hvcC)", record],
    ["av01", record, "av01(av1C)", record],
    ["vp09", vpcC, "vp09(vpcC)", vpcC],
    // A record without the version and flags of its box gets them.
    ["vp09", vpcC.subarray(4), "vp09(vpcC)", vpcC],
  ] as const;
  for (const [fourcc, description, expected, written] of cases) {
    const entry = entryOf(video(fourcc, description));
    assertEquals(outline([entry]), expected);
    assertEquals(entry.boxes[0]?.content, Uint8Array.from(written));
    const reader = new ByteReader(entry.content);
    reader.skip(6);
    assertEquals(reader.u16(), 1);
    reader.skip(16);
    assertEquals([reader.u16(), reader.u16()], [640, 358]);
    assertEquals([reader.u32(), reader.u32(), reader.u32()], [0x48_0000, 0x48_0000, 0]);
    assertEquals(reader.u16(), 1);
    reader.skip(32);
    assertEquals([reader.u16(), reader.u16()], [24, 0xffff]);
  }
  assertThrows(() => entryOf(video("vp09", Uint8Array.of(0))), InvalidDataError);
});

Deno.test("initSegment() writes an audio sample entry for each codec", () => {
  const cases = [
    [aac(), "mp4a(esds)", 2, 48_000],
    [aacConfig(Uint8Array.of(0x10, 0x10)), "mp4a(esds)", 2, 0], // 96 kHz has too many bits
    [opusConfig(serializeOpusHead(SURROUND)), "Opus(dOps)", 6, 48_000],
    [audio(".mp3", { sampleRate: 44_100 }), "mp4a(esds)", 2, 44_100],
    [alawConfig(8000, 1), "alaw", 1, 8000],
    [ulawConfig(16_000, 2), "ulaw", 2, 16_000],
  ] as const;
  for (const [config, expected, channels, rate] of cases) {
    const entry = entryOf(config);
    assertEquals(outline([entry]), expected);
    const reader = new ByteReader(entry.content);
    reader.skip(6);
    assertEquals(reader.u16(), 1);
    reader.skip(8);
    assertEquals([reader.u16(), reader.u16(), reader.u32()], [channels, 16, 0]);
    assertEquals(reader.u32(), rate * 65_536);
  }
});

Deno.test("initSegment() describes AAC and MP3 by their object types", () => {
  const esds = (config: AudioConfig) => {
    const reader = fullBoxReader(findOne(entryOf(config).boxes, "esds"), 0, 0);
    const descriptor = (tag: number) => {
      assertEquals(reader.u8(), tag);
      let length = 0;
      for (let byte = 0x80; byte & 0x80;) {
        byte = reader.u8();
        length = length * 128 + (byte & 0x7f);
      }
      return length;
    };
    assertEquals(descriptor(3), reader.remaining);
    assertEquals([reader.u16(), reader.u8()], [0, 0]);
    const end = reader.offset + descriptor(4) + 5;
    const [objectType, stream] = [reader.u8(), reader.u8()];
    assertEquals(stream, 0x15);
    reader.skip(11);
    const info = reader.offset < end ? reader.bytes(descriptor(5)) : undefined;
    assertEquals(reader.offset, end);
    assertEquals([descriptor(6), reader.u8(), reader.remaining], [1, 2, 0]);
    return { objectType, info };
  };
  // A program config element makes records of many bytes, whose length takes more than seven bits.
  const long = new Uint8Array(300).fill(7);
  assertEquals(esds(aac()), { objectType: 0x40, info: ASC });
  assertEquals(esds({ ...aac(), description: long }), { objectType: 0x40, info: long });
  assertEquals(esds(audio(".mp3")), { objectType: 0x6b, info: undefined });
  assertEquals(esds(audio(".mp3", { sampleRate: 24_000 })), { objectType: 0x69, info: undefined });
});

Deno.test("initSegment() turns an OpusHead into a dOps box, or makes one", () => {
  const dops = (config: AudioConfig) => findOne(entryOf(config).boxes, "dOps").content;
  assertEquals(
    dops(opusConfig(serializeOpusHead(SURROUND))),
    Uint8Array.of(0, 6, 0x01, 0x38, 0, 0, 0xac, 0x44, 0xff, 0, 1, 4, 2, 0, 4, 1, 2, 3, 5),
  );
  assertEquals(
    dops(audio("Opus", { numberOfChannels: 1 })),
    Uint8Array.of(0, 1, 0, 0, 0, 0, 0xbb, 0x80, 0, 0, 0),
  );
  const malformed = audio("Opus", { description: Uint8Array.of(1) });
  assertThrows(() => entryOf(malformed), InvalidDataError);
});

Deno.test("isMp4Codec() takes the codecs of MP4 that have what their decoder needs", () => {
  const record = Uint8Array.of(1);
  const cases: [VideoConfig | AudioConfig, boolean][] = [
    ...["avc1", "hvc1", "av01", "vp09"].flatMap((fourcc): [VideoConfig, boolean][] => [
      [video(fourcc, record), true],
      [video(fourcc), false],
    ]),
    [video("vp08", record), false],
    [video("constructor", record), false],
    [audio("mp4a", { description: record }), true],
    [audio("mp4a"), false],
    [audio("Opus"), true],
    [audio("Opus", { numberOfChannels: 6 }), false],
    [audio("Opus", { numberOfChannels: 6, description: record }), true],
    [audio(".mp3"), true],
    [audio("alaw"), true],
    [audio("ulaw"), true],
    [audio("ulaw", { sampleRate: 0 }), false],
    [audio("fLaC", { description: record }), false],
    [audio("constructor"), false],
  ];
  for (const [config, expected] of cases) {
    assertEquals(isMp4Codec(config), expected, JSON.stringify(config));
    if (!expected) assertThrows(() => init(track(config)), RangeError, config.codec);
  }
});

Deno.test("mp4CodecString() is the configuration's own, but for MP3", () => {
  assertEquals(mp4CodecString(h264()), "avc1.42c01e");
  assertEquals(mp4CodecString(aac()), "mp4a.40.2");
  assertEquals(mp4CodecString(audio(".mp3")), "mp4a.6B");
  assertEquals(mp4CodecString(audio(".mp3", { sampleRate: 22_050 })), "mp4a.69");
});
