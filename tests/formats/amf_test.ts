import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import fc from "fast-check";
import { ByteReader, ByteWriter } from "../../src/bytes.ts";
import { InvalidDataError } from "../../src/errors.ts";
import {
  type AmfInput,
  type AmfObject,
  type AmfValue,
  EcmaArray,
  encodeAmf0,
  isAmfObject,
  MAX_AMF_DEPTH,
  MAX_AMF_VALUES,
  readAmf0,
  readAmf0All,
  readAmf3,
  writeAmf0,
} from "../../src/formats/amf.ts";

const seed = 20_240;

/** A record as the readers make it: without prototype. */
function record(entries: Record<string, AmfValue> = {}): AmfObject {
  return Object.assign(Object.create(null), entries);
}

function hex(text: string): Uint8Array {
  return Uint8Array.fromHex(text.replaceAll(" ", ""));
}

interface Case {
  readonly name: string;
  readonly bytes: string;
  readonly value: AmfValue;
  /** What is written to get these bytes, where it is not `value`; `null` where nothing does. */
  readonly input?: { readonly value: AmfInput } | null;
}

const onMetaData = record({ width: 160, stereo: true, encoder: "x" });
const onMetaDataHex = "0005 7769647468 00 4064000000000000" +
  "0006 73746572656f 01 01" +
  "0007 656e636f646572 02 0001 78" +
  "0000 09";

const amf0Cases: readonly Case[] = [
  { name: "a number", bytes: "00 3ff8000000000000", value: 1.5 },
  { name: "true", bytes: "01 01", value: true },
  { name: "false", bytes: "01 00", value: false },
  { name: "a string", bytes: "02 0003 e282ac", value: "€" },
  { name: "an empty string", bytes: "02 0000", value: "" },
  { name: "a byte order mark", bytes: "02 0003 efbbbf", value: "\ufeff" },
  { name: "broken UTF-8", bytes: "02 0001 ff", value: "\ufffd", input: null },
  { name: "an object", bytes: `03 ${onMetaDataHex}`, value: onMetaData },
  { name: "an empty object", bytes: "03 0000 09", value: record() },
  { name: "null", bytes: "05", value: null },
  { name: "undefined", bytes: "06", value: undefined },
  { name: "an unsupported value", bytes: "0d", value: undefined, input: null },
  {
    name: "an ECMA array",
    bytes: `08 00000003 ${onMetaDataHex}`,
    value: onMetaData,
    input: { value: new EcmaArray(onMetaData) },
  },
  {
    name: "an ECMA array with a wrong count",
    bytes: `08 ffffffff ${onMetaDataHex}`,
    value: onMetaData,
    input: null,
  },
  { name: "a strict array", bytes: "0a 00000002 05 0a 00000000", value: [null, []] },
  { name: "a date", bytes: "0b 4270000000000000 0000", value: new Date(2 ** 40) },
  { name: "a date with zone", bytes: "0b 0000000000000000 ffc4", value: new Date(0), input: null },
  { name: "a short long string", bytes: "0c 00000001 61", value: "a", input: null },
  { name: "XML", bytes: "0f 00000004 3c612f3e", value: "<a/>", input: null },
  {
    name: "a typed object",
    bytes: "10 0001 43 0001 61 05 0000 09",
    value: record({ a: null }),
    input: null,
  },
  {
    name: "a reference",
    bytes: "0a 00000002 03 0001 61 05 0000 09 07 0001",
    value: [record({ a: null }), record({ a: null })],
    input: null,
  },
  { name: "a switch to AMF3", bytes: "11 06 07 616d66", value: "amf", input: null },
  { name: "a byte array", bytes: "11 0c 05 ff00", value: new Uint8Array([255, 0]) },
  {
    name: "a key __proto__",
    bytes: "03 0009 5f5f70726f746f5f5f 03 0001 78 01 01 0000 09 0000 09",
    value: Object.defineProperty(record(), "__proto__", {
      ...{ value: record({ x: true }), enumerable: true, configurable: true, writable: true },
    }),
  },
];

