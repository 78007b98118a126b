/** Segments and parts of streams of all kinds, each of whose playlists is checked as a player would. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../../src/bytes.ts";
import type { MediaFrame } from "../../../src/frame.ts";
import { aac, h264, OTHER_ASC } from "../../support/frames.ts";
import { readFragments } from "../../support/mp4.ts";
import { walkTs } from "../../support/ts_walker.ts";
import { audio, stream, Studio, video } from "./segments.ts";

/** How long segments last, in ms. */
function durations(studio: Studio): number[] {
  return studio.segments.map(({ duration = 0 }) => Math.round(duration * 1000));
}

/** The samples of a kind in all segments, as their media has them. */
function samplesOf(studio: Studio, kind: MediaFrame["kind"]) {
  return readFragments(concat(studio.made.map(({ bytes }) => bytes))).flatMap(({ tracks }) =>
    tracks.filter(({ id }) => id === (kind === "video" ? 1 : 2))
  );
}

/** Whether the media of a kind are those of `frames`, all of them in order. */
function assertCarried(studio: Studio, frames: readonly MediaFrame[]): void {
  for (const kind of ["video", "audio"] as const) {
    const sent = frames.filter((frame) => frame.kind === kind);
    const data = samplesOf(studio, kind).flatMap(({ samples }) => samples.map(({ data }) => data));
    assertEquals(data, sent.map(({ data }) => data), `the ${kind} is another`);
  }
}

Deno.test("Segmenter.push() begins segments at the first keyframe from their shortest duration on", () => {
  const table: [gopMs: number, expected: number[]][] = [
    [1000, [2000, 2000, 2000, 2000]],
    [2000, [2000, 2000, 2000, 2000]],
    [1600, [3200, 3200, 1600]],
    [4000, [4000, 4000]],
    [400, [2000, 2000, 2000, 2000]],
  ];
  for (const [gopMs, expected] of table) {
    const studio = new Studio();
    const frames = stream({ toMs: 8000, gopMs });
    studio.push(...frames);
    studio.finish();
    assertEquals(durations(studio), expected, `keyframes every ${gopMs} ms`);
    assertCarried(studio, frames);
  }
});

Deno.test("Segmenter.push() makes every sample last until the next one", () => {
  const studio = new Studio();
  studio.push(...stream({ toMs: 7000, fps: 30, gopMs: 2000, whole: true }));
  studio.finish();
  for (const kind of ["video", "audio"] as const) {
    let end: number | undefined;
    for (const { baseDecodeTime, samples } of samplesOf(studio, kind)) {
      if (end !== undefined) assertEquals(baseDecodeTime, end, kind);
      end = baseDecodeTime + samples.reduce((sum, { duration }) => sum + duration, 0);
    }
    assertEquals(end === undefined, false);
  }
});

Deno.test("Segmenter.push() says whole frames for parts, and marks those with keyframes", () => {
  const studio = new Studio();
  studio.push(...stream({ toMs: 5000, gopMs: 1000 }));
  assertEquals(studio.playlist.partTarget, 0.218);
  const parts = studio.parts(studio.segments[1]?.number ?? 0);
  assertEquals(parts.map(({ duration }) => duration), Array(10).fill(0.2));
  assertEquals(
    parts.map(({ independent }) => independent).join(),
    [true, ...Array(4).fill(false), true, ...Array(4).fill(false)].join(),
  );
  assertEquals(studio.playlist.open?.parts.length, 4);
});

Deno.test("Segmenter.push() cuts parts in time where frames are at odd times", () => {
  const studio = new Studio();
  const random = numbers(7);
  let ms = 0;
  for (let index = 0; index < 600; index++) {
    studio.push(video(ms, index % 50 === 0));
    ms += 20 + random() * 60;
  }
  studio.finish();
  assert(studio.segments.length > 5);
  for (const { number, duration = 0 } of studio.segments) {
    const parts = studio.parts(number).reduce((sum, part) => sum + part.duration, 0);
    assert(Math.abs(parts - duration) < 0.0801, `the parts of ${number} last ${parts} s`);
  }
});

