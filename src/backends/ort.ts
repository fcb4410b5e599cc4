import { isUnitcellError, UnitcellError } from "../errors.js";
import type { Batch } from "../graphs/batch.js";
import { FeedArrays, type FeedSizes, feedSizes, feedsOf, type OnnxInput, slotsOf } from "../onnx/inputs.js";
import { plainProgram, programInputs, programOnnx } from "../onnx/program-onnx.js";
import type { Program, Value } from "../ops/program.js";
import { planArena, runBytes } from "./arena.js";
import type { Backend, RunNote, Session } from "./backend.js";
import { bucketed } from "./buckets.js";
import { checkInputs, checksOf, readingsOf } from "./check-inputs.js";
import { type Gpu, haveWebGpu } from "./gpu.js";
import { Living } from "./living.js";
import { OnDemand } from "./on-demand.js";
import { OrtHost, type OrtProvider, runOn } from "./ort-host.js";
import type { OrtModule, OrtSource, OrtTensor } from "./ort-module.js";
import { largestSizes, type Sizes } from "./sizes.js";
import { UnderWay } from "./under-way.js";
import { wasmBackend } from "./wasm.js";

/** Where ONNX Runtime runs, and how exactly. */
export interface OrtOptions {
  /**
   * "webgpu": a GPU, through onnxruntime-web/webgpu in browsers and Deno, or onnxruntime-node. "wasm": onnxruntime-web
   * without one. "cpu": onnxruntime-node. By default "webgpu" where the runtime has WebGPU, else "wasm".
   */
  readonly provider?: OrtProvider;
  /**
   * By default "f32". "f16": linears, which are nearly all of the arithmetic, with weights in half precision, on a GPU
   * that can (shader-f16). What that does to predictions is in README.md.
   */
  readonly weights?: "f32" | "f16";
  /** Bytes of crystals that are put together for one run: by default 256 MiB on a GPU, else 16 MiB. */
  readonly batchBytes?: number;
  /** More for InferenceSession.create, as onnxruntime has it: intraOpNumThreads, logSeverityLevel, ... */
  readonly sessionOptions?: Readonly<Record<string, unknown>>;
  /** What runs a batch that a GPU failed at twice: by default the Wasm kernels. */
  readonly fallback?: Backend;
}

/** ONNX Runtime as a backend; it holds memory, a GPU's too, until `dispose`. */
export interface OrtBackend extends Backend {
  /** The GPU's name, once a batch has run there. */
  readonly device: string | undefined;
  /** Give all memory back, the GPU's too, once what runs has ended. What runs later loads anew, and tries the GPU again. */
  dispose(): Promise<void>;
}

const MIB = 2 ** 20;

/** A GPU is fed with more at a time: launching a network's kernels takes it some ms, however small they are. */
const GOOD_BYTES = { webgpu: 256 * MIB, wasm: 16 * MIB, cpu: 16 * MIB } as const;

/** What onnxruntime-web's memory of 4 GiB has for one run. */
const MAX_BYTES = { webgpu: Number.POSITIVE_INFINITY, wasm: 3072 * MIB, cpu: Number.POSITIVE_INFINITY } as const;

/**
 * Programs in ONNX Runtime. Nothing is loaded before the first batch; weights are uploaded once for each program. A batch
 * that a GPU fails at, because it was lost (a driver's reset, the end of the browser's GPU process) or else, runs again
 * on a fresh device and session. If that fails, it and all later ones run on the fallback. Either is told in the records:
 * a warning "backend-failed", and `backend` names what gave the numbers.
 * @param ort onnxruntime's module (`import * as ort from "onnxruntime-web/webgpu"`), or a function that loads it
 * @throws {UnitcellError} ARGUMENT for another provider or other weights, and for f16 weights elsewhere than on a GPU
 */
export function ortBackend(ort: OrtSource, options: OrtOptions = {}): OrtBackend {
  const { weights = "f32", provider = haveWebGpu() ? "webgpu" : "wasm" } = options;
  if (!Object.hasOwn(GOOD_BYTES, provider))
    throw new UnitcellError("ARGUMENT", `provider is webgpu, wasm or cpu, found "${provider}"`);
  if (weights !== "f32" && weights !== "f16")
    throw new UnitcellError("ARGUMENT", `weights are f32 or f16, found "${weights}"`);
  if (weights === "f16" && provider !== "webgpu")
    throw new UnitcellError("ARGUMENT", `f16 weights are for provider webgpu, found ${provider}`);
  const host = new OrtHost(ort, provider, weights === "f16" ? ["shader-f16"] : [], options.sessionOptions ?? {});
  let { fallback } = options;
  const setup: Setup = {
    name: `ort-${provider}${weights === "f16" ? "-f16" : ""}`,
    host,
    weights,
    goodBytes: options.batchBytes ?? GOOD_BYTES[provider],
    fallback: () => {
      fallback ??= wasmBackend();
      return fallback;
    },
    underWay: new UnderWay(),
  };
  const sessions = new Living<OrtSession>();
  return {
    name: setup.name,
    createSession: async (program) => sessions.add(new OrtSession(program, setup)),
    get device() {
      return host.device;
    },
    dispose: async () => {
      await setup.underWay.ended();
      await Promise.all([host.close(), ...[...sessions].map((session) => session.rest())]);
    },
  };
}

