/** A client of RTMP servers for the load in Deno. */

import { TAG_AUDIO, TAG_VIDEO } from "../../src/formats/flv.ts";
import { ChunkReader } from "../../plugins/rtmp/chunk.ts";
import { writeMessage } from "../../plugins/rtmp/chunk_writer.ts";
import {
  commandMessage,
  controlMessage,
  type OutgoingCommand,
  parseCommand,
  parseControl,
  UserControlEvent,
} from "../../plugins/rtmp/command.ts";
import { ClientHandshake } from "../../plugins/rtmp/handshake.ts";
import { MessageType, type RtmpMessage } from "../../plugins/rtmp/message.ts";

const OUT_CHUNK_BYTES = 60_000;
const READ_BYTES = 65_536;

/** The client's side of an RTMP connection, up to `publish` or `play`. */
export class RtmpClient {
  readonly #conn: Deno.Conn;
  readonly #reader = new ChunkReader();
  readonly #buffer = new Uint8Array(READ_BYTES);
  #streamId = 0;
  #chunkSize = 128;
  #writing: Promise<unknown> = Promise.resolve();
  #ackWindow = 0;
  #acknowledged = 0;
  #queued = 0;

  /** Over `conn`. */
  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  /** Messages that wait to be sent. */
  get queued(): number {
    return this.#queued;
  }

  /** Sends behind what was sent before. */
  write(bytes: Uint8Array): void {
    this.#queued++;
    this.#writing = this.#writing.then(async () => {
      for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
      this.#queued--;
    }).catch(() => {});
  }

  /** Sends a message of the stream. */
  send(type: number, timestampMs: number, payload: readonly Uint8Array[]): void {
    const chunkStreamId = type === TAG_VIDEO ? 6 : type === TAG_AUDIO ? 4 : 5;
    const message = { type, timestampMs, payload, chunkStreamId, streamId: this.#streamId };
    this.write(writeMessage(message, this.#chunkSize));
  }

  /** The messages that come, with the number of bytes that brought them. */
  async *run(url: URL, start: "publish" | "play"): AsyncGenerator<[RtmpMessage[], number]> {
    const handshake = new ClientHandshake();
    this.write(handshake.hello);
    const [, app = "", name = ""] = url.pathname.split("/");
    let shaken = false;
    while (true) {
      const count = await this.#conn.read(this.#buffer);
      if (count === null) throw new Error("the server closed the connection");
      let bytes: Uint8Array = this.#buffer.slice(0, count);
      if (!shaken) {
        const step = handshake.push(bytes);
        if (step.send) this.write(step.send);
        bytes = step.rest;
        if (step.done) {
          shaken = true;
          const tcUrl = `rtmp://${url.host}/${app}`;
          const object = { app, type: "nonprivate", flashVer: "LNX 9,0,124,2", tcUrl };
          this.#command({ name: "connect", transactionId: 1, object });
        }
      }
      const messages: RtmpMessage[] = [];
      this.#reader.feed(bytes);
      for (let next = this.#reader.next(); next; next = this.#reader.next()) {
        messages.push(next);
        this.#answer(next, name, start);
      }
      const { bytesReceived } = this.#reader;
      if (this.#ackWindow > 0 && bytesReceived - this.#acknowledged >= this.#ackWindow) {
        this.#acknowledged = bytesReceived;
        const type = MessageType.acknowledgement;
        this.#control({ type, sequence: bytesReceived % 2 ** 32 });
      }
      yield [messages, count];
    }
  }

  #answer(message: RtmpMessage, name: string, start: "publish" | "play"): void {
    const control = parseControl(message);
    if (control?.type === MessageType.windowAckSize) this.#ackWindow = control.bytes;
    if (
      control?.type === MessageType.userControl && control.event === UserControlEvent.pingRequest
    ) {
      const event = UserControlEvent.pingResponse;
      this.#control({ type: control.type, event, value: control.value });
    }
    const command = parseCommand(message);
    if (command === undefined) return;
    if (command.name === "_error") throw new Error("the server refused");
    if (command.name !== "_result") return;
    if (command.transactionId === 1) this.#command({ name: "createStream", transactionId: 2 });
    if (command.transactionId !== 2) return;
    this.#streamId = Number(command.args[0]);
    const args = start === "publish" ? [name, "live"] : [name];
    this.#command({ name: start, transactionId: 3, args });
    if (start === "play") return;
    this.#control({ type: MessageType.setChunkSize, bytes: OUT_CHUNK_BYTES });
    this.#chunkSize = OUT_CHUNK_BYTES;
  }

  #command(command: OutgoingCommand): void {
    this.write(writeMessage(commandMessage(command, this.#streamId), this.#chunkSize));
  }

  #control(control: Parameters<typeof controlMessage>[0]): void {
    this.write(writeMessage(controlMessage(control), this.#chunkSize));
  }
}
