/** The MPEG-4 AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1). */

import { BitReader, BitWriter } from "../bits.ts";
import { InvalidDataError } from "../errors.ts";
import {
  programChannels,
  type ProgramConfig,
  readProgramConfig,
  writeProgramConfig,
} from "./aac_program.ts";

/** Samples per second by `samplingFrequencyIndex` (ISO/IEC 14496-3 Table 1.18). */
const SAMPLE_RATES = [
  96_000,
  88_200,
  64_000,
  48_000,
  44_100,
  32_000,
  24_000,
  22_050,
  16_000,
  12_000,
  11_025,
  8_000,
  7_350,
] as const;

/** `samplingFrequencyIndex` that says the rate itself follows. */
const ESCAPED_RATE = 15;

/** Channels by `channelConfiguration` (ISO/IEC 14496-3 Table 1.19, 23001-8 Table 8); 0 is a program. */
const CHANNELS = [0, 1, 2, 3, 4, 5, 6, 8, 0, 0, 0, 7, 8, 24, 8, 0] as const;

/** Audio object types (ISO/IEC 14496-3 Table 1.17). */
const SCALABLE = 6;
const SBR = 5;
const ER_SCALABLE = 20;
const ER_BSAC = 22;
const ER_LD = 23;
const PS = 29;
const ESCAPED_TYPE = 31;
const ER_ELD = 39;

/** Audio object types with a GASpecificConfig (ISO/IEC 14496-3 1.6.2.1). */
const GENERAL_TYPES: ReadonlySet<number> = new Set([1, 2, 3, 4, 6, 7, 17, 19, 20, 21, 22, 23]);

/** `syncExtensionType` values before SBR and PS (ISO/IEC 14496-3 1.6.2.1). */
const SBR_SYNC = 0x2b7;
const PS_SYNC = 0x548;

/** What an AudioSpecificConfig says. */
export interface AudioSpecificConfig {
  /** Audio object type of the core coder: 2 AAC LC, 1 Main, 4 LTP, 42 USAC, … */
  readonly objectType: number;
  /** Samples per second of the core coder, 1 to 16 777 215. */
  readonly sampleRate: number;
  /** Samples per second of the output, twice the core's with SBR as a rule. */
  readonly outputSampleRate: number;
  /** `channelConfiguration`, 0 to 15; 0 where `program` lists the channels. */
  readonly channelConfiguration: number;
  /** Channels of the core coder. */
  readonly channels: number;
  /** Channels of the output: 2 where PS makes stereo of a mono core. */
  readonly outputChannels: number;
  /** Samples of each channel in a frame of the core: 1 024 or 960, of low delay coders 512 or 480. */
  readonly frameLength: number;
  /** The extension declared: SBR (HE-AAC), or SBR and PS (HE-AAC v2). */
  readonly extension: "none" | "sbr" | "ps";
  /**
   * How the extension is declared: in front, so that older decoders refuse it, or behind, so that
   * they play the core (ISO/IEC 14496-3 1.6.5.2); and behind also where none is said to be there.
   */
  readonly signalling: "implicit" | "hierarchical" | "compatible";
  /** The channels where `channelConfiguration` is 0. */
  readonly program?: ProgramConfig;
}

/** A configuration to write; what is missing follows from the rest. */
export interface AudioSpecificConfigInit {
  /** Audio object type of the core coder, 1 to 94. */
  readonly objectType: number;
  /** Samples per second of the core coder, 1 to 16 777 215. */
  readonly sampleRate: number;
  /** `channelConfiguration`, 0 to 15; 0 needs a `program`. */
  readonly channelConfiguration: number;
  /** Samples of each channel in a frame: 1 024 or 960; 1 024 unless given. */
  readonly frameLength?: number;
  /** Extension to declare; none unless given. */
  readonly extension?: "none" | "sbr" | "ps";
  /** How to declare it; in front unless given. */
  readonly signalling?: "implicit" | "hierarchical" | "compatible";
  /** Samples per second of the output; those of the core, twice with an extension, unless given. */
  readonly outputSampleRate?: number;
  /** The channels where `channelConfiguration` is 0. */
  readonly program?: ProgramConfig;
}

/** What is known of an extension while a configuration is read. */
interface Extension {
  readonly extension: "none" | "sbr" | "ps";
  readonly signalling: "implicit" | "hierarchical" | "compatible";
  readonly outputSampleRate: number;
}

