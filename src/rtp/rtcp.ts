/** RTCP: reports, descriptions and feedback (RFC 3550 6, RFC 4585 6, RFC 5104 4.3.1). */

import { ByteReader, ByteWriter } from "../bytes.ts";
import { InvalidDataError } from "../errors.ts";
import type { NtpTime } from "./ntp.ts";

/** One packet of a compound one. */
export type RtcpPacket =
  | SenderReport
  | ReceiverReport
  | SourceDescription
  | Goodbye
  | Nack
  | PictureLoss
  | FullIntraRequest
  | UnknownRtcp;

/** What a source has sent, and heard of others (RFC 3550 6.4.1). */
export interface SenderReport {
  /** Sender report. */
  readonly type: "sr";
  /** The source that sends. */
  readonly ssrc: number;
  /** When it was sent; 0 of a sender without a wall clock. */
  readonly ntp: NtpTime;
  /** The same moment on the clock of its RTP timestamps: 32 bits. */
  readonly rtpTimestamp: number;
  /** RTP packets sent so far: 32 bits, wrapping around. */
  readonly packets: number;
  /** Bytes of payload sent so far: 32 bits, wrapping around. */
  readonly octets: number;
  /** What it has heard, at most 31. */
  readonly reports: readonly ReportBlock[];
}

/** What a participant has heard of others (RFC 3550 6.4.2). */
export interface ReceiverReport {
  /** Receiver report. */
  readonly type: "rr";
  /** Who reports. */
  readonly ssrc: number;
  /** What it has heard, at most 31. */
  readonly reports: readonly ReportBlock[];
}

/** What was heard of one source (RFC 3550 6.4.1). */
export interface ReportBlock {
  /** The source. */
  readonly ssrc: number;
  /** Of the packets since the report before, those that are lost, in 1/256: 0 to 255. */
  readonly fractionLost: number;
  /** Packets lost since the beginning, less duplicates: 24 bits, signed. */
  readonly lost: number;
  /** Highest sequence number, above it how often it wrapped around: 32 bits. */
  readonly highestSequence: number;
  /** Interarrival jitter in ticks of the payload format's clock: 32 bits. */
  readonly jitter: number;
  /** Middle 32 bits of the NTP time of the source's newest sender report; 0 if there is none. */
  readonly lastReport: number;
  /** Time since that report came, in 1/65 536 s: 32 bits; 0 if there is none. */
  readonly sinceLastReport: number;
}

/** Who sources are (RFC 3550 6.5). */
export interface SourceDescription {
  /** Source description. */
  readonly type: "sdes";
  /** A chunk a source, at most 31. */
  readonly chunks: readonly SdesChunk[];
}

/** The description of one source. */
export interface SdesChunk {
  /** The source. */
  readonly ssrc: number;
  /** What is said of it. */
  readonly items: readonly SdesItem[];
}

/** One thing said of a source. */
export interface SdesItem {
  /** What it is: one of {@linkcode SdesType}, or registered since. */
  readonly type: number;
  /** At most 255 bytes in UTF-8, including the prefix and its length if there is one. */
  readonly text: string;
  /** Which private extension it is; of the type `priv` only. @default {""} */
  readonly prefix?: string;
}

/** Types of {@linkcode SdesItem} (RFC 3550 6.5). */
export const SdesType = {
  cname: 1,
  name: 2,
  email: 3,
  phone: 4,
  loc: 5,
  tool: 6,
  note: 7,
  priv: 8,
} as const;

/** Sources that leave (RFC 3550 6.6). */
export interface Goodbye {
  /** Goodbye. */
  readonly type: "bye";
  /** The sources, at most 31. */
  readonly ssrcs: readonly number[];
  /** Why, at most 255 bytes in UTF-8. @default {not said} */
  readonly reason?: string;
}

/** A request to send packets again (RFC 4585 6.2.1). */
export interface Nack {
  /** Generic NACK. */
  readonly type: "nack";
  /** Who asks. */
  readonly senderSsrc: number;
  /** Whose packets are missing. */
  readonly mediaSsrc: number;
  /** Their sequence numbers. On the wire, those in order share entries, 17 at most. */
  readonly sequences: readonly number[];
}

