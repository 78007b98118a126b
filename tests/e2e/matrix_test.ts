import { assertEquals, assertLess } from "@std/assert";
import {
  assertSamePackets,
  type Clip,
  type ClipOptions,
  makeClip,
  play,
  type PlayedPacket,
  publish,
} from "../support/ffmpeg.ts";
import { type Protocol, PROTOCOLS, startServer } from "../support/server.ts";

/** Faster than the clips' own clock: what is compared are timestamps, not times. */
const SPEED = 4;

const streams: readonly { readonly name: string; readonly clip: ClipOptions }[] = [
  { name: "H.264 and AAC", clip: {} },
  { name: "H.264 with B-frames and AAC", clip: { bFrames: 2, fps: 30, sampleRate: 44_100 } },
  { name: "H.264 at 60 fps and stereo AAC", clip: { fps: 60, gop: 60, channels: 2 } },
  { name: "H.264 and Opus", clip: { audio: "opus" } },
  { name: "H.264 and MP3", clip: { audio: "mp3" } },
  { name: "H.264 and G.711 A-law", clip: { audio: "pcm_alaw" } },
  { name: "H.264 and G.711 µ-law", clip: { audio: "pcm_mulaw" } },
  { name: "H.264 alone", clip: { audio: "none", bFrames: 1 } },
  { name: "AAC alone", clip: { video: "none" } },
  { name: "Opus alone", clip: { video: "none", audio: "opus" } },
  { name: "H.265 and AAC", clip: { video: "hevc" } },
  { name: "H.265 with B-frames and AAC", clip: { video: "hevc", bFrames: 2 } },
  { name: "AV1 and Opus", clip: { video: "av1", audio: "opus" } },
  { name: "VP9 and Opus", clip: { video: "vp9", audio: "opus" } },
];

for (const { name, clip: options } of streams) {
  for (const protocol of PROTOCOLS) {
    Deno.test(`${name} by ${protocol} arrives packet for packet by rtmp and http`, async () => {
      const clip = await makeClip(options);
      await using server = await startServer();
      const viewers = PROTOCOLS.map((by) => watch(server.url(by, "live/a")));
      await using publisher = publish(server.url(protocol, "live/a"), clip, { speed: SPEED });
      await publisher.done;
      for (const received of await Promise.all(viewers)) assertWhole(clip, received);
    });
  }
}

/** Waits for the stream, which need not be there yet, and plays it to its end. */
async function watch(url: string): Promise<PlayedPacket[]> {
  await using player = await play(url);
  return await player.take({});
}

/** Fails unless `received` is the clip up to its end, from one of its keyframes on. */
function assertWhole(clip: Clip, received: readonly PlayedPacket[]): void {
  const { compared, gaps, offsetMs } = assertSamePackets(clip, received);
  assertEquals(gaps, []);
  // A stream's first publisher decides where its timeline begins.
  for (const kind of ["video", "audio"] as const) {
    if (clip[kind] === undefined) continue;
    assertEquals(offsetMs[kind], 0);
    const packets = received.filter((packet) => packet.kind === kind);
    const rest = clip.packets.filter((packet) =>
      packet.kind === kind && Math.round(packet.dtsUs / 1000) >= (packets[0]?.dtsMs ?? 0)
    );
    assertEquals(packets.length, rest.length);
    assertEquals(compared[kind], rest.length);
  }
}
