/** Records against their JSON Schema, by a validator that knows all of JSON Schema; types, schema and our own reader agree. */
import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { ensemble } from "../src/ensemble.js";
import { type ErrorCode, isUnitcellError, UnitcellError } from "../src/errors.js";
import { loadTorch } from "../src/formats/torch.js";
import { saveTorch } from "../src/formats/torch-save.js";
import type { TorchValue } from "../src/formats/values.js";
import { loadModel } from "../src/load-model.js";
import { type PredictOptions, predictStream } from "../src/predict.js";
import type {
  FailedPrediction,
  MemberPrediction,
  ModelInfo,
  Prediction,
  PredictionWarning,
  TieRange,
} from "../src/prediction.js";
import { PredictionCache } from "../src/prediction-cache.js";
import { predictionFromValue, predictionToValue } from "../src/record-values.js";
import type { Structure } from "../src/structures/structure.js";
import { exampleStructures } from "./examples.js";
import { fixtureBytes, haveFixtures } from "./fixtures.js";
import { alignnModel } from "./goldens-alignn.js";

const schema = JSON.parse(readFileSync("src/prediction.schema.json", "utf8"));
const validate = new Ajv2020({ allErrors: true, strict: true }).compile(schema);
const complaints = (record: unknown) =>
  validate(JSON.parse(JSON.stringify(record))) ? [] : validate.errors!.map((e) => `${e.instancePath} ${e.message}`);

const structures = exampleStructures();
const EXAMPLES = ["best", "final", "epoch50"].map((which) => `examples/saved_models/cgcnn_ionic_${which}.pt`);
const [best, final, epoch50] = await Promise.all(
  EXAMPLES.map((path) => loadModel(new File([readFileSync(path)], path), { trainedOn: ["O", "Ca", "F", "Al"] })),
);
const alone: Structure = {
  id: "alone",
  lattice: Float64Array.of(30, 0, 0, 0, 30, 0, 0, 0, 30),
  pbc: [true, true, true],
  numbers: Uint8Array.of(8),
  fracCoords: new Float64Array(3),
  notes: ["made for the test"],
};
const unread = { id: "bad", error: new UnitcellError("CORRUPT", "no lattice") };

async function records(
  model: Parameters<typeof predictStream>[0],
  of: Parameters<typeof predictStream>[1] = structures,
  options: PredictOptions = {},
) {
  const all: (Prediction | FailedPrediction)[] = [];
  for await (const record of predictStream(model, of, options)) all.push(record);
  return all;
}

const KINDS: [kind: string, make: () => Promise<(Prediction | FailedPrediction)[]>, has: (r: Prediction) => unknown][] =
  [
    ["one model", () => records(best), (r) => r.value && !r.members],
    ["tie ranges", () => records(best, structures, { tieRange: true }), (r) => r.tie],
    ["an ensemble", () => records(ensemble([best, final, epoch50])), (r) => r.members?.length === 3 && !r.calibrated],
    [
      "a calibrated ensemble with ties",
      () => records(ensemble([best, final], { calibration: 1.5 }), structures, { tieRange: true }),
      (r) => r.calibrated && r.members?.some(({ tie }) => tie),
    ],
    ["failures among predictions", () => records(best, [structures[0], unread, alone]), (r) => r.id === "alone"],
    [
      "warnings",
      () => records(best, [alone]),
      (r) => ["few-neighbors", "structure-note"].every((code) => r.warnings.some((warning) => warning.code === code)),
    ],
    ["elements not trained on", () => records(best), (r) => r.warnings.some(({ code }) => code === "unseen-element")],
    [
      "cached ones",
      async () => {
        const cache = await PredictionCache.load();
        await records(best, structures, { cache });
        return records(best, structures, { cache });
      },
      (r) => r.cached,
    ],
  ];
