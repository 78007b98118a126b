import { assert, assertEquals, assertLess, assertStrictEquals, assertThrows } from "@std/assert";
import { memoryUsage } from "node:process";
import fc from "fast-check";
import { ByteWriter, concat } from "../../../src/bytes.ts";
import { InvalidDataError } from "../../../src/errors.ts";
import {
  ChunkReader,
  MAX_CHUNK_SIZE,
  MAX_CHUNK_STREAMS,
  MAX_MESSAGE_BYTES,
} from "../../../plugins/rtmp/chunk.ts";
import { writeMessage } from "../../../plugins/rtmp/chunk_writer.ts";
import { MessageType, type RtmpMessage } from "../../../plugins/rtmp/message.ts";

const seed = 20_245;

function hex(text: string): Uint8Array {
  return Uint8Array.fromHex(text.replaceAll(" ", ""));
}

/** The messages that `piece` completes. */
function pushTo(reader: ChunkReader, piece: Uint8Array): RtmpMessage[] {
  reader.feed(piece);
  const messages: RtmpMessage[] = [];
  for (let found = reader.next(); found; found = reader.next()) messages.push(found);
  return messages;
}

function read(...pieces: readonly Uint8Array[]): RtmpMessage[] {
  const reader = new ChunkReader();
  return pieces.flatMap((piece) => pushTo(reader, piece));
}

function bytesOf(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, index) => index * 7);
}

function message(fields: Partial<RtmpMessage> = {}): RtmpMessage {
  const payload = new Uint8Array(0);
  return { type: 9, streamId: 1, timestampMs: 0, chunkStreamId: 6, payload, ...fields };
}

function write(value: RtmpMessage, chunkSize = 128): Uint8Array {
  return writeMessage({ ...value, payload: [value.payload] }, chunkSize);
}

interface Case {
  readonly name: string;
  readonly bytes: string;
  readonly messages: readonly RtmpMessage[];
  /** Whether `writeMessage()` gives these bytes for the only message. */
  readonly written?: boolean;
}

const abc = hex("616263");
const long = bytesOf(130);
const head = long.subarray(0, 128).toHex();
const tail = long.subarray(128).toHex();

