/** Reading the RTMP chunk stream (RTMP 1.0 5.3): messages cut into chunks that interleave. */

import { ByteReader, concat, readU24, readU32, readU32le } from "../../src/bytes.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { Slab } from "../../src/slab.ts";
import { MessageType, type RtmpMessage } from "./message.ts";

/** Payload bytes in a chunk until a peer says otherwise (5.4.1). */
export const DEFAULT_CHUNK_SIZE = 128;

/** Largest chunk size: no message is longer, so that larger ones mean the same (5.4.1). */
export const MAX_CHUNK_SIZE = 0xff_ffff;

/**
 * Largest message taken unless told otherwise. The largest keyframes of 8K video at hundreds of
 * megabits a second stay below; the 16 MiB that a header can claim would only let a peer fill
 * memory.
 */
export const MAX_MESSAGE_BYTES = 8 << 20;

/** Most chunk streams of one connection: encoders use fewer than ten of the 65 598 there are. */
export const MAX_CHUNK_STREAMS = 64;

/** How many largest messages may be partly received at a time: a large one, and what interleaves. */
export const MAX_PARTIAL_MESSAGES = 2;

/** In a timestamp field: the timestamp is in the extended one (5.3.1.3). */
export const EXTENDED = 0xff_ffff;

/** The chunk format without a message header. */
export const FORMAT_CONTINUATION = 3;

/** Bytes of the message header by chunk format (5.3.1.2). */
export const MESSAGE_HEADER_BYTES: readonly [number, number, number, number] = [11, 7, 3, 0];

// What a claimed length allocates at once; from there memory doubles with what really arrives.
const FIRST_ALLOCATION_BYTES = 1 << 16;

const NO_BYTES = new Uint8Array(0);

/** Settings of a {@linkcode ChunkReader}. */
export interface ChunkReaderOptions {
  /** Largest message taken, in bytes. @default {MAX_MESSAGE_BYTES} */
  readonly maxMessageBytes?: number;
}

/** What a chunk stream remembers from one header to the next (5.3.1.2). */
interface ChunkStream {
  readonly id: number;
  type: number;
  streamId: number;
  length: number;
  timestampMs: number;
  /** The timestamp or delta of the last header that had one. */
  timeField: number;
  /** Whether that one was in the extended field. */
  isExtended: boolean;
  /** Whether it was a timestamp, not a delta. */
  isAbsolute: boolean;
  /** Whether a message is partly received. */
  isOpen: boolean;
  /** Its bytes so far; it grows up to `length`. */
  payload: Uint8Array;
  received: number;
}

/**
 * Puts messages together from chunks, in pieces of any size.
 *
 * Set Chunk Size and Abort are followed here and not handed out. A payload is a view of a piece or
 * a copy, whichever keeps less memory where it is kept ({@linkcode Slab.keep}): pieces must not be
 * written to afterwards.
 */
export class ChunkReader {
  readonly #maxMessageBytes: number;
  readonly #maxPartialBytes: number;
  readonly #streams = new Map<number, ChunkStream>();
  #chunkSize = DEFAULT_CHUNK_SIZE;
  readonly #slab = new Slab();
  #bytesReceived = 0;
  #partialBytes = 0;
  /** What was fed last, and where the next chunk header or the rest of a chunk is in it. */
  #bytes: Uint8Array = NO_BYTES;
  #offset = 0;
  /** The stream that the current chunk belongs to, and the bytes missing from that chunk. */
  #current: ChunkStream | undefined;
  #chunkLeft = 0;

  /** A reader at the start of a chunk stream, right behind the handshake. */
  constructor(options: ChunkReaderOptions = {}) {
    this.#maxMessageBytes = options.maxMessageBytes ?? MAX_MESSAGE_BYTES;
    this.#maxPartialBytes = this.#maxMessageBytes * MAX_PARTIAL_MESSAGES;
  }

  /** Most payload bytes in a chunk, as the peer set it. */
  get chunkSize(): number {
    return this.#chunkSize;
  }

  /** Bytes taken so far, which acknowledgements report modulo 2³² (5.4.3). */
  get bytesReceived(): number {
    return this.#bytesReceived;
  }

  /** Takes the next bytes. */
  feed(piece: Uint8Array): void {
    this.#bytesReceived += piece.length;
    const hasRest = this.#offset < this.#bytes.length;
    this.#bytes = hasRest ? concat([this.#bytes.subarray(this.#offset), piece]) : piece;
    this.#offset = 0;
  }

