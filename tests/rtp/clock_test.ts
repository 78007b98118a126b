import { assert, assertAlmostEquals, assertEquals, assertLess } from "@std/assert";
import fc from "fast-check";
import { SessionClock, type TrackClock } from "../../src/rtp/clock.ts";
import { ntpFromUnixUs } from "../../src/rtp/ntp.ts";
import { Timeline, TimelineTrack } from "../../src/time.ts";

/** A wall clock in 2026. */
const WALL_US = 1_790_000_000_000_000;
const TOLERANCE_US = 10_000;

interface SenderOptions {
  readonly clockRate: number;
  /** RTP timestamp at the time 0 of the test. */
  readonly base?: number;
  /** How much too fast its media clock is. */
  readonly drift?: number;
}

/** One track of a sender; times are µs of the sender's true clock, 0 at the start of the test. */
class Sender {
  readonly track: TrackClock;
  readonly #options: SenderOptions;
  /** Session time minus capture time, of the newest packet. */
  offsetUs = NaN;

  constructor(clock: SessionClock, options: SenderOptions) {
    this.track = clock.track(options.clockRate);
    this.#options = options;
  }

  timestamp(us: number): number {
    const { clockRate, base = 0, drift = 0 } = this.#options;
    return (Math.round(us * (1 + drift) * clockRate / 1e6) + base) >>> 0;
  }

  /** A packet captured at `us` that travels for `delayMs`. */
  send(us: number, delayMs = 0): number {
    const at = this.track.map(this.timestamp(us), us / 1000 + delayMs);
    this.offsetUs = at - us;
    return at;
  }

  /** A report written at `us`, by a wall clock that is off by `errorUs`. */
  report(us: number, errorUs = 0): void {
    this.track.report(ntpFromUnixUs(WALL_US + us + errorUs), this.timestamp(us), us / 1000);
  }
}

function rig(options: { videoDrift?: number; audioBase?: number } = {}) {
  const clock = new SessionClock();
  return {
    clock,
    video: new Sender(clock, { clockRate: 90_000, base: 123_456, drift: options.videoDrift ?? 0 }),
    audio: new Sender(clock, { clockRate: 48_000, base: options.audioBase ?? 0xfff0_0000 }),
  };
}

/** How much earlier audio is than the picture that it belongs to, in µs. */
function skewOf({ video, audio }: { video: Sender; audio: Sender }): number {
  return video.offsetUs - audio.offsetUs;
}

/** Runs both tracks from one time to another in ms; `delayMs` tells how long packets travel. */
function run(
  { video, audio }: { video: Sender; audio: Sender },
  [fromMs, toMs]: readonly [number, number],
  delayMs: (kind: "video" | "audio") => number = () => 0,
): void {
  for (let ms = fromMs; ms < toMs; ms += 20) {
    if (ms % 40 === 0) video.send(ms * 1000, delayMs("video"));
    audio.send(ms * 1000, delayMs("audio"));
  }
}

Deno.test("TrackClock.map() starts a track at the arrival of its first packet", () => {
  const clock = new SessionClock();
  const video = clock.track(90_000);
  const audio = clock.track(8_000);
  assertEquals(video.map(4_000_000_000, 5_000), 5_000_000);
  assertEquals(video.map(4_000_003_600, 5_100), 5_040_000);
  assertEquals(audio.map(7, 5_250), 5_250_000);
  assertEquals(audio.map(7 + 160, 5_250), 5_270_000);
  assertEquals(video.map(4_000_001_800, 5_300), 5_020_000);
});

Deno.test("TrackClock.map() goes on past the wrap-around of the timestamp, forth and back", () => {
  const track = new SessionClock().track(90_000);
  assertEquals(track.map(0xffff_fff0 - 9_000, 0), 0);
  assertEquals(track.map(0xffff_fff0, 100), 100_000);
  assertEquals(track.map(8_984, 200), 200_000);
  assertEquals(track.map(0xffff_fff0, 201), 100_000);
  assertEquals(track.map(17_984, 300), 300_000);
});

Deno.test("TrackClock.map() goes on with the arrivals when the timestamps have a new base", () => {
  for (const base of [1_000_000_000, 3_000_000_000]) {
    const track = new SessionClock().track(90_000);
    track.map(2_000_000_000, 1_000);
    assertEquals(track.map(2_000_003_600, 1_040), 1_040_000);
    assertEquals(track.map(base, 1_080), 1_080_000, `${base}`);
    assertEquals(track.map(base + 3_600, 1_121), 1_120_000);
  }
});

Deno.test("TrackClock.map() keeps the sender's times when packets stall and then come at once", () => {
  const track = new SessionClock().track(90_000);
  track.map(0, 0);
  for (let frame = 1; frame < 500; frame++) {
    assertEquals(track.map(frame * 3_600, 20_000), frame * 40_000);
  }
  // A pause of the sender, as of a still screen.
  assertEquals(track.map(500 * 3_600 + 60 * 90_000, 80_000), 80_000_000);
});

