import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { rtspSchema } from "../../../plugins/rtsp/options.ts";
import { ConfigError, parseConfig, validateSection } from "../../../src/config.ts";
import { eventually, RtspTestClient, startRtsp, UDP_PORTS } from "../../support/rtsp.ts";

const fixtures = new URL("../../fixtures/rtmp/", import.meta.url);
const Cert = decodeURIComponent(new URL("cert.pem", fixtures).pathname);
const Key = decodeURIComponent(new URL("key.pem", fixtures).pathname);

/** The options that a config file with `text` as its `[RTSP]` section gives. */
async function optionsOf(text: string) {
  const source = { file: "config.toml", base: new URL("file:///") };
  const config = await parseConfig(`[Plugins]\nRTSP = "./rtsp.ts"\n${text}`, source);
  const section = config.plugins[0]?.section;
  if (section === undefined) throw new Error("There is no plugin");
  return await validateSection(rtspSchema, section);
}

Deno.test("rtspSchema has the defaults that it documents", async () => {
  assertEquals(await optionsOf(""), {
    Host: "0.0.0.0",
    Port: 8554,
    Cert: "",
    Key: "",
    TLSPort: 8322,
    UDPPorts: [10_000, 10_999],
    Users: {},
    AllowBasic: false,
    StartTimeout: 10,
    SessionTimeout: 60,
    WriteTimeout: 60,
    Flush: 40,
    MaxLag: 5,
    AutoCloseDelay: -1,
    TakeOver: false,
    Pull: {},
    Push: {},
  });
});

Deno.test("rtspSchema takes what is pulled, pushed and allowed as a file writes it", async () => {
  const { Pull, Push, Users, UDPPorts } = await optionsOf(`[RTSP]
    udpports = [20000, 20009]
    [RTSP.Users]
    Bob = "p"
    [RTSP.Pull]
    "live/cam1" = "rtsp://u:p@192.0.2.1/s?x=1"
    "live/cam2" = { url = "rtsps://192.0.2.1/s", Transport = "udp", Always = false }
    "live/cam3" = { URL = "rtsps://192.0.2.1/s", Transport = "auto", Fingerprint = "${
    "0a:".repeat(31)
  }FF" }
    [RTSP.Push]
    "live/a" = { URL = "rtsp://192.0.2.1/a" }`);
  assertEquals(UDPPorts, [20_000, 20_009]);
  assertEquals(Users, { Bob: "p" });
  assertEquals(Pull, {
    "live/cam1": {
      URL: "rtsp://u:p@192.0.2.1/s?x=1",
      Transport: "tcp",
      Fingerprint: "",
      Always: true,
    },
    "live/cam2": { URL: "rtsps://192.0.2.1/s", Transport: "udp", Fingerprint: "", Always: false },
    "live/cam3": {
      URL: "rtsps://192.0.2.1/s",
      Transport: "auto",
      Fingerprint: `${"0a:".repeat(31)}FF`,
      Always: true,
    },
  });
  assertEquals(Push, {
    "live/a": { URL: "rtsp://192.0.2.1/a", Transport: "tcp", Fingerprint: "" },
  });
});

for (
  const [text, problem] of [
    ["Port = 70000", "Port"],
    ["UDPPorts = [10000]", "UDPPorts"],
    ["UDPPorts = [10000, 10001]", "at least 4 ports"],
    ['Cert = "a"', "Cert and Key go together"],
    ["Flsh = 3", "Flush"],
    ['[RTSP.Pull]\n"live/a" = "http://u:secret@h/a"', "no URL of RTSP"],
    ['[RTSP.Pull]\n"/live/a" = "rtsp://h/a"', "no plain path"],
    ['[RTSP.Pull]\n"live/a" = { URL = "rtsp://h/a", Foo = 1 }', "Foo"],
    [
      'UDPPorts = []\n[RTSP.Pull]\n"live/a" = { URL = "rtsp://h/a", Transport = "udp" }',
      "UDPPorts: must not be empty",
    ],
    ['[RTSP.Pull]\n"live/a" = 3', "Pull.live/a"],
    ['[RTSP.Pull]\n"live/a" = { URL = "rtsp://h/a", Transport = "pigeon" }', "live/a.Transport"],
    ['[RTSP.Push]\n"live/a" = "x"', "no URL of RTSP"],
    ['[RTSP.Push]\n"live/a" = { URL = "rtsp://h/a", Transport = "auto" }', "live/a.Transport"],
    ['[RTSP.Pull]\n"live/a" = { URL = "rtsps://h/a", Fingerprint = "0a:0b" }', "must be 32 bytes"],
    [
      `[RTSP.Pull]\n"live/a" = { URL = "rtsp://h/a", Fingerprint = "${"0a".repeat(32)}" }`,
      "goes with rtsps: only",
    ],
  ] as const
) {
  Deno.test(`rtspSchema refuses ${text.replaceAll("\n", " ")}`, async () => {
    const error = await assertRejects(() => optionsOf(`[RTSP]\n${text}`), ConfigError);
    assertStringIncludes(error.message, problem);
    assertEquals(error.message.includes("secret"), false);
  });
}

