/**
 * Random lives of a run: saves with and without a metric, prunes, pins, resumes from anywhere, calls of the store that fail,
 * and processes that die at any call. Whatever happens, what is listed loads, nothing is lost that nobody removed, and the
 * best file is the best.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { isUnitcellError } from "../src/errors.js";
import type { CheckpointInfo } from "../src/runs/checkpoint-info.js";
import { listCheckpoints } from "../src/runs/listing.js";
import { CheckpointManager, type RunOptions } from "../src/runs/manager.js";
import { pinCheckpoint, unpinCheckpoint } from "../src/runs/pins.js";
import { openCheckpoint } from "../src/runs/restore.js";
import { anyOf, keepBest, keepEvery, keepLatest, keepTagged, type RetentionPolicy } from "../src/runs/retention.js";
import type { TrainingState } from "../src/runs/training-state.js";
import { undoRemoval } from "../src/runs/trash.js";
import { memoryStore } from "../src/stores/memory.js";
import type { Store } from "../src/stores/store.js";
import type { Tensor } from "../src/tensor.js";
import { Crash, Faults, faultyStore } from "./faulty-store.js";
import { randomNumbers } from "./interleaving.js";
import { inPart } from "./scope.js";

const LIVES = inPart(2000);
const STEPS = 14;
const RUN = "cgcnn_mp";
const BY = { metric: "val_mae", mode: "min" } as const;
const POLICIES: (RetentionPolicy | undefined)[] = [
  undefined,
  undefined,
  keepLatest(2),
  keepBest(2, BY),
  anyOf(keepLatest(1), keepEvery(3), keepBest(1, BY)),
  keepTagged("best"),
];

/** What a file held when it was written: its number is in the model. */
interface Written {
  readonly id: number;
  readonly epoch: number;
  readonly value: number | undefined;
}

function tensorOf(id: number): Tensor {
  return { dtype: "i32", shape: [1], data: new Uint8Array(Int32Array.of(id).buffer) };
}

class Life {
  private readonly seed: number;
  private readonly random: () => number;
  private readonly disk = memoryStore();
  private readonly processes = new Map<string, Faults>();
  private readonly options: RunOptions;
  private manager: CheckpointManager | undefined;
  private store: Store = this.disk;
  private epoch = 0;
  private nextId = 1;
  private readonly saves = new Map<number, Written>();
  /** Values of saves that were done, and of all that were tried. */
  private readonly done: number[] = [];
  private readonly tried: number[] = [];
  private readonly pinned = new Set<string>();
  /** The last epoch that was saved, and not removed or gone back from. */
  private latest: number | undefined;
  /** By version: files that were found to load, and what they hold. */
  private readonly checked = new Map<string, Written>();

  constructor(seed: number) {
    this.seed = seed;
    this.random = randomNumbers(seed);
    const retention = POLICIES[this.below(POLICIES.length)];
    this.options = { run: RUN, every: 1 + this.below(3), ...(retention && { retention }) };
  }

  async live(): Promise<void> {
    for (let i = 0; i < STEPS; i++) {
      const before = await this.files();
      let removed: readonly string[] = [];
      try {
        removed = await this.step();
      } catch (error) {
        if (error instanceof Crash) this.manager = undefined;
        else if (!isUnitcellError(error, "BACKEND")) throw error;
      }
      await this.check(before, removed);
    }
  }

  private below(n: number): number {
    return Math.floor(this.random() * n);
  }

  /** @returns keys that may be gone */
  private async step(): Promise<readonly string[]> {
    if (!this.manager) await this.open();
    const faults = [...this.processes.values()].at(-1)!;
    const manager = this.manager!;
    const choice = this.random();
    if (choice < 0.55) return this.save(manager, false);
    if (choice < 0.6) return this.save(manager, true);
    if (choice < 0.7) return this.prune(manager);
    if (choice < 0.76) await this.changePin();
    else if (choice < 0.86) await this.resume(manager);
    else if (choice < 0.9) await this.undo(manager);
    else if (choice < 0.95) await manager.close().finally(() => this.restart());
    else faults.callsLeft = this.below(25);
    return [];
  }

  private restart(): void {
    this.manager = undefined;
  }

