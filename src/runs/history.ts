/**
 * training_history.json and <run>_metadata.json: what people read of a run. They describe; the checkpoint files are the
 * truth, and everything here can be written anew from one of them.
 */
import { isUnitcellError, UnitcellError } from "../errors.js";
import { isThere, type ReadStore, readFile, type Store } from "../stores/store.js";
import { UNNAMED_RUN } from "./checkpoint-names.js";
import { formatPythonJson, parsePythonJson } from "./python-json.js";
import type { Ranking } from "./retention.js";

/** One epoch: its number and whatever was measured, losses and learning rates alike. */
export interface HistoryRow {
  readonly epoch: number;
  readonly [metric: string]: number;
}

/**
 * One run in training_history.json, with its keys as on disk. `best_<metric>` stands beside them, as "best_val_mae". The
 * file holds one run as an object, several as an array; keys we do not know are kept.
 */
export interface TrainingHistory {
  readonly model_name: string;
  /** The last epoch. */
  readonly epochs: number;
  /** s, over all sessions. */
  readonly training_time?: number;
  readonly hyperparameters?: Readonly<Record<string, unknown>>;
  readonly history?: readonly HistoryRow[];
  readonly [key: string]: unknown;
}

/** <run>_metadata.json; other keys are kept as they are. */
export interface RunMetadata {
  readonly model_type?: string;
  readonly training_data?: string;
  readonly n_train?: number;
  readonly n_val?: number;
  readonly test_mae?: number;
  readonly test_r2?: number;
  readonly hyperparameters?: Readonly<Record<string, unknown>>;
  readonly [key: string]: unknown;
}

const HISTORY = "training_history.json";
/** ALIGNN's, per epoch; where there are both, the columns get "train_" and "val_" in front. */
const ALIGNN_HISTORIES = { val: "history_val.json", train: "history_train.json" } as const;
/** What ALIGNN measures in this order since it writes rows without names. Source: alignn/train.py. */
const ALIGNN_COLUMNS = ["mae", "atomwise_mae", "gradient_mae", "stress_mae"];

/** "sub/cgcnn" lies in "sub/", with the history of that folder beside it. */
function folderOf(run: string): string {
  return run.slice(0, run.lastIndexOf("/") + 1);
}

/** A run's name in its folder's history. */
function nameOf(run: string): string {
  return run.slice(run.lastIndexOf("/") + 1);
}

export function historyKey(run: string): string {
  return `${folderOf(run)}${HISTORY}`;
}

export function metadataKey(run: string): string {
  return `${run}_metadata.json`;
}

/** All runs of one history file. @throws {UnitcellError} CORRUPT when it is not one object or an array of them */
export async function readHistories(store: ReadStore, key: string): Promise<TrainingHistory[]> {
  const { runs } = await readRuns(store, key, { exact: false });
  return runs.map((run) => ({ ...run, ...(run.history !== undefined && { history: rowsOf(run.history) }) }));
}

/** As the file has them. */
interface Runs {
  readonly runs: TrainingHistory[];
  readonly isList: boolean;
}

async function readRuns(store: ReadStore, key: string, how: { readonly exact: boolean }): Promise<Runs> {
  const bytes = await readFile(store, key);
  if (!bytes) return { runs: [], isList: false };
  const value = parsePythonJson(bytes, key, how);
  const isList = Array.isArray(value);
  const runs = isList ? value : [value];
  for (const run of runs) {
    if (typeof run !== "object" || run === null || Array.isArray(run))
      throw new UnitcellError("CORRUPT", `${key}: expected an object for each run`, { key });
    // Whatever else stands there becomes a text where one is shown; an object may refuse to.
    if (!how.exact && typeof run.model_name === "object" && run.model_name !== null)
      throw new UnitcellError("CORRUPT", `${key}: expected a name as model_name`, { key });
  }
  return { runs, isList };
}

/** Numbers only: a row is what can be compared and drawn. */
function rowsOf(value: unknown): HistoryRow[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((row, i) => {
    if (typeof row !== "object" || row === null) return [];
    const numbers = Object.entries(row).filter(([, item]) => typeof item === "number") as [string, number][];
    return [{ epoch: i + 1, ...Object.fromEntries(numbers) }];
  });
}

/** A run's history; undefined where none is written. @throws {UnitcellError} CORRUPT as readHistories */
export async function readHistory(store: ReadStore, run: string): Promise<TrainingHistory | undefined> {
  const histories = await readHistories(store, historyKey(run));
  return histories.find(({ model_name }) => model_name === nameOf(run)) ?? readAlignnHistory(store, run);
}

