/** Structures with the bits that upstream's readers gave: its ALIGNN graphs cut shells of equal distances by rounding noise. */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { SYMBOLS } from "../src/structures/elements.js";
import { latticeFromParameters } from "../src/structures/lattice.js";
import { toFractional } from "../src/structures/linear-algebra.js";
import { parseStructures } from "../src/structures/parse.js";
import { fixtureJson, fixtureText, haveFixtures } from "./fixtures.js";

interface Expected {
  lattice: number[][];
  species: string[];
  frac_coords: number[][];
}

/** Numbers as they are to the last bit, -0 as 0; equal text is equal bits. */
const exact = (row: ArrayLike<number>) => Array.from(row, (x) => `${x + 0}`).join(" ");

if (haveFixtures("alignn")) {
  const { structures } = fixtureJson<{ structures: Record<string, Expected> }>("alignn/structures.json");
  test("there are 54", () => assert.is(Object.keys(structures).length, 54));
  for (const [id, { lattice, species, frac_coords }] of Object.entries(structures))
    test(`${id} is pymatgen's to the last bit`, () => {
      const { file } = fixtureJson<{ file: string }>(`structures/${id}.json`);
      const [first] = parseStructures(fixtureText(`structures/${file}`), { filename: file });
      assert.is(exact(first.lattice), exact(lattice.flat()));
      const sites = Array.from(first.numbers, (number, i) => {
        return `${SYMBOLS[number]} ${exact(first.fracCoords.subarray(3 * i, 3 * i + 3))}`;
      });
      assert.equal(sites.sort(), species.map((symbol, i) => `${symbol} ${exact(frac_coords[i])}`).sort());
    });
}

interface Rows {
  cells: { parameters: number[]; lattice: number[] }[];
  cartesian: { lattice: number[]; positions: number[]; frac_coords: number[]; volume: number; scaled: number[] }[];
}
/** Written by make-lattices.py beside it. */
const rows: Rows = JSON.parse(readFileSync("test/fixtures/lattices.json", "utf8"));

test("cells of random lengths and angles are pymatgen's to the last bit where |cos gamma*| < 0.5", () => {
  let equal = 0;
  for (const { parameters, lattice } of rows.cells) {
    const [a, b, c, alpha, beta, gamma] = parameters;
    const ours = latticeFromParameters([a, b, c], [alpha, beta, gamma]);
    if (exact(ours) === exact(lattice)) equal++;
    else {
      const [, , , x, y] = lattice;
      assert.ok(Math.abs(x) >= 0.5 * Math.hypot(x, y), `${parameters}`);
      // An arc cosine off by its last bit.
      for (const [i, value] of lattice.entries()) assert.ok(Math.abs(ours[i] - value) <= 1e-15 * b, `${parameters}`);
    }
  }
  console.log(`  ${equal} of ${rows.cells.length} random cells equal to the last bit`);
  assert.ok(equal >= 0.93 * rows.cells.length);
});

test("Cartesian coordinates become pymatgen's fractional ones, to the last bit", () => {
  for (const { lattice, positions, frac_coords } of rows.cartesian)
    assert.is(exact(toFractional(positions, lattice)), exact(frac_coords));
});

test("a POSCAR scaled to a volume is pymatgen's, to the last bit", () => {
  let equal = 0;
  for (const { lattice, volume, scaled } of rows.cartesian) {
    const vectors = [0, 3, 6].map((i) => lattice.slice(i, i + 3).join(" ")).join("\n");
    const [first] = parseStructures(`x\n${-volume}\n${vectors}\nH\n1\nDirect\n0 0 0\n`, { format: "poscar" });
    if (exact(first.lattice) === exact(scaled)) equal++;
  }
  console.log(`  ${equal} of ${rows.cartesian.length} scaled lattices equal to the last bit`);
  // glibc's log may be off by one bit, some once in a hundred determinants.
  assert.ok(equal >= rows.cartesian.length - 1);
});

test.run();
