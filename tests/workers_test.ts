/** The program with `Workers = 2`: clients land on whichever isolate the system gives them. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { freePort } from "./support/free_port.ts";
import { Program } from "./support/program.ts";
import { eventually } from "./support/rtmp.ts";
import {
  ATTEMPTS,
  closeAll,
  Connection,
  haveAll,
  type Probe,
  Publishers,
  type StreamInfo,
  type Viewer,
  workersConfig,
  WorkersServer,
} from "./support/workers.ts";

Deno.test("isolates are one server to publishers and viewers, who land on any of them", async (t) => {
  await using server = await WorkersServer.start("TakeOver = true");
  await using publishers = new Publishers(server.rtmp);
  await publishers.next();
  await publishers.gop(3);
  await publishers.gop(3);
  const viewers: Viewer[] = [];
  const starts: number[] = [];

  await t.step("frames do not cross without viewers", async () => {
    for (const index of [0, 1]) {
      const { streams }: Probe = await server.on(index).json("/probe");
      for (const stream of streams) assertEquals([stream.replica, stream.subscribers], [false, []]);
    }
    assert(await server.home() >= 0);
  });

  await t.step("viewers of both isolates start at a keyframe at once", async () => {
    for (const protocol of ["flv", "rtmp"] as const) {
      viewers.push(...await server.viewers(protocol));
      await haveAll(viewers, publishers, [...starts, publishers.lastKey, publishers.lastKey]);
      starts.push(publishers.lastKey, publishers.lastKey);
      await publishers.gop(2);
    }
    await haveAll(viewers, publishers, starts);
  });

  await t.step("a stream crosses once, however many watch", async () => {
    const home = await server.home();
    const here: Probe = await server.on(home).json("/probe");
    const there: Probe = await server.on(1 - home).json("/probe");
    const replicas = here.streams.flatMap(({ subscribers }) => subscribers)
      .filter((subscriber) => subscriber.startsWith("Replica"));
    assertEquals(replicas, [`Replica isolate ${1 - home}`]);
    assertEquals(there.streams.map(({ replica }) => replica), [true]);
  });

  await t.step("GET /api/streams tells the same in both isolates", async () => {
    const numbers = viewers.map(({ number }) => number).sort((a, b) => a - b);
    for (const index of [0, 1]) {
      const streams: StreamInfo[] = await server.on(index).json("/api/streams");
      assertEquals(streams.map(({ path, state }) => `${path} ${state}`), ["live/a live"]);
      assertEquals(streams[0]?.subscribers.map(({ number }) => number), numbers);
      const { subscribers } = await server.on(index).json("/api/server");
      assertEquals(subscribers, numbers.length);
    }
  });

  await t.step("viewers go on when publishers take over in either isolate", async () => {
    const homes = new Set([await server.home()]);
    let attempts = 0;
    for (; homes.size < 3 && attempts < ATTEMPTS; attempts++) {
      const before = await server.home();
      await publishers.next();
      await publishers.gop(4);
      await haveAll(viewers, publishers, starts);
      const after = await server.home();
      // There and back.
      if (after !== before) homes.add(homes.has(after) ? 2 : after);
    }
    assert(attempts < ATTEMPTS, "all publishers came to the same isolate");
  });

  await t.step(
    "viewers go on when a publisher is killed and comes back to either isolate",
    async () => {
      const homes = new Set<number>();
      for (let attempt = 0; homes.size < 2 && attempt < ATTEMPTS; attempt++) {
        publishers.client.close();
        let { state } = await server.stream();
        for (
          let look = 0;
          state === "live" && look < 1000;
          look++
        ) ({ state } = await server.stream());
        assertEquals(state, "waiting");
        await publishers.next();
        await publishers.gop(4);
        await haveAll(viewers, publishers, starts);
        homes.add(await server.home());
      }
      assertEquals(homes.size, 2);
    },
  );

  await t.step("DELETE /api/subscribers/{number} ends one of any isolate", async () => {
    for (const index of [0, 1]) {
      const viewer = viewers[1 - index];
      assert(viewer);
      const path = `/api/subscribers/${viewer.number}`;
      assertEquals((await server.on(index).json(path)).number, viewer.number);
      assertEquals(await server.on(index).status("DELETE", path), 204);
      await eventually("it has ended", () => viewer.isOver);
      assertEquals(await server.on(index).status("DELETE", path), 404);
    }
    await publishers.gop(2);
    await haveAll(viewers.slice(2), publishers, starts.slice(2));
  });

  await t.step("an isolate lets go of a stream that nobody there watches any more", async () => {
    await closeAll(viewers.splice(0));
    const away = 1 - await server.home();
    let probe: Probe = await server.on(away).json("/probe");
    for (let look = 0; probe.streams.length > 0 && look < 1000; look++) {
      probe = await server.on(away).json("/probe");
    }
    assertEquals(probe.streams, []);
    const { subscribers } = await server.stream();
    assertEquals(subscribers, []);
  });

  await t.step("DELETE /api/streams/{path} ends a stream of any isolate everywhere", async () => {
    for (const index of [0, 1]) {
      viewers.push(...await server.viewers("flv"));
      const away = index === 0 ? await server.home() : 1 - await server.home();
      assertEquals(await server.on(away).status("DELETE", "/api/streams/live/a"), 204);
      for (const viewer of viewers) await eventually("it has ended", () => viewer.isOver);
      assertEquals(await server.on(1 - away).json("/api/streams"), []);
      assertEquals(await server.on(away).status("DELETE", "/api/streams/live/a"), 404);
      await closeAll(viewers.splice(0));
      if (index === 1) break;
      await publishers.next();
      await publishers.gop(2);
    }
  });
  await server.stop();
});

Deno.test("isolates refuse a taken path, and let a viewer that stalls drop alone", async (t) => {
  await using server = await WorkersServer.start("MaxLag = 0.4\n[HTTP_FLV]\nMaxLag = 0.4");
  await using publishers = new Publishers(server.rtmp);
  await publishers.next();
  await publishers.gop(1);

  await t.step("a path that is taken is refused in both isolates, naming the holder", async () => {
    const { publisher } = await server.stream();
    const body = new Uint8Array([0x46, 0x4c, 0x56, 1, 5, 0, 0, 0, 9, 0, 0, 0, 0]);
    for (const index of [0, 1]) {
      const response = await server.on(index).request("/live/a.flv", { method: "POST", body });
      assertEquals(response.status, 409);
      const { error } = await response.json();
      assertStringIncludes(
        error,
        `Cannot publish live/a: RTMP publisher ${publisher?.id} has held`,
      );
    }
    await publishers.gop(1);
  });

  await t.step("a viewer that stalls drops to a keyframe, and others lose nothing", async () => {
    const viewers = [...await server.viewers("flv"), ...await server.viewers("rtmp")];
    const starts = viewers.map(({ ids }) => ids[0] ?? 0);
    // One of each protocol, one of each isolate.
    const stalled = [0, 3].flatMap((index) => viewers[index] ?? []);
    const others = [1, 2].flatMap((index) => viewers[index] ?? []);
    const otherStarts = [1, 2].map((index) => starts[index] ?? 0);
    const numbers = stalled.map(({ number }) => number);
    for (const viewer of stalled) viewer.hold(true);
    const keys = new Set<number>();
    let late: number[] = [];
    for (let round = 0; late.length < 2 && round < 100; round++) {
      for (let frame = 0; frame < 5; frame++) {
        await publishers.push(frame === 0, 200_000);
        if (frame === 0) keys.add(publishers.last);
      }
      await haveAll(others, publishers, otherStarts);
      const { subscribers } = await server.stream();
      late = subscribers.filter(({ lagMs }) => lagMs > 1000).map(({ number }) => number);
    }
    assertEquals(late.sort(), numbers.sort());
    for (const viewer of stalled) viewer.hold(false);
    await publishers.push(true);
    keys.add(publishers.last);
    for (const viewer of stalled) {
      await eventually("it is back", () => viewer.ids.at(-1) === publishers.last);
      for (const [at, id] of viewer.ids.entries()) {
        const before = viewer.ids[at - 1];
        if (before === undefined || id === before + 1) continue;
        assert(id > before && keys.has(id), `${id} after ${before}`);
      }
      assert(viewer.ids.length < publishers.last - (viewer.ids[0] ?? 0) + 1, "it lost nothing");
    }
    const { subscribers } = await server.stream();
    for (const { number, dropped } of subscribers) {
      assertEquals(
        dropped > 0,
        numbers.includes(number),
        `subscriber ${number} dropped ${dropped}`,
      );
    }
    await closeAll(viewers);
  });
  await server.stop();
});

Deno.test("an isolate that fails takes nobody of another one with it, and serves again", async (t) => {
  await using server = await WorkersServer.start("TakeOver = true");
  await using publishers = new Publishers(server.rtmp);
  await publishers.next();
  await publishers.gop(2);
  const viewers = await server.viewers("flv");
  const starts = viewers.map(({ ids }) => ids[0] ?? 0);
  const home = await server.home();
  const [stays, falls] = [viewers[home], viewers[1 - home]];
  assert(stays && falls);

  await t.step("when it is not that of the publisher", async () => {
    assertEquals((await server.on(1 - home).json("/bomb")).isolate, 1 - home);
    await eventually("its viewer is gone", () => falls.isOver);
    await publishers.gop(2);
    await haveAll([stays], publishers, [starts[home] ?? 0]);
    await server.program.says(`isolate ${1 - home} failed, starting it again in 100 ms: `);
    assertStringIncludes(server.program.log, "a bomb went off");
    await server.program.says(`isolate ${1 - home} serves again`);
    await server.reach();
    const again = await server.viewers("rtmp");
    await publishers.gop(2);
    await haveAll(again, publishers, again.map(({ ids }) => ids[0] ?? 0));
    await closeAll(again);
  });

  await t.step("when it is that of the publisher, who comes back", async () => {
    const [first, second] = await server.viewers("flv");
    const away = home === 0 ? second : first;
    const start = away.ids[0] ?? 0;
    await server.on(home).json("/bomb");
    await eventually("its viewer is gone", () => stays.isOver);
    await publishers.next();
    await publishers.gop(3);
    await haveAll([away], publishers, [start]);
    await server.program.says(`isolate ${home} serves again`);
    await server.reach();
    await publishers.gop(3);
    await haveAll([away], publishers, [start]);
    await closeAll([first, second]);
  });
  await closeAll(viewers);
  await server.stop();
});

Deno.test("a config with a mistake fails with the same message in one isolate and in two", async (t) => {
  const http = freePort();
  const cases = [
    ["an unknown key", "Prot = 1935", /server\.toml:\d+: \[RTMP\] Prot: unknown key/],
    ["a port in use", "", /cannot listen on 127\.0\.0\.1:\d+: port \d+ is in use/],
  ] as const;
  for (const [name, sections, message] of cases) {
    await t.step(name, async () => {
      using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const outputs: string[] = [];
      for (const workers of [1, 2]) {
        await using program = await Program.start(
          workersConfig({
            http: name === "a port in use" ? taken.addr.port : http,
            rtmp: taken.addr.port,
            sections,
            workers,
          }),
        );
        assertEquals(await program.ended(), 1, program.log);
        assertMatch(program.log, message);
        // Without time and number of the isolate.
        const lines = program.log.split("\n").filter((line) => message.test(line));
        outputs.push(lines.join("\n").replaceAll(/^[\d:.]+ |#0(?=:)/gm, ""));
      }
      assertEquals(outputs[0], outputs[1]);
    });
  }
});

Deno.test("--demo plays its clip once for all isolates", async () => {
  await using server = await WorkersServer.start("", "--demo");
  for (const index of [0, 1]) {
    const streams: StreamInfo[] = await server.on(index).json("/api/streams");
    assertEquals(streams.map(({ path }) => path), ["live/demo"]);
    using connection = new Connection(server.http);
    const viewer = await connection.request("/live/demo.flv");
    assertEquals(viewer.status, 200);
    await viewer.body?.cancel();
  }
  assertEquals(server.program.log.split("a clip plays as live/demo").length, 2);
  await server.stop();
});
