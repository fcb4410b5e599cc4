/**
 * What is fed to exported networks: crystals of any size and kind in one batch, padded to any sizes, whatever dead rows hold,
 * beside crystals whose numbers overflow, give what each gives alone.
 */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bucket, bucketed } from "../src/backends/buckets.js";
import { wasmBackend } from "../src/backends/wasm.js";
import { isUnitcellError } from "../src/errors.js";
import { type Batch, collate } from "../src/graphs/batch.js";
import { buildGraph, type CrystalGraph } from "../src/graphs/graph.js";
import { lift } from "../src/graphs/lift.js";
import { ELEMENT_TABLE } from "../src/models/architecture.js";
import type { Model } from "../src/models/model.js";
import { type Feed, FeedArrays, type FeedSizes, feedSizes, feedsOf, type OnnxInput } from "../src/onnx/inputs.js";
import { programOnnx } from "../src/onnx/program-onnx.js";
import type { Structure } from "../src/structures/structure.js";
import { crystal } from "./crystals.js";
import { exampleStructures } from "./examples.js";
import { OnnxSession, onnxRuntime } from "./onnx-runtimes.js";
import { randomAlignn, randomCgcnn, randomMegnet } from "./random-models.js";
import { throwsCode } from "./throws.js";

/** Relative to max(1, |value|). */
const TOLERANCE = 1e-6;
const RUNS = 40;

const MODELS: [name: string, model: Model][] = [
  ["CGCNN", randomCgcnn()],
  ["ALIGNN", randomAlignn({ extraFeatures: 6 })],
  ["an ALIGNN classifier with batch norm", randomAlignn({ task: "classification", norm: "batch", outputs: 2 })],
  ["ALIGNN with a penalty", randomAlignn({ penalty: { factor: 0.1, threshold: 2.5 } })],
  ["MEGNet", randomMegnet()],
];

/** An atom without neighbours: its crystal has no bonds for MEGNet. */
const alone: Structure = {
  lattice: Float64Array.of(20, 0, 0, 0, 20, 0, 0, 0, 20),
  pbc: [true, true, true],
  numbers: Uint8Array.of(8),
  fracCoords: new Float64Array(3),
};

/** Two atoms near each other and one with nobody around it. */
const withLoneAtom: Structure = {
  ...alone,
  numbers: Uint8Array.of(11, 17, 2),
  fracCoords: Float64Array.of(0, 0, 0, 0.12, 0, 0, 0.5, 0.5, 0.5),
};

const structure = fc.oneof({ weight: 4, arbitrary: crystal }, fc.constantFrom(alone, withLoneAtom));

function withoutBonds({ numbers }: Structure): CrystalGraph {
  return {
    numAtoms: numbers.length,
    numEdges: 0,
    numbers,
    start: new Int32Array(numbers.length + 1),
    source: new Int32Array(0),
    lengths: new Float64Array(0),
    vectors: new Float64Array(0),
    cell: Float64Array.of(20, 20, 20, 90, 90, 90),
    cutoff: 4,
    warnings: [],
  };
}

/** Added to the sizes needed. */
const padding = fc.record({
  B: fc.nat(3),
  N: fc.nat(20),
  E: fc.nat(50),
  T: fc.nat(90),
  slots: fc.nat(9),
  isBucketed: fc.boolean(),
});

function paddedSizes(
  { rows, slots }: FeedSizes,
  added: { B: number; N: number; E: number; T: number; slots: number; isBucketed: boolean },
): FeedSizes {
  const { B, N, E, T } = rows;
  const sizes: FeedSizes = {
    rows: { B: B + added.B, N: N + added.N, E: E + added.E, T: T + added.T },
    slots: new Map([...slots].map(([name, count]) => [name, count + added.slots])),
  };
  return added.isBucketed ? bucketed(sizes) : sizes;
}

