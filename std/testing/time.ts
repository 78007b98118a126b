/**
 * Stands in for `jsr:@std/testing/time` where only the npm registry is reached: the same names, signatures
 * and order of events. It is written out, as `@sinonjs/fake-timers` fires in another order: it puts a 0 ms
 * timer that is set during a tick 1 ms later, and goes on past a callback that throws.
 */
import type { DelayOptions } from "@std/async/delay";

export type { DelayOptions };

/** Says that {@linkcode FakeTime} is used wrongly. */
export class TimeError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "TimeError";
  }
}

/** Options of {@linkcode FakeTime}. */
export interface FakeTimeOptions {
  /** Fake milliseconds that pass for each real one; 0 leaves the clock to `tick()`. */
  advanceRate: number;
  /** Real milliseconds between two advances. Default: 10. */
  advanceFrequency?: number;
}

interface Timer {
  readonly id: number;
  readonly callback: (...args: unknown[]) => unknown;
  readonly args: unknown[];
  readonly everyMs: number | undefined;
  due: number;
}

/** The globals that are faked, as they were. */
const real = {
  Date,
  setTimeout,
  clearTimeout,
  setInterval,
  clearInterval,
  timeoutSignal: AbortSignal.timeout,
};

const FakeDate = new Proxy(Date, {
  construct: (_target, args) =>
    Reflect.construct(real.Date, args.length === 0 ? [fakeNow()] : args),
  apply: () => new real.Date(fakeNow()).toString(),
  get: (target, key, receiver) => key === "now" ? fakeNow : Reflect.get(target, key, receiver),
});

let current: FakeTime | undefined;
let now = 0;
let lastId = 0;
/** By due time, then by the order of setting. */
let timers: Timer[] = [];

/** Replaces `Date`, the timers and `AbortSignal.timeout` by ones whose clock only the test moves. */
export class FakeTime implements Disposable {
  readonly #start: number;
  readonly #advance: ReturnType<typeof setInterval> | undefined;

  /** Starts at `start` (milliseconds, text or `Date`; by default now). */
  constructor(start?: number | string | Date | null, options?: FakeTimeOptions) {
    if (current) throw new TimeError("Cannot construct FakeTime: time is already faked");
    this.#start = startTime(start);
    now = this.#start;
    lastId = 0;
    timers = [];
    current = this;
    override();
    const rate = Math.max(0, options?.advanceRate ?? 0);
    const everyMs = Math.max(0, options?.advanceFrequency ?? 10);
    if (rate > 0) this.#advance = real.setInterval(() => this.tick(rate * everyMs), everyMs);
  }

  /** Restores the real time. */
  static restore(): void {
    if (!current) throw new TimeError("Cannot restore time: time is already restored");
    current.restore();
  }

  /** Calls back with the real time in place until the callback's promise settles. */
  static restoreFor<T>(
    // deno-lint-ignore no-explicit-any -- the signature of the real package
    callback: (...args: any[]) => Promise<T> | T,
    // deno-lint-ignore no-explicit-any -- the signature of the real package
    ...args: any[]
  ): Promise<T> {
    if (!current) return Promise.reject(new TimeError("Cannot restore time: time is not faked"));
    reinstate();
    try {
      const result = callback(...args);
      if (result instanceof Promise) return result.finally(override);
      override();
      return Promise.resolve(result);
    } catch (error) {
      override();
      return Promise.reject(error);
    }
  }

  /** The fake time in milliseconds; setting it forward fires what is due on the way. */
  get now(): number {
    return now;
  }
  set now(value: number) {
    if (value < now) {
      throw new RangeError(
        `Cannot set current time in the past, time must be >= ${now}: received ${value}`,
      );
    }
    for (let timer = timers[0]; timer && timer.due <= value; timer = timers[0]) fire(timer);
    now = value;
  }

  /** The fake time at which this began, in milliseconds. */
  get start(): number {
    return this.#start;
  }

  /** Waits in real time. */
  async delay(ms: number, options: DelayOptions = {}): Promise<void> {
    const { signal } = options;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const aborted = () => new DOMException("Delay was aborted.", "AbortError");
    if (signal?.aborted) throw aborted();
    const timer = real.setTimeout(resolve, ms);
    const abort = () => {
      real.clearTimeout(timer);
      reject(aborted());
    };
    signal?.addEventListener("abort", abort, { once: true });
    await promise;
    signal?.removeEventListener("abort", abort);
  }

