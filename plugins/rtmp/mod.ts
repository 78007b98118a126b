/**
 * RTMP and RTMPS: a server for publishers and players.
 *
 * @module
 */

import { definePlugin, type Plugin, type PluginContext } from "../../src/plugin.ts";
import { type RtmpOptions, rtmpSchema } from "./options.ts";
import { RtmpServer } from "./server.ts";

export type { RtmpOptions } from "./options.ts";

/** The plugin. */
const rtmp: Plugin<RtmpOptions> = definePlugin({
  name: "rtmp",
  options: rtmpSchema,
  async run(context: PluginContext<RtmpOptions>) {
    const server = new RtmpServer(context);
    context.defer(() => server.stop());
    await server.configure(context.options);
    return {
      configure: (options: RtmpOptions) => server.configure(options),
      urls: () => server.urls,
    };
  },
});

export default rtmp;
