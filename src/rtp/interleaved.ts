/** Packets in one byte stream, as RTSP interleaves them (RFC 2326 10.12). */

import { parseRtp } from "./packet.ts";
import { parseRtcp, type RtcpPacket, SdesType } from "./rtcp.ts";

/** The channels of one track. */
export interface RtpChannels {
  /** That of its RTP packets, 0 to 255. */
  readonly rtp: number;
  /** That of its RTCP packets, 0 to 255. */
  readonly rtcp: number;
}

/** A packet on a channel. */
export interface InterleavedPacket {
  /** 0 to 255. */
  readonly channel: number;
  /** A view on it. */
  readonly packet: Uint8Array;
}

/** Where a track begins, as RTP-Info says it (RFC 2326 12.33). */
export interface RtpStart {
  /** The sender. */
  readonly ssrc: number;
  /** Timestamp of a moment that is the same for all tracks; 32 bits. */
  readonly timestamp: number;
  /** Sequence number of the first packet, which may be still to come. */
  readonly sequence: number;
  /** The sender's canonical name; undefined if it is not said. */
  readonly cname: string | undefined;
}

/** Bytes in front of each packet: a dollar sign, the channel and 16 bits of length. */
export const INTERLEAVED_HEADER_BYTES = 4;

const DOLLAR = 0x24;

/**
 * Sequence number of a sender's next packet after so many. It begins at the low half of its source,
 * as random as that, so that a report tells which packet comes next: there are players that hold a
 * track back for seconds if RTP-Info does not say where it begins.
 */
export function sequenceAfter(ssrc: number, packets: number): number {
  return (ssrc + packets) & 0xffff;
}

/** Writes what goes in front of a packet of `length` bytes, up to 65 535. */
export function writeInterleavedHeader(
  target: Uint8Array,
  offset: number,
  { channel, length }: { readonly channel: number; readonly length: number },
): void {
  target[offset] = DOLLAR;
  target[offset + 1] = channel;
  target[offset + 2] = length >>> 8;
  target[offset + 3] = length;
}

/**
 * The packets of `bytes`, which begin and end with whole ones.
 *
 * @throws {RangeError} If they don't.
 */
export function* splitInterleaved(bytes: Uint8Array): Generator<InterleavedPacket, void> {
  for (let at = 0; at < bytes.length;) {
    const start = at + INTERLEAVED_HEADER_BYTES;
    const end = start + ((bytes[at + 2] ?? 0) << 8 | (bytes[at + 3] ?? 0));
    if (bytes[at] !== DOLLAR || end > bytes.length) {
      throw new RangeError(`Cannot split packets: the one at ${at} of ${bytes.length} is none`);
    }
    yield { channel: bytes[at + 1] ?? 0, packet: bytes.subarray(start, end) };
    at = end;
  }
}

/**
 * Where the track of `channels` begins in `bytes`, which an `RtpSender` wrote; undefined if they say
 * nothing of it.
 *
 * Where there is a sender report, the moment is that of the first one: tracks whose reports were
 * written together begin at the same moment. Otherwise it is that of the first packet.
 *
 * @throws {RangeError} If `bytes` don't begin and end with whole packets.
 * @throws {InvalidDataError} If a packet is malformed.
 */
export function firstOf(bytes: Uint8Array, { rtp, rtcp }: RtpChannels): RtpStart | undefined {
  let first: Omit<RtpStart, "cname"> | undefined;
  let reported: RtpStart | undefined;
  for (const { channel, packet } of splitInterleaved(bytes)) {
    if (channel === rtp) first ??= parseRtp(packet);
    else if (channel === rtcp) reported ??= reportedStart(parseRtcp(packet));
    if (first !== undefined && reported !== undefined) break;
  }
  const start = reported ?? first;
  return start && {
    ssrc: start.ssrc,
    timestamp: start.timestamp,
    sequence: first?.sequence ?? start.sequence,
    cname: reported?.cname,
  };
}

function reportedStart(packets: readonly RtcpPacket[]): RtpStart | undefined {
  const report = packets.find((packet) => packet.type === "sr");
  if (report === undefined) return undefined;
  const { ssrc, rtpTimestamp: timestamp } = report;
  const chunks = packets.flatMap((packet) => packet.type === "sdes" ? packet.chunks : []);
  const items = chunks.find((chunk) => chunk.ssrc === ssrc)?.items;
  const cname = items?.find(({ type }) => type === SdesType.cname)?.text;
  return { ssrc, timestamp, sequence: sequenceAfter(ssrc, report.packets), cname };
}
