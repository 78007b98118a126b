/// <reference lib="dom" />
/** Plays one stream: takes a delivery, another if that fails, and comes back after losses. */

import { mediaAddress } from "./addresses.ts";
import { request } from "./api.ts";
import {
  type Abilities,
  bestDelivery,
  canPlay,
  DELIVERIES,
  type Delivery,
  deliveryOf,
  mp4Type,
  retryDelayMs,
} from "./delivery.ts";
import {
  type KnownStream,
  lossMessage,
  playingMessage,
  stillMessage,
  unplayableMessage,
} from "./messages.ts";
import { type Loss, mediaSourceType, type Player, type PlayerListener } from "./player.ts";
import { FlvPlayer } from "./player_flv.ts";
import { HlsPlayer } from "./player_hls.ts";
import { NativePlayer } from "./player_native.ts";
import { WsMp4Player } from "./player_ws_mp4.ts";
import { watchAddress } from "./route.ts";

/** Figures of a playback; undefined is not known. */
export interface PlaybackStats {
  readonly latencyMs: number | undefined;
  readonly bufferMs: number | undefined;
  readonly dropped: number;
  readonly frames: number;
  readonly stalls: number;
}

/** Who hears of a playback. */
export interface PlaybackListener {
  /** Called with what a viewer should know; empty when all is well. */
  message(text: string, options?: { readonly again?: boolean }): void;
  /** Called when another delivery is in use, or others are possible. */
  changed(): void;
}

const TICK_MS = 1000;
/** A delivery that has given no picture is tried so often. */
const MAX_ATTEMPTS = 3;
/** Without a picture for so long something is said of it. */
const PATIENCE_MS = 1000;
/** Without a new picture for so long the connection is taken for dead. */
const DEAD_MS = 8000;
/** What happens so soon after a jump to the newest picture is no stall. */
const SETTLE_MS = 1000;
/** When timers come so late, the page was frozen. */
const FROZEN_MS = 3000;

/** One stream in a video element. */
export class Playback {
  readonly #video: HTMLVideoElement;
  readonly #path: string;
  readonly #listener: PlaybackListener;
  readonly #abort = new AbortController();
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #failed = new Set<Delivery>();
  #chosen: Delivery | undefined;
  #delivery: Delivery | undefined;
  #player: Player | undefined;
  #stream: KnownStream;
  #plugins: readonly string[] | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #attempt = 0;
  #stalls = 0;
  /** Whether there was a picture since the delivery began, and since the connection did. */
  #hasPlayed = false;
  #isPlaying = false;
  #isPut = false;
  #playedAtFreeze = false;
  #wantsPlay = true;
  #startedMs = 0;
  #settledMs = 0;
  #tickMs = performance.now();
  #movedMs = performance.now();
  #lastTime = 0;

