import type { Backend, Session } from "./backends/backend.js";
import { wasmBackend } from "./backends/wasm.js";
import { combinePredictions, type Ensemble } from "./ensemble.js";
import { UnitcellError } from "./errors.js";
import { type Batch, collate } from "./graphs/batch.js";
import { buildGraph, type CrystalGraph } from "./graphs/graph.js";
import { countTriplets } from "./graphs/line-graph.js";
import { tieVariants } from "./graphs/nearest.js";
import { nameAtoms } from "./graphs/warnings.js";
import { checkElements, decodeOutput, type Model, outputRow } from "./models/model.js";
import { type Chunk, predictUnknown } from "./predict-unknown.js";
import {
  type FailedPrediction,
  type ModelInfo,
  type Prediction,
  type PredictionWarning,
  RECORD_SCHEMA,
  type TieRange,
} from "./prediction.js";
import type { PredictionCache } from "./prediction-cache.js";
import { recipeOf } from "./prediction-key.js";
import { chemicalFormula, SYMBOLS } from "./structures/elements.js";
import type { Structure, UnreadStructure } from "./structures/structure.js";

export interface PredictOptions {
  /** By default the embedded Wasm kernels in this thread. */
  backend?: Backend;
  /** Crystals are batched up to this many atoms; a larger crystal runs alone. Bounds memory: about 20 kB an atom. */
  maxAtoms?: number;
  /** Also give the range of values over the choices among tied neighbours, for CGCNN's graphs. */
  tieRange?: boolean;
  /**
   * Row of the model's table of states: of MEGNet's band gaps 0 PBE, 1 GLLB-SC, 2 HSE, 3 SCAN. Must be given where the
   * model has one, and cannot be where none has.
   */
  state?: number;
  /** Records found there are not computed again, and say `cached`; what is computed is added. Failures are not stored. */
  cache?: PredictionCache;
  signal?: AbortSignal;
}

/** Batches of this size stay in cache; larger ones are no faster (bench). */
const DEFAULT_MAX_ATOMS = 512;

/**
 * Pairs of bonds in a batch, beyond which a crystal begins another: at 256 features 16 MiB for each value of theirs, of
 * which a few live at a time.
 */
const MAX_BATCH_TRIPLETS = 16_384;

const NO_NORMALIZER: PredictionWarning = {
  code: "no-normalizer",
  message: "the checkpoint has no normalizer: the value is the network's own output, in units of its training targets",
};

/** NaN and infinities are no predictions, and JSON lacks them. */
const NOT_FINITE = "its weights hold NaN or infinities, or the crystal is too unlike any it was trained on";

/**
 * Predict a property of every structure, in order. A structure's prediction has the same bits whatever others are given
 * with it.
 * @throws {UnitcellError} the first structure's error; `predictStream` gives errors as records instead
 */
export async function predict(
  model: Model | Ensemble,
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
  model: Model | Ensemble,
  structures: Iterable<Structure | UnreadStructure> | AsyncIterable<Structure | UnreadStructure>,
  options: PredictOptions = {},
): AsyncGenerator<Prediction | FailedPrediction> {
  const maxAtoms = options.maxAtoms ?? DEFAULT_MAX_ATOMS;
  if (!(maxAtoms > 0)) throw new UnitcellError("ARGUMENT", `maxAtoms must be positive, found ${maxAtoms}`);
  checkState("members" in model ? model.members : [model], options.state);
  const { cache, state, tieRange = false, backend = defaultBackend() } = options;
  const recipe = cache && (await recipeOf(model, { backend: backend.name, tieRange, state }));
  const run = (chunk: Chunk) => predictAll(model, chunk, { ...options, maxAtoms });
  for await (const chunk of chunksOf(structures, maxAtoms, options.signal))
    yield* await (recipe === undefined ? run(chunk) : predictUnknown(cache!, recipe, chunk, run));
}

