/** NAL units: access units taken apart and put together, and whether one is a keyframe. */

import { isH264Key } from "../src/codecs/h264.ts";
import {
  joinAnnexB,
  joinLengthPrefixed,
  splitAnnexB,
  splitLengthPrefixed,
  unescapeRbsp,
} from "../src/codecs/nal.ts";
import { FRAME_BYTES, randomBytes } from "./frames.ts";

/** A NAL unit of random bytes in which no start code is: like coded slices, one escape in 64 KB. */
function nalu(header: number, length: number): Uint8Array {
  const bytes = randomBytes(length);
  bytes[0] = header;
  for (let at = 3; at < length; at++) {
    const byte = bytes[at] as number;
    if (byte <= 3 && bytes[at - 1] === 0 && bytes[at - 2] === 0) bytes[at] = byte + 4;
  }
  if (bytes[length - 1] === 0) bytes[length - 1] = 0x80;
  return bytes;
}

const PARAMETERS = [nalu(0x67, 30), nalu(0x68, 6)];

const ACCESS_UNITS = {
  "inter, 1 slice": [nalu(0x41, FRAME_BYTES.inter)],
  "inter, 4 slices": Array.from({ length: 4 }, () => nalu(0x41, FRAME_BYTES.inter / 4)),
  "key, 1 slice": [...PARAMETERS, nalu(0x65, FRAME_BYTES.key)],
  "key, 8 slices": [
    ...PARAMETERS,
    ...Array.from({ length: 8 }, () => nalu(0x65, FRAME_BYTES.key / 8)),
  ],
};

for (const [name, nalus] of Object.entries(ACCESS_UNITS)) {
  const annexB = joinAnnexB(nalus);
  const prefixed = joinLengthPrefixed(nalus);
  if (splitAnnexB(annexB).length !== nalus.length) {
    throw new Error(`Cannot measure "${name}": its bytes hold a start code`);
  }
  const measured: Readonly<Record<string, () => unknown>> = {
    splitAnnexB: () => splitAnnexB(annexB),
    splitLengthPrefixed: () => splitLengthPrefixed(prefixed),
    joinLengthPrefixed: () => joinLengthPrefixed(nalus),
    joinAnnexB: () => joinAnnexB(nalus),
    isH264Key: () => isH264Key(nalus),
  };
  for (const [call, fn] of Object.entries(measured)) {
    Deno.bench({
      group: `NAL: ${name}`,
      name: `NAL ${call}: ${name}, ${annexB.length} B`,
      fn: () => void fn(),
    });
  }
}

const slice = nalu(0x65, FRAME_BYTES.key);
Deno.bench({
  group: "NAL: emulation prevention",
  name: `NAL unescapeRbsp: ${slice.length} B`,
  fn: () => void unescapeRbsp(slice),
});
