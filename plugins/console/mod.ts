/** The console plugin: a page that shows what the server does, and plays its streams. */

import { type Context, Hono } from "hono";
import { secureHeaders } from "hono/secure-headers";
import { definePlugin, type Plugin } from "../../src/plugin.ts";
import { parseTarget } from "../../src/path.ts";
import { type HttpEnv, httpService } from "../http/service.ts";
import { Assets, INDEX } from "./assets.ts";
import { sendAsset, type SendOptions } from "./answer.ts";

/**
 * The console plugin serves a page at `/` that shows what the server does, and the same page for one
 * stream at `/watch/{path}`: with status 404 while there is no such stream.
 *
 * What the page shows it has from the API of the http plugin, which decides who may see it. Playing
 * needs no more than the stream itself.
 */
const plugin: Plugin = definePlugin({
  name: "console",
  requires: [httpService],
  run({ engine: { isolates, streams }, use, signal, defer, log }) {
    const assets = new Assets();
    defer(isolates.answer("console/has", (path) => streams.has(String(path))));
    const isThere = async (path: string) =>
      streams.has(path) || (await isolates.ask("console/has", path)).includes(true);

    const send = async (c: Context<HttpEnv>, name: string, options?: SendOptions) => {
      const asset = await assets.get(name);
      if (asset === undefined) return c.json({ error: `The console has no ${name}` }, 404);
      return sendAsset(c, asset, options);
    };

    const app = new Hono<HttpEnv>();
    app.get("/", SECURE, (c) => send(c, INDEX));
    app.all("/", notAllowed);
    app.get("/watch/:path{.+}", SECURE, async (c) => {
      const path = watchedPath(c);
      if (path === undefined) return c.json({ error: `${c.req.path} names no stream` }, 400);
      const library = LIBRARIES.get(c.req.query("player") ?? "");
      if (library !== undefined) {
        c.header("Link", `</console/${await assets.version()}/${library.name}>; ${library.how}`);
      }
      return await send(c, INDEX, { status: await isThere(path) ? 200 : 404 });
    });
    app.all("/watch/:path{.+}", notAllowed);
    app.get("/console/:file{.+}", SECURE, async (c) => {
      const [, version, name = ""] = VERSIONED.exec(c.req.param("file")) ?? [];
      const isFixed = version !== undefined && version === await assets.version();
      return await send(c, name, { isFixed });
    });
    app.all("/console/:file{.+}", notAllowed);
    const http = use(httpService);
    http.mount(app, signal);
    log.info("the console is at {url}/", { url: http.url });
  },
});

export default plugin;

/** A file, below the version that the document asks for: pages of another version get this one's. */
const VERSIONED = /^(?:([\w-]{16})\/)?(.*)$/s;

const HLS = { name: "lib/hls.mjs", how: "rel=modulepreload" };
const MPEGTS = { name: "lib/mpegts.js", how: "rel=preload; as=script" };
/** What the page needs for what it is asked to play by; it is told so before it knows. */
const LIBRARIES = new Map([
  ["ll-hls", HLS],
  ["hls", HLS],
  ["ws-flv", MPEGTS],
  ["http-flv", MPEGTS],
]);

/** What the page may load: nothing of other hosts, and no script or style within a page. */
const SECURE = secureHeaders({
  contentSecurityPolicy: {
    defaultSrc: ["'none'"],
    scriptSrc: ["'self'"],
    styleSrc: ["'self'"],
    imgSrc: ["'self'", "data:", "blob:"],
    mediaSrc: ["'self'", "blob:"],
    connectSrc: ["'self'"],
    workerSrc: ["'self'", "blob:"],
    baseUri: ["'none'"],
    formAction: ["'self'"],
    frameAncestors: ["'self'"],
  },
  // Whether a host is for HTTPS only is up to whoever has it.
  strictTransportSecurity: false,
  referrerPolicy: "no-referrer",
  // Browsers complain of these where a page has no HTTPS.
  crossOriginOpenerPolicy: false,
  originAgentCluster: false,
});

/** The path of the stream that is watched; undefined if it is none. */
function watchedPath(c: Context<HttpEnv>): string | undefined {
  // What an encoded slash or NUL stands for in a path depends on who reads it.
  if (/%(2f|5c|00)/i.test(new URL(c.req.url).pathname)) return undefined;
  const path = c.req.param("path") ?? "";
  if (path.includes("?")) return undefined;
  try {
    return parseTarget(path).path;
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}

function notAllowed(c: Context<HttpEnv>): Response {
  const allow = "GET, HEAD";
  const error = `${c.req.method} is not for ${c.req.path}: ${allow} are`;
  return c.json({ error }, 405, { "Allow": allow });
}
