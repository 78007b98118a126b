/** Frames as the server sends them, read back by a reader that is not the server's. */

import { assertEquals } from "@std/assert";
import { closeFrame, frameHead, OPCODES, webSocketFrame } from "../../plugins/websocket_frames.ts";
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
