/** Which app answers a request, and what all answers have in common. */

import { type Context, Hono, type Next } from "hono";
import { cors } from "hono/cors";
import type { Logger } from "../../src/log.ts";
import type { HttpEnv, ShortAnswer, ShortHandler } from "./service.ts";

/** {@linkcode HttpEnv} with a note of whether an app had no answer. */
interface DispatchEnv {
  readonly Bindings: HttpEnv["Bindings"] & { unanswered?: boolean };
}

/** What a page of another origin may send, as WHIP, WHEP and publishing by `fetch` need it. */
const CORS_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/** What it may read of an answer besides the headers that are always readable. */
const CORS_EXPOSED_HEADERS = ["Allow", "ETag", "Link", "Location", "Retry-After"];
/** How long browsers may keep the answer to a preflight request: the most that Chromium does. */
const CORS_MAX_AGE_S = 7200;

/** Asks mounted apps, one after the other, and adds CORS headers to what they answer. */
export class Dispatcher {
  readonly #log: Logger;
  readonly #apps = new Set<Hono<DispatchEnv>>();
  readonly #shorts = new Set<ShortHandler>();
  #root: Hono<DispatchEnv>;
  /** What each short answer has to have for pages of other origins; undefined if that depends. */
  #shortHeaders: Readonly<Record<string, string>> | undefined;

  /** Without apps; `origins` are those whose pages may use it, `*` for all. */
  constructor(origins: readonly string[], log: Logger) {
    this.#log = log;
    this.#root = this.#build(origins);
    this.#shortHeaders = shortHeaders(origins);
  }

  /** Replaces the origins whose pages may use it. */
  setOrigins(origins: readonly string[]): void {
    this.#root = this.#build(origins);
    this.#shortHeaders = shortHeaders(origins);
  }

  /**
   * Asks `app` for what the apps before it do not answer, and `short` before all apps, until
   * `signal` is aborted.
   */
  mount(
    app: Hono<HttpEnv>,
    signal: AbortSignal,
    { short }: { readonly short?: ShortHandler } = {},
  ): void {
    if (signal.aborted) return;
    if (short !== undefined) {
      this.#shorts.add(short);
      signal.addEventListener("abort", () => this.#shorts.delete(short), { once: true });
    }
    // A parent of its own keeps the app's middleware from the requests of other apps.
    const mounted = new Hono<DispatchEnv>()
      .onError((error, c) => this.#fail(error, c))
      .notFound((c) => {
        c.env.unanswered = true;
        return c.body(null, 404);
      })
      .route("/", app);
    this.#apps.add(mounted);
    signal.addEventListener("abort", () => this.#apps.delete(mounted), { once: true });
  }

  /** Answers a GET by the short way, if there is one for it. What it gives does not reject. */
  readonly short: ShortHandler = (url, env) => {
    const common = this.#shortHeaders;
    if (common === undefined) return undefined;
    for (const handler of this.#shorts) {
      const answer = handler(url, env);
      if (answer !== undefined) return this.#completed(answer, common);
    }
    return undefined;
  };

  async #completed(
    answer: Promise<ShortAnswer>,
    common: Readonly<Record<string, string>>,
  ): Promise<ShortAnswer> {
    try {
      const { status, headers, body } = await answer;
      return { status, headers: { ...headers, ...common }, body };
    } catch (error) {
      this.#log.error("a short answer failed: {error}", { error });
      const body = new TextEncoder().encode(JSON.stringify({ error: "Internal server error" }));
      return { status: 500, headers: { "Content-Type": "application/json", ...common }, body };
    }
  }

  /** Answers a request. It does not throw. */
  readonly fetch = async (request: Request, env: HttpEnv["Bindings"]): Promise<Response> =>
    await this.#root.fetch(request, env);

  #build(origins: readonly string[]): Hono<DispatchEnv> {
    const root = new Hono<DispatchEnv>().onError((error, c) => this.#fail(error, c));
    root.use(webSocketOrigin(origins));
    if (origins.length > 0) root.use(crossOrigin(origins));
    return root.all("*", (c) => this.#ask(c));
  }

  async #ask(c: Context<DispatchEnv>): Promise<Response> {
    for (const app of [...this.#apps]) {
      c.env.unanswered = false;
      const response = await app.fetch(c.req.raw, c.env);
      if (response.status !== 404 || !c.env.unanswered) return response;
    }
    const { method, path } = c.req;
    const error = `Nothing answers ${method} ${path}; is the plugin for it in [Plugins]?`;
    return c.json({ error }, 404);
  }

  #fail(error: Error, c: Context<DispatchEnv>): Response {
    // Hono's own errors carry the answer that they stand for.
    if ("getResponse" in error) return (error as { getResponse(): Response }).getResponse();
    const { method, path } = c.req;
    this.#log.error("{method} {path} failed: {error}", { method, path, error });
    return c.json({ error: "Internal server error" }, 500);
  }
}

/** Refuses WebSockets, to which CORS does not apply, to pages that it would keep from answers. */
function webSocketOrigin(origins: readonly string[]) {
  return async (c: Context<DispatchEnv>, next: Next): Promise<Response | void> => {
    const origin = c.req.header("Origin");
    const isFine = c.env.upgrade === undefined || origin === undefined ||
      origins.includes("*") || origins.includes(origin) ||
      URL.parse(origin)?.host === URL.parse(c.req.url)?.host;
    if (isFine) return await next();
    return c.json(
      { error: `Pages of ${origin} may not use the server: Cors does not name it` },
      403,
    );
  };
}

/** What `cors` adds to an answer, where that is the same whoever asks. */
function shortHeaders(origins: readonly string[]): Readonly<Record<string, string>> | undefined {
  if (origins.length === 0) return {};
  if (!origins.includes("*")) return undefined;
  return {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": CORS_EXPOSED_HEADERS.join(","),
  };
}

function crossOrigin(origins: readonly string[]) {
  const answer = cors({
    origin: origins.includes("*") ? "*" : [...origins],
    allowMethods: CORS_METHODS,
    exposeHeaders: CORS_EXPOSED_HEADERS,
    maxAge: CORS_MAX_AGE_S,
  });
  return async (c: Context<DispatchEnv>, next: Next): Promise<Response | void> => {
    if (c.env.upgrade !== undefined) return await next();
    if (c.req.method !== "OPTIONS") return await answer(c, next);
    // Any other OPTIONS is a question to an app.
    if (c.req.header("Access-Control-Request-Method") === undefined) return await next();
    const response = await answer(c, next);
    // Private Network Access: pages of public sites may use servers in the local network.
    const isPrivate = c.req.header("Access-Control-Request-Private-Network") === "true";
    const allowed = response?.headers.has("Access-Control-Allow-Origin");
    if (response && isPrivate && allowed) {
      response.headers.set("Access-Control-Allow-Private-Network", "true");
    }
    return response;
  };
}
