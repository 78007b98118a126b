import { assert, assertEquals, assertRejects } from "@std/assert";
import { EndedError, LaggedError } from "../src/errors.ts";
import { flvFormat } from "../src/flv.ts";
import type { MediaFrame } from "../src/frame.ts";
import type { Subscriber } from "../src/subscriber.ts";
import { audioBody, audioHeader, h264, short, videoBody, videoHeader } from "./support/frames.ts";
import { pushFrames, pushHeaders, Rig } from "./support/engines.ts";
import { take, turns, watch } from "./support/reading.ts";

async function names(frames: ReadableStream<MediaFrame>): Promise<string> {
  return (await Array.fromAsync(frames)).map(short).join(" ");
}

async function publish(rig: Rig) {
  const publisher = await rig.engine.publish("live/a", { type: "Test" });
  pushHeaders(publisher);
  return publisher;
}

function subscribe(rig: Rig, selection = {}): Promise<Subscriber> {
  return rig.engine.subscribe("live/a", { type: "Test", ...selection });
}

Deno.test("Subscriber.play() starts at the newest keyframe with the audio since, and ends with the stream", async () => {
  await using rig = new Rig();
  const publisher = await publish(rig);
  pushFrames(publisher, "V0 a0 V1000 a980 a1000 v1040 a1020 v1080 a1040");
  const subscriber = await subscribe(rig);
  const frames = subscriber.play();
  publisher.close();
  assertEquals(await names(frames), "V1000 a1000 a1020 v1040 a1040 v1080");
  assertEquals(subscriber.stats().frames, 6);
  assertEquals(subscriber.stats().dropped, 0);
});

Deno.test("Subscriber.play() starts at the oldest keyframe kept when the mode is oldest", async () => {
  await using rig = new Rig();
  const publisher = await publish(rig);
  pushFrames(publisher, "V0 a0 v40 a40 V80 a80");
  const frames = (await subscribe(rig)).play({ mode: "oldest" });
  publisher.close();
  assertEquals(await names(frames), "V0 a0 v40 a40 V80 a80");
});

Deno.test("Subscriber.play() loses nothing, or fails with LaggedError, when the mode is record", async () => {
  await using rig = new Rig();
  const publisher = await publish(rig);
  const [keeps, fails] = [await subscribe(rig), await subscribe(rig)];
  const kept = keeps.play({ mode: "record" }).getReader();
  const failed = fails.play({ mode: "record" }).getReader();
  pushFrames(publisher, "V0 a0");
  assertEquals((await take(kept, 2)).map(short), ["V0", "a0"]);
  await take(failed, 1);
  for (let ms = 1000; ms <= 25_000; ms += 1000) pushFrames(publisher, `V${ms} a${ms}`);
  assertEquals((await take(kept, 50)).map(short).slice(0, 3), ["V1000", "a1000", "V2000"]);
  for (let ms = 26_000; ms <= 40_000; ms += 1000) pushFrames(publisher, `V${ms} a${ms}`);
  await assertRejects(() => failed.read(), LaggedError);
  assertEquals((await take(kept, 30)).length, 30);
  assertEquals([keeps.stats().dropped, fails.end], [0, undefined]);
});

Deno.test("Subscriber.play() drops to a keyframe, and counts on the stream too, when it is slow", async () => {
  await using rig = new Rig();
  const publisher = await publish(rig);
  const subscriber = await subscribe(rig);
  const reader = subscriber.play({ maxLagMs: 500 }).getReader();
  pushFrames(publisher, "V0 a0");
  await take(reader, 2);
  pushFrames(publisher, "v500 a500 V1000 a1000 v1500 a1500");
  assertEquals(subscriber.stats().lagMs, 1000);
  assertEquals((await take(reader, 2)).map(short), ["V1000", "a1000"]);
  assertEquals([subscriber.stats().dropped, publisher.stream.dropped], [2, 2]);
  subscriber.close();
  await assertRejects(() => reader.read(), EndedError);
  assertEquals([subscriber.stats().dropped, publisher.stream.dropped], [2, 2]);
});

