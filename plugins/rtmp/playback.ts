/** Playing a stream over RTMP: waiting for it, sending it, pausing it. */

import { RefusedError } from "../../src/errors.ts";
import type { FormatFactory } from "../../src/mux.ts";
import type { PluginContext } from "../../src/plugin.ts";
import type { MediaKind } from "../../src/stream.ts";
import type { Subscriber } from "../../src/subscriber.ts";
import type { StatusInfo } from "./command.ts";
import type { Connection } from "./connection.ts";
import type { RtmpOptions } from "./options.ts";

/** What a {@linkcode Playback} works with and whom it tells. */
export interface PlaybackInit {
  /** The plugin's context. */
  readonly context: PluginContext<RtmpOptions>;
  /** Where the bytes go. */
  readonly connection: Connection;
  /** Who plays. */
  readonly peer: string;
  /** How frames become bytes. */
  readonly format: FormatFactory;
  /** FourCCs that the player says it can play; undefined if it does not say. */
  readonly fourccs: readonly string[] | undefined;
  /** Called before the first bytes. */
  readonly onStart: () => void;
  /** Called with what the player is to be told. */
  readonly onStatus: (info: StatusInfo) => void;
  /** Called once at the end; `over` if it was playing, else it could not begin. */
  readonly onEnd: (info: StatusInfo, over: boolean) => void;
}

/** Codecs that every player knows, so that lists leave them out. */
const CLASSIC = new Set(["avc1", "mp4a", ".mp3", "alaw", "ulaw"]);

/** One `play` of a session. */
export class Playback {
  readonly #init: PlaybackInit;
  readonly #controller = new AbortController();
  readonly #wanted: Record<MediaKind, boolean> = { video: true, audio: true };
  #subscriber: Subscriber | undefined;
  #reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
  #paused = false;

  /** Not started yet. */
  constructor(init: PlaybackInit) {
    this.#init = init;
  }

  /** Subscribes to `target` and sends it until it ends. */
  start(target: string): void {
    this.#play(target).catch((error) => {
      if (this.#controller.signal.aborted) return;
      const refused = error instanceof RefusedError;
      this.#init.onEnd({
        level: "error",
        code: refused ? "NetStream.Play.Failed" : "NetStream.Play.StreamNotFound",
        description: error instanceof Error ? error.message : String(error),
      }, false);
    });
  }

  /** Stops sending, or goes on from the newest keyframe. */
  pause(paused: boolean): void {
    if (paused === this.#paused) return;
    this.#paused = paused;
    if (paused) this.#reader?.cancel();
    else this.#pump();
    this.#init.onStatus({
      level: "status",
      code: paused ? "NetStream.Pause.Notify" : "NetStream.Unpause.Notify",
      description: paused ? "Paused." : "Unpaused.",
    });
  }

  /** Turns video or audio on or off. */
  select(kind: MediaKind, wanted: boolean): void {
    if (this.#wanted[kind] === wanted) return;
    this.#wanted[kind] = wanted;
    if (this.#reader === undefined || this.#paused) return;
    this.#reader.cancel();
    this.#pump();
  }

  /** Ends it without a word to the player. */
  stop(): void {
    this.#controller.abort(new DOMException("The player stopped", "AbortError"));
    this.#subscriber?.close({ code: "ended", detail: "left" });
  }

  async #play(target: string): Promise<void> {
    const { context, peer, fourccs, onStart } = this.#init;
    const { signal } = this.#controller;
    const subscriber = await context.subscribe(target, { type: "RTMP", id: peer, signal });
    this.#subscriber = subscriber;
    await subscriber.stream.waitSettled(signal);
    for (const track of [...subscriber.stream.videoTracks, ...subscriber.stream.audioTracks]) {
      const fourcc = track.config?.fourcc;
      if (fourcc === undefined || CLASSIC.has(fourcc)) continue;
      if (fourccs === undefined || fourccs.includes("*") || fourccs.includes(fourcc)) continue;
      this.#wanted[track.kind as MediaKind] = false;
      context.log.warn("{path}: left {codec} out for RTMP {peer}, which does not list it", {
        path: subscriber.stream.path,
        codec: fourcc,
        peer,
      });
    }
    onStart();
    if (!this.#paused) this.#pump();
  }

  async #pump(): Promise<void> {
    const subscriber = this.#subscriber;
    if (subscriber === undefined) return;
    const { context, connection, format, onEnd } = this.#init;
    let reader: ReadableStreamDefaultReader<Uint8Array> | undefined;
    try {
      const bytes = await subscriber.mux(format, {
        flushMs: context.options.Flush,
        ...this.#wanted,
        ...(context.options.MaxLag > 0 && { maxLagMs: context.options.MaxLag }),
      });
      this.#reader = reader = bytes.getReader();
      if (this.#paused) await reader.cancel();
      for (let next = await reader.read(); !next.done; next = await reader.read()) {
        connection.send(next.value);
        await connection.flush();
        if (connection.closed) return this.stop();
      }
      if (this.#reader !== reader || this.#paused) return;
    } catch {
      // The subscriber was ended; its end says why.
      if (this.#controller.signal.aborted) return;
    }
    const end = subscriber.end ?? await subscriber.closed;
    onEnd({
      level: end.code === "ended" || end.code === "shutdown" ? "status" : "error",
      code: "NetStream.Play.UnpublishNotify",
      description: end.detail,
    }, true);
  }
}
