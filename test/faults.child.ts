/**
 * faults.child.js FOLDER CODE SET MODE STEP: a script of saving, pinning, pruning and undoing, again and again in new folders.
 * In the first everything works; in another the n-th call of the file system fails (MODE "one"), or that and all after it
 * ("from"), of which each STEP-th is tried. Prints one line of JSON.
 *
 * SET: "writes" are all calls that change something, "space" those of them that need space, "reads" the others.
 */
import fs, { mkdirSync, rmSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { join } from "node:path";
import { isUnitcellError } from "../src/errors.js";
import type { CheckpointInfo } from "../src/runs/checkpoint-info.js";
import { listCheckpoints } from "../src/runs/listing.js";
import { CheckpointManager } from "../src/runs/manager.js";
import { pinCheckpoint, readPins } from "../src/runs/pins.js";
import { describeCheckpoint } from "../src/runs/restore.js";
import { keepLatest } from "../src/runs/retention.js";
import { listTrash, undoRemoval } from "../src/runs/trash.js";
import { fsStore } from "../src/stores/fs.js";
import type { Store } from "../src/stores/store.js";
import { BY, findBroken, maeOf, partsIn, RETENTION, stateAfter } from "./training.js";

const [, , root, code, set, mode, step] = process.argv;

const SETS: Readonly<Record<string, readonly string[]>> = {
  writes: ["writeSync", "openSync", "unlinkSync", "fsync", "link", "rename", "mkdir", "unlink"],
  space: ["writeSync", "openSync", "link", "mkdir"],
  reads: [
    "readSync",
    "read",
    "fstatSync",
    "statSync",
    "openSync",
    "readdir",
    "stat",
    "lstat",
    "realpath",
    "realpathSync",
  ],
};

/** Whether and when calls fail. */
const faults = { on: false, at: Number.POSITIVE_INFINITY, calls: 0, lastName: "" };

function fails(name: string, flags?: unknown): boolean {
  if (!faults.on) return false;
  const creates = typeof flags === "string" && flags !== "r";
  // Opening is of both kinds: folders are opened to flush them.
  if (name === "openSync" && ((set === "reads" && creates) || (set === "space" && !creates))) return false;
  faults.calls++;
  const hit = mode === "one" ? faults.calls === faults.at : faults.calls >= faults.at;
  if (hit && faults.calls === faults.at) faults.lastName = name;
  return hit;
}

type AnyFunction = (...args: never[]) => unknown;

function failure(name: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: injected, ${name}`), { code, syscall: name });
}

function patch(): void {
  for (const name of SETS[set]) {
    const isPromise = ["link", "rename", "mkdir", "unlink", "readdir", "stat", "lstat", "realpath"].includes(name);
    const owner = (isPromise ? fs.promises : fs) as unknown as Record<string, AnyFunction>;
    const real = owner[name] as (...args: unknown[]) => unknown;
    const replacement = (...args: unknown[]): unknown => {
      if (!fails(name, args[1])) return real(...args);
      const error = failure(name);
      // A disk that is full takes the first part.
      if (name === "writeSync")
        real(
          args[0],
          (args[1] as Uint8Array).subarray(0, (args[3] as number) >> 1),
          0,
          (args[3] as number) >> 1,
          args[4],
        );
      const last = args.at(-1);
      if (typeof last === "function") return void setImmediate(() => last(error));
      if (isPromise) return Promise.reject(error);
      throw error;
    };
    owner[name] = Object.assign(replacement, real) as AnyFunction;
  }
  syncBuiltinESMExports();
}

/** What has been reported as done. */
interface Done {
  readonly files: Set<string>;
  /** A call that failed may have removed these. */
  readonly maybeGone: Set<string>;
  readonly pins: Set<string>;
  best: number;
  latest: number;
  failed: number;
  readonly wrong: string[];
}

async function script(store: Store, manager: CheckpointManager): Promise<Done> {
  const done: Done = {
    files: new Set(),
    maybeGone: new Set(),
    pins: new Set(),
    best: Number.POSITIVE_INFINITY,
    latest: 0,
    failed: 0,
    wrong: [],
  };
  const step = async (act: () => Promise<void>, failed: () => void = () => {}) => {
    try {
      await act();
    } catch (error) {
      if (!isUnitcellError(error)) throw error;
      // Later steps may ask for what earlier ones did not do.
      done.failed++;
      failed();
    }
  };
  const gone = (isGone: (key: string) => boolean) => {
    for (const key of done.files) if (isGone(key) && !done.pins.has(key)) done.maybeGone.add(key);
  };
  const goneBefore = (epoch: number) => gone((key) => Number(/epoch(\d+)/.exec(key)?.[1]) < epoch);
  const save = (epoch: number) =>
    step(
      async () => {
        const { written, removed, notes } = await manager.save(stateAfter(epoch, 20));
        // It is a note, since the checkpoint is saved.
        if (notes.some((note) => note.includes("could not be removed"))) goneBefore(epoch - 2);
        for (const key of written) done.files.add(key);
        for (const key of removed) done.files.delete(key);
        done.latest = epoch;
        done.best = Math.min(done.best, maeOf(epoch));
      },
      () => goneBefore(epoch - 2),
    );
  await step(() => manager.begin());
  for (let epoch = 1; epoch <= 5; epoch++) await save(epoch);
  await step(async () => {
    await pinCheckpoint(store, "run_epoch4.pt");
    done.pins.add("run_epoch4.pt");
  });
  const isPruned = (key: string) => /epoch/.test(key) && key !== `run_epoch${done.latest}.pt`;
  await step(
    async () => {
      const plan = await manager.planPrune(keepLatest(1));
      // A checkpoint that could not be read once is not therefore a broken one.
      const isNewest = ({ tag, epoch = 0 }: CheckpointInfo) => tag === "epoch" && epoch >= done.latest;
      const isRisky = plan.remove.length > 0 && !plan.keep.some(isNewest);
      if (isRisky) done.wrong.push("the newest would be removed");
      await manager.prune(plan, { trash: true });
      for (const { key } of plan.remove) done.files.delete(key);
    },
    () => gone(isPruned),
  );
  await step(async () => {
    for (const { key } of (await undoRemoval(store)).files) done.files.add(key);
  });
  await save(6);
  await step(async () => {
    for (const key of (await manager.saveFinal(stateAfter(6, 20))).written) done.files.add(key);
  });
  await step(() => manager.close());
  return done;
}

/** Why the folder is not as it must be. */
async function problemsOf(folder: string, store: Store, done: Done): Promise<string[]> {
  const problems = await findBroken(store);
  const infos = await listCheckpoints(store);
  const keys = new Set(infos.map(({ key }) => key));
  const trash = new Set((await listTrash(store)).flatMap(({ files }) => files.map(({ key }) => key)));
  for (const key of done.files)
    if (!keys.has(key) && !done.maybeGone.has(key))
      problems.push(`${key} is lost${trash.has(key) ? " in the trash" : ""}`);
  const best = infos.find(({ tag }) => tag === "best");
  if (best) {
    const { epoch = 0, metrics } = await describeCheckpoint(store, best);
    if (metrics?.val_mae !== maeOf(epoch) || maeOf(epoch) > done.best) problems.push(`best is epoch ${epoch}`);
  } else if (done.latest > 0) problems.push("the best file is lost");
  const pins = await readPins(store);
  for (const key of done.pins) if (!pins.has(key) || !keys.has(key)) problems.push(`the pinned ${key}`);
  const manager = new CheckpointManager(store, { run: "run", ...BY, retention: RETENTION });
  const hasEpochs = infos.some(({ tag }) => tag === "epoch" || tag === "final");
  if (!hasEpochs) await manager.begin({ existing: "trash" });
  const epoch = hasEpochs ? (await manager.resume()).state.epoch : 0;
  if (epoch < done.latest) problems.push(`epoch ${done.latest} is lost, ${epoch} is the latest`);
  await manager.save(stateAfter(epoch + 1, 20));
  await manager.close();
  problems.push(...(await findBroken(store)), ...partsIn(folder).map((part) => `${part} is left`));
  return problems;
}

/** A promise that is still waiting after so long waits for a lock that nobody holds. */
const LONGEST_MS = 20_000;

async function inTime<T>(promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("it waits")), LONGEST_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function runOnce(at: number): Promise<{ calls: number; failed: number; problems: string[] }> {
  const folder = join(root, `${code}-${set}-${mode}-${at}`);
  mkdirSync(folder);
  const store = fsStore(folder);
  const manager = new CheckpointManager(store, { run: "run", ...BY, retention: RETENTION });
  Object.assign(faults, { on: true, at, calls: 0, lastName: "" });
  try {
    const done = await inTime(script(store, manager));
    faults.on = false;
    const problems = [...done.wrong, ...(await inTime(problemsOf(folder, store, done)))];
    rmSync(folder, { recursive: true });
    return { calls: faults.calls, failed: done.failed, problems };
  } catch (error) {
    faults.on = false;
    return { calls: faults.calls, failed: 0, problems: [String((error as Error).stack)] };
  }
}

const stray: string[] = [];
process.on("unhandledRejection", (error) => stray.push(`unhandled: ${(error as Error)?.stack ?? error}`));
patch();
const { calls, failed, problems } = await runOnce(Number.POSITIVE_INFINITY);
if (failed > 0) problems.push("something failed without a fault");
let failures = 0;
for (let at = 1; at <= calls && problems.length < 5; at += Number(step)) {
  const result = await runOnce(at);
  failures += result.failed;
  for (const problem of [...result.problems, ...stray.splice(0)])
    problems.push(`call ${at} (${faults.lastName}): ${problem}`);
}
console.log(JSON.stringify({ calls, failures, problems }));
process.exit(0);
