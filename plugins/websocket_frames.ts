/** Frames of WebSockets as a server sends them: whole and unmasked (RFC 6455 5.2). */

import { concat } from "../src/bytes.ts";

/** What a frame is (RFC 6455 11.8). */
export const OPCODES = {
  continuation: 0,
  text: 1,
  binary: 2,
  close: 8,
  ping: 9,
  pong: 10,
} as const;

/** Bit of the first byte that says that a message ends with this frame. */
export const FIN = 0x80;
/** Lengths from 126 on have 16 bits, those from 65,536 on 64; these values of the field say so. */
export const LENGTH_16 = 126;
/** See {@linkcode LENGTH_16}. */
export const LENGTH_64 = 127;

/** Longest reason of a close frame in bytes: what a control frame holds beside the code (5.5). */
const MAX_REASON_BYTES = 123;

/** The head of a frame that is a whole message of `length` bytes. */
export function frameHead(opcode: number, length: number): Uint8Array<ArrayBuffer> {
  const short = length < LENGTH_16 ? length : length < 65_536 ? LENGTH_16 : LENGTH_64;
  const head = new Uint8Array(headBytes(short));
  const view = new DataView(head.buffer);
  head[0] = FIN | opcode;
  head[1] = short;
  if (short === LENGTH_16) view.setUint16(2, length);
  if (short === LENGTH_64) view.setBigUint64(2, BigInt(length));
  return head;
}

/** A frame that is a whole message, or a control frame. */
export function webSocketFrame(
  opcode: number,
  payload: Uint8Array | string,
): Uint8Array<ArrayBuffer> {
  const bytes = typeof payload === "string" ? encoder.encode(payload) : payload;
  return concat([frameHead(opcode, bytes.length), bytes]);
}

/** A close frame (RFC 6455 5.5.1); a reason that is too long is cut. */
export function closeFrame(code: number, reason = ""): Uint8Array<ArrayBuffer> {
  const payload = new Uint8Array(2 + MAX_REASON_BYTES);
  new DataView(payload.buffer).setUint16(0, code);
  // It stops before a character that has no room.
  const { written } = encoder.encodeInto(reason, payload.subarray(2));
  return webSocketFrame(OPCODES.close, payload.subarray(0, 2 + written));
}

/** Bytes of a head without a mask whose length field is `short`. */
function headBytes(short: number): number {
  return short === LENGTH_64 ? 10 : short === LENGTH_16 ? 4 : 2;
}

const encoder = new TextEncoder();
