/** FLV tags and RTMP messages on their way into a publisher. */

import { type AmfObject, type AmfValue, isAmfObject } from "./formats/amf_value.ts";
import { readAmf0All } from "./formats/amf.ts";
import { type FlvTag, type FlvTagType, TAG_AUDIO, TAG_SCRIPT, TAG_VIDEO } from "./formats/flv.ts";
import type { Publisher } from "./publisher.ts";
import type { MediaKind } from "./stream.ts";

/** How far script data may lie from the video or audio message before it. */
const MAX_SCRIPT_SKEW_MS = 1000;

/** What the data track `script` holds: a script message other than `onMetaData`. */
export interface ScriptMessage {
  /** Name of the handler that it is meant for, such as `onCuePoint`. */
  readonly name: string;
  /** Its arguments. */
  readonly values: readonly AmfValue[];
}

/**
 * Hands what comes in FLV tags, or in RTMP messages of the same types, to the inputs of a publisher.
 *
 * Video and audio go to the tracks of these names (additional ones of a multitrack body to their
 * own), `onMetaData` to the data track `metadata` as an object, other script data to the data track
 * `script` as {@linkcode ScriptMessage}s. Once the tracks that the metadata announces are live, the
 * publisher is told that there will be no others.
 *
 * @example Take tags
 * ```ts ignore
 * const ingest = new FlvIngest(publisher);
 * for (const tag of demuxer.push(chunk)) ingest.push(tag.type, tag.timestampMs, tag.body);
 * ```
 */
export class FlvIngest {
  readonly #publisher: Publisher;
  /** End of the timeline before the publisher's first frame. */
  readonly #startUs: number | undefined;
  #begun = false;
  /** Timestamp of the newest video or audio message. */
  #mediaMs = 0;
  /** Metadata that came before the first frame. */
  #metadata: { readonly value: AmfObject; readonly bytes: number } | undefined;
  /** Kinds that the metadata announces and that are not live; undefined without metadata. */
  #awaited: Set<MediaKind> | undefined;

  /** For all tags of one publisher, in the order in which they come. */
  constructor(publisher: Publisher) {
    this.#publisher = publisher;
    this.#startUs = publisher.timeline.endUs;
  }

  /**
   * Takes the body of a tag or message. Its timestamp is that of the wire: 32 bits, which may wrap
   * around. The body is kept, so it must not be written to afterwards.
   *
   * @throws {InvalidDataError} If the body is malformed.
   * @throws {EndedError} If the publisher has ended.
   */
  push(type: FlvTagType, timestampMs: number, body: Uint8Array): void {
    if (type === TAG_SCRIPT) return this.#pushScript(timestampMs, body);
    if (type === TAG_VIDEO) this.#publisher.video.pushByteStream(timestampMs, body);
    else if (type === TAG_AUDIO) this.#publisher.audio.pushByteStream(timestampMs, body);
    else return;
    this.#mediaMs = timestampMs;
    if (!this.#begun) this.#begin(timestampMs);
    const kind = type === TAG_VIDEO ? "video" : "audio";
    if (this.#awaited?.has(kind) && this.#isLive(kind)) this.#see(kind);
  }

  /**
   * Gives the metadata their place once there is a frame. Encoders send them at time 0 wherever
   * their frames begin, and the first time of a publisher decides where it lies on the timeline.
   */
  #begin(timestampMs: number): void {
    if (this.#publisher.timeline.endUs === this.#startUs) return;
    this.#begun = true;
    const metadata = this.#metadata;
    this.#metadata = undefined;
    if (metadata) this.#pushData("metadata", timestampMs, metadata.value, metadata.bytes);
  }

  #pushScript(timestampMs: number, body: Uint8Array): void {
    // Empty bodies and other things that are no message come from encoders that keep alive.
    if (body.length === 0) return;
    const values = readAmf0All(body);
    // RTMP wraps what a server is to keep for later viewers (Adobe RTMP 1.0, 7.1.5 as practised).
    const [name, ...rest] = values[0] === "@setDataFrame" ? values.slice(1) : values;
    if (typeof name !== "string") return;
    const [metadata] = rest;
    if (name !== "onMetaData") {
      const message: ScriptMessage = { name, values: rest };
      if (this.#begun) this.#pushData("script", timestampMs, message, body.length);
    } else if (metadata !== undefined && isAmfObject(metadata)) {
      if (this.#begun) this.#pushData("metadata", timestampMs, metadata, body.length);
      else this.#metadata = { value: metadata, bytes: body.length };
      this.#announce(metadata);
    }
  }

  /** Keeps data near the frames that it comes with: encoders send script data at time 0 anywhere. */
  #pushData(track: string, timestampMs: number, value: unknown, bytes: number): void {
    const near = Math.abs(timestampMs - this.#mediaMs) < MAX_SCRIPT_SKEW_MS;
    const ms = this.#publisher.flvClock.unwrap(near ? timestampMs : this.#mediaMs);
    this.#publisher.addDataTrack(track).push(ms * 1000, value, bytes);
  }

  /** Notes which tracks the metadata promise (FLV 10.1 E.5, Enhanced RTMP v2). */
  #announce({ videocodecid, audiocodecid }: AmfObject): void {
    if (this.#publisher.complete) return;
    const awaited = new Set<MediaKind>();
    if (videocodecid) awaited.add("video");
    // Sound format 0 is PCM.
    if (audiocodecid || audiocodecid === 0) awaited.add("audio");
    if (awaited.size === 0) return;
    this.#awaited = awaited;
    for (const kind of [...awaited]) {
      if (!this.#publisher.stream.accepts(kind) || this.#isLive(kind)) this.#see(kind);
    }
  }

  #see(kind: MediaKind): void {
    this.#awaited?.delete(kind);
    if (this.#awaited?.size !== 0) return;
    this.#awaited = undefined;
    this.#publisher.completeTracks();
  }

  #isLive(kind: MediaKind): boolean {
    return this.#publisher.stream.tracks.some((track) => track.kind === kind && track.live);
  }
}

/**
 * A sink that takes FLV tags for `publisher`: a malformed tag ends it, closing the sink ends it in
 * good order, aborting it counts as a lost connection.
 *
 * @example Publish a file
 * ```ts ignore
 * const { body } = await fetch("https://example.org/clip.flv");
 * await body?.pipeThrough(new FlvDemuxStream()).pipeTo(flvSink(publisher));
 * ```
 */
export function flvSink(publisher: Publisher): WritableStream<FlvTag> {
  const ingest = new FlvIngest(publisher);
  return publisher.sink<FlvTag>(({ type, timestampMs, body }) =>
    ingest.push(type, timestampMs, body)
  );
}
