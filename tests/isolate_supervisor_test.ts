import { assertEquals, assertRejects } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { IsolateMember } from "../src/isolate_member.ts";
import { type IsolateHandle, IsolateSupervisor } from "../src/isolate_supervisor.ts";
import { settle } from "./support/isolates.ts";
import { listLogger } from "./support/logs.ts";
import { turns } from "./support/reading.ts";

/** An isolate that does what a test says. */
class FakeIsolate implements IsolateHandle {
  readonly ready: Promise<void>;
  readonly ended: Promise<string | undefined>;
  readonly #ready = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<string | undefined>();

  constructor(readonly index: number, readonly port: MessagePort, readonly events: string[]) {
    this.ready = this.#ready.promise;
    this.ended = this.#ended.promise;
    events.push(`start ${index}`);
  }

  /** It serves. */
  async serve(): Promise<void> {
    this.#ready.resolve();
    await turns();
  }

  /** It ends by itself. */
  async fail(reason?: string): Promise<void> {
    this.port.close();
    this.#ready.reject(new Error(reason ?? "an isolate ended"));
    this.#ended.resolve(reason);
    await turns();
  }

  stop(): void {
    this.events.push(`stop ${this.index}`);
    this.port.close();
    this.#ready.reject(new Error("it was stopped"));
    this.#ended.resolve(undefined);
  }
}

/** A supervisor of `count` isolates under fake time. */
function supervised(count: number) {
  const time = new FakeTime();
  const events: string[] = [];
  const logs: string[] = [];
  const isolates: FakeIsolate[] = [];
  const refused = { with: undefined as Error | undefined };
  const supervisor = new IsolateSupervisor({
    count,
    log: listLogger(logs),
    nowMs: () => time.now,
    spawn: (index, port) => {
      if (refused.with !== undefined) {
        events.push(`refused ${index}`);
        port.close();
        throw refused.with;
      }
      const isolate = new FakeIsolate(index, port, events);
      isolates.push(isolate);
      return isolate;
    },
  });
  return {
    time,
    events,
    logs,
    supervisor,
    refused,
    /** The newest isolate. */
    newest(): FakeIsolate {
      const isolate = isolates.at(-1);
      if (isolate === undefined) throw new Error("There is no isolate");
      return isolate;
    },
    /** Starts all, and waits until they serve. */
    async start(): Promise<readonly FakeIsolate[]> {
      const started = supervisor.start();
      for (let index = 0; index < count; index++) await isolates[index]?.serve();
      await started;
      events.splice(0);
      return isolates;
    },
    async [Symbol.asyncDispose]() {
      await supervisor.stop();
      const left = time.next();
      time.restore();
      if (left) throw new Error("A timer is left after IsolateSupervisor.stop()");
    },
  };
}

Deno.test("IsolateSupervisor.start() starts one isolate after the other", async () => {
  await using rig = supervised(3);
  let started = false;
  const starting = rig.supervisor.start().then(() => started = true);
  for (let index = 0; index < 3; index++) {
    await turns();
    assertEquals([rig.events.at(-1), rig.events.length, started], [
      `start ${index}`,
      index + 1,
      false,
    ]);
    await rig.newest().serve();
  }
  await starting;
  assertEquals(rig.events, ["start 0", "start 1", "start 2"]);
});

Deno.test("IsolateSupervisor.start() stops the others and says why when one cannot start", async () => {
  await using rig = supervised(3);
  const starting = rig.supervisor.start();
  await rig.newest().serve();
  await rig.newest().fail("no such port");
  await assertRejects(() => starting, Error, "no such port");
  assertEquals(rig.events, ["start 0", "start 1", "stop 0"]);
  rig.time.tick(100_000);
  assertEquals([rig.events.length, rig.logs], [3, []]);
});

Deno.test("IsolateSupervisor.start() rejects when there can be no isolate at all", async () => {
  await using rig = supervised(2);
  rig.refused.with = new Error("no threads");
  await assertRejects(() => rig.supervisor.start(), Error, "no threads");
  assertEquals(rig.events, ["refused 0"]);
});

