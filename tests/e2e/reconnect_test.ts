import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import type { Publisher as Holder } from "../../src/publisher.ts";
import type { Stream } from "../../src/stream.ts";
import {
  assertSamePackets,
  type Clip,
  type ClipOptions,
  makeClip,
  type PlayedPacket,
  publish,
} from "../support/ffmpeg.ts";
import { PROTOCOLS, startServer, type TestServer } from "../support/server.ts";
import {
  assertRising,
  assertToEnd,
  Audience,
  identify,
  identities,
  KINDS,
  publishAndStay,
  standing,
  streamOf,
  takeTo,
  untilArrived,
  within,
} from "./viewing.ts";

const PATH = "live/a";
const FIRST: ClipOptions = { bFrames: 1 };
/** Where the publisher's clock is when it comes back: an hour on, as of a machine that has slept. */
const BACK_US = 3_600_000_000;
/** Nothing of it is equal to anything of the first one. */
const SECOND: ClipOptions = {
  videoSource: "testsrc",
  audioSource: "aevalsrc=0.2*sin(2*PI*(900-20*t)*t)",
};

for (const protocol of PROTOCOLS) {
  Deno.test(`Viewers stay when a publisher by ${protocol} is killed and comes back`, async () => {
    const [first, second] = await clips();
    await using server = await startServer();
    const url = server.url(protocol, PATH);
    await using audience = new Audience();
    const viewers = watchAll(audience, server, standing(second));
    await using killed = publish(url, first, { speed: 2, loops: Infinity });
    const stream = await streamOf(server, PATH);
    const holder = holderOf(stream);
    await viewers.begun;
    await killed.kill();
    assertEquals((await within(holder.closed, "publisher's end")).code, "lost");
    assertEquals(stream.state, "waiting");

    await using _back = publishAndStay(url, second, { speed: 4, offsetUs: BACK_US });
    for (const received of await viewers.received) assertContinued(received, first, second);
    assertEquals(server.engine.getStream(PATH), stream);
  });

  Deno.test(`A publisher by rtmp takes over from one by ${protocol} without a break`, async () => {
    const [first, second] = await clips();
    await using server = await startServer({ rtmp: { TakeOver: true } });
    await using audience = new Audience();
    const viewers = watchAll(audience, server, standing(second));
    await using old = publish(server.url(protocol, PATH), first, { speed: 2, loops: Infinity });
    const stream = await streamOf(server, PATH);
    const holder = holderOf(stream);
    await viewers.begun;

    await using _taker = publishAndStay(server.url("rtmp", PATH), second, { speed: 4 });
    assertEquals((await within(holder.closed, "end of the old publisher")).code, "replaced");
    if (protocol === "rtmp") await assertRejects(() => within(old.done, "end"), Error, "write");
    for (const received of await viewers.received) assertContinued(received, first, second);
  });

  Deno.test(`Viewers end in good order when a publisher by ${protocol} stays away`, async () => {
    const clip = await makeClip(FIRST);
    await using server = await startServer({ engine: { ReconnectTimeout: 0.3 } });
    const url = server.url(protocol, PATH);
    await using killed = publishAndStay(url, clip, { speed: 4 });
    const stream = await streamOf(server, PATH);
    await using audience = new Audience();
    const viewers = PROTOCOLS.map((by) =>
      audience.watch(server.url(by, PATH), (player) => player.take({}))
    );
    const bytes = fetchToEnd(server.url("http", PATH));
    await untilArrived(stream, standing(clip));
    await untilViewers(server, 3);
    await killed.kill();
    assertEquals((await within(stream.closed, "stream's end")).code, "lost");
    for (const received of await Promise.all(viewers)) assertToEnd(standing(clip), received);
    await bytes;
    assertEquals(server.engine.subscribers.size, 0);
  });
}

Deno.test("Viewers end in good order, at once and with the last packet, when a publisher stops", async () => {
  const clip = await makeClip(FIRST);
  await using server = await startServer();
  await using audience = new Audience();
  const viewers = PROTOCOLS.map((by) =>
    audience.watch(server.url(by, PATH), (player) => player.take({}))
  );
  await using publisher = publish(server.url("rtmp", PATH), clip, { speed: 4 });
  const stream = await streamOf(server, PATH);
  const bytes = fetchToEnd(server.url("http", PATH));
  await publisher.done;
  assertEquals((await within(stream.closed, "stream's end")).code, "ended");
  for (const received of await Promise.all(viewers)) assertToEnd(clip, received);
  await bytes;
});

