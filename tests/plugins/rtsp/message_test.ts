import { assertEquals, assertThrows } from "@std/assert";
import {
  reasonPhrase,
  requestFault,
  RtspStatus,
  writeInterleaved,
  writeRequest,
  writeResponse,
} from "../../../plugins/rtsp/message.ts";
import { cases, request } from "./cases.ts";

for (const { name, wire, outgoing, item } of cases) {
  if (outgoing === undefined && item.kind !== "interleaved") continue;
  Deno.test(`message.ts writes ${name}`, () => {
    const written = item.kind === "interleaved"
      ? writeInterleaved(item.channel, item.payload)
      : outgoing && ("status" in outgoing ? writeResponse(outgoing) : writeRequest(outgoing));
    assertEquals(written?.toHex(), wire.toHex());
  });
}

const base = { method: "OPTIONS", url: "rtsp://example.com/a", cseq: 1 };

Deno.test("writeRequest() refuses what would make it another message", () => {
  for (const url of ["", "rtsp://a/b c", "rtsp://a/\r\nX: 1", "rtsp://a/\n", "a\x00", "a\x7f"]) {
    assertThrows(() => writeRequest({ ...base, url }), TypeError, "its URL");
  }
  for (const method of ["", "PLAY X", "A\r\nB", "A:"]) {
    assertThrows(() => writeRequest({ ...base, method }), TypeError, "its method");
  }
  for (const value of ["a\r\nB: c", "a\nb", "a\rb", "\x00"]) {
    assertThrows(() => writeRequest({ ...base, headers: { X: value } }), TypeError, "field X");
    assertThrows(
      () => writeResponse({ status: 200, cseq: 1, headers: { X: ["a", value] } }),
      TypeError,
      "field X",
    );
  }
  for (const name of ["", "a b", "a:", "a\r\nb"]) {
    assertThrows(() => writeRequest({ ...base, headers: { [name]: "" } }), TypeError, "its name");
  }
});

Deno.test("writeInterleaved() refuses what its header can't say", () => {
  assertThrows(() => writeInterleaved(256, new Uint8Array(0)), RangeError, "channel is 256");
  assertThrows(() => writeInterleaved(-1, new Uint8Array(0)), RangeError, "channel is -1");
  assertThrows(() => writeInterleaved(0, new Uint8Array(65_536)), RangeError, "65536 bytes");
  assertEquals(writeInterleaved(0, new Uint8Array(65_535)).subarray(0, 4).toHex(), "2400ffff");
});

Deno.test("reasonPhrase() knows every status of RtspStatus", () => {
  for (const status of Object.values(RtspStatus)) {
    assertEquals(reasonPhrase(status) === "", false, `${status}`);
  }
  assertEquals(reasonPhrase(454), "Session Not Found");
  assertEquals(reasonPhrase(999), "");
});

Deno.test("requestFault() gives 505 for other versions and 400 without CSeq", () => {
  assertEquals(requestFault(request()), undefined);
  assertEquals(requestFault(request({ cseq: 0 })), undefined);
  assertEquals(requestFault(request({ cseq: undefined })), 400);
  assertEquals(requestFault(request({ version: "2.0" })), 505);
  assertEquals(requestFault(request({ version: "2.0", cseq: undefined })), 505);
});
