/** The built command as a user runs it: output, exit codes, errors. Run after a build. */
import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadCheckpoint } from "../src/checkpoint.js";
import { cgcnnElementTable } from "../src/graphs/features.js";
import { loadModel } from "../src/load-model.js";
import { predict } from "../src/predict.js";
import type { Prediction } from "../src/prediction.js";
import { PredictionCache } from "../src/prediction-cache.js";
import { parseStructures } from "../src/structures/parse.js";
import { DTYPE_BYTES } from "../src/tensor.js";
import { ops, storage, str, tensor, torchZip } from "./build-files.js";

const CSCL = "examples/structures/CsCl.cif";
const NACL = "examples/structures/NaCl-rocksalt.cif";
const PEROVSKITE = "examples/structures/SrTiO3-perovskite.cif";
const BEST = "examples/saved_models/cgcnn_ionic_best.pt";
const FINAL = "examples/saved_models/cgcnn_ionic_final.pt";

function unitcell(args: string[], input?: string) {
  const { stdout, stderr, status } = spawnSync(process.execPath, ["dist/cli.js", ...args], {
    encoding: "utf8",
    ...(input !== undefined && { input }),
  });
  return { stdout, stderr, status };
}

let scratch: string;
test.before(() => {
  scratch = mkdtempSync(join(tmpdir(), "unitcell-"));
});
test.after(() => rmSync(scratch, { recursive: true }));

test("predict without a model uses the examples and says so, table", () => {
  const { stdout, stderr, status } = unitcell(["predict", "--table", CSCL, NACL]);
  assert.is(status, 0);
  assert.match(stderr, /^model {7}cgcnn_ionic_best\.pt: CGCNN regression, 9,313 weights, epoch 221\n/);
  assert.match(stderr, "the examples that ship with unitcell");
  assert.match(stderr.replace(/\s+/g, " "), "NOT a formation energy");
  const lines = stdout.split("\n\n")[0].trimEnd().split("\n");
  assert.is(lines.length, 3);
  assert.match(lines[0], /^structure +formula +atoms +value +± std +cgcnn +alignn +megnet$/);
  assert.match(lines[1], /^CsCl +CsCl +2 +-3\.\d{4} +0\.\d{4} {2}eV\/atom +-3\.6311 +-3\.\d{4} +-3\.\d{4}$/);
  assert.match(stderr, /warning: NaCl-rocksalt: alignn_ionic_best\.pt: Na1, .* cut the shell/);
});

test("one model, table", () => {
  const { stdout } = unitcell(["predict", "-q", "--table", "-m", BEST, CSCL, NACL]);
  const lines = stdout.split("\n");
  assert.match(lines[0], /^structure +formula +atoms +value$/);
  assert.match(lines[1], /^CsCl +CsCl +2 +-3\.6311 {2}eV\/atom$/);
  assert.match(lines[2], /^NaCl-rocksalt +NaCl +8 +-4\.46\d\d {2}eV\/atom$/);
  assert.equal(lines.slice(3), [""]);
});

/** The fields that differ between runs. */
const withoutTime = ({ elapsedMs, ...record }: Prediction) => record;
const records = (jsonl: string) =>
  jsonl
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));

test("JSON and JSON Lines are the library's records, CSV holds the same values", async () => {
  const structures = [CSCL, NACL].flatMap((file) =>
    parseStructures(readFileSync(file, "utf8"), { filename: basename(file) }),
  );
  const model = await loadModel(new File([readFileSync(BEST)], basename(BEST)), {
    property: "electrostatic energy per atom (Ewald, formal charges)",
    unit: "eV/atom",
  });
  const { trainedOn: _, ...untold } = model;
  const expected = (await predict(untold, structures)).map(withoutTime);
  const json = JSON.parse(unitcell(["predict", "--json", "-m", BEST, CSCL, NACL]).stdout);
  assert.equal(json.map(withoutTime), expected);
  assert.equal(records(unitcell(["predict", "--jsonl", "-m", BEST, CSCL, NACL]).stdout).map(withoutTime), expected);
  const [header, ...rows] = unitcell(["predict", "-m", BEST, CSCL, NACL]).stdout.trimEnd().split("\n");
  assert.is(
    header,
    "id,model,formula,sites,property,unit,value,std,calibrated,values,probabilities,state,neighbor_policy,tie_min," +
      "tie_max,warnings,error,elapsed_ms",
  );
  assert.equal(
    rows.map((line) => Number(/,eV\/atom,([^,]+)/.exec(line)![1])),
    expected.map((r) => r.value),
  );
});

