/** What is told of a folder's space, on stores in memory. */
import { createHash } from "node:crypto";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { storageReport } from "../src/runs/report.js";
import { anyOf, keepLatest, keepTagged } from "../src/runs/retention.js";
import { moveToTrash } from "../src/runs/trash.js";
import { memoryStore } from "../src/stores/memory.js";
import type { Store } from "../src/stores/store.js";
import { damaged, trained, trainedRun, weights } from "./folders.js";

async function storeOf(...folders: Iterable<[string, Uint8Array]>[]): Promise<Store> {
  const store = memoryStore();
  for (const folder of folders) for (const [key, bytes] of folder) await store.put(key, bytes);
  return store;
}
const sum = (files: Iterable<[string, Uint8Array]>, pattern: RegExp) =>
  [...files].filter(([key]) => pattern.test(key)).reduce((bytes, [, { length }]) => bytes + length, 0);

test("an empty store", async () => {
  const nothing = { files: 0, bytes: 0 };
  assert.equal(await storageReport(memoryStore(), { duplicates: true, broken: true }), {
    checkpoints: nothing,
    byRun: [],
    byTag: {},
    others: nothing,
    trash: nothing,
    notes: nothing,
    duplicates: [],
    broken: [],
  });
});

test("counts and bytes by run and tag; JSON is no checkpoint", async () => {
  const [a, b] = [trainedRun("a"), new Map([["b_best.pt", weights(1)]])];
  const report = await storageReport(await storeOf(a, b));
  assert.equal(report.checkpoints, { files: 8, bytes: sum(a, /pt$/) + sum(b, /pt$/) });
  assert.equal(report.others, { files: 2, bytes: sum(a, /json$/) });
  assert.equal(report.byTag.epoch, { files: 5, bytes: sum(a, /epoch/) });
  assert.equal(report.byTag.best, { files: 2, bytes: sum([...a, ...b], /best/) });
  assert.equal(
    report.byRun.map(({ run, files }) => [run, files]),
    [
      ["a", 7],
      ["b", 1],
    ],
  );
  assert.equal(report.byRun[1].byTag, { best: { files: 1, bytes: sum(b, /pt$/) } });
  assert.is(report.duplicates, undefined);
});

test("one run alone", async () => {
  const store = await storeOf(trainedRun("a"), [["b_best.pt", weights(1)]]);
  const report = await storageReport(store, { run: "b", policy: keepTagged("best") });
  assert.is(report.checkpoints.files, 1);
  assert.equal(
    report.plan?.keep.map(({ key }) => key),
    ["b_best.pt"],
  );
});

const growths: [name: string, sizes: Record<string, number>, expected: unknown][] = [
  ["none without files of epochs", { "a_best.pt": 9 }, undefined],
  ["one epoch tells a size only", { "a_epoch5.pt": 9 }, { bytesPerFile: 9 }],
  [
    "medians, so that one odd file changes nothing",
    { "a_epoch10.pt": 100, "a_epoch20.pt": 100, "a_epoch30.pt": 9000, "a_epoch95.pt": 100 },
    { bytesPerFile: 100, epochsPerFile: 10, bytesPerEpoch: 10 },
  ],
  [
    "two files of one epoch are no step of 0",
    { "epoch=1-step=9.ckpt": 50, "epoch=1-step=9-v1.ckpt": 50, "epoch=3-step=27.ckpt": 50 },
    { bytesPerFile: 50, epochsPerFile: 2, bytesPerEpoch: 25 },
  ],
];
for (const [name, sizes, expected] of growths)
  test(`growth: ${name}`, async () => {
    const files = Object.entries(sizes).map(([key, size]): [string, Uint8Array] => [key, new Uint8Array(size)]);
    const { byRun } = await storageReport(await storeOf(files));
    assert.equal(byRun[0].growth, expected);
  });

test("duplicates: equal contents only, each set once, what wastes most first", async () => {
  const long = new Uint8Array(300_000).fill(1);
  const changed = long.slice();
  changed[150_000] = 2; // both ends are equal: only the whole tells
  const files: [string, Uint8Array][] = [
    ["a_best.pt", trained(3)],
    ["a_epoch3.pt", trained(3)],
    ["a_epoch4.pt", trained(4)],
    ["b_best.pt", long],
    ["b_epoch1.pt", long],
    ["b_epoch2.pt", changed],
    ["b_final.pt", long],
    ["c_best.pt", new Uint8Array(0)],
    ["c_final.pt", new Uint8Array(0)],
  ];
  const hash = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
  const { duplicates } = await storageReport(await storeOf(files), { duplicates: true });
  const { length } = trained(3);
  assert.equal(duplicates, [
    { sha256: hash(long), size: 300_000, keys: ["b_best.pt", "b_final.pt", "b_epoch1.pt"], wastedBytes: 600_000 },
    { sha256: hash(trained(3)), size: length, keys: ["a_best.pt", "a_epoch3.pt"], wastedBytes: length },
  ]);
});

test("duplicates: files of different ends are not read whole", async () => {
  const store = await storeOf([
    ["a_epoch1.pt", trained(1)],
    ["a_epoch2.pt", trained(2)],
  ]);
  const hash = async () => assert.unreachable("hashed");
  assert.equal((await storageReport(store, { duplicates: true, hash: hash as never })).duplicates, []);
});

test("broken files, each with its reason", async () => {
  const store = await storeOf(trainedRun("a", 4), [["a_epoch6.pt", damaged(trained(6))]]);
  const { broken } = await storageReport(store, { broken: true });
  assert.equal(
    broken?.map(({ key }) => key),
    ["a_epoch6.pt"],
  );
  assert.match(broken?.[0].problem ?? "", /^[A-Z]+: /);
});

test("what a policy would free, and the trash, which is not listed again", async () => {
  const files = trainedRun("a");
  const store = await storeOf(files);
  await moveToTrash(store, ["a_epoch2.pt"], "a test");
  const report = await storageReport(store, { policy: anyOf(keepTagged("best"), keepLatest(1)) });
  assert.equal(report.trash, { files: 1, bytes: files.get("a_epoch2.pt")!.length });
  assert.is(report.notes.files, 1, "the manifest");
  assert.is(report.checkpoints.files, 6);
  assert.equal(
    report.plan?.remove.map(({ key }) => key),
    ["a_epoch4.pt", "a_epoch6.pt", "a_epoch8.pt"],
  );
  assert.is(report.plan?.bytesFreed, sum(files, /epoch[468]/));
});

test.run();
