import { assert, assertEquals, assertGreater, assertLess, assertStringIncludes } from "@std/assert";
import { delay } from "@std/async/delay";
import { UserControlEvent } from "../../../plugins/rtmp/command.ts";
import { MessageType } from "../../../plugins/rtmp/message.ts";
import { encodeAmf0 } from "../../../src/formats/amf.ts";
import { joinLengthPrefixed } from "../../../src/codecs/nal.ts";
import { videoConfigBody } from "../../../src/formats/flv_video.ts";
import { readFixture } from "../../support/codec_fixtures.ts";
import { frameBody, slice } from "../../support/frames.ts";
import { eventually, kindOf, RtmpClient, startRtmp } from "../../support/rtmp.ts";

/** Large enough that a viewer who does not read blocks its connection soon. */
function largeFrame(key: boolean): Uint8Array {
  return frameBody("avc1", joinLengthPrefixed([slice(key, 0, 65_536)]), { key });
}

function kinds(messages: Parameters<typeof kindOf>[0][]): string {
  return messages.map(kindOf).join("");
}

Deno.test("Playback starts at the newest keyframe and gives all players the same bytes", async () => {
  await using server = await startRtmp();
  await using publisher = await RtmpClient.publish(server.url, "a");
  await publisher.pushHeaders();
  await publisher.pushFrames("KvvaKva");
  await eventually(
    "frames",
    () => (server.engine.getStream("live/a")?.tracks[1]?.stats().frames ?? 0) >= 2,
  );
  await using first = await RtmpClient.play(server.url, "a");
  await using second = await RtmpClient.play(server.url, "a");
  const [one, two] = [await first.take(5), await second.take(5)];
  assertEquals(kinds(one), "VAKva");
  assertEquals(one.slice(2).map(({ timestampMs }) => timestampMs), [40, 50, 60]);
  assertEquals(one, two);
  await publisher.pushFrames("vav", 70);
  await first.take(3);
  await second.take(3);
  assertEquals(first.bytes, second.bytes);
  await eventually(
    "metadata",
    () => first.messages.some(({ type }) => type === MessageType.dataAmf0),
  );
});

Deno.test("Playback uses the message stream that its player made", async () => {
  await using server = await startRtmp();
  await using publisher = await RtmpClient.publish(server.url, "a");
  await using first = await RtmpClient.play(server.url, "a");
  await using second = await RtmpClient.connect(server.url);
  await second.createStream();
  await second.createStream();
  await second.command("play", ["a"], 2);
  await second.status("NetStream.Play.Start");
  await publisher.pushHeaders();
  await publisher.pushFrames("Kv");
  const ids = async (player: RtmpClient) =>
    new Set((await player.take(4)).map(({ streamId }) => streamId));
  assertEquals(await ids(first), new Set([1]));
  assertEquals(await ids(second), new Set([2]));
});

Deno.test("Playback waits for its publisher, and fails where none comes in time", async () => {
  await using server = await startRtmp({}, { OnDemandPublishTimeout: 0.3 });
  let asked = 0;
  server.engine.addEventListener("ondemand", () => void asked++);
  await using early = await RtmpClient.play(server.url, "a");
  await using lost = await RtmpClient.play(server.url, "b");
  assertEquals(early.codes, []);
  await using publisher = await RtmpClient.publish(server.url, "a");
  await publisher.pushHeaders();
  await publisher.pushFrames("K");
  assertEquals(kinds(await early.take(3)), "VAK");
  const { level, description } = await lost.status("NetStream.Play.StreamNotFound");
  assertEquals(level, "error");
  assertEquals(description, "Cannot subscribe to live/b: no publisher after 0.3 s");
  assertEquals(asked, 2);
  // The same message stream may be tried again.
  await lost.command("play", ["a"], 1);
  assertEquals(kinds(await lost.take(3)), "VAK");
});

