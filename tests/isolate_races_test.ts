/** Isolates whose messages cross on the way. */

import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { deadline } from "@std/async/deadline";
import { Engine } from "../src/engine.ts";
import { StreamTakenError } from "../src/errors.ts";
import { Replica } from "../src/replica.ts";
import { pushFrames, pushHeaders } from "./support/engines.ts";
import { videoHeader } from "./support/frames.ts";
import { Fleet, settle, threeViewers, Watcher } from "./support/isolates.ts";
import { turns, watch } from "./support/reading.ts";

const TEST = { type: "Test" };

Deno.test("Engine.publish() succeeds once when isolates want a path at the same time", async () => {
  await using fleet = new Fleet(3);
  const results = await deadline(
    Promise.allSettled(fleet.engines.map((engine) => engine.publish("live/a", TEST))),
    2000,
  );
  assertEquals(results.map(({ status }) => status).sort(), ["fulfilled", "rejected", "rejected"]);
  for (const result of results) {
    if (result.status === "rejected") assertInstanceOf(result.reason, StreamTakenError);
    else result.value.close();
  }
  await settle();
  assertEquals(fleet.engines.map(({ streams }) => streams.size), [0, 0, 0]);
});

Deno.test("Engine.publish() takes over once when isolates take over at the same time", async () => {
  await using fleet = new Fleet(3);
  const { watchers } = await threeViewers(fleet);
  const publishers = await deadline(
    Promise.all(
      fleet.engines.map((engine) => engine.publish("live/a", { ...TEST, takeOver: true })),
    ),
    2000,
  );
  await settle();
  const live = publishers.filter(({ end }) => end === undefined);
  assertEquals(live.length, 1);
  for (const publisher of live) {
    pushHeaders(publisher);
    pushFrames(publisher, "V0 a0 v40");
  }
  await settle();
  for (const watcher of watchers) assertEquals(await watcher.take(2), "V40 a40");
});

Deno.test("a path is free again when its publisher gives up before its claim is granted", async () => {
  await using fleet = new Fleet(2);
  const [home, other] = fleet.engines;
  assert(home && other);
  const waiting = home.subscribe("live/a", TEST);
  await settle();
  const controller = new AbortController();
  const published = home.publish("live/a", { ...TEST, signal: controller.signal });
  await turns();
  controller.abort(new Error("it gave up"));
  await assertRejects(() => published, Error, "it gave up");
  assertEquals(home.streams.size, 0);
  // Who waited there still does.
  const publisher = await deadline(other.publish("live/a", TEST), 2000);
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0");
  const subscriber = await deadline(waiting, 2000);
  assertEquals(await new Watcher(subscriber.play()).take(2), "V0 a0");
});

Deno.test("a live publisher goes on when one gives up that would have taken over", async () => {
  await using fleet = new Fleet(2);
  const [home, other] = fleet.engines;
  assert(home && other);
  const publisher = await home.publish("live/a", TEST);
  pushHeaders(publisher);
  const controller = new AbortController();
  const published = home.publish("live/a", { ...TEST, signal: controller.signal, takeOver: true });
  await turns();
  controller.abort(new Error("it gave up"));
  await assertRejects(() => published, Error, "it gave up");
  assertEquals(publisher.end, undefined);
  await assertRejects(() => other.publish("live/a", TEST), StreamTakenError);
  pushFrames(publisher, "V0 a0");
  const subscriber = await other.subscribe("live/a", TEST);
  assertEquals(await new Watcher(subscriber.play()).take(2), "V0 a0");
  publisher.close();
  await settle();
  (await other.publish("live/a", TEST)).close();
});

Deno.test("a path is free again when the isolate fails that was about to publish it", async () => {
  await using fleet = new Fleet(2);
  const [home, other] = fleet.engines;
  assert(home && other);
  const published = home.publish("live/a", TEST);
  published.catch(() => {});
  await turns();
  fleet.fail(0);
  await settle();
  (await deadline(other.publish("live/a", TEST), 2000)).close();
  // It has no way to be told.
  assertEquals(watch(published)().state, "pending");
});

Deno.test("a viewer that comes while its stream ends is told so, or gets the next one", async () => {
  for (let turn = 0; turn < 8; turn++) {
    await using fleet = new Fleet(2);
    const [home, other] = fleet.engines;
    assert(home && other);
    const publisher = await home.publish("live/a", TEST);
    pushHeaders(publisher);
    pushFrames(publisher, "V0 a0");
    const coming = other.subscribe("live/a", TEST);
    for (let task = 0; task < turn; task++) await settle(1);
    publisher.close();
    await settle();
    const next = await deadline(home.publish("live/a", TEST), 2000);
    pushHeaders(next);
    pushFrames(next, "V0 a0");
    const subscriber = await deadline(coming, 2000).catch(() => undefined);
    if (subscriber === undefined || subscriber.end !== undefined) continue;
    const watcher = new Watcher(subscriber.play());
    assertStringIncludes(await watcher.take(2), "V");
  }
});

