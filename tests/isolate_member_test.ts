/** What an isolate makes of messages that come in an order of their own. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { Engine } from "../src/engine.ts";
import { IsolateMember } from "../src/isolate_member.ts";
import type { HubMessage, MemberMessage } from "../src/isolate_messages.ts";
import { Feed } from "../src/replica.ts";
import { pushFrames, pushHeaders } from "./support/engines.ts";
import { settle, Watcher } from "./support/isolates.ts";

const path = "live/a";
const TEST = { type: "Test" };
const HOLDER = { type: "Test", id: "elsewhere", since: new Date(0) };

/** The engine of isolate 0, to which the test is the hub and the other isolates. */
class MemberRig implements AsyncDisposable {
  readonly engine: Engine;
  /** What the isolate has said to the hub. */
  readonly said: MemberMessage[] = [];
  readonly #hub: MessagePort;
  readonly #ports: MessagePort[] = [];

  constructor() {
    const { port1, port2 } = new MessageChannel();
    const member = new IsolateMember({ index: 0, count: 3, port: port2 });
    this.engine = new Engine({}, { isolates: member, nowMs: () => 0 });
    member.serve(this.engine);
    this.#hub = port1;
    port1.onmessage = ({ data }) => this.said.push(data);
    this.#ports.push(port1, port2);
  }

  /** Says `messages` to the isolate, which hears one right after the other. */
  async tell(...messages: readonly HubMessage[]): Promise<void> {
    for (const message of messages) {
      this.#hub.postMessage(message, "port" in message ? [message.port] : []);
    }
    await settle();
  }

  /** A port for a message, and the end of it that the other isolate has. */
  channel(): {
    port: MessagePort;
    heard: { type: string; dts?: number; end?: unknown }[];
    far: MessagePort;
  } {
    const { port1: port, port2: far } = new MessageChannel();
    const heard: { type: string }[] = [];
    far.onmessage = ({ data }) => {
      heard.push(...[data].flat());
      far.postMessage({ type: "taken" });
    };
    this.#ports.push(far);
    return { port, heard, far };
  }

