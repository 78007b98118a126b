/** PES packets of MPEG-TS and the clock beside them (ISO/IEC 13818-1 2.4.3). */

import { TS_PACKET_BYTES, TS_SYNC } from "./mpegts_psi.ts";

/**
 * How far the clock runs behind the decode times, in µs: PTS and DTS are the frame's times and
 * this, the PCR is the frame's DTS. A frame then has half of the second that ISO/IEC 13818-1 2.4.2
 * lets it stay in a decoder's buffer to come in whole, and audio may be behind video by as much.
 */
export const TS_LEAD_US = 500_000;

/** `stream_id` values (ISO/IEC 13818-1 Table 2-22). */
export const STREAM_ID = Object.freeze({
  /** What is of no kind that the standard numbers. */
  private: 0xbd,
  /** The first audio stream. */
  audio: 0xc0,
  /** The first video stream. */
  video: 0xe0,
});

/** Most bytes that a PES packet of known length carries: 16 bits count them and 13 of the header. */
export const MAX_PES_PAYLOAD = 0xffff - 13;

/** Bytes of a packet behind its header. */
const PACKET_PAYLOAD = TS_PACKET_BYTES - 4;

/** Bytes of an adaptation field: its length and flags, and a PCR. */
const FLAGS_LENGTH = 2;
const PCR_LENGTH = 6;

const RANDOM_ACCESS = 0x40;
const HAS_PCR = 0x10;

/** Bytes of a PES header with a PTS; a DTS takes five more. */
const PES_HEADER_LENGTH = 14;
const TIMESTAMP_LENGTH = 5;

/** 33 bits of a 90 kHz clock. */
const WRAP = 2 ** 33;
const LEAD_TICKS = TS_LEAD_US * 9 / 100;

/** How a frame is put into packets. */
export interface PesInit {
  /** PID of the packets. */
  readonly pid: number;
  /** `continuity_counter` of the first packet, 0 to 15. */
  readonly counter: number;
  /** One of {@linkcode STREAM_ID}. */
  readonly streamId: number;
  /** Decode time in µs; negative ones count down from the 33-bit wrap. */
  readonly dtsUs: number;
  /**
   * Presentation time in µs. PES has no decode after presentation (ISO/IEC 13818-1 2.4.3.7): where
   * that is said, the PTS stands alone.
   */
  readonly ptsUs: number;
  /** Whether the first packet says that decoding can start here. */
  readonly randomAccess: boolean;
  /** Whether the first packet carries the clock. */
  readonly pcr: boolean;
}

/**
 * The packets of a frame, whose bytes are in `parts`: one PES packet, whole transport packets.
 *
 * Video over {@linkcode MAX_PES_PAYLOAD} bytes has no PES length; all else must not be longer.
 */
export function pesPackets(
  parts: readonly Uint8Array[],
  init: PesInit,
): Uint8Array<ArrayBuffer> {
  const { pid, pcr, randomAccess } = init;
  const hasDts = init.dtsUs < init.ptsUs;
  let pesLength = PES_HEADER_LENGTH + (hasDts ? TIMESTAMP_LENGTH : 0);
  for (const part of parts) pesLength += part.length;
  let fieldLength = pcr ? FLAGS_LENGTH + PCR_LENGTH : randomAccess ? FLAGS_LENGTH : 0;
  const packets = Math.ceil((fieldLength + pesLength) / PACKET_PAYLOAD);
  const bytes = new Uint8Array(packets * TS_PACKET_BYTES);

  // The PES packet goes to the end of the buffer in one piece, and its pieces from there to where
  // they belong: never over what is still to be moved, as each packet begins with bytes of its own.
  let at = bytes.length - pesLength;
  let source = at;
  at = writePesHeader(bytes, at, { ...init, hasDts, pesLength });
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }

  const stuffing = packets * PACKET_PAYLOAD - fieldLength - pesLength;
  if (packets === 1) fieldLength += stuffing;
  let { counter } = init;
  for (let packet = 0; packet < packets; packet++) {
    at = packet * TS_PACKET_BYTES;
    const last = packet === packets - 1;
    const field = packet === 0 ? fieldLength : last ? stuffing : 0;
    bytes[at] = TS_SYNC;
    bytes[at + 1] = (packet === 0 ? 0x40 : 0) | (pid >> 8);
    bytes[at + 2] = pid;
    bytes[at + 3] = (field > 0 ? 0x30 : 0x10) | counter;
    counter = (counter + 1) & 15;
    at += 4;
    if (field > 0) writeField(bytes, at, field);
    at += field;
    if (last) break;
    const taken = PACKET_PAYLOAD - field;
    bytes.copyWithin(at, source, source + taken);
    source += taken;
  }
  if (randomAccess || pcr) writeFlags(bytes, 4, init);
  return bytes;
}

