import { assertEquals, assertThrows } from "@std/assert";
import { MAX_NAL_UNITS } from "../../src/codecs/nal.ts";
import { InvalidDataError } from "../../src/errors.ts";
import { MARKER_PROOFS, MAX_ACCESS_UNIT_BYTES } from "../../src/rtp/access_unit.ts";
import { H264Depacketizer } from "../../src/rtp/h264.ts";
import { MAX_FRAGMENTS } from "../../src/rtp/nal_assembler.ts";
import type { RtpPacket } from "../../src/rtp/packet.ts";
import type { RtpUnit } from "../../src/rtp/payload.ts";
import { formatWith, packetsOf, run } from "../support/nal_packets.ts";

/** What comes out of the packets of a script, and how many access units are dropped. */
interface Outcome {
  readonly units: string;
  readonly dropped: number;
}

/**
 * Plays a script of H.264 packets, one NAL unit each: `2:5+*` has timestamp 2, type 5, the first slice
 * of its picture (+) and the marker (*). A type of `x` is malformed, `e` an empty payload, `s`, `m` and
 * `f` are the fragments of a slice, `=` repeats the packet before, `-` is a loss that is announced, `~`
 * one that is not.
 *
 * The outcome has each access unit as timestamp, types and the packet that gave it, counted from 0.
 */
function play(script: string): Outcome {
  const depacketizer = new H264Depacketizer(formatWith("H264"));
  const units: string[] = [];
  const add = (found: readonly RtpUnit[], at: number | string) => {
    for (const { timestamp, parts } of found) {
      const types = parts.map((part) => (part[0] ?? 0) & 31);
      units.push(`${timestamp}:${types.join(",")}@${at}`);
    }
  };
  let sequence = 0;
  let last: RtpPacket | undefined;
  script.split(" ").forEach((token, at) => {
    if (token === "-" || token === "~") {
      sequence += 3;
      if (token === "-") depacketizer.lose();
      return;
    }
    const repeated = token === "=" && last !== undefined;
    const packet = repeated ? last as RtpPacket : packetOf(token, sequence++);
    last = packet;
    try {
      add(depacketizer.push(packet), at);
    } catch (error) {
      if (!(error instanceof InvalidDataError)) throw error;
    }
  });
  add(depacketizer.flush(), "end");
  return { units: units.join(" "), dropped: depacketizer.dropped };
}

function packetOf(token: string, sequence: number): RtpPacket {
  const [, timestamp = "", type = "", first = "", marker = ""] =
    /^(\d+):(\d+|[xesmf])(\+?)(\*?)$/.exec(token) ?? [];
  const payloads: Record<string, number[]> = {
    x: [0x80 | 1],
    e: [],
    s: [0x7c, 0x80 | 1, 0x80],
    m: [0x7c, 1, 7],
    f: [0x7c, 0x40 | 1, 7],
  };
  const payload = payloads[type] ?? [0x60 | Number(type), first === "+" ? 0x80 : 0x40, 7];
  const [packet] = packetsOf([
    { payload, timestamp: Number(timestamp), marker: marker === "*", sequence },
  ]);
  if (packet === undefined) throw new Error(`Cannot make a packet of ${token}`);
  return packet;
}

