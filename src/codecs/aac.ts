/** AAC: decoder configurations and ADTS, the framing that carries them frame by frame. */

import { BitReader } from "../bits.ts";
import { InvalidDataError } from "../errors.ts";
import {
  parseAudioSpecificConfig,
  sampleRateOf,
  serializeAudioSpecificConfig,
} from "./aac_config.ts";
import { type ProgramConfig, readProgramConfig } from "./aac_program.ts";
import type { AudioConfig } from "./config.ts";

export {
  type AudioSpecificConfig,
  type AudioSpecificConfigInit,
  parseAudioSpecificConfig,
  readAudioSpecificConfig,
  serializeAudioSpecificConfig,
} from "./aac_config.ts";
export type { ProgramConfig, ProgramElement } from "./aac_program.ts";

/** Bytes of an ADTS header, and of the checksum that may follow it. */
const HEADER_LENGTH = 7;
const CRC_LENGTH = 2;

/** `id_syn_ele` of a program config element (ISO/IEC 14496-3 Table 4.85). */
const PROGRAM_ELEMENT = 5;

/** Audio object types of SBR and PS, as codec strings name them (ISO/IEC 14496-3 Table 1.17). */
const SBR = 5;
const PS = 29;

/** What an ADTS header says (ISO/IEC 14496-3 1.A.2.2). */
export interface AdtsHeader {
  /** Audio object type: 1 Main, 2 LC, 3 SSR, 4 LTP. */
  readonly objectType: number;
  /** Samples per second of the core coder. */
  readonly sampleRate: number;
  /** `channel_configuration`, 0 to 7; 0 where the first raw data block lists the channels. */
  readonly channelConfiguration: number;
  /** Bytes of the whole frame, header included. */
  readonly frameLength: number;
  /** Bytes of the header and its checksum. */
  readonly headerLength: number;
  /** Raw data blocks of 1 024 samples each in the frame, 1 to 4. */
  readonly blocks: number;
}

/** AAC frames without their ADTS headers, and what configures a decoder for them. */
export interface AdtsFrames {
  /** AudioSpecificConfig of all frames. */
  readonly config: Uint8Array;
  /** Raw data blocks, as views. */
  readonly frames: readonly Uint8Array[];
}

/**
 * The configuration of an AAC decoder from an AudioSpecificConfig, which becomes the description.
 *
 * The codec string names the extension however it is declared: `mp4a.40.5` with SBR, `mp4a.40.29`
 * with PS (RFC 6381 3.3).
 *
 * @throws {InvalidDataError} If `asc` is malformed.
 */
export function aacConfig(asc: Uint8Array): AudioConfig {
  const config = parseAudioSpecificConfig(asc);
  const types = { none: config.objectType, sbr: SBR, ps: PS };
  return {
    kind: "audio",
    fourcc: "mp4a",
    codec: `mp4a.40.${types[config.extension]}`,
    description: asc,
    sampleRate: config.outputSampleRate,
    numberOfChannels: config.outputChannels,
  };
}

/**
 * What the ADTS header at the start of `data` says (ISO/IEC 14496-3 1.A.2.2.1); the frame behind it
 * may be cut off.
 *
 * @throws {InvalidDataError} If the header is cut off, has no sync word or holds a reserved value, or
 * its frame is not longer than it.
 */
export function parseAdts(data: Uint8Array): AdtsHeader {
  const reader = new BitReader(data);
  const sync = reader.bits(12);
  reader.skip(1); // ID
  const layer = reader.bits(2);
  if (sync !== 0xfff || layer !== 0) {
    throw new InvalidDataError(
      `Cannot parse an ADTS header: its sync word is ${sync}, its layer ${layer}`,
    );
  }
  const checked = !reader.flag();
  const objectType = reader.bits(2) + 1;
  const sampleRate = sampleRateOf(reader.bits(4));
  reader.skip(1); // private_bit
  const channelConfiguration = reader.bits(3);
  reader.skip(4); // original_copy to copyright_identification_start
  const frameLength = reader.bits(13);
  reader.skip(11); // adts_buffer_fullness
  const blocks = reader.bits(2) + 1;
  // With a checksum there are also the positions of all blocks but the first.
  const headerLength = HEADER_LENGTH + (checked ? 2 * (blocks - 1) + CRC_LENGTH : 0);
  if (frameLength <= headerLength) {
    throw new InvalidDataError(`Cannot parse an ADTS header: its frame length is ${frameLength}`);
  }
  return { objectType, sampleRate, channelConfiguration, frameLength, headerLength, blocks };
}

