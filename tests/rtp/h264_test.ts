import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../src/bytes.ts";
import type { VideoConfig } from "../../src/codecs/config.ts";
import { h264Config, serializeAvcC } from "../../src/codecs/h264.ts";
import { joinLengthPrefixed, splitAnnexB } from "../../src/codecs/nal.ts";
import { InvalidDataError } from "../../src/errors.ts";
import type { RtpFormat } from "../../src/rtp/format.ts";
import { H264Depacketizer, H264Packetizer } from "../../src/rtp/h264.ts";
import type { RtpPacket } from "../../src/rtp/packet.ts";
import type { RtpPayload } from "../../src/rtp/payload.ts";
import { readFixture } from "../support/codec_fixtures.ts";
import {
  assertAsExpected,
  assertNeverWrong,
  assertWithstandsPackets,
  formatWith,
  opened,
  packetsOf,
  plain,
  run,
  type Sent,
} from "../support/nal_packets.ts";
import { fixtureNames, readRtpFixture } from "../support/rtp_fixtures.ts";

const fixtures = fixtureNames().filter((name) => name.includes("h264")).map(readRtpFixture);
const idr = [0x65, 0x88, 1];
const slice = [0x41, 0x9a, 2];
const mode1 = formatWith("H264", { "packetization-mode": "1" });

function make(format: RtpFormat): H264Depacketizer {
  return new H264Depacketizer(format);
}

function interleaved(depth: number, more: Record<string, string> = {}): RtpFormat {
  const parameters = { "packetization-mode": "2", "sprop-interleaving-depth": `${depth}`, ...more };
  return formatWith("H264", parameters);
}

for (const fixture of fixtures) {
  Deno.test(`H264Depacketizer.push() gives the frames of ${fixture.name}`, () => {
    assertAsExpected(fixture, make);
  });

  Deno.test(`H264Depacketizer.lose() lets no wrong frame of ${fixture.name} out`, () => {
    assertNeverWrong(opened(fixture), make);
  });

  Deno.test(`H264Packetizer.packetize() sends what H264Depacketizer.push() reads of ${fixture.name}`, () => {
    const { packets, format } = opened(fixture);
    const units = run(make(format), packets);
    const config = { ...configOf(), description: new Uint8Array() };
    for (const maxPayloadBytes of [100, 1200, 60_000]) {
      const packetizer = new H264Packetizer({ maxPayloadBytes });
      const sent = units.flatMap(({ timestamp, parts }): Sent[] =>
        packetizer.packetize({ key: false, config, data: joinLengthPrefixed(parts) })
          .map((payload) => ({ ...toSent(payload), timestamp }))
      );
      assert(sent.every(({ payload }) => payload.length <= maxPayloadBytes));
      assertEquals(plain(run(make(mode1), packetsOf(sent))), plain(units));
    }
  });
}

function toSent({ parts, marker }: RtpPayload): { payload: Uint8Array; marker: boolean } {
  return { payload: concat(parts), marker };
}

/** The configuration of a stream that an encoder made. */
function configOf(): VideoConfig {
  const nalus = splitAnnexB(readFixture("h264_high_854x480").extradata);
  const ofType = (type: number) => nalus.filter((nalu) => ((nalu[0] ?? 0) & 31) === type);
  return h264Config({ sps: ofType(7), pps: ofType(8) });
}

