/**
 * Writes the FLV files in `tests/fixtures/flv/` with FFmpeg's own encoders and muxer:
 *
 *     deno run -A tests/support/make_flv_fixtures.ts
 */

import { type ClipOptions, makeClip, publish } from "./ffmpeg.ts";

const folder = new URL("../fixtures/flv/", import.meta.url);

const fixtures: readonly { readonly name: string; readonly clip: ClipOptions }[] = [
  { name: "h264_aac.flv", clip: { video: "h264", audio: "aac", bFrames: 2, seconds: 0.5 } },
  { name: "hevc_opus.flv", clip: { video: "hevc", audio: "opus", bFrames: 2, seconds: 0.5 } },
  { name: "av1_mp3.flv", clip: { video: "av1", audio: "mp3", seconds: 0.5 } },
  { name: "alaw.flv", clip: { video: "none", audio: "pcm_alaw", seconds: 0.5 } },
];

await Deno.mkdir(folder, { recursive: true });
for (const { name, clip } of fixtures) {
  const { pathname } = new URL(name, folder);
  await using publisher = publish(pathname, await makeClip(clip), { speed: Infinity });
  await publisher.done;
}
