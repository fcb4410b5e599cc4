/// <reference lib="esnext.disposable" preserve="true" />
/** The entry unitcell/pool: predictions on all cores. */
import { atomsOf, backendOf, checkOptions, chunksOf, collectRecords, failure } from "../batches.js";
import type { Ensemble } from "../ensemble.js";
import { UnitcellError } from "../errors.js";
import { kernelsGiven } from "../kernels.js";
import type { Model } from "../models/model.js";
import type { PredictOptions } from "../predict.js";
import { type Chunk, predictUnknown } from "../predict-unknown.js";
import type { FailedPrediction, Prediction } from "../prediction.js";
import { recipeOf } from "../prediction-key.js";
import { parseEach } from "../structures/parse.js";
import type { Structure, UnreadStructure } from "../structures/structure.js";
import { Crew, type CrewRequest } from "./crew.js";
import { inOrder } from "./in-order.js";
import type { Item } from "./messages.js";
import { nodeModule } from "./node.js";
import { SentModels } from "./sent-model.js";
import type { StructureText } from "./structure-text.js";
import type { WorkerLike } from "./worker-like.js";

export type { StructureText, WorkerLike };

/** How many workers a pool has, and how one is made. */
export interface PoolOptions {
  /** How many, by default one for each core that this process may use. */
  workers?: number;
  /**
   * Makes a worker that runs `unitcell/pool-worker`, where it is not a file beside this one: a Web Worker of type "module"
   * or a Worker of node:worker_threads.
   */
  worker?: () => WorkerLike;
}

/** As for predictStream, without backends of your own, which cannot be sent. */
export type PoolPredictOptions = Omit<PredictOptions, "backend">;

/** A structure, or the text of a file of them, which workers then parse: it gives a record for each structure in it. */
export type PoolInput = Structure | UnreadStructure | StructureText;

