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
import { fullH264Sps, nalu, se, ue } from "../support/crafted_headers.ts";
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

/** What an SPS of the test below has; each field is an Exp-Golomb code unless said otherwise. */
interface SpsFields {
  readonly profile: number;
  readonly constraints: number;
  readonly id: number;
  readonly chroma: number;
  readonly depths: readonly [number, number];
  /** A scaling list's first delta_scale, signed. */
  readonly delta?: number;
  readonly frameNumber: number;
  readonly pocType: number;
  /** log2_max_pic_order_cnt_lsb_minus4, or the length of the cycle. */
  readonly poc: number;
  readonly references: number;
  readonly size: readonly [number, number];
  readonly crop?: readonly [number, number, number, number];
  /** num_units_in_tick and time_scale, of 32 bits. */
  readonly timing?: readonly [number, number];
  readonly buffers?: number;
  readonly reordered?: number;
}

const usual: SpsFields = {
  profile: 100,
  constraints: 0,
  id: 0,
  chroma: 1,
  depths: [0, 0],
  frameNumber: 0,
  pocType: 0,
  poc: 0,
  references: 1,
  size: [9, 9],
};

function spsWith(changes: Partial<SpsFields>): Uint8Array {
  const fields = { ...usual, ...changes };
  return nalu([0x67, fields.profile, fields.constraints, 30], (writer) => {
    ue(writer, fields.id);
    if (![66, 77, 88].includes(fields.profile)) {
      ue(writer, fields.chroma);
      if (fields.chroma === 3) writer.bit(0);
      ue(writer, ...fields.depths).bit(0).bit(fields.delta === undefined ? 0 : 1);
      // The delta, then the one that makes the scale 0; seven lists that are not there.
      if (fields.delta !== undefined) {
        se(writer.bit(1), fields.delta, -8 - fields.delta).bits(0, fields.chroma === 3 ? 11 : 7);
      }
    }
    ue(writer, fields.frameNumber, fields.pocType);
    if (fields.pocType === 0) ue(writer, fields.poc);
    if (fields.pocType === 1) {
      se(writer.bit(1), 0, 0);
      ue(writer, fields.poc);
      for (let index = 0; index < fields.poc; index++) se(writer, 1);
    }
    ue(writer, fields.references).bit(0);
    ue(writer, ...fields.size).bit(1).bit(1).bit(fields.crop === undefined ? 0 : 1);
    if (fields.crop !== undefined) ue(writer, ...fields.crop);
    const { timing, buffers, reordered } = fields;
    const vui = timing ?? buffers ?? reordered;
    writer.bit(vui === undefined ? 0 : 1).bits(0, 4);
    writer.bit(timing === undefined ? 0 : 1);
    if (timing !== undefined) writer.bits(timing[0], 32).bits(timing[1], 32).bit(0);
    writer.bit(buffers === undefined ? 0 : 1);
    if (buffers !== undefined) {
      ue(writer, buffers).bits(0, 8);
      for (let index = 0; index <= buffers; index++) ue(writer, 1, 1).bit(0);
      writer.bits(0, 20);
    }
    writer.bit(0).bits(0, buffers === undefined ? 1 : 2).bit(reordered === undefined ? 0 : 1);
    if (reordered !== undefined) ue(writer.bit(0), 0, 0, 0, 0, reordered, 16);
  });
}

Deno.test("parseH264Sps() leaves out a frame rate that is none", () => {
  for (const timing of [[0, 50], [1, 0], [1, 601], [1, 2000], [1, 180_000]] as const) {
    assertEquals("frameRate" in parseH264Sps(spsWith({ timing })), false);
  }
  assertEquals(parseH264Sps(spsWith({ timing: [1, 600] })).frameRate, 300);
});

const reorders = [
  { changes: {}, maxReorderFrames: undefined },
  { changes: { pocType: 1 }, maxReorderFrames: undefined },
  { changes: { pocType: 2 }, maxReorderFrames: 0 },
  { changes: { pocType: 2, reordered: 1 }, maxReorderFrames: 1 },
  { changes: { profile: 66, constraints: 0x10 }, maxReorderFrames: undefined },
  { changes: { profile: 100, constraints: 0xef }, maxReorderFrames: undefined },
  { changes: { profile: 44 }, maxReorderFrames: 0 },
  ...[86, 100, 110, 122, 244].map((profile) => ({
    changes: { profile, constraints: 0x10 },
    maxReorderFrames: 0,
  })),
];

