/** That what ends at a time has all that starts before it, of video and of audio. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { AudioConfig } from "../../../src/codecs/config.ts";
import { opusConfig, serializeOpusHead } from "../../../src/codecs/opus.ts";
import { timescaleOf } from "../../../src/formats/mp4.ts";
import type { MediaFrame } from "../../../src/frame.ts";
import { aac, h264, OTHER_ASC } from "../../support/frames.ts";
import { readFragments } from "../../support/mp4.ts";
import { walkTs } from "../../support/ts_walker.ts";
import { stream, type StreamShape, Studio } from "./segments.ts";

/** Where the frames of a part lie, in µs. */
interface Span {
  readonly startUs: number;
  /** How much later than it is decoded its first keyframe is shown, if it has one. */
  readonly delayUs: number | undefined;
  readonly lastUs: number;
  readonly endUs: number;
}

/** A part by what its media say. */
interface PartSpans {
  readonly video: Span | undefined;
  readonly audio: Span | undefined;
}

interface Sound {
  readonly config: AudioConfig;
  readonly frameMs: number;
}

const head = { channels: 2, preSkip: 312, inputSampleRate: 48_000, outputGain: 0 };
const SOUNDS: Readonly<Record<string, Sound>> = {
  "AAC of 48 kHz": { config: aac(), frameMs: 1024 / 48 },
  "AAC of 44.1 kHz": { config: aac(OTHER_ASC), frameMs: 1024 / 44.1 },
  Opus: {
    config: opusConfig(serializeOpusHead({ ...head, mappingFamily: 0 })),
    frameMs: 20,
  },
};
const VIDEO = h264();
/** A flag of samples: they are no sync samples (ISO/IEC 14496-12 8.8.3.1). */
const NON_SYNC = 0x1_0000;
/** Rounding to ticks of 44.1 kHz, and to whole µs. */
const TOLERANCE_US = 15;

/** All parts in order, of all segments. */
function spansOf(studio: Studio, sound: Sound): PartSpans[] {
  const rates = [timescaleOf(VIDEO), timescaleOf(sound.config)];
  return studio.made.flatMap(({ bytes }) =>
    readFragments(bytes).map(({ tracks }) => {
      const [video, audio] = rates.map((rate, track): Span | undefined => {
        const found = tracks.find(({ id }) => id === track + 1);
        if (found === undefined) return undefined;
        const us = (ticks: number) => ticks * 1e6 / rate;
        const { baseDecodeTime: start, samples } = found;
        const end = samples.reduce((sum, { duration }) => sum + duration, start);
        const last = end - (samples.at(-1)?.duration ?? 0);
        const offset = samples.find(({ flags }) => (flags & NON_SYNC) === 0)?.compositionOffset;
        const delayUs = offset === undefined ? undefined : us(offset);
        return { startUs: us(start), delayUs, lastUs: us(last), endUs: us(end) };
      });
      return { video, audio };
    })
  );
}

/** Fails unless each part but the last has the audio up to its end, and no more than one frame of it. */
function assertCovered(parts: readonly PartSpans[], about: string): void {
  assert(parts.length > 5, about);
  const heardUs = parts.findLast(({ audio }) => audio !== undefined)?.audio?.endUs ?? 0;
  let audioUs: number | undefined;
  // From a keyframe on, video is shown so much later than it is decoded.
  let delayUs = 0;
  for (const [index, { video, audio }] of parts.slice(0, -1).entries()) {
    const endUs = parts[index + 1]?.video?.startUs;
    assert(video && endUs !== undefined, `${about}: part ${index} has no video`);
    const said = `${about}: part ${index} has video to ${endUs}, audio ${JSON.stringify(audio)}`;
    assert(Math.abs(video.endUs - endUs) <= TOLERANCE_US, said);
    delayUs = video.delayUs ?? delayUs;
    const [fromUs, toUs] = [video.startUs + delayUs, Math.min(endUs + delayUs, heardUs)];
    // A part may be shorter than a frame of audio.
    if (audio === undefined) {
      assert((audioUs ?? 0) >= toUs - TOLERANCE_US, said);
      continue;
    }
    assert(audio.startUs >= fromUs - TOLERANCE_US || index === 0, said);
    assert(audio.lastUs < toUs + TOLERANCE_US, said);
    assert(audio.endUs >= toUs - TOLERANCE_US, said);
    if (audioUs !== undefined) assertEquals(audio.startUs, audioUs, said);
    audioUs = audio.endUs;
  }
}

