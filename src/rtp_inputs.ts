/** Frames out of RTP on their way into the inputs of a publisher. */

import type { VideoConfig } from "./codecs/config.ts";
import { mp3Config } from "./codecs/mp3.ts";
import type { AudioInput, VideoInput } from "./ingest.ts";
import { configOfKey, isKey, isNalu } from "./keyframe.ts";
import { DecodeTimes } from "./rtp/decode_time.ts";
import type { RtpFormat } from "./rtp/format.ts";
import { LatmDepacketizer } from "./rtp/latm.ts";
import { configOf, fourccOf } from "./rtp/media_format.ts";
import type { RtpUnit } from "./rtp/payload.ts";
import type { RtpStage } from "./rtp/source.ts";

/** Types of the NAL units that make a configuration (ITU-T H.264 table 7-1, H.265 table 7-1). */
const H264_SETS: ReadonlySet<number> = new Set([7, 8]);
const H265_SETS: ReadonlySet<number> = new Set([32, 33, 34]);

/** How long a keyframe may take before it is asked for again: the time of a slow network, and more. */
const KEYFRAME_WAIT_MS = 1000;

/** A frame that is a view on a buffer of over so many times its size is copied out of it. */
const MAX_SLACK = 2;

const NOTHING: Uint8Array = new Uint8Array();

/** What takes the frames of one track. */
export interface RtpInput {
  /** Whether a decoder could be set up. */
  readonly live: boolean;
  /** Takes over what `format` says, before the first frame of it. */
  use(format: RtpFormat): void;
  /** Says that times to come have been moved by `us` against those so far. */
  moved(us: number): void;
  /** Says that frames to come may refer to some that never came. */
  lose(nowMs: number): void;
  /**
   * Takes a frame that is presented at `ptsUs` and came at `nowMs`.
   *
   * @throws {InvalidDataError} If it is malformed.
   */
  push(unit: RtpUnit, from: RtpStage, at: { readonly ptsUs: number; readonly nowMs: number }): void;
}

/** Takes video. */
export class RtpVideoInput implements RtpInput {
  readonly #input: VideoInput;
  readonly #onKeyframeNeeded: () => void;
  readonly #times = new DecodeTimes();
  #fourcc = "";
  #needsKey = true;
  #askedMs = -Infinity;

  /** Over `input`. */
  constructor(input: VideoInput, onKeyframeNeeded: () => void) {
    this.#input = input;
    this.#onKeyframeNeeded = onKeyframeNeeded;
  }

  /** Whether a decoder could be set up. */
  get live(): boolean {
    return this.#config !== undefined;
  }

