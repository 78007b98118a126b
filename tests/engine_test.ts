import { assert, assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import { Engine } from "../src/engine.ts";
import { EndedError, RefusedError, StreamNotFoundError, StreamTakenError } from "../src/errors.ts";
import { SubscriberOwner } from "../src/subscriber.ts";
import { pushFrames, pushHeaders, Rig } from "./support/engines.ts";
import { turns, watch } from "./support/reading.ts";

const peer = { type: "Test" };

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.name : String(error);
}

Deno.test("Engine.publish() makes a stream that lists its publisher and tracks", async () => {
  await using rig = new Rig();
  const publisher = await rig.engine.publish("/live//a/?key=1", { type: "RTMP", id: "10.0.0.1" });
  pushHeaders(publisher);
  const stream = rig.engine.getStream("live/a");
  assertStrictEquals(stream, publisher.stream);
  assertEquals([...rig.engine.streams.keys()], ["live/a"]);
  assertEquals([stream?.publisher, stream?.state], [publisher, "live"]);
  assertEquals(stream?.tracks.map(({ kind, name }) => `${kind} ${name}`), [
    "video video",
    "audio audio",
  ]);
  assertEquals(rig.engine.getStream("live/b"), undefined);
});

Deno.test("Engine.publish() says who holds the path and since when when it is taken", async () => {
  await using rig = new Rig();
  const holder = await rig.engine.publish("live/a", { type: "RTMP", id: "10.0.0.1" });
  await rig.pass(5);
  const error = await assertRejects(() => rig.engine.publish("live/a", peer), StreamTakenError);
  assertEquals(
    error.message,
    `Cannot publish live/a: RTMP publisher 10.0.0.1 has held it since ${holder.since.toISOString()}`,
  );
  pushHeaders(holder);
  pushFrames(holder, "V0");
  assertEquals([holder.end, holder.stream.state], [undefined, "live"]);
});

Deno.test("Engine.publish() lets one of two through when both ask at once", async () => {
  await using rig = new Rig();
  rig.engine.addGuard("publish", () => turns());
  const outcomes = [1, 2, 3].map(() => watch(rig.engine.publish("live/a", peer)));
  await turns(100);
  const states = outcomes.map((outcome) => outcome().state);
  assertEquals(states, ["fulfilled", "rejected", "rejected"]);
  assert(outcomes[1]?.().error instanceof StreamTakenError);
  assertEquals(rig.engine.getStream("live/a")?.state, "live");
});

for (const target of ["", "/", "?x", "live/../a", "a\u0000b", "a\\b", "x".repeat(241)]) {
  Deno.test(`Engine.publish() and subscribe() refuse ${JSON.stringify(target.slice(0, 12))} as a path`, async () => {
    await using rig = new Rig();
    await assertRejects(() => rig.engine.publish(target, peer), TypeError, "stream path");
    await assertRejects(() => rig.engine.subscribe(target, peer), TypeError, "stream path");
    assertEquals(rig.engine.streams.size, 0);
  });
}

Deno.test("Engine.publish() makes no stream when its signal is aborted before", async () => {
  await using rig = new Rig();
  const controller = new AbortController();
  rig.engine.addGuard("publish", () => controller.abort(new Error("gone")));
  const { signal } = controller;
  await assertRejects(() => rig.engine.publish("live/a", { ...peer, signal }), Error, "gone");
  assertEquals(rig.engine.streams.size, 0);
});

