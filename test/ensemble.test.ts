/** Several models as one: mean and sample standard deviation by hand, what is refused, what a failing member does. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { combinePredictions, ensemble } from "../src/ensemble.js";
import { type ErrorCode, isUnitcellError } from "../src/errors.js";
import type { Model } from "../src/models/model.js";
import { predict, predictStream } from "../src/predict.js";
import type { Prediction } from "../src/prediction.js";
import { exampleModel, exampleStructures } from "./examples.js";
import { randomAlignn, randomCgcnn, randomMegnet } from "./random-models.js";

const EXAMPLES = ["cgcnn", "alignn", "megnet"].map((name) => `${name}_ionic_best.pt`);
const models = await Promise.all(EXAMPLES.map((file) => exampleModel(file, { name: file, unit: "eV/atom" })));
const structures = exampleStructures().slice(0, 5);

/** A record with no more than what differs. */
const record = (value: number, rest: Partial<Prediction> = {}): Prediction => ({
  schema: 1,
  formula: "NaCl",
  sites: 2,
  value,
  warnings: [],
  model: { architecture: "CGCNN" },
  backend: "wasm",
  elapsedMs: 1,
  ...rest,
});

const ARITHMETIC: [what: string, values: number[], calibration: number | undefined, mean: number, std: number][] = [
  ["two", [1, 3], undefined, 2, Math.SQRT2],
  ["three", [2, 4, 9], undefined, 5, Math.sqrt(13)],
  ["equal ones", [-7.5, -7.5, -7.5], undefined, -7.5, 0],
  ["calibrated", [1, 3], 2.5, 2, 2.5 * Math.SQRT2],
  ["far from zero", [1e9, 1e9 + 2], undefined, 1e9 + 1, Math.SQRT2],
];
for (const [what, values, calibration, mean, std] of ARITHMETIC)
  test(`mean and sample standard deviation: ${what}`, () => {
    const members = values.map(() => models[0]);
    const together = ensemble(members, calibration === undefined ? {} : { calibration });
    const combined = combinePredictions(
      together,
      values.map((value) => record(value)),
    ) as Prediction;
    assert.is(combined.value, mean);
    assert.ok(Math.abs(combined.std! - std) <= 1e-12, `${combined.std}`);
    assert.is(combined.calibrated, calibration !== undefined);
    assert.equal(
      combined.members!.map((member) => member.value),
      values,
    );
  });

test("an ensemble of three architectures: each member's own value, and their mean", async () => {
  const together = await predict(ensemble(models), structures);
  const alone = await Promise.all(models.map((model) => predict(model, structures)));
  for (const [i, { members, value, model, unit }] of together.entries()) {
    assert.equal(
      members!.map((member) => member.value),
      alone.map((records) => records[i].value),
    );
    assert.equal(
      members!.map((member) => member.model.architecture),
      ["CGCNN", "ALIGNN", "MEGNet"],
    );
    assert.ok(Math.abs(value - alone.reduce((sum, records) => sum + records[i].value / 3, 0)) < 1e-12);
    assert.equal([model, unit], [{ name: "ensemble of 3", architecture: "ensemble" }, "eV/atom"]);
  }
});

test("several outputs and classes are averaged one by one", () => {
  const [a, b] = [randomCgcnn(), randomCgcnn()];
  const outputs = combinePredictions(ensemble([a, b]), [record(1, { values: [1, 5] }), record(3, { values: [3, 9] })]);
  assert.equal((outputs as Prediction).values, [2, 7]);
  const classes = [record(0.25, { probabilities: [0.75, 0.25] }), record(0.75, { probabilities: [0.25, 0.75] })];
  const combined = combinePredictions(ensemble([a, b]), classes) as Prediction;
  assert.equal([combined.value, combined.probabilities], [0.5, [0.5, 0.5]]);
});

test("a warning that all members give is said once, another names its member", () => {
  const shared = { code: "structure-note", message: "both" } as const;
  const own = { code: "few-neighbors", message: "one", atoms: [0] } as const;
  const combined = combinePredictions(ensemble([models[0], models[1]]), [
    record(1, { warnings: [shared] }),
    record(2, { warnings: [own, shared] }),
  ]) as Prediction;
  assert.equal(combined.warnings, [shared, { ...own, member: 1 }]);
});

test("where one member fails the ensemble fails and says which, the other structures go on", async () => {
  const [a, b] = [models[0], models[2]];
  const [first, second] = structures;
  const far = { ...first, lattice: first.lattice.map((x) => 40 * x), id: "far" };
  const records = [];
  for await (const one of predictStream(ensemble([a, b]), [far, second])) records.push(one);
  const [failed, fine] = records;
  assert.ok("error" in failed && failed.error.code === "UNSUPPORTED");
  assert.match("error" in failed ? failed.error.message : "", /^megnet_ionic_best\.pt: no two atoms within 5 Å/);
  assert.not.ok("error" in fine);
});

const classifier = (outputs: number): Model => randomCgcnn({ task: "classification", outputs });
const REFUSED: [what: string, make: () => unknown, code: ErrorCode, message: RegExp][] = [
  ["one model", () => ensemble([models[0]]), "ARGUMENT", /at least two models, found 1/],
  ["no calibration", () => ensemble(models, { calibration: 0 }), "ARGUMENT", /must be a positive number, found 0/],
  ["NaN as calibration", () => ensemble(models, { calibration: Number.NaN }), "ARGUMENT", /found NaN/],
  [
    "other properties",
    () => ensemble([{ ...models[0], property: "band_gap" }, models[1]]),
    "MISMATCH",
    /share their property, found cgcnn_ionic_best\.pt: band_gap; alignn_ionic_best\.pt: not known/,
  ],
  [
    "other units",
    () => ensemble([models[0], { ...models[1], unit: "meV/atom" }]),
    "MISMATCH",
    /share their unit, found cgcnn_ionic_best\.pt: eV\/atom; alignn_ionic_best\.pt: meV\/atom/,
  ],
  [
    "a classifier and a regression",
    () => ensemble([classifier(2), randomMegnet({}, { unit: "probability" })]),
    "MISMATCH",
    /share their task/,
  ],
  ["two and three classes", () => ensemble([classifier(2), classifier(3)]), "MISMATCH", /outputs or classes/],
  [
    "one and two outputs",
    () => ensemble([randomAlignn(), randomAlignn({ outputs: 2 })]),
    "MISMATCH",
    /outputs or classes/,
  ],
];
for (const [what, make, code, message] of REFUSED)
  test(`refused: ${what}`, () => {
    assert.throws(make, (error: unknown) => isUnitcellError(error, code) && message.test(error.message));
  });

test.run();
