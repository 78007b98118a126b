/** The console's page and files, as a browser gets them. */

import { assert, assertEquals, assertMatch, assertNotMatch } from "@std/assert";
import { type Asset, Assets } from "../../../plugins/console/assets.ts";
import consolePlugin from "../../../plugins/console/mod.ts";
import { RawClient, startServer, type TestServer } from "../../support/http.ts";

const PAGE = new URL("../../../plugins/console/page/", import.meta.url);

/** A server with the console. */
async function startConsole(): Promise<TestServer> {
  const server = await startServer();
  await server.plugins.load("console", consolePlugin);
  return server;
}

async function get(url: string, headers: Record<string, string> = {}, method = "GET") {
  const response = await fetch(url, { headers, method });
  return { status: response.status, headers: response.headers, text: await response.text() };
}

/** The answer to a request line that no client would make, byte by byte. */
async function getRaw({ port }: TestServer, line: string, headers: Record<string, string> = {}) {
  using client = await RawClient.request(port, line, { ...headers, "Connection": "close" });
  return await client.readAll();
}

async function assetOf(name: string): Promise<Asset> {
  const asset = await new Assets().get(name);
  assert(asset, name);
  return asset;
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

Deno.test("the console serves its page at /, for no more than its own files and streams", async () => {
  await using server = await startConsole();
  const assets = new Assets();
  const template = await Deno.readTextFile(new URL("index.html", PAGE));
  const index = template.replaceAll("/console/", `/console/${await assets.version()}/`);
  const page = await get(`${server.url}/`);
  assertEquals([page.status, page.text], [200, index]);
  const { headers } = page;
  assertEquals(headers.get("Content-Type"), "text/html; charset=utf-8");
  assertEquals(headers.get("Cache-Control"), "no-cache");
  const policy = headers.get("Content-Security-Policy") ?? "";
  const directives = new Map(
    policy.split("; ").map((directive) => {
      const [name = "", ...sources] = directive.split(" ");
      return [name, sources.join(" ")];
    }),
  );
  assertEquals(directives.get("default-src"), "'none'");
  assertEquals(directives.get("script-src"), "'self'");
  assertEquals(directives.get("frame-ancestors"), "'self'");
  assertNotMatch(policy, /unsafe|https?:|\*/);
  assertEquals(headers.get("X-Content-Type-Options"), "nosniff");
  // Tokens in its address stay with it.
  assertEquals(headers.get("Referrer-Policy"), "no-referrer");
  assertEquals(headers.get("Strict-Transport-Security"), null);
  const head = await get(`${server.url}/`, {}, "HEAD");
  assertEquals([head.status, head.text], [200, ""]);
  for (const name of ["Content-Type", "ETag", "Content-Security-Policy"]) {
    assertEquals(head.headers.get(name), headers.get(name));
  }
});

Deno.test("the console serves /watch/{path}, with 404 while there is no such stream", async () => {
  await using server = await startConsole();
  const index = text((await assetOf("index.html")).plain);
  const publisher = await server.engine.publish("live/a b", { type: "Test" });
  const cases: [string, number][] = [
    ["live/a%20b", 200],
    ["live/a%20b/?token=x", 200],
    ["live/b", 404],
    ["live", 404],
  ];
  for (const [path, status] of cases) {
    for (const method of ["GET", "HEAD"]) {
      const answer = await get(`${server.url}/watch/${path}`, {}, method);
      assertEquals([answer.status, answer.text], [status, method === "GET" ? index : ""], path);
      assert(answer.headers.has("Content-Security-Policy"));
    }
  }
  publisher.close();
  const { etag } = await assetOf("index.html");
  const gone = await get(`${server.url}/watch/live/a%20b`, { "If-None-Match": etag });
  assertEquals([gone.status, gone.text], [404, index]);
});

Deno.test("the console refuses paths that are tricks", async () => {
  await using server = await startConsole();
  await server.engine.publish("live/a", { type: "Test" });
  const cases: [string, number][] = [
    ["/watch/live%2Fa", 400],
    ["/watch/live%5ca", 400],
    ["/watch/live/a%00", 400],
    ["/watch/live/a%09", 400],
    ["/watch/live/a%0a", 404],
    ["/watch/live/a%3Fx=1", 400],
    [`/watch/${"a".repeat(300)}`, 400],
    ["/watch/../live/a", 400],
    ["/watch/%2e%2e/a", 400],
    ["/watch/", 404],
    ["/watch", 404],
    ["/console/", 404],
    ["/console/nothing.ts", 404],
    ["/console/page/index.html", 404],
    ["/console/..%2fmod.ts", 404],
    ["/console/%2e%2e%2fmod.ts", 404],
    ["/console/lib%2Fhls.mjs%00", 404],
    ["/console/index.html%00", 404],
    ["/console/app.ts", 404],
    ["/console/../mod.ts", 400],
    ["/console/__proto__", 404],
    ["/console/toString", 404],
    ["/console/constructor", 404],
  ];
  for (const [path, status] of cases) {
    const answer = await getRaw(server, `GET ${path}`);
    assertEquals(answer.status, status, path);
    assertMatch(text(answer.body), /^\{"error":/, path);
  }
});

Deno.test("the console answers 405 to what is no reading", async () => {
  await using server = await startConsole();
  for (const path of ["/", "/watch/live/a", "/console/index.html"]) {
    const { status, headers } = await get(`${server.url}${path}`, {}, "POST");
    assertEquals([status, headers.get("Allow")], [405, "GET, HEAD"], path);
  }
});

Deno.test("the console compresses for those who take it", async () => {
  await using server = await startConsole();
  const asset = await assetOf("style.css");
  assert(asset.gzipped.length < asset.plain.length);
  const cases: [string | undefined, boolean][] = [
    [undefined, false],
    ["", false],
    ["gzip", true],
    ["GZIP", true],
    ["deflate, gzip;q=0.5, br", true],
    ["gzip;q=0", false],
    ["gzip; q=0.0, *", false],
    ["*", true],
    ["*;q=0", false],
    ["br", false],
    ["identity", false],
  ];
  for (const [encoding, isGzip] of cases) {
    const fields = encoding === undefined ? undefined : { "Accept-Encoding": encoding };
    const { status, headers, body } = await getRaw(server, "GET /console/style.css", fields);
    assertEquals(
      [status, headers.get("content-encoding")],
      [200, isGzip ? "gzip" : null],
      encoding,
    );
    assertEquals(body, isGzip ? asset.gzipped : asset.plain, encoding);
    assertMatch(headers.get("vary") ?? "", /Accept-Encoding/i);
    assertEquals(Number(headers.get("content-length")), body.length);
  }
  const inflated = new Response(asset.gzipped).body?.pipeThrough(new DecompressionStream("gzip"));
  assertEquals(new Uint8Array(await new Response(inflated).arrayBuffer()), asset.plain);
});

Deno.test("the console sends nothing to those who have it", async () => {
  await using server = await startConsole();
  const url = `${server.url}/console/style.css`;
  const tag = (await get(url)).headers.get("ETag") ?? "";
  const cases: [string, number][] = [
    [tag, 304],
    [tag.replace("W/", ""), 304],
    [`"a", ${tag}`, 304],
    ["*", 304],
    ['"a"', 200],
  ];
  for (const [field, status] of cases) {
    for (const method of ["GET", "HEAD"]) {
      const answer = await get(url, { "If-None-Match": field }, method);
      const isEmpty = status === 304 || method === "HEAD";
      assertEquals([answer.status, answer.text === ""], [status, isEmpty], `${method} ${field}`);
      assertEquals(answer.headers.get("ETag"), tag);
    }
  }
  const other = await get(`${server.url}/`);
  assert(other.headers.get("ETag") !== tag);
});

Deno.test("the console has its files for as long as it is loaded", async () => {
  await using server = await startConsole();
  await server.plugins.unload("console");
  for (const path of ["/", "/watch/live/a", "/console/index.html"]) {
    const { status, text } = await get(`${server.url}${path}`);
    assertEquals(status, 404);
    assertMatch(text, /is the plugin for it in \[Plugins\]/);
  }
});

Deno.test("Assets.get() makes a file once", async () => {
  const assets = new Assets();
  const [one, other] = await Promise.all([
    assets.get("lib/uplot.css"),
    assets.get("lib/uplot.css"),
  ]);
  assert(one);
  assert(one === other && one === await assets.get("lib/uplot.css"));
});

Deno.test("Assets has all files of the page, and the libraries that it uses", async () => {
  const files = await Array.fromAsync(Deno.readDir(PAGE), ({ name }) => name);
  const script = text((await assetOf("app.js")).plain);
  const used = new Set<string>();
  for (const name of files) {
    if (name.endsWith(".ts")) {
      assert(script.includes(`const $${name.slice(0, -3)} = `), `app.js has not ${name}`);
    } else {
      used.add(name);
    }
    const source = await Deno.readTextFile(new URL(name, PAGE));
    for (const [, path = ""] of source.matchAll(/["'`]\/console\/([\w./-]+)["'`]/g)) used.add(path);
    for (const [, library = ""] of source.matchAll(/(?:library|loadStyle)\("([^"]+)"\)/g)) {
      used.add(`lib/${library}`);
    }
  }
  assertEquals([...used].sort(), Assets.names.toSorted());
});

Deno.test("the console's files never change at the addresses that its page has them by", async () => {
  await using server = await startConsole();
  const version = await new Assets().version();
  const { text: page } = await get(`${server.url}/watch/live/a`);
  const linked = [...page.matchAll(/(?:href|src)="(\/[^"]+)"/g)].map(([, path = ""]) => path);
  assertEquals(linked, [`/console/${version}/style.css`, `/console/${version}/app.js`]);
  const forever = "public, max-age=31536000, immutable";
  const cases: [string, number, string | null][] = [
    ...linked.map((path): [string, number, string] => [path, 200, forever]),
    [`/console/${version}/lib/hls.mjs`, 200, forever],
    // A page that was loaded from another version of the server.
    [`/console/${"A".repeat(16)}/lib/hls.mjs`, 200, "no-cache"],
    ["/console/style.css", 200, "no-cache"],
    [`/console/${version}/nothing.js`, 404, null],
    [`/console/${version}/`, 404, null],
    [`/console/${version}`, 404, null],
  ];
  for (const [path, status, caching] of cases) {
    const answer = await get(server.url + path);
    assertEquals([answer.status, answer.headers.get("Cache-Control")], [status, caching], path);
  }
});

Deno.test("the console tells of the library that a player needs before the page does", async () => {
  await using server = await startConsole();
  const folder = `/console/${await new Assets().version()}/lib`;
  const hls = `<${folder}/hls.mjs>; rel=modulepreload`;
  const mpegts = `<${folder}/mpegts.js>; rel=preload; as=script`;
  const cases: [string, string | null][] = [
    ["", null],
    ["?player=ws-mp4", null],
    ["?player=constructor", null],
    ["?player=ll-hls", hls],
    ["?token=x&player=hls", hls],
    ["?player=ws-flv", mpegts],
    ["?player=http-flv", mpegts],
  ];
  for (const [search, link] of cases) {
    const { headers } = await get(`${server.url}/watch/live/a${search}`);
    assertEquals(headers.get("Link"), link, search);
  }
});

const TYPES: Record<string, string> = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  mjs: "text/javascript; charset=utf-8",
};

Deno.test("Assets.get() gives scripts that browsers understand, which import only what there is", async (t) => {
  for (const name of Assets.names) {
    await t.step(name, async () => {
      const asset = await assetOf(name);
      assertEquals(asset.type, TYPES[name.split(".").at(-1) ?? ""]);
      if (name.endsWith(".css") || name.endsWith(".html")) return;
      const imports: string[] = [];
      const add = (specifier: unknown) => {
        if (typeof specifier === "string") imports.push(new URL(specifier, `f:/${name}`).href);
      };
      const create = (): Deno.lint.LintVisitor => ({
        ImportDeclaration: ({ source }) => add(source.value),
        ExportAllDeclaration: ({ source }) => add(source.value),
        ExportNamedDeclaration: ({ source }) => add(source?.value),
      });
      // The parser of the linter takes no types in a file of this name.
      const plugin = { name: "imports", rules: { imports: { create } } };
      Deno.lint.runPlugin(plugin, "script.mjs", text(asset.plain));
      const missing = imports.filter((href) => !Assets.names.includes(href.slice("f:/".length)));
      assertEquals(missing, []);
    });
  }
});
