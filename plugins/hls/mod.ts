/** The hls plugin: HTTP Live Streaming, with low latency, of all streams. */

import { type Context, Hono } from "hono";
import { definePlugin, type Plugin, type PluginContext } from "../../src/plugin.ts";
import { type HttpEnv, httpService, type ShortAnswer, type ShortHandler } from "../http/service.ts";
import { type HlsAnswer, refusal } from "./answer.ts";
import { Broadcasts } from "./broadcasts.ts";
import { type HlsOptions, hlsSchema } from "./options.ts";
import { isPlain, questionOf, ROUTES } from "./request.ts";

/**
 * The hls plugin: `GET /{path}.m3u8` plays a stream, `?format=ts` in MPEG-TS, `?format=fmp4` in
 * fragmented MP4.
 *
 * All that a player needs beside it is in the folder `/{path}/~/`. Arguments of the address are
 * passed on to the media playlist and go to the guards with each request for a playlist; who has a
 * playlist can have its segments, whose names nobody can guess.
 */
const plugin: Plugin<HlsOptions> = definePlugin({
  name: "hls",
  options: hlsSchema,
  requires: [httpService],
  run(context: PluginContext<HlsOptions>) {
    let options = context.options;
    const broadcasts = new Broadcasts(context);
    const app = new Hono<HttpEnv>();
    const answer = async (c: Context<HttpEnv>): Promise<Response> => {
      let question;
      try {
        question = questionOf(c.req.url, c.env.remote, options.Format);
      } catch (error) {
        if (error instanceof TypeError) return send(c, refusal(400, error.message));
        throw error;
      }
      return send(c, await broadcasts.answer(question, c.env));
    };
    for (const route of ROUTES) {
      app.get(route, answer);
      app.all(route, (c) => {
        const error = `${c.req.method} is not for playlists and segments: ${METHODS} are`;
        return c.json({ error }, 405, { "Allow": METHODS });
      });
    }
    const http = context.use(httpService);
    const short: ShortHandler = (url, env) => {
      if (!isPlain(url)) return undefined;
      try {
        return shortAnswer(broadcasts.answer(questionOf(url, env.remote, options.Format), env));
      } catch {
        // The app says what is wrong with it.
        return undefined;
      }
    };
    http.mount(app, context.signal, { short });
    context.log.info("watch {url}/live/NAME.m3u8", { url: http.url });
    return {
      configure(next) {
        options = next;
        broadcasts.configure(next);
      },
    };
  },
});

export default plugin;

const METHODS = "GET, HEAD";

function send(c: Context<HttpEnv>, { status, type, cache, body }: HlsAnswer): Response {
  const bytes = bytesOf(body);
  return c.body(bytes, status, {
    "Content-Type": type,
    "Content-Length": String(bytes.length),
    "Cache-Control": cache,
  });
}

/** The same by the short way, which is for what players ask for again and again. */
async function shortAnswer(answer: Promise<HlsAnswer>): Promise<ShortAnswer> {
  const { status, type, cache, body } = await answer;
  const headers = { "Content-Type": type, "Cache-Control": cache };
  return { status, headers, body: bytesOf(body) };
}

function bytesOf(body: HlsAnswer["body"]): Uint8Array<ArrayBuffer> {
  return typeof body === "string" ? new TextEncoder().encode(body) : body;
}
