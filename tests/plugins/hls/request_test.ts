/** Addresses and directives, and the options of the plugin. */

import { assertEquals, assertThrows } from "@std/assert";
import type { HlsQuestion } from "../../../plugins/hls/answer.ts";
import { hlsSchema } from "../../../plugins/hls/options.ts";
import { parseDirectives, reloadOutcome } from "../../../plugins/hls/reload.ts";
import { questionOf } from "../../../plugins/hls/request.ts";
import { stream, Studio } from "./segments.ts";

const HOST = "http://127.0.0.1:8080";
const NONE = { segment: undefined, part: undefined, delta: false };

Deno.test("questionOf() tells what an address asks for", () => {
  const table: [url: string, target: string, subject: HlsQuestion["subject"]][] = [
    ["/a.m3u8", "a", { kind: "multivariant", format: "ts", uri: "a/~/ts.m3u8" }],
    ["/live/a.m3u8?format=fmp4&x=%22", "live/a?format=fmp4&x=%22", {
      kind: "multivariant",
      format: "fmp4",
      uri: "a/~/fmp4.m3u8?x=%22",
    }],
    ["/live/b%20c:d.m3u8", "live/b c:d", {
      kind: "multivariant",
      format: "ts",
      uri: "b%20c%3Ad/~/ts.m3u8",
    }],
    ["/live/a/~/fmp4.m3u8?t=1&_HLS_msn=4&_HLS_part=2&_HLS_skip=v2", "live/a?t=1", {
      kind: "media",
      format: "fmp4",
      directives: { segment: 4, part: 2, delta: true },
    }],
    ["/a/~/b/~/ts.m3u8", "a/~/b", { kind: "media", format: "ts", directives: NONE }],
    ["/live/a/~/e-s1.m4s", "live/a", { kind: "file", name: "e-s1.m4s" }],
    ["//live//a.m3u8", "live/a", { kind: "multivariant", format: "ts", uri: "a/~/ts.m3u8" }],
  ];
  for (const [url, target, subject] of table) {
    const [path = ""] = target.split("?");
    assertEquals(questionOf(HOST + url, "me", "ts"), { path, target, remote: "me", subject }, url);
  }
});

Deno.test("questionOf() refuses addresses of no stream", () => {
  const bad = ["/a%2Fb.m3u8", "/a%5cb.m3u8", "/%00.m3u8", "/%e0.m3u8", "/a%3Fb.m3u8", "/~/a.m3u8"];
  for (const url of bad) assertThrows(() => questionOf(HOST + url, "me", "ts"), TypeError);
});

Deno.test("parseDirectives() takes what is well-formed, and nothing else", () => {
  const good: [string, ReturnType<typeof parseDirectives>][] = [
    ["", NONE],
    ["_HLS_msn=0", { ...NONE, segment: 0 }],
    ["_HLS_msn=7&_HLS_part=0", { ...NONE, segment: 7, part: 0 }],
    ["_HLS_skip=YES&_HLS_other=1", { ...NONE, delta: true }],
  ];
  for (const [query, expected] of good) {
    assertEquals(parseDirectives(new URLSearchParams(query)), expected, query);
  }
  const bad = ["_HLS_part=0", "_HLS_msn=", "_HLS_msn=0x1", "_HLS_msn= 1", "_HLS_skip=yes"];
  for (const query of bad) {
    assertThrows(() => parseDirectives(new URLSearchParams(query)), TypeError);
  }
});

Deno.test("reloadOutcome() waits for what is to come next, and for no more", () => {
  const studio = new Studio();
  studio.push(...stream({ toMs: 5000 }));
  const state = studio.window.state();
  // 100 and 101 are complete with 10 parts each, 102 has 4.
  const table: [segment: number | undefined, part: number | undefined, outcome: string][] = [
    [undefined, undefined, "ready"],
    [99, 50, "ready"],
    [101, undefined, "ready"],
    [102, undefined, "wait"],
    [103, undefined, "wait"],
    [104, undefined, "too-far"],
    [101, 9, "ready"],
    [101, 10, "ready"],
    [102, 3, "ready"],
    [102, 4, "wait"],
    [102, 16, "wait"],
    [102, 17, "too-far"],
    [103, 0, "wait"],
    [103, 12, "wait"],
    [103, 13, "too-far"],
  ];
  for (const [segment, part, outcome] of table) {
    const found = state && reloadOutcome(state, { segment, part, delta: false });
    assertEquals(found, outcome, `${segment} ${part}`);
  }
  studio.finish();
  const ended = studio.window.state();
  const far = { segment: 900, part: 1, delta: false };
  assertEquals(ended && reloadOutcome(ended, far), "ready");
});

Deno.test("reloadOutcome() takes a part behind the last one for the first of the next segment", () => {
  const studio = new Studio();
  // Audio has come as far as the keyframe, and no more.
  studio.push(...stream({ toMs: 4020 }));
  const state = studio.window.state();
  assertEquals(studio.playlist.open, undefined);
  const outcome = (segment: number, part: number) =>
    state && reloadOutcome(state, { segment, part, delta: false });
  assertEquals([outcome(101, 9), outcome(101, 10), outcome(100, 10)], ["ready", "wait", "ready"]);
});

Deno.test("the options have defaults and refuse what makes no sense", () => {
  assertEquals(hlsSchema.parse({}), {
    SegmentDuration: 2,
    TargetDuration: 0,
    PartDuration: 200,
    Segments: 7,
    Format: "fmp4",
    LowLatency: true,
    Always: false,
    IdleTimeout: 30,
  });
  const bad = [
    { SegmentDuration: 0.1 },
    { SegmentDuration: 6, TargetDuration: 4 },
    { Segments: 2 },
    { Format: "mkv" },
    { PartDuration: 10 },
    { Unknown: 1 },
  ];
  for (const options of bad) assertEquals(hlsSchema.safeParse(options).success, false);
});