for (
  const [kinds, expected] of [[{ audio: false }, "V0 v40"], [{ video: false }, "a20 a40"]] as const
) {
  Deno.test(`Subscriber.play() gives only what is selected when that is ${JSON.stringify(kinds)}`, async () => {
    await using rig = new Rig();
    const publisher = await publish(rig);
    const subscriber = await subscribe(rig, kinds);
    const frames = subscriber.play({ mode: "oldest" });
    const reader = frames.getReader();
    const first = reader.read();
    pushFrames(publisher, kinds.video === false ? "V0 a20 v40 a40" : "V0 a20 v40 a40");
    await first;
    reader.releaseLock();
    publisher.close();
    assertEquals(`${short((await first).value ?? assertNever())} ${await names(frames)}`, expected);
    const without = "audio" in kinds ? subscriber.waitAudioTrack() : subscriber.waitVideoTrack();
    assertEquals(await without, undefined);
  });
}

function assertNever(): never {
  throw new Error("There is no frame");
}

Deno.test("Subscriber.play() takes a track that comes late, in either order", async () => {
  for (const order of [["video", "audio"], ["audio", "video"]] as const) {
    await using rig = new Rig();
    const publisher = await rig.engine.publish("live/a", { type: "Test" });
    const subscriber = await subscribe(rig);
    const got: string[] = [];
    const playing = subscriber.play({
      onVideo: (frame) => got.push(short(frame)),
      onAudio: (frame) => got.push(short(frame)),
    });
    for (const [index, kind] of order.entries()) {
      const ms = index * 100;
      if (kind === "video") publisher.video.pushByteStream(ms, videoHeader());
      else publisher.audio.pushByteStream(ms, audioHeader());
      const frames = `V${ms} a${ms} v${ms + 40} a${ms + 40}`.split(" ");
      const live = order.slice(0, index + 1).map((name) => name.charAt(0));
      for (const frame of frames) {
        if (live.includes(frame.charAt(0).toLowerCase())) pushFrames(publisher, frame);
        await turns();
      }
    }
    publisher.close();
    await playing;
    const first = order[0] === "video" ? "V0 v40" : "a0 a40";
    assertEquals(got.join(" "), `${first} V100 a100 v140 a140`);
  }
});

Deno.test("Subscriber.play() shows a new configuration on the frame that has it first", async () => {
  await using rig = new Rig();
  const publisher = await publish(rig);
  const subscriber = await subscribe(rig, { audio: false });
  const frames = subscriber.play({ mode: "oldest" });
  pushFrames(publisher, "V0 v40");
  publisher.video.pushByteStream(80, videoHeader(h264(640, 480)));
  pushFrames(publisher, "V80");
  publisher.close();
  const widths = (await Array.fromAsync(frames)).map(({ config }) =>
    config.kind === "video" ? config.codedWidth : 0
  );
  assertEquals(widths, [320, 320, 640]);
});

Deno.test("Subscriber.play() ends with the stream when there is no track, or none that it takes", async () => {
  await using rig = new Rig();
  const publisher = await rig.engine.publish("live/a", { type: "Test" });
  const subscriber = await subscribe(rig);
  const silent = await subscribe(rig, { video: false, audio: false });
  const outcomes = [
    watch(Array.fromAsync(subscriber.play())),
    watch(subscriber.play({ onVideo: () => {} })),
    watch(Array.fromAsync(silent.play())),
  ];
  publisher.audio.pushByteStream(0, audioHeader());
  publisher.audio.pushByteStream(0, audioBody());
  await turns();
  assertEquals(outcomes.map((outcome) => outcome().state), ["pending", "pending", "pending"]);
  publisher.close();
  await turns();
  assertEquals(outcomes.map((outcome) => outcome().state), Array(3).fill("fulfilled"));
  const late = subscriber.play({ onVideo: () => {} });
  await late;
  assertEquals(await Array.fromAsync(silent.play()), []);
});

Deno.test("Subscriber.play() rejects when a callback throws, and nobody else notices", async () => {
  await using rig = new Rig();
  const publisher = await publish(rig);
  const [bad, good] = [await subscribe(rig), await subscribe(rig)];
  const failing = watch(bad.play({
    onVideo() {
      throw new RangeError("broken");
    },
  }));
  const got: string[] = [];
  const playing = good.play({ onVideo: (frame) => got.push(short(frame)) });
  pushFrames(publisher, "V0 v40");
  await turns();
  pushFrames(publisher, "v80");
  await turns();
  assert(failing().error instanceof RangeError);
  assertEquals([got, publisher.stream.state], [["V0", "v40", "v80"], "live"]);
  publisher.close();
  await playing;
});

