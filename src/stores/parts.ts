/**
 * Unfinished files: "NAME.HOST-PID-RANDOM.part" beside the name that they will get. Names tell who writes, so that what the
 * dead have left can be removed and what is being written stays.
 */
import { Buffer } from "node:buffer";
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { basename, dirname, join } from "node:path";
import { kill, pid, platform } from "node:process";
import type { Liveness } from "./store.js";

/** A process, as names tell it. */
interface Writer {
  /** A hash of what tells this host from others. */
  readonly host: string;
  readonly pid: number;
  /** A hash of when the process began: the system gives the numbers of dead ones to others. UNKNOWN where it is hidden. */
  readonly start: string;
  /** Threads of one process share all that but not their memory. */
  readonly thread: string;
}

const UNKNOWN = "0".repeat(10);
const WRITER = /^([0-9a-f]{10})-(\d+)-([0-9a-f]{10})([0-9a-f]{8})$/;
const PART = /\.([0-9a-f]{10}-\d+-[0-9a-f]{18})[0-9a-z]+\.part$/;
/** File systems take 255 bytes for a name; the rest of a part's takes up to 60. */
const NAME_BYTES = 190;
/** Older parts of writers that nothing is known of are removed. Writing anything sets a file's time anew. */
const FORGOTTEN_MS = 24 * 3600 * 1000;

/** What this thread is writing, by the names of the parts. */
const unfinished = new Set<string>();
let begun = 0;
let known: Writer | undefined;

/** Only when it is needed: Deno asks for permission. */
function self(): Writer {
  known ??= { host: host(), pid, start: startOf(pid) ?? UNKNOWN, thread: randomBytes(4).toString("hex") };
  return known;
}

const shown = (writer: Writer) => `${writer.host}-${writer.pid}-${writer.start}${writer.thread}`;

function parseWriter(text: string): Writer | undefined {
  const match = WRITER.exec(text);
  return match ? { host: match[1], pid: Number(match[2]), start: match[3], thread: match[4] } : undefined;
}

/** Another part for a file, noted as being written until `endPart`. */
export function beginPart(path: string): string {
  const name = basename(path);
  // It is there for people to read.
  const short = Buffer.byteLength(name) > NAME_BYTES ? [...name].slice(0, NAME_BYTES / 4 - 1).join("") : name;
  const part = `${short}.${shown(self())}${(++begun).toString(36)}.part`;
  unfinished.add(part);
  return join(dirname(path), part);
}

/** Finished, or given up: what is left of it under that name may be removed. */
export function endPart(path: string): void {
  unfinished.delete(basename(path));
}

export const isPart = (name: string) => PART.test(name);

/** Whether nobody writes this part any more. @param modified ms since 1970 */
export function isLeft(name: string, modified: number): boolean {
  const writer = parseWriter(PART.exec(name)?.[1] ?? "");
  if (!writer) return false;
  if (shown(writer) === shown(self())) return !unfinished.has(name);
  return !(isRunning(writer) ?? Date.now() - modified < FORGOTTEN_MS);
}

/** Processes of this host; of other hosts, and of what a runtime hides, nothing is known. */
export function processLiveness(): Liveness {
  return {
    get self() {
      return shown(self());
    },
    isAlive: async (text) => {
      const writer = parseWriter(text);
      return writer && isRunning(writer);
    },
  };
}

function isRunning(writer: Writer): boolean | undefined {
  const here = self();
  if (writer.host !== here.host) return undefined;
  // Another thread of this process counts as alive, since threads cannot ask for each other.
  if (writer.pid === here.pid) return writer.start === here.start;
  try {
    kill(writer.pid, 0);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ESRCH") return false;
    // EPERM: it is another user's. Deno without --allow-run has no code.
    if (code !== "EPERM") return undefined;
  }
  const start = startOf(writer.pid);
  return start === undefined || writer.start === UNKNOWN || start === writer.start;
}

/**
 * The host as far as numbers of processes reach. Containers may share a name and a folder, and count their processes each
 * on its own: on Linux their namespace is part of it. Deno tells that with --allow-all only; without, and without
 * --allow-sys anywhere, this process stands alone, and nothing is known of others.
 */
function host(): string {
  try {
    const linux = platform === "linux" ? `${readlinkSync("/proc/self/ns/pid")} ${readText("/etc/machine-id")}` : "";
    return hash(`${hostname()} ${linux}`);
  } catch {
    return randomBytes(5).toString("hex");
  }
}

/** When a process began; undefined where that cannot be known. */
function startOf(pid: number): string | undefined {
  if (platform !== "linux") return undefined;
  const stat = readText(`/proc/${pid}/stat`);
  // The second field is the program's name in parentheses, whatever is in it; field 3 is the state, field 22 the start.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (fields.length < 20) return undefined;
  // A zombie runs no more; its start is nobody's.
  if (fields[0] === "Z" || fields[0] === "X") return "ended";
  // Counted from the start of the system, of which this is another name each time.
  return hash(`${readText("/proc/sys/kernel/random/boot_id")} ${fields[19]}`);
}

function readText(path: string): string {
  try {
    return readFileSync(path, "latin1").trim();
  } catch {
    return "";
  }
}

const hash = (text: string) => createHash("sha256").update(text).digest("hex").slice(0, 10);
