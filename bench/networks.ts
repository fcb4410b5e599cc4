/** The forward pass of all three architectures, one crystal and 64, beside PyTorch's on the same graphs. */
import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { Session } from "../src/backends/backend.js";
import { MAX_BATCH_TRIPLETS } from "../src/batches.js";
import { readCheckpointFiles } from "../src/cli/checkpoint-files.js";
import { countTriplets } from "../src/graphs/line-graph.js";
import {
  type Batch,
  buildGraph,
  type CrystalGraph,
  collate,
  loadCheckpoint,
  type Model,
  modelFromCheckpoint,
  wasmBackend,
} from "../src/index.js";
import { fixturesRoot } from "../test/fixtures.js";
import { type Context, rowOf, type Step, time } from "./compare.js";
import type { Row, SectionResult } from "./stats.js";
import { nameOf, readStructure } from "./structures.js";

/** Both sides' outputs on one graph, relative to max(1, |output|). */
const TOLERANCE = 2e-5;
const BATCH = 64;
/** Structures of a batch have at most so many atoms. */
const BATCH_ATOMS = 16;
/** Single crystals of the table: this many atoms or the nearest to it. */
const SINGLES = [5, 28, 140];

/** Published networks of each size where the fixtures are, and the examples. */
function checkpoints(): string[] {
  const published = [
    "cgcnn/formation-energy-per-atom.pth.tar",
    "alignn/alignn_default/best_model.pt",
    "megnet/state.pt",
  ];
  const examples = ["cgcnn", "alignn", "megnet"].map((name) => `examples/saved_models/${name}_ionic_best.pt`);
  return [...published.map((path) => join(fixturesRoot, path)), ...examples].filter((path) => existsSync(path));
}

interface Input {
  readonly name: string;
  readonly graph: CrystalGraph;
}

export async function networks(context: Context): Promise<SectionResult> {
  const rows: Row[] = [];
  const notes: string[] = [];
  const failures: string[] = [];
  for (const path of checkpoints()) {
    const model = modelFromCheckpoint(await loadCheckpoint((await readCheckpointFiles(path)).files));
    const result = await network(context, path, model);
    rows.push(...result.rows);
    notes.push(...result.notes);
    failures.push(...result.failures);
  }
  return { rows, notes, failures };
}

async function network(context: Context, path: string, model: Model) {
  const title = `${model.architecture}, ${/_ionic_/.test(path) ? "example" : "published size"}`;
  const session = await wasmBackend().createSession(model.program);
  const inputs = await graphsOf(context, path, model);
  const rows: Row[] = [];
  let worst = 0;
  const compare = async (step: string, size: string, some: readonly Input[]) => {
    const batches = batchesOf(some);
    const row: Step = {
      section: "networks",
      step: `${title}, ${step}`,
      size,
      ours: () => runAll(session, batches),
      python: { step: "network_forward", model: path, files: some.map(({ name }) => name) },
    };
    const timing = await time(context, row);
    rows.push(rowOf(row, timing));
    if (!timing.result) return;
    const ours = await runAll(session, batches);
    const theirs = (timing.result as (number | number[])[]).flat();
    for (const [i, x] of theirs.entries()) worst = Math.max(worst, Math.abs(ours[i] - x) / Math.max(1, Math.abs(x)));
  };
  for (const atoms of SINGLES) {
    const away = ({ graph }: Input) => Math.abs(graph.numAtoms - atoms);
    const one = inputs.reduce((best, input) => (away(input) < away(best) ? input : best));
    await compare("batch 1", `${one.graph.numAtoms} atoms (${basename(one.name)})`, [one]);
  }
  const small = inputs.filter(({ graph }) => graph.numAtoms <= BATCH_ATOMS);
  const many = Array.from({ length: BATCH }, (_, i) => small[i % small.length]);
  const total = (of: (graph: CrystalGraph) => number) => many.reduce((sum, { graph }) => sum + of(graph), 0);
  const triplets = total((graph) => (graph.vectors ? countTriplets(graph) : 0));
  await compare(
    `batch ${BATCH}`,
    `${total((graph) => graph.numAtoms)} atoms, ${total((graph) => graph.numEdges)} edges` +
      (triplets ? `, ${triplets} pairs` : ""),
    many,
  );
  session.dispose();
  const different = `${title}: outputs differ by ${worst.toExponential(1)}`;
  return {
    rows,
    notes: context.native ? [`networks: ${different} from PyTorch's at most`] : [],
    failures: worst <= TOLERANCE ? [] : [different],
  };
}

/** Every structure's graph, Python's copy of it sent ahead. */
async function graphsOf(context: Context, path: string, model: Model): Promise<Input[]> {
  const inputs: Input[] = [];
  for (const file of context.inputs.structures) {
    const structure = readStructure(file);
    const name = `${basename(dirname(path))}/${basename(path)}/${nameOf(file)}`;
    let graph: CrystalGraph;
    try {
      graph = buildGraph(structure, model.config.graph);
    } catch {
      continue; // a crystal without bonds has no MEGNet graph
    }
    if (!structure.numbers.every((z) => model.elements.rows.has(z))) continue;
    inputs.push({ name, graph });
    await context.native?.run({ step: "supply_graph", file: name, ...plain(graph) });
  }
  return inputs;
}

function plain({ numbers, start, source, lengths, vectors }: CrystalGraph) {
  const receiver = Array.from(source, () => 0);
  for (let i = 0; i + 1 < start.length; i++) receiver.fill(i, start[i], start[i + 1]);
  const edges = vectors ? { vectors: [...vectors] } : { lengths: [...lengths] };
  return { numbers: [...numbers], source: [...source], receiver, ...edges };
}

/** As predict batches them: by the pairs of bonds, where there are any. */
function batchesOf(inputs: readonly Input[]): Batch[] {
  const groups: CrystalGraph[][] = [[]];
  let triplets = 0;
  for (const { graph } of inputs) {
    const size = graph.vectors ? countTriplets(graph) : 0;
    if (triplets > 0 && triplets + size > MAX_BATCH_TRIPLETS) {
      groups.push([]);
      triplets = 0;
    }
    groups[groups.length - 1].push(graph);
    triplets += size;
  }
  return groups.map((graphs) => collate(graphs));
}

async function runAll(session: Session, batches: readonly Batch[]): Promise<number[]> {
  const outputs: number[] = [];
  for (const batch of batches) outputs.push(...(await session.run(batch)));
  return outputs;
}
