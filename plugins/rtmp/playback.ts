/** Playing a stream over RTMP: waiting for it, sending it, pausing it. */

import type { End } from "../../src/errors.ts";
import type { FormatFactory } from "../../src/mux.ts";
import type { PluginContext } from "../../src/plugin.ts";
import { type Pump, pump } from "../../src/readable.ts";
import type { MediaKind, TrackSelection } from "../../src/stream.ts";
import type { Subscriber } from "../../src/subscriber.ts";
import type { Connection } from "../connection.ts";
import type { CodecFilter } from "./capabilities.ts";
import type { RtmpOptions } from "./options.ts";

/** What a {@linkcode Playback} works with and whom it tells. */
export interface PlaybackInit {
  /** The plugin's context. */
  readonly context: PluginContext<RtmpOptions>;
  /** The options of now. */
  readonly options: RtmpOptions;
  /** Where the bytes go. */
  readonly connection: Connection;
  /** Who plays. */
  readonly peer: string;
  /** How frames become bytes. */
  readonly format: FormatFactory;
  /** Which codecs the player can play. */
  readonly accepts: CodecFilter;
  /** Logs what the player lacks. */
  readonly warn: (message: string, properties: Record<string, unknown>) => void;
  /** Called when there is a stream, before the first bytes. */
  readonly onStart: (path: string) => void;
  /** Called instead if there is none. */
  readonly onFail: (error: unknown) => void;
  /** Called at the end of what was started, unless it was stopped. */
  readonly onEnd: (end: End) => void;
}

/** One `play` of a session. */
export class Playback {
  readonly #init: PlaybackInit;
  readonly #controller = new AbortController();
  readonly #wanted: Record<MediaKind, boolean> = { video: true, audio: true };
  #subscriber: Subscriber | undefined;
  /** What goes out now, and what tells that it is over. */
  #sending: { readonly pump: Pump; readonly over: PromiseWithResolvers<void> } | undefined;
  #paused = false;
  /** A batch that waits for the player to go on. */
  #held: Uint8Array | undefined;
  /** Whether the player has not taken a batch yet, after which the next one goes out. */
  #writing = false;
  /** Whether {@linkcode Playback.select} makes what is sent the wrong tracks. */
  #reselect = false;
  /** Resolved when a wait for the player or for the end of the stream may be over. */
  #change = Promise.withResolvers<void>();

  /** Not started yet. */
  constructor(init: PlaybackInit) {
    this.#init = init;
  }

