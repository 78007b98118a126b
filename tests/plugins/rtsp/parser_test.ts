import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../../src/bytes.ts";
import { InvalidDataError } from "../../../src/errors.ts";
import type { RtspItem } from "../../../plugins/rtsp/message.ts";
import {
  MAX_BODY_BYTES,
  MAX_HEAD_BYTES,
  MAX_HEADER_LINES,
  MAX_LINE_BYTES,
  RtspParser,
} from "../../../plugins/rtsp/parser.ts";
import { cases, wire } from "./cases.ts";

const seed = 2_326;

const START = "OPTIONS rtsp://example.com/a RTSP/1.0\n";

function read(...chunks: readonly Uint8Array[]): RtspItem[] {
  const parser = new RtspParser();
  return chunks.flatMap((chunk) => parser.push(chunk));
}

function bytewise(bytes: Uint8Array): Uint8Array[] {
  return Array.from(bytes, (byte) => Uint8Array.of(byte));
}

function text(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

for (const { name, wire, item } of cases) {
  Deno.test(`RtspParser.push() reads ${name}`, () => {
    // Another frame behind it shows that it ends where it should.
    const all = concat([wire, Uint8Array.of(0x24, 7, 0, 1, 42)]);
    const items = [item, { kind: "interleaved", channel: 7, payload: Uint8Array.of(42) }];
    assertEquals(read(all), items);
    for (let at = 0; at <= all.length; at++) {
      assertEquals(read(all.slice(0, at), all.slice(at)), items, `split at ${at}`);
    }
    assertEquals(read(...bytewise(all)), items);
  });
}

Deno.test("RtspParser.push() gives nothing for every truncation", () => {
  for (const { name, wire } of cases) {
    for (let end = 0; end < wire.length; end++) {
      assertEquals(read(wire.subarray(0, end)), [], `${name}, ${end} bytes`);
    }
  }
});

Deno.test("RtspParser.push() hands out each message with its last byte", () => {
  const parser = new RtspParser();
  for (const { name, wire, item } of cases) {
    assertEquals(parser.push(wire.subarray(0, -1)), [], name);
    assertEquals(parser.push(wire.subarray(-1)), [item], name);
  }
});

Deno.test("RtspParser.push() gives views on a chunk that holds a payload whole", () => {
  const frame = [0x24, 0, 0, 3, 1, 2, 3];
  const head = wire(`${START}CSeq: 1\nContent-Length: 3\n\n`, "abc");
  const chunk = concat([Uint8Array.from(frame), head, Uint8Array.from(frame.slice(0, 6))]);
  const parser = new RtspParser();
  const [first, second] = parser.push(chunk);
  assert(first?.kind === "interleaved" && second?.kind === "request");
  assertStrictEquals(first.payload.buffer, chunk.buffer);
  assertStrictEquals(first.payload.byteOffset, 4);
  assertStrictEquals(second.body.buffer, chunk.buffer);
  const [last] = parser.push(Uint8Array.of(3));
  assert(last?.kind === "interleaved");
  assertEquals(last.payload, Uint8Array.of(1, 2, 3));
  assertStrictEquals(last.payload.buffer === chunk.buffer, false);
});

Deno.test("RtspParser.push() gives a view when the header came before", () => {
  const parser = new RtspParser();
  parser.push(Uint8Array.of(0x24, 0, 0));
  const chunk = Uint8Array.of(2, 8, 9);
  const [item] = parser.push(chunk);
  assert(item?.kind === "interleaved");
  assertStrictEquals(item.payload.buffer, chunk.buffer);
  assertEquals(item.payload, Uint8Array.of(8, 9));
});

const malformed: readonly { name: string; bytes: Uint8Array; message: string }[] = [
  {
    name: "a request of HTTP",
    bytes: wire("GET /live/a.flv HTTP/1.1\n"),
    message: "the peer speaks HTTP",
  },
  { name: "an answer of HTTP", bytes: wire("HTTP/1.1 400 Bad Request\n"), message: "speaks HTTP" },
  { name: "TLS", bytes: Uint8Array.of(0x16), message: "starts with byte 22, as TLS does" },
  { name: "a NUL first", bytes: Uint8Array.of(0), message: "starts with byte 0" },
  { name: "a header line first", bytes: wire("CSeq: 1\n"), message: "neither request nor status" },
  { name: "a word first", bytes: wire("OPTIONS\n"), message: "neither request nor status" },
  { name: "a request without URL", bytes: wire("OPTIONS RTSP/1.0\n"), message: "neither request" },
  { name: "an empty URL", bytes: wire("OPTIONS  RTSP/1.0\n"), message: "neither request" },
  { name: "no version", bytes: wire("OPTIONS rtsp://a/b RTSP\n"), message: "neither request" },
  { name: "a method with a colon", bytes: wire("A:B rtsp://a RTSP/1.0\n"), message: "neither" },
  { name: "a status of two digits", bytes: wire("RTSP/1.0 20 OK\n"), message: "neither request" },
  { name: "a folded line", bytes: wire(`${START}X: a\n b\n`), message: "is folded" },
  { name: "a folded line with a tab", bytes: wire(`${START}X: a\n\tb: c\n`), message: "is folded" },
  { name: "a header line without colon", bytes: wire(`${START}CSeq\n`), message: "with a name" },
  { name: "a header line without name", bytes: wire(`${START}: 1\n`), message: "with a name" },
  { name: "a name with a blank", bytes: wire(`${START}C Seq: 1\n`), message: "with a name" },
  {
    name: "a byte order mark before a name",
    bytes: wire(`${START}\ufeffX: 1\n`),
    message: "with a name",
  },
  { name: "a NUL in a value", bytes: wire(`${START}X: \x00\n`), message: "control character" },
  { name: "a CR in a value", bytes: text("A b RTSP/1.0\r\nX: a\rb\r\n"), message: "control" },
  {
    name: "two lengths",
    bytes: wire(`${START}Content-Length: 1\nContent-Length: 2\n`),
    message: "content-length is there twice",
  },
  { name: "two CSeqs", bytes: wire(`${START}CSeq: 1\nCSeq: 2\n`), message: "cseq is there twice" },
  ...["-1", "", "1a", "+1", "1.0", "0x1", "1, 1", "1000000000"].map((length) => ({
    name: `a length of '${length}'`,
    bytes: wire(`${START}Content-Length: ${length}\n\n`),
    message: "its Content-Length is no length",
  })),
  {
    name: "a body over its maximum",
    bytes: wire(`${START}Content-Length: ${MAX_BODY_BYTES + 1}\n\n`),
    message: `its length is ${MAX_BODY_BYTES + 1}, more than ${MAX_BODY_BYTES}`,
  },
  {
    name: "a request line over its maximum",
    bytes: text("A".repeat(MAX_LINE_BYTES + 1)),
    message: `a line is over ${MAX_LINE_BYTES} bytes long`,
  },
  {
    name: "a head over its maximum",
    bytes: text(START + `X: ${"a".repeat(MAX_LINE_BYTES / 2)}\n`.repeat(6)),
    message: `a head is over ${MAX_HEAD_BYTES} bytes long`,
  },
  {
    name: "too many header lines",
    bytes: text(START + "X: a\n".repeat(MAX_HEADER_LINES + 1)),
    message: `over ${MAX_HEADER_LINES} lines`,
  },
];

for (const { name, bytes, message } of malformed) {
  Deno.test(`RtspParser.push() refuses ${name}`, () => {
    assertThrows(() => read(bytes), InvalidDataError, message);
    assertThrows(() => read(...bytewise(bytes)), InvalidDataError, message);
    // The state between messages is that of the start.
    const before = wire(`${START}CSeq: 1\nContent-Length: 1\n\n`, "x");
    assertThrows(() => read(before, bytes), InvalidDataError, message);
  });
}

Deno.test("RtspParser.push() takes all that its maxima allow", () => {
  const start = "A b RTSP/1.0";
  const line = "X: " + "a".repeat(MAX_LINE_BYTES - 3);
  const most = `${start}\n${line}\n${line}\n`;
  const head = `${most}X: ${"a".repeat(MAX_HEAD_BYTES - most.length - 5)}\n\n`;
  assertEquals(head.length, MAX_HEAD_BYTES);
  assertEquals(read(text(head)).length, 1);
  assertThrows(() => read(text(head.replace("A b", "AA b"))), InvalidDataError, "a head is over");
  assertEquals(read(...bytewise(text(head))).length, 1);

  const lines = "X: a\n".repeat(MAX_HEADER_LINES - 1);
  const full = text(`${start}\n${lines}Content-Length: ${MAX_BODY_BYTES}\n\n`);
  const [item] = read(full, new Uint8Array(MAX_BODY_BYTES));
  assert(item?.kind === "request");
  assertEquals(item.body.length, MAX_BODY_BYTES);
});

Deno.test("RtspParser.push() counts a head anew for each message", () => {
  const parser = new RtspParser();
  const message = text(`A b RTSP/1.0\nX: ${"a".repeat(MAX_LINE_BYTES - 3)}\n\n\n`);
  for (let count = 0; count < 10; count++) assertEquals(parser.push(message).length, 1);
  for (let count = 0; count < 10_000; count++) assertEquals(parser.push(text("\r\n\r\n")), []);
});

const chunkLengths = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 });

