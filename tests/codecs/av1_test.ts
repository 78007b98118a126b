import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { BitWriter } from "../../src/bits.ts";
import { concat } from "../../src/bytes.ts";
import {
  AV1_OBU,
  av1Config,
  av1ConfigFromAv1C,
  av1ObuType,
  isAv1Key,
  joinObus,
  MAX_OBUS,
  parseAv1C,
  parseAv1SequenceHeader,
  serializeAv1C,
  splitObus,
} from "../../src/codecs/av1.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { readFixture, readFixtures } from "../support/codec_fixtures.ts";
import { fullAv1SequenceHeader } from "../support/crafted_headers.ts";
import { assertWithstands } from "../support/hostile.ts";

const fixtures = readFixtures("av1_");
const crafted = readFixture("crafted_av1");
const recordOf = (fixture: typeof crafted) =>
  fixture.record.length > 0 ? fixture.record : fixture.extradata;

for (const fixture of [...fixtures, crafted]) {
  Deno.test(`parseAv1SequenceHeader() agrees with FFmpeg's decoder on ${fixture.name}`, () => {
    const header = parseAv1SequenceHeader(parseAv1C(recordOf(fixture)).obus);
    const [num = 0, den = 1] = fixture.frameRate ?? [];
    const format = fixture.pixelFormat ?? "";
    assertEquals(
      [header.width, header.height, header.profile, header.level, header.frameRate ?? 0],
      [fixture.width, fixture.height, fixture.profile, fixture.level, num / den],
    );
    assertEquals(header.bitDepth, format.includes("12") ? 12 : format.includes("10") ? 10 : 8);
    assertEquals([header.subsamplingX, header.subsamplingY], [1, format.includes("420") ? 1 : 0]);
  });
}

Deno.test("parseAv1SequenceHeader() reads every field of a header with every branch", () => {
  assertEquals(parseAv1SequenceHeader(fullAv1SequenceHeader()), {
    profile: 2,
    level: 9,
    tier: 1,
    reducedStillPicture: false,
    width: 1918,
    height: 1078,
    bitDepth: 12,
    monochrome: false,
    colorPrimaries: 9,
    transferCharacteristics: 16,
    matrixCoefficients: 9,
    fullRange: false,
    subsamplingX: 1,
    subsamplingY: 0,
    chromaSamplePosition: 0,
    frameRate: 30,
  });
});

/** A still picture's sequence header of `profile`, 16x16, with the colours that `write` writes. */
function stillWith(profile: number, write: (writer: BitWriter) => void): Uint8Array {
  const writer = new BitWriter().bits(profile, 3).bits(3, 2).bits(4, 5);
  writer.bits(3, 4).bits(3, 4).bits(15, 4).bits(15, 4).bits(0, 3).bits(0, 3);
  write(writer);
  const payload = writer.bits(1, 2).finish();
  return concat([Uint8Array.of(0x0a, payload.length), payload]);
}

// Fields of color_config (AV1 5.5.2) as bits, and the codec string (AV1-ISOBMFF 5).
const colors = [
  { profile: 0, bits: "0 0 0 0 00 0", codec: "av01.0.04M.08" },
  { profile: 0, bits: "0 0 0 0 10 0", codec: "av01.0.04M.08.0.112.02.02.02.0" },
  { profile: 0, bits: "0 0 0 1 00 0", codec: "av01.0.04M.08.0.110.02.02.02.1" },
  { profile: 0, bits: "1 1 0 0", codec: "av01.0.04M.10.1.110.02.02.02.0" },
  { profile: 0, bits: "0 0 1 00000001 00000001 00000001 0 00 0", codec: "av01.0.04M.08" },
  {
    profile: 0,
    bits: "1 0 1 00001001 00010000 00001001 0 01 0",
    codec: "av01.0.04M.10.0.111.09.16.09.0",
  },
  { profile: 1, bits: "0 0 0 0", codec: "av01.1.04M.08.0.000.02.02.02.0" },
  { profile: 1, bits: "0 1 00000001 00001101 00000000 0", codec: "av01.1.04M.08.0.000.01.13.00.1" },
  { profile: 2, bits: "1 0 0 0 0 0", codec: "av01.2.04M.10.0.100.02.02.02.0" },
  { profile: 2, bits: "1 1 0 0 0 1 1 00 0", codec: "av01.2.04M.12" },
  { profile: 2, bits: "1 1 0 0 0 0 0", codec: "av01.2.04M.12.0.000.02.02.02.0" },
] as const;

