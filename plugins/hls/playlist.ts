/** Playlists as text: RFC 8216 and its second edition, draft-pantos-hls-rfc8216bis. */

import type { FormatTracks } from "../../src/mux.ts";
import type { Container } from "./container.ts";
import { type BitRates, type ListedSegment, PART_TARGETS, type PlaylistState } from "./window.ts";

/** Target durations from the end that a delta update has at least (4.4.3.8). */
const SKIP_TARGETS = 6;
/** Part targets that players should keep from the end (4.4.3.8). */
const PART_HOLD_BACKS = 3;

/** How to write a media playlist. */
export interface MediaPlaylistOptions {
  /** Whether to leave out what a player has had before (6.2.5.1). @default {false} */
  readonly delta?: boolean;
}

/** The media playlist of `state`; names in it are relative to its own place. */
export function mediaPlaylist(state: PlaylistState, options: MediaPlaylistOptions = {}): string {
  const { timing, segments, nextPart, ended } = state;
  const { targetSeconds, partTargetUs } = timing;
  const skipped = options.delta && !ended ? skippable(segments, targetSeconds) : 0;
  const [first] = segments;
  const hasInit = segments.slice(skipped).some(({ initName }) => initName !== undefined);
  const lines = [
    "#EXTM3U",
    `#EXT-X-VERSION:${skipped > 0 ? 9 : hasInit ? 6 : 3}`,
    `#EXT-X-TARGETDURATION:${targetSeconds}`,
    `#EXT-X-SERVER-CONTROL:${serverControl(targetSeconds, partTargetUs)}`,
  ];
  if (partTargetUs !== undefined) {
    lines.push(`#EXT-X-PART-INF:PART-TARGET=${seconds(partTargetUs)}`);
  }
  if (first !== undefined) {
    const before = first.discontinuities - (first.discontinuity ? 1 : 0);
    lines.push(`#EXT-X-MEDIA-SEQUENCE:${first.number}`);
    lines.push(`#EXT-X-DISCONTINUITY-SEQUENCE:${before}`);
  }
  if (skipped > 0) lines.push(`#EXT-X-SKIP:SKIPPED-SEGMENTS=${skipped}`);
  const partsFrom = partTargetUs === undefined ? Infinity : firstWithParts(state);
  let initName = segments[skipped - 1]?.initName;
  for (const segment of segments.slice(skipped)) {
    if (segment.discontinuity) lines.push("#EXT-X-DISCONTINUITY");
    if (segment.initName !== undefined && segment.initName !== initName) {
      initName = segment.initName;
      lines.push(`#EXT-X-MAP:URI="${initName}"`);
    }
    lines.push(`#EXT-X-PROGRAM-DATE-TIME:${new Date(segment.unixMs).toISOString()}`);
    if (segment.number >= partsFrom) {
      for (const { name, durationUs, independent } of segment.parts) {
        const suffix = independent ? ",INDEPENDENT=YES" : "";
        lines.push(`#EXT-X-PART:DURATION=${seconds(durationUs)},URI="${name}"${suffix}`);
      }
    }
    if (segment.durationUs !== undefined) {
      lines.push(`#EXTINF:${seconds(segment.durationUs)},`, segment.name);
    }
  }
  if (ended) lines.push("#EXT-X-ENDLIST");
  else if (partTargetUs !== undefined) {
    lines.push(`#EXT-X-PRELOAD-HINT:TYPE=PART,URI="${nextPart}"`);
  }
  return lines.join("\n") + "\n";
}

/** What a multivariant playlist says of the one variant. */
export interface Variant {
  readonly tracks: FormatTracks;
  readonly container: Pick<Container, "codec">;
  readonly bitRates: BitRates;
  /** How long a frame of the leading track lasts, in µs. */
  readonly frameUs: number;
  /** Address of the media playlist. */
  readonly uri: string;
}

/** The multivariant playlist of `variant`. */
export function multivariantPlaylist(variant: Variant): string {
  const { tracks: { video, audio }, container, bitRates, frameUs, uri } = variant;
  const configs = [video, audio].filter((config) => config !== undefined);
  const attributes = [
    `BANDWIDTH=${bitRates.peak}`,
    `AVERAGE-BANDWIDTH=${bitRates.average}`,
    `CODECS="${configs.map((config) => container.codec(config)).join(",")}"`,
  ];
  if (video?.codedWidth && video.codedHeight) {
    attributes.push(`RESOLUTION=${video.codedWidth}x${video.codedHeight}`);
  }
  if (video) {
    const frameRate = video.frameRate || 1e6 / frameUs;
    attributes.push(`FRAME-RATE=${frameRate.toFixed(3)}`);
  }
  return `#EXTM3U\n#EXT-X-STREAM-INF:${attributes.join(",")}\n${uri}\n`;
}

function serverControl(targetSeconds: number, partTargetUs: number | undefined): string {
  const attributes = ["CAN-BLOCK-RELOAD=YES", `CAN-SKIP-UNTIL=${SKIP_TARGETS * targetSeconds}`];
  if (partTargetUs !== undefined) {
    attributes.push(`PART-HOLD-BACK=${seconds(PART_HOLD_BACKS * partTargetUs)}`);
  }
  return attributes.join(",");
}

/** How many segments lie farther from the end of the last one than a delta update must go. */
function skippable(segments: readonly ListedSegment[], targetSeconds: number): number {
  let leftUs = SKIP_TARGETS * targetSeconds * 1e6;
  for (let index = segments.length - 1; index >= 0; index--) {
    if (leftUs <= 0) return index + 1;
    leftUs -= segments[index]?.durationUs ?? 0;
  }
  return 0;
}

/** Number of the first segment whose parts are near enough to the end to be listed. */
function firstWithParts({ segments, timing }: PlaylistState): number {
  let leftUs = PART_TARGETS * timing.targetSeconds * 1e6;
  for (const segment of [...segments].reverse()) {
    if (leftUs <= 0) return segment.number + 1;
    leftUs -= segment.durationUs ?? 0;
  }
  return segments[0]?.number ?? 0;
}

/** Microseconds as seconds, as short as they can be told. */
function seconds(us: number): string {
  return (us / 1e6).toFixed(6).replace(/\.?0+$/, "");
}
