/** Frames to measure with: the sizes and the pace of a 720p30 stream with AAC. */

import type { AudioConfig, VideoConfig } from "../src/codecs/config.ts";
import type { AudioAccessUnit, MediaFrame, VideoAccessUnit } from "../src/frame.ts";

/** Bytes of an audio frame, an inter frame and a keyframe. */
export const FRAME_BYTES = { audio: 400, inter: 8_000, key: 60_000 } as const;

const FRAMES_PER_GOP = 60;
const VIDEO_FRAME_US = 33_333;
const AUDIO_FRAME_US = 21_333;

/** The configuration of the video frames. */
export const VIDEO_CONFIG: VideoConfig = {
  kind: "video",
  fourcc: "avc1",
  codec: "avc1.64001f",
  description: new Uint8Array(40),
  codedWidth: 1280,
  codedHeight: 720,
};

/** The configuration of the audio frames. */
export const AUDIO_CONFIG: AudioConfig = {
  kind: "audio",
  fourcc: "mp4a",
  codec: "mp4a.40.2",
  description: new Uint8Array([0x11, 0x90]),
  sampleRate: 48_000,
  numberOfChannels: 2,
};

const DATA = {
  audio: randomBytes(FRAME_BYTES.audio),
  inter: randomBytes(FRAME_BYTES.inter),
  key: randomBytes(FRAME_BYTES.key),
};

/** The video frame numbered `sequence`. */
export function videoFrame(sequence: number): VideoAccessUnit {
  const key = sequence % FRAMES_PER_GOP === 0;
  const dts = sequence * VIDEO_FRAME_US;
  const data = key ? DATA.key : DATA.inter;
  return { kind: "video", config: VIDEO_CONFIG, sequence, dts, pts: dts, key, data };
}

/** The audio frame numbered `sequence`. */
export function audioFrame(sequence: number): AudioAccessUnit {
  const dts = sequence * AUDIO_FRAME_US;
  const data = DATA.audio;
  return { kind: "audio", config: AUDIO_CONFIG, sequence, dts, pts: dts, key: true, data };
}

/** The frames of both tracks, by DTS, without an end. */
export function* interleavedFrames(): Generator<MediaFrame, never> {
  let video = videoFrame(0);
  let audio = audioFrame(0);
  while (true) {
    if (video.dts <= audio.dts) {
      yield video;
      video = videoFrame(video.sequence + 1);
    } else {
      yield audio;
      audio = audioFrame(audio.sequence + 1);
    }
  }
}

/** The frames of the first `durationUs`, by DTS. */
export function clip(durationUs: number): MediaFrame[] {
  return interleavedFrames().take(300 * Math.ceil(durationUs / 1e6))
    .filter((frame) => frame.dts < durationUs).toArray();
}

/** The same `length` random bytes in every run. */
export function randomBytes(length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  let state = length >>> 0 || 1;
  for (let index = 0; index < length; index++) {
    // Marsaglia's xorshift32.
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[index] = state;
  }
  return bytes;
}
