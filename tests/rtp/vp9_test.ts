import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../src/bytes.ts";
import { vp9Config } from "../../src/codecs/vp9.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { Vp9Depacketizer, Vp9Packetizer } from "../../src/rtp/vp9.ts";
import { readFixture } from "../support/codec_fixtures.ts";
import {
  assertAsExpected,
  assertNeverWrong,
  assertWithstandsPackets,
  packetize,
  packetsOf,
  plain,
  run,
  type Sent,
} from "../support/frame_packets.ts";
import { fixtureNames, readRtpFixture } from "../support/rtp_fixtures.ts";

const fixtures = fixtureNames().filter((name) => name.includes("vp9")).map(readRtpFixture);
const config = vp9Config(readFixture("vp9_p0_322x242").packets[0] ?? new Uint8Array(0));

for (const fixture of fixtures) {
  Deno.test(`Vp9Depacketizer.push() gives the frames of ${fixture.name}`, () => {
    assertAsExpected(fixture, () => new Vp9Depacketizer());
  });

  Deno.test(`Vp9Depacketizer.push() gives no wrong frame of ${fixture.name} when it is damaged`, () => {
    assertNeverWrong(fixture, () => new Vp9Depacketizer());
  });
}

// RFC 9628 4.2: payload descriptors of packets that hold a whole frame.
const descriptors = [
  { name: "flags alone", bytes: [0x0c] },
  { name: "a picture id of 7 bits", bytes: [0x8c, 0x7f] },
  { name: "a picture id of 15 bits", bytes: [0x8c, 0x80, 0x01] },
  { name: "layers in non-flexible mode (TL0PICIDX)", bytes: [0xad, 0x05, 0x51, 0xff] },
  { name: "layers in flexible mode", bytes: [0xbc, 0x05, 0x51] },
  { name: "one reference", bytes: [0xdc, 0x05, 0x02] },
  { name: "three references", bytes: [0xdc, 0x85, 0x05, 0x03, 0x05, 0x08] },
  { name: "prediction in non-flexible mode, without references", bytes: [0xcc, 0x05] },
  { name: "flexible mode without prediction or references", bytes: [0x9c, 0x05] },
  { name: "layers and references", bytes: [0xfc, 0x05, 0x40, 0x03, 0x04] },
  { name: "an empty scalability structure", bytes: [0x8e, 0x05, 0x00] },
  { name: "the sizes of one layer", bytes: [0x8e, 0x05, 0x10, 1, 0x40, 0, 0xf0] },
  {
    name: "the sizes of three layers",
    bytes: [0x0e, 0x50, ...Array.from({ length: 12 }, () => 9)],
  },
  { name: "a group of pictures", bytes: [0x0e, 0x08, 3, 0x00, 0x14, 1, 0x2c, 1, 2, 3] },
  {
    name: "all at once",
    bytes: [0xfe, 0x80, 9, 0x40, 2, 0x38, 0, 1, 0, 1, 0, 2, 0, 2, 2, 0x00, 0x28, 1, 2],
  },
];

for (const { name, bytes } of descriptors) {
  Deno.test(`Vp9Depacketizer.push() reads a descriptor with ${name}`, () => {
    const payload = [...bytes, 0x82, 0x49];
    const packets = packetsOf([{ payload, timestamp: 7, marker: true }]);
    assertEquals(plain(run(new Vp9Depacketizer(), packets)), [[7, 0x82, 0x49]]);
    for (let length = 1; length <= bytes.length; length++) {
      const cut = packetsOf([{ payload: payload.slice(0, length), marker: true }]);
      const depacketizer = new Vp9Depacketizer();
      assertThrows(() => run(depacketizer, cut), InvalidDataError, "Cannot");
      assertEquals(depacketizer.dropped, 1);
    }
  });
}

// Descriptors of layers: 0xa8 begins, 0xa4 ends, 0xac does both, 0xa0 neither; then picture id, layer
// indices with the spatial layer in 0x0e, TL0PICIDX. 0xc1 and the like are superframe headers (VP9 B.2).
const cases: {
  readonly name: string;
  readonly sent: readonly Sent[];
  readonly frames: readonly number[][];
  readonly dropped?: number;
}[] = [
  {
    name: "a frame in three packets",
    sent: [
      { payload: [0x08, 1, 2], timestamp: 3 },
      { payload: [0x00, 3], timestamp: 3 },
      { payload: [0x04, 4], timestamp: 3, marker: true },
    ],
    frames: [[3, 1, 2, 3, 4]],
  },
  {
    name: "two spatial layers as a superframe",
    sent: [
      { payload: [0xac, 1, 0x00, 0, 0x82, 1] },
      { payload: [0xa8, 1, 0x03, 0, 0x82, 2] },
      { payload: [0xa4, 1, 0x03, 0, 3], marker: true },
    ],
    frames: [[0, 0x82, 1, 0x82, 2, 3, 0xc1, 2, 3, 0xc1]],
  },
  {
    name: "two spatial layers of over 255 bytes as a superframe",
    sent: [
      { payload: [0xac, 1, 0x00, 0, ...Array.from({ length: 258 }, () => 7)] },
      { payload: [0xac, 1, 0x03, 0, 8], marker: true },
    ],
    frames: [[0, ...Array.from({ length: 258 }, () => 7), 8, 0xc9, 2, 1, 1, 0, 0xc9]],
  },
  {
    name: "layers of a superframe that brings its index",
    sent: [
      { payload: [0xac, 1, 0x00, 0, 5, 6] },
      { payload: [0xac, 1, 0x03, 0, 8, 0xc1, 2, 1, 0xc1], marker: true },
    ],
    frames: [[0, 5, 6, 8, 0xc1, 2, 1, 0xc1]],
  },
  {
    name: "a frame that only the timestamp ends, behind its E bit",
    sent: [{ payload: [0x0c, 1] }, { payload: [0x0c, 2], timestamp: 1 }],
    frames: [[0, 1], [1, 2]],
  },
  {
    name: "a frame that only the timestamp ends, without its E bit",
    sent: [{ payload: [0x08, 1] }, { payload: [0x0c, 2], timestamp: 1, marker: true }],
    frames: [[1, 2]],
    dropped: 1,
  },
  {
    name: "a frame without its E bit at the marker",
    sent: [{ payload: [0x08, 1], marker: true }],
    frames: [[0, 1]],
  },
  {
    name: "a stream that is joined within a frame",
    sent: [{ payload: [0x00, 1] }, { payload: [0x04, 2], marker: true }, {
      payload: [0x0c, 3],
      timestamp: 1,
      marker: true,
    }],
    frames: [[1, 3]],
    dropped: 1,
  },
  {
    name: "a gap before an upper layer, and one before a base layer",
    sent: [
      { payload: [0xac, 1, 0x00, 0, 1], marker: true },
      { payload: [0xac, 1, 0x03, 0, 2], timestamp: 1, marker: true, sequence: 5 },
      { payload: [0xac, 1, 0x00, 0, 3], timestamp: 2, marker: true, sequence: 9 },
      { payload: [0xac, 1, 0x02, 0, 4], timestamp: 3, marker: true },
    ],
    frames: [[0, 1], [2, 3], [3, 4]],
    dropped: 1,
  },
];

