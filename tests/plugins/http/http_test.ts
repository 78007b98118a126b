/** The shared listener: mounting, CORS, TLS, errors, other options while it runs, and its end. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { Hono } from "hono";
import { Engine } from "../../../src/engine.ts";
import { Plugins } from "../../../src/plugin.ts";
import http from "../../../plugins/http/mod.ts";
import type { HttpEnv } from "../../../plugins/http/service.ts";
import { delay, eventually, RawClient, startServer } from "../../support/http.ts";
import { ACCEPT, clientFrame, echo, HANDSHAKE, serverFrames } from "../../support/websocket.ts";

const fixture = (name: string) => new URL(`./fixtures/${name}`, import.meta.url).pathname;

function app(): Hono<HttpEnv> {
  return new Hono<HttpEnv>();
}

async function text(url: string, init?: RequestInit): Promise<string> {
  return await (await fetch(url, init)).text();
}

const forever = new AbortController().signal;

Deno.test("http says where it listens when it starts", async () => {
  await using server = await startServer();
  const said = `info listening on http://127.0.0.1:${server.port} `;
  assert(server.logs.some((line) => line.startsWith(said)));
  assertMatch(server.url, /^http:\/\/127\.0\.0\.1:\d+$/);
});

Deno.test("http names the port when it is in use", async () => {
  await using server = await startServer();
  await using plugins = new Plugins(new Engine());
  const { port } = server;
  const error = await assertRejects(() =>
    plugins.load("http", http, { Host: "127.0.0.1", Port: port })
  );
  assertMatch(String(error), new RegExp(`cannot listen on 127.0.0.1:${port}: port ${port} is in`));
});

Deno.test("http refuses options that make no sense", async (t) => {
  const cases: [Record<string, unknown>, RegExp][] = [
    [{ Port: 70_000 }, /\[http\] Port: .*0 to 65535/],
    [{ Prot: 80 }, /\[http\] Prot: unknown key; the nearest known is Port/],
    [{ Cert: "a.pem" }, /\[http\] Key: is needed beside Cert/],
    [{ Key: "a.pem" }, /\[http\] Cert: is needed beside Key/],
    [{ Cors: "example.org" }, /\[http\] Cors: .*origin/],
    [{ ApiToken: "short" }, /\[http\] ApiToken: .*8 characters/],
  ];
  for (const [options, message] of cases) {
    await t.step(Object.keys(options).join(), async () => {
      await using plugins = new Plugins(new Engine());
      const error = await assertRejects(() => plugins.load("http", http, options));
      assertMatch(String(error), message);
    });
  }
});

Deno.test("mount() asks apps in the order of mounting until one answers", async () => {
  await using server = await startServer();
  const { service, url } = server;
  service.mount(
    app().get("/a", (c) => c.text("first")).get("/b", (c) => c.notFound())
      .get("/c", (c) => c.text("no such thing", 404)),
    forever,
  );
  service.mount(app().get("/:any", (c) => c.text(`second ${c.req.param("any")}`)), forever);
  assertEquals(await text(`${url}/a`), "first");
  assertEquals(await text(`${url}/b`), "second b");
  assertEquals(await text(`${url}/c`), "no such thing");
  assertEquals(await text(`${url}/d`), "second d");
});

Deno.test("mount() takes an app away when its signal is aborted", async () => {
  await using server = await startServer();
  const { service, url } = server;
  const controller = new AbortController();
  service.mount(app().get("/a", (c) => c.text("here")), controller.signal);
  assertEquals(await text(`${url}/a`), "here");
  controller.abort();
  service.mount(app().get("/a", (c) => c.text("never")), controller.signal);
  const response = await fetch(`${url}/a`);
  assertEquals(response.status, 404);
  assertMatch((await response.json()).error, /Nothing answers GET \/a/);
});

Deno.test("mount() keeps the middleware of an app from the requests of others", async () => {
  await using server = await startServer();
  const { service, url } = server;
  const guarded = app().use("*", async (c, next) => {
    await next();
    c.header("X-Guard", "was here");
  }).get("/a", (c) => c.text("a"));
  service.mount(guarded, forever);
  service.mount(app().get("/b", (c) => c.text("b")), forever);
  const own = await fetch(`${url}/a`);
  assertEquals([await own.text(), own.headers.get("X-Guard")], ["a", "was here"]);
  const other = await fetch(`${url}/b`);
  assertEquals([await other.text(), other.headers.get("X-Guard")], ["b", null]);
});

Deno.test("http answers 500 to one request, and logs it, when a handler throws", async () => {
  await using server = await startServer();
  const { service, url, logs } = server;
  const broken = app()
    .get("/sync", () => {
      throw new Error("broken at once");
    })
    .get("/async", () => Promise.reject(new Error("broken later")))
    .get("/fine", (c) => c.text("fine"));
  service.mount(broken, forever);
  for (const [path, reason] of [["sync", "broken at once"], ["async", "broken later"]]) {
    const response = await fetch(`${url}/${path}`);
    assertEquals([response.status, await response.json()], [500, {
      error: "Internal server error",
    }]);
    assert(logs.includes(`error GET /${path} failed: Error: ${reason}`));
  }
  assertEquals(await text(`${url}/fine`), "fine");
});

Deno.test("http cuts one answer, and logs it, when its body fails", async () => {
  await using server = await startServer();
  const { service, url, logs } = server;
  const broken = app().get("/body", () =>
    new Response(
      new ReadableStream({
        pull(controller) {
          controller.error(new Error("no more"));
        },
      }, { highWaterMark: 0 }),
    )).get("/fine", (c) => c.text("fine"));
  service.mount(broken, forever);
  await assertRejects(() => text(`${url}/body`));
  await eventually("it is logged", () => logs.includes("error a response failed: Error: no more"));
  assertEquals(await text(`${url}/fine`), "fine");
});

Deno.test("http tells handlers who asks, and when the request is over", async () => {
  await using server = await startServer();
  let remote = "";
  const over: string[] = [];
  const watching = app()
    .get("/quick", (c) => {
      remote = c.env.remote;
      c.env.signal.addEventListener("abort", () => over.push("quick"));
      return c.text("");
    })
    .get("/waits", async (c) => {
      await new Promise((resolve) => c.env.signal.addEventListener("abort", resolve));
      over.push("waits");
      return c.text("");
    })
    .get("/streams", (c) => {
      c.env.signal.addEventListener("abort", () => over.push("streams"));
      return c.body(new ReadableStream({ start: (to) => to.enqueue(new Uint8Array(1)) }));
    });
  server.service.mount(watching, forever);
  await text(`${server.url}/quick`);
  assertMatch(remote, /^127\.0\.0\.1:\d+$/);
  await eventually("a delivered answer is over", () => over.includes("quick"));
  for (const path of ["waits", "streams"]) {
    const client = await RawClient.request(server.port, `GET /${path}`);
    if (path === "streams") await client.read();
    await delay(20);
    assertEquals(over.includes(path), false);
    client[Symbol.dispose]();
    await eventually("a client that left is noticed", () => over.includes(path));
  }
});

Deno.test("http allows pages of all origins when Cors is left out", async () => {
  await using server = await startServer();
  const headers = { "Origin": "https://player.example" };
  const response = await fetch(`${server.url}/x`, { headers });
  await response.body?.cancel();
  assertEquals(response.headers.get("Access-Control-Allow-Origin"), "*");
  const preflight = await fetch(`${server.url}/x`, {
    method: "OPTIONS",
    headers: {
      ...headers,
      "Access-Control-Request-Method": "POST",
      "Access-Control-Request-Headers": "content-type",
      "Access-Control-Request-Private-Network": "true",
    },
  });
  assertEquals(preflight.status, 204);
  assertEquals(preflight.headers.get("Access-Control-Allow-Origin"), "*");
  assertMatch(preflight.headers.get("Access-Control-Allow-Methods") ?? "", /POST/);
  assertEquals(preflight.headers.get("Access-Control-Allow-Headers"), "content-type");
  assertEquals(preflight.headers.get("Access-Control-Allow-Private-Network"), "true");
});

Deno.test("http allows pages of the listed origins only when Cors lists some", async () => {
  await using server = await startServer({ http: { Cors: ["https://a.example"] } });
  const allowed = async (origin: string) => {
    const response = await fetch(`${server.url}/x`, {
      method: "OPTIONS",
      headers: {
        "Origin": origin,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Private-Network": "true",
      },
    });
    const { headers } = response;
    return [
      headers.get("Access-Control-Allow-Origin"),
      headers.get("Access-Control-Allow-Private-Network"),
    ];
  };
  assertEquals(await allowed("https://a.example"), ["https://a.example", "true"]);
  assertEquals(await allowed("https://b.example"), [null, null]);
  await server.plugins.configure("http", { Host: "127.0.0.1", Port: 0, Cors: [] });
  assertEquals(await allowed("https://a.example"), [null, null]);
});

Deno.test("http serves TLS when it has a certificate and a key", async () => {
  const tls = { Cert: fixture("cert.pem"), Key: fixture("key.pem") };
  await using server = await startServer({ http: tls });
  assertMatch(server.url, /^https:/);
  using client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(tls.Cert)] });
  const response = await fetch(`${server.url}/api/streams`, { client });
  assertEquals([response.status, await response.json()], [200, []]);
});

Deno.test("http names the file when a certificate cannot be read", async () => {
  await using plugins = new Plugins(new Engine());
  const options = { Cert: "/nowhere/cert.pem", Key: fixture("key.pem"), Port: 0 };
  const error = await assertRejects(() => plugins.load("http", http, options));
  assertMatch(String(error), /cannot read Cert \/nowhere\/cert\.pem/);
});

Deno.test("http says so when a certificate is none", async () => {
  await using plugins = new Plugins(new Engine());
  const options = { Cert: fixture("key.pem"), Key: fixture("cert.pem"), Port: 0 };
  const error = await assertRejects(() => plugins.load("http", http, options));
  assertMatch(String(error), /cannot listen on .*certificate|key/i);
});

Deno.test("configure() moves the listener with all its apps when the port changes", async () => {
  await using server = await startServer();
  const { service, plugins } = server;
  service.mount(app().get("/a", (c) => c.text("here")), forever);
  const before = server.url;
  assertEquals(await text(`${before}/a`), "here");
  using free = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = free.addr;
  const taken = await assertRejects(() =>
    plugins.configure("http", { Host: "127.0.0.1", Port: port })
  );
  assertMatch(String(taken), /is in use/);
  assertEquals(await text(`${server.url}/a`), "here");
  free.close();
  await plugins.configure("http", { Host: "127.0.0.1", Port: port });
  assertEquals(server.url, `http://127.0.0.1:${port}`);
  assertEquals(await text(`${server.url}/a`), "here");
  await assertRejects(() => fetch(`${before}/a`));
});

Deno.test("http leaves nothing and frees its port within a second when it is unloaded", async () => {
  await using server = await startServer();
  const { plugins, port, service } = server;
  const endless = app()
    .get(
      "/endless",
      (c) => c.body(new ReadableStream({ start: (to) => to.enqueue(new Uint8Array(9)) })),
    )
    .get("/hangs", () => new Promise<Response>(() => {}));
  service.mount(endless, forever);
  using idle = await RawClient.request(port, "GET /api/streams");
  await idle.head();
  using reading = await RawClient.request(port, "GET /endless");
  await reading.head();
  using hanging = await RawClient.request(port, "GET /hangs");
  await delay(20);
  const start = performance.now();
  await plugins.unload("http");
  assert(performance.now() - start < 1000);
  assertEquals(plugins.list(), []);
  for (const client of [idle, reading, hanging]) {
    assertEquals(await client.read().catch(() => undefined), undefined);
  }
  Deno.listen({ hostname: "127.0.0.1", port }).close();
});

Deno.test("http lets an answer under way end when it is unloaded", async () => {
  await using server = await startServer();
  const slow = app().get("/slow", async (c) => {
    await delay(150);
    return c.text("in good order");
  });
  server.service.mount(slow, forever);
  const answer = text(`${server.url}/slow`);
  await delay(30);
  await server.plugins.unload("http");
  assertEquals(await answer, "in good order");
});

/** What comes back on a connection on which `text` is sent, up to its end. */
async function exchange(port: number, text: string): Promise<string> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  using client = new RawClient(conn);
  await client.send(text.replaceAll("\n", "\r\n"));
  let answer = "";
  for (let bytes = await client.read(); bytes; bytes = await client.read().catch(() => undefined)) {
    answer += new TextDecoder().decode(bytes);
  }
  return answer;
}

