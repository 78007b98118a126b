/** How AAC access units lie in packets, as a session description declares it (RFC 3640 4.1). */

import type { BitReader } from "../bits.ts";
import { parseAudioSpecificConfig } from "../codecs/aac.ts";
import { InvalidDataError } from "../errors.ts";
import type { RtpFormat } from "./format.ts";

/** Most bits of a field: no size, index or time needs more. */
const MAX_FIELD_BITS = 32;

/** Most bytes of access units that are all of one size: eight times what AAC-hbr can say. */
const MAX_AU_BYTES = 65_536;

/** Most ticks of an access unit: 2 048 samples at 8 kHz on a clock of 192 kHz. */
const MAX_DURATION = 49_152;

/** Samples of an access unit where nothing says otherwise. */
const USUAL_SAMPLES = 1024;

/** Field widths by mode (RFC 3640 3.3.5, 3.3.6), for senders that leave them out. */
const MODES: ReadonlyMap<string, Pick<AuLayout, "sizeLength" | "indexLength" | "deltaLength">> =
  new Map([
    ["aac-hbr", { sizeLength: 13, indexLength: 3, deltaLength: 3 }],
    ["aac-lbr", { sizeLength: 6, indexLength: 2, deltaLength: 2 }],
  ]);

/** Widths of the fields of AU headers in bits, 0 to 32, and what is the same of all access units. */
export interface AuLayout {
  /** Of AU-size. */
  readonly sizeLength: number;
  /** Of AU-Index, which the first header of a packet has. */
  readonly indexLength: number;
  /** Of AU-Index-delta, which the others have. */
  readonly deltaLength: number;
  /** Of CTS-delta, which a flag announces. */
  readonly ctsLength: number;
  /** Of DTS-delta, which a flag announces. */
  readonly dtsLength: number;
  /** Of RAP-flag: 0 or 1. */
  readonly randomAccessLength: number;
  /** Of Stream-state. */
  readonly stateLength: number;
  /** Of auxiliary-data-size, which goes before the access units. */
  readonly auxiliaryLength: number;
  /** Bytes of every access unit; 0 if they differ. */
  readonly constantSize: number;
  /** Ticks of an access unit, not always whole. */
  readonly duration: number;
}

/** What an AU header says. */
export interface AuHeader {
  /** Bytes of the whole access unit; undefined if nothing says it. */
  readonly size: number | undefined;
  /** Access units that are left out between the one before it in the packet and it. */
  readonly skipped: number;
  /** Ticks of its presentation after the packet's timestamp; undefined if the header has none. */
  readonly ctsDelta: number | undefined;
}

/**
 * The layout that `format` declares.
 *
 * @throws {InvalidDataError} If a parameter is no number or out of range, or `config` is malformed.
 */
export function auLayoutOf(format: RtpFormat): AuLayout {
  const usual = MODES.get(format.parameters.get("mode")?.toLowerCase() ?? "");
  const widthOf = (name: string, standard = 0) =>
    numberOf(format, { name, standard, max: MAX_FIELD_BITS });
  return {
    sizeLength: widthOf("sizelength", usual?.sizeLength),
    indexLength: widthOf("indexlength", usual?.indexLength),
    deltaLength: widthOf("indexdeltalength", usual?.deltaLength),
    ctsLength: widthOf("ctsdeltalength"),
    dtsLength: widthOf("dtsdeltalength"),
    randomAccessLength: numberOf(format, { name: "randomaccessindication", standard: 0, max: 1 }),
    stateLength: widthOf("streamstateindication"),
    auxiliaryLength: widthOf("auxiliarydatasizelength"),
    constantSize: numberOf(format, { name: "constantsize", standard: 0, max: MAX_AU_BYTES }),
    duration: durationOf(format),
  };
}

/** Whether packets have an AU Header Section: whether there is anything in it (RFC 3640 3.2.1). */
export function hasAuHeaders(layout: AuLayout): boolean {
  return layout.sizeLength + layout.indexLength + layout.deltaLength + layout.ctsLength +
      layout.dtsLength + layout.randomAccessLength + layout.stateLength > 0;
}

/**
 * One AU header (RFC 3640 3.2.1.1), `first` being the first of its packet.
 *
 * @throws {InvalidDataError} If it is cut off.
 */
export function readAuHeader(reader: BitReader, layout: AuLayout, first: boolean): AuHeader {
  const size = layout.sizeLength > 0 ? reader.bits(layout.sizeLength) : undefined;
  // AU-Index is of no use: timestamps tell the place of the first access unit.
  if (first) reader.skip(layout.indexLength);
  const skipped = first ? 0 : reader.bits(layout.deltaLength);
  const ctsDelta = layout.ctsLength > 0 && reader.flag()
    ? signed(reader.bits(layout.ctsLength), layout.ctsLength)
    : undefined;
  if (layout.dtsLength > 0 && reader.flag()) reader.skip(layout.dtsLength);
  reader.skip(layout.randomAccessLength + layout.stateLength);
  return { size: size ?? (layout.constantSize || undefined), skipped, ctsDelta };
}

/** The bytes of a parameter in hexadecimal digits (RFC 3640 4.1, RFC 6416 7.3). */
export function hexOf(format: RtpFormat, name: string): Uint8Array | undefined {
  const text = format.parameters.get(name);
  if (text === undefined || text === "") return undefined;
  if (text.length % 2 !== 0 || !/^[0-9a-f]*$/i.test(text)) {
    throw new InvalidDataError(
      `Cannot read ${format.encoding}: ${name} is ${
        text.slice(0, 40)
      }, not whole bytes in hexadecimal`,
    );
  }
  return Uint8Array.from(
    { length: text.length / 2 },
    (_, index) => parseInt(text.slice(2 * index, 2 * index + 2), 16),
  );
}

function numberOf(
  { encoding, parameters }: RtpFormat,
  { name, standard, max }: {
    readonly name: string;
    readonly standard: number;
    readonly max: number;
  },
): number {
  const text = parameters.get(name);
  if (text === undefined || text === "") return standard;
  const value = /^\d{1,10}$/.test(text) ? Number(text) : NaN;
  if (!(value <= max)) {
    throw new InvalidDataError(
      `Cannot read ${encoding}: ${name} is ${text.slice(0, 40)}, not a number up to ${max}`,
    );
  }
  return value;
}

/** Ticks of an access unit: as declared, or of the samples of the core coder. */
function durationOf(format: RtpFormat): number {
  const duration = numberOf(format, { name: "constantduration", standard: 0, max: MAX_DURATION });
  if (duration > 0) return duration;
  const config = hexOf(format, "config");
  if (config === undefined) return USUAL_SAMPLES;
  const { frameLength, sampleRate } = parseAudioSpecificConfig(config);
  return frameLength * format.clockRate / sampleRate;
}

/** A two's complement number of `width` bits. */
function signed(value: number, width: number): number {
  return value >= 2 ** (width - 1) ? value - 2 ** width : value;
}
