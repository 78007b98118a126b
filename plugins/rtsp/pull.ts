/** Fetching a stream from another RTSP server. */

import type { Publisher } from "../../src/publisher.ts";
import type { MediaDescription, SessionDescription } from "../../src/rtp/sdp.ts";
import { parseSdp } from "../../src/rtp/sdp.ts";
import { following, RedirectError, RtspClient } from "./client.ts";
import { StatusError } from "./exchange.ts";
import { parseRtpInfo } from "./fields.ts";
import { Links } from "./links.ts";
import type { Carrier, PullOptions } from "./options.ts";
import { isSupported, Receiving } from "./receiving.ts";
import { type Attempt, reasonOf, type RemoteHost, serverOf, setUpTrack, trying } from "./remote.ts";
import { baseUrl, comparable, redact, resolveControl, type RtspAddress } from "./url.ts";

/** Most tracks that are fetched: cameras have two or three. */
const MAX_TRACKS = 8;

/** How long the first packet may take by UDP where the connection would do as well. */
const SILENCE_MS = 3000;

/** A stream that is fetched, always or on demand. */
export class Pull {
  /** How it is fetched. */
  readonly options: PullOptions;
  readonly #path: string;
  readonly #host: RemoteHost;
  readonly #over = new AbortController();
  #running: Promise<void> | undefined;
  /** Whether packets have come in the connection after none had come by UDP. */
  #needsTcp = false;

  /** Not begun yet. */
  constructor(path: string, options: PullOptions, host: RemoteHost) {
    this.#path = path;
    this.options = options;
    this.#host = host;
  }

  /** Begins, unless it is under way: until it is stopped, or on demand until nobody watches. */
  start(): void {
    this.#running ??= this.#run().finally(() => this.#running = undefined);
  }

  /** Ends it. */
  async stop(): Promise<void> {
    this.#over.abort(new DOMException("It is not fetched any more", "AbortError"));
    await this.#running;
  }

  #run(): Promise<void> {
    const { random, server: { warn } } = this.#host;
    return trying({
      attempt: (attempt) => following(this.options.URL, (to) => this.#attempt(to, attempt)),
      isWanted: () => this.options.Always || this.#isWatched(),
      onFailure: (error, waitMs) =>
        warn("{path}: cannot fetch {url}: {reason}; next try in {seconds} s", {
          path: this.#path,
          url: redact(this.options.URL),
          reason: reasonOf(error),
          seconds: (waitMs / 1000).toFixed(1),
        }),
      random,
      signal: this.#over.signal,
    });
  }

  /** Whether somebody watches it or waits for it, also in another isolate. */
  #isWatched(): boolean {
    const { engine } = this.#host.server.context;
    const stream = engine.getStream(this.#path);
    // Somebody else publishes it by now.
    if (stream?.state === "live") return false;
    return engine.wants(this.#path) || (stream !== undefined && stream.subscribers.size > 0);
  }

  async #attempt(address: RtspAddress, attempt: Attempt): Promise<void> {
    const { Transport } = this.options;
    if (Transport !== "auto") return await this.#fetch(address, Transport, attempt);
    // What goes beside an encrypted connection is not encrypted.
    if (!address.isSecure && !this.#needsTcp) {
      try {
        return await this.#fetch(address, "udp", attempt);
      } catch (error) {
        if (!(error instanceof NoPacketError) || attempt.signal.aborted) throw error;
      }
    }
    const onSuccess = () => {
      this.#needsTcp = true;
      attempt.onSuccess();
    };
    await this.#fetch(address, "tcp", { ...attempt, onSuccess });
  }

