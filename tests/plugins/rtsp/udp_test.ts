import { assertEquals, assertMatch } from "@std/assert";
import { UdpPorts } from "../../../plugins/rtsp/udp.ts";
import { parseRtcp } from "../../../src/rtp/rtcp.ts";
import {
  eventually,
  type PluginServer,
  RtpFrames,
  RtspTestClient,
  startRtsp,
  UDP_PORTS,
  UdpTestPorts,
} from "../../support/rtsp.ts";

/** The server's ports in the answer to SETUP. */
async function setUp(
  client: RtspTestClient,
  ports: UdpTestPorts | string,
  mode = "",
): Promise<readonly [rtp: number, rtcp: number]> {
  const clientPorts = typeof ports === "string" ? ports : ports.ports;
  const { headers } = await client.setUp(0, `RTP/AVP;unicast;client_port=${clientPorts}${mode}`);
  const [, rtp, rtcp] = /server_port=(\d+)-(\d+)/.exec(headers.get("transport") ?? "") ?? [];
  return [Number(rtp), Number(rtcp)];
}

/** A client that publishes video by UDP. */
async function publish(server: PluginServer, ports: UdpTestPorts | string) {
  const client = await RtspTestClient.open(`${server.url}/live/a`);
  await client.announce();
  const to = await setUp(client, ports, ";mode=record");
  await client.ok("RECORD");
  return { client, to };
}

function framesOf(server: PluginServer): number {
  return server.engine.getStream("live/a")?.videoTracks[0]?.stats().frames ?? 0;
}

Deno.test("RtspSession takes packets by UDP and sends them by UDP", async () => {
  await using server = await startRtsp({ UDPPorts: UDP_PORTS });
  await using from = await UdpTestPorts.open();
  const { client, to: [rtp] } = await publish(server, from);
  await using _ = client;
  assertEquals(rtp % 2, 0);
  const frames = new RtpFrames();
  const send = async (kinds: string) => {
    for (const { bytes } of frames.packets(kinds)) await from.send(bytes, rtp);
  };
  await send("Kvv");
  await eventually("frames", () => framesOf(server) === 3);
  await using at = await UdpTestPorts.open();
  await using player = await RtspTestClient.open(`${server.url}/live/a`);
  await setUp(player, at);
  await player.ok("PLAY");
  await send("vv");
  await eventually(`pictures of ${at.pictures}`, () => at.pictures.length === 5);
  assertEquals(at.pictures, ["K0", "1", "2", "3", "4"]);
  await client.ok("TEARDOWN");
  const last = () => {
    const packet = at.packets.findLast(({ channel }) => channel === 1);
    return packet ? parseRtcp(packet.bytes).map(({ type }) => type) : [];
  };
  await eventually("a goodbye", () => last().includes("bye"));
  assertEquals(last(), ["rr", "sdes", "bye"]);
});

const lastWords = [
  {
    name: "pauses",
    say: async (client: RtspTestClient) => {
      await client.ok("PAUSE");
      await client.ok("TEARDOWN");
    },
  },
  { name: "says TEARDOWN", say: (client: RtspTestClient) => client.ok("TEARDOWN") },
  {
    name: "closes its connection",
    say: (client: RtspTestClient) => {
      client.close();
      return client.closed;
    },
  },
];

for (const { name, say } of lastWords) {
  Deno.test(`RtspSession takes what comes late by UDP when its publisher ${name}`, async () => {
    await using server = await startRtsp({ UDPPorts: UDP_PORTS });
    await using from = await UdpTestPorts.open();
    const { client, to: [rtp] } = await publish(server, from);
    await using _ = client;
    const frames = new RtpFrames();
    const send = async (kinds: string) => {
      for (const { bytes } of frames.packets(kinds)) await from.send(bytes, rtp);
    };
    await send("Kv");
    await eventually("frames", () => framesOf(server) === 2);
    await using player = await RtspTestClient.open(`${server.url}/live/a`);
    await player.ok("DESCRIBE");
    await player.setUp(0);
    await player.ok("PLAY");
    const said = say(client);
    // By then the server has read it.
    await player.ok("OPTIONS");
    await player.ok("OPTIONS");
    await send("vv");
    await said;
    assertEquals(await player.take(4), ["K0", "1", "2", "3"]);
  });
}

Deno.test("RtspSession sends a long start by UDP without loss", async () => {
  await using server = await startRtsp({ UDPPorts: UDP_PORTS });
  await using publisher = await RtspTestClient.publish(`${server.url}/live/a`);
  await publisher.pushFrames("K" + "v".repeat(399));
  await eventually("frames", () => framesOf(server) === 400);
  await using at = await UdpTestPorts.open();
  await using player = await RtspTestClient.open(`${server.url}/live/a`);
  await setUp(player, at);
  await player.ok("PLAY");
  await eventually("all pictures", () => at.pictures.length === 400);
});

