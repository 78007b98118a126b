/** Reads what the client of a WebSocket sends (RFC 6455 5). */

import { InvalidDataError } from "../../src/errors.ts";
import { FIN, LENGTH_16, LENGTH_64, OPCODES } from "../websocket_frames.ts";

/** A client breaks the protocol; the connection is to be closed. */
export class WebSocketError extends InvalidDataError {
  /** An error for which the connection is closed with `code` (RFC 6455 7.4.1). */
  constructor(
    /** Protocol error, no UTF-8, or too large a message. */
    readonly code: 1002 | 1007 | 1009,
    message: string,
  ) {
    super(message);
  }
}

/** What a client says. */
export type WebSocketEvent =
  | { readonly type: "message"; readonly data: string | Uint8Array<ArrayBuffer> }
  | { readonly type: "ping" | "pong"; readonly payload: Uint8Array<ArrayBuffer> }
  /** `code` is undefined where it gives none. */
  | { readonly type: "close"; readonly code: number | undefined };

/** Bits of the first byte for extensions, none of which is ever agreed on. */
const RESERVED = 0x70;
/** Bit of the second byte that says that the payload is masked. */
const MASKED = 0x80;
const MASK_BYTES = 4;
/** Longest head: two bytes, a length of 64 bits and the mask. */
const MAX_HEAD_BYTES = 14;
/** Longest payload of a control frame (5.5). */
const MAX_CONTROL_BYTES = 125;

/** Takes the bytes of a client in pieces of any size. It keeps one message at most. */
export class WebSocketReader {
  readonly #maxMessageBytes: number;
  readonly #head = new Uint8Array(MAX_HEAD_BYTES);
  readonly #control = new Payload(MAX_CONTROL_BYTES);
  readonly #message: Payload;
  #headBytes = 0;
  /** Bytes of the payload that are still to come; −1 in a head. */
  #left = -1;
  /** Kind of the frame, and of the message whose first frame has come; 0 between messages. */
  #opcode = 0;
  #messageOpcode = 0;

  /** A reader that refuses messages of more than `maxMessageBytes`. */
  constructor(maxMessageBytes: number) {
    this.#maxMessageBytes = maxMessageBytes;
    this.#message = new Payload(maxMessageBytes);
  }

