/** All payload formats in one table: which writer and reader belongs to a codec. */

import type { AudioConfig, VideoConfig } from "../codecs/config.ts";
import { AacDepacketizer, AacPacketizer } from "./aac.ts";
import { Av1Depacketizer, Av1Packetizer } from "./av1.ts";
import type { RtpFormat } from "./format.ts";
import { H264Depacketizer, H264Packetizer } from "./h264.ts";
import { H265Depacketizer, H265Packetizer } from "./h265.ts";
import { LatmDepacketizer } from "./latm.ts";
import { formatOf, fourccOf } from "./media_format.ts";
import { Mp3Depacketizer, Mp3Packetizer } from "./mp3.ts";
import type { Depacketizer, Packetizer } from "./payload.ts";
import type { PacketizerOptions } from "./payload_size.ts";
import { G711Depacketizer, OpusDepacketizer, SimpleAudioPacketizer } from "./simple_audio.ts";
import { Vp9Depacketizer, Vp9Packetizer } from "./vp9.ts";

/** How a payload format is read and written. */
interface PayloadCodec {
  read(format: RtpFormat): Depacketizer;
  /** Not there for formats that only others send. */
  write?(options: PacketizerOptions): Packetizer;
}

const G711: PayloadCodec = {
  read: (format) => new G711Depacketizer(format),
  write: () => new SimpleAudioPacketizer(),
};

/** By encoding names in lower case. */
const CODECS: ReadonlyMap<string, PayloadCodec> = new Map<string, PayloadCodec>([
  ["h264", {
    read: (format) => new H264Depacketizer(format),
    write: (options) => new H264Packetizer(options),
  }],
  ["h265", {
    read: (format) => new H265Depacketizer(format),
    write: (options) => new H265Packetizer(options),
  }],
  ["av1", { read: () => new Av1Depacketizer(), write: (options) => new Av1Packetizer(options) }],
  ["vp9", { read: () => new Vp9Depacketizer(), write: (options) => new Vp9Packetizer(options) }],
  ["mpeg4-generic", {
    read: (format) => new AacDepacketizer(format),
    write: (options) => new AacPacketizer(options),
  }],
  ["mp4a-latm", { read: (format) => new LatmDepacketizer(format) }],
  ["opus", { read: () => new OpusDepacketizer(), write: () => new SimpleAudioPacketizer() }],
  ["pcma", G711],
  ["pcmu", G711],
  ["mpa", {
    read: (format) => new Mp3Depacketizer(format),
    write: (options) => new Mp3Packetizer(options),
  }],
]);

/**
 * A depacketizer for packets of `format`; undefined for codecs that have no decoder configuration
 * here.
 *
 * @throws {InvalidDataError} If a parameter that it needs is malformed.
 */
export function depacketizerFor(format: RtpFormat): Depacketizer | undefined {
  // Modes of mpeg4-generic other than those of AAC have no FourCC.
  if (fourccOf(format) === undefined) return undefined;
  return CODECS.get(format.encoding.toLowerCase())?.read(format);
}

/**
 * A packetizer for frames of `config`, in the format that `formatOf` names for it; undefined where
 * there is none.
 *
 * @throws {InvalidDataError} If the configuration's description is malformed.
 * @throws {RangeError} If the payload size is none for this format.
 */
export function packetizerFor(
  config: VideoConfig | AudioConfig,
  options: PacketizerOptions,
): Packetizer | undefined {
  const format = formatOf(config, 0);
  return format && CODECS.get(format.encoding.toLowerCase())?.write?.(options);
}