const cases: readonly Case[] = [
  {
    name: "a message of one chunk",
    bytes: "06 000028 000003 09 01000000 616263",
    messages: [message({ timestampMs: 40, payload: abc })],
    written: true,
  },
  {
    name: "an empty message",
    bytes: "06 000028 000000 08 01000000",
    messages: [message({ type: 8, timestampMs: 40 })],
    written: true,
  },
  {
    name: "a message of two chunks",
    bytes: `06 000000 000082 09 01000000 ${head} c6 ${tail}`,
    messages: [message({ payload: long })],
    written: true,
  },
  {
    name: "a chunk stream id of two bytes",
    bytes: "00ff 000000 000003 09 01020304 616263",
    messages: [message({ chunkStreamId: 319, streamId: 0x04030201, payload: abc })],
    written: true,
  },
  {
    name: "a chunk stream id of three bytes",
    bytes: `010101 000000 000082 09 01000000 ${head} c10101 ${tail}`,
    messages: [message({ chunkStreamId: 321, payload: long })],
    written: true,
  },
  {
    name: "the largest chunk stream id",
    bytes: "01ffff 000000 000003 09 01000000 616263",
    messages: [message({ chunkStreamId: 65_599, payload: abc })],
    written: true,
  },
  {
    name: "the largest timestamp that is not extended",
    bytes: "06 fffffe 000003 09 01000000 616263",
    messages: [message({ timestampMs: 0xff_fffe, payload: abc })],
    written: true,
  },
  {
    name: "an extended timestamp, repeated in every chunk",
    bytes: `06 ffffff 000082 09 01000000 00ffffff ${head} c6 00ffffff ${tail}`,
    messages: [message({ timestampMs: 0xff_ffff, payload: long })],
    written: true,
  },
  {
    name: "an extended timestamp, not repeated",
    bytes: `06 ffffff 000082 09 01000000 fffffffe ${head} c6 ${tail}`,
    messages: [message({ timestampMs: 0xffff_fffe, payload: long })],
  },
  {
    name: "an extended timestamp, not repeated before payload like its start",
    bytes: `06 ffffff 000084 09 01000000 01020304 ${head} c6 01020305`,
    messages: [
      message({
        timestampMs: 0x0102_0304,
        payload: concat([long.subarray(0, 128), hex("01020305")]),
      }),
    ],
  },
  {
    name: "deltas",
    bytes: "06 000028 000001 09 01000000 61 46 000010 000002 08 6263 86 000001 6465 c6 6667",
    messages: [
      message({ timestampMs: 40, payload: hex("61") }),
      message({ type: 8, timestampMs: 56, payload: hex("6263") }),
      message({ type: 8, timestampMs: 57, payload: hex("6465") }),
      message({ type: 8, timestampMs: 58, payload: hex("6667") }),
    ],
  },
  {
    name: "a timestamp as the delta of the next message",
    bytes: "06 000028 000001 09 01000000 61 c6 62",
    messages: [
      message({ timestampMs: 40, payload: hex("61") }),
      message({ timestampMs: 80, payload: hex("62") }),
    ],
  },
  {
    name: "an extended timestamp again for the next message",
    bytes: "06 ffffff 000001 09 01000000 01000000 61 c6 01000028 62",
    messages: [
      message({ timestampMs: 0x0100_0000, payload: hex("61") }),
      message({ timestampMs: 0x0100_0028, payload: hex("62") }),
    ],
  },
  {
    name: "an extended delta",
    bytes: "06 000001 000001 09 01000000 61 86 ffffff 01000000 62 c6 01000000 63",
    messages: [
      message({ timestampMs: 1, payload: hex("61") }),
      message({ timestampMs: 0x0100_0001, payload: hex("62") }),
      message({ timestampMs: 0x0200_0001, payload: hex("63") }),
    ],
  },
  {
    name: "a timestamp that wraps around",
    bytes: "06 ffffff 000001 09 01000000 fffffff0 61 86 000020 62",
    messages: [
      message({ timestampMs: 0xffff_fff0, payload: hex("61") }),
      message({ timestampMs: 0x10, payload: hex("62") }),
    ],
  },
  {
    name: "a first header of format 1, as librtmp sends",
    bytes: "42 000000 000006 04 000700000001",
    messages: [
      message({ type: 4, streamId: 0, chunkStreamId: 2, payload: hex("000700000001") }),
    ],
  },
  {
    name: "messages that interleave",
    bytes: `06 000000 000082 09 01000000 ${head} 04 000005 000003 08 01000000 616263 c6 ${tail}`,
    messages: [
      message({ type: 8, timestampMs: 5, chunkStreamId: 4, payload: abc }),
      message({ payload: long }),
    ],
  },
  {
    name: "a new chunk size inside another message",
    bytes: `06 000000 000084 09 01000000 ${head} 02 000000 000004 01 00000000 00000002
      c6 0102 c6 0304`.replaceAll("\n", ""),
    messages: [message({ payload: concat([long.subarray(0, 128), hex("01020304")]) })],
  },
  {
    name: "an abort",
    bytes: `06 000000 000082 09 01000000 ${head} 02 000000 000004 02 00000000 00000006
      06 000000 000003 09 01000000 616263`.replaceAll("\n", ""),
    messages: [message({ payload: abc })],
  },
  {
    name: "an abort of a chunk stream that is not there",
    bytes: "02 000000 000004 02 00000000 00000009",
    messages: [],
  },
];

for (const { name, bytes, messages } of cases) {
  Deno.test(`ChunkReader.next() reads ${name}`, () => {
    const all = hex(bytes);
    assertEquals(read(all), messages);
    for (let at = 0; at <= all.length; at++) {
      assertEquals(read(all.slice(0, at), all.slice(at)), messages, `split at ${at}`);
    }
    assertEquals(read(...Array.from(all, (byte) => Uint8Array.of(byte))), messages);
  });
}

for (const { name, bytes, messages: [only], written } of cases) {
  if (!written || !only) continue;
  Deno.test(`writeMessage() writes ${name}`, () => {
    assertEquals(write(only).toHex(), hex(bytes).toHex());
  });
}

const malformed: readonly { name: string; bytes: string; message: string }[] = [
  { name: "a first header of format 2", bytes: "86 000001", message: "starts without a header" },
  { name: "a first header of format 3", bytes: "c6", message: "starts without a header" },
  {
    name: "a message inside another one of its chunk stream",
    bytes: `06 000000 000082 09 01000000 ${head} 06 000000 000082 09 01000000`,
    message: "inside another one",
  },
  {
    name: "a message of 16 MB",
    bytes: "06 000000 ffffff 09 01000000",
    message: `is 16777215, more than ${MAX_MESSAGE_BYTES}`,
  },
  {
    name: "a chunk size of 0",
    bytes: "02 000000 000004 01 00000000 00000000",
    message: "chunk size: it is 0",
  },
  {
    name: "a chunk size with its first bit set",
    bytes: "02 000000 000004 01 00000000 80000001",
    message: "chunk size: it is 2147483649",
  },
  {
    name: "a cut chunk size",
    bytes: "02 000000 000003 01 00000000 000001",
    message: "Cannot read 4 bytes",
  },
  {
    name: "too many chunk streams",
    bytes: Array.from(
      { length: MAX_CHUNK_STREAMS + 1 },
      (_, index) => `00${index.toString(16).padStart(2, "0")} 000000 000000 08 01000000`,
    ).join(""),
    message: "more than 64 chunk streams",
  },
];

