import { assert, assertEquals, assertGreater, assertLess, assertLessOrEqual } from "@std/assert";
import fc from "fast-check";
import type { VideoConfig } from "../../src/codecs/config.ts";
import { videoConfigFrom } from "../../src/codecs/description.ts";
import { DecodeTimes, reorderDepthOf } from "../../src/rtp/decode_time.ts";
import { configOf } from "../../src/rtp/media_format.ts";
import { parseSdp } from "../../src/rtp/sdp.ts";
import { readFixture, readFixtures } from "../support/codec_fixtures.ts";
import { fixtureNames, readRtpFixture } from "../support/rtp_fixtures.ts";

const FRAME_US = 40_000;

/** GOP structures: presentation numbers in decoding order, of one group that repeats. */
const PATTERNS = [
  { name: "IPPP", depth: 0, order: [0, 1, 2, 3] },
  { name: "IPB", depth: 1, order: [0, 2, 1, 4, 3, 6, 5] },
  { name: "IPBB", depth: 1, order: [0, 3, 1, 2, 6, 4, 5, 9, 7, 8] },
  { name: "IPBBB with a reference B", depth: 2, order: [0, 4, 2, 1, 3, 8, 6, 5, 7, 9] },
  {
    name: "pyramid of 7 B",
    depth: 3,
    order: [0, 8, 4, 2, 1, 3, 6, 5, 7, 16, 12, 10, 9, 11, 14, 13, 15, 17],
  },
  { name: "adaptive", depth: 2, order: [0, 1, 2, 5, 4, 3, 6, 10, 8, 7, 9, 12, 11, 13] },
] as const;

/** Open GOPs: from the second on, pictures before the keyframe come after it. */
const OPEN = [2, 0, 1, 5, 3, 4, 8, 6, 7];

function openGops(count: number): number[] {
  const first = [0, 3, 1, 2, 6, 4, 5];
  const rest = Array.from({ length: count }, (_, gop) => OPEN.map((n) => n + 7 + gop * 9));
  return [...first, ...rest.flat()];
}

/** `gops` groups of a pattern, each closed. */
function closedGops(order: readonly number[], gops: number): number[] {
  return Array.from({ length: gops }, (_, gop) => order.map((n) => n + gop * order.length)).flat();
}

/** A configuration that says `depth`: the parameter sets of an encoder, with other words for it. */
function configWith(depth: number): VideoConfig {
  const config = videoConfigFrom("hvc1", readFixture("h265_main_854x480").record);
  return { ...config, fourcc: depth === 0 ? "vp09" : "hvc1" };
}

/** Decode times of frames in decoding order. */
function decodeTimes(ptsUs: readonly number[], times = new DecodeTimes()): number[] {
  return ptsUs.map((us) => times.push(us));
}

/** Fails unless decode times grow and none is later than its frame's presentation. */
function assertSound(ptsUs: readonly number[], dtsUs: readonly number[], what: string): void {
  let last = -Infinity;
  dtsUs.forEach((dts, index) => {
    const at = `${what}, frame ${index} of ${ptsUs[index]}: ${dts} after ${last}`;
    assertGreater(dts, last, at);
    assertLessOrEqual(dts, ptsUs[index] ?? 0, at);
    assert(Number.isInteger(dts), at);
    last = dts;
  });
}

