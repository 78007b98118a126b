import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../src/bytes.ts";
import { InvalidDataError } from "../../src/errors.ts";
import {
  buildExtension,
  extensionElements,
  type RtpExtensionElement,
} from "../../src/rtp/extension.ts";
import {
  buildRtp,
  isRtcp,
  parseRtp,
  RTP_HEADER_BYTES,
  rtpHeaderBytes,
  type RtpPacket,
  sequenceDistance,
  serializeRtp,
  writeRtpHeader,
} from "../../src/rtp/packet.ts";
import { assertWithstands } from "../support/hostile.ts";
import { fixtureNames, readRtpFixture } from "../support/rtp_fixtures.ts";

const options = { seed: 3550, numRuns: 300 };

function hex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(text.replaceAll(" ", ""));
}

function rtp(packet: Partial<RtpPacket>): RtpPacket {
  return {
    payloadType: 96,
    marker: false,
    sequence: 0x1234,
    timestamp: 0xfedcba98,
    ssrc: 0x89abcdef,
    csrcs: [],
    extension: undefined,
    payload: new Uint8Array(0),
    ...packet,
  };
}

interface PacketCase {
  readonly name: string;
  readonly bytes: string;
  readonly packet: RtpPacket;
  /** Whether the bytes are another form than ours. */
  readonly readOnly?: boolean;
}

const cases: readonly PacketCase[] = [
  {
    name: "nothing in it",
    bytes: "80 60 1234 fedcba98 89abcdef",
    packet: rtp({}),
  },
  {
    name: "a marker and a payload",
    bytes: "80 ff ffff 00000000 ffffffff 010203",
    packet: rtp({
      marker: true,
      payloadType: 127,
      sequence: 0xffff,
      timestamp: 0,
      ssrc: 0xffffffff,
      payload: hex("010203"),
    }),
  },
  {
    name: "contributing sources",
    bytes: "82 00 0000 00000001 00000002 80000003 00000004 aa",
    packet: rtp({
      payloadType: 0,
      sequence: 0,
      timestamp: 1,
      ssrc: 2,
      csrcs: [0x80000003, 4],
      payload: hex("aa"),
    }),
  },
  {
    name: "an extension",
    bytes: "90 60 1234 fedcba98 89abcdef bede0001 10ff0000 aabb",
    packet: rtp({ extension: { profile: 0xbede, data: hex("10ff0000") }, payload: hex("aabb") }),
  },
  {
    name: "an empty extension and 15 sources",
    bytes: `9f 60 1234 fedcba98 89abcdef ${"00000007".repeat(15)} abcd0000 05`,
    packet: rtp({
      csrcs: new Array(15).fill(7),
      extension: { profile: 0xabcd, data: hex("") },
      payload: hex("05"),
    }),
  },
  {
    name: "padding",
    bytes: "a0 60 1234 fedcba98 89abcdef aabb 000003",
    packet: rtp({ payload: hex("aabb") }),
    readOnly: true,
  },
  {
    name: "nothing but padding",
    bytes: "b0 60 1234 fedcba98 89abcdef abcd0000 01",
    packet: rtp({ extension: { profile: 0xabcd, data: hex("") } }),
    readOnly: true,
  },
];

for (const { name, bytes, packet, readOnly } of cases) {
  Deno.test(`parseRtp() reads a packet with ${name}`, () => {
    assertEquals(parseRtp(hex(bytes)), packet);
  });

  Deno.test(`serializeRtp() writes what parseRtp() reads when the packet has ${name}`, () => {
    const written = serializeRtp(packet);
    if (!readOnly) assertEquals(written.toHex(), bytes.replaceAll(" ", ""));
    assertEquals(parseRtp(written), packet);
  });
}

Deno.test("parseRtp() gives views, also of a view", () => {
  const outer = concat([hex("00"), hex(cases[3]?.bytes ?? "")]);
  const packet = parseRtp(outer.subarray(1));
  assertEquals(packet, cases[3]?.packet);
  assertStrictEquals(packet.payload.buffer, outer.buffer);
  assertStrictEquals(packet.extension?.data.buffer, outer.buffer);
});

const malformed = [
  { name: "version 1", bytes: "40 60 1234 fedcba98 89abcdef", text: "version is 1" },
  { name: "padding of 0", bytes: "a0 60 1234 fedcba98 89abcdef 0000", text: "padding is 0" },
  { name: "padding of nothing", bytes: "a0 60 1234 fedcba98 89abcdef", text: "padding is 0" },
  { name: "too much padding", bytes: "a0 60 1234 fedcba98 89abcdef 03", text: "padding is 3" },
  { name: "too few sources", bytes: "82 60 1234 fedcba98 89abcdef 00000001", text: "Cannot read" },
  {
    name: "a cut extension",
    bytes: "90 60 1234 fedcba98 89abcdef bede0002 00000000",
    text: "Cannot read",
  },
  { name: "a cut header", bytes: "80 60 1234 fedcba98 89abcd", text: "Cannot read" },
] as const;

