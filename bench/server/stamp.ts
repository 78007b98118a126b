/**
 * The stamp of a video frame, a SEI user_data_unregistered (H.264 D.1.7), as `load.c` has it too:
 * when it was sent, and its number.
 */

import { equalBytes } from "../../src/bytes.ts";

const STAMP_UUID = new Uint8Array([
  ...[0x6d, 0x37, 0x73, 0x62, 0xe3, 0x9a, 0x4b, 0x1c],
  ...[0x9d, 0x5e, 0xb2, 0x71, 0xc4, 0x86, 0xfa, 0x2d],
]);
const TIME_DIGITS = 8;
const FRAME_DIGITS = 5;
const SEI_PAYLOAD = STAMP_UUID.length + TIME_DIGITS + FRAME_DIGITS;
/** Bytes of a stamp, with its length before it. */
export const SEI_BYTES = 4 + 3 + SEI_PAYLOAD + 1;
/** How far into a body it is looked for. */
const HEAD_BYTES = 96;

/** A SEI with time and number of a frame, seven bits a byte with the top bit set. */
export function stamp(timeUs: number, frame: number): Uint8Array {
  const bytes = new Uint8Array(SEI_BYTES);
  bytes.set([0, 0, 0, SEI_BYTES - 4, 6, 5, SEI_PAYLOAD]);
  bytes.set(STAMP_UUID, 7);
  const at = 7 + STAMP_UUID.length;
  putDigits(bytes.subarray(at, at + TIME_DIGITS), timeUs);
  putDigits(bytes.subarray(at + TIME_DIGITS, at + TIME_DIGITS + FRAME_DIGITS), frame);
  bytes[SEI_BYTES - 1] = 0x80;
  return bytes;
}

function putDigits(bytes: Uint8Array, value: number): void {
  let rest = Math.floor(value);
  for (let at = bytes.length - 1; at >= 0; at--) {
    bytes[at] = 0x80 | rest % 128;
    rest = Math.floor(rest / 128);
  }
}

function getDigits(bytes: Uint8Array): number {
  return bytes.reduce((value, byte) => value * 128 + (byte & 0x7f), 0);
}

/** What a stamp says. */
export interface Stamp {
  /** Where its NAL unit's length begins. */
  readonly at: number;
  readonly timeUs: number;
  readonly frame: number;
}

/** The stamp near the start of a video tag's body. */
export function readStamp(body: Uint8Array): Stamp | undefined {
  const head = body.subarray(0, HEAD_BYTES);
  const [first = 0] = STAMP_UUID;
  for (let at = head.indexOf(first); at >= 0; at = head.indexOf(first, at + 1)) {
    if (!equalBytes(head.subarray(at, at + STAMP_UUID.length), STAMP_UUID)) continue;
    const time = at + STAMP_UUID.length;
    const frame = time + TIME_DIGITS;
    return {
      at: at - 7,
      timeUs: getDigits(head.subarray(time, frame)),
      frame: getDigits(head.subarray(frame, frame + FRAME_DIGITS)),
    };
  }
  return undefined;
}
