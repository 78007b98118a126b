/** The listeners of a running rtmp plugin, and the sessions that came through them. */

import { delay } from "@std/async/delay";
import type { Socket } from "node:net";
import { Tally } from "../../src/log.ts";
import type { PluginContext } from "../../src/plugin.ts";
import { Connection } from "../connection.ts";
import { Listeners } from "../listeners.ts";
import { addressOf } from "../tcp.ts";
import { playFormats } from "./format.ts";
import type { SessionHost } from "./message_streams.ts";
import type { RtmpOptions } from "./options.ts";
import { RtmpSession } from "./session.ts";

/** Lines a second about what peers did wrong; further ones are counted. */
const WARNINGS_A_SECOND = 5;
/** Time for sessions to end in good order when the plugin stops. */
const STOP_MS = 800;

/** What a running plugin consists of. */
export class RtmpServer {
  readonly #listeners: Listeners;
  readonly #host: SessionHost;
  readonly #sessions = new Map<RtmpSession, Promise<void>>();
  readonly #warnings: Tally;
  #options: RtmpOptions;
  #lifeTimer: ReturnType<typeof setInterval> | undefined;
  #stopped = false;

  /** A server that does not listen yet. */
  constructor(context: PluginContext<RtmpOptions>) {
    const { engine, log } = context;
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
    this.#listeners = new Listeners({
      scheme: "rtmp",
      shared: engine.isolates.count > 1,
      log,
      onSocket: (socket) => this.#serve(socket),
      onFailure: (peer, reason) => this.#host.warn("{peer} ended: {reason}", { peer, reason }),
    });
  }

  /** Addresses that clients on this machine reach it at. */
  get urls(): readonly string[] {
    return this.#listeners.urls;
  }

  /**
   * Takes `options` for sessions to come, and listens where they say. Sessions go on.
   *
   * @throws {Error} If it can't; it goes on as before then, as far as the ports are still free.
   */
  async configure(options: RtmpOptions): Promise<void> {
    await this.#listeners.configure(options);
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
    this.#listeners.close();
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
