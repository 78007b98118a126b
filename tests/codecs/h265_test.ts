import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import {
  H265_NAL,
  h265Config,
  h265ConfigFromHvcC,
  h265NalType,
  isH265Key,
  parseH265Sps,
  parseHvcC,
  serializeHvcC,
} from "../../src/codecs/h265.ts";
import { splitAnnexB } from "../../src/codecs/nal.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { type CodecFixture, readFixture, readFixtures } from "../support/codec_fixtures.ts";
import { fullH265Sps, nalu, ue } from "../support/crafted_headers.ts";
import { assertWithstands } from "../support/hostile.ts";

const fixtures = readFixtures("h265_");
const crafted = readFixture("crafted_h265");
const chromaFormats = { gray: 0, "420": 1, "422": 2, "444": 3 };

function setsOf({ extradata }: CodecFixture) {
  const nalus = splitAnnexB(extradata);
  const ofType = (type: number) => nalus.filter((unit) => h265NalType(unit) === type);
  const sei = ofType(H265_NAL.prefixSei);
  return {
    vps: ofType(H265_NAL.vps),
    sps: ofType(H265_NAL.sps),
    pps: ofType(H265_NAL.pps),
    ...(sei.length > 0 && { sei }),
  };
}

function firstSps(fixture: CodecFixture): Uint8Array {
  return setsOf(fixture).sps[0] ?? new Uint8Array(0);
}

for (const fixture of [...fixtures, crafted]) {
  Deno.test(`parseH265Sps() agrees with FFmpeg's decoder on ${fixture.name}`, () => {
    const sps = parseH265Sps(firstSps(fixture));
    const [num = 0, den = 1] = fixture.frameRate ?? [];
    assertEquals(
      [sps.width, sps.height, sps.profile, sps.level, sps.frameRate, sps.maxReorderFrames],
      [
        fixture.width,
        fixture.height,
        fixture.profile,
        fixture.level,
        num / den,
        fixture.delay,
      ],
    );
    const format = fixture.pixelFormat ?? "";
    assertEquals(sps.bitDepth, format.includes("10") ? 10 : 8);
    const [, chroma] = Object.entries(chromaFormats).find(([name]) => format.includes(name)) ?? [];
    assertEquals(sps.chromaFormat, chroma);
  });
}

Deno.test("parseH265Sps() reads every field of an SPS with every branch", () => {
  assertEquals(parseH265Sps(fullH265Sps()), {
    profileSpace: 0,
    tier: 0,
    profile: 2,
    compatibility: 0x20000000,
    constraints: Uint8Array.of(0x90, 0, 0, 0, 0, 0),
    level: 120,
    id: 0,
    maxSubLayers: 3,
    temporalIdNested: true,
    chromaFormat: 1,
    bitDepth: 10,
    chromaBitDepth: 10,
    width: 1270,
    height: 710,
    maxReorderFrames: 2,
    minSpatialSegmentation: 300,
    frameRate: 50,
  });
});

Deno.test("parseH265Sps() throws when the SPS is cut off before its last field", () => {
  const sps = fullH265Sps();
  for (let length = 0; length < sps.length - 1; length++) {
    assertThrows(() => parseH265Sps(sps.subarray(0, length)), InvalidDataError);
  }
});

/** What an SPS of the tests below has, as Exp-Golomb codes unless said otherwise. */
interface SpsFields {
  readonly id: number;
  readonly chroma: number;
  /** separate_colour_plane_flag where chroma is 3. */
  readonly separate: number;
  readonly size: readonly [number, number];
  readonly window?: readonly [number, number, number, number];
  readonly depths: readonly [number, number];
  readonly poc: number;
  readonly buffering: number;
  readonly reordered: number;
  readonly sets: number;
  readonly pictures: readonly [number, number];
  readonly longTerm?: number;
  /** num_units_in_tick and time_scale, of 32 bits. */
  readonly timing?: readonly [number, number];
  readonly buffers?: number;
  readonly segmentation?: number;
}

