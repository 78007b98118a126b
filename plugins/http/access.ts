/** Who may use the API. */

import type { Context, MiddlewareHandler } from "hono";
import { createHash, timingSafeEqual } from "node:crypto";
import type { HttpEnv } from "./service.ts";
import { Sessions } from "./sessions.ts";

/** What the decision depends on. */
export interface AccessOptions {
  /** What everybody must show, if there is one. */
  readonly token?: string | undefined;
  /** Whether everybody may read. */
  readonly publicRead: boolean;
  /** Origins whose pages may read without a token; `*` does not count. */
  readonly origins: readonly string[];
}

/** Headers of proxies, behind which every client looks like one on this machine. */
const PROXY_HEADERS = ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via"];

/** Wrong tokens that are looked at in a second, of all clients together. */
const ATTEMPTS = 5;
const ATTEMPTS_MS = 1000;

/** Who may use the API, and routes of other plugins that are for the same people. */
export class Access {
  readonly #options: () => AccessOptions;
  readonly #sessions = new Sessions();
  #wrong = 0;
  #wrongSinceMs = -Infinity;

  /** Decides by what `options` are at each request. */
  constructor(options: () => AccessOptions) {
    this.#options = options;
  }

  /**
   * Lets requests pass that may use the API.
   *
   * With a token: those that show it as `Authorization: Bearer …`, wherever they come from, and those
   * of the server's own pages where somebody has signed in. Without: those from this machine, unless
   * a page of another site makes the browser send them. Such a page is known by its `Origin`, by
   * `Sec-Fetch-Site`, or, if it rebinds a name of its own to this machine, by the name in `Host`.
   * Pages of this machine and of origins that are named may read. Where everybody may read, all this
   * is for what changes things.
   */
  readonly guard: MiddlewareHandler<HttpEnv> = async (c, next) => {
    const { token, publicRead, origins } = this.#options();
    if (publicRead && reads(c)) return await next();
    if (token === undefined) {
      const reason = isLocal(c) ? foreignPage(c, origins) : FAR;
      if (reason !== undefined) return c.json({ error: reason }, 403);
      return await next();
    }
    // Whoever is signed in is not kept out by others who try tokens.
    if (isOwnPage(c) && await this.#sessions.has(c, token)) return await next();
    const [, shown] = /^Bearer +(\S+) *$/i.exec(c.req.header("Authorization") ?? "") ?? [];
    const refusal = this.#check(c, shown, token);
    if (refusal !== undefined) return refusal;
    await next();
  };

  /** Signs in whoever shows the token as `shown`, on a page of the server. */
  async signIn(c: Context<HttpEnv>, shown: string): Promise<Response> {
    const { token } = this.#options();
    if (!isOwnPage(c)) return c.json({ error: "Pages of other sites may not sign in" }, 403);
    if (token === undefined) {
      return c.json({ error: "Nobody need sign in: [http] has no ApiToken" }, 404);
    }
    const refusal = this.#check(c, shown, token);
    if (refusal !== undefined) return refusal;
    await this.#sessions.begin(c, token);
    return c.body(null, 204);
  }

  /** Signs out. */
  signOut(c: Context<HttpEnv>): Response {
    if (!isOwnPage(c)) return c.json({ error: "Pages of other sites may not sign out" }, 403);
    this.#sessions.end(c);
    return c.body(null, 204);
  }

  /** The refusal of whoever shows something other than the token; undefined if it is the token. */
  #check(c: Context<HttpEnv>, shown: string | undefined, token: string): Response | undefined {
    if (shown !== undefined) {
      if (Date.now() - this.#wrongSinceMs >= ATTEMPTS_MS) {
        this.#wrong = 0;
        this.#wrongSinceMs = Date.now();
      }
      if (this.#wrong >= ATTEMPTS) {
        const error = "There were too many wrong tokens in this second";
        return c.json({ error }, 429, { "Retry-After": "1" });
      }
      if (isSame(shown, token)) return undefined;
      this.#wrong++;
    }
    const error = shown === undefined
      ? "The API needs the ApiToken of [http] as Authorization: Bearer TOKEN"
      : "That is not the ApiToken of [http]";
    return c.json({ error }, 401, { "WWW-Authenticate": 'Bearer realm="m7s"' });
  }
}

/** Whether two texts are the same, in a time that tells nothing of where they differ. */
function isSame(a: string, b: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

function reads({ req }: Context<HttpEnv>): boolean {
  return req.method === "GET" || req.method === "HEAD";
}

/** Whether a request is of a page of the server itself, or of no page. */
function isOwnPage(c: Context<HttpEnv>): boolean {
  const site = c.req.header("Sec-Fetch-Site");
  // Browsers that say so know better than the name in `Host`, which proxies may change.
  if (site !== undefined) return site === "same-origin" || site === "none";
  const origin = c.req.header("Origin");
  return origin === undefined || URL.parse(origin)?.host === URL.parse(c.req.url)?.host;
}

const FAR =
  "The API answers this machine only (as localhost, with no proxy between) while [http] " +
  "has no ApiToken";

function isLocal(c: Context<HttpEnv>): boolean {
  const { remote } = c.env;
  return isLoopback(remote.slice(0, remote.lastIndexOf(":"))) &&
    isLoopback(hostnameOf(c.req.url) ?? "") &&
    PROXY_HEADERS.every((name) => c.req.header(name) === undefined);
}

/** Why a request looks like one that a page of another site makes; undefined if it does not. */
function foreignPage(c: Context<HttpEnv>, origins: readonly string[]): string | undefined {
  const origin = c.req.header("Origin");
  const site = c.req.header("Sec-Fetch-Site");
  if (origin === undefined) {
    const fine = site === undefined || site === "none" || site === "same-origin" ||
      (reads(c) && site === "same-site");
    return fine ? undefined : "Pages of other sites may not use the API without an ApiToken";
  }
  if (URL.parse(origin)?.host === URL.parse(c.req.url)?.host) return undefined;
  if (!reads(c)) return `Pages of ${origin} may not change anything without an ApiToken`;
  if (origins.includes(origin) || isLoopback(hostnameOf(origin) ?? "")) return undefined;
  return `Pages of ${origin} may not use the API without an ApiToken, or being named in Cors`;
}

function hostnameOf(url: string): string | undefined {
  return URL.parse(url)?.hostname;
}

function isLoopback(host: string): boolean {
  return /^127(\.\d{1,3}){3}$/.test(host) || host === "[::1]" || host === "localhost" ||
    host.endsWith(".localhost");
}