  /**
   * The next message that is all there; undefined if more bytes are needed.
   *
   * @throws {InvalidDataError} If the bytes are no chunk stream or pass a bound of this module. The
   * reader can't be used after that.
   */
  next(): RtmpMessage | undefined {
    const bytes = this.#bytes;
    let offset = this.#offset;
    let message: RtmpMessage | undefined;
    while (message === undefined) {
      if (this.#current === undefined) offset += this.#readHeader(bytes, offset);
      const stream = this.#current;
      if (stream === undefined) break;
      const end = Math.min(bytes.length, offset + this.#chunkLeft);
      const isWhole = stream.received === 0 && end - offset === stream.length;
      const payload = isWhole
        ? this.#slab.keep(bytes, offset, end)
        : this.#append(stream, bytes.subarray(offset, end));
      this.#chunkLeft -= end - offset;
      offset = end;
      if (this.#chunkLeft > 0) break;
      this.#current = undefined;
      message = payload && this.#finish(stream, payload);
    }
    this.#offset = offset;
    if (message !== undefined) return message;
    // The start of a header, at most 17 bytes, must not keep all that came before it.
    this.#bytes = offset < bytes.length ? bytes.slice(offset) : NO_BYTES;
    this.#offset = 0;
    return undefined;
  }

  /**
   * Reads a chunk header, makes its stream the current one and gives its size. Does nothing as long
   * as the header is not all there.
   */
  #readHeader(bytes: Uint8Array, at: number): number {
    const available = bytes.length - at;
    if (available < 1) return 0;
    const first = bytes[at] as number;
    const format = first >> 6;
    let id = first & 63;
    let size = 1;
    if (id === 0) {
      if (available < 2) return 0;
      id = 64 + (bytes[at + 1] as number);
      size = 2;
    } else if (id === 1) {
      if (available < 3) return 0;
      id = 64 + (bytes[at + 1] as number) + (bytes[at + 2] as number) * 256;
      size = 3;
    }
    if (available < size + (MESSAGE_HEADER_BYTES[format] ?? 0)) return 0;
    return format === FORMAT_CONTINUATION
      ? this.#readContinuation(bytes, at, { id, size })
      : this.#readMessageHeader(bytes, at, { id, size, format });
  }

  #readMessageHeader(
    bytes: Uint8Array,
    at: number,
    basic: { id: number; size: number; format: number },
  ): number {
    const { id, format } = basic;
    const fields = at + basic.size;
    let size = basic.size + (MESSAGE_HEADER_BYTES[format] ?? 0);
    let timeField = readU24(bytes, fields);
    const isExtended = timeField === EXTENDED;
    if (isExtended) {
      if (bytes.length - at < size + 4) return 0;
      timeField = readU32(bytes, at + size);
      size += 4;
    }
    const stream = this.#streams.get(id) ?? this.#openStream(id, format);
    if (stream.isOpen) {
      throw new InvalidDataError(
        `Cannot read chunk: chunk stream ${id} starts a message inside another one`,
      );
    }
    if (format < 2) {
      stream.length = readU24(bytes, fields + 3);
      stream.type = bytes[fields + 6] as number;
    }
    if (format === 0) stream.streamId = readU32le(bytes, fields + 7);
    stream.timestampMs = format === 0 ? timeField : (stream.timestampMs + timeField) >>> 0;
    stream.timeField = timeField;
    stream.isExtended = isExtended;
    stream.isAbsolute = format === 0;
    this.#beginMessage(stream);
    return size;
  }

  /** A header of format 3: the next chunk of a message, or another message like the last one. */
  #readContinuation(bytes: Uint8Array, at: number, basic: { id: number; size: number }): number {
    const { id, size } = basic;
    const stream = this.#streams.get(id);
    if (!stream) {
      throw new InvalidDataError(`Cannot read chunk: chunk stream ${id} starts without a header`);
    }
    let extendedSize = 0;
    if (stream.isExtended) {
      const repeats = stream.isOpen ? repeatsTime(bytes, at + size, stream.timeField) : true;
      if (repeats) {
        extendedSize = 4;
        if (bytes.length - at < size + extendedSize) return 0;
      }
    }
    if (!stream.isOpen) {
      if (stream.isExtended) stream.timeField = readU32(bytes, at + size);
      // After a timestamp its value is the delta, too (5.3.1.2.4). An extended one is repeated
      // instead by those that send it, and no delta is hours long.
      stream.timestampMs = stream.isExtended && stream.isAbsolute
        ? stream.timeField
        : (stream.timestampMs + stream.timeField) >>> 0;
      this.#beginMessage(stream);
    } else {
      this.#beginChunk(stream);
    }
    return size + extendedSize;
  }

