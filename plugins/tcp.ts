/** What plugins that listen on TCP have in common: addresses, certificates and their errors. */

import { createPrivateKey, X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo, Server } from "node:net";

/** Where to listen. */
export interface BindOptions {
  /** Address of the interface; `0.0.0.0` for all of IPv4, `::` for all. */
  readonly host: string;
  /** TCP port; 0 for any free one, if it is not shared. */
  readonly port: number;
  /** Whether other isolates of the program listen there too. @default {false} */
  readonly shared?: boolean;
}

/** A certificate chain and its private key, both in PEM. */
export interface TlsPair {
  /** The certificate chain. */
  readonly cert: string;
  /** The private key. */
  readonly key: string;
}

/**
 * Makes `server` listen; the port.
 *
 * @throws {Error} If the address cannot be had; its message names it and says why.
 */
export async function bind(server: Server, options: BindOptions): Promise<number> {
  const { host, port, shared = false } = options;
  if (shared && port === 0) {
    throw new Error(
      `cannot listen on ${bracketed(host)}:0: isolates that share a port must know it`,
    );
  }
  try {
    server.listen({ host, port, ...(shared && { reusePort: true }) });
    await once(server, "listening");
  } catch (cause) {
    const address = `${bracketed(host)}:${port}`;
    throw new Error(`cannot listen on ${address}: ${reasonOf(cause, port)}`, { cause });
  }
  return (server.address() as AddressInfo).port;
}

/**
 * The pair in the files that options `Cert` and `Key` name.
 *
 * @throws {Error} If a file cannot be read, or they are no certificate and its key.
 */
export async function readTlsPair(certFile: string, keyFile: string): Promise<TlsPair> {
  const pair = { cert: await readPem("Cert", certFile), key: await readPem("Key", keyFile) };
  let matches: boolean;
  try {
    // The handshake would find out late.
    matches = new X509Certificate(pair.cert).checkPrivateKey(createPrivateKey(pair.key));
  } catch (cause) {
    throw new Error("the files of Cert and Key are no certificate and its key", { cause });
  }
  if (!matches) throw new Error("the certificate of Cert is not one for Key");
  return pair;
}

/** Host and port as URLs have them; an IPv4 client of an IPv6 socket (RFC 4291 2.5.5.2) as such. */
export function addressOf(host = "", port = 0): string {
  return `${bracketed(host.replace(/^::ffff:(?=\d+\.)/i, ""))}:${port}`;
}

/** Where clients on this machine find a listener on `host`. */
export function localHost(host: string): string {
  return host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host;
}

/** A host as URLs have it. */
export function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

async function readPem(option: string, file: string): Promise<string> {
  try {
    return await Deno.readTextFile(file);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`cannot read ${option} ${file}: ${reason}`, { cause });
  }
}

function reasonOf(error: unknown, port: number): string {
  const { code } = error as { code?: string };
  if (code === "EADDRINUSE") {
    return `port ${port} is in use; stop what holds it, or set another Port`;
  }
  if (code === "EACCES" && port < 1024) {
    return `ports below 1024 need privileges; set another Port`;
  }
  return error instanceof Error ? error.message : String(error);
}
