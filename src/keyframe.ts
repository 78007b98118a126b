/** Keyframes: how to tell them, and what they say of their decoder configuration. */

import { AV1_OBU, av1Config, av1ObuType, isAv1Key, splitObus } from "./codecs/av1.ts";
import type { VideoConfig } from "./codecs/config.ts";
import { isH264Key } from "./codecs/h264.ts";
import { isH265Key } from "./codecs/h265.ts";
import { isVp9Key, parseVpcC, vp9Config } from "./codecs/vp9.ts";

/** Whether frames of `fourcc` are made of NAL units. */
export function isNalu(fourcc: string): fourcc is "avc1" | "hvc1" {
  return fourcc === "avc1" || fourcc === "hvc1";
}

/**
 * Whether a decoder can start at a frame; `nalus` are those of H.264 and H.265. A frame of a codec
 * that we can't parse passes for one.
 *
 * @throws {InvalidDataError} If the frame is malformed.
 */
export function isKey(
  fourcc: string,
  data: Uint8Array,
  nalus: readonly Uint8Array[] = [],
): boolean {
  switch (fourcc) {
    case "avc1":
      return isH264Key(nalus);
    case "hvc1":
      return isH265Key(nalus);
    case "av01":
      return isAv1Key(data);
    case "vp09":
      return isVp9Key(data);
    default:
      return true;
  }
}

/**
 * The configuration that a keyframe of a codec other than H.264 and H.265 asks for, if `old`, the
 * one in force, does not do.
 *
 * @throws {InvalidDataError} If the frame is malformed.
 */
export function configOfKey(
  fourcc: string,
  data: Uint8Array,
  old: VideoConfig | undefined,
): VideoConfig | undefined {
  const known = old?.fourcc === fourcc ? old : undefined;
  switch (fourcc) {
    case "av01":
      return av1ConfigOfKey(data, known);
    case "vp09":
      return vp9ConfigOfKey(data, known);
    default:
      return known === undefined ? { kind: "video", fourcc, codec: fourcc } : undefined;
  }
}

/**
 * A keyframe need not have a sequence header. One that differs from the record's in tools only, as
 * encoders write them, asks for nothing new.
 */
function av1ConfigOfKey(data: Uint8Array, known?: VideoConfig): VideoConfig | undefined {
  const header = splitObus(data).find((obu) => av1ObuType(obu) === AV1_OBU.sequenceHeader);
  if (header === undefined) return undefined;
  const config = av1Config(header);
  const same = known?.codec === config.codec && known.codedWidth === config.codedWidth &&
    known.codedHeight === config.codedHeight;
  return same ? undefined : config;
}

/** A vpcC record lacks the size and a keyframe the level, so they complete one another. */
function vp9ConfigOfKey(data: Uint8Array, known?: VideoConfig): VideoConfig {
  const config = vp9Config(data);
  if (known?.description === undefined || config.description === undefined) return config;
  const announced = parseVpcC(known.description);
  const { profile, bitDepth } = parseVpcC(config.description);
  if (announced.profile !== profile || announced.bitDepth !== bitDepth) return config;
  return { ...config, codec: known.codec, description: known.description };
}
