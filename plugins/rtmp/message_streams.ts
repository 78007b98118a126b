/** The message streams of a connection, and what goes over them (RTMP 1.0 7.2.2). */

import { abortable } from "@std/async/abortable";
import { type End, InvalidDataError, RefusedError, StreamTakenError } from "../../src/errors.ts";
import { type AmfObject, type AmfValue, EcmaArray } from "../../src/formats/amf.ts";
import type { PluginContext } from "../../src/plugin.ts";
import type { MediaKind } from "../../src/stream.ts";
import type { Connection } from "../connection.ts";
import { StartDeadline } from "../start_deadline.ts";
import { codecFilter } from "./capabilities.ts";
import { errorMessage, resultMessage, UserControlEvent } from "./command.ts";
import type { playFormats } from "./format.ts";
import type { RtmpOptions } from "./options.ts";
import { Playback } from "./playback.ts";
import { Publication } from "./publication.ts";
import type { Replies } from "./replies.ts";
import { streamPath, streamTarget } from "./target.ts";

/** Most message streams of a connection; clients make one or two. */
const MAX_MESSAGE_STREAMS = 8;
/** Most plays of a connection that wait for their stream, also if nobody wants it any more. */
const MAX_ATTEMPTS = MAX_MESSAGE_STREAMS;

/** What sessions share. */
export interface SessionHost {
  /** The plugin's context; its options are those of the start. */
  readonly context: PluginContext<RtmpOptions>;
  /** The options of now. */
  readonly options: RtmpOptions;
  /** The formats of players. */
  readonly formats: ReturnType<typeof playFormats>;
  /** Logs what a peer did wrong, unless peers do too much. */
  warn(message: string, properties: Record<string, unknown>): void;
}

/** What {@linkcode MessageStreams} belong to. */
export interface MessageStreamsInit {
  /** What sessions share. */
  readonly host: SessionHost;
  /** Where players' bytes go. */
  readonly connection: Connection;
  /** Who is at the other end. */
  readonly peer: string;
  /** How the peer is answered. */
  readonly replies: Replies;
  /** Called when the session is over: with the reason if it is one for the log. */
  readonly onLeave: (reason?: string) => void;
}

/** What a message stream is used for: one thing at a time. */
interface MessageStream {
  readonly id: number;
  readonly publication?: Publication;
  readonly playback?: Playback;
}

/** The message streams of one session. */
export class MessageStreams {
  /** The command object of `connect`. */
  connect: AmfObject | null = null;
  readonly #init: MessageStreamsInit;
  readonly #streams = new Map<number, MessageStream>();
  readonly #deadline: StartDeadline;
  readonly #over = new AbortController();

  /** None yet. */
  constructor(init: MessageStreamsInit) {
    this.#init = init;
    this.#deadline = new StartDeadline(init.host.options.StartTimeout, init.onLeave);
  }

