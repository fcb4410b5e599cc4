/** The manager of a run: what it writes, when, under which names, and that a run goes on as if it had not stopped. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { UnitcellError } from "../src/errors.js";
import { saveTorch } from "../src/formats/torch-save.js";
import { isFloatAt, PythonObject, type TorchValue } from "../src/formats/values.js";
import { modelFromCheckpoint } from "../src/models/from-checkpoint.js";
import { listCheckpoints } from "../src/runs/listing.js";
import { CheckpointManager } from "../src/runs/manager.js";
import { pinCheckpoint, unpinCheckpoint } from "../src/runs/pins.js";
import { planStorePrune } from "../src/runs/prune.js";
import { parsePythonJson } from "../src/runs/python-json.js";
import { openCheckpoint } from "../src/runs/restore.js";
import { anyOf, keepBest, keepLatest, type RetentionPolicy } from "../src/runs/retention.js";
import { restoreCheckpoint } from "../src/runs/run-files.js";
import { listTrash, undoRemoval } from "../src/runs/trash.js";
import { memoryStore } from "../src/stores/memory.js";
import { type ReadStore, readFile, type Store } from "../src/stores/store.js";
import type { Tensor } from "../src/tensor.js";
import { fixtureBytes, haveFixtures } from "./fixtures.js";
import { throwsCode } from "./throws.js";
import { epochOf, keysOf, modelOf, putText, rngState, stateOf, tensorOf, textOf } from "./training-states.js";

const RUN = "cgcnn_mp";
const { NaN: NAN } = Number;

async function trained(maes: readonly number[], store = memoryStore()): Promise<Store> {
  const manager = new CheckpointManager(store, { run: RUN });
  for (const [i, mae] of maes.entries()) await manager.save(stateOf(i + 1, { train_loss: 1, val_mae: mae }));
  await manager.close();
  return store;
}

test("files are called as saved_models/README.md says", async () => {
  const store = memoryStore();
  const manager = new CheckpointManager(store, { run: RUN });
  const first = await manager.save(stateOf(1, { val_mae: 0.3 }));
  assert.equal(first, { written: [`${RUN}_epoch1.pt`, `${RUN}_best.pt`], best: true, removed: [], notes: [] });
  const second = await manager.save(stateOf(2, { val_mae: 0.4 }));
  assert.equal([second.written, second.best], [[`${RUN}_epoch2.pt`], false]);
  const last = await manager.saveFinal(stateOf(2, { val_mae: 0.4 }));
  assert.equal([last.written, last.best], [[`${RUN}_final.pt`], false]);
  await manager.setMetadata({ model_type: "cgcnn" });
  assert.equal(await keysOf(store), [
    `${RUN}_best.pt`,
    `${RUN}_epoch1.pt`,
    `${RUN}_epoch2.pt`,
    `${RUN}_final.pt`,
    `${RUN}_metadata.json`,
    "training_history.json",
  ]);
  assert.equal(
    (await manager.list()).map(({ tag, epoch, metrics }) => [tag, epoch, metrics?.val_mae]),
    [
      ["best", undefined, undefined],
      ["final", undefined, undefined],
      ["epoch", 1, 0.3],
      ["epoch", 2, 0.4],
    ],
  );
  await manager.close();
});

test("every third epoch, and the best whatever its number", async () => {
  const manager = new CheckpointManager(memoryStore(), { run: RUN, every: 3 });
  const written: string[] = [];
  for (const [i, val_mae] of [5, 4, 6, 7, 3, 9].entries())
    written.push((await manager.save(stateOf(i + 1, { val_mae }))).written.join(" ").replaceAll(`${RUN}_`, ""));
  assert.equal(written, ["best.pt", "best.pt", "epoch3.pt", "", "best.pt", "epoch6.pt"]);
  assert.is(epochOf((await manager.restore("best")).checkpoint.stateDict), 5);
  await manager.close();
});

test("no epoch file sooner than so many seconds after the last", async () => {
  const manager = new CheckpointManager(memoryStore(), { run: RUN, seconds: 1 });
  const written = async (epoch: number) => (await manager.save(stateOf(epoch, {}))).written.length;
  assert.is(await written(1), 1, "the first is due");
  assert.is(await written(2), 0);
  await new Promise((resolve) => setTimeout(resolve, 1050));
  assert.is(await written(3), 1);
  assert.is(await written(4), 0);
  await manager.close();
});

test("max: the highest accuracy is the best", async () => {
  const store = memoryStore();
  const manager = new CheckpointManager(store, { run: RUN, metric: "val_auc", mode: "max" });
  for (const [i, val_auc] of [0.5, 0.9, 0.7].entries()) await manager.save(stateOf(i + 1, { val_auc }));
  assert.is(epochOf((await manager.restore("best")).checkpoint.stateDict), 2);
  const history = JSON.parse(await textOf(store, "training_history.json"));
  assert.equal([history.best_val_auc, history.best_epoch], [0.9, 2]);
  await manager.close();
});

for (const [name, options] of [
  ["no run", { run: "" }],
  ["mode", { run: RUN, mode: "lowest" as "min" }],
  ["every 0", { run: RUN, every: 0 }],
  ["seconds -1", { run: RUN, seconds: -1 }],
  ["seconds NaN", { run: RUN, seconds: NAN }],
] as const)
  test(`refused option: ${name}`, () => throwsCode(() => new CheckpointManager(memoryStore(), options), "ARGUMENT"));

for (const [name, state, message] of [
  ["no optimizer", { ...stateOf(1), optimizer: undefined }, /optimizer/],
  ["no scheduler, no generators", { ...stateOf(1), scheduler: undefined, rng: undefined }, /scheduler, rng/],
  ["no metrics", { ...stateOf(1), metrics: undefined }, /metrics/],
  ["a metric that is a text", stateOf(1, { val_mae: "0.1" as unknown as number }), /val_mae/],
  ["epoch 1.5", { ...stateOf(1), epoch: 1.5 }, /epoch/],
  ["epoch -1", { ...stateOf(1), epoch: -1 }, /epoch/],
  ["another optimizer in extra", { ...stateOf(1), extra: new Map([["optimizer", null]]) }, /extra: .*"optimizer"/],
  ["extra notes of ours", { ...stateOf(1), extra: new Map([["unitcell", null]]) }, /extra: .*"unitcell"/],
] as const)
  test(`a state is refused when it is saved, not when it is needed: ${name}`, async () => {
    const store = memoryStore();
    const manager = new CheckpointManager(store, { run: RUN });
    // biome-ignore lint/suspicious/noExplicitAny: what TypeScript would refuse
    await throwsCode(() => manager.save(state as any), "ARGUMENT", message);
    assert.equal(await keysOf(store), []);
    await manager.close();
  });

test("an epoch before the last is refused", async () => {
  const manager = new CheckpointManager(memoryStore(), { run: RUN });
  await manager.save(stateOf(5));
  await throwsCode(() => manager.save(stateOf(4)), "ARGUMENT", /epoch 4 comes after 5/);
  await manager.close();
});

test("training_history.json: one run is an object, with the keys of the seed document", async () => {
  const store = memoryStore();
  const hyperparameters = { hidden_dim: 128, learning_rate: 0.001 };
  const manager = new CheckpointManager(store, { run: RUN, hyperparameters });
  await manager.save(stateOf(1, { train_loss: 2, val_mae: 0.3 }));
  await manager.save(stateOf(2, { train_loss: 1, val_mae: NAN }));
  await manager.close();
  const text = await textOf(store, "training_history.json");
  assert.is(
    text,
    `{
  "model_name": "cgcnn_mp",
  "epochs": 2,
  "best_val_mae": 0.3,
  "best_epoch": 1,
  "training_time": 0,
  "hyperparameters": {
    "hidden_dim": 128,
    "learning_rate": 0.001
  },
  "history": [
    {"epoch": 1, "train_loss": 2, "val_mae": 0.3},
    {"epoch": 2, "train_loss": 1, "val_mae": NaN}
  ]
}
`,
  );
  const python = "import json, sys; h = json.load(sys.stdin); print(h['epochs'], h['history'][1]['val_mae'])";
  let printed: string;
  try {
    printed = execFileSync("python3", ["-c", python], { input: text, encoding: "utf8" });
  } catch (error) {
    console.log(`skipped: no Python (${(error as Error).message.split("\n")[0]})`);
    return;
  }
  assert.is(printed, "2 nan\n");
});

test("numbers of others in the JSON files are written as they were read", async () => {
  const store = memoryStore();
  const numbers = [
    "123456789012345678901234567890",
    "1.0",
    "-0.0",
    "1e-06",
    "9223372036854775809",
    "NaN",
    "-Infinity",
    "7",
  ];
  const text = (name: string) =>
    `{"model_name": "${name}", "host": [${numbers}], "why": "1.0 NaN", "history": [{"epoch": 1.0}]}`;
  await putText(store, "training_history.json", `[${text("alignn_aflow")}, ${text(RUN)}]`);
  await putText(store, `${RUN}_metadata.json`, text(RUN));
  const manager = new CheckpointManager(store, { run: RUN });
  await manager.save(stateOf(1));
  await manager.setMetadata({ n_train: 5 });
  await manager.close();
  const tokens = (written: string) =>
    [...written.matchAll(/"host": \[([^\]]*)\]/g)].map(([, list]) => list.split(/,\s*/).map((one) => one.trim()));
  assert.equal(tokens(await textOf(store, "training_history.json")), [numbers, numbers]);
  assert.equal(tokens(await textOf(store, `${RUN}_metadata.json`)), [numbers]);
  assert.match(await textOf(store, "training_history.json"), /\{"epoch": 1\.0\}/);
  assert.equal((await manager.metadata())?.history, [{ epoch: 1 }], "and read as numbers");
});

