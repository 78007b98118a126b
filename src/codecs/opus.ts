/** Opus: the identification header, the dOps record, configurations and packet durations. */

import { ByteReader, ByteWriter } from "../bytes.ts";
import { InvalidDataError } from "../errors.ts";
import type { AudioConfig } from "./config.ts";

/** Samples per second of every Opus decoder's output (RFC 7845 5.1). */
const SAMPLE_RATE = 48_000;

/** "OpusHead" as two 32-bit numbers. */
const MAGIC = [0x4f707573, 0x48656164] as const;

/** Channel mapping family of mono and stereo, which needs no table (RFC 7845 5.1.1.1). */
const PLAIN_FAMILY = 0;

/** Channel mapping family whose table is a matrix (RFC 8486 3.2). */
const MATRIX_FAMILY = 3;

/** Channel index of a silent channel (RFC 7845 5.1.1). */
const SILENT = 255;

/** Longest audio of one packet in microseconds (RFC 6716 3.2.5, R5). */
const MAX_DURATION_US = 120_000;

/** Frame durations in microseconds by the low two bits of a SILK configuration (RFC 6716 3.1). */
const SILK_FRAMES_US = [10_000, 20_000, 40_000, 60_000] as const;

/** Frame durations in microseconds by the low two bits of a CELT configuration (RFC 6716 3.1). */
const CELT_FRAMES_US = [2_500, 5_000, 10_000, 20_000] as const;

/** What an identification header holds (RFC 7845 5.1). */
export interface OpusHead {
  /** Output channels, 1 to 255. */
  readonly channels: number;
  /** Samples at 48 kHz to drop from the decoder's first output, 0 to 65 535. */
  readonly preSkip: number;
  /** Samples per second of the audio before encoding; 0 if not said. It does not matter to decoders. */
  readonly inputSampleRate: number;
  /** Gain to apply to the output, in 1/256 dB, −32 768 to 32 767. */
  readonly outputGain: number;
  /** Channel mapping family: 0 mono or stereo, 1 surround, 255 any other; see RFC 8486 for more. */
  readonly mappingFamily: number;
  /** How channels map to streams; absent in family 0 only. */
  readonly mapping?: OpusMapping;
}

/** How the streams of a packet make up output channels (RFC 7845 5.1.1). */
export interface OpusMapping {
  /** Streams in each packet, 1 to 255. */
  readonly streams: number;
  /** How many of them, the first ones, are stereo. */
  readonly coupled: number;
  /** The decoded channel of each output channel; 255 is silence. */
  readonly channels: Uint8Array;
}

/**
 * An identification header's content, which begins with `OpusHead` (RFC 7845 5.1).
 *
 * @throws {InvalidDataError} If it is cut off, has another magic or major version, or maps channels
 * that there are not.
 */
export function parseOpusHead(data: Uint8Array): OpusHead {
  const reader = new ByteReader(data);
  if (reader.u32() !== MAGIC[0] || reader.u32() !== MAGIC[1]) {
    throw new InvalidDataError("Cannot parse an Opus header: its magic is not OpusHead");
  }
  const version = reader.u8();
  if (version >> 4 !== 0) {
    throw new InvalidDataError(`Cannot parse an Opus header: its version is ${version}`);
  }
  const channels = reader.u8();
  const preSkip = reader.u16le();
  const inputSampleRate = reader.u32le();
  const outputGain = (reader.u16le() << 16) >> 16;
  return readMapping(reader, { channels, preSkip, inputSampleRate, outputGain });
}

/** The identification header of `head`, version 1 (RFC 7845 5.1). */
export function serializeOpusHead(head: OpusHead): Uint8Array<ArrayBuffer> {
  const writer = new ByteWriter(32)
    .u32(MAGIC[0])
    .u32(MAGIC[1])
    .u8(1)
    .u8(head.channels)
    .u16le(head.preSkip)
    .u32le(head.inputSampleRate)
    .u16le(head.outputGain);
  return writeMapping(writer, head);
}

/**
 * The content of a dOps box (Opus-in-ISOBMFF 4.3.2), which is big-endian and has no magic.
 *
 * @throws {InvalidDataError} If it is cut off, its version is not 0, or it maps channels that there
 * are not.
 */
