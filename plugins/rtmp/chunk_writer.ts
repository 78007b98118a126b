/** Writing the RTMP chunk stream (RTMP 1.0 5.3): messages cut into chunks. */

import { writeU24 } from "../../src/bytes.ts";
import { EXTENDED, FORMAT_CONTINUATION, MAX_CHUNK_SIZE, MESSAGE_HEADER_BYTES } from "./chunk.ts";
import { CONTROL_CHUNK_STREAM, type OutgoingMessage } from "./message.ts";

/** Largest chunk stream id (5.3.1.1). */
const MAX_CHUNK_STREAM_ID = 65_599;

/** Largest message that a 24-bit length can say (5.3.1.2.1). */
const MAX_WIRE_MESSAGE_BYTES = 0xff_ffff;

/**
 * A message cut into chunks, one of format 0 and the others of format 3, which are written where
 * they are needed.
 *
 * The bytes depend on nothing sent before, so all viewers with the same chunk size and message
 * stream id can share them.
 */
export class ChunkedMessage {
  /** How many bytes the chunks have. */
  readonly length: number;
  readonly #message: OutgoingMessage;
  readonly #chunkSize: number;
  readonly #payloadBytes: number;

  /**
   * The chunks of `message` with `chunkSize` payload bytes each.
   *
   * @throws {RangeError} If the payload is longer than 16 777 215 bytes, or `chunkSize` or the chunk
   * stream id is out of range.
   */
  constructor(message: OutgoingMessage, chunkSize: number) {
    const { chunkStreamId: id, payload } = message;
    let payloadBytes = 0;
    for (const part of payload) payloadBytes += part.length;
    checkOutgoing(payloadBytes, chunkSize, id);
    const basicSize = id < 64 ? 1 : id < 320 ? 2 : 3;
    const repeatedSize = basicSize + (message.timestampMs >>> 0 >= EXTENDED ? 4 : 0);
    const continuations = Math.max(0, Math.ceil(payloadBytes / chunkSize) - 1);
    this.length = MESSAGE_HEADER_BYTES[0] + payloadBytes + (continuations + 1) * repeatedSize;
    this.#message = message;
    this.#chunkSize = chunkSize;
    this.#payloadBytes = payloadBytes;
  }

  /** Writes them to `target` from `at` on. */
  copyTo(target: Uint8Array, at: number): void {
    const { chunkStreamId: id, payload } = this.#message;
    let offset = this.#writeHeader(target, at);
    let room = this.#chunkSize;
    for (const part of payload) {
      let start = 0;
      while (start < part.length) {
        if (room === 0) {
          const first = offset;
          offset = this.#writeTime(target, writeBasicHeader(target, first, id));
          target[first] = (target[first] as number) | FORMAT_CONTINUATION << 6;
          room = this.#chunkSize;
        }
        const end = Math.min(part.length, start + room);
        target.set(start === 0 && end === part.length ? part : part.subarray(start, end), offset);
        offset += end - start;
        room -= end - start;
        start = end;
      }
    }
  }

  #writeHeader(target: Uint8Array, at: number): number {
    const { chunkStreamId, type, streamId, timestampMs } = this.#message;
    const offset = writeBasicHeader(target, at, chunkStreamId);
    writeU24(target, offset, Math.min(timestampMs >>> 0, EXTENDED));
    writeU24(target, offset + 3, this.#payloadBytes);
    target[offset + 6] = type;
    target[offset + 7] = streamId;
    target[offset + 8] = streamId >>> 8;
    target[offset + 9] = streamId >>> 16;
    target[offset + 10] = streamId >>> 24;
    return this.#writeTime(target, offset + MESSAGE_HEADER_BYTES[0]);
  }

  /** Writes the extended timestamp (5.3.1.3), if there is one. */
  #writeTime(target: Uint8Array, at: number): number {
    const timestampMs = this.#message.timestampMs >>> 0;
    if (timestampMs < EXTENDED) return at;
    target[at] = timestampMs >>> 24;
    writeU24(target, at + 1, timestampMs);
    return at + 4;
  }
}

/** {@linkcode ChunkedMessage} as bytes. */
export function writeMessage(message: OutgoingMessage, chunkSize: number): Uint8Array {
  const chunks = new ChunkedMessage(message, chunkSize);
  const bytes = new Uint8Array(chunks.length);
  chunks.copyTo(bytes, 0);
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
