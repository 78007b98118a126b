/**
 * Bodies of FLV video tags and RTMP video messages: classic (FLV 10.1 E.4.3) and enhanced (Enhanced
 * RTMP v2, "Enhanced Video").
 */

import { ByteReader } from "../bytes.ts";
import { InvalidDataError } from "../errors.ts";
import {
  enhancedBody,
  PACKET_MOD_EX,
  readFourcc,
  readModEx,
  readMultitrack,
} from "./flv_enhanced.ts";

/** What a {@linkcode VideoPacket} carries. */
export type VideoPacketType = "config" | "frame" | "end" | "metadata" | "command";

/** One packet of one video track. */
export interface VideoPacket {
  /** FourCC of the codec; empty for a command of an enhanced body, which names none. */
  readonly fourcc: string;
  /** What `data` is. */
  readonly type: VideoPacketType;
  /** Whether the packet is marked as a keyframe. */
  readonly key: boolean;
  /** Composition time offset in milliseconds, signed 24 bits. */
  readonly ctsMs: number;
  /** Nanoseconds to add to the presentation time, 0 to 999 999. */
  readonly nanoOffset: number;
  /** Track id, 0 to 255; 0 for bodies with one track. */
  readonly trackId: number;
  /** Decoder configuration record, access unit, AMF or command, as a view on the body. */
  readonly data: Uint8Array;
}

/** How a frame is marked. */
export interface VideoFrameOptions {
  /** Whether it is a keyframe. */
  readonly key: boolean;
  /** Composition time offset in milliseconds, signed 24 bits; only H.264, H.265 and H.266 have it. */
  readonly ctsMs: number;
}

const FRAME_KEY = 1;
const FRAME_INTER = 2;
const FRAME_GENERATED_KEY = 4;
const FRAME_COMMAND = 5;

const CODEC_AVC = 7;

/**
 * Names of the classic codec ids. H.265 as 12 is what encoders did before Enhanced RTMP; we read it
 * and never write it.
 */
const CLASSIC_FOURCCS: ReadonlyMap<number, string> = new Map([
  [2, "FLV1"],
  [3, "FSV1"],
  [4, "VP6F"],
  [5, "VP6A"],
  [6, "FSV2"],
  [CODEC_AVC, "avc1"],
  [12, "hvc1"],
]);

/** AVCPacketType (E.4.3.1). */
const Avc = { sequenceHeader: 0, nalu: 1, endOfSequence: 2 } as const;

const EX_HEADER = 0x80;

/** VideoPacketType. */
const Packet = {
  sequenceStart: 0,
  codedFrames: 1,
  sequenceEnd: 2,
  codedFramesX: 3,
  metadata: 4,
  mpeg2TsSequenceStart: 5,
  multitrack: 6,
} as const;

/** The codecs whose coded frames start with a composition time offset. */
function hasCompositionTime(fourcc: string): boolean {
  return fourcc === "avc1" || fourcc === "hvc1" || fourcc === "vvc1";
}

/**
 * Takes the body of a video tag or message apart.
 *
 * An empty body, and a packet of H.264 or H.265 with nothing behind its header, gives no packets:
 * encoders send them to keep a connection alive.
 *
 * @throws {InvalidDataError} If the body is cut short or of a kind that no specification has.
 */
export function parseVideoBody(body: Uint8Array): VideoPacket[] {
  if (body.length === 0) return [];
  const reader = new ByteReader(body);
  const first = reader.u8();
  if ((first & EX_HEADER) !== 0) return parseEnhanced(reader, first);
  return parseClassic(reader, first);
}

/**
 * What goes before a frame's data in its tag body: classic for H.264 and the older codecs,
 * enhanced for all others.
 *
 * @throws {RangeError} If the composition time offset does not fit in 24 bits or `fourcc` is not
 * four ASCII characters.
 */
