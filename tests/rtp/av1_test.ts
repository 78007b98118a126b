import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../src/bytes.ts";
import { AV1_OBU, av1Config, av1ObuType, joinObus, splitObus } from "../../src/codecs/av1.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { Av1Depacketizer, Av1Packetizer } from "../../src/rtp/av1.ts";
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

const fixtures = fixtureNames().filter((name) => name.includes("av1")).map(readRtpFixture);
const clip = readFixture("av1_keys");
const config = av1Config(clip.packets[0] ?? new Uint8Array(0));

for (const fixture of fixtures) {
  Deno.test(`Av1Depacketizer.push() gives the frames of ${fixture.name}`, () => {
    assertAsExpected(fixture, () => new Av1Depacketizer());
  });

  Deno.test(`Av1Depacketizer.push() gives no wrong frame of ${fixture.name} when it is damaged`, () => {
    assertNeverWrong(fixture, () => new Av1Depacketizer(), { spoiled: 1 });
  });
}

// OBU headers without size: sequence header 0x08, temporal delimiter 0x10, frame 0x30, tile list 0x40,
// padding 0x78; 2 more with a size, 4 more with an extension. Frames have their timestamp in front.
const SEQUENCE = [0x18, 0x08, 0xa0];
const SEQUENCE_UNIT = [0x0a, 1, 0xa0];
const cases: {
  readonly name: string;
  readonly sent: readonly Sent[];
  readonly frames: readonly number[][];
  readonly dropped?: number;
}[] = [
  {
    name: "one element without a length (W = 1)",
    sent: [{ payload: SEQUENCE, marker: true }],
    frames: [[0, ...SEQUENCE_UNIT]],
  },
  {
    name: "two elements, the last without a length (W = 2)",
    sent: [{ payload: [0x28, 2, 0x08, 0xa0, 0x30, 1, 2], marker: true }],
    frames: [[0, ...SEQUENCE_UNIT, 0x32, 2, 1, 2]],
  },
  {
    name: "three elements (W = 3), one with an extension",
    sent: [{ payload: [0x38, 2, 0x08, 0xa0, 3, 0x34, 0x48, 1, 0x30, 2], marker: true }],
    frames: [[0, ...SEQUENCE_UNIT, 0x36, 0x48, 1, 1, 0x32, 1, 2]],
  },
  {
    name: "four elements with lengths (W = 0), one in two bytes",
    sent: [{
      payload: [0x08, 2, 0x08, 0xa0, 0x82, 0, 0x30, 1, 0, 1, 0x78],
      marker: true,
    }],
    frames: [[0, ...SEQUENCE_UNIT, 0x32, 1, 1, 0x7a, 0]],
  },
  {
    name: "an OBU over three packets (Z, Y) between others",
    sent: [
      { payload: [0x68, 2, 0x08, 0xa0, 0x30, 1], timestamp: 3 },
      { payload: [0xd0, 2, 3], timestamp: 3 },
      { payload: [0xa0, 1, 4, 0x30, 5], timestamp: 3, marker: true },
    ],
    frames: [[3, ...SEQUENCE_UNIT, 0x32, 4, 1, 2, 3, 4, 0x32, 1, 5]],
  },
  {
    name: "temporal delimiters and tile lists, which are ignored",
    sent: [
      { payload: [0x30, 1, 0x10, 2, 0x08, 0xa0, 0x40, 1] },
      { payload: [0x10, 0x12, 0], marker: true },
      { payload: [0x10, 0x10], timestamp: 1, marker: true },
    ],
    frames: [[0, ...SEQUENCE_UNIT]],
  },
  {
    name: "OBUs that have kept their sizes, several in an element",
    sent: [
      { payload: [0x10, 0x12, 0, 0x0a, 1, 0xa0, 0x32, 1, 2], marker: true },
      { payload: [0x20, 3, 0x32, 1, 2, 0x32, 1, 3, 0x32, 1, 4], timestamp: 1, marker: true },
    ],
    frames: [[0, ...SEQUENCE_UNIT, 0x32, 1, 2], [1, 0x32, 1, 2, 0x32, 1, 3, 0x32, 1, 4]],
  },
  {
    name: "temporal units that only the timestamp ends",
    sent: [
      { payload: SEQUENCE },
      { payload: [0x10, 0x30, 1] },
      { payload: [0x10, 0x30, 2], timestamp: 9 },
    ],
    frames: [[0, ...SEQUENCE_UNIT, 0x32, 1, 1], [9, 0x32, 1, 2]],
  },
  {
    name: "a temporal unit whose last OBU goes on nowhere",
    sent: [
      { payload: SEQUENCE, marker: true },
      { payload: [0x50, 0x30, 1], timestamp: 1 },
      { payload: [0x10, 0x30, 2], timestamp: 2, marker: true },
      { payload: [0x50, 0x30, 3], timestamp: 3, marker: true },
      { payload: [0x10, 0x30, 4], timestamp: 4, marker: true },
    ],
    frames: [[0, ...SEQUENCE_UNIT], [2, 0x32, 1, 2], [4, 0x32, 1, 4]],
    dropped: 2,
  },
  {
    name: "a stream that is joined in the middle",
    sent: [
      { payload: [0x90, 1] },
      { payload: [0x10, 0x30, 1], marker: true },
      { payload: [0x10, 0x30, 2], timestamp: 1, marker: true },
    ],
    frames: [[1, 0x32, 1, 2]],
    dropped: 1,
  },
  {
    name: "a gap before a unit that may lack its start, and one before a new sequence (N)",
    sent: [
      { payload: SEQUENCE, marker: true },
      { payload: [0x10, 0x30, 1], timestamp: 1, marker: true, sequence: 2 },
      { payload: [0x18, 0x30, 2], timestamp: 2, marker: true, sequence: 5 },
      { payload: [0x20, 2, 0x08, 0xa0, 0x30], timestamp: 3, marker: true, sequence: 7 },
      { payload: [0x90, 0x08, 0xa0], timestamp: 4, marker: true, sequence: 9 },
    ],
    frames: [[0, ...SEQUENCE_UNIT], [2, 0x32, 1, 2], [3, ...SEQUENCE_UNIT, 0x32, 0]],
    dropped: 2,
  },
];

