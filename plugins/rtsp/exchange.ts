/** A request and its answer, or what refuses it. */

import {
  EndedError,
  InvalidDataError,
  RefusedError,
  StreamNotFoundError,
  StreamTakenError,
} from "../../src/errors.ts";
import { type OutgoingResponse, type RtspRequest, RtspStatus } from "./message.ts";

/** An answer but for what all answers have. */
export type Reply = Omit<OutgoingResponse, "cseq">;

/** A request that gets one answer. */
export interface Exchange {
  /** The request. */
  readonly request: RtspRequest;
  /** Sends the answer, before anything that is sent afterwards. */
  readonly respond: (reply: Reply) => void;
}

/** Says that a request is refused with a status. */
export class StatusError extends Error {
  override readonly name = "StatusError";

  /** An error that carries the status of the answer. */
  constructor(
    /** The status. */
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

/** What refuses a request at the wrong time (RFC 2326 11.3.7). */
export function notNow(reason = "it is not the time for that"): StatusError {
  return new StatusError(RtspStatus.methodNotValidInThisState, reason);
}

/** The status that answers a request that failed with `error`. */
export function statusOf(error: unknown): number {
  if (error instanceof StatusError) return error.status;
  if (error instanceof RefusedError || error instanceof StreamTakenError) {
    return RtspStatus.forbidden;
  }
  if (error instanceof StreamNotFoundError || error instanceof EndedError) {
    return RtspStatus.notFound;
  }
  // A TypeError is what URLs and paths are refused with.
  if (error instanceof InvalidDataError || error instanceof TypeError) {
    return RtspStatus.badRequest;
  }
  return RtspStatus.internalServerError;
}
