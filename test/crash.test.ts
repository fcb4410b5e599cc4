/**
 * A training is killed in the middle of whatever it does, again and again in the same folder. After each kill everything
 * that is listed loads, all that was reported is there, and the next process goes on at once.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { listCheckpoints } from "../src/runs/listing.js";
import { readPins } from "../src/runs/pins.js";
import { describeCheckpoint } from "../src/runs/restore.js";
import { listTrash } from "../src/runs/trash.js";
import { fsStore } from "../src/stores/fs.js";
import type { Store } from "../src/stores/store.js";
import type { Report } from "./crash.child.js";
import { inPart } from "./scope.js";
import { findBroken, maeOf, partsIn } from "./training.js";

const CHILD = "build/test/crash.child.js";
const KILLS = Number(process.env.UNITCELL_KILLS ?? inPart(500));
/** As many as there are cores. */
const FOLDERS = 2;
/** Every so many kills all files are read, in between only those that are new. */
const FULL_CHECK = 50;
const RUN = "crash";
/** One who waits for a sign of life of a dead writer waits for a minute. */
const LONGEST_START_MS = 10_000;

/** What must be in the folder, by what the children have reported. */
class Model {
  readonly files = new Set<string>();
  readonly pins = new Set<string>();
  readonly trash = new Set<string>();
  /** The last epoch that was reported as saved. */
  epoch = 0;
  /** The least metric of all epochs saved. */
  best: { epoch: number; value: number } | undefined;
  /** What the best file holds: the former best while the new one's epoch is there already and it itself is not. */
  bestFile: Model["best"];
  /** Written with every save, after its files. */
  hasHistory = false;
  /** Begun and not reported as finished when the child was killed. */
  pending: Report | undefined;

  apply(report: Report): void {
    const { doing, finished, epoch = 0, written = [], removed = [] } = report;
    this.pending = finished ? undefined : report;
    if (!finished) return;
    if (doing === "pin") for (const key of written) this.pins.add(key);
    else if (doing === "unpin") for (const key of removed) this.pins.delete(key);
    else if (doing === "emptyTrash") this.trash.clear();
    else {
      if (report.isNew) this.begin();
      for (const key of written) this.files.add(key);
      for (const key of removed) this.files.delete(key);
      if (doing === "prune") for (const key of removed) this.trash.add(key);
      if (doing === "undo") for (const key of written) this.trash.delete(key);
      if (doing !== "save") return;
      this.saved(epoch);
      this.hasHistory = true;
    }
  }

  /** An epoch is known to be there: reported, or found by the one who goes on from it. */
  saved(epoch: number): void {
    this.epoch = epoch;
    this.best = better(this.best, epoch);
    this.bestFile = this.best;
  }

  private begin(): void {
    this.files.clear();
    this.epoch = 0;
    this.best = undefined;
    this.bestFile = undefined;
  }
}

function better(best: Model["best"], epoch: number): Model["best"] {
  const value = maeOf(epoch);
  return epoch > 0 && (best === undefined || value < best.value) ? { epoch, value } : best;
}

/** When to kill: so many ms after the start, or so many ms after so many lines. */
interface Moment {
  readonly lines: number;
  readonly ms: number;
}

/** xorshift, so that a failure can be seen again. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** Every fourth in the time that a process takes to start and resume, the others while it saves. */
function momentOf(next: () => number): Moment {
  if (next() < 0.25) return { lines: 0, ms: 150 * next() };
  return { lines: 1 + Math.floor(16 * next()), ms: 6 * next() ** 2 };
}

const children = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of children) child.kill("SIGKILL");
});

/** A child's life: what it reported before it was killed. */
async function live(folder: string, { lines, ms }: Moment): Promise<Report[]> {
  const child = spawn(process.execPath, [CHILD, folder, RUN], { stdio: ["ignore", "pipe", "pipe"] });
  children.add(child);
  let [text, errors, killed] = ["", "", false];
  const kill = () => {
    killed = true;
    child.kill("SIGKILL");
  };
  const start = performance.now();
  // A timer is too coarse for fractions of ms.
  const killLater = () => {
    const until = performance.now() + ms;
    if (ms > 2) return void setTimeout(kill, ms);
    while (performance.now() < until);
    kill();
  };
  child.stdout.setEncoding("utf8").on("data", (piece) => {
    const before = text.split("\n").length - 1;
    text += piece;
    const after = text.split("\n").length - 1;
    if (lines > 0 && before < lines && after >= lines) killLater();
  });
  child.stderr.setEncoding("utf8").on("data", (piece) => {
    errors += piece;
  });
  if (lines === 0) killLater();
  await once(child, "close");
  children.delete(child);
  assert.ok(
    killed && errors === "",
    `the child ended by itself after ${performance.now() - start} ms: ${text}${errors}`,
  );
  // The last line may be cut off.
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}