/**
 * What an AudioSpecificConfig says (ISO/IEC 14496-3 1.6.2.1).
 *
 * The specific configurations of coders other than AAC are passed over, so of those an extension
 * declared behind is not seen.
 *
 * @throws {InvalidDataError} If it is cut off, holds a reserved sample rate or channel
 * configuration, or has no channels.
 */
export function parseAudioSpecificConfig(data: Uint8Array): AudioSpecificConfig {
  const reader = new BitReader(data);
  const config = readCore(reader);
  if (!GENERAL_TYPES.has(config.objectType) || config.extension !== "none") return config;
  if (!skipErrorProtection(reader, config.objectType)) return config;
  const extension = readCompatible(reader, {
    extension: "none",
    signalling: "implicit",
    outputSampleRate: config.sampleRate,
  });
  return { ...config, ...extension, outputChannels: outputChannelsOf(config, extension) };
}

/**
 * Reads an AudioSpecificConfig that something follows, so that no extension is declared behind it
 * (ISO/IEC 14496-3 1.7.3.1), and leaves `reader`, which begins where it does, at its end.
 *
 * @throws {InvalidDataError} If it is cut off or malformed, or its end can't be told, as it is of a
 * coder other than AAC or has an ErrorProtectionSpecificConfig.
 */
export function readAudioSpecificConfig(reader: BitReader): AudioSpecificConfig {
  const config = readCore(reader);
  const { objectType } = config;
  if (!GENERAL_TYPES.has(objectType) || !skipErrorProtection(reader, objectType)) {
    throw new InvalidDataError(
      `Cannot tell the end of an AudioSpecificConfig: its audio object type is ${objectType}`,
    );
  }
  return config;
}

/**
 * The AudioSpecificConfig of `config` (ISO/IEC 14496-3 1.6.2.1), for AAC object types without error
 * resilience or scalability: 1 Main, 2 LC, 3 SSR, 4 LTP.
 *
 * @throws {InvalidDataError} If the object type is another, or a value does not fit its field.
 */
export function serializeAudioSpecificConfig(
  config: AudioSpecificConfigInit,
): Uint8Array<ArrayBuffer> {
  const { objectType, channelConfiguration, program } = config;
  if (objectType < 1 || objectType > 4) {
    throw new InvalidDataError(
      `Cannot write an AudioSpecificConfig: the audio object type is ${objectType}`,
    );
  }
  if ((channelConfiguration === 0) !== (program !== undefined)) {
    throw new InvalidDataError(
      `Cannot write an AudioSpecificConfig: the channel configuration is ` +
        `${channelConfiguration} ${program === undefined ? "without" : "with"} a program`,
    );
  }
  const extension = config.extension ?? "none";
  const signalling = config.signalling ?? (extension === "none" ? "implicit" : "hierarchical");
  const outputSampleRate = config.outputSampleRate ??
    config.sampleRate * (extension === "none" ? 1 : 2);
  const writer = new BitWriter();
  if (signalling === "hierarchical") writer.bits(extension === "ps" ? PS : SBR, 5);
  else writer.bits(objectType, 5);
  writeSampleRate(writer, config.sampleRate);
  writer.bits(channelConfiguration, 4);
  if (signalling === "hierarchical") {
    writeSampleRate(writer, outputSampleRate);
    writer.bits(objectType, 5);
  }
  writer.flag(config.frameLength === 960).bits(0, 2);
  if (program !== undefined) writeProgramConfig(writer, program);
  if (signalling === "compatible") {
    writer.bits(SBR_SYNC, 11).bits(SBR, 5).flag(extension !== "none");
    if (extension !== "none") {
      writeSampleRate(writer, outputSampleRate);
      if (extension === "ps") writer.bits(PS_SYNC, 11).bit(1);
    }
  }
  return writer.finish();
}

/**
 * Samples per second of a `samplingFrequencyIndex` (ISO/IEC 14496-3 Table 1.18).
 *
 * @throws {InvalidDataError} If the index is over 12.
 */
export function sampleRateOf(index: number): number {
  const rate = SAMPLE_RATES[index];
  if (rate === undefined) {
    throw new InvalidDataError(`Cannot tell an AAC sample rate: its index is ${index}`);
  }
  return rate;
}