/** The worst that dead rows may hold: NaN, infinities, any row that there is; of segments without rows any start. */
function poisoned(inputs: readonly OnnxInput[], feeds: ReadonlyMap<string, Feed>, batch: Batch): Map<string, Feed> {
  const limits = new Map(["source", "receiver", "atomCrystal", "edgeCrystal"].map((name) => [name, 1]));
  return new Map(
    inputs.map(({ name, kind, rows, columns, of }) => {
      const feed = feeds.get(name)!;
      if (kind === "slots" || kind === "counts") return [name, feed];
      const data = feed.data.slice();
      const live = batch.sizes[rows as "B"] * columns;
      for (let i = live; i < data.length; i++) {
        if (kind === "numbers" || kind === "weights") data[i] = [Number.NaN, Number.POSITIVE_INFINITY, -3e38][i % 3];
        else if (kind === "index") data[i] = limits.has(name) ? i % batch.sizes.B : 0;
        else data[i] = -1e9;
      }
      if (kind === "starts") {
        const starts = batch.inputs.get(of ?? name)!;
        for (let s = 0; s + 1 < starts.length; s++) if (starts[s] === starts[s + 1]) data[s] = 1e9;
      }
      return [name, { ...feed, data }];
    }),
  );
}

const runtime = await onnxRuntime("onnxruntime-node");
if (runtime)
  for (const [name, model] of MODELS) {
    const exported = programOnnx(model.program);
    const session = await OnnxSession.open(runtime, exported);
    const { outputs } = model.config;
    const wholeGraph = (one: Structure): CrystalGraph => {
      try {
        return buildGraph(one, model.config.graph);
      } catch (error) {
        if (isUnitcellError(error, "UNSUPPORTED")) return withoutBonds(one); // MEGNet's, which predict refuses
        throw error;
      }
    };
    const graphOf = (one: Structure, isLifted: boolean) => (isLifted ? lift(wholeGraph(one)) : wholeGraph(one));

    test(`${name}: crystals in padded batches, whatever dead rows hold, as alone and as by the Wasm kernels`, async () => {
      const wasm = await wasmBackend().createSession(model.program);
      let worst = 0;
      const close = (found: number, expected: number) => {
        const error = Math.abs(found - expected) / Math.max(1, Math.abs(expected));
        worst = Math.max(worst, error);
        return error <= TOLERANCE;
      };
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(structure, fc.boolean()), { minLength: 1, maxLength: 4 }),
          padding,
          async (crystals, added) => {
            const graphs = crystals.map(([one, isLifted]) => graphOf(one, isLifted));
            const batch = collate(graphs);
            const sizes = paddedSizes(feedSizes(exported.inputs, batch), added);
            const feeds = feedsOf(exported.inputs, batch, sizes);
            const { output } = await session.feed(feeds);
            const { output: same } = await session.feed(poisoned(exported.inputs, feeds, batch));
            const live = batch.sizes.B * outputs;
            assert.equal(same.subarray(0, live), output.subarray(0, live), "dead rows have a say");
            const own = await wasm.run(batch);
            for (const [b, graph] of graphs.entries()) {
              const single = await session.run(collate([graph]));
              for (let o = 0; o < outputs; o++) {
                const found = output[b * outputs + o];
                assert.ok(close(found, single.output[o]), `${b}: ${found}, alone ${single.output[o]}`);
                assert.ok(close(found, own[b * outputs + o]), `${b}: ${found}, Wasm ${own[b * outputs + o]}`);
              }
            }
          },
        ),
        { numRuns: RUNS, seed: 20261130 },
      );
      console.log(`  ${name}: largest difference ${worst.toExponential(1)}`);
      wasm.dispose();
    });

    test(`${name}: batches without any bond or pair`, async () => {
      const wasm = await wasmBackend().createSession(model.program);
      for (const crystals of [[alone], [alone, alone], [alone, withLoneAtom]])
        for (const some of [crystals.map(wholeGraph), crystals.map(withoutBonds)]) {
          const batch = collate(some);
          const { output } = await session.run(batch);
          const own = await wasm.run(batch);
          assert.is(output.length, own.length);
          for (const [i, x] of own.entries()) assert.ok(Math.abs(output[i] - x) <= TOLERANCE, `${output} ${own}`);
        }
      wasm.dispose();
    });

    test(`${name}: a crystal whose numbers overflow is lost, and harms no other`, async () => {
      const overflowing = await OnnxSession.open(runtime, programOnnx(withHugeElement(model, 92).program));
      const [sound, lost] = exampleStructures();
      const uranium = { ...lost, numbers: lost.numbers.map(() => 92) };
      const graphs = [sound, uranium, alone, sound, withLoneAtom].map((one) => graphOf(one, false));
      for (const sizes of [undefined, { B: 2, N: 3, E: 5, T: 7, slots: 3, isBucketed: true }]) {
        const batch = collate(graphs);
        const least = feedSizes(exported.inputs, batch);
        const { output } = await overflowing.run(batch, sizes ? paddedSizes(least, sizes) : least);
        for (const [b, graph] of graphs.entries()) {
          const single = await session.run(collate([graph]));
          for (let o = 0; o < outputs; o++) {
            const found = output[b * outputs + o];
            if (b === 1) assert.not(Number.isFinite(found), `${found} of numbers beyond float32`);
            else assert.ok(Math.abs(found - single.output[o]) <= TOLERANCE, `${b}: ${found}, ${single.output[o]}`);
          }
        }
      }
      await overflowing.close();
    });
  }

