/** JSON of ASE, OPTIMADE and JARVIS against what ASE and pymatgen read from the same data, and what is refused. */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { ErrorCode } from "../src/errors.js";
import { parseEach, type StructureFormat } from "../src/structures/parse.js";
import { MAX_ATOMS, type Structure } from "../src/structures/structure.js";
import { fuzz } from "./fuzz.js";

interface Row {
  name: string;
  format: StructureFormat;
  text: string;
  expected: { id?: string; lattice: number[][]; numbers: number[]; frac_coords: number[][]; pbc?: boolean[] }[];
}
/** Written by make-json-structures.py beside it. */
const rows: Row[] = JSON.parse(readFileSync("test/fixtures/json-structures.json", "utf8"));

const results = (text: string, format: StructureFormat) => [...parseEach(text, { format, filename: "base.json" })];

for (const { name, format, text, expected } of rows)
  for (const asked of [format, "json"] as const)
    test(`${format}: ${name}, read as ${asked}`, () => {
      const found = results(text, asked);
      assert.is(found.length, expected.length);
      for (const [i, { id, lattice, numbers, frac_coords, pbc = [true, true, true] }] of expected.entries()) {
        const structure = found[i] as Structure;
        assert.not("error" in structure, `${"error" in structure && structure.error}`);
        assert.is(structure.id, id ?? (i === 0 ? "base" : `base#${i + 1}`));
        assert.equal([...structure.lattice], lattice.flat());
        assert.equal([...structure.numbers], numbers);
        assert.equal([...structure.pbc], pbc);
        for (const [k, x] of frac_coords.flat().entries())
          assert.ok(Math.abs(structure.fracCoords[k] - x) < 1e-14, `coordinate ${k}: ${structure.fracCoords[k]}, ${x}`);
      }
    });

const OPTIMADE = JSON.parse(rows.find(({ name }) => name === "resource")!.text);
const JARVIS = JSON.parse(rows.find(({ name }) => name === "to_dict")!.text);
const ASE = JSON.parse(rows.find(({ name }) => name === "todict as plain lists")!.text);
const ASE_DB = JSON.parse(rows.find(({ name }) => name === "ase.io.write")!.text);

const optimade = (changes: object) => ({ ...OPTIMADE, attributes: { ...OPTIMADE.attributes, ...changes } });
const species = (changes: object) => {
  const [lead, sulfur] = OPTIMADE.attributes.species;
  return optimade({ species: [lead, { ...sulfur, ...changes }] });
};
const many = new Array(MAX_ATOMS + 1).fill([0, 0, 0]);
const array = (...parts: unknown[]) => ({ ...ASE, positions: { __ndarray__: parts } });