const usual: SpsFields = {
  id: 0,
  chroma: 1,
  separate: 0,
  size: [64, 64],
  depths: [0, 0],
  poc: 0,
  buffering: 4,
  reordered: 2,
  sets: 0,
  pictures: [0, 0],
};

function spsWith(changes: Partial<SpsFields>): Uint8Array {
  const { window, longTerm, timing, buffers, segmentation, ...fields } = { ...usual, ...changes };
  return nalu([0x42, 1], (writer) => {
    writer.bits(1, 8).bits(1, 8).bits(0, 32).bits(0, 32).bits(0, 16).bits(90, 8);
    ue(writer, fields.id, fields.chroma);
    if (fields.chroma === 3) writer.bit(fields.separate);
    ue(writer, ...fields.size).bit(window === undefined ? 0 : 1);
    if (window !== undefined) ue(writer, ...window);
    ue(writer, ...fields.depths, fields.poc).bit(1);
    ue(writer, fields.buffering, fields.reordered, 0, 0, 3, 0, 3, 0, 0).bits(0, 4);
    ue(writer, fields.sets);
    for (let set = 0; set < fields.sets; set++) {
      ue(set > 0 ? writer.bit(0) : writer, ...fields.pictures);
      const pictures = fields.pictures[0] + fields.pictures[1];
      for (let picture = 0; picture < pictures; picture++) ue(writer, 0).bit(1);
    }
    writer.bit(longTerm === undefined ? 0 : 1);
    if (longTerm !== undefined) ue(writer, longTerm);
    for (let picture = 0; picture < (longTerm ?? 0); picture++) writer.bits(0, 5 + fields.poc);
    writer.bits(0, 2).bit(1).bits(0, 8);
    const timed = timing !== undefined || buffers !== undefined;
    writer.bit(timed ? 1 : 0);
    if (timed) {
      const [units, scale] = timing ?? [1, 25];
      writer.bits(units, 32).bits(scale, 32).bit(0).bit(buffers === undefined ? 0 : 1);
    }
    if (buffers !== undefined) {
      ue(writer.bit(1).bit(0).bit(0).bits(0, 23).bit(1), 0, buffers);
      for (let buffer = 0; buffer <= buffers; buffer++) ue(writer, 1, 1).bit(0);
    }
    writer.bit(segmentation === undefined ? 0 : 1);
    if (segmentation !== undefined) ue(writer.bits(0, 3), segmentation, 0, 0, 0, 0);
    writer.bit(0);
  });
}

// The last value within the range and the first one outside.
const limits = [
  { name: "sps_seq_parameter_set_id", at: (id: number) => ({ id }), max: 15 },
  { name: "chroma_format_idc", at: (chroma: number) => ({ chroma }), max: 3 },
  { name: "size", at: (n: number) => ({ size: [n, 64] as const }), max: 65_535 },
  { name: "size", at: (n: number) => ({ size: [64, n] as const }), max: 65_535 },
  { name: "size", at: (n: number) => ({ window: [n, 16, 0, 0] as const }), max: 15 },
  { name: "size", at: (n: number) => ({ window: [0, 0, 16, n] as const }), max: 15 },
  { name: "bit_depth_luma_minus8", at: (n: number) => ({ depths: [n, 0] as const }), max: 8 },
  { name: "bit_depth_chroma_minus8", at: (n: number) => ({ depths: [0, n] as const }), max: 8 },
  { name: "log2_max_pic_order_cnt_lsb_minus4", at: (poc: number) => ({ poc }), max: 12 },
  { name: "sps_max_dec_pic_buffering_minus1", at: (n: number) => ({ buffering: n }), max: 15 },
  { name: "sps_max_num_reorder_pics", at: (n: number) => ({ reordered: n }), max: 15 },
  { name: "num_short_term_ref_pic_sets", at: (sets: number) => ({ sets }), max: 64 },
  {
    name: "num_negative_pics",
    at: (n: number) => ({ sets: 2, pictures: [n, 0] as const }),
    max: 16,
  },
  {
    name: "num_positive_pics",
    at: (n: number) => ({ sets: 2, pictures: [10, n] as const }),
    max: 6,
  },
  { name: "num_long_term_ref_pics_sps", at: (n: number) => ({ longTerm: n }), max: 32 },
  { name: "cpb_cnt_minus1", at: (buffers: number) => ({ buffers }), max: 31 },
  { name: "min_spatial_segmentation_idc", at: (n: number) => ({ segmentation: n }), max: 4095 },
] as const;

