/** What a client of the server sets up, and plays or publishes (RFC 2326 10, A). */

import { abortable } from "@std/async/abortable";
import { delay } from "@std/async/delay";
import { type End, InvalidDataError, StreamNotFoundError } from "../../src/errors.ts";
import type { FormatFactory } from "../../src/mux.ts";
import type { PluginContext } from "../../src/plugin.ts";
import { parseSdp } from "../../src/rtp/sdp.ts";
import type { RtpFormatOptions } from "../../src/rtp_format.ts";
import type { Subscriber } from "../../src/subscriber.ts";
import type { Connection } from "../connection.ts";
import type { StartDeadline } from "../start_deadline.ts";
import { type Exchange, notNow, StatusError } from "./exchange.ts";
import { formatRtpInfo, formatSession, parseSession } from "./fields.ts";
import { Links } from "./links.ts";
import { type InterleavedFrame, type RtspRequest, RtspStatus } from "./message.ts";
import type { RtspOptions } from "./options.ts";
import { Playback } from "./playback.ts";
import { Publication } from "./publication.ts";
import { formatRange, parseRange } from "./range.ts";
import { isSupported } from "./receiving.ts";
import { SignOfLife } from "./sign_of_life.ts";
import { chooseTransport, formatTransports, parseTransports, type Transport } from "./transport.ts";
import type { PacketKind, UdpPorts } from "./udp.ts";
import { requestTarget } from "./url.ts";

/**
 * How long a player whose stream has ended may take to say TEARDOWN: there are some for which it is a
 * failure if nobody answers that, and by UDP they wait for what is lost for two seconds before.
 */
const GOODBYE_MS = 3000;

/**
 * How long packets of a publisher over UDP are taken once it has paused or left: those that it sent
 * before are there, but come by another way than its last word.
 */
const DRAIN_MS = 200;

/** What sessions share. */
export interface SessionHost {
  /** The plugin's context; its options are those of the start. */
  readonly context: PluginContext<RtspOptions>;
  /** The options of now. */
  readonly options: RtspOptions;
  /** The formats of players by their channels. */
  readonly formats: (options: RtpFormatOptions) => FormatFactory;
  /** The UDP ports of now. */
  readonly ports: UdpPorts;
  /** Logs what a peer did wrong, unless peers do too much. */
  warn(message: string, properties: Record<string, unknown>): void;
}

/** Who is at the other end of a connection. */
export interface Peer {
  /** Address and port, for people. */
  readonly name: string;
  /** Its address. */
  readonly address: string;
  /** The address of ours that it has reached. */
  readonly localAddress: string;
  /** Whether the connection is over TLS. */
  readonly isSecure: boolean;
}

/** What a {@linkcode MediaSession} belongs to. */
export interface MediaSessionInit {
  /** What sessions share. */
  readonly host: SessionHost;
  /** Where packets go that are interleaved. */
  readonly connection: Connection;
  /** Who is at the other end. */
  readonly peer: Peer;
  /** Until when it has to begin. */
  readonly deadline: StartDeadline;
  /** Called when the connection is to end: with the reason if it is one for the log. */
  readonly onLeave: (reason?: string) => void;
}

/** The one session that a connection can have: it plays, or it publishes. */
export class MediaSession {
  readonly #init: MediaSessionInit;
  readonly #over = new AbortController();
  #playback: Playback | undefined;
  #publication: Publication | undefined;
  /** Path and arguments of what is played. */
  #target = "";
  /** Name of the session; undefined before the first SETUP. */
  #id: string | undefined;
  #links: Links;
  /** URLs of the tracks as they were set up. */
  readonly #urls = new Map<number, string>();
  readonly #life: SignOfLife;
  #goodbyeTimer: ReturnType<typeof setTimeout> | undefined;

