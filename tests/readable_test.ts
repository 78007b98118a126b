import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { Cursor, type Source } from "../src/cursor.ts";
import type { MediaFrame } from "../src/frame.ts";
import { Interleaver } from "../src/interleave.ts";
import { type Ending, pump, readableFrom, type ReaderOptions } from "../src/readable.ts";
import { audioFeed, type Feed, short, videoFeed } from "./support/frames.ts";
import { take, turns, watch } from "./support/reading.ts";

/** A source that counts what is taken of it. */
function counted(feed: Feed): Source<MediaFrame> & { taken: number; closed: number } {
  const cursor = new Cursor(feed.ring);
  return {
    taken: 0,
    closed: 0,
    next() {
      const frame = cursor.next();
      if (frame !== undefined) this.taken++;
      return frame;
    },
    get done() {
      return cursor.done;
    },
    wait: (waiter) => cursor.wait(waiter),
    close(waiter) {
      this.closed++;
      cursor.close(waiter);
    },
  };
}

function open(feed: Feed, options: ReaderOptions<MediaFrame> = {}) {
  return readableFrom(new Cursor(feed.ring), options);
}

async function names(stream: ReadableStream<MediaFrame>): Promise<string> {
  return (await Array.fromAsync(stream)).map(short).join(" ");
}

Deno.test("readableFrom() gives each reader all items, independent of the others", async () => {
  const feed = videoFeed();
  const streams = [open(feed), open(feed), open(feed)];
  feed.write(0, true);
  const readers = streams.map((stream) => stream.getReader());
  const first = await Promise.all(readers.map((reader) => take(reader, 1)));
  feed.write(40);
  feed.write(80);
  const [second] = await (readers[0] ? take(readers[0], 1) : []);
  feed.ring.close();
  for (const reader of readers) reader.releaseLock();
  assertEquals(first.flat().map(short), ["V0", "V0", "V0"]);
  assertStrictEquals(first[0]?.[0], first[1]?.[0]);
  assertEquals(second && short(second), "v40");
  const rest = await Promise.all(streams.map(names));
  assertEquals(rest, ["v80", "v40 v80", "v40 v80"]);
});

Deno.test("readableFrom() takes nothing when nobody asks", async () => {
  const feed = videoFeed();
  const source = counted(feed);
  const stream = readableFrom(source);
  for (let at = 0; at < 5; at++) feed.write(at * 40, at === 0);
  await turns();
  assertEquals(source.taken, 0);
  const reader = stream.getReader();
  await turns();
  assertEquals(source.taken, 0);
  await reader.read();
  await turns();
  assertEquals(source.taken, 1);
  const reads = [reader.read(), reader.read()];
  await Promise.all(reads);
  await turns();
  assertEquals(source.taken, 3);
  await reader.cancel();
});

Deno.test("readableFrom() takes nothing more when it was woken twice for one read", async () => {
  const video = videoFeed();
  const audio = audioFeed();
  const frames = new Interleaver();
  frames.add("video", video.ring);
  frames.add("audio", audio.ring);
  let taken = 0;
  const stream = readableFrom(frames, { onItem: () => taken++ });
  const reader = stream.getReader();
  const read = reader.read();
  await turns();
  video.write(0, true);
  await read;
  audio.write(0);
  video.write(40);
  await turns();
  assertEquals(taken, 1);
  await reader.cancel();
  assertEquals([video.ring.waiting.size, audio.ring.waiting.size], [0, 0]);
});

Deno.test("readableFrom() serves several reads that wait, in order", async () => {
  const feed = videoFeed();
  const reader = open(feed).getReader();
  const reads = [reader.read(), reader.read(), reader.read()];
  await turns();
  feed.write(0, true);
  await turns();
  feed.write(40);
  feed.write(80);
  const frames = (await Promise.all(reads)).map(({ value }) => value && short(value));
  assertEquals(frames, ["V0", "v40", "v80"]);
  await reader.cancel();
});

