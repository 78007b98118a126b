import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Cursor } from "../src/cursor.ts";
import { LaggedError } from "../src/errors.ts";
import { Ring, type RingItem, type RingOptions } from "../src/ring.ts";
import { drain } from "./support/reading.ts";

interface Item extends RingItem {
  readonly id: number;
}

function ringOf(times: string, options?: RingOptions): Ring<Item> {
  const ring = new Ring<Item>(options);
  fill(ring, times);
  return ring;
}

function fill(ring: Ring<Item>, times: string): void {
  for (const time of times.split(" ")) {
    const key = time.startsWith("K");
    ring.write({ id: ring.head, dts: Number(time.slice(key ? 1 : 0)) * 1000, key }, 1);
  }
}

function ids(cursor: Cursor<Item>, most?: number): number[] {
  return drain(cursor, most).map((item) => item.id);
}

Deno.test("Cursor.next() starts at the newest key when the mode is live", () => {
  const ring = ringOf("K0 1 2 K3 4");
  const cursor = new Cursor(ring);
  assertEquals(ids(cursor), [3, 4]);
  fill(ring, "5");
  assertEquals(ids(cursor), [5]);
  assertEquals(cursor.dropped, 0);
});

Deno.test("Cursor.next() starts at the oldest key kept when the mode is oldest", () => {
  const ring = ringOf("0 1 K2 3 K4 5");
  const cursor = new Cursor(ring, { mode: "oldest" });
  assertEquals(ids(cursor), [2, 3, 4, 5]);
  assertEquals(cursor.dropped, 0);
});

Deno.test("Cursor.next() waits for a key when there is none", () => {
  const ring = ringOf("0 1");
  for (const mode of ["live", "oldest", "record"] as const) {
    const cursor = new Cursor(ring, { mode });
    assertEquals(ids(cursor), []);
    assert(cursor.needsKey);
    fill(ring, "2");
    assertEquals(ids(cursor), []);
    fill(ring, "K3 4");
    assertEquals(ids(cursor), [ring.head - 2, ring.head - 1]);
    assertEquals(cursor.dropped, 0);
    cursor.close();
    fill(ring, "5 6");
    while (ring.newestKey >= 0) fill(ring, "99999");
  }
});

Deno.test("Cursor.next() drops to the newest key, and counts, when the ring overtakes it", () => {
  const ring = ringOf("K0 1 2", { maxItems: 4 });
  const cursor = new Cursor(ring);
  assertEquals(ids(cursor, 1), [0]);
  fill(ring, "K3 4 K5 6");
  assertEquals(ring.tail, 3);
  assertEquals(ids(cursor), [5, 6]);
  assertEquals(cursor.dropped, 4);
});

Deno.test("Cursor.next() waits for the next key when no key is left after an overtaking", () => {
  const ring = ringOf("K0 1 2", { maxItems: 3 });
  const cursor = new Cursor(ring);
  assertEquals(ids(cursor, 1), [0]);
  fill(ring, "3 4 5");
  assertEquals(ids(cursor), []);
  assertEquals(cursor.dropped, 5);
  fill(ring, "6");
  assertEquals(ids(cursor), []);
  fill(ring, "K7 8");
  assertEquals(ids(cursor), [7, 8]);
  assertEquals(cursor.dropped, 6);
});

Deno.test("Cursor.next() goes on without loss when it is late but the ring still has its place", () => {
  const ring = ringOf("K0 1 2 3");
  const cursor = new Cursor(ring);
  assertEquals(ids(cursor, 1), [0]);
  fill(ring, "K1000 1001");
  assertEquals(ids(cursor), [1, 2, 3, 4, 5]);
  assertEquals(cursor.dropped, 0);
});

Deno.test("Cursor.next() drops to a newer key when its lag passes maxLagMs", () => {
  const ring = ringOf("K0 100 200 K300 400");
  const cursor = new Cursor(ring, { mode: "oldest", maxLagMs: 400 });
  assertEquals(ids(cursor, 1), [0]);
  assertEquals(cursor.lagUs, 300_000);
  fill(ring, "500");
  assertEquals(ids(cursor, 1), [1]);
  fill(ring, "700");
  assertEquals(ids(cursor), [3, 4, 5, 6]);
  assertEquals(cursor.dropped, 1);
});

Deno.test("Cursor.next() keeps reading when it lags behind and there is no newer key", () => {
  const ring = ringOf("K0 100 200 300 400");
  const cursor = new Cursor(ring, { maxLagMs: 50 });
  assertEquals(ids(cursor), [0, 1, 2, 3, 4]);
  assertEquals(cursor.dropped, 0);
});

Deno.test("Cursor.next() throws LaggedError with the loss when it records and is overtaken", () => {
  const ring = ringOf("K0 1 2", { maxItems: 4 });
  const cursor = new Cursor(ring, { mode: "record", maxLagMs: 0 });
  assertEquals(ids(cursor, 1), [0]);
  fill(ring, "K3 4 K5 6");
  const error = assertThrows(() => cursor.next(), LaggedError, "2 frames");
  assertEquals(error.lost, 2);
  assertEquals(cursor.dropped, 0);
});

Deno.test("Cursor pins its place when it records, until close()", () => {
  const ring = ringOf("K0 1 2", { historyUs: 0 });
  const cursor = new Cursor(ring, { mode: "record" });
  assertEquals(ids(cursor, 2), [0, 1]);
  fill(ring, "K3 K4 K5");
  assertEquals(ring.tail, 2);
  assertEquals(ids(cursor), [2, 3, 4, 5]);
  cursor.close();
  cursor.close();
  fill(ring, "K6");
  assertEquals(ring.tail, 6);
});

