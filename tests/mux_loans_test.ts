import { assert, assertEquals, assertNotStrictEquals, assertStrictEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import fc from "fast-check";
import { BufferPool } from "../src/buffer_pool.ts";
import type { MediaFrame } from "../src/frame.ts";
import { type Batch, type Format, Mux } from "../src/mux.ts";
import { type Pump, pump, readableFrom, type Sink } from "../src/readable.ts";
import { Turns } from "../src/turns.ts";
import { audioFeed, videoFeed } from "./support/frames.ts";
import { loop, turns } from "./support/reading.ts";

const BUFFER_BYTES = 1024;

/** A format of frames of 41 to 200 bytes, each with its own number, of which joiners get a header. */
function numbered(): Format {
  const markOf = ({ kind, dts }: MediaFrame) =>
    1 + (dts / 20_000 + (kind === "video" ? 0 : 1)) % 250;
  const lengthOf = (frame: MediaFrame) => 40 + markOf(frame) % 160;
  return {
    header: () => new Uint8Array(7).fill(255),
    write: lengthOf,
    copyTo(frame, target, at) {
      target.fill(markOf(frame), at, at + lengthOf(frame));
    },
  };
}

/** A mux of a video and an audio track with its pool. */
class Bench {
  readonly buffers = new BufferPool(BUFFER_BYTES);
  readonly mux: Mux;
  readonly #video = videoFeed();
  readonly #audio = audioFeed();
  #ms = 0;

  /** All viewers get what there is in one turn, if the clock of turns stands still. */
  constructor(turnsNowMs: () => number = () => 0) {
    this.mux = new Mux(numbered, {
      nowMs: () => Date.now(),
      buffers: this.buffers,
      turns: new Turns(turnsNowMs),
      onClose: () => {},
    });
    for (const feed of [this.#video, this.#audio]) this.mux.add(feed.config, feed.ring);
    this.mux.start();
  }

  /** Writes a picture and its sound, and lets readers take them. */
  async write(): Promise<void> {
    this.#video.write(this.#ms, this.#ms % 400 === 0);
    this.#audio.write(this.#ms);
    this.#ms += 40;
    await turns(3);
  }

  /** Starts a sink. */
  watch(sink: Sink<Batch>, flushMs: number): Pump {
    return pump(readableFrom(this.mux.read({ flushMs })), sink);
  }
}

/** A sink that looks whether what it holds stays what it was; it takes its time when told to. */
class Holder implements Sink<Batch> {
  readonly borrows: boolean;
  pump: Pump | undefined;
  slow = false;
  taken = 0;
  #held: { readonly bytes: Uint8Array; readonly copy: Uint8Array }[] = [];

  constructor(borrows: boolean) {
    this.borrows = borrows;
  }

  write({ bytes }: Batch): boolean {
    this.check();
    this.taken++;
    this.#held.push({ bytes, copy: bytes.slice() });
    if (this.slow) return false;
    if (this.borrows) this.#held = [];
    return true;
  }

  /** Has sent all. */
  resume(): void {
    this.slow = false;
    this.check();
    if (this.borrows) this.#held = [];
    this.pump?.resume();
  }

  check(): void {
    for (const { bytes, copy } of this.#held) assertEquals(bytes, copy);
  }

  close(): void {}
  abort(): void {}
}

Deno.test("Mux makes the batches of sinks that borrow in the same memory", async () => {
  const bench = new Bench();
  const memory = new Set<ArrayBufferLike>();
  const sink: Sink<Batch> = {
    borrows: true,
    write: ({ bytes }) => {
      if (bytes[0] !== 255) memory.add(bytes.buffer);
      return true;
    },
    close() {},
    abort() {},
  };
  await bench.write();
  const pumps = Array.from({ length: 5 }, () => bench.watch(sink, 0));
  for (let at = 0; at < 20; at++) await bench.write();
  assertEquals(memory.size, 1);
  assertEquals(bench.buffers.free, 1);
  for (const pump of pumps) pump.cancel();
});

Deno.test("Mux leaves the batches alone that a stream has given, or that a slow sink holds", async () => {
  const bench = new Bench();
  const reader = readableFrom(bench.mux.read()).getReader();
  const slow = new Holder(true);
  const fast = new Holder(true);
  await bench.write();
  slow.pump = bench.watch(slow, 0);
  fast.pump = bench.watch(fast, 0);
  slow.slow = true;
  const got: { readonly bytes: Uint8Array; readonly copy: Uint8Array }[] = [];
  for (let at = 0; at < 30; at++) {
    await bench.write();
    const { value } = await reader.read();
    assert(value);
    got.push({ bytes: value.bytes, copy: value.bytes.slice() });
  }
  for (const { bytes, copy } of got) assertEquals(bytes, copy);
  assert(slow.taken < fast.taken);
  slow.resume();
  for (const { pump } of [slow, fast]) pump?.cancel();
  await reader.cancel();
});

Deno.test("Mux takes the memory back that a slow sink held, and shares with it what the others got", async () => {
  const bench = new Bench();
  const batches = [new Set<Uint8Array>(), new Set<Uint8Array>()] as const;
  let ready = true;
  const sinks = batches.map((batches, at): Sink<Batch> => ({
    borrows: true,
    write({ bytes }) {
      batches.add(bytes);
      return at === 0 || ready;
    },
    close() {},
    abort() {},
  }));
  await bench.write();
  const pumps = sinks.map((sink) => bench.watch(sink, 40));
  using time = new FakeTime(0);
  const pass = async () => {
    await bench.write();
    await time.tickAsync(40);
  };
  await pass();
  ready = false;
  await pass();
  assertEquals(bench.buffers.free, 0);
  await pass();
  ready = true;
  pumps[1]?.resume();
  const [quick, slow] = batches;
  assertEquals(slow.size, quick.size);
  assertStrictEquals([...slow].at(-1), [...quick].at(-1));
  await pass();
  assertEquals(bench.buffers.free, 2);
  for (const pump of pumps) pump.cancel();
});

Deno.test("Mux takes the memory back of what a late sink got alone", async () => {
  const bench = new Bench();
  let ready = true;
  const sinkOf = (isReady: () => boolean): Sink<Batch> => ({
    borrows: true,
    write: isReady,
    close() {},
    abort() {},
  });
  await bench.write();
  const pumps = [bench.watch(sinkOf(() => true), 40), bench.watch(sinkOf(() => ready), 40)];
  using time = new FakeTime(0);
  const pass = async () => {
    await bench.write();
    await time.tickAsync(40);
  };
  await pass();
  ready = false;
  for (let times = 0; times < 3; times++) await pass();
  ready = true;
  // The others have read its first frames in batches of their own.
  pumps[1]?.resume();
  await pass();
  assertEquals(bench.buffers.free, 2);
  for (const pump of pumps) pump.cancel();
});

Deno.test("Mux never uses the memory again of a sink that has left while it was sending", async () => {
  const bench = new Bench();
  const slow = new Holder(true);
  await bench.write();
  slow.pump = bench.watch(slow, 0);
  slow.slow = true;
  await bench.write();
  await bench.write();
  slow.pump.cancel();
  const fast = new Holder(true);
  fast.pump = bench.watch(fast, 0);
  for (let at = 0; at < 20; at++) await bench.write();
  slow.check();
  fast.pump.cancel();
});

Deno.test("Mux gives each sink whole batches whoever is slow, leaves or comes", async () => {
  const action = fc.record({
    sink: fc.nat(40),
    act: fc.constantFrom("slow", "resume", "leave", "write", "pass", "loop"),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(action, { maxLength: 100 }), async (actions) => {
      using time = new FakeTime(0);
      let nowMs = 0;
      const bench = new Bench(() => nowMs += 4);
      const sinks = new Map<number, Holder>();
      const left: Holder[] = [];
      await bench.write();
      for (const { sink: number, act } of actions) {
        let sink = sinks.get(number);
        if (sink === undefined) {
          sink = new Holder(number < 36);
          sinks.set(number, sink);
          sink.pump = bench.watch(sink, number % 2 === 0 ? 0 : 40);
        }
        if (act === "slow") sink.slow = true;
        else if (act === "resume") sink.resume();
        else if (act === "pass") await time.tickAsync(40);
        else if (act === "loop") await loop(number);
        else if (act === "leave") {
          sink.pump?.cancel();
          sinks.delete(number);
          left.push(sink);
        }
        await bench.write();
        for (const one of [...sinks.values(), ...left]) one.check();
      }
      for (const { pump } of sinks.values()) pump?.cancel();
    }),
    { seed: 20_261_122, numRuns: 300 },
  );
});

Deno.test("BufferPool.take() gives a buffer that was given back, else a new one", () => {
  const pool = new BufferPool(64);
  const first = pool.take();
  const second = pool.take();
  assertEquals([first.length, second.length], [64, 64]);
  assertNotStrictEquals(first, second);
  pool.give(first);
  assertStrictEquals(pool.take(), first);
  for (let at = 0; at < 100; at++) pool.give(new Uint8Array(64));
  assertEquals(pool.free, 16);
});