for (const { profile, bits, codec } of colors) {
  Deno.test(`av1Config() makes ${codec} of profile ${profile} and colours ${bits}`, () => {
    const obu = stillWith(profile, (writer) => {
      for (const bit of bits.replaceAll(" ", "")) writer.bit(Number(bit));
    });
    const config = av1Config(obu);
    assertEquals([config.codec, config.codedWidth, config.codedHeight], [codec, 16, 16]);
    assertEquals(av1ConfigFromAv1C(config.description ?? obu), config);
    assertEquals(parseAv1SequenceHeader(obu).reducedStillPicture, true);
  });
}

// timing_info (AV1 5.5.3), num_ticks_per_picture_minus_1 as uvlc() bits.
const timings = [
  { units: 1, scale: 300, ticks: "1", frameRate: 300 },
  { units: 1, scale: 301, ticks: "1", frameRate: undefined },
  { units: 1, scale: 600, ticks: "010", frameRate: 300 },
  { units: 1001, scale: 240_000, ticks: "0001001", frameRate: 30_000 / 1001 * 8 / 9 },
  { units: 1, scale: 1000, ticks: undefined, frameRate: undefined },
  { units: 0, scale: 25, ticks: "1", frameRate: undefined },
  { units: 1, scale: 0, ticks: "1", frameRate: undefined },
  { units: 1, scale: 2 ** 32 - 1, ticks: "0".repeat(32) + "1", frameRate: 1 - 2 ** -32 },
  { units: 1, scale: 2 ** 32 - 1, ticks: "0".repeat(40) + "1", frameRate: 1 - 2 ** -32 },
] as const;

for (const { units, scale, ticks, frameRate } of timings) {
  Deno.test(`parseAv1SequenceHeader() has ${frameRate} for ${scale} / ${units}, ${ticks}`, () => {
    const writer = new BitWriter().bits(0, 5).bit(1).bits(units, 32).bits(scale, 32);
    writer.bit(ticks === undefined ? 0 : 1);
    for (const bit of ticks ?? "") writer.bit(Number(bit));
    writer.bit(0).bit(0).bits(0, 5).bits(0, 12).bits(5, 5);
    writer.bits(3, 4).bits(3, 4).bits(15, 4).bits(15, 4).bits(0, 40);
    const payload = writer.finish();
    const header = parseAv1SequenceHeader(
      concat([Uint8Array.of(0x0a, payload.length), payload]),
    );
    assertEquals([header.width, header.level], [16, 5]);
    assertEquals("frameRate" in header, frameRate !== undefined);
    const rate = header.frameRate ?? 0;
    assertEquals(Math.abs(rate - (frameRate ?? 0)) < 1e-9, true, `${rate}`);
  });
}

Deno.test("parseAv1SequenceHeader() throws when it is cut off or of a reserved profile", () => {
  const payload = fullAv1SequenceHeader().subarray(2);
  for (let length = 0; length < payload.length - 1; length++) {
    const obu = concat([Uint8Array.of(0x0a, length), payload.subarray(0, length)]);
    assertThrows(() => parseAv1SequenceHeader(obu), InvalidDataError);
  }
  assertThrows(() => parseAv1SequenceHeader(stillWith(3, () => {})), InvalidDataError, "profile");
  assertThrows(() => parseAv1SequenceHeader(Uint8Array.of(0x12, 0)), InvalidDataError, "is 0");
});

