/** Header fields with parts: lists, parameters, Session, Public and RTP-Info (RFC 2326 12). */

import { InvalidDataError } from "../../src/errors.ts";

/** Seconds after which a session without a sign of life ends unless it says otherwise (12.37). */
export const DEFAULT_SESSION_TIMEOUT = 60;

/** A Session header (RFC 2326 12.37). */
export interface SessionField {
  /** The session's name, opaque and case-sensitive. */
  readonly id: string;
  /** Seconds for which the server waits for a sign of life. @default {60} */
  readonly timeoutSeconds?: number;
}

/** What RTP-Info says of a track (RFC 2326 12.33). */
export interface RtpInfo {
  /** The track's URL, as it was set up. */
  readonly url: string;
  /** Sequence number of the first packet: 16 bits. */
  readonly sequence?: number | undefined;
  /** RTP timestamp at the start of the range: 32 bits. */
  readonly timestamp?: number | undefined;
}

/**
 * The parts of `text` between separators that are not quoted, trimmed; empty ones are left out.
 * Their number is bounded by the length of a line.
 */
export function splitUnquoted(text: string, separator: "," | ";"): string[] {
  const parts: string[] = [];
  let start = 0;
  let isQuoted = false;
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === '"') isQuoted = !isQuoted;
    else if (char === "\\" && isQuoted) at++;
    else if (char === separator && !isQuoted) {
      parts.push(text.slice(start, at));
      start = at + 1;
    }
  }
  parts.push(text.slice(start));
  return parts.map((part) => part.trim()).filter((part) => part !== "");
}

/** A parameter such as `name=value` or `name="value"`; its name in lower case, the value unquoted. */
export function parseParameter(text: string): [name: string, value: string] {
  const equals = text.indexOf("=");
  if (equals < 0) return [text.trim().toLowerCase(), ""];
  return [text.slice(0, equals).trim().toLowerCase(), unquote(text.slice(equals + 1).trim())];
}

/** `text` as a quoted string (RFC 9110 5.6.4). */
export function quote(text: string): string {
  return `"${text.replace(/["\\]/g, "\\$&")}"`;
}

function unquote(text: string): string {
  if (!text.startsWith('"')) return text;
  const end = text.length > 1 && text.endsWith('"') ? -1 : text.length;
  return text.slice(1, end).replace(/\\(.)/g, "$1");
}

/**
 * Reads a Session header.
 *
 * @throws {InvalidDataError} If it has no name, or a timeout that is no number of seconds.
 */
export function parseSession(value: string): SessionField {
  const [id = "", ...parameters] = value.split(";").map((part) => part.trim());
  if (id === "") throw new InvalidDataError("Cannot read Session: its id is empty");
  for (const parameter of parameters) {
    const [name, text] = parseParameter(parameter);
    if (name !== "timeout") continue;
    // A fraction is not in the grammar, but some cameras send it.
    if (!/^\d{1,7}(\.\d*)?$/.test(text)) {
      throw new InvalidDataError("Cannot read Session: its timeout is no number");
    }
    const timeoutSeconds = Math.floor(Number(text));
    // A session that ends at once is of no use; those that say so mean none.
    return timeoutSeconds > 0 ? { id, timeoutSeconds } : { id };
  }
  return { id };
}

/** The value of a Session header. */
export function formatSession({ id, timeoutSeconds }: SessionField): string {
  return timeoutSeconds === undefined ? id : `${id};timeout=${timeoutSeconds}`;
}

/** The methods that a Public or Allow header names (RFC 2326 12.28, 12.4), in upper case. */
export function parseMethods(value: string): ReadonlySet<string> {
  return new Set(splitUnquoted(value, ",").map((method) => method.toUpperCase()));
}

/** The value of a Public or Allow header. */
export function formatMethods(methods: Iterable<string>): string {
  return [...methods].join(", ");
}

/**
 * Reads an RTP-Info header. A number that is missing or out of range is left out, since cameras send
 * `-1` and worse, and playing works without.
 */
export function parseRtpInfo(value: string): RtpInfo[] {
  // URLs may have commas and semicolons in them, so the names of the parts are looked for.
  return value.split(/(?:^|,)\s*(?=url\s*=)/i).flatMap((entry) => {
    const [head = "", ...parameters] = entry.split(/;\s*(?=(?:seq|rtptime|ssrc)\s*=)/i);
    const [name, url] = parseParameter(head);
    if (name !== "url" || url === "") return [];
    const numbers = new Map(parameters.map(parseParameter));
    const sequence = integer(numbers.get("seq"), 0xffff);
    const timestamp = integer(numbers.get("rtptime"), 0xffff_ffff);
    return [{
      url,
      ...sequence === undefined ? {} : { sequence },
      ...timestamp === undefined ? {} : { timestamp },
    }];
  });
}

/** The value of an RTP-Info header. */
export function formatRtpInfo(tracks: readonly RtpInfo[]): string {
  return tracks.map(({ url, sequence, timestamp }) => {
    const seq = sequence === undefined ? "" : `;seq=${sequence}`;
    return `url=${url}${seq}${timestamp === undefined ? "" : `;rtptime=${timestamp}`}`;
  }).join(",");
}

function integer(text: string | undefined, max: number): number | undefined {
  const value = Number(text);
  return /^\d{1,10}$/.test(text ?? "") && value <= max ? value : undefined;
}
