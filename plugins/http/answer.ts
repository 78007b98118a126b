/** How answers get to their sockets. */

import { Buffer } from "node:buffer";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { EndedError } from "../../src/errors.ts";
import type { Logger } from "../../src/log.ts";
import { type Pump, pump, type Sink } from "../../src/readable.ts";
import { WriteWatch } from "./write_watch.ts";
import type { RequestScope } from "./request.ts";

/** A request that is to be answered. */
export interface Exchange {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
  readonly scope: RequestScope;
  readonly log: Logger;
  /** What live bodies have in common. */
  readonly views: LiveViews;
  /** Time after which a client that takes nothing is cut off. */
  readonly writeTimeoutMs: number;
}

/** Pieces of live bodies as what sockets write, made once for all viewers of a piece. */
export class BufferViews {
  readonly #chunked: boolean;
  #bytes: Uint8Array | undefined;
  #buffer = Buffer.alloc(0);

  /** As chunks (RFC 9112 7.1), or as they are. */
  constructor(chunked: boolean) {
    this.#chunked = chunked;
  }

  /** What comes after the last piece. */
  get end(): string {
    return this.#chunked ? "0\r\n\r\n" : "";
  }

  /** The same as last time, if the bytes are. */
  of(bytes: Uint8Array<ArrayBuffer>): Buffer {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#buffer = this.#chunked
        ? Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, LINE_END])
        : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    }
    return this.#buffer;
  }
}

const LINE_END = Buffer.from("\r\n");

/** For clients that know chunks, as all of HTTP/1.1 do, and for those of HTTP/1.0. */
export interface LiveViews {
  readonly chunked: BufferViews;
  readonly plain: BufferViews;
}

type Bytes = Uint8Array<ArrayBuffer>;

/** How long a client may go on sending a body that nobody reads, for it to get the answer. */
const LINGER_MS = 500;

/** Answers a request with `response`. It does not throw. */
export function send(response: Response, exchange: Exchange): void {
  const { incoming, outgoing, scope } = exchange;
  const body = response.body as ReadableStream<Bytes> | null;
  if (outgoing.destroyed || outgoing.socket === null) {
    // The client has gone.
    body?.cancel().catch(() => {});
    return;
  }
  const { socket } = incoming;
  if (body !== null && scope.isLive(body) && incoming.method === "GET") {
    const views = incoming.httpVersion === "1.0" ? exchange.views.plain : exchange.views.chunked;
    flushHead(response, outgoing, views === exchange.views.chunked);
    // Nothing that the client says matters any more, but that it leaves.
    incoming.resume();
    return new LiveAnswer(socket, views, exchange).start(body);
  }
  outgoing.once("finish", () => linger(incoming));
  sendOrdinary(response, body, exchange).catch((error) => fail(error, exchange));
}

/** Answers with an error that no handler has made. */
export function sendError(
  outgoing: ServerResponse,
  status: number,
  error: string,
  headers: Readonly<Record<string, string>> = {},
): void {
  const body = JSON.stringify({ error });
  const length = String(new TextEncoder().encode(body).length);
  outgoing.writeHead(status, {
    "Content-Type": "application/json",
    "Content-Length": length,
    ...headers,
  });
  outgoing.end(body);
}

/** Sends the head of an answer whose body is not for `outgoing` to write. */
function flushHead(
  { status, headers }: Response,
  outgoing: ServerResponse,
  chunked: boolean,
): void {
  outgoing.setHeaders(headers);
  outgoing.setHeader("Connection", "close");
  // Without chunks the body ends with the connection, which some players take for a loss.
  if (chunked) outgoing.setHeader("Transfer-Encoding", "chunked");
  else outgoing.removeHeader("Transfer-Encoding");
  outgoing.writeHead(status);
  outgoing.flushHeaders();
}

/** An endless body on its way from its source to a socket, without a promise or object a chunk. */
class LiveAnswer implements Sink<Bytes> {
  readonly #socket: Socket;
  readonly #views: BufferViews;
  readonly #log: Logger;
  readonly #watch: WriteWatch;
  readonly #onWritten = () => this.#resume();
  #pump: Pump | undefined;
  #stalled = false;

  constructor(socket: Socket, views: BufferViews, { log, writeTimeoutMs }: Exchange) {
    this.#socket = socket;
    this.#views = views;
    this.#log = log;
    this.#watch = new WriteWatch(writeTimeoutMs, () => socket.destroy());
  }

