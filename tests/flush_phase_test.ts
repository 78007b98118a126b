/** Where flushes fall between pictures. */

import { assert, assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { FlushTimer, FlushTimers, type Gatherer } from "../src/flush_timer.ts";
import { Mux } from "../src/mux.ts";
import { type Pump, pump, readableFrom } from "../src/readable.ts";
import { Turns } from "../src/turns.ts";
import { audioFeed, videoFeed } from "./support/frames.ts";
import { words } from "./support/muxes.ts";
import { drain, turns } from "./support/reading.ts";

interface StreamInit {
  readonly timers: FlushTimers;
  /** Time between its pictures, in ms. */
  readonly pictureMs: number;
  /** When the first of them comes. */
  readonly fromMs?: number;
  /** When a sound comes, with which it flushes. */
  readonly flushMs: number;
  /** How much later than it should a picture comes, in ms. */
  readonly lateMs?: (picture: number) => number;
  /** What the pictures' own times are. @default {"as they should come"} */
  readonly timed?: "as they come" | "as they should come";
  /** Whether the track of pictures is added when there is a viewer already. */
  readonly isAddedLate?: boolean;
}

/** A stream with one viewer that gathers for 100 ms, and when that got something. */
class Stream {
  readonly flushes: number[] = [];
  /** When pictures came. */
  readonly pictures: number[] = [];
  /** The most that have waited for a picture lately. */
  mostWaiting = 0;
  readonly #init: StreamInit;
  readonly #pump: Pump;
  readonly #video = videoFeed();
  readonly #audio = audioFeed();

  constructor(init: StreamInit) {
    this.#init = init;
    const mux = new Mux(() => words(), {
      nowMs: () => Date.now(),
      timers: init.timers,
      turns: new Turns(() => 0),
      onClose: () => {},
    });
    mux.add(this.#audio.config, this.#audio.ring);
    if (!init.isAddedLate) mux.add(this.#video.config, this.#video.ring);
    mux.start();
    const write = () => {
      this.flushes.push(Date.now());
      return true;
    };
    this.#pump = pump(readableFrom(mux.read({ flushMs: 100 })), { write, close() {}, abort() {} });
    if (init.isAddedLate) mux.add(this.#video.config, this.#video.ring);
  }

  /** Who waits for the next picture. */
  get waiting(): number {
    return this.#video.ring.waiting.size;
  }

  /** When something comes next. */
  get nextMs(): number {
    const { flushMs } = this.#init;
    const hasSound = this.#audio.ring.head > 0;
    return hasSound ? this.#pictureMs() : Math.min(flushMs, this.#pictureMs());
  }

  /** Brings what comes at this moment. */
  tick(): void {
    const { pictures } = this;
    const { pictureMs, flushMs, timed } = this.#init;
    const nowMs = Date.now();
    this.mostWaiting = Math.max(this.mostWaiting, this.waiting);
    if (nowMs === flushMs) this.#audio.write(flushMs);
    if (nowMs !== this.#pictureMs()) return;
    const ownMs = timed === "as they come" ? nowMs : pictures.length * pictureMs;
    this.#video.write(ownMs, pictures.length === 0);
    pictures.push(nowMs);
  }

  /** Its viewer leaves. */
  leave(): void {
    this.#pump.cancel();
  }

  end(): void {
    this.#video.ring.close();
    this.#audio.ring.close();
  }

  /** How long before each flush from `fromMs` on a picture has come. */
  behind(fromMs: number): number[] {
    return this.flushes.filter((ms) => ms >= fromMs).map((ms) =>
      ms - (this.pictures.findLast((picture) => picture <= ms) ?? NaN)
    );
  }

  /** When the next picture comes. */
  #pictureMs(): number {
    const { pictureMs, fromMs = 0, lateMs = () => 0 } = this.#init;
    const picture = this.pictures.length;
    return fromMs + picture * pictureMs + lateMs(picture);
  }
}

async function run(time: FakeTime, streams: readonly Stream[], untilMs: number): Promise<void> {
  for (;;) {
    const nextMs = Math.min(...streams.map((stream) => stream.nextMs));
    await time.tickAsync(Math.min(nextMs, untilMs) - Date.now());
    if (nextMs >= untilMs) return;
    for (const stream of streams) stream.tick();
    await turns();
  }
}

function steps(moments: readonly number[]): number[] {
  return moments.slice(1).map((ms, at) => ms - (moments[at] ?? NaN));
}

for (const flushMs of [1, 5, 12, 15, 18, 20, 24]) {
  Deno.test(`flushes come to go out with pictures, first at ${flushMs} of 25 ms`, async () => {
    using time = new FakeTime(0);
    const timers = new FlushTimers(() => Date.now());
    const stream = new Stream({ timers, pictureMs: 25, flushMs });
    await run(time, [stream], 4000);
    assertEquals(stream.behind(500), Array(35).fill(0));
    // Behind the first picture, which waits for nothing, and until they do, they differ by half a
    // picture's time.
    const intervals = steps(stream.flushes.slice(1));
    assert(intervals.every((ms) => ms >= 87 && ms <= 106), `${intervals}`);
    assertEquals(new Set(intervals.slice(3)), new Set([100]));
    stream.end();
    await turns();
    assertEquals(time.next(), false);
  });
}

Deno.test("flushes go out with pictures of a track that comes late, and nobody waits for them in the end", async () => {
  using time = new FakeTime(0);
  const timers = new FlushTimers(() => Date.now());
  const stream = new Stream({ timers, pictureMs: 25, flushMs: 12, isAddedLate: true });
  await run(time, [stream], 4000);
  assertEquals(stream.behind(500), Array(35).fill(0));
  // It leaves right behind a flush.
  const flushes = stream.flushes.length;
  for (let ms = 1; ms < 200 && stream.flushes.length === flushes; ms++) {
    await run(time, [stream], 4000 + ms);
  }
  assertEquals(stream.waiting, 2);
  stream.leave();
  assertEquals(stream.waiting, 0);
});

for (const pictureMs of [97, 99, 101]) {
  Deno.test(`flushes stay with pictures of ${pictureMs} ms, whose clock is another one, or late`, async () => {
    using time = new FakeTime(0);
    const timers = new FlushTimers(() => Date.now());
    const lateMs = (picture: number) => picture * 7 % 5;
    const stream = new Stream({ timers, pictureMs, flushMs: 50, lateMs });
    await run(time, [stream], 20_000);
    const behind = stream.behind(1000);
    assert(behind.length > 180 && behind.every((ms) => ms === 0), `${behind}`);
    stream.end();
    await turns();
  });
}

Deno.test("flushes go out with pictures when there is nothing else, also beside a viewer that gathers nothing", async () => {
  using time = new FakeTime(0);
  const mux = new Mux(() => words(), { nowMs: () => Date.now(), onClose: () => {} });
  const video = videoFeed();
  mux.add(video.config, video.ring);
  mux.start();
  const [atOnce, gathering] = [mux.read(), mux.read({ flushMs: 100 })];
  const got: number[] = [];
  for (let picture = 0; picture < 20; picture++) {
    video.write(picture * 100, picture === 0);
    await turns();
    drain(atOnce);
    got.push(drain(gathering).length);
    // The one at 1000 is late, and those after it are early.
    await time.tickAsync(picture === 9 ? 103 : picture === 10 ? 97 : 100);
    drain(gathering);
  }
  assertEquals(got, Array(20).fill(1));
  for (const reader of [atOnce, gathering]) reader.close();
  await turns();
  assertEquals(time.next(), false);
});

Deno.test("flushes go out with pictures whose times are in whole milliseconds", async () => {
  using time = new FakeTime(0);
  const timers = new FlushTimers(() => Date.now());
  // 30 a second: 33, 33 and 34 ms apart.
  const lateMs = (picture: number) => Math.round(picture * 1000 / 30) - picture * 33;
  const stream = new Stream({ timers, pictureMs: 33, flushMs: 20, lateMs, timed: "as they come" });
  await run(time, [stream], 8000);
  assertEquals(stream.behind(1000), Array(70).fill(0));
  stream.end();
  await turns();
});

Deno.test("flushes keep their interval when it is no whole number of pictures", async () => {
  using time = new FakeTime(0);
  const timers = new FlushTimers(() => Date.now());
  const stream = new Stream({ timers, pictureMs: 30, flushMs: 10 });
  await run(time, [stream], 2000);
  assertEquals(new Set(steps(stream.flushes.slice(1))), new Set([100]));
  stream.end();
  await turns();
});

Deno.test("streams flush together with the pictures of one, then of another one", async () => {
  using time = new FakeTime(0);
  const timers = new FlushTimers(() => Date.now());
  const [a, b] = [
    new Stream({ timers, pictureMs: 50, flushMs: 20 }),
    new Stream({ timers, pictureMs: 50, flushMs: 30, fromMs: 25 }),
  ];
  await run(time, [a, b], 2000);
  for (const stream of [a, b]) stream.mostWaiting = 0;
  await run(time, [a, b], 4000);
  // The other one's pictures are not looked at.
  assertEquals([a.mostWaiting, b.mostWaiting], [2, 1]);
  const together = a.flushes.filter((ms) => ms >= 2000);
  assertEquals(b.flushes.filter((ms) => ms >= 2000), together);
  assertEquals(a.behind(2000), Array(20).fill(0));
  a.end();
  await run(time, [b], 8000);
  assertEquals(b.behind(5000), Array(30).fill(0));
  b.end();
  await turns();
  assertEquals(time.next(), false);
});

Deno.test("a flush waits for a picture for a quarter of the time between pictures, no longer", async () => {
  using time = new FakeTime(0);
  const timers = new FlushTimers(() => Date.now());
  const lateness = new Map([[40, 6], [60, 7]]);
  const lateMs = (picture: number) => lateness.get(picture) ?? 0;
  const stream = new Stream({ timers, pictureMs: 25, flushMs: 12, lateMs });
  await run(time, [stream], 2500);
  const from = (ms: number) => stream.flushes.filter((flush) => flush > ms).slice(0, 4);
  assertEquals(from(850), [900, 1006, 1100, 1200]);
  // It goes without the picture that would have come at 1500, and then with others again.
  assertEquals(from(1350), [1400, 1506, 1600, 1700]);
  assertEquals(stream.behind(1450)[0], 31);
  stream.end();
  await turns();
});

Deno.test("flushes keep their interval when no more pictures come", async () => {
  using time = new FakeTime(0);
  const timers = new FlushTimers(() => Date.now());
  const [a, b] = [
    new Stream({ timers, pictureMs: 25, flushMs: 12 }),
    new Stream({ timers, pictureMs: 30, flushMs: 17 }),
  ];
  const lateMs = 25 / 4;
  await run(time, [a, b], 1010);
  a.end();
  await run(time, [b], 2000);
  assertEquals(new Set(steps(b.flushes.filter((ms) => ms > 1100))), new Set([100]));
  assert(steps(b.flushes.filter((ms) => ms > 900)).every((ms) => ms <= 100 + lateMs));
  b.end();
  await turns();
});

Deno.test("FlushTimer.lead() is for one at a time, and for a flush that is about due", () => {
  using time = new FakeTime(0);
  const timer = new FlushTimer(() => Date.now());
  const flushes: string[] = [];
  const gatherer = (name: string): Gatherer => ({
    flush: (dueMs) => flushes.push(`${name} ${Date.now()} ${dueMs}`),
  });
  const [a, b] = [gatherer("a"), gatherer("b")];
  const lead = { longerMs: 3, earlyMs: 20, lateMs: 10 };
  // Nobody waits.
  timer.lead(a, lead);
  assertEquals([timer.mayLead(a), timer.mayLead(b)], [true, false]);
  timer.wait(a, 100);
  timer.wait(b, 120);
  time.tick(79);
  timer.lead(a, lead);
  time.tick(2);
  timer.lead(b, lead);
  assertEquals(flushes, []);
  timer.lead(a, lead);
  assertEquals(flushes.splice(0), ["a 81 84", "b 81 84"]);
  // The one that leads has no picture this time, which is waited for once.
  timer.wait(a, 181);
  time.tick(109);
  assertEquals(flushes, []);
  time.tick(1);
  assertEquals(flushes.splice(0), ["a 191 191"]);
  assertEquals([timer.mayLead(a), timer.mayLead(b)], [true, true]);
  timer.wait(b, 291);
  time.tick(100);
  assertEquals(flushes.splice(0), ["b 291 291"]);
  // A picture that comes when nobody waits is the one of the next flush all the same.
  timer.lead(b, lead);
  timer.wait(b, 391);
  time.tick(110);
  assertEquals(flushes.splice(0), ["b 401 401"]);
  assertEquals([timer.mayLead(a), timer.mayLead(b)], [false, true]);
});
