/**
 * Writes `tests/fixtures/rtp/` with FFmpeg's and GStreamer's RTP payloaders:
 *
 *     deno run -A tests/support/make_rtp_fixtures.ts [name prefix]
 *
 * It takes `gst-launch-1.0`. Another run gives the same but for the clock in sender reports and what GStreamer
 * draws by lot: picture identifiers of VP9 and the name of the source.
 */
import { toLengthPrefixed } from "./ffmpeg/canonical.ts";
import { type ClipOptions, makeClip } from "./ffmpeg/clip.ts";
import { canonicalFrame, type ExpectedUnit, hashOf, writeRtpFixture } from "./rtp_fixtures.ts";
import { sendFFmpeg, ticks } from "./rtp_sender_ffmpeg.ts";
import { type GStreamerSending, sendGStreamer } from "./rtp_sender_gstreamer.ts";

/** A capture. */
interface Case {
  readonly name: string;
  readonly encoding: string;
  readonly clockRate: number;
  /** Of timestamps in ticks. @default {0} */
  readonly tolerance?: number;
}

/** A capture of FFmpeg. */
interface FFmpegCase extends Case {
  /** Frames that wait for company in the muxer when it ends, and are never sent. @default {0} */
  readonly held?: number;
  readonly clip: ClipOptions;
  /** Of the muxer. */
  readonly options: Readonly<Record<string, string>>;
}

/** A capture of GStreamer. */
interface GStreamerCase extends Case, Omit<GStreamerSending, "timestamp"> {}

const picture = {
  audio: "none",
  width: 320,
  height: 180,
  seconds: 1,
  gop: 12,
  bFrames: 2,
  videoBitrate: 250_000,
} as const;
const sound = { video: "none", seconds: 1 } as const;

const x264 = "keyint=12:min-keyint=12:scenecut=0:bframes=2:b-adapt=0:slices=3";
const x265 = "keyint=12:min-keyint=12:scenecut=0:bframes=2:b-adapt=0:open-gop=0:slices=3:" +
  "log-level=none:pools=1:frame-threads=1";

const FFMPEG: readonly FFmpegCase[] = [
  {
    name: "h264",
    encoding: "H264",
    clockRate: 90_000,
    clip: { ...picture, videoEncoderOptions: { preset: "veryfast", "x264-params": x264 } },
    options: { packetsize: "800" },
  },
  {
    // Slices that fit a packet: FFmpeg drops NAL units that don't.
    name: "h264_mode0",
    encoding: "H264",
    clockRate: 90_000,
    clip: {
      ...picture,
      videoEncoderOptions: {
        preset: "veryfast",
        "x264-params": `keyint=12:min-keyint=12:scenecut=0:bframes=2:b-adapt=0:slice-max-size=700`,
      },
    },
    options: { packetsize: "800", rtpflags: "h264_mode0" },
  },
  {
    name: "h265",
    encoding: "H265",
    clockRate: 90_000,
    clip: { ...picture, video: "hevc", videoEncoderOptions: { "x265-params": x265 } },
    options: { packetsize: "800" },
  },
  {
    name: "av1",
    encoding: "AV1",
    clockRate: 90_000,
    clip: { ...picture, video: "av1" },
    options: { packetsize: "500", strict: "experimental" },
  },
  {
    name: "vp9",
    encoding: "VP9",
    clockRate: 90_000,
    clip: { ...picture, video: "vp9" },
    options: { packetsize: "500", strict: "experimental" },
  },
  {
    name: "aac",
    encoding: "MPEG4-GENERIC",
    clockRate: 48_000,
    held: 1,
    clip: { ...sound, audio: "aac" },
    options: { packetsize: "1200" },
  },
  {
    // Five frames a packet.
    name: "aac_aggregated",
    encoding: "MPEG4-GENERIC",
    clockRate: 44_100,
    held: 5,
    clip: { ...sound, audio: "aac", sampleRate: 44_100, channels: 2, audioBitrate: 64_000 },
    options: { packetsize: "1200", max_delay: "100000" },
  },
  {
    // Each frame in several packets.
    name: "aac_fragmented",
    encoding: "MPEG4-GENERIC",
    clockRate: 48_000,
    clip: { ...sound, audio: "aac", audioBitrate: 128_000 },
    options: { packetsize: "180" },
  },
  {
    name: "aac_latm",
    encoding: "MP4A-LATM",
    clockRate: 48_000,
    clip: { ...sound, audio: "aac", audioBitrate: 96_000 },
    options: { packetsize: "1200", rtpflags: "latm" },
  },
  {
    name: "aac_latm_fragmented",
    encoding: "MP4A-LATM",
    clockRate: 44_100,
    clip: { ...sound, audio: "aac", sampleRate: 44_100, channels: 2, audioBitrate: 160_000 },
    options: { packetsize: "180", rtpflags: "latm" },
  },
  {
    name: "opus",
    encoding: "opus",
    clockRate: 48_000,
    clip: { ...sound, audio: "opus", channels: 2 },
    options: { packetsize: "1200" },
  },
  {
    name: "pcma",
    encoding: "PCMA",
    clockRate: 8_000,
    clip: { ...sound, audio: "pcm_alaw" },
    options: { packetsize: "1200" },
  },
  {
    name: "pcmu",
    encoding: "PCMU",
    clockRate: 8_000,
    clip: { ...sound, audio: "pcm_mulaw" },
    options: { packetsize: "1200" },
  },
  {
    // The clock of MPEG audio is that of its video, whatever the sample rate.
    name: "mp3",
    encoding: "MPA",
    clockRate: 90_000,
    tolerance: 1,
    held: 5,
    clip: { ...sound, audio: "mp3" },
    options: { packetsize: "1200" },
  },
  {
    name: "mp3_fragmented",
    encoding: "MPA",
    clockRate: 90_000,
    clip: { ...sound, audio: "mp3", audioBitrate: 128_000, channels: 2 },
    options: { packetsize: "200" },
  },
];

