/** Memory that values of a run share: what lies where, what is written in place, and what it takes, known beforehand. */
import { test } from "uvu";
import * as assert from "uvu/assert";
import { blockBytes, planArena } from "../src/backends/arena.js";
import { largestSizes } from "../src/backends/sizes.js";
import { wasmBackend } from "../src/backends/wasm.js";
import { type Batch, collate } from "../src/graphs/batch.js";
import { buildGraph } from "../src/graphs/graph.js";
import { lowerBatchNorm } from "../src/ops/fold-norms.js";
import { DEFAULT_PASSES } from "../src/ops/passes.js";
import { type Param, type Program, ProgramBuilder, type Value } from "../src/ops/program.js";
import { fuseGatherSum } from "../src/ops/sums.js";
import { seededRandom } from "../src/random.js";
import { exampleModel, exampleStructures } from "./examples.js";
import { runOracle } from "./oracle.js";
import { throwsCode } from "./throws.js";

const NETWORKS = {
  CGCNN: await exampleModel(),
  ALIGNN: await exampleModel("alignn_ionic_best.pt"),
  MEGNet: await exampleModel("megnet_ionic_best.pt"),
};

/** Values that a node reads, and the last node that reads each. */
function lifetimes({ nodes }: Program, kept: readonly Value[]): number[] {
  return nodes.map(({ output: { id } }) =>
    kept.some((value) => value.id === id)
      ? nodes.length
      : Math.max(id, ...nodes.filter((n) => n.inputs.some((x) => x.id === id)).map((n) => n.output.id)),
  );
}

/** Where values of distinct lengths and cosines stand. */
const ROOM = { B: "B", N: "N", E: "E", T: "T", L: "E", C: "T" } as const;

const wide = ({ columns }: Value) => 4 * Math.ceil(columns / 4);

for (const [name, { program: written }] of Object.entries(NETWORKS))
  for (const [title, passes] of [
    ["no pass", [lowerBatchNorm]],
    ["all passes", DEFAULT_PASSES],
  ] as const)
    test(`${name}, ${title}: values share bytes only where the second is made of the first, as it dies`, () => {
      const program = passes.reduce((p, pass) => pass(p), written);
      const kept = [program.output, program.nodes.find(({ op }) => op !== "input")!.output];
      const { blocks, places } = planArena(program, kept);
      const dies = lifetimes(program, kept);
      const computed = program.nodes.filter(({ op }) => op !== "input");
      const outputs = computed.map(({ output }) => output);
      for (const a of outputs) {
        const { block, first } = places[a.id];
        assert.ok(blocks[block].rows === ROOM[a.rows] && first % 4 === 0);
        assert.ok(first + wide(a) <= blocks[block].columns, "padding included");
        for (const { output: b, inputs } of computed) {
          const other = places[b.id];
          if (b.id <= a.id || b.id > dies[a.id] || other.block !== block) continue;
          if (first + wide(a) <= other.first || other.first + wide(b) <= first) continue;
          const same = other.first === first && a.columns === b.columns && a.rows === b.rows;
          assert.ok(same && b.id === dies[a.id] && inputs.includes(a), `values ${a.id} and ${b.id}`);
        }
      }
      for (const [block, { rows, columns }] of blocks.entries()) {
        const inside = outputs.filter(({ id }) => places[id].block === block);
        const sum = (values: readonly Value[]) => values.reduce((total, value) => total + wide(value), 0);
        const most = Math.max(
          0,
          ...inside.map((at) => sum(inside.filter(({ id }) => id <= at.id && dies[id] >= at.id))),
        );
        if (inside.length)
          console.log(`  ${name}, ${rows}: ${columns} columns, ${most} live at a time, ${sum(inside)} in all`);
        if (inside.length) assert.ok(columns <= 1.1 * most);
      }
    });

