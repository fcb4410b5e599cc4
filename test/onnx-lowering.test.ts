/**
 * Each operation as it is written in ONNX against float64, on rows at random with empty segments among them; every layer of
 * every kind of network; and what a file says of itself, read back by field numbers.
 */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { wasmBackend } from "../src/backends/wasm.js";
import { type Batch, collate } from "../src/graphs/batch.js";
import { buildGraph } from "../src/graphs/graph.js";
import { lift } from "../src/graphs/lift.js";
import type { Model } from "../src/models/model.js";
import { exportOnnx, onnxMetadata } from "../src/onnx/export.js";
import { feedSizes } from "../src/onnx/inputs.js";
import { LOWERINGS } from "../src/onnx/lowering.js";
import { DATA_TYPE } from "../src/onnx/model-proto.js";
import { plainProgram, programOnnx } from "../src/onnx/program-onnx.js";
import { SEGMENT_OF } from "../src/ops/gates.js";
import { OPS, type OpName } from "../src/ops/ops.js";
import { type Axis, type Param, type Program, ProgramBuilder, type Value } from "../src/ops/program.js";
import { seededRandom } from "../src/random.js";
import { VERSION } from "../src/version.js";
import { exampleStructures } from "./examples.js";
import { readOnnx } from "./onnx-reader.js";
import { OnnxSession, onnxRuntimes } from "./onnx-runtimes.js";
import { runOracle } from "./oracle.js";
import { randomAlignn, randomCgcnn, randomMegnet } from "./random-models.js";
import { throwsCode } from "./throws.js";

const runtimes = await onnxRuntimes();

const SIZES = { B: 4, N: 11, E: 40, T: 67 } as const;
const WEIGHTS: Readonly<Record<string, readonly [name: string, over: Axis]>> = {
  edgeStart: ["edgeWeight", "E"],
  tripletStart: ["tripletWeight", "T"],
  crystalStart: ["atomWeight", "N"],
  crystalEdgeStart: ["edgeTotal", "E"],
};

/** Crystals, atoms, bonds and pairs of which some are alone; an input "E5" has 5 columns of numbers for each bond. */
function randomBatch(program: Program, { scale, isWeighted }: { scale: number; isWeighted: boolean }): Batch {
  const next = seededRandom(7);
  const inputs = new Map<string, Float32Array | Int32Array>();
  /** Starts of `count` segments of the rows: some twice, so that there is nothing between them. */
  const starts = (count: number, rows: number) =>
    Int32Array.from([0, rows, ...Array.from({ length: count - 1 }, () => Math.floor(next() * (rows + 1)))]).sort();
  inputs.set("crystalStart", starts(SIZES.B, SIZES.N));
  inputs.set("edgeStart", starts(SIZES.N, SIZES.E));
  inputs.set("tripletStart", starts(SIZES.E, SIZES.T));
  const edgeStart = inputs.get("edgeStart")!;
  inputs.set(
    "crystalEdgeStart",
    Int32Array.from(inputs.get("crystalStart")!, (atom) => edgeStart[atom]),
  );
  for (const [name, segment] of Object.entries(SEGMENT_OF)) {
    const start = Array.from(inputs.get(name)!);
    const rows = start[start.length - 1];
    inputs.set(
      segment,
      Int32Array.from({ length: rows }, (_, r) => start.findLastIndex((first) => first <= r)),
    );
  }
  const below = (rows: number, limit: number) => Int32Array.from({ length: rows }, () => Math.floor(next() * limit));
  inputs.set("source", below(SIZES.E, SIZES.N)).set("tripletSource", below(SIZES.T, SIZES.E));
  inputs.set("numbers", below(SIZES.N, 9));
  if (isWeighted)
    for (const [name, over] of Object.values(WEIGHTS))
      inputs.set(
        name,
        Float32Array.from({ length: SIZES[over as "E"] }, () => 1 + Math.floor(3 * next())),
      );
  for (const { op, index, output } of program.nodes)
    if (op === "input")
      inputs.set(
        index!,
        Float32Array.from({ length: SIZES[output.rows as "E"] * output.columns }, () => scale * (2 * next() - 1)),
      );
  return { sizes: SIZES, inputs };
}

