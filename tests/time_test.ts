import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { Timeline, TimelineTrack, Unwrapper } from "../src/time.ts";

const VIDEO_US = 40_000;
const AUDIO_US = 20_000;

/** A timeline of one publisher with both tracks, in ms, and a wall clock that only the test moves. */
class Rig {
  nowMs = 0;
  readonly timeline = new Timeline(() => this.nowMs);
  video = this.#track(VIDEO_US);
  audio = this.#track(AUDIO_US);
  #lastVideoUs: number | undefined;
  #lastAudioUs: number | undefined;

  v(rawMs: number): number {
    this.#lastVideoUs = this.video.map(rawMs * 1000);
    return this.#lastVideoUs / 1000;
  }

  a(rawMs: number): number {
    this.#lastAudioUs = this.audio.map(rawMs * 1000);
    return this.#lastAudioUs / 1000;
  }

  /** Another publisher takes over. */
  takeOver(): void {
    this.timeline.restart();
    this.video = this.#track(VIDEO_US, this.#lastVideoUs);
    this.audio = this.#track(AUDIO_US, this.#lastAudioUs);
  }

  #track(frameUs: number, lastUs?: number): TimelineTrack {
    return new TimelineTrack(this.timeline, { frameUs, lastUs });
  }
}

Deno.test("Unwrapper.unwrap() follows 32 bits past their wrap-around, forth and back", () => {
  const unwrapper = new Unwrapper(32);
  const wire = [0xffff_fff0, 0xffff_fffa, 4, 0xffff_fffe, 14, 0x7fff_0000, 0xfffe_0000, 3];
  const values = wire.map((value) => unwrapper.unwrap(value));
  const turn = 2 ** 32;
  assertEquals(values, [
    0xffff_fff0,
    0xffff_fffa,
    turn + 4,
    turn - 2,
    turn + 14,
    turn + 0x7fff_0000,
    turn + 0xfffe_0000,
    2 * turn + 3,
  ]);
});

Deno.test("Unwrapper.unwrap() gives back what was wrapped when steps are below half the range", () => {
  const half = 2 ** 31;
  const steps = fc.array(fc.integer({ min: -half + 1, max: half - 1 }), { maxLength: 50 });
  fc.assert(
    fc.property(fc.nat(2 ** 31 - 1), steps, (start, moves) => {
      const unwrapper = new Unwrapper(32);
      let value = start;
      assertEquals(unwrapper.unwrap(value), value);
      for (const move of moves) {
        value += move;
        const wire = ((value % 2 ** 32) + 2 ** 32) % 2 ** 32;
        assertEquals(unwrapper.unwrap(wire), value);
      }
    }),
    { seed: 6 },
  );
});

Deno.test("TimelineTrack.map() keeps the publisher's own times while they are continuous", () => {
  const rig = new Rig();
  const video = [5000, 5040, 5080].map((ms) => rig.v(ms));
  const audio = [4990, 5010, 5030].map((ms) => rig.a(ms));
  assertEquals(video, [5000, 5040, 5080]);
  assertEquals(audio, [4990, 5010, 5030]);
  assertEquals(rig.timeline.endUs, 5_080_000);
});

Deno.test("TimelineTrack.map() holds a step back of less than a frame at the frame before", () => {
  const rig = new Rig();
  assertEquals([0, 40, 30, 80, 120].map((ms) => rig.v(ms)), [0, 40, 40, 80, 120]);
});

for (const [name, to] of [["back", 0], ["forward", 900_000]] as const) {
  for (const first of ["video", "audio"] as const) {
    Deno.test(`TimelineTrack.map() repairs a jump ${name} for both tracks when ${first} shows it first`, () => {
      const rig = new Rig();
      for (const ms of [1000, 1040, 1080]) rig.v(ms);
      for (const ms of [1000, 1020, 1040, 1060, 1080]) rig.a(ms);
      if (first === "video") {
        assertEquals([rig.v(to), rig.v(to + 40)], [1120, 1160]);
        assertEquals(rig.a(1100), 1100);
        assertEquals([rig.a(to), rig.a(to + 20)], [1120, 1140]);
      } else {
        assertEquals([rig.a(to), rig.a(to + 20)], [1100, 1120]);
        // The video frame of the same raw time lies at 1100, and one more old one lies at 1120.
        assertEquals(rig.v(1120), 1120);
        const [v, a] = [rig.v(to), rig.a(to + 40)];
        assertEquals(a - v, 40);
        assert(v > 1120);
      }
      const offset = rig.v(to + 1000) - rig.a(to + 1000);
      assertEquals(offset, 0);
    });
  }
}

Deno.test("TimelineTrack.map() keeps the offset when one track steps back by some frames", () => {
  const rig = new Rig();
  for (const ms of [0, 40, 80, 120, 160, 200]) {
    rig.v(ms);
    rig.a(ms);
  }
  // The audio's clock is set back by 150 ms and goes on from there; so does the video's, later.
  const [sound, picture] = [rig.a(90), rig.v(240)];
  assertEquals([sound, picture - sound], [240, 150]);
  assertEquals(rig.v(130) - rig.a(130), 0);
});

