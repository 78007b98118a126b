/** VP9 in RTP (RFC 9628). */

import { ByteReader, concat } from "../bytes.ts";
import { InvalidDataError } from "../errors.ts";
import { type FrameReader, MarkedFrames } from "./marked_frames.ts";
import { type PacketizerOptions, payloadBytes } from "./payload_size.ts";
import type { RtpPacket } from "./packet.ts";
import type { Depacketizer, PacketizedFrame, Packetizer, RtpPayload, RtpUnit } from "./payload.ts";

/** Bits of the payload descriptor's first byte (RFC 9628 4.2). */
const HAS_PICTURE_ID = 0x80;
const INTER_PREDICTED = 0x40;
const HAS_LAYERS = 0x20;
const FLEXIBLE = 0x10;
const BEGIN = 0x08;
const END = 0x04;
const HAS_STRUCTURE = 0x02;

/** Bits of the scalability structure's first byte (RFC 9628 4.2.1). */
const HAS_SIZES = 0x10;
const HAS_GROUP = 0x08;

/** Most reference indices of a picture in flexible mode (RFC 9628 4.2). */
const MAX_REFERENCES = 3;

/** Most frames of a picture: spatial layers (RFC 9628 4.2), and frames of a superframe (VP9 annex B). */
const MAX_LAYER_FRAMES = 8;

/** Bytes of the descriptor that we write: flags and a picture id of 15 bits. */
const DESCRIPTOR_BYTES = 3;

/** What of a payload descriptor matters for putting frames together. */
interface Descriptor {
  /** Whether the packet begins a layer frame. */
  readonly begin: boolean;
  /** Whether it ends one. */
  readonly end: boolean;
  /** Spatial layer, 0 to 7; 0 where layers are not said. */
  readonly spatial: number;
}

/**
 * Puts frames together.
 *
 * A picture whose spatial layers come as frames of their own comes out as a superframe (VP9 annex B).
 */
export class Vp9Depacketizer implements Depacketizer {
  readonly #frames = new MarkedFrames(new PictureReader());

  /** Frames dropped because a part of them was lost or malformed. */
  get dropped(): number {
    return this.#frames.dropped;
  }

  /**
   * Takes the next packet: the frames that end with it, or before it.
   *
   * @throws {InvalidDataError} If its payload is malformed; the frame that it belongs to is dropped.
   */
  push(packet: RtpPacket): readonly RtpUnit[] {
    return this.#frames.push(packet);
  }

  /** Says that packets are missing before the next one: the frame that they break is dropped. */
  lose(): void {
    this.#frames.lose();
  }

  /** The frame at the end of all packets, if its last packet has the E bit. */
  flush(): readonly RtpUnit[] {
    return this.#frames.flush();
  }
}

/** Collects the layer frames of a picture. */
class PictureReader implements FrameReader {
  /** The parts of each layer frame. */
  #layers: Uint8Array[][] = [];
  #ended = false;

  begin({ payload }: RtpPacket, certain: boolean): boolean {
    this.#layers = [];
    this.#ended = false;
    const { begin, spatial } = readDescriptor(new ByteReader(payload));
    return begin && (certain || spatial === 0);
  }

  add(payload: Uint8Array): void {
    const reader = new ByteReader(payload);
    const { begin, end } = readDescriptor(reader);
    if (reader.remaining === 0) {
      throw new InvalidDataError("Cannot put a VP9 frame together: a packet's data is empty");
    }
    if (begin && this.#layers.length === MAX_LAYER_FRAMES) {
      throw new InvalidDataError(
        `Cannot put a VP9 frame together: its layer frames are over ${MAX_LAYER_FRAMES}`,
      );
    }
    if (begin) this.#layers.push([]);
    this.#layers.at(-1)?.push(reader.rest());
    this.#ended = end;
  }

