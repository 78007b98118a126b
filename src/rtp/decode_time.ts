/** Decode times of video of which only presentation times are known, as in RTP (RFC 6184 5.1). */

import type { VideoConfig } from "../codecs/config.ts";
import { parseAvcC, parseH264Sps } from "../codecs/h264.ts";
import { parseH265Sps, parseHvcC } from "../codecs/h265.ts";
import { InvalidDataError } from "../errors.ts";

/** Most frames that come before one in decoding order and after it in output order (H.264 A.3.1). */
const MAX_DEPTH = 16;

/** `profile_idc` of Baseline, which has no B slices (H.264 A.2.1). */
const BASELINE = 66;

/** Step of the decode time where it waits for frames to come: 16 fit into a frame at 60 fps. */
const HOLD_US = 1_000;

/** A gap between frames of over so many of the shortest ones may hide frames yet to come. */
const GAP_FRAMES = 1.5;

/** Steps of so much, and over, are a jump of the clock or a pause. */
const JUMP_US = 1_000_000;

/** Among so many frames there are two that follow each other, so that a frame's length is known. */
const FIRST_FRAMES = 8;

/** Length of a frame where nothing is known yet: 25 frames a second. */
const USUAL_FRAME_US = 40_000;

/**
 * So many frames without news show how a stream reorders: four seconds at 30 fps, over a GOP of
 * most encoders.
 */
const SETTLED_FRAMES = 120;

/** After so many frames that needed less reordering than is allowed for, less is. */
const REVIEW_FRAMES = 600;

/**
 * The frames that H.264 or H.265 may reorder, as their parameter sets say: most frames that come
 * before one in decoding order and after it in output order. 0 for codecs whose orders are the
 * same; undefined where it is not said.
 */
export function reorderDepthOf(config: VideoConfig): number | undefined {
  const { fourcc, description } = config;
  if (fourcc === "av01" || fourcc === "vp09") return 0;
  if (description === undefined) return undefined;
  try {
    if (fourcc === "avc1") {
      const set = parseAvcC(description).sps[0];
      const sps = set && parseH264Sps(set);
      return sps?.maxReorderFrames ?? (sps?.profile === BASELINE ? 0 : undefined);
    }
    if (fourcc === "hvc1") {
      const set = parseHvcC(description).sps[0];
      return set && parseH265Sps(set).maxReorderFrames;
    }
  } catch (error) {
    if (!(error instanceof InvalidDataError)) throw error;
  }
  return undefined;
}

/**
 * Finds the decode times of one video track, frame by frame and at once.
 *
 * With a reorder depth of N the decode time of a frame is the presentation time that has N greater
 * ones among the frames so far: it is never later than that of any frame to come, and for streams
 * without B-frames it is the frame's own. Where the configuration doesn't say the depth it is
 * learnt: until it is clear that frames come in order, the time waits where frames to come may fill a
 * gap, which makes it a frame early for a few frames of a stream without B-frames.
 *
 * Decode times grow by 1 µs or more with each frame, and are not later than the presentation times.
 * Not so in four cases where both can't be: a frame that repeats the presentation time of the one
 * before, whose decode time is 1 µs later; frames deeper than the configuration says; the leading
 * pictures of a first keyframe, which can't be decoded anyway; and a jump back of the clock, with
 * which the decode time jumps too, for the stream's timeline to repair.
 */
export class DecodeTimes {
  /** The greatest presentation times since the last jump, in order, of MAX_DEPTH + 1 frames at most. */
  readonly #window: number[] = [];
  #config: VideoConfig | undefined;
  /** What the configuration says of the depth. */
  #declared: number | undefined;
  #depth = 0;
  /** Shortest step between two frames. */
  #frameUs = Infinity;
  /** Frames of which that is the shortest step, up to FIRST_FRAMES. */
  #measured = 0;
  /** Length of a frame before any step is known. */
  #declaredFrameUs = USUAL_FRAME_US;
  #lastUs = -Infinity;
  /** Up to where no frame is missing any more. */
  #completeUs = -Infinity;
  /** Presentation time of the first frame since the last jump, and how many came since. */
  #firstUs = 0;
  #frames = 0;
  /** Frames since the depth was last found too low, or the stream began or jumped. */
  #quiet = 0;
  #seenDepth = 0;
  #seenFrames = 0;

  /** Frames reordered at most, as far as is known: 0 to 16. */
  get depth(): number {
    return this.#depth;
  }

