import { UnitcellError } from "../errors.js";
import type { CrystalGraph } from "./graph.js";

/**
 * B crystals side by side as one graph of N atoms and E edges. Inputs by name:
 *   numbers       (N,) i32 atomic numbers
 *   source        (E,) i32 sending atom of each edge; receiver (E,) i32 receiving atom, ascending
 *   edgeStart     (N + 1,) i32 first edge of each atom; crystalStart (B + 1,) i32 first atom of each crystal
 *   lengths       (E,) f32 Å
 */
export interface Batch {
  readonly sizes: Readonly<Record<"B" | "N" | "E" | "T", number>>;
  readonly inputs: ReadonlyMap<string, Float32Array | Int32Array>;
}

/** @throws {UnitcellError} ARGUMENT when there is no graph */
export function collate(graphs: readonly CrystalGraph[]): Batch {
  if (graphs.length === 0) throw new UnitcellError("ARGUMENT", "a batch needs at least one graph");
  const N = graphs.reduce((sum, graph) => sum + graph.numAtoms, 0);
  const E = graphs.reduce((sum, graph) => sum + graph.numEdges, 0);
  const numbers = new Int32Array(N);
  const source = new Int32Array(E);
  const receiver = new Int32Array(E);
  const edgeStart = new Int32Array(N + 1);
  const crystalStart = new Int32Array(graphs.length + 1);
  const lengths = new Float32Array(E);
  let atom = 0;
  let edge = 0;
  for (const [b, graph] of graphs.entries()) {
    numbers.set(graph.numbers, atom);
    lengths.set(graph.lengths, edge);
    for (let e = 0; e < graph.numEdges; e++) source[edge + e] = graph.source[e] + atom;
    for (let i = 0; i < graph.numAtoms; i++) {
      edgeStart[atom + i + 1] = edge + graph.start[i + 1];
      receiver.fill(atom + i, edge + graph.start[i], edge + graph.start[i + 1]);
    }
    atom += graph.numAtoms;
    edge += graph.numEdges;
    crystalStart[b + 1] = atom;
  }
  return {
    sizes: { B: graphs.length, N, E, T: 0 },
    inputs: new Map<string, Float32Array | Int32Array>([
      ["numbers", numbers],
      ["source", source],
      ["receiver", receiver],
      ["edgeStart", edgeStart],
      ["crystalStart", crystalStart],
      ["lengths", lengths],
    ]),
  };
}
