import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { SignOfLife } from "../../../plugins/rtsp/sign_of_life.ts";

Deno.test("SignOfLife tells of silence as long after the last sign as it waits", async () => {
  using time = new FakeTime();
  const silences: [seconds: number, atMs: number][] = [];
  const beginMs = Date.now();
  const life = new SignOfLife(
    (seconds) => silences.push([seconds, Date.now() - beginMs]),
    () => Date.now(),
  );
  life.watch(60);
  for (const seconds of [59, 59, 30]) {
    await time.tickAsync(seconds * 1000);
    life.touch();
  }
  assertEquals(silences, []);
  await time.tickAsync(61_000);
  assertEquals(silences, [[60, 208_000]]);
  life.watch(10);
  life.stop();
  await time.tickAsync(100_000);
  assertEquals(silences.length, 1);
});