  /** With nothing set up. */
  constructor(init: MediaSessionInit) {
    this.#init = init;
    this.#links = this.#newLinks();
    this.#life = new SignOfLife((seconds) =>
      init.onLeave(`it gave no sign of life for ${seconds} s`)
    );
  }

  /** Whether something is set up. */
  get exists(): boolean {
    return this.#id !== undefined;
  }

  /** Aborted when the connection is over. */
  get signal(): AbortSignal {
    return this.#over.signal;
  }

  /**
   * Takes note of a request that names a session.
   *
   * @throws {StatusError} If it is another session than that of the connection.
   */
  check({ headers }: RtspRequest, isRequired: boolean): void {
    const field = headers.get("session");
    this.#life.touch();
    if (field === undefined && !isRequired) return;
    if (this.#id === undefined || field === undefined || parseSession(field).id !== this.#id) {
      throw new StatusError(RtspStatus.sessionNotFound, "there is no such session");
    }
  }

  /** Takes an interleaved frame. */
  push(frame: InterleavedFrame): void {
    this.#links.push(frame);
  }

  /** Takes ANNOUNCE of `target`, the path and arguments that it is let in with. */
  async announce({ request, respond }: Exchange, target: string): Promise<void> {
    this.#refuseBusy();
    const { host: { context, options }, peer, deadline } = this.#init;
    const type = request.headers.get("content-type") ?? "application/sdp";
    if (!/^application\/sdp\b/i.test(type)) {
      throw new StatusError(RtspStatus.unsupportedMediaType, "it describes its session otherwise");
    }
    const { media } = parseSdp(new TextDecoder().decode(request.body));
    if (!media.some(({ formats }) => isSupported(formats))) {
      throw new StatusError(RtspStatus.unsupportedMediaType, "it has no codec that is known here");
    }
    const { signal } = this;
    deadline.attempt();
    try {
      const publishing = context.publish(target, {
        type: "RTSP",
        id: peer.name,
        autoCloseDelay: options.AutoCloseDelay,
        takeOver: options.TakeOver,
        signal,
      });
      // A guard that takes its time is not to hold up the end of the session.
      const publisher = await abortable(publishing, signal);
      this.#publication = new Publication(publisher, { url: request.url, media }, (end) => {
        this.#onPublicationEnd(end);
      });
    } finally {
      deadline.settle(false);
    }
    respond({ status: RtspStatus.ok });
  }

  /** Takes DESCRIBE of `target`, the path and arguments that it is let in with. */
  async describe({ request, respond }: Exchange, target: string): Promise<void> {
    this.#refuseBusy();
    const accept = request.headers.get("accept") ?? "*/*";
    if (!/application\/sdp|application\/\*|\*\/\*/i.test(accept)) {
      throw new StatusError(RtspStatus.notAcceptable, "it wants no session description");
    }
    const playback = await this.#open(target);
    const mark = request.url.indexOf("?");
    const path = mark < 0 ? request.url : request.url.slice(0, mark);
    respond({
      status: RtspStatus.ok,
      headers: {
        "Content-Base": path.endsWith("/") ? path : `${path}/`,
        "Content-Type": "application/sdp",
      },
      body: playback.describe(request.url, this.#init.peer.localAddress),
    });
  }

  /** Takes SETUP; `admit` gives the path and arguments that it is let in with, where that is asked. */
  async setUp(exchange: Exchange, admit: () => string | undefined): Promise<void> {
    const { request, respond } = exchange;
    this.check(request, false);
    if (this.#playback?.begun || this.#publication?.recording) throw notNow();
    const track = await this.#trackOf(request.url, admit);
    if (track === undefined) return;
    const offers = parseTransports(request.headers.get("transport") ?? "");
    const isPlayer = this.#publication === undefined;
    const { carrier, tracks } = this.#links;
    const isFirst = tracks.every((other) => other === track);
    const { host, peer } = this.#init;
    const chosen = chooseTransport(offers, {
      tcp: isFirst || carrier === "tcp",
      udp: (isFirst || carrier === "udp") && host.ports.exist && !peer.isSecure,
    });
    const transport = chosen && await this.#link(track, chosen);
    if (transport === undefined) {
      throw new StatusError(RtspStatus.unsupportedTransport, "there is no such transport here");
    }
    if (isPlayer && transport.mode === "record") throw notNow();
    this.#id ??= crypto.randomUUID().replaceAll("-", "");
    this.#urls.set(track, request.url);
    if (this.#links.carrier === "udp") this.#life.watch(host.options.SessionTimeout);
    else this.#life.stop();
    respond({
      status: RtspStatus.ok,
      headers: { Transport: formatTransports(transport), ...this.#sessionHeader() },
    });
  }

  /** Takes PLAY; settles when it is answered. */
  play({ request, respond }: Exchange): Promise<void> | void {
    this.check(request, true);
    const playback = this.#playback;
    if (playback === undefined) throw notNow();
    this.#refuseTrack(request.url);
    checkRange(request);
    const headers = { Range: formatRange({ startUs: "now" }), ...this.#sessionHeader() };
    if (playback.playing) return respond({ status: RtspStatus.ok, headers });
    if (!playback.begun && !playback.isCurrent) {
      throw notNow("the stream has changed since it was described");
    }
    this.#init.deadline.clear();
    return new Promise((resolve) => {
      const { signal } = this;
      const leave = () => resolve();
      signal.addEventListener("abort", leave, { once: true });
      playback.play(this.#links, (first) => {
        signal.removeEventListener("abort", leave);
        const tracks = [...this.#urls].map(([track, url]) => ({ url, ...first.get(track) }));
        respond({
          status: RtspStatus.ok,
          headers: { ...headers, "RTP-Info": formatRtpInfo(tracks) },
        });
        resolve();
      });
    });
  }

  /** Takes PAUSE. */
  async pause({ request, respond }: Exchange): Promise<void> {
    this.check(request, true);
    await this.drain();
    const paused = this.#playback?.begun
      ? this.#playback
      : this.#publication?.recording
      ? this.#publication
      : undefined;
    if (paused === undefined) throw notNow();
    this.#refuseTrack(request.url);
    paused.pause();
    respond({ status: RtspStatus.ok, headers: this.#sessionHeader() });
  }

  /** Takes RECORD. */
  record({ request, respond }: Exchange): void {
    this.check(request, true);
    const publication = this.#publication;
    if (publication === undefined) throw notNow();
    const { context } = this.#init.host;
    publication.record(this.#links, context.engine.options.RTPReorder);
    this.#init.deadline.clear();
    respond({ status: RtspStatus.ok, headers: this.#sessionHeader() });
  }

  /** Takes TEARDOWN: the connection may begin anew. */
  async tearDown({ request, respond }: Exchange): Promise<void> {
    this.check(request, true);
    await this.drain();
    if (this.signal.aborted) return;
    this.#publication?.close();
    this.#reset();
    this.#init.deadline.restart();
    respond({ status: RtspStatus.ok });
  }

  /** Waits for the packets that a publisher has sent before its last word. Never rejects. */
  async drain(): Promise<void> {
    if (!this.#publication?.taking || this.#links.carrier !== "udp") return;
    const { signal } = this;
    await delay(DRAIN_MS, { signal }).catch(() => {});
  }

  /** Ends all as of a connection that broke, or of a peer that did wrong: then with the `error`. */
  end(detail: string, error?: unknown): void {
    this.#publication?.lose(detail, error);
    this.#reset();
    this.#over.abort(new DOMException("The session ended", "AbortError"));
  }

  /** The stream of `target`, as soon as its tracks are known. */
  async #open(target: string): Promise<Playback> {
    if (this.#playback !== undefined && this.#target === target) return this.#playback;
    this.#playback?.stop();
    this.#playback = undefined;
    const { host, connection, peer, deadline } = this.#init;
    const { context, options, formats } = host;
    const { signal } = this;
    deadline.attempt();
    let subscriber: Subscriber | undefined;
    try {
      subscriber = await context.subscribe(target, { type: "RTSP", id: peer.name, signal });
      await waitSettled(subscriber, context.engine.options.OnDemandPublishTimeout);
    } catch (error) {
      subscriber?.close();
      throw error;
    } finally {
      deadline.settle(false);
    }
    const { path } = subscriber.stream;
    const playback = new Playback(subscriber, {
      connection,
      formats,
      options,
      onLeftOut: (codec) =>
        host.warn("{path}: left {codec} out for {peer}, since RTP does not carry it", {
          path,
          codec,
          peer: peer.name,
        }),
      onEnd: (end) => this.#onPlaybackEnd(end),
    });
    if (playback.tracks.length === 0) {
      playback.stop();
      throw new StatusError(RtspStatus.notAcceptable, "RTP carries none of the stream's codecs");
    }
    this.#target = target;
    return this.#playback = playback;
  }

  /** Number of the track that SETUP is about; undefined if it is not let in. */
  async #trackOf(url: string, admit: () => string | undefined): Promise<number | undefined> {
    if (this.#publication !== undefined) {
      const track = this.#publication.find(url);
      if (track >= 0) return track;
      throw new StatusError(RtspStatus.notFound, "there is no such track");
    }
    const playback = this.#playback ?? await this.#openAdmitted(admit);
    if (playback === undefined) return undefined;
    const { target, track } = requestTarget(url);
    const [path] = target.split("?");
    const isSame = trimmed(path) === playback.path;
    const [only, ...others] = playback.tracks;
    const found = track ?? (others.length === 0 ? only : undefined);
    if (!isSame || (found !== undefined && !playback.tracks.includes(found))) {
      throw new StatusError(RtspStatus.notFound, "there is no such track");
    }
    if (found !== undefined) return found;
    throw new StatusError(
      RtspStatus.aggregateOperationNotAllowed,
      "each track is to be set up by itself",
    );
  }

  #openAdmitted(admit: () => string | undefined): Promise<Playback> | undefined {
    const target = admit();
    return target === undefined ? undefined : this.#open(target);
  }

  /** Gives `track` its way; what is answered, or undefined if there are no ports for it. */
  async #link(track: number, chosen: Transport): Promise<Transport | undefined> {
    const { host, peer } = this.#init;
    const { ssrc: _, ...kept } = chosen;
    if (chosen.lower === "TCP") {
      const isPlayer = this.#publication === undefined;
      const channels = this.#links.freeChannels(track, chosen.channels, isPlayer);
      this.#links.interleave(track, channels);
      return { ...kept, channels };
    }
    const links = this.#links;
    const pair = await host.ports.take(peer.localAddress);
    if (pair === undefined) {
      host.warn("{peer} gets no UDP: all ports are in use", { peer: peer.name });
      return undefined;
    }
    if (this.signal.aborted) {
      pair.close();
      return undefined;
    }
    links.connect(track, pair, { address: peer.address, ports: chosen.clientPorts });
    return { ...kept, serverPorts: pair.ports };
  }

  #newLinks(): Links {
    return new Links({
      connection: this.#init.connection,
      onPacket: (track, kind, bytes) => this.#onPacket(track, kind, bytes),
    });
  }

  #onPacket(track: number, kind: PacketKind, bytes: Uint8Array): void {
    this.#life.touch();
    this.#publication?.push(track, kind, bytes);
  }

  #sessionHeader(): { readonly Session: string } {
    const timeoutSeconds = this.#init.host.options.SessionTimeout;
    return { Session: formatSession({ id: this.#id ?? "", timeoutSeconds }) };
  }

  #refuseBusy(): void {
    if (this.#publication !== undefined || this.#playback?.begun) throw notNow();
  }

  #refuseTrack(url: string): void {
    if (this.#links.tracks.length < 2 || requestTarget(url).track === undefined) return;
    throw new StatusError(
      RtspStatus.onlyAggregateOperationAllowed,
      "its tracks only play together",
    );
  }

  #onPublicationEnd({ code, detail }: End): void {
    this.#publication = undefined;
    this.#init.onLeave(code === "shutdown" ? undefined : `its stream was ended: ${detail}`);
  }

  #onPlaybackEnd({ code, detail }: End): void {
    if (!this.#playback?.begun) {
      this.#playback = undefined;
      return;
    }
    if (code === "kicked" || code === "error") {
      this.#init.onLeave(`its playing was ended: ${detail}`);
    } else {
      this.#goodbyeTimer = setTimeout(() => this.#init.onLeave(), GOODBYE_MS);
    }
  }

  #reset(): void {
    const { host, peer } = this.#init;
    const { strays } = this.#links;
    if (strays > 0) {
      host.warn("{peer}: dropped {count} packets of no track or from elsewhere", {
        peer: peer.name,
        count: strays,
      });
    }
    clearTimeout(this.#goodbyeTimer);
    this.#playback?.stop();
    this.#playback = undefined;
    this.#publication = undefined;
    this.#links.close();
    this.#links = this.#newLinks();
    this.#urls.clear();
    this.#life.stop();
    this.#id = undefined;
  }
}

/**
 * Waits until the tracks of the stream are known.
 *
 * @throws {StreamNotFoundError} If they are not for `seconds`, at least one.
 * @throws {EndedError} If the stream ends before.
 */
async function waitSettled({ stream, signal }: Subscriber, seconds: number): Promise<void> {
  const late = new AbortController();
  const waitedSeconds = Math.max(1, seconds);
  const timer = setTimeout(() => {
    late.abort(new StreamNotFoundError(stream.path, waitedSeconds));
  }, waitedSeconds * 1000);
  try {
    await stream.waitSettled(AbortSignal.any([signal, late.signal]));
  } finally {
    clearTimeout(timer);
  }
}

/** A live stream plays from now on, whatever is asked for, as long as that is a range. */
function checkRange({ headers }: RtspRequest): void {
  try {
    parseRange(headers.get("range") ?? "npt=now-");
  } catch (error) {
    if (!(error instanceof InvalidDataError)) throw error;
    throw new StatusError(RtspStatus.invalidRange, error.message);
  }
}

function trimmed(path = ""): string {
  return path.split("/").filter((segment) => segment !== "").join("/");
}
