/** FLV tags and RTMP messages on their way into a publisher. */

import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { Engine } from "../src/engine.ts";
import { EndedError, InvalidDataError } from "../src/errors.ts";
import { FlvIngest, flvSink } from "../src/flv_ingest.ts";
import { type AmfInput, EcmaArray, encodeAmf0 } from "../src/formats/amf.ts";
import { FlvDemuxStream, TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO } from "../src/formats/flv.ts";
import type { DataTrack } from "../src/track.ts";
import { audioBody, audioHeader, videoBody, videoHeader } from "./support/frames.ts";

async function start(config: ConstructorParameters<typeof Engine>[0] = {}) {
  const engine = new Engine(config);
  const publisher = await engine.publish("a", { type: "Test" });
  return { engine, publisher, stream: publisher.stream, ingest: new FlvIngest(publisher) };
}

function metadata(values: Record<string, AmfInput>): Uint8Array {
  return encodeAmf0("onMetaData", new EcmaArray(values));
}

/** What a data track holds: times in ms, and values as plain objects. */
function held(track: DataTrack | undefined): [number, unknown][] {
  const values: [number, unknown][] = [];
  const cursor = track?.cursor({ mode: "oldest" });
  for (let unit = cursor?.next(); unit; unit = cursor?.next()) {
    values.push([unit.dts / 1000, JSON.parse(JSON.stringify(unit.value))]);
  }
  return values;
}

Deno.test("FlvIngest.push() hands each type to the track that it is for", async () => {
  const { engine, stream, ingest } = await start();
  ingest.push(TAG_VIDEO, 0, videoHeader());
  ingest.push(TAG_AUDIO, 0, audioHeader());
  ingest.push(TAG_VIDEO, 40, videoBody(true, 1));
  ingest.push(TAG_AUDIO, 60, audioBody(2));
  assertEquals(stream.videoTracks[0]?.newest?.dts, 40_000);
  assertEquals(stream.audioTracks[0]?.newest?.dts, 60_000);
  assertEquals(stream.dataTracks, []);
  await engine.close();
});

Deno.test("FlvIngest.push() puts metadata where the first frame is when they come before it", async () => {
  const { engine, stream, ingest } = await start();
  ingest.push(TAG_SCRIPT, 0, metadata({ width: 320, encoder: "x" }));
  ingest.push(TAG_VIDEO, 0, videoHeader());
  assertEquals(stream.dataTracks, []);
  ingest.push(TAG_VIDEO, 90_000, videoBody(true));
  assertEquals(held(stream.dataTracks[0]), [[90_000, { width: 320, encoder: "x" }]]);
  assertEquals(stream.dataTracks[0]?.name, "metadata");
  ingest.push(TAG_SCRIPT, 0, metadata({ width: 640 }));
  ingest.push(TAG_VIDEO, 90_040, videoBody(false));
  assertEquals(held(stream.dataTracks[0])[1], [90_000, { width: 640 }]);
  assertEquals(stream.videoTracks[0]?.newest?.dts, 90_040_000);
  await engine.close();
});

Deno.test("FlvIngest.push() lets a stream go on smoothly when a second publisher begins with metadata", async () => {
  const { engine, stream, publisher, ingest } = await start();
  ingest.push(TAG_VIDEO, 0, videoHeader());
  ingest.push(TAG_VIDEO, 1000, videoBody(true));
  publisher.lose("gone");
  const second = new FlvIngest(await engine.publish("a", { type: "Test" }));
  second.push(TAG_SCRIPT, 0, metadata({ width: 320 }));
  second.push(TAG_VIDEO, 0, videoHeader());
  second.push(TAG_VIDEO, 90_000, videoBody(true));
  assertEquals(stream.videoTracks[0]?.newest?.dts, 1_040_000);
  await engine.close();
});

Deno.test("FlvIngest.push() unwraps @setDataFrame as RTMP publishers send it", async () => {
  const { engine, stream, ingest } = await start();
  ingest.push(TAG_VIDEO, 0, videoHeader());
  ingest.push(TAG_VIDEO, 0, videoBody(true));
  ingest.push(TAG_SCRIPT, 0, encodeAmf0("@setDataFrame", "onMetaData", { width: 320 }));
  assertEquals(held(stream.dataTracks[0]), [[0, { width: 320 }]]);
  await engine.close();
});

