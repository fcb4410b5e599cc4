/** What predict and embed have in common: a stream of structures as batches of graphs, a model where it runs, errors. */
import type { Backend, RunNote, Session } from "./backends/backend.js";
import { wasmBackend } from "./backends/wasm.js";
import { isUnitcellError, UnitcellError } from "./errors.js";
import { type Batch, collate } from "./graphs/batch.js";
import { type AnyGraph, lift } from "./graphs/lift.js";
import { countTriplets } from "./graphs/line-graph.js";
import { type GraphRule, graphRule } from "./graphs/rules.js";
import { distinctGraphs } from "./graphs/same-graph.js";
import { checkElements, type Model } from "./models/model.js";
import { type FailedPrediction, type ModelInfo, type PredictionWarning, RECORD_SCHEMA } from "./prediction.js";
import type { Structure, UnreadStructure } from "./structures/structure.js";

export interface BatchOptions {
  /** By default the embedded Wasm kernels in this thread. */
  backend?: Backend;
  /**
   * Crystals are read, and batched, up to this many atoms at a time; a larger crystal runs alone. Batches are also bounded by
   * the memory that they take (Session.goodBytes).
   */
  maxAtoms?: number;
  /**
   * Edges that a crystal's graph may have: one with more is refused (LIMIT). By default 2^24, which is what a graph can have.
   * What a run takes grows with them, and only a rule without a limit of neighbours (MEGNet's) gives them by the hundred an
   * atom.
   */
  maxEdges?: number;
  /**
   * Row of the model's table of states: of MEGNet's band gaps 0 PBE, 1 GLLB-SC, 2 HSE, 3 SCAN. Must be given where the
   * model has one, and cannot be where none has.
   */
  state?: number;
  /**
   * By default true: atoms, bonds and pairs of bonds that the network cannot tell apart are computed once (graphs/lift.ts).
   * false runs the graphs whole, and equal structures each; values then differ in their last bits.
   */
  lift?: boolean;
  signal?: AbortSignal;
}

export type StructureStream = Iterable<Structure | UnreadStructure> | AsyncIterable<Structure | UnreadStructure>;

/** Batches of this size stay in cache; larger ones are no faster (bench). */
const DEFAULT_MAX_ATOMS = 512;

/**
 * The atoms a batch may have.
 * @throws {UnitcellError} ARGUMENT: maxAtoms or maxEdges is not positive; a state is asked for where there is none, or not
 *   where there are several
 */
export function checkOptions(models: readonly Model[], { maxAtoms, maxEdges, state }: BatchOptions): number {
  const atoms = maxAtoms ?? DEFAULT_MAX_ATOMS;
  if (!(atoms > 0)) throw new UnitcellError("ARGUMENT", `maxAtoms must be positive, found ${atoms}`);
  if (maxEdges !== undefined && !(maxEdges > 0))
    throw new UnitcellError("ARGUMENT", `maxEdges must be positive, found ${maxEdges}`);
  const types = models.map(stateTypes).filter((count) => count > 0);
  if (state === undefined && types.length === 0) return atoms;
  const least = Math.min(...types);
  if (types.length === 0) throw new UnitcellError("ARGUMENT", `state ${state} given, but no model has states`);
  if (!(Number.isInteger(state) && state! >= 0 && state! < least))
    throw new UnitcellError(
      "ARGUMENT",
      `the model predicts for one of ${least} states (of published MEGNet band gaps: 0 PBE, 1 GLLB-SC, 2 HSE, 3 SCAN): ` +
        `give state 0 to ${least - 1}, found ${state ?? "none"}`,
    );
  return atoms;
}

export function stateTypes({ config }: Model): number {
  return config.type === "megnet" ? config.stateTypes : 0;
}

/** Structures up to so many atoms together, which may be told anew for each chunk. Errors take up room, too. */
export async function* chunksOf<Input = Structure | UnreadStructure>(
  structures: Iterable<Input> | AsyncIterable<Input>,
  maxAtoms: number | (() => number),
  signal: AbortSignal | undefined,
  sizeOf: (input: Input) => number = atomsOf as (input: Input) => number,
): AsyncGenerator<Input[]> {
  const limit = typeof maxAtoms === "number" ? () => maxAtoms : maxAtoms;
  let chunk: Input[] = [];
  let atoms = 0;
  let most = limit();
  for await (const structure of structures) {
    signal?.throwIfAborted();
    const size = sizeOf(structure);
    if (atoms > 0 && atoms + size > most) {
      yield chunk;
      chunk = [];
      atoms = 0;
      most = limit();
    }
    chunk.push(structure);
    atoms += size;
  }
  signal?.throwIfAborted();
  if (chunk.length > 0) yield chunk;
}

