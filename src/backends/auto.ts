/** Small work on the Wasm kernels, heavy work on a GPU, if there is one that is faster. */
import { UnitcellError } from "../errors.js";
import type { Batch } from "../graphs/batch.js";
import type { Program } from "../ops/program.js";
import { VERSION } from "../version.js";
import type { Backend, RunNote, Session } from "./backend.js";
import { type Calibration, calibrate, gpuWins, loadOf, readCalibration, writeCalibration } from "./calibrate.js";
import { findAdapter, openGpu } from "./gpu.js";
import { Living } from "./living.js";
import { OnDemand } from "./on-demand.js";
import { type OrtBackend, ortBackend } from "./ort.js";
import type { OrtSource } from "./ort-module.js";
import { UnderWay } from "./under-way.js";
import { wasmBackend } from "./wasm.js";

/**
 * Where calibrations are kept from one process to the next, under names that can be a file's: a Map is one,
 * `{ get: (name) => localStorage.getItem(name), set: (name, text) => localStorage.setItem(name, text) }` another. If it fails
 * the next process measures anew, no more.
 */
export interface CalibrationCache {
  /** The text set under that name, or a promise of it; anything else is none. */
  get(name: string): unknown;
  /** A promise is waited for. */
  set(name: string, text: string): unknown;
}

/** What `autoBackend` is given: the module that it may load, and where it keeps what it measured. */
export interface AutoOptions {
  /** A function that imports "onnxruntime-web/webgpu", called when a batch is first heavy enough for a GPU. */
  readonly ort: OrtSource;
  /**
   * By default "auto". "wasm" or "webgpu" runs all there, just as `wasmBackend()` or `ortBackend(ort, { provider: "webgpu" })`
   * does, whose names those backends then have.
   */
  readonly use?: "auto" | "wasm" | "webgpu";
  /** By default they are kept for this process alone. */
  readonly calibrations?: CalibrationCache;
}

/**
 * Runs each batch where it takes less time: on the embedded Wasm kernels, or with onnxruntime on a GPU by WebGPU. A batch's
 * work is counted from its program; how fast both are is measured when the first heavy batch comes, which takes some 2 s
 * once a device. Light batches never touch onnxruntime or the GPU: a CGCNN's are light, tens of cells of an ALIGNN heavy.
 * Where there is no GPU all run on Wasm; one that fails is told in the record's warnings, as ortBackend does.
 *
 * Either place has bits of its own, some 1e-6 apart. Which of them a prediction has depends on the device and on the batch
 * that its structure was in; the record says which (`backend`). The backend's name, which is in the keys of a PredictionCache,
 * is "auto": what it finds there may have been computed in either place.
 * @throws {UnitcellError} ARGUMENT for another `use`
 */
export function autoBackend({ ort, use = "auto", calibrations }: AutoOptions): OrtBackend {
  const wasm = wasmBackend();
  if (use === "wasm") return { ...wasm, device: undefined, dispose: async () => {} };
  const gpu = ortBackend(ort, { provider: "webgpu" });
  if (use === "webgpu") return gpu;
  if (use !== "auto") throw new UnitcellError("ARGUMENT", `use must be auto, wasm or webgpu, found ${use}`);
  return autoBackendOf({ wasm, gpu, findGpu, now: () => performance.now(), known, calibrations });
}

/** Calibrations of this process, by device. */
const known: AutoParts["known"] = new Map();

/** The GPU's name, if there is one. @throws {UnitcellError} BACKEND where it cannot be had */
export async function findGpu(): Promise<string | undefined> {
  if (!(await findAdapter())) return undefined;
  const gpu = await openGpu();
  gpu.destroy();
  return gpu.description;
}

/** What an automatic backend is made of. */
export interface AutoParts {
  readonly wasm: Backend;
  /** Loads nothing before it is to run something. */
  readonly gpu: OrtBackend;
  readonly findGpu: () => Promise<string | undefined>;
  /** A clock in ms. */
  readonly now: () => number;
  readonly known: Map<string, Promise<Calibration>>;
  readonly calibrations: CalibrationCache | undefined;
}

export function autoBackendOf(parts: AutoParts): OrtBackend {
  const { gpu } = parts;
  const device = new Device(parts);
  const underWay = new UnderWay();
  const sessions = new Living<AutoSession>();
  return {
    name: "auto",
    createSession: async (program) =>
      sessions.add(new AutoSession(program, await gpu.createSession(program), { ...parts, device, underWay })),
    get device() {
      return gpu.device;
    },
    dispose: async () => {
      await underWay.ended(); // also what waits for the calibration, of which the GPU's backend does not know
      device.forget();
      await Promise.all([gpu.dispose(), ...[...sessions].map((session) => session.rest())]);
    },
  };
}

/** The GPU's calibration: asked for once, after a failure once more. */
class Device {
  readonly #parts: AutoParts;
  #calibration: Promise<Calibration | undefined> | undefined;
  #failures = 0;

  constructor(parts: AutoParts) {
    this.#parts = parts;
  }