for (const { name, at, max } of limits) {
  Deno.test(`parseH265Sps() takes ${name} up to ${max}`, () => {
    parseH265Sps(spsWith(at(max)));
    assertThrows(() => parseH265Sps(spsWith(at(max + 1))), InvalidDataError, name);
  });
}

Deno.test("parseH265Sps() throws when the NAL unit is no SPS of the base layer or has a size of 0", () => {
  const sps = spsWith({});
  const cases = [
    sps.with(0, 0x44),
    sps.with(0, 0x43),
    sps.with(1, 9),
    spsWith({ size: [0, 64] }),
    spsWith({ size: [64, 0] }),
    spsWith({ size: [64, 2 ** 32 - 2] }),
  ];
  assertThrows(() => parseH265Sps(new Uint8Array(0)), InvalidDataError, "Cannot read");
  for (const data of cases) {
    assertThrows(() => parseH265Sps(data), InvalidDataError, "Cannot parse");
  }
  const layers = nalu([0x42, 1], (writer) => writer.bits(0x0e, 8).bits(0, 8000));
  assertThrows(() => parseH265Sps(layers), InvalidDataError, "sps_max_sub_layers_minus1 is 7");
  const most = nalu([0x42, 1], (writer) => writer.bits(0x0c, 8).bits(0, 8000));
  assertThrows(() => parseH265Sps(most), InvalidDataError, "leading zeros");
});

Deno.test("parseH265Sps() crops by the units of the chroma format", () => {
  const window = [1, 2, 3, 4] as const;
  const sizes = [
    { changes: { chroma: 0 }, size: [61, 57] },
    { changes: { chroma: 1 }, size: [58, 50] },
    { changes: { chroma: 2 }, size: [58, 57] },
    { changes: { chroma: 3 }, size: [61, 57] },
    { changes: { chroma: 3, separate: 1 }, size: [61, 57] },
  ];
  for (const { changes, size } of sizes) {
    const { width, height } = parseH265Sps(spsWith({ ...changes, window }));
    assertEquals([width, height], size);
  }
});

Deno.test("parseH265Sps() leaves out a frame rate that is none", () => {
  for (const timing of [[0, 25], [1, 0], [1, 301], [1, 1000], [1, 90_000]] as const) {
    assertEquals("frameRate" in parseH265Sps(spsWith({ timing })), false);
  }
  assertEquals(parseH265Sps(spsWith({ timing: [1, 300] })).frameRate, 300);
  assertEquals(parseH265Sps(spsWith({ timing: [1001, 24_000] })).frameRate, 24_000 / 1001);
});

for (const fixture of fixtures) {
  Deno.test(`serializeHvcC() writes FFmpeg's hvcC for ${fixture.name}`, () => {
    const record = { ...setsOf(fixture), lengthSize: 4 };
    // FFmpeg's muxer misreads the HRD of two sub-layers, so that it finds a segmentation behind it
    // where bitstream_restriction_flag is 0.
    const expected = fixture.name === "h265_vui_hrd_layers"
      ? fixture.record.with(14, 0).with(15, 0xfc)
      : fixture.record;
    assertEquals(serializeHvcC(record), expected);
    assertEquals(parseHvcC(fixture.record), record);
    assertEquals(parseHvcC(fixture.flvRecord), record);
    for (const lengthSize of [1, 2]) {
      assertEquals(parseHvcC(serializeHvcC({ ...record, lengthSize })), { ...record, lengthSize });
    }
  });

  Deno.test(`h265Config() has FFmpeg's size, rate and codec string for ${fixture.name}`, () => {
    const { vps, sps, pps } = setsOf(fixture);
    const config = h265Config({ vps, sps, pps });
    const [num = 0, den = 1] = fixture.frameRate ?? [];
    // FFmpeg writes small digits, which mean the same, and leaves general_lower_bit_rate_constraint_flag
    // out of the constraints, so these are those of its hvcC.
    const constraints = Array.from(fixture.record.subarray(6, 12), (byte) => byte.toString(16));
    while (constraints.at(-1) === "0") constraints.pop();
    const general = fixture.codec?.split(".").slice(1, 4) ?? [];
    const codec = ["hvc1", ...[...general, ...constraints].map((part) => part.toUpperCase())];
    assertEquals({ ...config, description: undefined }, {
      kind: "video",
      fourcc: "hvc1",
      codec: codec.join("."),
      description: undefined,
      codedWidth: fixture.width ?? 0,
      codedHeight: fixture.height ?? 0,
      frameRate: num / den,
    });
    assertEquals(parseHvcC(config.description ?? new Uint8Array(0)), {
      vps,
      sps,
      pps,
      lengthSize: 4,
    });
  });
}

