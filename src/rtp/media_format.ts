/** Payload formats for decoder configurations, and back. */

import { BitReader } from "../bits.ts";
import { ByteWriter } from "../bytes.ts";
import {
  aacConfig,
  type AudioSpecificConfig,
  parseAudioSpecificConfig,
  serializeAudioSpecificConfig,
} from "../codecs/aac.ts";
import { parseAv1C } from "../codecs/av1.ts";
import type { AudioConfig, VideoConfig } from "../codecs/config.ts";
import { alawConfig, ulawConfig } from "../codecs/g711.ts";
import { H264_NAL, h264Config, h264NalType, parseAvcC, parseH264Sps } from "../codecs/h264.ts";
import { H265_NAL, h265Config, h265NalType, parseH265Sps, parseHvcC } from "../codecs/h265.ts";
import { splitAnnexB } from "../codecs/nal.ts";
import { opusConfig, serializeOpusHead } from "../codecs/opus.ts";
import { parseVpcC } from "../codecs/vp9.ts";
import { InvalidDataError } from "../errors.ts";
import { fourccOf } from "./encodings.ts";
import type { RtpFormat } from "./format.ts";

export { fourccOf, staticFormat, staticTypeOf } from "./encodings.ts";

/** Ticks per second of all video (RFC 3551 5), and of MPEG audio (RFC 2250 3.5). */
const MEDIA_CLOCK = 90_000;

/** Clock rate and channels of every Opus format (RFC 7587 4.1, 7). */
const OPUS_CLOCK = 48_000;
const OPUS_CHANNELS = 2;

/** `channelConfiguration` of eight channels, 7.1; up to 6 it is the number of channels. */
const EIGHT_CHANNELS = 7;

/** Audio object type of AAC LC. */
const AAC_LC = 2;

/** What {@linkcode formatOf} adds the payload type and the common fields to. */
type FormatFields = Pick<RtpFormat, "encoding" | "clockRate" | "channels"> & {
  readonly parameters?: Readonly<Record<string, string | number>>;
};

/**
 * The payload format that announces `config`, under a payload type of 0 to 127.
 *
 * H.264 as of RFC 6184 8.1 with packetization mode 1, H.265 of RFC 7798 7.1, AV1 and VP9 of their
 * payload formats, AAC of RFC 3640 in mode AAC-hbr, Opus of RFC 7587, G.711 and MPEG audio of RFC
 * 3551. Undefined for other codecs, for AAC without its AudioSpecificConfig, and for Opus of over
 * two channels.
 *
 * @throws {InvalidDataError} If the configuration's description is malformed.
 */
export function formatOf(
  config: VideoConfig | AudioConfig,
  payloadType: number,
): RtpFormat | undefined {
  const fields = config.kind === "video" ? videoFields(config) : audioFields(config);
  if (fields === undefined) return undefined;
  const { parameters = {}, channels = 1, ...rest } = fields;
  const written = Object.entries(parameters).map(([name, value]) => [name, `${value}`] as const);
  return {
    payloadType,
    ...rest,
    ...(channels > 1 && { channels }),
    parameters: new Map(written),
  };
}

/**
 * The decoder configuration that a format announces; undefined where the stream itself must tell, as
 * of video without parameter sets, and for codecs that are not known here.
 *
 * Malformed parameters are as good as none, for the stream may be sound. AAC in mode AAC-hbr without
 * a configuration is taken for AAC LC of the format's rate and channels, since its stream can't tell.
 */
export function configOf(format: RtpFormat): VideoConfig | AudioConfig | undefined {
  switch (fourccOf(format)) {
    case "avc1":
      return attempt(() => h264ConfigOf(format));
    case "hvc1":
      return attempt(() => h265ConfigOf(format));
    case "mp4a":
      return format.encoding.toLowerCase() === "mp4a-latm"
        ? attempt(() => latmConfigOf(format))
        : attempt(() => aacConfigOf(format)) ?? attempt(() => plainAacConfigOf(format));
    case "Opus":
      return opusConfigOf(format);
    case "alaw":
      return attempt(() => alawConfig(format.clockRate, format.channels));
    case "ulaw":
      return attempt(() => ulawConfig(format.clockRate, format.channels));
    default:
      return undefined;
  }
}

