import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { InvalidDataError } from "../../../src/errors.ts";
import { formatRange, type NptRange, parseRange } from "../../../plugins/rtsp/range.ts";

const cases: readonly { text: string; range: NptRange | undefined; written?: boolean }[] = [
  { text: "npt=now-", range: { startUs: "now" }, written: true },
  { text: "npt=0-", range: { startUs: 0 }, written: true },
  { text: "npt=0.000-", range: { startUs: 0 } },
  { text: "npt=10-15", range: { startUs: 10_000_000, endUs: 15_000_000 }, written: true },
  { text: "npt=123.45-125", range: { startUs: 123_450_000, endUs: 125_000_000 }, written: true },
  {
    text: "npt=0.000001-3600000000",
    range: { startUs: 1, endUs: 3_600_000_000_000_000 },
    written: true,
  },
  { text: "npt=-20", range: { endUs: 20_000_000 }, written: true },
  { text: "npt=12:05:35.3-", range: { startUs: 43_535_300_000 } },
  { text: "npt=0:0:5-0:00:07.", range: { startUs: 5_000_000, endUs: 7_000_000 } },
  { text: " NPT = 1 - 2 ;time=19970123T143720Z", range: { startUs: 1_000_000, endUs: 2_000_000 } },
  { text: "npt=0-now", range: { startUs: 0 } },
  { text: "npt=7", range: { startUs: 7_000_000 } },
  { text: "npt=1.23456789-", range: { startUs: 1_234_567 } },
  { text: "clock=19961108T142300Z-19961108T143520Z", range: undefined },
  { text: "smpte=10:07:00-10:07:33:05.01", range: undefined },
  { text: "", range: undefined },
];

for (const { text, range, written } of cases) {
  Deno.test(`parseRange() reads '${text}'`, () => assertEquals(parseRange(text), range));
  if (!written || !range) continue;
  Deno.test(`formatRange() writes '${text}'`, () => assertEquals(formatRange(range), text));
}

Deno.test("parseRange() refuses what is no time, and an end before the start", () => {
  for (
    const text of ["-", "", "x-", "1-x", "--1", "1e3-", "-0x1", "1:2-", "1:60:00-", "0:0:61-"]
      .concat("9999999999-", "9999999:00:00-", ".5-", "NaN-", "Infinity-", "now now-")
  ) {
    assertThrows(() => parseRange(`npt=${text}`), InvalidDataError, "Cannot read Range", text);
  }
  assertThrows(() => parseRange("npt=2-1.9"), InvalidDataError, "it ends before it starts");
  assertEquals(parseRange("npt=2-2"), { startUs: 2_000_000, endUs: 2_000_000 });
});

Deno.test("parseRange() reads all that formatRange() writes", () => {
  const us = fc.maxSafeNat().map((value) => value % 3_600_000_000_000_000);
  fc.assert(
    fc.property(us, us, (a, b) => {
      const range = { startUs: Math.min(a, b), endUs: Math.max(a, b) };
      assertEquals(parseRange(formatRange(range)), range);
    }),
    { seed: 12_29, numRuns: 1_000 },
  );
});