for (const { name, bytes, text } of malformed) {
  Deno.test(`parseRtp() throws when the packet has ${name}`, () => {
    assertThrows(() => parseRtp(hex(bytes)), InvalidDataError, text);
  });
}

Deno.test("parseRtp() and extensionElements() throw nothing but InvalidDataError", () => {
  assertWithstands((data) => {
    const { extension } = parseRtp(data);
    if (extension) extensionElements(extension);
  }, cases.map(({ bytes }) => hex(bytes)));
  for (const profile of [0xbede, 0x1000]) {
    assertWithstands(
      (data) => extensionElements({ profile, data }),
      elementCases.map(({ data }) => hex(data)),
    );
  }
});

Deno.test("serializeRtp() throws when a field does not fit", () => {
  const csrcs = new Array(16).fill(1);
  assertThrows(() => serializeRtp(rtp({ csrcs })), RangeError, "CSRC count is 16");
  for (const length of [3, 4 * 0x1_0000]) {
    const extension = { profile: 0, data: new Uint8Array(length) };
    assertThrows(() => serializeRtp(rtp({ extension })), RangeError, `length is ${length}`);
  }
  const extension = { profile: 0, data: new Uint8Array(4 * 0xffff) };
  assertEquals(parseRtp(serializeRtp(rtp({ extension }))).extension, extension);
});

Deno.test("writeRtpHeader() writes at the start of a buffer, and only there", () => {
  for (const { packet } of cases) {
    const length = rtpHeaderBytes(packet);
    const target = new Uint8Array(length + 3).fill(0xee);
    assertEquals(writeRtpHeader(target, packet), length);
    assertEquals(target.subarray(0, length), serializeRtp(packet).subarray(0, length));
    assertEquals(target.subarray(length).toHex(), "eeeeee");
    const short = new Uint8Array(length - 1);
    assertThrows(() => writeRtpHeader(short, packet), RangeError, `the room ${length - 1}`);
    assert(short.every((byte) => byte === 0));
  }
  assertEquals(rtpHeaderBytes({ ...rtp({}), csrcs: [] }), RTP_HEADER_BYTES);
});

Deno.test("buildRtp() puts the parts of a payload together", () => {
  const { payload, ...header } = rtp({ payload: hex("0102030405") });
  const parts = [payload.subarray(0, 2), payload.subarray(2, 2), payload.subarray(2)];
  assertEquals(buildRtp(header, parts), serializeRtp({ ...header, payload }));
  assertEquals(buildRtp(header, []).length, RTP_HEADER_BYTES);
});

const u32 = fc.nat(0xffff_ffff);
const anyPacket: fc.Arbitrary<RtpPacket> = fc.record({
  payloadType: fc.nat(127),
  marker: fc.boolean(),
  sequence: fc.nat(0xffff),
  timestamp: u32,
  ssrc: u32,
  csrcs: fc.array(u32, { maxLength: 15 }),
  extension: fc.option(
    fc.record({
      profile: fc.nat(0xffff),
      data: fc.nat(8).chain((words) =>
        fc.uint8Array({ minLength: 4 * words, maxLength: 4 * words })
      ),
    }),
    { nil: undefined },
  ),
  payload: fc.uint8Array({ maxLength: 60 }),
});

Deno.test("parseRtp() gives back what serializeRtp() wrote", () => {
  fc.assert(
    fc.property(anyPacket, (packet) => {
      assertEquals(parseRtp(serializeRtp(packet)), packet);
    }),
    options,
  );
});

Deno.test("parseRtp() leaves out padding of every length", () => {
  for (let padding = 1; padding <= 255; padding++) {
    const bytes = concat([serializeRtp(rtp({ payload: hex("aabb") })), new Uint8Array(padding)]);
    bytes[0] = (bytes[0] ?? 0) | 0x20;
    bytes[bytes.length - 1] = padding;
    assertEquals(parseRtp(bytes).payload, hex("aabb"));
  }
});

for (const name of fixtureNames()) {
  Deno.test(`serializeRtp() writes the packets of ${name} as their sender did`, () => {
    const { packets } = readRtpFixture(name);
    assert(packets.length > 0);
    const [first] = packets;
    for (const [index, bytes] of packets.entries()) {
      const packet = parseRtp(bytes);
      assertEquals(serializeRtp(packet), bytes);
      assertEquals(packet.ssrc, first && parseRtp(first).ssrc);
      const start = first ? parseRtp(first).sequence : 0;
      assertEquals(packet.sequence, (start + index) & 0xffff);
    }
  });
}

Deno.test("isRtcp() tells RTCP from RTP by the packet type", () => {
  for (let type = 0; type < 256; type++) {
    assertEquals(isRtcp(Uint8Array.of(0x80, type, 0, 1)), type >= 192 && type <= 223, `${type}`);
  }
  assertEquals(isRtcp(Uint8Array.of(0x80)), false);
  assertEquals(isRtcp(new Uint8Array(0)), false);
});

