import { assert, assertEquals, assertLessOrEqual, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { RtpPacket } from "../../src/rtp/packet.ts";
import { type OrderedPacket, ReorderBuffer } from "../../src/rtp/reorder.ts";

const options = { seed: 512, numRuns: 500 };
const PAYLOAD = new Uint8Array(1);

/** A packet whose timestamp is its unwrapped sequence number. */
function rtp(sequence: number, ssrc = 1): RtpPacket {
  return {
    payloadType: 96,
    marker: false,
    sequence: sequence & 0xffff,
    timestamp: sequence,
    ssrc,
    payload: PAYLOAD,
  };
}

/** Items as text: `5`, `8-2` after two lost ones, `7!` of a sender that has started anew. */
function show(items: readonly OrderedPacket[]): string {
  return items.map(({ packet, lost, restarted }) =>
    `${packet.timestamp}${lost > 0 ? `-${lost}` : ""}${restarted ? "!" : ""}`
  ).join(" ");
}

/** What comes out for each of the sequence numbers, all of which come at one time. */
function pushAll(buffer: ReorderBuffer, sequences: readonly number[], nowMs = 0): string[] {
  return sequences.map((sequence) => show(buffer.push(rtp(sequence), nowMs)));
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, index) => from + index);
}

const none = { received: 0, lost: 0, reordered: 0, late: 0, duplicates: 0 };

Deno.test("ReorderBuffer.push() gives packets in order at once", () => {
  const buffer = new ReorderBuffer();
  assertEquals(buffer.dueMs, undefined);
  assertEquals(pushAll(buffer, [65534, 65535, 65536, 65537]), ["65534", "65535", "65536", "65537"]);
  assertEquals(buffer.counters, { ...none, received: 4 });
  assertEquals([buffer.waiting, buffer.dueMs], [0, undefined]);
});

Deno.test("ReorderBuffer.push() puts late packets back and drops duplicates", () => {
  const buffer = new ReorderBuffer();
  assertEquals(pushAll(buffer, [5, 7, 8, 8, 10, 6]), ["5", "", "", "", "", "6 7 8"]);
  assertEquals([buffer.waiting, buffer.dueMs], [1, 200]);
  assertEquals(pushAll(buffer, [6, 10, 5, 9, 11]), ["", "", "", "9 10", "11"]);
  assertEquals(buffer.counters, { ...none, received: 11, reordered: 2, duplicates: 4 });
});

Deno.test("ReorderBuffer.push() gives up a gap that does not fit the window", () => {
  const buffer = new ReorderBuffer({ maxPackets: 4 });
  assertEquals(pushAll(buffer, [0, 2, 4, 5]), ["0", "", "", "2-1"]);
  assertEquals(pushAll(buffer, [6, 7]), ["", "4-1 5 6 7"]);
  assertEquals(pushAll(buffer, [1, 3, 20]), ["", "", ""]);
  assertEquals(pushAll(buffer, [17, 19, 18]), ["17-9", "", "18 19 20"]);
  assertEquals(buffer.counters, { ...none, received: 12, lost: 11, reordered: 3, late: 2 });
});

Deno.test("ReorderBuffer.push() gives up a gap before a packet that has waited for too long", () => {
  const buffer = new ReorderBuffer({ maxDelayMs: 50 });
  buffer.push(rtp(0), 0);
  buffer.push(rtp(5), 10);
  buffer.push(rtp(2), 30);
  buffer.push(rtp(9), 59.9);
  assertEquals([buffer.waiting, buffer.dueMs], [3, 60]);
  // The packet that was missing is in time if it comes first.
  assertEquals(show(buffer.push(rtp(1), 60)), "1 2 5-2");
  assertEquals([buffer.waiting, buffer.dueMs], [1, 109.9]);
  assertEquals(show(buffer.push(rtp(10), 109.9)), "9-3 10");
  assertEquals(buffer.counters, { ...none, received: 6, lost: 5, reordered: 2 });
});

Deno.test("ReorderBuffer.release() gives up gaps when dueMs has come, and not before", () => {
  const buffer = new ReorderBuffer({ maxDelayMs: 50 });
  assertEquals(buffer.release(1e9), []);
  buffer.push(rtp(0), 0);
  buffer.push(rtp(3), 10);
  buffer.push(rtp(2), 20);
  buffer.push(rtp(5), 30);
  buffer.push(rtp(7), 40);
  assertEquals(buffer.dueMs, 60);
  assertEquals(buffer.release(59.9), []);
  assertEquals(show(buffer.release(60)), "2-1 3");
  assertEquals(buffer.dueMs, 80);
  assertEquals(show(buffer.release(90)), "5-1 7-1");
  assertEquals([buffer.waiting, buffer.dueMs], [0, undefined]);
  assertEquals(show(buffer.push(rtp(8), 90)), "8");
});

