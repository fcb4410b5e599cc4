/** The binned search against every pair of every image, and upstream's stored neighbour lists. */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { findNeighbors, TIE_TOLERANCE } from "../src/graphs/neighbors.js";
import { parseStructures } from "../src/structures/parse.js";
import { type Structure, transformRows } from "../src/structures/structure.js";
import { cellShifts, crystal, rebased, unimodular } from "./crystals.js";
import { fixtureJson, fixtureNames, fixtureText, haveFixtures } from "./fixtures.js";

/** Neighbours of atom i by brute force: [distance, atom] ascending, `reach` cells in every direction. */
function allPairs({ lattice, pbc, numbers, fracCoords }: Structure, i: number, cutoff: number, reach: number) {
  const found: [number, number][] = [];
  for (const shift of cellShifts(reach).filter((s) => s.every((n, k) => pbc[k] || n === 0)))
    for (let j = 0; j < numbers.length; j++) {
      if (i === j && shift.every((n) => n === 0)) continue;
      const d = Math.hypot(
        ...transformRows(
          shift.map((n, k) => fracCoords[3 * j + k] - fracCoords[3 * i + k] + n),
          lattice,
        ),
      );
      if (d <= cutoff + TIE_TOLERANCE) found.push([d, j]);
    }
  return found.sort(([a], [b]) => a - b);
}

/** The k nearest, ties with the last included. */
function expectedList(pairs: [number, number][], k: number) {
  const bound = (pairs[k - 1]?.[0] ?? Number.POSITIVE_INFINITY) + TIE_TOLERANCE;
  return pairs.filter(([d]) => d <= bound);
}

function checkAgainstAllPairs(structure: Structure, cutoff: number, k: number, reach: number) {
  const lists = findNeighbors(structure, cutoff, k);
  for (let i = 0; i < structure.numbers.length; i++) {
    const expected = expectedList(allPairs(structure, i, cutoff, reach), k);
    const [from, end] = [lists.start[i], lists.start[i + 1]];
    assert.is(end - from, expected.length, `atom ${i}`);
    for (let e = from; e < end; e++)
      assert.ok(Math.abs(lists.distance[e] - expected[e - from][0]) < 1e-9, `atom ${i}, neighbour ${e - from}`);
    const atoms = (list: Iterable<number>) => [...list].sort((a, b) => a - b);
    assert.equal(atoms(lists.index.subarray(from, end)), atoms(expected.map(([, j]) => j)));
  }
}

test("random crystals: the same neighbours as all pairs", () => {
  fc.assert(
    fc.property(crystal, fc.constantFrom(3, 5.5), fc.constantFrom(1, 4, 12), (structure, cutoff, k) =>
      checkAgainstAllPairs(structure, cutoff, k, 4),
    ),
    { numRuns: 150, seed: 7 },
  );
});

test("needle cells: a sheared basis finds the neighbours of the compact one", () => {
  fc.assert(
    fc.property(crystal, unimodular, (structure, m) => {
      const [a, b] = [structure, rebased(structure, m)].map((s) => findNeighbors(s, 6, 12));
      assert.equal([...a.start], [...b.start]);
      for (const [e, d] of a.distance.entries()) assert.ok(Math.abs(d - b.distance[e]) < 1e-9);
    }),
    { numRuns: 300, seed: 7 },
  );
});

for (const pbc of [
  [true, true, false],
  [false, false, false],
  [false, true, true],
] as const)
  test(`open axes ${pbc}: no images along them`, () => {
    fc.assert(
      fc.property(crystal, (structure) => checkAgainstAllPairs({ ...structure, pbc }, 5, 12, 4)),
      { numRuns: 60, seed: 7 },
    );
  });

test("a neighbour exactly at the cutoff is inside; one atom in a large box has none", () => {
  const cube = (a: number): Structure => ({
    lattice: Float64Array.of(a, 0, 0, 0, a, 0, 0, 0, a),
    pbc: [true, true, true],
    numbers: Uint8Array.of(29),
    fracCoords: Float64Array.of(0.999999999999, 0, 0.3),
  });
  assert.is(findNeighbors(cube(4), 4, 12).index.length, 6);
  assert.is(findNeighbors(cube(20), 8, 12).index.length, 0);
});

test("more ties than the first buffer holds", () => {
  // 1,000 neighbours at one distance cannot be, but k nearest of a dense cell with a huge k fills any buffer.
  const structure: Structure = {
    lattice: Float64Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1),
    pbc: [true, true, true],
    numbers: Uint8Array.of(1),
    fracCoords: Float64Array.of(0, 0, 0),
  };
  assert.is(findNeighbors(structure, 7, 2000).index.length, allPairs(structure, 0, 7 + 1e-8, 8).length);
});

if (haveFixtures("cgcnn"))
  test("upstream's stored distances: all 54 structures", () => {
    let compared = 0;
    for (const name of fixtureNames("structures").filter((file) => /\.(cif|vasp|extxyz)$/.test(file))) {
      const [structure] = parseStructures(fixtureText(`structures/${name}`), { filename: name });
      const stored = fixtureJson<{ nbr_dist: number[][] }>(`cgcnn/graphs/${structure.id}.json`);
      const lists = findNeighbors(structure, 8, 12);
      const rows = (distances: (i: number) => number[]) =>
        Array.from(structure.numbers, (_, i) => distances(i)).sort((a, b) => compare(a, b));
      const ours = rows((i) => {
        const found = [...lists.distance.subarray(lists.start[i], lists.start[i + 1])].slice(0, 12);
        return [...found, ...new Array(12 - found.length).fill(9)];
      });
      // Atoms stand in another order upstream: sorted rows are compared, rounded so that noise cannot reorder them.
      const theirs = rows((i) => stored.nbr_dist[i]);
      for (const [i, row] of ours.entries())
        for (const [e, d] of row.entries())
          assert.ok(Math.abs(d - theirs[i][e]) < 1e-6, `${name}: ${d} ${theirs[i][e]}`);
      compared++;
    }
    assert.is(compared, 54);
  });

function compare(a: number[], b: number[]): number {
  for (const [i, x] of a.entries()) if (Math.abs(x - b[i]) > 1e-7) return x - b[i];
  return 0;
}

test.run();