Deno.test("Playback ends the wait for a publisher when its player leaves", async () => {
  await using server = await startRtmp({}, { OnDemandPublishTimeout: 60 });
  const [closing, deleting] = [
    await RtmpClient.play(server.url, "a"),
    await RtmpClient.play(server.url, "a"),
  ];
  closing.close();
  await deleting.command("deleteStream", [1]);
  await deleting.call("getStreamLength");
  await using publisher = await RtmpClient.publish(server.url, "a");
  await publisher.pushHeaders();
  await delay(20);
  assertEquals(server.engine.subscribers.size, 0);
  assertEquals(deleting.codes, []);
  await deleting[Symbol.asyncDispose]();
});

Deno.test("Playback says that the stream is over, then closes", async () => {
  await using server = await startRtmp();
  await using publisher = await RtmpClient.publish(server.url, "a");
  await using player = await RtmpClient.play(server.url, "a");
  await publisher.pushHeaders();
  await publisher.pushFrames("Kv");
  await player.take(4);
  await publisher.command("deleteStream", [1]);
  assertEquals(await player.userControl(UserControlEvent.streamEof), 1);
  const { level, description } = await player.status("NetStream.Play.UnpublishNotify");
  assertEquals([level, description], ["status", "unpublished"]);
  assertEquals(await player.closed, undefined);
  assertEquals(server.reasons, []);
});

Deno.test("Playback of a viewer that is kicked ends with a status", async () => {
  await using server = await startRtmp();
  await using publisher = await RtmpClient.publish(server.url, "a");
  await publisher.pushHeaders();
  await publisher.pushFrames("K");
  await using player = await RtmpClient.play(server.url, "a");
  await using other = await RtmpClient.play(server.url, "a");
  await player.take(3);
  await other.take(3);
  const [subscriber] = server.engine.subscribers.values();
  subscriber?.close({ code: "kicked", detail: "kicked by a test" });
  const { level, description } = await player.status("NetStream.Play.Failed");
  assertEquals([level, description], ["error", "kicked by a test"]);
  assertEquals(await player.closed, undefined);
  player.close();
  await publisher.pushFrames("v", 10);
  assertEquals(kinds(await other.take(1)), "v");
  await eventually("reason", () => server.reasons.length === 1);
  assertEquals(server.reasons, ["its playing was ended: kicked by a test"]);
});

Deno.test("Playback goes on over the loss of its publisher with rising timestamps", async () => {
  await using server = await startRtmp({}, { ReconnectTimeout: 5 });
  const first = await RtmpClient.publish(server.url, "a");
  await using player = await RtmpClient.play(server.url, "a");
  await first.pushHeaders(90_000);
  await first.pushFrames("Kav", 90_000);
  await player.take(5);
  first.close();
  await eventually("the loss", () => server.engine.getStream("live/a")?.state === "waiting");
  await using second = await RtmpClient.publish(server.url, "a");
  await second.pushHeaders();
  await second.pushFrames("Kav");
  await player.take(3);
  const times = player.media.slice(2).map(({ timestampMs }) => timestampMs);
  assertEquals(times, times.toSorted((a, b) => a - b));
  assertEquals(new Set(times).size, times.length);
  assertEquals(player.isClosed, false);
});

Deno.test("Playback.pause() holds frames back, and goes on where it stopped", async () => {
  await using server = await startRtmp();
  await using publisher = await RtmpClient.publish(server.url, "a");
  await using player = await RtmpClient.play(server.url, "a");
  await publisher.pushHeaders();
  await publisher.pushFrames("Kv");
  await player.take(4);
  await player.command("pause", [true, 0], 1);
  await player.status("NetStream.Pause.Notify");
  await publisher.pushFrames("vv", 20);
  await delay(30);
  assertEquals(player.media.length, 4);
  await player.command("pause", [false, 0], 1);
  await player.status("NetStream.Unpause.Notify");
  assertEquals((await player.take(2)).map(({ timestampMs }) => timestampMs), [20, 30]);
});

