/** What the API tells, as it is in JSON. Times are ISO 8601, durations and units are in the names. */

import type { TrackStats } from "../../src/track.ts";
import type { SubscriberStats } from "../../src/subscriber.ts";

/** A track. */
export interface TrackInfo extends TrackStats {
  readonly kind: "video" | "audio" | "data";
  /** Unique in its stream and kind. */
  readonly name: string;
  /** Codec string of RFC 6381, once it is known, as all that follows. */
  readonly codec?: string;
  readonly fourcc?: string;
  /** Video: size in pixels. */
  readonly width?: number | undefined;
  readonly height?: number | undefined;
  /** Video: frames a second as the decoder configuration says, if it does. */
  readonly frameRate?: number | undefined;
  /** Audio: samples a second. */
  readonly sampleRate?: number;
  readonly channels?: number;
}

/** A subscriber. */
export interface SubscriberInfo extends SubscriberStats {
  readonly number: number;
  /** Its protocol, such as `HTTP-FLV`. */
  readonly type: string;
  /** Who it is, such as its remote address. */
  readonly id: string;
  readonly since: string;
}

/** A stream without its subscribers. */
export interface StreamSummary {
  readonly path: string;
  readonly state: "live" | "waiting" | "ended";
  readonly since: string;
  readonly publisher: { readonly type: string; readonly id: string; readonly since: string } | null;
  readonly tracks: readonly TrackInfo[];
  /** Frames that all of its subscribers passed over. */
  readonly dropped: number;
}

/** A stream: `GET /api/streams/{path}`. */
export interface StreamInfo extends StreamSummary {
  readonly subscribers: readonly SubscriberInfo[];
}

/** A plugin: `GET /api/plugins`. */
export interface PluginInfo {
  readonly name: string;
  readonly running: boolean;
  /** Addresses that clients on the server's machine reach it at, if it listens by itself. */
  readonly urls?: readonly string[];
  /** Why it does not run. */
  readonly error?: string | undefined;
}

/** The server: `GET /api/server`. */
export interface ServerInfo {
  readonly name: string;
  readonly version: string;
  readonly runtime: string;
  readonly isolate: number;
  readonly isolates: number;
  readonly since: string;
  readonly uptimeSeconds: number;
  readonly streams: number;
  readonly subscribers: number;
  readonly memoryBytes: {
    readonly rss: number;
    readonly heapUsed: number;
    readonly heapTotal: number;
    readonly external: number;
  };
}

/** A line of the log. One that comes again takes the place of the one before it. */
export interface LogInfo {
  /** Grows with each line of its isolate. */
  readonly sequence: number;
  /** When it was last written. */
  readonly at: string;
  readonly level: "warning" | "error" | "fatal";
  /** What wrote it, such as `rtmp` or `engine`. */
  readonly source: string;
  readonly message: string;
  /** How often it was written. */
  readonly count: number;
  /** Number of its isolate. */
  readonly isolate: number;
}

/** What a track did in a while. */
export interface HistoryPoint {
  /** When, in ms since 1970. */
  readonly atMs: number;
  /** Bits a second. */
  readonly bitrate: number;
  /** Frames a second. */
  readonly fps: number;
  /** Distance of the newest keyframes, in ms; 0 for other kinds than video. */
  readonly gopMs: number;
}

/** The last minutes of a track. */
export interface TrackHistory {
  readonly kind: "video" | "audio" | "data";
  readonly name: string;
  readonly points: readonly HistoryPoint[];
}

/** A stream in the list that `GET /api/events` sends. */
export interface StreamOverview extends StreamSummary {
  /** How many subscribers it has, in all isolates. */
  readonly viewers: number;
}

/** One stream in detail, as `GET /api/events?stream=` sends it. */
export interface StreamDetail {
  readonly path: string;
  /** Null when there is no such stream now. */
  readonly stream: StreamOverview | null;
  /** The newest ones, 500 at most. */
  readonly subscribers: readonly SubscriberInfo[];
}

/**
 * The events of `GET /api/events` by name, each with the type of its data in JSON.
 *
 * All but `history` and `log` come at once and then about once a second while they change.
 */
export interface ApiEvents {
  readonly server: ServerInfo;
  readonly streams: readonly StreamOverview[];
  readonly plugins: readonly PluginInfo[];
  /** With `?stream=`: that one. */
  readonly stream: StreamDetail;
  /** With `?stream=`, at first: what its tracks did before. Later points are up to the client. */
  readonly history: readonly TrackHistory[];
  /**
   * At first the newest warnings and errors, 100 at most, the oldest one first; then those that come,
   * and come again: with the same isolate, level, source and message as before.
   */
  readonly log: readonly LogInfo[];
}
