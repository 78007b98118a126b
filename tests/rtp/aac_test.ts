import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../src/bytes.ts";
import { BitWriter } from "../../src/bits.ts";
import { aacConfig } from "../../src/codecs/aac.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { AacDepacketizer, AacPacketizer } from "../../src/rtp/aac.ts";
import { CRAFTED_ASC } from "../support/crafted_headers.ts";
import {
  assertAsExpected,
  assertNeverWrong,
  assertWithstandsPackets,
  formatWith,
  packetize,
  packetsOf,
  plain,
  run,
  runHostile,
  type Sent,
} from "../support/frame_packets.ts";
import { fixtureNames, readRtpFixture } from "../support/rtp_fixtures.ts";

const fixtures = fixtureNames().filter((name) => /_aac(?!_latm)/.test(name)).map(readRtpFixture);
const config = aacConfig(CRAFTED_ASC.lc);
const HBR = { mode: "AAC-hbr", sizelength: "13", indexlength: "3", indexdeltalength: "3" };

for (const fixture of fixtures) {
  Deno.test(`AacDepacketizer.push() gives the frames of ${fixture.name}`, () => {
    assertAsExpected(fixture, (format) => new AacDepacketizer(format));
  });

  Deno.test(`AacDepacketizer.push() gives no wrong frame of ${fixture.name} when it is damaged`, () => {
    assertNeverWrong(fixture, (format) => new AacDepacketizer(format), { perPacket: 8 });
  });
}

/** A payload: the fields of AU headers as value and width, then bytes. */
function payloadOf(fields: readonly (readonly [number, number])[], ...data: number[]): number[] {
  const writer = new BitWriter();
  let length = 0;
  for (const [value, width] of fields) {
    writer.bits(value, width);
    length += width;
  }
  return [length >> 8, length & 0xff, ...writer.finish(), ...data];
}

/** AAC-hbr: sizes with the index, or the difference of it. */
function hbr(sizes: readonly (readonly [number, number])[], ...data: number[]): number[] {
  return payloadOf(sizes.flatMap(([size, index]) => [[size, 13], [index, 3]] as const), ...data);
}

