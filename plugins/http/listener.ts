/** The socket side of the http plugin: one `node:http` server, whose sockets can be written to. */

import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Socket } from "node:net";
import type { Logger } from "../../src/log.ts";
import { bind, type BindOptions, bracketed, localHost, type TlsPair } from "../tcp.ts";
import { send, sendError, WireForms } from "./answer.ts";
import { UpgradeRelay } from "./relay.ts";
import { RequestScope, toRequest } from "./request.ts";
import type { HttpEnv } from "./service.ts";

/** Where to listen. */
export interface ListenOptions extends BindOptions {
  /** Makes it a TLS listener. */
  readonly tls?: TlsPair | undefined;
  /** Time, in ms, after which a client that takes nothing of its answer is cut off. */
  readonly writeTimeoutMs: () => number;
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
   * Answers what is under way for at most {@linkcode STOP_GRACE_MS}, then cuts what is left.
   * Idempotent.
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
} as const;

const CLOSE = { "Connection": "close" };

/** Most fields in the head of a request: more than browsers and proxies send. */
const MAX_HEADERS = 200;
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
  /** How many requests of a connection wait for their turn. */
  const pipelined = new WeakMap<Socket, number>();
  const forms = new WireForms();
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

  const relay = new UpgradeRelay((request, scope, completed) => {
    const over = begin(scope);
    completed.then(over, over);
    return handle(request, scope);
  }, log);

  const serve = async (incoming: IncomingMessage, outgoing: ServerResponse) => {
    if (stopped !== undefined) {
      return sendError(outgoing, 503, "The server stops", CLOSE);
    }
    const scope = new RequestScope(incoming.socket);
    outgoing.once("close", begin(scope));
    if (incoming.rawHeaders.length > 2 * MAX_HEADERS) {
      return sendError(outgoing, 431, "The request has too many headers", CLOSE);
    }
    let request: Request;
    try {
      request = toRequest(incoming, scheme);
    } catch {
      return sendError(outgoing, 400, "The request makes no sense", CLOSE);
    }
    const response = await handle(request, scope);
    send(response, {
      incoming,
      outgoing,
      scope,
      log,
      forms,
      writeTimeoutMs: options.writeTimeoutMs(),
    });
  };

  const server: Server = tls === undefined
    ? createServer(LIMITS)
    : createTlsServer({ ...LIMITS, ...tls });
  // The parser would leave out what is too much, and not say so.
  server.maxHeadersCount = 0;
  // Before there is a request on it, a connection is nobody's.
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    socket.on("error", () => {});
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
    relay.take(incoming, socket, head);
  });
  const at = await bind(server, options);

  const stop = async () => {
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
    await Promise.all([closed, relay.stop()]);
  };
  return {
    url: `${scheme}://${bracketed(localHost(host))}:${at}`,
    stop: () => stopped ??= stop(),
  };
}
