/** What playing and publishing over HTTP have in common: the stream that a request names, and refusals. */

import type { Context } from "hono";
import {
  type End,
  EndedError,
  RefusedError,
  StreamNotFoundError,
  StreamTakenError,
} from "../src/errors.ts";
import { flushOf } from "../src/flush.ts";
import { parseTarget } from "../src/path.ts";
import type { HttpEnv } from "./http/service.ts";

/** The stream that a request is about. */
export interface StreamTarget {
  /** Path and arguments, as the engine takes them. */
  readonly target: string;
  /** Path of the stream. */
  readonly path: string;
  /** Arguments of the address. */
  readonly args: URLSearchParams;
}

/**
 * The stream that the address `/{path}.flv?…` of a request names, with any other `extension` as with
 * `.flv`.
 *
 * @throws {TypeError} If it is no stream path, or its argument `flush` is wrong.
 */
export function targetOf(c: Context<HttpEnv>, extension: string): StreamTarget {
  const name = (c.req.param("path") ?? "").slice(0, -extension.length);
  if (name.includes("?")) {
    throw new TypeError(`Cannot use ${JSON.stringify(name)} as a stream path: it has a ?`);
  }
  const { url } = c.req;
  const mark = url.indexOf("?");
  const target = name + (mark < 0 ? "" : url.slice(mark));
  const { path, args } = parseTarget(target);
  // The engine refuses a wrong one as well, but later.
  flushOf(args);
  return { target, path, args };
}

/**
 * The route of streams' addresses that end in `extension`, such as `.flv`. What is right in a folder
 * `~` are files of a stream, such as those of HLS, and no stream.
 */
export function streamRoute(extension: string): string {
  return `/:path{(?!.*/~/[^/]*$).+\\${extension}}`;
}

/** A refusal with its reason. */
export function refuse(c: Context<HttpEnv>, status: RefusalStatus, error: string): Response {
  return c.json({ error }, status, { "Cache-Control": "no-store" });
}

/** Statuses of {@linkcode refuse}. */
export type RefusalStatus = 400 | 403 | 404 | 408 | 409 | 503;

/**
 * The answer to a request that the engine does not take.
 *
 * @throws {unknown} `error` itself, if it is none of the engine's.
 */
export function refuseFor(c: Context<HttpEnv>, error: unknown): Response {
  if (error instanceof RefusedError) return refuse(c, 403, error.reason);
  if (error instanceof StreamNotFoundError) return refuse(c, 404, error.message);
  if (error instanceof StreamTakenError) return refuse(c, 409, error.message);
  if (error instanceof EndedError) {
    const status = STATUS_OF_END[error.end.code];
    return refuse(c, status, error.message);
  }
  // The client has left, or the plugin stops; whoever still listens may come back.
  if (error instanceof DOMException && error.name === "AbortError") {
    return refuse(c, 503, "The server stops");
  }
  throw error;
}

/** What a client is told when its stream, subscription or publisher ends before its answer. */
const STATUS_OF_END: Readonly<Record<End["code"], RefusalStatus>> = {
  "ended": 404,
  "lost": 404,
  "idle": 404,
  "error": 404,
  "publish-timeout": 408,
  "kicked": 403,
  "replaced": 409,
  "shutdown": 503,
};
