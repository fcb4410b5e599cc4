import { test } from "uvu";
import * as assert from "uvu/assert";
import { type ErrorCode, isUnitcellError, type UnitcellError } from "../src/errors.js";
import { parseStructures } from "../src/structures/parse.js";
import type { Structure } from "../src/structures/structure.js";
import { fuzz } from "./fuzz.js";
import { parseAll } from "./parsed.js";

const SITES = [
  { species: [{ element: "Na", occu: 1 }], abc: [0, 0, 0], xyz: [0, 0, 0], label: "Na", properties: {} },
  { species: [{ element: "Cl", occu: 1.0, oxidation_state: -1 }], abc: [0.5, 0.5, 0.5], label: "Cl" },
];
const LATTICE = { matrix: [[4, 0, 0], [0, 4, 0], [0, 0, 4]], a: 4 }; // biome-ignore format: a matrix
const NACL = { "@module": "pymatgen.core.structure", "@class": "Structure", charge: 0, lattice: LATTICE, sites: SITES };

function site(changes: object): object {
  return { ...NACL, sites: [SITES[0], { ...SITES[1], ...changes }] };
}

const accepted: [name: string, value: object, numbers: number[], note?: RegExp][] = [
  ["as_dict", NACL, [11, 17]],
  ["species with charges", site({ species: [{ element: "Cl-", occu: 1 }] }), [11, 17]],
  ["deuterium", site({ species: [{ element: "D", occu: 1 }] }), [11, 1], /deuterium/],
  ["pbc", { ...NACL, lattice: { ...LATTICE, pbc: [true, true, false] } }, [11, 17]],
];
for (const [name, value, numbers, note] of accepted)
  test(`pymatgen: ${name}`, () => {
    const [structure] = parseStructures(JSON.stringify(value), { filename: "x.json" });
    assert.equal([...structure.numbers], numbers);
    assert.equal([...structure.fracCoords], [0, 0, 0, 0.5, 0.5, 0.5]);
    assert.is(structure.pbc[2], name !== "pbc");
    assert.match(structure.notes?.join() ?? "", note ?? /^$/);
  });

const refused: [name: string, text: string, code: ErrorCode, message: RegExp][] = [
  ["no JSON", "{", "CORRUPT", /^expected JSON/],
  ["NaN", `{\n"lattice": NaN}`, "CORRUPT", /line 2: NaN and Infinity are not numbers of JSON/],
  ["another kind", '{"@class": "Molecule", "sites": []}', "UNSUPPORTED", /found keys @class, sites/],
  ["a number", "5", "UNSUPPORTED", /found "5"/],
  ["null", "null", "UNSUPPORTED", /found "null"/],
  [
    "partial occupancy",
    JSON.stringify(site({ species: [{ element: "Cl", occu: 0.5 }] })),
    "UNSUPPORTED",
    /disordered structure: site 1/,
  ],
  [
    "mixed site",
    JSON.stringify(
      site({
        species: [
          { element: "Cl", occu: 0.5 },
          { element: "Br", occu: 0.5 },
        ],
      }),
    ),
    "UNSUPPORTED",
    /disordered.*'Br'|disordered/,
  ],
  ["no species", JSON.stringify(site({ species: [] })), "CORRUPT", /site 1: expected a list of species/],
  [
    "unknown element",
    JSON.stringify(site({ species: [{ element: "Qq", occu: 1 }] })),
    "CORRUPT",
    /site 1: .*Qq.* names no element/,
  ],
  [
    "element a number",
    JSON.stringify(site({ species: [{ element: 11, occu: 1 }] })),
    "CORRUPT",
    /site 1: "11" names no element/,
  ],
  ["short abc", JSON.stringify(site({ abc: [0, 0] })), "CORRUPT", /site 1: abc: expected three numbers/],
  ["abc null", JSON.stringify(site({ abc: [0, 0, null] })), "CORRUPT", /site 1: abc/],
  [
    "a short lattice",
    JSON.stringify({ ...NACL, lattice: { matrix: [[4, 0, 0]] } }),
    "CORRUPT",
    /lattice.matrix: expected three vectors/,
  ],
  ["pbc of words", JSON.stringify({ ...NACL, lattice: { ...LATTICE, pbc: "TTT" } }), "CORRUPT", /lattice.pbc/],
  ["no sites", JSON.stringify({ ...NACL, sites: [] }), "CORRUPT", /no atoms/],
  ["an empty array", "[]", "CORRUPT", /found none/],
];
for (const [name, text, code, message] of refused)
  test(`pymatgen error: ${name}`, () => {
    const [first] = [...parseAll(text, { format: "pymatgen" })];
    assert.ok(isUnitcellError(first, code), `${first}`);
    assert.match((first as UnitcellError).message, message);
  });

test("pymatgen: an array gives each structure or its error", () => {
  const text = JSON.stringify([NACL, site({ abc: [0, 0, 0] }), NACL]);
  const results = [...parseAll(text, { filename: "set.json" })];
  assert.equal(
    [results[0], results[2]].map((result) => (result as Structure).id),
    ["set", "set#3"],
  );
  assert.match((results[1] as UnitcellError).message, /^structure 1: atoms 0 and 1 overlap/);
});

fuzz("pymatgen", "pymatgen", [JSON.stringify(NACL), JSON.stringify([NACL, NACL], null, 1)]);

test.run();