// What is sent with which parameters, and the frames that come of it with their timestamps in front.
const cases: {
  readonly name: string;
  readonly parameters: Record<string, string>;
  readonly sent: readonly (Sent | undefined)[];
  readonly frames: readonly number[][];
  readonly dropped?: number;
}[] = [
  {
    name: "one access unit a packet",
    parameters: HBR,
    sent: [
      { payload: hbr([[2, 0]], 1, 2), timestamp: 5, marker: true },
      { payload: hbr([[1, 0]], 3), timestamp: 6, marker: true },
    ],
    frames: [[5, 1, 2], [6, 3]],
  },
  {
    name: "access units of a sender that never sets the marker",
    parameters: HBR,
    sent: [{ payload: hbr([[2, 0]], 1, 2) }, {
      payload: hbr([[1, 0], [1, 0]], 3, 4),
      timestamp: 1,
    }],
    frames: [[0, 1, 2], [1, 3], [1025, 4]],
  },
  {
    name: "three access units over the end of the 32 bits",
    parameters: HBR,
    sent: [{
      payload: hbr([[1, 0], [2, 0], [3, 0]], 1, 2, 2, 3, 3, 3),
      timestamp: 2 ** 32 - 1024,
      marker: true,
    }],
    frames: [[2 ** 32 - 1024, 1], [0, 2, 2], [1024, 3, 3, 3]],
  },
  {
    name: "access units of constantDuration",
    parameters: { ...HBR, constantduration: "960" },
    sent: [{ payload: hbr([[1, 0], [1, 0]], 1, 2), marker: true }],
    frames: [[0, 1], [960, 2]],
  },
  {
    name: "access units of 1024 samples at half the clock (HE-AAC)",
    parameters: { ...HBR, config: "130856e598" },
    sent: [{ payload: hbr([[1, 0], [1, 0]], 1, 2), marker: true }],
    frames: [[0, 1], [2048, 2]],
  },
  {
    name: "access units whose duration is no whole number of ticks",
    parameters: { ...HBR, config: "1210" },
    sent: [{ payload: hbr([[1, 0], [1, 0], [1, 0], [1, 0]], 1, 2, 3, 4), marker: true }],
    frames: [[0, 1], [1115, 2], [2229, 3], [3344, 4]],
  },
  {
    name: "an empty access unit, which holds a place",
    parameters: HBR,
    sent: [{ payload: hbr([[1, 0], [0, 0], [1, 0]], 1, 2), marker: true }],
    frames: [[0, 1], [2048, 2]],
  },
  {
    name: "AAC-lbr",
    parameters: { mode: "AAC-lbr", sizelength: "6", indexlength: "2", indexdeltalength: "2" },
    sent: [{
      payload: payloadOf([[2, 6], [0, 2], [1, 6], [0, 2]], 1, 2, 3),
      timestamp: 7,
      marker: true,
    }],
    frames: [[7, 1, 2], [1031, 3]],
  },
  {
    name: "AAC-lbr with the widths left out",
    parameters: { mode: "aac-LBR" },
    sent: [{ payload: payloadOf([[1, 6], [0, 2]], 1), marker: true }],
    frames: [[0, 1]],
  },
  {
    name: "headers with all fields",
    parameters: {
      sizelength: "10",
      indexlength: "5",
      indexdeltalength: "4",
      ctsdeltalength: "12",
      dtsdeltalength: "9",
      randomaccessindication: "1",
      streamstateindication: "3",
    },
    sent: [{
      payload: payloadOf(
        [
          ...[[1, 10], [9, 5], [0, 1], [0, 1], [1, 1], [5, 3]] as const,
          ...[[2, 10], [0, 4], [1, 1], [100, 12], [1, 1], [3, 9], [0, 1], [5, 3]] as const,
          ...[[1, 10], [0, 4], [0, 1], [1, 1], [511, 9], [0, 1], [5, 3]] as const,
        ],
        ...[1, 2, 2, 3],
      ),
      timestamp: 50,
      marker: true,
    }],
    frames: [[50, 1], [150, 2, 2], [2098, 3]],
  },
  {
    name: "a CTS-delta below zero",
    parameters: { sizelength: "8", ctsdeltalength: "8" },
    sent: [{ payload: payloadOf([[1, 8], [1, 1], [0xf6, 8]], 1), timestamp: 50, marker: true }],
    frames: [[40, 1]],
  },
  {
    name: "auxiliary data whose size ends within a byte",
    parameters: { ...HBR, auxiliarydatasizelength: "4" },
    sent: [{ payload: hbr([[2, 0]], 0xcf, 0xff, 1, 2), marker: true }],
    frames: [[0, 1, 2]],
  },
  {
    name: "auxiliary data of no bits behind a size of a byte",
    parameters: { ...HBR, auxiliarydatasizelength: "8" },
    sent: [{ payload: hbr([[2, 0]], 0, 1, 2), marker: true }],
    frames: [[0, 1, 2]],
  },
  {
    name: "access units of constantSize without headers",
    parameters: { constantsize: "2" },
    sent: [{ payload: [1, 2, 3, 4], marker: true }, { payload: [5], timestamp: 9 }, {
      payload: [6],
      timestamp: 9,
      marker: true,
    }],
    frames: [[0, 1, 2], [1024, 3, 4], [9, 5, 6]],
  },
  {
    name: "access units without any size, which the marker ends",
    parameters: { mode: "generic" },
    sent: [
      { payload: [9], marker: true },
      { payload: [1, 2], timestamp: 1, marker: true },
      { payload: [3], timestamp: 2 },
      { payload: [4], timestamp: 2, marker: true },
      { payload: [5], timestamp: 3 },
      undefined,
      { payload: [6], timestamp: 3, marker: true },
      { payload: [7], timestamp: 4, marker: true },
    ],
    frames: [[1, 1, 2], [2, 3, 4], [4, 7]],
    dropped: 2,
  },
  {
    name: "an access unit in three fragments, then two in a packet",
    parameters: HBR,
    sent: [
      { payload: hbr([[5, 0]], 1, 2), timestamp: 4 },
      { payload: hbr([[5, 0]], 3), timestamp: 4 },
      { payload: hbr([[5, 0]], 4, 5), timestamp: 4, marker: true },
      { payload: hbr([[1, 0], [1, 0]], 6, 7), timestamp: 1028, marker: true },
    ],
    frames: [[4, 1, 2, 3, 4, 5], [1028, 6], [2052, 7]],
  },
  {
    name: "fragments of a sender that never sets the marker",
    parameters: HBR,
    sent: [{ payload: hbr([[2, 0]], 1) }, { payload: hbr([[2, 0]], 2) }],
    frames: [[0, 1, 2]],
  },
  {
    name: "fragments of which the last is missing",
    parameters: HBR,
    sent: [{ payload: hbr([[2, 0]], 1) }, {
      payload: hbr([[1, 0]], 2),
      timestamp: 1024,
      marker: true,
    }],
    frames: [[1024, 2]],
    dropped: 1,
  },
  {
    name: "fragments of which the first is missing",
    parameters: HBR,
    sent: [
      undefined,
      { payload: hbr([[3, 0]], 2) },
      { payload: hbr([[3, 0]], 3), marker: true },
      { payload: hbr([[1, 0]], 4), timestamp: 1024, marker: true },
    ],
    frames: [[1024, 4]],
    dropped: 1,
  },
  {
    name: "interleaved access units",
    parameters: HBR,
    sent: [
      { payload: hbr([[1, 0], [1, 2], [1, 2]], 1, 4, 7), timestamp: 0, marker: true },
      { payload: hbr([[1, 0], [1, 2], [1, 2]], 2, 5, 8), timestamp: 1024, marker: true },
      { payload: hbr([[1, 0], [1, 2], [1, 2]], 3, 6, 9), timestamp: 2048, marker: true },
      { payload: hbr([[1, 0], [1, 0]], 10, 11), timestamp: 9216, marker: true },
    ],
    frames: Array.from({ length: 11 }, (_, index) => [1024 * index, index + 1]),
  },
  {
    name: "interleaved access units with a packet lost",
    parameters: HBR,
    sent: [
      { payload: hbr([[1, 0], [1, 2], [1, 2]], 1, 4, 7), timestamp: 0, marker: true },
      undefined,
      { payload: hbr([[1, 0], [1, 2], [1, 2]], 3, 6, 9), timestamp: 2048, marker: true },
      { payload: hbr([[1, 0]], 10), timestamp: 9216, marker: true },
    ],
    frames: [1, 3, 4, 6, 7, 9, 10].map((unit) => [1024 * (unit - 1), unit]),
  },
  {
    name: "interleaved access units before a jump back",
    parameters: HBR,
    sent: [
      { payload: hbr([[1, 0], [1, 2]], 1, 4), timestamp: 9_000_000, marker: true },
      { payload: hbr([[1, 0]], 5), timestamp: 0, marker: true },
    ],
    frames: [[9_000_000, 1], [9_003_072, 4], [0, 5]],
  },
];