Deno.test("Segmenter.push() takes the target from the first segment, and keeps to it", () => {
  const studio = new Studio();
  const frames = [
    ...stream({ toMs: 2000, gopMs: 2000 }),
    ...stream({ fromMs: 2000, toMs: 14_000, gopMs: 12_000 }),
    ...stream({ fromMs: 14_000, toMs: 20_000, gopMs: 1000 }),
  ];
  studio.push(...frames);
  studio.finish();
  assertEquals(studio.playlist.target, 2);
  assert(durations(studio).every((ms) => ms <= 2450), durations(studio).join());
  // The keyframe after the long GOP begins a segment, however short the one before is.
  assert(studio.segments.some(({ unixMs }) => unixMs === 1_700_000_014_000));
  assertCarried(studio, frames);
});

Deno.test("Segmenter.push() waits no longer than 10 s for the keyframe of the first segment", () => {
  const studio = new Studio();
  studio.push(...stream({ toMs: 24_000, gopMs: 60_000 }));
  studio.finish();
  assertEquals(studio.playlist.target, 10);
  assertEquals(durations(studio).slice(0, 2), [10_200, 10_200]);
});

Deno.test("Segmenter.push() leaves room for longer segments when the first one is long", () => {
  for (const [gopMs, target] of [[2200, 2], [2400, 3], [2600, 3]] as const) {
    const studio = new Studio();
    studio.push(...stream({ toMs: 9000, gopMs }));
    assertEquals(studio.playlist.target, target, `keyframes every ${gopMs} ms`);
    assert(durations(studio).every((ms) => ms === gopMs), durations(studio).join());
  }
});

Deno.test("Segmenter.push() bounds segments in bytes", () => {
  const studio = new Studio({ targetSeconds: 30, segments: 3 });
  const data = new Uint8Array(4 * 1024 * 1024);
  for (const frame of stream({ toMs: 1000, audio: false })) {
    studio.segmenter.push({ ...frame, data } as MediaFrame);
  }
  const { segments = [] } = studio.window.state() ?? {};
  assertEquals(segments.map(({ durationUs }) => durationUs), [360_000, 360_000, undefined]);
});

Deno.test("Segmenter.push() bounds the frames of segments, however small they are", () => {
  const studio = new Studio({ partUs: 0 });
  let segments = 0;
  studio.window.onSegmentEnd = () => void segments++;
  const frame = audio(0);
  // The clock stands still.
  for (let count = 0; count < 150_010; count++) studio.segmenter.push(frame);
  assertEquals(segments, 3);
});

Deno.test("Segmenter.push() takes the target from keyframes at uneven distances, and keeps to it", () => {
  const table: [
    gopsMs: number[],
    hurry: boolean,
    options: { targetSeconds?: number },
    target: number,
    expected: number[],
  ][] = [
    // The first two are the first segment; what is longer than these is cut where it must be.
    [[1000, 1000, 4000, 1000, 4000], false, {}, 2, [2000, 2200, 1800, 2200, 2200, 600]],
    [[1000, 4000, 1000, 4000], false, {}, 5, [5000, 5000]],
    [[1000, 1000, 4000, 1000, 4000], true, {}, 2, [1000, 2200, 2200]],
    [[1000, 4000, 1000, 4000], true, {}, 2, [1000, 2200, 1800]],
    [[1000, 1000, 4000, 1000, 4000], false, { targetSeconds: 4 }, 4, [2000, 4000, 4200, 800]],
  ];
  for (const [gopsMs, hurry, options, target, expected] of table) {
    const studio = new Studio(options);
    const frames: MediaFrame[] = [];
    let fromMs = 0;
    for (const gopMs of [...gopsMs, ...gopsMs]) {
      frames.push(...stream({ fromMs, toMs: fromMs + gopMs, gopMs: 60_000 }));
      fromMs += gopMs;
    }
    frames.sort((a, b) => a.dts - b.dts);
    if (hurry) studio.endFirst();
    // Each version of the playlist is checked: no rounded duration is above the target.
    studio.push(...frames);
    studio.finish();
    assertEquals([studio.playlist.target, durations(studio).slice(0, expected.length)], [
      target,
      expected,
    ], gopsMs.join());
    assertCarried(studio, frames);
  }
});

