/**
 * Exact compression of crystal graphs: atoms, bonds and pairs of bonds that no message-passing network can tell apart
 * become one row with a multiplicity. Nothing is approximated: sums, means and softmaxes over the rows take the
 * multiplicities as weights. After Sourek et al. (arXiv:2007.06567) and Bollen et al. (arXiv:2304.14793), here for the
 * periodic graphs of crystals and their line graphs.
 */
import { clusterValues, hash } from "./clusters.js";
import type { CrystalGraph } from "./graph.js";
import { type LineGraph, lineGraph } from "./line-graph.js";
import {
  type Coloring,
  classesOf,
  compareColors,
  countClasses,
  type Edges,
  orderedClassesOf,
  type Pairs,
  refineBonds,
  refinePairs,
} from "./refine.js";

/**
 * A graph of representatives: numbers, start, source and lengths as in CrystalGraph, but of one atom of each class, and
 * of one bond for all of a representative that are alike.
 */
export interface LiftedGraph extends Omit<CrystalGraph, "vectors"> {
  /** (N,) atoms of the crystal that each atom stands for. */
  readonly atomWeight: Float32Array;
  /** (E,) bonds of its receiving atom that each bond stands for. */
  readonly edgeWeight: Float32Array;
  /** Pairs of bonds, where the graph has them. */
  readonly line?: LiftedLineGraph;
  /** The representative of each of the crystal's atoms. */
  readonly rowOf: Int32Array;
  /** Rows of the crystal's own graph over the rows here: of pairs of bonds where there are any, else of bonds. */
  readonly compression: number;
}

export interface LiftedLineGraph extends LineGraph {
  /** (T,) pairs of its receiving bond that each pair stands for. */
  readonly weight: Float32Array;
}

/** What a network can run on. */
export type AnyGraph = CrystalGraph | LiftedGraph;

/**
 * Lengths (Å) and cosines that differ by no more count as equal: below half the spacing of float32 numbers of their
 * size, so a network in float32 can hardly tell them apart, and above what symmetry operations, or files with eight
 * decimals, leave of equality.
 */
const GAP = 1e-7;

/** Below this compression the rows' own features would cost more than the rows that are saved. */
const WORTHWHILE = 1.1;

/** Where the classes come from. */
export interface Refinement {
  readonly refineBonds: typeof refineBonds;
  readonly refinePairs: typeof refinePairs;
}

/**
 * The graph of representatives; the graph itself where it would hardly be smaller. That is mostly found out in one pass
 * over the bonds.
 */
export function lift(graph: CrystalGraph): AnyGraph {
  return liftBy({ refineBonds, refinePairs }, graph);
}

/** The same by any colours, for tests: where unlike rows share one, the graph is left whole. */
export function liftBy({ refineBonds, refinePairs }: Refinement, graph: CrystalGraph): AnyGraph {
  const E = graph.numEdges;
  if (E === 0 || allDiffer(graph)) return graph;
  const lengths = clusterValues(graph.lengths, GAP);
  const edges: Edges = { ...graph, length: lengths.ids };
  const coloring = refineBonds(edges);
  if (!graph.vectors) {
    const bonds = liftBonds(graph, edges, lengths.values, coloring);
    return bonds ? { ...bonds.graph, compression: E / bonds.graph.numEdges } : graph;
  }
  if (E < WORTHWHILE * countClasses(coloring.edges)) return graph;
  const line = lineGraph(graph);
  const cosines = clusterValues(line.cosines, GAP);
  const pairs = { ...line, cosine: cosines.ids };
  refinePairs(edges, pairs, coloring);
  const bonds = liftBonds(graph, edges, lengths.values, coloring);
  const lifted = bonds && liftPairs(pairs, cosines.values, bonds);
  if (!lifted) return graph;
  const compression = lifted.source.length === 0 ? 1 : line.source.length / lifted.source.length;
  return { ...bonds.graph, line: lifted, compression };
}

/**
 * Whether no two atoms have the same element and sum of bond lengths, and hardly two bonds the same ends: then there is
 * next to nothing to gain.
 */