/**
 * The frames of `data`, which holds whole ADTS frames (ISO/IEC 14496-3 1.A.2.2).
 *
 * @throws {InvalidDataError} If there is no frame, one is cut off or malformed, they differ in
 * configuration, or one has more than one raw data block and no checksum, so that nothing tells where
 * a block ends.
 */
export function splitAdts(data: Uint8Array): AdtsFrames {
  const header = parseAdts(data);
  const frames: Uint8Array[] = [];
  let at = 0;
  while (at < data.length) {
    const rest = data.subarray(at);
    const next = at === 0 ? header : parseAdts(rest);
    if (next.frameLength > rest.length) {
      throw new InvalidDataError(
        `Cannot split ADTS frames: the length at offset ${at} is ${next.frameLength}, ` +
          `${rest.length} bytes remain`,
      );
    }
    if (!isSameFormat(header, next)) {
      throw new InvalidDataError(
        `Cannot split ADTS frames: the configuration at offset ${at} is another than the first`,
      );
    }
    frames.push(...blocksOf(rest.subarray(0, next.frameLength), next));
    at += next.frameLength;
  }
  return { config: configOf(header, frames[0] ?? data), frames };
}

function isSameFormat(a: AdtsHeader, b: AdtsHeader): boolean {
  return a.objectType === b.objectType && a.sampleRate === b.sampleRate &&
    a.channelConfiguration === b.channelConfiguration;
}

function blocksOf(frame: Uint8Array, header: AdtsHeader): Uint8Array[] {
  const { blocks, headerLength } = header;
  if (blocks === 1) return [frame.subarray(headerLength)];
  if (headerLength === HEADER_LENGTH) {
    throw new InvalidDataError(
      `Cannot split an ADTS frame: the number of its raw data blocks is ${blocks}, ` +
        "their lengths are unknown",
    );
  }
  // Positions count from the first block, and each block has its checksum behind it
  // (ISO/IEC 14496-3 1.A.2.2.3, raw_data_block_position).
  const reader = new BitReader(frame.subarray(HEADER_LENGTH));
  const starts = [0];
  for (let index = 1; index < blocks; index++) starts.push(reader.bits(16));
  const body = frame.subarray(headerLength);
  return starts.map((start, index) => {
    const end = (starts[index + 1] ?? body.length) - CRC_LENGTH;
    if (end <= start || end > body.length) {
      throw new InvalidDataError(
        `Cannot split an ADTS frame: raw data block ${index} is from ${start} to ${end}`,
      );
    }
    return body.subarray(start, end);
  });
}

/** Channel configuration 0 needs the program config element that the first raw data block begins with. */
function configOf(header: AdtsHeader, block: Uint8Array): Uint8Array {
  const { objectType, sampleRate, channelConfiguration } = header;
  let program: ProgramConfig | undefined;
  if (channelConfiguration === 0) {
    const reader = new BitReader(block);
    const element = reader.bits(3);
    if (element !== PROGRAM_ELEMENT) {
      throw new InvalidDataError(
        `Cannot configure AAC: the channels are unlisted, as the first element is ${element}`,
      );
    }
    program = readProgramConfig(reader);
  }
  return serializeAudioSpecificConfig({
    objectType,
    sampleRate,
    channelConfiguration,
    ...(program !== undefined && { program }),
  });
}