Deno.test("Playback.pause() goes on at the newest keyframe where the rest is gone", async () => {
  await using server = await startRtmp();
  await using publisher = await RtmpClient.publish(server.url, "a");
  await using player = await RtmpClient.play(server.url, "a");
  await publisher.pushHeaders();
  await publisher.pushFrames("Kv");
  await player.take(4);
  await player.command("pause", [true, 0], 1);
  await player.status("NetStream.Pause.Notify");
  // One batch is on its way already; the ring keeps two seconds.
  await publisher.pushFrames("v", 20);
  await delay(20);
  for (let ms = 100; ms < 6000; ms += 100) {
    await publisher.pushFrames(ms % 1000 === 0 ? "K" : "v", ms);
  }
  const video = () => server.engine.getStream("live/a")?.videoTracks[0]?.stats().frames;
  await eventually("all frames", () => video() === 62);
  await player.command("pause", [false, 0], 1);
  await player.status("NetStream.Unpause.Notify");
  const [held, key, next] = await player.take(3);
  assertEquals(held?.timestampMs, 20);
  assertEquals(key && kindOf(key), "K");
  assertEquals(key?.timestampMs, 5000);
  assertEquals(next?.timestampMs, 5100);
});

Deno.test("Playback.pause() before the stream is there, again and again, leaves one reader", async () => {
  await using server = await startRtmp();
  await using player = await RtmpClient.play(server.url, "a");
  for (const paused of [true, false, true, false, true]) {
    await player.command("pause", [paused, 0], 1);
  }
  await using publisher = await RtmpClient.publish(server.url, "a");
  await publisher.pushHeaders();
  await publisher.pushFrames("Kv");
  await player.status("NetStream.Play.Start");
  for (const paused of [false, true, false, true, false]) {
    await player.command("pause", [paused, 0], 1);
  }
  await publisher.pushFrames("vv", 20);
  await player.take(6);
  await delay(20);
  assertEquals(kinds(player.media), "VAKvvv");
  assertEquals(server.engine.subscribers.size, 1);
});

Deno.test("Playback ends for a paused player, too", async () => {
  await using server = await startRtmp();
  await using publisher = await RtmpClient.publish(server.url, "a");
  await using player = await RtmpClient.play(server.url, "a");
  await publisher.pushHeaders();
  await publisher.pushFrames("K");
  await player.take(3);
  await player.command("pause", [true, 0], 1);
  await player.status("NetStream.Pause.Notify");
  await publisher.pushFrames("vv", 10);
  await publisher.command("deleteStream", [1]);
  await player.status("NetStream.Play.UnpublishNotify");
  await player.closed;
  assertEquals(player.media.length, 3);
});

Deno.test("Playback.select() turns audio and video off and on", async () => {
  await using server = await startRtmp();
  await using publisher = await RtmpClient.publish(server.url, "a");
  await using player = await RtmpClient.play(server.url, "a");
  await publisher.pushHeaders();
  await publisher.pushFrames("Ka");
  await player.take(4);
  await player.command("receiveVideo", [false], 1);
  await player.call("getStreamLength");
  await eventually("audio only", () => kinds(player.media).endsWith("Aa"));
  await publisher.pushFrames("vav", 20);
  await eventually("one more", () => player.media.at(-1)?.timestampMs === 30);
  await player.command("receiveAudio", [false], 1);
  await player.call("getStreamLength");
  const before = player.media.length;
  await publisher.pushFrames("vav", 50);
  await delay(20);
  assertEquals(player.media.length, before);
  await player.command("receiveVideo", [true], 1);
  await eventually("video", () => kinds(player.media.slice(before)).startsWith("VKv"));
  assert(!kinds(player.media.slice(before)).includes("a"));
  await player.command("receiveVideo", [false], 1);
  await player.call("getStreamLength");
  await publisher.command("deleteStream", [1]);
  await player.status("NetStream.Play.UnpublishNotify");
});