Deno.test("readableFrom() leaves no waiter in the ring when it is cancelled", async () => {
  const feed = videoFeed();
  const ends: unknown[] = [];
  const reader = open(feed, { onEnd: (error) => ends.push(error) }).getReader();
  const read = reader.read();
  await turns();
  assertEquals(feed.ring.waiting.size, 1);
  await reader.cancel();
  assertEquals((await read).done, true);
  assertEquals(feed.ring.waiting.size, 0);
  assertEquals(ends, [undefined]);
  feed.write(0, true);
  await turns();
  assertEquals(ends.length, 1);
});

Deno.test("readableFrom() leaves no waiter in the ring when a loop breaks off", async () => {
  const feed = videoFeed();
  const source = counted(feed);
  feed.write(0, true);
  feed.write(40);
  for await (const frame of readableFrom(source)) {
    assertEquals(short(frame), "V0");
    break;
  }
  assertEquals([feed.ring.waiting.size, source.closed, source.taken], [0, 1, 1]);
});

Deno.test("readableFrom() ends after the last item when the ring closes", async () => {
  const feed = videoFeed();
  feed.write(0, true);
  feed.write(40);
  const stream = open(feed);
  feed.ring.close();
  assertEquals(await names(stream), "V0 v40");
  const waiting = videoFeed();
  const ends: unknown[] = [];
  const reader = open(waiting, { onEnd: (error) => ends.push(error) }).getReader();
  const read = reader.read();
  await turns();
  waiting.ring.close();
  assertEquals((await read).done, true);
  await reader.closed;
  assertEquals(ends, [undefined]);
});

Deno.test("readableFrom() fails with the signal's reason when it is aborted", async () => {
  const feed = videoFeed();
  const controller = new AbortController();
  const reason = new Error("gone");
  const ends: unknown[] = [];
  const stream = open(feed, { signal: controller.signal, onEnd: (error) => ends.push(error) });
  const reader = stream.getReader();
  const read = watch(reader.read());
  await turns();
  controller.abort(reason);
  await turns();
  assertStrictEquals(read().error, reason);
  assertEquals(ends, [reason]);
  assertEquals(feed.ring.waiting.size, 0);
  const late = open(feed, { signal: controller.signal });
  assertStrictEquals(await assertRejects(() => late.getReader().read()), reason);
});

Deno.test("readableFrom() leaves nothing at a signal when it ends without it, or before it begins", async () => {
  const listeners = new Set<unknown>();
  const signal = Object.assign(new AbortController().signal, {
    addEventListener: (_: string, listener: unknown) => listeners.add(listener),
    removeEventListener: (_: string, listener: unknown) => listeners.delete(listener),
  });
  const feed = videoFeed();
  const reader = open(feed, { signal }).getReader();
  assertEquals(listeners.size, 1);
  feed.ring.close();
  assertEquals((await reader.read()).done, true);
  assertEquals(listeners.size, 0);
  const onStart = (ending: Ending) => ending.end(new Error("ended before"));
  await assertRejects(
    () => open(videoFeed(), { signal, onStart }).getReader().read(),
    Error,
    "before",
  );
  assertEquals(listeners.size, 0);
});

Deno.test("readableFrom() fails without a reader, and nobody hears of it, when it is aborted", async () => {
  const controller = new AbortController();
  const stream = open(videoFeed(), { signal: controller.signal });
  controller.abort(new Error("gone"));
  await turns();
  await assertRejects(() => stream.getReader().read(), Error, "gone");
});

Deno.test("readableFrom() fails with what its source throws, and closes the source once", async () => {
  let closed = 0;
  const ends: unknown[] = [];
  const source: Source<number> = {
    next() {
      throw new RangeError("lagged");
    },
    done: false,
    wait() {},
    close: () => void closed++,
  };
  const stream = readableFrom(source, { onEnd: (error) => ends.push(error) });
  await assertRejects(() => stream.getReader().read(), RangeError, "lagged");
  assertEquals([closed, ends.length], [1, 1]);
});

