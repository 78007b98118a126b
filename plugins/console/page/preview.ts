/// <reference lib="dom" />
/** Small live pictures: only where they are seen, few at once, none in a hidden tab. */

import { mediaAddress } from "./addresses.ts";
import { WsMp4Player } from "./player_ws_mp4.ts";

/** How many play at once. */
const MAX_PLAYING = 6;
/** A preview is no place to save delay: batches of this size cost less. */
const MORE = "audio=0&flush=350";
const TARGET = 0.8;
const RETRY_MS = 5000;
/** What is seen no longer than that, as the page is laid out or scrolled, does not begin. */
const SETTLE_MS = 150;

interface Preview {
  readonly path: string;
  readonly video: HTMLVideoElement;
  isSeen: boolean;
  isFailed: boolean;
  player?: WsMp4Player | undefined;
  timer?: ReturnType<typeof setTimeout> | undefined;
}

/** All previews of a page. */
export class Previews {
  readonly #previews = new Map<Element, Preview>();
  readonly #abort = new AbortController();
  readonly #still = matchMedia("(prefers-reduced-motion: reduce)");
  readonly #observer = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const preview = this.#previews.get(target);
      if (preview !== undefined) preview.isSeen = isIntersecting;
    }
    this.#choose();
  });

  /** No previews yet. */
  constructor() {
    const { signal } = this.#abort;
    document.addEventListener("visibilitychange", () => this.#choose(), { signal });
  }

  /** Shows the stream `path` in `video` while that is seen. Idempotent. */
  add(video: HTMLVideoElement, path: string): void {
    if (this.#previews.has(video)) return;
    video.muted = true;
    const preview: Preview = { path, video, isSeen: false, isFailed: false };
    this.#previews.set(video, preview);
    // Who wants no motion gets the first picture.
    video.addEventListener("loadeddata", () => {
      if (!this.#still.matches) return;
      video.pause();
      preview.player?.hold();
    }, { signal: this.#abort.signal });
    this.#observer.observe(video);
  }

  /** Shows nothing in `video` from now on. */
  remove(video: HTMLVideoElement): void {
    const preview = this.#previews.get(video);
    if (preview === undefined) return;
    this.#observer.unobserve(video);
    this.#previews.delete(video);
    this.#stop(preview);
    this.#choose();
  }

  /** Ends all. */
  stop(): void {
    this.#abort.abort();
    this.#observer.disconnect();
    for (const preview of this.#previews.values()) this.#stop(preview);
    this.#previews.clear();
  }

  #choose(): void {
    const seen = [...this.#previews.values()].filter(({ isSeen, isFailed }) => isSeen && !isFailed);
    const wanted = new Set(document.hidden ? [] : seen.slice(0, MAX_PLAYING));
    for (const preview of this.#previews.values()) {
      if (!wanted.has(preview)) this.#stop(preview);
    }
    for (const preview of wanted) this.#startIn(SETTLE_MS, preview);
  }

  #startIn(delayMs: number, preview: Preview): void {
    if (preview.player !== undefined || preview.timer !== undefined) return;
    preview.timer = setTimeout(() => {
      preview.timer = undefined;
      this.#start(preview);
    }, delayMs);
  }

  #start(preview: Preview): void {
    const { path, video } = preview;
    const player = new WsMp4Player({
      lost: () => {
        this.#stop(preview);
        this.#startIn(RETRY_MS, preview);
      },
      failed: () => {
        preview.isFailed = true;
        this.#choose();
      },
    }, TARGET);
    preview.player = player;
    const how = { extension: "mp4", webSocket: true, more: MORE } as const;
    player.start(video, mediaAddress(path, location, how));
    video.play().catch(() => {});
  }

  #stop(preview: Preview): void {
    clearTimeout(preview.timer);
    preview.timer = undefined;
    preview.player?.stop();
    preview.player = undefined;
  }
}
