/** The segmenter: frames in, segments and their parts out. It knows neither timers nor HTTP. */

import type { AudioConfig, VideoConfig } from "../../src/codecs/config.ts";
import type { ChunkEnds } from "../../src/fmp4.ts";
import type { MediaFrame } from "../../src/frame.ts";
import type { FormatTracks } from "../../src/mux.ts";
import type { Container } from "./container.ts";
import { compareFrames, FrameOrder, WAIT_US } from "./frame_order.ts";
import { type Timing, timingOf, type TimingOptions } from "./timing.ts";

/** The beginning of a segment. */
export interface SegmentStart {
  /** Its start on the stream's timeline, in µs. */
  readonly startUs: number;
  /** When it was made, in ms since 1970. */
  readonly unixMs: number;
  /** Whether it does not go on from the one before: another publisher, codec or timestamp. */
  readonly discontinuity: boolean;
  /** The tracks of its frames. */
  readonly tracks: FormatTracks;
  /** What comes before the media, the same object while it is the same; undefined without. */
  readonly init: Uint8Array<ArrayBuffer> | undefined;
}

/** A part of a segment. */
export interface SegmentPart {
  /** Its bytes, of which its segment is made. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** How long it lasts, in µs. */
  readonly durationUs: number;
  /** Whether a decoder can start in it. */
  readonly independent: boolean;
}

/** Takes what a {@linkcode Segmenter} makes, in this order: parts between start and end. */
export interface SegmentSink {
  /** Told once, before all others, what holds for all segments. */
  onTiming(timing: Timing): void;
  /** A segment begins; its first part follows at once. */
  onSegment(start: SegmentStart): void;
  /** A part of the segment that began last. */
  onPart(part: SegmentPart): void;
  /** The segment is complete. */
  onSegmentEnd(durationUs: number): void;
}

/** What a {@linkcode Segmenter} works with. */
export interface SegmenterInit extends TimingOptions {
  readonly container: Container;
  /** The time of 0 on the stream's timeline, in ms since 1970. */
  readonly unixMs: number;
  readonly sink: SegmentSink;
  /** From one keyframe to the next before the first frame, in µs; 0 if that is not known. */
  readonly gopUs?: number | undefined;
}

/** Where a stream breaks off. */
interface Break {
  /** Frames after this time are those of after the break. */
  readonly afterUs: number;
  readonly unixMs: number;
}

interface OpenSegment {
  readonly startUs: number;
  discontinuity: boolean;
  /** Whether it begins with a keyframe; without video any frame is one. */
  key: boolean;
  /** Whether its first part is out, which settles its configurations. */
  started: boolean;
  bytes: number;
  frames: number;
  /** Kinds of its frames. */
  readonly kinds: Set<MediaFrame["kind"]>;
}

/** Longest that the first segment waits for a keyframe, in µs. */
const MAX_FIRST_US = 10_000_000;
/**
 * Shortest first segment, in µs: one of parts, whose players soon have the next one, and one of
 * those that players want to see a little of before they play.
 */
const MIN_FIRST_US = { parts: 200_000, whole: 500_000 };
/** How much too early a keyframe may be, in µs: some clocks count whole ms, some encoders frames. */
const KEY_SLACK_US = 50_000;
/**
 * How much longer than the target a segment may be, in µs, as durations are rounded to seconds
 * (6.2.1): until it is cut where there is no keyframe, and at most.
 */
const SOFT_EXCESS_US = 200_000;
const HARD_EXCESS_US = 450_000;
/** A track without a frame for so long, in µs, is none of the next segment's. */
const VANISHED_US = 10_000_000;
/** Most bytes of a segment before it is cut anywhere: some seconds at 50 Mbit/s. */
export const MAX_SEGMENT_BYTES = 32 * 1024 * 1024;
/** Most frames of a segment, as each takes some bytes more: a minute of the shortest Opus has half. */
const MAX_SEGMENT_FRAMES = 50_000;
/** The least duration of a part, in µs: one without would be none. */
const MIN_PART_US = 1000;

