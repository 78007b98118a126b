import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../src/bytes.ts";
import { mp3Config, parseMp3Header } from "../../src/codecs/mp3.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { Mp3Depacketizer, Mp3Packetizer } from "../../src/rtp/mp3.ts";
import { readFixture, readFixtures } from "../support/codec_fixtures.ts";
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

const fixtures = fixtureNames().filter((name) => name.includes("mp3")).map(readRtpFixture);
const format = { ...formatWith("MPA"), clockRate: 90_000 };
const clips = [...readFixtures("mp3_"), ...readFixtures("mp2_")];
const [one = new Uint8Array(0), two = one] = readFixture("mp3_8000_1").packets;
const config = mp3Config(one);
const length = one.length;

for (const fixture of fixtures) {
  Deno.test(`Mp3Depacketizer.push() gives the frames of ${fixture.name}`, () => {
    assertAsExpected(fixture, (mpa) => new Mp3Depacketizer(mpa));
  });

  Deno.test(`Mp3Depacketizer.push() gives no wrong frame of ${fixture.name} when it is damaged`, () => {
    assertNeverWrong(fixture, (mpa) => new Mp3Depacketizer(mpa), { perPacket: 8 });
  });
}

const at = (offset: number, ...data: Uint8Array[]) =>
  concat([Uint8Array.of(0, 0, offset >> 8, offset), ...data]);
const [front, middle, back] = [one.subarray(0, 20), one.subarray(20, 50), one.subarray(50)];

// What is sent, and the frames that come of it with their timestamps.
const cases: {
  readonly name: string;
  readonly sent: readonly (Sent | undefined)[];
  readonly frames: readonly [number, Uint8Array][];
  readonly dropped?: number;
}[] = [
  {
    name: "two frames in a packet, timed by their samples",
    sent: [{ payload: at(0, one, two), timestamp: 2 ** 32 - 6000 }],
    frames: [[2 ** 32 - 6000, one], [480, two]],
  },
  {
    name: "a frame in three fragments",
    sent: [front, middle, back].map((part, index) => ({
      payload: at([0, 20, 50][index] ?? 0, part),
    })),
    frames: [[0, one]],
  },
  {
    name: "fragments without data",
    sent: [at(0, front), at(20), at(20, middle), at(50), at(50, back)].map((payload) => ({
      payload,
    })),
    frames: [[0, one]],
  },
  {
    name: "packets without a payload",
    sent: [{ payload: [] }, { payload: at(0, front) }, { payload: [] }, {
      payload: at(20, middle, back),
    }],
    frames: [[0, one]],
  },
  {
    name: "a fragment twice",
    sent: [{ payload: at(0, front), sequence: 3 }, { payload: at(0, front), sequence: 3 }, {
      payload: at(20, middle, back),
    }],
    frames: [[0, one]],
  },
  {
    name: "fragments of which one is missing",
    sent: [{ payload: at(0, front) }, { payload: at(50, back) }, { payload: at(0, two) }],
    frames: [[0, two]],
    dropped: 1,
  },
  {
    name: "fragments with a loss that is announced",
    sent: [{ payload: at(0, front) }, undefined, { payload: at(20, middle, back) }],
    frames: [],
    dropped: 1,
  },
  {
    name: "fragments of two frames",
    sent: [{ payload: at(0, front) }, { payload: at(20, middle, back), timestamp: 1 }],
    frames: [],
    dropped: 1,
  },
  {
    name: "a frame cut off by the next",
    sent: [{ payload: at(0, front) }, { payload: at(0, two), timestamp: 1 }],
    frames: [[1, two]],
    dropped: 1,
  },
  {
    name: "a frame whose end comes behind the next",
    sent: [{ payload: at(0, front) }, { payload: at(0, two), timestamp: 1 }, {
      payload: at(20, middle, back),
    }],
    frames: [[1, two]],
    dropped: 1,
  },
  {
    name: "a frame cut off by the end",
    sent: [{ payload: at(0, one) }, { payload: at(0, front), timestamp: 1 }],
    frames: [[0, one]],
    dropped: 1,
  },
  {
    name: "a stream that is joined within a frame",
    sent: [{ payload: at(50, back) }, { payload: at(0, two), timestamp: 1 }],
    frames: [[1, two]],
  },
];

