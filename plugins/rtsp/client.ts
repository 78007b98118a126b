/** A connection to another RTSP server: requests and their answers, with credentials and redirects. */

import { connect, isIP, type Socket } from "node:net";
import { connect as connectTls, TLSSocket } from "node:tls";
import { Connection } from "../connection.ts";
import { ClientAuthentication } from "./authentication.ts";
import { StatusError } from "./exchange.ts";
import { formatMethods, parseMethods, parseSession } from "./fields.ts";
import {
  type InterleavedFrame,
  type OutgoingHeaders,
  reasonPhrase,
  type RtspHeaders,
  type RtspRequest,
  type RtspResponse,
  RtspStatus,
  writeRequest,
  writeResponse,
} from "./message.ts";
import { RtspParser } from "./parser.ts";
import { plainAddress } from "./udp.ts";
import { parseRtspUrl, redact, type RtspAddress } from "./url.ts";

/** Longest wait for a connection, and for an answer, in ms: cameras that wake up take seconds. */
const CONNECT_MS = 10_000;
const ANSWER_MS = 10_000;
/** Seconds of a session whose server does not say how long it lives (RFC 2326 12.37). */
const SESSION_SECONDS = 60;
/** Shortest time between two signs of life, in ms, whatever the server says. */
const MIN_ALIVE_MS = 1000;
/** Longest time for the server to take its last request, in ms. */
const LINGER_MS = 300;

const USER_AGENT = "m7s";

/** How a {@linkcode RtspClient} connects and whom it tells. */
export interface RtspClientInit {
  /** Ends the wait for the connection, and the connection. */
  readonly signal: AbortSignal;
  /** Milliseconds for which the server may take nothing. */
  readonly writeTimeoutMs: number;
  /** SHA-256 of the one certificate that is trusted, in hexadecimal; empty: as the system trusts. */
  readonly fingerprint: string;
  /** Called with each interleaved frame. */
  readonly onFrame: (frame: InterleavedFrame) => void;
}

/** What a request has beside its method and URL. */
export interface RequestParts {
  /** Header fields. */
  readonly headers?: OutgoingHeaders;
  /** The body. */
  readonly body?: string;
}

/** The server has asked to come to another address. */
export class RedirectError extends Error {
  override readonly name = "RedirectError";

  /** An error that carries the address; the message shows it redacted. */
  constructor(
    /** Where to go. */
    readonly location: string,
  ) {
    super(`it has moved to ${redact(location)}`);
  }
}

/** A connection to a server. */
export class RtspClient {
  /** Where its packets come from and go to. */
  readonly connection: Connection;
  /** Settles with the reason when the connection is over. */
  readonly over: Promise<string>;
  readonly #init: RtspClientInit;
  readonly #socket: Socket;
  readonly #parser = new RtspParser();
  readonly #auth: ClientAuthentication | undefined;
  readonly #waiting = new Map<number, PromiseWithResolvers<RtspResponse>>();
  readonly #abort = () => this.#stop();
  #cseq = 0;
  #session: string | undefined;
  #timeoutSeconds = SESSION_SECONDS;
  #methods: ReadonlySet<string> = new Set();
  #aliveTimer: ReturnType<typeof setInterval> | undefined;
  #lingerTimer: ReturnType<typeof setTimeout> | undefined;
  #reason = "the server closed the connection";