for (const { name, sent, frames, dropped = 0 } of cases) {
  Deno.test(`Vp9Depacketizer.push() reads ${name}`, () => {
    const depacketizer = new Vp9Depacketizer();
    assertEquals(plain(run(depacketizer, packetsOf(sent))), frames);
    assertEquals(depacketizer.dropped, dropped);
  });
}

Deno.test("Vp9Depacketizer.push() throws when there are over 3 references or 8 layer frames", () => {
  const many = packetsOf([{ payload: [0xdc, 5, 3, 3, 3, 2, 0x82, 1] }]);
  assertThrows(() => run(new Vp9Depacketizer(), many), InvalidDataError, "over 3");
  const packets = packetsOf(Array.from({ length: 9 }, () => ({ payload: [0x0c, 1] })));
  assertThrows(() => run(new Vp9Depacketizer(), packets), InvalidDataError, "over 8");
});

Deno.test("Vp9Depacketizer.push() withstands damaged payloads", () => {
  const seeds = [
    ...cases.flatMap(({ sent }) => sent.map(({ payload }) => Uint8Array.from(payload))),
    ...descriptors.map(({ bytes }) => Uint8Array.of(...bytes, 0x82, 0x49)),
  ];
  assertWithstandsPackets(() => new Vp9Depacketizer(), seeds);
});

Deno.test("Vp9Packetizer.packetize() gives what Vp9Depacketizer puts together again", () => {
  const frames = fc.array(fc.uint8Array({ minLength: 1, maxLength: 4000 }), {
    minLength: 1,
    maxLength: 5,
  });
  const property = fc.property(
    frames,
    fc.integer({ min: 4, max: 1500 }),
    (clips, maxPayloadBytes) => {
      const packets = packetize(new Vp9Packetizer({ maxPayloadBytes }), config, clips);
      const depacketizer = new Vp9Depacketizer();
      const expected = clips.map((frame, index) => ({ timestamp: 1000 * index, parts: [frame] }));
      assertEquals(plain(run(depacketizer, packets)), plain(expected));
      assertEquals(depacketizer.dropped, 0);
      const least = clips.reduce(
        (sum, { length }) => sum + Math.ceil(length / (maxPayloadBytes - 3)),
        0,
      );
      assertEquals(packets.length, least);
      assertEquals(packets.some(({ payload }) => payload.length > maxPayloadBytes), false);
    },
  );
  fc.assert(property, { seed: 1, numRuns: 200 });
});

Deno.test("Vp9Packetizer.packetize() says where frames begin, end and refer, and numbers them", () => {
  const packetizer = new Vp9Packetizer({ maxPayloadBytes: 5 });
  const data = Uint8Array.of(1, 2, 3, 4, 5);
  const send = (key: boolean) =>
    packetizer.packetize({ key, config, data }).map(({ parts }) => [...parts[0] ?? []]);
  assertEquals(send(true), [[0x88, 0x80, 0], [0x80, 0x80, 0], [0x84, 0x80, 0]]);
  assertEquals(send(false), [[0xc8, 0x80, 1], [0xc0, 0x80, 1], [0xc4, 0x80, 1]]);
  for (let frame = 2; frame < 0x7fff; frame++) send(false);
  assertEquals(send(false)[0], [0xc8, 0xff, 0xff]);
  assertEquals(send(false)[0], [0xc8, 0x80, 0]);
  const [payload] = packetizer.packetize({ key: true, config, data });
  assertEquals(payload?.parts[1]?.buffer === data.buffer, true);
  assertEquals(concat(payload?.parts ?? []).length, 5);
});

Deno.test("Vp9Packetizer throws when the payload size leaves no room", () => {
  assertThrows(() => new Vp9Packetizer({ maxPayloadBytes: 3 }), RangeError, "payload size");
});