function videoFields(config: VideoConfig): FormatFields | undefined {
  const clockRate = MEDIA_CLOCK;
  const { description } = config;
  switch (config.fourcc) {
    case "avc1":
      return { encoding: "H264", clockRate, parameters: h264Parameters(description) };
    case "hvc1":
      return { encoding: "H265", clockRate, parameters: h265Parameters(description) };
    case "av01": {
      if (description === undefined) return { encoding: "AV1", clockRate };
      const { profile, level, tier } = parseAv1C(description);
      return { encoding: "AV1", clockRate, parameters: { profile, "level-idx": level, tier } };
    }
    case "vp09": {
      if (description === undefined) return { encoding: "VP9", clockRate };
      const { profile } = parseVpcC(description);
      return { encoding: "VP9", clockRate, parameters: { "profile-id": profile } };
    }
    default:
      return undefined;
  }
}

function audioFields(config: AudioConfig): FormatFields | undefined {
  const { description, sampleRate: clockRate, numberOfChannels: channels } = config;
  switch (config.fourcc) {
    case "mp4a":
      if (description === undefined) return undefined;
      return {
        encoding: "mpeg4-generic",
        clockRate,
        channels,
        parameters: aacParameters(description),
      };
    case "Opus":
      if (channels > OPUS_CHANNELS) return undefined;
      return {
        encoding: "opus",
        clockRate: OPUS_CLOCK,
        channels: OPUS_CHANNELS,
        parameters: { "sprop-stereo": channels - 1 },
      };
    case "alaw":
      return { encoding: "PCMA", clockRate, channels };
    case "ulaw":
      return { encoding: "PCMU", clockRate, channels };
    case ".mp3":
      return { encoding: "MPA", clockRate: MEDIA_CLOCK };
    default:
      return undefined;
  }
}

/** RFC 6184 8.1. */
function h264Parameters(avcC: Uint8Array | undefined): Record<string, string | number> {
  const mode = { "packetization-mode": 1 };
  if (avcC === undefined) return mode;
  const { sps, pps } = parseAvcC(avcC);
  const first = sps[0];
  if (first === undefined) return mode;
  const { profile, constraints, level } = parseH264Sps(first);
  return {
    ...mode,
    "profile-level-id": toHex(Uint8Array.of(profile, constraints, level)).toUpperCase(),
    "sprop-parameter-sets": [...sps, ...pps].map(toBase64).join(","),
  };
}

/** RFC 7798 7.1: without a profile and level, those are Main and 3.1. */
function h265Parameters(hvcC: Uint8Array | undefined): Record<string, string | number> {
  if (hvcC === undefined) return {};
  const { vps, sps, pps } = parseHvcC(hvcC);
  const first = sps[0];
  if (first === undefined) return {};
  const { profile, tier, level } = parseH265Sps(first);
  return {
    "profile-id": profile,
    "tier-flag": tier,
    "level-id": level,
    "sprop-vps": vps.map(toBase64).join(","),
    "sprop-sps": sps.map(toBase64).join(","),
    "sprop-pps": pps.map(toBase64).join(","),
  };
}

/** RFC 3640 4.1 and 3.3.6. */
function aacParameters(description: Uint8Array): Record<string, string | number> {
  return {
    streamtype: 5,
    "profile-level-id": audioProfileLevel(parseAudioSpecificConfig(description)),
    mode: "AAC-hbr",
    sizelength: 13,
    indexlength: 3,
    indexdeltalength: 3,
    config: toHex(description).toUpperCase(),
  };
}

/** `audioProfileLevelIndication` (ISO/IEC 14496-3 Table 1.14): the lowest that allows the stream. */
function audioProfileLevel(config: AudioSpecificConfig): number {
  const none = 0xfe;
  const { extension, channels, sampleRate, outputSampleRate } = config;
  if (config.objectType !== AAC_LC || channels > 6) return none;
  const rate = Math.max(sampleRate, outputSampleRate);
  if (extension === "none") {
    if (rate <= 48_000) return channels > 2 ? 0x2a : rate <= 24_000 ? 0x28 : 0x29;
    return rate <= 96_000 ? 0x2b : none;
  }
  const base = extension === "ps" ? 0x30 : 0x2c;
  if (rate <= 48_000) return channels > 2 ? base + 2 : base;
  return rate <= 96_000 ? base + 3 : none;
}

function h264ConfigOf({ parameters }: RtpFormat): VideoConfig {
  const sets = setsIn(parameters.get("sprop-parameter-sets"));
  const ofType = (type: number) => sets.filter((nalu) => h264NalType(nalu) === type);
  return h264Config({ sps: ofType(H264_NAL.sps), pps: ofType(H264_NAL.pps) });
}

