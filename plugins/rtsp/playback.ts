/** Playing a stream over RTSP: describing it, sending it, pausing it. */

import type { End } from "../../src/errors.ts";
import type { FormatFactory } from "../../src/mux.ts";
import type { RtpFormat } from "../../src/rtp/format.ts";
import type { RtpStart } from "../../src/rtp/interleaved.ts";
import { serializeSdp } from "../../src/rtp/sdp.ts";
import { canContinue, rtpDescription, type RtpFormatOptions } from "../../src/rtp_format.ts";
import type { Subscriber } from "../../src/subscriber.ts";
import type { Connection } from "../connection.ts";
import type { Links } from "./links.ts";
import type { RtspOptions } from "./options.ts";
import { Sending, TRACK_KINDS, tracksOf } from "./sending.ts";
import { trackUrl } from "./url.ts";

/** Longest wait of the answer to PLAY for the packets that it is about. */
const ANSWER_MS = 1000;

/** What a {@linkcode Playback} works with and whom it tells. */
export interface PlaybackInit {
  /** Where the bytes go. */
  readonly connection: Connection;
  /** The formats by channels. */
  readonly formats: (options: RtpFormatOptions) => FormatFactory;
  /** The options of now. */
  readonly options: RtspOptions;
  /** Called with the codecs that RTP can't carry. */
  readonly onLeftOut: (codec: string) => void;
  /** Called at the end of the stream or of the subscriber, unless it was stopped. */
  readonly onEnd: (end: End) => void;
}

/** What a session plays, or is about to. */
export class Playback {
  readonly #subscriber: Subscriber;
  readonly #init: PlaybackInit;
  /** The formats that the player knows of, by track. */
  readonly #formats: ReadonlyMap<number, RtpFormat>;
  #sending: Sending | undefined;
  #answer: ((first: ReadonlyMap<number, RtpStart>) => void) | undefined;
  #answerTimer: ReturnType<typeof setTimeout> | undefined;
  #paused = false;
  #stopped = false;

  /** Of what the stream of `subscriber` has now; its tracks are to be known. */
  constructor(subscriber: Subscriber, init: PlaybackInit) {
    this.#subscriber = subscriber;
    this.#init = init;
    this.#formats = formatsOf(subscriber);
    const { video, audio } = tracksOf(subscriber.stream);
    [video, audio].forEach((config, track) => {
      if (config !== undefined && !this.#formats.has(track)) init.onLeftOut(config.codec);
    });
    subscriber.closed.then((end) => {
      // What is being sent ends by itself, behind the last frame.
      if (this.#paused) this.#sending?.stop();
      else if (this.#sending === undefined && !this.#stopped) init.onEnd(end);
    });
  }

  /** Path of the stream. */
  get path(): string {
    return this.#subscriber.stream.path;
  }

  /** The tracks that can be played. */
  get tracks(): readonly number[] {
    return [...this.#formats.keys()];
  }

  /** Whether it has begun, and is not paused. */
  get playing(): boolean {
    return this.#sending !== undefined && !this.#paused;
  }

  /** Whether it has begun. */
  get begun(): boolean {
    return this.#sending !== undefined;
  }

  /** Whether the stream is still as the player knows it. */
  get isCurrent(): boolean {
    const now = formatsOf(this.#subscriber);
    return [...this.#formats].every(([track, before]) => {
      const after = now.get(track);
      return after !== undefined && canContinue(before, after);
    });
  }

  /**
   * The session description for a player that has asked for `url`. It names the server by `address`.
   */
  describe(url: string, address: string): string {
    const addressType = address.includes(":") ? "IP6" : "IP4";
    const any = addressType === "IP6" ? "::" : "0.0.0.0";
    const version = String(this.#subscriber.stream.since.getTime());
    return serializeSdp({
      origin: { username: "-", sessionId: version, version, addressType, address },
      name: this.path,
      connection: { addressType, address: any },
      control: "*",
      attributes: [{ name: "range", value: "npt=now-" }],
      media: [...this.#formats].map(([track, format]) => ({
        kind: TRACK_KINDS[track] ?? "",
        port: 0,
        protocol: "RTP/AVP",
        formats: [format],
        control: trackUrl(url, track),
        attributes: [],
      })),
    });
  }

  /**
   * Begins, or goes on after a pause. `answer` is called right before the first packets go out, or
   * without them if they take long.
   */
  play(links: Links, answer: (first: ReadonlyMap<number, RtpStart>) => void): void {
    this.#answer = answer;
    this.#answerTimer = setTimeout(() => this.#onStart(new Map()), ANSWER_MS);
    this.#paused = false;
    if (this.#sending) return this.#sending.pause(false);
    const { connection, formats, options: { Flush, MaxLag } } = this.#init;
    this.#sending = new Sending({
      subscriber: this.#subscriber,
      links,
      connection,
      formats,
      flushMs: Flush,
      maxLagMs: MaxLag * 1000,
      onStart: (first) => this.#onStart(first),
    });
    this.#serve(this.#sending);
  }

  /** Stops sending until it goes on. */
  pause(): void {
    this.#paused = true;
    this.#sending?.pause(true);
  }

  /** Ends it without a word to the player. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#answerTimer);
    this.#sending?.stop();
    this.#subscriber.close();
  }

  async #serve(sending: Sending): Promise<void> {
    try {
      await sending.run();
    } catch (error) {
      // An error while it reads is one of the mux. What it throws when it was ended is in its end.
      const detail = error instanceof Error ? error.message : String(error);
      this.#subscriber.close({ code: "error", detail });
    }
    if (this.#stopped) return;
    const end = await this.#subscriber.closed;
    this.#onStart(new Map());
    await sending.goodbye();
    if (!this.#stopped) this.#init.onEnd(end);
  }

  #onStart(first: ReadonlyMap<number, RtpStart>): void {
    clearTimeout(this.#answerTimer);
    const answer = this.#answer;
    this.#answer = undefined;
    answer?.(first);
  }
}

/** The formats of what the stream has now, by track. */
function formatsOf({ stream }: Subscriber): ReadonlyMap<number, RtpFormat> {
  const descriptions = rtpDescription(tracksOf(stream));
  return new Map(descriptions.map(({ kind, format }) => [TRACK_KINDS.indexOf(kind), format]));
}
