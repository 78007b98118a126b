/** The console and the API's events with `Workers = 2`: the same in both isolates. */

import { assert, assertEquals, assertNotMatch } from "@std/assert";
import type { ApiEvents, LogInfo } from "../../../plugins/http/service.ts";
import { freePort } from "../../support/free_port.ts";
import { Program } from "../../support/program.ts";
import { ATTEMPTS, Connection } from "../../support/workers.ts";

const config = (port: number) => `
[Engine]
Workers = 2
[Plugins]
HTTP = "{root}plugins/http/mod.ts"
HTTP_FLV = "{root}plugins/http_flv/mod.ts"
Console = "{root}plugins/console/mod.ts"
Probe = "{root}tests/fixtures/plugins/isolate_probe.ts"
[HTTP]
Host = "127.0.0.1"
Port = ${port}
ApiToken = "correct-horse"
`;

/** A connection to each isolate. */
async function connect(url: string): Promise<[Connection, Connection]> {
  const found: Connection[] = [];
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const connection = new Connection(url);
    const { isolate }: { readonly isolate: number } = await connection.json("/probe");
    found[isolate]?.[Symbol.dispose]();
    found[isolate] = connection;
    const [first, second] = found;
    if (first && second) return [first, second];
  }
  throw new Error("Only one isolate answers");
}

type Events = { -readonly [K in keyof ApiEvents]?: ApiEvents[K] };

/** The newest data of each event once `holds`; the connection ends with that. */
async function eventsOf(response: Response, holds: (events: Events) => boolean): Promise<Events> {
  assertEquals(response.status, 200);
  assert(response.body);
  const events: Events = {};
  let text = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const parts = text.split("\n\n");
    text = parts.pop() ?? "";
    for (const part of parts) {
      const [, name, json = ""] = /^event: (.*)\ndata: (.*)$/.exec(part) ?? [];
      if (name !== undefined) Object.assign(events, { [name]: JSON.parse(json) });
    }
    if (holds(events)) return events;
  }
  throw new Error(`The events ended with ${JSON.stringify(events)}`);
}

Deno.test("both isolates know every stream, session and failure", async (t) => {
  const port = freePort();
  const url = `http://127.0.0.1:${port}`;
  await using program = await Program.start(config(port), "--demo");
  await program.says("2 isolates serve");
  let connections = await connect(url);
  const reconnect = async () => {
    for (const connection of connections) connection[Symbol.dispose]();
    connections = await connect(url);
  };

  await t.step("/watch/{path} is there in both", async () => {
    for (const connection of connections) {
      assertEquals(await connection.status("GET", "/watch/live/demo"), 200);
      assertEquals(await connection.status("GET", "/watch/live/other"), 404);
      const script = await connection.request("/console/app.js");
      assertEquals([script.status, (await script.text()).length > 0], [200, true]);
    }
  });

  let headers: Record<string, string> = {};
  await t.step("who signs in to one is known to the other", async () => {
    const body = JSON.stringify({ token: "correct-horse" });
    const response = await connections[0].request("/api/login", { method: "POST", body });
    assertEquals(response.status, 204);
    headers = { "Cookie": response.headers.get("Set-Cookie")?.split(";")[0] ?? "" };
    for (const connection of connections) {
      assertEquals(await connection.status("GET", "/api/streams"), 401);
      const streams = await connection.request("/api/streams", { headers });
      assertEquals((await streams.json()).length, 1);
    }
  });

  await t.step("the events of both tell of the stream and its history", async () => {
    // The first point of a history comes after two seconds.
    for (let points = 0, attempt = 0; points === 0; attempt++) {
      assert(attempt < 100, "there is no history");
      const response = await fetch(`${url}/api/events?stream=live/demo`, { headers });
      const { history } = await eventsOf(response, ({ history }) => history !== undefined);
      points = history?.[0]?.points.length ?? 0;
      if (points === 0) await new Promise((resolve) => setTimeout(resolve, 100));
    }
    for (const [index, connection] of connections.entries()) {
      const response = await connection.request("/api/events?stream=live/demo", { headers });
      const events = await eventsOf(response, ({ stream, log }) => Boolean(stream && log));
      assertEquals([events.server?.isolate, events.server?.isolates], [index, 2]);
      assertEquals(events.streams?.map(({ path }) => path), ["live/demo"]);
      assertEquals(events.stream?.stream?.publisher?.type, "Demo");
      assert((events.history?.[0]?.points.length ?? 0) > 0);
    }
  });

  await t.step("the log tells that an isolate failed", async () => {
    await reconnect();
    await connections[1].json("/bomb");
    await program.says("isolate 1 serves again");
    await reconnect();
    const isOfFailure = ({ message }: LogInfo) => message.startsWith("isolate 1 failed");
    for (const connection of connections) {
      const response = await connection.request("/api/events", { headers });
      const { log } = await eventsOf(response, ({ log }) => log?.some(isOfFailure) ?? false);
      const [line] = log?.filter(isOfFailure) ?? [];
      assertEquals([line?.level, line?.source, line?.isolate], ["error", "engine", 1]);
    }
  });

  for (const connection of connections) connection[Symbol.dispose]();
  await program.stop();
  assertNotMatch(program.log, /ExperimentalWarning|stripTypeScriptTypes/);
});
