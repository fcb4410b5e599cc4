/**
 * What people lost to other checkpoint managers, retold with ours: each test is one story. Threads that tell them, where
 * they are public: huggingface/transformers 25129 (limit 1 deletes all) and 37260 (a reused folder), Lightning-AI/
 * pytorch-lightning 5173 and 10995 (top-k forgotten on resume), Megvii-BaseDetection/YOLOX 1906 (a numpy metric).
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { UnitcellError } from "../src/errors.js";
import { saveTorch } from "../src/formats/torch-save.js";
import type { TorchValue } from "../src/formats/values.js";
import { listCheckpoints } from "../src/runs/listing.js";
import { CheckpointManager, type RunOptions } from "../src/runs/manager.js";
import { pinCheckpoint, unpinCheckpoint } from "../src/runs/pins.js";
import { planStorePrune, pruneStore } from "../src/runs/prune.js";
import { keepBest, keepLatest, keepTagged } from "../src/runs/retention.js";
import type { TrainingState } from "../src/runs/training-state.js";
import { listTrash, undoRemoval } from "../src/runs/trash.js";
import { memoryStore } from "../src/stores/memory.js";
import { readFile, type Store } from "../src/stores/store.js";
import { pytorch1, pytorch2 } from "./interop.js";
import { throwsCode } from "./throws.js";
import { epochOf, keysOf, modelOf, putText, stateOf, textOf } from "./training-states.js";

const RUN = "cgcnn_mp";
const MAE = { metric: "val_mae", mode: "min" } as const;
const { NaN: NAN } = Number;
const key = (tag: string | number) => `${RUN}_${typeof tag === "number" ? `epoch${tag}` : tag}.pt`;

const torch2 = pytorch2();
const torch1 = pytorch1();
const scratch = mkdtempSync(join(tmpdir(), "unitcell-stories-"));
test.after(() => rmSync(scratch, { recursive: true }));

/** Epochs 1, 2, ... with these errors. */
async function train(
  maes: readonly (number | undefined)[],
  { store = memoryStore(), ...options }: Partial<RunOptions> & { store?: Store } = {},
): Promise<Store> {
  const manager = new CheckpointManager(store, { run: RUN, ...options });
  for (const [i, mae] of maes.entries())
    await manager.save(stateOf(i + 1, { loss: 1, ...(mae !== undefined && { val_mae: mae }) }));
  await manager.close();
  return store;
}

const open = (store: Store, options: Partial<RunOptions> = {}) =>
  new CheckpointManager(store, { run: RUN, ...options });
const bestEpoch = async (store: Store) => epochOf((await open(store).restore("best")).checkpoint.stateDict);
const checkpoints = async (store: Store) => (await keysOf(store)).filter((name) => name.endsWith(".pt"));

/** What PyTorch itself saved of a small training, and the model it ended with when it went on. */
let theirTraining: { bytes: Uint8Array; end: string[] } | undefined;
function trainedByTorch(): { bytes: Uint8Array; end: string[] } {
  if (!theirTraining) {
    const file = join(scratch, "theirs.pt");
    const end = torch2!.run<string[]>("train", file);
    theirTraining = { bytes: new Uint8Array(readFileSync(file)), end };
  }
  return theirTraining;
}

/** A store whose disk is full while `full` is true: nothing of any length can be written. */
function disk(): { store: Store; inner: Store; full: boolean } {
  const inner = memoryStore();
  const self = {
    inner,
    full: false,
    store: {
      ...inner,
      async put(name, content, options) {
        const isEmpty = typeof content !== "function" && content.length === 0;
        if (self.full && !isEmpty) throw new UnitcellError("BACKEND", "no space left on device");
        return inner.put(name, content, options);
      },
    } as Store,
  };
  return self;
}

/** Cuts a file, as a power failure in the middle of torch.save does. */
async function cut(store: Store, name: string, share: number): Promise<void> {
  const bytes = (await readFile(store, name))!;
  await store.put(name, bytes.slice(0, Math.floor(bytes.length * share)));
}

test("Lightning, HF Trainer: the best checkpoint is deleted by rotation", async () => {
  const store = await train([0.5, 0.1, 0.4, 0.3, 0.2], { retention: keepLatest(2) });
  assert.equal(await checkpoints(store), [key("best"), key(4), key(5)]);
  assert.is(await bestEpoch(store), 2);
});

