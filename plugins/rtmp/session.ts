/** One RTMP connection: handshake, commands, and what it publishes and plays (RTMP 1.0 7.2). */

import { EndedError, InvalidDataError, RefusedError } from "../../src/errors.ts";
import { FlvIngest } from "../../src/flv_ingest.ts";
import { type AmfInput, type AmfValue, EcmaArray, encodeAmf0 } from "../../src/formats/amf.ts";
import type { PluginContext } from "../../src/plugin.ts";
import type { Publisher } from "../../src/publisher.ts";
import { ChunkReader, writeMessage } from "./chunk.ts";
import {
  BandwidthLimit,
  controlMessage,
  errorMessage,
  parseCommand,
  parseControl,
  resultMessage,
  type RtmpCommand,
  splitAggregate,
  type StatusInfo,
  statusMessage,
  UserControlEvent,
} from "./command.ts";
import type { Connection } from "./connection.ts";
import type { playFormats } from "./format.ts";
import { ServerHandshake } from "./handshake.ts";
import { MessageType, type OutgoingMessage, type RtmpMessage } from "./message.ts";
import type { RtmpOptions } from "./options.ts";
import { Playback } from "./playback.ts";

/** Bytes after which a peer is to acknowledge: seconds of video, so that it hardly counts. */
const WINDOW_BYTES = 5_000_000;
/** Most message streams of a connection; clients make one or two. */
const MAX_MESSAGE_STREAMS = 8;
/** Chunk size until ours is announced (RTMP 1.0 5.4.1). */
const FIRST_CHUNK_SIZE = 128;
/** Longest time from an orderly end to the close of the connection. */
const LINGER_MS = 1000;
/** `capsEx` of Enhanced RTMP v2: reconnect no, multitrack yes, timestamp offsets yes. */
const CAPABILITIES_EX = 0x02 | 0x04 | 0x08;
/** FourCCs that we take and give (Enhanced RTMP v2, `fourCcList`). */
const FOURCCS = ["avc1", "hvc1", "av01", "vp09", "mp4a", "Opus", ".mp3", "fLaC", "ac-3", "ec-3"];

/** What sessions share. */
export interface SessionHost {
  /** The plugin's context. */
  readonly context: PluginContext<RtmpOptions>;
  /** The formats of players. */
  readonly formats: ReturnType<typeof playFormats>;
}

/** What a message stream is used for. */
interface MessageStream {
  readonly id: number;
  publisher?: Publisher;
  ingest?: FlvIngest;
  playback?: Playback;
}

/** A connection from its first byte to its last. */
export class RtmpSession {
  readonly #host: SessionHost;
  readonly #connection: Connection;
  readonly #peer: string;
  readonly #reader: ChunkReader;
  readonly #streams = new Map<number, MessageStream>();
  readonly #idle: ReturnType<typeof setTimeout>;
  #app = "";
  #appArgs = "";
  #connected = false;
  #fourccs: readonly string[] | undefined;
  #chunkSize = FIRST_CHUNK_SIZE;
  #ackWindow = 0;
  #acknowledged = 0;
  #ended: string | undefined;

