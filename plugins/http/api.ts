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
  /** Called with what undoes what it did. */
  readonly defer: (undo: () => void) => void;
}

/** A stream as one isolate has it. */
interface StreamInfo extends Record<string, unknown> {
  readonly path: string;
  readonly dropped: number;
  readonly subscribers: readonly SubscriberInfo[];
}

interface SubscriberInfo extends Record<string, unknown> {
  readonly number: number;
}

/** The streams of an isolate: those published there, and those that it repeats for its viewers. */
interface IsolateStreams {
  readonly published: readonly StreamInfo[];
  readonly repeated: readonly StreamInfo[];
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
export function createApi({ engine, plugins, access, defer }: ApiInit): Hono<HttpEnv> {
  const started = new Date();
  const ask = answerAsIsolate(engine, defer);
  const app = new Hono<HttpEnv>();
  app.use("/api/*", apiAccess(access));
  app.use("/api/*", async (c, next) => {
    await next();
    c.header("Cache-Control", "no-store");
    c.header("X-Content-Type-Options", "nosniff");
  });

  app.get("/api/streams", async (c) => c.json(await ask.streams()));
  app.all("/api/streams", notAllowed("GET, HEAD"));

  app.get("/api/streams/:path{.+}", async (c) => {
    const path = c.req.param("path");
    const [stream] = await ask.streams(path);
    return stream === undefined ? noStream(c, path) : c.json(stream);
  });
  app.delete("/api/streams/:path{.+}", async (c) => {
    const path = c.req.param("path");
    return await ask.closeStream(path) ? c.body(null, 204) : noStream(c, path);
  });
  app.all("/api/streams/:path{.+}", notAllowed("GET, HEAD, DELETE"));

  app.get("/api/subscribers/:number", async (c) => {
    const number = c.req.param("number");
    const subscriber = await ask.subscriber(Number(number));
    return subscriber === undefined ? noSubscriber(c, number) : c.json(subscriber);
  });
  app.delete("/api/subscribers/:number", async (c) => {
    const number = c.req.param("number");
    return await ask.kick(Number(number)) ? c.body(null, 204) : noSubscriber(c, number);
  });
  app.all("/api/subscribers/:number", notAllowed("GET, HEAD, DELETE"));

  app.get("/api/plugins", (c) => c.json(plugins.list()));
  app.all("/api/plugins", notAllowed("GET, HEAD"));

  app.get("/api/server", async (c) => {
    const { rss, heapUsed, heapTotal, external } = Deno.memoryUsage();
    const streams = await ask.streams();
    return c.json({
      name: about.name,
      version: about.version,
      runtime: `Deno ${Deno.version.deno}`,
      isolate: engine.isolates.index,
      isolates: engine.isolates.count,
      since: started.toISOString(),
      uptimeSeconds: Math.floor((Date.now() - started.getTime()) / 1000),
      streams: streams.length,
      subscribers: streams.reduce((sum, { subscribers }) => sum + subscribers.length, 0),
      memoryBytes: { rss, heapUsed, heapTotal, external },
    });
  });
  app.all("/api/server", notAllowed("GET, HEAD"));
  return app;
}

/** Answers for this isolate, and asks all of them. */
function answerAsIsolate(engine: Engine, defer: ApiInit["defer"]) {
  const { isolates } = engine;

  function register<A, R>(
    name: string,
    handler: (argument: A) => R,
  ): (argument: A) => Promise<R[]> {
    defer(isolates.answer(`http/${name}`, (argument) => handler(argument as A)));
    return (argument) => isolates.ask(`http/${name}`, argument) as Promise<R[]>;
  }

  const streams = register("streams", (path: string | undefined): IsolateStreams => {
    const wanted = path === undefined ? [...engine.streams.values()] : [engine.getStream(path)];
    const found = wanted.filter((stream) => stream !== undefined);
    return {
      published: found.filter(({ replica }) => !replica).map(streamInfo),
      repeated: found.filter(({ replica }) => replica).map(streamInfo),
    };
  });
  const close = register("close", (path: string) => {
    const stream = engine.getStream(path);
    // Where it is repeated it ends with the one that is published.
    if (stream !== undefined && !(stream.replica && stream.state === "live")) {
      stream.close(KICKED.detail, KICKED.code);
    }
    return stream !== undefined;
  });
  /** A subscriber, unless it is another isolate of which the viewers are. */
  function viewer(number: number): Subscriber | undefined {
    const found = engine.subscribers.get(number);
    return found?.replica ? undefined : found;
  }

  const subscriber = register("subscriber", (number: number) => {
    const found = viewer(number);
    return found && { path: found.stream.path, ...subscriberInfo(found) };
  });
  const kick = register("kick", (number: number) => {
    const found = viewer(number);
    found?.close(KICKED);
    return found !== undefined;
  });

  return {
    streams: async (path?: string) => merged(await streams(path)),
    closeStream: async (path: string) => (await close(path)).includes(true),
    subscriber: async (number: number) =>
      (await subscriber(number)).find((found) => found !== undefined),
    kick: async (number: number) => (await kick(number)).includes(true),
  };
}

/** Each stream once, as where it is published, with the subscribers of all isolates. */
function merged(isolates: readonly IsolateStreams[]): StreamInfo[] {
  const streams = new Map<string, StreamInfo>();
  const all = [
    ...isolates.flatMap(({ published }) => published),
    ...isolates.flatMap(({ repeated }) => repeated),
  ];
  for (const stream of all) {
    const known = streams.get(stream.path);
    if (known === undefined) {
      streams.set(stream.path, stream);
      continue;
    }
    const subscribers = [...known.subscribers, ...stream.subscribers]
      .sort((a, b) => a.number - b.number);
    streams.set(stream.path, { ...known, subscribers, dropped: known.dropped + stream.dropped });
  }
  return [...streams.values()];
}

function streamInfo(stream: Stream): StreamInfo {
  const { path, state, since, publisher, tracks, subscribers, dropped } = stream;
  const viewers = [...subscribers].filter(({ replica }) => !replica);
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
    subscribers: viewers.map(subscriberInfo),
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

function subscriberInfo(subscriber: Subscriber): SubscriberInfo {
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