const testPicture = "videotestsrc num-buffers=25 ! " +
  "video/x-raw,format=I420,width=320,height=180,framerate=25/1 !";
const annexB = "stream-format=byte-stream,alignment=au";
const gstH264 = `${testPicture} x264enc bitrate=250 key-int-max=12 threads=1 bframes=2 ` +
  `b-adapt=false option-string=slices=3 ! video/x-h264,${annexB},profile=main`;
const gstH265 = `${testPicture} x265enc bitrate=250 key-int-max=12 ` +
  `option-string=bframes=2:b-adapt=0:open-gop=0:slices=3:pools=1:frame-threads=1 ! ` +
  `video/x-h265,${annexB}`;
const gstVp9 = `${testPicture} vp9enc deadline=1 cpu-used=8 target-bitrate=250000 ` +
  "keyframe-max-dist=12 threads=1";
const testSound = (count: number, samples: number, format: string) =>
  `audiotestsrc num-buffers=${count} samplesperbuffer=${samples} freq=437.3 ! ` +
  `audio/x-raw,${format} !`;
const liveSound = testSound(200, 960, "rate=48000,channels=1").replace(" ", " is-live=true ");
const gstAac = (format: string) =>
  `${testSound(47, 1024, format)} voaacenc bitrate=96000 ! aacparse ! ` +
  "audio/mpeg,stream-format=raw";
const gstMp3 = `${testSound(40, 1152, "rate=44100,channels=2")} ` +
  "lamemp3enc target=bitrate cbr=true bitrate=128 ! audio/mpeg,rate=44100 ! mpegaudioparse";

