/** What a request looks like to handlers, and what they learn of its connection. */

import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { FormatFactory } from "../../src/mux.ts";
import { addressOf } from "../tcp.ts";
import type { ChunkedFormats } from "./coding.ts";
import type { HttpEnv, WebSocketHandlers } from "./service.ts";

/**
 * A request of a `node:http` server as a web one.
 *
 * @throws {TypeError} If its address, host or method is none.
 */
export function toRequest(incoming: IncomingMessage, scheme: "http" | "https"): Request {
  const { method = "GET", rawHeaders } = incoming;
  const headers = new Headers();
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    headers.append(rawHeaders[i] ?? "", rawHeaders[i + 1] ?? "");
  }
  const init: RequestInit = { method, headers };
  if (hasBody(incoming)) init.body = bodyOf(incoming);
  else incoming.resume();
  return new Request(urlOf(incoming, scheme), init);
}

/** Path and query of a GET that has no more to it than that; undefined for all others. */
export function shortUrlOf({ method, url = "" }: IncomingMessage): string | undefined {
  return method === "GET" && url.startsWith("/") && !DOTS.test(url) ? url : undefined;
}

function urlOf(incoming: IncomingMessage, scheme: string): string {
  const { url = "/", headers, socket } = incoming;
  if (!url.startsWith("/")) {
    // The form for proxies (RFC 9112 3.2.2), which names the host itself; or `*`, of no path.
    return url === "*" ? `${scheme}://${headers.host}/` : url;
  }
  if (DOTS.test(url)) throw new TypeError(`Cannot use ${url}: it has dots or backslashes`);
  const host = headers.host ?? addressOf(socket.localAddress, socket.localPort);
  if (/[/?#@\\]/.test(host)) throw new TypeError(`Cannot use ${host}: it is no host`);
  return `${scheme}://${host}${url}`;
}

/** What `URL` would resolve, so that the path that is checked is not the one that was sent. */
const DOTS = /^[^?#]*(?:\\|\/(?:\.|%2e){1,2}(?:[/?#]|$))/i;

function hasBody({ method, headers }: IncomingMessage): boolean {
  if (method === "GET" || method === "HEAD") return false;
  const length = headers["content-length"];
  return headers["transfer-encoding"] !== undefined || (length !== undefined && length !== "0");
}

/** The body, read from the socket only as fast as it is taken. */
function bodyOf(incoming: IncomingMessage): ReadableStream<Uint8Array<ArrayBuffer>> {
  incoming.pause();
  return new ReadableStream({
    start(controller) {
      let over = false;
      incoming.on("data", (chunk: Uint8Array<ArrayBuffer>) => {
        if (over) return;
        controller.enqueue(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength));
        if ((controller.desiredSize ?? 0) <= 0) incoming.pause();
      });
      incoming.pause();
      incoming.once("end", () => {
        if (over) return;
        over = true;
        controller.close();
      });
      const broken = () => {
        if (over) return;
        over = true;
        if (!incoming.complete) return controller.error(new Error("the body broke off"));
        // It was all there when its sender left, which some do without a look at the answer.
        for (let chunk = incoming.read(); chunk !== null; chunk = incoming.read()) {
          controller.enqueue(new Uint8Array(chunk));
        }
        controller.close();
      };
      incoming.once("error", broken);
      incoming.once("close", broken);
    },
    pull() {
      incoming.resume();
    },
    cancel() {
      // What is left of it is read and passed over, so that the answer can come through.
      incoming.removeAllListeners("data");
      incoming.resume();
    },
  }, { highWaterMark: 0 });
}

/** What a {@linkcode RequestScope} must know of its request. */
export interface ScopeInit {
  /** Formats in its transfer coding; none where there is no coding, before HTTP/1.1. */
  readonly formats?: ChunkedFormats | undefined;
  /** Whether it asks for a WebSocket. @default {false} */
  readonly asksForWebSocket?: boolean;
}

/** What handlers learn of a request; the signal is made when it is first asked for. */
export class RequestScope implements HttpEnvBindings {
  readonly remote: string;
  readonly upgrade: HttpEnvBindings["upgrade"];
  #controller: AbortController | undefined;
  #over = false;
  readonly #formats: ChunkedFormats | undefined;
  #live: Body | undefined;
  #isCoded = false;
  #webSocket: { readonly body: Body; readonly handlers: WebSocketHandlers } | undefined;

  /** Of a request on a connection. */
  constructor({ remoteAddress, remotePort }: Socket, { formats, asksForWebSocket }: ScopeInit) {
    this.remote = addressOf(remoteAddress, remotePort);
    this.#formats = formats;
    this.upgrade = asksForWebSocket ? (handlers) => this.#upgrade(handlers) : undefined;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#over) this.end();
    }
    return this.#controller.signal;
  }

  live(body: Body, headers: HeadersInit, options: { readonly coded?: boolean } = {}): Response {
    this.#live = body;
    this.#isCoded = options.coded ?? false;
    return new Response(body, { headers });
  }

  coded(format: FormatFactory): FormatFactory {
    return this.#formats?.of(format) ?? format;
  }

  /** Whether the live body is in the answer's transfer coding already. */
  get isCoded(): boolean {
    return this.#isCoded;
  }

  /** Whether `body` is to go straight to the socket; asked once, as it is kept no longer. */
  takeLive(body: Body): boolean {
    const isLive = body === this.#live;
    this.#live = undefined;
    return isLive;
  }

  /**
   * What the WebSocket is for that `response` stands for; undefined if it is any other answer. Asked
   * once, as it is kept no longer.
   */
  takeWebSocket(response: Response): WebSocketHandlers | undefined {
    const webSocket = this.#webSocket;
    this.#webSocket = undefined;
    return response.body === webSocket?.body ? webSocket?.handlers : undefined;
  }

  /** Says that the request is over. Idempotent. */
  end(): void {
    this.#over = true;
    this.#controller?.abort(OVER);
  }

  /** A response with status 101 cannot be made, so its body tells what it means. */
  #upgrade(handlers: WebSocketHandlers): Response {
    const body: Body = new ReadableStream();
    this.#webSocket = { body, handlers };
    return new Response(body);
  }
}

type Body = ReadableStream<Uint8Array<ArrayBuffer>>;

/** Made once: it tells nothing of where it comes from. */
const OVER = new DOMException("The request is over", "AbortError");

type HttpEnvBindings = HttpEnv["Bindings"];
