import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../src/bytes.ts";
import {
  countLengthPrefixed,
  joinAnnexB,
  joinLengthPrefixed,
  MAX_NAL_UNITS,
  splitAnnexB,
  splitLengthPrefixed,
  unescapeRbsp,
} from "../../src/codecs/nal.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { readFixtures } from "../support/codec_fixtures.ts";
import { escapeRbsp } from "../support/crafted_headers.ts";
import { assertWithstands } from "../support/hostile.ts";

const options = { seed: 3, numRuns: 300 };

const annexB = [
  { name: "nothing", data: [], nalus: [] },
  { name: "a four-byte start code", data: [0, 0, 0, 1, 9], nalus: [[9]] },
  { name: "a three-byte start code", data: [0, 0, 1, 9], nalus: [[9]] },
  { name: "many leading zeros", data: [0, 0, 0, 0, 0, 1, 9, 8], nalus: [[9, 8]] },
  { name: "both start codes", data: [0, 0, 0, 1, 9, 0, 0, 1, 8, 7], nalus: [[9], [8, 7]] },
  { name: "trailing zeros", data: [0, 0, 1, 9, 0, 0, 0, 0, 1, 8, 0, 0], nalus: [[9], [8]] },
  { name: "empty units", data: [0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 5, 0, 0, 1], nalus: [[5]] },
  { name: "zeros inside", data: [0, 0, 1, 9, 0, 0, 2, 0, 1, 1], nalus: [[9, 0, 0, 2, 0, 1, 1]] },
  { name: "ones", data: [0, 0, 1, 1, 1, 1, 0, 0, 1, 1], nalus: [[1, 1, 1], [1]] },
  { name: "an escape", data: [0, 0, 1, 9, 0, 0, 3, 1, 7], nalus: [[9, 0, 0, 3, 1, 7]] },
] as const;

for (const { name, data, nalus } of annexB) {
  Deno.test(`splitAnnexB() finds the units of a stream with ${name}`, () => {
    assertEquals(splitAnnexB(Uint8Array.from(data)).map((nalu) => Array.from(nalu)), [
      ...nalus.map((nalu) => Array.from(nalu)),
    ]);
  });
}

Deno.test("splitAnnexB() throws when the data does not begin with a start code", () => {
  for (const data of [[9], [0], [0, 0], [0, 0, 0], [0, 1, 9], [0, 0, 2, 9], [9, 0, 0, 1, 8]]) {
    assertThrows(() => splitAnnexB(Uint8Array.from(data)), InvalidDataError, "no start code");
  }
});

Deno.test("splitAnnexB() gives views, also of a view", () => {
  const data = Uint8Array.of(0, 0, 1, 0, 0, 1, 5, 6, 0, 0, 1, 7).subarray(3, 8);
  const [nalu] = splitAnnexB(data);
  assertEquals(Array.from(nalu ?? []), [5, 6]);
  assertStrictEquals(nalu?.buffer, data.buffer);
});

/** A unit as encoders write them: escaped, not empty, no zero at its end. */
const nalu = fc.array(fc.constantFrom(0, 0, 0, 1, 2, 3, 4, 255), { maxLength: 40 })
  .map((bytes) => escapeRbsp(Uint8Array.from([0x41, ...bytes, 0x80])));
const accessUnit = fc.array(nalu, { minLength: 1, maxLength: 12 });

Deno.test("splitAnnexB() gives back what joinAnnexB() joined", () => {
  fc.assert(
    fc.property(accessUnit, (nalus) => {
      assertEquals(splitAnnexB(joinAnnexB(nalus)), nalus);
    }),
    options,
  );
});

Deno.test("splitAnnexB() finds units behind start codes of both lengths and any zeros", () => {
  const separator = fc.constantFrom([0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 0, 0, 1]);
  fc.assert(
    fc.property(fc.array(fc.tuple(separator, nalu), { maxLength: 12 }), (parts) => {
      const data = concat(parts.flatMap(([code, unit]) => [Uint8Array.from(code), unit]));
      assertEquals(splitAnnexB(data), parts.map(([, unit]) => unit));
    }),
    options,
  );
});

Deno.test("splitLengthPrefixed() gives back what joinLengthPrefixed() joined", () => {
  fc.assert(
    fc.property(accessUnit, (nalus) => {
      const data = joinLengthPrefixed(nalus);
      assertEquals(splitLengthPrefixed(data), nalus);
      assertEquals(countLengthPrefixed(data), nalus.length);
    }),
    options,
  );
});

const prefixed = [
  { size: 4, data: [0, 0, 0, 2, 5, 6, 0, 0, 0, 0, 0, 0, 0, 1, 7], nalus: [[5, 6], [7]] },
  { size: 3, data: [0, 0, 2, 5, 6, 0, 0, 1, 7], nalus: [[5, 6], [7]] },
  { size: 2, data: [0, 2, 5, 6, 0, 0, 0, 1, 7], nalus: [[5, 6], [7]] },
  { size: 1, data: [2, 5, 6, 0, 1, 7], nalus: [[5, 6], [7]] },
  { size: 4, data: [], nalus: [] },
] as const;

