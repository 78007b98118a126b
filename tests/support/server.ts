/** A whole server on free loopback ports for tests: RTMP, HTTP-FLV and, if asked for, RTSP, in and out. */

import httpFlv from "../../plugins/http_flv/mod.ts";
import http from "../../plugins/http/mod.ts";
import rtmp from "../../plugins/rtmp/mod.ts";
import rtsp from "../../plugins/rtsp/mod.ts";
import { Engine } from "../../src/engine.ts";
import type { EngineConfig } from "../../src/options.ts";
import { Plugins } from "../../src/plugin.ts";
import { listLogger } from "./logs.ts";

/** The protocols of the server's plugins. */
export type Protocol = "rtmp" | "http" | "rtsp";

/** Those that every server has, for tables of tests. */
export const PROTOCOLS: readonly Protocol[] = ["rtmp", "http"];

/** Options of {@linkcode startServer}: the sections of a config. */
export interface ServerOptions {
  readonly engine?: EngineConfig;
  readonly rtmp?: Readonly<Record<string, unknown>>;
  readonly httpFlv?: Readonly<Record<string, unknown>>;
  /** Without it there is no RTSP. */
  readonly rtsp?: Readonly<Record<string, unknown>>;
}

/** A running server. */
export interface TestServer extends AsyncDisposable {
  readonly engine: Engine;
  readonly plugins: Plugins;
  /** Lines of the log with their level in front. */
  readonly logs: readonly string[];
  /** Where a stream is published and played. */
  url(protocol: Protocol, path: string): string;
}

/** UDP ports of servers; those that another server has are passed over. */
const UDP_PORTS = [24_000, 25_999];

/**
 * Starts an engine with the plugins http, rtmp and http_flv, and rtsp if it has options, on 127.0.0.1.
 *
 * Its disposal stops all of them, and fails if the server has logged an error: whatever clients do,
 * it has none to log.
 */
export async function startServer(options: ServerOptions = {}): Promise<TestServer> {
  const logs: string[] = [];
  const log = listLogger(logs);
  const engine = new Engine(options.engine, { log });
  const plugins = new Plugins(engine, { log });
  const here = { Host: "127.0.0.1", Port: 0 };
  await plugins.load("HTTP", http, here);
  await plugins.load("RTMP", rtmp, { ...here, ...options.rtmp });
  await plugins.load("HTTP_FLV", httpFlv, options.httpFlv);
  if (options.rtsp) {
    await plugins.load("RTSP", rtsp, { ...here, UDPPorts: UDP_PORTS, ...options.rtsp });
  }
  const root = (name: string) =>
    plugins.list().find((plugin) => plugin.name === name.toUpperCase())?.urls?.[0];
  return {
    engine,
    plugins,
    logs,
    url: (protocol, path) => `${root(protocol)}/${path}${protocol === "http" ? ".flv" : ""}`,
    async [Symbol.asyncDispose]() {
      await engine.close();
      await plugins.close();
      const errors = logs.filter((line) => line.startsWith("error"));
      if (errors.length > 0) throw new Error(`The server has logged:\n${errors.join("\n")}`);
    },
  };
}
