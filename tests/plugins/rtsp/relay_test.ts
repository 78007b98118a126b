import { assert, assertEquals, assertGreater, assertMatch } from "@std/assert";
import { ServerAuthentication } from "../../../plugins/rtsp/authentication.ts";
import { writeInterleaved } from "../../../plugins/rtsp/message.ts";
import rtsp from "../../../plugins/rtsp/mod.ts";
import { Backoff } from "../../../plugins/rtsp/remote.ts";
import { Engine } from "../../../src/engine.ts";
import { type Isolates, SoleIsolate } from "../../../src/isolates.ts";
import { Plugins } from "../../../src/plugin.ts";
import { concat } from "../../../src/bytes.ts";
import { serializeSdp } from "../../../src/rtp/sdp.ts";
import { listLogger } from "../../support/logs.ts";
import {
  descriptionOf,
  eventually,
  type PeerAnswer,
  type PluginServer,
  RtpFrames,
  RtspTestClient,
  RtspTestPeer,
  startRtsp,
  UDP_PORTS,
  UdpTestPorts,
} from "../../support/rtsp.ts";
import type { RtspRequest } from "../../../plugins/rtsp/message.ts";

const fixtures = new URL("../../fixtures/rtmp/", import.meta.url);
const Cert = decodeURIComponent(new URL("cert.pem", fixtures).pathname);
const Key = decodeURIComponent(new URL("key.pem", fixtures).pathname);

function framesOf(server: PluginServer, path = "live/b"): number {
  return server.engine.getStream(path)?.videoTracks[0]?.stats().frames ?? 0;
}

/** What a server with a stream of H.264 and AAC answers; behind PLAY there are `frames` of it. */
function camera(request: RtspRequest, frames = "Kavv"): PeerAnswer {
  const { method, url, headers } = request;
  const Session = "abc;timeout=2";
  switch (method) {
    case "OPTIONS":
      return { headers: { Public: "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER" } };
    case "DESCRIBE":
      return { headers: { "Content-Base": `${url}/` }, body: serializeSdp(descriptionOf()) };
    case "SETUP":
      return { headers: { Session, Transport: headers.get("transport") ?? "" } };
    case "PLAY": {
      const packets = new RtpFrames().packets(frames);
      const after = concat(packets.map(({ track, bytes }) => writeInterleaved(2 * track, bytes)));
      return { headers: { Session }, after };
    }
    default:
      return { headers: { Session } };
  }
}

Deno.test("Backoff doubles from 1 s to 30 s, by half as chance has it, until it is reset", () => {
  for (const [random, expected] of [[0, 500], [0.5, 750], [1, 1000]] as const) {
    const backoff = new Backoff(() => random);
    const waits = Array.from({ length: 7 }, () => backoff.next() / expected);
    assertEquals(waits, [1, 2, 4, 8, 16, 30, 30]);
    backoff.reset();
    assertEquals(backoff.next(), expected);
  }
});

for (const Transport of ["tcp", "udp"]) {
  Deno.test(`Pull fetches a stream by ${Transport} from another server with users`, async () => {
    await using source = await startRtsp({ UDPPorts: UDP_PORTS });
    await using publisher = await RtspTestClient.publish(`${source.url}/live/a`);
    await publisher.pushFrames("Kav");
    await eventually("frames", () => framesOf(source, "live/a") === 2);
    await source.plugins.configure("RTSP", {
      ...{ Host: "127.0.0.1", Port: 0, UDPPorts: UDP_PORTS },
      Users: { bob: "p@ss/word" },
    });
    const URL = `${source.url.replace("//", "//bob:p%40ss%2Fword@")}/live/a`;
    const Pull = { "live/b": { URL, Transport } };
    await using server = await startRtsp({ UDPPorts: UDP_PORTS, Pull });
    await eventually("the first", () => framesOf(server) === 2);
    await publisher.pushFrames("vvav");
    await eventually("the others", () => framesOf(server) === 5);
    const stream = server.engine.getStream("live/b");
    assertEquals(stream?.publisher?.type, "RTSP");
    assertMatch(stream?.publisher?.id ?? "", /^127\.0\.0\.1:\d+$/);
    assertGreater(stream?.audioTracks[0]?.stats().frames ?? 0, 0);
    assertEquals([...source.engine.subscribers.values()].length, 1);
    assertEquals(server.logs.some((line) => line.includes("p@ss") || line.includes("p%40")), false);
  });
}