  /** As a program that starts: it goes on where there is something, else it begins. */
  private async open(): Promise<void> {
    const name = `process ${this.processes.size}`;
    // Those before have ended, whether they crashed or not.
    for (const faults of this.processes.values()) faults.isDead = true;
    const faults = new Faults(this.random);
    faults.failing = this.seed % 3 === 0 ? 0.03 : 0;
    if (this.random() < 0.3) faults.callsLeft = 1 + this.below(200);
    this.processes.set(name, faults);
    this.store = faultyStore(this.disk, name, this.processes);
    const manager = new CheckpointManager(this.store, this.options);
    const there = (await listCheckpoints(this.disk)).length > 0;
    if (there) await this.resume(manager);
    else {
      await manager.begin();
      this.epoch = 0;
    }
    this.manager = manager;
  }

  private async save(manager: CheckpointManager, isFinal: boolean): Promise<readonly string[]> {
    const epoch = this.epoch + 1;
    const pick = this.random();
    const value = pick < 0.1 ? undefined : pick < 0.25 ? Number.NaN : 1 + this.below(30);
    const written = { id: this.nextId++, epoch, value };
    this.saves.set(written.id, written);
    const isNumber = value !== undefined && !Number.isNaN(value);
    if (isNumber) this.tried.push(value);
    const state: TrainingState = {
      stateDict: new Map([["weight", tensorOf(written.id)]]),
      epoch,
      metrics: { loss: epoch / 2, ...(value !== undefined && { val_mae: value }) },
      optimizer: new Map([["step", written.id]]),
      scheduler: null,
      rng: null,
    };
    if (this.latest !== undefined && this.latest >= epoch) this.latest = undefined;
    const before = await manager.list();
    const saved = await (isFinal ? manager.saveFinal(state) : manager.save(state)).catch((error) => {
      // Whether it is saved nobody knows; going on with a later epoch is right in any case.
      this.epoch = epoch;
      throw error;
    });
    this.epoch = epoch;
    if (isNumber) this.done.push(value);
    const isDue = !isFinal && epoch % this.options.every! === 0;
    if (isDue && !this.options.retention) this.latest = epoch;
    const expected = [
      ...(isDue ? [`${RUN}_epoch${epoch}.pt`] : []),
      ...(saved.best ? [`${RUN}_best.pt`] : []),
      ...(isFinal ? [`${RUN}_final.pt`] : []),
    ];
    assert.equal(saved.written, expected, this.where());
    const now = new Set((await listCheckpoints(this.disk)).map(({ key }) => key));
    for (const key of saved.written) assert.ok(now.has(key) || saved.removed.includes(key), this.where());
    // Retention that failed halfway reports nothing, and may have removed what it may remove.
    const free = before.filter(({ tag }) => tag === "epoch").map(({ key }) => key);
    return this.options.retention ? [...free, ...saved.removed] : [];
  }

  private async prune(manager: CheckpointManager): Promise<readonly string[]> {
    const policy = POLICIES[2 + this.below(POLICIES.length - 2)]!;
    const plan = await manager.planPrune(policy);
    for (const { key } of plan.remove) assert.not(this.pinned.has(key), this.where());
    const trash = this.random() < 0.5;
    this.removing = plan.remove.map(({ key }) => key);
    this.latest = undefined;
    await manager.prune(plan, { trash });
    return trash ? [] : this.removing;
  }
  private removing: readonly string[] = [];

  private async changePin(): Promise<void> {
    const infos = (await listCheckpoints(this.disk)).filter(({ tag }) => tag === "epoch");
    if (infos.length === 0) return;
    const { key, pinned } = infos[this.below(infos.length)];
    const change = pinned ? unpinCheckpoint : pinCheckpoint;
    try {
      await change(this.store, key);
    } finally {
      // The list itself tells whether a call that failed was done.
      const now = (await listCheckpoints(this.disk)).find((info) => info.key === key)!;
      if (now.pinned) this.pinned.add(key);
      else this.pinned.delete(key);
    }
  }

