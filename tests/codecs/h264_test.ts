import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import {
  H264_NAL,
  h264Config,
  h264ConfigFromAvcC,
  h264NalType,
  isH264Key,
  parseAvcC,
  parseH264Sps,
  serializeAvcC,
} from "../../src/codecs/h264.ts";
import { splitAnnexB } from "../../src/codecs/nal.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { type CodecFixture, readFixture, readFixtures } from "../support/codec_fixtures.ts";
import { fullH264Sps, nalu, ue } from "../support/crafted_headers.ts";
import { assertWithstands } from "../support/hostile.ts";

const fixtures = readFixtures("h264_");
const crafted = readFixture("crafted_h264");

function setsOf({ extradata }: CodecFixture) {
  const nalus = splitAnnexB(extradata);
  const ofType = (type: number) => nalus.filter((unit) => h264NalType(unit) === type);
  return { sps: ofType(H264_NAL.sps), pps: ofType(H264_NAL.pps) };
}

function firstSps(fixture: CodecFixture): Uint8Array {
  return setsOf(fixture).sps[0] ?? new Uint8Array(0);
}

for (const fixture of [...fixtures, crafted]) {
  Deno.test(`parseH264Sps() agrees with FFmpeg's decoder on ${fixture.name}`, () => {
    const sps = parseH264Sps(firstSps(fixture));
    const [num = 0, den = 1] = fixture.frameRate ?? [];
    // FFmpeg adds flags to the profile from bit 8 on (AV_PROFILE_H264_CONSTRAINED).
    assertEquals(
      [sps.width, sps.height, sps.profile, sps.level, sps.frameRate],
      [fixture.width, fixture.height, (fixture.profile ?? 0) & 255, fixture.level, num / den],
    );
    assertEquals(sps.maxReorderFrames, fixture.delay);
    const format = fixture.pixelFormat ?? "";
    assertEquals(sps.bitDepth, format.includes("10") ? 10 : 8);
    // FFmpeg decodes monochrome to 4:2:0, as its decoder of gray is off.
    const chroma = format.includes("444") ? 3 : format.includes("422") ? 2 : 1;
    assertEquals(sps.chromaFormat, fixture.name.includes("gray") ? 0 : chroma);
  });
}

Deno.test("parseH264Sps() tells pictures that may be fields", () => {
  for (const fixture of [...fixtures, crafted]) {
    const interlaced = /interlaced|422/.test(fixture.name);
    assertEquals([fixture.name, parseH264Sps(firstSps(fixture)).interlaced], [
      fixture.name,
      interlaced,
    ]);
  }
});

/** A Baseline SPS whose fields from log2_max_frame_num_minus4 on are those of `fields`. */
function spsWith(fields: {
  readonly pocType?: number;
  readonly references?: number;
  readonly size?: readonly [number, number];
  readonly crop?: readonly [number, number, number, number];
  readonly timing?: readonly [number, number];
}): Uint8Array {
  const { pocType = 2, references = 1, size = [10, 10], crop, timing } = fields;
  return nalu([0x67, 66, 0, 30], (writer) => {
    ue(writer, 0, 0, pocType, references).bit(0);
    ue(writer, ...size).bit(1).bit(1).bit(crop === undefined ? 0 : 1);
    if (crop !== undefined) ue(writer, ...crop);
    if (timing === undefined) {
      writer.bit(0);
      return;
    }
    writer.bit(1).bits(0, 4).bit(1).bits(timing[0], 32).bits(timing[1], 32).bits(0, 5);
  });
}

Deno.test("parseH264Sps() leaves out a frame rate that is none", () => {
  for (const timing of [[0, 50], [1, 0], [1, 2000], [1, 180_000]] as const) {
    assertEquals(parseH264Sps(spsWith({ timing })).frameRate, undefined);
  }
  assertEquals(parseH264Sps(spsWith({ timing: [1, 600] })).frameRate, 300);
});

