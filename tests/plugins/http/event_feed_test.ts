/** What clients of the API hear of changes, and when: with a snapshot and a clock of the test. */

import { assertEquals, assertMatch } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { EventFeed, type EventsSnapshot } from "../../../plugins/http/events.ts";
import type { SnapshotQuestion } from "../../../plugins/http/everywhere.ts";
import type { LogInfo, ServerInfo, StreamDetail } from "../../../plugins/http/service.ts";
import { listLogger } from "../../support/logs.ts";

const SERVER: ServerInfo = {
  name: "test",
  version: "1",
  runtime: "test",
  isolate: 0,
  isolates: 1,
  since: "2026-01-01T00:00:00.000Z",
  uptimeSeconds: 0,
  streams: 0,
  subscribers: 0,
  memoryBytes: { rss: 1, heapUsed: 1, heapTotal: 1, external: 1 },
};

/** A feed on fake time, whose snapshots the test makes. */
class Rig implements Disposable {
  readonly time = new FakeTime();
  readonly logs: string[] = [];
  readonly questions: SnapshotQuestion[] = [];
  /** What the next snapshots have. */
  uptimeSeconds = 0;
  dropped = 0;
  lines: LogInfo[] = [];
  /** Fails or holds up snapshots. */
  before: () => void | Promise<void> = () => {};
  readonly feed = new EventFeed({
    log: listLogger(this.logs),
    snapshot: (question) => this.#snapshot(question),
  });

  async #snapshot(question: SnapshotQuestion): Promise<EventsSnapshot> {
    this.questions.push(question);
    await this.before();
    const { uptimeSeconds, dropped } = this;
    return {
      server: { ...SERVER, uptimeSeconds },
      streams: [],
      plugins: [],
      details: question.paths.map((path): StreamDetail => ({
        path,
        stream: {
          path,
          state: "live",
          since: "",
          publisher: null,
          tracks: [],
          dropped,
          viewers: 1,
        },
        subscribers: [],
      })),
      log: this.lines.splice(0),
    };
  }

  client(path?: string): Client {
    return new Client(this, this.feed.open(path === undefined ? path : { path, history: [] }));
  }

  [Symbol.dispose](): void {
    this.feed.close();
    this.time.restore();
  }
}

/** Reads events. */
class Client {
  readonly #rig: Rig;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #text = "";
  isOver = false;
  #reading = false;

  constructor(rig: Rig, body: ReadableStream<Uint8Array>) {
    this.#rig = rig;
    this.#reader = body.getReader();
  }

  /** What comes now, as it is sent; it stays ready for more. */
  async text(): Promise<string> {
    for (let turn = 0; turn < 5; turn++) {
      if (!this.#reading && !this.isOver) this.#read();
      await this.#rig.time.runMicrotasks();
    }
    const text = this.#text;
    this.#text = "";
    return text;
  }

  /** The names of the events that come now. */
  async names(): Promise<string> {
    return [...(await this.text()).matchAll(/^event: (.*)$/gm)].map(([, name]) => name).join(" ");
  }

  async leave(): Promise<void> {
    await this.#reader.cancel();
  }

  async #read(): Promise<void> {
    this.#reading = true;
    const { value, done } = await this.#reader.read();
    this.#reading = false;
    this.isOver = done;
    this.#text += new TextDecoder().decode(value);
  }
}

function line(message: string, sequence = 0): LogInfo {
  const at = "2026-01-01T00:00:00.000Z";
  return { sequence, at, level: "error", source: "engine", message, count: 1, isolate: 0 };
}

Deno.test("EventFeed tells all at first, then each second what has changed", async () => {
  using rig = new Rig();
  const client = rig.client();
  const text = await client.text();
  assertMatch(text, /^retry: 1000\n\nevent: server\ndata: \{"name":"test".*\}\n\n/);
  assertEquals(text.match(/(?<=event: ).*/g), ["server", "streams", "plugins", "log"]);
  assertMatch(text, /event: log\ndata: \[\]\n\n$/);
  await rig.time.tickAsync(1000);
  assertEquals(await client.text(), "");
  rig.uptimeSeconds = 2;
  await rig.time.tickAsync(999);
  assertEquals(await client.text(), "");
  await rig.time.tickAsync(1);
  assertMatch(await client.text(), /^event: server\ndata: .*"uptimeSeconds":2.*\n\n$/);
});

Deno.test("EventFeed takes one snapshot a second for all clients, and none without any", async () => {
  using rig = new Rig();
  assertEquals(rig.time.next(), false);
  const clients = [rig.client(), rig.client(), rig.client("live/a"), rig.client("live/a")];
  for (const client of clients) await client.text();
  const first = rig.questions.length;
  for (let second = 0; second < 3; second++) {
    rig.uptimeSeconds++;
    await rig.time.tickAsync(1000);
    for (const client of clients) assertEquals(await client.names(), "server");
  }
  assertEquals(rig.questions.length, first + 3);
  assertEquals(rig.questions.at(-1)?.paths, ["live/a"]);
  // Whoever comes meanwhile gets what is known.
  assertEquals(await rig.client().names(), "server streams plugins log");
  assertEquals(rig.questions.length, first + 3);
  assertEquals(rig.feed.clients, 5);
  rig.feed.close();
  await rig.time.tickAsync(5000);
  assertEquals([rig.questions.length, rig.feed.clients], [first + 3, 0]);
  assertEquals(rig.time.next(), false, "no timer is left");
});

