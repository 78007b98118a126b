/**
 * FFmpeg 8 inside the test process: the real publisher and player of the e2e tests.
 *
 * Each player holds a thread of the process while it waits, so that at most 28 publishers and players work at a
 * time; crowds of viewers want something lighter. `FFMPEG_LOG=1` shows what FFmpeg says.
 *
 * ```ts ignore
 * const clip = await makeClip({ video: "h264", audio: "aac", bFrames: 2, seconds: 2 });
 * await using publisher = publish("rtmp://127.0.0.1:1935/live/a", clip, { loops: Infinity });
 * await publisher.started;
 * await using player = await play("http://127.0.0.1:8080/live/a.flv");
 * assertSamePackets(clip, await player.take({ mediaMs: 1_000 }), { loops: 10 });
 * ```
 */
export {
  type AudioCodec,
  type Clip,
  type ClipOptions,
  type ClipPacket,
  type ClipTrack,
  makeClip,
  type VideoCodec,
} from "./ffmpeg/clip.ts";
export {
  assertSamePackets,
  type CompareOptions,
  comparePackets,
  type Comparison,
  type Gap,
} from "./ffmpeg/compare.ts";
export {
  play,
  playAll,
  type PlayedPacket,
  type Player,
  type PlayOptions,
  type TakeOptions,
} from "./ffmpeg/play.ts";
export { publish, type Publisher, type PublishOptions } from "./ffmpeg/publish.ts";
