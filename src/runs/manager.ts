/** One run of training in a store: its checkpoints, its history, the best of it, and how to go on after a crash. */
import { isUnitcellError, UnitcellError } from "../errors.js";
import type { ReadOptions } from "../formats/torch.js";
import { writeTorch } from "../formats/torch-save.js";
import type { Lock } from "../stores/lock.js";
import type { Content, Store } from "../stores/store.js";
import { findBestFile } from "./best-file.js";
import type { CheckpointInfo } from "./checkpoint-info.js";
import { checkpointKey, checkRunName } from "./checkpoint-names.js";
import {
  describeHistory,
  type HistoryRow,
  isBetter,
  type RunMetadata,
  readHistory,
  readMetadata,
  rowOf,
  type TrainingHistory,
  writeHistory,
  writeMetadata,
} from "./history.js";
import { listCheckpoints } from "./listing.js";
import { changing, lockRun } from "./notes.js";
import {
  type PlanOptions,
  type PruneOptions,
  type PruneResult,
  planStorePrune,
  pruneStore,
  removeFiles,
} from "./prune.js";
import type { PrunePlan } from "./prune-plan.js";
import type { Restored, Which } from "./restore.js";
import { keepEvery, type Ranking, type RetentionPolicy, rank } from "./retention.js";
import { checkDistinct, describeRun, ignoreUnreadable, restoreCheckpoint, rowsUpTo } from "./run-files.js";
import {
  decodeRecord,
  decodeState,
  encodeState,
  type Part,
  type RunRecord,
  type TrainingState,
} from "./training-state.js";
import { moveToTrash } from "./trash.js";

/** What a manager is told of its run: names, what tells the best epoch, what is kept. */
export interface RunOptions {
  /** Files are called after it: "cgcnn_mp" writes cgcnn_mp_epoch1.pt, cgcnn_mp_best.pt, cgcnn_mp_final.pt. */
  readonly run: string;
  /** Which of the metrics tells the best epoch. Default: "val_mae". */
  readonly metric?: string;
  /** Default: "min". */
  readonly mode?: "min" | "max";
  /** Write the file of every so many epochs; the best one is written whatever its number. Default: 1. */
  readonly every?: number;
  /** Write no epoch file sooner than so many seconds after the last one. Default: 0. */
  readonly seconds?: number;
  /** What to keep of the epoch files; the others are deleted after each save. Default: everything. */
  readonly retention?: RetentionPolicy;
  /** For training_history.json. */
  readonly hyperparameters?: Readonly<Record<string, unknown>>;
}

/** What may be missing of a state to go on from, and which run it is taken from. */
export interface ResumeOptions extends ReadOptions {
  /** Parts that may be missing; they are null then. Files of most programs lack some. */
  readonly without?: readonly Part[];
  /** Another run to go on from, under the manager's own name; "." is what programs that name files themselves wrote. */
  readonly from?: string;
}

/** A training's state to go on from, with the run's history up to it. */
export interface Resumed extends Omit<Restored, "checkpoint"> {
  readonly state: TrainingState;
  /** Every epoch up to the one resumed. */
  readonly history: readonly HistoryRow[];
  readonly best: RunRecord["best"];
  /** The epochs that have files, the best first. */
  readonly top: readonly CheckpointInfo[];
  /** s of training before. */
  readonly seconds: number;
  /** What a person should know: what did not load, what was put right. */
  readonly notes: readonly string[];
}

/** What a save wrote and removed. */
export interface Saved {
  /** Keys of the checkpoints written: the epoch's, the best's, none when it was not its turn. */
  readonly written: readonly string[];
  /** It is the best so far. */
  readonly best: boolean;
  /** What retention removed. */
  readonly removed: readonly string[];
  readonly notes: readonly string[];
}

/**
 * The checkpoints of one run. `begin` or `resume` makes this the only writer of the run until `close`; reading (`list`,
 * `restore`, `history`) needs neither. Calls that write are done one after another. Await `save` before changing tensors.
 */
export class CheckpointManager {
  readonly run: string;
  private readonly store: Store;
  private readonly by: Ranking;
  private readonly options: RunOptions;
  private lock: Lock | undefined;
  private record: RunRecord;
  /** By the monotonic clock, in ms: the begin of this session, and the last epoch file. */
  private began = 0;
  private lastFile = Number.NEGATIVE_INFINITY;
  /** Files of a branch that is given up; they go to the trash with the first save. */
  private superseded: readonly string[] = [];
  /** The history file may still tell of epochs that are given up. */
  private isFirstSave = true;
  /** A best file that goes to the trash when a new one is written, as BestFile tells. */
  private bestAside: string | undefined;
  private queue: Promise<unknown> = Promise.resolve();