for (const [name, retention] of [
  ["limit 1", keepLatest(1)],
  ["limit 0", keepLatest(0)],
  ["only the best", keepTagged("best")],
] as const)
  test(`HF Trainer: all checkpoints are deleted by a limit (${name})`, async () => {
    // Nothing is ever better than NaN, so there is no best file to fall back to.
    const store = await train([NAN, NAN, NAN], { retention });
    assert.equal(await checkpoints(store), [key(3)]);
    assert.is((await open(store).resume()).state.epoch, 3);
  });

test("HF Trainer: in a reused folder the old run's checkpoint-500 outlives the new checkpoint-10", async () => {
  const store = memoryStore();
  const old = open(store);
  for (const epoch of [400, 500]) await old.save(stateOf(epoch));
  await old.close();
  const manager = open(store, { retention: keepLatest(1) });
  // Begun by mistake with the old name: nothing is written, and nothing deleted.
  const before = await keysOf(store);
  await throwsCode(() => manager.save(stateOf(1)), "ARGUMENT", /has checkpoints already/);
  assert.equal(await keysOf(store), before);
  // On purpose: the old ones are out of the way of counting, and can be had back.
  await manager.begin({ existing: "trash" });
  for (let epoch = 1; epoch <= 3; epoch++) await manager.save(stateOf(epoch));
  assert.equal(await checkpoints(store), [key("best"), key(3)]);
  assert.is((await manager.restore("latest")).info.epoch, 3);
  assert.is((await listTrash(store))[0].files.length, 3);
  await manager.close();
});

test("HF Trainer: another run in the same folder counts for itself", async () => {
  const store = await train([1, 2, 3, 4]);
  const other = new CheckpointManager(store, { run: "alignn_mp", retention: keepLatest(1) });
  for (const epoch of [1, 2]) await other.save(stateOf(epoch));
  await other.close();
  assert.equal(
    (await checkpoints(store)).filter((name) => name.startsWith("cgcnn")),
    [key("best"), key(1), key(2), key(3), key(4)],
  );
});

for (const share of [0, 0.1, 0.5, 0.9, 0.999])
  test(`PyTorch: a file cut at ${share} of its length is not what training goes on with`, async () => {
    const store = await train([0.3, 0.2, 0.1]);
    await cut(store, key(3), share);
    await cut(store, key("best"), share);
    const manager = open(store);
    await throwsCode(() => manager.restore({ epoch: 3 }), "CORRUPT", /cgcnn_mp_epoch3\.pt/);
    const { info, skipped } = await manager.restore("latest");
    assert.is(info.key, key(2));
    assert.ok(skipped.every(({ problem }) => problem?.startsWith("CORRUPT: ")));

    const resumed = await manager.resume();
    assert.is(resumed.state.epoch, 2);
    assert.ok(resumed.notes.some((note) => note.startsWith(`${key(3)} does not load, ${key(2)} was taken instead`)));
    assert.ok(
      resumed.notes.some((note) => note.includes(`${key(2)} is the best that loads`)),
      "and the best is put right",
    );
    assert.equal(resumed.best, { epoch: 2, value: 0.2 });
    assert.is(await bestEpoch(store), 2);
    const { notes } = await manager.save(stateOf(3, { val_mae: 0.15 }));
    assert.ok(notes.some((note) => note.includes("in the trash") && note.includes(key(3))));
    assert.is((await manager.restore("latest")).info.epoch, 3);
    await manager.close();
  });

if (torch2)
  test("PyTorch: a file of torch.save itself, cut anywhere, is passed over; prune does not delete the valid one behind it", async () => {
    const { bytes } = trainedByTorch();
    for (let i = 0; i < 20; i++) {
      const store = memoryStore();
      await store.put("net_epoch1.pt", bytes);
      await store.put("net_epoch2.pt", bytes.subarray(0, Math.floor((bytes.length * i) / 20)));
      const manager = new CheckpointManager(store, { run: "net" });
      const plan = await manager.planPrune(keepLatest(1));
      assert.equal(
        [plan.keep.map((info) => info.key), plan.remove.map((info) => info.key)],
        [["net_epoch1.pt"], ["net_epoch2.pt"]],
        `cut at ${i}/20`,
      );
      const { state, notes } = await manager.resume("latest", { without: ["rng", "epoch"] });
      assert.is(state.epoch, 1);
      assert.is(notes.length, 1);
      await manager.close();
    }
  });

