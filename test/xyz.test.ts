import { test } from "uvu";
import * as assert from "uvu/assert";
import { type ErrorCode, isUnitcellError, UnitcellError } from "../src/errors.js";
import { parseStructures } from "../src/structures/parse.js";
import type { Structure } from "../src/structures/structure.js";
import { fuzz } from "./fuzz.js";
import { parseAll } from "./parsed.js";

const LATTICE = 'Lattice="4 0 0 0 5 0 0 0 6"';
const PROPERTIES = "Properties=species:S:1:pos:R:3";

function frame(header: string, atoms: string[], count = `${atoms.length}`): string {
  return [count, header, ...atoms, ""].join("\n");
}

const ATOMS = ["Na 0 0 0", "Cl 2 2.5 3"];
const rows: [name: string, header: string, atoms?: string[], pbc?: string][] = [
  ["plain", `${LATTICE} ${PROPERTIES}`],
  ["no Properties means species and pos", LATTICE],
  ["keys in any case", `${LATTICE.toLowerCase()} properties=species:S:1:pos:R:3`],
  ["single quotes", `Lattice='4 0 0 0 5 0 0 0 6'`],
  ["braces and brackets", `Lattice={4 0 0 0 5 0 0 0 6} stress=[1, 2, 3]`],
  ["blanks around =", `Lattice = "4 0 0 0 5 0 0 0 6" energy = -1.5`],
  ['quoted text with = and \\"', `config="a = b \\"c\\"" ${LATTICE}`],
  ["bare keys", `relaxed ${LATTICE} checked`],
  [
    "extra columns before and after",
    `${LATTICE} Properties=id:I:1:species:S:1:pos:R:3:forces:R:3`,
    ["1 Na 0 0 0 9 9 9", "2 Cl 2 2.5 3 9 9 9"],
  ],
  ["atomic numbers", `${LATTICE} Properties=Z:I:1:pos:R:3`, ["11 0 0 0", "17 2 2.5 3"]],
  ["pbc", `${LATTICE} pbc="T F 1"`, ATOMS, "true,false,true"],
  ["no periodic axis", `${LATTICE} pbc="F F F"`, ATOMS, "false,false,false"],
];
for (const [name, header, atoms = ATOMS, pbc = "true,true,true"] of rows)
  test(`xyz: ${name}`, () => {
    const [structure] = parseStructures(frame(header, atoms), { format: "xyz" });
    assert.equal([...structure.numbers], [11, 17]);
    assert.equal([...structure.lattice], [4, 0, 0, 0, 5, 0, 0, 0, 6]);
    assert.equal([...structure.fracCoords], [0, 0, 0, 0.5, 0.5, 0.5]);
    assert.is(structure.pbc.join(), pbc);
  });

test("xyz: positions are Cartesian, lattice rows are the cell vectors", () => {
  const [structure] = parseStructures(frame('Lattice="4 0 0 1 4 0 0 0 4"', ["Si 2.5 2 0"]), { format: "xyz" });
  for (const [k, x] of [0.5, 0.5, 0].entries()) assert.ok(Math.abs(structure.fracCoords[k] - x) < 1e-15);
});

const errors: [name: string, text: string, code: ErrorCode, message: RegExp][] = [
  ["no count", `atoms\n${LATTICE}\n`, "CORRUPT", /^frame 1: line 1: expected the number of atoms, found "atoms"/],
  ["no lattice", frame("energy=1", ATOMS), "UNSUPPORTED", /line 2: no Lattice: only periodic/],
  ["a free comment", frame("water, optimized", ATOMS), "UNSUPPORTED", /no Lattice/],
  [
    "lattice of six numbers",
    frame('Lattice="1 2 3 4 5 6"', ATOMS),
    "CORRUPT",
    /line 2: expected Lattice to be nine numbers/,
  ],
  ["lattice with nan", frame('Lattice="4 0 0 0 nan 0 0 0 4"', ATOMS), "CORRUPT", /nine numbers/],
  ["flat lattice", frame('Lattice="4 0 0 0 4 0 4 4 0"', ATOMS), "CORRUPT", /no volume/],
  ["an open quote", frame('Lattice="4 0 0', ATOMS), "CORRUPT", /line 2: expected key=value pairs/],
  ["too few atoms", frame(LATTICE, ATOMS, "3"), "MISMATCH", /line 1: 3 atoms declared, but only 2 lines follow/],
  ["too many atoms to be true", frame(LATTICE, ATOMS, "2000000000"), "LIMIT", /2000000000 atoms/],
  [
    "a line after the atoms",
    frame(LATTICE, [...ATOMS, "K 1 1 1"], "2"),
    "CORRUPT",
    /^frame 2: line 5: expected the number of atoms/,
  ],
  [
    "a short line",
    frame(LATTICE, ["Na 0 0 0", "Cl 2 2.5"]),
    "CORRUPT",
    /line 4: expected 4 columns for atom 2 of 2, found 3/,
  ],
  ["nan", frame(LATTICE, ["Na 0 0 0", "Cl 2 nan 1"]), "CORRUPT", /line 4: .*position of atom 2\), found "nan"/],
  ["unknown element", frame(LATTICE, ["Qq 0 0 0"]), "CORRUPT", /line 3: "Qq" names no element/],
  [
    "atomic number 0",
    frame(`${LATTICE} Properties=Z:I:1:pos:R:3`, ["0 0 0 0"]),
    "CORRUPT",
    /line 3: "0" is no atomic number/,
  ],
  [
    "no pos",
    frame(`${LATTICE} Properties=species:S:1`, ["Na"]),
    "CORRUPT",
    /line 2: Properties must name pos and species/,
  ],
  ["a broken Properties", frame(`${LATTICE} Properties=species:S:1:pos`, ATOMS), "CORRUPT", /name:type:columns/],
  [
    "pos of two columns",
    frame(`${LATTICE} Properties=species:S:1:pos:R:2`, ATOMS),
    "CORRUPT",
    /expected 3 columns for pos/,
  ],
  ["pbc of two", frame(`${LATTICE} pbc="T T"`, ATOMS), "CORRUPT", /pbc to be three of T and F/],
  ["no atoms", frame(LATTICE, []), "CORRUPT", /no atoms/],
  ["overlap", frame(LATTICE, ["Na 0 0 0", "Na 4 0 0"]), "CORRUPT", /frame 1: atoms 0 and 1 overlap/],
];
for (const [name, text, code, message] of errors)
  test(`xyz error: ${name}`, () => {
    const error = [...parseAll(text, { format: "xyz" })].find((result) => result instanceof UnitcellError);
    assert.ok(isUnitcellError(error, code), `${error}`);
    assert.match(error.message, message);
  });

test("xyz: frames, blank lines between, one bad among them", () => {
  const good = frame(LATTICE, ATOMS);
  const results = [...parseAll(`${good}${frame(LATTICE, ["Qq 0 0 0"])}\n${good}`, { filename: "md.xyz" })];
  assert.is(results.length, 3);
  assert.equal(
    [results[0], results[2]].map((result) => (result as Structure).id),
    ["md", "md#3"],
  );
  assert.match((results[1] as UnitcellError).message, /^frame 2: line 7/);
  assert.throws(() => parseStructures(`${good}2\n`, { format: "xyz" }), /frame 2/);
});

fuzz("xyz", "xyz", [
  frame(`${LATTICE} ${PROPERTIES} pbc="T T F" config="a b"`, ATOMS).repeat(2),
  frame(`${LATTICE} Properties=Z:I:1:pos:R:3:f:L:1`, ["11 0 0 0 T", "17 2 2.5 3 F"]),
]);

test.run();
