import {
  assert,
  assertEquals,
  assertGreater,
  assertLess,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { delay } from "@std/async";
import {
  assertSamePackets,
  type ClipOptions,
  comparePackets,
  makeClip,
  play,
  playAll,
  publish,
} from "./ffmpeg.ts";

const roundTrips: { name: string; container: string; clip: ClipOptions; toleranceMs?: number }[] = [
  { name: "H.264 and AAC", container: "flv", clip: {} },
  { name: "H.264 with B-frames and AAC", container: "flv", clip: { bFrames: 2, fps: 30 } },
  { name: "60 fps with a GOP of 2 s", container: "flv", clip: { fps: 60, gop: 120, seconds: 4 } },
  { name: "video only", container: "flv", clip: { audio: "none" } },
  { name: "audio only", container: "flv", clip: { video: "none" } },
  { name: "H.265 and Opus", container: "flv", clip: { video: "hevc", audio: "opus" } },
  { name: "H.265 with B-frames", container: "flv", clip: { video: "hevc", bFrames: 2 } },
  { name: "AV1 and Opus", container: "flv", clip: { video: "av1", audio: "opus" } },
  { name: "VP9 and stereo AAC", container: "flv", clip: { video: "vp9", channels: 2 } },
  { name: "MP3", container: "flv", clip: { audio: "mp3" } },
  { name: "G.711 A-law", container: "flv", clip: { audio: "pcm_alaw" } },
  { name: "G.711 µ-law", container: "flv", clip: { video: "none", audio: "pcm_mulaw" } },
  { name: "H.264 and AAC", container: "ts", clip: { bFrames: 1 }, toleranceMs: 1 },
];

for (const { name, container, clip: options, toleranceMs = 0 } of roundTrips) {
  Deno.test(`publish() and play() keep ${name} packet for packet in a .${container} file`, async () => {
    const clip = await makeClip(options);
    await using file = await temporaryFile(container);
    await publish(file.path, clip, { speed: Infinity }).done;
    const received = await playAll(file.path);
    const { compared, gaps } = assertSamePackets(clip, received, { toleranceMs });
    assertEquals(gaps, []);
    assertEquals(compared.video + compared.audio, clip.packets.length);
  });
}

Deno.test("makeClip() starts at zero, with its keyframes where the GOP says", async () => {
  const clip = await makeClip({ bFrames: 2, gop: 25, seconds: 3 });
  const video = clip.packets.filter(({ kind }) => kind === "video");
  const keysUs = video.filter(({ key }) => key).map(({ ptsUs }) => ptsUs);
  const [firstUs = 0] = keysUs;
  assertEquals(keysUs.map((us) => us - firstUs), [0, 1_000_000, 2_000_000]);
  assert(video.some(({ ptsUs, dtsUs }) => ptsUs !== dtsUs));
  assertLess(clip.packets[0]?.dtsUs ?? Infinity, 1_000);
  assertEquals(clip.video?.codecString, "avc1.4d400c");
  assertEquals(await makeClip({ bFrames: 2, gop: 25, seconds: 3 }), clip);
});

for (const scheme of ["rtmp", "http"]) {
  Deno.test(`publish() sends to FFmpeg as a server over ${scheme}`, async () => {
    const clip = await makeClip({ bFrames: 2 });
    const url = `${scheme}://127.0.0.1:${freePort()}/live/a.flv`;
    const playing = play(url, { format: "flv", options: { listen: 1 } });
    await delay(50);
    await using publisher = publish(url, clip, { speed: 20 });
    await using player = await playing;
    const received = await player.take({ packets: clip.packets.length });
    await publisher.done;
    assertEquals(assertSamePackets(clip, received).gaps, []);
    assertEquals(received.length, clip.packets.length);
    assertEquals(publisher.sentAtMs.length, clip.packets.length);
  });
}

Deno.test("play() reads from FFmpeg as an HTTP server while it sends at the clip's speed", async () => {
  const clip = await makeClip();
  const url = `http://127.0.0.1:${freePort()}/live/a.flv`;
  await using _publisher = publish(url, clip, { loops: 100, options: { listen: 1 } });
  await delay(50);
  await using player = await play(url);
  const received = await player.take({ mediaMs: 400 });
  const { timing } = player;
  assertLess(timing.firstPacketAtMs - timing.openedAtMs, 1_000);
  assertEquals(timing.firstPacketAtMs, received[0]?.receivedAtMs);
  const spentMs = (received.at(-1)?.receivedAtMs ?? 0) - timing.firstPacketAtMs;
  assertGreater(spentMs, 300);
  assertLess(spentMs, 2_000);
  assertSamePackets(clip, received, { loops: 2 });
});

Deno.test("publish() goes on with rising timestamps over loops and from an offset", async () => {
  const clip = await makeClip({ seconds: 1 });
  await using file = await temporaryFile("flv");
  await publish(file.path, clip, { speed: Infinity, loops: 3, offsetUs: 5_000_000 }).done;
  const received = await playAll(file.path);
  const { offsetMs, compared } = assertSamePackets(clip, received, { loops: 3 });
  assertEquals(offsetMs, { video: 5_000, audio: 5_000 });
  assertEquals(compared.video, 75);
});

Deno.test("Publisher.stop() says goodbye by RTMP, Publisher.kill() does not", async () => {
  for (const way of ["stop", "kill"] as const) {
    const clip = await makeClip();
    await using relay = await rtmpRelay();
    await using publisher = publish(relay.url, clip, { loops: 100 });
    await publisher.started;
    await delay(100);
    await publisher[way]();
    const sent = await relay.sent;
    assertStringIncludes(sent, "FCPublish");
    assertEquals(sent.includes("deleteStream"), way === "stop");
  }
});

Deno.test("publish() and play() give up on a server that never answers", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  for (const url of [`rtmp://127.0.0.1:${port}/live/a`, `http://127.0.0.1:${port}/live/a.flv`]) {
    await assertRejects(() => play(url, { timeoutMs: 100 }), DOMException, "100 ms are over");
    const signal = AbortSignal.timeout(100);
    const reason = await assertRejects(() => play(url, { signal }), DOMException);
    assertEquals(reason, signal.reason);
  }
  await using publisher = publish(`rtmp://127.0.0.1:${port}/live/a`, await makeClip(), {
    timeoutMs: 100,
  });
  await assertRejects(() => publisher.started, DOMException, "100 ms are over");
  await assertRejects(() => publisher.done, DOMException, "100 ms are over");
});