for (const [name, model] of Object.entries(NETWORKS))
  test(`${name}: bytes of a batch are the sum of its crystals', up to padding`, async () => {
    const graphs = exampleStructures().map((structure) => buildGraph(structure, model.config.graph));
    const session = await wasmBackend().createSession(model.program);
    const { blocks } = planArena(DEFAULT_PASSES.reduce((p, pass) => pass(p), model.program));
    const bytesOf = (some: typeof graphs) => session.bytes(collate(some).sizes);
    const each = graphs.reduce((sum, graph) => sum + bytesOf([graph]), 0);
    assert.ok(Math.abs(bytesOf(graphs) - each) <= 16 * blocks.length * graphs.length);
    const largest = largestSizes(collate(graphs).sizes);
    assert.is(
      bytesOf(graphs),
      blocks.reduce((bytes, block) => bytes + blockBytes(block, largest), 0),
    );
    session.dispose();
  });

/** An operation on x, of 5 columns, behind which x is dead. */
const IN_PLACE: [name: string, write: (p: ProgramBuilder, x: Value, other: Value) => Value][] = [
  ["affine", (p, x) => p.batchNorm(x, "norm")],
  ["layerNorm", (p, x) => p.layerNorm(x, "norm")],
  ["sigmoid", (p, x) => p.sigmoid(x)],
  ["softplus", (p, x) => p.softplus(x)],
  ["shiftedSoftplus", (p, x) => p.shiftedSoftplus(x)],
  ["silu", (p, x) => p.silu(x)],
  ["tanh", (p, x) => p.tanh(x)],
  ["exp", (p, x) => p.exp(x)],
  ["hinge", (p, x) => p.hinge(x, { factor: 3, threshold: 0.5 })],
  ["envelope", (p, x) => p.envelope(x, { cutoff: 4, exponent: 3 })],
  ["scaleRows", (p, x) => p.scaleRows(x, p.input("row", "E", 1))],
  ["gatherSum", (p, x, other) => p.add(x, p.gather(other, "order", "E"))],
  ["add to itself", (p, x) => p.add(x, x)],
  ["mul, first", (p, x, other) => p.mul(x, other)],
  ["mul, second", (p, x, other) => p.mul(other, x)],
  ["ratio, first", (p, x, other) => p.ratio(x, other, 9)],
  ["ratio, second", (p, x, other) => p.ratio(other, x, 9)],
];

/** Behind which x lives on, or which reads rows of it in another order: not in place. */
const NOT_IN_PLACE: typeof IN_PLACE = [
  ["logSoftmax", (p, x) => p.logSoftmax(x)],
  ["gather", (p, x) => p.gather(x, "order", "E")],
  ["gatherSum of itself", (p, x) => p.add(x, p.gather(x, "order", "E"))],
  ["what is read again", (p, x) => p.add(p.silu(x), x)],
];

const random = seededRandom(7);
const numbers = (count: number) => Float32Array.from({ length: count }, () => 4 * random() - 2);
const ROWS = 9;
const handmade: Batch = {
  sizes: { B: 1, N: 1, E: ROWS, T: 0 },
  inputs: new Map<string, Float32Array | Int32Array>([
    ["x", numbers(5 * ROWS)],
    ["other", numbers(5 * ROWS)],
    ["row", numbers(ROWS)],
    ["order", Int32Array.of(3, 0, 8, 8, 1, 2, 7, 5, 4)],
  ]),
};
const norm = ["weight", "bias", "running_mean", "running_var"].map((name): [string, Param] => [
  `norm.${name}`,
  { shape: [5], data: numbers(5).map(Math.abs) },
]);

/** The operation on a value that is computed, not a batch input. */
function programOf(write: (typeof IN_PLACE)[0][1]): Program {
  const p = new ProgramBuilder(new Map(norm));
  const x = p.add(p.input("x", "E", 5), p.input("other", "E", 5));
  return fuseGatherSum(lowerBatchNorm(p.build(write(p, x, p.input("other", "E", 5)))));
}

