/** When a mux takes frames, and when what it makes of them goes out. */

import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { FlushTimers } from "../src/flush_timer.ts";
import { flvFormat } from "../src/flv.ts";
import { type Format, Mux } from "../src/mux.ts";
import { pump, readableFrom } from "../src/readable.ts";
import { videoFeed } from "./support/frames.ts";
import { drain, turns } from "./support/reading.ts";

/** A mux of a video track in a format that counts what it writes. */
function counted() {
  const calls = { written: 0, closed: 0 };
  const format = (): Format => ({
    header: () => new Uint8Array(),
    write: () => {
      calls.written++;
      return Uint8Array.of(calls.written);
    },
  });
  const mux = new Mux(format, { nowMs: () => Date.now(), onClose: () => calls.closed++ });
  const feed = videoFeed();
  mux.add(feed.config, feed.ring);
  mux.start();
  return { mux, feed, calls };
}

Deno.test("Mux leaves frames in their ring until a viewer's flush", async () => {
  using time = new FakeTime(0);
  const { mux, feed, calls } = counted();
  feed.write(0, true);
  await turns();
  const reader = mux.read({ flushMs: 100 });
  for (let ms = 10; ms < 100; ms += 10) {
    feed.write(ms, false);
    await turns();
  }
  // The first of them waits for nothing.
  assertEquals(calls.written, 2);
  await time.tickAsync(100);
  assertEquals([calls.written, drain(reader).map(({ frames }) => frames)], [10, [10]]);
  reader.close();
});

Deno.test("Mux takes each frame at once for a viewer that gathers nothing, also beside others", async () => {
  using _time = new FakeTime(0);
  const { mux, feed, calls } = counted();
  feed.write(0, true);
  await turns();
  const readers = [mux.read({ flushMs: 1000 }), mux.read()];
  for (let ms = 10; ms < 50; ms += 10) {
    feed.write(ms, false);
    await turns();
    assertEquals(calls.written, 1 + ms / 10);
  }
  for (const reader of readers) reader.close();
});

Deno.test("Mux has all that there is for a viewer that joins while others gather", async () => {
  using _time = new FakeTime(0);
  const { mux, feed } = counted();
  feed.write(0, true);
  await turns();
  const reader = mux.read({ flushMs: 100 });
  feed.write(10, false);
  feed.write(20, false);
  await turns();
  const joiner = mux.read({ flushMs: 100 });
  assertEquals(drain(joiner).map(({ frames }) => frames), [3]);
  for (const each of [reader, joiner]) each.close();
});

Deno.test("Mux ends at once with its tracks while viewers gather", async () => {
  using _time = new FakeTime(0);
  const { mux, feed, calls } = counted();
  feed.write(0, true);
  await turns();
  const reader = mux.read({ flushMs: 1000 });
  feed.write(10, false);
  await turns();
  feed.write(20, false);
  feed.ring.close();
  await turns();
  assertEquals(drain(reader).map(({ frames }) => frames), [3]);
  assertEquals([reader.done, calls.closed], [true, 1]);
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
