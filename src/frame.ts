/** Frames: what tracks hold. */

import type { AudioConfig, VideoConfig } from "./codecs/config.ts";
import { joinAnnexB, splitLengthPrefixed } from "./codecs/nal.ts";

interface FrameTimes {
  /** Number of the frame in its track, growing by one. */
  readonly sequence: number;
  /** Decode time on the stream's timeline, an integer in µs, never smaller than the one before. */
  readonly dts: number;
  /** Presentation time on the stream's timeline, an integer in µs. */
  readonly pts: number;
  /** Whether a decoder can start here. */
  readonly key: boolean;
}

/** An access unit of video. */
export interface VideoAccessUnit extends FrameTimes {
  /** The kind of track that it belongs to. */
  readonly kind: "video";
  /** The decoder configuration in force. */
  readonly config: VideoConfig;
  /** NAL units with 4-byte lengths (H.264, H.265), OBUs (AV1), else as the codec has it. */
  readonly data: Uint8Array;
}

/** A frame of encoded audio. */
export interface AudioAccessUnit extends FrameTimes {
  /** The kind of track that it belongs to. */
  readonly kind: "audio";
  /** The decoder configuration in force. */
  readonly config: AudioConfig;
  /** One raw frame, such as an AAC raw_data_block or an Opus packet. */
  readonly data: Uint8Array;
}

/** A value of a data track, such as metadata, a caption or a chat message. */
export interface DataUnit extends FrameTimes {
  /** The kind of track that it belongs to. */
  readonly kind: "data";
  /** Whatever the publisher wrote; shared by all readers, so not to be changed. */
  readonly value: unknown;
}

/** A frame of video or audio. A plain object that nobody changes, shared by all readers. */
export type MediaFrame = VideoAccessUnit | AudioAccessUnit;

/** Anything that a track holds. */
export type Frame = MediaFrame | DataUnit;

/**
 * A view of frames that is derived when first asked for and then shared by all that ask.
 *
 * @example A view
 * ```ts ignore
 * const checksum = view((frame: MediaFrame) => crc32(frame.data));
 * checksum(frame);
 * ```
 */
export function view<F extends Frame, V extends object>(
  derive: (frame: F) => V,
): (frame: F) => V {
  const derived = new WeakMap<F, V>();
  return (frame) => {
    let value = derived.get(frame);
    if (value === undefined) {
      value = derive(frame);
      derived.set(frame, value);
    }
    return value;
  };
}

/** The NAL units of an H.264 or H.265 access unit, without lengths or start codes. */
export const nalUnits: (frame: VideoAccessUnit) => readonly Uint8Array[] = view((frame) =>
  splitLengthPrefixed(frame.data)
);

/** An H.264 or H.265 access unit as a byte stream with start codes (ITU-T H.264 annex B). */
export const annexB: (frame: VideoAccessUnit) => Uint8Array = view((frame) =>
  joinAnnexB(nalUnits(frame))
);