for (const { name, parameters, sent, frames, dropped = 0 } of cases) {
  Deno.test(`AacDepacketizer.push() reads ${name}`, () => {
    const packets = packetsOf(sent.filter((packet) => packet !== undefined));
    const listed = sent.map((packet) => packet && packets.shift());
    const depacketizer = new AacDepacketizer(formatWith("mpeg4-generic", parameters));
    assertEquals(plain(run(depacketizer, listed)), frames);
    assertEquals(depacketizer.dropped, dropped);
  });
}

Deno.test("AacDepacketizer.push() gives interleaved access units as soon as they are in order", () => {
  const depacketizer = new AacDepacketizer(formatWith("mpeg4-generic", HBR));
  const sent = cases.find(({ name }) => name === "interleaved access units")?.sent ?? [];
  const counts = packetsOf(sent.filter((packet) => packet !== undefined))
    .map((packet) => depacketizer.push(packet).length);
  assertEquals(counts, [1, 1, 7, 2]);
  assertEquals(depacketizer.flush(), []);
});

Deno.test("AacDepacketizer.push() holds nothing up because of rounded timestamps", () => {
  const format = formatWith("mpeg4-generic", { ...HBR, config: "1210" });
  const payload = hbr([[1, 0], [1, 0], [1, 0], [1, 0]], 1, 2, 3, 4);
  const depacketizer = new AacDepacketizer(format);
  const counts = packetsOf([{ payload }]).map((packet) => depacketizer.push(packet).length);
  assertEquals(counts, [4]);
});