/** A request for a keyframe, as pictures are lost (RFC 4585 6.3.1). */
export interface PictureLoss {
  /** Picture loss indication. */
  readonly type: "pli";
  /** Who asks. */
  readonly senderSsrc: number;
  /** Whose pictures are lost. */
  readonly mediaSsrc: number;
}

/** A command to send keyframes (RFC 5104 4.3.1). */
export interface FullIntraRequest {
  /** Full intra request. */
  readonly type: "fir";
  /** Who asks. */
  readonly senderSsrc: number;
  /** Who is to send a keyframe. `sequence` counts commands: one that repeats has its number, 0 to 255. */
  readonly requests: readonly { readonly ssrc: number; readonly sequence: number }[];
}

/** A packet of any other kind, such as APP, kept as it is. */
export interface UnknownRtcp {
  /** None of the others. */
  readonly type: "unknown";
  /** Packet type: 8 bits. */
  readonly packetType: number;
  /** The 5 bits that are a count, subtype or feedback message type. */
  readonly count: number;
  /** What follows the first 4 bytes, a multiple of 4 bytes, without padding. */
  readonly body: Uint8Array;
}

/**
 * Most packets in a compound one: a report, a description and some feedback for each of many
 * sources. The smallest packets would be 16 384 in a datagram.
 */
export const MAX_COMPOUND_PACKETS = 256;

/** Most entries of a NACK: 17 408 packets, more than any sender keeps to send again. */
export const MAX_NACK_ENTRIES = 1024;

const VERSION = 2;
/** What the 5-bit count field can say. */
const MAX_COUNT = 31;
const MAX_WORDS = 0xffff;
const MAX_TEXT_BYTES = 255;
/** Packets after the first that an entry of a NACK can name. */
const NACK_FOLLOWERS = 16;

/** Packet types (RFC 3550 12.1, RFC 4585 6.1). */
const SENDER_REPORT = 200;
const RECEIVER_REPORT = 201;
const SOURCE_DESCRIPTION = 202;
const GOODBYE = 203;
const TRANSPORT_FEEDBACK = 205;
const PAYLOAD_FEEDBACK = 206;

/** Feedback message types (RFC 4585 6.2 and 6.3, RFC 5104 4.3.1). */
const FORMAT_NACK = 1;
const FORMAT_PLI = 1;
const FORMAT_FIR = 4;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * The packets of a compound packet. It may be of reduced size (RFC 5506): any packet may be first.
 * Extensions that a profile puts behind reports are left out, as is padding; text that is no UTF-8
 * has replacement characters.
 *
 * @throws {InvalidDataError} If a packet is cut short or malformed or of another version than 2, or
 * there are over {@linkcode MAX_COMPOUND_PACKETS}.
 */
export function parseRtcp(bytes: Uint8Array): RtcpPacket[] {
  const reader = new ByteReader(bytes);
  const packets: RtcpPacket[] = [];
  do {
    if (packets.length === MAX_COMPOUND_PACKETS) {
      throw new InvalidDataError(
        `Cannot parse RTCP: its number of packets is over ${MAX_COMPOUND_PACKETS}`,
      );
    }
    packets.push(readPacket(reader));
  } while (reader.remaining > 0);
  return packets;
}

/**
 * The bytes of a compound packet, without padding.
 *
 * @throws {RangeError} If a packet has over 31 reports, chunks or sources, a text over 255 bytes, a
 * body that is no multiple of 4 bytes, or is over 256 KiB.
 */
export function serializeRtcp(packets: readonly RtcpPacket[]): Uint8Array<ArrayBuffer> {
  const writer = new ByteWriter(256);
  for (const packet of packets) {
    const start = writer.length;
    writer.u32(0);
    const [packetType, count] = writeBody(writer, packet);
    const words = (writer.length - start) / 4 - 1;
    if (count > MAX_COUNT || !Number.isInteger(words) || words > MAX_WORDS) {
      throw new RangeError(
        `Cannot write RTCP packet ${packetType}: its count is ${count} and its length ${words} words`,
      );
    }
    writer.setU32(start, VERSION << 30 | count << 24 | packetType << 16 | words);
  }
  return writer.finish();
}

