import { assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";

/** Whether there is a Node to run the core in. */
const hasNode = await new Deno.Command("node", { args: ["--version"], stdout: "null" })
  .output().then(({ success }) => success, () => false);

const PROGRAM = `
import { Engine, flvFormat, Plugins } from "./engine.js";
const engine = new Engine();
const plugins = new Plugins(engine);
await plugins.load("Greeter", { name: "greeter", run: ({ log }) => log.info("hello") });
const publisher = await engine.publish("live/a", { type: "Test" });
publisher.audio.setASC(Uint8Array.of(0x12, 0x10));
const subscriber = await engine.subscribe("live/a", { type: "Test" });
publisher.completeTracks();
const bytes = await subscriber.mux(flvFormat, { mode: "record" });
const frames = subscriber.play({ mode: "record" });
for (let index = 0; index < 3; index++) publisher.audio.pushRaw(index * 20_000, Uint8Array.of(index));
publisher.close();
let length = 0;
for await (const chunk of bytes) length += chunk.length;
const times = [];
for await (const frame of frames) times.push(frame.dts);
await plugins.close();
await engine.close();
console.log(JSON.stringify({ times, hasBytes: length > 100 }));
`;

Deno.test({
  name: "mod.ts works in Node when bundled for the web platform",
  // A machine without Node has nothing to run this in.
  ignore: !hasNode,
  async fn() {
    const dir = await Deno.makeTempDir();
    try {
      const bundle = await new Deno.Command(Deno.execPath(), {
        args: ["bundle", "--quiet", "--platform", "browser", "-o", `${dir}/engine.js`, "mod.ts"],
        cwd: fileURLToPath(new URL("..", import.meta.url)),
        stderr: "piped",
      }).output();
      assertEquals(bundle.success, true, new TextDecoder().decode(bundle.stderr));
      await Deno.writeTextFile(`${dir}/program.mjs`, PROGRAM);
      const { stdout, stderr } = await new Deno.Command("node", {
        args: [`${dir}/program.mjs`],
      }).output();
      const error = new TextDecoder().decode(stderr);
      assertEquals(
        [error, JSON.parse(new TextDecoder().decode(stdout) || "null")],
        ["", { times: [0, 20_000, 40_000], hasBytes: true }],
      );
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});