Deno.test("AacDepacketizer.push() holds at most 128 access units", () => {
  const depacketizer = new AacDepacketizer(formatWith("mpeg4-generic", HBR));
  const sizes = Array.from({ length: 200 }, () => [1, 1] as const);
  const payload = hbr(sizes, ...sizes.map((_, index) => index));
  const counts = packetsOf([{ payload }]).map((packet) => depacketizer.push(packet).length);
  assertEquals(counts, [72]);
  assertEquals(depacketizer.flush().length, 128);
});

Deno.test("AacDepacketizer.push() throws when headers do not fit the data or each other", () => {
  const lengthless = { indexlength: "8", constantsize: "1" };
  const cases: [Record<string, string>, ...(readonly number[])[]][] = [
    [HBR, [0]],
    [HBR, [0, 0, 1]],
    [HBR, [0, 32, 0, 8]],
    [HBR, [0, 15, 0, 8, 1]],
    [HBR, hbr([[1, 0]], 1, 2)],
    [HBR, hbr([[1, 0], [3, 0]], 1, 2)],
    [HBR, hbr([[1, 0], [1, 0]], 1, 2, 3)],
    [HBR, hbr([[9, 0]], 1), hbr([[8, 0]], 1)],
    [HBR, hbr([[9, 0]], 1), hbr([[1, 0], [1, 0]], 1, 2)],
    [HBR, hbr([[3, 0]], 1, 2), hbr([[3, 0]], 1, 2)],
    [HBR, hbr([[3, 0]], 1), hbr([[3, 0], [1, 0]], 2, 3, 4)],
    [lengthless, [0, 16, 0, 0, 1]],
    [{ constantsize: "2" }, [1, 2, 3]],
    [{ constantsize: "1" }, Array.from({ length: 1025 }, () => 1)],
    [{ sizelength: "1" }, payloadOf(Array.from({ length: 1025 }, () => [0, 1] as const))],
    [{ ...HBR, auxiliarydatasizelength: "8" }, hbr([[1, 0]], 9, 1)],
    [{ sizelength: "8", indexdeltalength: "32" }, payloadOf([[1, 8], [1, 8], [2 ** 31, 32]], 1, 2)],
  ];
  for (const [parameters, ...payloads] of cases) {
    const depacketizer = new AacDepacketizer(formatWith("mpeg4-generic", parameters));
    const packets = packetsOf(payloads.map((payload) => ({ payload })));
    assertThrows(() => run(depacketizer, packets), InvalidDataError, "Cannot", `${payloads}`);
    assertEquals(depacketizer.dropped, 1);
  }
});

Deno.test("AacDepacketizer throws when a parameter is no number, out of range or malformed", () => {
  const cases: Record<string, string>[] = [
    { sizelength: "99" },
    { sizelength: "-1" },
    { sizelength: "13 " },
    { sizelength: "0x0d" },
    { indexlength: "33" },
    { indexdeltalength: "3.5" },
    { ctsdeltalength: "1e1" },
    { dtsdeltalength: "NaN" },
    { randomaccessindication: "2" },
    { streamstateindication: "99999999999999999999" },
    { auxiliarydatasizelength: "40" },
    { constantsize: "65537" },
    { constantduration: "49153" },
    { config: "12x0" },
    { config: "11900" },
    { config: "12" },
    { config: "1690" },
  ];
  for (const parameters of cases) {
    const format = formatWith("mpeg4-generic", { ...HBR, ...parameters });
    const [name = ""] = Object.keys(parameters);
    assertThrows(() => new AacDepacketizer(format), InvalidDataError, "Cannot", name);
  }
  new AacDepacketizer(formatWith("mpeg4-generic", { ...HBR, sizelength: "32", config: "" }));
});

