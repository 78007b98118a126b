/** What RTMP clients call a stream: an application and a name, each with arguments. */

import type { AmfObject, AmfValue } from "../../src/formats/amf.ts";
import { parseTarget } from "../../src/path.ts";

/**
 * The path and arguments that `name` stands for on a connection to the application of the command
 * object `connect`. Arguments are those of the application, of its URL where they differ, and of
 * the name. Empty, and so no stream's, if `name` is no string.
 */
export function streamTarget(connect: AmfObject | null, name: AmfValue): string {
  if (typeof name !== "string") return "";
  const [app, appArgs] = split(connect?.app);
  const [, urlArgs] = split(connect?.tcUrl);
  const [path, nameArgs] = split(name);
  const args = [appArgs, urlArgs === appArgs ? "" : urlArgs, nameArgs].filter((part) => part);
  return `${app}/${path}${args.length > 0 ? "?" : ""}${args.join("&")}`;
}

/** The path of {@linkcode streamTarget}; undefined if it is no stream's. */
export function streamPath(connect: AmfObject | null, name: AmfValue): string | undefined {
  try {
    return parseTarget(streamTarget(connect, name)).path;
  } catch {
    return undefined;
  }
}

function split(value: AmfValue): [path: string, args: string] {
  const text = typeof value === "string" ? value : "";
  const mark = text.indexOf("?");
  return mark < 0 ? [text, ""] : [text.slice(0, mark), text.slice(mark + 1)];
}
