/** A stream on its way into a WebSocket. */

import { EndedError } from "../../src/errors.ts";
import type { Logger } from "../../src/log.ts";
import { type Pump, pump, type Sink } from "../../src/readable.ts";
import type { WebSocketConnection, WebSocketHandlers } from "../http/service.ts";
import type { View } from "../play.ts";

/** What is played, and how. */
export interface PlaybackInit {
  /** Its body is of batches of a `messageFormat`. */
  readonly view: View;
  readonly log: Logger;
}

/** Longest message of a viewer in bytes, who has nothing to say: it is passed over. */
const MAX_MESSAGE_BYTES = 4096;

/** With an HTTP status added, the close code of what is refused (RFC 6455 7.4.2). */
const REFUSED = 4000;

/** The handlers of a WebSocket that plays `view` from when it is open. */
export function playback({ view, log }: PlaybackInit): WebSocketHandlers {
  const { subscriber } = view;
  // It is passed by once it is on its way, and not kept for as long as the viewer stays.
  let body: View["body"] | undefined = view.body;
  return {
    maxMessageBytes: MAX_MESSAGE_BYTES,
    open(socket) {
      if (body === undefined) return;
      const playing: Pump = pump(body, new SocketSink(socket, log, () => playing.resume()));
      body = undefined;
    },
    // What is left of the handshake or the socket is no more of the subscriber's.
    close: () => subscriber.close(),
  };
}

/** The handlers of a WebSocket that is open before it is clear what it plays. */
export function latePlayback(opening: Promise<View | Response>, log: Logger): WebSocketHandlers {
  let playing: WebSocketHandlers | undefined;
  const begin = async (socket: WebSocketConnection) => {
    const view = await opening;
    if (view instanceof Response) {
      const { error } = await view.json();
      return socket.close(REFUSED + view.status, error);
    }
    playing = playback({ view, log });
    playing.open(socket);
  };
  return {
    maxMessageBytes: MAX_MESSAGE_BYTES,
    open(socket) {
      begin(socket).catch((error) => {
        log.error("a stream cannot be played: {error}", { error });
        socket.close(1011, "The server failed");
      });
    },
    // While the stream is waited for, the viewer ends with its request.
    close: () => playing?.close?.(),
  };
}

/** Sends batches to one viewer, without a promise or an object each. */
class SocketSink implements Sink<Uint8Array> {
  readonly borrows = true;
  readonly #socket: WebSocketConnection;
  readonly #log: Logger;
  readonly #onReady: () => void;

  constructor(socket: WebSocketConnection, log: Logger, onReady: () => void) {
    this.#socket = socket;
    this.#log = log;
    this.#onReady = onReady;
  }

  write(batch: Uint8Array): boolean {
    if (this.#socket.writeFrames(batch)) return true;
    this.#socket.whenReady(this.#onReady);
    return false;
  }

  close(): void {
    this.#socket.close(1000, "The stream has ended");
  }

  abort(error: unknown): void {
    if (error instanceof EndedError) {
      const { code, detail } = error.end;
      if (code === "kicked") return this.#socket.close(1008, detail);
      // It is not the viewer that has left: its socket would be closed.
      return this.#socket.close(1001, "The server stops");
    }
    this.#log.error("a stream cannot be played: {error}", { error });
    this.#socket.close(1011, "The server failed");
  }
}