for (const { changes, maxReorderFrames } of reorders) {
  const name = JSON.stringify(changes);
  Deno.test(`parseH264Sps() has maxReorderFrames ${maxReorderFrames} when it has ${name}`, () => {
    const sps = parseH264Sps(spsWith(changes));
    assertEquals(sps.maxReorderFrames, maxReorderFrames);
    assertEquals("maxReorderFrames" in sps, maxReorderFrames !== undefined);
  });
}

Deno.test("parseH264Sps() reads the chroma format of every profile that has one", () => {
  for (const profile of [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135]) {
    const sps = parseH264Sps(spsWith({ profile, chroma: 2, depths: [1, 2] }));
    assertEquals([sps.chromaFormat, sps.bitDepth, sps.chromaBitDepth], [2, 9, 10]);
  }
});

// The last value within the range and the first one outside.
const limits = [
  { name: "seq_parameter_set_id", at: (id: number) => ({ id }), max: 31 },
  { name: "chroma_format_idc", at: (chroma: number) => ({ chroma }), max: 3 },
  { name: "bit_depth_luma_minus8", at: (n: number) => ({ depths: [n, 0] as const }), max: 6 },
  { name: "bit_depth_chroma_minus8", at: (n: number) => ({ depths: [0, n] as const }), max: 6 },
  { name: "delta_scale", at: (delta: number) => ({ delta }), max: 119 },
  { name: "log2_max_frame_num_minus4", at: (frameNumber: number) => ({ frameNumber }), max: 12 },
  { name: "pic_order_cnt_type", at: (pocType: number) => ({ pocType }), max: 2 },
  { name: "log2_max_pic_order_cnt_lsb_minus4", at: (poc: number) => ({ poc }), max: 12 },
  {
    name: "num_ref_frames_in_pic_order_cnt_cycle",
    at: (poc: number) => ({ poc, pocType: 1 }),
    max: 255,
  },
  { name: "max_num_ref_frames", at: (references: number) => ({ references }), max: 16 },
  { name: "size", at: (n: number) => ({ size: [n, 9] as const }), max: 4094 },
  { name: "size", at: (n: number) => ({ size: [9, n] as const }), max: 4094 },
  { name: "size", at: (n: number) => ({ crop: [40, n, 0, 0] as const }), max: 39 },
  { name: "size", at: (n: number) => ({ crop: [0, 0, n, 40] as const }), max: 39 },
  { name: "cpb_cnt_minus1", at: (buffers: number) => ({ buffers }), max: 31 },
  { name: "max_num_reorder_frames", at: (reordered: number) => ({ reordered }), max: 16 },
] as const;

for (const { name, at, max } of limits) {
  Deno.test(`parseH264Sps() takes ${name} up to ${max}`, () => {
    parseH264Sps(spsWith(at(max)));
    const over = spsWith(at(name === "delta_scale" ? 128 : max + 1));
    assertThrows(() => parseH264Sps(over), InvalidDataError, name);
  });
}

Deno.test("parseH264Sps() throws when a value is far outside its range", () => {
  const cases = [
    spsWith({ size: [2 ** 31, 10] }),
    spsWith({ crop: [0, 0, 2 ** 31, 2 ** 31] }),
    spsWith({ delta: -129 }),
    spsWith({}).with(0, 0x68),
    new Uint8Array(0),
  ];
  parseH264Sps(spsWith({ delta: -128 }));
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
  {
    name: "a recovery point behind a message of 300 bytes",
    nalus: [Uint8Array.of(6, 5, 255, 45, ...new Uint8Array(300), 6, 1, 0xc4, 0x80), slice(0x41, 7)],
    key: true,
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
  for (const [type, key] of [[2, true], [4, true], [7, true], [9, true], [5, false]] as const) {
    const escaped = nalu([0x41], (writer) => ue(writer, 2 ** 22 + 5, type));
    assertEquals(Array.from(escaped.subarray(1, 4)), [0, 0, 3]);
    assertEquals(isH264Key([recoverySei, escaped]), key);
  }
});
