/** A server on a free loopback port for tests, and clients that see more than `fetch` shows. */

import { concat } from "../../src/bytes.ts";
import { Engine } from "../../src/engine.ts";
import { FlvDemuxer, type FlvTag } from "../../src/formats/flv.ts";
import type { EngineConfig } from "../../src/options.ts";
import { Plugins } from "../../src/plugin.ts";
import http from "../../plugins/http/mod.ts";
import { type HttpService, httpService } from "../../plugins/http/service.ts";
import httpFlv from "../../plugins/http_flv/mod.ts";
import { listLogger } from "./logs.ts";

/** How long any step of a test may take. */
const PATIENCE_MS = 5000;

/** Options of {@linkcode startServer}. */
export interface ServerOptions {
  readonly engine?: EngineConfig;
  readonly http?: Record<string, unknown>;
  readonly httpFlv?: Record<string, unknown>;
}

/** A running server. */
export interface TestServer extends AsyncDisposable {
  readonly engine: Engine;
  readonly plugins: Plugins;
  readonly service: HttpService;
  /** Lines of the log with their level in front. */
  readonly logs: string[];
  /** Address, now. */
  readonly url: string;
  readonly port: number;
}

/** Starts an engine with the plugins http and http_flv on 127.0.0.1. */
export async function startServer(options: ServerOptions = {}): Promise<TestServer> {
  const logs: string[] = [];
  const log = listLogger(logs);
  const engine = new Engine({ OnDemandPublishTimeout: 0.2, ...options.engine }, { log });
  const plugins = new Plugins(engine, { log });
  let service: HttpService | undefined;
  await plugins.load("http", http, { Host: "127.0.0.1", Port: 0, ...options.http });
  await plugins.load("http_flv", httpFlv, options.httpFlv);
  await plugins.load("spy", {
    name: "spy",
    requires: [httpService],
    run: ({ use }) => void (service = use(httpService)),
  });
  if (service === undefined) throw new Error("There is no http service");
  const found = service;
  return {
    engine,
    plugins,
    service: found,
    logs,
    get url() {
      return found.url;
    },
    get port() {
      return Number(new URL(found.url).port);
    },
    async [Symbol.asyncDispose]() {
      await engine.close();
      await plugins.close();
    },
  };
}

/** Waits until `holds`. */
export async function eventually(what: string, holds: () => boolean): Promise<void> {
  const until = performance.now() + PATIENCE_MS;
  while (!holds()) {
    if (performance.now() > until) throw new Error(`It never came to this: ${what}`);
    await delay(5);
  }
}

/** Waits for `ms`. */
export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Reads FLV tags from the body of a response. */
export class FlvViewer implements AsyncDisposable {
  /** All bytes so far. */
  readonly chunks: Uint8Array[] = [];
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #demuxer = new FlvDemuxer();
  #tags: FlvTag[] = [];

  constructor(response: Response) {
    if (response.status !== 200 || response.body === null) {
      throw new Error(`The answer is ${response.status}`);
    }
    this.#reader = response.body.getReader();
  }

  /** Requests `url` and begins to read. */
  static async open(url: string, init?: RequestInit): Promise<FlvViewer> {
    const response = await fetch(url, init);
    if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`);
    return new FlvViewer(response);
  }

  /** The next `count` tags. */
  async take(count: number): Promise<FlvTag[]> {
    while (this.#tags.length < count) {
      if (!await this.#read()) throw new Error(`The body ended after ${this.#tags.length} tags`);
    }
    return this.#tags.splice(0, count);
  }

