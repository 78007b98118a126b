import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { readAmf0All } from "../src/formats/amf.ts";
import { FlvDemuxer, type FlvTag, TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO } from "../src/formats/flv.ts";
import { audioFramePrefix, parseAudioBody } from "../src/formats/flv_audio.ts";
import { parseVideoBody, videoFramePrefix } from "../src/formats/flv_video.ts";
import { flvFormat, FlvPrefixes, flvTimestamp } from "../src/flv.ts";
import type { MediaFrame } from "../src/frame.ts";
import { aac, ASC, h264, OTHER_ASC } from "./support/frames.ts";
import { pushFrames, pushHeaders, Rig } from "./support/engines.ts";
import { concat } from "../src/bytes.ts";
import { writeFrame } from "./support/formats.ts";

function frame(kind: "video" | "audio", dts: number, init: Partial<MediaFrame> = {}): MediaFrame {
  const config = kind === "video" ? h264() : aac();
  const data = Uint8Array.of(0, 0, 0, 1, 0x65);
  return { kind, sequence: 0, dts, pts: dts, key: true, config, data, ...init } as MediaFrame;
}

/** A tag in short: its kind, its time, and what its body is. */
function told({ type, timestampMs, body }: FlvTag): string {
  if (type === TAG_SCRIPT) return `script ${timestampMs}`;
  const [packet] = type === TAG_VIDEO ? parseVideoBody(body) : parseAudioBody(body);
  assert(packet);
  const kind = type === TAG_AUDIO ? "audio" : "video";
  const cts = "ctsMs" in packet && packet.ctsMs !== 0 ? ` ${packet.ctsMs}` : "";
  return `${kind} ${packet.fourcc} ${packet.type} ${timestampMs}${cts}`;
}

Deno.test("FlvPrefixes.of() gives what belongs before a frame, whatever came before it", () => {
  const configs = {
    video: [h264(), h264(640, 480), { kind: "video", fourcc: "hvc1", codec: "hvc1.1.6.L93.B0" }],
    audio: [aac(), { kind: "audio", fourcc: "Opus", codec: "opus", sampleRate: 48_000 }],
  } as const;
  const shape = fc.record({
    kind: fc.constantFrom("video", "audio"),
    config: fc.nat(2),
    key: fc.boolean(),
    ctsMs: fc.oneof(fc.integer({ min: -3, max: 3 }), fc.integer({ min: -200, max: 200 })),
  });
  fc.assert(
    fc.property(fc.array(shape, { minLength: 100, maxLength: 300 }), (shapes) => {
      const prefixes = new FlvPrefixes();
      for (const { kind, config: index, key, ctsMs } of shapes) {
        const config = configs[kind][index % configs[kind].length];
        const made = frame(
          kind,
          1_000_000,
          { pts: 1_000_000 + ctsMs * 1000, key, config } as never,
        );
        const expected = made.kind === "video"
          ? videoFramePrefix(made.config.fourcc, { key, ctsMs })
          : audioFramePrefix(made.config);
        assertEquals(prefixes.of(made), expected);
      }
    }),
    { seed: 11, numRuns: 30 },
  );
});

Deno.test("flvFormat() writes a file that a demuxer reads back", () => {
  const format = flvFormat();
  const demuxer = new FlvDemuxer();
  const bytes = concat([
    format.header({ video: h264(), audio: aac() }, "start"),
    writeFrame(format, frame("video", 40_000, { pts: 120_400 })),
    writeFrame(format, frame("video", 80_600, { pts: 40_000, key: false })),
    writeFrame(format, frame("audio", 81_333)),
    format.header({ video: h264(640, 480), audio: aac(OTHER_ASC) }, "change"),
    writeFrame(format, frame("audio", 2 ** 32 * 1000 + 5000)),
  ]);
  const tags = demuxer.push(bytes);
  assertEquals(demuxer.header, { video: true, audio: true });
  assertEquals(tags.map(told), [
    "script 0",
    "video avc1 config 0",
    "audio mp4a config 0",
    "video avc1 frame 40 80",
    "video avc1 frame 81 -41",
    "audio mp4a frame 81",
    "script 81",
    "video avc1 config 81",
    "audio mp4a config 81",
    "audio mp4a frame 5",
  ]);
  const bodyOf = (at: number) => tags[at]?.body ?? new Uint8Array();
  assertEquals(parseVideoBody(bodyOf(1))[0]?.data, h264().description);
  assertEquals(parseVideoBody(bodyOf(3))[0]?.data, Uint8Array.of(0, 0, 0, 1, 0x65));
  assertEquals([parseVideoBody(bodyOf(3))[0]?.key, parseVideoBody(bodyOf(4))[0]?.key], [
    true,
    false,
  ]);
  assertEquals(parseAudioBody(bodyOf(2))[0]?.data, ASC);
});

