/** What a change of weights does to predictions, against predict's own numbers. */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadCheckpoint } from "../src/checkpoint.js";
import { UnitcellError } from "../src/errors.js";
import { modelFromCheckpoint } from "../src/models/from-checkpoint.js";
import type { Model } from "../src/models/model.js";
import { predict } from "../src/predict.js";
import { comparePredictions } from "../src/prediction-change.js";
import { slimCheckpoint } from "../src/slim.js";
import type { Structure } from "../src/structures/structure.js";
import { exampleModel, exampleStructures } from "./examples.js";
import { throwsCode } from "./throws.js";

const structures = exampleStructures();
const options = { property: "energy", unit: "eV" };
const checkpoint = await loadCheckpoint(readFileSync("examples/saved_models/cgcnn_ionic_best.pt"));
const before = modelFromCheckpoint(checkpoint, options);
const after = modelFromCheckpoint(slimCheckpoint(checkpoint, { dtype: "bf16" }).checkpoint);

test("the values of predict, their differences, the largest and the mean", async () => {
  const [old, now] = [await predict(before, structures), await predict(after, structures)];
  const report = await comparePredictions(before, after, structures);
  const differences = old.map(({ value }, i) => Math.abs(now[i].value - value));
  assert.equal(
    report.structures,
    old.map(({ id, formula, value }, i) => ({
      id,
      formula,
      before: value,
      after: now[i].value,
      difference: differences[i],
    })),
  );
  assert.is(report.largest, Math.max(...differences));
  assert.ok(Math.abs(report.mean - differences.reduce((a, b) => a + b) / 13) < 1e-12);
  assert.ok(report.largest > 1e-3);
  assert.equal(
    [report.property, report.unit, report.compared, report.failed, report.accepted],
    ["energy", "eV", 13, 0, undefined],
  );
});

test("a tolerance accepts up to itself", async () => {
  const { largest } = await comparePredictions(before, after, structures);
  const accepted = async (tolerance: number) =>
    (await comparePredictions(before, after, structures, { tolerance })).accepted;
  assert.equal([await accepted(largest), await accepted(largest * 0.999)], [true, false]);
  assert.is((await comparePredictions(before, before, structures, { tolerance: 0 })).accepted, true);
  assert.is((await comparePredictions(before, before, [], { tolerance: 1 })).accepted, false);
});

test("what fails is in the report, and nothing is accepted then", async () => {
  const unread = { id: "unread", error: new UnitcellError("CORRUPT", "no cell") };
  const unknown: Structure = { ...structures[0], id: "unknown", numbers: structures[0].numbers.map(() => 115) };
  const broken: Model = modelFromCheckpoint({
    ...checkpoint,
    stateDict: new Map(
      [...checkpoint.stateDict].map(([name, { dtype, shape, data }]) => [name, { dtype, shape, data }]),
    ),
    normalizer: { mean: 1e308, std: 1e308 },
  });
  async function* stream() {
    yield unread;
    yield unknown;
    yield structures[2];
  }
  const report = await comparePredictions(before, broken, stream(), { tolerance: 1 });
  assert.equal(
    report.structures.map((row) => ("error" in row ? [row.id, row.failed, row.error.code] : row.id)),
    [
      ["unread", "both", "CORRUPT"],
      ["unknown", "both", "UNSUPPORTED"],
      ["CsCl", "after", "CORRUPT"],
    ],
  );
  assert.equal([report.compared, report.failed, report.accepted], [0, 3, false]);
  assert.ok(Number.isNaN(report.largest) && Number.isNaN(report.mean));
  const reverse = await comparePredictions(broken, before, [structures[2]]);
  assert.equal(
    reverse.structures.map((row) => "error" in row && row.failed),
    ["before"],
  );
});

test("refused: a tolerance below 0, models of different kinds, options that predict refuses", async () => {
  await throwsCode(() => comparePredictions(before, after, structures, { tolerance: -1 }), "ARGUMENT", /0 or more/);
  const other = await exampleModel("megnet_ionic_best.pt");
  await throwsCode(() => comparePredictions(before, other, structures), "MISMATCH", /a CGCNN regression of 1 outputs/);
  await throwsCode(
    () => comparePredictions(before, after, structures, { state: 1 }),
    "ARGUMENT",
    /no model has states/,
  );
});

test.run();
