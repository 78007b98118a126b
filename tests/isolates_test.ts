import { assert, assertEquals, assertRejects } from "@std/assert";
import { deadline } from "@std/async/deadline";
import { Buffer } from "node:buffer";
import { Engine } from "../src/engine.ts";
import { StreamNotFoundError, StreamTakenError } from "../src/errors.ts";
import type { MediaFrame } from "../src/frame.ts";
import { Feed } from "../src/replica.ts";
import { pushFrames, pushHeaders } from "./support/engines.ts";
import { ASC } from "./support/frames.ts";
import { Fleet, settle, threeViewers, Watcher } from "./support/isolates.ts";

const TEST = { type: "Test" };

Deno.test("a viewer of one isolate gets a stream of another from its newest keyframe on", async () => {
  await using fleet = new Fleet(2);
  const [home, other] = fleet.engines;
  assert(home && other);
  const publisher = await home.publish("live/a", TEST);
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0 v40 a40 V80 a80 v120");
  const subscriber = await other.subscribe("live/a", TEST);
  assertEquals(subscriber.stream.publisher?.type, "Test");
  const watcher = new Watcher(subscriber.play());
  assertEquals(await watcher.take(3), "V80 a80 v120");
  pushFrames(publisher, "v160 a120 V200");
  assertEquals(await watcher.take(3), "a120 v160 V200");
  publisher.close();
  assertEquals(await watcher.take(1), "");
  assertEquals((await subscriber.closed).code, "ended");
  await settle();
  assertEquals(other.streams.size, 0);
});

Deno.test("a stream crosses to an isolate once, and only while somebody there watches", async () => {
  await using fleet = new Fleet(2);
  const [home, other] = fleet.engines;
  assert(home && other);
  const publisher = await home.publish("live/a", TEST);
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0");
  await settle();
  assertEquals(other.streams.size, 0);
  const first = await other.subscribe("live/a", TEST);
  const second = await other.subscribe("live/a", TEST);
  assertEquals(other.getStream("live/a")?.subscribers.size, 2);
  assertEquals([...publisher.stream.subscribers].map(({ type, id }) => `${type} ${id}`), [
    "Replica isolate 1",
  ]);
  first.close();
  await settle();
  assertEquals(publisher.stream.subscribers.size, 1);
  second.close();
  await settle();
  assertEquals(publisher.stream.subscribers.size, 0);
  assertEquals(other.streams.size, 0);
});

Deno.test("Engine.publish() says who holds a path when another isolate has it", async () => {
  await using fleet = new Fleet(2);
  const [home, other] = fleet.engines;
  assert(home && other);
  const publisher = await home.publish("live/a", { type: "RTMP", id: "10.0.0.1:5" });
  const error = await assertRejects(() => other.publish("live/a", TEST), StreamTakenError);
  const { type, id, since } = error.holder;
  assertEquals([type, id], ["RTMP", "10.0.0.1:5"]);
  assert(Math.abs(since.getTime() - publisher.since.getTime()) < 1000);
  // A replica is no publisher of its own.
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0");
  await other.subscribe("live/a", TEST);
  await assertRejects(() => other.publish("live/a", TEST), StreamTakenError, "10.0.0.1:5");
  publisher.close();
  await settle();
  await (await other.publish("live/a", TEST))[Symbol.asyncDispose]();
});

Deno.test("viewers in all isolates go on when a publisher in another one takes over", async () => {
  await using fleet = new Fleet(3);
  const { publisher, second, watchers } = await threeViewers(fleet);
  const successor = await second.publish("live/a", { ...TEST, id: "next", takeOver: true });
  assertEquals((await publisher.closed).code, "replaced");
  pushHeaders(successor, 5000);
  pushFrames(successor, "V5000 a5000 v5040 a5040");
  await settle();
  pushFrames(successor, "V5080");
  for (const watcher of watchers) assertEquals(await watcher.take(5), "V40 a40 v80 a80 V120");
  const home = await fleet.engines[0]?.publish("live/a", { ...TEST, takeOver: true });
  assert(home);
  assertEquals((await successor.closed).code, "replaced");
  pushHeaders(home);
  pushFrames(home, "V0 a0 v40");
  await settle();
  for (const watcher of watchers) assertEquals(await watcher.take(2), "V160 a160");
});

Deno.test("viewers in all isolates go on when a lost publisher comes back to another one", async () => {
  await using fleet = new Fleet(3);
  const { publisher, third, watchers } = await threeViewers(fleet);
  publisher.lose("its cable was cut");
  await settle();
  const back = await third.publish("live/a", { ...TEST, id: "back" });
  pushHeaders(back, 90);
  pushFrames(back, "V90 a90 v130");
  await settle();
  for (const watcher of watchers) assertEquals(await watcher.take(2), "V40 a40");
});