Deno.test("Cursor costs the ring nothing when it does not record and does not read", () => {
  const ring = ringOf("K0 1 2", { historyUs: 0 });
  const cursor = new Cursor(ring);
  assertEquals(ids(cursor, 1), [0]);
  fill(ring, "K3 K4");
  assertEquals(ring.tail, 4);
});

Deno.test("Cursor.done tells the end when the ring is closed and all is read", () => {
  const ring = ringOf("K0 1");
  const cursor = new Cursor(ring);
  assertEquals(cursor.done, false);
  ring.close();
  assertEquals(cursor.done, false);
  assertEquals(ids(cursor), [0, 1]);
  assertEquals(cursor.done, true);
  const late = ringOf("0 1");
  const keyless = new Cursor(late);
  late.close();
  assertEquals(keyless.done, true);
});

Deno.test("Cursor.seek() moves forward only and counts what it skips", () => {
  const ring = ringOf("K0 1 2 3 4");
  const cursor = new Cursor(ring);
  cursor.seek(1);
  assertEquals([cursor.dropped, ids(cursor, 1)], [0, [1]]);
  cursor.seek(4);
  assertEquals([cursor.dropped, ids(cursor, 1)], [2, [4]]);
  cursor.seek(2);
  assertEquals(ids(cursor), []);
});

Deno.test("Cursor.peek() leaves the item unread and heeds its limit", () => {
  const ring = ringOf("K0 1");
  const cursor = new Cursor(ring);
  assertEquals(cursor.peek()?.id, 0);
  assertEquals(cursor.peek(0), undefined);
  assertEquals(cursor.peek(1)?.id, 0);
  assertEquals(ids(cursor), [0, 1]);
});

type Step = { readonly read: number } | { readonly key: boolean; readonly gapMs: number };

const steps = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.record({ key: fc.nat(7).map((n) => n === 0), gapMs: fc.nat(40) }) },
    { weight: 1, arbitrary: fc.record({ read: fc.nat(12) }) },
  ) as fc.Arbitrary<Step>,
  { maxLength: 300, size: "max" },
);
const bounds = fc.record({
  maxItems: fc.integer({ min: 1, max: 40 }),
  historyUs: fc.nat(400_000),
});
const options = fc.record({
  mode: fc.constantFrom("live" as const, "oldest" as const),
  maxLagMs: fc.constantFrom(Infinity, 0, 100, 500),
});

Deno.test("Cursor gives or counts each item once, and begins at a key after each loss", () => {
  fc.assert(
    fc.property(steps, bounds, options, (moves, bound, how) => {
      const ring = new Ring<Item>(bound);
      const cursor = new Cursor(ring, how);
      const got: number[] = [];
      let dropped = 0;
      let first: number | undefined;
      let dts = 0;
      const read = (most: number) => {
        for (let count = 0; count < most; count++) {
          const item = cursor.next();
          if (item === undefined) return;
          first ??= item.id;
          const follows = got.at(-1) === item.id - 1;
          assert(follows || item.key, "a delta item without the one before it");
          assert(item.id > (got.at(-1) ?? -1), "items in order, none twice");
          const lost = item.id - 1 - (got.at(-1) ?? item.id - 1);
          dropped += lost;
          assertEquals(cursor.dropped, dropped);
          got.push(item.id);
        }
      };
      for (const move of moves) {
        if ("read" in move) read(move.read);
        else ring.write({ id: ring.head, dts: dts += move.gapMs * 1000, key: move.key }, 1);
      }
      ring.close();
      read(Infinity);
      assert(cursor.done);
      if (first !== undefined) assertEquals(got.length + cursor.dropped, ring.head - first);
    }),
    { seed: 2, numRuns: 150 },
  );
});

Deno.test("Cursor gives every item from its first on, or throws, when it records", () => {
  fc.assert(
    fc.property(steps, bounds, (moves, bound) => {
      const ring = new Ring<Item>(bound);
      const cursor = new Cursor(ring, { mode: "record" });
      let last: number | undefined;
      try {
        let dts = 0;
        for (const move of moves) {
          if ("read" in move) {
            for (const item of drain(cursor, move.read)) {
              assertEquals(item.id, (last ?? item.id - 1) + 1);
              last = item.id;
            }
          } else ring.write({ id: ring.head, dts: dts += move.gapMs * 1000, key: move.key }, 1);
        }
      } catch (error) {
        assert(error instanceof LaggedError);
        assert(ring.head - (last ?? 0) > bound.maxItems, "only bounds overtake a recorder");
      }
    }),
    { seed: 3, numRuns: 100 },
  );
});

Deno.test("Cursor starts at the key that was newest when it was made when it records", () => {
  const ring = new Ring<RingItem>();
  const write = (ms: number, key: boolean) => ring.write({ dts: ms * 1000, key }, 1);
  write(0, true);
  write(40, false);
  const [recorder, viewer] = [new Cursor(ring, { mode: "record" }), new Cursor(ring)];
  write(80, true);
  write(120, false);
  assertEquals([recorder.next()?.dts, viewer.next()?.dts], [0, 80_000]);
  assertEquals([recorder.dropped, viewer.dropped], [0, 0]);
});
