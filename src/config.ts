/** Configuration: TOML with a section for the engine and one for each plugin. */

import type { StandardJSONSchemaV1, StandardSchemaV1 } from "@standard-schema/spec";
import { parse } from "@std/toml";
import { closest } from "fastest-levenshtein";
import { type EngineOptions, engineSchema } from "./options.ts";

/** One mistake in a config. */
export interface ConfigIssue {
  /** The file, as it was named. */
  readonly file: string;
  /** Line of the key, from 1 on; undefined where it is not in a file. */
  readonly line?: number | undefined;
  /** Section and key, such as `[RTMP] Port`. */
  readonly key: string;
  /** What is wrong, what is accepted, and the nearest known key. */
  readonly problem: string;
}

/** A config has mistakes. All of them are told at once, a line each. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";

  /** An error of at least one issue. */
  constructor(
    /** The mistakes, in the order of the file. */
    readonly issues: readonly ConfigIssue[],
  ) {
    super(
      issues.map(({ file, line, key, problem }) =>
        `${file}${line === undefined ? "" : `:${line}`}: ${key}: ${problem}`
      ).join("\n"),
    );
  }
}

/** A table of a config, before its schema has seen it. */
export interface Section {
  /** The file, as it was named. */
  readonly file: string;
  /** Name of the section. */
  readonly name: string;
  /** Its keys and values. */
  readonly values: Readonly<Record<string, unknown>>;
  /** Line of a key in the section, if it is known. */
  lineOf(path: readonly string[]): number | undefined;
}

/** A plugin that a config names. */
export interface PluginEntry {
  /** Its name in the config, which is that of its section too. */
  readonly name: string;
  /** Where its module is, as a URL or a specifier that the runtime understands. */
  readonly specifier: string;
  /** Line on which the config names it. */
  readonly line?: number | undefined;
  /** Its options. */
  readonly section: Section;
}

/** A config whose engine section is validated; plugins validate their own when they are loaded. */
export interface Config {
  /** The options of the engine. */
  readonly engine: EngineOptions;
  /** The plugins, in the order of the file. */
  readonly plugins: readonly PluginEntry[];
}

/** A schema of any Standard Schema library; with Standard JSON Schema its keys are known too. */
export type OptionsSchema<O> = StandardSchemaV1<unknown, O>;

/** Where a config comes from. */
export interface ConfigSource {
  /** Name of the file, for messages. */
  readonly file: string;
  /** What relative module specifiers are relative to. */
  readonly base: URL;
}

/**
 * Reads a config. Names of sections and keys match in any case.
 *
 * @throws {ConfigError} If it is not TOML, or a section or a key of the engine is wrong.
 */
export async function parseConfig(text: string, source: ConfigSource): Promise<Config> {
  const { file } = source;
  const root = parseToml(text, file);
  const lines = keyLines(text);
  const issues: ConfigIssue[] = [];
  const section = (name: string): Section => {
    const key = Object.keys(root).find((key) => sameName(key, name));
    const value = key === undefined ? {} : root[key];
    const lineOf = (path: readonly string[]) => lines.get(lineKey([name, ...path]));
    if (isTable(value)) return { file, name, values: value, lineOf };
    issues.push({ file, line: lineOf([]), key: name, problem: `must be a table, [${name}]` });
    return { file, name, values: {}, lineOf };
  };
  const modules = section("Plugins");
  const plugins: PluginEntry[] = [];
  for (const [name, specifier] of Object.entries(modules.values)) {
    if (typeof specifier === "string") {
      const resolved = /^\.{0,2}\//.test(specifier)
        ? new URL(specifier, source.base).href
        : specifier;
      const line = modules.lineOf([name]);
      plugins.push({ name, specifier: resolved, line, section: section(name) });
    } else {
      const problem = "must be a module specifier such as ./plugins/rtmp/mod.ts or npm:package";
      issues.push({ file, line: modules.lineOf([name]), key: `[Plugins] ${name}`, problem });
    }
  }
  const known = ["Engine", "Plugins", ...plugins.map(({ name }) => name)];
  for (const name of Object.keys(root)) {
    if (known.some((other) => sameName(other, name))) continue;
    const problem = `no plugin of this name is listed in [Plugins]${nearest(name, known)}`;
    issues.push({ file, line: lines.get(lineKey([name])), key: `[${name}]`, problem });
  }
  const engine = await validateSection(engineSchema, section("Engine")).catch((error) => {
    if (!(error instanceof ConfigError)) throw error;
    issues.push(...error.issues);
  });
  if (engine === undefined || issues.length > 0) throw new ConfigError(issues);
  return { engine, plugins };
}

/**
 * The options that `schema` makes of a section, frozen.
 *
 * @throws {ConfigError} If a key is unknown or a value is not accepted.
 */
export async function validateSection<O>(schema: OptionsSchema<O>, section: Section): Promise<O> {
  const issues: ConfigIssue[] = [];
  const shape = jsonSchemaOf(schema);
  const report = (path: readonly string[], problem: string) =>
    issues.push({
      file: section.file,
      line: section.lineOf(path),
      key: `[${section.name}] ${path.join(".")}`.trim(),
      problem,
    });
  const values = canonical(section.values, shape, [], report);
  const result = await schema["~standard"].validate(values);
  for (const issue of result.issues ?? []) {
    const path = (issue.path ?? []).map((part) =>
      String(typeof part === "object" ? part.key : part)
    );
    const form = formOf(propertyAt(shape, path));
    report(path, issue.message + (form === "" ? "" : `; accepted is ${form}`));
  }
  if (issues.length > 0 || result.issues) throw new ConfigError(issues);
  return Object.freeze(result.value);
}

