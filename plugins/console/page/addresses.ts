/** Where a stream is published to and watched. */

import type { PluginInfo } from "../../http/service.ts";
import { encodePath, guardArguments, watchAddress } from "./route.ts";
import type { DeliveryInfo } from "./delivery.ts";

/** Where the page is, as `location` says it. */
export interface Place {
  /** Such as `http:`. */
  readonly protocol: string;
  /** Name and port. */
  readonly host: string;
  /** Name or address, IPv6 in brackets. */
  readonly hostname: string;
  readonly search: string;
  /** Where the server listens for other protocols, as far as it is known. */
  readonly ports?: Ports | undefined;
}

/** Ports by scheme; the default one where there is none. */
export interface Ports {
  readonly rtmp?: string;
  readonly rtsp?: string;
}

/** An address to copy. */
export interface Address {
  readonly label: string;
  readonly url: string;
  /** The plugin that it needs. */
  readonly plugin: string;
}

/** What is left out of addresses. */
const RTMP_PORT = "1935";
/** What this server listens at by default. */
const RTSP_PORT = "8554";

/** The ports of what plugins listen at. */
export function portsOf(plugins: readonly Pick<PluginInfo, "urls">[]): Ports {
  const urls = plugins.flatMap(({ urls }) => urls ?? []).map((url) => new URL(url));
  const portOf = (scheme: string) => urls.find(({ protocol }) => protocol === scheme)?.port;
  const [rtmp, rtsp] = [portOf("rtmp:"), portOf("rtsp:")];
  return { ...(rtmp && { rtmp }), ...(rtsp && { rtsp }) };
}

/** Where to publish `path`. */
export function publishAddresses(path: string, place: Place): Address[] {
  return [
    { label: "RTMP", url: rtmpAddress(path, place), plugin: "rtmp" },
    { label: "RTSP", url: rtspAddress(path, place), plugin: "rtsp" },
    { label: "HTTP POST", url: httpAddress(path, place, "flv"), plugin: "http_flv" },
  ];
}

/** Where to watch `path`, with the guards' arguments of the page. */
export function watchAddresses(path: string, place: Place): Address[] {
  const args = guardArguments(place.search);
  const http = (extension: string) => httpAddress(path, place, extension) + args;
  const ws = (extension: string) => http(extension).replace(/^http/, "ws");
  return [
    { label: "HTTP-FLV", url: http("flv"), plugin: "http_flv" },
    { label: "WS-FLV", url: ws("flv"), plugin: "ws" },
    { label: "HTTP-MP4", url: http("mp4"), plugin: "http_mp4" },
    { label: "WS-MP4", url: ws("mp4"), plugin: "ws" },
    { label: "HLS, LL-HLS", url: http("m3u8"), plugin: "hls" },
    { label: "RTMP", url: rtmpAddress(path, place) + args, plugin: "rtmp" },
    { label: "RTSP", url: rtspAddress(path, place) + args, plugin: "rtsp" },
  ];
}

/** Where a player of this page gets `path` by `delivery`; more arguments as in `audio=0`. */
export function mediaAddress(
  path: string,
  place: Place,
  { extension, webSocket, more = "" }: Pick<DeliveryInfo, "extension" | "webSocket"> & {
    readonly more?: string;
  },
): string {
  const url = httpAddress(path, place, extension) + guardArguments(place.search);
  const whole = more === "" ? url : `${url}${url.includes("?") ? "&" : "?"}${more}`;
  return webSocket ? whole.replace(/^http/, "ws") : whole;
}

/** The page of `path`, for another device. */
export function pageAddress(path: string, place: Place): string {
  return `${place.protocol}//${place.host}${watchAddress(path, place.search)}`;
}

/** Whether other devices cannot reach the server by the name in the address. */
export function isLocalOnly(hostname: string): boolean {
  return /^(localhost|.*\.localhost|127(\.\d+){3}|\[::1\])$/.test(hostname);
}

/** What to enter in OBS to publish `path`. */
export function obsSettings(path: string, place: Place): { server: string; key: string } {
  const slash = path.lastIndexOf("/");
  const root = rtmpAddress("", place);
  return { server: root + path.slice(0, Math.max(slash, 0)), key: path.slice(slash + 1) };
}

/** A command that publishes a file as `path`, and one that plays it. */
export function commands(path: string, place: Place): { publish: string; watch: string } {
  const rtmp = shellWord(rtmpAddress(path, place));
  const flv = shellWord(httpAddress(path, place, "flv") + guardArguments(place.search));
  return {
    publish: `ffmpeg -re -i file.mp4 -c copy -f flv ${rtmp}`,
    watch: `ffplay -fflags nobuffer ${flv}`,
  };
}

function httpAddress(path: string, { protocol, host }: Place, extension: string): string {
  return `${protocol}//${host}/${encodePath(path)}.${extension}`;
}

/** RTMP does not decode names: they are as they are. */
function rtmpAddress(path: string, { hostname, ports }: Place): string {
  const port = ports?.rtmp ?? RTMP_PORT;
  return `rtmp://${hostname}${port === RTMP_PORT ? "" : `:${port}`}/${path}`;
}

function rtspAddress(path: string, { hostname, ports }: Place): string {
  return `rtsp://${hostname}:${ports?.rtsp ?? RTSP_PORT}/${encodePath(path)}`;
}

/** `text` as one word of a shell. */
function shellWord(text: string): string {
  return /^[\w@%+=:,./[\]-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
