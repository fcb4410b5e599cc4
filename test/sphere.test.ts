/** MEGNet's graphs: every pair within the cutoff, against matgl's stored edges and all pairs of all images. */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { bondVector } from "../src/graphs/edges.js";
import { buildGraph } from "../src/graphs/graph.js";
import { sphereEdges } from "../src/graphs/sphere.js";
import { type Structure, transformRows } from "../src/structures/structure.js";
import { cellShifts, crystal, permuted, rebased, shifted, supercell, unimodular } from "./crystals.js";
import { fixtureJson, haveFixtures } from "./fixtures.js";
import { neighborhoods, sortedRows } from "./graph-rows.js";
import { storedStructures } from "./stored-structures.js";
import { throwsCode } from "./throws.js";

const config = { select: "sphere", cutoff: 4 } as const;

function cubic(a: number, atoms: [number, number, number, number][]): Structure {
  return {
    lattice: Float64Array.of(a, 0, 0, 0, a, 0, 0, 0, a),
    pbc: [true, true, true],
    numbers: Uint8Array.from(atoms, ([z]) => z),
    fracCoords: Float64Array.from(atoms.flatMap(([, ...xyz]) => xyz)),
  };
}

/** [source, receiver, image] of every edge. */
function imagedRows(structure: Structure, cutoff: number): [source: number, receiver: number, ...image: number[]][] {
  const { start, source, image } = sphereEdges(structure, cutoff, { images: true });
  return Array.from(structure.numbers.keys()).flatMap((i) =>
    Array.from(source.subarray(start[i], start[i + 1]), (from, at): [number, number, ...number[]] => [
      from,
      i,
      ...image!.subarray(3 * (start[i] + at), 3 * (start[i] + at) + 3),
    ]),
  );
}

/** The rule word for word: vector = (frac_j + T - frac_i) . lattice, kept when d² < cutoff² + 1e-8. */
function allPairs({ lattice, pbc, numbers, fracCoords }: Structure, cutoff: number, reach: number): number[][] {
  const rows: number[][] = [];
  for (const shift of cellShifts(reach).filter((s) => s.every((n, k) => pbc[k] || n === 0)))
    for (let i = 0; i < numbers.length; i++)
      for (let j = 0; j < numbers.length; j++) {
        const vector = transformRows(
          shift.map((n, k) => fracCoords[3 * j + k] + n - fracCoords[3 * i + k]),
          lattice,
        );
        const square = vector.reduce((sum, x) => sum + x * x, 0);
        if (square < cutoff ** 2 + 1e-8 && !(i === j && Math.sqrt(square) <= 1e-8)) rows.push([i, j, ...shift]);
      }
  return rows;
}

for (const pbc of [
  [true, true, true],
  [true, false, true],
] as const)
  test(`random crystals, repeating ${pbc}: the edges of all pairs, images in the cell as given`, () => {
    fc.assert(
      fc.property(crystal, fc.array(fc.integer({ min: -2, max: 2 }), { minLength: 18, maxLength: 18 }), (s, cells) => {
        // Atoms moved by whole cells of their own: images must tell.
        const moved = { ...s, pbc, fracCoords: s.fracCoords.map((x, i) => x + (pbc[i % 3] ? cells[i % 18] : 0)) };
        assert.equal(sortedRows(imagedRows(moved, 4)), sortedRows(allPairs(moved, 4, 7)));
      }),
      { numRuns: 60, seed: 7 },
    );
  });

test("another basis: the same vectors", () => {
  const vector = new Float64Array(3);
  const rows = (s: Structure) =>
    sortedRows(
      imagedRows(s, 4.000001).map(([from, to, a, b, c]) => {
        bondVector(vector, 0, s, from, to, [a, b, c]);
        return [from, to, ...vector];
      }),
      5,
    );
  fc.assert(
    fc.property(crystal, unimodular, (structure, m) => assert.equal(rows(rebased(structure, m)), rows(structure))),
    { numRuns: 100, seed: 7 },
  );
});

test("primitive copper: 12 and 6 neighbours, all of them its own images, in both directions", () => {
  const copper: Structure = {
    lattice: Float64Array.of(0, 1.8075, 1.8075, 1.8075, 0, 1.8075, 1.8075, 1.8075, 0),
    pbc: [true, true, true],
    numbers: Uint8Array.of(29),
    fracCoords: Float64Array.of(0, 0, 0),
  };
  const graph = buildGraph(copper, config);
  assert.is(graph.numEdges, 18);
  assert.equal([...graph.start], [0, 18]);
  assert.ok(graph.lengths.every((d, e) => Math.abs(d - (e < 12 ? 1.8075 * Math.SQRT2 : 3.615)) < 1e-12));
  assert.is(graph.vectors, undefined);
  assert.is(graph.cell, undefined);
  assert.is(buildGraph(supercell(copper, 3), config).numEdges, 27 * 18);
});

