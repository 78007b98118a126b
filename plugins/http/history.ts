/** What the tracks of streams did in the last minutes. */

import type { Engine } from "../../src/engine.ts";
import type { Track } from "../../src/track.ts";
import type { HistoryPoint, TrackHistory } from "./info.ts";

/** How often a track is looked at. */
const INTERVAL_MS = 2000;
/** How many points there are of a track: five minutes. */
const MAX_POINTS = 150;

/** The last minutes of all tracks that are published here, for as long as their streams live. */
export class StreamHistories {
  readonly #engine: Engine;
  /** A track takes its own along when it goes. */
  readonly #points = new WeakMap<Track, TrackPoints>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** Looks at the streams of `engine` until `signal` is aborted, while there are any. */
  constructor(engine: Engine, signal: AbortSignal) {
    this.#engine = engine;
    engine.addEventListener("publish", () => this.#start(), { signal });
    engine.addEventListener("close", () => this.#stopIfIdle(), { signal });
    signal.addEventListener("abort", () => this.#stop(), { once: true });
    this.#start();
    this.#stopIfIdle();
  }

  /** The last five minutes of each track of a stream; nothing if it is not here. */
  of(path: string): TrackHistory[] {
    const tracks = this.#engine.getStream(path)?.tracks ?? [];
    return tracks.map((track) => {
      const { kind, name } = track;
      return { kind, name, points: this.#points.get(track)?.list() ?? [] };
    });
  }

  #start(): void {
    this.#timer ??= setInterval(() => this.#look(), INTERVAL_MS);
  }

  #stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #stopIfIdle(): void {
    for (const { replica } of this.#engine.streams.values()) if (!replica) return;
    this.#stop();
  }

  #look(): void {
    const nowMs = Date.now();
    for (const { replica, tracks } of this.#engine.streams.values()) {
      if (replica) continue;
      for (const track of tracks) {
        let points = this.#points.get(track);
        if (points === undefined) this.#points.set(track, points = new TrackPoints());
        points.add(nowMs, track);
      }
    }
  }
}

/** The newest points of a track. */
class TrackPoints {
  readonly #atMs = new Float64Array(MAX_POINTS);
  readonly #bitrate = new Float64Array(MAX_POINTS);
  readonly #fps = new Float64Array(MAX_POINTS);
  readonly #gopMs = new Float64Array(MAX_POINTS);
  /** How many there have been. */
  #count = 0;
  #frames = 0;

  add(atMs: number, track: Track): void {
    const { frames, bitrate, fps, gopMs } = track.stats();
    // The figures of a track are of its newest frames, however old these are.
    const isStill = frames === this.#frames;
    this.#frames = frames;
    const at = this.#count++ % MAX_POINTS;
    this.#atMs[at] = atMs;
    this.#bitrate[at] = isStill ? 0 : bitrate;
    this.#fps[at] = isStill ? 0 : fps;
    this.#gopMs[at] = track.kind === "video" ? gopMs : 0;
  }

  /** All of them, the oldest one first. */
  list(): HistoryPoint[] {
    const length = Math.min(this.#count, MAX_POINTS);
    return Array.from({ length }, (_, index) => {
      const at = (this.#count - length + index) % MAX_POINTS;
      return {
        atMs: this.#atMs[at] ?? 0,
        bitrate: this.#bitrate[at] ?? 0,
        fps: this.#fps[at] ?? 0,
        gopMs: this.#gopMs[at] ?? 0,
      };
    });
  }
}
