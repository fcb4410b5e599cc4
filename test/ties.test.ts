/** Colours, cuts through tied shells, and which atom stands in for missing neighbours. */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { clusterValues } from "../src/graphs/clusters.js";
import { refineColors } from "../src/graphs/colors.js";
import { buildNearestGraph as buildGraph, MAX_TIE_CHOICES, tieVariants } from "../src/graphs/nearest.js";
import { findNeighbors, type NeighborLists, TIE_TOLERANCE } from "../src/graphs/neighbors.js";
import { allCuts, proportionalCut } from "../src/graphs/ties.js";
import type { Structure } from "../src/structures/structure.js";
import { crystal, permuted, supercell } from "./crystals.js";

function cubic(a: number, atoms: [number, number, number, number][]): Structure {
  return {
    lattice: Float64Array.of(a, 0, 0, 0, a, 0, 0, 0, a),
    pbc: [true, true, true],
    numbers: Uint8Array.from(atoms, ([z]) => z),
    fracCoords: Float64Array.from(atoms.flatMap(([, ...xyz]) => xyz)),
  };
}
const perovskite = cubic(3.905, [
  [38, 0, 0, 0],
  [22, 0.5, 0.5, 0.5],
  [8, 0.5, 0.5, 0],
  [8, 0.5, 0, 0.5],
  [8, 0, 0.5, 0.5],
]);
const graph = { select: "nearest", cutoff: 8, maxNeighbors: 12 } as const;

test("distances are clustered by gaps, not by rounding", () => {
  assert.equal(
    [...clusterValues(Float64Array.of(2, 1, 2 + 1e-9, 1 - 1e-9, 3, 2 - 1e-9), TIE_TOLERANCE).ids],
    [1, 0, 1, 0, 2, 1],
  );
});

test("colours: equivalent atoms share one, in an order that no atom order or supercell changes", () => {
  const colors = (s: Structure) => {
    const lists = findNeighbors(s, 8, 12);
    return [...refineColors(s.numbers, lists, clusterValues(lists.distance, TIE_TOLERANCE).ids).atoms];
  };
  assert.equal(colors(perovskite), [2, 1, 0, 0, 0]);
  assert.equal(colors(permuted(perovskite, [4, 0, 2, 1, 3])), [0, 2, 0, 1, 0]);
  assert.equal(colors(supercell(perovskite, 2)), Array.from({ length: 8 }, () => [2, 1, 0, 0, 0]).flat());
});

/** The plain algorithm: every atom in every round, signatures compared as a whole. */
function plainColors(numbers: Uint8Array, { start, index }: NeighborLists, cluster: Int32Array): number[] {
  let colors = Array.from(numbers);
  for (let classes = 0; ; ) {
    const signatures = colors.map((color, i) => {
      const pairs: number[] = [];
      for (let e = start[i]; e < start[i + 1]; e++) pairs.push(cluster[e] * 2 ** 22 + colors[index[e]]);
      return [color, ...pairs.sort((a, b) => a - b)];
    });
    const compare = (a: number[], b: number[]) => {
      const at = a.findIndex((x, k) => x !== b[k]);
      return at < 0 ? a.length - b.length : at < b.length ? a[at] - b[at] : 1;
    };
    const sorted = [...signatures].sort(compare);
    const distinct = sorted.filter((signature, at) => at === 0 || compare(sorted[at - 1], signature) !== 0);
    colors = signatures.map((signature) => distinct.findIndex((other) => compare(other, signature) === 0));
    if (distinct.length === classes) return colors;
    classes = distinct.length;
  }
}

test("colours: those of the plain algorithm, in its order, around defects and in random crystals", () => {
  const check = (s: Structure, cutoff: number, k: number) => {
    const lists = findNeighbors(s, cutoff, k);
    const cluster = clusterValues(lists.distance, TIE_TOLERANCE).ids;
    const { atoms, count } = refineColors(s.numbers, lists, cluster);
    assert.equal([...atoms], plainColors(s.numbers, lists, cluster));
    assert.is(count, new Set(atoms).size);
  };
  const cell = supercell(perovskite, 4);
  // One atom of another element of the crystal, and one of a foreign element.
  for (const number of [22, 56]) check({ ...cell, numbers: cell.numbers.map((z, i) => (i === 7 ? number : z)) }, 8, 12);
  check({ ...cell, numbers: cell.numbers.slice(1), fracCoords: cell.fracCoords.slice(3) }, 8, 12);
  check({ ...cell, numbers: cell.numbers.map((z, i) => (i % 50 === 3 ? 22 : z)) }, 8, 6);
  fc.assert(
    fc.property(crystal, fc.constantFrom(2, 4, 8), fc.constantFrom(1, 4, 12), (s, cutoff, k) =>
      check(supercell(s, 2), cutoff, k),
    ),
    { numRuns: 60, seed: 7 },
  );
});

