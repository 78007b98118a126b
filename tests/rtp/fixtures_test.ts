import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  canonicalFrame,
  describeUnit,
  fixtureNames,
  isRtcp,
  readRtpFixture,
  splitFramed,
} from "../support/rtp_fixtures.ts";

Deno.test("fixtureNames() gives captures of both senders and of every encoding", () => {
  const names = fixtureNames();
  const encodings = names.map((name) => readRtpFixture(name).expected.encoding.toUpperCase());
  assertEquals(
    [...new Set(encodings)].sort(),
    ["AV1", "H264", "H265", "MP4A-LATM", "MPA", "MPEG4-GENERIC", "OPUS", "PCMA", "PCMU", "VP9"],
  );
  assertEquals([...fixtureNames("ffmpeg_"), ...fixtureNames("gstreamer_")], names);
  assertThrows(() => fixtureNames("none_"));
});

for (const name of fixtureNames()) {
  Deno.test(`readRtpFixture() reads packets of one sender in order from ${name}`, () => {
    const { packets, rtcp, arrivals } = readRtpFixture(name);
    assertEquals(packets.length + rtcp.length, arrivals.length);
    const first = headerOf(packets[0]);
    for (const [index, packet] of packets.entries()) {
      const header = headerOf(packet);
      assertEquals(header.version, 2);
      assertEquals(header.ssrc, first.ssrc);
      assertEquals(header.payloadType, first.payloadType);
      assertEquals(header.sequence, (first.sequence + index) & 0xffff);
    }
    for (const packet of rtcp) assertEquals([packet[0], packet[1]], [0x80, 200]);
  });

  Deno.test(`readRtpFixture() expects of ${name} what its packets and description can hold`, () => {
    const { packets, expected, sdp } = readRtpFixture(name);
    const { encoding, clockRate, tolerance, units } = expected;
    const { payloadType, timestamp: origin } = headerOf(packets[0]);
    assert(sdp.includes(` RTP/AVP ${payloadType}`));
    const isStatic = payloadType < 96 && !sdp.includes("a=rtpmap");
    assert(isStatic || sdp.includes(`a=rtpmap:${payloadType} ${encoding}/${clockRate}`));

    assert(units.length > 20);
    assertEquals(units[0]?.timestamp, 0);
    assertEquals(units[0]?.key, true);
    for (const { bytes, hash } of units) {
      assert(bytes > 0);
      assert(/^[0-9a-f]{8}$/.test(hash));
    }
    const sent = packets.reduce((sum, packet) => sum + packet.length, 0);
    const framed = units.reduce((sum, { bytes }) => sum + bytes, 0);
    assert(framed > sent * 0.6 && framed < sent * 1.1, `${framed} bytes of frames in ${sent}`);

    const due = new Set(units.map((unit) => unit.timestamp));
    for (const packet of packets) {
      const at = (headerOf(packet).timestamp - origin) | 0;
      assert([-1, 0, 1].some((by) => Math.abs(by) <= tolerance && due.has(at + by)), `${at}`);
    }
  });
}

Deno.test("describeUnit() finds what is expected where each packet is a frame", () => {
  for (const name of ["ffmpeg_opus", "ffmpeg_pcma", "gstreamer_opus", "gstreamer_pcmu"]) {
    const { packets, expected } = readRtpFixture(name);
    const origin = headerOf(packets[0]).timestamp;
    assertEquals(
      packets.map((packet) => {
        const { timestamp } = headerOf(packet);
        return describeUnit(expected.encoding, { timestamp, parts: [packet.subarray(12)] }, origin);
      }),
      expected.units.map(({ timestamp, bytes, hash }) => ({ timestamp, bytes, hash })),
    );
  }
});

const CANONICAL: readonly (readonly [string, readonly number[][], readonly number[]])[] = [
  ["H264", [[9, 16], [0x67, 1], [0x68, 2], [6, 3], [0x65, 4]], [
    0,
    0,
    0,
    2,
    6,
    3,
    0,
    0,
    0,
    2,
    0x65,
    4,
  ]],
  ["H265", [[0x46, 1, 7], [0x40, 1], [0x4e, 1], [0x26, 1]], [
    0,
    0,
    0,
    2,
    0x4e,
    1,
    0,
    0,
    0,
    2,
    0x26,
    1,
  ]],
  ["AV1", [[0x12, 0, 0x0a, 0x81, 0, 9], [0x36, 8, 1, 7]], [0x0a, 1, 9, 0x36, 8, 1, 7]],
  ["opus", [[1, 2], [3]], [1, 2, 3]],
];

Deno.test("canonicalFrame() leaves out what a sender may add or drop", () => {
  for (const [encoding, parts, frame] of CANONICAL) {
    const views = parts.map((part) => Uint8Array.from(part));
    assertEquals([...canonicalFrame(encoding, views)], frame, encoding);
  }
  assertThrows(() => canonicalFrame("AV1", [Uint8Array.of(0x0a, 5, 1)]));
  assertThrows(() => canonicalFrame("AV1", [Uint8Array.of(0x08, 5, 1)]));
});

Deno.test("splitFramed() refuses a packet that is cut off", () => {
  assertEquals([...splitFramed(Uint8Array.of(0, 1, 7, 0, 0))].map((packet) => packet.length), [
    1,
    0,
  ]);
  assertThrows(() => [...splitFramed(Uint8Array.of(0, 2, 7))], RangeError);
  assertThrows(() => [...splitFramed(Uint8Array.of(0))], RangeError);
});

Deno.test("isRtcp() tells a sender report from RTP with the marker bit", () => {
  assert(isRtcp(Uint8Array.of(0x80, 200)));
  assert(!isRtcp(Uint8Array.of(0x80, 0x80 | 96)));
  assert(!isRtcp(Uint8Array.of(0x80, 0x80 | 14)));
});

function headerOf(packet: Uint8Array<ArrayBuffer> | undefined) {
  const view = new DataView((packet ?? new Uint8Array(0)).buffer);
  return {
    version: view.getUint8(0) >> 6,
    payloadType: view.getUint8(1) & 0x7f,
    sequence: view.getUint16(2),
    timestamp: view.getUint32(4),
    ssrc: view.getUint32(8),
  };
}