Deno.test("Pull goes over to TCP at once when the server takes no UDP", async () => {
  await using source = await startRtsp();
  await using publisher = await RtspTestClient.publish(`${source.url}/live/a`);
  await publisher.pushFrames("Kav");
  const Pull = { "live/b": { URL: `${source.url}/live/a`, Transport: "auto" } };
  await using server = await startRtsp({ UDPPorts: UDP_PORTS, Pull });
  await eventually("frames", () => framesOf(server) === 2);
  assertEquals(server.logs.filter((line) => line.includes("cannot fetch")), []);
});

Deno.test("Pull goes over to TCP when nothing comes by UDP, and stays there", async () => {
  const carriers: string[] = [];
  await using peer = new RtspTestPeer((request) => {
    const transport = request.headers.get("transport");
    if (transport !== undefined) carriers.push(transport.includes("TCP") ? "tcp" : "udp");
    const answer = camera(request);
    return carriers.at(-1) === "udp" ? { ...answer, after: new Uint8Array() } : answer;
  });
  const Pull = { "live/b": { URL: `${peer.url}/cam`, Transport: "auto" } };
  await using server = await startRtsp({ UDPPorts: UDP_PORTS, Pull });
  await eventually("frames", () => framesOf(server) === 3);
  assertEquals(carriers, ["udp", "udp", "tcp", "tcp"]);
  assertEquals(peer.methods.filter((method) => method === "TEARDOWN").length, 1);
  peer.hangUp();
  await eventually("frames of the next connection", () => framesOf(server) === 6);
  assertEquals(carriers.slice(4), ["tcp", "tcp"]);
});

Deno.test("Pull stays with UDP when packets come", async () => {
  await using ports = await UdpTestPorts.open();
  const transports: string[] = [];
  await using peer = new RtspTestPeer((request) => {
    const transport = request.headers.get("transport");
    if (transport !== undefined) transports.push(transport);
    const answer = camera(request);
    const from = { ...answer.headers, Transport: `${transport};server_port=${ports.ports}` };
    return { ...answer, ...(transport && { headers: from }), after: new Uint8Array() };
  });
  const Pull = { "live/b": { URL: `${peer.url}/cam`, Transport: "auto" } };
  await using server = await startRtsp({ UDPPorts: UDP_PORTS, Pull });
  await eventually("PLAY", () => peer.methods.includes("PLAY"));
  const port = Number(/client_port=(\d+)/.exec(transports[0] ?? "")?.[1]);
  const [first, ...others] = new RtpFrames().packets("Kvv");
  // The first one may be there before the answer to PLAY.
  if (first) await ports.send(first.bytes, port);
  for (const { bytes } of others) await ports.send(bytes, port);
  await eventually("frames", () => framesOf(server) === 3);
  assertEquals(transports.filter((transport) => transport.includes("TCP")), []);
});

Deno.test("Pull trusts the certificate of its fingerprint, and no other", async () => {
  await using source = await startRtsp({ Cert, Key, TLSPort: 0 });
  await using publisher = await RtspTestClient.publish(`${source.urls[0]}/live/a`);
  await publisher.pushFrames("Kav");
  const URL = `${source.urls.find((url) => url.startsWith("rtsps:"))}/live/a`;
  const pem = await Deno.readTextFile(Cert);
  const der = Uint8Array.fromBase64(pem.replace(/-----.*-----/g, ""));
  const right = new Uint8Array(await crypto.subtle.digest("SHA-256", der)).toHex();
  const wrong = right.replace(/^../, (byte) => byte === "00" ? "01" : "00");
  const cases: [string | undefined, RegExp][] = [
    [undefined, /certificate/],
    [wrong, new RegExp(`its fingerprint is ${right.replace(/..(?!$)/g, "$&:")}`, "i")],
  ];
  for (const [Fingerprint, reason] of cases) {
    const Pull = { "live/b": { URL, ...(Fingerprint && { Fingerprint }) } };
    await using server = await startRtsp({ Pull });
    const said = () => server.logs.find((line) => line.includes("cannot fetch"));
    await eventually("a refusal", () => said() !== undefined);
    assertMatch(said() ?? "", reason);
    assertEquals(server.engine.getStream("live/b"), undefined);
  }
  assertEquals([...source.engine.subscribers.values()], []);
  for (const Fingerprint of [right, right.toUpperCase().replace(/..(?!$)/g, "$&:")]) {
    await using server = await startRtsp({ Pull: { "live/b": { URL, Fingerprint } } });
    await eventually("frames", () => framesOf(server) === 2);
  }
});

