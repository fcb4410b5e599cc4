/** Lifting: the classes are those of colour refinement, and a network gives the same on representatives as on all. */
import fc from "fast-check";
import { test } from "uvu";
import * as assert from "uvu/assert";
import type { Backend } from "../src/backends/backend.js";
import { wasmBackend } from "../src/backends/wasm.js";
import { embed } from "../src/embed.js";
import { clusterValues } from "../src/graphs/clusters.js";
import { buildGraph, type CrystalGraph } from "../src/graphs/graph.js";
import { type LiftedGraph, lift, liftBy, type Refinement } from "../src/graphs/lift.js";
import { lineGraph } from "../src/graphs/line-graph.js";
import { type Colors, refineBonds, refinePairs } from "../src/graphs/refine.js";
import type { Model } from "../src/models/model.js";
import { predict } from "../src/predict.js";
import type { Prediction } from "../src/prediction.js";
import { parseStructures } from "../src/structures/parse.js";
import type { Structure } from "../src/structures/structure.js";
import { crystal, permuted, supercell } from "./crystals.js";
import { exampleModel, exampleStructures } from "./examples.js";
import { fixtureNames, fixtureText, haveFixtures } from "./fixtures.js";
import { CHECKPOINTS, publishedModel } from "./goldens.js";
import { alignnModel } from "./goldens-alignn.js";
import { megnetModel } from "./goldens-megnet.js";
import { inPart } from "./scope.js";

/** |lifted - unlifted|, relative to max(1, |value|). */
const TOLERANCE = 2e-6;
const RUNS = inPart(1000);

const examples = [
  await exampleModel("cgcnn_ionic_best.pt"),
  await exampleModel("megnet_ionic_best.pt"),
  await exampleModel("alignn_ionic_best.pt"),
  await exampleModel("alignn_ionic_best.pt", { neighborPolicy: "symmetric" }),
];
const titles = ["CGCNN", "MEGNet", "ALIGNN", "ALIGNN, symmetric"];

const isLifted = (graph: CrystalGraph | LiftedGraph): graph is LiftedGraph => "rowOf" in graph;

/** Numbers of pairs, bonds and atoms that colour refinement on labels written out tells apart, plain and slow. */
function classesByLabels(graph: CrystalGraph): { atoms: number; bonds: number; pairs: number } {
  const round = (x: number) => String(Math.round(x * 1e5) + 0); // -0 is 0
  const line = graph.vectors ? lineGraph(graph) : undefined;
  let atoms: string[] = Array.from(graph.numbers, String);
  let bonds: string[] = Array.from(graph.lengths, round);
  const receivers = Array.from(graph.source, () => 0);
  for (let i = 0; i < graph.numAtoms; i++) receivers.fill(i, graph.start[i], graph.start[i + 1]);
  const short = new Map<string, string>();
  const name = (label: string) => {
    if (!short.has(label)) short.set(label, `#${short.size}`);
    return short.get(label)!;
  };
  const range = (from: number, end: number) => Array.from({ length: end - from }, (_, k) => from + k);
  for (let before = 0, now = -1; before !== now; ) {
    before = now;
    bonds = bonds.map((bond, e) => {
      const pairs = line ? range(line.start[e], line.start[e + 1]) : [];
      const seen = pairs.map((t) => `${round(line!.cosines[t])} ${bonds[line!.source[t]]}`).sort();
      return name(["bond", bond, atoms[receivers[e]], atoms[graph.source[e]], ...seen].join("|"));
    });
    atoms = atoms.map((atom, i) => {
      const seen = range(graph.start[i], graph.start[i + 1]).map((e) => bonds[e]);
      return name(["atom", atom, ...seen.sort()].join("|"));
    });
    now = new Set(atoms).size + new Set(bonds).size;
  }
  const pairs = line
    ? range(0, line.source.length).map((t) => {
        const e = line.start.findLastIndex((from) => from <= t);
        return `${bonds[e]} ${bonds[line.source[t]]} ${round(line.cosines[t])}`;
      })
    : [];
  return { atoms: new Set(atoms).size, bonds: new Set(bonds).size, pairs: new Set(pairs).size };
}