const ends = [
  {
    name: "markers once a keyframe has ended at its first one",
    script: "0:5+* 1:1+* 2:1+*",
    units: "0:5@1 1:1@1 2:1@2",
  },
  {
    name: "markers once a slice came without and a later one with it",
    script: "0:5+ 0:5* 1:1+* 2:1+*",
    units: "0:5,5@1 1:1@2 2:1@3",
  },
  {
    name: "timestamps without markers",
    script: "0:5+ 1:1+ 1:1 2:1+",
    units: "0:5@1 1:1,1@3 2:1@end",
  },
  {
    name: "a timestamp where a believed marker is forgotten",
    script: "0:5+ 0:5* 1:1+ 2:1+*",
    units: "0:5,5@1 1:1@3 2:1@3",
  },
  {
    name: "slices, not markers on parameter sets",
    script: "0:7* 0:8* 0:5+* 1:1+* 2:7* 2:8* 2:5+*",
    units: "0:7,8,5@3 1:1@3 2:7,8,5@6",
  },
  {
    name: "timestamps where each slice has a marker",
    script: "0:7 0:5+* 0:5* 0:5* 1:1+* 1:1* 2:1+*",
    units: "0:7,5,5,5@4 1:1,1@6 2:1@end",
  },
  {
    name: "timestamps where each packet has a marker",
    script: "0:s* 0:m* 0:f* 0:5* 1:s* 1:f* 1:1* 2:1+*",
    units: "0:1,5@4 1:1,1@7 2:1@end",
  },
  {
    name: "no marker in the middle of a NAL unit",
    script: "0:5+ 0:s* 0:f* 1:1+*",
    units: "0:5,1@2 1:1@3",
  },
  {
    name: "timestamps where a slice is lost that had a marker as each one",
    script: "0:5+* - 0:12 0:5* 1:1+* 1:1* 2:1+*",
    units: "1:1,1@6 2:1@end",
    dropped: 1,
  },
  {
    name: "timestamps for good once a believed marker was wrong",
    script: "0:5+* 1:1+* 1:1* 2:1+* 2:1* 3:5+* 4:1+* 4:1*",
    units: "0:5@1 1:1@1 2:1,1@5 3:5@6 4:1,1@end",
    dropped: 1,
  },
  {
    name: "markers of fields with one timestamp",
    script: "0:5+ 0:5* 0:1+ 0:1* 1:1+*",
    units: "0:5,5@1 0:1,1@3 1:1@4",
  },
  {
    name: "the marker of a first field before there is proof",
    script: "0:5+* 0:1+* 1:1+*",
    units: "0:5@1 0:1@1 1:1@2",
  },
  {
    name: "the timestamp of fields without markers",
    script: "0:5+ 0:1+ 1:1+",
    units: "0:5,1@2 1:1@end",
  },
  {
    name: "no slice of another access unit behind sets of the same timestamp",
    script: "0:5+ 0:5* 0:8 0:1* 1:1+*",
    units: "0:5,5@1 1:1@4",
    dropped: 1,
  },
  {
    name: "units without a slice of their own timestamp",
    script: "0:7* 1:5+* 2:1+*",
    units: "0:7@1 1:5@2 2:1@2",
  },
  {
    name: "what comes after a filler",
    script: "0:5+ 0:12* 1:1+ 1:12*",
    units: "0:5,12@1 1:1,12@3",
  },
];

for (const { name, script, units, dropped = 0 } of ends) {
  Deno.test(`AccessUnits.take() follows ${name}`, () => {
    assertEquals(play(script), { units, dropped });
  });
}

/** An access unit of each kind, whose beginnings are learned; then one whose marker is believed. */
const learned = "0:5+ 0:5* 1:7 1:5+* 2:1+*";
const whole = "0:5,5@1 1:7,5@3 2:1@4";