for (const { name, sent, frames, dropped = 0 } of cases) {
  Deno.test(`Av1Depacketizer.push() reads ${name}`, () => {
    const depacketizer = new Av1Depacketizer();
    assertEquals(plain(run(depacketizer, packetsOf(sent))), frames);
    assertEquals(depacketizer.dropped, dropped);
  });
}

Deno.test("Av1Depacketizer.push() throws when elements, lengths or OBUs are malformed", () => {
  const payloads = [
    [0x08, 3, 0x30],
    [0x28, 0x80],
    [0x28, 5, 0x30],
    [0x38, 1, 0x30],
    [0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0],
    [0x18, 0x80],
    [0x18, 0x32, 9],
    [0x18, 0x34],
  ];
  for (const payload of payloads) {
    const depacketizer = new Av1Depacketizer();
    const packets = packetsOf([{ payload, marker: true }]);
    assertThrows(() => run(depacketizer, packets), InvalidDataError, "Cannot", `${payload}`);
    assertEquals(depacketizer.dropped, 1);
  }
});

Deno.test("Av1Depacketizer.push() throws when Z does not fit the packet before", () => {
  for (const payload of [[0x90, 1], [0x10, 0x30]]) {
    const packets = packetsOf([{ payload: [payload[0] === 0x90 ? 0x18 : 0x58, 8] }, { payload }]);
    assertThrows(() => run(new Av1Depacketizer(), packets), InvalidDataError, "the Z bit");
  }
});

Deno.test("Av1Depacketizer.push() throws when there are over 16 384 OBUs", () => {
  const obus = new Uint8Array(2 * 16_400).fill(1);
  for (let at = 1; at < obus.length; at += 2) obus[at] = 0x30;
  const units = concat(Array.from({ length: 16_400 }, () => Uint8Array.of(0x32, 0)));
  const empty = new Uint8Array(16_400);
  const half = units.subarray(0, 20_000);
  const payloads = [
    [0x08, ...obus],
    [0x28, 1, 0x08, ...units],
    [0x08, ...empty],
    [0x38, 1, 0x08, 0xa0, 0x9c, 1, ...half, ...half],
  ];
  for (const payload of payloads) {
    const packets = packetsOf([{ payload, marker: true }]);
    assertThrows(() => run(new Av1Depacketizer(), packets), InvalidDataError, "16384");
  }
});

