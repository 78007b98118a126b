import { assertEquals } from "@std/assert";
import { Hono } from "hono";
import { streamRoute } from "../../plugins/stream_request.ts";

Deno.test("streamRoute() matches streams, not files in a folder of one", async () => {
  const app = new Hono();
  app.get(streamRoute(".mp4"), (c) => c.text(c.req.param("path") ?? ""));
  const cases: [path: string, matched: string | undefined][] = [
    ["/a.mp4", "a.mp4"],
    ["/live/a.mp4?x=1", "live/a.mp4"],
    ["/live/~/a/b.mp4", "live/~/a/b.mp4"],
    ["/live/a~/b.mp4", "live/a~/b.mp4"],
    ["/live/a.flv", undefined],
    ["/live/amp4", undefined],
    ["/live/a/~/0123-i0.mp4", undefined],
  ];
  for (const [path, matched] of cases) {
    const response = await app.request(path);
    const text = await response.text();
    assertEquals(response.ok ? text : undefined, matched, path);
  }
});
