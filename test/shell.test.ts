/** ALIGNN's k-nearest graphs: upstream's edges to the last bit, its quirks by name, and the symmetric policy. */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { ShellGraphConfig } from "../src/config.js";
import { buildGraph, type CrystalGraph } from "../src/graphs/graph.js";
import { countTriplets, lineGraph } from "../src/graphs/line-graph.js";
import { shellEdges } from "../src/graphs/shell-bonds.js";
import { SHELL_RULES, SHELL_TOLERANCE } from "../src/graphs/shell-rules.js";
import { findShells } from "../src/graphs/shell-search.js";
import type { Structure } from "../src/structures/structure.js";
import { crystal, permuted, rebased, rotated, shifted, supercell, unimodular } from "./crystals.js";
import { fixtureJson, fixtureNames, haveFixtures } from "./fixtures.js";
import { edgeRows, neighborhoods, sameRows, sortedRows } from "./graph-rows.js";
import { shellOracle } from "./shell-oracle.js";
import { asStructure } from "./stored-structures.js";
import { throwsCode } from "./throws.js";

const upstream: ShellGraphConfig = {
  select: "shell",
  cutoff: 8,
  maxNeighbors: 12,
  canonize: true,
  neighborPolicy: "upstream",
  lineGraph: true,
};
const symmetric: ShellGraphConfig = { ...upstream, neighborPolicy: "symmetric" };

function cubic(a: number, atoms: [number, number, number, number][]): Structure {
  return {
    lattice: Float64Array.of(a, 0, 0, 0, a, 0, 0, 0, a),
    pbc: [true, true, true],
    numbers: Uint8Array.from(atoms, ([z]) => z),
    fracCoords: Float64Array.from(atoms.flatMap(([, ...xyz]) => xyz)),
  };
}

const copper: Structure = {
  lattice: Float64Array.of(0, 1.8075, 1.8075, 1.8075, 0, 1.8075, 1.8075, 1.8075, 0),
  pbc: [true, true, true],
  numbers: Uint8Array.of(29),
  fracCoords: Float64Array.of(0, 0, 0),
};
/** Rock salt on the lattice that pymatgen's cell parameters give: rounding noise beside the zeros. */
const noise = 3.453626438275451e-16;
const rockSalt: Structure = {
  lattice: Float64Array.of(5.6402, 0, noise, -noise, 5.6402, noise, 0, 0, 5.6402),
  pbc: [true, true, true],
  numbers: Uint8Array.of(11, 11, 11, 11, 17, 17, 17, 17),
  fracCoords: Float64Array.of(
    ...[0, 0, 0, 0, 0.5, 0.5, 0.5, 0, 0.5, 0.5, 0.5, 0],
    ...[0.5, 0, 0, 0.5, 0.5, 0.5, 0, 0, 0.5, 0, 0.5, 0],
  ),
};
const codes = ({ warnings }: CrystalGraph) => warnings.map(({ code }) => code);

test("a bond to an atom's own image is there twice in each direction: 24 edges of primitive copper", () => {
  const graph = buildGraph(copper, upstream);
  assert.is(graph.numEdges, 24);
  assert.is(countTriplets(graph), 552);
  assert.equal(codes(graph), []);
  const rows = sortedRows(edgeRows(graph), 5);
  for (let e = 0; e < 24; e += 2) assert.is(rows[e], rows[e + 1]);
});

test("symmetric: a bond to an image is there once and follows itself, so a supercell is the same crystal", () => {
  const graph = buildGraph(copper, symmetric);
  assert.is(graph.numEdges, 12);
  assert.is(countTriplets(graph), 144);
  assert.is(countTriplets(buildGraph(supercell(copper, 3), symmetric)), 27 * 144);
  assert.is(graph.neighborPolicy, "symmetric");
  assert.is(buildGraph(supercell(copper, 3), symmetric).numEdges, 27 * 12);
  assert.is(buildGraph(supercell(copper, 3), upstream).numEdges, 27 * 12);
});

