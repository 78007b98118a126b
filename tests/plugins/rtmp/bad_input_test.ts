import { assert, assertEquals, assertLess, assertMatch } from "@std/assert";
import { delay } from "@std/async/delay";
import { writeMessage } from "../../../plugins/rtmp/chunk_writer.ts";
import { commandMessage, controlMessage, UserControlEvent } from "../../../plugins/rtmp/command.ts";
import { MessageType } from "../../../plugins/rtmp/message.ts";
import { concat } from "../../../src/bytes.ts";
import { encodeAmf0 } from "../../../src/formats/amf.ts";
import { audioHeader, videoBody, videoHeader } from "../../support/frames.ts";
import {
  eventually,
  kindOf,
  type PluginServer,
  RtmpClient,
  startRtmp,
} from "../../support/rtmp.ts";

/** A stream of somebody else, which must not notice what happens to the one at fault. */
class Bystanders implements AsyncDisposable {
  readonly #server: PluginServer;
  readonly #publisher: RtmpClient;
  readonly #player: RtmpClient;

  private constructor(server: PluginServer, publisher: RtmpClient, player: RtmpClient) {
    this.#server = server;
    this.#publisher = publisher;
    this.#player = player;
  }

  static async join(server: PluginServer): Promise<Bystanders> {
    const publisher = await RtmpClient.publish(server.url, "bystander");
    const player = await RtmpClient.play(server.url, "bystander");
    await publisher.pushHeaders();
    await publisher.pushFrames("K");
    await player.take(3);
    return new Bystanders(server, publisher, player);
  }