test("proportional cut: largest remainder; equal ones in an order of the atom's own colour", () => {
  const perovskiteShell = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1];
  const taken = (room: number, neighbors: number[], own = 0) => {
    const entries = [...neighbors.keys()];
    const kept = proportionalCut({ entries, color: (entry) => neighbors[entry], room, atom: 0, own, colors: 9 });
    return [0, 1, 2, 3].map((color) => kept.filter((entry) => neighbors[entry] === color).length);
  };
  assert.equal(taken(10, perovskiteShell), [7, 3, 0, 0]);
  assert.equal(taken(6, perovskiteShell), [4, 2, 0, 0]);
  assert.equal(taken(1, perovskiteShell), [1, 0, 0, 0]);
  const first = Array.from({ length: 9 }, (_, own) => taken(1, [3, 1, 2, 0], own).indexOf(1));
  assert.equal(
    first,
    Array.from({ length: 9 }, (_, own) => taken(1, [0, 2, 3, 1], own).indexOf(1)),
    "any entry order",
  );
  assert.is(new Set(first).size, 4, "every colour is preferred somewhere");
});

test("all cuts: each multiset of atoms once, undefined beyond the limit", () => {
  const cuts = allCuts([10, 11, 12, 13], (entry) => [7, 7, 8, 9][entry - 10], 2, 100)!;
  const multisets = cuts.map((cut) => cut.map((entry) => [7, 7, 8, 9][entry - 10]).join());
  assert.equal(multisets.sort(), ["7,7", "7,8", "7,9", "8,9"]);
  assert.is(
    allCuts(
      Array.from({ length: 24 }, (_, i) => i),
      (entry) => entry,
      6,
      MAX_TIE_CHOICES,
    ),
    undefined,
  );
});

test("perovskite: the oxygens are named as ambiguous, and there are 216 choices, as upstream's enumeration has", () => {
  const { warnings } = buildGraph(perovskite, graph);
  assert.equal(
    warnings.map(({ code, atoms }) => [code, atoms]),
    [["neighbor-tie", [2, 3, 4]]],
  );
  assert.match(warnings[0].message, "O3, O4, O5");
  const { graphs, exhaustive } = tieVariants(perovskite, graph);
  assert.is(graphs.length, 216);
  assert.ok(exhaustive);
  assert.is(new Set(graphs.map(({ source }) => source.join())).size, 216);
});

test("perovskite 2x2x2: too many choices for all, so a fixed sample", () => {
  const cell = supercell(perovskite, 2);
  const [a, b] = [tieVariants(cell, graph), tieVariants(cell, graph)];
  assert.is(a.graphs.length, MAX_TIE_CHOICES);
  assert.not.ok(a.exhaustive);
  assert.equal(a.graphs[255].source, b.graphs[255].source);
  assert.equal(a.graphs[0].source, buildGraph(cell, graph).source, "the choice predicted with is in the range");
});

test("diamond: twelve tied second neighbours of one colour are no ambiguity", () => {
  const si = cubic(5.43, [
    [14, 0, 0, 0],
    [14, 0, 0.5, 0.5],
    [14, 0.5, 0, 0.5],
    [14, 0.5, 0.5, 0],
    [14, 0.25, 0.25, 0.25],
    [14, 0.25, 0.75, 0.75],
    [14, 0.75, 0.25, 0.75],
    [14, 0.75, 0.75, 0.25],
  ]);
  assert.equal(buildGraph(si, graph).warnings, []);
  assert.equal(tieVariants(si, graph).graphs, []);
});

test("few neighbours: filled up from the least electronegative atom, in any order, and named", () => {
  const water = cubic(15, [
    [8, 0.5, 0.5, 0.5],
    [1, 0.550533, 0.539067, 0.5],
    [1, 0.449467, 0.539067, 0.5],
  ]);
  for (const order of [
    [0, 1, 2],
    [1, 0, 2],
    [2, 1, 0],
  ]) {
    const { source, lengths, warnings, numbers } = buildGraph(permuted(water, order), graph);
    for (let i = 0; i < 3; i++) {
      assert.equal([...lengths.subarray(12 * i + 2, 12 * i + 12)], new Array(10).fill(9));
      for (const j of source.subarray(12 * i + 2, 12 * i + 12)) assert.is(numbers[j], 1);
    }
    assert.equal(
      warnings.map(({ code }) => code),
      ["few-neighbors"],
    );
  }
});

test.run();
