/** What the tests with real clients have in common: streams that stay, and viewers of clips. */

import { assert, assertEquals } from "@std/assert";
import { deadline } from "@std/async/deadline";
import type { Stream } from "../../src/stream.ts";
import {
  assertSamePackets,
  type Clip,
  type ClipPacket,
  type CompareOptions,
  type Comparison,
  play,
  type PlayedPacket,
  type Player,
  type PlayOptions,
  publish,
  type Publisher,
  type PublishOptions,
} from "../support/ffmpeg.ts";
import { canonical } from "../support/ffmpeg/canonical.ts";
import type { TestServer } from "../support/server.ts";

/** How long any step of a test may take. */
export const PATIENCE_MS = 10_000;

/** Kinds of packets that are compared. */
export const KINDS: readonly ClipPacket["kind"][] = ["video", "audio"];

/** Viewers that watch while the test does something else; at its end they leave. */
export class Audience implements AsyncDisposable {
  readonly #leaving = new AbortController();
  readonly #watching: Promise<unknown>[] = [];

  /** Plays `url`, also before there is a publisher, and does with it what `watch` says. */
  watch<T>(
    url: string,
    watch: (player: Player) => Promise<T>,
    options: PlayOptions = {},
  ): Promise<T> {
    const { signal } = this.#leaving;
    const watching = (async () => {
      await using player = await play(url, { ...options, signal });
      return await watch(player);
    })();
    // The test awaits it later, or fails before that.
    watching.catch(() => {});
    this.#watching.push(watching);
    return watching;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#leaving.abort();
    await Promise.allSettled(this.#watching);
  }
}

/**
 * Publishes a clip once, then stays connected and says nothing: the stream stands still. What it
 * then has is {@linkcode standing}.
 */
export function publishAndStay(url: string, clip: Clip, options: PublishOptions = {}): Publisher {
  let left = clip.packets.length;
  const transform = (packet: ClipPacket) => left-- > 0 ? packet : undefined;
  return publish(url, clip, { ...options, transform, loops: Infinity });
}

/**
 * The part of a clip that FFmpeg sends before it is told of the end: it keeps packets of one kind
 * back until there is a later one of the other, in the milliseconds of FLV and video first.
 */
export function standing(clip: Clip): Clip {
  const place = ({ kind, dtsUs }: ClipPacket) =>
    Math.round(dtsUs / 1000) + (kind === "audio" ? 0.5 : 0);
  const ends = KINDS.filter((kind) => clip[kind] !== undefined).map((kind) =>
    Math.max(...clip.packets.filter((packet) => packet.kind === kind).map(place))
  );
  return { ...clip, packets: clip.packets.filter((packet) => place(packet) <= Math.min(...ends)) };
}

/** Stands for the avcC or hvcC of a clip, in which alone the version counts here. */
const LENGTH_PREFIXED = Uint8Array.of(1);

/** What tells a packet from others: its bytes in the form that a clip has them in. */
export function identify(packet: ClipPacket | PlayedPacket, codec: string | undefined): string {
  const known = codec ?? "";
  const extradata = "codec" in packet ? packet.extradata : LENGTH_PREFIXED;
  const form = { extradata, strip: true };
  return new TextDecoder("latin1").decode(canonical(known, packet.data, form));
}

/** The bytes of a clip's packets by kind, as {@linkcode identify} has them. */
export function identities(clip: Clip): Map<ClipPacket["kind"], string[]> {
  return new Map(
    KINDS.filter((kind) => clip[kind] !== undefined).map((kind) => [
      kind,
      clip.packets.filter((packet) => packet.kind === kind)
        .map((packet) => identify(packet, clip[kind]?.codec)),
    ]),
  );
}

/**
 * Reads as many packets of each kind as `clip` has from the first one received on, and leaves out
 * what comes before and after them.
 */
export async function takeTo(player: Pick<Player, "read">, clip: Clip): Promise<PlayedPacket[]> {
  const sent = identities(clip);
  const left = new Map<string, number>();
  const taken: PlayedPacket[] = [];
  while (left.size < sent.size || [...left.values()].some((count) => count > 0)) {
    const packet = await player.read();
    if (!packet) throw new Error(`The stream ended after ${taken.length} packets of the clip`);
    if (packet.kind === "data") continue;
    const { kind } = packet;
    if (!left.has(kind)) {
      const all = sent.get(kind) ?? [];
      const at = all.indexOf(identify(packet, packet.codec));
      if (at >= 0) left.set(kind, all.length - at);
    }
    const count = left.get(kind) ?? 0;
    if (count > 0) taken.push(packet);
    if (left.has(kind)) left.set(kind, count - 1);
  }
  return taken;
}

/** How far audio may lie from the keyframe that a viewer starts with: a few of its frames. */
const START_SKEW_MS = 100;

/**
 * Fails unless `received` is a clip, bit for bit and without a gap, from one of its keyframes to its
 * end, with audio from the same place on.
 */
export function assertToEnd(
  clip: Clip,
  received: readonly PlayedPacket[],
  options: CompareOptions = {},
): Comparison {
  const comparison = assertSamePackets(clip, received, options);
  const starts: number[] = [];
  for (const [kind, all] of identities(clip)) {
    const packets = received.filter((packet) => packet.kind === kind);
    const [first] = packets;
    assert(first, `there is ${kind}`);
    assert(first.key, `the first packet of ${kind} is a keyframe`);
    const at = all.indexOf(identify(first, first.codec));
    starts.push((clip.packets.filter((packet) => packet.kind === kind)[at]?.dtsUs ?? NaN) / 1000);
    assertEquals(packets.length, all.length * (options.loops ?? 1) - at, `packets of ${kind}`);
    assertEquals(comparison.compared[kind], packets.length);
  }
  const skewMs = Math.max(...starts) - Math.min(...starts);
  assert(skewMs < START_SKEW_MS, `audio and video start ${skewMs} ms apart`);
  return comparison;
}

/** Fails unless the timestamps of each kind rise from packet to packet. */
export function assertRising(received: readonly PlayedPacket[]): void {
  for (const kind of KINDS) {
    let lastMs = -Infinity;
    for (const { dtsMs } of received.filter((packet) => packet.kind === kind)) {
      assert(dtsMs > lastMs, `${kind} at ${dtsMs} ms comes after ${lastMs} ms`);
      lastMs = dtsMs;
    }
  }
}

/** Waits for a publisher of `path`. */
export async function streamOf({ engine }: TestServer, path: string): Promise<Stream> {
  const there = engine.getStream(path);
  if (there) return there;
  const coming = Promise.withResolvers<Stream>();
  const onPublish = ({ detail: { stream } }: { detail: { stream: Stream } }) => {
    if (stream.path === path) coming.resolve(stream);
  };
  engine.addEventListener("publish", onPublish);
  try {
    return await within(coming.promise, `publisher of ${path}`);
  } finally {
    engine.removeEventListener("publish", onPublish);
  }
}

/** Waits until the server has every packet of `clip`, the first that is published in `stream`. */
export async function untilArrived(stream: Stream, clip: Clip): Promise<void> {
  for (const kind of KINDS) {
    const last = clip.packets.findLast((packet) => packet.kind === kind);
    if (!last) continue;
    await within(stream.waitTrack(kind), `${kind} track`);
    const [track] = kind === "video" ? stream.videoTracks : stream.audioTracks;
    assert(track);
    const reader = (track.readable() as ReadableStream<{ dts: number }>).getReader();
    const lastMs = Math.round(last.dtsUs / 1000);
    for (let ms = -1; ms < lastMs;) {
      const { value } = await within(reader.read(), `${kind} at ${lastMs} ms`);
      assert(value, `the stream goes on to ${lastMs} ms`);
      ms = Math.round(value.dts / 1000);
    }
    await reader.cancel();
  }
}

/** The promise's value, or an error that says what did not come in time. */
export async function within<T>(promise: Promise<T>, what: string): Promise<T> {
  try {
    return await deadline(promise, PATIENCE_MS);
  } catch (error) {
    const late = error instanceof DOMException && error.name === "TimeoutError";
    throw late ? new Error(`Too long a wait for the ${what}`) : error;
  }
}
