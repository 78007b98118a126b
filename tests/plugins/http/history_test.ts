/** What the API knows of the last minutes of tracks. */

import { assert, assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { Engine } from "../../../src/engine.ts";
import { StreamHistories } from "../../../plugins/http/history.ts";
import { listLogger } from "../../support/logs.ts";
import { audioBody, audioHeader, videoBody, videoHeader } from "../../support/frames.ts";

/** An engine, with a publisher of `live/a` at 25 frames a second, on fake time. */
async function startRig() {
  const time = new FakeTime();
  const engine = new Engine({ PublishTimeout: 3600 }, { log: listLogger([]), nowMs: Date.now });
  const stopping = new AbortController();
  const histories = new StreamHistories(engine, stopping.signal);
  assertEquals(time.next(), false, "no timer without streams");
  const publisher = await engine.publish("live/a", { type: "Test" });
  publisher.video.pushByteStream(0, videoHeader());
  publisher.audio.pushByteStream(0, audioHeader());
  let frame = 0;
  return {
    time,
    engine,
    publisher,
    histories,
    stop: () => stopping.abort(),
    /** Lets `seconds` pass, with 25 frames in each and a key every second. */
    async play(seconds: number) {
      for (const last = frame + 25 * seconds; frame < last; frame++) {
        publisher.video.pushByteStream(frame * 40, videoBody(frame % 25 === 0, frame % 256));
        publisher.audio.pushByteStream(frame * 40, audioBody(frame % 256));
        await time.tickAsync(40);
      }
    },
    async [Symbol.asyncDispose]() {
      await engine.close();
      time.restore();
    },
  };
}

Deno.test("StreamHistories has a point of each track every two seconds", async () => {
  await using rig = await startRig();
  const startMs = Date.now();
  assertEquals(rig.histories.of("live/a").map(({ points }) => points), [[], []]);
  await rig.play(7);
  const [video, audio] = rig.histories.of("live/a");
  assertEquals([video?.kind, video?.name, audio?.kind, audio?.name], [
    "video",
    "video",
    "audio",
    "audio",
  ]);
  assertEquals(video?.points.map(({ atMs }) => atMs - startMs), [2000, 4000, 6000]);
  const [, , point] = video?.points ?? [];
  const [stats] = rig.engine.getStream("live/a")?.tracks.map((track) => track.stats()) ?? [];
  assert(stats && point);
  assertEquals([point.fps, point.gopMs], [25, 1000]);
  assertEquals(point.bitrate, stats.bitrate);
  assertEquals(audio?.points.map(({ fps, gopMs }) => [fps, gopMs]), Array(3).fill([25, 0]));
  assertEquals(rig.histories.of("live/b"), []);
});

Deno.test("StreamHistories keeps five minutes", async () => {
  await using rig = await startRig();
  const startMs = Date.now();
  await rig.play(2);
  await rig.time.tickAsync(320_000);
  const [video] = rig.histories.of("live/a");
  assertEquals(video?.points.length, 150);
  assertEquals(video?.points[0]?.atMs, startMs + 24_000);
  assertEquals(video?.points.at(-1)?.atMs, startMs + 322_000);
});

Deno.test("StreamHistories has zeros where no frame came", async () => {
  await using rig = await startRig();
  await rig.play(2);
  await rig.time.tickAsync(4000);
  await rig.play(2);
  const [video] = rig.histories.of("live/a");
  assertEquals(video?.points.map(({ fps }) => fps > 0), [true, false, false, true]);
  assertEquals(video?.points.map(({ bitrate }) => bitrate > 0), [true, false, false, true]);
});

Deno.test("StreamHistories looks at streams that are published here, while there are any", async () => {
  await using rig = await startRig();
  const { engine, histories, publisher, time } = rig;
  const replica = engine.repeat("live/b", { type: "Test" });
  replica.video.pushByteStream(0, videoHeader());
  await rig.play(2);
  assertEquals(histories.of("live/b").flatMap(({ points }) => points), []);
  publisher.close();
  await time.runMicrotasks();
  assertEquals(histories.of("live/a"), []);
  replica.close();
  await time.runMicrotasks();
  assertEquals(time.next(), false, "no timer is left");
  const again = await engine.publish("live/a", { type: "Test" });
  again.video.pushByteStream(0, videoHeader());
  again.video.pushByteStream(0, videoBody(true));
  assertEquals(histories.of("live/a").flatMap(({ points }) => points), []);
  await time.tickAsync(2000);
  assertEquals(histories.of("live/a").flatMap(({ points }) => points).length, 1);
  rig.stop();
  await time.tickAsync(2000);
  assertEquals(histories.of("live/a").flatMap(({ points }) => points).length, 1);
});

Deno.test("StreamHistories begins with the streams that are there", async () => {
  await using rig = await startRig();
  rig.stop();
  const histories = new StreamHistories(rig.engine, new AbortController().signal);
  await rig.play(2);
  assertEquals(histories.of("live/a").map(({ points }) => points.length), [1, 1]);
});
