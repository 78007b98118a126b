/** Typed events whose listeners cannot harm the one that dispatches. */

type Listener<E> = (event: E) => unknown;

/**
 * An `EventTarget` for the events of `Map` (name to event), with isolated listeners.
 *
 * A listener that throws, or whose promise rejects, is reported through {@linkcode Events.onError}
 * instead of ending the process, as runtimes do with errors in plain event listeners.
 */
export class Events<Map extends Record<keyof Map, Event>> {
  readonly #target = new EventTarget();
  readonly #isolated = new WeakMap<Listener<never>, EventListener>();
  readonly #onError: (type: string, error: unknown) => void;

  /** A target that gives errors of its listeners to `onError`. */
  constructor(onError: (type: string, error: unknown) => void) {
    this.#onError = onError;
  }

  /** Calls `listener` at each event of `type`; options as of `EventTarget`. */
  addEventListener<K extends keyof Map & string>(
    type: K,
    listener: Listener<Map[K]>,
    options?: AddEventListenerOptions,
  ): void {
    let isolated = this.#isolated.get(listener);
    if (isolated === undefined) {
      isolated = async (event) => {
        try {
          await listener(event as unknown as Map[K]);
        } catch (error) {
          this.#onError(event.type, error);
        }
      };
      this.#isolated.set(listener, isolated);
    }
    this.#target.addEventListener(type, isolated, options);
  }

  /** Undoes {@linkcode Events.addEventListener}. */
  removeEventListener<K extends keyof Map & string>(type: K, listener: Listener<Map[K]>): void {
    const isolated = this.#isolated.get(listener);
    if (isolated !== undefined) this.#target.removeEventListener(type, isolated);
  }

  /** Calls the listeners of `event`; false if one of them called `preventDefault`. */
  dispatchEvent(event: Map[keyof Map]): boolean {
    return this.#target.dispatchEvent(event);
  }
}
