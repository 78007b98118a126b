/** RTP as a format of muxes: packets and sender reports, interleaved as in RTSP (RFC 2326 10.12). */

import type { AudioConfig, VideoConfig } from "./codecs/config.ts";
import { InvalidDataError } from "./errors.ts";
import type { MediaFrame } from "./frame.ts";
import type { Format, FormatFactory, FormatTracks } from "./mux.ts";
import { packetizerFor } from "./rtp/codecs.ts";
import type { RtpFormat } from "./rtp/format.ts";
import type { RtpChannels } from "./rtp/interleaved.ts";
import { formatOf, staticTypeOf } from "./rtp/media_format.ts";
import { ntpFromUnixUs } from "./rtp/ntp.ts";
import { randomCname } from "./rtp/random.ts";
import { RtpSender, type SentFrame } from "./rtp/sender.ts";

export { firstOf, type RtpChannels, splitInterleaved } from "./rtp/interleaved.ts";

/** Dynamic payload types (RFC 3551 6) by kind of track. */
const PAYLOAD_TYPES = { video: 96, audio: 97 } as const;

/**
 * Most bytes of a payload if nothing else is said: with the headers of RTP, UDP and IP it fits into
 * the 1500 bytes of an Ethernet frame, and the 1492 of PPPoE. Over TCP larger ones would save 1 % of
 * the bytes and, once a stream, half a µs a packet; but then viewers by TCP and UDP would not share
 * them, and there are players with buffers for no more.
 */
export const MAX_PAYLOAD_BYTES = 1400;

/** Longest time between two sender reports (RFC 3550 6.2). */
const REPORT_INTERVAL_US = 5_000_000;

const NOTHING = new Uint8Array();

/** What the bytes of an {@linkcode rtpFormat} depend on. */
export interface RtpFormatOptions {
  /** Channels of the video. @default {video is left out} */
  readonly video?: RtpChannels | undefined;
  /** Channels of the audio. @default {audio is left out} */
  readonly audio?: RtpChannels | undefined;
  /** Most bytes of a payload. @default {1400} */
  readonly maxPayloadBytes?: number | undefined;
}

/** A track as a session description announces it. */
export interface RtpDescription {
  /** What it carries. */
  readonly kind: "video" | "audio";
  /** Its one payload format. */
  readonly format: RtpFormat;
}

/**
 * How {@linkcode rtpFormat} sends `tracks`, video first: under payload type 96 and 97, or the static
 * one (RFC 3551 6) of audio that has one. Tracks of codecs that RTP does not carry are left out.
 */
export function rtpDescription(tracks: FormatTracks): RtpDescription[] {
  return [tracks.video, tracks.audio].flatMap((config) => {
    const format = config && sentFormatOf(config);
    return config && format ? [{ kind: config.kind, format }] : [];
  });
}

/**
 * Whether who was told of the format `before` understands packets of the format `after`. Parameter
 * sets of video may differ, as they are sent with it; an AudioSpecificConfig is not.
 */
export function canContinue(before: RtpFormat, after: RtpFormat): boolean {
  return before.payloadType === after.payloadType && before.encoding === after.encoding &&
    before.clockRate === after.clockRate && before.channels === after.channels &&
    before.parameters.get("config") === after.parameters.get("config");
}

/** A source of {@linkcode rtpFormat}s: the same one for the same options, so that viewers share it. */
export function rtpFormats(): (options: RtpFormatOptions) => FormatFactory {
  const formats = new Map<string, FormatFactory>();
  return (options) => {
    const { video, audio, maxPayloadBytes = MAX_PAYLOAD_BYTES } = options;
    const key = [video?.rtp, video?.rtcp, audio?.rtp, audio?.rtcp, maxPayloadBytes].join();
    let format = formats.get(key);
    if (format === undefined) formats.set(key, format = rtpFormat(options));
    return format;
  };
}

/**
 * RTP packets as interleaved data, each on the channel of its track. Sequence numbers and timestamps
 * go on for all viewers; who drops frames sees a gap.
 *
 * Sender reports of all tracks at one moment go before each video keyframe, where viewers start, and
 * else every 5 s. They are repeated once audio has come behind the keyframe, since some players pass
 * over reports of a track that they have no packet of. Their wall clock is the stream's timeline, moved to the time of the first one.
 *
 * It fails when a configuration changes to one that those who know the session description can't
 * follow: see {@linkcode canContinue}. Frames that the payload format can't carry are left out.
 */
