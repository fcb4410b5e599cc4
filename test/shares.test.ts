/** Shares of a prediction by atom: they add up to it, symmetric atoms have equal ones, and they are what they are said to be. */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { embed } from "../src/embed.js";
import type { Model } from "../src/models/model.js";
import { type Head, linearRule, pathRule } from "../src/models/shares.js";
import type { Node, Program } from "../src/ops/program.js";
import { predict, predictStream } from "../src/predict.js";
import type { Prediction } from "../src/prediction.js";
import { seededRandom } from "../src/random.js";
import type { Structure } from "../src/structures/structure.js";
import { crystal, supercell } from "./crystals.js";
import { exampleModel, exampleStructures } from "./examples.js";
import { fixtureNames, haveFixtures } from "./fixtures.js";
import { publishedModel, storedStructure } from "./goldens.js";
import { alignnModel } from "./goldens-alignn.js";
import { megnetModel } from "./goldens-megnet.js";
import { runOracle } from "./oracle.js";
import { randomAlignn, randomCgcnn, randomMegnet } from "./random-models.js";

/**
 * |sum of shares - prediction| relative to the sum of |shares| or the normalizer's std, the unit in which the network
 * computes, whichever is larger: what float32 leaves of the prediction.
 */
const TOLERANCE = 1e-6;

/** |sum of shares - the head in float64|, relative in the same way. */
const QUADRATURE = 1e-9;

const examples = exampleStructures();
const example = await exampleModel();
const MODELS: [name: string, model: Model][] = [
  ["example CGCNN", example],
  ["random CGCNN", randomCgcnn()],
  ["random ALIGNN", randomAlignn()],
  ["random ALIGNN, 3 outputs", randomAlignn({ outputs: 3 })],
];
const published: typeof MODELS = [];
if (haveFixtures("cgcnn"))
  for (const name of ["formation-energy-per-atom", "band-gap"])
    published.push([`published ${name}`, await publishedModel(`${name}.pth.tar`)]);
if (haveFixtures("alignn"))
  for (const name of ["atomwise_graph", "variants/multi_output", "variants/atomwise_cutoff_replace"])
    published.push([`ALIGNN ${name}`, await alignnModel(name, { neighborPolicy: "symmetric" })]);

const sharedStructures: Structure[] = haveFixtures("structures")
  ? fixtureNames("structures")
      .filter((name) => /^(proto|cod|jvasp).*\.json$/.test(name))
      .map((name) => storedStructure(name.replace(".json", "")))
      .filter(({ numbers }) => numbers.length <= 60)
  : [];

/** Column sums of (N, outputs). */
function totals(shares: Float64Array, outputs: number): { sum: number[]; size: number[] } {
  const [sum, size] = [0, 0].map((x) => new Array<number>(outputs).fill(x));
  for (const [k, share] of shares.entries()) {
    sum[k % outputs] += share;
    size[k % outputs] += Math.abs(share);
  }
  return { sum, size };
}

for (const [name, model] of [...MODELS, ...published])
  test(`${name}: shares add up to the prediction within ${TOLERANCE}`, async () => {
    const all = [...examples, ...sharedStructures, ...fc.sample(crystal, { numRuns: 100, seed: 20240501 })];
    // A graph that is refused has neither a value nor shares.
    const structures: Structure[] = [];
    const predictions: Prediction[] = [];
    let n = 0;
    for await (const record of predictStream(model, all)) {
      const structure = all[n++];
      if ("error" in record) continue;
      structures.push(structure);
      predictions.push(record);
    }
    const { mean, std } = model.normalizer ?? { mean: 0, std: 1 };
    const head = headOf(model.program, "crystal");
    let [worst, exact] = [0, 0];
    for (const [i, { shares, atoms, sites }] of (await embed(model, structures, { shares: true })).entries()) {
      const values = predictions[i].values ?? [predictions[i].value];
      assert.is(shares!.length, sites * values.length);
      const { sum, size } = totals(shares!, values.length);
      const float64 = headValues(head, [pooledOf(atoms, sites)]);
      for (const [o, value] of values.entries()) {
        const scale = Math.max(std, size[o]);
        worst = Math.max(worst, Math.abs(sum[o] - value) / scale);
        exact = Math.max(exact, Math.abs(sum[o] - (float64[o] * std + mean)) / scale);
      }
    }
    const figures = `${worst.toExponential(2)}, from float64 ${exact.toExponential(2)}`;
    console.log(`  ${name}: ${structures.length} of ${all.length} structures, worst ${figures}`);
    assert.ok(structures.length > 100, `${structures.length}`);
    assert.ok(worst <= TOLERANCE, `${worst}`);
    assert.ok(exact <= QUADRATURE, `${exact}`);
  });