Deno.test("TrackClock.report() brings tracks within 10 ms when starts are skewed and arrivals jitter", () => {
  const delays = fc.record({ video: fc.nat(500), audio: fc.nat(500), seed: fc.nat() });
  fc.assert(
    fc.property(delays, ({ video, audio, seed }) => {
      const session = rig();
      let state = seed;
      const jitter = () => (state = (state * 1_103_515_245 + 12_345) % 2 ** 31) % 40;
      // Only the first packets are late, so arrivals say nothing true of the relation.
      session.video.send(0, video);
      session.audio.send(0, audio);
      run(session, [40, 1_000], (kind) => (kind === "video" ? video : audio) + jitter());
      assertAlmostEquals(skewOf(session), (video - audio) * 1000, 1);
      session.video.report(1_000_000);
      session.audio.report(1_020_000);
      run(session, [1_040, 3_000], jitter);
      assertLess(Math.abs(skewOf(session)), 100);
    }),
    { seed: 1, numRuns: 100 },
  );
});

Deno.test("TrackClock.report() moves the track that is too early on, and the other not at all", () => {
  for (const [videoMs, audioMs] of [[500, 0], [0, 500]] as const) {
    const session = rig();
    session.video.send(0, videoMs);
    session.audio.send(0, audioMs);
    const timeline = new Timeline(() => 0);
    const video = new TimelineTrack(timeline, { frameUs: 40_000 });
    const audio = new TimelineTrack(timeline, { frameUs: 20_000 });
    session.audio.report(20_000);
    session.video.report(40_000);
    for (let us = 80_000; us < 2_000_000; us += 40_000) {
      const at = session.video.send(us, 500);
      assertEquals(at, us + 500_000);
      assertEquals(session.audio.send(us), at);
      // The step is one that the engine's timeline takes as it is.
      assertEquals([video.map(at), audio.map(at)], [at, at]);
    }
  }
});

Deno.test("TrackClock.map() makes no step after the first one when reports are noisy", () => {
  const session = rig();
  session.video.send(0, 300);
  session.audio.send(0, 0);
  run(session, [40, 1_000]);
  let noise = 7;
  const noiseUs = () => (noise = (noise * 75) % 65_537) % 12_000 - 6_000;
  let last = -Infinity;
  for (let second = 1; second < 120; second++) {
    session.video.report(second * 1e6, noiseUs());
    session.audio.report(second * 1e6 + 100_000, noiseUs());
    for (let ms = 0; ms < 1_000; ms += 20) {
      const us = (second * 1_000 + ms) * 1_000;
      const at = session.audio.send(us);
      if (second > 1) assertAlmostEquals(at - last, 20_000, 101);
      last = at;
    }
    session.video.send(second * 1e6);
    assertLess(Math.abs(skewOf(session)), TOLERANCE_US);
  }
});

Deno.test("TrackClock.map() is not touched by noise of reports below 5 ms", () => {
  const session = rig();
  session.video.send(0, 300);
  session.audio.send(0, 0);
  let last = NaN;
  for (let second = 1; second < 60; second++) {
    session.video.report(second * 1e6, second % 3 * 1_000);
    session.audio.report(second * 1e6, second % 2 * 2_000);
    for (let ms = 0; ms < 1_000; ms += 20) {
      const at = session.audio.send((second * 1_000 + ms) * 1_000);
      if (last > 2e6) assertAlmostEquals(at - last, 20_000, 1);
      last = at;
    }
    session.video.send(second * 1e6);
  }
});

Deno.test("TrackClock.report() waits for sense when the first reports are hours apart", () => {
  const session = rig();
  session.video.send(0, 250);
  session.audio.send(0, 0);
  session.video.report(100_000, -3 * 3_600e6);
  session.audio.report(100_000);
  run(session, [200, 5_000]);
  assertAlmostEquals(skewOf(session), 250_000, 50);
  for (const second of [5, 10]) {
    session.video.report(second * 1e6);
    session.audio.report(second * 1e6);
    run(session, [second * 1_000, second * 1_000 + 5_000]);
  }
  assertLess(Math.abs(skewOf(session)), 100);
});

Deno.test("TrackClock.report() keeps within 10 ms over an hour of 200 ppm drift", () => {
  for (const drift of [200e-6, -200e-6]) {
    const session = rig({ videoDrift: drift });
    session.video.send(0, 500);
    session.audio.send(0, 0);
    let worst = 0;
    for (let second = 1; second <= 3_600; second++) {
      for (let ms = 0; ms < 1_000; ms += 100) {
        session.video.send((second * 1_000 + ms) * 1_000);
        session.audio.send((second * 1_000 + ms) * 1_000);
      }
      if (second % 5 === 1) session.video.report(second * 1e6);
      if (second % 5 === 3) session.audio.report(second * 1e6);
      if (second > 10) worst = Math.max(worst, Math.abs(skewOf(session)));
    }
    assertLess(worst, TOLERANCE_US);
    assert(worst > 1_000, "the drift is there");
  }
});