const [alignn, megnet] = await Promise.all(
  ["alignn", "megnet"].map((name) => loadModel(readFileSync(`examples/saved_models/${name}_ionic_best.pt`))),
);
KINDS.push(
  [
    "an ensemble of three architectures",
    () => records(ensemble([best, alignn, megnet].map(({ property, unit, ...model }) => model))),
    (r) => r.members?.length === 3 && r.warnings.some(({ member }) => member === 1),
  ],
  ["MEGNet", () => records(megnet), (r) => r.cutoff === 5],
);
if (haveFixtures("cgcnn"))
  KINDS.push([
    "a classifier",
    async () => records(await loadModel(fixtureBytes("cgcnn/semi-metal-classification.pth.tar"))),
    (r) => r.probabilities?.length === 2,
  ]);
if (haveFixtures("alignn"))
  KINDS.push(
    [
      "symmetric neighbours",
      async () => records(await alignnModel("alignn_small_extra", { neighborPolicy: "symmetric" }), [structures[2]]),
      (r) => r.neighborPolicy,
    ],
    [
      "several outputs",
      async () => records(await alignnModel("variants/multi_output"), [structures[2]]),
      (r) => r.values && r.values.length > 1,
    ],
  );
if (haveFixtures("megnet"))
  KINDS.push([
    "MEGNet, and an atom alone for it",
    async () => {
      const files = ["model.json", "model.pt", "state.pt"].map(
        (name) => [name, fixtureBytes(`megnet/${name}`)] as const,
      );
      return records(await loadModel(new Map(files)), [structures[2], alone]);
    },
    (r) => r.id !== "alone" && r.cutoff,
  ]);

for (const [kind, make, has] of KINDS)
  test(`the schema accepts ${kind}, and the cache's file holds them`, async () => {
    const made = await make();
    const predictions = made.flatMap((record) => ("error" in record ? [] : [record]));
    assert.ok(predictions.some(has));
    for (const record of made) assert.equal(complaints(record), [], JSON.stringify(record));
    const values = predictions.map(predictionToValue);
    const read = (await loadTorch(saveTorch(values))) as TorchValue[];
    assert.equal(
      read.map((value, i) => predictionFromValue(value, `record ${i}`)),
      predictions,
    );
  });

/** Every field there is, by the types: a new one does not compile until it is here, and fails until the schema has it. */
const TIE: Required<TieRange> = { min: 1, max: 2, choices: 3, exhaustive: true };
const MODEL: Required<ModelInfo> = { name: "a", sha256: "0f".repeat(32), architecture: "CGCNN", assumed: ["radius 8"] };
const MEMBER: Required<MemberPrediction> = {
  value: 1,
  values: [1, 2],
  probabilities: [0.5, 0.5],
  model: MODEL,
  state: 0,
  cutoff: 8,
  neighborPolicy: "symmetric",
  compression: 2.5,
  tie: TIE,
};
const WARNING: Required<PredictionWarning> = { code: "neighbor-tie", message: "O3", atoms: [0, 2], member: 1 };
const FULL: Required<Prediction> = {
  schema: 1,
  id: "x",
  formula: "NaCl",
  sites: 8,
  property: "gap",
  unit: "eV",
  ...MEMBER,
  std: 0,
  calibrated: false,
  members: [MEMBER, MEMBER],
  warnings: [WARNING],
  backend: "wasm",
  elapsedMs: 1.5,
  cached: true,
};
const FAILURE: Required<FailedPrediction> = { schema: 1, id: "x", error: { code: "CORRUPT", message: "no" } };
const CODES: Record<ErrorCode, true> = {
  CORRUPT: true,
  UNSUPPORTED: true,
  UNSAFE: true,
  LIMIT: true,
  MISMATCH: true,
  NOT_FOUND: true,
  ARGUMENT: true,
  BACKEND: true,
};
const WARNING_CODES: Record<PredictionWarning["code"], true> = {
  "neighbor-tie": true,
  "few-neighbors": true,
  "no-normalizer": true,
  "structure-note": true,
  "isolated-atom": true,
  "cutoff-extended": true,
  "unseen-element": true,
  "backend-failed": true,
};
const { prediction, member, model, warning, tie, failure } = schema.$defs;
const SAME: [name: string, ours: object, theirs: object][] = [
  ["Prediction", FULL, prediction.properties],
  ["MemberPrediction", MEMBER, member.properties],
  ["ModelInfo", MODEL, model.properties],
  ["PredictionWarning", WARNING, warning.properties],
  ["TieRange", TIE, tie.properties],
  ["FailedPrediction", FAILURE, failure.properties],
  ["its error", FAILURE.error, failure.properties.error.properties],
  ["error codes", CODES, Object.fromEntries(failure.properties.error.properties.code.enum.map((c: string) => [c, 1]))],
  ["warning codes", WARNING_CODES, Object.fromEntries(warning.properties.code.enum.map((c: string) => [c, 1]))],
];
for (const [name, ours, theirs] of SAME)
  test(`${name}: type and schema have the same fields`, () =>
    assert.equal(Object.keys(ours).sort(), Object.keys(theirs).sort()));

