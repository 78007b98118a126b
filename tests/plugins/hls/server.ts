/** A server with the hls plugin, and streams for it. */

import { assertEquals } from "@std/assert";
import http from "../../../plugins/http/mod.ts";
import { type HttpService, httpService } from "../../../plugins/http/service.ts";
import hls from "../../../plugins/hls/mod.ts";
import { Engine } from "../../../src/engine.ts";
import type { MediaFrame } from "../../../src/frame.ts";
import type { EngineConfig } from "../../../src/options.ts";
import { Plugins } from "../../../src/plugin.ts";
import type { Publisher } from "../../../src/publisher.ts";
import { checkPlaylist, type ReadPlaylist } from "../../support/hls.ts";
import { eventually } from "../../support/http.ts";
import { listLogger } from "../../support/logs.ts";
import type { SegmentFormat } from "../../../plugins/hls/options.ts";
import { stream, type StreamShape } from "./segments.ts";

/** A running server. */
export interface HlsServer extends AsyncDisposable {
  readonly engine: Engine;
  readonly plugins: Plugins;
  readonly logs: string[];
  readonly url: string;
}

/** What a server is made of. */
export interface HlsServerOptions {
  readonly config?: EngineConfig;
  readonly hls?: Record<string, unknown>;
  /** One of several that are one server. */
  readonly engine?: Engine;
}

/** Starts an engine with the plugins http and hls on 127.0.0.1. Fails at its end on logged errors. */
export async function startHls(options: HlsServerOptions = {}): Promise<HlsServer> {
  const logs: string[] = [];
  const log = listLogger(logs);
  const engine = options.engine ??
    new Engine({ OnDemandPublishTimeout: 0.2, ...options.config }, { log });
  const plugins = new Plugins(engine, { log });
  // Isolates of one server have to be told a port; here each has its own.
  const Port = engine.isolates.count > 1 ? freePort() : 0;
  await plugins.load("HTTP", http, { Host: "127.0.0.1", Port });
  let service: HttpService = { url: "", mount() {}, access: (_, next) => next() };
  await plugins.load("spy", {
    name: "spy",
    requires: [httpService],
    run: ({ use }) => void (service = use(httpService)),
  });
  await plugins.load("HLS", hls, options.hls);
  return {
    engine,
    plugins,
    logs,
    get url() {
      return service.url;
    },
    async [Symbol.asyncDispose]() {
      if (options.engine === undefined) await engine.close();
      await plugins.close();
      assertEquals(logs.filter((line) => line.startsWith("error")), []);
    },
  };
}

/** Pushes frames as they are, and lets those who read have them. */
export async function pushFrames(
  publisher: Publisher,
  frames: readonly MediaFrame[],
): Promise<void> {
  for (const frame of frames) {
    const input = frame.kind === "video" ? publisher.video : publisher.audio;
    if (frame.config.kind === "video") publisher.video.configure(frame.config);
    else publisher.audio.configure(frame.config);
    const { dts: dtsUs, pts, key, data } = frame;
    input.push({ dtsUs, ctsUs: pts - dtsUs, key, data });
    await Promise.resolve();
  }
  await new Promise((resolve) => setTimeout(resolve, 0));
}

/** A port that nobody listens on now. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** What else {@linkcode publishStream} does. */
export interface PublishedShape extends StreamShape {
  /** Format that a player asks for before the first frame; the ring has only the newest ones. */
  readonly asked?: SegmentFormat | "none";
}

/** Publishes a stream of some seconds that stays, with a keyframe every 2 s unless `shape` says. */
export async function publishStream(
  server: HlsServer,
  path: string,
  shape: PublishedShape,
): Promise<Publisher> {
  const { asked = "fmp4" } = shape;
  const publisher = await server.engine.publish(path, { type: "Test" });
  const frames = stream({ gopMs: 2000, ...shape });
  for (const { config } of frames.slice(0, 2)) {
    if (config.kind === "video") publisher.video.configure(config);
    else publisher.audio.configure(config);
  }
  publisher.completeTracks();
  if (asked !== "none") {
    const before = server.engine.subscribers.size;
    const player = fetch(`${server.url}/${path}/~/${asked}.m3u8`);
    await eventually("a player is there", () => server.engine.subscribers.size > before);
    await new Promise((resolve) => setTimeout(resolve, 5));
    await pushFrames(publisher, frames);
    const started = player.then((response) => response.body?.cancel());
    if (shape.toMs > 3000) await started;
  } else await pushFrames(publisher, frames);
  return publisher;
}

/** A player's view of one media playlist, each version of it checked. */
export class PlaylistReaderClient {
  readonly history: ReadPlaylist[] = [];
  readonly url: string;

  constructor(url: string) {
    this.url = url;
  }

  /** Loads the playlist with `query`. */
  async load(query = ""): Promise<ReadPlaylist> {
    const response = await fetch(this.url + query);
    const text = await response.text();
    if (response.status !== 200) throw new Error(`${response.status} ${text}`);
    assertEquals(response.headers.get("Content-Type"), "application/vnd.apple.mpegurl");
    return checkPlaylist(text, this.history);
  }

  /** Loads what the playlist names. */
  async file(name: string): Promise<Uint8Array> {
    const response = await fetch(new URL(name, this.url));
    if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
    assertEquals(response.headers.get("Cache-Control"), "max-age=86400, immutable");
    return await response.bytes();
  }
}

/** Status of an answer whose body nobody wants. */
export async function statusOf(url: string, init?: RequestInit): Promise<number> {
  const response = await fetch(url, init);
  await response.body?.cancel();
  return response.status;
}
