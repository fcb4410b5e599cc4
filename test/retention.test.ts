/** Policies as tables of what is there and what stays; then what no policy can take away. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { CheckpointInfo } from "../src/runs/checkpoint-info.js";
import {
  allOf,
  anyOf,
  keepBest,
  keepEvery,
  keepLatest,
  keepTagged,
  keepWithin,
  keepYoungerThan,
  planPrune,
  type RetentionPolicy,
} from "../src/runs/retention.js";
import { throwsCode } from "./throws.js";

const MAE = { metric: "val_mae", mode: "min" } as const;
const R2 = { metric: "val_r2", mode: "max" } as const;
const NOW = new Date("2026-01-01T00:00:00Z");
const { NaN: NAN, POSITIVE_INFINITY: INF } = Number;

/** An epoch file of 10 bytes. */
function epoch(n: number, more: Partial<CheckpointInfo> = {}): CheckpointInfo {
  const { run = "r" } = more;
  const key = `${run}_epoch${n}.pt`;
  return { key, size: 10, modified: NOW, version: "1", run, tag: "epoch", epoch: n, pinned: false, ...more };
}

function tagged(tag: CheckpointInfo["tag"], more: Partial<CheckpointInfo> = {}): CheckpointInfo {
  const { run = "r" } = more;
  return { key: `${run}_${tag}.pt`, size: 10, modified: NOW, version: "1", run, tag, pinned: false, ...more };
}

/** Epochs 1, 2, ... with these numbers; undefined is not known. */
const mae = (...values: (number | undefined)[]) =>
  values.map((value, i) => epoch(i + 1, value === undefined ? {} : { metrics: { val_mae: value } }));
const epochs = (...numbers: number[]) => numbers.map((n) => epoch(n));
const aged = (...seconds: number[]) =>
  seconds.map((age, i) => epoch(i + 1, { modified: new Date(NOW.getTime() - age * 1000) }));

const kept = (policy: RetentionPolicy, infos: readonly CheckpointInfo[]) => {
  const keys = policy(infos);
  return infos.filter(({ key }) => keys.has(key)).map((info) => info.epoch ?? info.tag);
};

const ROWS: [name: string, policy: RetentionPolicy, infos: CheckpointInfo[], expected: (number | string)[]][] = [
  ["latest 0", keepLatest(0), epochs(1, 2, 3), []],
  ["latest 1", keepLatest(1), epochs(1, 2, 3), [3]],
  ["latest 2 of 2", keepLatest(2), epochs(1, 2), [1, 2]],
  ["latest 5 of 2", keepLatest(5), epochs(1, 2), [1, 2]],
  ["latest of none", keepLatest(1), [], []],
  ["latest counts epochs as numbers, not as text", keepLatest(1), epochs(9, 10, 100), [100]],
  ["latest by epoch, whatever the clock says", keepLatest(1), aged(-100, 0, 5000), [3]],
  ["latest does not count the best file", keepLatest(1), [tagged("best", { epoch: 9 }), ...epochs(1, 2)], [2]],
  ["best 1, min", keepBest(1, MAE), mae(0.3, 0.1, 0.2), [2]],
  ["best 2, min", keepBest(2, MAE), mae(0.3, 0.1, 0.2), [2, 3]],
  ["best 1, max", keepBest(1, { ...MAE, mode: "max" }), mae(0.3, 0.1, 0.2), [1]],
  ["best 0", keepBest(0, MAE), mae(0.3, 0.1), []],
  ["best of equals: the earlier", keepBest(1, MAE), mae(0.1, 0.1, 0.1), [1]],
  ["best of equals, max: the earlier", keepBest(2, { ...MAE, mode: "max" }), mae(0.1, 0.2, 0.2, 0.2), [2, 3]],
  ["best: NaN is never among them", keepBest(2, MAE), mae(NAN, 0.5, NAN), [2]],
  ["best: NaN alone", keepBest(2, MAE), mae(NAN, NAN), []],
  ["best: a metric not known might be the best", keepBest(1, MAE), mae(undefined, 0.5, 0.4), [1, 3]],
  ["best: another metric is known", keepBest(1, R2), mae(0.5, 0.4), [1, 2]],
  ["best: Infinity is a number", keepBest(2, MAE), mae(INF, NAN, INF, 1), [1, 4]],
  ["best: -Infinity is the best", keepBest(1, MAE), mae(0, -INF, -1), [2]],
  ["best: -0 and 0 are equal", keepBest(1, MAE), mae(0, -0), [1]],
  ["every 1", keepEvery(1), epochs(1, 2, 3), [1, 2, 3]],
  ["every 10", keepEvery(10), epochs(0, 5, 10, 15, 20), [0, 10, 20]],
  ["every 10: none", keepEvery(10), epochs(1, 2), []],
  ["younger than 60 s", keepYoungerThan(60, NOW), aged(0, 59.9, 60, 61), [1, 2]],
  ["younger: files from the future stay", keepYoungerThan(60, NOW), aged(-3600, 61), [1]],
  ["younger than 0 s", keepYoungerThan(0, NOW), aged(-1, 0, 1), [1]],
  ["younger: no date, no age", keepYoungerThan(60, NOW), [...aged(61), epoch(2, { modified: new Date(NAN) })], [2]],
  ["younger than for ever", keepYoungerThan(INF, NOW), aged(1e9), [1]],
  ["within 25 bytes", keepWithin(25), epochs(1, 2, 3), [2, 3]],
  ["within 30 bytes", keepWithin(30), epochs(1, 2, 3), [1, 2, 3]],
  ["within 9 bytes", keepWithin(9), epochs(1, 2), []],
  ["within: what stays anyway counts first", keepWithin(25), [tagged("best"), ...epochs(1, 2)], [2]],
  ["within: pinned ones count first", keepWithin(20), [epoch(1, { pinned: true }), ...epochs(2, 3)], [3]],
  // A small old one behind a large one that does not fit would be a gap in the history.
  ["within: ends at the first that does not fit", keepWithin(25), [epoch(1), epoch(2, { size: 20 }), epoch(3)], [3]],
  ["tagged best", keepTagged("best"), [tagged("best"), tagged("final"), ...epochs(1)], ["best"]],
  ["tagged epoch, other", keepTagged("epoch", "other"), [tagged("best"), tagged("other"), ...epochs(1)], ["other", 1]],
  ["tagged nothing", keepTagged(), [tagged("best"), ...epochs(1)], []],
  ["any of", anyOf(keepLatest(1), keepEvery(5), keepBest(1, MAE)), mae(9, 1, 9, 9, 9, 9, 9), [2, 5, 7]],
  ["all of", allOf(keepLatest(3), keepEvery(2)), epochs(1, 2, 3, 4), [2, 4]],
  ["all of one", allOf(keepLatest(1)), epochs(1, 2), [2]],
  ["any of all of", anyOf(allOf(keepLatest(2), keepEvery(2)), keepLatest(1)), epochs(1, 2, 3), [2, 3]],
];

