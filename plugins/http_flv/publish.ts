/** `POST /{path}.flv` and `PUT /{path}.flv`. */

import type { Context } from "hono";
import { InvalidDataError } from "../../src/errors.ts";
import { FlvIngest } from "../../src/flv_ingest.ts";
import { FlvDemuxStream, type FlvTag } from "../../src/formats/flv.ts";
import type { PluginContext } from "../../src/plugin.ts";
import type { Publisher } from "../../src/publisher.ts";
import type { HttpEnv } from "../http/service.ts";
import type { HttpFlvOptions } from "./options.ts";
import { refuse, refuseFor, type StreamTarget, targetOf } from "../stream_request.ts";

/**
 * Publishes the FLV in the body, for as long as it comes. The end of the body ends the stream; a
 * lost connection makes it wait for its publisher.
 */
export async function publishFlv(
  c: Context<HttpEnv>,
  { publish }: PluginContext,
  options: HttpFlvOptions,
): Promise<Response> {
  let target: StreamTarget;
  try {
    target = targetOf(c, ".flv");
  } catch (error) {
    if (error instanceof TypeError) return refuse(c, 400, error.message);
    throw error;
  }
  const { body } = c.req.raw;
  if (body === null) return refuse(c, 400, "Cannot publish: the request has no body");
  let publisher: Publisher;
  try {
    publisher = await publish(target.target, {
      type: "HTTP-FLV",
      id: c.env.remote,
      autoCloseDelay: options.AutoCloseDelay,
    });
  } catch (error) {
    return refuseFor(c, error);
  }
  const ingest = new FlvIngest(publisher);
  let tags = 0;
  const sink = publisher.sink<FlvTag>(({ type, timestampMs, body }) => {
    tags++;
    ingest.push(type, timestampMs, body);
  });
  try {
    // What aborts tells how the publisher ends, so the pipe must not abort the sink itself.
    await body.pipeThrough(new FlvDemuxStream()).pipeTo(sink, { preventAbort: true });
  } catch (error) {
    return endFor(c, publisher, error);
  }
  if (tags === 0) return refuse(c, 400, "Cannot publish: the body has no FLV tag");
  return c.json({ path: target.path, tags });
}

/** Ends a publisher whose body did not come to its end, and says why. */
function endFor(c: Context<HttpEnv>, publisher: Publisher, error: unknown): Response {
  if (error instanceof InvalidDataError) {
    publisher.fail(error);
    return refuse(c, 400, error.message);
  }
  // An end that came from elsewhere: an operator, a timeout, another publisher.
  if (publisher.end !== undefined) return refuseFor(c, error);
  publisher.lose("the connection was lost");
  return refuse(c, 400, "Cannot publish: the body broke off");
}
