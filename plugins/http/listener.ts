/** The socket side of the http plugin: one `Deno.serve`. */

import { delay } from "@std/async/delay";
import { EndedError } from "../../src/errors.ts";
import type { Logger } from "../../src/log.ts";
import type { HttpEnv } from "./service.ts";

/** Where to listen. */
export interface ListenOptions {
  /** Address of the interface; `0.0.0.0` for all of IPv4, `::` for all. */
  readonly host: string;
  /** TCP port; 0 for any free one. */
  readonly port: number;
  /** Certificate chain and private key in PEM, for TLS. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
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
  /** Address that it listens on. */
  readonly address: string;
  /**
   * Answers what is under way for at most {@linkcode STOP_GRACE_MS}, then cuts what is left.
   * Idempotent.
   */
  stop(): Promise<void>;
}

/** How long requests under way may take to end when the listener stops. */
export const STOP_GRACE_MS = 700;

/** How long an answer that handlers are done with may take on its way to the socket. */
const FLUSH_MS = 20;

/**
 * Listens, and gives each request to `handle`.
 *
 * @throws {Error} If the address cannot be had; its message names it and says why.
 */
export function listen(options: ListenOptions, handle: RequestHandler, log: Logger): Listener {
  const { host, port, tls } = options;
  const scheme = tls === undefined ? "http" : "https";
  const abort = new AbortController();
  let active = 0;
  let lastOverMs = -Infinity;
  let stopped: Promise<void> | undefined;
  let onIdle = () => {};
  const serve = (request: Request, info: Deno.ServeHandlerInfo<Deno.NetAddr>) => {
    if (stopped !== undefined) {
      const headers = { "Connection": "close" };
      return Response.json({ error: "The server stops" }, { status: 503, headers });
    }
    active++;
    const env = new RequestScope(request, info.remoteAddr);
    const over = () => {
      env.end();
      lastOverMs = performance.now();
      if (--active === 0) onIdle();
    };
    info.completed.then(over, over);
    return handle(request, env);
  };
  const server = startServer({
    hostname: host,
    port,
    ...tls,
    signal: abort.signal,
    // A body that fails comes here too; the connection is cut then, whatever is returned.
    onError: (error) => {
      if (error instanceof EndedError) log.debug("a response was cut: {error}", { error });
      else log.error("a response failed: {error}", { error });
      return Response.json({ error: "The request failed" }, { status: 500 });
    },
    onListen: () => {},
  }, serve);
  const at = server.addr.port;
  const stop = async () => {
    if (active > 0) {
      let timer: ReturnType<typeof setTimeout> | undefined;
      await new Promise<void>((resolve) => {
        onIdle = resolve;
        timer = setTimeout(resolve, STOP_GRACE_MS);
      });
      clearTimeout(timer);
    }
    const flushMs = lastOverMs + FLUSH_MS - performance.now();
    if (flushMs > 0) await delay(flushMs);
    // `server.shutdown` would wait for bodies without end, and nothing can cut them after it.
    abort.abort();
    await server.finished;
  };
  return {
    url: `${scheme}://${bracketed(LOCAL_HOSTS[host] ?? host)}:${at}`,
    address: `${scheme}://${bracketed(host)}:${at}`,
    stop: () => stopped ??= stop(),
  };
}

/** Where clients on this machine find a listener on all interfaces. */
const LOCAL_HOSTS: Readonly<Record<string, string>> = { "0.0.0.0": "127.0.0.1", "::": "::1" };

function startServer(
  options: Deno.ServeTcpOptions & Partial<Deno.TlsCertifiedKeyPem>,
  handler: Deno.ServeHandler<Deno.NetAddr>,
): Deno.HttpServer<Deno.NetAddr> {
  try {
    return Deno.serve(options, handler);
  } catch (cause) {
    const { hostname = "", port = 0 } = options;
    const address = `${bracketed(hostname)}:${port}`;
    throw new Error(`cannot listen on ${address}: ${reasonOf(cause, port)}`, { cause });
  }
}

function reasonOf(error: unknown, port: number): string {
  if (error instanceof Deno.errors.AddrInUse) {
    return `port ${port} is in use; stop what holds it, or set another Port`;
  }
  if (error instanceof Deno.errors.PermissionDenied && port < 1024) {
    return `ports below 1024 need privileges; set another Port`;
  }
  return error instanceof Error ? error.message : String(error);
}

function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

/** What handlers learn of a request; the signal is made when it is first asked for. */
class RequestScope {
  readonly remote: string;
  readonly #request: Request;
  #controller: AbortController | undefined;
  #over = false;

  constructor(request: Request, address: Deno.NetAddr) {
    this.#request = request;
    // An IPv4 client of an IPv6 socket (RFC 4291 2.5.5.2).
    const host = address.hostname.replace(/^::ffff:(?=\d+\.)/i, "");
    this.remote = `${bracketed(host)}:${address.port}`;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#over) this.end();
      // The response is over when it is delivered or cut; before there is one only this one tells.
      else this.#request.signal.addEventListener("abort", () => this.end(), { once: true });
    }
    return this.#controller.signal;
  }

  end(): void {
    this.#over = true;
    this.#controller?.abort(new DOMException("The request is over", "AbortError"));
  }
}
