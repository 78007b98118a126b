import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../src/bytes.ts";
import { InvalidDataError } from "../../src/errors.ts";
import {
  parseVideoBody,
  videoConfigBody,
  videoEndBody,
  videoFramePrefix,
  type VideoPacket,
} from "../../src/formats/flv_video.ts";

function hex(text: string): Uint8Array {
  return Uint8Array.fromHex(text.replaceAll(" ", ""));
}

const fourccs = {
  "avc1": "61766331",
  "hvc1": "68766331",
  "av01": "61763031",
  "vp09": "76703039",
};

const data = hex("0000000165");
const dataHex = data.toHex();

function video(packet: Partial<VideoPacket> & Pick<VideoPacket, "type" | "data">): VideoPacket {
  return { fourcc: "avc1", key: false, ctsMs: 0, nanoOffset: 0, trackId: 0, ...packet };
}

interface VideoCase {
  readonly name: string;
  readonly bytes: string;
  readonly packets: readonly VideoPacket[];
  /** What the writers give for the packet, if they write this form. */
  readonly written?: () => Uint8Array;
}

function frame(fourcc: string, key: boolean, ctsMs: number): () => Uint8Array {
  return () => concat([videoFramePrefix(fourcc, { key, ctsMs }), data]);
}

const videoCases: readonly VideoCase[] = [
  { name: "nothing", bytes: "", packets: [] },
  {
    name: "an H.264 configuration",
    bytes: `17 00 000000 ${dataHex}`,
    packets: [video({ type: "config", key: true, data })],
    written: () => videoConfigBody("avc1", data),
  },
  {
    name: "an H.264 keyframe",
    bytes: `17 01 000028 ${dataHex}`,
    packets: [video({ type: "frame", key: true, ctsMs: 40, data })],
    written: frame("avc1", true, 40),
  },
  {
    name: "an H.264 frame with the largest offset",
    bytes: `27 01 7fffff ${dataHex}`,
    packets: [video({ type: "frame", ctsMs: 0x7f_ffff, data })],
    written: frame("avc1", false, 0x7f_ffff),
  },
  {
    name: "an H.264 frame with the smallest offset",
    bytes: `27 01 800000 ${dataHex}`,
    packets: [video({ type: "frame", ctsMs: -0x80_0000, data })],
    written: frame("avc1", false, -0x80_0000),
  },
  {
    name: "an H.264 keyframe made by a server",
    bytes: `47 01 ffffff ${dataHex}`,
    packets: [video({ type: "frame", key: true, ctsMs: -1, data })],
  },
  {
    name: "an H.264 end",
    bytes: "17 02 000000",
    packets: [video({ type: "end", key: true, data: hex("000000") })],
    written: () => videoEndBody("avc1"),
  },
  {
    name: "an H.264 end without time",
    bytes: "17 02",
    packets: [video({ type: "end", key: true, data: hex("") })],
  },
  { name: "an empty H.264 frame", bytes: "27 01 000000", packets: [] },
  { name: "an empty H.264 configuration", bytes: "17 00 000000", packets: [] },
  {
    name: "a classic command",
    bytes: "57 00",
    packets: [video({ type: "command", data: hex("00") })],
  },
  {
    name: "a classic H.265 frame",
    bytes: `1c 01 000028 ${dataHex}`,
    packets: [video({ fourcc: "hvc1", type: "frame", key: true, ctsMs: 40, data })],
  },
  {
    name: "a Sorenson frame",
    bytes: `22 ${dataHex}`,
    packets: [video({ fourcc: "FLV1", type: "frame", data })],
    written: frame("FLV1", false, 0),
  },
  { name: "an empty Sorenson frame", bytes: "22", packets: [] },
  {
    name: "an H.265 configuration",
    bytes: `90 ${fourccs.hvc1} ${dataHex}`,
    packets: [video({ fourcc: "hvc1", type: "config", key: true, data })],
    written: () => videoConfigBody("hvc1", data),
  },
  {
    name: "an H.265 frame with offset",
    bytes: `91 ${fourccs.hvc1} ffffd8 ${dataHex}`,
    packets: [video({ fourcc: "hvc1", type: "frame", key: true, ctsMs: -40, data })],
    written: frame("hvc1", true, -40),
  },
  {
    name: "an H.265 frame without offset",
    bytes: `a3 ${fourccs.hvc1} ${dataHex}`,
    packets: [video({ fourcc: "hvc1", type: "frame", data })],
    written: frame("hvc1", false, 0),
  },
  {
    name: "an enhanced H.264 frame",
    bytes: `91 ${fourccs.avc1} 000028 ${dataHex}`,
    packets: [video({ type: "frame", key: true, ctsMs: 40, data })],
  },
  {
    name: "an AV1 frame",
    bytes: `91 ${fourccs.av01} ${dataHex}`,
    packets: [video({ fourcc: "av01", type: "frame", key: true, data })],
    written: frame("av01", true, 0),
  },
  {
    name: "an AV1 frame whose offset can't be written",
    bytes: `a1 ${fourccs.av01} ${dataHex}`,
    packets: [video({ fourcc: "av01", type: "frame", data })],
    written: frame("av01", false, 40),
  },
  {
    name: "an AV1 descriptor of MPEG-2 TS",
    bytes: `95 ${fourccs.av01} 8004 81040cf0`,
    packets: [video({ fourcc: "av01", type: "config", key: true, data: hex("81040c10") })],
  },
  {
    name: "a VP9 end",
    bytes: `92 ${fourccs.vp09}`,
    packets: [video({ fourcc: "vp09", type: "end", key: true, data: hex("") })],
    written: () => videoEndBody("vp09"),
  },
  {
    name: "a frame of an unknown codec",
    bytes: `a1 76766331 000001 ${dataHex}`,
    packets: [video({ fourcc: "vvc1", type: "frame", ctsMs: 1, data })],
    written: frame("vvc1", false, 1),
  },
  {
    name: "a frame of a codec unheard of",
    bytes: `a1 61626364 ${dataHex}`,
    packets: [video({ fourcc: "abcd", type: "frame", data })],
    written: frame("abcd", false, 0),
  },
  {
    name: "metadata, whatever the frame type",
    bytes: `d4 ${fourccs.hvc1} ${dataHex}`,
    packets: [video({ fourcc: "hvc1", type: "metadata", data })],
  },
  {
    name: "an enhanced command",
    bytes: "d1 01",
    packets: [video({ fourcc: "", type: "command", data: hex("01") })],
  },
  {
    name: "a nanosecond offset",
    bytes: `a7 02 0f423f 01 ${fourccs.av01} ${dataHex}`,
    packets: [video({ fourcc: "av01", type: "frame", nanoOffset: 999_999, data })],
  },
  {
    name: "unknown extensions around a nanosecond offset",
    bytes: `a7 00 ff 17 02 000001 07 ff 0001 aabb 11 ${fourccs.av01} ${dataHex}`,
    packets: [video({ fourcc: "av01", type: "frame", nanoOffset: 1, data })],
  },
  {
    name: "one track",
    bytes: `96 01 ${fourccs.hvc1} 05 000028 ${dataHex}`,
    packets: [video({ fourcc: "hvc1", type: "frame", key: true, ctsMs: 40, trackId: 5, data })],
  },
  {
    name: "many tracks",
    bytes: `a6 13 ${fourccs.hvc1} 00 000001 aa 01 000002 bbcc`,
    packets: [
      video({ fourcc: "hvc1", type: "frame", data: hex("aa") }),
      video({ fourcc: "hvc1", type: "frame", trackId: 1, data: hex("bbcc") }),
    ],
  },
  {
    name: "many tracks of many codecs",
    bytes:
      `96 20 ${fourccs.avc1} 00 000001 aa ${fourccs.av01} ff 000000 ${fourccs.vp09} 02 000001 bb`,
    packets: [
      video({ type: "config", key: true, data: hex("aa") }),
      video({ fourcc: "vp09", type: "config", key: true, trackId: 2, data: hex("bb") }),
    ],
  },
];

