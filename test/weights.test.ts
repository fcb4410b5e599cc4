/** Rows that stand for several: a batch with weights against the batch that has each row as often as its weight says. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { wasmBackend } from "../src/backends/wasm.js";
import { isUnitcellError } from "../src/errors.js";
import { type Batch, collate } from "../src/graphs/batch.js";
import { buildGraph } from "../src/graphs/graph.js";
import type { Model } from "../src/models/model.js";
import { lowerBatchNorm } from "../src/ops/fold-norms.js";
import { DEFAULT_PASSES } from "../src/ops/passes.js";
import type { Pass } from "../src/ops/rewrite.js";
import { seededRandom } from "../src/random.js";
import { exampleModel, exampleStructures } from "./examples.js";
import { runOracle } from "./oracle.js";
import { randomAlignn, randomMegnet } from "./random-models.js";

/** Whole numbers from 1 to 3, of which the batch's weights are made. */
function weighted(batch: Batch): Batch {
  const random = seededRandom(7);
  const some = (count: number) => Float32Array.from({ length: count }, () => 1 + Math.floor(3 * random()));
  const [atomWeight, edgeWeight, tripletWeight] = [some(batch.sizes.N), some(batch.sizes.E), some(batch.sizes.T)];
  const receiver = batch.inputs.get("receiver")!;
  const edgeTotal = edgeWeight.map((w, e) => w * atomWeight[receiver[e]]);
  return {
    ...batch,
    inputs: new Map([...batch.inputs, ...Object.entries({ atomWeight, edgeWeight, edgeTotal, tripletWeight })]),
  };
}

/** Which rows of the former graph the rows of the new one are, and where those of one segment begin. */
class Rows {
  readonly from: number[] = [];
  readonly start: number[] = [0];
  /** Rows of the new graph that are one of the former's. */
  readonly copies: number[][];

  constructor(count: number) {
    this.copies = Array.from({ length: count }, () => []);
  }

  push(row: number): void {
    this.copies[row].push(this.from.length);
    this.from.push(row);
  }

  close(): void {
    this.start.push(this.from.length);
  }
}

/** Segments `parents` times as often as they are, each row in them as often as its weight says. */
function repeated(parents: readonly number[], start: ArrayLike<number>, weights: ArrayLike<number>): Rows {
  const rows = new Rows(weights.length);
  for (const parent of parents) {
    for (let r = start[parent]; r < start[parent + 1]; r++) for (let w = 0; w < weights[r]; w++) rows.push(r);
    rows.close();
  }
  return rows;
}

/** The batch without weights that a batch with whole weights stands for; of equal senders any may send. */
function unfolded({ sizes, inputs }: Batch): Batch {
  const of = (name: string) => inputs.get(name)!;
  const crystals = Array.from({ length: sizes.B }, (_, b) => b);
  const atoms = repeated(crystals, of("crystalStart"), of("atomWeight"));
  const edges = repeated(atoms.from, of("edgeStart"), of("edgeWeight"));
  const triplets = of("tripletStart") && repeated(edges.from, of("tripletStart"), of("tripletWeight"));
  const i32 = (rows: ArrayLike<number>) => Int32Array.from(rows);
  const taken = (rows: Rows, name: string) => rows.from.map((r) => of(name)[r]);
  const sender = (rows: Rows, nodes: Rows, name: string) =>
    i32(taken(rows, name).map((node, r) => nodes.copies[node][r % nodes.copies[node].length]));
  const owner = (rows: Rows) =>
    i32(rows.from.map((_, r) => rows.start.findIndex((first, s) => first <= r && r < rows.start[s + 1])));
  const made: Record<string, Float32Array | Int32Array> = {
    numbers: i32(taken(atoms, "numbers")),
    crystalStart: i32(atoms.start),
    atomCrystal: i32(taken(atoms, "atomCrystal")),
    edgeStart: i32(edges.start),
    crystalEdgeStart: i32(atoms.start.map((atom) => edges.start[atom])),
    edgeCrystal: i32(taken(edges, "edgeCrystal")),
    source: sender(edges, atoms, "source"),
    receiver: owner(edges),
    lengths: Float32Array.from(taken(edges, "lengths")),
    ...(triplets && {
      tripletStart: i32(triplets.start),
      tripletSource: sender(triplets, edges, "tripletSource"),
      tripletReceiver: owner(triplets),
      cosines: Float32Array.from(taken(triplets, "cosines")),
    }),
  };
  for (const name of ["state", "cell"]) if (inputs.has(name)) made[name] = of(name);
  return {
    sizes: { B: sizes.B, N: atoms.from.length, E: edges.from.length, T: triplets?.from.length ?? 0 },
    inputs: new Map(Object.entries(made)),
  };
}

