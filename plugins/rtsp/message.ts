/** RTSP messages (RFC 2326 4 to 7): what they are made of, and how they are written. */

import { concat } from "../../src/bytes.ts";

/** The version that is spoken here. */
export const RTSP_VERSION = "1.0";

/** First byte of an interleaved frame: `$` (RFC 2326 10.12). */
export const INTERLEAVED_MARK = 0x24;

/** Bytes in front of the payload of an interleaved frame. */
export const INTERLEAVED_HEADER_BYTES = 4;

/** Status codes of answers (RFC 2326 7.1.1, 11), those that are given or looked at here. */
export const RtspStatus = {
  ok: 200,
  movedPermanently: 301,
  movedTemporarily: 302,
  badRequest: 400,
  unauthorized: 401,
  forbidden: 403,
  notFound: 404,
  methodNotAllowed: 405,
  notAcceptable: 406,
  requestTimeout: 408,
  unsupportedMediaType: 415,
  parameterNotUnderstood: 451,
  notEnoughBandwidth: 453,
  sessionNotFound: 454,
  methodNotValidInThisState: 455,
  invalidRange: 457,
  aggregateOperationNotAllowed: 459,
  onlyAggregateOperationAllowed: 460,
  unsupportedTransport: 461,
  internalServerError: 500,
  notImplemented: 501,
  serviceUnavailable: 503,
  versionNotSupported: 505,
  optionNotSupported: 551,
} as const;

/** Reason phrases (RFC 2326 7.1.1). */
const REASONS: ReadonlyMap<number, string> = new Map([
  [100, "Continue"],
  [200, "OK"],
  [201, "Created"],
  [250, "Low on Storage Space"],
  [300, "Multiple Choices"],
  [301, "Moved Permanently"],
  [302, "Moved Temporarily"],
  [303, "See Other"],
  [304, "Not Modified"],
  [305, "Use Proxy"],
  [400, "Bad Request"],
  [401, "Unauthorized"],
  [402, "Payment Required"],
  [403, "Forbidden"],
  [404, "Not Found"],
  [405, "Method Not Allowed"],
  [406, "Not Acceptable"],
  [407, "Proxy Authentication Required"],
  [408, "Request Time-out"],
  [410, "Gone"],
  [411, "Length Required"],
  [412, "Precondition Failed"],
  [413, "Request Entity Too Large"],
  [414, "Request-URI Too Large"],
  [415, "Unsupported Media Type"],
  [451, "Parameter Not Understood"],
  [452, "Conference Not Found"],
  [453, "Not Enough Bandwidth"],
  [454, "Session Not Found"],
  [455, "Method Not Valid in This State"],
  [456, "Header Field Not Valid for Resource"],
  [457, "Invalid Range"],
  [458, "Parameter Is Read-Only"],
  [459, "Aggregate operation not allowed"],
  [460, "Only aggregate operation allowed"],
  [461, "Unsupported transport"],
  [462, "Destination unreachable"],
  [500, "Internal Server Error"],
  [501, "Not Implemented"],
  [502, "Bad Gateway"],
  [503, "Service Unavailable"],
  [504, "Gateway Time-out"],
  [505, "RTSP Version not supported"],
  [551, "Option not supported"],
]);

/** Header fields of a message as it came: names in lower case, repeated ones joined by `, `. */
export type RtspHeaders = ReadonlyMap<string, string>;

/** What requests and responses have in common. */
interface ReceivedMessage {
  /** Version after `RTSP/`, such as `1.0`. */
  readonly version: string;
  /** Sequence number (RFC 2326 12.17); undefined if it is missing or no number. */
  readonly cseq: number | undefined;
  /** Header fields. */
  readonly headers: RtspHeaders;
  /** Body as long as Content-Length says, empty without it. */
  readonly body: Uint8Array;
}

/** A request (RFC 2326 6). */
export interface RtspRequest extends ReceivedMessage {
  /** Marks it among what a connection carries. */
  readonly kind: "request";
  /** Method in the case in which it came; methods are case-sensitive. */
  readonly method: string;
  /** What it is about: an absolute URL or `*`, unchecked. */
  readonly url: string;
}

/** A response (RFC 2326 7). */
export interface RtspResponse extends ReceivedMessage {
  /** Marks it among what a connection carries. */
  readonly kind: "response";
  /** Status code: 100 to 999. */
  readonly status: number;
  /** Reason phrase, which may be empty. */
  readonly reason: string;
}

/** Binary data between messages, such as an RTP packet (RFC 2326 10.12). */
export interface InterleavedFrame {
  /** Marks it among what a connection carries. */
  readonly kind: "interleaved";
  /** Channel: 8 bits. */
  readonly channel: number;
  /** Its bytes, at most 65 535. */
  readonly payload: Uint8Array;
}

/** What a connection carries. */
export type RtspItem = RtspRequest | RtspResponse | InterleavedFrame;

/** Header fields to be sent. Of an array each element is a line; undefined is left out. */
export interface OutgoingHeaders {
  /** The value of a field, by its name in the case in which it is sent. */
  readonly [name: string]: string | number | readonly string[] | undefined;
}