/** The model with features of an element at the end of float32. */
function withHugeElement(model: Model, number: number): Model {
  const { program } = model;
  const table = program.params.get(ELEMENT_TABLE)!;
  const columns = table.shape[1];
  const data = table.data.slice();
  for (let c = 0; c < columns; c++) data[number * columns + c] = c % 2 ? 3e38 : -3.1e38;
  return { ...model, program: { ...program, params: new Map(program.params).set(ELEMENT_TABLE, { ...table, data }) } };
}

test("four sizes to each doubling, at most a quarter too large", () => {
  const counts = Array.from({ length: 5000 }, (_, i) => i + 1);
  for (const count of counts) {
    const size = bucket(count);
    assert.ok(size >= count && size <= 1.25 * count, `${count}: ${size}`);
    assert.is(bucket(size), size);
    assert.ok(bucket(count + 1) >= size);
  }
  const sizes = new Set(counts.filter((count) => count >= 512 && count < 1024).map(bucket));
  assert.equal([...sizes].sort(), [1024, 512, 640, 768, 896]);
  for (const count of [2 ** 30, 2 ** 30 + 1, 2 ** 31 - 1])
    assert.ok(bucket(count) >= count && bucket(count) <= 2 ** 31);
});

const example = randomAlignn();
const exampleBatch = (from: number, to: number) =>
  collate(
    exampleStructures()
      .slice(from, to)
      .map((one) => buildGraph(one, example.config.graph)),
  );

test("padded tensors are written into the same arrays again, the batch's own where there is nothing to add", () => {
  const { inputs } = programOnnx(example.program);
  const arrays = new FeedArrays();
  const [one, two] = [exampleBatch(0, 2), exampleBatch(1, 3)];
  const sizes: FeedSizes = {
    rows: { B: 4, N: 64, E: 2048, T: 65536 },
    slots: new Map([...feedSizes(inputs, one).slots.keys()].map((name) => [name, 64])),
  };
  const first = feedsOf(inputs, one, sizes, arrays);
  const kept = new Map([...first].map(([name, { data }]) => [name, data.slice()]));
  const second = feedsOf(inputs, two, sizes, arrays);
  for (const { name, kind } of inputs)
    if (kind !== "slots") assert.is(second.get(name)!.data, first.get(name)!.data, name);
  const third = feedsOf(inputs, one, sizes, arrays);
  for (const [name, { data }] of third) assert.equal(data, kept.get(name), `${name}: nothing of the batch before`);
  const exact = feedsOf(inputs, one);
  for (const { name, kind } of inputs)
    if (kind === "numbers" || kind === "index") assert.is(exact.get(name)!.data, one.inputs.get(name), name);
  assert.equal([...exact.get("edgeWeight")!.data], new Array(one.sizes.E).fill(1));
});

test("a batch that lacks an input is MISMATCH", async () => {
  const { inputs } = programOnnx(example.program);
  const batch = exampleBatch(0, 1);
  for (const name of ["lengths", "edgeStart", "source"]) {
    const without = new Map(batch.inputs);
    without.delete(name);
    await throwsCode(
      () => feedsOf(inputs, { ...batch, inputs: without }),
      "MISMATCH",
      new RegExp(`no input "${name}"`),
    );
  }
});

test.run();
