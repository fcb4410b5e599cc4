/**
 * Processes that share a folder. Each prints a line of JSON for what it has done.
 *   writers.child.js train FOLDER RUN EPOCHS   goes on with a run for so many epochs, and ends without closing it
 *   writers.child.js prune FOLDER              prunes all runs again and again until its input ends
 *   writers.child.js hold FOLDER RUN           holds the folder's lock in the middle of a file until its input ends
 */
import { writeSync } from "node:fs";
import { isUnitcellError } from "../src/errors.js";
import { saveTorch } from "../src/formats/torch-save.js";
import { CheckpointManager } from "../src/runs/manager.js";
import { changing } from "../src/runs/notes.js";
import { planStorePrune, pruneStore } from "../src/runs/prune.js";
import { keepLatest } from "../src/runs/retention.js";
import { emptyTrash } from "../src/runs/trash.js";
import { fsStore } from "../src/stores/fs.js";
import { BY, RETENTION, stateAfter } from "./training.js";

const [, , mode, folder, run, count] = process.argv;
const store = fsStore(folder);

/** Nobody saves or prunes without a pause. */
const EPOCH_MS = 10;

const report = (line: object) => writeSync(1, `${JSON.stringify(line)}\n`);

const inputEnded = new Promise<void>((resolve) => process.stdin.on("end", resolve).resume());

async function train(): Promise<void> {
  const manager = new CheckpointManager(store, { run, ...BY, retention: RETENTION });
  let epoch = 0;
  if ((await manager.list()).length === 0) await manager.begin();
  else epoch = (await manager.resume()).state.epoch;
  report({ resumed: epoch });
  for (const end = epoch + Number(count); epoch < end; ) {
    const { notes, best } = await manager.save(stateAfter(++epoch));
    report({ saved: epoch, notes, best });
    await new Promise((resolve) => setTimeout(resolve, EPOCH_MS));
  }
  process.exit(0);
}

async function prune(): Promise<void> {
  const tally = { pruned: 0, files: 0, mismatches: 0 };
  let ended = false;
  void inputEnded.then(() => {
    ended = true;
  });
  for (let round = 0; !ended; round++) {
    try {
      const { removed } = await pruneStore(store, await planStorePrune(store, keepLatest(1)), {
        trash: round % 2 === 0,
      });
      tally.pruned++;
      tally.files += removed.length;
      if (round % 10 === 9) await emptyTrash(store);
    } catch (error) {
      if (!isUnitcellError(error, "MISMATCH")) throw error;
      tally.mismatches++;
    }
    await new Promise((resolve) => setTimeout(resolve, EPOCH_MS));
  }
  report(tally);
  process.exit(0);
}

async function hold(): Promise<void> {
  const bytes = saveTorch(new Map([["state_dict", stateAfter(1).stateDict]]) as never);
  await changing(store, async () => {
    await store.put(`${run}_best.pt`, async (sink) => {
      await sink(bytes.subarray(0, 100));
      report({ holds: process.pid });
      await inputEnded;
      await sink(bytes.subarray(100));
    });
  });
  report({ done: true });
  process.exit(0);
}

const modes: Readonly<Record<string, () => Promise<void>>> = { train, prune, hold };
await modes[mode]();
