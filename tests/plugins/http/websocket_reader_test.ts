/** What clients of WebSockets send, taken apart: whole, in pieces, and damaged. */

import { assertEquals, assertThrows } from "@std/assert";
import { concat } from "../../../src/bytes.ts";
import {
  WebSocketError,
  type WebSocketEvent,
  WebSocketReader,
} from "../../../plugins/http/websocket_reader.ts";
import { assertWithstands } from "../../support/hostile.ts";
import { clientFrame, closePayload } from "../../support/websocket.ts";

const [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] = [0, 1, 2, 8, 9, 10];
const LIMIT = 70_000;

function readAll(bytes: Uint8Array, step = bytes.length || 1): WebSocketEvent[] {
  const reader = new WebSocketReader(LIMIT);
  const events: WebSocketEvent[] = [];
  for (let at = 0; at < bytes.length; at += step) {
    events.push(...reader.push(bytes.subarray(at, at + step)));
  }
  return events;
}

function message(data: string | Uint8Array<ArrayBuffer>): WebSocketEvent {
  return { type: "message", data };
}

function filled(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, at) => at);
}

/** What is sent, and what is read of it. */
const CASES: Readonly<Record<string, [Uint8Array[], WebSocketEvent[]]>> = {
  "text": [[clientFrame(TEXT, "Grüße, 世界 🎥")], [message("Grüße, 世界 🎥")]],
  "text that begins with a byte order mark": [[clientFrame(TEXT, "\ufeffa")], [
    message("\ufeffa"),
  ]],
  "nothing": [[clientFrame(TEXT), clientFrame(BINARY)], [message(""), message(filled(0))]],
  "lengths of 16 and 64 bits": [
    [clientFrame(BINARY, filled(126)), clientFrame(BINARY, filled(65_536))],
    [message(filled(126)), message(filled(65_536))],
  ],
  "a length with more bits than it needs": [
    [
      clientFrame(TEXT, "a", { lengthBits: 64 }),
      clientFrame(TEXT, "b", { lengthBits: 16 }),
    ],
    [message("a"), message("b")],
  ],
  "a message in parts, each masked in its own way": [
    [
      clientFrame(TEXT, concat([new TextEncoder().encode("one "), Uint8Array.of(0xc3)]), {
        fin: false,
      }),
      clientFrame(CONTINUATION, "", { fin: false }),
      clientFrame(CONTINUATION, Uint8Array.of(0xa4), { fin: false, mask: [1, 2, 3, 4] }),
      clientFrame(CONTINUATION, "two", { mask: [0, 0, 0, 0] }),
    ],
    [message("one ätwo")],
  ],
  "control frames between the parts of a message": [
    [
      clientFrame(BINARY, Uint8Array.of(1), { fin: false }),
      clientFrame(PING, "are you there?"),
      clientFrame(PONG),
      clientFrame(CONTINUATION, Uint8Array.of(2)),
    ],
    [
      { type: "ping", payload: new TextEncoder().encode("are you there?") },
      { type: "pong", payload: filled(0) },
      message(Uint8Array.of(1, 2)),
    ],
  ],
  "closing without a code": [[clientFrame(CLOSE)], [{ type: "close", code: undefined }]],
  "closing with a code": [
    [clientFrame(CLOSE, closePayload(1001, "läuft weg"))],
    [{ type: "close", code: 1001 }],
  ],
  "closing with a code of an application": [
    [clientFrame(CLOSE, closePayload(4999))],
    [{ type: "close", code: 4999 }],
  ],
};

for (const [name, [frames, events]] of Object.entries(CASES)) {
  Deno.test(`WebSocketReader.push() reads ${name}`, () => {
    assertEquals(readAll(concat(frames)), events);
  });
}