test("the Counter of MultiStepLR is nothing that torch.load refuses", async () => {
  const milestones = new PythonObject("collections.Counter", "reduce", [new Map([[30, 1]])]);
  const manager = new CheckpointManager(memoryStore(), { run: RUN });
  const { notes } = await manager.save({
    ...stateOf(1),
    scheduler: new Map<TorchValue, TorchValue>([["milestones", milestones]]),
  });
  assert.equal(notes, []);
  await manager.close();
});

test("training_history.json: other runs and unknown keys stay as they are, and a list stays a list", async () => {
  const store = memoryStore();
  const other = {
    model_name: "alignn_aflow",
    epochs: 3,
    notes: ["by hand"],
    // Keras' form, and rows with texts: not ours to change.
    history: { loss: [3, 2, 1], val_mae: [0.3, 0.2, NAN] },
  };
  const rows = { model_name: "megnet_oqmd", epochs: 1, history: [{ epoch: 1, lr: "1e-3", deep: { a: 1 } }] };
  const json = (value: unknown) => JSON.stringify(value, (_, item) => (Number.isNaN(item) ? "NAN" : item));
  const own = { model_name: RUN, epochs: 0, host: "studio", best_val_mae: 0.01 };
  await putText(store, "training_history.json", json([other, rows, own]).replaceAll('"NAN"', "NaN"));
  const manager = new CheckpointManager(store, { run: RUN });
  await manager.save(stateOf(1, { val_mae: NAN }));
  const read = async () =>
    parsePythonJson(new TextEncoder().encode(await textOf(store, "training_history.json")), "") as Record<
      string,
      unknown
    >[];
  const [first, second, third] = await read();
  assert.equal([first, second], [other, rows]);
  assert.is(third.host, "studio");
  assert.not("best_val_mae" in third, "what was the best of another training");
  await manager.close();

  // A list of one is a list when it is written again; an object becomes one with the second run.
  await putText(store, "training_history.json", json([own]));
  const again = new CheckpointManager(store, { run: RUN });
  await again.resume();
  await again.save(stateOf(2));
  assert.is((await read()).length, 1);
  await putText(store, "training_history.json", json({ model_name: "x", epochs: 7 }));
  await again.save(stateOf(3));
  assert.equal(
    (await read()).map((run) => run.model_name),
    ["x", RUN],
  );
  await again.close();
});

