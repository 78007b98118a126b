/** Frames through a segmenter into a window, with every playlist of the way checked. */

import { assert, assertEquals } from "@std/assert";
import type { AudioConfig, VideoConfig } from "../../../src/codecs/config.ts";
import { joinLengthPrefixed } from "../../../src/codecs/nal.ts";
import type { MediaFrame } from "../../../src/frame.ts";
import { type Container, createContainer } from "../../../plugins/hls/container.ts";
import type { SegmentFormat } from "../../../plugins/hls/options.ts";
import { mediaPlaylist } from "../../../plugins/hls/playlist.ts";
import { Segmenter } from "../../../plugins/hls/segmenter.ts";
import { SegmentWindow } from "../../../plugins/hls/window.ts";
import { aac, h264, slice } from "../../support/frames.ts";
import { checkPlaylist, type ReadPlaylist } from "../../support/hls.ts";

/** Options of {@linkcode Studio}. */
export interface StudioOptions {
  readonly format?: SegmentFormat;
  readonly segmentUs?: number;
  readonly targetSeconds?: number;
  /** In µs; 0 for none. */
  readonly partUs?: number;
  readonly segments?: number;
  /** Most bytes of complete segments. */
  readonly maxBytes?: number;
  /** Distance of keyframes that is known before. */
  readonly gopUs?: number;
}

const UNIX_MS = 1_700_000_000_000;

/** A segmenter with its window, whose playlists are checked after each frame. */
export class Studio {
  readonly window: SegmentWindow;
  readonly segmenter: Segmenter;
  readonly container: Container;
  /** All playlists. */
  readonly history: ReadPlaylist[] = [];
  /** All segments that have been complete, in order. */
  readonly made: { readonly uri: string; readonly bytes: Uint8Array }[] = [];
  /** All initialization sections by name. */
  readonly inits = new Map<string, Uint8Array>();
  /** The same as delta updates. */
  readonly deltas: ReadPlaylist[] = [];
  #version = 0;

  constructor(options: StudioOptions = {}) {
    const { format = "fmp4", segmentUs = 2e6, targetSeconds = 0, partUs = 200_000 } = options;
    this.container = createContainer(format);
    this.window = new SegmentWindow({
      epoch: "e",
      first: 100,
      discontinuities: 100,
      segments: options.segments ?? 7,
      maxBytes: options.maxBytes,
      extension: this.container.extension,
    });
    this.segmenter = new Segmenter({
      container: this.container,
      sink: this.window,
      unixMs: UNIX_MS,
      segmentUs,
      targetSeconds,
      gopUs: options.gopUs,
      partUs: partUs > 0 && format === "fmp4" ? partUs : undefined,
    });
  }

  /** The newest playlist. */
  get playlist(): ReadPlaylist {
    const newest = this.history.at(-1);
    assert(newest, "there is no playlist yet");
    return newest;
  }

  /** All segments, the first of which is the first that was ever listed. */
  get segments(): ReadPlaylist["segments"] {
    const all = new Map(
      this.history.flatMap(({ segments }) => segments).map((segment) => [segment.number, segment]),
    );
    return [...all.values()];
  }

  /** The parts of each of {@linkcode Studio.segments}. */
  parts(number: number): ReadPlaylist["segments"][number]["parts"] {
    const seen = this.history.flatMap(({ segments, open }) => open ? [...segments, open] : segments)
      .filter((segment) => segment.number === number).map(({ parts }) => parts);
    return seen.reduce((most, parts) => parts.length > most.length ? parts : most, []);
  }

  push(...frames: readonly MediaFrame[]): void {
    for (const frame of frames) {
      this.segmenter.push(frame);
      this.check();
    }
  }

  /** Lets the first segment end early. */
  endFirst(): void {
    this.segmenter.endFirst();
    this.check();
  }

  finish(): void {
    this.segmenter.finish();
    this.window.end();
    this.check();
  }

