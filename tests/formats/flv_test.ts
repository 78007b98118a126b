import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../src/bytes.ts";
import { InvalidDataError } from "../../src/errors.ts";
import {
  FlvDemuxer,
  FlvDemuxStream,
  flvHeader,
  type FlvTag,
  flvTag,
  type FlvTagType,
  MAX_FLV_HEADER_BYTES,
  MAX_TAG_BYTES,
  TAG_AUDIO,
  TAG_SCRIPT,
  TAG_VIDEO,
} from "../../src/formats/flv.ts";
import { audioConfigBody, audioFramePrefix, parseAudioBody } from "../../src/formats/flv_audio.ts";
import {
  parseVideoBody,
  videoConfigBody,
  videoEndBody,
  videoFramePrefix,
} from "../../src/formats/flv_video.ts";

const seed = 20_241;

function hex(text: string): Uint8Array {
  return Uint8Array.fromHex(text.replaceAll(" ", ""));
}

function demux(...chunks: readonly Uint8Array[]): FlvTag[] {
  const demuxer = new FlvDemuxer();
  return chunks.flatMap((chunk) => demuxer.push(chunk));
}

const tags: readonly FlvTag[] = [
  { type: TAG_SCRIPT, timestampMs: 0, body: hex("02 0000") },
  { type: TAG_VIDEO, timestampMs: 0x123456, body: hex("17 01 000000 65") },
  { type: TAG_AUDIO, timestampMs: 0xffff_ffff, body: hex("af 01 21") },
  { type: TAG_AUDIO, timestampMs: 1, body: new Uint8Array(0) },
  { type: TAG_VIDEO, timestampMs: 0x7fff_ffff, body: new Uint8Array(300).fill(1) },
];

const file = concat([
  flvHeader({ audio: true, video: true }),
  ...tags.map(({ type, timestampMs, body }) => flvTag(type, timestampMs, [body])),
]);

Deno.test("flvHeader() says which tags there are", () => {
  assertEquals(flvHeader({ audio: false, video: false }), hex("464c5601 00 00000009 00000000"));
  assertEquals(flvHeader({ audio: true, video: false }), hex("464c5601 04 00000009 00000000"));
  assertEquals(flvHeader({ audio: false, video: true }), hex("464c5601 01 00000009 00000000"));
});

Deno.test("flvTag() joins its parts and wraps the timestamp", () => {
  const expected = hex("09 000003 345678 12 000000 010203 0000000e");
  const parts = [hex("01"), hex(""), hex("0203")];
  assertEquals(flvTag(TAG_VIDEO, 0x12345678, parts), expected);
  assertEquals(flvTag(TAG_VIDEO, 2 ** 32 + 0x12345678, parts), expected);
});

Deno.test("flvTag() takes MAX_TAG_BYTES and refuses more", () => {
  const half = new Uint8Array((MAX_TAG_BYTES - 1) / 2);
  assertEquals(flvTag(TAG_VIDEO, 0, [half, half, hex("00")]).length, MAX_TAG_BYTES + 15);
  assertThrows(() => flvTag(TAG_VIDEO, 0, [half, half, hex("0000")]), RangeError, "16777216 bytes");
});

Deno.test("FlvDemuxer.push() gives the same tags when split at any two boundaries", () => {
  for (let first = 0; first <= file.length; first++) {
    const second = first + (first * 7) % (file.length - first + 1);
    const chunks = [file.slice(0, first), file.slice(first, second), file.slice(second)];
    assertEquals(demux(...chunks), tags, `split at ${first} and ${second}`);
  }
});

Deno.test("FlvDemuxer.push() gives the same tags when bytes come one by one", () => {
  assertEquals(demux(...Array.from(file, (byte) => Uint8Array.of(byte))), tags);
});

Deno.test("FlvDemuxer.push() gives a tag as soon as its body is whole", () => {
  const demuxer = new FlvDemuxer();
  const [tag] = demuxer.push(file.subarray(0, 13 + 11 + 3));
  assertEquals(tag, tags[0]);
});

Deno.test("FlvDemuxer.push() gives views on a large chunk that fills its buffer", () => {
  const large = flvTag(TAG_VIDEO, 40, [new Uint8Array(20_000)]);
  const chunk = concat([file, large]);
  const found = demux(chunk);
  assertEquals(found.slice(0, -1), tags);
  for (const { body } of found) assertStrictEquals(body.buffer, chunk.buffer);
});

