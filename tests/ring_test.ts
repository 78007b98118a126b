import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Cursor } from "../src/cursor.ts";
import { Ring, type RingItem, type RingOptions } from "../src/ring.ts";
import { Place } from "../src/wake_list.ts";
import { turns } from "./support/reading.ts";

interface Item extends RingItem {
  readonly id: number;
}

/** Writes items at the given times in ms; `K` before a time makes a key. */
function fill(ring: Ring<Item>, times: string, bytes = 1): void {
  for (const time of times.split(" ")) {
    const key = time.startsWith("K");
    ring.write({ id: ring.head, dts: Number(time.slice(key ? 1 : 0)) * 1000, key }, bytes);
  }
}

function held(ring: Ring<Item>): number[] {
  const ids: number[] = [];
  for (let sequence = ring.tail; sequence < ring.head; sequence++) {
    ids.push(ring.at(sequence)?.id ?? -1);
  }
  return ids;
}

Deno.test("Ring.write() numbers items from 0 and keeps each where its number says", () => {
  const ring = new Ring<Item>();
  assertEquals([ring.head, ring.tail, ring.newestKey, ring.keyFrom(0)], [0, 0, -1, -1]);
  assertEquals(ring.newest(), undefined);
  fill(ring, "K0 1 2 K3", 7);
  assertEquals(held(ring), [0, 1, 2, 3]);
  assertEquals([ring.head, ring.tail, ring.bytes], [4, 0, 28]);
  assertEquals([ring.newestKey, ring.keyFrom(0)], [3, 0]);
  assertEquals([ring.at(-1), ring.at(4)], [undefined, undefined]);
  assertEquals([ring.size(3), ring.size(4)], [7, 0]);
  assertEquals(ring.newest()?.id, 3);
});

Deno.test("Ring.write() grows to hold the current GOP when it is longer than the first slots", () => {
  const ring = new Ring<Item>({ historyUs: 0 });
  for (let id = 0; id < 1000; id++) ring.write({ id, dts: id * 10_000, key: id === 0 }, id);
  assertEquals(held(ring), Array.from({ length: 1000 }, (_, id) => id));
  assertEquals(held(ring).map((id) => ring.size(id)), held(ring));
  assertEquals([0, 63, 64, 999].map((id) => ring.find(id * 10_000)), [0, 63, 64, 999]);
  assertEquals([ring.newestKey, ring.keyFrom(0), ring.keyFrom(1)], [0, 0, -1]);
});

Deno.test("Ring.write() drops what lies before the newest key and the history", () => {
  const ring = new Ring<Item>({ historyUs: 2_000_000 });
  fill(ring, "K0 1000 2000 3000 4000 5000");
  assertEquals(ring.tail, 0);
  fill(ring, "K6000");
  assertEquals(held(ring), [4, 5, 6]);
  fill(ring, "7000 8000 9000");
  assertEquals(held(ring), [6, 7, 8, 9]);
});

const bounds: [string, RingOptions, number, number[]][] = [
  ["maxItems", { maxItems: 4 }, 1, [6, 7, 8, 9]],
  ["maxBytes", { maxBytes: 30 }, 10, [7, 8, 9]],
  ["maxSpanUs", { maxSpanUs: 2_000 }, 1, [7, 8, 9]],
  ["maxBytes smaller than an item", { maxBytes: 5 }, 10, [9]],
  ["maxItems of 1", { maxItems: 1 }, 1, [9]],
];
for (const [name, options, bytes, expected] of bounds) {
  Deno.test(`Ring.write() drops the oldest, keys too, when it is past ${name}`, () => {
    const ring = new Ring<Item>(options);
    fill(ring, "K0 1 2 3 4 5 6 7 8 9", bytes);
    assertEquals(held(ring), expected);
    assertEquals(ring.bytes, expected.length * bytes);
    assertEquals([ring.newestKey, ring.keyFrom(0)], [-1, -1]);
    fill(ring, "K10");
    assertEquals(ring.newestKey, 10);
  });
}

Deno.test("Ring.write() keeps what another ring needs when retainFromUs says so", () => {
  let fromUs = 3_000;
  const ring = new Ring<Item>({ historyUs: 0, retainFromUs: () => fromUs });
  fill(ring, "K0 K1 K2 K3 K4 K5");
  assertEquals(held(ring), [3, 4, 5]);
  fromUs = 5_000;
  fill(ring, "K6");
  assertEquals(held(ring), [5, 6]);
});

Deno.test("Ring.pin() keeps items up to the bounds until unpin()", () => {
  const ring = new Ring<Item>({ historyUs: 0, maxItems: 5 });
  const pin = { sequence: 1 };
  ring.pin(pin);
  fill(ring, "K0 K1 K2 K3");
  assertEquals(held(ring), [1, 2, 3]);
  fill(ring, "K4 K5 K6");
  assertEquals(held(ring), [2, 3, 4, 5, 6]);
  pin.sequence = 4;
  fill(ring, "K7");
  assertEquals(held(ring), [4, 5, 6, 7]);
  ring.unpin(pin);
  fill(ring, "K8");
  assertEquals(held(ring), [8]);
});

Deno.test("Ring.find() gives the first item from a time on", () => {
  const ring = new Ring<Item>({ maxItems: 5 });
  assertEquals(ring.find(0), 0);
  fill(ring, "K0 1 2 3 3 3 4 6");
  assertEquals(held(ring), [3, 4, 5, 6, 7]);
  const found = [-5, 3, 3.5, 4, 5, 6, 7].map((ms) => ring.find(ms * 1000));
  assertEquals(found, [3, 3, 6, 6, 7, 7, 8]);
});

