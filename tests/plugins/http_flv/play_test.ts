/** `GET /{path}.flv`: what viewers get, how they are refused, and how they end. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { RefusedError } from "../../../src/errors.ts";
import { FlvDemuxer, type FlvTag } from "../../../src/formats/flv.ts";
import { roundFlush } from "../../../src/flush.ts";
import { audioBody, audioHeader, videoBody, videoHeader } from "../../support/frames.ts";
import { delay, eventually, FlvViewer, RawClient, startServer } from "../../support/http.ts";
import { largeFrame, publish, push } from "../../support/test_streams.ts";

const AUDIO = 8;
const VIDEO = 9;

/** A tag in short, such as `9@40`. */
function short({ type, timestampMs }: FlvTag): string {
  return `${type}@${timestampMs}`;
}

Deno.test("GET /{path}.flv plays exactly what was published", async () => {
  await using server = await startServer();
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  const response = await fetch(`${server.url}/live/a.flv`);
  assertEquals(response.headers.get("Content-Type"), "video/x-flv");
  assertEquals(response.headers.get("Cache-Control"), "no-store");
  assertEquals(response.headers.get("X-Accel-Buffering"), "no");
  await using viewer = new FlvViewer(response);
  const [metadata, video, audio] = await viewer.take(3);
  assertEquals(metadata?.type, 18);
  assertEquals(video, { type: VIDEO, timestampMs: 0, body: videoHeader() });
  assertEquals(audio, { type: AUDIO, timestampMs: 0, body: audioHeader() });
  for (let ms = 40; ms <= 400; ms += 40) push(publisher, ms);
  publisher.close();
  const expected = [];
  for (let ms = 0; ms <= 400; ms += 40) {
    expected.push({ type: VIDEO, timestampMs: ms, body: videoBody(ms === 0, ms / 40, 80) });
    expected.push({ type: AUDIO, timestampMs: ms, body: audioBody(ms / 40) });
  }
  assertEquals(await viewer.rest(), expected);
});

Deno.test("GET /{path}.flv starts at the newest keyframe, audio with it, when joined midway", async () => {
  await using server = await startServer();
  const publisher = await publish(server, "live/a");
  for (let ms = 0; ms < 2000; ms += 40) push(publisher, ms, ms % 800 === 0);
  await using viewer = await FlvViewer.open(`${server.url}/live/a.flv`);
  const tags = await viewer.take(5);
  assertEquals(tags.slice(3).map(short), ["9@1600", "8@1600"]);
  assertEquals(tags[3]?.body, videoBody(true, 40, 80));
});

Deno.test("GET /{path}.flv gives all viewers the same bytes", async () => {
  await using server = await startServer();
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  await using one = await FlvViewer.open(`${server.url}/live/a.flv`);
  await using two = await FlvViewer.open(`${server.url}/live/a.flv`);
  await Promise.all([one.take(5), two.take(5)]);
  for (let ms = 40; ms <= 400; ms += 40) {
    push(publisher, ms);
    await delay(1);
  }
  publisher.close();
  await Promise.all([one.rest(), two.rest()]);
  assertEquals(one.bytes, two.bytes);
});

Deno.test("GET /{path}.flv ends its body in good order when the stream ends", async () => {
  await using server = await startServer();
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  using client = await RawClient.request(server.port, "GET /live/a.flv");
  await eventually("the viewer is there", () => server.engine.subscribers.size === 1);
  publisher.close();
  const { complete, body } = await client.readAll();
  assertEquals([complete, new FlvDemuxer().push(body).length], [true, 5]);
});

Deno.test("GET /{path}.flv cuts its body when the viewer is kicked", async () => {
  await using server = await startServer();
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  using client = await RawClient.request(server.port, "GET /live/a.flv");
  await eventually("the viewer is there", () => server.engine.subscribers.size === 1);
  server.engine.subscribers.get(1)?.close({ code: "kicked", detail: "kicked by a test" });
  const { status, complete } = await client.readAll();
  assertEquals([status, complete], [200, false]);
});

