/** Addresses over RTSP: of servers, of streams, and of their tracks (RFC 2326 3.2, C.1.1). */

import type { RtspHeaders } from "./message.ts";

/** Ports of RTSP, and of RTSP over TLS (RFC 2326 3.2, RFC 7826 4.2). */
const DEFAULT_PORTS: ReadonlyMap<string, number> = new Map([["rtsp:", 554], ["rtsps:", 322]]);

/** Who somebody is, and the proof. Never logged. */
export interface Credentials {
  /** Name of the user. */
  readonly user: string;
  /** Password. */
  readonly password: string;
}

/** Where a client connects, and what it asks for there. */
export interface RtspAddress {
  /** The URL for requests: without credentials and fragment. */
  readonly url: string;
  /** Whether the connection is over TLS. */
  readonly isSecure: boolean;
  /** Name or address of the host, IPv6 without brackets. */
  readonly hostname: string;
  /** Port: 1 to 65 535. */
  readonly port: number;
  /** What stood before the host, percent-decoded. */
  readonly credentials?: Credentials;
}

/** What the URL of a request to a server names. */
export interface RequestTarget {
  /** Path and arguments of the stream, as the engine takes them. */
  readonly target: string;
  /** The track of {@linkcode trackUrl} that it names; undefined for the stream as a whole. */
  readonly track?: number;
}

/**
 * Reads the URL of a stream on another server.
 *
 * @throws {TypeError} If it is no URL, or not one of `rtsp:` or `rtsps:` with a host. The message
 * shows it redacted.
 */
export function parseRtspUrl(text: string): RtspAddress {
  const url = URL.parse(text);
  const defaultPort = DEFAULT_PORTS.get(url?.protocol ?? "");
  if (!url || defaultPort === undefined || url.hostname === "") {
    throw new TypeError(`Cannot use ${redact(text)} as a source: it is no URL of RTSP`);
  }
  const { username, password } = url;
  url.username = "";
  url.password = "";
  url.hash = "";
  return {
    url: url.href,
    isSecure: url.protocol === "rtsps:",
    hostname: url.hostname.replace(/^\[(.*)\]$/, "$1"),
    port: url.port === "" ? defaultPort : Number(url.port),
    ...username === "" && password === ""
      ? {}
      : { credentials: { user: decode(username), password: decode(password) } },
  };
}

/**
 * `text` fit for logs: without credentials before the host, and without the values of parameters
 * anywhere, since cameras take passwords there, too. Works on what is no URL.
 */
export function redact(text: string): string {
  const [, scheme = "", rest = ""] = /^([a-z][a-z\d+.-]*:\/\/)?([^]*)$/i.exec(text) ?? [];
  // All up to the last @ may be a password, since it may hold slashes that nobody has encoded; or
  // that @ is in a parameter, of which the remains must not be taken for the host.
  const mark = rest.lastIndexOf("@");
  if (/[?=]/.test(rest.slice(0, Math.max(mark, 0)))) return `${scheme}***`;
  const bare = scheme + (mark < 0 ? rest : `***${rest.slice(mark)}`);
  const [path = "", ...query] = bare.split("?");
  const shown = path.replace(/=[^&;/]+/g, "=***");
  if (query.length === 0) return shown;
  const args = query.join("?").split("&");
  return `${shown}?${args.map((arg) => arg.replace(/^[^=]*$|(?<==)[^]*$/, "***")).join("&")}`;
}

/**
 * The URL that `control`, the attribute of a session description, means against `base`.
 *
 * Nothing or `*` is the base itself; with the session's own attribute that gives the URL of the
 * aggregate, which is the base for the tracks. A relative one is put behind all of the base, its
 * arguments included, with one slash between: not as RFC 3986 has it, but as cameras expect it. One
 * that begins with a slash and the path of the base starts at the host.
 */
