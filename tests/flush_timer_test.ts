import { assertEquals, assertStrictEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { FlushTimer, FlushTimers, type Gatherer } from "../src/flush_timer.ts";

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
