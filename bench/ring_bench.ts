/**
 * A track's frames given to many readers, beside what one would use instead.
 *
 * An iteration makes 1,000 deliveries (5,000 with 5,000 readers): frames are written one after the
 * other, each when all readers have the one before in hand. So with up to 1,000 readers the
 * milliseconds of an iteration are the microseconds of a delivered frame.
 */

import type { MediaFrame, VideoAccessUnit } from "../src/frame.ts";
import { Interleaver } from "../src/interleave.ts";
import { readableFrom } from "../src/readable.ts";
import { Ring } from "../src/ring.ts";
import { type Track, TrackWriter } from "../src/track.ts";
import {
  Deliveries,
  drainAll,
  eventTarget,
  type Fanout,
  type FanoutFactory,
  iterateAll,
  listenerEach,
  pipeAll,
  queueEach,
  readAll,
  streamEach,
  teeChain,
  teeTree,
  transformEach,
} from "./fanout.ts";
import { interleavedFrames, videoFrame } from "./frames.ts";

const SIZES = [1, 100, 1_000, 5_000];
const DELIVERIES = 1_000;
const WARM_UP_DELIVERIES = 500_000;

type Take = (track: Track<VideoAccessUnit>, deliveries: Deliveries) => void;

/** Readers of one track, each begun by `take`. */
function track(take: Take): FanoutFactory<VideoAccessUnit> {
  return (readers, deliveries) => {
    const writer = new TrackWriter<VideoAccessUnit>("video", "video");
    for (let index = 0; index < readers; index++) take(writer.track, deliveries);
    return {
      send: (frame) => writer.write(frame, frame.data.length),
      close: () => writer.ring.close(),
    };
  };
}

/** Readers of a video and an audio track, interleaved, as subscribers play them. */
function interleaved(
  take: (frames: Interleaver, deliveries: Deliveries) => void,
): FanoutFactory<MediaFrame> {
  return (readers, deliveries) => {
    const rings = { video: new Ring<MediaFrame>(), audio: new Ring<MediaFrame>() };
    for (let index = 0; index < readers; index++) {
      const frames = new Interleaver();
      frames.add("video", rings.video);
      frames.add("audio", rings.audio);
      take(frames, deliveries);
    }
    return {
      send: (frame) => rings[frame.kind].write(frame, frame.data.length),
      close() {
        rings.video.close();
        rings.audio.close();
      },
    };
  };
}

const byCallback = track((track, deliveries) => drainAll(track.cursor(), deliveries));

const STREAMS: Readonly<Record<string, FanoutFactory<VideoAccessUnit>>> = {
  "readable(), read()": track((track, deliveries) => readAll(track.readable(), deliveries)),
  "readable(), for await": track((track, deliveries) => iterateAll(track.readable(), deliveries)),
  "readable(), pipeTo()": track((track, deliveries) => pipeAll(track.readable(), deliveries)),
  "tee() chain": (readers, deliveries) => teeChain(readers, deliveries),
  "tee() chain, one more branch": (readers, deliveries) => teeChain(readers, deliveries, "open"),
  "tee() tree": teeTree,
  "ReadableStream each": streamEach,
  "TransformStream each": transformEach,
  "array and promise each": queueEach,
};

const CALLBACKS: Readonly<Record<string, FanoutFactory<VideoAccessUnit>>> = {
  "cursor": byCallback,
  "EventTarget": eventTarget,
  "bare listeners": listenerEach,
};

const PLAYS: Readonly<Record<string, FanoutFactory<MediaFrame>>> = {
  "cursors": interleaved(drainAll),
  "readableFrom(), read()": interleaved((frames, deliveries) =>
    readAll(readableFrom(frames), deliveries)
  ),
};

function* videoFrames(): Generator<VideoAccessUnit, never> {
  for (let sequence = 0;; sequence++) yield videoFrame(sequence);
}

/** What the benchmark before this one has left running; ended before the next begins. */
let running: Fanout<never> | undefined;

/**
 * Registers a benchmark. The first iteration, which does not count, makes the readers and warms up:
 * until the code is compiled and the streams have moved to where the collector leaves them alone.
 */
function bench<T>(
  row: { group: string; name: string; baseline: boolean },
  readers: number,
  setup: { create: FanoutFactory<T>; frames: () => Generator<T, never> },
): void {
  const frames = setup.frames();
  const deliveries = new Deliveries();
  const frameCount = Math.max(1, DELIVERIES / readers);
  let fanout: Fanout<T> | undefined;
  const send = async (target: Fanout<T>, frameCount: number) => {
    for (let count = 0; count < frameCount; count++) {
      const delivered = deliveries.expect(readers);
      target.send(frames.next().value);
      await delivered;
    }
  };
  Deno.bench({ ...row, name: `${row.name} × ${readers}` }, async () => {
    if (fanout === undefined) {
      running?.close();
      running = fanout = setup.create(readers, deliveries);
      // Streams begin to pull some microtasks after they are made.
      await new Promise((resolve) => setTimeout(resolve));
      await send(fanout, WARM_UP_DELIVERIES / readers);
    }
    await send(fanout, frameCount);
  });
}

/** Registers one benchmark a way, all with the same number of readers. */
function compare<T>(
  kind: string,
  fanouts: Readonly<Record<string, FanoutFactory<T>>>,
  frames: () => Generator<T, never>,
): void {
  for (const readers of SIZES) {
    let baseline = true;
    for (const [name, create] of Object.entries(fanouts)) {
      const group = `${kind}, ${readers} readers`;
      bench({ group, name: `${kind}: ${name}`, baseline }, readers, { create, frames });
      baseline = false;
    }
  }
}

compare("stream", STREAMS, videoFrames);
compare("callback", CALLBACKS, videoFrames);
compare("interleaved", PLAYS, interleavedFrames);
