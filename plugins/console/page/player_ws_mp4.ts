/// <reference lib="dom" />
/** Fragmented MP4 by WebSocket into Media Source Extensions: the least delay there is here. */

import { EdgeKeeper, stretches } from "./edge_keeper.ts";
import { aheadMs, empty, explainLoss, type Player, type PlayerListener } from "./player.ts";
import type { PlayerStats } from "./player.ts";
import { SourceFeed } from "./source_feed.ts";

/** How far behind the newest picture to play, in seconds. */
const TARGET = 0.2;
/** A picture that cannot be decoded may come once in so long. */
const FAULT_MS = 10_000;

/** Plays `ws://host/{path}.mp4`. */
export class WsMp4Player implements Player {
  readonly #listener: PlayerListener;
  readonly #target: number;
  #video: HTMLVideoElement | undefined;
  #url = "";
  #feed: SourceFeed | undefined;
  #keeper: EdgeKeeper | undefined;
  #socket: WebSocket | undefined;
  /** Whether the picture is yet to be put to where what comes begins. */
  #isNew = true;
  #faultMs = -Infinity;
  readonly #onError = () => {
    this.#fault(this.#video?.error?.message || "The browser cannot decode it");
  };

  /** A player that tells `listener`, with `target` seconds behind the newest picture at best. */
  constructor(listener: PlayerListener, target = TARGET) {
    this.#listener = listener;
    this.#target = target;
  }

  start(video: HTMLVideoElement, url: string): void {
    this.#disconnect();
    this.#url = url;
    if (this.#video === undefined) {
      this.#video = video;
      video.addEventListener("error", this.#onError);
      this.#keeper = new EdgeKeeper(video, this.#target);
    }
    this.#connect(video);
  }

  stop(): void {
    this.#disconnect();
    this.#keeper?.stop();
    this.#feed?.stop();
    this.#feed = undefined;
    const video = this.#video;
    if (video === undefined) return;
    this.#video = undefined;
    video.removeEventListener("error", this.#onError);
    empty(video);
  }

  /** Takes no more, and leaves the picture as it is. */
  hold(): void {
    this.#disconnect();
  }

  catchUp(): void {
    // What waits on the old connection is late, and would all have to be taken first.
    if (this.#video !== undefined) this.start(this.#video, this.#url);
  }

  stats(): PlayerStats {
    return { latencyMs: this.#video && aheadMs(this.#video) };
  }

  #connect(video: HTMLVideoElement): void {
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    let isOpen = false;
    // Until there is something new the picture of the last connection stays.
    let feed = this.#feed === undefined ? this.#beginFeed(video) : undefined;
    socket.onmessage = ({ data }) => {
      if (this.#socket !== socket) return;
      isOpen = true;
      feed ??= this.#beginFeed(video);
      if (typeof data === "string") feed.setType(JSON.parse(data).type);
      else feed.append(data);
    };
    socket.onclose = ({ code, reason }) => {
      if (this.#socket !== socket) return;
      this.#socket = undefined;
      if (code === 1000) this.#listener.lost({ kind: "ended" });
      else if (code === 1008) this.#listener.lost({ kind: "kicked", reason });
      else if (isOpen) this.#listener.lost({ kind: "lost" });
      else this.#explain();
    };
  }

  /** Where the messages of a new connection go: on with the old source if there is one. */
  #beginFeed(video: HTMLVideoElement): SourceFeed {
    this.#isNew = true;
    if (this.#feed !== undefined) {
      this.#feed.clear();
      return this.#feed;
    }
    const feed = new SourceFeed(video, {
      fed: () => this.#fed(video),
      failed: (reason) => this.#fault(reason),
    });
    this.#feed = feed;
    return feed;
  }

  #fed(video: HTMLVideoElement): void {
    const [first] = stretches(video.buffered);
    if (first === undefined) return;
    if (this.#isNew) {
      this.#isNew = false;
      video.currentTime = first[0];
      this.#keeper?.renew();
    } else {
      this.#keeper?.update();
    }
  }

  /** Begins anew with what the browser could not take, once. */
  #fault(reason: string): void {
    const video = this.#video;
    this.#feed?.stop();
    this.#feed = undefined;
    this.#disconnect();
    if (video === undefined) return;
    const nowMs = performance.now();
    const isFirst = nowMs - this.#faultMs > FAULT_MS;
    this.#faultMs = nowMs;
    if (isFirst && !/type|support/i.test(reason)) this.#connect(video);
    else this.#listener.failed(reason);
  }

  async #explain(): Promise<void> {
    const url = this.#url;
    const loss = await explainLoss(url);
    if (this.#video !== undefined && this.#url === url && this.#socket === undefined) {
      this.#listener.lost(loss ?? { kind: "lost" });
    }
  }

  #disconnect(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    // Browsers complain of those that are closed before they are open.
    if (socket?.readyState === WebSocket.CONNECTING) socket.onopen = () => socket.close();
    else socket?.close();
  }
}
