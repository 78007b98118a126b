/** How answers get to their sockets. */

import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { EndedError } from "../../src/errors.ts";
import type { Logger } from "../../src/log.ts";
import { type Pump, pump, type Sink } from "../../src/readable.ts";
import { SocketWriter } from "../../src/socket_writer.ts";
import { WriteWatch } from "../../src/write_watch.ts";
import { chunkOf, LAST_CHUNK, type SharedBuffers } from "./coding.ts";
import type { RequestScope } from "./request.ts";
import type { ShortAnswer } from "./service.ts";

/** A request that is to be answered. */
export interface Exchange {
  readonly incoming: IncomingMessage;
  readonly outgoing: ServerResponse;
  readonly scope: RequestScope;
  readonly log: Logger;
  readonly buffers: SharedBuffers;
  /** Time after which a client that takes nothing is cut off. */
  readonly writeTimeoutMs: number;
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
  if (body !== null && scope.takeLive(body) && incoming.method === "GET") {
    const coded = incoming.httpVersion !== "1.0";
    flushHead(response, outgoing, coded);
    // Nothing that the client says matters any more, but that it leaves.
    incoming.resume();
    return new LiveAnswer(socket, exchange, coded).start(body);
  }
  outgoing.once("finish", () => linger(incoming));
  sendOrdinary(response, body, exchange).catch((error) => fail(error, exchange));
}

/** Answers a request by the short way. */
export function sendShort(
  { status, headers, body }: ShortAnswer,
  { incoming, outgoing, writeTimeoutMs }: Pick<
    Exchange,
    "incoming" | "outgoing" | "writeTimeoutMs"
  >,
): void {
  if (outgoing.destroyed || outgoing.socket === null) return;
  outgoing.writeHead(status, { ...headers, "Content-Length": body.length });
  outgoing.end(body);
  if (outgoing.writableLength === 0) return;
  const watch = new WriteWatch(writeTimeoutMs, () => incoming.socket.destroy());
  outgoing.once("close", () => watch.stop());
  watch.begin();
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

/** Fields that are this file's to set, in lower case as {@linkcode Headers} gives them. */
const FRAMING = new Set(["connection", "transfer-encoding"]);

/** Sends the head of an answer whose body is as long as the connection. */
function flushHead({ status, headers }: Response, outgoing: ServerResponse, coded: boolean): void {
  const fields = ["Connection", "close"];
  // Chunks tell the end of the body from the loss of the connection (RFC 9112 8).
  if (coded) fields.push("Transfer-Encoding", "chunked");
  for (const [name, value] of headers) if (!FRAMING.has(name)) fields.push(name, value);
  // As a list they are written and forgotten, where others are kept for as long as the body lasts.
  outgoing.writeHead(status, fields);
  outgoing.flushHeaders();
}

/** An endless body on its way from its source to a socket, without a promise or object a chunk. */
class LiveAnswer implements Sink<Bytes> {
  readonly borrows = true;
  readonly #socket: Socket;
  readonly #buffers: SharedBuffers;
  /** Whether it goes out in the chunked coding. */
  readonly #coded: boolean;
  /** Whether it comes in that coding. */
  readonly #ready: boolean;
  readonly #log: Logger;
  readonly #writer: SocketWriter;
  readonly #onReady = () => this.#pump?.resume();
  #pump: Pump | undefined;

  constructor(socket: Socket, exchange: Exchange, coded: boolean) {
    const { scope, buffers, log, writeTimeoutMs } = exchange;
    this.#socket = socket;
    this.#buffers = buffers;
    this.#coded = coded;
    this.#ready = !coded || scope.isCoded;
    this.#log = log;
    this.#writer = new SocketWriter(socket, {
      timeoutMs: writeTimeoutMs,
      onTimeout: () => socket.destroy(),
    });
  }

  /** Begins to send `body`. */
  start(body: ReadableStream<Bytes>): void {
    const socket = this.#socket;
    socket.on("end", destroy);
    socket.on("close", () => {
      this.#writer.stop();
      this.#pump?.cancel();
    });
    this.#pump = pump(body, this);
  }

  write(bytes: Bytes): boolean {
    // A chunk of no bytes would be the last one.
    if (bytes.length === 0) return true;
    const wire = this.#ready ? this.#buffers.of(bytes) : chunkOf(bytes);
    if (this.#writer.write(wire)) return true;
    this.#writer.whenReady(this.#onReady);
    return false;
  }

  close(): void {
    if (this.#coded) this.#socket.end(LAST_CHUNK);
    else this.#socket.end();
    this.#writer.finish();
  }

  abort(error: unknown): void {
    if (this.#socket.destroyed) return;
    logCut(error, this.#log);
    cut(this.#socket);
  }
}

function destroy(this: Socket): void {
  this.destroy();
}

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
  const only = first.done || headers.has("Content-Length") ? undefined : await settled(next);
  if (first.done || only?.done) {
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
