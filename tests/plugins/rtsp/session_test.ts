import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { parseRtpInfo } from "../../../plugins/rtsp/fields.ts";
import { aacConfig } from "../../../src/codecs/aac.ts";
import { parseRtcp } from "../../../src/rtp/rtcp.ts";
import { parseSdp, serializeSdp } from "../../../src/rtp/sdp.ts";
import { joinLengthPrefixed } from "../../../src/codecs/nal.ts";
import { h264, OTHER_ASC, slice } from "../../support/frames.ts";
import {
  descriptionOf,
  eventually,
  RtspTestClient,
  startRtsp,
  videoFrames,
} from "../../support/rtsp.ts";

Deno.test("RtspSession publishes and plays", async () => {
  await using server = await startRtsp();
  const url = `${server.url}/live/a`;
  await using publisher = await RtspTestClient.publish(url);
  await publisher.pushFrames("KavvKav");
  await videoFrames(server, 5);
  assertEquals(server.engine.getStream("live/a")?.publisher?.type, "RTSP");
  await using player = await RtspTestClient.play(url);
  await publisher.pushFrames("vav");
  assertEquals(await player.take(4), ["K4", "6", "7", "9"]);
  assertEquals(server.reasons, []);
});

Deno.test("RtspSession gives RTP-Info of the first packets when it answers PLAY", async () => {
  await using server = await startRtsp();
  const url = `${server.url}/live/a`;
  await using publisher = await RtspTestClient.publish(url);
  await publisher.pushFrames("Kava");
  await videoFrames(server, 2);
  await using player = await RtspTestClient.play(url);
  await publisher.pushFrames("va");
  await player.take(3);
  const { headers } = player.responses.at(-1) ?? { headers: new Map<string, string>() };
  assertEquals(headers.get("range"), "npt=now-");
  const [video, audio, ...others] = parseRtpInfo(headers.get("rtp-info") ?? "");
  assertEquals(others, []);
  assertEquals([video?.url, audio?.url], [`${url}/trackID=0`, `${url}/trackID=1`]);
  const first = player.packets.find(({ channel, rtp }) => channel === 0 && rtp)?.rtp;
  assertEquals(video?.sequence, first?.sequence);
  assertEquals(video?.timestamp, first?.timestamp);
  const report = player.packets.find(({ channel }) => channel === 3)?.bytes ?? new Uint8Array();
  const [sender] = parseRtcp(report);
  assertEquals(sender?.type === "sr" && sender.rtpTimestamp, audio?.timestamp);
  const sound = player.packets.find(({ channel, rtp }) => channel === 2 && rtp)?.rtp;
  assertEquals(audio?.sequence, sound?.sequence);
});

Deno.test("RtspSession shares the bytes of players with the same channels", async () => {
  await using server = await startRtsp();
  const url = `${server.url}/live/a`;
  await using publisher = await RtspTestClient.publish(url);
  await publisher.pushFrames("Kv");
  await videoFrames(server, 2);
  await using one = await RtspTestClient.play(url);
  await using two = await RtspTestClient.play(url);
  await publisher.pushFrames("vvv");
  await one.take(5);
  await two.take(5);
  const ssrcs = [one, two].map(({ packets }) => packets.find(({ rtp }) => rtp)?.rtp?.ssrc);
  assertEquals(ssrcs[0], ssrcs[1]);
});

Deno.test("RtspSession gives a player the channels that it wants, or says others", async () => {
  await using server = await startRtsp();
  const url = `${server.url}/live/a`;
  await using publisher = await RtspTestClient.publish(url);
  await publisher.pushFrames("Kv");
  await videoFrames(server, 2);
  for (
    const [video, audio, expected] of [
      ["0-1", "2-3", ["0-1", "2-3"]],
      ["4-5", "6-7", ["4-5", "6-7"]],
      ["0-1", "0-1", ["0-1", "2-3"]],
      ["200-201", "9-4", ["0-1", "2-3"]],
    ] as const
  ) {
    await using player = await RtspTestClient.open(url);
    const answers = [];
    for (const [track, channels] of [video, audio].entries()) {
      const { headers } = await player.setUp(track, `RTP/AVP/TCP;interleaved=${channels}`);
      answers.push(/interleaved=(\S+)/.exec(headers.get("transport") ?? "")?.[1]);
    }
    assertEquals(answers, [...expected]);
    await player.ok("PLAY");
    await eventually("packets", () => player.frames.length > 2);
    const channel = Number(expected[0].split("-")[0]);
    assertEquals(player.packets.find(({ rtp }) => rtp)?.channel, channel);
  }
});

