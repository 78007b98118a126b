/** Frames as the server sends them, read back by a reader that is not the server's. */

import { assert, assertEquals } from "@std/assert";
import { concat } from "../../src/bytes.ts";
import {
  closeFrame,
  frameHead,
  joinBinary,
  OPCODES,
  webSocketFrame,
} from "../../plugins/websocket_frames.ts";
import { serverFrames } from "../support/websocket.ts";

const { binary, text, pong } = OPCODES;

function bytes(length: number, fill = 1): Uint8Array {
  return new Uint8Array(length).fill(fill);
}

Deno.test("webSocketFrame() gives a length as many bytes as it needs", () => {
  for (const [length, head] of [[0, 2], [125, 2], [126, 4], [65_535, 4], [65_536, 10]] as const) {
    const frame = webSocketFrame(binary, bytes(length));
    assertEquals(frame.length, head + length);
    assertEquals(frame.subarray(0, head), frameHead(binary, length));
    assertEquals(serverFrames(frame), [{ opcode: binary, payload: bytes(length) }]);
  }
});

Deno.test("webSocketFrame() makes the frames of RFC 6455 5.7", () => {
  assertEquals(
    [...webSocketFrame(text, "Hello")],
    [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f],
  );
  assertEquals(
    [...webSocketFrame(pong, new TextEncoder().encode("Hello"))],
    [0x8a, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f],
  );
});

Deno.test("closeFrame() cuts a reason that is too long, not in the middle of a character", () => {
  assertEquals([...closeFrame(1000)], [0x88, 2, 0x03, 0xe8]);
  const reason = "ä".repeat(100);
  const [frame] = serverFrames(closeFrame(1011, reason));
  const { payload = bytes(0) } = frame ?? {};
  assertEquals([...payload.subarray(0, 2)], [0x03, 0xf3]);
  assertEquals(new TextDecoder().decode(payload.subarray(2)), "ä".repeat(61));
});

Deno.test("joinBinary() makes one message of binary ones in a row and leaves text in its place", () => {
  const cases: [Uint8Array[], [number, number][]][] = [
    [[], []],
    [[webSocketFrame(binary, bytes(5))], [[binary, 5]]],
    [[webSocketFrame(binary, bytes(5)), webSocketFrame(binary, bytes(3))], [[binary, 8]]],
    [[webSocketFrame(text, "a"), webSocketFrame(binary, bytes(3))], [[text, 1], [binary, 3]]],
    [
      [
        webSocketFrame(binary, bytes(100)),
        webSocketFrame(binary, bytes(60)),
        webSocketFrame(text, "new"),
        webSocketFrame(binary, bytes(70_000)),
        webSocketFrame(binary, bytes(0)),
        webSocketFrame(binary, bytes(200)),
      ],
      [[binary, 160], [text, 3], [binary, 70_200]],
    ],
  ];
  for (const [frames, expected] of cases) {
    // As a view on something larger, as batches may be.
    const padded = concat([bytes(3), ...frames]).subarray(3);
    const joined = serverFrames(joinBinary(padded));
    assertEquals(joined.map(({ opcode, payload }) => [opcode, payload.length]), expected);
    const payloads = (all: Uint8Array) => concat(serverFrames(all).map(({ payload }) => payload));
    assertEquals(payloads(joinBinary(padded)), payloads(padded));
  }
});

Deno.test("joinBinary() copies nothing when there is one message", () => {
  const frame = webSocketFrame(binary, bytes(9));
  assert(joinBinary(frame) === frame);
});