for (const protocol of PROTOCOLS) {
  Deno.test(`A second publisher is refused and does no harm to the one by ${protocol}`, async () => {
    const [first, second] = await clips();
    await using server = await startServer();
    await using audience = new Audience();
    const viewers = PROTOCOLS.map((by) =>
      audience.watch(server.url(by, PATH), (player) => takeTo(player, first))
    );
    const url = server.url(protocol, PATH);
    await using publisher = publish(url, first, { speed: 2, loops: Infinity });
    const stream = await streamOf(server, PATH);
    const holder = holderOf(stream);

    await using refused = publish(server.url("rtmp", PATH), second, { speed: 4 });
    const error = await assertRejects(() => within(refused.started, "refusal"), Error);
    assertStringIncludes(error.message, "Cannot publish");
    const response = await fetch(server.url("http", PATH), {
      method: "POST",
      body: Uint8Array.of(0x46, 0x4c, 0x56, 1, 5, 0, 0, 0, 9, 0, 0, 0, 0),
    });
    assertEquals(response.status, 409);
    assertStringIncludes((await response.json()).error, PATH);

    for (const received of await Promise.all(viewers)) assertToEnd(first, received);
    assertEquals(stream.publisher, holder);
    assertEquals(holder.end, undefined);
    await publisher.kill();
  });
}

function clips(): Promise<[Clip, Clip]> {
  return Promise.all([makeClip(FIRST), makeClip(SECOND)]);
}

function holderOf({ publisher }: Stream): Holder {
  assert(publisher);
  return publisher;
}

/** Viewers by all protocols: of what there is first, then of the second clip to its end. */
function watchAll(
  audience: Audience,
  server: TestServer,
  second: Clip,
): { readonly begun: Promise<unknown>; readonly received: Promise<PlayedPacket[][]> } {
  const viewers = PROTOCOLS.map((protocol) => {
    const begun = Promise.withResolvers<void>();
    const received = audience.watch(server.url(protocol, PATH), async (player) => {
      const all = await player.take({ videoPackets: 12 });
      begun.resolve();
      const read = async () => {
        const packet = await player.read();
        if (packet) all.push(packet);
        return packet;
      };
      await takeTo({ read }, second);
      return all.filter(({ kind }) => kind !== "data");
    });
    received.catch(begun.reject);
    return { begun: begun.promise, received };
  });
  const received = Promise.all(viewers.map((viewer) => viewer.received));
  received.catch(() => {});
  return { begun: Promise.all(viewers.map(({ begun }) => begun)), received };
}

/** Fails unless a viewer got the first clip, then all of the second one on the same timeline. */
function assertContinued(received: readonly PlayedPacket[], first: Clip, second: Clip): void {
  assertRising(received);
  const isSecond = membership(second);
  const before = received.filter((packet) => !isSecond(packet));
  const after = received.filter(isSecond);
  assertSamePackets(first, before, { loops: 100 });
  const { offsetMs } = assertToEnd(standing(second), after);
  // One frame on, not as much later as the publisher was away.
  for (const kind of KINDS) {
    const [next] = after.filter((packet) => packet.kind === kind);
    const last = before.findLast((packet) => packet.kind === kind);
    assert(next && last);
    assert(next.dtsMs - last.dtsMs < 150, `${kind} goes on after ${next.dtsMs - last.dtsMs} ms`);
  }
  assertEquals(offsetMs.video, offsetMs.audio);
}

/** Whether a packet is one of a clip. */
function membership(clip: Clip): (packet: PlayedPacket) => boolean {
  const sets = new Map([...identities(clip)].map(([kind, all]) => [kind as string, new Set(all)]));
  return (packet) => sets.get(packet.kind)?.has(identify(packet, packet.codec)) ?? false;
}

/** Rejects if the body of the answer breaks off, which FFmpeg does not tell from its end. */
async function fetchToEnd(url: string): Promise<number> {
  const response = await fetch(url);
  assertEquals(response.status, 200);
  return (await within(response.arrayBuffer(), "end of the body")).byteLength;
}

/** Waits until so many have subscribed. */
async function untilViewers({ engine }: TestServer, count: number): Promise<void> {
  const enough = Promise.withResolvers<void>();
  const check = () => {
    if (engine.subscribers.size >= count) enough.resolve();
  };
  engine.addEventListener("subscribe", check);
  check();
  try {
    await within(enough.promise, `${count} subscribers`);
  } finally {
    engine.removeEventListener("subscribe", check);
  }
}
