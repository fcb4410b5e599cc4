/** Which architecture a checkpoint is, and with which settings: found, assumed, contradictory or not known. */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Checkpoint, loadCheckpoint } from "../src/checkpoint.js";
import { type ErrorCode, isUnitcellError } from "../src/errors.js";
import type { TorchValue } from "../src/formats/values.js";
import { modelFromCheckpoint, recognizeModel } from "../src/models/from-checkpoint.js";
import type { ModelOptions } from "../src/models/model.js";
import type { Tensor } from "../src/tensor.js";
import { fixtureBytes, haveFixtures } from "./fixtures.js";
import { alignnGoldens, alignnModel } from "./goldens-alignn.js";

const load = (name: string) => loadCheckpoint(readFileSync(`examples/saved_models/${name}_ionic_best.pt`));
const alignn = await load("alignn");
const megnet = await load("megnet");

test("a trained ALIGNN tells its sizes by tensors and its graph by arguments, nothing is assumed", () => {
  const { config, found, assumed } = recognizeModel(alignn);
  assert.equal(config, {
    type: "alignn",
    task: "regression",
    norm: "batch",
    outputs: 1,
    elementFeatures: 92,
    hidden: 16,
    embedding: 14,
    edgeBasis: 80,
    angleBasis: 40,
    alignnLayers: 1,
    gcnLayers: 1,
    link: "identity",
    extraFeatures: 0,
    graph: {
      select: "shell",
      cutoff: 8,
      maxNeighbors: 12,
      canonize: true,
      neighborPolicy: "upstream",
      lineGraph: true,
    },
  });
  assert.equal(assumed, []);
  for (const setting of ["neighbor_strategy k-nearest", "cutoff 8", "max_neighbors 12", "use_canonize true"])
    assert.ok(found.includes(setting), setting);
});

test("a trained MEGNet likewise, its elements by element_types", () => {
  const { config, assumed } = recognizeModel(megnet);
  assert.equal(config, {
    type: "megnet",
    task: "regression",
    outputs: 1,
    elementFeatures: 16,
    edgeBasis: 40,
    gaussWidth: 0.5,
    encoder: [16, 8],
    dense: [16, 8],
    conv: [16, 8],
    head: [16, 8, 1],
    blocks: 2,
    set2setWidth: 8,
    set2setSteps: 2,
    stateFeatures: 2,
    stateTypes: 0,
    graph: { select: "sphere", cutoff: 5 },
  });
  assert.equal(assumed, []);
  const types = megnet.args!.get("element_types") as string[];
  assert.is(modelFromCheckpoint(megnet).elements.rows.size, types.length);
});

test("without arguments the published defaults are used and named", () => {
  const bare = ({ args: _, ...rest }: Checkpoint): Checkpoint => rest;
  assert.equal(recognizeModel(bare(alignn)).assumed, [
    "settings not in the checkpoint, ALIGNN's defaults used: atom_features cgcnn, neighbor_strategy k-nearest, cutoff 8, " +
      "max_neighbors 12, use_canonize true",
    "settings not in the checkpoint, ALIGNN's defaults used: name alignn, classification false, link identity",
  ]);
  assert.equal(recognizeModel(bare(megnet)).assumed, [
    "settings not in the checkpoint, MEGNet's defaults used: is_classification false, gauss_width 0.5, niters_set2set 2, " +
      "cutoff 4",
  ]);
});

test("settings given win over the checkpoint's", () => {
  const { graph } = recognizeModel(alignn, { cutoff: 6, neighbor_strategy: "radius_graph", cutoff_extra: 2 }).config;
  assert.equal(graph, { select: "radius-graph", cutoff: 6, cutoffExtra: 2, lineGraph: true });
  const symmetric = modelFromCheckpoint(alignn, { neighborPolicy: "symmetric" }).config.graph;
  assert.is(symmetric.select === "shell" && symmetric.neighborPolicy, "symmetric");
});

test("names with the prefixes of DataParallel and of Lightning's module are the model's", () => {
  for (const prefix of ["module.", "model.", "module.model."]) {
    const stateDict = new Map([...alignn.stateDict].map(([name, tensor]) => [prefix + name, tensor] as const));
    assert.equal(modelFromCheckpoint({ ...alignn, stateDict }).config, recognizeModel(alignn).config);
  }
  const stripped = new Map(
    [...megnet.stateDict].map(([name, tensor]) => [name.replace(/^model\./, ""), tensor] as const),
  );
  assert.ok([...megnet.stateDict.keys()].every((name) => name.startsWith("model.")));
  assert.equal(modelFromCheckpoint({ ...megnet, stateDict: stripped }).config, recognizeModel(megnet).config);
});

