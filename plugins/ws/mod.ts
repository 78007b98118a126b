/** The ws plugin: streams over WebSockets, to watch. */

import { type Context, Hono } from "hono";
import { definePlugin, type Plugin, type PluginContext } from "../../src/plugin.ts";
import { type HttpEnv, httpService } from "../http/service.ts";
import { type Container, FLV, MP4, openView, type PlayOptions, playSchema } from "../play.ts";
import { streamRoute } from "../stream_request.ts";
import { messageFormat } from "./messages.ts";
import { latePlayback, playback } from "./playback.ts";

/**
 * The ws plugin plays streams over WebSockets: as FLV at `/{path}.flv`, for players such as those of
 * WS-FLV, and as fragmented MP4 at `/{path}.mp4`, for Media Source Extensions.
 *
 * Binary messages are the bytes of the file one after the other, each of whole tags or fragments.
 * With MP4, the text message `{"type":"video/mp4; codecs=\"…\"}"}` comes first, and again whenever
 * the codecs or their configurations change: the next binary message is the initialization segment of
 * that type. The server closes with 1000 at the end of the stream, with 1008 where the
 * viewer is put out, with 1001 where it stops itself. What cannot be played is refused by an HTTP
 * status, as without a WebSocket, and by 4000 and that status, such as 4404, where the stream was
 * waited for.
 *
 * Arguments of the address go to the guards. Those that it understands itself are `flush` (ms) and
 * `audio=0` or `video=0`, which leave a kind of track out.
 */
const plugin: Plugin<PlayOptions> = definePlugin({
  name: "ws",
  options: playSchema,
  requires: [httpService],
  run(context: PluginContext<PlayOptions>) {
    let options = context.options;
    const app = new Hono<HttpEnv>();
    const watch = async (c: Context<HttpEnv>, type: string, container: Container) => {
      const { upgrade } = c.env;
      if (upgrade === undefined) return c.notFound();
      const opening = openView(c, context, { type, container, options });
      const view = await soon(opening);
      if (view instanceof Response) return view;
      const { log } = context;
      return upgrade(view ? playback({ view, log }) : latePlayback(opening, log));
    };
    const flv: Container = { ...FLV, format: messageFormat(FLV.format) };
    const mp4: Container = {
      ...MP4,
      format: messageFormat(MP4.format, (tracks) => JSON.stringify({ type: MP4.typeOf(tracks) })),
    };
    app.get(streamRoute(FLV.extension), (c) => watch(c, "WS-FLV", flv));
    app.get(streamRoute(MP4.extension), (c) => watch(c, "WS-MP4", mp4));
    const http = context.use(httpService);
    http.mount(app, context.signal);
    const url = http.url.replace(/^http/, "ws");
    context.log.info("watch {url}/live/NAME.flv or .mp4", { url });
    return {
      configure(next) {
        options = next;
      },
    };
  },
});

export default plugin;

/**
 * How long a handshake waits for its stream, in ms. Browsers open one WebSocket to a server after
 * the other (RFC 6455 4.1): one that waited longer would keep all others from theirs.
 */
const HANDSHAKE_MS = 250;

/** What `opening` gives, if it does so in the time that a handshake may take. */
function soon<T>(opening: Promise<T>): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(undefined), HANDSHAKE_MS);
    opening.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