const losses = [
  { name: "the start, first slice gone", script: "- 3:1* 4:1+*", units: "4:1@7", dropped: 1 },
  {
    name: "the start, SEI gone",
    script: "3:6 3:1+* - 4:1+* 5:1+*",
    units: "3:6,1@6 5:1@9",
    dropped: 1,
  },
  { name: "the start, set gone", script: "- 3:5+* 4:1+*", units: "4:1@7", dropped: 1 },
  { name: "the middle", script: "3:1+ - 3:1* 4:5+*", units: "4:5@8", dropped: 1 },
  { name: "the end with the marker", script: "3:1+ - 4:1+*", units: "4:1@7", dropped: 1 },
  {
    name: "the end and the next start",
    script: "3:1+ - 4:1 4:1* 5:1+*",
    units: "5:1@9",
    dropped: 2,
  },
  { name: "whole access units", script: "- 7:1+*", units: "7:1@6", dropped: 0 },
  {
    name: "whole access units before a delimiter",
    script: "- 7:9 7:6 7:1+*",
    units: "7:9,6,1@8",
    dropped: 0,
  },
  { name: "whole access units before a set", script: "- 7:7 7:5+*", units: "7:7,5@7", dropped: 0 },
  {
    name: "the middle with an end that is never marked",
    script: "3:1+ - 3:1 4:1+*",
    units: "4:1@8",
    dropped: 1,
  },
  { name: "a fragment", script: "3:s - 3:f* 4:1+*", units: "4:1@8", dropped: 1 },
  { name: "fragments up to the next start", script: "3:s - 4:s 4:f*", units: "4:1@8", dropped: 1 },
  { name: "a first fragment", script: "- 3:m 3:f* 4:1+*", units: "4:1@8", dropped: 1 },
  {
    name: "a fragment that nobody announces",
    script: "3:s ~ 3:f* 4:1+*",
    units: "4:1@8",
    dropped: 1,
  },
  { name: "packets twice", script: "3:1+ - - 3:1* 4:1+*", units: "4:1@9", dropped: 1 },
  { name: "the last packets", script: "3:1+ -", units: "", dropped: 1 },
  { name: "packets behind the last marker", script: "3:1+* -", units: "3:1@5", dropped: 0 },
  {
    name: "packets between two of one timestamp",
    script: "3:1+* - 3:1* 4:1+*",
    units: "3:1@5 4:1@8",
    dropped: 1,
  },
  { name: "no packet but a fragment's end", script: "3:s 4:1+*", units: "4:1@6", dropped: 1 },
  {
    name: "no packet but a fragment's end before another",
    script: "3:s 3:s 3:f* 4:1+*",
    units: "4:1@8",
    dropped: 1,
  },
  {
    name: "no packet but a fragment's end before a slice",
    script: "3:s 3:1* 4:1+*",
    units: "4:1@7",
    dropped: 1,
  },
  { name: "no packet but a fragment's start", script: "3:f* 4:1+*", units: "4:1@6", dropped: 1 },
  {
    name: "no packet, one being malformed",
    script: "3:1+ 3:x 3:1* 4:1+*",
    units: "4:1@8",
    dropped: 1,
  },
  {
    name: "no packet, a marked one being malformed",
    script: "3:1+ 3:x* 3:1* 4:1+*",
    units: "4:1@8",
    dropped: 1,
  },
  {
    name: "no packet, the first of a timestamp being malformed",
    script: "3:1+ 4:x 4:1+* 5:1+*",
    units: "3:1@7 5:1@8",
    dropped: 1,
  },
  {
    name: "no packet, one coming twice",
    script: "3:1+ = 3:1* = 4:1+*",
    units: "3:1,1@7 4:1@9",
    dropped: 0,
  },
  {
    name: "no packet, one being empty",
    script: "3:1+ 3:e 3:1* 4:1+*",
    units: "3:1,1@7 4:1@8",
    dropped: 0,
  },
];

for (const { name, script, units, dropped } of losses) {
  Deno.test(`AccessUnits.lose() drops what is broken when the loss is of ${name}`, () => {
    const { units: found, dropped: gone } = play(`${learned} ${script}`);
    assertEquals({ found, gone }, { found: `${whole} ${units}`.trim(), gone: dropped });
  });
}

const beginnings = [
  { name: "a delimiter", script: "- 0:9 0:5+ 0:5*", units: "0:9,5,5@3", dropped: 0 },
  { name: "a first set", script: "- 0:7 0:8 0:5+ 0:5*", units: "0:7,8,5,5@4", dropped: 0 },
  { name: "another set", script: "- 0:8 0:5+ 0:5* 1:1+*", units: "1:1@4", dropped: 1 },
  { name: "a slice", script: "- 0:5+ 0:5* 1:1+*", units: "1:1@3", dropped: 1 },
  { name: "a slice, nothing being lost", script: "0:5+ 0:5*", units: "0:5,5@1", dropped: 0 },
  {
    name: "a later slice, nothing being lost",
    script: "0:5 0:5* 1:1+*",
    units: "1:1@2",
    dropped: 1,
  },
  {
    name: "a later fragment, nothing being lost",
    script: "0:m 0:f* 1:1+*",
    units: "1:1@end",
    dropped: 1,
  },
  {
    name: "what begins now so, now otherwise",
    script: "0:5+ 0:5* 1:1+* 2:6 2:1+* - 3:6 3:1+* - 4:1+* 5:1+*",
    units: "0:5,5@1 1:1@2 2:6,1@4 5:1@10",
    dropped: 2,
  },
  {
    name: "one field where there were two",
    script: "0:5+ 0:5* 1:1+ 1:1+* - 2:1+* - 3:1+ 3:1+*",
    units: "0:5,5@1 1:1,1@3 3:1,1@8",
    dropped: 1,
  },
  {
    name: "a keyframe that waits for proof",
    script: "0:5+* - 1:9 1:1+*",
    units: "1:9,1@end",
    dropped: 1,
  },
];

