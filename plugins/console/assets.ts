/** The files of the console: its page, and the libraries of that. */

import { stripTypeScriptTypes } from "node:module";

/** A file as it is sent. */
export interface Asset {
  readonly type: string;
  /** For `If-None-Match`, the same for both forms. */
  readonly etag: string;
  readonly plain: Uint8Array<ArrayBuffer>;
  readonly gzipped: Uint8Array<ArrayBuffer>;
}

/** Reads a file as text. */
type Source = () => Promise<{ readonly default: string }>;

/** The one document. */
export const INDEX = "index.html";

/**
 * All files that there are, by their names below `/console/`. Each has its `import` written out, for
 * the module graph: that is how they come with the program from wherever that is loaded.
 */
const SOURCES: Readonly<Record<string, Source>> = {
  "addresses.ts": () => import("./page/addresses.ts", { with: { type: "text" } }),
  "addresses_panel.ts": () => import("./page/addresses_panel.ts", { with: { type: "text" } }),
  "api.ts": () => import("./page/api.ts", { with: { type: "text" } }),
  "app.ts": () => import("./page/app.ts", { with: { type: "text" } }),
  "delivery.ts": () => import("./page/delivery.ts", { with: { type: "text" } }),
  "dialogs.ts": () => import("./page/dialogs.ts", { with: { type: "text" } }),
  "dom.ts": () => import("./page/dom.ts", { with: { type: "text" } }),
  "edge_keeper.ts": () => import("./page/edge_keeper.ts", { with: { type: "text" } }),
  "format.ts": () => import("./page/format.ts", { with: { type: "text" } }),
  "history.ts": () => import("./page/history.ts", { with: { type: "text" } }),
  "index.html": () => import("./page/index.html", { with: { type: "text" } }),
  "libraries.ts": () => import("./page/libraries.ts", { with: { type: "text" } }),
  "live_edge.ts": () => import("./page/live_edge.ts", { with: { type: "text" } }),
  "live_events.ts": () => import("./page/live_events.ts", { with: { type: "text" } }),
  "log_panel.ts": () => import("./page/log_panel.ts", { with: { type: "text" } }),
  "overview.ts": () => import("./page/overview.ts", { with: { type: "text" } }),
  "playback.ts": () => import("./page/playback.ts", { with: { type: "text" } }),
  "player.ts": () => import("./page/player.ts", { with: { type: "text" } }),
  "player_flv.ts": () => import("./page/player_flv.ts", { with: { type: "text" } }),
  "player_hls.ts": () => import("./page/player_hls.ts", { with: { type: "text" } }),
  "player_native.ts": () => import("./page/player_native.ts", { with: { type: "text" } }),
  "player_panel.ts": () => import("./page/player_panel.ts", { with: { type: "text" } }),
  "player_ws_mp4.ts": () => import("./page/player_ws_mp4.ts", { with: { type: "text" } }),
  "plot.ts": () => import("./page/plot.ts", { with: { type: "text" } }),
  "plugins_panel.ts": () => import("./page/plugins_panel.ts", { with: { type: "text" } }),
  "preview.ts": () => import("./page/preview.ts", { with: { type: "text" } }),
  "route.ts": () => import("./page/route.ts", { with: { type: "text" } }),
  "source_feed.ts": () => import("./page/source_feed.ts", { with: { type: "text" } }),
  "state_badge.ts": () => import("./page/state_badge.ts", { with: { type: "text" } }),
  "style.css": () => import("./page/style.css", { with: { type: "text" } }),
  "subscribers_panel.ts": () => import("./page/subscribers_panel.ts", { with: { type: "text" } }),
  "theme.ts": () => import("./page/theme.ts", { with: { type: "text" } }),
  "tracks_panel.ts": () => import("./page/tracks_panel.ts", { with: { type: "text" } }),
  "watch.ts": () => import("./page/watch.ts", { with: { type: "text" } }),
  "lib/hls.mjs": () => import("hls.js/dist/hls.light.min.mjs", { with: { type: "text" } }),
  "lib/mpegts.js": () => import("mpegts.js/dist/mpegts.js", { with: { type: "text" } }),
  "lib/uplot.mjs": () => import("uplot/dist/uPlot.esm.js", { with: { type: "text" } }),
  "lib/uplot.css": () => import("uplot/dist/uPlot.min.css", { with: { type: "text" } }),
  "lib/lean-qr.mjs": () => import("lean-qr", { with: { type: "text" } }),
};

const TYPES: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  mjs: "text/javascript; charset=utf-8",
  ts: "text/javascript; charset=utf-8",
};

/** The files of the console, each made when it is first asked for, and once. */
export class Assets {
  readonly #made = new Map<string, Promise<Asset>>();

  /** The names of all files. */
  static get names(): string[] {
    return Object.keys(SOURCES);
  }

  /** The file of that name below `/console/`; undefined if there is none. */
  get(name: string): Promise<Asset> | undefined {
    const source = Object.hasOwn(SOURCES, name) ? SOURCES[name] : undefined;
    if (source === undefined) return undefined;
    let made = this.#made.get(name);
    if (made === undefined) {
      made = make(name, source);
      this.#made.set(name, made);
      // What failed is tried anew.
      made.catch(() => this.#made.delete(name));
    }
    return made;
  }
}

async function make(name: string, source: Source): Promise<Asset> {
  const { default: text } = await source();
  const plain = new TextEncoder().encode(name.endsWith(".ts") ? stripTypeScriptTypes(text) : text);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", plain));
  return {
    type: TYPES[name.slice(name.lastIndexOf(".") + 1)] ?? "application/octet-stream",
    etag: `W/"${digest.subarray(0, 12).toBase64({ alphabet: "base64url" })}"`,
    plain,
    gzipped: await gzip(plain),
  };
}

async function gzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
