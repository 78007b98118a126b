/** The files of the console: its page, and the libraries of that. */

import { stripTypeScriptTypes } from "node:module";
import { linkModules } from "./link.ts";

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
/** The one script of the page, of all its modules, and which of them begins. */
const SCRIPT = "app.js";
const ENTRY = "app";

/**
 * The modules of the page. Each has its `import` written out, as all files have, for the module graph:
 * that is how they come with the program from wherever that is loaded.
 */
const MODULES: Readonly<Record<string, Source>> = {
  addresses: () => import("./page/addresses.ts", { with: { type: "text" } }),
  addresses_panel: () => import("./page/addresses_panel.ts", { with: { type: "text" } }),
  api: () => import("./page/api.ts", { with: { type: "text" } }),
  app: () => import("./page/app.ts", { with: { type: "text" } }),
  delivery: () => import("./page/delivery.ts", { with: { type: "text" } }),
  dialogs: () => import("./page/dialogs.ts", { with: { type: "text" } }),
  dom: () => import("./page/dom.ts", { with: { type: "text" } }),
  edge_keeper: () => import("./page/edge_keeper.ts", { with: { type: "text" } }),
  format: () => import("./page/format.ts", { with: { type: "text" } }),
  history: () => import("./page/history.ts", { with: { type: "text" } }),
  libraries: () => import("./page/libraries.ts", { with: { type: "text" } }),
  live_edge: () => import("./page/live_edge.ts", { with: { type: "text" } }),
  live_events: () => import("./page/live_events.ts", { with: { type: "text" } }),
  log_panel: () => import("./page/log_panel.ts", { with: { type: "text" } }),
  messages: () => import("./page/messages.ts", { with: { type: "text" } }),
  overview: () => import("./page/overview.ts", { with: { type: "text" } }),
  playback: () => import("./page/playback.ts", { with: { type: "text" } }),
  player: () => import("./page/player.ts", { with: { type: "text" } }),
  player_flv: () => import("./page/player_flv.ts", { with: { type: "text" } }),
  player_hls: () => import("./page/player_hls.ts", { with: { type: "text" } }),
  player_native: () => import("./page/player_native.ts", { with: { type: "text" } }),
  player_panel: () => import("./page/player_panel.ts", { with: { type: "text" } }),
  player_ws_mp4: () => import("./page/player_ws_mp4.ts", { with: { type: "text" } }),
  plot: () => import("./page/plot.ts", { with: { type: "text" } }),
  plugins_panel: () => import("./page/plugins_panel.ts", { with: { type: "text" } }),
  preview: () => import("./page/preview.ts", { with: { type: "text" } }),
  route: () => import("./page/route.ts", { with: { type: "text" } }),
  source_feed: () => import("./page/source_feed.ts", { with: { type: "text" } }),
  state_badge: () => import("./page/state_badge.ts", { with: { type: "text" } }),
  subscribers_panel: () => import("./page/subscribers_panel.ts", { with: { type: "text" } }),
  theme: () => import("./page/theme.ts", { with: { type: "text" } }),
  tracks_panel: () => import("./page/tracks_panel.ts", { with: { type: "text" } }),
  watch: () => import("./page/watch.ts", { with: { type: "text" } }),
};

/** The other files. */
const FILES: Readonly<Record<string, Source>> = {
  "index.html": () => import("./page/index.html", { with: { type: "text" } }),
  "style.css": () => import("./page/style.css", { with: { type: "text" } }),
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
};

/** The files of the console, each made when it is first asked for, and once. */
export class Assets {
  /** Of what all files but the document are: the same for the same files. */
  readonly version: () => Promise<string> = once(versionOf);
  readonly #made = new Map(Assets.names.map((name) => [name, once(() => this.#make(name))]));

  /** The names of all files. */
  static get names(): string[] {
    return [SCRIPT, ...Object.keys(FILES)];
  }

  /** The file of that name below `/console/`; undefined if there is none. */
  get(name: string): Promise<Asset> | undefined {
    return this.#made.get(name)?.();
  }

  async #make(name: string): Promise<Asset> {
    const text = await textOf(name);
    const plain = encode(
      name === INDEX ? text.replaceAll("/console/", `/console/${await this.version()}/`) : text,
    );
    return {
      type: TYPES[name.slice(name.lastIndexOf(".") + 1)] ?? "application/octet-stream",
      etag: `W/"${await digest(plain)}"`,
      plain,
      gzipped: await gzip(plain),
    };
  }
}

async function versionOf(): Promise<string> {
  const texts = await Promise.all(Assets.names.filter((name) => name !== INDEX).map(textOf));
  return await digest(encode(texts.join("\0")));
}

async function textOf(name: string): Promise<string> {
  if (name === SCRIPT) return await script();
  const source = FILES[name];
  return source === undefined ? "" : (await source()).default;
}

/** All modules of the page as one. */
async function script(): Promise<string> {
  const modules = Object.entries(MODULES).map(async ([name, source]) =>
    [name, stripTypeScriptTypes((await source()).default)] as const
  );
  return linkModules(ENTRY, new Map(await Promise.all(modules)));
}

/** What `make` makes when it is first asked for, and anew after it has failed. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    if (made === undefined) {
      made = make();
      made.catch(() => made = undefined);
    }
    return made;
  };
}

/** A short name for `bytes`, which are few enough that nobody finds two of the same. */
async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return hash.subarray(0, 12).toBase64({ alphabet: "base64url" });
}

async function gzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}
