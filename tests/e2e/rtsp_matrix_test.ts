/** RTSP with FFmpeg on both sides: what it publishes is what it plays, by RTSP and by all the others. */

import { assertEquals } from "@std/assert";
import { type ClipOptions, makeClip, publish } from "../support/ffmpeg.ts";
import { type Protocol, startServer } from "../support/server.ts";
import { assertToEnd, Audience, KINDS, takeTo } from "./viewing.ts";

/**
 * Faster than the clips' own clock, as timestamps are compared, not times; but not so fast that more
 * than a GOP comes in one go on a busy machine: then viewers drop.
 */
const SPEED = 3;
/** The clocks of RTP, 90 kHz and the samples', beside the milliseconds of FLV. */
const toleranceMs = 1;

/** Where a server has what it fetches from the other one. */
const PULLED = "live/b";

/** A protocol, and the options of FFmpeg for it. */
interface Way {
  readonly name: string;
  readonly protocol: Protocol;
  readonly options: Readonly<Record<string, string | number>>;
}

const tcp: Way = { name: "RTSP over TCP", protocol: "rtsp", options: { rtsp_transport: "tcp" } };
const udp: Way = { name: "RTSP over UDP", protocol: "rtsp", options: { rtsp_transport: "udp" } };
const rtmp: Way = { name: "RTMP", protocol: "rtmp", options: {} };
const pulled: Way = { name: "RTSP over UDP and HTTP-FLV", protocol: "http", options: {} };
const httpFlv: Way = { name: "HTTP-FLV", protocol: "http", options: {} };

const streams: readonly { readonly name: string; readonly clip: ClipOptions }[] = [
  { name: "H.264 with B-frames and AAC", clip: { bFrames: 2 } },
  {
    name: "H.264 at 30 fps and stereo AAC of 44.1 kHz",
    clip: { fps: 30, sampleRate: 44_100, channels: 2 },
  },
  {
    name: "H.264 of 1 Mbit/s and Opus",
    clip: { audio: "opus", width: 640, height: 480, videoBitrate: 1e6 },
  },
  { name: "H.264 and G.711 A-law", clip: { audio: "pcm_alaw" } },
  { name: "H.264 alone", clip: { audio: "none", bFrames: 1 } },
  { name: "AAC alone", clip: { video: "none" } },
  { name: "H.265 with B-frames and AAC", clip: { video: "hevc", bFrames: 2 } },
  { name: "H.265 and Opus", clip: { video: "hevc", audio: "opus" } },
  { name: "H.265 and G.711 µ-law", clip: { video: "hevc", audio: "pcm_mulaw" } },
  { name: "AV1 alone", clip: { video: "av1", audio: "none" } },
  { name: "AV1 and AAC", clip: { video: "av1" } },
  { name: "AV1 and Opus", clip: { video: "av1", audio: "opus" } },
  { name: "AV1 and G.711 A-law", clip: { video: "av1", audio: "pcm_alaw" } },
];

for (const { name, clip: clipOptions } of streams) {
  for (const publishing of [tcp, udp, rtmp]) {
    Deno.test(`${name} published by ${publishing.name} is played packet for packet`, async () => {
      const clip = await makeClip(clipOptions);
      await using server = await startServer({ rtsp: {} });
      // They ask for the stream before it is there, and get it from its start.
      await using audience = new Audience();
      // FFmpeg joins the packets of a picture of AV1 only if it reads none of sound between: it joins
      // them where the next packet of any track goes. By UDP another server is what reads them.
      const joins = clipOptions.video !== "av1" || clipOptions.audio === "none";
      await using reader = await startServer({
        rtsp: {
          Pull: {
            [PULLED]: { URL: server.url("rtsp", "live/a"), Transport: "udp", Always: false },
          },
        },
      });
      const viewers = [tcp, joins ? udp : pulled, rtmp, httpFlv].map((way) => ({
        way,
        received: audience.watch(
          way === pulled ? reader.url(way.protocol, PULLED) : server.url(way.protocol, "live/a"),
          (player) => takeTo(player, clip),
          { options: way.options },
        ),
      }));
      // FFmpeg takes AV1 in RTP for experimental.
      const options = { ...publishing.options, strict: -2 };
      const url = server.url(publishing.protocol, "live/a");
      await using publisher = publish(url, clip, { speed: SPEED, loops: Infinity, options });
      await publisher.started;
      for (const { way, received } of viewers) {
        const allowUnknownTimes = way.protocol === "rtsp";
        try {
          const { offsetMs } = assertToEnd(clip, await received, {
            toleranceMs,
            allowUnknownTimes,
          });
          if (publishing !== rtmp || way.protocol === "rtsp" || way === pulled) continue;
          for (const kind of KINDS) if (clip[kind]) assertEquals(offsetMs[kind], 0);
        } catch (cause) {
          throw new Error(`Played by ${way.name} it is not the same`, { cause });
        }
      }
    });
  }
}
