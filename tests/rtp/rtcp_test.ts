import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../src/bytes.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { ntpFromUnixUs, ntpMiddle, unixUsFromNtp } from "../../src/rtp/ntp.ts";
import {
  MAX_COMPOUND_PACKETS,
  MAX_NACK_ENTRIES,
  parseRtcp,
  type ReportBlock,
  type RtcpPacket,
  SdesType,
  serializeRtcp,
} from "../../src/rtp/rtcp.ts";
import { assertWithstands } from "../support/hostile.ts";
import { fixtureNames, readRtpFixture } from "../support/rtp_fixtures.ts";

const options = { seed: 4585, numRuns: 300 };

function hex(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(text.replaceAll(" ", ""));
}

function ascii(text: string): string {
  return new TextEncoder().encode(text).toHex();
}

const blockHex = "0000000a 40 fffffe 00020005 00000007 12345678 00010000";
const block: ReportBlock = {
  ssrc: 10,
  fractionLost: 64,
  lost: -2,
  highestSequence: 0x2_0005,
  jitter: 7,
  lastReport: 0x12345678,
  sinceLastReport: 65_536,
};
const worstHex = "ffffffff ff 7fffff ffffffff ffffffff ffffffff ffffffff";
const worst: ReportBlock = {
  ssrc: 0xffffffff,
  fractionLost: 255,
  lost: 0x7fffff,
  highestSequence: 0xffffffff,
  jitter: 0xffffffff,
  lastReport: 0xffffffff,
  sinceLastReport: 0xffffffff,
};

interface RtcpCase {
  readonly name: string;
  readonly bytes: string;
  readonly packets: readonly RtcpPacket[];
  /** Whether the bytes are another form than ours. */
  readonly readOnly?: boolean;
}

const senderInfoHex = "89abcdef e8d4a510 80000000 fedcba98 00000064 ffffffff";
const senderInfo = {
  type: "sr",
  ssrc: 0x89abcdef,
  ntp: { seconds: 0xe8d4a510, fraction: 0x80000000 },
  rtpTimestamp: 0xfedcba98,
  packets: 100,
  octets: 0xffffffff,
} as const;

