/** What the address of a request asks for. */

import { parseTarget } from "../../src/path.ts";
import type { HlsQuestion } from "./answer.ts";
import type { SegmentFormat } from "./options.ts";
import { DIRECTIVE_PREFIX, parseDirectives } from "./reload.ts";

/** End of the addresses of playlists. */
const PLAYLIST = ".m3u8";
/** Folder of a stream with all that its multivariant playlist leads to. */
const FOLDER = "/~/";
/** Slashes and the like that an address hides from those who check it on its way. */
const HIDDEN = /%(?:2f|5c|00)/i;

/** Addresses that are for this plugin. */
export const ROUTES = ["/:path{.+}/~/:name", "/:path{.+\\.m3u8}"];

/** Media playlists and files of streams whose paths need no encoding. */
const PLAIN = /^(?:\/[\w.-]+)+\/~\/[\w-]+\.(?:m3u8|m4s|mp4|ts)(?:\?[^#]*)?$/;
/** Base of an address that is only a path. */
const HERE = "http://localhost";

/** Whether an address, path and query, is one of those that players ask for again and again. */
export function isPlain(url: string): boolean {
  return PLAIN.test(url);
}

/**
 * What a request for `url` is about: `/{path}.m3u8` is the multivariant playlist of a stream,
 * `/{path}/~/fmp4.m3u8` a media playlist, and what else is in that folder its files.
 *
 * @throws {TypeError} If it names no stream path, or its arguments make no sense.
 */
export function questionOf(url: string, remote: string, format: SegmentFormat): HlsQuestion {
  const { pathname, search, searchParams } = new URL(url, HERE);
  if (HIDDEN.test(pathname)) throw new TypeError("Cannot use the address: it hides a slash");
  const folder = pathname.lastIndexOf(FOLDER);
  const rawPath = folder < 0 ? pathname.slice(0, -PLAYLIST.length) : pathname.slice(0, folder);
  const rawName = folder < 0 ? "" : pathname.slice(folder + FOLDER.length);
  const decoded = decode(rawPath);
  if (decoded.includes("?")) throw new TypeError("Cannot use the address: its path has a ?");
  const { path } = parseTarget(decoded);
  const pairs = search.slice(1).split("&").filter((pair) => pair !== "");
  const passed = pairs.filter((pair) => !pair.startsWith(DIRECTIVE_PREFIX));
  const target = path + queryOf(passed);
  const about = { path, target, remote };
  if (folder >= 0 && !rawName.endsWith(PLAYLIST)) {
    return { ...about, subject: { kind: "file", name: rawName } };
  }
  if (folder >= 0) {
    const named = formatOf(rawName.slice(0, -PLAYLIST.length));
    const directives = parseDirectives(searchParams);
    return { ...about, subject: { kind: "media", format: named, directives } };
  }
  const asked = searchParams.get("format");
  const chosen = asked === null ? format : formatOf(asked);
  const base = encodeURIComponent(path.slice(path.lastIndexOf("/") + 1));
  const query = queryOf(passed.filter((pair) => !/^format(=|$)/.test(pair)));
  const uri = `${base}${FOLDER}${chosen}${PLAYLIST}${query}`;
  return { ...about, subject: { kind: "multivariant", format: chosen, uri } };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw new TypeError("Cannot use the address: its encoding is broken", { cause });
  }
}

function formatOf(text: string): SegmentFormat {
  if (text === "fmp4" || text === "ts") return text;
  throw new TypeError(`Cannot use the format ${JSON.stringify(text)}: it must be fmp4 or ts`);
}

function queryOf(pairs: readonly string[]): string {
  return pairs.length > 0 ? `?${pairs.join("&")}` : "";
}
