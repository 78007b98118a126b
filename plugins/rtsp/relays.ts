/** The streams that are fetched from other servers and sent to them, as the options say. */

import type { Stream } from "../../src/stream.ts";
import type { RtspOptions } from "./options.ts";
import { Pull } from "./pull.ts";
import { Push } from "./push.ts";
import type { RemoteHost } from "./remote.ts";

/** All {@linkcode Pull}s and {@linkcode Push}es of a plugin, by their paths. */
export class Relays {
  readonly #host: RemoteHost;
  readonly #pulls = new Map<string, Pull>();
  readonly #pushes = new Map<string, Push>();

  /** None yet. */
  constructor(host: RemoteHost) {
    this.#host = host;
    const { context } = host.server;
    context.on("ondemand", ({ detail }) => this.#pulls.get(detail.path)?.start());
    context.on("publish", ({ detail }) => this.#push(detail.stream));
  }

  /** Begins what `options` add, and ends what they leave out or change. */
  async configure({ Pull: pulls, Push: pushes }: RtspOptions): Promise<void> {
    const { engine } = this.#host.server.context;
    const host = this.#host;
    await replace(this.#pulls, pulls, (path, options) => new Pull(path, options, host));
    await replace(this.#pushes, pushes, (path, options) => new Push(path, options, host));
    // One isolate is enough to fetch a stream; that in which somebody waits is asked on demand.
    for (const pull of this.#pulls.values()) {
      if (pull.options.Always && engine.isolates.index === 0) pull.start();
    }
    for (const stream of engine.streams.values()) this.#push(stream);
  }

  /** Ends all. */
  async stop(): Promise<void> {
    await Promise.all([...this.#pulls.values(), ...this.#pushes.values()].map((one) => one.stop()));
  }

  /** A stream is sent from where it is published. */
  #push(stream: Stream): void {
    if (!stream.replica) this.#pushes.get(stream.path)?.start();
  }
}

/** Makes `relays` those of `wanted`; what has not changed goes on. */
async function replace<O, R extends { readonly options: O; stop(): Promise<void> }>(
  relays: Map<string, R>,
  wanted: Readonly<Record<string, O>>,
  make: (path: string, options: O) => R,
): Promise<void> {
  const isKept = ([path, { options }]: [string, R]) =>
    JSON.stringify(wanted[path]) === JSON.stringify(options);
  const gone = [...relays].filter((entry) => !isKept(entry));
  await Promise.all(gone.map(([, relay]) => relay.stop()));
  for (const [path] of gone) relays.delete(path);
  for (const [path, options] of Object.entries(wanted)) {
    if (!relays.has(path)) relays.set(path, make(path, options));
  }
}