/** Small crystals: the batch unfolded is several times as large, and the oracle is slow. */
const small = exampleStructures().filter(({ numbers }) => numbers.length <= 2);

const MODELS: [name: string, model: Model][] = [
  ["CGCNN", await exampleModel()],
  ["ALIGNN", await exampleModel("alignn_ionic_best.pt")],
  ["ALIGNN with layer norm and penalty", randomAlignn({ norm: "layer", penalty: { threshold: 3, factor: 0.1 } })],
  ["MEGNet", await exampleModel("megnet_ionic_best.pt")],
  ["MEGNet of random weights", randomMegnet({})],
];
const CHAINS: [name: string, passes: readonly Pass[]][] = [
  ["no pass", [lowerBatchNorm]],
  ["all passes", DEFAULT_PASSES],
];

/** Of the largest output: float32's rounding through a network (4e-7 at most as printed). */
const TOLERANCE = 1e-6;

for (const [name, { program, config }] of MODELS) {
  const plain = collate(small.map((structure) => buildGraph(structure, config.graph)));
  const batch = weighted(plain);
  const expected = runOracle(program, unfolded(batch))[program.output.id].data;
  const scale = Math.max(...expected.map(Math.abs));
  const error = (found: ArrayLike<number>) => Math.max(...expected.map((x, i) => Math.abs(x - found[i]))) / scale;

  test(`${name}: weights are rows repeated, in float64`, () => {
    assert.ok(error(runOracle(program, batch)[program.output.id].data) < 1e-12);
    assert.ok(error(runOracle(program, plain)[program.output.id].data) > 1e-6, "the weights change nothing");
  });

  for (const [chain, passes] of CHAINS)
    test(`${name}, ${chain}: weights are rows repeated, weights of 1 leave the bits`, async () => {
      const session = await wasmBackend({ passes }).createSession(program);
      const found = error(await session.run(batch));
      console.log(`  ${name}, ${chain}: off by ${found.toExponential(2)}`);
      assert.ok(found < TOLERANCE, `${found}`);
      const ones = [...batch.inputs].map(([key, x]) => [key, /Weight|Total/.test(key) ? x.map(() => 1) : x] as const);
      assert.equal(await session.run({ ...batch, inputs: new Map(ones) }), await session.run(plain));
      session.dispose();
    });
}

test("weights of another length or type, or not above 0 and finite, are refused", async () => {
  const { program, config } = MODELS[0][1];
  const batch = weighted(collate(small.map((structure) => buildGraph(structure, config.graph))));
  const session = await wasmBackend().createSession(program);
  const edges = batch.inputs.get("edgeWeight") as Float32Array;
  for (const wrong of [
    edges.slice(1),
    Int32Array.from(edges),
    ...[0, -1, Number.NaN, Number.POSITIVE_INFINITY].map((w) => edges.map((x, i) => (i === 3 ? w : x))),
  ])
    try {
      await session.run({ ...batch, inputs: new Map([...batch.inputs, ["edgeWeight", wrong]]) });
      assert.unreachable();
    } catch (error) {
      assert.ok(isUnitcellError(error, "MISMATCH"), `${error}`);
      assert.match((error as Error).message, "edgeWeight");
    }
});

test.run();
