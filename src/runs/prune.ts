/** Deleting checkpoints: a plan first, then exactly that plan. */
import { UnitcellError } from "../errors.js";
import type { ReadStore, Store } from "../stores/store.js";
import type { CheckpointInfo } from "./checkpoint-info.js";
import { listCheckpoints } from "./listing.js";
import { changing } from "./notes.js";
import type { PrunePlan } from "./prune-plan.js";
import { checkCheckpoint, describeCheckpoint } from "./restore.js";
import { byRun, newestFirst, planPrune, type RetentionPolicy } from "./retention.js";
import { moveToTrash } from "./trash.js";

/** Which run a plan is for, and files that go whatever protects them. */
export interface PlanOptions {
  /** Files to remove whatever protects them, by key. */
  readonly remove?: readonly string[];
  /** Only of this run; default: of all in the store. */
  readonly run?: string;
  /** Keys of files that are known to load: they were written a moment ago. */
  readonly sound?: readonly string[];
}

/** Whether what is pruned goes to the trash or for good. */
export interface PruneOptions {
  /** Move to the trash, from where `undo` brings back, and no space is freed. Default: false. */
  readonly trash?: boolean;
}

/** What pruning removed. */
export interface PruneResult {
  readonly removed: readonly CheckpointInfo[];
  readonly bytesFreed: number;
  /** The batch in the trash. */
  readonly batch?: string;
}

/**
 * What a policy would remove from a store; nothing is deleted. Metrics that no history has are read from the files if the
 * policy looks at them, and of every run that would lose something one checkpoint that stays has been read to its end and
 * found to load.
 * @throws {UnitcellError} as listCheckpoints and the pure planPrune
 */
export async function planStorePrune(
  store: ReadStore,
  policy: RetentionPolicy,
  options: PlanOptions = {},
): Promise<PrunePlan> {
  const listed = (await listCheckpoints(store)).filter(({ run }) => options.run === undefined || run === options.run);
  const infos: CheckpointInfo[] = [];
  const asked = askedForMetrics(policy, listed);
  for (const info of listed) infos.push(asked.has(info.key) ? await withMetrics(store, info) : info);
  const checked = new Set(options.sound);
  const places = new Map(infos.map(({ key }, i) => [key, i]));
  for (;;) {
    const plan = planPrune(infos, policy, options);
    const doubtful = unchecked(plan, checked);
    if (doubtful.length === 0) return plan;
    // Each run until one loads: planning anew for every file takes minutes where thousands are broken.
    for (const ofRun of doubtful)
      for (const info of ofRun) {
        checked.add(info.key);
        const problem = await checkCheckpoint(store, info);
        if (problem === undefined) break;
        const at = places.get(info.key)!;
        infos[at] = { ...infos[at], problem };
      }
  }
}

/** Of which epochs a policy would look at metrics that nobody has written down; most policies look at none. */
function askedForMetrics(policy: RetentionPolicy, listed: readonly CheckpointInfo[]): ReadonlySet<string> {
  const asked = new Set<string>();
  const watched = (info: CheckpointInfo) => {
    const get = (known: Readonly<Record<string, number>>, name: string) => {
      if (!Object.hasOwn(known, name)) asked.add(info.key);
      return known[name];
    };
    return { ...info, metrics: new Proxy(info.metrics ?? {}, { get }) };
  };
  policy(listed.map((info) => (info.tag === "epoch" ? watched(info) : info)));
  return asked;
}

async function withMetrics(store: ReadStore, info: CheckpointInfo): Promise<CheckpointInfo> {
  const { metrics, problem } = await describeCheckpoint(store, info);
  return {
    ...info,
    ...(metrics && { metrics: { ...info.metrics, ...metrics, ...info.metrics } }),
    ...(problem !== undefined && { problem }),
  };
}

/** Of every run that loses something while nothing that stays was found to load: what may, first what stays, the newest first. */
function unchecked({ keep, remove }: PrunePlan, checked: ReadonlySet<string>): CheckpointInfo[][] {
  const isSound = ({ tag, problem }: CheckpointInfo) => tag !== "other" && problem === undefined;
  const kept = byRun(keep.filter(isSound));
  const losing = [...byRun(remove.filter(({ tag }) => tag !== "other"))];
  return losing.flatMap(([run, lost]) => {
    const staying = newestFirst(kept.get(run) ?? []);
    if (staying.length === 0 || staying.some(({ key }) => checked.has(key))) return [];
    return [[...staying, ...newestFirst(lost.filter(isSound)).filter(({ key }) => !checked.has(key))]];
  });
}

/**
 * Delete exactly what a plan says, or move it to the trash.
 * @throws {UnitcellError} MISMATCH when the checkpoints are no longer those the plan was made from (nothing is deleted
 *   then; make a new plan), BACKEND when the store fails
 */
export function pruneStore(store: Store, plan: PrunePlan, options: PruneOptions = {}): Promise<PruneResult> {
  return changing(store, async () => {
    await checkUnchanged(store, plan);
    return removeFiles(store, plan, options);
  });
}

/** The deleting itself; the caller holds the folder's lock, and has made the plan under it or checked it. */
export async function removeFiles(store: Store, plan: PrunePlan, options: PruneOptions): Promise<PruneResult> {
  const removed = plan.remove;
  if (removed.length === 0) return { removed, bytesFreed: 0 };
  const keys = removed.map(({ key }) => key);
  if (options.trash) return { removed, bytesFreed: 0, batch: await moveToTrash(store, keys, "prune") };
  // A deletion that a power failure undoes has lost nothing, and need not wait for the disk.
  for (const key of keys) await store.delete(key, { durable: false });
  return { removed, bytesFreed: plan.bytesFreed };
}

async function checkUnchanged(store: Store, plan: PrunePlan): Promise<void> {
  const planned = [...plan.keep, ...plan.remove];
  const before = new Map(planned.map((info) => [info.key, info]));
  const runs = new Set(planned.map(({ run }) => run));
  const changes: string[] = [];
  for (const now of (await listCheckpoints(store)).filter(({ run }) => runs.has(run))) {
    const was = before.get(now.key);
    before.delete(now.key);
    if (!was) changes.push(`${now.key} is new`);
    else if (was.version !== now.version || was.size !== now.size) changes.push(`${now.key} is another file now`);
    else if (was.pinned !== now.pinned) changes.push(`${now.key} is ${now.pinned ? "pinned" : "no longer pinned"} now`);
  }
  for (const key of before.keys()) changes.push(`${key} is gone`);
  if (changes.length === 0) return;
  const shown = changes.slice(0, 10).join(", ") + (changes.length > 10 ? ` and ${changes.length - 10} more` : "");
  throw new UnitcellError("MISMATCH", `the folder has changed since the plan was made: ${shown}; make a new plan`, {
    changes,
  });
}
