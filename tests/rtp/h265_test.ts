import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../src/bytes.ts";
import type { VideoConfig } from "../../src/codecs/config.ts";
import { h265Config } from "../../src/codecs/h265.ts";
import { joinLengthPrefixed, splitAnnexB } from "../../src/codecs/nal.ts";
import { InvalidDataError } from "../../src/errors.ts";
import type { RtpFormat } from "../../src/rtp/format.ts";
import { H265Depacketizer, H265Packetizer } from "../../src/rtp/h265.ts";
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

/** First slices of an IDR picture and of a picture after it, and what follows in the same picture. */
const idr = [0x28, 1, 0x88, 1];
const idrRest = [0x28, 1, 0x40];
const slice = [0x02, 1, 0x9a, 2];
const sliceRest = [0x02, 1, 0x40];

const fixtures = fixtureNames().filter((name) => name.includes("h265")).map(readRtpFixture);
const single = formatWith("H265");

function make(format: RtpFormat): H265Depacketizer {
  return new H265Depacketizer(format);
}

function numbered(nalus: number, maxDonDiff = 8): RtpFormat {
  return formatWith("H265", {
    "sprop-max-don-diff": `${maxDonDiff}`,
    "sprop-depack-buf-nalus": `${nalus}`,
  });
}

for (const fixture of fixtures) {
  Deno.test(`H265Depacketizer.push() gives the frames of ${fixture.name}`, () => {
    assertAsExpected(fixture, make);
  });

  Deno.test(`H265Depacketizer.lose() lets no wrong frame of ${fixture.name} out`, () => {
    assertNeverWrong(opened(fixture), make);
  });

  Deno.test(`H265Packetizer.packetize() sends what H265Depacketizer.push() reads of ${fixture.name}`, () => {
    const { packets, format } = opened(fixture);
    const units = run(make(format), packets);
    for (const maxPayloadBytes of [100, 1200, 60_000]) {
      const packetizer = new H265Packetizer({ maxPayloadBytes });
      const sent = units.flatMap(({ timestamp, parts }): Sent[] =>
        packetizer.packetize({ key: false, config: configOf(), data: joinLengthPrefixed(parts) })
          .map((payload) => ({ ...toSent(payload), timestamp }))
      );
      assert(sent.every(({ payload }) => payload.length <= maxPayloadBytes));
      assertEquals(plain(run(make(single), packetsOf(sent))), plain(units));
    }
  });
}

function toSent({ parts, marker }: RtpPayload): { payload: Uint8Array; marker: boolean } {
  return { payload: concat(parts), marker };
}

/** Parameter sets that an encoder made. */
function setsOf() {
  const nalus = splitAnnexB(readFixture("h265_main_854x480").extradata);
  const ofType = (type: number) => nalus.filter((nalu) => (nalu[0] ?? 0) >> 1 === type);
  return { vps: ofType(32), sps: ofType(33), pps: ofType(34) };
}

function configOf(): VideoConfig {
  return h265Config(setsOf());
}

/** NAL units and their payloads of 20 bytes at most. */
const payloads = [
  { name: "a NAL unit as it is", nalus: [idr], sent: [idr] },
  { name: "slices one by one", nalus: [slice, sliceRest], sent: [slice, sliceRest] },
  {
    name: "sets and SEI as an AP of the lowest layer and sub-layer",
    nalus: [[0x40, 2, 1], [0x42, 9, 2], [0x4e, 3, 3], idr],
    sent: [[0x60, 1, 0, 3, 0x40, 2, 1, 0, 3, 0x42, 9, 2, 0, 3, 0x4e, 3, 3], idr],
  },
  {
    name: "sets of higher layers and sub-layers",
    nalus: [[0x40, 0x0a, 1], [0x42, 0x13, 2], idr],
    sent: [[0x60, 0x0a, 0, 3, 0x40, 0x0a, 1, 0, 3, 0x42, 0x13, 2], idr],
  },
  {
    name: "a delimiter alone",
    nalus: [[0x46, 1, 0x10], slice],
    sent: [[0x46, 1, 0x10], slice],
  },
  {
    name: "an AP that is full, and the next",
    nalus: [[0x46, 1, 0x10], [0x40, 1, ...Array(9).fill(1)], [0x42, 1, 1], [0x44, 1, 1], idr],
    sent: [
      [0x60, 1, 0, 3, 0x46, 1, 0x10, 0, 11, 0x40, 1, ...Array(9).fill(1)],
      [0x60, 1, 0, 3, 0x42, 1, 1, 0, 3, 0x44, 1, 1],
      idr,
    ],
  },
  {
    name: "a NAL unit of the whole size",
    nalus: [[...idr, ...Array(16).fill(1)]],
    sent: [[...idr, ...Array(16).fill(1)]],
  },
  {
    name: "a larger NAL unit in two FU",
    nalus: [[...idr, ...Array(17).fill(1)]],
    sent: [[0x62, 1, 0x94, 0x88, ...Array(16).fill(1)], [0x62, 1, 0x54, 1, 1]],
  },
  {
    name: "a large NAL unit of another layer in three FU",
    nalus: [idr, [0x03, 0x0a, ...Array(35).fill(7)]],
    sent: [
      idr,
      [0x63, 0x0a, 0x81, ...Array(17).fill(7)],
      [0x63, 0x0a, 0x01, ...Array(17).fill(7)],
      [0x63, 0x0a, 0x41, 7],
    ],
  },
];