test("several models are one ensemble: a record a structure, members in order", async () => {
  const args = ["predict", "-m", BEST, "-m", FINAL, CSCL, NACL];
  const found = records(unitcell([...args, "-q", "--jsonl"]).stdout);
  assert.equal(
    found.map((r) => [r.id, r.model, r.calibrated, r.members.map((m: Prediction) => m.model.name)]),
    ["CsCl", "NaCl-rocksalt"].map((id) => [
      id,
      { name: "ensemble of 2", architecture: "ensemble" },
      false,
      ["cgcnn_ionic_best.pt", "cgcnn_ionic_final.pt"],
    ]),
  );
  const alone = records(unitcell(["predict", "-q", "--jsonl", "-m", FINAL, CSCL, NACL]).stdout);
  for (const [i, { members, value, std }] of found.entries()) {
    const [a, b] = members.map((m: Prediction) => m.value);
    assert.is(b, alone[i].value);
    assert.ok(Math.abs(value - (a + b) / 2) < 1e-12);
    assert.ok(Math.abs(std - Math.abs(a - b) / Math.SQRT2) < 1e-12);
  }
  const [header, row] = unitcell([...args, "--csv", "--calibration", "2"]).stdout.split("\n");
  const cells = row.replace(/"[^"]*"/, "text").split(",");
  const cell = (name: string) => cells[header.split(",").indexOf(name)];
  const [{ members, std }] = found;
  assert.equal([cell("value_cgcnn_ionic_best"), cell("value_cgcnn_ionic_final")].map(Number), [
    members[0].value,
    members[1].value,
  ]);
  assert.equal([Number(cell("std")), cell("calibrated")], [2 * std, "true"]);
});

test("the table of an ensemble: spread, members under short names, what it is", () => {
  const { stdout, stderr } = unitcell(["predict", "--table", "-m", BEST, "-m", FINAL, CSCL, PEROVSKITE]);
  const [header, cscl, perovskite, empty, ...notes] = stdout.split("\n");
  assert.match(header, /^structure +formula +atoms +value +± std +best +final$/);
  assert.match(cscl, /^CsCl +CsCl +2 +-3\.7050 +0\.1045 {2}eV\/atom +-3\.6311 +-3\.7789$/);
  assert.match(perovskite, / eV\/atom \* /);
  assert.is(empty, "");
  assert.match(notes[0], /^± std: .* not calibrated/);
  assert.is(notes[1], "* has warnings");
  assert.match(stderr, /ensemble {4}2 models: the value is their mean, ± their spread, not calibrated\n/);
  const calibrated = unitcell(["predict", "--table", "-m", BEST, "-m", FINAL, "--calibration", "2", CSCL]);
  assert.match(calibrated.stdout, /CsCl .* 0\.209\d /);
  assert.not.match(calibrated.stdout, /not calibrated/);
});

test("five models have no columns in a table, all of them in CSV, under names that differ", () => {
  const five = [BEST, BEST, FINAL, BEST, FINAL].flatMap((path) => ["-m", path]);
  assert.match(
    unitcell(["predict", "-q", "--table", ...five, CSCL]).stdout,
    /^structure +formula +atoms +value +± std\n/,
  );
  const [header] = unitcell(["predict", "-q", "--csv", ...five, CSCL]).stdout.split("\n");
  assert.equal(header.match(/value_\w+/g), [
    "value_cgcnn_ionic_best",
    "value_cgcnn_ionic_best_2",
    "value_cgcnn_ionic_final",
    "value_cgcnn_ionic_best_3",
    "value_cgcnn_ionic_final_2",
  ]);
});

test("a table's long names are cut, a model given twice is told", () => {
  const long = join(scratch, `${"a_run_with_a_long_name_".repeat(4)}best.pt`);
  cpSync(FINAL, long);
  const options = ["--property", "energy", "--unit", "eV"];
  const { stdout, stderr } = unitcell(["predict", "--table", "-m", BEST, "-m", long, "-m", BEST, ...options, CSCL]);
  assert.match(stdout, /^structure .* {2}cgcnn_ionic_best {2}a_run_with_\.\.\w{11} {2}cgcnn_ionic_best_2\n/);
  assert.ok(Math.max(...stdout.split("\n").map(({ length }) => length)) < 120);
  assert.match(stderr.replace(/\s+/g, " "), /not calibrated; cgcnn_ionic_best\.pt given twice /);
});