/**
 * Cuts frames into segments, and these into parts.
 *
 * What ends at a time has all that is seen and heard before it: a cut waits for audio to come as
 * far, so that audio lasts as long as video, or a little longer. Players that find one of them end
 * earlier than the playlist says may wait for the rest of it.
 *
 * Segments begin at keyframes, unless the target duration allows no wait for one. The first segment
 * is held back until it is complete: it shows what target durations suit the stream, which may not
 * change later. Where players wait for it, it ends as soon as the distance of keyframes shows that,
 * however short it is then. Parts are cut where they come nearest to what was promised; where frames come at
 * odd times, a part says the nearest duration that it may, and the next one makes up for it.
 */
export class Segmenter {
  readonly #init: SegmenterInit;
  readonly #container: Container;
  readonly #sink: SegmentSink;
  readonly #carried = new WeakMap<VideoConfig | AudioConfig, boolean>();
  readonly #order = new FrameOrder();
  /** Frames of the first segment while that is not complete. */
  #first: MediaFrame[] | undefined = [];
  #firstBytes = 0;
  #firstHasVideo = false;
  #hurries = false;
  /** Where the first segment ends at the latest, if somebody waits for it. */
  #firstEndUs = Infinity;
  #timing: Timing | undefined;
  #open: OpenSegment | undefined;
  /** Frames that are in no part yet. */
  #pending: MediaFrame[] = [];
  #video: VideoConfig | undefined;
  #audio: AudioConfig | undefined;
  readonly #newestUs = { video: -Infinity, audio: -Infinity };
  /** Where the parts so far end by their durations; where frames are at odd times, not the frames. */
  #partsEndUs = 0;
  #endUs: number | undefined;
  #unixMs: number;
  #break: Break | undefined;
  #discontinuity = false;
  #sequence = 0;
  #initTracks: FormatTracks | undefined;
  #initBytes: Uint8Array<ArrayBuffer> | undefined;

  /** A segmenter of a stream that begins with its next frame. */
  constructor(init: SegmenterInit) {
    this.#init = init;
    this.#container = init.container;
    this.#sink = init.sink;
    this.#unixMs = init.unixMs;
  }

  /**
   * Takes the next frame of the stream.
   *
   * @throws {InvalidDataError} If the container can't carry it as it is malformed.
   */
  push(frame: MediaFrame): void {
    if (!this.#carries(frame.config)) return;
    this.#order.push(frame);
    this.#goOn();
  }

  /**
   * Ends the first segment as soon as the distance of keyframes is known, for players that wait for
   * it: at the last keyframe that is there, else before the newest frame. Idempotent.
   */
  endFirst(): void {
    this.#hurries = true;
    this.#endEarly();
  }

  /** Makes frames after `afterUs` begin a segment with a discontinuity; 0 is now at `unixMs`. */
  breakAfter(afterUs: number, unixMs: number): void {
    this.#break = { afterUs, unixMs };
    this.#order.breakAfter(afterUs);
  }

  /** Completes what is there: no frame comes any more. */
  finish(): void {
    this.#order.end();
    this.#goOn();
    const last = this.#first?.at(-1);
    if (last !== undefined) this.#settle(last.dts);
    const timing = this.#timing;
    if (timing !== undefined) this.#endSegment(this.#naturalEnd(timing), timing);
  }

  /** Takes the frames whose turn it is. */
  #goOn(): void {
    for (let frame = this.#order.next(); frame !== undefined; frame = this.#order.next()) {
      if (this.#timing === undefined) this.#learn(frame);
      else this.#take(frame, this.#timing);
    }
  }

  #carries(config: VideoConfig | AudioConfig): boolean {
    let carried = this.#carried.get(config);
    if (carried === undefined) {
      carried = this.#container.carries(config);
      this.#carried.set(config, carried);
    }
    return carried;
  }