for (const { name, nalus, sent } of payloads) {
  Deno.test(`H265Packetizer.packetize() sends ${name}`, () => {
    const data = joinLengthPrefixed(nalus.map((nalu) => Uint8Array.from(nalu)));
    const packetizer = new H265Packetizer({ maxPayloadBytes: 20 });
    const config = { ...configOf(), fourcc: "none" };
    const found = packetizer.packetize({ key: true, config, data });
    assertEquals(found.map(({ parts }) => Array.from(concat(parts))), sent);
    assertEquals(found.map(({ marker }) => marker), sent.map((_, at) => at === sent.length - 1));
  });

  Deno.test(`H265Depacketizer.push() reads ${name}`, () => {
    const last = sent.length - 1;
    const packets = packetsOf(sent.map((payload, at) => ({ payload, marker: at === last })));
    assertEquals(plain(run(make(single), packets)), [{ timestamp: 0, parts: nalus }]);
  });

  Deno.test(`H265Depacketizer.push() reads ${name} in PACI packets`, () => {
    const packets = packetsOf(sent.map((payload) => ({ payload: paci(payload) })));
    assertEquals(plain(run(make(single), packets)), [{ timestamp: 0, parts: nalus }]);
  });
}

/** `payload` in a PACI packet with an extension of 3 bytes (RFC 7798 4.4.4). */
function paci([first = 0, second = 0, ...rest]: readonly number[]): number[] {
  return [first & 1 | 0x64, second, first & 0xfe, 0x38, 9, 9, 9, ...rest];
}

Deno.test("H265Packetizer.packetize() puts the configuration's sets before a keyframe without any", () => {
  const packetizer = new H265Packetizer({ maxPayloadBytes: 1200 });
  const { vps, sps, pps } = setsOf();
  const sets = [...vps, ...sps, ...pps].map((set) => Array.from(set));
  const send = (key: boolean, ...nalus: number[][]) => {
    const data = joinLengthPrefixed(nalus.map((nalu) => Uint8Array.from(nalu)));
    const sent = packetizer.packetize({ key, config: configOf(), data }).map(toSent);
    return plain(run(make(single), packetsOf(sent)))[0]?.parts;
  };
  const delimiter = [0x46, 1, 0x10];
  assertEquals(sets.length, 3);
  assertEquals(send(true, idr), [...sets, idr]);
  assertEquals(send(true, delimiter, [0x4e, 1, 5], idr), [delimiter, ...sets, [0x4e, 1, 5], idr]);
  assertEquals(send(true, [0x42, 1, 5], idr), [[0x42, 1, 5], idr]);
  assertEquals(send(false, slice), [slice]);
});

Deno.test("H265Packetizer.packetize() leaves out NAL units that packets can't hold", () => {
  const units = [[0x60, 1, 1], [0x62, 1, 0x80], [0x64, 1], [0x7e, 1], [0x28], slice];
  const data = joinLengthPrefixed(units.map((nalu) => Uint8Array.from(nalu)));
  const packetizer = new H265Packetizer({ maxPayloadBytes: 1000 });
  const found = packetizer.packetize({ key: false, config: configOf(), data });
  assertEquals(found.map(({ parts }) => Array.from(concat(parts))), [slice]);
});