  async #fetch(
    address: RtspAddress,
    carrier: Carrier,
    { onSuccess, signal }: Attempt,
  ): Promise<void> {
    let receiving: Receiving | undefined;
    const client = await RtspClient.connect(address, {
      signal,
      writeTimeoutMs: this.#host.server.options.WriteTimeout * 1000,
      fingerprint: this.options.Fingerprint,
      onFrame: (frame) => links.push(frame),
    });
    const links: Links = new Links({
      connection: client.connection,
      onPacket: (track, kind, bytes) => {
        if (receiving?.packets === 0) onSuccess();
        receiving?.push(track, kind, bytes);
      },
    });
    let session = address.url;
    let publisher: Publisher | undefined;
    let isDescribed = false;
    let silence: ReturnType<typeof setTimeout> | undefined;
    try {
      const { description, base } = await describe(client, address.url);
      isDescribed = true;
      session = resolveControl(base, description.control);
      const { media } = description;
      const urls = await this.#setUp(client, { links, media, session, carrier });
      publisher = await this.#publish();
      receiving = new Receiving(publisher, { media, links, reorder: this.#reorders() });
      const { headers } = await client.request("PLAY", session, {
        headers: { Range: "npt=0.000-" },
      });
      anchor(receiving, urls, headers.get("rtp-info") ?? "");
      client.keepAlive(session);
      const silent = Promise.withResolvers<never>();
      if (this.options.Transport === "auto" && carrier === "udp") {
        silence = setTimeout(() => {
          if (receiving?.packets === 0) silent.reject(new Error("no packet has come by UDP"));
        }, SILENCE_MS);
      }
      await Promise.race([client.over, publisher.closed, silent.promise]);
      if (publisher.end === undefined) throw new Error(await client.over);
      if (publisher.end.code !== "idle") throw new Error(publisher.end.detail);
    } catch (error) {
      publisher?.lose(reasonOf(error));
      const mayWork = isDescribed && !receiving?.packets && !(error instanceof RedirectError);
      throw mayWork ? new NoPacketError(error) : error;
    } finally {
      clearTimeout(silence);
      receiving?.end();
      await client.tearDown(session);
      links.close();
    }
  }

  #publish(): Promise<Publisher> {
    return this.#host.server.context.publish(this.#path, {
      type: "RTSP",
      id: serverOf(this.options),
      signal: this.#over.signal,
      // One on demand ends like all that are, one that is always there does not.
      ...(this.options.Always && { autoCloseDelay: -1 }),
    });
  }

  #reorders(): boolean {
    return this.#host.server.context.engine.options.RTPReorder;
  }

  /** Sets up all tracks that can be read: their URLs by number. */
  async #setUp(
    client: RtspClient,
    setup: {
      readonly links: Links;
      readonly media: readonly MediaDescription[];
      readonly session: string;
      readonly carrier: Carrier;
    },
  ): Promise<ReadonlyMap<number, string>> {
    const { links, media, session, carrier } = setup;
    const urls = new Map<number, string>();
    for (const [track, { formats, control }] of media.entries()) {
      if (!isSupported(formats) || urls.size === MAX_TRACKS) continue;
      const url = resolveControl(session, control);
      await setUpTrack(client, { track, url, links, carrier, mode: "play" }, this.#host);
      urls.set(track, url);
    }
    if (urls.size === 0) throw new Error("it has no codec that is known here");
    return urls;
  }
}

/** A server has told of its stream, and none of its packets has come. */
class NoPacketError extends Error {
  override readonly name = "NoPacketError";

  constructor(cause: unknown) {
    super(reasonOf(cause), { cause });
  }
}

/** What the server has at `url`, and what relative URLs in that are relative to. */
async function describe(
  client: RtspClient,
  url: string,
): Promise<{ readonly description: SessionDescription; readonly base: string }> {
  // Not all know it, and it only tells how to keep the session.
  await client.request("OPTIONS", url).catch((error) => {
    if (!(error instanceof StatusError)) throw error;
  });
  const { headers, body } = await client.request("DESCRIBE", url, {
    headers: { Accept: "application/sdp" },
  });
  const description = parseSdp(new TextDecoder().decode(body));
  return { description, base: baseUrl(headers, url) };
}

/** Tells when the tracks start, as RTP-Info has it. */
function anchor(receiving: Receiving, urls: ReadonlyMap<number, string>, info: string): void {
  const starts = parseRtpInfo(info);
  for (const [track, url] of urls) {
    const start = starts.find((other) => comparable(other.url) === comparable(url));
    if (start?.timestamp !== undefined) receiving.anchor(track, start.timestamp);
  }
}
