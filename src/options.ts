/** The engine's own options: the `[Engine]` section. */

import { z } from "zod";

/** The engine's options, complete. Times are in seconds, 86,400 at most. */
export interface EngineOptions {
  /** Whether audio is taken from publishers. @default {true} */
  readonly EnableAudio: boolean;
  /** Whether video is taken from publishers. @default {true} */
  readonly EnableVideo: boolean;
  /** Seconds without a frame after which a stream ends. @default {60} */
  readonly PublishTimeout: number;
  /** Seconds after the last subscriber's leave when a stream ends; −1 never. @default {10} */
  readonly AutoCloseDelay: number;
  /** Whether late RTP packets are put back in order. @default {false} */
  readonly RTPReorder: boolean;
  /** Seconds for which a subscriber waits for a missing stream; 0 not at all. @default {20} */
  readonly OnDemandPublishTimeout: number;
  /** Seconds for which a stream waits for a publisher whose connection was lost. @default {5} */
  readonly ReconnectTimeout: number;
  /**
   * Isolates that share the ports, for more cores than one; 0 for one a core. It is for the program
   * that runs engines: one engine does not change by it. @default {1}
   */
  readonly Workers: number;
}

/** The engine's options as a config gives them: what is left out has its default. */
export type EngineConfig = { readonly [K in keyof EngineOptions]?: EngineOptions[K] | undefined };

/** More than cores of any machine that this is for. */
const MAX_WORKERS = 256;

const seconds = z.number().min(0).max(86_400);

/** The schema of the `[Engine]` section. */
export const engineSchema: z.ZodType<EngineOptions, EngineConfig> = z.strictObject({
  EnableAudio: z.boolean().default(true),
  EnableVideo: z.boolean().default(true),
  PublishTimeout: seconds.gt(0).default(60),
  AutoCloseDelay: z.literal(-1).or(seconds).default(10),
  RTPReorder: z.boolean().default(false),
  OnDemandPublishTimeout: seconds.default(20),
  ReconnectTimeout: seconds.default(5),
  Workers: z.int().min(0).max(MAX_WORKERS).default(1),
}).readonly();

/**
 * The options in `config`, frozen, with the defaults of the keys that it leaves out.
 *
 * @throws {Error} If a key is unknown or a value out of range; its message names them.
 */
export function engineOptions(config: EngineConfig = {}): EngineOptions {
  return Object.freeze(engineSchema.parse(config));
}
