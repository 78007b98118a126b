import { assertEquals, assertStrictEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { FlushTimer, FlushTimers, type Gatherer } from "../src/flush_timer.ts";
import { flvFormat } from "../src/flv.ts";
import { Mux } from "../src/mux.ts";
import { pump, readableFrom } from "../src/readable.ts";
import { videoFeed } from "./support/frames.ts";
import { turns } from "./support/reading.ts";

/** Gatherers by name, and when they are flushed. */
class Rig {
  readonly time = new FakeTime(0);
  readonly timer = new FlushTimer(() => Date.now());
  readonly flushes: string[] = [];
  onFlush: (name: string) => void = () => {};

  gatherer(name: string): Gatherer {
    return {
      flush: (dueMs) => {
        this.flushes.push(`${name} ${Date.now()} ${dueMs}`);
        this.onFlush(name);
      },
    };
  }

  [Symbol.dispose](): void {
    this.time.restore();
  }
}

Deno.test("FlushTimer lets all go out with the first that is due, and none later than it asks", () => {
  using rig = new Rig();
  const [a, b, c] = ["a", "b", "c"].map((name) => rig.gatherer(name)) as [
    Gatherer,
    Gatherer,
    Gatherer,
  ];
  rig.timer.wait(a, 100);
  rig.timer.wait(b, 130);
  rig.time.tick(60);
  rig.timer.wait(c, 80);
  rig.time.tick(100);
  assertEquals(rig.flushes, ["a 80 80", "b 80 80", "c 80 80"]);
});

Deno.test("FlushTimer flushes who waits again with the next ones", () => {
  using rig = new Rig();
  const [a, b] = [rig.gatherer("a"), rig.gatherer("b")];
  rig.onFlush = (name) => {
    if (name === "a" && rig.flushes.length < 4) rig.timer.wait(a, Date.now() + 100);
  };
  rig.timer.wait(a, 100);
  rig.time.tick(150);
  rig.timer.wait(b, 250);
  rig.time.tick(300);
  assertEquals(rig.flushes, ["a 100 100", "a 200 200", "b 200 200", "a 300 300"]);
});

Deno.test("FlushTimer.leave() lets nobody be flushed who has left, also during a flush", () => {
  using rig = new Rig();
  const [a, b, c] = ["a", "b", "c"].map((name) => rig.gatherer(name)) as [
    Gatherer,
    Gatherer,
    Gatherer,
  ];
  rig.timer.wait(a, 10);
  rig.timer.leave(a);
  rig.timer.leave(a);
  rig.time.tick(20);
  assertEquals(rig.flushes, []);
  rig.onFlush = () => rig.timer.leave(b);
  for (const gatherer of [a, b, c]) rig.timer.wait(gatherer, 30);
  rig.time.tick(20);
  assertEquals(rig.flushes, ["a 30 30", "c 30 30"]);
});

Deno.test("FlushTimers.of() gives the same timer for the same interval", () => {
  const timers = new FlushTimers(() => 0);
  assertStrictEquals(timers.of(40), timers.of(40));
  assertEquals(timers.of(40) === timers.of(100), false);
});

Deno.test("muxes with the same timers flush at the same moments, however they began", async () => {
  using time = new FakeTime(0);
  const nowMs = () => Date.now();
  const timers = new FlushTimers(nowMs);
  const at: [number[], number[]] = [[], []];
  const feeds = at.map((moments) => {
    const feed = videoFeed();
    const mux = new Mux(flvFormat, { nowMs, timers, onClose: () => {} });
    mux.add(feed.config, feed.ring);
    mux.start();
    const write = () => {
      moments.push(Date.now());
      return true;
    };
    pump(readableFrom(mux.read({ flushMs: 100 })), { write, close() {}, abort() {} });
    return feed;
  });
  for (let ms = 0; ms <= 400; ms += 10) {
    feeds[0]?.write(ms, ms === 0);
    if (ms >= 30) feeds[1]?.write(ms, ms === 30);
    await turns();
    await time.tickAsync(10);
  }
  assertEquals(at, [[0, 100, 200, 300, 400], [30, 100, 200, 300, 400]]);
  for (const feed of feeds) feed.ring.close();
  await turns();
});
