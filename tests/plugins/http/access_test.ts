/** Signing in, and who may read and change things: without a listener, and with one. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { FakeTime } from "@std/testing/time";
import { Hono } from "hono";
import { Access, type AccessOptions } from "../../../plugins/http/access.ts";
import type { HttpEnv } from "../../../plugins/http/service.ts";
import { startServer } from "../../support/http.ts";

const TOKEN = "correct-horse";
const HOST = "live.example";
const OWN = { "Origin": `http://${HOST}`, "Sec-Fetch-Site": "same-origin" };
const SESSION_S = 30 * 24 * 3600;

type Fields = Readonly<Record<string, string>>;

/** Routes that are guarded, and those to sign in and out. */
function startRig(options: Partial<AccessOptions> = { token: TOKEN }) {
  let now: AccessOptions = { publicRead: false, origins: [], ...options };
  const access = new Access(() => now);
  const app = new Hono<HttpEnv>()
    .post("/in", async (c) => await access.signIn(c, await c.req.text()))
    .post("/out", (c) => access.signOut(c))
    .all("/guarded", access.guard, (c) => c.text("fine"));
  const request = async (line: string, headers: Fields = {}, body?: string) => {
    const [method = "", path] = line.split(" ");
    const init = { method, headers, ...(body !== undefined && { body }) };
    const env = { remote: "192.0.2.1:5000" } as HttpEnv["Bindings"];
    return await app.request(`http://${HOST}${path}`, init, env);
  };
  return {
    request,
    configure: (next: Partial<AccessOptions>) => now = { ...now, ...next },
    status: async (line: string, headers: Fields = {}) => (await request(line, headers)).status,
    /** Signs in: the `Set-Cookie`. */
    async signIn(headers: Fields = OWN): Promise<string> {
      const response = await request("POST /in", headers, TOKEN);
      assertEquals(response.status, 204);
      return response.headers.get("Set-Cookie") ?? "";
    },
    wrong: async () => (await request("POST /in", OWN, "wrong")).status,
  };
}

/** What a browser sends back of a `Set-Cookie`. */
function cookieOf(field: string): string {
  return field.split(";")[0] ?? "";
}

Deno.test("signing in gives a cookie that pages of the server may read and change things with", async () => {
  const rig = startRig();
  const field = await rig.signIn();
  assertMatch(field, /^m7s_session=\d+\./);
  const attributes = field.split("; ").slice(1);
  assertEquals(attributes, [`Max-Age=${SESSION_S}`, "Path=/", "HttpOnly", "SameSite=Strict"]);
  const secure = await rig.signIn({ ...OWN, "Origin": `https://${HOST}` });
  assert(secure.split("; ").includes("Secure"), secure);
  const cookie = cookieOf(field);
  for (const method of ["GET", "DELETE"]) {
    assertEquals(await rig.status(`${method} /guarded`), 401);
    assertEquals(await rig.status(`${method} /guarded`, { ...OWN, "Cookie": cookie }), 200);
    const others = `a=b; ${cookie}; c=d`;
    assertEquals(await rig.status(`${method} /guarded`, { "Cookie": others }), 200);
  }
  // Another isolate has never seen it.
  assertEquals(await startRig().status("GET /guarded", { "Cookie": cookie }), 200);
});

Deno.test("a cookie is void when it is changed, of another token, or old", async () => {
  using time = new FakeTime();
  const rig = startRig();
  const cookie = cookieOf(await rig.signIn());
  const cases = [
    cookie.replace(/\d(?=\.)/, (digit) => String((Number(digit) + 1) % 10)),
    cookie.replace(/\.(.)/, (_, first) => first === "A" ? ".B" : ".A"),
    cookie.slice(0, -4),
    cookie.replace(/\..*/, ""),
    "m7s_session=",
    "m7s_session=9999999999.",
  ];
  for (const Cookie of cases) {
    assertEquals(await rig.status("GET /guarded", { Cookie }), 401, Cookie);
  }
  time.tick(SESSION_S * 1000 - 2000);
  assertEquals(await rig.status("GET /guarded", { "Cookie": cookie }), 200);
  time.tick(2000);
  assertEquals(await rig.status("GET /guarded", { "Cookie": cookie }), 401);
  const fresh = cookieOf(await rig.signIn());
  assertEquals(await rig.status("GET /guarded", { "Cookie": fresh }), 200);
  rig.configure({ token: "battery-staple" });
  assertEquals(await rig.status("GET /guarded", { "Cookie": fresh }), 401);
  rig.configure({ token: TOKEN });
  assertEquals(await rig.status("GET /guarded", { "Cookie": fresh }), 200);
});

