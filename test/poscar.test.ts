import { test } from "uvu";
import * as assert from "uvu/assert";
import { type ErrorCode, isUnitcellError, type UnitcellError } from "../src/errors.js";
import { parseStructures } from "../src/structures/parse.js";
import { fuzz } from "./fuzz.js";
import { parseAll } from "./parsed.js";

interface Parts {
  comment: string;
  scale: string;
  rows: string[];
  species: string;
  counts: string;
  mode: string;
  sites: string[];
}

const PARTS: Parts = {
  comment: "rock salt",
  scale: "1.0",
  rows: ["4 0 0", "0 4 0", "0 0 4"],
  species: "Na Cl",
  counts: "1 1",
  mode: "Direct",
  sites: ["0 0 0", "0.5 0.5 0.5"],
};

/** A POSCAR with some of its parts replaced; an empty species line is left out (VASP 4). */
function poscar(changes: Partial<Parts> = {}): string {
  const { comment, scale, rows, species, counts, mode, sites } = { ...PARTS, ...changes };
  return [comment, scale, ...rows, ...(species ? [species] : []), counts, ...mode.split("\n"), ...sites, ""].join("\n");
}

const NACL = { numbers: [11, 17], lattice: [4, 4, 4], second: [0.5, 0.5, 0.5] };
const rows: [name: string, changes: Partial<Parts>, expected?: Partial<typeof NACL>][] = [
  ["VASP 5", {}],
  ["scale", { scale: "2.0", rows: ["2 0 0", "0 2 0", "0 0 2"] }],
  ["negative scale is the volume", { scale: "-64", rows: ["1 0 0", "0 1 0", "0 0 1"] }],
  ["negative scale, left-handed cell", { scale: "-64", rows: ["1 0 0", "0 1 0", "0 0 -1"] }, { lattice: [4, 4, -4] }],
  ["three scales", { scale: "1 2 4", rows: ["4 0 0", "0 2 0", "0 0 1"] }],
  [
    "three scales, Cartesian",
    { scale: "1 2 4", rows: ["4 0 0", "0 2 0", "0 0 1"], mode: "C", sites: ["0 0 0", "2 1 .5"] },
  ],
  ["a comment after the scale", { scale: "1.0 ! Å" }],
  [
    "Cartesian is scaled, too",
    { scale: "2", rows: ["2 0 0", "0 2 0", "0 0 2"], mode: "Cartesian", sites: ["0 0 0", "1 1 1"] },
  ],
  [
    "Cartesian and negative scale",
    { scale: "-64", rows: ["1 0 0", "0 1 0", "0 0 1"], mode: "cart", sites: ["0 0 0", ".5 .5 .5"] },
  ],
  ["Kartesian", { mode: "Kartesian", sites: ["0 0 0", "2 2 2"] }],
  ["selective dynamics", { mode: "Selective dynamics\nDirect", sites: ["0 0 0 T T F", ".5 .5 .5 F F F ! fixed"] }],
  ["Fortran exponents", { rows: ["4.0D+00 0 0", "0 0.4d1 0", "0 0 40E-1"], sites: ["0 0 0", "5.D-1 .5D0 0.5"] }],
  ["velocities are passed over", { sites: ["0 0 0", ".5 .5 .5", "", "0.1 0.1 0.1", "0.2 0.2 0.2"] }],
  ["pseudopotential suffixes", { species: "Na_pv Cl/9aa1bc" }],
  ["a comment after species and counts", { species: "Na Cl ! two", counts: "1 1 # each" }],
  ["a species with no atoms", { species: "Na K Cl", counts: "1 0 1" }],
  [
    "a species twice",
    { species: "Na Cl Na", counts: "1 1 1", sites: ["0 0 0", ".5 .5 .5", ".5 0 0"] },
    { numbers: [11, 17, 11] },
  ],
  ["VASP 4, symbols after the positions", { species: "", sites: ["0 0 0 Na", ".5 .5 .5 Cl"] }],
  [
    "VASP 4, symbols after the flags",
    { species: "", mode: "Sel\nDirect", sites: ["0 0 0 T T T Na", ".5 .5 .5 F F F Cl"] },
  ],
  ["VASP 4, symbols in the comment", { species: "", comment: " Na Cl " }],
  ["deuterium", { species: "D Cl" }, { numbers: [1, 17] }],
  ["positions are kept as they are", { sites: ["0 0 0", "-1.5 2.5 .5"] }, { second: [-1.5, 2.5, 0.5] }],
  ["tabs and leading blanks", { rows: ["\t4\t0 0", "  0 4 0", "0 0 4  "] }],
];
for (const [name, changes, expected] of rows)
  test(`POSCAR: ${name}`, () => {
    const { numbers, lattice, second } = { ...NACL, ...expected };
    const [structure] = parseStructures(poscar(changes), { format: "poscar" });
    assert.equal([...structure.numbers], numbers);
    for (const [k, length] of lattice.entries()) assert.ok(Math.abs(structure.lattice[4 * k] - length) < 1e-12);
    for (const [k, x] of second.entries()) assert.ok(Math.abs(structure.fracCoords[3 + k] - x) < 1e-12);
    assert.equal(structure.pbc, [true, true, true]);
    assert.is(structure.notes !== undefined, name === "deuterium");
  });