Deno.test("RtspSession plays the one track that is set up", async () => {
  await using server = await startRtsp();
  const url = `${server.url}/live/a`;
  await using publisher = await RtspTestClient.publish(url);
  await publisher.pushFrames("Kav");
  await videoFrames(server, 2);
  await using player = await RtspTestClient.open(url);
  await player.setUp(1, "RTP/AVP/TCP;interleaved=0-1");
  await player.ok("PLAY");
  await publisher.pushFrames("vava");
  await eventually("audio", () => player.packets.filter(({ rtp }) => rtp).length === 3);
  const types = new Set(player.packets.flatMap(({ rtp }) => rtp?.payloadType ?? []));
  assertEquals([...types], [97]);
});

Deno.test("RtspSession describes the tracks with absolute URLs, arguments at their ends", async () => {
  await using server = await startRtsp();
  await using publisher = await RtspTestClient.publish(`${server.url}/live/a`);
  await publisher.pushFrames("Kv");
  await videoFrames(server, 2);
  const url = `${server.url}/live/a?token=1`;
  await using player = await RtspTestClient.open(url);
  const { headers, body } = await player.ok("DESCRIBE", { headers: { Accept: "application/sdp" } });
  assertEquals(headers.get("content-type"), "application/sdp");
  assertEquals(headers.get("content-base"), `${server.url}/live/a/`);
  const { media, control, name } = parseSdp(new TextDecoder().decode(body));
  assertEquals([name, control], ["live/a", "*"]);
  assertEquals(media.map(({ kind, control }) => [kind, control]), [
    ["video", `${server.url}/live/a/trackID=0?token=1`],
    ["audio", `${server.url}/live/a/trackID=1?token=1`],
  ]);
  assertEquals(media[0]?.formats[0]?.encoding, "H264");
  assertMatch(media[0]?.formats[0]?.parameters.get("sprop-parameter-sets") ?? "", /,/);
});

Deno.test("RtspSession leaves out what RTP does not carry, and says so", async () => {
  await using server = await startRtsp();
  await using publisher = await server.engine.publish("live/a", { type: "Test" });
  const flac = { ...aacConfig(OTHER_ASC), fourcc: "fLaC", codec: "flac" };
  publisher.audio.configure(flac);
  publisher.completeTracks();
  publisher.audio.push({ dtsUs: 0, data: Uint8Array.of(1) });
  await using player = await RtspTestClient.open(`${server.url}/live/a`);
  assertEquals(await player.status("DESCRIBE"), 406);
  publisher.video.configure(h264());
  publisher.video.push({ dtsUs: 0, key: true, data: joinLengthPrefixed([slice(true)]) });
  const { body } = await player.ok("DESCRIBE");
  const { media } = parseSdp(new TextDecoder().decode(body));
  assertEquals(media.map(({ kind }) => kind), ["video"]);
  const [line] = server.logs.filter((entry) => entry.includes("left"));
  assertMatch(line ?? "", /live\/a: left flac out for 127\.0\.0\.1:\d+, since RTP does not/);
});

Deno.test("RtspSession waits for a stream that comes late", async () => {
  await using server = await startRtsp({}, { OnDemandPublishTimeout: 5 });
  const url = `${server.url}/live/a`;
  await using player = await RtspTestClient.open(url);
  const playing = player.ok("DESCRIBE");
  await using publisher = await RtspTestClient.publish(url);
  await publisher.pushFrames("K");
  assertStringIncludes(new TextDecoder().decode((await playing).body), "m=video");
});

Deno.test("RtspSession waits no more for a stream when its peer is gone", async () => {
  await using server = await startRtsp({}, { OnDemandPublishTimeout: 60 });
  const player = await RtspTestClient.open(`${server.url}/live/a`);
  const answer = player.request("DESCRIBE").catch(() => {});
  await eventually("waiting", () => server.engine.wants("live/a"));
  player.close();
  await answer;
  await eventually("not waiting", () => !server.engine.wants("live/a"));
});