Deno.test("publish() and play() name the URL that refuses them", async () => {
  const url = `rtmp://127.0.0.1:${freePort()}/live/a`;
  await assertRejects(() => play(url), Error, `Cannot open ${url}: Connection refused`);
  await using publisher = publish(url, await makeClip());
  await assertRejects(() => publisher.done, Error, `Cannot publish to ${url}: Connection refused`);
});

Deno.test("Player.close() ends a read under way", async () => {
  const url = `http://127.0.0.1:${freePort()}/live/a.flv`;
  await using publisher = publish(url, await makeClip(), {
    transform: (packet) => packet.dtsUs < 100_000 ? packet : undefined,
    loops: 100,
    options: { listen: 1 },
  });
  await delay(50);
  await using player = await play(url);
  const taking = player.take({});
  await delay(100);
  await Promise.all([player.close(), assertRejects(() => taking, DOMException, "was closed")]);
  await publisher.kill();
});

Deno.test("comparePackets() tells what is wrong", async () => {
  const clip = await makeClip();
  await using file = await temporaryFile("flv");
  await publish(file.path, clip, { speed: Infinity }).done;
  const received = await playAll(file.path);
  const keyAt = received.findLastIndex(({ kind, key }) => kind === "video" && key);
  const [first] = comparePackets(clip, received.filter((_, i) => i !== keyAt)).differences;
  assertStringIncludes(first ?? "", "1 packets are missing");
  const gap = comparePackets(clip, received.toSpliced(10, keyAt - 10), { allowGaps: true });
  assertEquals(gap.differences, []);
  assertEquals(gap.gaps.map(({ kind }) => kind), ["video", "audio"]);

  const changes: [string, (packet: typeof received[number]) => typeof received[number]][] = [
    ["bytes", (packet) => ({ ...packet, data: packet.data.with(9, 0) })],
    ["DTS", (packet) => ({ ...packet, dtsMs: packet.dtsMs + 1 })],
    ["PTS", (packet) => ({ ...packet, ptsMs: packet.ptsMs - 1 })],
    ["keyframe flag", (packet) => ({ ...packet, key: !packet.key })],
  ];
  for (const [what, change] of changes) {
    const changed = received.map((packet, i) => i === 20 ? change(packet) : packet);
    assertStringIncludes(comparePackets(clip, changed).differences.join(), what);
  }
  const late = received.map((packet) =>
    packet.kind === "audio"
      ? { ...packet, dtsMs: packet.dtsMs + 40, ptsMs: packet.ptsMs + 40 }
      : packet
  );
  assertEquals(comparePackets(clip, late).differences, [
    "Audio is 40 ms later against video than in the source",
  ]);
  assertEquals(comparePackets(clip, []).differences.length, 2);
});

async function temporaryFile(
  extension: string,
): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await Deno.makeTempFile({ suffix: `.${extension}` });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path) };
}

/** A port that was free a moment ago: FFmpeg as a server takes no port 0. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return (listener.addr as Deno.NetAddr).port;
}

/** FFmpeg's RTMP server behind a relay that keeps what the publisher sent. */
async function rtmpRelay(): Promise<
  AsyncDisposable & { readonly url: string; readonly sent: Promise<string> }
> {
  const port = freePort();
  const playing = play(`rtmp://127.0.0.1:${port}/live/a`, { options: { listen: 1 } });
  const reading = playing.then(async (player) => {
    await player.take({}).catch(() => {});
    await player.close();
  });
  await delay(50);
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const relaying = (async () => {
    using client = await listener.accept();
    using server = await Deno.connect({ hostname: "127.0.0.1", port });
    const [sent] = await Promise.all([pump(client, server), pump(server, client)]);
    return sent;
  })();
  return {
    url: `rtmp://127.0.0.1:${(listener.addr as Deno.NetAddr).port}/live/a`,
    sent: relaying,
    async [Symbol.asyncDispose]() {
      listener.close();
      await relaying;
      await reading;
    },
  };
}

/** Copies until either end closes; returns what went through as Latin-1. */
async function pump(from: Deno.TcpConn, to: Deno.TcpConn): Promise<string> {
  const buffer = new Uint8Array(65_536);
  let text = "";
  try {
    for (let size = await from.read(buffer); size !== null; size = await from.read(buffer)) {
      text += new TextDecoder("latin1").decode(buffer.subarray(0, size));
      for (let at = 0; at < size;) at += await to.write(buffer.subarray(at, size));
    }
    await to.closeWrite();
  } catch {
    // A killed publisher resets its connection.
  }
  return text;
}
