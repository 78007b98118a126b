/** MPEG-TS muxing: of one frame, and of a second of a stream. */

import type { VideoConfig } from "../src/codecs/config.ts";
import { joinLengthPrefixed } from "../src/codecs/nal.ts";
import { TsMuxer } from "../src/formats/mpegts.ts";
import type { MediaFrame } from "../src/frame.ts";
import { mpegts } from "../src/mpegts.ts";
import { AUDIO_CONFIG, audioFrame, clip, FRAME_BYTES, randomBytes, videoFrame } from "./frames.ts";

const VIDEO_CONFIG: VideoConfig = { kind: "video", fourcc: "avc1", codec: "avc1.64001f" };

const PICTURES = {
  key: slice(0x65, FRAME_BYTES.key),
  inter: slice(0x41, FRAME_BYTES.inter),
};

/** An access unit of one slice. */
function slice(header: number, length: number): Uint8Array {
  const nalu = randomBytes(length - 4);
  nalu[0] = header;
  return joinLengthPrefixed([nalu]);
}

/** The frame with NAL units in it. */
function withNalus(frame: MediaFrame): MediaFrame {
  if (frame.kind === "audio") return frame;
  const data = frame.key ? PICTURES.key : PICTURES.inter;
  return { ...frame, config: VIDEO_CONFIG, data };
}

const FRAMES = {
  audio: audioFrame(1),
  inter: withNalus(videoFrame(1)),
  key: withNalus(videoFrame(0)),
};

for (const [name, frame] of Object.entries(FRAMES)) {
  const muxer = new TsMuxer();
  muxer.configure({ video: VIDEO_CONFIG, audio: AUDIO_CONFIG });
  muxer.writeFrame(FRAMES.inter);
  Deno.bench({
    group: "MPEG-TS packets of a frame",
    name: `MPEG-TS: ${name}, ${frame.data.length} B`,
    fn: () => void muxer.writeFrame(frame),
  });
}

const second = clip(1_000_000).map(withNalus);
const megabytes = second.reduce((sum, { data }) => sum + data.length, 0) / 1e6;
const format = mpegts();
format.header({ video: VIDEO_CONFIG, audio: AUDIO_CONFIG }, "start");

Deno.bench({
  group: "MPEG-TS of a stream",
  name: `MPEG-TS: a second of a stream, ${megabytes.toFixed(3)} MB in ${second.length} frames`,
  fn() {
    for (const frame of second) format.write(frame);
  },
});
