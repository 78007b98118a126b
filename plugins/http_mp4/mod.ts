/** The http_mp4 plugin: fragmented MP4 over HTTP, to watch. */

import { Hono } from "hono";
import { definePlugin, type Plugin, type PluginContext } from "../../src/plugin.ts";
import { type HttpEnv, httpService } from "../http/service.ts";
import { MP4, type PlayOptions, playOverHttp, playSchema } from "../play.ts";
import { streamRoute } from "../stream_request.ts";

/**
 * The http_mp4 plugin: `GET /{path}.mp4` plays a stream. The `Content-Type` of the answer names the
 * codecs, as Media Source Extensions want it.
 *
 * Arguments of the address go to the guards. Those that it understands itself are `flush` (ms) and
 * `audio=0` or `video=0`, which leave a kind of track out.
 */
const plugin: Plugin<PlayOptions> = definePlugin({
  name: "http_mp4",
  options: playSchema,
  requires: [httpService],
  run(context: PluginContext<PlayOptions>) {
    let options = context.options;
    const app = new Hono<HttpEnv>();
    app.get(
      ROUTE,
      (c) => playOverHttp(c, context, { type: "HTTP-MP4", container: MP4, options }),
    );
    app.all(ROUTE, (c) => {
      const error = `${c.req.method} is not for MP4: ${METHODS} are`;
      return c.json({ error }, 405, { "Allow": METHODS });
    });
    const http = context.use(httpService);
    http.mount(app, context.signal);
    context.log.info("watch {url}/live/NAME.mp4", { url: http.url });
    return {
      configure(next) {
        options = next;
      },
    };
  },
});

export default plugin;

const ROUTE = streamRoute(MP4.extension);
const METHODS = "GET, HEAD";
