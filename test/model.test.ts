/** From checkpoint to config: sizes from tensors, settings from arguments or named defaults, contradictions refused. */

import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Checkpoint, loadCheckpoint } from "../src/checkpoint.js";
import { type ErrorCode, isUnitcellError } from "../src/errors.js";
import type { TorchValue } from "../src/formats/values.js";
import { cgcnnElementTable, parseElementTable } from "../src/graphs/features.js";
import { modelFromCheckpoint } from "../src/models/from-checkpoint.js";
import type { ModelOptions } from "../src/models/model.js";
import { predict } from "../src/predict.js";
import { type Tensor, toFloat32 } from "../src/tensor.js";
import { exampleModel, exampleStructures } from "./examples.js";
import { fixtureText, haveFixtures } from "./fixtures.js";

const checkpoint = await loadCheckpoint(readFileSync("examples/saved_models/cgcnn_ionic_best.pt"));

test("sizes come from the tensors, settings from the arguments", () => {
  const { config, assumed, normalizer } = modelFromCheckpoint(checkpoint);
  assert.equal(config, {
    type: "cgcnn",
    task: "regression",
    outputs: 1,
    elementFeatures: 92,
    hidden: 16,
    convs: 3,
    dense: 24,
    denseLayers: 1,
    graph: { select: "nearest", cutoff: 8, maxNeighbors: 12 },
    basis: { first: 0, step: 0.2, count: 41 },
  });
  assert.equal(assumed, []);
  assert.is(normalizer!.std, 12.212956428527832);
});

test("without arguments: published defaults, named", () => {
  const { args: _, ...bare } = checkpoint;
  const { config, assumed } = modelFromCheckpoint(bare);
  assert.equal(config.graph, { select: "nearest", cutoff: 8, maxNeighbors: 12 });
  assert.equal(assumed, [
    "settings not in the checkpoint, CGCNN's defaults used: radius 8, max_num_nbr 12, dmin 0, step 0.2",
  ]);
});

function withArgs(changes: Record<string, TorchValue>, of = checkpoint): Checkpoint {
  return { ...of, args: new Map([...of.args!, ...Object.entries(changes)]) };
}
function withTensor(name: string, change: (tensor: Tensor | undefined) => Tensor | undefined): Checkpoint {
  const stateDict = new Map(checkpoint.stateDict);
  const changed = change(stateDict.get(name));
  if (changed) stateDict.set(name, changed);
  else stateDict.delete(name);
  return { ...checkpoint, stateDict };
}
function renamed(rename: (name: string) => string): Checkpoint {
  return {
    ...checkpoint,
    stateDict: new Map([...checkpoint.stateDict].map(([name, tensor]) => [rename(name), tensor])),
  };
}
const row = (length: number): Tensor => ({ dtype: "f32", shape: [length], data: new Uint8Array(4 * length) });