/** Of a folder that ALIGNN wrote ("" is the store's top), as the same type. */
async function readAlignnHistory(store: ReadStore, run: string): Promise<TrainingHistory | undefined> {
  const folder = run === UNNAMED_RUN ? "" : `${run}/`;
  const rows: Record<string, number>[] = [];
  for (const [part, name] of Object.entries(ALIGNN_HISTORIES)) {
    const bytes = await readFile(store, folder + name);
    if (!bytes) continue;
    for (const [i, column, value] of alignnCells(parsePythonJson(bytes, folder + name))) {
      rows[i] ??= { epoch: i + 1 };
      if (typeof value === "number") rows[i][`${part}_${column}`] = value;
    }
  }
  if (rows.length === 0) return undefined;
  const history = Array.from(rows, (row, i) => row ?? { epoch: i + 1 }) as unknown as HistoryRow[];
  return { model_name: run, epochs: rows.length, history };
}

/** Lists of four numbers an epoch, or (until 2024) a list for each metric: one by one, as lists may differ in length. */
function* alignnCells(value: unknown): Generator<[i: number, column: string, value: unknown]> {
  if (Array.isArray(value)) {
    for (const [i, row] of value.entries())
      if (Array.isArray(row))
        for (const [at, item] of row.entries()) yield [i, ALIGNN_COLUMNS[at] ?? `column_${at}`, item];
  } else
    for (const [name, list] of Object.entries(value ?? {}))
      if (Array.isArray(list)) for (const [i, item] of list.entries()) yield [i, name, item];
}

/**
 * Write a run's history among those of its folder; the caller holds the folder's lock. A file that cannot be read is kept
 * under another name.
 * @returns where the unreadable file is now; undefined where there was none
 */
export async function writeHistory(store: Store, run: string, history: TrainingHistory): Promise<string | undefined> {
  const key = historyKey(run);
  let found: Runs = { runs: [], isList: false };
  let aside: string | undefined;
  try {
    found = await readRuns(store, key, { exact: true });
  } catch (error) {
    if (!isUnreadable(error)) throw error;
    aside = await moveAside(store, key);
  }
  const { runs, isList } = found;
  const at = runs.findIndex(({ model_name }) => model_name === history.model_name);
  if (at < 0) runs.push(history);
  else runs[at] = { ...runs[at], ...history };
  await store.put(key, formatPythonJson(isList || runs.length > 1 ? runs : runs[0]));
  return aside;
}

/** A description that cannot be read only describes; what it describes is still there. */
export function isUnreadable(error: unknown): boolean {
  return isUnitcellError(error, "CORRUPT") || isUnitcellError(error, "LIMIT");
}

async function moveAside(store: Store, key: string): Promise<string> {
  for (let i = 1; ; i++) {
    const aside = `${key}.unreadable${i}`;
    if (await isThere(store, aside)) continue;
    await store.move(key, aside);
    return aside;
  }
}

/** The description of a run for its history file. */
export function describeHistory(
  run: string,
  rows: readonly HistoryRow[],
  { metric, mode }: Ranking,
  rest: { readonly seconds: number; readonly hyperparameters?: Readonly<Record<string, unknown>> },
): TrainingHistory {
  let best: HistoryRow | undefined;
  for (const row of rows) if (isBetter(row[metric], best?.[metric], mode)) best = row;
  return {
    model_name: nameOf(run),
    epochs: rows.at(-1)?.epoch ?? 0,
    // Undefined, and so no longer in the file, where what it said before has been given up.
    [`best_${metric}`]: best?.[metric],
    best_epoch: best?.epoch,
    training_time: Math.round(rest.seconds),
    ...(rest.hyperparameters && { hyperparameters: rest.hyperparameters }),
    history: rows,
  };
}

/** The epoch first, and itself whatever the metrics are called. */
export function rowOf(epoch: number, metrics: Readonly<Record<string, number>> | undefined): HistoryRow {
  const row = { epoch, ...metrics };
  row.epoch = epoch;
  return row;
}

/** NaN and nothing never win; anything wins over them. */
export function isBetter(value: number | undefined, best: number | undefined, mode: "min" | "max"): boolean {
  if (value === undefined || Number.isNaN(value)) return false;
  if (best === undefined || Number.isNaN(best)) return true;
  return mode === "min" ? value < best : value > best;
}

/** <run>_metadata.json; undefined where there is none. @throws {UnitcellError} CORRUPT for what is no JSON object */
export async function readMetadata(
  store: ReadStore,
  run: string,
  how: { readonly exact: boolean } = { exact: false },
): Promise<RunMetadata | undefined> {
  const key = metadataKey(run);
  const bytes = await readFile(store, key);
  if (!bytes) return undefined;
  const value = parsePythonJson(bytes, key, how);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as RunMetadata;
  throw new UnitcellError("CORRUPT", `${key}: expected an object`, { key });
}

/** Write metadata over those there are, key by key; the caller holds the folder's lock. */
export async function writeMetadata(store: Store, run: string, metadata: RunMetadata): Promise<void> {
  const there = await readMetadata(store, run, { exact: true });
  await store.put(metadataKey(run), formatPythonJson({ ...there, ...metadata }));
}