Deno.test("Pull says how it goes and tears down when the plugin stops", async () => {
  await using peer = new RtspTestPeer((request) => camera(request));
  {
    await using server = await startRtsp({ Pull: { "live/b": `${peer.url}/cam?x=1` } });
    await eventually("frames", () => framesOf(server) === 3);
  }
  assertEquals(peer.requests.map(({ method, url }) => [method, url.slice(peer.url.length)]), [
    ["OPTIONS", "/cam?x=1"],
    ["DESCRIBE", "/cam?x=1"],
    ["SETUP", "/cam?x=1/trackID=0"],
    ["SETUP", "/cam?x=1/trackID=1"],
    ["PLAY", "/cam?x=1/"],
    ["TEARDOWN", "/cam?x=1/"],
  ]);
  const sessions = peer.requests.map(({ headers }) => headers.get("session"));
  assertEquals(sessions, [undefined, undefined, undefined, "abc", "abc", "abc"]);
});

Deno.test("Pull gives signs of life, by OPTIONS where the server knows nothing else", async () => {
  await using peer = new RtspTestPeer((request) =>
    request.method === "GET_PARAMETER" ? { status: 501 } : camera(request)
  );
  await using _server = await startRtsp({ Pull: { "live/b": `${peer.url}/cam` } });
  await eventually("signs of life", () => peer.methods.length === 7);
  assertEquals(peer.methods.slice(-2), ["GET_PARAMETER", "OPTIONS"]);
  assertEquals(peer.requests.at(-1)?.headers.get("session"), "abc");
});

Deno.test("Pull goes on with the same stream when the server has come back", async () => {
  await using peer = new RtspTestPeer((request) => camera(request));
  await using server = await startRtsp({ Pull: { "live/b": `${peer.url}/cam` } });
  await eventually("frames", () => framesOf(server) === 3);
  const stream = server.engine.getStream("live/b");
  peer.hangUp();
  await eventually("waiting", () => stream?.state === "waiting");
  await eventually("frames again", () => framesOf(server) === 6);
  assertEquals(server.engine.getStream("live/b"), stream);
  assert(server.logs.some((line) => /cannot fetch .*; next try in \d\.\d s/.test(line)));
});

Deno.test("Pull tries again where there is no such stream yet", async () => {
  let isThere = false;
  await using peer = new RtspTestPeer((request) => {
    if (request.method !== "DESCRIBE" || isThere) return camera(request);
    isThere = true;
    return { status: 404 };
  });
  const url = peer.url.replace("//", "//eve:secret@");
  await using server = await startRtsp({ Pull: { "live/b": `${url}/cam` } });
  await eventually("frames", () => framesOf(server) === 3);
  const [line] = server.logs.filter((entry) => entry.startsWith("warn"));
  assertMatch(
    line ?? "",
    /live\/b: cannot fetch rtsp:\/\/\*\*\*@.*\/cam: it answered DESCRIBE with 404 Not Found; next/,
  );
  assertEquals(server.logs.some((entry) => entry.includes("secret")), false);
});

