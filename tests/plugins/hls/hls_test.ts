/** The hls plugin as players see it. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { concat } from "../../../src/bytes.ts";
import { RefusedError } from "../../../src/errors.ts";
import { h264 } from "../../support/frames.ts";
import { checkPlaylist, readMultivariant } from "../../support/hls.ts";
import { delay, eventually } from "../../support/http.ts";
import { readFragments } from "../../support/mp4.ts";
import { walkTs } from "../../support/ts_walker.ts";
import { stream } from "./segments.ts";
import {
  PlaylistReaderClient as Client,
  publishStream,
  pushFrames,
  startHls,
  statusOf,
} from "./server.ts";

async function errorOf(response: Response): Promise<string> {
  return (await response.json()).error;
}

Deno.test("GET /{path}.m3u8 describes the stream and leads to its media playlist", async () => {
  await using server = await startHls();
  await publishStream(server, "live/a", { toMs: 5000 });
  const url = `${server.url}/live/a.m3u8?token=x%20y&_HLS_msn=1&b=2`;
  const response = await fetch(url);
  assertEquals(response.headers.get("Content-Type"), "application/vnd.apple.mpegurl");
  assertEquals(response.headers.get("Cache-Control"), "max-age=1");
  const { attributes, uri } = readMultivariant(await response.text());
  assertEquals(attributes.get("CODECS"), "avc1.42C01E,mp4a.40.2".replace("42C01E", "42c01e"));
  assertEquals(attributes.get("RESOLUTION"), "320x240");
  assertEquals(attributes.get("FRAME-RATE"), "25.000");
  assertEquals(uri, "a/~/fmp4.m3u8?token=x%20y&b=2");
  const client = new Client(new URL(uri, url).href);
  const playlist = await client.load();
  assertEquals(playlist.segments.map(({ duration }) => duration), [2, 2]);
  const [peak, sizes] = [Number(attributes.get("BANDWIDTH")), []] as [number, number[]];
  for (const { uri = "", duration = 0, parts } of playlist.segments) {
    const bytes = await client.file(uri);
    sizes.push(bytes.length * 8 / duration);
    const joined = concat(await Promise.all(parts.map((part) => client.file(part.uri))));
    assertEquals(joined, bytes);
    assertEquals(readFragments(bytes).length, parts.length);
  }
  assert(Math.abs(peak - Math.max(...sizes)) < 1.5, `${peak} is not ${sizes}`);
  const init = await client.file(playlist.segments[0]?.map ?? "");
  assertEquals(new TextDecoder().decode(init.subarray(4, 8)), "ftyp");
});

Deno.test("GET /{path}.m3u8?format=ts leads to segments of MPEG-TS without parts", async () => {
  await using server = await startHls();
  await publishStream(server, "live/a", { toMs: 5000, asked: "ts" });
  const url = `${server.url}/live/a.m3u8?format=ts&token=x`;
  const { uri } = readMultivariant(await (await fetch(url)).text());
  assertEquals(uri, "a/~/ts.m3u8?token=x");
  const client = new Client(new URL(uri, url).href);
  const { segments, partTarget, version } = await client.load();
  assertEquals([partTarget, version, segments.length], [undefined, 3, 2]);
  for (const { uri = "" } of segments) walkTs(await client.file(uri));
  // One subscriber a format, with all players together.
  assertEquals(server.engine.getStream("live/a")?.subscribers.size, 1);
});

Deno.test("Format says what GET /{path}.m3u8 leads to where it names none", async () => {
  await using server = await startHls({ hls: { Format: "ts" } });
  const publisher = await publishStream(server, "live/a", { toMs: 5000, asked: "ts" });
  const table: [query: string, uri: string][] = [
    ["", "a/~/ts.m3u8"],
    ["?token=x", "a/~/ts.m3u8?token=x"],
    ["?format=ts", "a/~/ts.m3u8"],
  ];
  for (const [query, expected] of table) {
    const url = `${server.url}/live/a.m3u8${query}`;
    const response = await fetch(url);
    const { uri, attributes } = readMultivariant(await response.text());
    assertEquals([uri, attributes.get("CODECS")], [expected, "avc1.42c01e,mp4a.40.2"]);
    const { segments, partTarget, hint } = await new Client(new URL(uri, url).href).load();
    assertEquals([segments.length, partTarget, hint], [2, undefined, undefined]);
    for (const { uri = "", map } of segments) {
      assertEquals([map, uri.endsWith(".ts")], [undefined, true]);
      const file = await fetch(new URL(uri, `${server.url}/live/a/~/`));
      assertEquals(file.headers.get("Content-Type"), "video/mp2t");
      assertEquals(walkTs(await file.bytes()).order.slice(0, 2), ["pmt", "video key"]);
    }
  }
  // No segment of fragmented MP4 is made unless somebody asks for it.
  assertEquals(server.engine.getStream("live/a")?.subscribers.size, 1);
  const fmp4 = fetch(`${server.url}/live/a.m3u8?format=fmp4`);
  const { uri } = readMultivariant(await (await fmp4).text());
  assertEquals(uri, "a/~/fmp4.m3u8");
  assertEquals(server.engine.getStream("live/a")?.subscribers.size, 2);
  publisher.close();
});

Deno.test("segments of many streams stay in memory for as long as they may be asked for, and no longer", async () => {
  await using server = await startHls({ hls: { Always: true } });
  const paths = Array.from({ length: 20 }, (_, index) => `live/${index}`);
  const publishers = [];
  for (const path of paths) {
    publishers.push(await publishStream(server, path, { toMs: 100, asked: "none" }));
  }
  await eventually("all are read", () => server.engine.subscribers.size === paths.length);
  const names = paths.map(() => new Set<string>());
  for (let fromMs = 0; fromMs < 60_000; fromMs += 6000) {
    for (const [index, publisher] of publishers.entries()) {
      const shape = { fromMs: fromMs || 120, toMs: fromMs + 6000, gopMs: 2000, audio: false };
      await pushFrames(publisher, stream(shape));
      if (fromMs === 0) continue;
      const { segments } = await new Client(`${server.url}/${paths[index]}/~/fmp4.m3u8`).load();
      for (const { uri = "" } of segments) names[index]?.add(uri);
    }
  }
  for (const [index, path] of paths.entries()) {
    let there = 0;
    for (const name of names[index] ?? []) {
      const status = await statusOf(`${server.url}/${path}/~/${name}`, { method: "HEAD" });
      if (status === 200) there++;
    }
    // 14 s are listed, and what has left the list stays for 18 s.
    assertEquals([(names[index]?.size ?? 0) > 24, there], [true, 16], path);
  }
});

Deno.test("GET /{path}/~/fmp4.m3u8 blocks until the part or segment is there", async () => {
  await using server = await startHls();
  const publisher = await publishStream(server, "live/a", { toMs: 4000 });
  const client = new Client(`${server.url}/live/a/~/fmp4.m3u8`);
  // The last keyframe ends a segment once its end is known, which the next frame tells.
  await pushFrames(publisher, stream({ fromMs: 4000, toMs: 4250 }));
  const { segments, open, hint = "" } = await client.load();
  const last = segments.at(-1)?.number ?? 0;
  assertEquals([segments.length, open?.parts.length], [2, 1]);
  const settled: string[] = [];
  const blocked = [
    ["part", `?_HLS_msn=${last + 1}&_HLS_part=1`],
    ["segment", `?_HLS_msn=${last + 1}`],
    ["next", `?_HLS_msn=${last + 1}&_HLS_part=13`],
  ].map(async ([name = "", query]) => {
    const playlist = await new Client(client.url).load(query);
    settled.push(name);
    return playlist;
  });
  const hinted = client.file(hint).then((bytes) => {
    settled.push("hint");
    return bytes;
  });
  await delay(50);
  assertEquals(settled, []);
  await pushFrames(publisher, stream({ fromMs: 4280, toMs: 4450, gopMs: 9000 }));
  const part = await blocked[0];
  const bytes = await hinted;
  assertEquals(part?.open?.parts.at(-1)?.uri, hint);
  assertEquals(readFragments(bytes).length, 1);
  assertEquals(settled.toSorted(), ["hint", "part"]);
  await pushFrames(publisher, stream({ fromMs: 4480, toMs: 6800 }));
  const whole = await blocked[1];
  assertEquals(whole?.segments.at(-1)?.number, last + 1);
  // A part behind the last one is the first of the next segment.
  const next = await blocked[2];
  assert((whole?.segments.at(-1)?.parts.length ?? 0) <= 13);
  assertEquals([next?.open?.number, next?.open?.parts.length], [last + 2, 1]);
});

Deno.test("GET /{path}/~/fmp4.m3u8 answers at once what is there, or malformed, or too far", async () => {
  await using server = await startHls();
  await publishStream(server, "live/a", { toMs: 5300 });
  const client = new Client(`${server.url}/live/a/~/fmp4.m3u8`);
  const { segments, open } = await client.load();
  const last = segments.at(-1)?.number ?? 0;
  assertEquals(open?.number, last + 1);
  const listed = open?.parts.length ?? 0;
  const table: [query: string, status: number][] = [
    [`?_HLS_msn=${last}`, 200],
    ["?_HLS_msn=0", 200],
    ["?_HLS_msn=0&_HLS_part=7", 200],
    [`?_HLS_msn=${last}&_HLS_part=9`, 200],
    [`?_HLS_msn=${last}&_HLS_part=10`, 200],
    [`?_HLS_msn=${last + 1}&_HLS_part=${listed - 1}`, 200],
    [`?_HLS_msn=${last + 3}`, 400],
    [`?_HLS_msn=${last + 1}&_HLS_part=${listed + 13}`, 400],
    ["?_HLS_part=1", 400],
    ["?_HLS_msn=-1", 400],
    ["?_HLS_msn=1.5", 400],
    ["?_HLS_msn=", 400],
    ["?_HLS_msn=1e3", 400],
    ["?_HLS_msn=99999999999999999999", 400],
    ["?_HLS_msn=1&_HLS_msn=2", 400],
    ["?_HLS_msn=1&_HLS_part=x", 400],
    ["?_HLS_skip=NO", 400],
    ["?_HLS_skip=YES", 200],
    ["?_HLS_skip=v2", 200],
    ["?_HLS_push=1", 200],
  ];
  for (const [query, status] of table) {
    const response = await fetch(client.url + query);
    await response.body?.cancel();
    assertEquals(response.status, status, query);
    // What is asked for by number stays good for as long as its parts can be had.
    const good = query.includes("_HLS_msn") ? "max-age=30" : "max-age=1";
    const expected = status === 200 ? good : "no-store";
    assertEquals(response.headers.get("Cache-Control"), expected, query);
  }
});

Deno.test("GET /{path}/~/fmp4.m3u8 answers any directives without harm", async () => {
  await using server = await startHls();
  await publishStream(server, "live/a", { toMs: 5300 });
  const client = new Client(`${server.url}/live/a/~/fmp4.m3u8`);
  const { segments } = await client.load();
  const last = segments.at(-1)?.number ?? 0;
  const value = fc.oneof(
    fc.string({ maxLength: 12 }),
    fc.integer().map(String),
    fc.integer({ min: last + 3, max: last + 50 }).map(String),
  );
  const name = fc.constantFrom("_HLS_msn", "_HLS_part", "_HLS_skip", "_HLS_", "token", "format");
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(name, value), { maxLength: 4 }), async (pairs) => {
      const query = new URLSearchParams(pairs);
      const status = await statusOf(`${client.url}?${query}`);
      assert(status === 200 || status === 400, `${status} for ${query}`);
    }),
    { numRuns: 200, seed: 6252 },
  );
});

Deno.test("GET /{path}/~/fmp4.m3u8?_HLS_skip leaves out what is old", async () => {
  await using server = await startHls({ hls: { Segments: 20 } });
  const publisher = await publishStream(server, "live/a", { toMs: 5000 });
  const client = new Client(`${server.url}/live/a/~/fmp4.m3u8`);
  await client.load();
  await pushFrames(publisher, stream({ fromMs: 5000, toMs: 30_000 }));
  await client.load();
  await pushFrames(publisher, stream({ fromMs: 30_000, toMs: 31_500 }));
  const { segments, skipped } = await client.load("?_HLS_skip=YES");
  assertEquals([segments.length, skipped], [15, 9]);
});

Deno.test("GET /{path}/~/fmp4.m3u8 ends, waiting requests too, when the stream ends", async () => {
  await using server = await startHls();
  const publisher = await publishStream(server, "live/a", { toMs: 5300 });
  const client = new Client(`${server.url}/live/a/~/fmp4.m3u8`);
  const { segments, hint = "" } = await client.load();
  const last = segments.at(-1)?.number ?? 0;
  const blocked = client.load(`?_HLS_msn=${last + 2}`);
  const hinted = fetch(new URL(hint, client.url));
  await delay(20);
  publisher.close();
  assertEquals((await blocked).ended, true);
  // What was hinted has come after all, as the last part.
  assertEquals((await (await hinted).bytes()).length > 0, true);
  // All is still there for those who are behind, and directives mean nothing any more.
  const ended = await client.load(`?_HLS_msn=${last + 90}`);
  assertEquals(ended.segments.length, segments.length + 1);
  for (const { uri = "" } of ended.segments) await client.file(uri);
  assertEquals(server.engine.subscribers.size, 0);
  const response = await fetch(`${server.url}/live/a.m3u8`);
  assertEquals(response.status, 404);
  assertMatch(await errorOf(response), /live\/a: no publisher after 0.2 s/);
});

Deno.test("GET /{path}.m3u8 answers at once when the stream ends before its first segment", async () => {
  await using server = await startHls();
  const publisher = await server.engine.publish("live/a", { type: "Test" });
  publisher.video.configure(h264());
  publisher.completeTracks();
  const players = ["a.m3u8", "a/~/fmp4.m3u8"].map((name) => fetch(`${server.url}/live/${name}`));
  await eventually("they wait", () => server.engine.subscribers.size === 1);
  await delay(20);
  publisher.close();
  const closedMs = performance.now();
  for (const response of await Promise.all(players)) {
    assertEquals(response.status, 404);
    assertMatch(await errorOf(response), /live\/a/);
  }
  assert(performance.now() - closedMs < 1000, "they have waited for nothing");
});

Deno.test("a stream that begins anew goes on in the same playlist with greater numbers", async () => {
  await using server = await startHls();
  const first = await publishStream(server, "live/a", { toMs: 5000 });
  const client = new Client(`${server.url}/live/a/~/fmp4.m3u8`);
  const before = await client.load();
  first.close();
  await delay(1100);
  await publishStream(server, "live/a", { toMs: 5000 });
  const after = await new Client(client.url).load();
  const [a, b] = [before.segments[0], after.segments[0]];
  assert(a && b && b.number > a.number && b.discontinuities > a.discontinuities);
  // The names of the old ones stay good.
  assertEquals((await client.file(a.uri ?? "")).length > 0, true);
});

Deno.test("GET /{path}.m3u8 says why there is nothing", async () => {
  await using server = await startHls();
  const missing = await fetch(`${server.url}/live/none.m3u8`);
  assertEquals([missing.status, missing.headers.get("Cache-Control")], [404, "no-store"]);
  assertMatch(await errorOf(missing), /live\/none/);
  await publishStream(server, "live/a", { toMs: 4500 });
  const client = new Client(`${server.url}/live/a/~/fmp4.m3u8`);
  const { segments } = await client.load();
  const [{ uri = "" } = {}] = segments;
  const table: [path: string, status: number][] = [
    ["/live/a/~/x.m4s", 404],
    [`/live/b/~/${uri}`, 404],
    [`/live/a/~/${uri}x`, 404],
    ["/live/a/~/mkv.m3u8", 400],
    ["/live/a.m3u8?format=mkv", 400],
    ["/live%2fa.m3u8", 400],
    ["/live%5ca.m3u8", 400],
    ["/live/a%00.m3u8", 400],
    ["/live/%ff.m3u8", 400],
    ["/live/a%3f.m3u8", 400],
    ["/.m3u8", 404],
    [`/${"x".repeat(300)}.m3u8`, 400],
    ["/live/..%2f~/fmp4.m3u8", 400],
  ];
  for (const [path, status] of table) {
    const response = await fetch(server.url + path);
    assertEquals(response.status, status, path);
    assertEquals(typeof await errorOf(response), "string");
  }
  const posted = await fetch(`${server.url}/live/a.m3u8`, { method: "POST" });
  assertEquals([posted.status, posted.headers.get("Allow")], [405, "GET, HEAD"]);
  await posted.body?.cancel();
});

Deno.test("HEAD tells the size and type of playlists and segments", async () => {
  await using server = await startHls();
  await publishStream(server, "live/a", { toMs: 4500 });
  const client = new Client(`${server.url}/live/a/~/fmp4.m3u8`);
  const { segments } = await client.load();
  const url = new URL(segments[0]?.uri ?? "", client.url);
  const { length } = await client.file(segments[0]?.uri ?? "");
  const whole = await fetch(url);
  assertEquals(whole.headers.get("Content-Length"), String(length));
  assertEquals((await whole.bytes()).length, length);
  const response = await fetch(url, { method: "HEAD" });
  assertEquals(response.headers.get("Content-Length"), String(length));
  assertEquals(response.headers.get("Content-Type"), "video/mp4");
  assertEquals(await statusOf(client.url, { method: "HEAD" }), 200);
});

Deno.test("GET /{path}.m3u8 asks the guards for each playlist, with the player's arguments", async () => {
  await using server = await startHls();
  await publishStream(server, "live/a", { toMs: 4500 });
  const asked: string[] = [];
  server.engine.addGuard("subscribe", ({ args, type, id, path }) => {
    asked.push(`${type} ${path} ${args} ${id.split(":")[0]}`);
    if (args.get("token") !== "good") throw new RefusedError("the token is wrong");
  });
  assertEquals(await statusOf(`${server.url}/live/a.m3u8`), 403);
  const url = `${server.url}/live/a.m3u8?token=good`;
  const { uri } = readMultivariant(await (await fetch(url)).text());
  const client = new Client(new URL(uri, url).href);
  const { segments } = await client.load();
  assertEquals(await statusOf(`${server.url}/live/a/~/fmp4.m3u8?token=bad`), 403);
  assertEquals(asked, [
    "HLS live/a  127.0.0.1",
    "HLS live/a token=good 127.0.0.1",
    "HLS live/a token=good 127.0.0.1",
    "HLS live/a token=bad 127.0.0.1",
  ]);
  // Who knows the name has had the playlist.
  await client.file(segments[0]?.uri ?? "");
});

Deno.test("GET /{path}.m3u8 waits for a stream on demand, and for its first segment", async () => {
  await using server = await startHls({ config: { OnDemandPublishTimeout: 5 } });
  const players = Array.from({ length: 20 }, () => fetch(`${server.url}/live/a.m3u8`));
  await delay(50);
  const publisher = await publishStream(server, "live/a", { toMs: 1000, asked: "none" });
  await delay(20);
  assertEquals(server.engine.subscribers.size, 1);
  await pushFrames(publisher, stream({ fromMs: 1000, toMs: 3100 }));
  for (const response of await Promise.all(players)) {
    assertEquals(response.status, 200);
    await response.body?.cancel();
  }
});

Deno.test("GET /{path}/~/{name} answers the same by the short way and by the app", async () => {
  await using server = await startHls();
  await publishStream(server, "live/a", { toMs: 5300 });
  const client = new Client(`${server.url}/live/a/~/fmp4.m3u8`);
  const { segments, open } = await client.load();
  const names = [
    "fmp4.m3u8",
    "fmp4.m3u8?_HLS_skip=YES",
    "fmp4.m3u8?_HLS_msn=1.5",
    `fmp4.m3u8?_HLS_msn=${(open?.number ?? 0) + 9}`,
    "fmp4.m3u8?token=x",
    segments[0]?.uri,
    segments[0]?.map,
    open?.parts[0]?.uri,
    "none.m4s",
    "mkv.m3u8",
  ];
  for (const name of names) {
    const all = [];
    // Addresses that need decoding are the app's.
    for (const path of ["live/a", "live/%61"]) {
      const response = await fetch(`${server.url}/${path}/~/${name}`);
      const headers = [...response.headers].filter(([header]) => header !== "date");
      all.push({ status: response.status, headers, body: await response.bytes() });
    }
    assertEquals(all[0], all[1], name);
  }
});

Deno.test("GET /{path}.m3u8 answers at once by what the stream has kept", async () => {
  const table: [
    options: Record<string, unknown>,
    query: string,
    shape: { gopMs: number },
    first: number,
  ][] = [
    [{}, "", { gopMs: 2000 }, 0.96],
    [{}, "", { gopMs: 1000 }, 1],
    [{}, "?format=ts", { gopMs: 2000 }, 0.96],
    [{ LowLatency: false }, "", { gopMs: 2000 }, 0.96],
  ];
  for (const [hls, query, { gopMs }, first] of table) {
    await using server = await startHls({ hls });
    await publishStream(server, "live/a", { toMs: 5000, gopMs, asked: "none" });
    // No frame comes any more.
    const url = `${server.url}/live/a.m3u8${query}`;
    const response = await fetch(url, { signal: AbortSignal.timeout(2000) });
    const { attributes, uri } = readMultivariant(await response.text());
    const live = server.engine.getStream("live/a");
    const tracks = [...live?.videoTracks ?? [], ...live?.audioTracks ?? []];
    const rate = tracks.reduce((sum, track) => sum + track.stats().bitrate, 0);
    // A segment that is too short says nothing of a peak.
    if (first < 1) assertEquals(Number(attributes.get("BANDWIDTH")), rate);
    const client = new Client(new URL(uri, url).href);
    const { target, segments, hint } = await client.load();
    assertEquals([target, segments.map(({ duration }) => duration)], [2, [first]]);
    const [{ uri: name = "" } = {}] = segments;
    assert((await client.file(name)).length > 0);
    assertEquals(hint !== undefined, query === "" && hls.LowLatency !== false);
  }
});

Deno.test("a thousand requests wait without a timer each, and leave nothing behind", async () => {
  await using server = await startHls();
  const publisher = await publishStream(server, "live/a", { toMs: 5000 });
  const client = new Client(`${server.url}/live/a/~/fmp4.m3u8`);
  const { segments } = await client.load();
  const query = `?_HLS_msn=${(segments.at(-1)?.number ?? 0) + 1}`;
  const leaving = new AbortController();
  const gone = Array.from(
    { length: 20 },
    () => fetch(client.url + query, { signal: leaving.signal }).catch(() => undefined),
  );
  const players = Array.from({ length: 1000 }, () => fetch(client.url + query));
  await delay(300);
  leaving.abort();
  await Promise.all(gone);
  await pushFrames(publisher, stream({ fromMs: 5000, toMs: 6500 }));
  for (const response of await Promise.all(players)) {
    const { segments: now } = checkPlaylist(await response.text());
    assertEquals(now.length, segments.length + 1);
  }
});

Deno.test("a thousand requests are answered when the stream that they wait for ends", async () => {
  await using server = await startHls();
  const publisher = await publishStream(server, "live/a", { toMs: 5000 });
  const client = new Client(`${server.url}/live/a/~/fmp4.m3u8`);
  const { segments, hint = "" } = await client.load();
  const last = segments.at(-1)?.number ?? 0;
  const queries = [
    `?_HLS_msn=${last + 1}`,
    `?_HLS_msn=${last + 2}`,
    `?_HLS_msn=${last + 2}&_HLS_part=0`,
  ];
  const players = Array.from(
    { length: 1000 },
    (_, index) => fetch(client.url + queries[index % 3]),
  );
  const hinted = Array.from({ length: 100 }, () => fetch(new URL(hint, client.url)));
  await delay(300);
  publisher.close();
  for (const response of await Promise.all(players)) {
    assertEquals(checkPlaylist(await response.text()).ended, true);
  }
  for (const response of await Promise.all(hinted)) {
    assertEquals([response.status, (await response.bytes()).length > 0], [200, true]);
  }
  assertEquals(server.engine.subscribers.size, 0);
});

Deno.test("a broadcast ends when nobody has asked for the idle timeout", async () => {
  await using server = await startHls({ hls: { IdleTimeout: 5 } });
  const publisher = await publishStream(server, "live/a", { toMs: 4500 });
  const client = new Client(`${server.url}/live/a/~/fmp4.m3u8`);
  const { segments } = await client.load();
  assertEquals(server.engine.subscribers.size, 1);
  // One that waits and leaves holds nothing up.
  const leaving = new AbortController();
  const query = `?_HLS_msn=${(segments.at(-1)?.number ?? 0) + 1}`;
  const left = fetch(client.url + query, { signal: leaving.signal }).catch(() => undefined);
  await delay(50);
  leaving.abort();
  await left;
  await delay(4000);
  await eventually("nobody reads", () => server.engine.subscribers.size === 0);
  assertEquals(await statusOf(new URL(segments[0]?.uri ?? "", client.url).href), 404);
  // It begins anew with the next request.
  const again = new Client(client.url).load();
  await eventually("it is read again", () => server.engine.subscribers.size === 1);
  await pushFrames(publisher, stream({ fromMs: 4500, toMs: 7500 }));
  assert(((await again).segments[0]?.number ?? 0) > (segments[0]?.number ?? 0));
});

Deno.test("Always makes segments before anybody asks", async () => {
  await using server = await startHls({ hls: { Always: true } });
  const publisher = await publishStream(server, "live/a", { toMs: 4500, asked: "none" });
  await eventually("it is read", () => server.engine.subscribers.size === 1);
  // The ring would have only what is newest.
  await pushFrames(publisher, stream({ fromMs: 4500, toMs: 14_500 }));
  const { segments } = await new Client(`${server.url}/live/a/~/fmp4.m3u8`).load();
  assertEquals(segments.length, 7);
});

Deno.test("a takeover makes a discontinuity, also between equal encoders", async () => {
  await using server = await startHls();
  await publishStream(server, "live/a", { toMs: 5000 });
  const client = new Client(`${server.url}/live/a/~/fmp4.m3u8`);
  await client.load();
  const second = await server.engine.publish("live/a", { type: "Test", takeOver: true });
  await pushFrames(second, stream({ toMs: 3500 }));
  const playlist = await client.load();
  assertEquals(playlist.segments.filter(({ discontinuity }) => discontinuity).length, 1);
  assertEquals(new Set(playlist.segments.map(({ map }) => map)).size, 1);
  const third = await server.engine.publish("live/a", { type: "Test", takeOver: true });
  await pushFrames(third, stream({ toMs: 3500, videoConfig: h264(640, 480) }));
  const later = await client.load();
  assertEquals(new Set(later.segments.map(({ map }) => map)).size, 2);
});

Deno.test("GET /{path}.m3u8 refuses what the format cannot carry", async () => {
  await using server = await startHls();
  const publisher = await server.engine.publish("live/a", { type: "Test" });
  const config = { kind: "video", fourcc: "vp08", codec: "vp08" } as const;
  publisher.video.configure(config);
  publisher.video.push({ dtsUs: 0, key: true, data: Uint8Array.of(1) });
  publisher.completeTracks();
  const response = await fetch(`${server.url}/live/a.m3u8`);
  assertEquals([response.status, await errorOf(response)], [
    404,
    "Cannot play live/a: MP4 has no vp08",
  ]);
  assertEquals(server.engine.subscribers.size, 0);
});

Deno.test("GET /{path}/~/fmp4.m3u8 gives up after three target durations", async () => {
  await using server = await startHls({ hls: { SegmentDuration: 1 } });
  await publishStream(server, "live/a", { toMs: 4500, gopMs: 1000 });
  const client = new Client(`${server.url}/live/a/~/fmp4.m3u8`);
  const { segments, target, hint = "" } = await client.load();
  const query = `?_HLS_msn=${(segments.at(-1)?.number ?? 0) + 1}`;
  const startMs = performance.now();
  const answers = await Promise.all([
    fetch(client.url + query),
    fetch(new URL(hint, client.url)),
  ]);
  const waitedMs = performance.now() - startMs;
  for (const answer of answers) await answer.body?.cancel();
  assertEquals([target, ...answers.map(({ status }) => status)], [1, 503, 404]);
  assert(waitedMs > 2900 && waitedMs < 4000, `they have waited for ${waitedMs} ms`);
});

Deno.test({
  name: "unloading the plugin ends requests that wait, and leaves nothing behind",
  sanitizeOps: true,
  sanitizeResources: true,
}, async () => {
  await using server = await startHls();
  await publishStream(server, "live/a", { toMs: 4500 });
  const client = new Client(`${server.url}/live/a/~/fmp4.m3u8`);
  const { segments } = await client.load();
  const blocked = fetch(`${client.url}?_HLS_msn=${(segments.at(-1)?.number ?? 0) + 1}`);
  await delay(20);
  await server.plugins.unload("HLS");
  const response = await blocked;
  await response.body?.cancel();
  assertEquals(server.engine.subscribers.size, 0);
  assertEquals(await statusOf(client.url), 404);
});