Deno.test("Engine.subscribe() waits for a publisher and asks for one, once a path", async () => {
  await using rig = new Rig();
  const asked: string[] = [];
  rig.engine.addEventListener("ondemand", ({ detail }) => {
    asked.push(`${detail.path} ${detail.args.get("t")}`);
  });
  const waits = [1, 2].map((t) => watch(rig.engine.subscribe(`live/a?t=${t}`, peer)));
  const other = watch(rig.engine.subscribe("live/b?t=3", peer));
  await rig.pass(19);
  assertEquals(asked, ["live/a 1", "live/b 3"]);
  const publisher = await rig.engine.publish("live/a", peer);
  await turns();
  for (const wait of waits) assertStrictEquals(wait().value?.stream, publisher.stream);
  assertEquals(publisher.stream.subscribers.size, 2);
  await rig.pass(1.1);
  const { error } = other();
  assert(error instanceof StreamNotFoundError);
  assertEquals([error.path, error.waitedSeconds], ["live/b", 20]);
  publisher.close();
  const again = watch(rig.engine.subscribe("live/a?t=4", peer));
  await turns();
  assertEquals(asked.at(-1), "live/a 4");
  await rig.engine.close();
  await turns();
  assertEquals(reasonOf(again().error), "EndedError");
});

Deno.test("Engine.subscribe() gets the stream that an ondemand listener publishes", async () => {
  await using rig = new Rig();
  rig.engine.addEventListener("ondemand", async ({ detail }) => {
    await rig.engine.publish(detail.path, { type: "Pull" });
  });
  const subscriber = await rig.engine.subscribe("live/a", peer);
  assertEquals(subscriber.stream.publisher?.type, "Pull");
});

Deno.test("Engine.subscribe() fails at once when OnDemandPublishTimeout is 0", async () => {
  await using rig = new Rig({ OnDemandPublishTimeout: 0 });
  let asked = 0;
  rig.engine.addEventListener("ondemand", () => asked++);
  const wait = watch(rig.engine.subscribe("live/a", peer));
  await turns();
  assertEquals([reasonOf(wait().error), asked], ["StreamNotFoundError", 0]);
});

Deno.test("Engine.subscribe() stops waiting when its signal is aborted, and others go on", async () => {
  await using rig = new Rig();
  const controller = new AbortController();
  const { signal } = controller;
  const aborted = watch(rig.engine.subscribe("live/a", { ...peer, signal }));
  const staying = watch(rig.engine.subscribe("live/a", peer));
  await turns();
  controller.abort(new Error("gone"));
  await turns();
  assertEquals(aborted().error, signal.reason);
  const publisher = await rig.engine.publish("live/a", peer);
  await turns();
  assertEquals([staying().state, publisher.stream.subscribers.size], ["fulfilled", 1]);
});

for (const gone of ["owner", "signal"] as const) {
  Deno.test(`Engine.subscribe() ends waits and subscribers with their ${gone} when they have both`, async () => {
    await using rig = new Rig();
    const controllers = { owner: new AbortController(), signal: new AbortController() };
    const owner = new SubscriberOwner(controllers.owner.signal);
    const options = { ...peer, owner, signal: controllers.signal.signal };
    const publisher = await rig.engine.publish("live/a", peer);
    const subscribers = [
      await rig.engine.subscribe("live/a", options),
      await rig.engine.subscribe("live/a", options),
    ];
    const staying = await rig.engine.subscribe("live/a", peer);
    const wait = watch(rig.engine.subscribe("live/b", options));
    await turns();
    controllers[gone].abort(new Error("gone"));
    await turns();
    assertEquals(reasonOf(wait().error), "Error");
    assertEquals(subscribers.map(({ end }) => end?.detail), ["left", "left"]);
    assertEquals([staying.end, publisher.stream.subscribers.size], [undefined, 1]);
    await assertRejects(() => rig.engine.subscribe("live/a", options), Error, "gone");
  });
}

Deno.test("Subscribers that have ended follow neither their owner nor their signal", async () => {
  await using rig = new Rig();
  const controller = new AbortController();
  const { signal } = controller;
  const owner = new SubscriberOwner(signal);
  const publisher = await rig.engine.publish("live/a", peer);
  const subscribers = [
    await rig.engine.subscribe("live/a", { ...peer, owner }),
    await rig.engine.subscribe("live/a", { ...peer, signal }),
  ];
  publisher.close();
  await turns();
  controller.abort();
  // That would fail what has come and is not read yet.
  assertEquals(subscribers.map(({ signal }) => signal.aborted), [false, false]);
});

