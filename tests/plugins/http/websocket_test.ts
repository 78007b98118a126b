/** WebSockets of plugins: their handshakes, what clients may do to them, and their end. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { Hono } from "hono";
import { concat } from "../../../src/bytes.ts";
import type {
  HttpEnv,
  WebSocketConnection,
  WebSocketHandlers,
} from "../../../plugins/http/service.ts";
import { delay, eventually, RawClient, startServer, type TestServer } from "../../support/http.ts";
import {
  ACCEPT,
  clientFrame,
  closePayload,
  echo,
  HANDSHAKE,
  RawWebSocket,
} from "../../support/websocket.ts";

const [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] = [0, 1, 2, 8, 9, 10];
const forever = new AbortController().signal;

/** Serves WebSockets at `/socket`. */
function serve(server: TestServer, handlers: (c: HttpEnv["Bindings"]) => WebSocketHandlers): void {
  const app = new Hono<HttpEnv>();
  app.get("/socket", (c) => c.env.upgrade?.(handlers(c.env)) ?? c.text("no WebSocket"));
  server.service.mount(app, forever);
}

function serveEcho(server: TestServer): void {
  server.service.mount(new Hono<HttpEnv>().get("/socket", echo), forever);
}

async function handshake(
  { port }: TestServer,
  headers: Readonly<Record<string, string | undefined>> = {},
  line = "GET /socket",
) {
  const fields = Object.entries({ ...HANDSHAKE, ...headers });
  const sent = fields.flatMap(([name, value]) => value === undefined ? [] : [[name, value]]);
  using client = await RawClient.request(port, line, Object.fromEntries(sent));
  return await client.head();
}

Deno.test("upgrade() opens a WebSocket that sends and gets text and bytes", async () => {
  await using server = await startServer();
  serveEcho(server);
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/socket`);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    socket.send("hello");
    socket.send(new Uint8Array(60_000).fill(7));
  };
  const answers: unknown[] = [];
  const closed = new Promise<CloseEvent>((resolve) => socket.onclose = resolve);
  socket.onmessage = ({ data }) => {
    answers.push(data);
    if (answers.length === 2) socket.close(3000, "enough");
  };
  const { code, reason, wasClean } = await closed;
  assertEquals(answers, ["hello, too", new Uint8Array(60_000).fill(7).buffer]);
  assertEquals([code, reason, wasClean], [3000, "", true]);
});

Deno.test("upgrade() is there for requests for a WebSocket only", async () => {
  await using server = await startServer();
  serveEcho(server);
  const others = [
    {},
    { "Upgrade": "websocket" },
    { "Connection": "Upgrade", "Upgrade": "h2c", "HTTP2-Settings": "" },
  ];
  for (const headers of others) {
    using client = await RawClient.request(server.port, "GET /socket", headers);
    assertEquals((await client.head()).status, 404);
  }
  const { status, headers } = await handshake(server);
  assertEquals(status, 101);
  assertEquals(headers.get("Upgrade"), "websocket");
  assertEquals(headers.get("Sec-WebSocket-Accept"), ACCEPT);
  assertEquals((await handshake(server, { "Upgrade": "WebSocket" })).status, 101);
});

Deno.test("a handshake that is wrong is refused before handlers see it", async () => {
  await using server = await startServer();
  let asked = 0;
  const app = new Hono<HttpEnv>().all("*", (c) => c.text(String(++asked)));
  server.service.mount(app, forever);
  const cases: [Record<string, string | undefined>, string, number, [string, string]?][] = [
    [{ "Sec-WebSocket-Key": undefined }, "GET /socket", 400],
    [{ "Sec-WebSocket-Key": "" }, "GET /socket", 400],
    [{ "Sec-WebSocket-Key": "AAAA" }, "GET /socket", 400],
    [{ "Sec-WebSocket-Version": undefined }, "GET /socket", 426, ["Sec-WebSocket-Version", "13"]],
    [{ "Sec-WebSocket-Version": "8" }, "GET /socket", 426, ["Sec-WebSocket-Version", "13"]],
    [{}, "DELETE /socket", 405, ["Allow", "GET"]],
    [{}, "GET /../socket", 400],
  ];
  for (const [headers, line, status, [name, value] = ["Connection", "close"]] of cases) {
    const answer = await handshake(server, headers, line);
    assertEquals([answer.status, answer.headers.get(name)], [status, value]);
    assertMatch(JSON.parse(new TextDecoder().decode(answer.body)).error, /./);
  }
  assertEquals(asked, 0);
});

Deno.test("what handlers answer to a request for a WebSocket otherwise is its refusal", async () => {
  await using server = await startServer();
  const app = new Hono<HttpEnv>()
    .get("/no", (c) => c.text("not you", 403, { "X-Why": "because" }))
    .get("/throws", () => {
      throw new Error("broken");
    })
    .get("/live", (c) => {
      const body = ReadableStream.from(["one ", "two"]).pipeThrough(new TextEncoderStream());
      return c.env.live(body, {});
    });
  server.service.mount(app, forever);
  const texts: Record<string, [number, string]> = {
    "/no": [403, "not you"],
    "/throws": [500, '{"error":"Internal server error"}'],
    "/live": [200, "one two"],
    "/nothing": [
      404,
      '{"error":"Nothing answers GET /nothing; is the plugin for it in [Plugins]?"}',
    ],
  };
  for (const [path, [status, text]] of Object.entries(texts)) {
    using client = await RawClient.request(server.port, `GET ${path}`, HANDSHAKE);
    const answer = await client.readAll();
    assertEquals([answer.status, new TextDecoder().decode(answer.body)], [status, text]);
    assertEquals(answer.headers.get("Connection"), "close");
    if (path === "/no") assertEquals(answer.headers.get("X-Why"), "because");
  }
});

Deno.test("pages of origins that Cors does not name get no WebSocket", async () => {
  await using server = await startServer({ http: { Cors: ["https://a.example"] } });
  serveEcho(server);
  const status = async (origin?: string) => (await handshake(server, { "Origin": origin })).status;
  const own = `http://127.0.0.1:${server.port}`;
  for (const origin of [undefined, "https://a.example", own]) {
    assertEquals(await status(origin), 101);
  }
  for (const origin of ["https://b.example", "http://127.0.0.1:1", "null"]) {
    assertEquals(await status(origin), 403);
  }
  await server.plugins.configure("http", { Host: "127.0.0.1", Port: 0, Cors: [] });
  assertEquals([await status("https://a.example"), await status(own)], [403, 101]);
  await server.plugins.configure("http", { Host: "127.0.0.1", Port: 0 });
  assertEquals(await status("https://b.example"), 101);
});

