/** The socket side of the http plugin: one `node:http` server, whose sockets can be written to. */

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Socket } from "node:net";
import type { Logger } from "../../src/log.ts";
import { bind, type BindOptions, bracketed, localHost, type TlsPair } from "../tcp.ts";
import { send, sendError, sendShort } from "./answer.ts";
import { ChunkedFormats, SharedBuffers } from "./coding.ts";
import { RequestScope, shortUrlOf, toRequest } from "./request.ts";
import type { HttpEnv, ShortHandler } from "./service.ts";
import { handshakeFault, ServerWebSocket } from "./websocket.ts";

/** Where to listen. */
export interface ListenOptions extends BindOptions {
  /** Makes it a TLS listener. */
  readonly tls?: TlsPair | undefined;
  /** Time, in ms, after which a client that takes nothing of its answer is cut off. */
  readonly writeTimeoutMs: () => number;
  /** Asked first. @default {nobody} */
  readonly short?: ShortHandler;
}

/** Answers a request. */
export type RequestHandler = (
  request: Request,
  env: HttpEnv["Bindings"],
) => Response | Promise<Response>;

/** A socket that listens. */
export interface Listener {
  /** Address that clients on this machine reach it at. */
  readonly url: string;
  /**
   * Answers what is under way and closes WebSockets for at most {@linkcode STOP_GRACE_MS}, then cuts
   * what is left. Idempotent.
   */
  stop(): Promise<void>;
}

/** How long requests under way may take to end when the listener stops. */
export const STOP_GRACE_MS = 700;

/** What clients may ask of the parser. */
const LIMITS = {
  /** Longest head of a request, in bytes: addresses with tokens and the cookies of a site fit. */
  maxHeaderSize: 16_384,
  /** Time for a head to come, in ms: a client that trickles it holds a socket for no longer. */
  headersTimeout: 10_000,
  connectionsCheckingInterval: 2_000,
  /** A publisher's request takes as long as its stream. */
  requestTimeout: 0,
  /** Time for the next request of a connection, in ms: more than players of HLS let pass. */
  keepAliveTimeout: 30_000,
  noDelay: true,
  /** Time for a TLS handshake, in ms. */
  handshakeTimeout: 10_000,
  /** Any other upgrade may be passed over (RFC 9110 7.8). */
  shouldUpgradeCallback: asksForWebSocket,
} as const;

const CLOSE = { "Connection": "close" };
const STOPS = "The server stops";

type Fields = Readonly<Record<string, string>>;

/** Most fields in the head of a request: more than browsers and proxies send. */
const MAX_HEADERS = 200;
/** Most bytes from a client that waits for its WebSocket: it should send none. */
const MAX_EARLY_BYTES = 4096;
/** Most requests of a connection that wait for their turn: clients that do that send a few. */
const MAX_PIPELINED = 16;

/**
 * Listens, and gives each request to `handle`.
 *
 * @throws {Error} If the address cannot be had; its message names it and says why.
 */
