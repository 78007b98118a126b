/** Packets of frames, and what comes out of them when they are damaged on the way. */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { AudioConfig, VideoConfig } from "../../src/codecs/config.ts";
import type { RtpFormat } from "../../src/rtp/format.ts";
import type { RtpPacket } from "../../src/rtp/packet.ts";
import type { Depacketizer, Packetizer, RtpUnit } from "../../src/rtp/payload.ts";
import { concat } from "../../src/bytes.ts";
import { hashOf, type RtpFixture } from "./rtp_fixtures.ts";
import { type Make, opened, packetsOf, run, runHostile } from "./rtp_packets.ts";

export * from "./rtp_packets.ts";

/** Fixed, so that a failure is there again in the next run. */
const SEED = 20_26;

/** Random orders, and random damages, of each fixture. */
const ROUNDS = 40;

/** A format with the given fmtp parameters and a clock of 48 kHz. */
export function formatWith(encoding: string, parameters: Record<string, string> = {}): RtpFormat {
  return {
    payloadType: 96,
    encoding,
    clockRate: 48_000,
    parameters: new Map(Object.entries(parameters)),
  };
}

/** The packets of `frames`, 1000 ticks apart, of which the first is a key frame. */
export function packetize(
  packetizer: Packetizer,
  config: VideoConfig | AudioConfig,
  frames: readonly Uint8Array[],
): RtpPacket[] {
  return packetsOf(frames.flatMap((data, index) => {
    const payloads = packetizer.packetize({ key: index === 0, config, data });
    return payloads.map(({ parts, marker }) => ({
      payload: concat(parts),
      marker,
      timestamp: 1000 * index,
    }));
  }));
}

/** Units in a form that compares byte for byte and prints short: timestamp and bytes. */
export function plain(units: readonly RtpUnit[]): number[][] {
  return units.map(({ timestamp, parts }) => [timestamp, ...concat(parts)]);
}

/**
 * Asserts that damage to the order of packets makes no wrong frame: each one lost, announced and not,
 * each one twice and swapped with the next, and all of them shuffled and thinned out at random.
 *
 * `perPacket` is the most frames that a packet holds, and `spoiled` the most others that its loss
 * takes along.
 */
export function assertNeverWrong(
  fixture: RtpFixture,
  make: Make,
  { perPacket = 1, spoiled = 0 }: { readonly perPacket?: number; readonly spoiled?: number } = {},
): void {
  const { packets, format } = opened(fixture);
  const whole = run(make(format), packets).map(keyOf);
  const known = new Set(whole);
  const check = (damaged: readonly (RtpPacket | undefined)[], what: string): string[] => {
    const found = runHostile(make(format), damaged).map(keyOf);
    assertEquals(found.findIndex((unit) => !known.has(unit)), -1, `wrong frame: ${what}`);
    return found;
  };
  packets.forEach((packet, at) => {
    const before = packets.slice(0, at);
    const after = packets.slice(at + 1);
    const announced = check([...before, undefined, ...after], `packet ${at} lost`);
    const gone = whole.length - announced.length;
    const most = perPacket + spoiled;
    assertEquals(gone >= 1 && gone <= most, true, `packet ${at} lost: ${gone} frames gone`);
    assertEquals(check([...before, ...after], `packet ${at} lost in silence`), announced);
    assertEquals(check([...before, packet, packet, ...after], `packet ${at} twice`), whole);
    check([...before, ...after.slice(0, 1), packet, ...after.slice(1)], `packet ${at} swapped`);
  });
  const orders = fc.shuffledSubarray(packets);
  const orderly = fc.subarray(packets);
  for (const some of [orders, orderly]) {
    const property = fc.property(some, (damaged) => void check(damaged, "at random"));
    fc.assert(property, { seed: SEED, numRuns: ROUNDS });
  }
}

/** Feeds packets with changed and random payloads: nothing but InvalidDataError may come of them. */
export function assertWithstandsPackets(
  make: () => Depacketizer,
  seeds: readonly Uint8Array[],
  runs = 300,
): void {
  for (const seed of seeds) {
    for (let length = 0; length <= seed.length; length++) {
      const cut = seed.subarray(0, length);
      runHostile(
        make(),
        packetsOf([{ payload: cut, marker: true }, { payload: cut, timestamp: 9 }]),
      );
    }
  }
  const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
  const changed = fc.tuple(fc.constantFrom(...seeds), fc.array(change, { maxLength: 4 })).map(
    ([seed, changes]) => {
      const payload = seed.slice();
      for (const [at, byte] of changes) if (payload.length > 0) payload[at % payload.length] = byte;
      return payload;
    },
  );
  const sent = fc.record({
    payload: fc.oneof(changed, fc.uint8Array({ maxLength: 40 })),
    timestamp: fc.integer({ min: 0, max: 2 }),
    marker: fc.boolean(),
  });
  const property = fc.property(
    fc.array(fc.option(sent, { nil: undefined, freq: 8 }), { maxLength: 20 }),
    (list) => {
      const packets = packetsOf(list.map((packet) => packet ?? { payload: [] }));
      const depacketizer = make();
      const units = runHostile(depacketizer, packets.map((one, at) => list[at] && one));
      const bytes = packets.reduce((sum, { payload }) => sum + payload.length, 0);
      const out = units.reduce((sum, { parts }) => sum + concat(parts).length, 0);
      // Sizes written into OBUs and an index are all that may come on top.
      assertEquals(out <= 3 * bytes + 64, true, `${bytes} bytes have become ${out}`);
      assertEquals(units.every(({ timestamp }) => timestamp === timestamp >>> 0), true);
    },
  );
  fc.assert(property, { seed: SEED, numRuns: runs });
}

function keyOf({ timestamp, parts }: RtpUnit): string {
  const bytes = concat(parts);
  return `${timestamp}/${bytes.length}/${hashOf(bytes)}`;
}
