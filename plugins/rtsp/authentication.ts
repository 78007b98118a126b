/**
 * Who may use a server: Digest (RFC 7616, and its older form of RFC 2069, which most clients of RTSP
 * speak) and Basic (RFC 7617), from both sides (RFC 2326 D.2).
 */

import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { parseParameter, quote, splitUnquoted } from "./fields.ts";
import type { RtspRequest } from "./message.ts";
import { comparable, type Credentials, isWithin } from "./url.ts";

/**
 * How long a nonce can be answered, in milliseconds: long enough for somebody to type a password.
 * Requests behind the first need no new answer where the server remembers the connection.
 */
export const NONCE_LIFETIME_MS = 300_000;

/** A Digest algorithm, by its name in headers (RFC 7616 6.1). */
export type DigestAlgorithm = "SHA-256" | "MD5";

/** The algorithms that are known here, the best one first. */
const ALGORITHMS = ["SHA-256", "MD5"] as const;

const HASHES: Readonly<Record<DigestAlgorithm, string>> = { "SHA-256": "sha256", "MD5": "md5" };

/** What a {@linkcode ServerAuthentication} goes by. */
export interface AuthenticationOptions {
  /** Passwords by name. With none, whoever comes is accepted. */
  readonly users: ReadonlyMap<string, string>;
  /** What the users are users of, in words. @default {"m7s"} */
  readonly realm?: string;
  /** Whether users may also show their password in the clear. @default {false} */
  readonly allowBasic?: boolean;
  /** Milliseconds of a clock that never goes back. @default {performance.now} */
  readonly nowMs?: () => number;
}

/** What a request has shown. */
export type Verdict =
  | {
    /** It may go on. */
    readonly accepted: true;
    /** The user that it is from; with no users to check against, what it claims, if anything. */
    readonly credentials: Credentials | undefined;
  }
  | {
    /** It is to be answered with 401. */
    readonly accepted: false;
    /** Whether it showed credentials, and these are wrong: a guess at a password. */
    readonly failed: boolean;
    /** Values of the WWW-Authenticate lines of the answer. */
    readonly challenges: readonly string[];
  };

/** A scheme and its parameters, of a challenge or of the answer to one. */
export interface AuthField {
  /** Scheme in lower case, such as `digest`. */
  readonly scheme: string;
  /** What follows the scheme if that is one token: the credentials of Basic. */
  readonly token: string;
  /** Parameters, their names in lower case, values unquoted. */
  readonly parameters: ReadonlyMap<string, string>;
}

/** What goes into the answer to a Digest challenge (RFC 7616 3.4.1). */
export interface DigestInput extends Credentials {
  /** What it is hashed with. */
  readonly algorithm: DigestAlgorithm;
  /** Realm of the challenge. */
  readonly realm: string;
  /** Nonce of the challenge. */
  readonly nonce: string;
  /** Method of the request. */
  readonly method: string;
  /** URL as the answer gives it. */
  readonly uri: string;
  /** For quality of protection `auth`; the older form without it. */
  readonly qop?: { readonly nc: string; readonly cnonce: string };
}

/**
 * Challenges one connection and checks what it shows.
 *
 * Nonces are of this connection alone, so that what was seen of it opens no other one.
 */
export class ServerAuthentication {
  readonly #users: ReadonlyMap<string, string>;
  readonly #realm: string;
  readonly #allowBasic: boolean;
  readonly #nowMs: () => number;
  #nonce = "";
  #nonceMs = -Infinity;

  /** Of one connection. */
  constructor(options: AuthenticationOptions) {
    this.#users = options.users;
    this.#realm = options.realm ?? "m7s";
    this.#allowBasic = options.allowBasic ?? false;
    this.#nowMs = options.nowMs ?? (() => performance.now());
  }