function withArgs(of: Checkpoint, changes: Record<string, TorchValue>): Checkpoint {
  return { ...of, args: new Map([...of.args!, ...Object.entries(changes)]) };
}
function withModel(changes: Record<string, TorchValue>): Checkpoint {
  const model = alignn.args!.get("model") as Map<string, TorchValue>;
  return withArgs(alignn, { model: new Map([...model, ...Object.entries(changes)]) });
}
function withTensor(of: Checkpoint, name: string, shape: readonly number[] | undefined): Checkpoint {
  const stateDict = new Map<string, Tensor>(of.stateDict);
  stateDict.delete(name);
  const count = shape?.reduce((product, size) => product * size, 1) ?? 0;
  if (shape) stateDict.set(name, { dtype: "f32", shape, data: new Uint8Array(4 * count) });
  return { ...of, stateDict };
}

const REFUSED: [what: string, checkpoint: Checkpoint, options: ModelOptions, code: ErrorCode, message: RegExp][] = [
  [
    "radius_graph_jarvis, with the reason",
    withArgs(alignn, { neighbor_strategy: "radius_graph_jarvis" }),
    {},
    "UNSUPPORTED",
    /squares its bond vectors/,
  ],
  [
    "voronoi, which upstream accepts and lacks",
    withArgs(alignn, { neighbor_strategy: "voronoi" }),
    {},
    "UNSUPPORTED",
    /"neighbor_strategy" must be one of k-nearest, radius_graph, found "voronoi"/,
  ],
  ["another link", withModel({ link: "softplus" }), {}, "UNSUPPORTED", /"link" must be one of identity, log, logit/],
  ["layers that contradict", withModel({ alignn_layers: 4 }), {}, "MISMATCH", /alignn_layers is 4 .* 1 by the tensors/],
  ["a name that contradicts", withModel({ name: "alignn_atomwise" }), {}, "MISMATCH", /tensors are of batch norms/],
  [
    "features that contradict",
    withArgs(alignn, { atom_features: "atomic_number" }),
    {},
    "MISMATCH",
    /takes 92 .* has 1/,
  ],
  [
    "features of another table",
    withArgs(alignn, { atom_features: "mat2vec" }),
    {},
    "UNSUPPORTED",
    /one of cgcnn, atomic/,
  ],
  ["a cutoff that is no number", withArgs(alignn, { cutoff: "8" }), {}, "CORRUPT", /"cutoff" must be a number/],
  ["half a neighbour", withArgs(alignn, { max_neighbors: 12.5 }), {}, "CORRUPT", /must be a positive integer/],
  ["a classifier with one output", withModel({ classification: true }), {}, "MISMATCH", /2 outputs or more, found 1/],
  [
    "extra features nobody knows",
    withTensor(alignn, "extra_feature_embedding.layer.0.weight", [3, 3]),
    {},
    "UNSUPPORTED",
    /takes 3 extra features/,
  ],
  [
    "a missing gate",
    withTensor(alignn, "gcn_layers.0.dst_gate.weight", undefined),
    {},
    "MISMATCH",
    /1 missing: gcn_layers\.0\.dst_gate\.weight/,
  ],
  [
    "no centres",
    withTensor(alignn, "angle_embedding.0.centers", undefined),
    {},
    "UNSUPPORTED",
    /nearest is ALIGNN, which would also have angle_embedding\.0\.centers$/,
  ],
  [
    "another activation",
    withArgs(megnet, { activation_type: "tanh" }),
    {},
    "UNSUPPORTED",
    /softplus2 is known, found "tanh"/,
  ],
  [
    "a cutoff that the centres contradict",
    withArgs(megnet, { cutoff: 4 }),
    {},
    "MISMATCH",
    /centres end at 6\.000 Å, but with a cutoff of 4 Å matgl's end at 5; give the cutoff/,
  ],
  [
    "too few elements",
    withArgs(megnet, { element_types: ["H"] }),
    {},
    "MISMATCH",
    /has 62 rows, element_types names 1/,
  ],
  [
    "an element that is none",
    withArgs(megnet, { element_types: [...(megnet.args!.get("element_types") as string[]).slice(1), "Xx"] }),
    {},
    "CORRUPT",
    /"Xx" names no element/,
  ],
  [
    "a second LSTM layer",
    withTensor(megnet, "model.edge_s2s.lstm.weight_hh_l1", [32, 8]),
    {},
    "UNSUPPORTED",
    /more than one LSTM layer/,
  ],
  [
    "a neighbour policy for MEGNet",
    megnet,
    { neighborPolicy: "symmetric" },
    "ARGUMENT",
    /is megnet with a sphere graph/,
  ],
  [
    "a missing element table, even where missing tensors may be zeros",
    withTensor(megnet, "model.blocks.1.conv.node_func.layers.2.bias", undefined),
    {},
    "MISMATCH",
    /1 missing: blocks\.1\.conv\.node_func\.layers\.2\.bias/,
  ],
];
/** The trained ALIGNN as alignn_atomwise would have it: layer norms have no running statistics. */
function withCutoffFunction(changes: Record<string, TorchValue>): Checkpoint {
  const stateDict = new Map([...alignn.stateDict].filter(([name]) => !/running_|num_batches/.test(name)));
  const settings = { name: "alignn_atomwise", use_cutoff_function: true, energy_mult_natoms: false, ...changes };
  return { ...withModel(settings), stateDict };
}
const cgcnn = await load("cgcnn");
const inAlignn = (changes: Record<string, TorchValue>) => withArgs(alignn, changes);
const inRadiusGraph = (changes: Record<string, TorchValue>) =>
  withArgs(alignn, { neighbor_strategy: "radius_graph", ...changes });
