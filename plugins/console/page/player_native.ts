/// <reference lib="dom" />
/** What the browser plays by itself: MP4 without an end, or HLS. */

import { aheadMs, empty, explainLoss, type Player, type PlayerListener } from "./player.ts";
import type { PlayerStats } from "./player.ts";

/** A player that much behind is put to the newest picture. */
const MAX_BEHIND = 12;

/** How often what the browser does not like is tried. */
const MAX_FAULTS = 4;

/** Plays what the element itself can. */
export class NativePlayer implements Player {
  readonly #listener: PlayerListener;
  #video: HTMLVideoElement | undefined;
  #url = "";
  #faults = 0;
  readonly #onEnded = () => this.#listener.lost({ kind: "ended" });
  readonly #onError = () => this.#explain();

  /** A player that tells `listener`. */
  constructor(listener: PlayerListener) {
    this.#listener = listener;
  }

  start(video: HTMLVideoElement, url: string): void {
    this.#url = url;
    if (this.#video === undefined) {
      this.#video = video;
      video.addEventListener("ended", this.#onEnded);
      video.addEventListener("error", this.#onError);
    }
    video.src = url;
    video.load();
  }

  stop(): void {
    const video = this.#video;
    if (video === undefined) return;
    this.#video = undefined;
    video.removeEventListener("ended", this.#onEnded);
    video.removeEventListener("error", this.#onError);
    empty(video);
  }

  catchUp(): void {
    const video = this.#video;
    if (video === undefined) return;
    const { seekable } = video;
    const end = seekable.length > 0 ? seekable.end(seekable.length - 1) : Infinity;
    const isHls = Number.isFinite(end) && end > 0;
    if (!isHls) this.start(video, this.#url);
    else if (end - video.currentTime > MAX_BEHIND) video.currentTime = end - MAX_BEHIND / 2;
  }

  stats(): PlayerStats {
    return { latencyMs: this.#video && aheadMs(this.#video) };
  }

  async #explain(): Promise<void> {
    const video = this.#video;
    const url = this.#url;
    const code = video?.error?.code;
    const reason = video?.error?.message || "The browser cannot play it";
    const loss = await explainLoss(url);
    if (video === undefined || this.#video !== video || this.#url !== url) return;
    if (loss !== undefined) this.#listener.lost(loss);
    else if (code === MediaError.MEDIA_ERR_NETWORK) this.#listener.lost({ kind: "lost" });
    // Browsers want a playlist to have whole segments, which it has a little later.
    else if (this.#faults++ < MAX_FAULTS) this.#listener.lost({ kind: "lost", reason });
    else this.#listener.failed(reason);
  }
}
