/// <reference lib="dom" />
/** What a player tells its viewer. */

import type { StreamSummary } from "../../http/service.ts";
import { codecName } from "./format.ts";
import type { Loss } from "./player.ts";

/** What the server says of the stream; undefined while it says nothing. */
export type KnownStream =
  | {
    readonly state: StreamSummary["state"];
    readonly codecs: readonly string[];
    /** Whether it has neither picture nor sound. */
    readonly isEmpty: boolean;
  }
  | null
  | undefined;

/** Why nothing plays where the browser does not know the codecs `unknown`, or something else. */
export function unplayableMessage(unknown: readonly string[]): string {
  const reason = unknown.length > 0
    ? `: it does not decode ${unknown.map(codecName).join(", ")}`
    : "";
  return `This browser cannot play this stream${reason}.`;
}

/** What there is to know while it plays. */
export function playingMessage({ videoWidth }: Pick<HTMLVideoElement, "videoWidth">): string {
  return videoWidth === 0 ? "Sound only" : "";
}

/** Why nothing has come yet, or comes no more. */
export function stillMessage(stream: KnownStream, path: string): string {
  if (stream === null) return missing(path);
  if (stream?.state === "live" && stream.isEmpty) {
    return "Its publisher sends neither picture nor sound yet.";
  }
  if (stream?.state === "waiting") return "The publisher is gone: waiting for it to come back.";
  return "Waiting for the picture…";
}

/** What became of the connection. */
export function lossMessage({ kind, reason }: Loss, path: string): string {
  switch (kind) {
    case "ended":
      return "The stream has ended. It plays here again as soon as it is published.";
    case "missing":
      return missing(path);
    case "refused":
      return `The server refuses to play it: ${reason ?? "without a reason"}.`;
    default:
      return "The connection is lost. Trying again…";
  }
}

function missing(path: string): string {
  return `There is no stream ${path} now. It plays here as soon as it is published.`;
}