Deno.test("Subscriber.play() stops at once when a callback closes the subscriber", async () => {
  await using rig = new Rig();
  const publisher = await publish(rig);
  const subscriber = await subscribe(rig);
  const got: string[] = [];
  const playing = watch(subscriber.play({
    onVideo(frame) {
      got.push(short(frame));
      subscriber.close();
    },
  }));
  pushFrames(publisher, "V0 v40 v80");
  await turns();
  assert(playing().error instanceof EndedError);
  assertEquals([got, subscriber.stats().frames], [["V0"], 1]);
  assertEquals(publisher.stream.videoTracks[0]?.ring.waiting.size, 0);
});

Deno.test("Subscriber.close() fails all that it reads and waits for, once", async () => {
  await using rig = new Rig();
  const publisher = await rig.engine.publish("live/a", { type: "Test" });
  const subscriber = await subscribe(rig);
  const outcomes = [
    watch(subscriber.play().getReader().read()),
    watch(subscriber.play({ onVideo: () => {} })),
    watch(subscriber.waitVideoTrack()),
    watch(subscriber.mux(flvFormat)),
  ];
  await turns();
  subscriber.close({ code: "kicked", detail: "kicked by a test" });
  subscriber.close();
  await turns();
  for (const outcome of outcomes) {
    const { error } = outcome();
    assert(error instanceof EndedError);
    assertEquals(error.end, { code: "kicked", detail: "kicked by a test" });
  }
  assertEquals((await subscriber.closed).code, "kicked");
  assertEquals([publisher.stream.subscribers.size, rig.engine.subscribers.size], [0, 0]);
  await assertRejects(async () => await Array.fromAsync(subscriber.play()), EndedError);
  await assertRejects(() => subscriber.play({ onVideo: () => {} }), EndedError);
  await assertRejects(() => subscriber.mux(flvFormat), EndedError);
});

Deno.test("Subscriber.signal and closed tell of an end that was before anybody asked", async () => {
  await using rig = new Rig();
  const publisher = await publish(rig);
  const [left, kicked] = [await subscribe(rig), await subscribe(rig)];
  kicked.close({ code: "kicked", detail: "kicked by a test" });
  assertEquals(kicked.signal.aborted, true);
  assertEquals(kicked.signal.reason.end.code, "kicked");
  assertEquals((await kicked.closed).code, "kicked");
  publisher.close();
  await turns();
  // What has come can still be read.
  assertEquals(left.signal.aborted, false);
  assertEquals((await left.closed).code, "ended");
});

Deno.test("Subscriber reads nothing more, and fails, after it is closed while its stream goes on", async () => {
  await using rig = new Rig();
  const publisher = await publish(rig);
  pushFrames(publisher, "V0 v40");
  const subscriber = await subscribe(rig);
  subscriber.close();
  const got: MediaFrame[] = [];
  await assertRejects(() => subscriber.play({ onVideo: (frame) => got.push(frame) }), EndedError);
  await assertRejects(() => subscriber.play().getReader().read(), EndedError);
  await assertRejects(() => subscriber.mux(flvFormat), EndedError);
  assertEquals(got, []);
  assertEquals(publisher.stream.videoTracks[0]?.ring.waiting.size, 0);
});

Deno.test("Subscriber.close() also fails what is left of a stream that has ended", async () => {
  await using rig = new Rig();
  const publisher = await publish(rig);
  const subscriber = await subscribe(rig);
  const { signal } = subscriber;
  const reader = subscriber.play().getReader();
  pushFrames(publisher, "V0 v40 v80");
  assertEquals(short((await reader.read()).value as MediaFrame), "V0");
  publisher.close();
  await turns();
  assertEquals(signal.aborted, false);
  subscriber.close();
  assertEquals(signal.aborted, true);
  await assertRejects(() => reader.read(), EndedError);
});

Deno.test("Subscriber.mux() fails when the stream ends before its tracks are known", async () => {
  await using rig = new Rig();
  const publisher = await rig.engine.publish("live/a", { type: "Test" });
  const muxing = watch((await subscribe(rig)).mux(flvFormat));
  await turns();
  publisher.close();
  await turns();
  assert(muxing().error instanceof EndedError);
});

