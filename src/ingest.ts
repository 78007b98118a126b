/** Ingest: what a publisher pushes becomes frames on the stream's timeline. */

import { equalBytes } from "./bytes.ts";
import { aacConfig, splitAdts } from "./codecs/aac.ts";
import type { AudioConfig, VideoConfig } from "./codecs/config.ts";
import { audioConfigFrom, videoConfigFrom } from "./codecs/description.ts";
import { alawConfig, ulawConfig } from "./codecs/g711.ts";
import { parseAvcC } from "./codecs/h264.ts";
import { parseHvcC } from "./codecs/h265.ts";
import { mp3Config } from "./codecs/mp3.ts";
import {
  countLengthPrefixed,
  joinLengthPrefixed,
  splitAnnexB,
  splitLengthPrefixed,
} from "./codecs/nal.ts";
import { ParameterSets } from "./codecs/parameter_sets.ts";
import { type AudioPacket, parseAudioBody } from "./formats/flv_audio.ts";
import { parseVideoBody, type VideoPacket } from "./formats/flv_video.ts";
import type { AudioAccessUnit, DataUnit, Frame, VideoAccessUnit } from "./frame.ts";
import { configOfKey, isKey, isNalu } from "./keyframe.ts";
import { type Timeline, TimelineTrack, type Unwrapper } from "./time.ts";
import type { ConfigOf, TrackWriter } from "./track.ts";

/** What an input needs of the publisher that it belongs to. */
export interface InputHost {
  /** The stream's timeline. */
  readonly timeline: Timeline;
  /** Follows the 32-bit millisecond timestamps of FLV and RTMP, one for all tracks. */
  readonly flvClock: Unwrapper;
  /** Throws if the publisher has ended; false if the engine takes no frames of `kind`. */
  accepts(kind: Frame["kind"]): boolean;
  /** Told of each frame kept. */
  onFrame(): void;
  /** Told when a track has a new configuration. */
  onConfig(kind: "video" | "audio"): void;
  /** Told of each frame that was not kept, with the reason. */
  onDiscard(reason: string): void;
  /** The input of the additional track `id` of a multitrack byte stream (Enhanced RTMP v2). */
  videoInput(id: number): VideoInput;
  /** The input of the additional track `id` of a multitrack byte stream (Enhanced RTMP v2). */
  audioInput(id: number): AudioInput;
  /** A writable stream over `write`, counted as one of the publisher's sinks. */
  sink<T>(write: (chunk: T) => void): WritableStream<T>;
}

/** The body of one FLV tag or RTMP message. */
export interface ByteStreamChunk {
  /** Its 32-bit timestamp in ms, which may wrap around. */
  readonly timestampMs: number;
  /** The body without any tag or message header. */
  readonly body: Uint8Array;
}

/** A frame in the engine's own form. */
export interface AccessUnit {
  /** Decode time on the publisher's clock, in µs. */
  readonly dtsUs: number;
  /** Presentation minus decode time, in µs; may be negative. @default {0} */
  readonly ctsUs?: number;
  /** Whether a decoder can start here. @default {true for audio, found out for video} */
  readonly key?: boolean;
  /** The frame, as in {@linkcode VideoAccessUnit.data} or {@linkcode AudioAccessUnit.data}. */
  readonly data: Uint8Array;
}

/** What the inputs of all kinds do: write frames of one track at times of the publisher. */
class Input<F extends VideoAccessUnit | AudioAccessUnit> {
  readonly host: InputHost;
  readonly writer: TrackWriter<F>;
  readonly #time: TimelineTrack;
  #config: ConfigOf<F> | undefined;
  #needsKey = true;

  constructor(writer: TrackWriter<F>, host: InputHost, frameUs: number) {
    this.writer = writer;
    this.host = host;
    this.#time = new TimelineTrack(host.timeline, { frameUs, lastUs: writer.ring.newest()?.dts });
  }

  /** The configuration in force; undefined as long as this publisher has given none. */
  get config(): ConfigOf<F> | undefined {
    return this.#config;
  }

