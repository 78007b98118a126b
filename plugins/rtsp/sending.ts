/** A stream on its way to a player or to another server. */

import type { AudioConfig, VideoConfig } from "../../src/codecs/config.ts";
import type { FormatFactory, FormatTracks } from "../../src/mux.ts";
import { type Pump, pump } from "../../src/readable.ts";
import { firstOf, type RtpStart, splitInterleaved } from "../../src/rtp/interleaved.ts";
import { SdesType, serializeRtcp } from "../../src/rtp/rtcp.ts";
import type { RtpFormatOptions } from "../../src/rtp_format.ts";
import type { Stream } from "../../src/stream.ts";
import type { Subscriber } from "../../src/subscriber.ts";
import type { Connection } from "../connection.ts";
import type { Links } from "./links.ts";

/** The tracks of a stream in RTSP, by their numbers. */
export const TRACK_KINDS = ["video", "audio"] as const;

/**
 * Packets by UDP that go out at a time, and how long the next ones wait then: a keyframe or the
 * start of a stream in one go would be more than receivers' systems keep. About 140 Mbit/s.
 */
const BURST_PACKETS = 64;
const BURST_MS = 5;

/** How long by UDP the goodbye comes behind the last packets: a player that is busy reads them first. */
const UDP_GOODBYE_MS = 500;

/** What a {@linkcode Sending} works with and whom it tells. */
export interface SendingInit {
  /** Who reads the stream. */
  readonly subscriber: Subscriber;
  /** The ways of the tracks, which are those that are sent. */
  readonly links: Links;
  /** Where the bytes of interleaved packets go. */
  readonly connection: Connection;
  /** The formats by channels. */
  readonly formats: (options: RtpFormatOptions) => FormatFactory;
  /** Milliseconds for which frames are gathered. */
  readonly flushMs: number;
  /** Milliseconds by which the peer may be late; 0: as the ring has. */
  readonly maxLagMs: number;
  /** Called before packets go out for the first time, and after each pause. */
  readonly onStart: (first: ReadonlyMap<number, RtpStart>) => void;
}

/** The tracks of a stream that a peer is sent. */
export class Sending {
  readonly #init: SendingInit;
  readonly #sources = new Map<number, RtpStart>();
  #pump: Pump | undefined;
  #over: PromiseWithResolvers<void> | undefined;
  #farewell: PromiseWithResolvers<void> | undefined;
  #paused = false;
  #starting = true;
  /** A batch that waits for the peer to go on. */
  #held: Uint8Array | undefined;
  /** Packets of a batch that go out by UDP, and how many of them have. */
  #queue: readonly { readonly channel: number; readonly packet: Uint8Array }[] = [];
  #sent = 0;
  #burst = 0;
  #burstEndMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether the peer has not taken a batch yet, after which the next one goes out. */
  #writing = false;
  #stopped = false;

  /** Not started yet. */
  constructor(init: SendingInit) {
    this.#init = init;
  }

  /**
   * Sends until the stream ends or it is stopped.
   *
   * @throws {Error} If the peer can't be sent what the stream has become, or its subscriber is ended.
   */
  async run(): Promise<void> {
    await this.#begin();
    await this.#over?.promise;
  }

