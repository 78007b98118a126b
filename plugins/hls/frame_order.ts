/** The order of frames: by their times, though each kind of them comes when it likes. */

import type { MediaFrame } from "../../src/frame.ts";

type Kind = MediaFrame["kind"];

/**
 * How far frames of a kind may be ahead of the other kind and wait for it, in µs.
 *
 * Players wait as long as video does, so it waits for ten frames of AAC, more than encoders and
 * networks set the two apart. Audio is of no use to them before the picture, of which there may be
 * but two a second.
 */
export const WAIT_US = { video: 250_000, audio: 500_000 } as const;
/** Longest time from decoding to showing video that audio is asked to cover, in µs: 12 frames at 25 fps. */
const MAX_DELAY_US = 500_000;
/** Most frames that wait: 500 ms have a tenth of it, unless a publisher's times stand still. */
const MAX_FRAMES = 1000;
/** Most bytes that wait, for the same reason: 500 ms at 130 Mbit/s. */
const MAX_BYTES = 8 * 1024 * 1024;

/** Compares frames by their decode times, video first where they are equal. */
export function compareFrames(a: MediaFrame, b: MediaFrame): number {
  if (a.dts !== b.dts || a.kind === b.kind) return a.dts - b.dts;
  return a.kind === "video" ? -1 : 1;
}

/** A frame that waits. */
interface Waiting {
  readonly frame: MediaFrame;
  /** Where it goes among those of the other kind, in µs. */
  timeUs: number;
}

/**
 * Puts frames of video and audio in the order of their times, video first where they are equal.
 *
 * A frame waits until the other kind has come as far, so that whoever gets it has got all frames
 * that go before it, and knows where they end. Nothing waits for a kind that has not come, or has
 * fallen {@linkcode WAIT_US} behind: what is later than that goes on after newer frames.
 *
 * What is heard goes with what is shown: video that is decoded before it is shown, for the sake of
 * B-frames, goes with audio that is as much newer. Where the stream breaks off it goes by decode
 * times, so that nothing of before comes after.
 */
export class FrameOrder {
  readonly #waiting: Record<Kind, Waiting[]> = { video: [], audio: [] };
  /** The frame that came last. */
  #newest: { [kind in Kind]?: Waiting } = {};
  #breakUs = -Infinity;
  #delayUs = 0;
  #bytes = 0;
  #ended = false;

  /** Takes a frame; those of a kind come in the order of their decode times. */
  push(frame: MediaFrame): void {
    const { kind, dts, pts, key, config, data } = frame;
    const before = this.#newest[kind]?.frame;
    // Another configuration is a break, too.
    if (before !== undefined && before.config !== config) this.breakAfter(dts - 1);
    if (kind === "video" && key) this.#delayUs = Math.min(Math.max(0, pts - dts), MAX_DELAY_US);
    // It is to be known soon that there is video.
    const timeUs = before === undefined ? dts : this.#timeOf(frame);
    const waiting = { frame, timeUs };
    this.#waiting[kind].push(waiting);
    this.#newest[kind] = waiting;
    this.#bytes += data.length;
  }

  /** Says that the stream breaks off: all frames up to `us` go before those that are newer. */
  breakAfter(us: number): void {
    this.#breakUs = Math.max(this.#breakUs, us);
    for (const waiting of this.#waiting.video) waiting.timeUs = this.#timeOf(waiting.frame);
  }

  /** Begins anew, and returns all frames that wait, in order. */
  restart(): MediaFrame[] {
    const ended = this.#ended;
    this.#ended = true;
    const frames: MediaFrame[] = [];
    for (let frame = this.next(); frame !== undefined; frame = this.next()) frames.push(frame);
    this.#ended = ended;
    this.#newest = {};
    return frames;
  }

  /** Says that no frame comes any more: none waits from now on. */
  end(): void {
    this.#ended = true;
  }

  /** The next frame; undefined while it is not known or there is none. */
  next(): MediaFrame | undefined {
    const video = this.#waiting.video[0];
    const audio = this.#waiting.audio[0];
    const isAudio = audio !== undefined && !(video !== undefined && video.timeUs <= audio.timeUs);
    const first = isAudio ? audio : video;
    if (first === undefined || this.#waits(first)) return undefined;
    const { frame } = first;
    this.#waiting[frame.kind].shift();
    this.#bytes -= frame.data.length;
    return frame;
  }

  /** When the next frame of a kind is decoded, in µs; undefined if it has not come. */
  nextUs(kind: Kind): number | undefined {
    return this.#waiting[kind][0]?.frame.dts;
  }

  /** How much later than it is decoded video is shown, in µs. */
  get delayUs(): number {
    return this.#delayUs;
  }

  #timeOf({ kind, dts }: MediaFrame): number {
    if (kind === "audio") return dts;
    const shownUs = dts + this.#delayUs;
    return dts <= this.#breakUs ? Math.min(shownUs, this.#breakUs) : shownUs;
  }

  /** Whether frames of the other kind may come that go before the first of all that wait. */
  #waits({ frame: { kind }, timeUs }: Waiting): boolean {
    const other = kind === "video" ? "audio" : "video";
    if (this.#ended || this.#waiting[other].length > 0) return false;
    if (this.#waiting[kind].length > MAX_FRAMES || this.#bytes > MAX_BYTES) return false;
    const [newest, newestOther] = [this.#newest[kind], this.#newest[other]];
    if (newest === undefined || newestOther === undefined) return false;
    const isLate = newest.frame.dts - newestOther.frame.dts > WAIT_US[kind];
    return newestOther.timeUs < timeUs && !isLate;
  }
}