Deno.test("ReorderBuffer.release() gives packets before the one that is due, whenever they came", () => {
  const buffer = new ReorderBuffer({ maxDelayMs: 50 });
  buffer.push(rtp(0), 0);
  buffer.push(rtp(6), 10);
  buffer.push(rtp(4), 40);
  buffer.push(rtp(2), 50);
  assertEquals(show(buffer.release(60)), "2-1 4-1 6-1");
});

Deno.test("ReorderBuffer.push() tells late packets from duplicates", () => {
  const buffer = new ReorderBuffer({ reorder: false });
  pushAll(buffer, [100, 102, 103, 110]);
  assertEquals(buffer.counters, { ...none, received: 4, lost: 7 });
  pushAll(buffer, [101, 101, 102, 103, 104, 100, 99]);
  assertEquals(buffer.counters, { received: 11, lost: 7, reordered: 0, late: 3, duplicates: 4 });
});

Deno.test("ReorderBuffer.push() remembers 3000 packets, whatever was 4096 before them", () => {
  const buffer = new ReorderBuffer({ reorder: false });
  pushAll(buffer, range(0, 4096));
  pushAll(buffer, [4096 + 500, 4096 + 501]);
  pushAll(buffer, [4096 + 499, 4096, 4095, 1598]);
  assertEquals(buffer.counters, {
    received: 4102,
    lost: 500,
    reordered: 0,
    late: 2,
    duplicates: 2,
  });
});

Deno.test("ReorderBuffer.push() remembers packets across those that are lost", () => {
  const buffer = new ReorderBuffer({ reorder: false });
  pushAll(buffer, range(0, 3646));
  pushAll(buffer, range(3647, 4598));
  pushAll(buffer, [1598]);
  assertEquals(buffer.counters, { received: 4598, lost: 1, reordered: 0, late: 0, duplicates: 1 });
  pushAll(buffer, [3646]);
  assertEquals(buffer.counters, { received: 4599, lost: 1, reordered: 0, late: 1, duplicates: 1 });
});

Deno.test("ReorderBuffer.push() says gaps at once when reordering is off", () => {
  const buffer = new ReorderBuffer({ reorder: false, maxPackets: 100 });
  assertEquals(pushAll(buffer, [1, 2, 4, 3, 3, 4, 7, 3007, 3008]), [
    "1",
    "2",
    "4-1",
    "",
    "",
    "",
    "7-2",
    "3007-2999",
    "3008",
  ]);
  assertEquals([buffer.waiting, buffer.dueMs], [0, undefined]);
  assertEquals(buffer.counters, { received: 9, lost: 3002, reordered: 0, late: 1, duplicates: 2 });
});

