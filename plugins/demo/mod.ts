/**
 * A clip in a loop: something to see with no camera and no encoder.
 *
 * @module
 */

import { delay } from "@std/async/delay";
import { z } from "zod";
import type { OptionsSchema } from "../../src/config.ts";
import { FlvIngest } from "../../src/flv_ingest.ts";
import { FlvDemuxer, type FlvTag, TAG_SCRIPT } from "../../src/formats/flv.ts";
import { definePlugin, type Plugin } from "../../src/plugin.ts";

/** Options of the demo plugin. */
export interface DemoOptions {
  /** Path of the stream. @default {"live/demo"} */
  readonly Path: string;
  /** An FLV file. @default {the bundled clip} */
  readonly File: string;
}

const options: OptionsSchema<DemoOptions> = z.strictObject({
  Path: z.string().default("live/demo"),
  File: z.string().default(""),
});

/** The plugin. */
const demo: Plugin<DemoOptions> = definePlugin({
  name: "demo",
  options,
  async run({ engine, options: { Path, File }, publish, signal, log, defer }) {
    // The others get it from the first.
    if (engine.isolates.index > 0) return;
    const bytes = File === ""
      ? await Deno.readFile(new URL("./clip.flv", import.meta.url))
      : await Deno.readFile(File);
    const tags = new FlvDemuxer().push(bytes);
    const ingest = new FlvIngest(
      await publish(Path, { type: "Demo", id: File || "clip.flv", autoCloseDelay: -1 }),
    );
    const playing = play(tags, ingest, signal)
      .catch((error) => signal.aborted || log.error("the clip stopped: {error}", { error }));
    defer(async () => void await playing);
    log.info("a clip plays as {path}", { path: Path });
  },
});

export default demo;

/** Pushes `tags` again and again at the pace of their timestamps, without a gap between rounds. */
async function play(tags: readonly FlvTag[], ingest: FlvIngest, signal: AbortSignal) {
  const media = tags.filter((tag) => tag.type !== TAG_SCRIPT);
  const lastMs = media.reduce((last, tag) => Math.max(last, tag.timestampMs), 0);
  const before = media.filter((tag) => tag.timestampMs < lastMs);
  const frameMs = lastMs - before.reduce((last, tag) => Math.max(last, tag.timestampMs), 0);
  const startMs = performance.now();
  for (let round = 0; !signal.aborted; round++) {
    for (const { type, timestampMs, body } of round === 0 ? tags : media) {
      const ms = timestampMs + round * (lastMs + Math.max(frameMs, 1));
      const waitMs = startMs + ms - performance.now();
      if (waitMs > 0) await delay(waitMs, { signal });
      ingest.push(type, ms % 2 ** 32, body);
    }
  }
}