Deno.test("AacDepacketizer.push() withstands damaged payloads under any parameters", () => {
  for (const parameters of [...cases.map((one) => one.parameters), { sizelength: "32" }]) {
    const seeds = cases.filter((one) => one.parameters.mode === parameters.mode)
      .flatMap(({ sent }) => sent.map((packet) => Uint8Array.from(packet?.payload ?? [])));
    const make = () => new AacDepacketizer(formatWith("mpeg4-generic", parameters));
    assertWithstandsPackets(make, [...seeds, Uint8Array.of(0, 16, 0, 8, 1)], 60);
  }
});

Deno.test("AacPacketizer.packetize() gives what AacDepacketizer puts together again", () => {
  const frames = fc.array(fc.uint8Array({ minLength: 1, maxLength: 8191, size: "max" }), {
    minLength: 1,
    maxLength: 4,
  });
  const property = fc.property(
    frames,
    fc.integer({ min: 5, max: 1500 }),
    (units, maxPayloadBytes) => {
      const packets = packetize(new AacPacketizer({ maxPayloadBytes }), config, units);
      const depacketizer = new AacDepacketizer(formatWith("mpeg4-generic", HBR));
      const expected = units.map((data, index) => ({ timestamp: 1000 * index, parts: [data] }));
      assertEquals(plain(run(depacketizer, packets)), plain(expected));
      assertEquals(depacketizer.dropped, 0);
      const least = units.reduce(
        (sum, { length }) => sum + Math.ceil(length / (maxPayloadBytes - 4)),
        0,
      );
      assertEquals(packets.length, least);
      assert(packets.every(({ payload }) => payload.length <= maxPayloadBytes));
      assertEquals(packets.filter(({ marker }) => marker).length, units.length);
    },
  );
  fc.assert(property, { seed: 1, numRuns: 100 });
});

Deno.test("AacPacketizer.packetize() gives views behind one header that says the whole size", () => {
  const data = Uint8Array.of(1, 2, 3);
  const payloads = new AacPacketizer({ maxPayloadBytes: 6 }).packetize({ key: true, config, data });
  assertEquals(payloads.map(({ parts }) => [...concat(parts)]), [
    [0, 16, 0, 24, 1, 2],
    [0, 16, 0, 24, 3],
  ]);
  assertEquals(payloads.map(({ marker }) => marker), [false, true]);
  for (const { parts } of payloads) assertStrictEquals(parts[1]?.buffer, data.buffer);
});

Deno.test("AacPacketizer throws when a payload has no room or an access unit is over 8191 bytes", () => {
  assertThrows(() => new AacPacketizer({ maxPayloadBytes: 4 }), RangeError, "payload size");
  const packetizer = new AacPacketizer({ maxPayloadBytes: 1200 });
  const data = new Uint8Array(8192);
  assertThrows(() => packetizer.packetize({ key: true, config, data }), InvalidDataError, "8192");
});

Deno.test("AacDepacketizer.push() goes on behind a malformed packet", () => {
  const depacketizer = new AacDepacketizer(formatWith("mpeg4-generic", HBR));
  const packets = packetsOf([
    { payload: [0, 0], marker: true },
    { payload: [0, 0], timestamp: 1 },
    { payload: hbr([[1, 0]], 7), timestamp: 2, marker: true },
  ]);
  assertEquals(plain(runHostile(depacketizer, packets)), [[2, 7]]);
  assertEquals(depacketizer.dropped, 2);
});
