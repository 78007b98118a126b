import { Engine } from "../../src/engine.ts";
import type { Frame } from "../../src/frame.ts";
import type { EngineConfig } from "../../src/options.ts";
import type { Publisher } from "../../src/publisher.ts";
import { drain } from "./reading.ts";

/** Runs `test` with a publisher of its own engine. */
export async function publishing(
  test: (publisher: Publisher) => unknown,
  config: EngineConfig = {},
): Promise<void> {
  await using engine = new Engine(config, { nowMs: () => 0 });
  await test(await engine.publish("live/a", { type: "Test" }));
}

/** What a track has kept, from its oldest keyframe on. */
export function kept<F extends Frame>(
  track: { cursor(options: object): { next(): F | undefined } } | undefined,
): F[] {
  if (track === undefined) return [];
  const cursor = track.cursor({ mode: "oldest" });
  return drain(cursor as never);
}

/** The frames of the first video track. */
export function videoOf({ stream }: Publisher) {
  return kept(stream.videoTracks[0]);
}

/** The frames of the first audio track. */
export function audioOf({ stream }: Publisher) {
  return kept(stream.audioTracks[0]);
}

/** How many frames the inputs of a publisher have discarded. */
export function discarded(publisher: Publisher): number {
  return publisher.stream.tracks.reduce((sum, track) => sum + track.stats().discarded, 0);
}