function allDiffer({ numAtoms: N, numEdges: E, numbers, start, source, lengths }: CrystalGraph): boolean {
  const sums = new Float64Array(N);
  const seen = new Int32Array(N).fill(-1);
  let ends = 0;
  let most = 0;
  for (let i = 0; i < N; i++) {
    let sum = 0;
    for (let e = start[i]; e < start[i + 1]; e++) {
      sum += lengths[e];
      if (seen[source[e]] === i) continue;
      seen[source[e]] = i;
      ends++;
    }
    most = Math.max(most, start[i + 1] - start[i]);
    sums[i] = sum + numbers[i] * 1e6; // Å: no atom's bonds are so long together
  }
  if (E >= WORTHWHILE * ends) return false;
  sums.sort();
  for (let i = 1; i < N; i++) if (sums[i] - sums[i - 1] <= most * GAP) return false;
  return true;
}

/** A lifted graph without its pairs, and which of its edges stands for each class of edges. */
interface LiftedBonds {
  readonly graph: Omit<LiftedGraph, "compression">;
  /** Row of each of the crystal's edges. */
  readonly rowOfEdge: Int32Array;
  /** The edge of the crystal that each row was. */
  readonly edges: Int32Array;
}

/**
 * undefined where that would hardly be smaller, or atoms of one class differ after all: two colours were equal by
 * accident.
 */
function liftBonds(
  graph: CrystalGraph,
  { start, source, length }: Edges,
  lengthValues: Float64Array,
  coloring: Coloring,
): LiftedBonds | undefined {
  const edgeClasses = classesOf(coloring.edges);
  if (graph.numEdges < WORTHWHILE * edgeClasses.first.length) return undefined;
  const atoms = orderedClassesOf(coloring.atoms);
  const before = (p: number, q: number) => (length[p] - length[q] || compareColors(coloring.edges, p, q)) < 0;
  const N = atoms.first.length;
  const E = edgeClasses.first.length;
  const count = new Int32Array(E); // edges of a class at the atom looked at
  const rowOfClass = new Int32Array(E).fill(-1);
  const rows = new Int32Array(E);
  const newStart = new Int32Array(N + 1);
  const edgeWeight = new Float32Array(E);
  let row = 0;
  for (let c = 0; c < N; c++) {
    const i = atoms.first[c];
    const from = row;
    for (let e = start[i]; e < start[i + 1]; e++) {
      const k = edgeClasses.of[e];
      if (count[k]++ > 0) continue;
      if (rowOfClass[k] >= 0) return undefined; // at two classes of atoms
      rowOfClass[k] = 0;
      rows[row++] = e;
    }
    // By insertion: edges come nearly in order, by their lengths.
    for (let r = from + 1; r < row; r++) {
      const e = rows[r];
      let to = r;
      for (; to > from && before(e, rows[to - 1]); to--) rows[to] = rows[to - 1];
      rows[to] = e;
    }
    for (let r = from; r < row; r++) {
      const k = edgeClasses.of[rows[r]];
      rowOfClass[k] = r;
      edgeWeight[r] = count[k];
      count[k] = 0;
    }
    newStart[c + 1] = row;
  }
  if (row !== E) return undefined;
  const atomWeight = new Float32Array(N);
  for (let i = 0; i < graph.numAtoms; i++) {
    const c = atoms.of[i];
    atomWeight[c]++;
    if (graph.numbers[i] !== graph.numbers[atoms.first[c]]) return undefined;
    if (start[i + 1] - start[i] !== start[atoms.first[c] + 1] - start[atoms.first[c]]) return undefined;
    for (let e = start[i]; e < start[i + 1]; e++) {
      const k = edgeClasses.of[e];
      const r = rowOfClass[k];
      const same = length[e] === length[rows[r]] && atoms.of[source[e]] === atoms.of[source[rows[r]]];
      if (!same || r < newStart[c] || r >= newStart[c + 1] || ++count[k] > edgeWeight[r]) return undefined;
    }
    // As many as the representative has and of no class more: of each as many.
    for (let e = start[i]; e < start[i + 1]; e++) count[edgeClasses.of[e]] = 0;
  }
  const { numbers, cell, cutoff, neighborPolicy, warnings } = graph;
  const newNumbers = new Uint8Array(N);
  for (let c = 0; c < N; c++) newNumbers[c] = numbers[atoms.first[c]];
  const newSource = new Int32Array(E);
  const lengths = new Float64Array(E);
  for (let r = 0; r < E; r++) {
    newSource[r] = atoms.of[source[rows[r]]];
    lengths[r] = lengthValues[length[rows[r]]];
  }
  const rowOfEdge = edgeClasses.of;
  for (let e = 0; e < rowOfEdge.length; e++) rowOfEdge[e] = rowOfClass[rowOfEdge[e]];
  return {
    graph: {
      numAtoms: N,
      numEdges: E,
      numbers: newNumbers,
      start: newStart,
      source: newSource,
      lengths,
      ...(cell && { cell }),
      cutoff,
      ...(neighborPolicy && { neighborPolicy }),
      warnings,
      atomWeight,
      edgeWeight,
      rowOf: atoms.of,
    },
    rowOfEdge,
    edges: rows,
  };
}

