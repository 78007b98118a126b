/// <reference lib="dom" />
/** FLV by mpegts.js, over a WebSocket or HTTP. */

import { EdgeKeeper } from "./edge_keeper.ts";
import { loadMpegts, type Mpegts, type MpegtsPlayer } from "./libraries.ts";
import { aheadMs, explainLoss, type Player, type PlayerListener } from "./player.ts";
import type { PlayerStats } from "./player.ts";

/** How far behind the newest picture to play, in seconds. */
const TARGET = 0.3;

/** Plays `/{path}.flv`. */
export class FlvPlayer implements Player {
  readonly #listener: PlayerListener;
  #library: Mpegts | undefined;
  #player: MpegtsPlayer | undefined;
  #keeper: EdgeKeeper | undefined;
  #video: HTMLVideoElement | undefined;
  #url = "";

  /** A player that tells `listener`. */
  constructor(listener: PlayerListener) {
    this.#listener = listener;
  }

  start(video: HTMLVideoElement, url: string): void {
    this.#url = url;
    this.#video = video;
    this.#keeper ??= new EdgeKeeper(video, TARGET);
    this.#load(video);
  }

  stop(): void {
    this.#keeper?.stop();
    this.#keeper = undefined;
    this.#video = undefined;
    this.#destroy();
  }

  catchUp(): void {
    if (this.#video !== undefined) this.start(this.#video, this.#url);
  }

  stats(): PlayerStats {
    return { latencyMs: this.#video && aheadMs(this.#video) };
  }

  async #load(video: HTMLVideoElement): Promise<void> {
    let mpegts = this.#library;
    try {
      mpegts ??= this.#library = await loadMpegts();
    } catch {
      return this.#listener.lost({ kind: "lost" });
    }
    if (this.#video !== video) return;
    this.#destroy();
    const player = mpegts.createPlayer({ type: "flv", isLive: true, url: this.#url }, {
      enableStashBuffer: false,
      lazyLoad: false,
      deferLoadAfterSourceOpen: false,
      autoCleanupSourceBuffer: true,
      autoCleanupMaxBackwardDuration: 20,
      autoCleanupMinBackwardDuration: 10,
    });
    this.#player = player;
    const { Events, ErrorTypes } = mpegts;
    player.on(Events.LOADING_COMPLETE, () => {
      if (this.#player === player) this.#listener.lost({ kind: "ended" });
    });
    player.on(Events.ERROR, (type: string, detail: string) => {
      if (this.#player !== player) return;
      if (type === ErrorTypes.NETWORK_ERROR) this.#explain(player);
      else this.#listener.failed(detail);
    });
    player.attachMediaElement(video);
    player.load();
  }

  async #explain(player: MpegtsPlayer): Promise<void> {
    const loss = await explainLoss(this.#url);
    if (this.#player === player) this.#listener.lost(loss ?? { kind: "lost" });
  }

  #destroy(): void {
    const player = this.#player;
    this.#player = undefined;
    player?.destroy();
  }
}
