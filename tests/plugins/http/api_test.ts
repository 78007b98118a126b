/** The API: what it tells, how it ends things, and whom it answers. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  eventually,
  FlvViewer,
  RawClient,
  startServer,
  type TestServer,
} from "../../support/http.ts";
import { audioBody, audioHeader, videoBody, videoHeader } from "../../support/frames.ts";
import about from "../../../deno.json" with { type: "json" };

/** A publisher of `path` with two GOPs of 5 frames at 25 fps. */
async function publishTwoGops({ engine }: TestServer, path: string) {
  const publisher = await engine.publish(path, { type: "Test", id: "unit" });
  publisher.video.pushByteStream(0, videoHeader());
  publisher.audio.pushByteStream(0, audioHeader());
  for (let frame = 0; frame < 10; frame++) {
    publisher.video.pushByteStream(frame * 40, videoBody(frame % 5 === 0, frame));
    publisher.audio.pushByteStream(frame * 40, audioBody(frame));
  }
  return publisher;
}

async function json(url: string, init?: RequestInit) {
  const response = await fetch(url, init);
  const body = await response.text();
  return { status: response.status, headers: response.headers, body: body && JSON.parse(body) };
}

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

Deno.test("GET /api/streams tells tracks, publisher and subscribers of every stream", async () => {
  await using server = await startServer();
  assertEquals((await json(`${server.url}/api/streams`)).body, []);
  await publishTwoGops(server, "live/a");
  await server.engine.publish("b", { type: "Test" });
  await using viewer = await FlvViewer.open(`${server.url}/live/a.flv`);
  await viewer.take(13);
  const { status, headers, body } = await json(`${server.url}/api/streams`);
  assertEquals(status, 200);
  assertEquals(headers.get("Content-Type"), "application/json");
  assertEquals(headers.get("Cache-Control"), "no-store");
  const [a, b] = body;
  for (const date of [a.since, a.publisher.since, a.subscribers[0].since]) assertMatch(date, ISO);
  assertMatch(a.subscribers[0].id, /^127\.0\.0\.1:\d+$/);
  const { since: _1, id: _2, ...subscriber } = a.subscribers[0];
  const { bytes, ...counters } = subscriber;
  // The transfer coding counts, too: two chunks, each with its length in hex and two line ends.
  assertEquals(bytes, viewer.bytes.length + (3 + 4) + (2 + 4));
  assertEquals(counters, {
    number: 1,
    type: "HTTP-FLV",
    frames: 10,
    dropped: 0,
    lagMs: 0,
  });
  const { codec, bitrate: videoBitrate, ...video } = a.tracks[0];
  assertMatch(codec, /^avc1\.42c01e$/i);
  assert(videoBitrate > 0);
  assertEquals(video, {
    kind: "video",
    name: "video",
    fourcc: "avc1",
    width: 320,
    height: 240,
    fps: 25,
    gopFrames: 5,
    gopMs: 200,
    frames: 10,
    bytes: 120,
    discarded: 0,
  });
  const { bitrate, ...audio } = a.tracks[1];
  assert(bitrate > 0);
  assertEquals(audio, {
    kind: "audio",
    name: "audio",
    codec: "mp4a.40.2",
    fourcc: "mp4a",
    sampleRate: 48000,
    channels: 2,
    fps: 25,
    gopFrames: 1,
    gopMs: 40,
    frames: 10,
    bytes: 30,
    discarded: 0,
  });
  assertEquals([a.path, a.state, a.dropped], ["live/a", "live", 0]);
  assertEquals([a.publisher.type, a.publisher.id], ["Test", "unit"]);
  assertEquals([b.path, b.tracks, b.subscribers], ["b", [], []]);
});

Deno.test("GET /api/streams/{path} tells of one stream when its path has slashes", async () => {
  await using server = await startServer();
  const publisher = await publishTwoGops(server, "a/b c/d");
  const address = `${server.url}/api/streams/a/b%20c/d`;
  const { body } = await json(address);
  assertEquals([body.path, body.tracks.length], ["a/b c/d", 2]);
  publisher.lose("gone");
  const waiting = (await json(address)).body;
  assertEquals([waiting.state, waiting.publisher], ["waiting", null]);
  const missing = await json(`${server.url}/api/streams/a/b`);
  assertEquals([missing.status, missing.body], [404, { error: "There is no stream a/b" }]);
});

