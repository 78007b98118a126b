import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ByteReader } from "../../src/bytes.ts";
import {
  fragment,
  type FragmentInit,
  type FragmentTrack,
  MAX_FRAGMENT_BYTES,
  type Mp4Sample,
} from "../../src/formats/mp4_fragment.ts";
import { boxesOf, findOne, fullBoxReader, readFragments, readU64 } from "../support/mp4.ts";

const KEY = 0x0200_0000;
const DELTA = 0x0101_0000;

/** A sample in short: `V` or `v` for a key or not, its size, duration and composition offset. */
function sample(told: string): Mp4Sample {
  const [size = 0, duration = 0, compositionOffset = 0] = told.slice(1).split(",").map(Number);
  const data = new Uint8Array(size).fill(size + duration);
  return { data, duration, compositionOffset, key: told.startsWith("V") };
}

function samples(told: string): Mp4Sample[] {
  return told.split(" ").map(sample);
}

/** What a reader finds in `init`, to compare with what was written. */
function written({ sequence, tracks }: FragmentInit) {
  return [{
    sequence,
    tracks: tracks.map(({ id, baseDecodeTime, samples }) => ({
      id,
      baseDecodeTime,
      samples: samples.map(({ key, ...rest }) => ({ ...rest, flags: key ? KEY : DELTA })),
    })),
  }];
}

/** Bytes of a fragment that aren't samples. */
function overhead(track: FragmentTrack): number {
  const bytes = fragment({ sequence: 1, tracks: [track] });
  return bytes.length - track.samples.reduce((sum, { data }) => sum + data.length, 0);
}

/** Bytes of the boxes of one track without any field of a sample. */
const LEAST = 8 + 16 + 8 + 16 + 20 + 20 + 8;

/** Samples, and how many 32-bit fields they take. */
const RUNS: readonly (readonly [string, number])[] = [
  ["V100,3600", 3],
  ["v100,3600", 3],
  ["V100,3600,7200", 4],
  ["v100,3600,-3600", 4],
  ["V7,1024 V7,1024 V7,1024", 3],
  ["V7,1024 V8,1024 V9,1024", 2 + 3],
  ["V7,1023 V7,1024 V7,1024", 2 + 3],
  // The first flags beside the default of the others.
  ["V90,3600 v10,3600 v11,3600", 2 + 1 + 3],
  ["V90,3600 v10,3600 v11,3600 V80,3600", 1 + 2 * 4],
  ["v90,3600 V10,3600 V11,3600", 2 + 1 + 3],
  ["V9,3600,7200 v9,3600,14400 v9,3600,0 v9,3600,-3600", 3 + 1 + 4],
  ["V1,0 v0,4294967295", 1 + 1 + 2 * 2],
];

Deno.test("fragment() writes every sample, and what samples share only once", () => {
  for (const [told, fields] of RUNS) {
    const track = { id: 1, baseDecodeTime: 12_345, samples: samples(told) };
    const init = { sequence: 9, tracks: [track] };
    assertEquals(readFragments(fragment(init)), written(init), told);
    assertEquals(overhead(track), LEAST + 4 * fields, told);
  }
});

Deno.test("fragment() puts tracks one after the other", () => {
  const tracks = RUNS.map(([told], index) => ({
    id: index + 1,
    baseDecodeTime: index * 2 ** 31,
    samples: samples(told),
  }));
  const init = { sequence: 2 ** 32 - 1, tracks };
  assertEquals(readFragments(fragment(init)), written(init));
});

Deno.test("fragment() allocates once, for what it needs", () => {
  const tracks = RUNS.map(([told], id) => ({ id, baseDecodeTime: 0, samples: samples(told) }));
  const inits: FragmentInit[] = [
    ...tracks.map((track) => ({ sequence: 1, tracks: [track] })),
    { sequence: 1, tracks },
    { sequence: 1, tracks, brands: ["msdh", "cmfs"] },
    { sequence: 1, tracks, producer: { trackId: 1, unixMs: 0, mediaTime: 0 } },
  ];
  for (const init of inits) {
    const bytes = fragment(init);
    assertEquals(bytes.buffer.byteLength, bytes.length);
  }
});