  private constructor(socket: Socket, address: RtspAddress, init: RtspClientInit) {
    this.#init = init;
    this.#socket = socket;
    this.#auth = address.credentials && new ClientAuthentication(address.credentials);
    this.connection = new Connection(socket, init.writeTimeoutMs);
    init.signal.addEventListener("abort", this.#abort, { once: true });
    this.over = this.#serve();
  }

  /**
   * Connects to the server of `address`.
   *
   * @throws {Error} If that fails, takes too long or is aborted.
   */
  static async connect(address: RtspAddress, init: RtspClientInit): Promise<RtspClient> {
    const { hostname: host, port, isSecure } = address;
    const { fingerprint } = init;
    init.signal.throwIfAborted();
    const socket = isSecure
      ? connectTls({
        host,
        port,
        // A name of a server is no address (RFC 6066 3).
        ...(isIP(host) === 0 && { servername: host }),
        rejectUnauthorized: fingerprint === "",
      })
      : connect({ host, port });
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = () => reject(init.signal.reason);
    const timer = setTimeout(() => reject(new Error("it does not answer")), CONNECT_MS);
    init.signal.addEventListener("abort", abort, { once: true });
    socket.once(isSecure ? "secureConnect" : "connect", resolve);
    socket.once("error", reject);
    try {
      await promise;
      if (fingerprint !== "") checkCertificate(socket, fingerprint);
      socket.setNoDelay(true);
      socket.setKeepAlive(true);
      return new RtspClient(socket, address, init);
    } catch (error) {
      // Errors that follow are none any more.
      socket.on("error", () => {});
      socket.destroy();
      throw error;
    } finally {
      clearTimeout(timer);
      init.signal.removeEventListener("abort", abort);
      socket.off("error", reject);
    }
  }

  /** Address of the server. */
  get remoteAddress(): string {
    return plainAddress(this.#socket.remoteAddress);
  }

  /** Address of ours that the server sees. */
  get localAddress(): string {
    return plainAddress(this.#socket.localAddress);
  }

  /**
   * Asks for something; shows credentials where the server wants some.
   *
   * @throws {StatusError} If the answer is no success.
   * @throws {RedirectError} If it is to be asked for elsewhere.
   * @throws {Error} If the connection ends before the answer comes, or it takes too long.
   */
  async request(method: string, url: string, parts: RequestParts = {}): Promise<RtspResponse> {
    let response = await this.#exchange(method, url, parts);
    if (response.status === RtspStatus.unauthorized) {
      const challenge = response.headers.get("www-authenticate") ?? "";
      // A nonce that is used up is one more challenge.
      if (this.#auth?.challenge(challenge)) response = await this.#exchange(method, url, parts);
    }
    const { status, headers } = response;
    if (status >= 200 && status < 300) {
      this.#learn(headers);
      return response;
    }
    const location = headers.get("location");
    if (status >= 300 && status < 400 && location !== undefined) throw new RedirectError(location);
    throw new StatusError(status, `it answered ${method} with ${status} ${reasonPhrase(status)}`);
  }

  /** Gives signs of life for the session of `url` from now on. */
  keepAlive(url: string): void {
    const ms = Math.max(MIN_ALIVE_MS, this.#timeoutSeconds * 500);
    let method = this.#methods.has("GET_PARAMETER") ? "GET_PARAMETER" : "OPTIONS";
    this.#aliveTimer = setInterval(() => {
      this.request(method, url).catch((error) => {
        // Any answer is one.
        if (error instanceof StatusError) method = "OPTIONS";
        else this.close(error instanceof Error ? error.message : String(error));
      });
    }, ms);
  }

  /** Says that the session is over, waits a moment for the server to hear it, and closes. */
  async tearDown(url: string): Promise<void> {
    if (this.#session !== undefined && !this.connection.closed) {
      clearInterval(this.#aliveTimer);
      this.#lingerTimer ??= setTimeout(() => this.close(), LINGER_MS);
      await this.request("TEARDOWN", url).catch(() => {});
    }
    this.close();
  }

  /** Closes the connection at once. Idempotent. */
  close(reason = "closed"): void {
    if (this.connection.closed) return;
    this.#reason = reason;
    this.connection.close();
  }

  async #exchange(method: string, url: string, parts: RequestParts): Promise<RtspResponse> {
    const cseq = ++this.#cseq;
    const { headers, body = "" } = parts;
    const bytes = writeRequest({
      method,
      url,
      cseq,
      headers: {
        "User-Agent": USER_AGENT,
        Authorization: this.#auth?.authorize(method, url),
        Session: this.#session,
        ...headers,
      },
      body,
    });
    const answer = Promise.withResolvers<RtspResponse>();
    const late = () => answer.reject(new Error(`it does not answer ${method}`));
    const timer = setTimeout(late, ANSWER_MS);
    this.#waiting.set(cseq, answer);
    if (this.connection.closed) answer.reject(new Error(this.#reason));
    this.connection.send(bytes);
    try {
      return await answer.promise;
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(cseq);
    }
  }

  #learn(headers: RtspHeaders): void {
    const methods = headers.get("public");
    if (methods !== undefined) this.#methods = parseMethods(methods);
    const field = headers.get("session");
    if (field === undefined) return;
    const { id, timeoutSeconds } = parseSession(field);
    this.#session ??= id;
    this.#timeoutSeconds = timeoutSeconds ?? this.#timeoutSeconds;
  }

  async #serve(): Promise<string> {
    const { connection } = this;
    try {
      await connection.each((bytes) => {
        for (const item of this.#parser.push(bytes)) {
          if (item.kind === "interleaved") this.#init.onFrame(item);
          else if (item.kind === "request") this.#onRequest(item);
          else this.#onResponse(item);
        }
      });
    } catch (error) {
      this.#reason = error instanceof Error ? error.message : String(error);
    }
    clearInterval(this.#aliveTimer);
    clearTimeout(this.#lingerTimer);
    this.#init.signal.removeEventListener("abort", this.#abort);
    connection.close();
    this.#reason = connection.failure ?? this.#reason;
    this.#rejectAll(new Error(this.#reason));
    return this.#reason;
  }

  /** Waits for no answer any more; there is a moment left to say that the session is over. */
  #stop(): void {
    this.#rejectAll(this.#init.signal.reason);
    this.#lingerTimer ??= setTimeout(() => this.close(), LINGER_MS);
  }

  #rejectAll(reason: unknown): void {
    for (const { reject } of this.#waiting.values()) reject(reason);
  }

  #onResponse(response: RtspResponse): void {
    // Provisional ones say that the answer takes time.
    if (response.status < 200) return;
    this.#waiting.get(response.cseq ?? -1)?.resolve(response);
  }

  /** Servers may ask, too: whether we are there, or to end it. */
  #onRequest({ method, cseq }: RtspRequest): void {
    const isKnown = method === "OPTIONS" || method === "GET_PARAMETER" ||
      method === "SET_PARAMETER";
    const headers = { Public: formatMethods(["OPTIONS", "GET_PARAMETER", "SET_PARAMETER"]) };
    const status = isKnown ? RtspStatus.ok : RtspStatus.notImplemented;
    this.connection.send(writeResponse({ status, cseq, headers }));
    if (method === "TEARDOWN" || method === "REDIRECT") this.close("the server ended the session");
  }
}

/** Throws an error if the server at the other end has not the certificate of `fingerprint`. */
function checkCertificate(socket: Socket, fingerprint: string): void {
  const plain = (text: string) => text.replaceAll(":", "").toLowerCase();
  const found = socket instanceof TLSSocket
    ? socket.getPeerCertificate().fingerprint256
    : undefined;
  if (found !== undefined && plain(found) === plain(fingerprint)) return;
  throw new Error(`its certificate is another one: its fingerprint is ${found}`);
}

/**
 * Does `use` with the address of `url`, and once more where the server sends it elsewhere.
 *
 * Credentials go with it to the same host only.
 */
export async function following<T>(
  url: string,
  use: (address: RtspAddress) => Promise<T>,
): Promise<T> {
  const address = parseRtspUrl(url);
  try {
    return await use(address);
  } catch (error) {
    if (!(error instanceof RedirectError)) throw error;
    const next = parseRtspUrl(error.location);
    const keeps = next.credentials === undefined && address.credentials !== undefined &&
      next.hostname === address.hostname && next.isSecure >= address.isSecure;
    return await use(keeps ? { ...next, credentials: address.credentials } : next);
  }
}