Deno.test("Engine.subscribe() leaves no subscriber when it is aborted as its stream comes", async () => {
  await using rig = new Rig();
  const controller = new AbortController();
  const { signal } = controller;
  rig.engine.addEventListener("publish", () => controller.abort(new Error("gone")));
  const wait = watch(rig.engine.subscribe("live/a", { ...peer, signal }));
  await turns();
  const publisher = await rig.engine.publish("live/a", peer);
  await turns();
  assertEquals(reasonOf(wait().error), "Error");
  assertEquals([publisher.stream.subscribers.size, rig.engine.subscribers.size], [0, 0]);
});

Deno.test("Engine.subscribe() fails when its stream has ended by the time it comes", async () => {
  await using rig = new Rig();
  rig.engine.addEventListener("publish", ({ detail }) => detail.publisher.close());
  const wait = watch(rig.engine.subscribe("live/a", peer));
  await turns();
  const publisher = await rig.engine.publish("live/a", peer);
  await turns();
  assertEquals(reasonOf(wait().error), "StreamNotFoundError");
  assertEquals([publisher.end?.code, rig.engine.streams.size], ["ended", 0]);
});

Deno.test("Engine.subscribe() survives a stream that comes after its wait is over", async () => {
  await using rig = new Rig({ OnDemandPublishTimeout: 1 });
  const wait = watch(rig.engine.subscribe("live/a", peer));
  await rig.pass(1.1);
  assertEquals(reasonOf(wait().error), "StreamNotFoundError");
  const publisher = await rig.engine.publish("live/a", peer);
  await turns();
  assertEquals([publisher.stream.state, publisher.stream.subscribers.size], ["live", 0]);
});

Deno.test("Engine.subscribe() joins a stream that waits for its publisher", async () => {
  await using rig = new Rig();
  const publisher = await rig.engine.publish("live/a", peer);
  publisher.lose("socket died");
  const subscriber = await rig.engine.subscribe("live/a", peer);
  const next = await rig.engine.publish("live/a", peer);
  assertEquals([next.stream, subscriber.end], [subscriber.stream, undefined]);
});

Deno.test("Engine.subscribers lists subscribers by number until they end", async () => {
  await using rig = new Rig();
  await rig.engine.publish("live/a", peer);
  const controller = new AbortController();
  const { signal } = controller;
  const first = await rig.engine.subscribe("live/a", { type: "FLV", id: "10.0.0.1" });
  const second = await rig.engine.subscribe("live/a", { ...peer, signal });
  assertEquals([...rig.engine.subscribers], [[1, first], [2, second]]);
  assertEquals([first.type, first.id, second.id], ["FLV", "10.0.0.1", "local"]);
  controller.abort();
  assertEquals([...rig.engine.subscribers], [[1, first]]);
  assertEquals(second.end?.code, "ended");
});

Deno.test("Engine dispatches each event once, with what it is about", async () => {
  await using rig = new Rig();
  const log: string[] = [];
  const { engine } = rig;
  engine.addEventListener("publish", ({ detail }) => log.push(`publish ${detail.publisher.type}`));
  engine.addEventListener(
    "subscribe",
    ({ detail }) => log.push(`subscribe ${detail.subscriber.id}`),
  );
  engine.addEventListener("track", ({ detail }) => log.push(`track ${detail.track.name}`));
  engine.addEventListener(
    "unsubscribe",
    ({ detail }) => log.push(`unsubscribe ${detail.end.code}`),
  );
  engine.addEventListener(
    "close",
    ({ detail }) => log.push(`close ${detail.stream.path} ${detail.end.code}`),
  );
  const first = await engine.publish("live/a", { type: "A" });
  pushHeaders(first);
  first.addDataTrack("chat");
  pushHeaders(first);
  await engine.subscribe("live/a", { ...peer, id: "one" });
  const two = await engine.subscribe("live/a", { ...peer, id: "two" });
  two.close();
  const second = await engine.publish("live/a", { type: "B", takeOver: true });
  pushHeaders(second);
  second.close();
  assertEquals(log, [
    "publish A",
    "track video",
    "track audio",
    "track chat",
    "subscribe one",
    "subscribe two",
    "unsubscribe ended",
    "publish B",
    "unsubscribe ended",
    "close live/a ended",
  ]);
});