  /** @throws {UnitcellError} ARGUMENT for options that make no sense */
  constructor(store: Store, options: RunOptions) {
    const { run, metric = "val_mae", mode = "min", every = 1, seconds = 0 } = options;
    if (typeof run !== "string" || run === "") throw new UnitcellError("ARGUMENT", "a manager needs the name of a run");
    if (mode !== "min" && mode !== "max")
      throw new UnitcellError("ARGUMENT", `expected mode "min" or "max", found ${JSON.stringify(mode)}`);
    keepEvery(every);
    if (!(seconds >= 0)) throw new UnitcellError("ARGUMENT", `expected a number of seconds, found ${seconds}`);
    this.store = store;
    this.run = run;
    this.by = { metric, mode };
    this.options = options;
    this.record = { run, ...this.by, seconds: 0, best: undefined, history: [] };
  }

  /**
   * Begin a new run.
   * @param options.existing what to do when there are checkpoints of this name: "refuse", or move them to the trash
   * @throws {UnitcellError} ARGUMENT when the run exists (for the trash: has something pinned), has a name that no file
   *   can have, or one that the store takes for another run's; BACKEND when another writer has it
   */
  begin(options: { readonly existing?: "refuse" | "trash" } = {}): Promise<void> {
    return this.inTurn(() => this.beginNow(options.existing ?? "refuse"));
  }

  /**
   * Go on with a run: load the state, and take the run over. A checkpoint that does not load is passed over for the next
   * (as `restore`), which `skipped` and `notes` say. What was saved after the epoch resumed is of a branch given up: with
   * the first save those epochs go to the trash; the best and final files stay.
   * @throws {UnitcellError} as restore; MISMATCH when the checkpoint is no complete state, naming the parts it lacks;
   *   ARGUMENT when a later epoch is pinned; BACKEND when another writer has the run
   */
  resume(which: Which = "latest", options: ResumeOptions = {}): Promise<Resumed> {
    return this.inTurn(() => this.resumeNow(which, options));
  }

  /**
   * Save the state after an epoch: its file when it is due, the best file when the metric has improved, the history; then
   * remove what retention does not keep. A crash at any point leaves every listed checkpoint whole. A manager's first save
   * begins the run if nothing else has; after `close` that takes `begin` or `resume`.
   * @throws {UnitcellError} ARGUMENT for an incomplete state, an epoch before the last or a run that was closed; BACKEND when the disk is full or
   *   fails (what was there is still there), or the run was taken over
   */
  save(state: TrainingState): Promise<Saved> {
    return this.inTurn(() => this.saveNow(state, false));
  }

  /** Save the last state, as <run>_final.pt. @throws {UnitcellError} as save */
  saveFinal(state: TrainingState): Promise<Saved> {
    return this.inTurn(() => this.saveNow(state, true));
  }

  /**
   * Load a checkpoint to look at or predict with; changes nothing.
   * @throws {UnitcellError} as restoreCheckpoint
   */
  async restore(which: Which, options: ReadOptions = {}): Promise<Restored> {
    return restoreCheckpoint(this.store, this.run, which, { ...options, ...this.by });
  }

  /** The run's checkpoints by epoch and name, without opening them. */
  async list(): Promise<CheckpointInfo[]> {
    return (await listCheckpoints(this.store)).filter(({ run }) => run === this.run);
  }

  /** What a policy would remove of this run. @throws {UnitcellError} as planStorePrune */
  planPrune(policy: RetentionPolicy, options: Omit<PlanOptions, "run"> = {}): Promise<PrunePlan> {
    return planStorePrune(this.store, policy, { ...options, run: this.run });
  }

  /** Do it. @throws {UnitcellError} MISMATCH when the checkpoints have changed since, as pruneStore */
  prune(plan: PrunePlan, options: PruneOptions = {}): Promise<PruneResult> {
    return pruneStore(this.store, plan, options);
  }

  /** The run in training_history.json, or in ALIGNN's history files. @throws {UnitcellError} CORRUPT, LIMIT where unreadable */
  history(): Promise<TrainingHistory | undefined> {
    return readHistory(this.store, this.run);
  }

  /** <run>_metadata.json. @throws {UnitcellError} CORRUPT, LIMIT where unreadable */
  metadata(): Promise<RunMetadata | undefined> {
    return readMetadata(this.store, this.run);
  }

  /** Write metadata over those there are, key by key. @throws {UnitcellError} as metadata: what is unreadable stays as it is */
  setMetadata(metadata: RunMetadata): Promise<void> {
    checkRunName(this.run);
    return changing(this.store, () => writeMetadata(this.store, this.run, metadata));
  }

