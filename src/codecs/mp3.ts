/** MPEG-1, MPEG-2 and MPEG-2.5 audio: frame headers and the configuration of MP3. */

import { BitReader } from "../bits.ts";
import { InvalidDataError } from "../errors.ts";
import type { AudioConfig } from "./config.ts";

/** Eleven set bits: those of ISO/IEC 11172-3, without the one that MPEG-2.5 clears. */
const SYNC = 0x7ff;

/** Versions by the header's two bits; 1 is reserved. */
const VERSIONS = [2.5, undefined, 2, 1] as const;

/** Samples per second of MPEG-1 by the header's index (ISO/IEC 11172-3 2.4.2.3); 3 is reserved. */
const SAMPLE_RATES = [44_100, 48_000, 32_000] as const;

/** `mode` of one channel (ISO/IEC 11172-3 2.4.2.3). */
const MONO = 3;

/** Kilobits per second by the header's index, from 1 on (ISO/IEC 11172-3 2.4.2.3, 13818-3 2.4.2.3). */
const BITRATES_KBPS = {
  mpeg1: [
    [32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448],
    [32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384],
    [32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320],
  ],
  mpeg2: [
    [32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
    [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160],
  ],
} as const;

/** What a frame header says (ISO/IEC 11172-3 2.4.1.3). */
export interface Mp3Header {
  /** Version of MPEG audio. */
  readonly version: 1 | 2 | 2.5;
  /** Layer; MP3 is layer 3. */
  readonly layer: 1 | 2 | 3;
  /** Bits per second. */
  readonly bitrate: number;
  /** Samples per second. */
  readonly sampleRate: number;
  /** 1 or 2. */
  readonly channels: number;
  /** Bytes of the whole frame, header included. */
  readonly frameLength: number;
  /** Samples of each channel in the frame: 384, 576 or 1 152. */
  readonly samplesPerFrame: number;
}

/**
 * What the frame header at the start of `data` says (ISO/IEC 11172-3 2.4.1.3, 13818-3 2.4.1.3).
 *
 * @throws {InvalidDataError} If it is cut off, has no sync word or holds a reserved value, or the bit
 * rate is free, so that nothing tells the frame's length.
 */
export function parseMp3Header(data: Uint8Array): Mp3Header {
  const reader = new BitReader(data);
  const sync = reader.bits(11);
  const version = VERSIONS[reader.bits(2)];
  const layer = layerOf(reader.bits(2));
  reader.skip(1); // protection_bit
  const bitrateIndex = reader.bits(4);
  const rateIndex = reader.bits(2);
  const padding = reader.bit();
  reader.skip(1); // private_bit
  const channels = reader.bits(2) === MONO ? 1 : 2;
  reader.skip(6); // mode_extension to emphasis
  const baseRate = SAMPLE_RATES[rateIndex];
  if (sync !== SYNC || version === undefined || layer === undefined || baseRate === undefined) {
    throw new InvalidDataError(
      `Cannot parse an MPEG audio header: its first bytes are ${data.subarray(0, 4).join(" ")}`,
    );
  }
  const table = version === 1 ? BITRATES_KBPS.mpeg1 : BITRATES_KBPS.mpeg2;
  const kbps = table[layer - 1]?.[bitrateIndex - 1];
  if (kbps === undefined) {
    throw new InvalidDataError(
      `Cannot parse an MPEG audio header: its bit rate index is ${bitrateIndex}`,
    );
  }
  const bitrate = kbps * 1000;
  const sampleRate = baseRate / (version === 1 ? 1 : version === 2 ? 2 : 4);
  const samplesPerFrame = layer === 1 ? 384 : layer === 3 && version !== 1 ? 576 : 1152;
  // Padding is a slot: four bytes in layer I, one in the others (ISO/IEC 11172-3 2.4.3.1).
  const slotBytes = layer === 1 ? 4 : 1;
  const slots = Math.floor(samplesPerFrame * bitrate / (8 * slotBytes * sampleRate)) + padding;
  const frameLength = slots * slotBytes;
  return { version, layer, bitrate, sampleRate, channels, frameLength, samplesPerFrame };
}

/**
 * The configuration of an MP3 decoder from a frame, or the header parsed from it.
 *
 * @throws {InvalidDataError} If the frame's header is malformed or not of layer III.
 */
export function mp3Config(frame: Uint8Array | Mp3Header): AudioConfig {
  const header = frame instanceof Uint8Array ? parseMp3Header(frame) : frame;
  if (header.layer !== 3) {
    throw new InvalidDataError(`Cannot configure MP3: the layer is ${header.layer}`);
  }
  return {
    kind: "audio",
    fourcc: ".mp3",
    codec: "mp3",
    sampleRate: header.sampleRate,
    numberOfChannels: header.channels,
  };
}

/** The layer by the header's two bits, which count down; 0 is reserved. */
function layerOf(bits: number): 1 | 2 | 3 | undefined {
  return bits === 3 ? 1 : bits === 2 ? 2 : bits === 1 ? 3 : undefined;
}