const cases: readonly RtcpCase[] = [
  {
    name: "a sender report without blocks",
    bytes: `80 c8 0006 ${senderInfoHex}`,
    packets: [{ ...senderInfo, reports: [] }],
  },
  {
    name: "a sender report with two blocks",
    bytes: `82 c8 0012 ${senderInfoHex} ${blockHex} ${worstHex}`,
    packets: [{ ...senderInfo, reports: [block, worst] }],
  },
  {
    name: "a sender report with an extension of its profile",
    bytes: `81 c8 000e ${senderInfoHex} ${blockHex} 01020304 05060708`,
    packets: [{ ...senderInfo, reports: [block] }],
    readOnly: true,
  },
  {
    name: "an empty receiver report",
    bytes: "80 c9 0001 00000001",
    packets: [{ type: "rr", ssrc: 1, reports: [] }],
  },
  {
    name: "a receiver report with a block",
    bytes: `81 c9 0007 00000001 ${blockHex}`,
    packets: [{ type: "rr", ssrc: 1, reports: [block] }],
  },
  {
    name: "a description of one source",
    bytes: `81 ca 0004 00000001 01 07 ${ascii("a@b.com")} 000000`,
    packets: [{
      type: "sdes",
      chunks: [{ ssrc: 1, items: [{ type: SdesType.cname, text: "a@b.com" }] }],
    }],
  },
  {
    name: "all items, of two sources",
    bytes: `82 ca 000c 00000001 0101${ascii("c")} 0201${ascii("n")} 0301${ascii("e")} 0400 0503${
      ascii("lä")
    } 0601${ascii("t")} 0701${ascii("m")} 0804 01${ascii("pv")}${ascii("w")} 0f02${
      ascii("mi")
    } 00000000 00000002 00000000`,
    packets: [{
      type: "sdes",
      chunks: [{
        ssrc: 1,
        items: [
          { type: SdesType.cname, text: "c" },
          { type: SdesType.name, text: "n" },
          { type: SdesType.email, text: "e" },
          { type: SdesType.phone, text: "" },
          { type: SdesType.loc, text: "lä" },
          { type: SdesType.tool, text: "t" },
          { type: SdesType.note, text: "m" },
          { type: SdesType.priv, text: "vw", prefix: "p" },
          { type: 15, text: "mi" },
        ],
      }, { ssrc: 2, items: [] }],
    }],
  },
  {
    name: "a description without sources",
    bytes: "80 ca 0000",
    packets: [{ type: "sdes", chunks: [] }],
  },
  {
    name: "a description without the zero at its end",
    bytes: `81 ca 0002 00000001 0102${ascii("ab")}`,
    packets: [{ type: "sdes", chunks: [{ ssrc: 1, items: [{ type: 1, text: "ab" }] }] }],
    readOnly: true,
  },
  {
    name: "a description with text that is no UTF-8",
    bytes: `81 ca 0003 00000001 0102 61ff 00000000`,
    packets: [{ type: "sdes", chunks: [{ ssrc: 1, items: [{ type: 1, text: "a\ufffd" }] }] }],
    readOnly: true,
  },
  {
    name: "a goodbye",
    bytes: "82 cb 0002 00000001 80000002",
    packets: [{ type: "bye", ssrcs: [1, 0x80000002] }],
  },
  {
    name: "a goodbye with a reason",
    bytes: `81 cb 0003 00000001 05${ascii("error")} 0000`,
    packets: [{ type: "bye", ssrcs: [1], reason: "error" }],
  },
  {
    name: "a goodbye with a reason that fills its words",
    bytes: `80 cb 0001 03${ascii("end")}`,
    packets: [{ type: "bye", ssrcs: [], reason: "end" }],
  },
  {
    name: "a goodbye with an empty reason",
    bytes: "80 cb 0001 00000000",
    packets: [{ type: "bye", ssrcs: [], reason: "" }],
  },
  {
    name: "a request for one packet",
    bytes: "81 cd 0003 00000001 00000002 ffff 0000",
    packets: [{ type: "nack", senderSsrc: 1, mediaSsrc: 2, sequences: [0xffff] }],
  },
  {
    name: "a request for packets in several entries",
    bytes: "81 cd 0005 00000001 00000002 fffe 8005 000f 0000 0100 0001",
    packets: [{
      type: "nack",
      senderSsrc: 1,
      mediaSsrc: 2,
      sequences: [0xfffe, 0xffff, 1, 14, 15, 0x100, 0x101],
    }],
  },
  {
    name: "a request for packets in entries out of order",
    bytes: "81 cd 0004 00000001 00000002 0005 0000 0003 0000",
    packets: [{ type: "nack", senderSsrc: 1, mediaSsrc: 2, sequences: [5, 3] }],
  },
  {
    name: "a request for one packet twice",
    bytes: "81 cd 0004 00000001 00000002 0005 0000 0005 0000",
    packets: [{ type: "nack", senderSsrc: 1, mediaSsrc: 2, sequences: [5, 5] }],
  },
  {
    name: "a picture loss",
    bytes: "81 ce 0002 00000001 80000002",
    packets: [{ type: "pli", senderSsrc: 1, mediaSsrc: 0x80000002 }],
  },
  {
    name: "a full intra request",
    bytes: "84 ce 0006 00000001 00000000 00000002 ff000000 80000003 00000000",
    packets: [{
      type: "fir",
      senderSsrc: 1,
      requests: [{ ssrc: 2, sequence: 255 }, { ssrc: 0x80000003, sequence: 0 }],
    }],
  },
  {
    name: "application data",
    bytes: `83 cc 0003 00000001 ${ascii("name")} 01020304`,
    packets: [{
      type: "unknown",
      packetType: 204,
      count: 3,
      body: hex(`00000001 ${ascii("name")} 01020304`),
    }],
  },
  {
    name: "feedback of other kinds",
    bytes: "8f cd 0002 00000001 00000002 8f ce 0002 00000001 00000000 80 cf 0000",
    packets: [
      { type: "unknown", packetType: 205, count: 15, body: hex("00000001 00000002") },
      { type: "unknown", packetType: 206, count: 15, body: hex("00000001 00000000") },
      { type: "unknown", packetType: 207, count: 0, body: hex("") },
    ],
  },
  {
    name: "a compound of three",
    bytes: `81 c9 0007 00000001 ${blockHex} 81 ca 0002 00000001 010161 00 81 cb 0001 00000001`,
    packets: [
      { type: "rr", ssrc: 1, reports: [block] },
      { type: "sdes", chunks: [{ ssrc: 1, items: [{ type: 1, text: "a" }] }] },
      { type: "bye", ssrcs: [1] },
    ],
  },
  {
    name: "a compound of a GStreamer sender",
    bytes: "80c80006de4e5299eeadb55175e00d1b97ded72d00000001000000fd" +
      "81ca0005de4e5299010663616d6572610604746573740000",
    packets: [
      {
        type: "sr",
        ssrc: 0xde4e5299,
        ntp: { seconds: 0xeeadb551, fraction: 0x75e00d1b },
        rtpTimestamp: 0x97ded72d,
        packets: 1,
        octets: 253,
        reports: [],
      },
      {
        type: "sdes",
        chunks: [{
          ssrc: 0xde4e5299,
          items: [
            { type: SdesType.cname, text: "camera" },
            { type: SdesType.tool, text: "test" },
          ],
        }],
      },
    ],
  },
  {
    name: "a compound of a GStreamer receiver",
    bytes: "81c90007c44562fbde4e529900000000ffffffff00000000b55175e000028c9f" +
      "81ca0005c44562fb010676696577657207026f6b00000000",
    packets: [
      {
        type: "rr",
        ssrc: 0xc44562fb,
        reports: [{
          ssrc: 0xde4e5299,
          fractionLost: 0,
          lost: 0,
          highestSequence: 0xffffffff,
          jitter: 0,
          lastReport: ntpMiddle({ seconds: 0xeeadb551, fraction: 0x75e00d1b }),
          sinceLastReport: 0x28c9f,
        }],
      },
      {
        type: "sdes",
        chunks: [{
          ssrc: 0xc44562fb,
          items: [
            { type: SdesType.cname, text: "viewer" },
            { type: SdesType.note, text: "ok" },
          ],
        }],
      },
    ],
  },
  {
    name: "padding",
    bytes: "80 c9 0001 00000001 a1 ce 0004 00000001 00000002 00000000 00000008",
    packets: [
      { type: "rr", ssrc: 1, reports: [] },
      { type: "pli", senderSsrc: 1, mediaSsrc: 2 },
    ],
    readOnly: true,
  },
];

