/** What the API tells of several isolates, here in one. */

import { assertEquals } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { askEverywhere } from "../../../plugins/http/everywhere.ts";
import { StreamHistories } from "../../../plugins/http/history.ts";
import { ANSWER_MS } from "../../../src/isolate_hub.ts";
import { LogHistory } from "../../../src/log.ts";
import { pushFrames, pushHeaders } from "../../support/engines.ts";
import { Fleet, settle } from "../../support/isolates.ts";

/** `count` engines, and the API of each. */
function startRig(count: number) {
  const fleet = new Fleet(count, { OnDemandPublishTimeout: 1, AutoCloseDelay: -1 });
  const stopping = new AbortController();
  const parts = fleet.engines.map((engine) => {
    const logHistory = new LogHistory();
    const histories = new StreamHistories(engine, stopping.signal);
    const defer = () => {};
    return { engine, logHistory, ask: askEverywhere({ engine, histories, logHistory, defer }) };
  });
  return {
    fleet,
    parts,
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await fleet[Symbol.asyncDispose]();
    },
  };
}

type Part = ReturnType<typeof startRig>["parts"][number];

/** The first two. */
function both({ parts }: { readonly parts: readonly Part[] }): [Part, Part] {
  const [home, away] = parts;
  if (home === undefined || away === undefined) throw new Error("There are too few");
  return [home, away];
}

Deno.test("snapshot() tells each stream once, with the viewers of all isolates", async () => {
  await using rig = startRig(2);
  const [home, away] = both(rig);
  const publisher = await home.engine.publish("live/a", { type: "Test", id: "unit" });
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0");
  await home.engine.subscribe("live/a", { type: "Here", id: "one" });
  await away.engine.subscribe("live/a", { type: "There", id: "other" });
  await settle();
  for (const { ask } of [home, away]) {
    const { streams, details } = await ask.snapshot({
      paths: ["live/a", "live/b"],
      logAfter: [],
    });
    assertEquals(streams.map(({ path, viewers }) => [path, viewers]), [["live/a", 2]]);
    assertEquals(streams[0]?.publisher?.id, "unit");
    assertEquals(streams[0]?.tracks.map(({ kind, frames }) => [kind, frames]), [
      ["video", 1],
      ["audio", 1],
    ]);
    const [found, missing] = details;
    assertEquals(found?.stream, streams[0]);
    assertEquals(found?.subscribers.map(({ number, type }) => [number, type]), [
      [1, "Here"],
      [2, "There"],
    ]);
    assertEquals(missing, { path: "live/b", stream: null, subscribers: [] });
    assertEquals(await ask.overviews(), streams);
  }
});

Deno.test("snapshot() tells the newest 500 subscribers of a stream, of all isolates", async () => {
  await using rig = startRig(2);
  const [home, away] = both(rig);
  pushHeaders(await home.engine.publish("live/a", { type: "Test" }));
  for (let viewer = 0; viewer < 300; viewer++) {
    for (const { engine } of [home, away]) await engine.subscribe("live/a", { type: "Test" });
  }
  const all = [home, away].flatMap(({ engine }) => [...engine.subscribers.values()])
    .filter(({ replica }) => !replica).map(({ number }) => number).sort((a, b) => a - b);
  const { streams, details } = await home.ask.snapshot({ paths: ["live/a"], logAfter: [] });
  assertEquals(streams[0]?.viewers, 600);
  assertEquals(details[0]?.subscribers.map(({ number }) => number), all.slice(-500));
});

Deno.test("snapshot() tells what all isolates have logged since it was last asked", async () => {
  await using rig = startRig(2);
  const [home, away] = both(rig);
  const write = ({ logHistory }: Part, atMs: number) =>
    logHistory.add({ atMs, level: "error", source: "x", message: `at ${atMs}`, count: 1 });
  write(away, 20);
  write(home, 10);
  write(home, 30);
  const log = async (logAfter: number[]) => {
    const { log } = await away.ask.snapshot({ paths: [], logAfter });
    return log.map(({ isolate, sequence, message }) => [isolate, sequence, message]);
  };
  assertEquals(await log([]), [[0, 10, "at 10"], [1, 20, "at 20"], [0, 30, "at 30"]]);
  assertEquals(await log([10, 20]), [[0, 30, "at 30"]]);
  write(away, 15);
  assertEquals(await log([30, 20]), [[1, 21, "at 15"]]);
});

Deno.test("history() is that of the isolate which publishes, wherever it is asked for", async () => {
  using time = new FakeTime();
  await using rig = startRig(2);
  const [home, away] = both(rig);
  const publisher = await home.engine.publish("live/a", { type: "Test" });
  pushHeaders(publisher);
  pushFrames(publisher, "V0 a0 v40");
  await time.tickAsync(4000);
  for (const { ask } of [home, away]) {
    const history = await ask.history("live/a");
    assertEquals(history.map(({ kind, points }) => [kind, points.length]), [
      ["video", 2],
      ["audio", 2],
    ]);
    assertEquals(await ask.history("live/b"), []);
  }
});

Deno.test("questions are answered without an isolate that does not answer", async () => {
  using time = new FakeTime();
  await using rig = startRig(3);
  const [home, away] = both(rig);
  away.engine.isolates.answer("http/snapshot", () => new Promise(() => {}));
  let streams: number | undefined;
  const asking = home.ask.overviews().then(({ length }) => streams = length);
  await settle();
  assertEquals(streams, undefined);
  time.tick(ANSWER_MS);
  await asking;
  assertEquals(streams, 0);
  assertEquals(time.next(), false, "no timer is left");
});
