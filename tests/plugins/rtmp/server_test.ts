import { assert, assertEquals, assertLess, assertRejects, assertStringIncludes } from "@std/assert";
import { delay } from "@std/async/delay";
import { ConfigError } from "../../../src/config.ts";
import { PluginError } from "../../../src/plugin.ts";
import { joinLengthPrefixed } from "../../../src/codecs/nal.ts";
import { frameBody, slice } from "../../support/frames.ts";
import { eventually, kindOf, RtmpClient, startRtmp } from "../../support/rtmp.ts";

const folder = new URL("../../fixtures/rtmp/", import.meta.url).pathname;
const Cert = `${folder}cert.pem`;
const Key = `${folder}key.pem`;

/** The body of a video message that fills the buffers of a socket. */
function largeKeyframe(): Uint8Array {
  return frameBody("avc1", joinLengthPrefixed([slice(true, 0, 4_000_000)]), { key: true });
}

Deno.test("rtmp serves RTMPS beside RTMP", async () => {
  await using server = await startRtmp({ Cert, Key, TLSPort: 0 });
  const [plain = "", secure = ""] = server.urls;
  assert(plain.startsWith("rtmp://127.0.0.1:") && secure.startsWith("rtmps://127.0.0.1:"));
  const caCerts = [await Deno.readTextFile(Cert)];
  await using publisher = await RtmpClient.publish(secure, "a", { caCerts });
  await using player = await RtmpClient.play(plain, "a");
  await using other = await RtmpClient.play(secure, "a", { caCerts });
  await publisher.pushHeaders();
  await publisher.pushFrames("Kav");
  assertEquals((await player.take(5)).map(kindOf).join(""), "VAKav");
  assertEquals((await other.take(5)).map(kindOf).join(""), "VAKav");
  await publisher.command("deleteStream", [1]);
  await other.status("NetStream.Play.UnpublishNotify");
  await other.closed;
});

Deno.test("rtmp cuts off a viewer over RTMPS that does not read", async () => {
  await using server = await startRtmp({ Cert, Key, TLSPort: 0, WriteTimeout: 0.2 });
  const caCerts = [await Deno.readTextFile(Cert)];
  await using publisher = await RtmpClient.publish(server.url, "a");
  await publisher.setChunkSize(1 << 20);
  await using player = await RtmpClient.play(server.urls[1] ?? "", "a", { caCerts });
  await publisher.pushHeaders();
  await publisher.pushFrames("K");
  await player.take(3);
  player.hold(true);
  for (let ms = 100; ms < 4000 && server.reasons.length === 0; ms += 100) {
    await publisher.send(9, largeKeyframe(), { timestampMs: ms });
    await delay(20);
  }
  assertEquals(server.reasons, ["it took nothing for 0.2 s"]);
  assertEquals(server.engine.subscribers.size, 0);
});

Deno.test("rtmp ends a connection to RTMPS that speaks plain RTMP", async () => {
  await using server = await startRtmp({ Cert, Key, TLSPort: 0 });
  await using client = await RtmpClient.open(server.urls[1]?.replace("rtmps", "rtmp") ?? "");
  await client.raw(new Uint8Array(2000).fill(3));
  await client.closed;
  await eventually("a reason", () => server.reasons.length === 1);
});

Deno.test("rtmp ends what it publishes and plays when it is unloaded, with a word to each", async () => {
  await using server = await startRtmp();
  await using publisher = await RtmpClient.publish(server.url, "a");
  await using player = await RtmpClient.play(server.url, "a");
  await using waiting = await RtmpClient.play(server.url, "none");
  await using idle = await RtmpClient.connect(server.url);
  await using silent = await RtmpClient.open(server.url);
  await publisher.pushHeaders();
  await publisher.pushFrames("K");
  await player.take(3);
  const { url } = server;
  const before = performance.now();
  await server.plugins.unload("RTMP");
  assertLess(performance.now() - before, 1000);
  await publisher.status("NetStream.Unpublish.Success");
  await player.status("NetStream.Play.UnpublishNotify");
  for (const client of [publisher, player, waiting, idle, silent]) {
    assertEquals(await client.closed, undefined);
  }
  assertEquals([server.engine.streams.size, server.engine.subscribers.size], [0, 0]);
  await assertRejects(() => RtmpClient.open(url), Deno.errors.ConnectionRefused);
  assertEquals(server.reasons, []);
});