Deno.test("a cookie does not count in requests of other sites' pages, nor do these sign in or out", async () => {
  const rig = startRig();
  const cookie = cookieOf(await rig.signIn());
  const cases: [string, Fields, boolean][] = [
    ["another site", { "Sec-Fetch-Site": "cross-site" }, false],
    ["another port of the host", { "Sec-Fetch-Site": "same-site" }, false],
    ["another site, of an old browser", { "Origin": "http://evil.example" }, false],
    ["another port, of an old browser", { "Origin": `http://${HOST}:8081` }, false],
    ["no origin at all", { "Origin": "null" }, false],
    ["its own", OWN, true],
    ["its own, of an old browser", { "Origin": `http://${HOST}` }, true],
    [
      "its own, behind a proxy that changes Host",
      {
        "Origin": "https://public.example",
        "Sec-Fetch-Site": "same-origin",
      },
      true,
    ],
    ["an address bar", { "Sec-Fetch-Site": "none" }, true],
    ["no browser", {}, true],
  ];
  for (const [what, headers, isOwn] of cases) {
    for (const method of ["GET", "DELETE"]) {
      const status = await rig.status(`${method} /guarded`, { ...headers, "Cookie": cookie });
      assertEquals(status, isOwn ? 200 : 401, `${method} of ${what}`);
    }
    const signIn = await rig.request("POST /in", headers, TOKEN);
    assertEquals(signIn.status, isOwn ? 204 : 403, `signing in on ${what}`);
    assertEquals(signIn.headers.has("Set-Cookie"), isOwn);
    const signOut = await rig.request("POST /out", headers);
    assertEquals(signOut.status, isOwn ? 204 : 403, `signing out on ${what}`);
    assertEquals(signOut.headers.has("Set-Cookie"), isOwn);
    // A token is nothing that a browser sends by itself.
    const bearer = { ...headers, "Authorization": `Bearer ${TOKEN}` };
    assertEquals(await rig.status("DELETE /guarded", bearer), 200);
  }
});