  /** Gathers the frames of the first segment. */
  #learn(frame: MediaFrame): void {
    const frames = this.#first ?? [];
    const [first] = frames;
    if (first !== undefined && this.#endsFirst(frame, first)) {
      return this.#settle(frame.dts, frame);
    }
    frames.push(frame);
    this.#firstBytes += frame.data.length;
    this.#firstHasVideo ||= frame.kind === "video";
    if (this.#hurries) this.#endEarly();
  }

  /** Ends the first segment where it can end now, if it is known how long others will be. */
  #endEarly(): void {
    const frames = this.#first ?? [];
    const [first] = frames;
    const gopUs = this.#gopOf(frames);
    if (first === undefined || gopUs === undefined) return;
    const leastUs = MIN_FIRST_US[this.#init.partUs === undefined ? "whole" : "parts"];
    const canEnd = ({ kind, dts }: MediaFrame) =>
      (kind === "video" || !this.#firstHasVideo) && dts - first.dts >= leastUs;
    const key = frames.findLastIndex((frame) => frame.key && canEnd(frame));
    const end = key >= 0 ? key : frames.findLastIndex(canEnd);
    const next = frames[end];
    if (next === undefined) return;
    const gops = Math.max(1, Math.ceil((this.#init.segmentUs - KEY_SLACK_US) / gopUs));
    this.#firstEndUs = next.dts;
    this.#settle(Math.max(next.dts, first.dts + gops * gopUs));
  }

  /** The longest distance of keyframes so far; undefined before there is one. */
  #gopOf(frames: readonly MediaFrame[]): number | undefined {
    if (!this.#firstHasVideo) return this.#init.segmentUs;
    let longestUs = this.#init.gopUs || 0;
    let lastUs: number | undefined;
    let sinceUs = 0;
    for (const { kind, key, dts } of frames) {
      if (kind !== "video") continue;
      if (key) {
        longestUs = Math.max(longestUs, dts - (lastUs ?? dts));
        lastUs = dts;
      }
      sinceUs = dts - (lastUs ?? dts);
    }
    // The last one may go on: it is at least as long as it is already.
    return longestUs > 0 ? Math.max(longestUs, sinceUs) : undefined;
  }

  #endsFirst(frame: MediaFrame, first: MediaFrame): boolean {
    const { segmentUs } = this.#init;
    const elapsedUs = frame.dts - first.dts;
    const leads = frame.kind === "video" || !this.#firstHasVideo;
    if (leads && frame.key && elapsedUs >= segmentUs - KEY_SLACK_US) return true;
    const count = this.#first?.length ?? 0;
    if (this.#firstBytes > MAX_SEGMENT_BYTES || count >= MAX_SEGMENT_FRAMES) return true;
    if (elapsedUs >= this.#maxFirstUs) return true;
    if (this.#isBroken(frame.dts)) return true;
    const same = this.#first?.findLast(({ kind }) => kind === frame.kind);
    return same !== undefined && same.config !== frame.config;
  }

  get #maxFirstUs(): number {
    const { targetSeconds, segmentUs } = this.#init;
    return targetSeconds > 0 ? targetSeconds * 1e6 : Math.max(MAX_FIRST_US, segmentUs);
  }

  /**
   * Takes the timing from the first segment, as if it ended at `endUs`, and then its frames and those
   * after it: `next`, and those that wait.
   */
  #settle(endUs: number, next?: MediaFrame): void {
    const frames = this.#first ?? [];
    const startUs = frames[0]?.dts ?? 0;
    this.#timing = timingOf(frames, Math.min(endUs, startUs + this.#maxFirstUs), this.#init);
    this.#first = undefined;
    this.#sink.onTiming(this.#timing);
    const rest = this.#order.restart();
    // What was too late to go on in its turn is not too late now.
    frames.sort(compareFrames);
    for (const frame of [...frames, ...(next ? [next] : []), ...rest]) this.push(frame);
  }

  #take(frame: MediaFrame, timing: Timing): void {
    const { kind, dts } = frame;
    const before = this.#open;
    if (before !== undefined) {
      // What is cut now may have the new configuration, as it has no frame of its kind.
      if (!this.#isBroken(dts) && !this.#changes(frame, before)) this.#adopt(frame, before);
      this.#cutBefore(frame, before, timing);
    }
    const open = this.#open ??= this.#begin(frame);
    this.#adopt(frame, open);
    if (kind === "video" && !open.started && !open.kinds.has("video")) open.key = frame.key;
    open.kinds.add(kind);
    open.bytes += frame.data.length;
    open.frames++;
    this.#newestUs[kind] = Math.max(this.#newestUs[kind], dts);
    this.#pending.push(frame);
  }

  /** Makes the configuration of `frame` that of a segment. */
  #adopt({ kind, config }: MediaFrame, open: OpenSegment): void {
    const known = kind === "video" ? this.#video : this.#audio;
    if (known !== config && this.#initTracks !== undefined) open.discontinuity = true;
    if (config.kind === "video") this.#video = config;
    else this.#audio = config;
  }

  #begin(frame: MediaFrame): OpenSegment {
    const startUs = this.#endUs ?? frame.dts;
    this.#partsEndUs = startUs;
    const discontinuity = this.#discontinuity;
    this.#discontinuity = false;
    return {
      startUs,
      discontinuity,
      key: frame.kind === "video" ? frame.key : this.#video === undefined,
      started: false,
      bytes: 0,
      frames: 0,
      kinds: new Set(),
    };
  }

  /** Ends the part or the segment before `frame`, if one of them ends there. */
  #cutBefore(frame: MediaFrame, open: OpenSegment, timing: Timing): void {
    const leads = frame.kind === "video" || this.#video === undefined;
    // Audio that goes with video is as much newer as that is shown later.
    const dts = leads ? frame.dts : frame.dts - this.#order.delayUs;
    const elapsedUs = dts - open.startUs;
    const targetUs = timing.targetSeconds * 1e6;
    if (elapsedUs > targetUs + HARD_EXCESS_US) {
      // A pause, or an end that has been missed: no segment may be so long.
      this.#endSegment(this.#naturalEnd(timing), timing);
      this.#breakOff(frame.dts);
      this.#endUs = dts;
      return;
    }
    if (this.#isBroken(frame.dts) || this.#changes(frame, open)) {
      this.#endSegment(Math.max(dts, this.#naturalEnd(timing)), timing);
      return this.#breakOff(frame.dts);
    }
    // Where audio no longer waits for video, it cuts parts without it.
    if (!leads && dts - this.#newestUs.video < WAIT_US.audio) {
      if (elapsedUs > targetUs + 2 * SOFT_EXCESS_US) this.#endSegment(dts, timing, frame);
      return;
    }
    const lacksKey = !open.key && (open.started || open.kinds.has("video"));
    const isDue = elapsedUs >= timing.segmentUs - KEY_SLACK_US || lacksKey;
    if (leads && (dts >= this.#firstEndUs || (frame.key && isDue))) {
      return this.#endSegment(dts, timing, frame);
    }
    const isFull = open.bytes > MAX_SEGMENT_BYTES || open.frames >= MAX_SEGMENT_FRAMES;
    if (isFull || elapsedUs + timing.frameUs > targetUs + SOFT_EXCESS_US) {
      return this.#endSegment(dts, timing, frame);
    }
    if (dts - this.#partsEndUs >= timing.partUs) this.#endPart(dts, timing, frame);
  }

  /** Whether the stream has broken off before `dts`. */
  #isBroken(dts: number): boolean {
    return this.#break !== undefined && dts > this.#break.afterUs;
  }

  /** Lets the next segment, which has the frame at `dts`, begin with a discontinuity. */
  #breakOff(dts: number): void {
    this.#discontinuity = true;
    if (this.#break === undefined || !this.#isBroken(dts)) return;
    // Dates never go back.
    this.#unixMs = Math.max(this.#unixMs, this.#break.unixMs);
    this.#break = undefined;
  }

  /** Whether `frame` does not go with the configurations of the segment. */
  #changes({ kind, config }: MediaFrame, open: OpenSegment): boolean {
    const known = kind === "video" ? this.#video : this.#audio;
    return config !== known && (open.started || open.kinds.has(kind));
  }

  /** Where the frames so far end if the last one lasts as long as others, and the segment may. */
  #naturalEnd({ frameUs, targetSeconds }: Timing): number {
    const { video, audio } = this.#newestUs;
    const heardUs = this.#audio === undefined ? -Infinity : audio - this.#order.delayUs;
    const endUs = this.#video === undefined ? audio + frameUs : Math.max(video + frameUs, heardUs);
    const startUs = this.#open?.startUs ?? 0;
    return Math.min(endUs, startUs + targetSeconds * 1e6 + HARD_EXCESS_US);
  }

  /** Ends the segment, and its last part with it. */
  #endSegment(endUs: number, timing: Timing, next?: MediaFrame): void {
    const open = this.#open;
    if (open === undefined) return;
    const end = Math.max(endUs, this.#partsEndUs + MIN_PART_US);
    this.#endPart(end, timing, next);
    this.#open = undefined;
    this.#firstEndUs = Infinity;
    this.#endUs = end;
    if (open.started) this.#sink.onSegmentEnd(end - open.startUs);
    this.#forgetVanished(end);
  }

  /** Leaves out of the segments to come what has had no frame for long: players would wait for it. */
  #forgetVanished(nowUs: number): void {
    const { video, audio } = this.#newestUs;
    const videoIsGone = this.#video !== undefined && nowUs - video > VANISHED_US;
    const audioIsGone = this.#audio !== undefined && nowUs - audio > VANISHED_US;
    if (videoIsGone === audioIsGone) return;
    if (videoIsGone) this.#video = undefined;
    else this.#audio = undefined;
    this.#discontinuity = true;
  }