for (const { name, depth, order } of PATTERNS) {
  const ptsUs = closedGops(order, 12).map((n) => n * FRAME_US);

  Deno.test(`DecodeTimes.push() learns the depth when frames are ${name}`, () => {
    const times = new DecodeTimes();
    const dtsUs = decodeTimes(ptsUs, times);
    assertSound(ptsUs, dtsUs, name);
    assertEquals(times.depth, depth);
    // Once learnt, decode times are the presentation times in order, late by the depth.
    const sorted = ptsUs.toSorted((a, b) => a - b);
    const from = order.length * 6;
    assertEquals(dtsUs.slice(from), sorted.slice(from - depth, sorted.length - depth));
  });

  Deno.test(`DecodeTimes.push() stays sound when any frame of ${name} is lost`, () => {
    for (let lost = 0; lost < order.length * 3; lost++) {
      for (let run = 1; run <= 2; run++) {
        const rest = ptsUs.toSpliced(lost, run);
        // Without its keyframe the first group begins with pictures before that.
        if (lost === 0 && depth > 0) continue;
        assertSound(rest, decodeTimes(rest), `${name} without ${lost}`);
      }
    }
  });

  Deno.test(`DecodeTimes.push() stays sound when the times of ${name} jitter`, () => {
    const jitter = fc.array(fc.integer({ min: -9_000, max: 9_000 }), {
      minLength: ptsUs.length,
      maxLength: ptsUs.length,
    });
    fc.assert(
      fc.property(jitter, (noise) => {
        const shaken = ptsUs.map((us, index) => us + (noise[index] ?? 0));
        assertSound(shaken, decodeTimes(shaken), name);
      }),
      { seed: 3, numRuns: 100 },
    );
  });
}

Deno.test("DecodeTimes.push() stays sound on what real encoders send, told the depth or not", () => {
  const names = fixtureNames().filter((name) => /h26[45]/.test(name));
  for (const name of names) {
    const { sdp, expected } = readRtpFixture(name);
    const ptsUs = expected.units.map(({ timestamp }) => Math.round(timestamp * 1e6 / 90_000));
    assert(ptsUs.some((us, index) => us < (ptsUs[index - 1] ?? us)), `${name} has B-frames`);
    assertSound(ptsUs, decodeTimes(ptsUs), name);
    const [format] = parseSdp(sdp).media[0]?.formats ?? [];
    const config = format && configOf(format);
    assert(config?.kind === "video");
    const times = new DecodeTimes();
    times.configure(config);
    assertSound(ptsUs, decodeTimes(ptsUs, times), name);
    assertEquals([name, times.depth], [name, reorderDepthOf(config)]);
  }
});

Deno.test("DecodeTimes.push() stays sound when GOPs are open", () => {
  const ptsUs = openGops(12).map((n) => n * FRAME_US);
  assertSound(ptsUs, decodeTimes(ptsUs), "open");
  for (let lost = 1; lost < 30; lost++) {
    const rest = ptsUs.toSpliced(lost, 1);
    assertSound(rest, decodeTimes(rest), `open without ${lost}`);
  }
});

Deno.test("DecodeTimes.push() is the presentation time when the configuration rules B-frames out", () => {
  const times = new DecodeTimes();
  times.configure(configWith(0));
  const ptsUs = [0, 40_000, 80_000, 250_000, 290_000, 300_000, 900_000];
  assertEquals(decodeTimes(ptsUs, times), ptsUs);
});

Deno.test("DecodeTimes.push() is soon the presentation time when there are no B-frames", () => {
  const ptsUs = Array.from({ length: 500 }, (_, n) => 1_000_000 + n * FRAME_US);
  const dtsUs = decodeTimes(ptsUs);
  // Until a frame's length is known, each is decoded when the one before is shown.
  assertEquals(dtsUs.slice(0, 4), [1_000_000, 1_001_000, 1_040_000, 1_080_000]);
  assertEquals(dtsUs.slice(7), ptsUs.slice(7));
  // Frames of irregular length: seconds in, nothing waits for B-frames any more.
  const times = new DecodeTimes();
  decodeTimes(ptsUs, times);
  const said = { kind: "video", fourcc: "avc1", codec: "avc1" } as const;
  times.configure(said);
  decodeTimes(ptsUs.map((us) => us + 20_000_000), times);
  const slow = [100_000, 700_000, 750_000, 1_600_000].map((us) => 41_000_000 + us);
  const dts = slow.map((us) => {
    // Saying the same again changes nothing.
    times.configure(said);
    return times.push(us);
  });
  assertEquals(dts, slow);
});

Deno.test("DecodeTimes.push() waits by a gap at most when frames of varying length come in order", () => {
  const gaps = fc.array(fc.integer({ min: 10_000, max: 900_000 }), { minLength: 200 });
  fc.assert(
    fc.property(gaps, (steps) => {
      const times = new DecodeTimes();
      let ptsUs = 0;
      let lastUs = -Infinity;
      for (const step of steps) {
        ptsUs += step;
        const dtsUs = times.push(ptsUs);
        assertGreater(dtsUs, lastUs);
        assert(dtsUs <= ptsUs && ptsUs - dtsUs <= step);
        lastUs = dtsUs;
      }
      assertEquals(times.depth, 0);
    }),
    { seed: 4, numRuns: 50 },
  );
});