Deno.test("a WebSocket is closed with the code for what its client did wrong", async () => {
  await using server = await startServer();
  let closed = 0;
  serve(server, () => ({ maxMessageBytes: 1000, open() {}, close: () => void closed++ }));
  const part = clientFrame(BINARY, new Uint8Array(100), { fin: false });
  const more = clientFrame(CONTINUATION, new Uint8Array(100), { fin: false });
  const cases: [string, number, Uint8Array][] = [
    ["rubbish", 1002, new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n")],
    ["no mask", 1002, clientFrame(TEXT, "a", { mask: undefined })],
    ["no UTF-8", 1007, clientFrame(TEXT, Uint8Array.of(0xff))],
    ["a long message", 1009, clientFrame(TEXT, "a".repeat(1001))],
    ["a huge message", 1009, clientFrame(BINARY, "", { length: 2 ** 40 })],
    ["parts without end", 1009, concat([part, ...Array<Uint8Array>(200).fill(more)])],
  ];
  await Promise.all(cases.map(async ([name, code, bytes]) => {
    using client = await RawWebSocket.open(server.port, "/socket");
    await client.send(bytes);
    const closing = client.closing();
    // What comes after it is passed over.
    await client.send(new Uint8Array(10_000)).catch(() => {});
    const [found, reason] = await closing;
    assertEquals(found, code, name);
    assertMatch(reason, /./);
  }));
  assertEquals(closed, cases.length);
  assertEquals(server.logs.filter((line) => line.startsWith("error")), []);
});

Deno.test("a closing handshake of the client is answered with its code", async () => {
  await using server = await startServer();
  let closed = 0;
  serve(server, () => ({ open() {}, close: () => void closed++ }));
  for (const payload of ["", closePayload(1001, "bye")]) {
    using client = await RawWebSocket.open(server.port, "/socket");
    // What follows a close frame does not count.
    await client.send(concat([clientFrame(CLOSE, payload), clientFrame(3)]));
    assertEquals(await client.next(), {
      opcode: CLOSE,
      payload: new Uint8Array(payload.slice(0, 2) as Uint8Array),
    });
    assertEquals(await client.next(), undefined);
  }
  assertEquals(closed, 2);
});

Deno.test("close() sends what was sent before it, then a code and a reason", async () => {
  await using server = await startServer();
  const log: string[] = [];
  serve(server, () => ({
    open(socket) {
      socket.send("last words");
      socket.close(4000, "done");
      socket.close(1011, "again");
      log.push(String(socket.send("too late")));
    },
    message: () => void log.push("message"),
    close: () => void log.push("close"),
  }));
  using client = await RawWebSocket.open(server.port, "/socket");
  await client.send(clientFrame(TEXT, "nobody listens any more"));
  assertEquals(new TextDecoder().decode((await client.next())?.payload), "last words");
  assertEquals((await client.next())?.payload, closePayload(4000, "done"));
  await client.send(clientFrame(CLOSE, closePayload(4000)));
  assertEquals(await client.next(), undefined);
  assertEquals(log, ["close", "false"]);
});

Deno.test("a client that does not answer a close frame is cut off after some seconds", async () => {
  await using server = await startServer();
  let over: AbortSignal | undefined;
  serve(server, ({ signal }) => {
    over = signal;
    return { open: (socket) => socket.close() };
  });
  using client = await RawWebSocket.open(server.port, "/socket");
  assertEquals((await client.next())?.opcode, CLOSE);
  const start = performance.now();
  const ended = new Promise((resolve) => over?.addEventListener("abort", resolve));
  await ended;
  const seconds = (performance.now() - start) / 1000;
  assert(seconds > 4 && seconds < 8, `${seconds} s`);
});

Deno.test("pings are answered with what they carry", async () => {
  await using server = await startServer();
  serveEcho(server);
  using client = await RawWebSocket.open(server.port, "/socket");
  await client.send(concat([clientFrame(PING, "one"), clientFrame(PING), clientFrame(PONG, "x")]));
  assertEquals(await client.next(), { opcode: PONG, payload: new TextEncoder().encode("one") });
  assertEquals(await client.next(), { opcode: PONG, payload: new Uint8Array() });
});

Deno.test("only the last ping is answered when a client does not read", async () => {
  await using server = await startServer();
  let opened: WebSocketConnection | undefined;
  serve(server, () => ({ open: (socket) => void (opened = socket) }));
  using client = await RawWebSocket.open(server.port, "/socket");
  // More than the system takes: the socket has to wait for the client.
  while (opened === undefined || opened.send(new Uint8Array(1_000_000))) await delay(1);
  for (let n = 0; n < 300; n++) await client.send(clientFrame(PING, String(n)));
  // The server has read all of them when it has read this one.
  await client.send(clientFrame(PING, "last"));
  await delay(100);
  let pongs = 0;
  for (let frame = await client.next(); frame; frame = await client.next()) {
    if (frame.opcode !== PONG) continue;
    pongs++;
    if (new TextDecoder().decode(frame.payload) === "last") break;
  }
  assertEquals(pongs, 1);
});

Deno.test("whenReady() tells when a slow client has taken all", async () => {
  await using server = await startServer();
  let sent = 0;
  let stalls = 0;
  serve(server, () => ({
    open(socket) {
      const send = () => {
        while (sent < 40) {
          sent++;
          if (!socket.send(new Uint8Array(1_000_000))) {
            stalls++;
            return socket.whenReady(send);
          }
        }
        socket.close();
      };
      send();
    },
  }));
  using client = await RawWebSocket.open(server.port, "/socket");
  await delay(100);
  assert(sent < 40, `${sent} messages wait`);
  let received = 0;
  for (let frame = await client.next(); frame?.opcode === BINARY; frame = await client.next()) {
    received++;
  }
  assertEquals([received, sent], [40, 40]);
  assert(stalls > 1);
});

Deno.test("a client that takes nothing for WriteTimeout is cut off", async () => {
  await using server = await startServer({ http: { WriteTimeout: 0.3 } });
  let isClosed = false;
  serve(server, () => ({
    open(socket) {
      const send = () => {
        while (socket.send(new Uint8Array(1_000_000)));
        socket.whenReady(send);
      };
      send();
    },
    close: () => void (isClosed = true),
  }));
  using _client = await RawWebSocket.open(server.port, "/socket");
  await delay(150);
  assertEquals(isClosed, false);
  await eventually("it is cut off", () => isClosed);
});

Deno.test("a client that is gone without a word is noticed", async () => {
  await using server = await startServer();
  let isClosed = false;
  let over: AbortSignal | undefined;
  serve(server, ({ signal }) => {
    over = signal;
    return { open() {}, close: () => void (isClosed = true) };
  });
  const client = await RawWebSocket.open(server.port, "/socket");
  client[Symbol.dispose]();
  await eventually("it is noticed", () => isClosed && over?.aborted === true);
});

/** Serves WebSockets that open when `open` is called; `log` tells what becomes of requests. */
function serveLate(server: TestServer) {
  const log: string[] = [];
  let open = () => {};
  const app = new Hono<HttpEnv>().get("/socket", async (c) => {
    log.push("asks");
    const { signal } = c.env;
    await new Promise<void>((resolve) => {
      open = resolve;
      if (signal.aborted) resolve();
      signal.addEventListener("abort", () => resolve());
    });
    log.push(signal.aborted ? "left" : "opens");
    return echo(c);
  });
  server.service.mount(app, forever);
  return { log, open: () => open() };
}

Deno.test("what a client says before its WebSocket is open is read when it is", async () => {
  await using server = await startServer();
  const { log, open } = serveLate(server);
  using client = await RawClient.request(server.port, "GET /socket", HANDSHAKE);
  const frame = clientFrame(TEXT, "hello");
  await client.send(frame.subarray(0, 4));
  await eventually("it asks", () => log.length === 1);
  await client.send(frame.subarray(4));
  await delay(20);
  open();
  let answer = "";
  while (!answer.endsWith("hello, too")) {
    answer += new TextDecoder().decode(await client.read() ?? new Uint8Array());
  }
  assertEquals(log, ["asks", "opens"]);
});

Deno.test("a request for a WebSocket is over when its client leaves, or says a lot", async () => {
  await using server = await startServer();
  const { log } = serveLate(server);
  const leaves = await RawClient.request(server.port, "GET /socket", HANDSHAKE);
  await eventually("it asks", () => log.length === 1);
  leaves[Symbol.dispose]();
  await eventually("its leave is noticed", () => log.length === 2);
  using talks = await RawClient.request(server.port, "GET /socket", HANDSHAKE);
  await talks.send(new Uint8Array(5000));
  await eventually("it is cut off", () => log.length === 4);
  assertEquals(log, ["asks", "left", "asks", "left"]);
});

Deno.test("a WebSocket is closed with 1011 when a handler throws", async () => {
  await using server = await startServer();
  const broken = () => {
    throw new Error("broken");
  };
  const app = new Hono<HttpEnv>()
    .get("/open", (c) => c.env.upgrade?.({ open: broken }) ?? c.notFound())
    .get("/message", (c) => c.env.upgrade?.({ open() {}, message: broken }) ?? c.notFound());
  server.service.mount(app, forever);
  for (const path of ["/open", "/message"]) {
    using client = await RawWebSocket.open(server.port, path);
    await client.send(clientFrame(TEXT, "a"));
    assertEquals((await client.next())?.payload, closePayload(1011, "The server failed"));
    await client.send(clientFrame(CLOSE, closePayload(1011)));
    assertEquals(await client.next(), undefined);
  }
  const line = "error a WebSocket failed: Error: broken";
  assertEquals(server.logs.filter((logged) => logged === line).length, 2);
});

Deno.test("http stops at once, and says so, when nothing is left but WebSockets", async () => {
  await using server = await startServer();
  serve(server, () => ({ open() {} }));
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/socket`);
  await new Promise((resolve) => socket.onopen = resolve);
  const closed = new Promise<CloseEvent>((resolve) => socket.onclose = resolve);
  const start = performance.now();
  await server.plugins.unload("http");
  assert(performance.now() - start < 500);
  const { code, reason, wasClean } = await closed;
  assertEquals([code, reason, wasClean], [1001, "The server stops", true]);
});
