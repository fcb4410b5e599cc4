/** Checkpoints as listed, with what the files say themselves where names and histories do not. */
import type { CheckpointInfo } from "../runs/checkpoint-info.js";
import { type HistoryRow, isUnreadable, readHistory } from "../runs/history.js";
import { listCheckpoints } from "../runs/listing.js";
import { describeCheckpoint } from "../runs/restore.js";
import type { ReadStore } from "../stores/store.js";

/** Opening a file takes about a millisecond. */
const MOST_OPENED = 200;

/**
 * The checkpoints of a store or one of its runs. Best, final and last files are opened for their epoch and metrics, where
 * there are at most 200 of them; what such a file does not hold is taken from its epoch's row in the history.
 */
export async function listDescribed(store: ReadStore, run?: string): Promise<CheckpointInfo[]> {
  const infos = (await listCheckpoints(store)).filter((info) => run === undefined || info.run === run);
  const isOpened = ({ tag }: CheckpointInfo) => tag === "best" || tag === "final" || tag === "last";
  if (infos.filter(isOpened).length > MOST_OPENED) return infos;
  const histories = new Map<string, readonly HistoryRow[]>();
  const described: CheckpointInfo[] = [];
  for (const info of infos) {
    if (!isOpened(info)) described.push(info);
    else {
      if (!histories.has(info.run)) histories.set(info.run, await rowsOf(store, info.run));
      described.push(await describe(store, info, histories.get(info.run)!));
    }
  }
  return described;
}

async function describe(store: ReadStore, info: CheckpointInfo, rows: readonly HistoryRow[]): Promise<CheckpointInfo> {
  const { parts, ...described } = await describeCheckpoint(store, info);
  return withRow(described, rows);
}

/** With the metrics of its epoch in the history, where the file itself has none of that name. */
export function withRow<T extends CheckpointInfo>(described: T, rows: readonly HistoryRow[]): T {
  const row = rows.find(({ epoch }) => epoch === described.epoch);
  if (!row) return described;
  const { epoch, ...measured } = row;
  return { ...described, metrics: { ...measured, ...described.metrics } };
}

async function rowsOf(store: ReadStore, run: string): Promise<readonly HistoryRow[]> {
  try {
    return (await readHistory(store, run))?.history ?? [];
  } catch (error) {
    // It only describes; `unitcell history` says what is wrong with it.
    if (isUnreadable(error)) return [];
    throw error;
  }
}
