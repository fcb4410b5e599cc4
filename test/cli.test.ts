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
import { join } from "node:path";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { loadCheckpoint } from "../src/checkpoint.js";
import { cgcnnElementTable } from "../src/graphs/features.js";
import { DTYPE_BYTES } from "../src/tensor.js";
import { ops, storage, str, tensor, torchZip } from "./build-files.js";

const CSCL = "examples/structures/CsCl.cif";
const NACL = "examples/structures/NaCl-rocksalt.cif";
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

test("predict without a model uses the example and says so, table", () => {
  const { stdout, stderr, status } = unitcell(["predict", "--table", CSCL, NACL]);
  assert.is(status, 0);
  assert.match(stderr, "cgcnn_ionic_best.pt, the example that ships with unitcell");
  assert.match(stderr.replace(/\s+/g, " "), "NOT a formation energy");
  const lines = stdout.trimEnd().split("\n");
  assert.is(lines.length, 3);
  assert.match(lines[0], /^structure +formula +atoms +value$/);
  assert.match(lines[1], /^CsCl +CsCl +2 +-3\.6311 {2}eV\/atom$/);
  assert.match(lines[2], /^NaCl-rocksalt +NaCl +8 +-4\.46\d\d {2}eV\/atom$/);
});

test("JSON, JSON Lines and CSV hold the same values", () => {
  const json = JSON.parse(unitcell(["predict", "--json", CSCL, NACL]).stdout);
  assert.equal(Object.keys(json[0]), ["id", "model", "formula", "sites", "property", "unit", "value", "warnings"]);
  const lines = unitcell(["predict", "--jsonl", CSCL, NACL]).stdout.trimEnd().split("\n");
  assert.equal(
    lines.map((line) => JSON.parse(line)),
    json,
  );
  const [header, ...rows] = unitcell(["predict", CSCL, NACL]).stdout.trimEnd().split("\n");
  assert.is(header, "id,model,formula,sites,property,unit,value,tie_min,tie_max,warnings,error");
  assert.equal(
    rows.map((line) => Number(/,eV\/atom,([^,]+)/.exec(line)![1])),
    json.map((r: { value: number }) => r.value),
  );
});

test("several models: a record each, in the structures' order", () => {
  const { stdout, status } = unitcell(["predict", "-q", "--jsonl", "-m", BEST, "-m", FINAL, CSCL, NACL]);
  assert.is(status, 0);
  const records = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.equal(
    records.map((r) => [r.id, r.model]),
    [
      ["CsCl", "cgcnn_ionic_best.pt"],
      ["CsCl", "cgcnn_ionic_final.pt"],
      ["NaCl-rocksalt", "cgcnn_ionic_best.pt"],
      ["NaCl-rocksalt", "cgcnn_ionic_final.pt"],
    ],
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
    JSON.parse(unitcell(["predict", "-q", "--jsonl", ...options, "examples/structures/SrTiO3-perovskite.cif"]).stdout);
  const plain = run();
  assert.equal(run("--atom-init", table), plain);
  assert.is(plain.tie, undefined);
  const { tie } = run("--tie-range");
  assert.ok(tie.exhaustive && tie.choices === 216);
  assert.ok(tie.min <= plain.value && plain.value <= tie.max);
  const row = unitcell(["predict", "-q", "--table", "--tie-range", "examples/structures/SrTiO3-perovskite.cif"]).stdout;
  assert.match(row, new RegExp(`${tie.min.toFixed(4)} \\.\\. ${tie.max.toFixed(4)}\n$`));
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
  assert.match(stderr.replace(/\s+/g, " "), /tensors: \d+ remapped: module\.embedding\.weight to embedding\.weight, /);
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
  const child = spawn(process.execPath, ["dist/cli.js", "predict", "-q", "--json", file]);
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text) => {
    if (stdout.length < 1000 && stdout.length + text.length >= 1000) child.kill("SIGINT");
    stdout += text;
  });
  const status = await new Promise((resolve) => child.on("close", resolve));
  assert.is(status, 130);
  const records = JSON.parse(stdout);
  assert.ok(records.length > 0 && records.length < 60_000, `${records.length}`);
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