/** What may differ from the model, as the pending action may have been done or not, or in part. */
function mayDiffer(model: Model, key: string, listed: boolean): boolean {
  const { pending } = model;
  if (!pending) return false;
  const { doing, epoch, written = [], removed = [], isNew } = pending;
  if (doing === "save" && listed) return key === `${RUN}_epoch${epoch}.pt` || key === `${RUN}_best.pt`;
  // Retention: never the last three, whether the new one is there or not, and no pinned one.
  if (doing === "save") return /_epoch\d+\.pt$/.test(key) && epochOf(key) <= epoch! - 3 && !model.pins.has(key);
  if (doing === "start") return isNew === true && !listed;
  return listed ? doing === "undo" && written.includes(key) : doing === "prune" && removed.includes(key);
}

const epochOf = (key: string) => Number(/_epoch(\d+)\.pt$/.exec(key)?.[1]);

interface Tally {
  readonly phases: Map<string, number>;
  readonly startMs: number[];
  leftovers: number;
  epochs: number;
  /** The pending save was there, and was not. */
  written: number;
  missing: number;
}

const count = (counts: Map<string, number>, name: string) => counts.set(name, (counts.get(name) ?? 0) + 1);

/** Everything that holds after a kill. */
async function check(
  folder: string,
  store: Store,
  model: Model,
  versions: Map<string, string>,
  tally: Tally,
): Promise<void> {
  const infos = await listCheckpoints(store);
  const keys = new Set(infos.map(({ key }) => key));
  const { pending } = model;
  assert.equal(await findBroken(store, versions), [], "what is listed loads");
  for (const key of model.files)
    assert.ok(keys.has(key) || mayDiffer(model, key, false), `${key} is lost, during ${JSON.stringify(pending)}`);
  for (const key of keys)
    assert.ok(
      model.files.has(key) || mayDiffer(model, key, true),
      `${key} is unexpected, during ${JSON.stringify(pending)}`,
    );
  const isBegun = pending?.doing === "start" && pending.isNew;
  const epochs = infos.filter(({ tag }) => tag === "epoch").map((info) => info.epoch ?? 0);
  const latest = Math.max(0, ...epochs);
  if (!isBegun) {
    if (pending?.doing === "save") tally[latest === pending.epoch ? "written" : "missing"]++;
    assert.ok(latest === model.epoch || (pending?.doing === "save" && latest === pending.epoch), `latest is ${latest}`);
    await checkBest(store, infos, model);
    model.epoch = latest;
    model.best = better(model.best, latest);
  }
  await checkNotes(folder, store, model, keys);
  // Whatever happened is how it is now.
  model.files.clear();
  for (const key of keys) model.files.add(key);
}

async function checkBest(
  store: Store,
  infos: Awaited<ReturnType<typeof listCheckpoints>>,
  model: Model,
): Promise<void> {
  const file = infos.find(({ tag }) => tag === "best");
  if (!file) return assert.ok(model.bestFile === undefined, "the best file is lost");
  const { metrics, epoch } = await describeCheckpoint(store, file);
  const found = { epoch: epoch!, value: metrics!.val_mae };
  const allowed = [model.bestFile, model.best];
  if (model.pending?.doing === "save") allowed.push(better(model.best, model.pending.epoch!));
  assert.ok(
    allowed.some((one) => one?.epoch === found.epoch && one.value === found.value),
    `best is ${JSON.stringify(found)}, expected ${JSON.stringify(allowed)}`,
  );
  model.bestFile = found;
}

