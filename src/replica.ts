/** Streams on their way from the isolate that publishes them to one that repeats them. */

import type { AudioConfig, VideoConfig } from "./codecs/config.ts";
import type { End } from "./errors.ts";
import type { DataUnit, Frame, MediaFrame } from "./frame.ts";
import type { Publisher } from "./publisher.ts";
import { pump } from "./readable.ts";
import type { Stream } from "./stream.ts";
import type { Subscriber } from "./subscriber.ts";
import type { Track } from "./track.ts";

/** What is gathered while the other isolate is busy, after which a feed waits: seconds of a stream. */
const MAX_GATHERED = 256;
/** Messages on their way, after which frames gather: with one, each would wait for a round trip. */
const MAX_SENT = 4;

/** A frame on its way; times in µs. */
interface FrameItem {
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

/** What goes to the isolate that repeats a stream, as much at a time as there is. */
type FeedMessage = readonly FeedItem[];

type FeedItem =
  | {
    readonly type: "config";
    readonly track: string;
    readonly config: VideoConfig | AudioConfig;
  }
  | FrameItem
  | {
    readonly type: "value";
    readonly track: string;
    readonly dts: number;
    readonly value: unknown;
  }
  | { readonly type: "complete" }
  | { readonly type: "end"; readonly end: End };

/** What comes back: that a message has been taken, or that no more are wanted. */
type FeedReply = { readonly type: "taken" | "stop" };

/**
 * Reads a stream for another isolate, as one of its subscribers: from the newest keyframe on, and
 * on from the next one where the other isolate takes too long.
 *
 * Few messages are on their way at a time; what comes meanwhile makes the next one. So an isolate
 * that is busy gets more at once, and writes it to its viewers at once, as it does with what has
 * gathered in a socket.
 */
export class Feed {
  readonly #subscriber: Subscriber;
  readonly #port: MessagePort;
  readonly #configs = new Map<string, VideoConfig | AudioConfig>();
  readonly #tracks = new Set<Track>();
  /** Frames up to this time are not sent. */
  readonly #afterUs: number;
  readonly #sending = new Set<Promise<void>>();
  /** Settles when nothing more is sent. */
  readonly closed: Promise<void>;
  #gathered: FeedItem[] = [];
  #transfers: ArrayBuffer[] = [];
  /** Messages that are on their way. */
  #sent = 0;
  #onRoom: (() => void)[] = [];