export function atomsOf(structure: Structure | UnreadStructure): number {
  return "error" in structure ? 1 : structure.numbers.length;
}

/** A model where it runs. */
export interface Runner {
  readonly model: Model;
  readonly graphOf: GraphRule;
  readonly session: Session;
  /** Name of the backend. */
  readonly backend: string;
  /** For every crystal, where the model has states. */
  readonly state: number | undefined;
  /** Whether graphs are lifted. */
  readonly lift: boolean;
}

export async function openRunner(model: Model, options: BatchOptions): Promise<Runner> {
  const backend = backendOf(options);
  const [session, graphOf] = await Promise.all([
    sessionFor(model, backend),
    graphRule(model.config.graph, options.maxEdges),
  ]);
  return { model, graphOf, session, backend: backend.name, state: options.state, lift: options.lift ?? true };
}

/** What became of a graph, and how it was run where that is to be noted. */
export interface Ran<Result> {
  readonly result: Result;
  readonly note: RunNote | undefined;
}

/**
 * Graphs run together; where that takes more memory than there is, which can hang on how unlike they are, in halves.
 * @throws {UnitcellError} LIMIT where a graph alone takes more
 */
export async function inParts<Result>(
  graphs: readonly AnyGraph[],
  run: (graphs: readonly AnyGraph[]) => Promise<Result[]>,
): Promise<Result[]> {
  try {
    return await run(graphs);
  } catch (error) {
    if (!isUnitcellError(error, "LIMIT") || graphs.length === 1) throw error;
    const half = graphs.length >> 1;
    return [...(await inParts(graphs.slice(0, half), run)), ...(await inParts(graphs.slice(half), run))];
  }
}

/** Of a record: where its numbers are from, and what its reader should know of that. */
export function provenance({ backend }: Runner, note: RunNote | undefined) {
  const warnings: PredictionWarning[] = note?.warning ? [note.warning] : [];
  return { backend: note?.backend ?? backend, warnings };
}

/** A structure whose graph is ready to run, what it takes of a batch, and the ms that took. */
export interface ReadySlot {
  readonly structure: Structure;
  readonly graph: AnyGraph;
  readonly bytes: number;
  readonly ms: number;
}

/** What becomes of a batch of graphs, and of each structure in it. */
export interface Steps<Result, Record> {
  /** A result for each graph. */
  readonly run: (graphs: readonly AnyGraph[]) => Promise<readonly Result[]>;
  /** @param elapsedMs from structure to result, the crystal's share by atoms of its batch's time */
  readonly record: (slot: ReadySlot, result: Result, elapsedMs: number) => Promise<Record>;
}

/** One model's records of a chunk, in its order, in batches of no more bytes than are good. */
export async function* runChunk<Result, Record>(
  runner: Runner,
  chunk: readonly (Structure | UnreadStructure)[],
  steps: Steps<Result, Record>,
): AsyncGenerator<Record | FailedPrediction> {
  let slots: Slot[] = [];
  let bytes = 0;
  for (const structure of chunk) {
    const slot = makeSlot(runner, structure);
    const own = "graph" in slot ? slot.bytes : 0;
    if (bytes > 0 && bytes + own > runner.session.goodBytes) {
      yield* runSlots(runner, slots, steps);
      slots = [];
      bytes = 0;
    }
    slots.push(slot);
    bytes += own;
  }
  yield* runSlots(runner, slots, steps);
}

/**
 * What a graph takes of a batch.
 * @throws {UnitcellError} LIMIT where it alone is too large for the session
 */
export function batchBytes(session: Session, graph: AnyGraph): number {
  return session.bytes({ B: 1, N: graph.numAtoms, E: graph.numEdges, T: pairsOf(graph) });
}

/** Pairs of bonds that a graph brings into a batch. */
function pairsOf(graph: AnyGraph): number {
  if ("rowOf" in graph) return graph.line?.source.length ?? 0;
  return graph.vectors ? countTriplets(graph) : 0;
}

/** An input's place in the output: a graph to run, or an error already known. */
type Slot = ReadySlot | FailedPrediction;

function makeSlot({ model, graphOf, session, lift: lifts }: Runner, structure: Structure | UnreadStructure): Slot {
  if ("error" in structure) return failure(structure, structure.error);
  try {
    const began = performance.now();
    checkElements(model, structure);
    const whole = graphOf(structure);
    const graph = lifts ? lift(whole) : whole;
    return { structure, graph, bytes: batchBytes(session, graph), ms: performance.now() - began };
  } catch (error) {
    if (error instanceof UnitcellError) return failure(structure, error);
    throw error;
  }
}

