/** The bytes of an RTSP connection, taken apart (RFC 2326 4, 10.12). */

import { ByteWriter } from "../../src/bytes.ts";
import { InvalidDataError } from "../../src/errors.ts";
import {
  hasControl,
  INTERLEAVED_HEADER_BYTES,
  INTERLEAVED_MARK,
  isToken,
  type RtspHeaders,
  type RtspItem,
  type RtspRequest,
  type RtspResponse,
} from "./message.ts";

/**
 * Longest line of a head: a URL with a signed token of several kilobytes, or the answer to a
 * challenge over such a URL. Servers of HTTP take 8 KiB, so clients keep to it.
 */
export const MAX_LINE_BYTES = 8 << 10;

/** Largest head, start line and line breaks included: two of the longest lines, and the usual ones. */
export const MAX_HEAD_BYTES = 24 << 10;

/** Most header lines of a message: cameras send about ten, the protocol knows about fifty. */
export const MAX_HEADER_LINES = 64;

/**
 * Largest body: session descriptions and parameters take a few kilobytes. What is claimed is
 * allocated at once.
 */
export const MAX_BODY_BYTES = 64 << 10;

/** Largest sequence number: 32 bits, though the grammar has no bound (RFC 2326 12.17). */
const MAX_CSEQ = 0xffff_ffff;

/** Fields of which a second, different one makes a message ambiguous. */
const SINGLE_FIELDS: ReadonlySet<string> = new Set([
  "authorization",
  "content-base",
  "content-length",
  "cseq",
  "session",
]);

const CR = 0x0d;
const LF = 0x0a;
/** First byte of a TLS record with a handshake in it (RFC 8446 5.1). */
const TLS_HANDSHAKE = 0x16;

type StartLine =
  | Pick<RtspRequest, "kind" | "method" | "url" | "version">
  | Pick<RtspResponse, "kind" | "status" | "reason" | "version">;

/** A message of which the head is being read. */
interface Head {
  readonly start: StartLine;
  readonly headers: Map<string, string>;
  lines: number;
}

/** A body or payload that is not all there. */
interface Unfinished {
  readonly bytes: Uint8Array;
  received: number;
  /** What it belongs to. */
  readonly item: RtspItem;
}

/** A chunk as it is taken apart. */
interface Cursor {
  readonly chunk: Uint8Array;
  at: number;
  readonly items: RtspItem[];
}

/**
 * Takes requests, responses and interleaved frames out of chunks of any size; servers and clients
 * read alike.
 *
 * Bodies and payloads are views on a chunk that holds them whole, otherwise copies. Chunks must not
 * be written to afterwards. Lines may end without CR, and blank lines between messages are passed
 * over; folded lines are refused, as RFC 9112 5.2 does for HTTP.
 */
export class RtspParser {
  #line: ByteWriter | undefined;
  #head: Head | undefined;
  #headBytes = 0;
  /** The header of an interleaved frame as a big-endian number, and how many bytes of it are there. */
  #prefix = 0;
  #prefixBytes = 0;
  #unfinished: Unfinished | undefined;

  /**
   * Takes the next bytes and gives what they complete.
   *
   * @throws {InvalidDataError} If the bytes are no RTSP or pass a bound of this module. The parser
   * can't be used after that, and what came before in the same chunk is lost.
   */
  push(chunk: Uint8Array): RtspItem[] {
    const cursor: Cursor = { chunk, at: 0, items: [] };
    while (cursor.at < chunk.length) {
      if (this.#unfinished) this.#fill(this.#unfinished, cursor);
      else if (this.#isAtFrame(chunk[cursor.at])) this.#readFrame(cursor);
      else this.#readLine(cursor);
    }
    return cursor.items;
  }

  #isAtFrame(byte: number | undefined): boolean {
    if (this.#prefixBytes > 0) return true;
    return byte === INTERLEAVED_MARK && this.#head === undefined && this.#line === undefined;
  }

  #readFrame(cursor: Cursor): void {
    const { chunk } = cursor;
    while (this.#prefixBytes < INTERLEAVED_HEADER_BYTES) {
      const byte = chunk[cursor.at];
      if (byte === undefined) return;
      this.#prefix = this.#prefix << 8 | byte;
      this.#prefixBytes++;
      cursor.at++;
    }
    this.#prefixBytes = 0;
    const channel = this.#prefix >> 16 & 0xff;
    const payload = roomFor(this.#prefix & 0xffff, cursor);
    this.#begin({ kind: "interleaved", channel, payload }, payload, cursor);
  }

  /** Hands out `item` if its `bytes` are on the chunk, otherwise begins to collect them. */
  #begin(item: RtspItem, bytes: Uint8Array, cursor: Cursor): void {
    if (bytes.buffer === cursor.chunk.buffer) {
      cursor.at += bytes.length;
      cursor.items.push(item);
    } else {
      this.#unfinished = { bytes, received: 0, item };
    }
  }

  #fill(unfinished: Unfinished, cursor: Cursor): void {
    const { bytes, received, item } = unfinished;
    const end = Math.min(cursor.chunk.length, cursor.at + bytes.length - received);
    bytes.set(cursor.chunk.subarray(cursor.at, end), received);
    unfinished.received += end - cursor.at;
    cursor.at = end;
    if (unfinished.received < bytes.length) return;
    this.#unfinished = undefined;
    cursor.items.push(item);
  }

