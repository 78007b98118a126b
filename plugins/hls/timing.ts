/** How long segments and parts are to be: promised once in the life of a playlist. */

import type { MediaFrame } from "../../src/frame.ts";

/** What is asked for. */
export interface TimingOptions {
  /** Shortest duration of a segment, in µs. */
  readonly segmentUs: number;
  /** The target duration in whole seconds; 0 for what suits the first segment. */
  readonly targetSeconds: number;
  /** Duration of a part, in µs; undefined without parts. */
  readonly partUs: number | undefined;
}

/** What a playlist promises, and what keeps the promise. */
export interface Timing {
  /** EXT-X-TARGETDURATION, in seconds: no rounded duration of a segment is above it. */
  readonly targetSeconds: number;
  /** Shortest duration of a segment before a keyframe, in µs. */
  readonly segmentUs: number;
  /** How long a frame of the leading track usually lasts, in µs. */
  readonly frameUs: number;
  /** PART-TARGET in µs, whole ms: no part is longer; undefined without parts. */
  readonly partTargetUs: number | undefined;
  /** Duration from which on a part is complete, in µs. */
  readonly partUs: number;
}

/**
 * What a part lasts as a share of the target: in the middle of the 85 to 100 % that 4.4.4.9 allows,
 * so that frames may be late or early.
 */
const PART_SHARE = 0.92;
/** The least share of the part target (4.4.4.9). */
export const MIN_PART_SHARE = 0.85;

/** A frame of video lasts so long, in µs, where there is but one to tell it by. */
const USUAL_FRAME_US = 40_000;

/**
 * How much longer than the target in whole seconds the first segment may be, in µs: it rounds to
 * the target, and its successors may be longer by as much.
 */
const FIRST_EXCESS_US = 250_000;

/**
 * The timing that suits the frames of a first segment, which ends at `endUs`: those of video, or of
 * audio where there is no video.
 */
export function timingOf(
  frames: readonly MediaFrame[],
  endUs: number,
  options: TimingOptions,
): Timing {
  const leads = leadFrames(frames);
  const frameUs = usualDuration(leads);
  const durationUs = endUs - (leads[0]?.dts ?? endUs);
  const wholeSeconds = Math.ceil(Math.max(options.segmentUs, durationUs - FIRST_EXCESS_US) / 1e6);
  const targetSeconds = options.targetSeconds || wholeSeconds;
  const timing = { targetSeconds, segmentUs: options.segmentUs, frameUs };
  // Parts as long as segments, or frames as long as parts may be, are of no use.
  const partUs = options.partUs && Math.min(options.partUs, options.segmentUs / 2);
  if (partUs === undefined || frameUs > options.segmentUs / 2) {
    return { ...timing, partTargetUs: undefined, partUs: Infinity };
  }
  const count = Math.max(1, Math.round(partUs / frameUs));
  const nominalUs = count * frameUs;
  const partTargetUs = Math.ceil(nominalUs / PART_SHARE / 1000) * 1000;
  return {
    ...timing,
    partTargetUs,
    partUs: Math.max(nominalUs - frameUs / 2, MIN_PART_SHARE * partTargetUs),
  };
}

/** The frames of the track that segments are cut by. */
function leadFrames(frames: readonly MediaFrame[]): readonly MediaFrame[] {
  const video = frames.filter(({ kind }) => kind === "video");
  return video.length > 0 ? video : frames;
}

/** The median distance of frames, which late and lost ones don't move. */
function usualDuration(frames: readonly MediaFrame[]): number {
  const [first] = frames;
  const steps: number[] = [];
  for (const [index, { dts }] of frames.entries()) {
    const before = frames[index - 1];
    if (before !== undefined && dts > before.dts) steps.push(dts - before.dts);
  }
  steps.sort((a, b) => a - b);
  const declared = first?.kind === "video" ? first.config.frameRate : undefined;
  return steps[steps.length >> 1] ?? (declared ? Math.round(1e6 / declared) : USUAL_FRAME_US);
}
