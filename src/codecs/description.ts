/** Decoder configurations from the records that containers carry. */

import { aacConfig } from "./aac.ts";
import { av1ConfigFromAv1C } from "./av1.ts";
import type { AudioConfig, VideoConfig } from "./config.ts";
import { h264ConfigFromAvcC } from "./h264.ts";
import { h265ConfigFromHvcC } from "./h265.ts";
import { opusConfig } from "./opus.ts";
import { vp9ConfigFromVpcC } from "./vp9.ts";

/**
 * The configuration in a `fourcc` decoder configuration record; that of an unknown codec carries
 * the record as it is.
 *
 * @throws {InvalidDataError} If the record is malformed.
 */
export function videoConfigFrom(fourcc: string, description: Uint8Array): VideoConfig {
  switch (fourcc) {
    case "avc1":
      return h264ConfigFromAvcC(description);
    case "hvc1":
      return h265ConfigFromHvcC(description);
    case "av01":
      return av1ConfigFromAv1C(description);
    case "vp09":
      return vp9ConfigFromVpcC(description);
    default:
      return { kind: "video", fourcc, codec: fourcc, description };
  }
}

/**
 * The configuration in a `fourcc` decoder configuration record; that of an unknown codec carries
 * the record as it is and 0 for what it can't know.
 *
 * @throws {InvalidDataError} If the record is malformed.
 */
export function audioConfigFrom(fourcc: string, description: Uint8Array): AudioConfig {
  switch (fourcc) {
    case "mp4a":
      return aacConfig(description);
    case "Opus":
      return opusConfig(description);
    default:
      return {
        kind: "audio",
        fourcc,
        codec: fourcc,
        description,
        sampleRate: 0,
        numberOfChannels: 0,
      };
  }
}
