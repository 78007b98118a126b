/**
 * The engine inside a program: no config file, plugins by import, streams by hand.
 *
 * Run it with `deno run -A examples/embed.ts`, publish to rtmp://127.0.0.1:1935/live/a, watch
 * http://127.0.0.1:8080/live/a.flv.
 */

import { Engine, Plugins, RefusedError } from "@m7s/engine";
import http from "../plugins/http/mod.ts";
import httpFlv from "../plugins/http_flv/mod.ts";
import rtmp from "../plugins/rtmp/mod.ts";

/** Ports of the servers; 0 takes any free one. */
export interface Ports {
  /** Port of HTTP. */
  readonly http: number;
  /** Port of RTMP. */
  readonly rtmp: number;
}

/** Starts a server that only lets publishers with the right key in and ends a stream with its last viewer. */
export async function startServer(ports: Ports, streamKey: string) {
  const engine = new Engine({ PublishTimeout: 30 });
  engine.addGuard("publish", ({ args }) => {
    if (args.get("key") !== streamKey) throw new RefusedError("wrong stream key");
  });
  engine.addEventListener("unsubscribe", ({ detail: { stream } }) => {
    if (stream.subscribers.size === 0) stream.close("nobody watches");
  });
  const plugins = new Plugins(engine);
  await plugins.load("HTTP", http, { Host: "127.0.0.1", Port: ports.http });
  await plugins.load("HTTP_FLV", httpFlv);
  await plugins.load("RTMP", rtmp, { Host: "127.0.0.1", Port: ports.rtmp });
  return {
    engine,
    plugins,
    async [Symbol.asyncDispose]() {
      await engine.close();
      await plugins.close();
    },
  };
}

if (import.meta.main) await startServer({ http: 8080, rtmp: 1935 }, "secret");