const refused: [name: string, value: unknown, code: ErrorCode, message: RegExp][] = [
  ["no kind known", { foo: 1, bar: 2 }, "UNSUPPORTED", /expected a pymatgen .*JARVIS .*ASE .*OPTIMADE .*found keys foo, bar$/],
  ["no object", 5, "UNSUPPORTED", /found "5"$/],
  ["no keys", {}, "UNSUPPORTED", /found keys \(none\)$/],
  ["a second structure of no kind", [JARVIS, { foo: 1 }], "UNSUPPORTED", /^structure 1: expected .*found keys foo$/],

  ["two symbols", species({ chemical_symbols: ["S", "Se"], concentration: [0.5, 0.5] }), "UNSUPPORTED", /disordered structure: species "'S'" is "\['S','Se'\]"/],
  ["partial concentration", species({ concentration: [0.5] }), "UNSUPPORTED", /disordered.*concentration "\[0.5\]"/],
  ["a vacancy", species({ chemical_symbols: ["vacancy"] }), "UNSUPPORTED", /disordered.*vacancy/],
  ["an unknown atom", species({ chemical_symbols: ["X"] }), "CORRUPT", /species "'S'": "'X'" names no element/],
  ["attached atoms", species({ attached: ["H"], nattached: [2] }), "UNSUPPORTED", /species "'S'" has atoms without positions: "\['H'\]"/],
  ["no concentration", species({ concentration: null }), "CORRUPT", /expected a concentration, found "null"/],
  ["symbols a string", species({ chemical_symbols: "S" }), "CORRUPT", /chemical_symbols to be a list, found "'S'"/],
  ["disorder", optimade({ structure_features: ["disorder"] }), "UNSUPPORTED", /structure_features "\['disorder'\]"/],
  ["implicit atoms", optimade({ structure_features: ["implicit_atoms"] }), "UNSUPPORTED", /implicit_atoms/],
  ["site attachments", optimade({ structure_features: ["site_attachments"] }), "UNSUPPORTED", /site_attachments/],
  ["assemblies", optimade({ assemblies: [{ sites_in_groups: [[0], [1]], group_probabilities: [0.5, 0.5] }] }), "UNSUPPORTED", /disordered.*assemblies/],
  ["positions null", optimade({ cartesian_site_positions: null }), "CORRUPT", /cartesian_site_positions: expected a list, found "null"/],
  ["a position null", optimade({ cartesian_site_positions: [[0, 0, 0], null] }), "CORRUPT", /cartesian_site_positions\[1\]: expected three numbers, found "null"/],
  ["a coordinate null", optimade({ cartesian_site_positions: [[0, 0, 0], [0, null, 0]] }), "CORRUPT", /cartesian_site_positions\[1\]/],
  ["no lattice", optimade({ lattice_vectors: null }), "CORRUPT", /lattice_vectors: expected three vectors, found "null"/],
  ["a vector of nulls", optimade({ lattice_vectors: [[3, 0, 0], [0, 3, 0], [null, null, null]], dimension_types: [1, 1, 0] }), "UNSUPPORTED", /no full cell.*lattice_vectors\[2\] is null/],
  ["dimension types of words", optimade({ dimension_types: ["a", "b", "c"] }), "CORRUPT", /dimension_types: expected three of 0 and 1/],
  ["too few species names", optimade({ species_at_sites: ["Pb"] }), "MISMATCH", /1 species_at_sites but 2 cartesian_site_positions/],
  ["another nsites", optimade({ nsites: 3 }), "MISMATCH", /2 species_at_sites but 3 nsites/],
  ["a site of no species", optimade({ species_at_sites: ["Pb", "Se"] }), "CORRUPT", /species_at_sites\[1\]: "'Se'" is not in species/],
  ["no species", optimade({ species: undefined }), "CORRUPT", /species: expected a list, found nothing/],
  ["too many atoms", optimade({ cartesian_site_positions: many }), "LIMIT", /200001 cartesian_site_positions, at most 200000/],
  ["a second resource", { data: [OPTIMADE, species({ concentration: [0.5] })] }, "UNSUPPORTED", /^structure 1: disordered/],
  ["no data", { data: null, meta: {} }, "CORRUPT", /expected attributes .*found "null"/],
  ["a resource without attributes", { type: "structures", id: "1" }, "CORRUPT", /expected attributes .*found keys type, id/],

  ["two elements for one atom", { ...JARVIS, coords: [[0, 0, 0]] }, "MISMATCH", /2 elements but 1 coords/],
  ["an element unknown", { ...JARVIS, elements: ["C", "Xx"] }, "CORRUPT", /elements\[1\]: "'Xx'" names no element/],
  ["a short matrix", { ...JARVIS, lattice_mat: [[1, 0, 0]] }, "CORRUPT", /lattice_mat: expected three vectors/],
  ["cartesian a word", { ...JARVIS, cartesian: "no" }, "CORRUPT", /cartesian: expected true or false, found "'no'"/],
  ["a record without atoms", { jid: "JVASP-1", atoms: "na" }, "CORRUPT", /atoms: expected lattice_mat, coords and elements, found "'na'"/],
  ["too many atoms of JARVIS", { ...JARVIS, coords: many }, "LIMIT", /200001 coords/],

  ["a molecule", { ...ASE, cell: [[0, 0, 0], [0, 0, 0], [0, 0, 0]] }, "UNSUPPORTED", /no full cell.*vectors 0, 1, 2 are zero/],
  ["a flat cell", { ...ASE, cell: [[3, 0, 0], [0, 3, 0], [1, 1, 0]] }, "CORRUPT", /cell has no volume/],
  ["a dummy atom", { ...ASE, numbers: [22, 8, 0] }, "CORRUPT", /numbers\[2\]: "0" is no atomic number/],
  ["numbers too few", { ...ASE, numbers: [22, 8] }, "MISMATCH", /2 numbers but 3 positions/],
  ["pbc of words", { ...ASE, pbc: "TTT" }, "CORRUPT", /pbc: expected three booleans/],
  ["no cell", { positions: ASE.positions, numbers: ASE.numbers }, "CORRUPT", /expected cell, positions and numbers, found keys positions, numbers/],
  ["a shape not filled", array([3, 3], "float64", [1, 2]), "CORRUPT", /positions: expected 2 values to fill shape "\[3,3\]"/],
  ["a shape of words", array("a", "float64", [1, 2]), "CORRUPT", /positions: expected a shape and a flat list/],
  ["half an array", array([3, 3]), "CORRUPT", /__ndarray__ of three parts/],
  ["a shape of many empty rows", array([1e9, 0], "float64", []), "LIMIT", /1000000000 positions/],
  ["a row that is missing", { ...ASE_DB, ids: [1, 7] }, "CORRUPT", /^row 7: listed in ids, but not in the database/],
  ["a row of __proto__", { ...ASE_DB, ids: ["__proto__"] }, "CORRUPT", /ids: expected a list of row numbers/],
  ["a row that is none", { ...ASE_DB, 1: 5 }, "CORRUPT", /^row 1: expected cell, positions and numbers, found "5"/],
]; // biome-ignore format: a table
for (const [name, value, code, message] of refused)
  test(`refused: ${name}`, () => {
    const last = results(JSON.stringify(value), "json").at(-1)!;
    assert.ok("error" in last, "expected an error");
    assert.is(last.error.code, code, last.error.message);
    assert.match(last.error.message, message);
  });