test("each atom's edges by length, then sending atom; lengths are those of bondVector, to the bit", () => {
  const vector = new Float64Array(3);
  fc.assert(
    fc.property(crystal, fc.constantFrom(2, 4, 9), (s, cutoff) => {
      const { start, source, lengths } = sphereEdges(s, cutoff);
      const expected = imagedRows(s, cutoff).map(([from, to, a, b, c]) => {
        bondVector(vector, 0, s, from, to, [a, b, c]);
        const [x, y, z] = vector;
        return [to, Math.sqrt(x * x + y * y + z * z), from];
      });
      expected.sort((a, b) => a[0] - b[0] || a[1] - b[1] || a[2] - b[2]);
      assert.equal(
        [...lengths],
        expected.map(([, length]) => length),
      );
      assert.equal(
        [...source],
        expected.map(([, , from]) => from),
      );
      assert.is(start[s.numbers.length], expected.length);
    }),
    { numRuns: 60, seed: 7 },
  );
});

test("more edges than an even density has: a cluster in an empty cell", () => {
  const atoms = Array.from({ length: 64 }, (_, i): [number, number, number, number] => [
    29,
    0.01 * (i % 4),
    0.01 * (Math.floor(i / 4) % 4),
    0.01 * Math.floor(i / 16),
  ]);
  assert.is(buildGraph(cubic(100, atoms), { ...config, cutoff: 6 }).numEdges, 64 * 63);
});

test("a sphere of thousands of cells: as many edges as points of the lattice", () => {
  const lengths = cellShifts(10)
    .map(([a, b, c]) => 3 * Math.hypot(a, b, c))
    .filter((d) => d > 0 && d < 29.5)
    .sort((a, b) => a - b);
  const graph = buildGraph(cubic(3, [[29, 0, 0, 0]]), { ...config, cutoff: 29.5 });
  assert.is(graph.numEdges, lengths.length);
  assert.ok(graph.lengths.every((d, e) => Math.abs(d - lengths[e]) < 1e-12));
});

test("the tolerance is on the square: 1.25e-9 Å at 4 Å", () => {
  const count = (a: number) => imagedRows(cubic(a, [[29, 0, 0, 0]]), 4).length;
  assert.is(count(4), 6);
  assert.is(count(4 + 1.2e-9), 6);
  assert.is(count(4 + 1.3e-9), 0);
});

test("no bond at all: refused, and why", () =>
  throwsCode(
    () => buildGraph(cubic(6.2, [[54, 0, 0, 0]]), config),
    "UNSUPPORTED",
    /no two atoms within 4 Å.*NaN.*in a batch/,
  ));

test("an atom without bonds beside others that have some: a warning names it", () => {
  const { warnings, start } = buildGraph(
    cubic(12, [
      [8, 0, 0, 0],
      [54, 0.5, 0.5, 0.5],
      [1, 0.08, 0, 0],
    ]),
    config,
  );
  assert.equal([...start], [0, 1, 1, 2]);
  assert.equal(
    warnings.map(({ code, atoms }) => [code, atoms]),
    [["isolated-atom", [1]]],
  );
  assert.match(warnings[0].message, "Xe2");
});

test("refusals: overlapping images, settings, more edges than fit", async () => {
  await throwsCode(() => buildGraph(cubic(0.05, [[29, 0, 0, 0]]), config), "CORRUPT", /overlap/);
  for (const cutoff of [0, -1, Number.NaN, Number.POSITIVE_INFINITY])
    await throwsCode(() => buildGraph(cubic(4, [[29, 0, 0, 0]]), { ...config, cutoff }), "ARGUMENT", /positive cutoff/);
  await throwsCode(() => buildGraph(cubic(1, [[29, 0, 0, 0]]), { ...config, cutoff: 170 }), "LIMIT", /16777216/);
});

test("same crystal, same neighbours: origin, order of atoms, supercell", () => {
  const build = (s: Structure) => neighborhoods(buildGraph(s, config));
  const edges = (s: Structure, cutoff: number) => sphereEdges(s, cutoff).source.length;
  fc.assert(
    fc.property(
      // Rounding may move a neighbour across the cutoff, or leave nothing inside it.
      crystal.filter((s) => edges(s, 4 - 1e-6) > 0 && edges(s, 4 - 1e-6) === edges(s, 4 + 1e-6)),
      (s) => {
        const reference = build(s);
        assert.equal(build(shifted(s, [0.3, -1.7, 0.01])), reference);
        assert.equal(build(permuted(s, [...s.numbers.keys()].reverse())), reference);
        assert.equal(
          build(supercell(s, 2)),
          reference.flatMap((row) => new Array(8).fill(row)),
        );
      },
    ),
    { numRuns: 60, seed: 7 },
  );
});

if (haveFixtures("megnet"))
  test("matgl's stored edges: all 54 structures", () => {
    let compared = 0;
    for (const [id, structure] of storedStructures()) {
      const stored = fixtureJson<{ src: number[]; dst: number[]; image: number[]; distance: number[] }>(
        `megnet/graphs/${id}.json`,
      );
      const expected = stored.src.map((from, e) => [from, stored.dst[e], ...stored.image.slice(3 * e, 3 * e + 3)]);
      assert.equal(sortedRows(imagedRows(structure, 4)), sortedRows(expected), id);
      if (expected.length > 0) {
        const { lengths } = buildGraph(structure, config);
        const theirs = Float64Array.from(stored.distance).sort();
        for (const [e, d] of lengths.slice().sort().entries()) assert.ok(Math.abs(d - theirs[e]) < 1e-12, `${id} ${d}`);
      }
      compared++;
    }
    assert.is(compared, 54);
  });

test.run();
