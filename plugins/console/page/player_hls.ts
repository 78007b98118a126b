/// <reference lib="dom" />
/** HLS by hls.js, with low latency or without. */

import type Hls from "hls.js";
import type { HlsConfig } from "hls.js";
import { loadHls } from "./libraries.ts";
import { explainLoss, type Player, type PlayerListener, type PlayerStats } from "./player.ts";

/** A player so much later than it aims at is put there at once, in seconds. */
const MAX_LATE = 3;
const INTERVAL_MS = 250;
/** So long after it ran dry a player that loads nothing is helped. */
const DRY_MS = 700;
/** How often what cannot be decoded may be passed over before it is given up. */
const MAX_RECOVERIES = 3;

/** Plays `/{path}.m3u8`. */
export class HlsPlayer implements Player {
  readonly #listener: PlayerListener;
  readonly #lowLatency: boolean;
  #hls: Hls | undefined;
  #video: HTMLVideoElement | undefined;
  #url = "";
  #timer: ReturnType<typeof setInterval> | undefined;
  #recoveries = 0;
  /** End of what is buffered, and since when the player has had no more than that. */
  #end = 0;
  #drySinceMs = 0;
  readonly #onEnded = () => this.#listener.lost({ kind: "ended" });

  /** A player that tells `listener`. */
  constructor(listener: PlayerListener, lowLatency: boolean) {
    this.#listener = listener;
    this.#lowLatency = lowLatency;
  }

  start(video: HTMLVideoElement, url: string): void {
    this.#url = url;
    if (this.#video === undefined) {
      this.#video = video;
      video.addEventListener("ended", this.#onEnded);
      this.#timer = setInterval(() => this.#keepUp(), INTERVAL_MS);
    }
    if (this.#hls === undefined) this.#load(video);
    else this.#hls.loadSource(url);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#video?.removeEventListener("ended", this.#onEnded);
    this.#video = undefined;
    this.#hls?.destroy();
    this.#hls = undefined;
  }

  catchUp(): void {
    const video = this.#video;
    if (video === undefined) return;
    // What it knows of the playlist is too old to go on from.
    this.#hls?.destroy();
    this.#hls = undefined;
    this.#load(video);
  }

  stats(): PlayerStats {
    const latency = this.#hls?.latency;
    return { latencyMs: latency ? latency * 1000 : undefined };
  }

  async #load(video: HTMLVideoElement): Promise<void> {
    let library: typeof Hls;
    try {
      library = await loadHls();
    } catch {
      return this.#listener.lost({ kind: "lost" });
    }
    if (this.#video !== video || this.#hls !== undefined) return;
    const hls = new library(configFor(this.#lowLatency));
    this.#hls = hls;
    hls.on(library.Events.ERROR, (_, { fatal, type, error }) => {
      if (!fatal) return;
      if (type === library.ErrorTypes.NETWORK_ERROR) this.#explain(hls);
      else if (type === library.ErrorTypes.MEDIA_ERROR && this.#recoveries++ < MAX_RECOVERIES) {
        hls.recoverMediaError();
      } else this.#listener.failed(error.message);
    });
    hls.loadSource(this.#url);
    hls.attachMedia(video);
  }

  #keepUp(): void {
    const video = this.#video;
    const hls = this.#hls;
    if (video === undefined || hls === undefined || video.paused || video.seeking) return;
    const { liveSyncPosition, latency, targetLatency } = hls;
    if (liveSyncPosition === null || targetLatency === null) return;
    const isLate = latency > targetLatency + MAX_LATE || this.#isStuck(video, liveSyncPosition);
    if (isLate && liveSyncPosition > video.currentTime) video.currentTime = liveSyncPosition;
  }

  /**
   * Whether nothing more is loaded, though there is something to play at `live`: hls.js sometimes
   * does not go on at the end of a segment that audio does not reach, as it comes far too late.
   */
  #isStuck({ buffered, readyState }: HTMLVideoElement, live: number): boolean {
    const nowMs = performance.now();
    const end = buffered.length > 0 ? buffered.end(buffered.length - 1) : 0;
    const isDry = end > 0 && readyState < HTMLMediaElement.HAVE_FUTURE_DATA;
    if (!isDry || end !== this.#end) {
      this.#end = end;
      this.#drySinceMs = nowMs;
    }
    if (nowMs - this.#drySinceMs < DRY_MS || live <= end) return false;
    this.#drySinceMs = nowMs;
    return true;
  }

  async #explain(hls: Hls): Promise<void> {
    hls.stopLoad();
    const loss = await explainLoss(this.#url);
    if (this.#hls === hls) this.#listener.lost(loss ?? { kind: "lost" });
  }
}

function configFor(lowLatency: boolean): Partial<HlsConfig> {
  return {
    lowLatencyMode: lowLatency,
    enableWorker: false,
    liveDurationInfinity: true,
    backBufferLength: 10,
    maxLiveSyncPlaybackRate: 1.1,
    // The playlist says how far low latency is to stay behind.
    ...(!lowLatency && { liveSyncDurationCount: 2 }),
  };
}
