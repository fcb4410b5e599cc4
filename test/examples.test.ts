/** The embedded example against PyTorch: test/fixtures/ionic-predictions.json is made by examples/train/reference.py. */
import { readFileSync, statSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadCheckpoint } from "../src/checkpoint.js";
import { predict } from "../src/predict.js";
import { exampleModel, exampleStructures } from "./examples.js";

interface Reference {
  structures: Record<string, { f64: number; tie_min: number; tie_max: number; natoms: number }>;
}
const reference: Reference = JSON.parse(readFileSync("test/fixtures/ionic-predictions.json", "utf8"));
const MODELS = ["cgcnn", "alignn", "megnet"];
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

for (const run of RUNS)
  test(`${run}.pt is a whole checkpoint below 150 kB`, async () => {
    const file = `examples/saved_models/${run}.pt`;
    assert.ok(statSync(file).size <= 150_000);
    const checkpoint = await loadCheckpoint(readFileSync(file));
    assert.is(checkpoint.layout, "training");
    assert.ok(checkpoint.normalizer && checkpoint.args && checkpoint.epoch);
    assert.equal([...checkpoint.extra.keys()], ["optimizer"]);
  });

const read = (name: string) => JSON.parse(readFileSync(`examples/saved_models/${name}.json`, "utf8"));

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
