/** Where the page's player puts itself in what it has received. */

import { assert, assertEquals } from "@std/assert";
import {
  decideEdge,
  type EdgeDecision,
  livePosition,
  LiveTarget,
  type Stretch,
  trimTo,
} from "../../../plugins/console/page/live_edge.ts";

interface Case {
  readonly when: string;
  readonly at: number;
  readonly buffered: readonly Stretch[];
  readonly rate?: number;
  readonly then: EdgeDecision;
}

const TARGET = 0.2;

const cases: readonly Case[] = [
  { when: "there is nothing", at: 0, buffered: [], then: { rate: 1 } },
  { when: "it is at its target", at: 9.8, buffered: [[0, 10]], then: { rate: 1 } },
  { when: "it is a little late", at: 9.72, buffered: [[0, 10]], then: { rate: 1 } },
  { when: "it is late", at: 9.6, buffered: [[0, 10]], then: { rate: 1.05 } },
  { when: "it still hurries", at: 9.75, buffered: [[0, 10]], rate: 1.05, then: { rate: 1.05 } },
  { when: "it has hurried enough", at: 9.81, buffered: [[0, 10]], rate: 1.05, then: { rate: 1 } },
  { when: "it is very late", at: 9.2, buffered: [[0, 10]], then: { rate: 1.1 } },
  { when: "it is nearly dry", at: 9.96, buffered: [[0, 10]], then: { rate: 0.96 } },
  { when: "it still waits", at: 9.87, buffered: [[0, 10]], rate: 0.96, then: { rate: 0.96 } },
  { when: "it has waited enough", at: 9.82, buffered: [[0, 10]], rate: 0.96, then: { rate: 1 } },
  { when: "it was frozen", at: 3, buffered: [[0, 23]], then: { seekTo: 22.8, rate: 1 } },
  {
    when: "it was frozen and all that it had is gone",
    at: 3,
    buffered: [[20, 20.1]],
    then: { seekTo: 20, rate: 1 },
  },
  {
    when: "there is a gap before the newest",
    at: 9.97,
    buffered: [[0, 10], [10.5, 10.9]],
    then: { seekTo: 10.501, rate: 1 },
  },
  {
    when: "it is between two stretches",
    at: 10.2,
    buffered: [[0, 10], [10.5, 10.9]],
    then: { seekTo: 10.501, rate: 1 },
  },
  {
    when: "the gap ends close to the newest",
    at: 10.2,
    buffered: [[0, 10], [10.5, 10.6]],
    then: { seekTo: 10.5, rate: 1 },
  },
  { when: "time has gone back", at: 100, buffered: [[0, 2]], then: { seekTo: 1.8, rate: 1 } },
  { when: "it has just run dry", at: 10, buffered: [[0, 10]], then: { rate: 0.96 } },
];

for (const { when, at, buffered, rate = 1, then } of cases) {
  Deno.test(`decideEdge() does what is right when ${when}`, () => {
    assertEquals(decideEdge({ currentTime: at, buffered, target: TARGET, rate }), then);
  });
}

Deno.test("decideEdge() lets a player be that a bad network has put further behind", () => {
  const buffered: Stretch[] = [[0, 10]];
  const playhead = { currentTime: 8.1, buffered, rate: 1 };
  assertEquals(decideEdge({ ...playhead, target: 1 }).seekTo, undefined);
  assertEquals(decideEdge({ ...playhead, target: 0.2 }).seekTo, 9.8);
});

Deno.test("livePosition() is not before what there is", () => {
  assertEquals(livePosition([5, 10], 0.5), 9.5);
  assertEquals(livePosition([5, 5.2], 0.5), 5);
});

Deno.test("trimTo() keeps ten seconds, and removes a good piece or nothing", () => {
  assertEquals(trimTo(0, []), undefined);
  assertEquals(trimTo(14.9, [[0, 15]]), undefined);
  assertEquals(trimTo(15.5, [[0, 15.7]]), 5.5);
  assertEquals(trimTo(115, [[100, 115]]), undefined);
});

Deno.test("trimTo() removes also what a paused player has not played", () => {
  assertEquals(trimTo(0, [[0, 60]]), 40);
});

Deno.test("LiveTarget.at() gives way to stalls up to a limit, and comes back in time", () => {
  const target = new LiveTarget(0.2);
  assertEquals(target.at(0), 0.2);
  target.stalled(0);
  assert(Math.abs(target.at(1) - 0.26) < 1e-9);
  for (let i = 0; i < 20; i++) target.stalled(1000);
  assertEquals(target.at(10_000), 0.7);
  for (let minute = 1; minute < 20; minute++) target.at(minute * 60_000);
  assertEquals(target.at(20 * 60_000), 0.2);
});
