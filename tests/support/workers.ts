/** The program with two isolates, and clients that land on whichever the system gives them. */

import { assertEquals } from "@std/assert";
import { MessageType } from "../../plugins/rtmp/message.ts";
import { joinLengthPrefixed } from "../../src/codecs/nal.ts";
import { FlvDemuxer } from "../../src/formats/flv.ts";
import { audioBody, frameBody } from "./frames.ts";
import { freePort } from "./free_port.ts";
import { Program } from "./program.ts";
import { eventually, RtmpClient } from "./rtmp.ts";

/** How often something is tried that chance decides, one to one. */
export const ATTEMPTS = 40;

/** A subscriber, as the API tells of it. */
export interface SubscriberInfo {
  readonly number: number;
  readonly id: string;
  readonly dropped: number;
  readonly lagMs: number;
}

/** A stream, as the API tells of it. */
export interface StreamInfo {
  readonly path: string;
  readonly state: string;
  readonly publisher: { readonly id: string } | null;
  readonly subscribers: readonly SubscriberInfo[];
}

/** What the plugin `isolate_probe` tells of its isolate. */
export interface Probe {
  readonly isolate: number;
  readonly streams: {
    readonly path: string;
    readonly replica: boolean;
    readonly subscribers: readonly string[];
  }[];
}

/** One connection to the HTTP server, and so to one isolate. */
export class Connection implements Disposable {
  readonly #client = Deno.createHttpClient({});
  readonly #url: string;

  /** To a server at `url`, made with the first request. */
  constructor(url: string) {
    this.#url = url;
  }

