/** The RTMP chunk stream (RTMP 1.0 5.3): messages cut into chunks that interleave. */

import { ByteReader, concat } from "../../src/bytes.ts";
import { InvalidDataError } from "../../src/errors.ts";
import {
  CONTROL_CHUNK_STREAM,
  MessageType,
  type OutgoingMessage,
  type RtmpMessage,
} from "./message.ts";

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

/** Largest chunk stream id (5.3.1.1). */
const MAX_CHUNK_STREAM_ID = 65_599;

/** Largest message that a 24-bit length can say (5.3.1.2.1). */
const MAX_WIRE_MESSAGE_BYTES = 0xff_ffff;

/** In a timestamp field: the timestamp is in the extended one (5.3.1.3). */
const EXTENDED = 0xff_ffff;

/** The chunk format without a message header. */
const FORMAT_CONTINUATION = 3;

/** Bytes of the message header by chunk format (5.3.1.2). */
const MESSAGE_HEADER_BYTES = [11, 7, 3, 0] as const;

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
 * Set Chunk Size and Abort are followed here and not handed out. A payload is a view where the
 * message is one chunk that lies inside one piece which fills most of its buffer, otherwise a copy,
 * so that a kept frame does not keep a mostly empty read buffer with it. Pieces must not be written
 * to afterwards.
 */
export class ChunkReader {
  readonly #maxMessageBytes: number;
  readonly #maxPartialBytes: number;
  readonly #streams = new Map<number, ChunkStream>();
  #chunkSize = DEFAULT_CHUNK_SIZE;
  #bytesReceived = 0;
  #partialBytes = 0;
  /** The start of a header that is not all there, at most 17 bytes. */
  #pending: Uint8Array = NO_BYTES;
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

  /**
   * Takes the next bytes and gives the messages that they complete.
   *
   * @throws {InvalidDataError} If the bytes are no chunk stream or pass a bound of this module. The
   * reader can't be used after that.
   */
  push(piece: Uint8Array): RtmpMessage[] {
    this.#bytesReceived += piece.length;
    const bytes = this.#pending.length > 0 ? concat([this.#pending, piece]) : piece;
    this.#pending = NO_BYTES;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const messages: RtmpMessage[] = [];
    let offset = 0;
    while (true) {
      let stream = this.#current;
      if (!stream) {
        const size = this.#readHeader(view, offset);
        stream = this.#current;
        if (!stream) {
          if (offset < bytes.length) this.#pending = bytes.slice(offset);
          return messages;
        }
        offset += size;
      }
      const end = Math.min(bytes.length, offset + this.#chunkLeft);
      const isWhole = stream.received === 0 && end - offset === stream.length;
      const payload = isWhole
        ? share(bytes, offset, end)
        : this.#append(stream, bytes.subarray(offset, end));
      this.#chunkLeft -= end - offset;
      offset = end;
      if (this.#chunkLeft > 0) return messages;
      this.#current = undefined;
      if (payload) this.#finish(stream, payload, messages);
    }
  }

  /**
   * Reads a chunk header, makes its stream the current one and gives its size. Does nothing as long
   * as the header is not all there.
   */
  #readHeader(view: DataView, at: number): number {
    const available = view.byteLength - at;
    if (available < 1) return 0;
    const first = view.getUint8(at);
    const format = first >> 6;
    let id = first & 63;
    let size = 1;
    if (id === 0) {
      if (available < 2) return 0;
      id = 64 + view.getUint8(at + 1);
      size = 2;
    } else if (id === 1) {
      if (available < 3) return 0;
      id = 64 + view.getUint16(at + 1, true);
      size = 3;
    }
    if (available < size + (MESSAGE_HEADER_BYTES[format] ?? 0)) return 0;
    return format === FORMAT_CONTINUATION
      ? this.#readContinuation(view, at, { id, size })
      : this.#readMessageHeader(view, at, { id, size, format });
  }

  #readMessageHeader(
    view: DataView,
    at: number,
    basic: { id: number; size: number; format: number },
  ): number {
    const { id, format } = basic;
    const fields = at + basic.size;
    let size = basic.size + (MESSAGE_HEADER_BYTES[format] ?? 0);
    let timeField = view.getUint32(fields - 1) & 0xff_ffff;
    const isExtended = timeField === EXTENDED;
    if (isExtended) {
      if (view.byteLength - at < size + 4) return 0;
      timeField = view.getUint32(at + size);
      size += 4;
    }
    const stream = this.#streams.get(id) ?? this.#openStream(id, format);
    if (stream.isOpen) {
      throw new InvalidDataError(
        `Cannot read chunk: chunk stream ${id} starts a message inside another one`,
      );
    }
    if (format < 2) {
      stream.length = view.getUint32(fields + 2) & 0xff_ffff;
      stream.type = view.getUint8(fields + 6);
    }
    if (format === 0) stream.streamId = view.getUint32(fields + 7, true);
    stream.timestampMs = format === 0 ? timeField : (stream.timestampMs + timeField) >>> 0;
    stream.timeField = timeField;
    stream.isExtended = isExtended;
    stream.isAbsolute = format === 0;
    this.#beginMessage(stream);
    return size;
  }

