/** When a mux takes frames, and when what it makes of them goes out. */

import { assertEquals, assertStrictEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { FlushTimers } from "../src/flush_timer.ts";
import { flvFormat } from "../src/flv.ts";
import { type Format, Mux } from "../src/mux.ts";
import { pump, readableFrom } from "../src/readable.ts";
import { videoFeed } from "./support/frames.ts";
import { all, setUp, text, write } from "./support/muxes.ts";
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

Deno.test("Mux wakes no viewer for frames that give nothing to read", async () => {
  const { mux, feed, calls } = counted();
  const reader = mux.read();
  let woken = 0;
  reader.wait({ wake: () => woken++ });
  feed.write(0, false);
  await turns();
  assertEquals([calls.written, woken], [0, 0]);
  feed.write(40, true);
  await turns();
  assertEquals([calls.written, woken], [1, 1]);
  reader.close();
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

Deno.test("Mux gathers frames as long as a viewer's flush interval says", async () => {
  using time = new FakeTime();
  const setup = setUp();
  const readers = [0, 20, 100].map((flushMs) => setup.mux.read({ flushMs }));
  const sizes = readers.map((): number[] => []);
  const sample = () =>
    readers.forEach((reader, at) => {
      for (const { frames } of drain(reader)) sizes[at]?.push(frames);
    });
  for (let ms = 0; ms <= 200; ms += 10) {
    write(setup, ms === 0 ? "V0" : `v${ms}`);
    await turns(5);
    sample();
    time.tick(10);
    sample();
  }
  assertEquals(sizes[0], Array(21).fill(1));
  // The first frame waits for nothing; from it on the flushes keep their pace, from the third on
  // with the picture that comes when they are due.
  assertEquals(sizes[1], [1, 1, 3, ...Array(8).fill(2)]);
  assertEquals(sizes[2], [1, 9, 11]);
  for (const reader of readers) reader.close();
  assertEquals(time.next(), false);
});

Deno.test("Mux gives a joiner all from the newest key at once when the interval is long", async () => {
  using time = new FakeTime();
  const setup = setUp();
  write(setup, "V0 a0 v40 a40");
  await turns();
  const reader = setup.mux.read({ flushMs: 1000 });
  assertEquals(all(reader), "[start 320 48000] V0 a0 v40 a40");
  reader.close();
  assertEquals(time.next(), false);
});

Deno.test("Mux gives a joiner what others have to wait for, and then as much as them", async () => {
  using time = new FakeTime();
  const setup = setUp();
  const first = setup.mux.read({ flushMs: 100 });
  write(setup, "V0 a0");
  await turns();
  assertEquals(all(first), "[start 320 48000] V0 a0");
  time.tick(10);
  write(setup, "V40 a40");
  await turns();
  const joiner = setup.mux.read({ flushMs: 100 });
  assertEquals([all(first), all(joiner)], ["", "[start 320 48000] V40 a40"]);
  write(setup, "v80");
  await turns();
  assertEquals([all(first), all(joiner)], ["", ""]);
  time.tick(90);
  assertEquals([all(first), all(joiner)], ["V40 a40 v80", "v80"]);
  write(setup, "v120");
  await turns();
  time.tick(100);
  const [a, b] = [first.next(), joiner.next()];
  assertEquals(a && text(a.bytes), "v120");
  assertStrictEquals(a?.bytes, b?.bytes);
  first.close();
  joiner.close();
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
  // Flushes follow no pictures that do not fit into their interval.
  for (let ms = 0; ms <= 420; ms += 30) {
    feeds[0]?.write(ms, ms === 0);
    if (ms >= 30) feeds[1]?.write(ms, ms === 30);
    await turns();
    await time.tickAsync(30);
  }
  assertEquals(at, [[0, 100, 200, 300, 400], [30, 100, 200, 300, 400]]);
  // The other one keeps the moments.
  feeds[0]?.ring.close();
  for (let ms = 450; ms <= 600; ms += 30) {
    feeds[1]?.write(ms, false);
    await turns();
    await time.tickAsync(30);
  }
  assertEquals(at[1].slice(-2), [500, 600]);
  feeds[1]?.ring.close();
  await turns();
});

Deno.test("Mux lets no flush wait for viewers that have left, also beside others", async () => {
  using time = new FakeTime(0);
  const { mux, feed } = counted();
  feed.write(0, true);
  await turns();
  const [stays, leaves] = [mux.read(), mux.read({ flushMs: 100 })];
  for (const reader of [stays, leaves]) drain(reader);
  for (const ms of [10, 20]) {
    feed.write(ms, false);
    await turns();
  }
  leaves.close();
  assertEquals(time.next(), false);
  stays.close();
});
