/** The Range header (RFC 2326 12.29) in normal play time (3.6). */

import { InvalidDataError } from "../../src/errors.ts";

/** A stretch of normal play time. */
export interface NptRange {
  /** Where it starts, in microseconds; `now` is the live edge. Undefined: up to the end only. */
  readonly startUs?: number | "now";
  /** Where it ends, in microseconds; undefined: open. */
  readonly endUs?: number;
}

/** Largest time: about 114 years, which is still an exact number of microseconds. */
const MAX_SECONDS = 3_600_000_000;

const SECONDS = /^(\d{1,10})(?:\.(\d*))?$/;
const CLOCK = /^(\d{1,7}):([0-5]?\d):([0-5]?\d)(?:\.(\d*))?$/;

/**
 * Reads a Range header; undefined where it is in other units than normal play time.
 *
 * @throws {InvalidDataError} If its times are no times, or it ends before it starts.
 */
export function parseRange(value: string): NptRange | undefined {
  const [, range] = /^\s*npt\s*=\s*([^;]*)/i.exec(value) ?? [];
  if (range === undefined) return undefined;
  const dash = range.indexOf("-");
  const startText = (dash < 0 ? range : range.slice(0, dash)).trim();
  const endText = dash < 0 ? "" : range.slice(dash + 1).trim();
  if (startText === "" && endText === "") {
    throw new InvalidDataError("Cannot read Range: it has neither start nor end");
  }
  const startUs = startText === "" || startText === "now" ? startText : parseTime(startText);
  // The live edge as an end is what an open one means.
  const endUs = endText === "" || endText === "now" ? undefined : parseTime(endText);
  if (typeof startUs === "number" && endUs !== undefined && endUs < startUs) {
    throw new InvalidDataError("Cannot read Range: it ends before it starts");
  }
  return {
    ...startUs === "" ? {} : { startUs },
    ...endUs === undefined ? {} : { endUs },
  };
}

/** The value of a Range header. */
export function formatRange({ startUs, endUs }: NptRange): string {
  const start = startUs === "now" ? startUs : startUs === undefined ? "" : formatTime(startUs);
  return `npt=${start}-${endUs === undefined ? "" : formatTime(endUs)}`;
}

/** Microseconds of `text`: seconds or `hours:minutes:seconds`, each with a fraction or without. */
function parseTime(text: string): number {
  const [, clockHours, minutes, clockSeconds, clockFraction] = CLOCK.exec(text) ?? [];
  const [, plainSeconds, plainFraction] = SECONDS.exec(text) ?? [];
  const seconds = clockHours === undefined
    ? Number(plainSeconds)
    : Number(clockHours) * 3600 + Number(minutes) * 60 + Number(clockSeconds);
  if (!(seconds <= MAX_SECONDS)) {
    throw new InvalidDataError("Cannot read Range: a time in it is malformed or out of range");
  }
  const fraction = (clockFraction ?? plainFraction ?? "").slice(0, 6).padEnd(6, "0");
  return seconds * 1_000_000 + Number(fraction);
}

function formatTime(us: number): string {
  const seconds = Math.floor(us / 1_000_000);
  const fraction = String(us % 1_000_000).padStart(6, "0").replace(/0+$/, "");
  return fraction === "" ? `${seconds}` : `${seconds}.${fraction}`;
}