Deno.test("RtspServer serves RTSPS beside RTSP, and there nothing by UDP", async () => {
  await using server = await startRtsp({ Cert, Key, TLSPort: 0, UDPPorts: UDP_PORTS });
  assertEquals(server.urls.map((url) => url.split(":")[0]), ["rtsp", "rtsps"]);
  const url = `${server.urls[1]?.replace("127.0.0.1", "localhost")}/live/a`;
  const caCerts = [await Deno.readTextFile(Cert)];
  await using publisher = await RtspTestClient.open(url, caCerts);
  await publisher.announce();
  const udp = { Transport: "RTP/AVP;unicast;client_port=5000-5001;mode=record" };
  assertEquals(await publisher.status("SETUP", { url: `${url}/trackID=0`, headers: udp }), 461);
  await publisher.setUp(0);
  await publisher.ok("RECORD");
  await publisher.pushFrames("Kvv");
  await using player = await RtspTestClient.open(url, caCerts);
  await player.ok("DESCRIBE");
  await player.setUp(0);
  await player.ok("PLAY");
  assertEquals(await player.take(3), ["K0", "1", "2"]);
});

Deno.test("RtspServer says what is wrong with a port, and why a handshake fails", async () => {
  await using server = await startRtsp({ Cert, Key, TLSPort: 0 });
  const Port = Number(new URL(server.url).port);
  const error = await assertRejects(() => startRtsp({ Port }));
  assertMatch(String(error), /cannot listen on 127\.0\.0\.1:\d+: port \d+ is in use/);
  await using client = await RtspTestClient.open(server.urls[1] ?? "");
  await client.raw("OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n");
  await client.closed;
  await eventually("a reason", () => server.reasons.length > 0);
});

Deno.test("RtspServer moves to another port and lets sessions go on", async () => {
  await using server = await startRtsp();
  const before = server.url;
  await using publisher = await RtspTestClient.publish(`${before}/live/a`);
  await publisher.pushFrames("Kvv");
  const free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port: Port } = free.addr as Deno.NetAddr;
  free.close();
  await server.plugins.configure("RTSP", { Host: "127.0.0.1", Port, UDPPorts: [] });
  assertEquals(server.url, `rtsp://127.0.0.1:${Port}`);
  await assertRejects(() => RtspTestClient.open(`${before}/live/a`), Deno.errors.ConnectionRefused);
  await publisher.pushFrames("vv");
  await using player = await RtspTestClient.play(`${server.url}/live/a`);
  await player.take(5);
});

Deno.test("RtspServer ends sessions in good order when it stops", async () => {
  await using server = await startRtsp();
  await using publisher = await RtspTestClient.publish(`${server.url}/live/a`);
  await publisher.pushFrames("Kvv");
  await eventually("frames", () => server.engine.getStream("live/a")?.videoTracks.length === 1);
  await using player = await RtspTestClient.play(`${server.url}/live/a`);
  await using idle = await RtspTestClient.open(`${server.url}/live/a`);
  await idle.ok("OPTIONS");
  await server.plugins.unload("RTSP");
  assertEquals(await Promise.all([publisher, player, idle].map(({ closed }) => closed)), [
    ...[undefined, undefined, undefined],
  ]);
  assertEquals(server.reasons, []);
});
