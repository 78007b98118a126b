/** All broadcasts of a plugin, and which of them answers a question. */

import type { Engine } from "../../src/engine.ts";
import type { PluginContext } from "../../src/plugin.ts";
import type { Stream } from "../../src/stream.ts";
import { type HlsAnswer, type HlsQuestion, refusal, refusalFor } from "./answer.ts";
import { type Asker, Broadcast } from "./broadcast.ts";
import { segmentType } from "./container.ts";
import type { HlsOptions, SegmentFormat } from "./options.ts";

/** Media type of playlists (4). */
const PLAYLIST_TYPE = "application/vnd.apple.mpegurl";
/** Files never change and their names never come again, but they are soon of no use. */
const FILE_CACHE = "max-age=86400, immutable";
/** How long the answer to a blocking request may be kept: as long as parts can be had. */
const BLOCKED_CACHE_S = 30;
/** Name of the question among isolates. */
const QUESTION = "hls";
/** Subscribers' type, and what guards are told. */
const TYPE = "HLS";

/**
 * Answers questions by broadcasts, which it begins when they are first needed: one a stream and
 * format.
 *
 * Of several isolates only the one that publishes a stream makes segments of it, so that all
 * players get the same ones; others pass questions on to it.
 */
export class Broadcasts {
  readonly #context: PluginContext<HlsOptions>;
  readonly #running = new Map<string, Broadcast>();
  readonly #starting = new Map<string, Promise<Broadcast>>();
  readonly #byEpoch = new Map<string, Broadcast>();
  #options: HlsOptions;

  /** No broadcasts; those that come end with the plugin. */
  constructor(context: PluginContext<HlsOptions>) {
    const { engine, on, defer } = context;
    this.#context = context;
    this.#options = context.options;
    defer(() => this.#close());
    defer(engine.isolates.answer(QUESTION, (question) => this.#answerAsHome(question)));
    on("publish", ({ detail: { stream } }) => this.#keep(stream));
    for (const stream of engine.streams.values()) this.#keep(stream);
  }

  /** Replaces the options; broadcasts that run keep theirs. */
  configure(options: HlsOptions): void {
    this.#options = options;
    for (const stream of this.#engine.streams.values()) this.#keep(stream);
  }

  /** Answers `question`, wherever the stream is. It does not throw for what a player can cause. */
  async answer(question: HlsQuestion, asker: Asker): Promise<HlsAnswer> {
    try {
      const { isolates } = this.#engine;
      if (isolates.count === 1 || this.#isHome(question)) {
        return await this.#reply(question, asker);
      }
      return await this.#askHome(question, asker);
    } catch (error) {
      return refusalFor(error);
    }
  }

  get #engine(): Engine {
    return this.#context.engine;
  }

  /** Whether the stream is published in this isolate. */
  #isHome({ path, subject }: HlsQuestion): boolean {
    if (subject.kind === "file") return this.#byEpoch.has(epochOf(subject.name));
    const stream = this.#engine.getStream(path);
    if (stream !== undefined) return !stream.replica;
    return subject.kind === "media" && this.#running.has(keyOf(path, subject.format));
  }

  /** What another isolate is told: nothing, unless the stream is published in this one. */
  async #answerAsHome(argument: unknown): Promise<HlsAnswer | undefined> {
    const question = argument as HlsQuestion;
    if (!this.#isHome(question)) return undefined;
    try {
      const answer = await this.#reply(question);
      const { body } = answer;
      // A view would take all that it is a view of with it.
      return typeof body === "string" ? answer : { ...answer, body: body.slice() };
    } catch (error) {
      return refusalFor(error);
    }
  }

  /** Asks the isolate that publishes the stream; if there is none, waits for one as viewers do. */
  async #askHome(question: HlsQuestion, asker: Asker): Promise<HlsAnswer> {
    const { isolates } = this.#engine;
    const { path, target, subject, remote } = question;
    const { signal } = asker;
    for (let attempt = 0; attempt < 2; attempt++) {
      const answers = await isolates.ask(QUESTION, question);
      const found = answers.find((answer) => answer !== undefined);
      if (found !== undefined) return found as HlsAnswer;
      if (subject.kind === "file") break;
      const subscriber = await this.#context.subscribe(target, { type: TYPE, id: remote, signal });
      try {
        if (!subscriber.stream.replica) return await this.#reply(question, asker);
      } finally {
        subscriber.close();
      }
    }
    return refusal(404, subject.kind === "file" ? NO_FILE : `There is no stream ${path}`);
  }

  /** Answers by a broadcast of this isolate. */
  async #reply(question: HlsQuestion, asker?: Asker): Promise<HlsAnswer> {
    const { path, subject } = question;
    if (subject.kind === "file") return await this.#replyFile(path, subject.name, asker);
    const broadcast = await this.#demand(question, subject.format);
    const isMedia = subject.kind === "media";
    const text = isMedia
      ? await broadcast.playlist(subject.directives, asker)
      : await broadcast.multivariant(subject.uri, asker);
    switch (text) {
      case "late":
        return refusal(503, `${path} has no new segment yet`);
      case "too-far":
        return refusal(400, `Cannot wait for _HLS_msn: it is too far ahead of ${path}`);
      case "none":
        return refusal(404, `${path} has ended before its first segment`);
    }
    const blocked = isMedia && subject.directives.segment !== undefined;
    const cache = `max-age=${blocked ? BLOCKED_CACHE_S : 1}`;
    return { status: 200, type: PLAYLIST_TYPE, cache, body: text };
  }

  async #replyFile(path: string, name: string, asker?: Asker): Promise<HlsAnswer> {
    const broadcast = this.#byEpoch.get(epochOf(name));
    const body = broadcast?.path === path ? await broadcast.file(name, asker) : undefined;
    if (broadcast === undefined || body === undefined) return refusal(404, NO_FILE);
    return { status: 200, type: segmentType(broadcast.format), cache: FILE_CACHE, body };
  }