/** The history, the pins and the trash. */
async function checkNotes(folder: string, store: Store, model: Model, keys: ReadonlySet<string>): Promise<void> {
  const history = await store.get("training_history.json");
  history?.close?.();
  if (history) JSON.parse(readFileSync(join(folder, "training_history.json"), "utf8"));
  else assert.not(model.hasHistory, "the history is lost");
  const { pending } = model;
  const pins = await readPins(store);
  const changing = new Set([...(pending?.written ?? []), ...(pending?.removed ?? [])]);
  const isPinning = pending?.doing === "pin" || pending?.doing === "unpin";
  for (const key of [...pins, ...model.pins])
    if (!(isPinning && changing.has(key))) assert.ok(pins.has(key) && model.pins.has(key), `pin of ${key}`);
  for (const key of pins) assert.ok(keys.has(key), `${key} is pinned and gone`);
  const trash = new Set((await listTrash(store)).flatMap(({ files }) => files.map((file) => file.key)));
  for (const key of model.trash)
    assert.ok(trash.has(key) || keys.has(key) || pending?.doing === "emptyTrash", `${key} is lost from the trash`);
  model.pins.clear();
  for (const key of pins) model.pins.add(key);
  model.trash.clear();
  for (const key of trash) model.trash.add(key);
}

async function crashAgainAndAgain(folder: string, kills: number, seed: number, tally: Tally): Promise<void> {
  const store = fsStore(folder);
  const model = new Model();
  const next = random(seed);
  const versions = new Map<string, string>();
  for (let kill = 1; kill <= kills; kill++) {
    const moment = momentOf(next);
    const reports = await live(folder, moment);
    try {
      for (const report of reports) {
        if (report.doing === "start" && report.finished) checkStart(report, model, tally);
        model.apply(report);
        if (report.doing === "save" && report.finished) tally.epochs++;
      }
      const last = reports.at(-1);
      count(tally.phases, !last ? "before its first word" : last.finished ? "between two" : last.doing);
      tally.leftovers += partsIn(folder).length;
      if (kill % FULL_CHECK === 0) versions.clear();
      await check(folder, store, model, versions, tally);
    } catch (error) {
      (error as Error).message +=
        ` (seed ${seed}, kill ${kill}, ${JSON.stringify(moment)}, ${JSON.stringify(reports.slice(-4))})`;
      throw error;
    }
  }
}

/** The next process went on from what there was, without waiting for the dead one's locks. */
function checkStart({ isNew, epoch = 0, ms = 0, parts, notes, best }: Report, model: Model, tally: Tally): void {
  tally.startMs.push(ms);
  assert.equal(parts, [], "unfinished files are gone");
  if (isNew) return;
  for (const note of notes ?? []) assert.match(note, /^the best file is (not so good|missing); .* was copied$/);
  assert.is(epoch, model.epoch, "the epoch resumed");
  model.saved(epoch);
  assert.equal(best, model.best, "the best so far");
}

test(`${KILLS} kills in ${FOLDERS} folders: what is listed loads, nothing that was saved is lost`, async () => {
  const folders = Array.from({ length: FOLDERS }, () => mkdtempSync(join(tmpdir(), "unitcell-crash-")));
  const tally: Tally = { phases: new Map(), startMs: [], leftovers: 0, epochs: 0, written: 0, missing: 0 };
  const start = performance.now();
  const seed = 1 + Math.floor(Math.random() * 2 ** 31);
  try {
    await Promise.all(
      folders.map((folder, i) => crashAgainAndAgain(folder, Math.ceil(KILLS / FOLDERS), seed + i, tally)),
    );
  } finally {
    for (const child of children) child.kill("SIGKILL");
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  }
  const phases = [...tally.phases].sort(([, a], [, b]) => b - a).map(([phase, kills]) => `${phase} ${kills}`);
  const sorted = tally.startMs.sort((a, b) => a - b);
  assert.ok(sorted.at(-1)! < LONGEST_START_MS, `resuming took ${sorted.at(-1)} ms`);
  console.log(
    `  ${KILLS} kills in ${((performance.now() - start) / 1000).toFixed(0)} s, ${tally.epochs} epochs saved; killed during: ${phases.join(", ")}`,
  );
  console.log(
    `  ${tally.leftovers} unfinished files left; of the epochs being saved ${tally.written} were there, ${tally.missing} not; ` +
      `resumed in ${sorted[sorted.length >> 1].toFixed(0)} ms (median), ${sorted.at(-1)!.toFixed(0)} (longest)`,
  );
});

test.run();
