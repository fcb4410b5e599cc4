/**
 * A run in two sessions on any store, as a program has it that uses what "unitcell/checkpoints" exports: the same in uvu, in
 * Deno, in Bun and in a page. Each part throws where something is not as it should be. Nothing here may import a runtime's
 * or a test runner's modules.
 */
import {
  anyOf,
  CheckpointManager,
  checkCheckpoint,
  isUnitcellError,
  keepBest,
  keepLatest,
  keepTagged,
  listCheckpoints,
  listTrash,
  pinCheckpoint,
  type Store,
  storageReport,
  undoRemoval,
  unpinCheckpoint,
} from "../src/checkpoints.js";
import { epochOf, keysOf, rngState, stateOf } from "./training-states.js";

const RUN = "cgcnn_mp";
const BY = { metric: "val_mae", mode: "min" } as const;
/** Of epochs 1, 2, ...; the third is the best one. */
const MAES = [0.9, 0.5, 0.1, 0.4, Number.NaN, 0.2, 0.3];
const FIRST = 5;

const epochFile = (epoch: number) => `${RUN}_epoch${epoch}.pt`;
const files = (...epochs: number[]) => [`${RUN}_best.pt`, ...epochs.map(epochFile), "training_history.json"];
const stateAt = (epoch: number) =>
  stateOf(
    epoch,
    { val_mae: MAES[epoch - 1] },
    { normalizer: { mean: 1.5, std: 2 }, args: new Map([["note", "Å 语"]]) },
  );

function managerOf(store: Store): CheckpointManager {
  return new CheckpointManager(store, { run: RUN, ...BY, retention: anyOf(keepLatest(2), keepBest(1, BY)) });
}

/** The first session. It is not closed: who goes on without `close` has ended by itself. */
export async function train(store: Store): Promise<CheckpointManager> {
  const manager = managerOf(store);
  await manager.begin();
  for (let epoch = 1; epoch <= FIRST; epoch++) {
    const { best } = await manager.save(stateAt(epoch));
    equal(best, epoch <= 3, `epoch ${epoch} is the best`);
  }
  equal(await keysOf(store), files(3, 4, 5), "files after the first session");
  return manager;
}

/** While another has the run: writing is refused, reading is not. */
export async function lookOn(store: Store): Promise<void> {
  const manager = managerOf(store);
  for (const write of [() => manager.resume(), () => manager.begin(), () => manager.save(stateAt(1))]) {
    const error = await write().catch((thrown) => thrown);
    if (!isUnitcellError(error, "BACKEND")) throw new Error(`a second writer: found ${String(error)}`);
  }
  equal((await manager.restore("best")).info.epoch, 3, "the best, read by another");
  equal(await keysOf(store), files(3, 4, 5), "files after the refusals");
}

/** A person between two sessions: pins, a plan, the trash, back from there. */
export async function tidy(store: Store): Promise<void> {
  await pinCheckpoint(store, epochFile(4));
  const manager = managerOf(store);
  const plan = await manager.planPrune(keepTagged("best"));
  equal(plan.remove.map(({ key }) => key).sort(), [epochFile(3), epochFile(5)], "what would go");
  const { batch } = await manager.prune(plan, { trash: true });
  equal(await keysOf(store), files(4), "files after the prune");
  equal(
    (await listTrash(store)).map(({ id, files }) => [id, files.length]),
    [[batch, 2]],
    "the trash",
  );
  equal((await undoRemoval(store)).files.length, 2, "files that came back");
  await unpinCheckpoint(store, epochFile(4));
  equal(await keysOf(store), files(3, 4, 5), "files after undo");
  const again = await manager.planPrune(keepTagged("best"));
  await pinCheckpoint(store, epochFile(5));
  const error = await manager.prune(again).catch((thrown) => thrown);
  if (!isUnitcellError(error, "MISMATCH")) throw new Error(`a plan that is no longer true: found ${String(error)}`);
}

/** The second session, of another process or page: what is there is what was saved, and the run goes on. */
export async function goOn(store: Store): Promise<void> {
  const manager = managerOf(store);
  const { state, history, best, notes } = await manager.resume();
  equal(state.epoch, FIRST, "the epoch resumed");
  equal(epochOf(state.stateDict), FIRST, "its weights");
  equal([...(state.rng as { data: Uint8Array }).data], [...rngState(FIRST).data], "its generator");
  equal(state.normalizer, { mean: 1.5, std: 2 }, "its normalizer");
  equal(state.args?.get("note"), "Å 语", "its settings");
  equal(
    history.map(({ val_mae }) => String(val_mae)),
    MAES.slice(0, FIRST).map(String),
    "its history",
  );
  equal([best?.epoch, notes], [3, []], "its best epoch, and notes");
  for (let epoch = FIRST + 1; epoch <= MAES.length; epoch++) await manager.save(stateAt(epoch));
  await manager.saveFinal(stateAt(MAES.length));
  await manager.setMetadata({ model_type: "cgcnn" });
  await manager.close();

  // Epoch 5 is pinned.
  const expected = [...files(3, 5, 6, 7), `${RUN}_final.pt`, `${RUN}_metadata.json`].sort();
  equal(await keysOf(store), expected, "files at the end");
  for (const info of await listCheckpoints(store)) equal(await checkCheckpoint(store, info), undefined, info.key);
  equal((await manager.restore("latest")).info.epoch, MAES.length, "the latest");
  equal((await manager.history())?.history?.length, MAES.length, "rows");
  equal((await manager.metadata())?.model_type, "cgcnn", "metadata");
  const { checkpoints, others } = await storageReport(store);
  equal([checkpoints.files, others.files], [6, 2], "files of the report");
}

/** All of it in one place, where nothing ends in between. */
export async function wholeRun(store: Store): Promise<void> {
  const first = await train(store);
  await lookOn(store);
  await first.close();
  await tidy(store);
  await goOn(store);
}

function equal(value: unknown, expected: unknown, what: string): void {
  const [found, wanted] = [JSON.stringify(value), JSON.stringify(expected)];
  if (found !== wanted) throw new Error(`${what}: expected ${wanted}, found ${found}`);
}