for (const { name, bytes, packets, readOnly } of cases) {
  Deno.test(`parseRtcp() reads ${name}`, () => {
    assertEquals(parseRtcp(hex(bytes)), packets);
  });

  Deno.test(`serializeRtcp() writes ${name}`, () => {
    const written = serializeRtcp(packets);
    if (!readOnly) assertEquals(written.toHex(), bytes.replaceAll(" ", ""));
    else if (!name.includes("UTF-8")) assertEquals(parseRtcp(written), packets);
  });
}

const malformed = [
  { name: "nothing", bytes: "", text: "Cannot read" },
  { name: "version 1", bytes: "40 c9 0001 00000001", text: "version is 1" },
  { name: "a length past the end", bytes: "80 c9 0002 00000001", text: "Cannot read" },
  { name: "bytes behind it", bytes: "80 c9 0001 00000001 80", text: "Cannot read" },
  { name: "more blocks than there are", bytes: "81 c9 0001 00000001", text: "Cannot read" },
  { name: "no source", bytes: "80 c9 0000", text: "Cannot read" },
  { name: "half a sender report", bytes: "80 c8 0002 00000001 00000002", text: "Cannot read" },
  { name: "more chunks than there are", bytes: "81 ca 0000", text: "Cannot read" },
  { name: "an item past its end", bytes: "81 ca 0002 00000001 01056100", text: "Cannot read" },
  { name: "a prefix past its end", bytes: "81 ca 0002 00000001 08020261", text: "Cannot read" },
  { name: "a reason past its end", bytes: "80 cb 0001 04616263", text: "Cannot read" },
  { name: "half a request", bytes: "81 cd 0001 00000001", text: "Cannot read" },
  { name: "half a picture loss", bytes: "81 ce 0001 00000001", text: "Cannot read" },
  {
    name: "half a full intra request",
    bytes: "84 ce 0003 00000001 00000000 00000002",
    text: "Cannot read",
  },
  { name: "padding of 0", bytes: "a0 c9 0002 00000001 00000000", text: "padding is 0" },
  { name: "padding of half a word", bytes: "a0 c9 0002 00000001 00000002", text: "padding is 2" },
  { name: "too much padding", bytes: "a0 c9 0001 00000008", text: "padding is 8" },
  { name: "padding of nothing", bytes: "a0 ca 0000", text: "padding is 0" },
] as const;

