/** FFmpeg as a player: its own protocol and demuxer, no decoding. */
import {
  AV_NOPTS_VALUE,
  AV_PKT_DATA_NEW_EXTRADATA,
  AVERROR_EOF,
  AVMEDIA_TYPE_AUDIO,
  AVMEDIA_TYPE_VIDEO,
} from "node-av/constants";
import { avGetCodecName, Dictionary, FormatContext, InputFormat, Packet } from "node-av/lib";
import { check, NativeCalls } from "./native.ts";

/** Options of {@linkcode play}. */
export interface PlayOptions {
  /** FFmpeg's demuxer. Default: by the URL; `"auto"` lets FFmpeg guess from the bytes. */
  readonly format?: string;
  /**
   * Whether to look for stream parameters before the first packet and to parse packets, as a real player does.
   * Default: only for containers that, unlike FLV, don't say what is a keyframe.
   */
  readonly probe?: boolean;
  /** The bound on opening and on the wait for each packet. Default: 10 000. */
  readonly timeoutMs?: number;
  /** Ends the player, its read under way included, with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Options of FFmpeg's demuxer and protocol. */
  readonly options?: Readonly<Record<string, string | number>>;
}

/** An access unit as the demuxer gave it. */
export interface PlayedPacket {
  readonly kind: "video" | "audio" | "data";
  /** FFmpeg's name: `h264`, `hevc`, `av1`, `vp9`, `aac`, `opus`, `mp3`, `pcm_alaw` … */
  readonly codec: string;
  readonly dtsMs: number;
  readonly ptsMs: number;
  /** In `timeBase`. */
  readonly dts: number;
  readonly pts: number;
  readonly timeBase: { readonly num: number; readonly den: number };
  readonly key: boolean;
  readonly data: Uint8Array<ArrayBuffer>;
  /** The decoder configuration in force: avcC, hvcC, AudioSpecificConfig …; Annex B from RTP. */
  readonly extradata: Uint8Array<ArrayBuffer> | undefined;
  /** On the clock of `performance.now()`. */
  readonly receivedAtMs: number;
}

/** When {@linkcode Player.take} has enough; the first bound that is reached ends it. */
export interface TakeOptions {
  readonly packets?: number;
  readonly videoPackets?: number;
  readonly audioPackets?: number;
  /** The span of DTS from the first audio or video packet taken. */
  readonly mediaMs?: number;
  /** Ends with the packet for which it returns `true`. */
  readonly until?: (packet: PlayedPacket) => boolean;
}

/** Opens a URL or file; resolves once FFmpeg has connected and read the container's header. */
export async function play(url: string, options: PlayOptions = {}): Promise<Player> {
  const player = new Player(url, options);
  await player.open();
  return player;
}

/** Plays a URL or file to its end or until `enough`, and closes it. */
export async function playAll(
  url: string,
  options: PlayOptions & TakeOptions = {},
): Promise<PlayedPacket[]> {
  await using player = await play(url, options);
  return await player.take(options);
}

/** A player under way. */
export class Player implements AsyncIterable<PlayedPacket>, AsyncDisposable {
  /** On the clock of `performance.now()`; what has not yet come is `NaN`. */
  readonly timing = {
    startedAtMs: performance.now(),
    openedAtMs: NaN,
    firstPacketAtMs: NaN,
    firstVideoKeyAtMs: NaN,
  };
  readonly #context = new FormatContext();
  readonly #calls = new NativeCalls(() => this.#context.interrupt());
  readonly #packet = new Packet();
  readonly #url: string;
  readonly #options: PlayOptions;
  readonly #timeoutMs: number;
  readonly #abort = () => this.#calls.interrupt(this.#options.signal?.reason);
  #closed: Promise<void> | undefined;
  #isReading = false;

  /** Use {@linkcode play}. */
  constructor(url: string, options: PlayOptions) {
    this.#url = url;
    this.#options = options;
    this.#timeoutMs = options.timeoutMs ?? 10_000;
    this.#context.allocContext();
    this.#packet.alloc();
  }

