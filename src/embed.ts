/** Crystals as vectors: what a network makes of a structure before its last layers, for other models to start from. */

import type { RunNote } from "./backends/backend.js";
import {
  type BatchOptions,
  batchFor,
  checkFinite,
  checkOptions,
  chunksOf,
  collectRecords,
  inParts,
  modelInfo,
  openRunner,
  provenance,
  type Ran,
  type ReadySlot,
  type Runner,
  runChunk,
  type StructureStream,
  stateTypes,
} from "./batches.js";
import { UnitcellError } from "./errors.js";
import type { AnyGraph } from "./graphs/lift.js";
import { elementWarnings, valueWarnings } from "./model-warnings.js";
import { atomShares, shareRuleOf } from "./models/atom-shares.js";
import type { Model } from "./models/model.js";
import type { ShareRule } from "./models/shares.js";
import { type FailedPrediction, type ModelInfo, type PredictionWarning, RECORD_SCHEMA } from "./prediction.js";
import { chemicalFormula } from "./structures/elements.js";
import type { Structure } from "./structures/structure.js";

/** As for `predict`, and whether the prediction is split among the atoms. */
export interface EmbedOptions extends BatchOptions {
  /** Also split the prediction among the atoms, where that is defined. */
  shares?: boolean;
}

/** What a model makes of one crystal of N atoms. */
export interface Embedding {
  readonly schema: typeof RECORD_SCHEMA;
  readonly id?: string;
  /** Reduced formula, elements by rising electronegativity: "SrTiO3". */
  readonly formula: string;
  readonly sites: number;
  /**
   * The crystal's vector, what the network's last layers read: of CGCNN and ALIGNN the mean of its atoms' vectors, of
   * MEGNet [Set2Set of the atoms, Set2Set of the bonds, state].
   */
  readonly crystal: Float32Array;
  /** (N, atomColumns) row-major, in the structure's order: the atoms' vectors after the last convolution. */
  readonly atoms: Float32Array;
  readonly atomColumns: number;
  /**
   * With `shares`: (N, outputs) row-major, each atom's part of the outputs, adding up to them. Of ALIGNN with a linear
   * readout its own terms; of CGCNN, whose last layers are not linear, Aumann-Shapley shares (models/shares.ts). Absent
   * for classifiers, MEGNet and ALIGNN with another readout.
   */
  readonly shares?: Float64Array;
  /** Of the shares, as of the model's predictions. */
  readonly property?: string;
  readonly unit?: string;
  /** The index of the state asked for, where the model has several. */
  readonly state?: number;
  /** Å, the cutoff of the graph. */
  readonly cutoff: number;
  /** Where the graph is not upstream's own. */
  readonly neighborPolicy?: "symmetric";
  readonly warnings: readonly PredictionWarning[];
  readonly model: ModelInfo;
  readonly backend: string;
  /** ms from structure to vectors; the share of its atoms where several ran together. */
  readonly elapsedMs: number;
}

/**
 * The vectors of every structure and its atoms, in order. They have the same bits whatever others are given with it.
 * @throws {UnitcellError} the first structure's error; `embedStream` gives errors as records instead
 */
export function embed(
  model: Model,
  structures: Iterable<Structure> | AsyncIterable<Structure>,
  options: EmbedOptions = {},
): Promise<Embedding[]> {
  return collectRecords(embedStream(model, structures, options));
}

/**
 * Embed a stream of structures in bounded memory: one batch is held at a time. Results come in input order, one per
 * input; a structure that cannot be embedded gives an error record and the rest go on.
 * @throws {UnitcellError} ARGUMENT for an ensemble, whose members have vectors of their own
 */
export async function* embedStream(
  model: Model,
  structures: StructureStream,
  options: EmbedOptions = {},
): AsyncGenerator<Embedding | FailedPrediction> {
  if ("members" in model)
    throw new UnitcellError("ARGUMENT", "an ensemble has no vectors of its own: embed with one of its members");
  const maxAtoms = checkOptions([model], options);
  const runner = await openRunner(model, options);
  const rule = options.shares ? await shareRuleOf(model) : undefined;
  for await (const chunk of chunksOf(structures, maxAtoms, options.signal))
    yield* runChunk(runner, chunk, {
      run: (graphs) => inParts(graphs, (some) => runGraphs(runner, some)),
      record: async (slot, vectors, elapsedMs) => embeddingOf(runner, slot, vectors, { rule, elapsedMs }),
    });
}

/** Of a graph's crystal, and of the atoms that it has; parts of the batch's. */
interface Vectors {
  readonly crystal: Float32Array;
  readonly atoms: Float32Array;
}

/** The vectors of a structure's atoms, each from the atom of the graph that stands for it; a copy. */
function expand(graph: AnyGraph, atoms: Float32Array): Float32Array {
  if (!("rowOf" in graph)) return atoms.slice();
  const columns = atoms.length / graph.numAtoms;
  const all = new Float32Array(graph.rowOf.length * columns);
  for (const [i, row] of graph.rowOf.entries())
    all.set(atoms.subarray(row * columns, (row + 1) * columns), i * columns);
  return all;
}

async function runGraphs(runner: Runner, graphs: readonly AnyGraph[]): Promise<Ran<Vectors>[]> {
  const batch = batchFor(runner, graphs);
  let note: RunNote | undefined;
  const values = await runner.session.values(batch, ["crystal", "atoms"], (said) => {
    note = said;
  });
  const [crystals, atoms] = [values.get("crystal")!, values.get("atoms")!];
  const [crystalColumns, atomColumns] = [crystals.length / batch.sizes.B, atoms.length / batch.sizes.N];
  let atom = 0;
  return graphs.map(({ numAtoms }, b) => {
    const first = atom * atomColumns;
    atom += numAtoms;
    const result = {
      crystal: crystals.subarray(b * crystalColumns, (b + 1) * crystalColumns),
      atoms: atoms.subarray(first, atom * atomColumns),
    };
    return { result, note };
  });
}

function embeddingOf(
  runner: Runner,
  { structure, graph }: ReadySlot,
  { result: vectors, note }: Ran<Vectors>,
  options: { rule: ShareRule | undefined; elapsedMs: number },
): Embedding {
  const began = performance.now();
  const { model, state } = runner;
  const { backend, warnings } = provenance(runner, note);
  // Copies: equal structures share a result, and a record must not hold the whole batch.
  const crystal = vectors.crystal.slice();
  const atoms = expand(graph, vectors.atoms);
  const sites = structure.numbers.length;
  const shares = options.rule && atomShares(model, options.rule, atoms, sites);
  checkFinite(crystal, atoms, shares ?? []);
  return {
    schema: RECORD_SCHEMA,
    ...(structure.id !== undefined && { id: structure.id }),
    formula: chemicalFormula(structure.numbers),
    sites,
    crystal,
    atoms,
    atomColumns: atoms.length / sites,
    ...(shares && { shares }),
    ...(model.property && { property: model.property }),
    ...(model.unit && { unit: model.unit }),
    ...(stateTypes(model) > 0 && { state: state! }),
    cutoff: graph.cutoff,
    ...(graph.neighborPolicy && { neighborPolicy: graph.neighborPolicy }),
    warnings: [
      ...(shares ? valueWarnings(model) : []),
      ...elementWarnings(model, structure),
      ...graph.warnings,
      ...warnings,
    ],
    model: modelInfo(model),
    backend,
    elapsedMs: options.elapsedMs + performance.now() - began,
  };
}