function readPacket(reader: ByteReader): RtcpPacket {
  const first = reader.u8();
  if (first >> 6 !== VERSION) {
    throw new InvalidDataError(`Cannot parse RTCP packet: its version is ${first >> 6}`);
  }
  const packetType = reader.u8();
  const words = reader.u16();
  let body = reader.bytes(4 * words);
  if ((first & 0x20) !== 0) body = withoutPadding(body);
  const count = first & 0x1f;
  const fields = new ByteReader(body);
  switch (packetType) {
    case SENDER_REPORT:
      return readSenderReport(fields, count);
    case RECEIVER_REPORT:
      return { type: "rr", ssrc: fields.u32(), reports: readReports(fields, count) };
    case SOURCE_DESCRIPTION:
      return { type: "sdes", chunks: readChunks(fields, count) };
    case GOODBYE:
      return readGoodbye(fields, count);
    case TRANSPORT_FEEDBACK:
      if (count === FORMAT_NACK) return readNack(fields);
      break;
    case PAYLOAD_FEEDBACK:
      if (count === FORMAT_PLI) {
        return { type: "pli", senderSsrc: fields.u32(), mediaSsrc: fields.u32() };
      }
      if (count === FORMAT_FIR) return readFullIntraRequest(fields);
      break;
  }
  return { type: "unknown", packetType, count, body };
}

/** What is left of `body` without the padding whose length its last byte says. */
function withoutPadding(body: Uint8Array): Uint8Array {
  const padding = body.at(-1) ?? 0;
  if (padding === 0 || padding % 4 !== 0 || padding > body.length) {
    throw new InvalidDataError(
      `Cannot parse RTCP packet: its padding is ${padding} of ${body.length} bytes`,
    );
  }
  return body.subarray(0, body.length - padding);
}

function readSenderReport(reader: ByteReader, count: number): SenderReport {
  return {
    type: "sr",
    ssrc: reader.u32(),
    ntp: { seconds: reader.u32(), fraction: reader.u32() },
    rtpTimestamp: reader.u32(),
    packets: reader.u32(),
    octets: reader.u32(),
    reports: readReports(reader, count),
  };
}

function readReports(reader: ByteReader, count: number): ReportBlock[] {
  const reports: ReportBlock[] = [];
  for (let index = 0; index < count; index++) {
    reports.push({
      ssrc: reader.u32(),
      fractionLost: reader.u8(),
      lost: reader.i24(),
      highestSequence: reader.u32(),
      jitter: reader.u32(),
      lastReport: reader.u32(),
      sinceLastReport: reader.u32(),
    });
  }
  return reports;
}

function readChunks(reader: ByteReader, count: number): SdesChunk[] {
  const chunks: SdesChunk[] = [];
  for (let index = 0; index < count; index++) {
    const ssrc = reader.u32();
    const items: SdesItem[] = [];
    // The last chunk may lack the zero at its end.
    while (reader.remaining > 0) {
      const type = reader.u8();
      if (type === 0) break;
      items.push(readItem(type, reader.bytes(reader.u8())));
    }
    reader.skip(-reader.offset & 3);
    chunks.push({ ssrc, items });
  }
  return chunks;
}

function readItem(type: number, data: Uint8Array): SdesItem {
  if (type !== SdesType.priv) return { type, text: decoder.decode(data) };
  const reader = new ByteReader(data);
  const prefix = decoder.decode(reader.bytes(reader.u8()));
  return { type, text: decoder.decode(reader.rest()), prefix };
}

function readGoodbye(reader: ByteReader, count: number): Goodbye {
  const ssrcs: number[] = [];
  for (let index = 0; index < count; index++) ssrcs.push(reader.u32());
  if (reader.remaining === 0) return { type: "bye", ssrcs };
  return { type: "bye", ssrcs, reason: decoder.decode(reader.bytes(reader.u8())) };
}

function readNack(reader: ByteReader): Nack {
  const senderSsrc = reader.u32();
  const mediaSsrc = reader.u32();
  if (reader.remaining / 4 > MAX_NACK_ENTRIES) {
    throw new InvalidDataError(
      `Cannot parse NACK: its number of entries is over ${MAX_NACK_ENTRIES}`,
    );
  }
  const sequences: number[] = [];
  while (reader.remaining > 0) {
    const first = reader.u16();
    const followers = reader.u16();
    sequences.push(first);
    for (let bit = 0; bit < NACK_FOLLOWERS; bit++) {
      if ((followers >> bit & 1) !== 0) sequences.push((first + bit + 1) & 0xffff);
    }
  }
  return { type: "nack", senderSsrc, mediaSsrc, sequences };
}

