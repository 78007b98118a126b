/** A WebSocket client that may break every rule, for tests of the server's side. */

import type { Context } from "hono";
import { concat } from "../../src/bytes.ts";
import type { HttpEnv, WebSocketConnection } from "../../plugins/http/service.ts";
import { RawClient } from "./http.ts";

/** The handshake of RFC 6455 1.3. */
export const HANDSHAKE: Readonly<Record<string, string>> = {
  "Connection": "Upgrade",
  "Upgrade": "websocket",
  "Sec-WebSocket-Version": "13",
  "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
};
/** What is answered to it. */
export const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/** How a frame differs from a whole, masked message. */
export interface FrameOptions {
  /** Whether the message ends with it. @default {true} */
  readonly fin?: boolean;
  /** Undefined leaves the payload unmasked. @default {some bytes} */
  readonly mask?: readonly number[] | undefined;
  /** Bits 0x70 of the first byte. @default {0} */
  readonly reserved?: number;
  /** What the length field claims. @default {that of the payload} */
  readonly length?: number;
  /** How many bits the length field has. @default {as few as can be} */
  readonly lengthBits?: 7 | 16 | 64;
}

/** A frame as a client sends it. */
export function clientFrame(
  opcode: number,
  payload: Uint8Array | string = "",
  options: FrameOptions = {},
): Uint8Array<ArrayBuffer> {
  const bytes = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
  const { fin = true, reserved = 0, length = bytes.length } = options;
  const mask = "mask" in options ? options.mask : [0x37, 0xfa, 0x21, 0x3d];
  const bits = options.lengthBits ?? (length < 126 ? 7 : length < 65_536 ? 16 : 64);
  const field = new Uint8Array(bits === 7 ? 0 : bits / 8);
  const view = new DataView(field.buffer);
  if (bits === 16) view.setUint16(0, length);
  if (bits === 64) view.setBigUint64(0, BigInt(length));
  const short = bits === 7 ? length : bits === 16 ? 126 : 127;
  const head = Uint8Array.of((fin ? 0x80 : 0) | reserved | opcode, (mask ? 0x80 : 0) | short);
  const masked = bytes.map((byte, at) => byte ^ (mask?.[at & 3] ?? 0));
  return concat([head, field, Uint8Array.from(mask ?? []), masked]);
}

/** The payload of a close frame. */
export function closePayload(code: number, reason = ""): Uint8Array<ArrayBuffer> {
  return concat([Uint8Array.of(code >> 8, code & 255), new TextEncoder().encode(reason)]);
}

/** A frame of the server. */
export interface ServerFrame {
  readonly opcode: number;
  readonly payload: Uint8Array;
}

/** The frames in `bytes`, which must be whole, and neither masked nor in parts. */
export function serverFrames(bytes: Uint8Array): ServerFrame[] {
  const frames: ServerFrame[] = [];
  for (let rest = bytes; rest.length > 0;) {
    const found = firstFrame(rest);
    if (found === undefined) throw new Error("A frame is not whole");
    frames.push(found.frame);
    rest = rest.subarray(found.end);
  }
  return frames;
}

function firstFrame(bytes: Uint8Array): { frame: ServerFrame; end: number } | undefined {
  const [first = 0, short = 0] = bytes;
  if (bytes.length < 2) return undefined;
  if ((first & 0xf0) !== 0x80 || (short & 0x80) !== 0) throw new Error(`A frame begins ${first}`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = short === 127 ? 10 : short === 126 ? 4 : 2;
  if (bytes.length < start) return undefined;
  const length = short === 127
    ? Number(view.getBigUint64(2))
    : short === 126
    ? view.getUint16(2)
    : short;
  const end = start + length;
  if (bytes.length < end) return undefined;
  return { frame: { opcode: first & 15, payload: bytes.slice(start, end) }, end };
}

/** A client on a socket of its own. */
export class RawWebSocket implements Disposable {
  readonly #client: RawClient;
  #bytes: Uint8Array;

  private constructor(client: RawClient, bytes: Uint8Array) {
    this.#client = client;
    this.#bytes = bytes;
  }

  /** Connects to `path`, or throws with the status of the refusal. */
  static async open(port: number, path: string): Promise<RawWebSocket> {
    const client = await RawClient.request(port, `GET ${path}`, HANDSHAKE);
    const { status, body } = await client.head();
    if (status === 101) return new RawWebSocket(client, body);
    client[Symbol.dispose]();
    throw new Error(`The answer is ${status}`);
  }

  /** Sends bytes, as they are. */
  send(bytes: Uint8Array): Promise<void> {
    return this.#client.send(bytes);
  }

  /** The next frame; undefined where the server has closed the connection. */
  async next(): Promise<ServerFrame | undefined> {
    for (;;) {
      const found = firstFrame(this.#bytes);
      if (found !== undefined) {
        this.#bytes = this.#bytes.subarray(found.end);
        return found.frame;
      }
      const more = await this.#client.read();
      if (more === undefined) {
        if (this.#bytes.length > 0) throw new Error("The connection ended in a frame");
        return undefined;
      }
      this.#bytes = concat([this.#bytes, more]);
    }
  }

  /** The code and the reason of the next close frame, after which the connection must end. */
  async closing(): Promise<[code: number, reason: string]> {
    for (let frame = await this.next(); frame; frame = await this.next()) {
      if (frame.opcode !== 8) continue;
      const [high = 0, low = 0] = frame.payload;
      const end = await this.next().catch(() => undefined);
      if (end !== undefined) throw new Error("There is a frame behind the close frame");
      return [high << 8 | low, new TextDecoder().decode(frame.payload.subarray(2))];
    }
    throw new Error("The connection ended without a close frame");
  }

  /** Closes the socket with nothing said. */
  [Symbol.dispose](): void {
    this.#client[Symbol.dispose]();
  }
}

/** A handler of WebSockets that answers `hello` with `hello, too`, and other requests with 404. */
export function echo(c: Context<HttpEnv>): Response | Promise<Response> {
  let socket: WebSocketConnection | undefined;
  return c.env.upgrade?.({
    open: (opened) => void (socket = opened),
    message: (data) => void socket?.send(typeof data === "string" ? `${data}, too` : data),
  }) ?? c.notFound();
}