const inMegnet = (changes: Record<string, TorchValue>) => withArgs(megnet, changes);
const inCgcnn = (changes: Record<string, TorchValue>) => withArgs(cgcnn, changes);

test("settings inside their bounds are taken", () => {
  modelFromCheckpoint(withCutoffFunction({ exponent: 100, inner_cutoff: 100, penalty_factor: -1 }));
  modelFromCheckpoint(inMegnet({ niters_set2set: 100 }));
  assert.is(recognizeModel(inMegnet({ cutoff: 100 })).config.graph.cutoff, 100); // the centres are another test's
  modelFromCheckpoint(inRadiusGraph({ cutoff: 100, cutoff_extra: 0.1 }));
});

/** Settings that decide work or memory, what is too much of them, and what is none. */
const BOUNDED: [string, (changes: Record<string, TorchValue>) => Checkpoint, number[], TorchValue[]][] = [
  ["cutoff", inAlignn, [100.5, 1e300], [0, -1, Number.NaN, Number.POSITIVE_INFINITY, true, null, 10n ** 30n, [8]]],
  ["max_neighbors", inAlignn, [257, 1e9, 2 ** 32 + 1], [0, -1, 1e-9, Number.NaN, 10n ** 30n, new Map()]],
  ["cutoff", inRadiusGraph, [1e6], [0, -1]],
  ["cutoff_extra", inRadiusGraph, [1e6], [0, -3, Number.NaN, "3"]],
  ["exponent", withCutoffFunction, [101, 1e9], [0, -5, 2.5, Number.NaN]],
  ["inner_cutoff", withCutoffFunction, [1e6], [0, -1, Number.NaN]],
  ["penalty_factor", withCutoffFunction, [], [Number.POSITIVE_INFINITY, Number.NaN, "0.1"]],
  ["penalty_threshold", withCutoffFunction, [], [Number.NEGATIVE_INFINITY, null]],
  ["cutoff", inMegnet, [1e6, 1e300], [0, -4, Number.NaN]],
  ["niters_set2set", inMegnet, [101, 1e9], [0, -2, 1.5, Number.NaN]],
  ["gauss_width", inMegnet, [], [0, -0.5, Number.NaN, Number.POSITIVE_INFINITY]],
  ["radius", inCgcnn, [1e6], [0, -8, Number.NaN]],
  ["max_num_nbr", inCgcnn, [257, 1e9], [0, 12.5]],
  ["step", inCgcnn, [], [0, -0.2, Number.NaN]],
  ["dmin", inCgcnn, [], [Number.NaN, Number.POSITIVE_INFINITY]],
];
for (const [name, of, tooMuch, wrong] of BOUNDED)
  test(`${name} of ${recognizeModel(of({})).config.type}: what would exhaust time or memory is LIMIT, what is none CORRUPT`, () => {
    const refused = (value: TorchValue, code: ErrorCode, message: string) =>
      assert.throws(
        () => recognizeModel(of({ [name]: value })),
        (error: Error) => isUnitcellError(error, code) && error.message.startsWith(`setting "${name}" ${message}`),
        `${name} ${String(value)}`,
      );
    for (const value of tooMuch) refused(value, "LIMIT", `is ${value}, the limit is `);
    for (const value of wrong) refused(value, "CORRUPT", "must be a");
  });

test("messages show no more of a setting than a line holds", () => {
  let nested: TorchValue = [];
  for (let i = 0; i < 100_000; i++) nested = [nested];
  for (const value of ["x".repeat(1e6), nested, new Map([["a", nested]]), Array(1e5).fill("H")]) {
    for (const make of [
      () => inAlignn({ cutoff: value }),
      () => withModel({ link: value }),
      () => withModel({ alignn_layers: value }),
      () => inMegnet({ activation_type: value }),
      () => inMegnet({ element_types: [value] }),
      () => inCgcnn({ task: value }),
    ])
      assert.throws(
        () => modelFromCheckpoint(make()),
        (error: Error) => isUnitcellError(error) && error.message.length < 300,
      );
  }
});