test("a record with every field is valid, and one with as few as the type allows", () => {
  assert.equal(complaints(FULL), []);
  assert.equal(complaints(FAILURE), []);
  const { schema, formula, sites, value, warnings, backend, elapsedMs } = FULL;
  const least: Prediction = {
    schema,
    formula,
    sites,
    value,
    warnings,
    backend,
    elapsedMs,
    model: { architecture: "x" },
  };
  assert.equal(complaints(least), []);
});

/** Both validators refuse; ours gives the place. */
const without = (name: string) => Object.fromEntries(Object.entries(FULL).filter(([field]) => field !== name));
const REFUSED: [what: string, record: Record<string, unknown>, message: RegExp][] = [
  ["a field renamed", { ...without("elapsedMs"), elapsed: 1 }, /there is no elapsedMs/],
  ["a field more", { ...FULL, extra: 1 }, /no field "extra"/],
  ["a field of Object", { ...FULL, toString: "x" }, /no field "toString"/],
  ["a field less", without("formula"), /there is no formula/],
  ["std without members", without("members"), /there is no members/],
  ["text for a number", { ...FULL, value: "1" }, /x\.value: expected a finite number, found "1"/],
  ["a number for text", { ...FULL, formula: 1 }, /x\.formula: expected a string, found 1/],
  ["null", { ...FULL, value: null }, /x\.value: expected a finite number, found None/],
  ["half an atom", { ...FULL, sites: 0.5 }, /x\.sites: expected a integer/],
  ["no atoms", { ...FULL, sites: 0 }, /x\.sites: expected at least 1/],
  ["a cutoff of 0", { ...FULL, cutoff: 0 }, /x\.cutoff: expected more than 0/],
  ["another schema", { ...FULL, schema: 2 }, /x\.schema: expected 1, found 2/],
  ["cached: false", { ...FULL, cached: false }, /x\.cached: expected true/],
  ["another policy", { ...FULL, neighborPolicy: "upstream" }, /neighborPolicy: expected "symmetric"/],
  [
    "an unknown warning",
    { ...FULL, warnings: [{ code: "x", message: "" }] },
    /x\.warnings\[0\]\.code: expected one of/,
  ],
  ["a hash that is none", { ...FULL, model: { ...MODEL, sha256: "ab" } }, /x\.model\.sha256: expected text like/],
  ["one member", { ...FULL, members: [MEMBER] }, /x\.members: expected a list of at least 2/],
  [
    "a member's field renamed",
    { ...FULL, members: [MEMBER, { ...MEMBER, std: 1 }] },
    /members\[1\]: .* no field "std"/,
  ],
  ["a list for a dict", { ...FULL, model: [] }, /x\.model: expected a dict, found a list or tuple/],
];
const toMaps = (value: unknown): TorchValue => {
  if (Array.isArray(value)) return value.map(toMaps);
  if (typeof value !== "object" || value === null) return value as TorchValue;
  return new Map(Object.entries(value).map(([key, item]) => [key, toMaps(item)]));
};
for (const [what, record, message] of REFUSED)
  test(`refused: ${what}`, () => {
    assert.is.not(complaints(record).length, 0);
    try {
      predictionFromValue(toMaps(record), "x");
      assert.unreachable();
    } catch (error) {
      assert.ok(isUnitcellError(error, "CORRUPT"), `${error}`);
      assert.match((error as Error).message, message);
    }
  });

test.run();
