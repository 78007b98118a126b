/** A strict reader of HLS playlists: whatever draft-pantos-hls-rfc8216bis forbids fails a test. */

import { assert, assertEquals } from "@std/assert";

/** A part of a segment. */
export interface ReadPart {
  readonly uri: string;
  readonly duration: number;
  readonly independent: boolean;
}

/** A segment; the one under way has neither duration nor URI. */
export interface ReadSegment {
  /** Media sequence number. */
  readonly number: number;
  /** Discontinuity sequence number. */
  readonly discontinuities: number;
  readonly discontinuity: boolean;
  readonly duration: number | undefined;
  readonly uri: string | undefined;
  /** URI of the initialization section that applies. */
  readonly map: string | undefined;
  /** In ms since 1970. */
  readonly unixMs: number;
  readonly parts: readonly ReadPart[];
}

/** A media playlist. */
export interface ReadPlaylist {
  readonly version: number;
  readonly target: number;
  readonly partTarget: number | undefined;
  /** Attributes of EXT-X-SERVER-CONTROL. */
  readonly control: ReadonlyMap<string, string>;
  /** Complete segments, those that a delta update has skipped among them. */
  readonly segments: readonly ReadSegment[];
  /** The segment under way, if a part of it is there. */
  readonly open: ReadSegment | undefined;
  /** URI of the part to come. */
  readonly hint: string | undefined;
  /** How many segments a delta update has skipped. */
  readonly skipped: number;
  readonly ended: boolean;
}

/** Clocks are told in ms. */
const DATE_TOLERANCE_MS = 1.5;
const TOLERANCE = 2e-6;

/**
 * Reads a media playlist and fails on what it must not say (chapters 4 and 6.2 of the draft), by
 * itself and after those in `history`, to which it is added.
 */
export function checkPlaylist(text: string, history: ReadPlaylist[] = []): ReadPlaylist {
  const before = history.at(-1);
  const playlist = new PlaylistReader(text, before).read();
  checkSegments(playlist);
  checkParts(playlist);
  if (before !== undefined) checkChange(before, playlist);
  history.push(playlist);
  return playlist;
}

/** The attributes of a tag; fails if the list is malformed (4.2). */
export function attributesOf(list: string): Map<string, string> {
  const attributes = new Map<string, string>();
  let rest = list;
  while (rest !== "") {
    const match = /^([A-Z0-9-]+)=("[^"\r\n]*"|[^",\s]+)(,(?=.)|$)/.exec(rest);
    assert(match !== null, `no attribute list: ${list}`);
    const [whole, name = "", value = ""] = match;
    assert(!attributes.has(name), `${name} is there twice: ${list}`);
    attributes.set(name, value.startsWith('"') ? value.slice(1, -1) : value);
    rest = rest.slice(whole.length);
  }
  return attributes;
}

/** A multivariant playlist with one variant. */
export interface ReadMultivariant {
  readonly attributes: ReadonlyMap<string, string>;
  readonly uri: string;
}

/** Reads a multivariant playlist; fails unless it is one with a single variant. */
export function readMultivariant(text: string): ReadMultivariant {
  const [head, tag = "", uri = "", ...rest] = text.split("\n");
  assertEquals([head, rest], ["#EXTM3U", [""]], text);
  assert(tag.startsWith("#EXT-X-STREAM-INF:"), text);
  const attributes = attributesOf(tag.slice("#EXT-X-STREAM-INF:".length));
  const [peak, average] = ["BANDWIDTH", "AVERAGE-BANDWIDTH"].map((name) => {
    const value = attributes.get(name) ?? "";
    assert(/^[1-9]\d*$/.test(value), `${name}=${value}`);
    return Number(value);
  });
  assert((average ?? 0) <= (peak ?? 0), "the average is above the peak");
  return { attributes, uri };
}

/** Tags that may be there once and the beginning of whose value is told apart by a colon. */
const ONCE = [
  "VERSION",
  "TARGETDURATION",
  "SERVER-CONTROL",
  "PART-INF",
  "MEDIA-SEQUENCE",
  "DISCONTINUITY-SEQUENCE",
  "SKIP",
  "PRELOAD-HINT",
  "ENDLIST",
] as const;

