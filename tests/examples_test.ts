import { assert, assertEquals, assertRejects } from "@std/assert";
import { deadline } from "@std/async/deadline";
import { recordStream } from "../examples/record_stream.ts";
import { publishFile } from "../examples/publish_file.ts";
import { startServer } from "../examples/embed.ts";
import customPlugin from "../examples/custom_plugin.ts";
import { FlvDemuxer, TAG_SCRIPT } from "../src/formats/flv.ts";
import { Engine } from "../src/engine.ts";
import { RefusedError } from "../src/errors.ts";
import { Plugins } from "../src/plugin.ts";

const CLIP = new URL("./fixtures/flv/h264_aac.flv", import.meta.url);

/** The frames of an FLV file of H.264 and AAC: 1 as AVCPacketType and AACPacketType (FLV E.4). */
function framesOf(file: Uint8Array) {
  return new FlvDemuxer().push(file).filter((tag) => tag.type !== TAG_SCRIPT && tag.body[1] === 1);
}

Deno.test("examples: a file that is published and recorded comes back as it was", async () => {
  const dir = await Deno.makeTempDir();
  const engine = new Engine();
  try {
    const file = `${dir}/recorded.flv`;
    const recorded = recordStream(engine, "live/a", { file });
    await publishFile(engine, "live/a", CLIP);
    await deadline(recorded, 5000);
    const byTime = (tags: ReturnType<typeof framesOf>) =>
      tags.map(({ type, timestampMs, body }) => `${type} ${timestampMs} ${body.join()}`).sort();
    assertEquals(
      byTime(framesOf(await Deno.readFile(file))),
      byTime(framesOf(await Deno.readFile(CLIP))),
    );
  } finally {
    await engine.close();
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("examples: the embedded server lets only the right stream key in", async () => {
  await using server = await startServer({ http: 0, rtmp: 0 }, "secret");
  const { engine } = server;
  await assertRejects(() => engine.publish("live/a?key=x", { type: "Test" }), RefusedError);
  const publisher = await engine.publish("live/a?key=secret", { type: "Test" });
  publisher.close();
  assertEquals(server.plugins.list().map(({ running }) => running), [true, true, true]);
});

Deno.test("examples: the custom plugin publishes and plays over its own protocol", async () => {
  const engine = new Engine();
  const plugins = new Plugins(engine);
  const port = freePort();
  await plugins.load("FlvTcp", customPlugin, { Port: port });
  try {
    const publisher = await Deno.connect({ port });
    const file = await Deno.readFile(CLIP);
    await publisher.write(new TextEncoder().encode("PUBLISH live/a\n"));
    // All but the last byte, so that the stream is there until the player has come.
    const writer = publisher.writable.getWriter();
    await writer.write(file.subarray(0, -1));
    const player = await Deno.connect({ port });
    await player.write(new TextEncoder().encode("PLAY live/a\n"));
    const played = new Response(player.readable).bytes();
    while (engine.subscribers.size === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await writer.write(file.subarray(-1));
    await writer.close();
    const tags = framesOf(await deadline(played, 5000));
    assert(tags.length > 0);
    assertEquals(tags.at(-1)?.body, framesOf(file).at(-1)?.body);
  } finally {
    await plugins.close();
    await engine.close();
  }
});

/** A port that nobody listens on at the moment. */
function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  return port;
}
