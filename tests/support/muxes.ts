/** Muxes in a format of words, in which one sees what a viewer gets. */

import {
  type Format,
  type FormatTracks,
  Mux,
  type MuxInit,
  type MuxReader,
} from "../../src/mux.ts";
import { Turns } from "../../src/turns.ts";
import { audioFeed, type Feed, short, videoFeed } from "./frames.ts";
import { drain } from "./reading.ts";

/** A format of words: `[start 320 mp4a]`, `V0`, `a20`. */
export function words(calls: { write: number; header: number } = { write: 0, header: 0 }): Format {
  const encode = (text: string) => new TextEncoder().encode(`${text} `);
  const describe = ({ video, audio }: FormatTracks) =>
    `${video?.codedWidth ?? "-"} ${audio?.sampleRate ?? "-"}`;
  return {
    header(tracks, at) {
      calls.header++;
      return encode(`[${at} ${describe(tracks)}]`);
    },
    write(frame) {
      calls.write++;
      return encode(short(frame));
    },
  };
}

/** What a mux needs, with `onClose`. */
export function init(
  onClose: () => void = () => {},
  // No viewer waits for a turn, however slow this machine is.
  turns = new Turns(() => 0),
): MuxInit {
  return { nowMs: () => Date.now(), turns, onClose };
}

/** `bytes` of words, without the blank at their end. */
export function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes).trim();
}

/** A mux and its tracks. */
export interface Setup {
  readonly mux: Mux;
  readonly video: Feed;
  readonly audio: Feed;
  readonly calls: { write: number; header: number };
  closed: number;
}

/** A mux of the given tracks, in words. */
export function setUp(
  kinds: readonly ("video" | "audio")[] = ["video", "audio"],
  create?: () => Format,
  turns?: Turns,
): Setup {
  const calls = { write: 0, header: 0 };
  const setup: Setup = {
    mux: new Mux(create ?? (() => words(calls)), init(() => setup.closed++, turns)),
    video: videoFeed(),
    audio: audioFeed(),
    calls,
    closed: 0,
  };
  for (const kind of kinds) setup.mux.add(setup[kind].config, setup[kind].ring);
  setup.mux.start();
  return setup;
}

/** Writes frames to the tracks: `V0` a key at 0 ms, `v40` another picture, `a20` audio. */
export function write({ video, audio }: Setup, frames: string): void {
  for (const frame of frames.split(" ")) {
    const dtsMs = Number(frame.slice(1));
    if (frame.startsWith("a")) audio.write(dtsMs);
    else video.write(dtsMs, frame.startsWith("V"));
  }
}

/** All that `reader` has now, batch by batch. */
export function all(reader: MuxReader): string {
  return drain(reader).map(({ bytes }) => text(bytes)).join(" | ");
}