  /** Whether nothing is published or played yet, or any more. */
  get isIdle(): boolean {
    return ![...this.#streams.values()].some(isBusy);
  }

  /** Takes `createStream`. */
  create(transactionId: number): void {
    const { replies } = this.#init;
    let id = 1;
    while (this.#streams.has(id)) id++;
    if (id > MAX_MESSAGE_STREAMS) {
      return replies.send(errorMessage(transactionId, {
        level: "error",
        code: "NetConnection.Call.Failed",
        description: `A connection has at most ${MAX_MESSAGE_STREAMS} streams.`,
      }));
    }
    this.#streams.set(id, { id });
    replies.send(resultMessage(transactionId, { args: [id] }));
  }

  /** What is published on message stream `id`. */
  publication(id: number): Publication | undefined {
    return this.#streams.get(id)?.publication;
  }

  /**
   * Takes `publish`; settles when it is decided.
   *
   * @throws {InvalidDataError} If there is no message stream `id`.
   */
  async publish(id: number, name: AmfValue): Promise<void> {
    const { host: { context, options }, peer, replies } = this.#init;
    const { signal } = this.#over;
    if (isBusy(this.#get(id, "publish"))) return this.#refuse(id, "the message stream is in use");
    this.#deadline.attempt();
    let publication: Publication | undefined;
    try {
      const publishing = context.publish(streamTarget(this.connect, name), {
        type: "RTMP",
        id: peer,
        autoCloseDelay: options.AutoCloseDelay,
        takeOver: options.TakeOver,
        signal,
      });
      // A guard that takes its time is not to hold up the end of the session.
      const publisher = await abortable(publishing, signal);
      publication = new Publication(publisher, (end) => this.#onPublicationEnd(id, end));
      this.#streams.set(id, { id, publication });
      replies.event(UserControlEvent.streamBegin, id);
      replies.status(id, "NetStream.Publish.Start", `Publishing ${publication.path}.`);
    } catch (error) {
      if (!signal.aborted) this.#refuse(id, messageOf(error), describeRefusal(error));
    }
    this.#deadline.settle(publication !== undefined);
  }

  /**
   * Takes `play`, and does not wait for the stream.
   *
   * @throws {InvalidDataError} If there is no message stream `id`, or too many plays wait.
   */
  play(id: number, name: AmfValue): void {
    const { host, connection, peer, replies } = this.#init;
    const { context, options, formats } = host;
    if (isBusy(this.#get(id, "play"))) {
      return replies.error(id, "NetStream.Play.Failed", "the message stream is in use");
    }
    if (this.#deadline.attempts >= MAX_ATTEMPTS) {
      throw new InvalidDataError(`Cannot play: ${MAX_ATTEMPTS} others wait for their stream`);
    }
    const playback = new Playback({
      context,
      options,
      connection,
      peer,
      format: formats({ streamId: id, chunkSize: replies.chunkSize }),
      accepts: codecFilter(this.connect),
      warn: (message, properties) => host.warn(message, properties),
      onStart: (path) => this.#onPlayStart(id, path),
      onFail: (error) => this.#onPlayFail(id, error),
      onEnd: (end) => this.#onPlayEnd(id, end),
    });
    this.#streams.set(id, { id, playback });
    this.#deadline.attempt();
    const target = streamTarget(this.connect, name);
    playback.start(target).then((hasBegun) => this.#deadline.settle(hasBegun));
  }

  /** Takes `pause`. */
  pause(id: number, paused: boolean): void {
    const playback = this.#streams.get(id)?.playback;
    if (playback === undefined) return;
    playback.pause(paused);
    const { replies } = this.#init;
    if (paused) replies.status(id, "NetStream.Pause.Notify", "Paused.");
    else replies.status(id, "NetStream.Unpause.Notify", "Unpaused.");
  }

  /** Takes `receiveAudio` and `receiveVideo`. */
  select(id: number, kind: MediaKind, wanted: boolean): void {
    this.#streams.get(id)?.playback?.select(kind, wanted);
  }

  /** Takes `FCUnpublish`, which knows no message stream. */
  unpublish(name: AmfValue): void {
    const path = streamPath(this.connect, name);
    for (const { id, publication } of [...this.#streams.values()]) {
      if (publication !== undefined && publication.path === path) this.reset(id);
    }
  }

  /** Takes `closeStream`: ends what the message stream is used for. It may be used again. */
  reset(id: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined || !isBusy(stream)) return;
    this.#streams.set(id, { id });
    stream.playback?.stop();
    if (stream.publication !== undefined) {
      stream.publication.close();
      this.#init.replies.status(id, "NetStream.Unpublish.Success", "Unpublished.");
    }
    if (this.isIdle) this.#deadline.restart();
  }

  /** Takes `deleteStream`. */
  delete(id: number): void {
    this.reset(id);
    this.#streams.delete(id);
  }

  /** Ends all as of a connection that broke, or of a peer that did wrong: then with the `error`. */
  end(detail: string, error?: InvalidDataError): void {
    this.#deadline.clear();
    for (const { publication, playback } of this.#streams.values()) {
      publication?.lose(detail, error);
      playback?.stop();
    }
    this.#streams.clear();
    this.#over.abort(new DOMException("The session ended", "AbortError"));
  }

  #get(id: number, action: string): MessageStream {
    const stream = this.#streams.get(id);
    if (stream !== undefined) return stream;
    throw new InvalidDataError(`Cannot ${action}: createStream must come first`);
  }

  /** Says why it may not publish: to the peer less than to the log. */
  #refuse(id: number, reason: string, description: string = reason): void {
    const { host, peer, replies } = this.#init;
    host.warn("{peer} may not publish: {reason}", { peer, reason });
    replies.error(id, "NetStream.Publish.BadName", description);
  }

  #onPublicationEnd(id: number, { code, detail }: End): void {
    const { replies, onLeave } = this.#init;
    if (code === "shutdown") {
      replies.status(id, "NetStream.Unpublish.Success", detail);
      return onLeave();
    }
    replies.error(id, "NetStream.Publish.Denied", detail);
    onLeave(`its stream was ended: ${detail}`);
  }

  #onPlayStart(id: number, path: string): void {
    const { replies } = this.#init;
    replies.event(UserControlEvent.streamBegin, id);
    replies.status(id, "NetStream.Play.Reset", `Resetting for ${path}.`);
    replies.status(id, "NetStream.Play.Start", `Playing ${path}.`);
    replies.data(id, "|RtmpSampleAccess", true, true);
    replies.data(id, "onStatus", new EcmaArray({ code: "NetStream.Data.Start" }));
  }

  #onPlayFail(id: number, error: unknown): void {
    this.#streams.set(id, { id });
    const refused = error instanceof RefusedError;
    const code = refused ? "NetStream.Play.Failed" : "NetStream.Play.StreamNotFound";
    this.#init.replies.error(id, code, describeRefusal(error));
  }

  #onPlayEnd(id: number, { code, detail }: End): void {
    const { replies, onLeave } = this.#init;
    if (code === "kicked" || code === "error") {
      replies.error(id, "NetStream.Play.Failed", detail);
      return onLeave(`its playing was ended: ${detail}`);
    }
    replies.event(UserControlEvent.streamEof, id);
    replies.status(id, "NetStream.Play.UnpublishNotify", detail);
    onLeave();
  }
}

function isBusy(stream: MessageStream): boolean {
  return stream.publication !== undefined || stream.playback !== undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What a peer may know of why it was refused: not the address of another one. */
function describeRefusal(error: unknown): string {
  if (!(error instanceof StreamTakenError)) return messageOf(error);
  return `${error.path} has been published since ${error.holder.since.toISOString()}`;
}
