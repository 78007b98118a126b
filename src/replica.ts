/** Streams on their way from the isolate that publishes them to one that repeats them. */

import type { AudioConfig, VideoConfig } from "./codecs/config.ts";
import type { End } from "./errors.ts";
import type { Frame, MediaFrame } from "./frame.ts";
import type { Publisher } from "./publisher.ts";
import type { Stream } from "./stream.ts";
import type { Subscriber } from "./subscriber.ts";
import type { Track } from "./track.ts";

/** Frames on their way that are not acknowledged, after which a feed waits: some seconds of a stream. */
const MAX_UNACKNOWLEDGED = 512;
/** Frames after which the receiver acknowledges. */
const ACKNOWLEDGE_EVERY = 32;

/** A frame on its way; times in µs. */
interface FrameMessage {
  readonly type: "frame";
  readonly kind: "video" | "audio";
  readonly track: string;
  /** The configuration, where it is not that of the frame before. */
  readonly config?: VideoConfig | AudioConfig;
  readonly dts: number;
  readonly cts: number;
  readonly key: boolean;
  readonly data: Uint8Array;
}

/** What goes to the isolate that repeats a stream. */
type FeedMessage =
  | FrameMessage
  | {
    readonly type: "value";
    readonly track: string;
    readonly dts: number;
    readonly value: unknown;
  }
  | { readonly type: "complete" }
  | { readonly type: "end"; readonly end: End };

/** What comes back: that frames have been taken, or that no more are wanted. */
type FeedReply =
  | { readonly type: "taken"; readonly frames: number }
  | { readonly type: "stop" };

/**
 * Reads a stream for another isolate, as one of its subscribers: from the newest keyframe on, and
 * on from the next one where the other isolate takes too long.
 */
export class Feed {
  readonly #subscriber: Subscriber;
  readonly #port: MessagePort;
  readonly #configs = new Map<string, VideoConfig | AudioConfig>();
  readonly #tracks = new Set<Track>();
  /** Frames up to this time are not sent. */
  readonly #afterUs: number;
  #unacknowledged = 0;
  #onCredit: (() => void)[] = [];

  /** Sends what `subscriber` reads to `port`, or only what is of the publisher of now. */
  constructor(subscriber: Subscriber, port: MessagePort, fresh: boolean) {
    this.#subscriber = subscriber;
    this.#port = port;
    this.#afterUs = fresh ? subscriber.stream.publisher?.afterUs ?? -Infinity : -Infinity;
    port.onmessage = ({ data }: MessageEvent<FeedReply>) => this.#onReply(data);
    const { stream, signal } = subscriber;
    stream.waitSettled(signal).then(() => this.#post({ type: "complete" }), () => {});
    const playing = this.#send(subscriber.play(), (kind) => kind);
    const others = this.addTracks();
    Promise.all([playing, others, subscriber.closed]).then(([, , end]) => {
      this.#post({ type: "end", end });
      port.close();
    });
  }

  /** The stream that it reads. */
  get stream(): Stream {
    return this.#subscriber.stream;
  }

  /** Sends what else the stream has: data, and tracks beside the first of their kind. */
  async addTracks(): Promise<void> {
    const { stream, signal } = this.#subscriber;
    const added = stream.tracks.filter((track) =>
      !this.#tracks.has(track) && track.name !== track.kind
    );
    for (const track of added) this.#tracks.add(track);
    await Promise.all(
      added.map((track) => this.#send(track.readable({ signal }), () => track.name)),
    );
  }

  async #send(
    frames: ReadableStream<Frame>,
    nameOf: (kind: "video" | "audio") => string,
  ): Promise<void> {
    const { signal } = this.#subscriber;
    try {
      for await (const frame of frames) {
        while (this.#unacknowledged >= MAX_UNACKNOWLEDGED && !signal.aborted) {
          await new Promise<void>((resolve) => this.#onCredit.push(resolve));
        }
        if (signal.aborted) return;
        if (frame.dts <= this.#afterUs) continue;
        this.#unacknowledged++;
        if (frame.kind !== "data") this.#sendFrame(frame, nameOf(frame.kind));
        else {
          const { dts, value } = frame;
          this.#post({ type: "value", track: nameOf("video"), dts, value });
        }
      }
    } catch {
      // It was ended, and the end says why.
    }
  }

  #sendFrame({ kind, config, dts, pts, key, data: shared }: MediaFrame, track: string): void {
    const known = this.#configs.get(`${kind}:${track}`) === config;
    this.#configs.set(`${kind}:${track}`, config);
    const data = shared.slice();
    const message: FeedMessage = {
      type: "frame",
      kind,
      track,
      ...(!known && { config }),
      dts,
      cts: pts - dts,
      key,
      data,
    };
    this.#port.postMessage(message, [data.buffer]);
  }

  #post(message: FeedMessage): void {
    this.#port.postMessage(message);
  }

  #onReply(reply: FeedReply): void {
    if (reply.type === "stop") this.#subscriber.close();
    else this.#unacknowledged -= reply.frames;
    const waiting = this.#onCredit;
    this.#onCredit = [];
    for (const onCredit of waiting) onCredit();
  }
}

/** Says that what comes through `port` is not wanted. */
export function refuseFeed(port: MessagePort): void {
  const reply: FeedReply = { type: "stop" };
  port.postMessage(reply);
  port.close();
}

/** Writes what a {@linkcode Feed} sends, as a publisher of this isolate. */
export class Replica {
  readonly #publisher: Publisher;
  readonly #port: MessagePort;
  #taken = 0;

  /** Writes what comes from `port`, until that or `publisher` ends. */
  constructor(publisher: Publisher, port: MessagePort) {
    this.#publisher = publisher;
    this.#port = port;
    port.onmessage = ({ data }: MessageEvent<FeedMessage>) => this.#take(data);
    publisher.closed.then(() => refuseFeed(port));
  }

  /** Says that the isolate that feeds it is gone. */
  lose(): void {
    this.#publisher.lose("the isolate of its publisher has failed");
  }

  #take(message: FeedMessage): void {
    const publisher = this.#publisher;
    if (publisher.end !== undefined) return;
    switch (message.type) {
      case "frame":
        this.#takeFrame(message);
        break;
      case "value":
        publisher.addDataTrack(message.track).push(message.dts, message.value);
        break;
      case "complete":
        publisher.completeTracks();
        return;
      case "end":
        publisher.finish(message.end);
        return;
    }
    if (++this.#taken < ACKNOWLEDGE_EVERY) return;
    const reply: FeedReply = { type: "taken", frames: this.#taken };
    this.#taken = 0;
    this.#port.postMessage(reply);
  }

  #takeFrame({ kind, track, config, dts: dtsUs, cts: ctsUs, key, data }: FrameMessage): void {
    if (kind === "video") {
      const input = this.#publisher.addVideoTrack(track);
      if (config?.kind === "video") input.configure(config);
      input.push({ dtsUs, ctsUs, key, data });
    } else {
      const input = this.#publisher.addAudioTrack(track);
      if (config?.kind === "audio") input.configure(config);
      input.push({ dtsUs, ctsUs, key, data });
    }
  }
}