Deno.test("a stream with a publisher elsewhere ends where nobody watches it", async () => {
  await using fleet = new Fleet(2);
  const [home, other] = fleet.engines;
  assert(home && other);
  const publisher = await home.publish("live/a", TEST);
  pushHeaders(publisher);
  publisher.lose("its cable was cut");
  await settle();
  const back = await other.publish("live/a", TEST);
  pushHeaders(back);
  pushFrames(back, "V0 a0");
  await settle();
  assertEquals(home.streams.size, 0);
  const subscriber = await home.subscribe("live/a", TEST);
  assertEquals(await new Watcher(subscriber.play()).take(2), "V0 a0");
});

Deno.test("a stream ends in all isolates at once when its publisher is lost for good", async () => {
  await using fleet = new Fleet(2, { ReconnectTimeout: 0 });
  const [home, other] = fleet.engines;
  assert(home && other);
  const publisher = await home.publish("live/a", TEST);
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0");
  const subscriber = await other.subscribe("live/a", TEST);
  publisher.lose("its cable was cut");
  await settle();
  assertEquals(subscriber.end?.code, "lost");
  assertEquals(other.streams.size, 0);
});

Deno.test("a viewer sees no frame twice when it leaves and comes back at once", async () => {
  await using fleet = new Fleet(2);
  const [home, other] = fleet.engines;
  assert(home && other);
  const publisher = await home.publish("live/a", TEST);
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0 v40");
  const controller = new AbortController();
  const left = other.subscribe("live/a", { ...TEST, signal: controller.signal });
  await turns();
  controller.abort(new Error("it left"));
  const coming = other.subscribe("live/a", TEST);
  await assertRejects(() => left, Error, "it left");
  const watcher = new Watcher((await coming).play());
  await settle();
  pushFrames(publisher, "a40 v80");
  assertEquals(await watcher.take(5), "V0 a0 v40 a40 v80");
  assertEquals(publisher.stream.subscribers.size, 1);
});

Deno.test("a stream is told to other isolates with its tracks before it is complete", async () => {
  await using fleet = new Fleet(2);
  const [home, other] = fleet.engines;
  assert(home && other);
  const publisher = await home.publish("live/a", TEST);
  publisher.video.pushByteStream(0, videoHeader());
  publisher.completeTracks();
  const { stream } = await other.subscribe("live/a", TEST);
  await deadline(stream.waitSettled(), 2000);
  assertEquals(stream.videoTracks.map(({ live }) => live), [true]);
  assertEquals(stream.audioTracks, []);
});

Deno.test("a stream is read for no isolate that has failed", async () => {
  await using fleet = new Fleet(3);
  const { publisher, second } = await threeViewers(fleet);
  assertEquals(publisher.stream.subscribers.size, 3);
  fleet.fail(1);
  await settle();
  assertEquals([...publisher.stream.subscribers].map(({ id }) => id), ["local", "isolate 2"]);
  await second.close();
});

Deno.test("a value that cannot be copied stays where it is, and others cross", async () => {
  await using fleet = new Fleet(2);
  const [home, other] = fleet.engines;
  assert(home && other);
  const publisher = await home.publish("live/a", TEST);
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0");
  const { stream } = await other.subscribe("live/a", TEST);
  const chat = publisher.addDataTrack("chat");
  chat.push(10_000, "one");
  await settle();
  chat.push(20_000, () => {});
  chat.push(30_000, "two");
  await settle();
  assertEquals(stream.dataTracks[0]?.newest?.value, "two");
});

Deno.test("Isolates.ask() rejects when an answer cannot be copied", async () => {
  await using fleet = new Fleet(2);
  const [home, other] = fleet.engines;
  assert(home && other);
  other.isolates.answer("which", () => () => {});
  await assertRejects(
    () => deadline(home.isolates.ask("which"), 2000),
    Error,
    "could not be cloned",
  );
});

Deno.test("Replica waits for the news of the hub when its stream goes elsewhere", async () => {
  await using engine = new Engine();
  const subscribed = engine.subscribe("live/a", TEST);
  const publisher = engine.repeat("live/a", TEST);
  const { port1, port2 } = new MessageChannel();
  new Replica(publisher, port1);
  const subscriber = await subscribed;
  port2.postMessage([{ type: "end", end: { code: "replaced", detail: "replaced by another" } }]);
  await settle();
  assertEquals([subscriber.end, subscriber.stream.state], [undefined, "waiting"]);
  const successor = engine.repeat("live/a", TEST);
  assertEquals(subscriber.stream.state, "live");
  port2.close();
  const next = new MessageChannel();
  new Replica(successor, next.port1);
  next.port2.postMessage([{ type: "end", end: { code: "kicked", detail: "kicked" } }]);
  await settle();
  assertEquals(subscriber.end, { code: "kicked", detail: "kicked" });
  next.port2.close();
});