Deno.test("GET /{path}.flv gathers frames when flush says so", async () => {
  await using server = await startServer();
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  await using gathered = await FlvViewer.open(`${server.url}/live/a.flv?flush=190`);
  await using prompt = await FlvViewer.open(`${server.url}/live/a.flv?flush=0`);
  await Promise.all([gathered.take(5), prompt.take(5)]);
  const start = performance.now();
  push(publisher, 40);
  await delay(30);
  push(publisher, 80);
  await prompt.take(4);
  const promptMs = performance.now() - start;
  assertEquals((await gathered.take(4)).map(short), ["9@40", "8@40", "9@80", "8@80"]);
  const gatheredMs = performance.now() - start;
  assert(promptMs < 150, `${promptMs} ms`);
  assert(gatheredMs > 180, `${gatheredMs} ms`);
});

Deno.test("the Flush option is what viewers get who do not ask, also when it changes", async () => {
  await using server = await startServer({ httpFlv: { Flush: 190 } });
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  let pushes = 1;
  const latency = async () => {
    await using viewer = await FlvViewer.open(`${server.url}/live/a.flv`);
    await viewer.take(3 + 2 * pushes);
    const start = performance.now();
    // The first of them goes out at once, the second one interval later.
    push(publisher, 40 * pushes++);
    await viewer.take(2);
    push(publisher, 40 * pushes++);
    await viewer.take(2);
    return performance.now() - start;
  };
  assert(await latency() > 180);
  await server.plugins.configure("http_flv", { Flush: 0 });
  assert(await latency() < 150);
});

Deno.test("roundFlush() rounds up to a few intervals", () => {
  const cases = [[0, 0], [1, 10], [10, 10], [11, 20], [41, 70], [101, 150], [999, 1000]];
  for (const [ms = 0, interval] of cases) assertEquals(roundFlush(ms), interval);
});

Deno.test("GET /{path}.flv leaves a kind of track out when asked to", async () => {
  await using server = await startServer();
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  await using video = await FlvViewer.open(`${server.url}/live/a.flv?audio=0`);
  await using audio = await FlvViewer.open(`${server.url}/live/a.flv?video=0&audio=1`);
  const start = { video: await video.take(3), audio: await audio.take(3) };
  push(publisher, 40);
  publisher.close();
  assertEquals([...start.video, ...await video.rest()].map(short), ["18@0", "9@0", "9@0", "9@40"]);
  assertEquals([...start.audio, ...await audio.rest()].map(short), ["18@0", "8@0", "8@0", "8@40"]);
  assertEquals([video.bytes[4], audio.bytes[4]], [1, 4]);
});

Deno.test("GET /{path}.flv is refused with a reason when it cannot be served", async (t) => {
  await using server = await startServer();
  const { url, engine } = server;
  await publish(server, "video", { audio: false });
  engine.addGuard("subscribe", ({ path, args }) => {
    if (path === "secret" && args.get("token") !== "1") throw new RefusedError("wrong token");
    if (path === "broken") throw new Error("database password is hunter2");
  });
  const cases: [string, number, RegExp][] = [
    ["nobody.flv", 404, /nobody: no publisher after 0.2 s/],
    ["secret.flv", 403, /wrong token/],
    ["secret.flv?token=2", 403, /wrong token/],
    ["secret.flv?token=1", 404, /no publisher/],
    ["broken.flv", 403, /^it could not be checked$/],
    ["video.flv?video=0", 404, /video has no audio/],
    ["video.flv?video=0&audio=0", 400, /neither/],
    ["video.flv?audio=no", 400, /audio=no: it must be 0 or 1/],
    ["video.flv?flush=-1", 400, /flush=-1/],
    ["video.flv?flush=1001", 400, /flush=1001/],
    ["video.flv?flush=1e2", 400, /flush=1e2/],
    ["video.flv?flush=", 400, /flush=/],
    ["a%00b.flv", 400, /control character/],
    ["a%3Ftoken=1.flv", 400, /has a \?/],
    ["a%2F..%2Fb.flv", 400, /\.\. segment/],
    [`${"a".repeat(300)}.flv`, 400, /over 240 long/],
  ];
  for (const [address, status, message] of cases) {
    await t.step(address.slice(0, 30), async () => {
      const response = await fetch(`${url}/${address}`);
      const { error } = await response.json();
      assertEquals(response.status, status, error);
      assertMatch(error, message);
    });
  }
  using raw = await RawClient.request(server.port, "GET /live/../video.flv");
  assertEquals((await raw.head()).status, 400);
  assertEquals(engine.subscribers.size, 0);
});