/** The records of a chunk: of each member, put together. */
async function predictAll(
  model: Model | Ensemble,
  chunk: Chunk,
  options: ChunkOptions,
): Promise<(Prediction | FailedPrediction)[]> {
  if (!("members" in model)) return collect(predictChunk(model, chunk, options));
  const columns: (Prediction | FailedPrediction)[][] = [];
  for (const one of model.members) columns.push(await collect(predictChunk(one, chunk, options)));
  return chunk.map((_, i) =>
    combinePredictions(
      model,
      columns.map((column) => column[i]),
    ),
  );
}

/** @throws {UnitcellError} ARGUMENT: a state is asked for where there is none, or not where there are several */
function checkState(models: readonly Model[], state: number | undefined): void {
  const types = models.map(stateTypes).filter((count) => count > 0);
  if (state === undefined && types.length === 0) return;
  const least = Math.min(...types);
  if (types.length === 0) throw new UnitcellError("ARGUMENT", `state ${state} given, but no model has states`);
  if (!(Number.isInteger(state) && state! >= 0 && state! < least))
    throw new UnitcellError(
      "ARGUMENT",
      `the model predicts for one of ${least} states (of published MEGNet band gaps: 0 PBE, 1 GLLB-SC, 2 HSE, 3 SCAN): ` +
        `give state 0 to ${least - 1}, found ${state ?? "none"}`,
    );
}

