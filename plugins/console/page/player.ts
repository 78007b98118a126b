/// <reference lib="dom" />
/** What all players have in common. */

import { request } from "./api.ts";

/** How what was played came to an end; the same address may give more later. */
export interface Loss {
  /**
   * `ended` by its publisher, `missing` as there is no such stream, `kicked` by an operator,
   * `refused` by a guard, or `lost` on the way.
   */
  readonly kind: "ended" | "missing" | "kicked" | "refused" | "lost";
  readonly reason?: string;
}

/** Who hears what becomes of a player. */
export interface PlayerListener {
  /** Called when nothing more comes. */
  lost(loss: Loss): void;
  /** Called when it cannot play this stream in this browser. */
  failed(reason: string): void;
}

/** What a player knows beyond its video element; undefined is not known. */
export interface PlayerStats {
  /** How far behind the newest it is. */
  readonly latencyMs: number | undefined;
}

/** Plays one delivery in a video element. */
export interface Player {
  /** Begins, or goes on after a loss. */
  start(video: HTMLVideoElement, url: string): void;
  /** Ends, and leaves the element empty. Idempotent. */
  stop(): void;
  /** Goes to the newest, as after the page was frozen. */
  catchUp(): void;
  stats(): PlayerStats;
}

/** How far the end of what is buffered is ahead of the picture, in ms; undefined without any. */
export function aheadMs(video: HTMLVideoElement): number | undefined {
  const { buffered, currentTime } = video;
  if (buffered.length === 0) return undefined;
  return Math.max(0, (buffered.end(buffered.length - 1) - currentTime) * 1000);
}

/** Media Source Extensions, the managed ones where there are no others. */
export function mediaSourceType(): typeof MediaSource | undefined {
  const scope: { ManagedMediaSource?: typeof MediaSource; MediaSource?: typeof MediaSource } =
    globalThis;
  return scope.MediaSource ?? scope.ManagedMediaSource;
}

/** Leaves `video` without a source. */
export function empty(video: HTMLVideoElement): void {
  video.removeAttribute("src");
  video.load();
}

/** Why `url` gives nothing, by asking for it once more; undefined if it does. */
export async function explainLoss(url: string): Promise<Loss | undefined> {
  const answer = await request(url.replace(/^ws/, "http"), { cache: "no-store" });
  if (answer.ok) return undefined;
  const { status, error: reason } = answer;
  if (status === 0) return { kind: "lost", reason };
  if (status === 403 || status === 401) return { kind: "refused", reason };
  return { kind: "missing", reason };
}
