/**
 * RTMP and RTMPS: a server for publishers and players.
 *
 * @module
 */

import { definePlugin, type Plugin, type PluginContext } from "../../src/plugin.ts";
import { type RtmpOptions, rtmpSchema } from "./options.ts";
import { RtmpServer } from "./server.ts";
import { rtmpService } from "./service.ts";

export type { RtmpOptions } from "./options.ts";

/** The plugin. */
const rtmp: Plugin<RtmpOptions> = definePlugin({
  name: "rtmp",
  options: rtmpSchema,
  provides: [rtmpService],
  async run(context: PluginContext<RtmpOptions>) {
    const server = new RtmpServer(context);
    context.defer(() => server.stop());
    await server.configure(context.options);
    context.provide(rtmpService, {
      get urls() {
        return server.urls;
      },
    });
    return { configure: (options: RtmpOptions) => server.configure(options) };
  },
});

export default rtmp;
