/** The clip that is published: encoded once, then kept among the system's temporary files. */

import { tmpdir } from "node:os";
import { join } from "node:path";
import { EcmaArray, encodeAmf0 } from "../../src/formats/amf.ts";
import { flvHeader, flvTag, TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO } from "../../src/formats/flv.ts";
import { audioConfigBody, audioFramePrefix } from "../../src/formats/flv_audio.ts";
import { videoConfigBody, videoFramePrefix } from "../../src/formats/flv_video.ts";
import type { ClipPacket } from "../../tests/support/ffmpeg.ts";

/** A clip as an FLV file, and what is known of it. */
export interface BenchClip {
  readonly path: string;
  /** What to add to the timestamps when it starts again, in µs. */
  readonly loopUs: number;
  /** Audio and video frames a second. */
  readonly tagsPerSecond: number;
  /** Bits a second, as FLV. */
  readonly bitsPerSecond: number;
}

const FPS = 30;
const SAMPLE_RATE = 44_100;
const SAMPLES = 1024;
/** As many pictures as last exactly as long as a whole number of audio frames: 17.07 s. */
const PICTURES = 512;
const AUDIO_FRAMES = PICTURES * SAMPLE_RATE / FPS / SAMPLES;
const GOP = 64;
const LOOP_US = Math.round(PICTURES / FPS * 1e6);
/** To be raised with any change in what the clip is. */
const REVISION = 1;

/** The clip, from the cache if it is there. */
export async function benchClip(log: (line: string) => void): Promise<BenchClip> {
  const path = join(tmpdir(), `m7s-bench-720p30-${REVISION}.flv`);
  let size = await sizeOf(path);
  if (size === undefined) {
    log("encoding the clip, once");
    const bytes = await encode();
    // Another run may be doing the same.
    const draft = `${path}.${Deno.pid}`;
    await Deno.writeFile(draft, bytes);
    await Deno.rename(draft, path);
    size = bytes.length;
  }
  return {
    path,
    loopUs: LOOP_US,
    tagsPerSecond: (PICTURES + AUDIO_FRAMES) / LOOP_US * 1e6,
    bitsPerSecond: size * 8 / LOOP_US * 1e6,
  };
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await Deno.stat(path)).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

async function encode(): Promise<Uint8Array<ArrayBuffer>> {
  const { makeClip } = await import("../../tests/support/ffmpeg.ts");
  const clip = await makeClip({
    width: 1280,
    height: 720,
    fps: FPS,
    gop: GOP,
    seconds: Math.ceil(LOOP_US / 1e6) + 1,
    videoBitrate: 2_500_000,
    audioBitrate: 128_000,
    sampleRate: SAMPLE_RATE,
    channels: 2,
    videoSource: "testsrc2,noise=alls=4:allf=t",
    videoEncoderOptions: { maxrate: "2500000", bufsize: "800000" },
  });
  const { video, audio } = clip;
  if (!video?.extradata || !audio?.extradata) throw new Error("Cannot encode: no extradata");
  const format = {
    fourcc: "mp4a",
    sampleRate: SAMPLE_RATE,
    numberOfChannels: 2,
    description: audio.extradata,
  };
  const tags: { ms: number; tag: Uint8Array }[] = [];
  take(clip.packets, "video", PICTURES).forEach((packet, index) => {
    const ms = Math.round(index * 1000 / FPS);
    const ctsMs = Math.round((packet.ptsUs - packet.dtsUs) / 1000);
    const prefix = videoFramePrefix("avc1", { key: packet.key, ctsMs });
    tags.push({ ms, tag: flvTag(TAG_VIDEO, ms, [prefix, packet.data]) });
  });
  take(clip.packets, "audio", AUDIO_FRAMES).forEach((packet, index) => {
    const ms = Math.round(index * SAMPLES * 1000 / SAMPLE_RATE);
    tags.push({ ms, tag: flvTag(TAG_AUDIO, ms, [audioFramePrefix(format), packet.data]) });
  });
  tags.sort((a, b) => a.ms - b.ms);
  const metadata = encodeAmf0(
    "onMetaData",
    new EcmaArray({
      width: 1280,
      height: 720,
      framerate: FPS,
      videocodecid: 7,
      videodatarate: 2500,
      audiocodecid: 10,
      audiosamplerate: SAMPLE_RATE,
      audiodatarate: 128,
      stereo: true,
    }),
  );
  const audioConfig = audioConfigBody(format);
  if (audioConfig === undefined) throw new Error("Cannot encode: AAC has no configuration");
  const parts = [
    flvHeader({ audio: true, video: true }),
    flvTag(TAG_SCRIPT, 0, [metadata]),
    flvTag(TAG_VIDEO, 0, [videoConfigBody("avc1", video.extradata)]),
    flvTag(TAG_AUDIO, 0, [audioConfig]),
    ...tags.map(({ tag }) => tag),
  ];
  return new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
}

function take(
  packets: readonly ClipPacket[],
  kind: ClipPacket["kind"],
  count: number,
): ClipPacket[] {
  const taken = packets.filter((packet) => packet.kind === kind).slice(0, count);
  if (taken.length < count) throw new Error(`Cannot encode: ${taken.length} ${kind} frames came`);
  return taken;
}
