/** The shared ALIGNN checkpoints, their goldens and stored graphs, in our types. */
import { loadCheckpoint } from "../src/checkpoint.js";
import { sortEdges } from "../src/graphs/edges.js";
import type { CrystalGraph } from "../src/graphs/graph.js";
import { modelFromCheckpoint } from "../src/models/from-checkpoint.js";
import type { Model, ModelOptions } from "../src/models/model.js";
import { SYMBOLS } from "../src/structures/elements.js";
import type { Structure } from "../src/structures/structure.js";
import { fixtureBytes, fixtureJson, fixtureNames } from "./fixtures.js";

/** |ours - upstream's float64|, relative to max(1, |value|). */
export const ALIGNN_TOLERANCE = 1e-5;

export interface AlignnGolden {
  readonly f64: number | number[] | number[][];
  readonly edges: number;
  readonly line_edges: number;
  readonly f64_shell_tolerant?: number;
  readonly edges_shell_tolerant?: number;
}

export interface AlignnModelGoldens {
  readonly kind: string;
  readonly checkpoint: string;
  readonly predictions: Record<string, AlignnGolden>;
}

export function alignnGoldens(): Map<string, AlignnModelGoldens> {
  return new Map(
    Object.entries(fixtureJson<{ models: Record<string, AlignnModelGoldens> }>("alignn/goldens.json").models),
  );
}

/** Weights and config.json together, as upstream writes them into one folder. */
export async function alignnModel(name: string, options?: ModelOptions): Promise<Model> {
  const files = ["best_model.pt", "config.json"].map((file) => [file, fixtureBytes(`alignn/${name}/${file}`)] as const);
  return modelFromCheckpoint(await loadCheckpoint(new Map(files)), options);
}

/** What upstream was given: the exact numbers. */
export function alignnStructures(): Map<string, Structure> {
  const { structures } = fixtureJson<{
    structures: Record<string, { lattice: number[][]; frac_coords: number[][]; species: string[] }>;
  }>("alignn/structures.json");
  return new Map(
    Object.entries(structures).map(([id, { lattice, frac_coords, species }]) => [
      id,
      {
        id,
        lattice: Float64Array.from(lattice.flat()),
        pbc: [true, true, true],
        numbers: Uint8Array.from(species, (symbol) => SYMBOLS.indexOf(symbol)),
        fracCoords: Float64Array.from(frac_coords.flat()),
      },
    ]),
  );
}

interface StoredGraph {
  structure: string;
  edges: number[][];
}

/** Stored edge lists of one kind ("knn", "radius5", "knn-nocanon", "knn-c6-n8"), by structure. */
export function alignnGraphs(kind: string): Map<string, CrystalGraph> {
  const structures = alignnStructures();
  const names = fixtureNames("alignn/graphs").filter((name) => name.endsWith(`.${kind}.json`));
  return new Map(
    names.map((name) => {
      const { structure, edges } = fixtureJson<StoredGraph>(`alignn/graphs/${name}`);
      return [structure, graphOfEdges(structures.get(structure)!, edges)];
    }),
  );
}

/** Rows [source, receiver, ..., rx, ry, rz]. */
export function graphOfEdges({ numbers }: Pick<Structure, "numbers">, edges: readonly number[][]): CrystalGraph {
  const list = {
    source: Int32Array.from(edges, ([source]) => source),
    receiver: Int32Array.from(edges, ([, receiver]) => receiver),
    vectors: Float64Array.from(edges.flatMap((edge) => edge.slice(-3))),
  };
  const numAtoms = numbers.length;
  return { numAtoms, numEdges: edges.length, numbers, ...sortEdges(numAtoms, list), cutoff: 8, warnings: [] };
}
