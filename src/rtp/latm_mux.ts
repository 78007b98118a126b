/** LATM, the MPEG-4 audio transport multiplex (ISO/IEC 14496-3 1.7.3), of one program and layer. */

import { BitReader } from "../bits.ts";
import { aacConfig, parseAudioSpecificConfig, readAudioSpecificConfig } from "../codecs/aac.ts";
import type { AudioConfig } from "../codecs/config.ts";
import { InvalidDataError } from "../errors.ts";

/** Most bytes of an AudioSpecificConfig: twice one with all channels listed and a full comment. */
const MAX_CONFIG_BYTES = 1024;

/** Values of `frameLengthType` (ISO/IEC 14496-3 Table 1.43); the others are of CELP and HVXC. */
const VARIABLE_LENGTH = 0;
const FIXED_LENGTH = 1;

/** `syncExtensionType` and audio object type of SBR, and `syncExtensionType` of PS (1.6.2.1). */
const SBR_EXTENSION = 0x2b7 << 5 | 5;
const PS_SYNC = 0x548;

/** `extensionSamplingFrequencyIndex` that says the rate itself follows (1.6.2.1). */
const ESCAPED_RATE = 15;

/** Bytes to add to the `frameLength` of payloads that are all as long (ISO/IEC 14496-3 1.7.3.2.3). */
const FIXED_LENGTH_BASE = 20;

/** What a StreamMuxConfig says. */
export interface StreamMux {
  /** The decoder configuration, with the AudioSpecificConfig as its description. */
  readonly config: AudioConfig;
  /** Samples of each channel in a payload, at `sampleRate`. */
  readonly samples: number;
  /** Samples per second of the core coder. */
  readonly sampleRate: number;
  /** Payloads in each AudioMuxElement, 1 to 64. */
  readonly payloads: number;
  /** Bytes of each payload; undefined if each says its own. */
  readonly payloadBytes: number | undefined;
  /** Bits of other data behind the payloads. */
  readonly otherBits: number;
}

/** What an AudioMuxElement holds. */
export interface MuxElement {
  /** The configuration in force: the one in the element, if there is one. */
  readonly mux: StreamMux;
  /** Access units: views where they lie at whole bytes. An empty one holds a place. */
  readonly payloads: readonly Uint8Array[];
  /** Bits behind the element. */
  readonly rest: number;
}

/**
 * A StreamMuxConfig (ISO/IEC 14496-3 Table 1.42) from a session description. What is cut off behind the
 * AudioSpecificConfig counts as zeros, as senders leave it out.
 *
 * @throws {InvalidDataError} If it is cut off before, malformed, or of more than one program or layer.
 */
export function parseStreamMux(data: Uint8Array): StreamMux {
  const padded = new Uint8Array(data.length + 2);
  padded.set(data);
  return readStreamMux(new BitReader(padded), padded);
}

/**
 * An AudioMuxElement (ISO/IEC 14496-3 Table 1.41), whose configuration is in it if `inBand`, or as
 * `mux` has it.
 *
 * @throws {InvalidDataError} If it is cut off or malformed, or refers to a configuration that there is
 * not.
 */
export function readMuxElement(
  data: Uint8Array,
  mux: StreamMux | undefined,
  inBand: boolean,
): MuxElement {
  const reader = new BitReader(data);
  const inForce = inBand && !reader.flag() ? readStreamMux(reader, data) : mux;
  if (inForce === undefined) {
    throw new InvalidDataError("Cannot read an AudioMuxElement: its configuration is unknown");
  }
  const payloads: Uint8Array[] = [];
  for (let index = 0; index < inForce.payloads; index++) {
    const length = inForce.payloadBytes ?? readLength(reader);
    payloads.push(readBytes(reader, data, length));
  }
  reader.skip(inForce.otherBits);
  return { mux: inForce, payloads, rest: reader.remaining };
}

function readStreamMux(reader: BitReader, data: Uint8Array): StreamMux {
  const version = reader.bit();
  if (version === 1 && reader.flag()) {
    throw new InvalidDataError("Cannot read a StreamMuxConfig: its audioMuxVersionA is 1");
  }
  if (version === 1) readValue(reader); // taraBufferFullness
  const sameFraming = reader.flag();
  const payloads = reader.bits(6) + 1;
  const programs = reader.bits(4) + 1;
  const layers = reader.bits(3) + 1;
  if (!sameFraming || programs > 1 || layers > 1) {
    throw new InvalidDataError(
      `Cannot read a StreamMuxConfig: it has ${programs} programs and ${layers} layers in ` +
        `${sameFraming ? "the same" : "any"} time framing`,
    );
  }
  const asc = version === 1 ? readSizedConfig(reader, data) : readBareConfig(reader, data);
  const frameLengthType = reader.bits(3);
  if (frameLengthType > FIXED_LENGTH) {
    throw new InvalidDataError(
      `Cannot read a StreamMuxConfig: its frame length type is ${frameLengthType}`,
    );
  }
  let payloadBytes: number | undefined;
  if (frameLengthType === VARIABLE_LENGTH) reader.skip(8); // latmBufferFullness
  else payloadBytes = reader.bits(9) + FIXED_LENGTH_BASE;
  const otherBits = reader.flag() ? readOtherLength(reader, version) : 0;
  if (reader.flag()) reader.skip(8); // crcCheckSum
  const { frameLength: samples, sampleRate } = parseAudioSpecificConfig(asc);
  return { config: aacConfig(asc), samples, sampleRate, payloads, payloadBytes, otherBits };
}

