import { assertEquals, assertThrows } from "@std/assert";
import { concat } from "../../src/bytes.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { type FrameReader, MarkedFrames } from "../../src/rtp/marked_frames.ts";
import { packetsOf, plain, run, type Sent } from "../support/frame_packets.ts";

/** Joins payloads; one that begins with 99 is malformed, a frame that begins with 7 has its end at a 9. */
function reader(): FrameReader {
  let parts: Uint8Array[] = [];
  return {
    get whole() {
      return parts[0]?.[0] === 7 && parts.at(-1)?.at(-1) === 9;
    },
    begin({ payload }, certain) {
      parts = [];
      return certain || payload[0] === 1;
    },
    add(payload) {
      if (payload[0] === 99) throw new InvalidDataError("Cannot read a payload: it is 99");
      parts.push(payload);
    },
    end(timestamp, marked) {
      if (parts.at(-1)?.[0] === 98) throw new InvalidDataError("Cannot end a frame: its end is 98");
      return marked || parts.length > 1 ? [{ timestamp, parts: [concat(parts)] }] : undefined;
    },
  };
}

const first: Sent = { payload: [1], marker: true };

// What is sent, the frames that come of it with their timestamps in front, and how many are dropped.
const cases: {
  readonly name: string;
  readonly sent: readonly (Sent | undefined)[];
  readonly frames: readonly number[][];
  readonly dropped?: number;
}[] = [
  {
    name: "frames that end at the marker",
    sent: [
      { payload: [1], timestamp: 5 },
      { payload: [2], timestamp: 5, marker: true },
      { payload: [3], timestamp: 8, marker: true },
    ],
    frames: [[5, 1, 2], [8, 3]],
  },
  {
    name: "frames that end where the timestamp changes, and with all packets",
    sent: [1, 2].flatMap((timestamp) => [
      { payload: [1, timestamp], timestamp },
      { payload: [2], timestamp },
    ]),
    frames: [[1, 1, 1, 2], [2, 1, 2, 2]],
  },
  {
    name: "frames that the reader calls whole",
    sent: [first, ...[[7], [8, 9], [7], [9]].map((payload) => ({ payload, timestamp: 1 }))],
    frames: [[0, 1], [1, 7, 8, 9], [1, 7, 9]],
  },
  {
    name: "packets without a payload",
    sent: [
      { payload: [], timestamp: 4, marker: true },
      { payload: [1], timestamp: 5 },
      { payload: [], timestamp: 9, marker: true },
      { payload: [2], timestamp: 5, marker: true },
    ],
    frames: [[5, 1, 2]],
  },
  {
    name: "a frame that the reader finds cut off",
    sent: [{ payload: [1] }, { payload: [2], timestamp: 1, marker: true }],
    frames: [[1, 2]],
    dropped: 1,
  },
  {
    name: "a frame that turns out malformed behind its end",
    sent: [{ payload: [1] }, { payload: [98] }, { payload: [2], timestamp: 1, marker: true }],
    frames: [[1, 2]],
    dropped: 1,
  },
  {
    name: "a loss within a frame",
    sent: [
      first,
      { payload: [1], timestamp: 1 },
      undefined,
      { payload: [1], timestamp: 1 },
      { payload: [2], timestamp: 1, marker: true },
      { payload: [3], timestamp: 2, marker: true },
    ],
    frames: [[0, 1], [2, 3]],
    dropped: 1,
  },
  {
    name: "a loss between frames, then one that tells its start",
    sent: [first, undefined, { payload: [1, 1], timestamp: 1, marker: true }],
    frames: [[0, 1], [1, 1, 1]],
  },
  {
    name: "a loss between frames, then one that does not tell its start",
    sent: [first, undefined, { payload: [2], timestamp: 1 }, {
      payload: [1],
      timestamp: 1,
      marker: true,
    }, { payload: [3], timestamp: 2, marker: true }],
    frames: [[0, 1], [2, 3]],
    dropped: 1,
  },
  {
    name: "one packet lost, which can only be the end of a frame",
    sent: [first, { payload: [4], timestamp: 1 }, {
      payload: [2],
      timestamp: 2,
      sequence: 1,
      marker: true,
    }],
    frames: [[0, 1], [2, 2]],
    dropped: 1,
  },
  {
    name: "two packets lost, which can be the end of a frame and the start of the next",
    sent: [first, { payload: [4], timestamp: 1 }, {
      payload: [2],
      timestamp: 2,
      sequence: 2,
      marker: true,
    }],
    frames: [[0, 1]],
    dropped: 2,
  },
  {
    name: "one packet lost of a sender that marks no ends",
    sent: [{ payload: [1] }, { payload: [4], timestamp: 1 }, {
      payload: [2],
      timestamp: 2,
      sequence: 1,
      marker: true,
    }],
    frames: [],
    dropped: 3,
  },
  {
    name: "one packet lost of a sender that marks ends no more",
    sent: [first, { payload: [1], timestamp: 1 }, { payload: [2], timestamp: 1 }, {
      payload: [4],
      timestamp: 2,
    }, { payload: [2], timestamp: 3, sequence: 3, marker: true }],
    frames: [[0, 1], [1, 1, 2]],
    dropped: 2,
  },
  {
    name: "the middle of a frame first of all",
    sent: [{ payload: [2], marker: true }, { payload: [3], timestamp: 1, marker: true }],
    frames: [[1, 3]],
    dropped: 1,
  },
  {
    name: "a packet twice",
    sent: [{ payload: [1], sequence: 5 }, { payload: [1], sequence: 5 }, {
      payload: [2],
      marker: true,
    }],
    frames: [[0, 1, 2]],
  },
];

