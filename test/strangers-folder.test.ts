/** A folder from a stranger: what lies beside the checkpoints costs no more than its size, and every error is ours. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { Float, type TorchValue } from "../src/formats/values.js";
import { listCheckpoints } from "../src/runs/listing.js";
import { CheckpointManager } from "../src/runs/manager.js";
import { pinCheckpoint } from "../src/runs/pins.js";
import { planStorePrune, pruneStore } from "../src/runs/prune.js";
import { parsePythonJson } from "../src/runs/python-json.js";
import { keepLatest } from "../src/runs/retention.js";
import { listTrash, undoRemoval } from "../src/runs/trash.js";
import { memoryStore } from "../src/stores/memory.js";
import { readFile, type Store } from "../src/stores/store.js";
import { trained } from "./folders.js";
import { throwsCode } from "./throws.js";
import { putText, stateOf } from "./training-states.js";

/** Far above what any of it takes, far below what it took. */
const MOST_MS = 5_000;

async function folder(files: Readonly<Record<string, string>>): Promise<Store> {
  const store = memoryStore();
  for (const epoch of [1, 2]) await store.put(`r_epoch${epoch}.pt`, trained(epoch));
  for (const [key, text] of Object.entries(files)) await putText(store, key, text);
  return store;
}

async function inTime<T>(work: () => T | Promise<T>): Promise<T> {
  const start = performance.now();
  try {
    return await work();
  } finally {
    assert.ok(performance.now() - start < MOST_MS, `it took ${performance.now() - start} ms`);
  }
}

const bytesOf = (text: string) => new TextEncoder().encode(text);

for (const [name, text, expected] of [
  [
    "words in and beside strings",
    '{"a\\"NaN": [NaN, "NaN", "\\\\", -Infinity]}',
    { 'a"NaN': [Number.NaN, "NaN", "\\", -1 / 0] },
  ],
  ["a string of 15 MB", `["${"x".repeat(15e6)}"]`, ["x".repeat(15e6)]],
  ["a string of 2 million escapes", `["${"\\n".repeat(2e6)}"]`, ["\n".repeat(2e6)]],
  ["escaped quotes and no end", `["${'\\"'.repeat(1e6)}`, undefined],
  ["words outside of everything", "NaN Infinity", undefined],
  ["a million levels", "[".repeat(1e6), undefined],
] as const)
  test(`JSON: ${name}`, () =>
    inTime(async () => {
      const parse = () => parsePythonJson(bytesOf(text), "h.json");
      if (expected === undefined) await throwsCode(parse, "CORRUPT", /h\.json is no JSON/);
      else assert.equal(parse(), expected);
    }));

for (const [name, text] of [
  ["a name that becomes no text", '{"model_name": {"toString": null}, "history": [{"epoch": 1}]}'],
  ["a run that is null", "[null]"],
  ["rows that are none", '{"model_name": "r", "history": [[1], null, 3, {"epoch": 1e308}]}'],
  ["a length and no rows", '{"model_name": "r", "history": {"length": 1e9}}'],
  ["names of JavaScript's own", '{"model_name": "r", "history": [{"epoch": 1, "__proto__": 3, "constructor": 4}]}'],
] as const)
  test(`training_history.json with ${name}: listed, resumed and saved beside`, async () => {
    const store = await folder({ "training_history.json": text });
    assert.is((await listCheckpoints(store)).length, 2);
    const manager = new CheckpointManager(store, { run: "r" });
    await manager.resume();
    await manager.save(stateOf(3));
    await manager.close();
  });

test("ALIGNN's history of many empty columns and one long one is as long as that", async () => {
  const columns = Array.from({ length: 20_000 }, (_, i) => `"c${i}": []`).join();
  const store = memoryStore();
  await store.put("best_model.pt", trained(1));
  await putText(store, "history_val.json", `{${columns}, "loss": [${"1, ".repeat(20_000)}2]}`);
  const found = await inTime(() => new CheckpointManager(store, { run: "." }).history());
  assert.is(found?.epochs, 20_001);
  assert.equal(found?.history?.at(-1), { epoch: 20_001, val_loss: 2 });
});

for (const text of ["null", "3", "[]", "{}", '{"pins": null}', '{"pins": [1]}', "[".repeat(1e5)])
  test(`pins.json that is ${text.slice(0, 15)} is no list of pins`, async () => {
    const store = await folder({ ".unitcell/pins.json": text });
    await throwsCode(() => listCheckpoints(store), "CORRUPT", /pins\.json/);
  });