  /** A header of format 3: the next chunk of a message, or another message like the last one. */
  #readContinuation(view: DataView, at: number, basic: { id: number; size: number }): number {
    const { id, size } = basic;
    const stream = this.#streams.get(id);
    if (!stream) {
      throw new InvalidDataError(`Cannot read chunk: chunk stream ${id} starts without a header`);
    }
    let extendedSize = 0;
    if (stream.isExtended) {
      const repeats = stream.isOpen ? repeatsTime(view, at + size, stream.timeField) : true;
      if (repeats) {
        extendedSize = 4;
        if (view.byteLength - at < size + extendedSize) return 0;
      }
    }
    if (!stream.isOpen) {
      if (stream.isExtended) stream.timeField = view.getUint32(at + size);
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
      stream.payload = new Uint8Array(Math.min(length, Math.max(needed, FIRST_ALLOCATION_BYTES)));
    } else if (needed > stream.payload.length) {
      const grown = new Uint8Array(Math.min(length, Math.max(needed, stream.payload.length * 2)));
      grown.set(stream.payload);
      stream.payload = grown;
    }
    stream.payload.set(piece, received);
    stream.received = needed;
    return needed === length ? stream.payload : undefined;
  }

  #finish(stream: ChunkStream, payload: Uint8Array, messages: RtmpMessage[]): void {
    this.#closeMessage(stream);
    const { type, streamId, timestampMs, id } = stream;
    if (type === MessageType.setChunkSize) {
      this.#setChunkSize(controlValue(payload));
    } else if (type === MessageType.abort) {
      const aborted = this.#streams.get(controlValue(payload));
      if (aborted) this.#closeMessage(aborted);
    } else {
      messages.push({ type, streamId, timestampMs, chunkStreamId: id, payload });
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
 * `message` cut into chunks of `chunkSize` payload bytes: one of format 0, the others of format 3.
 *
 * The bytes depend on nothing sent before, so all viewers with the same chunk size and message
 * stream id can share them.
 *
 * @throws {RangeError} If the payload is longer than 16 777 215 bytes, or `chunkSize` or the chunk
 * stream id is out of range.
 */
export function writeMessage(message: OutgoingMessage, chunkSize: number): Uint8Array {
  const { chunkStreamId: id, payload } = message;
  let length = 0;
  for (const part of payload) length += part.length;
  checkOutgoing(length, chunkSize, id);
  const timestampMs = message.timestampMs >>> 0;
  const extendedSize = timestampMs >= EXTENDED ? 4 : 0;
  const basicSize = id < 64 ? 1 : id < 320 ? 2 : 3;
  const continuations = Math.max(0, Math.ceil(length / chunkSize) - 1);
  const size = basicSize + MESSAGE_HEADER_BYTES[0] + extendedSize + length +
    continuations * (basicSize + extendedSize);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);

  const timeField = extendedSize > 0 ? EXTENDED : timestampMs;
  let offset = writeBasicHeader(bytes, 0, id);
  view.setUint16(offset, timeField >>> 8);
  view.setUint8(offset + 2, timeField);
  view.setUint8(offset + 3, length >>> 16);
  view.setUint16(offset + 4, length);
  view.setUint8(offset + 6, message.type);
  view.setUint32(offset + 7, message.streamId, true);
  offset += MESSAGE_HEADER_BYTES[0];
  if (extendedSize > 0) view.setUint32(offset, timestampMs);
  offset += extendedSize;

  let room = chunkSize;
  for (const part of payload) {
    let start = 0;
    while (start < part.length) {
      if (room === 0) {
        offset = writeBasicHeader(bytes, offset, id);
        const first = offset - basicSize;
        view.setUint8(first, view.getUint8(first) | FORMAT_CONTINUATION << 6);
        if (extendedSize > 0) view.setUint32(offset, timestampMs);
        offset += extendedSize;
        room = chunkSize;
      }
      const end = Math.min(part.length, start + room);
      bytes.set(start === 0 && end === part.length ? part : part.subarray(start, end), offset);
      offset += end - start;
      room -= end - start;
      start = end;
    }
  }
  return bytes;
}

/** Refuses what the header fields can't say. */
function checkOutgoing(length: number, chunkSize: number, id: number): void {
  if (length > MAX_WIRE_MESSAGE_BYTES) {
    throw new RangeError(`Cannot write message: its payload is ${length} bytes long`);
  }
  if (!(chunkSize >= 1 && chunkSize <= MAX_CHUNK_SIZE)) {
    throw new RangeError(`Cannot write message: the chunk size is ${chunkSize}`);
  }
  if (!(id >= CONTROL_CHUNK_STREAM && id <= MAX_CHUNK_STREAM_ID)) {
    throw new RangeError(`Cannot write message: the chunk stream id is ${id}`);
  }
}

/** Writes a basic header of format 0 (5.3.1.1) and gives the offset behind it. */
function writeBasicHeader(bytes: Uint8Array, offset: number, id: number): number {
  if (id < 64) {
    bytes[offset] = id;
    return offset + 1;
  }
  bytes[offset] = id < 320 ? 0 : 1;
  bytes[offset + 1] = id - 64;
  if (id < 320) return offset + 2;
  bytes[offset + 2] = (id - 64) >>> 8;
  return offset + 3;
}

/**
 * Whether the four bytes at `at` repeat an extended timestamp, as 5.3.1.3 wants of every chunk;
 * some encoders go on with the payload at once. Bytes that are not there yet count as repeating.
 */
function repeatsTime(view: DataView, at: number, timeField: number): boolean {
  for (let index = 0; index < 4 && at + index < view.byteLength; index++) {
    if (view.getUint8(at + index) !== (timeField >>> (24 - 8 * index) & 0xff)) return false;
  }
  return true;
}

/** The 32-bit value that a protocol control message starts with. */
function controlValue(payload: Uint8Array): number {
  return new ByteReader(payload).u32();
}

/** A view of `bytes`, or a copy where the view would keep a mostly empty buffer alive. */
function share(bytes: Uint8Array, start: number, end: number): Uint8Array {
  return bytes.length * 2 < bytes.buffer.byteLength
    ? bytes.slice(start, end)
    : bytes.subarray(start, end);
}