  /** The answer to a request. */
  async request(path: string, init: RequestInit = {}): Promise<Response> {
    const signal = AbortSignal.timeout(5000);
    return await fetch(this.#url + path, { ...init, client: this.#client, signal });
  }

  /** The answer to `GET`. */
  // deno-lint-ignore no-explicit-any -- what the answer is the test knows
  async json(path: string): Promise<any> {
    return await (await this.request(path)).json();
  }

  /** The status of the answer. */
  async status(method: string, path: string): Promise<number> {
    const response = await this.request(path, { method });
    await response.body?.cancel();
    return response.status;
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

/** The program with two isolates, and a connection to each. */
export class WorkersServer implements AsyncDisposable {
  /** The program. */
  readonly program: Program;
  /** Where it listens for HTTP. */
  readonly http: string;
  /** Where it listens for RTMP. */
  readonly rtmp: string;
  #connections: Connection[] = [];

  private constructor(program: Program, http: number, rtmp: number) {
    this.program = program;
    this.http = `http://127.0.0.1:${http}`;
    this.rtmp = `rtmp://127.0.0.1:${rtmp}`;
  }

  /** Starts it with `sections` behind those that it needs. */
  static async start(sections: string, ...args: readonly string[]): Promise<WorkersServer> {
    const [http, rtmp] = [freePort(), freePort()];
    const program = await Program.start(workersConfig({ http, rtmp, sections }), ...args);
    try {
      await program.says("2 isolates serve");
      const server = new WorkersServer(program, http, rtmp);
      await server.reach();
      return server;
    } catch (error) {
      await program[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Makes new connections until there is one to each isolate. */
  async reach(): Promise<void> {
    for (const connection of this.#connections) connection[Symbol.dispose]();
    this.#connections = [];
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const connection = new Connection(this.http);
      const { isolate }: Probe = await connection.json("/probe");
      this.#connections[isolate]?.[Symbol.dispose]();
      this.#connections[isolate] = connection;
      if (this.#connections[0] && this.#connections[1]) return;
    }
    throw new Error("Only one isolate answers");
  }

  /** A connection to isolate `index`. */
  on(index: number): Connection {
    const connection = this.#connections[index];
    if (connection === undefined) throw new Error(`There is no isolate ${index}`);
    return connection;
  }

  /** The isolate that publishes live/a. */
  async home(): Promise<number> {
    for (const index of [0, 1]) {
      const { streams }: Probe = await this.on(index).json("/probe");
      if (streams.some(({ path, replica }) => path === "live/a" && !replica)) return index;
    }
    return -1;
  }

  /** What all isolates say of live/a. */
  async stream(): Promise<StreamInfo> {
    return await this.on(0).json("/api/streams/live/a");
  }

  /** Opens viewers by `protocol` until each isolate has one: those, by isolate. */
  async viewers(protocol: "flv" | "rtmp"): Promise<[Viewer, Viewer]> {
    const found: Viewer[] = [];
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const before = await this.#numbers();
      const viewer = protocol === "flv"
        ? await FlvViewer.open(`${this.http}/live/a.flv`)
        : new RtmpViewer(await RtmpClient.play(this.rtmp, "a"));
      await eventually("a viewer gets something", () => viewer.ids.length > 0);
      const [number = 0] = (await this.#numbers()).filter((number) => !before.includes(number));
      viewer.number = number;
      const isolate = (number - 1) % 2;
      if (found[isolate]) await viewer.close();
      else found[isolate] = viewer;
      const [first, second] = found;
      if (first && second) return [first, second];
    }
    throw new Error("All viewers are in one isolate");
  }

  async #numbers(): Promise<number[]> {
    return (await this.stream()).subscribers.map(({ number }) => number);
  }

  /** Stops the program in good order. */
  async stop(): Promise<void> {
    this.#disconnect();
    await this.program.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disconnect();
    await this.program[Symbol.asyncDispose]();
  }

  #disconnect(): void {
    for (const connection of this.#connections) connection[Symbol.dispose]();
    this.#connections = [];
  }
}

/** Options of {@linkcode workersConfig}. */
export interface WorkersOptions {
  readonly http: number;
  readonly rtmp: number;
  /** What comes behind `[RTMP]`, `Host` and `Port`. */
  readonly sections?: string;
  /** @default {2} */
  readonly workers?: number;
}

/** A config on these ports; `sections` go on with that of RTMP. */
export function workersConfig(options: WorkersOptions): string {
  const { http, rtmp, sections = "", workers = 2 } = options;
  return `
[Engine]
Workers = ${workers}
[Plugins]
HTTP = "{root}plugins/http/mod.ts"
RTMP = "{root}plugins/rtmp/mod.ts"
HTTP_FLV = "{root}plugins/http_flv/mod.ts"
PROBE = "{root}tests/fixtures/plugins/isolate_probe.ts"
[HTTP]
Host = "127.0.0.1"
Port = ${http}
[RTMP]
Host = "127.0.0.1"
Port = ${rtmp}
${sections}`;
}

/** A viewer: the numbers of the frames that it has got. */
export interface Viewer {
  readonly ids: readonly number[];
  /** Its number as a subscriber. */
  number: number;
  /** Whether its stream has ended. */
  readonly isOver: boolean;
  /** Stops reading, or goes on. */
  hold(on: boolean): void;
  /** Leaves. */
  close(): Promise<void>;
}

class RtmpViewer implements Viewer {
  number = 0;
  readonly #client: RtmpClient;

  constructor(client: RtmpClient) {
    this.#client = client;
  }

  get ids(): number[] {
    return this.#client.media.flatMap(({ type, payload }) =>
      type === MessageType.video ? idsOf(payload) : []
    );
  }

  get isOver(): boolean {
    return this.#client.isClosed || this.#client.codes.includes("NetStream.Play.UnpublishNotify");
  }

  hold(on: boolean): void {
    this.#client.hold(on);
  }

  async close(): Promise<void> {
    await this.#client[Symbol.asyncDispose]();
  }
}

class FlvViewer implements Viewer {
  readonly ids: number[] = [];
  number = 0;
  isOver = false;
  #hold: PromiseWithResolvers<void> | undefined;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  readonly #reading: Promise<void>;

  private constructor(body: ReadableStream<Uint8Array>) {
    this.#reader = body.getReader();
    this.#reading = this.#read();
  }

  static async open(url: string): Promise<FlvViewer> {
    const { status, body } = await fetch(url);
    if (status !== 200 || body === null) throw new Error(`The answer is ${status}`);
    return new FlvViewer(body);
  }

  hold(on: boolean): void {
    if (on) this.#hold ??= Promise.withResolvers();
    else {
      this.#hold?.resolve();
      this.#hold = undefined;
    }
  }

  async close(): Promise<void> {
    this.hold(false);
    await this.#reader.cancel().catch(() => {});
    await this.#reading;
  }

  async #read(): Promise<void> {
    const demuxer = new FlvDemuxer();
    try {
      for (;;) {
        await this.#hold?.promise;
        const { value, done } = await this.#reader.read();
        if (done) return;
        for (const { type, body } of demuxer.push(value)) {
          if (type === MessageType.video) this.ids.push(...idsOf(body));
        }
      }
    } catch {
      // It was cut.
    } finally {
      this.isOver = true;
    }
  }
}

/** The number in the body of a video message, unless it is a header. */
function idsOf(body: Uint8Array): number[] {
  if (body[1] !== 1) return [];
  return [new DataView(body.buffer, body.byteOffset).getUint32(10)];
}

/** Publishers of live/a, whose frames are numbered on from one to the next. */
export class Publishers implements AsyncDisposable {
  readonly #url: string;
  readonly #clients: RtmpClient[] = [];
  /** The number of the newest frame. */
  last = 0;
  /** The number of the newest keyframe. */
  lastKey = 0;

  /** Nobody yet, to the RTMP server at `url`. */
  constructor(url: string) {
    this.#url = url;
  }

  /** The newest publisher. */
  get client(): RtmpClient {
    const client = this.#clients.at(-1);
    if (client === undefined) throw new Error("Nobody publishes");
    return client;
  }

  /** Publishes anew. */
  async next(): Promise<void> {
    const client = await RtmpClient.publish(this.#url, "a");
    this.#clients.push(client);
    await client.pushHeaders(this.last * 40);
  }

  /** Pushes a frame, for instance of 40 ms, 25 of them a second. */
  async push(key = false, bytes = 20): Promise<void> {
    const id = ++this.last;
    if (key) this.lastKey = id;
    const nalu = new Uint8Array(bytes).fill(0xaa);
    nalu[0] = key ? 0x65 : 0x41;
    new DataView(nalu.buffer).setUint32(1, id);
    await this.client.send(
      MessageType.video,
      frameBody("avc1", joinLengthPrefixed([nalu]), { key }),
      { timestampMs: id * 40 },
    );
    await this.client.send(MessageType.audio, audioBody(id), { timestampMs: id * 40 });
  }

  /** Pushes a keyframe and `deltas` other frames. */
  async gop(deltas: number): Promise<void> {
    await this.push(true);
    for (let frame = 0; frame < deltas; frame++) await this.push();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients) await client[Symbol.asyncDispose]();
  }
}

/** Waits until all of `viewers` have all frames up to now, each from its `from` on, once and in order. */
export async function haveAll(
  viewers: readonly Viewer[],
  publishers: Publishers,
  from: readonly number[],
): Promise<void> {
  for (const [index, { ids }] of viewers.entries()) {
    await eventually(
      `viewer ${index} has frame ${publishers.last}, it has ${viewers[index]?.ids.at(-1)}`,
      () => viewers[index]?.ids.at(-1) === publishers.last,
    );
    const first = from[index] ?? 0;
    const all = Array.from({ length: publishers.last - first + 1 }, (_, at) => first + at);
    assertEquals(viewers[index]?.ids ?? ids, all, `viewer ${index}`);
  }
}

/** Lets all of `viewers` leave. */
export async function closeAll(viewers: readonly Viewer[]): Promise<void> {
  for (const viewer of viewers) await viewer.close();
}
