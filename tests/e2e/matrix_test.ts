import { assertEquals } from "@std/assert";
import { type ClipOptions, makeClip, publish } from "../support/ffmpeg.ts";
import { PROTOCOLS, startServer } from "../support/server.ts";
import { assertToEnd, Audience, KINDS, takeTo } from "./viewing.ts";

/** Faster than the clips' own clock: timestamps are compared, not times. */
const SPEED = 2;

const streams: readonly { readonly name: string; readonly clip: ClipOptions }[] = [
  { name: "H.264 and AAC", clip: {} },
  { name: "H.264 with B-frames and AAC", clip: { bFrames: 2, fps: 30, sampleRate: 44_100 } },
  { name: "H.264 at 60 fps and stereo AAC", clip: { fps: 60, channels: 2 } },
  { name: "H.264 with a GOP of 10 s and AAC", clip: { gop: 250, seconds: 11, bFrames: 1 } },
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

for (const { name, clip: clipOptions } of streams) {
  for (const protocol of PROTOCOLS) {
    Deno.test(`${name} published by ${protocol} is played packet for packet`, async () => {
      const clip = await makeClip(clipOptions);
      await using server = await startServer();
      // They ask for the stream before it is there, and get it from its start.
      await using audience = new Audience();
      const viewers = PROTOCOLS.map((by) =>
        audience.watch(server.url(by, "live/a"), (player) => takeTo(player, clip))
      );
      const speed = SPEED * (clipOptions.seconds ?? 2) / 2;
      const options = { speed, loops: Infinity };
      await using publisher = publish(server.url(protocol, "live/a"), clip, options);
      await publisher.started;
      for (const received of await Promise.all(viewers)) {
        const { offsetMs } = assertToEnd(clip, received);
        // A stream's first publisher decides where its timeline begins.
        for (const kind of KINDS) if (clip[kind]) assertEquals(offsetMs[kind], 0);
      }
    });
  }
}