  /**
   * What is complete with `bytes`, which it doesn't keep.
   *
   * @throws {WebSocketError} If the client breaks the protocol; nothing can be read after that.
   */
  *push(bytes: Uint8Array): Generator<WebSocketEvent, void> {
    for (let at = 0; at < bytes.length;) {
      if (this.#left < 0) {
        this.#head[this.#headBytes++] = bytes[at++] ?? 0;
        if (!this.#parseHead()) continue;
      }
      const end = Math.min(bytes.length, at + this.#left);
      const payload = this.#opcode >= OPCODES.close ? this.#control : this.#message;
      payload.add(bytes.subarray(at, end));
      this.#left -= end - at;
      at = end;
      if (this.#left > 0) return;
      this.#left = -1;
      const event = this.#opcode >= OPCODES.close ? this.#takeControl() : this.#takeMessage();
      if (event !== undefined) yield event;
    }
  }

  /** Looks at the head as far as it has come; whether that is all of it. */
  #parseHead(): boolean {
    const have = this.#headBytes;
    const [first = 0, second = 0] = this.#head;
    if (have === 1) this.#checkKind(first);
    if (have < 2) return false;
    const short = second & ~MASKED;
    if (have === 2) {
      if ((second & MASKED) === 0) throw new WebSocketError(1002, "A frame is not masked");
      if (this.#opcode >= OPCODES.close && short > MAX_CONTROL_BYTES) {
        throw new WebSocketError(1002, "A control frame is too long");
      }
    }
    const maskAt = short === LENGTH_64 ? 10 : short === LENGTH_16 ? 4 : 2;
    if (have < maskAt) return false;
    if (have === maskAt) this.#checkLength(short);
    if (have < maskAt + MASK_BYTES) return false;
    const payload = this.#opcode >= OPCODES.close ? this.#control : this.#message;
    payload.unmask(this.#head.slice(maskAt, maskAt + MASK_BYTES));
    this.#headBytes = 0;
    this.#left = this.#lengthOf(short);
    return true;
  }

  #checkKind(first: number): void {
    if ((first & RESERVED) !== 0) throw new WebSocketError(1002, "A frame has reserved bits");
    const opcode = first & 0x0f;
    this.#opcode = opcode;
    switch (opcode) {
      case OPCODES.continuation:
        if (this.#messageOpcode === 0) throw new WebSocketError(1002, "There is nothing to go on");
        return;
      case OPCODES.text:
      case OPCODES.binary:
        if (this.#messageOpcode !== 0) throw new WebSocketError(1002, "A message has no end");
        this.#messageOpcode = opcode;
        return;
      case OPCODES.close:
      case OPCODES.ping:
      case OPCODES.pong:
        if ((first & FIN) === 0) throw new WebSocketError(1002, "A control frame is in parts");
        return;
      default:
        throw new WebSocketError(1002, `There is no opcode ${opcode}`);
    }
  }

  #checkLength(short: number): void {
    if (this.#opcode >= OPCODES.close) return;
    if (this.#lengthOf(short) > this.#maxMessageBytes - this.#message.length) {
      throw new WebSocketError(1009, `A message has more than ${this.#maxMessageBytes} bytes`);
    }
  }

  #lengthOf(short: number): number {
    const { buffer } = this.#head;
    if (short === LENGTH_64) return Number(new DataView(buffer).getBigUint64(2));
    return short === LENGTH_16 ? new DataView(buffer).getUint16(2) : short;
  }

  #takeMessage(): WebSocketEvent | undefined {
    if (((this.#head[0] ?? 0) & FIN) === 0) return undefined;
    const isText = this.#messageOpcode === OPCODES.text;
    this.#messageOpcode = 0;
    const bytes = this.#message.take();
    return { type: "message", data: isText ? decode(bytes) : bytes };
  }

  #takeControl(): WebSocketEvent {
    const payload = this.#control.take();
    if (this.#opcode !== OPCODES.close) {
      return { type: this.#opcode === OPCODES.ping ? "ping" : "pong", payload };
    }
    if (payload.length === 0) return { type: "close", code: undefined };
    if (payload.length === 1) throw new WebSocketError(1002, "A close frame has half a code");
    const code = new DataView(payload.buffer).getUint16(0);
    if (!isCloseCode(code)) throw new WebSocketError(1002, `There is no close code ${code}`);
    decode(payload.subarray(2));
    return { type: "close", code };
  }
}

/** The payload of a message or control frame on its way; its frames have a mask each. */
class Payload {
  readonly #maxBytes: number;
  #bytes = new Uint8Array();
  #length = 0;
  #mask = new Uint8Array(MASK_BYTES);
  #maskAt = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get length(): number {
    return this.#length;
  }

  /** The bytes of a frame with `mask` follow. */
  unmask(mask: Uint8Array<ArrayBuffer>): void {
    this.#mask = mask;
    this.#maskAt = 0;
  }

  add(masked: Uint8Array): void {
    const length = this.#length + masked.length;
    if (length > this.#bytes.length) {
      const bytes = new Uint8Array(Math.min(this.#maxBytes, Math.max(64, 2 * length)));
      bytes.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = bytes;
    }
    const mask = this.#mask;
    for (let i = 0; i < masked.length; i++) {
      this.#bytes[this.#length + i] = (masked[i] ?? 0) ^ (mask[this.#maskAt++ & 3] ?? 0);
    }
    this.#length = length;
  }

  take(): Uint8Array<ArrayBuffer> {
    const bytes = this.#bytes.slice(0, this.#length);
    this.#bytes = new Uint8Array();
    this.#length = 0;
    return bytes;
  }
}

/** Whether a close frame may have `code` (RFC 6455 7.4, and what is registered since). */
function isCloseCode(code: number): boolean {
  return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
    (code >= 3000 && code <= 4999);
}

function decode(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    if (cause instanceof TypeError) throw new WebSocketError(1007, "Text is not UTF-8");
    throw cause;
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
