/** Triplets against the definition on all pairs of edges, and how crystals lie side by side in a batch. */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { collate } from "../src/graphs/batch.js";
import { sortEdges } from "../src/graphs/edges.js";
import type { CrystalGraph } from "../src/graphs/graph.js";
import { countTriplets, lineGraph } from "../src/graphs/line-graph.js";
import { throwsCode } from "./throws.js";

/** A graph made by hand: [source, receiver, x, y, z] of every edge. */
function graphOf(numAtoms: number, rows: readonly (readonly number[])[]): CrystalGraph {
  const edges = sortEdges(numAtoms, {
    source: Int32Array.from(rows, ([source]) => source),
    receiver: Int32Array.from(rows, ([, receiver]) => receiver),
    vectors: Float64Array.from(rows.flatMap(([, , ...vector]) => vector)),
  });
  const numbers = new Uint8Array(numAtoms).fill(29);
  return { numAtoms, numEdges: rows.length, numbers, ...edges, cutoff: 8, warnings: [] };
}

/** [e1, e2, cosine] by the definition, over all pairs of edges. */
function allTriplets({ numEdges, start, source, vectors }: CrystalGraph): number[][] {
  const receiver = (e: number) => start.findIndex((_, i) => e < start[i + 1]);
  const r = (e: number) => [...vectors!.subarray(3 * e, 3 * e + 3)];
  const rows: number[][] = [];
  for (let e2 = 0; e2 < numEdges; e2++)
    for (let e1 = 0; e1 < numEdges; e1++) {
      if (e1 === e2 || receiver(e1) !== source[e2]) continue;
      const [a, b] = [r(e1), r(e2)];
      const dot = -a.reduce((sum, x, k) => sum + x * b[k], 0);
      rows.push([e1, e2, Math.max(-1, Math.min(1, dot / (Math.hypot(...a) * Math.hypot(...b))))]);
    }
  return rows;
}

const component = fc.double({ min: -3, max: 3, noNaN: true }).filter((x) => Math.abs(x) > 0.1);
const graphs = fc
  .array(fc.tuple(fc.nat(3), fc.nat(3), component, component, component), { minLength: 1, maxLength: 20 })
  .map((rows) => graphOf(4, rows));

test("edges are sorted by receiver, length, source, vector", () => {
  fc.assert(
    fc.property(graphs, fc.infiniteStream(fc.nat()), (graph, keys) => {
      const rows: number[][] = [];
      for (let i = 0; i < 4; i++)
        for (let e = graph.start[i]; e < graph.start[i + 1]; e++)
          rows.push([graph.source[e], i, ...graph.vectors!.subarray(3 * e, 3 * e + 3)]);
      const shuffled = rows.map((row) => [keys.next().value as number, row] as const).sort((a, b) => a[0] - b[0]);
      assert.equal(
        graphOf(
          4,
          shuffled.map(([, row]) => row),
        ),
        graph,
      );
      for (let i = 0; i < 4; i++)
        for (let e = graph.start[i] + 1; e < graph.start[i + 1]; e++)
          assert.ok(graph.lengths[e - 1] <= graph.lengths[e]);
    }),
    { numRuns: 100, seed: 7 },
  );
});

test("random graphs: the triplets of the definition", () => {
  fc.assert(
    fc.property(graphs, (graph) => {
      const { start, source, cosines } = lineGraph(graph);
      const found: number[][] = [];
      for (let e2 = 0; e2 < graph.numEdges; e2++)
        for (let t = start[e2]; t < start[e2 + 1]; t++) found.push([source[t], e2, cosines[t]]);
      const expected = allTriplets(graph);
      assert.is(countTriplets(graph), expected.length);
      assert.equal(
        found.map(([a, b]) => [a, b]),
        expected.map(([a, b]) => [a, b]),
      );
      for (const [t, [, , cosine]] of found.entries()) assert.ok(Math.abs(cosine - expected[t][2]) < 1e-12);
    }),
    { numRuns: 200, seed: 7 },
  );
});

test("two atoms, one bond: the way back is a triplet, with cosine 1", () => {
  const { start, source, cosines } = lineGraph(
    graphOf(2, [
      [0, 1, 0, 0, 2],
      [1, 0, 0, 0, -2],
    ]),
  );
  assert.equal(
    [[...start], [...source], [...cosines]],
    [
      [0, 1, 2],
      [1, 0],
      [1, 1],
    ],
  );
});