for (const [name, policy, infos, expected] of ROWS)
  test(`policy: ${name}`, () => {
    assert.equal(kept(policy, infos), expected);
    // The order of a listing means nothing.
    assert.equal(kept(policy, [...infos].reverse()).reverse(), expected);
  });

test("each run by itself", () => {
  const infos = [...epochs(1, 2, 3), epoch(1, { run: "s" }), epoch(500, { run: "t" })];
  const stays = (policy: RetentionPolicy) => [...policy(infos)].sort();
  assert.equal(stays(keepLatest(1)), ["r_epoch3.pt", "s_epoch1.pt", "t_epoch500.pt"]);
  // Space is shared: the newest of every run before the second newest of any.
  assert.equal(stays(keepWithin(40)), ["r_epoch2.pt", "r_epoch3.pt", "s_epoch1.pt", "t_epoch500.pt"]);
  assert.equal(stays(keepWithin(20)), ["r_epoch3.pt", "s_epoch1.pt"]);
});

test("several files of one epoch (Lightning's -v1) count each; the later written is the newer", () => {
  const v1 = epoch(3, { key: "epoch=3-v1.ckpt", modified: new Date(NOW.getTime() + 1000) });
  const infos = [epoch(3, { key: "epoch=3.ckpt" }), v1, epoch(2)];
  assert.equal([...keepLatest(1)(infos)], ["epoch=3-v1.ckpt"]);
  assert.equal([...keepLatest(2)(infos)].sort(), ["epoch=3-v1.ckpt", "epoch=3.ckpt"]);
});

const BAD: [name: string, make: () => unknown][] = [
  ["latest -1", () => keepLatest(-1)],
  ["latest 1.5", () => keepLatest(1.5)],
  ["latest NaN", () => keepLatest(NAN)],
  ["latest '2'", () => keepLatest("2" as unknown as number)],
  ["best -1", () => keepBest(-1, MAE)],
  ["every 0", () => keepEvery(0)],
  ["every Infinity", () => keepEvery(INF)],
  ["younger -1", () => keepYoungerThan(-1)],
  ["younger NaN", () => keepYoungerThan(NAN)],
  ["within -1", () => keepWithin(-1)],
  ["within NaN", () => keepWithin(NAN)],
  ["all of nothing", () => allOf()],
  ["any of nothing would remove everything", () => anyOf()],
];
for (const [name, make] of BAD) test(`refused: ${name}`, () => throwsCode(make, "ARGUMENT"));

