/** matgl's published MEGNet, its stored graphs and predictions, in our types. */
import { loadCheckpoint } from "../src/checkpoint.js";
import { bondVector, sortEdges } from "../src/graphs/edges.js";
import type { CrystalGraph } from "../src/graphs/graph.js";
import { modelFromCheckpoint } from "../src/models/from-checkpoint.js";
import type { Model } from "../src/models/model.js";
import { fixtureBytes, fixtureJson } from "./fixtures.js";
import { storedStructure } from "./goldens.js";

export interface MegnetGolden {
  readonly id: string;
  readonly file: string;
  readonly nan: boolean;
  readonly f64: number;
  readonly raw_f64: number;
  readonly n_edges: number;
}

interface StoredGraph {
  natoms: number;
  src: number[];
  dst: number[];
  image: number[];
}

export async function megnetModel(): Promise<Model> {
  const files = ["state.pt", "model.pt", "model.json"].map((name) => [name, fixtureBytes(`megnet/${name}`)] as const);
  return modelFromCheckpoint(await loadCheckpoint(new Map(files)));
}

export function megnetGoldens(): MegnetGolden[] {
  return fixtureJson<{ structures: MegnetGolden[] }>("megnet/goldens.json").structures;
}

/** Edges as matgl emitted them, in any order. */
export function megnetGraph(id: string, { src, dst, image, natoms }: StoredGraph = stored(id)): CrystalGraph {
  const structure = storedStructure(id);
  const vectors = new Float64Array(image.length);
  for (const [e, from] of src.entries())
    bondVector(vectors, 3 * e, structure, from, dst[e], [image[3 * e], image[3 * e + 1], image[3 * e + 2]]);
  const edges = { source: Int32Array.from(src), receiver: Int32Array.from(dst), vectors };
  const { start, source, lengths } = sortEdges(natoms, edges);
  const { numbers } = structure;
  return { numAtoms: natoms, numEdges: src.length, numbers, start, source, lengths, cutoff: 4, warnings: [] };
}

function stored(id: string): StoredGraph {
  return fixtureJson<StoredGraph>(`megnet/graphs/${id}.json`);
}