/** NAL units and their payloads of 16 bytes at most. */
const payloads = [
  { name: "a NAL unit as it is", nalus: [[0x65, 0x88, 1]], sent: [[0x65, 0x88, 1]] },
  {
    name: "slices one by one",
    nalus: [[0x41, 0x9a], [0x41, 0x42]],
    sent: [[0x41, 0x9a], [0x41, 0x42]],
  },
  {
    name: "sets and SEI as a STAP-A of the highest nal_ref_idc",
    nalus: [[0x27, 1], [0x68, 2], [0x06, 3], [0x65, 0x88]],
    sent: [[0x78, 0, 2, 0x27, 1, 0, 2, 0x68, 2, 0, 2, 0x06, 3], [0x65, 0x88]],
  },
  {
    name: "a delimiter alone",
    nalus: [[9, 0xf0], [0x41, 0x9a]],
    sent: [[9, 0xf0], [0x41, 0x9a]],
  },
  {
    name: "a STAP-A that is full, and the next",
    nalus: [[9, 0xf0], [0x67, 1, 2, 3, 4, 5, 6, 7, 8], [0x68, 1], [6, 1], [0x65, 0x88]],
    sent: [
      [0x78, 0, 2, 9, 0xf0, 0, 9, 0x67, 1, 2, 3, 4, 5, 6, 7, 8],
      [0x78, 0, 2, 0x68, 1, 0, 2, 6, 1],
      [0x65, 0x88],
    ],
  },
  {
    name: "a set that fits only by itself",
    nalus: [[9, 0xf0], [0x67, ...Array(14).fill(1)], [0x65, 0x88]],
    sent: [[9, 0xf0], [0x67, ...Array(14).fill(1)], [0x65, 0x88]],
  },
  {
    name: "a NAL unit of the whole size",
    nalus: [[0x65, 0x88, ...Array(14).fill(1)]],
    sent: [[0x65, 0x88, ...Array(14).fill(1)]],
  },
  {
    name: "a larger NAL unit in two FU-A",
    nalus: [[0x65, 0x88, ...Array(14).fill(1), 2]],
    sent: [[0x7c, 0x85, 0x88, ...Array(13).fill(1)], [0x7c, 0x45, 1, 2]],
  },
  {
    name: "a large set and NAL unit in three FU-A each",
    nalus: [[0x67, ...Array(42).fill(1)], [0x25, 0x88, ...Array(29).fill(1)]],
    sent: [
      [0x7c, 0x87, ...Array(14).fill(1)],
      [0x7c, 0x07, ...Array(14).fill(1)],
      [0x7c, 0x47, ...Array(14).fill(1)],
      [0x3c, 0x85, 0x88, ...Array(13).fill(1)],
      [0x3c, 0x05, ...Array(14).fill(1)],
      [0x3c, 0x45, 1, 1],
    ],
  },
];

for (const { name, nalus, sent } of payloads) {
  Deno.test(`H264Packetizer.packetize() sends ${name}`, () => {
    const data = joinLengthPrefixed(nalus.map((nalu) => Uint8Array.from(nalu)));
    const packetizer = new H264Packetizer({ maxPayloadBytes: 16 });
    const found = packetizer.packetize({ key: true, config: noSets(), data });
    assertEquals(found.map(({ parts }) => Array.from(concat(parts))), sent);
    assertEquals(found.map(({ marker }) => marker), sent.map((_, at) => at === sent.length - 1));
  });

  Deno.test(`H264Depacketizer.push() reads ${name}`, () => {
    const packets = packetsOf(
      sent.map((payload, at) => ({ payload, marker: at === sent.length - 1 })),
    );
    assertEquals(plain(run(make(mode1), packets)), [{ timestamp: 0, parts: nalus }]);
  });
}

function noSets(): VideoConfig {
  return { ...configOf(), fourcc: "none" };
}

Deno.test("H264Packetizer.packetize() puts the configuration's sets before a keyframe without any", () => {
  const config = configOf();
  const packetizer = new H264Packetizer({ maxPayloadBytes: 1200 });
  const [sps, pps] = splitAnnexB(readFixture("h264_high_854x480").extradata);
  const idr = [0x65, 0x88];
  const send = (key: boolean, ...nalus: number[][]) => {
    const data = joinLengthPrefixed(nalus.map((nalu) => Uint8Array.from(nalu)));
    const sent = packetizer.packetize({ key, config, data }).map(toSent);
    return plain(run(make(mode1), packetsOf(sent)))[0]?.parts;
  };
  const sets = [Array.from(sps ?? []), Array.from(pps ?? [])];
  assertEquals(send(true, idr), [...sets, idr]);
  assertEquals(send(true, [9, 0x10], [6, 5], idr), [[9, 0x10], ...sets, [6, 5], idr]);
  assertEquals(send(true, [0x67, 1], [0x68, 2], idr), [[0x67, 1], [0x68, 2], idr]);
  assertEquals(send(false, [0x41, 0x9a]), [[0x41, 0x9a]]);
  assertEquals(packetizer.packetize({ key: true, config, data: new Uint8Array() }).length, 1);
  assertEquals(packetizer.packetize({ key: false, config, data: new Uint8Array() }), []);
});

