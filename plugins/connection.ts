/**
 * The byte side of a session over TCP: reads, writes in order, and notices a peer that takes nothing.
 */

import type { Socket } from "node:net";
import { concat } from "../src/bytes.ts";
import { SocketWriter } from "../src/socket_writer.ts";

/** Bytes that wait for a session that is busy, after which the peer is held up. */
const MAX_UNREAD_BYTES = 65_536;
/**
 * Replies waiting to be sent after which nothing more is read: a peer that sends and does not read
 * waits for itself.
 */
const MAX_REPLY_BYTES = 65_536;

/**
 * A connection whose writes go out in the order in which they were made.
 *
 * Nothing here throws or rejects but {@linkcode Connection.read}: where writing fails it is closed,
 * and reading shows it.
 */
export class Connection {
  /** Settles when it is closed, by either side; also while nobody reads. */
  readonly over: Promise<void>;
  readonly #socket: Socket;
  readonly #writer: SocketWriter;
  #unread: Uint8Array[] = [];
  #unreadBytes = 0;
  /** Bytes given to {@linkcode Connection.send} that the peer has not taken. */
  #replyBytes = 0;
  /** Told of whatever a reader may wait for. */
  #onChange: (() => void) | undefined;
  #ended = false;
  #closed = false;
  #error: Error | undefined;
  #failure: string | undefined;

  /** Over `socket`; a peer that takes nothing for `writeTimeoutMs` is cut off. */
  constructor(socket: Socket, writeTimeoutMs: number) {
    this.#socket = socket;
    this.#writer = new SocketWriter(socket, {
      timeoutMs: writeTimeoutMs,
      onTimeout: () => {
        this.#failure = `it took nothing for ${writeTimeoutMs / 1000} s`;
        this.close();
      },
    });
    socket.on("data", (bytes) => this.#onData(bytes));
    socket.on("error", (error) => this.#error = error);
    socket.once("end", () => this.#onEnd());
    this.over = new Promise((resolve) => {
      socket.once("close", () => {
        this.#writer.stop();
        this.#onEnd();
        resolve();
      });
    });
  }

  /** Whether it is closed from this side. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Why it closed itself; undefined if it did not. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /**
   * The next bytes, never to be overwritten; undefined at the end.
   *
   * @throws {Error} If the connection breaks.
   */
  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      if (this.#closed) return undefined;
      if (this.#replyBytes <= MAX_REPLY_BYTES) {
        if (this.#unread.length > 0) return this.#takeUnread();
        if (this.#error !== undefined) throw this.#error;
        if (this.#ended) return undefined;
      }
      await new Promise<void>((resolve) => this.#onChange = resolve);
    }
  }

  /** Sends `parts` behind all that was sent before: for replies, which are few. */
  send(...parts: readonly Uint8Array[]): void {
    if (this.#closed) return;
    const bytes = concat(parts);
    if (this.#writer.write(bytes)) return;
    this.#replyBytes += bytes.length;
    this.#writer.whenReady(() => {
      this.#replyBytes -= bytes.length;
      this.#changed();
    });
  }

  /**
   * Sends `bytes` behind all that was sent before; false if no more should be written before
   * {@linkcode Connection.whenReady}.
   */
  write(bytes: Uint8Array): boolean {
    return !this.#closed && this.#writer.write(bytes);
  }

  /** Calls `onReady` once when the peer has taken all. */
  whenReady(onReady: () => void): void {
    this.#writer.whenReady(onReady);
  }

  /** Tells the peer that nothing more will come, behind all that was sent before. */
  closeWrite(): void {
    if (!this.#closed) this.#socket.end();
  }

  /** Closes at once; reads end, what is not sent is dropped. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#writer.stop();
    this.#unread = [];
    this.#socket.destroy();
    this.#changed();
  }

  #onData(bytes: Uint8Array): void {
    if (this.#closed) return;
    // As a Buffer, which it is, its parts would be Buffers, too: their slice() makes no copy.
    this.#unread.push(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length));
    this.#unreadBytes += bytes.length;
    if (this.#unreadBytes > MAX_UNREAD_BYTES) this.#socket.pause();
    this.#changed();
  }

  #onEnd(): void {
    this.#ended = true;
    this.#changed();
  }

  #takeUnread(): Uint8Array | undefined {
    const bytes = this.#unread.shift();
    this.#unreadBytes -= bytes?.length ?? 0;
    if (this.#unread.length === 0 && this.#socket.isPaused()) this.#socket.resume();
    return bytes;
  }

  #changed(): void {
    const onChange = this.#onChange;
    this.#onChange = undefined;
    onChange?.();
  }
}

const DISCONNECTS = ["ECONNRESET", "ECONNABORTED", "EPIPE", "ENOTCONN", "ETIMEDOUT", "EBADF"];

/** Whether `error` says no more than that the peer or the network ended a connection. */
export function isDisconnect(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return typeof code === "string" && DISCONNECTS.includes(code);
}
