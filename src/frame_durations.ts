/** How long frames last, for formats that say so. */

import type { MediaFrame } from "./frame.ts";

/** Longest time that a frame waits for the next one of its track, such as before a pause. */
const MAX_HOLD_US = 500_000;

interface HeldFrame {
  readonly frame: MediaFrame;
  durationUs: number | undefined;
}

/**
 * Finds out how long frames last: until the next frame of their track. Frames keep their order, so
 * that each waits for the ones before it.
 */
export class FrameDurations {
  readonly #write: (frame: MediaFrame, durationUs: number) => void;
  #held: HeldFrame[] = [];
  /** The newest frame of each kind. */
  readonly #newest: { video?: HeldFrame; audio?: HeldFrame } = {};
  /** How long the frame before the newest one of a kind lasted. */
  readonly #usual = { video: 0, audio: 0 };

  /** Gives frames to `write` with their durations in µs. */
  constructor(write: (frame: MediaFrame, durationUs: number) => void) {
    this.#write = write;
  }

  /** Takes the next frame of either track. */
  push(frame: MediaFrame): void {
    const before = this.#newest[frame.kind];
    const held: HeldFrame = { frame, durationUs: undefined };
    if (before?.durationUs === undefined && before !== undefined) {
      before.durationUs = this.#usual[frame.kind] = frame.dts - before.frame.dts;
    }
    this.#newest[frame.kind] = held;
    this.#held.push(held);
    this.#release((first) =>
      first.durationUs !== undefined || frame.dts - first.frame.dts > MAX_HOLD_US
    );
  }

  /** Gives away all frames; the newest last as long as the ones before them. */
  flush(): void {
    this.#release(() => true);
    delete this.#newest.video;
    delete this.#newest.audio;
  }

  #release(ready: (held: HeldFrame) => boolean): void {
    let first = this.#held[0];
    while (first !== undefined && ready(first)) {
      this.#held.shift();
      first.durationUs ??= this.#usual[first.frame.kind];
      this.#write(first.frame, first.durationUs);
      first = this.#held[0];
    }
  }
}