Deno.test("IsolateSupervisor starts an isolate again after pauses that double", async () => {
  await using rig = supervised(2);
  await rig.start();
  let pauseMs = 100;
  for (let time = 0; time < 12; time++) {
    await rig.newest().fail(time === 0 ? "it broke" : "it broke again");
    rig.time.tick(pauseMs - 1);
    assertEquals(rig.events.length, time, `it waits ${pauseMs} ms`);
    rig.time.tick(1);
    assertEquals(rig.events.slice(time), ["start 1"]);
    // Some serve before they fail, some do not come so far.
    if (time % 2 === 0) await rig.newest().serve();
    pauseMs = Math.min(2 * pauseMs, 30_000);
  }
  assertEquals(rig.logs.slice(0, 3), [
    "error isolate 1 failed, starting it again in 100 ms: it broke",
    "info isolate 1 serves again",
    "error isolate 1 failed, starting it again in 200 ms: it broke again",
  ]);
  await rig.newest().serve();
});

Deno.test("IsolateSupervisor gives an isolate that ran for a minute the first pause again", async () => {
  await using rig = supervised(1);
  await rig.start();
  const pauses = () =>
    rig.logs.flatMap((line) => Number(/in (\d+) ms/.exec(line)?.[1] ?? []) || []);
  for (const ranMs of [0, 59_999, 60_000, 0]) {
    rig.time.tick(ranMs);
    await rig.newest().fail("it broke");
    rig.time.tick(pauses().at(-1) ?? 0);
    await rig.newest().serve();
  }
  assertEquals(pauses(), [100, 200, 100, 200]);
});

Deno.test("IsolateSupervisor starts again what ends by itself or cannot be started", async () => {
  await using rig = supervised(1);
  await rig.start();
  await rig.newest().fail();
  rig.refused.with = new Error("no threads");
  rig.time.tick(100);
  await turns();
  rig.refused.with = undefined;
  rig.time.tick(200);
  await rig.newest().serve();
  assertEquals(rig.events, ["refused 0", "start 0"]);
  assertEquals(rig.logs, [
    "error isolate 0 failed, starting it again in 100 ms: it ended",
    "error isolate 0 failed, starting it again in 200 ms: no threads",
    "info isolate 0 serves again",
  ]);
});

Deno.test("IsolateSupervisor starts again one that fails while others start", async () => {
  await using rig = supervised(2);
  const starting = rig.supervisor.start();
  const first = rig.newest();
  await first.serve();
  const second = rig.newest();
  await first.fail("it broke");
  rig.time.tick(100);
  assertEquals(rig.events, ["start 0", "start 1", "start 0"]);
  await rig.newest().serve();
  await second.serve();
  await starting;
});

Deno.test("IsolateSupervisor.stop() asks all that run, and starts none after a pause", async () => {
  await using rig = supervised(3);
  const isolates = await rig.start();
  await isolates[1]?.fail("it broke");
  await rig.supervisor.stop();
  rig.time.tick(100_000);
  assertEquals(rig.events, ["stop 0", "stop 2"]);
  await rig.supervisor.stop();
  assertEquals(rig.logs.length, 1);
});

Deno.test("IsolateSupervisor.stop() waits until all have ended", async () => {
  await using rig = supervised(1);
  await rig.start();
  const ended = Promise.withResolvers<string | undefined>();
  Object.assign(rig.newest(), { ended: ended.promise });
  let stopped = false;
  const stopping = rig.supervisor.stop().then(() => stopped = true);
  await turns();
  assertEquals(stopped, false);
  ended.resolve(undefined);
  await stopping;
});

Deno.test("IsolateSupervisor joins isolates by a hub, also one that was started again", async () => {
  await using rig = supervised(2);
  const [first, second] = await rig.start();
  const member = ({ index, port }: FakeIsolate) => {
    const member = new IsolateMember({ index, count: 2, port });
    member.serve({ addEventListener() {} } as never);
    member.answer("which", () => index);
    return member;
  };
  if (first === undefined || second === undefined) throw new Error("There are no isolates");
  const asker = member(first);
  member(second);
  assertEquals(await asker.ask("which"), [0, 1]);
  await second.fail("it broke");
  assertEquals(await asker.ask("which"), [0]);
  rig.time.tick(100);
  const asked = asker.ask("which");
  member(rig.newest());
  assertEquals(await asked, [0, 1]);
  await rig.newest().serve();
  await FakeTime.restoreFor(() => settle(2));
});