Deno.test("RtspSession holds packets back between PAUSE and PLAY and goes on without going back", async () => {
  await using server = await startRtsp({ Flush: 0 });
  const url = `${server.url}/live/a`;
  await using publisher = await RtspTestClient.publish(url);
  await publisher.pushFrames("Kv");
  await videoFrames(server, 2);
  await using player = await RtspTestClient.play(url);
  await player.take(2);
  await player.ok("PAUSE");
  await publisher.pushFrames("vvK");
  await videoFrames(server, 5);
  await player.ok("OPTIONS");
  assertEquals(player.pictures, ["K0", "1"]);
  const { headers } = await player.ok("PLAY");
  assertEquals(await player.take(5), ["K0", "1", "2", "3", "K4"]);
  const [video] = parseRtpInfo(headers.get("rtp-info") ?? "");
  const third = player.packets.filter(({ channel, rtp }) => channel === 0 && rtp)
    .find(({ rtp }) => rtp?.sequence === video?.sequence);
  assertEquals((third?.rtp?.payload[2] ?? 0) & 0x7f, 2);
});

Deno.test("RtspSession drops packets of a publisher between PAUSE and RECORD", async () => {
  await using server = await startRtsp();
  await using publisher = await RtspTestClient.publish(`${server.url}/live/a`);
  await publisher.pushFrames("Kvv");
  await videoFrames(server, 3);
  await publisher.ok("PAUSE");
  await publisher.pushFrames("KKK");
  await publisher.ok("RECORD");
  // After the gap video waits for the next keyframe.
  await publisher.pushFrames("vKvv");
  await publisher.ok("OPTIONS");
  await videoFrames(server, 6);
});

Deno.test("RtspSession says goodbye and closes when the stream ends", async () => {
  await using server = await startRtsp();
  const url = `${server.url}/live/a`;
  await using publisher = await RtspTestClient.publish(url);
  await publisher.pushFrames("Kav");
  await videoFrames(server, 2);
  await using player = await RtspTestClient.play(url);
  await publisher.ok("TEARDOWN");
  assertEquals(await player.closed, undefined);
  const types = player.packets.filter(({ rtp }) => rtp === undefined)
    .map(({ channel, bytes }) => [channel, parseRtcp(bytes).map(({ type }) => type).join()]);
  assertEquals(types.slice(-2), [[1, "rr,sdes,bye"], [3, "rr,sdes,bye"]]);
  assertEquals(server.reasons, []);
  assertEquals(server.engine.getStream("live/a"), undefined);
});

Deno.test("RtspSession answers TEARDOWN of a player whose stream has ended", async () => {
  await using server = await startRtsp();
  const url = `${server.url}/live/a`;
  await using publisher = await RtspTestClient.publish(url);
  await publisher.pushFrames("Kav");
  await videoFrames(server, 2);
  await using player = await RtspTestClient.play(url);
  await publisher.ok("TEARDOWN");
  await eventually("a goodbye", () => {
    const last = player.packets.at(-1);
    return last?.rtp === undefined && last !== undefined &&
      parseRtcp(last.bytes).some(({ type }) => type === "bye");
  });
  await player.ok("TEARDOWN");
  assertEquals(server.reasons, []);
});

Deno.test("RtspSession ends the playing of a paused player with the stream", async () => {
  await using server = await startRtsp();
  const url = `${server.url}/live/a`;
  await using publisher = await RtspTestClient.publish(url);
  await publisher.pushFrames("Kav");
  await videoFrames(server, 2);
  await using player = await RtspTestClient.play(url);
  await player.ok("PAUSE");
  await publisher.pushFrames("Kvvv");
  await videoFrames(server, 6);
  await publisher.ok("TEARDOWN");
  assertEquals(await player.closed, undefined);
});

Deno.test("RtspSession says why when a player is kicked", async () => {
  await using server = await startRtsp();
  const url = `${server.url}/live/a`;
  await using publisher = await RtspTestClient.publish(url);
  await publisher.pushFrames("Kv");
  await videoFrames(server, 2);
  await using player = await RtspTestClient.play(url);
  const [subscriber] = server.engine.subscribers.values();
  subscriber?.close({ code: "kicked", detail: "by a test" });
  await player.closed;
  await eventually("a reason", () => server.reasons.length > 0);
  assertEquals(server.reasons, ["its playing was ended: by a test"]);
});

Deno.test("RtspSession ends a player who can't follow a change, and takes it again", async () => {
  await using server = await startRtsp();
  const url = `${server.url}/live/a`;
  await using publisher = await RtspTestClient.publish(url);
  await publisher.pushFrames("Kav");
  await videoFrames(server, 2);
  await using player = await RtspTestClient.play(url);
  const audio = server.engine.getStream("live/a")?.publisher?.audio;
  audio?.setASC(OTHER_ASC);
  audio?.pushRaw(200, Uint8Array.of(1, 2, 3));
  await publisher.pushFrames("vvv");
  await player.closed;
  assertEquals(player.isClosed, true);
  await using again = await RtspTestClient.open(url);
  const { body } = await again.ok("DESCRIBE");
  const { media } = parseSdp(new TextDecoder().decode(body));
  assertEquals(media[1]?.formats[0]?.clockRate, aacConfig(OTHER_ASC).sampleRate);
});

