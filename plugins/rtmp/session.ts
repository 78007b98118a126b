/** One RTMP connection: handshake, protocol control and commands (RTMP 1.0 5 and 7). */

import { InvalidDataError } from "../../src/errors.ts";
import { type Connection, isDisconnect } from "../connection.ts";
import { capabilitiesFor } from "./capabilities.ts";
import { ChunkReader } from "./chunk.ts";
import {
  BandwidthLimit,
  controlMessage,
  parseCommand,
  parseControl,
  resultMessage,
  type RtmpCommand,
  splitAggregate,
  UserControlEvent,
} from "./command.ts";
import { ServerHandshake } from "./handshake.ts";
import { MessageType, type RtmpMessage } from "./message.ts";
import { MessageStreams, type SessionHost } from "./message_streams.ts";
import { Replies } from "./replies.ts";

/** Bytes after which a peer is to acknowledge: seconds of video, so that it hardly counts. */
const WINDOW_BYTES = 5_000_000;
/** Most characters of a command's name in the log. */
const MAX_NAME_LOGGED = 40;
/** Longest time from the last reply to the close of the connection. */
const LINGER_MS = 500;

/** A connection from its first byte to its last. */
export class RtmpSession {
  readonly #host: SessionHost;
  readonly #connection: Connection;
  readonly #peer: string;
  readonly #reader: ChunkReader;
  readonly #replies: Replies;
  /** What comes first; undefined once it is done. */
  #handshake: ServerHandshake | undefined = new ServerHandshake();
  /** Replies sent before what is read now came. */
  #said = 0;
  readonly #streams: MessageStreams;
  #connected = false;
  /** Whether nothing is taken from the peer any more. */
  #over = false;
  #windowBytes = WINDOW_BYTES;
  #ackWindowBytes = 0;
  #acknowledged = 0;
  /** What a peer that says nothing has been: not asked yet, or asked for a sign of life. */
  #silence: "none" | "quiet" | "asked" = "none";
  #linger: ReturnType<typeof setTimeout> | undefined;
  #reason: string | undefined;