  /** Lets what is already settled run. */
  async runMicrotasks(): Promise<void> {
    await this.delay(0);
  }

  /** Moves the clock forward. */
  tick(ms = 0): void {
    this.now += ms;
  }

  /** Runs the microtasks, then moves the clock forward. */
  async tickAsync(ms = 0): Promise<void> {
    await this.runMicrotasks();
    this.now += ms;
  }

  /** Moves the clock to the next timer; `false` if there is none. */
  next(): boolean {
    const timer = timers[0];
    if (timer) this.now = timer.due;
    return timer !== undefined;
  }

  /** Runs the microtasks, then moves the clock to the next timer; `false` if there is none. */
  async nextAsync(): Promise<boolean> {
    await this.runMicrotasks();
    return this.next();
  }

  /** Moves the clock forward until no timer is left. */
  runAll(): void {
    while (timers.length > 0) this.next();
  }

  /** Moves the clock forward until no timer is left, with the microtasks run before each. */
  async runAllAsync(): Promise<void> {
    while (timers.length > 0) await this.nextAsync();
  }

  /** Restores the real time. */
  restore(): void {
    if (!current) throw new TimeError("Cannot restore time: time is already restored");
    current = undefined;
    reinstate();
    if (this.#advance !== undefined) clearInterval(this.#advance);
  }

  /** Restores the real time. */
  [Symbol.dispose](): void {
    this.restore();
  }
}

function startTime(start: number | string | Date | null | undefined): number {
  let ms = real.Date.now();
  if (start instanceof Date) ms = start.valueOf();
  else if (typeof start === "number") ms = Math.floor(start);
  else if (typeof start === "string") ms = new Date(start).valueOf();
  if (Number.isNaN(ms)) {
    throw new TypeError(`Cannot construct FakeTime: invalid start time ${ms}`);
  }
  return ms;
}

function fakeNow(): number {
  return current ? now : real.Date.now();
}

function fire(timer: Timer): void {
  timers.shift();
  now = timer.due;
  if (timer.everyMs !== undefined) insert({ ...timer, due: now + timer.everyMs });
  timer.callback(...timer.args);
}

function insert(timer: Timer): void {
  const after = timers.findLastIndex((other) => other.due <= timer.due);
  timers.splice(after + 1, 0, timer);
}

function set(callback: unknown, ms: number, args: unknown[], repeats: boolean): number {
  const name = repeats ? "setInterval" : "setTimeout";
  if (typeof callback !== "function") {
    throw new TimeError(`FakeTime does not support non-function callbacks to ${name}`);
  }
  if (!current) {
    throw new TimeError(`Cannot ${repeats ? "set interval" : "set timeout"}: time is not faked`);
  }
  const wait = Math.max(repeats ? 1 : 0, Math.floor(ms));
  insert({
    id: ++lastId,
    callback: callback as Timer["callback"],
    args,
    everyMs: repeats ? wait : undefined,
    due: now + wait,
  });
  return lastId;
}

function fakeSetTimeout(callback: unknown, ms = 0, ...args: unknown[]): number {
  return set(callback, ms, args, false);
}

function fakeSetInterval(callback: unknown, ms = 0, ...args: unknown[]): number {
  return set(callback, ms, args, true);
}

function fakeClear(id?: unknown): void {
  if (!current) throw new TimeError("Cannot clear timeout: time is not faked");
  timers = timers.filter((timer) => timer.id !== id);
}

function fakeTimeoutSignal(ms: number): AbortSignal {
  const controller = new AbortController();
  fakeSetTimeout(
    () => controller.abort(new DOMException("Signal timed out.", "TimeoutError")),
    ms,
  );
  return controller.signal;
}

function override(): void {
  globalThis.Date = FakeDate;
  globalThis.setTimeout = fakeSetTimeout as unknown as typeof setTimeout;
  globalThis.clearTimeout = fakeClear;
  globalThis.setInterval = fakeSetInterval as unknown as typeof setInterval;
  globalThis.clearInterval = fakeClear;
  AbortSignal.timeout = fakeTimeoutSignal;
}

function reinstate(): void {
  globalThis.Date = real.Date;
  globalThis.setTimeout = real.setTimeout;
  globalThis.clearTimeout = real.clearTimeout;
  globalThis.setInterval = real.setInterval;
  globalThis.clearInterval = real.clearInterval;
  AbortSignal.timeout = real.timeoutSignal;
}
