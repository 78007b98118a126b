import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { BitReader, BitWriter } from "../src/bits.ts";
import { InvalidDataError } from "../src/errors.ts";
import { se, ue } from "./support/crafted_headers.ts";

const options = { seed: 2, numRuns: 300 };

Deno.test("BitReader.bits() reads what BitWriter.bits() writes", () => {
  const field = fc.integer({ min: 0, max: 32 }).chain((count) =>
    fc.record({ count: fc.constant(count), value: fc.integer({ min: 0, max: 2 ** count - 1 }) })
  );
  fc.assert(
    fc.property(fc.array(field, { maxLength: 20 }), (fields) => {
      const writer = new BitWriter();
      for (const { value, count } of fields) writer.bits(value, count);
      const reader = new BitReader(writer.finish());
      for (const { value, count } of fields) assertEquals(reader.bits(count), value);
      assertEquals(reader.remaining < 8, true);
    }),
    options,
  );
});

Deno.test("BitReader.bits() throws when fewer bits remain, and reads nothing", () => {
  for (let count = 17; count <= 32; count++) {
    const reader = new BitReader(Uint8Array.of(0xff, 0xff));
    assertThrows(() => reader.bits(count), InvalidDataError, "Cannot read");
    assertEquals(reader.position, 0);
    assertEquals(reader.bits(16), 0xffff);
  }
});

Deno.test("BitReader.bit() and flag() throw at the end", () => {
  const reader = new BitReader(Uint8Array.of(0b1010_0000));
  assertEquals([reader.bit(), reader.flag(), reader.flag(), reader.bit()], [1, false, true, 0]);
  reader.skip(4);
  assertThrows(() => reader.bit(), InvalidDataError);
  assertThrows(() => reader.flag(), InvalidDataError);
  assertThrows(() => reader.skip(1), InvalidDataError);
});

// H.264 Table 9-2 and 9-3.
const codes = [
  { bits: "1", unsigned: 0, signed: 0 },
  { bits: "010", unsigned: 1, signed: 1 },
  { bits: "011", unsigned: 2, signed: -1 },
  { bits: "00100", unsigned: 3, signed: 2 },
  { bits: "00101", unsigned: 4, signed: -2 },
  { bits: "0001010", unsigned: 9, signed: 5 },
  { bits: "0".repeat(31) + "1" + "1".repeat(31), unsigned: 2 ** 32 - 2, signed: -(2 ** 31 - 1) },
] as const;

for (const { bits, unsigned, signed } of codes) {
  Deno.test(`BitReader.ue() and se() read ${unsigned} and ${signed}`, () => {
    const writer = new BitWriter();
    for (const bit of bits) writer.bit(Number(bit));
    const bytes = writer.finish();
    assertEquals(new BitReader(bytes).ue(), unsigned);
    assertEquals(new BitReader(bytes).se(), signed);
    const reader = new BitReader(bytes);
    reader.ue();
    assertEquals(reader.position, bits.length);
  });
}

Deno.test("BitReader.ue() throws when it has over 31 leading zeros", () => {
  const bytes = new Uint8Array(1000);
  bytes[4] = 0x80;
  const reader = new BitReader(bytes);
  assertThrows(() => reader.ue(), InvalidDataError, "leading zeros");
  assertEquals(reader.position <= 33, true);
});

Deno.test("BitReader.ue() throws when the code is cut off", () => {
  assertThrows(() => new BitReader(Uint8Array.of(0)).ue(), InvalidDataError);
  assertThrows(() => new BitReader(Uint8Array.of(0b0000_1000)).ue(), InvalidDataError);
  assertThrows(() => new BitReader(new Uint8Array(0)).se(), InvalidDataError);
});

Deno.test("BitReader.ue() and se() read codes of any value", () => {
  const value = fc.integer({ min: -(2 ** 30), max: 2 ** 30 });
  fc.assert(
    fc.property(value, fc.nat(7), (number, offset) => {
      const writer = new BitWriter().bits(0, offset);
      se(ue(writer, Math.abs(number)), number);
      const reader = new BitReader(writer.finish());
      reader.skip(offset);
      assertEquals([reader.ue(), reader.se()], [Math.abs(number), number]);
    }),
    options,
  );
});

Deno.test("BitReader.align() and BitWriter.align() go on at the next byte", () => {
  const bytes = new BitWriter().align().bits(5, 3).align().align().bits(9, 8).finish();
  assertEquals(Array.from(bytes), [0xa0, 9]);
  const reader = new BitReader(bytes);
  reader.align();
  assertEquals(reader.bits(3), 5);
  reader.align();
  assertEquals([reader.position, reader.bits(8)], [8, 9]);
});

Deno.test("BitWriter.finish() gives bytes that align() alone began", () => {
  assertEquals(Array.from(new BitWriter().bit(1).align().finish()), [0x80]);
});
