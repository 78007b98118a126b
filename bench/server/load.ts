/**
 * The load of the benchmark where there is no compiler: `load.c` in TypeScript, with the same
 * options, commands and answers, for some hundred viewers. `load_client.ts` tells what they are.
 */

import { delay } from "@std/async/delay";
import { parseArgs } from "node:util";
import { concat, equalBytes } from "../../src/bytes.ts";
import { encodeAmf0 } from "../../src/formats/amf.ts";
import {
  FlvDemuxer,
  type FlvTag,
  TAG_AUDIO,
  TAG_SCRIPT,
  TAG_VIDEO,
} from "../../src/formats/flv.ts";
import { parseCommand } from "../../plugins/rtmp/command.ts";
import { eachLine } from "./process.ts";
import { RtmpClient } from "./rtmp_client.ts";
import { readStamp, SEI_BYTES, stamp } from "./stamp.ts";

const START_TIMEOUT_MS = 20_000;
const MAX_CONNECTING = 128;
const MAX_QUEUED_MESSAGES = 2000;
/** Bytes before the first NAL unit in a video tag of H.264. */
const VIDEO_PREFIX = 5;

/** µs on a clock that all processes of this kind share. */
function nowUs(): number {
  return (performance.timeOrigin + performance.now()) * 1000;
}

/** Whether a tag is a frame of H.264 or AAC, no configuration or metadata. */
function isFrame({ type, body }: FlvTag): boolean {
  if (type === TAG_SCRIPT || body.length < 2) return false;
  if (type === TAG_VIDEO && ((body[0] ?? 0) & 0x80) !== 0) {
    return [1, 3].includes((body[0] ?? 0) & 15);
  }
  return body[1] === 1;
}

/** Values in ms, and what is printed of them. */
class Values {
  readonly #values: number[] = [];

  add(ms: number): void {
    this.#values.push(ms);
  }

  toJSON(): Record<string, number> {
    const sorted = Float64Array.from(this.#values).sort();
    const count = sorted.length;
    if (count === 0) return { count };
    const at = (q: number) => round(sorted[Math.min(count - 1, Math.floor(q * count))] ?? 0);
    const mean = round(sorted.reduce((sum, value) => sum + value, 0) / count);
    return { count, mean, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
  }
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}

function print(value: unknown): void {
  Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(value) + "\n"));
}

function complain(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`load: ${text}\n`));
}

const args = parseArgs({
  allowPositionals: true,
  options: {
    url: { type: "string", default: "" },
    streams: { type: "string", default: "1" },
    rate: { type: "string", default: "100" },
    verify: { type: "string", default: "0" },
    clip: { type: "string", default: "" },
    "tags-per-second": { type: "string", default: "73.07" },
    "loop-us": { type: "string", default: "0" },
    "start-ms": { type: "string", default: "0" },
  },
});
const publishes = args.positionals[0] === "publish";
const streams = Number(args.values.streams);
const openRate = Number(args.values.rate);
const verified = Number(args.values.verify);
const fullRate = Number(args.values["tags-per-second"]);
const loopUs = Number(args.values["loop-us"]);
const firstMs = Number(args.values["start-ms"]);

const clip: readonly FlvTag[] = args.values.clip === ""
  ? []
  : new FlvDemuxer().push(await Deno.readFile(args.values.clip));
const firstFrame = clip.findIndex(isFrame);

function newWindow() {
  return {
    startedMs: performance.now(),
    cpu: cpuSeconds(),
    bytes: 0,
    tags: 0,
    video: 0,
    audio: 0,
    missing: 0,
    disorder: 0,
    unstamped: 0,
    broken: 0,
    badStart: 0,
    verified: 0,
    mismatched: 0,
    lost: 0,
    latency: new Values(),
    late: new Values(),
  };
}

