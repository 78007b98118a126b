/** Publishers: the writing end of a stream. */

import { type End, EndedError, InvalidDataError } from "./errors.ts";
import type { Frame } from "./frame.ts";
import { AudioInput, DataInput, type InputHost, VideoInput } from "./ingest.ts";
import type { Stream } from "./stream.ts";
import { type Timeline, Unwrapper } from "./time.ts";

/** Who publishes, and how its stream lives. */
export interface PublishOptions {
  /** Protocol or kind of source, such as `RTMP`. */
  readonly type: string;
  /** Who it is, such as the remote address. @default {"local"} */
  readonly id?: string;
  /** Takes the place of a live publisher instead of being refused. @default {false} */
  readonly takeOver?: boolean;
  /** Seconds without a frame after which it ends. @default {the engine's PublishTimeout} */
  readonly publishTimeout?: number;
  /** Seconds for which its stream waits for it after a lost connection. @default {the engine's} */
  readonly reconnectTimeout?: number;
  /** Seconds after the last subscriber's leave, −1 for never. @default {the engine's} */
  readonly autoCloseDelay?: number;
  /**
   * How long frames of its stream are gathered before they go out together to viewers who don't say
   * otherwise, in ms. @default {the argument `flush` of its address, else as the viewer's plugin says}
   */
  readonly flushMs?: number | undefined;
  /** Ends the publisher in good order. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Whether it repeats what another isolate of the server publishes. Nobody is asked then, and
   * nobody told: that is done where the stream is published. @default {false}
   */
  readonly replica?: boolean;
}

/** Most additional tracks of a kind that a multitrack byte stream may open. */
const MAX_TRACKS = 16;

/**
 * The one that writes a stream.
 *
 * Its inputs take the publisher's own clock; the stream puts them on its timeline. It ends by
 * {@linkcode Publisher.close}, by {@linkcode Publisher.lose} where a connection breaks, or with its
 * stream.
 */
export class Publisher implements InputHost, AsyncDisposable {
  /** The stream that it writes. */
  readonly stream: Stream;
  /** Protocol or kind of source. */
  readonly type: string;
  /** Who it is. */
  readonly id: string;
  /** When it began. */
  readonly since: Date = new Date();
  /** How it was published. */
  readonly options: PublishOptions;
  /** Where its stream's timeline ended when it began, in µs: all of its frames come after that. */
  readonly afterUs: number;
  /** Settles when the publisher has ended. */
  readonly closed: Promise<End>;
  /** Follows FLV timestamps past their wrap-around. */
  readonly flvClock: Unwrapper = new Unwrapper(32);
  readonly #video = new Map<string, VideoInput>();
  readonly #audio = new Map<string, AudioInput>();
  readonly #data = new Map<string, DataInput>();
  readonly #sinks = new Set<WritableStreamDefaultController>();
  readonly #controller = new AbortController();
  #resolveClosed: (end: End) => void = () => {};
  #end: End | undefined;
  #complete = false;