  #openStream(id: number, format: number): ChunkStream {
    // librtmp starts with a delta against nothing, in its first ping.
    if (format > 1) {
      throw new InvalidDataError(`Cannot read chunk: chunk stream ${id} starts without a header`);
    }
    if (this.#streams.size === MAX_CHUNK_STREAMS) {
      throw new InvalidDataError(
        `Cannot read chunk: there are more than ${MAX_CHUNK_STREAMS} chunk streams`,
      );
    }
    const stream: ChunkStream = {
      id,
      type: 0,
      streamId: 0,
      length: 0,
      timestampMs: 0,
      timeField: 0,
      isExtended: false,
      isAbsolute: false,
      isOpen: false,
      payload: NO_BYTES,
      received: 0,
    };
    this.#streams.set(id, stream);
    return stream;
  }

  #beginMessage(stream: ChunkStream): void {
    if (stream.length > this.#maxMessageBytes) {
      throw new InvalidDataError(
        `Cannot read message: its length is ${stream.length}, more than ${this.#maxMessageBytes}`,
      );
    }
    stream.isOpen = true;
    this.#beginChunk(stream);
  }

  #beginChunk(stream: ChunkStream): void {
    this.#current = stream;
    this.#chunkLeft = Math.min(this.#chunkSize, stream.length - stream.received);
  }

  /** Keeps payload bytes of a message in several pieces; gives the payload once it is whole. */
  #append(stream: ChunkStream, piece: Uint8Array): Uint8Array | undefined {
    if (piece.length === 0) return undefined;
    const { length, received } = stream;
    const needed = received + piece.length;
    this.#partialBytes += piece.length;
    if (this.#partialBytes > this.#maxPartialBytes) {
      throw new InvalidDataError(
        `Cannot read message: ${this.#partialBytes} bytes are partly received`,
      );
    }
    if (received === 0) {
      stream.payload = this.#slab.take(Math.min(length, Math.max(needed, FIRST_ALLOCATION_BYTES)));
    } else if (needed > stream.payload.length) {
      const grown = new Uint8Array(Math.min(length, Math.max(needed, stream.payload.length * 2)));
      grown.set(stream.payload);
      stream.payload = grown;
    }
    stream.payload.set(piece, received);
    stream.received = needed;
    return needed === length ? stream.payload : undefined;
  }

  /** Ends a message; gives it unless it is for this reader. */
  #finish(stream: ChunkStream, payload: Uint8Array): RtmpMessage | undefined {
    this.#closeMessage(stream);
    const { type, streamId, timestampMs, id } = stream;
    if (type === MessageType.setChunkSize) {
      this.#setChunkSize(controlValue(payload));
    } else if (type === MessageType.abort) {
      const aborted = this.#streams.get(controlValue(payload));
      if (aborted) this.#closeMessage(aborted);
    } else {
      return { type, streamId, timestampMs, chunkStreamId: id, payload };
    }
  }

  /** Leaves the stream ready for its next message. */
  #closeMessage(stream: ChunkStream): void {
    this.#partialBytes -= stream.received;
    stream.isOpen = false;
    stream.received = 0;
    stream.payload = NO_BYTES;
  }

  #setChunkSize(size: number): void {
    if (size < 1 || size > 0x7fff_ffff) {
      throw new InvalidDataError(`Cannot set chunk size: it is ${size}`);
    }
    this.#chunkSize = Math.min(size, MAX_CHUNK_SIZE);
  }
}

/**
 * Whether the four bytes at `at` repeat an extended timestamp, as 5.3.1.3 wants of every chunk;
 * some encoders go on with the payload at once. Bytes that are not there yet count as repeating.
 */
function repeatsTime(bytes: Uint8Array, at: number, timeField: number): boolean {
  for (let index = 0; index < 4 && at + index < bytes.length; index++) {
    if (bytes[at + index] !== (timeField >>> (24 - 8 * index) & 0xff)) return false;
  }
  return true;
}

/** The 32-bit value that a protocol control message starts with. */
function controlValue(payload: Uint8Array): number {
  return new ByteReader(payload).u32();
}
