/** Delivery directives: what players ask of a playlist by its query (6.2.5). */

import type { PlaylistState } from "./window.ts";

/** What a player asks of a media playlist. */
export interface Directives {
  /** Media sequence number that the playlist must have; with `part`, that of the part. */
  readonly segment: number | undefined;
  /** Index of the part in its segment that the playlist must have. */
  readonly part: number | undefined;
  /** Whether older segments may be left out. */
  readonly delta: boolean;
}

/** Beginning of the names of directives; all are reserved (6.2.5). */
export const DIRECTIVE_PREFIX = "_HLS_";

/** Most digits of a number: those of all safe integers, and far more than there are segments. */
const NUMBER = /^\d{1,15}$/;

/** Media segments that a player may be ahead (6.2.5.2). */
const ADVANCE_SEGMENTS = 2;
/** Seconds of parts that a player may be ahead, and parts that are longer (6.2.5.2). */
const ADVANCE_PARTS = 3;

/**
 * The directives in a query. Those that are not known are passed over.
 *
 * @throws {TypeError} If one is malformed, given twice, or needs another one.
 */
export function parseDirectives(query: URLSearchParams): Directives {
  const segment = numberOf(query, "_HLS_msn");
  const part = numberOf(query, "_HLS_part");
  if (part !== undefined && segment === undefined) {
    throw new TypeError("Cannot use _HLS_part: there is no _HLS_msn");
  }
  const skip = only(query, "_HLS_skip");
  if (skip !== undefined && skip !== "YES" && skip !== "v2") {
    throw new TypeError("Cannot use _HLS_skip: it must be YES or v2");
  }
  return { segment, part, delta: skip !== undefined };
}

/**
 * Whether a playlist is what a player waits for, is yet to become it, or is so far from it that the
 * player can't know what it asks for.
 */
export function reloadOutcome(
  state: PlaylistState,
  { segment, part }: Directives,
): "ready" | "wait" | "too-far" {
  if (segment === undefined || state.ended) return "ready";
  const { timing: { partTargetUs }, segments } = state;
  const last = segments.at(-1);
  if (last === undefined) return "wait";
  const open = last.durationUs === undefined ? last : undefined;
  const lastComplete = open ? last.number - 1 : last.number;
  if (segment > lastComplete + ADVANCE_SEGMENTS) return "too-far";
  if (part === undefined || partTargetUs === undefined) {
    return segment <= lastComplete ? "ready" : "wait";
  }
  if (segment <= lastComplete) {
    const wanted = segments.find(({ number }) => number === segment);
    if (wanted === undefined || part < wanted.parts.length || segment < last.number) return "ready";
    // The part after the last one is the first of the next segment.
    return "wait";
  }
  const listed = segment === open?.number ? open.parts.length : 0;
  if (part < listed) return "ready";
  const partSeconds = partTargetUs / 1e6;
  const limit = partSeconds < 1 ? ADVANCE_PARTS / partSeconds : ADVANCE_PARTS;
  return part - (listed - 1) > limit ? "too-far" : "wait";
}

function numberOf(query: URLSearchParams, name: string): number | undefined {
  const text = only(query, name);
  if (text === undefined) return undefined;
  if (!NUMBER.test(text)) throw new TypeError(`Cannot use ${name}: it must be a whole number`);
  return Number(text);
}

function only(query: URLSearchParams, name: string): string | undefined {
  const [value, ...others] = query.getAll(name);
  if (others.length > 0) throw new TypeError(`Cannot use ${name}: it is there twice`);
  return value;
}