for (const { name, bytes, text } of malformed) {
  Deno.test(`parseRtcp() throws when the packet has ${name}`, () => {
    assertThrows(() => parseRtcp(hex(bytes)), InvalidDataError, text);
  });
}

Deno.test("parseRtcp() throws nothing but InvalidDataError", () => {
  assertWithstands(parseRtcp, cases.map(({ bytes }) => hex(bytes)));
});

Deno.test("parseRtcp() gives unknown packets as views", () => {
  const bytes = hex("80 cf 0001 00000001");
  const [packet] = parseRtcp(bytes);
  assert(packet?.type === "unknown");
  assertStrictEquals(packet.body.buffer, bytes.buffer);
});

Deno.test("parseRtcp() throws when there are too many packets", () => {
  const packet = hex("80 cf 0000");
  const compound = new Array(MAX_COMPOUND_PACKETS).fill(packet);
  assertEquals(parseRtcp(concat(compound)).length, MAX_COMPOUND_PACKETS);
  assertThrows(() => parseRtcp(concat([...compound, packet])), InvalidDataError, "packets is over");
});

Deno.test("parseRtcp() throws when a request has too many entries", () => {
  const sequences = Array.from({ length: MAX_NACK_ENTRIES }, (_, index) => 17 * index);
  const nack = { type: "nack", senderSsrc: 1, mediaSsrc: 2 } as const;
  assertEquals(parseRtcp(serializeRtcp([{ ...nack, sequences }])), [{ ...nack, sequences }]);
  sequences.push(17 * MAX_NACK_ENTRIES);
  const bytes = serializeRtcp([{ ...nack, sequences }]);
  assertThrows(() => parseRtcp(bytes), InvalidDataError, "entries is over");
});

const tooLarge: readonly { readonly name: string; readonly packet: RtcpPacket }[] = [
  { name: "32 blocks", packet: { type: "rr", ssrc: 1, reports: new Array(32).fill(block) } },
  { name: "32 sources", packet: { type: "bye", ssrcs: new Array(32).fill(1) } },
  { name: "a reason of 256 bytes", packet: { type: "bye", ssrcs: [], reason: "é".repeat(128) } },
  {
    name: "a prefix and text of 256 bytes",
    packet: {
      type: "sdes",
      chunks: [{ ssrc: 1, items: [{ type: 8, text: "a".repeat(155), prefix: "b".repeat(100) }] }],
    },
  },
  {
    name: "half a word",
    packet: { type: "unknown", packetType: 204, count: 0, body: new Uint8Array(6) },
  },
  {
    name: "a body of 256 KiB",
    packet: { type: "unknown", packetType: 204, count: 0, body: new Uint8Array(4 * 0x1_0000) },
  },
];

for (const { name, packet } of tooLarge) {
  Deno.test(`serializeRtcp() throws when a packet has ${name}`, () => {
    assertThrows(() => serializeRtcp([packet]), RangeError, "Cannot write RTCP");
  });
}

Deno.test("serializeRtcp() writes the longest texts and most blocks", () => {
  const packets: RtcpPacket[] = [
    { type: "rr", ssrc: 1, reports: new Array(31).fill(worst) },
    { type: "bye", ssrcs: new Array(31).fill(1), reason: "a".repeat(255) },
    {
      type: "sdes",
      chunks: [{ ssrc: 1, items: [{ type: 8, text: "a".repeat(154), prefix: "b".repeat(100) }] }],
    },
  ];
  assertEquals(parseRtcp(serializeRtcp(packets)), packets);
});

Deno.test("serializeRtcp() writes descriptions of every length as they are read", () => {
  for (let length = 0; length < 9; length++) {
    const chunk = { ssrc: 7, items: [{ type: SdesType.cname, text: "x".repeat(length) }] };
    const packets: RtcpPacket[] = [{ type: "sdes", chunks: [chunk, chunk] }];
    assertEquals(parseRtcp(serializeRtcp(packets)), packets);
  }
});

