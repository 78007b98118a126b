/** RTP into an engine and what comes out of its tracks, on a clock that only the test moves. */

import { assert, assertEquals } from "@std/assert";
import type { AudioConfig, VideoConfig } from "../../src/codecs/config.ts";
import { splitLengthPrefixed } from "../../src/codecs/nal.ts";
import { Engine } from "../../src/engine.ts";
import type { MediaFrame } from "../../src/frame.ts";
import type { EngineConfig } from "../../src/options.ts";
import type { Publisher } from "../../src/publisher.ts";
import type { RtpFormat } from "../../src/rtp/format.ts";
import { parseRtp } from "../../src/rtp/packet.ts";
import { parseSdp } from "../../src/rtp/sdp.ts";
import { RtpReceiver, type RtpReceiverInit } from "../../src/rtp_receiver.ts";
import { canonicalFrame, hashOf, type RtpFixture } from "./rtp_fixtures.ts";

/** Frames of one track as they come. */
interface Collected {
  readonly frames: MediaFrame[];
  readonly cursor: { next(): MediaFrame | undefined };
}

/** A receiver with a publisher of an engine of its own. */
export class Receiving implements AsyncDisposable {
  /** The time; a test moves it. */
  nowMs = 1000;
  /** What is tested. */
  readonly receiver: RtpReceiver;
  /** Whom it publishes for. */
  readonly publisher: Publisher;
  /** The engine. */
  readonly engine: Engine;
  readonly #tracks = new Map<string, Collected>();

  private constructor(engine: Engine, publisher: Publisher, init: Partial<RtpReceiverInit>) {
    this.engine = engine;
    this.publisher = publisher;
    const nowMs = () => this.nowMs;
    this.receiver = new RtpReceiver(publisher, { tracks: [], reorder: true, nowMs, ...init });
    this.collect();
  }

  /** Publishes as `init` says. */
  static async start(
    init: Partial<RtpReceiverInit>,
    config: EngineConfig = {},
  ): Promise<Receiving> {
    let receiving: Receiving | undefined = undefined;
    const nowMs = (): number => receiving?.nowMs ?? 1000;
    const engine = new Engine(config, { nowMs });
    const publisher = await engine.publish("live/a", { type: "Test" });
    return receiving = new Receiving(engine, publisher, init);
  }

  /** Pushes a packet of `track` at `atMs`, or now. */
  push(packet: Uint8Array, track = 0, atMs = this.nowMs): void {
    this.nowMs = Math.max(this.nowMs, atMs);
    this.receiver.push(track, packet);
    this.collect();
  }

  /** All frames so far of the track called `name`. */
  frames(name = this.publisher.stream.tracks[0]?.name ?? ""): readonly MediaFrame[] {
    this.collect();
    return this.#tracks.get(name)?.frames ?? [];
  }

  /** Takes the frames that have come, before the tracks forget them. */
  collect(): void {
    for (const track of this.publisher.stream.tracks) {
      let collected = this.#tracks.get(track.name);
      if (collected === undefined) {
        const cursor = track.cursor({ mode: "oldest" }) as { next(): MediaFrame | undefined };
        this.#tracks.set(track.name, collected = { frames: [], cursor });
      }
      const { frames, cursor } = collected;
      for (let frame = cursor.next(); frame; frame = cursor.next()) frames.push(frame);
    }
  }

  /** Ends the receiver: all frames of the first track. */
  end(): readonly MediaFrame[] {
    this.receiver.end();
    return this.frames();
  }

  /** Ends receiver and engine. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.receiver.end();
    await this.engine.close();
  }
}

/** The one format that a fixture's session description announces. */
export function formatIn(fixture: RtpFixture): RtpFormat {
  const format = parseSdp(fixture.sdp).media[0]?.formats[0];
  if (format === undefined) throw new Error(`Cannot find a format: ${fixture.name} has none`);
  return format;
}

/** The frames of `packets` of a fixture; each comes when its timestamp, or one before it, is due. */
export async function received(
  fixture: RtpFixture,
  packets: readonly Uint8Array[] = fixture.packets,
): Promise<{ frames: readonly MediaFrame[]; receiver: RtpReceiver }> {
  const format = formatIn(fixture);
  await using receiving = await Receiving.start({ tracks: [[format]] });
  const origin = packets[0] ? parseRtp(packets[0]).timestamp : 0;
  for (const packet of packets) {
    const ticks = (parseRtp(packet).timestamp - origin) | 0;
    receiving.push(packet, 0, 1000 + ticks * 1000 / format.clockRate);
  }
  return { frames: receiving.end(), receiver: receiving.receiver };
}

/** A frame as a fixture expects it: the hash of its canonical form. */
export function hashOfFrame(encoding: string, frame: MediaFrame): string {
  const nalus = frame.config.fourcc === "avc1" || frame.config.fourcc === "hvc1";
  const parts = nalus ? splitLengthPrefixed(frame.data) : [frame.data];
  return hashOf(canonicalFrame(encoding, parts));
}

/** Asserts that `frames` are all that a fixture expects, with their times. */
export function assertExpected(fixture: RtpFixture, frames: readonly MediaFrame[]): void {
  const { encoding, clockRate, tolerance, units } = fixture.expected;
  assertEquals(
    frames.map((frame) => `${frame.key} ${hashOfFrame(encoding, frame)}`),
    units.map(({ key, hash }) => `${key} ${hash}`),
  );
  const firstUs = frames[0]?.pts ?? 0;
  const mostUs = 1 + tolerance * 1e6 / clockRate;
  units.forEach(({ timestamp }, index) => {
    const us = (frames[index]?.pts ?? NaN) - firstUs;
    const offUs = us - timestamp * 1e6 / clockRate;
    assert(Math.abs(offUs) <= mostUs, `${fixture.name}: frame ${index} is ${offUs} µs off`);
  });
  let last = -Infinity;
  for (const { dts, pts } of frames) {
    assert(dts >= last && dts <= pts, `${fixture.name}: ${last} ${dts} ${pts}`);
    last = dts;
  }
}

/** The configurations of a stream's tracks, as a mux gets them. */
export function tracksOf(
  ...frames: readonly (MediaFrame | undefined)[]
): { video: VideoConfig | undefined; audio: AudioConfig | undefined } {
  const configs = frames.map((frame) => frame?.config);
  const video = configs.find((config) => config?.kind === "video");
  const audio = configs.find((config) => config?.kind === "audio");
  return {
    video: video?.kind === "video" ? video : undefined,
    audio: audio?.kind === "audio" ? audio : undefined,
  };
}
