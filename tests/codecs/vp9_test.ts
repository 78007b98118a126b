import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { BitWriter } from "../../src/bits.ts";
import {
  isVp9Key,
  parseVp9Header,
  parseVpcC,
  serializeVpcC,
  vp9Config,
  vp9ConfigFromVpcC,
} from "../../src/codecs/vp9.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { readFixture, readFixtures } from "../support/codec_fixtures.ts";
import { assertWithstands } from "../support/hostile.ts";

const fixtures = readFixtures("vp9_");
const subsampling: Record<string, readonly [number, number]> = {
  yuv420p: [1, 1],
  yuv422p: [1, 0],
  yuv440p: [0, 1],
  yuv444p: [0, 0],
  yuv420p10le: [1, 1],
  yuv444p12le: [0, 0],
  gbrp: [0, 0],
};

for (const fixture of fixtures) {
  const [keyframe = new Uint8Array(0)] = fixture.packets;
  const format = fixture.pixelFormat ?? "";

  Deno.test(`parseVp9Header() agrees with FFmpeg's decoder on ${fixture.name}`, () => {
    const header = parseVp9Header(keyframe);
    assertEquals([header.width, header.height, header.profile], [
      fixture.width,
      fixture.height,
      fixture.profile,
    ]);
    assertEquals([header.subsamplingX, header.subsamplingY], [...subsampling[format] ?? []]);
    assertEquals(header.bitDepth, format.includes("12") ? 12 : format.includes("10") ? 10 : 8);
    assertEquals(header.fullRange, format === "gbrp");
    assertEquals(header.matrixCoefficients, format === "gbrp" ? 0 : 2);
  });

  Deno.test(`isVp9Key() agrees with the encoder on ${fixture.name}`, () => {
    assertEquals(fixture.packets.map(isVp9Key), [...fixture.keys]);
  });

  if (format === "yuv440p") continue;
  Deno.test(`vp9Config() writes FFmpeg's vpcC and codec string for ${fixture.name}`, () => {
    const config = vp9Config(keyframe);
    const record = parseVpcC(fixture.record);
    assertEquals([config.codedWidth, config.codedHeight], [fixture.width, fixture.height]);
    assertEquals(config.codec.slice(0, 13), fixture.codec);
    assertEquals(serializeVpcC(record), fixture.record);
    assertEquals(fixture.record, fixture.flvRecord);
    // The muxer was not told of RGB, which is in the frame.
    const colors = format === "gbrp" ? { fullRange: true, matrixCoefficients: 0 } : {};
    assertEquals(parseVpcC(config.description ?? keyframe), { ...record, ...colors });
  });
}

Deno.test("vp9Config() throws when the frame is no key frame or 4:4:0", () => {
  const { packets: [key, inter] } = readFixture("vp9_p1_440_320x242");
  assertThrows(() => vp9Config(key ?? new Uint8Array(0)), InvalidDataError, "4:4:0");
  assertThrows(() => vp9Config(inter ?? new Uint8Array(0)), InvalidDataError, "no key frame");
});

/** A key frame's header of `profile` with colours and the size. */
function keyframeOf(
  profile: number,
  size: readonly [number, number],
  colors = "001 0",
): Uint8Array {
  const writer = new BitWriter().bits(2, 2).bit(profile & 1).bit(profile >> 1);
  if (profile === 3) writer.bit(0);
  writer.bit(0).bit(0).bit(1).bit(0).bits(0x498342, 24);
  for (const bit of colors.replaceAll(" ", "")) writer.bit(Number(bit));
  return writer.bits(size[0] - 1, 16).bits(size[1] - 1, 16).bits(0, 8).finish();
}

// color_config (VP9 6.2) as bits, and the codec string.
const colors = [
  { profile: 0, bits: "000 0", codec: "vp09.00.10.08" },
  { profile: 0, bits: "010 0", codec: "vp09.00.10.08.01.02.02.01.00" },
  { profile: 0, bits: "010 1", codec: "vp09.00.10.08.01.02.02.01.01" },
  { profile: 1, bits: "101 0 1 0 0", codec: "vp09.01.10.08.02.02.02.09.00" },
  { profile: 1, bits: "111 0", codec: "vp09.01.10.08.03.02.02.00.01" },
  { profile: 2, bits: "0 000 0", codec: "vp09.02.10.10" },
  { profile: 2, bits: "1 000 0", codec: "vp09.02.10.12" },
  { profile: 3, bits: "1 001 0 0 0 0", codec: "vp09.03.10.12.03.02.02.05.00" },
] as const;

for (const { profile, bits, codec } of colors) {
  Deno.test(`vp9Config() makes ${codec} of profile ${profile} and colours ${bits}`, () => {
    const config = vp9Config(keyframeOf(profile, [64, 48], bits));
    assertEquals([config.codec, config.codedWidth, config.codedHeight], [codec, 64, 48]);
    const { codedWidth: _width, codedHeight: _height, ...rest } = config;
    assertEquals(vp9ConfigFromVpcC(config.description ?? new Uint8Array(0)), rest);
  });
}

