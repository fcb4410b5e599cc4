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
  const v = edges.vectors;
  const E = edges.source.length;
  const start = new Int32Array(numAtoms + 1);
  for (let e = 0; e < E; e++) start[edges.receiver[e] + 1]++;
  for (let i = 0; i < numAtoms; i++) start[i + 1] += start[i];
  const order = new Int32Array(E);
  const next = start.slice();
  for (let e = 0; e < E; e++) order[next[edges.receiver[e]]++] = e;
  const source = new Int32Array(E);
  const lengths = new Float64Array(E);
  for (let at = 0; at < E; at++) {
    const e = order[at];
    source[at] = edges.source[e];
    lengths[at] = Math.sqrt(v[3 * e] * v[3 * e] + v[3 * e + 1] * v[3 * e + 1] + v[3 * e + 2] * v[3 * e + 2]);
  }
  const run: Run = { order, source, lengths, vectors: v };
  for (let i = 0; i < numAtoms; i++) sortRun(run, start[i], start[i + 1]);
  const vectors = new Float64Array(3 * E);
  for (let at = 0; at < E; at++) {
    const e = 3 * order[at];
    vectors[3 * at] = v[e];
    vectors[3 * at + 1] = v[e + 1];
    vectors[3 * at + 2] = v[e + 2];
  }
  return { start, source, lengths, vectors };
}

/** Edges by their place: order, source and lengths (E,); vectors by the number that `order` gives. */
interface Run {
  readonly order: Int32Array;
  readonly source: Int32Array;
  readonly lengths: Float64Array;
  readonly vectors: Float64Array;
}

/** Sort places from to end - 1: Shell's sort, which is insertion for the usual few dozen. */
function sortRun(run: Run, from: number, end: number): void {
  const { order, source, lengths } = run;
  let gap = 1;
  while (gap * 27 < end - from) gap = 3 * gap + 1;
  for (; gap > 0; gap = Math.floor(gap / 3))
    for (let i = from + gap; i < end; i++) {
      const length = lengths[i];
      const sender = source[i];
      const edge = order[i];
      let at = i;
      for (; at >= from + gap; at -= gap) {
        const before = at - gap;
        if (lengths[before] < length || (lengths[before] === length && !follows(run, before, sender, edge))) break;
        lengths[at] = lengths[before];
        source[at] = source[before];
        order[at] = order[before];
      }
      lengths[at] = length;
      source[at] = sender;
      order[at] = edge;
    }
}

/** Whether the edge at a place comes after one of the same length. */
function follows({ order, source, vectors }: Run, place: number, sender: number, edge: number): boolean {
  if (source[place] !== sender) return source[place] > sender;
  const a = 3 * order[place];
  const b = 3 * edge;
  for (let x = 0; x < 3; x++) if (vectors[a + x] !== vectors[b + x]) return vectors[a + x] > vectors[b + x];
  return false;
}

/**
 * Write the vector from atom `from` to atom `to` seen so many cells further on as image[imageAt..imageAt+2] says:
 * out[at..at+2] = (frac_to + image - frac_from) . lattice, Å.
 */
export function bondVector(
  out: Float64Array,
  at: number,
  { lattice, fracCoords }: { readonly lattice: Float64Array; readonly fracCoords: Float64Array },
  from: number,
  to: number,
  image: ArrayLike<number>,
  imageAt = 0,
): void {
  const fa = fracCoords[3 * to] + image[imageAt] - fracCoords[3 * from];
  const fb = fracCoords[3 * to + 1] + image[imageAt + 1] - fracCoords[3 * from + 1];
  const fc = fracCoords[3 * to + 2] + image[imageAt + 2] - fracCoords[3 * from + 2];
  for (let x = 0; x < 3; x++) out[at + x] = fa * lattice[x] + fb * lattice[3 + x] + fc * lattice[6 + x];
}
