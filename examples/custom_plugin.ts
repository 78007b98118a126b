/**
 * A protocol of our own as a plugin: FLV over plain TCP.
 *
 * A client connects and sends one line, `PUBLISH live/a` or `PLAY live/a`. After it a publisher
 * sends an FLV file, a player gets one. List it in a config to run it:
 *
 * ```toml
 * [Plugins]
 * FlvTcp = "./examples/custom_plugin.ts"
 *
 * [FlvTcp]
 * Port = 9000
 * ```
 */

import { definePlugin, flvFormat, flvSink, type PluginContext } from "@m7s/engine";
import { FlvDemuxStream } from "@m7s/engine/flv";
import { z } from "zod";

/** Longest first line: a path of 240 characters, arguments and a verb. */
const MAX_LINE_BYTES = 1024;

const options = z.strictObject({
  Host: z.string().default("127.0.0.1"),
  Port: z.number().int().min(0).max(65_535).default(9000),
});
type Options = z.output<typeof options>;

export default definePlugin<Options>({
  name: "FLV over TCP",
  options,
  run(context) {
    const { options: { Host, Port }, log, defer } = context;
    const listener = Deno.listen({ hostname: Host, port: Port });
    const { port } = listener.addr as Deno.NetAddr;
    const accepting = accept(listener, context);
    // Called in reverse order when the plugin is unloaded: first close, then wait.
    defer(() => accepting);
    defer(() => listener.close());
    log.info("listening on {host}:{port}", { host: Host, port });
  },
});

async function accept(listener: Deno.Listener, context: PluginContext<Options>) {
  const serving = new Set<Promise<void>>();
  for await (const conn of listener) {
    const { hostname, port } = conn.remoteAddr as Deno.NetAddr;
    const id = `${hostname}:${port}`;
    const served = serve(conn, id, context)
      .catch((error) => context.log.warn("{id} ended: {error}", { id, error: String(error) }))
      .finally(() => serving.delete(served));
    serving.add(served);
  }
  await Promise.all(serving);
}

async function serve(conn: Deno.Conn, id: string, context: PluginContext<Options>) {
  const [line, body] = await readLine(conn.readable);
  const [verb, target = ""] = line.split(" ");
  if (verb === "PUBLISH") {
    const publisher = await context.publish(target, { type: "FlvTcp", id });
    await body.pipeThrough(new FlvDemuxStream()).pipeTo(flvSink(publisher));
  } else if (verb === "PLAY") {
    const subscriber = await context.subscribe(target, { type: "FlvTcp", id });
    try {
      // Each viewer reads a stream of its own; the bytes are made once for all of them.
      const bytes = await subscriber.mux(flvFormat, { flushMs: 20 });
      await bytes.pipeTo(conn.writable);
    } finally {
      subscriber.close();
    }
  } else {
    conn.close();
    throw new Error(`unknown verb ${verb}`);
  }
}

/** The first line of a stream of bytes, and a stream of the rest. */
async function readLine(
  source: ReadableStream<Uint8Array<ArrayBuffer>>,
): Promise<[string, ReadableStream<Uint8Array<ArrayBuffer>>]> {
  const reader = source.getReader();
  let head = new Uint8Array();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("it sent no line");
    head = new Uint8Array([...head, ...value]);
    const end = head.indexOf(0x0a);
    if (end < 0 && head.length <= MAX_LINE_BYTES) continue;
    if (end < 0) throw new Error(`its line is over ${MAX_LINE_BYTES} bytes`);
    reader.releaseLock();
    const rest = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
      start: (controller) => controller.enqueue(head.subarray(end + 1)),
    });
    return [new TextDecoder().decode(head.subarray(0, end)).trim(), source.pipeThrough(rest)];
  }
}