test("PyTorch: latest=1 does not delete the last valid checkpoint behind a broken one", async () => {
  // The history tells the metrics, so that nothing opens the files but the plan itself.
  const store = await train([NAN, NAN, NAN]);
  await cut(store, key(3), 0.7);
  const plan = await open(store).planPrune(keepLatest(1));
  await pruneStore(store, plan);
  assert.equal(await checkpoints(store), [key(2)]);
  // With several runs, each is looked at.
  assert.equal((await planStorePrune(store, keepLatest(0))).remove, []);
});

test("PyTorch: a run of which nothing loads is left as it is", async () => {
  const store = await train([NAN, NAN]);
  for (const epoch of [1, 2]) await cut(store, key(epoch), 0.5);
  assert.equal((await open(store).planPrune(keepLatest(0))).remove, []);
  await throwsCode(() => open(store).resume(), "CORRUPT", /no checkpoint loads .*epoch2.*epoch1/);
});

test("Lightning: top-k is forgotten on resume", async () => {
  const retention = keepBest(2, MAE);
  const store = await train([0.1, 0.2, 0.3], { retention });
  assert.equal(await checkpoints(store), [key("best"), key(1), key(2)]);
  const manager = open(store, { retention });
  const { top, best } = await manager.resume();
  assert.equal([top.map(({ epoch }) => epoch), best], [[1, 2], { epoch: 1, value: 0.1 }]);
  for (const [i, val_mae] of [0.9, 0.15, 0.8].entries()) await manager.save(stateOf(3 + i, { val_mae }));
  assert.equal(await checkpoints(store), [key("best"), key(1), key(4)]);
  assert.is(await bestEpoch(store), 1, "the best is still that of the first session");
  await manager.close();
});

test("Ignite: a resumed training takes its first epoch for the best", async () => {
  const store = await train([0.1, 0.5]);
  const manager = open(store);
  await manager.resume();
  assert.is((await manager.save(stateOf(3, { val_mae: 0.4 }))).best, false);
  assert.is(await bestEpoch(store), 1);
  await manager.close();
});

if (torch2)
  test("YOLO: only `best` fails to load with weights_only, for its metric is numpy's", async () => {
    const [{ file }] = torch2.run<{ file: string }[]>(
      "pickles",
      `{"epoch": 3, "state_dict": OrderedDict(w=torch.ones(2)), "optimizer": None, "scheduler": None, "rng_state": None,
        "best_mae_error": torch.tensor(0.25, dtype=torch.float64).numpy()[()],
        "log": {"mae": [torch.tensor(1.0).numpy()[()], 2.0], "n": torch.tensor(7).numpy()[()]}}`,
    );
    const theirs = join(scratch, "best.pt");
    writeFileSync(theirs, Buffer.from(file, "hex"));
    const [refused] = torch2.run<Record<string, { k: string; message: string }>[]>("describe", "weights_only", theirs);
    assert.is(refused.weights_only.k, "error");
    assert.match(refused.weights_only.message, /Weights only load failed/);

    const store = memoryStore();
    await store.put("theirs_best.pt", readFileSync(theirs));
    const manager = open(store);
    const { state } = await manager.resume("best", { from: "theirs" });
    assert.is(state.metrics.best_mae_error, 0.25);
    const { notes, written } = await manager.save({ ...state, metrics: { val_mae: 0.25, ...state.metrics } });
    assert.equal([notes, written], [[], [key(3), key("best")]]);
    const ours = join(scratch, "ours.pt");
    writeFileSync(ours, (await readFile(store, key("best")))!);
    await manager.close();
    const [read] = torch2.run<Record<string, { k: string }>[]>("describe", "weights_only", ours);
    assert.is(read.weights_only.k, "dict");
    const isSame = `lambda c: c["epoch"] == 3 and type(c["best_mae_error"]) is float and c["best_mae_error"] == 0.25
      and c["log"] == {"mae": [1.0, 2.0], "n": 7} and type(c["log"]["n"]) is int and type(c["log"]["mae"][0]) is float
      and c["state_dict"]["w"].tolist() == [1, 1]`.replaceAll("\n", " ");
    for (const torch of [torch1, torch2])
      if (torch) assert.equal(torch.run("check", ours, isSame), [true], `torch ${torch.version}`);
  });