test("rounding cuts rock salt's second shell: 132 of 144 edges, and a warning names the atoms", () => {
  const graph = buildGraph(rockSalt, upstream);
  assert.is(graph.numEdges, 132);
  assert.is(countTriplets(graph), 2184);
  assert.equal(codes(graph), ["neighbor-tie"]);
  assert.match(graph.warnings[0].message, /^Na1, .*rounding.*neighborPolicy "symmetric"/);
  assert.is(graph.neighborPolicy, undefined);
  const whole = buildGraph(rockSalt, symmetric);
  assert.is(whole.numEdges, 144);
  assert.equal(codes(whole), []);
});

test("two lattices: a cell rounded beforehand is cut elsewhere", () => {
  const rounded = { ...rockSalt, lattice: rockSalt.lattice.map((x) => Math.round(x * 1e5) / 1e5) };
  assert.is(buildGraph(rounded, upstream).numEdges, 144);
});

test("bonds come from the lattice rounded to 5 decimals, under symmetric from the lattice as given", () => {
  const a = 3.615004;
  const lengths = (config: ShellGraphConfig) => buildGraph(cubic(a, [[84, 0, 0, 0]]), config).lengths;
  assert.ok(Math.abs(lengths(upstream)[0] - 3.615) < 1e-12);
  assert.ok(Math.abs(lengths(symmetric)[0] - a) < 1e-12);
});

// From numpy's around, sqrt, dot and arccos, in jarvis' order.
const cells: [name: string, lattice: number[], expected: number[]][] = [
  ["hexagonal", [3.2094, 0, 0, -1.6047, 2.77942, 0, 0, 0, 5.2108], [3.2094, 3.209398, 5.2108, 90, 90, 120]],
  [
    "triclinic",
    [
      6.9926482251816475, 0, -1.3731705061149388, -2.2093984112387735, 7.534750213665367, 0.0013704325217087161, 0, 0,
      5.5724,
    ],
    [7.126202, 7.852, 5.5724, 89.99, 101.11, 106.03],
  ],
  [
    "primitive copper, in the sixth decimal off",
    [
      2.2136651149291, 0, 1.2780601500000002, 0.7378883716430334, 2.087063485389953, 1.2780601500000002, 0, 0,
      2.5561203,
    ],
    [2.556124, 2.556118, 2.55612, 60, 60.0001, 59.9999],
  ],
];
for (const [name, lattice, expected] of cells)
  test(`the cell's parameters, as jarvis rounds them: ${name}`, () => {
    const { cell } = buildGraph({ ...copper, lattice: Float64Array.from(lattice) }, upstream);
    assert.equal([...cell!], expected);
  });

test("the cutoff grows to the longest edge, then doubles: an isolated atom in 20 Å ends at 40", () => {
  const graph = buildGraph(cubic(20, [[2, 0.1, 0.2, 0.3]]), upstream);
  assert.is(graph.cutoff, 40);
  assert.is(graph.numEdges, 36);
  assert.equal(
    graph.warnings.map(({ code, atoms }) => [code, atoms]),
    [["cutoff-extended", [0]]],
  );
  assert.match(graph.warnings[0].message, "He1: fewer than 12 neighbours within 8 Å; the cutoff was extended to 40 Å");
  assert.is(buildGraph(cubic(20, [[2, 0.1, 0.2, 0.3]]), symmetric).cutoff, 32);
});

test("an absurd cell is refused before its cutoff has grown beyond 10,000 Å", () =>
  throwsCode(() => buildGraph(cubic(20000, [[2, 0, 0, 0]]), upstream), "LIMIT", /10000 Å/));

test("without canonize each end that keeps a bond adds it: CsCl has 56 edges instead of 40", () => {
  const cscl = cubic(4.123, [
    [55, 0, 0, 0],
    [17, 0.5, 0.5, 0.5],
  ]);
  const counts = (config: ShellGraphConfig) =>
    [true, false].map((canonize) => buildGraph(cscl, { ...config, canonize }).numEdges);
  assert.equal(counts(upstream), [40, 56]);
  assert.equal(counts(symmetric), [28, 56]);
});

