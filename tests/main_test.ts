import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { deadline } from "@std/async/deadline";
import { fileURLToPath } from "node:url";
import { Program } from "./support/program.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** Longest that a started program may take to say what is waited for. */
const PATIENCE_MS = 20_000;

/** A config for `text` with plugins of the project, on free ports, in a folder of its own. */
async function withConfig(text: string, use: (file: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    const file = `${dir}/server.toml`;
    await Deno.writeTextFile(
      file,
      text.replaceAll("./plugins/", new URL("../plugins/", import.meta.url).href),
    );
    await use(file);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

const SERVER = `
[Plugins]
HTTP = "./plugins/http/mod.ts"
RTMP = "./plugins/rtmp/mod.ts"
HTTP_FLV = "./plugins/http_flv/mod.ts"
[HTTP]
Host = "127.0.0.1"
Port = 0
[RTMP]
Host = "127.0.0.1"
Port = 0
`;

function run(...args: readonly string[]): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-P=server", "--no-prompt", "main.ts", ...args],
    cwd: ROOT,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  }).spawn();
}

async function output(child: Deno.ChildProcess): Promise<[code: number, out: string, err: string]> {
  const { code, stdout, stderr } = await child.output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return [code, decode(stdout), decode(stderr)];
}

Deno.test("main.ts prints its help and its version", async () => {
  const [[helpCode, help], [versionCode, version]] = await Promise.all([
    output(run("--help")),
    output(run("--version")),
  ]);
  assertEquals([helpCode, versionCode], [0, 0]);
  assertStringIncludes(help, "--config FILE");
  assertStringIncludes(version, "m7s engine 3.");
});

Deno.test("main.ts refuses an unknown option and tells the known ones", async () => {
  const [code, , err] = await output(run("--port", "1"));
  assertEquals(code, 1);
  assertStringIncludes(err, "--config FILE");
});

Deno.test("main.ts --check accepts the shipped config without starting anything", async () => {
  const [code, out] = await output(run("--check"));
  assertEquals(code, 0);
  assertStringIncludes(out, "no mistakes");
});

Deno.test("main.ts --check names file, line and key of each mistake", async () => {
  await withConfig(SERVER + "Prot = 1\n[HTTP_FLV]\nFlush = 'x'\n", async (file) => {
    const [code, , err] = await output(run("--check", "--config", file));
    assertEquals(code, 1);
    assertStringIncludes(err, `${file}:12: [RTMP] Prot: unknown key; the nearest known is Port`);
    assertStringIncludes(err, `${file}:14: [HTTP_FLV] Flush:`);
  });
});

Deno.test("main.ts says which config it cannot read", async () => {
  const [code, , err] = await output(run("--config", "no-such.toml"));
  assertEquals(code, 1);
  assertStringIncludes(err, "Cannot read no-such.toml");
});

Deno.test("main.ts serves with the least permissions and stops in good order", async () => {
  await withConfig(SERVER, async (file) => {
    const child = run("--config", file, "--demo");
    const url = Promise.withResolvers<string>();
    let log = "";
    const reading = (async () => {
      for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
        log += text;
        const [, found] = /http: listening on (http:\S+)/.exec(log) ?? [];
        if (found !== undefined && log.includes("a clip plays as live/demo")) url.resolve(found);
      }
      url.reject(new Error(`it ended: ${log}`));
    })();
    const errors = new Response(child.stderr).text();
    const base = await deadline(url.promise, PATIENCE_MS);
    const viewer = await fetch(`${base}/live/demo.flv`);
    assertEquals(viewer.status, 200);
    const bytes = viewer.body?.getReader();
    const first = await bytes?.read();
    assertEquals(new TextDecoder().decode(first?.value?.subarray(0, 3)), "FLV");
    const began = performance.now();
    child.kill("SIGINT");
    const { code } = await deadline(child.status, PATIENCE_MS);
    assertEquals(code, 0, log + await errors);
    assert(performance.now() - began < 2000, "it took over two seconds to stop");
    // An orderly end is the end of the body, not an error.
    for (let next = await bytes?.read(); next && !next.done;) next = await bytes?.read();
    await reading;
    await errors;
    assertStringIncludes(log, "rtmp: listening on rtmp://127.0.0.1:");
    assertStringIncludes(log, "live/demo: ended");
  });
});

Deno.test("main.ts keeps warnings and errors for plugins that show them", async () => {
  const plugins = SERVER.replace("[HTTP]", 'Missing = "./plugins/missing/mod.ts"\n[HTTP]');
  await using program = await Program.start(plugins.replaceAll("./plugins/", "{root}plugins/"));
  await program.says("listening on rtmp:");
  const [, url] = /http: listening on (http:\S+)/.exec(program.log) ?? [];
  const events = await fetch(`${url}/api/events`);
  let text = "";
  for await (
    const chunk of (events.body ?? new Blob().stream()).pipeThrough(new TextDecoderStream())
  ) {
    text += chunk;
    if (/event: log\n.*\n\n/.test(text)) break;
  }
  assertMatch(
    text,
    /event: log\ndata: \[\{"at":.*"level":"error","source":"engine",.*Plugin Missing: /,
  );
  await program.stop();
});
