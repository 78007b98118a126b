/** What a session says to its peer, in the words of RTMP 1.0 7.2. */

import { type AmfInput, encodeAmf0 } from "../../src/formats/amf.ts";
import type { Connection } from "../connection.ts";
import { DEFAULT_CHUNK_SIZE } from "./chunk.ts";
import { writeMessage } from "./chunk_writer.ts";
import { commandMessage, controlMessage, statusMessage } from "./command.ts";
import { DATA_CHUNK_STREAM } from "./format.ts";
import { MessageType, type OutgoingMessage } from "./message.ts";

/** The half of a session that writes, but for what players get of streams. */
export class Replies {
  readonly #connection: Connection;
  #chunkSize = DEFAULT_CHUNK_SIZE;
  #sent = 0;

  /** Over `connection`. */
  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Messages sent so far. */
  get sent(): number {
    return this.#sent;
  }

  /** Payload bytes a chunk, as they have been announced. */
  get chunkSize(): number {
    return this.#chunkSize;
  }

  set chunkSize(bytes: number) {
    this.send(controlMessage({ type: MessageType.setChunkSize, bytes }));
    this.#chunkSize = bytes;
  }

  /** Sends `messages` in their order. */
  send(...messages: readonly OutgoingMessage[]): void {
    this.#sent += messages.length;
    this.#connection.send(...messages.map((message) => writeMessage(message, this.#chunkSize)));
  }

  /** Sends a user control message. */
  event(event: number, value: number): void {
    this.send(controlMessage({ type: MessageType.userControl, event, value }));
  }

  /** Sends an `onStatus` about message stream `streamId`. */
  status(streamId: number, code: string, description: string): void {
    this.send(statusMessage({ level: "status", code, description }, streamId));
  }

  /** Sends an `onStatus` that says that something on message stream `streamId` is over. */
  error(streamId: number, code: string, description: string): void {
    this.send(statusMessage({ level: "error", code, description }, streamId));
  }

  /** Calls the peer's `name` with a status, as servers do after `FCPublish` and its like. */
  notify(name: string, code: string, description: string): void {
    this.send(commandMessage({ name, args: [{ level: "status", code, description }] }));
  }

  /** Sends a data message on message stream `streamId`. */
  data(streamId: number, ...values: readonly AmfInput[]): void {
    this.send({
      type: MessageType.dataAmf0,
      streamId,
      timestampMs: 0,
      chunkStreamId: DATA_CHUNK_STREAM,
      payload: [encodeAmf0(...values)],
    });
  }
}
