import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { z } from "zod";
import { ConfigError, parseConfig } from "../src/config.ts";
import { Engine } from "../src/engine.ts";
import { definePlugin, type PluginContext, PluginError, Plugins } from "../src/plugin.ts";
import { defineService } from "../src/service.ts";

const clock = defineService<{ now(): number }>("clock");

/** An engine and its plugins, closed at the end of a test. */
function server() {
  const engine = new Engine({ OnDemandPublishTimeout: 0 });
  const plugins = new Plugins(engine);
  return {
    engine,
    plugins,
    async [Symbol.asyncDispose]() {
      await engine.close();
      await plugins.close();
    },
  };
}

function moduleOf(code: string): string {
  return `data:application/javascript,${encodeURIComponent(code)}`;
}

Deno.test("Plugins.load() validates the options, freezes them and applies defaults", async () => {
  await using host = server();
  let options: unknown;
  const plugin = definePlugin({
    name: "test",
    options: z.strictObject({ Port: z.number().default(1), Name: z.string().default("x") }),
    run: (context) => void (options = context.options),
  });
  await host.plugins.load("Test", plugin, { port: 5 });
  assertEquals(options, { Port: 5, Name: "x" });
  assert(Object.isFrozen(options));
  await assertRejects(() => host.plugins.load("Other", plugin, { Prt: 5 }), ConfigError, "Port");
});

Deno.test("Plugins.load() refuses options of a plugin that takes none", async () => {
  await using host = server();
  const plugin = definePlugin({ name: "test", run() {} });
  await assertRejects(() => host.plugins.load("Test", plugin, { A: 1 }), ConfigError, "no options");
});

Deno.test("Plugins.start() runs the plugins one by one, required ones first", async () => {
  await using host = server();
  const order = `globalThis.pluginOrder ??= []`;
  const user = moduleOf(
    `export default { name: "user", requires: [{ name: "clock" }],
      run(c) { (${order}).push("user " + c.use({ name: "clock" }).now()) } }`,
  );
  const provider = moduleOf(
    `export default { name: "provider", provides: [{ name: "clock" }],
      async run(c) { await null; (${order}).push("provider");
        c.provide({ name: "clock" }, { now: () => 7 }) } }`,
  );
  const entries = (await parseConfig(
    `[Plugins]\nUser = "${user}"\nProvider = "${provider}"\n`,
    { file: "c.toml", base: new URL("file:///") },
  )).plugins;
  await host.plugins.start({ engine: host.engine.options, plugins: entries });
  assertEquals(Reflect.get(globalThis, "pluginOrder"), ["provider", "user 7"]);
  Reflect.deleteProperty(globalThis, "pluginOrder");
  assertEquals(host.plugins.list(), [
    { name: "Provider", running: true },
    { name: "User", running: true },
  ]);
});

Deno.test("Plugins.start() reports a plugin that fails and runs the others", async () => {
  await using host = server();
  const text = `[Plugins]
Throws = "${moduleOf('throw new Error("at import")')}"
Runs = "${moduleOf('export default { name: "r", run() { throw new Error("in run") } }')}"
Nothing = "${moduleOf("export const a = 1")}"
Missing = "./no/such/file.ts"
Needs = "${moduleOf('export default { name: "n", requires: [{ name: "clock" }], run() {} }')}"
Good = "${moduleOf('export default { name: "g", run() {} }')}"
`;
  const config = await parseConfig(text, { file: "c.toml", base: new URL("file:///") });
  await host.plugins.start(config);
  const states = new Map(host.plugins.list().map((state) => [state.name, state]));
  assertEquals(states.get("Good"), { name: "Good", running: true });
  for (
    const [name, reason] of [
      ["Throws", "at import"],
      ["Runs", "in run"],
      ["Nothing", "no default export"],
      ["Missing", "cannot import"],
      ["Needs", "requires clock"],
    ] as const
  ) {
    assertEquals(states.get(name)?.running, false);
    assertStringIncludes(states.get(name)?.error ?? "", reason);
    assertStringIncludes(states.get(name)?.error ?? "", `Plugin ${name}: `);
  }
});

Deno.test("Plugins.start() runs nothing when the options of one plugin are wrong", async () => {
  await using host = server();
  const config = await parseConfig(
    `[Plugins]
Good = "${moduleOf('export default { name: "g", run() {} }')}"
Bad = "${moduleOf('export default { name: "b", run() {} }')}"
[Bad]
Port = 1
`,
    { file: "c.toml", base: new URL("file:///") },
  );
  const error = await assertRejects(() => host.plugins.start(config), ConfigError);
  assertStringIncludes(error.message, "c.toml:5: [Bad] Port");
  assertEquals(host.plugins.list(), []);
});

Deno.test("Plugins.load() undoes what a plugin started before its run failed", async () => {
  await using host = server();
  const undone: string[] = [];
  const plugin = definePlugin({
    name: "test",
    provides: [clock],
    async run(context) {
      context.provide(clock, { now: () => 1 });
      context.defer(() => void undone.push("first"));
      context.defer(() => void undone.push("second"));
      await context.publish("live/a", { type: "Test" });
      throw new Error("broken");
    },
  });
  const error = await assertRejects(() => host.plugins.load("Test", plugin), PluginError, "broken");
  assertEquals(error.plugin, "Test");
  assertEquals(undone, ["second", "first"]);
  assertEquals(host.engine.streams.size, 0);
  const user = definePlugin({ name: "user", requires: [clock], run() {} });
  await assertRejects(() => host.plugins.load("User", user), PluginError, "requires clock");
});

