import { assert, assertEquals, assertRejects, assertStrictEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { concat } from "../src/bytes.ts";
import { Cursor } from "../src/cursor.ts";
import { LaggedError } from "../src/errors.ts";
import type { MediaFrame } from "../src/frame.ts";
import { carried, type Format, Mux } from "../src/mux.ts";
import { readableFrom } from "../src/readable.ts";
import { aac, audioFeed, h264, OTHER_ASC, short, videoFeed } from "./support/frames.ts";
import { pushFrames, pushHeaders, Rig } from "./support/engines.ts";
import { all, init, setUp, text, words, write } from "./support/muxes.ts";
import { drain, turns } from "./support/reading.ts";

Deno.test("Mux gives a viewer the header and what there is from the newest key on", async () => {
  const setup = setUp();
  write(setup, "V0 a0 V40 a40 v80 a80");
  await turns();
  const reader = setup.mux.read();
  assertEquals(all(reader), "[start 320 48000] V40 a40 v80 a80");
  write(setup, "v120 a120");
  await turns();
  assertEquals(all(reader), "v120 a120");
  reader.close();
});

Deno.test("Mux starts with what the tracks have when it is made", () => {
  const calls = { write: 0, header: 0 };
  const video = videoFeed();
  const audio = audioFeed();
  for (const [ms, key] of [[0, true], [40, false], [80, true], [120, false]] as const) {
    video.write(ms, key);
    audio.write(ms);
  }
  const mux = new Mux(() => words(calls), init());
  mux.add(video.config, video.ring);
  mux.add(audio.config, audio.ring);
  mux.start();
  assertEquals(all(mux.read()), "[start 320 48000] V80 a80 v120 a120");
});

Deno.test("Mux writes each frame once and shares the bytes when it has 1,000 viewers", async () => {
  const setup = setUp();
  const viewers = Array.from({ length: 1000 }, () => setup.mux.read());
  const streams = viewers.map((viewer) => readableFrom(viewer).getReader());
  const chunks = streams.map((): Uint8Array[] => []);
  const pump = async (at: number) => {
    for (;;) {
      const { value, done } = await streams[at]?.read() ?? { done: true, value: undefined };
      if (done || !value) return;
      chunks[at]?.push(value.bytes);
    }
  };
  const pumps = streams.map((_, at) => pump(at));
  await turns();
  for (let at = 0; at < 50; at++) {
    write(setup, `${at % 10 === 0 ? "V" : "v"}${at * 40} a${at * 40}`);
    await turns(20);
  }
  setup.video.ring.close();
  setup.audio.ring.close();
  await Promise.all(pumps);
  assertEquals(setup.calls, { write: 100, header: 2 });
  const [first] = chunks;
  assert(first);
  assertEquals(first.length, 50);
  for (const got of chunks) {
    assertEquals(got.length, first.length);
    for (let at = 1; at < got.length; at++) assertStrictEquals(got[at], first[at]);
  }
  assertEquals(text(concat(first)).split(" ").length, 3 + 100);
  assertEquals(viewers.reduce((sum, viewer) => sum + viewer.dropped, 0), 0);
});

Deno.test("Mux announces a new configuration to viewers that go on and to ones that come", async () => {
  const setup = setUp();
  const old = setup.mux.read();
  write(setup, "V0 a0");
  await turns();
  assertEquals(all(old), "[start 320 48000] V0 a0");
  setup.video.config = h264(640, 480);
  write(setup, "V40 a40");
  await turns();
  assertEquals(all(old), "[change 640 48000] V40 a40");
  assertEquals(all(setup.mux.read()), "[start 640 48000] V40 a40");
  setup.audio.config = aac(OTHER_ASC);
  write(setup, "v80 a80");
  await turns();
  assertEquals(all(old), "v80 [change 640 44100] a80");
});

Deno.test("Mux announces a new configuration to a viewer that dropped past its announcement", async () => {
  const setup = setUp();
  const reader = setup.mux.read({ maxLagMs: 100 });
  write(setup, "V0 a0");
  await turns();
  assertEquals(all(reader), "[start 320 48000] V0 a0");
  setup.video.config = h264(640, 480);
  write(setup, "V100 a100 V200 a200 v300 a300");
  await turns();
  assertEquals(all(reader), "[change 640 48000] V200 a200 v300 a300");
});

Deno.test("Mux announces the older configuration when the frames in the ring still have it", async () => {
  const video = videoFeed();
  video.write(0, true);
  const mux = new Mux(() => words(), init());
  mux.add(h264(640, 480), video.ring);
  mux.start();
  const reader = mux.read();
  assertEquals(all(reader), "[start 320 -] V0");
  video.config = h264(640, 480);
  video.write(40, true);
  await turns();
  assertEquals(all(reader), "[change 640 -] V40");
});

Deno.test("Mux.add() announces a track that comes late", async () => {
  const setup = setUp(["video"]);
  const reader = setup.mux.read();
  write(setup, "V0 v40");
  await turns();
  assertEquals(all(reader), "[start 320 -] V0 v40");
  setup.mux.add(setup.audio.config, setup.audio.ring);
  write(setup, "a40 v80 a80");
  await turns();
  // The announcement goes out at once, the frames with the next turn.
  assertEquals(all(reader), "[change 320 48000] a40 v80 a80");
  assertEquals(all(setup.mux.read()), "[start 320 -] V0 v40 [change 320 48000] a40 v80 a80");
});

Deno.test("Mux.add() lets audio go on until video has a key when video comes late", async () => {
  const setup = setUp(["audio"]);
  const reader = setup.mux.read();
  write(setup, "a0 a20");
  await turns();
  assertEquals(all(reader), "[start - 48000] a20");
  setup.mux.add(setup.video.config, setup.video.ring);
  write(setup, "v40 a40 V80 a80");
  await turns();
  assertEquals(all(reader), "[change 320 48000] a40 V80 a80");
  assertEquals(all(setup.mux.read()), "[start 320 48000] V80 a80");
});

Deno.test("Mux serves a stream of audio alone from any frame", async () => {
  const setup = setUp(["audio"]);
  write(setup, "a0 a20 a40");
  await turns();
  const reader = setup.mux.read();
  assertEquals(all(reader), "[start - 48000] a40");
});

Deno.test("Mux.read() drops to the newest key, and counts, when a viewer is slow", async () => {
  const setup = setUp();
  const slow = setup.mux.read({ maxLagMs: 200 });
  const fast = setup.mux.read();
  write(setup, "V0 a0");
  await turns();
  assertEquals(all(slow), "[start 320 48000] V0 a0");
  assertEquals(all(fast), "[start 320 48000] V0 a0");
  write(setup, "v100 a100 V200 a200 V300 a300 v400 a400");
  await turns();
  assertEquals(slow.lagUs, 300_000);
  assertEquals(all(slow), "V300 a300 v400 a400");
  assertEquals(slow.dropped, 4);
  assertEquals(all(fast), "v100 a100 V200 a200 V300 a300 v400 a400");
  assertEquals(fast.dropped, 0);
});

Deno.test("Mux.read() fails with LaggedError when a recorder is overtaken by the bounds", async () => {
  const setup = setUp(["audio"]);
  const recorder = setup.mux.read({ mode: "record" });
  setup.audio.write(0);
  await turns();
  drain(recorder);
  for (let second = 1; second < 40; second++) {
    setup.audio.write(second * 1000);
    await turns(3);
  }
  let error: unknown;
  try {
    drain(recorder);
  } catch (thrown) {
    error = thrown;
  }
  assert(error instanceof LaggedError);
});

Deno.test("Mux keeps its memory flat when a viewer stalls", async () => {
  const setup = setUp(["video"]);
  const stalled = readableFrom(setup.mux.read()).getReader();
  write(setup, "V0");
  await stalled.read();
  const busy = new Cursor(setup.video.ring);
  let held = 0;
  for (let at = 1; at <= 600; at++) {
    setup.video.write(at * 40, at % 25 === 0, 1000);
    drain(busy);
    await turns(3);
    held = Math.max(held, setup.video.ring.head - setup.video.ring.tail);
  }
  assert(held <= 76, `${held} frames were held`);
  const { value } = await stalled.read();
  assertEquals(value && text(value.bytes).split(" ")[0], "V24000");
  await stalled.cancel();
});

Deno.test("Mux cuts batches to a size that a stalled viewer may hold", async () => {
  const big = () => ({
    header: () => new Uint8Array(10),
    write: (frame: MediaFrame) => new Uint8Array(frame.data.length),
  });
  const setup = setUp(["video"], big);
  for (let at = 0; at < 10; at++) setup.video.write(at * 40, at === 0, 30_000);
  setup.video.write(400, false, 200_000);
  await turns();
  const [batches, others] = [setup.mux.read(), setup.mux.read()].map((reader) => drain(reader));
  const sizes = batches?.map(({ bytes }) => bytes.length);
  assertEquals(sizes, [120_010, 120_000, 60_000, 200_000]);
  // Each has the header of its own, and all that follows together.
  for (let at = 1; at < 4; at++) assertStrictEquals(batches?.[at], others?.[at]);
});

Deno.test("Mux.read() gives no empty batch when a format has nothing yet", async () => {
  const pairs = (): Format => {
    let held = "";
    return {
      header: () => new Uint8Array(),
      write(frame) {
        held += short(frame);
        if (held.length < 4) return new Uint8Array();
        const bytes = new TextEncoder().encode(held);
        held = "";
        return bytes;
      },
    };
  };
  const setup = setUp(["video"], pairs);
  const reader = setup.mux.read();
  const got: string[][] = [];
  for (const frame of ["V0", "v1", "v2", "v3"]) {
    write(setup, frame);
    await turns();
    got.push(drain(reader).map(({ bytes }) => text(bytes)));
  }
  assertEquals(got, [[], ["V0v1"], [], ["v2v3"]]);
});

Deno.test("Mux serves audio when video was announced and never came, until it comes", async () => {
  const setup = setUp();
  const reader = setup.mux.read();
  for (let ms = 0; ms <= 1020; ms += 20) write(setup, `a${ms}`);
  await turns();
  assertEquals(all(reader), "[start 320 48000] a1020");
  write(setup, "V1040 a1040 v1080 a1080");
  await turns();
  assertEquals(all(reader), "V1040 a1040 v1080 a1080");
  assertEquals(all(setup.mux.read()), "[start 320 48000] V1040 a1040 v1080 a1080");
});

Deno.test("Mux sets no timer for an interval when its last viewer has gone", async () => {
  using time = new FakeTime();
  const setup = setUp();
  const staying = setup.mux.read();
  setup.mux.read({ flushMs: 50 }).close();
  write(setup, "V0 a0");
  await turns();
  assertEquals([time.next(), all(staying)], [false, "[start 320 48000] V0 a0"]);
});

Deno.test("Mux ends with the last viewer, once, and leaves the tracks", async () => {
  const setup = setUp();
  const readers = [setup.mux.read(), setup.mux.read({ flushMs: 50 })];
  await turns();
  assertEquals([setup.mux.viewers, setup.video.ring.waiting.size], [2, 1]);
  for (const reader of readers) {
    reader.close();
    reader.close();
  }
  assertEquals([setup.mux.viewers, setup.closed], [0, 1]);
  assertEquals([setup.video.ring.waiting.size, setup.audio.ring.waiting.size], [0, 0]);
  write(setup, "V0 a0");
  await turns();
  assertEquals(setup.calls.write, 0);
});

Deno.test("Mux ends its viewers after the last frame when the tracks end", async () => {
  using time = new FakeTime();
  const setup = setUp();
  const reader = setup.mux.read({ flushMs: 100 });
  const stream = readableFrom(reader);
  write(setup, "V0 a0");
  await turns();
  setup.video.ring.close();
  setup.audio.ring.close();
  const batches = await Array.fromAsync(stream);
  assertEquals(batches.map(({ bytes }) => text(bytes)), ["[start 320 48000] V0 a0"]);
  assertEquals([setup.closed, time.next()], [1, false]);
});

Deno.test("Mux.end() ends viewers of a mux without tracks", async () => {
  const setup = setUp([]);
  const stream = readableFrom(setup.mux.read());
  const batches = Array.fromAsync(stream);
  await turns();
  setup.mux.end();
  assertEquals(await batches, []);
  assertEquals(setup.closed, 1);
});

for (const where of ["start", "frame", "change", "late track"] as const) {
  Deno.test(`Mux ends its viewers with the error when its format throws at the ${where}`, async () => {
    let broken = where === "start";
    const failing = (): Format => ({
      header(_tracks, at) {
        if (broken && at === (where === "start" ? "start" : "change")) {
          throw new RangeError("broken");
        }
        return new Uint8Array(1);
      },
      write() {
        if (broken && where === "frame") throw new RangeError("broken");
        return new Uint8Array(1);
      },
    });
    const setup = setUp(["video"], failing);
    const reader = readableFrom(setup.mux.read()).getReader();
    write(setup, "V0");
    if (where !== "start") await reader.read();
    broken = true;
    if (where === "change") setup.video.config = h264(640, 480);
    if (where === "late track") setup.mux.add(setup.audio.config, setup.audio.ring);
    write(setup, "v40");
    await assertRejects(() => reader.read(), RangeError, "broken");
    assertEquals([setup.closed, setup.video.ring.waiting.size], [1, 0]);
    setup.mux.add(setup.audio.config, setup.audio.ring);
    write(setup, "v80 a80");
    await turns();
  });
}

Deno.test("Stream.mux() is made again when its last viewer has gone or its format failed", async () => {
  await using rig = new Rig();
  const publisher = await rig.engine.publish("live/a", { type: "Test" });
  pushHeaders(publisher);
  let made = 0;
  let broken = false;
  const create = (): Format => {
    made++;
    return {
      header: () => new Uint8Array(1),
      write: () => {
        if (broken) throw new RangeError("broken");
        return new Uint8Array(1);
      },
    };
  };
  const subscriber = await rig.engine.subscribe("live/a", { type: "Test" });
  const first = await subscriber.mux(create);
  const second = await subscriber.mux(create);
  assertEquals(made, 1);
  const other = await subscriber.mux(create, { audio: false });
  assertEquals(made, 2);
  for (const stream of [first, second, other]) await stream.cancel();
  const reader = (await subscriber.mux(create)).getReader();
  assertEquals(made, 3);
  broken = true;
  pushFrames(publisher, "V0 a0");
  await assertRejects(() => reader.read(), RangeError, "broken");
  broken = false;
  const again = await subscriber.mux(create);
  assertEquals([made, publisher.end], [4, undefined]);
  assertEquals((await again.getReader().read()).value?.length, 3);
});

Deno.test("Stream.mux() harms neither stream nor publisher when a format throws at once", async () => {
  await using rig = new Rig();
  const publisher = await rig.engine.publish("live/a", { type: "Test" });
  pushHeaders(publisher);
  const subscriber = await rig.engine.subscribe("live/a", { type: "Test" });
  const fail = () => {
    throw new RangeError("broken");
  };
  await assertRejects(() => subscriber.mux(fail), RangeError);
  const stream = await subscriber.mux(() => ({ header: fail, write: fail }));
  await assertRejects(() => stream.getReader().read(), RangeError);
  pushFrames(publisher, "V0 a0");
  await turns();
  const frames = await subscriber.mux(words);
  assertEquals(
    text((await frames.getReader().read()).value ?? new Uint8Array()),
    "[start 320 48000] V0 a0",
  );
});

/** {@linkcode words} with durations, such as `V0+40`. */
function lastingWords(): Format {
  const { header } = words();
  return {
    needsDuration: true,
    header,
    write: (frame, durationUs = NaN) =>
      new TextEncoder().encode(`${short(frame)}+${durationUs / 1000} `),
  };
}

Deno.test("Mux writes frames with their durations when the format needs them", async () => {
  const setup = setUp(["video", "audio"], lastingWords);
  const reader = setup.mux.read();
  write(setup, "V0 a0 a20 v40 a40");
  await turns();
  write(setup, "V90 a60 a80 a100");
  await turns();
  assertEquals(all(reader), "[start 320 48000] V0+40 a0+20 a20+20 v40+50 a40+20 a60+20 a80+20");
  const joiner = setup.mux.read();
  write(setup, "v130 a120 a140");
  await turns();
  assertEquals(all(joiner), "[start 320 48000] V90+40 a100+20 a120+20");
});

Deno.test("Mux writes held frames when a configuration changes and when the tracks end", async () => {
  const setup = setUp(["video", "audio"], lastingWords);
  const reader = setup.mux.read();
  write(setup, "V0 a0 a20 v40 a40");
  await turns();
  setup.video.config = h264(640, 480);
  write(setup, "V80 a60 a80");
  await turns();
  assertEquals(
    all(reader),
    "[start 320 48000] V0+40 a0+20 a20+20 v40+40 a40+20 a60+20 [change 640 48000]",
  );
  setup.video.ring.close();
  setup.audio.ring.close();
  await turns();
  assertEquals(all(reader), "V80+40 a80+20");
});

Deno.test("Mux holds no frame for over half a second when its track stands still", async () => {
  const setup = setUp(["video", "audio"], lastingWords);
  const reader = setup.mux.read();
  write(setup, "V0 a0 v40 a40");
  await turns();
  drain(reader);
  write(setup, "a500 a540");
  await turns();
  assertEquals(all(reader), "");
  write(setup, "a580 a620");
  await turns();
  assertEquals(all(reader), "v40+40 a40+460 a500+40 a540+40 a580+40");
});

Deno.test("Mux wraps the frames that leave together, and lets announcements go alone", async () => {
  const encode = (text: string) => new TextEncoder().encode(text);
  const create = () => ({
    ...words(),
    wrap: (length: number) => ({ before: encode(`<${length} `), after: encode("> ") }),
  });
  const setup = setUp(["video", "audio"], create);
  write(setup, "V0 a0 v40 a40");
  await turns();
  const reader = setup.mux.read();
  const other = setup.mux.read();
  assertEquals(all(reader), "[start 320 48000] <14 V0 a0 v40 a40 >");
  assertEquals(all(other), "[start 320 48000] <14 V0 a0 v40 a40 >");
  setup.audio.config = aac(OTHER_ASC);
  write(setup, "v80 a80 v120 a120");
  await turns();
  assertEquals(all(reader), "<4 v80 > | [change 320 44100] | <14 a80 v120 a120 >");
});

Deno.test("Mux wraps nothing when there is nothing", async () => {
  const setup = setUp(["video"], () => ({
    header: () => new Uint8Array(),
    write: () => new Uint8Array(),
    wrap: () => ({ before: Uint8Array.of(1), after: Uint8Array.of(2) }),
  }));
  write(setup, "V0 v40");
  await turns();
  assertEquals(drain(setup.mux.read()), []);
});

/** A format that makes the words of {@linkcode words} where they are needed. */
function copiedWords(): Format {
  const format = words();
  const bytesOf = (frame: MediaFrame) => format.write(frame) as Uint8Array;
  return {
    header: (tracks, at) => format.header(tracks, at),
    write: (frame) => bytesOf(frame).length,
    copyTo: (frame, target, at) => target.set(bytesOf(frame), at),
  };
}

Deno.test("Mux gives the same whether a format gives bytes or makes them where they are needed", async () => {
  const [written, copied] = [words, copiedWords].map((create) => {
    const setup = setUp(undefined, () => create());
    return { setup, reader: setup.mux.read() };
  });
  assert(written && copied);
  const got = await Promise.all([written, copied].map(async ({ setup, reader }) => {
    const parts: string[] = [];
    for (const frames of ["V0 a0 v40", "a40 v80 a80", "V120", "v160 a160 a180"]) {
      write(setup, frames);
      await turns();
      parts.push(all(reader));
    }
    const joiner = all(setup.mux.read());
    return [...parts, joiner];
  }));
  assertEquals(got[0], got[1]);
  assertEquals(got[0]?.slice(-2), ["v160 a160 a180", "[start 320 48000] V120 v160 a160 a180"]);
});

Deno.test("Mux ends its viewers with an error when a format says how many bytes, and never makes them", async () => {
  const setup = setUp(["video"], () => ({ header: () => new Uint8Array(), write: () => 5 }));
  const stream = readableFrom(setup.mux.read());
  write(setup, "V0");
  await assertRejects(() => Array.fromAsync(stream), TypeError, "copyTo");
});

Deno.test("carried() puts another header and a wrapping around a format, whose frames stay as they are", async () => {
  const around = { before: Uint8Array.of(60), after: Uint8Array.of(62, 32) };
  for (const create of [words, copiedWords]) {
    const setup = setUp(["video"], () =>
      carried(create(), {
        header: (_, at) => new TextEncoder().encode(`${at}! `),
        wrap: () => around,
      }));
    const reader = setup.mux.read();
    write(setup, "V0 v40");
    await turns();
    assertEquals(all(reader), "start! <V0 v40 >");
    reader.close();
  }
});
