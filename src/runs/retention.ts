/**
 * Which checkpoints to keep: pure functions from a list to the keys they keep, combined with `anyOf` and `allOf`. They
 * speak of the files of single epochs; best, final and pinned ones are kept by the plan whatever a policy says (`planPrune`).
 * Every policy looks at each run by itself. The idea is Orbax's preservation policies.
 */
import { UnitcellError } from "../errors.js";
import type { CheckpointInfo, Tag } from "./checkpoint-info.js";
import type { PrunePlan } from "./prune-plan.js";

/** Keys to keep. It must not depend on the order of the list. */
export type RetentionPolicy = (checkpoints: readonly CheckpointInfo[]) => ReadonlySet<string>;

/** Which numbers of a metric are better. */
export interface Ranking {
  readonly metric: string;
  readonly mode: "min" | "max";
}

/** Keep what has one of these tags: keepTagged("best") alone removes all but the best (and what no policy removes). */
export function keepTagged(...tags: Tag[]): RetentionPolicy {
  return (checkpoints) => keysOf(checkpoints.filter(({ tag }) => tags.includes(tag)));
}

/** Keep the n newest epochs of each run. Newest is the highest epoch, whatever the clock says. */
export function keepLatest(n: number): RetentionPolicy {
  checkCount(n, "keepLatest");
  return perRun((epochs) => epochs.slice(0, n));
}

/**
 * Keep the n best epochs of each run; of equals the earlier. An epoch whose metric is NaN is never among them; one whose
 * metric is not known is kept, since it might be.
 */
export function keepBest(n: number, by: Ranking): RetentionPolicy {
  checkCount(n, "keepBest");
  return perRun((epochs) => {
    const unknown = epochs.filter(({ metrics }) => metrics?.[by.metric] === undefined);
    return [...unknown, ...rank(epochs, by).slice(0, n)];
  });
}

/** Keep every epoch that `epochs` divides. */
export function keepEvery(epochs: number): RetentionPolicy {
  checkCount(epochs, "keepEvery", 1);
  return perRun((all) => all.filter(({ epoch }) => epoch !== undefined && epoch % epochs === 0));
}

/** Keep files written less than so many seconds before `now`; those from the future (a clock set back) or of no date too. */
export function keepYoungerThan(seconds: number, now: Date = new Date()): RetentionPolicy {
  if (!(seconds >= 0)) throw new UnitcellError("ARGUMENT", `expected an age in seconds, found ${seconds}`);
  return perRun((epochs) => epochs.filter(({ modified }) => !(now.getTime() - modified.getTime() >= seconds * 1000)));
}

/**
 * Keep as many as fit into so many bytes: first what the plan keeps anyway, then the newest epoch of every run, then the
 * second newest, and so on; it ends at the first that does not fit.
 */
export function keepWithin(bytes: number): RetentionPolicy {
  if (!(bytes >= 0)) throw new UnitcellError("ARGUMENT", `expected a number of bytes, found ${bytes}`);
  return (checkpoints) => {
    const isFixed = (info: CheckpointInfo) => protection(info) !== undefined;
    let used = checkpoints.filter(isFixed).reduce((sum, { size }) => sum + size, 0);
    const ranked = [...byRun(checkpoints.filter((info) => !isFixed(info))).entries()]
      .sort(([a], [b]) => compareText(a, b))
      .flatMap(([, infos]) => newestFirst(infos).map((info, i) => ({ info, rank: i })))
      .sort((a, b) => a.rank - b.rank);
    const kept: CheckpointInfo[] = [];
    for (const { info } of ranked) {
      used += info.size;
      if (used > bytes) break;
      kept.push(info);
    }
    return keysOf(kept);
  };
}

/** Keep what any of these keeps. @throws {UnitcellError} ARGUMENT for no policies: that would keep nothing */
export function anyOf(...policies: RetentionPolicy[]): RetentionPolicy {
  if (policies.length === 0) throw new UnitcellError("ARGUMENT", "anyOf needs at least one policy");
  return (checkpoints) => new Set(policies.flatMap((policy) => [...policy(checkpoints)]));
}

/** Keep what all of these keep. @throws {UnitcellError} ARGUMENT for no policies: that would keep nothing */
export function allOf(...policies: RetentionPolicy[]): RetentionPolicy {
  const [first, ...others] = policies;
  if (!first) throw new UnitcellError("ARGUMENT", "allOf needs at least one policy");
  return (checkpoints) => {
    const sets = others.map((policy) => policy(checkpoints));
    return new Set([...first(checkpoints)].filter((key) => sets.every((set) => set.has(key))));
  };
}

