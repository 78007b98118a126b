/** What holds for isolates whatever happens in them, and in whatever order. */

import { assert, assertEquals } from "@std/assert";
import { deadline } from "@std/async/deadline";
import fc from "fast-check";
import { joinLengthPrefixed } from "../src/codecs/nal.ts";
import { type End, StreamTakenError } from "../src/errors.ts";
import type { Publisher } from "../src/publisher.ts";
import type { Subscriber } from "../src/subscriber.ts";
import { h264 } from "./support/frames.ts";
import { Fleet, settle } from "./support/isolates.ts";

const ISOLATES = 3;
const PATHS = ["live/a", "live/b"];

type Action =
  | { readonly type: "publish"; readonly isolate: number; readonly takeOver: boolean }
  | { readonly type: "subscribe"; readonly isolate: number }
  | { readonly type: "frames"; readonly count: number }
  | { readonly type: "lose" | "close" | "leave" }
  | { readonly type: "fail"; readonly isolate: number };

/** Something that happens, and how many turns of the event loop later the next thing does. */
type Step = Action & { readonly path: string; readonly turns: number };

const isolate = fc.nat(ISOLATES - 1);
const type = <T extends string>(type: T) => fc.constant(type);
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ type: type("publish"), isolate, takeOver: fc.boolean() }) },
  { weight: 6, arbitrary: fc.record({ type: type("subscribe"), isolate }) },
  {
    weight: 6,
    arbitrary: fc.record({ type: type("frames"), count: fc.integer({ min: 1, max: 9 }) }),
  },
  { weight: 2, arbitrary: fc.record({ type: type("lose") }) },
  { weight: 1, arbitrary: fc.record({ type: type("close") }) },
  { weight: 3, arbitrary: fc.record({ type: type("leave") }) },
  { weight: 1, arbitrary: fc.record({ type: type("fail"), isolate }) },
);
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.tuple(action, fc.constantFrom(...PATHS), fc.constantFrom(0, 0, 0, 1, 2, 3, 20)).map((
    [action, path, turns],
  ) => ({ ...action, path, turns })),
  { minLength: 5, maxLength: 30 },
);

/** A viewer: what it was given, and how it ended. */
class Viewer {
  readonly frames: { readonly by: number; readonly id: number; readonly dts: number }[] = [];
  readonly controller = new AbortController();
  readonly settled: Promise<void>;
  subscriber: Subscriber | undefined;
  left = false;

  constructor(fleet: Fleet, readonly isolate: number, readonly path: string) {
    this.settled = this.#watch(fleet);
  }

  get end(): End | undefined {
    return this.subscriber?.end;
  }

  leave(): void {
    this.left = true;
    this.controller.abort(new Error("it left"));
  }

  async #watch(fleet: Fleet): Promise<void> {
    const { signal } = this.controller;
    try {
      const engine = fleet.engines[this.isolate];
      this.subscriber = await engine?.subscribe(this.path, { type: "Test", signal });
      for await (const { dts, data } of this.subscriber?.play() ?? []) {
        const view = new DataView(data.buffer, data.byteOffset);
        this.frames.push({ by: view.getUint8(5), id: view.getUint32(6), dts });
      }
    } catch {
      // It left, or its isolate failed.
    }
  }
}

/** Each frame comes once, those of a publisher in order and with none of another among them. */
function checkOrder(frames: Viewer["frames"]): void {
  const over = new Set<number>();
  for (const [at, { by, id, dts }] of frames.entries()) {
    const before = frames[at - 1];
    if (before === undefined) continue;
    assert(dts >= before.dts, `${dts} after ${before.dts}`);
    if (by === before.by) assert(id > before.id, `frame ${id} after ${before.id}`);
    else over.add(before.by);
    assert(!over.has(by), `publisher ${by} after ${before.by}`);
  }
}

/** Isolates with viewers and publishers, and what must hold for them. */
class Model implements AsyncDisposable {
  readonly fleet = new Fleet(ISOLATES);
  readonly #publishers: Publisher[] = [];
  readonly #viewers: Viewer[] = [];
  readonly #pending: Promise<void>[] = [];
  #frame = 0;
  #publisher = 0;

