/** The http_flv plugin: FLV over HTTP, to watch and to publish. */

import { Hono } from "hono";
import { z } from "zod";
import { definePlugin, type Plugin, type PluginContext } from "../../src/plugin.ts";
import { type HttpEnv, httpService } from "../http/service.ts";
import { MAX_FLUSH_MS } from "./flush.ts";
import { playFlv } from "./play.ts";
import { publishFlv } from "./publish.ts";

/** The options of the http_flv plugin. */
export interface HttpFlvOptions {
  /**
   * How long frames are gathered before they go out together, in ms, 1,000 at most; 0 sends each at
   * once. Rounded up to one of {@linkcode FLUSH_INTERVALS_MS}. @default {0}
   */
  readonly Flush: number;
  /**
   * How far behind a viewer may be, in seconds, before it drops to the newest keyframe; 0 as far as
   * the stream is kept. @default {5}
   */
  readonly MaxLag: number;
  /**
   * Seconds after the last subscriber's leave when a stream published here ends; −1 never.
   * @default {-1}
   */
  readonly AutoCloseDelay: number;
}

const schema: z.ZodType<HttpFlvOptions> = z.strictObject({
  Flush: z.number().int().min(0).max(MAX_FLUSH_MS).default(0),
  MaxLag: z.number().min(0).max(3600).default(5),
  AutoCloseDelay: z.literal(-1).or(z.number().min(0).max(86_400)).default(-1),
});

/**
 * The http_flv plugin: `GET /{path}.flv` plays a stream, `POST` or `PUT` publishes one.
 *
 * Arguments of the address go to the guards. Those of a `GET` that it understands itself are
 * `flush` (ms) and `audio=0` or `video=0`, which leave a kind of track out.
 */
const plugin: Plugin<HttpFlvOptions> = definePlugin({
  name: "http_flv",
  options: schema,
  requires: [httpService],
  run(context: PluginContext<HttpFlvOptions>) {
    let options = context.options;
    const app = new Hono<HttpEnv>();
    app.get(ROUTE, (c) => playFlv(c, context, options));
    app.on(["POST", "PUT"], ROUTE, (c) => publishFlv(c, context, options));
    app.all(ROUTE, (c) => {
      const error = `${c.req.method} is not for streams: ${METHODS} are`;
      return c.json({ error }, 405, { "Allow": METHODS });
    });
    context.use(httpService).mount(app, context.signal);
    return {
      configure(next) {
        options = next;
      },
    };
  },
});

export default plugin;

const ROUTE = "/:path{.+\\.flv}";
const METHODS = "GET, HEAD, POST, PUT";