for (
  const [name, object, expected] of [
    ["lists nothing", {}, true],
    ["lists the codec", { fourCcList: ["av01"] }, true],
    ["lists all", { fourCcList: ["*"] }, true],
    ["lists others", { fourCcList: ["hvc1"] }, false],
    ["can decode it", { videoFourCcInfoMap: { av01: 1 } }, true],
    ["forwards all", { videoFourCcInfoMap: { "*": 4 } }, true],
    ["can only encode it", { videoFourCcInfoMap: { av01: 2 } }, false],
  ] as const
) {
  Deno.test(`Playback ${expected ? "gives" : "refuses"} AV1 to a player that ${name}`, async () => {
    await using server = await startRtmp();
    await using publisher = await RtmpClient.publish(server.url, "a");
    const { flvRecord, packets: [packet = flvRecord] } = readFixture("av1_main_854x480");
    await publisher.setChunkSize(1 << 20);
    await publisher.send(
      MessageType.dataAmf0,
      encodeAmf0("@setDataFrame", "onMetaData", { videocodecid: 12 }),
    );
    await publisher.send(MessageType.video, videoConfigBody("av01", flvRecord));
    await publisher.send(MessageType.video, frameBody("av01", packet, { key: true }));
    await using player = await RtmpClient.play(server.url, "a", { object });
    if (expected) return void await player.take(2);
    const { description } = await player.status("NetStream.Play.Failed");
    assertStringIncludes(String(description), "lists no codec of the stream, which has av01");
    await player.closed;
  });
}

Deno.test("Playback of a viewer that does not read costs the others nothing, and resumes at a keyframe", async () => {
  await using server = await startRtmp();
  await using publisher = await RtmpClient.publish(server.url, "a");
  await publisher.setChunkSize(1 << 20);
  await using stalled = await RtmpClient.play(server.url, "a");
  await using reader = await RtmpClient.play(server.url, "a");
  await publisher.pushHeaders();
  await publisher.pushFrames("K");
  await stalled.take(3);
  await reader.take(3);
  stalled.hold(true);
  const rounds = 800;
  for (let round = 0; round < rounds; round++) {
    await publisher.send(MessageType.video, largeFrame(round % 20 === 0), {
      timestampMs: 100 + round * 40,
    });
    if (round % 50 === 49) await reader.take(50);
  }
  stalled.hold(false);
  await publisher.send(MessageType.video, largeFrame(true), { timestampMs: 100 + rounds * 40 });
  await eventually("the newest", () => stalled.media.at(-1)?.timestampMs === 100 + rounds * 40);
  const video = stalled.media.filter(({ type }) => type === MessageType.video).slice(2);
  const gap = video.findIndex(({ timestampMs }, index) =>
    index > 0 && timestampMs > (video[index - 1]?.timestampMs ?? 0) + 40
  );
  assertGreater(gap, 0);
  assertEquals(video[gap] && kindOf(video[gap]), "K");
  assertLess(video.length, rounds);
  const [one] = server.engine.subscribers.values();
  assertGreater(one?.stats().dropped ?? 0, 0);
});

Deno.test("Playback cuts off a viewer that does not read for WriteTimeout", async () => {
  await using server = await startRtmp({ WriteTimeout: 0.2 });
  await using publisher = await RtmpClient.publish(server.url, "a");
  await publisher.setChunkSize(1 << 20);
  await using stalled = await RtmpClient.play(server.url, "a");
  await publisher.pushHeaders();
  await publisher.pushFrames("K");
  await stalled.take(3);
  stalled.hold(true);
  for (let round = 0; server.reasons.length === 0 && round < 1000; round++) {
    await publisher.send(MessageType.video, largeFrame(round % 20 === 0), {
      timestampMs: 100 + round * 40,
    });
    if (round > 200) await delay(5);
  }
  assertEquals(server.reasons, ["it took nothing for 0.2 s"]);
  assertEquals(server.engine.subscribers.size, 0);
  assertEquals(server.engine.getStream("live/a")?.state, "live");
});
