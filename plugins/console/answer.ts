/** How the console's files are sent. */

import type { Context } from "hono";
import type { HttpEnv } from "../http/service.ts";
import type { Asset } from "./assets.ts";

/** How a file is sent. */
export interface SendOptions {
  readonly status?: 200 | 404;
  /** Whether its address has always this file, so that clients need not ask again. */
  readonly isFixed?: boolean;
}

/** Sends `asset`, unless the client has it. */
export function sendAsset(
  c: Context<HttpEnv>,
  asset: Asset,
  { status = 200, isFixed = false }: SendOptions = {},
): Response {
  c.header("Cache-Control", isFixed ? "public, max-age=31536000, immutable" : "no-cache");
  c.header("ETag", asset.etag);
  c.header("Vary", "Accept-Encoding", { append: true });
  // A 404 is not what the client has, whatever its body.
  if (status === 200 && matches(c.req.header("If-None-Match"), asset.etag)) {
    return c.body(null, 304);
  }
  const isGzip = takesGzip(c.req.header("Accept-Encoding"));
  const bytes = isGzip ? asset.gzipped : asset.plain;
  if (isGzip) c.header("Content-Encoding", "gzip");
  c.header("Content-Type", asset.type);
  c.header("Content-Length", String(bytes.length));
  return c.body(bytes, status);
}

/** Whether `If-None-Match` names `etag` (RFC 9110 13.1.2), by weak comparison. */
function matches(field: string | undefined, etag: string): boolean {
  const opaque = (tag: string) => tag.trim().replace(/^W\//, "");
  return field?.split(",").some((tag) => tag.trim() === "*" || opaque(tag) === opaque(etag)) ??
    false;
}

/** Whether `Accept-Encoding` takes gzip (RFC 9110 12.5.3). */
function takesGzip(field = ""): boolean {
  const weights = new Map(
    field.toLowerCase().split(",").map((part) => {
      const [coding = "", ...parameters] = part.split(";").map((text) => text.trim());
      const q = parameters.find((text) => text.startsWith("q="))?.slice(2) ?? "1";
      return [coding, Number(q)];
    }),
  );
  return (weights.get("gzip") ?? weights.get("x-gzip") ?? weights.get("*") ?? 0) > 0;
}