test("far images are missed where coordinates spread over more than one cell", () => {
  // The same two chains, once with an atom written three cells away.
  const chain = (x: number): Structure => ({
    ...cubic(2.5, [
      [29, 0, 0, 0],
      [29, x, 0.5, 0],
    ]),
    lattice: Float64Array.of(2.5, 0, 0, 0, 9, 0, 0, 0, 9),
  });
  for (const x of [0, 3, 9, 40]) {
    sameRows(edgeRows(buildGraph(chain(x), upstream)), shellOracle(chain(x), upstream).edges, 2, 1e-12);
  }
  assert.is(buildGraph(chain(40), symmetric).numEdges, buildGraph(chain(0), symmetric).numEdges);
});

test("images are numpy.dot's, fused: a shell cut in cells so skewed that far images are near", () => {
  // Counts by jarvis' own loop over images, with OpenBLAS' AVX-512 kernels; without fusing they are 44, 36 and 46.
  const rows: [lattice: number[], second: number, edges: number][] = [
    [[1.89, 5.67, 3.78, 3.78, 5.67, -1.89, 3.78, 7.56, 0], 0.5, 38],
    [[6.345000000000001, 4.23, 2.115, -2.115, 6.345000000000001, 4.23, -10.575000000000001, -2.115, 0], 0.5, 52],
    [[-6.51, -2.17, -4.34, -2.17, -10.85, -4.34, -4.34, 2.17, -2.17], 0.25, 50],
  ];
  for (const [lattice, x, edges] of rows) {
    const skewed: Structure = {
      ...cubic(1, [
        [29, 0, 0, 0],
        [29, x, x, x],
      ]),
      lattice: Float64Array.from(lattice),
    };
    assert.is(buildGraph(skewed, upstream).numEdges, edges);
    sameRows(edgeRows(buildGraph(skewed, upstream)), shellOracle(skewed, upstream).edges, 2, 1e-12);
  }
});

test("every axis repeats, and a note says so where the structure does not", () => {
  const graph = buildGraph({ ...rockSalt, pbc: [true, false, false] }, upstream);
  assert.is(graph.numEdges, 132);
  assert.equal(codes(graph), ["structure-note", "neighbor-tie"]);
  assert.match(graph.warnings[0].message, /axes b and c/);
});

test("no line graph, no vectors; notes of the structure come along", () => {
  const graph = buildGraph({ ...copper, notes: ["guessed"] }, { ...upstream, lineGraph: false });
  assert.is(graph.vectors, undefined);
  assert.equal(graph.warnings, [{ code: "structure-note", message: "guessed" }]);
});

test("refusals: settings, overlapping atoms", async () => {
  for (const change of [{ cutoff: 0 }, { maxNeighbors: 0 }, { maxNeighbors: 1.5 }, { neighborPolicy: "other" }])
    await throwsCode(
      () => buildGraph(copper, { ...upstream, ...change } as ShellGraphConfig),
      "ARGUMENT",
      /expected|needs/,
    );
  const double = cubic(5, [
    [1, 0, 0, 0],
    [1, 0.01, 0, 0],
  ]);
  await throwsCode(() => buildGraph(double, upstream), "CORRUPT", /overlap/);
});

for (const [name, change] of [
  ["as configured by default", {}],
  ["cutoff 6, 8 neighbours", { cutoff: 6, maxNeighbors: 8 }],
  ["not canonical", { canonize: false }],
  ["a cutoff that must grow", { cutoff: 2.5 }],
] as const)
  test(`random crystals, ${name}: all pairs in upstream's arithmetic give the same edges`, () => {
    const config = { ...upstream, ...change };
    fc.assert(
      fc.property(crystal, fc.array(fc.integer({ min: -1, max: 1 }), { minLength: 18, maxLength: 18 }), (s, cells) => {
        const spread = { ...s, fracCoords: s.fracCoords.map((x, i) => x + cells[i % 18]) };
        for (const structure of [s, spread]) {
          const graph = buildGraph(structure, config);
          const expected = shellOracle(structure, config);
          assert.is(graph.cutoff, expected.cutoff);
          sameRows(edgeRows(graph), expected.edges, 2, 1e-12);
        }
      }),
      { numRuns: 40, seed: 7 },
    );
  });