  #readLine(cursor: Cursor): void {
    const { chunk, at } = cursor;
    if (this.#head === undefined && this.#line === undefined) checkFirstByte(chunk[at]);
    const found = chunk.indexOf(LF, at);
    const end = found < 0 ? chunk.length : found;
    const length = (this.#line?.length ?? 0) + end - at;
    if (length > MAX_LINE_BYTES) {
      throw new InvalidDataError(`Cannot read RTSP: a line is over ${MAX_LINE_BYTES} bytes long`);
    }
    const headBytes = this.#headBytes + length + (found < 0 ? 0 : 1);
    if (headBytes > MAX_HEAD_BYTES) {
      throw new InvalidDataError(`Cannot read RTSP: a head is over ${MAX_HEAD_BYTES} bytes long`);
    }
    cursor.at = found < 0 ? end : end + 1;
    const part = chunk.subarray(at, end);
    if (found < 0) {
      this.#line ??= new ByteWriter();
      this.#line.bytes(part);
      return;
    }
    const line = textOf(this.#line?.bytes(part).finish() ?? part);
    this.#line = undefined;
    this.#headBytes = headBytes;
    this.#takeLine(line, cursor);
  }

  #takeLine(line: string, cursor: Cursor): void {
    const head = this.#head;
    if (head && line !== "") return takeHeaderLine(head, line);
    if (head) this.#endHead(head, cursor);
    else if (line !== "") {
      this.#head = { start: parseStartLine(line), headers: new Map(), lines: 0 };
    }
    if (line === "") this.#headBytes = 0;
  }

  #endHead({ start, headers }: Head, cursor: Cursor): void {
    this.#head = undefined;
    const cseq = cseqOf(headers);
    const body = roomFor(contentLength(headers), cursor);
    this.#begin({ ...start, cseq, headers, body }, body, cursor);
  }
}

/** The next `length` bytes of the chunk if they are all there, otherwise room for them. */
function roomFor(length: number, { chunk, at }: Cursor): Uint8Array {
  const end = at + length;
  return end <= chunk.length ? chunk.subarray(at, end) : new Uint8Array(length);
}

/** Refuses at once what can't become a message, such as TLS, or garbage behind a wrong length. */
function checkFirstByte(byte = 0): void {
  const isLetter = byte >= 0x41 && byte <= 0x5a || byte >= 0x61 && byte <= 0x7a;
  if (isLetter || byte === CR || byte === LF) return;
  const hint = byte === TLS_HANDSHAKE ? ", as TLS does" : "";
  throw new InvalidDataError(`Cannot read RTSP: a message starts with byte ${byte}${hint}`);
}

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** The text of a line, without the CR at its end. */
function textOf(bytes: Uint8Array): string {
  const line = decoder.decode(bytes.at(-1) === CR ? bytes.subarray(0, -1) : bytes);
  if (hasControl(line)) {
    throw new InvalidDataError("Cannot read RTSP: a line has a control character");
  }
  return line;
}

const STATUS_LINE = /^RTSP\/(\d{1,2}\.\d{1,2}) +([1-9]\d\d)(?: (.*))?$/;
const VERSION = /^RTSP\/(\d{1,2}\.\d{1,2})$/;

/** Reads a status line (RFC 2326 7.1) or request line (6.1). */
function parseStartLine(line: string): StartLine {
  const [, statusVersion, status, reason = ""] = STATUS_LINE.exec(line) ?? [];
  if (statusVersion !== undefined) {
    return { kind: "response", version: statusVersion, status: Number(status), reason };
  }
  const first = line.indexOf(" ");
  const last = line.lastIndexOf(" ");
  const method = line.slice(0, first);
  const protocol = line.slice(last + 1);
  if (/^HTTP\/\d/.test(protocol) || /^HTTP\/\d/.test(line)) {
    throw new InvalidDataError("Cannot read RTSP: the peer speaks HTTP");
  }
  const version = VERSION.exec(protocol)?.[1];
  // Some clients leave blanks in a URL, so it is all that lies between.
  if (first < 0 || last <= first + 1 || !isToken(method) || version === undefined) {
    throw new InvalidDataError(
      "Cannot read RTSP: a message starts with neither request nor status",
    );
  }
  return { kind: "request", version, method, url: line.slice(first + 1, last) };
}

/** Adds a header line to `head` (RFC 2326 15.1). */
function takeHeaderLine(head: Head, line: string): void {
  if (++head.lines > MAX_HEADER_LINES) {
    throw new InvalidDataError(`Cannot read RTSP: a head has over ${MAX_HEADER_LINES} lines`);
  }
  if (/^[ \t]/.test(line)) throw new InvalidDataError("Cannot read RTSP: a header line is folded");
  const colon = line.indexOf(":");
  const name = line.slice(0, Math.max(colon, 0)).trimEnd().toLowerCase();
  if (!isToken(name)) {
    throw new InvalidDataError("Cannot read RTSP: a header line does not start with a name");
  }
  const value = line.slice(colon + 1).trim();
  const before = head.headers.get(name);
  if (before === undefined) {
    head.headers.set(name, value);
  } else if (!SINGLE_FIELDS.has(name)) {
    head.headers.set(name, `${before}, ${value}`);
  } else if (before !== value) {
    throw new InvalidDataError(`Cannot read RTSP: ${name} is there twice`);
  }
}

function contentLength(headers: RtspHeaders): number {
  const text = headers.get("content-length") ?? "0";
  if (!/^\d{1,9}$/.test(text)) {
    throw new InvalidDataError("Cannot read body: its Content-Length is no length");
  }
  const length = Number(text);
  if (length > MAX_BODY_BYTES) {
    throw new InvalidDataError(
      `Cannot read body: its length is ${length}, more than ${MAX_BODY_BYTES}`,
    );
  }
  return length;
}

function cseqOf(headers: RtspHeaders): number | undefined {
  const text = headers.get("cseq") ?? "";
  const cseq = Number(text);
  return /^\d{1,10}$/.test(text) && cseq <= MAX_CSEQ ? cseq : undefined;
}
