/** Codecs in MPEG-TS: how each is announced, and how its frames go into PES packets. */

import { BitWriter } from "../bits.ts";
import { equalBytes } from "../bytes.ts";
import {
  type AudioSpecificConfig,
  parseAudioSpecificConfig,
  type ProgramConfig,
} from "../codecs/aac.ts";
import { sampleRateOf } from "../codecs/aac_config.ts";
import { writeProgramConfig } from "../codecs/aac_program.ts";
import type { AudioConfig, VideoConfig } from "../codecs/config.ts";
import { H264_NAL, h264NalType, parseAvcC } from "../codecs/h264.ts";
import { H265_NAL, h265NalType, parseHvcC } from "../codecs/h265.ts";
import { joinAnnexB, splitLengthPrefixed } from "../codecs/nal.ts";
import { type OpusHead, parseOpusHead } from "../codecs/opus.ts";
import { MAX_PES_PAYLOAD, STREAM_ID } from "./mpegts_pes.ts";

/** What a frame's bytes in MPEG-TS are made of. */
export interface ElementaryFrame {
  /** Whether a decoder can start here. */
  readonly key: boolean;
  /** NAL units with 4-byte lengths (H.264, H.265), else one raw frame. */
  readonly data: Uint8Array;
}

/** A codec with its configuration, as MPEG-TS carries it. */
export interface ElementaryStream {
  /** `stream_type` of the program map (ISO/IEC 13818-1 Table 2-34). */
  readonly streamType: number;
  /** `stream_id` of its PES packets. */
  readonly streamId: number;
  /** Descriptors of the program map. */
  readonly descriptors: Uint8Array;
  /**
   * What a PES packet carries for a frame, in parts; nothing for frames that it cannot carry.
   *
   * @throws {InvalidDataError} If the lengths of NAL units are wrong.
   */
  parts(frame: ElementaryFrame): readonly Uint8Array[];
}

/** `stream_type` values (ISO/IEC 13818-1 Table 2-34). */
const STREAM_TYPE = {
  mpeg1Audio: 0x03,
  mpeg2Audio: 0x04,
  private: 0x06,
  adts: 0x0f,
  h264: 0x1b,
  h265: 0x24,
} as const;

const NOTHING: Uint8Array = new Uint8Array();
const START_CODE = Uint8Array.of(0, 0, 0, 1);

/** Access unit delimiters that allow any kind of slice (H.264 7.3.2.4, H.265 7.3.2.5). */
const H264_DELIMITER = Uint8Array.of(H264_NAL.aud, 0xf0);
const H265_DELIMITER = Uint8Array.of(H265_NAL.aud << 1, 1, 0x50);

/** The lowest sample rate of MPEG-1 audio (ISO/IEC 11172-3 2.4.2.3). */
const MIN_MPEG1_RATE = 32_000;

/** Bytes of an ADTS header, and most that one counts (ISO/IEC 14496-3 1.A.2.2.1). */
const ADTS_LENGTH = 7;
const MAX_ADTS_FRAME = 0x1fff;

/** `id_syn_ele` of a program config element (ISO/IEC 14496-3 Table 4.85). */
const PROGRAM_ELEMENT = 5;

/** "Opus" in a registration descriptor, and the DVB extension descriptor (Opus in MPEG-TS 4.1). */
const OPUS_REGISTRATION = [0x05, 4, 0x4f, 0x70, 0x75, 0x73] as const;
const EXTENSION_TAG = 0x7f;
const OPUS_EXTENSION = 0x80;

/** `control_header_prefix` without trims or extension (Opus in MPEG-TS 4.2). */
const OPUS_CONTROL = 0x7fe0;

/** Streams, coupled ones and channels by `channel_config_code` from 1 on (Opus in MPEG-TS 4.1). */
const OPUS_LAYOUTS: readonly (readonly [number, number, readonly number[]])[] = [
  [1, 0, [0]],
  [1, 1, [0, 1]],
  [2, 1, [0, 2, 1]],
  [2, 2, [0, 1, 2, 3]],
  [3, 2, [0, 4, 1, 2, 3]],
  [4, 2, [0, 4, 1, 2, 3, 5]],
  [4, 3, [0, 4, 1, 2, 3, 5, 6]],
  [5, 3, [0, 6, 1, 2, 3, 4, 5, 7]],
];