  /**
   * Subscribes to `target` and begins to send it; resolves with whether it came to that. Never
   * rejects.
   */
  async start(target: string): Promise<boolean> {
    const { context, peer, onStart, onFail } = this.#init;
    const { signal } = this.#controller;
    try {
      const subscriber = await context.subscribe(target, { type: "RTMP", id: peer, signal });
      if (signal.aborted) return false;
      this.#subscriber = subscriber;
      onStart(subscriber.stream.path);
      subscriber.closed.then(() => this.#wake());
      this.#serve(subscriber);
      return true;
    } catch (error) {
      if (!signal.aborted) onFail(error);
      return false;
    }
  }

  /**
   * Stops sending, or goes on where it stopped, or from the newest keyframe if that is gone: never
   * back in time (RTMP 1.0 7.2.2.9).
   */
  pause(paused: boolean): void {
    this.#paused = paused;
    this.#wake();
  }

  /** Turns video or audio on or off; what is turned on begins at the newest keyframe. */
  select(kind: MediaKind, wanted: boolean): void {
    if (this.#wanted[kind] === wanted) return;
    this.#wanted[kind] = wanted;
    this.#reselect = true;
    this.#wake();
  }

  /** Ends it without a word to the player. */
  stop(): void {
    this.#controller.abort(new DOMException("The player stopped", "AbortError"));
    this.#wake();
  }

  async #serve(subscriber: Subscriber): Promise<void> {
    const { signal } = this.#controller;
    try {
      await subscriber.stream.waitSettled(signal);
      this.#leaveOut(subscriber);
      do await this.#send(subscriber); while (this.#reselect && !signal.aborted);
      await subscriber.closed;
    } catch (error) {
      // An error while it reads is one of the mux. What it throws when it was ended is in its end.
      const detail = error instanceof Error ? error.message : String(error);
      subscriber.close({ code: "error", detail });
    }
    if (!signal.aborted) this.#init.onEnd(await subscriber.closed);
  }

  /** Sends what is wanted until it ends, is ended or something else is wanted. */
  async #send(subscriber: Subscriber): Promise<void> {
    this.#reselect = false;
    const { video, audio } = this.#wanted;
    while (!video && !audio && !this.#reselect && subscriber.end === undefined) {
      await this.#change.promise;
    }
    if (this.#reselect || subscriber.end !== undefined) return;
    try {
      await this.#begin(subscriber, { video, audio });
      await this.#sending?.over.promise;
    } finally {
      this.#sending = undefined;
      this.#held = undefined;
    }
  }

  /**
   * Begins to send what is selected, unless that is not wanted any more. The stream is passed by and
   * must not be kept: its memory is a viewer's for hours.
   */
  async #begin(subscriber: Subscriber, selection: TrackSelection): Promise<void> {
    const { options: { Flush, MaxLag }, format } = this.#init;
    const bytes = await subscriber.mux(format, {
      ...selection,
      flushMs: Flush,
      ...(MaxLag > 0 && { maxLagMs: MaxLag * 1000 }),
    });
    while (this.#paused && this.#isWanted()) await this.#change.promise;
    if (!this.#isWanted()) return await bytes.cancel();
    const over = Promise.withResolvers<void>();
    const sink = {
      borrows: true,
      write: (batch: Uint8Array) => {
        if (!this.#paused && this.#isWanted()) return this.#write(batch);
        this.#held = batch;
        this.#attend();
        return false;
      },
      close: over.resolve,
      abort: over.reject,
    };
    this.#sending = { pump: pump(bytes, sink), over };
    this.#attend();
  }

  /** Whether what goes out is still what the player wants. */
  #isWanted(): boolean {
    const isOver = this.#paused && this.#subscriber?.end !== undefined;
    return !this.#reselect && !isOver;
  }

  /** Goes on with what goes out, or ends it, as is wanted now. */
  #attend(): void {
    const sending = this.#sending;
    if (sending === undefined) return;
    if (!this.#isWanted()) {
      sending.pump.cancel();
      sending.over.resolve();
    } else if (!this.#paused && !this.#writing) {
      const held = this.#held;
      this.#held = undefined;
      if (held === undefined || this.#write(held)) sending.pump.resume();
    }
  }

  /** Sends a batch; false if the next one must wait for the player to take it. */
  #write(batch: Uint8Array): boolean {
    const { connection } = this.#init;
    if (connection.write(batch)) return true;
    this.#writing = true;
    connection.whenReady(this.#onReady);
    return false;
  }

  readonly #onReady = () => {
    this.#writing = false;
    this.#attend();
  };

  /**
   * Leaves out tracks that the player says it can't play.
   *
   * @throws {Error} If no track is left.
   */
  #leaveOut({ stream }: Subscriber): void {
    const { warn, peer, accepts } = this.#init;
    const configs = [stream.videoTracks, stream.audioTracks]
      .flatMap(([first]) => first?.config ?? []);
    const refused = configs.filter(({ kind, fourcc }) => !accepts(kind, fourcc));
    for (const { kind, fourcc } of refused) {
      this.#wanted[kind] = false;
      warn("{path}: left {codec} out for {peer}, which does not list it", {
        path: stream.path,
        codec: fourcc,
        peer,
      });
    }
    if (refused.length > 0 && refused.length === configs.length) {
      const codecs = refused.map(({ fourcc }) => fourcc).join(" and ");
      throw new Error(`The player lists no codec of the stream, which has ${codecs}`);
    }
  }

  #wake(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers<void>();
    this.#attend();
  }
}