const random = seededRandom(3);
const param = (...shape: number[]): Param => ({
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => 2 * random() - 1),
});
const positive = (count: number): Param => ({
  shape: [count],
  data: Float32Array.from({ length: count }, () => 0.3 + random()),
});
const PARAMS = new Map<string, Param>([
  ["table", param(9, 6)],
  ["linear.weight", param(7, 5)],
  ["linear.bias", param(7)],
  ["wide.weight", param(4, 12)],
  ["wide.bias", param(4)],
  ["norm.weight", param(7)],
  ["norm.bias", param(7)],
  ["norm.running_mean", param(7)],
  ["norm.running_var", positive(7)],
  ["centers", { shape: [5], data: Float32Array.of(0, 0.4, 0.9, 1.5, 3) }],
]);

/** Half a unit in the last place of numbers up to 1, a few times over. */
const CLOSE = 1e-6;

interface Row {
  readonly what: string;
  readonly build: (p: ProgramBuilder) => Value;
  /** Numbers of the inputs lie between -scale and scale; by default 2. */
  readonly scale?: number;
  /** Errors relative to the number itself, rather than to max(1, |number|). */
  readonly relative?: boolean;
  readonly tolerance?: number;
}

const ROWS: Row[] = [
  { what: "an input of one column", build: (p) => p.input("E1", "E", 1) },
  { what: "an input of several", build: (p) => p.input("B6", "B", 6) },
  { what: "zeros", build: (p) => p.zeros("B", 3) },
  { what: "an embedding", build: (p) => p.embedding("table", "numbers", "N") },
  { what: "gaussians", build: (p) => p.gaussian(p.input("E1", "E", 1), { first: -1, step: 0.25, count: 9 }) },
  { what: "gaussians around a parameter", build: (p) => p.radialBasis(p.input("T1", "T", 1), "centers", 2.5) },
  { what: "a linear", build: (p) => p.linear(p.input("E5", "E", 5), "linear") },
  { what: "a linear and a batch norm", build: (p) => p.batchNorm(p.linear(p.input("E5", "E", 5), "linear"), "norm") },
  { what: "a batch norm", build: (p) => p.batchNorm(p.input("N7", "N", 7), "norm") },
  {
    what: "a linear of a concatenation of gathers",
    build: (p) => {
      const atoms = p.input("N5", "N", 5);
      return p.linear(
        p.concat(p.gather(atoms, "receiver", "E"), p.gather(atoms, "source", "E"), p.input("E2", "E", 2)),
        "wide",
      );
    },
  },
  { what: "a layer norm", build: (p) => p.layerNorm(p.input("T7", "T", 7), "norm"), scale: 300 },
  {
    what: "a layer norm around a large mean",
    build: (p) =>
      p.layerNorm(p.add(p.input("E7", "E", 7), p.gather(p.input("B7", "B", 7), "edgeCrystal", "E")), "norm"),
    scale: 5,
  },
  { what: "parts of the columns", build: (p) => p.concat(...p.split(p.input("E6", "E", 6), 3).toReversed()) },
  { what: "sigmoid", build: (p) => p.sigmoid(p.input("T3", "T", 3)), scale: 80, relative: true },
  { what: "sigmoid of small numbers", build: (p) => p.sigmoid(p.input("T3", "T", 3)), scale: 1e-3, relative: true },
  { what: "softplus", build: (p) => p.softplus(p.input("T3", "T", 3)), scale: 30 },
  { what: "shifted softplus", build: (p) => p.shiftedSoftplus(p.input("T3", "T", 3)), scale: 30 },
  // ONNX Runtime's own sigmoid, off by up to 6e-8 where it is small, times numbers like -17.
  { what: "silu", build: (p) => p.silu(p.input("T3", "T", 3)), scale: 30, tolerance: 2e-6 },
  { what: "tanh", build: (p) => p.tanh(p.input("T3", "T", 3)), scale: 5 },
  { what: "exp", build: (p) => p.exp(p.input("T3", "T", 3)), scale: 20, relative: true, tolerance: 4e-6 },
  { what: "log softmax", build: (p) => p.logSoftmax(p.input("B3", "B", 3)) },
  { what: "log softmax of large numbers", build: (p) => p.logSoftmax(p.input("E3", "E", 3)), scale: 1000 },
  { what: "hinge", build: (p) => p.hinge(p.input("E1", "E", 1), { factor: 0.7, threshold: 0.5 }) },
  ...[1, 3, 5, 6].map(
    (exponent): Row => ({
      what: `an envelope, exponent ${exponent}`,
      // Lengths are positive: of others the polynomial is large.
      build: (p) => p.envelope(p.exp(p.input("E1", "E", 1)), { cutoff: 3, exponent }),
    }),
  ),
  { what: "add", build: (p) => p.add(p.input("E3", "E", 3), p.gather(p.input("N3", "N", 3), "source", "E")) },
  { what: "mul", build: (p) => p.mul(p.input("E3", "E", 3), p.gather(p.input("B3", "B", 3), "edgeCrystal", "E")) },
  { what: "rows scaled", build: (p) => p.scaleRows(p.input("E3", "E", 3), p.input("E1", "E", 1)) },
  {
    what: "a ratio of positive numbers",
    build: (p) => p.ratio(p.exp(p.input("E3", "E", 3)), p.exp(p.gather(p.input("N3", "N", 3), "source", "E")), 1e-6),
  },
  ...Object.entries(WEIGHTS).flatMap(([starts, [weights, over]]): Row[] => {
    const rows = { edgeStart: "N", tripletStart: "E", crystalStart: "B", crystalEdgeStart: "B" }[starts] as Axis;
    const x = (p: ProgramBuilder) => p.input(`${over}5`, over, 5);
    return [
      { what: `sums by ${starts}`, build: (p) => p.segmentSum(x(p), starts, rows, weights) },
      { what: `means by ${starts}`, build: (p) => p.segmentMean(x(p), starts, rows, weights) },
      {
        what: `attention by ${starts}`,
        build: (p) => p.segmentAttention(x(p), p.input(`${rows}5`, rows, 5), starts, weights),
        tolerance: 2e-6,
      },
      {
        what: `attention by ${starts} to one of many`,
        build: (p) => p.segmentAttention(x(p), p.input(`${rows}5`, rows, 5), starts, weights),
        scale: 20,
        tolerance: 3e-4, // products of some 1000, whose last places count before exp
      },
      {
        what: `sums and means by ${starts} without weights`,
        build: (p) => p.add(p.segmentSum(x(p), starts, rows), p.segmentMean(x(p), starts, rows)),
      },
    ];
  }),
];

