/** The parts of the page that need no browser: which files belong together, tables of known values, bins, colours. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { binned } from "../src/demo/bins.js";
import { sortFiles } from "../src/demo/file-kinds.js";
import { parseReferences } from "../src/demo/references.js";
import { shareColor } from "../src/demo/share-colors.js";
import { finishedText, shownNumber, shownTime, shownValue } from "../src/demo/shown.js";
import { withoutFormulas } from "../src/demo/worker/spreadsheet.js";
import { UnitcellError } from "../src/errors.js";
import type { FailedPrediction, Prediction } from "../src/prediction.js";
import { throwsCode } from "./throws.js";

type Groups = readonly (readonly [name: string, paths: readonly string[], used: boolean])[];
const checkpoints: readonly [what: string, paths: readonly string[], groups: Groups][] = [
  ["one", ["a.pt"], [["a.pt", ["a.pt"], true]]],
  [
    "an ensemble of three",
    ["a_best.pt", "b_best.pt", "c.safetensors"],
    [
      ["a_best.pt", ["a_best.pt"], true],
      ["b_best.pt", ["b_best.pt"], true],
      ["c.safetensors", ["c.safetensors"], true],
    ],
  ],
  [
    "ALIGNN's folder: settings beside the weights, the best is used",
    ["run/best_model.pt", "run/current_model.pt", "run/config.json"],
    [
      ["run/best_model.pt", ["run/best_model.pt", "run/config.json"], true],
      ["run/current_model.pt", ["run/current_model.pt", "run/config.json"], false],
    ],
  ],
  [
    "matgl's three files are one",
    ["m/model.json", "m/model.pt", "m/state.pt"],
    [["m/state.pt", ["m/state.pt", "m/model.pt", "m/model.json"], true]],
  ],
  ["model.pt alone is a checkpoint", ["model.pt"], [["model.pt", ["model.pt"], true]]],
  [
    "of a run the best, others wait",
    ["x_epoch5.pt", "x_best.pt", "x_final.pt", "y_final.pt"],
    [
      ["x_epoch5.pt", ["x_epoch5.pt"], false],
      ["x_best.pt", ["x_best.pt"], true],
      ["x_final.pt", ["x_final.pt"], false],
      ["y_final.pt", ["y_final.pt"], true],
    ],
  ],
  ["a zip", ["alignn.zip"], [["alignn.zip", ["alignn.zip"], true]]],
];
for (const [what, paths, groups] of checkpoints)
  test(`checkpoints: ${what}`, () =>
    assert.equal(
      sortFiles(paths).checkpoints.map(({ name, paths: own, used }) => [name, own, used]),
      groups,
    ));

test("files of other kinds: structures, known values, descriptions of runs, what is left alone", () => {
  const { structures, references, runFiles, ignored } = sortFiles([
    "s/a.cif",
    "s/POSCAR",
    "s/CONTCAR_relaxed",
    "s/b.vasp",
    "s/c.extxyz",
    "s/config.json",
    "s/id_prop.csv",
    "r/x_best.pt",
    "r/training_history.json",
    "r/x_metadata.json",
    "r/config.json",
    "r/README.md",
  ]);
  // A config.json without a checkpoint beside it may be a structure: its reader says what it is.
  assert.equal(structures, ["s/a.cif", "s/POSCAR", "s/CONTCAR_relaxed", "s/b.vasp", "s/c.extxyz", "s/config.json"]);
  assert.equal(references, ["s/id_prop.csv"]);
  assert.equal(runFiles, ["r/training_history.json", "r/x_metadata.json"]);
  assert.equal(ignored, ["r/README.md"]);
});

const tables: readonly [what: string, text: string, values: readonly (readonly [string, number])[]][] = [
  [
    "without a head",
    "a,1\nb,-2.5\n",
    [
      ["a", 1],
      ["b", -2.5],
    ],
  ],
  ["with a head", "id,value\r\na,1\r\n", [["a", 1]]],
  [
    "names of files, quotes, further columns",
    '"a.cif", 1e-3 ,x\n#note\n\nb.vasp,2',
    [
      ["a", 1e-3],
      ["b", 2],
    ],
  ],
];
for (const [what, text, values] of tables)
  test(`known values: ${what}`, () => assert.equal(parseReferences(text), values));

const badTables: readonly [what: string, text: string, message: RegExp][] = [
  ["no number", "a,1\nb,x\n", /line 2: expected id,value/],
  ["no value", "a,1\nb\n", /line 2/],
  ["an empty value is not zero", "a,1\nb,\n", /line 2/],
  ["twice the same", "a,1\na.cif,2\n", /line 2: a second value for "a"/],
  ["nothing", "id,value\n", /found none/],
];
for (const [what, text, message] of badTables)
  test(`known values, refused: ${what}`, () => throwsCode(() => parseReferences(text), "CORRUPT", message));

test("bins hold every value once, at the ends too", () => {
  const { centers, counts } = binned([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.is(
    counts.reduce((a, b) => a + b),
    11,
  );
  assert.is(centers.length, 5);
  assert.equal(binned([3, 3, 3]), { centers: [3], counts: [3] });
  assert.equal(binned([]), { centers: [], counts: [] });
});

test("colours of shares: ends, between, outside", () => {
  assert.is(shareColor(0), "#3d5fa8");
  assert.is(shareColor(1), "#f2c53d");
  assert.is(shareColor(2), shareColor(1));
  assert.is(shareColor(0.25), "#3c88b0");
  assert.match(shareColor(0.4), /^#[0-9a-f]{6}$/);
});

test("numbers as they are shown", () => {
  assert.is(shownValue(-3.526821, 5), "-3.52682");
  assert.is(shownValue(0), "0.0000");
  assert.is(shownValue(1e-7), "1.000e-7");
  assert.is(shownValue(undefined), "");
  assert.is(shownNumber(2n ** 60n), "1152921504606846976");
  assert.is(shownNumber(0.123456789), "0.123457");
  assert.is(shownTime(35.4), "35 ms");
  assert.is(shownTime(1234), "1.2 s");
});

test("the end of a prediction says what was computed now", () => {
  const summary = { computed: 3, failed: 0, done: 3, total: 3, cancelled: false, elapsedMs: 35, backend: "wasm" };
  const said = (more: Partial<typeof summary>) => finishedText({ ...summary, ...more });
  assert.is(said({}), "3 structures in 35 ms by wasm.");
  assert.is(
    said({ computed: 1, failed: 1 }),
    "1 structure in 35 ms by wasm, 1 of them with errors; 3 are done in all.",
  );
  assert.is(said({ computed: 0 }), "Nothing was left to predict: 3 structures are done.");
  assert.is(said({ cancelled: true, done: 2 }), "Cancelled: 2 of 3 structures are done.");
  assert.is(said({ computed: 0, done: 0, total: 0 }), "No structures are open.");
});

test("text that a spreadsheet would run has a quote before it; numbers have none", () => {
  const record: Prediction = {
    schema: 1,
    id: "=HYPERLINK(1)",
    formula: "CsCl",
    sites: 2,
    property: "+p",
    unit: "-eV",
    value: -1,
    model: { name: "@m.pt", architecture: "CGCNN" },
    warnings: [],
    backend: "wasm",
    elapsedMs: 1,
  };
  const { id, formula, property, unit, value, model } = withoutFormulas(record);
  assert.equal([id, formula, property, unit, value], ["'=HYPERLINK(1)", "CsCl", "'+p", "'-eV", -1]);
  assert.equal(model, { name: "'@m.pt", architecture: "CGCNN" });
  const failed: FailedPrediction = { schema: 1, id: "\t=1", error: new UnitcellError("CORRUPT", "=1") };
  assert.is(withoutFormulas(failed).id, "'\t=1");
  assert.is(withoutFormulas(failed).error.code, "CORRUPT");
});

test.run();