Deno.test("sequenceDistance() goes the short way around", () => {
  const distances = [[5, 5], [5, 6], [6, 5], [65535, 0], [0, 65535], [0, 32767], [0, 32768]];
  assertEquals(
    distances.map(([from = 0, to = 0]) => sequenceDistance(from, to)),
    [0, 1, -1, 1, -1, 32767, -32768],
  );
});

interface ElementCase {
  readonly name: string;
  readonly profile: number;
  readonly data: string;
  readonly elements: readonly { readonly id: number; readonly data: string }[];
  /** Whether the bytes are another form than ours. */
  readonly readOnly?: boolean;
}

const elementCases: readonly ElementCase[] = [
  { name: "no elements", profile: 0xbede, data: "", elements: [] },
  {
    name: "elements of one-byte headers",
    profile: 0xbede,
    data: "10ff e2010203 0000",
    elements: [{ id: 1, data: "ff" }, { id: 14, data: "010203" }],
  },
  {
    name: "the longest element of a one-byte header",
    profile: 0xbede,
    data: `3f ${"ab".repeat(16)} 000000`,
    elements: [{ id: 3, data: "ab".repeat(16) }],
  },
  {
    name: "padding between elements of one-byte headers",
    profile: 0xbede,
    data: "00 10ff 0000 20ee 00",
    elements: [{ id: 1, data: "ff" }, { id: 2, data: "ee" }],
    readOnly: true,
  },
  {
    name: "an id of 15",
    profile: 0xbede,
    data: "10ff f0aa 20ee 0000",
    elements: [{ id: 1, data: "ff" }],
    readOnly: true,
  },
  {
    name: "padding with a length",
    profile: 0xbede,
    data: "10ff 01aa bb20 ee00",
    elements: [{ id: 1, data: "ff" }],
    readOnly: true,
  },
  {
    name: "elements of two-byte headers",
    profile: 0x1000,
    data: "0100 0f02aabb ff01cc 000000",
    elements: [{ id: 1, data: "" }, { id: 15, data: "aabb" }, { id: 255, data: "cc" }],
  },
  {
    name: "an element too long for a one-byte header",
    profile: 0x1000,
    data: `0311 ${"ab".repeat(17)} 00`,
    elements: [{ id: 3, data: "ab".repeat(17) }],
  },
  {
    name: "an id that one-byte headers reserve",
    profile: 0x1000,
    data: "0101aa 0f01bb 0000",
    elements: [{ id: 1, data: "aa" }, { id: 15, data: "bb" }],
  },
  {
    name: "padding and bits of the application",
    profile: 0x100f,
    data: "00 0101ff 00 0201ee",
    elements: [{ id: 1, data: "ff" }, { id: 2, data: "ee" }],
    readOnly: true,
  },
  { name: "another profile", profile: 0x1010, data: "0101ff00", elements: [], readOnly: true },
];

for (const { name, profile, data, elements, readOnly } of elementCases) {
  const expected = elements.map(({ id, data }) => ({ id, data: hex(data) }));
  Deno.test(`extensionElements() reads an extension with ${name}`, () => {
    assertEquals(extensionElements({ profile, data: hex(data) }), expected);
  });

  if (readOnly) continue;
  Deno.test(`buildExtension() writes an extension with ${name}`, () => {
    assertEquals(buildExtension(expected), { profile, data: hex(data) });
  });
}

Deno.test("extensionElements() throws when an element is cut short", () => {
  for (
    const [profile, data] of [[0xbede, "13ffffff"], [0x1000, "0103ffff"], [0x1000, "00000001"]]
  ) {
    const extension = { profile: Number(profile), data: hex(String(data)) };
    assertThrows(() => extensionElements(extension), InvalidDataError, "Cannot read");
  }
});

Deno.test("extensionElements() gives back what buildExtension() wrote", () => {
  const element: fc.Arbitrary<RtpExtensionElement> = fc.record({
    id: fc.oneof(fc.integer({ min: 1, max: 14 }), fc.integer({ min: 1, max: 255 })),
    data: fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 16 }),
      fc.uint8Array({ maxLength: 255 }),
    ),
  });
  fc.assert(
    fc.property(fc.array(element, { maxLength: 6 }), (elements) => {
      const extension = buildExtension(elements);
      assertEquals(extensionElements(extension), elements);
      assertEquals(parseRtp(serializeRtp(rtp({ extension }))).extension, extension);
    }),
    options,
  );
});

Deno.test("buildExtension() throws when an element does not fit", () => {
  for (const [id, length] of [[0, 1], [-1, 1], [256, 1], [1, 256]]) {
    const elements = [{ id: Number(id), data: new Uint8Array(Number(length)) }];
    assertThrows(() => buildExtension(elements), RangeError, `element ${id} has ${length} bytes`);
  }
});