  /** All tags up to the end of the body; rejects if it ends with an error. */
  async rest(): Promise<FlvTag[]> {
    while (await this.#read());
    return this.#tags.splice(0);
  }

  /** All bytes so far as one. */
  get bytes(): Uint8Array {
    return concat(this.chunks);
  }

  /** Leaves. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reader.cancel().catch(() => {});
  }

  async #read(): Promise<boolean> {
    const { value, done } = await within(this.#reader.read(), "the next bytes");
    if (done) return false;
    this.chunks.push(value);
    this.#tags.push(...this.#demuxer.push(value));
    return true;
  }
}

async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Too long a wait for ${what}`)), PATIENCE_MS);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** An HTTP/1.1 client that is no more than a socket. */
export class RawClient implements Disposable {
  readonly #conn: Deno.TcpConn;
  #closed = false;

  constructor(conn: Deno.TcpConn) {
    this.#conn = conn;
  }

  /** Connects and sends a request without a body. */
  static async request(
    port: number,
    line: string,
    headers: Record<string, string> = {},
  ): Promise<RawClient> {
    const client = new RawClient(await Deno.connect({ hostname: "127.0.0.1", port }));
    const fields = Object.entries({ Host: `127.0.0.1:${port}`, ...headers });
    await client.send(
      [line + " HTTP/1.1", ...fields.map(([name, value]) => `${name}: ${value}`), "", ""]
        .join("\r\n"),
    );
    return client;
  }

  /** Sends bytes. */
  async send(data: string | Uint8Array): Promise<void> {
    let bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    while (bytes.length > 0) bytes = bytes.subarray(await this.#conn.write(bytes));
  }

  /** The next bytes; undefined at the end. */
  async read(): Promise<Uint8Array | undefined> {
    const buffer = new Uint8Array(65_536);
    const count = await within(this.#conn.read(buffer), "bytes on a socket");
    return count === null ? undefined : buffer.subarray(0, count);
  }

  /** Everything up to where the server closes, or up to the end of a chunked body. */
  async readAll(): Promise<RawResponse> {
    const chunks: Uint8Array[] = [];
    try {
      for (let bytes = await this.read(); bytes; bytes = await this.read()) {
        chunks.push(bytes);
        if (endsWith(concat(chunks.slice(-2)), "\r\n0\r\n\r\n")) break;
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
    }
    return parseResponse(concat(chunks));
  }

  /** The head of the answer, and what came with it. */
  async head(): Promise<RawResponse> {
    let bytes = new Uint8Array();
    while (!text(bytes).includes("\r\n\r\n")) {
      const more = await this.read();
      if (more === undefined) throw new Error(`The answer ended at ${text(bytes)}`);
      bytes = concat([bytes, more]);
    }
    return parseResponse(bytes);
  }

  /** Closes the socket with nothing said. */
  [Symbol.dispose](): void {
    if (!this.#closed) this.#conn.close();
    this.#closed = true;
  }
}

/** An answer as a socket saw it. */
export interface RawResponse {
  readonly status: number;
  readonly headers: Headers;
  /** The body as far as it came, without the framing of chunks. */
  readonly body: Uint8Array;
  /** Whether a chunked body has come to its end. */
  readonly complete: boolean;
}

function parseResponse(bytes: Uint8Array): RawResponse {
  const end = text(bytes).indexOf("\r\n\r\n");
  const [first = "", ...lines] = text(bytes.subarray(0, end)).split("\r\n");
  const headers = new Headers(lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  }));
  const rest = bytes.subarray(end + 4);
  const chunked = headers.get("transfer-encoding") === "chunked";
  const { body, complete } = chunked ? unchunk(rest) : { body: rest, complete: false };
  return { status: Number(first.split(" ")[1]), headers, body, complete };
}

function unchunk(bytes: Uint8Array): { body: Uint8Array; complete: boolean } {
  const parts: Uint8Array[] = [];
  let offset = 0;
  while (true) {
    const line = text(bytes.subarray(offset, offset + 12));
    const end = line.indexOf("\r\n");
    if (end < 0) return { body: concat(parts), complete: false };
    const length = parseInt(line.slice(0, end), 16);
    if (length === 0) return { body: concat(parts), complete: true };
    const start = offset + end + 2;
    parts.push(bytes.subarray(start, start + length));
    offset = start + length + 2;
  }
}

/** Bytes as characters, one for one. */
function text(bytes: Uint8Array): string {
  return new TextDecoder("latin1").decode(bytes);
}

function endsWith(bytes: Uint8Array, end: string): boolean {
  return text(bytes.subarray(-end.length)) === end;
}