for (const { name, bytes, value } of amf0Cases) {
  Deno.test(`readAmf0() reads ${name}`, () => {
    const reader = new ByteReader(hex(bytes));
    assertEquals(readAmf0(reader), value);
    assertEquals(reader.remaining, 0);
  });
}

for (const { name, bytes, value, input = { value } } of amf0Cases) {
  if (!input) continue;
  Deno.test(`writeAmf0() writes ${name}`, () => {
    const writer = new ByteWriter(1);
    writeAmf0(writer, input.value);
    assertEquals(writer.finish().toHex(), hex(bytes).toHex());
  });
}

const amf3Cases: readonly Case[] = [
  { name: "undefined", bytes: "00", value: undefined },
  { name: "null", bytes: "01", value: null },
  { name: "false", bytes: "02", value: false },
  { name: "true", bytes: "03", value: true },
  { name: "an integer of one byte", bytes: "04 7f", value: 127 },
  { name: "an integer of two bytes", bytes: "04 8100", value: 128 },
  { name: "an integer of three bytes", bytes: "04 ffff7f", value: 0x1fffff },
  { name: "an integer of four bytes", bytes: "04 bfffffff", value: 0xfffffff },
  { name: "a negative integer", bytes: "04 ffffffff", value: -1 },
  { name: "a double", bytes: "05 3ff8000000000000", value: 1.5 },
  { name: "a string", bytes: "06 07 e282ac", value: "€" },
  { name: "an XML document", bytes: "07 09 3c612f3e", value: "<a/>" },
  { name: "XML", bytes: "0b 09 3c612f3e", value: "<a/>" },
  { name: "a date", bytes: "08 01 4270000000000000", value: new Date(2 ** 40) },
  { name: "a dense array", bytes: "09 05 01 0401 0403", value: [1, 3] },
  {
    name: "an associative array",
    bytes: "09 03 0361 0401 01 03",
    value: record({ a: 1, 0: true }),
  },
  { name: "string references", bytes: "09 05 01 06 0561 62 06 00", value: ["ab", "ab"] },
  { name: "an object reference", bytes: "09 05 01 0901 01 0a02", value: [[], []] },
  {
    name: "a trait reference",
    bytes: "09 05 01 0a 13 01 0378 0401 0a 01 0402",
    value: [record({ x: 1 }), record({ x: 2 })],
  },
  {
    name: "a dynamic object",
    bytes: "0a 1b 0343 0378 0401 0379 03 01",
    value: record({ x: 1, y: true }),
  },
  { name: "a byte array", bytes: "0c 05 ff00", value: new Uint8Array([255, 0]) },
  { name: "a vector of int", bytes: "0d 03 00 ffffffff", value: [-1] },
  { name: "a vector of uint", bytes: "0e 03 00 ffffffff", value: [0xffff_ffff] },
  { name: "a vector of double", bytes: "0f 03 00 3ff8000000000000", value: [1.5] },
  { name: "a vector of objects", bytes: "10 03 00 01 03", value: [true] },
];

for (const { name, bytes, value } of amf3Cases) {
  Deno.test(`readAmf3() reads ${name}`, () => {
    const reader = new ByteReader(hex(bytes));
    assertEquals(readAmf3(reader), value);
    assertEquals(reader.remaining, 0);
  });
}

const malformed: readonly { name: string; bytes: string; message: string }[] = [
  { name: "an unknown marker", bytes: "12", message: "marker 0x12" },
  { name: "a movie clip", bytes: "04", message: "marker 0x4" },
  { name: "a string past the end", bytes: "02 0002 61", message: "Cannot read 2 bytes" },
  { name: "an object without end", bytes: "03 0001 61 05", message: "Cannot read" },
  { name: "an object with a wrong end", bytes: "03 0000 05", message: "end marker is 5" },
  { name: "an array longer than the bytes", bytes: "0a ffffffff 05", message: "4294967295 items" },
  { name: "an unknown reference", bytes: "07 0000", message: "reference 0" },
  { name: "an object in itself", bytes: "03 0001 61 07 0000 0000 09", message: "reference 0" },
  { name: "an unknown AMF3 marker", bytes: "11 12", message: "marker 0x12" },
  { name: "an AMF3 dictionary", bytes: "11 11 01 00", message: "marker 0x11" },
  { name: "an externalizable object", bytes: "11 0a 07 01", message: "externalizable" },
  { name: "unknown AMF3 traits", bytes: "11 0a 01", message: "traits reference 0" },
  { name: "an unknown AMF3 string", bytes: "11 06 00", message: "string reference 0" },
  { name: "an unknown AMF3 object", bytes: "11 0a 00", message: "reference 0" },
  { name: "an AMF3 array in itself", bytes: "11 09 03 01 09 00", message: "reference 0" },
  { name: "an AMF3 array longer than the bytes", bytes: "11 09 ffffffff 01", message: "items" },
  { name: "AMF3 traits longer than the bytes", bytes: "11 0a fffffff3 01", message: "items" },
];