Deno.test("FlvIngest.push() keeps other script data with their names", async () => {
  const { engine, stream, ingest } = await start();
  ingest.push(TAG_VIDEO, 0, videoHeader());
  ingest.push(TAG_VIDEO, 0, videoBody(true));
  ingest.push(TAG_SCRIPT, 20, encodeAmf0("onCuePoint", { name: "goal" }, 2));
  assertEquals(stream.dataTracks[0]?.name, "script");
  assertEquals(held(stream.dataTracks[0]), [
    [20, { name: "onCuePoint", values: [{ name: "goal" }, 2] }],
  ]);
  await engine.close();
});

Deno.test("FlvIngest.push() passes over script data that say nothing", async () => {
  const { engine, stream, ingest } = await start();
  const bodies = [
    new Uint8Array(),
    encodeAmf0(1),
    encodeAmf0("onMetaData"),
    encodeAmf0("onMetaData", "x"),
    encodeAmf0("@setDataFrame"),
  ];
  for (const body of bodies) ingest.push(TAG_SCRIPT, 0, body);
  assertEquals(stream.tracks, []);
  await engine.close();
});

Deno.test("FlvIngest.push() completes the tracks once those that the metadata announce are live", async () => {
  const cases: [Record<string, AmfInput>, string][] = [
    [{ videocodecid: 7, audiocodecid: 10 }, "after audio"],
    [{ videocodecid: "avc1" }, "after video"],
    [{ videocodecid: 7, audiocodecid: 0 }, "after audio"],
    [{ videocodecid: 7, audiocodecid: null }, "after video"],
    [{ width: 320 }, "never"],
  ];
  for (const [values, when] of cases) {
    for (const early of [true, false]) {
      const { engine, publisher, ingest } = await start();
      if (early) ingest.push(TAG_SCRIPT, 0, metadata(values));
      assertEquals(publisher.complete, false);
      ingest.push(TAG_VIDEO, 0, videoHeader());
      if (!early) ingest.push(TAG_SCRIPT, 0, metadata(values));
      assertEquals(publisher.complete, when === "after video");
      ingest.push(TAG_AUDIO, 0, audioHeader());
      assertEquals(publisher.complete, when !== "never");
      await engine.close();
    }
  }
});

Deno.test("FlvIngest.push() does not wait for a track that the engine does not take", async () => {
  const { engine, publisher, ingest } = await start({ EnableAudio: false });
  ingest.push(TAG_SCRIPT, 0, metadata({ videocodecid: 7, audiocodecid: 10 }));
  ingest.push(TAG_VIDEO, 0, videoHeader());
  assertEquals(publisher.complete, true);
  await engine.close();
});

Deno.test("FlvIngest.push() throws when a body is malformed or the publisher has ended", async () => {
  const { engine, publisher, ingest } = await start();
  assertThrows(() => ingest.push(TAG_VIDEO, 0, Uint8Array.of(0x1f)), InvalidDataError);
  assertThrows(() => ingest.push(TAG_SCRIPT, 0, Uint8Array.of(2, 0, 9, 65)), InvalidDataError);
  publisher.close();
  assertThrows(() => ingest.push(TAG_VIDEO, 0, videoHeader()), EndedError);
  await engine.close();
});

Deno.test("flvSink() publishes a file and ends the publisher with it", async () => {
  const { engine, publisher, stream } = await start();
  const file = await Deno.open(new URL("./fixtures/flv/h264_aac.flv", import.meta.url));
  await file.readable.pipeThrough(new FlvDemuxStream()).pipeTo(flvSink(publisher));
  assertEquals(await publisher.closed, { code: "ended", detail: "its publisher ended it" });
  assertEquals(stream.tracks.map(({ kind }) => kind), ["video", "audio", "data"]);
  await engine.close();
});

Deno.test("flvSink() fails the publisher when the bytes are no FLV", async () => {
  const { engine, publisher } = await start();
  const garbage = new Blob(["this is no FLV at all"]).stream().pipeThrough(new FlvDemuxStream());
  await assertRejects(() => garbage.pipeTo(flvSink(publisher)), InvalidDataError);
  assertEquals((await publisher.closed).code, "error");
  await engine.close();
});

Deno.test("flvSink() loses the publisher when its source breaks", async () => {
  const { engine, publisher } = await start();
  const broken = new ReadableStream({ start: (to) => to.error(new Error("unplugged")) });
  await assertRejects(() => broken.pipeTo(flvSink(publisher)), Error, "unplugged");
  assertEquals(await publisher.closed, { code: "lost", detail: "unplugged" });
  await engine.close();
});