for (const reorder of [true, false]) {
  const state = reorder ? "on" : "off";

  for (const start of [33_000, 1100 - 32_768]) {
    Deno.test(`ReorderBuffer.push() starts anew at ${start} when reordering is ${state}`, () => {
      const buffer = new ReorderBuffer({ reorder });
      pushAll(buffer, [1099, 1100]);
      assertEquals(pushAll(buffer, [start, start, start + 1, start + 2]), [
        "",
        "",
        `${start}! ${start + 1}`,
        `${start + 2}`,
      ]);
      assertEquals(buffer.counters, { ...none, received: 6, duplicates: 1 });
      assertEquals(pushAll(buffer, [start, start - 1, 1101]), ["", "", ""]);
      assertEquals(buffer.counters, { ...none, received: 9, late: 1, duplicates: 2 });
    });
  }

  Deno.test(`ReorderBuffer.push() drops strays when reordering is ${state}`, () => {
    const buffer = new ReorderBuffer({ reorder });
    assertEquals(pushAll(buffer, [1, 2, 20_000, 3, 20_001, 4]), ["1", "2", "", "3", "", "4"]);
    assertEquals(buffer.counters, { ...none, received: 6, late: 2 });
    assertEquals(pushAll(buffer, [20_000, 30_000, 40_000, 40_001]), ["", "", "", "40000! 40001"]);
    assertEquals(buffer.counters, { ...none, received: 10, late: 4 });
    assertEquals(pushAll(buffer, [5, 40_002]), ["", "40002"]);
    assertEquals(buffer.flush(), []);
    assertEquals(buffer.counters, { ...none, received: 12, late: 5 });
  });

  Deno.test(`ReorderBuffer.push() starts anew with another source when reordering is ${state}`, () => {
    const buffer = new ReorderBuffer({ reorder });
    assertEquals(show(buffer.push(rtp(7, 1), 0)), "7");
    assertEquals(show(buffer.push(rtp(8, 2), 0)), "");
    assertEquals(show(buffer.push(rtp(8, 1), 0)), "8");
    assertEquals(show(buffer.push(rtp(9, 2), 0)), "");
    assertEquals(show(buffer.push(rtp(10, 3), 0)), "");
    assertEquals(show(buffer.push(rtp(11, 3), 0)), "10! 11");
    assertEquals(show(buffer.push(rtp(12, 3), 0)), "12");
    assertEquals(buffer.counters, { ...none, received: 7, late: 2 });
  });

  Deno.test(`ReorderBuffer.push() follows jumps of up to 3000 when reordering is ${state}`, () => {
    const buffer = new ReorderBuffer({ reorder });
    pushAll(buffer, [0]);
    // 1 is what is next.
    const given = pushAll(buffer, [3001, 3002]);
    given.push(show(buffer.flush()));
    assertEquals(given, reorder ? ["", "", "3001-3000 3002"] : ["3001-3000", "3002", ""]);
    assertEquals(buffer.counters, { ...none, received: 3, lost: 3000 });
    pushAll(buffer, [3, 4]);
    assertEquals(buffer.counters, { ...none, received: 5, lost: 3000, late: 2 });
    assertEquals(pushAll(buffer, [2, 2 + 3001 + 3001]), ["", ""]);
    assertEquals(pushAll(buffer, [2 + 3001 + 3002]), ["6004! 6005"]);
  });

  Deno.test(`ReorderBuffer.push() starts anew a little behind after 2 s when reordering is ${state}`, () => {
    const buffer = new ReorderBuffer({ reorder });
    pushAll(buffer, range(1000, 1100), 0);
    assertEquals(pushAll(buffer, [1050, 1051, 1052], 2000), ["", "", ""]);
    assertEquals(pushAll(buffer, [1053, 1054, 1055], 2001), ["", "1053! 1054", "1055"]);
    assertEquals(buffer.counters, { ...none, received: 106, duplicates: 3 });
    assertEquals(pushAll(buffer, [1053, 1054], 4001), ["", ""]);
    assertEquals(pushAll(buffer, [1056], 10_000), ["1056"]);
    assertEquals(pushAll(buffer, [1053, 1054], 12_000), ["", ""]);
    pushAll(buffer, [1060], 20_000);
    assertEquals(pushAll(buffer, [1053, 1054], 22_000), ["", ""]);
    assertEquals(pushAll(buffer, [1053, 1054], 22_001).slice(1), [
      reorder ? "1060-3 1053! 1054" : "1053! 1054",
    ]);
    assertEquals(pushAll(buffer, [1052, 1053], 24_001), ["", ""]);
  });
}

Deno.test("ReorderBuffer.push() gives what waits before the packets of a sender that starts anew", () => {
  const buffer = new ReorderBuffer();
  pushAll(buffer, [0, 2, 5]);
  assertEquals(pushAll(buffer, [20_000, 20_001]), ["", "2-1 5-2 20000! 20001"]);
  assertEquals([buffer.waiting, buffer.dueMs], [0, undefined]);
  assertEquals(pushAll(buffer, [20_003, 20_002]), ["", "20002 20003"]);
});

Deno.test("ReorderBuffer.flush() gives what waits, and the buffer goes on", () => {
  const buffer = new ReorderBuffer();
  assertEquals(buffer.flush(), []);
  pushAll(buffer, [65_530, 65_533, 65_538, 65_535]);
  assertEquals(show(buffer.flush()), "65533-2 65535-1 65538-2");
  assertEquals([buffer.waiting, buffer.dueMs], [0, undefined]);
  assertEquals(buffer.counters, { ...none, received: 4, lost: 5, reordered: 1 });
  assertEquals(pushAll(buffer, [65_539]), ["65539"]);
});