Deno.test("FlvDemuxer.push() gives copies when a chunk is small or leaves most of its buffer empty", () => {
  const buffer = new Uint8Array(40_000);
  buffer.set(file);
  for (const chunk of [file, buffer.subarray(0, file.length)]) {
    const found = demux(chunk);
    assertEquals(found, tags);
    for (const { body } of found) assertEquals(body.buffer.byteLength, body.length);
  }
});

Deno.test("FlvDemuxer.push() grows a large body as it arrives, and copies no more than it says", () => {
  const body = Uint8Array.from({ length: 300_000 }, (_, index) => index * 31);
  const tag = flvTag(TAG_VIDEO, 40, [body]);
  const chunks = [flvHeader({ audio: true, video: true })];
  for (let at = 0; at < tag.length; at += 1_460) chunks.push(tag.slice(at, at + 1_460));
  assertEquals(demux(...chunks), [{ type: TAG_VIDEO, timestampMs: 40, body }]);
});

Deno.test("FlvDemuxer.header tells the flags once they are there", () => {
  const demuxer = new FlvDemuxer();
  assertEquals(demuxer.header, undefined);
  demuxer.push(flvHeader({ audio: true, video: false }));
  assertEquals(demuxer.header, { audio: true, video: false });
});

Deno.test("FlvDemuxer.push() passes over a longer header", () => {
  const chunks = [hex("464c5601 05 0000000b ffff 00000000"), file.slice(13)];
  assertEquals(demux(...chunks), tags);
  const bytes = concat(chunks);
  assertEquals(demux(...Array.from(bytes, (byte) => Uint8Array.of(byte))), tags);
});

Deno.test("FlvDemuxer.push() passes over a wrong PreviousTagSize or stream id, not both", () => {
  const header = flvHeader({ audio: true, video: true });
  const badSize = hex("08 000001 000000 00 000000 01 00000000");
  const badStream = hex("08 000001 000000 00 000001 01 0000000c");
  assertEquals(demux(header, badSize, badSize).length, 2);
  assertEquals(demux(header, badStream, badSize).length, 2);
  assertThrows(() => demux(header, badSize, badStream), InvalidDataError, "stream id is 1");
});

Deno.test("FlvDemuxer.push() gives AMF3 script data as script data", () => {
  const tag = hex("0f 000004 000000 00 000000 00 020000 0000000f");
  const [script] = demux(flvHeader({ audio: true, video: true }), tag);
  assertEquals(script, { type: TAG_SCRIPT, timestampMs: 0, body: hex("020000") });
});

const malformedFiles: readonly { name: string; bytes: string; message: string }[] = [
  { name: "another signature", bytes: "464c57 01 05 00000009", message: "signature is 0x464c57" },
  { name: "another version", bytes: "464c56 02 05 00000009", message: "version is 2" },
  { name: "a short header", bytes: "464c56 01 05 00000008", message: "header length is 8" },
  { name: "a huge header", bytes: "464c56 01 05 ffffffff", message: "length is 4294967295" },
  {
    name: "an unknown tag type",
    bytes: "464c56 01 05 00000009 00000000 0a 000000 00000000 000000",
    message: "type is 10",
  },
  {
    name: "an encrypted tag",
    bytes: "464c56 01 05 00000009 00000000 29 000000 00000000 000000",
    message: "type is 41",
  },
];

for (const { name, bytes, message } of malformedFiles) {
  Deno.test(`FlvDemuxer.push() refuses ${name}`, () => {
    assertThrows(() => demux(hex(bytes)), InvalidDataError, message);
    const pieces = Array.from(hex(bytes), (byte) => Uint8Array.of(byte));
    assertThrows(() => demux(...pieces), InvalidDataError, message);
  });
}

Deno.test("FlvDemuxer.push() takes a header of MAX_FLV_HEADER_BYTES", () => {
  const bytes = new Uint8Array(MAX_FLV_HEADER_BYTES);
  bytes.set(hex("464c5601 05 00001000"));
  assertEquals(demux(bytes, file.subarray(9)), tags);
});

Deno.test("FlvDemuxStream drops a tag that the end cuts off and fails on garbage", async () => {
  const chunks = [file.slice(0, 30), file.slice(30, -10)];
  const stream = ReadableStream.from(chunks).pipeThrough(new FlvDemuxStream());
  assertEquals(await Array.fromAsync(stream), tags.slice(0, -1));
  const garbage = ReadableStream.from([new Uint8Array(20)]).pipeThrough(new FlvDemuxStream());
  let error: unknown;
  await Array.fromAsync(garbage).catch((reason) => error = reason);
  assert(error instanceof InvalidDataError);
});

