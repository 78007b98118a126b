import { assertEquals, assertNotStrictEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { BitWriter } from "../../src/bits.ts";
import { aacConfig, serializeAudioSpecificConfig } from "../../src/codecs/aac.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { LatmDepacketizer } from "../../src/rtp/latm.ts";
import { parseStreamMux } from "../../src/rtp/latm_mux.ts";
import type { RtpFormat } from "../../src/rtp/format.ts";
import { CRAFTED_ASC } from "../support/crafted_headers.ts";
import {
  assertAsExpected,
  assertNeverWrong,
  assertWithstandsPackets,
  formatWith,
  packetsOf,
  plain,
  run,
  runHostile,
  type Sent,
} from "../support/frame_packets.ts";
import { assertWithstands } from "../support/hostile.ts";
import { fixtureNames, readRtpFixture } from "../support/rtp_fixtures.ts";

const fixtures = fixtureNames().filter((name) => name.includes("latm")).map(readRtpFixture);

for (const fixture of fixtures) {
  Deno.test(`LatmDepacketizer.push() gives the frames of ${fixture.name}`, () => {
    assertAsExpected(fixture, (format) => new LatmDepacketizer(format));
  });

  Deno.test(`LatmDepacketizer.push() gives no wrong frame of ${fixture.name} when it is damaged`, () => {
    assertNeverWrong(fixture, (format) => new LatmDepacketizer(format));
  });
}

/** AAC LC of 48 kHz stereo, and of 44.1 kHz mono, each of 16 bits. */
const STEREO = Uint8Array.of(0x11, 0x90);
const MONO = Uint8Array.of(0x12, 0x08);

/** What a StreamMuxConfig shall say. */
interface Mux {
  readonly asc?: Uint8Array;
  /** Bits of `asc`. */
  readonly ascBits?: number;
  readonly version?: number;
  readonly payloads?: number;
  /** Bytes of each payload. */
  readonly fixed?: number;
  readonly otherBits?: number;
  readonly checked?: boolean;
}

/** Writes a StreamMuxConfig (ISO/IEC 14496-3 Table 1.42). */
function writeMux(writer: BitWriter, mux: Mux): BitWriter {
  const { asc = STEREO, ascBits = 8 * asc.length, version = 0, payloads = 1, otherBits = 0 } = mux;
  writer.bit(version);
  if (version === 1) writer.bit(0).bits(1, 2).bits(0x1234, 16);
  writer.bit(1).bits(payloads - 1, 6).bits(0, 4).bits(0, 3);
  if (version === 1) writer.bits(0, 2).bits(ascBits, 8);
  for (let bit = 0; bit < ascBits; bit++) writer.bit(((asc[bit >> 3] ?? 0) >> (7 - (bit & 7))) & 1);
  if (mux.fixed === undefined) writer.bits(0, 3).bits(0xff, 8);
  else writer.bits(1, 3).bits(mux.fixed - 20, 9);
  writer.flag(otherBits > 0);
  if (otherBits > 0 && version === 1) writer.bits(1, 2).bits(otherBits, 16);
  else if (otherBits > 0) writer.bit(1).bits(otherBits >> 8, 8).bit(0).bits(otherBits & 255, 8);
  writer.flag(mux.checked === true);
  if (mux.checked === true) writer.bits(0x5a, 8);
  return writer;
}

function muxBytes(mux: Mux): Uint8Array {
  return writeMux(new BitWriter(), mux).finish();
}

/** An AudioMuxElement (Table 1.41): with its configuration, with the last one's, or as of none in band. */
function element(
  payloads: readonly (readonly number[])[],
  mux?: Mux | "same",
  { fixed = false, otherBits = 0 } = {},
): Uint8Array {
  const writer = new BitWriter();
  if (mux !== undefined) writer.flag(mux === "same");
  if (mux !== undefined && mux !== "same") writeMux(writer, mux);
  for (const payload of payloads) {
    if (!fixed) {
      for (let rest = payload.length; rest >= 0; rest -= 255) writer.bits(Math.min(rest, 255), 8);
    }
    for (const byte of payload) writer.bits(byte, 8);
  }
  for (let bit = 0; bit < otherBits; bit++) writer.bit(1);
  return writer.finish();
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function outOfBand(mux: Mux): RtpFormat {
  return formatWith("MP4A-LATM", { cpresent: "0", config: toHex(muxBytes(mux)) });
}

const inBand = formatWith("MP4A-LATM");
const long = Array.from({ length: 600 }, (_, index) => index & 255);
const exact = Array.from({ length: 255 }, (_, index) => index);
const fixed = Array.from({ length: 21 }, (_, index) => index + 200);

// What is sent in which format, and the frames that come of it with their timestamps in front.
const cases: {
  readonly name: string;
  readonly format: RtpFormat;
  readonly sent: readonly (Sent | undefined)[];
  readonly frames: readonly number[][];
  readonly dropped?: number;
}[] = [
  {
    name: "an element a packet, configured out of band",
    format: outOfBand({}),
    sent: [
      { payload: element([[1, 2, 3]]), timestamp: 5, marker: true },
      { payload: element([exact]), timestamp: 6, marker: true },
      { payload: element([long]), timestamp: 7, marker: true },
    ],
    frames: [[5, 1, 2, 3], [6, ...exact], [7, ...long]],
  },
  {
    name: "an element in three packets",
    format: outOfBand({}),
    sent: [0, 1, 400].map((start, index) => ({
      payload: element([long]).subarray(start, [1, 400, 1000][index]),
      timestamp: 3,
      marker: index === 2,
    })),
    frames: [[3, ...long]],
  },
  {
    name: "elements that only the timestamp ends",
    format: outOfBand({}),
    sent: [
      { payload: element([long]).subarray(0, 9) },
      { payload: element([long]).subarray(9) },
      { payload: element([[1]]), timestamp: 1 },
    ],
    frames: [[0, ...long], [1, 1]],
  },
  {
    name: "three payloads in an element",
    format: outOfBand({ payloads: 3 }),
    sent: [{ payload: element([[1], [2, 2], [3]]), timestamp: 2 ** 32 - 1024, marker: true }],
    frames: [[2 ** 32 - 1024, 1], [0, 2, 2], [1024, 3]],
  },
  {
    name: "payloads of another sample rate than the clock, one of them empty",
    format: outOfBand({ payloads: 4, asc: MONO }),
    sent: [{ payload: element([[1], [], [3], [4]]), marker: true }],
    frames: [[0, 1], [2229, 3], [3344, 4]],
  },
  {
    name: "payloads of a fixed length",
    format: outOfBand({ payloads: 2, fixed: 21 }),
    sent: [{ payload: element([fixed, fixed], undefined, { fixed: true }), marker: true }],
    frames: [[0, ...fixed], [1024, ...fixed]],
  },
  {
    name: "other data and bytes behind the payload",
    format: outOfBand({ otherBits: 300 }),
    sent: [
      { payload: element([[1]], undefined, { otherBits: 300 }), marker: true },
      {
        payload: [...element([[2]], undefined, { otherBits: 300 }), 9, 9],
        timestamp: 1,
        marker: true,
      },
    ],
    frames: [[0, 1], [1, 2]],
  },
  {
    name: "elements that bring their configuration",
    format: inBand,
    sent: [
      { payload: element([[1, 2]], {}), marker: true },
      { payload: element([[0x80, 0xff]], "same"), timestamp: 1, marker: true },
      { payload: element([[4], [5]], { payloads: 2 }), timestamp: 2, marker: true },
      { payload: element([[6], [7]], "same"), timestamp: 1000, marker: true },
    ],
    frames: [[0, 1, 2], [1, 0x80, 0xff], [2, 4], [1026, 5], [1000, 6], [2024, 7]],
  },
  {
    name: "a configuration of version 1 with all there is",
    format: inBand,
    sent: [{
      payload: element(
        [[1, 2]],
        { version: 1, asc: CRAFTED_ASC.heBehind, otherBits: 5, checked: true },
        { otherBits: 5 },
      ),
      marker: true,
    }],
    frames: [[0, 1, 2]],
  },
  {
    name: "elements before any configuration",
    format: inBand,
    sent: [
      { payload: element([[1]], "same"), marker: true },
      { payload: element([[1]], "same"), timestamp: 1, marker: true },
      { payload: element([[2]], {}), timestamp: 2, marker: true },
      { payload: element([[3]], "same"), timestamp: 3, marker: true },
    ],
    frames: [[2, 2], [3, 3]],
    dropped: 2,
  },
  {
    name: "a configuration of the description while there is none in band",
    format: formatWith("MP4A-LATM", { cpresent: "1", config: toHex(muxBytes({})) }),
    sent: [{ payload: element([[1]], "same"), marker: true }],
    frames: [[0, 1]],
  },
  {
    name: "fragments of which one is missing",
    format: outOfBand({}),
    sent: [
      { payload: [5, 1, 2], timestamp: 1 },
      undefined,
      { payload: [4, 5], timestamp: 1, marker: true },
      { payload: [1, 6], timestamp: 2, marker: true },
    ],
    frames: [[2, 6]],
    dropped: 1,
  },
  {
    name: "fragments of which the first is missing",
    format: outOfBand({}),
    sent: [
      { payload: [1, 1], marker: true },
      undefined,
      { payload: [1, 2, 3], timestamp: 1, marker: true },
      { payload: [1, 6], timestamp: 2, marker: true },
      undefined,
      { payload: [9, 2], timestamp: 3, marker: true },
      undefined,
      { payload: [1, 7], timestamp: 4, marker: true },
    ],
    frames: [[0, 1], [2, 6], [4, 7]],
    dropped: 2,
  },
];

for (const { name, format, sent, frames, dropped = 0 } of cases) {
  Deno.test(`LatmDepacketizer.push() reads ${name}`, () => {
    const packets = packetsOf(sent.filter((packet) => packet !== undefined));
    const listed = sent.map((packet) => packet && packets.shift());
    const depacketizer = new LatmDepacketizer(format);
    assertEquals(plain(run(depacketizer, listed)), frames);
    assertEquals(depacketizer.dropped, dropped);
  });
}

// ISO/IEC 14496-3 1.6.2.1: AudioSpecificConfigs with the bits that they have where nothing is behind.
const configs = [
  { name: "AAC LC", asc: STEREO, bits: 16, codec: "mp4a.40.2" },
  { name: "SBR in front", asc: CRAFTED_ASC.he, bits: 25, codec: "mp4a.40.5" },
  { name: "an escaped rate", asc: CRAFTED_ASC.oddRate, bits: 40, codec: "mp4a.40.2" },
  {
    name: "a program",
    asc: CRAFTED_ASC.program,
    bits: 8 * CRAFTED_ASC.program.length,
    codec: "mp4a.40.2",
  },
];

for (const { name, asc, bits, codec } of configs) {
  for (const version of [0, 1]) {
    Deno.test(`parseStreamMux() takes ${name} out of a configuration of version ${version}`, () => {
      const mux = { asc, ascBits: bits, version, payloads: 64, otherBits: 7 };
      const { config, payloads, payloadBytes, otherBits } = parseStreamMux(muxBytes(mux));
      assertEquals(config, { ...aacConfig(asc), codec });
      assertEquals([payloads, payloadBytes, otherBits], [64, undefined, 7]);
    });
  }
}

Deno.test("parseStreamMux() takes what is cut off behind the AudioSpecificConfig for zeros", () => {
  // One program, one layer, AAC LC of 44.1 kHz stereo, and a bit more.
  const mux = parseStreamMux(Uint8Array.of(0x40, 0x00, 0x24, 0x20));
  assertEquals(mux.config, aacConfig(Uint8Array.of(0x12, 0x10)));
  assertEquals([mux.samples, mux.sampleRate, mux.payloads, mux.otherBits], [1024, 44_100, 1, 0]);
  assertThrows(() => parseStreamMux(Uint8Array.of(0x40)), InvalidDataError);
});

Deno.test("parseStreamMux() takes an extension that was copied with the AudioSpecificConfig", () => {
  const core = { objectType: 2, sampleRate: 24_000, channelConfiguration: 1 };
  const extensions = [
    { bits: 33, extension: "none" },
    { bits: 37, extension: "sbr" },
    { bits: 61, extension: "sbr", outputSampleRate: 47_000 },
    { bits: 49, extension: "ps" },
  ] as const;
  for (const { bits, ...extension } of extensions) {
    const asc = serializeAudioSpecificConfig({ ...core, ...extension, signalling: "compatible" });
    const mux = { asc, ascBits: bits, version: 0, payloads: 64, otherBits: 7 };
    const { config, payloads, payloadBytes, otherBits } = parseStreamMux(muxBytes(mux));
    assertEquals(config, aacConfig(asc));
    assertEquals([payloads, payloadBytes, otherBits], [64, undefined, 7]);
  }
  // As a sender writes it that leaves out what follows, with the configuration of FFmpeg's encoder.
  const cut = parseStreamMux(Uint8Array.of(0x40, 0x00, 0x23, 0x10, 0xad, 0xca, 0x00));
  assertEquals(cut.config, aacConfig(Uint8Array.of(0x11, 0x88, 0x56, 0xe5, 0x00)));
  assertEquals(cut.payloads, 1);
});

Deno.test("parseStreamMux() throws when there is what AAC in one layer does not have", () => {
  const bits = (...fields: [number, number][]) => {
    const writer = new BitWriter();
    for (const [value, width] of fields) writer.bits(value, width);
    return writer.bits(0, 32).finish();
  };
  const cases = [
    bits([1, 1], [1, 1]),
    bits([0, 1], [0, 1], [0, 13], [0x1190, 16]),
    bits([0, 1], [1, 1], [0, 6], [1, 4], [0, 3], [0x1190, 16]),
    bits([0, 1], [1, 1], [0, 6], [0, 4], [1, 3], [0x1190, 16]),
    bits([0, 1], [1, 1], [0, 13], [0x1190, 16], [3, 3]),
    bits([0, 1], [1, 1], [0, 13], [0xf944, 16]),
    bits([1, 1], [0, 1], [0, 10], [1, 1], [0, 13], [1, 2], [0xffff, 16]),
    bits([0, 1], [1, 1], [0, 13], [0x1190, 16], [0, 11], [1, 1], [2 ** 32 - 1, 32], [15, 4]),
    muxBytes({ asc: CRAFTED_ASC.usac }),
    // 8193 bits of AudioSpecificConfig, and they are there.
    new Uint8Array([
      ...bits([1, 1], [0, 1], [0, 10], [1, 1], [0, 13], [1, 2], [8193, 16], [0x1190, 16]),
      ...new Uint8Array(1100),
    ]),
  ];
  for (const data of cases) {
    assertThrows(() => parseStreamMux(data), InvalidDataError, "Cannot", toHex(data));
  }
});

Deno.test("LatmDepacketizer.config is that of the units of the last push", () => {
  const depacketizer = new LatmDepacketizer(inBand);
  const push = (payload: Uint8Array, timestamp: number) => {
    const packet = {
      payloadType: 96,
      marker: true,
      sequence: timestamp,
      ssrc: 1,
      timestamp,
      payload,
    };
    assertEquals(depacketizer.push(packet).length, 1);
    return depacketizer.config;
  };
  assertEquals(depacketizer.config, undefined);
  const first = push(element([[1]], { asc: STEREO }), 0);
  assertEquals(first, aacConfig(STEREO));
  assertStrictEquals(push(element([[2]], "same"), 1), first);
  assertStrictEquals(push(element([[3]], { asc: STEREO, checked: true }), 2), first);
  const second = push(element([[4]], { asc: MONO }), 3);
  assertEquals(second, aacConfig(MONO));
  assertNotStrictEquals(second, first);
  const { config } = new LatmDepacketizer(outOfBand({ asc: MONO }));
  assertEquals(config, aacConfig(MONO));
});

Deno.test("LatmDepacketizer.config stays when an element with another one is malformed", () => {
  const depacketizer = new LatmDepacketizer(inBand);
  const cut = element([[1, 2, 3]], { asc: MONO }).slice(0, -1);
  const packets = packetsOf([
    { payload: element([[1]], {}), marker: true },
    { payload: cut, timestamp: 1, marker: true },
    undefined,
    { payload: [...element([[1]], { asc: MONO }), 9], timestamp: 2, marker: true, sequence: 9 },
  ].filter((packet) => packet !== undefined));
  assertEquals(runHostile(depacketizer, packets).length, 1);
  assertEquals(depacketizer.config, aacConfig(STEREO));
  assertEquals(depacketizer.dropped, 2);
});

Deno.test("LatmDepacketizer.push() throws when an element is cut off or its configuration malformed", () => {
  const good = { payload: element([[1]], {}), marker: true };
  const payloads = [[0xff, 0xff], [...element([[1, 2, 3]], {}).slice(0, -1)], [0x60]];
  for (const payload of payloads) {
    const depacketizer = new LatmDepacketizer(inBand);
    const packets = packetsOf([good, { payload, timestamp: 1, marker: true }]);
    assertThrows(() => run(depacketizer, packets), InvalidDataError, "Cannot");
    assertEquals(depacketizer.dropped, 1);
  }
});

Deno.test("LatmDepacketizer throws when cpresent or config are malformed or config is missing", () => {
  const cases: Record<string, string>[] = [
    { cpresent: "2" },
    { cpresent: "" },
    { cpresent: "0" },
    { cpresent: "0", config: "" },
    { cpresent: "0", config: "4000" },
    { config: "40002" },
    { config: "4000zz" },
  ];
  for (const parameters of cases) {
    const format = formatWith("MP4A-LATM", parameters);
    assertThrows(() => new LatmDepacketizer(format), InvalidDataError, "Cannot");
  }
});

Deno.test("LatmDepacketizer.push() gives elements back whose packets are cut anywhere", () => {
  const frames = fc.array(fc.uint8Array({ minLength: 1, maxLength: 900, size: "max" }), {
    minLength: 1,
    maxLength: 4,
  });
  const size = fc.integer({ min: 1, max: 1500 });
  const property = fc.property(frames, size, fc.boolean(), (units, most, present) => {
    const sent = units.flatMap((unit, index) => {
      const data = element([[...unit]], present ? index === 0 ? {} : "same" : undefined);
      return Array.from({ length: Math.ceil(data.length / most) }, (_, part) => ({
        payload: data.subarray(part * most, (part + 1) * most),
        timestamp: index,
        marker: (part + 1) * most >= data.length,
      }));
    });
    const depacketizer = new LatmDepacketizer(present ? inBand : outOfBand({}));
    const expected = units.map((data, timestamp) => ({ timestamp, parts: [data] }));
    assertEquals(plain(run(depacketizer, packetsOf(sent))), plain(expected));
  });
  fc.assert(property, { seed: 1, numRuns: 100 });
});

Deno.test("LatmDepacketizer.push() and parseStreamMux() withstand damaged data", () => {
  for (const { format } of [{ format: inBand }, ...cases]) {
    const seeds = cases.filter((one) => one.format === format)
      .flatMap(({ sent }) => sent.map((packet) => Uint8Array.from(packet?.payload ?? [])))
      .filter(({ length }) => length < 100);
    assertWithstandsPackets(
      () => new LatmDepacketizer(format),
      [...seeds, Uint8Array.of(1, 1)],
      60,
    );
  }
  const muxes = configs.flatMap(({ asc, bits }) =>
    [0, 1].map((version) => ({ asc, ascBits: bits, version }))
  );
  assertWithstands(
    parseStreamMux,
    muxes.map((mux) => muxBytes({ ...mux, otherBits: 9, checked: true })),
  );
});