Deno.test("Pull follows a server that sends it elsewhere, once, with credentials to the same host", async () => {
  await using peer = new RtspTestPeer((request) => {
    const auth = new ServerAuthentication({ users: new Map([["bob", "pw"]]), allowBasic: true });
    if (request.headers.get("authorization")?.startsWith("Basic") !== true) {
      return { status: 401, headers: { "WWW-Authenticate": `Basic realm="x"` } };
    }
    return auth.verify(request).accepted ? camera(request) : { status: 401 };
  });
  await using first = new RtspTestPeer(({ method }) =>
    method === "OPTIONS" ? {} : { status: 302, headers: { Location: `${peer.url}/cam` } }
  );
  const url = first.url.replace("//", "//bob:pw@");
  await using server = await startRtsp({ Pull: { "live/b": `${url}/moved` } });
  await eventually("frames", () => framesOf(server) === 3);
  assertEquals(first.methods, ["OPTIONS", "DESCRIBE"]);
});

Deno.test("Pull does not follow a server in a circle", async () => {
  await using peer: RtspTestPeer = new RtspTestPeer(({ method }) =>
    method === "OPTIONS" ? {} : { status: 301, headers: { Location: `${peer.url}/on` } }
  );
  await using server = await startRtsp({ Pull: { "live/b": `${peer.url}/moved` } });
  await eventually("a failure", () => server.logs.some((line) => line.includes("has moved to")));
  assertEquals(peer.methods, ["OPTIONS", "DESCRIBE", "OPTIONS", "DESCRIBE"]);
});

Deno.test("Pull fetches on demand, and only as long as somebody watches", async () => {
  await using peer = new RtspTestPeer((request) => camera(request));
  const Pull = { "live/b": { URL: `${peer.url}/cam`, Always: false } };
  const config = { OnDemandPublishTimeout: 5, AutoCloseDelay: 0 };
  await using server = await startRtsp({ Pull }, config);
  assertEquals(peer.methods, []);
  for (const round of [1, 2]) {
    await using player = await RtspTestClient.play(`${server.url}/live/b`);
    await player.take(2);
    await player.ok("TEARDOWN");
    await eventually("the end", () => peer.methods.at(-1) === "TEARDOWN");
    assertEquals(peer.methods.filter((method) => method === "PLAY").length, round);
  }
  assertEquals(server.logs.filter((line) => line.startsWith("warn")), []);
});

Deno.test("Pull keeps what is always there when nobody watches", async () => {
  await using peer = new RtspTestPeer((request) => camera(request));
  const Pull = { "live/b": `${peer.url}/cam` };
  await using server = await startRtsp({ Pull }, { AutoCloseDelay: 0 });
  await eventually("frames", () => framesOf(server) === 3);
  await using player = await RtspTestClient.play(`${server.url}/live/b`);
  await player.ok("TEARDOWN");
  assertEquals(server.engine.getStream("live/b")?.state, "live");
});

Deno.test("Pull leaves a stream on demand to whoever takes it over", async () => {
  await using peer = new RtspTestPeer((request) => camera(request));
  const Pull = { "live/b": { URL: `${peer.url}/cam`, Always: false } };
  await using server = await startRtsp({ Pull }, { OnDemandPublishTimeout: 5 });
  await using player = await RtspTestClient.play(`${server.url}/live/b`);
  await player.take(2);
  await using other = await server.engine.publish("live/b", { type: "Test", takeOver: true });
  await eventually("the end", () => peer.methods.at(-1) === "TEARDOWN");
  await server.plugins.unload("RTSP");
  assertEquals(other.end, undefined);
  assertEquals(server.logs.filter((line) => line.includes("cannot fetch")), []);
});

Deno.test("Pull gives up on demand when nobody waits any more", async () => {
  await using peer = new RtspTestPeer((request) =>
    request.method === "DESCRIBE" ? { status: 404 } : camera(request)
  );
  const Pull = { "live/b": { URL: `${peer.url}/cam`, Always: false } };
  await using server = await startRtsp({ Pull }, { OnDemandPublishTimeout: 0.2 });
  await using player = await RtspTestClient.open(`${server.url}/live/b`);
  assertEquals(await player.status("DESCRIBE"), 404);
  await server.plugins.unload("RTSP");
  assertEquals(peer.methods, ["OPTIONS", "DESCRIBE"]);
});

