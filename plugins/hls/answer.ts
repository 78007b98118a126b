/** Questions of players and the answers to them, as plain data that can go from isolate to isolate. */

import { type EndCode, EndedError, RefusedError, StreamNotFoundError } from "../../src/errors.ts";
import { UnplayableError } from "./broadcast.ts";
import type { SegmentFormat } from "./options.ts";
import type { Directives } from "./reload.ts";

/** A request for a playlist or a file of one. */
export interface HlsQuestion {
  /** Path of the stream. */
  readonly path: string;
  /** The path with the arguments that guards decide by. */
  readonly target: string;
  /** Who asks. */
  readonly remote: string;
  readonly subject:
    | { readonly kind: "multivariant"; readonly format: SegmentFormat; readonly uri: string }
    | { readonly kind: "media"; readonly format: SegmentFormat; readonly directives: Directives }
    | { readonly kind: "file"; readonly name: string };
}

/** The answer to a request. */
export interface HlsAnswer {
  readonly status: HlsStatus;
  /** Media type of the body. */
  readonly type: string;
  /** Value of `Cache-Control`. */
  readonly cache: string;
  readonly body: string | Uint8Array<ArrayBuffer>;
}

/** Statuses of answers. */
export type HlsStatus = 200 | 400 | 403 | 404 | 408 | 409 | 500 | 503;

/** An answer that says why there is nothing. */
export function refusal(status: HlsStatus, error: string): HlsAnswer {
  return {
    status,
    type: "application/json",
    cache: "no-store",
    body: JSON.stringify({ error }),
  };
}

/**
 * The answer to a request that the engine does not take.
 *
 * @throws {unknown} `error` itself, if it is none of the engine's.
 */
export function refusalFor(error: unknown): HlsAnswer {
  if (error instanceof RefusedError) return refusal(403, error.reason);
  if (error instanceof StreamNotFoundError || error instanceof UnplayableError) {
    return refusal(404, error.message);
  }
  if (error instanceof EndedError) return refusal(STATUS_OF_END[error.end.code], error.message);
  if (error instanceof TypeError) return refusal(400, error.message);
  if (error instanceof DOMException && error.name === "AbortError") {
    return refusal(503, "The server stops");
  }
  throw error;
}

/** What a player is told when the stream ends before its answer. */
const STATUS_OF_END: Readonly<Record<EndCode, HlsStatus>> = {
  "ended": 404,
  "lost": 404,
  "idle": 404,
  "error": 404,
  "publish-timeout": 408,
  "kicked": 403,
  "replaced": 409,
  "shutdown": 503,
};