Deno.test("TrackClock.report() catches up when reports were lost for ten minutes of drift", () => {
  const session = rig({ videoDrift: 200e-6 });
  session.video.send(0, 200);
  session.audio.send(0, 0);
  session.video.report(100_000);
  session.audio.report(100_000);
  run(session, [200, 600_000]);
  assertAlmostEquals(skewOf(session), 120_000, 5_000);
  for (let round = 0; round < 8; round++) {
    session.video.report(600e6 + round * 5e6);
    session.audio.report(600e6 + round * 5e6);
    for (let ms = round * 5_000; ms < round * 5_000 + 5_000; ms += 40) {
      const before = [session.video.offsetUs, session.audio.offsetUs];
      run(session, [600_000 + ms, 600_000 + ms + 40]);
      for (const [index, { offsetUs }] of [session.video, session.audio].entries()) {
        assertAlmostEquals(offsetUs, before[index] ?? NaN, 250, "no steps");
      }
    }
  }
  assertLess(Math.abs(skewOf(session)), TOLERANCE_US);
});

Deno.test("TrackClock.report() changes nothing when only one track reports", () => {
  const session = rig({ videoDrift: 200e-6 });
  session.video.send(0, 120);
  session.audio.send(0, 20);
  for (let second = 1; second < 60; second++) {
    session.video.report(second * 1e6);
    run(session, [second * 1_000, second * 1_000 + 1_000]);
    const drift = (second * 1_000 + 960) * 1_000 * 200e-6;
    assertAlmostEquals(session.video.offsetUs, 120_000 + drift, 20);
    assertAlmostEquals(session.audio.offsetUs, 20_000, 10);
  }
});

Deno.test("TrackClock.report() ignores NTP times of 0 and RTP timestamps far from the packets'", () => {
  const session = rig();
  session.video.send(0, 300);
  session.audio.send(0, 0);
  const none = { seconds: 0, fraction: 0 };
  session.video.track.report(none, session.video.timestamp(0), 100);
  session.audio.track.report(none, session.audio.timestamp(0), 100);
  run(session, [40, 1_000]);
  assertAlmostEquals(skewOf(session), 300_000, 20);
  const ntp = ntpFromUnixUs(WALL_US);
  session.video.track.report(ntp, session.video.timestamp(200e6), 1_000);
  session.audio.track.report(ntp, session.audio.timestamp(200e6), 1_000);
  run(session, [1_000, 2_000]);
  assertAlmostEquals(skewOf(session), 300_000, 20);
  // Not even taken note of: the next reports count at once.
  session.video.report(2e6);
  session.audio.report(2e6);
  run(session, [2_000, 2_100]);
  assertLess(Math.abs(skewOf(session)), 50);
});

Deno.test("TrackClock.report() takes reports that came before the first packet", () => {
  const session = rig();
  session.audio.report(0);
  session.video.report(0);
  session.audio.send(100_000, 0);
  session.video.send(100_000, 400);
  session.audio.send(120_000, 0);
  assertAlmostEquals(skewOf(session), 0, 50);
});

Deno.test("TrackClock.report() moves no track that has times for one that has none yet", () => {
  for (const lateMs of [400, -80]) {
    const session = rig();
    session.video.report(0);
    session.audio.report(0);
    const at = session.video.send(100_000, 500);
    assertAlmostEquals(session.audio.send(100_000, 500 + lateMs), at, 50);
    assertEquals(session.video.send(140_000, 500), at + 40_000);
    assertAlmostEquals(skewOf(session), 0, 50);
  }
});

Deno.test("TrackClock.report() keeps the tracks' relation when the sender's clock is set", () => {
  const HOURS_US = 3 * 3_600e6;
  for (const errorUs of [HOURS_US, -HOURS_US, 400_000]) {
    const session = rig();
    session.video.send(0, 250);
    session.audio.send(0, 0);
    session.video.report(100_000);
    session.audio.report(100_000);
    run(session, [200, 5_000]);
    const offset = session.audio.offsetUs;
    // The clock is set; reports of one track alone, then of both.
    session.video.report(5e6, errorUs);
    run(session, [5_000, 10_000]);
    session.video.report(10e6, errorUs);
    run(session, [10_000, 12_000]);
    assertLess(Math.abs(skewOf(session)), 100);
    session.audio.report(12e6, errorUs);
    run(session, [12_000, 20_000]);
    assertLess(Math.abs(skewOf(session)), 100);
    assertAlmostEquals(session.audio.offsetUs, offset, 100);
    // From here on the new wall clock counts.
    for (let second = 20; second < 60; second++) {
      session.video.report(second * 1e6, errorUs + 15_000);
      session.audio.report(second * 1e6, errorUs);
      run(session, [second * 1_000, second * 1_000 + 1_000]);
    }
    assertAlmostEquals(skewOf(session), 15_000, 6_000);
  }
});