Deno.test("DELETE /api/streams/{path} ends the stream, its publisher and its viewers", async () => {
  await using server = await startServer();
  const publisher = await publishTwoGops(server, "live/a");
  await using viewer = await FlvViewer.open(`${server.url}/live/a.flv`);
  await viewer.take(1);
  const address = `${server.url}/api/streams/live/a`;
  assertEquals((await json(address, { method: "DELETE" })).status, 204);
  assertEquals(await publisher.closed, { code: "kicked", detail: "kicked by an operator" });
  await viewer.rest();
  assertEquals((await json(address, { method: "DELETE" })).status, 404);
});

Deno.test("DELETE /api/subscribers/{number} ends one viewer and no other", async () => {
  await using server = await startServer();
  const publisher = await publishTwoGops(server, "live/a");
  await using kicked = await FlvViewer.open(`${server.url}/live/a.flv`);
  await using stays = await FlvViewer.open(`${server.url}/live/a.flv`);
  await kicked.take(13);
  await stays.take(13);
  const address = `${server.url}/api/subscribers/1`;
  const { body } = await json(address);
  assertEquals([body.number, body.path, body.type], [1, "live/a", "HTTP-FLV"]);
  assertEquals((await json(address, { method: "DELETE" })).status, 204);
  const error = await kicked.rest().then(() => undefined, (error) => error);
  assert(error instanceof Error, "its body ends with an error");
  assertEquals([...server.engine.subscribers.keys()], [2]);
  assert(!server.logs.some((line) => line.startsWith("error")), server.logs.join("\n"));
  publisher.video.pushByteStream(400, videoBody(false, 10));
  assertEquals((await stays.take(1))[0]?.body, videoBody(false, 10));
  assertEquals((await json(address)).status, 404);
  assertEquals((await json(address, { method: "DELETE" })).status, 404);
  assertEquals((await json(`${server.url}/api/subscribers/nonsense`)).status, 404);
});

Deno.test("the API does not show or end what reads a stream for another isolate", async () => {
  await using server = await startServer();
  const { stream } = await publishTwoGops(server, "live/a");
  const reader = server.engine.feed(stream, { type: "Replica" });
  const address = `${server.url}/api/subscribers/${reader.number}`;
  assertEquals((await json(`${server.url}/api/streams/live/a`)).body.subscribers, []);
  assertEquals((await json(address)).status, 404);
  assertEquals((await json(address, { method: "DELETE" })).status, 404);
  assertEquals(reader.end, undefined);
  reader.close();
});

Deno.test("GET /api/plugins lists those that run and why others do not", async () => {
  await using server = await startServer();
  const { body } = await json(`${server.url}/api/plugins`);
  assertEquals(body, [
    { name: "http", running: true, urls: [server.url] },
    { name: "http_flv", running: true },
    { name: "spy", running: true },
  ]);
});

Deno.test("GET /api/server tells version, uptime and memory", async () => {
  await using server = await startServer();
  const { body } = await json(`${server.url}/api/server`);
  assertEquals([body.name, body.version], [about.name, about.version]);
  assertEquals([body.streams, body.subscribers, body.uptimeSeconds], [0, 0, 0]);
  assertMatch(body.since, ISO);
  assert(body.memoryBytes.rss > 1e6);
});

Deno.test("the API answers 405 and what is allowed when the method is wrong", async () => {
  await using server = await startServer();
  const cases = [
    ["/api/streams", "POST", "GET, HEAD"],
    ["/api/streams/live/a", "PUT", "GET, HEAD, DELETE"],
    ["/api/subscribers/1", "POST", "GET, HEAD, DELETE"],
    ["/api/plugins", "DELETE", "GET, HEAD"],
    ["/api/server", "PATCH", "GET, HEAD"],
    ["/live/a.flv", "DELETE", "GET, HEAD, POST, PUT"],
  ];
  for (const [path, method = "", allow] of cases) {
    const { status, headers, body } = await json(`${server.url}${path}`, { method });
    assertEquals([status, headers.get("Allow")], [405, allow], `${method} ${path}`);
    assertEquals(Object.keys(body), ["error"]);
  }
  assertEquals((await json(`${server.url}/api/nothing`)).status, 404);
});

Deno.test("the API answers HEAD with the headers of GET", async () => {
  await using server = await startServer();
  const response = await fetch(`${server.url}/api/streams`, { method: "HEAD" });
  assertEquals([response.status, await response.text()], [200, ""]);
  assertEquals(response.headers.get("Content-Type"), "application/json");
});

