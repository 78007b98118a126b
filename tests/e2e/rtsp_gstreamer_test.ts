/** RTSP with GStreamer, where it is installed: another client than FFmpeg, on either side. */

import { assert, assertEquals } from "@std/assert";
import { deadline } from "@std/async/deadline";
import {
  assertSamePackets,
  type Clip,
  type ClipOptions,
  makeClip,
  type PlayedPacket,
  publish,
} from "../support/ffmpeg.ts";
import { readRecords } from "../support/rtp_sender_gstreamer.ts";
import { startServer } from "../support/server.ts";
import { Audience, identify, identities, KINDS, takeTo } from "./viewing.ts";

const PATIENCE_MS = 10_000;
/** Packets of a track that may be missing at its start: audio before the first picture. */
const START_PACKETS = 4;
/** How far the tracks of a publisher may lie apart by chance of their arrival. */
const SKEW_MS = 150;

/** Elements of GStreamer by the packages that Debian has them in. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  "gstreamer1.0-rtsp": ["rtspclientsink"],
  "gstreamer1.0-plugins-base": ["appsrc"],
  "gstreamer1.0-plugins-good": ["rtspsrc", "rtph264depay", "matroskademux", "aacparse"],
  "gstreamer1.0-plugins-bad": ["h264parse", "h265parse", "opusparse", "gdppay"],
};

const missing = missingPackages();

/** Runs a test, or says what it lacks. */
function test(name: string, run: () => Promise<void>): void {
  const ignore = missing.length > 0;
  Deno.test({ name: ignore ? `${name} (left out without ${missing})` : name, ignore, fn: run });
}

interface Case {
  readonly name: string;
  readonly clip: ClipOptions;
  /** By how much times differ in the file, such as the delay of Opus. */
  readonly fileMs: number;
  /** From a file's packets to those of a payloader. */
  readonly parsers: { readonly video: string; readonly audio: string };
  /** From RTP to packets. */
  readonly depayloaders: { readonly video: string; readonly audio: string };
}

const H264 = "h264parse ! video/x-h264,stream-format=byte-stream,alignment=au";
const H265 = "h265parse ! video/x-h265,stream-format=byte-stream,alignment=au";

const cases: readonly Case[] = [
  {
    name: "H.264 and AAC",
    clip: {},
    fileMs: 1,
    parsers: { video: "h264parse", audio: "aacparse" },
    depayloaders: {
      video: `rtph264depay ! ${H264}`,
      audio: "rtpmp4gdepay ! aacparse ! audio/mpeg,stream-format=raw",
    },
  },
  {
    name: "H.265 and Opus",
    clip: { video: "hevc", audio: "opus" },
    fileMs: 7,
    parsers: { video: "h265parse", audio: "opusparse" },
    depayloaders: { video: `rtph265depay ! ${H265}`, audio: "rtpopusdepay" },
  },
];