Deno.test("viewers in other isolates go on when a lost publisher comes back where it was", async () => {
  await using fleet = new Fleet(3);
  const { publisher, watchers } = await threeViewers(fleet);
  publisher.lose("its cable was cut");
  await settle();
  const back = await fleet.engines[0]?.publish("live/a", { ...TEST, id: "back" });
  assert(back);
  pushHeaders(back, 90);
  pushFrames(back, "V90 a90 v130");
  await settle();
  for (const watcher of watchers) assertEquals(await watcher.take(2), "V40 a40");
});

Deno.test("viewers in other isolates wait for the publisher when its isolate fails", async () => {
  await using fleet = new Fleet(3);
  const { second, watchers } = await threeViewers(fleet);
  fleet.fail(0);
  await settle();
  assertEquals(second.getStream("live/a")?.state, "waiting");
  const back = await second.publish("live/a", { ...TEST, id: "back" });
  pushHeaders(back);
  pushFrames(back, "V0 a0 v40");
  await settle();
  for (const watcher of watchers.slice(1)) assertEquals(await watcher.take(2), "V40 a40");
});

Deno.test("a stream that is missing everywhere is asked for once", async () => {
  await using fleet = new Fleet(3);
  const asked: string[] = [];
  for (const [index, engine] of fleet.engines.entries()) {
    engine.addEventListener("ondemand", ({ detail }) => asked.push(`${index} ${detail.path}`));
  }
  const [first, second, third] = fleet.engines;
  assert(first && second && third);
  const waiting = [first, second, second].map((engine) => engine.subscribe("live/a", TEST));
  await settle();
  assertEquals(asked, ["0 live/a"]);
  const publisher = await third.publish("live/a", TEST);
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0");
  const subscribers = await deadline(Promise.all(waiting), 2000);
  for (const subscriber of subscribers) {
    const watcher = new Watcher(subscriber.play());
    assertEquals(await watcher.take(2), "V0 a0");
    await watcher.cancel();
    subscriber.close();
  }
  publisher.close();
  await settle();
  assertEquals(fleet.engines.map(({ streams }) => streams.size), [0, 0, 0]);
});

Deno.test("Engine.subscribe() finds what another isolate has when it waits for no publisher", async () => {
  await using fleet = new Fleet(2, { OnDemandPublishTimeout: 0 });
  const [home, other] = fleet.engines;
  assert(home && other);
  await assertRejects(() => other.subscribe("live/a", TEST), StreamNotFoundError);
  const publisher = await home.publish("live/a", TEST);
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0");
  const subscriber = await other.subscribe("live/a", TEST);
  assertEquals(await new Watcher(subscriber.play()).take(2), "V0 a0");
});

Deno.test("data and further tracks cross to other isolates", async () => {
  await using fleet = new Fleet(2);
  const [home, other] = fleet.engines;
  assert(home && other);
  const publisher = await home.publish("live/a", TEST);
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0");
  const subscriber = await other.subscribe("live/a", TEST);
  publisher.addDataTrack("chat").push(40_000, { said: "hello" });
  pushFrames(publisher, "v40 a40");
  await settle();
  const [track] = subscriber.stream.dataTracks;
  assertEquals(track?.name, "chat");
  assertEquals(track?.newest?.value, { said: "hello" });
  publisher.completeTracks();
});

Deno.test("a stream that crosses keeps its bytes, also those of a Buffer, which shares what it slices", async () => {
  await using fleet = new Fleet(2);
  const [home, other] = fleet.engines;
  assert(home && other);
  const publisher = await home.publish("live/a", TEST);
  publisher.audio.setASC(ASC);
  publisher.completeTracks();
  const readers: ReadableStreamDefaultReader<MediaFrame>[] = [];
  for (const engine of fleet.engines) {
    const subscriber = await engine.subscribe("live/a", TEST);
    readers.push(subscriber.play().getReader());
  }
  await settle();
  const chunk = Buffer.alloc(100, 7);
  for (const at of [0, 10, 20]) {
    publisher.audio.pushRaw(at * 1000, chunk.subarray(at, at + 10));
    // Where it is published it is read last.
    for (const reader of readers.toReversed()) {
      const { value } = await deadline(reader.read(), 2000);
      assertEquals([value?.dts, value?.data.length, value?.data[9]], [at * 1000, 10, 7]);
    }
  }
  for (const reader of readers) await reader.cancel();
  assertEquals(chunk.length, 100);
});