/** undefined where edges of one class receive from different pairs after all. */
function liftPairs(
  { start, source, cosine }: Pairs,
  cosineValues: Float64Array,
  { rowOfEdge, edges }: LiftedBonds,
): LiftedLineGraph | undefined {
  const E = edges.length;
  const kinds = kindsOfPairs(cosine, source, rowOfEdge, E);
  const newStart = new Int32Array(E + 1);
  const rows: number[] = []; // the kind of each row
  const weights: number[] = [];
  const count = new Int32Array(kinds.keys.length); // pairs of a kind at the edge looked at
  for (let row = 0; row < E; row++) {
    const from = rows.length;
    for (let t = start[edges[row]]; t < start[edges[row] + 1]; t++)
      if (count[kinds.of[t]]++ === 0) rows.push(kinds.of[t]);
    // By insertion: a handful.
    for (let r = from + 1; r < rows.length; r++) {
      const kind = rows[r];
      let to = r;
      for (; to > from && kinds.keys[rows[to - 1]] > kinds.keys[kind]; to--) rows[to] = rows[to - 1];
      rows[to] = kind;
    }
    for (let r = from; r < rows.length; r++) {
      weights.push(count[rows[r]]);
      count[rows[r]] = 0;
    }
    newStart[row + 1] = rows.length;
  }
  const left = count; // all 0: of each kind, what the edge looked at lacks of its representative's
  for (let e = 0; e + 1 < start.length; e++) {
    const row = rowOfEdge[e];
    if (e === edges[row]) continue;
    if (start[e + 1] - start[e] !== start[edges[row] + 1] - start[edges[row]]) return undefined;
    for (let t = start[edges[row]]; t < start[edges[row] + 1]; t++) left[kinds.of[t]]++;
    for (let t = start[e]; t < start[e + 1]; t++) if (--left[kinds.of[t]] < 0) return undefined;
  }
  return {
    start: newStart,
    source: Int32Array.from(rows, (kind) => kinds.keys[kind] % E),
    cosines: Float64Array.from(rows, (kind) => cosineValues[Math.floor(kinds.keys[kind] / E)]),
    weight: Float32Array.from(weights),
  };
}

/** Pairs of one kind have one cosine and come from one row; `keys` has cosine * E + row of each kind, `of` (T,) numbers them. */
function kindsOfPairs(cosine: Int32Array, source: Int32Array, rowOfEdge: Int32Array, E: number) {
  const of = new Int32Array(source.length);
  const keys: number[] = [];
  let slots = new Int32Array(256);
  const find = (key: number) => {
    const mask = slots.length - 1;
    let at = hash(key) & mask;
    while (slots[at] !== 0 && keys[slots[at] - 1] !== key) at = (at + 1) & mask;
    return at;
  };
  for (let t = 0; t < of.length; t++) {
    const key = cosine[t] * E + rowOfEdge[source[t]]; // below 2^53: clusters below 2^26, rows below 2^27
    const at = find(key);
    if (slots[at] !== 0) {
      of[t] = slots[at] - 1;
      continue;
    }
    of[t] = keys.length;
    slots[at] = keys.push(key);
    if (2 * keys.length <= slots.length) continue;
    slots = new Int32Array(2 * slots.length);
    for (let kind = 0; kind < keys.length; kind++) slots[find(keys[kind])] = kind + 1;
  }
  return { of, keys };
}