/** Channel mapping family of surround sound (RFC 7845 5.1.1.2). */
const SURROUND_FAMILY = 1;

/**
 * How MPEG-TS carries what `config` configures; undefined if it does not.
 *
 * It carries H.264, H.265, MP3, AAC in ADTS, and Opus as its draft for MPEG-TS has it. Not carried
 * are AAC that ADTS can't tell (object types other than Main, LC, SSR and LTP with or without SBR
 * and PS; frames of 960 samples; rates and channel configurations without an index of their own),
 * and Opus in other layouts than those of mapping families 0 and 1.
 *
 * @throws {InvalidDataError} If the description is malformed.
 */
export function elementaryStream(config: VideoConfig | AudioConfig): ElementaryStream | undefined {
  const { description } = config;
  switch (config.fourcc) {
    case "avc1":
      return h264Stream(description);
    case "hvc1":
      return h265Stream(description);
    case ".mp3":
      return config.kind === "audio" ? mp3Stream(config.sampleRate) : undefined;
    case "mp4a":
      return description && aacStream(parseAudioSpecificConfig(description));
    case "Opus":
      return config.kind === "audio" ? opusStream(config) : undefined;
    default:
      return undefined;
  }
}

function h264Stream(description: Uint8Array | undefined): ElementaryStream {
  const record = description && parseAvcC(description);
  const sets = record ? [...record.sps, ...record.spsExtension ?? [], ...record.pps] : [];
  const isDelimiter = (nalu: Uint8Array) => h264NalType(nalu) === H264_NAL.aud;
  return naluStream(STREAM_TYPE.h264, isDelimiter, [H264_DELIMITER, ...sets]);
}

function h265Stream(description: Uint8Array | undefined): ElementaryStream {
  const record = description && parseHvcC(description);
  const sets = record ? [...record.vps, ...record.sps, ...record.pps, ...record.sei ?? []] : [];
  const isDelimiter = (nalu: Uint8Array) => h265NalType(nalu) === H265_NAL.aud;
  return naluStream(STREAM_TYPE.h265, isDelimiter, [H265_DELIMITER, ...sets]);
}

/**
 * A byte stream whose access units all begin with a delimiter, and the keys among them with the
 * parameter sets behind it.
 */
function naluStream(
  streamType: number,
  isDelimiter: (nalu: Uint8Array) => boolean,
  keyStart: readonly Uint8Array[],
): ElementaryStream {
  const keyPrefix = joinAnnexB(keyStart);
  const prefix = joinAnnexB(keyStart.slice(0, 1));
  return {
    streamType,
    streamId: STREAM_ID.video,
    descriptors: NOTHING,
    parts({ key, data }) {
      const parts: Uint8Array[] = [key ? keyPrefix : prefix];
      for (const nalu of splitLengthPrefixed(data)) {
        if (!isDelimiter(nalu)) parts.push(START_CODE, nalu);
      }
      return parts.length === 1 ? [] : parts;
    },
  };
}

function mp3Stream(sampleRate: number): ElementaryStream {
  const isMpeg2 = sampleRate > 0 && sampleRate < MIN_MPEG1_RATE;
  return {
    streamType: isMpeg2 ? STREAM_TYPE.mpeg2Audio : STREAM_TYPE.mpeg1Audio,
    streamId: STREAM_ID.audio,
    descriptors: NOTHING,
    parts: ({ data }) => fitting([data], MAX_PES_PAYLOAD),
  };
}