for (const { name, bytes, message } of malformed) {
  Deno.test(`readAmf0() refuses ${name}`, () => {
    assertThrows(() => readAmf0(new ByteReader(hex(bytes))), InvalidDataError, message);
  });
}

function nested(levels: number): AmfInput {
  let value: AmfInput = null;
  for (let level = 0; level < levels; level++) value = [value];
  return value;
}

Deno.test("readAmf0() takes nesting of MAX_AMF_DEPTH and refuses more", () => {
  const bytes = encodeAmf0(nested(MAX_AMF_DEPTH));
  assert(Array.isArray(readAmf0(new ByteReader(bytes))));
  const deeper = new Uint8Array([...hex("0a 00000001"), ...bytes]);
  assertThrows(() => readAmf0(new ByteReader(deeper)), InvalidDataError, "nests deeper");
});

const deep: readonly { name: string; level: string; prefix: string }[] = [
  { name: "AMF0 arrays", level: "0a 00000001", prefix: "" },
  { name: "AMF0 objects", level: "03 0001 61", prefix: "" },
  { name: "AMF3 arrays", level: "09 03 01", prefix: "11" },
  { name: "AMF3 objects", level: "0a 0b 01 03 61", prefix: "11" },
  { name: "switches between both", level: "0a 00000001 11 09 03 01 ", prefix: "" },
];

for (const { name, level, prefix } of deep) {
  Deno.test(`readAmf0() refuses ${name} nested 10 000 deep`, () => {
    const bytes = hex(prefix + level.repeat(10_000));
    const error = assertThrows(() => readAmf0(new ByteReader(bytes)), InvalidDataError);
    if (name !== "switches between both") assertStringIncludes(error.message, "nests deeper");
  });
}

Deno.test("writeAmf0() refuses a cycle", () => {
  const cycle: AmfInput[] = [];
  cycle.push(cycle);
  assertThrows(() => encodeAmf0(cycle), InvalidDataError, "nests deeper");
});

Deno.test("writeAmf0() refuses a property name that AMF0 can't hold", () => {
  assertThrows(() => encodeAmf0({ "": 1 }), RangeError, "0 bytes long");
  assertThrows(() => encodeAmf0({ ["a".repeat(65_536)]: 1 }), RangeError, "65536 bytes long");
});

Deno.test("readAmf0() refuses references that stand for too many values", () => {
  // Each array holds the one before it twice: 2³⁰ values in 400 bytes.
  const levels = ["0a 00000000"];
  for (let level = 1; level <= 30; level++) {
    const index = (level - 1).toString(16).padStart(4, "0");
    levels.push(`0a 00000002 07 ${index} 07 ${index}`);
  }
  const bytes = hex(levels.join(""));
  assertThrows(() => readAmf0All(bytes), InvalidDataError, "more than");
});

Deno.test("readAmf0All() counts values over the whole message", () => {
  const half = new Uint8Array(MAX_AMF_VALUES / 2).fill(5);
  assertEquals(readAmf0All(half).length, half.length);
  const arrays = new Uint8Array([
    ...[0x0a, 0, 1, 0, 0],
    ...new Uint8Array(65_536).fill(5),
    ...[0x0a, 0, 1, 0, 0],
    ...new Uint8Array(65_536).fill(5),
  ]);
  assertThrows(() => readAmf0All(arrays), InvalidDataError, `more than ${MAX_AMF_VALUES}`);
});