for (const { what, build, scale = 2, relative = false, tolerance = CLOSE } of ROWS)
  test(`${what}: as in float64`, async () => {
    const p = new ProgramBuilder(PARAMS);
    const program = p.build(p.label(build(p), "output"));
    const exported = programOnnx(program);
    for (const runtime of runtimes) {
      const session = await OnnxSession.open(runtime, exported);
      for (const isWeighted of [false, true]) {
        const batch = randomBatch(program, { scale, isWeighted });
        const exact = runOracle(program, batch)[program.output.id].data;
        const { output } = await session.run(batch);
        assert.is(output.length, exact.length);
        for (const [i, x] of exact.entries()) {
          const allowed = tolerance * (relative ? Math.abs(x) : Math.max(1, Math.abs(x)));
          assert.ok(Math.abs(output[i] - x) <= allowed, `${runtime.name}: entry ${i} is ${output[i]}, not ${x}`);
        }
      }
      await session.close();
    }
  });

test("an envelope just below its cutoff is right but for the last place of length / cutoff", async () => {
  const cutoff = 3;
  for (const exponent of [1, 3, 5, 6]) {
    const p = new ProgramBuilder(new Map());
    const program = p.build(p.label(p.envelope(p.input("E1", "E", 1), { cutoff, exponent }), "output"));
    for (const runtime of runtimes) {
      const session = await OnnxSession.open(runtime, programOnnx(program));
      const lengths = Float32Array.from({ length: SIZES.E }, (_, i) => cutoff * (1 - 2 ** (-i / 2)));
      lengths.set([cutoff, cutoff * 1.0001, 2 * cutoff], SIZES.E - 3);
      const { output } = await session.run({ sizes: SIZES, inputs: new Map([["E1", lengths]]) });
      for (const [i, length] of lengths.entries()) {
        const q = length / cutoff;
        // (1 - q)³ times the first terms of 1 / (1 - q)³, in float64.
        let terms = 0;
        for (let k = exponent; k > 0; k--) terms = terms * q + (k * (k + 1)) / 2;
        const exact = q < 1 ? (1 - q) ** 3 * terms : 0;
        const slope = 3 * Math.max(0, 1 - q) ** 2 * terms;
        const allowed = 1e-6 * exact + 1.2e-7 * slope + 1e-20;
        assert.ok(Math.abs(output[i] - exact) <= allowed, `${exponent}, ${length}: ${output[i]}, not ${exact}`);
      }
      await session.close();
    }
  }
});

