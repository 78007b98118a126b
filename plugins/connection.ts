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

/** Takes bytes; a promise holds up those that come after them. */
export type ByteTaker = (bytes: Uint8Array) => Promise<void> | void;

/** Who reads a connection, and the promise of its end. */
interface Reading {
  readonly take: ByteTaker;
  readonly resolve: () => void;
  readonly reject: (reason: unknown) => void;
}

/**
 * A connection whose writes go out in the order in which they were made.
 *
 * Nothing here throws or rejects but {@linkcode Connection.each}: where writing fails it is closed,
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
  /** Who takes what comes; undefined before it asks, and when it has been told of the end. */
  #reading: Reading | undefined;
  /** Whether it is not done with what it was given. */
  #isTaking = false;
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
   * Hands `take` whatever comes, one piece after the other, which are never overwritten, until the
   * connection is closed by either side. To be called once.
   *
   * @throws {Error} If the connection breaks, and what `take` throws, which then gets no more.
   */
  each(take: ByteTaker): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#reading = { take, resolve, reject };
      this.#deliver();
    });
  }

  /** Sends `parts` behind all that was sent before: for replies, which are few. */
  send(...parts: readonly Uint8Array[]): void {
    if (this.#closed) return;
    const bytes = concat(parts);
    if (this.#writer.write(bytes)) return;
    this.#replyBytes += bytes.length;
    this.#writer.whenReady(() => {
      this.#replyBytes -= bytes.length;
      this.#deliver();
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
    this.#deliver();
  }

  #onData(bytes: Uint8Array): void {
    if (this.#closed) return;
    // As a Buffer, which it is, its parts would be Buffers, too: their slice() makes no copy.
    const piece = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
    if (this.#canTake()) return this.#take(piece);
    this.#unread.push(piece);
    this.#unreadBytes += piece.length;
    if (this.#unreadBytes > MAX_UNREAD_BYTES) this.#socket.pause();
  }

  #onEnd(): void {
    this.#ended = true;
    this.#deliver();
  }

  #canTake(): boolean {
    return this.#reading !== undefined && !this.#isTaking && this.#replyBytes <= MAX_REPLY_BYTES;
  }

  /** Hands over what can be taken, and the end if nothing is before it. */
  #deliver(): void {
    while (this.#unread.length > 0 && this.#canTake()) {
      const bytes = this.#unread.shift() as Uint8Array;
      this.#unreadBytes -= bytes.length;
      if (this.#unread.length === 0 && this.#socket.isPaused()) this.#socket.resume();
      this.#take(bytes);
    }
    if (this.#isTaking) return;
    if (this.#closed) return this.#finish();
    if (this.#replyBytes > MAX_REPLY_BYTES) return;
    if (this.#ended || this.#error !== undefined) this.#finish(this.#error);
  }

  #take(bytes: Uint8Array): void {
    this.#isTaking = true;
    try {
      const pending = this.#reading?.take(bytes);
      if (pending) {
        pending.then(() => this.#onTaken(), (error) => this.#finish(error));
        return;
      }
    } catch (error) {
      return this.#finish(error);
    }
    this.#isTaking = false;
  }

  #onTaken(): void {
    this.#isTaking = false;
    this.#deliver();
  }

  /** Tells of the end, which is one by an error if there is one. Idempotent. */
  #finish(error?: unknown): void {
    const reading = this.#reading;
    this.#reading = undefined;
    if (error === undefined) reading?.resolve();
    else reading?.reject(error);
  }
}

const DISCONNECTS = ["ECONNRESET", "ECONNABORTED", "EPIPE", "ENOTCONN", "ETIMEDOUT", "EBADF"];

/** Whether `error` says no more than that the peer or the network ended a connection. */
export function isDisconnect(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return typeof code === "string" && DISCONNECTS.includes(code);
}