/** Status of a request to the API with these headers. */
async function ask(
  { port }: TestServer,
  line: string,
  headers: Record<string, string> = {},
): Promise<number> {
  using client = await RawClient.request(port, line, headers);
  return (await client.head()).status;
}

Deno.test("the API without ApiToken refuses what pages of other sites make a browser send", async () => {
  await using server = await startServer();
  await publishTwoGops(server, "a");
  const own = `http://127.0.0.1:${server.port}`;
  const cases: [string, Record<string, string>, number, number][] = [
    ["a page of another site", { "Origin": "https://evil.example" }, 403, 403],
    ["a sandboxed page", { "Origin": "null" }, 403, 403],
    ["an image of another site", { "Sec-Fetch-Site": "cross-site" }, 403, 403],
    ["a page of another port", { "Origin": "http://localhost:5173" }, 200, 403],
    ["a name rebound to this machine", { "Host": "evil.example" }, 403, 403],
    [
      "a rebound name as its own origin",
      {
        "Host": "evil.example",
        "Origin": "http://evil.example",
      },
      403,
      403,
    ],
    ["a proxy on this machine", { "X-Forwarded-For": "192.0.2.1" }, 403, 403],
    ["a page of its own", { "Origin": own, "Sec-Fetch-Site": "same-origin" }, 200, 404],
    ["localhost by name", { "Host": `localhost:${server.port}` }, 200, 404],
    ["no browser", {}, 200, 404],
  ];
  for (const [what, headers, get, del] of cases) {
    assertEquals(await ask(server, "GET /api/streams", headers), get, `GET by ${what}`);
    assertEquals(await ask(server, "DELETE /api/streams/b", headers), del, `DELETE by ${what}`);
  }
  assertEquals(server.engine.streams.size, 1);
});

Deno.test("the API without ApiToken lets pages of listed origins read and not write", async () => {
  const origin = "https://dashboard.example";
  await using server = await startServer({ http: { Cors: origin } });
  assertEquals(await ask(server, "GET /api/streams", { "Origin": origin }), 200);
  assertEquals(await ask(server, "DELETE /api/streams/b", { "Origin": origin }), 403);
});

Deno.test("the API with ApiToken answers whoever shows it, and nobody else", async () => {
  const ApiToken = "correct-horse";
  await using server = await startServer({ http: { ApiToken } });
  const right = { "Authorization": `Bearer ${ApiToken}` };
  const far = { ...right, "Host": "live.example", "Origin": "https://other.example" };
  assertEquals(await ask(server, "GET /api/streams"), 401);
  assertEquals(await ask(server, "DELETE /api/streams/b"), 401);
  assertEquals(await ask(server, "GET /api/streams", { "Authorization": "Bearer wrong" }), 401);
  assertEquals(await ask(server, "GET /api/streams", { "Authorization": ApiToken }), 401);
  assertEquals(await ask(server, "GET /api/streams", right), 200);
  assertEquals(await ask(server, "DELETE /api/streams/b", far), 404);
  const refused = await fetch(`${server.url}/api/streams`);
  assertEquals(refused.headers.get("WWW-Authenticate"), 'Bearer realm="m7s"');
  assertMatch((await refused.json()).error, /ApiToken/);
  const same = { Host: "127.0.0.1", Port: 0 };
  await server.plugins.configure("http", { ...same, ApiToken: "battery-staple" });
  assertEquals(await ask(server, "GET /api/streams", right), 401);
});

const outside = Deno.networkInterfaces().find(({ family, address }) =>
  family === "IPv4" && !address.startsWith("127.")
);

Deno.test({
  name: "the API without ApiToken refuses other machines",
  ignore: outside === undefined,
  async fn() {
    await using server = await startServer({ http: { Host: "0.0.0.0" } });
    await publishTwoGops(server, "a");
    assertMatch(server.url, /^http:\/\/127\.0\.0\.1:/);
    const url = `http://${outside?.address}:${server.port}`;
    const { status, body } = await json(`${url}/api/streams`);
    assertEquals(status, 403);
    assertMatch(body.error, /ApiToken/);
    assertEquals((await json(`${url}/api/streams/a`, { method: "DELETE" })).status, 403);
    await using viewer = await FlvViewer.open(`${url}/a.flv`);
    await viewer.take(1);
    await eventually("it is seen", () => server.engine.subscribers.size === 1);
  },
});
