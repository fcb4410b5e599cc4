import { UnitcellError } from "../errors.js";
import type { AnyGraph, LiftedLineGraph } from "./lift.js";
import { type LineGraph, lineGraph } from "./line-graph.js";

/**
 * B crystals side by side as one graph of N atoms, E edges and T triplets (0 without line graphs). Inputs by name:
 *   numbers       (N,) i32 atomic numbers
 *   source        (E,) i32 sending atom of each edge; receiver (E,) i32 receiving atom, ascending
 *   edgeStart     (N + 1,) i32 first edge of each atom; crystalStart (B + 1,) i32 first atom of each crystal
 *   crystalEdgeStart (B + 1,) i32 first edge of each crystal
 *   atomCrystal   (N,) i32 and edgeCrystal (E,) i32: the crystal of each atom and edge, that of its receiving atom
 *   lengths       (E,) f32 Å
 * where every graph has bond vectors, their line graphs:
 *   tripletSource (T,) i32 sending edge of each triplet; tripletReceiver (T,) i32 receiving edge, ascending
 *   tripletStart  (E + 1,) i32 first triplet of each edge; cosines (T,) f32
 * where every graph has a `cell`:
 *   cell          (B * 6,) f32 a, b, c (Å), alpha, beta, gamma (degrees) of each crystal
 * and where a graph is lifted, how many rows each stands for, all f32 (absent: each for itself):
 *   atomWeight    (N,) atoms of the crystal; edgeWeight (E,) bonds of its receiving atom; tripletWeight (T,) pairs of its
 *                 receiving bond
 *   edgeTotal     (E,) bonds of the crystal: edgeWeight times the receiver's atomWeight
 */
export interface Batch {
  readonly sizes: Readonly<Record<"B" | "N" | "E" | "T", number>>;
  readonly inputs: ReadonlyMap<string, Float32Array | Int32Array>;
}

/** @throws {UnitcellError} ARGUMENT when there is no graph; LIMIT when a crystal has more than MAX_TRIPLETS triplets */
export function collate(graphs: readonly AnyGraph[]): Batch {
  if (graphs.length === 0) throw new UnitcellError("ARGUMENT", "a batch needs at least one graph");
  const N = graphs.reduce((sum, graph) => sum + graph.numAtoms, 0);
  const E = graphs.reduce((sum, graph) => sum + graph.numEdges, 0);
  const numbers = new Int32Array(N);
  const source = new Int32Array(E);
  const receiver = new Int32Array(E);
  const edgeStart = new Int32Array(N + 1);
  const crystalStart = new Int32Array(graphs.length + 1);
  const crystalEdgeStart = new Int32Array(graphs.length + 1);
  const atomCrystal = new Int32Array(N);
  const edgeCrystal = new Int32Array(E);
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
    atomCrystal.fill(b, atom, atom + graph.numAtoms);
    edgeCrystal.fill(b, edge, edge + graph.numEdges);
    atom += graph.numAtoms;
    edge += graph.numEdges;
    crystalStart[b + 1] = atom;
    crystalEdgeStart[b + 1] = edge;
  }
  const hasPairs = graphs.every((graph) => "line" in graph || "vectors" in graph);
  const triplets = hasPairs ? collateTriplets(graphs, E) : undefined;
  return {
    sizes: { B: graphs.length, N, E, T: triplets?.tripletSource.length ?? 0 },
    inputs: new Map<string, Float32Array | Int32Array>([
      ["numbers", numbers],
      ["source", source],
      ["receiver", receiver],
      ["edgeStart", edgeStart],
      ["crystalStart", crystalStart],
      ["crystalEdgeStart", crystalEdgeStart],
      ["atomCrystal", atomCrystal],
      ["edgeCrystal", edgeCrystal],
      ["lengths", lengths],
      ...Object.entries(triplets ?? {}),
      ...(graphs.some((graph) => "rowOf" in graph) ? Object.entries(collateWeights(graphs, receiver)) : []),
      ...(graphs.every((graph) => graph.cell) ? [["cell", collateCells(graphs)] as const] : []),
    ]),
  };
}

/** The line graphs of all crystals, edges counted through the batch. */
function collateTriplets(graphs: readonly AnyGraph[], E: number) {
  const lines = graphs.map(lineOf);
  const T = lines.reduce((sum, line) => sum + line.source.length, 0);
  const tripletStart = new Int32Array(E + 1);
  const tripletSource = new Int32Array(T);
  const tripletReceiver = new Int32Array(T);
  const cosines = new Float32Array(T);
  const tripletWeight = lines.some((line) => "weight" in line) ? new Float32Array(T).fill(1) : undefined;
  let edge = 0;
  let triplet = 0;
  for (const line of lines) {
    const edges = line.start.length - 1;
    for (let t = 0; t < line.source.length; t++) tripletSource[triplet + t] = line.source[t] + edge;
    for (let e = 0; e < edges; e++) {
      tripletStart[edge + e + 1] = triplet + line.start[e + 1];
      tripletReceiver.fill(edge + e, triplet + line.start[e], triplet + line.start[e + 1]);
    }
    cosines.set(line.cosines, triplet);
    if ("weight" in line) tripletWeight!.set(line.weight, triplet);
    edge += edges;
    triplet += line.source.length;
  }
  return { tripletStart, tripletSource, tripletReceiver, cosines, ...(tripletWeight && { tripletWeight }) };
}

function lineOf(graph: AnyGraph): LineGraph | LiftedLineGraph {
  return "rowOf" in graph ? graph.line! : lineGraph(graph);
}

/** Of graphs that are not lifted each row stands for itself. */
function collateWeights(graphs: readonly AnyGraph[], receiver: Int32Array) {
  const atomWeight = new Float32Array(graphs.reduce((sum, graph) => sum + graph.numAtoms, 0)).fill(1);
  const edgeWeight = new Float32Array(receiver.length).fill(1);
  let atom = 0;
  let edge = 0;
  for (const graph of graphs) {
    if ("rowOf" in graph) {
      atomWeight.set(graph.atomWeight, atom);
      edgeWeight.set(graph.edgeWeight, edge);
    }
    atom += graph.numAtoms;
    edge += graph.numEdges;
  }
  return { atomWeight, edgeWeight, edgeTotal: edgeWeight.map((times, e) => times * atomWeight[receiver[e]]) };
}

function collateCells(graphs: readonly AnyGraph[]): Float32Array {
  const cells = new Float32Array(6 * graphs.length);
  for (const [b, { cell }] of graphs.entries()) cells.set(cell!, 6 * b);
  return cells;
}
