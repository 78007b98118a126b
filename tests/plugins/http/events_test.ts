/** `GET /api/events`, as a client of the server sees it. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { ApiEvents } from "../../../plugins/http/service.ts";
import { Plugins } from "../../../src/plugin.ts";
import { LogHistory } from "../../../src/log.ts";
import { Engine } from "../../../src/engine.ts";
import http from "../../../plugins/http/mod.ts";
import { pushFrames, pushHeaders } from "../../support/engines.ts";
import { eventually, FlvViewer, startServer } from "../../support/http.ts";
import { listLogger } from "../../support/logs.ts";

/** A client that keeps the newest data of each event. */
class EventClient implements AsyncDisposable {
  readonly response: Response;
  readonly newest: { -readonly [K in keyof ApiEvents]?: ApiEvents[K] } = {};
  /** The names of all events so far. */
  readonly names: string[] = [];
  isOver = false;
  readonly #reader: ReadableStreamDefaultReader<string>;
  readonly #reading: Promise<void>;

  private constructor(response: Response) {
    this.response = response;
    assert(response.body);
    this.#reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    this.#reading = this.#read();
  }

  /** Asks a server for its events. */
  static async open(url: string): Promise<EventClient> {
    return new EventClient(await fetch(url));
  }

  /** Waits for events until they are as they should be. */
  async until(what: string, holds: (newest: EventClient["newest"]) => unknown): Promise<void> {
    await eventually(what, () => Boolean(holds(this.newest)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader.cancel().catch(() => {});
    await this.#reading;
  }

  async #read(): Promise<void> {
    let text = "";
    for (;;) {
      const { value, done } = await this.#reader.read().catch(() => ({ value: "", done: true }));
      if (done) break;
      text += value;
      const parts = text.split("\n\n");
      text = parts.pop() ?? "";
      for (const part of parts) {
        const [, name, data = ""] = /^event: (.*)\ndata: (.*)$/.exec(part) ?? [];
        if (name === undefined) continue;
        this.names.push(name);
        Object.assign(this.newest, { [name]: JSON.parse(data) });
      }
    }
    this.isOver = true;
  }
}

Deno.test("GET /api/events tells what there is, and what becomes of it", async () => {
  await using server = await startServer();
  await using client = await EventClient.open(`${server.url}/api/events`);
  const { status, headers } = client.response;
  assertEquals([status, headers.get("Content-Type")], [200, "text/event-stream"]);
  assertEquals(headers.get("Cache-Control"), "no-store");
  await client.until("the first events come", ({ log }) => log);
  assertEquals(client.names, ["server", "streams", "plugins", "log"]);
  assertEquals([client.newest.streams, client.newest.log], [[], []]);
  assertEquals(client.newest.plugins?.map(({ name }) => name), ["http", "http_flv", "spy"]);
  const publisher = await server.engine.publish("live/a", { type: "Test" });
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0");
  await using viewer = await FlvViewer.open(`${server.url}/live/a.flv`);
  await viewer.take(3);
  await client.until("the viewer is seen", ({ streams }) => streams?.[0]?.viewers === 1);
  assertEquals(client.newest.streams?.[0]?.tracks.map(({ frames }) => frames), [1, 1]);
  await client.until("it is counted", ({ server }) => server?.subscribers === 1);
  assert(!client.names.includes("stream"));
  publisher.close();
  await client.until("the stream has ended", ({ streams }) => streams?.length === 0);
});

Deno.test("GET /api/events?stream= tells of one stream, also before there is one", async () => {
  await using server = await startServer();
  await using client = await EventClient.open(`${server.url}/api/events?stream=/live/a%20b/`);
  await client.until("the first events come", ({ stream }) => stream);
  assertEquals(client.names[0], "history");
  assertEquals(client.newest.stream, { path: "live/a b", stream: null, subscribers: [] });
  const publisher = await server.engine.publish("live/a b", { type: "Test" });
  pushHeaders(publisher);
  await server.engine.publish("live/b", { type: "Test" });
  const subscriber = await server.engine.subscribe("live/a b", { type: "Test", id: "one" });
  await client.until("its subscriber is seen", ({ stream }) => stream?.subscribers.length === 1);
  assertEquals(client.newest.stream?.stream?.path, "live/a b");
  assertEquals(client.newest.stream?.subscribers[0]?.number, subscriber.number);
  await using other = await EventClient.open(`${server.url}/api/events?stream=live/a%20b`);
  await other.until("history comes", ({ history }) => history);
  assertEquals(other.newest.history?.map(({ kind, name }) => [kind, name]), [
    ["video", "video"],
    ["audio", "audio"],
  ]);
});

Deno.test("GET /api/events refuses what is no stream path, and answers HEAD", async () => {
  await using server = await startServer();
  for (const path of ["", "/", "a/../b", "a%00b", "a".repeat(300)]) {
    const response = await fetch(`${server.url}/api/events?stream=${path}`);
    assertEquals(response.status, 400, path);
    assertMatch((await response.json()).error, /is no stream path/);
  }
  const head = await fetch(`${server.url}/api/events`, { method: "HEAD" });
  assertEquals([head.status, head.headers.get("Content-Type")], [200, "text/event-stream"]);
  const post = await fetch(`${server.url}/api/events`, { method: "POST" });
  assertEquals([post.status, post.headers.get("Allow")], [405, "GET, HEAD"]);
  await post.body?.cancel();
});

Deno.test("GET /api/events refuses more clients than there may be, until some leave", async () => {
  await using server = await startServer();
  const clients: Response[] = [];
  // These are none.
  for (let head = 0; head < 3; head++) await fetch(`${server.url}/api/events`, { method: "HEAD" });
  try {
    for (let client = 0; client < 256; client++) {
      clients.push(await fetch(`${server.url}/api/events`));
    }
    assertEquals(new Set(clients.map(({ status }) => status)), new Set([200]));
    const refused = await fetch(`${server.url}/api/events`);
    assertEquals([refused.status, refused.headers.get("Retry-After")], [503, "10"]);
    await refused.body?.cancel();
  } finally {
    for (const { body } of clients) await body?.cancel();
  }
  let status = 0;
  for (let attempt = 0; attempt < 100 && status !== 200; attempt++) {
    const response = await fetch(`${server.url}/api/events`);
    ({ status } = response);
    await response.body?.cancel();
  }
  assertEquals(status, 200);
});

Deno.test("GET /api/events ends when those who may read change, and when http stops", async () => {
  await using server = await startServer();
  const same = { Host: "127.0.0.1", Port: 0 };
  await using first = await EventClient.open(`${server.url}/api/events`);
  await first.until("it is told things", ({ log }) => log);
  await server.plugins.configure("http", { ...same, WriteTimeout: 50 });
  const { length } = first.names;
  await eventually("it is told more", () => first.names.length > length);
  assert(!first.isOver);
  await server.plugins.configure("http", { ...same, WriteTimeout: 50, ApiToken: "battery-staple" });
  await eventually("it is over", () => first.isOver);
  assertEquals((await fetch(`${server.url}/api/server`)).status, 401);
  await server.plugins.configure("http", { ...same, PublicRead: true });
  await using second = await EventClient.open(`${server.url}/api/events`);
  await second.until("it is told things", ({ log }) => log);
  const before = performance.now();
  await server.plugins.unload("http");
  assert(performance.now() - before < 500, "it does not hold up the end");
  await eventually("it is over", () => second.isOver);
});

Deno.test("GET /api/events tells what a program keeps of its log", async () => {
  const log = listLogger([]);
  const logHistory = new LogHistory();
  const engine = new Engine({}, { log });
  await using plugins = new Plugins(engine, { log, logHistory });
  let url = "";
  const options = { Host: "127.0.0.1", Port: 0 };
  await plugins.load("http", {
    ...http,
    run: (context) => {
      const provide: typeof context.provide = (service, implementation) => {
        url = (implementation as { url: string }).url;
        context.provide(service, implementation);
      };
      return http.run({ ...context, provide });
    },
  }, options);
  const write = (message: string) =>
    logHistory.add({ atMs: 1, level: "warning", source: "rtmp", message, count: 1 });
  write("before");
  await using client = await EventClient.open(`${url}/api/events`);
  await client.until("the log comes", ({ log }) => log?.length === 1);
  write("after");
  await client.until("it goes on", ({ log }) => log?.[0]?.message === "after");
  const [line] = client.newest.log ?? [];
  assertEquals(line, {
    sequence: 2,
    at: "1970-01-01T00:00:00.001Z",
    level: "warning",
    source: "rtmp",
    message: "after",
    count: 1,
    isolate: 0,
  });
});
