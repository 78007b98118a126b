/** The arrows of the architecture: who may import whom. */
import { assert, assertEquals } from "@std/assert";

/**
 * The core from its ground up: a file imports from its own layer and from those above it in this table.
 *
 * A name with a slash at its end is a folder.
 */
const LAYERS: readonly (readonly string[])[] = [
  ["isolates", "isolate_messages", "isolate_hub"],
  [
    "errors",
    "log",
    "options",
    "path",
    "service",
    "time",
    "wake_list",
    "write_watch",
    "socket_writer",
    "waiting",
    "guards",
    "flush",
    "buffer_pool",
    "flush_timer",
    "turns",
  ],
  ["bytes", "bits", "slab"],
  ["codecs/"],
  ["rtp/", "formats/"],
  ["frame", "keyframe", "events", "ring", "cursor", "readable"],
  ["ingest", "interleave", "track"],
  ["mux", "mux_batches", "flush_phase", "frame_durations", "flv", "fmp4", "mpegts", "rtp_format"],
  ["publisher", "stream", "subscriber", "flv_ingest", "rtp_receiver", "rtp_inputs", "replica"],
  ["engine"],
  ["config", "plugin", "isolate_member", "isolate_supervisor"],
];

/** What `src/` may import from packages; all of these run on any web platform. */
const CORE_PACKAGES = [
  "@logtape/logtape",
  "@standard-schema/spec",
  "@std/async",
  "@std/toml",
  "fastest-levenshtein",
  "zod",
];

/** Globals of one runtime, which `src/` does without. */
const RUNTIME_GLOBALS = ["Deno", "process", "Buffer", "require", "global", "Bun"];

interface Source {
  /** From the root of the repository. */
  readonly path: string;
  /** What it imports: paths from the root for the repository's own files, else specifiers. */
  readonly imports: readonly string[];
  /** Those of them that are left at run time. */
  readonly valueImports: readonly string[];
  readonly runtimeGlobals: readonly string[];
}

const root = new URL("../", import.meta.url);
const sources = await Array.fromAsync(sourcePaths(), readSource);
const core = sources.filter(({ path }) => path.startsWith("src/"));
const plugins = sources.filter(({ path }) => path.startsWith("plugins/"));

Deno.test("every file of src/ is in exactly one layer", () => {
  for (const { path } of core) {
    const found = LAYERS.filter((layer) => layer.some((name) => isOf(name, path)));
    assertEquals(found.length, 1, `${path} is in ${found.length} layers of tests/imports_test.ts`);
  }
});

Deno.test("src/ imports only from its own layer and those below", () => {
  const offences = edges(core).filter(([from, to]) => layerOf(from) < layerOf(to));
  assertEquals(offences.map(arrow), []);
});

Deno.test("src/ imports neither plugins nor anything of one runtime", () => {
  const offences = core.flatMap(({ path, imports, runtimeGlobals }) => [
    ...imports.filter((to) => !isCoreImport(to)).map((to) => arrow([path, to])),
    ...runtimeGlobals.map((name) => `${path} uses ${name}`),
  ]);
  assertEquals(offences, []);
});

Deno.test("a plugin imports the core, its own files, what all plugins share and services", () => {
  const offences = edges(plugins).filter(([from, to]) =>
    !/^(src\/|plugins\/[^/]+$)/.test(to) && pluginOf(from) !== pluginOf(to) &&
    !/^plugins\/[^/]+\/service\.ts$/.test(to)
  );
  assertEquals(offences.map(arrow), []);
});

Deno.test("nothing that ships imports tests, benchmarks or examples", () => {
  const offences = edges(sources).filter(([, to]) => !/^(src\/|plugins\/|[^/]+$)/.test(to));
  assertEquals(offences.map(arrow), []);
});

