/** The embedded example against PyTorch: test/fixtures/ionic-predictions.json is made by examples/train/reference.py. */
import { readFileSync, statSync } from "node:fs";
import { basename } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { wasmBackend } from "../src/backends/wasm.js";
import { loadCheckpoint } from "../src/checkpoint.js";
import { ensemble } from "../src/ensemble.js";
import { buildGraph } from "../src/graphs/graph.js";
import { loadModel } from "../src/load-model.js";
import type { Model } from "../src/models/model.js";
import { predict } from "../src/predict.js";
import { PredictionCache } from "../src/prediction-cache.js";
import { exampleModel, exampleStructures } from "./examples.js";

interface Values {
  f64: number;
  edges: number;
  symmetric_f64?: number;
  symmetric_edges?: number;
}
interface Reference {
  structures: Record<string, { f64: number; tie_min: number; tie_max: number; natoms: number }>;
  alignn: { structures: Record<string, Values> };
  megnet: { structures: Record<string, Values> };
}
const reference: Reference = JSON.parse(readFileSync("test/fixtures/ionic-predictions.json", "utf8"));
const MODELS = ["cgcnn", "alignn", "megnet"];
const read = (name: string) => JSON.parse(readFileSync(`examples/saved_models/${name}.json`, "utf8"));
const RUNS = [...MODELS.flatMap((model) => [`${model}_ionic_best`, `${model}_ionic_final`]), "cgcnn_ionic_epoch50"];

test("every example structure: PyTorch's float64 prediction, or the range of its tie choices", async () => {
  const predictions = await predict(await exampleModel(), exampleStructures());
  const expected = new Map(
    Object.entries(reference.structures).map(([file, values]) => [file.replace(/\.\w+$/, ""), values]),
  );
  assert.equal(predictions.map(({ id }) => id!).sort(), [...expected.keys()].sort());
  let worst = 0;
  for (const { id, value, sites } of predictions) {
    const { tie_min, tie_max, natoms } = expected.get(id!)!;
    assert.is(sites, natoms);
    // Values reach -47 eV/atom: float32 holds 7 digits.
    const error = Math.max(tie_min - value, value - tie_max, 0);
    worst = Math.max(worst, error);
    assert.ok(error <= 2e-5, `${id}: ${value}, expected ${tie_min} to ${tie_max}`);
  }
  console.log(`  ${predictions.length} structures, largest error ${worst.toExponential(2)} eV/atom`);
});

for (const [name, neighborPolicy] of [["alignn"], ["alignn", "symmetric"], ["megnet"]] as const)
  test(`${[name, neighborPolicy].join(" ").trim()}: PyTorch's float64 prediction of every example structure`, async () => {
    const file = `${name}_ionic_best.pt`;
    const model = await exampleModel(file, neighborPolicy && { neighborPolicy });
    const expected = new Map(
      Object.entries(reference[name].structures).map(([path, values]) => [path.replace(/\.\w+$/, ""), values]),
    );
    let worst = { id: "", error: 0 };
    let compared = 0;
    const structures = exampleStructures();
    for (const [i, { id, value }] of (await predict(model, structures)).entries()) {
      const { f64, edges, symmetric_f64 = f64, symmetric_edges = edges } = expected.get(id!)!;
      const { numEdges } = buildGraph(structures[i], model.config.graph);
      // The symmetric policy counts an atom's bonds to its own images once, PyTorch's reference twice as upstream does.
      if (neighborPolicy && numEdges < symmetric_edges) continue;
      assert.is(numEdges, neighborPolicy ? symmetric_edges : edges, id);
      compared++;
      const error = Math.abs(value - (neighborPolicy ? symmetric_f64 : f64)) / Math.max(1, Math.abs(f64));
      if (!(error <= worst.error)) worst = { id: id!, error };
    }
    assert.ok(compared === expected.size || (neighborPolicy && compared >= 7), `${compared} compared`);
    console.log(
      `  ${compared} of ${expected.size} structures, largest relative error ${worst.error.toExponential(2)} (${worst.id})`,
    );
    assert.ok(worst.error <= 2e-6, `${worst.id}: ${worst.error}`);
  });

test("ensemble_predictions.pt holds the command line's predictions of the example structures, none of them stale", async () => {
  const cache = await PredictionCache.load(readFileSync("examples/saved_models/ensemble_predictions.pt"));
  const models: Model[] = [];
  for (const model of MODELS) {
    const path = `examples/saved_models/${model}_ionic_best.pt`;
    const { property, unit, elements } = read(`${model}_ionic_metadata`);
    const options = { name: basename(path), property, unit, trainedOn: elements };
    models.push(await loadModel(readFileSync(path), options));
  }
  const backend = wasmBackend({ relaxed: false }); // the build of Node 20, where the file was made
  const cached = await predict(ensemble(models), exampleStructures(), { cache, backend });
  const fresh = await predict(ensemble(models), exampleStructures(), { backend });
  for (const [i, { cached: hit, elapsedMs: _, ...record }] of cached.entries()) {
    const { elapsedMs: __, ...expected } = fresh[i];
    assert.is(hit, true, `${record.id}: make it anew with unitcell predict --cache`);
    assert.equal(record, expected);
  }
});

for (const run of RUNS)
  test(`${run}.pt is a whole checkpoint below 150 kB`, async () => {
    const file = `examples/saved_models/${run}.pt`;
    assert.ok(statSync(file).size <= 150_000);
    const checkpoint = await loadCheckpoint(readFileSync(file));
    assert.is(checkpoint.layout, "training");
    assert.ok(checkpoint.normalizer && checkpoint.args && checkpoint.epoch);
    assert.equal([...checkpoint.extra.keys()], ["optimizer"]);
  });

for (const [i, model] of MODELS.entries())
  test(`${model}: metadata and history have the keys of the saved_models layout`, () => {
    const metadata = read(`${model}_ionic_metadata`);
    for (const key of ["training_data", "n_train", "n_val", "test_mae", "test_r2", "hyperparameters", "elements"])
      assert.ok(key in metadata, key);
    assert.is(metadata.model_type, model);
    assert.equal(metadata.elements, Object.keys(metadata.formal_charges).sort());
    assert.ok(metadata.test_mae < 0.05 * metadata.baseline_mae && metadata.test_r2 > 0.99);
    const run = read("training_history")[i];
    for (const key of ["epochs", "best_val_mae", "training_time", "hyperparameters"]) assert.ok(key in run, key);
    assert.is(run.model_name, `${model}_ionic`);
    assert.is(run.history.length, run.epochs);
  });

test.run();
