/** The onnxruntimes that tests run exported networks in: those that .ci/run installs for the bench, one thread each. */
import { fromRuntimes } from "../bench/runtimes.js";
import type { OrtProvider } from "../src/backends/ort-host.js";
import type { OrtInferenceSession, OrtModule, OrtTensor } from "../src/backends/ort-module.js";
import type { Batch } from "../src/graphs/batch.js";
import { type Feed, type FeedSizes, feedsOf } from "../src/onnx/inputs.js";
import type { ProgramOnnx } from "../src/onnx/program-onnx.js";

export interface OnnxRuntime {
  readonly name: "onnxruntime-node" | "onnxruntime-web";
  readonly provider: OrtProvider;
  readonly ort: OrtModule;
}

type Loaded = OrtModule & { readonly env: { readonly wasm: { numThreads?: number } }; readonly default?: Loaded };

/** Without warnings, such as those of onnxruntime-web that a thread's affinity cannot be set. */
export const ORT_OPTIONS = { intraOpNumThreads: 1, interOpNumThreads: 1, logSeverityLevel: 3 };

const PROVIDERS = { "onnxruntime-node": "cpu", "onnxruntime-web": "wasm" } as const;

/** Of the two those that are there; for others the reason is printed. */
export async function onnxRuntimes(): Promise<OnnxRuntime[]> {
  const names = ["onnxruntime-node", "onnxruntime-web"] as const;
  const found = await Promise.all(names.map(onnxRuntime));
  return found.filter((runtime) => runtime !== undefined);
}

export async function onnxRuntime(name: OnnxRuntime["name"]): Promise<OnnxRuntime | undefined> {
  try {
    const loaded = await fromRuntimes<Loaded>(name);
    const ort = loaded.InferenceSession ? loaded : loaded.default!;
    if (name === "onnxruntime-web") ort.env.wasm.numThreads = 1;
    return { name, provider: PROVIDERS[name], ort };
  } catch (error) {
    console.log(`skipped: no ${name} (${(error as Error).message.split("\n")[0]}; .ci/run installs it)`);
    return undefined;
  }
}

/** An exported network in a runtime, without the backend around it. */
export class OnnxSession {
  readonly #runtime: OnnxRuntime;
  readonly #exported: ProgramOnnx;
  readonly #session: OrtInferenceSession;

  private constructor(runtime: OnnxRuntime, exported: ProgramOnnx, session: OrtInferenceSession) {
    this.#runtime = runtime;
    this.#exported = exported;
    this.#session = session;
  }

  static async open(runtime: OnnxRuntime, exported: ProgramOnnx): Promise<OnnxSession> {
    const { ort, provider } = runtime;
    const options = { ...ORT_OPTIONS, executionProviders: [provider] };
    return new OnnxSession(runtime, exported, await ort.InferenceSession.create(exported.bytes, options));
  }

  /** All outputs of a batch, rows of padding among them. */
  run(batch: Batch, sizes?: FeedSizes): Promise<Readonly<Record<string, Float32Array>>> {
    return this.feed(feedsOf(this.#exported.inputs, batch, sizes));
  }

  async feed(feeds: ReadonlyMap<string, Feed>): Promise<Readonly<Record<string, Float32Array>>> {
    const { Tensor } = this.#runtime.ort;
    const tensors: Record<string, OrtTensor> = {};
    for (const [name, { type, data, dims }] of feeds)
      tensors[name] = new Tensor(type === "f32" ? "float32" : "int32", data, dims);
    const results = await this.#session.run(tensors);
    return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, data as Float32Array]));
  }

  close(): Promise<void> {
    return this.#session.release();
  }
}