Deno.test("EventFeed stops when the last client leaves, and knows nothing of before", async () => {
  using rig = new Rig();
  rig.lines = [line("old", 7)];
  const [one, other] = [rig.client(), rig.client()];
  await one.text();
  await one.leave();
  await rig.time.tickAsync(1000);
  assertEquals(rig.questions.at(-1)?.logAfter, [7]);
  await other.leave();
  assertEquals(rig.time.next(), false, "no timer is left");
  const before = rig.questions.length;
  assertMatch(await rig.client().text(), /event: log\ndata: \[\]\n\n$/);
  assertEquals(rig.questions.slice(before).map(({ logAfter }) => logAfter), [[]]);
});

Deno.test("EventFeed lets a client that reads slowly pass over what is not new any more", async () => {
  using rig = new Rig();
  const slow = rig.client("live/a");
  const body = rig.feed.open();
  await slow.text();
  await slow.text();
  for (let second = 1; second <= 20; second++) {
    rig.uptimeSeconds = rig.dropped = second;
    rig.lines = [line(`line ${second}`)];
    await rig.time.tickAsync(1000);
  }
  await rig.time.runMicrotasks();
  // One read was under way, which got the first of them.
  const text = await slow.text();
  assertEquals(text.match(/(?<="uptimeSeconds":)\d+/g), ["1", "20"]);
  assertEquals(text.match(/(?<="dropped":)\d+/g), ["1", "20"]);
  assertEquals(text.match(/line \d+/g)?.length, 20);
  assertEquals(text.match(/event: log/g)?.length, 2);
  await body.cancel();
});

Deno.test("EventFeed sends a comment after 15 seconds in which nothing changed", async () => {
  using rig = new Rig();
  const client = rig.client();
  await client.text();
  await rig.time.tickAsync(14_000);
  assertEquals(await client.text(), "");
  await rig.time.tickAsync(1000);
  assertEquals(await client.text(), ":\n\n");
  rig.uptimeSeconds++;
  await rig.time.tickAsync(1000);
  assertEquals(await client.names(), "server");
  await rig.time.tickAsync(14_000);
  assertEquals(await client.text(), "");
  await rig.time.tickAsync(1000);
  assertEquals(await client.text(), ":\n\n");
});

Deno.test("EventFeed tells of one stream to those who want it, history first", async () => {
  using rig = new Rig();
  const all = rig.client();
  await all.text();
  const history = [{ kind: "video", name: "video", points: [] } as const];
  const client = new Client(rig, rig.feed.open({ path: "live/a", history }));
  const text = await client.text();
  assertMatch(
    text,
    /^retry: 1000\n\nevent: history\ndata: \[\{"kind":"video".*\}\]\n\nevent: server/,
  );
  // It does not wait for the next second.
  assertMatch(text, /event: stream\ndata: \{"path":"live\/a","stream":\{/);
  rig.dropped = 1;
  await rig.time.tickAsync(1000);
  assertEquals([await client.names(), await all.names()], ["stream", ""]);
  assertEquals(await rig.client("live/b").names(), "history server streams plugins log stream");
  await rig.time.tickAsync(1000);
  assertEquals(rig.questions.at(-1)?.paths, ["live/a", "live/b"]);
  await client.leave();
  await rig.time.tickAsync(1000);
  assertEquals(rig.questions.at(-1)?.paths, ["live/b"]);
  // What was known of it is not kept.
  rig.dropped = 2;
  const again = await rig.client("live/a").text();
  assertEquals(again.match(/(?<="path":"live\/a").*?"dropped":\d/g)?.length, 1);
  assertMatch(again, /"dropped":2/);
});

Deno.test("EventFeed tells the newest 100 lines at first, then those that come or come again", async () => {
  using rig = new Rig();
  rig.lines = Array.from({ length: 150 }, (_, at) => line(`line ${at};`, at));
  const client = rig.client();
  const messages = (text: string) => text.match(/(?<=line )\d+(?=;)/g) ?? [];
  const first = messages(await client.text());
  assertEquals([first.length, first[0], first.at(-1)], [100, "50", "149"]);
  rig.lines = [line("line 60;", 200), line("line 150;", 201)];
  await rig.time.tickAsync(1000);
  assertEquals(messages(await client.text()), ["60", "150"]);
  const other = messages(await rig.client().text());
  assertEquals([other.length, other[0], other.slice(-3)], [100, "51", ["149", "60", "150"]]);
  await rig.time.tickAsync(1000);
  assertEquals(rig.questions.at(-1)?.logAfter, [201]);
});

Deno.test("EventFeed goes on after snapshots that fail or take long, and says so once", async () => {
  using rig = new Rig();
  const client = rig.client();
  await client.text();
  rig.before = () => {
    throw new Error("no answer");
  };
  rig.uptimeSeconds = 1;
  await rig.time.tickAsync(3000);
  assertEquals(rig.logs, ["warn cannot tell what there is: Error: no answer"]);
  const held = Promise.withResolvers<void>();
  rig.before = () => held.promise;
  await rig.time.tickAsync(1000);
  const { length } = rig.questions;
  await rig.time.tickAsync(5000);
  assertEquals(rig.questions.length, length, "there is one at a time");
  rig.before = () => {};
  held.resolve();
  assertEquals(await client.names(), "server");
  rig.uptimeSeconds = 2;
  await rig.time.tickAsync(1000);
  assertEquals(await client.names(), "server");
});

Deno.test("EventFeed.close() ends what its clients hear", async () => {
  using rig = new Rig();
  const [waits, slow] = [rig.client(), rig.client()];
  await waits.text();
  rig.feed.close();
  await waits.text();
  await slow.text();
  assertEquals([waits.isOver, slow.isOver], [true, true]);
  assertEquals(await rig.client().names(), "server streams plugins log");
});
