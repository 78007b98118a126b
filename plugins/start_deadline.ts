/** How long a connection may do nothing that it is there for. */

/**
 * Ends a connection that neither publishes nor plays in time.
 *
 * While the answer to an attempt is awaited, such as that of a guard or for a missing stream, the
 * connection is not ended, but an attempt that fails after the deadline was the last one.
 */
export class StartDeadline {
  readonly #seconds: number;
  readonly #onPassed: (reason: string) => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #attempts = 0;
  #passed = false;

  /** A deadline `seconds` from now; `onPassed` gets the reason to end the connection. */
  constructor(seconds: number, onPassed: (reason: string) => void) {
    this.#seconds = seconds;
    this.#onPassed = onPassed;
    this.restart();
  }

  /** Attempts whose outcome is awaited. */
  get attempts(): number {
    return this.#attempts;
  }

  /** Begins an attempt to publish or play. */
  attempt(): void {
    this.#attempts++;
  }

  /** Ends an attempt. */
  settle(hasBegun: boolean): void {
    this.#attempts--;
    if (hasBegun) this.clear();
    else if (this.#attempts === 0 && this.#passed) this.#end();
  }

  /** Begins anew, where what had begun is over. */
  restart(): void {
    this.clear();
    this.#timer = setTimeout(() => {
      this.#passed = true;
      if (this.#attempts === 0) this.#end();
    }, this.#seconds * 1000);
  }

  /** Lifts the deadline. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#passed = false;
  }

  #end(): void {
    this.clear();
    this.#onPassed(`it neither published nor played within ${this.#seconds} s`);
  }
}