Deno.test("new ReorderBuffer() throws when a bound is out of its range", () => {
  for (const maxPackets of [0, -1, 1.5, 2049, NaN]) {
    assertThrows(
      () => new ReorderBuffer({ maxPackets }),
      RangeError,
      `maxPackets is ${maxPackets}`,
    );
  }
  for (const maxDelayMs of [-1, NaN]) {
    assertThrows(
      () => new ReorderBuffer({ maxDelayMs }),
      RangeError,
      `maxDelayMs is ${maxDelayMs}`,
    );
  }
  new ReorderBuffer({ maxPackets: 2048, maxDelayMs: 0 });
});

/** A way through a network: how far each packet falls behind, and which come once more, how much later. */
function network(window: number) {
  const delay = fc.nat(window - 1);
  return fc.array(fc.record({ delay, again: fc.option(fc.nat(window)) }), {
    minLength: 1,
    maxLength: 300,
  });
}

/** The packets after `start` in the order of their arrival, the first of all being in its place. */
function arrivals(
  start: number,
  ways: readonly { readonly delay: number; readonly again: number | null }[],
): number[] {
  const list = [{ at: -1, sequence: start }];
  for (const [index, { delay, again }] of ways.entries()) {
    const sequence = start + 1 + index;
    list.push({ at: index + delay, sequence });
    if (again !== null) list.push({ at: index + delay + again, sequence });
  }
  return list.sort((a, b) => a.at - b.at).map(({ sequence }) => sequence);
}

Deno.test("ReorderBuffer.push() gives the original order when packets are shuffled within the window", () => {
  const cases = fc.integer({ min: 1, max: 70 }).chain((window) =>
    fc.tuple(fc.constant(window), fc.nat(0xffff), network(window))
  );
  fc.assert(
    fc.property(cases, ([window, start, ways]) => {
      const buffer = new ReorderBuffer({ maxPackets: window });
      const sequences = arrivals(start, ways);
      const given = sequences.flatMap((sequence) => [...buffer.push(rtp(sequence), 0)]);
      assertEquals(show(given), range(start, start + 1 + ways.length).join(" "));
      const duplicates = sequences.length - 1 - ways.length;
      const { reordered } = buffer.counters;
      assertEquals(buffer.counters, { ...none, received: sequences.length, reordered, duplicates });
      assertEquals(buffer.waiting, 0);
    }),
    options,
  );
});

Deno.test("ReorderBuffer.push() gives the original order wherever the numbers wrap around", () => {
  const sequences = arrivals(
    0,
    range(0, 40).map((index) => ({
      delay: (index * 7) % 16,
      again: index % 3 === 0 ? 5 : null,
    })),
  );
  for (let back = 0; back <= 42; back++) {
    const start = 0x1_0000 - back;
    const buffer = new ReorderBuffer({ maxPackets: 16 });
    const given = sequences.flatMap((sequence) => [...buffer.push(rtp(start + sequence), 0)]);
    assertEquals(show(given), range(start, start + 41).join(" "));
    assertEquals(buffer.counters.lost, 0);
  }
});

Deno.test("ReorderBuffer gives all but the lost, wherever packets are lost", () => {
  const length = 20;
  for (let from = 1; from < length; from++) {
    for (let to = from + 1; to < length; to++) {
      const kept = range(0, length).filter((sequence) => sequence < from || sequence >= to);
      const expected = kept.map((sequence) =>
        sequence === to ? `${to}-${to - from}` : `${sequence}`
      );
      for (const reorder of [true, false]) {
        const buffer = new ReorderBuffer({ reorder, maxPackets: 64 });
        const given = kept.flatMap((sequence) => [...buffer.push(rtp(sequence), sequence)]);
        assertEquals(buffer.dueMs, reorder ? to + 200 : undefined);
        given.push(...buffer.release(to + 200));
        assertEquals(show(given), expected.join(" "));
        assertEquals(buffer.counters, { ...none, received: kept.length, lost: to - from });
      }
    }
  }
});

/** The plainest buffer that does the same, with numbers that never wrap around and no other sources. */
class NaiveBuffer {
  readonly #maxPackets: number;
  readonly #maxDelayMs: number;
  readonly #came = new Set<number>();
  #waiting: { readonly sequence: number; readonly atMs: number }[] = [];
  #next: number | undefined;
  #lost = 0;

  constructor(maxPackets: number, maxDelayMs: number) {
    this.#maxPackets = maxPackets;
    this.#maxDelayMs = maxDelayMs;
  }