for (const { name, bytes, message } of malformed) {
  Deno.test(`ChunkReader.next() refuses ${name}`, () => {
    const all = hex(bytes);
    assertThrows(() => read(all), InvalidDataError, message);
    const pieces = Array.from(all, (byte) => Uint8Array.of(byte));
    assertThrows(() => read(...pieces), InvalidDataError, message);
  });
}

Deno.test("ChunkReader.next() takes the largest chunk sizes for the largest that matters", () => {
  const reader = new ChunkReader();
  assertEquals(reader.chunkSize, 128);
  assertEquals(pushTo(reader, hex("02 000000 000004 01 00000000 7fffffff")), []);
  assertEquals(reader.chunkSize, MAX_CHUNK_SIZE);
});

Deno.test("ChunkReader.next() keeps to maxMessageBytes", () => {
  const reader = new ChunkReader({ maxMessageBytes: 3 });
  assertEquals(pushTo(reader, write(message({ payload: abc }))).length, 1);
  const tooLong = write(message({ payload: hex("61626364") }));
  assertThrows(() => pushTo(reader, tooLong), InvalidDataError, "is 4, more than 3");
  const patient = new ChunkReader({ maxMessageBytes: 0xff_ffff });
  assertEquals(pushTo(patient, hex("06 000000 ffffff 09 01000000")), []);
});

Deno.test("ChunkReader.next() bounds what is partly received on all chunk streams", () => {
  const reader = new ChunkReader({ maxMessageBytes: 129 });
  const pieces = [3, 4, 5].map((chunkStreamId) =>
    write(message({ chunkStreamId, payload: bytesOf(129) })).subarray(0, 12 + 128)
  );
  pushTo(reader, concat(pieces.slice(0, 2)));
  assertThrows(() => pushTo(reader, concat(pieces)), InvalidDataError);
  const again = new ChunkReader({ maxMessageBytes: 129 });
  assertThrows(
    () => pushTo(again, concat(pieces)),
    InvalidDataError,
    "384 bytes are partly received",
  );
});

Deno.test("ChunkReader.next() frees what was partly received once messages end or are aborted", () => {
  const reader = new ChunkReader({ maxMessageBytes: 129 });
  const whole = write(message({ payload: bytesOf(129) }));
  const cut = whole.subarray(0, 12 + 128);
  const abort = hex("02 000000 000004 02 00000000 00000006");
  for (let round = 0; round < 10; round++) {
    assertEquals(pushTo(reader, concat([whole, cut, abort])).length, 1);
  }
});

Deno.test("ChunkReader.next() does not allocate what is only claimed", () => {
  const before = memoryUsage().external;
  const readers = Array.from({ length: 4 }, () => new ChunkReader());
  for (const reader of readers) {
    for (let id = 3; id < 60; id++) {
      const header = new ByteWriter().u8(id).u24(0).u24(MAX_MESSAGE_BYTES).u8(9).u32le(1).u8(0);
      pushTo(reader, concat([header.finish(), new Uint8Array(127)]));
    }
  }
  // 228 messages that claim 8 MiB each.
  assertLess(memoryUsage().external - before, 32 << 20);
  assertEquals(readers.map(({ bytesReceived }) => bytesReceived), Array(4).fill(57 * 140));
});

Deno.test("ChunkReader.next() gives a message as soon as its last byte is there", () => {
  const reader = new ChunkReader();
  const bytes = write(message({ payload: bytesOf(300) }));
  assertEquals(pushTo(reader, bytes.slice(0, -1)), []);
  assertEquals(pushTo(reader, bytes.slice(-1)).length, 1);
});

Deno.test("ChunkReader.next() gives what comes before a fault, and goes on where it was", () => {
  const good = write(message({ payload: abc }));
  const reader = new ChunkReader();
  reader.feed(concat([good, good, good.subarray(0, 5)]));
  assertEquals(reader.next()?.payload, abc);
  reader.feed(concat([good.subarray(5), hex("c7")]));
  assertEquals(reader.next()?.payload, abc);
  assertEquals(reader.next()?.payload, abc);
  assertThrows(() => reader.next(), InvalidDataError, "chunk stream 7 starts without a header");
});