Deno.test("TrackClock.report() keeps the tracks' relation when reports are random", () => {
  const session = rig();
  session.video.send(0, 250);
  session.audio.send(0, 0);
  session.video.report(100_000);
  session.audio.report(100_000);
  run(session, [200, 1_000]);
  let random = 7;
  const randomUs = () => (random = (random * 75) % 65_537) * 1e6;
  for (let second = 1; second < 60; second++) {
    session.video.report(second * 1e6, randomUs());
    session.audio.report(second * 1e6, randomUs());
    run(session, [second * 1_000, second * 1_000 + 1_000]);
    assertLess(Math.abs(skewOf(session)), 1_000);
  }
});

Deno.test("TrackClock.report() takes a new relation when all reports agree on it for good", () => {
  const session = rig();
  session.video.send(0, 0);
  session.audio.send(0, 0);
  session.video.report(100_000);
  session.audio.report(100_000);
  run(session, [200, 5_000]);
  for (let second = 5; second < 20; second += 5) {
    session.video.report(second * 1e6, 300_000);
    session.audio.report(second * 1e6);
    run(session, [second * 1_000, second * 1_000 + 5_000]);
    if (second === 5) assertLess(Math.abs(skewOf(session)), 100);
  }
  assertAlmostEquals(skewOf(session), 300_000, 1_000);
});

Deno.test("TrackClock.report() synchronises anew when a track's timestamps have a new base", () => {
  const session = rig();
  session.video.send(0, 100);
  session.audio.send(0, 0);
  session.video.report(100_000);
  session.audio.report(100_000);
  run(session, [200, 5_000]);
  const shifted = (us: number) => (session.video.timestamp(us) + 2_000_000_000) >>> 0;
  // The new base comes 200 ms late.
  const at = session.video.track.map(shifted(5e6), 5_200);
  session.audio.send(5e6);
  assertAlmostEquals(at - 5e6 - session.audio.offsetUs, 200_000, 1_000);
  session.video.track.report(ntpFromUnixUs(WALL_US + 6e6), shifted(6e6), 6_000);
  session.audio.report(6e6);
  const synchronised = session.video.track.map(shifted(7e6), 7_000);
  session.audio.send(7e6);
  assertLess(Math.abs(synchronised - 7e6 - session.audio.offsetUs), 1_000);
});

Deno.test("TrackClock.anchor() lays tracks upon each other when RTP-Info says their start", () => {
  const lateAnchors = [false, true];
  for (const [videoMs, audioMs] of [[500, 0], [0, 500]] as const) {
    for (const late of lateAnchors) {
      // The audio's timestamps wrap around between its start and its first packet.
      const session = rig({ audioBase: 0xffff_ff00 });
      const anchor = () => {
        session.video.track.anchor(session.video.timestamp(0));
        session.audio.track.anchor(session.audio.timestamp(0));
      };
      if (!late) anchor();
      session.video.send(40_000, videoMs);
      session.audio.send(20_000, audioMs);
      if (late) anchor();
      const before = [session.video.offsetUs, session.audio.offsetUs];
      session.video.send(80_000);
      session.audio.send(40_000);
      assertLess(Math.abs(skewOf(session)), 50, `${videoMs} ${audioMs} ${late}`);
      if (late) {
        assert(session.video.offsetUs >= (before[0] ?? 0), "video does not go back");
        assert(session.audio.offsetUs >= (before[1] ?? 0), "audio does not go back");
      }
      // Reports know better.
      session.video.report(1e6, 70_000);
      session.audio.report(1e6);
      run(session, [1_000, 1_200]);
      assertAlmostEquals(skewOf(session), 70_000, 50);
      session.video.track.anchor(session.video.timestamp(0));
      run(session, [1_200, 1_300]);
      assertAlmostEquals(skewOf(session), 70_000, 50);
    }
  }
});

Deno.test("TrackClock.anchor() is ignored when far from the first packet", () => {
  const session = rig();
  session.video.track.anchor(0x8000_0000);
  session.audio.track.anchor(session.audio.timestamp(0));
  session.video.send(0, 300);
  session.audio.send(0, 0);
  assertEquals(skewOf(session), 300_000);
  session.video.track.anchor(0x8000_0000);
  session.video.send(40_000);
  assertAlmostEquals(skewOf(session), 300_000, 50);
});