  /** Their stream goes on, and nothing has failed. */
  async assertUnharmed(): Promise<void> {
    await this.#publisher.pushFrames("v", 10);
    assertEquals((await this.#player.take(1)).map(kindOf), ["v"]);
    assertEquals(this.#server.logs.filter((line) => line.startsWith("error")), []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#publisher[Symbol.asyncDispose]();
    await this.#player[Symbol.asyncDispose]();
  }
}

/** The log has just this one reason for the end of a session, or none. */
async function assertReason(server: PluginServer, reason: RegExp | undefined): Promise<void> {
  if (reason === undefined) return assertEquals(server.reasons, []);
  await eventually("a reason", () => server.reasons.length > 0);
  const [line = "", ...more] = server.reasons;
  assertMatch(line, reason);
  assertEquals(more, []);
}

interface Case {
  readonly name: string;
  /** The reason in the log; undefined if the session goes on. */
  readonly reason?: RegExp;
  readonly options?: Record<string, unknown>;
  run(url: string): Promise<RtmpClient>;
}

/** A client that has sent `bytes` and nothing else. */
async function sendRaw(url: string, bytes: Uint8Array): Promise<RtmpClient> {
  const client = await RtmpClient.open(url);
  await client.raw(bytes);
  return client;
}

/** A client that publishes and has sent one message with `payload`. */
async function sendMessage(
  url: string,
  type: number,
  payload: Uint8Array,
  first: Uint8Array[] = [],
): Promise<RtmpClient> {
  const client = await RtmpClient.publish(url, "a");
  for (const body of first) await client.send(MessageType.video, body);
  await client.send(type, payload);
  return client;
}

function random(length: number): Uint8Array {
  const bytes = crypto.getRandomValues(new Uint8Array(length));
  bytes[0] = 3;
  return bytes;
}

/** A chunk header of format 0 that claims `length` bytes of video. */
function claim(length: number): Uint8Array {
  return Uint8Array.of(6, 0, 0, 0, length >>> 16, length >>> 8, length, 9, 1, 0, 0, 0);
}

/** An AMF0 object in an object, and so on. */
function nested(depth: number): Uint8Array {
  const level = Uint8Array.of(3, 0, 1, 0x61);
  return concat(Array(depth).fill(level));
}

const cutNalu = concat([videoBody(true).subarray(0, 5), Uint8Array.of(0, 0, 1, 0, 0x65, 1)]);

const cases: Case[] = [
  {
    name: "garbage in place of a handshake",
    reason: /Cannot shake hands: the version is 71, not 3/,
    run: (url) => sendRaw(url, new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n")),
  },
  {
    name: "a handshake of encrypted RTMP",
    reason: /version 6, encrypted RTMP/,
    run: (url) => sendRaw(url, Uint8Array.of(6)),
  },
  {
    name: "garbage behind a handshake",
    reason: /Cannot read/,
    run: (url) =>
      sendRaw(url, concat([random(1537), random(1536), new Uint8Array(2000).fill(0xff)])),
  },
  {
    name: "a handshake that is cut short",
    run: async (url) => {
      const client = await sendRaw(url, random(1000));
      client.close();
      return client;
    },
  },
  {
    name: "a handshake that does not end",
    reason: /^it neither published nor played within 0.2 s$/,
    options: { StartTimeout: 0.2 },
    run: (url) => sendRaw(url, random(1500)),
  },
  {
    name: "a connection that says nothing",
    reason: /^it neither published nor played within 0.2 s$/,
    options: { StartTimeout: 0.2 },
    run: (url) => RtmpClient.open(url),
  },
  {
    name: "a client that connects and asks for nothing",
    reason: /^it neither published nor played within 0.2 s$/,
    options: { StartTimeout: 0.2 },
    run: (url) => RtmpClient.connect(url),
  },
  {
    name: "a publisher that is done and does not leave",
    reason: /^it neither published nor played within 0.1 s$/,
    options: { StartTimeout: 0.1 },
    run: async (url) => {
      const client = await RtmpClient.publish(url, "a");
      await delay(150);
      await client.command("deleteStream", [1]);
      return client;
    },
  },
  {
    name: "a player whose stream does not come, and that does not leave",
    reason: /^it neither published nor played within 0.1 s$/,
    options: { StartTimeout: 0.1 },
    run: (url) => RtmpClient.play(url, "none"),
  },
  {
    name: "a chunk that claims 16 MB",
    reason: /its length is 16777215, more than 8388608/,
    run: async (url) => {
      const client = await RtmpClient.publish(url, "a");
      await client.raw(claim(0xff_ffff));
      return client;
    },
  },
  {
    name: "a message over MaxMessageSize",
    reason: /its length is 65537, more than 65536/,
    options: { MaxMessageSize: 65_536 },
    run: async (url) => {
      const client = await RtmpClient.publish(url, "a");
      await client.raw(claim(65_537));
      return client;
    },
  },
  {
    name: "a chunk size of 0",
    reason: /Cannot set chunk size: it is 0/,
    run: async (url) => {
      const client = await RtmpClient.connect(url);
      const message = controlMessage({ type: MessageType.setChunkSize, bytes: 0 });
      await client.raw(writeMessage(message, 4096));
      return client;
    },
  },
  {
    name: "a control message cut short",
    reason: /Cannot read/,
    run: async (url) => {
      const client = await RtmpClient.connect(url);
      await client.send(MessageType.userControl, Uint8Array.of(0), { streamId: 0 });
      return client;
    },
  },
  {
    name: "AMF nested 10,000 deep in a command",
    reason: /nests deeper than/,
    run: async (url) => {
      const client = await RtmpClient.shake(url);
      await client.setChunkSize(4096);
      await client.send(
        MessageType.commandAmf0,
        concat([encodeAmf0("connect", 1), nested(10_000)]),
        { streamId: 0 },
      );
      return client;
    },
  },
  {
    name: "AMF nested 10,000 deep in metadata",
    reason: /nests deeper than/,
    run: (url) =>
      sendMessage(
        url,
        MessageType.dataAmf0,
        concat([encodeAmf0("@setDataFrame", "onMetaData"), nested(10_000)]),
      ),
  },
  {
    name: "a command that is no AMF",
    reason: /Cannot/,
    run: async (url) => {
      const client = await RtmpClient.connect(url);
      await client.send(MessageType.commandAmf0, Uint8Array.of(0xee, 1, 2), { streamId: 0 });
      return client;
    },
  },
  {
    name: "a command before connect",
    reason: /^Cannot take command "createStream": connect must come first$/,
    run: async (url) => {
      const client = await RtmpClient.shake(url);
      await client.command("createStream");
      return client;
    },
  },
  {
    name: "a second connect",
    reason: /^Cannot take command connect: it came before$/,
    run: async (url) => {
      const client = await RtmpClient.connect(url);
      await client.command("connect");
      return client;
    },
  },
  {
    name: "publish without createStream",
    reason: /^Cannot publish: createStream must come first$/,
    run: async (url) => {
      const client = await RtmpClient.connect(url);
      await client.command("publish", ["a"], 1);
      return client;
    },
  },
  {
    name: "play without createStream",
    reason: /^Cannot play: createStream must come first$/,
    run: async (url) => {
      const client = await RtmpClient.connect(url);
      await client.command("play", ["a"], 0);
      return client;
    },
  },
  {
    name: "too many plays that wait",
    reason: /^Cannot play: 8 others wait for their stream$/,
    run: async (url) => {
      const client = await RtmpClient.connect(url);
      await client.createStream();
      const play = writeMessage(commandMessage({ name: "play", args: ["x"] }, 1), 4096);
      const close = writeMessage(commandMessage({ name: "closeStream" }, 1), 4096);
      await client.raw(concat(Array(20).fill(concat([play, close]))));
      return client;
    },
  },
  {
    name: "NAL units that are cut short",
    reason: /Cannot/,
    run: (url) => sendMessage(url, MessageType.video, cutNalu, [videoHeader()]),
  },
  {
    name: "a sequence header that is cut short",
    reason: /Cannot/,
    run: (url) => sendMessage(url, MessageType.video, videoHeader().subarray(0, 9)),
  },
  {
    name: "a malformed aggregate",
    reason: /Cannot/,
    run: (url) => sendMessage(url, MessageType.aggregate, Uint8Array.of(9, 0, 9, 9, 0)),
  },
];

for (const { name, reason, options = {}, run } of cases) {
  const does = reason === undefined ? "in silence" : "with a reason";
  Deno.test(`RtmpSession ends ${does} at ${name}, and nothing else does`, async () => {
    await using server = await startRtmp({ ...options });
    await using others = await Bystanders.join(server);
    await using client = await run(server.url);
    await client.closed;
    client.close();
    await assertReason(server, reason);
    await others.assertUnharmed();
  });
}

for (
  const [name, type, payload] of [
    ["empty audio", MessageType.audio, new Uint8Array()],
    ["empty video", MessageType.video, new Uint8Array()],
    ["an audio header alone", MessageType.audio, Uint8Array.of(0xaf, 1)],
    ["a video header alone", MessageType.video, Uint8Array.of(0x17, 1, 0, 0, 0)],
    ["empty data", MessageType.dataAmf0, new Uint8Array()],
    ["a frame before its sequence header", MessageType.video, videoBody(true)],
    ["a shared object", MessageType.sharedObjectAmf0, Uint8Array.of(1, 2, 3)],
    ["a type that is not known", 99, Uint8Array.of(1, 2, 3)],
  ] as const
) {
  Deno.test(`RtmpSession goes on after ${name}`, async () => {
    await using server = await startRtmp();
    await using others = await Bystanders.join(server);
    await using client = await sendMessage(server.url, type, payload);
    await client.pushHeaders();
    await client.pushFrames("Kv");
    await using player = await RtmpClient.play(server.url, "a");
    assertEquals((await player.take(4)).map(kindOf).join(""), "VAKv");
    await assertReason(server, undefined);
    await others.assertUnharmed();
  });
}

Deno.test("RtmpSession refuses a second publish on a message stream and keeps the first", async () => {
  await using server = await startRtmp();
  await using client = await RtmpClient.publish(server.url, "a");
  await client.command("publish", ["b"], 1);
  await client.status("NetStream.Publish.BadName");
  await client.command("play", ["a"], 1);
  await client.status("NetStream.Play.Failed");
  assertEquals([...server.engine.streams.keys()], ["live/a"]);
  await client.pushHeaders();
  assertEquals(server.reasons, []);
});

for (const name of ["../etc", "a\0b", "x".repeat(500), null, 5]) {
  Deno.test(`RtmpSession takes no stream called ${JSON.stringify(name)?.slice(0, 20)}`, async () => {
    await using server = await startRtmp();
    await using client = await RtmpClient.connect(server.url);
    await client.createStream();
    await client.command("publish", [name], 1);
    await client.status("NetStream.Publish.BadName");
    await client.command("play", [name], 1);
    await client.status("NetStream.Play.StreamNotFound");
    assertEquals(server.engine.streams.size, 0);
  });
}

Deno.test("RtmpSession refuses message streams over the limit", async () => {
  await using server = await startRtmp();
  await using client = await RtmpClient.connect(server.url);
  for (let id = 1; id <= 8; id++) assertEquals(await client.createStream(), id);
  assertEquals((await client.call("createStream")).name, "_error");
  await client.command("deleteStream", [5]);
  assertEquals(await client.createStream(), 5);
});

Deno.test("RtmpSession answers commands that it does not know, and no answers", async () => {
  await using server = await startRtmp();
  await using client = await RtmpClient.connect(server.url);
  assertEquals((await client.call("whatever", null, [1, "x"])).name, "_result");
  const before = client.messages.length;
  await client.command("_result", []);
  await client.command("_error", []);
  await client.command("pause", [true], 7);
  await client.command("deleteStream", ["x"]);
  await client.command("closeStream", [], 9);
  await client.call("getStreamLength");
  assertEquals(client.messages.length, before + 1);
});

Deno.test("RtmpSession makes a client that floods and does not read wait for itself", async () => {
  await using server = await startRtmp();
  await using others = await Bystanders.join(server);
  await using client = await RtmpClient.connect(server.url);
  client.hold(true);
  const ping = writeMessage(
    controlMessage({
      type: MessageType.userControl,
      event: UserControlEvent.pingRequest,
      value: 1,
    }),
    4096,
  );
  const flood = concat(Array(1000).fill(ping));
  let sent = 0;
  const flooding = (async () => {
    for (; sent < 20_000; sent++) await client.raw(flood);
  })().catch(() => {});
  let before = -1;
  while (before !== sent) {
    before = sent;
    await delay(200);
  }
  assertLess(sent, 20_000);
  await others.assertUnharmed();
  client.hold(false);
  await eventually("it goes on", () => sent > before);
  client.close();
  await flooding;
});

Deno.test("RtmpSession does not hold up the end for a guard that does not answer", async () => {
  await using server = await startRtmp({ StartTimeout: 0.1 });
  server.engine.addGuard("publish", () => new Promise(() => {}));
  server.engine.addGuard("subscribe", () => new Promise(() => {}));
  await using publisher = await RtmpClient.connect(server.url);
  await publisher.createStream();
  await publisher.command("publish", ["a"], 1);
  await using player = await RtmpClient.play(server.url, "a");
  await delay(150);
  assert(!publisher.isClosed && !player.isClosed);
  const before = performance.now();
  await server.plugins.unload("RTMP");
  assertLess(performance.now() - before, 900);
  assertEquals(await publisher.closed, undefined);
  assertEquals(await player.closed, undefined);
  assertEquals(server.engine.streams.size, 0);
});

Deno.test("RtmpSession survives random messages", async () => {
  await using server = await startRtmp();
  await using others = await Bystanders.join(server);
  const types = Object.values(MessageType).filter((type) => type !== MessageType.setChunkSize);
  for (let round = 0; round < 60; round++) {
    await using client = await RtmpClient.publish(server.url, `fuzz${round}`);
    await client.send(MessageType.video, videoHeader());
    await client.send(MessageType.audio, audioHeader());
    const type = types[round % types.length] ?? 0;
    try {
      for (let index = 0; index < 5; index++) {
        await client.send(type, random(1 + round), { streamId: index % 2 });
      }
    } catch {
      // The session has ended already.
    }
  }
  await others.assertUnharmed();
  assert(server.reasons.every((reason) => /^Cannot|more connections/.test(reason)));
});
