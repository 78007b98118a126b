/** HLS with FFmpeg: what it publishes by RTMP it gets back from playlists, packet for packet. */

import { assert, assertEquals } from "@std/assert";
import hls from "../../plugins/hls/mod.ts";
import { concat } from "../../src/bytes.ts";
import {
  assertSamePackets,
  type Clip,
  type ClipOptions,
  makeClip,
  playAll,
  type PlayedPacket,
  publish,
} from "../support/ffmpeg.ts";
import { checkPlaylist, readMultivariant, type ReadPlaylist } from "../support/hls.ts";
import { demux, type DemuxedTrack } from "../support/mp4.ts";
import { startServer, type TestServer } from "../support/server.ts";
import { KINDS } from "./viewing.ts";

/** Faster than the clips' own clock: timestamps are compared, not times. */
const SPEED = 2;
/** Clocks of 90 kHz and of samples beside the milliseconds of RTMP. */
const toleranceMs = 1;
/** From the first segment on, with what FFmpeg reads before it knows the codecs. */
const FROM_START = { live_start_index: 0, fflags: 0 };

interface Case {
  readonly name: string;
  readonly clip: ClipOptions;
  /** CODECS of the multivariant playlist. */
  readonly codecs: RegExp;
  /** What MPEG-TS does not carry. */
  readonly mp4Only?: boolean;
}

const cases: readonly Case[] = [
  { name: "H.264 and AAC", clip: {}, codecs: /^avc1\.[0-9a-f]{6},mp4a\.40\.2$/ },
  {
    name: "H.264 with B-frames at 30 fps and AAC",
    clip: { bFrames: 2, fps: 30, sampleRate: 44_100 },
    codecs: /^avc1\.[0-9a-f]{6},mp4a\.40\.2$/,
  },
  {
    name: "H.264 with a GOP of 3 s and AAC",
    clip: { gop: 75, bFrames: 1 },
    codecs: /^avc1\.[0-9a-f]{6},mp4a\.40\.2$/,
  },
  { name: "H.264 and Opus", clip: { audio: "opus" }, codecs: /^avc1\.[0-9a-f]{6},opus$/ },
  { name: "H.264 alone", clip: { audio: "none", bFrames: 1 }, codecs: /^avc1\.[0-9a-f]{6}$/ },
  { name: "AAC alone", clip: { video: "none" }, codecs: /^mp4a\.40\.2$/ },
  {
    name: "H.265 with B-frames and AAC",
    clip: { video: "hevc", bFrames: 2 },
    codecs: /^hvc1\.1\.6\.L\d+[.\dA-F]*,mp4a\.40\.2$/,
  },
  {
    name: "AV1 and Opus",
    clip: { video: "av1", audio: "opus" },
    codecs: /^av01\.0\.\d\d[MH]\.08[.\d]*,opus$/,
    mp4Only: true,
  },
];

const formats = [
  { name: "fmp4 in parts", query: "", hls: {} },
  { name: "fmp4", query: "?format=fmp4", hls: { LowLatency: false } },
  { name: "ts", query: "?format=ts", hls: {} },
] as const;

async function startHls(options: Record<string, unknown>): Promise<TestServer> {
  const server = await startServer();
  await server.plugins.load("HLS", hls, { SegmentDuration: 1, ...options });
  return server;
}

function playlistUrl(server: TestServer): string {
  return server.url("http", "live/a").replace(/\.flv$/, ".m3u8");
}

/** Fails unless `received` is the clip, bit for bit, from its first keyframe to its last packet. */
function assertWhole(clip: Clip, received: readonly PlayedPacket[]): void {
  const { compared } = assertSamePackets(clip, received, { toleranceMs });
  const first = clip.packets.find(({ kind }) => kind === "video") ?? clip.packets[0];
  for (const kind of KINDS) {
    const sent = clip.packets.filter((packet) =>
      packet.kind === kind &&
      Math.round(packet.dtsUs / 1000) >= Math.round((first?.dtsUs ?? 0) / 1000)
    );
    assertEquals(compared[kind], sent.length, `packets of ${kind}`);
  }
}

for (const { name, clip: clipOptions, codecs, mp4Only } of cases) {
  for (const format of formats) {
    if (mp4Only && format.name === "ts") continue;
    Deno.test(`${name} in HLS of ${format.name} is played packet for packet`, async () => {
      const clip = await makeClip({ seconds: 4, ...clipOptions });
      await using server = await startHls(format.hls);
      const url = playlistUrl(server) + format.query;
      // It asks for the stream before it is there, and gets it from its start to its end.
      const playing = playAll(url, { options: FROM_START, timeoutMs: 20_000 });
      playing.catch(() => {});
      await using publisher = publish(server.url("rtmp", "live/a"), clip, { speed: SPEED });
      await publisher.started;
      const text = await (await fetch(url)).text();
      const { attributes } = readMultivariant(text);
      assert(codecs.test(attributes.get("CODECS") ?? ""), attributes.get("CODECS"));
      if (clip.video) {
        assertEquals(attributes.get("RESOLUTION"), `${clip.video.width}x${clip.video.height}`);
        const rate = Number(attributes.get("FRAME-RATE"));
        assert(Math.abs(rate - clip.video.fps) < 0.5, `${rate} fps`);
      }
      await publisher.done;
      assertWhole(clip, await playing);
    });
  }
}