Deno.test("Engine goes on when listeners throw or reject, and logs it", async () => {
  await using rig = new Rig();
  const { engine } = rig;
  const calls: string[] = [];
  for (
    const type of ["publish", "subscribe", "unsubscribe", "close", "track", "ondemand"] as const
  ) {
    engine.addEventListener(type, () => {
      throw new RangeError(`no ${type}`);
    });
    engine.addEventListener(type, () => Promise.reject(new TypeError(`never ${type}`)));
    engine.addEventListener(type, () => calls.push(type));
  }
  const waiting = engine.subscribe("live/a", peer);
  await turns();
  const publisher = await engine.publish("live/a", peer);
  await waiting;
  pushHeaders(publisher);
  publisher.close();
  await turns();
  assertEquals(calls, [
    "ondemand",
    "publish",
    "subscribe",
    "track",
    "track",
    "unsubscribe",
    "close",
  ]);
  const errors = rig.lines.filter((line) => line.startsWith("error"));
  assertEquals(errors.length, 2 * calls.length);
  assert(errors.includes("error A listener of close failed: RangeError: no close"));
});

Deno.test("Engine asks guards in order, and what they refuse harms nobody", async () => {
  await using rig = new Rig();
  const { engine } = rig;
  const asked: string[] = [];
  const removal = new AbortController();
  engine.addGuard("publish", ({ path }) => void asked.push(`last ${path}`), { order: 10 });
  engine.addGuard("publish", async ({ args, type, id }) => {
    await turns();
    asked.push(`middle ${type} ${id}`);
    if (args.get("key") !== "1") throw new RefusedError("wrong key");
  }, { signal: removal.signal });
  engine.addGuard("publish", ({ action }) => void asked.push(`first ${action}`), { order: -1 });
  engine.addGuard("subscribe", () => void asked.push("subscribe"));
  const error = await assertRejects(() => engine.publish("live/a?key=2", peer), RefusedError);
  assertEquals(error.reason, "wrong key");
  assertEquals(asked, ["first publish", "middle Test local"]);
  assertEquals(engine.streams.size, 0);
  await engine.publish("live/a?key=1", peer);
  assertEquals(asked.slice(2), ["first publish", "middle Test local", "last live/a"]);
  removal.abort();
  await engine.publish("live/b", peer);
  await engine.subscribe("live/b", peer);
  assertEquals(asked.slice(5), ["first publish", "last live/b", "subscribe"]);
});

Deno.test("Engine refuses without saying why when a guard fails, and logs why", async () => {
  await using rig = new Rig();
  await rig.engine.publish("live/a", peer);
  rig.engine.addGuard("subscribe", () => Promise.reject(new TypeError("database is down")));
  const error = await assertRejects(() => rig.engine.subscribe("live/a", peer), RefusedError);
  assertEquals(error.message, "it could not be checked");
  assert(error.cause instanceof TypeError);
  const [warning] = rig.lines.filter((line) => line.startsWith("warn"));
  assert(warning?.includes("database is down"));
});

Deno.test("Engine does not fire ondemand when a guard refuses the subscriber", async () => {
  await using rig = new Rig();
  let asked = 0;
  rig.engine.addEventListener("ondemand", () => asked++);
  rig.engine.addGuard("subscribe", () => {
    throw new RefusedError("no");
  });
  await assertRejects(() => rig.engine.subscribe("live/a", peer), RefusedError);
  assertEquals(asked, 0);
});