/** Fails unless all of `frames` are there once, in order. */
function assertWhole(studio: Studio, frames: readonly MediaFrame[]): void {
  const fragments = studio.made.flatMap(({ bytes }) => readFragments(bytes));
  for (const [track, kind] of ["video", "audio"].entries()) {
    const found = fragments.flatMap(({ tracks }) =>
      tracks.filter(({ id }) => id === track + 1).flatMap(({ samples }) => samples)
    );
    const sent = frames.filter((frame) => frame.kind === kind);
    assertEquals(found.map(({ data }) => data), sent.map(({ data }) => data));
  }
}

/** `frames` as they come when audio is late by `skewMs`, or early where that is negative. */
function arriving(frames: readonly MediaFrame[], skewMs: number): MediaFrame[] {
  const atUs = ({ kind, dts }: MediaFrame) => dts + (kind === "audio" ? skewMs * 1000 : 0);
  return frames.toSorted((a, b) => atUs(a) - atUs(b));
}

Deno.test("Segmenter.push() gives each segment and part all audio that starts before its end", () => {
  for (const [name, sound] of Object.entries(SOUNDS)) {
    for (const skewMs of [0, 20, 120, 200, -20, -120, -400]) {
      for (const bFrames of [0, 2]) {
        const studio = new Studio();
        const shape = { fps: 30, gopMs: 1000, bFrames, whole: true };
        const { config: audioConfig, frameMs: audioMs } = sound;
        const frames = stream({ toMs: 9000, ...shape, audioConfig, audioMs });
        studio.push(...arriving(frames, skewMs));
        studio.finish();
        const about = `${name}, ${skewMs} ms late, ${bFrames} B-frames`;
        assertCovered(spansOf(studio, sound), about);
        assertWhole(studio, frames);
        // The playlist counts from keyframe to keyframe.
        const lasted = studio.segments.slice(0, -1).map(({ duration }) => duration);
        assertEquals(lasted, Array(lasted.length).fill(2), about);
      }
    }
  }
});

Deno.test("Segmenter.push() gives each segment of MPEG-TS all audio that starts before its end", () => {
  for (const skewMs of [0, 120, -120]) {
    const studio = new Studio({ format: "ts" });
    studio.push(...arriving(stream({ toMs: 9000 }), skewMs));
    studio.finish();
    const ticks = 90;
    const segments = studio.made.map(({ bytes }) => {
      const { pes } = walkTs(bytes);
      const [video, audio] = [0xe0, 0xc0].map((id) => pes.filter((p) => p.streamId === id));
      return {
        startMs: (video?.[0]?.dts ?? NaN) / ticks,
        audioMs: audio?.map((p) => p.pts / ticks),
      };
    });
    for (const [index, { startMs, audioMs = [] }] of segments.slice(0, -1).entries()) {
      const endMs = segments[index + 1]?.startMs ?? NaN;
      const [firstMs = NaN, lastMs = NaN] = [audioMs[0], audioMs.at(-1)];
      const about = `${skewMs} ms late: ${startMs} to ${endMs}, audio ${firstMs} to ${lastMs}`;
      assert(firstMs >= startMs && firstMs < startMs + 22, about);
      assert(lastMs < endMs && lastMs + 22 > endMs, about);
    }
  }
});

Deno.test("Segmenter.push() cuts as soon as audio has come as far", () => {
  const studio = new Studio();
  const frames = stream({ toMs: 8000, gopMs: 2000 });
  const listed: [endMs: number, atMs: number, kind: string][] = [];
  let known = 0;
  for (const frame of frames) {
    studio.push(frame);
    const all = studio.history.at(-1);
    const [newest] = all?.open?.parts.slice(-1) ?? all?.segments.at(-1)?.parts.slice(-1) ?? [];
    const number = Number(/\d+/.exec(newest?.uri ?? "")?.[0] ?? -1) + 1;
    // Those of the first segment come together.
    if (number > known && known > 0) {
      listed.push([number * 200, frame.dts / 1000, frame.kind]);
    }
    known = number;
  }
  assert(listed.length > 25);
  for (const [endMs, atMs, kind] of listed) {
    assert(atMs >= endMs && atMs < endMs + 1024 / 48, `the part to ${endMs} came at ${atMs}`);
    assertEquals(kind, "audio");
  }
});