for (const { name, sent, frames, dropped = 0 } of cases) {
  Deno.test(`Mp3Depacketizer.push() reads ${name}`, () => {
    const packets = packetsOf(sent.filter((packet) => packet !== undefined));
    const listed = sent.map((packet) => packet && packets.shift());
    const depacketizer = new Mp3Depacketizer(format);
    const expected = frames.map(([timestamp, frame]) => ({ timestamp, parts: [frame] }));
    assertEquals(plain(run(depacketizer, listed)), plain(expected));
    assertEquals(depacketizer.dropped, dropped);
  });
}

Deno.test("Mp3Depacketizer.push() throws when a frame is malformed, too long or cut off behind another", () => {
  const cases = [
    [Uint8Array.of(0, 0, 0)],
    [at(0, Uint8Array.of(1, 2, 3, 4))],
    [at(0, Uint8Array.of(0xff, 0xfb, 0x00, 0x64))],
    [at(0, one.subarray(0, 3))],
    [at(0, one, front)],
    [at(0, front), at(20, middle, back, front)],
  ];
  for (const payloads of cases) {
    const depacketizer = new Mp3Depacketizer(format);
    const packets = packetsOf([...payloads, at(0, two)].map((payload) => ({ payload })));
    assertThrows(() => run(depacketizer, packets.slice(0, -1)), InvalidDataError, "Cannot");
    assertEquals(depacketizer.dropped, 1);
    assertEquals(runHostile(depacketizer, packets.slice(-1)).length, 1);
  }
});

Deno.test("Mp3Depacketizer.push() withstands damaged payloads", () => {
  const seeds = cases.flatMap(({ sent }) =>
    sent.map((packet) => Uint8Array.from(packet?.payload ?? []))
  );
  assertWithstandsPackets(() => new Mp3Depacketizer(format), seeds);
});

Deno.test("Mp3Packetizer.packetize() gives what Mp3Depacketizer puts together again", () => {
  const size = fc.integer({ min: 8, max: 1500 });
  const property = fc.property(
    fc.constantFrom(...clips),
    size,
    ({ packets: frames }, maxPayloadBytes) => {
      const packets = packetize(new Mp3Packetizer({ maxPayloadBytes }), config, frames);
      const depacketizer = new Mp3Depacketizer(format);
      const expected = frames.map((frame, index) => ({ timestamp: 1000 * index, parts: [frame] }));
      assertEquals(plain(run(depacketizer, packets)), plain(expected));
      assertEquals(depacketizer.dropped, 0);
      const least = frames.reduce(
        (sum, frame) => sum + Math.ceil(frame.length / (maxPayloadBytes - 4)),
        0,
      );
      assertEquals(packets.length, least);
      assertEquals(packets.some(({ payload }) => payload.length > maxPayloadBytes), false);
    },
  );
  fc.assert(property, { seed: 1, numRuns: 200 });
});

Deno.test("Mp3Packetizer.packetize() gives views behind offsets", () => {
  assertEquals(parseMp3Header(one).frameLength, length);
  const packetizer = new Mp3Packetizer({ maxPayloadBytes: 54 });
  const payloads = packetizer.packetize({ key: true, config, data: one });
  payloads.forEach(({ parts: [header, part], marker }, index) => {
    assertEquals([...header ?? []], [0, 0, (50 * index) >> 8, 50 * index & 255]);
    assertStrictEquals(part?.buffer, one.buffer);
    assertEquals(marker, false);
  });
});

Deno.test("Mp3Packetizer throws when a payload is under 8 bytes or a frame over 65 535", () => {
  assertThrows(() => new Mp3Packetizer({ maxPayloadBytes: 7 }), RangeError, "payload size");
  const data = new Uint8Array(65_536);
  const packetizer = new Mp3Packetizer({ maxPayloadBytes: 1200 });
  assertThrows(() => packetizer.packetize({ key: true, config, data }), InvalidDataError, "65536");
});
