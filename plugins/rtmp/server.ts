/** The listeners of a running rtmp plugin, and the sessions that came through them. */

import { delay } from "@std/async/delay";
import { Tally } from "../../src/log.ts";
import type { PluginContext } from "../../src/plugin.ts";
import { Connection } from "./connection.ts";
import { playFormats } from "./format.ts";
import type { SessionHost } from "./message_streams.ts";
import type { RtmpOptions } from "./options.ts";
import { RtmpSession } from "./session.ts";

/** Lines a second about what peers did wrong; further ones are counted. */
const WARNINGS_A_SECOND = 5;
/** Time for sessions to end in good order when the plugin stops. */
const STOP_MS = 800;
/** Pause after a connection could not be accepted, such as for want of file descriptors. */
const ACCEPT_RETRY_MS = 100;

/** A listener and what it was made of. */
interface Listening {
  readonly listener: Deno.Listener;
  readonly url: string;
  readonly listen: Listen;
}

/** How a listener is made. */
interface Listen {
  readonly scheme: string;
  readonly hostname: string;
  readonly port: number;
  /** Certificate chain and private key of TLS, as PEM. */
  readonly tls?: { readonly cert: string; readonly key: string };
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
      this.#relisten(wanted);
    } catch (error) {
      try {
        this.#relisten(old);
      } catch {
        // The first error says what is wrong.
      }
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
    for (const { listener } of this.#listening) listener.close();
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
  #relisten(wanted: readonly Listen[]): void {
    const kept = this.#listening.filter(({ listen }) =>
      wanted.some((other) => same(other, listen))
    );
    for (const listening of this.#listening) {
      if (!kept.includes(listening)) listening.listener.close();
    }
    this.#listening = kept;
    const missing = wanted.filter((listen) => !kept.some((other) => same(other.listen, listen)));
    for (const listen of missing) this.#listen(listen);
  }

  #listen(listen: Listen): void {
    const { scheme, hostname, port, tls } = listen;
    let listener: Deno.Listener;
    try {
      listener = tls ? Deno.listenTls({ hostname, port, ...tls }) : Deno.listen({ hostname, port });
    } catch (cause) {
      const used = cause instanceof Deno.errors.AddrInUse;
      const why = used ? "the port is in use" : cause instanceof Error ? cause.message : cause;
      throw new Error(`cannot listen on ${hostname}:${port}: ${why}`, { cause });
    }
    const { addr } = listener;
    const url = `${scheme}://${addressOf({ ...addr as Deno.NetAddr, hostname: reach(hostname) })}`;
    this.#listening.push({ listener, url, listen });
    const log = this.#context.log;
    log.info("listening on {url}, publish and play as {url}/live/NAME", { url });
    this.#accept(listener);
  }

  async #accept(listener: Deno.Listener): Promise<void> {
    const { signal, log } = this.#context;
    while (this.#listening.some((listening) => listening.listener === listener)) {
      try {
        this.#serve(await listener.accept());
      } catch (error) {
        if (error instanceof Deno.errors.BadResource) return;
        this.#warnings.add(() => log.warn("cannot accept a connection: {error}", { error }));
        await delay(ACCEPT_RETRY_MS, { signal }).catch(() => {});
      }
    }
  }

  #serve(conn: Deno.Conn): void {
    if (this.#stopped) return conn.close();
    try {
      const socket = conn as Deno.TcpConn;
      socket.setNoDelay(true);
      socket.setKeepAlive(true);
    } catch {
      // The peer has gone already, which reading will show; and Deno's TLS connections have neither,
      // so that small writes over RTMPS may wait for an acknowledgement.
    }
    const peer = addressOf(conn.remoteAddr as Deno.NetAddr);
    const connection = new Connection(conn, this.#options.WriteTimeout * 1000);
    const session = new RtmpSession(connection, peer, this.#host);
    const ended = session.run().then((reason) => {
      this.#sessions.delete(session);
      if (reason !== undefined) this.#host.warn("{peer} ended: {reason}", { peer, reason });
    });
    this.#sessions.set(session, ended);
  }
}

/** The listeners that `options` want. */
async function listens(options: RtmpOptions): Promise<Listen[]> {
  const { Host: hostname, Port, TLSPort, Cert, Key } = options;
  const plain = { scheme: "rtmp", hostname, port: Port };
  if (Cert === "") return [plain];
  const tls = { cert: await readPem("Cert", Cert), key: await readPem("Key", Key) };
  return [plain, { scheme: "rtmps", hostname, port: TLSPort, tls }];
}

async function readPem(option: string, file: string): Promise<string> {
  try {
    return await Deno.readTextFile(file);
  } catch (cause) {
    throw new Error(`cannot read ${option} = ${JSON.stringify(file)}: ${cause}`, { cause });
  }
}

function same(a: Listen, b: Listen): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** The host by which this machine reaches a listener on `hostname`. */
function reach(hostname: string): string {
  return hostname === "0.0.0.0" ? "127.0.0.1" : hostname === "::" ? "::1" : hostname;
}

/** Host and port as URLs have them; IPv4 addresses that came over IPv6 as IPv4. */
function addressOf({ hostname, port }: Pick<Deno.NetAddr, "hostname" | "port">): string {
  const host = hostname.replace(/^::ffff:(?=\d+\.)/, "");
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
