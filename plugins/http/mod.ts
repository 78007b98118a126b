/** The http plugin: one HTTP listener for all plugins, and the API. */

import { z } from "zod";
import { definePlugin, type Plugin, type PluginContext } from "../../src/plugin.ts";
import { readTlsPair } from "../tcp.ts";
import { Access } from "./access.ts";
import { createApi } from "./api.ts";
import { Dispatcher } from "./dispatch.ts";
import { listen, type Listener, type ListenOptions } from "./listener.ts";
import { httpService } from "./service.ts";

/** The options of the http plugin. */
export interface HttpOptions {
  /** Interface to listen on; `127.0.0.1` for this machine only, `::` for IPv6 too. @default {"0.0.0.0"} */
  readonly Host: string;
  /** TCP port; 0 for any free one. @default {8080} */
  readonly Port: number;
  /** File with the certificate chain in PEM, for HTTPS; with {@linkcode HttpOptions.Key}. */
  readonly Cert?: string | undefined;
  /** File with the private key in PEM. */
  readonly Key?: string | undefined;
  /** Origins whose pages may use the server: `*`, one, or a list; an empty list for none. @default {"*"} */
  readonly Cors: string | readonly string[];
  /** What users of the API must show; without one it answers this machine only. */
  readonly ApiToken?: string | undefined;
  /** Whether everybody may read what the API tells, also of viewers' addresses. @default {false} */
  readonly PublicRead: boolean;
  /** Seconds after which a client is cut off that takes nothing of what it is sent. @default {60} */
  readonly WriteTimeout: number;
}

const origin = z.string().regex(/^(\*|https?:\/\/[^/\s]+)$/, {
  error: "must be * or an origin such as https://example.org",
});
const file = z.string().min(1);

const schema: z.ZodType<HttpOptions> = z.strictObject({
  Host: z.string().min(1).default("0.0.0.0").describe("an IP address or host name"),
  Port: z.number().int().min(0).max(65_535).default(8080),
  Cert: file.optional().describe("a PEM file"),
  Key: file.optional().describe("a PEM file"),
  Cors: origin.or(z.array(origin)).default("*").describe("an origin, a list of them, or *"),
  ApiToken: z.string().regex(/^\S{8,}$/, { error: "must have 8 characters or more, no spaces" })
    .optional().describe("8 characters or more, without spaces"),
  PublicRead: z.boolean().default(false),
  WriteTimeout: z.number().positive().max(3600).default(60).describe("seconds, 3600 at most"),
}).superRefine(({ Cert, Key }, context) => {
  if ((Cert === undefined) === (Key === undefined)) return;
  const [missing, given] = Cert === undefined ? ["Cert", "Key"] : ["Key", "Cert"];
  context.addIssue({ code: "custom", path: [missing], message: `is needed beside ${given}` });
});

/** The http plugin. It provides {@linkcode httpService} and serves `/api`. */
const plugin: Plugin<HttpOptions> = definePlugin({
  name: "http",
  options: schema,
  provides: [httpService],
  async run(context: PluginContext<HttpOptions>) {
    const { engine, signal, log } = context;
    let options = context.options;
    const dispatcher = new Dispatcher(originsOf(options), log);
    const writeTimeoutMs = () => options.WriteTimeout * 1000;
    const start = async (options: HttpOptions): Promise<Listener> => {
      const started = await listen(
        {
          ...await addressOf(options),
          shared: engine.isolates.count > 1,
          writeTimeoutMs,
          short: dispatcher.short,
        },
        dispatcher.fetch,
        log,
      );
      log.info("listening on {url} with the API at {url}/api/streams", { url: started.url });
      return started;
    };
    let listener = await start(options);
    context.defer(() => listener.stop());
    const access = new Access(() => ({
      token: options.ApiToken,
      publicRead: options.PublicRead,
      origins: originsOf(options),
    }));
    const api = createApi({ context, access });
    dispatcher.mount(api.app, signal);
    context.provide(httpService, {
      get url() {
        return listener.url;
      },
      mount: (app, signal, options) => dispatcher.mount(app, signal, options),
      access: access.guard,
    });
    return {
      urls: () => [listener.url],
      async configure(next) {
        if (LISTENER_KEYS.some((key) => next[key] !== options[key])) {
          // Files that cannot be read are found out before anything stops.
          await addressOf(next);
          await listener.stop();
          listener = await start(next).catch(async (error) => {
            listener = await start(options);
            throw error;
          });
        }
        const isSame = ACCESS_KEYS.every((key) => String(next[key]) === String(options[key]));
        options = next;
        if (!isSame) api.reset();
        dispatcher.setOrigins(originsOf(options));
      },
    };
  },
});

export default plugin;

type Address = Omit<ListenOptions, "writeTimeoutMs">;

/** The options whose change needs another socket. */
const LISTENER_KEYS = ["Host", "Port", "Cert", "Key"] as const;

/** The options that say who may use the API. */
const ACCESS_KEYS = ["ApiToken", "PublicRead", "Cors"] as const;

function originsOf({ Cors }: HttpOptions): readonly string[] {
  return typeof Cors === "string" ? [Cors] : Cors;
}

async function addressOf({ Host, Port, Cert, Key }: HttpOptions): Promise<Address> {
  if (Cert === undefined || Key === undefined) return { host: Host, port: Port };
  return { host: Host, port: Port, tls: await readTlsPair(Cert, Key) };
}