  /** Begins to send. The stream is passed by and not kept. */
  async #begin(): Promise<void> {
    const { subscriber, links, formats, flushMs, maxLagMs } = this.#init;
    const [video, audio] = TRACK_KINDS.map((_, track) => links.channels(track));
    const bytes = await subscriber.mux(formats({ video, audio }), {
      flushMs,
      video: video !== undefined,
      audio: audio !== undefined,
      ...(maxLagMs > 0 && { maxLagMs }),
    });
    if (this.#stopped) return await bytes.cancel();
    this.#over = Promise.withResolvers();
    this.#pump = pump(bytes, {
      borrows: links.carrier === "tcp",
      write: (batch) => this.#take(batch),
      close: this.#over.resolve,
      abort: this.#over.reject,
    });
  }

  /** Stops sending, or goes on where it stopped, or from the newest keyframe if that is gone. */
  pause(paused: boolean): void {
    if (this.#paused === paused) return;
    this.#paused = paused;
    this.#starting = true;
    if (!paused) this.#go();
  }

  /**
   * Says goodbye for the tracks, by UDP once the peer has had the time to read their last packets,
   * which it would overtake there. Settles when it is said.
   */
  async goodbye(): Promise<void> {
    if (this.#init.links.carrier === "udp" && !this.#stopped) {
      this.#farewell = Promise.withResolvers();
      this.#timer = setTimeout(this.#farewell.resolve, UDP_GOODBYE_MS);
      await this.#farewell.promise;
    }
    this.#sayGoodbye();
  }

  /** Ends it without a word to the peer but a goodbye that is due. Idempotent. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#pump?.cancel();
    this.#over?.resolve();
    if (this.#farewell) this.#sayGoodbye();
    this.#farewell?.resolve();
  }

  /** Takes a batch; false if the next one has to wait. */
  #take(batch: Uint8Array): boolean {
    if (this.#paused || this.#writing) {
      this.#held = batch;
      return false;
    }
    if (this.#starting) this.#start(batch);
    const { links, connection } = this.#init;
    if (links.carrier === "udp") {
      this.#queue = [...splitInterleaved(batch)];
      this.#sent = 0;
      return this.#sendQueue();
    }
    if (connection.write(batch)) return true;
    this.#writing = true;
    connection.whenReady(this.#onReady);
    return false;
  }

  /** Says goodbye (RFC 3550 6.1, 6.6), once. */
  #sayGoodbye(): void {
    for (const [track, { ssrc, cname }] of this.#sources) {
      const items = cname === undefined ? [] : [{ type: SdesType.cname, text: cname }];
      const goodbye = serializeRtcp([
        { type: "rr", ssrc, reports: [] },
        { type: "sdes", chunks: [{ ssrc, items }] },
        { type: "bye", ssrcs: [ssrc] },
      ]);
      this.#init.links.send(track, "rtcp", goodbye);
    }
    this.#sources.clear();
  }

  #start(batch: Uint8Array): void {
    const { links, onStart } = this.#init;
    this.#starting = false;
    const firsts = new Map<number, RtpStart>();
    for (const track of links.tracks) {
      const channels = links.channels(track);
      const first = channels && firstOf(batch, channels);
      if (first === undefined) continue;
      firsts.set(track, first);
      this.#sources.set(track, first);
    }
    onStart(firsts);
  }

  /** Sends what is left of a batch by UDP, as much as may go at a time; whether that was all. */
  #sendQueue(): boolean {
    const nowMs = performance.now();
    if (nowMs >= this.#burstEndMs) {
      this.#burst = 0;
      this.#burstEndMs = nowMs + BURST_MS;
    }
    for (; this.#sent < this.#queue.length; this.#sent++) {
      const next = this.#queue[this.#sent];
      if (this.#burst === BURST_PACKETS) {
        this.#writing = true;
        this.#timer = setTimeout(() => {
          if (this.#sendQueue()) this.#onReady();
        }, Math.max(1, this.#burstEndMs - nowMs));
        return false;
      }
      this.#burst++;
      if (next) this.#init.links.sendFrom(next.channel, next.packet);
    }
    this.#queue = [];
    return true;
  }

  readonly #onReady = () => {
    this.#writing = false;
    this.#go();
  };

  /** Goes on, if nothing is in the way. */
  #go(): void {
    if (this.#paused || this.#writing || this.#stopped) return;
    const held = this.#held;
    this.#held = undefined;
    if (held === undefined || this.#take(held)) this.#pump?.resume();
  }
}

/** The configurations of what `stream` has now. */
export function tracksOf(stream: Stream): FormatTracks {
  const configOf = <C extends VideoConfig | AudioConfig>(
    tracks: readonly { readonly config?: C | undefined }[],
  ) => tracks.find(({ config }) => config !== undefined)?.config;
  return { video: configOf(stream.videoTracks), audio: configOf(stream.audioTracks) };
}
