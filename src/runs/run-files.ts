/** The files of one run: what their contents say where names and histories do not, and which belong to its present branch. */
import { UnitcellError } from "../errors.js";
import type { ReadOptions } from "../formats/torch.js";
import { isThere, type ReadStore } from "../stores/store.js";
import type { CheckpointInfo } from "./checkpoint-info.js";
import { type HistoryRow, isUnreadable, readHistory, rowOf } from "./history.js";
import { listCheckpoints, listPinned } from "./listing.js";
import { readPins } from "./pins.js";
import { describeCheckpoint, type Restored, restoreFrom, type Which } from "./restore.js";
import type { Ranking } from "./retention.js";

/** A metric in a history is that of a file if they differ by no more: programs round what they write for people. */
const ROUNDING = 0.01;

/**
 * The checkpoints of a run. The few whose names do not tell their epoch are looked into.
 * @param options.metric epochs of which nobody wrote this metric down are looked into as well
 * @param options.pins where the list of pins has been read (or cannot be)
 */
export async function describeRun(
  store: ReadStore,
  run: string,
  { metric, pins }: { readonly metric?: string; readonly pins?: ReadonlySet<string> } = {},
): Promise<CheckpointInfo[]> {
  const listed = await (pins ? listPinned(store, pins) : listCheckpoints(store));
  const described: CheckpointInfo[] = [];
  for (const info of listed.filter((one) => one.run === run)) {
    const isKnown = metric === undefined || info.metrics?.[metric] !== undefined;
    if (info.tag === "other" || (info.tag === "epoch" && isKnown)) described.push(info);
    else {
      const { parts, ...rest } = await describeCheckpoint(store, info);
      described.push(rest);
    }
  }
  return described;
}

/**
 * Which best, final and last files are of a branch that was given up: the run's history has not their epoch, or another
 * value of the metric there. A file that does not tell the metric has nothing that could contradict the history.
 */
export async function overtakenFiles(
  store: ReadStore,
  run: string,
  infos: readonly CheckpointInfo[],
  metric: string,
): Promise<ReadonlySet<string>> {
  const rows = (await readHistory(store, run).catch(ignoreUnreadable))?.history;
  if (!rows) return new Set();
  const agrees = ({ [metric]: written }: HistoryRow, value: number | undefined) =>
    value === undefined || Object.is(written, value) || Math.abs(written - value) <= ROUNDING * Math.abs(value);
  const isOfBranch = ({ epoch, metrics }: CheckpointInfo) =>
    rows.some((row) => row.epoch === epoch && agrees(row, metrics?.[metric]));
  const overtaken = infos.filter((info) => info.tag !== "epoch" && !isOfBranch(info));
  return new Set(overtaken.map(({ key }) => key));
}

/** As for reading, and what tells the best checkpoint. */
export interface RestoreOptions extends ReadOptions, Partial<Ranking> {}

/**
 * Load a checkpoint of a run from any store, one that can only be read too. Where the one asked for does not load, the next
 * candidate is taken and `skipped` says so: for "best" the best epoch that loads, then the newest; for "latest" and "final"
 * the newest that loads. An epoch asked for by number is that or an error.
 * @param options.metric what tells the best, by default "val_mae" with `mode` "min"
 * @throws {UnitcellError} NOT_FOUND when there is no such checkpoint (the message lists what there is), CORRUPT when none of
 *   the candidates loads, BACKEND when the store fails
 */
export async function restoreCheckpoint(
  store: ReadStore,
  run: string,
  which: Which,
  { metric = "val_mae", mode = "min", ...options }: RestoreOptions = {},
): Promise<Restored> {
  // What is pinned matters to those who remove something.
  const pins = (await readPins(store).catch(ignoreUnreadable)) ?? new Set();
  const infos = await describeRun(store, run, which === "best" ? { metric, pins } : { pins });
  const overtaken = await overtakenFiles(store, run, infos, metric);
  return restoreFrom(store, infos, which, { ...options, by: { metric, mode }, overtaken });
}

/** What is known of a run that another program wrote: its history file, else the metrics in its epoch files. */
export async function rowsUpTo(store: ReadStore, run: string, epoch: number): Promise<HistoryRow[]> {
  const written = (await readHistory(store, run).catch(ignoreUnreadable))?.history;
  if (written) return written.filter((row) => row.epoch <= epoch);
  const infos = (await listCheckpoints(store)).filter((info) => info.run === run && info.tag === "epoch");
  const rows: HistoryRow[] = [];
  for (const info of infos) {
    if (info.epoch === undefined || info.epoch > epoch) continue;
    const { metrics } = await describeCheckpoint(store, info);
    rows.push(rowOf(info.epoch, metrics));
  }
  return rows;
}

/**
 * That a new run's files would not be those of another: file systems of macOS and Windows take "CGCNN" for "cgcnn".
 * @throws {UnitcellError} ARGUMENT
 */
export async function checkDistinct(store: ReadStore, run: string): Promise<void> {
  const folded = (name: string) => name.normalize().toLowerCase();
  for (const { key, run: other } of await listCheckpoints(store)) {
    if (other === run || folded(other) !== folded(run) || !key.startsWith(other)) continue;
    if (await isThere(store, run + key.slice(other.length)))
      throw new UnitcellError(
        "ARGUMENT",
        `the files of run "${run}" would be those of "${other}" here (${key}); choose another name`,
        { key },
      );
    // One file of a run tells how the store takes them all.
    return;
  }
}

/** For what only describes. */
export function ignoreUnreadable(error: unknown): undefined {
  if (!isUnreadable(error)) throw error;
}
