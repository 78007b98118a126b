/** What an RTSP session answers to each request in each state. */

import { assertEquals, assertGreater, assertStringIncludes } from "@std/assert";
import { serializeSdp } from "../../../src/rtp/sdp.ts";
import {
  descriptionOf,
  eventually,
  RtspTestClient,
  startRtsp,
  videoFrames,
} from "../../support/rtsp.ts";

const SDP = { "Content-Type": "application/sdp" };
const TCP = { Transport: "RTP/AVP/TCP;unicast;interleaved=0-1" };

/** What a client has done before the request under test. */
type Before = (client: RtspTestClient) => Promise<unknown>;

const nothing: Before = () => Promise.resolve();
const announced: Before = (client) => client.announce();
const described: Before = (client) => client.ok("DESCRIBE");
const setUp: Before = (client) => client.setUp(0);
const playing: Before = async (client) => {
  await client.setUp(0);
  await client.setUp(1);
  await client.ok("PLAY");
};
const prepared: Before = async (client) => {
  await client.announce();
  await client.setUp(0);
};

const STATUSES: readonly {
  readonly what: string;
  readonly status: number;
  readonly method: string;
  readonly before?: Before;
  readonly path?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string;
  readonly session?: string;
}[] = [
  { what: "OPTIONS", status: 200, method: "OPTIONS" },
  { what: "a method that nobody knows", status: 501, method: "FLY" },
  { what: "REDIRECT", status: 405, method: "REDIRECT" },
  {
    what: "an option that is not known",
    status: 551,
    method: "OPTIONS",
    headers: { Require: "x" },
  },
  { what: "DESCRIBE of no stream", status: 404, method: "DESCRIBE", path: "/live/none" },
  { what: "DESCRIBE of no path", status: 400, method: "DESCRIBE", path: "/" },
  { what: "DESCRIBE of a bad path", status: 400, method: "DESCRIBE", path: "/live/%zz" },
  {
    what: "DESCRIBE in another format",
    status: 406,
    method: "DESCRIBE",
    headers: { Accept: "text/html" },
  },
  { what: "DESCRIBE behind ANNOUNCE", status: 455, method: "DESCRIBE", before: announced },
  {
    what: "ANNOUNCE in another format",
    status: 415,
    method: "ANNOUNCE",
    headers: { "Content-Type": "text/plain" },
  },
  { what: "ANNOUNCE of nothing", status: 400, method: "ANNOUNCE", headers: SDP },
  { what: "ANNOUNCE of no media", status: 415, method: "ANNOUNCE", headers: SDP, body: "v=0\r\n" },
  {
    what: "ANNOUNCE of an unknown codec",
    status: 415,
    method: "ANNOUNCE",
    headers: SDP,
    body: "v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 Morse/90000\r\n",
  },
  {
    what: "ANNOUNCE of absurdly much",
    status: 400,
    method: "ANNOUNCE",
    headers: SDP,
    body: `v=0\r\n${"m=video 0 RTP/AVP 96\r\n".repeat(65)}`,
  },
  {
    what: "ANNOUNCE of a taken path",
    status: 403,
    method: "ANNOUNCE",
    headers: SDP,
    body: serializeSdp(descriptionOf()),
  },
  {
    what: "ANNOUNCE while playing",
    status: 455,
    method: "ANNOUNCE",
    headers: SDP,
    before: playing,
  },
  {
    what: "SETUP of no stream",
    status: 404,
    method: "SETUP",
    path: "/live/none/trackID=0",
    headers: TCP,
  },
  {
    what: "SETUP of no track",
    status: 404,
    method: "SETUP",
    path: "/live/a/trackID=7",
    headers: TCP,
    before: described,
  },
  {
    what: "SETUP of another stream",
    status: 404,
    method: "SETUP",
    path: "/live/b/trackID=0",
    headers: TCP,
    before: described,
  },
  {
    what: "SETUP of no announced track",
    status: 404,
    method: "SETUP",
    path: "/live/new/trackID=7",
    headers: TCP,
    before: announced,
  },
  { what: "SETUP of all tracks at once", status: 459, method: "SETUP", headers: TCP },
  { what: "SETUP without a transport", status: 400, method: "SETUP", path: "/live/a/trackID=0" },
  {
    what: "SETUP of multicast",
    status: 461,
    method: "SETUP",
    path: "/live/a/trackID=0",
    headers: { Transport: "RTP/AVP;multicast" },
  },
  {
    what: "SETUP of UDP where there is none",
    status: 461,
    method: "SETUP",
    path: "/live/a/trackID=0",
    headers: { Transport: "RTP/AVP;unicast;client_port=5000-5001" },
  },
  {
    what: "SETUP of RECORD without ANNOUNCE",
    status: 455,
    method: "SETUP",
    path: "/live/a/trackID=0",
    headers: { Transport: `${TCP.Transport};mode=record` },
  },
  {
    what: "SETUP while playing",
    status: 455,
    method: "SETUP",
    path: "/live/a/trackID=0",
    headers: TCP,
    before: playing,
  },
  {
    what: "SETUP in another session",
    status: 454,
    method: "SETUP",
    path: "/live/a/trackID=1",
    headers: TCP,
    before: setUp,
    session: "1",
  },
  { what: "PLAY without SETUP", status: 454, method: "PLAY", before: described },
  { what: "PLAY in another session", status: 454, method: "PLAY", before: setUp, session: "1" },
  { what: "PLAY of what is announced", status: 455, method: "PLAY", before: prepared },
  {
    what: "PLAY of a malformed range",
    status: 457,
    method: "PLAY",
    before: setUp,
    headers: { Range: "npt=x" },
  },
  { what: "PLAY once more", status: 200, method: "PLAY", before: playing },
  {
    what: "PAUSE of one track",
    status: 460,
    method: "PAUSE",
    path: "/live/a/trackID=0",
    before: playing,
  },
  { what: "PAUSE before PLAY", status: 455, method: "PAUSE", before: setUp },
  { what: "PAUSE before RECORD", status: 455, method: "PAUSE", before: prepared },
  { what: "RECORD without ANNOUNCE", status: 454, method: "RECORD" },
  { what: "RECORD of what is to be played", status: 455, method: "RECORD", before: setUp },
  { what: "RECORD without SETUP", status: 454, method: "RECORD", before: announced },
  { what: "TEARDOWN of nothing", status: 454, method: "TEARDOWN" },
  { what: "GET_PARAMETER of nothing", status: 200, method: "GET_PARAMETER" },
  { what: "GET_PARAMETER of something", status: 451, method: "GET_PARAMETER", body: "volume\r\n" },
  { what: "SET_PARAMETER", status: 451, method: "SET_PARAMETER", body: "volume: 1\r\n" },
  { what: "GET_PARAMETER of another session", status: 454, method: "GET_PARAMETER", session: "1" },
];