Deno.test("parseH264Sps() throws when a value is outside its range", () => {
  const cases = [
    spsWith({ pocType: 3 }),
    spsWith({ references: 17 }),
    spsWith({ size: [4095, 10] }),
    spsWith({ size: [2 ** 31, 10] }),
    spsWith({ size: [10, 4095] }),
    spsWith({ crop: [40, 48, 0, 0] }),
    spsWith({ crop: [0, 0, 2 ** 31, 2 ** 31] }),
    nalu([0x67, 100, 0, 30], (writer) => ue(writer, 0, 4)),
    nalu([0x67, 100, 0, 30], (writer) => ue(writer, 32)),
    nalu([0x67, 100, 0, 30], (writer) => ue(writer, 0, 1, 7)),
    nalu([0x68, 66, 0, 30], (writer) => ue(writer, 0, 0, 2, 1)),
    new Uint8Array(0),
  ];
  parseH264Sps(spsWith({ crop: [40, 47, 0, 0] }));
  for (const sps of cases) assertThrows(() => parseH264Sps(sps), InvalidDataError, "Cannot");
});

Deno.test("parseH264Sps() throws when the SPS is cut off before its last field", () => {
  const sps = fullH264Sps();
  for (let length = 0; length < sps.length - 1; length++) {
    assertThrows(() => parseH264Sps(sps.subarray(0, length)), InvalidDataError);
  }
});

for (const fixture of fixtures) {
  Deno.test(`h264Config() writes FFmpeg's avcC and codec string for ${fixture.name}`, () => {
    const config = h264Config(setsOf(fixture));
    assertEquals(config.description, fixture.record);
    assertEquals(config.description, fixture.flvRecord);
    const [num = 0, den = 1] = fixture.frameRate ?? [];
    assertEquals({ ...config, description: undefined }, {
      kind: "video",
      fourcc: "avc1",
      codec: fixture.codec ?? "",
      description: undefined,
      codedWidth: fixture.width ?? 0,
      codedHeight: fixture.height ?? 0,
      frameRate: num / den,
    });
  });

  Deno.test(`parseAvcC() reads what serializeAvcC() writes for ${fixture.name}`, () => {
    for (const lengthSize of [1, 2, 4]) {
      const record = { ...setsOf(fixture), lengthSize };
      assertEquals(parseAvcC(serializeAvcC(record)), record);
    }
    assertEquals(serializeAvcC(parseAvcC(fixture.record)), fixture.record);
  });
}

Deno.test("serializeAvcC() keeps SPS extensions", () => {
  const record = { ...setsOf(crafted), lengthSize: 4, spsExtension: [Uint8Array.of(0x6d, 0x80)] };
  assertEquals(parseAvcC(serializeAvcC(record)), record);
});

Deno.test("parseAvcC() reads High profile records without the bytes at the end", () => {
  const { record } = readFixture("h264_high_854x480");
  assertEquals(parseAvcC(record.subarray(0, -4)), parseAvcC(record));
});

Deno.test("parseAvcC() throws when the version or length size is wrong", () => {
  const { record } = readFixture("h264_high_854x480");
  assertThrows(() => parseAvcC(record.with(0, 0)), InvalidDataError, "version is 0");
  assertThrows(() => parseAvcC(record.with(4, 0xfe)), InvalidDataError, "length size is 3");
});

Deno.test("serializeAvcC() throws when the parameter sets do not fit", () => {
  const { sps, pps } = setsOf(crafted);
  const [first = new Uint8Array(0)] = sps;
  const sets = (length: number) => Array.from({ length }, () => first);
  const long = [new Uint8Array(65_536)];
  for (
    const record of [
      { sps: [], pps },
      { sps: sets(32), pps },
      { sps, pps: sets(256) },
      { sps, pps: long },
    ]
  ) {
    assertThrows(() => serializeAvcC({ ...record, lengthSize: 4 }), InvalidDataError, "Cannot");
  }
});

Deno.test("h264ConfigFromAvcC() keeps the record when its lengths have four bytes", () => {
  const fixture = readFixture("h264_high_854x480");
  const config = h264ConfigFromAvcC(fixture.record);
  assertStrictEquals(config.description, fixture.record);
  assertEquals(config, h264Config(setsOf(fixture)));
});

Deno.test("h264ConfigFromAvcC() rewrites the record when its lengths are shorter", () => {
  const fixture = readFixture("h264_high_854x480");
  for (const lengthSize of [1, 2]) {
    const config = h264ConfigFromAvcC(serializeAvcC({ ...setsOf(fixture), lengthSize }));
    assertEquals(config.description, fixture.record);
  }
});