  /** Connects and reads the container's header. */
  async open(): Promise<void> {
    const { signal } = this.#options;
    const name = this.#options.format ?? demuxerOf(this.#url);
    const probe = this.#options.probe ?? name !== "flv";
    signal?.addEventListener("abort", this.#abort, { once: true });
    try {
      signal?.throwIfAborted();
      const isRtsp = this.#url.startsWith("rtsp");
      using options = Dictionary.fromObject({
        // The demuxer's own packets: no parser that splits or joins them, no timestamps filled in. By
        // RTP come pieces that a parser has to join; those that are probed are the stream's first.
        fflags: isRtsp ? 0 : probe ? "nobuffer" : "nobuffer+nofillin+noparse",
        ...this.#options.options,
      });
      const format = name === "auto" ? null : InputFormat.findInputFormat(name);
      check(
        await this.#call(() => this.#context.openInput(this.#url, format, options), "open"),
        `open ${this.#url}`,
      );
      if (probe) {
        const code = await this.#call(() => this.#context.findStreamInfo(), "probe");
        check(code, `probe ${this.#url}`);
      }
    } catch (error) {
      await this.close();
      throw error;
    }
    this.timing.openedAtMs = performance.now();
  }

  /**
   * The next packet, or `undefined` at the orderly end.
   *
   * @throws {DOMException} `TimeoutError` if none comes in time.
   * @throws {Error} If the connection breaks.
   */
  async read(): Promise<PlayedPacket | undefined> {
    this.#isReading = true;
    try {
      while (true) {
        const code = await this.#call(() => this.#context.readFrame(this.#packet), "read");
        if (code === AVERROR_EOF) return undefined;
        check(code, `read from ${this.#url}`);
        const packet = this.#take();
        if (packet) return packet;
      }
    } finally {
      this.#isReading = false;
    }
  }

  /** The packets up to the bounds or the end; the player can go on afterwards. */
  async take(enough: TakeOptions): Promise<PlayedPacket[]> {
    const packets: PlayedPacket[] = [];
    const counts = { video: 0, audio: 0, data: 0 };
    const reached = (count: number, bound = Infinity) => count >= bound;
    while (true) {
      const packet = await this.read();
      if (!packet) return packets;
      packets.push(packet);
      counts[packet.kind]++;
      // Data, such as onStatus messages, may be outside of the stream's timeline.
      const first = packets.find(({ kind }) => kind !== "data");
      const spanMs = packet.kind === "data" || !first ? 0 : packet.dtsMs - first.dtsMs;
      if (
        reached(packets.length, enough.packets) || reached(counts.video, enough.videoPackets) ||
        reached(counts.audio, enough.audioPackets) || reached(spanMs, enough.mediaMs) ||
        enough.until?.(packet)
      ) return packets;
    }
  }

  /** Ends the player; orderly unless a read is under way (RTMP: deleteStream). */
  close(): Promise<void> {
    if (this.#isReading) this.#interrupt();
    return this.#closed ??= this.#calls.finish(async () => {
      this.#options.signal?.removeEventListener("abort", this.#abort);
      await this.#context.closeInput();
      this.#packet.free();
    });
  }

  /** Closes the socket with nothing said. */
  kill(): Promise<void> {
    this.#interrupt();
    return this.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<PlayedPacket> {
    try {
      for (let packet = await this.read(); packet; packet = await this.read()) yield packet;
    } finally {
      await this.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #interrupt(): void {
    this.#calls.interrupt(new DOMException("The player was closed", "AbortError"));
  }

  #call(call: () => Promise<number>, doing: string): Promise<number> {
    return this.#calls.run(call, this.#timeoutMs, `${doing} ${this.#url}`);
  }

  #take(): PlayedPacket | undefined {
    const packet = this.#packet;
    const stream = this.#context.streams[packet.streamIndex];
    const receivedAtMs = performance.now();
    if (!stream) return undefined;
    const { codecpar } = stream;
    const timeBase = { num: stream.timeBase.num, den: stream.timeBase.den };
    const kind = codecpar.codecType === AVMEDIA_TYPE_VIDEO
      ? "video"
      : codecpar.codecType === AVMEDIA_TYPE_AUDIO
      ? "audio"
      : "data";
    const changed = packet.getSideData(AV_PKT_DATA_NEW_EXTRADATA);
    const extradata = changed ?? codecpar.extradata;
    const dts = packet.dts === AV_NOPTS_VALUE ? NaN : Number(packet.dts);
    const pts = packet.pts === AV_NOPTS_VALUE ? NaN : Number(packet.pts);
    const ms = (ticks: number) => ticks * 1_000 * timeBase.num / timeBase.den;
    const played: PlayedPacket = {
      kind,
      codec: avGetCodecName(codecpar.codecId) ?? "unknown",
      dtsMs: ms(dts),
      ptsMs: ms(pts),
      dts,
      pts,
      timeBase,
      key: packet.isKeyframe,
      data: new Uint8Array(packet.data ?? []),
      extradata: extradata ? new Uint8Array(extradata) : undefined,
      receivedAtMs,
    };
    packet.unref();
    this.#mark(played);
    return played;
  }

  #mark({ kind, key, receivedAtMs }: PlayedPacket): void {
    const { timing } = this;
    if (Number.isNaN(timing.firstPacketAtMs)) timing.firstPacketAtMs = receivedAtMs;
    if (kind === "video" && key && Number.isNaN(timing.firstVideoKeyAtMs)) {
      timing.firstVideoKeyAtMs = receivedAtMs;
    }
  }
}

function demuxerOf(url: string): string {
  if (/^rtmps?:/.test(url)) return "flv";
  if (/^srt:/.test(url)) return "mpegts";
  const path = url.replace(/[?#].*$/, "");
  if (path.endsWith(".flv")) return "flv";
  if (path.endsWith(".ts")) return "mpegts";
  return "auto";
}