class PlaylistReader {
  readonly #lines: readonly string[];
  readonly #before: ReadPlaylist | undefined;
  readonly #once = new Map<string, string>();
  readonly #segments: ReadSegment[] = [];
  #number = 0;
  #discontinuities = 0;
  #skipped = 0;
  #map: string | undefined;
  #discontinuity = false;
  #unixMs = NaN;
  #parts: ReadPart[] = [];

  constructor(text: string, before: ReadPlaylist | undefined) {
    const lines = text.split("\n");
    assertEquals(lines.shift(), "#EXTM3U", "the first line");
    assertEquals(lines.pop(), "", "the last line has an end");
    this.#lines = lines;
    this.#before = before;
  }

  read(): ReadPlaylist {
    let pending: number | undefined;
    for (const line of this.#lines) {
      if (!line.startsWith("#")) {
        assert(pending !== undefined, `${line} has no EXTINF`);
        assert(/^[\w.~-]+$/.test(line), `${line} is no URI of ours`);
        this.#close(pending, line);
        pending = undefined;
        continue;
      }
      assert(pending === undefined, `${line} is between EXTINF and its URI`);
      if (line.startsWith("#EXTINF:")) {
        const match = /^#EXTINF:(\d+(?:\.\d+)?),$/.exec(line);
        assert(match, line);
        pending = Number(match[1]);
      } else this.#tag(line);
    }
    assert(pending === undefined, "an EXTINF has no URI");
    return this.#finish();
  }

