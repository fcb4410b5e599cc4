/** Vectors of crystals and atoms: against the float64 oracle and upstream's traces, the same alone and in a batch. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type Embedding, embed, embedStream } from "../src/embed.js";
import { ensemble } from "../src/ensemble.js";
import { UnitcellError } from "../src/errors.js";
import { collate } from "../src/graphs/batch.js";
import { buildGraph } from "../src/graphs/graph.js";
import type { Model } from "../src/models/model.js";
import { predict } from "../src/predict.js";
import type { FailedPrediction } from "../src/prediction.js";
import type { Structure } from "../src/structures/structure.js";
import { exampleModel, exampleStructures } from "./examples.js";
import { fixtureJson, haveFixtures } from "./fixtures.js";
import { publishedModel, storedStructure } from "./goldens.js";
import { alignnModel, alignnStructures } from "./goldens-alignn.js";
import { megnetModel } from "./goldens-megnet.js";
import { runOracle } from "./oracle.js";
import { randomAlignn, randomCgcnn, randomMegnet } from "./random-models.js";
import { throwsCode } from "./throws.js";

/** float32 relative to the largest number of a vector, or 1. */
const TOLERANCE = 2e-5;

const structures = exampleStructures();
const small = structures.filter(({ numbers }) => numbers.length <= 8);

const MODELS: [name: string, model: Model][] = [
  ["example CGCNN", await exampleModel()],
  ["random CGCNN", randomCgcnn()],
  ["random ALIGNN", randomAlignn()],
  ["random MEGNet", randomMegnet()],
];
const published: typeof MODELS = [];
if (haveFixtures("cgcnn")) published.push(["published CGCNN", await publishedModel("band-gap.pth.tar")]);
if (haveFixtures("alignn")) published.push(["ALIGNN", await alignnModel("atomwise_graph")]);
if (haveFixtures("megnet")) published.push(["MEGNet", await megnetModel()]);

/** Largest difference relative to the largest expected number, or 1. */
function errorOf(found: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert.is(found.length, expected.length);
  const scale = Array.from(expected).reduce((most, x) => Math.max(most, Math.abs(x)), 1);
  return Array.from(expected).reduce((worst, x, i) => Math.max(worst, Math.abs(found[i] - x) / scale), 0);
}

for (const [name, model] of [...MODELS, ...published])
  test(`${name}: vectors agree with the float64 oracle within ${TOLERANCE}`, async () => {
    let worst = 0;
    const chosen = small.slice(0, 3);
    for (const [i, { crystal, atoms, atomColumns, sites }] of (await embed(model, chosen)).entries()) {
      const values = runOracle(model.program, collate([buildGraph(chosen[i], model.config.graph)]));
      const oracle = (label: string) => values[model.program.labels.get(label)!.id];
      worst = Math.max(worst, errorOf(crystal, oracle("crystal").data), errorOf(atoms, oracle("atoms").data));
      assert.is(atomColumns, oracle("atoms").columns);
      assert.is(atoms.length, sites * atomColumns);
    }
    console.log(`  ${name}: largest error ${worst.toExponential(2)}`);
    assert.ok(worst <= TOLERANCE, `${worst}`);
  });

test("a record: keys, model, state, warnings", async () => {
  const [record] = await embed(MODELS[0][1], [structures.find(({ id }) => id === "SrTiO3-perovskite")!]);
  const keys = "schema id formula sites crystal atoms atomColumns cutoff warnings model backend elapsedMs";
  assert.equal(Object.keys(record), keys.split(" "));
  assert.equal([record.formula, record.sites, record.atomColumns, record.crystal.length], ["SrTiO3", 5, 16, 16]);
  assert.equal(
    record.warnings.map(({ code }) => code),
    ["neighbor-tie"],
  );
  assert.is(record.model.architecture, "CGCNN");
  const stateful = randomMegnet({ stateTypes: 4, stateFeatures: 16 });
  const [a, b] = await Promise.all([0, 1].map((state) => embed(stateful, [structures[0]], { state })));
  assert.equal([a[0].state, b[0].state], [0, 1]);
  assert.not.equal(a[0].crystal, b[0].crystal);
  await throwsCode(() => embed(stateful, structures), "ARGUMENT", /give state 0 to 3.*found none/);
});

for (const [name, model] of MODELS)
  test(`${name}: the same bits alone, in any batch, in any order`, async () => {
    const vectors = (records: readonly Embedding[]) =>
      records.map(({ crystal, atoms, shares }) => ({ crystal, atoms, shares }));
    const alone: Embedding[] = [];
    for (const structure of small) alone.push(...(await embed(model, [structure], { shares: true })));
    for (const maxAtoms of [1, 7, 1e6])
      assert.equal(vectors(await embed(model, small, { maxAtoms, shares: true })), vectors(alone));
    const reversed = await embed(model, [...small].reverse(), { shares: true });
    assert.equal(vectors(reversed.reverse()), vectors(alone));
  });

