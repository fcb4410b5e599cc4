/**
 * matgl's published formation-energy network against its float64 numbers, on its own graphs and layer by layer; a network
 * with a table of states against PyTorch's.
 */
import { readFileSync } from "node:fs";
import { test } from "uvu";
import * as assert from "uvu/assert";
import { wasmBackend } from "../src/backends/wasm.js";
import { loadCheckpoint } from "../src/checkpoint.js";
import { isUnitcellError } from "../src/errors.js";
import { collate } from "../src/graphs/batch.js";
import { modelFromCheckpoint } from "../src/models/from-checkpoint.js";
import { decodeOutput, type Model, outputRow } from "../src/models/model.js";
import { lowerBatchNorm } from "../src/ops/fold-norms.js";
import { DEFAULT_PASSES } from "../src/ops/passes.js";
import { predict } from "../src/predict.js";
import { parseStructures } from "../src/structures/parse.js";
import { exampleModel } from "./examples.js";
import { fixtureJson, haveFixtures } from "./fixtures.js";
import { megnetGoldens, megnetGraph, megnetModel } from "./goldens-megnet.js";

const TOLERANCE = 2e-5;

type Rows = number[] | number[][];
interface Block {
  readonly [name: string]: Rows;
}
interface Trace {
  readonly src: number[];
  readonly dst: number[];
  readonly image: number[][];
  readonly node_type: number[];
  readonly float64: {
    readonly [name: string]: Rows;
  } & { readonly blocks: Block[]; readonly output_proj_linear_outputs: number[][] };
}

const states = modelFromCheckpoint(await loadCheckpoint(readFileSync("test/fixtures/megnet/states.pt")));
const expectedStates = Object.entries<number[]>(JSON.parse(readFileSync("test/fixtures/megnet/states.json", "utf8")));
const stateStructures = expectedStates.map(([filename]) => {
  const [structure] = parseStructures(readFileSync(`examples/structures/${filename}`, "utf8"), { filename });
  return structure;
});

for (const state of [0, 1, 2, 3])
  test(`state ${state} of a network with four: PyTorch's float64 values`, async () => {
    const records = await predict(states, stateStructures, { state });
    for (const [i, record] of records.entries()) {
      assert.ok(Math.abs(record.value - expectedStates[i][1][state]) <= 1e-6, `${record.id}: ${record.value}`);
      assert.is(record.state, state);
    }
  });

const REFUSED_STATES: [what: string, model: Model, state: number | undefined, message: RegExp][] = [
  ["none where there are four", states, undefined, /one of 4 states .* found none$/],
  ["one too many", states, 4, /give state 0 to 3, found 4$/],
  ["half of one", states, 0.5, /found 0\.5$/],
  ["one where there is none", await exampleModel("megnet_ionic_best.pt"), 0, /state 0 given, but no model has states/],
];
for (const [what, refusing, state, message] of REFUSED_STATES)
  test(`a state is refused: ${what}`, async () => {
    try {
      await predict(refusing, stateStructures, state === undefined ? {} : { state });
      assert.unreachable();
    } catch (error) {
      assert.ok(isUnitcellError(error, "ARGUMENT"), `${error}`);
      assert.match((error as Error).message, message);
    }
  });

if (haveFixtures("megnet")) {
  const model = await megnetModel();

  test(`stored graphs agree with float64 within ${TOLERANCE}, a batch of all with each alone to the bit`, async () => {
    const session = await wasmBackend().createSession(model.program);
    const goldens = megnetGoldens().filter(({ nan }) => !nan);
    const batch = collate(goldens.map(({ id }) => megnetGraph(id)));
    const outputs = await session.run(batch);
    let worst = { id: "", error: 0 };
    for (const [b, { id, f64 }] of goldens.entries()) {
      const error = Math.abs(decodeOutput(model, outputRow(model, batch, outputs, b)).value - f64);
      if (!(error <= worst.error)) worst = { id, error };
    }
    for (const [b, { id }] of goldens.entries()) {
      const [alone] = await session.run(collate([megnetGraph(id)]));
      assert.is(alone, outputs[b], `${id} alone`);
    }
    console.log(`  MEGNet: ${goldens.length} structures, largest error ${worst.error.toExponential(2)} (${worst.id})`);
    assert.ok(worst.error <= TOLERANCE, `${worst.id}: ${worst.error}`);
    assert.is(goldens.length, 52);
  });

  for (const id of ["proto-cscl", "proto-srtio3"])
    for (const passes of [undefined, [lowerBatchNorm]])
      test(`intermediate values of ${id} agree with float64, ${passes ? "plain" : "all"} passes`, async () => {
        const trace = fixtureJson<Trace>(`megnet/trace-${id}.json`);
        const { src, dst, image, float64 } = trace;
        const graph = megnetGraph(id, { natoms: trace.node_type.length, src, dst, image: image.flat() });
        const expected = new Map<string, Rows>([
          ["embedding_node", float64.embedding_node],
          ["node_encoder", float64.node_encoder],
          ["state_encoder", float64.state_encoder],
          ["node_s2s", float64.node_s2s],
          ["edge_s2s", float64.edge_s2s],
          ["crystal", float64.readout_concat],
          ["output_proj", float64.output_proj_linear_outputs[2]],
        ]);
        // Rows of edges come in another order: their sums over columns are compared as sorted lists. With all passes what
        // follows from lengths alone has a row for each length.
        if (passes) for (const name of ["bond_expansion", "edge_encoder"] as const) expected.set(name, float64[name]);
        for (const [b, block] of float64.blocks.entries())
          for (const [name, rows] of Object.entries(block))
            if (!["mean_edge", "mean_node"].includes(name) && (passes || b > 0 || name !== "dense_edge"))
              expected.set(`blocks.${b}.${name}`, rows);
        const session = await wasmBackend(passes && { passes }).createSession(model.program);
        // What is inside of a fused operation has no value.
        const { labels } = (passes ?? DEFAULT_PASSES).reduce((p, pass) => pass(p), model.program);
        for (const label of expected.keys())
          if (!labels.has(label) && !passes && /encoder$|dense_|conv_|output_proj/.test(label)) expected.delete(label);
        const values = await session.values(collate([graph]), [...expected.keys()]);
        let worst = 0;
        for (const [label, rows] of expected) {
          const wide = rows.flat();
          const columns = Array.isArray(rows[0]) ? rows[0].length : rows.length;
          const edges = wide.length === src.length * columns && src.length !== graph.numAtoms;
          const [a, b] = [wide, [...values.get(label)!]].map((all) => (edges ? sortedRows(all, columns) : all));
          assert.is(b.length, a.length, label);
          const scale = Math.max(1, ...a.map(Math.abs));
          for (const [i, x] of a.entries()) {
            worst = Math.max(worst, Math.abs(b[i] - x) / scale);
            assert.ok(Math.abs(b[i] - x) / scale <= TOLERANCE, `${label}[${i}]: ${b[i]}, expected ${x}`);
          }
        }
        console.log(`  ${id}: ${expected.size} values, worst ${worst.toExponential(2)}`);
      });
}

/** Each column's numbers in ascending order: what is left to compare where rows come in another order. */
function sortedRows(all: readonly number[], columns: number): number[] {
  return Array.from({ length: columns }, (_, c) =>
    all.filter((_x, i) => i % columns === c).sort((x, y) => x - y),
  ).flat();
}

test.run();