test("the history of a run in a folder lies in that folder", async () => {
  const store = memoryStore();
  const manager = new CheckpointManager(store, { run: "2026/cgcnn" });
  await manager.save(stateOf(1));
  await manager.close();
  assert.equal(await keysOf(store), ["2026/cgcnn_best.pt", "2026/cgcnn_epoch1.pt", "2026/training_history.json"]);
  assert.is((await manager.history())!.model_name, "cgcnn");
  assert.is((await manager.list()).find(({ tag }) => tag === "epoch")!.metrics!.val_mae, 1);
});

test("metadata is written over what there is, key by key", async () => {
  const store = memoryStore();
  const manager = new CheckpointManager(store, { run: RUN });
  assert.is(await manager.metadata(), undefined);
  await putText(store, `${RUN}_metadata.json`, '{"n_train": 40000, "mine": {"a": [1, NaN]}, "test_mae": 0.5}');
  await manager.setMetadata({ test_mae: 0.285, test_r2: 0.89 });
  assert.equal(await manager.metadata(), { n_train: 40000, mine: { a: [1, NAN] }, test_mae: 0.285, test_r2: 0.89 });
  await putText(store, `${RUN}_metadata.json`, "[1]");
  await throwsCode(() => manager.setMetadata({ n_val: 1 }), "CORRUPT");
  assert.is(await textOf(store, `${RUN}_metadata.json`), "[1]", "what cannot be read is not written over");
});

