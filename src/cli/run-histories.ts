/** What is known of the course of each run in a folder, whichever program wrote it down. */
import { isUnitcellError } from "../errors.js";
import {
  type HistoryRow,
  isBetter,
  isUnreadable,
  metadataKey,
  type RunMetadata,
  readHistories,
  readHistory,
  readMetadata,
  type TrainingHistory,
} from "../runs/history.js";
import { listCheckpoints } from "../runs/listing.js";
import type { ReadStore } from "../stores/store.js";
import { modeOf, rankMetrics } from "./metrics.js";

export interface Best {
  readonly metric: string;
  readonly value: number;
  /** Undefined where the history tells the value only. */
  readonly epoch?: number;
}

export interface RunHistory {
  readonly run: string;
  /** The file, or what else it is from. */
  readonly source: string;
  /** By epoch. */
  readonly rows: readonly HistoryRow[];
  readonly best?: Best;
  /** Epochs, where there are no rows. */
  readonly epochs?: number;
  /** s */
  readonly seconds?: number;
  readonly metadata?: RunMetadata;
}

const HISTORY = "training_history.json";
const ALIGNN = /^(.*\/)?history_(val|train)\.json$/;
const METADATA = /^(.*)_metadata\.json$/;

/**
 * All runs of a store, or one, by name.
 * @param metric tells the best epoch; default: the one the history names the best of, else the most telling
 * @returns the runs, and what could not be read
 */
export async function readRunHistories(
  store: ReadStore,
  { run, metric }: { run?: string | undefined; metric?: string | undefined },
): Promise<{ runs: RunHistory[]; problems: string[] }> {
  const keys: string[] = [];
  for await (const { key } of store.list()) keys.push(key);
  keys.sort();
  const gathered = new Map<string, Omit<RunHistory, "best">>();
  const described = new Map<string, TrainingHistory>();
  const problems: string[] = [];
  const attempt = async <T>(read: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await read();
    } catch (error) {
      if (!isUnitcellError(error) || !isUnreadable(error)) throw error;
      problems.push(`${error.code}: ${error.message}`);
      return undefined;
    }
  };
  const add = (name: string, source: string, history: TrainingHistory) => {
    if (gathered.has(name)) return;
    const { epochs, training_time: seconds } = history;
    described.set(name, history);
    gathered.set(name, {
      run: name,
      source,
      rows: [...(history.history ?? [])].sort((a, b) => a.epoch - b.epoch),
      ...(typeof epochs === "number" && { epochs }),
      ...(typeof seconds === "number" && { seconds }),
    });
  };
  for (const key of keys.filter((each) => each === HISTORY || each.endsWith(`/${HISTORY}`))) {
    const folder = key.slice(0, -HISTORY.length);
    for (const history of (await attempt(() => readHistories(store, key))) ?? [])
      add(runOf(folder, history.model_name), key, history);
  }
  for (const key of keys.filter((each) => ALIGNN.test(each))) {
    const name = ALIGNN.exec(key)?.[1]?.slice(0, -1) ?? ".";
    if (gathered.has(name)) continue;
    const history = await attempt(() => readHistory(store, name));
    if (history) add(name, key.replace(/(val|train)\.json$/, "*.json"), history);
  }
  for (const [name, rows] of await rowsOfNames(store))
    add(name, "names of checkpoints", { model_name: name, epochs: rows.at(-1)!.epoch, history: rows });
  for (const key of keys.filter((each) => METADATA.test(each))) {
    const name = METADATA.exec(key)![1];
    const metadata = await attempt(() => readMetadata(store, name));
    if (!metadata) continue;
    gathered.set(name, { ...(gathered.get(name) ?? { run: name, source: metadataKey(name), rows: [] }), metadata });
  }
  const runs = [...gathered.values()]
    .filter((each) => run === undefined || each.run === run)
    .sort((a, b) => (a.run < b.run ? -1 : 1))
    .map((each) => {
      const best = findBest(each.rows, described.get(each.run), metric);
      return { ...each, ...(best && { best }) };
    });
  return { runs, problems };
}

function runOf(folder: string, name: unknown): string {
  return typeof name === "string" && name !== "" ? folder + name : folder.slice(0, -1) || ".";
}

/** Metrics that names tell, as Lightning's do. */
async function rowsOfNames(store: ReadStore): Promise<Map<string, HistoryRow[]>> {
  const runs = new Map<string, HistoryRow[]>();
  for (const { run, tag, epoch, metrics } of await listCheckpoints(store)) {
    if (tag !== "epoch" || epoch === undefined || !metrics) continue;
    const row = Object.assign({ epoch }, metrics, { epoch });
    const rows = runs.get(run);
    if (rows) rows.push(row);
    else runs.set(run, [row]);
  }
  return runs;
}

function findBest(
  rows: readonly HistoryRow[],
  history: TrainingHistory | undefined,
  asked: string | undefined,
): Best | undefined {
  const told = Object.entries(history ?? {}).flatMap(([key, value]) =>
    key.startsWith("best_") && key !== "best_epoch" && typeof value === "number" ? [key.slice("best_".length)] : [],
  );
  const columns = new Set(rows.flatMap((row) => Object.keys(row)));
  const metric = asked ?? told.find((name) => columns.has(name)) ?? told[0] ?? rankMetrics(columns)[0];
  if (metric === undefined) return undefined;
  const mode = modeOf(metric);
  let best: HistoryRow | undefined;
  for (const row of rows) if (isBetter(row[metric], best?.[metric], mode)) best = row;
  if (best) return { metric, value: best[metric], epoch: best.epoch };
  const value = history?.[`best_${metric}`];
  return typeof value === "number" ? { metric, value } : undefined;
}
