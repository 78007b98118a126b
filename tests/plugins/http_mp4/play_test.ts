/** `GET /{path}.mp4`: what is its own of fragmented MP4 over HTTP. */

import { assertEquals, assertMatch } from "@std/assert";
import httpMp4 from "../../../plugins/http_mp4/mod.ts";
import { frameBody } from "../../support/frames.ts";
import { eventually, RawClient, startServer, type TestServer } from "../../support/http.ts";
import { boxesOf, outline, readFragments } from "../../support/mp4.ts";
import { publish, push } from "../../support/test_streams.ts";
import { HANDSHAKE } from "../../support/websocket.ts";

async function start(): Promise<TestServer> {
  const server = await startServer();
  await server.plugins.load("http_mp4", httpMp4);
  return server;
}

Deno.test("GET /{path}.mp4 plays fragments and names their codecs", async () => {
  await using server = await start();
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  using client = await RawClient.request(server.port, "GET /live/a.mp4");
  await eventually("the viewer is there", () => server.engine.subscribers.size === 1);
  assertEquals(server.engine.subscribers.get(1)?.type, "HTTP-MP4");
  for (let ms = 40; ms <= 400; ms += 40) push(publisher, ms);
  publisher.close();
  const { status, headers, body, complete } = await client.readAll();
  assertEquals([status, complete], [200, true]);
  assertEquals(headers.get("Content-Type"), 'video/mp4; codecs="avc1.42c01e,mp4a.40.2"');
  assertEquals(headers.get("Cache-Control"), "no-store");
  const [ftyp, moov] = boxesOf(body);
  assertMatch(outline(boxesOf(body)), /^ftyp moov\(.*\) moof\(/);
  const fragments = readFragments(body.subarray((ftyp?.size ?? 0) + (moov?.size ?? 0)));
  assertEquals(fragments.length, 22);
});

Deno.test("GET /{path}.mp4 has the type of the tracks that are wanted", async () => {
  await using server = await start();
  push(await publish(server, "live/a"), 0, true);
  for (
    const [args, type] of [
      ["audio=0", 'video/mp4; codecs="avc1.42c01e"'],
      ["video=0", 'audio/mp4; codecs="mp4a.40.2"'],
    ]
  ) {
    const { headers, body } = await fetch(`${server.url}/live/a.mp4?${args}`);
    assertEquals(headers.get("Content-Type"), type);
    await body?.cancel();
  }
});

Deno.test("GET /{path}.mp4 is refused when MP4 can carry nothing of the stream", async () => {
  await using server = await start();
  const publisher = await server.engine.publish("live/a", { type: "Test" });
  publisher.video.pushByteStream(0, frameBody("vp08", Uint8Array.of(1, 2, 3), { key: true }));
  publisher.completeTracks();
  const response = await fetch(`${server.url}/live/a.mp4`);
  assertEquals([response.status, await response.json()], [404, {
    error: "live/a has no track that .mp4 can carry",
  }]);
  assertEquals(server.engine.subscribers.size, 0);
});

Deno.test("HEAD /{path}.mp4 answers with the headers, other methods are not for it", async () => {
  await using server = await start();
  await publish(server, "live/a");
  const head = await fetch(`${server.url}/live/a.mp4`, { method: "HEAD" });
  assertEquals([head.status, head.headers.get("Content-Type")], [200, "video/mp4"]);
  const post = await fetch(`${server.url}/live/a.mp4`, { method: "POST", body: "x" });
  assertEquals([post.status, post.headers.get("Allow")], [405, "GET, HEAD"]);
  await post.body?.cancel();
  using socket = await RawClient.request(server.port, "GET /live/a.mp4", HANDSHAKE);
  assertEquals((await socket.head()).status, 404);
});
