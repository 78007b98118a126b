/** The last minutes of a track, for plots. */

import type { HistoryPoint } from "../../http/service.ts";

/** How much of it is kept. */
export const HISTORY_MS = 5 * 60_000;
/** A clock that differs by less is taken as the same. */
const CLOCKS_MS = 5000;

/** What of a point is plotted. */
export type Measure = "bitrate" | "fps" | "gopMs";

/** What a track did in the last minutes, by this machine's clock. */
export class TrackSeries {
  #points: readonly HistoryPoint[] = [];

  /** The points in order. */
  get points(): readonly HistoryPoint[] {
    return this.#points;
  }

  /** Begins with what the server has, whose clock may be another. */
  restore(points: readonly HistoryPoint[], nowMs: number): void {
    const skewMs = nowMs - (points.at(-1)?.atMs ?? nowMs);
    const shiftMs = Math.abs(skewMs) > CLOCKS_MS ? skewMs : 0;
    this.#points = points.map((point) => ({ ...point, atMs: point.atMs + shiftMs }));
    this.#trim(nowMs);
  }

  /** Adds what the track does now. */
  add(point: HistoryPoint): void {
    const last = this.#points.at(-1);
    if (last !== undefined && point.atMs <= last.atMs) return;
    this.#points = [...this.#points, point];
    this.#trim(point.atMs);
  }

  /** Times in seconds since 1970 and values, as plots take them. */
  columns(measure: Measure): [times: number[], values: number[]] {
    // Before the second keyframe there is no distance.
    const known = this.#points.filter(({ gopMs }) => measure !== "gopMs" || gopMs > 0);
    return [known.map(({ atMs }) => atMs / 1000), known.map((point) => point[measure])];
  }

  #trim(nowMs: number): void {
    const from = this.#points.findIndex(({ atMs }) => atMs >= nowMs - HISTORY_MS);
    if (from !== 0) this.#points = from < 0 ? [] : this.#points.slice(from);
  }
}

/** Values in a sentence, for those who do not see the plot. */
export function summarize(values: readonly number[], format: (value: number) => string): string {
  const last = values.at(-1);
  if (last === undefined) return "nothing yet";
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const isSteady = format(low) === format(high);
  const span = isSteady ? "steady" : `${format(low)} to ${format(high)}`;
  return `now ${format(last)}, ${span}`;
}
