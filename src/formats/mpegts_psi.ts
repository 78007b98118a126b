/** Program tables of MPEG-TS: which elementary streams there are (ISO/IEC 13818-1 2.4.4). */

import { ByteWriter } from "../bytes.ts";

/** Bytes of a transport stream packet (ISO/IEC 13818-1 2.4.3.2). */
export const TS_PACKET_BYTES = 188;

/** First byte of every packet. */
export const TS_SYNC = 0x47;

/** PID of the program association table. */
export const PAT_PID = 0;

/** PID that stands for none, and is that of null packets. */
export const NO_PID = 0x1fff;

const PAT_TABLE = 0;
const PMT_TABLE = 2;

/** The one transport stream and the one program in it. */
const TRANSPORT_STREAM_ID = 1;
const PROGRAM_NUMBER = 1;

/** One line of a program map table. */
export interface ProgramStream {
  /** Where its packets are, 0x10 to 0x1ffe. */
  readonly pid: number;
  /** `stream_type` (ISO/IEC 13818-1 Table 2-34). */
  readonly streamType: number;
  /** Its descriptors, one after the other. */
  readonly descriptors: Uint8Array;
}

/** A program map table to write. */
export interface ProgramMap {
  /** 0 to 31; another one for another content. */
  readonly version: number;
  /** Where the program's clock is; {@linkcode NO_PID} without a stream. */
  readonly pcrPid: number;
  /** The streams, few enough for one packet. */
  readonly streams: readonly ProgramStream[];
}

/** CRC of each byte with the polynomial 0x04c11db7, most significant bit first. */
const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 24;
  for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc < 0 ? 0x04c11db7 : 0);
  return crc;
});

/** The section that says where the map of the only program is (ISO/IEC 13818-1 2.4.4.4). */
export function patSection(pmtPid: number): Uint8Array<ArrayBuffer> {
  const body = new ByteWriter().u16(PROGRAM_NUMBER).u16(0xe000 | pmtPid).finish();
  return section(PAT_TABLE, { id: TRANSPORT_STREAM_ID, version: 0, body });
}

/** The section that lists the streams of the program (ISO/IEC 13818-1 2.4.4.9). */
export function pmtSection(map: ProgramMap): Uint8Array<ArrayBuffer> {
  const writer = new ByteWriter().u16(0xe000 | map.pcrPid).u16(0xf000);
  for (const { pid, streamType, descriptors } of map.streams) {
    writer.u8(streamType).u16(0xe000 | pid).u16(0xf000 | descriptors.length).bytes(descriptors);
  }
  const body = writer.finish();
  return section(PMT_TABLE, { id: PROGRAM_NUMBER, version: map.version, body });
}

/**
 * The packet that carries a whole section, which has at most 183 bytes; `counter` is its
 * `continuity_counter`.
 */
export function sectionPacket(
  pid: number,
  counter: number,
  section: Uint8Array,
): Uint8Array<ArrayBuffer> {
  // What is left of the packet is 0xff (ISO/IEC 13818-1 2.4.4.1).
  const packet = new Uint8Array(TS_PACKET_BYTES).fill(0xff);
  packet[0] = TS_SYNC;
  packet[1] = 0x40 | (pid >> 8);
  packet[2] = pid;
  packet[3] = 0x10 | counter;
  packet[4] = 0; // pointer_field
  packet.set(section, 5);
  return packet;
}

interface SectionInit {
  /** `transport_stream_id` or `program_number`. */
  readonly id: number;
  readonly version: number;
  readonly body: Uint8Array;
}

/** A section in the long form, current and the only one of its table. */
function section(tableId: number, { id, version, body }: SectionInit): Uint8Array<ArrayBuffer> {
  const writer = new ByteWriter()
    .u8(tableId)
    .u16(0xb000 | (body.length + 9))
    .u16(id)
    .u8(0xc1 | (version << 1))
    .u8(0) // section_number
    .u8(0) // last_section_number
    .bytes(body)
    .u32(0);
  const bytes = writer.finish();
  writer.setU32(bytes.length - 4, crcOf(bytes.subarray(0, -4)));
  return bytes;
}

/** CRC_32 (ISO/IEC 13818-1 annex A). */
function crcOf(bytes: Uint8Array): number {
  let crc = -1;
  for (const byte of bytes) crc = (crc << 8) ^ (CRC_TABLE[(crc >>> 24) ^ byte] ?? 0);
  return crc >>> 0;
}
