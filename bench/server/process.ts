/** Processes that the benchmark starts: pinned to cores, measured, never left behind. */

/** What a process and its descendants have used and hold. */
export interface Usage {
  /** User and system time of all of them since their start, in seconds. */
  readonly cpuSeconds: number;
  /** Resident memory of all of them, in bytes. */
  readonly rssBytes: number;
  readonly processes: number;
  readonly threads: number;
}

/** How to start a process. */
export interface StartOptions {
  /** The program and its arguments. */
  readonly command: readonly string[];
  /** Cores as `taskset` takes them; empty for any. */
  readonly cores: string;
  /** Niceness, as `nice` takes it. @default {as this process} */
  readonly niceness?: number | undefined;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** File that takes what it prints. */
  readonly logFile: string;
  /** Takes the lines of its standard output instead; its standard input is open then. */
  readonly onLine?: (line: string) => void;
}

/** Ticks a second of the times in `/proc` (`getconf CLK_TCK`; 100 on every Linux of today). */
const TICKS = 100;
const PAGE_BYTES = 4096;
/** How long a process may take to end when it is asked to. */
const STOP_MS = 3000;

const running = new Set<BenchProcess>();

/** Kills all that still runs; for the end of the program, which may come at any time. */
export function killAll(): void {
  for (const process of running) process.kill();
}

/** A process that belongs to the benchmark. */
export class BenchProcess implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #log: Promise<void>;
  readonly #input: WritableStreamDefaultWriter<Uint8Array> | undefined;
  readonly #logFile: string;
  #ended: Deno.CommandStatus | undefined;

  /** Starts it. */
  constructor(options: StartOptions) {
    const { cores, niceness } = options;
    const [program = "", ...args] = [
      ...(cores === "" ? [] : ["taskset", "-c", cores]),
      ...(niceness === undefined ? [] : ["nice", "-n", String(niceness)]),
      ...options.command,
    ];
    this.#child = new Deno.Command(program, {
      args,
      ...(options.cwd !== undefined && { cwd: options.cwd }),
      ...(options.env !== undefined && { env: options.env }),
      stdin: options.onLine ? "piped" : "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    if (options.onLine) this.#input = this.#child.stdin.getWriter();
    running.add(this);
    this.#logFile = options.logFile;
    this.#log = this.#writeLog(options.onLine);
    this.#child.status.then((status) => {
      this.#ended = status;
      running.delete(this);
    });
  }

  /** Its process id. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Whether it has ended. */
  get ended(): boolean {
    return this.#ended !== undefined;
  }

  /** Resolves when it has ended. */
  get closed(): Promise<unknown> {
    return this.#child.status;
  }

  /** Writes a line to its standard input. */
  async write(line: string): Promise<void> {
    await this.#input?.write(new TextEncoder().encode(line + "\n"));
  }

  /** What it and its descendants use. */
  usage(): Usage {
    return usageOf(this.pid);
  }

  /** The last lines that it has printed. */
  async lastLines(count: number): Promise<string[]> {
    const text = await Deno.readTextFile(this.#logFile).catch(() => "");
    return text.trimEnd().split("\n").slice(-count);
  }

  /** Kills it and its descendants at once. */
  kill(): void {
    for (const pid of this.ended ? [] : treeOf(this.pid)) {
      try {
        Deno.kill(pid, "SIGKILL");
      } catch {
        // It has just ended.
      }
    }
  }

  /** Asks it to end, and kills it if it does not. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#input?.close().catch(() => {});
    if (!this.ended) {
      this.#child.kill("SIGTERM");
      const timer = setTimeout(() => this.kill(), STOP_MS);
      await this.#child.status;
      clearTimeout(timer);
    }
    await this.#log;
  }

  async #writeLog(onLine: ((line: string) => void) | undefined): Promise<void> {
    const { stdout, stderr } = this.#child;
    using file = await Deno.open(this.#logFile, { write: true, create: true, truncate: true });
    const copy = async (stream: ReadableStream<Uint8Array>) => {
      for await (const bytes of stream) file.writeSync(bytes);
    };
    await Promise.all([onLine ? eachLine(stdout, onLine) : copy(stdout), copy(stderr)]);
  }
}

/** Calls `onLine` with each line of a stream of UTF-8. */
export async function eachLine(
  stream: ReadableStream<Uint8Array>,
  onLine: (line: string) => void,
): Promise<void> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of stream) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    lines.forEach(onLine);
  }
}

