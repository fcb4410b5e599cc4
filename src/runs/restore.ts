/** Opening checkpoints of a store: what one holds, whether it loads, and which to take when the one asked for does not. */

import { companionsOf } from "../checkpoint/file-names.js";
import { type Checkpoint, type CheckpointFiles, loadCheckpoint } from "../checkpoint.js";
import { isUnitcellError, reworded, UnitcellError } from "../errors.js";
import type { ReadOptions } from "../formats/torch.js";
import { openTorch } from "../formats/torch.js";
import type { ReadStore, StoreSource } from "../stores/store.js";
import { summarize } from "../summary.js";
import type { CheckpointInfo } from "./checkpoint-info.js";
import { newestFirst, type Ranking, rank } from "./retention.js";
import { findPart, type Part } from "./training-state.js";

/** Which checkpoint of a run: "latest" is the highest epoch. */
export type Which = "best" | "latest" | "final" | { readonly epoch: number };

/** A checkpoint of a run, loaded. */
export interface Restored {
  readonly info: CheckpointInfo;
  readonly checkpoint: Checkpoint;
  /** Those that were asked for first and do not load, with the reason: `checkpoint` is what came next. */
  readonly skipped: readonly CheckpointInfo[];
}

export interface RestoreFromOptions extends ReadOptions {
  readonly by: Ranking;
  /** Keys of checkpoints that are of a branch of the training which was given up: never the latest, while there is another. */
  readonly overtaken?: ReadonlySet<string>;
}

/** What a checkpoint holds, told without reading its tensors. */
export interface Described extends CheckpointInfo {
  /** By part: "there", "none" (the training has none, the file says so) or "missing". */
  readonly parts: Readonly<Record<Part, "there" | "none" | "missing">>;
}

/**
 * Load one of a run's checkpoints, as restoreCheckpoint says.
 * @param infos the run's
 * @throws {UnitcellError} as restoreCheckpoint
 */
export async function restoreFrom(
  store: ReadStore,
  infos: readonly CheckpointInfo[],
  which: Which,
  { by, overtaken = new Set(), ...options }: RestoreFromOptions,
): Promise<Restored> {
  const skipped: CheckpointInfo[] = [];
  for (const info of candidates(infos, which, by, overtaken)) {
    try {
      return { info, checkpoint: await openCheckpoint(store, info.key, options), skipped };
    } catch (error) {
      skipped.push({ ...info, problem: problemOf(withWayOn(error, which)) });
    }
  }
  const problems = skipped.map(({ key, problem }) => `${key}: ${problem}`).join("; ");
  throw new UnitcellError("CORRUPT", `no checkpoint loads (${problems})`, { keys: skipped.map(({ key }) => key) });
}

/** A store that fails may do so for one file only: only its owner can say that another will do. */
function withWayOn(error: unknown, which: Which): unknown {
  if (!isUnitcellError(error, "BACKEND") || typeof which === "object") return error;
  return reworded(error, `${error.message}; if that lasts, ask for another checkpoint by its epoch`);
}

/** In the order they are tried. */
function candidates(
  infos: readonly CheckpointInfo[],
  which: Which,
  by: Ranking,
  overtaken: ReadonlySet<string>,
): CheckpointInfo[] {
  const ordered = byAge(infos);
  const isOvertaken = ({ key }: CheckpointInfo) => overtaken.has(key);
  const newest = [...ordered.filter((info) => !isOvertaken(info)), ...ordered.filter(isOvertaken)];
  if (typeof which === "object") {
    const found = newest.filter(({ epoch }) => epoch === which.epoch);
    if (found.length === 0) throw absent(`epoch ${which.epoch}`, infos);
    return found;
  }
  if (which === "latest") {
    if (newest.length === 0) throw absent("any checkpoint", infos);
    return newest;
  }
  const tagged = newest.filter(({ tag }) => tag === which);
  // Of several best files (two programs, Lightning's -v1) the best.
  if (which === "best") tagged.unshift(...rank(tagged, by));
  // A program that writes epochs only has a best one too, if their metric is known.
  const best =
    which === "best"
      ? rank(
          newest.filter(({ tag }) => tag === "epoch"),
          by,
        )
      : [];
  if (tagged.length + best.length === 0) throw absent(`"${which}"`, infos);
  return [...new Set([...tagged, ...best, ...newest])];
}