if (torch2)
  test("PyTorch: a training that went through the manager ends where it would have without", async () => {
    const { bytes, end } = trainedByTorch();
    const store = memoryStore();
    await store.put("net_epoch5.pt", bytes);
    const manager = new CheckpointManager(store, { run: "ours" });
    const { state } = await manager.resume("latest", { from: "net", without: ["rng"] });
    // torch's side of this test looks for the model under its own key.
    const extra = new Map([["model", state.stateDict as unknown as TorchValue]]);
    await manager.save({ ...state, extra, metrics: { val_mae: 1 } });
    const ours = join(scratch, "ours5.pt");
    writeFileSync(ours, (await readFile(store, "ours_epoch5.pt"))!);
    await manager.close();
    assert.equal(torch2.run<string[]>("resume", ours), end);
  });

test("everyone: the disk is full", async () => {
  const device = disk();
  const { store, inner } = device;
  const manager = open(store);
  for (const epoch of [1, 2, 3]) await manager.save(stateOf(epoch));
  const before = new Map<string, string>();
  for await (const { key: name, version } of inner.list()) before.set(name, version);
  device.full = true;
  await throwsCode(() => manager.save(stateOf(4)), "BACKEND", /no space left/);
  const after = new Map<string, string>();
  for await (const { key: name, version } of inner.list()) after.set(name, version);
  assert.equal(after, before, "all former files are as they were");
  assert.is((await manager.restore("latest")).info.epoch, 3);

  // Space is made with the same tool, although it cannot write a word.
  const { removed } = await pruneStore(store, await planStorePrune(store, keepLatest(1)));
  assert.equal(
    removed.map((info) => info.key),
    [key(1), key(2)],
  );
  device.full = false;
  const saved = await manager.save(stateOf(4));
  assert.equal([saved.written, saved.best], [[key(4), key("best")], true]);
  const { history } = (await manager.history())!;
  assert.equal(
    history!.map(({ epoch }) => epoch),
    [1, 2, 3, 4],
  );
  await manager.close();
});

test("everyone: the disk fills up between the epoch's file and the best one", async () => {
  const device = disk();
  const store: Store = {
    ...device.store,
    put: async (name, content, options) => {
      if (name === key("best") && (await readFile(device.inner, key(2)))) device.full = true;
      return device.store.put(name, content, options);
    },
  };
  const first = open(store);
  await first.save(stateOf(1, { val_mae: 0.5 }));
  await throwsCode(() => first.save(stateOf(2, { val_mae: 0.1 })), "BACKEND");
  await first.close();
  // On the full disk it goes on all the same, and says what it could not do.
  const second = open(device.store);
  const resumed = await second.resume();
  assert.equal([resumed.state.epoch, resumed.best], [2, { epoch: 1, value: 0.5 }]);
  assert.match(resumed.notes.join(), /best file is not so good, and could not be put right: BACKEND/);
  await second.close();
  device.full = false;
  const third = open(device.store);
  assert.equal((await third.resume()).best, { epoch: 2, value: 0.1 });
  assert.is(await bestEpoch(device.store), 2);
  assert.is((await third.save(stateOf(3, { val_mae: 0.3 }))).best, false);
  await third.close();
});

test("Lightning: a NaN metric becomes the best, and nothing is ever better", async () => {
  const store = await train([NAN, 0.5, NAN, 0.4]);
  assert.is(await bestEpoch(store), 4);
  const max = await train([0.5, NAN, 0.4], { mode: "max" });
  assert.is(epochOf((await open(max, { mode: "max" }).restore("best")).checkpoint.stateDict), 1);
});

test("Lightning: the metric is missing in some epochs", async () => {
  const store = memoryStore();
  const manager = open(store, { retention: keepBest(1, MAE) });
  await manager.save(stateOf(1, { val_mae: 0.5 }));
  const { notes, best, written } = await manager.save(stateOf(2, { train_loss: 1 }));
  assert.equal([best, written], [false, [key(2)]]);
  assert.match(notes.join(), /no val_mae among the metrics \(train_loss\)/);
  await manager.save(stateOf(3, { val_mae: 0.6 }));
  // Of epoch 2 nobody knows, so it stays.
  assert.equal(await checkpoints(store), [key("best"), key(1), key(2)]);
  await manager.close();
});

