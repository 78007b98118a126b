/** WebSockets on the sockets of the listener: the opening handshake, and all that comes after it. */

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Logger } from "../../src/log.ts";
import { SocketWriter } from "../../src/socket_writer.ts";
import { closeFrame, OPCODES, webSocketFrame } from "../websocket_frames.ts";
import type { WebSocketConnection, WebSocketHandlers } from "./service.ts";
import { WebSocketError, type WebSocketEvent, WebSocketReader } from "./websocket_reader.ts";

/** Why a handshake fails. */
export interface HandshakeFault {
  readonly status: 400 | 405 | 426;
  readonly error: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What is needed for a WebSocket besides its handlers. */
export interface WebSocketInit {
  /** The request that asks for it. */
  readonly incoming: IncomingMessage;
  /** What the client has sent behind the request. */
  readonly early: readonly Uint8Array[];
  /** Time, in ms, after which a client that takes nothing is cut off. */
  readonly writeTimeoutMs: number;
  readonly log: Logger;
}

/** The only version that there is. */
const VERSION = "13";
/** What the key is hashed with (RFC 6455 1.3). */
const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/** 16 bytes in Base64. */
const KEY = /^[A-Za-z0-9+/]{22}==$/;

/** Longest message from a client unless its handlers say otherwise: words, no media. */
const MAX_MESSAGE_BYTES = 65_536;
/** Time, in ms, for a client to take what is on its way and to answer a close frame. */
const CLOSE_TIMEOUT_MS = 5_000;
/** Time, in ms, for a client that broke the protocol to read why it is closed. */
const LINGER_MS = 1_000;

/** What is wrong with a request for a WebSocket (RFC 6455 4.2.1); undefined if it is fine. */
export function handshakeFault({ method, headers }: IncomingMessage): HandshakeFault | undefined {
  if (method !== "GET") {
    const error = `${method} cannot ask for a WebSocket: GET can`;
    return { status: 405, error, headers: { "Allow": "GET" } };
  }
  if (headers["sec-websocket-version"] !== VERSION) {
    const error = `WebSockets have version ${VERSION} here`;
    return { status: 426, error, headers: { "Sec-WebSocket-Version": VERSION } };
  }
  if (KEY.test(headers["sec-websocket-key"] ?? "")) return undefined;
  return { status: 400, error: "The request has no proper Sec-WebSocket-Key" };
}

/** A WebSocket from its opening to the end of its socket. */
export class ServerWebSocket implements WebSocketConnection {
  readonly #socket: Socket;
  readonly #handlers: WebSocketHandlers;
  readonly #log: Logger;
  readonly #writer: SocketWriter;
  readonly #reader: WebSocketReader;
  /** What the newest ping that has no answer yet carries. */
  #ping: Uint8Array | undefined;
  #closeSent = false;
  /** Whether nothing that the client says matters any more. */
  #deaf = false;
  #over = false;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Answers the request; `open` of the handlers is called before this returns. */
  constructor(init: WebSocketInit, handlers: WebSocketHandlers) {
    const { incoming, early, writeTimeoutMs, log } = init;
    const { socket } = incoming;
    this.#socket = socket;
    this.#handlers = handlers;
    this.#log = log;
    this.#reader = new WebSocketReader(handlers.maxMessageBytes ?? MAX_MESSAGE_BYTES);
    this.#writer = new SocketWriter(socket, {
      timeoutMs: writeTimeoutMs,
      onTimeout: () => socket.destroy(),
    });
    socket.setTimeout(0);
    socket.setNoDelay(true);
    socket.once("close", () => {
      clearTimeout(this.#timer);
      this.#writer.stop();
      this.#finish();
    });
    this.#writer.write(acceptance(incoming.headers["sec-websocket-key"] ?? ""));
    this.#run(() => handlers.open(this));
    for (const bytes of early) this.#read(bytes);
    socket.on("data", (bytes) => this.#read(bytes));
    socket.once("end", () => socket.destroySoon());
    socket.resume();
  }

  send(message: string | Uint8Array): boolean {
    const opcode = typeof message === "string" ? OPCODES.text : OPCODES.binary;
    return this.writeFrames(webSocketFrame(opcode, message));
  }

  writeFrames(frames: Uint8Array): boolean {
    return !this.#over && this.#writer.write(frames);
  }

  whenReady(onReady: () => void): void {
    this.#writer.whenReady(onReady);
  }

  close(code = 1000, reason?: string): void {
    this.#close(closeFrame(code, reason), CLOSE_TIMEOUT_MS);
  }

  #close(frame: Uint8Array, timeoutMs: number): void {
    if (this.#closeSent || this.#socket.destroyed) return;
    this.#closeSent = true;
    this.#finish();
    this.#timer = setTimeout(() => this.#socket.destroy(), timeoutMs);
    this.#writer.write(frame);
  }

  #read(bytes: Uint8Array): void {
    if (this.#deaf) return;
    try {
      for (const event of this.#reader.push(bytes)) {
        this.#take(event);
        if (this.#deaf) return;
      }
    } catch (error) {
      if (!(error instanceof WebSocketError)) throw error;
      this.#deaf = true;
      this.#log.debug("a WebSocket was closed: {error}", { error });
      this.#close(closeFrame(error.code, error.message), LINGER_MS);
    }
  }

  #take(event: WebSocketEvent): void {
    switch (event.type) {
      case "message":
        if (!this.#over) this.#run(() => this.#handlers.message?.(event.data));
        return;
      case "ping":
        return this.#pong(event.payload);
      case "close": {
        this.#deaf = true;
        const { code } = event;
        const answer = code === undefined ? webSocketFrame(OPCODES.close, "") : closeFrame(code);
        this.#close(answer, CLOSE_TIMEOUT_MS);
        // The server is the one that closes the connection (RFC 6455 7.1.1).
        this.#socket.destroySoon();
      }
    }
  }

  /**
   * Answers a ping. One that comes while the client doesn't read takes the place of those before it
   * (RFC 6455 5.5.3), so that a flood of them costs nothing.
   */
  #pong(payload: Uint8Array): void {
    const waits = this.#ping !== undefined;
    this.#ping = payload;
    if (!this.#writer.stalled) return this.#answerPing();
    if (!waits) this.#writer.whenReady(() => this.#answerPing());
  }

  #answerPing(): void {
    if (this.#ping !== undefined) this.writeFrames(webSocketFrame(OPCODES.pong, this.#ping));
    this.#ping = undefined;
  }

  /** Says once that nothing more will arrive. */
  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#run(() => this.#handlers.close?.());
  }

  /** Calls a handler; where it fails, the WebSocket ends with an error of the server. */
  #run(handler: () => void): void {
    try {
      handler();
    } catch (error) {
      this.#log.error("a WebSocket failed: {error}", { error });
      this.close(1011, "The server failed");
    }
  }
}

/** The answer that opens a WebSocket (RFC 6455 4.2.2). */
function acceptance(key: string): Uint8Array {
  const accept = createHash("sha1").update(key + GUID).digest("base64");
  return Buffer.from(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
}