for (const fixture of fixtures) {
  Deno.test(`av1Config() writes FFmpeg's av1C for ${fixture.name}`, () => {
    const config = av1Config(fixture.extradata);
    assertEquals(config, av1ConfigFromAv1C(fixture.record));
    assertEquals(config.description, fixture.record);
    assertEquals(config.description, fixture.flvRecord);
    assertEquals(config.codec, fixture.codec);
    assertEquals([config.codedWidth, config.codedHeight], [fixture.width, fixture.height]);
  });

  Deno.test(`av1Config() finds the sequence header in the keyframe of ${fixture.name}`, () => {
    const [keyframe = new Uint8Array(0)] = fixture.packets;
    const config = av1Config(keyframe);
    // SVT-AV1 settles its coding tools after its global header, so the records differ.
    const { codec, codedWidth, codedHeight } = av1ConfigFromAv1C(fixture.record);
    assertEquals([config.codec, config.codedWidth], [codec, codedWidth]);
    assertEquals(config.codedHeight, codedHeight);
    const headers = splitObus(keyframe).filter((obu) => av1ObuType(obu) === 1);
    assertEquals([parseAv1C(config.description ?? keyframe).obus], headers);
  });
}

const records = [
  ...fixtures.map(recordOf),
  Uint8Array.of(0x81, 0x04, 0x0c, 0),
  Uint8Array.of(0x81, 0x49, 0xe8, 0x13, 0x2a, 1, 9),
  Uint8Array.of(0x81, 0x2f, 0x51, 0x1f),
];

for (const [index, record] of records.entries()) {
  Deno.test(`serializeAv1C() writes what parseAv1C() reads of record ${index}`, () => {
    assertEquals(serializeAv1C(parseAv1C(record)), record);
  });
}

Deno.test("parseAv1C() throws when the marker, version or profile is wrong", () => {
  for (const bytes of [[0x80, 0, 0, 0], [0x01, 0, 0, 0], [0x81, 0x64, 0, 0], [0x81, 0, 0]]) {
    assertThrows(() => parseAv1C(Uint8Array.from(bytes)), InvalidDataError, "Cannot");
  }
});

Deno.test("av1ConfigFromAv1C() gives no size when there is no sequence header", () => {
  const description = Uint8Array.of(0x81, 0x49, 0xe8, 0);
  const config = av1ConfigFromAv1C(description);
  assertEquals(config, { kind: "video", fourcc: "av01", codec: "av01.2.09H.12", description });
  assertStrictEquals(config.description, description);
});

const sized = [0x12, 0, 0x0a, 2, 7, 8, 0x36, 0x20, 3, 1, 2, 3];

Deno.test("splitObus() finds OBUs with and without extension, and a last one without size", () => {
  const obus = [[0x12, 0], [0x0a, 2, 7, 8], [0x36, 0x20, 3, 1, 2, 3]];
  assertEquals(splitObus(Uint8Array.from(sized)).map((obu) => Array.from(obu)), obus);
  const open = [...sized, 0x30, 9, 9];
  assertEquals(splitObus(Uint8Array.from(open)).map((obu) => Array.from(obu)), [
    ...obus,
    [0x30, 9, 9],
  ]);
  assertEquals(splitObus(new Uint8Array(0)), []);
});

Deno.test("splitObus() reads sizes of many bytes", () => {
  const long = concat([Uint8Array.of(0x32, 0x80, 0x81, 0x00), new Uint8Array(128)]);
  assertEquals(splitObus(concat([long, Uint8Array.of(0x12, 0)])).map(({ length }) => length), [
    132,
    2,
  ]);
  const padded = Uint8Array.of(0x32, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 5);
  assertEquals(splitObus(padded).length, 1);
});

