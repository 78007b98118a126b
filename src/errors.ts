/** Errors that callers tell apart. Everything else is a built-in error. */

/** Bytes from a peer break the format that they claim to have. */
export class InvalidDataError extends Error {
  override readonly name = "InvalidDataError";
}

/** A path is taken by a live publisher. */
export class StreamTakenError extends Error {
  override readonly name = "StreamTakenError";

  /** An error that says who holds `path` since when. */
  constructor(
    /** Path of the stream. */
    readonly path: string,
    /** The publisher that holds it. */
    readonly holder: { readonly type: string; readonly id: string; readonly since: Date },
  ) {
    super(
      `Cannot publish ${path}: ${holder.type} publisher ${holder.id} has held it since ` +
        holder.since.toISOString(),
    );
  }
}

/** Nobody published a path within the time that its subscriber waits. */
export class StreamNotFoundError extends Error {
  override readonly name = "StreamNotFoundError";

  /** An error that names the path and the wait. */
  constructor(
    /** Path of the stream. */
    readonly path: string,
    /** How long the subscriber waited, in seconds. */
    readonly waitedSeconds: number,
  ) {
    super(`Cannot subscribe to ${path}: no publisher after ${waitedSeconds} s`);
  }
}

/** A guard refused a publisher or subscriber. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";

  /** An error that carries the guard's `reason`. */
  constructor(
    /** Why, in words for the peer. */
    readonly reason: string,
    options?: ErrorOptions,
  ) {
    super(reason, options);
  }
}

/** Why a stream, publisher or subscriber ended. */
export type EndCode =
  /** Its owner ended it. */
  | "ended"
  /** Its connection was lost and did not come back in time. */
  | "lost"
  /** No frame came for the publish timeout. */
  | "publish-timeout"
  /** The last subscriber left. */
  | "idle"
  /** An operator ended it. */
  | "kicked"
  /** Another publisher took over. */
  | "replaced"
  /** It sent what cannot be understood, or failed. */
  | "error"
  /** The engine, or the plugin that it belongs to, stops. */
  | "shutdown";

/** How a stream, publisher or subscriber ended. */
export interface End {
  /** The reason for programs. */
  readonly code: EndCode;
  /** The reason for people. */
  readonly detail: string;
}

/** What is used belongs to a stream, publisher or subscriber that has ended. */
export class EndedError extends Error {
  override readonly name = "EndedError";

  /** An error that carries how it ended. */
  constructor(
    /** What ended, such as `stream live/a`. */
    readonly subject: string,
    /** How it ended. */
    readonly end: End,
  ) {
    super(`The ${subject} has ended: ${end.detail}`);
  }
}

/** A reader that must not lose frames was overtaken by the ring's bounds. */
export class LaggedError extends Error {
  override readonly name = "LaggedError";

  /** An error that says how much is lost. */
  constructor(
    /** Items lost. */
    readonly lost: number,
  ) {
    super(`Cannot go on without loss: the reader was too slow and ${lost} frames are gone`);
  }
}
