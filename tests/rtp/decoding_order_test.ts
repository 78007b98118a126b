import { assert, assertEquals } from "@std/assert";
import {
  DecodingOrder,
  type Interleaving,
  MAX_HELD_UNITS,
  numberParameter,
} from "../../src/rtp/decoding_order.ts";
import { MAX_ACCESS_UNIT_BYTES } from "../../src/rtp/access_unit.ts";
import { formatWith } from "../support/nal_packets.ts";

/** An order that writes down what it hands over: the first byte of a NAL unit, `-` for a loss. */
function recorded(interleaving: Partial<Interleaving>, out: (number | string)[]): DecodingOrder {
  return new DecodingOrder({ depth: 0, counts: () => true, ...interleaving }, {
    add: (nalu) => out.push(nalu[0] ?? -1),
    lose: () => out.push("-"),
  });
}

const cases = [
  { name: "at once without depth", depth: 0, dons: [0, 2, 4], out: [0, 2, 4] },
  { name: "no more than the depth", depth: 2, dons: [3, 1, 2, 0], out: [1] },
  { name: "in order within the depth", depth: 2, dons: [2, 1, 0, 3, 5, 4], out: [0, 1, 2, 3] },
  { name: "beyond the difference", depth: 9, maxDonDiff: 2, dons: [1, 0, 2, 3, 4], out: [0, 1] },
  { name: "equal numbers as they came", depth: 1, dons: [7, 7, 8], out: [7, 7] },
  { name: "none that is late", depth: 0, dons: [5, 4, 6], out: [5, 6] },
] as const;

for (const { name, dons, out, ...interleaving } of cases) {
  Deno.test(`DecodingOrder.put() hands over ${name}`, () => {
    const found: (number | string)[] = [];
    const order = recorded(interleaving, found);
    for (const don of dons) order.put(Uint8Array.of(don), 0, don);
    assertEquals(found, [...out]);
  });
}

Deno.test("DecodingOrder.put() follows the wrap-around of numbers", () => {
  const found: (number | string)[] = [];
  const order = recorded({ depth: 2 }, found);
  [65_534, 0, 65_535, 1, 3, 2].forEach((don) => order.put(Uint8Array.of(don & 0xff), 0, don));
  order.flush();
  assertEquals(found, [0xfe, 0xff, 0, 1, 2, 3]);
});

Deno.test("DecodingOrder.put() counts only what counts for the depth", () => {
  const found: (number | string)[] = [];
  const order = recorded({ depth: 1, counts: (nalu) => (nalu[0] ?? 0) % 2 === 0 }, found);
  for (const don of [1, 3, 5, 2]) order.put(Uint8Array.of(don), 0, don);
  assertEquals(found, []);
  order.put(Uint8Array.of(4), 0, 4);
  assertEquals(found, [1, 2]);
});

Deno.test("DecodingOrder.put() takes a gap for the loss that was announced", () => {
  const found: (number | string)[] = [];
  const order = recorded({ depth: 1 }, found);
  const put = (...dons: number[]) => dons.forEach((don) => order.put(Uint8Array.of(don), 0, don));
  put(0, 2, 4);
  order.lose();
  put(6, 5, 8);
  order.flush();
  assertEquals(found, [0, 2, "-", 4, 5, 6, "-", 8]);
});

Deno.test("DecodingOrder.put() takes no gap for a loss long after it", () => {
  const found: (number | string)[] = [];
  const order = recorded({}, found);
  order.lose();
  for (let don = 0; don < 3000; don++) order.put(Uint8Array.of(1), 0, don);
  order.put(Uint8Array.of(2), 0, 3010);
  assertEquals(found.slice(-2), [1, 2]);
  assertEquals(found.filter((entry) => entry === "-").length, 1);
});

Deno.test("DecodingOrder.put() begins anew when the sender numbers anew", () => {
  const found: (number | string)[] = [];
  const order = recorded({ depth: 1 }, found);
  for (const don of [30_000, 30_001, 30_002, 7, 8, 9]) {
    order.put(Uint8Array.of(don & 0xff), 0, don);
  }
  order.flush();
  assertEquals(found, [0x30, 0x31, 0x32, "-", 7, 8, 9]);
});

Deno.test("DecodingOrder.put() holds back a bounded number of NAL units and of bytes", () => {
  for (const bytes of [1, 60_000]) {
    const found: (number | string)[] = [];
    const order = recorded({ depth: 32_767 }, found);
    const most = Math.min(MAX_HELD_UNITS, Math.floor(MAX_ACCESS_UNIT_BYTES / bytes));
    const nalu = new Uint8Array(bytes);
    for (let don = 0; don < most; don++) order.put(nalu, 0, don);
    assertEquals(found.length, 0);
    for (let don = 0; don < 10; don++) order.put(nalu, 0, most + don);
    assertEquals(found.length, 10);
  }
});

Deno.test("numberParameter() gives numbers of 15 bits and nothing else", () => {
  const values = { a: "0", b: "32767", c: "32768", d: "-1", e: "1.5", f: "", g: "1e3", h: " 1" };
  const format = formatWith("H264", values);
  const found = [...Object.keys(values), "missing"].map((name) => numberParameter(format, name));
  assertEquals(found.slice(0, 2), [0, 32_767]);
  assert(found.slice(2).every((value) => value === undefined));
});