Deno.test("H265Depacketizer.push() gives what H265Packetizer.packetize() was given", () => {
  const nalu = fc.tuple(
    fc.constantFrom(0, 1, 19, 21, 32, 33, 34, 35, 38, 39, 40, 47),
    fc.constantFrom(1, 2, 7, 9),
    fc.oneof(fc.integer({ min: 0, max: 60 }), fc.integer({ min: 0, max: 6000 })),
  ).map(([type, second, length]) =>
    Uint8Array.from(
      { length: length + 2 },
      (_, at) => at === 0 ? type << 1 : at === 1 ? second : at,
    )
  );
  const property = fc.property(
    fc.array(fc.array(nalu, { minLength: 1, maxLength: 10 }), { minLength: 1, maxLength: 4 }),
    fc.integer({ min: 16, max: 3000 }),
    (frames, maxPayloadBytes) => {
      const packetizer = new H265Packetizer({ maxPayloadBytes });
      const config = { ...configOf(), fourcc: "none" };
      const units = frames.map((nalus, timestamp) => ({
        timestamp,
        parts: [Uint8Array.from(idr), ...nalus],
      }));
      const sent = units.flatMap(({ timestamp, parts }) =>
        packetizer.packetize({ key: true, config, data: joinLengthPrefixed(parts) })
          .map((payload): Sent => ({ ...toSent(payload), timestamp }))
      );
      assert(sent.every(({ payload }) => payload.length <= maxPayloadBytes));
      assertEquals(plain(run(make(single), packetsOf(sent))), plain(units));
    },
  );
  fc.assert(property, { seed: 265, numRuns: 100 });
});

Deno.test("H265Depacketizer.push() believes markers after a keyframe", () => {
  const sei = [0x4e, 1, 5];
  for (const first of [idr, [0x2a, 1, 0x88]]) {
    const depacketizer = make(single);
    const given = packetsOf([
      { payload: first, marker: true },
      { payload: sei },
      { payload: slice, marker: true },
      { payload: slice, marker: true, timestamp: 1 },
    ]).map((packet) => plain(depacketizer.push(packet)));
    assertEquals(given, [
      [],
      [{ timestamp: 0, parts: [first] }],
      [{ timestamp: 0, parts: [sei, slice] }],
      [{ timestamp: 1, parts: [slice] }],
    ]);
  }
});

Deno.test("H265Depacketizer.push() passes over reserved packets", () => {
  for (const type of [51, 55, 63]) {
    const packets = packetsOf([{ payload: idr }, { payload: [type << 1, 1, 2] }, {
      payload: idrRest,
    }]);
    const depacketizer = make(single);
    assertEquals(plain(run(depacketizer, packets)), [{ timestamp: 0, parts: [idr, idrRest] }]);
    assertEquals(depacketizer.dropped, 0);
  }
});

const malformed = [
  { name: "a single byte", payload: [0x28] },
  { name: "a forbidden bit", payload: [0xa8, 1, 0x88] },
  { name: "an AP without a NAL unit", payload: [0x60, 1] },
  { name: "an AP cut off in a length", payload: [0x60, 1, 0, 2, 0x40, 1, 0] },
  { name: "an AP cut off in a NAL unit", payload: [0x60, 1, 0, 3, 0x40, 1] },
  { name: "an AP of an absurd length", payload: [0x60, 1, 0xff, 0xff, 0x40, 1] },
  { name: "an AP with an empty NAL unit", payload: [0x60, 1, 0, 0, 0, 2, 0x40, 1] },
  { name: "an AP with half a header", payload: [0x60, 1, 0, 1, 0x40] },
  { name: "an AP in an AP", payload: [0x60, 1, 0, 6, 0x60, 1, 0, 2, 0x40, 1] },
  { name: "an FU in an AP", payload: [0x60, 1, 0, 4, 0x62, 1, 0x94, 1] },
  { name: "a forbidden bit in an AP", payload: [0x60, 1, 0, 2, 0xc0, 1] },
  { name: "an FU without a header", payload: [0x62, 1] },
  { name: "an FU without content", payload: [0x62, 1, 0x94] },
  { name: "an FU that is first and last", payload: [0x62, 1, 0xd4, 1] },
  { name: "an FU of an AP", payload: [0x62, 1, 0xb0, 1] },
  { name: "a PACI packet cut off in its fields", payload: [0x64, 1, 0x28] },
  { name: "a PACI packet cut off in its extension", payload: [0x64, 1, 0x28, 0x38, 9, 9] },
  { name: "a PACI packet in a PACI packet", payload: paci(paci(idr)) },
  { name: "a forbidden bit in a PACI packet", payload: paci([0xa8, 1, 0x88]) },
  { name: "a PACI packet with a forbidden bit", payload: [0xe4, 1, 0x28, 0, 0x88] },
];

for (const { name, payload } of malformed) {
  Deno.test(`H265Depacketizer.push() throws when a packet is ${name}`, () => {
    const depacketizer = make(single);
    const [first, bad, ...rest] = packetsOf([
      { payload: idr },
      { payload },
      { payload: idrRest, marker: true },
      { payload: slice, timestamp: 1, marker: true },
    ]);
    assertEquals(first && depacketizer.push(first), []);
    assertThrows(() => bad && depacketizer.push(bad), InvalidDataError);
    assertEquals(plain(run(depacketizer, rest)), [{ timestamp: 1, parts: [slice] }]);
    assertEquals(depacketizer.dropped, 1);
  });
}

