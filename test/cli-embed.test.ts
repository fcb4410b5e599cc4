/** `unitcell embed` as a user runs it. Run after a build. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { embed } from "../src/embed.js";
import { predict } from "../src/predict.js";
import { parseStructures } from "../src/structures/parse.js";
import { exampleModel } from "./examples.js";
import { fixturesRoot, haveFixtures } from "./fixtures.js";

const FILES = ["CsCl", "SrTiO3-perovskite"].map((name) => `examples/structures/${name}.cif`);
const structures = FILES.flatMap((filename) => parseStructures(readFileSync(filename, "utf8"), { filename }));
const model = await exampleModel();
const expected = await embed(model, structures, { shares: true });

function unitcell(args: string[], input?: string) {
  const { stdout, stderr, status } = spawnSync(process.execPath, ["dist/cli.js", "embed", ...args], {
    encoding: "utf8",
    ...(input !== undefined && { input }),
  });
  return { stdout, stderr, status, lines: stdout.trimEnd().split("\n") };
}

test("JSON Lines: the vectors of the library, to the bit", () => {
  const { lines, stderr, status } = unitcell(FILES);
  assert.is(status, 0);
  assert.match(stderr, "the example that ships with unitcell");
  assert.match(stderr, "warning: SrTiO3-perovskite: O3, O4, O5: different neighbours tie");
  const records = lines.map((line) => JSON.parse(line));
  assert.equal(Object.keys(records[0]), ["id", "formula", "sites", "crystal"]);
  for (const [i, { id, formula, sites, crystal }] of records.entries()) {
    assert.equal([id, formula, sites], [expected[i].id, expected[i].formula, expected[i].sites]);
    assert.equal(Float32Array.from(crystal), expected[i].crystal);
  }
});

test("--atoms: elements, a row of columns each, shares in the property's unit", () => {
  const [, record] = unitcell(["-q", "--atoms", ...FILES]).lines.map((line) => JSON.parse(line));
  assert.equal(record.elements, ["Sr", "Ti", "O", "O", "O"]);
  assert.equal([record.atoms.length, record.atoms[0].length], [5, expected[1].atomColumns]);
  assert.equal(Float32Array.from(record.atoms.flat()), expected[1].atoms);
  assert.equal(record.shares, [...expected[1].shares!]);
});

test("--csv: a row a crystal", () => {
  const { lines } = unitcell(["-q", "--csv", ...FILES]);
  assert.is(lines[0], `id,formula,${Array.from({ length: 16 }, (_, k) => `e${k}`).join(",")}`);
  assert.is(lines.length, 3);
  const [id, formula, ...numbers] = lines[2].split(",");
  assert.equal([id, formula], ["SrTiO3-perovskite", "SrTiO3"]);
  assert.equal(Float32Array.from(numbers, Number), expected[1].crystal);
});

test("--shares: a row an atom, adding up to the prediction", async () => {
  const { lines } = unitcell(["-q", "--shares", ...FILES]);
  assert.is(lines[0], "id,atom,element,share");
  assert.match(lines[1], /^CsCl,0,Cs,-?[\d.]+$/);
  const rows = lines.slice(1).map((line) => line.split(","));
  assert.equal(
    rows.map(([id, atom, element]) => `${id} ${atom} ${element}`).slice(2),
    ["Sr", "Ti", "O", "O", "O"].map((element, i) => `SrTiO3-perovskite ${i} ${element}`),
  );
  for (const { id, value } of await predict(model, structures)) {
    const sum = rows.filter((row) => row[0] === id).reduce((total, row) => total + Number(row[3]), 0);
    assert.ok(Math.abs(sum - value) < 1e-4, `${sum}, predicted ${value}`);
  }
});

test("standard input; what fails is a record, a line on stderr and exit code 1, and the rest goes on", () => {
  const { lines, stderr, status } = unitcell(["-q", "missing.cif", "-"], readFileSync(FILES[0], "utf8"));
  assert.is(status, 1);
  const [failed, good] = lines.map((line) => JSON.parse(line));
  assert.equal(failed, { id: "missing.cif", error: { code: "NOT_FOUND", message: "no file missing.cif" } });
  assert.is(good.id, "stdin");
  assert.match(stderr, "error: missing.cif: NOT_FOUND: no file missing.cif");
  for (const format of ["--csv", "--shares"]) {
    const { lines, status } = unitcell(["-q", format, "missing.cif", FILES[0]]);
    assert.is(status, 1);
    assert.match(lines[0], /^id,/);
    assert.match(lines[1], /^CsCl,/);
  }
});

const USAGE: [args: string[], message: RegExp][] = [
  [[], /needs structure files/],
  [["--csv", "--shares", FILES[0]], /--csv and --shares exclude each other/],
  [["--atoms", "--csv", FILES[0]], /--atoms and --csv exclude each other/],
  [["-f", "pdb", FILES[0]], /--format is one of/],
  [["--state", "x", FILES[0]], /--state takes a number/],
  [["--wrong", FILES[0]], /Unknown option '--wrong'/],
];
for (const [args, message] of USAGE)
  test(`wrong usage: ${args.join(" ")}`, () => {
    const { stderr, status } = unitcell(args);
    assert.is(status, 2);
    assert.match(stderr, message);
  });

test("a state that the model does not have", () => {
  const { stderr, status } = unitcell(["-q", "--state", "1", FILES[0]]);
  assert.is(status, 2);
  assert.match(stderr, /unitcell: --state: state 1 given, but no model has states/);
});

if (haveFixtures("cgcnn") && haveFixtures("megnet"))
  for (const file of ["cgcnn/semi-metal-classification.pth.tar", "megnet/state.pt"])
    test(`${file}: vectors, but no shares`, () => {
      const checkpoint = `${fixturesRoot}/${file}`;
      const { stderr, status } = unitcell(["-q", "--shares", "-m", checkpoint, FILES[0]]);
      assert.is(status, 1);
      assert.match(
        stderr,
        /UNSUPPORTED: --shares: this (CGCNN classification|MEGNet regression) has no shares by atom/,
      );
      const record = JSON.parse(unitcell(["-q", "--atoms", "-m", checkpoint, FILES[0]]).stdout);
      assert.ok(record.crystal.length > 0 && !("shares" in record));
    });

test("help", () => {
  const { stdout } = spawnSync(process.execPath, ["dist/cli.js", "help", "embed"], { encoding: "utf8" });
  assert.match(stdout, /^Usage: unitcell embed/);
  assert.is(unitcell(["--help"]).stdout, stdout);
});

test.run();