Deno.test("Pull begins in the first isolate only", async () => {
  const isolates: Isolates = Object.assign(new SoleIsolate(), { index: 1, count: 2 });
  await using peer = new RtspTestPeer((request) => camera(request));
  const lines: string[] = [];
  const log = listLogger(lines, "m7s");
  await using engine = new Engine({}, { log, isolates });
  await using plugins = new Plugins(engine, { log });
  // Isolates must know the port that they share.
  const free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port: Port } = free.addr as Deno.NetAddr;
  free.close();
  const options = { Host: "127.0.0.1", Port, UDPPorts: [] };
  await plugins.load("RTSP", rtsp, { ...options, Pull: { "live/b": `${peer.url}/cam` } });
  await plugins.configure("RTSP", { ...options, Pull: { "live/c": `${peer.url}/cam` } });
  // A connection that comes later than this one would have been opened before it.
  await using last = await RtspTestClient.open(`${peer.url}/last`);
  await last.ok("OPTIONS");
  assertEquals(peer.conns.length, 1);
});

Deno.test("Relays ends what new options leave out, and begins what they add", async () => {
  await using peer = new RtspTestPeer((request) => camera(request));
  await using server = await startRtsp({ Pull: { "live/b": `${peer.url}/b` } });
  await eventually("frames", () => framesOf(server) === 3);
  const options = { Host: "127.0.0.1", Port: 0, UDPPorts: [] };
  const Pull = { "live/b": `${peer.url}/b`, "live/c": `${peer.url}/c` };
  await server.plugins.configure("RTSP", { ...options, Pull });
  await eventually("another", () => framesOf(server, "live/c") === 3);
  assertEquals(peer.methods.includes("TEARDOWN"), false);
  await server.plugins.configure("RTSP", { ...options, Pull: { "live/c": `${peer.url}/c` } });
  assertEquals([...server.engine.streams.keys()], ["live/c"]);
  const urls = peer.requests.filter(({ method }) => method === "TEARDOWN").map(({ url }) => url);
  assertEquals(urls, [`${peer.url}/b/`]);
});

for (const Transport of ["tcp", "udp"]) {
  Deno.test(`Push sends a live stream by ${Transport} to another server`, async () => {
    await using target = await startRtsp({ UDPPorts: UDP_PORTS, Users: { bob: "pw" } });
    const URL = `${target.url.replace("//", "//bob:pw@")}/live/b?k=1`;
    const Push = { "live/a": { URL, Transport } };
    await using server = await startRtsp({ UDPPorts: UDP_PORTS, Push });
    await using publisher = await RtspTestClient.publish(`${server.url}/live/a`);
    await publisher.pushFrames("Kavvav");
    await eventually("frames", () => framesOf(target) > 2);
    const stream = target.engine.getStream("live/b");
    assertEquals(stream?.audioTracks.length, 1);
    await publisher.ok("TEARDOWN");
    assertEquals((await stream?.closed)?.detail, "unpublished");
    assertEquals(server.logs.filter((line) => line.startsWith("warn")), []);
    // The next stream of that name is sent, too.
    await using again = await RtspTestClient.publish(`${server.url}/live/a`);
    await again.pushFrames("Kvvv");
    await eventually("another stream", () => framesOf(target) > 2);
    assertEquals(target.engine.getStream("live/b") === stream, false);
  });
}

Deno.test("Push tries again when the connection is lost", async () => {
  await using peer = new RtspTestPeer((request) => camera(request));
  await using server = await startRtsp({ Push: { "live/a": `${peer.url}/b` } });
  await using publisher = await RtspTestClient.publish(`${server.url}/live/a`);
  await publisher.pushFrames("Kavv");
  await eventually("a session", () => peer.methods.includes("RECORD"));
  peer.hangUp();
  await eventually("another", () => peer.methods.filter((m) => m === "RECORD").length === 2);
  assertEquals(peer.methods.slice(0, 5), ["OPTIONS", "ANNOUNCE", "SETUP", "SETUP", "RECORD"]);
  const announced = peer.requests.find(({ method }) => method === "ANNOUNCE");
  assertGreater(announced?.body.length ?? 0, 100);
});