  /** A session of the peer at the other end of `connection`. */
  constructor(connection: Connection, peer: string, host: SessionHost) {
    this.#connection = connection;
    this.#peer = peer;
    this.#host = host;
    const { options } = host.context;
    this.#reader = new ChunkReader({ maxMessageBytes: options.MaxMessageSize });
    const seconds = options.StartTimeout;
    this.#idle = setTimeout(
      () => this.close(`neither published nor played within ${seconds} s`),
      seconds * 1000,
    );
  }

  /** Serves the connection until it ends; the reason if something was wrong. Never throws. */
  async run(): Promise<string | undefined> {
    try {
      await this.#serve();
      this.#finish((publisher) => publisher.lose("its connection was closed"));
    } catch (error) {
      if (error instanceof InvalidDataError) {
        this.#ended ??= error.message;
        this.#finish((publisher) => publisher.fail(error));
      } else {
        const reason = error instanceof Error ? error.message : String(error);
        if (!this.#connection.closed && !isNetworkError(error)) this.#ended ??= reason;
        this.#finish((publisher) => publisher.lose(reason));
      }
    } finally {
      clearTimeout(this.#idle);
      this.#connection.close();
    }
    return this.#ended;
  }

  /** Ends the session once what is to be said has been sent. */
  stop(): void {
    this.#linger();
  }

  /** Ends the session at once because of `reason`. */
  close(reason: string): void {
    this.#ended ??= reason;
    this.#connection.close();
  }

  async #serve(): Promise<void> {
    const handshake = new ServerHandshake();
    const connection = this.#connection;
    let done = false;
    for (let bytes = await connection.read(); bytes; bytes = await connection.read()) {
      if (!done) {
        const step = handshake.push(bytes);
        if (step.send) connection.send(step.send);
        done = step.done;
        bytes = step.rest;
      }
      for (const message of this.#reader.push(bytes)) {
        const waits = this.#onMessage(message);
        if (waits) await waits;
      }
      this.#acknowledge();
    }
  }

  #onMessage(message: RtmpMessage): Promise<void> | undefined {
    switch (message.type) {
      case MessageType.audio:
      case MessageType.video:
      case MessageType.dataAmf0:
      case MessageType.dataAmf3:
        this.#push(message);
        return undefined;
      case MessageType.aggregate:
        for (const part of splitAggregate(message)) this.#push(part);
        return undefined;
      case MessageType.commandAmf0:
      case MessageType.commandAmf3: {
        const command = parseCommand(message);
        return command && this.#onCommand(command, message.streamId);
      }
      default:
        this.#onControl(message);
        return undefined;
    }
  }

  #push({ type, streamId, timestampMs, payload }: RtmpMessage): void {
    const stream = this.#streams.get(streamId);
    if (stream?.ingest === undefined || stream.publisher?.end !== undefined) return;
    if (type === MessageType.dataAmf3) {
      // The byte before the values says how they are encoded; each value says it again.
      stream.ingest.push(MessageType.dataAmf0, timestampMs, payload.subarray(1));
    } else if (
      type === MessageType.audio || type === MessageType.video || type === MessageType.dataAmf0
    ) {
      stream.ingest.push(type, timestampMs, payload);
    }
  }

  #onControl(message: RtmpMessage): void {
    const control = parseControl(message);
    if (control?.type === MessageType.windowAckSize) {
      this.#ackWindow = control.bytes;
    } else if (
      control?.type === MessageType.userControl && control.event === UserControlEvent.pingRequest
    ) {
      const event = UserControlEvent.pingResponse;
      this.#send(controlMessage({ type: control.type, event, value: control.value }));
    }
  }

  async #onCommand(command: RtmpCommand, streamId: number): Promise<void> {
    const { name, transactionId: id, args } = command;
    if (name === "connect") return this.#onConnect(command);
    if (!this.#connected) {
      throw new InvalidDataError(`Cannot take command ${name}: connect must come first`);
    }
    const stream = this.#streams.get(streamId);
    switch (name) {
      case "createStream":
        return this.#onCreateStream(id);
      case "publish":
        return await this.#onPublish(stream, args);
      case "play":
        return await this.#onPlay(stream, args);
      case "pause":
        return stream?.playback?.pause(args[0] === true);
      case "receiveAudio":
      case "receiveVideo":
        return stream?.playback?.select(
          name === "receiveAudio" ? "audio" : "video",
          args[0] === true,
        );
      case "deleteStream":
        return this.#release(Number(args[0]));
      case "closeStream":
        return this.#reset(streamId);
      case "FCUnpublish":
        return this.#onUnpublish();
      case "getStreamLength":
        return this.#send(resultMessage(id, { args: [0] }));
      default:
        // releaseStream, FCPublish, FCSubscribe, _checkbw … want no more than an answer.
        if (id > 0 && !name.startsWith("_")) this.#send(resultMessage(id));
    }
  }

  #onConnect({ transactionId, object }: RtmpCommand): void {
    const app = String(object?.app ?? "");
    const mark = app.indexOf("?");
    this.#app = mark < 0 ? app : app.slice(0, mark);
    this.#appArgs = mark < 0 ? "" : app.slice(mark + 1);
    const list = object?.fourCcList;
    if (Array.isArray(list)) this.#fourccs = list.filter((item) => typeof item === "string");
    this.#connected = true;
    const { ChunkSize } = this.#host.context.options;
    this.#send(
      controlMessage({ type: MessageType.windowAckSize, bytes: WINDOW_BYTES }),
      controlMessage({
        type: MessageType.setPeerBandwidth,
        bytes: WINDOW_BYTES,
        limit: BandwidthLimit.dynamic,
      }),
      controlMessage({ type: MessageType.setChunkSize, bytes: ChunkSize }),
    );
    this.#chunkSize = ChunkSize;
    const enhanced = this.#fourccs !== undefined || object?.capsEx !== undefined;
    this.#send(resultMessage(transactionId, {
      object: { fmsVer: "FMS/3,5,7,7009", capabilities: 31, mode: 1 },
      args: [{
        level: "status",
        code: "NetConnection.Connect.Success",
        description: "Connection succeeded.",
        objectEncoding: Number(object?.objectEncoding ?? 0),
        ...(enhanced && { fourCcList: FOURCCS, capsEx: CAPABILITIES_EX }),
      }],
    }));
  }

  #onCreateStream(transactionId: number): void {
    let id = 1;
    while (this.#streams.has(id)) id++;
    if (id > MAX_MESSAGE_STREAMS) {
      return this.#send(errorMessage(transactionId, {
        level: "error",
        code: "NetConnection.Call.Failed",
        description: `A connection has at most ${MAX_MESSAGE_STREAMS} streams.`,
      }));
    }
    this.#streams.set(id, { id });
    this.#send(resultMessage(transactionId, { args: [id] }));
  }

  async #onPublish(stream: MessageStream | undefined, args: readonly AmfValue[]): Promise<void> {
    const busy = stream?.playback ?? (stream?.publisher?.end ? undefined : stream?.publisher);
    if (stream === undefined || busy !== undefined) {
      throw new InvalidDataError("Cannot publish: createStream must come first");
    }
    const { context } = this.#host;
    const { options } = context;
    let publisher: Publisher;
    try {
      publisher = await context.publish(this.#target(args[0]), {
        type: "RTMP",
        id: this.#peer,
        autoCloseDelay: options.AutoCloseDelay,
        takeOver: options.TakeOver,
      });
    } catch (error) {
      const description = reasonOf(error);
      context.log.warn("{peer}: cannot publish: {reason}", {
        peer: this.#peer,
        reason: description,
      });
      return this.#status(stream.id, {
        level: "error",
        code: "NetStream.Publish.BadName",
        description,
      });
    }
    clearTimeout(this.#idle);
    stream.publisher = publisher;
    stream.ingest = new FlvIngest(publisher);
    publisher.closed.then((end) => {
      if (end.code !== "ended" && end.code !== "lost" && end.code !== "error") {
        this.#status(stream.id, {
          level: "error",
          code: "NetStream.Publish.Denied",
          description: end.detail,
        });
        this.#linger();
      }
    });
    this.#send(this.#userControl(UserControlEvent.streamBegin, stream.id));
    this.#status(stream.id, {
      level: "status",
      code: "NetStream.Publish.Start",
      description: `Publishing ${publisher.stream.path}.`,
    });
  }

  #onPlay(stream: MessageStream | undefined, args: readonly AmfValue[]): void {
    if (stream === undefined || stream.publisher || stream.playback) {
      throw new InvalidDataError("Cannot play: createStream must come first");
    }
    const playback = new Playback({
      context: this.#host.context,
      connection: this.#connection,
      peer: this.#peer,
      format: this.#host.formats({ streamId: stream.id, chunkSize: this.#chunkSize }),
      fourccs: this.#fourccs,
      onStart: () => {
        clearTimeout(this.#idle);
        this.#send(this.#userControl(UserControlEvent.streamBegin, stream.id));
        this.#status(stream.id, {
          level: "status",
          code: "NetStream.Play.Reset",
          description: "Resetting.",
        });
        this.#status(stream.id, {
          level: "status",
          code: "NetStream.Play.Start",
          description: "Started.",
        });
        this.#data(stream.id, "|RtmpSampleAccess", true, true);
        this.#data(stream.id, "onStatus", new EcmaArray({ code: "NetStream.Data.Start" }));
      },
      onStatus: (info) => this.#status(stream.id, info),
      onEnd: (info, over) => {
        if (over) this.#send(this.#userControl(UserControlEvent.streamEof, stream.id));
        this.#status(stream.id, info);
        if (over) this.#linger();
      },
    });
    stream.playback = playback;
    playback.start(this.#target(args[0]));
  }

  #onUnpublish(): void {
    for (const stream of this.#streams.values()) this.#unpublish(stream);
  }

  #unpublish(stream: MessageStream): void {
    if (stream.publisher === undefined || stream.publisher.end !== undefined) return;
    stream.publisher.close("unpublished");
    this.#status(stream.id, {
      level: "status",
      code: "NetStream.Unpublish.Success",
      description: "Unpublished.",
    });
  }

  /** Ends what a message stream is used for; it may be used again. */
  #reset(id: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    this.#unpublish(stream);
    stream.playback?.stop();
    this.#streams.set(id, { id });
  }

  #release(id: number): void {
    this.#reset(id);
    this.#streams.delete(id);
  }

  /** Lets the last replies out, then closes. */
  #linger(): void {
    const timer = setTimeout(() => this.#connection.close(), LINGER_MS);
    this.#connection.flush().then(() => {
      clearTimeout(timer);
      this.#connection.close();
    });
  }

  #finish(endPublisher: (publisher: Publisher) => void): void {
    for (const stream of this.#streams.values()) {
      if (stream.publisher) endPublisher(stream.publisher);
      stream.playback?.stop();
    }
    this.#streams.clear();
  }

  /** The path and arguments of a stream: the application's, then the stream name's. */
  #target(name: AmfValue): string {
    const text = typeof name === "string" ? name : "";
    const mark = text.indexOf("?");
    const path = mark < 0 ? text : text.slice(0, mark);
    const args = [this.#appArgs, mark < 0 ? "" : text.slice(mark + 1)].filter((part) => part);
    return `${this.#app}/${path}${args.length > 0 ? `?${args.join("&")}` : ""}`;
  }

  #acknowledge(): void {
    const received = this.#reader.bytesReceived;
    if (this.#ackWindow === 0 || received - this.#acknowledged < this.#ackWindow) return;
    this.#acknowledged = received;
    this.#send(
      controlMessage({ type: MessageType.acknowledgement, sequence: received % 2 ** 32 }),
    );
  }

  #userControl(event: number, value: number): OutgoingMessage {
    return controlMessage({ type: MessageType.userControl, event, value });
  }

  #status(streamId: number, info: StatusInfo): void {
    this.#send(statusMessage(info, streamId));
  }

  #data(streamId: number, ...values: readonly AmfInput[]): void {
    this.#send({
      type: MessageType.dataAmf0,
      streamId,
      timestampMs: 0,
      chunkStreamId: 4,
      payload: [encodeAmf0(...values)],
    });
  }

  #send(...messages: readonly OutgoingMessage[]): void {
    this.#connection.send(...messages.map((message) => writeMessage(message, this.#chunkSize)));
  }
}

function isNetworkError(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset ||
    error instanceof Deno.errors.ConnectionAborted ||
    error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.UnexpectedEof ||
    error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted ||
    error instanceof Deno.errors.TimedOut;
}

/** What a peer may know of why it was refused. */
function reasonOf(error: unknown): string {
  if (error instanceof RefusedError || error instanceof EndedError || error instanceof TypeError) {
    return error.message;
  }
  return error instanceof Error ? error.message : String(error);
}