Deno.test("serializeRtcp() gives an empty prefix to a private item without one", () => {
  const item = { type: SdesType.priv, text: "v" };
  const written = serializeRtcp([{ type: "sdes", chunks: [{ ssrc: 1, items: [item] }] }]);
  const chunks = [{ ssrc: 1, items: [{ ...item, prefix: "" }] }];
  assertEquals(parseRtcp(written), [{ type: "sdes", chunks }]);
});

Deno.test("serializeRtcp() asks for exactly the packets of a request, in few entries", () => {
  const sequences = fc.tuple(fc.nat(0xffff), fc.array(fc.integer({ min: 1, max: 40 })))
    .map(([start, steps]) => {
      const list = [start];
      for (const step of steps) list.push(((list.at(-1) ?? 0) + step) & 0xffff);
      return list;
    });
  fc.assert(
    fc.property(sequences, (sequences) => {
      const nack = { type: "nack", senderSsrc: 1, mediaSsrc: 2, sequences } as const;
      const bytes = serializeRtcp([nack]);
      assertEquals(parseRtcp(bytes), [nack]);
      let entries = 0;
      let end = -1;
      let position = 0;
      for (const [index, sequence] of sequences.entries()) {
        position += index === 0 ? 0 : (sequence - (sequences[index - 1] ?? 0)) & 0xffff;
        if (position <= end) continue;
        entries++;
        end = position + 16;
      }
      assertEquals(bytes.length, 12 + 4 * entries);
    }),
    options,
  );
});

for (const name of fixtureNames().filter((name) => readRtpFixture(name).rtcp.length > 0)) {
  Deno.test(`serializeRtcp() writes the reports of ${name} as their sender did`, () => {
    const { rtcp } = readRtpFixture(name);
    const types = new Set<string>();
    for (const bytes of rtcp) {
      const packets = parseRtcp(bytes);
      for (const { type } of packets) types.add(type);
      assertEquals(serializeRtcp(packets), bytes);
    }
    assert(types.has("sr"));
    assert(!types.has("unknown"));
  });
}

const moments = [
  { name: "1970", us: 0, ntp: { seconds: 2_208_988_800, fraction: 0 } },
  { name: "half a second", us: 500_000, ntp: { seconds: 2_208_988_800, fraction: 2 ** 31 } },
  { name: "one µs", us: 1, ntp: { seconds: 2_208_988_800, fraction: 4295 } },
  {
    name: "2026",
    us: 1_767_225_600_000_000,
    ntp: { seconds: 3_976_214_400, fraction: 0 },
  },
  {
    name: "the last µs before the wrap-around",
    us: 2_085_978_495_999_999,
    ntp: { seconds: 2 ** 32 - 1, fraction: 4_294_963_001 },
  },
  {
    name: "the wrap-around",
    us: 2_085_978_496_000_000,
    ntp: { seconds: 0, fraction: 0 },
  },
] as const;

for (const { name, us, ntp } of moments) {
  Deno.test(`ntpFromUnixUs() and unixUsFromNtp() convert ${name}`, () => {
    assertEquals(ntpFromUnixUs(us), ntp);
    assertEquals(unixUsFromNtp(ntp), us);
  });
}

Deno.test("unixUsFromNtp() gives back the µs that ntpFromUnixUs() took", () => {
  // Up to 2104, where the second era's middle is.
  const us = fc.maxSafeNat().map((value) => value % 4_233_462_144_000_000);
  fc.assert(
    fc.property(us, (us) => {
      const ntp = ntpFromUnixUs(us);
      assertEquals(unixUsFromNtp(ntp), us);
      assert(ntp.fraction < 2 ** 32 && ntp.seconds < 2 ** 32);
    }),
    options,
  );
});

Deno.test("ntpFromUnixUs() rounds parts of a µs, over the second too", () => {
  assertEquals(ntpFromUnixUs(999_999.7), ntpFromUnixUs(1_000_000));
  assertEquals(ntpFromUnixUs(10.4), ntpFromUnixUs(10));
});

Deno.test("ntpMiddle() takes the low half of the seconds and the high half of the fraction", () => {
  assertEquals(ntpMiddle({ seconds: 0x1234_89ab, fraction: 0xcdef_5678 }), 0x89ab_cdef);
});