/**
 * What a policy would remove. Kept against it are: best, final and last files, pinned ones, what is no run's ("other"), and of
 * every run the newest checkpoint that is not known to be broken, where nothing else of the run is left that loads. A run
 * of which nothing is known to load keeps everything. Files known to be corrupt are no checkpoints to a policy.
 * @param options.remove files to remove whatever protects them
 * @throws {UnitcellError} NOT_FOUND when one of `remove` is not in the list
 */
export function planPrune(
  checkpoints: readonly CheckpointInfo[],
  policy: RetentionPolicy,
  options: { readonly remove?: readonly string[] } = {},
): PrunePlan {
  const named = new Set(options.remove);
  const keys = keysOf(checkpoints);
  for (const key of named)
    if (!keys.has(key)) throw new UnitcellError("NOT_FOUND", `there is no checkpoint ${key}`, { key });
  const wanted = policy(checkpoints.filter((info) => !isCorrupt(info) && !named.has(info.key)));
  const because = new Map<string, string>();
  for (const info of checkpoints) {
    const reason = named.has(info.key)
      ? undefined
      : (protection(info) ?? (wanted.has(info.key) ? "policy" : undefined));
    if (reason !== undefined) because.set(info.key, reason);
  }
  for (const infos of byRun(checkpoints).values()) keepOneThatLoads(infos, named, because);
  const keep = checkpoints.flatMap((info) => {
    const reason = because.get(info.key);
    return reason === undefined ? [] : [{ ...info, because: reason }];
  });
  const remove = checkpoints.filter(({ key }) => !because.has(key));
  return { keep, remove, bytesFreed: remove.reduce((sum, { size }) => sum + size, 0) };
}

function keepOneThatLoads(
  infos: readonly CheckpointInfo[],
  named: ReadonlySet<string>,
  because: Map<string, string>,
): void {
  const ofRun = infos.filter(({ tag }) => tag !== "other");
  if (ofRun.some(({ key, problem }) => because.has(key) && problem === undefined)) return;
  const free = ofRun.filter(({ key }) => !because.has(key) && !named.has(key));
  const newest = newestFirst(free).find(({ problem }) => problem === undefined);
  if (newest) because.set(newest.key, "last valid");
  else for (const { key } of free) because.set(key, "none of the run loads");
}

/** Why no policy removes a checkpoint; undefined where one may. */
function protection({ tag, pinned }: CheckpointInfo): string | undefined {
  if (pinned) return "pinned";
  return tag === "epoch" ? undefined : tag;
}

function isCorrupt({ problem }: CheckpointInfo): boolean {
  return problem?.startsWith("CORRUPT") ?? false;
}

/** The highest epoch first; of equal ones (Lightning's -v1) the later written, then by name. */
export function newestFirst(infos: readonly CheckpointInfo[]): CheckpointInfo[] {
  return [...infos].sort(
    (a, b) =>
      (b.epoch ?? -1) - (a.epoch ?? -1) || b.modified.getTime() - a.modified.getTime() || compareText(b.key, a.key),
  );
}

/** Those with the metric, the best first; of equals the earlier epoch. NaN and what is not known are left out. */
export function rank(infos: readonly CheckpointInfo[], { metric, mode }: Ranking): CheckpointInfo[] {
  const value = ({ metrics }: CheckpointInfo) => metrics?.[metric] ?? Number.NaN;
  const sign = mode === "min" ? 1 : -1;
  return newestFirst(infos)
    .reverse()
    .filter((info) => !Number.isNaN(value(info)))
    .sort((a, b) => (value(a) === value(b) ? 0 : sign * (value(a) - value(b))));
}

function perRun(choose: (newestFirst: CheckpointInfo[]) => readonly CheckpointInfo[]): RetentionPolicy {
  return (checkpoints) => {
    const epochs = checkpoints.filter(({ tag }) => tag === "epoch");
    return keysOf([...byRun(epochs).values()].flatMap((infos) => choose(newestFirst(infos))));
  };
}

/** Checkpoints by run, in the order of the list. */
export function byRun(checkpoints: readonly CheckpointInfo[]): Map<string, CheckpointInfo[]> {
  const runs = new Map<string, CheckpointInfo[]>();
  for (const info of checkpoints) {
    const infos = runs.get(info.run);
    if (infos) infos.push(info);
    else runs.set(info.run, [info]);
  }
  return runs;
}

function keysOf(infos: readonly CheckpointInfo[]): Set<string> {
  return new Set(infos.map(({ key }) => key));
}

/** By code units, the same everywhere. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function checkCount(n: number, what: string, least = 0): void {
  if (!(Number.isSafeInteger(n) && n >= least))
    throw new UnitcellError("ARGUMENT", `${what} expects a whole number from ${least}, found ${n}`);
}
