import { assert, assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import type { ReadOptions } from "../src/cursor.ts";
import { LaggedError } from "../src/errors.ts";
import type { MediaFrame } from "../src/frame.ts";
import { Interleaver } from "../src/interleave.ts";
import { audioFeed, type Feed, h264, short, videoFeed } from "./support/frames.ts";
import { drain, turns } from "./support/reading.ts";

interface Tracks {
  readonly video: Feed;
  readonly audio: Feed;
}

function tracks(): Tracks {
  return { video: videoFeed(), audio: audioFeed() };
}

/** Writes frames as {@linkcode short} names them: `V0 a0 v40`. */
function write({ video, audio }: Partial<Tracks>, frames: string): void {
  for (const frame of frames.split(" ")) {
    const dtsMs = Number(frame.slice(1));
    if (frame.startsWith("a")) audio?.write(dtsMs);
    else video?.write(dtsMs, frame.startsWith("V"));
  }
}

function both({ video, audio }: Tracks, options?: ReadOptions): Interleaver {
  const frames = new Interleaver(options);
  frames.add("video", video.ring);
  frames.add("audio", audio.ring);
  return frames;
}

function read(frames: Interleaver, most?: number): string {
  return drain(frames, most).map(short).join(" ");
}

Deno.test("Interleaver.next() orders frames by DTS, video first where equal", () => {
  const feeds = tracks();
  write(feeds, "V0 v40 v80 v120 a0 a20 a40 a60 a80 a100");
  assertEquals(read(both(feeds)), "V0 a0 a20 v40 a40 a60 v80 a80 a100 v120");
});

for (const order of [["video", "audio"], ["audio", "video"]] as const) {
  Deno.test(`Interleaver.next() rewinds audio to the newest key when ${order[0]} is added first`, () => {
    const feeds = tracks();
    write(feeds, "V0 a0 a20 V40 a40 a60 v80 a80 a100 v120 a120");
    const frames = new Interleaver();
    for (const kind of order) frames.add(kind, feeds[kind].ring);
    assertEquals(read(frames), "V40 a40 a60 v80 a80 a100 v120 a120");
    assertEquals(frames.dropped, 0);
  });
}

Deno.test("Interleaver.next() starts at the oldest key, audio with it, when the mode is oldest", () => {
  const feeds = tracks();
  write(feeds, "v0 a0 V40 a40 v80 a80 V120 a120");
  assertEquals(read(both(feeds, { mode: "oldest" })), "V40 a40 v80 a80 V120 a120");
});

Deno.test("Interleaver.next() gives frames as they come when the other track is late", () => {
  const feeds = tracks();
  const frames = both(feeds);
  write(feeds, "V0 v40 v80");
  assertEquals(read(frames), "V0 v40 v80");
  write(feeds, "a0 a20 v120 a40");
  assertEquals(read(frames), "a0 a20 a40 v120");
  assertEquals(frames.dropped, 0);
});

Deno.test("Interleaver.next() reads one track when there is no other", () => {
  const video = videoFeed();
  write({ video }, "V0 v40 V80 v120");
  const pictures = new Interleaver();
  pictures.add("video", video.ring);
  assertEquals(read(pictures), "V80 v120");
  const audio = audioFeed();
  write({ audio }, "a0 a20");
  const sounds = new Interleaver();
  sounds.add("audio", audio.ring);
  assertEquals(read(sounds), "a20");
  write({ audio }, "a40 a60");
  assertEquals(read(sounds), "a40 a60");
  assertEquals(pictures.dropped + sounds.dropped, 0);
});

Deno.test("Interleaver.next() gives nothing when there is no track", () => {
  const frames = new Interleaver();
  assertEquals(frames.next(), undefined);
  assertEquals([frames.done, frames.dropped, frames.lagUs], [false, 0, 0]);
});

Deno.test("Interleaver.add() lets audio join where video is when audio comes late", () => {
  const feeds = tracks();
  const frames = new Interleaver();
  frames.add("video", feeds.video.ring);
  write(feeds, "V0 v40 v80 v120 v160");
  assertEquals(read(frames, 3), "V0 v40 v80");
  write(feeds, "a60 a80 a100 a120 a140");
  frames.add("audio", feeds.audio.ring);
  assertEquals(read(frames), "v120 a120 a140 v160");
  assertEquals(frames.dropped, 0);
});

Deno.test("Interleaver.add() loses no audio when audio comes late and all video is read", () => {
  const feeds = tracks();
  const frames = new Interleaver();
  frames.add("video", feeds.video.ring);
  write(feeds, "V0 v40 v80");
  assertEquals(read(frames), "V0 v40 v80");
  frames.add("audio", feeds.audio.ring);
  write(feeds, "a80 a100 v120 a120");
  assertEquals(read(frames), "a80 a100 v120 a120");
  assertEquals(frames.dropped, 0);
});

Deno.test("Interleaver.add() lets audio go on and video join at a key when video comes late", () => {
  const feeds = tracks();
  const frames = new Interleaver();
  frames.add("audio", feeds.audio.ring);
  write(feeds, "a0 a20");
  assertEquals(read(frames), "a20");
  frames.add("video", feeds.video.ring);
  write(feeds, "v40 a40 a60 v80 a80");
  assertEquals(read(frames), "a40 a60 a80");
  write(feeds, "V120 a100 a120 v160 a140 a160");
  assertEquals(read(frames), "a100 V120 a120 a140 v160 a160");
  assertEquals(frames.dropped, 0);
});

Deno.test("Interleaver.add() does not throw when a recorder has been overtaken", () => {
  const video = videoFeed({ maxItems: 3 });
  const audio = audioFeed();
  const frames = new Interleaver({ mode: "record" });
  frames.add("video", video.ring);
  write({ video }, "V0");
  assertEquals(read(frames, 1), "V0");
  write({ video, audio }, "v1 v2 v3 v4 v5 a5");
  frames.add("audio", audio.ring);
  assertThrows(() => frames.next(), LaggedError);
});

Deno.test("Interleaver.add() wakes the waiter on the new track when it waits already", async () => {
  const feeds = tracks();
  const frames = new Interleaver();
  frames.add("video", feeds.video.ring);
  let woken = 0;
  frames.wait({ wake: () => void woken++ });
  frames.add("audio", feeds.audio.ring);
  write(feeds, "a0");
  await turns();
  assertEquals(woken, 1);
});

Deno.test("Interleaver.next() drops both tracks to one key, and counts, when it is overtaken", () => {
  const feeds = { video: videoFeed({ maxItems: 4 }), audio: audioFeed() };
  const frames = both(feeds);
  write(feeds, "V0 a0");
  assertEquals(read(frames), "V0 a0");
  write(feeds, "v40 a20 a40 v80 a60 a80 v120 a100 a120 V160 a140 a160 v200 a180 a200");
  assertEquals(read(frames), "V160 a160 a180 v200 a200");
  assertEquals(frames.dropped, 3 + 7);
});

Deno.test("Interleaver.next() holds audio until video has its key when it was overtaken", () => {
  const feeds = { video: videoFeed({ maxItems: 3 }), audio: audioFeed() };
  const frames = both(feeds);
  write(feeds, "V0 a0");
  assertEquals(read(frames), "V0 a0");
  write(feeds, "v40 a40 v80 a80 v120 a120 v160 a160");
  assertEquals(read(frames), "");
  write(feeds, "V200 a200");
  assertEquals(read(frames), "V200 a200");
  assertEquals(frames.dropped, 4 + 4);
});

Deno.test("Interleaver.next() drops both tracks when its lag passes maxLagMs", () => {
  const feeds = tracks();
  const frames = both(feeds, { maxLagMs: 100 });
  write(feeds, "V0 a0");
  assertEquals(read(frames), "V0 a0");
  write(feeds, "v40 a40 V80 a80 v120 a120 v160 a160");
  assertEquals(frames.lagUs, 120_000);
  assertEquals(read(frames), "V80 a80 v120 a120 v160 a160");
  assertEquals(frames.dropped, 2);
});

Deno.test("Interleaver.next() throws LaggedError when it records and either track is overtaken", () => {
  for (const small of ["video", "audio"] as const) {
    const feeds = {
      ...tracks(),
      [small]: (small === "video" ? videoFeed : audioFeed)({ maxItems: 3 }),
    };
    const frames = both(feeds, { mode: "record" });
    write(feeds, "V0 a0");
    assertEquals(read(frames), "V0 a0");
    write(feeds, "V1 a1 V2 a2 V3 a3 V4 a4");
    assertThrows(() => drain(frames), LaggedError);
    frames.close();
  }
});

Deno.test("Interleaver.next() leaves audio of before the first key out when it comes after it", () => {
  const feeds = tracks();
  const frames = both(feeds);
  write(feeds, "V100 v140");
  assertEquals(read(frames), "V100 v140");
  write(feeds, "a60 a80 a100 a120");
  assertEquals(read(frames), "a100 a120");
  assertEquals(frames.dropped, 0);
});

Deno.test("Interleaver.next() lets audio go on when video was announced and never came", () => {
  const feeds = tracks();
  const frames = both(feeds);
  for (let ms = 0; ms <= 1000; ms += 20) write(feeds, `a${ms}`);
  assertEquals(read(frames), "");
  write(feeds, "a1020");
  assertEquals(read(frames), "a1020");
  write(feeds, "a1040 v1040 V1080 a1060 a1080");
  assertEquals(read(frames), "a1040 a1060 V1080 a1080");
  assertEquals(frames.dropped, 0);
});

Deno.test("Interleaver.done waits for both tracks, and reads what is left of the other", () => {
  const feeds = tracks();
  const frames = both(feeds);
  write(feeds, "V0 a0 a20 a40");
  feeds.video.ring.close();
  assertEquals(read(frames, 2), "V0 a0");
  assertEquals(frames.done, false);
  feeds.audio.ring.close();
  assertEquals(read(frames), "a20 a40");
  assertEquals(frames.done, true);
});

Deno.test("Interleaver.end() ends a reader that has no track, and wakes it", () => {
  const frames = new Interleaver();
  let woken = 0;
  frames.wait({ wake: () => void woken++ });
  assertEquals(frames.done, false);
  frames.end();
  assertEquals([frames.done, woken], [true, 1]);
});

Deno.test("Interleaver.end() leaves the tracks to their rings when it has some", () => {
  const feeds = tracks();
  const frames = new Interleaver();
  frames.add("video", feeds.video.ring);
  frames.end();
  write(feeds, "V0");
  assertEquals([frames.done, read(frames)], [false, "V0"]);
});

Deno.test("Interleaver.close() leaves no waiter and no pin behind", () => {
  const feeds = tracks();
  const frames = both(feeds, { mode: "record" });
  const waiter = { wake() {} };
  frames.wait(waiter);
  assertEquals([feeds.video.ring.waiting.size, feeds.audio.ring.waiting.size], [1, 1]);
  frames.close(waiter);
  frames.close(waiter);
  assertEquals([feeds.video.ring.waiting.size, feeds.audio.ring.waiting.size], [0, 0]);
  write(feeds, "V0 a0 V9000 a9000");
  assertEquals([feeds.video.ring.tail, feeds.audio.ring.tail], [1, 1]);
});

Deno.test("Interleaver.next() gives frames of a new configuration as they are", () => {
  const feeds = tracks();
  const frames = both(feeds);
  write(feeds, "V0 a0");
  const before = feeds.video.config;
  feeds.video.config = h264(640, 480);
  write(feeds, "V40 v80");
  const configs = drain(frames).filter(({ kind }) => kind === "video").map(({ config }) => config);
  assertEquals(configs.map((config) => config === before), [false, false]);
});

type Move =
  | { readonly do: "read"; readonly count: number }
  | { readonly do: "video"; readonly key: boolean }
  | { readonly do: "audio" };

const moves = fc.array(
  fc.oneof(
    { weight: 3, arbitrary: fc.constant({ do: "audio" }) },
    {
      weight: 3,
      arbitrary: fc.record({ do: fc.constant("video"), key: fc.nat(6).map((n) => n === 0) }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("read"), count: fc.nat(9) }) },
  ) as fc.Arbitrary<Move>,
  { maxLength: 300, size: "max" },
);