/**
 * A packet with nothing but the clock of `dtsUs`; `counter` is that of the PID's packet before, as
 * only payload is counted (ISO/IEC 13818-1 2.4.3.3).
 */
export function pcrPacket(pid: number, counter: number, dtsUs: number): Uint8Array<ArrayBuffer> {
  const packet = new Uint8Array(TS_PACKET_BYTES);
  packet[0] = TS_SYNC;
  packet[1] = pid >> 8;
  packet[2] = pid;
  packet[3] = 0x20 | counter;
  writeField(packet, 4, PACKET_PAYLOAD);
  writeFlags(packet, 4, { randomAccess: false, pcr: true, dtsUs });
  return packet;
}

/** An adaptation field of `length` bytes with nothing in it but stuffing (ISO/IEC 13818-1 2.4.3.4). */
function writeField(bytes: Uint8Array, at: number, length: number): void {
  bytes[at] = length - 1;
  if (length === 1) return;
  bytes[at + 1] = 0;
  bytes.fill(0xff, at + FLAGS_LENGTH, at + length);
}

/** What the adaptation field at `at` says. */
function writeFlags(
  bytes: Uint8Array,
  at: number,
  { randomAccess, pcr, dtsUs }: Pick<PesInit, "randomAccess" | "pcr" | "dtsUs">,
): void {
  bytes[at + 1] = (randomAccess ? RANDOM_ACCESS : 0) | (pcr ? HAS_PCR : 0);
  if (!pcr) return;
  // 27 MHz: 33 bits count 300 of its ticks, nine the rest (ISO/IEC 13818-1 2.4.3.5).
  const hundreds = Math.floor(dtsUs / 100);
  const rest = Math.floor((dtsUs - hundreds * 100) * 27);
  const base = wrapped(hundreds * 9 + Math.floor(rest / 300));
  const extension = rest % 300;
  bytes[at + 2] = base / 2 ** 25;
  bytes[at + 3] = base / 2 ** 17;
  bytes[at + 4] = base / 2 ** 9;
  bytes[at + 5] = base / 2;
  bytes[at + 6] = (base & 1) << 7 | 0x7e | extension >> 8;
  bytes[at + 7] = extension;
}

/** Writes a PES header (ISO/IEC 13818-1 2.4.3.6) and returns where it ends. */
function writePesHeader(
  bytes: Uint8Array,
  at: number,
  init: PesInit & { readonly hasDts: boolean; readonly pesLength: number },
): number {
  const { streamId, hasDts } = init;
  const length = init.pesLength - 6;
  bytes[at + 2] = 1;
  bytes[at + 3] = streamId;
  if (length <= 0xffff) {
    bytes[at + 4] = length >> 8;
    bytes[at + 5] = length;
  }
  bytes[at + 6] = 0x84; // data_alignment_indicator: it begins with an access unit
  bytes[at + 7] = hasDts ? 0xc0 : 0x80;
  bytes[at + 8] = hasDts ? 2 * TIMESTAMP_LENGTH : TIMESTAMP_LENGTH;
  writeTimestamp(bytes, at + 9, (hasDts ? 3 : 2) << 4, init.ptsUs);
  if (!hasDts) return at + PES_HEADER_LENGTH;
  writeTimestamp(bytes, at + PES_HEADER_LENGTH, 1 << 4, init.dtsUs);
  return at + PES_HEADER_LENGTH + TIMESTAMP_LENGTH;
}

/** A PTS or DTS of 33 bits in three pieces, behind four bits that say which it is. */
function writeTimestamp(bytes: Uint8Array, at: number, prefix: number, us: number): void {
  const hundreds = Math.floor(us / 100);
  const ticks = wrapped(hundreds * 9 + Math.round((us - hundreds * 100) * 0.09) + LEAD_TICKS);
  bytes[at] = prefix | (ticks / 2 ** 29) & 0x0e | 1;
  bytes[at + 1] = ticks / 2 ** 22;
  bytes[at + 2] = (ticks / 2 ** 14) & 0xfe | 1;
  bytes[at + 3] = ticks / 2 ** 7;
  bytes[at + 4] = (ticks << 1) & 0xfe | 1;
}

function wrapped(ticks: number): number {
  const rest = ticks % WRAP;
  return rest < 0 ? rest + WRAP : rest;
}