Deno.test("signing out takes the cookie away", async () => {
  const rig = startRig();
  const response = await rig.request("POST /out", OWN);
  assertMatch(response.headers.get("Set-Cookie") ?? "", /^m7s_session=; Max-Age=0; Path=\//);
});

Deno.test("after five wrong tokens in a second none is looked at, but those signed in go on", async () => {
  using time = new FakeTime();
  const rig = startRig();
  const cookie = cookieOf(await rig.signIn());
  const bearer = (token: string) => ({ "Authorization": `Bearer ${token}` });
  for (let second = 0; second < 3; second++) {
    const statuses = await Promise.all([rig.wrong(), rig.wrong(), rig.wrong()]);
    for (let more = 0; more < 2; more++) {
      statuses.push(await rig.status("GET /guarded", bearer("wrong-wrong")));
    }
    assertEquals(statuses, Array(5).fill(401));
    // Nobody finds out whether it is the right one.
    for (const token of ["wrong-wrong", TOKEN]) {
      const refused = await rig.request("GET /guarded", bearer(token));
      assertEquals([refused.status, refused.headers.get("Retry-After")], [429, "1"]);
      assertEquals((await rig.request("POST /in", OWN, token)).status, 429);
    }
    assertEquals(await rig.status("DELETE /guarded", { "Cookie": cookie }), 200);
    assertEquals(await rig.status("GET /guarded"), 401);
    time.tick(1000);
    for (let right = 0; right < 20; right++) {
      assertEquals(await rig.status("GET /guarded", bearer(TOKEN)), 200);
    }
    time.tick(1000);
  }
});

Deno.test("PublicRead lets everybody read, and nobody else than before change things", async () => {
  const far = "http://evil.example";
  const rig = startRig({ token: TOKEN, publicRead: true });
  const everybody: Fields[] = [{}, { "Origin": far }, { "X-Forwarded-For": "192.0.2.2" }];
  for (const headers of everybody) {
    assertEquals(await rig.status("GET /guarded", headers), 200);
    assertEquals(await rig.status("HEAD /guarded", headers), 200);
    for (const method of ["DELETE", "POST", "PUT"]) {
      assertEquals(await rig.status(`${method} /guarded`, headers), 401);
    }
  }
  const cookie = cookieOf(await rig.signIn());
  assertEquals(await rig.status("DELETE /guarded", { ...OWN, "Cookie": cookie }), 200);
  rig.configure({ token: undefined });
  assertEquals(await rig.status("GET /guarded"), 200);
  assertEquals(await rig.status("DELETE /guarded"), 403);
  rig.configure({ publicRead: false });
  assertEquals(await rig.status("GET /guarded"), 403);
});

Deno.test("POST /api/login and /api/logout sign a browser in and out", async () => {
  await using server = await startServer({ http: { ApiToken: TOKEN } });
  const login = (body: string, headers: Fields = {}) =>
    fetch(`${server.url}/api/login`, { method: "POST", body, headers });
  const refusals: [string, number][] = [
    [JSON.stringify({ token: "wrong" }), 401],
    ["", 400],
    ["{", 400],
    ["null", 400],
    ["{}", 400],
    [JSON.stringify({ token: 1 }), 400],
    [JSON.stringify({ token: "x".repeat(5000) }), 413],
  ];
  for (const [body, status] of refusals) {
    const response = await login(body);
    assertEquals([response.status, response.headers.has("Set-Cookie")], [status, false], body);
    assertEquals(Object.keys(await response.json()), ["error"]);
  }
  const elsewhere = await login(JSON.stringify({ token: TOKEN }), { "Origin": "http://a.example" });
  assertEquals(elsewhere.status, 403);
  await elsewhere.body?.cancel();
  const response = await login(JSON.stringify({ token: TOKEN }));
  assertEquals([response.status, response.headers.get("Cache-Control")], [204, "no-store"]);
  const Cookie = cookieOf(response.headers.get("Set-Cookie") ?? "");
  const streams = await fetch(`${server.url}/api/streams`, { headers: { Cookie } });
  assertEquals([streams.status, await streams.json()], [200, []]);
  const out = await fetch(`${server.url}/api/logout`, { method: "POST" });
  const cleared = `m7s_session_${server.port}=`;
  assertEquals([out.status, cookieOf(out.headers.get("Set-Cookie") ?? "")], [204, cleared]);
  for (const path of ["/api/login", "/api/logout"]) {
    const get = await fetch(`${server.url}${path}`);
    assertEquals([get.status, get.headers.get("Allow")], [405, "POST"]);
    await get.body?.cancel();
  }
});

Deno.test("POST /api/login has nothing to sign in with when there is no ApiToken", async () => {
  await using server = await startServer();
  const body = JSON.stringify({ token: "" });
  const response = await fetch(`${server.url}/api/login`, { method: "POST", body });
  assertEquals(response.status, 404);
  assertMatch((await response.json()).error, /no ApiToken/);
});

Deno.test("access guards routes of other plugins", async () => {
  await using server = await startServer({ http: { ApiToken: TOKEN } });
  const app = new Hono<HttpEnv>().get("/other", server.service.access, (c) => c.text("fine"));
  server.service.mount(app, new AbortController().signal);
  const headers = { "Authorization": `Bearer ${TOKEN}` };
  const status = async (init: RequestInit = {}) => {
    const response = await fetch(`${server.url}/other`, init);
    await response.body?.cancel();
    return response.status;
  };
  assertEquals([await status(), await status({ headers })], [401, 200]);
  const options = { Host: "127.0.0.1", Port: 0, ApiToken: TOKEN, PublicRead: true };
  await server.plugins.configure("http", options);
  assertEquals(await status(), 200);
});