export function resolveControl(base: string, control = "*"): string {
  if (control === "" || control === "*") return base;
  if (SCHEME.test(control)) return control;
  const [, authority = "", rest = ""] = URL_PARTS.exec(base) ?? [];
  if (control.startsWith("/")) {
    const path = rest.replace(/[?#][^]*$/, "").replace(/\/$/, "");
    return isWithin(control, path) ? authority + control : join(base, control);
  }
  return control.startsWith("?") ? base + control : join(base, control);
}

/** The base of control attributes: Content-Base, Content-Location or the URL that was described. */
export function baseUrl(headers: RtspHeaders, requestUrl: string): string {
  for (const name of ["content-base", "content-location"]) {
    const value = headers.get(name);
    if (value !== undefined && SCHEME.test(value)) return value;
  }
  return requestUrl;
}

/**
 * The URL of a track of the stream that was described as `requestUrl`: with its arguments at the
 * end. As an absolute one it comes back the same from all clients, whereas they disagree on where a
 * relative one goes in a URL with arguments.
 */
export function trackUrl(requestUrl: string, track: number): string {
  const mark = requestUrl.indexOf("?");
  const path = mark < 0 ? requestUrl : requestUrl.slice(0, mark);
  return join(path, `trackID=${track}`) + (mark < 0 ? "" : requestUrl.slice(mark));
}

/**
 * What the URL of a request names, wherever in it the client has put the track.
 *
 * @throws {TypeError} If it is no URL with a path, or that has a malformed escape or a `?` in it.
 */
export function requestTarget(url: string): RequestTarget {
  const [, authority = "", whole = ""] = URL_PARTS.exec(url) ?? [];
  if (authority === "" && !whole.startsWith("/")) {
    throw new TypeError("Cannot use the URL of a request: it is not absolute");
  }
  const [rest = "", digits, behind = ""] = whole.split(TRACK);
  const track = digits === undefined ? {} : { track: Number(digits) };
  const mark = rest.indexOf("?");
  // Arguments behind the track are those before it once more, if there are any.
  const args = mark >= 0 ? rest.slice(mark) : behind;
  return { target: decodePath(mark < 0 ? rest : rest.slice(0, mark)) + args, ...track };
}

/**
 * Which of `controls`, the attributes of the tracks that were announced at `base`, the URL of a
 * request means; -1 for none of them.
 */
export function findControl(
  url: string,
  base: string,
  controls: readonly (string | undefined)[],
): number {
  const wanted = comparable(url);
  const mark = base.indexOf("?");
  const path = mark < 0 ? base : base.slice(0, mark);
  const args = mark < 0 ? "" : base.slice(mark);
  return controls.findIndex((control) =>
    comparable(resolveControl(base, control)) === wanted ||
    comparable(resolveControl(path, control)) === wanted ||
    comparable(resolveControl(path, control) + args) === wanted ||
    // A single track can be meant by the URL of the whole.
    (controls.length === 1 && comparable(base) === wanted)
  );
}

/**
 * `url` as clients write the same one in several ways: without scheme and host, since a proxy or a
 * translated address changes them, percent-decoded, and without slashes at its end.
 */
export function comparable(url: string): string {
  const rest = URL_PARTS.exec(url)?.[2] ?? "";
  return trimSlashes(decode(rest));
}

/** Whether `path` is `parent`, or that with segments or arguments behind it. */
export function isWithin(path: string, parent: string): boolean {
  return path.startsWith(parent) && /^[/?]?$/.test(path.charAt(parent.length));
}

const SCHEME = /^[a-z][a-z\d+.-]*:\/\//i;

/** Scheme and host, and what is behind them. */
const URL_PARTS = /^([a-z][a-z\d+.-]*:\/\/[^/?#]*)?([^]*)$/i;

/** The part of a URL that {@linkcode trackUrl} adds, up to the end or arguments behind it. */
const TRACK = /\/trackID=(\d{1,4})\/?(?=\?|$)/i;

function join(base: string, control: string): string {
  return `${base.endsWith("/") ? base.slice(0, -1) : base}/${control.replace(/^\//, "")}`;
}

/** `text` percent-decoded; as it is, where that fails. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function decodePath(path: string): string {
  let decoded: string;
  try {
    decoded = decodeURIComponent(path);
  } catch (error) {
    throw new TypeError("Cannot use the URL of a request: its path has a malformed escape", {
      cause: error,
    });
  }
  if (decoded.includes("?")) {
    throw new TypeError("Cannot use the URL of a request: its path has a ?");
  }
  return decoded;
}

function trimSlashes(text: string): string {
  let end = text.length;
  while (end > 0 && text[end - 1] === "/") end--;
  return text.slice(0, end);
}