Deno.test("TimelineTrack.map() keeps a pause that the wall clock saw too", () => {
  const rig = new Rig();
  rig.v(0);
  rig.a(0);
  rig.nowMs += 60_000;
  assertEquals(rig.v(60_000), 60_000);
  assertEquals(rig.a(60_000), 60_000);
});

Deno.test("TimelineTrack.map() closes a gap that the wall clock did not see", () => {
  const rig = new Rig();
  rig.v(0);
  rig.v(40);
  rig.nowMs += 100;
  assertEquals(rig.v(40 + 1_100), 1_140, "within the slack");
  rig.nowMs += 100;
  assertEquals(rig.v(1_140 + 1_101), 1_140 + 40, "past it");
});

Deno.test("TimelineTrack.map() takes more than a second and ten frames for a jump", () => {
  const at = (frameMs: number, gapMs: number) => {
    const rig = new Rig();
    rig.v(0);
    rig.v(frameMs);
    return rig.v(frameMs + gapMs) - frameMs;
  };
  assertEquals(at(40, 1000), 1000);
  assertEquals(at(40, 1001), 40);
  assertEquals(at(200, 2000), 2000);
  assertEquals(at(200, 2001), 200);
});

Deno.test("TimelineTrack.map() keeps the offset when one track was silent and others went on", () => {
  const rig = new Rig();
  rig.v(0);
  for (let ms = 0; ms <= 8000; ms += 20) rig.a(ms);
  assertEquals(rig.v(8000), 8000);
  assertEquals(rig.v(8040), 8040);
});

Deno.test("TimelineTrack.map() follows a file in a loop whose audio is longer than its video", () => {
  const rig = new Rig();
  const frames: [kind: "v" | "a", rawMs: number][] = [];
  for (let loop = 0; loop < 5; loop++) {
    const video = Array.from({ length: 10 }, (_, index) => ["v", index * 40] as const);
    const audio = Array.from({ length: 23 }, (_, index) => ["a", index * 20] as const);
    const once = [...video, ...audio].sort((x, y) => x[1] - y[1]);
    for (const [kind, rawMs] of once) frames.push([kind, rawMs]);
  }
  const last = { v: -1, a: -1 };
  let loopStart = { v: 0, a: 0 };
  const offsets: number[] = [];
  for (const [kind, rawMs] of frames) {
    const us = rig[kind](rawMs);
    assert(us > last[kind], `${kind} at ${rawMs}: ${us} is not after ${last[kind]}`);
    assert(us - last[kind] <= 150, `${kind} at ${rawMs}: a step from ${last[kind]} to ${us}`);
    last[kind] = us;
    if (rawMs === 200) {
      loopStart = { ...loopStart, [kind]: us };
      if (kind === "a") offsets.push(loopStart.a - loopStart.v);
    }
  }
  assertEquals(offsets, [0, 0, 0, 0, 0]);
});

Deno.test("Timeline.restart() lets the next publisher go on one frame after the newest", () => {
  const rig = new Rig();
  for (const ms of [0, 40, 80]) rig.v(ms);
  for (const ms of [0, 20, 40, 60, 80, 100]) rig.a(ms);
  rig.takeOver();
  assertEquals([rig.v(70_000), rig.v(70_040)], [140, 180]);
  assertEquals([rig.a(70_010), rig.a(70_030)], [150, 170]);
  rig.takeOver();
  const audio = rig.a(0);
  const video = rig.v(0);
  assertEquals([audio, video], [200, 200]);
});

Deno.test("Timeline.restart() moves both tracks on when the second one would not increase", () => {
  const rig = new Rig();
  rig.v(0);
  for (let ms = 0; ms <= 100; ms += 20) rig.a(ms);
  rig.takeOver();
  const video = rig.v(40);
  const audio = rig.a(0);
  assertEquals([video, audio], [140, 120]);
  assertEquals(rig.v(80) - rig.a(40), 40);
});

Deno.test("Timeline.restart() changes nothing when there was no frame", () => {
  const rig = new Rig();
  rig.takeOver();
  assertEquals(rig.v(500), 500);
});

Deno.test("TimelineTrack.map() moves nobody else when the track does not lead", () => {
  const rig = new Rig();
  const data = new TimelineTrack(rig.timeline, { frameUs: 1_000_000, leads: false });
  assertEquals(rig.v(6000), 6000);
  assertEquals(data.map(6_000_000), 6_000_000);
  data.map(0);
  data.map(90_000_000);
  assertEquals(rig.timeline.endUs, 6_000_000);
  assertEquals(rig.a(6000), 6000);
  assertEquals(rig.v(6040), 6040);
  rig.takeOver();
  const next = new TimelineTrack(rig.timeline, { frameUs: 1_000_000, leads: false });
  next.map(0);
  assertEquals(rig.v(50_000), 6080);
});