Deno.test("Av1Depacketizer.push() withstands damaged payloads", () => {
  const seeds = cases.flatMap(({ sent }) => sent.map(({ payload }) => Uint8Array.from(payload)));
  assertWithstandsPackets(() => new Av1Depacketizer(), seeds);
});

Deno.test("Av1Packetizer.packetize() gives what Av1Depacketizer puts together again", () => {
  const type = fc.constantFrom(3, 4, 5, 6, 7, 15);
  const size = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 100, max: 3000 }));
  const obu = fc.tuple(type, size, fc.constantFrom(undefined, 0, 0x48)).map(
    ([kind, length, layer]) => {
      const header = [
        (kind << 3) | (layer === undefined ? 0 : 4),
        ...(layer === undefined ? [] : [layer]),
      ];
      const body = Uint8Array.from({ length }, (_, index) => index * 7 + kind);
      return concat([Uint8Array.from(header), body]);
    },
  );
  const units = fc.array(fc.array(obu, { minLength: 1, maxLength: 12 }).map(joinObus), {
    minLength: 1,
    maxLength: 4,
  });
  const property = fc.property(
    units,
    fc.integer({ min: 16, max: 1500 }),
    (frames, maxPayloadBytes) => {
      const [first = new Uint8Array(0), ...others] = frames;
      const sequence = splitObus(clip.packets[0] ?? first).filter((one) => av1ObuType(one) === 1);
      const clips = [concat([...sequence, first]), ...others];
      const packets = packetize(new Av1Packetizer({ maxPayloadBytes }), config, clips);
      const depacketizer = new Av1Depacketizer();
      const expected = clips.map((frame, index) => ({ timestamp: 1000 * index, parts: [frame] }));
      assertEquals(plain(run(depacketizer, packets)), plain(expected));
      assertEquals(depacketizer.dropped, 0);
      for (const { payload } of packets) {
        assert(payload.length > 1 && payload.length <= maxPayloadBytes);
        assertEquals((payload[0] ?? 0) & 0x07, 0);
      }
      // Packets are filled: those of one frame are no more than their bytes and lengths need, nearly.
      if (maxPayloadBytes >= 200 && !frames.some((frame) => splitObus(frame).some(hasExtension))) {
        const least = clips.reduce(
          (sum, { length }) => sum + Math.ceil(length / (maxPayloadBytes - 40)),
          0,
        );
        assert(packets.length <= least, `${packets.length} packets, ${least} would do`);
      }
    },
  );
  fc.assert(property, { seed: 1, numRuns: 200 });
});

Deno.test("Av1Packetizer.packetize() puts OBUs of different layers into packets of their own", () => {
  const obus = [[0x0a, 0], [0x36, 0x08, 1, 1], [0x36, 0x08, 1, 2], [0x36, 0x48, 1, 3]];
  const data = concat(obus.map((bytes) => Uint8Array.from(bytes)));
  const payloads = new Av1Packetizer({ maxPayloadBytes: 100 }).packetize({
    key: false,
    config,
    data,
  });
  assertEquals(payloads.map(({ parts }) => [...concat(parts)]), [
    [0x30, 1, 0x08, 3, 0x34, 0x08, 1, 0x34, 0x08, 2],
    [0x10, 0x34, 0x48, 3],
  ]);
  assertEquals(payloads.map(({ marker }) => marker), [false, true]);
});

Deno.test("Av1Packetizer.packetize() counts up to three elements and gives more all their lengths", () => {
  const frame = Uint8Array.of(0x32, 1, 5);
  const of = (count: number) => {
    const data = concat(Array.from({ length: count }, () => frame));
    const [payload] = new Av1Packetizer({ maxPayloadBytes: 100 }).packetize({
      key: false,
      config,
      data,
    });
    return [...concat(payload?.parts ?? [])];
  };
  assertEquals(of(1), [0x10, 0x30, 5]);
  assertEquals(of(3), [0x30, 2, 0x30, 5, 2, 0x30, 5, 0x30, 5]);
  assertEquals(of(4), [0x00, 2, 0x30, 5, 2, 0x30, 5, 2, 0x30, 5, 2, 0x30, 5]);
});