Deno.test("ChunkReader.next() gives views where messages fill a large piece", () => {
  const payloads = [bytesOf(20_000), abc];
  const bytes = concat(payloads.map((payload) => write(message({ payload }), 32_000)));
  const reader = new ChunkReader();
  pushTo(reader, hex("02 000000 000004 01 00000000 00007d00"));
  const found = pushTo(reader, bytes);
  assertEquals(found.map(({ payload }) => payload), payloads);
  for (const { payload } of found) assertStrictEquals(payload.buffer, bytes.buffer);
});

Deno.test("ChunkReader.next() gives copies where a piece is small or mostly empty", () => {
  const bytes = concat([write(message({ payload: abc })), write(message({ payload: abc }))]);
  const buffer = new Uint8Array(40_000);
  buffer.set(bytes);
  for (const piece of [bytes, buffer.subarray(0, bytes.length)]) {
    const found = read(piece);
    assertEquals(found.map(({ payload }) => payload), [abc, abc]);
    for (const { payload } of found) assertEquals(payload.buffer.byteLength, abc.length);
  }
});

Deno.test("ChunkReader.next() gives copies that share buffers once there are many", () => {
  const reader = new ChunkReader();
  const buffers = new Set<ArrayBufferLike>();
  for (let count = 0; count < 200; count++) {
    const payload = bytesOf(100).fill(count);
    const [found] = pushTo(reader, write(message({ payload })));
    assertEquals(found?.payload, payload);
    if (count >= 50 && found) buffers.add(found.payload.buffer);
  }
  assertEquals([...buffers].map(({ byteLength }) => byteLength), [8192, 16_384]);
});

Deno.test("ChunkReader.bytesReceived counts everything, whole or not", () => {
  const reader = new ChunkReader();
  pushTo(reader, hex("02 000000 000004 01 00000000 00001000"));
  pushTo(reader, hex("06 0000"));
  assertEquals(reader.bytesReceived, 19);
});

Deno.test("writeMessage() joins parts across chunks", () => {
  const payload = bytesOf(1_000);
  const expected = write(message({ payload }), 100);
  for (const cuts of [[0, 1], [99, 100], [100, 200], [333, 334], [1_000, 1_000]] as const) {
    const parts = [
      payload.subarray(0, cuts[0]),
      payload.subarray(cuts[0], cuts[1]),
      payload.subarray(cuts[1]),
    ];
    assertEquals(writeMessage({ ...message(), payload: parts }, 100), expected);
  }
});

Deno.test("writeMessage() wraps the timestamp", () => {
  const expected = write(message({ timestampMs: 5, payload: abc }));
  assertEquals(write(message({ timestampMs: 2 ** 32 + 5, payload: abc })), expected);
});

Deno.test("writeMessage() refuses what the wire can't hold", () => {
  assertThrows(() => write(message(), 0), RangeError, "chunk size is 0");
  assertThrows(() => write(message(), MAX_CHUNK_SIZE + 1), RangeError, "chunk size");
  assertThrows(() => write(message({ chunkStreamId: 1 })), RangeError, "chunk stream id is 1");
  assertThrows(() => write(message({ chunkStreamId: 65_600 })), RangeError, "id is 65600");
  assertThrows(() => write(message({ payload: new Uint8Array(1 << 24) })), RangeError, "16777216");
});

const messageArbitrary = fc.record({
  type: fc.constantFrom(3, 4, 8, 9, 15, 17, 18, 20, 22, 99),
  streamId: fc.nat(0xffff_ffff),
  timestampMs: fc.oneof(
    fc.nat(0xffff_ffff),
    fc.integer({ min: 0xff_fff0, max: 0x100_000f }),
    fc.nat(1_000),
  ),
  chunkStreamId: fc.constantFrom(2, 3, 63, 64, 319, 320, 65_599),
  payload: fc.uint8Array({ maxLength: 300 }),
});

const pieceLengths = fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 6 });

function cut(bytes: Uint8Array, lengths: readonly number[]): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += pieces.at(-1)?.length ?? 0) {
    pieces.push(bytes.slice(at, at + (lengths[pieces.length % lengths.length] ?? 1)));
  }
  return pieces;
}

