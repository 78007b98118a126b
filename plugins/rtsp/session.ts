/** One RTSP connection of the server: requests and their answers (RFC 2326 4 to 10). */

import { InvalidDataError, RefusedError } from "../../src/errors.ts";
import { type Connection, isDisconnect } from "../connection.ts";
import { StartDeadline } from "../start_deadline.ts";
import { ServerAuthentication, withCredentials } from "./authentication.ts";
import { type Exchange, type Reply, StatusError, statusOf } from "./exchange.ts";
import { formatMethods } from "./fields.ts";
import { MediaSession, type Peer, type SessionHost } from "./media_session.ts";
import {
  requestFault,
  type RtspItem,
  type RtspRequest,
  RtspStatus,
  writeResponse,
} from "./message.ts";
import { RtspParser } from "./parser.ts";
import { type Credentials, requestTarget } from "./url.ts";

/** Longest time from the last answer to the close of the connection. */
const LINGER_MS = 500;
/** Wrong passwords after which a connection is closed: more is no typing error. */
const MAX_FAILURES = 5;

const METHODS = [
  ...["OPTIONS", "DESCRIBE", "ANNOUNCE", "SETUP", "PLAY", "PAUSE", "RECORD", "TEARDOWN"],
  ...["GET_PARAMETER", "SET_PARAMETER"],
];

/** A connection from its first byte to its last. */
export class RtspSession {
  readonly #host: SessionHost;
  readonly #connection: Connection;
  readonly #peer: Peer;
  readonly #parser = new RtspParser();
  readonly #auth: ServerAuthentication;
  readonly #deadline: StartDeadline;
  readonly #media: MediaSession;
  /** What the peer was let in with. */
  #admitted: { readonly credentials: Credentials | undefined } | undefined;
  #failures = 0;
  /** Whether nothing is taken from the peer any more. */
  #over = false;
  #linger: ReturnType<typeof setTimeout> | undefined;
  #reason: string | undefined;