Deno.test("Segmenter.push() waits for keyframes as long as a target duration of the config says", () => {
  const studio = new Studio({ targetSeconds: 6 });
  const frames = [
    ...stream({ toMs: 2000, gopMs: 2000 }),
    ...stream({ fromMs: 2000, toMs: 8000, gopMs: 6000 }),
    ...stream({ fromMs: 8000, toMs: 10_000, gopMs: 1000 }),
  ];
  studio.push(...frames);
  studio.finish();
  assertEquals([studio.playlist.target, durations(studio)], [6, [2000, 6000, 2000]]);
});

Deno.test("Segmenter.push() segments audio alone and video alone", () => {
  const sound = new Studio();
  sound.push(...stream({ toMs: 9000, fps: 0 }));
  sound.finish();
  assert(durations(sound).slice(0, -1).every((ms) => ms > 1940 && ms < 2040));
  const part = sound.parts(101)[0];
  assertEquals([part?.independent, Math.round((part?.duration ?? 0) * 1000)], [true, 192]);
  const picture = new Studio();
  picture.push(...stream({ toMs: 9000, audio: false }));
  picture.finish();
  assertEquals(durations(picture), [2000, 2000, 2000, 2000, 1000]);
});

Deno.test("Segmenter.push() goes on with audio while video pauses", () => {
  const studio = new Studio();
  const frames = [
    ...stream({ toMs: 4000 }),
    ...stream({ fromMs: 4000, toMs: 9000, fps: 0 }),
    ...stream({ fromMs: 9000, toMs: 12_000 }),
  ];
  studio.push(...frames);
  studio.finish();
  assert(studio.segments.every(({ discontinuity }) => !discontinuity));
  assertCarried(studio, frames);
});

Deno.test("Segmenter.push() leaves out what has vanished, and takes it up again", () => {
  const studio = new Studio();
  const frames = [
    ...stream({ toMs: 4000 }),
    ...stream({ fromMs: 4000, toMs: 20_000, audio: false }),
    ...stream({ fromMs: 20_000, toMs: 26_000 }),
  ];
  studio.push(...frames);
  studio.finish();
  const breaks = studio.segments.filter(({ discontinuity }) => discontinuity);
  assertEquals(breaks.length, 2);
  assertEquals(new Set(studio.segments.map(({ map }) => map)).size, 3);
  assertCarried(studio, frames);
});

Deno.test("Segmenter.push() breaks where nothing comes for longer than a segment may last", () => {
  const studio = new Studio();
  const frames = [
    ...stream({ toMs: 4000 }),
    ...stream({ fromMs: 34_000, toMs: 38_000 }),
    ...stream({ fromMs: 38_300, toMs: 44_000 }),
  ];
  studio.push(...frames);
  studio.finish();
  const breaks = studio.segments.filter(({ discontinuity }) => discontinuity);
  assertEquals(breaks.map(({ unixMs }) => unixMs), [1_700_000_034_000]);
  assertEquals(new Set(studio.segments.map(({ map }) => map)).size, 1);
  assertCarried(studio, frames);
});

Deno.test("Segmenter.push() breaks once where both configurations change", () => {
  const studio = new Studio();
  const videoConfig = h264(640, 480);
  const audioConfig = aac(OTHER_ASC);
  // The first frame of the new audio comes before that of the video.
  const later = stream({ fromMs: 5000, toMs: 9000, videoConfig, audioConfig, audio: true });
  const frames = [...stream({ toMs: 5000 }), audio(4990, audioConfig), ...later];
  studio.push(...frames);
  studio.finish();
  const breaks = studio.segments.filter(({ discontinuity }) => discontinuity);
  assertEquals(breaks.length, 1);
  assertEquals(studio.inits.size, 2);
  assertEquals(studio.segments.at(-1)?.discontinuities, 101);
  assertCarried(studio, frames);
});

Deno.test("Segmenter.push() takes in a track that comes late", () => {
  const studio = new Studio();
  const frames = [
    ...stream({ toMs: 5000, audio: false }),
    ...stream({ fromMs: 5000, toMs: 9000 }),
  ];
  studio.push(...frames);
  studio.finish();
  assertEquals(studio.segments.filter(({ discontinuity }) => discontinuity).length, 1);
  assertEquals(studio.inits.size, 2);
  assertCarried(studio, frames);
});