Deno.test("fragment() writes decode times of 64 bits", () => {
  for (const baseDecodeTime of [0, 2 ** 32 - 1, 2 ** 32, 2 ** 52 + 1, Number.MAX_SAFE_INTEGER]) {
    const init = { sequence: 1, tracks: [{ id: 1, baseDecodeTime, samples: samples("V5,10") }] };
    assertEquals(readFragments(fragment(init)), written(init));
  }
  for (const baseDecodeTime of [-1, 0.5, NaN, 2 ** 53]) {
    const tracks = [{ id: 1, baseDecodeTime, samples: samples("V5,10") }];
    assertThrows(() => fragment({ sequence: 1, tracks }), RangeError, `is ${baseDecodeTime}`);
  }
});

Deno.test("fragment() takes no more than its data offset can say", () => {
  const data = { length: MAX_FRAGMENT_BYTES } as Uint8Array;
  const tracks = [{ id: 1, baseDecodeTime: 0, samples: [{ ...sample("V1,1"), data }] }];
  assertThrows(() => fragment({ sequence: 1, tracks }), RangeError, "Cannot write a fragment");
});

Deno.test("fragment() announces a segment and its producer's time before the moof", () => {
  const init = {
    sequence: 3,
    tracks: [{ id: 2, baseDecodeTime: 5, samples: samples("V5,10 v6,10") }],
    brands: ["msdh", "cmfs"],
    producer: { trackId: 2, unixMs: 1_700_000_000_250, mediaTime: 2 ** 33 },
  };
  const bytes = fragment(init);
  const boxes = boxesOf(bytes);
  assertEquals(boxes.map(({ type }) => type), ["styp", "prft", "moof", "mdat"]);
  assertEquals(new TextDecoder().decode(findOne(boxes, "styp").content), "msdh\0\0\0\0msdhcmfs");
  const prft = fullBoxReader(findOne(boxes, "prft"), 1, 24);
  assertEquals(prft.u32(), 2);
  assertEquals([prft.u32(), prft.u32()], [1_700_000_000 + 2_208_988_800, 2 ** 30]);
  assertEquals([readU64(prft), prft.remaining], [2 ** 33, 0]);
  assertEquals(readFragments(bytes), written(init));
});

Deno.test("fragment() writes times after 2036 in the next era of NTP", () => {
  const producer = { trackId: 1, unixMs: 2_085_978_496_000, mediaTime: 0 };
  const bytes = fragment({ sequence: 1, tracks: [], producer });
  assertEquals(new ByteReader(findOne(boxesOf(bytes), "prft").content.subarray(8)).u32(), 0);
});

Deno.test("fragment() gives back any samples", () => {
  const sampleOf = fc.record({
    data: fc.uint8Array({ maxLength: 20 }),
    duration: fc.oneof(fc.constant(1024), fc.nat({ max: 2 ** 32 - 1 })),
    compositionOffset: fc.oneof(fc.constant(0), fc.integer()),
    key: fc.boolean(),
  });
  const trackOf = fc.record({
    id: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
    baseDecodeTime: fc.maxSafeNat(),
    samples: fc.array(sampleOf, { minLength: 1, maxLength: 12 }),
  });
  const initOf = fc.record({
    sequence: fc.nat({ max: 2 ** 32 - 1 }),
    tracks: fc.array(trackOf, { minLength: 1, maxLength: 3 }),
  });
  fc.assert(
    fc.property(initOf, (init) => {
      const bytes = fragment(init);
      assertEquals(readFragments(bytes), written(init));
      assertEquals(bytes.buffer.byteLength, bytes.length);
    }),
    { seed: 88, numRuns: 300 },
  );
});
