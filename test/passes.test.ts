/** Passes against the program they rewrite, and the Wasm backend against float64. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { wasmBackend } from "../src/backends/wasm.js";
import { isUnitcellError } from "../src/errors.js";
import { collate } from "../src/graphs/batch.js";
import { buildGraph } from "../src/graphs/graph.js";
import type { Model } from "../src/models/model.js";
import { bandLinear } from "../src/ops/banded.js";
import { moveToDistinct } from "../src/ops/distinct.js";
import { fuseEpilogue } from "../src/ops/epilogue.js";
import { foldAffine, lowerBatchNorm } from "../src/ops/fold-norms.js";
import { fuseGate, fuseGatedMean, fuseGatedMeanSum, fuseGatedSum } from "../src/ops/gates.js";
import { fuseLstm } from "../src/ops/lstm.js";
import { ALGEBRA_PASSES, DEFAULT_PASSES, FUSION_PASSES, REQUIRED_PASSES } from "../src/ops/passes.js";
import { type Axis, type Program, ProgramBuilder } from "../src/ops/program.js";
import type { Pass } from "../src/ops/rewrite.js";
import { splitLinear } from "../src/ops/split-linear.js";
import { fuseGatherSum } from "../src/ops/sums.js";
import { exampleModel, exampleStructures } from "./examples.js";
import { runOracle } from "./oracle.js";
import { randomAlignn, randomCgcnn, randomMegnet } from "./random-models.js";

const model = await exampleModel();
const batch = collate(exampleStructures().map((structure) => buildGraph(structure, model.config.graph)));

/** Largest difference over the outputs, relative to their largest. */
function difference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  assert.is(a.length, b.length);
  const scale = Math.max(...Array.from(b, Math.abs));
  return Math.max(...Array.from(a, (x, i) => Math.abs(x - b[i]))) / scale;
}

const plain = runOracle(model.program, batch)[model.program.output.id].data;

/** A network of each architecture, run on small crystals. */
const NETWORKS: [name: string, model: Model][] = [
  ["CGCNN", model],
  ["ALIGNN", await exampleModel("alignn_ionic_best.pt")],
  ["MEGNet", await exampleModel("megnet_ionic_best.pt")],
];

const CHAINS: [name: string, passes: Pass[]][] = [
  ["lowerBatchNorm", [lowerBatchNorm]],
  ["foldAffine", [lowerBatchNorm, foldAffine]],
  ["fuseGate", [lowerBatchNorm, fuseGate]],
  ["splitLinear", [lowerBatchNorm, splitLinear]],
  ["moveToDistinct", [lowerBatchNorm, moveToDistinct]],
  ["splitLinear, moveToDistinct", [lowerBatchNorm, splitLinear, moveToDistinct]],
  ["fuseGatherSum", [lowerBatchNorm, fuseGatherSum]],
  ["fuseGatedMean", [lowerBatchNorm, fuseGatedMean]],
  ["bandLinear", [lowerBatchNorm, foldAffine, splitLinear, moveToDistinct, bandLinear]],
  ["fuseLstm", [lowerBatchNorm, fuseLstm]],
  ["fuseEpilogue", [lowerBatchNorm, fuseEpilogue]],
  ["fuseEpilogue of sums", [lowerBatchNorm, foldAffine, splitLinear, fuseGatherSum, fuseEpilogue]],
  [
    "gates of sums",
    [lowerBatchNorm, splitLinear, fuseGate, fuseGatedMean, fuseGatherSum, fuseGatedSum, fuseGatedMeanSum],
  ],
  ["no algebra", [...REQUIRED_PASSES, ...FUSION_PASSES]],
  ["no fusion", [...REQUIRED_PASSES, ...ALGEBRA_PASSES]],
  ["all", [...DEFAULT_PASSES]],
];
for (const [title, { program: original, config }] of NETWORKS) {
  const small = exampleStructures().filter(({ numbers }) => numbers.length <= 8);
  const some = collate(small.map((structure) => buildGraph(structure, config.graph)));
  const exact = runOracle(original, some)[original.output.id].data;
  for (const [name, passes] of CHAINS)
    test(`${title}, ${name}: the rewritten program gives the same output`, async () => {
      const program = passes.reduce((p, pass) => pass(p), original);
      const rewritten = runOracle(program, some)[program.output.id].data;
      assert.ok(difference(rewritten, exact) < 1e-6, "in float64, but for weights rounded to float32");
      const session = await wasmBackend({ passes }).createSession(original);
      const found = difference(await session.run(some), exact);
      console.log(`  ${title}, ${name}: ${program.nodes.length} nodes, Wasm differs by ${found.toExponential(2)}`);
      assert.ok(found < 2e-6, `${found}`);
      session.dispose();
    });
}

test("ALIGNN's gates are one kernel each, and what its last layers leave unread is not computed", () => {
  const { program, config } = NETWORKS[1][1];
  const ops = DEFAULT_PASSES.reduce((p, pass) => pass(p), program).nodes.map((node) => node.op);
  assert.is(config.type, "alignn");
  const convolutions = config.type === "alignn" ? 2 * config.alignnLayers + config.gcnLayers : 0;
  assert.is(ops.filter((op) => op === "gatedMean").length, convolutions);
  for (const gone of ["ratio", "sigmoid", "gather", "segmentSum", "batchNorm"] as const)
    assert.not.ok(ops.includes(gone), gone);
  // Two updates a convolution, less the pairs of the last ALIGNN layer and the bonds of the last convolution.
  assert.is(ops.filter((op) => op === "affine").length, 2 * convolutions - 2);
});