Deno.test("H264Packetizer.packetize() sends an SPS extension behind its SPS", () => {
  const [sps = new Uint8Array(), pps = new Uint8Array()] = splitAnnexB(
    readFixture("h264_high_854x480").extradata,
  );
  const spsExtension = [Uint8Array.of(0x6d, 1)];
  const description = serializeAvcC({ sps: [sps], pps: [pps], lengthSize: 4, spsExtension });
  const packetizer = new H264Packetizer({ maxPayloadBytes: 1200 });
  const data = joinLengthPrefixed([Uint8Array.from(idr)]);
  const config = { ...configOf(), description };
  const sent = packetizer.packetize({ key: true, config, data }).map(toSent);
  const [unit] = run(make(mode1), packetsOf(sent));
  assertEquals(unit?.parts.map((part) => (part[0] ?? 0) & 31), [7, 13, 8, 5]);
});

Deno.test("H264Packetizer.packetize() follows a new configuration", () => {
  const packetizer = new H264Packetizer({ maxPayloadBytes: 1200 });
  const data = joinLengthPrefixed([Uint8Array.of(0x65, 0x88)]);
  const count = (config: VideoConfig) => packetizer.packetize({ key: true, config, data }).length;
  assertEquals([configOf(), noSets(), configOf()].map(count), [2, 1, 2]);
  assertThrows(
    () =>
      packetizer.packetize({
        key: true,
        config: { ...configOf(), description: new Uint8Array(3) },
        data,
      }),
    InvalidDataError,
  );
});

Deno.test("H264Packetizer.packetize() gives views on the frame", () => {
  const data = joinLengthPrefixed([new Uint8Array(3000).fill(0x65)]);
  const packetizer = new H264Packetizer({ maxPayloadBytes: 1000 });
  const found = packetizer.packetize({ key: false, config: configOf(), data });
  assertEquals(found.length, 4);
  for (const { parts } of found) assertStrictEquals(parts.at(-1)?.buffer, data.buffer);
});

Deno.test("H264Packetizer.packetize() leaves out NAL units of types that packets have", () => {
  const data = joinLengthPrefixed([0, 24, 28, 31, 0x41].map((type) => Uint8Array.of(type, 0x80)));
  const packetizer = new H264Packetizer({ maxPayloadBytes: 1000 });
  const found = packetizer.packetize({ key: false, config: configOf(), data });
  assertEquals(found.map(({ parts }) => Array.from(concat(parts))), [[0x41, 0x80]]);
});

Deno.test("H264Packetizer.packetize() aggregates no NAL unit whose length has over 16 bits", () => {
  const sei = new Uint8Array(65_536).fill(6);
  const data = joinLengthPrefixed([sei.subarray(1), sei.subarray(1), sei, sei]);
  const packetizer = new H264Packetizer({ maxPayloadBytes: 200_000 });
  const found = packetizer.packetize({ key: false, config: configOf(), data });
  assertEquals(found.map(({ parts }) => parts.length), [5, 1, 1]);
});

Deno.test("H264Packetizer() throws when the payload size is too small", () => {
  for (const maxPayloadBytes of [15, 0, -1, NaN, 100.5]) {
    assertThrows(() => new H264Packetizer({ maxPayloadBytes }), RangeError);
  }
});

Deno.test("H264Depacketizer.push() gives what H264Packetizer.packetize() was given", () => {
  const nalu = fc.tuple(
    fc.constantFrom(1, 5, 6, 7, 8, 9, 12, 20),
    fc.integer({ min: 0, max: 3 }),
    fc.oneof(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 0, max: 9000 })),
  ).map(([type, nri, length]) => {
    const bytes = Uint8Array.from({ length: length + 1 }, (_, at) => at * 7);
    return bytes.fill(nri << 5 | type, 0, 1);
  });
  const property = fc.property(
    fc.array(fc.array(nalu, { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 6 }),
    fc.integer({ min: 16, max: 3000 }),
    (frames, maxPayloadBytes) => {
      const packetizer = new H264Packetizer({ maxPayloadBytes });
      const units = frames.map((nalus, timestamp) => ({
        timestamp,
        parts: [Uint8Array.of(9, 0x10), Uint8Array.from(idr), ...nalus],
      }));
      const sent = units.flatMap(({ timestamp, parts }) =>
        packetizer.packetize({ key: true, config: noSets(), data: joinLengthPrefixed(parts) })
          .map((payload): Sent => ({ ...toSent(payload), timestamp }))
      );
      assert(sent.every(({ payload }) => payload.length <= maxPayloadBytes));
      assertEquals(plain(run(make(mode1), packetsOf(sent))), plain(units));
    },
  );
  fc.assert(property, { seed: 264, numRuns: 60 });
});