/** A body that goes on until it is cancelled, and says so. */
function endless(onCancel: () => void): ReadableStream<Uint8Array<ArrayBuffer>> {
  return new ReadableStream({
    async pull(to) {
      await delay(0);
      to.enqueue(new Uint8Array(1_000_000));
    },
    cancel: onCancel,
  }, { highWaterMark: 0 });
}

Deno.test("live() sends a body in chunks, or as it is to HTTP/1.0, and closes where it ends", async () => {
  await using server = await startServer();
  const body = () => ReadableStream.from(["one ", "two"]).pipeThrough(new TextEncoderStream());
  // How the connection is used is not the handler's to say.
  const headers = { "X-Kind": "live", "Connection": "keep-alive", "Transfer-Encoding": "gzip" };
  const live = app().get("/live", (c) => c.env.live(body(), headers));
  server.service.mount(live, forever);
  const ends = { "1.0": "one two", "1.1": "4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n" };
  for (const [version, end] of Object.entries(ends)) {
    const answer = await exchange(server.port, `GET /live HTTP/${version}\nHost: localhost\n\n`);
    assertMatch(answer, /^HTTP\/1\.1 200 OK\r\n/);
    assertMatch(answer, /\r\nx-kind: live\r\n/i);
    assertMatch(answer, /\r\naccess-control-allow-origin: \*\r\n/i);
    assertMatch(answer, /\r\nconnection: close\r\n/i);
    assert(!/keep-alive|gzip/.test(answer), answer);
    assertEquals(/\r\ntransfer-encoding: chunked\r\n/i.test(answer), version === "1.1");
    assert(!/content-length/i.test(answer), answer);
    assert(answer.endsWith(`\r\n\r\n${end}`), answer);
  }
});