Deno.test("Segmenter.push() waits no longer for audio that has vanished than video goes on for 250 ms", () => {
  const studio = new Studio();
  const shape = { gopMs: 1000 };
  const before = stream({ toMs: 4000, ...shape }).filter(({ kind, dts }) =>
    kind === "video" || dts < 3_970_000
  );
  const after = stream({ fromMs: 4000, toMs: 9000, audio: false, ...shape });
  studio.push(...before);
  const ends: number[] = [];
  for (const frame of after) {
    const { length } = studio.playlist.segments;
    studio.push(frame);
    if (studio.playlist.segments.length > length) ends.push(frame.dts / 1000);
  }
  // The newest audio is that of 3,968 ms; then it is known to be gone.
  assertEquals(ends, [4240, 6000, 8000]);
  studio.finish();
  assertWhole(studio, [...before, ...after]);
});

Deno.test("Segmenter.push() says how long audio lasts where what follows is not known", () => {
  const studio = new Studio();
  const frames = stream({ toMs: 4000 }).filter(({ kind, dts }) => kind === "video" || dts < 2e6);
  studio.push(...frames);
  studio.finish();
  const parts = spansOf(studio, { config: aac(), frameMs: 1024 / 48 });
  const last = parts.findLast(({ audio }) => audio !== undefined)?.audio;
  assertEquals(Math.round(((last?.endUs ?? 0) - (last?.lastUs ?? 0)) / 1000), 21);
});

Deno.test("Segmenter.push() lets audio last until the next frame, but not through a pause", () => {
  const studio = new Studio();
  const whole = true;
  const frames = [
    ...stream({ toMs: 4000, whole }),
    // Video pauses, and then all.
    ...stream({ fromMs: 4000, toMs: 7000, fps: 0, whole }),
    ...stream({ fromMs: 7700, toMs: 10_000, fps: 0, whole }),
    ...stream({ fromMs: 10_000, toMs: 12_000, whole }),
  ];
  studio.push(...frames);
  studio.finish();
  const samples = studio.made.flatMap(({ bytes }) => readFragments(bytes)).flatMap(({ tracks }) =>
    tracks.filter(({ id }) => id === 2).flatMap(({ samples }) => samples)
  );
  const lastMs = samples.map(({ duration }) => duration / 48);
  const timesMs = frames.filter(({ kind }) => kind === "audio").map(({ dts }) => dts / 1000);
  const pause = timesMs.indexOf(7700) - 1;
  for (const [index, ms] of lastMs.slice(0, -1).entries()) {
    const expected = (timesMs[index + 1] ?? NaN) - (timesMs[index] ?? NaN);
    if (index !== pause) assertEquals(ms, expected, `the frame at ${timesMs[index]} ms`);
  }
  assert((lastMs[pause] ?? 0) < 23, `the frame before the pause lasts ${lastMs[pause]} ms`);
});

Deno.test("Segmenter.push() keeps what waits in order through a takeover", () => {
  const studio = new Studio();
  const before = stream({ toMs: 3980 });
  // The second one has audio only after a while.
  const after = stream({ fromMs: 4000, toMs: 9000, videoConfig: h264(640, 480) })
    .filter(({ kind, dts }) => kind === "video" || dts > 4_150_000);
  // The last audio of the first publisher comes when the second one is there.
  const late = before.filter(({ kind, dts }) => kind === "audio" && dts > 3_900_000);
  const inTime = before.filter((frame) => !late.includes(frame));
  studio.push(...inTime);
  studio.segmenter.breakAfter(3_990_000, 1_700_000_004_000);
  const [first, ...rest] = after;
  assert(first && late.length > 0);
  studio.push(first, ...late, ...rest);
  studio.finish();
  const breaks = studio.segments.filter(({ discontinuity }) => discontinuity);
  assertEquals(breaks.map(({ unixMs }) => unixMs), [1_700_000_008_000]);
  assertWhole(studio, [...before, ...after]);
  const parts = spansOf(studio, { config: aac(), frameMs: 1024 / 48 });
  const next = parts.findIndex(({ video }) => (video?.startUs ?? 0) >= 4e6);
  const { audio } = parts[next - 1] ?? {};
  assert(audio && audio.endUs - audio.lastUs < 23_000, "the last frame lasts through the break");
});

