/** Frames that come as they like and go on in the order of their times. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { FrameOrder } from "../../../plugins/hls/frame_order.ts";
import type { MediaFrame } from "../../../src/frame.ts";
import { aac, OTHER_ASC } from "../../support/frames.ts";
import { audio, stream, video } from "./segments.ts";

/** All that can go on now. */
function taken(order: FrameOrder): MediaFrame[] {
  const frames: MediaFrame[] = [];
  for (let frame = order.next(); frame; frame = order.next()) frames.push(frame);
  return frames;
}

/** Frames in the form `v40` and `a21`, with their times in whole ms. */
function named(frames: readonly MediaFrame[]): string {
  return frames.map(({ kind, dts }) => `${kind[0]}${Math.floor(dts / 1000)}`).join(" ");
}

/** What goes on after each of `frames`. */
function steps(frames: readonly MediaFrame[]): string[] {
  const order = new FrameOrder();
  return frames.map((frame) => {
    order.push(frame);
    return named(taken(order));
  });
}

Deno.test("FrameOrder.next() waits until the other kind has come as far", () => {
  const table: [frames: MediaFrame[], expected: string[]][] = [
    // Video first where both start together.
    [[audio(0), video(0, true), video(40, false), audio(21), audio(42)], [
      "a0",
      "v0",
      "",
      "a21",
      "v40",
    ]],
    [[video(0, true), audio(0), video(40, false), audio(40)], ["v0", "a0", "", "v40 a40"]],
    // Audio that is early waits likewise.
    [[video(0, true), audio(0), audio(21), audio(42), video(40, false), video(80, false)], [
      "v0",
      "a0",
      "",
      "",
      "a21 v40",
      "a42",
    ]],
  ];
  for (const [frames, expected] of table) assertEquals(steps(frames), expected);
});

Deno.test("FrameOrder.next() waits for nothing that has not come yet", () => {
  assertEquals(steps([video(0, true), video(40, false), video(900, false)]), ["v0", "v40", "v900"]);
  assertEquals(steps([audio(0), audio(21), audio(900)]), ["a0", "a21", "a900"]);
});

Deno.test("FrameOrder.next() waits for nothing that is far behind, until it is back", () => {
  const frames = [
    ...[audio(0), video(0, true), video(240, false), video(250, false), video(251, false)],
    ...[video(300, true), audio(21), audio(300), video(340, false), audio(340)],
  ];
  assertEquals(steps(frames), [
    "a0",
    "v0",
    "",
    "",
    "v240 v250 v251",
    "v300",
    "a21",
    "a300",
    "",
    "v340 a340",
  ]);
  const paused = [
    video(0, true),
    audio(0),
    audio(500),
    audio(501),
    audio(522),
    video(530, false),
    audio(543),
  ];
  assertEquals(steps(paused), ["v0", "a0", "", "a500 a501", "a522", "", "v530"]);
});

Deno.test("FrameOrder.next() waits no more once no frame comes any more", () => {
  const order = new FrameOrder();
  for (const frame of [video(0, true), audio(0), video(40, false), video(80, false)]) {
    order.push(frame);
  }
  assertEquals(named(taken(order)), "v0 a0");
  order.end();
  assertEquals(named(taken(order)), "v40 v80");
});

Deno.test("FrameOrder.next() lets audio go by the time at which video is shown, within bounds", () => {
  const sounds = [audio(0), audio(41), audio(79), audio(81), audio(119), audio(121)];
  const pictures = [video(0, true, { ctsMs: 80 }), video(40, false, { ctsMs: 200 })];
  const [first, second] = pictures;
  assert(first && second);
  assertEquals(steps([first, ...sounds.slice(0, 3), second, ...sounds.slice(3)]), [
    ...["v0", "a0", "", ""],
    ...["a41 a79", "a81", "a119", "v40"],
  ]);
  const far = [video(0, true, { ctsMs: 9000 }), audio(0), video(40, false), audio(539), audio(541)];
  assertEquals(steps(far), ["v0", "a0", "", "a539", "v40 a541"]);
  const early = [video(0, true, { ctsMs: -80 }), audio(0), video(40, false), audio(39), audio(41)];
  assertEquals(steps(early), ["v0", "a0", "", "a39", "v40"]);
});

