/** What holds of every plan, on random histories and random policies. */
import fc, { type Arbitrary } from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { CheckpointInfo, Tag } from "../src/runs/checkpoint-info.js";
import type { PrunePlan } from "../src/runs/prune-plan.js";
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
import { inPart } from "./scope.js";

const PLANS = inPart(100_000);
const PAIRS = inPart(20_000);
const SEED = 20240229;
const NOW = new Date("2026-01-01T00:00:00Z");

/** One file: small numbers, so that epochs, metrics and times are often equal. */
const file: Arbitrary<CheckpointInfo> = fc
  .record({
    run: fc.constantFrom("a", "b", "c/d"),
    tag: fc.constantFrom<Tag>("epoch", "epoch", "epoch", "epoch", "best", "final", "last", "other"),
    epoch: fc.integer({ min: -1, max: 8 }),
    metric: fc.constantFrom(undefined, Number.NaN, Number.POSITIVE_INFINITY, 0.1, 0.1, 0.2, 0.3, -1),
    size: fc.integer({ min: 0, max: 20 }),
    age: fc.integer({ min: -3, max: 10 }),
    pinned: fc.integer({ min: 0, max: 9 }),
    problem: fc.constantFrom(...Array(6).fill(undefined), "CORRUPT: cut off", "UNSUPPORTED: of a later version"),
  })
  .map(({ run, tag, epoch, metric, size, age, pinned, problem }) => ({
    key: "",
    size,
    modified: new Date(NOW.getTime() - age * 1000),
    version: "1",
    run,
    tag,
    pinned: pinned === 0,
    ...(epoch >= 0 && { epoch }),
    ...(metric !== undefined && { metrics: { val_mae: metric } }),
    ...(problem && { problem }),
  }));

const history = fc
  .array(file, { maxLength: 12 })
  .map((files) => files.map((info, i): CheckpointInfo => ({ ...info, key: `${info.run}/${i}.pt` })));

const by = fc.constantFrom({ metric: "val_mae", mode: "min" } as const, { metric: "val_mae", mode: "max" } as const);
const simple: Arbitrary<RetentionPolicy>[] = [
  fc.nat(4).map(keepLatest),
  fc.tuple(fc.nat(4), by).map(([n, ranking]) => keepBest(n, ranking)),
  fc.integer({ min: 1, max: 4 }).map(keepEvery),
  fc.nat(8).map((seconds) => keepYoungerThan(seconds, NOW)),
  fc.subarray<Tag>(["best", "final", "last", "epoch", "other"]).map((tags) => keepTagged(...tags)),
];
const within = fc.nat(120).map(keepWithin);

/** What fits into so many bytes depends on the whole list: it is left out where that matters. */
function policies({ withinInAllOf = true, depth = 2 } = {}): Arbitrary<RetentionPolicy> {
  const leaf = fc.oneof(...simple, within);
  if (depth === 0) return leaf;
  const deeper = fc.array(policies({ withinInAllOf, depth: depth - 1 }), { minLength: 1, maxLength: 3 });
  const inAll = withinInAllOf ? deeper : fc.array(fc.oneof(...simple), { minLength: 1, maxLength: 3 });
  return fc.oneof(
    { weight: 2, arbitrary: leaf },
    { weight: 1, arbitrary: deeper.map((list) => anyOf(...list)) },
    { weight: 1, arbitrary: inAll.map((list) => allOf(...list)) },
  );
}

const keys = (infos: readonly CheckpointInfo[]) => infos.map(({ key }) => key).sort();
const loads = ({ tag, problem }: CheckpointInfo) => tag !== "other" && problem === undefined;

/** A third of the cases name some files outright. */
const named = fc.oneof(
  { weight: 2, arbitrary: fc.constant([]) },
  { weight: 1, arbitrary: fc.array(fc.nat(11), { maxLength: 3 }) },
);

function check(infos: readonly CheckpointInfo[], plan: PrunePlan, remove: ReadonlySet<string>): void {
  assert.equal(keys([...plan.keep, ...plan.remove]), keys(infos));
  assert.is(
    plan.bytesFreed,
    plan.remove.reduce((sum, { size }) => sum + size, 0),
  );
  const removed = new Set(keys(plan.remove));
  for (const key of remove) assert.ok(removed.has(key), `${key} was named`);
  for (const info of plan.remove)
    if (info.tag !== "epoch" || info.pinned) assert.ok(remove.has(info.key), `${info.tag} ${info.key} is protected`);
  for (const run of new Set(infos.map((info) => info.run))) {
    const sound = infos.filter((info) => info.run === run && loads(info) && !remove.has(info.key));
    const left = plan.keep.filter((info) => info.run === run);
    if (sound.length > 0) assert.ok(left.some(loads), `run ${run} has lost all that loads`);
    else if (!infos.some((info) => info.run === run && loads(info)))
      for (const info of infos.filter((one) => one.run === run && !remove.has(one.key)))
        assert.ok(!removed.has(info.key), `nothing of ${run} loads, and ${info.key} was removed`);
  }
}

test(`${PLANS} plans`, () => {
  fc.assert(
    fc.property(history, policies(), named, (infos, policy, indices) => {
      const remove = new Set(indices.filter((i) => i < infos.length).map((i) => infos[i].key));
      const options = { remove: [...remove] };
      const plan = planPrune(infos, policy, options);
      check(infos, plan, remove);
      // Another order of the same list: every third file first, then the rest backwards.
      const other = [...infos.filter((_, i) => i % 3 === 0), ...infos.filter((_, i) => i % 3 !== 0).reverse()];
      assert.equal(keys(planPrune(other, policy, options).remove), keys(plan.remove));
    }),
    { seed: SEED, numRuns: PLANS },
  );
});

/**
 * Holds for every policy whose choice from a part of the list contains what it chose from the whole: all there are, but
 * keepWithin inside allOf, where what others removed makes room and changes the turns.
 */
test(`${PAIRS} plans, made again when they are done, remove nothing more`, () => {
  fc.assert(
    fc.property(history, policies({ withinInAllOf: false, depth: 1 }), named, (infos, policy, indices) => {
      const remove = indices.filter((i) => i < infos.length).map((i) => infos[i].key);
      const { keep } = planPrune(infos, policy, { remove });
      assert.equal(keys(planPrune(keep, policy).remove), []);
    }),
    { seed: SEED, numRuns: PAIRS },
  );
});

/**
 * Of the files themselves that is not so: where a policy keeps nothing that loads, the newest stays; where it keeps an
 * older one, the newest may go.
 */
test(`${PAIRS} pairs: keeping more never removes more files, or others but the last valid one`, () => {
  fc.assert(
    fc.property(history, policies({ depth: 1 }), policies({ depth: 1 }), (infos, policy, more) => {
      const few = planPrune(infos, policy);
      const many = planPrune(infos, anyOf(policy, more));
      assert.ok(many.remove.length <= few.remove.length);
      const because = new Map(few.keep.map((info) => [info.key, info.because]));
      for (const { key } of many.remove) assert.ok([undefined, "last valid"].includes(because.get(key)), key);
      const fewer = planPrune(infos, allOf(policy, more));
      assert.ok(fewer.remove.length >= few.remove.length);
    }),
    { seed: SEED, numRuns: PAIRS },
  );
});

test.run();