  /** Made by `Engine.publish`. */
  constructor(stream: Stream, options: PublishOptions) {
    this.stream = stream;
    this.options = options;
    this.type = options.type;
    this.id = options.id ?? "local";
    this.afterUs = stream.timeline.endUs ?? -Infinity;
    this.closed = new Promise((resolve) => this.#resolveClosed = resolve);
  }

  /** Aborted, with an `EndedError` as its reason, when the publisher has ended. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** How the publisher ended; undefined while it is live. */
  get end(): End | undefined {
    return this.#end;
  }

  /** The stream's timeline. */
  get timeline(): Timeline {
    return this.stream.timeline;
  }

  /** The input of the default video track. */
  get video(): VideoInput {
    return this.addVideoTrack("video");
  }

  /** The input of the default audio track. */
  get audio(): AudioInput {
    return this.addAudioTrack("audio");
  }

  /** Whether all of its tracks have been announced: nobody waits for another one. */
  get complete(): boolean {
    return this.#complete;
  }

  /**
   * The input of the video track `name`, made when first asked for.
   *
   * @throws {EndedError} If it is new and the publisher has ended.
   */
  addVideoTrack(name: string): VideoInput {
    let input = this.#video.get(name);
    if (input === undefined) {
      this.#refuseEnded();
      input = new VideoInput(this.stream.openTrack("video", name), this);
      this.#video.set(name, input);
    }
    return input;
  }

  /**
   * The input of the audio track `name`, made when first asked for.
   *
   * @throws {EndedError} If it is new and the publisher has ended.
   */
  addAudioTrack(name: string): AudioInput {
    let input = this.#audio.get(name);
    if (input === undefined) {
      this.#refuseEnded();
      input = new AudioInput(this.stream.openTrack("audio", name), this);
      this.#audio.set(name, input);
    }
    return input;
  }

  /**
   * The input of the data track `name`, made when first asked for.
   *
   * @throws {EndedError} If it is new and the publisher has ended.
   */
  addDataTrack(name: string): DataInput {
    let input = this.#data.get(name);
    if (input === undefined) {
      this.#refuseEnded();
      input = new DataInput(this.stream.openTrack("data", name), this);
      this.#data.set(name, input);
    }
    return input;
  }

  /** Says that no further track will come, so that nobody waits for one. */
  completeTracks(): void {
    if (this.#end !== undefined) return;
    this.#complete = true;
    this.stream.onTracks();
  }

  /** Ends the publisher and its stream in good order. Idempotent. */
  close(detail = "its publisher ended it"): void {
    this.finish({ code: "ended", detail });
  }

  /** Ends the publisher because its connection broke: the stream waits for it to come back. */
  lose(detail: string): void {
    this.finish({ code: "lost", detail });
  }

  /** Ends the publisher because it sent what cannot be taken, or failed. */
  fail(error: unknown): void {
    this.finish({ code: "error", detail: messageOf(error) });
  }

  /** Ends the publisher as `end` says. Idempotent. */
  finish(end: End): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    const error = new EndedError(`publisher of ${this.stream.path}`, end);
    for (const sink of this.#sinks) sink.error(error);
    this.#sinks.clear();
    this.stream.onPublisherEnd(this, end);
    this.#resolveClosed(end);
    this.#controller.abort(error);
  }

  /** Ends the publisher in good order and waits for it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.closed;
  }

  /** Whether frames of `kind` are taken. */
  accepts(kind: Frame["kind"]): boolean {
    this.#refuseEnded();
    return this.stream.accepts(kind);
  }

  /** Told by an input of each frame kept. */
  onFrame(): void {
    this.stream.onFrame();
  }

  /** Told by an input of each new configuration. */
  onConfig(): void {
    this.stream.onTracks();
  }

  /** Told by an input of each frame that could not be kept. */
  onDiscard(reason: string): void {
    this.stream.onDiscard(reason);
  }

  /** The input of the video track `id` of a multitrack byte stream. */
  videoInput(id: number): VideoInput {
    return this.addVideoTrack(trackName("video", id, this.#video));
  }

  /** The input of the audio track `id` of a multitrack byte stream. */
  audioInput(id: number): AudioInput {
    return this.addAudioTrack(trackName("audio", id, this.#audio));
  }

  /**
   * A sink over `write`. An error of `write` ends the publisher; closing the last open sink ends it
   * in good order; aborting one counts as a lost connection, unless the reason is an
   * `InvalidDataError`.
   */
  sink<T>(write: (chunk: T) => void): WritableStream<T> {
    let controller: WritableStreamDefaultController | undefined;
    return new WritableStream<T>({
      start: (started) => {
        controller = started;
        this.#refuseEnded();
        this.#sinks.add(started);
      },
      write: (chunk) => {
        try {
          write(chunk);
        } catch (error) {
          // This sink fails with the error itself, the others with the end that it brings.
          if (controller) this.#sinks.delete(controller);
          this.fail(error);
          throw error;
        }
      },
      close: () => {
        if (controller) this.#sinks.delete(controller);
        if (this.#sinks.size === 0) this.close();
      },
      abort: (reason) => {
        if (controller) this.#sinks.delete(controller);
        if (reason instanceof InvalidDataError) this.fail(reason);
        else this.lose(messageOf(reason ?? "its sink aborted"));
      },
    });
  }

  #refuseEnded(): void {
    if (this.#end === undefined) return;
    throw new EndedError(`publisher of ${this.stream.path}`, this.#end);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function trackName(kind: string, id: number, open: ReadonlyMap<string, unknown>): string {
  const name = `${kind}${id}`;
  if (!open.has(name) && open.size >= MAX_TRACKS) {
    throw new InvalidDataError(`Cannot open ${kind} track ${id}: ${MAX_TRACKS} are open`);
  }
  return name;
}