const OTHERS: [StructureFormat, object][] = [
  ["pymatgen", JARVIS],
  ["optimade", JARVIS],
  ["jarvis", ASE],
  ["ase", OPTIMADE],
];
for (const [format, value] of OTHERS)
  test(`${format}, when asked for, takes no other kind`, () => {
    const [first] = results(JSON.stringify(value), format);
    assert.ok("error" in first && first.error.code === "UNSUPPORTED");
    assert.match(first.error.message, /^expected an? [^;]*; found keys /);
  });

test("kinds may be mixed, and an error keeps the id and place of its structure", () => {
  const lines = [
    JSON.stringify(JARVIS),
    "",
    "{",
    '{"a": NaN}',
    JSON.stringify(species({ concentration: [0.5] })),
    JSON.stringify([ASE, 5]),
  ];
  const found = results(lines.join("\r\n"), "json");
  assert.equal(
    found.map(({ id }) => id),
    ["base", "base#2", "base#3", "odbx/1", "base#5", "base#6"],
  );
  const messages = found.map((result) => ("error" in result ? result.error.message : ""));
  assert.is(messages[0] + messages[4], "");
  assert.match(messages[1], /^line 3: expected JSON/);
  assert.match(messages[2], /^line 4: expected JSON: NaN and Infinity are not numbers of JSON$/);
  assert.match(messages[3], /^line 5: disordered structure/);
  assert.match(messages[5], /^line 6: structure 1: expected .*found "5"/);
});

test("a file of headers only holds no structure", () => {
  const [only, ...rest] = results('{"x-optimade": {}}\n{"type": "info", "id": "/"}\n', "json");
  assert.is(rest.length, 0);
  assert.ok("error" in only);
  assert.match(only.error.message, /expected a structure \(json\), found none/);
});

test("values nested deeper than a stack is high are refused, not followed", () => {
  const deep = `${"[".repeat(50_000)}${"]".repeat(50_000)}`;
  for (const text of [
    `{"cell": ${deep}, "positions": [], "numbers": []}`,
    `{"lattice_mat": ${deep}}`,
    `{"a": ${deep}}`,
  ])
    assert.ok(results(text, "json").every((result) => "error" in result));
});

const samples = (format: StructureFormat) => rows.filter((row) => row.format === format).slice(0, 3);
for (const format of ["ase", "optimade", "jarvis"] as const)
  fuzz(
    format,
    format,
    samples(format).map(({ text }) => text),
  );

test.run();