const errors: [name: string, text: string, code: ErrorCode, message: RegExp][] = [
  ["scale 0", poscar({ scale: "0" }), "CORRUPT", /line 2: expected a scale factor other than 0, found "0"/],
  ["scale a word", poscar({ scale: "one" }), "CORRUPT", /line 2: .*found "one"/],
  [
    "a negative one of three scales",
    poscar({ scale: "1 -1 1" }),
    "CORRUPT",
    /line 2: three scale factors must be positive/,
  ],
  [
    "volume for a flat cell",
    poscar({ scale: "-64", rows: ["1 0 0", "0 1 0", "1 1 0"] }),
    "CORRUPT",
    /line 2: .*no volume/,
  ],
  ["flat cell", poscar({ rows: ["4 0 0", "0 4 0", "4 4 0"] }), "CORRUPT", /cell has no volume/],
  ["flat cell, Cartesian", poscar({ rows: ["4 0 0", "0 4 0", "4 4 0"], mode: "C" }), "CORRUPT", /cell has no volume/],
  [
    "a short lattice vector",
    poscar({ rows: ["4 0 0", "0 4", "0 0 4"] }),
    "CORRUPT",
    /line 4: .*lattice vector\), found 2 numbers/,
  ],
  ["two lattice vectors", poscar({ rows: ["4 0 0", "0 4 0"] }), "CORRUPT", /line 5: .*found "Na"/],
  ["unknown element", poscar({ species: "Na Xx" }), "CORRUPT", /line 6: "Xx" names no element/],
  ["more counts than species", poscar({ counts: "1 1 1" }), "MISMATCH", /line 7: 2 species but 3 counts/],
  ["a negative count", poscar({ counts: "1 -1" }), "CORRUPT", /line 7: .*found "-1"/],
  ["a broken count", poscar({ counts: "1 1.5" }), "CORRUPT", /line 7: .*found "1.5"/],
  ["no counts", poscar({ counts: "Direct" }), "CORRUPT", /line 7: .*found "Direct"/],
  ["no atoms", poscar({ counts: "0 0" }), "CORRUPT", /no atoms/],
  ["too many atoms", poscar({ counts: "1 2000000000" }), "LIMIT", /2000000001 atoms declared/],
  ["no mode line", poscar({ mode: "0 0 0" }), "CORRUPT", /line 8: expected "Direct" or "Cartesian", found "0 0 0"/],
  ["a missing position", poscar({ sites: ["0 0 0"] }), "CORRUPT", /2 atoms declared, but the file ends at line 9/],
  [
    "a short position",
    poscar({ sites: ["0 0 0", ".5 .5"] }),
    "CORRUPT",
    /line 10: .*position of atom 2\), found 2 numbers/,
  ],
  ["nan", poscar({ sites: ["0 0 0", ".5 nan .5"] }), "CORRUPT", /line 10: .*found "nan"/],
  ["two atoms on one place", poscar({ sites: ["0 0 0", "1 0 0"] }), "CORRUPT", /atoms 0 and 1 overlap/],
  ["VASP 4 without symbols", poscar({ species: "" }), "UNSUPPORTED", /line 6: VASP 4 file without species/],
  ["empty", "", "CORRUPT", /empty text/],
  ["the comment only", "rock salt", "CORRUPT", /line 3|line 2/],
];
for (const [name, text, code, message] of errors)
  test(`POSCAR error: ${name}`, () => {
    const [first, second] = [...parseAll(text, { format: "poscar" })];
    assert.ok(isUnitcellError(first, code), `${first}`);
    assert.match((first as UnitcellError).message, message);
    assert.is(second, undefined);
  });

fuzz("POSCAR", "poscar", [
  poscar(),
  poscar({ scale: "-64", mode: "Selective\nCart", sites: ["0 0 0 T T T", "2 2 2 F F F"] }),
  poscar({ species: "", sites: ["0 0 0 Na", ".5 .5 .5 Cl"] }),
]);

test.run();