test("CGCNN: resume silently restarts the learning rate schedule", async () => {
  const store = memoryStore();
  const { optimizer } = stateOf(7);
  const theirs = new Map<TorchValue, TorchValue>([
    ["epoch", 7],
    ["state_dict", modelOf(7) as unknown as TorchValue],
    ["optimizer", optimizer],
    ["rng_state", null],
  ]);
  await store.put("checkpoint.pth.tar", saveTorch(theirs));
  const manager = open(store);
  await throwsCode(() => manager.resume("latest", { from: "." }), "MISMATCH", {
    message: /^checkpoint\.pth\.tar is not enough to resume from: it has no scheduler;/,
    check: ({ detail }) => assert.equal(detail.missing, ["scheduler"]),
  });
  // A training that has none says so when it saves, and is not asked again.
  const resumed = await manager.resume("latest", { from: ".", without: ["scheduler"] });
  await manager.save({ ...resumed.state, epoch: 8 });
  await manager.close();
  assert.is((await manager.resume()).state.scheduler, null);
  await manager.close();
});

test("everyone: resumed from epoch 2, and the old later epochs shadow the new ones", async () => {
  const store = await train([0.5, 0.4, 0.2, 0.1, 0.3]);
  const manager = open(store);
  const resumed = await manager.resume({ epoch: 2 });
  assert.equal(
    resumed.history.map(({ epoch }) => epoch),
    [1, 2],
  );
  const saved = await manager.save(stateOf(3, { val_mae: 0.35 }));
  assert.match(saved.notes.join(), /in the trash as batch 000001: .*epoch3.*epoch4.*epoch5/);
  assert.equal(await checkpoints(store), [key("best"), key(1), key(2), key(3)]);
  const { info, checkpoint } = await manager.restore("latest");
  assert.equal([info.epoch, checkpoint.metrics?.val_mae], [3, 0.35], "and not the best file, of the other branch");
  assert.is(await bestEpoch(store), 4, "which stays the best: that of the old epoch 4");
  assert.is((await open(store).restore("best")).checkpoint.metrics?.val_mae, 0.1);
  assert.equal((await manager.history())!.epochs, 3);
  await manager.close();
  await throwsCode(() => undoRemoval(store), "MISMATCH", /epoch3/);
});

test("everyone: killed between the new epoch's file and the history, which still tells of the old one", async () => {
  const store = await train([0.5, 0.4, 0.1]);
  let writes = 0;
  const dying: Store = {
    ...store,
    async put(name, content, options) {
      // The first time it is written is when the old branch is given up.
      if (name === "training_history.json" && ++writes === 2) throw new Error("killed");
      return store.put(name, content, options);
    },
  };
  const manager = open(dying);
  await manager.resume({ epoch: 1 });
  await manager.save(stateOf(2, { val_mae: 0.9 })).then(
    () => assert.unreachable(),
    (error) => assert.is(error.message, "killed"),
  );
  await manager.close();
  const plan = await open(store).planPrune(keepBest(1, MAE));
  assert.equal(
    plan.keep.filter(({ tag }) => tag === "epoch").map(({ epoch, metrics }) => [epoch, metrics?.val_mae]),
    [[1, 0.5]],
    "epoch 2 is judged by its own 0.9, not by the 0.4 of the one before it",
  );
});

test("Orbax: a pinned checkpoint is in the way of going back, and stays", async () => {
  const store = await train([3, 2, 1]);
  await pinCheckpoint(store, key(3));
  const manager = open(store);
  await throwsCode(() => manager.resume({ epoch: 1 }), "ARGUMENT", /cgcnn_mp_epoch3\.pt is pinned/);
  const plan = await manager.planPrune(keepLatest(0));
  assert.equal(
    plan.keep.map((info) => `${info.key}: ${info.because}`),
    [`${key("best")}: best`, `${key(3)}: pinned`],
  );
  await unpinCheckpoint(store, key(3));
  await throwsCode(() => manager.prune(plan), "MISMATCH", /epoch3\.pt is no longer pinned now; make a new plan/);
  await throwsCode(() => unpinCheckpoint(store, key(3)), "NOT_FOUND");
  await throwsCode(() => pinCheckpoint(store, key(9)), "NOT_FOUND");
});

