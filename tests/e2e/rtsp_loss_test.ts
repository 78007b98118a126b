/** Publishers over networks that lose packets and mix them up: what viewers get can be decoded. */

import { assert, assertEquals } from "@std/assert";
import { assertSamePackets, comparePackets, makeClip, publish } from "../support/ffmpeg.ts";
import { LossyRelay, type Weather } from "../support/lossy_relay.ts";
import { startServer } from "../support/server.ts";
import { decode } from "./decode.ts";
import { Audience, takeTo } from "./viewing.ts";

const PATH = "live/a";
/** Clocks of RTP beside the milliseconds of FLV. */
const toleranceMs = 1;
/** Pictures of some packets each, and keyframes often enough that some come whole. */
const CLIP = { seconds: 4, gop: 5, width: 320, height: 240, videoBitrate: 600_000 } as const;
/** What is taken under loss: 100 pictures. */
const MEDIA_MS = 4_000;
const UDP = { rtsp_transport: "udp" };

Deno.test("Packets that come late or twice cost nothing with RTPReorder", async () => {
  // On a busy machine viewers drop what does not fit into a GOP.
  const clip = await makeClip({ ...CLIP, bFrames: 2, gop: 25 });
  await using server = await startServer({ engine: { RTPReorder: true }, rtsp: {} });
  const url = server.url("rtsp", PATH);
  await using relay = new LossyRelay(url, { late: 0.2, twice: 0.05, seed: 7 });
  await using audience = new Audience();
  const watching = (["rtmp", "http"] as const).map((protocol) =>
    audience.watch(server.url(protocol, PATH), (player) => takeTo(player, clip))
  );
  const options = { speed: 2, loops: Infinity, options: UDP };
  await using publisher = publish(relay.url(url), clip, options);
  await publisher.started;
  for (const received of await Promise.all(watching)) {
    const { compared } = assertSamePackets(clip, received, { toleranceMs });
    // Nothing is known of what comes behind the very first packet.
    const missing = clip.packets.length - compared.video - compared.audio;
    assert(missing <= 10, `${missing} packets are missing at the start`);
  }
  const { late, twice, lost } = relay.toll;
  assert(late > 50 && twice > 10 && lost === 0, JSON.stringify(relay.toll));
});

interface Case {
  readonly name: string;
  readonly video: "h264" | "hevc";
  readonly weather: Weather;
  readonly reorder: boolean;
  /** Fewest pictures of the 100 that are sent. */
  readonly pictures: number;
}

const cases: readonly Case[] = [
  {
    name: "H.264 when 1 % of the packets are lost",
    video: "h264",
    weather: { loss: 0.01, seed: 11 },
    reorder: true,
    pictures: 70,
  },
  {
    name: "H.264 when 5 % of the packets are lost",
    video: "h264",
    weather: { loss: 0.05, seed: 2 },
    reorder: true,
    pictures: 40,
  },
  {
    name: "H.264 when 20 % of the packets are lost",
    video: "h264",
    weather: { loss: 0.2, seed: 3 },
    reorder: true,
    pictures: 5,
  },
  {
    name: "H.264 when packets are lost, late and doubled",
    video: "h264",
    weather: { loss: 0.05, late: 0.1, twice: 0.05, seed: 5 },
    reorder: true,
    pictures: 40,
  },
  {
    name: "H.264 when packets are late without RTPReorder",
    video: "h264",
    weather: { late: 0.05, seed: 6 },
    reorder: false,
    pictures: 20,
  },
  {
    name: "H.265 when 5 % of the packets are lost",
    video: "hevc",
    weather: { loss: 0.05, seed: 7 },
    reorder: true,
    pictures: 40,
  },
  {
    name: "H.265 when 20 % of the packets are lost without RTPReorder",
    video: "hevc",
    weather: { loss: 0.2, seed: 8 },
    reorder: false,
    pictures: 5,
  },
];

for (const { name, video, weather, reorder, pictures } of cases) {
  Deno.test(`FFmpeg decodes all that comes of ${name}`, async () => {
    const clip = await makeClip({ ...CLIP, video });
    await using server = await startServer({ engine: { RTPReorder: reorder }, rtsp: {} });
    const url = server.url("rtsp", PATH);
    await using relay = new LossyRelay(url, weather);
    await using audience = new Audience();
    const watching = audience.watch(
      server.url("http", PATH),
      (player) => player.take({ mediaMs: MEDIA_MS }),
    );
    const options = { speed: 4, loops: Infinity, options: UDP };
    await using publisher = publish(relay.url(url), clip, options);
    await publisher.started;
    const received = await watching;
    const loops = 2 + MEDIA_MS / 1000 / CLIP.seconds;
    // Bit for bit, on its time, and after each gap from a keyframe on.
    const outcome = comparePackets(clip, received, { toleranceMs, allowGaps: true, loops });
    assertEquals(outcome.differences, []);
    const missing = outcome.gaps.filter(({ kind }) => kind === "video");
    assert(missing.length > 0, `nothing is missing: ${JSON.stringify(relay.toll)}`);
    assert(outcome.compared.video >= pictures, `only ${outcome.compared.video} pictures came`);
    const shown = received.filter(({ kind }) => kind === "video");
    assertEquals(await decode(shown), shown.map(() => "320x240"));
  });
}