Deno.test("Interleaver never gives a delta frame without its reference, however slow it is", () => {
  const run = fc.record({
    moves,
    maxItems: fc.integer({ min: 2, max: 30 }),
    smallAudio: fc.boolean(),
    maxLagMs: fc.constantFrom(Infinity, 0, 80, 400),
    mode: fc.constantFrom("live" as const, "oldest" as const),
  });
  fc.assert(
    fc.property(run, ({ moves, maxItems, smallAudio, maxLagMs, mode }) => {
      const feeds = {
        video: videoFeed({ maxItems }),
        audio: audioFeed(smallAudio ? { maxItems: maxItems * 2 } : {}),
      };
      const frames = both(feeds, { mode, maxLagMs });
      const last: Partial<Record<MediaFrame["kind"], MediaFrame>> = {};
      let given = 0;
      let resumedUs = 0;
      let start: MediaFrame | undefined;
      const clock = { video: 0, audio: 0 };
      const audioTimes: number[] = [];
      const take = (most: number) => {
        for (const frame of drain(frames, most)) {
          given++;
          start ??= frame;
          const before = last[frame.kind];
          if (before) assert(frame.sequence > before.sequence, "in order, none twice");
          const lost = frame.sequence !== (before?.sequence ?? -2) + 1;
          if (frame.kind === "video" && lost) {
            assert(frame.key, "video begins at a key after a loss");
            resumedUs = frame.dts;
          } else if (lost) {
            assert(frame.dts >= resumedUs, "audio begins with video, and drops to the same key");
          }
          last[frame.kind] = frame;
        }
      };
      for (const move of moves) {
        if (move.do === "read") take(move.count);
        else if (move.do === "audio") {
          audioTimes.push(clock.audio += 20);
          feeds.audio.write(clock.audio);
        } else feeds.video.write(clock.video += 33, move.key);
      }
      feeds.video.ring.close();
      feeds.audio.ring.close();
      take(Infinity);
      assert(frames.done);
      // Of audio that the bounds took unread, nobody knows whether it was before the start.
      if (start?.kind !== "video" || smallAudio) return;
      const from = start.dts;
      const sounds = audioTimes.filter((ms) => ms * 1000 >= from).length;
      assertEquals(given + frames.dropped, feeds.video.ring.head - start.sequence + sounds);
    }),
    { seed: 4, numRuns: 200 },
  );
});

Deno.test("Interleaver gives both tracks in order of DTS when all frames are there", () => {
  const list = fc.array(fc.nat(30), { maxLength: 60, size: "max" });
  fc.assert(
    fc.property(list, list, (pictures, sounds) => {
      const feeds = tracks();
      let dts = 0;
      feeds.video.write(0, true);
      for (const step of pictures) feeds.video.write(dts += step, false);
      dts = 0;
      for (const step of sounds) feeds.audio.write(dts += step);
      const got = drain(both(feeds));
      const all = [...Array(feeds.video.ring.head).keys()].map((at) => feeds.video.ring.at(at))
        .concat([...Array(feeds.audio.ring.head).keys()].map((at) => feeds.audio.ring.at(at)));
      const wanted = all.filter((frame) => frame !== undefined)
        .sort((a, b) => a.dts - b.dts || (a.kind === b.kind ? 0 : a.kind === "video" ? -1 : 1));
      assertEquals(got.map(short), wanted.map(short));
    }),
    { seed: 5, numRuns: 60 },
  );
});