test("an atom and its image: an edge does not follow itself, straight on is -1", () => {
  const chain = graphOf(1, [
    [0, 0, 2.5, 0, 0],
    [0, 0, -2.5, 0, 0],
  ]);
  assert.equal([...lineGraph(chain).cosines], [1, 1]);
  // ALIGNN's double bonds to images: an edge follows its twin.
  const twice = graphOf(1, [
    [0, 0, 2.5, 0, 0],
    [0, 0, -2.5, 0, 0],
    [0, 0, 2.5, 0, 0],
    [0, 0, -2.5, 0, 0],
  ]);
  assert.equal([...lineGraph(twice).cosines].sort(), [-1, -1, -1, -1, 1, 1, 1, 1, 1, 1, 1, 1]);
});

test("rounding does not take a cosine out of [-1, 1]", () => {
  const [x, y, z] = [0.1, 0.7, 1.3];
  const { cosines } = lineGraph(
    graphOf(2, [
      [0, 1, x, y, z],
      [1, 0, -x, -y, -z],
      [1, 0, 3 * x, 3 * y, 3 * z],
    ]),
  );
  assert.ok(cosines.every((cosine) => Math.abs(cosine) <= 1));
});

test("a batch: indices count on, every atom and edge knows its crystal", () => {
  const a = {
    ...graphOf(2, [
      [0, 1, 0, 0, 2],
      [1, 0, 0, 0, -2],
    ]),
    cell: Float64Array.of(1, 2, 3, 90, 90, 120),
  };
  const b = {
    ...graphOf(1, [
      [0, 0, 3, 0, 0],
      [0, 0, -3, 0, 0],
    ]),
    cell: Float64Array.of(4, 5, 6, 90, 90, 90),
  };
  const { sizes, inputs } = collate([a, b, a]);
  assert.equal(sizes, { B: 3, N: 5, E: 6, T: 6 });
  const expected: Record<string, number[]> = {
    source: [1, 0, 2, 2, 4, 3],
    receiver: [0, 1, 2, 2, 3, 4],
    edgeStart: [0, 1, 2, 4, 5, 6],
    crystalStart: [0, 2, 3, 5],
    crystalEdgeStart: [0, 2, 4, 6],
    atomCrystal: [0, 0, 1, 2, 2],
    edgeCrystal: [0, 0, 1, 1, 2, 2],
    tripletStart: [0, 1, 2, 3, 4, 5, 6],
    tripletSource: [1, 0, 3, 2, 5, 4],
    tripletReceiver: [0, 1, 2, 3, 4, 5],
    cosines: [1, 1, 1, 1, 1, 1],
    cell: [1, 2, 3, 90, 90, 120, 4, 5, 6, 90, 90, 90, 1, 2, 3, 90, 90, 120],
  };
  for (const [name, values] of Object.entries(expected)) assert.equal([...inputs.get(name)!], values, name);
});

test("without vectors there are no triplets, and no cell without every cell", () => {
  const { vectors: _, ...plain } = graphOf(2, [[0, 1, 0, 0, 2]]);
  const { sizes, inputs } = collate([plain, { ...graphOf(2, [[0, 1, 0, 0, 2]]), cell: new Float64Array(6) }]);
  assert.is(sizes.T, 0);
  for (const name of ["tripletStart", "tripletSource", "tripletReceiver", "cosines", "cell"])
    assert.not.ok(inputs.has(name), name);
});

test("a line graph of a graph without vectors is refused; one too large, too", async () => {
  const { vectors: _, ...plain } = graphOf(2, [[0, 1, 0, 0, 2]]);
  await throwsCode(() => lineGraph(plain), "ARGUMENT", /bond vectors/);
  const E = 8193;
  const large: CrystalGraph = {
    ...graphOf(1, [[0, 0, 1, 0, 0]]),
    numEdges: E,
    start: Int32Array.of(0, E),
    source: new Int32Array(E),
    vectors: new Float64Array(3 * E),
    lengths: new Float64Array(E),
  };
  await throwsCode(() => lineGraph(large), "LIMIT", /at most 67108864.*found 67117056/);
});

test.run();
