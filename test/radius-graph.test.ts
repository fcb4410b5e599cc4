/** ALIGNN's radius graphs against upstream's stored ones and all pairs of all images. */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { RadiusGraphConfig } from "../src/config.js";
import { buildGraph } from "../src/graphs/graph.js";
import { countTriplets, lineGraph } from "../src/graphs/line-graph.js";
import { type Structure, transformRows } from "../src/structures/structure.js";
import { cellShifts, crystal } from "./crystals.js";
import { fixtureJson, fixtureNames, haveFixtures } from "./fixtures.js";
import { edgeRows, sameRows } from "./graph-rows.js";
import { asStructure } from "./stored-structures.js";
import { throwsCode } from "./throws.js";

const config: RadiusGraphConfig = { select: "radius-graph", cutoff: 5, cutoffExtra: 3, lineGraph: true };

function cubic(a: number, atoms: [number, number, number, number][]): Structure {
  return {
    lattice: Float64Array.of(a, 0, 0, 0, a, 0, 0, 0, a),
    pbc: [true, true, true],
    numbers: Uint8Array.from(atoms, ([z]) => z),
    fracCoords: Float64Array.from(atoms.flatMap(([, ...xyz]) => xyz)),
  };
}

test("bonds to an atom's own images are there once: 6 edges of a simple cube", () => {
  const graph = buildGraph(cubic(3.35, [[84, 0, 0, 0]]), { ...config, cutoff: 4 });
  assert.is(graph.numEdges, 6);
  assert.is(countTriplets(graph), 30);
  assert.equal([...graph.cell!], [3.35, 3.35, 3.35, 90, 90, 90]);
  assert.equal(graph.warnings, []);
});

test("vectors are float32, lengths and angles are theirs", () => {
  const { vectors, lengths } = buildGraph(cubic(3.35, [[84, 0, 0, 0]]), { ...config, cutoff: 4 });
  assert.ok(vectors!.every((x) => x === Math.fround(x)));
  assert.is(lengths[0], Math.fround(3.35));
});

test("the cutoff grows until the last atom has a neighbour; another may stay alone", () => {
  const pairAnd = (...order: number[]) => {
    const atoms: [number, number, number, number][] = [
      [1, 0, 0, 0],
      [1, 0.05, 0, 0],
      [2, 0.5, 0.5, 0.5],
    ];
    return buildGraph(
      cubic(
        16,
        order.map((i) => atoms[i]),
      ),
      config,
    );
  };
  const alone = pairAnd(2, 0, 1);
  assert.is(alone.cutoff, 5);
  assert.equal(
    alone.warnings.map(({ code, atoms }) => [code, atoms]),
    [["isolated-atom", [0]]],
  );
  const grown = pairAnd(0, 1, 2);
  assert.is(grown.cutoff, 14);
  assert.equal(
    grown.warnings.map(({ code, atoms }) => [code, atoms]),
    [["cutoff-extended", [2]]],
  );
  assert.match(grown.warnings[0].message, "He3: no neighbour within 5 Å; the cutoff was extended to 14 Å");
});

test("an edge that leaves the last atom stops the growth, too: its reverse is missed where coordinates are spread", () => {
  // Edges of upstream's radius_graph in float64.
  const graph = buildGraph(
    cubic(6.3, [
      [1, 0.1, 1.5, 0.5],
      [1, -0.4, 0.1, -1.2],
    ]),
    config,
  );
  assert.is(graph.cutoff, 5);
  assert.equal([...graph.start], [0, 2, 2]);
  assert.equal([...graph.source], [1, 1]);
});

test("every axis repeats, and a note says so; without a line graph no vectors", () => {
  const open: Structure = { ...cubic(3.35, [[84, 0, 0, 0]]), pbc: [true, true, false] };
  const graph = buildGraph(open, { ...config, cutoff: 4, lineGraph: false });
  assert.is(graph.numEdges, 6);
  assert.is(graph.vectors, undefined);
  assert.match(graph.warnings[0].message, /axis c/);
});