Deno.test("parseVp9Header() knows the matrix coefficients of every colour space", () => {
  // VP9 7.2.2 in code points of ISO/IEC 23091-2; 6 is reserved and 7 is RGB.
  [2, 5, 1, 6, 7, 9, 2].forEach((matrix, space) => {
    const bits = `${space.toString(2).padStart(3, "0")} 0`;
    assertEquals(parseVp9Header(keyframeOf(0, [64, 48], bits)).matrixCoefficients, matrix);
  });
  assertEquals(parseVp9Header(keyframeOf(1, [64, 48], "111 0")).matrixCoefficients, 0);
});

// VP9 Annex A: the lowest level for a frame of the size.
const levels = [
  { size: [256, 144], level: 10 },
  { size: [513, 16], level: 11 },
  { size: [384, 192], level: 11 },
  { size: [480, 256], level: 20 },
  { size: [640, 384], level: 21 },
  { size: [1080, 512], level: 30 },
  { size: [1280, 768], level: 31 },
  { size: [1920, 1080], level: 40 },
  { size: [4096, 2176], level: 50 },
  { size: [8192, 4352], level: 60 },
  { size: [512, 72], level: 10 },
  { size: [768, 16], level: 11 },
  { size: [769, 16], level: 20 },
  { size: [960, 16], level: 20 },
  { size: [961, 16], level: 21 },
  { size: [1344, 16], level: 21 },
  { size: [16, 1345], level: 30 },
  { size: [2048, 16], level: 30 },
  { size: [2049, 16], level: 31 },
  { size: [2752, 16], level: 31 },
  { size: [2753, 16], level: 40 },
  { size: [4160, 16], level: 40 },
  { size: [16, 4161], level: 50 },
  { size: [8384, 16], level: 50 },
  { size: [8385, 16], level: 60 },
  { size: [65536, 16], level: 60 },
] as const;

for (const { size, level } of levels) {
  Deno.test(`vp9Config() has level ${level} when the size is ${size.join("x")}`, () => {
    const { description = new Uint8Array(0) } = vp9Config(keyframeOf(0, size));
    assertEquals(parseVpcC(description).level, level);
  });
}

Deno.test("parseVpcC() reads a record without version and flags", () => {
  const { record } = readFixture("vp9_p2_10_1280x718");
  const bare = record.subarray(4);
  assertEquals(parseVpcC(bare), parseVpcC(record));
  assertEquals(vp9ConfigFromVpcC(bare), vp9ConfigFromVpcC(record));
  assertEquals(vp9ConfigFromVpcC(bare).description, record);
  assertStrictEquals(vp9ConfigFromVpcC(record).description, record);
});

Deno.test("vp9ConfigFromVpcC() leaves BT.709 out of the codec string", () => {
  const { record } = readFixture("vp9_p0_854x480");
  const colors = record.with(7, 1).with(8, 1).with(9, 1);
  assertEquals(vp9ConfigFromVpcC(colors).codec, "vp09.00.30.08");
  assertEquals(vp9ConfigFromVpcC(colors.with(9, 9)).codec, "vp09.00.30.08.01.01.01.09.00");
});

Deno.test("parseVpcC() throws when a value is none of the codec's", () => {
  const { record } = readFixture("vp9_p0_854x480");
  for (const [at, byte] of [[4, 4], [6, 0x12], [6, 0x98], [6, 0x88], [11, 1]] as const) {
    assertThrows(() => parseVpcC(record.with(at, byte)), InvalidDataError, "Cannot");
  }
});

const headers = [
  {
    name: "a frame shown again",
    data: [0b10_00_1_010],
    header: { key: false, profile: 0, showExisting: true, show: true },
  },
  {
    name: "a hidden inter frame",
    data: [0b10_10_0_1_0_0],
    header: { key: false, profile: 1, showExisting: false, show: false },
  },
  {
    name: "a shown inter frame of profile 2",
    data: [0b10_01_0_1_1_0],
    header: { key: false, profile: 2, showExisting: false, show: true },
  },
  {
    name: "an inter frame of profile 3",
    data: [0b10_11_0_0_1_1, 0],
    header: { key: false, profile: 3, showExisting: false, show: true },
  },
] as const;

for (const { name, data, header } of headers) {
  Deno.test(`parseVp9Header() reads ${name}`, () => {
    assertEquals(parseVp9Header(Uint8Array.from(data)), header);
  });
}

Deno.test("parseVp9Header() throws when the header is malformed", () => {
  const key = keyframeOf(0, [64, 48]);
  const cases = [
    key.with(0, 0x02),
    key.with(0, 0xc2),
    key.with(1, 0x48),
    keyframeOf(0, [64, 48], "111"),
    keyframeOf(2, [64, 48], "0 111"),
    Uint8Array.of(0b10_11_1_000),
    key.subarray(0, 8),
    new Uint8Array(0),
  ];
  for (const data of cases) assertThrows(() => parseVp9Header(data), InvalidDataError, "Cannot");
});

Deno.test("vp9Config() and vp9ConfigFromVpcC() withstand damaged data", () => {
  const starts = fixtures.flatMap(({ packets }) => packets.map((data) => data.subarray(0, 24)));
  assertWithstands(parseVp9Header, starts);
  assertWithstands(vp9Config, starts);
  assertWithstands(vp9ConfigFromVpcC, fixtures.map(({ record }) => record));
});
