/** Who may use the API. */

import type { Context, MiddlewareHandler } from "hono";
import { timingSafeEqual } from "hono/utils/buffer";
import type { HttpEnv } from "./service.ts";

/** What the decision depends on. */
export interface AccessOptions {
  /** What everybody must show, if there is one. */
  readonly token?: string | undefined;
  /** Origins whose pages may read without a token; `*` does not count. */
  readonly origins: readonly string[];
}

/** Headers of proxies, behind which every client looks like one on this machine. */
const PROXY_HEADERS = ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via"];

/**
 * Lets requests pass that may use the API.
 *
 * With a token: those that show it as `Authorization: Bearer …`, wherever they come from. Without:
 * those from this machine, unless a page of another site makes the browser send them. Such a page
 * is known by its `Origin`, by `Sec-Fetch-Site`, or, if it rebinds a name of its own to this
 * machine, by the name in `Host`. Pages of this machine and of origins that are named may read.
 */
export function apiAccess(options: () => AccessOptions): MiddlewareHandler<HttpEnv> {
  return async (c, next) => {
    const { token, origins } = options();
    if (token !== undefined) {
      const [, shown] = /^Bearer +(\S+) *$/i.exec(c.req.header("Authorization") ?? "") ?? [];
      if (shown !== undefined && await timingSafeEqual(shown, token)) return await next();
      const error = "The API needs the ApiToken of [http] as Authorization: Bearer TOKEN";
      return c.json({ error }, 401, { "WWW-Authenticate": 'Bearer realm="m7s"' });
    }
    const reason = isLocal(c) ? foreignPage(c, origins) : FAR;
    if (reason !== undefined) return c.json({ error: reason }, 403);
    await next();
  };
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
  const reads = c.req.method === "GET" || c.req.method === "HEAD";
  const origin = c.req.header("Origin");
  const site = c.req.header("Sec-Fetch-Site");
  if (origin === undefined) {
    const fine = site === undefined || site === "none" || site === "same-origin" ||
      (reads && site === "same-site");
    return fine ? undefined : "Pages of other sites may not use the API without an ApiToken";
  }
  if (URL.parse(origin)?.host === URL.parse(c.req.url)?.host) return undefined;
  if (!reads) return `Pages of ${origin} may not change anything without an ApiToken`;
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
