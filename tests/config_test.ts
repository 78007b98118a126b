import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { z } from "zod";
import { ConfigError, parseConfig, programSection, validateSection } from "../src/config.ts";

const SOURCE = { file: "server.toml", base: new URL("file:///etc/m7s/server.toml") };

/** The message of the error that `text` is refused with. */
async function refusal(text: string): Promise<string> {
  const error = await assertRejects(() => parseConfig(text, SOURCE), ConfigError);
  return error.message;
}

Deno.test("parseConfig() gives the defaults of the engine when its section is missing", async () => {
  const { engine, plugins } = await parseConfig("", SOURCE);
  assertEquals({ ...engine }, {
    EnableAudio: true,
    EnableVideo: true,
    PublishTimeout: 60,
    AutoCloseDelay: 10,
    RTPReorder: false,
    OnDemandPublishTimeout: 20,
    ReconnectTimeout: 5,
    Workers: 1,
  });
  assertEquals(plugins, []);
  assertEquals(Object.isFrozen(engine), true);
});

Deno.test("parseConfig() matches sections and keys in any case", async () => {
  const { engine, plugins } = await parseConfig(
    `[engine]
enableaudio = false
PUBLISHTIMEOUT = 1.5
[PLUGINS]
Rtmp = "npm:some-rtmp"
[RTMP]
port = 1
`,
    SOURCE,
  );
  assertEquals([engine.EnableAudio, engine.PublishTimeout], [false, 1.5]);
  assertEquals(plugins[0]?.section.values, { port: 1 });
  assertEquals(plugins[0]?.section.lineOf(["PORT"]), 7);
});

Deno.test("parseConfig() resolves relative specifiers beside the file and leaves others", async () => {
  const { plugins } = await parseConfig(
    `[Plugins]
A = "./a/mod.ts"
B = "../b.ts"
C = "npm:pkg@1/sub"
D = "jsr:@scope/pkg"
E = "https://example.org/e.ts"
F = "/opt/f.ts"
`,
    SOURCE,
  );
  assertEquals(plugins.map(({ specifier }) => specifier), [
    "file:///etc/m7s/a/mod.ts",
    "file:///etc/b.ts",
    "npm:pkg@1/sub",
    "jsr:@scope/pkg",
    "https://example.org/e.ts",
    "file:///opt/f.ts",
  ]);
});

const MISTAKES: readonly [name: string, text: string, expected: readonly string[]][] = [
  ["an unknown key", "[Engine]\n\nPublishTimeot = 3\n", [
    "server.toml:3: [Engine] PublishTimeot: unknown key; the nearest known is PublishTimeout",
  ]],
  ["a wrong type", "[Engine]\nEnableAudio = 1\n", [
    "server.toml:2: [Engine] EnableAudio:",
    "accepted is a boolean (default true)",
  ]],
  ["a value out of range", "[Engine]\nPublishTimeout = 0", [
    "server.toml:2: [Engine] PublishTimeout:",
    "accepted is a number above 0 to 86400 (default 60)",
  ]],
  ["a value of no alternative", "[Engine]\nAutoCloseDelay = -2", [
    "server.toml:2: [Engine] AutoCloseDelay:",
    "accepted is -1 or a number from 0 to 86400 (default 10)",
  ]],
  ["a section of no plugin", "[Plugins]\nRTMP = './r.ts'\n[RTPM]\nPort = 1", [
    "server.toml:3: [RTPM]: no plugin of this name is listed in [Plugins]",
    "the nearest known is RTMP",
  ]],
  ["a section that is no table", "RTMP = 3\n[Plugins]\nRTMP = './r.ts'", [
    "server.toml:1: RTMP: must be a table",
  ]],
  ["a module that is no string", "[Plugins]\nRTMP = 3", [
    "server.toml:2: [Plugins] RTMP: must be a module specifier",
  ]],
  ["a key given twice in other cases", "[Engine]\nEnableAudio = true\nenableAUDIO = false", [
    "[Engine] enableAUDIO: is given twice, as EnableAudio",
  ]],
  ["text that is no TOML", "[Engine]\nEnableAudio = = true", ["server.toml:2: TOML:"]],
];

for (const [name, text, expected] of MISTAKES) {
  Deno.test(`parseConfig() names file, line, key and the accepted form of ${name}`, async () => {
    const message = await refusal(text);
    for (const part of expected) assertStringIncludes(message, part);
  });
}

Deno.test("parseConfig() tells all mistakes at once", async () => {
  const message = await refusal("[Engine]\nA = 1\nEnableVideo = 'x'\n[Other]\n");
  assertEquals(message.split("\n").length, 3);
});

Deno.test("parseConfig() finds the lines of quoted, dotted and nested keys", async () => {
  const { plugins } = await parseConfig(
    `[Plugins]
RTSP = "./rtsp.ts"
[RTSP]
Client.Timeout = 3
[RTSP.Pull]
"live/cam.1" = "rtsp://cam" # comment
'b' = 1
`,
    SOURCE,
  );
  const section = plugins[0]?.section;
  assertEquals(section?.lineOf(["Client", "Timeout"]), 4);
  assertEquals(section?.lineOf(["Pull", "live/cam.1"]), 6);
  assertEquals(section?.lineOf(["pull", "b"]), 7);
  assertEquals(section?.lineOf(["nothing"]), undefined);
});

Deno.test("validateSection() leaves keys of free tables alone and descends into fixed ones", async () => {
  const schema = z.strictObject({
    Pull: z.record(z.string(), z.string()).default({}),
    Tls: z.strictObject({ Cert: z.string() }).optional(),
  });
  const section = programSection("RTSP", { pull: { "live/Cam": "rtsp://x" }, TLS: { CERT: "c" } });
  assertEquals(await validateSection(schema, section), {
    Pull: { "live/Cam": "rtsp://x" },
    Tls: { Cert: "c" },
  });
});

Deno.test("validateSection() takes a Standard Schema that says nothing of its keys", async () => {
  const schema = {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: (value: unknown) =>
        (value as { Port?: unknown }).Port === 1
          ? { value: { Port: 1 } }
          : { issues: [{ message: "must be 1", path: ["Port"] }] },
    },
  } as const;
  assertEquals(await validateSection(schema, programSection("X", { Port: 1 })), { Port: 1 });
  const error = await assertRejects(
    () => validateSection(schema, programSection("X", { Port: 2 })),
    ConfigError,
  );
  assertEquals(error.message, "options: [X] Port: must be 1");
});
