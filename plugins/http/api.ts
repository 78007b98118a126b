/** The HTTP API: what is live, and how to end it. */

import { type Context, Hono } from "hono";
import about from "../../deno.json" with { type: "json" };
import type { AudioConfig, VideoConfig } from "../../src/codecs/config.ts";
import type { End } from "../../src/errors.ts";
import type { Engine } from "../../src/engine.ts";
import type { Plugins } from "../../src/plugin.ts";
import type { Stream } from "../../src/stream.ts";
import type { Subscriber } from "../../src/subscriber.ts";
import type { Track } from "../../src/track.ts";
import { type AccessOptions, apiAccess } from "./access.ts";
import type { HttpEnv } from "./service.ts";

/** What the API tells about and acts on. */
export interface ApiInit {
  /** The engine. */
  readonly engine: Engine;
  /** All plugins. */
  readonly plugins: Plugins;
  /** Who may use it, now. */
  readonly access: () => AccessOptions;
}

const KICKED: End = { code: "kicked", detail: "kicked by an operator" };

/**
 * The routes below `/api`, in JSON:
 *
 * - `GET /api/streams`, `GET /api/streams/{path}`: streams with their tracks and subscribers
 * - `DELETE /api/streams/{path}`: ends a stream
 * - `GET /api/subscribers/{number}`, `DELETE /api/subscribers/{number}`: shows or ends a subscriber
 * - `GET /api/plugins`: plugins, and why those that do not run don't
 * - `GET /api/server`: version, uptime and memory
 *
 * Errors are `{ "error": "…" }`.
 */
export function createApi({ engine, plugins, access }: ApiInit): Hono<HttpEnv> {
  const started = new Date();
  const app = new Hono<HttpEnv>();
  app.use("/api/*", apiAccess(access));
  app.use("/api/*", async (c, next) => {
    await next();
    c.header("Cache-Control", "no-store");
    c.header("X-Content-Type-Options", "nosniff");
  });

  app.get("/api/streams", (c) => c.json([...engine.streams.values()].map(streamInfo)));
  app.all("/api/streams", notAllowed("GET, HEAD"));

  app.get("/api/streams/:path{.+}", (c) => {
    const path = c.req.param("path");
    const stream = engine.getStream(path);
    return stream === undefined ? noStream(c, path) : c.json(streamInfo(stream));
  });
  app.delete("/api/streams/:path{.+}", (c) => {
    const path = c.req.param("path");
    const stream = engine.getStream(path);
    if (stream === undefined) return noStream(c, path);
    stream.close(KICKED.detail, KICKED.code);
    return c.body(null, 204);
  });
  app.all("/api/streams/:path{.+}", notAllowed("GET, HEAD, DELETE"));

  app.get("/api/subscribers/:number", (c) => {
    const subscriber = engine.subscribers.get(Number(c.req.param("number")));
    if (subscriber === undefined) return noSubscriber(c, c.req.param("number"));
    return c.json({ path: subscriber.stream.path, ...subscriberInfo(subscriber) });
  });
  app.delete("/api/subscribers/:number", (c) => {
    const subscriber = engine.subscribers.get(Number(c.req.param("number")));
    if (subscriber === undefined) return noSubscriber(c, c.req.param("number"));
    subscriber.close(KICKED);
    return c.body(null, 204);
  });
  app.all("/api/subscribers/:number", notAllowed("GET, HEAD, DELETE"));

  app.get("/api/plugins", (c) => c.json(plugins.list()));
  app.all("/api/plugins", notAllowed("GET, HEAD"));

  app.get("/api/server", (c) => {
    const { rss, heapUsed, heapTotal, external } = Deno.memoryUsage();
    return c.json({
      name: about.name,
      version: about.version,
      runtime: `Deno ${Deno.version.deno}`,
      since: started.toISOString(),
      uptimeSeconds: Math.floor((Date.now() - started.getTime()) / 1000),
      streams: engine.streams.size,
      subscribers: engine.subscribers.size,
      memoryBytes: { rss, heapUsed, heapTotal, external },
    });
  });
  app.all("/api/server", notAllowed("GET, HEAD"));
  return app;
}

function streamInfo(stream: Stream): Record<string, unknown> {
  const { path, state, since, publisher, tracks, subscribers, dropped } = stream;
  return {
    path,
    state,
    since: since.toISOString(),
    publisher: publisher === undefined ? null : {
      type: publisher.type,
      id: publisher.id,
      since: publisher.since.toISOString(),
    },
    tracks: tracks.map(trackInfo),
    subscribers: [...subscribers].map(subscriberInfo),
    dropped,
  };
}

function trackInfo(track: Track): Record<string, unknown> {
  const { kind, name } = track;
  const config: VideoConfig | AudioConfig | undefined = track.config;
  return { kind, name, ...(config && configInfo(config)), ...track.stats() };
}

function configInfo(config: VideoConfig | AudioConfig): Record<string, unknown> {
  const { codec, fourcc } = config;
  if (config.kind === "audio") {
    return { codec, fourcc, sampleRate: config.sampleRate, channels: config.numberOfChannels };
  }
  const { codedWidth: width, codedHeight: height, frameRate } = config;
  return { codec, fourcc, width, height, frameRate };
}

function subscriberInfo(subscriber: Subscriber): Record<string, unknown> {
  const { number, type, id, since } = subscriber;
  return { number, type, id, since: since.toISOString(), ...subscriber.stats() };
}

function noStream(c: Context<HttpEnv>, path: string): Response {
  return c.json({ error: `There is no stream ${path}` }, 404);
}

function noSubscriber(c: Context<HttpEnv>, number: string): Response {
  return c.json({ error: `There is no subscriber ${number}` }, 404);
}

function notAllowed(allow: string): (c: Context<HttpEnv>) => Response {
  return (c) => {
    const error = `${c.req.method} is not for ${c.req.path}: ${allow} are`;
    return c.json({ error }, 405, { "Allow": allow });
  };
}
