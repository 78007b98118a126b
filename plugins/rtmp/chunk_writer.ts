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

/** What a message of its kind is. */
export interface MessageParts {
  /** Taken modulo 2³², as the wire has it. */
  readonly timestampMs: number;
  /** How the payload begins. */
  readonly prefix: Uint8Array;
  /** The rest of it. */
  readonly data: Uint8Array;
}

/**
 * Cuts messages of one kind into chunks, one of format 0 and the others of format 3, where they are
 * needed.
 *
 * The bytes depend on nothing sent before, so all viewers with the same chunk size and message
 * stream id can share them.
 */
export class ChunkWriter {
  readonly #kind: MessageKind;
  readonly #chunkSize: number;
  readonly #basicSize: number;

  /**
   * For chunks of `chunkSize` payload bytes.
   *
   * @throws {RangeError} If `chunkSize` or the chunk stream id is out of range.
   */
  constructor(kind: MessageKind, chunkSize: number) {
    const { chunkStreamId: id } = kind;
    if (!(chunkSize >= 1 && chunkSize <= MAX_CHUNK_SIZE)) {
      throw new RangeError(`Cannot write message: the chunk size is ${chunkSize}`);
    }
    if (!(id >= CONTROL_CHUNK_STREAM && id <= MAX_CHUNK_STREAM_ID)) {
      throw new RangeError(`Cannot write message: the chunk stream id is ${id}`);
    }
    this.#kind = kind;
    this.#chunkSize = chunkSize;
    this.#basicSize = id < 64 ? 1 : id < 320 ? 2 : 3;
  }

  /**
   * How many bytes the chunks of a message have.
   *
   * @throws {RangeError} If its payload is longer than 16 777 215 bytes.
   */
  lengthOf(timestampMs: number, payloadBytes: number): number {
    if (payloadBytes > MAX_WIRE_MESSAGE_BYTES) {
      throw new RangeError(`Cannot write message: its payload is ${payloadBytes} bytes long`);
    }
    const repeatedSize = this.#basicSize + (timestampMs >>> 0 >= EXTENDED ? 4 : 0);
    const chunks = Math.max(1, Math.ceil(payloadBytes / this.#chunkSize));
    return MESSAGE_HEADER_BYTES[0] + payloadBytes + chunks * repeatedSize;
  }

  /** Writes the chunks of a message to `target` from `at` on. */
  write(target: Uint8Array, at: number, { timestampMs, prefix, data }: MessageParts): void {
    const ms = timestampMs >>> 0;
    const start = this.#writeHeader(target, at, ms, prefix.length + data.length);
    const next = this.#writePayload(target, start, ms, prefix, 0);
    this.#writePayload(target, next, ms, data, prefix.length);
  }

  /** Writes a part of the payload, which begins after `before` bytes of it; the offset behind. */
  #writePayload(
    target: Uint8Array,
    at: number,
    ms: number,
    part: Uint8Array,
    before: number,
  ): number {
    const size = this.#chunkSize;
    let offset = at;
    for (let start = 0; start < part.length;) {
      const filled = (before + start) % size;
      if (filled === 0 && before + start > 0) offset = this.#writeContinuation(target, offset, ms);
      const end = Math.min(part.length, start + size - filled);
      target.set(start === 0 && end === part.length ? part : part.subarray(start, end), offset);
      offset += end - start;
      start = end;
    }
    return offset;
  }

  #writeHeader(target: Uint8Array, at: number, ms: number, payloadBytes: number): number {
    const { chunkStreamId, type, streamId } = this.#kind;
    const offset = writeBasicHeader(target, at, chunkStreamId);
    writeU24(target, offset, Math.min(ms, EXTENDED));
    writeU24(target, offset + 3, payloadBytes);
    target[offset + 6] = type;
    target[offset + 7] = streamId;
    target[offset + 8] = streamId >>> 8;
    target[offset + 9] = streamId >>> 16;
    target[offset + 10] = streamId >>> 24;
    return writeTime(target, offset + MESSAGE_HEADER_BYTES[0], ms);
  }

  #writeContinuation(target: Uint8Array, at: number, ms: number): number {
    const offset = writeBasicHeader(target, at, this.#kind.chunkStreamId);
    target[at] = (target[at] as number) | FORMAT_CONTINUATION << 6;
    return writeTime(target, offset, ms);
  }
}

/** Writes the extended timestamp (5.3.1.3), if there is one. */
function writeTime(target: Uint8Array, at: number, ms: number): number {
  if (ms < EXTENDED) return at;
  target[at] = ms >>> 24;
  writeU24(target, at + 1, ms);
  return at + 4;
}

/** The chunks of `message`, as {@linkcode ChunkWriter} writes them. */
export function writeMessage(message: OutgoingMessage, chunkSize: number): Uint8Array {
  const { timestampMs } = message;
  const data = concat(message.payload);
  const writer = new ChunkWriter(message, chunkSize);
  const bytes = new Uint8Array(writer.lengthOf(timestampMs, data.length));
  writer.write(bytes, 0, { timestampMs, prefix: NOTHING, data });
  return bytes;
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