  /** The broadcast that a question is about, whose asker the guards have let in. */
  async #demand(question: HlsQuestion, format: SegmentFormat): Promise<Broadcast> {
    const { path, target, remote, subject } = question;
    const key = keyOf(path, format);
    const running = this.#running.get(key);
    const isOver = running?.ended && (subject.kind !== "media" || this.#engine.getStream(path));
    const known = running && !isOver ? running : this.#starting.get(key);
    if (known === undefined) return await this.#begin(target, format, remote);
    await this.#engine.permit(target, { type: TYPE, id: remote });
    return await known;
  }

  /** Begins a broadcast; those who ask for it meanwhile wait with the one who came first. */
  #begin(target: string, format: SegmentFormat, remote?: string): Promise<Broadcast> {
    const [path = ""] = target.split("?");
    const key = keyOf(path, format);
    const starting = this.#start(target, format, remote);
    this.#starting.set(key, starting);
    const settled = () => {
      if (this.#starting.get(key) === starting) this.#starting.delete(key);
    };
    starting.then(settled, settled);
    return starting;
  }

  async #start(target: string, format: SegmentFormat, remote?: string): Promise<Broadcast> {
    const options = this.#options;
    const id = remote ?? "local";
    const subscriber = await this.#context.subscribe(target, { type: TYPE, id });
    const { path } = subscriber.stream;
    const key = keyOf(path, format);
    const before = this.#running.get(key);
    const broadcast = new Broadcast({
      engine: this.#engine,
      subscriber,
      format,
      options,
      always: options.Always && format === options.Format,
      discontinuities: before === undefined ? 0 : before.discontinuities + 1,
      onGone: (gone) => {
        this.#byEpoch.delete(gone.epoch);
        if (this.#running.get(key) === gone) this.#running.delete(key);
      },
    });
    this.#byEpoch.set(broadcast.epoch, broadcast);
    await broadcast.start();
    this.#running.set(key, broadcast);
    return broadcast;
  }

  /** Makes segments of `stream` although nobody has asked, if that is wanted. */
  #keep(stream: Stream): void {
    const { path } = stream;
    const { Always, Format } = this.#options;
    const key = keyOf(path, Format);
    const running = this.#running.get(key);
    if (!Always || stream.replica || this.#starting.has(key) || running?.stream === stream) return;
    this.#begin(path, Format).catch((error) => {
      this.#context.log.warn("{path}: no segments: {error}", { path, error: String(error) });
    });
  }

  #close(): void {
    for (const broadcast of [...this.#byEpoch.values()]) broadcast.close();
  }
}

const NO_FILE = "There is no such segment, or no more";

function keyOf(path: string, format: SegmentFormat): string {
  return `${format} ${path}`;
}

/** What names of files begin with. */
function epochOf(name: string): string {
  return name.slice(0, Math.max(0, name.indexOf("-")));
}
