/** What the API asks of all isolates, and what each of them answers. */

import type { End } from "../../src/errors.ts";
import type { Engine } from "../../src/engine.ts";
import type { LogEntry, LogHistory } from "../../src/log.ts";
import type { Stream } from "../../src/stream.ts";
import type { Subscriber } from "../../src/subscriber.ts";
import type { StreamHistories } from "./history.ts";
import type {
  LogInfo,
  StreamDetail,
  StreamInfo,
  StreamOverview,
  SubscriberInfo,
  TrackHistory,
} from "./info.ts";
import { streamInfo, streamOverview, subscriberInfo, viewersOf } from "./inspect.ts";

/** What an isolate answers from. */
export interface EverywhereInit {
  readonly engine: Engine;
  readonly histories: StreamHistories;
  readonly logHistory: Pick<LogHistory, "after">;
  /** Called with what undoes what it did. */
  readonly defer: (undo: () => void) => void;
}

/** What a {@linkcode Snapshot} is to have. */
export interface SnapshotQuestion {
  /** Streams that are wanted in detail. */
  readonly paths: readonly string[];
  /** Number of the newest line of the log that is known of each isolate. */
  readonly logAfter: readonly number[];
}

/** What there is in all isolates at one time. */
export interface Snapshot {
  readonly streams: readonly StreamOverview[];
  readonly details: readonly StreamDetail[];
  /** Lines that are new or came again. */
  readonly log: readonly LogInfo[];
}

/** A subscriber, and what it watches. */
export interface FoundSubscriber extends SubscriberInfo {
  readonly path: string;
}

/** Questions to all isolates. */
export interface Everywhere {
  /** All streams, or only that at `path`. */
  streams(path?: string): Promise<StreamInfo[]>;
  /** All streams with the number of their viewers. */
  overviews(): Promise<readonly StreamOverview[]>;
  /** All that clients of `/api/events` are told of. */
  snapshot(question: SnapshotQuestion): Promise<Snapshot>;
  /** The last minutes of the tracks of a stream. */
  history(path: string): Promise<TrackHistory[]>;
  /** Ends a stream; whether there was one. */
  closeStream(path: string): Promise<boolean>;
  subscriber(number: number): Promise<FoundSubscriber | undefined>;
  /** Ends a subscriber; whether there was one. */
  kick(number: number): Promise<boolean>;
}

/** What an isolate publishes, and what it repeats for its viewers. */
interface Parts<T> {
  readonly published: readonly T[];
  readonly repeated: readonly T[];
}

/** What one isolate has for a {@linkcode Snapshot}. */
interface Part extends Parts<StreamOverview> {
  readonly isolate: number;
  /** Subscribers of the streams that are wanted in detail, by path. */
  readonly subscribers: ReadonlyMap<string, readonly SubscriberInfo[]>;
  readonly log: readonly LogEntry[];
}

const KICKED: End = { code: "kicked", detail: "kicked by an operator" };

/** Most subscribers of a stream in detail: more than a page shows, and few enough to tell each second. */
export const MAX_SUBSCRIBERS = 500;