test("models of different properties are refused", () => {
  cpSync(BEST, join(scratch, "other_best.pt"));
  writeFileSync(join(scratch, "other_metadata.json"), JSON.stringify({ property: "gap", unit: "eV" }));
  const { status, stdout, stderr } = unitcell(["predict", "-m", BEST, "-m", join(scratch, "other_best.pt"), CSCL]);
  assert.equal([status, stdout], [1, ""]);
  assert.match(
    stderr,
    /^unitcell: MISMATCH: members of an ensemble must share their property, .*other_best\.pt: gap\n$/,
  );
});

test("metadata names the elements trained on: others get a warning; what is wrong in it is said", () => {
  const file = join(scratch, "mine_metadata.json");
  const model = join(scratch, "mine_best.pt");
  cpSync(BEST, model);
  writeFileSync(file, JSON.stringify({ elements: ["Cs", "Na", "K"], unit: "K" }));
  const [{ warnings, unit }] = records(unitcell(["predict", "-q", "--jsonl", "-m", model, CSCL]).stdout);
  assert.equal([warnings[0].code, warnings[0].atoms, unit], ["unseen-element", [1], "K"]);
  writeFileSync(file, JSON.stringify({ elements: "Cs" }));
  assert.match(
    unitcell(["predict", "-m", model, CSCL]).stderr,
    /CORRUPT: .*mine_metadata\.json: "elements" must be a list/,
  );
  writeFileSync(file, JSON.stringify({ elements: ["Xx"] }));
  assert.match(unitcell(["predict", "-m", model, CSCL]).stderr, /ARGUMENT: .*mine_best\.pt: trainedOn: "Xx"/);
});

test("a cache: hits, additions, other models; damaged and foreign files are left alone", () => {
  const cache = join(scratch, "ensemble_predictions.pt");
  const run = (...args: string[]) => unitcell(["predict", "--jsonl", "--cache", cache, ...args]);
  const first = run("-m", BEST, "-m", FINAL, CSCL, join(scratch, "no.cif"));
  assert.is(first.status, 1);
  assert.match(first.stderr, /cache: .*ensemble_predictions\.pt: 1 added, 1 in it\n$/);
  const second = run("-m", BEST, "-m", FINAL, CSCL, NACL);
  assert.match(second.stderr, /: 1 added, 2 in it\n$/);
  const [hit, miss] = records(second.stdout);
  assert.equal([hit.cached, miss.cached], [true, undefined]);
  assert.equal(hit, { ...records(first.stdout)[0], cached: true });
  assert.match(run("-m", BEST, CSCL).stderr, /: 1 added, 3 in it\n$/);
  const before = readFileSync(cache);
  assert.match(run("-m", BEST, CSCL).stderr, /: 0 added, 3 in it\n$/);
  assert.equal(readFileSync(cache), before);
  for (const [bytes, message] of [
    [before.subarray(0, before.length - 100), /CORRUPT: .*ensemble_predictions\.pt: .*; it is left as it is/],
    [readFileSync(BEST), /UNSUPPORTED: .*expected a file of cached predictions/],
  ] as const) {
    writeFileSync(cache, bytes);
    const { status, stdout, stderr } = run("-m", BEST, CSCL);
    assert.equal([status, stdout], [1, ""]);
    assert.match(stderr, message);
    assert.equal(readFileSync(cache), bytes);
  }
  assert.match(
    unitcell(["predict", "--cache", join(scratch, "none/c.pt"), CSCL]).stderr,
    /NOT_FOUND: no folder .*none for the cache/,
  );
});

test("a folder, standard input, frames of one file", () => {
  const all = unitcell(["predict", "-q", "--jsonl", "examples/structures"]);
  assert.is(all.stdout.trimEnd().split("\n").length, 13);
  const piped = unitcell(["predict", "-q", "--jsonl", "-"], readFileSync(CSCL, "utf8"));
  assert.is(JSON.parse(piped.stdout).id, "stdin");
  const frame = readFileSync("examples/structures/MgO-displaced.extxyz", "utf8").trimEnd();
  const file = join(scratch, "run one.extxyz");
  writeFileSync(file, `${frame}\n${frame}\n${frame}\n`);
  const ids = unitcell(["predict", "-q", "--jsonl", file])
    .stdout.trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line).id);
  assert.equal(ids, ["run one", "run one#2", "run one#3"]);
});

test("an element table of one's own, and the range over tie choices", () => {
  const table = join(scratch, "atom_init.json");
  writeFileSync(table, JSON.stringify(Object.fromEntries(cgcnnElementTable().rows)));
  const run = (...options: string[]) =>
    JSON.parse(unitcell(["predict", "-q", "--jsonl", "-m", BEST, ...options, PEROVSKITE]).stdout);
  const plain = run();
  assert.equal(withoutTime(run("--atom-init", table)), withoutTime(plain));
  assert.is(plain.tie, undefined);
  const { tie } = run("--tie-range");
  assert.ok(tie.exhaustive && tie.choices === 216);
  assert.ok(tie.min <= plain.value && plain.value <= tie.max);
  const row = unitcell(["predict", "-q", "--table", "--tie-range", "-m", BEST, PEROVSKITE]).stdout;
  assert.match(row, new RegExp(`${tie.min.toFixed(4)} \\.\\. ${tie.max.toFixed(4)}\n`));
});

