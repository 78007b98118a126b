/** Codecs in MP4: which it carries, and the sample entries that configure their decoders. */

import type { ByteWriter } from "../bytes.ts";
import type { AudioConfig, VideoConfig } from "../codecs/config.ts";
import { type OpusHead, parseOpusHead, serializeDops } from "../codecs/opus.ts";
import { parseVpcC, serializeVpcC } from "../codecs/vp9.ts";
import { box, fullBox } from "./mp4_boxes.ts";

/** Ticks a second of video: whole numbers of ticks a frame at all usual rates. */
const VIDEO_TIMESCALE = 90_000;

/** Box type of the decoder configuration record in the sample entry of each video codec. */
const RECORDS: ReadonlyMap<string, string> = new Map([
  ["avc1", "avcC"], // ISO/IEC 14496-15 5.4.2
  ["hvc1", "hvcC"], // ISO/IEC 14496-15 8.4.1
  ["av01", "av1C"], // AV1-ISOBMFF 2.3
  ["vp09", "vpcC"], // VP-codec-ISOBMFF, VPCodecConfigurationBox
]);

/** Sample entries of the audio codecs whose frames say all that a decoder needs, by FourCC. */
const WITHOUT_RECORD: ReadonlyMap<string, string> = new Map([
  [".mp3", "mp4a"],
  ["alaw", "alaw"],
  ["ulaw", "ulaw"],
]);

/** `objectTypeIndication` values (ISO/IEC 14496-1 7.2.6.6.2). */
const AAC = 0x40;
const MPEG2_AUDIO = 0x69;
const MPEG1_AUDIO = 0x6b;

/** Lowest sample rate of MPEG-1 audio; those below are of MPEG-2 (ISO/IEC 13818-3 2.4.2.3). */
const MPEG1_MIN_RATE = 32_000;

/** Descriptor tags (ISO/IEC 14496-1 7.2.2.1). */
const ES_DESCRIPTOR = 3;
const DECODER_CONFIG = 4;
const DECODER_SPECIFIC_INFO = 5;
const SL_CONFIG = 6;

/** Bytes of a descriptor's tag and length, the latter in its longest form. */
const DESCRIPTOR_HEADER_BYTES = 5;

/** `streamType` 5, audio, with the reserved bit after it (ISO/IEC 14496-1 7.2.6.6). */
const AUDIO_STREAM = 5 << 2 | 1;

/** 72 dots per inch as a 16.16 number, which every visual sample entry claims. */
const RESOLUTION = 0x0048_0000;

/**
 * Whether MP4 carries what `config` configures: H.264, H.265, AV1 and VP9 with their records, AAC
 * with its AudioSpecificConfig, Opus, MP3 and G.711.
 */
export function isMp4Codec(config: VideoConfig | AudioConfig): boolean {
  if (config.kind === "video") {
    return RECORDS.has(config.fourcc) && config.description !== undefined;
  }
  if (config.sampleRate <= 0) return false;
  switch (config.fourcc) {
    case "mp4a":
      return config.description !== undefined;
    case "Opus":
      return config.description !== undefined || config.numberOfChannels <= 2;
    default:
      return WITHOUT_RECORD.has(config.fourcc);
  }
}

/**
 * The codec string of `config` in MP4 (RFC 6381 3.3), such as `mp4a.6B` of MP3: in the case in which
 * browsers compare it.
 */
export function mp4CodecString(config: VideoConfig | AudioConfig): string {
  if (config.kind === "video" || config.fourcc !== ".mp3") return config.codec;
  return `mp4a.${mp3ObjectType(config).toString(16).toUpperCase()}`;
}

/** Ticks a second that suit the frames of `config`: 90 000 for video, one a sample for audio. */
export function timescaleOf(config: VideoConfig | AudioConfig): number {
  return config.kind === "video" ? VIDEO_TIMESCALE : config.sampleRate;
}

/**
 * Writes the sample entry of `config`, what an `stsd` box holds (ISO/IEC 14496-12 8.5.2).
 *
 * @throws {RangeError} If MP4 doesn't carry the codec.
 * @throws {InvalidDataError} If the description of Opus or VP9 is malformed.
 */
export function sampleEntry(writer: ByteWriter, config: VideoConfig | AudioConfig): void {
  if (!isMp4Codec(config)) {
    throw new RangeError(`Cannot write a sample entry: its codec is ${config.codec}`);
  }
  if (config.kind === "video") visualSampleEntry(writer, config);
  else audioSampleEntry(writer, config);
}

