/** What the isolates of a server and the hub between them say to each other. */

import type { Holder, Whereabouts } from "./isolates.ts";

/** What an isolate says to the hub. */
export type MemberMessage =
  /** It wants to publish `path`; answered with nothing, or with who holds it. */
  | {
    readonly type: "claim";
    readonly call: number;
    readonly path: string;
    readonly holder: Holder;
    readonly takeOver: boolean;
  }
  /** The stream that it publishes at `path` waits for its publisher, or is over. */
  | {
    readonly type: "release";
    /** That of its newest claim that was granted: an older one says nothing of that. */
    readonly call: number;
    readonly path: string;
    readonly state: "waiting" | "ended";
  }
  /** Somebody there waits for `path`; answered with a {@linkcode Whereabouts}. */
  | { readonly type: "demand"; readonly call: number; readonly path: string }
  /** Nobody there wants `path` any more. */
  | { readonly type: "forget"; readonly path: string }
  /** It asks all isolates; answered with their results. */
  | {
    readonly type: "ask";
    readonly call: number;
    readonly name: string;
    readonly argument: unknown;
  }
  /** Its answer to a `query`. */
  | { readonly type: "answer"; readonly call: number; readonly result: Result };

/** What the hub says to an isolate. */
export type HubMessage =
  /** The answer to its `call`. */
  | {
    readonly type: "reply";
    readonly call: number;
    readonly reply: Holder | Whereabouts | readonly Result[] | undefined;
  }
  /** Isolate `to` wants `path`, through `port`. */
  | {
    readonly type: "feed";
    readonly path: string;
    readonly to: number;
    /** Whether only what the publisher of now wrote is wanted: what is older came from elsewhere. */
    readonly fresh: boolean;
    readonly port: MessagePort;
  }
  /** Isolate `from` publishes `path`, which comes through `port`. */
  | {
    readonly type: "replica";
    readonly path: string;
    readonly from: number;
    /** As that of the `feed`. */
    readonly fresh: boolean;
    readonly holder: Holder;
    readonly port: MessagePort;
  }
  /** Another isolate asks. */
  | {
    readonly type: "query";
    readonly call: number;
    readonly name: string;
    readonly argument: unknown;
  }
  /** An isolate has failed. */
  | { readonly type: "lost"; readonly index: number };

/** What a handler has returned, or the message of what it has thrown; `none` without a handler. */
export type Result =
  | { readonly type: "value"; readonly value: unknown }
  | { readonly type: "error"; readonly message: string }
  | { readonly type: "none" };
