/** The lines that resume-info prints for Python, run as they are, in PyTorch 1.13 and 2: what was saved is what is there. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadCheckpoint } from "../src/checkpoint.js";
import { CheckpointManager } from "../src/runs/manager.js";
import { fileSource, fsStore } from "../src/stores/fs.js";
import { PYTHON_2 } from "./interop.js";

const SCRIPT = "test/resume_lines.py";
const PYTHONS = [process.env.UNITCELL_PYTHON ?? "/usr/bin/python3", PYTHON_2];
/** Parts that the lines restore besides the model and the epoch. */
const PARTS: Readonly<Record<string, string[]>> = {
  argparse: ["optimizer"],
  cgcnn: ["optimizer"],
  generator: ["optimizer", "scheduler", "rng"],
  numpy: ["optimizer", "scheduler", "rng"],
  ours: ["optimizer", "scheduler", "rng"],
  weights: [],
};

interface ResumeInfo {
  readonly runs: { readonly python: string[] }[];
}

for (const python of PYTHONS) {
  const run = (...args: string[]) =>
    JSON.parse(execFileSync(python, [SCRIPT, ...args], { encoding: "utf8", stdio: "pipe" }));
  let version: string;
  try {
    version = run("version");
  } catch (error) {
    const why = existsSync(python)
      ? String((error as { stderr?: string }).stderr)
          .trim()
          .split("\n")
          .at(-1)
      : "absent";
    console.log(`skipped: ${python} (${why})`);
    continue;
  }
  test(`the lines of resume-info, in torch ${version}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "unitcell-lines-"));
    try {
      run("save", folder);
      await saveOurs(join(folder, "generator/net_epoch3.pt"), join(folder, "ours"));
      const lines = Object.keys(PARTS).map((kind) => [kind, linesOf(join(folder, kind))] as const);
      for (const [kind, text] of lines) assert.equal(restored(text), PARTS[kind], `${kind}: ${text.join("\n")}`);
      const output = execFileSync(python, [SCRIPT, "run"], { encoding: "utf8", input: JSON.stringify(lines) });
      assert.equal(JSON.parse(output), Object.fromEntries(lines.map(([kind]) => [kind, ""])));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

/** The state of a file in Python's, saved by the manager. */
async function saveOurs(file: string, folder: string): Promise<void> {
  const source = fileSource(file);
  const { stateDict, extra } = await loadCheckpoint(source);
  source.close();
  const [optimizer, scheduler, rng] = ["optimizer", "scheduler", "rng_state"].map((key) => extra.get(key) ?? null);
  const manager = new CheckpointManager(fsStore(folder), { run: "net" });
  await manager.save({ stateDict, epoch: 3, metrics: { val_mae: 0.5 }, optimizer, scheduler, rng });
  await manager.close();
}

function linesOf(folder: string): string[] {
  const output = execFileSync(process.execPath, [resolve("dist/cli.js"), "resume-info", folder, "--json"], {
    encoding: "utf8",
  });
  const { runs } = JSON.parse(output) as ResumeInfo;
  assert.is(runs.length, 1, folder);
  return runs[0].python;
}

function restored(lines: readonly string[]): string[] {
  const text = lines.join("\n");
  const marks: Readonly<Record<string, string>> = {
    optimizer: "optimizer.load",
    scheduler: "scheduler.load",
    rng: "torch.set_rng",
  };
  return Object.keys(marks).filter((part) => text.includes(marks[part]));
}

test.run();
