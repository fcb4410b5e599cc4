/** Whole processes: from spawning one to its first prediction. Files come from a warm disk cache on both sides. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import type { Context } from "./compare.js";
import { ONE_THREAD, PYTHON, SCRIPT } from "./native.js";
import { type Row, type SectionResult, summarize } from "./stats.js";
import { nameOf } from "./structures.js";

const CLI = "dist/cli.js";

export interface Run {
  /** To the first digit on stdout: a prediction has one, the bracket that opens a JSON array has not. */
  readonly firstNumberMs: number;
  readonly exitMs: number;
  readonly output: string;
}

interface Command {
  readonly name: string;
  readonly ours: readonly string[];
  readonly python: readonly string[];
}

/** Spawn, first digit on stdout, exit. @throws {Error} when the process fails */
export function runProcess([command, ...args]: readonly string[]): Promise<Run> {
  return new Promise((resolve, reject) => {
    const start = performance.now();
    const child = spawn(command, args, { env: ONE_THREAD, stdio: ["ignore", "pipe", "pipe"] });
    let firstNumberMs = 0;
    let output = "";
    let errors = "";
    child.stdout.on("data", (chunk) => {
      output += chunk;
      if (!firstNumberMs && /\d/.test(output)) firstNumberMs = performance.now() - start;
    });
    child.stderr.on("data", (chunk) => {
      errors += chunk;
    });
    child.on("error", reject);
    child.on("close", (status) => {
      if (status === 0) resolve({ firstNumberMs, exitMs: performance.now() - start, output });
      else reject(new Error(`${command} ${args.join(" ")} ended with ${status}: ${errors.trim().split("\n").at(-1)}`));
    });
  });
}

/** Command line that gives one prediction. */
export function predictCommand(context: Context): string[] {
  return [process.execPath, CLI, "predict", "--model", context.inputs.checkpoint, "--json", context.inputs.small];
}

/** Median of so many cold predictions, ms to the number; undefined where there is no command. */
export async function coldSamples(context: Context, runs: number): Promise<number[] | undefined> {
  if (!existsSync(CLI)) return undefined;
  const samples: number[] = [];
  for (let run = 0; run < runs + 1; run++) samples.push((await runProcess(predictCommand(context))).firstNumberMs);
  return samples.slice(1); // the first warms the disk cache
}

export async function cold(context: Context): Promise<SectionResult> {
  if (!existsSync(CLI)) return { rows: [], notes: [`cold: ${CLI} is not built`] };
  const file = context.inputs.small;
  const commands: Command[] = [
    { name: "an empty process", ours: [process.execPath, "-e", "console.log(0)"], python: [PYTHON, "-c", "print(0)"] },
    {
      name: "first prediction",
      ours: predictCommand(context),
      python: [PYTHON, SCRIPT, "predict", context.inputs.checkpoint, file],
    },
  ];
  const rounds = context.quick ? 3 : 11;
  const rows: Row[] = [];
  for (const { name, ours, python } of commands) {
    const runs: Run[] = [];
    const pythonRuns: Run[] = [];
    for (let round = 0; round <= rounds; round++) {
      runs.push(await runProcess(ours));
      if (context.native) pythonRuns.push(await runProcess(python));
    }
    rows.push(row(`${name}, to its number`, file, runs, pythonRuns, "firstNumberMs"));
    rows.push(row(`${name}, to its exit`, file, runs, pythonRuns, "exitMs"));
  }
  return { rows };
}

/** The first run of each side fills the disk cache and does not count. */
function row(step: string, file: string, ours: Run[], python: Run[], key: "firstNumberMs" | "exitMs"): Row {
  const of = (runs: Run[]) => summarize(runs.slice(1).map((run) => run[key]));
  return {
    section: "cold",
    step,
    size: nameOf(file),
    unit: "ms",
    ours: of(ours),
    ...(python.length && { python: of(python), ratio: of(python).median / of(ours).median }),
  };
}