test("attention whose products are beyond float32 is NaN, not the 0 of an empty segment", async () => {
  const p = new ProgramBuilder(new Map());
  const x = p.segmentAttention(p.input("N2", "N", 2), p.input("B2", "B", 2), "crystalStart", "atomWeight");
  const program = p.build(p.label(x, "output"));
  const inputs = new Map<string, Float32Array | Int32Array>([
    ["N2", Float32Array.of(1e30, 0, 2e30, 0, 1, 2)],
    ["B2", Float32Array.of(1e30, 1, 1, 1, 1, 1)],
    ["crystalStart", Int32Array.of(0, 2, 2, 3)],
    ["atomCrystal", Int32Array.of(0, 0, 2)],
  ]);
  for (const runtime of runtimes) {
    const session = await OnnxSession.open(runtime, programOnnx(program));
    const { output } = await session.run({ sizes: { B: 3, N: 3, E: 0, T: 0 }, inputs });
    assert.ok(Number.isNaN(output[0]) && Number.isNaN(output[1]), `${output}`);
    assert.equal([...output.subarray(2)], [0, 0, 1, 2]);
    await session.close();
  }
});

/** What passes make for the Wasm kernels, and the batch norm that the exporter's own pass takes apart. */
const WITHOUT_ROW: OpName[] = [
  "bandedLinear",
  "batchNorm",
  "gatherSum",
  "gate",
  "lstmCell",
  "lstmOutput",
  "gatedSum",
  "gatedMean",
];

test("every operation that a network can be written in has a row", () => {
  const lowered = Object.keys(LOWERINGS);
  assert.equal([...lowered, ...WITHOUT_ROW].sort(), Object.keys(OPS).sort());
});

const ENVELOPE = { cutoff: 4, exponent: 5 };
const MODELS: [name: string, model: Model][] = [
  ["CGCNN", randomCgcnn()],
  ["a CGCNN classifier", randomCgcnn({ task: "classification", outputs: 2 })],
  ["CGCNN of one layer", randomCgcnn({ convs: 1, denseLayers: 1 })],
  ["ALIGNN", randomAlignn()],
  ["ALIGNN with batch norm", randomAlignn({ norm: "batch", alignnLayers: 2, gcnLayers: 2 })],
  ["an ALIGNN classifier", randomAlignn({ task: "classification", norm: "batch", outputs: 2 })],
  ["an atomwise classifier", randomAlignn({ task: "classification", norm: "layer" })],
  ["ALIGNN of extra features", randomAlignn({ extraFeatures: 6 })],
  ["ALIGNN with link log", randomAlignn({ link: "log" })],
  ["ALIGNN with link logit", randomAlignn({ link: "logit", outputs: 3 })],
  ["ALIGNN with an envelope on features", randomAlignn({ envelope: { ...ENVELOPE, multiply: true } })],
  ["ALIGNN with an envelope as length", randomAlignn({ envelope: { ...ENVELOPE, multiply: false } })],
  ["ALIGNN with a penalty", randomAlignn({ penalty: { factor: 0.1, threshold: 2.5 } })],
  ["ALIGNN without pairs", randomAlignn({ alignnLayers: 0, gcnLayers: 2 })],
  ["ALIGNN without convolutions", randomAlignn({ alignnLayers: 0, gcnLayers: 0 })],
  ["MEGNet", randomMegnet()],
  ["MEGNet of one block", randomMegnet({ blocks: 1, set2setSteps: 1 })],
  ["MEGNet of states", randomMegnet({ stateTypes: 4, stateFeatures: 16 })],
  ["a MEGNet classifier", randomMegnet({ task: "classification" })],
];