const GSTREAMER: readonly GStreamerCase[] = [
  ...["none", "zero-latency"].map((mode) => ({
    name: mode === "none" ? "h264" : `h264_${mode.replace("-", "_")}`,
    encoding: "H264",
    clockRate: 90_000,
    source: gstH264,
    payloader: `rtph264pay mtu=800 aggregate-mode=${mode} config-interval=-1`,
  })),
  ...["none", "zero-latency"].map((mode) => ({
    name: mode === "none" ? "h265" : `h265_${mode.replace("-", "_")}`,
    encoding: "H265",
    clockRate: 90_000,
    source: gstH265,
    payloader: `rtph265pay mtu=800 aggregate-mode=${mode} config-interval=-1`,
  })),
  ...["none", "7-bit", "15-bit"].map((mode) => ({
    name: mode === "none" ? "vp9" : `vp9_${mode.replace("-", "_")}`,
    encoding: "VP9",
    clockRate: 90_000,
    source: gstVp9,
    payloader: `rtpvp9pay mtu=600 picture-id-mode=${mode}`,
  })),
  {
    name: "aac",
    encoding: "MPEG4-GENERIC",
    clockRate: 48_000,
    source: gstAac("rate=48000,channels=2"),
    payloader: "rtpmp4gpay mtu=1200",
  },
  {
    name: "aac_fragmented",
    encoding: "MPEG4-GENERIC",
    clockRate: 44_100,
    source: gstAac("rate=44100,channels=1"),
    payloader: "rtpmp4gpay mtu=180",
  },
  {
    name: "aac_latm",
    encoding: "MP4A-LATM",
    clockRate: 48_000,
    source: gstAac("rate=48000,channels=2"),
    payloader: "rtpmp4apay mtu=1200",
  },
  {
    name: "aac_latm_fragmented",
    encoding: "MP4A-LATM",
    clockRate: 44_100,
    source: gstAac("rate=44100,channels=1"),
    payloader: "rtpmp4apay mtu=180",
  },
  {
    name: "opus",
    encoding: "OPUS",
    clockRate: 48_000,
    source: `${testSound(50, 960, "rate=48000,channels=2")} opusenc bitrate=48000 frame-size=10`,
    payloader: "rtpopuspay mtu=1200",
  },
  {
    name: "opus_rtcp",
    encoding: "OPUS",
    clockRate: 48_000,
    source: `${liveSound} opusenc bitrate=12000 frame-size=20`,
    payloader: "rtpopuspay mtu=1200",
    extensions: {
      3: "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
      5: "urn:ietf:params:rtp-hdrext:ntp-64",
    },
    rtcp: true,
  },
  ...["pcma", "pcmu"].map((name) => ({
    name,
    encoding: name.toUpperCase(),
    clockRate: 8_000,
    source: `${testSound(50, 160, "rate=8000,channels=1")} ${name === "pcma" ? "a" : "mu"}lawenc`,
    payloader: `rtp${name}pay mtu=1200 max-ptime=20000000`,
  })),
  {
    name: "mp3",
    encoding: "MPA",
    clockRate: 90_000,
    tolerance: 1,
    source: gstMp3,
    payloader: "rtpmpapay mtu=1200",
  },
  {
    name: "mp3_fragmented",
    encoding: "MPA",
    clockRate: 90_000,
    source: gstMp3,
    payloader: "rtpmpapay mtu=180",
  },
];

const prefix = Deno.args[0] ?? "";
for (const kase of FFMPEG) {
  if (`ffmpeg_${kase.name}`.startsWith(prefix)) await captureFFmpeg(kase);
}
for (const kase of GSTREAMER) {
  if (`gstreamer_${kase.name}`.startsWith(prefix)) await captureGStreamer(kase);
}
// node-av's finalizers crash when Deno runs them at its end.
Deno.exit(0);

async function captureFFmpeg(kase: FFmpegCase): Promise<void> {
  const { name, encoding, clockRate, held = 0 } = kase;
  const clip = await makeClip(kase.clip);
  const { arrivals, sdp } = await sendFFmpeg(clip, {
    clockRate,
    timestamp: beforeWrap(clockRate),
    options: { ssrc: "2882339362", cname: "camera", seq: "65520", ...kase.options },
  });
  const firstUs = clip.packets[0]?.ptsUs ?? 0;
  const units = clip.packets.slice(0, clip.packets.length - held).map(({ data, key, ptsUs }) => ({
    timestamp: ticks(ptsUs - firstUs, clockRate),
    key,
    ...fingerprint(encoding, data),
  }));
  const expected = { encoding, clockRate, tolerance: kase.tolerance ?? 0, units };
  writeRtpFixture({ name: `ffmpeg_${name}`, sdp, arrivals, expected });
}

async function captureGStreamer(kase: GStreamerCase): Promise<void> {
  const { name, encoding, clockRate } = kase;
  const sent = await sendGStreamer({ ...kase, timestamp: beforeWrap(clockRate) });
  const firstNs = sent.buffers[0]?.pts ?? 0n;
  const units = sent.buffers.map(({ data, key, pts }) => ({
    timestamp: Math.floor(Number(pts - firstNs) * clockRate / 1e9),
    key,
    ...fingerprint(encoding, /^H26/.test(encoding) ? toLengthPrefixed(data) : data),
  }));
  const expected = { encoding, clockRate, tolerance: kase.tolerance ?? 0, units };
  writeRtpFixture({ name: `gstreamer_${name}`, ...sent, expected });
}

/** A timestamp whose 32 bits are used up after a third of a second. */
function beforeWrap(clockRate: number): number {
  return 2 ** 32 - Math.floor(clockRate / 3);
}

function fingerprint(
  encoding: string,
  data: Uint8Array<ArrayBuffer>,
): Pick<ExpectedUnit, "bytes" | "hash"> {
  const parts = /^H26/.test(encoding) ? splitLengths(data) : [data];
  const frame = canonicalFrame(encoding, parts);
  return { bytes: frame.length, hash: hashOf(frame) };
}

function splitLengths(data: Uint8Array<ArrayBuffer>): Uint8Array[] {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const units: Uint8Array[] = [];
  for (let at = 0; at < data.length;) {
    const length = view.getUint32(at);
    units.push(data.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return units;
}