Deno.test("FrameOrder.breakAfter() lets nothing of before go after what is newer", () => {
  const before = [video(0, true, { ctsMs: 80 }), audio(0), video(40, false), audio(30)];
  const order = new FrameOrder();
  for (const frame of before) {
    order.push(frame);
    taken(order);
  }
  order.breakAfter(60_000);
  order.push(video(50, false));
  order.push(audio(70));
  assertEquals(named(taken(order)), "v40 v50");
  order.push(video(80, true));
  assertEquals(named(taken(order)), "a70");
  // Another configuration is such a break, too.
  const other = aac(OTHER_ASC);
  assertEquals(steps([...before, audio(70, other), video(80, true), audio(90, other)]), [
    ...["v0", "a0", "", "a30"],
    ...["v40", "a70", "v80"],
  ]);
});

Deno.test("FrameOrder.restart() returns what waits, and begins anew", () => {
  const order = new FrameOrder();
  const first = video(0, true, { ctsMs: 80 });
  const frames = [first, audio(0), video(40, false), video(80, false)];
  for (const frame of frames) order.push(frame);
  assertEquals(named(order.restart()), "v0 a0 v40 v80");
  // It is the first one again, which waits for nothing.
  order.push(first);
  assertEquals(named(taken(order)), "v0");
});

Deno.test("FrameOrder.next() does not hold the first frame of video for the time at which it is shown", () => {
  const frames = [audio(0), audio(30), video(0, true, { ctsMs: 300 }), video(40, false)];
  assertEquals(steps([...frames, audio(339), audio(341)]), [
    ...["a0", "a30", "v0", ""],
    ...["a339", "v40"],
  ]);
});

Deno.test("FrameOrder.nextUs() tells when the next frame of a kind starts, once it is there", () => {
  const order = new FrameOrder();
  order.push(video(0, true));
  order.push(audio(0));
  order.push(audio(21));
  assertEquals([order.nextUs("video"), order.nextUs("audio")], [0, 0]);
  taken(order);
  assertEquals([order.nextUs("video"), order.nextUs("audio")], [undefined, 21_000]);
});

Deno.test("FrameOrder.next() bounds how many frames wait, and their bytes", () => {
  const table: [data: Uint8Array, most: number][] = [
    [Uint8Array.of(1), 1000],
    [new Uint8Array(1024 * 1024), 8],
  ];
  for (const [data, most] of table) {
    const order = new FrameOrder();
    order.push(audio(0));
    let waiting = 0;
    // Its clock stands still, so that the time never runs out.
    for (let count = 0; count < 1200; count++) {
      order.push({ ...video(40, false), data } as MediaFrame);
      waiting += 1 - taken(order).filter(({ kind }) => kind === "video").length;
      assert(waiting <= most, `${waiting} wait`);
    }
    assertEquals(waiting, most);
  }
});

Deno.test("FrameOrder.next() loses and doubles nothing, and keeps the order in each kind and of both", () => {
  const shape = fc.record({
    fps: fc.constantFrom(0, 5, 24, 25, 29.97, 60),
    audioMs: fc.constantFrom(20, 1024 / 48, 1024 / 44.1),
    skewMs: fc.integer({ min: -400, max: 400 }),
    pauseMs: fc.constantFrom(0, 900),
  });
  fc.assert(
    fc.property(shape, ({ skewMs, pauseMs, ...rest }) => {
      const frames = [
        ...stream({ toMs: 1000, ...rest }),
        ...stream({ fromMs: 1000, toMs: 1500, fps: 0, audioMs: rest.audioMs }),
        ...stream({ fromMs: 1500 + pauseMs, toMs: 3000, ...rest }),
      ];
      const arrival = ({ kind, dts }: MediaFrame) => dts + (kind === "audio" ? skewMs * 1000 : 0);
      frames.sort((a, b) => arrival(a) - arrival(b));
      const order = new FrameOrder();
      const out = frames.flatMap((frame) => {
        order.push(frame);
        return taken(order);
      });
      order.end();
      out.push(...taken(order));
      for (const kind of ["video", "audio"] as const) {
        const of = (all: readonly MediaFrame[]) => all.filter((frame) => frame.kind === kind);
        assertEquals(of(out).map(({ sequence }) => sequence), of(frames).map((f) => f.sequence));
      }
      if (Math.abs(skewMs) > 200) return;
      for (const [index, frame] of out.entries()) {
        const before = out[index - 1];
        // What comes first, and what comes after a pause, does not know of the other kind.
        const knows = frame.dts > 500_000 && (frame.dts < 900_000 || frame.dts > 2_900_000);
        assert(!before || !knows || before.dts <= frame.dts, `${named(out)}`);
      }
    }),
    { numRuns: 200, seed: 57 },
  );
});
