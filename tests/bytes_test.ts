import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ByteReader, ByteWriter, concat, equalBytes } from "../src/bytes.ts";
import { InvalidDataError } from "../src/errors.ts";

const fields = [
  { name: "u8", bytes: [0xfe], value: 254 },
  { name: "u16", bytes: [0x80, 0x01], value: 32769 },
  { name: "u24", bytes: [0xff, 0x00, 0x01], value: 16711681 },
  { name: "u32", bytes: [0xff, 0xff, 0xff, 0xfe], value: 4294967294 },
  { name: "u16le", bytes: [0x01, 0x80], value: 32769 },
  { name: "u32le", bytes: [0xfe, 0xff, 0xff, 0xff], value: 4294967294 },
  { name: "f64", bytes: [0xbf, 0xf8, 0, 0, 0, 0, 0, 0], value: -1.5 },
] as const;

for (const { name, bytes, value } of fields) {
  Deno.test(`ByteReader.${name}() reads what ByteWriter.${name}() writes`, () => {
    const written = new ByteWriter(1)[name](value).finish();
    assertEquals(Array.from(written), Array.from(bytes));
    const reader = new ByteReader(Uint8Array.from(bytes));
    assertEquals(reader[name](), value);
    assertEquals(reader.remaining, 0);
  });

  Deno.test(`ByteReader.${name}() throws when the field is cut off`, () => {
    for (let length = 0; length < bytes.length; length++) {
      const reader = new ByteReader(Uint8Array.from(bytes).subarray(0, length));
      assertThrows(() => reader[name](), InvalidDataError, "Cannot read");
      assertEquals(reader.offset, 0);
    }
  });
}

Deno.test("ByteReader reads signed fields", () => {
  const reader = new ByteReader(
    Uint8Array.of(0xff, 0xfe, 0xff, 0xff, 0xfd, 0xff, 0xff, 0xff, 0xfc),
  );
  assertEquals([reader.i16(), reader.i24(), reader.i32()], [-2, -3, -4]);
});

Deno.test("ByteReader.peek() leaves the byte unread", () => {
  const reader = new ByteReader(Uint8Array.of(7, 8));
  assertEquals([reader.peek(), reader.peek(), reader.u8(), reader.offset], [7, 7, 7, 1]);
  reader.skip(1);
  assertThrows(() => reader.peek(), InvalidDataError);
});

Deno.test("ByteReader.bytes() gives views and refuses more than there is", () => {
  const bytes = Uint8Array.of(1, 2, 3, 4);
  const reader = new ByteReader(bytes.subarray(1));
  const view = reader.bytes(2);
  assertEquals(Array.from(view), [2, 3]);
  assertEquals(view.buffer, bytes.buffer);
  assertThrows(() => reader.bytes(2), InvalidDataError);
  assertThrows(() => reader.bytes(-1), InvalidDataError);
  assertThrows(() => reader.skip(2 ** 40), InvalidDataError);
  assertEquals(Array.from(reader.rest()), [4]);
});

Deno.test("ByteWriter.setU32() overwrites what was written", () => {
  const writer = new ByteWriter(2).u8(9).u32(0).u8(8);
  assertEquals(writer.length, 6);
  assertEquals(Array.from(writer.setU32(1, 0x01020304).finish()), [9, 1, 2, 3, 4, 8]);
});

Deno.test("ByteWriter keeps every byte when it grows", () => {
  const parts = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 20 });
  fc.assert(
    fc.property(parts, fc.integer({ min: 0, max: 8 }), (list, capacity) => {
      const writer = new ByteWriter(capacity);
      for (const part of list) writer.bytes(part);
      assertEquals(equalBytes(writer.finish(), concat(list)), true);
    }),
    { seed: 1, numRuns: 200 },
  );
});

Deno.test("equalBytes() compares lengths and bytes", () => {
  const bytes = Uint8Array.of(1, 2, 3);
  assertEquals(equalBytes(bytes, bytes), true);
  assertEquals(equalBytes(bytes, bytes.slice()), true);
  assertEquals(equalBytes(bytes, Uint8Array.of(1, 2)), false);
  assertEquals(equalBytes(bytes, Uint8Array.of(1, 2, 4)), false);
  assertEquals(equalBytes(new Uint8Array(0), new Uint8Array(0)), true);
});
