import { assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";
import { joinAnnexB, joinLengthPrefixed } from "../src/codecs/nal.ts";
import { EndedError, InvalidDataError } from "../src/errors.ts";
import { flvTag, TAG_VIDEO } from "../src/formats/flv.ts";
import { audioBody, audioHeader, slice, videoBody, videoHeader } from "./support/frames.ts";
import { audioOf, kept, publishing, videoOf } from "./support/publishing.ts";

Deno.test("DataInput.push() keeps any value on the stream's timeline", () =>
  publishing((publisher) => {
    const chat = publisher.addDataTrack("chat");
    assertStrictEquals(publisher.addDataTrack("chat"), chat);
    const value = { text: "hello" };
    chat.push(1000, value, 5);
    chat.push(2000, null);
    const frames = kept(publisher.stream.dataTracks[0]);
    assertEquals(
      frames.map(({ kind, dts, pts, key }) => [kind, dts, pts, key]),
      [
        ["data", 1000, 1000, true],
        ["data", 2000, 2000, true],
      ].slice(-frames.length),
    );
    assertEquals(publisher.stream.dataTracks[0]?.name, "chat");
    assertStrictEquals(publisher.stream.dataTracks[0]?.ring.at(0)?.value, value);
    assertEquals(publisher.stream.dataTracks[0]?.ring.bytes, 5);
  }));

Deno.test("DataInput.push() moves no other track when its times jump", () =>
  publishing((publisher) => {
    publisher.video.pushByteStream(6000, videoHeader());
    publisher.video.pushByteStream(6000, videoBody(true));
    const data = publisher.addDataTrack("metadata");
    data.push(6_000_000, 1);
    data.push(0, 2);
    publisher.audio.pushByteStream(6000, audioHeader());
    publisher.audio.pushByteStream(6000, audioBody());
    assertEquals(audioOf(publisher)[0]?.dts, 6_000_000);
  }));

Deno.test("Inputs have sinks with the semantics of their calls", () =>
  publishing(async (publisher) => {
    const { stream } = publisher;
    const body = { timestampMs: 0, body: videoHeader() };
    const byteStream = publisher.video.byteStreamSink().getWriter();
    await byteStream.write(body);
    await byteStream.write({ timestampMs: 0, body: videoBody(true) });
    const annexBSink = publisher.video.annexBSink().getWriter();
    await annexBSink.write({ dtsUs: 40_000, ctsUs: 40_000, data: joinAnnexB([slice(false)]) });
    const frames = publisher.video.sink().getWriter();
    await frames.write({ dtsUs: 80_000, data: joinLengthPrefixed([slice(true)]) });
    assertEquals(videoOf(publisher).map(({ pts, key }) => [pts, key]), [
      [0, true],
      [80_000, false],
      [80_000, true],
    ]);
    const audio = publisher.audio.byteStreamSink().getWriter();
    await audio.write({ timestampMs: 0, body: audioHeader() });
    const raw = publisher.audio.sink().getWriter();
    await raw.write({ dtsUs: 20_000, data: Uint8Array.of(1) });
    const data = publisher.addDataTrack("x").sink().getWriter();
    await data.write({ dtsUs: 0, value: 7 });
    assertEquals([audioOf(publisher).length, stream.dataTracks[0]?.newest?.value], [1, 7]);
    for (const writer of [byteStream, annexBSink, frames, audio, raw]) {
      await writer.close();
      assertEquals(publisher.end, undefined);
    }
    await data.close();
    assertEquals(publisher.end?.code, "ended");
    assertEquals(stream.state, "ended");
  }));

Deno.test("A sink ends the publisher when a stream piped into it ends", () =>
  publishing(async (publisher) => {
    const bodies = [videoHeader(), videoBody(true), videoBody(false)];
    await ReadableStream.from(bodies.map((body, index) => ({ timestampMs: index * 40, body })))
      .pipeTo(publisher.video.byteStreamSink());
    assertEquals(publisher.end?.code, "ended");
    assertEquals(publisher.stream.videoTracks[0]?.stats().frames, 2);
  }));

Deno.test("A sink counts as a lost connection when it is aborted, and errors the other sinks", () =>
  publishing(async (publisher) => {
    const other = publisher.audio.sink().getWriter();
    const source = new ReadableStream({
      start: (controller) => controller.error(new Error("socket died")),
    });
    await assertRejects(
      () => source.pipeTo(publisher.video.byteStreamSink()),
      Error,
      "socket died",
    );
    assertEquals(publisher.end, { code: "lost", detail: "socket died" });
    assertEquals(publisher.stream.state, "waiting");
    await assertRejects(() => other.closed, EndedError, "socket died");
  }));

Deno.test("A sink ends the publisher alone, with the error, when it gets bad data", () =>
  publishing(async (publisher) => {
    const other = publisher.audio.sink().getWriter();
    const chunks = [{ timestampMs: 0, body: Uint8Array.of(0x17) }];
    await assertRejects(
      () => ReadableStream.from(chunks).pipeTo(publisher.video.byteStreamSink()),
      InvalidDataError,
    );
    assertEquals(publisher.end?.code, "error");
    assertEquals(publisher.stream.state, "waiting");
    await assertRejects(() => other.closed, EndedError);
  }));

Deno.test("A sink fails with an EndedError when its publisher ends, and cannot be opened after", () =>
  publishing(async (publisher) => {
    const writer = publisher.video.sink().getWriter();
    publisher.close();
    await assertRejects(() => writer.closed, EndedError);
    await assertRejects(() => writer.write({ dtsUs: 0, data: Uint8Array.of(1) }), EndedError);
    assertThrows(() => publisher.video.sink(), EndedError);
    assertThrows(() => publisher.audio, EndedError);
    assertThrows(() => publisher.addDataTrack("x"), EndedError);
    assertEquals(publisher.stream.tracks.length, 1);
  }));

Deno.test("FLV tags that a demuxer gives keep their bytes when they become frames", () =>
  publishing((publisher) => {
    publisher.video.pushByteStream(0, videoHeader());
    const tag = flvTag(TAG_VIDEO, 0, [videoBody(true, 3)]);
    publisher.video.pushByteStream(0, tag.subarray(11, tag.length - 4));
    assertEquals(videoOf(publisher)[0]?.data, joinLengthPrefixed([slice(true, 3)]));
  }));
