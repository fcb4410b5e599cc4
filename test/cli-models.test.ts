/** `unitcell predict` with all three architectures, from the files that their programs write. Run after a build. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { cgcnnElementTable } from "../src/graphs/features.js";
import type { Model } from "../src/models/model.js";
import { predict } from "../src/predict.js";
import type { Prediction } from "../src/prediction.js";
import { zip } from "./build-files.js";
import { checkpointOf } from "./checkpoint-of.js";
import { exampleStructures } from "./examples.js";
import { randomAlignn, randomCgcnn, randomMegnet } from "./random-models.js";

const CSCL = "examples/structures/CsCl.cif";
const PEROVSKITE = "examples/structures/SrTiO3-perovskite.cif";
const ALIGNN_CONFIG = { model: { link: "identity", classification: false, energy_mult_natoms: true } };
const cgcnn = randomCgcnn();
const alignn = randomAlignn();
const megnet = randomMegnet({ stateTypes: 4 });

let scratch: string;
const at = (name: string) => join(scratch, name);
test.before(() => {
  scratch = mkdtempSync(join(tmpdir(), "unitcell-"));
  writeFileSync(at("cgcnn.pt"), checkpointOf(cgcnn));
  mkdirSync(at("alignn"));
  writeFileSync(at("alignn/best_model.pt"), checkpointOf(alignn));
  writeFileSync(at("alignn/config.json"), JSON.stringify(ALIGNN_CONFIG));
  const zipped = ["alignn/best_model.pt", "alignn/config.json"].map((name) => ({ name, data: readFileSync(at(name)) }));
  writeFileSync(at("alignn.zip"), zip(zipped));
  writeFileSync(at("megnet.pt"), checkpointOf(megnet));
});
test.after(() => rmSync(scratch, { recursive: true }));

function unitcell(...args: string[]) {
  const { stdout, stderr, status } = spawnSync(process.execPath, ["dist/cli.js", "predict", ...args], {
    encoding: "utf8",
  });
  return { stdout, stderr: stderr.replace(/\s+/g, " "), status };
}
const records = (...args: string[]): Prediction[] => {
  const { stdout, stderr, status } = unitcell("--jsonl", "--normalizer=-1.5,2.5", ...args);
  assert.is(status, 0, stderr);
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
};
const perovskite = exampleStructures().filter(({ id }) => id === "SrTiO3-perovskite");

const PLACES: [what: string, args: () => string[], model: Model, state?: number][] = [
  ["a file", () => ["-m", at("cgcnn.pt")], cgcnn],
  ["a folder", () => ["-m", at("alignn"), "--neighbor-policy", "symmetric"], alignn],
  ["a zip", () => ["-m", at("alignn.zip"), "--neighbor-policy", "symmetric"], alignn],
  [
    "a file with settings beside it",
    () => ["-m", at("alignn/best_model.pt"), "--neighbor-policy", "symmetric"],
    alignn,
  ],
  ["a state", () => ["-m", at("megnet.pt"), "--state", "2"], megnet, 2],
];
for (const [what, args, model, state] of PLACES)
  test(`${what}: the value of the same model in code`, async () => {
    const [found] = records(...args(), PEROVSKITE);
    const [expected] = await predict(model, perovskite, state === undefined ? {} : { state });
    assert.is(found.value, expected.value);
    assert.is(found.state, state);
    assert.is(found.neighborPolicy, expected.neighborPolicy);
  });

test("one ensemble of all three: options go to those that take them", async () => {
  const table = at("atom_init.json");
  const shifted = new Map([...cgcnnElementTable().rows].map(([z, row]) => [z, row.map((x) => 1 - x)]));
  writeFileSync(table, JSON.stringify(Object.fromEntries(shifted)));
  const models = ["-m", at("cgcnn.pt"), "-m", at("alignn"), "-m", at("megnet.pt"), "--state", "1"];
  const [plain] = records(...models, PEROVSKITE);
  const [changed] = records(...models, "--atom-init", table, "--neighbor-policy", "symmetric", PEROVSKITE);
  const values = ({ members }: Prediction) => members!.map(({ value }) => value);
  const same = values(plain).map((value, i) => value === values(changed)[i]);
  assert.equal(same, [false, false, true]);
  assert.equal(
    changed.members!.map((member) => [member.model.architecture, member.neighborPolicy, member.state]),
    [
      ["CGCNN", undefined, undefined],
      ["ALIGNN", "symmetric", undefined],
      ["MEGNet", undefined, 1],
    ],
  );
  const { stdout, stderr } = unitcell("--table", ...models, CSCL);
  assert.match(stdout, /^structure +formula +atoms +value +± std +cgcnn +alignn +megnet\n/);
  assert.match(
    stderr,
    /model \S*cgcnn\.pt: CGCNN regression, [\d,]+ weights .*assumed: settings not in the checkpoint/,
  );
  assert.match(stderr, /model \S*alignn \(best_model\.pt\): ALIGNN regression, .* found: .*link identity/);
  const [header, row] = unitcell("--csv", ...models, "--neighbor-policy", "symmetric", CSCL).stdout.split("\n");
  const cell = (name: string) => row.split(",")[header.split(",").indexOf(name)];
  assert.equal([cell("state"), cell("neighbor_policy")], ["1", "symmetric"]);
});

test("--property and --unit name what no checkpoint does, and let one that names nothing join others", () => {
  const table = "examples/saved_models/cgcnn_ionic_best.pt";
  const models = ["-m", at("cgcnn.pt"), "-m", table];
  const refused = unitcell(...models, CSCL);
  assert.equal([refused.status, refused.stdout], [1, ""]);
  assert.match(
    refused.stderr,
    /MISMATCH: members .* share their property, found cgcnn\.pt: not known; .*; if it is the same, --property NAME says so/,
  );
  assert.match(unitcell(...models, "--property", "x", CSCL).stderr, /share their unit, .*, --unit UNIT says so/);
  for (const chosen of [models, ["-m", table], ["-m", at("cgcnn.pt")]]) {
    const [found] = records(...chosen, "--property", "energy, made up", "--unit", "eV", CSCL);
    assert.equal([found.property, found.unit], ["energy, made up", "eV"]);
  }
  const [known] = records("-m", at("cgcnn.pt"), "--property", "formation_energy_per_atom", CSCL);
  assert.is(known.unit, "eV/atom");
  assert.is(unitcell("--property", " ", CSCL).status, 2);
});

const REFUSED: [what: string, args: () => string[], status: number, message: RegExp][] = [
  [
    "no state for a model with several",
    () => ["-m", at("megnet.pt")],
    2,
    /unitcell: --state: the model predicts for one of 4 states .*: give state 0 to 3, found none/,
  ],
  ["a state too many", () => ["-m", at("megnet.pt"), "--state", "4"], 2, /--state: .* found 4/],
  [
    "a policy that no model takes",
    () => ["-m", at("cgcnn.pt"), "--neighbor-policy", "symmetric"],
    1,
    /ARGUMENT: .*cgcnn\.pt: neighborPolicy is about ALIGNN's k-nearest graphs/,
  ],
  [
    "a folder without a checkpoint",
    () => ["-m", "src"],
    1,
    /NOT_FOUND: the folder src: .*, found none; folders inside/,
  ],
  [
    "code in a file",
    () => ["-m", "test/fixtures/bundles/matgl/model.pt"],
    1,
    /UNSAFE: .*matgl.*Normalizer; nothing was run; .* unitcell convert FILE weights\.safetensors leaves the code out/,
  ],
  [
    "an element table that is none",
    () => ["--atom-init", "README.md"],
    1,
    /CORRUPT: README\.md: element table is not JSON/,
  ],
];
for (const [what, args, status, message] of REFUSED)
  test(`refused: ${what}`, () => {
    const found = unitcell(...args(), CSCL);
    assert.equal([found.status, found.stdout], [status, ""]);
    assert.match(found.stderr, message);
  });

test.run();
