/** Encoding names of payload formats, the static payload types, and the codecs behind them. */

import type { RtpFormat } from "./format.ts";

/** What is known of an encoding name. */
interface Encoding {
  /** The name in the case of its registration. */
  readonly name: string;
  /** Ticks per second where there is only one rate, or one in nearly all use. */
  readonly clockRate?: number;
  /** FourCC of the codec, of those that have a decoder configuration here. */
  readonly fourcc?: string;
}

/** Names that cameras and browsers offer, without those whose case and rate don't matter here. */
const ENCODINGS: readonly Encoding[] = [
  { name: "H264", clockRate: 90_000, fourcc: "avc1" },
  { name: "H265", clockRate: 90_000, fourcc: "hvc1" },
  { name: "AV1", clockRate: 90_000, fourcc: "av01" },
  { name: "VP8", clockRate: 90_000 },
  { name: "VP9", clockRate: 90_000, fourcc: "vp09" },
  { name: "MP4V-ES", clockRate: 90_000 },
  { name: "JPEG", clockRate: 90_000 },
  { name: "mpeg4-generic", fourcc: "mp4a" },
  { name: "MP4A-LATM", fourcc: "mp4a" },
  { name: "opus", clockRate: 48_000, fourcc: "Opus" },
  { name: "PCMA", clockRate: 8_000, fourcc: "alaw" },
  { name: "PCMU", clockRate: 8_000, fourcc: "ulaw" },
  { name: "MPA", clockRate: 90_000, fourcc: ".mp3" },
  { name: "G722", clockRate: 8_000 },
  { name: "L16" },
  { name: "telephone-event", clockRate: 8_000 },
  { name: "CN", clockRate: 8_000 },
  { name: "rtx" },
  { name: "red" },
  { name: "ulpfec" },
  { name: "flexfec-03" },
  { name: "vnd.onvif.metadata", clockRate: 90_000 },
];

const BY_NAME: ReadonlyMap<string, Encoding> = new Map(
  ENCODINGS.map((encoding) => [encoding.name.toLowerCase(), encoding]),
);

/** Payload types with a fixed meaning, of those in use (RFC 3551 Tables 4 and 5). */
const STATIC_TYPES: ReadonlyMap<number, Omit<RtpFormat, "payloadType" | "parameters">> = new Map([
  [0, { encoding: "PCMU", clockRate: 8_000 }],
  [3, { encoding: "GSM", clockRate: 8_000 }],
  [4, { encoding: "G723", clockRate: 8_000 }],
  [8, { encoding: "PCMA", clockRate: 8_000 }],
  [9, { encoding: "G722", clockRate: 8_000 }],
  [10, { encoding: "L16", clockRate: 44_100, channels: 2 }],
  [11, { encoding: "L16", clockRate: 44_100 }],
  [13, { encoding: "CN", clockRate: 8_000 }],
  [14, { encoding: "MPA", clockRate: 90_000 }],
  [18, { encoding: "G729", clockRate: 8_000 }],
  [26, { encoding: "JPEG", clockRate: 90_000 }],
  [32, { encoding: "MPV", clockRate: 90_000 }],
  [33, { encoding: "MP2T", clockRate: 90_000 }],
  [34, { encoding: "H263", clockRate: 90_000 }],
]);

/** Modes of mpeg4-generic that carry AAC (RFC 3640 3.3.5, 3.3.6); the rest is CELP or anything. */
const AAC_MODES: ReadonlySet<string> = new Set(["aac-hbr", "aac-lbr"]);

/** Stream type of audio (ISO/IEC 14496-1 Table 6). */
const AUDIO_STREAM = "5";

/** An encoding name in the case of its registration; unknown names stay as they are. */
export function registeredName(name: string): string {
  return BY_NAME.get(name.toLowerCase())?.name ?? name;
}

/** The clock rate that an encoding has as a rule; undefined where there is no rule. */
export function usualClockRate(encoding: string): number | undefined {
  return BY_NAME.get(encoding.toLowerCase())?.clockRate;
}

/** What a payload type means where nothing says so (RFC 3551 6); undefined if nothing here. */
export function staticFormat(payloadType: number): RtpFormat | undefined {
  const known = STATIC_TYPES.get(payloadType);
  return known && { payloadType, ...known, parameters: new Map() };
}

/** The payload type that means `format` by itself (RFC 3551 6); undefined if there is none. */
export function staticTypeOf(format: Omit<RtpFormat, "payloadType">): number | undefined {
  const name = format.encoding.toLowerCase();
  for (const [payloadType, known] of STATIC_TYPES) {
    const same = known.encoding.toLowerCase() === name && known.clockRate === format.clockRate;
    if (same && (known.channels ?? 1) === (format.channels ?? 1)) return payloadType;
  }
  return undefined;
}

/**
 * The FourCC of a format's codec: `avc1`, `hvc1`, `av01`, `vp09`, `mp4a`, `Opus`, `alaw`, `ulaw` or
 * `.mp3`; undefined for codecs without a decoder configuration here.
 *
 * MPA may be MPEG audio of any layer, which only its frames tell.
 */
export function fourccOf(format: RtpFormat): string | undefined {
  const encoding = BY_NAME.get(format.encoding.toLowerCase());
  if (encoding?.name === "mpeg4-generic" && !carriesAac(format.parameters)) return undefined;
  return encoding?.fourcc;
}

/** Senders leave out either parameter, but none that says something else sends AAC. */
function carriesAac(parameters: ReadonlyMap<string, string>): boolean {
  const mode = parameters.get("mode")?.toLowerCase() ?? "aac-hbr";
  const streamType = parameters.get("streamtype") ?? AUDIO_STREAM;
  return AAC_MODES.has(mode) && streamType === AUDIO_STREAM;
}
