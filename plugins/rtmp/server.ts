/** The listeners of a running rtmp plugin, and the sessions that came through them. */

import { delay } from "@std/async/delay";
import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { Tally } from "../../src/log.ts";
import type { PluginContext } from "../../src/plugin.ts";
import { Connection } from "../connection.ts";
import { addressOf, bind, type BindOptions, localHost, readTlsPair, type TlsPair } from "../tcp.ts";
import { playFormats } from "./format.ts";
import type { SessionHost } from "./message_streams.ts";
import type { RtmpOptions } from "./options.ts";
import { RtmpSession } from "./session.ts";

/** Lines a second about what peers did wrong; further ones are counted. */
const WARNINGS_A_SECOND = 5;
/** Time for sessions to end in good order when the plugin stops. */
const STOP_MS = 800;

/** A listener and what it was made of. */
interface Listening {
  readonly server: Server;
  readonly url: string;
  readonly listen: Listen;
}

/** How a listener is made. */
interface Listen extends BindOptions {
  readonly tls?: TlsPair;
}

/** What a running plugin consists of. */
export class RtmpServer {
  readonly #context: PluginContext<RtmpOptions>;
  readonly #host: SessionHost;
  readonly #sessions = new Map<RtmpSession, Promise<void>>();
  readonly #warnings: Tally;
  #options: RtmpOptions;
  #listening: Listening[] = [];
  #lifeTimer: ReturnType<typeof setInterval> | undefined;
  #stopped = false;

  /** A server that does not listen yet. */
  constructor(context: PluginContext<RtmpOptions>) {
    const { log } = context;
    this.#context = context;
    this.#options = context.options;
    this.#warnings = new Tally(
      WARNINGS_A_SECOND,
      (count) => log.warn("{count} more connections did something wrong", { count }),
    );
    const options = () => this.#options;
    this.#host = {
      context,
      formats: playFormats(),
      get options() {
        return options();
      },
      warn: (message, properties) => this.#warnings.add(() => log.warn(message, properties)),
    };
  }

  /** Addresses that clients on this machine reach it at. */
  get urls(): readonly string[] {
    return this.#listening.map(({ url }) => url);
  }

  /**
   * Takes `options` for sessions to come, and listens where they say. Sessions go on.
   *
   * @throws {Error} If it can't; it goes on as before then, as far as the ports are still free.
   */
  async configure(options: RtmpOptions): Promise<void> {
    const wanted = await listens(options);
    const old = this.#listening.map(({ listen }) => listen);
    try {
      await this.#relisten(wanted);
    } catch (error) {
      // The first error says what is wrong.
      await this.#relisten(old).catch(() => {});
      throw error;
    }
    this.#options = options;
    clearInterval(this.#lifeTimer);
    const { PingInterval } = options;
    if (PingInterval === 0) return;
    this.#lifeTimer = setInterval(() => {
      for (const session of this.#sessions.keys()) session.checkLife(PingInterval);
    }, PingInterval * 1000);
  }

  /** Closes the listeners, and the sessions after a moment for their last words. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearInterval(this.#lifeTimer);
    for (const { server } of this.#listening) server.close();
    this.#listening = [];
    // Publishers and players have just been ended: their sessions say so in this turn.
    await delay(0);
    for (const session of this.#sessions.keys()) session.stop();
    const late = setTimeout(() => {
      for (const session of this.#sessions.keys()) session.close("the server stops");
    }, STOP_MS);
    await Promise.all(this.#sessions.values());
    clearTimeout(late);
    this.#warnings.flush();
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
    const { host, tls } = listen;
    const { log } = this.#context;
    const serve = (socket: Socket) => this.#serve(socket);
    const server = tls === undefined
      ? createServer(SOCKET, serve)
      : createTlsServer({ ...SOCKET, ...tls, handshakeTimeout: HANDSHAKE_MS }, serve);
    if (tls !== undefined) {
      server.on("tlsClientError", (error: Error, socket: Socket) => {
        const peer = addressOf(socket.remoteAddress, socket.remotePort);
        this.#host.warn("{peer} ended: {reason}", { peer, reason: error.message });
      });
    }
    const shared = this.#context.engine.isolates.count > 1;
    const port = await bind(server, { ...listen, shared });
    server.on("error", (error) => {
      this.#warnings.add(() => log.warn("cannot accept a connection: {error}", { error }));
    });
    const scheme = tls === undefined ? "rtmp" : "rtmps";
    const url = `${scheme}://${addressOf(localHost(host), port)}`;
    this.#listening.push({ server, url, listen });
    log.info("listening on {url}, publish and play as {url}/live/NAME", { url });
  }

  #serve(socket: Socket): void {
    if (this.#stopped) {
      socket.destroy();
      return;
    }
    const peer = addressOf(socket.remoteAddress, socket.remotePort);
    const connection = new Connection(socket, this.#options.WriteTimeout * 1000);
    const session = new RtmpSession(connection, peer, this.#host);
    const ended = session.run().then((reason) => {
      this.#sessions.delete(session);
      if (reason !== undefined) this.#host.warn("{peer} ended: {reason}", { peer, reason });
    });
    this.#sessions.set(session, ended);
  }
}

/** Small writes go out at once; the system finds out about peers that have vanished. */
const SOCKET = { noDelay: true, keepAlive: true } as const;
/** Time for a TLS handshake, in ms. */
const HANDSHAKE_MS = 10_000;

/** The listeners that `options` want. */
async function listens(options: RtmpOptions): Promise<Listen[]> {
  const { Host: host, Port: port, TLSPort, Cert, Key } = options;
  const plain = { host, port };
  if (Cert === "") return [plain];
  return [plain, { host, port: TLSPort, tls: await readTlsPair(Cert, Key) }];
}

function same(a: Listen, b: Listen): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