test("refusals: settings, overlap, growth without end", async () => {
  const one = cubic(3, [[84, 0, 0, 0]]);
  for (const change of [{ cutoff: -1 }, { cutoffExtra: 0 }, { cutoffExtra: Number.NaN }])
    await throwsCode(() => buildGraph(one, { ...config, ...change }), "ARGUMENT", /positive/);
  await throwsCode(() => buildGraph(cubic(0.05, [[84, 0, 0, 0]]), config), "CORRUPT", /overlap/);
  await throwsCode(() => buildGraph(cubic(50, [[84, 0, 0, 0]]), { ...config, cutoffExtra: 0.01 }), "LIMIT", /256/);
  await throwsCode(() => buildGraph(cubic(3e4, [[84, 0, 0, 0]]), { ...config, cutoffExtra: 6e3 }), "LIMIT", /10000/);
});

test("random crystals: all pairs", () => {
  fc.assert(
    fc.property(crystal, (s) => {
      const { lattice, numbers, fracCoords } = { ...s, lattice: s.lattice.map((x) => Math.round(x * 1e5) / 1e5) };
      const expected: number[][] = [];
      for (const shift of cellShifts(7))
        for (let i = 0; i < numbers.length; i++)
          for (let j = 0; j < numbers.length; j++) {
            const vector = transformRows(
              shift.map((n, k) => fracCoords[3 * j + k] + n - fracCoords[3 * i + k]),
              lattice,
            );
            const d = Math.hypot(...vector);
            if (Math.abs(d - 5) < 1e-6) return; // either side of the cutoff
            if (d < 5 && d > 1e-5) expected.push([i, j, ...vector]);
          }
      const graph = buildGraph({ ...s, lattice }, config);
      if (graph.cutoff === 5) sameRows(edgeRows(graph), expected, 2, 1e-6);
    }),
    { numRuns: 60, seed: 7 },
  );
});

if (haveFixtures("alignn")) {
  const { structures } = fixtureJson<{ structures: Record<string, Parameters<typeof asStructure>[0]> }>(
    "alignn/structures.json",
  );

  for (const file of fixtureNames("alignn/graphs").filter((name) => name.includes(".radius5")))
    test(`upstream's stored edges: ${file}`, () => {
      const { structure, edges, line_graph } = fixtureJson<{
        structure: string;
        edges: number[][];
        line_graph: { n_edges: number; cos_sum: number; cos_sq_sum: number };
      }>(`alignn/graphs/${file}`);
      const graph = buildGraph(asStructure(structures[structure]), config);
      sameRows(
        edgeRows(graph),
        edges.map(([source, receiver, , , , ...vector]) => [source, receiver, ...vector]),
        2,
        1e-9,
      );
      const { cosines } = lineGraph(graph);
      assert.is(cosines.length, line_graph.n_edges);
      const sum = (power: number) => cosines.reduce((total, x) => total + x ** power, 0);
      assert.ok(Math.abs(sum(1) - line_graph.cos_sum) < 1e-4, `${sum(1)} ${line_graph.cos_sum}`);
      assert.ok(Math.abs(sum(2) - line_graph.cos_sq_sum) < 1e-4, `${sum(2)} ${line_graph.cos_sq_sum}`);
    });

  test("upstream's counts: all 54 structures", () => {
    const { models } = fixtureJson<{
      models: Record<string, { predictions: Record<string, { edges: number; line_edges: number }> }>;
    }>("alignn/goldens.json");
    let counted = 0;
    for (const [id, facts] of Object.entries(models["variants/radius_graph"].predictions)) {
      const graph = buildGraph(asStructure(structures[id]), config);
      assert.equal([graph.numEdges, countTriplets(graph)], [facts.edges, facts.line_edges], id);
      counted++;
    }
    assert.is(counted, 54);
  });
}

test.run();
