import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import type { LogRecord } from "@logtape/logtape";
import { type LogEntry, LogHistory, Tally } from "../src/log.ts";

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

/** A record of category `m7s`, at `timestamp` ms. */
function record(
  level: LogRecord["level"],
  message: readonly unknown[],
  { category = ["m7s"], timestamp = 1000 }: Partial<LogRecord> = {},
): LogRecord {
  return { category, level, message, rawMessage: "", timestamp, properties: {} };
}

Deno.test("LogHistory.sink() keeps warnings and errors as text, and no more than that", () => {
  const history = new LogHistory();
  for (const level of ["trace", "debug", "info"] as const) history.sink(record(level, ["x"]));
  const error = new Error("broken");
  history.sink(record("warning", ["", "live/a", " is ", 1, " late"]));
  history.sink(record("error", ["failed: ", error, ""], { category: ["m7s", "rtmp", "tls"] }));
  history.sink(record("fatal", ["x".repeat(2000)], { timestamp: 5000 }));
  const [warning, failure, fatal] = history.after();
  assertEquals(warning, {
    sequence: 1000,
    atMs: 1000,
    level: "warning",
    source: "engine",
    message: "live/a is 1 late",
    count: 1,
  });
  assertEquals([failure?.source, failure?.message], ["rtmp.tls", "failed: broken"]);
  assertEquals([fatal?.atMs, fatal?.message], [5000, "x".repeat(1000) + "…"]);
});

Deno.test("LogHistory counts a line that comes again, and keeps the newest 100", () => {
  const history = new LogHistory();
  for (let line = 0; line < 99; line++) history.sink(record("warning", [`line ${line}`]));
  for (let time = 0; time < 1000; time++) history.sink(record("warning", ["again"]));
  const all = history.after();
  assertEquals([all.length, all[0]?.message], [100, "line 0"]);
  assertEquals([all.at(-1)?.message, all.at(-1)?.count], ["again", 1000]);
  history.sink(record("warning", ["line 0"]));
  history.sink(record("error", ["again"]));
  const messages = history.after().map(({ message, level }) => `${level} ${message}`);
  assertEquals([messages.length, messages[0]], [100, "warning line 2"]);
  assertEquals(messages.slice(-3), ["warning again", "warning line 0", "error again"]);
});

Deno.test("LogHistory.after() gives what came later, also within a millisecond", () => {
  const history = new LogHistory();
  history.sink(record("warning", ["a"]));
  const [a] = history.after();
  for (const line of ["b", "c"]) history.sink(record("warning", [line]));
  const later = history.after(a?.sequence);
  assertEquals(later.map(({ message }) => message), ["b", "c"]);
  assertEquals(history.after(later.at(-1)?.sequence), []);
  history.sink(record("warning", ["a"], { timestamp: 10 }));
  assertEquals(history.after(later.at(-1)?.sequence).map(({ count }) => count), [2]);
});

Deno.test("LogHistory.add() takes over what another one has", () => {
  const [history, other] = [new LogHistory(), new LogHistory()];
  for (const line of ["a", "b", "b"]) other.sink(record("error", [line]));
  for (const entry of other.after()) history.add(entry);
  const without = (entries: LogEntry[]) => entries.map((entry) => ({ ...entry, sequence: 0 }));
  assertEquals(without(history.after()), without(other.after()));
});
