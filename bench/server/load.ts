/**
 * The load of the benchmark where there is no compiler: `load.c` in TypeScript, with the same options,
 * commands and answers, for some hundred viewers. `load_client.ts` tells what they are.
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
import { ChunkReader, writeMessage } from "../../plugins/rtmp/chunk.ts";
import {
  commandMessage,
  controlMessage,
  type OutgoingCommand,
  parseCommand,
  parseControl,
  UserControlEvent,
} from "../../plugins/rtmp/command.ts";
import { ClientHandshake } from "../../plugins/rtmp/handshake.ts";
import { MessageType, type RtmpMessage } from "../../plugins/rtmp/message.ts";
import { eachLine } from "./process.ts";

const START_TIMEOUT_MS = 20_000;
const MAX_CONNECTING = 128;
const OUT_CHUNK_BYTES = 60_000;
const MAX_QUEUED_MESSAGES = 2000;
const READ_BYTES = 65_536;

/** µs on a clock that all processes of this kind share. */
function nowUs(): number {
  return (performance.timeOrigin + performance.now()) * 1000;
}

// The stamp, as load.c has it.
const STAMP_UUID = new Uint8Array([
  ...[0x6d, 0x37, 0x73, 0x62, 0xe3, 0x9a, 0x4b, 0x1c],
  ...[0x9d, 0x5e, 0xb2, 0x71, 0xc4, 0x86, 0xfa, 0x2d],
]);
const TIME_DIGITS = 8;
const FRAME_DIGITS = 5;
const SEI_PAYLOAD = STAMP_UUID.length + TIME_DIGITS + FRAME_DIGITS;
const SEI_BYTES = 4 + 3 + SEI_PAYLOAD + 1;
const VIDEO_PREFIX = 5;
const HEAD_BYTES = 96;

/** A SEI with time and number of a frame, seven bits a byte with the top bit set. */
function stamp(timeUs: number, frame: number): Uint8Array {
  const bytes = new Uint8Array(SEI_BYTES);
  bytes.set([0, 0, 0, SEI_BYTES - 4, 6, 5, SEI_PAYLOAD]);
  bytes.set(STAMP_UUID, 7);
  const at = 7 + STAMP_UUID.length;
  putDigits(bytes.subarray(at, at + TIME_DIGITS), timeUs);
  putDigits(bytes.subarray(at + TIME_DIGITS, at + TIME_DIGITS + FRAME_DIGITS), frame);
  bytes[SEI_BYTES - 1] = 0x80;
  return bytes;
}

function putDigits(bytes: Uint8Array, value: number): void {
  let rest = Math.floor(value);
  for (let at = bytes.length - 1; at >= 0; at--) {
    bytes[at] = 0x80 | rest % 128;
    rest = Math.floor(rest / 128);
  }
}

function getDigits(bytes: Uint8Array): number {
  return bytes.reduce((value, byte) => value * 128 + (byte & 0x7f), 0);
}

