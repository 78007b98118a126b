import { assert, assertEquals, assertRejects } from "@std/assert";
import { EndedError, StreamTakenError } from "../src/errors.ts";
import type { MediaFrame } from "../src/frame.ts";
import type { EngineConfig } from "../src/options.ts";
import type { Publisher, PublishOptions } from "../src/publisher.ts";
import type { Stream } from "../src/stream.ts";
import type { Subscriber } from "../src/subscriber.ts";
import { audioBody, audioHeader, short, videoBody, videoHeader } from "./support/frames.ts";
import { pushFrames, pushHeaders, Rig } from "./support/engines.ts";
import { turns, watch } from "./support/reading.ts";

interface Case {
  readonly name: string;
  readonly config?: EngineConfig;
  readonly publish?: Partial<PublishOptions>;
  /** `action → state`, one after the other; a state that is left out is the one before. */
  readonly steps: string;
}

const cases: Case[] = [
  {
    name: "is live from publish to the publisher's end",
    steps: "publish → live; frame; end → ended ended",
  },
  {
    name: "refuses a second publisher",
    steps: "publish → live; refused; frame; pass 1; end → ended ended",
  },
  {
    name: "refuses a second publisher whose guard is slow",
    steps: "publish → live; refused slowly; frame → live",
  },
  {
    name: "goes on with one that takes over",
    steps: "publish → live; frame; takeOver; frame; end → ended ended",
  },
  {
    name: "is not harmed by the old publisher after a takeover",
    steps: "publish → live; takeOver; old end; old lose; frame → live",
  },
  {
    name: "waits for a lost publisher, then ends",
    steps: "publish → live; lose → waiting; pass 4.9; pass 0.2 → ended lost",
  },
  {
    name: "goes on when the lost publisher is back",
    steps:
      "publish → live; frame; lose → waiting; pass 4.9; publish → live; pass 5; frame; end → ended ended",
  },
  {
    name: "waits as long as the publisher says",
    publish: { reconnectTimeout: 30 },
    steps: "publish → live; lose → waiting; pass 29; pass 1.1 → ended lost",
  },
  {
    name: "waits as long as the engine says",
    config: { ReconnectTimeout: 1 },
    steps: "publish → live; lose → waiting; pass 1.1 → ended lost",
  },
  {
    name: "does not wait when the grace is 0",
    config: { ReconnectTimeout: 0 },
    steps: "publish → live; lose → ended lost",
  },
  {
    name: "waits for years when the grace is infinite",
    publish: { reconnectTimeout: Infinity },
    steps: "publish → live; lose → waiting; pass 86400",
  },
  {
    name: "waits for one that failed, too",
    steps: "publish → live; fail → waiting; publish → live; fail → waiting; pass 6 → ended error",
  },
  {
    name: "ends when no frame comes",
    steps:
      "publish → live; pass 59; frame; pass 59; frame; pass 59; pass 2 → ended publish-timeout",
  },
  {
    name: "ends when no first frame comes",
    config: { PublishTimeout: 2 },
    steps: "publish → live; pass 1.9; pass 0.2 → ended publish-timeout",
  },
  {
    name: "ends by the publisher's own timeout",
    publish: { publishTimeout: 5 },
    steps: "publish → live; frame; pass 4; frame; pass 4; pass 2 → ended publish-timeout",
  },
  {
    name: "never ends for want of frames when the timeout is infinite",
    publish: { publishTimeout: Infinity },
    steps: "publish → live; pass 86400",
  },
  {
    name: "counts no time without a publisher for the publish timeout",
    config: { PublishTimeout: 3, ReconnectTimeout: 10 },
    steps: "publish → live; lose → waiting; pass 9; publish → live; pass 2; frame; pass 2",
  },
  {
    name: "never ends idle before a first subscriber",
    config: { AutoCloseDelay: 1 },
    steps: "publish → live; keep 30",
  },
  {
    name: "ends idle after the last subscriber",
    steps: "publish → live; join; join; leave; keep 11; leave; keep 9; keep 1.1 → ended idle",
  },
  {
    name: "stays when a subscriber comes in time",
    steps: "publish → live; join; leave; keep 9; join; keep 30; leave; keep 9; keep 2 → ended idle",
  },
  {
    name: "ends idle at once when the delay is 0",
    config: { AutoCloseDelay: 0 },
    steps: "publish → live; join; leave → ended idle",
  },
  {
    name: "never ends idle when the delay is -1",
    config: { AutoCloseDelay: -1 },
    steps: "publish → live; join; leave; keep 100",
  },
  {
    name: "ends idle by the publisher's own delay",
    publish: { autoCloseDelay: 2 },
    steps: "publish → live; join; leave; keep 1.9; keep 0.2 → ended idle",
  },
  {
    name: "keeps the publisher's own delay while it waits for it",
    config: { AutoCloseDelay: 1, ReconnectTimeout: 60 },
    publish: { autoCloseDelay: -1 },
    steps: "publish → live; join; lose → waiting; leave; pass 30; publish → live",
  },
  {
    name: "ends idle while it waits for its publisher",
    config: { AutoCloseDelay: 1 },
    steps: "publish → live; join; lose → waiting; leave; pass 1.1 → ended idle",
  },
  {
    name: "ends when it is kicked, live or waiting",
    steps: "publish → live; frame; join; kick → ended kicked",
  },
  {
    name: "ends when it is kicked while it waits",
    steps: "publish → live; lose → waiting; kick → ended kicked",
  },
  { name: "ends with the engine", steps: "publish → live; join; close → ended shutdown" },
  {
    name: "ends with the engine while it waits",
    steps: "publish → live; join; lose → waiting; close → ended shutdown",
  },
  {
    name: "ends with the publisher's signal",
    steps: "publish → live; join; abort → ended shutdown",
  },
  {
    name: "ends once when everything happens at once",
    config: { AutoCloseDelay: 0 },
    steps: "publish → live; join; end → ended ended; end; lose; fail; kick; leave; close; pass 100",
  },
];

