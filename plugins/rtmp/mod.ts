/**
 * RTMP and RTMPS: a server for publishers and players.
 *
 * @module
 */

import { delay } from "@std/async/delay";
import { Tally } from "../../src/log.ts";
import { definePlugin, type Plugin, type PluginContext } from "../../src/plugin.ts";
import { Connection } from "./connection.ts";
import { playFormats } from "./format.ts";
import { type RtmpOptions, rtmpSchema } from "./options.ts";
import { rtmpService } from "./service.ts";
import { RtmpSession, type SessionHost } from "./session.ts";

export type { RtmpOptions } from "./options.ts";

/** Lines a second about connections that ended with an error; further ones are counted. */
const ERROR_LINES = 5;
/** Time for sessions to end in good order when the plugin stops. */
const STOP_MS = 1000;
/** Pause after a connection could not be accepted, such as for want of file descriptors. */
const ACCEPT_RETRY_MS = 100;

/** The plugin. */
const rtmp: Plugin<RtmpOptions> = definePlugin({
  name: "rtmp",
  options: rtmpSchema,
  provides: [rtmpService],
  async run(context: PluginContext<RtmpOptions>) {
    const { options, log, defer } = context;
    const server = new Server(context);
    defer(() => server.stop());
    const urls = [server.listen(listen(options), "rtmp")];
    if (options.Cert !== "") {
      const [cert, key] = await Promise.all([
        Deno.readTextFile(options.Cert),
        Deno.readTextFile(options.Key),
      ]);
      const listener = Deno.listenTls({ hostname: options.Host, port: options.TLSPort, cert, key });
      urls.push(server.listen(listener, "rtmps"));
    }
    context.provide(rtmpService, { urls });
    log.info("listening on {urls}", { urls: urls.join(" and ") });
  },
});

export default rtmp;

function listen({ Host, Port }: RtmpOptions): Deno.Listener {
  try {
    return Deno.listen({ hostname: Host, port: Port });
  } catch (cause) {
    const why = cause instanceof Deno.errors.AddrInUse ? "the port is in use" : String(cause);
    throw new Error(`cannot listen on ${Host}:${Port}: ${why}`, { cause });
  }
}

/** The listeners of a running plugin and the sessions that came through them. */
class Server {
  readonly #context: PluginContext<RtmpOptions>;
  readonly #host: SessionHost;
  readonly #listeners: Deno.Listener[] = [];
  readonly #sessions = new Map<RtmpSession, Promise<void>>();
  readonly #errors: Tally;

  constructor(context: PluginContext<RtmpOptions>) {
    this.#context = context;
    this.#host = { context, formats: playFormats() };
    this.#errors = new Tally(
      ERROR_LINES,
      (count) => context.log.warn("{count} more connections ended with an error", { count }),
    );
  }

  /** Takes connections of `listener`; the address at which it is reached. */
  listen(listener: Deno.Listener, scheme: "rtmp" | "rtmps"): string {
    this.#listeners.push(listener);
    this.#accept(listener);
    const { hostname, port } = listener.addr as Deno.NetAddr;
    return `${scheme}://${hostname === "0.0.0.0" ? "127.0.0.1" : hostname}:${port}`;
  }

  /** Closes the listeners, and the sessions after a moment for their last words. */
  async stop(): Promise<void> {
    for (const listener of this.#listeners) listener.close();
    const sessions = [...this.#sessions.values()];
    const late = setTimeout(() => {
      for (const session of this.#sessions.keys()) session.close("the server stops");
    }, STOP_MS);
    // Publishers and players have just been ended: their sessions say so in this turn.
    await delay(0);
    for (const session of this.#sessions.keys()) session.stop();
    await Promise.all(sessions);
    clearTimeout(late);
    this.#errors.flush();
  }

  async #accept(listener: Deno.Listener): Promise<void> {
    const { signal, log } = this.#context;
    while (!signal.aborted) {
      try {
        this.#serve(await listener.accept());
      } catch (error) {
        if (signal.aborted || error instanceof Deno.errors.BadResource) return;
        this.#errors.add(() => log.warn("cannot accept a connection: {error}", { error }));
        await delay(ACCEPT_RETRY_MS, { signal }).catch(() => {});
      }
    }
  }

  #serve(conn: Deno.Conn): void {
    const { options, log } = this.#context;
    const { hostname, port } = conn.remoteAddr as Deno.NetAddr;
    const peer = `${hostname}:${port}`;
    if ("setNoDelay" in conn) (conn as Deno.TcpConn).setNoDelay(true);
    if ("setKeepAlive" in conn) (conn as Deno.TcpConn).setKeepAlive(true);
    const connection = new Connection(conn, options.WriteTimeout * 1000);
    const session = new RtmpSession(connection, peer, this.#host);
    const ended = session.run().then((error) => {
      this.#sessions.delete(session);
      if (error === undefined) return;
      this.#errors.add(() => log.warn("{peer} ended: {error}", { peer, error }));
    });
    this.#sessions.set(session, ended);
  }
}