  #tag(line: string): void {
    const match = /^#EXT-X-([A-Z-]+)(?::(.+))?$/.exec(line);
    assert(match, `no tag: ${line}`);
    const [, name = "", value = ""] = match;
    assert(!this.#once.has("ENDLIST"), `${line} is after the end`);
    if ((ONCE as readonly string[]).includes(name)) {
      assert(!this.#once.has(name), `${name} is there twice`);
      this.#once.set(name, value);
      const isHead = name !== "PRELOAD-HINT" && name !== "ENDLIST";
      if (isHead) {
        assert(this.#segments.length === 0 && this.#parts.length === 0, `${name} is late`);
      }
      if (name === "MEDIA-SEQUENCE") this.#number = whole(value);
      if (name === "DISCONTINUITY-SEQUENCE") this.#discontinuities = whole(value);
      if (name === "SKIP") this.#skip(attributesOf(value));
      return;
    }
    switch (name) {
      case "DISCONTINUITY":
        this.#atStart(line);
        assert(!this.#discontinuity, "a segment has one discontinuity");
        this.#discontinuity = true;
        this.#discontinuities++;
        return;
      case "MAP":
        this.#atStart(line);
        this.#map = attributesOf(value).get("URI");
        assert(this.#map, line);
        return;
      case "PROGRAM-DATE-TIME":
        this.#atStart(line);
        assert(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value), line);
        this.#unixMs = Date.parse(value);
        return;
      case "PART":
        this.#parts.push(partOf(attributesOf(value)));
        return;
      default:
        throw new Error(`An unknown tag: ${line}`);
    }
  }

  /** Tags of a segment come before its first part (4.4.4.9). */
  #atStart(line: string): void {
    assertEquals(this.#parts.length, 0, `${line} is behind parts of its segment`);
  }

  #skip(attributes: ReadonlyMap<string, string>): void {
    this.#skipped = whole(attributes.get("SKIPPED-SEGMENTS") ?? "");
    assert(this.#skipped > 0, "nothing is skipped");
    for (let index = 0; index < this.#skipped; index++) {
      const known = this.#before?.segments.find(({ number }) => number === this.#number);
      assert(known, `segment ${this.#number} is skipped and not known`);
      this.#segments.push(known);
      this.#map = known.map;
      this.#discontinuities = known.discontinuities;
      this.#number++;
    }
  }

  #segment(duration: number | undefined, uri: string | undefined): ReadSegment {
    return {
      number: this.#number,
      discontinuities: this.#discontinuities,
      discontinuity: this.#discontinuity,
      duration,
      uri,
      map: this.#map,
      unixMs: this.#unixMs,
      parts: this.#parts,
    };
  }

  #close(duration: number, uri: string): void {
    this.#segments.push(this.#segment(duration, uri));
    this.#number++;
    this.#discontinuity = false;
    this.#parts = [];
    this.#unixMs = NaN;
  }

  #finish(): ReadPlaylist {
    const once = this.#once;
    const control = attributesOf(once.get("SERVER-CONTROL") ?? "");
    const target = whole(once.get("TARGETDURATION") ?? "");
    const inf = once.get("PART-INF");
    const partTarget = inf === undefined
      ? undefined
      : Number(attributesOf(inf).get("PART-TARGET") ?? NaN);
    const hint = attributesOf(once.get("PRELOAD-HINT") ?? "");
    if (hint.size > 0) assertEquals(hint.get("TYPE"), "PART");
    const version = whole(once.get("VERSION") ?? "1");
    const usesMap = this.#lines.some((line) => line.startsWith("#EXT-X-MAP"));
    const least = once.has("SKIP") ? 9 : usesMap ? 6 : 3;
    assert(version >= least, `version ${version} is below ${least}`);
    const atLeast = (name: string, least: number, required = false) => {
      const value = control.get(name);
      assert(value !== undefined || !required, `${name} is missing`);
      if (value !== undefined) assert(Number(value) >= least - TOLERANCE, `${name}=${value}`);
    };
    atLeast("HOLD-BACK", 3 * target);
    atLeast("CAN-SKIP-UNTIL", 6 * target, once.has("SKIP"));
    if (partTarget !== undefined) {
      assert(partTarget > 0 && partTarget <= target + 0.5, `PART-TARGET=${partTarget}`);
      atLeast("PART-HOLD-BACK", 3 * partTarget, true);
    }
    const isOpen = this.#parts.length > 0;
    const ended = once.has("ENDLIST");
    assert(!ended || (!isOpen && hint.size === 0), "something follows the end");
    assert(isOpen || !this.#discontinuity, "a discontinuity has no segment");
    return {
      version,
      target,
      partTarget,
      control,
      segments: this.#segments,
      open: isOpen ? this.#segment(undefined, undefined) : undefined,
      hint: hint.get("URI"),
      skipped: this.#skipped,
      ended,
    };
  }
}

function checkSegments({ segments, open, target }: ReadPlaylist): void {
  const all = open ? [...segments, open] : segments;
  const uris = all.flatMap(({ uri, parts }) => [uri, ...parts.map((part) => part.uri)]);
  const named = uris.filter((uri) => uri !== undefined);
  assertEquals(new Set(named).size, named.length, "a name is there twice");
  for (const [index, segment] of all.entries()) {
    const { duration, unixMs, uri, map, discontinuity } = segment;
    if (duration !== undefined) {
      assert(duration > 0 && Math.round(duration) <= target, `${uri} lasts ${duration} s`);
    }
    assert(!uri?.endsWith(".m4s") || map !== undefined, `${uri} has no EXT-X-MAP`);
    assert(!Number.isNaN(unixMs), `${uri} has no date`);
    const before = all[index - 1];
    if (before === undefined) continue;
    assert(map === before.map || discontinuity, `${uri} has another EXT-X-MAP without a break`);
    const leastMs = before.unixMs + (before.duration ?? 0) * 1000;
    assert(unixMs >= leastMs - DATE_TOLERANCE_MS, `the dates of ${uri} overlap`);
    if (!discontinuity) {
      assert(unixMs <= leastMs + DATE_TOLERANCE_MS, `there is a gap in dates before ${uri}`);
    }
  }
}

function checkParts({ segments, open, target, partTarget, hint, ended }: ReadPlaylist): void {
  const all = open ? [...segments, open] : segments;
  if (partTarget === undefined) {
    assert(all.every(({ parts }) => parts.length === 0), "parts without EXT-X-PART-INF");
    assertEquals(hint, undefined);
    return;
  }
  assert(ended || hint !== undefined, "there is no hint");
  let behind = 0;
  for (const { parts, duration, number } of [...all].reverse()) {
    if (behind > 3 * target) assertEquals(parts.length, 0, `parts of ${number} are there too long`);
    behind += duration ?? 0;
    for (const [index, part] of parts.entries()) {
      assert(part.duration <= partTarget + TOLERANCE, `${part.uri} lasts ${part.duration} s`);
      const isFinal = duration !== undefined && index === parts.length - 1;
      const isLong = part.duration >= 0.85 * partTarget - TOLERANCE;
      assert(isLong || isFinal || part.independent, `${part.uri} lasts only ${part.duration} s`);
    }
  }
}

function checkChange(before: ReadPlaylist, now: ReadPlaylist): void {
  assertEquals(now.target, before.target, "the target duration has changed");
  assertEquals(now.partTarget, before.partTarget, "the part target has changed");
  assertEquals([...now.control], [...before.control]);
  assert(!before.ended || now.ended, "it goes on after its end");
  const [first] = now.segments;
  const [firstBefore] = before.segments;
  if (first === undefined || firstBefore === undefined) return;
  assert(first.number >= firstBefore.number, "EXT-X-MEDIA-SEQUENCE has decreased");
  const lastBefore = before.open ?? before.segments.at(-1);
  const last = now.open ?? now.segments.at(-1);
  assert((last?.number ?? 0) >= (lastBefore?.number ?? 0), "segments are gone from the end");
  for (const old of before.segments) {
    const same = now.segments.find(({ number }) => number === old.number);
    if (same === undefined) {
      assert(old.number < first.number, `segment ${old.number} is gone from the middle`);
      continue;
    }
    const { parts: _parts, ...rest } = same;
    const { parts: _partsBefore, ...restBefore } = old;
    assertEquals(rest, restBefore, `segment ${old.number} has changed`);
  }
  if (first.number > firstBefore.number) {
    const left = now.segments.reduce((sum, { duration }) => sum + (duration ?? 0), 0);
    assert(left >= 3 * now.target - TOLERANCE, `only ${left} s are left`);
  }
  checkOpen(before, now);
}

/** What was under way goes on as it was, and the next part is the one that was hinted. */
function checkOpen(before: ReadPlaylist, now: ReadPlaylist): void {
  const all = now.open ? [...now.segments, now.open] : now.segments;
  const known = new Set(
    [...before.segments, ...before.open ? [before.open] : []].flatMap(({ parts }) =>
      parts.map(({ uri }) => uri)
    ),
  );
  const fresh = all.flatMap(({ parts }) => parts).find(({ uri }) => !known.has(uri));
  const lastNumber = (before.open ?? before.segments.at(-1))?.number ?? 0;
  const missed = all.find(({ number }) => number > lastNumber)?.number ?? Infinity;
  const listed = all.find(({ parts }) => parts.length > 0)?.number ?? Infinity;
  // Where so much has come that the first of it is no longer listed, hints can't be followed.
  if (fresh !== undefined && listed <= missed) assertEquals(fresh.uri, before.hint, "the hint");
  if (before.open === undefined) return;
  const same = all.find(({ number }) => number === before.open?.number);
  if (same === undefined || same.parts.length === 0) return;
  assertEquals(same.parts.slice(0, before.open.parts.length), before.open.parts);
  assertEquals(same.map, before.open.map);
  assertEquals(same.unixMs, before.open.unixMs);
}

function partOf(attributes: ReadonlyMap<string, string>): ReadPart {
  const uri = attributes.get("URI");
  const duration = Number(attributes.get("DURATION"));
  assert(uri && duration > 0, "a part has a URI and a duration");
  const known = ["URI", "DURATION", "INDEPENDENT"];
  assert([...attributes.keys()].every((name) => known.includes(name)));
  const independent = attributes.get("INDEPENDENT");
  assert(independent === undefined || independent === "YES");
  return { uri, duration, independent: independent === "YES" };
}

function whole(text: string): number {
  assert(/^\d+$/.test(text), `${JSON.stringify(text)} is no whole number`);
  return Number(text);
}