const close = (a: number, b: number): number => Math.abs(a - b) / Math.max(1, Math.abs(a));

/**
 * Largest difference of the numbers that two records give, as the network gave them: of a property near 0 the mean that
 * was added would make one float32 rounding of an output of 8 look like more.
 */
function difference({ normalizer }: Model, a: Prediction, b: Prediction): number {
  const { mean, std } = normalizer ?? { mean: 0, std: 1 };
  const output = (x: number) => (x - mean) / std;
  const numbers = ({ value, values = [], probabilities }: Prediction) =>
    probabilities ?? [value, ...values].map(output);
  return Math.max(...numbers(a).map((x, i) => close(x, numbers(b)[i])));
}

/** Each structure lifted and not, those without a graph left out. */
async function compare(model: Model, structures: readonly Structure[]) {
  let worst = 0;
  let lifted = 0;
  let compared = 0;
  const state = model.config.type === "megnet" && model.config.stateTypes > 0 ? { state: 0 } : {};
  for (const structure of structures) {
    let both: Prediction[];
    try {
      both = [
        ...(await predict(model, [structure], { ...state, lift: true })),
        ...(await predict(model, [structure], { ...state, lift: false })),
      ];
    } catch {
      continue; // no graph, or no such element in the table
    }
    worst = Math.max(worst, difference(model, both[0], both[1]));
    assert.is(both[1].compression, undefined);
    compared++;
    if (both[0].compression! > 1) lifted++;
  }
  return { worst, lifted, compared };
}

test("clusters: gaps part them, chains do not hold together, numbers rise with the values", () => {
  const { ids, values } = clusterValues(Float64Array.of(3, 1, 1 + 5e-8, 2, 1 - 5e-8), 1e-7);
  assert.equal([...ids], [2, 0, 0, 1, 0]);
  assert.ok(Math.abs(values[0] - 1) < 1e-15 && values[1] === 2 && values[2] === 3);
  const chain = clusterValues(
    Float64Array.from({ length: 100 }, (_, i) => i * 0.9e-7),
    1e-7,
  );
  assert.is(chain.values.length, 100);
});

test("the example structures: as many classes as refinement on written labels finds", () => {
  for (const [m, { config }] of examples.entries()) {
    let compressed = 0;
    for (const structure of exampleStructures().filter(({ numbers }) => numbers.length < 20)) {
      const graph = buildGraph(structure, config.graph);
      const lifted = lift(graph);
      const classes = classesByLabels(graph);
      if (!isLifted(lifted)) {
        assert.ok(graph.numEdges < 1.2 * classes.bonds, `${titles[m]} ${structure.id}`);
        continue;
      }
      compressed++;
      const { numAtoms: atoms, numEdges: bonds, line } = lifted;
      assert.equal({ atoms, bonds, pairs: line?.source.length ?? 0 }, classes, `${titles[m]} ${structure.id}`);
      const total = (weights: Float32Array) => weights.reduce((sum, w) => sum + w, 0);
      assert.is(total(lifted.atomWeight), graph.numAtoms);
      const receiver = Array.from(lifted.atomWeight.keys()).flatMap((i) =>
        Array.from({ length: lifted.start[i + 1] - lifted.start[i] }, () => i),
      );
      assert.is(
        receiver.reduce((sum, i, e) => sum + lifted.edgeWeight[e] * lifted.atomWeight[i], 0),
        graph.numEdges,
      );
    }
    assert.ok(compressed > 3, titles[m]);
  }
});