/** Keeps nothing: what is left is what no policy takes. */
const NOTHING = keepLatest(0);
const CORRUPT = { problem: "CORRUPT: cut off" };
const FOREIGN = { problem: "UNSUPPORTED: no known checkpoint layout" };

interface PlanRow {
  readonly name: string;
  readonly infos: readonly CheckpointInfo[];
  readonly policy?: RetentionPolicy;
  readonly remove?: readonly string[];
  /** "epoch or tag: because" */
  readonly keep: readonly string[];
}

const PLANS: PlanRow[] = [
  { name: "nothing there", infos: [], keep: [] },
  {
    name: "best, final, last, pinned and other stay",
    infos: [tagged("best"), tagged("final"), tagged("last"), tagged("other"), epoch(1, { pinned: true }), epoch(2)],
    keep: ["best: best", "final: final", "last: last", "other: other", "1: pinned"],
  },
  { name: "a run without best or final keeps its newest", infos: epochs(1, 2, 3), keep: ["3: last valid"] },
  {
    name: "what no run owns is no checkpoint of the run",
    infos: [tagged("other"), ...epochs(1, 2)],
    keep: ["other: other", "2: last valid"],
  },
  {
    name: "the newest that is not broken",
    infos: [epoch(1), epoch(2), epoch(3, CORRUPT)],
    keep: ["2: last valid"],
  },
  {
    name: "a broken best file is not the one that loads",
    infos: [tagged("best", CORRUPT), epoch(1), epoch(2)],
    keep: ["best: best", "2: last valid"],
  },
  {
    name: "a broken pinned file is not the one that loads",
    infos: [epoch(1), epoch(2, { pinned: true, ...CORRUPT })],
    keep: ["1: last valid", "2: pinned"],
  },
  {
    name: "where nothing loads everything stays",
    infos: [epoch(1, CORRUPT), epoch(2, FOREIGN)],
    keep: ["1: none of the run loads", "2: none of the run loads"],
  },
  {
    name: "a policy does not count corrupt files",
    infos: [epoch(1), epoch(2), epoch(3, CORRUPT)],
    policy: keepLatest(2),
    keep: ["1: policy", "2: policy"],
  },
  {
    name: "a policy counts files that only this version cannot read",
    infos: [epoch(1), epoch(2), epoch(3, FOREIGN)],
    policy: keepLatest(2),
    keep: ["2: policy", "3: policy"],
  },
  {
    name: "of those the newest is not the one that loads",
    infos: [epoch(1), epoch(2), epoch(3, FOREIGN)],
    policy: keepLatest(1),
    keep: ["2: last valid", "3: policy"],
  },
  {
    name: "named files go, whatever protects them",
    infos: [tagged("best"), tagged("other"), epoch(1, { pinned: true }), epoch(2)],
    policy: keepTagged("epoch", "best"),
    remove: ["r_best.pt", "r_other.pt", "r_epoch1.pt"],
    keep: ["2: policy"],
  },
  { name: "the only one, named", infos: epochs(1), remove: ["r_epoch1.pt"], keep: [] },
  {
    name: "a policy does not count what is named",
    infos: epochs(1, 2, 3),
    policy: keepLatest(1),
    remove: ["r_epoch3.pt"],
    keep: ["2: policy"],
  },
  {
    name: "the only one that loads, named: the broken ones stay",
    infos: [epoch(1, CORRUPT), epoch(2)],
    remove: ["r_epoch2.pt"],
    keep: ["1: none of the run loads"],
  },
  {
    name: "each run keeps one",
    infos: [...epochs(1, 2), epoch(1, { run: "s" }), tagged("best", { run: "t" }), epoch(1, { run: "t" })],
    keep: ["2: last valid", "1: last valid", "best: best"],
  },
  {
    name: "keys of a policy that are not there do nothing",
    infos: epochs(1, 2),
    policy: () => new Set(["r_epoch1.pt", "elsewhere.pt"]),
    keep: ["1: policy"],
  },
];

for (const { name, infos, policy = NOTHING, remove = [], keep } of PLANS)
  test(`plan: ${name}`, () => {
    const plan = planPrune(infos, policy, { remove });
    assert.equal(
      plan.keep.map((info) => `${info.epoch ?? info.tag}: ${info.because}`),
      keep,
    );
    assert.is(plan.keep.length + plan.remove.length, infos.length);
    assert.is(plan.bytesFreed, 10 * plan.remove.length);
  });

test("a plan that names what is not there is refused", () =>
  throwsCode(() => planPrune(epochs(1), NOTHING, { remove: ["r_epoch2.pt"] }), "NOT_FOUND", /r_epoch2\.pt/));

test.run();