/** The part of a program from a labelled value to its output, with that value as an input of the batch. */
function headOf({ nodes, params, output, labels }: Program, label: string): Program {
  const from = labels.get(label)!;
  const moved = <T extends { id: number }>(value: T): T => ({ ...value, id: value.id - from.id });
  const input: Node = { op: "input", output: moved(from), inputs: [], params: [], index: label, numbers: {} };
  const rest = nodes
    .slice(from.id + 1)
    .map((node) => ({ ...node, output: moved(node.output), inputs: node.inputs.map(moved) }));
  return { nodes: [input, ...rest], params, output: moved(output), labels: new Map() };
}

/** The head's outputs for rows of pooled vectors, by the oracle. */
function headValues(head: Program, rows: readonly number[][]): Float64Array {
  const data = Float64Array.from(rows.flat()) as unknown as Float32Array;
  const sizes = { B: rows.length, N: 0, E: 0, T: 0 };
  return runOracle(head, { sizes, inputs: new Map([["crystal", data]]) })[head.output.id].data;
}

/** The atoms' mean. */
function pooledOf(atoms: Float32Array, sites: number): number[] {
  const pooled = new Array<number>(atoms.length / sites).fill(0);
  for (const [k, x] of atoms.entries()) pooled[k % pooled.length] += x / sites;
  return pooled;
}

/** Simpson's rule over the path, gradients by central differences of the oracle's head. */
function sharesByDifferences(model: Model, atoms: Float32Array, sites: number): number[] {
  const head = headOf(model.program, "crystal");
  const columns = atoms.length / sites;
  const row = (i: number) => Array.from(atoms.subarray(i * columns, (i + 1) * columns));
  const pooled = pooledOf(atoms, sites);
  const [steps, h] = [200, 1e-4];
  const { mean, std } = model.normalizer!;
  const [start] = headValues(head, [pooled.map(() => 0)]);
  return Array.from({ length: sites }, (_, i) => {
    const points = Array.from({ length: steps + 1 }, (_x, k) => k / steps).flatMap((t) =>
      [h, -h].map((e) => pooled.map((p, c) => t * p + e * row(i)[c])),
    );
    const values = headValues(head, points);
    let integral = 0;
    for (let k = 0; k <= steps; k++) {
      const weight = k === 0 || k === steps ? 1 : k % 2 ? 4 : 2;
      integral += ((weight / (3 * steps)) * (values[2 * k] - values[2 * k + 1])) / (2 * h);
    }
    return ((integral + start) * std + mean) / sites;
  });
}

const integrated: [name: string, model: Model, structure: Structure][] = [
  ...examples.filter(({ numbers }) => numbers.length <= 6).map((s) => ["example", example, s] as const),
  ...examples.filter(({ numbers }) => numbers.length <= 6).map((s) => ["random", MODELS[1][1], s] as const),
].map(([name, model, structure]) => [name, model, structure]);
if (haveFixtures("cgcnn"))
  for (const id of ["proto-cscl", "jvasp-676"]) integrated.push(["published", published[0][1], storedStructure(id)]);

test("CGCNN's shares are the integral along the path, by Simpson's rule on differences of the oracle's head", async () => {
  let worst = 0;
  let apart = 0;
  for (const [name, model, structure] of integrated) {
    const [{ shares, atoms, sites }] = await embed(model, [structure], { shares: true });
    const expected = sharesByDifferences(model, atoms, sites);
    const size = totals(shares!, 1).size[0];
    for (const [i, x] of expected.entries()) {
      const error = Math.abs(shares![i] - x) / size;
      worst = Math.max(worst, error);
      assert.ok(error <= 1e-6, `${name} ${structure.id} atom ${i}: ${shares![i]}, expected ${x}`);
    }
    apart = Math.max(apart, (Math.max(...shares!) - Math.min(...shares!)) / size);
  }
  console.log(`  ${integrated.length} crystals, largest difference ${worst.toExponential(2)}`);
  assert.ok(apart > 0.01, "the shares must differ between atoms, or the test shows nothing");
});

test("ALIGNN's shares are the terms of its mean", async () => {
  const model = MODELS[3][1];
  const [weight, bias] = ["fc.weight", "fc.bias"].map((name) => model.program.params.get(name)!.data);
  const { mean, std } = model.normalizer!;
  for (const { shares, atoms, atomColumns, sites } of await embed(model, examples.slice(0, 4), { shares: true }))
    for (let i = 0; i < sites; i++)
      for (let o = 0; o < 3; o++) {
        let output = bias[o];
        for (let c = 0; c < atomColumns; c++) output += weight[o * atomColumns + c] * atoms[i * atomColumns + c];
        assert.ok(Math.abs(shares![3 * i + o] - (output * std + mean) / sites) < 1e-12);
      }
});