Deno.test("no import runs in a circle at run time", () => {
  const imports = new Map(sources.map((source) => [source.path, source.valueImports]));
  const done = new Set<string>();
  for (const { path } of sources) visit(path, []);

  function visit(path: string, trail: readonly string[]): void {
    const at = trail.indexOf(path);
    assert(at < 0, `Imports run in a circle: ${[...trail.slice(at), path].join(" → ")}`);
    if (done.has(path)) return;
    for (const to of imports.get(path) ?? []) visit(to, [...trail, path]);
    done.add(path);
  }
});

function layerOf(path: string): number {
  return LAYERS.findIndex((layer) => layer.some((name) => isOf(name, path)));
}

function isOf(name: string, path: string): boolean {
  return name.endsWith("/") ? path.startsWith(`src/${name}`) : path === `src/${name}.ts`;
}

function isCoreImport(to: string): boolean {
  return to.startsWith("src/") || CORE_PACKAGES.some((name) => `${to}/`.startsWith(`${name}/`));
}

function pluginOf(path: string): string | undefined {
  return /^plugins\/([^/]+)\//.exec(path)?.[1];
}

/** The imports among the repository's own files. */
function edges(from: readonly Source[]): [string, string][] {
  return from.flatMap(({ path, imports }) =>
    imports.filter((to) => to.endsWith(".ts")).map((to): [string, string] => [path, to])
  );
}

function arrow([from, to]: readonly [string, string]): string {
  return `${from} → ${to}`;
}

async function* sourcePaths(): AsyncGenerator<string> {
  for await (const { name } of Deno.readDir(root)) {
    if (name.endsWith(".ts")) yield name;
  }
  yield* walk("src/");
  yield* walk("plugins/");
}

async function* walk(folder: string): AsyncGenerator<string> {
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, root))) {
    if (isDirectory) yield* walk(`${folder}${name}/`);
    else if (name.endsWith(".ts")) yield `${folder}${name}`;
  }
}

async function readSource(path: string): Promise<Source> {
  const url = new URL(path, root);
  const imports: string[] = [];
  const valueImports: string[] = [];
  const runtimeGlobals: string[] = [];
  const text = await Deno.readTextFile(url);
  // The linter's parser: it sees what is code and what is only text or comment.
  Deno.lint.runPlugin({ name: "imports", rules: { imports: { create: visitor } } }, path, text);
  return { path, imports, valueImports, runtimeGlobals };

  function visitor(): Deno.lint.LintVisitor {
    return {
      ImportDeclaration: ({ source, importKind }) => add(source.value, importKind),
      ExportAllDeclaration: ({ source, exportKind }) => add(source.value, exportKind),
      ExportNamedDeclaration: ({ source, exportKind }) => add(source?.value, exportKind),
      ImportExpression: ({ source }) => {
        if (source.type === "Literal") add(source.value, "value");
      },
      Identifier: (node) => {
        if (RUNTIME_GLOBALS.includes(node.name) && !isProperty(node)) {
          runtimeGlobals.push(node.name);
        }
      },
    };
  }

  function add(specifier: unknown, kind: "type" | "value"): void {
    if (typeof specifier !== "string") return;
    const isOwn = /^\.{1,2}\//.test(specifier);
    const to = isOwn ? new URL(specifier, url).href.slice(root.href.length) : specifier;
    imports.push(to);
    if (kind === "value") valueImports.push(to);
  }
}

/** Whether a name is only that of a member, as in `connection.process` or `{ process: 1 }`. */
function isProperty(node: Deno.lint.Identifier): boolean {
  const { parent } = node;
  switch (parent.type) {
    case "MemberExpression":
      return parent.property === node && !parent.computed &&
        !(parent.object.type === "Identifier" && parent.object.name === "globalThis");
    case "Property":
    case "MethodDefinition":
    case "PropertyDefinition":
    case "TSPropertySignature":
    case "TSMethodSignature":
      return "key" in parent && parent.key === node;
    default:
      return false;
  }
}
