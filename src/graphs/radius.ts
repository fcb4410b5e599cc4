import type { RadiusGraphConfig } from "../config.js";
import { UnitcellError } from "../errors.js";
import { checkStructure, type Structure, transformRows } from "../structures/structure.js";
import { type EdgeList, sortEdges } from "./edges.js";
import type { CrystalGraph } from "./graph.js";
import {
  cellParameters,
  checkCutoff,
  cutoffExtended,
  displace,
  imageRange,
  inside,
  openAxesNote,
  reciprocalLengths,
  roundedLattice,
  roundingMargin,
} from "./jarvis.js";
import { checkDistances, findNeighborImages, MAX_NEIGHBORS } from "./neighbors.js";
import { isolatedAtoms, structureNotes } from "./warnings.js";

/** Nearer than this (Å) is the atom itself. */
const SELF_DISTANCE = 1e-5;

/** What the image range reaches farther than the cutoff, Å. */
const RANGE_MARGIN = 0.5;

/** Extensions of the cutoff at most: a search each. */
export const MAX_EXTENSIONS = 256;

/** Bonds that all of them may find together: a coordinate far outside the cell hides the last atom's from ever wider searches. */
const MAX_SEARCHED = MAX_NEIGHBORS;

/**
 * ALIGNN's "radius_graph": every pair of atoms no farther than `cutoff`, periodic images (an atom's own, too) included,
 * both directions. What is odd about it:
 *  - the cutoff grows by `cutoffExtra` until the *last* atom has an edge, either way; others may have none (both are
 *    told in a warning);
 *  - vectors are rounded to float32, lengths and angles come from those;
 *  - atoms' positions come from the lattice rounded to 5 decimals, images from the lattice as given;
 *  - far images are missed where coordinates are spread over more than one cell, of an edge perhaps only one direction;
 *  - every axis repeats, whatever the structure says (a warning tells).
 * Upstream compares float32 distances with the cutoff, here they are float64.
 * Source: radius_graph in ALIGNN's graphs.py.
 * @throws {UnitcellError} ARGUMENT when the settings are not positive, and what checkStructure finds; CORRUPT when atoms
 *   or their images overlap; LIMIT beyond MAX_NEIGHBORS edges, MAX_CUTOFF or MAX_EXTENSIONS
 */
export function buildRadiusGraph(structure: Structure, config: RadiusGraphConfig): CrystalGraph {
  const { cutoffExtra, lineGraph } = config;
  if (![config.cutoff, cutoffExtra].every((x) => x > 0 && Number.isFinite(x)))
    throw new UnitcellError(
      "ARGUMENT",
      `graph needs a positive cutoff and extension, found ${config.cutoff} Å, ${cutoffExtra} Å`,
    );
  checkStructure(structure);
  const N = structure.numbers.length;
  const rounded = roundedLattice(structure.lattice);
  let { cutoff } = config;
  let { found: searched, edges } = radiusEdges(structure, rounded, cutoff);
  // Where far images are missed an edge may lack its reverse, so either end counts.
  const isReached = () => [edges.source, edges.receiver].some((ends) => ends.includes(N - 1));
  for (let extensions = 1; !isReached(); extensions++) {
    if (extensions > MAX_EXTENSIONS || searched > MAX_SEARCHED)
      throw new UnitcellError(
        "LIMIT",
        `atom ${N - 1} has no neighbour within ${cutoff} Å, after ${extensions - 1} extensions by ${cutoffExtra} Å`,
        { limit: MAX_EXTENSIONS },
      );
    cutoff += cutoffExtra;
    checkCutoff(cutoff, "no neighbour");
    const next = radiusEdges(structure, rounded, cutoff);
    searched += next.found;
    edges = next.edges;
  }
  const { vectors, ...sorted } = sortEdges(N, edges);
  const extended = cutoff > config.cutoff ? [N - 1] : [];
  return {
    numAtoms: N,
    numEdges: sorted.source.length,
    numbers: structure.numbers,
    ...sorted,
    ...(lineGraph && { vectors }),
    cell: cellParameters(rounded),
    cutoff,
    warnings: [
      ...structureNotes(structure),
      ...openAxesNote(structure),
      ...cutoffExtended(structure, extended, "no neighbour", { from: config.cutoff, to: cutoff }),
      ...isolatedAtoms(structure, sorted.start, cutoff),
    ],
  };
}

/** The edges, and how many neighbours were looked at for them. */
function radiusEdges(structure: Structure, rounded: Float64Array, cutoff: number): { edges: EdgeList; found: number } {
  const { lattice, fracCoords, numbers } = structure;
  const margin = roundingMargin(structure, rounded);
  const lists = findNeighborImages({ ...structure, pbc: [true, true, true] }, cutoff + margin, 0);
  checkDistances(lists);
  const range = imageRange(fracCoords, cutoff + RANGE_MARGIN, reciprocalLengths(lattice));
  const positions = transformRows(fracCoords, rounded);
  const source = new Int32Array(lists.index.length);
  const receiver = new Int32Array(lists.index.length);
  const vectors = new Float64Array(3 * lists.index.length);
  const D = new Float64Array(3);
  let E = 0;
  for (let i = 0; i < numbers.length; i++)
    for (let entry = lists.start[i]; entry < lists.start[i + 1]; entry++) {
      displace(D, lattice, positions, i, lists.index[entry], lists.image, 3 * entry);
      const d = Math.sqrt(D[0] * D[0] + D[1] * D[1] + D[2] * D[2]);
      if (!(d <= cutoff && d > SELF_DISTANCE && inside(range, lists.image, 3 * entry))) continue;
      source[E] = i;
      receiver[E] = lists.index[entry];
      vectors[3 * E] = Math.fround(D[0]);
      vectors[3 * E + 1] = Math.fround(D[1]);
      vectors[3 * E + 2] = Math.fround(D[2]);
      E++;
    }
  return {
    edges: { source: source.subarray(0, E), receiver: receiver.subarray(0, E), vectors: vectors.subarray(0, 3 * E) },
    found: lists.index.length,
  };
}