Deno.test("readAmf0All() shares references among the values of a message", () => {
  const [first, second] = readAmf0All(hex("03 0001 61 05 0000 09 07 0000"));
  assertEquals(first, record({ a: null }));
  assert(first === second);
});

Deno.test("readAmf0() leaves Object.prototype alone when a key is __proto__", () => {
  const value = readAmf0(new ByteReader(hex(amf0Cases.at(-1)?.bytes ?? "")));
  assert(isAmfObject(value));
  assertEquals(Object.getPrototypeOf(value), null);
  assertEquals(Reflect.get({}, "x"), undefined);
  assertEquals(value["x"], undefined);
});

Deno.test("isAmfObject() tells records from everything else", () => {
  assert(isAmfObject(record()));
  for (const value of [null, undefined, 1, "", true, [], new Date(), new Uint8Array()]) {
    assert(!isAmfObject(value));
  }
});

Deno.test("encodeAmf0() writes long strings and byte arrays that readAmf0All() reads", () => {
  for (const length of [62, 63, 64, 8_191, 8_192, 65_535, 65_536, 1_048_575, 1_048_576]) {
    const text = "a".repeat(length);
    const data = new Uint8Array(length).fill(7);
    const [readText, readData] = readAmf0All(encodeAmf0(text, data));
    assert(readText === text);
    assert(readData instanceof Uint8Array && readData.length === length);
  }
});

const { value: amfValue } = fc.letrec<{ value: AmfInput }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 6, withCrossShrink: true },
    fc.double(),
    fc.boolean(),
    fc.string({ unit: "grapheme" }),
    fc.constantFrom(null, undefined),
    fc.date({ noInvalidDate: false }),
    fc.uint8Array({ maxLength: 300 }),
    fc.array(tie("value"), { maxLength: 5 }),
    fc.dictionary(
      fc.oneof(fc.string({ minLength: 1 }), fc.constantFrom("__proto__", "constructor", "0")),
      tie("value"),
      { maxKeys: 5, noNullPrototype: false },
    ).map((entries) => Object.assign(Object.create(null), entries)),
  ),
}));

Deno.test("readAmf0All() reads what encodeAmf0() writes", () => {
  fc.assert(
    fc.property(fc.array(amfValue, { maxLength: 4 }), (values) => {
      assertEquals<unknown>(readAmf0All(encodeAmf0(...values)), values);
    }),
    { seed, numRuns: 300 },
  );
});

/** Bytes near to valid ones: a case with some of its bytes changed, cut or repeated. */
const damaged = fc.tuple(
  fc.constantFrom(
    ...amf0Cases.map(({ bytes }) => bytes),
    ...amf3Cases.map(({ bytes }) => `11 ${bytes}`),
  ),
  fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 4 }),
  fc.nat(60),
).map(([text, changes, cut]) => {
  const bytes = hex(text);
  for (const [index, byte] of changes) if (index < bytes.length) bytes[index] = byte;
  return cut < bytes.length / 2 ? bytes.subarray(cut) : bytes;
});

Deno.test("readAmf0All() and readAmf3() throw nothing but InvalidDataError for any bytes", () => {
  fc.assert(
    fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 200 })), (bytes) => {
      for (const read of [readAmf0All, (all: Uint8Array) => readAmf3(new ByteReader(all))]) {
        try {
          read(bytes);
        } catch (error) {
          assert(error instanceof InvalidDataError, `${error}`);
        }
      }
    }),
    { seed, numRuns: 5_000 },
  );
});

Deno.test("readAmf0() refuses every case that is cut short", () => {
  const cases = [...amf0Cases, ...amf3Cases.map((item) => ({ ...item, bytes: `11${item.bytes}` }))];
  for (const { name, bytes } of cases) {
    const all = hex(bytes);
    for (let length = 0; length < all.length; length++) {
      const cut = new ByteReader(all.subarray(0, length));
      assertThrows(() => readAmf0(cut), InvalidDataError, "", `${name} cut to ${length}`);
    }
  }
});
