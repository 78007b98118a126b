/** RTP packets (RFC 3550 5.1). What lies in their header extensions is in `extension.ts`. */

import { ByteReader } from "../bytes.ts";
import { InvalidDataError } from "../errors.ts";

/** What an RTP packet says before its payload. */
export interface RtpHeader {
  /** Payload type: 7 bits. */
  readonly payloadType: number;
  /** Marker bit; what it says is up to the payload format. */
  readonly marker: boolean;
  /** Sequence number: 16 bits, wrapping around. */
  readonly sequence: number;
  /** Timestamp in ticks of the payload format's clock: 32 bits, wrapping around. */
  readonly timestamp: number;
  /** Synchronisation source: 32 bits. */
  readonly ssrc: number;
  /** Contributing sources, 32 bits each, at most 15. @default {none} */
  readonly csrcs?: readonly number[];
  /** Header extension. @default {none} */
  readonly extension?: RtpExtension | undefined;
}

/** An RTP packet. */
export interface RtpPacket extends RtpHeader {
  /** What it carries, without padding. */
  readonly payload: Uint8Array;
}

/** A header extension in its general form. */
export interface RtpExtension {
  /** The 16 bits defined by the profile: 0xbede for one-byte, 0x1000 to 0x100f for two-byte elements. */
  readonly profile: number;
  /** Its bytes, a multiple of 4 of them. */
  readonly data: Uint8Array;
}

/** Bytes of a header without contributing sources and extension. */
export const RTP_HEADER_BYTES = 12;

/**
 * How far the sequence numbers of one sender may jump, forth or back, before it is taken to have
 * started anew (RFC 3550 A.1: a minute of 50 packets a second). The 100 of its MAX_MISORDER are
 * too few for the way back: they are 40 ms of a video of 24 Mbit/s.
 */
export const MAX_DROPOUT = 3000;

const VERSION = 2;
const MAX_CSRCS = 15;
/** Most words of an extension: what its 16-bit length field can say. */
const MAX_EXTENSION_WORDS = 0xffff;

/** The packet types of RTCP where it shares a port with RTP (RFC 5761 4). */
const FIRST_RTCP_TYPE = 192;
const LAST_RTCP_TYPE = 223;

const NO_CSRCS: readonly number[] = Object.freeze([]);

/** Whether a packet that came where RTP and RTCP share a port is RTCP (RFC 5761 4). */
export function isRtcp(bytes: Uint8Array): boolean {
  const type = bytes[1];
  return type !== undefined && type >= FIRST_RTCP_TYPE && type <= LAST_RTCP_TYPE;
}

/**
 * How far sequence number `to` is ahead of `from`, the short way around: −32 768 to 32 767.
 */
export function sequenceDistance(from: number, to: number): number {
  return ((to - from) << 16) >> 16;
}

/**
 * The packet that `bytes` hold. Its payload and extension are views on them; padding is left out.
 *
 * @throws {InvalidDataError} If it is cut short, of another version than 2, or padded by more than
 * there is.
 */
export function parseRtp(bytes: Uint8Array): RtpPacket {
  const reader = new ByteReader(bytes);
  const first = reader.u8();
  if (first >> 6 !== VERSION) {
    throw new InvalidDataError(`Cannot parse RTP packet: its version is ${first >> 6}`);
  }
  const second = reader.u8();
  const sequence = reader.u16();
  const timestamp = reader.u32();
  const ssrc = reader.u32();
  const csrcs = readCsrcs(reader, first & 0x0f);
  const extension = (first & 0x10) === 0 ? undefined : readExtension(reader);
  let payload = reader.rest();
  if ((first & 0x20) !== 0) payload = withoutPadding(payload);
  return {
    payloadType: second & 0x7f,
    marker: (second & 0x80) !== 0,
    sequence,
    timestamp,
    ssrc,
    csrcs,
    extension,
    payload,
  };
}

/**
 * The bytes of `packet`, without padding.
 *
 * @throws {RangeError} If it has over 15 contributing sources, or an extension that is no multiple
 * of 4 bytes or too long.
 */
