/**
 * The FLV container (Adobe Flash Video File Format Specification 10.1, Annex E): a header, then
 * tags. What is inside the tags is in `flv_video.ts`, `flv_audio.ts` and `amf.ts`.
 */

import { concat, writeU24 } from "../bytes.ts";
import { InvalidDataError } from "../errors.ts";
import { Slab } from "../slab.ts";

/** Tag type of audio data (E.4.1). */
export const TAG_AUDIO = 8;

/** Tag type of video data (E.4.1). */
export const TAG_VIDEO = 9;

/** Tag type of script data in AMF0, such as `onMetaData` (E.4.1). */
export const TAG_SCRIPT = 18;

/** Tag type of script data in AMF3 (Enhanced RTMP v2, "Enabling AMF3 in FLV"). */
const TAG_SCRIPT_AMF3 = 15;

/** The tag types of FLV. */
export type FlvTagType = typeof TAG_AUDIO | typeof TAG_VIDEO | typeof TAG_SCRIPT;

/** Most bytes in a tag body: what its 24-bit length field can say. */
export const MAX_TAG_BYTES = 0xff_ffff;

/** Largest header taken for one: version 1 has 9 bytes, and nothing but padding could follow. */
export const MAX_FLV_HEADER_BYTES = 4096;

const FILE_HEADER_BYTES = 9;
const TAG_HEADER_BYTES = 11;
const PREVIOUS_TAG_SIZE_BYTES = 4;
const LEAD_BYTES = PREVIOUS_TAG_SIZE_BYTES + TAG_HEADER_BYTES;

// What a claimed length allocates at once; from there memory doubles with what really arrives.
const FIRST_ALLOCATION_BYTES = 1 << 16;

/** One FLV tag. */
export interface FlvTag {
  /** What the body is. */
  readonly type: FlvTagType;
  /** Decoding time in milliseconds as on the wire: 32 bits, which wrap around. */
  readonly timestampMs: number;
  /** The tag's data without its header. It may be a view on the chunk that it came in. */
  readonly body: Uint8Array;
}

/** Which kinds of tags an FLV file announces in its header. */
export interface FlvHeaderOptions {
  /** Whether there are audio tags. */
  readonly audio: boolean;
  /** Whether there are video tags. */
  readonly video: boolean;
}

/**
 * Takes FLV apart, in pieces of any size.
 *
 * Bodies are views of chunks or copies, whichever keeps less memory where they are kept
 * ({@linkcode Slab.keep}): chunks must not be written to afterwards.
 */
export class FlvDemuxer {
  /** Header bytes that did not arrive in one piece. */
  readonly #lead = new Uint8Array(LEAD_BYTES);
  readonly #slab = new Slab();
  #leadLength = 0;
  #header: FlvHeaderOptions | undefined;
  /** Bytes of an overlong file header still to pass over. */
  #skip = 0;
  #type: FlvTagType | undefined;
  #isAmf3 = false;
  #timestampMs = 0;
  #bodyLength = 0;
  /** A body that did not arrive in one piece; it grows up to its length. */
  #body: Uint8Array | undefined;
  #bodyReceived = 0;
  /** What the next PreviousTagSize should be. */
  #tagSize = 0;

  /** What the file header announces, once it has arrived. Files are often wrong about it. */
  get header(): FlvHeaderOptions | undefined {
    return this.#header;
  }

