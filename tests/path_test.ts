import { assertEquals, assertThrows } from "@std/assert";
import { MAX_PATH_LENGTH, parseTarget } from "../src/path.ts";

const good: [target: string, path: string, args: string][] = [
  ["live/a", "live/a", ""],
  ["/live//a/", "live/a", ""],
  ["a?token=1&x=%20", "a", "token=1&x=+"],
  ["live/a?b=c?d", "live/a", "b=c%3Fd"],
  ["живой/摄像头", "живой/摄像头", ""],
  ["a.b/..c", "a.b/..c", ""],
  ["__proto__", "__proto__", ""],
  ["x".repeat(MAX_PATH_LENGTH), "x".repeat(MAX_PATH_LENGTH), ""],
];
for (const [target, path, args] of good) {
  Deno.test(`parseTarget() takes ${JSON.stringify(target.slice(0, 20))}`, () => {
    const parsed = parseTarget(target);
    assertEquals([parsed.path, parsed.args.toString()], [path, args]);
  });
}

const bad: [target: string, reason: string][] = [
  ["", "empty"],
  ["//?a=1", "empty"],
  [".", ". or .."],
  ["live/../etc", ". or .."],
  ["a\nb", "control"],
  ["a\u007f", "control"],
  ["a\\b", "control"],
  ["x".repeat(MAX_PATH_LENGTH + 1), "240"],
];
for (const [target, reason] of bad) {
  Deno.test(`parseTarget() refuses ${JSON.stringify(target.slice(0, 20))}`, () => {
    assertThrows(() => parseTarget(target), TypeError, reason);
  });
}
