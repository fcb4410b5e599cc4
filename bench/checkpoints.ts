/**
 * Loading and saving checkpoints beside torch.load and torch.save, in every PyTorch there is: warm, and in a process of
 * its own from its start. Each version makes the files it is compared on, and both sides must find the same bytes.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Run, runProcess } from "./cold.js";
import { type Context, measure, type Step } from "./compare.js";
import { NativeWorker, TORCH_PYTHONS, TORCH_SCRIPT } from "./native.js";
import { type Row, type SectionResult, summarize } from "./stats.js";
import { checksum, loadFile, replaceFile, saveFile } from "./torch-files.js";

/** unitcell's time over torch's default load, and save; checksums are part of ours and not of torch's. */
const GOAL = 1;
/** The same for loading SMALL, where torch's time goes into making tensors. */
const SMALL_GOAL = 0.2;
const SMALL = "4000 tensors";
const COLD_FILES = ["0.8 MB", "100 MB", SMALL];
const LOAD_CHILD = "build/bench/load-child.js";

/** One PyTorch, its worker and the files it made, by name. */
interface Torch {
  readonly python: string;
  readonly name: string;
  readonly context: Context;
  readonly worker: NativeWorker;
  readonly folder: string;
  readonly files: Readonly<Record<string, string>>;
}

export async function checkpoints(context: Context): Promise<SectionResult> {
  const folder = mkdtempSync(join(tmpdir(), "unitcell-bench-"));
  const rows: Row[] = [];
  const notes: string[] = [];
  const failures: string[] = [];
  try {
    for (const python of TORCH_PYTHONS) {
      const worker = await NativeWorker.start(python, TORCH_SCRIPT);
      if (!(worker instanceof NativeWorker)) {
        notes.push(`checkpoints: no PyTorch in ${worker.missing}`);
        continue;
      }
      notes.push(`checkpoints: ${worker.description}`);
      const files = (await worker.run({ step: "make", folder })).result as Torch["files"];
      const name = `torch ${worker.versions.torch}`;
      const torch = { python, name, context: { ...context, native: worker }, worker, folder, files };
      failures.push(...(await compareContents(torch)));
      rows.push(...(await loads(torch, notes)), ...(await saves(torch)));
      await worker.stop();
      rows.push(...(await cold(torch)));
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  if (rows.length === 0) failures.push("checkpoints: no PyTorch to make files with");
  return { rows, notes, failures, slow: rows.flatMap(overGoal) };
}

/** What this version saved and we load, and what we save and it loads, has the same tensors. */
async function compareContents({ name, worker, folder, files }: Torch): Promise<string[]> {
  const failures: string[] = [];
  for (const [size, file] of Object.entries(files)) {
    const value = await loadFile(file);
    const ours = JSON.stringify(checksum(value));
    const copy = join(folder, "copy.pt");
    await saveFile(value, copy);
    for (const [what, path] of Object.entries({ file, copy })) {
      const { result } = await worker.run({ step: "checksum", file: path, weights_only: false });
      if (JSON.stringify(result) !== ours)
        failures.push(`checkpoints, ${name}, ${size}, ${what}: unitcell has ${ours}, torch ${JSON.stringify(result)}`);
    }
  }
  return failures;
}

/** The default is one of the two modes, and which one depends on the version. */
async function loads({ name, context, worker, files }: Torch, notes: string[]): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [size, file] of Object.entries(files))
    for (const [mode, options] of Object.entries({ default: {}, "weights_only=True": { weights_only: true } })) {
      const python = { step: "load", file, ...options };
      try {
        await worker.run(python);
      } catch (error) {
        notes.push(`${name} does not load the ${size} file, ${mode}: ${(error as Error).message.split("\n")[0]}`);
        continue;
      }
      rows.push(
        await measure(
          context,
          step(`load, ${name}, ${mode}`, size, () => loadFile(file), python),
        ),
      );
    }
  return rows;
}

async function saves({ name, context, folder, files }: Torch): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [size, file] of Object.entries(files)) {
    const value = await loadFile(file);
    const python = { step: "save", file, to: join(folder, "torch.pt") };
    const to = join(folder, "ours.pt");
    rows.push(
      await measure(
        context,
        step(`save, ${name}`, size, () => saveFile(value, to), python),
      ),
    );
    rows.push(
      await measure(
        context,
        step("... safely, and on the disk", size, () => replaceFile(value, to)),
      ),
    );
  }
  return rows;
}

const step = (name: string, size: string, ours: Step["ours"], python?: Step["python"]): Step => {
  return { section: "checkpoints", step: name, size, ours, python };
};

/** A process that loads one file: from its start, and the load alone, which has no memory or compiled code to reuse. */
async function cold({ python, name, files, context }: Torch): Promise<Row[]> {
  if (!existsSync(LOAD_CHILD)) return [];
  const rows: Row[] = [];
  for (const size of COLD_FILES) {
    const ours: Run[] = [];
    const theirs: Run[] = [];
    for (let round = 0; round < context.rounds + 1; round++) {
      ours.push(await runProcess([process.execPath, LOAD_CHILD, files[size]]));
      theirs.push(await runProcess([python, TORCH_SCRIPT, "load", files[size]]));
    }
    const add = (what: string, of: (run: Run) => number) => {
      const summary = (runs: Run[]) => summarize(runs.slice(1).map(of)); // the first fills the disk cache
      const sides = { ours: summary(ours), python: summary(theirs) };
      const ratio = sides.python.median / sides.ours.median;
      rows.push({ section: "checkpoints", step: `${what}, ${name}`, size, unit: "ms", ...sides, ratio });
    };
    add("process start to loaded", ({ firstNumberMs }) => firstNumberMs);
    add("... of that the load", ({ output }) => Number(output.split(" ")[1]));
  }
  return rows;
}

function overGoal({ step, size, ours, python }: Row): string[] {
  if (!python || !/^(load.*default|save)/.test(step)) return [];
  const goal = size === SMALL && step.startsWith("load") ? SMALL_GOAL : GOAL;
  const found = ours.median / python.median;
  return found <= goal ? [] : [`${step}, ${size}: ${found.toFixed(2)} of torch's time, goal ${goal}`];
}
