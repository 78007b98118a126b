/** Messages as bytes and as values, for parser and writers alike. */

import type {
  OutgoingRequest,
  OutgoingResponse,
  RtspItem,
  RtspRequest,
  RtspResponse,
} from "../../../plugins/rtsp/message.ts";

/** One message, or a frame, on the wire. */
export interface MessageCase {
  readonly name: string;
  /** Its bytes; a character is a byte, and a line of a head ends with `\n` for CR LF. */
  readonly wire: Uint8Array;
  readonly item: RtspItem;
  /** What is written as these very bytes. */
  readonly outgoing?: OutgoingRequest | OutgoingResponse;
}

/** The bytes of a head, its lines given with LF and sent with CR LF, and a body behind it. */
export function wire(head: string, body = ""): Uint8Array {
  return new TextEncoder().encode(head.replaceAll("\n", "\r\n") + body);
}

/** A request as it is parsed. */
export function request(fields: Partial<RtspRequest> = {}): RtspRequest {
  const url = "rtsp://example.com/a";
  const common = { kind: "request", version: "1.0", method: "OPTIONS", url } as const;
  return { ...common, cseq: 1, headers: new Map([["cseq", "1"]]), body: noBytes(), ...fields };
}

/** A response as it is parsed. */
export function response(fields: Partial<RtspResponse> = {}): RtspResponse {
  const common = { kind: "response", version: "1.0", status: 200, reason: "OK" } as const;
  return { ...common, cseq: 1, headers: new Map([["cseq", "1"]]), body: noBytes(), ...fields };
}

function noBytes(): Uint8Array {
  return new Uint8Array(0);
}

const description = "v=0\r\ns=\u00fc\r\nm=video 0 RTP/AVP 96\r\n";
const descriptionBytes = new TextEncoder().encode(description);