/** Pins this process and its threads, so that it takes nothing from the server's core. */
export async function pinSelf(cores: string): Promise<void> {
  if (cores === "") return;
  const args = ["-a", "-p", "-c", cores, String(Deno.pid)];
  const { success } = await new Deno.Command("taskset", { args, stdout: "null" }).output();
  if (!success) throw new Error(`Cannot pin to core ${cores}: there is no such core`);
}

/** Whether processes may be given `niceness`; below 0 that takes privileges. */
export async function mayBe(niceness: number): Promise<boolean> {
  // Where it may not, it says so and runs the program all the same: itself, which prints what it has.
  const output = await outputOf(["nice", "-n", String(niceness), "nice"]).catch(() => "");
  return output.trim() === String(niceness);
}

/** How many files a process may have open, this one and those that it starts (proc_pid_limits(5)). */
export async function openFilesAllowed(): Promise<number> {
  const limits = await Deno.readTextFile("/proc/self/limits");
  const hard = /^Max open files +\w+ +(\w+)/m.exec(limits)?.[1];
  return hard === undefined || hard === "unlimited" ? Infinity : Number(hard);
}

/** The path of a program; undefined if it is not there. */
export async function which(program: string): Promise<string | undefined> {
  const directories = (Deno.env.get("PATH") ?? "").split(":").concat("/usr/sbin");
  for (const directory of directories) {
    const path = `${directory}/${program}`;
    const info = await Deno.stat(path).catch(() => undefined);
    if (info?.isFile && ((info.mode ?? 0) & 0o111) !== 0) return path;
  }
  return undefined;
}

/** What a program prints, both ways; throws if it fails or takes longer than `timeoutMs`. */
export async function outputOf(
  command: readonly string[],
  options: { readonly cwd?: string; readonly timeoutMs?: number } = {},
): Promise<string> {
  const [program = "", ...args] = command;
  const { success, stdout, stderr } = await new Deno.Command(program, {
    args,
    ...(options.cwd !== undefined && { cwd: options.cwd }),
    stdin: "null",
    signal: AbortSignal.timeout(options.timeoutMs ?? 10_000),
  }).output();
  const decoder = new TextDecoder();
  const text = decoder.decode(stdout) + decoder.decode(stderr);
  if (!success) throw new Error(`${command.join(" ")} failed: ${text.trim().slice(-500)}`);
  return text;
}

/** CPU time of all that runs on this machine since its start, in seconds (proc_stat(5)). */
export function machineCpuSeconds(): number {
  const [, ...ticks] = Deno.readTextFileSync("/proc/stat").split("\n", 1).join("").split(/ +/);
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0, steal = 0] = ticks.map(Number);
  return (user + nice + system + irq + softirq + steal) / TICKS;
}

interface Stat {
  readonly parent: number;
  readonly ticks: number;
  readonly childTicks: number;
  readonly threads: number;
  readonly rssPages: number;
}

/** `/proc/{pid}/stat` (proc(5)). */
function statOf(pid: number): Stat | undefined {
  let text: string;
  try {
    text = Deno.readTextFileSync(`/proc/${pid}/stat`);
  } catch {
    return undefined;
  }
  // The name before it may hold anything.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const field = (number: number) => Number(fields[number - 3]);
  return {
    parent: field(4),
    ticks: field(14) + field(15),
    childTicks: field(16) + field(17),
    threads: field(20),
    rssPages: field(24),
  };
}

/** A process and its descendants. */
function treeOf(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const { name } of Deno.readDirSync("/proc")) {
    const pid = Number(name);
    const stat = Number.isInteger(pid) ? statOf(pid) : undefined;
    if (stat === undefined) continue;
    const siblings = children.get(stat.parent);
    if (siblings === undefined) children.set(stat.parent, [pid]);
    else siblings.push(pid);
  }
  const tree = [root];
  for (let index = 0; index < tree.length; index++) {
    tree.push(...children.get(tree[index] ?? 0) ?? []);
  }
  return tree;
}

function usageOf(root: number): Usage {
  const usage = { cpuSeconds: 0, rssBytes: 0, processes: 0, threads: 0 };
  for (const pid of treeOf(root)) {
    const stat = statOf(pid);
    if (stat === undefined) continue;
    usage.cpuSeconds += (stat.ticks + stat.childTicks) / TICKS;
    usage.rssBytes += stat.rssPages * PAGE_BYTES;
    usage.processes++;
    usage.threads += stat.threads;
  }
  return usage;
}
