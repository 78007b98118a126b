/** The options of the http_flv plugin. */

import { z } from "zod";
import { MAX_FLUSH_MS } from "./flush.ts";

/** The options of the http_flv plugin. */
export interface HttpFlvOptions {
  /**
   * How long frames are gathered before they go out together, in ms, 1,000 at most; 0 sends each at
   * once. Rounded up to one of `FLUSH_INTERVALS_MS`. @default {40}
   */
  readonly Flush: number;
  /**
   * How far behind a viewer may be, in seconds, before it drops to the newest keyframe; 0 as far as
   * the stream is kept, which is 2 s, or back to its newest keyframe, or more while it is recorded.
   * @default {5}
   */
  readonly MaxLag: number;
  /**
   * Seconds after the last subscriber's leave when a stream published here ends; −1 never.
   * @default {-1}
   */
  readonly AutoCloseDelay: number;
}

/** The schema of the plugin's section. */
export const httpFlvSchema: z.ZodType<HttpFlvOptions> = z.strictObject({
  Flush: z.number().int().min(0).max(MAX_FLUSH_MS).default(40),
  MaxLag: z.number().min(0).max(3600).default(5),
  AutoCloseDelay: z.literal(-1).or(z.number().min(0).max(86_400)).default(-1),
});
