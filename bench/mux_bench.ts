/** FLV muxing: of one frame, and for 1,000 viewers who share the bytes. */

import { flvFormat } from "../src/flv.ts";
import type { MediaFrame } from "../src/frame.ts";
import { BATCH_BUFFER_BYTES, type Format, Mux } from "../src/mux.ts";
import { readableFrom } from "../src/readable.ts";
import { Ring } from "../src/ring.ts";
import { Deliveries, drainAll, type Fanout, type FanoutFactory, readAll } from "./fanout.ts";
import {
  AUDIO_CONFIG,
  audioFrame,
  FRAME_BYTES,
  interleavedFrames,
  VIDEO_CONFIG,
  videoFrame,
} from "./frames.ts";

const FRAMES = { audio: audioFrame(1), inter: videoFrame(1), key: videoFrame(0) };
const BATCH = new Uint8Array(BATCH_BUFFER_BYTES);
const VIEWERS = 1_000;
const WARM_UP_BATCHES = 200;

for (const [name, frame] of Object.entries(FRAMES)) {
  const format = flvFormat();
  Deno.bench({
    group: "FLV tag of a frame",
    name: `FLV tag: ${name}, ${FRAME_BYTES[name as keyof typeof FRAMES]} B`,
    fn: () => copyOut(format, frame),
  });
}

/** Writes a frame, and its bytes where a batch would have them. */
function copyOut(format: Format, frame: MediaFrame): void {
  const bytes = format.write(frame);
  if (typeof bytes === "number") format.copyTo?.(frame, BATCH, 0);
  else BATCH.set(bytes);
}

/** Viewers of one mux. */
function muxed(take: (mux: Mux, deliveries: Deliveries) => void): FanoutFactory<MediaFrame[]> {
  return (viewers, deliveries) => {
    const rings = { video: new Ring<MediaFrame>(), audio: new Ring<MediaFrame>() };
    const mux = new Mux(flvFormat, { nowMs: () => performance.now(), onClose: () => {} });
    mux.add(VIDEO_CONFIG, rings.video);
    mux.add(AUDIO_CONFIG, rings.audio);
    mux.start();
    for (let index = 0; index < viewers; index++) take(mux, deliveries);
    return {
      send(frames) {
        for (const frame of frames) rings[frame.kind].write(frame, frame.data.length);
      },
      close() {
        rings.video.close();
        rings.audio.close();
      },
    };
  };
}

/** Viewers for each of whom every frame is muxed again. */
function muxEach(viewers: number, deliveries: Deliveries): Fanout<MediaFrame[]> {
  const formats = Array.from({ length: viewers }, flvFormat);
  return {
    send(frames) {
      for (const format of formats) {
        for (const frame of frames) copyOut(format, frame);
        deliveries.count();
      }
    },
    close() {},
  };
}

const WAYS: Readonly<Record<string, FanoutFactory<MediaFrame[]>>> = {
  "mux, by callback": muxed((mux, deliveries) => drainAll(mux.read(), deliveries)),
  "mux, by ReadableStream": muxed((mux, deliveries) =>
    readAll(readableFrom(mux.read()), deliveries)
  ),
  "each viewer muxes": muxEach,
};

let running: Fanout<MediaFrame[]> | undefined;

// An iteration is one batch: frames that are written in one turn, and delivered once to each
// viewer in one piece. 7 frames are what comes in 100 ms.
for (const batchFrames of [1, 7]) {
  for (const [name, create] of Object.entries(WAYS)) {
    const frames = interleavedFrames();
    const deliveries = new Deliveries();
    let fanout: Fanout<MediaFrame[]> | undefined;
    const send = async (target: Fanout<MediaFrame[]>) => {
      const batch: MediaFrame[] = [];
      while (batch.length < batchFrames) batch.push(frames.next().value);
      const delivered = deliveries.expect(VIEWERS);
      target.send(batch);
      await delivered;
    };
    Deno.bench({
      group: `FLV to ${VIEWERS} viewers, ${batchFrames} frames a batch`,
      name: `FLV to ${VIEWERS} viewers: ${name}, ${batchFrames} a batch`,
      async fn() {
        if (fanout === undefined) {
          running?.close();
          running = fanout = create(VIEWERS, deliveries);
          await new Promise((resolve) => setTimeout(resolve));
          for (let count = 0; count < WARM_UP_BATCHES; count++) await send(fanout);
        }
        await send(fanout);
      },
    });
  }
}
