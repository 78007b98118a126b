/** Options of the rtmp plugin: the `[RTMP]` section. */

import { z } from "zod";
import type { OptionsSchema } from "../../src/config.ts";
import { MAX_MESSAGE_BYTES } from "./chunk.ts";

/** The options, complete. */
export interface RtmpOptions {
  /** Address to listen on. @default {"0.0.0.0"} */
  readonly Host: string;
  /** Port of RTMP; 0 takes any free one. @default {1935} */
  readonly Port: number;
  /** Certificate chain of RTMPS, a PEM file; with `Key` it turns RTMPS on. @default {""} */
  readonly Cert: string;
  /** Private key of RTMPS, a PEM file. @default {""} */
  readonly Key: string;
  /** Port of RTMPS; 0 takes any free one. @default {1936} */
  readonly TLSPort: number;
  /** Payload bytes in a chunk that we send. @default {60000} */
  readonly ChunkSize: number;
  /** Largest message taken, in bytes. @default {8388608} */
  readonly MaxMessageSize: number;
  /** Seconds until a connection must publish or play; it may wait for a stream. @default {10} */
  readonly StartTimeout: number;
  /** Seconds for which a player may take nothing before it is cut off. @default {60} */
  readonly WriteTimeout: number;
  /**
   * Seconds of silence after which a peer is asked for a sign of life, and again after which it is
   * cut off; 0 never. @default {60}
   */
  readonly PingInterval: number;
  /** Milliseconds for which frames are gathered before they go out together. @default {40} */
  readonly Flush: number;
  /** Seconds by which a player may be late before it drops; 0: as the ring has. @default {5} */
  readonly MaxLag: number;
  /** Seconds after the last viewer's leave when a stream published here ends. @default {-1} */
  readonly AutoCloseDelay: number;
  /** Whether a publisher takes the place of a live one instead of being refused. @default {false} */
  readonly TakeOver: boolean;
}

const port = z.number().int().min(0).max(65_535);
const seconds = z.number().gt(0).max(86_400);

/** The schema of the `[RTMP]` section. */
export const rtmpSchema: OptionsSchema<RtmpOptions> = z.strictObject({
  Host: z.string().default("0.0.0.0"),
  Port: port.default(1935),
  Cert: z.string().default(""),
  Key: z.string().default(""),
  TLSPort: port.default(1936),
  ChunkSize: z.number().int().min(128).max(65_536).default(60_000),
  MaxMessageSize: z.number().int().min(65_536).max(0xff_ffff).default(MAX_MESSAGE_BYTES),
  StartTimeout: seconds.default(10),
  WriteTimeout: seconds.default(60),
  PingInterval: seconds.or(z.literal(0)).default(60),
  Flush: z.number().int().min(0).max(1000).default(40),
  MaxLag: z.number().min(0).max(3600).default(5),
  AutoCloseDelay: z.literal(-1).or(z.number().min(0).max(86_400)).default(-1),
  TakeOver: z.boolean().default(false),
}).refine(({ Cert, Key }) => (Cert === "") === (Key === ""), {
  message: "Cert and Key go together",
  path: ["Cert"],
});
