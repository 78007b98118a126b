/** The program with the config that it is shipped with, but on free ports of this machine. */

import { freePort } from "./free_port.ts";
import { Program } from "./program.ts";

/** Options of {@linkcode ConsoleServer.start}. */
export interface ConsoleServerOptions {
  /** What the API and the console ask for. */
  readonly apiToken?: string;
}

/** A server with the console. */
export class ConsoleServer implements AsyncDisposable {
  /** The program. */
  readonly program: Program;
  /** Where it listens for HTTP, without a slash at the end. */
  readonly http: string;
  /** Where streams are published, likewise. */
  readonly rtmp: string;

  private constructor(program: Program, http: number, rtmp: number) {
    this.program = program;
    this.http = `http://127.0.0.1:${http}`;
    this.rtmp = `rtmp://127.0.0.1:${rtmp}`;
  }

  /** Starts it with `config.toml`. */
  static async start({ apiToken }: ConsoleServerOptions = {}): Promise<ConsoleServer> {
    const [http, rtmp] = [freePort(), freePort()];
    const shipped = await Deno.readTextFile(new URL("../../config.toml", import.meta.url));
    const config = shipped
      .replaceAll('"./plugins/', '"{root}plugins/')
      .replaceAll('"0.0.0.0"', '"127.0.0.1"')
      .replace("Port = 8080", `Port = ${http}`)
      .replace("Port = 1935", `Port = ${rtmp}`)
      .replace("Port = 8554", "Port = 0")
      .replace("[10000, 10999]", "[]")
      .replace(/^# ApiToken = .*$/m, apiToken ? `ApiToken = "${apiToken}"` : "");
    const program = await Program.start(config);
    try {
      await program.says("the console is at");
      return new ConsoleServer(program, http, rtmp);
    } catch (error) {
      await program[Symbol.asyncDispose]();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.program[Symbol.asyncDispose]();
  }
}
