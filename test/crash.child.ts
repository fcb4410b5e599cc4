/**
 * crash.child.js FOLDER RUN: goes on with the training that is in the folder, and saves epoch after epoch until it is killed.
 * Prints a line of JSON (`Report`) before and after everything that it does; a line that was printed has been received.
 */
import { writeSync } from "node:fs";
import { CheckpointManager } from "../src/runs/manager.js";
import { pinCheckpoint, readPins, unpinCheckpoint } from "../src/runs/pins.js";
import { keepLatest } from "../src/runs/retention.js";
import { emptyTrash, listTrash, undoRemoval } from "../src/runs/trash.js";
import { fsStore } from "../src/stores/fs.js";
import type { Store } from "../src/stores/store.js";
import { BY, partsIn, RETENTION, stateAfter } from "./training.js";

/** A history of so many epochs makes each save slow; the run is begun anew then. */
const MOST_EPOCHS = 120;
const MOST_BATCHES = 6;
const MOST_PINS = 3;

export type Doing = "start" | "save" | "pin" | "unpin" | "prune" | "undo" | "emptyTrash";

/** What is being done, and what it has done once it is finished. */
export interface Report {
  readonly doing: Doing;
  readonly finished: boolean;
  /** Of "start": a former run of the name goes to the trash. */
  readonly isNew?: boolean;
  /** Of "start": the last that was saved, 0 for a new run; of "save". */
  readonly epoch?: number;
  /** Files that were there no more afterwards, or will be. */
  readonly removed?: readonly string[];
  /** Files that were there afterwards. */
  readonly written?: readonly string[];
  readonly best?: { readonly epoch: number; readonly value: number } | undefined;
  /** Of "start": how long it took, unfinished files left by dead writers after it, and what the manager says. */
  readonly ms?: number;
  readonly parts?: readonly string[];
  readonly notes?: readonly string[];
}

function report(line: Report): void {
  writeSync(1, `${JSON.stringify(line)}\n`);
}

async function doing(
  what: Doing,
  before: Partial<Report>,
  act: () => Promise<Partial<Report> | undefined>,
): Promise<void> {
  report({ ...before, doing: what, finished: false });
  report({ ...before, ...(await act()), doing: what, finished: true });
}

async function main(folder: string, run: string): Promise<void> {
  const store = fsStore(folder);
  const manager = new CheckpointManager(store, { run, ...BY, retention: RETENTION });
  const epochs = (await manager.list()).filter(({ tag }) => tag === "epoch").map((info) => info.epoch ?? 0);
  const isNew = epochs.length === 0 || Math.max(...epochs) >= MOST_EPOCHS;
  if (isNew)
    // Pins are of names, and the new run's files will have the same.
    for (const key of await readPins(store))
      await doing("unpin", { removed: [key] }, async () => void (await unpinCheckpoint(store, key)));
  let epoch = 0;
  await doing("start", { isNew }, async () => {
    const start = performance.now();
    const resumed = isNew ? void (await manager.begin({ existing: "trash" })) : await manager.resume("latest");
    epoch = resumed?.state.epoch ?? 0;
    const ms = performance.now() - start;
    return { epoch, ms, parts: partsIn(folder), best: resumed?.best, notes: resumed?.notes ?? [] };
  });
  // So that no former run's files are brought back.
  if (isNew) await doing("emptyTrash", {}, async () => void (await emptyTrash(store)));
  for (;;) await liveOneEpoch(store, manager, ++epoch);
}

async function liveOneEpoch(store: Store, manager: CheckpointManager, epoch: number): Promise<void> {
  await doing("save", { epoch }, async () => {
    const { written, removed, notes } = await manager.save(stateAfter(epoch));
    return { written, removed, notes };
  });
  const key = `${manager.run}_epoch${epoch}.pt`;
  if (epoch % 6 === 0) await doing("pin", { written: [key] }, async () => void (await pinCheckpoint(store, key)));
  const [oldest, ...pinned] = await readPins(store);
  if (pinned.length >= MOST_PINS)
    await doing("unpin", { removed: [oldest] }, async () => void (await unpinCheckpoint(store, oldest)));
  if (epoch % 4 === 0) {
    const plan = await manager.planPrune(keepLatest(1));
    const removed = plan.remove.map((info) => info.key);
    await doing("prune", { removed }, async () => void (await manager.prune(plan, { trash: true })));
  }
  const batches = (await listTrash(store)).filter(({ files }) => files.length > 0);
  const last = batches.at(-1);
  if (epoch % 8 === 0 && last?.why === "prune") {
    const written = last.files.map((file) => file.key);
    await doing("undo", { written }, async () => void (await undoRemoval(store)));
  }
  if (batches.length > MOST_BATCHES) await doing("emptyTrash", {}, async () => void (await emptyTrash(store)));
}

await main(process.argv[2], process.argv[3]);