/** The section that stands for options given by a program. */
export function programSection(name: string, values: Readonly<Record<string, unknown>>): Section {
  return { file: "options", name, values, lineOf: () => undefined };
}

type Json = { readonly [key: string]: unknown };

function parseToml(text: string, file: string): Record<string, unknown> {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    const [, line, rest] = /line (\d+), column \d+: ?([^]*)/.exec(error.message) ?? [];
    const problem = rest ?? error.message;
    throw new ConfigError([{
      file,
      line: line === undefined ? undefined : Number(line),
      key: "TOML",
      problem,
    }]);
  }
}

function jsonSchemaOf(schema: StandardSchemaV1): Json | undefined {
  const standard = schema["~standard"] as Partial<StandardJSONSchemaV1.Props>;
  try {
    return standard.jsonSchema?.input({ target: "draft-2020-12" });
  } catch {
    return undefined;
  }
}

/** `values` with the schema's spelling of the keys; unknown ones are reported and left out. */
function canonical(
  values: Json,
  shape: Json | undefined,
  path: readonly string[],
  report: (path: readonly string[], problem: string) => void,
): Json {
  const properties = shape?.properties;
  if (!isTable(properties)) return values;
  const known = Object.keys(properties);
  const result: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(values)) {
    const name = known.find((other) => sameName(other, key));
    const at = [...path, key];
    if (name === undefined) {
      if (shape?.additionalProperties === false) {
        report(at, `unknown key${nearest(key, known)}`);
      } else result[key] = value;
    } else if (Object.hasOwn(result, name)) {
      report(at, `is given twice, as ${name} in another case`);
    } else {
      const property = properties[name];
      result[name] = isTable(value) && isTable(property)
        ? canonical(value, property, at, report)
        : value;
    }
  }
  return result;
}

function propertyAt(shape: Json | undefined, path: readonly string[]): Json | undefined {
  let at = shape;
  for (const name of path) {
    const next = isTable(at?.properties) ? at.properties[name] : at?.items ??
      at?.additionalProperties;
    if (!isTable(next)) return undefined;
    at = next;
  }
  return at;
}

/** What a JSON Schema accepts, in words; empty where it can't be said. */
function formOf(shape: Json | undefined): string {
  if (shape === undefined) return "";
  const { anyOf, enum: values, type, minimum, maximum, exclusiveMinimum, description } = shape;
  const fallback = shape.default === undefined ? "" : ` (default ${JSON.stringify(shape.default)})`;
  if (shape.const !== undefined) return JSON.stringify(shape.const) + fallback;
  if (Array.isArray(anyOf)) return anyOf.map(formOf).join(" or ") + fallback;
  if (Array.isArray(values)) return values.map((v) => JSON.stringify(v)).join(" or ") + fallback;
  if (typeof description === "string") return description + fallback;
  if (typeof type !== "string") return "";
  const article = /^[aeiou]/.test(type) ? "an" : "a";
  let range = "";
  if (minimum !== undefined) range += ` from ${minimum}`;
  if (exclusiveMinimum !== undefined) range += ` above ${exclusiveMinimum}`;
  if (maximum !== undefined && maximum !== Number.MAX_SAFE_INTEGER) range += ` to ${maximum}`;
  return `${article} ${type}${range}${fallback}`;
}

function nearest(name: string, known: readonly string[]): string {
  return known.length === 0 ? "" : `; the nearest known is ${closest(name, [...known])}`;
}

function sameName(a: string, b: string): boolean {
  return a.toLowerCase() === b.toLowerCase();
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    !(value instanceof Date);
}

function lineKey(path: readonly string[]): string {
  return path.map((part) => part.toLowerCase()).join("\0");
}

/** A bare, basic or literal TOML key. */
const KEY = `[A-Za-z0-9_-]+|"(?:[^"\\\\]|\\\\.)*"|'[^']*'`;
const DOTTED_KEY = `(?:${KEY})(?:\\s*\\.\\s*(?:${KEY}))*`;
const HEADER_LINE = new RegExp(`^\\s*\\[\\[?\\s*(${DOTTED_KEY})\\s*\\]`);
const ASSIGNMENT_LINE = new RegExp(`^\\s*(${DOTTED_KEY})\\s*=`);

/** On which line each key of a TOML text stands, as far as keys begin their lines. */
function keyLines(text: string): Map<string, number> {
  const lines = new Map<string, number>();
  let table: string[] = [];
  text.split("\n").forEach((line, index) => {
    const header = HEADER_LINE.exec(line)?.[1];
    const key = ASSIGNMENT_LINE.exec(line)?.[1];
    if (header !== undefined) table = splitKey(header);
    if (header === undefined && key === undefined) return;
    const path = header !== undefined ? table : [...table, ...splitKey(key ?? "")];
    for (let depth = 1; depth <= path.length; depth++) {
      const name = lineKey(path.slice(0, depth));
      if (!lines.has(name)) lines.set(name, index + 1);
    }
  });
  return lines;
}

function splitKey(key: string): string[] {
  return (key.match(new RegExp(KEY, "g")) ?? []).map((part) => {
    if (part.startsWith('"')) return String(JSON.parse(part));
    return part.startsWith("'") ? part.slice(1, -1) : part;
  });
}