/** The smallest: the oracle is slow. */
const structures = exampleStructures()
  .sort((a, b) => a.numbers.length - b.numbers.length)
  .slice(0, 3);

/** A batch in which some graphs are compressed, and of each its state. */
function exampleBatch({ config }: Model): Batch {
  const graphs = structures.map((structure) => buildGraph(structure, config.graph));
  const batch = collate(graphs.map((graph, i) => (i % 2 ? lift(graph) : graph)));
  return { ...batch, inputs: new Map(batch.inputs).set("state", Int32Array.of(3, 0, 2)) };
}

for (const [name, model] of MODELS) {
  test(`${name}: all labelled values as outputs, within 1e-5 of float64 and of the Wasm kernels`, async () => {
    const { program } = model;
    for (const { op } of plainProgram(program).nodes) assert.ok(op in LOWERINGS, op);
    const labels = [...plainProgram(program).labels.keys()];
    assert.ok(["output", "atoms", "crystal"].every((label) => labels.includes(label)));
    const exported = programOnnx(program, { outputs: labels });
    const batch = exampleBatch(model);
    const exact = runOracle(program, batch);
    const wasm = await wasmBackend().createSession(program);
    const own = await wasm.values(batch, ["output", "atoms", "crystal"]);
    for (const runtime of runtimes) {
      const session = await OnnxSession.open(runtime, exported);
      const found = await session.run(batch);
      assert.equal(Object.keys(found).sort(), labels.toSorted());
      for (const label of labels) {
        const { rows, columns, data } = exact[program.labels.get(label)!.id];
        const live = found[label].subarray(0, rows * columns);
        for (const expected of [data, own.get(label) ?? []])
          for (const [i, x] of expected.entries()) {
            const error = Math.abs(live[i] - x) / Math.max(1, Math.abs(x));
            assert.ok(error <= 1e-5, `${runtime.name}, ${label}[${i}]: ${live[i]}, not ${x}`);
          }
      }
      await session.close();
    }
    wasm.dispose();
  });

  test(`${name}: its file says what it is and how it is fed`, () => {
    const bytes = exportOnnx(model);
    const { program } = model;
    const { inputs } = programOnnx(program);
    const file = readOnnx(bytes);
    assert.is(file.irVersion, 8);
    assert.equal(file.opsets, [["", 17]]);
    assert.equal([file.producer, file.producerVersion], ["unitcell", VERSION]);
    assert.match(file.description, new RegExp(`^${model.architecture}.*exported by unitcell$`));
    assert.equal(file.metadata, onnxMetadata(model));
    assert.equal(JSON.parse(file.metadata.get("unitcell.config")!), JSON.parse(JSON.stringify(model.config)));
    const { B, N, E, T } = { B: "crystals", N: "atoms", E: "bonds", T: "pairs" } as const;
    assert.equal(
      file.inputs.map((input) => input.name),
      inputs.map((input) => input.name),
    );
    for (const [i, { name: input, type, shape, description }] of file.inputs.entries()) {
      const { kind, rows, columns } = inputs[i];
      assert.is(type, kind === "numbers" || kind === "weights" ? DATA_TYPE.f32 : DATA_TYPE.i32, input);
      const axis = { B, N, E, T }[rows as "B"];
      assert.equal(shape, kind === "slots" ? [input] : columns > 1 ? [axis, columns] : [axis], input);
      assert.ok(description.length > 10, `${input} is not described`);
    }
    assert.equal(
      file.outputs.map(({ name: output, type, shape }) => [output, type, shape]),
      [["output", DATA_TYPE.f32, ["crystals", model.config.outputs]]],
    );
    checkNames(bytes);
    checkWeights(bytes, program);
  });
}