/** What the sessions of a backend have in common. */
interface Setup {
  readonly name: string;
  readonly host: OrtHost;
  readonly weights: "f32" | "f16";
  readonly goodBytes: number;
  readonly fallback: () => Backend;
  /** Batches of all sessions. */
  readonly underWay: UnderWay;
}

/** Values that are asked for together, as a program of its own to the runtime. */
class Target {
  readonly labels: readonly string[];
  readonly values: readonly Value[];
  readonly inputs: readonly OnnxInput[];
  readonly arrays = new FeedArrays();
  readonly #program: Program;
  readonly #weights: "f32" | "f16";

  /** @throws {UnitcellError} NOT_FOUND for a label that the program lacks, LIMIT for weights beyond float16 */
  constructor(program: Program, labels: readonly string[], weights: "f32" | "f16") {
    this.#program = program;
    this.#weights = weights;
    this.labels = labels;
    this.inputs = programInputs(program, { outputs: labels, weights });
    this.values = labels.map((label) => program.labels.get(label)!);
  }

  /** The file, made for each session, rather than kept beside the weights in there. */
  model(): Uint8Array {
    return programOnnx(this.#program, { outputs: this.labels, weights: this.#weights }).bytes;
  }
}

/** The batch at hand in another session. */
type Run = (session: Session, note: (note: RunNote) => void) => Promise<Float32Array[]>;

class OrtSession implements Session {
  readonly goodBytes: number;
  readonly #program: Program;
  readonly #setup: Setup;
  readonly #checks;
  readonly #plain: Program;
  readonly #plan;
  /** By labels. */
  readonly #targets = new Map<string, Target>();
  readonly #underWay = new UnderWay();
  readonly #fallback: OnDemand<Session>;
  #disposed = false;

  constructor(program: Program, setup: Setup) {
    this.goodBytes = setup.goodBytes;
    this.#program = program;
    this.#setup = setup;
    this.#checks = checksOf(readingsOf(program));
    this.#plain = plainProgram(program);
    this.#plan = planArena(this.#plain);
    this.#fallback = new OnDemand(
      () => setup.fallback().createSession(program),
      (session) => session.dispose(),
    );
  }

