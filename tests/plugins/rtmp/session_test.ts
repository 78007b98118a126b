import { assert, assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import { delay } from "@std/async/delay";
import { createHmac } from "node:crypto";
import { controlMessage, parseControl, UserControlEvent } from "../../../plugins/rtmp/command.ts";
import { writeMessage } from "../../../plugins/rtmp/chunk_writer.ts";
import { HANDSHAKE_BYTES } from "../../../plugins/rtmp/handshake.ts";
import { MessageType } from "../../../plugins/rtmp/message.ts";
import { concat } from "../../../src/bytes.ts";
import type { GuardRequest } from "../../../src/guards.ts";
import { RefusedError } from "../../../src/errors.ts";
import { type AmfInput, encodeAmf0 } from "../../../src/formats/amf.ts";
import { audioBody, audioHeader, videoBody, videoHeader } from "../../support/frames.ts";
import { eventually, kindOf, RtmpClient, startRtmp } from "../../support/rtmp.ts";

/** C0 and a C1 with a digest of scheme 0, as FFmpeg sends it. */
function signedHello(): Uint8Array {
  const c1 = new Uint8Array(HANDSHAKE_BYTES).fill(7);
  c1.set([0, 0, 0, 0, 9, 0, 124, 2]);
  const at = 12 + 4 * 7;
  const hmac = createHmac("sha256", "Genuine Adobe Flash Player 001");
  c1.set(hmac.update(c1.subarray(0, at)).update(c1.subarray(at + 32)).digest(), at);
  return concat([Uint8Array.of(3), c1]);
}

for (const [name, options] of [["plain", {}], ["digest", { hello: signedHello() }]] as const) {
  Deno.test(`RtmpSession publishes and plays after a ${name} handshake`, async () => {
    await using server = await startRtmp();
    await using publisher = await RtmpClient.publish(server.url, "a", options);
    await using player = await RtmpClient.play(server.url, "a", options);
    await publisher.pushHeaders();
    await publisher.pushFrames("Kav");
    assertEquals((await player.take(5)).map(kindOf).join(""), "VAKav");
    assertEquals(player.codes.slice(0, 2), ["NetStream.Play.Reset", "NetStream.Play.Start"]);
    assertEquals(await player.userControl(UserControlEvent.streamBegin), 1);
    assertEquals(server.reasons, []);
  });
}

Deno.test("RtmpSession answers connect with window, bandwidth, chunk size and a result", async () => {
  await using server = await startRtmp({ ChunkSize: 5000 });
  await using client = await RtmpClient.shake(server.url);
  const { name, object, args } = await client.call("connect", { app: "live", objectEncoding: 3 });
  assertEquals(name, "_result");
  assertEquals(object?.fmsVer, "FMS/3,5,7,7009");
  const [info] = args;
  assertEquals({ ...info as object }, {
    level: "status",
    code: "NetConnection.Connect.Success",
    description: "Connection succeeded.",
    objectEncoding: 3,
  });
  // Acknowledgements of small writes come between, as the segments happen to arrive.
  const answers = client.messages.filter(({ type }) => type !== MessageType.acknowledgement);
  assertEquals(answers.map(({ type }) => type), [
    MessageType.windowAckSize,
    MessageType.setPeerBandwidth,
    MessageType.commandAmf0,
  ]);
  const [window] = answers;
  assertEquals(window && parseControl(window), {
    type: MessageType.windowAckSize,
    bytes: 5_000_000,
  });
});

for (
  const object of [
    { fourCcList: ["hvc1"] },
    { videoFourCcInfoMap: { "*": 4 } },
    { audioFourCcInfoMap: { Opus: 1 } },
    { capsEx: 1 },
  ]
) {
  Deno.test(`RtmpSession says what it forwards to a client with ${Object.keys(object)}`, async () => {
    await using server = await startRtmp();
    await using client = await RtmpClient.shake(server.url);
    const { args: [info] } = await client.call("connect", { app: "live", ...object });
    const { fourCcList, videoFourCcInfoMap, audioFourCcInfoMap, capsEx } = info as Record<
      string,
      unknown
    >;
    assert((fourCcList as string[]).includes("hvc1"));
    assertEquals({ ...videoFourCcInfoMap as object }, { "*": 4 });
    assertEquals({ ...audioFourCcInfoMap as object }, { "*": 4 });
    assertEquals(capsEx, 14);
  });
}

Deno.test("RtmpSession takes the commands of encoders from connect to the end", async () => {
  await using server = await startRtmp();
  await using client = await RtmpClient.connect(server.url);
  assertEquals((await client.call("releaseStream", null, ["a"])).name, "_result");
  assertEquals((await client.call("FCPublish", null, ["a"])).name, "_result");
  const notice = await client.reply(({ name }) => name === "onFCPublish");
  assertEquals((notice.args[0] as { code: string }).code, "NetStream.Publish.Start");
  assertEquals(await client.createStream(), 1);
  await client.command("publish", ["a", "live"], 1);
  assertEquals((await client.status("NetStream.Publish.Start")).level, "status");
  await client.pushHeaders();
  const stream = server.engine.getStream("live/a");
  assertEquals(stream?.publisher?.type, "RTMP");
  const { hostname, port } = client.conn.localAddr as Deno.NetAddr;
  assertEquals(stream?.publisher?.id, `${hostname}:${port}`);
  assertEquals((await client.call("FCUnpublish", null, ["a"])).name, "_result");
  await client.status("NetStream.Unpublish.Success");
  await client.reply(({ name }) => name === "onFCUnpublish");
  assertEquals(stream?.state, "ended");
  await client.command("deleteStream", [1]);
  assertEquals(await client.createStream(), 1);
  assertEquals(server.reasons, []);
});

for (const name of ["deleteStream", "closeStream", "FCUnpublish"]) {
  Deno.test(`RtmpSession ends the stream in good order at ${name}`, async () => {
    await using server = await startRtmp();
    await using client = await RtmpClient.publish(server.url, "a");
    await client.pushHeaders();
    const stream = server.engine.getStream("live/a");
    await client.command(name, [name === "FCUnpublish" ? "a" : 1], name === "closeStream" ? 1 : 0);
    assertEquals((await stream?.closed)?.code, "ended");
    if (name === "deleteStream") assertEquals(await client.createStream(), 1);
    await client.command("publish", ["b"], 1);
    await eventually("another stream", () => server.engine.getStream("live/b") !== undefined);
  });
}

Deno.test("RtmpSession leaves other streams of a connection alone at FCUnpublish", async () => {
  await using server = await startRtmp();
  await using client = await RtmpClient.publish(server.url, "a");
  assertEquals(await client.createStream(), 2);
  await client.command("publish", ["b?key=1"], 2);
  await eventually("both", () => server.engine.streams.size === 2);
  await client.call("FCUnpublish", null, ["b"]);
  assertEquals([...server.engine.streams.keys()], ["live/a"]);
});

Deno.test("RtmpSession waits for a publisher whose connection closed without a word", async () => {
  await using server = await startRtmp();
  const client = await RtmpClient.publish(server.url, "a");
  client.close();
  const stream = server.engine.getStream("live/a");
  await eventually("waiting", () => stream?.state === "waiting");
  assertEquals(server.reasons, []);
});

Deno.test("RtmpSession takes commands and data in the AMF3 wrapper", async () => {
  await using server = await startRtmp();
  await using client = await RtmpClient.connect(server.url, { object: { objectEncoding: 3 } });
  const selector = Uint8Array.of(0);
  const wrapped = (...values: AmfInput[]) => concat([selector, encodeAmf0(...values)]);
  await client.send(MessageType.commandAmf3, wrapped("createStream", 9, null), { streamId: 0 });
  await client.reply(({ transactionId }) => transactionId === 9);
  await client.send(MessageType.commandAmf3, wrapped("publish", 0, null, "a"), { streamId: 1 });
  await client.status("NetStream.Publish.Start");
  await client.send(
    MessageType.dataAmf3,
    wrapped("@setDataFrame", "onMetaData", { videocodecid: 7, title: "x" }),
  );
  await client.send(MessageType.video, videoHeader());
  await client.pushFrames("K");
  await eventually("metadata", () => server.engine.getStream("live/a")?.dataTracks.length === 1);
  assertEquals(server.engine.getStream("live/a")?.publisher?.complete, true);
});

Deno.test("RtmpSession takes what comes in one piece with a command once that is answered", async () => {
  await using server = await startRtmp();
  await using client = await RtmpClient.connect(server.url);
  await client.createStream();
  const message = (type: number, payload: Uint8Array) =>
    writeMessage({ type, streamId: 1, timestampMs: 0, chunkStreamId: 6, payload: [payload] }, 4096);
  await client.raw(concat([
    message(MessageType.commandAmf0, encodeAmf0("publish", 0, null, "a")),
    message(MessageType.video, videoHeader()),
    message(MessageType.video, videoBody(true)),
  ]));
  await eventually(
    "a frame",
    () => server.engine.getStream("live/a")?.videoTracks[0]?.stats().frames === 1,
  );
});

Deno.test("RtmpSession takes aggregates and follows Abort and chunk sizes", async () => {
  await using server = await startRtmp();
  await using client = await RtmpClient.publish(server.url, "a");
  await using player = await RtmpClient.play(server.url, "a");
  const part = (type: number, ms: number, body: Uint8Array) =>
    concat([
      Uint8Array.of(type, 0, 0, body.length, ms >>> 16, ms >>> 8, ms, 0, 0, 0, 0),
      body,
      Uint8Array.of(0, 0, 0, body.length + 11),
    ]);
  await client.send(
    MessageType.aggregate,
    concat([
      part(MessageType.video, 100, videoHeader()),
      part(MessageType.audio, 100, audioHeader()),
      part(MessageType.video, 100, videoBody(true)),
      part(MessageType.audio, 120, audioBody()),
    ]),
    { timestampMs: 5000 },
  );
  const first = await player.take(4);
  assertEquals(first.map(kindOf).join(""), "VAKa");
  assertEquals(first.slice(2).map(({ timestampMs }) => timestampMs), [5000, 5020]);
  // The start of a message that is given up, then a whole one on the same chunk stream.
  const cut = writeMessage({
    type: MessageType.video,
    streamId: 1,
    timestampMs: 5040,
    chunkStreamId: 6,
    payload: [new Uint8Array(9000)],
  }, 4096);
  await client.raw(cut.subarray(0, 12 + 4096));
  await client.raw(writeMessage(
    controlMessage({ type: MessageType.abort, chunkStreamId: 6 }),
    4096,
  ));
  await client.setChunkSize(10);
  await client.pushFrames("v", 5040);
  const [next] = await player.take(1);
  assertEquals(next && kindOf(next), "v");
  assertEquals(next?.timestampMs, 5040);
});

Deno.test("RtmpSession acknowledges at once what wants no answer until it publishes", async () => {
  await using server = await startRtmp();
  await using client = await RtmpClient.shake(server.url);
  const acks = () =>
    client.messages.filter(({ type }) => type === MessageType.acknowledgement).length;
  await client.call("connect", { app: "live" });
  const before = acks();
  const window = controlMessage({ type: MessageType.windowAckSize, bytes: 1_000_000_000 });
  await client.raw(writeMessage(window, 128));
  await eventually("an acknowledgement", () => acks() > before);
});

Deno.test("RtmpSession acknowledges by the peer's window and answers its bandwidth", async () => {
  await using server = await startRtmp();
  await using client = await RtmpClient.publish(server.url, "a");
  const control = async (bytes: number) =>
    await client.raw(writeMessage(
      controlMessage({ type: MessageType.windowAckSize, bytes }),
      4096,
    ));
  const before = client.messages.length;
  await control(2000);
  await client.pushHeaders();
  await client.pushFrames("K" + "v".repeat(200));
  const acks = () =>
    client.messages.slice(before).map(parseControl).flatMap((message) =>
      message?.type === MessageType.acknowledgement ? [message.sequence] : []
    );
  await eventually("acknowledgements", () => acks().length > 0);
  await client.call("getStreamLength");
  const steps = acks().map((sequence, index, all) => sequence - (all[index - 1] ?? 0));
  assert(steps.every((step) => step >= 2000), steps.join(" "));
  const set = controlMessage({ type: MessageType.setPeerBandwidth, bytes: 123_456, limit: 0 });
  await client.raw(concat([writeMessage(set, 4096), writeMessage(set, 4096)]));
  await client.call("getStreamLength");
  const windows = client.messages.map(parseControl).flatMap((message) =>
    message?.type === MessageType.windowAckSize ? [message.bytes] : []
  );
  assertEquals(windows, [5_000_000, 123_456]);
  // Acknowledgements of ours are taken in silence.
  await client.raw(writeMessage(
    controlMessage({ type: MessageType.acknowledgement, sequence: 5 }),
    4096,
  ));
  await client.call("getStreamLength");
});

Deno.test("RtmpSession answers pings, pings a silent peer and cuts off one that stays so", async () => {
  await using server = await startRtmp({ PingInterval: 0.1 });
  await using client = await RtmpClient.play(server.url, "nothing");
  await client.event(UserControlEvent.pingRequest, 77);
  assertEquals(await client.userControl(UserControlEvent.pingResponse), 77);
  const value = await client.userControl(UserControlEvent.pingRequest);
  await client.event(UserControlEvent.pingResponse, value);
  const before = performance.now();
  await client.closed;
  assertGreater(performance.now() - before, 100);
  await eventually("a reason", () => server.reasons.length === 1);
  assertEquals(server.reasons, ["it gave no sign of life for 0.1 s"]);
});

Deno.test("RtmpSession gives guards path and arguments of app, URL and name", async () => {
  await using server = await startRtmp();
  const requests: GuardRequest[] = [];
  server.engine.addGuard("publish", (request) => void requests.push(request));
  const cases: [app: string, tcUrl: string, name: string, target: string][] = [
    ["live", "rtmp://h/live", "a", "live/a"],
    ["live?t=1", "rtmp://h/live?t=1", "b?key=2", "live/b?t=1&key=2"],
    ["live", "rtmp://h/live?u=3", "c", "live/c?u=3"],
    ["live/", "rtmp://h/live/", "/d/e", "live/d/e"],
    ["live/x", "rtmp://h/live/x", "key-123", "live/x/key-123"],
    ["cam", "rtmp://h/cam", "", "cam"],
  ];
  for (const [app, tcUrl, name] of cases) {
    await using _client = await RtmpClient.publish(server.url, name, { app, object: { tcUrl } });
  }
  const targets = requests.map(({ path, args }) => path + (args.size > 0 ? `?${args}` : ""));
  assertEquals(targets, cases.map(([, , , target]) => target));
  assertEquals(new Set(requests.map(({ type }) => type)), new Set(["RTMP"]));
  assert(requests.every(({ id }) => id.startsWith("127.0.0.1:")));
});

Deno.test("RtmpSession refuses what a guard refuses, and tells why", async () => {
  await using server = await startRtmp();
  server.engine.addGuard("publish", () => {
    throw new RefusedError("the key is wrong");
  });
  server.engine.addGuard("subscribe", () => {
    throw new Error("secret");
  });
  await using client = await RtmpClient.connect(server.url);
  await client.createStream();
  await client.command("publish", ["a"], 1);
  const status = await client.status("NetStream.Publish.BadName");
  assertEquals([status.level, status.description], ["error", "the key is wrong"]);
  await client.command("play", ["a"], 1);
  const failed = await client.status("NetStream.Play.Failed");
  assertEquals([failed.level, failed.description], ["error", "it could not be checked"]);
  assertEquals(server.engine.streams.size, 0);
});

Deno.test("RtmpSession refuses a taken path and leaves its stream unharmed", async () => {
  await using server = await startRtmp();
  await using first = await RtmpClient.publish(server.url, "a");
  await using player = await RtmpClient.play(server.url, "a");
  await using second = await RtmpClient.connect(server.url);
  await second.createStream();
  await second.command("publish", ["a"], 1);
  const { description } = await second.status("NetStream.Publish.BadName");
  assertStringIncludes(String(description), "live/a has been published since");
  const { port } = first.conn.localAddr as Deno.NetAddr;
  assert(!String(description).includes(String(port)));
  second.close();
  await first.pushHeaders();
  await first.pushFrames("Kv");
  assertEquals((await player.take(4)).map(kindOf).join(""), "VAKv");
  assertEquals(server.engine.streams.size, 1);
});

Deno.test("RtmpSession hands a stream over with TakeOver, and tells the one before", async () => {
  await using server = await startRtmp({ TakeOver: true });
  await using first = await RtmpClient.publish(server.url, "a");
  await first.pushHeaders();
  await first.pushFrames("Kv", 1000);
  await using player = await RtmpClient.play(server.url, "a");
  assertEquals((await player.take(4)).map(kindOf).join(""), "VAKv");
  await using second = await RtmpClient.publish(server.url, "a");
  const status = await first.status("NetStream.Publish.Denied");
  assertStringIncludes(String(status.description), "replaced by RTMP");
  await first.closed;
  await second.pushHeaders();
  await second.pushFrames("Kv", 50);
  const [key, next] = await player.take(2);
  assertEquals([key, next].map((message) => message && kindOf(message)), ["K", "v"]);
  assertGreater(key?.timestampMs ?? 0, 1010);
});

Deno.test("RtmpSession ends a publisher that is kicked, with a status, and reads what it sends", async () => {
  await using server = await startRtmp();
  await using client = await RtmpClient.publish(server.url, "a");
  await client.pushHeaders();
  await client.pushFrames("KvKv");
  server.engine.getStream("live/a")?.close("kicked by a test", "kicked");
  const status = await client.status("NetStream.Publish.Denied");
  assertEquals([status.level, status.description], ["error", "kicked by a test"]);
  assertEquals(await client.closed, undefined);
  // Bytes that it did not read would make the server's system take back the status.
  for (let round = 0; round < 5; round++) {
    await client.pushFrames("KvKv");
    await delay(5);
  }
  client.close();
  await eventually("reason", () => server.reasons.length === 1);
  assertEquals(server.reasons, ["its stream was ended: kicked by a test"]);
});

Deno.test("RtmpSession drops what comes in one piece with the end of its stream", async () => {
  await using server = await startRtmp();
  server.engine.addEventListener("track", ({ detail }) => detail.stream.close("enough", "kicked"));
  await using client = await RtmpClient.publish(server.url, "a");
  const message = (timestampMs: number, payload: Uint8Array) =>
    writeMessage({
      type: MessageType.video,
      streamId: 1,
      timestampMs,
      chunkStreamId: 6,
      payload: [payload],
    }, 4096);
  await client.raw(concat([
    message(0, videoHeader()),
    message(0, videoBody(true)),
    message(10, videoBody(false)),
    message(20, videoBody(false)),
  ]));
  await client.status("NetStream.Publish.Denied");
  client.close();
  await eventually("reason", () => server.reasons.length === 1);
  assertEquals(server.reasons, ["its stream was ended: enough"]);
});

Deno.test("RtmpSession ends with its reason when the publisher sends nothing", async () => {
  await using server = await startRtmp({}, { PublishTimeout: 0.1 });
  await using client = await RtmpClient.publish(server.url, "a");
  await client.closed;
  client.close();
  await eventually("reason", () => server.reasons.length === 1);
  assertEquals(server.reasons, ["its stream was ended: no frame for 0.1 s"]);
});

Deno.test("RtmpSession ends when the stream ends for want of viewers", async () => {
  await using server = await startRtmp({ AutoCloseDelay: 0 });
  await using client = await RtmpClient.publish(server.url, "a");
  await client.pushHeaders();
  const player = await RtmpClient.play(server.url, "a");
  await player.status("NetStream.Play.Start");
  player.close();
  await client.status("NetStream.Publish.Denied");
  await client.closed;
});

Deno.test("RtmpSession lets timestamps past 24 and 32 bits through from publish to play", async () => {
  await using server = await startRtmp();
  await using client = await RtmpClient.publish(server.url, "a");
  await using player = await RtmpClient.play(server.url, "a");
  const start = 0xffff_ffff - 15;
  await client.setChunkSize(8);
  await client.pushHeaders(start);
  for (const [index, kind] of [..."Kvvv"].entries()) {
    await client.send(MessageType.video, videoBody(kind === "K", index), {
      timestampMs: (start + index * 10) >>> 0,
    });
  }
  const times = (await player.take(6)).slice(2).map(({ timestampMs }) => timestampMs);
  assertEquals(times, [start, start + 10, 4, 14]);
});
