/** Who waits for something to read. */

/** A reader that waits without a promise: it is woken by one call. */
export interface Waiter {
  /** Called once after {@linkcode Place.wait}; it must not throw. */
  wake(): void;
}

/**
 * A reader's place among those that wait, one a reader and list.
 *
 * Waiting twice is waiting once: the links are in the place itself, so that neither waiting, nor
 * waking, nor leaving allocates or searches.
 */
export class Place {
  readonly #list: WakeList;
  waiter: Waiter | undefined;
  round = 0;
  previous: Place | undefined;
  next: Place | undefined;

  /** A place that does not wait yet. */
  constructor(list: WakeList) {
    this.#list = list;
  }

  /** Wakes `waiter` at the next {@linkcode WakeList.wake}. */
  wait(waiter: Waiter): void {
    if (this.waiter === undefined) this.#list.append(this);
    this.waiter = waiter;
  }

  /** Stops waiting. */
  leave(): void {
    if (this.waiter === undefined) return;
    this.waiter = undefined;
    this.#list.remove(this);
  }
}

/**
 * The readers that have read everything and wait for more.
 *
 * A place waits for one wake-up. A reader that is woken and still finds nothing waits again, which
 * takes effect at the next wake-up.
 */
export class WakeList {
  #first: Place | undefined;
  #last: Place | undefined;
  #round = 0;
  #waking = false;
  #again = false;
  #size = 0;

  /** Readers that wait. */
  get size(): number {
    return this.#size;
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
      this.begin();
      this.wakeSome(Infinity);
    } while (this.#again);
    this.#waking = false;
  }

  /** Says that everyone that waits now is to be woken by {@linkcode WakeList.wakeSome}. */
  begin(): void {
    this.#round++;
  }

  /** Wakes `count` of those that are to be woken, who waits longest first; whether none is left. */
  wakeSome(count: number): boolean {
    for (let woken = 0; woken < count; woken++) {
      const place = this.#first;
      // Places of this round are of readers that were woken and wait again, or have come since.
      if (place === undefined || place.round === this.#round) return true;
      const waiter = place.waiter;
      place.leave();
      waiter?.wake();
    }
    return false;
  }

  /** Called by {@linkcode Place.wait}. */
  append(place: Place): void {
    place.round = this.#round;
    this.#size++;
    place.previous = this.#last;
    if (this.#last === undefined) this.#first = place;
    else this.#last.next = place;
    this.#last = place;
  }

  /** Called by {@linkcode Place.leave}. */
  remove(place: Place): void {
    const { previous, next } = place;
    this.#size--;
    if (previous === undefined) this.#first = next;
    else previous.next = next;
    if (next === undefined) this.#last = previous;
    else next.previous = previous;
    place.previous = undefined;
    place.next = undefined;
  }
}