  push(sequence: number, nowMs: number): string {
    this.#next ??= sequence;
    if (sequence < this.#next || this.#came.has(sequence)) return "";
    this.#came.add(sequence);
    this.#waiting.push({ sequence, atMs: nowMs });
    return this.release(nowMs);
  }

  release(nowMs: number): string {
    const given: string[] = [];
    this.#waiting.sort((a, b) => a.sequence - b.sequence);
    while (this.#waiting.length > 0) {
      const next = this.#next ?? 0;
      const newest = this.#waiting.at(-1)?.sequence ?? 0;
      if (this.#waiting[0]?.sequence === next) {
        given.push(this.#lost > 0 ? `${next}-${this.#lost}` : `${next}`);
        this.#lost = 0;
        this.#waiting.shift();
      } else if (
        newest - next >= this.#maxPackets ||
        this.#waiting.some(({ atMs }) => nowMs - atMs >= this.#maxDelayMs)
      ) {
        this.#lost++;
      } else {
        break;
      }
      this.#next = next + 1;
    }
    return given.join(" ");
  }

  get dueMs(): number | undefined {
    if (this.#waiting.length === 0) return undefined;
    return Math.min(...this.#waiting.map(({ atMs }) => atMs)) + this.#maxDelayMs;
  }
}

Deno.test("ReorderBuffer does what a naive one does, whatever comes and when", () => {
  const step = fc.record({
    // Around the newest packet: mostly near, at times far.
    jump: fc.oneof(fc.integer({ min: -8, max: 8 }), fc.integer({ min: -60, max: 60 })),
    waitMs: fc.constantFrom(0, 0, 0, 1, 3, 10),
    release: fc.boolean(),
  });
  const steps = fc.array(step, { maxLength: 300 });
  const bounds = fc.record({
    maxPackets: fc.integer({ min: 1, max: 40 }),
    maxDelayMs: fc.constantFrom(0, 1, 5, 20, Infinity),
  });
  fc.assert(
    fc.property(fc.nat(0xffff), bounds, steps, (start, bounds, steps) => {
      const buffer = new ReorderBuffer(bounds);
      const naive = new NaiveBuffer(bounds.maxPackets, bounds.maxDelayMs);
      let newest = start;
      let nowMs = 0;
      let given = 0;
      for (const { jump, waitMs, release } of steps) {
        nowMs += waitMs;
        if (release) assertEquals(take(buffer.release(nowMs)), naive.release(nowMs));
        const sequence = Math.max(newest + jump, 0);
        newest = Math.max(newest, sequence);
        assertEquals(take(buffer.push(rtp(sequence), nowMs)), naive.push(sequence, nowMs));
        assertEquals(buffer.dueMs, naive.dueMs);
        assertLessOrEqual(buffer.waiting, bounds.maxPackets);
      }
      const { received, late, duplicates } = buffer.counters;
      assertEquals(given + buffer.waiting + late + duplicates, received);

      function take(items: readonly OrderedPacket[]): string {
        given += items.length;
        return show(items);
      }
    }),
    options,
  );
});

Deno.test("ReorderBuffer keeps no more than its window, whatever a peer sends", () => {
  const step = fc.record({
    sequence: fc.nat(0xffff),
    run: fc.nat(4),
    stride: fc.integer({ min: -3, max: 700 }),
    ssrc: fc.constantFrom(1, 1, 1, 2),
    waitMs: fc.constantFrom(0, 0, 1, 300, 3000),
  });
  fc.assert(
    fc.property(fc.boolean(), fc.array(step, { maxLength: 100 }), (reorder, steps) => {
      const buffer = new ReorderBuffer({ reorder, maxPackets: 100 });
      const seen = new Set<RtpPacket>();
      let given = 0;
      let lost = 0;
      let nowMs = 0;
      for (const { sequence, run, stride, ssrc, waitMs } of steps) {
        nowMs += waitMs;
        for (let index = 0; index <= run; index++) {
          take(buffer.push(rtp(sequence + index * stride, ssrc), nowMs));
          assertLessOrEqual(buffer.waiting, reorder ? 99 : 0);
        }
      }
      take(buffer.flush());
      const { counters } = buffer;
      assertEquals([buffer.waiting, buffer.dueMs], [0, undefined]);
      assertEquals(given + counters.late + counters.duplicates, counters.received);
      assertEquals(lost, counters.lost);

      function take(items: readonly OrderedPacket[]): void {
        for (const item of items) {
          assert(!seen.has(item.packet));
          seen.add(item.packet);
          lost += item.lost;
        }
        given += items.length;
      }
    }),
    options,
  );
});
