/**
 * `track.readable()` against a `tee()` chain, in turns in one process, so that whatever else the
 * machine does slows both: `deno run bench/versus_tee.ts`. Prints medians.
 */

import type { VideoAccessUnit } from "../src/frame.ts";
import { TrackWriter } from "../src/track.ts";
import { Deliveries, type Fanout, readAll, teeChain } from "./fanout.ts";
import { videoFrame } from "./frames.ts";

const SIZES = [1, 100, 1_000, 5_000];
const ROUNDS = 30;
const WARM_UP_ROUNDS = 6;
const DELIVERIES_PER_ROUND = 40_000;

class Contender {
  readonly #deliveries = new Deliveries();
  readonly #fanout: Fanout<VideoAccessUnit>;
  readonly #readers: number;
  readonly #times: number[] = [];
  #sequence = 0;

  constructor(readers: number, create: typeof teeChain<VideoAccessUnit>, end?: "open") {
    this.#readers = readers;
    this.#fanout = create(readers, this.#deliveries, end);
  }

  /** Delivers some thousand frames and notes what one took. */
  async round(): Promise<void> {
    const frameCount = DELIVERIES_PER_ROUND / this.#readers;
    const begun = performance.now();
    for (let count = 0; count < frameCount; count++) {
      const delivered = this.#deliveries.expect(this.#readers);
      this.#fanout.send(videoFrame(this.#sequence++));
      await delivered;
    }
    this.#times.push((performance.now() - begun) * 1000 / frameCount / this.#readers);
  }

  /** The median time of a delivered frame in µs. */
  get medianUs(): number {
    const times = this.#times.slice(WARM_UP_ROUNDS).toSorted((a, b) => a - b);
    return times[times.length >>> 1] ?? NaN;
  }

  close(): void {
    this.#fanout.close();
  }
}

function ring(readers: number, deliveries: Deliveries): Fanout<VideoAccessUnit> {
  const writer = new TrackWriter<VideoAccessUnit>("video", "video");
  for (let index = 0; index < readers; index++) readAll(writer.track.readable(), deliveries);
  return {
    send: (frame) => writer.write(frame, frame.data.length),
    close: () => writer.ring.close(),
  };
}

function print(line: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
}

print("| readers | `readable()` µs | chain µs | ratio | with one more branch µs | ratio |");
print("| --: | --: | --: | --: | --: | --: |");
for (const readers of SIZES) {
  const cells: string[] = [];
  for (const end of [undefined, "open"] as const) {
    const ours = new Contender(readers, ring);
    const theirs = new Contender(readers, teeChain, end);
    await new Promise((resolve) => setTimeout(resolve));
    for (let round = 0; round < ROUNDS; round++) {
      const inTurn = round % 2 === 0 ? [ours, theirs] : [theirs, ours];
      for (const contender of inTurn) await contender.round();
    }
    if (end === undefined) cells.push(ours.medianUs.toFixed(2));
    cells.push(theirs.medianUs.toFixed(2), (theirs.medianUs / ours.medianUs).toFixed(2));
    ours.close();
    theirs.close();
  }
  print(`| ${readers} | ${cells.join(" | ")} |`);
}
