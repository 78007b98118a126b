/** Packets of NAL units, and what comes out of them when they are damaged on the way. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { RtpPacket } from "../../src/rtp/packet.ts";
import type { RtpUnit } from "../../src/rtp/payload.ts";
import type { RtpFormat } from "../../src/rtp/format.ts";
import { type Make, packetsOf, run, runHostile } from "./rtp_packets.ts";

export * from "./rtp_packets.ts";

/** A format with the given fmtp parameters. */
export function formatWith(encoding: string, parameters: Record<string, string> = {}): RtpFormat {
  return {
    payloadType: 96,
    encoding,
    clockRate: 90_000,
    parameters: new Map(Object.entries(parameters)),
  };
}

/** Units in a form that compares byte for byte and prints short. */
export function plain(units: readonly RtpUnit[]): { timestamp: number; parts: number[][] }[] {
  return units.map(({ timestamp, parts }) => ({
    timestamp,
    parts: parts.map((part) => Array.from(part)),
  }));
}

/** A text that is the same for the same timestamp and bytes; delimiters mean nothing. */
function keyOf({ timestamp, parts }: RtpUnit): string {
  const kept = parts.filter((part) => !isDelimiter(part));
  const bytes = kept.map((part) => new TextDecoder("latin1").decode(part));
  return `${timestamp}/${kept.map((part) => part.length)}/${bytes.join("")}`;
}

/** Whether it is a delimiter of H.264 (2 bytes) or of H.265 (3 bytes). */
function isDelimiter(nalu: Uint8Array): boolean {
  return nalu.length === 2 ? nalu[0] === 9 : nalu.length === 3 && nalu[0] === 0x46;
}

/**
 * Asserts that damage to the order of packets makes no wrong frame: each one lost, announced and
 * not, each one twice, each pair swapped, and all in a random order.
 */
export function assertNeverWrong(
  { packets, format }: { packets: readonly RtpPacket[]; format: RtpFormat },
  make: Make,
): void {
  const whole = run(make(format), packets).map(keyOf);
  const expected = new Set(whole);
  const check = (damaged: readonly (RtpPacket | undefined)[], what: string) => {
    const depacketizer = make(format);
    // Whoever begins to listen in the middle is told so: the first packet may not begin a frame.
    const begins = damaged[0] === packets[0];
    const found = run(depacketizer, begins ? damaged : [undefined, ...damaged]).map(keyOf);
    const wrong = found.findIndex((unit) => !expected.has(unit));
    assertEquals(wrong, -1, `frame ${wrong} of ${found.length} is wrong with ${what}`);
    return { found, dropped: depacketizer.dropped };
  };
  for (let at = 0; at < packets.length; at++) {
    const before = packets.slice(0, at);
    const after = packets.slice(at + 1);
    const announced = check([...before, undefined, ...after], `packet ${at} lost`);
    // The frame that it belongs to, and the one after, whose beginning may be unknown.
    assert(announced.found.length >= whole.length - 2, `packet ${at} lost: too much is gone`);
    const slight = packets.slice(at, at + 1).every(({ payload }) => isDelimiter(payload));
    assert(slight || announced.found.length < whole.length, `packet ${at} lost: nothing is gone`);
    assertEquals(new Set(announced.found).size, announced.found.length);
    const silent = check([...before, ...after], `packet ${at} lost in silence`);
    assertEquals(silent, announced);
    const same = packets.slice(at, at + 1);
    assertEquals(check([...before, ...same, ...same, ...after], `packet ${at} twice`).found, whole);
    check([...before, ...after.slice(0, 1), ...same, ...after.slice(1)], `packet ${at} swapped`);
  }
  let seed = 20_26;
  const random = () => seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
  for (let round = 0; round < 50; round++) {
    const order = packets.map((packet) => ({ packet, key: random() >>> 8 }));
    const shuffled = order.sort((a, b) => a.key - b.key).map(({ packet }) => packet);
    check(shuffled, `order ${round}`);
    const kept = packets.filter(() => (random() >>> 8) % 100 >= 1 + round);
    check(kept, `${round + 1} % lost`);
  }
}

/**
 * Feeds damaged payloads of `seeds` and random ones, with random timestamps, markers and losses, to
 * depacketizers of `formats`: only {@linkcode InvalidDataError}s may be thrown, and all access units
 * must have NAL units.
 */
export function assertWithstandsPackets(
  formats: readonly RtpFormat[],
  seeds: readonly Uint8Array[],
  make: Make,
): void {
  const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
  const payload = fc.oneof(
    fc.tuple(fc.constantFrom(...seeds), fc.array(change, { maxLength: 3 }), fc.nat()).map(
      ([seed, changes, cut]) => {
        const bytes = seed.slice(0, cut % 4 === 0 ? cut % (seed.length + 1) : seed.length);
        for (const [at, byte] of changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
        return bytes;
      },
    ),
    fc.uint8Array({ maxLength: 40 }),
  );
  const sent = fc.record({
    payload,
    timestamp: fc.integer({ min: 0, max: 3 }).map((step) => step * 0x5555_5555),
    marker: fc.boolean(),
    lost: fc.integer({ min: 0, max: 20 }).map((value) => value === 0),
  });
  const property = fc.property(
    fc.constantFrom(...formats),
    fc.array(sent, { maxLength: 40 }),
    (format, list) => {
      const packets = packetsOf(list).flatMap((packet, at) =>
        list[at]?.lost ? [undefined, packet] : [packet]
      );
      const depacketizer = make(format);
      for (const { parts } of runHostile(depacketizer, packets)) {
        assert(parts.length > 0 && parts.every((part) => part.length > 0));
      }
      assert(depacketizer.dropped <= list.length);
    },
  );
  fc.assert(property, { seed: 6184, numRuns: 1500 });
}