Deno.test("rtmp ends within a second for peers that neither read nor close", async () => {
  await using server = await startRtmp();
  await using publisher = await RtmpClient.publish(server.url, "a");
  await publisher.setChunkSize(1 << 20);
  await using player = await RtmpClient.play(server.url, "a");
  await publisher.pushHeaders();
  await publisher.pushFrames("K");
  await player.take(3);
  player.hold(true);
  for (let ms = 100; ms < 500; ms += 100) {
    await publisher.send(9, largeKeyframe(), { timestampMs: ms });
  }
  await delay(50);
  const before = performance.now();
  await server.plugins.unload("RTMP");
  assertLess(performance.now() - before, 1000);
});

Deno.test("rtmp ends publishers and players when the engine closes", async () => {
  await using server = await startRtmp({}, { OnDemandPublishTimeout: 60 });
  await using publisher = await RtmpClient.publish(server.url, "a");
  await using player = await RtmpClient.play(server.url, "a");
  await using waiting = await RtmpClient.play(server.url, "none");
  await publisher.pushHeaders();
  await publisher.pushFrames("K");
  await player.take(3);
  await server.engine.close();
  await publisher.status("NetStream.Unpublish.Success");
  await player.status("NetStream.Play.UnpublishNotify");
  await waiting.status("NetStream.Play.StreamNotFound");
  await publisher.closed;
  await player.closed;
});

Deno.test("rtmp takes changed options without a restart", async () => {
  await using server = await startRtmp({ ChunkSize: 5000 });
  const { url } = server;
  await using publisher = await RtmpClient.publish(url, "a");
  await publisher.pushHeaders();
  const base = { Host: "127.0.0.1", Port: 0 };
  await server.plugins.configure("RTMP", { ...base, MaxMessageSize: 65_536 });
  assertEquals(server.url, url);
  await using small = await RtmpClient.publish(url, "b");
  await small.raw(Uint8Array.of(6, 0, 0, 0, 1, 0, 1, 9, 1, 0, 0, 0));
  await small.closed;
  await publisher.pushFrames("K");
  await using player = await RtmpClient.play(url, "a");
  await player.take(3);
  await server.plugins.configure("RTMP", { ...base, Cert, Key, TLSPort: 0 });
  assertEquals(server.urls.length, 2);
  assertEquals(server.url, url);
  await server.plugins.configure("RTMP", base);
  assertEquals(server.urls, [url]);
  await assertRejects(
    () => server.plugins.configure("RTMP", { ...base, Cert: "/none.pem", Key }),
    PluginError,
    "cannot read Cert",
  );
  await publisher.pushFrames("v", 10);
  await player.take(1);
  assertEquals(server.urls, [url]);
});

Deno.test("rtmp moves to another port, and stays where it is if that is taken", async () => {
  await using server = await startRtmp();
  const { url } = server;
  await using publisher = await RtmpClient.publish(url, "a");
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  const error = await assertRejects(
    () => server.plugins.configure("RTMP", { Host: "127.0.0.1", Port: port }),
    PluginError,
  );
  assertStringIncludes(error.message, `cannot listen on 127.0.0.1:${port}: port ${port} is in use`);
  assertEquals(server.urls.length, 1);
  taken.close();
  await server.plugins.configure("RTMP", { Host: "127.0.0.1", Port: port });
  assertEquals(server.url, `rtmp://127.0.0.1:${port}`);
  await publisher.pushHeaders();
  await publisher.pushFrames("K");
  await using player = await RtmpClient.play(server.url, "a");
  await player.take(3);
});

Deno.test("rtmp names peers of IPv6 as URLs do", async () => {
  await using server = await startRtmp({ Host: "::1" });
  assert(server.url.startsWith("rtmp://[::1]:"));
  await using _client = await RtmpClient.publish(server.url, "a");
  const { port } = _client.conn.localAddr as Deno.NetAddr;
  assertEquals(server.engine.getStream("live/a")?.publisher?.id, `[::1]:${port}`);
});

for (
  const options of [
    { Port: 70_000 },
    { ChunkSize: 1 },
    { Cert },
    { StartTimeout: 0 },
    { Chunksise: 5 },
    { MaxMessageSize: 1 << 30 },
  ]
) {
  Deno.test(`rtmp refuses the options ${JSON.stringify(options).slice(0, 30)}`, async () => {
    await assertRejects(() => startRtmp(options), ConfigError);
  });
}

Deno.test("rtmp says why it cannot listen", async () => {
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = taken.addr as Deno.NetAddr;
  await assertRejects(
    () => startRtmp({ Port: port }),
    PluginError,
    `cannot listen on 127.0.0.1:${port}: port ${port} is in use`,
  );
});
