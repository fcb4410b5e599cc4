/** ONNX Runtime with what is loaded in it: the device, programs, and whether they can still be trusted. */
import { UnitcellError } from "../errors.js";
import { type Gpu, haveWebGpu, openGpu } from "./gpu.js";
import { OnDemand } from "./on-demand.js";
import {
  inTurn,
  loadOrt,
  type OrtInferenceSession,
  type OrtModule,
  type OrtSource,
  type OrtTensor,
} from "./ort-module.js";

/** What ONNX Runtime computes on: onnxruntime-web has "webgpu" and "wasm", onnxruntime-node "webgpu" and "cpu". */
export type OrtProvider = "webgpu" | "wasm" | "cpu";

/** A device and the programs on it. When a GPU is lost all of them are, and they are replaced together. */
export interface Engine {
  readonly ort: OrtModule;
  readonly provider: OrtProvider;
  /** onnxruntime-node finds its GPU by itself. */
  readonly gpu: Gpu | undefined;
  /** By what asked for them. */
  readonly sessions: Map<object, Promise<OrtInferenceSession>>;
  /** For InferenceSession.create. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Why nothing may run there any more. */
  broken?: string;
}

/** How long a GPU may take to say that it is lost after a run on it failed: some 20 ms in Chromium. */
const LOSS_MS = 200;

export class OrtHost {
  readonly provider: OrtProvider;
  readonly #source: OrtSource;
  readonly #features: readonly GPUFeatureName[];
  readonly #options: Readonly<Record<string, unknown>>;
  readonly #engine = new OnDemand(() => this.#open(), closeEngine);
  #givenUp: string | undefined;
  #device: string | undefined;

  /**
   * @param features that a GPU must have
   * @param options for InferenceSession.create, beside the provider
   */
  constructor(
    source: OrtSource,
    provider: OrtProvider,
    features: readonly GPUFeatureName[],
    options: Readonly<Record<string, unknown>>,
  ) {
    this.#source = source;
    this.provider = provider;
    this.#features = features;
    this.#options = options;
  }

  /** Why nothing is tried any more. */
  get givenUp(): string | undefined {
    return this.#givenUp;
  }

  /** The GPU's name, once there was one. */
  get device(): string | undefined {
    return this.#device;
  }

  /**
   * Work with the runtime and a device that works, as far as is known: one that is broken is replaced.
   * @throws {UnitcellError} BACKEND where there is none, or the new one is broken, too; what `work` throws
   */
  async use<Result>(work: (engine: Engine) => Promise<Result>): Promise<Result> {
    for (let replaced = false; ; replaced = true) {
      const done = await this.#engine.use(async (engine) =>
        engine.broken === undefined ? { result: await work(engine) } : { engine },
      );
      if ("result" in done) return done.result;
      await this.#engine.close(done.engine);
      if (replaced) throw new UnitcellError("BACKEND", done.engine.broken!);
    }
  }

  async #open(): Promise<Engine> {
    if (this.#givenUp !== undefined) throw new UnitcellError("BACKEND", this.#givenUp);
    const ort = await loadOrt(this.#source);
    const shared = { ort, provider: this.provider, options: this.#options, sessions: new Map() };
    if (this.provider !== "webgpu" || !haveWebGpu()) return { ...shared, gpu: undefined };
    const gpu = await openGpu();
    const missing = this.#features.filter((feature) => !gpu.device.features.has(feature));
    if (missing.length > 0) {
      gpu.destroy();
      throw new UnitcellError(
        "BACKEND",
        `a GPU with ${missing.join(", ")} is needed, which ${gpu.description} has not`,
      );
    }
    this.#device = gpu.description;
    const engine: Engine = { ...shared, gpu };
    gpu.lost.then((reason) => {
      engine.broken ??= `the GPU was lost: ${reason}`;
    });
    return engine;
  }

  /** Nothing is tried any more, for the first such reason, and no memory held for it. */
  async giveUp(reason: string): Promise<void> {
    this.#givenUp ??= reason;
    await this.#engine.close();
  }

  /** Give the memory of one session's programs back. */
  async release(key: object): Promise<void> {
    const engine = this.#engine.value;
    if (engine) await releaseSession(engine, key);
  }

  /** Give all memory back; the next batch opens everything anew, also what was given up. */
  async close(): Promise<void> {
    this.#givenUp = undefined;
    await this.#engine.close();
  }
}

async function closeEngine(engine: Engine): Promise<void> {
  engine.broken ??= "it was disposed of";
  for (const key of [...engine.sessions.keys()]) await releaseSession(engine, key);
  engine.gpu?.destroy();
}

async function releaseSession({ ort, sessions }: Engine, key: object): Promise<void> {
  const opening = sessions.get(key);
  sessions.delete(key);
  const session = await opening?.catch(() => undefined);
  // What a runtime cannot release, as after it ran out of memory, concerns no prediction.
  if (session) await inTurn(ort, () => session.release()).catch(() => {});
}

/** Each is called when it is the program's turn. */
export interface Work<T> {
  /** The ONNX file, where it is not loaded yet. */
  readonly model: () => Uint8Array;
  readonly feeds: () => Record<string, OrtTensor>;
  readonly read: (results: Readonly<Record<string, OrtTensor>>) => T;
}

/**
 * Run a program, loaded if it is not yet, its weights with it.
 * @param key what the program is remembered by
 * @throws {UnitcellError} BACKEND; on a GPU the engine is broken then
 */
export async function runOn<T>(engine: Engine, key: object, { model, feeds, read }: Work<T>): Promise<T> {
  try {
    const session = await sessionOn(engine, key, model);
    return await turnOn(engine, async () => {
      const results = await session.run(feeds());
      try {
        checkWhole(engine); // a lost device's results are nothing
        return read(results);
      } finally {
        for (const tensor of Object.values(results)) tensor.dispose?.();
      }
    });
  } catch (cause) {
    throw new UnitcellError("BACKEND", engine.broken ?? failed(cause), {}, { cause });
  }
}

function sessionOn(engine: Engine, key: object, model: () => Uint8Array): Promise<OrtInferenceSession> {
  const { ort, provider, gpu, sessions, options } = engine;
  let session = sessions.get(key);
  if (!session) {
    session = turnOn(engine, () => {
      const executionProvider = gpu ? { name: provider, device: gpu.device } : provider;
      return ort.InferenceSession.create(model(), { ...options, executionProviders: [executionProvider] });
    });
    sessions.set(key, session);
    session.catch(() => sessions.delete(key)); // a later call may try again
  }
  return session;
}

/**
 * A call of the runtime when it is its turn, which ends only when it is known whether the GPU was lost: the second run of
 * a session on a lost device never returns, and hangs the whole thread (onnxruntime-web 1.30).
 */
function turnOn<T>(engine: Engine, call: () => Promise<T>): Promise<T> {
  return inTurn(engine.ort, async () => {
    checkWhole(engine);
    try {
      return await call();
    } catch (cause) {
      if (engine.gpu && engine.broken === undefined) await Promise.race([engine.gpu.lost, wait(LOSS_MS)]);
      if (engine.provider === "webgpu") engine.broken ??= failed(cause);
      throw cause;
    }
  });
}

function failed(cause: unknown): string {
  return `onnxruntime failed: ${(cause as Error).message}`;
}

/** Nothing may be asked of a lost device: creating a session there spoils the whole runtime. */
function checkWhole({ broken }: Engine): void {
  if (broken !== undefined) throw new Error(broken);
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