function readStamp(body: Uint8Array): { at: number; timeUs: number; frame: number } | undefined {
  const head = body.subarray(0, HEAD_BYTES);
  const [first = 0] = STAMP_UUID;
  for (let at = head.indexOf(first); at >= 0; at = head.indexOf(first, at + 1)) {
    if (!equalBytes(head.subarray(at, at + STAMP_UUID.length), STAMP_UUID)) continue;
    const time = at + STAMP_UUID.length;
    const frame = time + TIME_DIGITS;
    return {
      at: at - 7,
      timeUs: getDigits(head.subarray(time, frame)),
      frame: getDigits(head.subarray(frame, frame + FRAME_DIGITS)),
    };
  }
  return undefined;
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

/** The client's side of an RTMP connection, up to `publish` or `play`. */
class RtmpClient {
  readonly #conn: Deno.Conn;
  readonly #reader = new ChunkReader();
  readonly #buffer = new Uint8Array(READ_BYTES);
  #streamId = 0;
  #chunkSize = 128;
  #writing: Promise<unknown> = Promise.resolve();
  #ackWindow = 0;
  #acknowledged = 0;
  queued = 0;

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  /** Sends behind what was sent before. */
  write(bytes: Uint8Array): void {
    this.queued++;
    this.#writing = this.#writing.then(async () => {
      for (let at = 0; at < bytes.length;) at += await this.#conn.write(bytes.subarray(at));
      this.queued--;
    }).catch(() => {});
  }

  send(type: number, timestampMs: number, payload: readonly Uint8Array[]): void {
    const chunkStreamId = type === TAG_VIDEO ? 6 : type === TAG_AUDIO ? 4 : 5;
    const message = { type, timestampMs, payload, chunkStreamId, streamId: this.#streamId };
    this.write(writeMessage(message, this.#chunkSize));
    window.bytes += payload.reduce((sum, part) => sum + part.length, 0);
  }

  /** The messages that come, with the number of bytes that brought them. */
  async *run(url: URL, start: "publish" | "play"): AsyncGenerator<[RtmpMessage[], number]> {
    const handshake = new ClientHandshake();
    this.write(handshake.hello);
    const [, app = "", name = ""] = url.pathname.split("/");
    let shaken = false;
    while (true) {
      const count = await this.#conn.read(this.#buffer);
      if (count === null) throw new Error("the server closed the connection");
      let bytes: Uint8Array = this.#buffer.slice(0, count);
      if (!shaken) {
        const step = handshake.push(bytes);
        if (step.send) this.write(step.send);
        bytes = step.rest;
        if (step.done) {
          shaken = true;
          const tcUrl = `rtmp://${url.host}/${app}`;
          const object = { app, type: "nonprivate", flashVer: "LNX 9,0,124,2", tcUrl };
          this.#command({ name: "connect", transactionId: 1, object });
        }
      }
      const messages = this.#reader.push(bytes);
      for (const message of messages) this.#answer(message, name, start);
      const { bytesReceived } = this.#reader;
      if (this.#ackWindow > 0 && bytesReceived - this.#acknowledged >= this.#ackWindow) {
        this.#acknowledged = bytesReceived;
        const type = MessageType.acknowledgement;
        this.#control({ type, sequence: bytesReceived % 2 ** 32 });
      }
      yield [messages, count];
    }
  }

  #answer(message: RtmpMessage, name: string, start: "publish" | "play"): void {
    const control = parseControl(message);
    if (control?.type === MessageType.windowAckSize) this.#ackWindow = control.bytes;
    if (
      control?.type === MessageType.userControl && control.event === UserControlEvent.pingRequest
    ) {
      const event = UserControlEvent.pingResponse;
      this.#control({ type: control.type, event, value: control.value });
    }
    const command = parseCommand(message);
    if (command === undefined) return;
    if (command.name === "_error") throw new Error("the server refused");
    if (command.name !== "_result") return;
    if (command.transactionId === 1) this.#command({ name: "createStream", transactionId: 2 });
    if (command.transactionId !== 2) return;
    this.#streamId = Number(command.args[0]);
    const args = start === "publish" ? [name, "live"] : [name];
    this.#command({ name: start, transactionId: 3, args });
    if (start === "play") return;
    this.#control({ type: MessageType.setChunkSize, bytes: OUT_CHUNK_BYTES });
    this.#chunkSize = OUT_CHUNK_BYTES;
  }

  #command(command: OutgoingCommand): void {
    this.write(writeMessage(commandMessage(command, this.#streamId), this.#chunkSize));
  }

  #control(control: Parameters<typeof controlMessage>[0]): void {
    this.write(writeMessage(controlMessage(control), this.#chunkSize));
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
    const stamp = readStamp(body);
    if (stamp === undefined) return void window.unstamped++;
    window.latency.add((now - stamp.timeUs) / 1000);
    if (this.#lastFrame >= 0) {
      if (stamp.frame <= this.#lastFrame) window.disorder++;
      else window.missing += stamp.frame - this.#lastFrame - 1;
    }
    this.#lastFrame = stamp.frame;
  }

  #count(kind: "video" | "audio", now: number): void {
    if (this.#role !== "resident") return;
    const ms = now / 1000 - performance.timeOrigin;
    window[kind]++;
    window.tags++;
    this.#tags++;
    if (this.#firstMs === 0) this.#firstMs = ms;
    if (ms - this.#firstMs < 5) this.#firstTags = this.#tags;
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
