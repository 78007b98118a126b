import { assertEquals, assertMatch } from "@std/assert";
import { ClientAuthentication } from "../../../plugins/rtsp/authentication.ts";
import type { RtspResponse } from "../../../plugins/rtsp/message.ts";
import type { GuardRequest } from "../../../src/guards.ts";
import { RefusedError } from "../../../src/errors.ts";
import { serializeSdp } from "../../../src/rtp/sdp.ts";
import {
  descriptionOf,
  eventually,
  type PluginServer,
  type RequestOptions,
  RtspTestClient,
  startRtsp,
} from "../../support/rtsp.ts";

const BOB = { user: "bob", password: "a pass" };
const ANNOUNCE = {
  headers: { "Content-Type": "application/sdp" },
  body: serializeSdp(descriptionOf()),
};

/** Sends a request with credentials, once it has been challenged. */
async function shown(
  client: RtspTestClient,
  method: string,
  credentials = BOB,
): Promise<RtspResponse> {
  const parts: RequestOptions = method === "ANNOUNCE" ? ANNOUNCE : {};
  const first = await client.request(method, parts);
  assertEquals(first.status, 401);
  const auth = new ClientAuthentication(credentials);
  auth.challenge(first.headers.get("www-authenticate") ?? "");
  const Authorization = auth.authorize(method, client.url);
  return await client.request(method, { ...parts, headers: { ...parts.headers, Authorization } });
}

/** A server that asks guards, and what these were asked. */
async function guarded(
  options: Record<string, unknown>,
  password = BOB.password,
): Promise<{ readonly server: PluginServer; readonly asked: GuardRequest[] }> {
  const server = await startRtsp(options);
  const asked: GuardRequest[] = [];
  for (const action of ["publish", "subscribe"] as const) {
    server.engine.addGuard(action, (request) => {
      asked.push(request);
      if (request.args.get("password") !== password) throw new RefusedError("no password");
    });
  }
  return { server, asked };
}

Deno.test("RtspSession challenges who comes without credentials, where there are users", async () => {
  await using server = await startRtsp({ Users: { bob: BOB.password } });
  await using client = await RtspTestClient.open(`${server.url}/live/a`);
  assertEquals(await client.status("OPTIONS"), 200);
  for (const method of ["DESCRIBE", "SETUP"]) {
    const { status, headers } = await client.request(method);
    assertEquals(status, 401);
    assertMatch(headers.get("www-authenticate") ?? "", /^Digest .*SHA-256.*Digest .*MD5/);
  }
  assertEquals(await client.status("ANNOUNCE", ANNOUNCE), 401);
  assertEquals(server.engine.streams.size, 0);
});

Deno.test("RtspSession lets in users with their passwords, and gives these to guards", async () => {
  const { server, asked } = await guarded({ Users: { bob: BOB.password } });
  await using _ = server;
  await using client = await RtspTestClient.open(`${server.url}/live/a?user=eve&k=1`);
  assertEquals((await shown(client, "ANNOUNCE")).status, 200);
  assertEquals(asked.map(({ path, args }) => [path, `${args}`]), [
    ["live/a", "user=bob&k=1&password=a+pass"],
  ]);
  await client.setUp(0);
  await client.ok("RECORD");
  await client.pushFrames("Kvv");
  await using player = await RtspTestClient.open(`${server.url}/live/a`);
  assertEquals((await shown(player, "DESCRIBE")).status, 200);
  // Once let in, it need not show them any more.
  await player.setUp(0);
  await player.ok("PLAY");
  assertEquals(await player.status("DESCRIBE", { url: `${server.url}/live/b` }), 455);
  // But what it shows must be right.
  const headers = { Authorization: `Basic ${btoa("bob:a pass")}` };
  assertEquals(await player.status("DESCRIBE", { headers }), 401);
});

Deno.test("RtspSession refuses wrong passwords, and closes after a few", async () => {
  await using server = await startRtsp({ Users: { bob: BOB.password } });
  await using client = await RtspTestClient.open(`${server.url}/live/a`);
  const wrong = { ...BOB, password: "guess" };
  for (let guess = 0; guess < 5; guess++) {
    assertEquals((await shown(client, "DESCRIBE", wrong)).status, 401);
  }
  await client.closed;
  await eventually("a reason", () => server.reasons.length > 0);
  assertEquals(server.reasons, ["it was refused 5 times"]);
});

Deno.test("RtspSession asks for a password where a guard refuses who shows none", async () => {
  const { server, asked } = await guarded({});
  await using _ = server;
  await using client = await RtspTestClient.open(`${server.url}/live/a`);
  assertEquals((await shown(client, "ANNOUNCE")).status, 200);
  assertEquals(asked.map(({ args }) => args.get("user")), [null, "bob"]);
});

Deno.test("RtspSession refuses for good where a guard refuses who shows a password", async () => {
  const { server } = await guarded({}, "another");
  await using _ = server;
  await using client = await RtspTestClient.open(`${server.url}/live/a`);
  assertEquals((await shown(client, "ANNOUNCE")).status, 403);
  const { server: strict } = await guarded({ Users: { bob: BOB.password } }, "another");
  await using _strict = strict;
  await using user = await RtspTestClient.open(`${strict.url}/live/a`);
  assertEquals((await shown(user, "ANNOUNCE")).status, 403);
});

Deno.test("RtspSession takes Basic only where that is allowed", async () => {
  for (const AllowBasic of [false, true]) {
    await using server = await startRtsp({ Users: { bob: BOB.password }, AllowBasic });
    await using client = await RtspTestClient.open(`${server.url}/live/a`);
    const Authorization = `Basic ${btoa("bob:a pass")}`;
    const status = await client.status("ANNOUNCE", {
      ...ANNOUNCE,
      headers: { ...ANNOUNCE.headers, Authorization },
    });
    assertEquals(status, AllowBasic ? 200 : 401);
  }
});

Deno.test("RtspSession logs no password", async () => {
  const { server } = await guarded({ Users: { bob: BOB.password } }, "another");
  await using _ = server;
  await using client = await RtspTestClient.open(`${server.url}/live/a?password=topsecret`);
  await shown(client, "ANNOUNCE");
  await shown(client, "DESCRIBE").catch(() => {});
  for (const line of server.logs) assertEquals(/a.pass|topsecret/.test(line), false, line);
});
