/** The servers that are measured, each as it comes, told only where to listen. */

import { join } from "node:path";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import deno from "../../deno.json" with { type: "json" };
import type { StreamInfo } from "../../plugins/http/info.ts";
import type { BenchOptions, Protocol, ServerName } from "./options.ts";
import { compile, compiler } from "./compile.ts";
import { outputOf, which } from "./process.ts";

/** A server in one of its settings. */
export interface Variant {
  readonly server: ServerName;
  /** For the table. */
  readonly label: string;
  /** How long it merges frames, in ms, where that can be set. */
  readonly flushMs: number | undefined;
  readonly workers: number | undefined;
  /** Whether it is to offer HLS, too. */
  readonly hls?: boolean;
}

/** Where a server is to listen, on the loopback interface. */
export interface Place {
  readonly httpPort: number;
  readonly rtmpPort: number;
  readonly rtspPort: number;
  /** A new directory for its files. */
  readonly directory: string;
}

/** How to start a server. */
export interface Launch {
  readonly command: readonly string[];
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A kind of server. */
export interface ServerKind {
  readonly name: ServerName;
  /** Where viewers find stream `{}`, by protocol. */
  readonly urls: Readonly<Partial<Record<Protocol, (place: Place) => string>>>;
  /** Where players of HLS find stream 0. */
  readonly hlsUrl?: (place: Place) => string;
  /** How many viewers of stream 0 each of its isolates has, if it has isolates and counts. */
  viewersByIsolate?(place: Place, variant: Variant): Promise<number[] | undefined>;
  /** Its version. @throws {Error} If it is not there; the message says how to get it. */
  find(): Promise<string>;
  launch(variant: Variant, place: Place): Promise<Launch>;
}

const rtmpUrl = ({ rtmpPort }: Place) => `rtmp://127.0.0.1:${rtmpPort}/live/s{}`;
const rtspUrl = ({ rtspPort }: Place) => `rtsp://127.0.0.1:${rtspPort}/live/s{}`;
const flvUrl = ({ httpPort }: Place) => `http://127.0.0.1:${httpPort}/live/s{}.flv`;
const wsUrl = ({ httpPort }: Place) => `ws://127.0.0.1:${httpPort}/live/s{}.flv`;
const mp4Url = ({ httpPort }: Place) => `http://127.0.0.1:${httpPort}/live/s{}.mp4`;
const hlsUrl = ({ httpPort }: Place) => `http://127.0.0.1:${httpPort}/live/s0.m3u8`;
const wsMp4Url = ({ httpPort }: Place) => `ws://127.0.0.1:${httpPort}/live/s{}.mp4`;

/** Where all servers take streams. */
export const publishUrl: (place: Place) => string = rtmpUrl;

/** The settings in which a server is measured. */
export function variantsOf(
  server: ServerName,
  { flushes = [0, 20, 100, 350], workers }: Pick<BenchOptions, "flushes" | "workers">,
): Variant[] {
  const variant = (label: string, flushMs?: number, workers?: number): Variant => ({
    server,
    label: `${label}${workers === undefined ? "" : `, ${workers} workers`}`,
    flushMs,
    workers,
  });
  switch (server) {
    case "m7s":
      return flushes.map((ms) => variant(`m7s ${ms} ms`, ms, workers));
    case "floor":
      return flushes.map((ms) => variant(`floor ${ms} ms`, ms, workers));
    case "srs":
      return [variant("SRS realtime (100 ms)", 100), variant("SRS default (350 ms)", 350)];
    case "nms2":
      return [variant("node-media-server 2")];
    case "nms4":
      return [variant("node-media-server 4")];
    case "nginx":
      return [variant("nginx-rtmp")];
    case "mediamtx":
      return [variant("mediamtx")];
  }
}

const m7s: ServerKind = {
  name: "m7s",
  urls: {
    "http-flv": flvUrl,
    "ws-flv": wsUrl,
    "http-mp4": mp4Url,
    "ws-mp4": wsMp4Url,
    "rtmp": rtmpUrl,
    "rtsp": rtspUrl,
  },
  hlsUrl,
  async viewersByIsolate({ httpPort }, { workers = 1 }) {
    const url = `http://127.0.0.1:${httpPort}/api/streams/live/s0`;
    const answer = await fetch(url, { signal: AbortSignal.timeout(5000) });
    const { subscribers }: StreamInfo = await answer.json();
    const counts = Array.from({ length: workers }, () => 0);
    // Isolates count their subscribers in steps of as many as they are, each from its own number on.
    for (const { number } of subscribers) {
      const isolate = (number - 1) % workers;
      counts[isolate] = (counts[isolate] ?? 0) + 1;
    }
    return counts;
  },
  async find() {
    const revision = await outputOf(["git", "-C", ROOT, "describe", "--always", "--dirty"])
      .catch(() => "");
    return `${deno.version} ${revision.trim()} on Deno ${Deno.version.deno}`.replace("  ", " ");
  },
  async launch({ flushMs = 0, workers, hls }, { directory, httpPort, rtmpPort, rtspPort }) {
    const module = (name: string) => new URL(`../../plugins/${name}/mod.ts`, import.meta.url).href;
    const path = join(directory, "config.toml");
    await Deno.writeTextFile(
      path,
      `[Engine]
${workers === undefined ? "" : `Workers = ${workers}`}
[Plugins]
HTTP = "${module("http")}"
RTMP = "${module("rtmp")}"
RTSP = "${module("rtsp")}"
HTTP_FLV = "${module("http_flv")}"
HTTP_MP4 = "${module("http_mp4")}"
WS = "${module("ws")}"
${hls ? `HLS = "${module("hls")}"` : ""}
[HTTP]
Host = "127.0.0.1"
Port = ${httpPort}
[RTMP]
Host = "127.0.0.1"
Port = ${rtmpPort}
Flush = ${flushMs}
[RTSP]
Host = "127.0.0.1"
Port = ${rtspPort}
Flush = ${flushMs}
[HTTP_FLV]
Flush = ${flushMs}
[HTTP_MP4]
Flush = ${flushMs}
[WS]
Flush = ${flushMs}
`,
    );
    // As the task does, but without the shell that runs tasks, which would be measured, too.
    const [, ...args] = deno.tasks.start.command.split(" ");
    const options = ["--config", path, "--log", "warning"];
    return { command: [Deno.execPath(), ...args, ...options], cwd: ROOT };
  },
};

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

const floor: ServerKind = {
  name: "floor",
  urls: { "http-flv": flvUrl, "rtmp": rtmpUrl },
  async find() {
    const cc = await compiler();
    if (cc === undefined) throw new Error("floor.c needs a compiler");
    return (await outputOf([cc, "--version"])).split("\n", 1).join("");
  },
  viewersByIsolate: () => Promise.resolve(undefined),
  async launch({ flushMs = 0, workers = 1 }, { directory, httpPort, rtmpPort }) {
    const program = await compile("floor", directory) ?? "";
    const ports = ["--http", String(httpPort), "--rtmp", String(rtmpPort)];
    const options = ["--flush", String(flushMs), "--workers", String(workers)];
    return { command: [program, ...ports, ...options] };
  },
};

const nms2: ServerKind = {
  name: "nms2",
  urls: { "http-flv": flvUrl, "ws-flv": wsUrl, "rtmp": rtmpUrl },
  find: () => installFromNpm("2"),
  async launch(_variant, { directory, httpPort, rtmpPort }) {
    const config = {
      logType: 1,
      rtmp: { port: rtmpPort, chunk_size: 60_000, gop_cache: true, ping: 30, ping_timeout: 60 },
      http: { port: httpPort, allow_origin: "*", mediaroot: join(directory, "media") },
    };
    const path = join(directory, "server.cjs");
    const module = join(npmDirectory("2"), "node_modules/node-media-server");
    await Deno.writeTextFile(
      path,
      `const Server = require(${JSON.stringify(module)});
new Server(${JSON.stringify(config)}).run();
`,
    );
    return { command: [await which("node") ?? "node", path], cwd: directory };
  },
};

const nms4: ServerKind = {
  name: "nms4",
  urls: { "http-flv": flvUrl, "ws-flv": wsUrl, "rtmp": rtmpUrl },
  find: () => installFromNpm("4"),
  async launch(_variant, { directory, httpPort, rtmpPort }) {
    const module = join(npmDirectory("4"), "node_modules/node-media-server");
    const config = JSON.parse(await Deno.readTextFile(join(module, "bin/config.json")));
    Object.assign(config, {
      bind: "127.0.0.1",
      rtmp: { port: rtmpPort },
      http: { port: httpPort },
      store: { ...config.store, path: join(directory, "data") },
      record: { auto: false, path: join(directory, "record") },
    });
    delete config.rtmps;
    delete config.https;
    const path = join(directory, "config.json");
    await Deno.writeTextFile(path, JSON.stringify(config));
    const command = [await which("node") ?? "node", join(module, "bin/app.js"), "--config", path];
    return { command: [...command, "--no-admin"], cwd: directory };
  },
};

function npmDirectory(major: string): string {
  return join(tmpdir(), `m7s-bench-node-media-server-${major}`);
}

/** Installs node-media-server among the temporary files, once. */
async function installFromNpm(major: string): Promise<string> {
  if (await which("node") === undefined) throw new Error("there is no node on the PATH");
  const directory = npmDirectory(major);
  const manifest = join(directory, "node_modules/node-media-server/package.json");
  const version = async () => JSON.parse(await Deno.readTextFile(manifest)).version as string;
  const installed = await version().catch(() => undefined);
  if (installed !== undefined) return installed;
  await Deno.mkdir(directory, { recursive: true });
  const command = ["npm", "install", "--no-fund", "--no-audit", "--prefix", directory];
  await outputOf([...command, `node-media-server@${major}`], {
    cwd: directory,
    timeoutMs: 180_000,
  });
  return await version();
}

const NGINX_MODULES = ["/usr/lib/nginx/modules", "/usr/share/nginx/modules"];

const nginx: ServerKind = {
  name: "nginx",
  urls: { rtmp: rtmpUrl },
  async find() {
    const program = await which("nginx");
    if (program === undefined || await nginxModule() === undefined) {
      throw new Error("apt-get install nginx libnginx-mod-rtmp gets it");
    }
    const version = (await outputOf([program, "-v"])).match(/nginx\/(\S+)/)?.[1] ?? "";
    const query = ["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-rtmp"];
    const module = await outputOf(query).catch(() => "unknown");
    return `${version}, libnginx-mod-rtmp ${module}`;
  },
  async launch(_variant, { directory, rtmpPort }) {
    const path = join(directory, "nginx.conf");
    await Deno.writeTextFile(
      path,
      `load_module ${await nginxModule()};
daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log stderr warn;
pid ${join(directory, "nginx.pid")};
events { worker_connections 16384; }
rtmp {
  access_log off;
  server {
    listen 127.0.0.1:${rtmpPort};
    application live { live on; record off; }
  }
}
`,
    );
    return { command: [await which("nginx") ?? "nginx", "-p", directory, "-c", path] };
  },
};

async function nginxModule(): Promise<string | undefined> {
  for (const directory of NGINX_MODULES) {
    const path = `${directory}/ngx_rtmp_module.so`;
    if (await Deno.stat(path).catch(() => undefined)) return path;
  }
  return undefined;
}

const srs: ServerKind = {
  name: "srs",
  urls: { "http-flv": flvUrl, "rtmp": rtmpUrl },
  async find() {
    const program = await which("srs");
    if (program === undefined) throw new Error("it is taken along when srs is on the PATH");
    return (await outputOf([program, "-v"])).trim();
  },
  async launch({ flushMs = 350 }, { directory, httpPort, rtmpPort }) {
    const path = join(directory, "srs.conf");
    // As its documentation has it for low latency; without these lines it is at its defaults.
    const realtime = flushMs === 350
      ? ""
      : `min_latency on; tcp_nodelay on; play { gop_cache on; mw_latency ${flushMs}; mw_msgs 0; }`;
    await Deno.writeTextFile(
      path,
      `listen 127.0.0.1:${rtmpPort};
max_connections 16000;
daemon off;
srs_log_tank console;
srs_log_level warn;
pid ${join(directory, "srs.pid")};
http_server { enabled on; listen 127.0.0.1:${httpPort}; dir ${directory}; }
vhost __defaultVhost__ {
  http_remux { enabled on; mount [vhost]/[app]/[stream].flv; }
  ${realtime}
}
`,
    );
    return { command: [await which("srs") ?? "srs", "-c", path], cwd: directory };
  },
};

const mediamtx: ServerKind = {
  name: "mediamtx",
  urls: { rtmp: rtmpUrl, rtsp: rtspUrl },
  async find() {
    const program = await which("mediamtx");
    if (program === undefined) throw new Error("it is taken along when mediamtx is on the PATH");
    return (await outputOf([program, "--version"])).trim();
  },
  async launch(_variant, { directory, rtmpPort, rtspPort }) {
    const path = join(directory, "mediamtx.yml");
    await Deno.writeTextFile(
      path,
      `logLevel: warn
rtmpAddress: 127.0.0.1:${rtmpPort}
rtspAddress: 127.0.0.1:${rtspPort}
rtspTransports: [tcp]
hls: no
webrtc: no
srt: no
paths:
  all_others:
`,
    );
    return { command: [await which("mediamtx") ?? "mediamtx", path], cwd: directory };
  },
};

/** All of them. */
export const SERVERS: Readonly<Record<ServerName, ServerKind>> = {
  m7s,
  floor,
  nms2,
  nms4,
  nginx,
  srs,
  mediamtx,
};