  /** Let others write the run; what has been called before is finished first. */
  close(): Promise<void> {
    return this.inTurn(async () => {
      const { lock } = this;
      this.lock = undefined;
      await lock?.release();
    });
  }

  private inTurn<T>(action: () => Promise<T>): Promise<T> {
    const result = this.queue.then(action);
    this.queue = result.catch(() => {});
    return result;
  }

  private async beginNow(existing: "refuse" | "trash"): Promise<void> {
    await this.taking(async () => {
      const infos = (await this.list()).filter(({ tag }) => tag !== "other");
      if (infos.length > 0) {
        if (existing === "refuse") throw this.exists(infos);
        const keys = infos.map(({ key }) => key);
        const pinned = infos.filter((one) => one.pinned).map(({ key }) => key);
        if (pinned.length > 0)
          throw new UnitcellError(
            "ARGUMENT",
            `beginning run "${this.run}" anew gives up its checkpoints, and ${pinned.join(", ")} is pinned; unpin it or choose another name`,
            { pinned },
          );
        await changing(this.store, () => moveToTrash(this.store, keys, `run ${this.run} was begun anew`));
      } else await checkDistinct(this.store, this.run);
      this.start({ run: this.run, ...this.by, seconds: 0, best: undefined, history: [] });
    });
  }

  private exists(infos: readonly CheckpointInfo[]): UnitcellError {
    const keys = infos.map(({ key }) => key);
    const shown = keys.slice(0, 5).join(", ") + (keys.length > 5 ? ` and ${keys.length - 5} more` : "");
    return new UnitcellError(
      "ARGUMENT",
      `run "${this.run}" has checkpoints already (${shown}): resume it, choose another name, or begin with existing: "trash"`,
      { keys },
    );
  }

  private async resumeNow(which: Which, { without, from = this.run, ...options }: ResumeOptions): Promise<Resumed> {
    return this.taking(async () => {
      const { info, checkpoint, skipped } = await restoreCheckpoint(this.store, from, which, {
        ...options,
        ...this.by,
      });
      const record = decodeRecord(checkpoint);
      const state = decodeState(checkpoint, {
        key: info.key,
        epoch: info.epoch ?? checkpoint.epoch,
        ...(without && { without }),
      });
      const notes = skipped.map(
        ({ key, problem }) => `${key} does not load, ${info.key} was taken instead: ${problem}`,
      );
      const own = await describeRun(this.store, this.run, { metric: this.by.metric });
      if (from !== this.run) {
        if (own.some(({ tag }) => tag !== "other")) throw this.exists(own);
        await checkDistinct(this.store, this.run);
      }
      const later = own.filter(({ tag, epoch = 0 }) => tag === "epoch" && epoch > state.epoch);
      const pinned = later.filter((one) => one.pinned).map(({ key }) => key);
      if (pinned.length > 0)
        throw new UnitcellError(
          "ARGUMENT",
          `resuming epoch ${state.epoch} gives up later ones, and ${pinned.join(", ")} is pinned; unpin it or choose another name`,
          { pinned },
        );
      const history = record?.history ?? (await rowsUpTo(this.store, from, state.epoch));
      const { best, aside, notes: found } = await findBestFile(this.store, this.run, own, this.by);
      notes.push(...found);
      this.start({ run: this.run, ...this.by, seconds: record?.seconds ?? 0, best, history });
      this.superseded = later.map(({ key }) => key);
      this.bestAside = aside;
      const epochs = own.filter(({ tag, epoch = 0 }) => tag === "epoch" && epoch <= state.epoch);
      const top = rank(epochs, this.by);
      return { state, info, skipped, history, best, top, seconds: this.record.seconds, notes };
    });
  }

