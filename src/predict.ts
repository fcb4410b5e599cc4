import type { Backend, Session } from "./backends/backend.js";
import { wasmBackend } from "./backends/wasm.js";
import { type ErrorCode, UnitcellError } from "./errors.js";
import { collate } from "./graphs/batch.js";
import { buildGraph, type CrystalGraph } from "./graphs/graph.js";
import { tieVariants } from "./graphs/nearest.js";
import type { Warning } from "./graphs/warnings.js";
import { checkElements, decodeOutput, type Model, outputRow } from "./models/model.js";
import { chemicalFormula } from "./structures/elements.js";
import type { Structure, UnreadStructure } from "./structures/structure.js";

/** What the model says of one crystal. */
export interface Prediction {
  readonly id?: string;
  /** Reduced formula, elements by rising electronegativity: "SrTiO3". */
  readonly formula: string;
  readonly sites: number;
  readonly property?: string;
  readonly unit?: string;
  /** The property, or for a classifier the probability of class 1. */
  readonly value: number;
  /** Of every class; classifiers only. */
  readonly probabilities?: readonly number[];
  readonly warnings: readonly PredictionWarning[];
  /** With `tieRange`, where a neighbour tie matters: the values that other choices among the tied give. */
  readonly tie?: TieRange;
}

export type PredictionWarning = Warning | { readonly code: "no-normalizer"; readonly message: string };

export interface TieRange {
  readonly min: number;
  readonly max: number;
  /** Choices tried; all there are when `exhaustive`. */
  readonly choices: number;
  readonly exhaustive: boolean;
}

/** A structure that gave no prediction, and why. */
export interface FailedPrediction {
  readonly id?: string;
  readonly error: { readonly code: ErrorCode; readonly message: string };
}

export interface PredictOptions {
  /** By default the embedded Wasm kernels in this thread. */
  backend?: Backend;
  /** Crystals are batched up to this many atoms; a larger crystal runs alone. Bounds memory: about 20 kB an atom. */
  maxAtoms?: number;
  /** Also give the range of values over the choices among tied neighbours. */
  tieRange?: boolean;
  signal?: AbortSignal;
}

/** Batches of this size stay in cache; larger ones are no faster (bench). */
const DEFAULT_MAX_ATOMS = 512;

const NO_NORMALIZER: PredictionWarning = {
  code: "no-normalizer",
  message: "the checkpoint has no normalizer: the value is the network's own output, in units of its training targets",
};

/**
 * Predict a property of every structure, in order. A structure's prediction has the same bits whatever others are given
 * with it.
 * @throws {UnitcellError} the first structure's error; `predictStream` gives errors as records instead
 */
export async function predict(
  model: Model,
  structures: Iterable<Structure> | AsyncIterable<Structure>,
  options: PredictOptions = {},
): Promise<Prediction[]> {
  const predictions: Prediction[] = [];
  for await (const result of predictStream(model, structures, options)) {
    if ("error" in result)
      throw new UnitcellError(
        result.error.code,
        `${result.id ?? `structure ${predictions.length}`}: ${result.error.message}`,
      );
    predictions.push(result);
  }
  return predictions;
}

/**
 * Predict a stream of structures in bounded memory: one batch is held at a time. Results come in input order, one per
 * input; a structure that cannot be predicted gives an error record and the rest go on.
 */
export async function* predictStream(
  model: Model,
  structures: Iterable<Structure | UnreadStructure> | AsyncIterable<Structure | UnreadStructure>,
  options: PredictOptions = {},
): AsyncGenerator<Prediction | FailedPrediction> {
  const maxAtoms = options.maxAtoms ?? DEFAULT_MAX_ATOMS;
  if (!(maxAtoms > 0)) throw new UnitcellError("ARGUMENT", `maxAtoms must be positive, found ${maxAtoms}`);
  const session = await sessionFor(model, options.backend ?? defaultBackend());
  let slots: Slot[] = [];
  let atoms = 0;
  for await (const structure of structures) {
    options.signal?.throwIfAborted();
    const slot = makeSlot(model, structure);
    const size = "graph" in slot ? slot.graph.numAtoms : 1; // errors take up room, too
    if (atoms > 0 && atoms + size > maxAtoms) {
      yield* runSlots(model, session, slots, maxAtoms, options);
      slots = [];
      atoms = 0;
    }
    slots.push(slot);
    atoms += size;
  }
  options.signal?.throwIfAborted();
  yield* runSlots(model, session, slots, maxAtoms, options);
}