Deno.test("parts that a player of low latency follows are the stream, packet for packet", async () => {
  const clip = await makeClip({ seconds: 4, bFrames: 2, fps: 30 });
  await using server = await startHls({});
  const base = new URL("a/~/fmp4.m3u8", playlistUrl(server));
  const following = follow(base);
  following.catch(() => {});
  await using publisher = publish(server.url("rtmp", "live/a"), clip, { speed: 1 });
  await publisher.done;
  const { history, media, hints } = await following;
  const last = history.at(-1);
  assert(last?.ended && last.segments.length >= 4);
  assert(history.length > 10, `there were ${history.length} playlists`);
  assert(hints > 10, `only ${hints} hinted parts have come`);
  const { video, audio } = await demux(media);
  assertWhole(clip, [...packetsOf(video, "video"), ...packetsOf(audio, "audio")]);
});

/** A player of low latency: it asks for what is hinted, and for each next version of the playlist. */
async function follow(url: URL) {
  const history: ReadPlaylist[] = [];
  const files: Uint8Array[] = [];
  const seen = new Set<string>();
  const hinted = new Map<string, Promise<Uint8Array | undefined>>();
  let hints = 0;
  const load = async (name: string): Promise<Uint8Array | undefined> => {
    const response = await fetch(new URL(name, url));
    if (response.status === 200) return await response.bytes();
    await response.body?.cancel();
    return undefined;
  };
  let query = "";
  while (!history.at(-1)?.ended) {
    const response = await fetch(url.href + query);
    const text = await response.text();
    assertEquals(response.status, 200, text);
    const { segments, open, hint } = checkPlaylist(text, history);
    const all = open ? [...segments, open] : segments;
    for (const { map = "", parts } of all) {
      for (const name of [map, ...parts.map(({ uri }) => uri)]) {
        if (seen.has(name)) continue;
        seen.add(name);
        const early = await hinted.get(name);
        if (early) hints++;
        const bytes = early ?? await load(name);
        assert(bytes, `${name} is not there`);
        files.push(bytes);
      }
    }
    if (hint !== undefined && !hinted.has(hint)) hinted.set(hint, load(hint));
    const last = segments.at(-1)?.number ?? 0;
    query = `?_HLS_msn=${last + 1}&_HLS_part=${open?.parts.length ?? 0}`;
  }
  await Promise.all(hinted.values());
  return { history, media: concat(files), hints };
}

/** What FFmpeg's demuxer found, in the form of a player's packets. */
function packetsOf(track: DemuxedTrack | undefined, kind: "video" | "audio"): PlayedPacket[] {
  if (track === undefined) return [];
  const { codec, timescale, extradata, packets } = track;
  return packets.map(({ dts, pts, key, data }) => ({
    kind,
    codec,
    dts,
    pts,
    dtsMs: dts * 1000 / timescale,
    ptsMs: pts * 1000 / timescale,
    timeBase: { num: 1, den: timescale },
    key,
    data: new Uint8Array(data),
    extradata: extradata && new Uint8Array(extradata),
    receivedAtMs: 0,
  }));
}

Deno.test("HLS goes on through a takeover by another encoder", async () => {
  const [one, two] = [
    await makeClip({ seconds: 3 }),
    await makeClip({ seconds: 3, width: 320, height: 240, fps: 30 }),
  ] as [Clip, Clip];
  await using server = await startServer({ rtmp: { TakeOver: true } });
  await server.plugins.load("HLS", hls, { SegmentDuration: 1 });
  const url = playlistUrl(server);
  const playing = playAll(url, { options: FROM_START, timeoutMs: 20_000 });
  playing.catch(() => {});
  const target = server.url("rtmp", "live/a");
  await using first = publish(target, one, { speed: SPEED, loops: Infinity });
  await first.started;
  await (await fetch(url)).body?.cancel();
  await using second = publish(target, two, { speed: SPEED });
  await second.done;
  const received = await playing;
  const ends = received.filter(({ kind }) => kind === "video").slice(-90);
  const sent = two.packets.filter(({ kind }) => kind === "video");
  assertEquals(ends.map(({ data }) => data.length), sent.map(({ data }) => data.length));
});