export function parseDops(data: Uint8Array): OpusHead {
  const reader = new ByteReader(data);
  const version = reader.u8();
  if (version !== 0) {
    throw new InvalidDataError(`Cannot parse a dOps record: its version is ${version}`);
  }
  const channels = reader.u8();
  const preSkip = reader.u16();
  const inputSampleRate = reader.u32();
  const outputGain = reader.i16();
  return readMapping(reader, { channels, preSkip, inputSampleRate, outputGain });
}

/** The content of a dOps box (Opus-in-ISOBMFF 4.3.2) for `head`. */
export function serializeDops(head: OpusHead): Uint8Array<ArrayBuffer> {
  const writer = new ByteWriter(32)
    .u8(0)
    .u8(head.channels)
    .u16(head.preSkip)
    .u32(head.inputSampleRate)
    .u16(head.outputGain);
  return writeMapping(writer, head);
}

/**
 * The configuration of an Opus decoder from an identification header, which becomes the description.
 *
 * @throws {InvalidDataError} If the header is malformed.
 */
export function opusConfig(opusHead: Uint8Array): AudioConfig {
  const { channels } = parseOpusHead(opusHead);
  return {
    kind: "audio",
    fourcc: "Opus",
    codec: "opus",
    description: opusHead,
    sampleRate: SAMPLE_RATE,
    numberOfChannels: channels,
  };
}

/**
 * How long a packet plays, in microseconds, 2 500 to 120 000 (RFC 6716 3.1, 3.2).
 *
 * @throws {InvalidDataError} If the packet is empty or lacks its frame count, or the count is 0 or
 * makes it longer than 120 ms.
 */
export function opusDuration(packet: Uint8Array): number {
  const reader = new ByteReader(packet);
  const toc = reader.u8();
  const code = toc & 3;
  const frames = code === 0 ? 1 : code < 3 ? 2 : reader.u8() & 63;
  const duration = frames * frameDuration(toc >> 3);
  if (duration === 0 || duration > MAX_DURATION_US) {
    throw new InvalidDataError(`Cannot time an Opus packet: its duration is ${duration} µs`);
  }
  return duration;
}

/** RFC 6716 Table 2: 0 to 11 are SILK, 12 to 15 hybrid of 10 or 20 ms, 16 to 31 CELT. */
function frameDuration(configuration: number): number {
  if (configuration >= 16) return CELT_FRAMES_US[configuration & 3] ?? 0;
  return SILK_FRAMES_US[configuration & (configuration >= 12 ? 1 : 3)] ?? 0;
}

function readMapping(
  reader: ByteReader,
  fields: Omit<OpusHead, "mappingFamily" | "mapping">,
): OpusHead {
  const mappingFamily = reader.u8();
  const { channels } = fields;
  if (channels === 0 || (mappingFamily === PLAIN_FAMILY && channels > 2)) {
    throw new InvalidDataError(
      `Cannot parse an Opus header: it has ${channels} channels of family ${mappingFamily}`,
    );
  }
  if (mappingFamily === PLAIN_FAMILY) return { ...fields, mappingFamily };
  if (mappingFamily === MATRIX_FAMILY) {
    throw new InvalidDataError("Cannot parse an Opus header: its mapping family is 3, a matrix");
  }
  const streams = reader.u8();
  const coupled = reader.u8();
  const mapped = reader.bytes(channels);
  const decoded = streams + coupled;
  if (
    streams === 0 || coupled > streams || decoded > 255 ||
    mapped.some((channel) => channel >= decoded && channel !== SILENT)
  ) {
    throw new InvalidDataError(
      `Cannot parse an Opus header: its streams are ${streams}, ${coupled} of them stereo, ` +
        `its channels ${mapped.join(" ")}`,
    );
  }
  return { ...fields, mappingFamily, mapping: { streams, coupled, channels: mapped } };
}

function writeMapping(writer: ByteWriter, head: OpusHead): Uint8Array<ArrayBuffer> {
  writer.u8(head.mappingFamily);
  const { mapping } = head;
  if (mapping !== undefined) {
    writer.u8(mapping.streams).u8(mapping.coupled).bytes(mapping.channels);
  }
  return writer.finish();
}
