/** An RTMP server on a free loopback port for tests, and a client that does what a test says. */

import rtmp from "../../plugins/rtmp/mod.ts";
import { ChunkReader } from "../../plugins/rtmp/chunk.ts";
import { writeMessage } from "../../plugins/rtmp/chunk_writer.ts";
import {
  commandMessage,
  controlMessage,
  parseCommand,
  parseControl,
  type RtmpCommand,
} from "../../plugins/rtmp/command.ts";
import { ClientHandshake } from "../../plugins/rtmp/handshake.ts";
import { MessageType, type RtmpMessage } from "../../plugins/rtmp/message.ts";
import { concat } from "../../src/bytes.ts";
import { type AmfInput, type AmfObject, encodeAmf0, isAmfObject } from "../../src/formats/amf.ts";
import type { EngineConfig } from "../../src/options.ts";
import { audioBody, audioHeader, videoBody, videoHeader } from "./frames.ts";
import { eventually, type PluginServer, startPlugin } from "./plugin_server.ts";

export { eventually, type PluginServer } from "./plugin_server.ts";

/** Chunk size that clients send with. */
const CHUNK_SIZE = 4096;
/** Largest message that clients take. */
const MAX_MESSAGE_BYTES = 0xff_ffff;

/** Starts an engine with the rtmp plugin on 127.0.0.1. */
export function startRtmp(
  options: Record<string, unknown> = {},
  config: EngineConfig = {},
): Promise<PluginServer> {
  return startPlugin({
    name: "RTMP",
    plugin: rtmp,
    options: { ...options },
    config,
  });
}

/** How a {@linkcode RtmpClient} begins. */
export interface RtmpClientOptions {
  /** Application. @default {"live"} */
  readonly app?: string;
  /** Further properties of the command object. */
  readonly object?: Record<string, AmfInput>;
  /** Certificates that a server of RTMPS is trusted by. */
  readonly caCerts?: string[];
  /** C0 and C1. @default {without a digest} */
  readonly hello?: Uint8Array;
}

/** An RTMP client. All that comes is kept; waiting for something looks at that first. */
export class RtmpClient implements AsyncDisposable {
  /** The messages so far. */
  readonly messages: RtmpMessage[] = [];
  /** The bytes so far, from the first one behind the handshake. */
  readonly pieces: Uint8Array[] = [];
  /** The socket. */
  readonly conn: Deno.Conn;
  /** Settles when the server has closed; with an error where it broke the connection. */
  readonly closed: Promise<unknown>;
  /** While set, nothing is read. */
  #hold: PromiseWithResolvers<void> | undefined;
  readonly #reader = new ChunkReader({ maxMessageBytes: MAX_MESSAGE_BYTES });
  readonly #handshake = new ClientHandshake();
  #isShaken = false;
  #taken = 0;
  #transaction = 1;
  #chunkSize = 128;
  #isClosed = false;

  private constructor(conn: Deno.Conn) {
    this.conn = conn;
    this.closed = this.#read();
  }

  /** Opens a connection to `url`, such as `rtmp://127.0.0.1:1935`, and sends nothing. */
  static async open(url: string, caCerts?: string[]): Promise<RtmpClient> {
    const { protocol, hostname, port } = new URL(url.replace("rtmp", "http"));
    const address = { hostname: hostname.replace(/[[\]]/g, ""), port: Number(port) };
    const conn = await Deno.connect(address);
    conn.setNoDelay(true);
    if (caCerts === undefined || protocol !== "https:") return new RtmpClient(conn);
    return new RtmpClient(await Deno.startTls(conn, { hostname: address.hostname, caCerts }));
  }