test("a bad structure gives an error record, the rest go on, exit code 1", () => {
  const bad = join(scratch, "bad.cif");
  writeFileSync(bad, readFileSync(CSCL, "utf8").replace(/_cell_length_a .*/, "_cell_length_a abc"));
  const { stdout, stderr, status } = unitcell(["predict", "-q", "--jsonl", CSCL, bad, join(scratch, "none.cif"), NACL]);
  assert.is(status, 1);
  const records = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.equal(
    records.map((r) => r.error?.code),
    [undefined, "CORRUPT", "NOT_FOUND", undefined],
  );
  assert.match(stderr, /error: bad: CORRUPT: .*_cell_length_a/);
  const ensembleToo = unitcell(["predict", "-q", "--jsonl", "-m", BEST, "-m", FINAL, bad]);
  assert.match(
    ensembleToo.stderr,
    /^error: bad: CORRUPT: (?!cgcnn).*_cell_length_a/m,
    "the structure's fault, no model's",
  );
  const table = unitcell(["predict", "-q", "--table", CSCL, bad]);
  assert.match(table.stdout, /bad +- +- +failed {2}CORRUPT/);
});

/** The example's tensors under other names, in a torch zip. */
async function writeRenamed(file: string, rename: (name: string) => string): Promise<string> {
  const { stateDict } = await loadCheckpoint(readFileSync(BEST));
  const items: number[] = [];
  const storages: Record<string, Uint8Array> = {};
  for (const [name, { dtype, shape, data }] of stateDict) {
    const key = `${Object.keys(storages).length}`;
    const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1));
    const source = storage(dtype === "i64" ? "Long" : "Float", key, data.length / DTYPE_BYTES[dtype]);
    items.push(...str(rename(name)), ...tensor(source, 0, shape, strides));
    storages[key] = data;
  }
  writeFileSync(file, torchZip(ops("EMPTY_DICT", "MARK", items, "SETITEMS"), storages));
  return file;
}

test("the model's description says which tensors were remapped, a refusal all that does not fit", async () => {
  const wrapped = await writeRenamed(join(scratch, "wrapped.pt"), (name) => `module.${name}`);
  const { status, stdout, stderr } = unitcell(["predict", "--normalizer", "0,1", "--jsonl", "-m", wrapped, CSCL]);
  assert.is(status, 0, stderr);
  assert.match(stderr.replace(/\s+/g, " "), /tensors: "module\." taken off \d+ names /);
  const plain = await writeRenamed(join(scratch, "plain.pt"), (name) => name);
  const other = unitcell(["predict", "--normalizer", "0,1", "--jsonl", "-m", plain, CSCL]);
  assert.is(JSON.parse(stdout).value, JSON.parse(other.stdout).value);
  assert.not.match(other.stderr, /tensors:/);
  const broken = await writeRenamed(join(scratch, "broken.pt"), (name) => name.replace("fc_out.bias", "fc_out.b"));
  const refused = unitcell(["predict", "-m", broken, CSCL]);
  assert.is(refused.status, 1);
  assert.match(refused.stderr, /MISMATCH: .*: 1 missing: fc_out\.bias; 1 unexpected: fc_out\.b\n$/);
});

const USAGE: [args: string[], message: RegExp][] = [
  [["predict"], /needs structure files/],
  [["predict", "--nope", CSCL], /Unknown option '--nope'/],
  [["predict", "--csv", "--json", CSCL], /--csv and --json exclude each other/],
  [["predict", "-f", "pdb", CSCL], /--format is one of cif, poscar, xyz, json, pymatgen, optimade, jarvis, ase/],
  [["predict", "--normalizer", "1", CSCL], /MEAN,STD/],
  [["predict", "--normalizer", "-1,2", CSCL], /starting with a dash use '--normalizer=-XYZ'; see --help\n$/],
  [["predict", "--calibration", "-1", "-m", BEST, "-m", FINAL, CSCL], /--calibration/],
  [["predict", "--calibration", "2", "-m", BEST, CSCL], /spread of several models/],
  [["predict", "--neighbor-policy", "fair", CSCL], /upstream or symmetric, found "fair"/],
  [["predict", "--state", "one", CSCL], /--state takes a number, found "one"/],
  [["predict", "--state", "0", "-m", BEST, CSCL], /--state: state 0 given, but no model has states/],
  [["train"], /no command "train"/],
];
for (const [args, message] of USAGE)
  test(`usage: ${args.join(" ")}`, () => {
    const { stdout, stderr, status } = unitcell(args);
    assert.is(status, 2);
    assert.is(stdout, "");
    assert.match(stderr, message);
    assert.not.match(stderr, /\n\s+at /);
  });

