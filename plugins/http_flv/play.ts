/** `GET /{path}.flv`. */

import type { Context } from "hono";
import { flvFormat } from "../../src/flv.ts";
import type { PluginContext } from "../../src/plugin.ts";
import type { Subscriber } from "../../src/subscriber.ts";
import type { HttpEnv } from "../http/service.ts";
import { parseFlush, roundFlush } from "./flush.ts";
import type { HttpFlvOptions } from "./options.ts";
import { type FlvTarget, refuse, refuseFor, targetOf } from "./request.ts";

const HEADERS = {
  "Content-Type": "video/x-flv",
  "Cache-Control": "no-store",
  // Tells nginx to pass on what it gets at once.
  "X-Accel-Buffering": "no",
};

/** What a viewer asks for. */
interface View {
  readonly flushMs: number;
  readonly video: boolean;
  readonly audio: boolean;
}

/** Answers with the stream as FLV, from the newest keyframe on; `HEAD` with the headers alone. */
export async function playFlv(
  c: Context<HttpEnv>,
  { engine, subscribe }: PluginContext,
  options: HttpFlvOptions,
): Promise<Response> {
  // The same address is a WebSocket's, if there is a plugin for it.
  if (c.req.header("Upgrade")?.toLowerCase() === "websocket") return c.notFound();
  let target: FlvTarget;
  let view: View;
  try {
    target = targetOf(c);
    view = viewOf(target.args, options);
  } catch (error) {
    if (error instanceof TypeError) return refuse(c, 400, error.message);
    throw error;
  }
  if (c.req.method === "HEAD") {
    if (engine.getStream(target.path) !== undefined) return c.body(null, 200, HEADERS);
    return refuse(c, 404, `There is no stream ${target.path}`);
  }
  const { remote, signal } = c.env;
  const { video, audio, flushMs } = view;
  try {
    // Whatever becomes of it, it ends with the request.
    const subscriber = await subscribe(target.target, {
      type: "HTTP-FLV",
      id: remote,
      signal,
      video,
      audio,
    });
    const maxLagMs = options.MaxLag > 0 ? options.MaxLag * 1000 : Infinity;
    const body = await subscriber.mux(flvFormat, { flushMs, maxLagMs });
    const missing = missingKind(subscriber, view);
    if (missing !== undefined) {
      subscriber.close();
      return refuse(c, 404, `${target.path} has no ${missing}`);
    }
    return c.env.live(body, HEADERS);
  } catch (error) {
    return refuseFor(c, error);
  }
}

/** What the viewer has chosen and does not get; undefined where it gets something. */
function missingKind({ stream }: Subscriber, { video, audio }: View): string | undefined {
  if (video && audio) return undefined;
  const tracks = video ? stream.videoTracks : stream.audioTracks;
  if (tracks.some((track) => track.live)) return undefined;
  return video ? "video" : "audio";
}

function viewOf(args: URLSearchParams, options: HttpFlvOptions): View {
  const flush = args.get("flush");
  const video = parseSwitch("video", args);
  const audio = parseSwitch("audio", args);
  if (!video && !audio) throw new TypeError("Cannot play neither video nor audio");
  return { flushMs: flush === null ? roundFlush(options.Flush) : parseFlush(flush), video, audio };
}

function parseSwitch(name: string, args: URLSearchParams): boolean {
  const value = args.get(name) ?? "1";
  if (value !== "0" && value !== "1") {
    throw new TypeError(`Cannot use ${name}=${value}: it must be 0 or 1`);
  }
  return value === "1";
}