Deno.test("flvFormat() announces what it knows of the tracks in its metadata", () => {
  const metadata = (tracks: Parameters<ReturnType<typeof flvFormat>["header"]>[0]) => {
    const demuxer = new FlvDemuxer();
    const [tag] = demuxer.push(flvFormat().header(tracks, "start"));
    assert(tag?.type === TAG_SCRIPT);
    const [name, entries] = readAmf0All(tag.body);
    assertEquals(name, "onMetaData");
    return { header: demuxer.header, entries: { ...(entries as Record<string, unknown>) } };
  };
  const both = metadata({ video: { ...h264(640, 480), frameRate: 25 }, audio: aac() });
  assertEquals(both.header, { video: true, audio: true });
  assertEquals(both.entries, {
    width: 640,
    height: 480,
    framerate: 25,
    videocodecid: 7,
    audiosamplerate: 48_000,
    audiochannels: 2,
    stereo: true,
    audiocodecid: 10,
  });
  const opus = {
    kind: "audio",
    fourcc: "Opus",
    codec: "opus",
    sampleRate: 48_000,
    numberOfChannels: 1,
  };
  const alone = metadata({ video: undefined, audio: opus as ReturnType<typeof aac> });
  assertEquals(alone.header, { video: false, audio: true });
  assertEquals(alone.entries.audiocodecid, 0x4f707573);
  assertEquals(alone.entries.stereo, false);
});

Deno.test("flvFormat() announces codecs without a record by nothing but the metadata", () => {
  const alaw = {
    kind: "audio",
    fourcc: "alaw",
    codec: "alaw",
    sampleRate: 8000,
    numberOfChannels: 1,
  };
  const video = { kind: "video", fourcc: "vp08", codec: "vp08" } as const;
  const format = flvFormat();
  const tags = new FlvDemuxer().push(concat([
    format.header({ video, audio: alaw as ReturnType<typeof aac> }, "start"),
    writeFrame(
      format,
      frame("audio", 0, { config: alaw as ReturnType<typeof aac> } as Partial<MediaFrame>),
    ),
    writeFrame(format, frame("video", 0, { config: video } as Partial<MediaFrame>)),
  ]));
  assertEquals(tags.map(told), ["script 0", "audio alaw frame 0", "video vp08 frame 0"]);
});

Deno.test("flvTimestamp() rounds to ms, wraps at 32 bits and has nothing below 0", () => {
  assertEquals([-1, 0, 499, 500, 2 ** 32 * 1000 - 1000, 2 ** 32 * 1000].map(flvTimestamp), [
    0,
    0,
    0,
    1,
    2 ** 32 - 1,
    0,
  ]);
});

Deno.test("Subscriber.mux() gives FLV whose every chunk is whole tags", async () => {
  await using rig = new Rig();
  const publisher = await rig.engine.publish("live/a", { type: "Test" });
  pushHeaders(publisher);
  const subscriber = await rig.engine.subscribe("live/a", { type: "FLV" });
  const stream = await subscriber.mux(flvFormat);
  pushFrames(publisher, "V1000 a1000 a1020 v1040 a1040 V1080");
  publisher.close();
  const demuxer = new FlvDemuxer();
  const tags: string[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    bytes += chunk.length;
    for (const tag of demuxer.push(chunk)) tags.push(told(tag));
  }
  // A viewer that reads late starts at the newest key.
  assertEquals(tags, [
    "script 0",
    "video avc1 config 0",
    "audio mp4a config 0",
    "video avc1 frame 1080",
  ]);
  assertEquals([subscriber.stats().bytes, subscriber.stats().frames], [bytes, 1]);
});
