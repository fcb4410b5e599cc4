/** The best file of a run that is gone on with: how good it is, and putting it right where it is not what it should be. */
import { isUnitcellError, UnitcellError } from "../errors.js";
import type { Content, Store, StoreSource } from "../stores/store.js";
import type { CheckpointInfo } from "./checkpoint-info.js";
import { checkpointKey } from "./checkpoint-names.js";
import { isBetter } from "./history.js";
import { changing } from "./notes.js";
import { checkCheckpoint } from "./restore.js";
import { type Ranking, rank } from "./retention.js";
import type { RunRecord } from "./training-state.js";
import { moveToTrash } from "./trash.js";

/** Of a file that is copied, at a time. */
const PIECE_BYTES = 8 * 2 ** 20;

export interface BestFile {
  readonly best: RunRecord["best"];
  /** A best file of which nobody knows how good it is. */
  readonly unknown?: string;
  /** What was put right, or could not be. */
  readonly notes: readonly string[];
}

/**
 * How good the best file is. It is put right where an epoch is better that loads: after a crash or a full disk between the
 * two files, or when it is broken or gone.
 * @param own the run's checkpoints, with what is known of their metrics
 */
export async function findBestFile(
  store: Store,
  run: string,
  own: readonly CheckpointInfo[],
  by: Ranking,
): Promise<BestFile> {
  const files = own.filter(({ tag }) => tag === "best");
  const file = rank(files, by)[0] ?? files[0];
  const problem = file && (file.problem ?? (await checkCheckpoint(store, file)));
  const value = problem === undefined ? file?.metrics?.[by.metric] : undefined;
  const isKnown = value !== undefined && !Number.isNaN(value);
  if (file && problem === undefined && !isKnown) {
    const notes = [`how good ${file.key} is, is not known; the next best epoch moves it to the trash`];
    return { best: undefined, unknown: file.key, notes };
  }
  const former = isKnown ? { epoch: file.epoch ?? 0, value } : undefined;
  const better = await bestEpochThatLoads(store, own, by, value);
  if (!better) return { best: former, notes: [] };
  const was = file ? (problem === undefined ? "is not so good" : `does not load (${problem})`) : "is missing";
  try {
    await copyToBest(store, run, better.key, problem === undefined ? undefined : file);
    const notes = [`the best file ${was}; ${better.key} is the best that loads, and was copied`];
    return { best: { epoch: better.epoch!, value: better.metrics![by.metric] }, notes };
  } catch (error) {
    // A store that fails (a full disk) is told; going on does not depend on it.
    if (!isUnitcellError(error)) throw error;
    const notes = [`the best file ${was}, and could not be put right: ${error.code}: ${error.message}`];
    return { best: former, notes };
  }
}

/** undefined where none is better than `value`. */
async function bestEpochThatLoads(
  store: Store,
  own: readonly CheckpointInfo[],
  by: Ranking,
  value: number | undefined,
): Promise<CheckpointInfo | undefined> {
  const epochs = own.filter(({ tag }) => tag === "epoch");
  for (const info of rank(epochs, by)) {
    if (!isBetter(info.metrics![by.metric], value, by.mode)) return undefined;
    if ((await checkCheckpoint(store, info)) === undefined) return info;
  }
  return undefined;
}

function copyToBest(store: Store, run: string, key: string, broken: CheckpointInfo | undefined): Promise<void> {
  return changing(store, async () => {
    const source = await store.get(key);
    if (!source) throw new UnitcellError("NOT_FOUND", `there is no file ${key}`, { key });
    try {
      if (broken) await moveToTrash(store, [broken.key], "does not load");
      await store.put(checkpointKey(run, "best"), pieces(source));
    } finally {
      source.close?.();
    }
  });
}

function pieces(source: StoreSource): Content {
  return async (sink) => {
    for (let at = 0; at < source.size; at += PIECE_BYTES)
      await sink(new Uint8Array(await source.slice(at, Math.min(at + PIECE_BYTES, source.size)).arrayBuffer()));
  };
}