  /** Takes the configuration of the frames to come; nothing happens if it is the one before. */
  configure(config: VideoConfig): void {
    if (config === this.#config) return;
    this.#config = config;
    const declared = reorderDepthOf(config);
    this.#declared = declared === undefined ? undefined : Math.min(declared, MAX_DEPTH);
    this.#depth = this.#declared ?? this.#depth;
    if (config.frameRate !== undefined) this.#declaredFrameUs = 1e6 / config.frameRate;
    this.#watch();
  }

  /**
   * The decode time of the next frame in decoding order, which is presented at `ptsUs`; both in
   * whole µs.
   */
  push(ptsUs: number): number {
    if (this.#isJump(ptsUs)) this.#restart();
    const newestUs = this.#window.at(-1);
    const above = this.#insert(ptsUs);
    if (above > this.#depth) this.#grow(above);
    if (newestUs === undefined || ptsUs > newestUs) this.#completeUs = newestUs ?? ptsUs;
    this.#review(above);
    if (this.#frames === 0) this.#firstUs = ptsUs;
    const dtsUs = this.#place(ptsUs);
    this.#frames++;
    this.#quiet++;
    return this.#lastUs = dtsUs;
  }

  #place(ptsUs: number): number {
    const window = this.#window;
    const at = window.length - 1 - this.#depth;
    const candidateUs = window[at] ?? this.#beforeFirst();
    const mayMiss = at >= 0 && this.#mayMissBelow(at);
    const dtsUs = mayMiss ? Math.min(candidateUs, this.#completeUs) : candidateUs;
    if (dtsUs > this.#lastUs) return dtsUs;
    // Not by more than half of what is left, so that frames between find place.
    const room = Math.floor((ptsUs - this.#lastUs) / 2);
    return this.#lastUs + Math.max(1, Math.min(HOLD_US, room));
  }

  /** Times before the first frame's, for as many frames as are reordered. */
  #beforeFirst(): number {
    const frameUs = Math.min(this.#frameUs, this.#declaredFrameUs);
    return this.#firstUs - Math.round((this.#depth - this.#frames) * frameUs);
  }

  /** Whether frames that come before the one at `at` of the window may still be missing. */
  #mayMissBelow(at: number): boolean {
    if (this.#declared !== undefined || this.#isSettled()) return false;
    const usAt = this.#window[at] ?? 0;
    const usBelow = this.#window[at - 1];
    return this.#measured < FIRST_FRAMES || usBelow === undefined ||
      usAt - usBelow > GAP_FRAMES * this.#frameUs;
  }

  #isSettled(): boolean {
    return this.#quiet >= SETTLED_FRAMES;
  }

  #isJump(ptsUs: number): boolean {
    const newestUs = this.#window.at(-1);
    if (newestUs === undefined) return false;
    const frameUs = this.#frameUs === Infinity ? this.#declaredFrameUs : this.#frameUs;
    if (Math.abs(ptsUs - newestUs) >= Math.max(JUMP_US, (MAX_DEPTH + 1) * frameUs)) return true;
    // What frames of a stream have never done for long, its clock does.
    const tooDeep = this.#window.at(-1 - (this.#isSettled() ? this.#depth : MAX_DEPTH));
    return tooDeep !== undefined && ptsUs < tooDeep;
  }

  #restart(): void {
    this.#window.length = 0;
    this.#frames = 0;
    this.#lastUs = -Infinity;
    this.#completeUs = -Infinity;
    this.#watch();
  }

  #watch(): void {
    this.#quiet = 0;
    this.#seenDepth = 0;
    this.#seenFrames = 0;
  }

  #grow(depth: number): void {
    this.#watch();
    this.#depth = depth;
  }

  /** Forgets a depth that frames have not needed for long. */
  #review(above: number): void {
    this.#seenDepth = Math.max(this.#seenDepth, above);
    if (++this.#seenFrames < REVIEW_FRAMES) return;
    const depth = Math.max(this.#seenDepth, this.#declared ?? 0);
    if (depth < this.#depth) {
      this.#watch();
      this.#depth = depth;
      this.#frameUs = Infinity;
      this.#measured = 0;
    }
    this.#seenDepth = 0;
    this.#seenFrames = 0;
  }

  /** Puts a time into the window: how many greater ones are there. */
  #insert(ptsUs: number): number {
    const window = this.#window;
    let at = window.length;
    while (at > 0 && (window[at - 1] ?? 0) > ptsUs) at--;
    const above = window.length - at;
    for (const neighbour of [window[at - 1], window[at]]) {
      const stepUs = neighbour === undefined ? 0 : Math.abs(ptsUs - neighbour);
      if (stepUs > 0) this.#frameUs = Math.min(this.#frameUs, stepUs);
    }
    this.#measured = Math.min(this.#measured + 1, FIRST_FRAMES);
    window.splice(at, 0, ptsUs);
    if (window.length > MAX_DEPTH + 1) window.shift();
    return above;
  }
}