Deno.test("live() resets the connection, and logs it, when the body fails", async () => {
  await using server = await startServer();
  const failing = app().get("/live", (c) => {
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (to) => to.enqueue(new Uint8Array(9)),
      pull: (to) => to.error(new Error("no more")),
    }, { highWaterMark: 0 });
    return c.env.live(body, {});
  });
  server.service.mount(failing, forever);
  using client = await RawClient.request(server.port, "GET /live");
  assertEquals((await client.readAll()).complete, false);
  assert(server.logs.includes("error a response failed: Error: no more"));
});

Deno.test("live() cancels the body when the client has gone", async () => {
  await using server = await startServer();
  const gone: string[] = [];
  let signal: AbortSignal | undefined;
  const live = app().get("/:how", (c) => {
    signal = c.env.signal;
    return c.env.live(endless(() => gone.push(c.req.param("how"))), {});
  });
  server.service.mount(live, forever);
  for (const how of ["closes", "ends"]) {
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: server.port });
    using client = new RawClient(conn);
    await client.send(`GET /${how} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    await client.head();
    if (how === "closes") client[Symbol.dispose]();
    else await conn.closeWrite();
    await eventually(`a client that ${how} is noticed`, () => gone.includes(how));
    assertEquals(signal?.aborted, true);
  }
});

Deno.test("http cuts a client that takes nothing for WriteTimeout", async () => {
  await using server = await startServer({ http: { WriteTimeout: 0.3 } });
  const gone: string[] = [];
  const bodies = app()
    .get("/live", (c) => c.env.live(endless(() => gone.push("live")), {}))
    .get("/ordinary", (c) => c.body(endless(() => gone.push("ordinary"))))
    .get("/whole", (c) => {
      c.env.signal.addEventListener("abort", () => gone.push("whole"));
      return c.body(new Uint8Array(30_000_000));
    });
  server.service.mount(bodies, forever);
  for (const path of ["live", "ordinary", "whole"]) {
    using client = await RawClient.request(server.port, `GET /${path}`);
    await delay(150);
    assertEquals(gone.includes(path), false);
    await eventually(`${path} is cut`, () => gone.includes(path));
    await client.readAll();
  }
});

Deno.test("live() goes on after a client that paused for less than WriteTimeout", async () => {
  await using server = await startServer({ http: { WriteTimeout: 0.4 } });
  let gone = false;
  const live = app().get("/live", (c) => c.env.live(endless(() => gone = true), {}));
  server.service.mount(live, forever);
  using client = await RawClient.request(server.port, "GET /live");
  for (let round = 0; round < 4; round++) {
    await delay(250);
    for (let bytes = 0; bytes < 20_000_000;) bytes += (await client.read())?.length ?? 0;
  }
  assertEquals(gone, false);
});

Deno.test("live() works over TLS, and so do WebSockets", async () => {
  const tls = { Cert: fixture("cert.pem"), Key: fixture("key.pem") };
  await using server = await startServer({ http: tls });
  const secure = app()
    .get("/live", (c) => {
      assertMatch(c.req.url, /^https:/);
      return c.env.live(new Response("over TLS").body ?? new ReadableStream(), {});
    })
    .get("/socket", echo);
  server.service.mount(secure, forever);
  const caCerts = [await Deno.readTextFile(tls.Cert)];
  using client = Deno.createHttpClient({ caCerts });
  const response = await fetch(`${server.url}/live`, { client });
  assertEquals(await response.text(), "over TLS");
  const conn = await Deno.connectTls({ hostname: "127.0.0.1", port: server.port, caCerts });
  const fields = Object.entries(HANDSHAKE).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  await conn.write(
    new TextEncoder().encode(`GET /socket HTTP/1.1\r\nHost: localhost\r\n${fields}\r\n`),
  );
  const bytes = new Uint8Array(1000);
  const head = new TextDecoder().decode(bytes.subarray(0, await conn.read(bytes) ?? 0));
  assert(head.startsWith("HTTP/1.1 101 ") && head.includes(ACCEPT), head);
  await conn.write(clientFrame(1, "x"));
  const [frame] = serverFrames(bytes.slice(0, await conn.read(bytes) ?? 0));
  assertEquals(new TextDecoder().decode(frame?.payload), "x, too");
  conn.close();
});

Deno.test("http answers requests that come at once one after the other, a few of them", async () => {
  await using server = await startServer();
  const log: string[] = [];
  const slow = app().get("/:n", async (c) => {
    log.push(`+${c.req.param("n")}`);
    await delay(20);
    log.push(`-${c.req.param("n")}`);
    return c.text(`answer ${c.req.param("n")}`);
  });
  server.service.mount(slow, forever);
  const request = (n: number, more = "") => `GET /${n} HTTP/1.1\nHost: localhost\n${more}\n`;
  const answer = await exchange(
    server.port,
    request(1) + request(2) + request(3, "Connection: close\n"),
  );
  assertEquals(answer.match(/answer \d/g), ["answer 1", "answer 2", "answer 3"]);
  assertEquals(log, ["+1", "-1", "+2", "-2", "+3", "-3"]);
  const many = await exchange(server.port, request(1).repeat(100));
  assertEquals(many, "");
});

Deno.test("http refuses heads that are too large, too many or make no sense", async () => {
  await using server = await startServer();
  const host = "Host: localhost\n";
  const fields = (count: number) => Array.from({ length: count }, (_, n) => `X-${n}: 1\n`).join("");
  const cases: [string, number][] = [
    [`GET /api/streams HTTP/1.1\n${host}${fields(150)}Connection: close\n\n`, 200],
    [`GET /api/streams HTTP/1.1\n${host}${fields(250)}\n`, 431],
    [`GET /api/streams HTTP/1.1\n${host}X: ${"a".repeat(20_000)}\n\n`, 431],
    [`GET /api/../api/streams HTTP/1.1\n${host}\n`, 400],
    [`GET /api/%2E%2e/api/streams HTTP/1.1\n${host}\n`, 400],
    [`GET /api\\streams HTTP/1.1\n${host}\n`, 400],
    [`GET /api/streams HTTP/1.1\n\n`, 400],
    [`GET /api/streams HTTP/1.1\nHost: localhost/x\n\n`, 400],
    [`TRACE / HTTP/1.1\n${host}\n`, 400],
    [`nonsense\n\n`, 400],
  ];
  for (const [text, status] of cases) {
    const answer = await exchange(server.port, text);
    assertEquals(answer.slice(9, 12), String(status), text.slice(0, 60));
  }
});

Deno.test("http lets a client that is refused read why while it sends", async () => {
  await using server = await startServer();
  server.service.mount(app().post("/no", (c) => c.text("not you", 403)), forever);
  const body = new ReadableStream<Uint8Array>({
    async pull(to) {
      await delay(5);
      to.enqueue(new Uint8Array(65_536));
    },
  });
  using client = await RawClient.request(server.port, "POST /no", {
    "Content-Length": "100000000",
  });
  const sending = (async () => {
    for await (const chunk of body) await client.send(chunk);
  })().catch(() => {});
  const { status, body: reason } = await client.head();
  assertEquals([status, new TextDecoder().decode(reason)], [403, "not you"]);
  assertEquals(await client.read().catch(() => undefined), undefined);
  await sending;
});
