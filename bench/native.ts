/** The Python side: which interpreter is there, and a worker that times steps on one thread. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Clock } from "./compare.js";

export const SCRIPT = "bench/native.py";

/** UNITCELL_PYTHON, else where Debian puts python3-torch and python3-pymatgen. */
export const PYTHON = process.env.UNITCELL_PYTHON ?? "/usr/bin/python3";

/** A newer PyTorch, without pymatgen. */
export const NEWER_PYTHON = process.env.UNITCELL_PYTHON_TORCH2 ?? ".venv-torch/bin/python";

/** Steps on files run in every version there is. */
export const TORCH_SCRIPT = "bench/torch_files.py";
export const TORCH_PYTHONS = [NEWER_PYTHON, PYTHON];

/** One thread, whichever library the interpreter's numpy and torch were built on. */
export const ONE_THREAD: NodeJS.ProcessEnv = {
  ...process.env,
  OMP_NUM_THREADS: "1",
  MKL_NUM_THREADS: "1",
  OPENBLAS_NUM_THREADS: "1",
  NUMEXPR_NUM_THREADS: "1",
};

/** A step of a script with its arguments. */
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
  readonly #script: string;
  /** Of the interpreter and its libraries, by name. */
  readonly versions: Readonly<Record<string, string>>;
  /** The same, for people. */
  readonly description: string;
  /** "PyTorch 2.13": its column's name. */
  readonly name: string;
  /** What it can be asked. */
  readonly steps: ReadonlySet<string>;

  private constructor(child: ChildProcessWithoutNullStreams, lines: AsyncIterator<string>, hello: string) {
    this.#child = child;
    this.#lines = lines;
    this.#script = child.spawnargs[1];
    const { versions: found, steps }: { versions: Record<string, string>; steps: string[] } = JSON.parse(hello);
    this.versions = found;
    this.steps = new Set(steps);
    this.name = `PyTorch ${found.torch.split(".", 2).join(".")}`;
    const versions = Object.entries(found).map(([name, version]) => `${name} ${version}`);
    this.description = `${child.spawnfile}: ${versions.join(", ")}, one thread`;
  }

  /** A running worker, or why there is none. */
  static async start(python = PYTHON, script = SCRIPT): Promise<NativeWorker | { missing: string }> {
    const child = spawn(python, [script], { env: ONE_THREAD, stdio: "pipe" });
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
      return { missing: `${python}: ${errors.trim().split("\n").at(-1) || "it ended without a word"}` };
    }
    return new NativeWorker(child, lines, first.value);
  }

  /** Run a step `calls` times. @throws {Error} when Python reports one or ends */
  async run(request: NativeRequest, calls = 1, clock: Clock = "wall"): Promise<NativeAnswer> {
    this.#child.stdin.write(`${JSON.stringify({ ...request, calls, clock })}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`${this.#script} ended during ${request.step}`);
    const answer = JSON.parse(value);
    if (answer.error) throw new Error(`${this.#script}, ${request.step}: ${answer.error}`);
    return answer;
  }

  async stop(): Promise<void> {
    const closed = once(this.#child, "close");
    this.#child.stdin.end();
    await closed;
  }
}