/** Each name is given once, before it is read, and read. */
function checkNames(bytes: Uint8Array): void {
  const { inputs, constants, nodes, outputs } = readOnnx(bytes);
  const known = new Set<string>();
  const give = (name: string) => {
    assert.ok(name && !known.has(name), `"${name}" is given twice`);
    known.add(name);
  };
  for (const { name } of [...inputs, ...constants]) give(name);
  const read = new Set(outputs.map(({ name }) => name));
  for (const node of nodes) {
    for (const name of node.inputs) {
      assert.ok(known.has(name), `${node.name} reads "${name}"`);
      read.add(name);
    }
    for (const name of node.outputs) give(name);
  }
  assert.equal(
    [...known].filter((name) => !read.has(name)),
    [],
    "nothing is written for nobody",
  );
}

/** Constants have as many bytes as their shape says, and parameters that no pass changes are those of the model. */
function checkWeights(bytes: Uint8Array, { params }: Program): void {
  const size: Record<number, number> = { [DATA_TYPE.f32]: 4, [DATA_TYPE.i32]: 4, [DATA_TYPE.i64]: 8 };
  let same = 0;
  for (const { name, type, dims, raw } of readOnnx(bytes).constants) {
    assert.is(raw.length, size[type] * dims.reduce((product, dim) => product * dim, 1), name);
    const param = params.get(name);
    if (!param) continue;
    assert.equal(dims, [...param.shape], name);
    assert.equal(new Float32Array(raw.slice().buffer), param.data, name);
    same++;
  }
  assert.ok(same > 3, `${same} parameters`);
}

test("labels of one value are two outputs; only what an output needs is in the file", async () => {
  const { program } = randomCgcnn();
  const whole = readOnnx(programOnnx(program).bytes);
  const exported = programOnnx(program, { outputs: ["crystal", "atoms", "pooled"] });
  const file = readOnnx(exported.bytes);
  assert.equal(
    file.outputs.map(({ name, shape }) => [name, shape[0]]),
    [
      ["crystal", "crystals"],
      ["atoms", "atoms"],
      ["pooled", "crystals"],
    ],
  );
  assert.not(file.constants.some(({ name }) => name.startsWith("fc_out")));
  assert.ok(whole.constants.some(({ name }) => name.startsWith("fc_out")));
  checkNames(exported.bytes);
  const batch = exampleBatch(randomCgcnn());
  for (const runtime of runtimes) {
    const session = await OnnxSession.open(runtime, exported);
    const { crystal, pooled } = await session.run(batch);
    assert.equal(crystal, pooled);
    await session.close();
  }
  for (const outputs of [["atom"], ["output", "nothing"]])
    await throwsCode(() => programOnnx(program, { outputs }), "NOT_FOUND", /no value "(atom|nothing)"; .*output/);
});

for (const [name, model] of MODELS)
  test(`${name} with weights in half precision: linears alone, rounded to float16`, () => {
    const [single, half] = (["f32", "f16"] as const).map((weights) =>
      readOnnx(programOnnx(model.program, { weights }).bytes),
    );
    const linears = single.nodes.filter(({ op }) => op === "Gemm");
    assert.ok(linears.length > 0);
    assert.is(half.nodes.filter(({ op }) => op === "Gemm").length, linears.length);
    const data = new Map(half.constants.map((tensor) => [tensor.name, tensor]));
    for (const { inputs } of half.nodes.filter(({ op }) => op === "Gemm"))
      for (const input of inputs.slice(1)) {
        const { type, raw, dims } = data.get(input)!;
        assert.is(type, DATA_TYPE.f16, input);
        assert.is(raw.length, 2 * dims.reduce((product, dim) => product * dim, 1));
      }
    const widths = (file: typeof single) => file.inputs.map(({ name: input, type }) => `${input} ${type}`);
    assert.equal(widths(half), widths(single));
  });

test("the least sizes: no axis is empty, slots are as many as the fullest segment's rows", () => {
  const { program } = randomAlignn();
  const { inputs } = programOnnx(program);
  const batch = exampleBatch(randomAlignn());
  const { rows, slots } = feedSizes(inputs, batch);
  assert.equal(rows, batch.sizes);
  for (const starts of ["edgeStart", "tripletStart", "crystalStart"]) {
    const start = Array.from(batch.inputs.get(starts)!);
    const most = Math.max(...start.slice(1).map((end, s) => end - start[s]));
    assert.is(slots.get(starts.replace("Start", "Slots")), most);
  }
});

test.run();
