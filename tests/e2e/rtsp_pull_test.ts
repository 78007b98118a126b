/** A stream that is fetched by RTSP from another server, which goes away and comes back. */

import { assert, assertEquals } from "@std/assert";
import { assertSamePackets, makeClip, type PlayedPacket, publish } from "../support/ffmpeg.ts";
import { freePort } from "../support/free_port.ts";
import { PROTOCOLS, startServer } from "../support/server.ts";
import { assertRising, assertToEnd, Audience, identify, identities, takeTo } from "./viewing.ts";

/** The clocks of RTP beside the milliseconds of FLV. */
const toleranceMs = 1;
const LOOPS = 100;

for (const Transport of ["tcp", "udp"]) {
  Deno.test(`A pull over ${Transport} goes on when its source has gone and come back`, async () => {
    const [first, second] = await Promise.all([
      makeClip({ bFrames: 1, gop: 10 }),
      makeClip({ gop: 10, videoSource: "testsrc", audioSource: "anoisesrc=amplitude=0.2:seed=7" }),
    ]);
    const port = freePort();
    const start = () => startServer({ rtsp: { Port: port } });
    const options = { speed: 2, loops: Infinity };
    await using audience = new Audience();
    await using stack = new AsyncDisposableStack();
    let source = stack.use(await start());
    let publisher = stack.use(publish(source.url("rtmp", "live/a"), first, options));
    const URL = `rtsp://127.0.0.1:${port}/live/a`;
    await using server = await startServer({ rtsp: { Pull: { "live/b": { URL, Transport } } } });

    const begun = PROTOCOLS.map(() => Promise.withResolvers<void>());
    const viewers = PROTOCOLS.map((by, index) =>
      audience.watch(server.url(by, "live/b"), async (player) => {
        const all: PlayedPacket[] = await player.take({ videoPackets: 12 });
        begun[index]?.resolve();
        const read = async () => {
          const packet = await player.read();
          if (packet) all.push(packet);
          return packet;
        };
        const after = await takeTo({ read }, second);
        return { all: all.filter(({ kind }) => kind !== "data"), after };
      })
    );
    await Promise.race([Promise.all(begun.map(({ promise }) => promise)), Promise.all(viewers)]);
    const stream = server.engine.getStream("live/b");
    assert(stream);

    await publisher[Symbol.asyncDispose]();
    await source[Symbol.asyncDispose]();
    source = stack.use(await start());
    publisher = stack.use(publish(source.url("rtmp", "live/a"), second, options));

    const known = new Set([...identities(second).values()].flat());
    for (const { all, after } of await Promise.all(viewers)) {
      assertRising(all);
      const isSecond = (packet: PlayedPacket) => known.has(identify(packet, packet.codec));
      const before = all.filter((packet) => !isSecond(packet));
      assertSamePackets(first, before, { toleranceMs, loops: LOOPS });
      assertToEnd(second, after, { toleranceMs });
    }
    assertEquals(server.engine.getStream("live/b"), stream);
  });
}