  /** Sends what `subscriber` reads to `port`, or only what is of the publisher of now. */
  constructor(subscriber: Subscriber, port: MessagePort, fresh: boolean) {
    this.#subscriber = subscriber;
    this.#port = port;
    const { stream, signal } = subscriber;
    const { publisher, timeline } = stream;
    this.#afterUs = fresh ? publisher?.afterUs ?? timeline.endUs ?? -Infinity : -Infinity;
    port.onmessage = ({ data }: MessageEvent<FeedReply>) => this.#onReply(data);
    stream.waitSettled(signal).then(() => this.#complete(), () => {});
    this.#add(subscriber.play({ relays: true }), (kind) => kind);
    this.addTracks();
    this.closed = this.#finish();
  }

  /** The stream that it reads. */
  get stream(): Stream {
    return this.#subscriber.stream;
  }

  /** Sends what else the stream has: data, and tracks beside the first of their kind. */
  addTracks(): void {
    const { stream, signal } = this.#subscriber;
    for (const track of stream.tracks) {
      if (track.name === track.kind || this.#tracks.has(track)) continue;
      this.#tracks.add(track);
      this.#add(track.readable({ relays: true, signal }), () => track.name);
    }
  }

  /** Sends no more than `end`. Idempotent. */
  close(end?: End): void {
    this.#subscriber.close(end);
    this.#wake();
  }

  #add(frames: ReadableStream<Frame>, nameOf: (kind: "video" | "audio") => string): void {
    const sent = new Promise<void>((resolve) => {
      const pumped = pump(frames, {
        write: (frame) => {
          this.#send(frame, nameOf);
          const isFull = this.#gathered.length >= MAX_GATHERED;
          if (isFull) this.#onRoom.push(() => pumped.resume());
          return !isFull;
        },
        close: resolve,
        // It was ended, and the end says why.
        abort: () => resolve(),
      });
    });
    this.#sending.add(sent);
  }

  async #finish(): Promise<void> {
    const end = await this.#subscriber.closed;
    await Promise.all(this.#sending);
    this.#gathered.push({ type: "end", end });
    this.#sent = 0;
    this.#flush();
    this.#port.close();
  }

  #send(frame: Frame, nameOf: (kind: "video" | "audio") => string): void {
    if (frame.dts <= this.#afterUs) return;
    if (frame.kind === "data") this.#sendValue(frame, nameOf("video"));
    else this.#sendFrame(frame, nameOf(frame.kind));
  }

  /** Says that all tracks are known, after what they are. */
  #complete(): void {
    const { videoTracks, audioTracks } = this.stream;
    for (const tracks of [videoTracks, audioTracks]) {
      const config: VideoConfig | AudioConfig | undefined = tracks.find(({ live }) => live)?.config;
      if (config === undefined || this.#knows(config.kind, config)) continue;
      this.#post({ type: "config", track: config.kind, config });
    }
    this.#post({ type: "complete" });
  }

  /** Whether `config` is the one that was sent for `track`; it is from now on. */
  #knows(track: string, config: VideoConfig | AudioConfig): boolean {
    const id = `${config.kind}:${track}`;
    if (this.#configs.get(id) === config) return true;
    this.#configs.set(id, config);
    return false;
  }

  #sendFrame({ kind, config, dts, pts, key, data: shared }: MediaFrame, track: string): void {
    const known = this.#knows(track, config);
    // Others read it here. Not by slice(), with which a Buffer of Node shares its bytes.
    const data = new Uint8Array(shared);
    this.#transfers.push(data.buffer);
    this.#post({
      type: "frame",
      kind,
      track,
      ...(!known && { config }),
      dts,
      cts: pts - dts,
      key,
      data,
    });
  }

  #sendValue({ dts, value }: DataUnit, track: string): void {
    let copy: unknown;
    try {
      copy = structuredClone(value);
    } catch {
      // It cannot be copied, so it is only where it was made.
      return;
    }
    this.#post({ type: "value", track, dts, value: copy });
  }

  #post(item: FeedItem): void {
    this.#gathered.push(item);
    this.#flush();
  }

  #flush(): void {
    if (this.#gathered.length === 0 || this.#sent === MAX_SENT) return;
    const message: FeedMessage = this.#gathered;
    this.#port.postMessage(message, this.#transfers);
    this.#gathered = [];
    this.#transfers = [];
    this.#sent++;
  }

  #onReply({ type }: FeedReply): void {
    if (type === "stop") return this.close();
    this.#sent--;
    this.#flush();
    this.#wake();
  }

  #wake(): void {
    const waiting = this.#onRoom;
    this.#onRoom = [];
    for (const onRoom of waiting) onRoom();
  }
}

/** Says through `port` that nothing will come: another isolate has the stream now, if any has. */
export function endFeed(port: MessagePort): void {
  const end: End = { code: "replaced", detail: "it is not published there any more" };
  const message: FeedMessage = [{ type: "end", end }];
  port.postMessage(message);
  port.close();
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

  /** Writes what comes from `port`, until that or `publisher` ends. */
  constructor(publisher: Publisher, port: MessagePort) {
    this.#publisher = publisher;
    this.#port = port;
    port.onmessage = ({ data }: MessageEvent<FeedMessage>) => this.#take(data);
    publisher.closed.then(() => refuseFeed(port));
  }

  /** Whether it may still write. */
  get live(): boolean {
    return this.#publisher.end === undefined;
  }

  /** Says that the isolate that feeds it is gone. */
  lose(): void {
    this.#publisher.lose("the isolate of its publisher has failed");
  }

  #take(message: FeedMessage): void {
    for (const item of message) {
      if (!this.live) return;
      this.#takeItem(item);
    }
    const reply: FeedReply = { type: "taken" };
    if (this.live) this.#port.postMessage(reply);
  }

  #takeItem(item: FeedItem): void {
    const publisher = this.#publisher;
    switch (item.type) {
      case "frame":
        return this.#takeFrame(item);
      case "value":
        return publisher.addDataTrack(item.track).push(item.dts, item.value);
      case "config":
        return this.#configure(item.track, item.config);
      case "complete":
        return publisher.completeTracks();
      case "end":
        return this.#onEnd(item.end);
    }
  }

  #onEnd({ code, detail }: End): void {
    // Who publishes it now is about to be told by the hub.
    if (code === "replaced") this.#publisher.lose(detail);
    else this.#publisher.stream.close(detail, code);
  }

  #configure(track: string, config: VideoConfig | AudioConfig): void {
    if (config.kind === "video") this.#publisher.addVideoTrack(track).configure(config);
    else this.#publisher.addAudioTrack(track).configure(config);
  }

  #takeFrame({ kind, track, config, dts: dtsUs, cts: ctsUs, key, data }: FrameItem): void {
    if (config !== undefined) this.#configure(track, config);
    const unit = { dtsUs, ctsUs, key, data };
    if (kind === "video") this.#publisher.addVideoTrack(track).push(unit);
    else this.#publisher.addAudioTrack(track).push(unit);
  }
}