function stateTypes({ config }: Model): number {
  return config.type === "megnet" ? config.stateTypes : 0;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Structures up to so many atoms together. Errors take up room, too. */
async function* chunksOf(
  structures: Iterable<Structure | UnreadStructure> | AsyncIterable<Structure | UnreadStructure>,
  maxAtoms: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<(Structure | UnreadStructure)[]> {
  let chunk: (Structure | UnreadStructure)[] = [];
  let atoms = 0;
  for await (const structure of structures) {
    signal?.throwIfAborted();
    const size = "error" in structure ? 1 : structure.numbers.length;
    if (atoms > 0 && atoms + size > maxAtoms) {
      yield chunk;
      chunk = [];
      atoms = 0;
    }
    chunk.push(structure);
    atoms += size;
  }
  signal?.throwIfAborted();
  if (chunk.length > 0) yield chunk;
}

/** One model's records of a chunk, in batches that its pairs of bonds allow. */
async function* predictChunk(
  model: Model,
  chunk: Chunk,
  options: ChunkOptions,
): AsyncGenerator<Prediction | FailedPrediction> {
  const backend = options.backend ?? defaultBackend();
  const runner: Runner = { model, options, backend: backend.name, session: await sessionFor(model, backend) };
  let slots: Slot[] = [];
  let triplets = 0;
  for (const structure of chunk) {
    const slot = makeSlot(model, structure);
    const size = "graph" in slot && slot.graph.vectors ? countTriplets(slot.graph) : 0;
    if (triplets > 0 && triplets + size > MAX_BATCH_TRIPLETS) {
      yield* runSlots(runner, slots);
      slots = [];
      triplets = 0;
    }
    slots.push(slot);
    triplets += size;
  }
  yield* runSlots(runner, slots);
}

type ChunkOptions = PredictOptions & { readonly maxAtoms: number };

/** A model where it runs, and how. */
interface Runner {
  readonly model: Model;
  readonly options: ChunkOptions;
  readonly backend: string;
  readonly session: Session;
}

/** An input's place in the output: a graph to run and the ms it took, or an error already known. */
type Slot = { structure: Structure; graph: CrystalGraph; ms: number } | FailedPrediction;

function makeSlot(model: Model, structure: Structure | UnreadStructure): Slot {
  if ("error" in structure) return failure(structure, structure.error);
  try {
    const began = performance.now();
    checkElements(model, structure);
    const graph = buildGraph(structure, model.config.graph);
    return { structure, graph, ms: performance.now() - began };
  } catch (error) {
    if (error instanceof UnitcellError) return failure(structure, error);
    throw error;
  }
}

function failure({ id }: { readonly id?: string }, { code, message }: UnitcellError): FailedPrediction {
  return { schema: RECORD_SCHEMA, ...(id !== undefined && { id }), error: { code, message } };
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

async function* runSlots(runner: Runner, slots: readonly Slot[]): AsyncGenerator<Prediction | FailedPrediction> {
  const { model, options, backend } = runner;
  const graphs = slots.flatMap((slot) => ("graph" in slot ? [slot.graph] : []));
  const began = performance.now();
  const outputs = await attempt(() => runGraphs(runner, graphs));
  const perAtom = (performance.now() - began) / graphs.reduce((sum, { numAtoms }) => sum + numAtoms, 0);
  let ran = 0;
  for (const slot of slots) {
    if (!("graph" in slot)) {
      yield slot;
      continue;
    }
    const { structure, graph, ms } = slot;
    const place = ran++;
    const tie = await attempt(() => (options.tieRange ? tieRange(runner, structure) : undefined));
    if (outputs instanceof UnitcellError || tie instanceof UnitcellError) {
      yield failure(structure, outputs instanceof UnitcellError ? outputs : (tie as UnitcellError));
      continue;
    }
    if (!outputs[place].every(Number.isFinite)) {
      yield failure(
        structure,
        new UnitcellError("CORRUPT", `the network gives ${outputs[place].join(", ")}: ${NOT_FINITE}`),
      );
      continue;
    }
    yield {
      schema: RECORD_SCHEMA,
      ...(structure.id !== undefined && { id: structure.id }),
      formula: chemicalFormula(structure.numbers),
      sites: structure.numbers.length,
      ...(model.property && { property: model.property }),
      ...(model.unit && { unit: model.unit }),
      ...decodeOutput(model, outputs[place]),
      ...(stateTypes(model) > 0 && { state: options.state! }),
      cutoff: graph.cutoff,
      ...(graph.neighborPolicy && { neighborPolicy: graph.neighborPolicy }),
      ...(tie && { tie }),
      warnings: [...modelWarnings(model, structure), ...graph.warnings],
      model: modelInfo(model),
      backend,
      elapsedMs: ms + perAtom * graph.numAtoms,
    };
  }
}

function modelInfo({ name, sha256, architecture, assumed }: Model): ModelInfo {
  return {
    ...(name !== undefined && { name }),
    ...(sha256 !== undefined && { sha256 }),
    architecture,
    ...(assumed.length > 0 && { assumed }),
  };
}

/** What the model's reader should know of it and of this structure. */
function modelWarnings(
  { config, normalizes, normalizer, trainedOn }: Model,
  structure: Structure,
): PredictionWarning[] {
  const warnings = normalizes && config.task === "regression" && !normalizer ? [NO_NORMALIZER] : [];
  if (!trainedOn) return warnings;
  const atoms = Array.from(structure.numbers.keys()).filter((i) => !trainedOn.has(structure.numbers[i]));
  if (atoms.length === 0) return warnings;
  const symbols = [...new Set(atoms.map((i) => SYMBOLS[structure.numbers[i]]))].join(", ");
  const message = `the model was trained without ${symbols} (${nameAtoms(structure, atoms)}): what it makes of them is a guess`;
  return [...warnings, { code: "unseen-element", message, atoms }];
}

async function runGraphs(
  { model, session, options }: Runner,
  graphs: readonly CrystalGraph[],
): Promise<Float32Array[]> {
  if (graphs.length === 0) return [];
  const batch = withState(collate(graphs), options.state);
  const outputs = await session.run(batch);
  return graphs.map((_, b) => outputRow(model, batch, outputs, b));
}

/** The state asked for, for every crystal. */
function withState(batch: Batch, state: number | undefined): Batch {
  if (state === undefined) return batch;
  return { ...batch, inputs: new Map(batch.inputs).set("state", new Int32Array(batch.sizes.B).fill(state)) };
}

async function tieRange(runner: Runner, structure: Structure): Promise<TieRange | undefined> {
  const { model, options } = runner;
  if (model.config.graph.select !== "nearest") return undefined;
  const { graphs, exhaustive } = tieVariants(structure, model.config.graph);
  if (graphs.length === 0) return undefined;
  let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  const perBatch = Math.max(1, Math.floor(options.maxAtoms / structure.numbers.length));
  for (let from = 0; from < graphs.length; from += perBatch)
    for (const output of await runGraphs(runner, graphs.slice(from, from + perBatch))) {
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