const FAILURES: [what: string, args: () => string[], message: RegExp][] = [
  ["no such model", () => ["-m", join(scratch, "no.pt"), CSCL], /NOT_FOUND: .*no file/],
  ["a model that is no checkpoint", () => ["-m", CSCL, CSCL], /CsCl\.cif: /],
  ["an empty folder", () => [scratch], /NOT_FOUND: no structure files in/],
];
for (const [what, args, message] of FAILURES)
  test(`failure: ${what}`, () => {
    rmSync(scratch, { recursive: true });
    mkdirSync(scratch);
    const { stderr, status } = unitcell(["predict", ...args()]);
    assert.is(status, 1);
    assert.match(stderr, message);
    assert.not.match(stderr, /\n\s+at /);
  });

test("help and version", () => {
  assert.match(unitcell(["--help"]).stdout, "Usage: unitcell <command>");
  assert.is(unitcell(["predict", "--help"]).stdout, unitcell(["help", "predict"]).stdout);
  assert.is(unitcell(["--version"]).stdout.trim(), JSON.parse(readFileSync("package.json", "utf8")).version);
  assert.is(unitcell([]).status, 2);
});

test("Ctrl-C stops cleanly: whole records, a closed array, exit code 130", async () => {
  const frame = readFileSync("examples/structures/MgO-displaced.extxyz", "utf8").trimEnd();
  const file = join(scratch, "long.extxyz");
  writeFileSync(file, `${frame}\n`.repeat(60_000));
  const cache = join(scratch, "stopped.pt");
  const child = spawn(process.execPath, ["dist/cli.js", "predict", "-q", "--json", "--cache", cache, file]);
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    if (stdout.length < 1000 && stdout.length + text.length >= 1000) child.kill("SIGINT");
    stdout += text;
  });
  const status = await new Promise((resolve) => child.on("close", resolve));
  assert.is(status, 130);
  const records = JSON.parse(stdout);
  assert.ok(records.length > 0 && records.length < 60_000, `${records.length}`);
  assert.is((await PredictionCache.load(readFileSync(cache))).size, 1);
});

test("Ctrl-C while standard input is awaited ends with valid JSON", async () => {
  const child = spawn(process.execPath, ["dist/cli.js", "predict", "-q", "--json", "-"]);
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    if (stdout === "") child.kill("SIGINT");
    stdout += text;
  });
  assert.is(await new Promise((resolve) => child.on("close", resolve)), 130);
  assert.equal(JSON.parse(stdout), []);
});

if (process.platform === "linux")
  test("a full disk is an error in one line", () => {
    const stdio: ["ignore", number, "pipe"] = ["ignore", openSync("/dev/full", "w"), "pipe"];
    const { status, stderr } = spawnSync(process.execPath, ["dist/cli.js", "predict", "-q", CSCL], {
      encoding: "utf8",
      stdio,
    });
    assert.is(status, 1);
    assert.match(stderr, /^unitcell: cannot write the output: ENOSPC[^\n]*\n$/);
  });

test("a folder's links are read as the files they point to", () => {
  mkdirSync(join(scratch, "linked/deep"), { recursive: true });
  cpSync(CSCL, join(scratch, "linked/real.cif"));
  symlinkSync("../real.cif", join(scratch, "linked/deep/link.cif"));
  const { stdout, status } = unitcell(["predict", "-q", "--jsonl", join(scratch, "linked")]);
  assert.is(status, 0);
  const ids = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line).id);
  assert.equal(ids, ["link", "real"]);
});

if (process.getuid?.() === 0) console.log("skipped: a folder that may not be read (root may read everything)");
else
  test("a folder that may not be read is an error in one line", () => {
    mkdirSync(join(scratch, "outer/closed"), { recursive: true, mode: 0o700 });
    chmodSync(join(scratch, "outer/closed"), 0);
    const { status, stderr } = unitcell(["predict", "-q", join(scratch, "outer")]);
    assert.is(status, 1);
    assert.match(stderr, /^unitcell: NOT_FOUND: cannot read the folder [^\n]*EACCES[^\n]*\n$/);
  });

test.run();