/** Workers that predict. Close it, or hold it with `await using`. */
export interface Pool {
  /** Workers asked for. */
  readonly workers: number;
  /**
   * As `predict`, on the pool's workers: the same records, elapsedMs apart, in the same order.
   * @throws {UnitcellError} the first structure's error, and what predictStream throws
   */
  predict(
    model: Model | Ensemble,
    structures: Iterable<PoolInput> | AsyncIterable<PoolInput>,
    options?: PoolPredictOptions,
  ): Promise<Prediction[]>;
  /**
   * As `predictStream`, on the pool's workers. Some chunks of structures are read ahead for each worker. One that ends over
   * its work is replaced and its structures are tried once more, each alone; over which another ends gives an error record
   * of code BACKEND. The cache is asked and filled on this side; what is twice in the chunks read ahead is computed twice.
   * When aborted it throws the signal's reason at once; workers finish the chunks they have.
   * @throws {UnitcellError} as predictStream; BACKEND when no worker can be started any more; ARGUMENT after close
   */
  predictStream(
    model: Model | Ensemble,
    structures: Iterable<PoolInput> | AsyncIterable<PoolInput>,
    options?: PoolPredictOptions,
  ): AsyncGenerator<Prediction | FailedPrediction>;
  /** Ends the workers at once. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Atoms of a chunk: the first are small, so that all workers soon have one, and so that few structures are shared out. */
const FIRST_CHUNK_ATOMS = 32;
/** Messages of this size cost next to nothing beside the work; the last ones keep no worker long when others are done. */
const MOST_CHUNK_ATOMS = 256;

/** Chunks for each worker that are in work, lie ready or wait to be asked for. */
const CHUNKS_PER_WORKER = 4;

/** Of a CIF's text, for the size of chunks. */
const CHARACTERS_PER_ATOM = 200;
/** A longer text is parsed on this side and its structures are shared out. */
const MOST_CHARACTERS = 64 * 1024;

/**
 * Starts workers.
 * @throws {UnitcellError} ARGUMENT when their number is not a positive integer, and after useKernels; BACKEND when one cannot
 *   be started
 */
export async function createPool({ workers = coreCount(), worker = startWorker }: PoolOptions = {}): Promise<Pool> {
  if (!(Number.isInteger(workers) && workers > 0))
    throw new UnitcellError("ARGUMENT", `workers must be a positive integer, found ${workers}`);
  if (kernelsGiven())
    throw new UnitcellError(
      "ARGUMENT",
      "workers run the embedded kernels: those given to useKernels do not reach them",
    );
  const crew = await Crew.start(workers, worker);
  const models = new SentModels((id) => crew.forgetModel(id));

  async function* predictStream(
    model: Model | Ensemble,
    structures: Iterable<PoolInput> | AsyncIterable<PoolInput>,
    { cache, signal, ...options }: PoolPredictOptions = {},
  ): AsyncGenerator<Prediction | FailedPrediction> {
    const members = "members" in model ? model.members : [model];
    checkOptions(members, options);
    const { tieRange = false, state, lift = true } = options;
    const recipe = cache && (await recipeOf(model, { backend: backendOf({}).name, tieRange, state, lift }));
    const request: CrewRequest = {
      models: members.map((member) => models.of(member)),
      ensemble: "members" in model ? withoutMembers(model) : undefined,
      options,
    };
    const run = (chunk: readonly PoolInput[]) => predictItems(crew, request, chunk);
    const work = (chunk: PoolInput[]) =>
      recipe === undefined ? run(chunk) : predictUnknown(cache!, recipe, chunk as Chunk, run);
    const inputs = parsedWhere(structures, ({ text }) => cache !== undefined || text.length > MOST_CHARACTERS);
    const chunks = chunksOf(inputs, chunkSizes(workers), signal, sizeOf);
    const abandon = (reason: unknown) => crew.abandon(request, reason);
    for await (const records of inOrder(chunks, work, { atOnce: CHUNKS_PER_WORKER * workers, signal, abandon }))
      yield* records;
  }

  return {
    workers,
    predict: (...call) => collectRecords(predictStream(...call)),
    predictStream,
    close: () => crew.close(),
    [Symbol.asyncDispose]: () => crew.close(),
  };
}

function withoutMembers({ members: _, ...rest }: Ensemble): Omit<Ensemble, "members"> {
  return rest;
}

/** The records of a chunk; errors of reading stay on this side. */
async function predictItems(
  crew: Crew,
  request: CrewRequest,
  chunk: readonly PoolInput[],
): Promise<(Prediction | FailedPrediction)[]> {
  const items = packed(chunk.filter((input) => !("error" in input)) as (Structure | StructureText)[]);
  const records = items.length > 0 ? await crew.run(request, items) : [];
  let next = 0;
  return chunk.flatMap((input) => ("error" in input ? [failure(input, input.error)] : records[next++]));
}

/**
 * The fields that are read. All structures' numbers lie in one buffer: each buffer of a message costs as much as a hundred
 * numbers.
 */
function packed(inputs: readonly (Structure | StructureText)[]): Item[] {
  let bytes = 0;
  for (const input of inputs) if (isSound(input)) bytes += bytesOf(input as Structure);
  const buffer = new ArrayBuffer(bytes);
  let at = 0;
  return inputs.map((input) => {
    if ("text" in input) {
      const { text, filename, format } = input;
      return { text, ...(filename !== undefined && { filename }), ...(format !== undefined && { format }) };
    }
    if (!isSound(input)) return input; // what is wrong with it is said where it is read
    const { lattice, pbc, numbers, fracCoords, id, notes } = input;
    const floats = new Float64Array(buffer, at, lattice.length + fracCoords.length);
    const bytes = new Uint8Array(buffer, at + floats.byteLength, numbers.length);
    floats.set(lattice);
    floats.set(fracCoords, lattice.length);
    bytes.set(numbers);
    at += bytesOf(input);
    return {
      lattice: floats.subarray(0, lattice.length),
      pbc,
      numbers: bytes,
      fracCoords: floats.subarray(lattice.length),
      ...(id !== undefined && { id }),
      ...(notes && { notes }),
    };
  });
}

/** A structure with the arrays that it should have. */
function isSound(input: Structure | StructureText): boolean {
  if ("text" in input) return false;
  const { lattice, numbers, fracCoords } = input;
  return lattice instanceof Float64Array && numbers instanceof Uint8Array && fracCoords instanceof Float64Array;
}

/** Of a structure's numbers, whole float64 numbers. */
function bytesOf({ lattice, numbers, fracCoords }: Structure): number {
  return 8 * (lattice.length + fracCoords.length + Math.ceil(numbers.length / 8));
}

/** The inputs with some texts replaced by the structures in them. */
async function* parsedWhere(
  inputs: Iterable<PoolInput> | AsyncIterable<PoolInput>,
  isParsed: (input: StructureText) => boolean,
): AsyncGenerator<PoolInput> {
  for await (const input of inputs)
    if ("text" in input && isParsed(input)) yield* parseEach(input.text, input);
    else yield input;
}

function sizeOf(input: PoolInput): number {
  return "text" in input ? Math.ceil(input.text.length / CHARACTERS_PER_ATOM) : atomsOf(input);
}

/** Atoms of one chunk after the other: each time all workers have had two, the double. */
function chunkSizes(workers: number): () => number {
  let made = 0;
  return () => Math.min(MOST_CHUNK_ATOMS, FIRST_CHUNK_ATOMS * 2 ** Math.floor(made++ / (2 * workers)));
}

function coreCount(): number {
  // Node 20 has no navigator.
  return globalThis.navigator?.hardwareConcurrency ?? nodeModule("node:os")?.availableParallelism() ?? 1;
}

function startWorker(): WorkerLike {
  const threads = nodeModule("node:worker_threads");
  if (threads) {
    // Written so that bundlers for browsers, which look for what is below, do not see this one.
    const url = new URL(import.meta.url.replace(/[^/]*$/, "pool-worker.js"));
    // A script given by `node --input-type=module -e` would hand the option, which files refuse, to its workers.
    const isText = process.execArgv.some((argument) => argument.startsWith("--input-type"));
    return new threads.Worker(url, isText ? { execArgv: [] } : {});
  }
  if (typeof Worker !== "function")
    throw new UnitcellError("BACKEND", "workers need a browser, Deno, Bun, or Node 20.16 or newer");
  return new Worker(new URL("./pool-worker.js", import.meta.url), { type: "module" });
}