  end(timestamp: number, marked: boolean): readonly RtpUnit[] | undefined {
    if (!this.#ended && !marked) return undefined;
    return [{ timestamp, parts: [superframeOf(this.#layers.map(joined))] }];
  }
}

/** Cuts frames into packets of up to `maxPayloadBytes`, in non-flexible mode without layers. */
export class Vp9Packetizer implements Packetizer {
  readonly #maxDataBytes: number;
  #pictureId = 0;

  /**
   * A packetizer for payloads of up to `maxPayloadBytes`.
   *
   * @throws {RangeError} If `maxPayloadBytes` is not a whole number from 4 on.
   */
  constructor(options: PacketizerOptions) {
    this.#maxDataBytes = payloadBytes(options, DESCRIPTOR_BYTES + 1) - DESCRIPTOR_BYTES;
  }

  /** The payloads of a frame or superframe. */
  packetize({ key, data }: PacketizedFrame): RtpPayload[] {
    const payloads: RtpPayload[] = [];
    const flags = HAS_PICTURE_ID | (key ? 0 : INTER_PREDICTED);
    for (let at = 0; at < data.length; at += this.#maxDataBytes) {
      const marker = data.length - at <= this.#maxDataBytes;
      const descriptor = Uint8Array.of(
        flags | (at === 0 ? BEGIN : 0) | (marker ? END : 0),
        0x80 | (this.#pictureId >> 8),
        this.#pictureId,
      );
      payloads.push({ parts: [descriptor, data.subarray(at, at + this.#maxDataBytes)], marker });
    }
    this.#pictureId = (this.#pictureId + 1) & 0x7fff;
    return payloads;
  }
}

/** The payload descriptor (RFC 9628 4.2), which ends where the data of the frame begins. */
function readDescriptor(reader: ByteReader): Descriptor {
  const flags = reader.u8();
  const flexible = (flags & FLEXIBLE) !== 0;
  if ((flags & HAS_PICTURE_ID) !== 0 && reader.u8() >= 0x80) reader.skip(1);
  let spatial = 0;
  if ((flags & HAS_LAYERS) !== 0) {
    spatial = (reader.u8() >> 1) & 7;
    if (!flexible) reader.skip(1); // TL0PICIDX
  }
  if (flexible && (flags & INTER_PREDICTED) !== 0) skipReferences(reader);
  if ((flags & HAS_STRUCTURE) !== 0) skipStructure(reader);
  return { begin: (flags & BEGIN) !== 0, end: (flags & END) !== 0, spatial };
}

/** P_DIFF fields; the N bit of each says whether another follows. */
function skipReferences(reader: ByteReader): void {
  for (let count = 1; (reader.u8() & 1) !== 0; count++) {
    if (count === MAX_REFERENCES) {
      throw new InvalidDataError(
        `Cannot read a VP9 payload descriptor: its references are over ${MAX_REFERENCES}`,
      );
    }
  }
}

/** The scalability structure (RFC 9628 4.2.1). */
function skipStructure(reader: ByteReader): void {
  const flags = reader.u8();
  const layers = (flags >> 5) + 1;
  if ((flags & HAS_SIZES) !== 0) reader.skip(4 * layers);
  if ((flags & HAS_GROUP) === 0) return;
  for (let pictures = reader.u8(); pictures > 0; pictures--) {
    reader.skip((reader.u8() >> 2) & 3); // P_DIFF of each reference
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts;
  return parts.length === 1 && first !== undefined ? first : concat(parts);
}

/** One frame itself, or the superframe of several (VP9 B.2). */
function superframeOf(frames: readonly Uint8Array[]): Uint8Array {
  if (frames.length === 1 || hasIndex(frames.at(-1))) return joined(frames);
  const longest = Math.max(...frames.map(({ length }) => length));
  const sizeBytes = Math.ceil((32 - Math.clz32(longest)) / 8);
  const header = 0xc0 | ((sizeBytes - 1) << 3) | (frames.length - 1);
  const sizes = frames.flatMap(({ length }) =>
    Array.from({ length: sizeBytes }, (_, byte) => length >> (8 * byte))
  );
  return concat([...frames, Uint8Array.of(header, ...sizes, header)]);
}

/** Whether a superframe index lies at the end of `frame` (VP9 B.2, B.3). */
function hasIndex(frame: Uint8Array | undefined): boolean {
  const header = frame?.at(-1) ?? 0;
  const length = 2 + ((header & 7) + 1) * (((header >> 3) & 3) + 1);
  return (header & 0xe0) === 0xc0 && frame?.at(-length) === header;
}