export async function listen(
  options: ListenOptions,
  handle: RequestHandler,
  log: Logger,
): Promise<Listener> {
  const { host, tls } = options;
  const scheme = tls === undefined ? "http" : "https";
  const sockets = new Set<Socket>();
  const webSockets = new Set<ServerWebSocket>();
  /** How many requests of a connection wait for their turn. */
  const pipelined = new WeakMap<Socket, number>();
  const buffers = new SharedBuffers();
  const formats = new ChunkedFormats();
  let active = 0;
  let stopped: Promise<void> | undefined;
  let onIdle = () => {};

  /** Counts a request; what it returns is to be called when that is over. */
  const begin = (scope: RequestScope) => {
    active++;
    return () => {
      scope.end();
      if (--active === 0) onIdle();
    };
  };

  /** What is answered to a request. */
  const answer = (incoming: IncomingMessage, scope: RequestScope) => {
    if (incoming.rawHeaders.length > 2 * MAX_HEADERS) {
      return refusal(431, "The request has too many headers");
    }
    let request: Request;
    try {
      request = toRequest(incoming, scheme);
    } catch {
      return refusal(400, "The request makes no sense");
    }
    return handle(request, scope);
  };

  const serve = async (incoming: IncomingMessage, outgoing: ServerResponse) => {
    if (stopped !== undefined) return sendError(outgoing, 503, STOPS, CLOSE);
    const scope = new RequestScope(incoming.socket, {
      formats: incoming.httpVersion === "1.0" ? undefined : formats,
    });
    outgoing.on("close", begin(scope));
    const url = options.short && shortUrlOf(incoming);
    const short = url === undefined ? undefined : options.short?.(url, scope);
    if (short !== undefined) {
      incoming.resume();
      const found = await short;
      return sendShort(found, { incoming, outgoing, writeTimeoutMs: options.writeTimeoutMs() });
    }
    const response = await answer(incoming, scope);
    const writeTimeoutMs = options.writeTimeoutMs();
    send(response, { incoming, outgoing, scope, log, buffers, writeTimeoutMs });
  };

  const serveWebSocket = async (incoming: IncomingMessage, head: Uint8Array) => {
    const { socket } = incoming;
    const scope = new RequestScope(socket, { asksForWebSocket: true });
    const early = new EarlyBytes(socket, head);
    socket.once("close", begin(scope));
    const fault = handshakeFault(incoming);
    const response = fault === undefined
      ? await answer(incoming, scope)
      : refusal(fault.status, fault.error, fault.headers);
    if (socket.destroyed) return;
    const writeTimeoutMs = options.writeTimeoutMs();
    const handlers = scope.takeWebSocket(response);
    if (handlers === undefined) {
      const outgoing = lastAnswerTo(incoming);
      return send(response, { incoming, outgoing, scope, log, buffers, writeTimeoutMs });
    }
    const init = { incoming, early: early.take(), writeTimeoutMs, log };
    const webSocket = new ServerWebSocket(init, handlers);
    webSockets.add(webSocket);
    socket.once("close", () => webSockets.delete(webSocket));
    if (stopped !== undefined) webSocket.close(1001, STOPS);
  };

  const server: Server = tls === undefined
    ? createServer(LIMITS)
    : createTlsServer({ ...LIMITS, ...tls });
  // The parser would leave out what is too much, and not say so.
  server.maxHeadersCount = 0;
  // Before there is a request on it, a connection is nobody's.
  const onError = () => {};
  const onClose = function (this: Socket) {
    sockets.delete(this);
  };
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", onClose);
    socket.on("error", onError);
  });
  server.on("request", (incoming, outgoing) => {
    const answer = () => {
      serve(incoming, outgoing).catch((error) => {
        log.error("a request failed: {error}", { error });
        outgoing.destroy();
      });
    };
    if (outgoing.socket !== null) return answer();
    // It has come before the answer to the one before it was given.
    const waiting = (pipelined.get(incoming.socket) ?? 0) + 1;
    if (waiting > MAX_PIPELINED) return incoming.socket.destroy();
    pipelined.set(incoming.socket, waiting);
    outgoing.once("socket", (socket: Socket) => {
      pipelined.set(socket, (pipelined.get(socket) ?? 1) - 1);
      answer();
    });
  });
  server.on("upgrade", (incoming: IncomingMessage, socket: Socket, head: Uint8Array) => {
    if (stopped !== undefined) return socket.destroy();
    serveWebSocket(incoming, head).catch((error) => {
      log.error("a request failed: {error}", { error });
      socket.destroy();
    });
  });
  const at = await bind(server, options);

  const stop = async () => {
    for (const webSocket of webSockets) webSocket.close(1001, STOPS);
    if (active > 0) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      await new Promise<void>((resolve) => {
        onIdle = resolve;
        timer = setTimeout(resolve, STOP_GRACE_MS);
      });
      clearTimeout(timer);
    }
    const closed = once(server, "close");
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  return {
    url: `${scheme}://${bracketed(localHost(host))}:${at}`,
    stop: () => stopped ??= stop(),
  };
}

function asksForWebSocket({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === "websocket";
}

function refusal(status: number, error: string, headers: Fields = {}): Response {
  return Response.json({ error }, { status, headers: { ...headers, ...CLOSE } });
}

/** The way for an answer to a request for a WebSocket that gets none. */
function lastAnswerTo(incoming: IncomingMessage): ServerResponse {
  const { socket } = incoming;
  const outgoing = new ServerResponse(incoming);
  outgoing.assignSocket(socket);
  outgoing.shouldKeepAlive = false;
  outgoing.once("finish", () => socket.destroySoon());
  return outgoing;
}

/** What a client sends while it waits for its WebSocket. One that leaves is noticed. */
class EarlyBytes {
  readonly #socket: Socket;
  readonly #bytes: Uint8Array[] = [];
  readonly #onData = (bytes: Uint8Array) => this.#add(bytes);
  readonly #onEnd = () => this.#socket.destroy();
  #length = 0;

  constructor(socket: Socket, head: Uint8Array) {
    this.#socket = socket;
    this.#add(head);
    socket.on("data", this.#onData);
    socket.once("end", this.#onEnd);
  }

  /** All of it; the socket is the caller's from then on. */
  take(): Uint8Array[] {
    this.#socket.off("data", this.#onData);
    this.#socket.off("end", this.#onEnd);
    return this.#bytes;
  }

  #add(bytes: Uint8Array): void {
    this.#bytes.push(bytes);
    this.#length += bytes.length;
    if (this.#length > MAX_EARLY_BYTES) this.#socket.destroy();
  }
}