for (const { name, bytes, packets } of videoCases) {
  Deno.test(`parseVideoBody() reads ${name}`, () => {
    const body = hex(bytes);
    const found = parseVideoBody(body);
    assertEquals(found, packets);
  });
}

for (const { name, bytes, written } of videoCases) {
  if (!written) continue;
  Deno.test(`video writers write ${name}`, () => {
    assertEquals(written().toHex(), hex(bytes).toHex());
  });
}

Deno.test("parseVideoBody() gives views on the body", () => {
  const body = hex(`17 01 000028 ${dataHex}`);
  assertStrictEquals(parseVideoBody(body)[0]?.data.buffer, body.buffer);
});

const malformed: readonly { name: string; bytes: string; message: string }[] = [
  { name: "an unknown codec id", bytes: "19 00", message: "codec id is 9" },
  { name: "a cut H.264 header", bytes: "17 01 0000", message: "Cannot read 3 bytes" },
  { name: "an unknown AVCPacketType", bytes: "17 03 000000", message: "AVCPacketType is 3" },
  { name: "a cut FourCC", bytes: "91 617663", message: "Cannot read 4 bytes" },
  { name: "a FourCC that can't be printed", bytes: "91 00000000 00", message: "0x00000000" },
  { name: "an unknown PacketType", bytes: `98 ${fourccs.av01}`, message: "PacketType is 8" },
  { name: "a cut offset", bytes: `91 ${fourccs.hvc1} 00`, message: "Cannot read 3 bytes" },
  { name: "a cut command", bytes: "57", message: "Cannot read 1 bytes" },
  { name: "a cut enhanced command", bytes: "d1", message: "Cannot read 1 bytes" },
  { name: "a cut extension", bytes: "97 05 00", message: "Cannot read 6 bytes" },
  { name: "a short nanosecond offset", bytes: "97 01 0001 01", message: "it has 2 bytes" },
  { name: "a nanosecond offset of 1 ms", bytes: "97 02 0f4240 01", message: "1000000 ns" },
  { name: "endless extensions", bytes: `97 ${"0000 17".repeat(20)}`, message: "more than 16" },
  { name: "an unknown kind of multitrack", bytes: "96 31", message: "type is 3" },
  { name: "multitrack in itself", bytes: `96 06 ${fourccs.av01} 00`, message: "PacketType is 6" },
  { name: "no tracks", bytes: `96 11 ${fourccs.av01}`, message: "Cannot read 1 bytes" },
  {
    name: "a track longer than the body",
    bytes: `96 13 ${fourccs.av01} 00 000005 aa`,
    message: "Cannot read 5 bytes",
  },
  {
    name: "too many tracks",
    bytes: `96 13 ${fourccs.av01} ${"00 000001 aa".repeat(257)}`,
    message: "more than 256",
  },
  {
    name: "a descriptor of MPEG-2 TS for another codec",
    bytes: `95 ${fourccs.hvc1} 8004 81040c10`,
    message: "codec is hvc1",
  },
  {
    name: "another descriptor of MPEG-2 TS",
    bytes: `95 ${fourccs.av01} 8003 81040c`,
    message: "its length 3",
  },
];

