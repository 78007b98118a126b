import { assertEquals, assertNotStrictEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import { Slab } from "../src/slab.ts";

Deno.test("Slab.take() gives ranges that never overlap", () => {
  const lengths = fc.array(fc.oneof(fc.nat(64), fc.nat(20_000)), { maxLength: 60 });
  fc.assert(
    fc.property(lengths, (lengths) => {
      const slab = new Slab();
      const ranges = lengths.map((length) => slab.take(length));
      for (const [index, range] of ranges.entries()) {
        assertEquals(range.length, lengths[index]);
        assertEquals(range.every((byte) => byte === 0), true);
        range.fill(index + 1);
      }
      for (const [index, range] of ranges.entries()) {
        assertEquals(range.every((byte) => byte === index + 1), true);
      }
    }),
    { seed: 7, numRuns: 200 },
  );
});

/** A slab that has given what it gives apart at first. */
function warm(): Slab {
  const slab = new Slab();
  slab.take(4096);
  return slab;
}

Deno.test("Slab.take() keeps nothing for few words, and cuts many ranges out of a buffer then", () => {
  const slab = new Slab();
  for (let count = 0; count < 1024; count++) assertEquals(slab.take(4).buffer.byteLength, 4);
  const buffers = new Set<ArrayBuffer>();
  for (let count = 0; count < 1000; count++) buffers.add(slab.take(370).buffer);
  assertEquals([...buffers].map(({ byteLength }) => byteLength), [
    ...[8192, 16_384, 32_768],
    ...new Array(5).fill(65_536),
  ]);
});

Deno.test("Slab.take() gives a long range a buffer of its own", () => {
  const slab = warm();
  const short = slab.take(16_384);
  const long = slab.take(16_385);
  assertEquals(short.buffer.byteLength, 65_536);
  assertEquals(long.buffer.byteLength, 16_385);
  assertStrictEquals(slab.take(10).buffer, short.buffer);
});

Deno.test("Slab.keep() gives views of a large buffer that is mostly used, otherwise copies", () => {
  const source = (bufferBytes: number, length: number) =>
    new Uint8Array(bufferBytes).subarray(0, length).fill(5);
  for (
    const [bufferBytes, length, isView] of [
      [16_385, 16_385, true],
      [40_000, 20_000, true],
      [40_000, 19_999, false],
      [16_384, 16_384, false],
      [1_000, 1_000, false],
    ] as const
  ) {
    const piece = source(bufferBytes, length);
    const kept = new Slab().keep(piece, 10, 20);
    assertEquals(kept, new Uint8Array(10).fill(5));
    if (isView) assertStrictEquals(kept.buffer, piece.buffer);
    else assertNotStrictEquals(kept.buffer, piece.buffer);
  }
});