Deno.test("Segmenter.breakAfter() makes a discontinuity with the date of now", () => {
  const studio = new Studio();
  const before = stream({ toMs: 5000 });
  studio.push(...before);
  studio.segmenter.breakAfter(before.at(-1)?.dts ?? 0, 1_700_000_060_000);
  studio.check();
  studio.push(...stream({ fromMs: 5000, toMs: 9000 }));
  studio.finish();
  const breaks = studio.segments.filter(({ discontinuity }) => discontinuity);
  assertEquals(breaks.map(({ unixMs }) => unixMs), [1_700_000_065_000]);
});

Deno.test("Segmenter.endFirst() ends the first segment at once where the distance of keyframes is known", () => {
  const table: [gopMs: number, knownMs: number, thereMs: number, expected: number[]][] = [
    // Before the newest frame; the next keyframe ends what follows.
    [2000, 2000, 840, [800, 1200, 2000, 2000]],
    [4000, 4000, 3000, [2960, 1040, 4000]],
    [1600, 1600, 440, [400, 1200, 3200, 3200]],
    // At the last keyframe that is there.
    [1000, 1000, 1900, [1000, 2000, 2000]],
    [400, 400, 1900, [1600, 2000, 2000]],
    // Two keyframes show their distance.
    [400, 0, 900, [800, 2000, 2000, 2000]],
    // There must be something to play: it goes on to 200 ms.
    [2000, 2000, 80, [200, 1800, 2000, 2000]],
  ];
  for (const [gopMs, knownMs, thereMs, expected] of table) {
    const studio = new Studio({ gopUs: knownMs * 1000 });
    const frames = stream({ toMs: 8100, gopMs });
    const there = frames.filter(({ dts }) => dts < thereMs * 1000);
    studio.push(...there);
    assertEquals(studio.history.length, 0);
    studio.endFirst();
    const about = `keyframes every ${gopMs} ms, ${knownMs} ms known, ${thereMs} ms there`;
    assertEquals(studio.history.length > 0, thereMs > 200, about);
    studio.push(...frames.slice(there.length));
    assertEquals(durations(studio).slice(0, expected.length), expected, about);
    assertEquals(
      studio.playlist.target,
      Math.max(2, Math.floor(gopMs * Math.ceil(1950 / gopMs) / 1000)),
    );
    studio.finish();
    assertCarried(studio, frames);
  }
});

Deno.test("Segmenter.endFirst() waits for a second keyframe where their distance is not known", () => {
  const studio = new Studio();
  studio.endFirst();
  studio.push(...stream({ toMs: 1010, gopMs: 5000 }));
  assertEquals(studio.history.length, 0);
  const later = new Studio();
  later.endFirst();
  // With audio that has come as far as the second keyframe.
  later.push(...stream({ toMs: 1220, gopMs: 1200 }));
  assertEquals([later.playlist.target, durations(later)], [3, [1200]]);
});

Deno.test("Segmenter.endFirst() takes the keyframes' distance for no shorter than the last one is", () => {
  const studio = new Studio({ gopUs: 500_000 });
  studio.push(...stream({ toMs: 520, gopMs: 520 }));
  studio.push(...stream({ fromMs: 520, toMs: 3400, gopMs: 9000 }));
  studio.endFirst();
  assertEquals(studio.playlist.target, 3);
});

Deno.test("Segmenter.endFirst() gives more to begin with where there are no parts", () => {
  for (const options of [{ partUs: 0 }, { format: "ts" as const }]) {
    const studio = new Studio({ ...options, gopUs: 2e6 });
    studio.endFirst();
    studio.push(...stream({ toMs: 5000, gopMs: 2000 }));
    assertEquals(durations(studio), [520, 1480, 2000]);
  }
});

Deno.test("Segmenter.endFirst() ends a first segment of audio alone", () => {
  const studio = new Studio();
  studio.push(...stream({ toMs: 700, fps: 0 }));
  studio.endFirst();
  assertEquals(studio.playlist.segments.length, 1);
  assertEquals(studio.playlist.target, 2);
  studio.endFirst();
  studio.push(...stream({ fromMs: 704, toMs: 5000, fps: 0 }));
  assert(durations(studio).slice(1).every((ms) => ms > 1940 && ms < 2040));
});