for (const { size, data, nalus } of prefixed) {
  Deno.test(`splitLengthPrefixed() reads ${nalus.length} lengths of ${size} bytes`, () => {
    const split = splitLengthPrefixed(Uint8Array.from(data), size);
    assertEquals(split.map((unit) => Array.from(unit)), nalus.map((unit) => Array.from(unit)));
    assertEquals(countLengthPrefixed(Uint8Array.from(data), size), nalus.length);
  });
}

Deno.test("splitLengthPrefixed() reads lengths over 255 and 65 535", () => {
  const nalus = [255, 256, 258, 65_535, 65_536, 70_000].map((length) =>
    new Uint8Array(length).fill(length)
  );
  assertEquals(splitLengthPrefixed(joinLengthPrefixed(nalus)), nalus);
});

Deno.test("splitLengthPrefixed() throws when a length goes past the end", () => {
  for (const data of [[0, 0, 0, 1], [0, 0, 0, 3, 1, 2], [0xff, 0xff, 0xff, 0xff, 1], [0, 0, 0]]) {
    for (const read of [splitLengthPrefixed, countLengthPrefixed]) {
      assertThrows(() => read(Uint8Array.from(data)), InvalidDataError, "length");
    }
  }
});

Deno.test("splitLengthPrefixed() throws when the length size is not 1 to 4", () => {
  for (const size of [0, 5, -1, NaN]) {
    for (const read of [splitLengthPrefixed, countLengthPrefixed]) {
      for (const data of [[], [0, 0]]) {
        assertThrows(() => read(Uint8Array.from(data), size), RangeError, `${size}`);
      }
    }
  }
});

Deno.test("splitAnnexB() and splitLengthPrefixed() throw when there are too many units", () => {
  const nalus = Array.from({ length: MAX_NAL_UNITS }, () => Uint8Array.of(1));
  assertEquals(splitAnnexB(joinAnnexB(nalus)).length, MAX_NAL_UNITS);
  assertEquals(splitLengthPrefixed(joinLengthPrefixed(nalus)).length, MAX_NAL_UNITS);
  assertEquals(countLengthPrefixed(joinLengthPrefixed(nalus)), MAX_NAL_UNITS);
  nalus.push(Uint8Array.of(1));
  assertThrows(() => splitAnnexB(joinAnnexB(nalus)), InvalidDataError, "over");
  for (const read of [splitLengthPrefixed, countLengthPrefixed]) {
    assertThrows(() => read(joinLengthPrefixed(nalus)), InvalidDataError, "over");
  }
});

const escapes = [
  { nalu: [1, 2, 3], rbsp: [1, 2, 3] },
  { nalu: [0, 0, 3], rbsp: [0, 0] },
  { nalu: [0, 0, 3, 0, 0, 3, 0, 0, 3, 1], rbsp: [0, 0, 0, 0, 0, 0, 1] },
  { nalu: [0, 0, 3, 3, 0, 0, 3, 2], rbsp: [0, 0, 3, 0, 0, 2] },
  { nalu: [3, 0, 3, 0, 0, 4, 3], rbsp: [3, 0, 3, 0, 0, 4, 3] },
  { nalu: [0, 0, 3, 0, 3], rbsp: [0, 0, 0, 3] },
] as const;

for (const { nalu, rbsp } of escapes) {
  Deno.test(`unescapeRbsp() makes ${rbsp.join(" ")} of ${nalu.join(" ")}`, () => {
    assertEquals(Array.from(unescapeRbsp(Uint8Array.from(nalu))), Array.from(rbsp));
  });
}

Deno.test("unescapeRbsp() undoes emulation prevention, and copies only if there is some", () => {
  const bytes = fc.array(fc.constantFrom(0, 0, 0, 1, 2, 3, 4), { maxLength: 60 });
  fc.assert(
    fc.property(bytes, (list) => {
      const rbsp = Uint8Array.from([...list, 0x80]);
      const escaped = escapeRbsp(rbsp);
      const unescaped = unescapeRbsp(escaped);
      assertEquals(unescaped, rbsp);
      assertEquals(unescaped === escaped, escaped.length === rbsp.length);
    }),
    options,
  );
});

Deno.test("splitAnnexB() and splitLengthPrefixed() withstand damaged data", () => {
  const seeds = readFixtures("h264_").flatMap(({ packets }) => packets.slice(0, 1));
  const lengths = seeds.map((seed) => joinLengthPrefixed(splitAnnexB(seed)));
  assertWithstands(splitAnnexB, seeds);
  assertWithstands(splitLengthPrefixed, lengths);
  assertWithstands(unescapeRbsp, seeds);
});