const losses = [
  { name: "a first fragment", payloads: [[0x62, 1, 0x01, 1], [0x62, 1, 0x41, 1]] },
  { name: "a last fragment", payloads: [[0x62, 1, 0x81, 0x80], [0x62, 1, 0x81, 0x80]] },
  { name: "a first slice", payloads: [sliceRest] },
  { name: "the base layer", payloads: [[0x02, 9, 0x9a, 2]] },
];

for (const { name, payloads } of losses) {
  Deno.test(`H265Depacketizer.lose() drops an access unit without ${name}`, () => {
    const depacketizer = make(single);
    const [before, after] = [[0, 1], [3, 4]].map((times) =>
      times.flatMap((timestamp) => [
        { payload: timestamp === 0 ? idr : slice, timestamp },
        { payload: timestamp === 0 ? idrRest : sliceRest, timestamp, marker: true },
      ])
    );
    const broken = payloads.map((payload) => ({ payload, timestamp: 2 }));
    const packets = packetsOf([...before ?? [], ...broken, ...after ?? []]);
    const units = run(depacketizer, [...packets.slice(0, 4), undefined, ...packets.slice(4)]);
    assertEquals([units.map(({ timestamp }) => timestamp), depacketizer.dropped], [
      [0, 1, 3, 4],
      1,
    ]);
  });
}

Deno.test("H265Depacketizer.push() puts numbered NAL units into decoding order", () => {
  const sent = [
    { payload: [0x60, 1, 0xff, 0xff, 0, 4, ...idr, 0, 0, 3, ...idrRest], timestamp: 10 },
    { payload: [0x02, 1, 0, 4, 0x9a, 2], timestamp: 30 },
    { payload: [0x62, 1, 0x81, 0, 1, 0x9a], timestamp: 20 },
    { payload: [0x62, 1, 0x41, 2], timestamp: 20 },
    { payload: paci([0x60, 1, 0, 2, 0, 3, ...sliceRest, 0, 0, 3, ...sliceRest]), timestamp: 20 },
    { payload: paci([0x02, 1, 0, 5, 0x40]), timestamp: 30 },
  ];
  const expected = [
    { timestamp: 10, parts: [idr, idrRest] },
    { timestamp: 20, parts: [slice, sliceRest, sliceRest] },
    { timestamp: 30, parts: [slice, sliceRest] },
  ];
  for (const format of [numbered(3), numbered(100), numbered(100, 32_767)]) {
    const depacketizer = make(format);
    assertEquals(plain(run(depacketizer, packetsOf(sent))), expected);
    assertEquals(depacketizer.dropped, 0);
  }
  const byDifference = make(formatWith("H265", { "sprop-max-don-diff": "4" }));
  assertEquals(plain(run(byDifference, packetsOf(sent))), expected);
});

Deno.test("H265Depacketizer.push() follows differences of numbers in an AP", () => {
  const packets = packetsOf([
    { payload: [0x60, 1, 0, 0, 0, 4, ...idr, 1, 0, 3, ...sliceRest] },
    { payload: [0x28, 1, 0, 1, 0x40] },
  ]);
  assertEquals(plain(run(make(numbered(9)), packets)), [
    { timestamp: 0, parts: [idr, idrRest, sliceRest] },
  ]);
});

Deno.test("H265Depacketizer.push() drops numbered access units with a gap", () => {
  const sent = [0, 1, 2, 3, 4].flatMap((timestamp) => [
    { payload: [0x28, 1, 0, 2 * timestamp, 0x88], timestamp },
    { payload: [0x28, 1, 0, 2 * timestamp + 1, 0x40], timestamp },
  ]);
  const packets = packetsOf(sent).map((packet, at) => at === 5 ? undefined : packet);
  const depacketizer = make(numbered(2));
  const units = run(depacketizer, packets);
  assertEquals(units.map(({ timestamp }) => timestamp), [0, 1, 3, 4]);
  assertEquals(depacketizer.dropped, 1);
});

Deno.test("H265Depacketizer.push() withstands damaged packets", () => {
  const captured = fixtures.flatMap((fixture) => opened(fixture).packets.slice(0, 12));
  const crafted = [
    ...payloads.flatMap(({ sent }) => [...sent, ...sent.map(paci)]),
    ...malformed.map(({ payload }) => payload),
    [0x60, 1, 0xff, 0xff, 0, 4, ...idr, 0, 0, 3, ...idrRest],
    [0x62, 1, 0x81, 0, 1, 0x9a],
  ].map((payload) => Uint8Array.from(payload));
  const formats = [
    single,
    numbered(0),
    numbered(3),
    formatWith("H265", { "sprop-max-don-diff": "4" }),
  ];
  assertWithstandsPackets(formats, [...captured.map(({ payload }) => payload), ...crafted], make);
});