  /**
   * Takes the next bytes and gives the tags that they complete.
   *
   * A wrong PreviousTagSize is passed over, as is a stream id other than 0, but not both at once.
   *
   * @throws {InvalidDataError} If the bytes are no FLV, or a tag is encrypted. The demuxer can't be
   * used after that.
   */
  push(chunk: Uint8Array): FlvTag[] {
    const tags: FlvTag[] = [];
    let offset = 0;
    while (true) {
      if (this.#type !== undefined) {
        const body = this.#takeBody(chunk, offset);
        if (!body) return tags;
        offset += this.#bodyLength - this.#bodyReceived;
        tags.push(this.#tag(this.#type, body));
        this.#type = undefined;
        this.#body = undefined;
        this.#bodyReceived = 0;
      } else if (this.#skip > 0) {
        const skipped = Math.min(this.#skip, chunk.length - offset);
        this.#skip -= skipped;
        offset += skipped;
        if (this.#skip > 0) return tags;
      } else {
        const wanted = (this.#header ? LEAD_BYTES : FILE_HEADER_BYTES) - this.#leadLength;
        const available = chunk.length - offset;
        if (available < wanted) {
          this.#lead.set(chunk.subarray(offset), this.#leadLength);
          this.#leadLength += available;
          return tags;
        }
        if (this.#leadLength > 0) {
          this.#lead.set(chunk.subarray(offset, offset + wanted), this.#leadLength);
          this.#readLead(this.#lead, 0);
          this.#leadLength = 0;
        } else {
          this.#readLead(chunk, offset);
        }
        offset += wanted;
      }
    }
  }

  #readLead(bytes: Uint8Array, offset: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset + offset);
    if (this.#header) this.#readTagHeader(view);
    else this.#readFileHeader(view);
  }

  #readFileHeader(view: DataView): void {
    const signature = view.getUint32(0) >>> 8;
    if (signature !== 0x464c56) {
      throw new InvalidDataError(
        `Cannot read FLV: its signature is 0x${signature.toString(16).padStart(6, "0")}`,
      );
    }
    const version = view.getUint8(3);
    if (version !== 1) throw new InvalidDataError(`Cannot read FLV: its version is ${version}`);
    const flags = view.getUint8(4);
    const length = view.getUint32(5);
    if (length < FILE_HEADER_BYTES || length > MAX_FLV_HEADER_BYTES) {
      throw new InvalidDataError(`Cannot read FLV: its header length is ${length}`);
    }
    this.#skip = length - FILE_HEADER_BYTES;
    this.#header = { audio: (flags & 4) !== 0, video: (flags & 1) !== 0 };
  }

  /** PreviousTagSize (E.3) and the tag header after it (E.4.1). */
  #readTagHeader(view: DataView): void {
    const type = view.getUint8(4);
    if (
      type !== TAG_AUDIO && type !== TAG_VIDEO && type !== TAG_SCRIPT && type !== TAG_SCRIPT_AMF3
    ) {
      // The filter bit of encrypted tags (E.4.1, F.3.1) makes an unknown type, too.
      throw new InvalidDataError(`Cannot read FLV tag: its type is ${type}`);
    }
    const previousTagSize = view.getUint32(0);
    const streamId = view.getUint32(11) & 0xff_ffff;
    if (previousTagSize !== this.#tagSize && streamId !== 0) {
      throw new InvalidDataError(
        `Cannot read FLV tag: its stream id is ${streamId} and the size before it, ` +
          `${previousTagSize}, is not ${this.#tagSize}`,
      );
    }
    this.#isAmf3 = type === TAG_SCRIPT_AMF3;
    this.#type = type === TAG_SCRIPT_AMF3 ? TAG_SCRIPT : type;
    this.#bodyLength = view.getUint32(4) & MAX_TAG_BYTES;
    this.#timestampMs = ((view.getUint32(8) >>> 8) | (view.getUint8(11) << 24)) >>> 0;
    this.#tagSize = TAG_HEADER_BYTES + this.#bodyLength;
  }

  /** The whole body, once it is there; otherwise keeps what is. */
  #takeBody(chunk: Uint8Array, offset: number): Uint8Array | undefined {
    const length = this.#bodyLength;
    const received = this.#bodyReceived;
    const end = Math.min(chunk.length, offset + length - received);
    const complete = end - offset === length - received;
    if (received === 0 && complete) return this.#slab.keep(chunk, offset, end);
    const kept = this.#body ?? this.#slab.take(Math.min(length, FIRST_ALLOCATION_BYTES));
    const needed = received + end - offset;
    const body = needed <= kept.length ? kept : grow(kept, needed, length);
    body.set(chunk.subarray(offset, end), received);
    this.#body = body;
    if (complete) return body;
    this.#bodyReceived = needed;
    return undefined;
  }

  #tag(type: FlvTagType, body: Uint8Array): FlvTag {
    // AMF3 script data is a format selector, 0, and then AMF0 that switches to AMF3 by itself.
    const start = this.#isAmf3 && body[0] === 0 ? 1 : 0;
    return { type, timestampMs: this.#timestampMs, body: start > 0 ? body.subarray(start) : body };
  }
}

/** {@linkcode FlvDemuxer} as a stream; a tag cut off by the end is dropped. */
export class FlvDemuxStream extends TransformStream<Uint8Array, FlvTag> {
  /** A stream at the start of an FLV file. */
  constructor() {
    const demuxer = new FlvDemuxer();
    super({
      transform(chunk, controller) {
        for (const tag of demuxer.push(chunk)) controller.enqueue(tag);
      },
    });
  }
}

/** The start of an FLV file: its header and PreviousTagSize0, 13 bytes (E.2, E.3). */
export function flvHeader(options: FlvHeaderOptions): Uint8Array {
  const flags = (options.audio ? 4 : 0) | (options.video ? 1 : 0);
  return new Uint8Array([0x46, 0x4c, 0x56, 1, flags, 0, 0, 0, FILE_HEADER_BYTES, 0, 0, 0, 0]);
}

/**
 * How many bytes a whole FLV tag has (E.4.1), with the PreviousTagSize after it.
 *
 * @throws {RangeError} If its body is longer than {@linkcode MAX_TAG_BYTES}.
 */
export function flvTagLength(bodyLength: number): number {
  if (bodyLength > MAX_TAG_BYTES) {
    throw new RangeError(`Cannot write FLV tag: its body is ${bodyLength} bytes long`);
  }
  return TAG_HEADER_BYTES + bodyLength + PREVIOUS_TAG_SIZE_BYTES;
}

/** What {@linkcode writeFlvTag} writes. */
export interface FlvTagParts {
  readonly type: FlvTagType;
  /** Taken modulo 2³², as the wire has it. */
  readonly timestampMs: number;
  /** How the body begins. */
  readonly prefix: Uint8Array;
  /** The rest of it. */
  readonly data: Uint8Array;
}

/** Writes a whole tag and the PreviousTagSize after it to `target` from `at` on. */
export function writeFlvTag(
  target: Uint8Array,
  at: number,
  { type, timestampMs, prefix, data }: FlvTagParts,
): void {
  const bodyLength = prefix.length + data.length;
  target[at] = type;
  writeU24(target, at + 1, bodyLength);
  writeU24(target, at + 4, timestampMs);
  target[at + 7] = timestampMs >>> 24;
  // The stream id, always 0.
  writeU24(target, at + 8, 0);
  target.set(prefix, at + TAG_HEADER_BYTES);
  target.set(data, at + TAG_HEADER_BYTES + prefix.length);
  const size = TAG_HEADER_BYTES + bodyLength;
  target[at + size] = size >>> 24;
  writeU24(target, at + size + 1, size);
}

/** A tag with `parts`, one after the other, as its body; see {@linkcode writeFlvTag}. */
export function flvTag(
  type: FlvTagType,
  timestampMs: number,
  parts: readonly Uint8Array[],
): Uint8Array<ArrayBuffer> {
  const data = concat(parts);
  const bytes = new Uint8Array(flvTagLength(data.length));
  writeFlvTag(bytes, 0, { type, timestampMs, prefix: NOTHING, data });
  return bytes;
}

const NOTHING = new Uint8Array();

/** A larger copy of `bytes`, of at least `needed` and at most `limit` bytes. */
function grow(bytes: Uint8Array, needed: number, limit: number): Uint8Array {
  const grown = new Uint8Array(Math.min(limit, Math.max(needed, bytes.length * 2)));
  grown.set(bytes);
  return grown;
}