function h265ConfigOf({ parameters }: RtpFormat): VideoConfig {
  const names = ["sprop-vps", "sprop-sps", "sprop-pps"];
  const sets = names.flatMap((name) => setsIn(parameters.get(name)));
  const ofType = (type: number) => sets.filter((nalu) => h265NalType(nalu) === type);
  return h265Config({
    vps: ofType(H265_NAL.vps),
    sps: ofType(H265_NAL.sps),
    pps: ofType(H265_NAL.pps),
  });
}

function aacConfigOf({ parameters }: RtpFormat): AudioConfig {
  return aacConfig(fromHex(parameters.get("config") ?? ""));
}

function plainAacConfigOf({ clockRate, channels = 1 }: RtpFormat): AudioConfig {
  const channelConfiguration = channels === 8 ? EIGHT_CHANNELS : channels;
  if (channels === EIGHT_CHANNELS || channels > 8) {
    throw new InvalidDataError(`Cannot configure AAC: its number of channels is ${channels}`);
  }
  return aacConfig(serializeAudioSpecificConfig({
    objectType: AAC_LC,
    sampleRate: clockRate,
    channelConfiguration,
  }));
}

/**
 * A StreamMuxConfig with one program of one layer (ISO/IEC 14496-3 1.7.3.1). The
 * AudioSpecificConfig in it begins and ends within bytes, so it is written anew.
 */
function latmConfigOf({ parameters }: RtpFormat): AudioConfig {
  const reader = new BitReader(fromHex(parameters.get("config") ?? ""));
  const version = reader.bit();
  if (version === 1 && reader.flag()) {
    throw new InvalidDataError("Cannot parse a StreamMuxConfig: its audioMuxVersionA is 1");
  }
  if (version === 1) readLatmValue(reader); // taraBufferFullness
  reader.skip(7); // allStreamsSameTimeFraming, numSubFrames
  const programs = reader.bits(4) + 1;
  const layers = reader.bits(3) + 1;
  if (programs > 1 || layers > 1) {
    throw new InvalidDataError(
      `Cannot parse a StreamMuxConfig: it has ${programs} programs, the first of ${layers} layers`,
    );
  }
  const bits = version === 1 ? Math.min(readLatmValue(reader), reader.remaining) : reader.remaining;
  const asc = new Uint8Array(Math.ceil(bits / 8));
  for (let bit = 0; bit < bits; bit++) {
    if (reader.flag()) asc[bit >> 3] = (asc[bit >> 3] ?? 0) | (0x80 >> (bit & 7));
  }
  const { objectType, ...config } = parseAudioSpecificConfig(asc);
  return aacConfig(serializeAudioSpecificConfig({ objectType, ...config }));
}

/** LatmGetValue (ISO/IEC 14496-3 Table 1.44). */
function readLatmValue(reader: BitReader): number {
  return reader.bits(8 * (reader.bits(2) + 1));
}

/**
 * A decoder of two channels plays mono just as well, and few senders say which of both they send, so
 * only one that says mono is taken for it.
 */
function opusConfigOf({ parameters }: RtpFormat): AudioConfig {
  const channels = parameters.get("sprop-stereo") === "0" ? 1 : OPUS_CHANNELS;
  return opusConfig(serializeOpusHead({
    channels,
    preSkip: 0,
    inputSampleRate: OPUS_CLOCK,
    outputGain: 0,
    mappingFamily: 0,
  }));
}

/** The result of `parse`, or undefined if what a peer wrote is malformed. */
function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof InvalidDataError) return undefined;
    throw error;
  }
}

/** NAL units in base64 between commas; cameras put start codes before them, too. */
function setsIn(text = ""): Uint8Array[] {
  return text.split(",").flatMap((part) => {
    const bytes = fromBase64(part);
    const starts = bytes[0] === 0 && bytes[1] === 0;
    return bytes.length === 0 ? [] : starts ? splitAnnexB(bytes) : [bytes];
  });
}

function toBase64(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

function fromBase64(text: string): Uint8Array {
  try {
    return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  } catch (cause) {
    throw new InvalidDataError("Cannot decode parameter sets: their base64 is malformed", {
      cause,
    });
  }
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function fromHex(text: string): Uint8Array {
  if (!/^([0-9a-f]{2})+$/i.test(text)) {
    throw new InvalidDataError(`Cannot decode a configuration: its hex is "${text.slice(0, 80)}"`);
  }
  const bytes = new ByteWriter(text.length / 2);
  for (let at = 0; at < text.length; at += 2) bytes.u8(parseInt(text.slice(at, at + 2), 16));
  return bytes.finish();
}