Deno.test("Av1Packetizer.packetize() fills packets with fragments that are worth it", () => {
  const sizesOf = (...lengths: number[]) => {
    const data = concat(
      lengths.map((length) => Uint8Array.of(0x32, length, ...new Uint8Array(length))),
    );
    const payloads = new Av1Packetizer({ maxPayloadBytes: 100 }).packetize({
      key: false,
      config,
      data,
    });
    return payloads.map(({ parts }) => concat(parts).length);
  };
  // Room is kept for the length of the last element, too, which then goes without.
  assertEquals(sizesOf(60, 60), [99, 26]);
  assertEquals(sizesOf(80, 60), [82, 62]);
  assertEquals(sizesOf(120), [99, 24]);
});

Deno.test("Av1Packetizer.packetize() puts the sequence header into a key frame that lacks it", () => {
  const [key = new Uint8Array(0)] = clip.packets;
  const obus = splitObus(key);
  const kept = obus.filter((obu) => av1ObuType(obu) !== AV1_OBU.temporalDelimiter);
  const whole = joinObus(kept);
  const bare = joinObus(kept.filter((obu) => av1ObuType(obu) !== AV1_OBU.sequenceHeader));
  assert(bare.length < whole.length);
  const send = (data: Uint8Array, isKey: boolean) => {
    const packetizer = new Av1Packetizer({ maxPayloadBytes: 1200 });
    const payloads = packetizer.packetize({ key: isKey, config, data });
    const first = payloads[0]?.parts[0]?.[0] ?? 0;
    const packets = payloads.map(({ parts, marker }) => ({ payload: concat(parts), marker }));
    const depacketizer = new Av1Depacketizer();
    const before = { payload: [0x18, 8], timestamp: 1, marker: true };
    const [, unit] = run(depacketizer, packetsOf([before, ...packets]));
    return { starts: (first & 0x08) !== 0, data: concat(unit?.parts ?? []) };
  };
  assertEquals(send(bare, true), { starts: true, data: whole });
  assertEquals(send(key, true), { starts: true, data: whole });
  assertEquals(send(bare, false), { starts: false, data: bare });
});

Deno.test("Av1Packetizer.packetize() follows a changed configuration and does without one", () => {
  const packetizer = new Av1Packetizer({ maxPayloadBytes: 1200 });
  const other = av1Config(readFixture("av1_main_854x480").packets[0] ?? new Uint8Array(0));
  const data = Uint8Array.of(0x32, 1, 0x10);
  const lengthOf = (from: typeof config) => {
    const [payload] = packetizer.packetize({ key: true, config: from, data });
    return concat(payload?.parts ?? []).subarray(2, -2);
  };
  const { description: _, ...none } = config;
  const [first, second] = [lengthOf(config), lengthOf(other)];
  assert(first.length > 5 && second.length > 5 && first.join() !== second.join());
  assertEquals(lengthOf(none), new Uint8Array(0));
  assertEquals(lengthOf(config), first);
});

Deno.test("Av1Packetizer.packetize() gives views, and nothing for a unit without OBUs", () => {
  const data = concat([Uint8Array.of(0x12, 0, 0x32, 0x90, 3), new Uint8Array(400)]);
  const packetizer = new Av1Packetizer({ maxPayloadBytes: 100 });
  const payloads = packetizer.packetize({ key: false, config, data });
  const views = payloads.flatMap(({ parts }) => parts).filter(({ buffer }) =>
    buffer === data.buffer
  );
  assertEquals(views.reduce((sum, { length }) => sum + length, 0), 400);
  assertEquals(packetizer.packetize({ key: false, config, data: Uint8Array.of(0x12, 0) }), []);
});

Deno.test("Av1Packetizer throws when the payload size is under 16 or no integer", () => {
  for (const maxPayloadBytes of [15, 100.5, NaN]) {
    assertThrows(() => new Av1Packetizer({ maxPayloadBytes }), RangeError, "payload size");
  }
});

function hasExtension(obu: Uint8Array): boolean {
  return ((obu[0] ?? 0) & 4) !== 0;
}
