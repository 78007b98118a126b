/** Where a live player should be in what it has received. Times are in seconds of the media. */

/** A stretch of what is buffered. */
export type Stretch = readonly [start: number, end: number];

/** A player at a moment. */
export interface Playhead {
  readonly currentTime: number;
  /** What is buffered, in order. */
  readonly buffered: readonly Stretch[];
  /** How far to be behind the newest picture. */
  readonly target: number;
  /** The present speed. */
  readonly rate: number;
}

/** What is to be done. */
export interface EdgeDecision {
  /** Where to go at once, if anywhere. */
  readonly seekTo?: number;
  /** How fast to play. */
  readonly rate: number;
}

/** A player that is further behind is put to where it should be at once. */
export const MAX_BEHIND = 1.5;
/** How much later than its target a player may be before it hurries. */
const SLACK = 0.1;
/** From here on it hurries more: still no more than people notice in speech. */
const MUCH = 0.5;
/** What rounding may do to the ends of a stretch. */
const ROUNDING = 0.05;

/** What to do with a player so that it is where it should be. */
export function decideEdge({ currentTime, buffered, target, rate }: Playhead): EdgeDecision {
  const last = buffered.at(-1);
  if (last === undefined) return { rate: 1 };
  const live = livePosition(last, target);
  const [, end] = last;
  const behind = end - currentTime;
  const isLost = currentTime > end + MAX_BEHIND || behind > Math.max(MAX_BEHIND, target * 2);
  if (isLost) return { seekTo: live, rate: 1 };
  const gapEnd = gapAfter(currentTime, buffered);
  if (gapEnd !== undefined) return { seekTo: Math.min(gapEnd, live), rate: 1 };
  return { rate: rateFor(behind, target, rate) };
}

/** Where a player of the stretch `last` should be that is to be `target` behind its end. */
export function livePosition([start, end]: Stretch, target: number): number {
  return Math.max(start, end - target);
}

/** The speed that brings a player from `behind` to `target`, and keeps it there without flutter. */
function rateFor(behind: number, target: number, rate: number): number {
  const isHurrying = rate > 1;
  if (behind > target + MUCH) return 1.1;
  if (behind > target + SLACK || (isHurrying && behind > target)) return 1.05;
  const isWaiting = rate < 1;
  if (behind < target / 4 || (isWaiting && behind < target * 0.75)) return 0.96;
  return 1;
}

/** Whether there is something to play at `time`. */
export function isWithin(time: number, buffered: readonly Stretch[]): boolean {
  return buffered.some(([start, end]) => start - ROUNDING <= time && time < end - ROUNDING);
}

/** Where to go on, if there is nothing at `time` but something later. */
function gapAfter(time: number, buffered: readonly Stretch[]): number | undefined {
  if (isWithin(time, buffered)) return undefined;
  const next = buffered.find(([start]) => start > time + ROUNDING)?.[0];
  return next === undefined ? undefined : next + 0.001;
}

/** How much to keep behind a player, in seconds. */
const KEEP = 10;
/** How much there may be before it is worth to remove some. */
const TRIM_AT = 15;

/**
 * Up to where what is buffered may go; undefined while that is not worth it.
 *
 * What lies far behind the newest goes even where a paused player is still there.
 */
export function trimTo(currentTime: number, buffered: readonly Stretch[]): number | undefined {
  const start = buffered[0]?.[0];
  const end = buffered.at(-1)?.[1];
  if (start === undefined || end === undefined) return undefined;
  const from = Math.max(currentTime, end - KEEP);
  return from - start > TRIM_AT ? from - KEEP : undefined;
}

/** A target that gives way to a bad network, and comes back. */
export class LiveTarget {
  readonly #base: number;
  #value: number;
  #changedMs = 0;

  /** A target of `base` seconds at best. */
  constructor(base: number) {
    this.#base = base;
    this.#value = base;
  }

  /** The target at `nowMs`. */
  at(nowMs: number): number {
    if (this.#value > this.#base && nowMs - this.#changedMs > CALM_MS) {
      this.#value = Math.max(this.#base, this.#value * 0.8);
      this.#changedMs = nowMs;
    }
    return this.#value;
  }

  /** Takes note that the player ran dry at `nowMs`. */
  stalled(nowMs: number): void {
    this.#value = Math.min(MAX_TARGET, this.#value * 1.3);
    this.#changedMs = nowMs;
  }
}

/** After so long without a stall a target comes nearer. */
const CALM_MS = 10_000;
const MAX_TARGET = 0.7;