Deno.test("DecodeTimes.configure() makes each frame sound at once when it says the depth", () => {
  const fixtures = [...readFixtures("h264_"), ...readFixtures("h265_")];
  const depths = new Set<number>();
  for (const fixture of fixtures) {
    const config = videoConfigFrom(
      fixture.name.startsWith("h264") ? "avc1" : "hvc1",
      fixture.record,
    );
    const depth = reorderDepthOf(config);
    assertEquals(depth, fixture.delay, fixture.name);
    depths.add(depth ?? -1);
    for (const pattern of PATTERNS) {
      if (pattern.depth > (depth ?? 0)) continue;
      const ptsUs = closedGops(pattern.order, 6).map((n) => n * FRAME_US);
      const times = new DecodeTimes();
      times.configure(config);
      const dtsUs = decodeTimes(ptsUs, times);
      assertSound(ptsUs, dtsUs, `${fixture.name} ${pattern.name}`);
      assertEquals(times.depth, depth);
      const late = depth ?? 0;
      const sorted = ptsUs.toSorted((a, b) => a - b);
      assertEquals(dtsUs.slice(late), sorted.slice(0, sorted.length - late));
      assertEquals(dtsUs[0], -Math.round(late * 1e6 / (config.frameRate ?? 25)) + 0);
    }
  }
  assert(depths.has(0) && depths.has(2), `${[...depths]}`);
});

Deno.test("reorderDepthOf() is undefined when nothing says it, and 0 for AV1, VP9 and Baseline", () => {
  const config = { kind: "video", fourcc: "avc1", codec: "avc1" } as const;
  assertEquals(reorderDepthOf(config), undefined);
  assertEquals(reorderDepthOf({ ...config, description: Uint8Array.of(1, 2) }), undefined);
  assertEquals(reorderDepthOf({ ...config, fourcc: "VP80" }), undefined);
  assertEquals(reorderDepthOf({ ...config, fourcc: "av01" }), 0);
  assertEquals(reorderDepthOf({ ...config, fourcc: "vp09" }), 0);
  // 16x16, picture order count type 0, no VUI: profile 66 and 77.
  const avcC = (profile: number) =>
    Uint8Array.of(
      1,
      profile,
      0,
      30,
      0xff,
      0xe1,
      0,
      8,
      0x67,
      profile,
      0,
      30,
      0xf4,
      0xff,
      0xc8,
      0x80,
      0,
    );
  assertEquals(reorderDepthOf({ ...config, description: avcC(66) }), 0);
  assertEquals(reorderDepthOf({ ...config, description: avcC(77) }), undefined);
});

Deno.test("DecodeTimes.push() follows a depth that grows later than it is learnt", () => {
  const plain = Array.from({ length: 60 }, (_, n) => n);
  const [, , ipbb, , pyramid] = PATTERNS;
  const later = [
    ...plain,
    ...closedGops(ipbb.order, 6).map((n) => n + 60),
    ...closedGops(pyramid.order, 6).map((n) => n + 120),
  ].map((n) => n * FRAME_US);
  const times = new DecodeTimes();
  assertSound(later, decodeTimes(later, times), "growing");
  assertEquals(times.depth, 3);
});

Deno.test("DecodeTimes.push() recovers when frames are deeper than the configuration says", () => {
  const { order } = PATTERNS[4];
  const ptsUs = closedGops(order, 6).map((n) => n * FRAME_US);
  const times = new DecodeTimes();
  times.configure(configWith(0));
  const dtsUs = decodeTimes(ptsUs, times);
  dtsUs.forEach((dts, index) => assertGreater(dts, dtsUs[index - 1] ?? -Infinity));
  assertSound(ptsUs.slice(order.length), dtsUs.slice(order.length), "after one group");
  assertEquals(times.depth, 3);
});