function readFullIntraRequest(reader: ByteReader): FullIntraRequest {
  const senderSsrc = reader.u32();
  // The media source, which means nothing here.
  reader.skip(4);
  const requests: { ssrc: number; sequence: number }[] = [];
  while (reader.remaining > 0) {
    requests.push({ ssrc: reader.u32(), sequence: reader.u8() });
    reader.skip(3);
  }
  return { type: "fir", senderSsrc, requests };
}

/** Writes what follows the first 4 bytes of `packet`: its packet type and count. */
function writeBody(writer: ByteWriter, packet: RtcpPacket): [packetType: number, count: number] {
  switch (packet.type) {
    case "sr":
      writer.u32(packet.ssrc).u32(packet.ntp.seconds).u32(packet.ntp.fraction);
      writer.u32(packet.rtpTimestamp).u32(packet.packets).u32(packet.octets);
      writeReports(writer, packet.reports);
      return [SENDER_REPORT, packet.reports.length];
    case "rr":
      writer.u32(packet.ssrc);
      writeReports(writer, packet.reports);
      return [RECEIVER_REPORT, packet.reports.length];
    case "sdes":
      for (const chunk of packet.chunks) writeChunk(writer, chunk);
      return [SOURCE_DESCRIPTION, packet.chunks.length];
    case "bye":
      for (const ssrc of packet.ssrcs) writer.u32(ssrc);
      if (packet.reason !== undefined) writeText(writer, encoder.encode(packet.reason));
      fillWord(writer);
      return [GOODBYE, packet.ssrcs.length];
    case "nack":
      writer.u32(packet.senderSsrc).u32(packet.mediaSsrc);
      writeNackEntries(writer, packet.sequences);
      return [TRANSPORT_FEEDBACK, FORMAT_NACK];
    case "pli":
      writer.u32(packet.senderSsrc).u32(packet.mediaSsrc);
      return [PAYLOAD_FEEDBACK, FORMAT_PLI];
    case "fir":
      writer.u32(packet.senderSsrc).u32(0);
      for (const { ssrc, sequence } of packet.requests) writer.u32(ssrc).u8(sequence).u24(0);
      return [PAYLOAD_FEEDBACK, FORMAT_FIR];
    case "unknown":
      writer.bytes(packet.body);
      return [packet.packetType, packet.count];
  }
}

function writeReports(writer: ByteWriter, reports: readonly ReportBlock[]): void {
  for (const report of reports) {
    writer.u32(report.ssrc).u8(report.fractionLost).u24(report.lost);
    writer.u32(report.highestSequence).u32(report.jitter);
    writer.u32(report.lastReport).u32(report.sinceLastReport);
  }
}

function writeChunk(writer: ByteWriter, chunk: SdesChunk): void {
  writer.u32(chunk.ssrc);
  for (const { type, text, prefix } of chunk.items) {
    writer.u8(type);
    const data = new ByteWriter();
    if (type === SdesType.priv) writeText(data, encoder.encode(prefix ?? ""));
    writeText(writer, data.bytes(encoder.encode(text)).finish());
  }
  writer.u8(0);
  fillWord(writer);
}

/** Writes `text` behind its length in one byte. */
function writeText(writer: ByteWriter, text: Uint8Array): void {
  if (text.length > MAX_TEXT_BYTES) {
    throw new RangeError(`Cannot write RTCP text: its length is ${text.length} bytes`);
  }
  writer.u8(text.length).bytes(text);
}

function fillWord(writer: ByteWriter): void {
  while (writer.length % 4 !== 0) writer.u8(0);
}

function writeNackEntries(writer: ByteWriter, sequences: readonly number[]): void {
  let index = 0;
  while (index < sequences.length) {
    const first = sequences[index++] ?? 0;
    let followers = 0;
    for (; index < sequences.length; index++) {
      const ahead = ((sequences[index] ?? 0) - first) & 0xffff;
      if (ahead === 0 || ahead > NACK_FOLLOWERS) break;
      followers |= 1 << (ahead - 1);
    }
    writer.u16(first).u16(followers);
  }
}
