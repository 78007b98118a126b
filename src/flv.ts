/** FLV as a format of muxes (Adobe FLV 10.1 annex E, Enhanced RTMP v2). */

import type { AudioConfig, VideoConfig } from "./codecs/config.ts";
import { concat } from "./bytes.ts";
import { type AmfInput, EcmaArray, encodeAmf0 } from "./formats/amf.ts";
import {
  flvHeader,
  flvTag,
  flvTagLength,
  TAG_AUDIO,
  TAG_SCRIPT,
  TAG_VIDEO,
  writeFlvTag,
} from "./formats/flv.ts";
import { audioConfigBody, audioFramePrefix } from "./formats/flv_audio.ts";
import { videoConfigBody, videoFramePrefix } from "./formats/flv_video.ts";
import type { MediaFrame, VideoAccessUnit } from "./frame.ts";
import type { Format, FormatTracks } from "./mux.ts";
import { fourccNumber } from "./formats/flv_enhanced.ts";

/** Kinds of FLV tags and of RTMP messages alike: 8, 9 and 18. */
export type FlvMessageType = typeof TAG_AUDIO | typeof TAG_VIDEO | typeof TAG_SCRIPT;

/** What a tag or message holds. */
export interface FlvMessage {
  /** Its kind. */
  readonly type: FlvMessageType;
  /** Its body. */
  readonly body: Uint8Array;
}

/** Milliseconds of a timestamp in µs, as FLV and RTMP count them: rounded, modulo 2^32. */
export function flvTimestamp(us: number): number {
  return Math.max(0, Math.round(us / 1000)) % 2 ** 32;
}

/** Composition times of which the prefixes are kept: a stream has but a few. */
const MAX_PREFIXES = 64;

/** What goes before the data of a stream's frames in their bodies; it is the same for many. */
export class FlvPrefixes {
  #fourcc = "";
  readonly #video = new Map<number, Uint8Array>();
  #audioConfig: AudioConfig | undefined;
  #audio: Uint8Array = new Uint8Array();

  /** What goes before the data of `frame`. */
  of(frame: MediaFrame): Uint8Array {
    return frame.kind === "video" ? this.#ofVideo(frame) : this.#ofAudio(frame.config);
  }

  #ofVideo({ config: { fourcc }, key, pts, dts }: VideoAccessUnit): Uint8Array {
    const ctsMs = Math.round(pts / 1000) - Math.round(dts / 1000);
    if (fourcc !== this.#fourcc || this.#video.size > MAX_PREFIXES) this.#video.clear();
    this.#fourcc = fourcc;
    const known = key ? undefined : this.#video.get(ctsMs);
    if (known !== undefined) return known;
    const prefix = videoFramePrefix(fourcc, { key, ctsMs });
    if (!key) this.#video.set(ctsMs, prefix);
    return prefix;
  }

  #ofAudio(config: AudioConfig): Uint8Array {
    if (config !== this.#audioConfig) this.#audio = audioFramePrefix(config);
    this.#audioConfig = config;
    return this.#audio;
  }
}

/** The message that carries a decoder configuration; undefined for codecs that need none. */
export function flvConfigMessage(config: VideoConfig | AudioConfig): FlvMessage | undefined {
  if (config.kind === "audio") {
    const body = audioConfigBody(config);
    return body && { type: TAG_AUDIO, body };
  }
  if (config.description === undefined) return undefined;
  return { type: TAG_VIDEO, body: videoConfigBody(config.fourcc, config.description) };
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
  return { type: TAG_SCRIPT, body: encodeAmf0("onMetaData", new EcmaArray(entries)) };
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
  const prefixes = new FlvPrefixes();
  return {
    header(tracks, at) {
      const timestampMs = at === "start" ? 0 : lastMs;
      const tags = flvHeaderMessages(tracks).map(({ type, body }) =>
        flvTag(type, timestampMs, [body])
      );
      const { video, audio } = tracks;
      const head = flvHeader({ video: video !== undefined, audio: audio !== undefined });
      return concat(at === "start" ? [head, ...tags] : tags);
    },
    write(frame) {
      lastMs = flvTimestamp(frame.dts);
      return flvTagLength(prefixes.of(frame).length + frame.data.length);
    },
    copyTo(frame, target, at) {
      const { kind, dts, data } = frame;
      const type = kind === "video" ? TAG_VIDEO : TAG_AUDIO;
      const timestampMs = flvTimestamp(dts);
      writeFlvTag(target, at, { type, timestampMs, prefix: prefixes.of(frame), data });
    },
  };
}