  /** Begins to send `body`. */
  start(body: ReadableStream<Bytes>): void {
    const socket = this.#socket;
    socket.once("end", () => socket.destroy());
    socket.once("close", () => {
      this.#watch.stop();
      this.#pump?.cancel();
    });
    this.#pump = pump(body, this);
  }

  write(bytes: Bytes): boolean {
    // A chunk of no bytes would be the last one.
    if (bytes.length === 0) return true;
    const socket = this.#socket;
    socket.write(this.#views.of(bytes));
    // A socket that is broken takes all and says so later.
    if (socket.writableLength === 0) return socket.writable;
    this.#stalled = true;
    this.#watch.begin();
    // Nothing of it is sent: it comes back when all before it is.
    socket.write(NOTHING, this.#onWritten);
    return false;
  }

  close(): void {
    this.#socket.end(this.#views.end);
    this.#watch.begin();
  }

  abort(error: unknown): void {
    if (this.#socket.destroyed) return;
    logCut(error, this.#log);
    cut(this.#socket);
  }

  #resume(): void {
    if (!this.#stalled || this.#socket.destroyed) return;
    this.#stalled = false;
    this.#watch.end();
    this.#pump?.resume();
  }
}

const NOTHING = new Uint8Array();

async function sendOrdinary(
  response: Response,
  body: ReadableStream<Bytes> | null,
  { incoming, outgoing, writeTimeoutMs }: Exchange,
): Promise<void> {
  const { status, headers } = response;
  outgoing.statusCode = status;
  outgoing.setHeaders(headers);
  if (body === null || incoming.method === "HEAD") {
    body?.cancel().catch(() => {});
    // Without a body it has no length of 0 either.
    if (incoming.method === "HEAD") outgoing.flushHeaders();
    outgoing.end();
    return;
  }
  const watch = new WriteWatch(writeTimeoutMs, () => incoming.socket.destroy());
  const reader = body.getReader();
  let over = false;
  outgoing.once("close", () => {
    watch.stop();
    if (!over) reader.cancel().catch(() => {});
  });
  const first = await reader.read();
  let next = first.done ? undefined : reader.read();
  const whole = first.done || headers.has("Content-Length") ? undefined : await settled(next);
  if (first.done || whole?.done) {
    over = true;
    if (!headers.has("Content-Length")) {
      outgoing.setHeader("Content-Length", first.value?.length ?? 0);
    }
    outgoing.end(first.value);
    if (outgoing.writableLength > 0) watch.begin();
    return;
  }
  for (let chunk: ReadableStreamReadResult<Bytes> = first; !chunk.done;) {
    if (!outgoing.write(chunk.value)) {
      watch.begin();
      await Promise.race([once(outgoing, "drain"), once(outgoing, "close")]);
      watch.end();
    }
    if (outgoing.destroyed) return;
    chunk = await (next ?? reader.read());
    next = undefined;
  }
  over = true;
  outgoing.end();
  watch.begin();
}

/** What `promise` resolves to, if it has by now. */
function settled<T>(promise: Promise<T> | undefined): Promise<T | undefined> {
  const now = Promise.resolve().then(() => undefined);
  return Promise.race([promise ?? now, now.then(() => undefined)]);
}

/** Cuts an answer that cannot be completed: its client sees that it is not whole. */
function fail(error: unknown, { incoming, log }: Exchange): void {
  if (incoming.socket.destroyed) return;
  logCut(error, log);
  cut(incoming.socket);
}

function logCut(error: unknown, log: Logger): void {
  if (error instanceof EndedError) log.debug("a response was cut: {error}", { error });
  else log.error("a response failed: {error}", { error });
}

/** Resets a connection; a TLS one ends without a close_notify, which says the same. */
function cut(socket: Socket): void {
  if ("encrypted" in socket) socket.destroy();
  else socket.resetAndDestroy();
}

/** Closes the connection if its client does not come to the end of a body that nobody wants. */
function linger(incoming: IncomingMessage): void {
  if (incoming.complete) return;
  incoming.resume();
  const timer = setTimeout(() => incoming.socket.destroy(), LINGER_MS);
  incoming.once("close", () => clearTimeout(timer));
}