test("a run goes on with all that it had", async () => {
  const store = memoryStore();
  const first = new CheckpointManager(store, { run: RUN });
  const extra = new Map<string, TorchValue>([["ema", new Map([["decay", 0.999]])]]);
  const more = { normalizer: { mean: -1.5, std: 2 }, args: new Map([["n_conv", 3 as TorchValue]]), extra };
  const maes = [0.3, 0.1, 0.2, 0.4];
  for (const [i, val_mae] of maes.entries()) await first.save(stateOf(i + 1, { train_loss: 4 - i, val_mae }, more));
  await new Promise((resolve) => setTimeout(resolve, 20));
  await first.saveFinal(stateOf(4, { train_loss: 1, val_mae: 0.4 }, more));
  await first.close();

  for (const [which, epoch] of [
    ["best", 2],
    ["latest", 4],
    ["final", 4],
    [{ epoch: 3 }, 3],
  ] as const) {
    const manager = new CheckpointManager(store, { run: RUN });
    const resumed = await manager.resume(which);
    const expected = stateOf(epoch, { train_loss: 5 - epoch, val_mae: maes[epoch - 1] }, more);
    const { state, history, best, top, skipped, notes, seconds } = resumed;
    assert.equal([skipped, notes], [[], []]);
    assert.is(state.epoch, epoch);
    assert.equal(state.metrics, expected.metrics);
    assert.equal([state.normalizer, state.args, state.extra], [more.normalizer, more.args, extra]);
    for (const [name, { data }] of modelOf(epoch)) assert.equal([...state.stateDict.get(name)!.data], [...data]);
    const optimizer = state.optimizer as Map<string, TorchValue>;
    const [group] = optimizer.get("param_groups") as Map<string, TorchValue>[];
    assert.ok(group.get("lr") === 1 && isFloatAt(group, "lr"), "lr 1.0 is a float, as torch had it");
    assert.ok(group.get("weight_decay") === 0 && !isFloatAt(group, "weight_decay"));
    assert.ok(Object.isFrozen(group.get("betas")), "a tuple");
    const moments = (optimizer.get("state") as Map<number, Map<string, TorchValue>>).get(0)!;
    assert.equal([...(moments.get("exp_avg") as Tensor).data], [...tensorOf(epoch, 2).data]);
    assert.is((state.scheduler as Map<string, TorchValue>).get("last_epoch"), epoch);
    const rng = state.rng as { dtype: string; data: Uint8Array };
    assert.equal([rng.dtype, [...rng.data]], ["u8", [...rngState(epoch).data]]);
    assert.equal(
      history.map((row) => [row.epoch, row.train_loss, row.val_mae]),
      maes.slice(0, epoch).map((mae, i) => [i + 1, 4 - i, mae]),
    );
    assert.equal(best, { epoch: 2, value: 0.1 });
    const ranked = [2, 3, 1, 4].filter((n) => n <= epoch);
    assert.equal(
      top.map((info) => info.epoch),
      ranked,
    );
    assert.ok(which === "final" ? seconds > 0.015 && seconds < 5 : seconds >= 0);
    await manager.close();
  }
});

test("the time of training adds up over sessions", async () => {
  const store = memoryStore();
  for (let epoch = 1; epoch <= 3; epoch++) {
    const manager = new CheckpointManager(store, { run: RUN });
    await (epoch === 1 ? manager.begin() : manager.resume());
    await new Promise((resolve) => setTimeout(resolve, 30));
    await manager.save(stateOf(epoch));
    await manager.close();
  }
  const { seconds } = await new CheckpointManager(store, { run: RUN }).resume();
  assert.ok(seconds >= 0.085, `${seconds} s`);
});

test("runs of any name a file can have", async () => {
  const store = memoryStore();
  const names = ["a/b", "a%2Fb", "日本語".repeat(20), "with space", "a'b(c)!~*"];
  const managers = names.map((run) => new CheckpointManager(store, { run }));
  for (const manager of managers) await manager.save(stateOf(1));
  for (const manager of managers) {
    assert.is((await manager.list()).length, 2);
    await manager.close();
  }
  for (const key of await keysOf(store, ".unitcell/locks"))
    for (const part of key.split("/")) assert.ok(new TextEncoder().encode(part).length <= 255, key);
});

