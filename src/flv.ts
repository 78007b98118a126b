/** FLV as a format of muxes (Adobe FLV 10.1 annex E, Enhanced RTMP v2). */

import type { AudioConfig, VideoConfig } from "./codecs/config.ts";
import { concat } from "./bytes.ts";
import { type AmfInput, EcmaArray, encodeAmf0 } from "./formats/amf.ts";
import { flvHeader, flvTagParts, TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO } from "./formats/flv.ts";
import { audioConfigBody, audioFramePrefix } from "./formats/flv_audio.ts";
import { videoConfigBody, videoFramePrefix } from "./formats/flv_video.ts";
import type { MediaFrame } from "./frame.ts";
import type { Format, FormatTracks } from "./mux.ts";
import { fourccNumber } from "./formats/flv_enhanced.ts";

/** A message of FLV tags and RTMP messages: type 8, 9 or 18, and its body in parts. */
export interface FlvMessage {
  /** Kind of the tag or message. */
  readonly type: typeof TAG_AUDIO | typeof TAG_VIDEO | typeof TAG_SCRIPT;
  /** The body, in parts. */
  readonly parts: readonly Uint8Array[];
}

/** Milliseconds of a timestamp in µs, as FLV and RTMP count them: rounded, modulo 2^32. */
export function flvTimestamp(us: number): number {
  return Math.max(0, Math.round(us / 1000)) % 2 ** 32;
}

/** The message of a frame. */
export function flvFrameMessage(frame: MediaFrame): FlvMessage {
  if (frame.kind === "audio") {
    return { type: TAG_AUDIO, parts: [audioFramePrefix(frame.config), frame.data] };
  }
  const ctsMs = Math.round(frame.pts / 1000) - Math.round(frame.dts / 1000);
  const prefix = videoFramePrefix(frame.config.fourcc, { key: frame.key, ctsMs });
  return { type: TAG_VIDEO, parts: [prefix, frame.data] };
}

/** The message that carries a decoder configuration; undefined for codecs that need none. */
export function flvConfigMessage(config: VideoConfig | AudioConfig): FlvMessage | undefined {
  if (config.kind === "audio") {
    const body = audioConfigBody(config);
    return body && { type: TAG_AUDIO, parts: [body] };
  }
  if (config.description === undefined) return undefined;
  return { type: TAG_VIDEO, parts: [videoConfigBody(config.fourcc, config.description)] };
}

/** The `onMetaData` message of a set of tracks (FLV 10.1 E.5). */
export function flvMetadataMessage(tracks: FormatTracks): FlvMessage {
  const { video, audio } = tracks;
  const entries: Record<string, AmfInput> = {};
  if (video !== undefined) {
    if (video.codedWidth !== undefined) entries.width = video.codedWidth;
    if (video.codedHeight !== undefined) entries.height = video.codedHeight;
    if (video.frameRate !== undefined) entries.framerate = video.frameRate;
    entries.videocodecid = video.fourcc === "avc1" ? 7 : fourccNumber(video.fourcc);
  }
  if (audio !== undefined) {
    entries.audiosamplerate = audio.sampleRate;
    entries.audiochannels = audio.numberOfChannels;
    entries.stereo = audio.numberOfChannels > 1;
    entries.audiocodecid = AUDIO_CODEC_IDS[audio.fourcc] ?? fourccNumber(audio.fourcc);
  }
  return { type: TAG_SCRIPT, parts: [encodeAmf0("onMetaData", new EcmaArray(entries))] };
}

/** Sound formats of FLV 10.1 E.4.2.1; the others are told by FourCC. */
const AUDIO_CODEC_IDS: Readonly<Record<string, number>> = {
  ".mp3": 2,
  alaw: 7,
  ulaw: 8,
  mp4a: 10,
};

/** The messages that announce a set of tracks: metadata, then the configurations. */
export function flvHeaderMessages(tracks: FormatTracks): FlvMessage[] {
  const messages = [flvMetadataMessage(tracks)];
  for (const config of [tracks.video, tracks.audio]) {
    const message = config && flvConfigMessage(config);
    if (message) messages.push(message);
  }
  return messages;
}

/** An FLV file without an end, each frame one tag. */
export function flvFormat(): Format {
  let lastMs = 0;
  const tag = ({ type, parts }: FlvMessage, timestampMs: number) =>
    flvTagParts(type, timestampMs, parts);
  return {
    header(tracks, at) {
      const timestampMs = at === "start" ? 0 : lastMs;
      const tags = flvHeaderMessages(tracks).flatMap((message) => tag(message, timestampMs));
      const { video, audio } = tracks;
      const head = flvHeader({ video: video !== undefined, audio: audio !== undefined });
      return concat(at === "start" ? [head, ...tags] : tags);
    },
    write(frame) {
      lastMs = flvTimestamp(frame.dts);
      return tag(flvFrameMessage(frame), lastMs);
    },
  };
}