  /** Opens a connection and shakes hands. */
  static async shake(url: string, options: RtmpClientOptions = {}): Promise<RtmpClient> {
    const client = await RtmpClient.open(url, options.caCerts);
    await client.raw(options.hello ?? client.#handshake.hello);
    await eventually("the end of the handshake", () => client.#isShaken || client.isClosed);
    return client;
  }

  /** Opens a connection and sends `connect`. */
  static async connect(url: string, options: RtmpClientOptions = {}): Promise<RtmpClient> {
    const client = await RtmpClient.shake(url, options);
    const { app = "live", object = {} } = options;
    await client.setChunkSize(CHUNK_SIZE);
    await client.call("connect", { app, tcUrl: `${url}/${app}`, ...object });
    return client;
  }

  /** A client that publishes `name` and has been told that it does. */
  static async publish(
    url: string,
    name: string,
    options: RtmpClientOptions = {},
  ): Promise<RtmpClient> {
    const client = await RtmpClient.connect(url, options);
    await client.createStream();
    await client.command("publish", [name, "live"], 1);
    await client.status("NetStream.Publish.Start");
    return client;
  }

  /** A client that has asked to play `name`. */
  static async play(
    url: string,
    name: string,
    options: RtmpClientOptions = {},
  ): Promise<RtmpClient> {
    const client = await RtmpClient.connect(url, options);
    await client.createStream();
    await client.command("play", [name, -2000], 1);
    return client;
  }

  /** Whether the server has closed. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The bytes so far in one piece. */
  get bytes(): Uint8Array {
    return concat(this.pieces);
  }

  /** The audio and video messages so far. */
  get media(): RtmpMessage[] {
    return this.messages.filter(({ type }) =>
      type === MessageType.audio || type === MessageType.video
    );
  }

  /** The codes of the statuses so far. */
  get codes(): unknown[] {
    return this.messages.flatMap((message) => {
      const command = parseCommand(message);
      return command?.name === "onStatus" ? [infoOf(command).code] : [];
    });
  }

  /** Stops reading, or goes on. */
  hold(on: boolean): void {
    if (on) this.#hold ??= Promise.withResolvers();
    else {
      this.#hold?.resolve();
      this.#hold = undefined;
    }
  }

  /** Sends bytes as they are. */
  async raw(bytes: Uint8Array): Promise<void> {
    for (let offset = 0; offset < bytes.length;) {
      offset += await this.conn.write(bytes.subarray(offset));
    }
  }

  /** Sends a message. */
  async send(
    type: number,
    payload: Uint8Array,
    options: { timestampMs?: number; streamId?: number } = {},
  ): Promise<void> {
    const { timestampMs = 0, streamId = 1 } = options;
    const chunkStreamId = type < 8 ? 2 : type === MessageType.video ? 6 : 4;
    await this.raw(
      writeMessage(
        { type, payload: [payload], timestampMs, streamId, chunkStreamId },
        this.#chunkSize,
      ),
    );
  }

  /** Announces a chunk size and sends with it from then on. */
  async setChunkSize(bytes: number): Promise<void> {
    const message = controlMessage({ type: MessageType.setChunkSize, bytes });
    await this.raw(writeMessage(message, this.#chunkSize));
    this.#chunkSize = bytes;
  }

  /** Sends a user control message. */
  async event(event: number, value: number): Promise<void> {
    const message = controlMessage({ type: MessageType.userControl, event, value });
    await this.raw(writeMessage(message, this.#chunkSize));
  }

  /** Sends a command without a wish for an answer. */
  async command(name: string, args: readonly AmfInput[] = [], streamId = 0): Promise<void> {
    await this.raw(writeMessage(commandMessage({ name, args }, streamId), this.#chunkSize));
  }

  /** Sends a command and waits for its `_result` or `_error`. */
  async call(
    name: string,
    object: Record<string, AmfInput> | null = null,
    args: readonly AmfInput[] = [],
  ): Promise<RtmpCommand> {
    const transactionId = this.#transaction++;
    const command = commandMessage({ name, transactionId, object, args });
    await this.raw(writeMessage(command, this.#chunkSize));
    return await this.reply((reply) =>
      reply.name.startsWith("_") && reply.transactionId === transactionId
    );
  }

  /** Makes a message stream: its id. */
  async createStream(): Promise<number> {
    const { args } = await this.call("createStream");
    return Number(args[0]);
  }

  /** Waits for a command for which `matches`. */
  async reply(matches: (command: RtmpCommand) => boolean): Promise<RtmpCommand> {
    const find = () => {
      for (const message of this.messages) {
        const command = parseCommand(message);
        if (command !== undefined && matches(command)) return command;
      }
    };
    await eventually(
      `a command of ${this.codes.join(", ")}`,
      () => find() !== undefined || this.isClosed,
    );
    const found = find();
    if (found === undefined) throw new Error(`Closed after ${this.codes.join(", ")}`);
    return found;
  }

  /** Waits for the status `code`: its information object. */
  async status(code: string): Promise<AmfObject> {
    return infoOf(
      await this.reply((reply) => reply.name === "onStatus" && infoOf(reply).code === code),
    );
  }

  /** Waits for user control `event`: its value. */
  async userControl(event: number): Promise<number> {
    const find = () =>
      this.messages.map(parseControl)
        .find((control) => control?.type === MessageType.userControl && control.event === event);
    await eventually(`event ${event}`, () => find() !== undefined || this.isClosed);
    const found = find();
    if (found?.type !== MessageType.userControl) throw new Error(`Closed without event ${event}`);
    return found.value;
  }

  /** Waits until there are `count` audio and video messages that were not taken yet: those. */
  async take(count: number): Promise<RtmpMessage[]> {
    const from = this.#taken;
    await eventually(
      `${count} frames; there are ${this.media.length - from}`,
      () => this.media.length >= from + count || this.isClosed,
    );
    this.#taken = from + count;
    const taken = this.media.slice(from, from + count);
    if (taken.length < count) throw new Error(`Closed after ${taken.length} of ${count} frames`);
    return taken;
  }

  /** Publishes both sequence headers, after metadata that say that nothing else comes. */
  async pushHeaders(timestampMs = 0): Promise<void> {
    const metadata = { videocodecid: 7, audiocodecid: 10 };
    await this.send(
      MessageType.dataAmf0,
      encodeAmf0("@setDataFrame", "onMetaData", metadata),
      { timestampMs },
    );
    await this.send(MessageType.video, videoHeader(), { timestampMs });
    await this.send(MessageType.audio, audioHeader(), { timestampMs });
  }

  /**
   * Publishes frames 10 ms apart: `K` a keyframe, `v` another one, `a` audio. Their marks are their
   * places in `frames`.
   */
  async pushFrames(frames: string, fromMs = 0): Promise<void> {
    for (const [index, kind] of [...frames].entries()) {
      const timestampMs = fromMs + index * 10;
      if (kind === "a") await this.send(MessageType.audio, audioBody(index), { timestampMs });
      else await this.send(MessageType.video, videoBody(kind === "K", index), { timestampMs });
    }
  }

  /** Closes the socket without a word. */
  close(): void {
    this.hold(false);
    try {
      this.conn.close();
    } catch {
      // It is closed.
    }
  }

  /** Closes the socket and waits for the end of reading. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
    await this.closed;
  }

  async #read(): Promise<unknown> {
    const buffer = new Uint8Array(65_536);
    try {
      while (true) {
        await this.#hold?.promise;
        const count = await this.conn.read(buffer);
        if (count === null) return undefined;
        await this.#accept(buffer.slice(0, count));
      }
    } catch (error) {
      return error;
    } finally {
      this.#isClosed = true;
    }
  }

  async #accept(bytes: Uint8Array): Promise<void> {
    let rest = bytes;
    if (!this.#isShaken) {
      const step = this.#handshake.push(bytes);
      if (step.send) await this.raw(step.send);
      this.#isShaken = step.done;
      rest = step.rest;
    }
    if (rest.length > 0) this.pieces.push(rest);
    const reader = this.#reader;
    reader.feed(rest);
    for (let found = reader.next(); found; found = reader.next()) this.messages.push(found);
  }
}

/** What an FLV or RTMP video body of H.264 is. */
export function kindOf({ type, payload }: RtmpMessage): string {
  const isHeader = payload[1] === 0;
  if (type === MessageType.audio) return isHeader ? "A" : "a";
  return isHeader ? "V" : (payload[0] ?? 0) >> 4 === 1 ? "K" : "v";
}

function infoOf({ args }: RtmpCommand): AmfObject {
  const [info] = args;
  return info !== undefined && isAmfObject(info) ? info : {};
}