  /** None where there is no GPU. @throws whatever it failed with, from the second time on to all who ask */
  calibration(): Promise<Calibration | undefined> {
    this.#calibration ??= this.#find().catch((error) => {
      if (++this.#failures === 1) this.#calibration = undefined;
      throw error;
    });
    return this.#calibration;
  }

  /** What is asked for later is found anew. */
  forget(): void {
    this.#calibration = undefined;
    this.#failures = 0;
  }

  async #find(): Promise<Calibration | undefined> {
    const { wasm, findGpu, known, calibrations } = this.#parts;
    const gpu = await findGpu();
    if (gpu === undefined) return undefined;
    const device = `${gpu}, ${wasm.name}, unitcell ${VERSION}`;
    const name = `unitcell-calibration-${device.replace(/[^\w.-]+/g, "-")}.json`;
    const kept = readCalibration(await attempt(() => calibrations?.get(name)), device);
    // Another backend's may have failed for its own reasons, such as an onnxruntime that cannot be loaded.
    const calibration = kept ?? (await known.get(device)?.catch(() => undefined)) ?? (await this.#measured(device));
    if (!kept) await attempt(() => calibrations?.set(name, writeCalibration(calibration, device)));
    return calibration;
  }

  #measured(device: string): Promise<Calibration> {
    const { known } = this.#parts;
    const measuring = this.#measure();
    known.set(device, measuring);
    measuring.catch(() => {
      if (known.get(device) === measuring) known.delete(device);
    });
    return measuring;
  }

  async #measure(): Promise<Calibration> {
    const { wasm, gpu, now } = this.#parts;
    try {
      const measured = await calibrate(wasm, gpu, now);
      if (measured.gpuRate <= measured.wasmRate) await gpu.dispose(); // it will not be used
      return measured;
    } catch (error) {
      await gpu.dispose();
      throw error;
    }
  }
}

/** What the cache gives; nothing where it fails, since all it can save is a measurement. */
async function attempt(call: () => unknown): Promise<unknown> {
  try {
    return await call();
  } catch {
    return undefined;
  }
}

/**
 * Batches of less work run on Wasm unasked: 0.1 s at 60 billion operations a second, the most that the kernels have reached
 * (bench). So whatever the device, no GPU is opened, which with onnxruntime takes seconds, to save less than Wasm's 0.1 s.
 */
const FLOOR = 6e9;

/**
 * What batches are put together to before it is known that a GPU wins: at 64 MiB Wasm is as fast as at any size (bench), and
 * ALIGNN's have half as much work again as the floor. Smaller ones would never come to the GPU.
 */
const GOOD_BYTES = 64 * 2 ** 20;

/** What the sessions of a backend have in common. */
interface Setup extends AutoParts {
  readonly device: Device;
  /** Batches of all sessions. */
  readonly underWay: UnderWay;
}

class AutoSession implements Session {
  readonly #setup: Setup;
  readonly #load;
  readonly #gpu: Session;
  readonly #underWay = new UnderWay();
  readonly #wasm: OnDemand<Session>;
  #goodBytes = GOOD_BYTES;
  #disposed = false;

  constructor(program: Program, gpu: Session, setup: Setup) {
    this.#gpu = gpu;
    this.#setup = setup;
    this.#load = loadOf(program);
    this.#wasm = new OnDemand(
      () => setup.wasm.createSession(program),
      (session) => session.dispose(),
    );
  }

  get goodBytes(): number {
    return this.#goodBytes;
  }

  run(batch: Batch, note?: (note: RunNote) => void): Promise<Float32Array> {
    return this.#begin(this.#compute(batch, (session, noteRun) => session.run(batch, noteRun), note));
  }

  values(batch: Batch, labels: readonly string[], note?: (note: RunNote) => void): Promise<Map<string, Float32Array>> {
    return this.#begin(this.#compute(batch, (session, noteRun) => session.values(batch, labels, noteRun), note));
  }

  #begin<T>(work: Promise<T>): Promise<T> {
    return this.#setup.underWay.add(this.#underWay.add(work));
  }

  /** Those that the GPU takes: some twice as many as Wasm does, whose limit is found when a batch is run. */
  bytes(sizes: Batch["sizes"]): number {
    return this.#gpu.bytes(sizes);
  }

  async dispose(): Promise<void> {
    this.#disposed = true;
    await this.#underWay.ended();
    await this.#gpu.dispose();
    await this.rest();
  }

  /** Give the memory on Wasm back; what runs later takes it again. */
  async rest(): Promise<void> {
    await this.#wasm.close();
  }

  async #compute<Result>(
    batch: Batch,
    run: (session: Session, note: (note: RunNote) => void) => Promise<Result>,
    note: ((note: RunNote) => void) | undefined,
  ): Promise<Result> {
    if (this.#disposed) throw new UnitcellError("ARGUMENT", "session was disposed");
    const { wasm, gpu } = this.#setup;
    let onGpu = false;
    let failure: string | undefined;
    try {
      onGpu = await this.#prefersGpu(batch);
    } catch (error) {
      failure = `the GPU was not measured: ${(error as Error).message}; computed by ${wasm.name}`;
    }
    let told: RunNote | undefined;
    const noteRun = (its: RunNote) => {
      told = its;
    };
    const result = await (onGpu ? run(this.#gpu, noteRun) : this.#wasm.use((session) => run(session, noteRun)));
    const warning = failure === undefined ? {} : { warning: { code: "backend-failed" as const, message: failure } };
    note?.(told ?? { backend: onGpu ? gpu.name : wasm.name, ...warning });
    return result;
  }

  /** Of what is heavy. Batches become as large as is good for the GPU once it would win with such ones. */
  async #prefersGpu({ sizes }: Batch): Promise<boolean> {
    const { nodes, work: workOf } = this.#load;
    const work = workOf(sizes);
    const calibration = work < FLOOR ? undefined : await this.#setup.device.calibration();
    if (!calibration) return false;
    const { goodBytes } = this.#gpu;
    const largest = work * Math.max(1, goodBytes / this.#gpu.bytes(sizes));
    this.#goodBytes = gpuWins(calibration, largest, nodes) ? goodBytes : GOOD_BYTES;
    return gpuWins(calibration, work, nodes);
  }
}