Deno.test("Ring.write() lets go of what it drops", () => {
  const ring = new Ring<Item>({ maxItems: 2 });
  fill(ring, "K0 K1 K2");
  assertEquals(ring.at(0), undefined);
  assertEquals(ring.size(0), 0);
});

Deno.test("Ring.write() wakes waiters once a turn, in a microtask, whatever was written", async () => {
  const ring = new Ring<Item>();
  let woken = 0;
  const waiter = {
    wake() {
      woken++;
      new Place(ring.waiting).wait(waiter);
    },
  };
  new Place(ring.waiting).wait(waiter);
  fill(ring, "K0 1 2");
  assertEquals(woken, 0);
  await turns();
  assertEquals(woken, 1);
  fill(ring, "3");
  await turns();
  assertEquals(woken, 2);
  await turns();
  assertEquals(woken, 2);
});

Deno.test("Ring.write() wakes again when a waiter writes while it is woken", async () => {
  const ring = new Ring<Item>();
  const heads: number[] = [];
  const waiter = {
    wake() {
      heads.push(ring.head);
      new Place(ring.waiting).wait(waiter);
      if (ring.head < 3) fill(ring, "9");
    },
  };
  new Place(ring.waiting).wait(waiter);
  fill(ring, "K0");
  await turns();
  assertEquals(heads, [1, 2, 3]);
});

Deno.test("Ring.close() wakes the waiters once, and write() throws after it", async () => {
  const ring = new Ring<Item>();
  let woken = 0;
  new Place(ring.waiting).wait({ wake: () => void woken++ });
  ring.close();
  ring.close();
  await turns();
  assertEquals([woken, ring.closed], [1, true]);
  assertThrows(() => fill(ring, "K0"), TypeError, "closed");
});

/** The ring again, as slow and plain as its rules can be said. */
class Model {
  items: (Item & { readonly bytes: number })[] = [];
  written = 0;
  constructor(readonly options: Required<Omit<RingOptions, "retainFromUs">>) {}

  write(dts: number, key: boolean, bytes: number, pinned: number): void {
    const { maxItems, maxBytes, maxSpanUs, historyUs } = this.options;
    this.items.push({ id: this.written++, dts, key, bytes });
    const newestKey = this.items.findLast((item) => item.key);
    while (this.items.length > 1) {
      const [oldest] = this.items;
      assert(oldest);
      const bytesHeld = this.items.reduce((sum, item) => sum + item.bytes, 0);
      const over = this.items.length > maxItems || bytesHeld > maxBytes ||
        dts - oldest.dts > maxSpanUs;
      const needed = oldest.dts >= dts - historyUs || oldest.id >= pinned ||
        (newestKey !== undefined && oldest.dts >= newestKey.dts);
      if (needed && !over) break;
      this.items.shift();
    }
  }
}

Deno.test("Ring keeps just what a naive model keeps, whatever is written", () => {
  const write = fc.record({
    step: fc.integer({ min: 0, max: 400 }),
    key: fc.integer({ min: 0, max: 9 }).map((digit) => digit === 0),
    bytes: fc.integer({ min: 0, max: 100 }),
    pin: fc.option(fc.integer({ min: 0, max: 200 }), { freq: 8 }),
  });
  const options = fc.record({
    maxItems: fc.integer({ min: 1, max: 150 }),
    maxBytes: fc.integer({ min: 1, max: 5_000 }),
    maxSpanUs: fc.integer({ min: 0, max: 20_000 }),
    historyUs: fc.integer({ min: 0, max: 5_000 }),
  });
  fc.assert(
    fc.property(options, fc.array(write, { maxLength: 250, size: "max" }), (bound, writes) => {
      const ring = new Ring<Item>(bound);
      const model = new Model(bound);
      const pin = { sequence: Infinity };
      ring.pin(pin);
      let dts = 0;
      for (const { step, key, bytes, pin: pinned } of writes) {
        if (pinned !== null) pin.sequence = pinned;
        dts += step;
        ring.write({ id: ring.head, dts, key }, bytes);
        model.write(dts, key, bytes, pin.sequence);
        const ids = model.items.map((item) => item.id);
        assertEquals(held(ring), ids);
        assertEquals(ring.bytes, model.items.reduce((sum, item) => sum + item.bytes, 0));
        assertEquals(ring.newestKey, model.items.findLast((item) => item.key)?.id ?? -1);
        assertEquals(ring.keyFrom(0), model.items.find((item) => item.key)?.id ?? -1);
        const probe = dts - bound.historyUs;
        assertEquals(
          ring.find(probe),
          model.items.find((item) => item.dts >= probe)?.id ?? ring.head,
        );
      }
    }),
    { seed: 1, numRuns: 60 },
  );
});

Deno.test("Ring.at() gives the same object to every reader", () => {
  const ring = new Ring<Item>();
  const item = { id: 0, dts: 0, key: true };
  ring.write(item, 1);
  assertStrictEquals(ring.at(0), item);
  assertStrictEquals(ring.newest(), item);
});

Deno.test("Ring.close() wakes who waits for its end alone, and nothing else does", async () => {
  const ring = new Ring<Item>();
  let woken = 0;
  for (let count = 0; count < 2; count++) new Place(ring.closing).wait({ wake: () => woken++ });
  fill(ring, "K0 1");
  await turns();
  assertEquals(woken, 0);
  ring.close();
  await turns();
  assertEquals(woken, 2);
});

Deno.test("Ring.write() wakes those first that pass items on", async () => {
  const ring = new Ring<Item>();
  const woken: string[] = [];
  for (const name of ["waiting", "relays"] as const) {
    const cursor = new Cursor(ring, { relays: name === "relays" });
    cursor.wait({ wake: () => woken.push(name) });
    assertEquals(ring[name].size, 1);
  }
  fill(ring, "K0");
  await turns();
  assertEquals(woken, ["relays", "waiting"]);
});
