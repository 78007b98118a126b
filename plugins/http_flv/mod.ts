/** The http_flv plugin: FLV over HTTP, to watch and to publish. */

import { Hono } from "hono";
import { definePlugin, type Plugin, type PluginContext } from "../../src/plugin.ts";
import { type HttpEnv, httpService } from "../http/service.ts";
import { FLV, playOverHttp } from "../play.ts";
import { streamRoute } from "../stream_request.ts";
import { type HttpFlvOptions, httpFlvSchema } from "./options.ts";
import { publishFlv } from "./publish.ts";

/**
 * The http_flv plugin: `GET /{path}.flv` plays a stream, `POST` or `PUT` publishes one.
 *
 * Arguments of the address go to the guards. Those of a `GET` that it understands itself are
 * `flush` (ms) and `audio=0` or `video=0`, which leave a kind of track out.
 */
const plugin: Plugin<HttpFlvOptions> = definePlugin({
  name: "http_flv",
  options: httpFlvSchema,
  requires: [httpService],
  run(context: PluginContext<HttpFlvOptions>) {
    let options = context.options;
    const app = new Hono<HttpEnv>();
    app.get(
      ROUTE,
      (c) => playOverHttp(c, context, { type: "HTTP-FLV", container: FLV, options }),
    );
    app.on(["POST", "PUT"], ROUTE, (c) => publishFlv(c, context, options));
    app.all(ROUTE, (c) => {
      const error = `${c.req.method} is not for streams: ${METHODS} are`;
      return c.json({ error }, 405, { "Allow": METHODS });
    });
    const http = context.use(httpService);
    http.mount(app, context.signal);
    context.log.info("watch {url}/live/NAME.flv, or publish there by POST", { url: http.url });
    return {
      configure(next) {
        options = next;
      },
    };
  },
});

export default plugin;

const ROUTE = streamRoute(FLV.extension);
const METHODS = "GET, HEAD, POST, PUT";