Deno.test("readableFrom() drops to a key, not to memory, when its reader is slow", async () => {
  const feed = videoFeed({ maxItems: 10 });
  const cursor = new Cursor(feed.ring);
  const reader = readableFrom(cursor).getReader();
  feed.write(0, true);
  await reader.read();
  for (let at = 1; at <= 100; at++) {
    feed.write(at * 40, at % 8 === 0);
    if (at % 10 === 0) await turns(5);
  }
  const { value } = await reader.read();
  assert(value);
  assertEquals(short(value), "V3840");
  assertEquals(cursor.dropped, 95);
  await reader.cancel();
});

Deno.test("readableFrom() counts each item once and in order when reads wait", async () => {
  const feed = videoFeed();
  const seen: number[] = [];
  const reader = open(feed, { onItem: (frame) => seen.push(frame.sequence) }).getReader();
  const reads = Array.from({ length: 4 }, () => reader.read());
  await turns();
  for (let at = 0; at < 4; at++) feed.write(at, at === 0);
  await Promise.all(reads);
  assertEquals(seen.toSorted((a, b) => a - b), [0, 1, 2, 3]);
  await reader.cancel();
});

/** A sink that notes what it gets, and takes `credit` items before it wants to be resumed. */
function noted(credit = Infinity) {
  const log: string[] = [];
  return {
    log,
    credit,
    write(frame: MediaFrame) {
      log.push(short(frame));
      return --this.credit > 0;
    },
    close: () => void log.push("closed"),
    abort: (error: unknown) => void log.push(`aborted: ${(error as Error).message}`),
  };
}

for (const direct of [true, false]) {
  const way = direct ? "a stream of readableFrom()" : "any other stream";
  const opened = (feed: Feed, options: ReaderOptions<MediaFrame> = {}) => {
    const stream = open(feed, options);
    return direct ? stream : stream.pipeThrough(
      new TransformStream({}, { highWaterMark: 1 }, { highWaterMark: 0 }),
    );
  };

  Deno.test(`pump() moves the items of ${way} into a sink and closes it at the end`, async () => {
    const feed = videoFeed();
    const sink = noted();
    const stream = opened(feed);
    pump(stream, sink);
    assert(stream.locked);
    feed.write(0, true);
    await turns();
    feed.write(40);
    feed.ring.close();
    await turns();
    assertEquals(sink.log, ["V0", "v40", "closed"]);
    assertEquals(feed.ring.waiting.size, 0);
  });

  Deno.test(`pump() hands over no more of ${way} than the sink wants until it is resumed`, async () => {
    const feed = videoFeed();
    const sink = noted(2);
    const pumped = pump(opened(feed), sink);
    feed.write(0, true);
    await turns();
    for (const ms of [40, 80, 120]) feed.write(ms);
    await turns();
    assertEquals(sink.log, ["V0", "v40"]);
    sink.credit = 1;
    pumped.resume();
    await turns();
    assertEquals(sink.log, ["V0", "v40", "v80"]);
    pumped.cancel();
    pumped.cancel();
    feed.write(160);
    await turns();
    assertEquals(sink.log.length, 3);
    assertEquals(feed.ring.waiting.size, 0);
  });

  Deno.test(`pump() aborts the sink with the error of ${way}`, async () => {
    const feed = videoFeed();
    const controller = new AbortController();
    const [early, late] = [noted(), noted()];
    pump(opened(feed, { signal: controller.signal }), early);
    const other = opened(feed, { signal: controller.signal });
    controller.abort(new Error("kicked"));
    await turns();
    pump(other, late);
    await turns();
    assertEquals([early.log, late.log], [["aborted: kicked"], ["aborted: kicked"]]);
    assertEquals(feed.ring.waiting.size, 0);
  });
}

Deno.test("pump() makes no promise an item when the stream is one of readableFrom()", () => {
  const feed = videoFeed();
  const sink = noted();
  feed.write(0, true);
  feed.write(40);
  pump(open(feed), sink);
  assertEquals(sink.log, ["V0", "v40"]);
});