  /** Makes a part, which ends at `endUs`, of the frames that are there; `next` goes on from them. */
  #endPart(endUs: number, timing: Timing, next?: MediaFrame): void {
    const open = this.#open;
    const frames = this.#pending;
    if (open === undefined || frames.length === 0) return;
    this.#pending = [];
    const tracks = { video: this.#video, audio: this.#audio };
    const startsSegment = !open.started;
    if (startsSegment) this.#start(open, tracks);
    const bytes = this.#container.part({
      frames,
      tracks,
      ends: this.#endsOf(frames, endUs, next),
      sequence: ++this.#sequence,
      startsSegment,
    });
    const durationUs = Math.min(endUs - this.#partsEndUs, timing.partTargetUs ?? Infinity);
    this.#partsEndUs += durationUs;
    const independent = tracks.video === undefined ||
      frames.some(({ kind, key }) => kind === "video" && key);
    this.#sink.onPart({ bytes, durationUs, independent });
  }

  /** Where the frames of each kind end, as far as it is known. */
  #endsOf(frames: readonly MediaFrame[], endUs: number, next?: MediaFrame): ChunkEnds {
    if (this.#video === undefined) return { audio: endUs };
    const lastVideo = frames.findLast(({ kind }) => kind === "video");
    const hasEnd = lastVideo !== undefined && endUs > lastVideo.dts;
    const audioUs = next?.kind === "audio" ? next.dts : next && this.#order.nextUs("audio");
    // A frame does not last through a pause.
    const lasts = audioUs !== undefined && audioUs - this.#newestUs.audio <= WAIT_US.audio;
    return { ...(hasEnd && { video: endUs }), ...(lasts && { audio: audioUs }) };
  }

  #start(open: OpenSegment, tracks: FormatTracks): void {
    open.started = true;
    const known = this.#initTracks;
    if (known?.video !== tracks.video || known?.audio !== tracks.audio) {
      this.#initTracks = tracks;
      this.#initBytes = this.#container.init(tracks);
    }
    const { startUs, discontinuity } = open;
    const unixMs = this.#unixMs + startUs / 1000;
    this.#sink.onSegment({ startUs, unixMs, discontinuity, tracks, init: this.#initBytes });
  }
}