Deno.test("splitObus() throws when an OBU is malformed", () => {
  const cases = [
    [0x92, 0],
    [0x12],
    [0x12, 0x80],
    [0x12, 1],
    [0x16],
    [0x14],
    [0x12, 0xff, 0xff, 0xff, 0xff, 0x0f],
    [0x12, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
  ];
  for (const data of cases) {
    assertThrows(() => splitObus(Uint8Array.from(data)), InvalidDataError, "Cannot read an OBU");
  }
  const many = new Uint8Array(2 * MAX_OBUS);
  for (let at = 0; at < many.length; at += 2) many[at] = 0x12;
  assertEquals(splitObus(many).length, MAX_OBUS);
  assertThrows(() => splitObus(concat([many, Uint8Array.of(0x12, 0)])), InvalidDataError, "over");
});

Deno.test("joinObus() gives sizes to OBUs that lack them", () => {
  const open = concat([Uint8Array.of(0x30), new Uint8Array(200).fill(9)]);
  const joined = joinObus([Uint8Array.of(0x12, 0), open, Uint8Array.of(0x34, 0x20, 5)]);
  const [first, second, third] = splitObus(joined);
  assertEquals(Array.from(first ?? []), [0x12, 0]);
  assertEquals(Array.from(second?.subarray(0, 4) ?? []), [0x32, 0xc8, 0x01, 9]);
  assertEquals(second?.length, 203);
  assertEquals(Array.from(third ?? []), [0x36, 0x20, 1, 5]);
});

Deno.test("av1Config() gives its sequence header a size", () => {
  const whole = fullAv1SequenceHeader();
  const open = concat([Uint8Array.of(0x08), whole.subarray(2)]);
  assertEquals(av1Config(open), av1Config(whole));
});

for (const { name, packets, keys } of fixtures) {
  Deno.test(`isAv1Key() agrees with the encoder on ${name}`, () => {
    assertEquals(packets.map(isAv1Key), [...keys]);
  });
}

const keyCases = [
  { name: "a shown key frame", data: [0x12, 0, 0x32, 1, 0x10], key: true },
  { name: "a key frame's header", data: [0x1a, 1, 0x10], key: true },
  { name: "a hidden key frame", data: [0x32, 1, 0x00], key: false },
  { name: "an inter frame", data: [0x32, 1, 0x30], key: false },
  { name: "an intra-only frame", data: [0x32, 1, 0x50], key: false },
  { name: "a frame shown again", data: [0x1a, 1, 0x80], key: false },
  { name: "a key frame behind an inter frame", data: [0x32, 1, 0x30, 0x32, 1, 0x10], key: false },
  { name: "a still picture", data: [0x0a, 1, 0x18, 0x32, 1, 0x00], key: true },
  { name: "no frame", data: [0x12, 0, 0x0a, 1, 0x18], key: false },
  { name: "nothing", data: [], key: false },
] as const;

for (const { name, data, key } of keyCases) {
  Deno.test(`isAv1Key() is ${key} when there is ${name}`, () => {
    assertEquals(isAv1Key(Uint8Array.from(data)), key);
  });
}

Deno.test("isAv1Key() and av1ObuType() throw when there is nothing to read", () => {
  assertThrows(() => isAv1Key(Uint8Array.of(0x32, 0)), InvalidDataError);
  assertThrows(() => av1ObuType(new Uint8Array(0)), InvalidDataError);
  assertEquals(av1ObuType(Uint8Array.of(0x32, 0)), AV1_OBU.frame);
});

Deno.test("splitObus(), av1Config(), parseAv1C() and isAv1Key() withstand damaged data", () => {
  const units = fixtures.flatMap(({ packets }) => packets.slice(0, 1));
  const headers = [fullAv1SequenceHeader(), stillWith(0, (writer) => writer.bits(0, 8))];
  assertWithstands(splitObus, units);
  assertWithstands(isAv1Key, [Uint8Array.from(sized), ...units]);
  assertWithstands(av1Config, [...headers, ...units]);
  assertWithstands(av1ConfigFromAv1C, [...records, crafted.extradata]);
  assertWithstands((data) => joinObus([data]), units);
});