  async run(batch: Batch, note?: (note: RunNote) => void): Promise<Float32Array> {
    const run: Run = async (session, noteRun) => [await session.run(batch, noteRun)];
    return (await this.#begin(this.#compute(batch, ["output"], run, note)))[0];
  }

  async values(
    batch: Batch,
    labels: readonly string[],
    note?: (note: RunNote) => void,
  ): Promise<Map<string, Float32Array>> {
    if (labels.length === 0) return new Map();
    const run: Run = async (session, noteRun) => [...(await session.values(batch, labels, noteRun)).values()];
    const results = await this.#begin(this.#compute(batch, labels, run, note));
    return new Map(labels.map((label, i) => [label, results[i]]));
  }

  /** An estimate, since the runtime lays out its memory itself. */
  bytes(sizes: Batch["sizes"]): number {
    const bytes = runBytes(this.#plan, largestSizes(sizes)) + 2 * this.#widest(largestSizes(sizes));
    const limit = MAX_BYTES[this.#setup.host.provider];
    if (bytes > limit)
      throw new UnitcellError(
        "LIMIT",
        `a run of ${sizes.N} atoms and ${sizes.E} bonds needs some ${(bytes / 2 ** 30).toFixed(1)} GiB, ` +
          `onnxruntime-web has room for ${limit / 2 ** 30} GiB`,
        { needed: bytes, limit },
      );
    return bytes;
  }

  #begin<T>(work: Promise<T>): Promise<T> {
    return this.#setup.underWay.add(this.#underWay.add(work));
  }

  async dispose(): Promise<void> {
    this.#disposed = true;
    await this.#underWay.ended();
    for (const target of this.#targets.values()) await this.#setup.host.release(target);
    await this.rest();
  }

  /** Give the memory back that is not the host's; what runs later takes it again. */
  async rest(): Promise<void> {
    this.#targets.clear();
    await this.#fallback.close();
  }

  /** Bytes of the largest rows that are reduced to segments, of which there are twice: as gathered, and weighted. */
  #widest(sizes: Sizes): number {
    let most = 0;
    for (const { over, inputs } of this.#plain.nodes)
      if (over !== undefined) most = Math.max(most, 4 * sizes[over] * inputs[0].columns);
    return most;
  }

  async #compute(
    batch: Batch,
    labels: readonly string[],
    elsewhere: Run,
    note: ((note: RunNote) => void) | undefined,
  ): Promise<Float32Array[]> {
    if (this.#disposed) throw new UnitcellError("ARGUMENT", "session was disposed");
    this.bytes(batch.sizes); // throws
    checkInputs(this.#checks, batch);
    const { host, name } = this.#setup;
    const target = this.#target(labels);
    let failure: string | undefined;
    while (host.givenUp === undefined) {
      try {
        const results = await this.#attempt(batch, target);
        if (failure !== undefined) note?.(noteOf(name, `${failure}; the batch ran again on a fresh session`));
        return results;
      } catch (error) {
        if (host.provider !== "webgpu") throw error;
        if (isUnitcellError(error, "LIMIT") && batch.sizes.B === 1)
          return this.#runElsewhere(error.message, elsewhere, note);
        if (!isUnitcellError(error, "BACKEND")) throw error;
        if (failure !== undefined) await host.giveUp(`${failure}; and again: ${error.message}`);
        failure ??= error.message;
      }
    }
    return this.#runElsewhere(host.givenUp, elsewhere, note);
  }

  /** @throws {UnitcellError} BACKEND where it fails, LIMIT for a batch that the GPU has no buffers for */
  #attempt(batch: Batch, target: Target): Promise<Float32Array[]> {
    return this.#setup.host.use(async (engine) => {
      const exact = feedSizes(target.inputs, batch);
      const sizes = engine.gpu ? bucketed(exact) : exact;
      if (engine.gpu) checkBuffers(this.#plain, sizes, engine.gpu);
      return runOn(engine, target, {
        model: () => target.model(),
        feeds: () => tensorsOf(engine.ort, target, batch, sizes),
        read: (results) => target.values.map((value, i) => liveRows(results[target.labels[i]], value, batch.sizes)),
      });
    });
  }

  async #runElsewhere(reason: string, run: Run, note: ((note: RunNote) => void) | undefined): Promise<Float32Array[]> {
    let its: RunNote | undefined;
    const results = await this.#fallback.use((session) =>
      run(session, (said) => {
        its = said;
      }),
    );
    const by = its?.backend ?? this.#setup.fallback().name;
    const why = its?.warning ? `; ${its.warning.message}` : "";
    note?.(noteOf(by, `${reason}${why}; computed by ${by}`));
    return results;
  }

  #target(labels: readonly string[]): Target {
    const key = labels.join("\n");
    const found = this.#targets.get(key) ?? new Target(this.#program, labels, this.#setup.weights);
    this.#targets.set(key, found);
    return found;
  }
}

function noteOf(backend: string, message: string): RunNote {
  return { backend, warning: { code: "backend-failed", message } };
}

function tensorsOf({ Tensor }: OrtModule, { inputs, arrays }: Target, batch: Batch, sizes: FeedSizes) {
  const feeds: Record<string, OrtTensor> = {};
  for (const [name, { type, data, dims }] of feedsOf(inputs, batch, sizes, arrays))
    feeds[name] = new Tensor(type === "f32" ? "float32" : "int32", data, dims);
  return feeds;
}

/** A copy of the rows that are the batch's own. */
function liveRows({ data }: OrtTensor, { rows, columns }: Value, sizes: Batch["sizes"]): Float32Array {
  return (data as Float32Array).slice(0, sizes[rows as keyof typeof sizes] * columns);
}

/** @throws {UnitcellError} LIMIT where a value, or the rows of its segments side by side, is more than one buffer holds */
function checkBuffers({ nodes }: Program, { rows, slots }: FeedSizes, { device: { limits }, description }: Gpu): void {
  const limit = Math.min(limits.maxStorageBufferBindingSize, limits.maxBufferSize);
  const count = ({ rows: axis }: Value) => rows[axis as keyof typeof rows];
  for (const { output, inputs, starts } of nodes) {
    const side = starts === undefined ? 0 : count(output) * (slots.get(slotsOf(starts)) ?? 1) * inputs[0].columns;
    const needed = 4 * Math.max(count(output) * output.columns, side);
    if (needed > limit)
      throw new UnitcellError(
        "LIMIT",
        `a batch of ${rows.N} atoms and ${rows.E} bonds needs a buffer of ${Math.ceil(needed / MIB)} MiB, ` +
          `${description} has such of ${Math.floor(limit / MIB)} MiB`,
        { needed, limit },
      );
  }
}