Deno.test("RtspSession ignores packets of strangers, and logs how many", async () => {
  await using server = await startRtsp({ UDPPorts: UDP_PORTS });
  await using from = await UdpTestPorts.open();
  await using stranger = await UdpTestPorts.open("127.0.0.2");
  await using neighbour = await UdpTestPorts.open();
  const { client, to: [rtp] } = await publish(server, from);
  const [first, ...others] = new RtpFrames().packets("Kvvvv");
  // Not even as the first ones they are taken for the peer's.
  for (const { bytes } of new RtpFrames().packets("KKK")) await stranger.send(bytes, rtp);
  if (first) await from.send(first.bytes, rtp);
  for (const { bytes } of new RtpFrames().packets("KKK")) await neighbour.send(bytes, rtp);
  for (const { bytes } of others) await from.send(bytes, rtp);
  await eventually("frames", () => framesOf(server) === 5);
  await client.ok("TEARDOWN");
  const [line] = server.logs.filter((entry) => entry.includes("dropped"));
  assertMatch(line ?? "", /dropped 6 packets of no track or from elsewhere/);
  await client[Symbol.asyncDispose]();
});

Deno.test("RtspSession learns the port of a peer behind a translated address", async () => {
  await using server = await startRtsp({ UDPPorts: UDP_PORTS });
  await using from = await UdpTestPorts.open();
  // It says ports that are not those that its packets come from.
  const { client, to: [rtp] } = await publish(server, "9998-9999");
  await using _ = client;
  for (const { bytes } of new RtpFrames().packets("Kvv")) await from.send(bytes, rtp);
  await eventually("frames", () => framesOf(server) === 3);
  await using at = await UdpTestPorts.open();
  await using player = await RtspTestClient.open(`${server.url}/live/a`);
  const [toRtp, toRtcp] = await setUp(player, "9996-9997");
  await at.send(new Uint8Array(12).fill(0x80, 0, 1), toRtp, 0);
  await at.send(Uint8Array.of(0x80, 201, 0, 1, 0, 0, 0, 0), toRtcp, 1);
  await player.ok("PLAY");
  await eventually("pictures", () => at.pictures.length === 3);
  assertEquals(at.packets.some(({ channel }) => channel === 1), true);
});

Deno.test("RtspSession does not send to another destination than its peer", async () => {
  await using server = await startRtsp({ UDPPorts: UDP_PORTS });
  await using publisher = await RtspTestClient.publish(`${server.url}/live/a`);
  await publisher.pushFrames("Kvv");
  await eventually("frames", () => framesOf(server) === 3);
  await using victim = await UdpTestPorts.open("127.0.0.2");
  await using player = await RtspTestClient.open(`${server.url}/live/a`);
  await player.setUp(0, `RTP/AVP;unicast;destination=127.0.0.2;client_port=${victim.ports}`);
  await player.ok("PLAY");
  await publisher.pushFrames("vvvv");
  await player.ok("OPTIONS");
  assertEquals(victim.packets, []);
});

Deno.test("RtspSession ends a session by UDP without a sign of life", async () => {
  await using server = await startRtsp({ UDPPorts: UDP_PORTS, SessionTimeout: 1 });
  const url = `${server.url}/live/a`;
  await using publisher = await RtspTestClient.publish(url);
  await publisher.pushFrames("Kvv");
  await eventually("frames", () => framesOf(server) === 3);
  await using at = await UdpTestPorts.open();
  await using player = await RtspTestClient.open(url);
  await setUp(player, at);
  const { headers } = await player.ok("PLAY");
  assertMatch(headers.get("session") ?? "", /;timeout=1$/);
  await player.closed;
  await eventually("a reason", () => server.reasons.length > 0);
  assertEquals(server.reasons, ["it gave no sign of life for 1 s"]);
});

Deno.test("RtspSession offers TCP where all UDP ports are in use", async () => {
  await using server = await startRtsp({ UDPPorts: [22_990, 22_993] });
  await using from = await UdpTestPorts.open();
  const first = await publish(server, from);
  const { headers } = await first.client.ok("OPTIONS");
  assertEquals(headers.has("public"), true);
  const clients = [];
  const statuses = [];
  for (let count = 0; count < 2; count++) {
    const client = await RtspTestClient.open(`${server.url}/live/b${count}`);
    clients.push(client);
    await client.announce();
    const Transport = `RTP/AVP;unicast;client_port=5000-5001;mode=record`;
    const url = `${client.url}/trackID=0`;
    statuses.push(await client.status("SETUP", { url, headers: { Transport } }));
  }
  assertEquals(statuses, [200, 461]);
  const [, last] = clients;
  await last?.setUp(0);
  await last?.ok("RECORD");
  // What is closed can be had again.
  await first.client.ok("TEARDOWN");
  await first.client[Symbol.asyncDispose]();
  const again = await publish(server, from);
  await again.client[Symbol.asyncDispose]();
  for (const client of clients) await client[Symbol.asyncDispose]();
});

Deno.test("UdpPorts.take() goes round, past pairs of which one is in use", async () => {
  const ports = new UdpPorts([22_981, 22_989]);
  const pairs = [];
  for (let count = 0; count < 4; count++) {
    const pair = await ports.take("127.0.0.1");
    if (pair) pairs.push(pair);
  }
  assertEquals(pairs.map((pair) => pair.ports.rtp), [22_982, 22_984, 22_986, 22_988]);
  assertEquals(await ports.take("127.0.0.1"), undefined);
  const other = new UdpPorts([22_982, 22_989]);
  assertEquals(await other.take("127.0.0.1"), undefined);
  pairs[1]?.close();
  await pairs[1]?.closed;
  const freed = await other.take("127.0.0.1");
  assertEquals(freed?.ports.rtp, 22_984);
  freed?.close();
  for (const pair of pairs) pair.close();
  await Promise.all([freed, ...pairs].map((pair) => pair?.closed));
  assertEquals(new UdpPorts().exist, false);
});
