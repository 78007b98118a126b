/** The TCP and TLS listeners of a server, as its options want them from time to time. */

import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import type { Logger } from "../src/log.ts";
import { addressOf, bind, type BindOptions, localHost, readTlsPair, type TlsPair } from "./tcp.ts";

/** Small writes go out at once; the system finds out about peers that have vanished. */
const SOCKET = { noDelay: true, keepAlive: true } as const;
/** Time for a TLS handshake, in ms. */
const HANDSHAKE_MS = 10_000;

/** The options of a plugin that say where it listens. */
export interface ListenOptions {
  /** Address of the interface. */
  readonly Host: string;
  /** Port without TLS. */
  readonly Port: number;
  /** Certificate chain, a PEM file; empty: no TLS. */
  readonly Cert: string;
  /** Private key, a PEM file. */
  readonly Key: string;
  /** Port with TLS. */
  readonly TLSPort: number;
}

/** What {@linkcode Listeners} belong to. */
export interface ListenersInit {
  /** Scheme of URLs without TLS; that with TLS has an `s` behind it. */
  readonly scheme: string;
  /** Whether other isolates of the program listen there too. */
  readonly shared: boolean;
  /** Where it is said that there is a listener. */
  readonly log: Logger;
  /** Called with each connection, behind the handshake of TLS. */
  readonly onSocket: (socket: Socket) => void;
  /** Called where there is no connection for the reason given. */
  readonly onFailure: (peer: string, reason: string) => void;
}

/** How a listener is made. */
interface Listen extends BindOptions {
  readonly tls?: TlsPair;
}

/** A listener and what it was made of. */
interface Listening {
  readonly server: Server;
  readonly url: string;
  readonly listen: Listen;
}

/** The listeners of one server; none at first. */
export class Listeners {
  readonly #init: ListenersInit;
  #listening: Listening[] = [];

  /** None yet. */
  constructor(init: ListenersInit) {
    this.#init = init;
  }

  /** Addresses that clients on this machine reach them at. */
  get urls(): readonly string[] {
    return this.#listening.map(({ url }) => url);
  }

  /**
   * Listens where `options` say, and nowhere else. Connections go on.
   *
   * @throws {Error} If it can't; it listens as before then, as far as the ports are still free.
   */
  async configure(options: ListenOptions): Promise<void> {
    const wanted = await listens(options);
    const old = this.#listening.map(({ listen }) => listen);
    try {
      await this.#relisten(wanted);
    } catch (error) {
      // The first error says what is wrong.
      await this.#relisten(old).catch(() => {});
      throw error;
    }
  }

  /** Closes all. */
  close(): void {
    for (const { server } of this.#listening) server.close();
    this.#listening = [];
  }

  /** Closes the listeners that are not `wanted`, then opens those that are missing. */
  async #relisten(wanted: readonly Listen[]): Promise<void> {
    const kept = this.#listening.filter(({ listen }) =>
      wanted.some((other) => same(other, listen))
    );
    for (const listening of this.#listening) {
      if (!kept.includes(listening)) listening.server.close();
    }
    this.#listening = kept;
    const missing = wanted.filter((listen) => !kept.some((other) => same(other.listen, listen)));
    for (const listen of missing) await this.#listen(listen);
  }

  async #listen(listen: Listen): Promise<void> {
    const { scheme, shared, log, onSocket, onFailure } = this.#init;
    const { host, tls } = listen;
    const server = tls === undefined
      ? createServer(SOCKET, onSocket)
      : createTlsServer({ ...SOCKET, ...tls, handshakeTimeout: HANDSHAKE_MS }, onSocket);
    if (tls !== undefined) {
      server.on("tlsClientError", (error: Error, socket: Socket) => {
        onFailure(addressOf(socket.remoteAddress, socket.remotePort), error.message);
      });
    }
    const port = await bind(server, { ...listen, shared });
    const url = `${scheme}${tls === undefined ? "" : "s"}://${addressOf(localHost(host), port)}`;
    server.on("error", (error) => onFailure(url, `cannot accept a connection: ${error.message}`));
    this.#listening.push({ server, url, listen });
    log.info("listening on {url}, publish and play as {url}/live/NAME", { url });
  }
}

/** The listeners that `options` want. */
async function listens(options: ListenOptions): Promise<Listen[]> {
  const { Host: host, Port: port, TLSPort, Cert, Key } = options;
  const plain = { host, port };
  if (Cert === "") return [plain];
  return [plain, { host, port: TLSPort, tls: await readTlsPair(Cert, Key) }];
}

function same(a: Listen, b: Listen): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
