/** Streams over WebSockets: what viewers get as FLV and as MP4, how they are refused and end. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { concat } from "../../../src/bytes.ts";
import { RefusedError } from "../../../src/errors.ts";
import { FlvDemuxer } from "../../../src/formats/flv.ts";
import ws from "../../../plugins/ws/mod.ts";
import { h264, videoHeader } from "../../support/frames.ts";
import {
  eventually,
  FlvViewer,
  RawClient,
  type ServerOptions,
  startServer,
  type TestServer,
} from "../../support/http.ts";
import { boxesOf, outline, readFragments } from "../../support/mp4.ts";
import { largeFrame, publish, push } from "../../support/test_streams.ts";
import { clientFrame, HANDSHAKE, RawWebSocket } from "../../support/websocket.ts";

const [TEXT, BINARY, CLOSE] = [1, 2, 8];

async function start(
  options: Readonly<Record<string, unknown>> = {},
  others: ServerOptions = {},
): Promise<TestServer> {
  const server = await startServer(others);
  await server.plugins.load("ws", ws, options);
  return server;
}

/** All messages up to the close frame, and its code and reason. */
async function readAll(viewer: RawWebSocket) {
  const messages: { opcode: number; payload: Uint8Array }[] = [];
  for (let frame = await viewer.next(); frame; frame = await viewer.next()) {
    if (frame.opcode !== CLOSE) {
      messages.push(frame);
      continue;
    }
    const [high = 0, low = 0] = frame.payload;
    const reason = new TextDecoder().decode(frame.payload.subarray(2));
    // The client's part of the closing handshake.
    await viewer.send(clientFrame(CLOSE, frame.payload.subarray(0, 2)));
    return { messages, code: high << 8 | low, reason, ended: await viewer.next() === undefined };
  }
  throw new Error("The connection ended without a close frame");
}

function bytesOf(messages: readonly { payload: Uint8Array }[]): Uint8Array {
  return concat(messages.map(({ payload }) => payload));
}

function subscribers({ engine }: TestServer): number {
  return engine.subscribers.size;
}

Deno.test("GET /{path}.flv as a WebSocket gives what HTTP-FLV gives, in binary messages", async () => {
  await using server = await start();
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  using viewer = await RawWebSocket.open(server.port, "/live/a.flv?flush=0");
  await using other = await FlvViewer.open(`${server.url}/live/a.flv`);
  await other.take(5);
  await eventually("both are there", () => subscribers(server) === 2);
  assertEquals(server.engine.subscribers.get(1)?.type, "WS-FLV");
  for (let ms = 40; ms <= 400; ms += 40) push(publisher, ms);
  publisher.close();
  await other.rest();
  const { messages, code, reason, ended } = await readAll(viewer);
  assertEquals([code, reason, ended], [1000, "The stream has ended", true]);
  assert(messages.every(({ opcode }) => opcode === BINARY));
  assertEquals(bytesOf(messages), other.bytes);
  // Each message is of whole tags.
  const demuxer = new FlvDemuxer();
  for (const { payload } of messages) assert(demuxer.push(payload).length > 0);
});

Deno.test("frames that go out together are one message", async () => {
  await using server = await start();
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  using viewer = await RawWebSocket.open(server.port, "/live/a.flv?flush=150");
  const demuxer = new FlvDemuxer();
  // The header, then what there is.
  for (const tags of [3, 2]) {
    const { payload = new Uint8Array() } = await viewer.next() ?? {};
    assertEquals(demuxer.push(payload).length, tags);
  }
  // The first of them goes out at once, the others one interval later.
  for (let ms = 40; ms <= 200; ms += 40) push(publisher, ms);
  publisher.close();
  const { messages } = await readAll(viewer);
  assert(messages.length <= 2, `${messages.length} messages`);
});

Deno.test("viewers of one stream get the same messages", async () => {
  await using server = await start();
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  const viewers = await Promise.all(
    ["flv", "flv", "mp4", "mp4"].map((extension) =>
      RawWebSocket.open(server.port, `/live/a.${extension}?flush=0`)
    ),
  );
  await eventually("all are there", () => subscribers(server) === 4);
  for (let ms = 40; ms <= 400; ms += 40) push(publisher, ms);
  publisher.close();
  const [a, b, c, d] = await Promise.all(viewers.map(readAll));
  assertEquals(a, b);
  assertEquals(c, d);
  for (const viewer of viewers) viewer[Symbol.dispose]();
});

