/** The checkpoints of a store, from names, the histories beside them and the list of pins: no checkpoint is opened. */
import { MATGL_ARGS, MATGL_STATE } from "../checkpoint/file-names.js";
import type { ReadStore, StoreEntry } from "../stores/store.js";
import type { CheckpointInfo } from "./checkpoint-info.js";
import { parseCheckpointName } from "./checkpoint-names.js";
import { type HistoryRow, historyKey, isUnreadable, readHistories } from "./history.js";
import { readPins } from "./pins.js";
import { compareText } from "./retention.js";

/**
 * List the checkpoints, sorted by run, epoch and name. Metrics of epochs come from training_history.json where a run is in
 * it; one that cannot be read is as if it were not there.
 * @throws {UnitcellError} as ReadStore.list and readPins
 */
export async function listCheckpoints(store: ReadStore): Promise<CheckpointInfo[]> {
  return listPinned(store, await readPins(store));
}

/** The same, where it is known what is pinned. */
export async function listPinned(store: ReadStore, pins: ReadonlySet<string>): Promise<CheckpointInfo[]> {
  const entries: StoreEntry[] = [];
  for await (const entry of store.list()) entries.push(entry);
  const keys = new Set(entries.map(({ key }) => key));
  const infos: CheckpointInfo[] = [];
  for (const entry of entries) {
    const name = parseCheckpointName(entry.key);
    if (name && !isCompanion(entry.key, keys)) infos.push({ ...entry, ...name, pinned: pins.has(entry.key) });
  }
  const rows = await readRows(store, infos, keys);
  return infos.map((info) => withRow(info, rows)).sort(compare);
}

/** matgl's arguments lie beside the state dict, and are no checkpoint of their own. */
function isCompanion(key: string, keys: ReadonlySet<string>): boolean {
  const folder = key.slice(0, key.lastIndexOf("/") + 1);
  return key === folder + MATGL_ARGS && keys.has(folder + MATGL_STATE);
}

/** Rows by run and epoch. */
type Rows = ReadonlyMap<string, HistoryRow>;

async function readRows(store: ReadStore, infos: readonly CheckpointInfo[], keys: ReadonlySet<string>): Promise<Rows> {
  const rows = new Map<string, HistoryRow>();
  const histories = new Set(infos.map(({ run }) => historyKey(run)).filter((key) => keys.has(key)));
  for (const key of histories) {
    const folder = key.slice(0, key.lastIndexOf("/") + 1);
    const runs = await readHistories(store, key).catch((error) => {
      if (isUnreadable(error)) return [];
      throw error;
    });
    for (const { model_name, history = [] } of runs)
      for (const row of history) rows.set(`${folder}${model_name} ${row.epoch}`, row);
  }
  return rows;
}

function withRow(info: CheckpointInfo, rows: Rows): CheckpointInfo {
  const row = info.tag === "epoch" ? rows.get(`${info.run} ${info.epoch}`) : undefined;
  if (!row) return info;
  const { epoch, ...metrics } = row;
  return { ...info, metrics: { ...metrics, ...info.metrics } };
}

function compare(a: CheckpointInfo, b: CheckpointInfo): number {
  return compareText(a.run, b.run) || (a.epoch ?? -1) - (b.epoch ?? -1) || compareText(a.key, b.key);
}
