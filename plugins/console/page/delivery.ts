/** The ways a stream gets into the browser, and which one to take. */

/** A way that a stream gets into the browser. */
export type Delivery =
  | "ws-mp4"
  | "ll-hls"
  | "hls"
  | "ws-flv"
  | "native-hls"
  | "http-flv"
  | "http-mp4";

/** What is known of a delivery. */
export interface DeliveryInfo {
  readonly id: Delivery;
  readonly label: string;
  /** The plugin that it needs. */
  readonly plugin: string;
  readonly extension: "mp4" | "flv" | "m3u8";
  readonly webSocket: boolean;
  /** What the latency that is shown means. */
  readonly latencyMeans: string;
}

const RECEIVED = "behind the newest picture received";
const PLAYLIST = "behind the end of the playlist";

/** All deliveries, the best ones first. */
export const DELIVERIES: readonly DeliveryInfo[] = [
  delivery("ws-mp4", "WebSocket MP4", "ws", { latencyMeans: RECEIVED }),
  delivery("ll-hls", "Low-latency HLS", "hls", { latencyMeans: PLAYLIST }),
  delivery("hls", "HLS", "hls", { latencyMeans: PLAYLIST }),
  delivery("ws-flv", "WebSocket FLV", "ws", { latencyMeans: RECEIVED }),
  delivery("native-hls", "HLS, native", "hls", { latencyMeans: PLAYLIST }),
  delivery("http-flv", "HTTP-FLV", "http_flv", { latencyMeans: RECEIVED }),
  delivery("http-mp4", "HTTP MP4", "http_mp4", { latencyMeans: RECEIVED }),
];

/** What the browser can do. */
export interface Abilities {
  /** Whether it has Media Source Extensions, managed ones or not. */
  readonly mediaSource: boolean;
  /** Whether Media Source Extensions take that MIME type. */
  supportsType(type: string): boolean;
  /** Whether it may play that MIME type without help. */
  playsType(type: string): boolean;
}

/** What is to be played, as far as it is known. */
export interface Playable {
  /** Codec strings of RFC 6381 of its video and audio. */
  readonly codecs: readonly string[];
}

const HLS_TYPE = "application/vnd.apple.mpegurl";
/** What FLV carries that its player knows. */
const FLV_CODECS = /^(avc|hvc|hev|av01|mp4a|opus|mp3)/i;

/** The delivery of that name; undefined if there is none. */
export function deliveryOf(name: string): DeliveryInfo | undefined {
  return DELIVERIES.find(({ id }) => id === name);
}

/** Whether a browser of those `abilities` can play `stream` by `id`, as far as can be told. */
export function canPlay(id: Delivery, stream: Playable, abilities: Abilities): boolean {
  const { codecs } = stream;
  switch (id) {
    case "http-mp4":
      return abilities.playsType(mp4Type(codecs));
    case "native-hls":
      return abilities.playsType(HLS_TYPE) && abilities.playsType(mp4Type(codecs));
    case "ws-flv":
    case "http-flv":
      return decodes(codecs, abilities) && codecs.every((codec) => FLV_CODECS.test(codec));
    case "ws-mp4":
    case "ll-hls":
    case "hls":
      return decodes(codecs, abilities);
  }
}

/** What the choice depends on beside the stream and the browser. */
export interface ChoiceOptions {
  /** Deliveries that have failed. */
  readonly failed?: ReadonlySet<Delivery>;
  /** Names of the plugins that run; undefined if that is not known. */
  readonly plugins?: readonly string[] | undefined;
}

/** The best delivery of `able` that is left; undefined if none is. */
export function bestDelivery(
  able: readonly Delivery[],
  { failed, plugins }: ChoiceOptions = {},
): Delivery | undefined {
  return DELIVERIES.find(({ id, plugin }) =>
    able.includes(id) && !failed?.has(id) && (plugins === undefined || isAmong(plugin, plugins))
  )?.id;
}

/** Whether a plugin of that name is among `running`, however it is written. */
export function isAmong(name: string, running: readonly string[]): boolean {
  const plain = (text: string) => text.toLowerCase().replace(/[^a-z0-9]/g, "");
  return running.some((other) => plain(other) === plain(name));
}

/**
 * How long to wait before try number `attempt`, in ms, from 0 on: 250 ms at first, up to 5 s. The
 * server itself holds requests for streams that are missing.
 */
export function retryDelayMs(attempt: number): number {
  return Math.min(5000, 250 * 2 ** attempt);
}

function decodes(codecs: readonly string[], { mediaSource, supportsType }: Abilities): boolean {
  return mediaSource && (codecs.length === 0 || supportsType(mp4Type(codecs)));
}

/** The MIME type of MP4 with `codecs`, as far as they are known. */
export function mp4Type(codecs: readonly string[]): string {
  return codecs.length === 0 ? "video/mp4" : `video/mp4; codecs="${codecs.join(",")}"`;
}

function delivery(
  id: Delivery,
  label: string,
  plugin: string,
  { latencyMeans }: { readonly latencyMeans: string },
): DeliveryInfo {
  const extension = id.endsWith("hls") ? "m3u8" : id.endsWith("flv") ? "flv" : "mp4";
  return { id, label, plugin, extension, webSocket: id.startsWith("ws-"), latencyMeans };
}