Deno.test("GET /{path}.mp4 as a WebSocket gives the type, then fragmented MP4", async () => {
  await using server = await start();
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  push(publisher, 40);
  using viewer = await RawWebSocket.open(server.port, "/live/a.mp4?flush=0");
  const type = await viewer.next();
  assertEquals([type?.opcode, JSON.parse(new TextDecoder().decode(type?.payload))], [TEXT, {
    type: 'video/mp4; codecs="avc1.42c01e,mp4a.40.2"',
  }]);
  for (let ms = 80; ms <= 400; ms += 40) push(publisher, ms);
  publisher.close();
  const { messages, code } = await readAll(viewer);
  assertEquals(code, 1000);
  assert(messages.every(({ opcode }) => opcode === BINARY));
  const [init, first] = messages;
  assertMatch(outline(boxesOf(init?.payload ?? new Uint8Array())), /^ftyp moov\(.*\)$/);
  assertMatch(outline(boxesOf(first?.payload ?? new Uint8Array())), /^moof\(.*\) mdat/);
  const all = bytesOf(messages);
  const [ftyp, moov] = boxesOf(all);
  const fragments = readFragments(all.subarray((ftyp?.size ?? 0) + (moov?.size ?? 0)));
  const kinds = fragments.flatMap(({ tracks }) => tracks.map(({ id }) => id));
  assertEquals(kinds.filter((id) => id === 1).length, 11);
  assertEquals(kinds.filter((id) => id === 2).length, 11);
  // Each message is of whole fragments.
  for (const { payload } of messages) boxesOf(payload);
});

Deno.test("a change of the configuration is told before the media that it is for", async () => {
  await using server = await start();
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  push(publisher, 40);
  using viewer = await RawWebSocket.open(server.port, "/live/a.mp4?audio=0&flush=150");
  assertEquals((await viewer.next())?.opcode, TEXT);
  assertEquals((await viewer.next())?.opcode, BINARY);
  publisher.video.pushByteStream(80, videoHeader(h264(640, 480)));
  push(publisher, 80, true);
  push(publisher, 120);
  publisher.close();
  const { messages } = await readAll(viewer);
  const changed = messages.findIndex(({ opcode }) => opcode === TEXT);
  assertEquals(messages.filter(({ opcode }) => opcode === TEXT).length, 1);
  const [init, first] = messages.slice(changed + 1);
  assertMatch(outline(boxesOf(init?.payload ?? new Uint8Array())), /^ftyp moov\(.*\)$/);
  assertMatch(outline(boxesOf(first?.payload ?? new Uint8Array())), /^moof\(.*\) mdat/);
});

Deno.test("a WebSocket starts at the newest keyframe and leaves out what is not wanted", async () => {
  await using server = await start();
  const publisher = await publish(server, "live/a");
  for (let ms = 0; ms < 2000; ms += 40) push(publisher, ms, ms % 800 === 0);
  using viewer = await RawWebSocket.open(server.port, "/live/a.flv?audio=0");
  publisher.close();
  const tags = new FlvDemuxer().push(bytesOf((await readAll(viewer)).messages));
  const short = tags.map(({ type, timestampMs }) => `${type}@${timestampMs}`);
  assertEquals(short.slice(0, 3), ["18@0", "9@0", "9@1600"]);
  assert(tags.every(({ type }) => type !== 8));
});

Deno.test("a WebSocket that cannot be served is refused before it is open", async (t) => {
  await using server = await start();
  const { engine, port } = server;
  await publish(server, "video", { audio: false });
  engine.addGuard("subscribe", ({ path, args }) => {
    if (path === "secret" && args.get("token") !== "1") throw new RefusedError("wrong token");
  });
  const cases: [string, number, RegExp][] = [
    ["nobody.flv", 404, /nobody: no publisher/],
    ["nobody.mp4", 404, /nobody: no publisher/],
    ["secret.flv?token=2", 403, /wrong token/],
    ["secret.mp4?token=1", 404, /no publisher/],
    ["video.mp4?video=0", 404, /video has no audio/],
    ["video.flv?video=0&audio=0", 400, /neither/],
    ["video.mp4?flush=-1", 400, /flush=-1/],
    ["video.ts", 404, /Nothing answers/],
  ];
  for (const [address, status, message] of cases) {
    await t.step(address, async () => {
      using client = await RawClient.request(port, `GET /${address}`, HANDSHAKE);
      const answer = await client.head();
      assertEquals(answer.status, status);
      assertMatch(JSON.parse(new TextDecoder().decode(answer.body)).error, message);
    });
  }
  assertEquals(engine.subscribers.size, 0);
});

Deno.test("a WebSocket opens before its stream is there, as a browser opens no other meanwhile", async () => {
  await using server = await start({}, { engine: { OnDemandPublishTimeout: 30 } });
  using viewer = await RawWebSocket.open(server.port, "/live/a.flv");
  assertEquals(subscribers(server), 0);
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  await eventually("the viewer plays", () => subscribers(server) === 1);
  publisher.close();
  const { messages, code } = await readAll(viewer);
  assertEquals([messages.length > 1, code], [true, 1000]);
});

Deno.test("an open WebSocket is closed with the status of a refusal that comes late", async () => {
  await using server = await start({}, { engine: { OnDemandPublishTimeout: 0.4 } });
  using viewer = await RawWebSocket.open(server.port, "/live/a.mp4");
  const { messages, code, reason } = await readAll(viewer);
  assertEquals([messages, code], [[], 4404]);
  assertMatch(reason, /live\/a: no publisher/);
});

Deno.test("the addresses of WebSockets are other plugins' without one", async () => {
  await using server = await start();
  push(await publish(server, "live/a"), 0, true);
  const response = await fetch(`${server.url}/live/a.mp4`);
  assertEquals(response.status, 404);
  await response.body?.cancel();
  await using viewer = await FlvViewer.open(`${server.url}/live/a.flv`);
  await viewer.take(3);
});