  /** A session of the peer at the other end of `connection`. */
  constructor(connection: Connection, peer: Peer, host: SessionHost) {
    const { Users, AllowBasic, StartTimeout } = host.options;
    this.#connection = connection;
    this.#peer = peer;
    this.#host = host;
    this.#auth = new ServerAuthentication({
      users: new Map(Object.entries(Users)),
      allowBasic: AllowBasic,
    });
    this.#deadline = new StartDeadline(StartTimeout, (reason) => this.#leave(reason));
    this.#media = new MediaSession({
      host,
      connection,
      peer,
      deadline: this.#deadline,
      onLeave: (reason) => this.#leave(reason),
    });
  }

  /** Serves the connection until it ends; the reason if something was wrong. Never rejects. */
  async run(): Promise<string | undefined> {
    const connection = this.#connection;
    // Requests may wait for long, and nothing is read in the meantime.
    connection.over.then(() => this.#onClosed());
    try {
      await connection.each((bytes) => this.#onBytes(bytes));
      await this.#onClosed();
    } catch (error) {
      if (isDisconnect(error)) await this.#media.drain();
      this.#onError(error);
    }
    clearTimeout(this.#linger);
    connection.close();
    return this.#reason ?? connection.failure;
  }

  /** Ends it once what has been said so far is sent, and the peer has had a moment to read it. */
  stop(): void {
    this.#leave();
  }

  /** Ends it at once because of `reason`. */
  close(reason: string): void {
    this.#reason ??= reason;
    this.#connection.close();
    this.#end(reason);
  }

  #onBytes(bytes: Uint8Array): Promise<void> | void {
    // What comes after our last word is read all the same: unread, it would take that word away.
    if (!this.#over) return this.#onItems(this.#parse(bytes), 0);
  }

  /** Takes `items` from `index` on; what comes after a request waits for its answer. */
  #onItems(items: readonly RtspItem[], index: number): Promise<void> | void {
    for (let at = index; at < items.length && !this.#over; at++) {
      const item = items[at] as RtspItem;
      if (item.kind === "interleaved") this.#media.push(item);
      else if (item.kind === "request") {
        return this.#onRequest(item).then(() => this.#onItems(items, at + 1));
      }
    }
  }

  #parse(bytes: Uint8Array): RtspItem[] {
    try {
      return this.#parser.push(bytes);
    } catch (error) {
      // Nobody knows where the next message begins.
      if (error instanceof InvalidDataError) {
        this.#connection.send(writeResponse({ status: RtspStatus.badRequest, cseq: undefined }));
        this.#media.end(error.message, error);
        this.#leave(error.message);
        return [];
      }
      throw error;
    }
  }

  async #onRequest(request: RtspRequest): Promise<void> {
    let isAnswered = false;
    const respond = (reply: Reply) => {
      if (isAnswered || this.#over) return;
      isAnswered = true;
      this.#connection.send(writeResponse({ ...reply, cseq: request.cseq }));
    };
    const status = requestFault(request);
    if (status !== undefined) return respond({ status });
    const required = request.headers.get("require");
    if (required !== undefined) {
      const headers = { Unsupported: required };
      return respond({ status: RtspStatus.optionNotSupported, headers });
    }
    try {
      await this.#dispatch({ request, respond });
    } catch (error) {
      if (!this.#over) this.#refuse({ request, respond }, error);
    }
  }

  #dispatch(exchange: Exchange): Promise<void> | void {
    const { request, respond } = exchange;
    const media = this.#media;
    switch (request.method) {
      case "OPTIONS":
        media.check(request, false);
        return respond({ status: RtspStatus.ok, headers: { Public: formatMethods(METHODS) } });
      case "ANNOUNCE":
      case "DESCRIBE": {
        const target = this.#admit(exchange);
        if (target === undefined) return;
        return request.method === "ANNOUNCE"
          ? media.announce(exchange, target)
          : media.describe(exchange, target);
      }
      case "SETUP":
        return media.setUp(exchange, () => this.#admit(exchange));
      case "PLAY":
        return media.play(exchange);
      case "PAUSE":
        return media.pause(exchange);
      case "RECORD":
        return media.record(exchange);
      case "TEARDOWN":
        return media.tearDown(exchange);
      case "GET_PARAMETER":
      case "SET_PARAMETER":
        media.check(request, false);
        // Without a parameter it is a sign of life (RFC 2326 10.8).
        return respond({
          status: request.body.length === 0 ? RtspStatus.ok : RtspStatus.parameterNotUnderstood,
        });
      case "REDIRECT":
        return respond({
          status: RtspStatus.methodNotAllowed,
          headers: { Allow: formatMethods(METHODS) },
        });
      default:
        return respond({
          status: RtspStatus.notImplemented,
          headers: { Public: formatMethods(METHODS) },
        });
    }
  }

  /**
   * The path and arguments of a request, with the credentials of the peer among these; undefined if
   * it was told to show some.
   */
  #admit({ request, respond }: Exchange): string | undefined {
    const { target } = requestTarget(request.url);
    if (this.#admitted && !request.headers.has("authorization")) {
      return withCredentials(target, this.#admitted.credentials);
    }
    const verdict = this.#auth.verify(request);
    if (!verdict.accepted) {
      const headers = { "WWW-Authenticate": verdict.challenges };
      respond({ status: RtspStatus.unauthorized, headers });
      if (verdict.failed) this.#onFailure();
      return undefined;
    }
    this.#admitted = { credentials: verdict.credentials };
    return withCredentials(target, verdict.credentials);
  }

  /** Answers a request that has failed. */
  #refuse({ request, respond }: Exchange, error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    const { host, peer } = { host: this.#host, peer: this.#peer.name };
    const status = statusOf(error);
    if (error instanceof RefusedError && this.#mayShowMore()) {
      const headers = { "WWW-Authenticate": this.#auth.challenges() };
      this.#admitted = undefined;
      return respond({ status: RtspStatus.unauthorized, headers });
    }
    respond({ status });
    if (error instanceof RefusedError) this.#onFailure();
    // Who may not watch has been logged, and who comes too early comes again.
    if (status === RtspStatus.internalServerError) {
      host.context.log.error("{method} of {peer} failed: {error}", {
        method: request.method,
        peer,
        error,
      });
    } else if (request.method === "ANNOUNCE" || error instanceof StatusError) {
      host.warn("{peer} may not {method}: {reason}", { peer, method: request.method, reason });
    }
  }

  /** Whether a guard has refused somebody who may come again with a password. */
  #mayShowMore(): boolean {
    const { Users } = this.#host.options;
    return Object.keys(Users).length === 0 && this.#admitted?.credentials === undefined;
  }

  #onFailure(): void {
    if (++this.#failures < MAX_FAILURES) return;
    this.#leave(`it was refused ${this.#failures} times`);
  }

  async #onClosed(): Promise<void> {
    await this.#media.drain();
    this.#end(this.#connection.failure ?? "its connection was closed");
  }

  #onError(error: unknown): void {
    const reason = error instanceof Error ? error.message : String(error);
    if (!this.#over && !this.#connection.closed && !isDisconnect(error)) {
      this.#reason ??= reason;
      const { log } = this.#host.context;
      log.debug("{peer} failed: {error}", { peer: this.#peer.name, error });
    }
    this.#end(this.#connection.failure ?? reason);
  }

  /** Lets the last answers out and the peer read them, then closes. */
  #leave(reason?: string): void {
    if (this.#over) return;
    this.#reason ??= reason;
    this.#end(reason ?? "its session ended");
    this.#linger = setTimeout(() => this.#connection.close(), LINGER_MS);
    this.#connection.closeWrite();
  }

  #end(detail: string): void {
    this.#over = true;
    this.#deadline.clear();
    this.#media.end(detail);
  }
}