  private async resume(manager: CheckpointManager): Promise<void> {
    const all = await listCheckpoints(this.disk);
    if (all.length === 0) return;
    const infos = all.filter(({ tag }) => tag === "epoch");
    const pick = this.random();
    const chosen = infos[this.below(infos.length)];
    const which =
      pick < 0.6 || !chosen
        ? "latest"
        : pick < 0.75 && this.done.length > 0
          ? "best"
          : ({ epoch: chosen.epoch! } as const);
    const resumed = await manager.resume(which).catch((error) => {
      // A pinned later epoch, or nothing there yet: the program chooses the latest, or begins.
      if (!isUnitcellError(error, "ARGUMENT")) throw error;
      return manager.resume("latest");
    });
    const { state, history, skipped } = resumed;
    assert.equal(skipped, [], this.where());
    const id = new Int32Array(state.stateDict.get("weight")!.data.slice().buffer)[0];
    const written = this.saves.get(id)!;
    assert.is(state.epoch, written.epoch, this.where());
    assert.equal(state.optimizer, new Map([["step", id]]));
    assert.ok(Object.is(state.metrics.val_mae, written.value), this.where());
    const epochs = history.map((row) => row.epoch);
    assert.equal(
      epochs,
      [...new Set(epochs)].sort((a, b) => a - b),
      this.where(),
    );
    assert.is(epochs.at(-1), state.epoch, this.where());
    assert.ok(Object.is(history.at(-1)!.val_mae, written.value), this.where());
    this.epoch = state.epoch;
    if (which === "latest")
      assert.ok(state.epoch >= (this.latest ?? 0), this.where(`${state.epoch} is not the latest`));
    await this.checkBest(await listCheckpoints(this.disk));
  }

  private async undo(manager: CheckpointManager): Promise<void> {
    await undoRemoval(this.store).catch((error) => {
      // Nothing there, or in the way of newer files.
      if (!isUnitcellError(error, "NOT_FOUND") && !isUnitcellError(error, "MISMATCH")) throw error;
    });
    // Epochs that are back may be later ones: the program goes on from what is there.
    if ((await listCheckpoints(this.disk)).length > 0) await this.resume(manager);
  }

  /** Every file in the folder and in the trash, the locks left out. */
  private async files(): Promise<Map<string, string>> {
    const files = new Map<string, string>();
    for await (const { key, version } of this.disk.list()) files.set(version, key);
    for await (const { key, version } of this.disk.list(".unitcell/trash")) files.set(version, key);
    return files;
  }

  private async check(before: ReadonlyMap<string, string>, removed: readonly string[]): Promise<void> {
    const after = await this.files();
    const keys = new Set(after.values());
    const mayGo = new Set([...removed, ...this.removing]);
    this.removing = [];
    for (const [version, key] of before) {
      if (after.has(version) || key.endsWith(".json") || mayGo.has(key)) continue;
      // Overwritten by a later one; epochs by retention, where the save that did it was not finished.
      const isEpoch = /_epoch\d+\.pt$/.test(key) && !this.pinned.has(key) && this.options.retention !== undefined;
      assert.ok(keys.has(key) || isEpoch, this.where(`${key} is lost`));
    }
    const infos = await listCheckpoints(this.disk);
    // One that was pinned after a resume had given it up is in the trash.
    const there = new Set([...keys].map((key) => key.replace(/^\.unitcell\/trash\/\d+\/files\//, "")));
    for (const key of this.pinned) assert.ok(there.has(key), this.where(`${key} was pinned`));
    for (const info of infos) await this.load(info);
    const best = infos.find(({ tag }) => tag === "best");
    assert.ok(best || this.done.length === 0, this.where("there is no best file"));
    if (best && this.done.length > 0) await this.checkBest(infos);
  }

  private async checkBest(infos: readonly CheckpointInfo[]): Promise<void> {
    const best = infos.find(({ tag }) => tag === "best");
    if (!best || this.done.length === 0) return;
    const { value } = await this.load(best);
    const least = Math.min(...this.done);
    // Of saves that failed in the middle the best file may be one, if it is better.
    assert.ok(
      value === least || (value! < least && this.tried.includes(value!)),
      this.where(`best ${value}, ${least}`),
    );
  }

  private async load({ key, version }: CheckpointInfo): Promise<Written> {
    const known = this.checked.get(version);
    if (known) return known;
    const { stateDict } = await openCheckpoint(this.disk, key);
    const id = new Int32Array(stateDict.get("weight")!.data.slice().buffer)[0];
    const written = this.saves.get(id);
    assert.ok(written, this.where(`${key} holds ${id}`));
    this.checked.set(version, written!);
    return written!;
  }

  private where(what = ""): string {
    return `seed ${this.seed}: ${what}`;
  }
}

test(`${LIVES} lives of a run`, async () => {
  // Signs of life come every ten seconds, and of thousands of dead processes too.
  const { setInterval } = globalThis;
  Object.assign(globalThis, { setInterval: () => 0 });
  try {
    for (let seed = 0; seed < LIVES; seed++)
      await new Life(seed).live().catch((error) => {
        throw new Error(`seed ${seed}: ${error.stack}`);
      });
  } finally {
    Object.assign(globalThis, { setInterval });
  }
});

test.run();
