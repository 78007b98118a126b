/** Frames, configurations and message bodies made by hand, for tests of the core. */

import { BitWriter } from "../../src/bits.ts";
import { concat } from "../../src/bytes.ts";
import type { AudioConfig, VideoConfig } from "../../src/codecs/config.ts";
import { aacConfig } from "../../src/codecs/aac.ts";
import { h264Config } from "../../src/codecs/h264.ts";
import { joinLengthPrefixed } from "../../src/codecs/nal.ts";
import { audioConfigBody, audioFramePrefix } from "../../src/formats/flv_audio.ts";
import { videoConfigBody, videoFramePrefix } from "../../src/formats/flv_video.ts";
import type { AudioAccessUnit, MediaFrame, VideoAccessUnit } from "../../src/frame.ts";
import { Ring, type RingOptions } from "../../src/ring.ts";

/** AAC LC, 48 kHz, stereo. */
export const ASC: Uint8Array = Uint8Array.of(0x11, 0x90);

/** AAC LC, 44.1 kHz, mono. */
export const OTHER_ASC: Uint8Array = Uint8Array.of(0x12, 0x08);

/** A picture parameter set of H.264 Baseline. */
export const PPS: Uint8Array = Uint8Array.of(0x68, 0xce, 0x38, 0x80);

/** A sequence parameter set of H.264 Baseline; both sizes are multiples of 16. */
export function sps(width = 320, height = 240): Uint8Array<ArrayBuffer> {
  const writer = new BitWriter().bits(0x67, 8).bits(66, 8).bits(0xc0, 8).bits(30, 8);
  for (const value of [0, 0, 0, 0, 1]) ue(writer, value);
  writer.bit(0);
  ue(writer, width / 16 - 1);
  ue(writer, height / 16 - 1);
  return writer.bits(0b11001, 5).finish();
}

function ue(writer: BitWriter, value: number): void {
  const length = Math.floor(Math.log2(value + 1));
  writer.bits(0, length).bits(value + 1, length + 1);
}

/** An H.264 slice NAL unit, of an IDR picture if `key`, with `mark` in it. */
export function slice(key: boolean, mark = 0, length = 8): Uint8Array<ArrayBuffer> {
  const nalu = new Uint8Array(length).fill(0xaa);
  nalu[0] = key ? 0x65 : 0x41;
  nalu[1] = 0x88;
  nalu[2] = 0x80 | (mark & 0x7f);
  return nalu;
}

/** A configuration of H.264. */
export function h264(width = 320, height = 240): VideoConfig {
  return h264Config({ sps: [sps(width, height)], pps: [PPS] });
}

/** A configuration of AAC. */
export function aac(asc: Uint8Array = ASC): AudioConfig {
  return aacConfig(asc);
}

/** The body of an FLV tag with the sequence header of `config`. */
export function videoHeader(config: VideoConfig = h264()): Uint8Array {
  return videoConfigBody(config.fourcc, config.description ?? new Uint8Array());
}

/** The body of an FLV tag with an access unit of H.264. */
export function videoBody(key: boolean, mark = 0, ctsMs = 0): Uint8Array {
  return frameBody("avc1", joinLengthPrefixed([slice(key, mark)]), { key, ctsMs });
}

/** The body of an FLV tag with `data` as a frame of `fourcc`. */
export function frameBody(
  fourcc: string,
  data: Uint8Array,
  options: { key: boolean; ctsMs?: number },
): Uint8Array {
  return concat([videoFramePrefix(fourcc, { ctsMs: 0, ...options }), data]);
}

/** The body of an FLV tag with the sequence header of `config`. */
export function audioHeader(config: AudioConfig = aac()): Uint8Array {
  return audioConfigBody(config) ?? new Uint8Array();
}

/** The body of an FLV tag with a frame of `config`'s codec. */
export function audioBody(mark = 0, config: AudioConfig = aac()): Uint8Array {
  return concat([audioFramePrefix(config), Uint8Array.of(0x21, mark, 0x5a)]);
}

const VIDEO = h264();
const AUDIO = aac();

/** Writes frames of one track into a ring of its own, with no publisher between. */
export class Feed<F extends MediaFrame = MediaFrame> {
  /** Where the frames go. */
  readonly ring: Ring<MediaFrame>;
  /** The configuration of the frames to come. */
  config: F["config"];
  readonly #kind: F["kind"];

  /** A feed of `kind`. */
  constructor(kind: F["kind"], options?: RingOptions) {
    this.#kind = kind;
    this.ring = new Ring(options);
    this.config = kind === "video" ? VIDEO : AUDIO;
  }

  /** Writes a frame at `dtsMs`. */
  write(dtsMs: number, key: boolean = this.#kind === "audio", bytes = 10): F {
    const dts = dtsMs * 1000;
    const frame = {
      kind: this.#kind,
      sequence: this.ring.head,
      dts,
      pts: dts,
      key,
      config: this.config,
      data: new Uint8Array(bytes).fill(this.ring.head),
    } as unknown as F;
    this.ring.write(frame, bytes);
    return frame;
  }
}

/** A feed of video. */
export function videoFeed(options?: RingOptions): Feed<VideoAccessUnit> {
  return new Feed("video", options);
}

/** A feed of audio. */
export function audioFeed(options?: RingOptions): Feed<AudioAccessUnit> {
  return new Feed("audio", options);
}

/** A frame in short: `v`, `a` or `V` for a video key, and its DTS in ms. */
export function short(frame: MediaFrame): string {
  const letter = frame.kind === "audio" ? "a" : frame.key ? "V" : "v";
  return letter + Math.round(frame.dts / 1000);
}