const ignored = [
  { name: "an undefined packet of type 30", payload: [0x7e, 1, 2] },
  { name: "an undefined packet of type 31", payload: [0x7f] },
  { name: "an undefined packet of type 0", payload: [0x60, 0, 0, 1] },
  { name: "a packet without a payload", payload: [] },
];

for (const { name, payload } of ignored) {
  Deno.test(`H264Depacketizer.push() passes over ${name}`, () => {
    const packets = packetsOf([{ payload: idr }, { payload }, { payload: [0x65, 0x40] }]);
    const depacketizer = make(mode1);
    assertEquals(plain(run(depacketizer, packets)), [{ timestamp: 0, parts: [idr, [0x65, 0x40]] }]);
    assertEquals(depacketizer.dropped, 0);
  });
}

const malformed = [
  { name: "a forbidden bit", payload: [0xe5, 0x88] },
  { name: "a STAP-A without a NAL unit", payload: [0x78] },
  { name: "a STAP-A cut off in a length", payload: [0x78, 0, 2, 0x67, 1, 0] },
  { name: "a STAP-A cut off in a NAL unit", payload: [0x78, 0, 3, 0x67, 1] },
  { name: "a STAP-A of an absurd length", payload: [0x78, 0xff, 0xff, 0x67, 1] },
  { name: "a STAP-A with an empty NAL unit", payload: [0x78, 0, 0, 0, 2, 0x67, 1] },
  { name: "a STAP-A in a STAP-A", payload: [0x78, 0, 5, 0x78, 0, 2, 0x67, 1] },
  { name: "an FU-A in a STAP-A", payload: [0x78, 0, 3, 0x7c, 0x85, 1] },
  { name: "a forbidden bit in a STAP-A", payload: [0x78, 0, 2, 0xe5, 0x88] },
  { name: "a STAP-B without a number", payload: [0x79, 0] },
  { name: "an MTAP16 cut off in a timestamp", payload: [0x7a, 0, 1, 0, 1, 0, 0] },
  { name: "an MTAP24 cut off in a NAL unit", payload: [0x7b, 0, 1, 0, 2, 0, 0, 0, 0, 0x65] },
  { name: "an FU-A without a header", payload: [0x7c] },
  { name: "an FU-A that is first and last", payload: [0x7c, 0xc5, 0x88] },
  { name: "an FU-A of a STAP-A", payload: [0x7c, 0x98, 0x88] },
  { name: "an FU-A of type 0", payload: [0x7c, 0x80, 0x88] },
  { name: "an FU-B that is not first", payload: [0x7d, 0x05, 0, 1, 0x88] },
  { name: "an FU-B cut off in its number", payload: [0x7d, 0x85, 0] },
];

for (const { name, payload } of malformed) {
  Deno.test(`H264Depacketizer.push() throws when a packet is ${name}`, () => {
    const depacketizer = make(mode1);
    const [first, bad, rest, next] = packetsOf([
      { payload: idr },
      { payload },
      { payload: [0x65, 0x40], marker: true },
      { payload: slice, timestamp: 1, marker: true },
    ]).map((packet) => [packet]);
    assertEquals(pushAll(depacketizer, first), []);
    assertThrows(() => pushAll(depacketizer, bad), InvalidDataError);
    assertEquals(pushAll(depacketizer, rest), []);
    assertEquals(plain(run(depacketizer, next ?? [])), [{ timestamp: 1, parts: [slice] }]);
    assertEquals(depacketizer.dropped, 1);
  });
}