/** Shapes alone: a state dict of more layers than the bound, one tensor each. */
test("names cannot ask for layers without end", () => {
  const stateDict = new Map(cgcnn.stateDict);
  const one = cgcnn.stateDict.get("convs.0.fc_full.weight")!;
  for (let i = 0; i < 300; i++) stateDict.set(`convs.${i}.fc_full.weight`, one);
  assert.throws(
    () => recognizeModel({ ...cgcnn, stateDict }),
    (error: Error) =>
      isUnitcellError(error, "LIMIT") && /at most 256 layers of a kind, found convs\.256\./.test(error.message),
  );
});

test("tensors that are missing are not filled in without end, either", () => {
  // 200 layers of 600 x 600, of which the state dict has names alone.
  const stateDict = new Map(alignn.stateDict);
  const wide = (name: string, shape: number[]) =>
    stateDict.set(name, { dtype: "f32", shape, data: new Uint8Array(4 * shape.reduce((a, b) => a * b, 1)) });
  wide("atom_embedding.layer.0.weight", [600, 92]);
  for (let i = 0; i < 200; i++) wide(`gcn_layers.${i}.src_gate.weight`, [0, 0]);
  const { args: _, ...bare } = alignn;
  assert.throws(
    () => modelFromCheckpoint({ ...bare, stateDict }, { strict: false }),
    (error: Error) => isUnitcellError(error, "LIMIT") && /would take \d+ bytes/.test(error.message),
  );
});

const NORMALIZERS: [mean: number, std: number][] = [
  [0, 0],
  [0, -1],
  [0, Number.NaN],
  [Number.NaN, 1],
  [0, Number.POSITIVE_INFINITY],
];
for (const normalizer of NORMALIZERS.map(([mean, std]) => ({ mean, std })))
  test(`a normalizer of mean ${normalizer.mean} and std ${normalizer.std} is refused, unless another is given`, () => {
    const refused = (make: () => unknown, code: ErrorCode) =>
      assert.throws(make, (error: Error) => isUnitcellError(error, code) && /positive std, found/.test(error.message));
    refused(() => modelFromCheckpoint({ ...cgcnn, normalizer }), "CORRUPT");
    refused(() => modelFromCheckpoint(cgcnn, { normalizer }), "ARGUMENT");
    modelFromCheckpoint({ ...cgcnn, normalizer }, { normalizer: { mean: 0, std: 1 } });
  });

for (const [what, centre] of [
  ["all equal", () => 1],
  ["descending", (i: number) => -i],
  ["NaN", () => Number.NaN],
  ["infinite", (i: number) => (i === 0 ? 0 : Number.POSITIVE_INFINITY)],
] as const)
  test(`refused: centres of ALIGNN's bonds that are ${what}`, () => {
    const name = "edge_embedding.0.centers";
    const { shape } = alignn.stateDict.get(name)!;
    const data = new Uint8Array(Float32Array.from({ length: shape[0] }, (_, i) => centre(i)).buffer);
    const stateDict = new Map(alignn.stateDict).set(name, { dtype: "f32", shape, data });
    assert.throws(
      () => modelFromCheckpoint({ ...alignn, stateDict }),
      (error: Error) => isUnitcellError(error, "CORRUPT") && /centers must ascend/.test(error.message),
    );
  });

for (const [what, checkpoint, options, code, message] of REFUSED)
  test(`refused: ${what}`, () => {
    assert.throws(
      () => modelFromCheckpoint(checkpoint, options),
      (error: unknown) => {
        assert.ok(isUnitcellError(error, code), `${error}`);
        assert.match((error as Error).message, message);
        return true;
      },
    );
  });

if (haveFixtures("alignn"))
  test("all 17 shared ALIGNN checkpoints are recognised with their config.json, and again without", async () => {
    for (const name of alignnGoldens().keys()) {
      const { config, assumed } = await alignnModel(name);
      assert.is(config.type, "alignn");
      assert.equal(assumed, [], name);
      const alone = recognizeModel(await loadCheckpoint(fixtureBytes(`alignn/${name}/best_model.pt`)));
      assert.is(alone.config.type, "alignn");
      assert.is(alone.assumed.length, 2, name);
    }
  });

if (haveFixtures("megnet"))
  test("matgl's state.pt alone is recognised; its cutoff and the rest are assumed", async () => {
    const { config, assumed } = recognizeModel(await loadCheckpoint(fixtureBytes("megnet/state.pt")));
    assert.is(config.type === "megnet" && config.blocks, 3);
    assert.match(assumed.join(), /cutoff 4/);
  });

test.run();
