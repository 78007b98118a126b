/** FFmpeg as a publisher: a clip's packets through FFmpeg's own muxer and protocol, without re-encoding. */
import { FormatContext, Packet, Rational } from "node-av/lib";
import { type Clip, type ClipPacket, type ClipTrack, codecParameters } from "./clip.ts";
import { check, NativeCalls } from "./native.ts";

/** Options of {@linkcode publish}. */
export interface PublishOptions {
  /** FFmpeg's muxer. Default: by the URL (`flv`, `mpegts` for `.ts` and `srt:`, `rtsp`, `whip` …). */
  readonly format?: string;
  /** How much faster than the clip's clock to send; `Infinity` for at once. Default: 1. */
  readonly speed?: number;
  /** How often to send the clip, its timestamps going on. Default: 1. */
  readonly loops?: number;
  /** Added to every timestamp, in microseconds. Default: 0. */
  readonly offsetUs?: number;
  /** Changes each packet on its way, or drops it with `undefined`. */
  readonly transform?: (packet: ClipPacket) => ClipPacket | undefined;
  /** The bound on each single step: connecting, a write, the end. Default: 10 000. */
  readonly timeoutMs?: number;
  /** Ends the publisher as {@linkcode Publisher.kill} does. */
  readonly signal?: AbortSignal;
  /** Options of FFmpeg's muxer and protocol, such as `rtmp_enhanced_codecs`. */
  readonly options?: Readonly<Record<string, string | number>>;
}

/** A publisher under way. */
export interface Publisher extends AsyncDisposable {
  /** Resolves once the server has taken the publisher, rejects if it has not. */
  readonly started: Promise<void>;
  /** Resolves at the orderly end, after `stop()` or `kill()`; rejects if the connection fails. */
  readonly done: Promise<void>;
  /** When each packet was handed to FFmpeg, on the clock of `performance.now()`. */
  readonly sentAtMs: readonly number[];
  /** Ends the stream as an encoder does that is switched off (RTMP: FCUnpublish, deleteStream). */
  stop(): Promise<void>;
  /** Closes the socket with nothing said, as an encoder does that dies. */
  kill(): Promise<void>;
}

/** Publishes a clip to a URL or into a file. */
export function publish(url: string, clip: Clip, options: PublishOptions = {}): Publisher {
  return new ClipPublisher(url, clip, options);
}

const US = new Rational(1, 1_000_000);

class ClipPublisher implements Publisher {
  readonly started: Promise<void>;
  readonly done: Promise<void>;
  readonly sentAtMs: number[] = [];
  readonly #context = new FormatContext();
  readonly #calls = new NativeCalls(() => this.#context.interrupt());
  readonly #stopping = new AbortController();
  readonly #options: PublishOptions;
  readonly #url: string;
  readonly #timeoutMs: number;
  #isKilled = false;
  #isOpen = false;

  constructor(url: string, clip: Clip, options: PublishOptions) {
    this.#url = url;
    this.#options = options;
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    const started = Promise.withResolvers<void>();
    this.started = started.promise;
    this.done = this.#run(clip, started);
    // A test may await either or none of the two.
    this.started.catch(() => {});
    this.done.catch(() => {});
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.done;
  }

  async kill(): Promise<void> {
    this.#isKilled = true;
    this.#stopping.abort();
    this.#calls.interrupt(new DOMException("The publisher was killed", "AbortError"));
    await this.done;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill().catch(() => {});
  }

  async #run(clip: Clip, started: PromiseWithResolvers<void>): Promise<void> {
    const { signal } = this.#options;
    const abort = () => void this.kill().catch(() => {});
    signal?.addEventListener("abort", abort, { once: true });
    try {
      signal?.throwIfAborted();
      const streams = await this.#open(clip);
      started.resolve();
      await this.#send(clip, streams);
      check(await this.#call(() => this.#end(), "end"), `end ${this.#url}`);
    } catch (error) {
      started.reject(error);
      if (!this.#isKilled) throw error;
    } finally {
      signal?.removeEventListener("abort", abort);
      await this.#calls.finish(() => this.#free());
    }
  }

  /** The trailer alone closes the output of a "tee"; in an interrupted context it sends nothing. */
  #end(): Promise<number> {
    this.#isOpen = false;
    return this.#context.writeTrailer();
  }

