import { test } from "uvu";
import * as assert from "uvu/assert";
import { isUnitcellError } from "../src/errors.js";
import { type ParseOptions, parseStructures } from "../src/structures/parse.js";
import { parseAll } from "./parsed.js";

const CIF =
  "data_x\n_cell_length_a 4\n_cell_length_b 4\n_cell_length_c 4\n_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\nloop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nNa 0 0 0\n";
const POSCAR = "Na\n1.0\n4 0 0\n0 4 0\n0 0 4\nNa\n1\nDirect\n0 0 0\n";
const XYZ = '1\nLattice="4 0 0 0 4 0 0 0 4"\nNa 0 0 0\n';
const JSON_TEXT = JSON.stringify({
  lattice: {
    matrix: [
      [4, 0, 0],
      [0, 4, 0],
      [0, 0, 4],
    ],
  },
  sites: [{ species: [{ element: "Na", occu: 1 }], abc: [0, 0, 0] }],
});

const formats: [text: string, options: ParseOptions, id: string | undefined][] = [
  [CIF, { filename: "dir/NaCl.v2.cif" }, "NaCl.v2"],
  [CIF, { filename: "NaCl.MCIF" }, "NaCl"],
  [POSCAR, { filename: "POSCAR" }, "POSCAR"],
  [POSCAR, { filename: "C:\\runs\\CONTCAR_relaxed" }, "CONTCAR_relaxed"],
  [POSCAR, { filename: "na.vasp" }, "na"],
  [POSCAR, { filename: "na.poscar" }, "na"],
  [XYZ, { filename: "na.xyz" }, "na"],
  [XYZ, { filename: "na.extxyz" }, "na"],
  [JSON_TEXT, { filename: "na.json" }, "na"],
  [`${JSON_TEXT}\n${JSON_TEXT}\n`, { filename: "na.jsonl" }, "na"],
  [JSON_TEXT, { filename: "na.db.json" }, "na.db"],
  [JSON_TEXT, { format: "json" }, undefined],
  [JSON_TEXT, { format: "pymatgen" }, undefined],
  [CIF, { filename: "na.txt" }, "na"],
  [`# comment\n${CIF}`, { filename: "na" }, "na"],
  [POSCAR, { filename: "na.dat" }, "na"],
  [XYZ, { filename: "na.dat" }, "na"],
  [`\ufeff ${JSON_TEXT}`, { filename: "na" }, "na"],
  [CIF, { format: "cif" }, undefined],
  [CIF, { format: "cif", filename: "odd.vasp" }, "odd"],
];
for (const [text, options, id] of formats)
  test(`format of ${JSON.stringify(options)} holding ${JSON.stringify(text.slice(0, 8))}`, () => {
    const [structure] = parseStructures(text, options);
    assert.is(structure.id, id);
    assert.equal([...structure.numbers], [11]);
  });

test("format: content that is none of them names what is supported", () => {
  const [error] = [...parseAll("hello\nworld\n", { filename: "notes.txt" })];
  assert.ok(isUnitcellError(error, "UNSUPPORTED"));
  assert.match(error.message, /"notes.txt" is in no supported format; supported are CIF .*POSCAR .*XYZ.*JSON/);
});

test("format: neither format nor filename, or an unknown format, is the caller's mistake", () => {
  for (const options of [undefined, {}, { format: "pdb" }, { format: "toString" }])
    assert.throws(
      () => parseStructures(CIF, options as ParseOptions),
      (error: unknown) => isUnitcellError(error, "ARGUMENT"),
    );
});

test.run();
