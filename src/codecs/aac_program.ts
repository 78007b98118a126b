/** The AAC program config element, which lists channels that no channel configuration covers. */

import type { BitReader, BitWriter } from "../bits.ts";

/** One element of a program: a single channel, or a pair of them. */
export interface ProgramElement {
  /** Whether it is a pair of channels; of a coupling element, whether it is independently switched. */
  readonly pair: boolean;
  /** `element_instance_tag` of the element, 0 to 15. */
  readonly tag: number;
}

/**
 * What a program config element says (ISO/IEC 14496-3 4.5.1.2). Its lists have at most 15 elements
 * each, as their lengths have four bits.
 */
export interface ProgramConfig {
  /** `element_instance_tag`, 0 to 15. */
  readonly tag: number;
  /** `object_type`: the audio object type less 1, 0 to 3. */
  readonly objectType: number;
  /** `sampling_frequency_index`, 0 to 15. */
  readonly rateIndex: number;
  /** Elements in front of the listener, from the middle outwards. */
  readonly front: readonly ProgramElement[];
  /** Elements beside the listener, front to back. */
  readonly side: readonly ProgramElement[];
  /** Elements behind the listener, from outside to the middle. */
  readonly back: readonly ProgramElement[];
  /** Tags of the low frequency channels, at most three. */
  readonly lfe: readonly number[];
  /** Tags of the data elements, at most seven. */
  readonly data: readonly number[];
  /** Coupling elements. */
  readonly coupling: readonly ProgramElement[];
  /** `mono_mixdown_element_number`, if present. */
  readonly monoMixdown?: number;
  /** `stereo_mixdown_element_number`, if present. */
  readonly stereoMixdown?: number;
  /** `matrix_mixdown_idx` and `pseudo_surround_enable` as three bits, if present. */
  readonly matrixMixdown?: number;
  /** Comment, at most 255 bytes. */
  readonly comment: Uint8Array;
}

/**
 * Reads a program config element (ISO/IEC 14496-3 4.4.1.1), from `element_instance_tag` on.
 *
 * Its comment is aligned to a byte of what `reader` reads: that is of the AudioSpecificConfig, or of
 * the raw data block.
 *
 * @throws {InvalidDataError} If it is cut off.
 */
export function readProgramConfig(reader: BitReader): ProgramConfig {
  const tag = reader.bits(4);
  const objectType = reader.bits(2);
  const rateIndex = reader.bits(4);
  const frontCount = reader.bits(4);
  const sideCount = reader.bits(4);
  const backCount = reader.bits(4);
  const lfeCount = reader.bits(2);
  const dataCount = reader.bits(3);
  const couplingCount = reader.bits(4);
  const monoMixdown = reader.flag() ? reader.bits(4) : undefined;
  const stereoMixdown = reader.flag() ? reader.bits(4) : undefined;
  const matrixMixdown = reader.flag() ? reader.bits(3) : undefined;
  const readElements = (length: number) =>
    Array.from({ length }, () => ({ pair: reader.flag(), tag: reader.bits(4) }));
  const readTags = (length: number) => Array.from({ length }, () => reader.bits(4));
  const front = readElements(frontCount);
  const side = readElements(sideCount);
  const back = readElements(backCount);
  const lfe = readTags(lfeCount);
  const data = readTags(dataCount);
  const coupling = readElements(couplingCount);
  reader.align();
  const comment = Uint8Array.from({ length: reader.bits(8) }, () => reader.bits(8));
  return {
    tag,
    objectType,
    rateIndex,
    front,
    side,
    back,
    lfe,
    data,
    coupling,
    ...(monoMixdown !== undefined && { monoMixdown }),
    ...(stereoMixdown !== undefined && { stereoMixdown }),
    ...(matrixMixdown !== undefined && { matrixMixdown }),
    comment,
  };
}

/** Writes a program config element (ISO/IEC 14496-3 4.4.1.1), from `element_instance_tag` on. */
export function writeProgramConfig(writer: BitWriter, program: ProgramConfig): void {
  const { front, side, back, lfe, data, coupling, comment } = program;
  writer
    .bits(program.tag, 4)
    .bits(program.objectType, 2)
    .bits(program.rateIndex, 4)
    .bits(front.length, 4)
    .bits(side.length, 4)
    .bits(back.length, 4)
    .bits(lfe.length, 2)
    .bits(data.length, 3)
    .bits(coupling.length, 4);
  writeOptional(writer, program.monoMixdown, 4);
  writeOptional(writer, program.stereoMixdown, 4);
  writeOptional(writer, program.matrixMixdown, 3);
  for (const { pair, tag } of [...front, ...side, ...back]) writer.flag(pair).bits(tag, 4);
  for (const tag of [...lfe, ...data]) writer.bits(tag, 4);
  for (const { pair, tag } of coupling) writer.flag(pair).bits(tag, 4);
  writer.align().bits(comment.length, 8);
  for (const byte of comment) writer.bits(byte, 8);
}

/** How many channels a program has, low frequency ones included. */
export function programChannels(program: ProgramConfig): number {
  let channels = program.lfe.length;
  for (const { pair } of [...program.front, ...program.side, ...program.back]) {
    channels += pair ? 2 : 1;
  }
  return channels;
}

function writeOptional(writer: BitWriter, value: number | undefined, count: number): void {
  writer.flag(value !== undefined);
  if (value !== undefined) writer.bits(value, count);
}
