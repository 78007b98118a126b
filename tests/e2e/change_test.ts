import { assert, assertEquals, assertNotEquals } from "@std/assert";
import {
  type ClipOptions,
  makeClip,
  play,
  type PlayedPacket,
  type Player,
  publish,
} from "../support/ffmpeg.ts";
import { PROTOCOLS, startServer } from "../support/server.ts";
import { decode } from "./decode.ts";
import {
  assertRising,
  assertToEnd,
  Audience,
  publishAndStay,
  standing,
  streamOf,
  takeTo,
} from "./viewing.ts";

const PATH = "live/a";

const decodable: readonly { readonly name: string; readonly clip: ClipOptions }[] = [
  { name: "H.264 with B-frames and AAC", clip: { bFrames: 2 } },
  { name: "H.265 and Opus", clip: { video: "hevc", audio: "opus" } },
];

for (const { name, clip: options } of decodable) {
  Deno.test(`FFmpeg decodes ${name} from the first packet that it gets`, async () => {
    const clip = await makeClip(options);
    await using server = await startServer();
    await using publisher = publish(server.url("rtmp", PATH), clip, { speed: 4, loops: Infinity });
    await publisher.started;
    for (const protocol of PROTOCOLS) {
      await using player = await play(server.url(protocol, PATH));
      const received = await player.take({ videoPackets: 30 });
      const video = received.filter(({ kind }) => kind === "video");
      assertEquals(await decode(video), video.map(() => "160x120"));
      const audio = received.filter(({ kind }) => kind === "audio");
      assert((await decode(audio)).length >= audio.length - 1);
    }
  });
}

/** A sound of which no packet is one of the tone's: what comes back is told from what was before. */
const NOISE = "anoisesrc=amplitude=0.2:seed=7";

const changes: readonly {
  readonly name: string;
  readonly from: ClipOptions;
  readonly to: ClipOptions;
}[] = [
  { name: "size", from: {}, to: { width: 320, height: 180, audioSource: NOISE } },
  {
    name: "video codec",
    from: {},
    to: { video: "hevc", width: 320, height: 180, audioSource: NOISE },
  },
  { name: "audio codec and rate", from: {}, to: { audio: "opus", channels: 2, bFrames: 1 } },
  { name: "AAC rate", from: {}, to: { sampleRate: 44_100, channels: 2, videoSource: "testsrc" } },
];

for (const { name, from, to } of changes) {
  Deno.test(`Viewers follow a publisher who comes back with another ${name}`, async () => {
    const [first, second] = await Promise.all([makeClip(from), makeClip(to)]);
    await using server = await startServer();
    const url = server.url("rtmp", PATH);
    const begun = PROTOCOLS.map(() => Promise.withResolvers<void>());
    await using audience = new Audience();
    const watch = (index: number) => async (player: Player) => {
      const before = await player.take({ videoPackets: 12 });
      begun[index]?.resolve();
      const rest: PlayedPacket[] = [];
      const after = await takeTo({
        read: async () => {
          const packet = await player.read();
          if (packet) rest.push(packet);
          return packet;
        },
      }, standing(second));
      return { all: [...before, ...rest].filter(({ kind }) => kind !== "data"), after };
    };
    const viewers = PROTOCOLS.map((by, index) =>
      audience.watch(server.url(by, PATH), watch(index))
    );
    await using killed = publish(url, first, { speed: 2, loops: Infinity });
    const stream = await streamOf(server, PATH);
    const holder = stream.publisher;
    await Promise.race([Promise.all(begun.map(({ promise }) => promise)), Promise.all(viewers)]);
    await killed.kill();
    await holder?.closed;
    await using _back = publishAndStay(url, second, { speed: 4 });
    for (const { all, after } of await Promise.all(viewers)) {
      assertRising(all);
      assertToEnd(standing(second), after);
      for (const kind of ["video", "audio"] as const) {
        const packets = all.filter((packet) => packet.kind === kind);
        const old = packets.filter((packet) => !after.includes(packet));
        const [next, last] = [packets[old.length], packets[0]];
        const check = isSameConfig(kind, from, to) ? assertEquals : assertNotEquals;
        // FFmpeg leaves the configuration of AAC in place where it sees the one of Opus.
        if (next?.codec !== "opus") check(next?.extradata, last?.extradata, `config of ${kind}`);
        const decoded = await decode(packets);
        if (kind === "audio") {
          assert(decoded.length >= packets.length - 2);
        } else {
          const { width = 160, height = 120 } = to;
          const sizes = [
            ...old.map(() => "160x120"),
            ...packets.slice(old.length).map(() => `${width}x${height}`),
          ];
          assertEquals(decoded, sizes);
        }
      }
    }
  });
}

/** Whether two clips have the same decoder configuration, for what is changed here. */
function isSameConfig(kind: "video" | "audio", a: ClipOptions, b: ClipOptions): boolean {
  if (a[kind] !== b[kind]) return false;
  return kind === "video"
    ? a.width === b.width && a.bFrames === b.bFrames
    : a.sampleRate === b.sampleRate && a.channels === b.channels;
}