Deno.test("h264ConfigFromAvcC() and h264Config() throw when there is no SPS or PPS", () => {
  const { sps, pps } = setsOf(crafted);
  const empty = Uint8Array.of(1, 100, 0, 31, 0xff, 0xe0, 0);
  assertThrows(() => h264ConfigFromAvcC(empty), InvalidDataError, "SPSs is 0");
  const noPps = serializeAvcC({ sps, pps: [], lengthSize: 4 });
  assertThrows(() => h264ConfigFromAvcC(noPps), InvalidDataError, "PPSs is 0");
  assertThrows(() => h264Config({ sps: [], pps }), InvalidDataError, "SPSs is 0");
  assertThrows(() => h264Config({ sps, pps: [] }), InvalidDataError, "PPSs is 0");
});

for (const { name, packets, keys } of fixtures) {
  // x264 flags recovery points of periodic intra refresh too; see isH264Key().
  const expected = name === "h264_intra_refresh" ? keys.map((_, index) => index === 0) : keys;
  Deno.test(`isH264Key() agrees with the encoder on ${name}`, () => {
    assertEquals(packets.map((packet) => isH264Key(splitAnnexB(packet))), [...expected]);
  });
}

const recoverySei = Uint8Array.of(6, 6, 1, 0xc4, 0x80);
const slice = (header: number, type: number) => nalu([header], (writer) => ue(writer, 0, type));

const keyCases = [
  { name: "an IDR slice", nalus: [slice(0x65, 7)], key: true },
  { name: "an intra slice alone", nalus: [slice(0x41, 7)], key: false },
  { name: "a recovery point and I", nalus: [recoverySei, slice(0x41, 7)], key: true },
  { name: "a recovery point and SI", nalus: [recoverySei, slice(0x41, 4)], key: true },
  { name: "a recovery point and P", nalus: [recoverySei, slice(0x41, 5)], key: false },
  {
    name: "a recovery point, I and P",
    nalus: [recoverySei, slice(0x41, 2), slice(0x41, 0)],
    key: false,
  },
  { name: "a recovery point in partition A", nalus: [recoverySei, slice(0x42, 2)], key: true },
  { name: "a recovery point without slice", nalus: [recoverySei], key: false },
  {
    name: "a recovery point later on",
    nalus: [Uint8Array.of(6, 6, 1, 0x44, 0x80), slice(0x41, 7)],
    key: false,
  },
  {
    name: "a recovery point behind another message",
    nalus: [Uint8Array.of(6, 5, 2, 9, 9, 6, 1, 0xc4, 0x80), slice(0x41, 7)],
    key: true,
  },
  {
    name: "a long message of type 6 + 255",
    nalus: [Uint8Array.of(6, 255, 6, 1, 0xc4, 0x80), slice(0x41, 7)],
    key: false,
  },
  { name: "a cut SEI", nalus: [Uint8Array.of(6, 6), slice(0x41, 7)], key: false },
  {
    name: "an SEI that reaches too far",
    nalus: [Uint8Array.of(6, 5, 99, 6), slice(0x41, 7)],
    key: false,
  },
  { name: "parameter sets only", nalus: [Uint8Array.of(0x67, 66)], key: false },
  { name: "nothing", nalus: [], key: false },
] as const;

for (const { name, nalus, key } of keyCases) {
  Deno.test(`isH264Key() is ${key} when there is ${name}`, () => {
    assertEquals(isH264Key(nalus), key);
  });
}

Deno.test("h264NalType() throws when the unit is empty", () => {
  assertEquals(h264NalType(Uint8Array.of(0x65)), H264_NAL.idr);
  assertThrows(() => h264NalType(new Uint8Array(0)), InvalidDataError);
});

Deno.test("parseH264Sps(), parseAvcC() and isH264Key() withstand damaged data", () => {
  assertWithstands(parseH264Sps, [...fixtures.map(firstSps), fullH264Sps()]);
  assertWithstands(h264ConfigFromAvcC, fixtures.map(({ record }) => record));
  assertWithstands((data) => parseAvcC(data), fixtures.map(({ record }) => record));
  const units = [recoverySei, slice(0x41, 7), slice(0x65, 2)];
  assertWithstands((data) => isH264Key([data, ...units]), units);
  assertWithstands((data) => isH264Key([recoverySei, data]), units);
});

Deno.test("isH264Key() reads a slice header behind emulation prevention", () => {
  for (const [type, key] of [[7, true], [5, false]] as const) {
    const escaped = nalu([0x41], (writer) => ue(writer, 2 ** 22 + 5, type));
    assertEquals(Array.from(escaped.subarray(1, 4)), [0, 0, 3]);
    assertEquals(isH264Key([recoverySei, escaped]), key);
  }
});