/** An AudioSpecificConfig up to where epConfig and an extension behind it may follow. */
function readCore(reader: BitReader): AudioSpecificConfig {
  let objectType = readObjectType(reader);
  const sampleRate = readSampleRate(reader);
  let channelConfiguration = reader.bits(4);
  let extension: Extension = {
    extension: "none",
    signalling: "implicit",
    outputSampleRate: sampleRate,
  };
  if (objectType === SBR || objectType === PS) {
    extension = {
      extension: objectType === PS ? "ps" : "sbr",
      signalling: "hierarchical",
      outputSampleRate: readSampleRate(reader),
    };
    objectType = readObjectType(reader);
    if (objectType === ER_BSAC) channelConfiguration = reader.bits(4);
  }
  let program: ProgramConfig | undefined;
  let shortFrames = false;
  if (GENERAL_TYPES.has(objectType)) {
    shortFrames = reader.flag();
    program = readGeneral(reader, objectType, channelConfiguration);
  } else if (objectType === ER_ELD) {
    shortFrames = reader.flag();
  }
  const channels = program === undefined
    ? CHANNELS[channelConfiguration] ?? 0
    : programChannels(program);
  if (channels === 0) {
    throw new InvalidDataError(
      `Cannot parse an AudioSpecificConfig: its channel configuration is ${channelConfiguration}`,
    );
  }
  return {
    objectType,
    sampleRate,
    channelConfiguration,
    channels,
    outputChannels: outputChannelsOf({ channels }, extension),
    frameLength: frameLengthOf(objectType, shortFrames),
    ...extension,
    ...(program !== undefined && { program }),
  };
}

function outputChannelsOf(
  { channels }: Pick<AudioSpecificConfig, "channels">,
  { extension }: Extension,
): number {
  return extension === "ps" && channels === 1 ? 2 : channels;
}

function readObjectType(reader: BitReader): number {
  const type = reader.bits(5);
  return type === ESCAPED_TYPE ? 32 + reader.bits(6) : type;
}

function readSampleRate(reader: BitReader): number {
  const index = reader.bits(4);
  if (index !== ESCAPED_RATE) return sampleRateOf(index);
  const rate = reader.bits(24);
  if (rate === 0) {
    throw new InvalidDataError("Cannot parse an AudioSpecificConfig: its sample rate is 0");
  }
  return rate;
}

function writeSampleRate(writer: BitWriter, rate: number): void {
  const index = SAMPLE_RATES.findIndex((known) => known === rate);
  if (index >= 0) {
    writer.bits(index, 4);
    return;
  }
  if (!Number.isInteger(rate) || rate < 1 || rate >= 2 ** 24) {
    throw new InvalidDataError(`Cannot write an AudioSpecificConfig: the sample rate is ${rate}`);
  }
  writer.bits(ESCAPED_RATE, 4).bits(rate, 24);
}

/** GASpecificConfig behind its frameLengthFlag (ISO/IEC 14496-3 4.4.1). */
function readGeneral(
  reader: BitReader,
  objectType: number,
  channelConfiguration: number,
): ProgramConfig | undefined {
  if (reader.flag()) reader.skip(14); // dependsOnCoreCoder, coreCoderDelay
  const extended = reader.flag();
  const program = channelConfiguration === 0 ? readProgramConfig(reader) : undefined;
  if (objectType === SCALABLE || objectType === ER_SCALABLE) reader.skip(3); // layerNr
  if (extended) {
    if (objectType === ER_BSAC) reader.skip(16); // numOfSubFrame, layer_length
    if ([17, 19, ER_SCALABLE, ER_LD].includes(objectType)) reader.skip(3); // resilience flags
    reader.skip(1); // extensionFlag3
  }
  return program;
}

/** epConfig (ISO/IEC 14496-3 1.6.2.1); false where an ErrorProtectionSpecificConfig follows. */
function skipErrorProtection(reader: BitReader, objectType: number): boolean {
  return objectType < 17 || reader.bits(2) < 2;
}

/** The extension declared behind the configuration, if there is any. */
function readCompatible(reader: BitReader, none: Extension): Extension {
  if (reader.remaining < 16 || reader.bits(11) !== SBR_SYNC || readObjectType(reader) !== SBR) {
    return none;
  }
  const signalling = "compatible";
  if (!reader.flag()) return { ...none, signalling };
  const outputSampleRate = readSampleRate(reader);
  const ps = reader.remaining >= 12 && reader.bits(11) === PS_SYNC && reader.flag();
  return { extension: ps ? "ps" : "sbr", signalling, outputSampleRate };
}

function frameLengthOf(objectType: number, short: boolean): number {
  if (objectType === ER_LD || objectType === ER_ELD) return short ? 480 : 512;
  return short ? 960 : 1024;
}