Deno.test("a WebSocket is closed with 1008 when its viewer is kicked", async () => {
  await using server = await start();
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  using viewer = await RawWebSocket.open(server.port, "/live/a.flv");
  const end = { code: "kicked", detail: "kicked by a test" } as const;
  for (const subscriber of server.engine.subscribers.values()) subscriber.close(end);
  const { code, reason } = await readAll(viewer);
  assertEquals([code, reason], [1008, "kicked by a test"]);
});

Deno.test("WebSockets are closed with 1001 when ws is unloaded, and nothing is left", async () => {
  await using server = await start();
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  using viewer = await RawWebSocket.open(server.port, "/live/a.flv");
  await server.plugins.unload("ws");
  assertEquals((await readAll(viewer)).code, 1001);
  assertEquals(subscribers(server), 0);
  using after = await RawClient.request(server.port, "GET /live/a.flv", HANDSHAKE);
  assertEquals((await after.head()).status, 404);
});

Deno.test("a viewer ends when its client closes, breaks the protocol or is gone", async () => {
  await using server = await start();
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  const leaves: ((viewer: RawWebSocket) => unknown)[] = [
    (viewer) => viewer.send(clientFrame(CLOSE)),
    (viewer) => viewer.send(clientFrame(3)),
    (viewer) => viewer.send(clientFrame(TEXT, "a".repeat(5000))),
    (viewer) => viewer[Symbol.dispose](),
  ];
  for (const leave of leaves) {
    using viewer = await RawWebSocket.open(server.port, "/live/a.flv");
    assertEquals(subscribers(server), 1);
    // What viewers say is passed over.
    await viewer.send(clientFrame(TEXT, "hello"));
    await viewer.next();
    await leave(viewer);
    const start = performance.now();
    await eventually("its subscriber ends", () => subscribers(server) === 0);
    // Not only when the socket is closed, for which a client has a second and more.
    assert(performance.now() - start < 500);
  }
});

Deno.test("options that change are those of the viewers to come", async () => {
  await using server = await start({ Flush: 1000 });
  const publisher = await publish(server, "live/a");
  push(publisher, 0, true);
  const latencyMs = async () => {
    using viewer = await RawWebSocket.open(server.port, "/live/a.flv");
    await viewer.next();
    await viewer.next();
    const start = performance.now();
    // The first of them goes out at once, the second one interval later.
    push(publisher, 40);
    await viewer.next();
    push(publisher, 80);
    await viewer.next();
    return performance.now() - start;
  };
  assert(await latencyMs() > 900);
  await server.plugins.configure("ws", { Flush: 0, MaxLag: 5 });
  assert(await latencyMs() < 500);
});

for (const extension of ["flv", "mp4"]) {
  Deno.test(`a viewer of .${extension} that stops reading costs nothing and resumes at a keyframe`, async () => {
    await using server = await start({ MaxLag: 1, Flush: 0 });
    const publisher = await publish(server, "live/a", { audio: false });
    publisher.video.pushByteStream(0, largeFrame(0, 1000));
    using stalled = await RawWebSocket.open(server.port, `/live/a.${extension}`);
    await using other = await FlvViewer.open(`${server.url}/live/a.flv?flush=0`);
    await other.take(3);
    const subscriber = server.engine.subscribers.get(1);
    const bytes = () => subscriber?.stats().bytes ?? 0;
    let halfway = 0;
    for (let ms = 40; ms < 20_000; ms += 40) {
      publisher.video.pushByteStream(ms, largeFrame(ms, 1000));
      await other.take(1);
      if (ms === 10_000) halfway = bytes();
    }
    // What its socket has taken is all that it ever got: the rest was never kept for it.
    assertEquals(bytes(), halfway);
    assert(halfway < 12_000_000, `${halfway} bytes`);
    const reading = readAll(stalled);
    await eventually("it has caught up", () => subscriber?.stats().lagMs === 0);
    publisher.close();
    const { messages, code } = await reading;
    assertEquals(code, 1000);
    const media = bytesOf(messages.filter(({ opcode }) => opcode === BINARY));
    const times = extension === "flv"
      ? new FlvDemuxer().push(media).slice(2).map(({ timestampMs }) => timestampMs)
      : fragmentTimes(media);
    const jumps = times.filter((ms, at) => at > 0 && ms - (times[at - 1] ?? 0) !== 40);
    assert(jumps.length > 0, "it has lost frames");
    assertEquals(jumps.filter((ms) => ms % 1000 !== 0), []);
    assertEquals(times.at(-1), 19_960);
  });
}

/** Decode times in ms of the fragments in `bytes`, which begin with `ftyp` and `moov`. */
function fragmentTimes(bytes: Uint8Array): number[] {
  const [ftyp, moov] = boxesOf(bytes);
  const fragments = readFragments(bytes.subarray((ftyp?.size ?? 0) + (moov?.size ?? 0)));
  return fragments.flatMap(({ tracks }) => tracks.map((track) => track.baseDecodeTime / 90));
}
