import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { once } from "node:events";
import { connect, createServer, type Server } from "node:net";
import { freePort } from "../support/free_port.ts";
import { addressOf, bind, bracketed, localHost, readTlsPair } from "../../plugins/tcp.ts";

const fixture = (name: string) => new URL(`./http/fixtures/${name}`, import.meta.url).pathname;

/** A server that is closed with the test. */
function server(onSocket = () => {}): Server & Disposable {
  const made = createServer((socket) => {
    onSocket();
    socket.destroy();
  });
  return Object.assign(made, { [Symbol.dispose]: () => void made.close() });
}

Deno.test("bind() gives the port that the server listens on", async () => {
  using first = server();
  using second = server();
  const port = await bind(first, { host: "127.0.0.1", port: 0 });
  assert(port > 0);
  assertNotEquals(await bind(second, { host: "127.0.0.1", port: 0 }), port);
});

Deno.test("bind() names the address and what to do when the port is in use", async () => {
  using first = server();
  using second = server();
  const host = "127.0.0.1";
  const port = await bind(first, { host, port: 0 });
  await assertRejects(
    () => bind(second, { host, port }),
    Error,
    `cannot listen on 127.0.0.1:${port}: port ${port} is in use; stop what holds it, or set another`,
  );
  // A port is not shared with one who does not.
  await assertRejects(() => bind(second, { host, port, shared: true }), Error, "is in use");
});

Deno.test("bind() names the address when there is no such interface", async () => {
  using one = server();
  await assertRejects(
    () => bind(one, { host: "192.0.2.1", port: 0 }),
    Error,
    "cannot listen on 192.0.2.1:0: ",
  );
  await assertRejects(
    () => bind(one, { host: "2001:db8::1", port: 0 }),
    Error,
    "cannot listen on [2001:db8::1]:0: ",
  );
});

Deno.test("bind() refuses to share any free port: each would have another one", async () => {
  using one = server();
  await assertRejects(
    () => bind(one, { host: "::1", port: 0, shared: true }),
    Error,
    "cannot listen on [::1]:0: isolates that share a port must know it",
  );
});

Deno.test("bind() lets several listen on a shared port, each with connections of its own", async () => {
  const counts = { first: 0, second: 0 };
  using first = server(() => counts.first++);
  using second = server(() => counts.second++);
  const host = "127.0.0.1";
  const port = freePort();
  await bind(first, { host, port, shared: true });
  assertEquals(await bind(second, { host, port, shared: true }), port);
  for (let attempt = 0; attempt < 200 && counts.first * counts.second === 0; attempt++) {
    const socket = connect({ host, port });
    socket.resume();
    await once(socket, "close");
  }
  assert(counts.first > 0 && counts.second > 0, `connections: ${JSON.stringify(counts)}`);
});

Deno.test("readTlsPair() reads a certificate and its key", async () => {
  const { cert, key } = await readTlsPair(fixture("cert.pem"), fixture("key.pem"));
  assert(cert.includes("BEGIN CERTIFICATE") && key.includes("PRIVATE KEY"));
});

Deno.test("readTlsPair() says what is wrong with the files", async () => {
  const rtmp = new URL("../fixtures/rtmp/", import.meta.url).pathname;
  const cases = [
    ["/nowhere/cert.pem", fixture("key.pem"), "cannot read Cert /nowhere/cert.pem: "],
    [fixture("cert.pem"), "/nowhere/key.pem", "cannot read Key /nowhere/key.pem: "],
    [fixture("key.pem"), fixture("key.pem"), "no certificate and its key"],
    [fixture("cert.pem"), fixture("cert.pem"), "no certificate and its key"],
    [fixture("cert.pem"), `${rtmp}key.pem`, "is not one for Key"],
  ] as const;
  for (const [cert, key, message] of cases) {
    await assertRejects(() => readTlsPair(cert, key), Error, message);
  }
});

Deno.test("addressOf(), localHost() and bracketed() name hosts as URLs have them", () => {
  assertEquals(addressOf("127.0.0.1", 80), "127.0.0.1:80");
  assertEquals(addressOf("::1", 80), "[::1]:80");
  assertEquals(addressOf("::ffff:10.0.0.1", 80), "10.0.0.1:80");
  assertEquals(addressOf("::FFFF:10.0.0.1", 80), "10.0.0.1:80");
  assertEquals(addressOf("::ffff:a00:1", 80), "[::ffff:a00:1]:80");
  assertEquals(addressOf(), ":0");
  assertEquals(["0.0.0.0", "::", "10.0.0.1", "::2"].map(localHost), [
    "127.0.0.1",
    "::1",
    "10.0.0.1",
    "::2",
  ]);
  assertEquals(["example.org", "127.0.0.1", "::1"].map(bracketed), [
    "example.org",
    "127.0.0.1",
    "[::1]",
  ]);
});
