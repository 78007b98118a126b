/** What the http plugin offers to others: routes on the one HTTP listener. */

import type { Hono, MiddlewareHandler } from "hono";
import type { FormatFactory } from "../../src/mux.ts";
import { defineService, type Service } from "../../src/service.ts";

export type * from "./info.ts";

/** Where a request came from, for handlers: `c.env.remote`. */
export interface HttpEnv {
  /** What the listener binds to each request. */
  readonly Bindings: {
    /** Address of the client, such as `127.0.0.1:50000`. */
    readonly remote: string;
    /**
     * Aborted when the request is over: the client has left, or has got the whole answer. Unlike
     * the signal of a `Request` of Deno it means the same in all versions and modes of Deno.
     */
    readonly signal: AbortSignal;
    /**
     * An answer with status 200 whose body goes to the socket by the shortest way, without end or
     * for long: `return c.env.live(body, headers)`. The connection is the client's alone from then
     * on: it closes where the body does, and is reset where the body fails.
     *
     * A body of `Subscriber.mux` costs the least, and less still in a format that is
     * {@linkcode coded} for this answer: say so then.
     */
    live(
      body: ReadableStream<Uint8Array<ArrayBuffer>>,
      headers: HeadersInit,
      options?: { readonly coded?: boolean },
    ): Response;
    /**
     * `format` in the transfer coding of this answer, so that viewers share what the coding makes of
     * it. The same format gives the same one.
     */
    coded(format: FormatFactory): FormatFactory;
    /**
     * An answer that makes a WebSocket of the connection: `return upgrade({ open(socket) { … } })`;
     * undefined where the request doesn't ask for one. What is wrong with its handshake, and pages
     * of origins that `Cors` doesn't name, are refused before handlers see it; whatever else a
     * handler answers, the client gets as a refusal.
     */
    readonly upgrade: ((handlers: WebSocketHandlers) => Response) | undefined;
  };
}

/** An answer that is whole and may be that of many. */
export interface ShortAnswer {
  readonly status: number;
  /** All but `Content-Length`. */
  readonly headers: Readonly<Record<string, string>>;
  /** Not copied, and not to be changed any more. */
  readonly body: Uint8Array<ArrayBuffer>;
}

/**
 * Answers a GET of `url`, which is path and query, by the short way; undefined to leave it to the
 * apps. It gets no `Request` and gives no `Response`, which cost more than a small answer does.
 */
export type ShortHandler = (
  url: string,
  env: Pick<HttpEnv["Bindings"], "remote" | "signal">,
) => Promise<ShortAnswer> | undefined;

/** What becomes of a WebSocket. */
export interface WebSocketHandlers {
  /**
   * Longest message of the client, in bytes; one that sends more is closed with 1009.
   * @default {65536}
   */
  readonly maxMessageBytes?: number;
  /** Called once when it is open. */
  open(socket: WebSocketConnection): void;
  /** Called with each message of the client, text as a string. */
  message?(data: string | Uint8Array<ArrayBuffer>): void;
  /** Called once when nothing more will arrive: it is closed by either side, or lost. */
  close?(): void;
}

/**
 * The server's side of a WebSocket (RFC 6455). Pings are answered, and closing handshakes done, by
 * themselves; nothing is compressed. A client that takes nothing for `WriteTimeout` is cut off, one
 * that breaks the protocol is closed with the code for that.
 */
export interface WebSocketConnection {
  /**
   * Sends a message; false if the client has not taken all that it was sent: what goes on then waits
   * in memory until it does, so live media should wait for {@linkcode WebSocketConnection.whenReady}.
   */
  send(message: string | Uint8Array): boolean;
  /**
   * Sends bytes that are whole frames already, unmasked, by the shortest way: frames that many
   * clients get can be made once for all. It returns what `send` does.
   */
  writeFrames(frames: Uint8Array): boolean;
  /** Calls `onReady` once when the client has taken all. */
  whenReady(onReady: () => void): void;
  /**
   * Begins the closing handshake, for which the client has a few seconds. Idempotent.
   *
   * `code` is 1000 for a good end, 1001 where the server goes away, 1008 for what the client may not
   * do, 1011 where the server fails, or one of your own from 4000 to 4999 (RFC 6455 7.4).
   */
  close(code?: number, reason?: string): void;
}

/** The shared HTTP listener. */
export interface HttpService {
  /**
   * Address that clients on this machine reach it at, such as `http://127.0.0.1:8080`. It may change
   * when the http plugin gets other options.
   */
  readonly url: string;
  /**
   * Serves the routes of `app` until `signal` is aborted. Apps are asked in the order of mounting,
   * each for what the ones before it did not answer: had no route for, or met with `c.notFound()`.
   * A 404 of another making is an answer.
   *
   * `short` is asked before all apps for what is asked for often; not always, so that the app has to
   * answer the same.
   */
  mount(app: Hono<HttpEnv>, signal: AbortSignal, options?: { readonly short?: ShortHandler }): void;
  /**
   * Lets only those pass who may use the API, so that routes of others are for the same people:
   * `app.use("/metrics", http.access)`.
   */
  readonly access: MiddlewareHandler<HttpEnv>;
}

/** The shared HTTP listener as a service, provided by the http plugin. */
export const httpService: Service<HttpService> = defineService<HttpService>("http");
