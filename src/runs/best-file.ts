/** The best file of a run that is gone on with: how good it is, and putting it right where it is not what it should be. */
import { isUnitcellError, UnitcellError } from "../errors.js";
import type { Content, Store, StoreSource } from "../stores/store.js";
import type { CheckpointInfo } from "./checkpoint-info.js";
import { checkpointKey } from "./checkpoint-names.js";
import { isBetter } from "./history.js";
import { changing } from "./notes.js";
import { checkCheckpoint, openCheckpoint, problemOf } from "./restore.js";
import { type Ranking, rank } from "./retention.js";
import { type RunRecord, rankingOf } from "./training-state.js";
import { moveToTrash } from "./trash.js";

/** Of a file that is copied, at a time. */
const PIECE_BYTES = 8 * 2 ** 20;

export interface BestFile {
  readonly best: RunRecord["best"];
  /** A best file that the next one must not replace for good: nobody knows how good it is, or another metric chose it. */
  readonly aside?: string;
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
  const { problem, chosenBy } = file ? await lookInto(store, file) : {};
  const value = problem === undefined ? file?.metrics?.[by.metric] : undefined;
  const isKnown = value !== undefined && !Number.isNaN(value);
  if (file && problem === undefined && !isKnown) {
    const notes = [`how good ${file.key} is, is not known; the next best epoch moves it to the trash`];
    return { best: undefined, aside: file.key, notes };
  }
  const former = isKnown ? { epoch: file.epoch ?? 0, value } : undefined;
  const better = await bestEpochThatLoads(store, own, by, value);
  const others = chosenBy && (chosenBy.metric !== by.metric || chosenBy.mode !== by.mode) ? file : undefined;
  const aside = others ? { aside: others.key } : {};
  const notes = others ? [`${others.key} is the best by ${inWords(chosenBy!)}, not by ${inWords(by)}`] : [];
  if (!better) return { best: former, notes, ...aside };
  const was = file ? (problem === undefined ? "is not so good" : `does not load (${problem})`) : "is missing";
  try {
    const batch = await copyToBest(store, run, better.key, problem === undefined ? others : file);
    notes.push(`the best file ${was}; ${better.key} is the best that loads, and was copied`);
    if (batch !== undefined) notes.push(`in the trash as batch ${batch}: ${file!.key}`);
    return { best: { epoch: better.epoch!, value: better.metrics![by.metric] }, notes };
  } catch (error) {
    // A store that fails (a full disk) is told; going on does not depend on it.
    if (!isUnitcellError(error)) throw error;
    notes.push(`the best file ${was}, and could not be put right: ${error.code}: ${error.message}`);
    return { best: former, notes, ...aside };
  }
}

const inWords = ({ metric, mode }: Ranking) => `${metric} (${mode})`;

/** Whether it loads, from end to end, and by what it was chosen. */
async function lookInto(store: Store, file: CheckpointInfo): Promise<{ problem?: string; chosenBy?: Ranking }> {
  if (file.problem !== undefined) return { problem: file.problem };
  try {
    const chosenBy = rankingOf(await openCheckpoint(store, file.key));
    return chosenBy ? { chosenBy } : {};
  } catch (error) {
    return { problem: problemOf(error) };
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

/** @returns the batch in the trash that holds the `former` best file, if there is one */
function copyToBest(
  store: Store,
  run: string,
  key: string,
  former: CheckpointInfo | undefined,
): Promise<string | undefined> {
  return changing(store, async () => {
    const source = await store.get(key);
    if (!source) throw new UnitcellError("NOT_FOUND", `there is no file ${key}`, { key });
    try {
      const batch = former && (await moveToTrash(store, [former.key], `run ${run} has another best file`));
      await store.put(checkpointKey(run, "best"), pieces(source));
      return batch;
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
