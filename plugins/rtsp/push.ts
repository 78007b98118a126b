/** Sending a stream to another RTSP server. */

import { serializeSdp } from "../../src/rtp/sdp.ts";
import { rtpDescription } from "../../src/rtp_format.ts";
import type { Subscriber } from "../../src/subscriber.ts";
import { following, RtspClient } from "./client.ts";
import { Links } from "./links.ts";
import type { RemoteOptions } from "./options.ts";
import { type Attempt, reasonOf, type RemoteHost, serverOf, setUpTrack, trying } from "./remote.ts";
import { Sending, TRACK_KINDS, tracksOf } from "./sending.ts";
import { redact, resolveControl, type RtspAddress } from "./url.ts";

/** A stream that is sent whenever it is live. */
export class Push {
  /** How it is sent. */
  readonly options: RemoteOptions;
  readonly #path: string;
  readonly #host: RemoteHost;
  readonly #over = new AbortController();
  #running: Promise<void> | undefined;

  /** Not begun yet. */
  constructor(path: string, options: RemoteOptions, host: RemoteHost) {
    this.#path = path;
    this.options = options;
    this.#host = host;
  }

  /** Begins, unless it is under way: until it is stopped or the stream ends. */
  start(): void {
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
      // There may be another stream by now.
      if (this.#isLive()) this.start();
    });
  }

  /** Ends it. */
  async stop(): Promise<void> {
    this.#over.abort(new DOMException("It is not sent any more", "AbortError"));
    await this.#running;
  }

  #isLive(): boolean {
    const stream = this.#host.server.context.engine.getStream(this.#path);
    return !this.#over.signal.aborted && stream !== undefined && stream.state !== "ended";
  }

  #run(): Promise<void> {
    const { random, server: { warn } } = this.#host;
    return trying({
      attempt: (attempt) => following(this.options.URL, (to) => this.#attempt(to, attempt)),
      isWanted: () => this.#isLive(),
      onFailure: (error, waitMs) =>
        warn("{path}: cannot send it to {url}: {reason}; next try in {seconds} s", {
          path: this.#path,
          url: redact(this.options.URL),
          reason: reasonOf(error),
          seconds: (waitMs / 1000).toFixed(1),
        }),
      random,
      signal: this.#over.signal,
    });
  }

  async #attempt(address: RtspAddress, attempt: Attempt): Promise<void> {
    const { context, options } = this.#host.server;
    const { signal } = attempt;
    const subscriber = await context.subscribe(this.#path, {
      type: "RTSP",
      id: serverOf(this.options),
      signal,
    });
    try {
      await subscriber.stream.waitSettled(subscriber.signal);
      const client = await RtspClient.connect(address, {
        signal,
        writeTimeoutMs: options.WriteTimeout * 1000,
        fingerprint: this.options.Fingerprint,
        onFrame: (frame) => links.push(frame),
      });
      const links: Links = new Links({ connection: client.connection, onPacket: () => {} });
      try {
        await this.#send(client, { subscriber, links, url: address.url }, attempt);
      } finally {
        await client.tearDown(address.url);
        links.close();
      }
    } finally {
      subscriber.close();
    }
  }

  async #send(
    client: RtspClient,
    way: { readonly subscriber: Subscriber; readonly links: Links; readonly url: string },
    { onSuccess }: Attempt,
  ): Promise<void> {
    const { subscriber, links, url } = way;
    const { formats, options: { Flush, MaxLag } } = this.#host.server;
    await client.request("OPTIONS", url);
    const media = rtpDescription(tracksOf(subscriber.stream)).map(({ kind, format }) => ({
      kind,
      port: 0,
      protocol: "RTP/AVP",
      formats: [format],
      control: controlOf(kind),
      attributes: [],
    }));
    if (media.length === 0) throw new Error("RTP carries none of its codecs");
    const description = { name: this.#path, control: "*", attributes: [], media };
    await client.request("ANNOUNCE", url, {
      headers: { "Content-Type": "application/sdp" },
      body: serializeSdp(description),
    });
    for (const { kind, control } of media) {
      const track = TRACK_KINDS.indexOf(kind);
      const carrier = this.options.Transport;
      const setup = { track, url: resolveControl(url, control), links, carrier } as const;
      await setUpTrack(client, { ...setup, mode: "record" }, this.#host);
    }
    await client.request("RECORD", url, { headers: { Range: "npt=0.000-" } });
    client.keepAlive(url);
    const sending = new Sending({
      subscriber,
      links,
      connection: client.connection,
      formats,
      flushMs: Flush,
      maxLagMs: MaxLag * 1000,
      onStart: onSuccess,
    });
    const lost = client.over.then((reason) => {
      throw new Error(reason);
    });
    try {
      await Promise.race([sending.run(), lost]);
      await sending.goodbye();
    } finally {
      sending.stop();
    }
  }
}

function controlOf(kind: typeof TRACK_KINDS[number]): string {
  return `trackID=${TRACK_KINDS.indexOf(kind)}`;
}