  async take(step: Step): Promise<void> {
    switch (step.type) {
      case "publish":
        this.#pending.push(this.#publish(step.isolate, step.path, step.takeOver));
        break;
      case "subscribe":
        this.#viewers.push(new Viewer(this.fleet, step.isolate, step.path));
        break;
      case "frames":
        for (const publisher of this.#live(step.path)) this.#push(publisher, step.count);
        break;
      case "lose":
        for (const publisher of this.#live(step.path)) publisher.lose("its cable was cut");
        break;
      case "close":
        await this.#close(step.path);
        break;
      case "leave":
        this.#viewers.find(({ path, left }) => path === step.path && !left)?.leave();
        break;
      case "fail":
        await this.#fail(step.isolate);
    }
    await settle(step.turns);
  }

  /** Checks all that holds once nothing is under way. */
  async check(): Promise<void> {
    await deadline(Promise.all(this.#pending), 5000);
    await settle(30);
    for (const path of PATHS) {
      const live = this.#live(path);
      assert(live.length <= 1, `${live.length} publish ${path}`);
      const [publisher] = live;
      const last = publisher && this.#push(publisher, 3);
      await settle(30);
      for (const viewer of this.#viewers) {
        if (viewer.path !== path) continue;
        const { frames, left, end } = viewer;
        checkOrder(frames);
        if (left || publisher === undefined) continue;
        // Only what is closed on purpose ends.
        assertEquals(end, undefined, `a viewer of ${path} in ${viewer.isolate}`);
        assertEquals(frames.at(-1)?.id, last, `a viewer of ${path} in ${viewer.isolate}`);
      }
    }
  }

  /** Ends all; fails if something is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const viewer of this.#viewers) viewer.leave();
    await deadline(Promise.all(this.#viewers.map(({ settled }) => settled)), 5000);
    for (const path of PATHS) {
      await this.#publish(0, path, true);
      await this.#close(path);
    }
    await settle(30);
    const { engines } = this.fleet;
    assertEquals(engines.map(({ streams }) => [...streams.keys()]), [[], [], []]);
    assertEquals(engines.map(({ subscribers }) => subscribers.size), [0, 0, 0]);
    for (const path of PATHS) {
      for (const { isolates } of engines) {
        assertEquals(
          await deadline(isolates.demand(path), 2000),
          "unknown",
          `${path} is forgotten`,
        );
        isolates.forget(path);
      }
    }
    await this.fleet[Symbol.asyncDispose]();
  }

  async #publish(isolate: number, path: string, takeOver: boolean): Promise<void> {
    const engine = this.fleet.engines[isolate];
    const id = String(++this.#publisher);
    try {
      const publisher = await engine?.publish(path, { type: "Test", id, takeOver });
      if (publisher === undefined) return;
      publisher.video.configure(h264());
      publisher.completeTracks();
      this.#publishers.push(publisher);
      this.#push(publisher, 2);
    } catch (error) {
      if (!(error instanceof StreamTakenError) || takeOver) throw error;
    }
  }

  /** Pushes a keyframe and others: the number of the last. */
  #push(publisher: Publisher, count: number): number {
    for (let at = 0; at < count; at++) {
      const id = ++this.#frame;
      const nalu = new Uint8Array(8);
      nalu[0] = at === 0 ? 0x65 : 0x41;
      nalu[1] = Number(publisher.id);
      new DataView(nalu.buffer).setUint32(2, id);
      publisher.video.push({
        dtsUs: id * 40_000,
        key: at === 0,
        data: joinLengthPrefixed([nalu]),
      });
    }
    return this.#frame;
  }

  #live(path: string): Publisher[] {
    return this.#publishers.filter(({ stream, end }) => stream.path === path && end === undefined);
  }

  /** Ends a stream, when whatever is under way there has come to its end. */
  async #close(path: string): Promise<void> {
    await deadline(Promise.all(this.#pending), 5000);
    await settle(30);
    for (const publisher of this.#live(path)) {
      publisher.close();
      for (const viewer of this.#viewers) if (viewer.path === path) viewer.left = true;
    }
    await settle(30);
    for (const viewer of this.#viewers) if (viewer.left) viewer.leave();
  }

  async #fail(isolate: number): Promise<void> {
    await deadline(Promise.all(this.#pending), 5000);
    const engine = this.fleet.engines[isolate];
    this.fleet.fail(isolate);
    for (const viewer of this.#viewers) if (viewer.isolate === isolate) viewer.leave();
    for (const publisher of this.#publishers) {
      if (engine?.getStream(publisher.stream.path) === publisher.stream) {
        this.#publishers.splice(this.#publishers.indexOf(publisher), 1);
      }
    }
    await settle(20);
    await engine?.close();
    this.fleet.restart(isolate);
  }
}

Deno.test("isolates have one publisher a path, and viewers see each frame once, whatever happens", async () => {
  await fc.assert(
    fc.asyncProperty(steps, async (steps) => {
      await using model = new Model();
      for (const step of steps) await model.take(step);
      await model.check();
    }),
    { seed: 21, numRuns: 300, endOnFailure: true },
  );
});
