/**
 * Bodies of FLV audio tags and RTMP audio messages: classic (FLV 10.1 E.4.2) and enhanced (Enhanced
 * RTMP v2, "Enhanced Audio").
 */

import { ByteReader, ByteWriter } from "../bytes.ts";
import { InvalidDataError } from "../errors.ts";
import {
  enhancedBody,
  PACKET_MOD_EX,
  readFourcc,
  readModEx,
  readMultitrack,
} from "./flv_enhanced.ts";

/** What an {@linkcode AudioPacket} carries. */
export type AudioPacketType = "config" | "frame" | "end" | "channels";

/** One packet of one audio track. */
export interface AudioPacket {
  /** FourCC of the codec. */
  readonly fourcc: string;
  /** What `data` is. */
  readonly type: AudioPacketType;
  /** Nanoseconds to add to the presentation time, 0 to 999 999. */
  readonly nanoOffset: number;
  /** Track id, 0 to 255; 0 for bodies with one track. */
  readonly trackId: number;
  /** Decoder configuration, coded audio or MultichannelConfig, as a view on the body. */
  readonly data: Uint8Array;
  /** Samples per second, where the body itself says so and may be believed. */
  readonly sampleRate?: number;
  /** Channels, where the body itself says so and may be believed. */
  readonly channels?: number;
}

/** What the audio writers need of a decoder configuration. */
export interface AudioFormat {
  /** FourCC of the codec. */
  readonly fourcc: string;
  /** Samples per second. */
  readonly sampleRate: number;
  /** Channels. */
  readonly numberOfChannels: number;
  /** AudioSpecificConfig, OpusHead or what the codec has in their place. */
  readonly description?: Uint8Array;
}

const FORMAT_MP3 = 2;
const FORMAT_ENHANCED = 9;
const FORMAT_AAC = 10;
const FORMAT_MP3_8K = 14;

const SAMPLES_16_BIT = 2;

/**
 * Names of the classic sound formats, and the sample rate of those whose rate bits don't count.
 * Those without a FourCC in Enhanced RTMP or QuickTime have names of our own.
 */
const CLASSIC_FORMATS: ReadonlyMap<number, { fourcc: string; sampleRate?: number }> = new Map([
  [0, { fourcc: "lpcm" }],
  [1, { fourcc: "swfa" }],
  [FORMAT_MP3, { fourcc: ".mp3" }],
  [3, { fourcc: "sowt" }],
  [4, { fourcc: "nm16", sampleRate: 16_000 }],
  [5, { fourcc: "nm08", sampleRate: 8_000 }],
  [6, { fourcc: "nmos" }],
  [7, { fourcc: "alaw", sampleRate: 8_000 }],
  [8, { fourcc: "ulaw", sampleRate: 8_000 }],
  [11, { fourcc: "spex", sampleRate: 16_000 }],
  [FORMAT_MP3_8K, { fourcc: ".mp3", sampleRate: 8_000 }],
  [15, { fourcc: "devs" }],
]);

/** Samples per second by SoundRate (E.4.2.1). */
const SOUND_RATES = [5_512, 11_025, 22_050, 44_100];

/** AACPacketType (E.4.2.1). */
const Aac = { sequenceHeader: 0, raw: 1 } as const;

/** AAC always claims 44.1 kHz, 16 bits and stereo (E.4.2.1); its configuration knows better. */
const AAC_HEADER = FORMAT_AAC << 4 | 15;

/** AudioPacketType. */
const Packet = {
  sequenceStart: 0,
  codedFrames: 1,
  sequenceEnd: 2,
  multichannelConfig: 4,
  multitrack: 5,
} as const;

/** AudioChannelOrder. */
const ORDER_NATIVE = 1;
const ORDER_CUSTOM = 2;

/**
 * Takes the body of an audio tag or message apart.
 *
 * An empty body, which stands for silence, and coded audio with nothing behind its header give no
 * packets.
 *
 * @throws {InvalidDataError} If the body is cut short or of a kind that no specification has.
 */
export function parseAudioBody(body: Uint8Array): AudioPacket[] {
  if (body.length === 0) return [];
  const reader = new ByteReader(body);
  const first = reader.u8();
  const format = first >> 4;
  if (format === FORMAT_ENHANCED) return parseEnhanced(reader, first & 15);
  if (format === FORMAT_AAC) return parseAac(reader);
  return parseClassic(reader, first);
}

/** What goes before a raw frame of AAC. */
const AAC_RAW = Uint8Array.of(AAC_HEADER, Aac.raw);

/**
 * What goes before a frame's data in its tag body: classic where the codec has a sound format (MP3
 * only at the rates of FLV), enhanced for all others.
 *
 * @throws {RangeError} If `fourcc` is not four ASCII characters.
 */
export function audioFramePrefix(format: AudioFormat): Uint8Array {
  if (format.fourcc === "mp4a") return AAC_RAW;
  const header = classicHeader(format);
  if (header !== undefined) return new Uint8Array([header]);
  return enhancedBody(FORMAT_ENHANCED << 4 | Packet.codedFrames, format.fourcc);
}

/**
 * The tag body that announces the decoder configuration, if the codec has one.
 *
 * Opus without a description, of at most two channels, gets the OpusHead that fits.
 *
 * @throws {RangeError} If `fourcc` is not four ASCII characters.
 */
export function audioConfigBody(format: AudioFormat): Uint8Array | undefined {
  const description = format.description ?? defaultDescription(format);
  if (!description || classicHeader(format) !== undefined) return undefined;
  if (format.fourcc !== "mp4a") {
    return enhancedBody(FORMAT_ENHANCED << 4 | Packet.sequenceStart, format.fourcc, description);
  }
  const body = new Uint8Array(2 + description.length);
  body[0] = AAC_HEADER;
  body[1] = Aac.sequenceHeader;
  body.set(description, 2);
  return body;
}