/** Answers for this isolate, and asks all of them. */
export function askEverywhere(
  { engine, histories, logHistory, defer }: EverywhereInit,
): Everywhere {
  const { isolates } = engine;

  function register<A, R>(
    name: string,
    handler: (argument: A) => R,
  ): (argument: A) => Promise<R[]> {
    defer(isolates.answer(`http/${name}`, (argument) => handler(argument as A)));
    return (argument) => isolates.ask(`http/${name}`, argument) as Promise<R[]>;
  }

  /** All streams here, or only that at `path`, as `inspect` tells them. */
  function parts<T>(inspect: (stream: Stream) => T, path?: string): Parts<T> {
    const wanted = path === undefined ? [...engine.streams.values()] : [engine.getStream(path)];
    const found = wanted.filter((stream) => stream !== undefined);
    return {
      published: found.filter(({ replica }) => !replica).map(inspect),
      repeated: found.filter(({ replica }) => replica).map(inspect),
    };
  }

  /** A subscriber, unless it is another isolate of which the viewers are. */
  function viewer(number: number): Subscriber | undefined {
    const found = engine.subscribers.get(number);
    return found?.replica ? undefined : found;
  }

  const streams = register(
    "streams",
    (path: string | undefined) => parts(streamInfo, path),
  );
  const snapshot = register("snapshot", ({ paths, logAfter }: SnapshotQuestion): Part => ({
    isolate: isolates.index,
    ...parts(streamOverview),
    subscribers: new Map(paths.map((path) => {
      const stream = engine.getStream(path);
      const viewers = stream === undefined ? [] : viewersOf(stream).slice(-MAX_SUBSCRIBERS);
      return [path, viewers.map(subscriberInfo)];
    })),
    log: logHistory.after(logAfter[isolates.index]),
  }));
  const history = register("history", (path: string) => histories.of(path));
  const close = register("close", (path: string) => {
    const stream = engine.getStream(path);
    // Where it is repeated it ends with the one that is published.
    if (stream !== undefined && !(stream.replica && stream.state === "live")) {
      stream.close(KICKED.detail, KICKED.code);
    }
    return stream !== undefined;
  });
  const subscriber = register("subscriber", (number: number): FoundSubscriber | undefined => {
    const found = viewer(number);
    return found && { path: found.stream.path, ...subscriberInfo(found) };
  });
  const kick = register("kick", (number: number) => {
    const found = viewer(number);
    found?.close(KICKED);
    return found !== undefined;
  });

  const snapshots = async (question: SnapshotQuestion) =>
    mergeSnapshot(await snapshot(question), question);
  return {
    streams: async (path) => mergeStreams(await streams(path), addSubscribers),
    overviews: async () => (await snapshots({ paths: [], logAfter: [] })).streams,
    snapshot: snapshots,
    history: async (path) => mergeHistories(await history(path)),
    closeStream: async (path) => (await close(path)).includes(true),
    subscriber: async (number) => (await subscriber(number)).find((found) => found !== undefined),
    kick: async (number) => (await kick(number)).includes(true),
  };
}

/** Each stream once, as where it is published, with what other isolates add. */
function mergeStreams<T extends { readonly path: string }>(
  isolates: readonly Parts<T>[],
  add: (known: T, other: T) => T,
): T[] {
  const streams = new Map<string, T>();
  const all = [
    ...isolates.flatMap(({ published }) => published),
    ...isolates.flatMap(({ repeated }) => repeated),
  ];
  for (const stream of all) {
    const known = streams.get(stream.path);
    streams.set(stream.path, known === undefined ? stream : add(known, stream));
  }
  return [...streams.values()];
}

function addSubscribers(known: StreamInfo, other: StreamInfo): StreamInfo {
  const subscribers = [...known.subscribers, ...other.subscribers]
    .sort((a, b) => a.number - b.number);
  return { ...known, subscribers, dropped: known.dropped + other.dropped };
}

function addViewers(known: StreamOverview, other: StreamOverview): StreamOverview {
  const { viewers, dropped } = known;
  return { ...known, viewers: viewers + other.viewers, dropped: dropped + other.dropped };
}

function mergeSnapshot(isolates: readonly Part[], { paths }: SnapshotQuestion): Snapshot {
  const streams = mergeStreams(isolates, addViewers);
  const details = paths.map((path): StreamDetail => ({
    path,
    stream: streams.find((stream) => stream.path === path) ?? null,
    subscribers: isolates
      .flatMap(({ subscribers }) => subscribers.get(path) ?? [])
      .sort((a, b) => a.number - b.number)
      .slice(-MAX_SUBSCRIBERS),
  }));
  const log = isolates
    .flatMap(({ isolate, log }) => log.map((entry) => ({ isolate, ...entry })))
    .sort((a, b) => a.atMs - b.atMs)
    .map(({ atMs, ...line }): LogInfo => ({ at: new Date(atMs).toISOString(), ...line }));
  return { streams, details, log };
}

/** The points of each track in order; one that was published here and there has some of each. */
function mergeHistories(isolates: readonly (readonly TrackHistory[])[]): TrackHistory[] {
  const tracks = Map.groupBy(isolates.flat(), ({ kind, name }) => `${kind} ${name}`);
  return [...tracks.values()].flatMap(([first, ...others]) => {
    if (first === undefined) return [];
    const points = [first, ...others].flatMap(({ points }) => points);
    return [{ ...first, points: points.sort((a, b) => a.atMs - b.atMs) }];
  });
}
