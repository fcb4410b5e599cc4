import type { RunNote } from "./backends/backend.js";
import {
  type BatchOptions,
  backendOf,
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
import { combinePredictions, type Ensemble } from "./ensemble.js";
import { loaded } from "./errors.js";
import { type AnyGraph, lift } from "./graphs/lift.js";
import { elementWarnings, valueWarnings } from "./model-warnings.js";
import { decodeOutput, type Model, outputRow } from "./models/model.js";
import { type Chunk, predictUnknown } from "./predict-unknown.js";
import { type FailedPrediction, type Prediction, RECORD_SCHEMA, type TieRange } from "./prediction.js";
import type { PredictionCache } from "./prediction-cache.js";
import { recipeOf } from "./prediction-key.js";
import { chemicalFormula } from "./structures/elements.js";
import type { Structure } from "./structures/structure.js";

/** How structures are predicted: batches, backend, cache, the range over ties. */
export interface PredictOptions extends BatchOptions {
  /** Also give the range of values over the choices among tied neighbours, for CGCNN's graphs. */
  tieRange?: boolean;
  /** Records found there are not computed again, and say `cached`; what is computed is added. Failures are not stored. */
  cache?: PredictionCache;
}

/**
 * Predict a property of every structure, in order. A structure's prediction has the same bits whatever others are given
 * with it.
 * @throws {UnitcellError} the first structure's error; `predictStream` gives errors as records instead
 */
export function predict(
  model: Model | Ensemble,
  structures: Iterable<Structure> | AsyncIterable<Structure>,
  options: PredictOptions = {},
): Promise<Prediction[]> {
  return collectRecords(predictStream(model, structures, options));
}

/**
 * Predict a stream of structures in bounded memory: one batch is held at a time. Results come in input order, one per
 * input; a structure that cannot be predicted gives an error record and the rest go on.
 */
export async function* predictStream(
  model: Model | Ensemble,
  structures: StructureStream,
  options: PredictOptions = {},
): AsyncGenerator<Prediction | FailedPrediction> {
  const maxAtoms = checkOptions("members" in model ? model.members : [model], options);
  const { cache, state, tieRange = false, lift: lifts = true } = options;
  const recipe = cache && (await recipeOf(model, { backend: backendOf(options).name, tieRange, state, lift: lifts }));
  const run = (chunk: Chunk) => predictAll(model, chunk, { ...options, maxAtoms });
  for await (const chunk of chunksOf(structures, maxAtoms, options.signal))
    yield* await (recipe === undefined ? run(chunk) : predictUnknown(cache!, recipe, chunk, run));
}

/** The records of a chunk; of an ensemble, each put together from its members'. */
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

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

type ChunkOptions = PredictOptions & { readonly maxAtoms: number };

/** One model's records of a chunk. */
async function* predictChunk(
  model: Model,
  chunk: Chunk,
  options: ChunkOptions,
): AsyncGenerator<Prediction | FailedPrediction> {
  const runner = await openRunner(model, options);
  yield* runChunk(runner, chunk, {
    run: (graphs) => inParts(graphs, (some) => runGraphs(runner, some)),
    record: async (slot, ran, elapsedMs) => {
      const ties = options.tieRange ? await tieRange(runner, slot.structure, options.maxAtoms) : undefined;
      return predictionOf(
        runner,
        slot,
        { ...ran, note: noteOfBoth(runner, ran.note, ties?.note) },
        { tie: ties?.result, elapsedMs },
      );
    },
  });
}

function predictionOf(
  runner: Runner,
  { structure, graph }: ReadySlot,
  { result: output, note }: Ran<Float32Array>,
  { tie, elapsedMs }: { tie: TieRange | undefined; elapsedMs: number },
): Prediction {
  const { model, state, lift: lifts } = runner;
  const { backend, warnings } = provenance(runner, note);
  const decoded = decodeOutput(model, output);
  checkFinite(output, decoded.values ?? [decoded.value]);
  return {
    schema: RECORD_SCHEMA,
    ...(structure.id !== undefined && { id: structure.id }),
    formula: chemicalFormula(structure.numbers),
    sites: structure.numbers.length,
    ...(model.property && { property: model.property }),
    ...(model.unit && { unit: model.unit }),
    ...decoded,
    ...(stateTypes(model) > 0 && { state: state! }),
    cutoff: graph.cutoff,
    ...(graph.neighborPolicy && { neighborPolicy: graph.neighborPolicy }),
    ...(lifts && { compression: "rowOf" in graph ? graph.compression : 1 }),
    ...(tie && { tie }),
    warnings: [...valueWarnings(model), ...elementWarnings(model, structure), ...graph.warnings, ...warnings],
    model: modelInfo(model),
    backend,
    elapsedMs,
  };
}

async function runGraphs(runner: Runner, graphs: readonly AnyGraph[]): Promise<Ran<Float32Array>[]> {
  const batch = batchFor(runner, graphs);
  let note: RunNote | undefined;
  const outputs = await runner.session.run(batch, (said) => {
    note = said;
  });
  return graphs.map((_, b) => ({ result: outputRow(runner.model, batch, outputs, b), note }));
}

/** Of a value and its ties, which may have run elsewhere: the value's backend, and what went wrong with either. */
function noteOfBoth({ backend }: Runner, value: RunNote | undefined, ties: RunNote | undefined): RunNote | undefined {
  if (!ties?.warning || value?.warning) return value; // what went wrong is told already
  const { code, message } = ties.warning;
  return { backend: value?.backend ?? backend, warning: { code, message: `of the tie's range: ${message}` } };
}

async function tieRange(runner: Runner, structure: Structure, maxAtoms: number): Promise<Ran<TieRange> | undefined> {
  const { model } = runner;
  if (model.config.graph.select !== "nearest") return undefined;
  const { tieVariants } = await loaded(import("./graphs/nearest.js"));
  const { graphs, exhaustive } = tieVariants(structure, model.config.graph);
  if (graphs.length === 0) return undefined;
  const chosen = runner.lift ? graphs.map(lift) : graphs;
  let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  let note: RunNote | undefined;
  const perBatch = Math.max(1, Math.floor(maxAtoms / structure.numbers.length));
  for (let from = 0; from < chosen.length; from += perBatch)
    for (const ran of await inParts(chosen.slice(from, from + perBatch), (some) => runGraphs(runner, some))) {
      const { value } = decodeOutput(model, ran.result);
      if (ran.note?.warning) note = ran.note;
      min = Math.min(min, value);
      max = Math.max(max, value);
    }
  return { result: { min, max, choices: graphs.length, exhaustive }, note };
}
