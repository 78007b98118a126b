/** What runs in a page beside it: it looks at each picture that its player shows. */

import { LAYOUT, type PictureLayout, type PictureMark, readPicture } from "./browser_picture.ts";

/** A picture that was shown. */
export interface Shown {
  /** When, in ms since 1970. */
  readonly atMs: number;
  readonly counter: number;
  /** Time from drawing to showing it. */
  readonly latencyMs: number;
  /** `currentTime` of the player, in seconds. */
  readonly time: number;
}

/** A picture that is waited for. */
export interface Wanted {
  /** The oldest that it may be when it is shown. */
  readonly latencyMs?: number;
  /** Shown later than that, in ms since 1970. */
  readonly afterMs?: number;
  /** Drawn later than that, in ms since 1970. */
  readonly drawnAfterMs?: number;
}

/** What was seen of a player since the page began, or since it was forgotten. */
export interface Watched {
  /** When the page began, in ms since 1970. */
  readonly originMs: number;
  /** When its player first asked for media, likewise; null if it has not. */
  readonly askedMs: number | null;
  readonly pictures: readonly Shown[];
  /** When the player ran dry, in ms since 1970. */
  readonly waits: readonly number[];
  /** Pictures that say nothing: damaged ones, or not those of the source. */
  readonly unread: number;
  /** What the page's policy has kept from it. */
  readonly violations: readonly string[];
}

/** What a page has beside its own. */
export interface Watcher {
  look(): Watched;
  /** Forgets all but the times of its start and what was not allowed. */
  forget(): void;
  /** Waits for a picture, for as long as that; null if there was none. */
  find(wanted: Wanted, timeoutMs: number): Promise<Shown | null>;
}

declare global {
  var watcher: Watcher;
}

/** A script that begins to watch the player of a page before its own scripts run. */
export function watchScript(): string {
  return `(${watch})(${JSON.stringify(LAYOUT)}, ${readPicture})`;
}

/** A player, as far as it is used here: tests have no types of the DOM. */
interface Player extends EventTarget {
  readonly currentTime: number;
  requestVideoFrameCallback(look: () => void): void;
}

interface Canvas {
  drawImage(player: Player, x: number, y: number, width: number, height: number): void;
  getImageData(x: number, y: number, width: number, height: number): { data: Uint8ClampedArray };
}

interface Violation extends Event {
  readonly violatedDirective: string;
  readonly blockedURI: string;
}

declare const document: EventTarget & { querySelector(selector: string): Player | null };
declare const MutationObserver: new (changed: () => void) => {
  observe(target: EventTarget, options: { childList: boolean; subtree: boolean }): void;
};
declare const OffscreenCanvas: new (width: number, height: number) => {
  getContext(kind: "2d", options: { willReadFrequently: boolean }): Canvas;
};

/** It is sent to the page as text and therefore uses nothing from outside of it. */
function watch(
  layout: PictureLayout,
  read: (pixels: Uint8ClampedArray, layout: PictureLayout) => PictureMark | undefined,
): void {
  const { width, height } = layout;
  const pictures: Shown[] = [];
  const waits: number[] = [];
  const violations: string[] = [];
  let unread = 0;
  let socketMs: number | null = null;
  let player: Player | null = null;
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });

  const look = (video: Player) => {
    video.requestVideoFrameCallback(() => look(video));
    const atMs = Date.now();
    context.drawImage(video, 0, 0, width, height);
    const mark = read(context.getImageData(0, 0, width, height).data, layout);
    if (mark === undefined) {
      unread++;
      return;
    }
    // The time in the picture is modulo 2^24.
    const latencyMs = (atMs - mark.drawnMs) & 0xffffff;
    pictures.push({ atMs, counter: mark.counter, latencyMs, time: video.currentTime });
  };
  const findPlayer = () => {
    const video = document.querySelector("video#player");
    if (video === null || video === player) return;
    player = video;
    video.requestVideoFrameCallback(() => look(video));
    video.addEventListener("waiting", () => waits.push(Date.now()));
  };
  new MutationObserver(findPlayer).observe(document, { childList: true, subtree: true });
  document.addEventListener("securitypolicyviolation", (event) => {
    const { violatedDirective, blockedURI } = event as Violation;
    violations.push(`${violatedDirective} ${blockedURI}`);
  });
  globalThis.WebSocket = new Proxy(WebSocket, {
    construct(target, args, newTarget) {
      socketMs ??= Date.now();
      return Reflect.construct(target, args, newTarget);
    },
  });
  const playlistMs = () => {
    const entry = performance.getEntriesByType("resource").find(({ name }) =>
      /\.m3u8(\?|$)/.test(name)
    );
    return entry === undefined ? null : performance.timeOrigin + entry.startTime;
  };

  globalThis.watcher = {
    look: () => ({
      originMs: performance.timeOrigin,
      askedMs: socketMs ?? playlistMs(),
      pictures,
      waits,
      unread,
      violations,
    }),
    forget() {
      pictures.length = waits.length = unread = 0;
    },
    async find({ latencyMs = Infinity, afterMs = 0, drawnAfterMs = 0 }, timeoutMs) {
      const endMs = Date.now() + timeoutMs;
      do {
        const found = pictures.find((one) =>
          one.latencyMs <= latencyMs && one.atMs > afterMs &&
          one.atMs - one.latencyMs > drawnAfterMs
        );
        if (found) return found;
        await new Promise((resolve) => setTimeout(resolve, 20));
      } while (Date.now() < endMs);
      return null;
    },
  };
}