Deno.test("Subscriber.mux() ends its streams after the last frame when the stream ends", async () => {
  await using rig = new Rig();
  const publisher = await publish(rig);
  const subscriber = await subscribe(rig);
  const streams = [
    await subscriber.mux(flvFormat),
    await subscriber.mux(flvFormat, { flushMs: 500 }),
    await subscriber.mux(flvFormat, { audio: false }),
  ];
  const chunks = streams.map((stream) => Array.fromAsync(stream));
  await turns();
  pushFrames(publisher, "V0 a0");
  await turns();
  publisher.close();
  const sizes = (await Promise.all(chunks)).map((parts) => parts.length);
  assertEquals(sizes, [1, 1, 1]);
  assertEquals(subscriber.stats().frames, 5);
});

Deno.test("Subscriber leaves nothing in the rings when its readers are cancelled", async () => {
  await using rig = new Rig();
  const publisher = await publish(rig);
  const subscriber = await subscribe(rig);
  const readers = [
    subscriber.play().getReader(),
    (await subscriber.mux(flvFormat)).getReader(),
    (await subscriber.mux(flvFormat, { flushMs: 100 })).getReader(),
  ] as const;
  const reads = readers.map((reader) => reader.read());
  await turns();
  const rings = publisher.stream.tracks.map(({ ring }) => ring);
  assertEquals(rings.map(({ waiting }) => waiting.size), [2, 2]);
  for (const reader of readers) await reader.cancel();
  await Promise.all(reads);
  assertEquals(rings.map(({ waiting }) => waiting.size), [0, 0]);
});

Deno.test("Subscriber[Symbol.asyncDispose]() ends it", async () => {
  await using rig = new Rig();
  const publisher = await publish(rig);
  {
    await using subscriber = await subscribe(rig);
    assertEquals([...publisher.stream.subscribers], [subscriber]);
  }
  assertEquals(publisher.stream.subscribers.size, 0);
});

Deno.test("Subscriber reads what a publisher writes in the same turn as it comes", async () => {
  await using rig = new Rig();
  const publisher = await publish(rig);
  const got: string[] = [];
  rig.engine.addEventListener("subscribe", ({ detail }) => {
    detail.subscriber.play({ onVideo: (frame) => got.push(short(frame)) });
    publisher.video.pushByteStream(0, videoBody(true));
  });
  await subscribe(rig);
  await turns();
  assertEquals(got, ["V0"]);
});

/** How many chunks of FLV a viewer gets of ten frames that come 10 ms apart, after the first ones. */
async function chunksOf(rig: Rig, publishing: string, viewing: string): Promise<number> {
  const publisher = await rig.engine.publish(`live/a${publishing}`, { type: "Test" });
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0");
  const subscriber = await rig.engine.subscribe(`live/a${viewing}`, { type: "Test" });
  const reader = (await subscriber.mux(flvFormat, { flushMs: 40 })).getReader();
  await take(reader, 1);
  let chunks = 0;
  const reading = (async () => {
    while (!(await reader.read()).done) chunks++;
  })();
  for (let ms = 10; ms <= 100; ms += 10) {
    await rig.pass(0.01);
    pushFrames(publisher, `v${ms}`);
  }
  publisher.close();
  await rig.pass(1);
  await reading;
  return chunks;
}

Deno.test("Subscriber.mux() gathers as the viewer says, else the publisher, else its caller", async () => {
  await using rig = new Rig();
  assertEquals(await chunksOf(rig, "", "?flush=0"), 10);
  assertEquals(await chunksOf(rig, "?flush=0", ""), 10);
  assertEquals(await chunksOf(rig, "?flush=0", "?flush=100"), 2);
  assertEquals(await chunksOf(rig, "?flush=90", ""), 2);
  assertEquals(await chunksOf(rig, "", ""), 4);
});

for (const flush of ["-1", "1001", "1e2", ""]) {
  Deno.test(`Engine refuses publishers and subscribers with ?flush=${flush}`, async () => {
    await using rig = new Rig();
    const target = `live/a?flush=${flush}`;
    await assertRejects(() => rig.engine.publish(target, { type: "Test" }), TypeError, "flush=");
    await assertRejects(() => rig.engine.subscribe(target, { type: "Test" }), TypeError, "flush=");
    assertEquals(rig.engine.streams.size, 0);
  });
}
