/** Muxes with more viewers than get something in one turn. */

import { assert, assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import fc from "fast-check";
import type { Batch, MuxReadOptions } from "../src/mux.ts";
import { type Pump, pump, readableFrom, type Sink } from "../src/readable.ts";
import { Turns } from "../src/turns.ts";
import { setUp, text, write } from "./support/muxes.ts";
import { eventLoop, loop, turns } from "./support/reading.ts";

/** A viewer, and what it got, batch by batch. */
class Viewer implements Sink<Batch> {
  readonly borrows = true;
  readonly batches: string[] = [];
  readonly pump: Pump;
  ended = false;

  constructor({ mux }: Rig["setup"], options: MuxReadOptions) {
    this.pump = pump(readableFrom(mux.read(options)), this);
  }

  write({ bytes }: Batch): boolean {
    this.batches.push(text(bytes));
    return true;
  }

  close(): void {
    this.ended = true;
  }

  abort(): void {}
}

/** A mux whose turns are over after 40 viewers: each look at the clock takes 1 ms. */
class Rig {
  nowMs = 0;
  readonly setup = setUp(["video"], undefined, new Turns(() => this.nowMs++));
  readonly viewers: Viewer[] = [];

  add(count: number, options: MuxReadOptions = {}): void {
    for (let at = 0; at < count; at++) this.viewers.push(new Viewer(this.setup, options));
  }

  /** Writes frames, and lets the first turn begin. */
  async write(frames: string): Promise<void> {
    write(this.setup, frames);
    await turns();
  }

  /** How many viewers have got so many batches. */
  count(batches: number): number {
    return this.viewers.filter((viewer) => viewer.batches.length === batches).length;
  }
}

Deno.test("Mux writes to some viewers in a turn, and to all in the end", async () => {
  const rig = new Rig();
  rig.add(100);
  await rig.write("V0");
  assertEquals([rig.count(1), rig.count(0)], [40, 60]);
  await eventLoop(() => rig.count(1) > 40);
  assertEquals([rig.count(1), rig.count(0)], [80, 20]);
  await eventLoop(() => rig.count(0) === 0);
  assertEquals(rig.count(1), 100);
  for (const { pump } of rig.viewers) pump.cancel();
});

Deno.test("Mux gives what comes during a turn in one batch to those who are still to come", async () => {
  const rig = new Rig();
  rig.add(100);
  await rig.write("V0");
  await rig.write("v40");
  await rig.write("v80");
  await eventLoop(() => rig.viewers.every(({ batches }) => batches.at(-1)?.endsWith("v80")));
  const [first, last] = [rig.viewers[0], rig.viewers[99]];
  assertEquals(first?.batches, ["[start 320 -] V0", "v40 v80"]);
  assertEquals(last?.batches, ["[start 320 -] V0 v40 v80"]);
  assertEquals([rig.count(2), rig.count(1)], [40, 60]);
  for (const { pump } of rig.viewers) pump.cancel();
});

Deno.test("Mux keeps the pace of a flush interval, however many turns a flush takes", async () => {
  using time = new FakeTime(0);
  const rig = new Rig();
  rig.add(100, { flushMs: 100 });
  await rig.write("V0");
  await eventLoop(() => rig.count(1) === 100);
  for (let ms = 30; ms <= 300; ms += 30) {
    await time.tickAsync(30);
    await rig.write(`v${ms}`);
    // The turns of a flush go on while time does.
    await loop(100);
  }
  const [viewer] = rig.viewers;
  assertEquals(viewer?.batches, [
    "[start 320 -] V0",
    "v30 v60 v90",
    "v120 v150 v180",
    "v210 v240 v270",
  ]);
  for (const { batches } of rig.viewers) assertEquals(batches, viewer?.batches);
  for (const { pump } of rig.viewers) pump.cancel();
});

Deno.test("Mux ends all viewers after all frames when the tracks end during a turn", async () => {
  const rig = new Rig();
  rig.add(100);
  await rig.write("V0");
  write(rig.setup, "v40");
  rig.setup.video.ring.close();
  await eventLoop(() => rig.viewers.every(({ ended }) => ended));
  for (const { batches } of rig.viewers) {
    assertEquals(batches.join(" "), "[start 320 -] V0 v40");
  }
});

Deno.test("Mux gives every viewer every frame once, in order, whoever comes and leaves", async () => {
  const action = fc.oneof(
    fc.record({ act: fc.constant("write" as const), frames: fc.integer({ min: 1, max: 3 }) }),
    fc.record({
      act: fc.constant("add" as const),
      count: fc.integer({ min: 1, max: 60 }),
      flushMs: fc.constantFrom(0, 40),
    }),
    fc.record({ act: fc.constant("leave" as const), at: fc.nat(200) }),
    fc.record({ act: fc.constant("loop" as const), turns: fc.integer({ min: 1, max: 80 }) }),
    fc.record({ act: fc.constant("pass" as const) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 40 }), async (actions) => {
      using time = new FakeTime(0);
      const rig = new Rig();
      const left: Viewer[] = [];
      let ms = 0;
      const next = () => `${ms % 400 === 0 ? "V" : "v"}${ms}`;
      for (const step of actions) {
        if (step.act === "write") {
          for (let at = 0; at < step.frames; at++, ms += 40) write(rig.setup, next());
          await turns();
        } else if (step.act === "add") rig.add(step.count, { flushMs: step.flushMs });
        else if (step.act === "leave") {
          const [viewer] = rig.viewers.splice(step.at % Math.max(1, rig.viewers.length), 1);
          viewer?.pump.cancel();
          if (viewer) left.push(viewer);
        } else if (step.act === "pass") await time.tickAsync(40);
        else await loop(step.turns);
      }
      rig.setup.video.ring.close();
      await turns();
      await eventLoop(() => rig.viewers.every(({ ended }) => ended));
      for (const viewer of [...rig.viewers, ...left]) checkFrames(viewer, ms);
    }),
    { seed: 20_261_123, numRuns: 150 },
  );
});

/** Asserts that `viewer` got a key and then all frames after it, up to `endMs` if it stayed. */
function checkFrames({ batches, ended }: Viewer, endMs: number): void {
  const words = batches.join(" ").split(" ").filter((word) => /^[Vv]\d+$/.test(word));
  if (words.length === 0) return;
  const times = words.map((word) => Number(word.slice(1)));
  const [firstMs = 0] = times;
  assertEquals(firstMs % 400, 0);
  assertEquals(times, times.map((_, at) => firstMs + at * 40));
  if (ended) assertEquals((times.at(-1) ?? 0) + 40, endMs);
  assert(batches[0]?.startsWith("[start"));
}