  /** Plays the stream `path` in `video`, by `chosen` if that is a delivery. */
  constructor(
    video: HTMLVideoElement,
    { path, chosen }: { readonly path: string; readonly chosen: string },
    listener: PlaybackListener,
  ) {
    this.#video = video;
    this.#path = path;
    this.#listener = listener;
    this.#chosen = deliveryOf(chosen)?.id;
    const { signal } = this.#abort;
    // A new source pauses the element.
    video.addEventListener("loadedmetadata", () => this.#wantsPlay && this.#play(), { signal });
    video.addEventListener("playing", () => this.#onPlaying(), { signal });
    video.addEventListener("seeked", () => this.#settledMs = performance.now(), { signal });
    video.addEventListener("play", () => this.#wantsPlay = true, { signal });
    video.addEventListener("pause", () => this.#onPause(), { signal });
    video.addEventListener("waiting", () => this.#onWaiting(), { signal });
    document.addEventListener("freeze", () => this.#playedAtFreeze = !video.paused, { signal });
    document.addEventListener("resume", () => this.#onResume(), { signal });
    document.addEventListener("visibilitychange", () => this.#tick(), { signal });
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#begin();
  }

  /** The delivery in use; undefined if none can be. */
  get delivery(): Delivery | undefined {
    return this.#delivery;
  }

  /** The delivery that the viewer has chosen; undefined if the page is to choose. */
  get chosen(): Delivery | undefined {
    return this.#chosen;
  }

  /** The deliveries that this browser can play the stream by, as far as can be told. */
  get able(): readonly Delivery[] {
    const codecs = this.#stream?.codecs ?? [];
    return DELIVERIES.map(({ id }) => id).filter((id) => canPlay(id, { codecs }, abilities));
  }

  /** Plays by `chosen` from now on; without one the page chooses. */
  choose(chosen: Delivery | undefined): void {
    this.#chosen = chosen;
    this.#failed.clear();
    this.#begin();
  }

  /** Takes note of what the server says of the stream. */
  setStream(stream: KnownStream): void {
    const before = this.#stream;
    this.#stream = stream;
    const isBack = stream?.state === "live" && before?.state !== "live";
    if (isBack && this.#retry !== undefined) {
      this.#attempt = 0;
      this.#connect();
    }
    this.#reconsider();
    this.#listener.changed();
  }

  /** Takes note of the plugins that run. */
  setPlugins(names: readonly string[]): void {
    this.#plugins = names;
    this.#reconsider();
  }

  /** Begins anew, after somebody has ended it. */
  again(): void {
    this.#isPut = false;
    this.#wantsPlay = true;
    this.#failed.clear();
    this.#begin();
  }

  /** How it plays. */
  stats(): PlaybackStats {
    const { buffered, currentTime } = this.#video;
    const quality = this.#video.getVideoPlaybackQuality();
    let bufferMs: number | undefined;
    for (let i = 0; i < buffered.length; i++) {
      const isHere = buffered.start(i) <= currentTime && currentTime <= buffered.end(i);
      if (isHere) bufferMs = (buffered.end(i) - currentTime) * 1000;
    }
    return {
      latencyMs: this.#hasPlayed ? this.#player?.stats().latencyMs : undefined,
      bufferMs,
      dropped: quality.droppedVideoFrames,
      frames: quality.totalVideoFrames,
      stalls: this.#stalls,
    };
  }

  /** Ends. */
  stop(): void {
    clearInterval(this.#timer);
    this.#abort.abort();
    this.#leave();
  }

  #begin(): void {
    this.#leave();
    this.#stalls = 0;
    this.#attempt = 0;
    this.#hasPlayed = false;
    this.#delivery = this.#chosen ?? this.#best();
    this.#listener.changed();
    if (this.#delivery === undefined) {
      const unknown = this.#stream?.codecs.filter((codec) =>
        !abilities.supportsType(mp4Type([codec]))
      );
      return this.#listener.message(unplayableMessage(unknown ?? []), { again: true });
    }
    this.#player = createPlayer(this.#delivery, this.#hear());
    this.#connect();
  }

  /** Takes another delivery where more is known now. */
  #reconsider(): void {
    const isUseless = this.#delivery !== this.#chosen && this.#delivery !== this.#best();
    if (isUseless && !this.#hasPlayed && !this.#isPut) this.#begin();
  }

  #best(): Delivery | undefined {
    const failed = this.#failed;
    // Where plugins have other names, it is not known what they are for.
    return bestDelivery(this.able, { failed, plugins: this.#plugins }) ??
      bestDelivery(this.able, { failed });
  }

  /** What a player is told to tell; what an earlier one says does not matter. */
  #hear(): PlayerListener {
    const delivery = this.#delivery;
    let isOver = false;
    const once = (act: () => void) => {
      if (!isOver && !this.#isPut && this.#delivery === delivery) act();
    };
    return {
      lost: (loss) => once(() => this.#lost(loss)),
      failed: (reason) =>
        once(() => {
          isOver = true;
          this.#fail(reason);
        }),
    };
  }

  #connect(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    const info = this.#delivery && deliveryOf(this.#delivery);
    if (info === undefined || this.#player === undefined) return;
    this.#isPlaying = false;
    this.#startedMs = this.#movedMs = performance.now();
    this.#player.start(this.#video, mediaAddress(this.#path, location, info));
    if (this.#wantsPlay) this.#play();
  }

  /** Plays, without sound where browsers want somebody to ask for that. */
  #play(): void {
    const video = this.#video;
    video.play().catch((error) => {
      if (error.name !== "NotAllowedError" || video.muted) return;
      video.muted = true;
      video.play().catch(() => {});
    });
  }

  #leave(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#isPlaying = false;
    const player = this.#player;
    this.#player = undefined;
    player?.stop();
  }

  #lost({ kind, reason }: Loss): void {
    this.#isPlaying = false;
    if (kind === "kicked") {
      this.#isPut = true;
      this.#leave();
      return this.#listener.message(`Disconnected: ${reason || "by an operator"}.`, {
        again: true,
      });
    }
    // The server and the stream are there, and yet there is nothing.
    const isOdd = kind === "missing" ? this.#stream?.state === "live" : kind === "lost" && !reason;
    if (isOdd && !this.#hasPlayed && this.#attempt >= MAX_ATTEMPTS) {
      return this.#fail("it does not get through");
    }
    this.#listener.message(lossMessage({ kind, ...(reason && { reason }) }, this.#path));
    this.#retry = setTimeout(() => this.#connect(), retryDelayMs(this.#attempt++));
  }

  #fail(reason: string): void {
    const delivery = this.#delivery;
    if (delivery === undefined) return;
    this.#failed.add(delivery);
    const label = deliveryOf(delivery)?.label ?? delivery;
    if (this.#chosen === undefined) return this.#begin();
    this.#leave();
    this.#listener.message(`${label} does not play here: ${reason}. Another delivery may.`, {
      again: true,
    });
  }

  #onPlaying(): void {
    this.#hasPlayed = this.#isPlaying = true;
    this.#movedMs = performance.now();
    this.#listener.message(playingMessage(this.#video));
    this.#listener.changed();
  }

  /** Who has paused it wants it so still after a loss; an end or an error is no such wish. */
  #onPause(): void {
    const { ended, error, readyState } = this.#video;
    const isOver = ended || error !== null || readyState < HTMLMediaElement.HAVE_CURRENT_DATA;
    if (this.#isPlaying && !isOver && !document.hidden) this.#wantsPlay = false;
  }

  #onWaiting(): void {
    const isSettled = this.#isPlaying && !this.#video.seeking &&
      performance.now() - this.#settledMs > SETTLE_MS;
    if (isSettled && !document.hidden) this.#stalls++;
  }

  #onResume(): void {
    // Browsers pause what they freeze.
    if (this.#playedAtFreeze) this.#play();
    this.#catchUp();
  }

  #catchUp(): void {
    this.#tickMs = performance.now();
    if (this.#retry === undefined && !this.#isPut && !this.#video.paused) this.#player?.catchUp();
  }

  #tick(): void {
    const nowMs = performance.now();
    const isFrozen = nowMs - this.#tickMs > FROZEN_MS;
    this.#tickMs = nowMs;
    const { currentTime, paused } = this.#video;
    // As its viewer wants it, and not because there is nothing to play.
    const isPaused = paused && (this.#isPlaying || !this.#wantsPlay);
    if (currentTime !== this.#lastTime || isPaused || document.hidden) this.#movedMs = nowMs;
    if (currentTime !== this.#lastTime && this.#isPlaying) {
      // Browsers say of some that they play, and then that they cannot.
      this.#attempt = 0;
      this.#listener.message(playingMessage(this.#video));
    }
    this.#lastTime = currentTime;
    if (document.hidden || this.#isPut || this.#player === undefined) return;
    if (isFrozen) return this.#catchUp();
    if (this.#retry !== undefined) return;
    const stillMs = nowMs - this.#movedMs;
    if (this.#isPlaying && stillMs > DEAD_MS && this.#stream?.state !== "waiting") {
      this.#connect();
    } else if (stillMs > PATIENCE_MS) {
      this.#explainStill(nowMs - this.#startedMs);
    }
  }

  async #explainStill(ageMs: number): Promise<void> {
    if (this.#stream === undefined && !this.#hasPlayed && ageMs < PATIENCE_MS + TICK_MS) {
      // Without the API the page itself tells by its status.
      const answer = await request(watchAddress(this.#path, ""), { method: "HEAD" });
      if (this.#stream === undefined && !answer.ok && answer.status === 404) this.#stream = null;
      if (this.#isPlaying) return;
    }
    this.#listener.message(stillMessage(this.#stream, this.#path));
  }
}

const abilities: Abilities = {
  get mediaSource() {
    return mediaSourceType() !== undefined;
  },
  supportsType: (type) => mediaSourceType()?.isTypeSupported(type) ?? false,
  playsType: (type) => document.createElement("video").canPlayType(type) !== "",
};

function createPlayer(delivery: Delivery, listener: PlayerListener): Player {
  switch (delivery) {
    case "ws-mp4":
      return new WsMp4Player(listener);
    case "ll-hls":
    case "hls":
      return new HlsPlayer(listener, delivery === "ll-hls");
    case "ws-flv":
    case "http-flv":
      return new FlvPlayer(listener);
    case "native-hls":
    case "http-mp4":
      return new NativePlayer(listener);
  }
}