export function videoFramePrefix(fourcc: string, options: VideoFrameOptions): Uint8Array {
  const { key, ctsMs } = options;
  if (ctsMs < -0x80_0000 || ctsMs > 0x7f_ffff) {
    throw new RangeError(`Cannot write video frame: its composition time offset is ${ctsMs} ms`);
  }
  const frameType = (key ? FRAME_KEY : FRAME_INTER) << 4;
  const codecId = CLASSIC_CODEC_IDS.get(fourcc);
  if (codecId === CODEC_AVC) {
    const prefix = new Uint8Array(5);
    prefix[0] = frameType | CODEC_AVC;
    prefix[1] = Avc.nalu;
    prefix[2] = ctsMs >> 16;
    prefix[3] = ctsMs >> 8;
    prefix[4] = ctsMs;
    return prefix;
  }
  if (codecId !== undefined) return new Uint8Array([frameType | codecId]);
  if (!hasCompositionTime(fourcc)) {
    return enhancedBody(EX_HEADER | frameType | Packet.codedFrames, fourcc);
  }
  if (ctsMs === 0) return enhancedBody(EX_HEADER | frameType | Packet.codedFramesX, fourcc);
  const cts = new Uint8Array([ctsMs >> 16, ctsMs >> 8, ctsMs]);
  return enhancedBody(EX_HEADER | frameType | Packet.codedFrames, fourcc, cts);
}

/**
 * The tag body that announces a decoder configuration record (avcC, hvcC, av1C, vpcC …).
 *
 * @throws {RangeError} If `fourcc` is not four ASCII characters.
 */
export function videoConfigBody(fourcc: string, description: Uint8Array): Uint8Array {
  if (fourcc !== "avc1") {
    return enhancedBody(EX_HEADER | FRAME_KEY << 4 | Packet.sequenceStart, fourcc, description);
  }
  const body = new Uint8Array(5 + description.length);
  body[0] = FRAME_KEY << 4 | CODEC_AVC;
  body[1] = Avc.sequenceHeader;
  body.set(description, 5);
  return body;
}

/**
 * The tag body that ends a sequence.
 *
 * @throws {RangeError} If `fourcc` is not four ASCII characters.
 */
export function videoEndBody(fourcc: string): Uint8Array {
  if (fourcc === "avc1") {
    return new Uint8Array([FRAME_KEY << 4 | CODEC_AVC, Avc.endOfSequence, 0, 0, 0]);
  }
  return enhancedBody(EX_HEADER | FRAME_KEY << 4 | Packet.sequenceEnd, fourcc);
}

/** VIDEODATA as of FLV 10.1 (E.4.3), after its first byte. */
function parseClassic(reader: ByteReader, first: number): VideoPacket[] {
  const frameType = first >> 4;
  const codecId = first & 15;
  const fourcc = CLASSIC_FOURCCS.get(codecId);
  if (fourcc === undefined) {
    throw new InvalidDataError(`Cannot read video body: its codec id is ${codecId}`);
  }
  const head = { fourcc, key: isKey(frameType), nanoOffset: 0, trackId: 0 };
  if (frameType === FRAME_COMMAND) {
    const data = reader.bytes(1);
    return [{ ...head, type: "command", key: false, ctsMs: 0, data }];
  }
  if (!hasCompositionTime(fourcc)) {
    const data = reader.rest();
    return data.length === 0 ? [] : [{ ...head, type: "frame", ctsMs: 0, data }];
  }
  const packetType = reader.u8();
  if (packetType === Avc.endOfSequence) {
    return [{ ...head, type: "end", ctsMs: 0, data: reader.rest() }];
  }
  if (packetType !== Avc.sequenceHeader && packetType !== Avc.nalu) {
    throw new InvalidDataError(`Cannot read video body: its AVCPacketType is ${packetType}`);
  }
  const ctsMs = reader.i24();
  const data = reader.rest();
  if (data.length === 0) return [];
  if (packetType === Avc.nalu) return [{ ...head, type: "frame", ctsMs, data }];
  return [{ ...head, type: "config", ctsMs: 0, data }];
}