/** AACAUDIODATA (E.4.2.2). */
function parseAac(reader: ByteReader): AudioPacket[] {
  const packetType = reader.u8();
  if (packetType > Aac.raw) {
    throw new InvalidDataError(`Cannot read audio body: its AACPacketType is ${packetType}`);
  }
  const data = reader.rest();
  if (data.length === 0) return [];
  const type = packetType === Aac.raw ? "frame" : "config";
  return [{ fourcc: "mp4a", type, nanoOffset: 0, trackId: 0, data }];
}

/** AUDIODATA (E.4.2.1) other than AAC, after its first byte. */
function parseClassic(reader: ByteReader, first: number): AudioPacket[] {
  const format = CLASSIC_FORMATS.get(first >> 4);
  if (!format) {
    throw new InvalidDataError(`Cannot read audio body: its sound format is ${first >> 4}`);
  }
  const data = reader.rest();
  if (data.length === 0) return [];
  const sampleRate = format.sampleRate ?? SOUND_RATES[(first >> 2) & 3] ?? 0;
  const channels = (first & 1) + 1;
  const { fourcc } = format;
  return [{ fourcc, type: "frame", nanoOffset: 0, trackId: 0, data, sampleRate, channels }];
}

/** ExAudioTagHeader and ExAudioTagBody, after their first byte. */
function parseEnhanced(reader: ByteReader, firstPacketType: number): AudioPacket[] {
  let packetType = firstPacketType;
  let nanoOffset = 0;
  if (packetType === PACKET_MOD_EX) ({ packetType, nanoOffset } = readModEx(reader));
  const packets: AudioPacket[] = [];
  if (packetType === Packet.multitrack) {
    const multitrack = readMultitrack(reader);
    for (const { fourcc, trackId, data } of multitrack.parts) {
      const head = { fourcc, packetType: multitrack.packetType, nanoOffset, trackId };
      appendPacket(packets, head, data);
    }
  } else {
    const fourcc = readFourcc(reader);
    appendPacket(packets, { fourcc, packetType, nanoOffset, trackId: 0 }, reader.rest());
  }
  return packets;
}

interface EnhancedHead {
  readonly fourcc: string;
  readonly packetType: number;
  readonly nanoOffset: number;
  readonly trackId: number;
}

/** Appends the packet of one track, unless it is an empty frame. */
function appendPacket(packets: AudioPacket[], head: EnhancedHead, data: Uint8Array): void {
  const { fourcc, nanoOffset, trackId } = head;
  switch (head.packetType) {
    case Packet.codedFrames:
      if (data.length > 0) packets.push({ fourcc, type: "frame", nanoOffset, trackId, data });
      return;
    case Packet.sequenceStart:
      packets.push({ fourcc, type: "config", nanoOffset, trackId, data });
      return;
    case Packet.sequenceEnd:
      packets.push({ fourcc, type: "end", nanoOffset, trackId, data });
      return;
    case Packet.multichannelConfig: {
      const channels = readChannelCount(data);
      packets.push({ fourcc, type: "channels", nanoOffset, trackId, data, channels });
      return;
    }
    default:
      throw new InvalidDataError(`Cannot read audio body: its PacketType is ${head.packetType}`);
  }
}

/** The channel count of a MultichannelConfig, whose mapping or mask must be there. */
function readChannelCount(data: Uint8Array): number {
  const reader = new ByteReader(data);
  const order = reader.u8();
  const channels = reader.u8();
  if (order === ORDER_NATIVE) reader.skip(4);
  if (order === ORDER_CUSTOM) reader.skip(channels);
  return channels;
}

/** The first byte of a classic body, for codecs other than AAC that have one. */
function classicHeader(format: AudioFormat): number | undefined {
  const stereo = format.numberOfChannels > 1 ? 1 : 0;
  if (format.fourcc === ".mp3") return mp3Header(format.sampleRate, stereo);
  for (const [soundFormat, { fourcc, sampleRate }] of CLASSIC_FORMATS) {
    if (fourcc !== format.fourcc) continue;
    const rate = sampleRate ? 0 : Math.max(0, SOUND_RATES.indexOf(format.sampleRate));
    return soundFormat << 4 | rate << 2 | SAMPLES_16_BIT | stereo;
  }
  return undefined;
}

function mp3Header(sampleRate: number, stereo: number): number | undefined {
  if (sampleRate === 8_000) return FORMAT_MP3_8K << 4 | SAMPLES_16_BIT | stereo;
  // FLV has no 48 kHz; muxers have always written 44.1 there, and the MP3 frames say which.
  const rate = SOUND_RATES.indexOf(sampleRate === 48_000 ? 44_100 : sampleRate);
  return rate < 0 ? undefined : FORMAT_MP3 << 4 | rate << 2 | SAMPLES_16_BIT | stereo;
}

/** OpusHead (RFC 7845 5.1) with the usual 80 ms pre-skip, mapping family 0. */
function defaultDescription(format: AudioFormat): Uint8Array | undefined {
  if (format.fourcc !== "Opus" || format.numberOfChannels > 2) return undefined;
  return new ByteWriter(19)
    .bytes(new TextEncoder().encode("OpusHead"))
    .u8(1)
    .u8(format.numberOfChannels)
    .u16le(3840)
    .u32le(format.sampleRate)
    .u16le(0)
    .u8(0)
    .finish();
}