test("two names that the store takes for one: the second run is refused", async () => {
  const inner = await trained([3, 2]);
  const folded = (name: string) => name.normalize().toLowerCase();
  const names = new Map<string, string>();
  const spelled = (name: string) => names.get(folded(name)) ?? name;
  const store: Store = {
    ...inner,
    get: (name) => inner.get(spelled(name)),
    put: (name, ...rest) => inner.put(spelled(name), ...rest),
  };
  for await (const { key } of inner.list()) names.set(folded(key), key);
  const loud = new CheckpointManager(store, { run: "CGCNN_MP" });
  await throwsCode(() => loud.begin(), "ARGUMENT", /run "CGCNN_MP" would be those of "cgcnn_mp" here/);
  await throwsCode(() => loud.resume("latest", { from: RUN }), "ARGUMENT", /would be those of "cgcnn_mp"/);
  const distinct = new CheckpointManager(inner, { run: "CGCNN_MP" });
  await distinct.save(stateOf(1));
  await distinct.close();
  assert.is((await listCheckpoints(inner)).filter(({ run }) => run === RUN).length, 3);
});

test("resuming changes nothing until something is saved", async () => {
  const store = await trained([3, 2, 1]);
  const before = await keysOf(store);
  const manager = new CheckpointManager(store, { run: RUN });
  await manager.resume({ epoch: 1 });
  assert.equal(await keysOf(store), before);
  await manager.close();
  assert.is(epochOf((await manager.restore("latest")).checkpoint.stateDict), 3);
});

test("there is nothing to resume, or not that", async () => {
  const store = await trained([1, 2]);
  const manager = new CheckpointManager(store, { run: RUN });
  await throwsCode(() => manager.resume({ epoch: 9 }), "NOT_FOUND", /epoch 9.*cgcnn_mp_epoch1\.pt/);
  await throwsCode(() => manager.resume("final"), "NOT_FOUND", /"final"/);
  await throwsCode(() => new CheckpointManager(store, { run: "new" }).resume(), "NOT_FOUND");
  // A resume that failed leaves the run to others.
  const other = new CheckpointManager(store, { run: RUN });
  await other.resume();
  await other.close();
});

test("what is missing is named, and may be done without", async () => {
  const store = memoryStore();
  await store.put(`${RUN}_epoch3.pt`, saveTorch(new Map([["state_dict", modelOf(3) as unknown as TorchValue]])));
  const manager = new CheckpointManager(store, { run: RUN });
  await throwsCode(() => manager.resume(), "MISMATCH", {
    message: /cgcnn_mp_epoch3\.pt is not enough to resume from: it has no optimizer, no scheduler, no rng;.*without/,
    check: ({ detail }) => assert.equal(detail.missing, ["optimizer", "scheduler", "rng"]),
  });
  await throwsCode(() => manager.resume("latest", { without: ["optimizer", "rng"] }), "MISMATCH", /no scheduler;/);
  const { state } = await manager.resume("latest", { without: ["optimizer", "rng", "scheduler"] });
  assert.equal([state.epoch, state.optimizer, state.scheduler, state.rng], [3, null, null, null]);
  await manager.close();
});

test("going on from another run, under a name of one's own", async () => {
  const store = await trained([3, 1, 2]);
  const manager = new CheckpointManager(store, { run: "fine_tuned" });
  const { state, history } = await manager.resume("best", { from: RUN });
  assert.equal([state.epoch, history.length], [2, 2]);
  await manager.save(stateOf(3, { val_mae: 9 }));
  assert.equal(
    (await manager.list()).map(({ key }) => key),
    ["fine_tuned_best.pt", "fine_tuned_epoch3.pt"],
  );
  await manager.close();
  assert.is((await new CheckpointManager(store, { run: RUN }).list()).length, 4, "the other run has all that it had");
  await throwsCode(() => manager.resume("best", { from: RUN }), "ARGUMENT", /has checkpoints already/);
});

test("a run that was closed is gone on with by resuming it, also where nothing has been written yet", async () => {
  const store = memoryStore();
  const manager = new CheckpointManager(store, { run: RUN, every: 10 });
  await manager.save(stateOf(1, {}));
  await manager.close();
  await throwsCode(() => manager.save(stateOf(2, {})), "ARGUMENT", /"cgcnn_mp" was closed after its last save/);
  assert.is((await manager.history())?.history?.length, 1);
  await manager.begin();
  await manager.save(stateOf(1, {}));
  await manager.close();
});

test("a file that the disk does not give is an error that names the way on", async () => {
  const store = await trained([3, 2, 1]);
  const failing: Store = {
    ...store,
    async get(name) {
      const source = await store.get(name);
      const arrayBuffer = () => Promise.reject(new UnitcellError("BACKEND", "input/output error"));
      return source && name.endsWith("_epoch3.pt") ? { size: source.size, slice: () => ({ arrayBuffer }) } : source;
    },
  };
  const manager = new CheckpointManager(failing, { run: RUN });
  await throwsCode(
    () => manager.resume(),
    "BACKEND",
    /^input.*; if that lasts, ask for another checkpoint by its epoch$/,
  );
  await throwsCode(() => manager.resume({ epoch: 3 }), "BACKEND", /^input\/output error$/);
  assert.is((await manager.resume({ epoch: 2 })).state.epoch, 2);
  await manager.close();
});