/** What packets give, as long as their end is not known. */
function pushAll(depacketizer: H264Depacketizer, packets: readonly RtpPacket[] = []) {
  return packets.flatMap((packet) => plain(depacketizer.push(packet)));
}

Deno.test("H264Depacketizer.push() reads FU-A of which one is empty", () => {
  const packets = packetsOf([
    { payload: [0x7c, 0x85] },
    { payload: [0x7c, 0x05, 0x88] },
    { payload: [0x7c, 0x45, 1] },
  ]);
  assertEquals(plain(run(make(mode1), packets)), [{ timestamp: 0, parts: [idr] }]);
});

Deno.test("H264Depacketizer.push() joins no fragments of different NAL units", () => {
  for (const second of [[0x7c, 0x41, 1], [0x5c, 0x45, 1]]) {
    const depacketizer = make(mode1);
    const packets = packetsOf([{ payload: [0x7c, 0x85, 0x88] }, { payload: second, marker: true }]);
    assertEquals([run(depacketizer, packets), depacketizer.dropped], [[], 1]);
  }
  const depacketizer = make(mode1);
  const packets = packetsOf([
    { payload: [0x7c, 0x85, 0x88] },
    { payload: [0x7c, 0x45, 1], timestamp: 1 },
  ]);
  assertEquals([run(depacketizer, packets), depacketizer.dropped], [[], 2]);
});

Deno.test("H264Depacketizer.push() reads packets with numbers outside of the interleaved mode", () => {
  const packets = packetsOf([
    { payload: [0x79, 0, 9, 0, 3, ...idr, 0, 2, 0x65, 0x40] },
    {
      payload: [0x7a, 0, 1, 0, 3, 0, 0, 0, ...slice, 0, 3, 1, 0, 7, ...slice],
      timestamp: 0xffff_fffe,
    },
    { payload: [0x7b, 0, 1, 0, 3, 0, 1, 0, 0, ...slice], timestamp: 100 },
    { payload: [0x7d, 0x81, 0, 3, 0x9a], timestamp: 200 },
    { payload: [0x7c, 0x41, 2], timestamp: 200 },
  ]);
  assertEquals(plain(run(make(mode1), packets)), [
    { timestamp: 0, parts: [idr, [0x65, 0x40]] },
    { timestamp: 0xffff_fffe, parts: [slice] },
    { timestamp: 5, parts: [slice] },
    { timestamp: 65_636, parts: [slice] },
    { timestamp: 200, parts: [[0x61, 0x9a, 2]] },
  ]);
});

Deno.test("H264Depacketizer.push() puts interleaved NAL units into decoding order", () => {
  const sent = [
    { payload: [0x79, 0xff, 0xfe, 0, 3, ...idr, 0, 2, 0x65, 0x40], timestamp: 10 },
    {
      payload: [0x7b, 0, 1, 0, 3, 1, 0, 0, 10, ...slice, 0, 2, 2, 0, 0, 20, 0x41, 0x40],
      timestamp: 20,
    },
    { payload: [0x7d, 0x81, 0, 0, 0x9a], timestamp: 20 },
    { payload: [0x7c, 0x41, 7], timestamp: 20 },
    { payload: [0x7a, 0, 1, 0, 2, 0, 0, 0, 0x41, 0x60], timestamp: 20 },
    { payload: [0x79, 0, 4, 0, 3, ...slice], timestamp: 50 },
  ];
  const expected = [
    { timestamp: 10, parts: [idr, [0x65, 0x40]] },
    { timestamp: 20, parts: [[0x61, 0x9a, 7], [0x41, 0x60]] },
    { timestamp: 30, parts: [slice] },
    { timestamp: 40, parts: [[0x41, 0x40]] },
    { timestamp: 50, parts: [slice] },
  ];
  for (const depth of [2, 3, 100, 32_767]) {
    const depacketizer = make(interleaved(depth));
    assertEquals(plain(run(depacketizer, packetsOf(sent))), expected, `depth ${depth}`);
    assertEquals(depacketizer.dropped, 0);
  }
  const marked = packetsOf(sent.map((each) => ({ ...each, marker: true })));
  assertEquals(plain(run(make(interleaved(2)), marked)), expected);
  const bounded = make(interleaved(30, { "sprop-max-don-diff": "3" }));
  assertEquals(pushAll(bounded, packetsOf(sent)), expected.slice(0, 1));
});

