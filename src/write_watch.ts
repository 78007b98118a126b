/** Notices a client that takes nothing. */

/** One timer for many writes: it looks whether the one under way has stood still for too long. */
export class WriteWatch {
  readonly #timeoutMs: number;
  readonly #onStall: () => void;
  readonly #nowMs: () => number;
  readonly #check = () => this.#look();
  /** When the write under way began; −1 if there is none. */
  #sinceMs = -1;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;

  /** Calls `onStall` once if a write takes longer than `timeoutMs` by the clock `nowMs`. */
  constructor(timeoutMs: number, onStall: () => void, nowMs = now) {
    this.#timeoutMs = timeoutMs;
    this.#onStall = onStall;
    this.#nowMs = nowMs;
  }

  /** A write is under way. */
  begin(): void {
    if (this.#stopped) return;
    this.#sinceMs = this.#nowMs();
    this.#timer ??= setTimeout(this.#check, this.#timeoutMs);
  }

  /** It has ended; the timer is left to find that out. */
  end(): void {
    this.#sinceMs = -1;
  }

  /** Nothing will be written any more. Idempotent. */
  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  #look(): void {
    this.#timer = undefined;
    if (this.#sinceMs < 0) return;
    const leftMs = this.#sinceMs + this.#timeoutMs - this.#nowMs();
    if (leftMs > 0) this.#timer = setTimeout(this.#check, leftMs);
    else this.#onStall();
  }
}

function now(): number {
  return performance.now();
}
