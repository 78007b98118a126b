/** `POST` and `PUT /{path}.flv`: FLV in a request body as a stream. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { concat } from "../../../src/bytes.ts";
import { RefusedError } from "../../../src/errors.ts";
import { flvHeader, flvTag, TAG_AUDIO, TAG_VIDEO } from "../../../src/formats/flv.ts";
import { audioBody, audioHeader, videoBody, videoHeader } from "../../support/frames.ts";
import {
  eventually,
  FlvViewer,
  RawClient,
  startServer,
  type TestServer,
} from "../../support/http.ts";

const FILE = new URL("../../fixtures/flv/h264_aac.flv", import.meta.url);

/** A request whose body is written piece by piece. */
class Upload {
  readonly response: Promise<Response>;
  readonly #controller = new AbortController();
  #body: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined;

  constructor(url: string, method = "POST") {
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (controller) => void (this.#body = controller),
    });
    this.response = fetch(url, { method, body, signal: this.#controller.signal });
    this.response.catch(() => {});
  }

  /** Begins with a header and the configurations. */
  static begin(url: string, method?: string): Upload {
    const upload = new Upload(url, method);
    upload.write(
      flvHeader({ audio: true, video: true }),
      flvTag(TAG_VIDEO, 0, [videoHeader()]),
      flvTag(TAG_AUDIO, 0, [audioHeader()]),
    );
    return upload;
  }

  write(...parts: Uint8Array[]): void {
    this.#body?.enqueue(concat(parts));
  }

  /** Writes a frame of each kind. */
  push(ms: number, key = false): void {
    this.write(
      flvTag(TAG_VIDEO, ms, [videoBody(key, ms / 40)]),
      flvTag(TAG_AUDIO, ms, [audioBody(ms / 40)]),
    );
  }

  /** Ends the body and gives the answer. */
  async end(): Promise<[number, Record<string, unknown>]> {
    this.#body?.close();
    return await this.answer();
  }

  async answer(): Promise<[number, Record<string, unknown>]> {
    const response = await this.response;
    return [response.status, await response.json()];
  }

  /** Breaks the connection. */
  break(): void {
    this.#controller.abort();
  }
}

async function framesOf({ engine }: TestServer, path: string, count: number): Promise<void> {
  const frames = () => engine.getStream(path)?.videoTracks[0]?.stats().frames ?? 0;
  await eventually(`${path} has ${count} frames`, () => frames() >= count);
}

for (const method of ["POST", "PUT"]) {
  Deno.test(`${method} /{path}.flv publishes what GET plays, and its end ends the stream`, async () => {
    await using server = await startServer();
    const address = `${server.url}/live/a.flv`;
    const upload = Upload.begin(address, method);
    upload.push(0, true);
    await framesOf(server, "live/a", 1);
    const stream = server.engine.getStream("live/a");
    assertEquals(stream?.publisher?.type, "HTTP-FLV");
    assertMatch(stream?.publisher?.id ?? "", /^127\.0\.0\.1:\d+$/);
    await using viewer = await FlvViewer.open(address);
    await viewer.take(3);
    upload.push(40);
    upload.push(80);
    const tags = await viewer.take(6);
    assertEquals(tags.map(({ body }) => body), [
      videoBody(true, 0),
      audioBody(0),
      videoBody(false, 1),
      audioBody(1),
      videoBody(false, 2),
      audioBody(2),
    ]);
    assertEquals(await upload.end(), [200, { path: "live/a", tags: 8 }]);
    assertEquals(await viewer.rest(), []);
    assertEquals((await stream?.closed)?.code, "ended");
  });
}

Deno.test("POST /{path}.flv takes a file of FFmpeg", async () => {
  await using server = await startServer();
  const frames: number[] = [];
  server.engine.addEventListener("close", ({ detail }) => {
    frames.push(...detail.stream.tracks.map((track) => track.stats().frames));
  });
  const body = await Deno.readFile(FILE);
  const response = await fetch(`${server.url}/live/a.flv`, { method: "POST", body });
  assertEquals([response.status, await response.json()], [200, { path: "live/a", tags: 42 }]);
  assertEquals(frames.length, 3);
  assert(frames.every((count) => count > 0));
});

Deno.test("POST /{path}.flv gives its arguments to the guards and says why one refuses", async () => {
  await using server = await startServer();
  server.engine.addGuard("publish", ({ path, args, type }) => {
    assertEquals([path, type], ["live/a", "HTTP-FLV"]);
    if (args.get("key") !== "1") throw new RefusedError("wrong stream key");
  });
  const address = `${server.url}/live/a.flv`;
  const refused = Upload.begin(`${address}?key=2`);
  assertEquals(await refused.answer(), [403, { error: "wrong stream key" }]);
  const taken = Upload.begin(`${address}?key=1`);
  assertEquals((await taken.end())[0], 200);
});

Deno.test("POST /{path}.flv is refused, and the first one goes on, when the path is taken", async () => {
  await using server = await startServer();
  const address = `${server.url}/live/a.flv`;
  const first = Upload.begin(address);
  first.push(0, true);
  await framesOf(server, "live/a", 1);
  const [status, { error }] = await Upload.begin(address).answer();
  assertEquals(status, 409);
  assertMatch(String(error), /HTTP-FLV publisher 127\.0\.0\.1:\d+ has held it since 20/);
  first.push(40);
  await framesOf(server, "live/a", 2);
  assertEquals((await first.end())[0], 200);
});

Deno.test("POST /{path}.flv answers 400 when the body is no FLV", async (t) => {
  await using server = await startServer({ engine: { ReconnectTimeout: 0 } });
  const head = flvHeader({ audio: true, video: true });
  const zeros = new Uint8Array(40);
  const cases: [string, Uint8Array, RegExp][] = [
    ["garbage", new TextEncoder().encode("GET / HTTP/1.1 or so"), /signature/],
    ["nothing", new Uint8Array(), /no (body|FLV tag)/],
    ["a beginning", Uint8Array.of(0x46, 0x4c), /no FLV tag/],
    ["a tag of no type", concat([head, zeros]), /type is 0/],
    ["a codec of no kind", concat([head, flvTag(TAG_VIDEO, 0, [Uint8Array.of(0x1f)])]), /codec id/],
    [
      "a broken configuration",
      concat([
        head,
        flvTag(TAG_VIDEO, 0, [Uint8Array.of(0x17, 0, 0, 0, 0, 1)]),
      ]),
      /avcC|Cannot read/,
    ],
    [
      "a NAL length past the end",
      concat([
        head,
        flvTag(TAG_VIDEO, 0, [videoHeader()]),
        flvTag(TAG_VIDEO, 0, [Uint8Array.of(0x17, 1, 0, 0, 0, 0, 0, 9, 9, 1)]),
      ]),
      /Cannot/,
    ],
  ];
  for (const [what, bytes, message] of cases) {
    await t.step(what, async () => {
      const body = bytes.slice();
      const response = await fetch(`${server.url}/live/a.flv`, { method: "POST", body });
      const { error } = await response.json();
      assertEquals(response.status, 400);
      assertMatch(error, message);
      assertEquals(server.engine.streams.size, 0);
    });
  }
  assert(!server.logs.some((line) => line.startsWith("error")), server.logs.join("\n"));
  const bad = await fetch(`${server.url}/a%2F..%2Fb.flv`, { method: "POST", body: "x" });
  assertEquals(bad.status, 400);
  await bad.body?.cancel();
});

Deno.test("POST /{path}.flv continues its stream when its connection broke and it comes back", async () => {
  await using server = await startServer();
  const address = `${server.url}/live/a.flv`;
  const first = Upload.begin(address);
  first.push(0, true);
  await framesOf(server, "live/a", 1);
  await using viewer = await FlvViewer.open(address);
  await viewer.take(5);
  first.break();
  const stream = server.engine.getStream("live/a");
  await eventually("it is lost", () => stream?.state === "waiting");
  const second = Upload.begin(address);
  second.push(0, true);
  const [video, audio] = await viewer.take(2);
  assertEquals([video?.body, audio?.body], [videoBody(true, 0), audioBody(0)]);
  assert((video?.timestampMs ?? 0) > 0);
  await second.end();
  await viewer.rest();
});

Deno.test("POST /{path}.flv is lost when its connection closes between two chunks", async () => {
  await using server = await startServer();
  const chunked = { "Transfer-Encoding": "chunked" };
  const client = await RawClient.request(server.port, "POST /live/a.flv", chunked);
  await client.send("d\r\n");
  await client.send(flvHeader({ audio: true, video: true }));
  await client.send("\r\n");
  await eventually("it publishes", () => server.engine.streams.size === 1);
  client[Symbol.dispose]();
  const stream = server.engine.getStream("live/a");
  await eventually("it is lost", () => stream?.state === "waiting");
});

Deno.test("POST /{path}.flv ends in good order when its client leaves right after the last chunk", async () => {
  await using server = await startServer();
  const chunked = { "Transfer-Encoding": "chunked" };
  const client = await RawClient.request(server.port, "POST /live/a.flv", chunked);
  await client.send("d\r\n");
  await client.send(flvHeader({ audio: true, video: true }));
  await client.send("\r\n");
  await eventually("it publishes", () => server.engine.streams.size === 1);
  const stream = server.engine.getStream("live/a");
  await client.send("0\r\n\r\n");
  client[Symbol.dispose]();
  assertEquals((await stream?.closed)?.code, "ended");
});

Deno.test("POST /{path}.flv answers 408 when no frame comes for the publish timeout", async () => {
  await using server = await startServer({ engine: { PublishTimeout: 0.1 } });
  const [status, { error }] = await Upload.begin(`${server.url}/live/a.flv`).answer();
  assertEquals(status, 408);
  assertMatch(String(error), /no frame for 0\.1 s/);
});

Deno.test("POST /{path}.flv answers 403 when an operator ends the stream", async () => {
  await using server = await startServer();
  const upload = Upload.begin(`${server.url}/live/a.flv`);
  upload.push(0, true);
  await framesOf(server, "live/a", 1);
  const kick = await fetch(`${server.url}/api/streams/live/a`, { method: "DELETE" });
  assertEquals(kick.status, 204);
  const [status, { error }] = await upload.answer();
  assertEquals(status, 403);
  assertMatch(String(error), /kicked by an operator/);
});

Deno.test("a stream published by POST stays when its viewers leave, unless AutoCloseDelay says so", async () => {
  await using server = await startServer({ engine: { AutoCloseDelay: 0 } });
  const address = `${server.url}/live/a.flv`;
  const watchOnce = async () => {
    const viewer = await FlvViewer.open(address);
    await viewer.take(1);
    await viewer[Symbol.asyncDispose]();
    await eventually("it has left", () => server.engine.subscribers.size === 0);
  };
  const stays = Upload.begin(address);
  stays.push(0, true);
  await framesOf(server, "live/a", 1);
  await watchOnce();
  assertEquals(server.engine.getStream("live/a")?.state, "live");
  await stays.end();
  await server.plugins.configure("http_flv", { AutoCloseDelay: 0 });
  const ends = Upload.begin(address);
  ends.push(0, true);
  await framesOf(server, "live/a", 1);
  await watchOnce();
  assertEquals(server.engine.getStream("live/a"), undefined);
  assertEquals((await ends.answer())[0], 404);
});
