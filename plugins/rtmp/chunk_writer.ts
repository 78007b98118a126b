/** Writing the RTMP chunk stream (RTMP 1.0 5.3): messages cut into chunks. */

import { concat, writeU24 } from "../../src/bytes.ts";
import { EXTENDED, FORMAT_CONTINUATION, MAX_CHUNK_SIZE, MESSAGE_HEADER_BYTES } from "./chunk.ts";
import { CONTROL_CHUNK_STREAM, type OutgoingMessage } from "./message.ts";

/** Largest chunk stream id (5.3.1.1). */
const MAX_CHUNK_STREAM_ID = 65_599;

/** Largest message that a 24-bit length can say (5.3.1.2.1). */
const MAX_WIRE_MESSAGE_BYTES = 0xff_ffff;

/** What messages of one kind have in common. */
export type MessageKind = Pick<OutgoingMessage, "type" | "streamId" | "chunkStreamId">;

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
  readonly #kind: MessageKind;
  readonly #timestampMs: number;
  readonly #chunkSize: number;
  readonly #prefix: Uint8Array;
  readonly #data: Uint8Array;

  /**
   * A message whose payload is `prefix` and then `data`, in chunks of `chunkSize` payload bytes.
   *
   * @param timestampMs Taken modulo 2³², as the wire has it.
   * @throws {RangeError} If the payload is longer than 16 777 215 bytes, or `chunkSize` or the chunk
   * stream id is out of range.
   */
  constructor(
    kind: MessageKind,
    timestampMs: number,
    chunkSize: number,
    prefix: Uint8Array,
    data: Uint8Array,
  ) {
    const { chunkStreamId: id } = kind;
    const payloadBytes = prefix.length + data.length;
    checkOutgoing(payloadBytes, chunkSize, id);
    const basicSize = id < 64 ? 1 : id < 320 ? 2 : 3;
    const repeatedSize = basicSize + (timestampMs >>> 0 >= EXTENDED ? 4 : 0);
    const continuations = Math.max(0, Math.ceil(payloadBytes / chunkSize) - 1);
    this.length = MESSAGE_HEADER_BYTES[0] + payloadBytes + (continuations + 1) * repeatedSize;
    this.#kind = kind;
    this.#timestampMs = timestampMs >>> 0;
    this.#chunkSize = chunkSize;
    this.#prefix = prefix;
    this.#data = data;
  }

  /** Writes them to `target` from `at` on. */
  copyTo(target: Uint8Array, at: number): void {
    const start = this.#writeHeader(target, at);
    const prefix = this.#prefix;
    this.#writePayload(
      this.#data,
      prefix.length,
      target,
      this.#writePayload(prefix, 0, target, start),
    );
  }

  /** Writes a part of the payload that begins after `before` bytes of it; gives the offset behind. */
  #writePayload(part: Uint8Array, before: number, target: Uint8Array, at: number): number {
    const size = this.#chunkSize;
    let offset = at;
    for (let start = 0; start < part.length;) {
      const filled = (before + start) % size;
      if (filled === 0 && before + start > 0) offset = this.#writeContinuation(target, offset);
      const end = Math.min(part.length, start + size - filled);
      target.set(start === 0 && end === part.length ? part : part.subarray(start, end), offset);
      offset += end - start;
      start = end;
    }
    return offset;
  }

  #writeHeader(target: Uint8Array, at: number): number {
    const { chunkStreamId, type, streamId } = this.#kind;
    const offset = writeBasicHeader(target, at, chunkStreamId);
    writeU24(target, offset, Math.min(this.#timestampMs, EXTENDED));
    writeU24(target, offset + 3, this.#prefix.length + this.#data.length);
    target[offset + 6] = type;
    target[offset + 7] = streamId;
    target[offset + 8] = streamId >>> 8;
    target[offset + 9] = streamId >>> 16;
    target[offset + 10] = streamId >>> 24;
    return this.#writeTime(target, offset + MESSAGE_HEADER_BYTES[0]);
  }

  #writeContinuation(target: Uint8Array, at: number): number {
    const offset = writeBasicHeader(target, at, this.#kind.chunkStreamId);
    target[at] = (target[at] as number) | FORMAT_CONTINUATION << 6;
    return this.#writeTime(target, offset);
  }

  /** Writes the extended timestamp (5.3.1.3), if there is one. */
  #writeTime(target: Uint8Array, at: number): number {
    const timestampMs = this.#timestampMs;
    if (timestampMs < EXTENDED) return at;
    target[at] = timestampMs >>> 24;
    writeU24(target, at + 1, timestampMs);
    return at + 4;
  }
}

/** The chunks of `message`, as {@linkcode ChunkedMessage} writes them. */
export function writeMessage(message: OutgoingMessage, chunkSize: number): Uint8Array {
  const { timestampMs, payload } = message;
  const chunks = new ChunkedMessage(message, timestampMs, chunkSize, NOTHING, concat(payload));
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

const NOTHING = new Uint8Array();