test("a run that exists is not begun again, unless its files may go to the trash", async () => {
  const store = await trained([3, 2, 1]);
  const manager = new CheckpointManager(store, { run: RUN });
  await throwsCode(() => manager.begin(), "ARGUMENT", /cgcnn_mp_best\.pt.*resume it, choose another name/);
  await throwsCode(() => manager.save(stateOf(1)), "ARGUMENT", /has checkpoints already/);
  await pinCheckpoint(store, `${RUN}_epoch2.pt`);
  await throwsCode(() => manager.begin({ existing: "trash" }), "ARGUMENT", /cgcnn_mp_epoch2\.pt is pinned/);
  await unpinCheckpoint(store, `${RUN}_epoch2.pt`);
  await manager.begin({ existing: "trash" });
  assert.equal(await manager.list(), []);
  await manager.save(stateOf(1, { val_mae: 9 }));
  assert.is(epochOf((await manager.restore("best")).checkpoint.stateDict), 1, "the best of the new run");
  const [batch] = await listTrash(store);
  assert.equal(
    batch.files.map(({ key }) => key),
    [`${RUN}_best.pt`, `${RUN}_epoch1.pt`, `${RUN}_epoch2.pt`, `${RUN}_epoch3.pt`],
  );
  await throwsCode(() => undoRemoval(store), "MISMATCH", /there again/);
  await manager.close();
});

test("calls that are not waited for are done one after another", async () => {
  const store = memoryStore();
  const manager = new CheckpointManager(store, { run: RUN });
  const saves = [1, 2, 3, 4, 5].map((epoch) => manager.save(stateOf(epoch)));
  const closed = manager.close();
  assert.equal(
    (await Promise.all(saves)).map(({ best }) => best),
    [true, true, true, true, true],
  );
  await closed;
  assert.is((await manager.history())!.epochs, 5);
  // One that fails does not stop those behind it.
  const [bad, good] = await Promise.allSettled([manager.resume({ epoch: 9 }), manager.resume()]);
  assert.equal([bad.status, good.status], ["rejected", "fulfilled"]);
  await manager.close();
});

test("retention removes what it does not keep, after each save", async () => {
  const store = memoryStore();
  const by = { metric: "val_mae", mode: "min" } as const;
  const manager = new CheckpointManager(store, { run: RUN, retention: anyOf(keepLatest(1), keepBest(2, by)) });
  const removed: (readonly string[])[] = [];
  for (const [i, val_mae] of [5, 1, 4, 2, 3].entries())
    removed.push((await manager.save(stateOf(i + 1, { val_mae }))).removed);
  const key = (epoch: number) => `${RUN}_epoch${epoch}.pt`;
  assert.equal(removed, [[], [], [key(1)], [key(3)], []]);
  assert.equal(
    (await manager.list()).map((info) => info.epoch ?? info.tag),
    ["best", 2, 4, 5],
  );
  await manager.close();
});

const BUNDLES = "test/fixtures/bundles";
async function folderOf(files: Readonly<Record<string, string>>): Promise<Store> {
  const store = memoryStore();
  for (const [key, path] of Object.entries(files)) await store.put(key, readFileSync(`${BUNDLES}/${path}`));
  return store;
}