export function serializeRtp(packet: RtpPacket): Uint8Array<ArrayBuffer> {
  return buildRtp(packet, [packet.payload]);
}

/**
 * The bytes of a packet whose payload lies in `parts`, which are copied once.
 *
 * @throws {RangeError} If the header has over 15 contributing sources, or an extension that is no
 * multiple of 4 bytes or too long.
 */
export function buildRtp(header: RtpHeader, parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let offset = rtpHeaderBytes(header);
  let length = offset;
  for (const part of parts) length += part.length;
  const bytes = new Uint8Array(length);
  writeRtpHeader(bytes, header);
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

/** How many bytes `header` takes: {@linkcode RTP_HEADER_BYTES}, contributing sources, extension. */
export function rtpHeaderBytes(header: RtpHeader): number {
  const { csrcs = NO_CSRCS, extension } = header;
  return RTP_HEADER_BYTES + 4 * csrcs.length + (extension ? 4 + extension.data.length : 0);
}

/**
 * Writes `header` at the start of `target`, and gives its length in bytes.
 *
 * @throws {RangeError} If the header has over 15 contributing sources or an extension that is no
 * multiple of 4 bytes or too long, or does not fit.
 */
export function writeRtpHeader(target: Uint8Array, header: RtpHeader): number {
  const { csrcs = NO_CSRCS, extension } = header;
  const length = rtpHeaderBytes(header);
  if (csrcs.length > MAX_CSRCS) {
    throw new RangeError(`Cannot write RTP header: its CSRC count is ${csrcs.length}`);
  }
  if (length > target.length) {
    throw new RangeError(
      `Cannot write RTP header: its length is ${length} and the room ${target.length}`,
    );
  }
  target[0] = VERSION << 6 | (extension ? 0x10 : 0) | csrcs.length;
  target[1] = (header.marker ? 0x80 : 0) | header.payloadType & 0x7f;
  writeU16(target, 2, header.sequence);
  writeU32(target, 4, header.timestamp);
  writeU32(target, 8, header.ssrc);
  let offset = RTP_HEADER_BYTES;
  for (const csrc of csrcs) {
    writeU32(target, offset, csrc);
    offset += 4;
  }
  if (extension) writeExtension(target, offset, extension);
  return length;
}

function readCsrcs(reader: ByteReader, count: number): readonly number[] {
  if (count === 0) return NO_CSRCS;
  const csrcs: number[] = [];
  for (let index = 0; index < count; index++) csrcs.push(reader.u32());
  return csrcs;
}

function readExtension(reader: ByteReader): RtpExtension {
  const profile = reader.u16();
  const words = reader.u16();
  return { profile, data: reader.bytes(4 * words) };
}

/** What is left of `payload` without the padding whose length its last byte says. */
function withoutPadding(payload: Uint8Array): Uint8Array {
  const padding = payload.at(-1) ?? 0;
  if (padding === 0 || padding > payload.length) {
    throw new InvalidDataError(
      `Cannot parse RTP packet: its padding is ${padding} of ${payload.length} bytes`,
    );
  }
  return payload.subarray(0, payload.length - padding);
}

function writeExtension(target: Uint8Array, offset: number, extension: RtpExtension): void {
  const words = extension.data.length / 4;
  if (!Number.isInteger(words) || words > MAX_EXTENSION_WORDS) {
    throw new RangeError(
      `Cannot write RTP header: its extension's length is ${extension.data.length}`,
    );
  }
  writeU16(target, offset, extension.profile);
  writeU16(target, offset + 2, words);
  target.set(extension.data, offset + 4);
}

// By hand: a DataView a packet costs more than the writing.
function writeU16(target: Uint8Array, offset: number, value: number): void {
  target[offset] = value >>> 8;
  target[offset + 1] = value;
}

function writeU32(target: Uint8Array, offset: number, value: number): void {
  writeU16(target, offset, value >>> 16);
  writeU16(target, offset + 2, value);
}
