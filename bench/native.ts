/** The Python side: which interpreter is there, and a worker that times steps on one thread. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

export const SCRIPT = "bench/native.py";

/** UNITCELL_PYTHON, else where Debian puts python3-torch and python3-pymatgen. */
export const PYTHON = process.env.UNITCELL_PYTHON ?? "/usr/bin/python3";

/** One thread, whichever library the interpreter's numpy and torch were built on. */
export const ONE_THREAD: NodeJS.ProcessEnv = {
  ...process.env,
  OMP_NUM_THREADS: "1",
  MKL_NUM_THREADS: "1",
  OPENBLAS_NUM_THREADS: "1",
  NUMEXPR_NUM_THREADS: "1",
};

/** A step of bench/native.py with its arguments. */
export interface NativeRequest {
  readonly step: string;
  readonly [argument: string]: unknown;
}

export interface NativeAnswer {
  /** Per call, measured in Python around the calls. */
  readonly ms: number;
  readonly result: unknown;
}

export class NativeWorker {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  /** Interpreter and library versions, for people. */
  readonly description: string;

  private constructor(child: ChildProcessWithoutNullStreams, lines: AsyncIterator<string>, description: string) {
    this.#child = child;
    this.#lines = lines;
    this.description = description;
  }

  /** A running worker, or why there is none. */
  static async start(): Promise<NativeWorker | { missing: string }> {
    const child = spawn(PYTHON, [SCRIPT], { env: ONE_THREAD, stdio: "pipe" });
    let errors = "";
    child.stderr.on("data", (chunk) => {
      errors += chunk;
    });
    const exit = once(child, "close").catch((error: Error) => {
      errors += error.message;
    });
    child.stdin.on("error", () => {}); // told by the missing answer
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const first = await Promise.race([lines.next(), exit.then(() => ({ done: true, value: undefined }))]);
    if (first.done || first.value === undefined) {
      await exit;
      return { missing: `${PYTHON}: ${errors.trim().split("\n").at(-1) || "it ended without a word"}` };
    }
    const { python, torch, pymatgen, numpy } = JSON.parse(first.value);
    return new NativeWorker(
      child,
      lines,
      `${PYTHON}: Python ${python}, torch ${torch}, pymatgen ${pymatgen}, numpy ${numpy}, one thread`,
    );
  }

  /** Run a step `calls` times. @throws {Error} when Python reports one or ends */
  async run(request: NativeRequest, calls = 1): Promise<NativeAnswer> {
    this.#child.stdin.write(`${JSON.stringify({ ...request, calls })}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`${SCRIPT} ended during ${request.step}`);
    const answer = JSON.parse(value);
    if (answer.error) throw new Error(`${SCRIPT}, ${request.step}: ${answer.error}`);
    return answer;
  }

  async stop(): Promise<void> {
    const closed = once(this.#child, "close");
    this.#child.stdin.end();
    await closed;
  }
}
