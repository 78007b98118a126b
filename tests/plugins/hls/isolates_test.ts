/** The hls plugin in several isolates of one server. */

import { assert, assertEquals } from "@std/assert";
import { delay, eventually } from "../../support/http.ts";
import { Fleet, settle } from "../../support/isolates.ts";
import { stream } from "./segments.ts";
import {
  PlaylistReaderClient as Client,
  publishStream,
  pushFrames,
  startHls,
  statusOf,
} from "./server.ts";

Deno.test("players get the same segments from all isolates of a server", async () => {
  await using fleet = new Fleet(3, { OnDemandPublishTimeout: 0.5 });
  const servers = [];
  for (const engine of fleet.engines) servers.push(await startHls({ engine }));
  await using stack = new AsyncDisposableStack();
  for (const server of servers) stack.use(server);
  const [home, other, third] = servers;
  assert(home && other && third);
  const publisher = await publishStream(home, "live/a", { toMs: 5300 });
  await settle();
  const clients = servers.map(({ url }) => new Client(`${url}/live/a/~/fmp4.m3u8`));
  const playlists = [];
  for (const client of clients) playlists.push(await client.load());
  assertEquals(playlists[1], playlists[0]);
  assertEquals(playlists[2], playlists[0]);
  const [{ uri = "" } = {}] = playlists[0]?.segments ?? [];
  const files = [];
  for (const client of clients) files.push(await client.file(uri));
  assertEquals(files[1], files[0]);
  const hinted = clients[2]?.file(playlists[0]?.hint ?? "");
  await delay(50);
  await pushFrames(publisher, stream({ fromMs: 5300, toMs: 6000 }));
  assert((await hinted)?.length);
  assertEquals(await statusOf(`${third.url}/live/none.m3u8`), 404);
  assertEquals(await statusOf(`${third.url}/live/a/~/none.m4s`), 404);
});

Deno.test("a player waits in any isolate for a stream that another one gets", async () => {
  await using fleet = new Fleet(2, { OnDemandPublishTimeout: 5 });
  const servers = [];
  for (const engine of fleet.engines) servers.push(await startHls({ engine }));
  await using stack = new AsyncDisposableStack();
  for (const server of servers) stack.use(server);
  const [home, other] = servers;
  assert(home && other);
  const response = fetch(`${other.url}/live/a.m3u8`);
  await delay(50);
  const publisher = await publishStream(home, "live/a", { toMs: 1000, asked: "none" });
  const isAsked = () => [...home.engine.subscribers.values()].some(({ type }) => type === "HLS");
  await eventually("segments are made where it is published", isAsked);
  await pushFrames(publisher, stream({ fromMs: 1000, toMs: 3500 }));
  const { status, body } = await response;
  await body?.cancel();
  assertEquals(status, 200);
});