/** A request to be sent. */
export interface OutgoingRequest {
  /** Its method. */
  readonly method: string;
  /** What it is about: an absolute URL without credentials, or `*`. */
  readonly url: string;
  /** Sequence number, which the response repeats. */
  readonly cseq: number;
  /** Further header fields; Content-Length is added where there is a body. @default {none} */
  readonly headers?: OutgoingHeaders;
  /** Its body; text goes out as UTF-8. @default {none} */
  readonly body?: Uint8Array | string;
}

/** A response to be sent. */
export interface OutgoingResponse {
  /** Status code. */
  readonly status: number;
  /** Sequence number of the request, if that had one. */
  readonly cseq: number | undefined;
  /** Further header fields; Content-Length is added where there is a body. @default {none} */
  readonly headers?: OutgoingHeaders;
  /** Its body; text goes out as UTF-8. @default {none} */
  readonly body?: Uint8Array | string;
}

/** The reason phrase of `status` (RFC 2326 7.1.1); empty for one that is not in the table. */
export function reasonPhrase(status: number): string {
  return REASONS.get(status) ?? "";
}

/**
 * The status that refuses `request` whatever it asks for: 505 for another version, whose answers
 * would be laid out differently, 400 without a CSeq. Undefined if there is no such fault.
 */
export function requestFault(request: RtspRequest): number | undefined {
  if (request.version !== RTSP_VERSION) return RtspStatus.versionNotSupported;
  if (request.cseq === undefined) return RtspStatus.badRequest;
  return undefined;
}

/**
 * The bytes of `request`.
 *
 * @throws {TypeError} If its method, URL or a header field has characters that would break it apart.
 */
export function writeRequest(request: OutgoingRequest): Uint8Array {
  const { method, url, cseq } = request;
  if (!TOKEN.test(method)) throw new TypeError("Cannot write request: its method is no token");
  if (url === "" || BLANK_OR_CONTROL.test(url)) {
    throw new TypeError("Cannot write request: its URL is empty or has a blank");
  }
  return write(`${method} ${url} RTSP/${RTSP_VERSION}`, cseq, request);
}

/**
 * The bytes of `response`.
 *
 * @throws {TypeError} If a header field has characters that would break it apart.
 */
export function writeResponse(response: OutgoingResponse): Uint8Array {
  const { status, cseq } = response;
  return write(`RTSP/${RTSP_VERSION} ${status} ${reasonPhrase(status)}`, cseq, response);
}

/**
 * The bytes of an interleaved frame.
 *
 * @throws {RangeError} If the channel is over 255 or the payload over 65 535 bytes long.
 */
export function writeInterleaved(channel: number, payload: Uint8Array): Uint8Array {
  const { length } = payload;
  if (!(channel >= 0 && channel <= 0xff)) {
    throw new RangeError(`Cannot write frame: its channel is ${channel}`);
  }
  if (length > 0xffff) {
    throw new RangeError(`Cannot write frame: its payload is ${length} bytes long`);
  }
  return concat([Uint8Array.of(INTERLEAVED_MARK, channel, length >> 8, length & 0xff), payload]);
}

/** What names and methods are made of (RFC 2326 15.1). */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

// deno-lint-ignore no-control-regex
const BLANK_OR_CONTROL = /[\x00-\x20\x7f]/;

// deno-lint-ignore no-control-regex
const CONTROL = /[\x00-\x08\x0a-\x1f\x7f]/;

/** Whether `text` is a token (RFC 2326 15.1). */
export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

/** Whether `text` has a control character that no line of a message may have. */
export function hasControl(text: string): boolean {
  return CONTROL.test(text);
}

const encoder = new TextEncoder();

function write(
  startLine: string,
  cseq: number | undefined,
  message: { readonly headers?: OutgoingHeaders; readonly body?: Uint8Array | string },
): Uint8Array {
  const { headers = {}, body = "" } = message;
  const bodyBytes = typeof body === "string" ? encoder.encode(body) : body;
  let head = `${startLine}\r\n`;
  if (cseq !== undefined) head += `CSeq: ${cseq}\r\n`;
  for (const [name, value] of Object.entries(headers)) {
    for (const line of linesOf(value)) head += headerLine(name, line);
  }
  if (bodyBytes.length > 0) head += `Content-Length: ${bodyBytes.length}\r\n`;
  return concat([encoder.encode(`${head}\r\n`), bodyBytes]);
}

function linesOf(value: OutgoingHeaders[string]): readonly (string | number)[] {
  if (value === undefined) return [];
  return typeof value === "string" || typeof value === "number" ? [value] : value;
}

function headerLine(name: string, value: string | number): string {
  if (!isToken(name)) throw new TypeError("Cannot write header field: its name is no token");
  const text = String(value);
  // A line break in it would let whoever chose the value write header fields of their own.
  if (hasControl(text)) {
    throw new TypeError(`Cannot write header field ${name}: it has a control character`);
  }
  return `${name}: ${text}\r\n`;
}
