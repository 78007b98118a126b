/** Answers by the short way, which no client can tell from those of apps. */

import { assert, assertEquals } from "@std/assert";
import { Hono } from "hono";
import type { HttpEnv, ShortAnswer, ShortHandler } from "../../../plugins/http/service.ts";
import { delay, eventually, startServer } from "../../support/http.ts";

const forever = new AbortController().signal;
const TYPE = { "Content-Type": "text/plain" };

/** An app that says which way its answer came. */
function app(): Hono<HttpEnv> {
  return new Hono<HttpEnv>().all("/:name", (c) => c.body("app", 200, TYPE));
}

function answerOf(text: string): ShortAnswer {
  return { status: 200, headers: TYPE, body: new TextEncoder().encode(text) };
}

const short: ShortHandler = (url) =>
  url.startsWith("/short") ? Promise.resolve(answerOf("short")) : undefined;

Deno.test("mount() asks the short way first, for plain GETs of what it knows", async () => {
  await using server = await startServer();
  const { service, url } = server;
  const controller = new AbortController();
  service.mount(app(), forever);
  service.mount(app(), controller.signal, { short });
  const table: [path: string, init: RequestInit, expected: string][] = [
    ["/short?a=1", {}, "short"],
    ["/other", {}, "app"],
    ["/short", { method: "POST" }, "app"],
    ["/short", { method: "HEAD" }, ""],
  ];
  for (const [path, init, expected] of table) {
    const response = await fetch(url + path, init);
    assertEquals([response.status, await response.text()], [200, expected]);
  }
  controller.abort();
  service.mount(app(), controller.signal, { short });
  assertEquals(await (await fetch(`${url}/short`)).text(), "app");
});

Deno.test("mount() gives the short way's answers the headers of all others", async () => {
  const origin = "https://a.example";
  for (const Cors of [undefined, [], [origin]]) {
    await using server = await startServer({ http: Cors === undefined ? {} : { Cors } });
    const { service, url } = server;
    service.mount(app(), forever, { short });
    const all = [];
    for (const path of ["/short", "/other"]) {
      const response = await fetch(url + path, { headers: { origin } });
      const headers = [...response.headers].filter(([name]) =>
        !/^(date|content-length)$/.test(name)
      );
      assertEquals(response.headers.get("Content-Length"), String((await response.text()).length));
      all.push(headers);
    }
    assertEquals(all[0], all[1]);
  }
});

Deno.test("mount() answers 500, and logs it, when the short way fails", async () => {
  await using server = await startServer();
  const { service, url, logs } = server;
  service.mount(app(), forever, { short: () => Promise.reject(new Error("broken")) });
  const response = await fetch(`${url}/short`);
  assertEquals([response.status, await response.json()], [500, { error: "Internal server error" }]);
  assertEquals(response.headers.get("Access-Control-Allow-Origin"), "*");
  assert(logs.includes("error a short answer failed: Error: broken"));
});

Deno.test("mount() tells the short way when its client has gone", async () => {
  await using server = await startServer();
  const { service, url } = server;
  const answer = Promise.withResolvers<ShortAnswer>();
  let remote = "";
  let gone = false;
  service.mount(app(), forever, {
    short: (_, env) => {
      remote = env.remote;
      env.signal.addEventListener("abort", () => gone = true);
      return answer.promise;
    },
  });
  const leaving = new AbortController();
  const left = fetch(`${url}/short`, { signal: leaving.signal }).catch(() => "left");
  await eventually("it is asked", () => remote !== "");
  assert(/^127\.0\.0\.1:\d+$/.test(remote));
  assertEquals(gone, false);
  leaving.abort();
  assertEquals(await left, "left");
  await eventually("it is told", () => gone);
  answer.resolve(answerOf("too late"));
  await delay(10);
});

Deno.test("mount() does not ask the short way for addresses with dots", async () => {
  await using server = await startServer();
  const { service, port } = server;
  const asked: string[] = [];
  service.mount(app(), forever, {
    short(url) {
      asked.push(url);
      return undefined;
    },
  });
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const request = "GET /short/../a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  await conn.write(new TextEncoder().encode(request));
  const text = await new Response(conn.readable).text();
  assert(text.startsWith("HTTP/1.1 400 "), text);
  assertEquals(asked, []);
});
