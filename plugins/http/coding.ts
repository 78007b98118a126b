/** Live bodies in the chunked transfer coding (RFC 9112 7.1), framed once for all viewers. */

import { Buffer } from "node:buffer";
import { concat } from "../../src/bytes.ts";
import { carried, type Format, type FormatFactory, type Wrapping } from "../../src/mux.ts";

/** The end of a body in the chunked coding, without trailers. */
export const LAST_CHUNK: Uint8Array = Buffer.from("0\r\n\r\n");

const AFTER = Buffer.from("\r\n");

/** `bytes` as a chunk; none if there are none, since an empty chunk is the last one. */
export function chunkOf(bytes: Uint8Array): Uint8Array {
  if (bytes.length === 0) return bytes;
  const { before, after } = around(bytes.length);
  return concat([before, bytes, after]);
}

/** Formats in the chunked coding: the same one for the same format. */
export class ChunkedFormats {
  readonly #formats = new WeakMap<FormatFactory, FormatFactory>();

  /** What makes `create`'s bytes in chunks. */
  of(create: FormatFactory): FormatFactory {
    let format = this.#formats.get(create);
    if (format === undefined) {
      format = () => chunked(create());
      this.#formats.set(create, format);
    }
    return format;
  }
}

function chunked(format: Format): Format {
  return carried(format, {
    header: (tracks, at) => chunkOf(format.header(tracks, at)),
    wrap: around,
  });
}

/** What makes a chunk of `length` bytes. */
function around(length: number): Wrapping {
  return { before: Buffer.from(`${length.toString(16)}\r\n`), after: AFTER };
}

/** Bytes as the sockets of Node take them, made once where many get the same. */
export class SharedBuffers {
  #bytes: Uint8Array | undefined;
  #buffer = Buffer.alloc(0);

  /** A view of `bytes`. */
  of(bytes: Uint8Array): Buffer {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#buffer = Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.length);
    }
    return this.#buffer;
  }
}
