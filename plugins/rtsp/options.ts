/** Options of the rtsp plugin: the `[RTSP]` section. */

import { z } from "zod";
import type { OptionsSchema } from "../../src/config.ts";
import { parseTarget } from "../../src/path.ts";
import { parseRtspUrl } from "./url.ts";

/** What carries the packets: the connection itself, or datagrams beside it. */
export type Carrier = "tcp" | "udp";

/** A stream that is fetched from another server, or sent to one. */
export interface RemoteOptions {
  /** Where it is there: `rtsp:` or `rtsps:`, with credentials if it wants some. */
  readonly URL: string;
  /** What carries the packets. @default {"tcp"} */
  readonly Transport: Carrier;
  /**
   * SHA-256 of the certificate of an `rtsps:` server, 32 bytes in hexadecimal: that one is trusted
   * then, whoever has signed it and whatever its name, and no other. @default {""}
   */
  readonly Fingerprint: string;
}

/** A stream that is fetched from another server. */
export interface PullOptions extends Omit<RemoteOptions, "Transport"> {
  /**
   * What carries the packets; `auto`: UDP, or the connection where no packet comes by UDP.
   * @default {"tcp"}
   */
  readonly Transport: Carrier | "auto";
  /** Whether it is fetched when nobody watches, too. @default {true} */
  readonly Always: boolean;
}

/** The options, complete. */
export interface RtspOptions {
  /** Address to listen on. @default {"0.0.0.0"} */
  readonly Host: string;
  /** Port of RTSP; 0 takes any free one. @default {8554} */
  readonly Port: number;
  /** Certificate chain of RTSPS, a PEM file; with `Key` it turns RTSPS on. @default {""} */
  readonly Cert: string;
  /** Private key of RTSPS, a PEM file. @default {""} */
  readonly Key: string;
  /** Port of RTSPS; 0 takes any free one. @default {8322} */
  readonly TLSPort: number;
  /**
   * First and last UDP port for packets, two of them for each track of a client; empty: packets
   * only travel in the connection. @default {[10000, 10999]}
   */
  readonly UDPPorts: readonly number[];
  /** Passwords by user; without any, whoever comes may try. @default {{}} */
  readonly Users: Readonly<Record<string, string>>;
  /** Whether users may show their password in the clear (Basic). @default {false} */
  readonly AllowBasic: boolean;
  /** Seconds until a connection must publish or play; it may wait for a stream. @default {10} */
  readonly StartTimeout: number;
  /** Seconds without a sign of life after which a session over UDP ends. @default {60} */
  readonly SessionTimeout: number;
  /** Seconds for which a player may take nothing before it is cut off. @default {60} */
  readonly WriteTimeout: number;
  /** Milliseconds for which frames are gathered before they go out together. @default {40} */
  readonly Flush: number;
  /** Seconds by which a player may be late before it drops; 0: as the ring has. @default {5} */
  readonly MaxLag: number;
  /** Seconds after the last viewer's leave when a stream published here ends. @default {-1} */
  readonly AutoCloseDelay: number;
  /** Whether a publisher takes the place of a live one instead of being refused. @default {false} */
  readonly TakeOver: boolean;
  /** Streams that are fetched from other servers, by their paths here. @default {{}} */
  readonly Pull: Readonly<Record<string, PullOptions>>;
  /** Streams that are sent to other servers whenever they are live. @default {{}} */
  readonly Push: Readonly<Record<string, RemoteOptions>>;
}

/** Fewest ports that make sense: a pair for each of two tracks. */
const MIN_PORTS = 4;

const port = z.number().int().min(0).max(65_535);
const seconds = z.number().gt(0).max(86_400);
const remoteUrl = z.string().superRefine((text, { addIssue }) => {
  const problem = problemOf(() => parseRtspUrl(text));
  if (problem !== undefined) addIssue(problem);
});
const Fingerprint = z.string().regex(/^(?:[\da-f]{2}(?::?[\da-f]{2}){31})?$/i, {
  message: "must be 32 bytes in hexadecimal, as the SHA-256 of a certificate",
}).default("");
const pull = z.strictObject({
  URL: remoteUrl,
  Transport: z.enum(["tcp", "udp", "auto"]).default("tcp"),
  Fingerprint,
  Always: z.boolean().default(true),
});
const push = z.strictObject({
  URL: remoteUrl,
  Transport: z.enum(["tcp", "udp"]).default("tcp"),
  Fingerprint,
});