for (const { name, script, units, dropped } of beginnings) {
  Deno.test(`AccessUnits.take() decides on a beginning with ${name}`, () => {
    assertEquals(play(script), { units, dropped });
  });
}

Deno.test("AccessUnits.take() believes markers after access units without a keyframe", () => {
  const script = Array.from({ length: MARKER_PROOFS + 2 }, (_, at) => `${at}:1+*`);
  const units = script.map((_, at) => `${at}:1@${at < MARKER_PROOFS ? at + 1 : at}`);
  assertEquals(play(script.join(" ")), { units: units.join(" "), dropped: 0 });
});

const flushes = [
  { name: "never marked", script: "0:5+ 0:5", units: "0:5,5@end", dropped: 0 },
  { name: "marked, waiting for proof", script: "0:5+*", units: "0:5@end", dropped: 0 },
  { name: "not marked where others were", script: "0:5+ 0:5* 1:1+", units: "0:5,5@1", dropped: 1 },
  { name: "not marked where a broken one was", script: "0:s* 1:5+", units: "", dropped: 2 },
  { name: "cut off in a fragment", script: "0:5+ 0:s", units: "", dropped: 1 },
  { name: "nothing", script: "-", units: "", dropped: 0 },
];

for (const { name, script, units, dropped } of flushes) {
  Deno.test(`AccessUnits.flush() decides on what is ${name}`, () => {
    assertEquals(play(script), { units, dropped });
  });
}

/** Pushes packets until one is refused: how many were taken. */
function pushed(depacketizer: H264Depacketizer, packets: Iterable<RtpPacket>): number {
  let count = 0;
  assertThrows(() => {
    for (const packet of packets) {
      depacketizer.push(packet);
      count++;
    }
  }, InvalidDataError);
  return count;
}

function* endless(payloads: readonly Uint8Array[]): Generator<RtpPacket> {
  for (let sequence = 0; sequence <= 0xffff; sequence++) {
    const payload = payloads[Math.min(sequence, payloads.length - 1)] ?? new Uint8Array();
    yield { payloadType: 96, marker: false, sequence, timestamp: 0, ssrc: 1, payload };
  }
}

const large = new Uint8Array(65_000).fill(0x41);
const firstFragment = new Uint8Array(65_000).fill(0x81).fill(0x7c, 0, 1);
const fragment = new Uint8Array(65_000).fill(1).fill(0x7c, 0, 1);
const bounds = [
  { name: "bytes", payloads: [large], most: Math.floor(MAX_ACCESS_UNIT_BYTES / 65_000) },
  { name: "NAL units", payloads: [Uint8Array.of(0x41, 0x80)], most: MAX_NAL_UNITS },
  {
    name: "bytes in fragments",
    payloads: [firstFragment, fragment],
    most: Math.floor(MAX_ACCESS_UNIT_BYTES / 64_998),
  },
  {
    name: "fragments",
    payloads: [Uint8Array.of(0x7c, 0x81, 0x80), Uint8Array.of(0x7c, 1, 7)],
    most: MAX_FRAGMENTS,
  },
];

for (const { name, payloads, most } of bounds) {
  Deno.test(`AccessUnits.add() refuses an access unit of too many ${name}`, () => {
    const depacketizer = new H264Depacketizer(formatWith("H264"));
    assertEquals(pushed(depacketizer, endless(payloads)), most);
    depacketizer.lose();
    const rest = packetsOf([
      { payload: [0x41, 0x40], marker: true },
      { payload: [0x65, 0x80], marker: true, timestamp: 1 },
    ]);
    assertEquals(run(depacketizer, rest).map((unit) => unit.timestamp), [1]);
    assertEquals(depacketizer.dropped, 1);
  });
}