  /** Takes over what `format` says, before the first frame of it. */
  use(format: RtpFormat): void {
    const fourcc = fourccOf(format) ?? "";
    const config = configOf(format);
    if (fourcc !== this.#fourcc) this.#skipToKey();
    this.#fourcc = fourcc;
    if (isNalu(fourcc)) this.#input.naluCodec = fourcc;
    if (config?.kind === "video") this.#input.configure(config);
  }

  /** Says that times to come have been moved by `us` against those so far. */
  moved(us: number): void {
    this.#input.moved(us);
  }

  /** Drops frames until the next keyframe. */
  lose(nowMs: number): void {
    this.#skipToKey();
    this.#ask(nowMs);
  }

  /**
   * Takes a frame that is presented at `ptsUs`.
   *
   * @throws {InvalidDataError} If it is malformed; those up to the next keyframe are dropped, too.
   */
  push(
    { parts }: RtpUnit,
    _from: RtpStage,
    { ptsUs, nowMs }: { readonly ptsUs: number; readonly nowMs: number },
  ): void {
    try {
      if (isNalu(this.#fourcc)) this.#pushNalus(parts, this.#fourcc, { ptsUs, nowMs });
      else this.#pushFrame(parts[0] ?? NOTHING, { ptsUs, nowMs });
    } catch (error) {
      this.lose(nowMs);
      throw error;
    }
  }

  /** The configuration in force, if it is one of the codec that comes. */
  get #config(): VideoConfig | undefined {
    const { config } = this.#input;
    return config?.fourcc === this.#fourcc ? config : undefined;
  }

  #pushNalus(
    nalus: readonly Uint8Array[],
    fourcc: "avc1" | "hvc1",
    { ptsUs, nowMs }: { readonly ptsUs: number; readonly nowMs: number },
  ): void {
    const sets = nalus.filter((nalu) => isSet(nalu, fourcc));
    // The configuration comes first, as the decode time depends on it.
    if (sets.length > 0) this.#input.pushNalu(0, 0, ...sets);
    const dtsUs = this.#decodeTime(ptsUs);
    if (this.#needsKey) this.#look(isKey(fourcc, NOTHING, nalus), nowMs);
    if (this.#config !== undefined) this.#input.pushNalu(dtsUs, ptsUs - dtsUs, ...nalus);
  }

  #pushFrame(
    frame: Uint8Array,
    { ptsUs, nowMs }: { readonly ptsUs: number; readonly nowMs: number },
  ): void {
    const key = isKey(this.#fourcc, frame);
    if (key && this.#config === undefined) {
      const config = configOfKey(this.#fourcc, frame, undefined);
      if (config !== undefined) this.#input.configure(config);
    }
    const dtsUs = this.#decodeTime(ptsUs);
    if (this.#needsKey) this.#look(key, nowMs);
    if (this.#config === undefined) return;
    this.#input.push({ dtsUs, ctsUs: ptsUs - dtsUs, key, data: owned(frame) });
  }

  #decodeTime(ptsUs: number): number {
    const config = this.#config;
    if (config !== undefined) this.#times.configure(config);
    return this.#times.push(ptsUs);
  }

  #skipToKey(): void {
    this.#needsKey = true;
    this.#input.skipToKey();
  }

  /** Sees whether a frame is the keyframe that was waited for. */
  #look(key: boolean, nowMs: number): void {
    if (key && this.#config !== undefined) this.#needsKey = false;
    else this.#ask(nowMs);
  }

  #ask(nowMs: number): void {
    if (nowMs - this.#askedMs < KEYFRAME_WAIT_MS) return;
    this.#askedMs = nowMs;
    this.#onKeyframeNeeded();
  }
}

/** Takes audio. */
export class RtpAudioInput implements RtpInput {
  readonly #input: AudioInput;
  #fourcc = "";

  /** Over `input`. */
  constructor(input: AudioInput) {
    this.#input = input;
  }

  /** Whether a decoder could be set up. */
  get live(): boolean {
    return this.#isConfigured;
  }

  /** Takes over what `format` says, before the first frame of it. */
  use(format: RtpFormat): void {
    const config = configOf(format);
    this.#fourcc = fourccOf(format) ?? "";
    if (config?.kind === "audio") this.#input.configure(config);
  }

  /** Says that times to come have been moved by `us` against those so far. */
  moved(us: number): void {
    this.#input.moved(us);
  }

  /** Does nothing: each frame can be decoded without those before. */
  lose(): void {}

  /**
   * Takes a frame that is presented at `ptsUs`.
   *
   * @throws {InvalidDataError} If it is MPEG audio and no MP3.
   */
  push(
    { parts: [data = NOTHING] }: RtpUnit,
    { depacketizer }: RtpStage,
    { ptsUs }: { readonly ptsUs: number },
  ): void {
    if (depacketizer instanceof LatmDepacketizer) {
      const { config } = depacketizer;
      if (config !== undefined) this.#input.configure(config);
    } else if (this.#fourcc === ".mp3") {
      this.#input.configure(mp3Config(data));
    }
    if (this.#isConfigured) this.#input.push({ dtsUs: ptsUs, data: owned(data) });
  }

  get #isConfigured(): boolean {
    return this.#input.config?.fourcc === this.#fourcc;
  }
}

function isSet(nalu: Uint8Array, fourcc: "avc1" | "hvc1"): boolean {
  const header = nalu[0] ?? 0;
  return fourcc === "avc1" ? H264_SETS.has(header & 31) : H265_SETS.has(header >> 1 & 63);
}

/** The same bytes, not as a view that keeps a buffer for many packets in memory. */
function owned(data: Uint8Array): Uint8Array {
  return data.buffer.byteLength > MAX_SLACK * data.length ? data.slice() : data;
}