test("a folder that ALIGNN wrote", async () => {
  const store = await folderOf({
    "out/best_model.pt": "alignn/best_model.pt",
    "out/current_model.pt": "alignn/best_model.pt",
    "out/checkpoint_4.pt": "alignn/checkpoint_4.pt",
    "out/config.json": "alignn/config.json",
  });
  const reader = new CheckpointManager(store, { run: "out" });
  assert.equal(
    (await reader.list()).map(({ key, tag, epoch }) => [key, tag, epoch]),
    [
      ["out/best_model.pt", "best", undefined],
      ["out/current_model.pt", "last", undefined],
      ["out/checkpoint_4.pt", "epoch", 4],
    ],
  );
  // As it writes them today: a row of numbers per epoch; and as until 2024: a list per metric.
  await putText(store, "out/history_val.json", "[[0.5, 0.1, 0, 0], [0.25, 0.2, 0, 0]]");
  await putText(store, "out/history_train.json", '{"loss": [3.0, 2.0], "mae": [0.75, NaN]}');
  assert.equal((await reader.history())!.history, [
    {
      epoch: 1,
      val_mae: 0.5,
      val_atomwise_mae: 0.1,
      val_gradient_mae: 0,
      val_stress_mae: 0,
      train_loss: 3,
      train_mae: 0.75,
    },
    {
      epoch: 2,
      val_mae: 0.25,
      val_atomwise_mae: 0.2,
      val_gradient_mae: 0,
      val_stress_mae: 0,
      train_loss: 2,
      train_mae: NAN,
    },
  ]);
  const { checkpoint } = await reader.restore("best");
  assert.is(checkpoint.args?.get("cutoff"), 8, "with the settings beside it");
  const latest = await reader.restore("latest");
  assert.equal([latest.info.key, latest.checkpoint.epoch], ["out/checkpoint_4.pt", 4]);

  // checkpoint_4.pt has an optimizer and a scheduler, and no generators.
  const manager = new CheckpointManager(store, { run: "mine" });
  await throwsCode(() => manager.resume("latest", { from: "out" }), "MISMATCH", /checkpoint_4\.pt.*no rng;/);
  const resumed = await manager.resume("latest", { from: "out", without: ["rng"] });
  assert.is(resumed.state.epoch, 4);
  assert.ok(resumed.state.optimizer instanceof Map && resumed.state.scheduler instanceof Map);
  const saved = await manager.save({ ...resumed.state, epoch: 5, metrics: { val_mae: 0.1 } });
  assert.ok(
    saved.notes.some((note) => note.includes("weights_only=False")),
    "the OneCycleLR brings objects along",
  );
  const again = await openCheckpoint(store, "mine_epoch5.pt");
  assert.is(again.stateDict.size, checkpoint.stateDict.size);
  await manager.close();
});

test("a folder that matgl wrote is one checkpoint", async () => {
  const store = await folderOf({
    "megnet/state.pt": "matgl/state.pt",
    "megnet/model.pt": "matgl/model.pt",
    "megnet/model.json": "matgl/model.json",
  });
  const manager = new CheckpointManager(store, { run: "megnet" });
  assert.equal(
    (await manager.list()).map(({ key, tag }) => [key, tag]),
    [["megnet/state.pt", "final"]],
  );
  const { checkpoint } = await manager.restore("final");
  assert.ok(checkpoint.normalizer && checkpoint.args?.get("cutoff") === 4);
});

test("Lightning's files: epoch and metric by name, -v1 beside the first, the latest by epoch", async () => {
  const store = await folderOf(
    Object.fromEntries(
      ["epoch=2-val_mae=0.5", "epoch=3-val_mae=0.25", "epoch=3-val_mae=0.25-v1", "epoch=10-val_mae=0.75"].map(
        (name) => [`ckpt/${name}.ckpt`, "lightning.ckpt"],
      ),
    ),
  );
  const manager = new CheckpointManager(store, { run: "ckpt" });
  assert.equal(
    (await manager.list()).map(({ epoch, metrics }) => [epoch, metrics?.val_mae]),
    [
      [2, 0.5],
      [3, 0.25],
      [3, 0.25],
      [10, 0.75],
    ],
  );
  assert.is((await manager.restore("latest")).info.epoch, 10);
  assert.is((await manager.restore("best")).info.epoch, 3, "a program that writes epochs only has a best one too");
  const plan = await manager.planPrune(keepBest(1, { metric: "val_mae", mode: "min" }));
  assert.equal(
    plan.keep.map(({ epoch }) => epoch),
    [3],
  );
});

test("a folder of several runs, and folders in it: each by itself", async () => {
  const store = await trained([2, 1]);
  const other = new CheckpointManager(store, { run: "alignn_aflow" });
  await other.save(stateOf(7));
  const deep = new CheckpointManager(store, { run: "old/cgcnn_mp" });
  await deep.save(stateOf(3));
  await store.put("ensemble_predictions.pt", readFileSync(`${BUNDLES}/log.pt`));
  const runs = new Map<string, number>();
  for (const { run } of await listCheckpoints(store)) runs.set(run, (runs.get(run) ?? 0) + 1);
  assert.equal(
    [...runs],
    [
      [".", 1],
      ["alignn_aflow", 2],
      ["cgcnn_mp", 3],
      ["old/cgcnn_mp", 2],
    ],
  );
  assert.is(((await parsed(store)) as unknown[]).length, 2);
  const manager = new CheckpointManager(store, { run: RUN });
  const plan = await manager.planPrune(keepLatest(0));
  assert.equal(
    plan.remove.map(({ key }) => key),
    [`${RUN}_epoch1.pt`, `${RUN}_epoch2.pt`],
  );
  await manager.prune(plan);
  assert.is((await listCheckpoints(store)).length, 6);
  for (const one of [other, deep]) await one.close();
});