for (const { name, bytes, message } of malformed) {
  Deno.test(`parseVideoBody() refuses ${name}`, () => {
    assertThrows(() => parseVideoBody(hex(bytes)), InvalidDataError, message);
  });
}

Deno.test("video writers refuse what the wire can't hold", () => {
  for (const ctsMs of [0x80_0000, -0x80_0001]) {
    assertThrows(() => videoFramePrefix("avc1", { key: true, ctsMs }), RangeError, `${ctsMs} ms`);
  }
  for (const fourcc of ["", "abc", "abcde", "abc€"]) {
    assertThrows(() => videoConfigBody(fourcc, data), RangeError, "four ASCII characters");
  }
});

const damaged = fc.tuple(
  fc.constantFrom(...[...videoCases, ...malformed].map(({ bytes }) => bytes)),
  fc.array(fc.tuple(fc.nat(40), fc.nat(255)), { maxLength: 3 }),
  fc.nat(80),
).map(([text, changes, length]) => {
  const bytes = hex(text);
  for (const [index, byte] of changes) if (index < bytes.length) bytes[index] = byte;
  return bytes.subarray(0, length);
});

Deno.test("parseVideoBody() throws nothing but InvalidDataError for any bytes", () => {
  fc.assert(
    fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 60 })), (body) => {
      try {
        parseVideoBody(body);
      } catch (error) {
        assert(error instanceof InvalidDataError, `${error}`);
      }
    }),
    { seed: 20242, numRuns: 5_000 },
  );
});