class World {
  readonly rig: Rig;
  readonly publishers: Publisher[] = [];
  readonly subscribers: Subscriber[] = [];
  readonly frames: MediaFrame[] = [];
  readonly reading: Promise<unknown>[] = [];
  readonly #options: Partial<PublishOptions>;
  readonly #controller = new AbortController();
  #slow = false;
  #raw = 0;
  closes = 0;
  unsubscribes = 0;
  stream: Stream | undefined;

  constructor({ config, publish }: Case) {
    this.rig = new Rig(config);
    this.#options = publish ?? {};
    const { engine } = this.rig;
    engine.addEventListener("close", () => this.closes++);
    engine.addEventListener("unsubscribe", () => this.unsubscribes++);
    engine.addGuard("publish", () => this.#slow ? turns(50) : undefined);
  }

  get publisher(): Publisher {
    const newest = this.publishers.at(-1);
    assert(newest);
    return newest;
  }

  async act(step: string): Promise<void> {
    const [action, argument = ""] = step.split(" ");
    const { engine } = this.rig;
    switch (action) {
      case "publish":
      case "takeOver": {
        const takeOver = action === "takeOver";
        const { signal } = this.#controller;
        const options = { type: "Test", ...this.#options, takeOver, signal };
        const publisher = await engine.publish("live/a", options);
        this.publishers.push(publisher);
        this.stream ??= publisher.stream;
        assertEquals(publisher.stream, this.stream);
        pushHeaders(publisher);
        this.#raw = 0;
        return;
      }
      case "refused": {
        this.#slow = argument === "slowly";
        const error = await assertRejects(
          () => engine.publish("live/a", { type: "Second", id: "two" }),
          StreamTakenError,
        );
        assertEquals([error.path, error.holder.type, error.holder.id], ["live/a", "Test", "local"]);
        assertEquals(error.holder.since, this.publisher.since);
        return;
      }
      case "frame":
        return pushFrames(this.publisher, `V${this.#raw} a${this.#raw++}`);
      case "pass":
        return await this.rig.pass(Number(argument));
      case "keep": {
        const seconds = Number(argument);
        const { state } = this.stream ?? {};
        for (let passed = 0; passed < seconds && state === this.stream?.state; passed += 0.5) {
          pushFrames(this.publisher, `V${this.#raw += 500}`);
          await this.rig.pass(Math.min(0.5, seconds - passed));
        }
        return;
      }
      case "join": {
        const subscriber = await engine.subscribe("live/a", { type: "Test" });
        this.subscribers.push(subscriber);
        const read = async () => {
          for await (const frame of subscriber.play()) {
            if (subscriber === this.subscribers[0]) this.frames.push(frame);
          }
        };
        this.reading.push(read().catch((error) => assert(error instanceof EndedError)));
        return;
      }
      case "leave": {
        const subscriber = this.subscribers.find(({ end }) => end === undefined);
        return subscriber?.close();
      }
      case "end":
        return this.publisher.close();
      case "lose":
        return this.publisher.lose("socket died");
      case "fail":
        return this.publisher.fail(new Error("bad data"));
      case "old": {
        const [old] = this.publishers;
        assertEquals(old?.end?.code, "replaced");
        return argument === "end" ? old?.close() : old?.lose("socket died");
      }
      case "kick":
        return this.stream?.close("kicked by a test", "kicked");
      case "close":
        return engine.close();
      case "abort":
        return this.#controller.abort();
      default:
        throw new Error(`There is no step ${action}`);
    }
  }

  get state(): string {
    const { stream } = this;
    if (stream === undefined) return "none";
    const listed = this.rig.engine.getStream("live/a") === stream;
    assertEquals(listed, stream.state !== "ended");
    return stream.state;
  }
}

for (const scenario of cases) {
  Deno.test(`Stream ${scenario.name}`, async () => {
    const world = new World(scenario);
    await using _rig = world.rig;
    let expected = "none";
    for (const part of scenario.steps.split("; ")) {
      const [step = "", state] = part.split(" → ");
      await world.act(step);
      await turns();
      expected = state ?? expected;
      const [wanted, code] = expected.split(" ");
      assertEquals(world.state, wanted, `after ${part}`);
      const ended = wanted === "ended";
      assertEquals(world.closes, ended ? 1 : 0, "a stream ends once");
      const open = world.subscribers.filter(({ end }) => end === undefined).length;
      assertEquals(world.rig.engine.subscribers.size, open);
      if (!ended) continue;
      assertEquals([open, world.unsubscribes], [0, world.subscribers.length]);
      assertEquals((await world.stream?.closed)?.code, code);
      assert((await world.publisher.closed).detail !== "");
      assert(world.publisher.signal.aborted);
      await Promise.all(world.reading);
    }
    const times = world.frames.filter(({ kind }) => kind === "video").map(({ dts }) => dts);
    assertEquals(times, [...new Set(times)].sort((a, b) => a - b), "dts increases for a viewer");
    await world.rig.engine.close();
    await Promise.all(world.reading);
  });
}

Deno.test("Stream keeps its subscribers, on a growing timeline, when its publisher comes back", async () => {
  await using rig = new Rig();
  const first = await rig.engine.publish("live/a", { type: "Test" });
  pushHeaders(first, 5000);
  const subscriber = await rig.engine.subscribe("live/a", { type: "Test" });
  const got: string[] = [];
  const playing = subscriber.play({
    onVideo: (frame) => got.push(short(frame)),
    onAudio: (frame) => got.push(short(frame)),
  });
  pushFrames(first, "V5000 a5000 v5040 a5020");
  await turns();
  first.lose("socket died");
  await rig.pass(4);
  const second = await rig.engine.publish("live/a", { type: "Test" });
  pushHeaders(second);
  pushFrames(second, "v100 a100 V140 a140 v180");
  await turns();
  const third = await rig.engine.publish("live/a", { type: "Test", takeOver: true });
  pushHeaders(third, 90_000);
  pushFrames(third, "V90000 a90000");
  await turns();
  assertEquals(got, [
    "V5000",
    "a5000",
    "a5020",
    "v5040",
    // The delta frame before the new publisher's first key is discarded.
    "a5061",
    "V5101",
    "a5101",
    "v5141",
    "V5181",
    "a5181",
  ]);
  assertEquals(subscriber.end, undefined);
  third.close();
  await playing;
  assertEquals(subscriber.end?.code, "ended");
});

interface Wait {
  readonly name: string;
  readonly config?: EngineConfig;
  readonly codecs?: readonly string[];
  /** What the publisher does, by the time in ms at which it does. */
  readonly script: Readonly<Record<number, "video" | "audio" | "complete" | "end" | "data">>;
  /** When the waits for video and audio settle, in ms, and with what. */
  readonly video: [number, string];
  readonly audio: [number, string];
}

const waits: Wait[] = [
  {
    name: "both tracks at once",
    script: { 0: "video", 100: "audio" },
    video: [0, "avc1"],
    audio: [100, "mp4a"],
  },
  {
    name: "no audio when the publisher says its tracks are complete",
    script: { 0: "video", 50: "complete" },
    video: [0, "avc1"],
    audio: [50, "none"],
  },
  {
    name: "no audio half a second after video",
    script: { 200: "video" },
    video: [200, "avc1"],
    audio: [700, "none"],
  },
  {
    name: "no video half a second after audio",
    script: { 0: "audio" },
    video: [500, "none"],
    audio: [0, "mp4a"],
  },
  {
    name: "no audio at once when the engine takes none",
    config: { EnableAudio: false },
    script: { 100: "video" },
    video: [100, "avc1"],
    audio: [0, "none"],
  },
  {
    name: "no video at once when the engine takes none",
    config: { EnableVideo: false },
    script: { 100: "audio" },
    video: [0, "none"],
    audio: [100, "mp4a"],
  },
  {
    name: "the error when the stream ends first",
    script: { 100: "end" },
    video: [100, "EndedError"],
    audio: [100, "EndedError"],
  },
  {
    name: "a track by its FourCC",
    codecs: ["hvc1", "avc1"],
    script: { 0: "video" },
    video: [0, "avc1"],
    audio: [500, "none"],
  },
  {
    name: "a track by its codec string",
    codecs: ["mp4a.40.2"],
    script: { 0: "audio", 10: "complete" },
    video: [10, "none"],
    audio: [0, "mp4a"],
  },
  {
    name: "nothing in another codec when nobody transcodes",
    codecs: ["av01"],
    script: { 0: "video", 100: "audio" },
    video: [100, "none"],
    audio: [100, "none"],
  },
  {
    name: "no media half a second after nothing but data, as there may still be some",
    script: { 0: "data", 900: "complete" },
    video: [900, "none"],
    audio: [900, "none"],
  },
];

for (const { name, config, codecs = [], script, video, audio } of waits) {
  Deno.test(`Subscriber.waitVideoTrack() and waitAudioTrack() give ${name}`, async () => {
    await using rig = new Rig(config);
    const publisher = await rig.engine.publish("live/a", { type: "Test" });
    const subscriber = await rig.engine.subscribe("live/a", { type: "Test" });
    const outcomes = {
      video: watch(subscriber.waitVideoTrack(...codecs)),
      audio: watch(subscriber.waitAudioTrack(...codecs)),
    };
    const settled: Partial<Record<"video" | "audio", [number, string]>> = {};
    for (let ms = 0; ms <= 1000; ms += 10) {
      const act = script[ms];
      if (act === "video") publisher.video.pushByteStream(0, videoHeader());
      if (act === "audio") publisher.audio.pushByteStream(0, audioHeader());
      if (act === "data") publisher.addDataTrack("chat").push(0, "hello");
      if (act === "complete") publisher.completeTracks();
      if (act === "end") publisher.close();
      await turns();
      for (const kind of ["video", "audio"] as const) {
        const { state, value, error } = outcomes[kind]();
        if (state === "pending") continue;
        settled[kind] ??= [
          ms,
          error instanceof Error ? error.name : value?.config?.fourcc ?? "none",
        ];
      }
      rig.time.tick(10);
    }
    assertEquals(settled, { video, audio });
  });
}

Deno.test("Subscriber.waitVideoTrack() waits for a transcoder when a listener promises one", async () => {
  await using rig = new Rig({ OnDemandPublishTimeout: 3 });
  const publisher = await rig.engine.publish("live/a", { type: "Test" });
  pushHeaders(publisher);
  const requests: unknown[] = [];
  rig.engine.addEventListener("transcode", (event) => {
    requests.push([event.detail.kind, event.detail.codecs]);
    event.preventDefault();
  });
  const subscriber = await rig.engine.subscribe("live/a", { type: "Test" });
  const found = watch(subscriber.waitVideoTrack("vp08"));
  const never = watch(subscriber.waitAudioTrack("Opus"));
  await rig.pass(1);
  assertEquals([found().state, never().state], ["pending", "pending"]);
  publisher.addVideoTrack("transcoded").configure({ kind: "video", fourcc: "vp08", codec: "vp08" });
  await turns();
  assertEquals(found().value?.name, "transcoded");
  await rig.pass(2.1);
  assertEquals(never(), { state: "fulfilled", value: undefined });
  assertEquals(requests, [["video", ["vp08"]], ["audio", ["Opus"]]]);
});

Deno.test("Subscriber.mux() waits for the second track, and half a second at most", async () => {
  await using rig = new Rig();
  const publisher = await rig.engine.publish("live/a", { type: "Test" });
  const subscriber = await rig.engine.subscribe("live/a", { type: "Test" });
  const format = () => ({
    header: ({ video, audio }: { video: unknown; audio: unknown }) =>
      Uint8Array.of(video ? 1 : 0, audio ? 1 : 0),
    write: () => Uint8Array.of(9),
  });
  const muxing = watch(subscriber.mux(format));
  publisher.video.pushByteStream(0, videoHeader());
  publisher.video.pushByteStream(0, videoBody(true));
  await rig.pass(0.4);
  assertEquals(muxing().state, "pending");
  await rig.pass(0.2);
  const first = await muxing().value?.getReader().read();
  assertEquals(first?.value, Uint8Array.of(1, 0, 9));
});

Deno.test("Stream ends with its waiters when a listener closes it while a track comes", async () => {
  await using rig = new Rig();
  rig.engine.addEventListener("track", ({ detail }) => detail.stream.close());
  const publisher = await rig.engine.publish("live/a", { type: "Test" });
  const subscriber = await rig.engine.subscribe("live/a", { type: "Test" });
  const waiting = watch(subscriber.waitAudioTrack());
  publisher.video.pushByteStream(0, videoHeader());
  await turns();
  assert(waiting().error instanceof EndedError);
  assertEquals(publisher.end?.code, "ended");
});

Deno.test("Stream.closed settles once, and its tracks end, when the stream ends during a write", async () => {
  await using rig = new Rig();
  const publisher = await rig.engine.publish("live/a", { type: "Test" });
  pushHeaders(publisher);
  const subscriber = await rig.engine.subscribe("live/a", { type: "Test" });
  const got: string[] = [];
  const playing = subscriber.play({
    onVideo(frame) {
      got.push(short(frame));
      if (frame.key) publisher.stream.close("seen enough");
    },
  });
  pushFrames(publisher, "V0 v40");
  await playing;
  assertEquals(got, ["V0", "v40"]);
  assertEquals((await publisher.stream.closed).detail, "seen enough");
});

Deno.test("Stream takes the delay of a publisher that comes while nobody watches", async () => {
  for (const [autoCloseDelay, endsAfter] of [[2, 2], [-1, Infinity], [0, 9]] as const) {
    await using rig = new Rig();
    const first = await rig.engine.publish("live/a", { type: "Test" });
    (await rig.engine.subscribe("live/a", { type: "Test" })).close();
    await rig.pass(1);
    const options = { type: "Test", takeOver: true, autoCloseDelay };
    const second = await rig.engine.publish("live/a", options);
    let seconds = 0;
    while (second.end === undefined && seconds < 30) {
      await rig.pass(1);
      seconds++;
    }
    assertEquals(seconds, Math.min(endsAfter, 30));
    assertEquals(first.stream, second.stream);
  }
});

Deno.test("Stream discards frames with one line a second, and counts the others", async () => {
  await using rig = new Rig();
  const publisher = await rig.engine.publish("live/a", { type: "Test" });
  for (let count = 0; count < 50; count++) publisher.audio.pushByteStream(0, audioBody());
  await rig.pass(1.1);
  const warnings = rig.lines.filter((line) => line.startsWith("warn"));
  assertEquals(warnings, [
    "warn live/a: discarded a frame of audio before a decoder configuration",
    "warn live/a: 49 more frames discarded",
  ]);
});
