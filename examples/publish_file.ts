/**
 * Publishes an FLV file as a live stream, in real time.
 *
 * Run it with `deno run -A examples/publish_file.ts clip.flv` beside your own engine, or import
 * {@linkcode publishFile}.
 */

import { type Engine, flvSink } from "@m7s/engine";
import { delay } from "@std/async/delay";
import { FlvDemuxStream, type FlvTag } from "@m7s/engine/flv";

/** Lets tags pass at the pace of their timestamps. */
export function paced(signal?: AbortSignal): TransformStream<FlvTag, FlvTag> {
  let startMs: number | undefined;
  return new TransformStream({
    async transform(tag, controller) {
      startMs ??= performance.now() - tag.timestampMs;
      const waitMs = startMs + tag.timestampMs - performance.now();
      if (waitMs > 0) await delay(waitMs, signal && { signal });
      controller.enqueue(tag);
    },
  });
}

/** Publishes `file` as `path`; resolves when all of it has been sent. */
export async function publishFile(engine: Engine, path: string, file: string | URL) {
  const publisher = await engine.publish(path, { type: "File", id: String(file) });
  const { readable } = await Deno.open(file);
  await readable
    .pipeThrough(new FlvDemuxStream())
    .pipeThrough(paced(publisher.signal))
    .pipeTo(flvSink(publisher), { signal: publisher.signal });
}