/** What is computed for every row of an axis. */
function opsOn(axis: Axis, program: Program): string[] {
  const { nodes } = DEFAULT_PASSES.reduce((p, pass) => pass(p), program);
  return nodes
    .filter(({ op, output }) => output.rows === axis && op !== "input")
    .map(({ op, activation, residual }) => [op, activation, residual && "residual"].filter(Boolean).join(" "));
}

test("CGCNN computes nothing for an edge alone, and its Gaussians once for each length", () => {
  assert.equal(opsOn("E", randomCgcnn({ convs: 2 }).program), []);
  assert.equal(opsOn("L", randomCgcnn({ convs: 2 }).program), ["gaussian", "bandedLinear", "bandedLinear"]);
});

test("ALIGNN: one product a layer for each pair of bonds, none in the first; the last layers' edges end with it", () => {
  for (const [norm, update, mlp] of [
    ["batch", "affine silu", ["scaledLinear silu"]],
    ["layer", "layerNorm silu", ["linear", "layerNorm silu"]],
  ] as const) {
    const { program } = randomAlignn({ norm, alignnLayers: 3, gcnLayers: 2 });
    const pairs = ["gatherSum", update, "gatherSum", "linear", `${update} residual`, "linear"];
    assert.equal(opsOn("T", program), pairs, norm);
    assert.equal(opsOn("C", program), ["gaussian", ...mlp, ...mlp, "linear"], norm);
    // The bonds' linear of the last convolution, its sum taken up, is the last on their axis.
    assert.equal(opsOn("E", program).slice(-2), [`${update} residual`, "linear"], norm);
  }
});

test("MEGNet: an edge's layers are linears with all that follows, its first one a sum of gathered rows", () => {
  const ops = opsOn("E", randomMegnet({ blocks: 2 }).program);
  const block = ["linear shiftedSoftplus", "linear shiftedSoftplus"];
  const dense = ["linear shiftedSoftplus", "linear shiftedSoftplus"];
  assert.equal(ops, [
    ...["gatherSum shiftedSoftplus", ...block, "gatherSum"],
    ...[...dense, "linear shiftedSoftplus", ...block, "add"],
  ]);
});

test("all passes leave no batch norm, no split and no parameter that nothing reads", () => {
  const program = DEFAULT_PASSES.reduce((p, pass) => pass(p), model.program);
  const ops = program.nodes.map((node) => node.op);
  for (const gone of ["batchNorm", "slice", "sigmoid", "mul", "concat", "gather"] as const)
    assert.not.ok(ops.includes(gone), gone);
  const read = new Set(program.nodes.flatMap((node) => node.params));
  assert.equal([...program.params.keys()].sort(), [...read].sort());
});

test("a program whose shapes do not fit is refused when it is written", () => {
  const params = new Map([
    ["l.weight", { shape: [3, 4], data: new Float32Array(12) }],
    ["l.bias", { shape: [3], data: new Float32Array(3) }],
  ]);
  const p = new ProgramBuilder(params);
  const five = p.gaussian(p.input("lengths", "E", 1), { first: 0, step: 1, count: 5 });
  const four = p.gaussian(p.input("lengths", "N", 1), { first: 0, step: 1, count: 4 });
  assert.throws(
    () => p.linear(five, "l"),
    (e: unknown) => isUnitcellError(e, "MISMATCH"),
  );
  assert.throws(
    () => p.linear(four, "missing"),
    (e: unknown) => isUnitcellError(e, "NOT_FOUND"),
  );
  assert.throws(
    () => p.add(five, four),
    (e: unknown) => isUnitcellError(e, "MISMATCH"),
  );
  assert.is(p.linear(four, "l").columns, 3);
});

test("a batch with an index out of range, a wrong length or a missing input is refused", async () => {
  const session = await wasmBackend().createSession(model.program);
  const broken = (name: string, data: Float32Array | Int32Array | undefined) => {
    const inputs = new Map(batch.inputs);
    if (data) inputs.set(name, data);
    else inputs.delete(name);
    return { ...batch, inputs };
  };
  const source = batch.inputs.get("source") as Int32Array;
  const start = batch.inputs.get("edgeStart") as Int32Array;
  const lengths = batch.inputs.get("lengths") as Float32Array;
  const cases: [string, Float32Array | Int32Array | undefined][] = [
    ["source", source.map((s, i) => (i === 5 ? batch.sizes.N : s))],
    ["source", source.map((s, i) => (i === 5 ? -1 : s))],
    ["source", source.slice(1)],
    ["source", undefined],
    ["lengths", undefined],
    ["lengths", lengths.slice(1)],
    ["lengths", Int32Array.from(lengths)],
    ["lengths", lengths.map((x, i) => (i === 7 ? Number.NaN : x))],
    ["edgeStart", start.map((s, i) => (i === 3 ? 1 : s))],
    ["numbers", (batch.inputs.get("numbers") as Int32Array).map(() => 101)],
  ];
  for (const [name, data] of cases)
    try {
      await session.run(broken(name, data));
      assert.unreachable(name);
    } catch (error) {
      assert.ok(isUnitcellError(error, "MISMATCH"), `${error}`);
      assert.match((error as Error).message, name);
    }
  assert.ok(difference(await session.run(batch), plain) < 2e-6, "the session goes on after an error");
  session.dispose();
  try {
    await session.run(batch);
    assert.unreachable();
  } catch (error) {
    assert.ok(isUnitcellError(error, "ARGUMENT"));
  }
});

test.run();
