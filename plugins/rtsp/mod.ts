/**
 * RTSP and RTSPS: a server for publishers and players, and a client that fetches streams from other
 * servers and sends streams to them.
 *
 * @module
 */

import { definePlugin, type Plugin, type PluginContext } from "../../src/plugin.ts";
import { type RtspOptions, rtspSchema } from "./options.ts";
import { Relays } from "./relays.ts";
import { RtspServer } from "./server.ts";

export type { Carrier, PullOptions, RemoteOptions, RtspOptions } from "./options.ts";

/** The plugin. */
const rtsp: Plugin<RtspOptions> = definePlugin({
  name: "rtsp",
  options: rtspSchema,
  async run(context: PluginContext<RtspOptions>) {
    const server = new RtspServer(context);
    const relays = new Relays({ server: server.host, random: Math.random });
    context.defer(() => server.stop());
    context.defer(() => relays.stop());
    const configure = async (options: RtspOptions) => {
      await server.configure(options);
      await relays.configure(options);
    };
    await configure(context.options);
    return { configure, urls: () => server.urls };
  },
});

export default rtsp;
