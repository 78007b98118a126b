import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { ANSWER_MS, IsolateHub } from "../src/isolate_hub.ts";
import type { HubMessage, MemberMessage } from "../src/isolate_messages.ts";
import { settle } from "./support/isolates.ts";

/** A hub, and ports to it as isolates have them, with what comes out of them. */
class HubRig implements Disposable {
  readonly hub = new IsolateHub();
  readonly heard: HubMessage[][] = [];
  readonly #ports: MessagePort[] = [];

  connect(index: number): void {
    const { port1, port2 } = new MessageChannel();
    this.hub.connect(index, port1);
    this.#ports[index]?.close();
    this.#ports[index] = port2;
    const heard: HubMessage[] = [];
    this.heard[index] = heard;
    port2.onmessage = ({ data }) => {
      heard.push(data);
      if ("port" in data) data.port.close();
    };
  }

  async say(index: number, ...messages: readonly MemberMessage[]): Promise<void> {
    for (const message of messages) this.#ports[index]?.postMessage(message);
    await settle();
  }

  claim(index: number, call: number, takeOver = false): Promise<void> {
    const holder = { type: "Test", id: `${index}.${call}`, since: new Date(0) };
    return this.say(index, { type: "claim", call, path: "a", holder, takeOver });
  }

  /** What isolate `index` has heard since the last time, in short. */
  take(index: number): string {
    const heard = this.heard[index]?.splice(0) ?? [];
    return heard.map((message) => {
      switch (message.type) {
        case "reply": {
          const { reply } = message;
          const text = typeof reply === "string" ? reply : reply === undefined ? "yes" : "no";
          return `${message.call}=${text}`;
        }
        case "feed":
          return `feed ${message.to}${message.fresh ? " fresh" : ""}`;
        case "replica":
          return `replica ${message.from}${message.fresh ? " fresh" : ""}`;
        case "query":
          return `query ${message.call}`;
        case "lost":
          return `lost ${message.index}`;
      }
    }).join(", ");
  }

  [Symbol.dispose](): void {
    this.hub.close();
    for (const port of this.#ports) port.close();
  }
}

function hubRig(count: number): HubRig {
  const rig = new HubRig();
  for (let index = 0; index < count; index++) rig.connect(index);
  return rig;
}

const demand = (call: number): MemberMessage => ({ type: "demand", call, path: "a" });
const forget: MemberMessage = { type: "forget", path: "a" };
const release = (call: number, state: "waiting" | "ended"): MemberMessage => ({
  type: "release",
  call,
  path: "a",
  state,
});

Deno.test("IsolateHub grants a path to one claim, and to the next when it is released", async () => {
  using rig = hubRig(2);
  await rig.claim(0, 0);
  await rig.claim(1, 0);
  assertEquals([rig.take(0), rig.take(1)], ["0=yes", "0=no"]);
  await rig.say(1, release(0, "ended"));
  await rig.claim(1, 1);
  assertEquals(rig.take(1), "1=no");
  await rig.say(0, release(0, "ended"));
  await rig.claim(1, 2);
  assertEquals([rig.take(0), rig.take(1)], ["", "2=yes"]);
  await rig.say(1, release(2, "waiting"));
  await rig.claim(0, 1);
  // The isolate that had it joins.
  assertEquals([rig.take(0), rig.take(1)], ["1=yes, feed 1 fresh", "replica 0 fresh"]);
});

Deno.test("IsolateHub hears a release only of the newest claim", async () => {
  using rig = hubRig(2);
  await rig.claim(0, 0);
  await rig.claim(0, 1, true);
  await rig.say(0, release(0, "waiting"), release(0, "ended"));
  await rig.claim(1, 0);
  assertEquals([rig.take(0), rig.take(1)], ["0=yes, 1=yes", "0=no"]);
  await rig.say(0, release(1, "ended"));
  await rig.claim(1, 1);
  assertEquals(rig.take(1), "1=yes");
});

Deno.test("IsolateHub joins those who wait with whoever publishes, and tells who asked first", async () => {
  using rig = hubRig(3);
  await rig.say(0, demand(0));
  await rig.say(1, demand(0));
  assertEquals([rig.take(0), rig.take(1)], ["0=unknown", "0=asked"]);
  await rig.claim(2, 0);
  assertEquals(rig.take(0), "replica 2 fresh");
  assertEquals(rig.take(1), "replica 2 fresh");
  assertEquals(rig.take(2), "0=yes, feed 0 fresh, feed 1 fresh");
  await rig.say(0, forget, demand(1));
  assertEquals([rig.take(0), rig.take(2)], ["1=published, replica 2", "feed 0"]);
});

Deno.test("IsolateHub does not join an isolate with itself when its claim and demand cross", async () => {
  using rig = hubRig(2);
  await rig.say(0, demand(0));
  await rig.claim(0, 1);
  await rig.say(0, demand(2));
  assertEquals(rig.take(0), "0=unknown, 1=yes, 2=published");
  await rig.say(0, release(1, "ended"));
  // It waits for nothing.
  await rig.say(1, demand(0));
  assertEquals(rig.take(1), "0=unknown");
});

Deno.test("IsolateHub.lose() frees what an isolate published, and leaves nothing of its questions", async () => {
  using rig = hubRig(3);
  await rig.claim(1, 0);
  await rig.say(2, demand(0));
  await rig.say(1, { type: "ask", call: 7, name: "x", argument: 0 });
  await rig.say(2, { type: "ask", call: 8, name: "x", argument: 0 });
  for (const index of [0, 1, 2]) rig.take(index);
  rig.hub.lose(1);
  rig.hub.lose(1);
  await settle();
  assertEquals([rig.take(0), rig.take(1), rig.take(2)], ["lost 1", "", "lost 1"]);
  rig.connect(1);
  const answers = [0, 1].map((call): MemberMessage => ({
    type: "answer",
    call,
    result: { type: "none" },
  }));
  await rig.say(0, ...answers);
  await rig.say(2, ...answers);
  assertEquals([rig.take(1), rig.take(2)], ["", "8=no"]);
  await rig.claim(0, 0);
  assertEquals([rig.take(0), rig.take(2)], ["0=yes, feed 2 fresh", "replica 0 fresh"]);
});

Deno.test("IsolateHub answers without an isolate that does not, after a while", async () => {
  using time = new FakeTime();
  using rig = hubRig(2);
  await rig.say(0, { type: "ask", call: 7, name: "x", argument: 0 });
  await rig.say(0, { type: "answer", call: 0, result: { type: "value", value: 1 } });
  for (const index of [0, 1]) rig.take(index);
  time.tick(ANSWER_MS - 1);
  await settle();
  assertEquals(rig.take(0), "");
  time.tick(1);
  await settle();
  assertEquals(rig.take(0), "7=no");
  // It comes too late.
  await rig.say(1, { type: "answer", call: 0, result: { type: "value", value: 2 } });
  assertEquals(rig.take(0), "");
  await rig.say(0, { type: "ask", call: 8, name: "x", argument: 0 });
  rig.hub.close();
  assertEquals(time.next(), false, "no timer is left");
});

Deno.test("IsolateHub hears nothing of an isolate that it has lost", async () => {
  using rig = hubRig(2);
  const claimed = rig.claim(0, 0);
  rig.hub.lose(0);
  await claimed;
  await rig.claim(1, 0);
  assertEquals([rig.take(0), rig.take(1)], ["", "lost 0, 0=yes"]);
});
