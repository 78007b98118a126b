/**
 * What the audio and the video bodies of Enhanced RTMP have in common: FourCCs, ModEx and
 * Multitrack (Enhanced RTMP v2, "Enhanced Audio" and "Enhanced Video").
 */

import type { ByteReader } from "../bytes.ts";
import { InvalidDataError } from "../errors.ts";

/** Most ModEx extensions on one packet; one is defined, and each may be as long as 64 KiB. */
export const MAX_MOD_EX = 16;

/** Most tracks in one body: as many as the 8-bit track id can tell apart. */
export const MAX_TRACKS = 256;

/** PacketType of ModEx, for audio and video alike. */
export const PACKET_MOD_EX = 7;

/** Nanoseconds in a millisecond; a TimestampOffsetNano stays below. */
const NANO_PER_MS = 1_000_000;

const MOD_EX_TIMESTAMP_OFFSET_NANO = 0;

const MULTITRACK_ONE_TRACK = 0;
const MULTITRACK_MANY_TRACKS_MANY_CODECS = 2;

/** The FourCCs of Enhanced RTMP v2 by their 32-bit value, so that no frame makes a string. */
const KNOWN_FOURCCS: ReadonlyMap<number, string> = new Map(
  [
    ...["avc1", "hvc1", "vvc1", "av01", "vp08", "vp09"],
    ...["mp4a", "Opus", ".mp3", "fLaC", "ac-3", "ec-3"],
  ].map((fourcc) => [fourccNumber(fourcc), fourcc]),
);

/** One track's part of a body. */
export interface TrackPart {
  /** FourCC of its codec. */
  readonly fourcc: string;
  /** Track id, 0 to 255. */
  readonly trackId: number;
  /** What is behind the headers, to the end of the track's part. */
  readonly data: Uint8Array;
}

/** The parts of a multitrack body. */
export interface Multitrack {
  /** PacketType that all parts share. */
  readonly packetType: number;
  /** Its parts in wire order. */
  readonly parts: readonly TrackPart[];
}

/** What ModEx says about the packet after it. */
export interface ModEx {
  /** PacketType of the packet that is modified. */
  readonly packetType: number;
  /** Nanoseconds to add to the presentation time, 0 to 999 999. */
  readonly nanoOffset: number;
}

/**
 * Reads ModEx extensions up to the first PacketType that is another one.
 *
 * @throws {InvalidDataError} If they are cut short, more than {@linkcode MAX_MOD_EX}, or an offset
 * is a millisecond or more.
 */
export function readModEx(reader: ByteReader): ModEx {
  let nanoOffset = 0;
  for (let count = 0; count < MAX_MOD_EX; count++) {
    let size = reader.u8() + 1;
    if (size === 256) size = reader.u16() + 1;
    const data = reader.bytes(size);
    const types = reader.u8();
    if (types >> 4 === MOD_EX_TIMESTAMP_OFFSET_NANO) nanoOffset = readNanoOffset(data);
    const packetType = types & 15;
    if (packetType !== PACKET_MOD_EX) return { packetType, nanoOffset };
  }
  throw new InvalidDataError(`Cannot read ModEx: there are more than ${MAX_MOD_EX}`);
}

/**
 * Reads a multitrack header and the tracks behind it.
 *
 * @throws {InvalidDataError} If it is cut short, of a reserved kind, or has more than
 * {@linkcode MAX_TRACKS} tracks.
 */
export function readMultitrack(reader: ByteReader): Multitrack {
  const types = reader.u8();
  const kind = types >> 4;
  if (kind > MULTITRACK_MANY_TRACKS_MANY_CODECS) {
    throw new InvalidDataError(`Cannot read multitrack body: its type is ${kind}`);
  }
  const shared = kind === MULTITRACK_MANY_TRACKS_MANY_CODECS ? undefined : readFourcc(reader);
  const parts: TrackPart[] = [];
  do {
    if (parts.length === MAX_TRACKS) {
      throw new InvalidDataError(`Cannot read multitrack body: it has more than ${MAX_TRACKS}`);
    }
    const fourcc = shared ?? readFourcc(reader);
    const trackId = reader.u8();
    const data = kind === MULTITRACK_ONE_TRACK ? reader.rest() : reader.bytes(reader.u24());
    parts.push({ fourcc, trackId, data });
  } while (reader.remaining > 0);
  return { packetType: types & 15, parts };
}

/**
 * Reads a FourCC.
 *
 * @throws {InvalidDataError} If it is not four printable ASCII characters.
 */
export function readFourcc(reader: ByteReader): string {
  const value = reader.u32();
  const known = KNOWN_FOURCCS.get(value);
  if (known !== undefined) return known;
  const bytes = [value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
  if (bytes.some((byte) => byte < 0x20 || byte > 0x7e)) {
    throw new InvalidDataError(
      `Cannot read FourCC: 0x${value.toString(16).padStart(8, "0")} is not printable`,
    );
  }
  return String.fromCharCode(...bytes);
}

/**
 * The 32 bits of `fourcc`.
 *
 * @throws {RangeError} If it is not four ASCII characters.
 */
export function fourccNumber(fourcc: string): number {
  let value = 0;
  let allBits = 0;
  for (let index = 0; index < fourcc.length; index++) {
    const code = fourcc.charCodeAt(index);
    value = value << 8 | code;
    allBits |= code;
  }
  if (fourcc.length !== 4 || allBits > 0x7f) {
    throw new RangeError(`Cannot write FourCC: "${fourcc}" is not four ASCII characters`);
  }
  return value >>> 0;
}

/**
 * A header byte, a FourCC and `data`, the shape of every enhanced body that we write.
 *
 * @throws {RangeError} If `fourcc` is not four ASCII characters.
 */
export function enhancedBody(header: number, fourcc: string, data?: Uint8Array): Uint8Array {
  const value = fourccNumber(fourcc);
  const body = new Uint8Array(5 + (data?.length ?? 0));
  body[0] = header;
  body[1] = value >>> 24;
  body[2] = value >>> 16;
  body[3] = value >>> 8;
  body[4] = value;
  if (data) body.set(data, 5);
  return body;
}

function readNanoOffset(data: Uint8Array): number {
  const [high, middle, low] = data;
  if (high === undefined || middle === undefined || low === undefined) {
    throw new InvalidDataError(`Cannot read TimestampOffsetNano: it has ${data.length} bytes`);
  }
  const nanoOffset = high << 16 | middle << 8 | low;
  if (nanoOffset >= NANO_PER_MS) {
    throw new InvalidDataError(`Cannot read TimestampOffsetNano: ${nanoOffset} ns is 1 ms or more`);
  }
  return nanoOffset;
}