  async #free(): Promise<void> {
    this.#context.interrupt();
    if (this.#isOpen) await this.#end();
    this.#context.freeContext();
  }

  async #open(clip: Clip): Promise<Map<ClipPacket["kind"], number>> {
    const context = this.#context;
    // Only FFmpeg's "tee" muxer opens its output with options and with the interrupt callback of the context.
    check(context.allocOutputContext2(null, "tee", this.#target()), `publish to ${this.#url}`);
    const streams = new Map<ClipPacket["kind"], number>();
    for (const track of [clip.video, clip.audio]) {
      if (track) streams.set(track.kind, this.#addStream(track));
    }
    check(await this.#call(() => context.openOutput(), "open"), `open ${this.#url}`);
    check(await this.#call(() => context.writeHeader(), "connect"), `publish to ${this.#url}`);
    this.#isOpen = true;
    return streams;
  }

  #addStream(track: ClipTrack): number {
    const stream = this.#context.newStream();
    using parameters = codecParameters(track);
    check(parameters.copy(stream.codecpar), "describe a track");
    stream.timeBase = US;
    if (track.kind === "video") stream.avgFrameRate = new Rational(track.fps, 1);
    return stream.index;
  }

  async #send(clip: Clip, streams: ReadonlyMap<ClipPacket["kind"], number>): Promise<void> {
    const { loops = 1, speed = 1, offsetUs = 0, transform } = this.#options;
    using packet = new Packet();
    packet.alloc();
    const beginMs = performance.now();
    const firstUs = clip.packets[0]?.dtsUs ?? 0;
    for (let loop = 0; loop < loops; loop++) {
      const shiftUs = offsetUs + loop * clip.durationUs;
      for (const source of clip.packets) {
        const clockUs = loop * clip.durationUs + source.dtsUs - firstUs;
        await this.#waitUntil(beginMs + clockUs / 1_000 / speed);
        if (this.#stopping.signal.aborted) return;
        const next = transform ? transform(source) : source;
        if (!next) continue;
        fill(packet, next, { stream: streams.get(next.kind) ?? 0, shiftUs });
        this.sentAtMs.push(performance.now());
        const code = await this.#call(() => this.#context.writeFrame(packet), "write");
        check(code, `write to ${this.#url}`);
      }
    }
  }

  async #waitUntil(timeMs: number): Promise<void> {
    const { signal } = this.#stopping;
    const waitMs = timeMs - performance.now();
    if (waitMs <= 0 || signal.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, waitMs);
    const abort = () => resolve();
    signal.addEventListener("abort", abort, { once: true });
    await promise;
    clearTimeout(timer);
    signal.removeEventListener("abort", abort);
  }

  #call(call: () => Promise<number>, doing: string): Promise<number> {
    return this.#calls.run(call, this.#timeoutMs, `${doing} ${this.#url}`);
  }

  #target(): string {
    const options = {
      f: this.#options.format ?? muxerOf(this.#url),
      flush_packets: 1,
      ...this.#options.options,
    };
    const list = Object.entries(options).map(([key, value]) =>
      `${key}=${String(value).replace(/[\\':\]]/g, "\\$&")}`
    );
    return `[${list.join(":")}]${this.#url}`.replace(/[\\'|]/g, "\\$&");
  }
}

function fill(
  packet: Packet,
  source: ClipPacket,
  at: { readonly stream: number; readonly shiftUs: number },
): void {
  packet.unref();
  packet.data = Buffer.from(source.data);
  packet.streamIndex = at.stream;
  packet.timeBase = US;
  packet.pts = BigInt(source.ptsUs + at.shiftUs);
  packet.dts = BigInt(source.dtsUs + at.shiftUs);
  packet.duration = BigInt(source.durationUs);
  packet.isKeyframe = source.key;
}

function muxerOf(url: string): string {
  const [, scheme = ""] = /^([a-z]+):\/\//.exec(url) ?? [];
  if (scheme === "rtsp") return "rtsp";
  if (scheme === "srt" || scheme === "udp") return "mpegts";
  const path = url.replace(/[?#].*$/, "");
  if (/\/whip\//.test(path)) return "whip";
  if (path.endsWith(".ts")) return "mpegts";
  if (path.endsWith(".mp4")) return "mp4";
  return "flv";
}