Deno.test("SegmentWindow.bitRates() says nothing of what is short", () => {
  const studio = new Studio({ gopUs: 2e6 });
  studio.push(...stream({ toMs: 840, gopMs: 2000 }));
  studio.endFirst();
  assertEquals(studio.window.bitRates(), undefined);
  studio.push(...stream({ fromMs: 840, toMs: 6000, gopMs: 2000 }));
  assert((studio.window.bitRates()?.peak ?? 0) > 0);
});

Deno.test("Segmenter.finish() completes what is there, also before the first segment is complete", () => {
  const studio = new Studio();
  const frames = stream({ toMs: 700 });
  studio.push(...frames);
  assertEquals(studio.history.length, 0);
  studio.finish();
  assertEquals([studio.playlist.ended, durations(studio).length], [true, 1]);
  assertCarried(studio, frames);
  new Studio().finish();
});

Deno.test("Segmenter.push() makes segments of MPEG-TS that each begin with tables", () => {
  const studio = new Studio({ format: "ts" });
  const frames = stream({ toMs: 7000 });
  studio.push(...frames);
  studio.finish();
  assertEquals(studio.playlist.partTarget, undefined);
  for (const { bytes } of studio.made) {
    const { order } = walkTs(bytes);
    assertEquals(order.slice(0, 2), ["pmt", "video key"]);
  }
  // The counters go on from segment to segment.
  const { pes } = walkTs(concat(studio.made.map(({ bytes }) => bytes)));
  assertEquals(pes.length, frames.length);
  assertEquals(durations(studio), [2000, 2000, 2000, 1000]);
});

Deno.test("Segmenter.push() makes one fragment a segment where there are no parts", () => {
  const studio = new Studio({ partUs: 0 });
  const frames = stream({ toMs: 7000 });
  studio.push(...frames);
  studio.finish();
  assertEquals(studio.playlist.partTarget, undefined);
  assertEquals(studio.made.map(({ bytes }) => readFragments(bytes).length), [1, 1, 1, 1]);
  assertCarried(studio, frames);
});

Deno.test("SegmentWindow keeps segments for as long as they may be asked for, and no longer", () => {
  const studio = new Studio({ segments: 4 });
  studio.push(...stream({ toMs: 60_000, gopMs: 2000 }));
  assertEquals(studio.playlist.segments.length, 4);
  const there = studio.made.filter(({ uri }) => studio.window.file(uri) !== undefined);
  // 4 are listed, with parts of one more; those that left the list stay for its 10 s and their own 2 s.
  assertEquals(there.length, 10);
  const [oldest] = there;
  assertEquals(oldest?.uri, studio.made.at(-10)?.uri);
});

Deno.test("SegmentWindow keeps no more bytes than it may, and as many of the newest segments", () => {
  const mebibyte = 1024 * 1024;
  // Segments of 2 s with 50 frames: 14 s in the playlist, and those that left it in the last 18 s.
  const table: [frameBytes: number, listed: number, kept: number][] = [
    [1024, 7, 16],
    [mebibyte / 64, 7, 12],
    [mebibyte / 16, 3, 3],
    [mebibyte / 2, 1, 1],
  ];
  for (const [frameBytes, listed, kept] of table) {
    const studio = new Studio({ maxBytes: 10 * mebibyte });
    const data = new Uint8Array(frameBytes);
    const names = new Set<string>();
    let most = 0;
    for (const frame of stream({ toMs: 60_100, gopMs: 2000, audio: false })) {
      studio.segmenter.push({ ...frame, data } as MediaFrame);
      const state = studio.window.state();
      for (const { name, durationUs } of state?.segments ?? []) {
        if (durationUs !== undefined) names.add(name);
      }
      const there = [...names].map((name) => studio.window.file(name));
      const bytes = there.reduce((sum, file) => sum + (file?.length ?? 0), 0);
      most = Math.max(most, bytes);
    }
    const there = [...names].filter((name) => studio.window.file(name) !== undefined);
    const complete = studio.window.state()?.segments.filter((one) => one.durationUs !== undefined);
    assertEquals([complete?.length, there.length], [listed, kept], `${frameBytes} bytes a frame`);
    // One that is too large by itself is there until the next one.
    assert(kept === 1 || most <= 10 * mebibyte, `there were ${most} bytes`);
    assertEquals(there, [...names].slice(-kept));
    const lasts = complete?.reduce((sum, { durationUs = 0 }) => sum + durationUs, 0);
    assertEquals(studio.window.listedUs, lasts);
  }
});

