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

/** The source of rows that stand in no file: no name of one, with its slashes. */
export const FROM_NAMES = "names of checkpoints";
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
  const gathering = new Gathering(store);
  const keys: string[] = [];
  for await (const { key } of store.list()) keys.push(key);
  keys.sort();
  for (const key of keys.filter((each) => each === HISTORY || each.endsWith(`/${HISTORY}`)))
    await gathering.readHistoryFile(key);
  for (const key of keys.filter((each) => ALIGNN.test(each))) await gathering.readAlignn(key);
  for (const [name, rows] of await rowsOfNames(store))
    gathering.add(name, FROM_NAMES, { model_name: name, epochs: rows.at(-1)!.epoch, history: rows });
  for (const key of keys.filter((each) => METADATA.test(each))) await gathering.readMetadata(key);
  const runs = [...gathering.runs.values()]
    .filter(({ found }) => run === undefined || found.run === run)
    .sort((a, b) => (a.found.run < b.found.run ? -1 : 1))
    .map(({ found, history }) => {
      const best = findBest(found.rows, history, metric);
      return { ...found, ...(best && { best }) };
    });
  return { runs, problems: gathering.problems };
}

/** What has been found so far; the first source of a run is taken. */
class Gathering {
  readonly runs = new Map<string, { found: Omit<RunHistory, "best">; history?: TrainingHistory }>();
  readonly problems: string[] = [];
  private readonly store: ReadStore;

  constructor(store: ReadStore) {
    this.store = store;
  }

  async readHistoryFile(key: string): Promise<void> {
    const folder = key.slice(0, -HISTORY.length);
    for (const history of (await this.attempt(() => readHistories(this.store, key))) ?? [])
      this.add(runOf(folder, history.model_name), key, history);
  }

  /** One of ALIGNN's two files; both are read for the first. */
  async readAlignn(key: string): Promise<void> {
    const name = ALIGNN.exec(key)?.[1]?.slice(0, -1) ?? ".";
    if (this.runs.has(name)) return;
    const history = await this.attempt(() => readHistory(this.store, name));
    if (history) this.add(name, key.replace(/(val|train)\.json$/, "*.json"), history);
  }

  async readMetadata(key: string): Promise<void> {
    const name = METADATA.exec(key)![1];
    const metadata = await this.attempt(() => readMetadata(this.store, name));
    if (!metadata) return;
    const known = this.runs.get(name) ?? { found: { run: name, source: metadataKey(name), rows: [] } };
    this.runs.set(name, { ...known, found: { ...known.found, metadata } });
  }

  add(run: string, source: string, history: TrainingHistory): void {
    if (this.runs.has(run)) return;
    const { epochs, training_time: seconds } = history;
    const found = {
      run,
      source,
      rows: [...(history.history ?? [])].sort((a, b) => a.epoch - b.epoch),
      ...(typeof epochs === "number" && { epochs }),
      ...(typeof seconds === "number" && { seconds }),
    };
    this.runs.set(run, { found, history });
  }

  /** What cannot be read is told, and stops nothing. */
  private async attempt<T>(read: () => Promise<T>): Promise<T | undefined> {
    try {
      return await read();
    } catch (error) {
      if (!isUnitcellError(error) || !isUnreadable(error)) throw error;
      this.problems.push(`${error.code}: ${error.message}`);
      return undefined;
    }
  }
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
