/** The listeners of a running rtsp plugin, and the sessions that came through them. */

import { delay } from "@std/async/delay";
import type { Socket } from "node:net";
import { Tally } from "../../src/log.ts";
import type { PluginContext } from "../../src/plugin.ts";
import { rtpFormats } from "../../src/rtp_format.ts";
import { Connection } from "../connection.ts";
import { Listeners } from "../listeners.ts";
import { addressOf } from "../tcp.ts";
import type { SessionHost } from "./media_session.ts";
import type { RtspOptions } from "./options.ts";
import { RtspSession } from "./session.ts";
import { plainAddress, UdpPorts } from "./udp.ts";

/** Lines a second about what peers did wrong; further ones are counted. */
const WARNINGS_A_SECOND = 5;
/** Time for sessions to end in good order when the plugin stops. */
const STOP_MS = 800;

/** The server of a running plugin. */
export class RtspServer {
  /** What its sessions share. */
  readonly host: SessionHost;
  readonly #listeners: Listeners;
  readonly #sessions = new Map<RtspSession, Promise<void>>();
  readonly #warnings: Tally;
  #options: RtspOptions;
  #ports: UdpPorts;
  #stopped = false;

  /** A server that does not listen yet. */
  constructor(context: PluginContext<RtspOptions>) {
    const { log, engine } = context;
    this.#options = context.options;
    this.#ports = new UdpPorts(context.options.UDPPorts);
    this.#warnings = new Tally(
      WARNINGS_A_SECOND,
      (count) => log.warn("{count} more connections did something wrong", { count }),
    );
    const options = () => this.#options;
    const ports = () => this.#ports;
    this.host = {
      context,
      formats: rtpFormats(),
      get options() {
        return options();
      },
      get ports() {
        return ports();
      },
      warn: (message, properties) => this.#warnings.add(() => log.warn(message, properties)),
    };
    this.#listeners = new Listeners({
      scheme: "rtsp",
      shared: engine.isolates.count > 1,
      log,
      onSocket: (socket) => this.#serve(socket),
      onFailure: (peer, reason) => this.host.warn("{peer} ended: {reason}", { peer, reason }),
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
  async configure(options: RtspOptions): Promise<void> {
    await this.#listeners.configure(options);
    if (`${options.UDPPorts}` !== `${this.#options.UDPPorts}`) {
      this.#ports = new UdpPorts(options.UDPPorts);
    }
    this.#options = options;
  }

  /** Closes the listeners, and the sessions after a moment for their last words. */
  async stop(): Promise<void> {
    this.#stopped = true;
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
    const name = addressOf(socket.remoteAddress, socket.remotePort);
    const peer = {
      name,
      address: plainAddress(socket.remoteAddress),
      localAddress: plainAddress(socket.localAddress),
      isSecure: "encrypted" in socket && socket.encrypted === true,
    };
    const connection = new Connection(socket, this.#options.WriteTimeout * 1000);
    const session = new RtspSession(connection, peer, this.host);
    const ended = session.run().then((reason) => {
      this.#sessions.delete(session);
      if (reason !== undefined) this.host.warn("{peer} ended: {reason}", { peer: name, reason });
    });
    this.#sessions.set(session, ended);
  }
}