/** An AudioSpecificConfig behind its length in bits. */
function readSizedConfig(reader: BitReader, data: Uint8Array): Uint8Array {
  const length = readValue(reader);
  if (length > 8 * MAX_CONFIG_BYTES) {
    throw new InvalidDataError(`Cannot read a StreamMuxConfig: its ascLen is ${length} bits`);
  }
  return readConfig(reader, data, length);
}

/** An AudioSpecificConfig that only its own fields end. */
function readBareConfig(reader: BitReader, data: Uint8Array): Uint8Array {
  // Its comment is aligned to its own bytes, which are none of the reader's.
  const ahead = bytesAt(data, reader.position, Math.min(reader.remaining >> 3, MAX_CONFIG_BYTES));
  const own = new BitReader(ahead);
  readAudioSpecificConfig(own);
  readExtension(own, ahead);
  return readConfig(reader, data, own.position);
}

/**
 * Passes over an extension behind an AudioSpecificConfig, which is not to be here (ISO/IEC 14496-3
 * 1.7.3.1), but comes from senders that copy a configuration as it is. Without it a frame length type
 * follows, and its first bits would be one that AAC does not have.
 */
function readExtension(reader: BitReader, data: Uint8Array): void {
  const extension = new BitReader(data);
  extension.skip(reader.position);
  if (extension.remaining < 17 || extension.bits(16) !== SBR_EXTENSION) return;
  if (extension.flag() && extension.bits(4) === ESCAPED_RATE) extension.skip(24);
  reader.skip(extension.position - reader.position);
  if (extension.remaining >= 12 && extension.bits(11) === PS_SYNC) reader.skip(12);
}

/** An AudioSpecificConfig of `length` bits, the last byte filled with zero bits. */
function readConfig(reader: BitReader, data: Uint8Array, length: number): Uint8Array {
  const start = reader.position;
  reader.skip(length);
  const config = bytesAt(data, start, Math.ceil(length / 8)).slice();
  const last = config.length - 1;
  config[last] = (config[last] ?? 0) & (0xff << (8 * config.length - length));
  return config;
}

/** LatmGetValue (ISO/IEC 14496-3 Table 1.45). */
function readValue(reader: BitReader): number {
  return reader.bits(8 * (reader.bits(2) + 1));
}

/** `otherDataLenBits`, of up to 32 bits. */
function readOtherLength(reader: BitReader, version: number): number {
  if (version === 1) return readValue(reader);
  let length = 0;
  let more = true;
  for (let bytes = 0; more; bytes++) {
    if (bytes === 4) {
      throw new InvalidDataError(
        "Cannot read a StreamMuxConfig: its other data is over 32 bits long",
      );
    }
    more = reader.flag();
    length = length * 256 + reader.bits(8);
  }
  return length;
}

/** PayloadLengthInfo (ISO/IEC 14496-3 Table 1.44): bytes up to the first that is not 255. */
function readLength(reader: BitReader): number {
  let length = 0;
  for (;;) {
    const byte = reader.bits(8);
    length += byte;
    if (byte < 255) return length;
  }
}

/** The next `length` bytes of `data`, of which `reader` is at any bit. */
function readBytes(reader: BitReader, data: Uint8Array, length: number): Uint8Array {
  const start = reader.position;
  reader.skip(8 * length);
  return bytesAt(data, start, length);
}

/** `length` bytes of `data` from a bit on, as a view if they are whole ones; zeros behind its end. */
function bytesAt(data: Uint8Array, position: number, length: number): Uint8Array {
  const at = position >> 3;
  const shift = position & 7;
  if (shift === 0) return data.subarray(at, at + length);
  const bytes = new Uint8Array(length);
  for (let index = 0; index < length; index++) {
    const pair = ((data[at + index] ?? 0) << 8) | (data[at + index + 1] ?? 0);
    bytes[index] = pair >> (8 - shift);
  }
  return bytes;
}
