/** Stream paths, as they come with requests. */

/** Longest path: what fits a file name, with room for a suffix. */
export const MAX_PATH_LENGTH = 240;

/** A stream path and the arguments that came with it. */
export interface StreamTarget {
  /** The path, such as `live/camera`. */
  readonly path: string;
  /** The arguments after `?`, such as a token. */
  readonly args: URLSearchParams;
}

/**
 * Takes a target such as `/live/camera?token=1` apart.
 *
 * Slashes at both ends are dropped, and of repeated ones all but one.
 *
 * @throws {TypeError} If the path is empty, too long, has a control character, or a `.` or `..`
 *   segment.
 */
export function parseTarget(target: string): StreamTarget {
  const mark = target.indexOf("?");
  const raw = mark < 0 ? target : target.slice(0, mark);
  const segments = raw.split("/").filter((segment) => segment !== "");
  const path = segments.join("/");
  const name = JSON.stringify(raw.slice(0, MAX_PATH_LENGTH));
  if (path === "") throw new TypeError(`Cannot use ${name} as a stream path: it is empty`);
  if (path.length > MAX_PATH_LENGTH) {
    throw new TypeError(`Cannot use ${name}… as a stream path: it is over ${MAX_PATH_LENGTH} long`);
  }
  // deno-lint-ignore no-control-regex
  if (/[\x00-\x1f\x7f\\]/.test(path)) {
    throw new TypeError(`Cannot use ${name} as a stream path: it has a control character or \\`);
  }
  if (segments.some((segment) => segment === "." || segment === "..")) {
    throw new TypeError(`Cannot use ${name} as a stream path: it has a . or .. segment`);
  }
  return { path, args: new URLSearchParams(mark < 0 ? "" : target.slice(mark + 1)) };
}
