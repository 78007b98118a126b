/** The options of the http_flv plugin. */

import { z } from "zod";
import { type PlayOptions, playShape } from "../play.ts";

/** The options of the http_flv plugin. */
export interface HttpFlvOptions extends PlayOptions {
  /**
   * Seconds after the last subscriber's leave when a stream published here ends; −1 never.
   * @default {-1}
   */
  readonly AutoCloseDelay: number;
}

/** The schema of the plugin's section. */
export const httpFlvSchema: z.ZodType<HttpFlvOptions> = z.strictObject({
  ...playShape,
  AutoCloseDelay: z.literal(-1).or(z.number().min(0).max(86_400)).default(-1),
});
