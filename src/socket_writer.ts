/** The way from a live source to a socket, without a promise or an object a piece. */

import { WriteWatch } from "./write_watch.ts";

/** What is asked of a socket: `Socket` of `node:net` and `node:tls` are ones. */
export interface WritableSocket {
  /** Whether it takes bytes. */
  readonly writable: boolean;
  /** Bytes that it holds because the peer has not taken them. */
  readonly writableLength: number;
  /** Whether it speaks TLS: then it takes bytes later than at once, and none that are empty. */
  readonly encrypted?: boolean;
  /** Sends `bytes`, at once if the system takes them, and calls `onWritten` then. */
  write(bytes: Uint8Array, onWritten?: () => void): boolean;
}

/** What a {@linkcode SocketWriter} tells. */
export interface SocketWriterInit {
  /** How long the peer may take nothing, in ms. */
  readonly timeoutMs: number;
  /** Called once when the peer has taken nothing for that long. */
  readonly onTimeout: () => void;
  /** Milliseconds of a clock that never goes back. @default {performance.now} */
  readonly nowMs?: () => number;
}

/**
 * Writes to a socket as fast as the peer takes the bytes, and notices a peer that takes nothing.
 *
 * At most one piece waits in the socket: who writes stops there and is called when it has gone.
 */
export class SocketWriter {
  readonly #socket: WritableSocket;
  readonly #watch: WriteWatch;
  readonly #onWritten = () => this.#resume();
  #stalled = false;
  /** Writes whose end is awaited. */
  #pending = 0;
  #waiting: (() => void)[] = [];

  /** A writer to `socket`. */
  constructor(socket: WritableSocket, { timeoutMs, onTimeout, nowMs }: SocketWriterInit) {
    this.#socket = socket;
    this.#watch = new WriteWatch(timeoutMs, onTimeout, nowMs);
  }

  /** Whether the socket holds something that the peer has not taken yet. */
  get stalled(): boolean {
    return this.#stalled;
  }

  /** Sends `bytes`; false if the peer has not taken all: no more should be written until then. */
  write(bytes: Uint8Array): boolean {
    const socket = this.#socket;
    if (this.#stalled || socket.encrypted) {
      this.#await(bytes);
      return false;
    }
    socket.write(bytes);
    // A socket that is broken takes all and says so later.
    if (socket.writableLength === 0) return socket.writable;
    // Nothing of it is sent: it comes back when all before it is.
    this.#await(NOTHING);
    return false;
  }

  /** Calls `onReady` once when the peer has taken all. */
  whenReady(onReady: () => void): void {
    this.#waiting.push(onReady);
  }

  /** Says that the last bytes are on their way: the peer must take them in time. */
  finish(): void {
    this.#watch.begin();
  }

  /** Watches no more. Idempotent. */
  stop(): void {
    this.#watch.stop();
    this.#waiting = [];
  }

  #await(bytes: Uint8Array): void {
    this.#stalled = true;
    this.#pending++;
    this.#watch.begin();
    this.#socket.write(bytes, this.#onWritten);
  }

  #resume(): void {
    if (--this.#pending > 0) return this.#watch.begin();
    this.#stalled = false;
    this.#watch.end();
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const onReady of waiting) onReady();
  }
}

const NOTHING = new Uint8Array();
