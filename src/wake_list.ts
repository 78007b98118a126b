/** Who waits for something to read. */

/** A reader that waits without a promise: it is woken by one call. */
export interface Waiter {
  /** Called once after {@linkcode WakeList.add}; it must not throw. */
  wake(): void;
}

/**
 * The readers that have read everything and wait for more.
 *
 * An entry lasts for one wake-up. A reader that is woken and still finds nothing adds itself again,
 * which takes effect at the next wake-up.
 */
export class WakeList {
  #waiting = new Set<Waiter>();
  #spare = new Set<Waiter>();
  #waking = false;
  #again = false;

  /** Readers that wait. */
  get size(): number {
    return this.#waiting.size;
  }

  /** Wakes `waiter` at the next {@linkcode WakeList.wake}. */
  add(waiter: Waiter): void {
    this.#waiting.add(waiter);
  }

  /** Forgets `waiter`. */
  delete(waiter: Waiter): void {
    this.#waiting.delete(waiter);
    this.#spare.delete(waiter);
  }

  /** Wakes everyone that waits now; called by a waiter that is woken, once all of them are. */
  wake(): void {
    if (this.#waking) {
      this.#again = true;
      return;
    }
    this.#waking = true;
    do {
      this.#again = false;
      const woken = this.#waiting;
      this.#waiting = this.#spare;
      this.#spare = woken;
      for (const waiter of woken) waiter.wake();
      woken.clear();
    } while (this.#again);
    this.#waking = false;
  }
}