/** Neighbourhoods, and every edge's own (length, cosines) with what it ends at. */
function portrait(structure: Structure, config: ShellGraphConfig): { atoms: string[]; triplets: string[] } {
  const graph = buildGraph(structure, config);
  const line = lineGraph(graph);
  const triplets = Array.from(graph.source, (from, e) => {
    const cosines = line.cosines.slice(line.start[e], line.start[e + 1]).sort();
    return [graph.numbers[from], graph.lengths[e].toFixed(4), Array.from(cosines, (x) => (x + 2).toFixed(3))].join();
  });
  return { atoms: neighborhoods(graph), triplets: triplets.sort() };
}

const angle = fc.double({ min: 0, max: 6, noNaN: true });
const fraction = fc.double({ min: -2, max: 2, noNaN: true });
const rewritings: [name: string, times: number, rewritten: fc.Arbitrary<(s: Structure) => Structure>][] = [
  [
    "permuted atoms",
    1,
    fc.array(fc.nat(), { minLength: 8, maxLength: 8 }).map((keys) => (s) => {
      const order = Array.from(s.numbers.keys()).sort((a, b) => keys[a] - keys[b] || a - b);
      return permuted(s, order);
    }),
  ],
  ["a moved origin", 1, fc.tuple(fraction, fraction, fraction).map((by) => (s) => shifted(s, by))],
  ["a turned lattice", 1, fc.tuple(angle, angle, angle).map((angles) => (s) => rotated(s, angles))],
  ["another basis", 1, unimodular.map((m) => (s) => rebased(s, m))],
  ["a supercell", 8, fc.constant((s) => supercell(s, 2))],
];
/** Distances and cosines have digits enough; what rounding may still tip over is compared with a neighbouring value. */
for (const canonize of [true, false])
  for (const [what, times, rewriting] of rewritings)
    test(`symmetric, canonize ${canonize}: ${what} leaves every atom its neighbours and angles`, () => {
      const config = { ...symmetric, canonize };
      fc.assert(
        fc.property(crystal, rewriting, (structure, rewrite) => {
          const [a, b] = [structure, rewrite(structure)].map((s) => portrait(s, config));
          closeRows(b.atoms, a.atoms, times);
          closeRows(b.triplets, a.triplets, times);
        }),
        { numRuns: 40, seed: 7 },
      );
    });

/** Each expected row `times` over; numbers may differ in the last digit shown. */
function closeRows(found: string[], expected: string[], times: number): void {
  assert.is(found.length, times * expected.length);
  for (const [i, row] of found.entries()) {
    const other = expected[Math.floor(i / times)];
    if (row === other) continue;
    const [a, b] = [row, other].map((text) => text.split(/[, ]/).map(Number));
    assert.is(a.length, b.length);
    for (const [k, x] of a.entries()) assert.ok(Math.abs(x - b[k]) < 2.1e-3, `${row}\n${other}`);
  }
}

interface StoredGraph {
  structure: string;
  params: { neighbor_strategy: string; cutoff: number; max_neighbors: number; use_canonize: boolean };
  edges: number[][];
  line_graph: { n_edges: number; edges?: number[][] };
}
interface GraphFacts {
  n_edges: number;
  n_line_edges: number;
  effective_cutoff: number;
  rounding_sensitive: boolean;
  line_graph: Record<"cos_min" | "cos_max" | "cos_sum" | "cos_sq_sum" | "cos_cube_sum", number>;
}

