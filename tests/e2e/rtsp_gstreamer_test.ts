/** RTSP with GStreamer, where it is installed: another client than FFmpeg, on either side. */

import { assert, assertEquals } from "@std/assert";
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
/** Those that may be missing at its end: by UDP the goodbye overtakes what a client has not read. */
const END_PACKETS = 10;

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
      const clip = await makeClip({ ...clipOptions, seconds: 0.8, gop: 10 });
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
      const offsets = KINDS.map((kind) => {
        const alone = { ...clip, [kind === "video" ? "audio" : "video"]: undefined };
        const { compared, offsetMs } = assertSamePackets(alone, received, { toleranceMs: fileMs });
        const sent = clip.packets.filter((packet) => packet.kind === kind).length;
        assert(compared[kind] >= sent - START_PACKETS, `only ${compared[kind]} of ${kind} came`);
        return offsetMs[kind];
      });
      // Until a sender report comes they lie as they have arrived.
      assert(Math.abs((offsets[0] ?? 0) - (offsets[1] ?? 0)) < 150, `they came at ${offsets} ms`);
    });

    test(`${name} is played by GStreamer over ${protocols} packet for packet`, async () => {
      const clip = await makeClip({ ...clipOptions, bFrames: 2, gop: 10 });
      const received = await retried(async () => {
        await using server = await startServer({ rtsp: {} });
        await using folder = await temporaryFolder();
        const url = server.url("rtsp", "live/a");
        await using playing = new Pipeline(
          `rtspsrc location=${url} protocols=${protocols} buffer-mode=none name=s ` +
            KINDS.map((kind) =>
              `s. ! application/x-rtp,media=${kind} ! queue ! ${depayloaders[kind]} ! ` +
              `gdppay ! filesink location=${folder.path}/${kind}`
            ).join(" "),
        );
        await using publisher = publish(server.url("rtmp", "live/a"), clip, { speed: 2 });
        await publisher.done;
        const said = await playing.said;
        const isWell = said.includes("Got EOS") && !said.includes("ERROR");
        assert(isWell, `GStreamer has not come to the end in good order:\n${said}`);
        const played = await Promise.all(
          KINDS.map((kind) => readPlayed(`${folder.path}/${kind}`, clip, kind)),
        );
        return played.flat();
      });
      for (const [kind, all] of identities(clip)) {
        const bytes = received.filter((packet) => packet.kind === kind)
          .map((packet) => identify(packet, packet.codec));
        const from = all.indexOf(bytes[0] ?? "");
        const missing = all.length - from - bytes.length;
        assert(from >= 0 && from <= START_PACKETS, `${kind} begins with packet ${from}`);
        assert(missing <= (protocols === "udp" ? END_PACKETS : 0), `${missing} of ${kind} missing`);
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

/** Attempts at a pipeline: on a busy machine gst-launch now and then fails to link a late pad. */
const ATTEMPTS = 3;
/** What it says then. Any other failure is one of the test. */
const LINK_FAILURE = "Delayed linking failed";

async function retried<T>(run: () => Promise<T>): Promise<T> {
  for (let attempt = 1; attempt < ATTEMPTS; attempt++) {
    try {
      return await run();
    } catch (error) {
      if (!(error instanceof Error && error.message.includes(LINK_FAILURE))) throw error;
    }
  }
  return await run();
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
