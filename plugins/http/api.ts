/** The HTTP API: what is live, and how to end it. */

import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { deadline } from "@std/async/deadline";
import about from "../../deno.json" with { type: "json" };
import type { Engine } from "../../src/engine.ts";
import { parseTarget } from "../../src/path.ts";
import type { PluginContext } from "../../src/plugin.ts";
import type { Access } from "./access.ts";
import { EventFeed } from "./events.ts";
import { askEverywhere } from "./everywhere.ts";
import { StreamHistories } from "./history.ts";
import type { PluginInfo, ServerInfo, StreamOverview } from "./info.ts";
import type { HttpEnv } from "./service.ts";

/** What the API tells about and acts on. */
export interface ApiInit {
  /** The http plugin's. */
  readonly context: PluginContext;
  /** Who may use it. */
  readonly access: Access;
}

/** The API. */
export interface Api {
  readonly app: Hono<HttpEnv>;
  /** Ends what is sent to those who might not get it any more: they ask again. */
  reset(): void;
}

/** Longest body of a request, in bytes: a token in JSON. */
const MAX_BODY_BYTES = 4096;
/** How long such a body may take to come. */
const BODY_MS = 10_000;

/** Most clients of `/api/events`: far more than people who look, as each is told things every second. */
const MAX_EVENT_CLIENTS = 256;

/**
 * The routes below `/api`, in JSON:
 *
 * - `GET /api/streams`, `GET /api/streams/{path}`: streams with their tracks and subscribers
 * - `DELETE /api/streams/{path}`: ends a stream
 * - `GET /api/subscribers/{number}`, `DELETE /api/subscribers/{number}`: shows or ends a subscriber
 * - `GET /api/plugins`: plugins, and why those that do not run don't
 * - `GET /api/server`: version, uptime and memory
 * - `GET /api/events`: all of that as server-sent events, and `?stream={path}` in detail
 * - `POST /api/login`, `POST /api/logout`: signs a browser in, with `{ "token": "…" }`, or out
 *
 * Errors are `{ "error": "…" }`.
 */
export function createApi({ context, access }: ApiInit): Api {
  const { engine, plugins, signal, log, logHistory, defer } = context;
  const started = new Date();
  const histories = new StreamHistories(engine, signal);
  const ask = askEverywhere({ engine, histories, logHistory, defer });
  const pluginsInfo = (): readonly PluginInfo[] => plugins.list();
  const feed = new EventFeed({
    log,
    async snapshot(question) {
      const { streams, details, log } = await ask.snapshot(question);
      const server = serverInfo(engine, started, streams);
      return { server, streams, plugins: pluginsInfo(), details, log };
    },
  });
  defer(() => feed.close());
  const app = new Hono<HttpEnv>();
  app.use("/api/*", async (c, next) => {
    await next();
    c.header("Cache-Control", "no-store");
    c.header("X-Content-Type-Options", "nosniff");
  });

  const limit = bodyLimit({
    maxSize: MAX_BODY_BYTES,
    onError: (c) => c.json({ error: "The body is too long" }, 413),
  });
  app.post("/api/login", limit, async (c) => {
    const token = await tokenIn(c);
    if (token === undefined) return c.json({ error: 'The body must be { "token": "…" }' }, 400);
    return await access.signIn(c, token);
  });
  app.all("/api/login", notAllowed("POST"));
  app.post("/api/logout", (c) => access.signOut(c));
  app.all("/api/logout", notAllowed("POST"));

  app.use("/api/*", access.guard);

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

  app.get("/api/plugins", (c) => c.json(pluginsInfo()));
  app.all("/api/plugins", notAllowed("GET, HEAD"));

  app.get("/api/server", async (c) => {
    return c.json(serverInfo(engine, started, await ask.overviews()));
  });
  app.all("/api/server", notAllowed("GET, HEAD"));

  app.get("/api/events", async (c) => {
    const target = c.req.query("stream");
    const path = target === undefined ? undefined : pathOf(target);
    if (target !== undefined && path === undefined) {
      return c.json({ error: `${JSON.stringify(target)} is no stream path` }, 400);
    }
    const headers = { "Content-Type": "text/event-stream" };
    if (c.req.method === "HEAD") return c.body(null, 200, headers);
    const history = path === undefined ? [] : await ask.history(path);
    if (feed.clients >= MAX_EVENT_CLIENTS) {
      return c.json({ error: "There are too many clients" }, 503, { "Retry-After": "10" });
    }
    return c.env.live(feed.open(path === undefined ? undefined : { path, history }), headers);
  });
  app.all("/api/events", notAllowed("GET, HEAD"));
  return { app, reset: () => feed.close() };
}

/** The token in the body of a request; undefined if there is none, or it does not come. */
async function tokenIn({ req }: Context<HttpEnv>): Promise<string | undefined> {
  try {
    const body: unknown = JSON.parse(await deadline(req.text(), BODY_MS));
    if (typeof body !== "object" || body === null || !("token" in body)) return undefined;
    return typeof body.token === "string" ? body.token : undefined;
  } catch {
    // It is no JSON, broke off, or takes too long.
    return undefined;
  }
}

function serverInfo(
  { isolates }: Engine,
  started: Date,
  streams: readonly StreamOverview[],
): ServerInfo {
  const { rss, heapUsed, heapTotal, external } = Deno.memoryUsage();
  return {
    name: about.name,
    version: about.version,
    runtime: `Deno ${Deno.version.deno}`,
    isolate: isolates.index,
    isolates: isolates.count,
    since: started.toISOString(),
    uptimeSeconds: Math.floor((Date.now() - started.getTime()) / 1000),
    streams: streams.length,
    subscribers: streams.reduce((sum, { viewers }) => sum + viewers, 0),
    memoryBytes: { rss, heapUsed, heapTotal, external },
  };
}

/** The path that `target` names; undefined if it is none. */
function pathOf(target: string): string | undefined {
  try {
    return parseTarget(target).path;
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
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