if (haveFixtures("alignn")) {
  const { structures: stored } = fixtureJson<{
    structures: Record<string, Parameters<typeof asStructure>[0] & { graph: GraphFacts }>;
  }>("alignn/structures.json");
  const structures = new Map(Object.entries(stored).map(([id, entry]) => [id, asStructure(entry)]));

  test("upstream's counts, cutoffs, cosines and cut shells: all 54 structures", () => {
    for (const [id, structure] of structures) {
      const facts = stored[id].graph;
      const graph = buildGraph(structure, upstream);
      assert.equal(
        [graph.numEdges, countTriplets(graph), graph.cutoff],
        [facts.n_edges, facts.n_line_edges, facts.effective_cutoff],
        id,
      );
      assert.is(codes(graph).includes("neighbor-tie"), facts.rounding_sensitive, id);
      const { cosines } = lineGraph(graph);
      const sum = (power: number) => cosines.reduce((total, x) => total + x ** power, 0);
      for (const [name, value] of Object.entries({
        cos_min: cosines.reduce((a, b) => Math.min(a, b)),
        cos_max: cosines.reduce((a, b) => Math.max(a, b)),
        cos_sum: sum(1),
        cos_sq_sum: sum(2),
        cos_cube_sum: sum(3),
      }))
        assert.ok(Math.abs(value - facts.line_graph[name as "cos_sum"]) < 2e-6, `${id} ${name} ${value}`);
    }
    assert.is(structures.size, 54);
  });

  let compared = 0;
  for (const file of fixtureNames("alignn/graphs").filter((name) => name.includes(".knn"))) {
    const { structure, params, edges, line_graph } = fixtureJson<StoredGraph>(`alignn/graphs/${file}`);
    test(`upstream's stored edges: ${file}`, () => {
      const graph = buildGraph(structures.get(structure)!, {
        ...upstream,
        cutoff: params.cutoff,
        maxNeighbors: params.max_neighbors,
        canonize: params.use_canonize,
      });
      const theirs = edges.map(([source, receiver, , , , ...vector]) => [source, receiver, ...vector]);
      sameRows(edgeRows(graph), theirs, 2, 1e-9);
      assert.is(countTriplets(graph), line_graph.n_edges);
      if (line_graph.edges) {
        compared++;
        compareTriplets(graph, theirs, line_graph.edges);
      }
    });
  }
  test("three complete line graphs were compared", () => assert.is(compared, 3));

  test("tolerant cut in upstream's own arithmetic: edge counts of upstream's tolerant graphs", () => {
    const { models } = fixtureJson<{
      models: Record<string, { predictions: Record<string, { edges: number; edges_shell_tolerant?: number }> }>;
    }>("alignn/goldens.json");
    let counted = 0;
    for (const [id, facts] of Object.entries(models.alignn_default.predictions)) {
      const structure = structures.get(id)!;
      // Upstream's tolerant graphs keep its two lattices and its double bonds to images; "symmetric" has neither.
      const rule = { ...SHELL_RULES.upstream, tolerance: SHELL_TOLERANCE };
      const { edges, cut } = shellEdges(structure, findShells(structure, upstream, rule), { ...rule, canonize: true });
      assert.is(edges.source.length, facts.edges_shell_tolerant ?? facts.edges, id);
      assert.equal(cut, []);
      counted++;
    }
    assert.is(counted, 54);
  });

  test("symmetric: as many edges as the tolerant cut has, bonds to images once", () => {
    for (const [id, structure] of structures) {
      const rule = { ...SHELL_RULES.upstream, tolerance: SHELL_TOLERANCE, twiceToImages: false };
      const { edges } = shellEdges(structure, findShells(structure, upstream, rule), { ...rule, canonize: true });
      assert.is(buildGraph(structure, symmetric).numEdges, edges.source.length, id);
    }
  });
}

/** Triplets by the vectors of their edges: [edge, edge, cosine] of upstream's numbering and of ours. */
function compareTriplets(graph: CrystalGraph, edges: number[][], triplets: number[][]): void {
  const { start, source, cosines } = lineGraph(graph);
  const own = edgeRows(graph);
  const ours: number[][] = [];
  for (let e = 0; e < own.length; e++)
    for (let t = start[e]; t < start[e + 1]; t++) ours.push([...own[source[t]], ...own[e], cosines[t]]);
  const theirs = triplets.map(([a, b, cosine]) => [...edges[a], ...edges[b], cosine]);
  sameRows(ours, theirs, 2, 1e-9);
}

test.run();