Deno.test("ChunkReader.next() reads what writeMessage() writes, in any pieces", () => {
  fc.assert(
    fc.property(
      fc.array(messageArbitrary, { maxLength: 8 }),
      fc.integer({ min: 1, max: 400 }),
      pieceLengths,
      (messages, chunkSize, lengths) => {
        const setChunkSize = new ByteWriter().u32(chunkSize).finish();
        const control = message({ type: MessageType.setChunkSize, chunkStreamId: 2 });
        const bytes = concat([
          write({ ...control, payload: setChunkSize }),
          ...messages.map((value) => write(value, chunkSize)),
        ]);
        assertEquals(read(...cut(bytes, lengths)), messages);
      },
    ),
    { seed, numRuns: 300 },
  );
});

/** What a peer that saves bytes wherever it may would send; checked against the reader. */
class FrugalWriter {
  readonly #last = new Map<number, RtmpMessage & { field: number }>();

  /** The chunks of a message, with the shortest header that says what it must. */
  chunks(value: RtmpMessage, chunkSize: number): Uint8Array[] {
    const { chunkStreamId: id, type, streamId, timestampMs, payload } = value;
    const last = this.#last.get(id);
    const delta = last ? (timestampMs - last.timestampMs) >>> 0 : 0;
    const isSameKind = last?.type === type && last.payload.length === payload.length;
    let format = 0;
    if (last?.streamId === streamId && delta < 0x8000_0000) format = isSameKind ? 2 : 1;
    // A delta equal to the field before it needs none; extended fields behave otherwise.
    if (format === 2 && last?.field === delta && delta < 0xff_ffff) format = 3;
    const field = format === 0 ? timestampMs : delta;
    this.#last.set(id, { ...value, field });

    const chunks: Uint8Array[] = [];
    for (let at = 0; at === 0 || at < payload.length; at += chunkSize) {
      const writer = new ByteWriter();
      writer.u8((at === 0 ? format : 3) << 6 | id);
      if (at === 0 && format < 3) writer.u24(Math.min(field, 0xff_ffff));
      if (at === 0 && format < 2) writer.u24(payload.length).u8(type);
      if (at === 0 && format < 1) writer.u32le(streamId);
      if (field >= 0xff_ffff) writer.u32(field);
      chunks.push(writer.bytes(payload.subarray(at, at + chunkSize)).finish());
    }
    return chunks;
  }
}

Deno.test("ChunkReader.next() reads chunks of all formats that interleave", () => {
  const narrow = messageArbitrary.chain((value) =>
    fc.record({
      chunkStreamId: fc.constantFrom(3, 4, 5),
      streamId: fc.constantFrom(0, 1),
      timestampMs: fc.oneof(fc.constantFrom(0, 40, 80, 120, 160), fc.constant(value.timestampMs)),
      type: fc.constantFrom(8, 9),
    }).map((fields) => ({ ...value, ...fields }))
  );
  fc.assert(
    fc.property(
      fc.array(narrow, { maxLength: 20 }),
      fc.infiniteStream(fc.nat(2)),
      pieceLengths,
      (messages, picks, lengths) => {
        const writer = new FrugalWriter();
        const queues = new Map<number, { chunk: Uint8Array; ends?: RtmpMessage }[]>();
        for (const value of messages) {
          const queue = queues.get(value.chunkStreamId) ?? [];
          queues.set(value.chunkStreamId, queue);
          const chunks = writer.chunks(value, 128);
          for (const [index, chunk] of chunks.entries()) {
            queue.push(index === chunks.length - 1 ? { chunk, ends: value } : { chunk });
          }
        }
        const wire: Uint8Array[] = [];
        const expected: RtmpMessage[] = [];
        while (queues.size > 0) {
          const pick = picks.next().value % queues.size;
          const [id, queue] = [...queues][pick] ?? [0, []];
          const next = queue.shift();
          if (next) wire.push(next.chunk);
          if (next?.ends) expected.push(next.ends);
          if (queue.length === 0) queues.delete(id);
        }
        assertEquals(read(...cut(concat(wire), lengths)), expected);
      },
    ),
    { seed, numRuns: 500 },
  );
});

Deno.test("ChunkReader.next() throws nothing but InvalidDataError for any bytes", () => {
  const damaged = fc.tuple(
    fc.constantFrom(...cases.map(({ bytes }) => bytes)),
    fc.array(fc.tuple(fc.nat(40), fc.nat(255)), { maxLength: 3 }),
  ).map(([text, changes]) => {
    const bytes = hex(text);
    for (const [index, byte] of changes) if (index < bytes.length) bytes[index] = byte;
    return bytes;
  });
  fc.assert(
    fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 300 })), pieceLengths, (
      bytes,
      lengths,
    ) => {
      try {
        read(...cut(bytes, lengths));
      } catch (error) {
        assert(error instanceof InvalidDataError, `${error}`);
      }
    }),
    { seed, numRuns: 5_000 },
  );
});