const REFUSED: [what: string, checkpoint: Checkpoint, options: ModelOptions, code: ErrorCode, message: RegExp][] = [
  [
    "a missing tensor",
    withTensor("convs.1.bn2.bias", () => undefined),
    {},
    "MISMATCH",
    /1 missing: convs\.1\.bn2\.bias$/,
  ],
  ["an unexpected tensor", withTensor("convs.0.extra", () => row(3)), {}, "MISMATCH", /1 unexpected: convs\.0\.extra$/],
  [
    "a wrong shape",
    withTensor("conv_to_fc.bias", () => row(3)),
    {},
    "MISMATCH",
    /conv_to_fc\.bias is \[3\], expected \[24\]/,
  ],
  [
    "a gap in the layers",
    withTensor("convs.7.fc_full.weight", () => row(3)),
    {},
    "MISMATCH",
    /n_conv is 3 in the arguments, 8 by/,
  ],
  [
    "a layer number that would take a billion tensors",
    withTensor("convs.999999999.fc_full.weight", () => row(3)),
    {},
    "MISMATCH",
    /1 unexpected: convs\.999999999\.fc_full\.weight$/,
  ],
  [
    "a counter of no batch norm",
    withTensor("embedding.num_batches_tracked", () => row(1)),
    {},
    "MISMATCH",
    /1 unexpected: embedding\.num_batches_tracked$/,
  ],
  [
    "everything at once",
    renamed((name) => (name === "fc_out.bias" ? "fc_out.b" : `module.${name}`)),
    {},
    "MISMATCH",
    /1 missing: fc_out\.bias; 1 unexpected: fc_out\.b; \d+ remapped: module\.embedding\.weight to embedding\.weight, /,
  ],
  [
    "a missing tensor too large to start from zeros",
    withArgs(
      { h_fea_len: 1e9 },
      withTensor("conv_to_fc.weight", () => ({ ...row(0), shape: [1e9, 3] })),
    ),
    { strict: false },
    "LIMIT",
    /conv_to_fc\.weight \[1000000000,16\] would take 64000000000 bytes/,
  ],
  [
    "two tensors for one name",
    withTensor("module.fc_out.bias", () => row(1)),
    { strict: false },
    "MISMATCH",
    /fc_out\.bias, module\.fc_out\.bias would all be fc_out\.bias/,
  ],
  [
    "a prefix of no known wrapper, which is named",
    renamed((name) => `network.${name}`),
    { strict: false },
    "UNSUPPORTED",
    /no known architecture.*network\.embedding.* starts with "network\."; without it 4 would fit: take it off the names first$/,
  ],
  [
    "no CGCNN, but nearly",
    withTensor("embedding.weight", () => undefined),
    {},
    "UNSUPPORTED",
    /no known architecture \(CGCNN, ALIGNN, MEGNet\): embedding\.bias.*nearest is CGCNN, which would also have embedding\.weight$/,
  ],
  [
    "arguments that contradict",
    withArgs({ n_conv: 4 }),
    {},
    "MISMATCH",
    /n_conv is 4 in the arguments, 3 by the tensors/,
  ],
  [
    "a task that contradicts",
    withArgs({ task: "classification" }),
    {},
    "MISMATCH",
    /"classification" does not go with 1/,
  ],
  ["a radius that contradicts", withArgs({ radius: 6 }), {}, "MISMATCH", /takes 41 Gaussians.*give 31/],
  ["a radius that is no number", withArgs({ radius: "8" }), {}, "CORRUPT", /"radius" must be a number/],
  [
    "another element table",
    checkpoint,
    { elements: parseElementTable('{"1": [1, 0]}') },
    "MISMATCH",
    /takes 92 .*has 2/,
  ],
];
for (const [what, broken, options, code, message] of REFUSED)
  test(`refused: ${what}`, () => {
    try {
      modelFromCheckpoint(broken, options);
      assert.unreachable();
    } catch (error) {
      assert.ok(isUnitcellError(error, code), `${error}`);
      assert.match((error as Error).message, message);
    }
  });

const WRAPPED: [wrapper: string, rename: (name: string) => string][] = [
  ["DataParallel", (name) => `module.${name}`],
  ["torch.compile", (name) => `_orig_mod.${name}`],
  [
    "DataParallel of a compiled model with compiled layers",
    (name) => `module._orig_mod.${name.replace(".bn1.", ".bn1._orig_mod.")}`,
  ],
  ["some names only", (name) => (name.startsWith("convs.") ? `module.${name}` : name)],
];
for (const [wrapper, rename] of WRAPPED)
  test(`a checkpoint of ${wrapper} gives the same model, and its report says what was remapped`, () => {
    const plain = modelFromCheckpoint(checkpoint);
    const wrapped = modelFromCheckpoint(renamed(rename));
    assert.equal(wrapped.config, plain.config);
    assert.equal([...wrapped.program.params], [...plain.program.params]);
    const names = [...checkpoint.stateDict.keys()];
    assert.equal(plain.loadReport.remapped, []);
    assert.equal(
      new Map(wrapped.loadReport.remapped.map(({ from, to }) => [to, from])),
      new Map(names.filter((name) => rename(name) !== name).map((name) => [name, rename(name)])),
    );
  });