Deno.test("RtspSession waits for a publisher whose connection closed without a word", async () => {
  await using server = await startRtsp();
  const publisher = await RtspTestClient.publish(`${server.url}/live/a`);
  await publisher.pushFrames("Kv");
  await videoFrames(server, 2);
  publisher.close();
  const stream = server.engine.getStream("live/a");
  await eventually("waiting", () => stream?.state === "waiting");
  await using again = await RtspTestClient.publish(`${server.url}/live/a`);
  await again.pushFrames("Kv");
  assertEquals(stream?.state, "live");
  assertEquals(server.reasons, []);
});

Deno.test("RtspSession ends the stream of one who leaves before RECORD", async () => {
  await using server = await startRtsp();
  const publisher = await RtspTestClient.open(`${server.url}/live/a`);
  await publisher.announce();
  const stream = server.engine.getStream("live/a");
  publisher.close();
  assertEquals((await stream?.closed)?.code, "ended");
});

Deno.test("RtspSession lets a connection begin anew after TEARDOWN", async () => {
  await using server = await startRtsp();
  const url = `${server.url}/live/a`;
  await using client = await RtspTestClient.publish(url);
  await client.pushFrames("Kv");
  const stream = server.engine.getStream("live/a");
  await client.ok("TEARDOWN");
  assertEquals((await stream?.closed)?.code, "ended");
  assertEquals(await client.status("RECORD"), 454);
  client.session = undefined;
  await client.announce();
  await client.setUp(0);
  await client.ok("RECORD");
  await eventually("another stream", () => server.engine.getStream("live/a") !== undefined);
});

Deno.test("RtspSession answers PLAY without numbers where packets take long", async () => {
  await using server = await startRtsp();
  const url = `${server.url}/live/a`;
  await using publisher = await RtspTestClient.publish(url);
  await using player = await RtspTestClient.play(url);
  const { headers } = player.responses.at(-1) ?? { headers: new Map<string, string>() };
  const infos = parseRtpInfo(headers.get("rtp-info") ?? "");
  assertEquals(infos, [{ url: `${url}/trackID=0` }, { url: `${url}/trackID=1` }]);
  await publisher.pushFrames("Kvv");
  assertEquals(await player.take(3), ["K0", "1", "2"]);
});

Deno.test("RtspSession expects no track that is not set up", async () => {
  await using server = await startRtsp();
  await using publisher = await RtspTestClient.open(`${server.url}/live/a`);
  await publisher.announce();
  await publisher.setUp(0);
  await publisher.ok("RECORD");
  await publisher.pushFrames("Kvv");
  await videoFrames(server, 3);
  assertEquals(server.engine.getStream("live/a")?.publisher?.complete, true);
});

Deno.test("RtspSession refuses a second publisher, or lets it take over", async () => {
  for (const TakeOver of [false, true]) {
    await using server = await startRtsp({ TakeOver });
    const url = `${server.url}/live/a`;
    await using first = await RtspTestClient.publish(url);
    await using second = await RtspTestClient.open(url);
    const body = serializeSdp(descriptionOf());
    const status = await second.status("ANNOUNCE", {
      headers: { "Content-Type": "application/sdp" },
      body,
    });
    assertEquals(status, TakeOver ? 200 : 403);
    if (TakeOver) await first.closed;
    assertEquals(first.isClosed, TakeOver);
  }
});

Deno.test("RtspSession ends a connection that neither publishes nor plays in time", async () => {
  await using server = await startRtsp({ StartTimeout: 0.1 });
  const url = `${server.url}/live/b`;
  await using publisher = await RtspTestClient.publish(url);
  await publisher.pushFrames("Kvv");
  await using player = await RtspTestClient.play(url);
  await using client = await RtspTestClient.open(`${server.url}/live/a`);
  await client.ok("OPTIONS");
  assertEquals(await client.closed, undefined);
  await eventually("a reason", () => server.reasons.length > 0);
  assertEquals(server.reasons, ["it neither published nor played within 0.1 s"]);
  assertEquals([publisher.isClosed, player.isClosed], [false, false]);
});