Deno.test("Engine.close() ends all, refuses new ones and those whose guards are at work", async () => {
  await using rig = new Rig();
  const { engine } = rig;
  const publishers = [await engine.publish("live/a", peer), await engine.publish("live/b", peer)];
  const subscriber = await engine.subscribe("live/a", peer);
  const waiting = watch(engine.subscribe("live/c", peer));
  engine.addGuard("publish", () => turns());
  const publishing = watch(engine.publish("live/d", peer));
  await turns(3);
  await engine.close();
  await engine.close();
  await turns(100);
  assertEquals(publishers.map(({ end }) => end?.code), ["shutdown", "shutdown"]);
  assertEquals(subscriber.end?.code, "shutdown");
  assertEquals([waiting, publishing].map((outcome) => reasonOf(outcome().error)), [
    "EndedError",
    "EndedError",
  ]);
  assertEquals([engine.streams.size, engine.subscribers.size], [0, 0]);
  await assertRejects(() => engine.publish("live/a", peer), EndedError);
  await assertRejects(() => engine.subscribe("live/a", peer), EndedError);
});

Deno.test("Engine.configure() replaces the options, or throws and changes nothing", async () => {
  await using rig = new Rig({ AutoCloseDelay: 3 });
  assertEquals(rig.engine.options.AutoCloseDelay, 3);
  assertThrows(() => rig.engine.configure({ AutoCloseDelay: -2 }));
  assertThrows(() => rig.engine.configure({ Nonsense: 1 } as never));
  assertThrows(() => new Engine({ PublishTimeout: 0 }));
  assertEquals(rig.engine.options.AutoCloseDelay, 3);
  rig.engine.configure({ AutoCloseDelay: 0, PublishTimeout: undefined });
  assertEquals([rig.engine.options.AutoCloseDelay, rig.engine.options.PublishTimeout], [0, 60]);
  assert(Object.isFrozen(rig.engine.options));
  await rig.engine.publish("live/a", peer);
  (await rig.engine.subscribe("live/a", peer)).close();
  assertEquals(rig.engine.streams.size, 0, "streams follow");
});

Deno.test("Engine knows nothing of the streams of another one", async () => {
  await using one = new Rig();
  await using other = new Engine();
  await one.engine.publish("live/a", peer);
  await other.publish("live/a", peer);
  assertEquals([one.engine.streams.size, other.streams.size], [1, 1]);
  assert(one.engine.getStream("live/a") !== other.getStream("live/a"));
});

Deno.test("Engine logs who came and went with a few lines a second, and counts the others", async () => {
  await using rig = new Rig();
  await rig.engine.publish("live/a", peer);
  for (let count = 0; count < 30; count++) await rig.engine.subscribe("live/a", peer);
  await rig.pass(1.1);
  const lines = rig.lines.filter((line) => line.includes("subscriber"));
  assertEquals(lines.length, 11);
  assertEquals(lines.at(-1), "info 20 more subscribers came or left or tracks changed");
});

Deno.test("Engine logs what a track is, and what it becomes, once each", async () => {
  await using rig = new Rig();
  const publisher = await rig.engine.publish("live/a", peer);
  const mono = Uint8Array.of(0x12, 0x08);
  for (const asc of [mono, mono, Uint8Array.of(0x11, 0x90)]) publisher.audio.setASC(asc);
  assertEquals(rig.lines.filter((line) => line.includes("mp4a")), [
    "info live/a: audio is mp4a.40.2 44100 Hz, 1 channels",
    "info live/a: audio is now mp4a.40.2 48000 Hz, 2 channels",
  ]);
});

Deno.test("Publisher[Symbol.asyncDispose]() ends its stream in good order", async () => {
  await using rig = new Rig();
  {
    await using publisher = await rig.engine.publish("live/a", peer);
    assertEquals(publisher.stream.state, "live");
  }
  assertEquals(rig.engine.streams.size, 0);
});