test("float64 weights are cast to float32, and the report says so", () => {
  const wide = withTensor("fc_out.weight", (tensor) => {
    const data = new Uint8Array(Float64Array.from(toFloat32(tensor!)).buffer);
    return { dtype: "f64", shape: tensor!.shape, data };
  });
  const model = modelFromCheckpoint(wide);
  assert.equal(model.loadReport.cast, [{ name: "fc_out.weight", from: "f64", to: "f32" }]);
  assert.equal([...model.program.params], [...modelFromCheckpoint(checkpoint).program.params]);
});

test("not strict: tensors that do not fit are left out, missing ones start from zeros or the identity, and it is said", () => {
  const lacking = withTensor("convs.1.bn2.weight", () => undefined);
  const stateDict = new Map([...lacking.stateDict, ["conv_to_fc.bias", row(3)], ["head.weight", row(2)]] as const);
  const { loadReport, assumed, program } = modelFromCheckpoint({ ...lacking, stateDict }, { strict: false });
  assert.equal(loadReport.missing, ["convs.1.bn2.weight"]);
  assert.equal(loadReport.unexpected, ["head.weight"]);
  assert.equal(loadReport.wrongShape, [{ name: "conv_to_fc.bias", expected: [24], found: [3] }]);
  assert.equal(program.params.get("convs.1.bn2.weight")!.data, new Float32Array(16).fill(1));
  assert.equal(program.params.get("conv_to_fc.bias")!.data, new Float32Array(24));
  assert.is(program.params.has("head.weight"), false);
  assert.equal(assumed, ["2 tensors that the checkpoint does not give are zeros, in batch norms the identity"]);
});

test("options win over the checkpoint, a missing normalizer is said in every prediction", async () => {
  const structures = exampleStructures().slice(0, 2);
  const { normalizer: _, ...bare } = checkpoint;
  const raw = await predict(modelFromCheckpoint(bare), structures);
  const given = await predict(modelFromCheckpoint(bare, { normalizer: { mean: 3, std: 2 }, unit: "K" }), structures);
  for (const [i, prediction] of raw.entries()) {
    assert.is(prediction.warnings[0].code, "no-normalizer");
    assert.equal(given[i].warnings, []);
    assert.is(given[i].unit, "K");
    assert.is(given[i].value, prediction.value * 2 + 3);
  }
});

test("a user's own element table is used", async () => {
  const own = cgcnnElementTable();
  const [structure] = exampleStructures();
  const swapped = new Map(own.rows).set(13, own.rows.get(31)!); // aluminium described as gallium
  const [a] = await predict(await exampleModel(), [structure]);
  const [b] = await predict(modelFromCheckpoint(checkpoint, { elements: { ...own, rows: swapped } }), [structure]);
  assert.is.not(a.value, b.value);
});

const TABLES: [text: string, message: RegExp][] = [
  ["[[1]]", /must be an object/],
  ["{", /not JSON/],
  ["{}", /empty/],
  ['{"0": [1]}', /key "0" is no atomic number/],
  ['{"H": [1]}', /key "H" is no atomic number/],
  ['{"1": [1, 2], "2": [1]}', /row 2 has 1 columns, the first 2/],
  ['{"1": [null]}', /row 1 is not a list of finite numbers/],
];
for (const [text, message] of TABLES)
  test(`element table ${text} is refused`, () => {
    assert.throws(
      () => parseElementTable(text),
      (error: unknown) => isUnitcellError(error, "CORRUPT") && message.test(error.message),
    );
  });

if (haveFixtures("cgcnn"))
  test("the shipped element table is upstream's, all 100 x 92", () => {
    const upstream = parseElementTable(fixtureText("cgcnn/atom_init.json"));
    const ours = cgcnnElementTable();
    assert.is(ours.columns, upstream.columns);
    assert.equal([...ours.rows], [...upstream.rows]);
  });

test.run();