async function* runSlots<Result, Record>(
  runner: Runner,
  slots: readonly Slot[],
  { run, record }: Steps<Result, Record>,
): AsyncGenerator<Record | FailedPrediction> {
  const ready = slots.filter((slot) => "graph" in slot);
  const began = performance.now();
  const all = ready.map(({ graph }) => graph);
  const { graphs, of } = runner.lift ? distinctGraphs(all) : { graphs: all, of: [...all.keys()] };
  const results = graphs.length > 0 ? await attempt(() => run(graphs)) : [];
  const atoms = ready.reduce((sum, { structure }) => sum + structure.numbers.length, 0);
  const perAtom = (performance.now() - began) / atoms;
  let ran = 0;
  for (const slot of slots) {
    if (!("graph" in slot)) {
      yield slot;
      continue;
    }
    const place = of[ran++];
    const { structure, ms } = slot;
    const made =
      results instanceof UnitcellError
        ? results
        : await attempt(() => record(slot, results[place], ms + perAtom * structure.numbers.length));
    yield made instanceof UnitcellError ? failure(structure, made) : made;
  }
}

export function failure({ id }: { readonly id?: string }, { code, message }: UnitcellError): FailedPrediction {
  return { schema: RECORD_SCHEMA, ...(id !== undefined && { id }), error: { code, message } };
}

/** The result, or the deliberate error; anything else is a defect and goes up. */
async function attempt<T>(work: () => Promise<T>): Promise<T | UnitcellError> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof UnitcellError) return error;
    throw error;
  }
}

/**
 * The records of a stream that stops at its first error.
 * @throws {UnitcellError} the first structure's error, with its id
 */
export async function collectRecords<Record extends object>(
  records: AsyncIterable<Record | FailedPrediction>,
): Promise<Record[]> {
  const all: Record[] = [];
  for await (const record of records) {
    if ("error" in record) {
      const { id, error } = record as FailedPrediction;
      throw new UnitcellError(error.code, `${id ?? `structure ${all.length}`}: ${error.message}`);
    }
    all.push(record as Record);
  }
  return all;
}

/** The graphs as a batch, with the state asked for. */
export function batchFor({ state }: Pick<Runner, "state">, graphs: readonly AnyGraph[]): Batch {
  const batch = collate(graphs);
  if (state === undefined) return batch;
  return { ...batch, inputs: new Map(batch.inputs).set("state", new Int32Array(batch.sizes.B).fill(state)) };
}

/**
 * JSON lacks NaN and infinities, and no value is better than one of them.
 * @throws {UnitcellError} CORRUPT with the first one found
 */
export function checkFinite(...results: readonly ArrayLike<number>[]): void {
  for (const numbers of results)
    for (let i = 0; i < numbers.length; i++)
      if (!Number.isFinite(numbers[i]))
        throw new UnitcellError(
          "CORRUPT",
          `the network gives ${numbers[i]}: its weights hold NaN or infinities, or the crystal is beyond its range`,
        );
}

const modelInfos = new WeakMap<Model, ModelInfo>();

/** One object for all records of a model: sent to another thread, it is then sent once. */
export function modelInfo(model: Model): ModelInfo {
  const { name, sha256, architecture, assumed } = model;
  const info = modelInfos.get(model) ?? {
    ...(name !== undefined && { name }),
    ...(sha256 !== undefined && { sha256 }),
    architecture,
    ...(assumed.length > 0 && { assumed }),
  };
  modelInfos.set(model, info);
  return info;
}

let shared: Backend | undefined;

/** The backend asked for, or one for all calls. */
export function backendOf({ backend }: BatchOptions): Backend {
  if (backend) return backend;
  shared ??= wasmBackend();
  return shared;
}

/** Sessions live as long as their model and backend: weights are copied to the device once, not once a call. */
const sessions = new WeakMap<Model, WeakMap<Backend, Promise<Session>>>();

function sessionFor(model: Model, backend: Backend): Promise<Session> {
  const open = sessions.get(model) ?? new WeakMap<Backend, Promise<Session>>();
  sessions.set(model, open);
  let session = open.get(backend);
  if (!session) {
    session = backend.createSession(model.program);
    open.set(backend, session);
    session.catch(() => open.delete(backend)); // a later call may try again
  }
  return session;
}
