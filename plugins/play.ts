/** How plugins play a stream to whom a request comes from: in which format, and with which options. */

import type { Context } from "hono";
import { z } from "zod";
import { MAX_FLUSH_MS } from "../src/flush.ts";
import { flvFormat } from "../src/flv.ts";
import { fmp4, mimeTypeOf } from "../src/fmp4.ts";
import type { FormatFactory, FormatTracks } from "../src/mux.ts";
import type { PluginContext } from "../src/plugin.ts";
import type { Stream } from "../src/stream.ts";
import type { Subscriber } from "../src/subscriber.ts";
import type { HttpEnv } from "./http/service.ts";
import { refuse, refuseFor, type StreamTarget, targetOf } from "./stream_request.ts";

/** What streams are played in. */
export interface Container {
  /** How addresses end that ask for it. */
  readonly extension: string;
  /** Its MIME type. */
  readonly mimeType: string;
  /** What makes it. */
  readonly format: FormatFactory;
  /** The MIME type of `tracks` in it; undefined if it can carry none of them. */
  typeOf(tracks: FormatTracks): string | undefined;
}

/** FLV, which carries all codecs. */
export const FLV: Container = {
  extension: ".flv",
  mimeType: "video/x-flv",
  format: flvFormat,
  typeOf: () => "video/x-flv",
};

/** Fragmented MP4. */
export const MP4: Container = {
  extension: ".mp4",
  mimeType: "video/mp4",
  format: fmp4,
  typeOf: mimeTypeOf,
};

/** The options of plugins that play. */
export interface PlayOptions {
  /**
   * How long frames are gathered before they go out together, in ms, 1,000 at most; 0 sends each at
   * once. Rounded up to one of `FLUSH_INTERVALS_MS`. @default {40}
   */
  readonly Flush: number;
  /**
   * How far behind a viewer may be, in seconds, before it drops to the newest keyframe; 0 as far as
   * the stream is kept, which is 2 s, or back to its newest keyframe, or more while it is recorded.
   * @default {5}
   */
  readonly MaxLag: number;
}

/** Schemas of {@linkcode PlayOptions}. */
export const playShape: { readonly [K in keyof PlayOptions]: z.ZodType<PlayOptions[K]> } = {
  Flush: z.number().int().min(0).max(MAX_FLUSH_MS).default(40),
  MaxLag: z.number().min(0).max(3600).default(5),
};

/** The schema of a section that has no other options. */
export const playSchema: z.ZodType<PlayOptions> = z.strictObject(playShape);

/** How a viewer is served. */
export interface PlaySetting {
  /** Kind of subscriber, such as `HTTP-FLV`. */
  readonly type: string;
  /** What it gets. */
  readonly container: Container;
  /** The plugin's options. */
  readonly options: PlayOptions;
}

/** A stream on its way to a viewer. */
export interface View {
  /** Who gets it; it ends with the request. */
  readonly subscriber: Subscriber;
  /** The container's bytes, from the newest keyframe on. */
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
  /** Their MIME type. */
  readonly mimeType: string;
}

/** What a viewer asks for. */
interface Choice {
  readonly video: boolean;
  readonly audio: boolean;
}

const HEADERS = {
  "Cache-Control": "no-store",
  // Tells nginx to pass on what it gets at once.
  "X-Accel-Buffering": "no",
};

/**
 * Answers with the stream that the address names, as a body without an end; `HEAD` with the headers
 * alone. The arguments `flush` (ms), `audio=0` and `video=0` of the address are the viewer's choice.
 */
export async function playOverHttp(
  c: Context<HttpEnv>,
  context: PluginContext,
  setting: PlaySetting,
): Promise<Response> {
  // The same address is a WebSocket's, if there is a plugin for it.
  if (c.env.upgrade !== undefined) return c.notFound();
  const { container } = setting;
  const coded = { ...container, format: c.env.coded(container.format) };
  const view = await openView(c, context, { ...setting, container: coded });
  if (view instanceof Response) return view;
  return c.env.live(view.body, { "Content-Type": view.mimeType, ...HEADERS }, { coded: true });
}

/**
 * Subscribes to the stream that the address of a request names, as its arguments say; what it is
 * refused with, if it is. `HEAD` subscribes to nothing and is answered at once.
 */
export async function openView(
  c: Context<HttpEnv>,
  { engine, subscribe }: PluginContext,
  { type, container, options }: PlaySetting,
): Promise<View | Response> {
  let target: StreamTarget;
  let choice: Choice;
  try {
    target = targetOf(c, container.extension);
    choice = choiceOf(target.args);
  } catch (error) {
    if (error instanceof TypeError) return refuse(c, 400, error.message);
    throw error;
  }
  const { path } = target;
  if (c.req.method === "HEAD") {
    if (engine.getStream(path) === undefined) {
      return refuse(c, 404, `There is no stream ${path}`);
    }
    return c.body(null, 200, { "Content-Type": container.mimeType, ...HEADERS });
  }
  const { remote, signal } = c.env;
  const { video, audio } = choice;
  const { Flush: flushMs } = options;
  try {
    // Whatever becomes of it, it ends with the request.
    const subscriber = await subscribe(target.target, { type, id: remote, signal, video, audio });
    const maxLagMs = options.MaxLag > 0 ? options.MaxLag * 1000 : Infinity;
    const body = await subscriber.mux(container.format, { flushMs, maxLagMs });
    const tracks = tracksOf(subscriber.stream, choice);
    const mimeType = container.typeOf(tracks);
    const missing = missingKind(tracks, choice);
    if (missing === undefined && mimeType !== undefined) return { subscriber, body, mimeType };
    subscriber.close();
    const nothing = missing ?? `track that ${container.extension} can carry`;
    return refuse(c, 404, `${path} has no ${nothing}`);
  } catch (error) {
    return refuseFor(c, error);
  }
}

/** The tracks that the viewer gets. */
function tracksOf(stream: Stream, { video, audio }: Choice): FormatTracks {
  const { videoTracks, audioTracks } = stream;
  return {
    video: video ? videoTracks.find(({ live }) => live)?.config : undefined,
    audio: audio ? audioTracks.find(({ live }) => live)?.config : undefined,
  };
}

/** The one kind that the viewer has chosen, if it does not get it. */
function missingKind(tracks: FormatTracks, { video, audio }: Choice): string | undefined {
  if (video && audio) return undefined;
  const kind = video ? "video" : "audio";
  return tracks[kind] === undefined ? kind : undefined;
}

function choiceOf(args: URLSearchParams): Choice {
  const video = parseSwitch("video", args);
  const audio = parseSwitch("audio", args);
  if (!video && !audio) throw new TypeError("Cannot play neither video nor audio");
  return { video, audio };
}

function parseSwitch(name: string, args: URLSearchParams): boolean {
  const value = args.get(name) ?? "1";
  if (value !== "0" && value !== "1") {
    throw new TypeError(`Cannot use ${name}=${value}: it must be 0 or 1`);
  }
  return value === "1";
}