function cpuSeconds(): number {
  const stat = Deno.readTextFileSync("/proc/self/stat");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

let window = newWindow();
const residents = new Set<Viewer>();

/** A connection whose progress its opener waits for. */
abstract class Connection {
  readonly stream: number;
  readonly openedMs = performance.now();
  /** Resolves with the first keyframe or the start of publishing; false if it came to nothing. */
  readonly started: Promise<boolean>;
  readonly abort = new AbortController();
  protected begun = false;
  #settle: (ok: boolean) => void = () => {};

  constructor(index: number) {
    this.stream = index % streams;
    this.started = new Promise((resolve) => this.#settle = resolve);
    const timer = setTimeout(() => this.fail("nothing to see in time"), START_TIMEOUT_MS);
    this.started.then(() => clearTimeout(timer));
  }

  get url(): string {
    return args.values.url.replace("{}", String(this.stream));
  }

  begin(): void {
    this.begun = true;
    this.#settle(true);
  }

  fail(reason: unknown): void {
    if (this.abort.signal.aborted) return;
    complain(`stream ${this.stream}: ${reason instanceof Error ? reason.message : reason}`);
    if (this.begun) window.lost++;
    this.end();
  }

  end(): void {
    this.abort.abort();
    this.#settle(false);
  }
}

async function connect(url: URL, signal: AbortSignal): Promise<Deno.Conn> {
  const conn = await Deno.connect({ hostname: url.hostname, port: Number(url.port) });
  conn.setNoDelay(true);
  signal.addEventListener("abort", () => conn.close(), { once: true });
  if (signal.aborted) throw new Error("too late");
  return conn;
}

type Role = "resident" | "joiner" | "stalled";

/** Watches one stream. */
class Viewer extends Connection {
  readonly #role: Role;
  readonly #stallAfter: number;
  readonly #verifies: boolean;
  readonly firstKeyMs: Promise<number>;
  #lastFrame = -1;
  #lastAudio = -1;
  #badStart = false;
  #foundKey: (ms: number) => void = () => {};
  #received = 0;
  #tags = 0;
  #firstTags = 0;
  #firstMs = 0;
  #lastMs = 0;

  constructor(index: number, role: Role, stallAfter: number) {
    super(index);
    this.#role = role;
    this.#stallAfter = stallAfter;
    this.#verifies = role === "resident" && index < verified;
    this.firstKeyMs = new Promise((resolve) => this.#foundKey = resolve);
    if (role === "resident") residents.add(this);
    this.#run().catch((error) => this.fail(error)).finally(() => residents.delete(this));
  }

  /** Forgets what it has counted. */
  reset(): void {
    this.#tags =
      this.#firstTags =
      this.#firstMs =
      this.#lastMs =
        0;
  }

  /** Tags a second between the first and the last piece, so that merging does not blur it. */
  rate(endMs: number): number {
    let [from, to] = [this.#firstMs, this.#lastMs];
    if (from === 0 || from - window.startedMs > 1000) from = window.startedMs;
    if (endMs - to > 1000) to = endMs;
    const tags = from === this.#firstMs ? this.#tags - this.#firstTags : this.#tags;
    return to > from ? tags * 1000 / (to - from) : 0;
  }

  async #run(): Promise<void> {
    const url = new URL(this.url);
    if (url.pathname.endsWith(".mp4") || url.protocol === "rtsp:") {
      throw new Error("only load.c reads MP4 and RTSP: there is no compiler");
    }
    const pieces = url.protocol === "rtmp:"
      ? this.#watchRtmp(url)
      : url.protocol === "ws:"
      ? flvTags(webSocketBytes(url, this.abort.signal))
      : flvTags(httpBytes(url, this.abort.signal));
    for await (const [tags, bytes] of pieces) {
      const now = nowUs();
      this.#received += bytes;
      if (this.#role === "resident") window.bytes += bytes;
      for (const tag of tags) if (isFrame(tag)) this.#take(tag, now);
      if (this.#role === "joiner" && this.begun) return this.end();
      // Waits for its end without reading, with the connection open.
      if (this.#role === "stalled" && this.begun && this.#received >= this.#stallAfter) {
        await new Promise((resolve) => this.abort.signal.addEventListener("abort", resolve));
      }
    }
    throw new Error("the server ended the stream");
  }

  async *#watchRtmp(url: URL): AsyncGenerator<[FlvTag[], number]> {
    const client = new RtmpClient(await connect(url, this.abort.signal));
    for await (const [messages, bytes] of client.run(url, "play")) {
      const media = messages.filter(({ type }) => type === TAG_AUDIO || type === TAG_VIDEO);
      yield [media.map(({ payload, ...rest }) => ({ ...rest, body: payload }) as FlvTag), bytes];
    }
  }

  #take(tag: FlvTag, now: number): void {
    if (this.#verifies) this.#verify(tag);
    if (tag.type === TAG_VIDEO) this.#takeVideo(tag.body, now);
    else if (this.begun) this.#count("audio", now);
  }

  #takeVideo(body: Uint8Array, now: number): void {
    if (!this.begun) {
      if (((body[0] ?? 0) >> 4 & 7) !== 1) {
        if (!this.#badStart) window.badStart++;
        this.#badStart = true;
        return;
      }
      this.#foundKey(performance.now() - this.openedMs);
      this.begin();
    }
    this.#count("video", now);
    if (this.#role !== "resident") return;
    const sent = readStamp(body);
    if (sent === undefined) return void window.unstamped++;
    window.latency.add((now - sent.timeUs) / 1000);
    if (this.#lastFrame >= 0) {
      if (sent.frame <= this.#lastFrame) window.disorder++;
      else window.missing += sent.frame - this.#lastFrame - 1;
    }
    this.#lastFrame = sent.frame;
  }

  #count(kind: "video" | "audio", now: number): void {
    if (this.#role !== "resident") return;
    const ms = now / 1000 - performance.timeOrigin;
    window[kind]++;
    window.tags++;
    this.#tags++;
    if (this.#firstMs === 0) this.#firstMs = ms;
    if (ms - this.#firstMs < 15) this.#firstTags = this.#tags;
    this.#lastMs = ms;
  }

  #verify(tag: FlvTag): void {
    let { body } = tag;
    const at = tag.type === TAG_VIDEO ? readStamp(body)?.at : undefined;
    if (at !== undefined) body = concat([body.subarray(0, at), body.subarray(at + SEI_BYTES)]);
    const from = tag.type === TAG_AUDIO ? this.#lastAudio + 1 : 0;
    const order = [...clip.slice(from), ...clip.slice(0, from)];
    const found = order.find(({ type, body: bytes }) =>
      type === tag.type && equalBytes(bytes, body)
    );
    if (found === undefined) window.mismatched++;
    else window.verified++;
    if (tag.type === TAG_AUDIO) this.#lastAudio = found ? clip.indexOf(found) : -1;
  }
}

async function* flvTags(
  chunks: AsyncIterable<Uint8Array>,
): AsyncGenerator<[FlvTag[], number]> {
  const demuxer = new FlvDemuxer();
  for await (const chunk of chunks) yield [demuxer.push(chunk), chunk.length];
}

async function* httpBytes(url: URL, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const { body, status } = await fetch(url, { signal });
  if (status !== 200 || body === null) throw new Error(`the server answers ${status}`);
  yield* body;
}

async function* webSocketBytes(url: URL, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  signal.addEventListener("abort", () => socket.close(), { once: true });
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      socket.onmessage = ({ data }) => controller.enqueue(new Uint8Array(data));
      socket.onclose = () => controller.error(new Error("the server closed the WebSocket"));
      socket.onerror = () => controller.error(new Error("the WebSocket failed"));
    },
  });
  yield* stream;
}

/** Publishes the clip again and again. */
class Publisher extends Connection {
  #next = firstFrame;
  #loop = 0;
  #frame = 0;

  constructor(index: number) {
    super(index);
    this.#run().catch((error) => this.fail(error));
  }

  async #run(): Promise<void> {
    const url = new URL(this.url);
    const client = new RtmpClient(await connect(url, this.abort.signal));
    for await (const [messages] of client.run(url, "publish")) {
      const starts = messages.some((message) => {
        const info = parseCommand(message)?.args[0];
        return JSON.stringify(info ?? null).includes("NetStream.Publish.Start");
      });
      if (starts) this.#publish(client).catch((error) => this.fail(error));
    }
  }

  async #publish(client: RtmpClient): Promise<void> {
    for (const { type, body } of clip.slice(0, firstFrame)) {
      const prefix = type === TAG_SCRIPT ? [encodeAmf0("@setDataFrame")] : [];
      client.send(type, firstMs, [...prefix, body]);
    }
    this.begin();
    const startMs = performance.now() + this.stream * 33 / streams;
    while (!this.abort.signal.aborted) {
      const tag = clip[this.#next];
      if (tag === undefined) throw new Error("the clip has no frames");
      const atMs = this.#loop * loopUs / 1000 + tag.timestampMs;
      const waitMs = startMs + atMs - performance.now();
      if (waitMs > 0) await delay(waitMs);
      window.late.add(Math.max(0, performance.now() - startMs - atMs));
      window.tags++;
      if (client.queued > MAX_QUEUED_MESSAGES) throw new Error("the server does not read");
      const { type, body } = tag;
      const parts = type !== TAG_VIDEO ? [body] : [
        body.subarray(0, VIDEO_PREFIX),
        stamp(nowUs(), this.#frame++),
        body.subarray(VIDEO_PREFIX),
      ];
      client.send(type, firstMs + Math.floor(atMs), parts);
      window.bytes += body.length;
      if (++this.#next < clip.length) continue;
      this.#next = firstFrame;
      this.#loop++;
    }
  }
}

/** Opens `count` connections at a rate, few at a time unless they are joins. */
async function openAll(
  event: string,
  count: number,
  setup: { rate: number; limit: number; create: (index: number) => Connection },
): Promise<void> {
  const firstKey = new Values();
  const startMs = performance.now();
  let pending = 0;
  let started = 0;
  const all: Promise<void>[] = [];
  for (let index = 0; index < count; index++) {
    const dueMs = startMs + index * 1000 / setup.rate;
    while (performance.now() < dueMs || pending >= setup.limit) await delay(1);
    const connection = setup.create(index);
    pending++;
    if (connection instanceof Viewer) connection.firstKeyMs.then((ms) => firstKey.add(ms));
    all.push(connection.started.then((ok) => {
      pending--;
      if (ok) started++;
    }));
  }
  await Promise.all(all);
  print({ event, started, failed: count - started, ...(!publishes && { firstKey }) });
}

function endWindow(): void {
  const endMs = performance.now();
  const { startedMs, cpu, bytes, tags, lost, late, latency, ...counts } = window;
  const base = {
    event: "window",
    seconds: (endMs - startedMs) / 1000,
    cpuSeconds: cpuSeconds() - cpu,
    bytes,
    tags,
    lost,
  };
  if (publishes) return print({ ...base, late });
  const rates = [...residents].map((viewer) => viewer.rate(endMs));
  const viewers = rates.length;
  print({
    ...base,
    ...counts,
    viewers,
    tagsPerViewer: viewers === 0 ? 0 : rates.reduce((sum, rate) => sum + rate, 0) / viewers,
    lowest: viewers === 0 ? 0 : Math.min(...rates),
    behind: rates.filter((rate) => rate < 0.95 * fullRate).length,
    latency,
  });
}

let opened = 0;

function onLine(line: string): void {
  const [command, count = "0", value = "0"] = line.split(" ");
  const open = (event: string, limit: number, create: (index: number) => Connection) =>
    openAll(event, Number(count), {
      rate: event === "joined" ? Number(value) : openRate,
      limit,
      create,
    });
  switch (command) {
    case "open":
      return void (publishes
        ? open("publishing", MAX_CONNECTING, (index) => new Publisher(index))
        : open("viewers", MAX_CONNECTING, () => new Viewer(opened++, "resident", 0)));
    case "join":
      return void open("joined", Infinity, (index) => new Viewer(index, "joiner", 0));
    case "stall":
      return void open(
        "stalled",
        MAX_CONNECTING,
        (index) => new Viewer(index, "stalled", Number(value)),
      );
    case "begin":
      window = newWindow();
      for (const viewer of residents) viewer.reset();
      return;
    case "end":
      return endWindow();
    case "quit":
      return Deno.exit(0);
    default:
      complain(`unknown command: ${line}`);
      return Deno.exit(1);
  }
}

await eachLine(Deno.stdin.readable, onLine);
Deno.exit(0);
