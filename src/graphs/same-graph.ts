import type { AnyGraph } from "./lift.js";

/** Graphs without repetition, and which of them each of those given is. */
export interface DistinctGraphs {
  readonly graphs: readonly AnyGraph[];
  readonly of: readonly number[];
}

/**
 * Graphs whose rows are equal to the bit give equal results, so one of them is enough. Lifted graphs have their rows in an
 * order of the crystal's own: a crystal listed twice is found even where its atoms are listed in another order.
 */
export function distinctGraphs(all: readonly AnyGraph[]): DistinctGraphs {
  const graphs: AnyGraph[] = [];
  const candidates = new Map<string, number[]>();
  const of = all.map((graph) => {
    const key = `${graph.numAtoms} ${graph.numEdges} ${graph.numbers[0]} ${graph.lengths[0]} ${graph.lengths.at(-1)}`;
    const known = candidates.get(key) ?? [];
    const same = known.find((k) => sameRows(graphs[k], graph));
    if (same !== undefined) return same;
    candidates.set(key, [...known, graphs.length]);
    return graphs.push(graph) - 1;
  });
  return { graphs, of };
}

function sameRows(a: AnyGraph, b: AnyGraph): boolean {
  const [rows, others] = [rowsOf(a), rowsOf(b)];
  return rows.length === others.length && rows.every((row, k) => sameNumbers(row, others[k]));
}

/** All of a graph that a network sees. */
function rowsOf(graph: AnyGraph): ArrayLike<number>[] {
  const { numbers, start, source, lengths, cell = [] } = graph;
  const rows = [numbers, start, source, lengths, cell];
  if (!("rowOf" in graph)) return graph.vectors ? [...rows, graph.vectors] : rows;
  const { atomWeight, edgeWeight, line } = graph;
  return [...rows, atomWeight, edgeWeight, ...(line ? [line.start, line.source, line.cosines, line.weight] : [])];
}

function sameNumbers(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
