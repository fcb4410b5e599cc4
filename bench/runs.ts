/**
 * A training's folder: an epoch saved by the manager (its file, the history, the oldest file removed, two locks looked at)
 * beside torch.save of the same value into one file that is flushed and renamed; folders of many checkpoints listed.
 */
import {
  closeSync,
  copyFileSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadCheckpoint } from "../src/checkpoint.js";
import { listCheckpoints } from "../src/runs/listing.js";
import { CheckpointManager } from "../src/runs/manager.js";
import { planStorePrune } from "../src/runs/prune.js";
import { anyOf, keepBest, keepLatest } from "../src/runs/retention.js";
import type { TrainingState } from "../src/runs/training-state.js";
import { fsStore } from "../src/stores/fs.js";
import type { StateDict } from "../src/tensor.js";
import { type Context, measure } from "./compare.js";
import { NativeWorker, PYTHON, TORCH_SCRIPT } from "./native.js";
import type { Row, SectionResult } from "./stats.js";

const EXAMPLE = "examples/saved_models/cgcnn_ionic_epoch50.pt";
const BY = { metric: "val_mae", mode: "min" } as const;
const POLICY = anyOf(keepLatest(3), keepBest(2, BY));
/** Listing so many takes no longer. */
const MOST_LIST_MS = 1000;
const MANY = 10_000;

type Parts = Pick<TrainingState, "stateDict" | "optimizer">;

/** Ten tensors of 1.6 MB. */
function largeState(): StateDict {
  const entries = Array.from({ length: 10 }, (_, layer) => {
    const numbers = Float32Array.from({ length: 632 * 632 }, (_, i) => Math.sin(i + layer));
    return [`${layer}.weight`, { dtype: "f32", shape: [632, 632], data: new Uint8Array(numbers.buffer) }] as const;
  });
  return new Map(entries);
}

export async function runs(context: Context): Promise<SectionResult> {
  const folder = mkdtempSync(join(tmpdir(), "unitcell-bench-"));
  const worker = await NativeWorker.start(PYTHON, TORCH_SCRIPT);
  const native = worker instanceof NativeWorker ? worker : undefined;
  const notes = [`runs: ${worker instanceof NativeWorker ? worker.description : `no PyTorch: ${worker.missing}`}`];
  try {
    const { stateDict, extra } = await loadCheckpoint(readFileSync(EXAMPLE));
    const parts: Readonly<Record<string, Parts>> = {
      "CGCNN example": { stateDict, optimizer: extra.get("optimizer") ?? null },
      "16 MB": { stateDict: largeState(), optimizer: null },
    };
    const rows: Row[] = [];
    for (const [size, each] of Object.entries(parts))
      rows.push(...(await saves({ ...context, native }, join(folder, size), size, each, notes)));
    const listed = [1000, ...(context.quick ? [] : [MANY])];
    for (const count of listed) rows.push(...(await lists(context, join(folder, `${count}`), count)));
    const slow = rows.filter(
      ({ step, size, ours }) => step === "list" && size === sizeOf(MANY) && ours.median > MOST_LIST_MS,
    );
    return { rows, notes, slow: slow.map(({ ours }) => `listing ${MANY} took ${ours.median.toFixed(0)} ms`) };
  } finally {
    await native?.stop();
    rmSync(folder, { recursive: true });
  }
}

async function saves(context: Context, folder: string, size: string, parts: Parts, notes: string[]): Promise<Row[]> {
  mkdirSync(folder);
  const manager = new CheckpointManager(fsStore(folder), { run: "bench", ...BY, retention: POLICY });
  await manager.begin();
  let epoch = 0;
  // The same each time, so that only the first is the best: one file an epoch.
  const state = (): TrainingState => ({
    ...parts,
    epoch: ++epoch,
    metrics: { train_loss: 1, val_mae: 1 },
    scheduler: null,
    rng: null,
  });
  await manager.save(state());
  const file = join(folder, "same.bin");
  copyFileSync(join(folder, "bench_epoch1.pt"), file);
  const bytes = readFileSync(file);
  const section = "runs";
  const saved = await measure(context, {
    section,
    step: "save an epoch",
    size,
    ours: () => manager.save(state()),
    python: { step: "replace", file, to: join(folder, "torch.bin") },
  });
  const raw = await measure(context, {
    section,
    step: "... its bytes alone, by node:fs",
    size,
    ours: () => replaceRaw(join(folder, "raw.bin"), bytes),
    python: { step: "replace", file, to: join(folder, "torch.bin") },
  });
  await manager.close();
  const times = (saved.ours.median / raw.ours.median).toFixed(1);
  notes.push(`runs: ${size} (${(bytes.length / 1e6).toFixed(2)} MB): an epoch takes ${times} times its bytes alone`);
  return [saved, raw];
}

/** The least that survives a power failure. */
function replaceRaw(path: string, bytes: Uint8Array): void {
  const part = `${path}.part`;
  const fd = openSync(part, "w");
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
  fsyncSync(fd);
  closeSync(fd);
  renameSync(part, path);
  const folder = openSync(join(path, ".."), "r");
  fsyncSync(folder);
  closeSync(folder);
}

const sizeOf = (count: number) => `${count} checkpoints`;

async function lists(context: Context, folder: string, count: number): Promise<Row[]> {
  mkdirSync(folder);
  const store = fsStore(folder);
  const bytes = readFileSync(EXAMPLE);
  const history = Array.from({ length: count }, (_, i) => ({
    epoch: i + 1,
    train_loss: 1 / (i + 1),
    val_mae: 1 / (i + 1),
  }));
  for (const { epoch } of history)
    writeFileSync(join(folder, `many_epoch${epoch}.pt`), epoch === count ? bytes : bytes.subarray(0, 100));
  writeFileSync(join(folder, "training_history.json"), JSON.stringify({ model_name: "many", epochs: count, history }));
  const size = sizeOf(count);
  return [
    await measure(context, { section: "runs", step: "list", size, ours: () => listCheckpoints(store) }),
    await measure(context, { section: "runs", step: "plan", size, ours: () => planStorePrune(store, POLICY) }),
  ];
}