/** VisualSampleEntry (ISO/IEC 14496-12 12.1.3). */
function visualSampleEntry(writer: ByteWriter, config: VideoConfig): void {
  const { fourcc, description = new Uint8Array(), codedWidth = 0, codedHeight = 0 } = config;
  box(writer, fourcc, () => {
    sampleEntryStart(writer);
    zeros(writer, 16);
    writer.u16(codedWidth).u16(codedHeight).u32(RESOLUTION).u32(RESOLUTION).u32(0);
    writer.u16(1); // frame_count
    zeros(writer, 32); // compressorname
    writer.u16(0x18).u16(0xffff); // depth: colour without alpha; pre_defined
    const record = fourcc === "vp09" ? serializeVpcC(parseVpcC(description)) : description;
    box(writer, RECORDS.get(fourcc) ?? "", () => writer.bytes(record));
  });
}

/** AudioSampleEntry (ISO/IEC 14496-12 12.2.3). */
function audioSampleEntry(writer: ByteWriter, config: AudioConfig): void {
  const { fourcc, sampleRate, numberOfChannels } = config;
  box(writer, WITHOUT_RECORD.get(fourcc) ?? fourcc, () => {
    sampleEntryStart(writer);
    zeros(writer, 8);
    writer.u16(numberOfChannels).u16(16).u32(0);
    // 16.16; rates with more bits are 0 here and known from the record or the media header.
    writer.u16(sampleRate <= 0xffff ? sampleRate : 0).u16(0);
    if (fourcc === "mp4a") esds(writer, AAC, config.description);
    else if (fourcc === ".mp3") esds(writer, mp3ObjectType(config));
    else if (fourcc === "Opus") box(writer, "dOps", () => writer.bytes(dops(config)));
  });
}

/** `reserved` and `data_reference_index` of every SampleEntry. */
function sampleEntryStart(writer: ByteWriter): void {
  zeros(writer, 6);
  writer.u16(1);
}

/** ES_Descriptor of an elementary stream (ISO/IEC 14496-14 6.7.2, 14496-1 7.2.6.5). */
function esds(writer: ByteWriter, objectType: number, specificInfo?: Uint8Array): void {
  const infoBytes = specificInfo ? DESCRIPTOR_HEADER_BYTES + specificInfo.length : 0;
  const decoderBytes = 13 + infoBytes;
  const slBytes = 1;
  const esBytes = 3 + DESCRIPTOR_HEADER_BYTES + decoderBytes + DESCRIPTOR_HEADER_BYTES + slBytes;
  fullBox(writer, { type: "esds" }, () => {
    descriptor(writer, ES_DESCRIPTOR, esBytes);
    writer.u16(0).u8(0); // ES_ID is 0 in files; no flags
    descriptor(writer, DECODER_CONFIG, decoderBytes);
    writer.u8(objectType).u8(AUDIO_STREAM);
    writer.u24(0).u32(0).u32(0); // bufferSizeDB, maxBitrate, avgBitrate: not known
    if (specificInfo) {
      descriptor(writer, DECODER_SPECIFIC_INFO, specificInfo.length);
      writer.bytes(specificInfo);
    }
    descriptor(writer, SL_CONFIG, slBytes);
    writer.u8(2); // predefined for MP4 files
  });
}

/** A descriptor's tag and the length of what follows, in seven bits a byte (ISO/IEC 14496-1 8.3.3). */
function descriptor(writer: ByteWriter, tag: number, length: number): void {
  writer.u8(tag);
  for (const shift of [21, 14, 7]) writer.u8(0x80 | ((length >> shift) & 0x7f));
  writer.u8(length & 0x7f);
}

/** The dOps record of `config` (Opus-in-ISOBMFF 4.3.2). */
function dops(config: AudioConfig): Uint8Array {
  const { description, numberOfChannels, sampleRate } = config;
  if (description !== undefined) return serializeDops(parseOpusHead(description));
  // Opus that came without a header, as from RTP: nothing is known that should not be heard.
  const head: OpusHead = {
    channels: numberOfChannels,
    preSkip: 0,
    inputSampleRate: sampleRate,
    outputGain: 0,
    mappingFamily: 0,
  };
  return serializeDops(head);
}

function mp3ObjectType(config: AudioConfig): number {
  return config.sampleRate < MPEG1_MIN_RATE ? MPEG2_AUDIO : MPEG1_AUDIO;
}

function zeros(writer: ByteWriter, count: number): void {
  writer.bytes(new Uint8Array(count));
}