export function rtpFormat(options: RtpFormatOptions): FormatFactory {
  return () => new RtpMuxFormat(options);
}

class RtpMuxFormat implements Format {
  readonly #options: RtpFormatOptions;
  readonly #cname = randomCname();
  readonly #senders: { video?: RtpSender; audio?: RtpSender } = {};
  readonly #configs: { video?: VideoConfig; audio?: AudioConfig } = {};
  /** Wall clock minus timeline, once something was reported. */
  #wallUs: number | undefined;
  #reportedUs = -Infinity;
  /** What has come since the last keyframe; `both` once its reports are repeated. */
  #since: "picture" | "audio" | "both" = "both";

  constructor(options: RtpFormatOptions) {
    this.#options = options;
  }

  /** Nothing: a session description has told of the tracks. */
  header({ video, audio }: FormatTracks): Uint8Array {
    if (video !== undefined && video !== this.#configs.video) {
      this.#configs.video = video;
      this.#configure(video);
    }
    if (audio !== undefined && audio !== this.#configs.audio) {
      this.#configs.audio = audio;
      this.#configure(audio);
    }
    return NOTHING;
  }

  write(frame: MediaFrame): Uint8Array {
    const sender = this.#senders[frame.kind];
    const sent = sender && packetize(sender, frame);
    if (sender === undefined || sent === undefined) return NOTHING;
    const reports = this.#isDue(frame) ? this.#report(frame.dts) : [];
    let at = 0;
    for (const { length } of reports) at += length;
    const bytes = new Uint8Array(at + sent.bytes);
    sender.write(at === 0 ? bytes : bytes.subarray(at), sent, frame.pts);
    at = 0;
    for (const report of reports) {
      bytes.set(report, at);
      at += report.length;
    }
    return bytes;
  }

  /** Whether reports go before `frame`. */
  #isDue({ kind, key, dts }: MediaFrame): boolean {
    if (kind === "video" && key) {
      this.#since = "picture";
      return true;
    }
    if (kind === "audio" && this.#since === "picture") this.#since = "audio";
    if (kind === "video" && this.#since === "audio") {
      this.#since = "both";
      return true;
    }
    return Math.abs(dts - this.#reportedUs) >= REPORT_INTERVAL_US;
  }

  #report(us: number): readonly Uint8Array[] {
    this.#reportedUs = us;
    this.#wallUs ??= Date.now() * 1000 - us;
    const ntp = ntpFromUnixUs(this.#wallUs + us);
    const { video, audio } = this.#senders;
    return [video, audio].flatMap((sender) => sender?.report(us, ntp) ?? []);
  }

  #configure(config: VideoConfig | AudioConfig): void {
    const { kind } = config;
    const channels = this.#options[kind];
    if (channels === undefined) return;
    const format = sentFormatOf(config);
    const before = this.#senders[kind]?.format;
    if (before !== undefined) {
      if (format !== undefined && canContinue(before, format)) return;
      throw new Error(
        `Cannot go on in RTP: the ${kind} was ${nameOf(before)} and is ${config.codec}, ` +
          (format ? nameOf(format) : "which RTP does not carry"),
      );
    }
    const { maxPayloadBytes = MAX_PAYLOAD_BYTES } = this.#options;
    const packetizer = format && packetizerFor(config, { maxPayloadBytes });
    if (format === undefined || packetizer === undefined) return;
    this.#senders[kind] = new RtpSender({ format, packetizer, channels, cname: this.#cname });
  }
}

/** The payload format in which a codec is sent; undefined if RTP doesn't carry it. */
function sentFormatOf(config: VideoConfig | AudioConfig): RtpFormat | undefined {
  try {
    const format = formatOf(config, PAYLOAD_TYPES[config.kind]);
    return format && { ...format, payloadType: staticTypeOf(format) ?? format.payloadType };
  } catch (error) {
    // Nor can players be told of a record that is malformed.
    if (error instanceof InvalidDataError) return undefined;
    throw error;
  }
}

function packetize(sender: RtpSender, frame: MediaFrame): SentFrame | undefined {
  try {
    return sender.packetize(frame);
  } catch (error) {
    if (error instanceof InvalidDataError) return undefined;
    throw error;
  }
}

function nameOf({ encoding, clockRate, channels = 1 }: RtpFormat): string {
  return `${encoding}/${clockRate}/${channels}`;
}