test("the vector is what the prediction is made of, and the mean of the atoms where it is said to be", async () => {
  for (const [name, model] of MODELS.slice(0, 3)) {
    for (const { crystal, atoms, sites, atomColumns } of await embed(model, small)) {
      const mean = Array.from({ length: atomColumns }, (_, c) =>
        Array.from({ length: sites }, (_x, i) => atoms[i * atomColumns + c] / sites).reduce((sum, x) => sum + x, 0),
      );
      assert.ok(errorOf(crystal, mean) < 1e-6, name);
    }
  }
});

test("a stream keeps order, errors in their place; embed throws the first", async () => {
  const model = MODELS[0][1];
  const [good] = small;
  const heavy: Structure = { ...good, id: "heavy", numbers: good.numbers.map(() => 101) };
  const unread = { id: "unread", error: new UnitcellError("CORRUPT", "line 3: no number") };
  const records: (Embedding | FailedPrediction)[] = [];
  for await (const record of embedStream(model, [good, heavy, unread, { ...good, id: "last" }])) records.push(record);
  assert.equal(
    records.map((record) => [record.id, "error" in record ? record.error.code : "vectors"]),
    [
      [good.id, "vectors"],
      ["heavy", "UNSUPPORTED"],
      ["unread", "CORRUPT"],
      ["last", "vectors"],
    ],
  );
  assert.equal((records[0] as Embedding).atoms, (records[3] as Embedding).atoms);
  await throwsCode(() => embed(model, [good, heavy]), "UNSUPPORTED", /^heavy: the model's element table has no Md/);
  await throwsCode(() => embed(model, small, { maxAtoms: 0 }), "ARGUMENT", /maxAtoms/);
  const both = ensemble([model, model]) as unknown as Model;
  await throwsCode(() => embed(both, small), "ARGUMENT", /an ensemble has no vectors of its own/);
});

test("a signal ends a stream", async () => {
  const abort = new AbortController();
  const stream = embedStream(MODELS[0][1], structures, { maxAtoms: 1, signal: abort.signal });
  await stream.next();
  abort.abort();
  try {
    await stream.next();
    assert.unreachable();
  } catch (error) {
    assert.is((error as Error).name, "AbortError");
  }
});

test("embedding does not change what predict gives", async () => {
  for (const [, model] of MODELS) {
    const before = await predict(model, small);
    await embed(model, small);
    const after = await predict(model, small);
    assert.equal(
      after.map(({ value }) => value),
      before.map(({ value }) => value),
    );
  }
});

/** Compare with numbers of upstream's own float64 run: the crystal's, and the first atoms'. */
async function compareWithTrace(model: Model, structure: Structure, crystal: number[], atoms: number[]) {
  const [record] = await embed(model, [structure]);
  const worst = Math.max(errorOf(record.crystal, crystal), errorOf(record.atoms.subarray(0, atoms.length), atoms));
  console.log(`  ${structure.id}: largest error ${worst.toExponential(2)}`);
  assert.ok(worst <= TOLERANCE, `${worst}`);
}

if (haveFixtures("cgcnn"))
  test("CGCNN: from structure to upstream's traced vectors", async () => {
    type Trace = { checkpoints: Record<string, { float64: Record<string, { data: number[] }> }> };
    for (const id of ["proto-cu-prim", "cod-1507756"]) {
      const { checkpoints } = fixtureJson<Trace>(`cgcnn/trace-${id}.json`);
      for (const [name, { float64 }] of Object.entries(checkpoints)) {
        const model = await publishedModel(`${name}.pth.tar`);
        await compareWithTrace(model, storedStructure(id), float64.pooled.data, float64["conv3.out"].data);
      }
    }
  });

if (haveFixtures("alignn"))
  for (const [model, id, last] of [
    ["alignn_default", "proto-srtio3", "gcn_layers.3.out_nodes"],
    ["alignn_small_extra", "proto-srtio3", "gcn_layers.1.out_nodes"],
    ["atomwise_graph", "proto-srtio3", "gcn_layers.1.out_nodes"],
    ["variants/multi_output", "proto-cscl", "gcn_layers.0.out_nodes"],
  ])
    test(`ALIGNN ${model}: from structure to upstream's traced vectors`, async () => {
      const name = model.replace("variants/", "");
      type Trace = { tensors: Record<string, { values?: Rows; first_rows?: Rows }> };
      const { tensors } = fixtureJson<Trace>(`alignn/traces/${name}.${id}.json`);
      const numbers = (label: string) => (tensors[label].values ?? tensors[label].first_rows)!.flat();
      const structure = alignnStructures().get(id)!;
      await compareWithTrace(await alignnModel(model), structure, numbers("readout"), numbers(last));
    });

if (haveFixtures("megnet"))
  for (const id of ["proto-cscl", "proto-srtio3"])
    test(`MEGNet: from ${id} to upstream's traced vectors`, async () => {
      type Trace = { float64: { readout_concat: Rows; blocks: Record<string, Rows>[] } };
      const { float64 } = fixtureJson<Trace>(`megnet/trace-${id}.json`);
      const atoms = float64.blocks[float64.blocks.length - 1].out_node;
      await compareWithTrace(await megnetModel(), storedStructure(id), float64.readout_concat.flat(), atoms.flat());
    });

type Rows = number[] | number[][];

test.run();