test("an order of atoms, or a supercell, changes nothing but multiplicities and rowOf", async () => {
  const rows = ({ numbers, start, source, lengths, line, edgeWeight }: LiftedGraph) => [
    [...numbers, ...start, ...source, ...edgeWeight],
    Array.from(lengths, (x) => x.toFixed(6)),
    line ? [...line.start, ...line.source, ...line.weight] : [],
  ];
  for (const { config } of [examples[0], examples[1], examples[3]])
    for (const structure of exampleStructures().filter(({ numbers }) => numbers.length < 20)) {
      const graph = lift(buildGraph(structure, config.graph));
      if (!isLifted(graph)) continue;
      const order = Array.from(structure.numbers.keys()).reverse();
      const other = lift(buildGraph(permuted(structure, order), config.graph)) as LiftedGraph;
      assert.equal(rows(other), rows(graph), structure.id);
      assert.equal([...other.rowOf].reverse(), [...graph.rowOf]);
      const doubled = lift(buildGraph(supercell(structure, 2), config.graph)) as LiftedGraph;
      assert.equal(rows(doubled), rows(graph), structure.id);
      assert.equal(
        [...doubled.atomWeight],
        Array.from(graph.atomWeight, (w) => 8 * w),
      );
    }
});

/** Keep so many bits of a hash, so that unlike rows share colours. */
function weaken({ a, b }: Colors, bits: number): void {
  for (let row = 0; row < a.length; row++) {
    a[row] &= 2 ** bits - 1;
    b[row] = 0;
  }
}

test("colours that unlike rows share by accident are found out, and the graph is left whole", () => {
  let [whole, lifted] = [0, 0];
  for (const { config } of examples)
    for (const structure of exampleStructures().filter(({ numbers }) => numbers.length < 20)) {
      const graph = buildGraph(structure, config.graph);
      const right = lift(graph);
      if (!isLifted(right)) continue;
      const sizes = ({ numAtoms, numEdges, line }: LiftedGraph) => [numAtoms, numEdges, line?.source.length];
      for (let bits = 0; bits < 8; bits++)
        for (const of of ["atoms", "edges"] as const)
          for (const after of ["bonds", "pairs"]) {
            const refinement: Refinement = {
              refineBonds: (edges) => {
                const coloring = refineBonds(edges);
                if (after === "bonds") weaken(coloring[of], bits);
                return coloring;
              },
              refinePairs: (edges, pairs, coloring) => {
                refinePairs(edges, pairs, coloring);
                if (after === "pairs") weaken(coloring[of], bits);
              },
            };
            const result = liftBy(refinement, graph);
            // Classes that are not found out are no fewer than there are.
            if (isLifted(result)) assert.equal(sizes(result), sizes(right), `${structure.id}, ${bits} bits of ${of}`);
            else assert.is(result, graph);
            if (isLifted(result)) lifted++;
            else whole++;
          }
    }
  assert.ok(whole > 100 && lifted > 100, `${whole} left whole, ${lifted} without such an accident`);
});

/** Crystals with all their symmetry, some of it, and none: supercells, one atom moved, all moved by next to nothing or more. */
const varied: fc.Arbitrary<Structure> = fc
  .record({
    base: crystal,
    cells: fc.constantFrom(1, 1, 1, 2),
    moved: fc.constantFrom("none", "one", "all" as const),
    size: fc.double({ min: -9, max: -1, noNaN: true }),
    by: fc.array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: 24, maxLength: 24 }),
  })
  .map(({ base, cells, moved, size, by }) => {
    const structure = supercell(base, base.numbers.length > 2 ? 1 : cells);
    const atoms = moved === "one" ? 1 : moved === "all" ? structure.numbers.length : 0;
    const step = 10 ** size / Math.cbrt(Math.abs(structure.lattice[0] ** 3));
    return {
      ...structure,
      fracCoords: structure.fracCoords.map((x, i) => (i < 3 * atoms ? x + step * by[i % by.length] : x)),
    };
  });

for (const [m, model] of examples.entries())
  test(`${titles[m]}: ${RUNS} random crystals, symmetric, nearly so, and not, are predicted alike`, async () => {
    const elements = [...model.elements.rows.keys()];
    let worst = 0;
    let lifted = 0;
    let compared = 0;
    for (const { numbers, ...rest } of fc.sample(varied, { numRuns: 2 * RUNS, seed: 6 })) {
      if (compared === RUNS) break;
      const structure = { ...rest, numbers: numbers.map((z) => elements[z % elements.length]) };
      const result = await compare(model, [structure]);
      worst = Math.max(worst, result.worst);
      lifted += result.lifted;
      compared += result.compared;
      assert.ok(result.worst <= TOLERANCE, `${result.worst}: ${JSON.stringify(structure)}`);
    }
    console.log(`  ${titles[m]}: ${lifted} of ${compared} lifted, largest difference ${worst.toExponential(1)}`);
    assert.is(compared, RUNS);
    assert.ok(lifted > RUNS / 5);
  });

