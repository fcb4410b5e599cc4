/**
 * E directed edges in any order, from atom `source` to atom `receiver`:
 *   source, receiver (E,); vectors (E, 3) Å: position of the receiving atom less that of the sending one
 */
export interface EdgeList {
  readonly source: Int32Array;
  readonly receiver: Int32Array;
  readonly vectors: Float64Array;
}

/** Edges sorted by receiving atom, atom i's at start[i] to start[i + 1]; lengths (E,) Å. */
export interface SortedEdges {
  readonly start: Int32Array;
  readonly source: Int32Array;
  readonly lengths: Float64Array;
  readonly vectors: Float64Array;
}

/**
 * Sort edges by receiving atom, then length, sending atom and vector: an order that follows from the edges alone, so
 * that sums over them have the same bits however the neighbours were found.
 */
export function sortEdges(numAtoms: number, edges: EdgeList): SortedEdges {
  const E = edges.source.length;
  const start = new Int32Array(numAtoms + 1);
  for (const i of edges.receiver) start[i + 1]++;
  for (let i = 0; i < numAtoms; i++) start[i + 1] += start[i];
  const order = new Int32Array(E);
  const next = start.slice();
  for (let e = 0; e < E; e++) order[next[edges.receiver[e]]++] = e;
  const length = new Float64Array(E);
  const v = edges.vectors;
  for (let e = 0; e < E; e++)
    length[e] = Math.sqrt(v[3 * e] * v[3 * e] + v[3 * e + 1] * v[3 * e + 1] + v[3 * e + 2] * v[3 * e + 2]);
  const compare = (a: number, b: number) =>
    length[a] - length[b] ||
    edges.source[a] - edges.source[b] ||
    v[3 * a] - v[3 * b] ||
    v[3 * a + 1] - v[3 * b + 1] ||
    v[3 * a + 2] - v[3 * b + 2];
  for (let i = 0; i < numAtoms; i++) order.subarray(start[i], start[i + 1]).sort(compare);
  const vectors = new Float64Array(3 * E);
  for (let at = 0; at < E; at++) for (let x = 0; x < 3; x++) vectors[3 * at + x] = v[3 * order[at] + x];
  return {
    start,
    source: Int32Array.from(order, (e) => edges.source[e]),
    lengths: Float64Array.from(order, (e) => length[e]),
    vectors,
  };
}

/**
 * Write the vector from atom `from` to atom `to` seen `image` cells further on:
 * out[at..at+2] = (frac_to + image - frac_from) . lattice, Å.
 */
export function bondVector(
  out: Float64Array,
  at: number,
  { lattice, fracCoords }: { readonly lattice: Float64Array; readonly fracCoords: Float64Array },
  from: number,
  to: number,
  [a, b, c]: readonly [number, number, number],
): void {
  const fa = fracCoords[3 * to] + a - fracCoords[3 * from];
  const fb = fracCoords[3 * to + 1] + b - fracCoords[3 * from + 1];
  const fc = fracCoords[3 * to + 2] + c - fracCoords[3 * from + 2];
  for (let x = 0; x < 3; x++) out[at + x] = fa * lattice[x] + fb * lattice[3 + x] + fc * lattice[6 + x];
}
