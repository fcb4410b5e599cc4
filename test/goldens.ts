/** The published CGCNN checkpoints, upstream's stored graphs and its predictions, in our types. */

import { loadCheckpoint } from "../src/checkpoint.js";
import type { Batch } from "../src/graphs/batch.js";
import { collate } from "../src/graphs/batch.js";
import type { CrystalGraph } from "../src/graphs/graph.js";
import { modelFromCheckpoint } from "../src/models/from-checkpoint.js";
import type { Model, ModelOptions } from "../src/models/model.js";
import type { Structure } from "../src/structures/structure.js";
import { fixtureBytes, fixtureJson } from "./fixtures.js";

export const CHECKPOINTS = ["formation-energy-per-atom", "band-gap", "semi-metal-classification"] as const;
export type CheckpointName = (typeof CHECKPOINTS)[number];

/** |ours - upstream's float64| on the same graph: what goldens.json hints at. */
export const TOLERANCE = 2e-5;

export interface Golden {
  f32: number;
  f64: number;
  tie_min: number;
  tie_max: number;
  tie_range_method?: string;
}

interface StoredGraph {
  id: string;
  natoms: number;
  nbr_idx: number[][];
  nbr_dist: number[][];
}

export async function publishedModel(file: string, options?: ModelOptions): Promise<Model> {
  return modelFromCheckpoint(await loadCheckpoint(fixtureBytes(`cgcnn/${file}`)), options);
}

/** Goldens of one checkpoint by structure id. */
export function goldens(name: CheckpointName): Map<string, Golden> {
  const { structures } = fixtureJson<{
    structures: Record<string, { predictions: Record<CheckpointName, Golden> }>;
  }>("cgcnn/goldens.json");
  return new Map(Object.entries(structures).map(([id, { predictions }]) => [id, predictions[name]]));
}

/** Upstream's own neighbour lists as a graph. */
export function storedGraph(id: string): CrystalGraph {
  const stored = fixtureJson<StoredGraph>(`cgcnn/graphs/${id}.json`);
  const { numbers } = fixtureJson<{ numbers: number[] }>(`structures/${id}.json`);
  const k = stored.nbr_idx[0].length;
  return {
    numAtoms: stored.natoms,
    numEdges: stored.natoms * k,
    numbers: Uint8Array.from(numbers),
    start: Int32Array.from({ length: stored.natoms + 1 }, (_, i) => i * k),
    source: Int32Array.from(stored.nbr_idx.flat()),
    lengths: Float64Array.from(stored.nbr_dist.flat()),
    cutoff: 8,
    warnings: [],
  };
}

export function storedBatch(ids: readonly string[]): Batch {
  return collate(ids.map(storedGraph));
}

/** A structure as pymatgen read it. */
export function storedStructure(id: string): Structure {
  const { lattice, numbers, frac_coords } = fixtureJson<{
    lattice: number[][];
    numbers: number[];
    frac_coords: number[][];
  }>(`structures/${id}.json`);
  return {
    id,
    lattice: Float64Array.from(lattice.flat()),
    pbc: [true, true, true],
    numbers: Uint8Array.from(numbers),
    fracCoords: Float64Array.from(frac_coords.flat()),
  };
}
