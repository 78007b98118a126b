import { assertEquals, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { writeRequest } from "../../../plugins/rtsp/message.ts";
import { concat } from "../../../src/bytes.ts";
import { eventually, type PluginServer, RtspTestClient, startRtsp } from "../../support/rtsp.ts";

const text = (value: string) => new TextEncoder().encode(value);

/** A server with a stream live/a that is published and played, which must not notice anything. */
async function busyServer(): Promise<{
  readonly server: PluginServer;
  readonly check: () => Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}> {
  const server = await startRtsp();
  const url = `${server.url}/live/a`;
  const publisher = await RtspTestClient.publish(url);
  await publisher.pushFrames("Kav");
  await eventually(
    "frames",
    () => server.engine.getStream("live/a")?.videoTracks[0]?.stats().frames === 2,
  );
  const player = await RtspTestClient.play(url);
  await player.take(2);
  return {
    server,
    check: async () => {
      const before = player.pictures.length;
      await publisher.pushFrames("vavv");
      await player.take(before + 3);
      assertEquals(player.isClosed, false);
    },
    [Symbol.asyncDispose]: async () => {
      await publisher[Symbol.asyncDispose]();
      await player[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

for (
  const [what, bytes, reason] of [
    ["binary garbage", Uint8Array.of(1, 2, 3, 0xff), "starts with byte 1"],
    ["the handshake of TLS", Uint8Array.of(0x16, 3, 1, 0), "as TLS does"],
    ["HTTP", text("GET / HTTP/1.1\r\n\r\n"), "speaks HTTP"],
    ["a line without end", text("A".repeat(9000)), "a line is over 8192"],
    [
      "a head without end",
      text("OPTIONS * RTSP/1.0\r\n" + "A: b\r\n".repeat(100)),
      "over 64 lines",
    ],
    [
      "an absurd body",
      text("ANNOUNCE rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 99999999\r\n\r\n"),
      "its length is 99999999",
    ],
    [
      "a negative body",
      text("ANNOUNCE rtsp://h/a RTSP/1.0\r\nCSeq: 1\r\nContent-Length: -1\r\n\r\n"),
      "no length",
    ],
  ] as const
) {
  Deno.test(`RtspSession answers ${what} with 400 and closes`, async () => {
    await using busy = await busyServer();
    await using client = await RtspTestClient.open(`${busy.server.url}/live/b`);
    await client.raw(bytes);
    await client.closed;
    assertEquals(client.responses.map(({ status }) => status), [400]);
    await eventually("a reason", () => busy.server.reasons.length > 0);
    assertStringIncludes(busy.server.reasons[0] ?? "", reason);
    await busy.check();
  });
}

Deno.test("RtspSession ends a publisher who sends garbage between its packets", async () => {
  await using busy = await busyServer();
  await using client = await RtspTestClient.publish(`${busy.server.url}/live/b`);
  await client.pushFrames("Kv");
  await eventually(
    "frames",
    () => busy.server.engine.getStream("live/b")?.videoTracks[0]?.stats().frames === 2,
  );
  await client.raw(Uint8Array.of(0, 0, 0, 0));
  await client.closed;
  assertEquals(busy.server.engine.getStream("live/b")?.state, "waiting");
  await busy.check();
});

Deno.test("RtspSession drops packets on channels of no track, and malformed ones", async () => {
  await using busy = await busyServer();
  const { server } = busy;
  await using client = await RtspTestClient.publish(`${server.url}/live/b`);
  await client.send(77, Uint8Array.of(1, 2, 3));
  await client.send(200, new Uint8Array(65_535));
  for (const channel of [0, 1, 2, 3]) {
    await client.send(channel, new Uint8Array(0));
    await client.send(channel, Uint8Array.of(0x80));
    await client.send(channel, new Uint8Array(1000).fill(0xff));
  }
  await client.pushFrames("Kv");
  const stream = server.engine.getStream("live/b");
  await eventually("frames", () => stream?.videoTracks[0]?.stats().frames === 2);
  await client.ok("TEARDOWN");
  const [line] = server.logs.filter((entry) => entry.includes("dropped 2 packets"));
  assertStringIncludes(line ?? "", "of no track or from elsewhere");
  await busy.check();
});

Deno.test("RtspSession drops packets before RECORD and of a player", async () => {
  await using busy = await busyServer();
  await using client = await RtspTestClient.open(`${busy.server.url}/live/b`);
  await client.send(0, Uint8Array.of(0x80, 96));
  await client.announce();
  await client.setUp(0);
  await client.pushFrames("K");
  await client.ok("RECORD");
  assertEquals(busy.server.engine.getStream("live/b")?.videoTracks[0]?.stats().frames ?? 0, 0);
  await using player = await RtspTestClient.play(`${busy.server.url}/live/a`);
  await player.pushFrames("KavKav");
  await player.ok("OPTIONS");
  await busy.check();
});

Deno.test("RtspSession holds up one who asks and does not read", async () => {
  await using busy = await busyServer();
  const client = await RtspTestClient.open(`${busy.server.url}/live/b`);
  client.hold(true);
  const request = writeRequest({ method: "OPTIONS", url: "*", cseq: 1 });
  const many = concat(Array.from({ length: 1000 }, () => request));
  let sent = 0;
  const sending = (async () => {
    for (; sent < 2000; sent++) await client.raw(many);
  })().catch(() => {});
  let before = -1;
  // It stands still once all buffers on the way are full.
  while (before !== sent) {
    before = sent;
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
  assertEquals(sent < 2000, true);
  await busy.check();
  client.close();
  await sending;
  await client.closed;
});

const METHODS = ["OPTIONS", "DESCRIBE", "ANNOUNCE", "SETUP", "PLAY", "RECORD", "PAUSE", "TEARDOWN"];

Deno.test("RtspSession survives requests in any order with any fields", async () => {
  await using busy = await busyServer();
  const { server } = busy;
  const value = fc.oneof(
    fc.constantFrom("1", "application/sdp", "RTP/AVP/TCP;interleaved=0-1", "npt=now-", "Basic x"),
    fc.string({ maxLength: 20, unit: fc.constantFrom(...'abc;=,-"/ 019%?') }),
  );
  const request = fc.record({
    method: fc.constantFrom(...METHODS),
    path: fc.constantFrom("/live/a", "/live/a/trackID=0", "/live/c", "/live/c/trackID=1", "/", "*"),
    headers: fc.dictionary(
      fc.constantFrom("Session", "Transport", "Range", "Content-Type", "Accept", "Authorization"),
      value,
    ),
    body: fc.constantFrom(
      "",
      "v=0\r\nm=video 0 RTP/AVP 26 0\r\n",
      "v=0\r\nm=audio 0 RTP/AVP 0\r\n",
    ),
    own: fc.boolean(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(request, { maxLength: 8 }), async (requests) => {
      await using client = await RtspTestClient.open(server.url);
      for (const { method, path, headers, body, own } of requests) {
        const { Session: _, ...rest } = headers;
        const { status } = await client.request(method, {
          url: path === "*" ? path : server.url + path,
          headers: own ? rest : headers,
          body,
        });
        assertEquals(status >= 200 && status < 600 && status !== 500, true);
      }
    }),
    { numRuns: 60, seed: 7 },
  );
  await busy.check();
  assertEquals(server.logs.filter((line) => line.startsWith("error")), []);
});
