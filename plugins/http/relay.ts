/** Requests for another protocol, WebSocket above all, which only `Deno.serve` can grant. */

import type { IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import type { Logger } from "../../src/log.ts";
import { RequestScope } from "./request.ts";

/** Answers a request; `completed` settles when the answer is delivered or cut. */
type RelayHandler = (
  request: Request,
  scope: RequestScope,
  completed: Promise<void>,
) => Response | Promise<Response>;

/**
 * Passes connections that ask for an upgrade to a `Deno.serve` of its own on the loopback interface,
 * so that `Deno.upgradeWebSocket` works for handlers. It is started with the first of them, and
 * answers no connection but those passed to it.
 */
export class UpgradeRelay {
  readonly #handle: RelayHandler;
  readonly #log: Logger;
  readonly #abort = new AbortController();
  /** By local port of the connection to the inner server: the client that it stands for. */
  readonly #clients = new Map<number, Socket>();
  #server: Deno.HttpServer<Deno.NetAddr> | undefined;

  /** Requests are answered by `handle`. */
  constructor(handle: RelayHandler, log: Logger) {
    this.#handle = handle;
    this.#log = log;
  }

  /** Takes over `client`, of which the head `incoming` and the first bytes after it are read. */
  take(incoming: IncomingMessage, client: Socket, rest: Uint8Array): void {
    this.#server ??= this.#serve();
    const { hostname, port } = this.#server.addr;
    const inner = connect({ host: hostname, port, noDelay: true }, () => {
      const { localPort } = inner;
      if (localPort === undefined) return client.destroy();
      this.#clients.set(localPort, client);
      inner.once("close", () => this.#clients.delete(localPort));
      inner.write(headOf(incoming));
      if (rest.length > 0) inner.write(rest);
      inner.pipe(client).pipe(inner);
    });
    inner.on("error", () => {});
    inner.once("close", () => client.destroySoon());
    client.once("close", () => inner.destroy());
  }

  /** Cuts all that is left. */
  async stop(): Promise<void> {
    this.#abort.abort();
    await this.#server?.finished;
  }

  #serve(): Deno.HttpServer<Deno.NetAddr> {
    return Deno.serve({
      hostname: "127.0.0.1",
      port: 0,
      signal: this.#abort.signal,
      onListen: () => {},
      onError: (error) => {
        this.#log.error("a response failed: {error}", { error });
        return Response.json({ error: "The request failed" }, { status: 500 });
      },
    }, (request, { remoteAddr, completed }) => {
      const client = this.#clients.get(remoteAddr.port);
      if (client === undefined) return new Response(null, { status: 403 });
      const scope = new RequestScope(client);
      client.once("close", () => scope.end());
      return this.#handle(request, scope, completed);
    });
  }
}

/** The head of a request as it came. */
function headOf({ method, url, httpVersion, rawHeaders }: IncomingMessage): string {
  let head = `${method} ${url} HTTP/${httpVersion}\r\n`;
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    head += `${rawHeaders[i]}: ${rawHeaders[i + 1]}\r\n`;
  }
  return head + "\r\n";
}