  /** Checks what `request` shows. A malformed Authorization header counts as none. */
  verify(request: Pick<RtspRequest, "method" | "url" | "headers">): Verdict {
    const [field] = parseAuthFields(request.headers.get("authorization") ?? "");
    const basic = field?.scheme === "basic" ? parseBasic(field.token) : undefined;
    if (this.#users.size === 0) return { accepted: true, credentials: basic };
    if (basic) {
      const isRight = this.#allowBasic && this.#isPassword(basic);
      return isRight ? { accepted: true, credentials: basic } : this.#refuse(this.#allowBasic);
    }
    if (field?.scheme === "digest") return this.#verifyDigest(request, field.parameters);
    return this.#refuse(false);
  }

  /**
   * Values of the WWW-Authenticate lines of a 401. With no users it is Basic, for guards that want
   * to see a password.
   *
   * MD5 stands last of the Digests: clients that know no other go by the last one, those that know
   * SHA-256 take the first they can (RFC 7616 3.7).
   */
  challenges(options: { readonly stale?: boolean } = {}): string[] {
    const realm = `realm=${quote(this.#realm)}`;
    const basic = `Basic ${realm}`;
    if (this.#users.size === 0) return [basic];
    const nonce = `nonce="${this.#freshNonce()}"`;
    const stale = options.stale ? ", stale=true" : "";
    return [
      `Digest ${realm}, ${nonce}, algorithm=SHA-256, qop="auth"${stale}`,
      `Digest ${realm}, ${nonce}, algorithm=MD5${stale}`,
      ...this.#allowBasic ? [basic] : [],
    ];
  }

  #verifyDigest(
    { method, url }: Pick<RtspRequest, "method" | "url">,
    parameters: ReadonlyMap<string, string>,
  ): Verdict {
    const user = parameters.get("username") ?? "";
    const uri = parameters.get("uri") ?? "";
    const nonce = parameters.get("nonce") ?? "";
    const password = this.#users.get(user);
    const expected = digestOf(parameters, {
      ...{ user, password: password ?? "", realm: this.#realm, nonce, method, uri },
    });
    const isRight = expected !== undefined && password !== undefined &&
      isSame(parameters.get("response")?.toLowerCase() ?? "", expected) && covers(uri, url);
    if (!isRight) return this.#refuse(true);
    if (nonce === this.#nonce && !this.#isExpired()) {
      return { accepted: true, credentials: { user, password } };
    }
    return { accepted: false, failed: false, challenges: this.challenges({ stale: true }) };
  }

  #refuse(failed: boolean): Verdict {
    return { accepted: false, failed, challenges: this.challenges() };
  }

  #isPassword({ user, password }: Credentials): boolean {
    const expected = this.#users.get(user);
    const isRight = isSame(password, expected ?? "");
    return expected !== undefined && isRight;
  }

  /** A nonce that has at least half of its time left. */
  #freshNonce(): string {
    const now = this.#nowMs();
    if (now - this.#nonceMs > NONCE_LIFETIME_MS / 2) {
      this.#nonce = randomBytes(16).toString("hex");
      this.#nonceMs = now;
    }
    return this.#nonce;
  }

  #isExpired(): boolean {
    return this.#nowMs() - this.#nonceMs > NONCE_LIFETIME_MS;
  }
}

/** Answers the challenges of one server with the credentials for it. */
export class ClientAuthentication {
  readonly #credentials: Credentials;
  readonly #cnonce: () => string;
  #challenge: AuthField | undefined;
  #count = 0;

  /** With random client nonces, unless told otherwise. */
  constructor(credentials: Credentials, options: { readonly cnonce?: () => string } = {}) {
    this.#credentials = credentials;
    this.#cnonce = options.cnonce ?? (() => randomBytes(16).toString("hex"));
  }

  /**
   * Takes WWW-Authenticate of a 401: whether it is worth to send the request again. That is no, if
   * there is no scheme known here, or what it asks for has been answered: the password is wrong.
   *
   * A caller repeats a request once at most, as some servers ask something new each time.
   */
  challenge(header: string): boolean {
    const fields = parseAuthFields(header);
    const digests = fields.filter(({ scheme }) => scheme === "digest");
    const chosen =
      ALGORITHMS.map((algorithm) =>
        digests.find(({ parameters }) => isAnswerable(parameters, algorithm))
      ).find((field) => field !== undefined) ?? fields.find(({ scheme }) => scheme === "basic");
    if (chosen === undefined) return false;
    const before = this.#challenge;
    this.#challenge = chosen;
    if (before?.scheme !== chosen.scheme) return true;
    const isNew = before.parameters.get("nonce") !== chosen.parameters.get("nonce");
    if (isNew) this.#count = 0;
    return isNew || chosen.parameters.get("stale")?.toLowerCase() === "true";
  }