/** What clients and servers send. */
export const cases: readonly MessageCase[] = [
  {
    name: "a request with nothing but CSeq",
    wire: wire("OPTIONS rtsp://example.com/a RTSP/1.0\nCSeq: 1\n\n"),
    item: request(),
    outgoing: { method: "OPTIONS", url: "rtsp://example.com/a", cseq: 1 },
  },
  {
    name: "the OPTIONS of RFC 2326 10.1",
    wire: wire(
      "OPTIONS * RTSP/1.0\nCSeq: 1\nRequire: implicit-play\nProxy-Require: gzipped-messages\n\n",
    ),
    item: request({
      url: "*",
      headers: new Map([
        ["cseq", "1"],
        ["require", "implicit-play"],
        ["proxy-require", "gzipped-messages"],
      ]),
    }),
    outgoing: {
      method: "OPTIONS",
      url: "*",
      cseq: 1,
      headers: { "Require": "implicit-play", "Proxy-Require": "gzipped-messages" },
    },
  },
  {
    name: "the SETUP of RFC 2326 10.4",
    wire: wire(
      "SETUP rtsp://example.com/foo/bar/baz.rm RTSP/1.0\nCSeq: 302\n" +
        "Transport: RTP/AVP;unicast;client_port=4588-4589\n\n",
    ),
    item: request({
      method: "SETUP",
      url: "rtsp://example.com/foo/bar/baz.rm",
      cseq: 302,
      headers: new Map([
        ["cseq", "302"],
        ["transport", "RTP/AVP;unicast;client_port=4588-4589"],
      ]),
    }),
    outgoing: {
      method: "SETUP",
      url: "rtsp://example.com/foo/bar/baz.rm",
      cseq: 302,
      headers: { Transport: "RTP/AVP;unicast;client_port=4588-4589" },
    },
  },
  {
    name: "the answer of RFC 2326 10.1",
    wire: wire("RTSP/1.0 200 OK\nCSeq: 1\nPublic: DESCRIBE, SETUP, TEARDOWN, PLAY, PAUSE\n\n"),
    item: response({
      headers: new Map([["cseq", "1"], ["public", "DESCRIBE, SETUP, TEARDOWN, PLAY, PAUSE"]]),
    }),
    outgoing: {
      status: 200,
      cseq: 1,
      headers: { Public: "DESCRIBE, SETUP, TEARDOWN, PLAY, PAUSE", Session: undefined },
    },
  },
  {
    name: "a request with a body",
    wire: wire(
      "ANNOUNCE rtsp://example.com/a RTSP/1.0\nCSeq: 4294967295\n" +
        `Content-Type: application/sdp\nContent-Length: ${descriptionBytes.length}\n\n`,
      description,
    ),
    item: request({
      method: "ANNOUNCE",
      cseq: 0xffff_ffff,
      headers: new Map([
        ["cseq", "4294967295"],
        ["content-type", "application/sdp"],
        ["content-length", `${descriptionBytes.length}`],
      ]),
      body: descriptionBytes,
    }),
    outgoing: {
      method: "ANNOUNCE",
      url: "rtsp://example.com/a",
      cseq: 0xffff_ffff,
      headers: { "Content-Type": "application/sdp" },
      body: description,
    },
  },
  {
    name: "a response with a body of bytes",
    wire: wire("RTSP/1.0 200 OK\nCSeq: 3\nContent-Length: 4\n\n", "$\x00\r\n"),
    item: response({
      cseq: 3,
      headers: new Map([["cseq", "3"], ["content-length", "4"]]),
      body: Uint8Array.of(0x24, 0, 13, 10),
    }),
    outgoing: { status: 200, cseq: 3, body: Uint8Array.of(0x24, 0, 13, 10) },
  },
  {
    name: "a response with a header field of two lines, and without CSeq",
    wire: wire(
      'RTSP/1.0 401 Unauthorized\nWWW-Authenticate: Digest realm="a"\n' +
        'WWW-Authenticate: Basic realm="a"\n\n',
    ),
    item: response({
      status: 401,
      reason: "Unauthorized",
      cseq: undefined,
      headers: new Map([["www-authenticate", 'Digest realm="a", Basic realm="a"']]),
    }),
    outgoing: {
      status: 401,
      cseq: undefined,
      headers: { "WWW-Authenticate": ['Digest realm="a"', 'Basic realm="a"'] },
    },
  },
  {
    name: "a response with a status that is not in the table",
    wire: wire("RTSP/1.0 299 \nCSeq: 1\n\n"),
    item: response({ status: 299, reason: "" }),
    outgoing: { status: 299, cseq: 1 },
  },
  {
    name: "a response without reason phrase and blank",
    wire: wire("RTSP/1.0 200\nCSeq: 1\n\n"),
    item: response({ reason: "" }),
  },
  {
    name: "lines without CR",
    wire: new TextEncoder().encode("OPTIONS rtsp://example.com/a RTSP/1.0\nCSeq: 1\n\n"),
    item: request(),
  },
  {
    name: "blank lines before a message",
    wire: wire("\n\nOPTIONS rtsp://example.com/a RTSP/1.0\nCSeq: 1\n\n"),
    item: request(),
  },
  {
    name: "names in any case, blanks around values, and none",
    wire: wire(
      "OPTIONS rtsp://example.com/a RTSP/1.0\ncSEQ :\t1 \nX-Empty:\nX-Colon:a: b:\n\n",
    ),
    item: request({ headers: new Map([["cseq", "1"], ["x-empty", ""], ["x-colon", "a: b:"]]) }),
  },
  {
    name: "a URL with blanks and letters beyond ASCII",
    wire: wire("DESCRIBE rtsp://example.com/my k\u00fcche RTSP/1.0\nCSeq: 1\n\n"),
    item: request({ method: "DESCRIBE", url: "rtsp://example.com/my k\u00fcche" }),
  },
  {
    name: "the mark of frames inside a head",
    wire: wire("A rtsp://example.com/$b RTSP/1.0\n$c: $\n\n"),
    item: request({
      method: "A",
      url: "rtsp://example.com/$b",
      cseq: undefined,
      headers: new Map([["$c", "$"]]),
    }),
  },
  {
    name: "a single field twice and the same",
    wire: wire("OPTIONS rtsp://example.com/a RTSP/1.0\nCSeq: 1\nCSeq: 1\n\n"),
    item: request(),
  },
  {
    name: "a request of version 2.0",
    wire: wire("OPTIONS rtsp://example.com/a RTSP/2.0\nCSeq: 1\n\n"),
    item: request({ version: "2.0" }),
  },
  {
    name: "a CSeq that is no number",
    wire: wire("OPTIONS rtsp://example.com/a RTSP/1.0\nCSeq: 1a\n\n"),
    item: request({ cseq: undefined, headers: new Map([["cseq", "1a"]]) }),
  },
  {
    name: "a CSeq over 32 bits",
    wire: wire("OPTIONS rtsp://example.com/a RTSP/1.0\nCSeq: 4294967296\n\n"),
    item: request({ cseq: undefined, headers: new Map([["cseq", "4294967296"]]) }),
  },
  {
    name: "no header field at all",
    wire: wire("OPTIONS rtsp://example.com/a RTSP/1.0\n\n"),
    item: request({ cseq: undefined, headers: new Map() }),
  },
  {
    name: "an interleaved frame",
    wire: Uint8Array.of(0x24, 255, 0, 5, 0x24, 13, 10, 13, 10),
    item: { kind: "interleaved", channel: 255, payload: Uint8Array.of(0x24, 13, 10, 13, 10) },
  },
  {
    name: "an empty interleaved frame",
    wire: Uint8Array.of(0x24, 1, 0, 0),
    item: { kind: "interleaved", channel: 1, payload: new Uint8Array(0) },
  },
  {
    name: "an interleaved frame of over 255 bytes",
    wire: Uint8Array.from({ length: 304 }, (_, at) => [0x24, 2, 1, 44][at] ?? at),
    item: {
      kind: "interleaved",
      channel: 2,
      payload: Uint8Array.from({ length: 300 }, (_, at) => at + 4),
    },
  },
];