for (const { what, status, method, before = nothing, path, headers, body, session } of STATUSES) {
  Deno.test(`RtspSession answers ${what} with ${status}`, async () => {
    await using server = await startRtsp();
    await using publisher = await RtspTestClient.publish(`${server.url}/live/a`);
    await publisher.pushFrames("Kav");
    await videoFrames(server, 2);
    const isPublisher = before === announced || before === prepared;
    const own = isPublisher ? "/live/new" : "/live/a";
    await using client = await RtspTestClient.open(server.url + own);
    await before(client);
    if (session !== undefined) client.session = session;
    const answer = await client.request(method, {
      url: server.url + (path ?? own),
      ...(headers && { headers }),
      ...(body !== undefined && { body }),
    });
    assertEquals(answer.status, status);
    // It harms nothing: neither the connection nor others.
    assertEquals(await client.status("OPTIONS", { headers: { Session: undefined } }), 200);
    assertEquals(server.engine.getStream("live/a")?.state, "live");
  });
}

Deno.test("RtspSession says in OPTIONS what it can", async () => {
  await using server = await startRtsp();
  await using client = await RtspTestClient.open(`${server.url}/live/a`);
  const { headers } = await client.ok("OPTIONS", { url: "*" });
  const methods = headers.get("public") ?? "";
  for (const method of ["DESCRIBE", "ANNOUNCE", "RECORD", "GET_PARAMETER"]) {
    assertStringIncludes(methods, method);
  }
  assertGreater(methods.length, 40);
});

Deno.test("RtspSession answers what it can't serve by its version or number", async () => {
  await using server = await startRtsp();
  await using client = await RtspTestClient.open(`${server.url}/live/a`);
  await client.raw("OPTIONS * RTSP/2.0\r\nCSeq: 1\r\n\r\nOPTIONS * RTSP/1.0\r\n\r\n");
  await client.raw("OPTIONS * RTSP/1.0\r\nCSeq: 2\r\n\r\n");
  await eventually("three answers", () => client.responses.length === 3);
  assertEquals(client.responses.map(({ status }) => status), [505, 400, 200]);
});