/** `bytes` cut into chunks of these lengths, over and over. */
function cut(bytes: Uint8Array, lengths: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  let at = 0;
  for (let turn = 0; at < bytes.length; turn++) {
    const end = at + (lengths[turn % lengths.length] ?? 1);
    chunks.push(bytes.slice(at, end));
    at = end;
  }
  return chunks;
}

Deno.test("RtspParser.push() reads any messages and frames in any chunks", () => {
  fc.assert(
    fc.property(
      fc.array(fc.constantFrom(...cases), { maxLength: 12 }),
      chunkLengths,
      (sent, lengths) => {
        const bytes = concat(sent.map(({ wire }) => wire));
        assertEquals(read(...cut(bytes, lengths)), sent.map(({ item }) => item));
      },
    ),
    { seed, numRuns: 500 },
  );
});

Deno.test("RtspParser.push() throws nothing but InvalidDataError for damaged messages", () => {
  const damaged = fc.tuple(
    fc.array(fc.constantFrom(...cases), { minLength: 1, maxLength: 3 }),
    fc.array(fc.tuple(fc.nat(150), fc.nat(255)), { maxLength: 4 }),
  ).map(([sent, changes]) => {
    const bytes = concat(sent.map(({ wire }) => wire));
    for (const [index, byte] of changes) if (index < bytes.length) bytes[index] = byte;
    return bytes;
  });
  let refused = 0;
  fc.assert(
    fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 300 })), chunkLengths, (
      bytes,
      lengths,
    ) => {
      const whole = outcome([bytes]);
      // However it is cut, it is refused or read alike.
      assertEquals(outcome(cut(bytes, lengths)), whole);
      if (whole === "refused") refused++;
    }),
    { seed, numRuns: 5_000 },
  );
  assert(refused > 500 && refused < 4_900, `${refused} refused`);
});

function outcome(chunks: readonly Uint8Array[]): RtspItem[] | "refused" {
  try {
    return read(...chunks);
  } catch (error) {
    assert(error instanceof InvalidDataError, `${error}`);
    return "refused";
  }
}