Deno.test("GET /{path}.flv serves who waits when the stream comes", async () => {
  await using server = await startServer({ engine: { OnDemandPublishTimeout: 5 } });
  server.engine.addEventListener("ondemand", async ({ detail }) => {
    push(await publish(server, detail.path), 0, true);
  });
  await using viewer = await FlvViewer.open(`${server.url}/live/a.flv`);
  assertEquals((await viewer.take(5)).map(short).at(-1), "8@0");
});

Deno.test("GET /{path}.flv answers 404 when the stream ends before its tracks are known", async () => {
  await using server = await startServer();
  const publisher = await server.engine.publish("live/a", { type: "Test" });
  const response = fetch(`${server.url}/live/a.flv`);
  await eventually("the viewer waits", () => server.engine.subscribers.size === 1);
  publisher.close();
  assertEquals((await (await response).json()).error.includes("has ended"), true);
  assertEquals((await response).status, 404);
});

Deno.test("GET /{path}.flv answers 503 when the engine is closed while it waits", async () => {
  await using server = await startServer({ engine: { OnDemandPublishTimeout: 5 } });
  const asked = new Promise((resolve) => server.engine.addEventListener("ondemand", resolve));
  const response = fetch(`${server.url}/live/a.flv`);
  await asked;
  await server.engine.close();
  assertEquals((await response).status, 503);
  await (await response).body?.cancel();
});

Deno.test("HEAD /{path}.flv answers with the headers and subscribes nobody", async () => {
  await using server = await startServer();
  await publish(server, "live/a");
  let subscribed = 0;
  server.engine.addEventListener("subscribe", () => subscribed++);
  const response = await fetch(`${server.url}/live/a.flv`, { method: "HEAD" });
  assertEquals([response.status, await response.text()], [200, ""]);
  assertEquals(response.headers.get("Content-Type"), "video/x-flv");
  assertEquals(response.headers.get("Content-Length"), null);
  const missing = await fetch(`${server.url}/live/b.flv`, { method: "HEAD" });
  assertEquals([missing.status, await missing.text()], [404, ""]);
  assertEquals(subscribed, 0);
});

Deno.test("GET /{path}.flv leaves WebSockets to others", async () => {
  await using server = await startServer();
  await publish(server, "live/a");
  const upgrade = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
  };
  using client = await RawClient.request(server.port, "GET /live/a.flv", upgrade);
  assertEquals((await client.head()).status, 404);
  assertEquals(server.engine.subscribers.size, 0);
});

Deno.test("a viewer ends promptly when its client has gone", async () => {
  await using server = await startServer();
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  const stream = server.engine.getStream("live/a");
  const client = await RawClient.request(server.port, "GET /live/a.flv");
  await client.head();
  assertEquals(stream?.subscribers.size, 1);
  const start = performance.now();
  // No frame comes: it is the socket that tells.
  client[Symbol.dispose]();
  await eventually("the subscriber ends", () => stream?.subscribers.size === 0);
  assert(performance.now() - start < 1000);
});

Deno.test("a wait for a stream ends when its client has gone", async () => {
  await using server = await startServer({ engine: { OnDemandPublishTimeout: 5 } });
  const { engine } = server;
  const asked = new Promise((resolve) => engine.addEventListener("ondemand", resolve));
  const client = await RawClient.request(server.port, "GET /live/a.flv");
  await asked;
  client[Symbol.dispose]();
  await delay(50);
  let subscribed = 0;
  engine.addEventListener("subscribe", () => subscribed++);
  await publish(server, "live/a");
  await delay(20);
  assertEquals(subscribed, 0);
});

