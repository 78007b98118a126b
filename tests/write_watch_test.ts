import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { WriteWatch } from "../src/write_watch.ts";

/** A watch of one second on the clock of `time`, and how often it saw a stall. */
function watched(time: FakeTime) {
  const seen = { stalls: 0 };
  const watch = new WriteWatch(1000, () => seen.stalls++, () => time.now);
  return { seen, watch };
}

Deno.test("WriteWatch tells once of a write that stands still", () => {
  using time = new FakeTime();
  const { seen, watch } = watched(time);
  watch.begin();
  time.tick(999);
  assertEquals(seen.stalls, 0);
  time.tick(1);
  assertEquals(seen.stalls, 1);
  time.tick(5000);
  assertEquals(seen.stalls, 1);
});

Deno.test("WriteWatch says nothing of writes that go on, with one timer for all of them", () => {
  using time = new FakeTime();
  const { seen, watch } = watched(time);
  for (let write = 0; write < 10; write++) {
    watch.begin();
    time.tick(600);
    watch.end();
    time.tick(100);
  }
  time.tick(2000);
  assertEquals([seen.stalls, time.next()], [0, false]);
});

Deno.test("WriteWatch.stop() leaves no timer", () => {
  using time = new FakeTime();
  const { seen, watch } = watched(time);
  watch.begin();
  watch.stop();
  watch.begin();
  assertEquals([time.next(), seen.stalls], [false, 0]);
});