// The profile fields of ISO/IEC 14496-15 E.3, by the codec string that they make.
const codecs = [
  { fields: [0x01, 0x60000000, "b00000000000"], level: 93, codec: "hvc1.1.6.L93.B0" },
  { fields: [0x22, 0x20000000, "900000000000"], level: 153, codec: "hvc1.2.4.H153.90" },
  { fields: [0x41, 0x80000000, "000000000000"], level: 30, codec: "hvc1.A1.1.L30" },
  {
    fields: [0xc4, 0x00000001, "000800000001"],
    level: 186,
    codec: "hvc1.C4.80000000.L186.0.8.0.0.0.1",
  },
] as const;

for (const { fields: [first, compatibility, constraints], level, codec } of codecs) {
  Deno.test(`h265Config() makes the codec string ${codec}`, () => {
    const bytes = constraints.match(/../g)?.map((digits) => parseInt(digits, 16)) ?? [];
    const sps = nalu([0x42, 1], (writer) => {
      writer.bits(1, 8).bits(first, 8).bits(compatibility, 32);
      for (const byte of [...bytes, level]) writer.bits(byte, 8);
      ue(writer, 0, 1, 64, 64).bit(0);
      ue(writer, 0, 4, 4).bit(1);
      ue(writer, 4, 2, 4, 0, 3, 0, 3, 0, 0).bits(0, 4);
      ue(writer, 0).bits(0, 5);
    });
    const pps = [Uint8Array.of(0x44, 1, 0xc0)];
    const config = h265Config({ vps: [Uint8Array.of(0x40, 1, 0x0c)], sps: [sps], pps });
    assertEquals([config.codec, config.codedWidth], [codec, 64]);
    assertEquals("frameRate" in config, false);
    const { description = sps } = config;
    assertEquals(Array.from(description.subarray(1, 3)), [first, compatibility >>> 24]);
    // Bit depths of luma and chroma, 8 and 12 bits.
    assertEquals(Array.from(description.subarray(17, 19)), [0xf8, 0xfc]);
  });
}

Deno.test("h265ConfigFromHvcC() keeps the record when its lengths have four bytes", () => {
  const fixture = readFixture("h265_main_854x480");
  for (const record of [fixture.record, fixture.flvRecord]) {
    const config = h265ConfigFromHvcC(record);
    assertStrictEquals(config.description, record);
    assertEquals(config.codec, "hvc1.1.6.L90.90");
  }
});

Deno.test("h265ConfigFromHvcC() rewrites the record when its lengths are shorter", () => {
  const fixture = readFixture("h265_main_854x480");
  for (const lengthSize of [1, 2]) {
    const config = h265ConfigFromHvcC(serializeHvcC({ ...setsOf(fixture), lengthSize }));
    assertEquals(config.description, fixture.record);
  }
});