Deno.test("DecodeTimes.push() keeps the depth that the configuration says when no frame needs it", () => {
  const times = new DecodeTimes();
  times.configure(configWith(2));
  const ptsUs = Array.from({ length: 1_400 }, (_, n) => n * FRAME_US);
  assertEquals(decodeTimes(ptsUs, times).slice(2), ptsUs.slice(0, -2));
  assertEquals(times.depth, 2);
});

Deno.test("DecodeTimes.push() takes no reordering for a jump when frames last long", () => {
  const times = new DecodeTimes();
  times.configure({ ...configWith(2), frameRate: 2 });
  const ptsUs = closedGops(PATTERNS[3].order, 6).map((n) => n * 500_000);
  assertSound(ptsUs, decodeTimes(ptsUs, times), "2 fps");
});

Deno.test("DecodeTimes.push() forgets a depth that is not needed for long", () => {
  const glitch = [0, 1, 2, 3, 1.5, 2.5, 3.5, 4.5, 5.5];
  const ptsUs = [...glitch, ...Array.from({ length: 1_400 }, (_, n) => n + 6.5)]
    .map((n) => n * FRAME_US);
  const times = new DecodeTimes();
  const dtsUs = decodeTimes(ptsUs, times);
  assertEquals(times.depth, 0);
  assertEquals(dtsUs.slice(-190), ptsUs.slice(-190));
  dtsUs.forEach((dts, index) => assertGreater(dts, dtsUs[index - 1] ?? -Infinity));
});

Deno.test("DecodeTimes.push() goes with the clock when it jumps", () => {
  const { order, depth } = PATTERNS[3];
  const gops = closedGops(order, 20).map((n) => n * FRAME_US);
  for (const jumpUs of [3_600e6, 2e6, -2e6, -3_600e6, -86_400e6]) {
    const times = new DecodeTimes();
    assertSound(gops, decodeTimes(gops, times), "before");
    const startUs = (gops.length) * FRAME_US + jumpUs;
    const after = gops.map((us) => us + startUs);
    const dtsUs = decodeTimes(after, times);
    assertSound(after, dtsUs, `after ${jumpUs}`);
    assertEquals(times.depth, depth);
    assertLess(startUs - (dtsUs[0] ?? 0), (depth + 1) * FRAME_US);
  }
});

Deno.test("DecodeTimes.push() takes a step back for the clock's when frames have long been in order", () => {
  const ptsUs = Array.from({ length: 200 }, (_, n) => n * FRAME_US);
  const times = new DecodeTimes();
  decodeTimes(ptsUs, times);
  const after = Array.from({ length: 100 }, (_, n) => (195 + n) * FRAME_US);
  const dtsUs = decodeTimes(after, times);
  assertEquals(dtsUs[0], after[0]);
  assertEquals(dtsUs.slice(2), after.slice(2));
  assertEquals(times.depth, 0);
});

Deno.test("DecodeTimes.push() adds 1 µs when a frame repeats the time before", () => {
  const times = new DecodeTimes();
  const ptsUs = [0, 40_000, 80_000, 80_000, 80_000, 120_000, 120_000, 160_000];
  decodeTimes(
    [-400, -360, -320, -280, -240, -200, -160, -120, -80, -40].map((ms) => ms * 1000),
    times,
  );
  assertEquals(decodeTimes(ptsUs, times), [
    0,
    40_000,
    80_000,
    80_001,
    80_002,
    120_000,
    120_001,
    160_000,
  ]);
});

Deno.test("DecodeTimes.push() grows and stays finite when times are random", () => {
  const steps = fc.array(
    fc.oneof(fc.integer({ min: -1e6, max: 1e6 }), fc.integer({ min: -1e12, max: 1e12 })),
    { maxLength: 200 },
  );
  fc.assert(
    fc.property(steps, (list) => {
      const times = new DecodeTimes();
      let us = 0;
      for (const step of list) {
        us += step;
        const dtsUs = times.push(us);
        assert(Number.isSafeInteger(dtsUs));
        assert(Math.abs(us - dtsUs) < 20e6, `${us - dtsUs}`);
        assert(times.depth <= 16);
      }
    }),
    { seed: 5, numRuns: 300 },
  );
});