/** ExVideoTagHeader and ExVideoTagBody, after their first byte. */
function parseEnhanced(reader: ByteReader, first: number): VideoPacket[] {
  const frameType = (first >> 4) & 7;
  let packetType = first & 15;
  let nanoOffset = 0;
  if (packetType === PACKET_MOD_EX) ({ packetType, nanoOffset } = readModEx(reader));
  const key = isKey(frameType);
  if (frameType === FRAME_COMMAND && packetType !== Packet.metadata) {
    const data = reader.bytes(1);
    return [{ fourcc: "", type: "command", key: false, ctsMs: 0, nanoOffset, trackId: 0, data }];
  }
  const packets: VideoPacket[] = [];
  if (packetType === Packet.multitrack) {
    const multitrack = readMultitrack(reader);
    for (const { fourcc, trackId, data } of multitrack.parts) {
      const head = { fourcc, packetType: multitrack.packetType, key, nanoOffset, trackId };
      appendPacket(packets, head, new ByteReader(data));
    }
  } else {
    const fourcc = readFourcc(reader);
    appendPacket(packets, { fourcc, packetType, key, nanoOffset, trackId: 0 }, reader);
  }
  return packets;
}

interface EnhancedHead {
  readonly fourcc: string;
  readonly packetType: number;
  readonly key: boolean;
  readonly nanoOffset: number;
  readonly trackId: number;
}

/** Reads one track's packet to the end of `reader` and appends it, unless it is empty. */
function appendPacket(packets: VideoPacket[], head: EnhancedHead, reader: ByteReader): void {
  const { fourcc, key, nanoOffset, trackId } = head;
  let type: VideoPacketType = "frame";
  let ctsMs = 0;
  switch (head.packetType) {
    case Packet.codedFrames:
      if (hasCompositionTime(fourcc)) ctsMs = reader.i24();
      break;
    case Packet.codedFramesX:
      break;
    case Packet.sequenceStart:
    case Packet.mpeg2TsSequenceStart:
      type = "config";
      break;
    case Packet.sequenceEnd:
      type = "end";
      break;
    case Packet.metadata:
      type = "metadata";
      break;
    default:
      throw new InvalidDataError(`Cannot read video body: its PacketType is ${head.packetType}`);
  }
  let data = reader.rest();
  if (data.length === 0 && type !== "end") return;
  if (head.packetType === Packet.mpeg2TsSequenceStart) data = descriptorToAv1c(fourcc, data);
  packets.push({ fourcc, type, key, ctsMs, nanoOffset, trackId, data });
}

/**
 * The av1C record that an AV1 video descriptor (AV1 in MPEG-2 TS 2.1) stands for. The two agree but
 * for a tag and a length in front, and two bits on HDR that are reserved in av1C.
 */
function descriptorToAv1c(fourcc: string, descriptor: Uint8Array): Uint8Array {
  if (fourcc !== "av01") {
    throw new InvalidDataError(`Cannot read MPEG-2 TS sequence start: its codec is ${fourcc}`);
  }
  const reader = new ByteReader(descriptor);
  const tag = reader.u8();
  const length = reader.u8();
  if (tag !== 0x80 || length !== 4) {
    throw new InvalidDataError(
      `Cannot read AV1 video descriptor: its tag is ${tag} and its length ${length}`,
    );
  }
  const record = reader.bytes(4).slice();
  record[3] = (record[3] ?? 0) & 0x1f;
  return record;
}

function isKey(frameType: number): boolean {
  return frameType === FRAME_KEY || frameType === FRAME_GENERATED_KEY;
}

/** The codec ids that we write: those of the specification. */
const CLASSIC_CODEC_IDS: ReadonlyMap<string, number> = new Map(
  [...CLASSIC_FOURCCS].filter(([id]) => id <= CODEC_AVC).map(([id, fourcc]) => [fourcc, id]),
);
