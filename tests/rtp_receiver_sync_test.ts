/** Tracks of one sender on one clock: sender reports, RTP-Info, and what came together. */

import { assert, assertEquals } from "@std/assert";
import { parseRtp } from "../src/rtp/packet.ts";
import { readRtpFixture } from "./support/rtp_fixtures.ts";
import { formatIn, Receiving } from "./support/rtp_receiving.ts";
import { markOf, PCMU, Source, SPROP } from "./support/rtp_source.ts";

/** A camera's two tracks: pictures come 130 ms later than the sound of the same moment. */
async function playCamera(receiving: Receiving, told: (media: Media) => void): Promise<void> {
  const video = new Source(7);
  const audio = new Source(8, 0);
  const ticks = (ms: number) => ({ video: 4_294_900_000 + ms * 90, audio: 1_000_000 + ms * 8 });
  const events: [number, () => void][] = [];
  for (let ms = 0; ms < 8000; ms += 40) {
    const mark = (ms / 40) & 0x7f;
    const at = ticks(ms);
    const picture = video.picture(at.video, mark, ms % 1000 === 0);
    events.push([ms + 150, () => receiving.push(picture, 0, 1150 + ms)]);
    const sound = audio.packet(at.audio, new Uint8Array(160).fill(mark));
    events.push([ms + 20, () => receiving.push(sound, 1, 1020 + ms)]);
    events.push([ms + 160, () => told({ ms, video, audio, ticks })]);
  }
  for (const [, run] of events.sort(([a], [b]) => a - b)) run();
  await Promise.resolve();
}

interface Media {
  readonly ms: number;
  readonly video: Source;
  readonly audio: Source;
  ticks(ms: number): { video: number; audio: number };
}

/** How much later pictures are than the sound of the same moment, in ms, from first to last. */
function offsets(receiving: Receiving): number[] {
  const audio = receiving.frames("audio");
  let from = 0;
  return receiving.frames("video").flatMap((frame) => {
    const mark = markOf(frame);
    const at = audio.findIndex(({ data }, index) => index >= from && data[0] === mark);
    if (at < 0) return [];
    from = at;
    return [(frame.pts - (audio[at]?.pts ?? 0)) / 1000];
  });
}

Deno.test("RtpReceiver.pushRtcp() lays tracks on each other as sender reports say", async () => {
  const wallUs = Date.UTC(2026, 1, 1) * 1000;
  await using receiving = await Receiving.start({ tracks: [[SPROP], [PCMU]] });
  await playCamera(receiving, ({ ms, video, audio, ticks }) => {
    if (ms < 2000 || ms % 1000 !== 0) return;
    const at = ticks(ms);
    // A report of who is not the sender means nothing.
    receiving.receiver.pushRtcp(0, new Source(99).report(at.video, wallUs + 77_000_000));
    receiving.receiver.pushRtcp(0, video.report(at.video, wallUs + ms * 1000));
    receiving.push(audio.report(at.audio, wallUs + ms * 1000), 1);
  });
  const found = offsets(receiving);
  assertEquals(found.length, 200);
  assert(found.slice(0, 40).every((ms) => ms > 100), `${found.slice(0, 3)}`);
  assert(found.slice(60).every((ms) => Math.abs(ms) <= 1), `${found.slice(60, 63)}`);
});

for (const lateMs of [-3000, 3000]) {
  Deno.test(`RtpReceiver.pushRtcp() lays tracks on each other when they are ${lateMs} ms apart`, async () => {
    const wallUs = Date.UTC(2026, 1, 1) * 1000;
    await using receiving = await Receiving.start({ tracks: [[SPROP], [PCMU]] });
    await playCamera(receiving, ({ ms, video, audio, ticks }) => {
      if (ms < 2000 || ms % 1000 !== 0) return;
      const at = ticks(ms);
      receiving.receiver.pushRtcp(0, video.report(at.video, wallUs + (ms + lateMs) * 1000));
      receiving.receiver.pushRtcp(1, audio.report(at.audio, wallUs + ms * 1000));
    });
    const found = offsets(receiving);
    assertEquals(found.length, 200);
    const settled = found.slice(60);
    assert(settled.every((ms) => Math.abs(ms - lateMs) <= 1), `${settled.slice(0, 3)}`);
    // Whatever is moved goes on without a jump from there.
    for (const kind of ["video", "audio"]) {
      const steps = receiving.frames(kind).slice(1)
        .map(({ dts }, index) => (dts - (receiving.frames(kind)[index]?.dts ?? 0)) / 1000);
      const leaps = steps.filter((ms) => Math.abs(ms - 40) > 1);
      assert(leaps.length <= 1 && leaps.every((ms) => ms > 40), `${kind}: ${leaps}`);
    }
  });
}

for (const name of ["gstreamer_h264", "gstreamer_h265"]) {
  Deno.test(`RtpReceiver.push() shows the start of ${name} with the sound that comes with it`, async () => {
    const fixture = readRtpFixture(name);
    await using receiving = await Receiving.start({ tracks: [[formatIn(fixture)], [PCMU]] });
    const audio = new Source(8, 0);
    for (const [index, packet] of fixture.packets.entries()) {
      receiving.push(packet, 0, 1000 + index);
      if (parseRtp(packet).marker && receiving.frames("audio").length === 0) {
        receiving.push(audio.packet(5000, new Uint8Array(320)), 1);
      }
    }
    const [picture] = receiving.frames("video");
    const [sound] = receiving.frames("audio");
    assertEquals(picture?.pts, sound?.pts);
    // It has B-frames: it is decoded before.
    assertEquals((picture?.pts ?? 0) - (picture?.dts ?? 0), 80_000);
  });
}

Deno.test("RtpReceiver.anchor() lays tracks on each other as RTP-Info says", async () => {
  await using receiving = await Receiving.start({ tracks: [[SPROP], [PCMU]] });
  receiving.receiver.anchor(0, 4_294_900_000);
  receiving.receiver.anchor(1, 1_000_000);
  await playCamera(receiving, () => {});
  const found = offsets(receiving);
  assertEquals(found.length, 200);
  assert(found.slice(10).every((ms) => Math.abs(ms) <= 1), `${found.slice(0, 12)}`);
});