  /** A session of the peer at the other end of `connection`. */
  constructor(connection: Connection, peer: string, host: SessionHost) {
    this.#connection = connection;
    this.#peer = peer;
    this.#host = host;
    this.#reader = new ChunkReader({ maxMessageBytes: host.options.MaxMessageSize });
    this.#replies = new Replies(connection);
    this.#streams = new MessageStreams({
      host,
      connection,
      peer,
      replies: this.#replies,
      onLeave: (reason) => this.#leave(reason),
    });
  }

  /** Serves the connection until it ends; the reason if something was wrong. Never rejects. */
  async run(): Promise<string | undefined> {
    try {
      await this.#connection.each((bytes) => this.#onBytes(bytes));
      this.#end(this.#connection.failure ?? "its connection was closed");
    } catch (error) {
      this.#onError(error);
    }
    clearTimeout(this.#linger);
    this.#connection.close();
    return this.#reason ?? this.#connection.failure;
  }

  /** Ends it once what has been said so far is sent, and the peer has had a moment to read it. */
  stop(): void {
    this.#leave();
  }

  /** Ends it at once because of `reason`. */
  close(reason: string): void {
    this.#reason ??= reason;
    this.#connection.close();
    this.#end(reason);
  }

  /**
   * Called every `seconds`: a peer that was silent since the last call is asked for a sign of life,
   * and one that has given none until the next call is gone.
   */
  checkLife(seconds: number): void {
    if (this.#silence === "asked") return this.close(`it gave no sign of life for ${seconds} s`);
    if (this.#silence === "none") {
      this.#silence = "quiet";
      return;
    }
    this.#silence = "asked";
    this.#replies.event(UserControlEvent.pingRequest, Math.floor(performance.now()) % 2 ** 32);
  }

  #onBytes(bytes: Uint8Array): Promise<void> | void {
    this.#silence = "none";
    // What comes after our last word is read all the same: unread, it would take that word away.
    if (this.#over) return;
    const rest = this.#handshake === undefined ? bytes : this.#shakeHands(this.#handshake, bytes);
    this.#said = this.#replies.sent;
    this.#reader.feed(rest);
    return this.#onMessages();
  }

  /** Gives what comes behind the handshake. */
  #shakeHands(handshake: ServerHandshake, bytes: Uint8Array): Uint8Array {
    const { send, done, rest } = handshake.push(bytes);
    if (send) this.#connection.send(send);
    if (done) this.#handshake = undefined;
    return rest;
  }

  /** Takes the messages that have come; what comes after a command waits for its answer. */
  #onMessages(): Promise<void> | void {
    while (!this.#over) {
      const message = this.#reader.next();
      if (message === undefined) break;
      const answered = this.#onMessage(message);
      if (answered) return answered.then(() => this.#onMessages());
    }
    const isSilent = this.#handshake === undefined && this.#replies.sent === this.#said;
    this.#acknowledge(isSilent && this.#streams.isIdle);
  }

  #onMessage(message: RtmpMessage): Promise<void> | void {
    switch (message.type) {
      case MessageType.audio:
      case MessageType.video:
      case MessageType.dataAmf0:
      case MessageType.dataAmf3:
        return this.#streams.publication(message.streamId)?.push(message);
      case MessageType.aggregate: {
        const publication = this.#streams.publication(message.streamId);
        for (const part of splitAggregate(message)) publication?.push(part);
        return;
      }
      case MessageType.commandAmf0:
      case MessageType.commandAmf3: {
        const command = parseCommand(message);
        return command && this.#onCommand(command, message.streamId);
      }
      default:
        return this.#onControl(message);
    }
  }

  #onControl(message: RtmpMessage): void {
    const control = parseControl(message);
    switch (control?.type) {
      case MessageType.windowAckSize:
        this.#ackWindowBytes = control.bytes;
        return;
      case MessageType.setPeerBandwidth: {
        // Answered if it is another window than the peer knows of (RTMP 1.0 5.4.5).
        const { bytes } = control;
        if (bytes === this.#windowBytes) return;
        this.#windowBytes = bytes;
        return this.#replies.send(controlMessage({ type: MessageType.windowAckSize, bytes }));
      }
      case MessageType.userControl:
        if (control.event === UserControlEvent.pingRequest) {
          this.#replies.event(UserControlEvent.pingResponse, control.value);
        }
    }
  }

  #onCommand(command: RtmpCommand, streamId: number): Promise<void> | void {
    const { name, transactionId: id, args } = command;
    const streams = this.#streams;
    if (name === "connect") return this.#onConnect(command);
    if (!this.#connected) {
      const shown = JSON.stringify(name.slice(0, MAX_NAME_LOGGED));
      throw new InvalidDataError(`Cannot take command ${shown}: connect must come first`);
    }
    switch (name) {
      case "createStream":
        return streams.create(id);
      case "publish":
        return streams.publish(streamId, args[0]);
      case "play":
        return streams.play(streamId, args[0]);
      case "pause":
        return streams.pause(streamId, args[0] === true);
      case "receiveAudio":
        return streams.select(streamId, "audio", args[0] === true);
      case "receiveVideo":
        return streams.select(streamId, "video", args[0] === true);
      case "closeStream":
        return streams.reset(streamId);
      case "deleteStream":
        return streams.delete(Number(args[0]));
      case "_result":
      case "_error":
        return;
      default:
        return this.#onCall(command);
    }
  }

  /** Calls that want no more than an answer: FCPublish and its like, and any that is not known. */
  #onCall({ name, transactionId: id, args }: RtmpCommand): void {
    const replies = this.#replies;
    if (name === "FCUnpublish") this.#streams.unpublish(args[0]);
    if (id > 0) replies.send(resultMessage(id, name === "getStreamLength" ? { args: [0] } : {}));
    const about = typeof args[0] === "string" ? args[0] : "";
    switch (name) {
      case "FCPublish":
        return replies.notify("onFCPublish", "NetStream.Publish.Start", about);
      case "FCUnpublish":
        return replies.notify("onFCUnpublish", "NetStream.Unpublish.Success", about);
      case "FCSubscribe":
        return replies.notify("onFCSubscribe", "NetStream.Play.Start", about);
    }
  }

  #onConnect({ transactionId, object }: RtmpCommand): void {
    if (this.#connected) throw new InvalidDataError("Cannot take command connect: it came before");
    this.#connected = true;
    this.#streams.connect = object;
    const replies = this.#replies;
    replies.send(
      controlMessage({ type: MessageType.windowAckSize, bytes: WINDOW_BYTES }),
      controlMessage({
        type: MessageType.setPeerBandwidth,
        bytes: WINDOW_BYTES,
        limit: BandwidthLimit.dynamic,
      }),
    );
    replies.chunkSize = this.#host.options.ChunkSize;
    replies.send(resultMessage(transactionId, {
      object: { fmsVer: "FMS/3,5,7,7009", capabilities: 31, mode: 1 },
      args: [{
        level: "status",
        code: "NetConnection.Connect.Success",
        description: "Connection succeeded.",
        objectEncoding: object?.objectEncoding === 3 ? 3 : 0,
        ...capabilitiesFor(object),
      }],
    }));
  }

  #onError(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    if (error instanceof InvalidDataError) {
      this.#reason ??= reason;
      return this.#end(reason, error);
    }
    if (!this.#over && !this.#connection.closed && !isDisconnect(error)) {
      this.#reason ??= reason;
      this.#host.context.log.debug("{peer} failed: {error}", { peer: this.#peer, error });
    }
    this.#end(this.#connection.failure ?? reason);
  }

  /** Lets the last replies out and the peer read them, then closes. */
  #leave(reason?: string): void {
    if (this.#over) return;
    this.#reason ??= reason;
    this.#end(reason ?? "its session ended");
    this.#linger = setTimeout(() => this.#connection.close(), LINGER_MS);
    this.#connection.closeWrite();
  }

  #end(detail: string, error?: InvalidDataError): void {
    this.#over = true;
    this.#streams.end(detail, error);
  }

  /**
   * Acknowledges what was received, if it is a window's worth or `atOnce`.
   *
   * Many clients send each step to `publish` or `play` in two small writes. Their system holds the
   * second back until the first is acknowledged (RFC 1122 4.2.3.4), and ours would wait 40 ms for
   * something to say (4.2.3.2). So there is something to say.
   */
  #acknowledge(atOnce: boolean): void {
    const received = this.#reader.bytesReceived;
    const window = this.#ackWindowBytes;
    if (!atOnce && (window === 0 || received - this.#acknowledged < window)) return;
    this.#acknowledged = received;
    const sequence = received % 2 ** 32;
    this.#replies.send(controlMessage({ type: MessageType.acknowledgement, sequence }));
  }
}