  /** Takes a configuration; the one in force stays the same object if nothing differs. */
  configure(config: ConfigOf<F> & (VideoConfig | AudioConfig)): void {
    const old = this.writer.config;
    if (old !== undefined && sameConfig(old, config)) {
      this.#config = old;
      return;
    }
    this.#config = this.writer.config = config;
    this.host.onConfig(config.kind);
  }

  write(unit: Required<AccessUnit>): void {
    const config = this.#config;
    if (config === undefined) return this.discard("before a decoder configuration");
    if (this.#needsKey && !unit.key) return this.discard("before a keyframe");
    this.#needsKey = false;
    const dts = this.#time.map(Math.round(unit.dtsUs));
    const frame = {
      kind: this.writer.track.kind,
      sequence: this.writer.ring.head,
      dts,
      pts: dts + Math.round(unit.ctsUs),
      key: unit.key,
      config,
      data: unit.data,
    } as unknown as F;
    this.writer.write(frame, unit.data.length);
    this.host.onFrame();
  }

  /** {@linkcode Input.write} of a frame that says its codec: it must be the configured one. */
  writeAs(fourcc: string, unit: Required<AccessUnit>): void {
    if (this.#config?.fourcc === fourcc) this.write(unit);
    else this.discard("before a decoder configuration");
  }

  discard(reason: string): void {
    this.writer.discard();
    this.host.onDiscard(`${this.writer.track.kind} ${reason}`);
  }

  skipToKey(): void {
    this.#needsKey = true;
  }

  moved(us: number): void {
    this.#time.moved(us);
  }
}

function sameConfig(a: VideoConfig | AudioConfig, b: VideoConfig | AudioConfig): boolean {
  if (a.fourcc !== b.fourcc || a.codec !== b.codec) return false;
  if (a.kind === "video" && b.kind === "video") {
    if (a.codedWidth !== b.codedWidth || a.codedHeight !== b.codedHeight) return false;
  } else if (a.kind === "audio" && b.kind === "audio") {
    if (a.sampleRate !== b.sampleRate || a.numberOfChannels !== b.numberOfChannels) return false;
  }
  return equalBytes(a.description ?? EMPTY, b.description ?? EMPTY);
}

const EMPTY = new Uint8Array();

/** Usual length of a video frame where nothing is known yet: 25 frames a second. */
const VIDEO_FRAME_US = 40_000;
/** Usual length of an audio frame where nothing is known yet: 1,024 samples at 48 kHz. */
const AUDIO_FRAME_US = 21_333;
/** Usual time between two values of a data track. */
const DATA_FRAME_US = 1_000_000;

/**
 * The writing half of a video track.
 *
 * Every method throws an `EndedError` once the publisher has ended, and does nothing while the
 * engine takes no video.
 */
export class VideoInput {
  readonly #input: Input<VideoAccessUnit>;
  #sets: ParameterSets;
  #setsOf: "avc1" | "hvc1" = "avc1";
  #lengthSize = 4;

  /** Made by the publisher. */
  constructor(writer: TrackWriter<VideoAccessUnit>, host: InputHost) {
    this.#input = new Input(writer, host, VIDEO_FRAME_US);
    this.#sets = new ParameterSets("avc1");
  }

  /** The decoder configuration of the frames to come, if its publisher has given one. */
  get config(): VideoConfig | undefined {
    return this.#input.config;
  }

  /**
   * Sets the decoder configuration of the frames to come.
   *
   * @throws {InvalidDataError} If its description is malformed.
   */
  configure(config: VideoConfig): void {
    if (!this.#input.host.accepts("video")) return;
    this.#seedParameterSets(config);
    this.#input.configure(config);
  }

  /**
   * Takes the body of an FLV video tag or RTMP video message: FLV 10.1 E.4.3, Enhanced RTMP v2.
   *
   * @throws {InvalidDataError} If the body, its configuration record or its NAL units are malformed.
   */
  pushByteStream(timestampMs: number, body: Uint8Array): void {
    const { host } = this.#input;
    if (!host.accepts("video")) return;
    const ms = host.flvClock.unwrap(timestampMs);
    for (const packet of parseVideoBody(body)) {
      const input = packet.trackId === 0 ? this : host.videoInput(packet.trackId);
      input.#pushPacket(ms, packet);
    }
  }

  /**
   * Takes the NAL units of one H.264 or H.265 access unit, without lengths or start codes.
   *
   * Parameter sets among them, or in calls before without a picture, make the configuration.
   * `dtsUs` is the decode time on the publisher's clock, `ctsUs` the presentation time minus it.
   *
   * @throws {InvalidDataError} If a parameter set is malformed.
   */
  pushNalu(dtsUs: number, ctsUs: number, ...nalus: readonly Uint8Array[]): void {
    if (!this.#input.host.accepts("video")) return;
    const parts = this.#sets.push(nalus);
    if (parts.config !== undefined) this.#input.configure(parts.config);
    if (!parts.picture) return;
    this.#input.write({ dtsUs, ctsUs, key: parts.key, data: joinLengthPrefixed(parts.nalus) });
  }

  /** {@linkcode VideoInput.pushNalu} of a byte stream with start codes (H.264 annex B). */
  pushAnnexB(dtsUs: number, ctsUs: number, data: Uint8Array): void {
    this.pushNalu(dtsUs, ctsUs, ...splitAnnexB(data));
  }

  /**
   * Takes a frame of the configured codec; configurations of AV1 and VP9 are found in keyframes.
   *
   * @throws {InvalidDataError} If the frame is malformed.
   */
  push(unit: AccessUnit): void {
    if (!this.#input.host.accepts("video") || unit.data.length === 0) return;
    const fourcc = this.#input.config?.fourcc;
    if (fourcc === undefined) return this.#input.discard("before a decoder configuration");
    const nalus = isNalu(fourcc) ? splitLengthPrefixed(unit.data) : undefined;
    const key = unit.key ?? isKey(fourcc, unit.data, nalus);
    if (key) this.#refresh(fourcc, unit.data, nalus);
    this.#input.write({ dtsUs: unit.dtsUs, ctsUs: unit.ctsUs ?? 0, key, data: unit.data });
  }

  /** Which codec {@linkcode VideoInput.pushNalu} takes. @default {"avc1"} */
  get naluCodec(): "avc1" | "hvc1" {
    return this.#setsOf;
  }

  set naluCodec(fourcc: "avc1" | "hvc1") {
    if (fourcc === this.#setsOf) return;
    this.#setsOf = fourcc;
    this.#sets = new ParameterSets(fourcc);
  }

  /** Drops frames until the next keyframe: what came before it is lost. */
  skipToKey(): void {
    this.#input.skipToKey();
  }

  /**
   * Says that the times to come lie `us` later than those so far would let expect, as the publisher
   * now knows better where the track lies: it is no jump of its clock.
   */
  moved(us: number): void {
    this.#input.moved(us);
  }

  /** A sink with the semantics of {@linkcode VideoInput.pushByteStream}. */
  byteStreamSink(): WritableStream<ByteStreamChunk> {
    return this.#input.host.sink(({ timestampMs, body }) => this.pushByteStream(timestampMs, body));
  }

  /** A sink of Annex B access units with the semantics of {@linkcode VideoInput.pushAnnexB}. */
  annexBSink(): WritableStream<AccessUnit> {
    return this.#input.host.sink(({ dtsUs, ctsUs = 0, data }) =>
      this.pushAnnexB(dtsUs, ctsUs, data)
    );
  }

  /** A sink of access units with the semantics of {@linkcode VideoInput.push}. */
  sink(): WritableStream<AccessUnit> {
    return this.#input.host.sink((unit) => this.push(unit));
  }

  #pushPacket(ms: number, packet: VideoPacket): void {
    const { fourcc } = packet;
    let { data } = packet;
    if (packet.type === "config") {
      this.#announce(videoConfigFrom(fourcc, data));
      if (fourcc === "avc1") this.#lengthSize = parseAvcC(data).lengthSize;
      if (fourcc === "hvc1") this.#lengthSize = parseHvcC(data).lengthSize;
      return;
    }
    if (packet.type !== "frame") return;
    let nalus: Uint8Array[] | undefined;
    if (isNalu(fourcc)) {
      // Most frames are kept as they came, and need no views on their NAL units.
      if (countLengthPrefixed(data, this.#lengthSize) === 0) return;
      if (packet.key || this.#lengthSize !== 4) nalus = splitLengthPrefixed(data, this.#lengthSize);
      if (nalus !== undefined && this.#lengthSize !== 4) data = joinLengthPrefixed(nalus);
    }
    if (packet.key) this.#refresh(fourcc, data, nalus);
    const dtsUs = ms * 1000 + packet.nanoOffset / 1000;
    this.#input.writeAs(fourcc, { dtsUs, ctsUs: packet.ctsMs * 1000, key: packet.key, data });
  }

  /** Takes a record, unless it repeats one that a keyframe has completed by the size. */
  #announce(config: VideoConfig): void {
    const old = this.#input.config;
    const repeated = config.codedWidth === undefined && old?.codedWidth !== undefined &&
      old.codec === config.codec;
    if (!repeated) this.configure(config);
  }

  /** Follows what a keyframe says of its decoder configuration. */
  #refresh(fourcc: string, data: Uint8Array, nalus: readonly Uint8Array[] | undefined): void {
    let config: VideoConfig | undefined;
    if (isNalu(fourcc)) {
      this.naluCodec = fourcc;
      config = this.#sets.push(nalus ?? []).config;
    } else {
      config = configOfKey(fourcc, data, this.#input.config);
    }
    if (config !== undefined) this.#input.configure(config);
  }

  #seedParameterSets(config: VideoConfig): void {
    const { fourcc, description } = config;
    if (description === undefined) return;
    if (fourcc === "avc1") {
      const record = parseAvcC(description);
      this.naluCodec = fourcc;
      this.#sets.push([...record.sps, ...record.pps]);
    } else if (fourcc === "hvc1") {
      const record = parseHvcC(description);
      this.naluCodec = fourcc;
      this.#sets.push([...record.vps, ...record.sps, ...record.pps]);
    }
  }
}

/**
 * The writing half of an audio track.
 *
 * Every method throws an `EndedError` once the publisher has ended, and does nothing while the
 * engine takes no audio.
 */
export class AudioInput {
  readonly #input: Input<AudioAccessUnit>;

  /** Made by the publisher. */
  constructor(writer: TrackWriter<AudioAccessUnit>, host: InputHost) {
    this.#input = new Input(writer, host, AUDIO_FRAME_US);
  }

  /** The decoder configuration of the frames to come, if its publisher has given one. */
  get config(): AudioConfig | undefined {
    return this.#input.config;
  }

  /** Sets the decoder configuration of the frames to come. */
  configure(config: AudioConfig): void {
    if (this.#input.host.accepts("audio")) this.#input.configure(config);
  }

  /** As {@linkcode VideoInput.moved}. */
  moved(us: number): void {
    this.#input.moved(us);
  }

  /**
   * Sets AAC with an AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1).
   *
   * @throws {InvalidDataError} If `asc` is malformed.
   */
  setASC(asc: Uint8Array): void {
    this.configure(aacConfig(asc));
  }

  /**
   * Takes the body of an FLV audio tag or RTMP audio message: FLV 10.1 E.4.2, Enhanced RTMP v2.
   *
   * @throws {InvalidDataError} If the body or its configuration record is malformed.
   */
  pushByteStream(timestampMs: number, body: Uint8Array): void {
    const { host } = this.#input;
    if (!host.accepts("audio")) return;
    const ms = host.flvClock.unwrap(timestampMs);
    for (const packet of parseAudioBody(body)) {
      const input = packet.trackId === 0 ? this : host.audioInput(packet.trackId);
      input.#pushPacket(ms, packet);
    }
  }

  /** Takes one raw frame of the configured codec at `dtsUs` on the publisher's clock. */
  pushRaw(dtsUs: number, data: Uint8Array): void {
    this.push({ dtsUs, data });
  }

  /**
   * Takes AAC frames with ADTS headers (ISO/IEC 14496-3 1.A.2), the first at `dtsUs`.
   *
   * @throws {InvalidDataError} If a header is malformed.
   */
  pushADTS(dtsUs: number, data: Uint8Array): void {
    if (!this.#input.host.accepts("audio")) return;
    const { config: asc, frames } = splitAdts(data);
    const config = aacConfig(asc);
    this.#input.configure(config);
    // ADTS counts samples of the core codec, 1,024 a frame (ISO/IEC 14496-3 4.5.1.1).
    frames.forEach((frame, index) =>
      this.push({ dtsUs: dtsUs + index * 1024e6 / config.sampleRate, data: frame })
    );
  }

  /** Takes one frame of the configured codec. */
  push(unit: AccessUnit): void {
    if (!this.#input.host.accepts("audio") || unit.data.length === 0) return;
    this.#input.write({
      dtsUs: unit.dtsUs,
      ctsUs: unit.ctsUs ?? 0,
      key: unit.key ?? true,
      data: unit.data,
    });
  }

  /** A sink with the semantics of {@linkcode AudioInput.pushByteStream}. */
  byteStreamSink(): WritableStream<ByteStreamChunk> {
    return this.#input.host.sink(({ timestampMs, body }) => this.pushByteStream(timestampMs, body));
  }

  /** A sink of ADTS frames with the semantics of {@linkcode AudioInput.pushADTS}. */
  adtsSink(): WritableStream<AccessUnit> {
    return this.#input.host.sink(({ dtsUs, data }) => this.pushADTS(dtsUs, data));
  }

  /** A sink of access units with the semantics of {@linkcode AudioInput.push}. */
  sink(): WritableStream<AccessUnit> {
    return this.#input.host.sink((unit) => this.push(unit));
  }

  #pushPacket(ms: number, packet: AudioPacket): void {
    if (packet.type === "config") {
      if (packet.data.length > 0) this.configure(audioConfigFrom(packet.fourcc, packet.data));
      return;
    }
    if (packet.type !== "frame" || packet.data.length === 0) return;
    const config = selfDescribed(packet, this.#input.config);
    if (config !== undefined) this.#input.configure(config);
    this.#input.writeAs(packet.fourcc, {
      dtsUs: ms * 1000 + packet.nanoOffset / 1000,
      ctsUs: 0,
      key: true,
      data: packet.data,
    });
  }
}

/** The configuration of a codec that has no record of its own; undefined if it is known or has. */
function selfDescribed(packet: AudioPacket, old: AudioConfig | undefined): AudioConfig | undefined {
  const { fourcc, sampleRate = 0, channels: numberOfChannels = 0 } = packet;
  if (old?.fourcc === fourcc) return undefined;
  switch (fourcc) {
    case "mp4a":
    case "Opus":
      return undefined;
    case "alaw":
      return alawConfig(8000, numberOfChannels || 1);
    case "ulaw":
      return ulawConfig(8000, numberOfChannels || 1);
    case ".mp3":
      return mp3Config(packet.data);
    default:
      return { kind: "audio", fourcc, codec: fourcc, sampleRate, numberOfChannels };
  }
}

/** The writing half of a data track. */
export class DataInput {
  readonly #writer: TrackWriter<DataUnit>;
  readonly #host: InputHost;
  readonly #time: TimelineTrack;

  /** Made by the publisher. */
  constructor(writer: TrackWriter<DataUnit>, host: InputHost) {
    this.#writer = writer;
    this.#host = host;
    const lastUs = writer.ring.newest()?.dts;
    this.#time = new TimelineTrack(host.timeline, { frameUs: DATA_FRAME_US, lastUs, leads: false });
  }

  /** Takes a value at `dtsUs` on the publisher's clock; `bytes` is what it counts for in memory. */
  push(dtsUs: number, value: unknown, bytes = 0): void {
    if (!this.#host.accepts("data")) return;
    const dts = this.#time.map(Math.round(dtsUs));
    const sequence = this.#writer.ring.head;
    this.#writer.write({ kind: "data", sequence, dts, pts: dts, key: true, value }, bytes);
    this.#host.onFrame();
  }

  /** A sink with the semantics of {@linkcode DataInput.push}. */
  sink(): WritableStream<{ readonly dtsUs: number; readonly value: unknown }> {
    return this.#host.sink(({ dtsUs, value }) => this.push(dtsUs, value));
  }
}