Deno.test("WebSocketReader.push() reads the same when bytes come in pieces of any size", () => {
  for (const [frames, events] of Object.values(CASES)) {
    const bytes = concat(frames);
    if (bytes.length > 1000) continue;
    for (let step = 1; step < bytes.length; step++) assertEquals(readAll(bytes, step), events);
  }
  const large = clientFrame(BINARY, filled(65_536));
  for (const step of [1, 3, 1000, 65_535]) {
    assertEquals(readAll(large, step), [message(filled(65_536))]);
  }
});

Deno.test("WebSocketReader.push() gives what came before the protocol is broken", () => {
  const reader = new WebSocketReader(LIMIT);
  const events: WebSocketEvent[] = [];
  const bytes = concat([clientFrame(TEXT, "fine"), clientFrame(11)]);
  assertThrows(() => {
    for (const event of reader.push(bytes)) events.push(event);
  }, WebSocketError);
  assertEquals(events, [message("fine")]);
});

Deno.test("WebSocketReader.push() throws the code to close with when the protocol is broken", () => {
  const begun = clientFrame(TEXT, "a", { fin: false });
  const cases: [string, number, Uint8Array[]][] = [
    ["no mask", 1002, [clientFrame(TEXT, "a", { mask: undefined })]],
    ["reserved bits", 1002, [clientFrame(TEXT, "a", { reserved: 0x40 })]],
    ["an unknown opcode", 1002, [clientFrame(3)]],
    ["an unknown control opcode", 1002, [clientFrame(15)]],
    ["a continuation of nothing", 1002, [clientFrame(CONTINUATION, "a")]],
    ["a continuation of what has ended", 1002, [
      begun,
      clientFrame(CONTINUATION, "b"),
      clientFrame(CONTINUATION, "c"),
    ]],
    ["a message in a message", 1002, [begun, clientFrame(BINARY, "b")]],
    ["a ping in parts", 1002, [clientFrame(PING, "a", { fin: false })]],
    ["a long ping", 1002, [clientFrame(PING, filled(126))]],
    ["half a code", 1002, [clientFrame(CLOSE, Uint8Array.of(3))]],
    ...[0, 999, 1004, 1005, 1006, 1015, 2999, 5000].map((code): [string, number, Uint8Array[]] => [
      `close code ${code}`,
      1002,
      [clientFrame(CLOSE, closePayload(code))],
    ]),
    ["text that is not UTF-8", 1007, [clientFrame(TEXT, Uint8Array.of(0xc3, 0x28))]],
    ["a reason that is not UTF-8", 1007, [
      clientFrame(CLOSE, concat([closePayload(1000), Uint8Array.of(0xff)])),
    ]],
    ["too long a message", 1009, [clientFrame(BINARY, "", { length: LIMIT + 1 })]],
    ["a huge message", 1009, [clientFrame(BINARY, "", { length: 2 ** 52 })]],
    ["too long a message in parts", 1009, [
      clientFrame(BINARY, filled(65_000), { fin: false }),
      clientFrame(CONTINUATION, filled(5000), { fin: false }),
      clientFrame(CONTINUATION, filled(1)),
    ]],
  ];
  for (const [name, code, frames] of cases) {
    const error = assertThrows(() => readAll(concat(frames)), WebSocketError, undefined, name);
    assertEquals(error.code, code, name);
  }
});

Deno.test("WebSocketReader.push() refuses a message for its length before it has come", () => {
  const reader = new WebSocketReader(10);
  // Two bytes, the length: neither a mask nor a payload yet.
  const head = clientFrame(BINARY, "", { length: 11 }).subarray(0, 2);
  const error = assertThrows(() => [...reader.push(head)], WebSocketError);
  assertEquals(error.code, 1009);
});

Deno.test("WebSocketReader.push() throws nothing but WebSocketError when bytes are damaged", () => {
  const seeds = Object.values(CASES).map(([frames]) => concat(frames)).filter((bytes) =>
    bytes.length < 1000
  );
  assertWithstands((data) => readAll(data), seeds);
});
