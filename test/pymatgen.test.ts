import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { type ErrorCode, isUnitcellError, type UnitcellError } from "../src/errors.js";
import { type ParseOptions, parseEach, parseStructures } from "../src/structures/parse.js";
import { MIN_ATOM_DISTANCE, makeStructure, type Structure } from "../src/structures/structure.js";
import { fuzz } from "./fuzz.js";

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
    const [first] = [...parseEach(text, { format: "pymatgen" })];
    assert.ok(isUnitcellError(first, code), `${first}`);
    assert.match((first as UnitcellError).message, message);
  });

test("pymatgen: an array gives each structure or its error", () => {
  const text = JSON.stringify([NACL, site({ abc: [0, 0, 0] }), NACL]);
  const results = [...parseEach(text, { filename: "set.json" })];
  assert.equal(
    [results[0], results[2]].map((result) => (result as Structure).id),
    ["set", "set#3"],
  );
  assert.match((results[1] as UnitcellError).message, /^structure 1: atoms 0 and 1 overlap/);
});

// --- choice of the format ---------------------------------------------------------------------------------------

const CIF =
  "data_x\n_cell_length_a 4\n_cell_length_b 4\n_cell_length_c 4\n_cell_angle_alpha 90\n_cell_angle_beta 90\n_cell_angle_gamma 90\nloop_\n_atom_site_label\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\nNa 0 0 0\n";
const POSCAR = "Na\n1.0\n4 0 0\n0 4 0\n0 0 4\nNa\n1\nDirect\n0 0 0\n";
const XYZ = '1\nLattice="4 0 0 0 4 0 0 0 4"\nNa 0 0 0\n';
const JSON_TEXT = JSON.stringify({ lattice: LATTICE, sites: [SITES[0]] });

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
  const [error] = [...parseEach("hello\nworld\n", { filename: "notes.txt" })];
  assert.ok(isUnitcellError(error, "UNSUPPORTED"));
  assert.match(error.message, /"notes.txt" is in no supported format; supported are CIF .*POSCAR .*XYZ.*JSON/);
});

test("format: neither format nor filename, or an unknown format, is the caller's mistake", () => {
  for (const options of [{}, { format: "pdb" }, { format: "toString" }])
    assert.throws(
      () => parseStructures(CIF, options as ParseOptions),
      (error: unknown) => isUnitcellError(error, "ARGUMENT"),
    );
});

// --- overlaps ---------------------------------------------------------------------------------------------------

/** Smallest distance over the 27 images of each pair, Å; plain and slow. */
function smallestDistance(lattice: readonly number[], coords: readonly number[]): number {
  let smallest = Infinity;
  for (let i = 0; i < coords.length; i += 3)
    for (let j = 0; j < i; j += 3)
      for (let image = 0; image < 27; image++) {
        const shift = [image % 3, Math.floor(image / 3) % 3, Math.floor(image / 9)].map((n) => n - 1);
        const d = shift.map((n, k) => coords[i + k] - coords[j + k] + n);
        const cartesian = [0, 1, 2].map((k) => d[0] * lattice[k] + d[1] * lattice[3 + k] + d[2] * lattice[6 + k]);
        smallest = Math.min(smallest, Math.hypot(...cartesian));
      }
  return smallest;
}

test("makeStructure finds exactly the overlaps that checking all pairs finds", () => {
  const lattice = [3, 0, 0, 1, 2.5, 0, -0.5, 0.7, 12];
  const coordinate = fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true });
  const nudge = fc.double({ min: -0.05, max: 0.05, noNaN: true });
  fc.assert(
    fc.property(
      fc.array(coordinate, { minLength: 9, maxLength: 36 }),
      fc.array(nudge, { minLength: 3, maxLength: 3 }),
      (free, near) => {
        // A last atom close to the first, across a face as often as not.
        const base = free.slice(0, free.length - (free.length % 3));
        const coords = [...base, ...near.map((d, k) => (((base[k] + d) % 1) + 1) % 1)];
        const parts = {
          lattice: Float64Array.from(lattice),
          pbc: [true, true, true] as const,
          numbers: new Uint8Array(coords.length / 3).fill(14),
          fracCoords: Float64Array.from(coords),
        };
        const overlaps = smallestDistance(lattice, coords) < MIN_ATOM_DISTANCE;
        if (overlaps) assert.throws(() => makeStructure(parts), /overlap/);
        else assert.ok(makeStructure(parts));
      },
    ),
    { seed: 7, numRuns: 500 },
  );
});

fuzz("pymatgen", "pymatgen", [JSON.stringify(NACL), JSON.stringify([NACL, NACL], null, 1)]);

test.run();
