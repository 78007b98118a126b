/**
 * FFmpeg as an encoder at work, in a process of its own so that nothing holds up its clock: pictures are
 * drawn when they are due, encoded at once by x264 and sent over RTMP with sound.
 *
 * `deno run -A tests/support/browser_source.ts URL` publishes until its standard input ends.
 */

import { AV_CODEC_FLAG_GLOBAL_HEADER, AV_PIX_FMT_YUV420P } from "node-av/constants";
import type { FFEncoderCodec } from "node-av/constants";
import { Codec, CodecContext, Dictionary, Frame, Packet, Rational } from "node-av/lib";
import { fileURLToPath } from "node:url";
import { drawPicture, LAYOUT } from "./browser_picture.ts";
import { type Clip, type ClipOptions, type ClipPacket, makeClip, publish } from "./ffmpeg.ts";
import { check } from "./ffmpeg/native.ts";

/** Pictures a second. */
export const FPS = 25;
/** Pictures from keyframe to keyframe: a second of them. */
const GOP = FPS;
/** 8 s of AAC at 48 kHz are whole frames, and whole GOPs. */
const LOOP_SECONDS = 8;
const TIME_MODULO = 2 ** 24;
/** Longest that the start of a source, or its end, may take. */
const PATIENCE_MS = 15_000;

const { width, height } = LAYOUT;
const VIDEO: ClipOptions = {
  width,
  height,
  fps: FPS,
  gop: GOP,
  videoBitrate: 200_000,
  videoEncoderOptions: { tune: "zerolatency" },
};

/** A process that publishes. */
export class Source implements AsyncDisposable {
  readonly #url: string;
  #child: Deno.ChildProcess;

  private constructor(url: string) {
    this.#url = url;
    this.#child = spawn(url);
  }

  /** Starts one and waits until the server has taken it. */
  static async publish(url: string): Promise<Source> {
    const source = new Source(url);
    try {
      await source.#started();
      return source;
    } catch (error) {
      await source[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Publishes anew after a loss of the connection in which nothing is said: the process is killed. */
  async reconnect(): Promise<void> {
    await this[Symbol.asyncDispose]();
    this.#child = spawn(this.#url);
    await this.#started();
  }

  /** Ends the stream in good order. */
  async stop(): Promise<void> {
    await this.#within(async () => {
      await this.#child.stdin.close();
      await this.#child.status;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#child.status;
    await this.#child.stdin.close().catch(() => {});
  }

  async #started(): Promise<void> {
    await this.#within(async () => {
      const reader = this.#child.stdout.getReader();
      const { done } = await reader.read();
      await reader.cancel();
      if (done) throw new Error(`Cannot publish to ${this.#url}: the source has ended`);
    });
  }

  /** Waits for `act`, but no longer than there is patience: then the process is killed. */
  async #within(act: () => Promise<void>): Promise<void> {
    const child = this.#child;
    const timer = setTimeout(() => child.kill("SIGKILL"), PATIENCE_MS);
    try {
      await act();
    } finally {
      clearTimeout(timer);
    }
  }
}

function spawn(url: string): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-prompt", fileURLToPath(import.meta.url), url],
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
    env: { NO_COLOR: "1" },
  }).spawn();
}

/** Encodes pictures one by one as they are drawn. */
class Camera implements Disposable {
  /** Its parameter sets in Annex B, as all that it encodes; FFmpeg's muxer makes avcC of it. */
  readonly extradata: Uint8Array<ArrayBuffer>;
  readonly #context: CodecContext;
  readonly #packet = new Packet();
  #counter: number | undefined;
  #frames = 0n;

  private constructor(context: CodecContext, extradata: Uint8Array<ArrayBuffer>) {
    this.#context = context;
    this.extradata = extradata;
    this.#packet.alloc();
  }

  static async open(): Promise<Camera> {
    const codec = Codec.findEncoderByName("libx264" as FFEncoderCodec);
    if (!codec) throw new Error("Cannot encode: this FFmpeg has no libx264");
    const context = new CodecContext();
    context.allocContext3(codec);
    context.width = width;
    context.height = height;
    context.pixelFormat = AV_PIX_FMT_YUV420P;
    context.timeBase = new Rational(1, FPS);
    context.framerate = new Rational(FPS, 1);
    context.gopSize = GOP;
    context.maxBFrames = 0;
    context.threadCount = 1;
    context.bitRate = 200_000n;
    context.setFlags(AV_CODEC_FLAG_GLOBAL_HEADER);
    using options = Dictionary.fromObject({
      preset: "ultrafast",
      tune: "zerolatency",
      "x264-params": `keyint=${GOP}:min-keyint=${GOP}:scenecut=0`,
    });
    check(await context.open2(codec, options), "open the encoder");
    const { extraData } = context;
    if (!extraData) throw new Error("Cannot publish: the encoder has no parameter sets");
    return new Camera(context, new Uint8Array(extraData));
  }

  /** Draws the picture of now and returns it as `packet`. */
  shoot(packet: ClipPacket): ClipPacket {
    const nowMs = Date.now();
    // It goes on where a source before it has been.
    const counter = this.#counter ?? Math.floor(nowMs * FPS / 1000) & 0xffff;
    this.#counter = (counter + 1) & 0xffff;
    const pixels = drawPicture({ counter, drawnMs: nowMs % TIME_MODULO });
    using frame = Frame.fromVideoBuffer(Buffer.from(pixels), {
      width,
      height,
      format: AV_PIX_FMT_YUV420P,
      pts: this.#frames++,
    });
    check(this.#context.sendFrameSync(frame), "encode");
    check(this.#context.receivePacketSync(this.#packet), "encode without delay");
    const data = new Uint8Array(this.#packet.data ?? []);
    const { isKeyframe: key } = this.#packet;
    this.#packet.unref();
    return { ...packet, key, data };
  }

  [Symbol.dispose](): void {
    this.#packet.free();
    this.#context.freeContext();
  }
}

/** A loop of sound, and places for pictures. */
async function makeLoop(extradata: Uint8Array<ArrayBuffer>): Promise<Clip> {
  const sound = await makeClip({ video: "none", seconds: LOOP_SECONDS });
  const still = await makeClip({ ...VIDEO, seconds: 1 });
  const durationUs = LOOP_SECONDS * 1_000_000;
  const count = LOOP_SECONDS * FPS;
  const pictures = Array.from({ length: count }, (_, index): ClipPacket => {
    const atUs = Math.round(index * 1_000_000 / FPS);
    const data = new Uint8Array();
    return { kind: "video", dtsUs: atUs, ptsUs: atUs, durationUs: 40_000, key: false, data };
  });
  const packets = [...sound.packets.filter(({ dtsUs }) => dtsUs < durationUs), ...pictures];
  packets.sort((a, b) => a.dtsUs - b.dtsUs);
  return {
    video: still.video && { ...still.video, extradata },
    audio: sound.audio,
    packets,
    durationUs,
  };
}

if (import.meta.main) {
  const [url = ""] = Deno.args;
  using camera = await Camera.open();
  const publisher = publish(url, await makeLoop(camera.extradata), {
    loops: Infinity,
    transform: (packet) => packet.kind === "video" ? camera.shoot(packet) : packet,
  });
  await publisher.started;
  await Deno.stdout.write(new TextEncoder().encode("published\n"));
  const stopping = (async () => {
    for await (const _ of Deno.stdin.readable) { /* Nothing is said to it. */ }
    await publisher.stop();
  })();
  await Promise.race([publisher.done, stopping]);
  Deno.exit(0);
}