  private async saveNow(state: TrainingState, isFinal: boolean): Promise<Saved> {
    if (!this.lock && this.record.history.length > 0)
      throw new UnitcellError("ARGUMENT", `run "${this.run}" was closed after its last save: resume it, or begin anew`);
    if (!this.lock) await this.beginNow("refuse");
    await this.lock!.check();
    const last = this.record.history.at(-1)?.epoch ?? Number.NEGATIVE_INFINITY;
    if (state.epoch < last)
      throw new UnitcellError("ARGUMENT", `epoch ${state.epoch} comes after ${last}; resume from it to go back`);
    const value = state.metrics?.[this.by.metric];
    const best = isBetter(value, this.record.best?.value, this.by.mode);
    const record: RunRecord = {
      ...this.record,
      seconds: this.record.seconds + this.elapsed(),
      best: best ? { epoch: state.epoch, value } : this.record.best,
      history: [...this.record.history.filter(({ epoch }) => epoch < state.epoch), rowOf(state.epoch, state.metrics)],
    };
    const { value: file, refused } = encodeState(state, record);
    const notes = refused.map((place) => `torch.load takes ${place} only with weights_only=False`);
    if (value === undefined)
      notes.push(
        `there is no ${this.by.metric} among the metrics (${Object.keys(state.metrics).join(", ")}): best is as before`,
      );
    const keys = this.keysDue(state.epoch, best, isFinal);
    const content: Content = (sink) => writeTorch(file, sink);
    return changing(this.store, async () => {
      await this.giveUpBranch(best, notes);
      for (const key of keys) await this.store.put(key, content);
      this.commit(record, keys.includes(checkpointKey(this.run, { epoch: state.epoch })));
      await this.describe(notes);
      return { written: keys, best, removed: await this.retain(keys, notes), notes };
    });
  }

  private keysDue(epoch: number, best: boolean, isFinal: boolean): string[] {
    const { every = 1, seconds = 0 } = this.options;
    const isDue = !isFinal && epoch % every === 0 && performance.now() - this.lastFile >= seconds * 1000;
    return [
      ...(isDue ? [checkpointKey(this.run, { epoch })] : []),
      ...(best ? [checkpointKey(this.run, "best")] : []),
      ...(isFinal ? [checkpointKey(this.run, "final")] : []),
    ];
  }

  private async giveUpBranch(best: boolean, notes: string[]): Promise<void> {
    const aside = best ? this.bestAside : undefined;
    const keys = [...this.superseded, ...(aside === undefined ? [] : [aside])];
    if (keys.length > 0) {
      const batch = await moveToTrash(this.store, keys, `run ${this.run} went on from an earlier epoch`);
      notes.push(`in the trash as batch ${batch}: ${keys.join(", ")}`);
    }
    this.superseded = [];
    if (best) this.bestAside = undefined;
    if (this.isFirstSave) await this.forgetRows(notes);
    this.isFirstSave = false;
  }

  /** Should this end before the history is written, rows of epochs given up would describe the files of new ones. */
  private async forgetRows(notes: string[]): Promise<void> {
    const written = (await readHistory(this.store, this.run).catch(ignoreUnreadable))?.history ?? [];
    const last = this.record.history.at(-1)?.epoch ?? Number.NEGATIVE_INFINITY;
    if (written.some(({ epoch }) => epoch > last)) await this.describe(notes);
  }

  /** The files are written: from here on this is what has been saved, whatever happens to the descriptions. */
  private commit(record: RunRecord, isEpochFile: boolean): void {
    this.record = record;
    this.began = performance.now();
    if (isEpochFile) this.lastFile = performance.now();
  }

  private async describe(notes: string[]): Promise<void> {
    const { hyperparameters } = this.options;
    const { history, seconds } = this.record;
    const description = describeHistory(this.run, history, this.by, {
      seconds,
      ...(hyperparameters && { hyperparameters }),
    });
    const aside = await writeHistory(this.store, this.run, description);
    if (aside !== undefined)
      notes.push(`the history file could not be read; it is ${aside} now, and a new one was begun`);
  }

  /** The checkpoint is saved: what cannot be removed is a note, and no error. */
  private async retain(written: readonly string[], notes: string[]): Promise<string[]> {
    const { retention } = this.options;
    if (!retention) return [];
    try {
      const plan = await planStorePrune(this.store, retention, { run: this.run, sound: written });
      const { removed } = await removeFiles(this.store, plan, {});
      return removed.map(({ key }) => key);
    } catch (error) {
      if (!isUnitcellError(error)) throw error;
      notes.push(`old checkpoints could not be removed: ${error.code}: ${error.message}`);
      return [];
    }
  }

  private async taking<T>(action: () => Promise<T>): Promise<T> {
    checkRunName(this.run);
    const held = this.lock;
    const lock = held ?? (await lockRun(this.store, this.run));
    try {
      await this.store.clean?.();
      const result = await action();
      this.lock = lock;
      return result;
    } catch (error) {
      if (!held) await lock.release().catch(() => {});
      throw error;
    }
  }

  private start(record: RunRecord): void {
    this.record = record;
    this.began = performance.now();
    this.lastFile = Number.NEGATIVE_INFINITY;
    this.superseded = [];
    this.bestAside = undefined;
    this.isFirstSave = true;
  }

  /** s since the last save of this session. */
  private elapsed(): number {
    return (performance.now() - this.began) / 1000;
  }
}
