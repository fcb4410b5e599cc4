import { UnitcellError } from "../errors.js";
import type { CrystalGraph } from "./graph.js";

/**
 * T pairs of edges that meet at an atom, sorted by the second edge: edge e receives from the edges
 * source[start[e]] to source[start[e + 1]].
 *   start (E + 1,); source (T,) the sending edge; cosines (T,) of the bond angle at the shared atom
 */
export interface LineGraph {
  readonly start: Int32Array;
  readonly source: Int32Array;
  readonly cosines: Float64Array;
}

/** Triplets of one crystal at most: 768 MiB of them. ALIGNN's default has some fifteen an edge. */
export const MAX_TRIPLETS = 2 ** 26;

/** Triplets of a graph, without building them: each edge's source's own edges, less those that would follow themselves. */
export function countTriplets({ numAtoms, start, source, neighborPolicy }: CrystalGraph): number {
  let T = 0;
  for (let i = 0; i < numAtoms; i++)
    for (let e = start[i]; e < start[i + 1]; e++) {
      T += start[source[e] + 1] - start[source[e]];
      if (source[e] === i && !neighborPolicy) T--;
    }
  return T;
}

/** Their count. @throws {UnitcellError} LIMIT where it is more than MAX_TRIPLETS */
export function checkTriplets(graph: CrystalGraph): number {
  const found = countTriplets(graph);
  if (found > MAX_TRIPLETS)
    throw new UnitcellError(
      "LIMIT",
      `expected at most ${MAX_TRIPLETS} pairs of bonds, found ${found} (${graph.numEdges} bonds)`,
      { limit: MAX_TRIPLETS, found },
    );
  return found;
}

/**
 * ALIGNN's line graph. Edge e1 sends to edge e2 where e1 ends at the atom e2 starts from; the way back (e2 the reverse
 * of e1) is one of them, only the very same edge is left out, which an edge from an atom to its own image would be. In a
 * supercell that edge is followed, straight on, by another one from image to image; so under neighborPolicy "symmetric"
 * it follows itself.
 * cosine = -r(e1) . r(e2) / (|r(e1)| |r(e2)|), clamped to [-1, 1]: 1 for the way back, -1 for straight on.
 * Source: ALIGNN's graphs.py (compute_bond_cosines) on DGL's line_graph with backtracking.
 * @throws {UnitcellError} ARGUMENT when the graph has no vectors; LIMIT when it has more than MAX_TRIPLETS triplets
 */
export function lineGraph(graph: CrystalGraph): LineGraph {
  const { numAtoms, numEdges: E, start: edgeStart, source: edgeSource, vectors, lengths } = graph;
  if (!vectors) throw new UnitcellError("ARGUMENT", "a line graph needs a graph with bond vectors, found none");
  const T = checkTriplets(graph);
  const start = new Int32Array(E + 1);
  const source = new Int32Array(T);
  const cosines = new Float64Array(T);
  let t = 0;
  for (let i = 0; i < numAtoms; i++)
    for (let e2 = edgeStart[i]; e2 < edgeStart[i + 1]; e2++) {
      const atom = edgeSource[e2];
      const end = edgeStart[atom + 1];
      // The one edge that does not follow: e2 itself, which ends at atom where that is i.
      const left = graph.neighborPolicy ? -1 : e2;
      const x = vectors[3 * e2];
      const y = vectors[3 * e2 + 1];
      const z = vectors[3 * e2 + 2];
      const length = lengths[e2];
      for (let e1 = edgeStart[atom], at = 3 * e1; e1 < end; e1++, at += 3) {
        if (e1 === left) continue;
        const dot = -(vectors[at] * x + vectors[at + 1] * y + vectors[at + 2] * z);
        source[t] = e1;
        cosines[t++] = Math.min(1, Math.max(-1, dot / (lengths[e1] * length)));
      }
      start[e2 + 1] = t;
    }
  return { start, source, cosines };
}