for (const protocols of ["tcp", "udp"]) {
  for (const { name, clip: clipOptions, fileMs, parsers, depayloaders } of cases) {
    test(`${name} published by GStreamer over ${protocols} is played packet for packet`, async () => {
      // So short that no sender report comes, at which tracks are laid upon each other.
      const clip = await makeClip({ ...clipOptions, bFrames: 2, seconds: 0.8, gop: 10 });
      await using server = await startServer({ rtsp: {} });
      await using folder = await temporaryFolder();
      const file = `${folder.path}/clip.mkv`;
      await publish(file, clip, { speed: Infinity, format: "matroska" }).done;
      await using audience = new Audience();
      const watching = audience.watch(
        server.url("http", "live/a"),
        (player) => takeTo(player, clip),
      );
      // It does not always end by itself.
      await using _sending = new Pipeline(
        `filesrc location=${file} ! matroskademux name=d ` +
          `d.video_0 ! ${parsers.video} ! queue ! s.sink_0 ` +
          `d.audio_0 ! ${parsers.audio} ! queue ! s.sink_1 ` +
          `rtspclientsink name=s location=${server.url("rtsp", "live/a")} protocols=${protocols}`,
      );
      const received = await watching;
      const lags = [...identities(clip)].map(([kind, all]) => {
        const packets = received.filter((packet) => packet.kind === kind);
        const bytes = packets.map((packet) => identify(packet, packet.codec));
        const from = all.indexOf(bytes[0] ?? "");
        assert(from >= 0 && from <= START_PACKETS, `${kind} begins with packet ${from}`);
        assertEquals(bytes, all.slice(from));
        const sent = clip.packets.filter((packet) => packet.kind === kind).slice(from);
        const lagsMs = packets.map(({ ptsMs }, index) => ptsMs - (sent[index]?.ptsUs ?? 0) / 1000);
        const [firstMs = 0] = lagsMs;
        const isEven = lagsMs.every((ms) => Math.abs(ms - firstMs) <= fileMs);
        assert(isEven, `${kind} lags by ${lagsMs} ms`);
        return lagsMs;
      });
      // Until a sender report comes they lie as they have arrived.
      const [videoMs = 0, audioMs = 0] = lags.map(([first = 0]) => first);
      assert(Math.abs(videoMs - audioMs) < SKEW_MS, `they came at ${videoMs} and ${audioMs} ms`);
    });

    test(`${name} is played by GStreamer over ${protocols} packet for packet`, async () => {
      const clip = await makeClip({ ...clipOptions, bFrames: 2, gop: 10 });
      await using server = await startServer({ rtsp: {} });
      await using folder = await temporaryFolder();
      const url = server.url("rtsp", "live/a");
      const asked = deadline(
        new Promise((resolve) => server.engine.addEventListener("ondemand", resolve)),
        PATIENCE_MS,
      );
      // What a pad is linked to must refuse the other's kind by itself: with filters or queues that
      // take any, gst-launch links them for a try, and two pads that come at a time miss each other.
      await using playing = new Pipeline(
        `rtspsrc location=${url} protocols=${protocols} buffer-mode=none name=s ` +
          KINDS.map((kind) =>
            `s. ! ${depayloaders[kind]} ! gdppay ! filesink location=${folder.path}/${kind}`
          ).join(" "),
      );
      await asked;
      await using publisher = publish(server.url("rtmp", "live/a"), clip, { speed: 2 });
      await publisher.done;
      const said = await playing.said;
      const isWell = said.includes("Got EOS") && !said.includes("ERROR");
      assert(isWell, `GStreamer has not come to the end in good order:\n${said}`);
      const played = await Promise.all(
        KINDS.map((kind) => readPlayed(`${folder.path}/${kind}`, clip, kind)),
      );
      const received = played.flat();
      for (const [kind, all] of identities(clip)) {
        const bytes = received.filter((packet) => packet.kind === kind)
          .map((packet) => identify(packet, packet.codec));
        const from = all.indexOf(bytes[0] ?? "");
        const missing = all.length - from - bytes.length;
        assert(from >= 0 && from <= START_PACKETS, `${kind} begins with packet ${from}`);
        assertEquals(missing, 0, `${missing} of ${kind} missing`);
        assertEquals(bytes, all.slice(from, from + bytes.length));
      }
      // It lays tracks upon each other at the second reports of both, before the second keyframe.
      const [, , key] = received.filter((packet) => packet.kind === "video" && packet.key);
      assert(key, "there is a third keyframe");
      const settled = received.filter(({ ptsMs }) => ptsMs >= key.ptsMs);
      assertSamePackets(clip, settled, { toleranceMs: 1, allowUnknownTimes: true });
    });
  }
}

/** The packets of a file of GStreamer's own format. */
async function readPlayed(
  path: string,
  clip: Clip,
  kind: "video" | "audio",
): Promise<PlayedPacket[]> {
  const { buffers } = readRecords(await Deno.readFile(path));
  return buffers.map(({ pts, key, data }) => ({
    kind,
    codec: clip[kind]?.codec ?? "",
    dtsMs: NaN,
    ptsMs: Number(pts) / 1e6,
    dts: NaN,
    pts: Number(pts),
    timeBase: { num: 1, den: 1_000_000_000 },
    key: kind === "audio" || key,
    data,
    extradata: undefined,
    receivedAtMs: NaN,
  }));
}

/** A pipeline that runs, until it is disposed of at the latest. */
class Pipeline implements AsyncDisposable {
  /** What it has said, once it has ended. */
  readonly said: Promise<string>;
  readonly #child: Deno.ChildProcess;

  constructor(pipeline: string) {
    this.#child = new Deno.Command("gst-launch-1.0", {
      args: pipeline.split(" "),
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      signal: AbortSignal.timeout(PATIENCE_MS),
    }).spawn();
    this.said = this.#child.output().then(({ stdout, stderr }) =>
      [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)).join("\n")
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.said;
  }
}

async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await Deno.makeTempDir();
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

function missingPackages(): string[] {
  let list = "";
  try {
    const { stdout } = new Deno.Command("gst-inspect-1.0", { stderr: "null" }).outputSync();
    list = new TextDecoder().decode(stdout);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return ["gstreamer1.0-tools", ...Object.keys(PACKAGES)];
  }
  return Object.entries(PACKAGES).flatMap(([name, elements]) =>
    elements.every((element) => list.includes(` ${element}:`)) ? [] : [name]
  );
}