for (const [list, inPlace] of [
  [IN_PLACE, true],
  [NOT_IN_PLACE, false],
] as const)
  for (const [name, write] of list)
    test(`${name}: ${inPlace ? "written over what it reads" : "not written over what it reads"}, right all the same`, async () => {
      const program = programOf(write);
      const { places } = planArena(program);
      const [x, next] = program.nodes.filter(({ op }) => op !== "input").map(({ output }) => output.id);
      assert.is(places[x].first === places[next].first, inPlace);
      const session = await wasmBackend({ passes: [] }).createSession(program);
      const found = await session.run(handmade);
      const exact = runOracle(program, handmade)[program.output.id].data;
      for (const [i, value] of found.entries())
        assert.ok(Math.abs(value - exact[i]) <= 1e-6 * Math.max(1, Math.abs(exact[i])), `${value} ${exact[i]}`);
      session.dispose();
    });

/** Wasm memories that sessions ask for from now on. */
function watchMemories(): { memories: WebAssembly.Memory[]; stop: () => void } {
  const memories: WebAssembly.Memory[] = [];
  const Memory = WebAssembly.Memory;
  WebAssembly.Memory = class extends Memory {
    constructor(descriptor: WebAssembly.MemoryDescriptor) {
      super(descriptor);
      memories.push(this);
    }
  };
  return { memories, stop: () => Object.assign(WebAssembly, { Memory }) };
}

test("a run that no memory could hold is refused with its size, before any is taken", async () => {
  const { program } = NETWORKS.ALIGNN;
  const { memories, stop } = watchMemories();
  const session = await wasmBackend().createSession(program);
  const [before] = memories.map(({ buffer }) => buffer.byteLength);
  const sizes = { B: 1, N: 100_000, E: 2_000_000, T: 60_000_000 };
  const message = /^a run of 100000 atoms, 2000000 bonds, 60000000 pairs of bonds needs \d+\.\d GiB, .* holds 4 GiB$/;
  await throwsCode(async () => session.bytes(sizes), "LIMIT", message);
  await throwsCode(() => session.run({ sizes, inputs: new Map() }), "LIMIT", message);
  stop();
  assert.is(memories.length, 1);
  assert.is(memories[0].buffer.byteLength, before);
  session.dispose();
});

test("bytes told beforehand are those that a run takes; after one of over 512 MiB they are given back", async () => {
  const E = 70_000;
  const columns = 2048;
  const p = new ProgramBuilder(new Map());
  const basis = p.gaussian(p.input("lengths", "E", 1), { first: 0, step: 0.01, count: columns });
  const program = p.build(p.segmentSum(basis, "starts", "N"));
  const batchOf = (rows: number): Batch => ({
    sizes: { B: 1, N: 1, E: rows, T: 0 },
    inputs: new Map<string, Float32Array | Int32Array>([
      ["lengths", Float32Array.from({ length: rows }, (_, i) => (i % 2000) / 100)],
      ["starts", Int32Array.of(0, rows)],
    ]),
  });
  const { memories, stop } = watchMemories();
  const session = await wasmBackend({ passes: [] }).createSession(program);
  const empty = memories[0].buffer.byteLength;
  const small = await session.run(batchOf(3));
  assert.is(memories.length, 1);
  await session.run(batchOf(E));
  stop();
  const taken = memories[0].buffer.byteLength - empty;
  const told = session.bytes(batchOf(E).sizes);
  assert.is(told, E * 4 + 16 + E * columns * 4 + columns * 4);
  assert.ok(told > 512 * 2 ** 20 && Math.abs(taken - told) <= 2 * 65536, `${taken} taken, ${told} told`);
  assert.is(memories.length, 2, "a new memory with the weights");
  assert.is(memories[1].buffer.byteLength, empty);
  assert.equal(await session.run(batchOf(3)), small);
  session.dispose();
});

test.run();
