/** The options of the hls plugin. */

import { z } from "zod";

/** Containers of media segments: fragmented MP4, and MPEG-TS for old players. */
export type SegmentFormat = "fmp4" | "ts";

/** The options of the hls plugin. */
export interface HlsOptions {
  /**
   * Shortest duration of a segment in seconds, 0.5 to 30; it goes on from there to the next
   * keyframe. @default {2}
   */
  readonly SegmentDuration: number;
  /**
   * Longest duration that playlists promise for a segment, in whole seconds, for streams whose
   * keyframes are at uneven distances; 0 takes it from the keyframes so far. @default {0}
   */
  readonly TargetDuration: number;
  /** Duration of a part of a segment in ms, 50 to 2,000; whole frames make the nearest. @default {200} */
  readonly PartDuration: number;
  /**
   * Fewest segments that a playlist keeps, 3 to 100; it lasts for three target durations at least.
   *
   * They lie in memory, and those of before it for as long again: with the usual options 32 s of a
   * stream, which are 4 MB for each Mbit/s, in each format that is asked for. However much a
   * publisher sends, it is 512 MiB, and 32 MiB of the segment that is being made. @default {7}
   */
  readonly Segments: number;
  /** Format of the segments where a request names none: `fmp4` or `ts`. @default {"fmp4"} */
  readonly Format: SegmentFormat;
  /** Whether segments of fMP4 come in parts, for low latency. @default {true} */
  readonly LowLatency: boolean;
  /** Whether segments are made also of streams that nobody has asked for. @default {false} */
  readonly Always: boolean;
  /** Seconds without a request after which a stream's segments are no longer made. @default {30} */
  readonly IdleTimeout: number;
}

/** The schema of the plugin's section. */
export const hlsSchema: z.ZodType<HlsOptions> = z.strictObject({
  SegmentDuration: z.number().min(0.5).max(30).default(2),
  TargetDuration: z.number().int().min(0).max(60).default(0).describe("whole seconds, 60 at most"),
  PartDuration: z.number().int().min(50).max(2000).default(200),
  Segments: z.number().int().min(3).max(100).default(7),
  Format: z.enum(["fmp4", "ts"]).default("fmp4"),
  LowLatency: z.boolean().default(true),
  Always: z.boolean().default(false),
  IdleTimeout: z.number().min(5).max(3600).default(30),
}).superRefine(({ SegmentDuration, TargetDuration }, context) => {
  if (TargetDuration === 0 || TargetDuration >= SegmentDuration) return;
  const message = "must be 0, or at least SegmentDuration";
  context.addIssue({ code: "custom", path: ["TargetDuration"], message });
});
