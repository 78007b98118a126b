/** What the http plugin offers to others: routes on the one HTTP listener. */

import type { Hono } from "hono";
import { defineService, type Service } from "../../src/service.ts";

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
     * on: it closes where the body does, and is reset where the body fails; chunks are framed once for
     * all who get them. A body of
     * `Subscriber.mux` costs the least.
     */
    live(body: ReadableStream<Uint8Array<ArrayBuffer>>, headers: HeadersInit): Response;
  };
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
   */
  mount(app: Hono<HttpEnv>, signal: AbortSignal): void;
}

/** The shared HTTP listener as a service, provided by the http plugin. */
export const httpService: Service<HttpService> = defineService<HttpService>("http");