Deno.test("Segmenter.breakAfter() keeps pictures that are shown later out of what comes after", () => {
  const studio = new Studio();
  const shape = { bFrames: 2, gopMs: 2000 };
  const before = stream({ toMs: 4980, ...shape });
  studio.push(...before);
  // The last ones, which are shown at 5,040 ms, wait for audio of a publisher that is gone.
  const endUs = before.at(-1)?.dts ?? 0;
  studio.segmenter.breakAfter(endUs, 1_700_000_060_000);
  const after = stream({ fromMs: 4985, toMs: 8985, ...shape });
  // Audio comes first.
  studio.push(...arriving(after, -300));
  studio.finish();
  const breaks = studio.segments.filter(({ discontinuity }) => discontinuity);
  assertEquals(breaks.length, 1);
  assertWhole(studio, [...before, ...after]);
  const parts = spansOf(studio, { config: aac(), frameMs: 1024 / 48 });
  const next = parts.findIndex(({ audio }) => audio?.startUs === 4_985_000);
  assertEquals(parts[next - 1]?.video?.lastUs, 4_960_000);
});

Deno.test("Segmenter.finish() ends with the last picture where audio goes with it", () => {
  const studio = new Studio();
  const shape = { bFrames: 2, gopMs: 2000 };
  studio.push(...stream({ toMs: 3000, ...shape }), ...stream({ fromMs: 3008, toMs: 3060, fps: 0 }));
  studio.finish();
  assertEquals(studio.segments.map(({ duration }) => duration), [2, 1]);
});

Deno.test("Segmenter.push() covers what it cuts for streams of any shape, and loses nothing", () => {
  const shape = fc.record({
    fps: fc.constantFrom(5, 12, 24, 25, 29.97, 30, 50, 60),
    gopMs: fc.integer({ min: 400, max: 4000 }),
    bFrames: fc.integer({ min: 0, max: 3 }),
    whole: fc.boolean(),
  });
  const options = fc.record({
    segmentUs: fc.constantFrom(1e6, 2e6, 4e6),
    partUs: fc.constantFrom(0, 100_000, 200_000, 500_000),
  });
  const runs = Number(Deno.env.get("FUZZ_RUNS") ?? 100);
  fc.assert(
    fc.property(
      shape,
      options,
      fc.constantFrom(...Object.keys(SOUNDS)),
      fc.integer({ min: -240, max: 240 }),
      fc.array(fc.integer({ min: 0, max: 80 }), { minLength: 7, maxLength: 40 }),
      fc.integer({ min: -1, max: 200 }),
      (shape: Partial<StreamShape>, options, name, skewMs, jitterMs, hurry) => {
        const sound = SOUNDS[name] ?? { config: aac(), frameMs: 21 };
        const { config: audioConfig, frameMs: audioMs } = sound;
        const frames = stream({ toMs: 10_000, ...shape, audioConfig, audioMs });
        const studio = new Studio(options);
        const isSkewed = Math.abs(skewMs) + 80 > 240;
        // Frames come late one after the other, each kind in order.
        const newest = { video: 0, audio: 0 };
        const arrivals = frames.map((frame, index) => {
          const { kind, dts } = frame;
          const lateMs = (kind === "audio" ? skewMs : 0) + (jitterMs[index % jitterMs.length] ?? 0);
          newest[kind] = Math.max(newest[kind], dts / 1000 + lateMs);
          return { frame, atMs: newest[kind] };
        });
        arrivals.sort((a, b) => a.atMs - b.atMs);
        for (const [index, { frame }] of arrivals.entries()) {
          if (index === hurry) studio.endFirst();
          studio.push(frame);
        }
        studio.finish();
        assertWhole(studio, frames);
        const parts = spansOf(studio, sound);
        if (!isSkewed && parts.length > 5) assertCovered(parts, JSON.stringify({ shape, options }));
      },
    ),
    { numRuns: runs, seed: 57_016 },
  );
});