async function parsed(store: Store): Promise<unknown> {
  return parsePythonJson(new TextEncoder().encode(await textOf(store, "training_history.json")), "");
}

if (haveFixtures("cgcnn"))
  test("a folder that CGCNN's main.py wrote: listed, opened for predicting, and gone on with", async () => {
    const store = memoryStore();
    const bytes = fixtureBytes("cgcnn/formation-energy-per-atom.full.zip.pt");
    await store.put("checkpoint.pth.tar", bytes);
    await store.put("model_best.pth.tar", fixtureBytes("cgcnn/formation-energy-per-atom.pth.tar"));
    assert.equal(
      (await listCheckpoints(store)).map(({ key, run, tag }) => [key, run, tag]),
      [
        ["checkpoint.pth.tar", ".", "last"],
        ["model_best.pth.tar", ".", "best"],
      ],
    );
    const reader = new CheckpointManager(store, { run: ".", metric: "best_mae_error" });
    const { checkpoint } = await reader.restore("best");
    assert.is(modelFromCheckpoint(checkpoint).config.type, "cgcnn");
    await throwsCode(() => reader.begin(), "ARGUMENT", /name of a run/);

    const manager = new CheckpointManager(store, { run: RUN, metric: "best_mae_error" });
    await throwsCode(() => manager.resume("latest", { from: "." }), "MISMATCH", {
      message: /no scheduler, no rng;/,
    });
    const { state } = await manager.resume("latest", { from: ".", without: ["scheduler", "rng"] });
    assert.ok(state.optimizer instanceof Map && state.normalizer && state.args!.size > 5);
    await manager.save({ ...state, epoch: state.epoch + 1, metrics: { best_mae_error: 0.03 } });
    const again = modelFromCheckpoint((await manager.restore("best")).checkpoint);
    const first = modelFromCheckpoint(checkpoint);
    assert.equal(again.config, first.config);
    await manager.close();
  });

/** A store that can be read, and tells which keys were. */
function readOnly(store: Store): ReadStore & { read: string[] } {
  const read: string[] = [];
  return {
    read,
    list: (folder) => store.list(folder),
    get: (key) => {
      read.push(key);
      return store.get(key);
    },
  };
}

test("a checkpoint of a run is restored from a store that can only be read", async () => {
  const store = readOnly(await trained([0.3, 0.2, 0.4]));
  assert.is((await restoreCheckpoint(store, RUN, "best")).checkpoint.epoch, 2);
  assert.is((await restoreCheckpoint(store, RUN, "latest")).checkpoint.epoch, 3);
  assert.is((await restoreCheckpoint(store, RUN, { epoch: 1 })).info.key, `${RUN}_epoch1.pt`);
  await throwsCode(() => restoreCheckpoint(store, RUN, "final"), "NOT_FOUND", /expected "final"/);
});

test("a plan opens the files whose metric it asks for and nobody wrote down, and no others", async () => {
  const [good, bad] = await Promise.all([0.1, 0.9].map((r2) => modelFile({ val_r2: r2 })));
  const store = memoryStore();
  // Lightning's names tell one metric, and the files two.
  await store.put("epoch=0-val_mae=0.10.ckpt", bad);
  await store.put("epoch=1-val_mae=0.20.ckpt", good);
  await store.put("epoch=2-val_mae=0.30.ckpt", bad);
  const asking = async (policy: RetentionPolicy) => {
    const watched = readOnly(store);
    const { remove } = await planStorePrune(watched, policy);
    const opened = watched.read.filter((key) => key.endsWith(".ckpt"));
    return [remove.map(({ epoch }) => epoch), new Set(opened).size];
  };
  // One that stays is read to its end before anything goes.
  assert.equal(await asking(keepLatest(1)), [[0, 1], 1]);
  assert.equal(await asking(keepBest(1, { metric: "val_mae", mode: "min" })), [[1, 2], 1]);
  assert.equal(await asking(keepBest(1, { metric: "val_r2", mode: "min" })), [[0, 2], 3]);
  assert.is((await restoreCheckpoint(store, ".", "best", { metric: "val_r2" })).info.epoch, 1);
});

async function modelFile(metrics: Readonly<Record<string, number>>): Promise<Uint8Array> {
  const store = memoryStore();
  const manager = new CheckpointManager(store, { run: RUN });
  await manager.saveFinal(stateOf(1, metrics));
  return (await readFile(store, `${RUN}_final.pt`))!;
}

test.run();