for (const { name, sent, frames, dropped = 0 } of cases) {
  Deno.test(`MarkedFrames.push() gives what is whole of ${name}`, () => {
    const packets = packetsOf(sent.filter((packet) => packet !== undefined));
    const listed = sent.map((packet) => packet && packets.shift());
    const marked = new MarkedFrames(reader());
    assertEquals(plain(run(marked, listed)), frames);
    assertEquals(marked.dropped, dropped);
  });
}

Deno.test("MarkedFrames.push() keeps the frame before a malformed packet for the next call", () => {
  const frames = new MarkedFrames(reader());
  const [one, two, bad, same, next] = packetsOf([
    { payload: [1] },
    { payload: [2] },
    { payload: [99], timestamp: 1 },
    { payload: [3], timestamp: 1, marker: true },
    { payload: [4], timestamp: 2, marker: true },
  ]);
  if (!one || !two || !bad || !same || !next) throw new Error("Cannot test: a packet is missing");
  assertEquals([...frames.push(one), ...frames.push(two)], []);
  assertThrows(() => frames.push(bad), InvalidDataError, "it is 99");
  assertEquals(plain(frames.push(same)), [[0, 1, 2]]);
  assertEquals(plain(frames.push(next)), [[2, 4]]);
  assertEquals(frames.dropped, 1);
});

Deno.test("MarkedFrames.push() begins anew behind a malformed packet with the marker", () => {
  const frames = new MarkedFrames(reader());
  const [bad, next] = packetsOf([{ payload: [99], marker: true }, { payload: [1], marker: true }]);
  if (!bad || !next) throw new Error("Cannot test: a packet is missing");
  frames.push({ ...bad, payload: Uint8Array.of(1), sequence: 65533, marker: true });
  assertThrows(() => frames.push(bad), InvalidDataError);
  assertEquals(plain(frames.push(next)), [[0, 1]]);
});

Deno.test("MarkedFrames.push() counts the bytes and packets of each frame anew", () => {
  for (const [bytes, count] of [[65_000, 400], [1, 50_000]] as const) {
    const frames = new MarkedFrames(reader());
    const payload = new Uint8Array(bytes).fill(1);
    for (let index = 0; index < count; index++) {
      const [sequence, marker] = [index & 0xffff, index % 100 === 99];
      frames.push({ payloadType: 96, marker, sequence, timestamp: 0, ssrc: 1, payload });
    }
    assertEquals(frames.dropped, 0);
  }
});

Deno.test("MarkedFrames.push() throws when a frame has over 8 MiB or 16 384 packets", () => {
  for (const [bytes, most] of [[65_000, 129], [1, 16_384]] as const) {
    const frames = new MarkedFrames(reader());
    const payload = new Uint8Array(bytes).fill(1);
    const packet = { payloadType: 96, marker: false, timestamp: 0, ssrc: 1, payload };
    for (let sequence = 0; sequence < most; sequence++) frames.push({ ...packet, sequence });
    const push = (sequence: number) => frames.push({ ...packet, sequence });
    assertThrows(() => push(most), InvalidDataError, "Cannot put a frame together");
    assertEquals([push(most + 1), frames.flush(), frames.dropped], [[], [], 1]);
  }
});
