import { assert, assertEquals } from "@std/assert";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { type Job, Turns } from "../src/turns.ts";
import { eventLoop, loop } from "./support/reading.ts";

/** Jobs by name, each step of which takes 1 ms; a turn takes 5. */
class Rig {
  nowMs = 0;
  readonly turns = new Turns(() => this.nowMs);
  steps = "";
  onStep: (name: string) => void = () => {};

  /** A job of so many steps. */
  job(name: string, steps: number): Job {
    let left = steps;
    return {
      step: () => {
        this.steps += name;
        this.nowMs++;
        this.onStep(name);
        return --left <= 0;
      },
    };
  }

  /** The steps since it was called last. */
  done(): string {
    const steps = this.steps;
    this.steps = "";
    return steps;
  }
}

Deno.test("Turns.run() does a short job at once, also when it ends with the turn", () => {
  const rig = new Rig();
  rig.turns.run(rig.job("a", 2));
  rig.turns.run(rig.job("b", 5));
  assertEquals(rig.done(), "aabbbbb");
});

Deno.test("Turns go on with the rest once the event loop has done what was due", async () => {
  const rig = new Rig();
  rig.turns.run(rig.job("a", 12));
  assertEquals(rig.done(), "aaaaa");
  let isTimerFirst = false;
  setTimeout(() => isTimerFirst = rig.steps === "", 0);
  const until = performance.now() + 2;
  while (performance.now() < until);
  await eventLoop(() => rig.steps !== "");
  assertEquals([rig.done(), isTimerFirst], ["aaaaa", true]);
  await eventLoop(() => rig.steps !== "");
  assertEquals(rig.done(), "aa");
});

Deno.test("Turns let no job wait for more than a turn of each other one", async () => {
  const rig = new Rig();
  rig.turns.run(rig.job("a", 16));
  rig.turns.run(rig.job("b", 3));
  rig.turns.run(rig.job("c", 1));
  assertEquals(rig.done(), "aaaaa");
  for (const steps of ["aaaaa", "bbbca", "aaaaa"]) {
    await eventLoop(() => rig.steps !== "");
    assertEquals(rig.done(), steps);
  }
});

Deno.test("Turns.run() does a job once more that is asked for in its last step, and else once", () => {
  const rig = new Rig();
  const job = rig.job("a", 1);
  rig.onStep = () => {
    if (rig.steps.length < 3) { for (let time = 0; time < 2; time++) rig.turns.run(job); }
  };
  rig.turns.run(job);
  assertEquals(rig.done(), "aaa");
});

Deno.test("Turns.run() lets a job wait that comes between turns", async () => {
  const rig = new Rig();
  rig.turns.run(rig.job("a", 6));
  await loop(3);
  rig.turns.run(rig.job("b", 1));
  assertEquals(rig.done(), "aaaaa");
  await eventLoop(() => rig.steps !== "");
  assertEquals(rig.done(), "ab");
});

Deno.test("Turns have what comes from the network read between them", async () => {
  const turns = new Turns(() => performance.now());
  let received = 0;
  const server = createServer((socket) => {
    socket.on("data", ({ length }) => received += length);
    socket.on("end", () => server.close());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  socket.setNoDelay();
  const unread: number[] = [];
  let sent = 0;
  turns.run({
    step() {
      unread.push(sent - received);
      if (sent === 20) return true;
      socket.write(Uint8Array.of(sent++));
      // That is a turn.
      for (const untilMs = performance.now() + 5; performance.now() < untilMs;);
      return false;
    },
  });
  await eventLoop(() => unread.length === 21);
  socket.end();
  await once(server, "close");
  assert(Math.max(...unread) <= 2, `bytes that were not read: ${unread}`);
});