  /** Grants the claim that the isolate has made last, and tells `messages` in the same breath. */
  async grant(...messages: readonly HubMessage[]): Promise<void> {
    await settle();
    const claim = this.said.findLast(({ type }) => type === "claim");
    if (claim?.type !== "claim") throw new Error("There is no claim");
    await this.tell({ type: "reply", call: claim.call, reply: undefined }, ...messages);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.engine.close();
    await settle();
    for (const port of this.#ports) port.close();
  }
}

/** Publishes in another isolate, which feeds the one of `rig`. */
async function feeder(far: MessagePort, frames: string) {
  const engine = new Engine({}, { nowMs: () => 0 });
  const publisher = await engine.publish(path, TEST);
  pushHeaders(publisher);
  pushFrames(publisher, frames);
  const subscriber = await engine.subscribe(path, TEST);
  new Feed(subscriber, far, false);
  await settle();
  return { engine, publisher, subscriber, [Symbol.asyncDispose]: () => engine.close() };
}

Deno.test("IsolateMember feeds others from a publisher whose claim has just been granted", async () => {
  await using rig = new MemberRig();
  const { port, heard } = rig.channel();
  const publishing = rig.engine.publish(path, TEST);
  await rig.grant({ type: "feed", path, to: 1, fresh: true, port });
  const publisher = await publishing;
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0");
  await settle();
  assertEquals(heard.filter(({ type }) => type === "frame").length, 2);
});

Deno.test("IsolateMember gives way to a publisher that took over before its own began", async () => {
  await using rig = new MemberRig();
  const { port, far } = rig.channel();
  const publishing = rig.engine.publish(path, TEST);
  await rig.grant({ type: "replica", path, from: 1, fresh: true, holder: HOLDER, port });
  const publisher = await publishing;
  assertEquals(publisher.end?.code, "replaced");
  assertEquals(rig.engine.streams.size, 0);
  far.close();
});

Deno.test("IsolateMember hears of a loss right after it has begun to repeat a stream", async () => {
  await using rig = new MemberRig();
  const { port } = rig.channel();
  const subscribing = rig.engine.subscribe(path, TEST);
  await settle();
  await rig.tell(
    { type: "replica", path, from: 1, fresh: true, holder: HOLDER, port },
    { type: "lost", index: 1 },
  );
  const { stream } = await subscribing;
  assertEquals(stream.state, "waiting");
  const other = rig.channel();
  await rig.tell({ type: "replica", path, from: 2, fresh: true, holder: HOLDER, port: other.port });
  assertEquals(stream.state, "live");
});

Deno.test("IsolateMember takes a stream once that comes twice from the same isolate", async () => {
  await using rig = new MemberRig();
  const subscribing = rig.engine.subscribe(path, TEST);
  await settle();
  const first = rig.channel();
  const second = rig.channel();
  const replica = { type: "replica", path, from: 1, fresh: false, holder: HOLDER } as const;
  await rig.tell({ ...replica, port: first.port });
  await using source = await feeder(first.far, "V0 a0");
  const watcher = new Watcher((await subscribing).play());
  assertEquals(await watcher.take(2), "V0 a0");
  await rig.tell({ ...replica, port: second.port });
  assertEquals(second.heard.map(({ type }) => type), ["stop"]);
  pushFrames(source.publisher, "v40");
  assertEquals(await watcher.take(1), "v40");
  // It has not said that it wants nothing.
  assertEquals(rig.said.filter(({ type }) => type === "forget"), []);
});

Deno.test("IsolateMember feeds others nothing of a publisher that is not its own", async () => {
  await using rig = new MemberRig();
  const publishing = rig.engine.publish(path, TEST);
  await rig.grant();
  const publisher = await publishing;
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0");
  const watcher = new Watcher((await rig.engine.subscribe(path, TEST)).play());
  assertEquals(await watcher.take(2), "V0 a0");
  const fed = rig.channel();
  await rig.tell({ type: "feed", path, to: 2, fresh: false, port: fed.port });
  const { port, far } = rig.channel();
  await rig.tell({ type: "replica", path, from: 1, fresh: true, holder: HOLDER, port });
  await using _source = await feeder(far, "V0 a0");
  assertEquals(await watcher.take(2), "V40 a40");
  const frames = fed.heard.filter(({ type }) => type === "frame");
  assertEquals(frames.map(({ dts }) => dts), [0, 0]);
  const end = { code: "replaced", detail: "replaced by Test elsewhere" };
  assertEquals(fed.heard.at(-1), { type: "end", end } as never);
});

Deno.test("IsolateMember says that another isolate has what it was asked to feed", async () => {
  await using rig = new MemberRig();
  const { port, heard } = rig.channel();
  await rig.tell({ type: "feed", path, to: 1, fresh: false, port });
  assertEquals(heard.map(({ type }) => type), ["end"]);
  assertEquals((heard[0]?.end as { code: string }).code, "replaced");
});

Deno.test("IsolateMember refuses a stream that nobody watches", async () => {
  await using rig = new MemberRig();
  const { port, heard } = rig.channel();
  await rig.tell({ type: "replica", path, from: 1, fresh: false, holder: HOLDER, port });
  assertEquals(heard.map(({ type }) => type), ["stop"]);
  assertEquals(rig.said, [{ type: "forget", path }]);
});

Deno.test("IsolateMember keeps the newest claim when publishers of its own cross", async () => {
  await using rig = new MemberRig();
  const publishing = rig.engine.publish(path, TEST);
  await rig.grant();
  const publisher = await publishing;
  const next = rig.engine.publish(path, { ...TEST, takeOver: true });
  await settle();
  publisher.lose("its cable was cut");
  await rig.grant();
  assert((await next).end === undefined);
  const claims = rig.said.flatMap((message) => message.type === "claim" ? message.call : []);
  const releases = rig.said.flatMap((message) => message.type === "release" ? message.call : []);
  // The first one's loss says nothing of the claim of the second.
  assertEquals(releases, claims.slice(0, 1));
});

Deno.test("Engine.subscribe() gives up at once when the hub is silent", async () => {
  await using rig = new MemberRig();
  const controller = new AbortController();
  const subscribing = rig.engine.subscribe(path, { ...TEST, signal: controller.signal });
  await settle();
  controller.abort(new Error("it left"));
  await assertRejects(() => subscribing, Error, "it left");
});

Deno.test("Feed sends nothing of publishers before when only the one of now is wanted", async () => {
  await using engine = new Engine({}, { nowMs: () => 0 });
  const first = await engine.publish(path, TEST);
  pushHeaders(first);
  pushFrames(first, "V0 a0 v40");
  first.lose("its cable was cut");
  for (const live of [true, false]) {
    const publisher = await engine.publish(path, TEST);
    if (!live) publisher.lose("its cable was cut, too");
    const { port1, port2 } = new MessageChannel();
    const dts: number[] = [];
    port2.onmessage = ({ data }) => {
      for (const item of data) if (item.type === "frame") dts.push(item.dts);
      port2.postMessage({ type: "taken" });
    };
    const subscriber = await engine.subscribe(path, TEST);
    new Feed(subscriber, port1, true);
    await settle();
    const writer = live ? publisher : await engine.publish(path, TEST);
    pushHeaders(writer);
    pushFrames(writer, "V0 v40");
    await settle();
    assertEquals(dts, live ? [80_000, 120_000] : [160_000, 200_000]);
    subscriber.close();
    writer.lose("its cable was cut");
    await settle();
    port2.close();
  }
});