  check(): void {
    if (this.window.version === this.#version) return;
    this.#version = this.window.version;
    const state = this.window.state();
    if (state === undefined) return;
    const playlist = checkPlaylist(mediaPlaylist(state), this.history);
    const delta = checkPlaylist(mediaPlaylist(state, { delta: true }), this.deltas);
    assertEquals(delta.segments.map(({ uri }) => uri), playlist.segments.map(({ uri }) => uri));
    const file = (name: string) => {
      const bytes = this.window.file(name);
      assert(bytes instanceof Uint8Array, `${name} is not there`);
      return bytes;
    };
    for (const { uri = "", map, parts } of playlist.segments) {
      const bytes = file(uri);
      if (map !== undefined) this.inits.set(map, file(map));
      if (parts.length > 0) {
        const joined = parts.map((part) => file(part.uri));
        assert(joined.every(({ buffer }) => buffer === bytes.buffer), "a part is a view");
        assertEquals(joined.reduce((sum, { length }) => sum + length, 0), bytes.length);
      }
      if (!this.made.some((segment) => segment.uri === uri)) this.made.push({ uri, bytes });
    }
    for (const { uri } of playlist.open?.parts ?? []) file(uri);
    if (playlist.hint !== undefined) assertEquals(this.window.file(playlist.hint), "next");
  }
}

const VIDEO = h264();
const AUDIO = aac();
let sequence = 0;

/** A frame of video at `ms`. */
export function video(
  ms: number,
  key: boolean,
  options: { readonly config?: VideoConfig; readonly ctsMs?: number } = {},
): MediaFrame {
  const dts = Math.round(ms * 1000);
  const { config = VIDEO, ctsMs = 0 } = options;
  const data = joinLengthPrefixed([slice(key, sequence & 0x7f)]);
  return { kind: "video", sequence: sequence++, dts, pts: dts + ctsMs * 1000, key, config, data };
}

/** A frame of audio at `ms`. */
export function audio(ms: number, config: AudioConfig = AUDIO): MediaFrame {
  const dts = Math.round(ms * 1000);
  const data = Uint8Array.of(0x21, sequence & 0xff, 0x5a);
  return { kind: "audio", sequence: sequence++, dts, pts: dts, key: true, config, data };
}

/** What {@linkcode stream} makes. */
export interface StreamShape {
  readonly fromMs?: number;
  readonly toMs: number;
  /** Frames a second of video; 0 for none. */
  readonly fps?: number;
  /** Distance of keyframes in ms. */
  readonly gopMs?: number;
  readonly audio?: boolean;
  readonly videoConfig?: VideoConfig;
  readonly audioConfig?: AudioConfig;
  /** How long a frame of audio lasts; as AAC of 48 kHz has it unless this says. */
  readonly audioMs?: number;
  /** Frames of video between two that are shown in the order in which they come. */
  readonly bFrames?: number;
  /** Times in whole ms, as FLV has them. */
  readonly whole?: boolean;
}

/** Frames of a stream, in the order of their times. */
export function stream(shape: StreamShape): MediaFrame[] {
  const { fromMs = 0, toMs, fps = 25, gopMs = 1000, whole = false, bFrames = 0 } = shape;
  const { audioMs = 1024 / 48 } = shape;
  const at = (ms: number) => fromMs + (whole ? Math.round(ms) : ms);
  const frames: MediaFrame[] = [];
  const span = toMs - fromMs;
  if (fps > 0) {
    const gop = Math.round(gopMs * fps / 1000);
    for (let index = 0; index * 1000 / fps < span - 0.001; index++) {
      const place = index % gop;
      // All come up to two frames early, so that those that others lean on can come before these.
      const delay = Math.min(2, bFrames);
      const early = place === 0 ? delay : place % (bFrames + 1) === 1 ? delay + bFrames : delay - 1;
      const ctsMs = bFrames > 0 ? Math.round(early * 1000 / fps) : 0;
      const options = shape.videoConfig ? { config: shape.videoConfig, ctsMs } : { ctsMs };
      frames.push(video(at(index * 1000 / fps), place === 0, options));
    }
  }
  if (shape.audio ?? true) {
    for (let index = 0; index * audioMs < span - 0.001; index++) {
      frames.push(audio(at(index * audioMs), shape.audioConfig));
    }
  }
  return frames.sort((a, b) => a.dts - b.dts || (a.kind === "video" ? -1 : 1));
}