  /** The value of Authorization for a request; undefined as long as there was no challenge. */
  authorize(method: string, uri: string): string | undefined {
    if (this.#challenge === undefined) return undefined;
    const { scheme, parameters } = this.#challenge;
    const { user, password } = this.#credentials;
    if (scheme === "basic") {
      return `Basic ${new TextEncoder().encode(`${user}:${password}`).toBase64()}`;
    }
    const realm = parameters.get("realm") ?? "";
    const nonce = parameters.get("nonce") ?? "";
    const algorithm = parameters.get("algorithm");
    const opaque = parameters.get("opaque");
    const nc = (++this.#count).toString(16).padStart(8, "0");
    const qop = parameters.get("qop") ? { nc, cnonce: this.#cnonce() } : undefined;
    const response = digestResponse({
      ...{ user, password, realm, nonce, method, uri, algorithm: algorithmOf(parameters) ?? "MD5" },
      ...qop ? { qop } : {},
    });
    const parts = [
      `username=${quote(user)}`,
      `realm=${quote(realm)}`,
      `nonce=${quote(nonce)}`,
      `uri=${quote(uri)}`,
      `response="${response}"`,
    ];
    // Only repeated: cameras that named none stumble over one.
    if (algorithm !== undefined) parts.push(`algorithm=${algorithm}`);
    if (opaque !== undefined) parts.push(`opaque=${quote(opaque)}`);
    if (qop) parts.push(`qop=auth, nc=${qop.nc}, cnonce=${quote(qop.cnonce)}`);
    return `Digest ${parts.join(", ")}`;
  }
}

/**
 * `target` with `credentials` as its arguments `user` and `password`, for guards. Those that came
 * with the path under these names give way; without credentials they stay.
 */
export function withCredentials(target: string, credentials: Credentials | undefined): string {
  if (credentials === undefined) return target;
  const mark = target.indexOf("?");
  const args = new URLSearchParams(mark < 0 ? "" : target.slice(mark + 1));
  args.set("user", credentials.user);
  args.set("password", credentials.password);
  return `${mark < 0 ? target : target.slice(0, mark)}?${args}`;
}

/** The response to a Digest challenge in hexadecimal (RFC 7616 3.4.1, RFC 2069 2.1.2). */
export function digestResponse(input: DigestInput): string {
  const { algorithm, user, realm, password, nonce, method, uri, qop } = input;
  const hash = HASHES[algorithm];
  const secret = hashOf(hash, `${user}:${realm}:${password}`);
  const request = hashOf(hash, `${method}:${uri}`);
  const middle = qop ? `${nonce}:${qop.nc}:${qop.cnonce}:auth` : nonce;
  return hashOf(hash, `${secret}:${middle}:${request}`);
}

/**
 * The challenges of WWW-Authenticate, or the one answer of Authorization (RFC 9110 11.2): several
 * lines joined by commas, or one line with several challenges, are the same.
 */
export function parseAuthFields(header: string): AuthField[] {
  const fields: { scheme: string; token: string; parameters: Map<string, string> }[] = [];
  for (const part of splitUnquoted(header, ",")) {
    const [, scheme, rest = ""] = /^([^\s="]+)(?:\s+([^]*))?$/.exec(part) ?? [];
    if (scheme === undefined || rest.startsWith("=")) {
      fields.at(-1)?.parameters.set(...parseParameter(part));
      continue;
    }
    const parameters = new Map<string, string>();
    // Otherwise padding makes credentials of Basic look like a parameter.
    const isToken = /^[\w\-.~+/]*=*$/.test(rest);
    if (!isToken) parameters.set(...parseParameter(rest));
    fields.push({ scheme: scheme.toLowerCase(), token: isToken ? rest : "", parameters });
  }
  return fields;
}

/** What `parameters` should have as their response; undefined if they are not understood. */
function digestOf(
  parameters: ReadonlyMap<string, string>,
  input: Omit<DigestInput, "algorithm" | "qop">,
): string | undefined {
  const algorithm = algorithmOf(parameters);
  if (algorithm === undefined) return undefined;
  const qop = parameters.get("qop");
  if (qop === undefined) return digestResponse({ ...input, algorithm });
  const nc = parameters.get("nc");
  const cnonce = parameters.get("cnonce");
  if (qop.toLowerCase() !== "auth" || nc === undefined || cnonce === undefined) return undefined;
  return digestResponse({ ...input, algorithm, qop: { nc, cnonce } });
}

/** The algorithm that `parameters` name, MD5 if none; undefined for one that is not known here. */
function algorithmOf(parameters: ReadonlyMap<string, string>): DigestAlgorithm | undefined {
  const name = (parameters.get("algorithm") ?? "MD5").toUpperCase();
  return ALGORITHMS.find((algorithm) => algorithm === name);
}

/** Whether a challenge is one of `algorithm` that can be answered here. */
function isAnswerable(
  parameters: ReadonlyMap<string, string>,
  algorithm: DigestAlgorithm,
): boolean {
  const qop = (parameters.get("qop") || "auth").toLowerCase().split(/[\s,]+/);
  return algorithmOf(parameters) === algorithm && qop.includes("auth");
}

/**
 * Whether `uri`, which the digest is over, stands for `url`: the same one, or that of the stream of
 * which `url` is a track or has more arguments, since some clients sign the same for all requests.
 */
function covers(uri: string, url: string): boolean {
  const signed = comparable(uri);
  const asked = comparable(url);
  return signed === asked || signed !== "" && isWithin(asked, signed);
}

function parseBasic(token: string): Credentials | undefined {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.fromBase64(token));
  } catch {
    return undefined;
  }
  const colon = text.indexOf(":");
  return colon < 0 ? undefined : { user: text.slice(0, colon), password: text.slice(colon + 1) };
}

/** Whether `a` is `b`, in a time that tells nothing of where they differ. */
function isSame(a: string, b: string): boolean {
  const digest = (text: string) => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

function hashOf(hash: string, text: string): string {
  return createHash(hash).update(text).digest("hex");
}