test("everyone: two trainings write the same run", async () => {
  const store = memoryStore();
  const first = open(store);
  await first.save(stateOf(1));
  const second = open(store);
  for (const call of [() => second.begin(), () => second.resume(), () => second.save(stateOf(1))])
    await throwsCode(call, "BACKEND", /run "cgcnn_mp" is being written by another writer \(.+, since \d{4}-/);
  assert.is((await second.restore("latest")).info.epoch, 1, "looking on is free");
  await first.close();
  assert.is((await second.resume()).state.epoch, 1);
  await second.close();
});

test("everyone: a suspended training wakes up when another has taken over", async () => {
  const inner = memoryStore();
  const dead = new Set<string>();
  const as = (self: string): Store => ({
    ...inner,
    liveness: { self, isAlive: async (writer) => !dead.has(writer) },
  });
  const first = open(as("first"));
  await first.save(stateOf(1));
  dead.add("first");
  const second = open(as("second"));
  await second.resume();
  await second.save(stateOf(2, { val_mae: 0.1 }));
  dead.clear();
  await throwsCode(() => first.save(stateOf(2, { val_mae: 0.9 })), "BACKEND", /run "cgcnn_mp" was taken over/);
  assert.is((await second.restore("latest")).checkpoint.metrics?.val_mae, 0.1);
  await second.close();
  // It knows how to go on.
  await first.close();
  assert.is((await first.resume()).state.metrics.val_mae, 0.1);
  await first.close();
});

test("everyone: training_history.json is cut in the middle", async () => {
  const store = await train([0.5, 0.4]);
  const text = await textOf(store, "training_history.json");
  await putText(store, "training_history.json", text.slice(0, text.length / 2));
  const manager = open(store);
  assert.is((await manager.list()).length, 3, "the files are there all the same");
  const resumed = await manager.resume();
  assert.equal(
    resumed.history.map(({ val_mae }) => val_mae),
    [0.5, 0.4],
    "every checkpoint holds the history",
  );
  const { notes } = await manager.save(stateOf(3));
  assert.match(notes.join(), /could not be read; it is training_history\.json\.unreadable1 now/);
  assert.is(await textOf(store, "training_history.json.unreadable1"), text.slice(0, text.length / 2));
  assert.is((await manager.history())!.history!.length, 3);
  await manager.close();
});

test("everyone: the list of pins is broken, and what may go is not known", async () => {
  const store = await train([0.5, 0.4]);
  const plan = await open(store).planPrune(keepLatest(1));
  await putText(store, ".unitcell/pins.json", '{"pins": ["cgcnn_mp_ep');
  await throwsCode(() => planStorePrune(store, keepLatest(1)), "CORRUPT", /pins\.json/);
  await throwsCode(() => pruneStore(store, plan), "CORRUPT", /pins\.json/);
  await throwsCode(() => pinCheckpoint(store, key(1)), "CORRUPT");
  assert.is((await checkpoints(store)).length, 3);
  assert.is((await open(store).restore("latest")).info.epoch, 2, "reading goes on");
});

test("everyone: the list of pins breaks while a training runs", async () => {
  const store = memoryStore();
  const manager = open(store, { retention: keepLatest(1) });
  await manager.save(stateOf(1));
  await putText(store, ".unitcell/pins.json", "[]");
  const { written, removed, notes } = await manager.save(stateOf(2));
  assert.equal([written, removed], [[key(2), key("best")], []]);
  assert.match(notes.join(), /old checkpoints could not be removed: CORRUPT: .*pins\.json/);
  await manager.close();
});

test("everyone: the folder has changed since the plan was shown", async () => {
  const store = await train([3, 2, 1]);
  const plan = await planStorePrune(store, keepLatest(1));
  await store.put(key(1), (await readFile(store, key(2)))!);
  await store.delete(key(2));
  await store.put(key(7), (await readFile(store, key(3)))!);
  await throwsCode(() => pruneStore(store, plan), "MISMATCH", {
    message: /epoch1\.pt is another file now, .*epoch7\.pt is new, .*epoch2\.pt is gone; make a new plan/,
  });
  assert.is((await listCheckpoints(store)).length, 4);
});

test("everyone: removed to the trash, and wanted back", async () => {
  const store = await train([3, 2, 1]);
  const plan = await planStorePrune(store, keepLatest(1));
  const { batch, bytesFreed } = await pruneStore(store, plan, { trash: true });
  assert.equal([batch, bytesFreed], ["000001", 0]);
  assert.equal(await checkpoints(store), [key("best"), key(3)]);
  assert.equal(
    (await undoRemoval(store)).files.map((file) => file.key),
    [key(1), key(2)],
  );
  assert.equal(await checkpoints(store), [key("best"), key(1), key(2), key(3)]);
  await throwsCode(() => undoRemoval(store), "NOT_FOUND", /empty/);
});

test("everyone: a file of the branch given up is deleted by hand before the next save", async () => {
  const store = await train([3, 2, 1]);
  const manager = open(store);
  await manager.resume({ epoch: 1 });
  await store.delete(key(2));
  await manager.save(stateOf(2, { val_mae: 2 }));
  assert.equal(await checkpoints(store), [key("best"), key(1), key(2)]);
  await manager.close();
});

test("CGCNN: a best file of which nobody knows how good it is, under another program's name", async () => {
  const store = memoryStore();
  const plain = saveTorch(modelOf(40) as unknown as TorchValue);
  await store.put("mine/model_best.pth.tar", plain);
  await store.put("mine_epoch3.pt", saveTorch(new Map([["state_dict", modelOf(3) as unknown as TorchValue]])));
  const manager = new CheckpointManager(store, { run: "mine" });
  const { notes } = await manager.resume({ epoch: 3 }, { without: ["optimizer", "scheduler", "rng"] });
  assert.match(notes.join(), /how good mine\/model_best\.pth\.tar is, is not known/);
  await manager.save(stateOf(4, { val_mae: NAN }));
  assert.ok((await keysOf(store)).includes("mine/model_best.pth.tar"), "until there is a better one");
  const saved = await manager.save(stateOf(5, { val_mae: 0.5 }));
  assert.match(saved.notes.join(), /in the trash.*mine\/model_best\.pth\.tar/);
  assert.is(epochOf((await manager.restore("best")).checkpoint.stateDict), 5);
  await manager.close();
});

for (const [name, retention] of [
  ["where an epoch is better by that", undefined],
  ["where only the next is better by that", keepLatest(1)],
] as const)
  test(`everyone: gone on with in the wrong mode, and the best file is not lost for good (${name})`, async () => {
    const store = memoryStore();
    const accuracy = (mode: "min" | "max") =>
      new CheckpointManager(store, { run: RUN, metric: "acc", mode, ...(retention && { retention }) });
    const right = accuracy("max");
    for (const [i, acc] of [0.7, 0.9, 0.9].entries()) await right.save(stateOf(i + 1, { acc }));
    await right.close();
    const wrong = accuracy("min");
    const { notes } = await wrong.resume();
    assert.match(notes[0], /cgcnn_mp_best\.pt is the best by acc \(max\), not by acc \(min\)/);
    const saved = await wrong.save(stateOf(4, { acc: 0.6 }));
    await wrong.close();
    assert.is(await bestEpoch(store), 4);
    assert.match([...notes, ...saved.notes].join(), /in the trash as batch 000001: cgcnn_mp_best\.pt/);
    await store.delete(key("best"));
    await undoRemoval(store, "000001");
    assert.is(await bestEpoch(store), 2);
  });

test("everyone: a best file lost by hand is made anew from the best epoch", async () => {
  const store = await train([0.5, 0.1, 0.4]);
  await store.delete(key("best"));
  const manager = open(store);
  const { best, notes } = await manager.resume();
  assert.equal(best, { epoch: 2, value: 0.1 });
  assert.match(notes.join(), /the best file is missing; cgcnn_mp_epoch2\.pt is the best that loads/);
  assert.is(await bestEpoch(store), 2);
  await manager.close();
});

test("everyone: metrics that a program calls by the names of Python's own attributes", async () => {
  const store = memoryStore();
  const metrics = Object.fromEntries([
    ["__proto__", 1],
    ["constructor", 2],
    ["epoch", 3],
    ["val_mae", 0.5],
  ]);
  const manager = open(store);
  await manager.save({ ...stateOf(1), metrics } as TrainingState);
  await manager.save(stateOf(2, { val_mae: 0.6 }));
  assert.equal((await manager.resume()).history[1], { epoch: 2, val_mae: 0.6 }, "the second has none of them");
  const { state, history } = await manager.resume({ epoch: 1 });
  assert.is(state.metrics.val_mae, 0.5);
  assert.is(state.metrics.constructor, 2);
  assert.equal(Object.entries(history[0]).sort(), Object.entries({ ...metrics, epoch: 1 }).sort());
  await manager.close();
});

test.run();
