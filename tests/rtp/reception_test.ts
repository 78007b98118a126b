import { assertAlmostEquals, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Reception } from "../../src/rtp/reception.ts";
import type { ReportBlock } from "../../src/rtp/rtcp.ts";

const SSRC = 0x89abcdef;

/** A packet with the timestamp of a clock of 8 kHz, one packet each 20 ms. */
function header(sequence: number, timestamp = 160 * sequence) {
  return {
    payloadType: 0,
    marker: false,
    sequence: sequence & 0xffff,
    timestamp: timestamp >>> 0,
    ssrc: SSRC,
  };
}

/** Packets with the sequence numbers, which come as regularly as they were sent. */
function receive(reception: Reception, sequences: readonly number[]): void {
  for (const sequence of sequences) reception.push(header(sequence), 20 * sequence);
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

const clean: ReportBlock = {
  ssrc: SSRC,
  fractionLost: 0,
  lost: 0,
  highestSequence: 0,
  jitter: 0,
  lastReport: 0,
  sinceLastReport: 0,
};

const cases = [
  { name: "nothing is lost", sequences: range(0, 10), lost: 0, fractionLost: 0, highest: 9 },
  { name: "one of four is lost", sequences: [5, 6, 8], lost: 1, fractionLost: 64, highest: 8 },
  {
    name: "nearly all are lost",
    sequences: [0, 2500],
    lost: 2499,
    fractionLost: 255,
    highest: 2500,
  },
  { name: "one comes late", sequences: [1, 3, 2, 4], lost: 0, fractionLost: 0, highest: 4 },
  { name: "one comes three times", sequences: [1, 2, 2, 2], lost: -2, fractionLost: 0, highest: 2 },
  {
    name: "a duplicate hides a loss",
    sequences: [1, 2, 2, 4],
    lost: 0,
    fractionLost: 0,
    highest: 4,
  },
  {
    name: "the numbers wrap around",
    sequences: [0xfffe, 0xffff, 0x1_0001],
    lost: 1,
    fractionLost: 64,
    highest: 0x1_0001,
  },
  {
    name: "the numbers wrap around out of order",
    sequences: [0xfffe, 0x1_0000, 0xffff, 0x1_0001],
    lost: 0,
    fractionLost: 0,
    highest: 0x1_0001,
  },
  {
    name: "the first is late",
    sequences: [10, 9, 11],
    lost: -1,
    fractionLost: 0,
    highest: 11,
  },
  {
    name: "one is far out of sequence",
    sequences: [1, 2, 30_000, 3],
    lost: 0,
    fractionLost: 0,
    highest: 3,
  },
  {
    name: "the sender starts anew",
    sequences: [1, 2, 9, 30_000, 30_001, 30_002],
    lost: 0,
    fractionLost: 0,
    highest: 30_002,
  },
] as const;

for (const { name, sequences, lost, fractionLost, highest } of cases) {
  Deno.test(`Reception.report() counts losses when ${name}`, () => {
    const reception = new Reception(SSRC, 8000);
    receive(reception, sequences);
    const report = reception.report(0);
    assertEquals(report, {
      ...clean,
      lost,
      fractionLost,
      highestSequence: highest,
      jitter: report?.jitter ?? 0,
    });
    assertEquals(reception.lost, lost);
    assertEquals(reception.highestSequence, highest);
  });
}

Deno.test("Reception.report() counts the fraction anew for each report", () => {
  const reception = new Reception(SSRC, 8000);
  receive(reception, [0, 1, 3, 4]);
  assertEquals(reception.report(0), {
    ...clean,
    lost: 1,
    fractionLost: 51,
    highestSequence: 4,
  });
  receive(reception, [5, 6, 7, 8]);
  assertEquals(reception.report(0), { ...clean, lost: 1, fractionLost: 0, highestSequence: 8 });
  receive(reception, [10]);
  assertEquals(reception.report(0), { ...clean, lost: 2, fractionLost: 128, highestSequence: 10 });
});

Deno.test("Reception.report() is undefined when nothing came since the one before", () => {
  const reception = new Reception(SSRC, 8000);
  assertEquals(reception.report(0), undefined);
  assertEquals([reception.lost, reception.received], [0, 0]);
  receive(reception, [7]);
  assertEquals(reception.report(0), { ...clean, highestSequence: 7 });
  assertEquals(reception.report(0), undefined);
  receive(reception, [8, 9]);
  assertEquals(reception.report(0), { ...clean, highestSequence: 9 });
});

Deno.test("Reception.report() bounds the losses to 24 bits and the sequence number to 32", () => {
  const reception = new Reception(SSRC, 8000);
  const end = 3000 * Math.ceil(2 ** 32 / 3000);
  for (let sequence = 0; sequence <= end; sequence += 3000) reception.push(header(sequence), 0);
  assertEquals(reception.highestSequence, end);
  const report = reception.report(0);
  assertEquals([report?.lost, report?.highestSequence], [0x7f_ffff, end - 2 ** 32]);
});

Deno.test("Reception.report() bounds what duplicates take from the losses to 24 bits", () => {
  const reception = new Reception(SSRC, 8000);
  const packet = header(1);
  for (let time = 0; time < 2 ** 23 + 2; time++) reception.push(packet, 0);
  assertEquals(reception.lost, -(2 ** 23 + 1));
  assertEquals(reception.report(0)?.lost, -(2 ** 23));
});

Deno.test("Reception.report() says the newest sender report and the time since it came", () => {
  const reception = new Reception(SSRC, 8000);
  reception.noteSenderReport({ seconds: 1, fraction: 1 }, 500);
  reception.noteSenderReport({ seconds: 0x1234_89ab, fraction: 0xcdef_5678 }, 1000);
  receive(reception, [0]);
  assertEquals(reception.report(1000 + 1500), {
    ...clean,
    lastReport: 0x89ab_cdef,
    sinceLastReport: 1.5 * 65_536,
  });
  receive(reception, [1]);
  assertEquals(reception.report(1e9)?.sinceLastReport, 0xffff_ffff);
});

Deno.test("Reception.push() counts from the beginning when the sender starts anew", () => {
  const reception = new Reception(SSRC, 8000);
  receive(reception, [1, 2, 9]);
  assertEquals([reception.lost, reception.received], [6, 3]);
  reception.report(0);
  reception.push(header(30_000), 200);
  assertEquals([reception.lost, reception.received], [6, 3]);
  // As far as the clock goes the new timestamps are no jitter.
  reception.push(header(30_001), 220);
  reception.push(header(30_002), 240);
  reception.push(header(30_004), 280);
  assertEquals([reception.lost, reception.received], [1, 3]);
  assertEquals(reception.report(0), {
    ...clean,
    lost: 1,
    fractionLost: 64,
    highestSequence: 30_004,
  });
});

Deno.test("Reception.push() follows jumps of up to 3000, forth and back", () => {
  const reception = new Reception(SSRC, 8000);
  receive(reception, [4000, 7000, 4000, 4002, 7001]);
  assertEquals(reception.highestSequence, 7001);
  assertEquals([reception.received, reception.lost], [5, 3002 - 5]);
  receive(reception, [10_002, 10_003]);
  assertEquals([reception.received, reception.highestSequence], [1, 10_003]);
  receive(reception, [7001, 7002]);
  assertEquals([reception.received, reception.highestSequence], [1, 7002]);
});

Deno.test("Reception.push() starts anew at any number, and only after two in sequence", () => {
  const reception = new Reception(SSRC, 8000);
  receive(reception, [60_000, 63_000, 66_000, 69_000]);
  assertEquals(reception.highestSequence, 69_000);
  receive(reception, [0xffff - 20_000, 0xffff, 0x1_0000]);
  assertEquals([reception.received, reception.highestSequence], [1, 0]);
  receive(reception, [2000, 4000]);
  // It was what showed the start before.
  receive(reception, [0]);
  assertEquals([reception.received, reception.highestSequence], [3, 4000]);
});

Deno.test("Reception.jitter is 0 when packets come as they were sent, over both wrap-arounds", () => {
  const reception = new Reception(SSRC, 8000);
  for (let index = 0; index < 100; index++) {
    reception.push(header(0xffd0 + index, 0xffff_f000 + 160 * index), 1e6 + 20 * index);
  }
  assertEquals(reception.jitter, 0);
  assertEquals([reception.lost, reception.received], [0, 100]);
});

Deno.test("Reception.jitter takes in a sixteenth of each change of the delay", () => {
  const reception = new Reception(SSRC, 8000);
  reception.push(header(0), 0);
  reception.push(header(1), 30);
  // 10 ms are 80 ticks.
  assertEquals(reception.jitter, 5);
  reception.push(header(2), 40);
  assertAlmostEquals(reception.jitter, 5 + 75 / 16);
  reception.push(header(3), 60);
  assertAlmostEquals(reception.jitter, (5 + 75 / 16) * 15 / 16);
  assertEquals(reception.report(0)?.jitter, 9);
});

Deno.test("Reception.jitter counts packets of one frame, and of frames out of order", () => {
  const reception = new Reception(SSRC, 90_000);
  reception.push(header(0, 9000), 0);
  reception.push(header(1, 9000), 0);
  assertEquals(reception.jitter, 0);
  reception.push(header(2, 9000 - 1600), 0);
  assertEquals(reception.jitter, 100);
});

Deno.test("Reception.lost agrees with a count of what is missing", () => {
  const packets = fc.array(fc.tuple(fc.nat(20), fc.constantFrom("once", "twice", "never")), {
    minLength: 1,
    maxLength: 200,
  });
  fc.assert(
    fc.property(fc.nat(0xffff), packets, (start, packets) => {
      const reception = new Reception(SSRC, 8000);
      reception.push(header(start), 0);
      const order = packets.map(([delay], index) => ({ at: index + delay, index }))
        .sort((a, b) => a.at - b.at);
      let received = 1;
      let highest = start;
      for (const { index } of order) {
        const times = { once: 1, twice: 2, never: 0 }[packets[index]?.[1] ?? "never"];
        for (let time = 0; time < times; time++) reception.push(header(start + 1 + index), 0);
        received += times;
        if (times > 0) highest = Math.max(highest, start + 1 + index);
      }
      assertEquals(reception.received, received);
      assertEquals(reception.highestSequence, highest);
      assertEquals(reception.lost, highest - start + 1 - received);
    }),
    { seed: 63, numRuns: 300 },
  );
});