test("along the path, a linear head gives its own terms, whatever its weights", () => {
  const next = seededRandom(3);
  const weight = Float64Array.from({ length: 12 }, () => 1e3 * (next() - 0.5));
  const bias = Float64Array.from({ length: 3 }, () => next());
  const pooled = Float64Array.from({ length: 4 }, () => next());
  const head: Head = {
    value: (x) => bias.map((b, o) => b + x.reduce((sum, y, c) => sum + y * weight[4 * o + c], 0)),
    gradient: () => weight,
  };
  const [found, expected] = [pathRule(head)(pooled), linearRule(weight, bias)(pooled)];
  for (const [k, x] of weight.entries()) assert.ok(Math.abs(found.gradient[k] - x) < 1e-12 * 1e3);
  assert.equal(found.start, expected.start);
});

test("a head with a step: panels are halved until the integral fits", () => {
  const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));
  let evaluations = 0;
  const head: Head = {
    value: ([x, y]) => Float64Array.of(sigmoid(300 * (x - 0.3)) + x * y),
    gradient: ([x, y]) => {
      evaluations++;
      const s = sigmoid(300 * (x - 0.3));
      return Float64Array.of(300 * s * (1 - s) + y, x);
    },
  };
  const { gradient } = pathRule(head)(Float64Array.of(1, 2));
  assert.ok(Math.abs(gradient[0] - 2) < 1e-9, `${gradient[0]}`); // the step's height, and y's mean
  assert.ok(Math.abs(gradient[1] - 0.5) < 1e-9, `${gradient[1]}`);
  console.log(`  ${evaluations} gradients`);
  assert.ok(evaluations < 16 * 40);
});

test("NaN weights give NaN shares, at once", () => {
  let evaluations = 0;
  const nan = () => Float64Array.of(Number.NaN);
  const { gradient } = pathRule({
    value: nan,
    gradient: () => {
      evaluations++;
      return nan();
    },
  })(Float64Array.of(1));
  assert.ok(Number.isNaN(gradient[0]));
  assert.is(evaluations, 16);
});

const perovskite = examples.find(({ id }) => id === "SrTiO3-perovskite")!;

for (const [name, model] of [...MODELS, ...published])
  test(`${name}: SrTiO3's oxygens have equal shares, and in eight cells each atom an eighth of it`, async () => {
    const outputs = model.config.outputs;
    const [cell, cells] = await embed(model, [perovskite, supercell(perovskite, 2)], { shares: true });
    const { size } = totals(cell.shares!, outputs);
    const near = (a: number, b: number, o: number) =>
      assert.ok(Math.abs(a - b) <= 2 * TOLERANCE * Math.max(1, size[o]), `${a} and ${b}`);
    const share = ({ shares }: typeof cell, i: number, o: number) => shares![i * outputs + o];
    const oxygens = [...perovskite.numbers.keys()].filter((i) => perovskite.numbers[i] === 8);
    assert.is(oxygens.length, 3);
    for (let o = 0; o < outputs; o++) {
      for (const i of oxygens) near(share(cell, i, o), share(cell, oxygens[0], o), o);
      for (let i = 0; i < 40; i++) near(8 * share(cells, i, o), share(cell, i % 5, o), o);
    }
  });

const WITHOUT: [what: string, model: Model][] = [
  ["MEGNet", randomMegnet()],
  ["a CGCNN classifier", randomCgcnn({ task: "classification", outputs: 2 })],
  ["an ALIGNN classifier", randomAlignn({ task: "classification", norm: "batch", outputs: 2 })],
  ["ALIGNN of extra features", randomAlignn({ extraFeatures: 6 })],
  ["ALIGNN with link log", randomAlignn({ link: "log" })],
  ["ALIGNN with link logit", randomAlignn({ link: "logit" })],
  ["ALIGNN with a penalty", randomAlignn({ penalty: { factor: 0.1, threshold: 1 } })],
];
if (haveFixtures("megnet")) WITHOUT.push(["published MEGNet", await megnetModel()]);
for (const [what, model] of WITHOUT)
  test(`no shares: ${what}`, async () => {
    const [record] = await embed(model, [examples[2]], { shares: true });
    assert.not("shares" in record);
    assert.ok(record.crystal.length > 0);
  });

test("without a normalizer shares are of the output, and a warning says so", async () => {
  const { normalizer: _, ...bare } = example;
  const [plain] = await embed(bare, [examples[2]]);
  assert.equal(plain.warnings, []);
  const [{ shares, warnings }] = await embed(bare, [examples[2]], { shares: true });
  assert.equal(
    warnings.map(({ code }) => code),
    ["no-normalizer"],
  );
  const [{ value }] = await predict(bare, [examples[2]]);
  assert.ok(Math.abs(totals(shares!, 1).sum[0] - value) < TOLERANCE);
});

test.run();