Deno.test("Isolates.ask() gives the answers of all isolates, and of those that are left", async () => {
  await using fleet = new Fleet(3);
  const [first] = fleet.engines;
  assert(first);
  for (const { isolates } of fleet.engines) {
    isolates.answer("sum", (argument) => isolates.index + Number(argument));
  }
  assertEquals(await first.isolates.ask("sum", 10), [10, 11, 12]);
  assertEquals(await first.isolates.ask("unknown"), []);
  fleet.engines[2]?.isolates.answer("sum", () => {
    throw new Error("It can't");
  });
  await assertRejects(() => first.isolates.ask("sum", 10), Error, "It can't");
  const asked = first.isolates.ask("sum", 1);
  fleet.fail(2);
  assertEquals(await deadline(asked, 2000), [1, 2]);
});

Deno.test("subscribers of all isolates have numbers of their own", async () => {
  await using fleet = new Fleet(2);
  const numbers: number[] = [];
  for (const engine of fleet.engines) {
    const publisher = await engine.publish(`live/${engine.isolates.index}`, TEST);
    pushHeaders(publisher);
    for (let i = 0; i < 2; i++) {
      numbers.push((await engine.subscribe(publisher.stream.path, TEST)).number);
    }
  }
  assertEquals(numbers, [1, 3, 2, 4]);
});

Deno.test("Feed sends what has gathered, no more than is taken, and goes on at a keyframe", async () => {
  await using engine = new Engine({}, { nowMs: () => 0 });
  const publisher = await engine.publish("live/a", TEST);
  pushHeaders(publisher);
  pushFrames(publisher, "V0");
  const { port1, port2 } = new MessageChannel();
  const messages: { dts: number; key: boolean }[][] = [];
  port2.onmessage = ({ data }) => {
    messages.push(data.filter(({ type }: { type: string }) => type === "frame"));
  };
  const take = async () => {
    port2.postMessage({ type: "taken" });
    await settle();
    return messages.at(-1)?.map(({ dts }) => dts / 40_000);
  };
  const push = async (from: number, to: number) => {
    for (let at = from; at < to; at++) {
      pushFrames(publisher, `${at % 50 === 0 ? "V" : "v"}${at * 40}`);
      if (at % 10 === 0) await settle(1);
    }
    await settle();
  };
  const subscriber = await engine.subscribe("live/a", TEST);
  new Feed(subscriber, port1, false);
  await settle();
  await push(1, 6);
  // Two tell of the audio and that all tracks are known. Four are on their way, the rest gathers.
  const sent = messages.map((frames) => frames.map(({ dts }) => dts / 40_000));
  assertEquals(sent, [[0], [], [], [1]]);
  assertEquals(await take(), [2, 3, 4, 5]);
  await push(6, 2000);
  assertEquals(messages.length, 5);
  const gathered = await take();
  assert(gathered && gathered.length <= 256, `${gathered?.length} frames come at once`);
  assertEquals(gathered, Array.from(gathered, (_, index) => 6 + index));
  const [next = 0] = await take() ?? [];
  assertEquals([next > 6 + gathered.length, next % 50], [true, 0]);
  publisher.close();
  await settle();
  port2.close();
});

Deno.test("Feed passes a frame on before viewers of its isolate get it", async () => {
  await using engine = new Engine({}, { nowMs: () => 0 });
  const publisher = await engine.publish("live/a", TEST);
  pushHeaders(publisher);
  pushFrames(publisher, "V0");
  const order: string[] = [];
  const viewer = await engine.subscribe("live/a", TEST);
  const watched = viewer.play({ onVideo: () => order.push("viewer") });
  const { port1, port2 } = new MessageChannel();
  port1.postMessage = () => order.push("feed");
  new Feed(await engine.subscribe("live/a", TEST), port1, false);
  await settle();
  // What was sent so far has been taken.
  port2.postMessage({ type: "taken" });
  await settle();
  port2.postMessage({ type: "taken" });
  await settle();
  order.length = 0;
  pushFrames(publisher, "v40");
  await settle();
  assertEquals(order, ["feed", "viewer"]);
  publisher.close();
  await watched;
  await settle();
  port2.close();
});

Deno.test("a publisher's flush interval holds in other isolates", async () => {
  await using fleet = new Fleet(2);
  const [home, other] = fleet.engines;
  assert(home && other);
  const publisher = await home.publish("live/a?flush=350", TEST);
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0");
  const { stream } = await other.subscribe("live/a", TEST);
  assertEquals([stream.replica, stream.flushMs], [true, 350]);
});
