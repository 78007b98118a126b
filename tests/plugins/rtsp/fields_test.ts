import { assertEquals, assertThrows } from "@std/assert";
import { InvalidDataError } from "../../../src/errors.ts";
import {
  formatMethods,
  formatRtpInfo,
  formatSession,
  parseMethods,
  parseParameter,
  parseRtpInfo,
  parseSession,
  quote,
  type RtpInfo,
  type SessionField,
  splitUnquoted,
} from "../../../plugins/rtsp/fields.ts";

const sessions: readonly { text: string; session: SessionField; written?: boolean }[] = [
  { text: "12345678", session: { id: "12345678" }, written: true },
  {
    text: "47112344;timeout=60",
    session: { id: "47112344", timeoutSeconds: 60 },
    written: true,
  },
  { text: " $-_.+ ; Timeout = 5 ; x", session: { id: "$-_.+", timeoutSeconds: 5 } },
  { text: "a;x=1;timeout=90.5", session: { id: "a", timeoutSeconds: 90 } },
  { text: "a;timeout=0", session: { id: "a" } },
  { text: "a;", session: { id: "a" } },
];

Deno.test("parseSession() reads id and timeout, and formatSession() writes them", () => {
  for (const { text, session, written } of sessions) {
    assertEquals(parseSession(text), session);
    if (written) assertEquals(formatSession(session), text);
    assertEquals(parseSession(formatSession(session)), session);
  }
});

Deno.test("parseSession() refuses an empty id and a timeout that is none", () => {
  for (const text of ["", " ", ";timeout=60"]) {
    assertThrows(() => parseSession(text), InvalidDataError, "its id is empty");
  }
  for (const timeout of ["", "x", "-1", "1e3", "12345678"]) {
    assertThrows(() => parseSession(`a;timeout=${timeout}`), InvalidDataError, "its timeout");
  }
});

const infos: readonly { name: string; text: string; tracks: RtpInfo[]; written?: boolean }[] = [
  {
    name: "the example of RFC 2326 12.33",
    text: "url=rtsp://foo.com/bar.avi/streamid=0;seq=45102," +
      "url=rtsp://foo.com/bar.avi/streamid=1;seq=30211",
    tracks: [
      { url: "rtsp://foo.com/bar.avi/streamid=0", sequence: 45_102 },
      { url: "rtsp://foo.com/bar.avi/streamid=1", sequence: 30_211 },
    ],
    written: true,
  },
  {
    name: "the largest numbers",
    text: "url=rtsp://a/b;seq=65535;rtptime=4294967295",
    tracks: [{ url: "rtsp://a/b", sequence: 65_535, timestamp: 4_294_967_295 }],
    written: true,
  },
  {
    name: "a time only",
    text: "url=trackID=1;rtptime=0",
    tracks: [{ url: "trackID=1", timestamp: 0 }],
    written: true,
  },
  {
    name: "URLs with commas and semicolons",
    text: "url=rtsp://a/b?x=1,2;y=3;seq=1;rtptime=2,url=rtsp://a/c;d,e;seq=3",
    tracks: [
      { url: "rtsp://a/b?x=1,2;y=3", sequence: 1, timestamp: 2 },
      { url: "rtsp://a/c;d,e", sequence: 3 },
    ],
    written: true,
  },
  {
    name: "numbers out of range or malformed",
    text: "url=a;seq=-1;rtptime=4294967296, url=b;seq=65536;rtptime=, url=c;seq=1x",
    tracks: [{ url: "a" }, { url: "b" }, { url: "c" }],
  },
  {
    name: "another order, quotes and blanks",
    text: ' URL = "rtsp://a/b" ; rtptime=7; ssrc=00112233 ;seq=1',
    tracks: [{ url: "rtsp://a/b", sequence: 1, timestamp: 7 }],
  },
  { name: "nothing", text: "", tracks: [] },
  { name: "no URL", text: "seq=1;rtptime=2", tracks: [] },
];

for (const { name, text, tracks, written } of infos) {
  Deno.test(`parseRtpInfo() reads ${name}`, () => assertEquals(parseRtpInfo(text), tracks));
  if (!written) continue;
  Deno.test(`formatRtpInfo() writes ${name}`, () => assertEquals(formatRtpInfo(tracks), text));
}

Deno.test("parseMethods() reads what formatMethods() writes, and Public of others", () => {
  const methods = ["OPTIONS", "DESCRIBE", "GET_PARAMETER"];
  assertEquals(formatMethods(methods), "OPTIONS, DESCRIBE, GET_PARAMETER");
  assertEquals([...parseMethods(formatMethods(methods))], methods);
  assertEquals([...parseMethods(" options,,PLAY ,")], ["OPTIONS", "PLAY"]);
  assertEquals([...parseMethods("")], []);
});

Deno.test("splitUnquoted() leaves separators in quotes alone", () => {
  assertEquals(splitUnquoted('a="1,2", b , ,c="\\",x",d', ","), ['a="1,2"', "b", 'c="\\",x"', "d"]);
  assertEquals(splitUnquoted('a;b="c;d";', ";"), ["a", 'b="c;d"']);
  assertEquals(splitUnquoted('a,"b,c', ","), ["a", '"b,c']);
});

Deno.test("parseParameter() takes off the quotes that quote() adds", () => {
  for (const value of ["", "a", 'say "a\\b"', "\\", '"', "ü,;="]) {
    assertEquals(parseParameter(`Name=${quote(value)}`), ["name", value]);
  }
  assertEquals(parseParameter("a = b=c "), ["a", "b=c"]);
  assertEquals(parseParameter("Flag"), ["flag", ""]);
  assertEquals(parseParameter('a="b'), ["a", "b"]);
  assertEquals(parseParameter('a="'), ["a", ""]);
});