Deno.test("Plugins.unload() ends all that the plugin obtained, and those that require it", async () => {
  await using host = server();
  let provider: PluginContext | undefined;
  const seen: string[] = [];
  await host.plugins.load(
    "Provider",
    definePlugin({
      name: "provider",
      provides: [clock],
      run(context) {
        provider = context;
        context.provide(clock, { now: () => 1 });
        context.on("publish", ({ detail }) => void seen.push(detail.stream.path));
        context.guard("publish", () => void seen.push("guard"));
      },
    }),
  );
  const user = definePlugin({
    name: "user",
    requires: [clock],
    run: ({ use, defer }) => {
      assertEquals(use(clock).now(), 1);
      defer(() => void seen.push("user stops"));
    },
  });
  await host.plugins.load("User", user);
  assert(provider);
  const publisher = await provider.publish("live/a", { type: "Test" });
  const staying = await host.engine.publish("live/c", { type: "Test" });
  const subscriber = await provider.subscribe("live/c", { type: "Test" });
  assertEquals(seen.splice(0), ["guard", "live/a", "guard", "live/c"]);
  await host.plugins.unload("Provider");
  assertEquals(seen.splice(0), ["user stops"]);
  assertEquals((await publisher.closed).code, "shutdown");
  await subscriber.closed;
  assertEquals([...host.engine.streams.keys()], ["live/c"]);
  staying.close();
  assertEquals(host.engine.subscribers.size, 0);
  assertEquals(provider.signal.aborted, true);
  assertEquals(host.plugins.list(), []);
  await using other = await host.engine.publish("live/b", { type: "Test" });
  assertEquals(seen, []);
  other.close();
  await host.plugins.load("User", definePlugin({ name: "user", run() {} }));
});

Deno.test("Plugins.unload() goes on when a deferred function throws", async () => {
  await using host = server();
  let undone = false;
  const plugin = definePlugin({
    name: "test",
    run({ defer }) {
      defer(() => void (undone = true));
      defer(() => Promise.reject(new Error("cannot undo")));
    },
  });
  await host.plugins.load("Test", plugin);
  await host.plugins.unload("Test");
  assert(undone);
});

Deno.test("Plugins.configure() calls configure of the plugin, else restarts it", async () => {
  await using host = server();
  const seen: string[] = [];
  const options = z.strictObject({ A: z.number().default(0) });
  const hot = definePlugin({
    name: "hot",
    options,
    run: ({ options }) => {
      seen.push(`run ${options.A}`);
      return { configure: ({ A }) => void seen.push(`configure ${A}`) };
    },
  });
  const cold = definePlugin({
    name: "cold",
    options,
    run({ options, defer }) {
      seen.push(`run ${options.A}`);
      defer(() => void seen.push("stop"));
    },
  });
  await host.plugins.load("Hot", hot);
  await host.plugins.configure("Hot", { A: 1 });
  assertEquals(seen.splice(0), ["run 0", "configure 1"]);
  await host.plugins.load("Cold", cold, { A: 2 });
  await host.plugins.configure("Cold", { A: 3 });
  assertEquals(seen.splice(0), ["run 2", "stop", "run 3"]);
  await assertRejects(() => host.plugins.configure("Cold", { B: 3 }), ConfigError);
  await assertRejects(() => host.plugins.configure("None", {}), PluginError, "does not run");
  assertEquals(seen, []);
});

Deno.test("Plugins.load() refuses a second plugin of a name or a service", async () => {
  await using host = server();
  const plugin = definePlugin({
    name: "test",
    provides: [clock],
    run: ({ provide }) => provide(clock, { now: () => 1 }),
  });
  await host.plugins.load("A", plugin);
  await assertRejects(() => host.plugins.load("A", plugin), PluginError, "runs already");
  await assertRejects(() => host.plugins.load("B", plugin), PluginError, "another plugin");
});

Deno.test("Plugins.load() refuses a plugin that does not provide what it says", async () => {
  await using host = server();
  const plugin = definePlugin({ name: "test", provides: [clock], run() {} });
  await assertRejects(() => host.plugins.load("A", plugin), PluginError, "does not provide clock");
});

Deno.test("Plugins.load() takes a module outside the project and one from npm", async () => {
  await using host = server();
  const dir = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(
      `${dir}/outside.ts`,
      `import { distance } from "npm:fastest-levenshtein@1";
      export default { name: "outside", run: (): void => void distance("a", "b") };`,
    );
    await host.plugins.load("Outside", `file://${dir}/outside.ts`);
    assertEquals(host.plugins.list(), [{ name: "Outside", running: true }]);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
  // No package is a plugin of ours; that its exports are looked at shows that it was loaded.
  await assertRejects(
    () => host.plugins.load("Npm", "npm:fastest-levenshtein@1"),
    PluginError,
    "has no default export with a name and a run",
  );
});