/** Of files of one epoch, or of no known one, which is tried first. */
const ORDER: Readonly<Record<CheckpointInfo["tag"], number>> = { epoch: 0, final: 1, last: 2, best: 3, other: 4 };

/** The newest first, those whose epoch is not known behind all others. */
function byAge(infos: readonly CheckpointInfo[]): CheckpointInfo[] {
  return newestFirst(infos.filter(({ tag }) => tag !== "other")).sort(
    (a, b) => (b.epoch ?? -1) - (a.epoch ?? -1) || ORDER[a.tag] - ORDER[b.tag],
  );
}

function absent(what: string, infos: readonly CheckpointInfo[]): UnitcellError {
  const found = infos.filter(({ tag }) => tag !== "other").map(({ key }) => key);
  const shown = found.length > 20 ? `${found.slice(0, 20).join(", ")} and ${found.length - 20} more` : found.join(", ");
  return new UnitcellError("NOT_FOUND", `expected ${what}, found ${shown || "no checkpoint of this run"}`, { found });
}

/** Load one with the files that belong to it (config.json, matgl's). @throws {UnitcellError} as loadCheckpoint, NOT_FOUND */
export async function openCheckpoint(store: ReadStore, key: string, options: ReadOptions = {}): Promise<Checkpoint> {
  return withFiles(store, key, (files) => loadCheckpoint(files, options));
}

/** The whole of a file read and its checksums compared; why it does not load, or undefined. */
export async function checkCheckpoint(store: ReadStore, info: CheckpointInfo): Promise<string | undefined> {
  try {
    // What is no run's checkpoint (cached predictions) may be any value.
    if (info.tag === "other")
      await withFiles(store, info.key, async (files) => {
        const [input] = files.values();
        await (await openTorch(input, { unknownClasses: "inert" })).load();
      });
    else await openCheckpoint(store, info.key);
    return undefined;
  } catch (error) {
    return problemOf(error);
  }
}

/** The info with the epoch and metrics that the file holds, and what there is to resume from; no tensor is read. */
export async function describeCheckpoint(store: ReadStore, info: CheckpointInfo): Promise<Described> {
  const nothing = { optimizer: "missing", scheduler: "missing", rng: "missing", epoch: "missing" } as const;
  try {
    return await withFiles(store, info.key, async (files) => {
      const [input] = files.values();
      const file = await openTorch(input, { unknownClasses: "inert" });
      const summary = summarize(file);
      const top = file.root instanceof Map ? file.root : new Map();
      const epoch = info.epoch ?? summary.epoch;
      const state = (part: Exclude<Part, "epoch">) => {
        const value = findPart(top, part);
        return value === undefined ? "missing" : value === null ? "none" : "there";
      };
      return {
        ...info,
        ...(epoch !== undefined && { epoch }),
        metrics: { ...summary.metrics, ...info.metrics },
        parts: {
          optimizer: state("optimizer"),
          scheduler: state("scheduler"),
          rng: state("rng"),
          epoch: epoch === undefined ? "missing" : "there",
        },
      };
    });
  } catch (error) {
    return { ...info, parts: nothing, problem: problemOf(error) };
  }
}

async function withFiles<T>(store: ReadStore, key: string, use: (files: CheckpointFiles) => Promise<T>): Promise<T> {
  const folder = key.slice(0, key.lastIndexOf("/") + 1);
  const name = key.slice(folder.length);
  const sources = new Map<string, StoreSource>();
  try {
    for (const file of [name, ...companionsOf(name)]) {
      const source = await store.get(folder + file);
      if (source) sources.set(file, source);
      else if (file === name) throw new UnitcellError("NOT_FOUND", `there is no file ${key}`, { key });
    }
    return await use(sources);
  } finally {
    for (const source of sources.values()) source.close?.();
  }
}

/** "CODE: message" of what is wrong with a file. @throws what is no fault of the file: a store that fails, a bug */
export function problemOf(error: unknown): string {
  if (!isUnitcellError(error) || error.code === "BACKEND") throw error;
  return `${error.code}: ${error.message}`;
}