Deno.test("TimelineTrack.map() goes on after another publisher's when the track does not lead", () => {
  const rig = new Rig();
  const data = (lastUs?: number) =>
    new TimelineTrack(rig.timeline, { frameUs: 1_000_000, lastUs, leads: false });
  assertEquals(data().map(5_000_000), 5_000_000);
  rig.takeOver();
  assertEquals(data(5_000_000).map(0), 6_000_000);
  rig.v(20_000);
  rig.takeOver();
  assertEquals(data(6_000_000).map(0), 20_000_000);
  assertEquals(rig.v(0), 20_040);
  assertEquals(data(6_000_000).map(0), 20_040_000);
});

Deno.test("TimelineTrack.map() follows a jump of the media when the track does not lead", () => {
  const rig = new Rig();
  const data = new TimelineTrack(rig.timeline, { frameUs: 1_000_000, leads: false });
  rig.v(9_960);
  data.map(9_960_000);
  assertEquals(rig.v(0), 10_000);
  assertEquals(data.map(0), 10_000_000);
});

Deno.test("TimelineTrack.map() throws when the time is no number", () => {
  const rig = new Rig();
  rig.v(0);
  for (const time of [NaN, Infinity, -Infinity]) assertThrows(() => rig.v(time), RangeError);
  assertEquals(rig.v(40), 40);
});

type Move =
  | { readonly track: "v" | "a"; readonly rawMs: number; readonly wallMs: number }
  | { readonly takeOver: true };

Deno.test("TimelineTrack.map() never goes back, whatever a publisher sends", () => {
  const move = fc.oneof(
    {
      weight: 20,
      arbitrary: fc.record({
        track: fc.constantFrom("v", "a"),
        rawMs: fc.oneof(
          fc.integer({ min: -100, max: 20_000 }),
          fc.integer({ min: 0, max: 2 ** 33 }),
        ),
        wallMs: fc.nat(5000),
      }),
    },
    { weight: 1, arbitrary: fc.constant({ takeOver: true }) },
  ) as fc.Arbitrary<Move>;
  fc.assert(
    fc.property(fc.array(move, { maxLength: 120, size: "max" }), (moves) => {
      const rig = new Rig();
      const last: Record<"v" | "a", number> = { v: -Infinity, a: -Infinity };
      let floor: Record<"v" | "a", number> | undefined;
      for (const step of moves) {
        if ("takeOver" in step) {
          rig.takeOver();
          floor = { ...last };
          continue;
        }
        rig.nowMs += step.wallMs;
        const ms = rig[step.track](step.rawMs);
        assert(ms >= last[step.track], `${ms} is before ${last[step.track]}`);
        if (floor && floor[step.track] > -Infinity) {
          assert(ms > floor[step.track], "a new publisher's first frame is after the old one's");
          floor[step.track] = -Infinity;
        }
        last[step.track] = ms;
      }
    }),
    { seed: 7, numRuns: 200 },
  );
});

Deno.test("TimelineTrack.map() keeps the offset of the tracks after every jump of a publisher", () => {
  const segment = fc.record({
    fromMs: fc.integer({ min: 0, max: 2 ** 31 }),
    frames: fc.integer({ min: 30, max: 80 }),
    lateMs: fc.integer({ min: 0, max: 200 }),
    videoFirst: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(segment, { minLength: 1, maxLength: 6 }), (segments) => {
      const rig = new Rig();
      // Each track's frames in its own order; the two reach the server up to `lateMs` apart.
      const arrivals: { atMs: number; kind: "v" | "a"; rawMs: number }[] = [];
      let clockMs = 0;
      for (const { fromMs, frames, lateMs, videoFirst } of segments) {
        for (let ms = 0; ms < frames * 40; ms += 20) {
          const atMs = clockMs + ms;
          if (ms % 40 === 0) {
            arrivals.push({
              atMs: atMs + (videoFirst ? 0 : lateMs),
              kind: "v",
              rawMs: fromMs + ms,
            });
          }
          arrivals.push({ atMs: atMs + (videoFirst ? lateMs : 0), kind: "a", rawMs: fromMs + ms });
        }
        clockMs += frames * 40 + 200;
      }
      arrivals.sort((x, y) => x.atMs - y.atMs);
      const offsets = { v: NaN, a: NaN };
      const last = { v: -1, a: -1 };
      for (const { atMs, kind, rawMs } of arrivals) {
        rig.nowMs = atMs;
        const ms = rig[kind](rawMs);
        assert(ms > last[kind]);
        last[kind] = ms;
        offsets[kind] = ms - rawMs;
      }
      assertEquals(offsets.v, offsets.a);
    }),
    { seed: 8, numRuns: 200 },
  );
});