Deno.test("SegmentWindow lists three target durations at least", () => {
  const studio = new Studio({ segments: 3, targetSeconds: 8 });
  studio.push(...stream({ toMs: 60_000, gopMs: 2000 }));
  assertEquals(studio.playlist.segments.length, 12);
});

Deno.test("mediaPlaylist() skips what a player has had when that is asked for", () => {
  const studio = new Studio({ segments: 20 });
  studio.push(...stream({ toMs: 60_000, gopMs: 2000 }));
  assertEquals(studio.playlist.segments.length, 20);
  assertEquals(studio.deltas.at(-1)?.skipped, 14);
  assertEquals(studio.deltas.at(-1)?.version, 9);
  assertEquals(studio.playlist.version, 6);
});

Deno.test("Segmenter.push() keeps all promises for streams of any shape", () => {
  const piece = fc.record({
    ms: fc.integer({ min: 200, max: 9000 }),
    fps: fc.constantFrom(0, 1, 5, 12, 15, 24, 25, 29.97, 30, 50, 60),
    gopMs: fc.integer({ min: 200, max: 12_000 }),
    audio: fc.boolean(),
    whole: fc.boolean(),
    pauseMs: fc.constantFrom(0, 0, 0, 300, 1200, 7000),
    config: fc.constantFrom(0, 0, 1),
    takeOver: fc.boolean(),
    skewMs: fc.constantFrom(0, 0, 120, -120, 400),
  });
  const options = fc.record({
    segmentUs: fc.constantFrom(500_000, 1e6, 2e6, 6e6),
    targetSeconds: fc.constantFrom(0, 0, 8),
    partUs: fc.constantFrom(0, 50_000, 200_000, 500_000, 2_000_000),
    segments: fc.integer({ min: 3, max: 12 }),
    format: fc.constantFrom("fmp4" as const, "fmp4" as const, "ts" as const),
    gopUs: fc.constantFrom(0, 0, 40_000, 1e6, 2e6, 30e6),
  });
  /** After how many frames players want the first segment; -1 for never. */
  const hurry = fc.integer({ min: -1, max: 300 });
  const configs = [h264(), h264(640, 480)];
  const runs = Number(Deno.env.get("FUZZ_RUNS") ?? 150);
  fc.assert(
    fc.property(
      options,
      hurry,
      fc.array(piece, { minLength: 1, maxLength: 6 }),
      (options, hurry, pieces) => {
        const studio = new Studio(options);
        const sent: MediaFrame[] = [];
        let fromMs = 0;
        for (const { ms, config, takeOver, pauseMs, skewMs, ...shape } of pieces) {
          const videoConfig = configs[config];
          const toMs = fromMs + ms;
          const frames = stream({ ...shape, fromMs, toMs, ...(videoConfig && { videoConfig }) });
          if (takeOver) studio.segmenter.breakAfter(fromMs * 1000 - 1, 1_700_000_000_000 + fromMs);
          // The frames of one kind arrive late by the skew.
          const arrival = ({ kind, dts }: MediaFrame) =>
            dts / 1000 + (kind === "audio" ? skewMs : 0);
          frames.sort((a, b) => arrival(a) - arrival(b));
          for (const frame of frames) {
            if (sent.length === hurry) studio.endFirst();
            studio.push(frame);
            sent.push(frame);
          }
          fromMs = toMs + pauseMs;
        }
        studio.finish();
        if (sent.length === 0) return;
        if (options.format === "fmp4") assertCarried(studio, sent);
        else {
          const all = concat(studio.made.map(({ bytes }) => bytes));
          assertEquals(walkTs(all).pes.length, sent.length);
        }
      },
    ),
    { numRuns: runs, seed: 8216 },
  );
});

/** Numbers from 0 to 1, the same for the same seed. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return state / 2 ** 31;
  };
}
