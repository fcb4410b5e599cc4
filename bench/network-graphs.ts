/** The graphs of all three networks beside pymatgen's and jarvis' loops: the shared structures, then 5,000 atoms. */
import type { GraphConfig } from "../src/config.js";
import { buildGraph, type Structure } from "../src/index.js";
import { type Context, rowOf, time } from "./compare.js";
import { NativeWorker, PYTHON } from "./native.js";
import type { Row, SectionResult } from "./stats.js";
import { type File, overFiles, readFiles } from "./steps.js";
import { jitteredCell, nameOf } from "./structures.js";

/** Steps on files may take so long in all, ms. */
const FILE_MS = 400;
const LARGE = 5000;

interface NetworkGraph {
  readonly title: string;
  readonly config: GraphConfig;
  /** The Python that makes it, by its step in native_graphs.py. */
  readonly step: string;
  /** Python takes a minute for LARGE atoms: one round, and none when `quick`. */
  readonly slow?: boolean;
  /** Which edges there are hangs on the last bit of numpy's products. */
  readonly rounded?: boolean;
}

const SPHERE = { select: "sphere", cutoff: 4 } as const;
const GRAPHS: readonly NetworkGraph[] = [
  {
    title: "CGCNN's graph, pymatgen as upstream calls it",
    config: { select: "nearest", cutoff: 8, maxNeighbors: 12 },
    step: "nearest",
  },
  {
    title: "ALIGNN's graph, jarvis' loops",
    config: {
      select: "shell",
      cutoff: 8,
      maxNeighbors: 12,
      canonize: true,
      neighborPolicy: "upstream",
      lineGraph: true,
    },
    step: "shell",
    slow: true,
    rounded: true,
  },
  { title: "MEGNet's graph, matgl's converter", config: SPHERE, step: "sphere" },
  { title: "... pymatgen's compiled search alone", config: SPHERE, step: "sphere_search" },
];

export async function networkGraphs(context: Context): Promise<SectionResult> {
  const worker = context.native && (await NativeWorker.start(PYTHON, "bench/native_graphs.py"));
  const { newer: _, ...rest } = context;
  const here: Context = { ...rest, native: worker instanceof NativeWorker ? worker : undefined };
  const files = readFiles(here);
  const rows: Row[] = [];
  const notes: string[] = [];
  const failures: string[] = [];
  for (const graph of GRAPHS) {
    // Two of the shared crystals have no bond within MEGNet's cutoff, and no graph.
    const some = files.filter(({ structure }) => edgesOf(structure, graph.config) !== undefined);
    rows.push(
      ...(await overFiles(here, some, ({ path, structure }) => ({
        section: "graphs",
        step: graph.title,
        ours: () => buildGraph(structure, graph.config),
        python: request(graph, path),
        budgetMs: FILE_MS,
      }))),
      await largeCell(here, graph),
    );
    if (!here.native) continue;
    const others = await otherEdges(here.native, graph, some);
    // unitcell has the bits of numpy with AVX-512, everywhere; another numpy cuts some shells elsewhere (ARCHITECTURE.md).
    const elsewhere = graph.rounded && here.native.versions.arithmetic !== "AVX-512";
    if (elsewhere)
      notes.push(`this machine's numpy has ${here.native.versions.arithmetic}: ${others.length} other graphs`);
    (elsewhere ? notes : failures).push(...others);
  }
  await here.native?.stop();
  return { rows, notes, failures };
}

function request({ step, config: { cutoff } }: NetworkGraph, file: string) {
  return { step, file, cutoff };
}

function edgesOf(structure: Structure, config: GraphConfig): number | undefined {
  try {
    return buildGraph(structure, config).numEdges;
  } catch {
    return undefined;
  }
}

async function largeCell(context: Context, graph: NetworkGraph): Promise<Row> {
  const cell = jitteredCell(LARGE);
  const file = `random ${LARGE}`;
  const { lattice, numbers, fracCoords } = cell;
  const supplied = { step: "supply", file, lattice: [...lattice], numbers: [...numbers], frac: [...fracCoords] };
  await context.native?.run(supplied);
  const step = {
    section: "graphs",
    step: graph.title,
    size: `${LARGE} atoms (random cell)`,
    ours: () => buildGraph(cell, graph.config),
    python: graph.slow && context.quick ? undefined : request(graph, file),
  };
  return rowOf(step, await time({ ...context, rounds: graph.slow ? 1 : Math.min(context.rounds, 5) }, step));
}

/** Both sides must find as many edges. */
async function otherEdges(worker: NativeWorker, graph: NetworkGraph, files: readonly File[]): Promise<string[]> {
  const failures: string[] = [];
  for (const { path, structure } of files) {
    const { result } = await worker.run(request(graph, path));
    const ours = edgesOf(structure, graph.config);
    if (result !== ours) failures.push(`${graph.title}, ${nameOf(path)}: ${ours} edges, ${result} in Python`);
  }
  return failures;
}
