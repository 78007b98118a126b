/// <reference lib="dom" />
/** Keeps a video element at the live edge of what it has. */

import { decideEdge, isWithin, livePosition, LiveTarget, type Stretch } from "./live_edge.ts";

const INTERVAL_MS = 200;
/** When nothing comes for so long it is not the network that is uneven. */
const GONE_MS = 1000;
/** What happens so soon after a jump says nothing of the network. */
const SETTLE_MS = 1000;
/** A jump is seen: it should save that many seconds. */
const WORTH = 0.2;

/** Keeps a video element a little behind the newest picture, by its speed and by jumps. */
export class EdgeKeeper {
  readonly #video: HTMLVideoElement;
  readonly #target: LiveTarget;
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #abort = new AbortController();
  /** Whether what comes is yet to be joined at its end. */
  #isNew = true;
  #settledMs = 0;
  #drySinceMs = -Infinity;

  /** Begins, with `target` seconds behind at best. */
  constructor(video: HTMLVideoElement, target: number) {
    this.#video = video;
    this.#target = new LiveTarget(target);
    this.#timer = setInterval(() => this.update(), INTERVAL_MS);
    const { signal } = this.#abort;
    video.addEventListener("emptied", () => this.renew(), { signal });
    video.addEventListener("seeked", () => this.#settle(), { signal });
    video.addEventListener("playing", () => this.#onPlaying(), { signal });
    video.addEventListener("waiting", () => this.#onWaiting(), { signal });
  }

  /** Does what is to be done now. */
  update(): void {
    const video = this.#video;
    // Where a paused player is, is up to who paused it.
    if (video.readyState === 0 || video.paused) return;
    const { currentTime } = video;
    const buffered = stretches(video.buffered);
    // It is on its way there, unless there is nothing.
    if (video.seeking && isWithin(currentTime, buffered)) return;
    const hasPicture = !video.seeking && video.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA;
    // That one shows at once, however many are to be decoded up to the newest.
    if (this.#isNew && hasPicture) return this.#join();
    const decision = decideEdge({
      currentTime,
      buffered,
      target: this.#target.at(performance.now()),
      rate: video.playbackRate,
    });
    if (decision.seekTo !== undefined) video.currentTime = decision.seekTo;
    if (video.playbackRate !== decision.rate) video.playbackRate = decision.rate;
  }

  /** What comes from now on is new: once there is a picture of it, it is joined at its end. */
  renew(): void {
    this.#isNew = true;
  }

  #join(): void {
    const video = this.#video;
    this.#isNew = false;
    this.#settle();
    const last = stretches(video.buffered).at(-1);
    if (last === undefined) return;
    const to = livePosition(last, this.#target.at(performance.now()));
    if (to - video.currentTime > WORTH) video.currentTime = to;
  }

  #settle(): void {
    this.#settledMs = performance.now();
  }

  /** Takes note if it runs dry, not if it is only on its way somewhere. */
  #onWaiting(): void {
    const nowMs = performance.now();
    const isSettled = !this.#isNew && !this.#video.seeking && nowMs - this.#settledMs > SETTLE_MS;
    this.#drySinceMs = isSettled ? nowMs : -Infinity;
  }

  /** Gives way to a network that is uneven, not to a publisher that was gone. */
  #onPlaying(): void {
    const nowMs = performance.now();
    if (nowMs - this.#drySinceMs < GONE_MS) this.#target.stalled(nowMs);
    this.#drySinceMs = -Infinity;
  }

  /** Lets it be. */
  stop(): void {
    clearInterval(this.#timer);
    this.#abort.abort();
    this.#video.playbackRate = 1;
  }
}

/** `ranges` as plain values. */
export function stretches(ranges: TimeRanges): Stretch[] {
  return Array.from({ length: ranges.length }, (_, i) => [ranges.start(i), ranges.end(i)]);
}