Deno.test("h265ConfigFromHvcC() and h265Config() throw when there is no VPS, SPS or PPS", () => {
  const sets = setsOf(crafted);
  for (const kind of ["vps", "sps", "pps"] as const) {
    const message = `${kind.toUpperCase()}s is 0`;
    const partial = { ...sets, [kind]: [] };
    assertThrows(() => h265Config(partial), InvalidDataError, message);
    if (kind === "sps") continue;
    const record = serializeHvcC({ ...partial, lengthSize: 4 });
    assertThrows(() => h265ConfigFromHvcC(record), InvalidDataError, message);
  }
  const empty = new Uint8Array(23);
  empty.set([1]);
  assertThrows(() => h265ConfigFromHvcC(empty), InvalidDataError, "VPSs is 0");
});

Deno.test("parseHvcC() throws when the version, length size or a count is wrong", () => {
  const { record } = readFixture("h265_main_854x480");
  assertThrows(() => parseHvcC(record.with(0, 2)), InvalidDataError, "version is 2");
  assertThrows(() => parseHvcC(record.with(21, 0x0e)), InvalidDataError, "length size is 3");
  const many = new Uint8Array(26 + 3 * 65);
  many.set([1]);
  many.set([1, 33, 0, 65], 22);
  for (let at = 26; at < many.length; at += 3) many[at + 1] = 1;
  assertThrows(() => parseHvcC(many), InvalidDataError, "over 64");
  assertEquals(parseHvcC(many.with(25, 64)).sps.length, 64);
  const empty = Uint8Array.of(...many.subarray(0, 25), 1, 0, 0);
  assertEquals(parseHvcC(empty).sps, []);
});

Deno.test("parseHvcC() passes over arrays of other types", () => {
  const { record } = readFixture("h265_main_854x480");
  const more = Uint8Array.of(...record.with(22, (record[22] ?? 0) + 1), 40, 0, 1, 0, 1, 9);
  assertEquals(parseHvcC(more), parseHvcC(record));
});

Deno.test("serializeHvcC() throws when the parameter sets do not fit", () => {
  const sets = setsOf(crafted);
  const pps = Array.from({ length: 65 }, () => Uint8Array.of(0x44, 1));
  for (const wrong of [{ pps }, { pps: [new Uint8Array(65_536)] }, { sps: [] }]) {
    const record = { ...sets, ...wrong, lengthSize: 4 };
    assertThrows(() => serializeHvcC(record), InvalidDataError, "Cannot");
  }
});

for (const { name, packets, keys } of fixtures) {
  Deno.test(`isH265Key() agrees with the encoder on ${name}`, () => {
    assertEquals(packets.map((packet) => isH265Key(splitAnnexB(packet))), [...keys]);
  });
}

Deno.test("isH265Key() is true for types 16 to 21 of the base layer only", () => {
  for (let type = 0; type < 64; type++) {
    const sei = Uint8Array.of(78, 1, 0x80);
    const unit = (layer: number) =>
      Uint8Array.of((type << 1) | (layer >> 5), (layer << 3) & 255 | 1);
    assertEquals([type, isH265Key([sei, unit(0)])], [type, type >= 16 && type <= 21]);
    assertEquals([type, isH265Key([unit(1)])], [type, false]);
    assertEquals([type, isH265Key([unit(32)])], [type, false]);
  }
  assertEquals(isH265Key([]), false);
});

Deno.test("h265NalType() and isH265Key() throw when the unit is cut off", () => {
  assertThrows(() => h265NalType(new Uint8Array(0)), InvalidDataError);
  assertThrows(() => isH265Key([Uint8Array.of(0x26)]), InvalidDataError);
  assertThrows(() => isH265Key([new Uint8Array(0)]), InvalidDataError);
});

Deno.test("parseH265Sps(), parseHvcC() and isH265Key() withstand damaged data", () => {
  const records = [serializeHvcC({ ...setsOf(crafted), lengthSize: 4 })];
  for (const fixture of fixtures) {
    const { vps, sps, pps } = setsOf(fixture);
    records.push(serializeHvcC({ vps, sps, pps, lengthSize: 4 }));
  }
  assertWithstands(parseH265Sps, [...fixtures.map(firstSps), fullH265Sps()]);
  assertWithstands(h265ConfigFromHvcC, records);
  assertWithstands(parseHvcC, records);
  assertWithstands((data) => isH265Key([data]), [Uint8Array.of(0x26, 1, 0x80)]);
});