const fixtures = ["h264_aac", "hevc_opus", "av1_mp3", "alaw"];
for (const name of fixtures) {
  const url = new URL(`../fixtures/flv/${name}.flv`, import.meta.url);

  Deno.test(`flvTag() writes ${name}.flv as FFmpeg does`, async () => {
    const bytes = await Deno.readFile(url);
    const demuxer = new FlvDemuxer();
    const found = demuxer.push(bytes);
    assert(demuxer.header);
    const written = found.map(({ type, timestampMs, body }) => flvTag(type, timestampMs, [body]));
    assertEquals(concat([flvHeader(demuxer.header), ...written]).toHex(), bytes.toHex());
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += 13) pieces.push(bytes.slice(at, at + 13));
    assertEquals(demux(...pieces), found);
  });

  Deno.test(`body writers write ${name}.flv as FFmpeg does`, async () => {
    let compared = 0;
    for (const { type, body } of demux(await Deno.readFile(url))) {
      const written = type === TAG_VIDEO ? rewriteVideo(body) : rewriteAudio(type, body);
      if (!written) continue;
      assertEquals(written.toHex(), body.toHex());
      compared++;
    }
    assert(compared > 20, `${compared} bodies compared`);
  });
}

function rewriteVideo(body: Uint8Array): Uint8Array | undefined {
  const [packet] = parseVideoBody(body);
  if (!packet) return undefined;
  const { fourcc, type, data } = packet;
  if (type === "config") return videoConfigBody(fourcc, data);
  if (type === "end") return videoEndBody(fourcc);
  return type === "frame" ? concat([videoFramePrefix(fourcc, packet), data]) : undefined;
}

function rewriteAudio(type: FlvTagType, body: Uint8Array): Uint8Array | undefined {
  const [packet] = type === TAG_AUDIO ? parseAudioBody(body) : [];
  if (!packet) return undefined;
  const { fourcc, sampleRate = 48_000, channels: numberOfChannels = 2, data } = packet;
  const format = { fourcc, sampleRate, numberOfChannels };
  if (packet.type === "config") return audioConfigBody({ ...format, description: data });
  if (packet.type !== "frame") return undefined;
  return concat([audioFramePrefix(format), data]);
}

const tagArbitrary = fc.record({
  type: fc.constantFrom<FlvTagType>(TAG_AUDIO, TAG_VIDEO, TAG_SCRIPT),
  timestampMs: fc.nat(0xffff_ffff),
  body: fc.uint8Array({ maxLength: 200 }),
});

Deno.test("FlvDemuxer.push() reads what flvTag() writes, in any pieces", () => {
  fc.assert(
    fc.property(fc.array(tagArbitrary), fc.infiniteStream(fc.integer({ min: 1, max: 90 })), (
      expected,
      lengths,
    ) => {
      const bytes = concat([
        flvHeader({ audio: true, video: true }),
        ...expected.map(({ type, timestampMs, body }) => flvTag(type, timestampMs, [body])),
      ]);
      const pieces: Uint8Array[] = [];
      for (let at = 0; at < bytes.length; at += pieces.at(-1)?.length ?? 0) {
        pieces.push(bytes.slice(at, at + lengths.next().value));
      }
      assertEquals(demux(...pieces), expected);
    }),
    { seed, numRuns: 200 },
  );
});

Deno.test("FlvDemuxer.push() throws nothing but InvalidDataError", () => {
  const files = fc.oneof(
    fc.array(fc.tuple(fc.nat(file.length - 1), fc.nat(255)), { maxLength: 5 }).map((changes) => {
      const bytes = file.slice();
      for (const [index, byte] of changes) bytes[index] = byte;
      return bytes;
    }),
    fc.uint8Array({ maxLength: 100 }).map((rest) => concat([file.subarray(0, 13), rest])),
    fc.uint8Array({ maxLength: 100 }),
  );
  fc.assert(
    fc.property(files, fc.nat(100), (bytes, at) => {
      try {
        demux(bytes.subarray(0, at), bytes.subarray(at));
      } catch (error) {
        assert(error instanceof InvalidDataError, `${error}`);
      }
    }),
    { seed, numRuns: 2_000 },
  );
});