Deno.test("viewers, publishers and waits end when http_flv is unloaded", async () => {
  await using server = await startServer({ engine: { OnDemandPublishTimeout: 5 } });
  const { engine, plugins, port } = server;
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  using viewer = await RawClient.request(port, "GET /live/a.flv");
  await viewer.head();
  const asked = new Promise((resolve) => engine.addEventListener("ondemand", resolve));
  using waiting = await RawClient.request(port, "GET /live/b.flv");
  await asked;
  using posting = await RawClient.request(port, "POST /live/c.flv", { "Content-Length": "1000" });
  await eventually("it publishes", () => engine.getStream("live/c") !== undefined);
  await plugins.unload("http_flv");
  assertEquals((await viewer.readAll()).complete, false);
  assertEquals((await waiting.head()).status, 503);
  assertEquals((await posting.head()).status, 503);
  assertEquals([engine.subscribers.size, [...engine.streams.keys()]], [0, ["live/a"]]);
  using after = await RawClient.request(port, "GET /live/a.flv");
  assertEquals((await after.head()).status, 404);
});

Deno.test("a viewer drops to a keyframe when it is further behind than MaxLag", async () => {
  await using server = await startServer({ httpFlv: { MaxLag: 0.5, Flush: 0 } });
  const publisher = await publish(server, "live/a", { audio: false });
  publisher.video.pushByteStream(0, largeFrame(0, 200));
  using client = await RawClient.request(server.port, "GET /live/a.flv");
  await eventually("the viewer is there", () => server.engine.subscribers.size === 1);
  const lagMs = () => server.engine.subscribers.get(1)?.stats().lagMs ?? 0;
  // A stream keeps 2 s, so nothing makes it drop but its limit.
  for (let ms = 40; lagMs() < 1000; ms += 40) {
    publisher.video.pushByteStream(ms, largeFrame(ms, 200));
    await delay(1);
  }
  assertEquals(publisher.stream.dropped, 0);
  const reading = client.readAll();
  await eventually("it has dropped", () => publisher.stream.dropped > 10);
  publisher.close();
  assertEquals((await reading).complete, true);
});

Deno.test("a viewer that stops reading costs nothing, harms nobody and resumes at a keyframe", async () => {
  await using server = await startServer({ httpFlv: { MaxLag: 1 } });
  const publisher = await publish(server, "live/a", { audio: false });
  publisher.video.pushByteStream(0, largeFrame(0, 1000));
  using stalled = await RawClient.request(server.port, "GET /live/a.flv");
  await eventually("the viewer is there", () => server.engine.subscribers.size === 1);
  await using other = await FlvViewer.open(`${server.url}/live/a.flv`);
  const others = await other.take(3);
  const bytesOf = () => server.engine.subscribers.get(1)?.stats().bytes ?? 0;
  let halfway = 0;
  for (let ms = 40; ms < 20_000; ms += 40) {
    publisher.video.pushByteStream(ms, largeFrame(ms, 1000));
    others.push(...await other.take(1));
    if (ms === 10_000) halfway = bytesOf();
  }
  // What its socket has taken is all that it ever got: the rest was never kept for it.
  assertEquals(bytesOf(), halfway);
  assert(halfway < 12_000_000, `${halfway} bytes`);
  assertEquals(others.length, 502);
  const reading = stalled.readAll();
  const stats = () => server.engine.subscribers.get(1)?.stats();
  await eventually("it has caught up", () => stats()?.lagMs === 0 && bytesOf() > halfway);
  const dropped = stats()?.dropped;
  assertEquals(publisher.stream.dropped, dropped);
  publisher.close();
  const { body, complete } = await reading;
  assertEquals(complete, true);
  const tags = new FlvDemuxer().push(body).slice(2);
  const times = tags.map(({ timestampMs }) => timestampMs);
  const resumed = times.findIndex((ms, index) => index > 0 && ms - (times[index - 1] ?? ms) > 40);
  assert(resumed > 0, "it has lost frames");
  assertEquals((times[resumed] ?? -1) % 1000, 0);
  assertEquals(times.at(-1), 19_960);
  assertEquals(dropped, 500 - times.length);
  for (let index = 1; index < times.length; index++) {
    const step = (times[index] ?? 0) - (times[index - 1] ?? 0);
    assert(step === 40 || (times[index] ?? 1) % 1000 === 0, `a step to ${times[index]}`);
  }
});
