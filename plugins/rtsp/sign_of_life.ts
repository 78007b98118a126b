/** How long a peer may be silent. */

/** Waits for signs of life of a peer, with one timer however many there are. */
export class SignOfLife {
  readonly #onSilence: (seconds: number) => void;
  readonly #nowMs: () => number;
  #seconds = 0;
  #lastMs = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `onSilence` gets the seconds for which there was none by the clock `nowMs`. */
  constructor(onSilence: (seconds: number) => void, nowMs = () => performance.now()) {
    this.#onSilence = onSilence;
    this.#nowMs = nowMs;
  }

  /** Waits for a sign within `seconds` from now on, and from each sign on. */
  watch(seconds: number): void {
    this.stop();
    this.#seconds = seconds;
    this.touch();
    this.#arm(seconds * 1000);
  }

  /** There is one. */
  touch(): void {
    this.#lastMs = this.#nowMs();
  }

  /** Waits no more. Idempotent. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #arm(ms: number): void {
    this.#timer = setTimeout(() => {
      const leftMs = this.#lastMs + this.#seconds * 1000 - this.#nowMs();
      if (leftMs > 0) this.#arm(leftMs);
      else this.#onSilence(this.#seconds);
    }, ms);
  }
}
