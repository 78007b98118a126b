import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { Tally } from "../src/log.ts";

Deno.test("Tally.add() reports a burst one by one and the rest of a second as a sum", () => {
  using time = new FakeTime();
  const lines: (string | number)[] = [];
  const tally = new Tally(2, (count) => lines.push(count));
  for (let at = 0; at < 5; at++) tally.add(() => lines.push("line"));
  assertEquals(lines, ["line", "line"]);
  time.tick(1000);
  assertEquals(lines, ["line", "line", 3]);
  tally.add(() => lines.push("next"));
  time.tick(1000);
  assertEquals(lines, ["line", "line", 3, "next"]);
  assertEquals(time.next(), false, "no timer while nothing happens");
});

Deno.test("Tally.flush() reports what was held back and stops the timer", () => {
  using time = new FakeTime();
  const lines: (string | number)[] = [];
  const tally = new Tally(1, (count) => lines.push(count));
  for (let at = 0; at < 3; at++) tally.add(() => lines.push("line"));
  tally.flush();
  tally.flush();
  assertEquals([lines, time.next()], [["line", 2], false]);
  tally.add(() => lines.push("again"));
  assertEquals(lines.at(-1), "again");
  tally.flush();
});
