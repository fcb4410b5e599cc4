import type { SphereGraphConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import { checkStructure, type Structure } from "../structures/structure.js";
import { bondVector, sortEdges } from "./edges.js";
import type { CrystalGraph } from "./graph.js";
import { checkDistances, findNeighborImages } from "./neighbors.js";
import { isolatedAtoms, structureNotes } from "./warnings.js";

/** Slack of the squared distance, Å². Source: matgl's neighbour search (pymatgen's, numerical_tol). */
const SQUARE_TOLERANCE = 1e-8;

/** Directed edges with their images: `receiver` seen `image` cells from `source`; (E,), (E,), (E, 3), vectors (E, 3) Å. */
export interface ImagedEdges {
  readonly source: Int32Array;
  readonly receiver: Int32Array;
  readonly image: Float64Array;
  readonly vectors: Float64Array;
}

/**
 * MEGNet's graph as matgl builds it: every pair of atoms with distance² < cutoff² + 1e-8 Å², periodic images (an atom's
 * own, too) included, both directions, no limit of edges. Axes that do not repeat have no images.
 *
 * An atom without edges beside atoms that have some is fine (its mean is 0) and named in a warning. A crystal without
 * any edge is refused: upstream divides 0 by 0 and gives NaN for it alone, but a finite number in a batch with others.
 * @throws {UnitcellError} ARGUMENT when the cutoff is not positive, and what checkStructure finds; CORRUPT when atoms
 *   or their images overlap; UNSUPPORTED when no two atoms are within the cutoff; LIMIT beyond MAX_NEIGHBORS edges
 */
export function buildSphereGraph(structure: Structure, config: SphereGraphConfig): CrystalGraph {
  const { cutoff } = config;
  if (!(cutoff > 0 && Number.isFinite(cutoff)))
    throw new UnitcellError("ARGUMENT", `graph needs a positive cutoff, found ${cutoff} Å`);
  checkStructure(structure);
  const N = structure.numbers.length;
  const edges = sphereEdges(structure, cutoff);
  if (edges.source.length === 0)
    throw new UnitcellError(
      "UNSUPPORTED",
      `no two atoms within ${cutoff} Å of each other, so the crystal has no graph; the reference code gives NaN for it ` +
        "alone and a finite number in a batch with others",
    );
  const { start, source, lengths } = sortEdges(N, edges);
  return {
    numAtoms: N,
    numEdges: source.length,
    numbers: structure.numbers,
    start,
    source,
    lengths,
    cutoff,
    warnings: [...structureNotes(structure), ...isolatedAtoms(structure, start, cutoff)],
  };
}

/** The edges of buildSphereGraph, unsorted. */
export function sphereEdges(structure: Structure, cutoff: number): ImagedEdges {
  const square = cutoff * cutoff + SQUARE_TOLERANCE;
  const lists = findNeighborImages(structure, Math.sqrt(square), 0);
  checkDistances(lists);
  const found = lists.index.length;
  const source = new Int32Array(found);
  const receiver = new Int32Array(found);
  const image = new Float64Array(3 * found);
  const vectors = new Float64Array(3 * found);
  let E = 0;
  for (let i = 0; i < structure.numbers.length; i++)
    for (let entry = lists.start[i]; entry < lists.start[i + 1]; entry++) {
      const [a, b, c] = lists.image.subarray(3 * entry, 3 * entry + 3);
      bondVector(vectors, 3 * E, structure, i, lists.index[entry], [a, b, c]);
      const [x, y, z] = vectors.subarray(3 * E, 3 * E + 3);
      if (!(x * x + y * y + z * z < square)) continue;
      source[E] = i;
      receiver[E] = lists.index[entry];
      image.set([a, b, c], 3 * E);
      E++;
    }
  return {
    source: source.subarray(0, E),
    receiver: receiver.subarray(0, E),
    image: image.subarray(0, 3 * E),
    vectors: vectors.subarray(0, 3 * E),
  };
}