for (const id of ["9007199254740992", "1e308", "Infinity", "0x10", "zzz"])
  test(`a batch ${id} in the trash is undone, and no place for another`, async () => {
    const store = await folder({ [`.unitcell/trash/${id}/files/r_epoch1.pt`]: "theirs" });
    for (const key of ["r_epoch1.pt", "r_epoch2.pt"])
      await pruneStore(store, await planStorePrune(store, keepLatest(0), { remove: [key] }), { trash: true });
    const batches = new Map((await listTrash(store)).map((batch) => [batch.id, batch.files.map(({ key }) => key)]));
    assert.equal(
      batches,
      new Map([
        ["000001", ["r_epoch1.pt"]],
        ["000002", ["r_epoch2.pt"]],
        [id, ["r_epoch1.pt"]],
      ]),
    );
    await undoRemoval(store, id);
    assert.is((await readFile(store, "r_epoch1.pt"))?.length, "theirs".length);
  });

test("a batch whose manifest is too large to be read is undone", async () => {
  const store = memoryStore();
  await store.put(".unitcell/trash/000001/files/r_best.pt", trained(1));
  await store.put(".unitcell/trash/000001/manifest.json", new Uint8Array(17 * 2 ** 20));
  const { why, files } = await undoRemoval(store);
  assert.equal([why, files.map(({ key }) => key)], ["unknown", ["r_best.pt"]]);
});

for (const name of ["99999999999999999999999", "9007199254740992", "1e5", "-5", "000000000007junk"])
  test(`a file ${name} among the tickets of a lock is none`, async () => {
    const store = await folder({
      [`.unitcell/locks/folder/${name}`]: "{}",
      [`.unitcell/locks/folder/${name}.free`]: "",
    });
    await inTime(async () => {
      for (const epoch of [1, 2]) await pinCheckpoint(store, `r_epoch${epoch}.pt`);
    });
  });

test("a lock whose numbers are used up says so", async () => {
  const store = await folder({ ".unitcell/locks/folder/999999999999.free": "" });
  await throwsCode(() => pinCheckpoint(store, "r_epoch1.pt"), "BACKEND", /no number left/);
});

for (const [name, runs, epochs, broken] of [
  ["five thousand runs", 5000, 2, 0],
  ["a run of three thousand files of which the oldest loads", 1, 3000, 2999],
] as const)
  test(`planning for ${name}`, async () => {
    const store = memoryStore();
    const [good, bad] = [trained(1), trained(1).slice(0, 1000)];
    for (let run = 0; run < runs; run++)
      for (let epoch = 1; epoch <= epochs; epoch++)
        await store.put(`r${run}_epoch${epoch}.pt`, epoch > epochs - broken ? bad : good);
    const { keep, remove } = await inTime(() => planStorePrune(store, keepLatest(1)));
    assert.is(keep.length + remove.length, runs * epochs);
    assert.ok(keep.length === runs && keep.every(({ epoch }) => epoch === epochs - broken), `keeps ${keep.length}`);
  });

/** Twice itself, so many times. */
function doubled(times: number): TorchValue {
  let value: TorchValue = ["lol"];
  for (let i = 0; i < times; i++) value = [value, value];
  return value;
}

test("a value that holds another twice, sixty times over, is resumed and saved", async () => {
  const store = memoryStore();
  await store.put("r_epoch1.pt", trained(1, { laughs: doubled(60) }));
  const manager = new CheckpointManager(store, { run: "r" });
  const { state } = await manager.resume();
  await inTime(() => manager.save({ ...state, epoch: 2 }));
  await manager.close();
});

test("a history whose columns are one list ten thousand times is refused", async () => {
  const column = Array.from({ length: 10_000 }, (_, i) => i);
  const history = new Map<TorchValue, TorchValue>([["epoch", column]]);
  for (const i of column) history.set(`m${i}`, column);
  const record = new Map<TorchValue, TorchValue>([
    ["format", 1],
    ["run", "r"],
    ["metric", "val_mae"],
    ["mode", "min"],
    ["seconds", new Float(1)],
    ["history", history],
  ]);
  const store = memoryStore();
  await store.put("r_epoch1.pt", trained(1, { unitcell: record }));
  await throwsCode(() => inTime(() => new CheckpointManager(store, { run: "r" }).resume()), "LIMIT", /10000 epochs/);
});

test.run();