/** AAC in ADTS frames (ISO/IEC 14496-3 1.A.2.2), without checksums. */
function aacStream(config: AudioSpecificConfig): ElementaryStream | undefined {
  const { objectType, channelConfiguration, program } = config;
  const rateIndex = rateIndexOf(config.sampleRate);
  const untold = objectType < 1 || objectType > 4 || channelConfiguration > 7 ||
    rateIndex === undefined || config.frameLength !== 1024;
  if (untold) return undefined;
  const start = (objectType - 1) << 6 | rateIndex << 2 | channelConfiguration >> 2;
  // Without a channel configuration, the frames have to list the channels.
  const element = program === undefined ? NOTHING : programElement(program);
  return {
    streamType: STREAM_TYPE.adts,
    streamId: STREAM_ID.audio,
    descriptors: NOTHING,
    parts({ data }) {
      const listed = element.length === 0 || (data[0] ?? 0) >> 5 === PROGRAM_ELEMENT;
      const length = ADTS_LENGTH + (listed ? 0 : element.length) + data.length;
      const header = Uint8Array.of(
        0xff,
        0xf1, // the rest of the sync word, MPEG-4, no checksum
        start,
        (channelConfiguration & 3) << 6 | length >> 11,
        length >> 3,
        (length & 7) << 5 | 0x1f, // adts_buffer_fullness 0x7ff: variable bit rate
        0xfc, // one raw data block
      );
      return fitting(listed ? [header, data] : [header, element, data], MAX_ADTS_FRAME);
    },
  };
}

/** A program config element as a raw data block has it, which ends with a whole byte. */
function programElement(program: ProgramConfig): Uint8Array {
  const writer = new BitWriter().bits(PROGRAM_ELEMENT, 3);
  writeProgramConfig(writer, program);
  return writer.finish();
}

/** `sampling_frequency_index`; undefined for rates that have none. */
function rateIndexOf(sampleRate: number): number | undefined {
  for (let index = 0; index <= 12; index++) {
    if (sampleRateOf(index) === sampleRate) return index;
  }
  return undefined;
}

/** Opus as private data (Opus in MPEG-TS, ETSI draft 0.1.3). */
function opusStream(config: AudioConfig): ElementaryStream | undefined {
  const { description, numberOfChannels } = config;
  const code = description === undefined
    ? (numberOfChannels === 1 || numberOfChannels === 2 ? numberOfChannels : undefined)
    : opusLayoutOf(parseOpusHead(description));
  if (code === undefined) return undefined;
  return {
    streamType: STREAM_TYPE.private,
    streamId: STREAM_ID.private,
    descriptors: Uint8Array.of(...OPUS_REGISTRATION, EXTENSION_TAG, 2, OPUS_EXTENSION, code),
    parts: ({ data }) => fitting([opusControlHeader(data.length), data], MAX_PES_PAYLOAD),
  };
}

/** `channel_config_code`, 1 to 8; undefined for other layouts. */
function opusLayoutOf({ channels, mappingFamily, mapping }: OpusHead): number | undefined {
  if (mapping === undefined) return channels;
  if (mappingFamily !== SURROUND_FAMILY) return undefined;
  const layout = OPUS_LAYOUTS[channels - 1];
  if (layout === undefined) return undefined;
  const [streams, coupled, order] = layout;
  const same = mapping.streams === streams && mapping.coupled === coupled &&
    equalBytes(mapping.channels, Uint8Array.from(order));
  return same ? channels : undefined;
}

/** `opus_control_header` of a packet of `length` bytes: these are counted in bytes of up to 255. */
function opusControlHeader(length: number): Uint8Array {
  const full = Math.floor(length / 255);
  const header = new Uint8Array(3 + full).fill(0xff);
  header[0] = OPUS_CONTROL >> 8;
  header[1] = OPUS_CONTROL & 0xff;
  header[2 + full] = length % 255;
  return header;
}

/** `parts`, or none if they are over `max` bytes or the last one, the frame, is empty. */
function fitting(parts: readonly Uint8Array[], max: number): readonly Uint8Array[] {
  let length = 0;
  for (const part of parts) length += part.length;
  return length > max || parts.at(-1)?.length === 0 ? [] : parts;
}