/** The schema of the `[RTSP]` section. */
export const rtspSchema: OptionsSchema<RtspOptions> = z.strictObject({
  Host: z.string().default("0.0.0.0"),
  Port: port.default(8554),
  Cert: z.string().default(""),
  Key: z.string().default(""),
  TLSPort: port.default(8322),
  UDPPorts: z.array(port.min(1)).describe("the first and the last port, or []")
    .default([10_000, 10_999]),
  Users: z.record(z.string().min(1), z.string()).default({}),
  AllowBasic: z.boolean().default(false),
  StartTimeout: seconds.default(10),
  SessionTimeout: z.number().int().min(1).max(86_400).default(60),
  WriteTimeout: seconds.default(60),
  Flush: z.number().int().min(0).max(1000).default(40),
  MaxLag: z.number().min(0).max(3600).default(5),
  AutoCloseDelay: z.literal(-1).or(z.number().min(0).max(86_400)).default(-1),
  TakeOver: z.boolean().default(false),
  Pull: remotes(pull),
  Push: remotes(push),
}).refine(({ Cert, Key }) => (Cert === "") === (Key === ""), {
  message: "Cert and Key go together",
  path: ["Cert"],
}).refine(
  ({ UDPPorts: [first, last = 0, ...others] }) =>
    first === undefined || (last - first + 1 >= MIN_PORTS && others.length === 0),
  {
    message: `must be the first and the last of at least ${MIN_PORTS} ports`,
    path: ["UDPPorts"],
  },
).refine(
  ({ UDPPorts, Pull, Push }) =>
    UDPPorts.length > 0 ||
    [...Object.values(Pull), ...Object.values(Push)].every(({ Transport }) => Transport !== "udp"),
  { message: "must not be empty where something is pulled or pushed by udp", path: ["UDPPorts"] },
);

/** Entries by their paths, each a URL or a table whose keys match in any case. */
function remotes<S extends z.ZodObject>(schema: S) {
  const entry = z.string().or(z.record(z.string(), z.unknown()));
  return z.record(z.string(), entry).transform((entries, { addIssue }) => {
    const complete: Record<string, z.output<S>> = {};
    for (const [path, value] of Object.entries(entries)) {
      const add = (message: string, key: readonly PropertyKey[] = []) =>
        addIssue({ code: "custom", message, path: [path, ...key] });
      const problem = problemOf(() => checkPath(path));
      if (problem !== undefined) add(problem);
      const table = typeof value === "string" ? { URL: value } : value;
      const result = schema.safeParse(canonical(table, Object.keys(schema.shape)));
      if (!result.success) {
        for (const issue of result.error.issues) add(issue.message, issue.path);
      } else {
        complete[path] = result.data;
        const { URL, Fingerprint } = result.data as unknown as RemoteOptions;
        // It would seem to be safe.
        if (Fingerprint !== "" && !parseRtspUrl(URL).isSecure) {
          add("goes with rtsps: only", ["Fingerprint"]);
        }
      }
    }
    return complete;
  }).default({});
}

function canonical(table: Readonly<Record<string, unknown>>, names: readonly string[]) {
  return Object.fromEntries(
    Object.entries(table).map(([key, value]) => [
      names.find((name) => name.toLowerCase() === key.toLowerCase()) ?? key,
      value,
    ]),
  );
}

function checkPath(path: string): void {
  if (parseTarget(path).path !== path) {
    throw new TypeError(`Cannot use ${JSON.stringify(path)}: it is no plain path such as live/a`);
  }
}

/** What `check` throws, in words. */
function problemOf(check: () => unknown): string | undefined {
  try {
    check();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
