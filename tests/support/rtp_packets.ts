/** Packets of RTP as tests write them, and what depacketizers make of them. */

import { assertEquals } from "@std/assert";
import { InvalidDataError } from "../../src/errors.ts";
import type { RtpFormat } from "../../src/rtp/format.ts";
import { parseRtp, type RtpPacket } from "../../src/rtp/packet.ts";
import type { Depacketizer, RtpUnit } from "../../src/rtp/payload.ts";
import { parseSdp } from "../../src/rtp/sdp.ts";
import { describeUnit, type RtpFixture } from "./rtp_fixtures.ts";

/** Makes a depacketizer for a format. */
export type Make = (format: RtpFormat) => Depacketizer;

/** A packet as tests write it: what is left out is 0, false or one more than before. */
export interface Sent {
  readonly payload: readonly number[] | Uint8Array;
  readonly timestamp?: number;
  readonly marker?: boolean;
  readonly sequence?: number;
}

/** Packets with sequence numbers that begin at 65534, to wrap around soon. */
export function packetsOf(sent: readonly Sent[]): RtpPacket[] {
  let next = 65_534;
  return sent.map(({ payload, timestamp = 0, marker = false, sequence = next }) => {
    next = (sequence + 1) & 0xffff;
    const bytes = Uint8Array.from(payload);
    return { payloadType: 96, marker, sequence, timestamp, ssrc: 1, payload: bytes };
  });
}

/** Everything that comes out of `packets`; `undefined` among them is a loss that is announced. */
export function run(
  depacketizer: Depacketizer,
  packets: readonly (RtpPacket | undefined)[],
): RtpUnit[] {
  const units = packets.flatMap((packet) => {
    if (packet === undefined) depacketizer.lose();
    return packet === undefined ? [] : depacketizer.push(packet);
  });
  return [...units, ...depacketizer.flush()];
}

/** {@linkcode run} for hostile packets: whatever is thrown must be an {@linkcode InvalidDataError}. */
export function runHostile(
  depacketizer: Depacketizer,
  packets: readonly (RtpPacket | undefined)[],
): RtpUnit[] {
  const units: RtpUnit[] = [];
  for (const packet of packets) {
    try {
      if (packet === undefined) depacketizer.lose();
      else units.push(...depacketizer.push(packet));
    } catch (error) {
      if (!(error instanceof InvalidDataError)) throw error;
    }
  }
  return [...units, ...depacketizer.flush()];
}

/** The packets of a fixture and the format that its session description announces. */
export function opened(fixture: RtpFixture): { packets: RtpPacket[]; format: RtpFormat } {
  const format = parseSdp(fixture.sdp).media[0]?.formats[0];
  if (format === undefined) throw new Error(`Cannot find a format: ${fixture.name} has none`);
  return { packets: fixture.packets.map(parseRtp), format };
}

/** Asserts that a fixture comes out as its encoder put it in. */
export function assertAsExpected(fixture: RtpFixture, make: Make): void {
  const { packets, format } = opened(fixture);
  const depacketizer = make(format);
  const units = run(depacketizer, packets);
  const origin = units[0]?.timestamp ?? 0;
  const { expected } = fixture;
  const found = units.map((unit) => describeUnit(expected.encoding, unit, origin));
  const wanted = expected.units.map(({ timestamp, bytes, hash }, index) => {
    const shown = found[index]?.timestamp ?? NaN;
    const close = Math.abs(shown - timestamp) <= expected.tolerance;
    return { timestamp: close ? shown : timestamp, bytes, hash };
  });
  assertEquals(found, wanted);
  assertEquals(depacketizer.dropped, 0);
}
