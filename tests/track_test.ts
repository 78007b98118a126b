import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import type { AudioAccessUnit, DataUnit, VideoAccessUnit } from "../src/frame.ts";
import { view } from "../src/frame.ts";
import { TrackWriter } from "../src/track.ts";
import { h264 } from "./support/frames.ts";
import { take, turns } from "./support/reading.ts";

function write(writer: TrackWriter<VideoAccessUnit>, dtsMs: number, key: boolean): VideoAccessUnit {
  const sequence = writer.ring.head;
  const data = new Uint8Array(1000);
  const dts = dtsMs * 1000;
  const frame = { kind: "video", sequence, dts, pts: dts, key, config: h264(), data } as const;
  writer.write(frame, data.length);
  return frame;
}

Deno.test("Track.stats() counts frames, bytes, rate and GOP of the last two seconds", () => {
  const writer = new TrackWriter<VideoAccessUnit>("video", "video");
  const { track } = writer;
  assertEquals(track.stats(), {
    frames: 0,
    bytes: 0,
    discarded: 0,
    bitrate: 0,
    fps: 0,
    gopFrames: 0,
    gopMs: 0,
  });
  for (let at = 0; at <= 100; at++) write(writer, at * 40, at % 50 === 0);
  writer.discard();
  assertEquals(track.stats(), {
    frames: 101,
    bytes: 101_000,
    discarded: 1,
    bitrate: 200_000,
    fps: 25,
    gopFrames: 50,
    gopMs: 2000,
  });
});

Deno.test("Track.live tells whether a decoder could be set up", () => {
  const writer = new TrackWriter<VideoAccessUnit>("video", "video");
  assertEquals([writer.track.live, writer.track.config], [false, undefined]);
  const config = h264();
  writer.config = config;
  assert(writer.track.live);
  assertStrictEquals(writer.track.config, config);
  assert(new TrackWriter<DataUnit>("data", "chat").track.live);
  assertEquals(new TrackWriter<AudioAccessUnit>("audio", "audio").track.live, false);
});

Deno.test("Track.readable() gives each caller the same frames from the newest key on", async () => {
  const writer = new TrackWriter<VideoAccessUnit>("video", "video");
  const { track } = writer;
  write(writer, 0, true);
  const key = write(writer, 40, true);
  const readers = [track.readable().getReader(), track.readable({ mode: "oldest" }).getReader()];
  const [live, oldest] = await Promise.all(readers.map((reader) => take(reader, 1)));
  assertStrictEquals(live?.[0], key);
  assertEquals(oldest?.[0]?.dts, 0);
  assertStrictEquals(track.newest, key);
  const reads = readers.map((reader) => reader.read());
  await turns();
  writer.ring.close();
  assertEquals((await reads[0])?.done, true);
  assertStrictEquals((await reads[1])?.value, key);
});

Deno.test("Track.readable() ends with its signal", async () => {
  const writer = new TrackWriter<VideoAccessUnit>("video", "video");
  const controller = new AbortController();
  const reader = writer.track.readable({ signal: controller.signal }).getReader();
  const read = reader.read().catch((error: unknown) => error);
  await turns();
  controller.abort("enough");
  assertEquals(await read, "enough");
  assertEquals(writer.track.ring.waiting.size, 0);
});

Deno.test("view() derives once for all that ask, and not before", () => {
  const writer = new TrackWriter<VideoAccessUnit>("video", "video");
  let derived = 0;
  const length = view((frame: VideoAccessUnit) => ({ count: ++derived, bytes: frame.data.length }));
  const [first, second] = [write(writer, 0, true), write(writer, 40, false)];
  assertEquals(derived, 0);
  assertStrictEquals(length(first), length(first));
  assertEquals([length(first).count, length(second).count, derived], [1, 2, 2]);
});