Deno.test("H264Depacketizer.push() drops interleaved access units with a gap in their numbers", () => {
  const both = (timestamp: number, first: number) => ({
    payload: [0x79, 0, first, 0, 2, 0x65, 0x80, 0, 2, 0x65, 0x40],
    timestamp,
  });
  const unit = (timestamp: number, first: number) => [
    { payload: [0x79, 0, first, 0, 2, 0x65, 0x80], timestamp },
    { payload: [0x79, 0, first + 1, 0, 2, 0x65, 0x40], timestamp },
  ];
  const packets = packetsOf([
    ...unit(1, 0),
    ...unit(2, 2),
    ...unit(3, 4),
    ...unit(4, 6),
    ...unit(5, 8),
  ]);
  const lost = packets.map((packet, at) => at === 4 ? undefined : packet);
  const depacketizer = make(interleaved(1));
  assertEquals(run(depacketizer, lost).map(({ timestamp }) => timestamp), [1, 4, 5]);
  assertEquals(depacketizer.dropped, 2);
  const joined = packetsOf([both(1, 0), both(2, 2), both(3, 4), both(4, 6)]);
  const joinedLost = joined.map((packet, at) => at === 1 ? undefined : packet);
  assertEquals(run(make(interleaved(1)), joinedLost).map(({ timestamp }) => timestamp), [4]);
  // A NAL unit that is not whole is missing as well.
  const cut = packetsOf([
    ...unit(1, 0),
    { payload: [0x79, 0, 2, 0, 2, 0x65, 0x80], timestamp: 2 },
    { payload: [0x7d, 0x85, 0, 3, 0x40], timestamp: 2 },
    ...unit(3, 4),
    ...unit(4, 6),
  ]);
  assertEquals(run(make(interleaved(1)), cut).map(({ timestamp }) => timestamp), [1, 4]);
  // Without a loss, numbers may be left out.
  const sparse = packetsOf([...unit(1, 0), ...unit(2, 20), ...unit(3, 40)]);
  assertEquals(run(make(interleaved(1)), sparse).length, 3);
});

Deno.test("H264Depacketizer.push() counts slices only for the depth of interleaving", () => {
  const packets = packetsOf([
    { payload: [0x79, 0, 3, 0, 2, 0x68, 1], timestamp: 1 },
    { payload: [0x79, 0, 4, 0, 3, ...slice, 0, 2, 0x41, 0x40], timestamp: 1 },
    { payload: [0x79, 0, 2, 0, 3, ...idr] },
  ]);
  assertEquals(plain(run(make(interleaved(2)), packets)), [
    { timestamp: 0, parts: [idr] },
    { timestamp: 1, parts: [[0x68, 1], slice, [0x41, 0x40]] },
  ]);
});

Deno.test("H264Depacketizer.push() throws when an interleaved packet has no number", () => {
  for (const payload of [idr, [0x78, 0, 3, ...idr], [0x7c, 0x85, 0x88]]) {
    const depacketizer = make(interleaved(0));
    assertThrows(() => run(depacketizer, packetsOf([{ payload }])), InvalidDataError);
  }
});

Deno.test("H264Depacketizer.push() withstands damaged packets", () => {
  const captured = fixtures.flatMap((fixture) => opened(fixture).packets.slice(0, 12));
  const crafted = [
    ...payloads.flatMap(({ sent }) => sent),
    ...malformed.map(({ payload }) => payload),
    [0x79, 0, 9, 0, 3, ...idr],
    [0x7a, 0, 1, 0, 3, 0, 0, 0, ...slice],
    [0x7d, 0x81, 0, 3, 0x9a],
  ].map((payload) => Uint8Array.from(payload));
  const formats = [
    mode1,
    interleaved(0),
    interleaved(3),
    interleaved(9, { "sprop-max-don-diff": "4" }),
  ];
  assertWithstandsPackets(formats, [...captured.map(({ payload }) => payload), ...crafted], make);
});