/** An input's place in the output: a graph to run, or an error already known. */
type Slot = { structure: Structure; graph: CrystalGraph } | FailedPrediction;

function makeSlot(model: Model, structure: Structure | UnreadStructure): Slot {
  if ("error" in structure) return failure(structure, structure.error);
  try {
    checkElements(model, structure);
    return { structure, graph: buildGraph(structure, model.config.graph) };
  } catch (error) {
    if (error instanceof UnitcellError) return failure(structure, error);
    throw error;
  }
}

function failure({ id }: { readonly id?: string }, { code, message }: UnitcellError): FailedPrediction {
  return { ...(id !== undefined && { id }), error: { code, message } };
}

/** The result, or the deliberate error; anything else is a defect and goes up. */
async function attempt<T>(work: () => T | Promise<T>): Promise<T | UnitcellError> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof UnitcellError) return error;
    throw error;
  }
}

async function* runSlots(
  model: Model,
  session: Session,
  slots: readonly Slot[],
  maxAtoms: number,
  options: PredictOptions,
): AsyncGenerator<Prediction | FailedPrediction> {
  const graphs = slots.flatMap((slot) => ("graph" in slot ? [slot.graph] : []));
  const outputs = await attempt(() => runGraphs(model, session, graphs));
  let ran = 0;
  for (const slot of slots) {
    if (!("graph" in slot)) {
      yield slot;
      continue;
    }
    const { structure, graph } = slot;
    const place = ran++;
    const id = structure.id === undefined ? {} : { id: structure.id };
    const tie = await attempt(() => (options.tieRange ? tieRange(model, session, structure, maxAtoms) : undefined));
    if (outputs instanceof UnitcellError || tie instanceof UnitcellError) {
      yield failure(structure, outputs instanceof UnitcellError ? outputs : (tie as UnitcellError));
      continue;
    }
    yield {
      ...id,
      formula: chemicalFormula(structure.numbers),
      sites: structure.numbers.length,
      ...(model.property && { property: model.property }),
      ...(model.unit && { unit: model.unit }),
      ...decodeOutput(model, outputs[place]),
      warnings: needsNormalizer(model) ? [NO_NORMALIZER, ...graph.warnings] : graph.warnings,
      ...(tie && { tie }),
    };
  }
}

function needsNormalizer(model: Model): boolean {
  return model.config.task === "regression" && model.normalizer === undefined;
}

async function runGraphs(model: Model, session: Session, graphs: readonly CrystalGraph[]): Promise<Float32Array[]> {
  if (graphs.length === 0) return [];
  const batch = collate(graphs);
  const outputs = await session.run(batch);
  return graphs.map((_, b) => outputRow(model, batch, outputs, b));
}

async function tieRange(
  model: Model,
  session: Session,
  structure: Structure,
  maxAtoms: number,
): Promise<TieRange | undefined> {
  const { graphs, exhaustive } = tieVariants(structure, model.config.graph);
  if (graphs.length === 0) return undefined;
  let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  const perBatch = Math.max(1, Math.floor(maxAtoms / structure.numbers.length));
  for (let from = 0; from < graphs.length; from += perBatch)
    for (const output of await runGraphs(model, session, graphs.slice(from, from + perBatch))) {
      const { value } = decodeOutput(model, output);
      min = Math.min(min, value);
      max = Math.max(max, value);
    }
  return { min, max, choices: graphs.length, exhaustive };
}

let shared: Backend | undefined;

function defaultBackend(): Backend {
  shared ??= wasmBackend();
  return shared;
}

/** Sessions live as long as their model: weights are copied to the device once, not once a call. */
const sessions = new WeakMap<Model, Map<Backend, Promise<Session>>>();

function sessionFor(model: Model, backend: Backend): Promise<Session> {
  const open = sessions.get(model) ?? new Map<Backend, Promise<Session>>();
  sessions.set(model, open);
  let session = open.get(backend);
  if (!session) {
    session = backend.createSession(model.program);
    open.set(backend, session);
    session.catch(() => open.delete(backend)); // a later call may try again
  }
  return session;
}
