/** Figures as text for people. */

const MINUTE = 60;
const HOUR = 3600;
const DAY = 86400;

/** Bits a second, such as `2.65 Mbit/s`. */
export function formatBitrate(bits: number): string {
  if (bits >= 1e6) return `${significant(bits / 1e6)} Mbit/s`;
  if (bits >= 1e3) return `${significant(bits / 1e3)} kbit/s`;
  return `${Math.round(bits)} bit/s`;
}

/** Bytes, such as `14.2 MB`. */
export function formatBytes(bytes: number): string {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]] as const) {
    if (bytes >= size) return `${significant(bytes / size)} ${unit}`;
  }
  return `${Math.round(bytes)} B`;
}

/** A duration of seconds by its two largest units, such as `2 h 5 min`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (size: number, unit: string, next: number, nextUnit: string) =>
    `${Math.floor(whole / size)} ${unit} ${Math.floor(whole % size / next)} ${nextUnit}`;
  if (whole >= DAY) return two(DAY, "d", HOUR, "h");
  if (whole >= HOUR) return two(HOUR, "h", MINUTE, "min");
  if (whole >= MINUTE) return two(MINUTE, "min", 1, "s");
  return `${whole} s`;
}

/** How long ago the ISO time `since` was at `nowMs`, as {@linkcode formatDuration}. */
export function formatSince(since: string, nowMs: number): string {
  return formatDuration((nowMs - Date.parse(since)) / 1000);
}

/** Milliseconds: `240 ms`, or `2.40 s` from a second on. */
export function formatMs(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${significant(ms / 1000)} s`;
}

/** Frames a second, such as `29.97` or `30`. */
export function formatFps(fps: number): string {
  return String(Number(fps.toFixed(fps < 10 ? 2 : 1)));
}

/** A number of things, such as `1 viewer`, `2 viewers`. */
export function formatCount(count: number, one: string, many = `${one}s`): string {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

const CODECS: readonly (readonly [RegExp, string])[] = [
  [/^avc/i, "H.264"],
  [/^(hvc|hev)/i, "H.265"],
  [/^av01/i, "AV1"],
  [/^vp0?9/i, "VP9"],
  [/^(mp4a\.(69|6b)|mp3)/i, "MP3"],
  [/^mp4a/i, "AAC"],
  [/^opus/i, "Opus"],
  [/^(alaw|pcma)/i, "G.711 A-law"],
  [/^(ulaw|pcmu)/i, "G.711 µ-law"],
];

/** The usual name of the codec string `codec` of RFC 6381. */
export function codecName(codec: string): string {
  return CODECS.find(([pattern]) => pattern.test(codec))?.[1] ?? codec;
}

/** What a track is made of. */
export interface TrackShape {
  readonly codec?: string | undefined;
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  readonly sampleRate?: number | undefined;
  readonly channels?: number | undefined;
}

/** A track in a few words, such as `H.264 1280×720` or `AAC 48 kHz stereo`. */
export function describeTrack({ codec, width, height, sampleRate, channels }: TrackShape): string {
  const parts = [codec === undefined ? "unknown codec" : codecName(codec)];
  if (width && height) parts.push(`${width}×${height}`);
  if (sampleRate) parts.push(`${Number((sampleRate / 1000).toFixed(2))} kHz`);
  if (channels) parts.push(channels === 1 ? "mono" : channels === 2 ? "stereo" : `${channels} ch`);
  return parts.join(" ");
}

/** Three significant digits, as people write them. */
function significant(value: number): string {
  return value >= 100 ? String(Math.round(value)) : value.toFixed(value >= 10 ? 1 : 2);
}