test("what is computed once: equal structures of a batch, whatever the order of their atoms", async () => {
  const real = wasmBackend();
  let crystals = 0;
  const counting: Backend = {
    name: "counting",
    createSession: async (program) => {
      const session = await real.createSession(program);
      return {
        goodBytes: session.goodBytes,
        run: (batch) => {
          crystals += batch.sizes.B;
          return session.run(batch);
        },
        values: (batch, labels) => session.values(batch, labels),
        bytes: (sizes) => session.bytes(sizes),
        dispose: () => session.dispose(),
      };
    },
  };
  const structures = exampleStructures().filter(({ numbers }) => numbers.length < 20);
  const copies = structures.flatMap((s) => [s, permuted(s, Array.from(s.numbers.keys()).reverse())]);
  const model = examples[1];
  const records = await predict(model, copies, { backend: counting, maxAtoms: 1e6 });
  assert.ok(crystals < 1.5 * structures.length, `${crystals} of ${copies.length}`);
  const alone = await predict(model, structures);
  assert.equal(
    records.filter((_, i) => i % 2 === 0).map(({ value }) => value),
    alone.map(({ value }) => value),
  );
  crystals = 0;
  await predict(model, copies, { backend: counting, maxAtoms: 1e6, lift: false });
  assert.is(crystals, copies.length);
});

test("a record's vectors are its own, also where equal structures were computed once", async () => {
  const [structure] = exampleStructures();
  for (const lift of [true, false])
    for (const model of examples) {
      const pristine = await embed(model, [structure], { lift });
      const [first, second] = await embed(model, [structure, structure], { lift });
      for (const key of ["crystal", "atoms"] as const) {
        assert.is(first[key].buffer.byteLength, first[key].byteLength);
        first[key].fill(0);
        assert.equal(second[key], pristine[0][key]);
      }
    }
});

test("embeddings have every atom, alike ones alike", async () => {
  const structures = exampleStructures().filter(({ numbers }) => numbers.length < 20);
  for (const model of examples) {
    const lifted = await embed(model, structures);
    const plain = await embed(model, structures, { lift: false });
    for (const [i, a] of lifted.entries()) {
      assert.is(a.atoms.length, plain[i].atoms.length);
      for (const key of ["atoms", "crystal"] as const)
        assert.ok(a[key].every((x, k) => close(x, plain[i][key][k]) <= TOLERANCE));
    }
  }
});

if (haveFixtures("structures")) {
  const structures = fixtureNames("structures")
    .filter((name) => /\.(cif|vasp|extxyz)$/.test(name))
    .flatMap((filename) => parseStructures(fixtureText(`structures/${filename}`), { filename }).slice(0, 1));
  const published: [name: string, model: Model][] = [];
  if (haveFixtures("cgcnn"))
    for (const name of CHECKPOINTS) published.push([name, await publishedModel(`${name}.pth.tar`)]);
  if (haveFixtures("megnet")) published.push(["MEGNet", await megnetModel()]);
  if (haveFixtures("alignn"))
    for (const neighborPolicy of ["upstream", "symmetric"] as const)
      published.push([`ALIGNN, ${neighborPolicy}`, await alignnModel("alignn_default", { neighborPolicy })]);
  for (const [name, model] of published)
    test(`${name}: all shared structures are predicted alike`, async () => {
      const { worst, lifted } = await compare(model, structures);
      console.log(`  ${name}: ${lifted} of ${structures.length} lifted, largest difference ${worst.toExponential(1)}`);
      assert.ok(lifted > structures.length / 2);
      assert.ok(worst <= TOLERANCE, `${worst}`);
    });
}

test.run();
